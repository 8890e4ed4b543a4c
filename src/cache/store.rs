//! The evidence store itself: sled, its accounting and its recovery. Blocking: only the store's own thread calls it.
//!
//! sled 0.34 panics, answers with an error, loses entries or returns older ones when its files are damaged. So:
//!
//! - Opening and every operation run under `catch_unwind`. After a panic or a corruption error the files are moved aside
//!   and an empty store is opened in their place, in the same process.
//! - The process' panic hook is left alone: it belongs to the program, not to a library in it, and a damaged store
//!   panics once, because it is not asked again. One panic message, then the error that names what was done.
//! - A full or read-only disk is no damage: nothing is moved. An open store is still read, and writing is tried again
//!   later. One that is not open yet waits: sled writes when it opens.
//! - A process that dies while it opens the store leaves a mark. After the third in a row the files are moved aside.
//! - sled runs without its background flusher: every write is flushed before it is acknowledged, and no thread of sled's
//!   own can panic or hold the files when they are moved. Its file is kept small by copying what is alive into a new one.
//! - Nothing here calls fsync on purpose. What a power cut takes is fetched again.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, TryLockError};
use std::io::{self, ErrorKind};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime};

use assay_verify::Timestamp;
use assay_verify::descriptor::Descriptor;
use assay_verify::evidence::{Signature, SignatureManifest};
use assay_verify::limits::{MAX_SIGNATURES, MAX_VERIFICATION_MEMORY};
use assay_verify::reference::Repository;
use tracing::{error, info, warn};

use super::evidence::{EvidenceOptions, EvidenceState, EvidenceStats, NotStored};
use super::record::{BlobKey, IMAGE_PREFIX, ImageKey, ImageRecord, SignatureEntry, decode_blob, encode_blob};

/// What a key, sled's own framing and the accounting cost for each record, roughly.
const RECORD_OVERHEAD: u64 = 128;

/// What sled's file may take beside twice the limit: a few dozen of its segments of 512 KiB, of which it always keeps
/// some.
const FILE_SLACK: u64 = 16 * 1024 * 1024;

/// The size of the file is looked at again after this many bytes were written.
const FILE_CHECK_INTERVAL: u64 = 4 * 1024 * 1024;

/// sled's page cache. The system's own keeps the rest; more here only costs memory.
const SLED_CACHE: u64 = 4 * 1024 * 1024;

/// A use is written down when this many others came after the one last written: recency survives a restart coarsely,
/// and reading stays reading.
const USES_BETWEEN_WRITES: u64 = 4096;

/// Room on the disk before a store that cannot be written is opened anew: four of sled's segments.
const PROBE_SIZE: usize = 2 * 1024 * 1024;

/// Processes that may die in a row while they open the store before its files are held to be the reason.
const MAX_BROKEN_OPENINGS: usize = 3;

/// How long a damaged or full store may take to let go of its files.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// Why an operation failed.
#[derive(Clone, Debug)]
enum Failure {
    /// The files are damaged.
    Damaged(String),
    /// The disk is full or read-only, the files are in use, and the like: nothing is wrong with what they hold.
    Environment(String),
}

impl Failure {
    fn io(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::Environment(format!("{what} {}: {error}", path.display()))
    }
}

/// An image and what it is called in the store.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) repository: Repository,
    pub(super) descriptor: Descriptor,
}

impl Image {
    fn key(&self) -> ImageKey {
        ImageKey::new(&self.repository, &self.descriptor)
    }
}

/// The files of the store: siblings in one directory, so that a rename moves them.
#[derive(Debug)]
struct Files {
    directory: PathBuf,
}

impl Files {
    const STORE: &str = "evidence";
    const DAMAGED_PREFIX: &str = "evidence.damaged-";

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    fn store(&self) -> PathBuf {
        self.path(Self::STORE)
    }

    fn lock(&self) -> PathBuf {
        self.path("evidence.lock")
    }

    /// Has one byte for each process in a row that died while it opened the store.
    fn openings(&self) -> PathBuf {
        self.path("evidence.opening")
    }

    /// The copy that a rebuild writes.
    fn copy(&self) -> PathBuf {
        self.path("evidence.new")
    }

