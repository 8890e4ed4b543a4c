//! The open evidence database: records in sled, proven when they are read.
//!
//! sled 0.34 panics, answers with an error, loses entries or returns older ones when its files are damaged. Every
//! operation runs under `catch_unwind` and says whether the files or the disk are to blame.
//!
//! sled's background flusher is switched off. Every write is flushed before it is acknowledged, and no thread of sled's
//! own can panic unseen, nor hold a damaged database open for ever. Nothing calls fsync, on purpose: what a power cut
//! takes is fetched again.

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{self, ErrorKind};
use std::ops::Bound;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};

use assay_verify::Timestamp;
use assay_verify::descriptor::Descriptor;
use assay_verify::evidence::{Signature, SignatureManifest};
use assay_verify::index::ImageIndex;
use assay_verify::limits::{MAX_SIGNATURES, MAX_VERIFICATION_MEMORY};
use assay_verify::reference::Repository;
use tracing::warn;

use super::accounts::Accounts;
use super::evidence::{Listed, Page, Reading, Stored};
use super::record::{
    BlobKey, Extent, IMAGE_PREFIX, ImageKey, ImageRecord, SignatureEntry, decode_blob, encode_blob, index_blob,
};

/// sled's page cache. The system's own keeps the rest; more here only costs memory.
const SLED_CACHE: u64 = 4 * 1024 * 1024;

/// How often a blob is looked up again, only to be counted. sled lets go of pages when one of the 256 parts of its cache was asked
/// 64 times (sled 0.34, lru.rs), and until then keeps every page it read, whatever its capacity: with 10,000 images, each of
/// them asked for once, all 50 MiB. A lookup of what is in memory takes a third of a microsecond.
const LOOKUPS_TO_BE_COUNTED: usize = 31;

/// A use is written down when this many others came after the one last written: recency survives a restart coarsely,
/// and reading stays reading.
const USES_BETWEEN_WRITES: u64 = 4096;

/// How long a damaged or full store may take to let go of its files.
const CLOSE_TIMEOUT: Duration = Duration::from_secs(5);

/// The manifests that were proved, or found not to be, while one image was read.
type Manifests = HashMap<Descriptor, Option<Arc<SignatureManifest>>>;

/// Why an operation failed.
#[derive(Clone, Debug)]
pub(super) enum Failure {
    /// The files are damaged.
    Damaged(String),
    /// The disk is full or read-only, the files are in use, and the like: nothing is wrong with what they hold.
    Environment(String),
}

impl Failure {
    pub(super) fn io(what: &str, path: &Path, error: &io::Error) -> Self {
        Self::Environment(format!("{what} {}: {error}", path.display()))
    }
}

/// A tenth below the limit, so that not every image that is stored next makes room anew.
const fn below(limit: u64) -> u64 {
    limit - limit / 10
}

/// An image and what it is called in the store.
#[derive(Clone, Debug)]
pub(super) struct Image {
    pub(super) repository: Repository,
    pub(super) descriptor: Descriptor,
}

impl Image {
    pub(super) fn key(&self) -> ImageKey {
        ImageKey::new(&self.repository, &self.descriptor)
    }
}

/// An open store.
pub(super) struct Opened {
    pub(super) sled: sled::Db,
    pub(super) accounts: Accounts,
    /// Bytes written since the size of the files was looked at, and what it was.
    pub(super) written: u64,
    pub(super) size_on_disk: u64,
    /// Since when, and why, nothing can be written.
    pub(super) read_only: Option<(Instant, String)>,
}

/// Images that are counted, when the store is opened, before reads are answered again: half a millisecond.
const COUNTED_AT_ONCE: usize = 64;

/// Images on one page of the list. They are read in well under a millisecond.
const PAGE_LENGTH: usize = 100;

/// What became of evidence that was to be stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Written {
    Done,
    /// It is imported, and what was imported before takes all the room.
    Full,
}

/// What made room.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Evicted {
    pub(super) images: u64,
    /// Those of them that were imported.
    pub(super) imported: u64,
}

/// What a read found.
#[derive(Default)]
pub(super) struct Found {
    pub(super) stored: Stored,
    pub(super) damaged: u64,
    /// Tidying up failed: what was proven holds all the same.
    pub(super) upkeep: Option<Failure>,
}

