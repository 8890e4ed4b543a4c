//! The evidence store in all its states: opening, moving damaged files aside, waiting for a disk, copying into a smaller
//! file. Blocking: only the store's own thread calls it.
//!
//! - After a panic or a corruption error the files are moved aside and an empty store is opened in their place, in the
//!   same process.
//! - The process' panic hook is left alone: it belongs to the program, not to a library in it, and a damaged store
//!   panics once, because it is not asked again. One panic message, then the error that names what was done.
//! - A full or read-only disk is no damage: nothing is moved. An open store is still read, and writing is tried again
//!   later. One that is not open yet waits: sled writes when it opens.
//! - A process that dies while it opens the store leaves a mark. After the third in a row the files are moved aside.

use std::collections::HashSet;
use std::fs::{self, File, TryLockError};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Instant;

use assay_verify::Timestamp;
use tracing::{error, info, warn};

use super::database::{Failure, Found, Image, Opened, Written, close, guarded};
use super::evidence::{EvidenceOptions, EvidenceState, EvidenceStats, NotStored, Page, Reading, Stored};
use super::files::{Claim, Files, remove};
use super::record::ImageKey;

/// What sled's file may take beside twice the limit: a few dozen of its segments of 512 KiB, of which it always keeps
/// some.
const FILE_SLACK: u64 = 16 * 1024 * 1024;

/// The size of the file is looked at again after this many bytes were written.
const FILE_CHECK_INTERVAL: u64 = 4 * 1024 * 1024;

/// Processes that may die in a row while they open the store before its files are held to be the reason.
const MAX_BROKEN_OPENINGS: usize = 3;

enum State {
    Open(Box<Opened>),
    Unavailable { why: String, since: Instant },
}

/// What was read while the store was at something longer: the image, its damaged records and whether there was any evidence.
#[derive(Default)]
struct Served(Vec<(Image, u64, bool)>);

impl Served {
    /// What damage fails here fails what the store is at, too, or shows when it is read again.
    fn read(&mut self, open: &mut Opened, image: &Image, reading: Reading) -> Stored {
        let found = open.load(image, reading).unwrap_or_default();
        self.0.push((image.clone(), found.damaged, !found.stored.is_empty()));
        found.stored
    }
}

/// The store in all its states.
pub(super) struct Store {
    options: EvidenceOptions,
    files: Files,
    claim: Arc<Claim>,
    thread: u32,
    state: State,
    pinned: HashSet<ImageKey>,
    /// Why it did not work when that was last said.
    complaint: Option<String>,
    hits: u64,
    misses: u64,
    damaged_records: u64,
    damaged_stores: u64,
    evicted: u64,
}