    /// The original, between the two renames at the end of a rebuild.
    fn old(&self) -> PathBuf {
        self.path("evidence.old")
    }

    /// Whether the disk takes more than sled needs to open the store.
    fn probe(&self) -> io::Result<()> {
        let path = self.path("evidence.probe");
        let written = fs::write(&path, vec![0; PROBE_SIZE]);
        remove(&path)?;
        written
    }

    /// Ends a rebuild that a dying process left behind.
    fn finish_rebuild(&self) -> io::Result<()> {
        if !exists(&self.store())? && exists(&self.old())? && exists(&self.copy())? {
            fs::rename(self.copy(), self.store())?;
        }
        remove(&self.copy())?;
        if exists(&self.store())? {
            remove(&self.old())
        } else if exists(&self.old())? {
            fs::rename(self.old(), self.store())
        } else {
            Ok(())
        }
    }

    /// Moves the damaged files aside and removes what was moved aside before: one is kept, for whoever wants to look.
    fn set_aside(&self) -> io::Result<PathBuf> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(Self::DAMAGED_PREFIX) {
                remove(&entry.path())?;
            }
        }
        let seconds = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let aside = self.path(&format!("{}{seconds}", Self::DAMAGED_PREFIX));
        match fs::rename(self.store(), &aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                // What cannot be kept for looking at must still not be opened again.
                remove(&self.store())?;
            }
            _ => {}
        }
        Ok(aside)
    }
}

fn exists(path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// Removes a file or folder, and is content when there is none.
fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// What the store holds, counted in memory. It is read from the image records when the store is opened.
#[derive(Debug, Default)]
struct Accounts {
    images: HashMap<ImageKey, Account>,
    blobs: HashMap<BlobKey, BlobAccount>,
    bytes: u64,
    /// How often anything was used: the store's own clock, which nobody can set.
    uses: u64,
}

#[derive(Debug)]
struct Account {
    record_size: u64,
    used: u64,
    used_on_disk: u64,
    blobs: Box<[BlobKey]>,
}

#[derive(Debug)]
struct BlobAccount {
    references: u32,
    size: u64,
}

impl Accounts {
    /// Adds an image, in place of its older record. Returns the blobs that nothing refers to any more.
    fn add(&mut self, record: &ImageRecord, record_size: usize) -> Vec<BlobKey> {
        let key = record.key();
        let mut seen = HashSet::new();
        let mut blobs = Vec::new();
        for (blob, size) in record.signatures.iter().flat_map(SignatureEntry::blobs) {
            if !seen.insert(blob) {
                continue;
            }
            blobs.push(blob);
            let account = self.blobs.entry(blob).or_insert(BlobAccount { references: 0, size });
            if account.references == 0 {
                self.bytes += account.size + RECORD_OVERHEAD;
            }
            account.references += 1;
        }
        // Added before the old one is removed, so that what both refer to stays.
        let released = self.remove(&key);
        self.bytes += record_size as u64 + RECORD_OVERHEAD;
        self.uses = self.uses.max(record.used);
        self.images.insert(
            key,
            Account {
                record_size: record_size as u64,
                used: record.used,
                used_on_disk: record.used,
                blobs: blobs.into(),
            },
        );
        released
    }

    fn remove(&mut self, key: &ImageKey) -> Vec<BlobKey> {
        let Some(account) = self.images.remove(key) else {
            return Vec::new();
        };
        self.bytes -= account.record_size + RECORD_OVERHEAD;
        let mut released = Vec::new();
        for key in account.blobs {
            if let Some(blob) = self.blobs.get_mut(&key) {
                blob.references -= 1;
                if blob.references == 0 {
                    self.bytes -= blob.size + RECORD_OVERHEAD;
                    self.blobs.remove(&key);
                    released.push(key);
                }
            }
        }
        released
    }

    fn next_use(&mut self) -> u64 {
        self.uses += 1;
        self.uses
    }
}

/// An open store.
struct Opened {
    sled: sled::Db,
    accounts: Accounts,
    /// Bytes written since the size of the files was looked at, and what it was.
    written: u64,
    size_on_disk: u64,
    /// Since when, and why, nothing can be written.
    read_only: Option<(Instant, String)>,
}

/// What a read found.
#[derive(Default)]
struct Found {
    signatures: Vec<Signature>,
    damaged: u64,
    /// Tidying up failed: what was proven holds all the same.
    upkeep: Option<Failure>,
}

fn damaged(error: impl ToString) -> Failure {
    Failure::Damaged(error.to_string())
}

/// Runs one operation of sled's and sorts out how it failed.
fn guarded<T>(operation: impl FnOnce() -> sled::Result<T>) -> Result<T, Failure> {
    match catch_unwind(AssertUnwindSafe(operation)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(sled::Error::Io(error))) => Err(sort(&error)),
        Ok(Err(error)) => Err(damaged(error)),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(Failure::Damaged(format!(
                "sled panicked: {}",
                text.unwrap_or("no message")
            )))
        }
    }
}

