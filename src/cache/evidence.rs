//! Stored evidence: the bytes that earlier judgements of an image rested on.
//!
//! A [`Signature`] comes out of here only when its bytes prove themselves again: the manifest by the digest that it is
//! listed under, the envelope by the manifest; an [`ImageIndex`] by the digest of the image. Nothing else that is on disk is believed, and even a proven signature is
//! judged like one that just came from a registry.
//!
//! sled blocks, so it runs on one thread of its own behind this handle. Callers wait with a limit: a disk that hangs
//! makes the store answer nothing, and holds nobody up.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use assay_verify::Timestamp;
use assay_verify::descriptor::Descriptor;
use assay_verify::evidence::Signature;
use assay_verify::index::ImageIndex;
use assay_verify::limits::DEFAULT_CACHE_SIZE;
use assay_verify::reference::Repository;
use thiserror::Error;
use tokio::sync::{mpsc, oneshot};
use tokio::time::timeout;
use tracing::error;

use super::database::Image;
use super::files::Claim;
pub use super::record::{Extent, ImageKey};
use super::store::Store;

/// Requests that wait for the store's thread. More callers than this wait for room.
const QUEUE_LENGTH: usize = 256;

/// How long a reader waits. A read takes microseconds; a hook gives up at 8 s, and the registry is to be asked before.
const LOAD_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a writer waits: copying a full store into a smaller file may come first.
const WRITE_TIMEOUT: Duration = Duration::from_secs(30);

/// How long one step of the store's thread may take before the thread is given up. A disk under load stalls for
/// seconds; sled on damaged files may wait for ever.
const STUCK_AFTER: Duration = Duration::from_secs(60);

/// How often in the life of the process a stuck thread is given up: each one keeps its memory.
const MAX_ABANDONED: u32 = 3;

/// Where the store is and how large it may grow.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EvidenceOptions {
    /// The directory, created if need be. The store's files in it are called `evidence` and `evidence.*`.
    pub directory: PathBuf,
    /// Bytes of evidence. The files take at most twice this and 16 MiB, and once more this while they are copied; a
    /// damaged store that was moved aside stays beside them until the next one.
    pub limit: u64,
    /// How long after a failure the disk is tried again.
    pub retry_after: Duration,
}

impl EvidenceOptions {
    /// The options unless configured: [`DEFAULT_CACHE_SIZE`], and a try every ten seconds.
    pub fn new(directory: impl Into<PathBuf>) -> Self {
        Self {
            directory: directory.into(),
            limit: DEFAULT_CACHE_SIZE,
            retry_after: Duration::from_secs(10),
        }
    }
}

/// Whether the store works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum EvidenceState {
    /// It is being opened.
    #[default]
    Opening,
    /// It reads and writes.
    Ready,
    /// It reads. Writing failed for this reason and is tried again.
    ReadOnly(String),
    /// It answers nothing, for this reason. Opening is tried again.
    Unavailable(String),
}

impl EvidenceState {
    /// Whether it does less than it should.
    pub fn is_degraded(&self) -> bool {
        matches!(self, Self::ReadOnly(_) | Self::Unavailable(_))
    }
}

impl fmt::Display for EvidenceState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Opening => f.write_str("opening"),
            Self::Ready => f.write_str("ready"),
            Self::ReadOnly(why) => write!(f, "read-only: {why}"),
            Self::Unavailable(why) => write!(f, "unavailable: {why}"),
        }
    }
}

/// What the store holds and what happened to it since the process started.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EvidenceStats {
    /// Whether it works.
    pub state: EvidenceState,
    /// Images with evidence.
    pub images: u64,
    /// Those of them whose evidence somebody brought.
    pub imported: u64,
    /// Bytes of evidence, by the store's own account.
    pub bytes: u64,
    /// What `bytes` stays below.
    pub limit: u64,
    /// Bytes that the files take.
    pub bytes_on_disk: u64,
    /// Reads that found evidence.
    pub hits: u64,
    /// Reads that found none.
    pub misses: u64,
    /// Records that did not prove themselves, and were dropped.
    pub damaged_records: u64,
    /// Times that the whole store was damaged, and was moved aside.
    pub damaged_stores: u64,
    /// Images whose evidence made room for others'.
    pub evicted: u64,
}