impl Store {
    /// Opens the store, or finds out why not; never fails. `thread` is the number that [`Claim::take`] gave; where it is
    /// not the first, the one before got stuck on the files, and they are moved aside unopened. `between` is called again and
    /// again while what is stored is counted, and may read.
    pub(super) fn open(
        options: EvidenceOptions,
        claim: Arc<Claim>,
        thread: u32,
        between: impl FnMut(&mut dyn FnMut(&Image, Reading) -> Stored),
    ) -> Self {
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
            complaint: None,
            hits: 0,
            misses: 0,
            damaged_records: 0,
            damaged_stores: 0,
            evicted: 0,
        };
        if thread > 1 && store.take_lock().is_ok() {
            store.set_aside("a thread got stuck on its files");
        }
        store.reopen_serving(between);
        store
    }

    /// Whether another thread was put in this one's place: then the files are no longer this one's to touch.
    fn is_replaced(&self) -> bool {
        self.claim.thread.load(Ordering::SeqCst) != self.thread
    }

    pub(super) fn load(&mut self, image: &Image, reading: Reading) -> Stored {
        let Some(open) = self.opened() else {
            self.misses += 1;
            return Stored::default();
        };
        match open.load(image, reading) {
            Ok(mut found) => {
                let upkeep = found.upkeep.take();
                let stored = self.found(image, found);
                if let Some(failure) = upkeep {
                    self.failed(failure);
                }
                stored
            }
            Err(failure) => {
                self.misses += 1;
                self.failed(failure);
                Stored::default()
            }
        }
    }

    fn found(&mut self, image: &Image, found: Found) -> Stored {
        self.counted(image, found.damaged, !found.stored.is_empty());
        found.stored
    }

    fn count_served(&mut self, served: Served) {
        for (image, damaged, hit) in served.0 {
            self.counted(&image, damaged, hit);
        }
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

    pub(super) fn store(&mut self, image: &Image, evidence: &Stored, now: Timestamp) -> Result<(), NotStored> {
        let (limit, key) = (self.options.limit, image.key());
        let pinned = std::mem::take(&mut self.pinned);
        let outcome = self.write(|open| {
            let written = open.store(image, evidence, now, limit)?;
            Ok((written, open.evict(limit, &pinned, key)?))
        });
        self.pinned = pinned;
        let (written, evicted) = outcome?;
        self.evicted += evicted.images;
        if evicted.imported > 0 {
            warn!(
                images = evicted.imported,
                "imported evidence made room, because the limit is below what was imported: raise cache_size and import it again"
            );
        }
        match written {
            Written::Done => Ok(()),
            Written::Full => Err(NotStored(format!(
                "it is full of imported evidence: its limit is {limit} bytes (cache_size)"
            ))),
        }
    }

    pub(super) fn list(&mut self, after: Option<ImageKey>) -> Result<Page, NotStored> {
        self.write(|open| open.list(after))
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
                stats.imported = open.accounts.imported_images();
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
    pub(super) fn rebuild_if_due(&mut self, between: impl FnMut(&mut dyn FnMut(&Image, Reading) -> Stored)) {
        let State::Open(open) = &mut self.state else { return };
        if open.written < FILE_CHECK_INTERVAL || open.read_only.is_some() {
            return;
        }
        match open.measure() {
            Ok(()) if open.size_on_disk > 2 * self.options.limit + FILE_SLACK => self.rebuild(between),
            Ok(()) => {}
            Err(failure) => self.failed(failure),
        }
    }

    fn rebuild(&mut self, mut between: impl FnMut(&mut dyn FnMut(&Image, Reading) -> Stored)) {
        let State::Open(open) = &mut self.state else { return };
        let before = open.size_on_disk;
        let mut served = Served::default();
        let mut serve = |open: &mut Opened| between(&mut |image, reading| served.read(open, image, reading));
        let (new, old, path) = (self.files.copy(), self.files.old(), self.files.store());
        let copied = remove(&new)
            .map_err(|error| Failure::io("cannot remove", &new, &error))
            .and_then(|()| open.copy_to(&new, &mut serve));
        self.count_served(served);
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

    /// Runs an operation on the open store, whose failure says what is wrong with it.
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
                // sled refuses every write from now on, and still reads what it finds: not always all, until it is opened anew.
                error!(
                    cause = why,
                    "evidence cannot be written; what is stored is read as far as it is found"
                );
                self.complaint = Some(why.clone());
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
        self.reopen_serving(|_| ());
    }

    fn reopen_serving(&mut self, mut between: impl FnMut(&mut dyn FnMut(&Image, Reading) -> Stored)) {
        self.shut("it is being opened".to_owned());
        let mut served = Served::default();
        // How recently others were used is not known yet, and so it is no use.
        let mut serve = |open: &mut Opened| between(&mut |image, _| served.read(open, image, Reading::Look));
        let opened = match self.try_open(&mut serve) {
            // Once more, on what is now an empty directory.
            Err(Failure::Damaged(why)) => {
                self.set_aside(&why);
                self.try_open(&mut |_| ())
            }
            other => other,
        };
        self.count_served(served);
        match opened {
            Ok((open, damaged)) => {
                if damaged > 0 {
                    self.damaged_records += damaged;
                    error!(records = damaged, "damaged records of the evidence store were dropped");
                }
                if self.complaint.take().is_some() {
                    info!(images = open.accounts.images.len(), "the evidence store works again");
                }
                self.state = State::Open(Box::new(open));
            }
            Err(Failure::Damaged(why) | Failure::Environment(why)) => {
                // Tried again and again: said once.
                if self.complaint.as_ref() != Some(&why) {
                    error!(
                        cause = why,
                        "the evidence store cannot be used; all evidence is fetched"
                    );
                    self.complaint = Some(why.clone());
                }
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

    fn try_open(&self, between: &mut dyn FnMut(&mut Opened)) -> Result<(Opened, u64), Failure> {
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
        let opened = Opened::open(&self.files.store(), between);
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

#[cfg(test)]
mod tests {
    use std::path::Path;
    use std::time::Duration;

    use assay_verify::descriptor::{Descriptor, MediaType};
    use assay_verify::digest::Digest;
    use assay_verify::evidence::{NOTATION_SIGNATURE, Signature, SignatureManifest};

    use super::*;

    fn options(directory: &Path) -> EvidenceOptions {
        EvidenceOptions {
            retry_after: Duration::ZERO,
            ..EvidenceOptions::new(directory)
        }
    }

    fn first_thread(directory: &Path) -> (Store, Arc<Claim>) {
        let claim = Arc::<Claim>::default();
        let thread = claim.take();
        (
            Store::open(options(directory), Arc::clone(&claim), thread, |_| ()),
            claim,
        )
    }

    fn image(number: usize) -> Image {
        Image {
            repository: "registry.example/app".parse().unwrap(),
            descriptor: describe(format!("image {number}").as_bytes()),
        }
    }

    fn describe(content: &[u8]) -> Descriptor {
        Descriptor {
            media_type: MediaType::parse(MediaType::OCI_MANIFEST).unwrap(),
            digest: Digest::sha256(content),
            size: content.len() as u64,
        }
    }

    fn evidence(number: usize) -> Stored {
        let envelope = format!("envelope {number}").into_bytes();
        let digest = Digest::sha256(&envelope);
        let size = envelope.len();
        let json = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"{NOTATION_SIGNATURE}","digest":"{digest}","size":2}},
            "layers":[{{"mediaType":"application/cose","digest":"{digest}","size":{size}}}],
            "subject":{{"mediaType":"{}","digest":"{digest}","size":1}}}}"#,
            MediaType::OCI_MANIFEST
        );
        let manifest = SignatureManifest::open(&describe(json.as_bytes()), json.into_bytes().into()).unwrap();
        Stored {
            signatures: vec![Signature::new(manifest.into(), 0, envelope.into()).unwrap()],
            ..Stored::default()
        }
    }

    fn fill(store: &mut Store, images: std::ops::Range<usize>) {
        for number in images {
            store
                .store(&image(number), &evidence(number), Timestamp::UNIX_EPOCH)
                .unwrap();
        }
    }

    #[test]
    fn copying_into_a_smaller_file_loses_nothing_and_serves_reads_meanwhile() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, _claim) = first_thread(directory.path());
        fill(&mut store, 0..100);
        let before = store.stats();
        let mut reads = 0;
        store.rebuild(|read| {
            assert_eq!(read(&image(reads), Reading::Use), evidence(reads));
            reads += 1;
        });
        assert_eq!(reads, 100);
        let after = store.stats();
        assert_eq!((after.images, after.bytes), (before.images, before.bytes));
        assert_eq!((after.hits, after.damaged_records), (100, 0));
        for number in 0..100 {
            assert_eq!(store.load(&image(number), Reading::Use), evidence(number));
        }
        let names = fs::read_dir(directory.path()).unwrap();
        let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
        names.sort();
        assert_eq!(names, ["evidence", "evidence.lock"]);
    }

    #[test]
    fn reads_are_answered_while_what_is_stored_is_counted() {
        let directory = tempfile::tempdir().unwrap();
        let (mut store, _claim) = first_thread(directory.path());
        fill(&mut store, 0..200);
        let before = store.stats();
        store.shut_down();
        let claim = Arc::<Claim>::default();
        let thread = claim.take();
        let mut reads = 0;
        let store = Store::open(options(directory.path()), claim, thread, |read| {
            for number in [0, 100, 199] {
                assert_eq!(read(&image(number), Reading::Use), evidence(number));
            }
            assert!(read(&image(200), Reading::Use).is_empty());
            reads += 4;
        });
        assert!(reads >= 8, "{reads}");
        let after = store.stats();
        assert_eq!((after.images, after.bytes), (before.images, before.bytes));
        assert_eq!((after.hits, after.misses), (reads / 4 * 3, reads / 4));
    }

    #[test]
    fn a_thread_in_the_place_of_a_stuck_one_starts_empty_and_keeps_the_files_to_itself() {
        let directory = tempfile::tempdir().unwrap();
        let (mut stuck, claim) = first_thread(directory.path());
        fill(&mut stuck, 0..3);
        let thread = claim.take();
        let mut store = Store::open(options(directory.path()), claim, thread, |_| ());
        assert_eq!(store.stats().damaged_stores, 1);
        assert!(store.load(&image(0), Reading::Use).is_empty());
        fill(&mut store, 0..3);

        // The stuck one wakes up.
        stuck.failed(Failure::Damaged("whatever it waited for".to_owned()));
        assert!(stuck.load(&image(0), Reading::Use).is_empty());
        assert!(stuck.clear().is_err());
        stuck.shut_down();
        assert_eq!(store.load(&image(0), Reading::Use), evidence(0));
        fill(&mut store, 3..4);
        let (other, _claim) = first_thread(directory.path());
        assert!(other.stats().state.is_degraded(), "the files are still claimed");
    }
}