fn sort(error: &io::Error) -> Failure {
    let text = error.to_string();
    match error.kind() {
        // sled's own lock. Ours is taken before, so this is a store that is still letting go.
        ErrorKind::Other if text.contains("could not acquire lock") => Failure::Environment(text),
        ErrorKind::UnexpectedEof
        | ErrorKind::InvalidData
        | ErrorKind::InvalidInput
        | ErrorKind::NotFound
        | ErrorKind::AlreadyExists
        | ErrorKind::IsADirectory
        | ErrorKind::NotADirectory
        | ErrorKind::Other => Failure::Damaged(text),
        _ => Failure::Environment(text),
    }
}

fn open_sled(path: &Path) -> Result<sled::Db, Failure> {
    guarded(|| {
        sled::Config::new()
            .path(path)
            .cache_capacity(SLED_CACHE)
            .mode(sled::Mode::LowSpace)
            .flush_every_ms(None)
            .open()
    })
}

/// Lets go of sled. A damaged one may panic or wait for ever meanwhile, so it is given a thread and a time.
fn close(sled: sled::Db) {
    let (done, closed) = mpsc::channel();
    let closing = std::thread::Builder::new()
        .name("evidence-close".to_owned())
        .spawn(move || {
            // The outcome of closing changes nothing: what matters was flushed, what is damaged is moved aside.
            let _ = catch_unwind(AssertUnwindSafe(|| drop(sled)));
            let _ = done.send(());
        });
    if closing.is_ok() && closed.recv_timeout(CLOSE_TIMEOUT).is_err() {
        warn!("the evidence store does not let go of its files");
    }
}

impl Opened {
    fn open(path: &Path) -> Result<(Self, u64), Failure> {
        let held_something = fs::metadata(path.join("db")).is_ok_and(|data| data.len() > 0);
        let sled = open_sled(path)?;
        if held_something && !sled.was_recovered() {
            close(sled);
            return Err(Failure::Damaged("sled recognised nothing in its file".to_owned()));
        }
        let mut open = Self {
            sled,
            accounts: Accounts::default(),
            written: 0,
            size_on_disk: 0,
            read_only: None,
        };
        match open.count().and_then(|damaged| open.measure().map(|()| damaged)) {
            Ok(damaged) => Ok((open, damaged)),
            Err(failure) => {
                close(open.sled);
                Err(failure)
            }
        }
    }

    /// Reads every image record. What is none is left out and removed; returns how many were.
    fn count(&mut self) -> Result<u64, Failure> {
        let mut bad = sled::Batch::default();
        let mut count = 0;
        let accounts = &mut self.accounts;
        let sled = &self.sled;
        guarded(|| {
            for item in sled.scan_prefix([IMAGE_PREFIX]) {
                let (key, value) = item?;
                let record = ImageKey::from_bytes(&key).and_then(|key| ImageRecord::decode(key, &value).ok());
                match record {
                    Some(record) => {
                        accounts.add(&record, value.len());
                    }
                    None => {
                        count += 1;
                        bad.remove(key);
                    }
                }
            }
            Ok(())
        })?;
        if count > 0 {
            // On a disk that cannot be written they stay, and are left out again next time.
            if let Err(failure @ Failure::Damaged(_)) = guarded(|| self.sled.apply_batch(bad)) {
                return Err(failure);
            }
        }
        Ok(count)
    }