/// Evidence was not stored or removed. It costs work later, and nothing else.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the evidence store cannot be written: {0}")]
pub struct NotStored(pub(super) String);

/// What is stored for an image, or to be stored.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// The signatures. What is read proves itself now.
    pub signatures: Vec<Signature>,
    /// The image itself, where it is an index.
    pub index: Option<Arc<ImageIndex>>,
    /// How much was looked at before they were stored. [`Extent::Everything`] only where all of them are still there.
    pub extent: Extent,
    /// Whether somebody brought it, and there may be no other place to have it from. It stays so when newer evidence takes
    /// its place.
    pub imported: bool,
}

impl Stored {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.signatures.is_empty() && self.index.is_none()
    }
}

/// Whether a read is a use of the evidence, by which it is evicted later.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    Use,
    Look,
}

/// An image with evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The repository.
    pub repository: Repository,
    /// The image.
    pub descriptor: Descriptor,
    /// When its evidence was stored.
    pub recorded: Timestamp,
    /// Whether somebody brought it.
    pub imported: bool,
}

/// A part of the list of images, in an order that means nothing and does not change.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// The images.
    pub images: Vec<Listed>,
    /// After which the next part begins; none where this is the last.
    pub next: Option<ImageKey>,
}

enum Request {
    List(Option<ImageKey>, oneshot::Sender<Result<Page, NotStored>>),
    Load(Image, Reading, oneshot::Sender<Stored>),
    Store(Image, Stored, Timestamp, oneshot::Sender<Result<(), NotStored>>),
    Remove(Image, oneshot::Sender<Result<(), NotStored>>),
    Clear(oneshot::Sender<Result<(), NotStored>>),
    Pin(HashSet<ImageKey>),
    ShutDown(oneshot::Sender<()>),
}

/// The store's handle. Clones share one store; when the last is dropped the store shuts down by itself.
#[derive(Clone, Debug)]
pub struct EvidenceStore {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    options: EvidenceOptions,
    claim: Arc<Claim>,
    worker: Mutex<Worker>,
}

/// The thread that is in charge.
#[derive(Clone, Debug)]
struct Worker {
    requests: mpsc::Sender<Request>,
    view: Arc<View>,
    abandoned: u32,
}

/// What the thread shows of itself, so that a hanging one can still be looked at.
#[derive(Debug, Default)]
struct View {
    stats: Mutex<EvidenceStats>,
    /// Since when it has been at one step; none while it waits for a request.
    busy_since: Mutex<Option<Instant>>,
}

impl View {
    /// Whether it has been at one step for longer than a reader waits.
    fn is_slow(&self) -> bool {
        lock(&self.busy_since).is_some_and(|since| since.elapsed() > LOAD_TIMEOUT)
    }

    fn busy(&self) {
        *lock(&self.busy_since) = Some(Instant::now());
    }

    /// Called before an answer is given, so that who has it sees what it did.
    fn show<T>(&self, store: &Store, answer: T) -> T {
        *lock(&self.stats) = store.stats();
        answer
    }

    fn idle(&self, store: &Store) {
        self.show(store, ());
        *lock(&self.busy_since) = None;
    }
}

impl EvidenceStore {
    /// Starts the store's thread, which opens the files. Reads wait until it has, everything else until it has counted what is there as
    /// well; a store that cannot be opened answers nothing and tries again.
    ///
    /// # Errors
    ///
    /// When the system refuses a thread.
    pub fn open(options: EvidenceOptions) -> std::io::Result<Self> {
        let claim = Arc::default();
        let worker = start(options.clone(), &claim)?;
        Ok(Self {
            shared: Arc::new(Shared {
                options,
                claim,
                worker: Mutex::new(worker),
            }),
        })
    }

    /// What was stored for an image and proves itself now. Empty where there is nothing, or the store does not work.
    pub async fn load(&self, repository: &Repository, descriptor: &Descriptor) -> Stored {
        self.read(repository, descriptor, Reading::Use).await
    }

    /// The same without counting as a use: whoever looks at everything must not change what is evicted first.
    pub async fn peek(&self, repository: &Repository, descriptor: &Descriptor) -> Stored {
        self.read(repository, descriptor, Reading::Look).await
    }

