//! The state on disk: what a node has verified, and what must never go back.
//!
//! ```text
//! fleet/targets/SHA256   the target files, by their content
//! fleet/generation       all metadata that the generation is verified from: putting it in place is the activation
//! fleet/floor            versions and times that never go back
//! ```
//!
//! Each file is written under another name, flushed, renamed and its folder flushed: so after a crash at any moment there
//! is the old file or the new one. They are written in the order above, so that a generation has its files, and a floor is
//! never above its generation.
//!
//! Nothing here is trusted: the generation proves itself from the pinned root whenever it is read. The checksum in front of
//! each file only tells damage from a state that was never written.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::fcntl::OFlag;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use assay_verify::digest::Digest;
use assay_verify::limits::{MAX_FLEET_FILE_SIZE, MAX_FLOOR_FILE_SIZE, MAX_GENERATION_FILE_SIZE};
use assay_verify::untrusted::Untrusted;

use super::error::{Operation, StorageError, SyncError};
use super::floor::Floor;
use super::generation::{Generation, Metadata};
use super::role::Role;

const GENERATION: &str = "generation";
const FLOOR: &str = "floor";
const TARGETS: &str = "targets";

/// What a file is called while it is written. No digest ends so.
const UNFINISHED: &str = ".new";

/// The first word of each file, with the version of its format.
const FORMAT: &str = "assayd-fleet-1";

/// Is told every file operation before it is done, and can have it fail instead: for tests that go through all of them.
pub type Intercept = dyn Fn(Operation, &Path) -> io::Result<()> + Send + Sync;

/// The folder with the state of one node. One process writes it. Everything here blocks on files.
#[derive(Clone)]
pub struct Store {
    folder: Arc<Path>,
    intercept: Option<Arc<Intercept>>,
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Store").field(&self.folder).finish()
    }
}

/// What the file `generation` holds: roots always, the rest once there was a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Stored {
    /// The version of the root that was pinned.
    pub(super) pinned: u64,
    /// The roots after it, in order.
    pub(super) roots: Vec<Arc<[u8]>>,
    pub(super) metadata: Option<Metadata>,
}

/// The same in JSON.
#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    pinned: u64,
    roots: Vec<Base64>,
    metadata: Option<WireMetadata>,
}

#[derive(Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
struct WireMetadata {
    root: u64,
    timestamp: Base64,
    snapshot: Base64,
    targets: Base64,
    revocations: Option<Base64>,
    exceptions: Option<Base64>,
}

#[derive(Clone, Deserialize, Serialize)]
#[serde(try_from = "String", into = "String")]
struct Base64(Arc<[u8]>);

impl TryFrom<String> for Base64 {
    type Error = base64::DecodeError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Ok(Self(STANDARD.decode(text)?.into()))
    }
}

impl From<Base64> for String {
    fn from(Base64(bytes): Base64) -> Self {
        STANDARD.encode(bytes)
    }
}

impl Store {
    /// The state in `folder`, which is made when it is needed; the folder above it has to be there.
    pub fn new(folder: impl Into<PathBuf>) -> Self {
        Self {
            folder: folder.into().into(),
            intercept: None,
        }
    }

    /// The same, with every file operation told to `intercept`.
    pub fn with_intercept(folder: impl Into<PathBuf>, intercept: Arc<Intercept>) -> Self {
        Self {
            intercept: Some(intercept),
            ..Self::new(folder)
        }
    }