    /// Looks at the size of the files.
    fn measure(&mut self) -> Result<(), Failure> {
        self.size_on_disk = guarded(|| self.sled.size_on_disk())?;
        self.written = 0;
        Ok(())
    }

    fn record(&self, key: ImageKey) -> Result<Option<sled::IVec>, Failure> {
        guarded(|| self.sled.get(key.to_bytes()))
    }

    fn blob(&self, key: BlobKey) -> Result<Option<Arc<[u8]>>, Failure> {
        let value = guarded(|| self.sled.get(key.to_bytes()))?;
        Ok(value.and_then(|value| decode_blob(&value).ok().map(Arc::from)))
    }

    /// Proves one signature from its blobs.
    fn prove(&self, entry: &SignatureEntry) -> Result<Option<Signature>, Failure> {
        let [(manifest, _), (envelope, _)] = entry.blobs();
        let Some(json) = self.blob(manifest)? else {
            return Ok(None);
        };
        let Ok(manifest) = SignatureManifest::open(&entry.manifest, json) else {
            return Ok(None);
        };
        if manifest.envelope().digest != entry.envelope {
            return Ok(None);
        }
        let Some(bytes) = self.blob(envelope)? else {
            return Ok(None);
        };
        Ok(Signature::new(manifest, bytes).ok())
    }

    fn load(&mut self, image: &Image) -> Result<Found, Failure> {
        let key = image.key();
        let Some(value) = self.record(key)? else {
            // Counted, and not there: sled lost it.
            let lost = self.read_only.is_none() && self.accounts.images.contains_key(&key);
            return Ok(Found {
                damaged: lost.into(),
                upkeep: if lost { self.remove(key).err() } else { None },
                ..Found::default()
            });
        };
        let record = ImageRecord::decode(key, &value).ok();
        let Some(mut record) =
            record.filter(|record| record.repository == image.repository && record.descriptor == image.descriptor)
        else {
            return Ok(Found {
                damaged: 1,
                upkeep: self.remove(key).err(),
                ..Found::default()
            });
        };
        let mut found = Found::default();
        let mut proven = Vec::with_capacity(record.signatures.len());
        for entry in record.signatures {
            match self.prove(&entry)? {
                Some(signature) => {
                    found.signatures.push(signature);
                    proven.push(entry);
                }
                None => found.damaged += 1,
            }
        }
        record.signatures = proven;
        record.used = self.accounts.next_use();
        if let Some(account) = self.accounts.images.get_mut(&key) {
            account.used = record.used;
        }
        let on_disk = self.accounts.images.get(&key).map(|account| account.used_on_disk);
        // Also what is on disk and not counted: sled returned an older record than at opening.
        let due = on_disk.is_none_or(|on_disk| record.used - on_disk.min(record.used) > USES_BETWEEN_WRITES);
        found.upkeep = if record.signatures.is_empty() {
            self.remove(key).err()
        } else if found.damaged > 0 || due {
            self.write(&record, &[]).err()
        } else {
            None
        };
        Ok(found)
    }

    fn store(&mut self, image: &Image, signatures: &[Signature], now: Timestamp) -> Result<(), Failure> {
        let mut record = ImageRecord {
            repository: image.repository.clone(),
            descriptor: image.descriptor.clone(),
            recorded: now,
            used: self.accounts.next_use(),
            signatures: Vec::new(),
        };
        let mut kept: Vec<&Signature> = Vec::new();
        let mut names = HashSet::new();
        let mut size = 0;
        // The first ones are kept: the caller puts first what was good.
        for signature in signatures {
            if kept.len() < MAX_SIGNATURES
                && size + signature.size() <= MAX_VERIFICATION_MEMORY
                && names.insert(signature.manifest().digest())
            {
                size += signature.size();
                record.signatures.push(SignatureEntry::new(signature));
                kept.push(signature);
            }
        }
        if kept.is_empty() {
            return self.remove(image.key());
        }
        self.write(&record, &kept)?;
        guarded(|| self.sled.flush()).map(drop)
    }