    async fn read(&self, repository: &Repository, descriptor: &Descriptor, reading: Reading) -> Stored {
        let worker = self.worker();
        if worker.view.is_slow() {
            // Whoever waited before this one waited in vain.
            self.shared.give_up_if_stuck(&worker);
            return Stored::default();
        }
        let request = |reply| Request::Load(image(repository, descriptor), reading, reply);
        self.ask(request, LOAD_TIMEOUT).await.unwrap_or_default()
    }

    /// Stores what the judgement of an image rested on, in place of what was stored for it before. To be called after
    /// judging, with the signatures first that were good: what goes beyond the limits of one verification is left out at the
    /// end.
    ///
    /// When this returns, the evidence survives the end of the process, though not a power cut. What is imported makes room by
    /// what was gathered, and never by what was imported before.
    ///
    /// # Errors
    ///
    /// When the store does not work or cannot be written, or is full of what was imported.
    pub async fn store(
        &self,
        repository: &Repository,
        descriptor: &Descriptor,
        evidence: Stored,
        now: Timestamp,
    ) -> Result<(), NotStored> {
        let request = |reply| Request::Store(image(repository, descriptor), evidence, now, reply);
        self.ask(request, WRITE_TIMEOUT).await?
    }

    /// Removes an image's evidence.
    ///
    /// # Errors
    ///
    /// When the store does not work or cannot be written.
    pub async fn remove(&self, repository: &Repository, descriptor: &Descriptor) -> Result<(), NotStored> {
        let request = |reply| Request::Remove(image(repository, descriptor), reply);
        self.ask(request, WRITE_TIMEOUT).await?
    }

    /// Removes everything and starts anew, also when the files cannot be read.
    ///
    /// # Errors
    ///
    /// When the files cannot be removed or created.
    pub async fn clear(&self) -> Result<(), NotStored> {
        self.ask(Request::Clear, WRITE_TIMEOUT).await?
    }

    /// The images with evidence, a part at a time: the first, or the one that begins after an image. The store does other work
    /// between two. What is stored or removed meanwhile may be missed.
    ///
    /// # Errors
    ///
    /// When the store does not work.
    pub async fn list(&self, after: Option<ImageKey>) -> Result<Page, NotStored> {
        self.ask(|reply| Request::List(after, reply), WRITE_TIMEOUT).await?
    }

    /// Names the images on the node, in place of those named before: their evidence is evicted late, and only what was
    /// imported later still. What is recently used is evicted late in any case.
    pub async fn pin(&self, images: HashSet<ImageKey>) {
        let worker = self.worker();
        // A store that takes no request has nothing to evict either.
        let _ = timeout(WRITE_TIMEOUT, worker.requests.send(Request::Pin(images))).await;
    }

    /// What the store holds, and whether it works. Never waits for the disk.
    pub fn stats(&self) -> EvidenceStats {
        let view = self.worker().view;
        let mut stats = lock(&view.stats).clone();
        if stats.limit == 0 {
            stats.limit = self.shared.options.limit;
        }
        if let Some(busy) = lock(&view.busy_since).filter(|since| since.elapsed() > LOAD_TIMEOUT) {
            stats.state = EvidenceState::Unavailable(format!("busy for {} s", busy.elapsed().as_secs()));
        }
        stats
    }

    /// Flushes and closes the store for all its handles. Returns when the files are free, or after 30 s.
    pub async fn shut_down(&self) {
        // Not stored is not possible: there is nothing to store, and a thread that is gone has shut down.
        let _ = self.ask(Request::ShutDown, WRITE_TIMEOUT).await;
    }

    fn worker(&self) -> Worker {
        lock(&self.shared.worker).clone()
    }

    async fn ask<T>(
        &self,
        request: impl FnOnce(oneshot::Sender<T>) -> Request,
        patience: Duration,
    ) -> Result<T, NotStored> {
        let worker = self.worker();
        let (reply, answer) = oneshot::channel();
        let asked = async {
            worker.requests.send(request(reply)).await.ok()?;
            answer.await.ok()
        };
        match timeout(patience, asked).await {
            Ok(Some(answer)) => Ok(answer),
            Ok(None) => Err(NotStored("it is shut down".to_owned())),
            Err(_) => {
                self.shared.give_up_if_stuck(&worker);
                Err(NotStored(format!("it did not answer for {} s", patience.as_secs())))
            }
        }
    }
}