fn damaged(error: impl ToString) -> Failure {
    Failure::Damaged(error.to_string())
}

/// Runs one operation of sled's and sorts out how it failed.
pub(super) fn guarded<T>(operation: impl FnOnce() -> sled::Result<T>) -> Result<T, Failure> {
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
        // sled hands errors on as debugging output.
        kind if error.raw_os_error().is_none() => Failure::Environment(kind.to_string()),
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
pub(super) fn close(sled: sled::Db) {
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
    /// Opens the files, and returns how many damaged records were dropped. `between` is called again and again while the images are
    /// counted, and may read: nothing can be written yet.
    pub(super) fn open(path: &Path, between: &mut dyn FnMut(&mut Self)) -> Result<(Self, u64), Failure> {
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
            read_only: Some((Instant::now(), "it is being opened".to_owned())),
        };
        let counted = open.count(between);
        open.read_only = None;
        match counted.and_then(|damaged| open.drop_records(damaged)) {
            Ok(damaged) => Ok((open, damaged)),
            Err(failure) => {
                close(open.sled);
                Err(failure)
            }
        }
    }

    /// Reads every image record. What is none is left out; returns the keys of those.
    fn count(&mut self, between: &mut dyn FnMut(&mut Self)) -> Result<Vec<sled::IVec>, Failure> {
        let mut damaged = Vec::new();
        let mut after = Bound::Included(sled::IVec::from(&[IMAGE_PREFIX]));
        loop {
            let mut last = None;
            let (sled, accounts) = (&self.sled, &mut self.accounts);
            let records = (after, Bound::Excluded(sled::IVec::from(&[IMAGE_PREFIX + 1])));
            guarded(|| {
                for item in sled.range(records).take(COUNTED_AT_ONCE) {
                    let (key, value) = item?;
                    let record =
                        ImageKey::from_bytes(&key).and_then(|key| Some((key, ImageRecord::decode(key, &value).ok()?)));
                    match record {
                        Some((key, record)) => {
                            accounts.add(key, &record, value.len());
                        }
                        None => damaged.push(key.clone()),
                    }
                    last = Some(key);
                }
                Ok(())
            })?;
            let Some(last) = last else {
                return Ok(damaged);
            };
            after = Bound::Excluded(last);
            between(self);
        }
    }

    /// Removes records that are none, looks at the size of the files, and returns how many records there were.
    fn drop_records(&mut self, records: Vec<sled::IVec>) -> Result<u64, Failure> {
        let count = records.len() as u64;
        if count > 0 {
            let mut batch = sled::Batch::default();
            records.into_iter().for_each(|key| batch.remove(key));
            // On a disk that cannot be written they stay, and are left out again next time.
            if let Err(failure @ Failure::Damaged(_)) = guarded(|| self.sled.apply_batch(batch)) {
                return Err(failure);
            }
        }
        self.measure().map(|()| count)
    }

    /// Looks at the size of the files.
    pub(super) fn measure(&mut self) -> Result<(), Failure> {
        self.size_on_disk = guarded(|| self.sled.size_on_disk())?;
        self.written = 0;
        Ok(())
    }

    fn record(&self, key: ImageKey) -> Result<Option<sled::IVec>, Failure> {
        guarded(|| self.sled.get(key.to_bytes()))
    }

    fn blob(&self, key: BlobKey) -> Result<Option<Arc<[u8]>>, Failure> {
        let key = key.to_bytes();
        let value = guarded(|| {
            let value = self.sled.get(key)?;
            for _ in 0..LOOKUPS_TO_BE_COUNTED {
                self.sled.get(key)?;
            }
            Ok(value)
        })?;
        Ok(value.and_then(|value| decode_blob(&value).ok().map(Arc::from)))
    }

    /// Proves one signature from its blobs. `manifests` are those that were proved before: one may carry many signatures.
    fn prove(&self, entry: &SignatureEntry, manifests: &mut Manifests) -> Result<Option<Signature>, Failure> {
        let [(manifest_key, _), (envelope, _)] = entry.blobs();
        let manifest = match manifests.get(&entry.manifest) {
            Some(known) => known.clone(),
            None => {
                let json = self.blob(manifest_key)?;
                let opened = json.and_then(|json| SignatureManifest::open(&entry.manifest, json).ok());
                let opened = opened.map(Arc::new);
                manifests.insert(entry.manifest.clone(), opened.clone());
                opened
            }
        };
        let Some(manifest) = manifest else {
            return Ok(None);
        };
        let Some(bytes) = self.blob(envelope)? else {
            return Ok(None);
        };
        // Not what the record says of the position, but what the manifest says.
        Ok(Signature::new(manifest, entry.position, bytes).ok())
    }

    pub(super) fn load(&mut self, image: &Image, reading: Reading) -> Result<Found, Failure> {
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
        if record.index {
            let bytes = self.blob(index_blob(&record.descriptor).0)?;
            let opened = bytes.and_then(|bytes| ImageIndex::open(&record.descriptor, bytes).ok());
            found.stored.index = opened.map(Arc::new);
            record.index = found.stored.index.is_some();
            found.damaged += u64::from(!record.index);
        }
        let mut proven = Vec::with_capacity(record.signatures.len());
        let mut manifests = Manifests::new();
        for entry in record.signatures {
            match self.prove(&entry, &mut manifests)? {
                Some(signature) => {
                    found.stored.signatures.push(signature);
                    proven.push(entry);
                }
                None => found.damaged += 1,
            }
        }
        record.signatures = proven;
        // What is gone may have been the newest.
        if found.damaged > 0 {
            record.extent = Extent::Enough;
        }
        found.stored.extent = record.extent;
        found.stored.imported = record.imported;
        record.used = match reading {
            Reading::Use => self.accounts.next_use(),
            Reading::Look => self
                .accounts
                .images
                .get(&key)
                .map_or(record.used, |account| account.used),
        };
        if let Some(account) = self.accounts.images.get_mut(&key) {
            account.used = record.used;
        }
        let on_disk = self.accounts.images.get(&key).map(|account| account.used_on_disk);
        // Also what is on disk and not counted: sled returned an older record than at opening.
        let due = on_disk.is_none_or(|on_disk| record.used - on_disk.min(record.used) > USES_BETWEEN_WRITES);
        found.upkeep = if found.stored.is_empty() {
            self.remove(key).err()
        } else if found.damaged > 0 || due {
            self.write(&record, &Stored::default()).err()
        } else {
            None
        };
        Ok(found)
    }

    pub(super) fn store(
        &mut self,
        image: &Image,
        evidence: &Stored,
        now: Timestamp,
        limit: u64,
    ) -> Result<Written, Failure> {
        let index = evidence.index.as_ref();
        let index = index.filter(|index| *index.descriptor() == image.descriptor);
        let before = self.accounts.images.get(&image.key());
        let mut record = ImageRecord {
            repository: image.repository.clone(),
            descriptor: image.descriptor.clone(),
            recorded: now,
            used: 0,
            extent: evidence.extent,
            index: index.is_some(),
            imported: evidence.imported || before.is_some_and(|account| account.imported),
            signatures: Vec::new(),
        };
        let mut kept = Stored {
            index: index.cloned(),
            ..Stored::default()
        };
        let mut names = HashSet::new();
        let mut blobs: HashMap<_, _> = record.blobs().collect();
        // The first ones are kept: the caller puts first what was good.
        for signature in &evidence.signatures {
            if !names.insert(signature.id()) {
                continue;
            }
            if kept.signatures.len() >= MAX_SIGNATURES {
                record.extent = Extent::Enough;
                continue;
            }
            let entry = SignatureEntry::new(signature);
            let mut with = blobs.clone();
            with.extend(entry.blobs());
            if with.values().sum::<u64>() <= MAX_VERIFICATION_MEMORY as u64 {
                blobs = with;
                record.signatures.push(entry);
                kept.signatures.push(signature.clone());
            } else {
                record.extent = Extent::Enough;
            }
        }
        if kept.is_empty() {
            return self.remove(image.key()).map(|()| Written::Done);
        }
        if evidence.imported {
            let size = record.encode().map_err(damaged)?.len();
            let imported = self.accounts.imported_beside(&image.key()) + Accounts::cost(&record, size);
            if imported > below(limit) {
                return Ok(Written::Full);
            }
        }
        record.used = self.accounts.next_use();
        self.write(&record, &kept)?;
        guarded(|| self.sled.flush()).map(|_| Written::Done)
    }

    /// Writes a record and the blobs of `evidence`, all or nothing, and removes what nothing refers to any more.
    fn write(&mut self, record: &ImageRecord, evidence: &Stored) -> Result<(), Failure> {
        self.writable()?;
        let bytes = record.encode().map_err(damaged)?;
        let mut batch = sled::Batch::default();
        let mut seen = HashSet::new();
        let index = evidence.index.as_ref();
        let mut blobs: Vec<_> = index
            .map(|index| (index_blob(index.descriptor()).0, index.bytes()))
            .into_iter()
            .collect();
        for (entry, signature) in record.signatures.iter().zip(&evidence.signatures) {
            let [(manifest, _), (envelope, _)] = entry.blobs();
            blobs.extend([
                (manifest, signature.manifest().json()),
                (envelope, signature.envelope()),
            ]);
        }
        for (key, content) in blobs {
            if !seen.insert(key) {
                continue;
            }
            // Read first: another image may share it, and what is on disk may be damaged.
            if self.blob(key)?.as_ref() != Some(content) {
                let blob = encode_blob(content).map_err(damaged)?;
                self.written += blob.len() as u64;
                batch.insert(key.to_bytes().as_slice(), blob);
            }
        }
        self.written += bytes.len() as u64;
        let size = bytes.len();
        let key = record.key();
        batch.insert(key.to_bytes().as_slice(), bytes);
        for key in self.accounts.add(key, record, size) {
            batch.remove(key.to_bytes().as_slice());
        }
        guarded(|| self.sled.apply_batch(batch))
    }

    pub(super) fn remove(&mut self, key: ImageKey) -> Result<(), Failure> {
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

    /// Brings the store a tenth below `limit`: first what is neither pinned nor imported, least recently used first, then what
    /// is pinned; `stored` is on its way to the node and counts as that. What was imported goes last: there may be no other
    /// place to have it from.
    pub(super) fn evict(
        &mut self,
        limit: u64,
        pinned: &HashSet<ImageKey>,
        stored: ImageKey,
    ) -> Result<Evicted, Failure> {
        let mut evicted = Evicted::default();
        if self.accounts.bytes <= limit {
            return Ok(evicted);
        }
        let images = self.accounts.images.iter();
        let mut order: Vec<_> = images
            .map(|(key, account)| {
                let on_the_node = pinned.contains(key) || *key == stored;
                ((account.imported, on_the_node), account.used, *key)
            })
            .collect();
        order.sort_unstable();
        for ((imported, _), _, key) in order {
            if self.accounts.bytes <= below(limit) {
                break;
            }
            self.remove(key)?;
            evicted.images += 1;
            evicted.imported += u64::from(imported);
        }
        guarded(|| self.sled.flush())?;
        Ok(evicted)
    }

    /// The images after one of them, in the order of their keys.
    pub(super) fn list(&self, after: Option<ImageKey>) -> Result<Page, Failure> {
        let first = match after {
            Some(key) => Bound::Excluded(key.to_bytes().to_vec()),
            None => Bound::Included(vec![IMAGE_PREFIX]),
        };
        let images = &self.accounts.images;
        guarded(|| {
            let mut page = Page::default();
            for item in self
                .sled
                .range((first.clone(), Bound::Excluded(vec![IMAGE_PREFIX + 1])))
            {
                let (key, value) = item?;
                let record = ImageKey::from_bytes(&key)
                    .filter(|key| images.contains_key(key))
                    .and_then(|key| ImageRecord::decode(key, &value).ok());
                // Whoever reads the image finds out that it is damaged.
                let Some(record) = record else { continue };
                let key = record.key();
                page.images.push(Listed {
                    repository: record.repository,
                    descriptor: record.descriptor,
                    recorded: record.recorded,
                    imported: record.imported,
                });
                if page.images.len() == PAGE_LENGTH {
                    page.next = Some(key);
                    break;
                }
            }
            Ok(page)
        })
    }

    /// Copies what is alive, records and blobs as they are: whoever reads them proves them.
    pub(super) fn copy_to(&mut self, path: &Path, between: &mut dyn FnMut(&mut Self)) -> Result<(), Failure> {
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