    /// Writes a record and the blobs of `signatures`, all or nothing, and removes what nothing refers to any more.
    fn write(&mut self, record: &ImageRecord, signatures: &[&Signature]) -> Result<(), Failure> {
        self.writable()?;
        let bytes = record.encode().map_err(damaged)?;
        let mut batch = sled::Batch::default();
        for (entry, signature) in record.signatures.iter().zip(signatures) {
            let [(manifest, _), (envelope, _)] = entry.blobs();
            for (key, content) in [
                (manifest, signature.manifest().json()),
                (envelope, signature.envelope()),
            ] {
                // Read first: another image may share it, and what is on disk may be damaged.
                if self.blob(key)?.as_ref() != Some(content) {
                    let blob = encode_blob(content).map_err(damaged)?;
                    self.written += blob.len() as u64;
                    batch.insert(key.to_bytes().as_slice(), blob);
                }
            }
        }
        self.written += bytes.len() as u64;
        let size = bytes.len();
        batch.insert(record.key().to_bytes().as_slice(), bytes);
        for key in self.accounts.add(record, size) {
            batch.remove(key.to_bytes().as_slice());
        }
        guarded(|| self.sled.apply_batch(batch))
    }

    fn remove(&mut self, key: ImageKey) -> Result<(), Failure> {
        self.writable()?;
        let mut batch = sled::Batch::default();
        batch.remove(key.to_bytes().as_slice());
        for blob in self.accounts.remove(&key) {
            batch.remove(blob.to_bytes().as_slice());
        }
        guarded(|| self.sled.apply_batch(batch))
    }

    fn writable(&self) -> Result<(), Failure> {
        match &self.read_only {
            Some((_, why)) => Err(Failure::Environment(why.clone())),
            None => Ok(()),
        }
    }

    /// Brings the store a tenth below `limit`: first what is not pinned, least recently used first. `stored` is on its
    /// way to the node and counts as pinned.
    fn evict(&mut self, limit: u64, pinned: &HashSet<ImageKey>, stored: ImageKey) -> Result<u64, Failure> {
        if self.accounts.bytes <= limit {
            return Ok(0);
        }
        let mut order: Vec<_> = self
            .accounts
            .images
            .iter()
            .map(|(key, account)| (pinned.contains(key) || *key == stored, account.used, *key))
            .collect();
        order.sort_unstable();
        let mut evicted = 0;
        for (_, _, key) in order {
            if self.accounts.bytes <= limit - limit / 10 {
                break;
            }
            self.remove(key)?;
            evicted += 1;
        }
        guarded(|| self.sled.flush())?;
        Ok(evicted)
    }

    /// Copies what is alive, records and blobs as they are: whoever reads them proves them.
    fn copy_to(&mut self, path: &Path, between: &mut dyn FnMut(&mut Self)) -> Result<(), Failure> {
        let copy = open_sled(path)?;
        let images: Vec<ImageKey> = self.accounts.images.keys().copied().collect();
        let copied = images.into_iter().try_for_each(|key| {
            between(self);
            let Some(account) = self.accounts.images.get(&key) else {
                return Ok(());
            };
            let keys = account.blobs.iter().map(|blob| blob.to_bytes());
            guarded(|| {
                let mut batch = sled::Batch::default();
                for key in keys.chain([key.to_bytes()]) {
                    if let Some(value) = self.sled.get(key)? {
                        batch.insert(key.as_slice(), value);
                    }
                }
                copy.apply_batch(batch)
            })
        });
        let copied = copied.and_then(|()| guarded(|| copy.flush()).map(drop));
        close(copy);
        copied
    }
}

/// The right to touch the files: one process holds it, and in it one thread.
#[derive(Debug, Default)]
pub(super) struct Claim {
    lock: Mutex<Option<File>>,
    thread: AtomicU32,
}

impl Claim {
    /// Takes the right away from every thread before this one, and returns this one's number.
    pub(super) fn take(&self) -> u32 {
        self.thread.fetch_add(1, Ordering::SeqCst) + 1
    }