fn image(repository: &Repository, descriptor: &Descriptor) -> Image {
    Image {
        repository: repository.clone(),
        descriptor: descriptor.clone(),
    }
}

impl Shared {
    /// Replaces a thread that is stuck by a new one, which moves the files aside before it opens any.
    fn give_up_if_stuck(&self, asked: &Worker) {
        let stuck = lock(&asked.view.busy_since).is_some_and(|since| since.elapsed() > STUCK_AFTER);
        let mut worker = lock(&self.worker);
        let current = Arc::ptr_eq(&worker.view, &asked.view);
        if !stuck || !current || worker.abandoned >= MAX_ABANDONED {
            return;
        }
        error!("the evidence store is stuck: its thread is given up");
        match start(self.options.clone(), &self.claim) {
            Ok(started) => {
                *worker = Worker {
                    abandoned: worker.abandoned + 1,
                    ..started
                };
            }
            Err(cause) => error!(%cause, "no other thread can be started for the evidence store"),
        }
    }
}

/// Starts a thread in the place of those before it.
fn start(options: EvidenceOptions, claim: &Arc<Claim>) -> std::io::Result<Worker> {
    let (requests, received) = mpsc::channel(QUEUE_LENGTH);
    let view = Arc::new(View::default());
    view.busy();
    let (shown, claim) = (Arc::clone(&view), Arc::clone(claim));
    let thread = claim.take();
    std::thread::Builder::new().name("evidence".to_owned()).spawn(move || {
        let _gone = Gone(&shown);
        run(options, claim, thread, received, &shown);
    })?;
    Ok(Worker {
        requests,
        view,
        abandoned: 0,
    })
}

/// Says that the thread is gone, whatever made it end.
struct Gone<'a>(&'a View);

impl Drop for Gone<'_> {
    fn drop(&mut self) {
        lock(&self.0.stats).state = EvidenceState::Unavailable("it is shut down".to_owned());
        *lock(&self.0.busy_since) = None;
    }
}

/// The thread: one request after the other, until the last handle is gone.
fn run(options: EvidenceOptions, claim: Arc<Claim>, thread: u32, mut requests: mpsc::Receiver<Request>, view: &View) {
    // What came while the store was being opened or copied and was not a read.
    let mut waiting = VecDeque::new();
    let mut store = Store::open(options, claim, thread, |read| {
        serve_reads(&mut requests, &mut waiting, view, read);
    });
    loop {
        view.idle(&store);
        let Some(request) = waiting.pop_front().or_else(|| requests.blocking_recv()) else {
            break;
        };
        view.busy();
        // Who no longer waits for an answer is told nothing.
        match request {
            Request::List(after, reply) => {
                let answer = store.list(after);
                let _ = reply.send(view.show(&store, answer));
            }
            Request::Load(image, reading, reply) => {
                let answer = store.load(&image, reading);
                let _ = reply.send(view.show(&store, answer));
            }
            Request::Store(image, evidence, now, reply) => {
                let answer = store.store(&image, &evidence, now);
                let _ = reply.send(view.show(&store, answer));
            }
            Request::Remove(image, reply) => {
                let answer = store.remove(&image);
                let _ = reply.send(view.show(&store, answer));
            }
            Request::Clear(reply) => {
                let answer = store.clear();
                let _ = reply.send(view.show(&store, answer));
            }
            Request::Pin(images) => store.pin(images),
            Request::ShutDown(reply) => {
                store.shut_down();
                view.idle(&store);
                let _ = reply.send(());
                return;
            }
        }
        store.rebuild_if_due(|read| serve_reads(&mut requests, &mut waiting, view, read));
    }
    store.shut_down();
}

/// Answers the reads that wait. Everything else waits on.
fn serve_reads(
    requests: &mut mpsc::Receiver<Request>,
    waiting: &mut VecDeque<Request>,
    view: &View,
    read: &mut dyn FnMut(&Image, Reading) -> Stored,
) {
    view.busy();
    while waiting.len() < QUEUE_LENGTH
        && let Ok(request) = requests.try_recv()
    {
        match request {
            Request::Load(image, reading, reply) => {
                let _ = reply.send(read(&image, reading));
            }
            other => waiting.push_back(other),
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