    /// The folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    fn targets(&self) -> PathBuf {
        self.folder.join(TARGETS)
    }

    /// Reads the verified metadata; `None` where there never was any.
    pub(super) fn load(&self) -> Result<Option<Stored>, SyncError> {
        let Some(wire) = self.read_document::<Wire>(GENERATION, MAX_GENERATION_FILE_SIZE)? else {
            return Ok(None);
        };
        let metadata = wire.metadata.map(|wire| Metadata {
            root: wire.root,
            timestamp: wire.timestamp.0,
            snapshot: wire.snapshot.0,
            targets: wire.targets.0,
            delegated: [
                (Role::Revocations, wire.revocations),
                (Role::Exceptions, wire.exceptions),
            ]
            .into_iter()
            .filter_map(|(role, bytes)| Some((role, bytes?.0)))
            .collect(),
        });
        Ok(Some(Stored {
            pinned: wire.pinned,
            roots: wire.roots.into_iter().map(|root| root.0).collect(),
            metadata,
        }))
    }

    /// Writes the verified metadata. When this is done, it is what the next start reads.
    pub(super) fn save(&self, stored: &Stored) -> Result<(), StorageError> {
        let encode = |bytes: &Arc<[u8]>| Base64(Arc::clone(bytes));
        let metadata = stored.metadata.as_ref().map(|metadata| WireMetadata {
            root: metadata.root,
            timestamp: encode(&metadata.timestamp),
            snapshot: encode(&metadata.snapshot),
            targets: encode(&metadata.targets),
            revocations: metadata.delegated.get(&Role::Revocations).map(encode),
            exceptions: metadata.delegated.get(&Role::Exceptions).map(encode),
        });
        let wire = Wire {
            pinned: stored.pinned,
            roots: stored.roots.iter().map(encode).collect(),
            metadata,
        };
        self.write_document(GENERATION, &wire)
    }

    /// Reads the floor; `None` where there never was one.
    pub(super) fn load_floor(&self) -> Result<Option<Floor>, SyncError> {
        self.read_document(FLOOR, MAX_FLOOR_FILE_SIZE)
    }

    /// Writes the floor.
    pub(super) fn save_floor(&self, floor: &Floor) -> Result<(), StorageError> {
        self.write_document(FLOOR, floor)
    }

    /// Reads the file with this content; `None` where it is not there or is something else.
    pub(super) fn content(&self, digest: &Digest, length: usize) -> Result<Option<Arc<[u8]>>, StorageError> {
        let limit = length.min(MAX_FLEET_FILE_SIZE);
        let content = self.read(&self.targets().join(digest.hex()), limit)?;
        Ok(content.filter(|content| digest.matches(content)).map(Arc::from))
    }

    /// Writes the files that are not there yet, or are damaged.
    pub(super) fn save_contents(&self, generation: &Generation) -> Result<(), StorageError> {
        let folder = self.targets();
        self.make_folder(&self.folder)?;
        self.make_folder(&folder)?;
        let distinct: BTreeMap<&str, (&Digest, &Arc<[u8]>)> = generation
            .digests
            .iter()
            .filter_map(|(path, digest)| Some((digest.hex(), (digest, generation.files.get(path)?))))
            .collect();
        let mut wrote = false;
        for (name, (digest, content)) in distinct {
            // One that cannot be read is as good as none.
            if !matches!(self.content(digest, content.len()), Ok(Some(_))) {
                self.write_file(&folder.join(name), content)?;
                wrote = true;
            }
        }
        if wrote {
            self.sync_folder(&folder)?;
        }
        Ok(())
    }

    /// Removes the files that no generation needs, and what was not finished.
    pub(super) fn collect_garbage(&self, keep: &BTreeSet<&str>) -> Result<(), StorageError> {
        for name in [GENERATION, FLOOR] {
            self.remove(&self.folder.join(format!("{name}{UNFINISHED}")))?;
        }
        let folder = self.targets();
        for path in self.list(&folder)? {
            let name = path.file_name().and_then(|name| name.to_str());
            if !name.is_some_and(|name| keep.contains(name)) {
                self.remove(&path)?;
            }
        }
        Ok(())
    }

    /// `FORMAT SHA256\n` and the document. `None` where there is no such file.
    fn read_document<T: DeserializeOwned>(&self, name: &str, limit: usize) -> Result<Option<T>, SyncError> {
        let Some(content) = self.read(&self.folder.join(name), limit)? else {
            return Ok(None);
        };
        let damaged = |cause: Untrusted| SyncError::Malformed {
            file: name.into(),
            cause,
        };
        if content.len() > limit {
            return Err(damaged(format!("it has more than {limit} bytes").into()));
        }
        let end = content.iter().position(|byte| *byte == b'\n').unwrap_or(content.len());
        let (head, document) = content.split_at(end);
        let document = document.get(1..).unwrap_or_default();
        let expected = head_of(document);
        if !head.starts_with(FORMAT.as_bytes()) {
            return Err(damaged(format!("it does not begin with {FORMAT}").into()));
        }
        if head != expected.as_bytes() {
            return Err(damaged("its checksum does not hold".into()));
        }
        let parsed = serde_json::from_slice(document);
        parsed.map(Some).map_err(|error| damaged(error.to_string().into()))
    }

    fn write_document<T: Serialize>(&self, name: &str, document: &T) -> Result<(), StorageError> {
        let path = self.folder.join(name);
        let document =
            serde_json::to_vec(document).map_err(|error| failed(Operation::Write, &path, &io::Error::other(error)))?;
        let mut content = head_of(&document).into_bytes();
        content.push(b'\n');
        content.extend(document);
        self.make_folder(&self.folder)?;
        self.write_file(&path, &content)?;
        self.sync_folder(&self.folder)
    }

    /// Writes a file whole and gives it its name. The folder is flushed by who calls.
    fn write_file(&self, path: &Path, content: &[u8]) -> Result<(), StorageError> {
        let mut unfinished = path.as_os_str().to_owned();
        unfinished.push(UNFINISHED);
        let unfinished = PathBuf::from(unfinished);
        let written = self
            .write_flushed(&unfinished, content)
            .and_then(|()| self.step(Operation::Rename, path, || fs::rename(&unfinished, path)));
        if written.is_err() {
            // On a full disk its room is needed. If even this fails, it is overwritten the next time.
            let _ = self.remove(&unfinished);
        }
        written
    }

    fn write_flushed(&self, path: &Path, content: &[u8]) -> Result<(), StorageError> {
        let mut options = OpenOptions::new();
        options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .custom_flags(OFlag::O_NOFOLLOW.bits());
        let mut file = self.step(Operation::Create, path, || options.open(path))?;
        self.step(Operation::Write, path, || file.write_all(content))?;
        self.step(Operation::Sync, path, || file.sync_all())
    }

    fn make_folder(&self, path: &Path) -> Result<(), StorageError> {
        let made = self.step(Operation::CreateFolder, path, || {
            match DirBuilder::new().mode(0o700).create(path) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(false),
                made => made.map(|()| true),
            }
        })?;
        match path.parent() {
            Some(parent) if made => self.sync_folder(parent),
            _ => Ok(()),
        }
    }

    fn sync_folder(&self, path: &Path) -> Result<(), StorageError> {
        self.step(Operation::SyncFolder, path, || File::open(path)?.sync_all())
    }

    /// Reads a file of at most `limit` bytes, or one byte more. `None` where there is no such file.
    fn read(&self, path: &Path, limit: usize) -> Result<Option<Vec<u8>>, StorageError> {
        self.step(Operation::Read, path, || {
            let flags = (OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits();
            let file = match OpenOptions::new().read(true).custom_flags(flags).open(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
                opened => opened?,
            };
            let mut content = Vec::new();
            file.take(limit as u64 + 1).read_to_end(&mut content)?;
            Ok(Some(content))
        })
    }

    fn list(&self, path: &Path) -> Result<Vec<PathBuf>, StorageError> {
        self.step(Operation::List, path, || {
            let entries = match fs::read_dir(path) {
                Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
                entries => entries?,
            };
            entries.map(|entry| Ok(entry?.path())).collect()
        })
    }

    fn remove(&self, path: &Path) -> Result<(), StorageError> {
        self.step(Operation::Remove, path, || match fs::remove_file(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            removed => removed,
        })
    }

    /// The one way to the disk.
    fn step<T>(
        &self,
        operation: Operation,
        path: &Path,
        act: impl FnOnce() -> io::Result<T>,
    ) -> Result<T, StorageError> {
        let allowed = match &self.intercept {
            Some(intercept) => intercept(operation, path),
            None => Ok(()),
        };
        allowed
            .and_then(|()| act())
            .map_err(|error| failed(operation, path, &error))
    }
}

fn failed(operation: Operation, path: &Path, error: &io::Error) -> StorageError {
    StorageError {
        operation,
        path: path.into(),
        cause: error.to_string().into(),
    }
}

fn head_of(document: &[u8]) -> String {
    format!("{FORMAT} {}", Digest::sha256(document).hex())
}