    fn lock(&self) -> MutexGuard<'_, Option<File>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

enum State {
    Open(Box<Opened>),
    Unavailable { why: String, since: Instant },
}

/// The store in all its states.
pub(super) struct Store {
    options: EvidenceOptions,
    files: Files,
    claim: Arc<Claim>,
    thread: u32,
    state: State,
    pinned: HashSet<ImageKey>,
    hits: u64,
    misses: u64,
    damaged_records: u64,
    damaged_stores: u64,
    evicted: u64,
}

impl Store {
    /// Opens the store, or finds out why not; never fails. `thread` is the number that [`Claim::take`] gave; where it is
    /// not the first, the one before got stuck on the files, and they are moved aside unopened.
    pub(super) fn open(options: EvidenceOptions, claim: Arc<Claim>, thread: u32) -> Self {
        let mut store = Self {
            files: Files {
                directory: options.directory.clone(),
            },
            options,
            claim,
            thread,
            state: State::Unavailable {
                why: "not opened yet".to_owned(),
                since: Instant::now(),
            },
            pinned: HashSet::new(),
            hits: 0,
            misses: 0,
            damaged_records: 0,
            damaged_stores: 0,
            evicted: 0,
        };
        if thread > 1 && store.take_lock().is_ok() {
            store.set_aside("a thread got stuck on its files");
        }
        store.reopen();
        store
    }

    /// Whether another thread was put in this one's place: then the files are no longer this one's to touch.
    fn is_replaced(&self) -> bool {
        self.claim.thread.load(Ordering::SeqCst) != self.thread
    }

    pub(super) fn load(&mut self, image: &Image) -> Vec<Signature> {
        let Some(open) = self.opened() else {
            self.misses += 1;
            return Vec::new();
        };
        match open.load(image) {
            Ok(mut found) => {
                let upkeep = found.upkeep.take();
                let signatures = self.found(image, found);
                if let Some(failure) = upkeep {
                    self.failed(failure);
                }
                signatures
            }
            Err(failure) => {
                self.misses += 1;
                self.failed(failure);
                Vec::new()
            }
        }
    }

    fn found(&mut self, image: &Image, found: Found) -> Vec<Signature> {
        self.counted(image, found.damaged, !found.signatures.is_empty());
        found.signatures
    }

    fn counted(&mut self, image: &Image, damaged: u64, hit: bool) {
        if damaged > 0 {
            self.damaged_records += damaged;
            error!(
                repository = %image.repository,
                digest = %image.descriptor.digest,
                records = damaged,
                "stored evidence did not prove itself and was dropped"
            );
        }
        match hit {
            true => self.hits += 1,
            false => self.misses += 1,
        }
    }

    pub(super) fn store(&mut self, image: &Image, signatures: &[Signature], now: Timestamp) -> Result<(), NotStored> {
        let (limit, key) = (self.options.limit, image.key());
        let pinned = std::mem::take(&mut self.pinned);
        let outcome = self.write(|open| {
            open.store(image, signatures, now)?;
            open.evict(limit, &pinned, key)
        });
        self.pinned = pinned;
        self.evicted += outcome?;
        Ok(())
    }

    pub(super) fn remove(&mut self, image: &Image) -> Result<(), NotStored> {
        self.write(|open| {
            open.remove(image.key())?;
            guarded(|| open.sled.flush()).map(drop)
        })
    }

    pub(super) fn pin(&mut self, images: HashSet<ImageKey>) {
        self.pinned = images;
    }

    /// Removes everything, a store that cannot be opened included.
    pub(super) fn clear(&mut self) -> Result<(), NotStored> {
        self.shut("it is being cleared".to_owned());
        self.take_lock().map_err(not_stored)?;
        let path = self.files.store();
        remove(&path).map_err(|error| NotStored(format!("cannot remove {}: {error}", path.display())))?;
        self.reopen();
        match &self.state {
            State::Open(_) => Ok(()),
            State::Unavailable { why, .. } => Err(NotStored(why.clone())),
        }
    }

    pub(super) fn stats(&self) -> EvidenceStats {
        let mut stats = EvidenceStats {
            limit: self.options.limit,
            hits: self.hits,
            misses: self.misses,
            damaged_records: self.damaged_records,
            damaged_stores: self.damaged_stores,
            evicted: self.evicted,
            ..EvidenceStats::default()
        };
        match &self.state {
            State::Open(open) => {
                stats.images = open.accounts.images.len() as u64;
                stats.bytes = open.accounts.bytes;
                stats.bytes_on_disk = open.size_on_disk;
                stats.state = match &open.read_only {
                    None => EvidenceState::Ready,
                    Some((_, why)) => EvidenceState::ReadOnly(why.clone()),
                };
            }
            State::Unavailable { why, .. } => stats.state = EvidenceState::Unavailable(why.clone()),
        }
        stats
    }

    /// Copies what is alive into a new file when the old one has grown too large. `between` is called again and again
    /// meanwhile and may read.
    pub(super) fn rebuild_if_due(&mut self, mut between: impl FnMut(&mut dyn FnMut(&Image) -> Vec<Signature>)) {
        let bound = 2 * self.options.limit + FILE_SLACK;
        let State::Open(open) = &mut self.state else { return };
        if open.written < FILE_CHECK_INTERVAL || open.read_only.is_some() {
            return;
        }
        if let Err(failure) = open.measure() {
            return self.failed(failure);
        }
        let before = open.size_on_disk;
        if before <= bound {
            return;
        }
        let mut served = Vec::new();
        let mut serve = |open: &mut Opened| {
            between(&mut |image| {
                // What damage fails here fails the copy, too, or shows when the copy is read.
                let mut found = open.load(image).unwrap_or_default();
                let signatures = std::mem::take(&mut found.signatures);
                served.push((image.clone(), found.damaged, !signatures.is_empty()));
                signatures
            });
        };
        let (new, old, path) = (self.files.copy(), self.files.old(), self.files.store());
        let copied = remove(&new)
            .map_err(|error| Failure::io("cannot remove", &new, &error))
            .and_then(|()| open.copy_to(&new, &mut serve));
        for (image, damaged, hit) in served {
            self.counted(&image, damaged, hit);
        }
        if self.is_replaced() {
            return;
        }
        if let Err(failure) = copied {
            // The copy that a full disk cut short must not keep it full.
            let _ = remove(&new);
            return self.failed(failure);
        }
        self.shut("it is being rebuilt".to_owned());
        let swapped = remove(&old)
            .and_then(|()| fs::rename(&path, &old))
            .and_then(|()| fs::rename(&new, &path))
            .and_then(|()| remove(&old));
        if let Err(error) = swapped {
            // Opening sorts out how far the swap came.
            warn!(path = %path.display(), %error, "the evidence store could not be swapped for its copy");
        }
        self.reopen();
        if let State::Open(open) = &self.state {
            info!(
                before,
                after = open.size_on_disk,
                "copied the evidence store into a smaller file"
            );
        }
    }

    /// Flushes and lets go of the files.
    pub(super) fn shut_down(&mut self) {
        if let State::Open(open) = &self.state
            && open.read_only.is_none()
        {
            // A store that cannot be flushed now lost nothing that was acknowledged.
            let _ = guarded(|| open.sled.flush());
        }
        self.shut("it is shut down".to_owned());
        if !self.is_replaced() {
            *self.claim.lock() = None;
        }
    }

    fn write<T>(&mut self, operation: impl FnOnce(&mut Opened) -> Result<T, Failure>) -> Result<T, NotStored> {
        if self.opened().is_none() {
            return match &self.state {
                State::Unavailable { why, .. } => Err(NotStored(why.clone())),
                State::Open(_) => Err(NotStored("it is not open".to_owned())),
            };
        }
        let State::Open(open) = &mut self.state else {
            return Err(NotStored("it is not open".to_owned()));
        };
        operation(open).map_err(|failure| {
            self.failed(failure.clone());
            not_stored(failure)
        })
    }

    /// The open store; tries again where the last try is long enough ago.
    fn opened(&mut self) -> Option<&mut Opened> {
        let since = match &self.state {
            State::Unavailable { since, .. } => Some(*since),
            State::Open(open) => open.read_only.as_ref().map(|(since, _)| *since),
        };
        if since.is_some_and(|since| since.elapsed() >= self.options.retry_after) {
            self.try_again();
        }
        match &mut self.state {
            State::Open(open) => Some(open),
            State::Unavailable { .. } => None,
        }
    }

    fn try_again(&mut self) {
        if let State::Open(open) = &mut self.state
            && let Some((since, why)) = &mut open.read_only
        {
            // Opening writes, too. What can be read now must not be lost to an attempt that cannot succeed.
            if let Err(error) = self.files.probe() {
                (*since, *why) = (Instant::now(), error.to_string());
                return;
            }
        }
        self.reopen();
    }

    fn shut(&mut self, why: String) {
        let unavailable = State::Unavailable {
            why,
            since: Instant::now(),
        };
        if let State::Open(open) = std::mem::replace(&mut self.state, unavailable) {
            close(open.sled);
        }
    }

    fn failed(&mut self, failure: Failure) {
        let State::Open(open) = &mut self.state else { return };
        match failure {
            // After a failed write sled may look for pages that never reached the disk. Opening it anew tells whether
            // anything is damaged.
            Failure::Damaged(why) if open.read_only.is_some() => self.shut(why),
            Failure::Damaged(why) => {
                self.shut(why.clone());
                self.set_aside(&why);
                self.reopen();
            }
            Failure::Environment(_) if open.read_only.is_some() => {}
            Failure::Environment(why) => {
                // sled refuses every write from now on, and still reads.
                error!(cause = why, "evidence cannot be written; what is stored is still read");
                open.read_only = Some((Instant::now(), why));
            }
        }
    }

    fn set_aside(&mut self, why: &str) {
        if self.is_replaced() {
            return;
        }
        self.damaged_stores += 1;
        match self.files.set_aside() {
            Ok(aside) => error!(
                cause = why,
                moved_to = %aside.display(),
                "the evidence store is damaged: it was moved aside and starts empty"
            ),
            Err(error) => error!(
                cause = why,
                %error,
                "the evidence store is damaged and cannot be moved aside"
            ),
        }
    }

    fn reopen(&mut self) {
        self.shut("it is being opened".to_owned());
        let opened = match self.try_open() {
            // Once more, on what is now an empty directory.
            Err(Failure::Damaged(why)) => {
                self.set_aside(&why);
                self.try_open()
            }
            other => other,
        };
        match opened {
            Ok((open, damaged)) => {
                if damaged > 0 {
                    self.damaged_records += damaged;
                    error!(records = damaged, "damaged records of the evidence store were dropped");
                }
                self.state = State::Open(Box::new(open));
            }
            Err(Failure::Damaged(why) | Failure::Environment(why)) => {
                error!(
                    cause = why,
                    "the evidence store cannot be used; every image's evidence is fetched"
                );
                self.shut(why);
            }
        }
    }

    fn take_lock(&self) -> Result<(), Failure> {
        if self.is_replaced() {
            return Err(Failure::Environment("its thread was given up".to_owned()));
        }
        let mut held = self.claim.lock();
        if held.is_some() {
            return Ok(());
        }
        let directory = &self.files.directory;
        fs::create_dir_all(directory).map_err(|error| Failure::io("cannot create", directory, &error))?;
        let path = self.files.lock();
        let file = File::create(&path).map_err(|error| Failure::io("cannot open", &path, &error))?;
        match file.try_lock() {
            Ok(()) => {
                *held = Some(file);
                Ok(())
            }
            Err(TryLockError::WouldBlock) => Err(Failure::Environment(format!(
                "another process uses the evidence store in {}",
                directory.display()
            ))),
            Err(TryLockError::Error(error)) => Err(Failure::io("cannot lock", &path, &error)),
        }
    }

    fn try_open(&self) -> Result<(Opened, u64), Failure> {
        self.take_lock()?;
        let directory = &self.files.directory;
        self.files
            .finish_rebuild()
            .map_err(|error| Failure::io("cannot tidy", directory, &error))?;
        let mark = self.files.openings();
        let before = fs::read(&mark).map_or(0, |mark| mark.len());
        if before >= MAX_BROKEN_OPENINGS {
            remove(&mark).map_err(|error| Failure::io("cannot remove", &mark, &error))?;
            return Err(Failure::Damaged(format!(
                "{before} processes in a row died while they opened it"
            )));
        }
        // A mark that cannot be written (a full disk) must not keep the store from being read.
        let _ = fs::write(&mark, vec![b'.'; before + 1]);
        let opened = Opened::open(&self.files.store());
        // Whatever came of it, the process is alive.
        let _ = remove(&mark);
        opened
    }
}

fn not_stored(failure: Failure) -> NotStored {
    match failure {
        Failure::Damaged(why) | Failure::Environment(why) => NotStored(why),
    }
}
