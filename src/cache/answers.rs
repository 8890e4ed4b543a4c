//! Revocation answers on disk, so that a restart asks nobody and a node that lost its network keeps what it knew.
//!
//! Not in sled: a CRL is megabytes, sled keeps pages in memory and its file grows under churn, and nothing here needs
//! more than a file and a rename. One file a query, named by its id; it holds the query too, so that it can be asked
//! again.
//!
//! It is not authority. A checksum tells damage, no more; the judgement proves the bytes each time. Whatever goes wrong
//! with the disk costs a request and is never an error of a verification (CVE-2024-51491 was one): it is logged, and
//! the pull goes on. Nothing calls fsync: what a power cut takes or tears is recognised and asked for again.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

use assay_verify::Timestamp;
use assay_verify::limits::{
    MAX_CRL_SIZE, MAX_KEPT_REVOCATION_ANSWERS, MAX_REVOCATION_DISK, MAX_REVOCATION_URL_LENGTH, MAX_REVOCATION_URLS,
};
use assay_verify::query::{Query, QueryId};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use nix::fcntl::OFlag;
use nix::unistd::geteuid;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use tracing::warn;

/// The format of the files. Another one is not read.
const FORMAT: u32 = 1;

/// The header's line. Addresses are the most of it; an OCSP request is below 200 bytes.
const MAX_HEADER: usize = MAX_REVOCATION_URLS * (MAX_REVOCATION_URL_LENGTH + 8) + 8 * 1024;

/// The SHA-256 over everything before it ends a file.
const CHECKSUM: usize = 32;

/// The largest file.
const MAX_FILE: usize = MAX_HEADER + MAX_CRL_SIZE + CHECKSUM;

/// Ends the name of a file that is being written.
const UNFINISHED: &str = ".new";

/// Where answers are kept, and how many.
#[derive(Clone, Debug)]
pub struct AnswerOptions {
    /// The directory of the files.
    pub directory: PathBuf,
    /// Bytes of all files.
    pub limit: u64,
    /// Files.
    pub count: usize,
}

impl AnswerOptions {
    /// The defaults, in a directory of its own below the daemon's state directory.
    pub fn new(state_directory: &Path) -> Self {
        Self {
            directory: state_directory.join("revocation"),
            limit: MAX_REVOCATION_DISK,
            count: MAX_KEPT_REVOCATION_ANSWERS,
        }
    }
}

/// An answer with its query.
#[derive(Clone, Debug)]
pub struct StoredAnswer {
    /// What was asked.
    pub query: Query,
    /// When the answer was first proved.
    pub since: Timestamp,
    /// The answer.
    pub bytes: Vec<u8>,
}

/// The store. Clones share everything.
#[derive(Clone, Debug)]
pub struct AnswerStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    options: AnswerOptions,
    index: Mutex<Index>,
    /// One writer at a time, so that an unfinished file has one.
    writing: Mutex<()>,
    /// What was last complained about: a full disk is said once.
    complaint: Mutex<Option<String>>,
}

#[derive(Debug, Default)]
struct Index {
    files: BTreeMap<Box<str>, Entry>,
    bytes: u64,
    writes: u64,
}

#[derive(Debug)]
struct Entry {
    size: u64,
    /// Its place in the order of writing.
    written: u64,
}

/// What is wrong with a file of ours.
#[derive(Debug, Error)]
enum Damage {
    #[error("it is truncated")]
    Truncated,
    #[error("it is larger than any answer")]
    TooLarge,
    #[error("its checksum is wrong")]
    Checksum,
    #[error("its header cannot be read: {0}")]
    Header(String),
    #[error("it holds the answer to another query")]
    AnotherQuery,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    format: u32,
    kind: Kind,
    addresses: Vec<String>,
    /// The OCSP request in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    request: Option<String>,
    since: Timestamp,
}

#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Crl,
    Ocsp,
}

impl Header {
    /// None for what is not kept: a plugin's word is signed by nobody.
    fn of(query: &Query, since: Timestamp) -> Option<Self> {
        let (kind, addresses, request) = match query {
            Query::Crl(url) => (Kind::Crl, vec![url.as_str().to_owned()], None),
            Query::Ocsp { responders, request } => (
                Kind::Ocsp,
                responders.iter().map(|url| url.as_str().to_owned()).collect(),
                Some(STANDARD.encode(request)),
            ),
            Query::PluginMetadata(_) | Query::PluginVerdict { .. } => return None,
        };
        Some(Self {
            format: FORMAT,
            kind,
            addresses,
            request,
            since,
        })
    }

    fn query(&self) -> Result<Query, Damage> {
        let malformed = |what: String| Damage::Header(what);
        if self.format != FORMAT {
            return Err(malformed(format!("format {}", self.format)));
        }
        let mut urls = self
            .addresses
            .iter()
            .map(|address| address.parse().map_err(|_| malformed("an address".to_owned())));
        match (&self.kind, &self.request) {
            (Kind::Crl, None) => {
                let url = urls.next().ok_or_else(|| malformed("no address".to_owned()))??;
                Ok(Query::Crl(url))
            }
            (Kind::Ocsp, Some(request)) => Ok(Query::Ocsp {
                responders: urls.collect::<Result<_, _>>()?,
                request: STANDARD
                    .decode(request)
                    .map_err(|error| malformed(error.to_string()))?
                    .into(),
            }),
            _ => Err(malformed("kind and request do not fit".to_owned())),
        }
    }
}

impl AnswerStore {
    /// Opens the store: makes the directory and lists it. Never fails; what does not work is logged, and costs
    /// requests. Blocks on the disk, without reading any answer.
    pub fn open(options: AnswerOptions) -> Self {
        let inner = Inner {
            options,
            index: Mutex::default(),
            writing: Mutex::default(),
            complaint: Mutex::default(),
        };
        if let Err(error) = inner.list() {
            inner.complain(&format!("cannot be opened: {error}"));
        }
        Self(Arc::new(inner))
    }

    /// The names of all answers, in the order in which they were written.
    pub fn names(&self) -> Vec<Box<str>> {
        let index = lock(&self.0.index);
        let mut names: Vec<_> = index
            .files
            .iter()
            .map(|(name, entry)| (entry.written, name.clone()))
            .collect();
        names.sort();
        names.into_iter().map(|(_, name)| name).collect()
    }

    /// The bytes of a file by its name; none where there is none.
    pub fn size(&self, name: &str) -> Option<usize> {
        let index = lock(&self.0.index);
        index.files.get(name).and_then(|entry| usize::try_from(entry.size).ok())
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        lock(&self.0.index).bytes
    }

    /// Reads an answer by the name of its file, which is the id of its query. A damaged one is removed.
    pub async fn load(&self, name: &str) -> Option<StoredAnswer> {
        let name: Box<str> = name.into();
        self.run(move |inner| inner.load(&name)).await.flatten()
    }

    /// Writes an answer, in place of an earlier one to the same query.
    pub async fn store(&self, query: Query, since: Timestamp, bytes: Arc<[u8]>) {
        self.run(move |inner| {
            let name = query.id().to_string();
            let Some(header) = Header::of(&query, since) else {
                return;
            };
            match inner.write(&name, &header, &bytes) {
                Ok(()) => *lock(&inner.complaint) = None,
                Err(error) => inner.complain(&format!("an answer cannot be written: {error}")),
            }
        })
        .await;
    }

    /// Removes an answer.
    pub async fn remove(&self, id: QueryId) {
        self.run(move |inner| inner.discard(&id.to_string())).await;
    }

    /// Removes all answers.
    pub async fn clear(&self) {
        let names = self.names();
        self.run(move |inner| names.iter().for_each(|name| inner.discard(name)))
            .await;
    }

    async fn run<T: Send + 'static>(&self, work: impl FnOnce(&Inner) -> T + Send + 'static) -> Option<T> {
        let inner = Arc::clone(&self.0);
        // A panic in there costs what was to be read or written; the panic hook has logged it.
        tokio::task::spawn_blocking(move || work(&inner)).await.ok()
    }
}

impl Inner {
    fn path(&self, name: &str) -> PathBuf {
        self.options.directory.join(name)
    }

    fn list(&self) -> io::Result<()> {
        let directory = &self.options.directory;
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        if fs::metadata(directory)?.permissions().mode() & 0o077 != 0 {
            fs::set_permissions(directory, fs::Permissions::from_mode(0o700))?;
        }
        let mut found = Vec::new();
        for entry in fs::read_dir(directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let name = name.to_string_lossy();
            let unfinished = name.strip_suffix(UNFINISHED).is_some_and(is_name);
            let metadata = entry.metadata()?;
            let ours = metadata.is_file() && metadata.uid() == geteuid().as_raw();
            if !ours || !(unfinished || is_name(&name)) {
                warn!(
                    "{} is not a revocation answer of this daemon: ignored",
                    entry.path().display()
                );
            } else if unfinished {
                // Its writer died.
                fs::remove_file(entry.path())?;
            } else {
                let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
                found.push((modified, Box::from(name), metadata.len()));
            }
        }
        found.sort();
        let mut index = lock(&self.index);
        for (_, name, size) in found {
            index.insert(name, size);
        }
        drop(index);
        self.evict(0, None);
        Ok(())
    }

    fn load(&self, name: &str) -> Option<StoredAnswer> {
        lock(&self.index).files.get(name)?;
        let path = self.path(name);
        match read(&path) {
            Ok(bytes) => match decode(name, bytes) {
                Ok(answer) => Some(answer),
                Err(damage) => {
                    warn!(
                        "the revocation answer {} is damaged: {damage}; it is removed",
                        path.display()
                    );
                    self.discard(name);
                    None
                }
            },
            Err(error) => {
                if error.kind() != ErrorKind::NotFound {
                    warn!("the revocation answer {} cannot be read: {error}", path.display());
                }
                lock(&self.index).remove(name);
                None
            }
        }
    }

    fn write(&self, name: &str, header: &Header, bytes: &[u8]) -> io::Result<()> {
        let _one_at_a_time = lock(&self.writing);
        let mut head = serde_json::to_vec(header)?;
        head.push(b'\n');
        if head.len() > MAX_HEADER || bytes.len() > MAX_CRL_SIZE {
            return Err(io::Error::new(ErrorKind::InvalidInput, Damage::TooLarge));
        }
        let checksum = Sha256::new().chain_update(&head).chain_update(bytes).finalize();
        let size = (head.len() + bytes.len() + checksum.len()) as u64;
        if size > self.options.limit {
            return Err(io::Error::new(ErrorKind::QuotaExceeded, "it is larger than the limit"));
        }
        self.evict(size, Some(name));

        let unfinished = self.path(&format!("{name}{UNFINISHED}"));
        let written = (|| {
            let mut file = match create(&unfinished) {
                // Left by a write that failed, or by a daemon that died since the directory was listed.
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {
                    fs::remove_file(&unfinished)?;
                    create(&unfinished)?
                }
                // Somebody removed the directory.
                Err(error) if error.kind() == ErrorKind::NotFound => {
                    let mut builder = DirBuilder::new();
                    builder.recursive(true).mode(0o700).create(&self.options.directory)?;
                    create(&unfinished)?
                }
                other => other?,
            };
            file.write_all(&head)?;
            file.write_all(bytes)?;
            file.write_all(&checksum)?;
            fs::rename(&unfinished, self.path(name))
        })();
        match written {
            Ok(()) => lock(&self.index).insert(name.into(), size),
            Err(_) => {
                // It may not even exist; what is left is removed before the next write or at the next start.
                let _ = fs::remove_file(&unfinished);
            }
        }
        written
    }

    /// Makes room for `size` bytes more, of the file `replaced` where that is given: what was written longest ago goes.
    fn evict(&self, size: u64, replaced: Option<&str>) {
        loop {
            let victim = {
                let index = lock(&self.index);
                let own = replaced.and_then(|name| index.files.get(name));
                let bytes = index.bytes - own.map_or(0, |entry| entry.size) + size;
                let adds = usize::from(replaced.is_some() && own.is_none());
                if bytes <= self.options.limit && index.files.len() + adds <= self.options.count {
                    return;
                }
                let others = index.files.iter().filter(|(name, _)| Some(&***name) != replaced);
                let oldest = others.min_by_key(|(_, entry)| entry.written);
                oldest.map(|(name, _)| name.clone())
            };
            let Some(name) = victim else { return };
            self.discard(&name);
        }
    }

    fn discard(&self, name: &str) {
        if lock(&self.index).remove(name)
            && let Err(error) = fs::remove_file(self.path(name))
            && error.kind() != ErrorKind::NotFound
        {
            warn!(
                "the revocation answer {} cannot be removed: {error}",
                self.path(name).display()
            );
        }
    }

    fn complain(&self, complaint: &str) {
        let mut last = lock(&self.complaint);
        if last.as_deref() != Some(complaint) {
            warn!(
                "{}: {complaint}; revocation answers are kept in memory only",
                self.options.directory.display()
            );
            *last = Some(complaint.to_owned());
        }
    }
}

impl Index {
    fn insert(&mut self, name: Box<str>, size: u64) {
        self.remove(&name);
        self.writes += 1;
        self.bytes += size;
        let written = self.writes;
        self.files.insert(name, Entry { size, written });
    }

    fn remove(&mut self, name: &str) -> bool {
        let removed = self.files.remove(name);
        self.bytes -= removed.as_ref().map_or(0, |entry| entry.size);
        removed.is_some()
    }
}

/// Whether a file's name is one that we give: the SHA-256 of a query in lower-case hexadecimal.
fn is_name(name: &str) -> bool {
    name.len() == 64 && name.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn create(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(path)?;
    let mut bytes = Vec::new();
    // One more than the largest, so that a larger one is seen to be.
    file.take(MAX_FILE as u64 + 1).read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn decode(name: &str, mut bytes: Vec<u8>) -> Result<StoredAnswer, Damage> {
    if bytes.len() > MAX_FILE {
        return Err(Damage::TooLarge);
    }
    let (content, checksum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(Damage::Truncated)?;
    if &<[u8; CHECKSUM]>::from(Sha256::digest(content)) != checksum {
        return Err(Damage::Checksum);
    }
    let line = content
        .iter()
        .take(MAX_HEADER)
        .position(|byte| *byte == b'\n')
        .ok_or(Damage::Truncated)?;
    let (head, _) = content.split_at_checked(line).ok_or(Damage::Truncated)?;
    let header: Header = serde_json::from_slice(head).map_err(|error| Damage::Header(error.to_string()))?;
    let query = header.query()?;
    if query.id().to_string() != name {
        return Err(Damage::AnotherQuery);
    }
    bytes.truncate(bytes.len() - CHECKSUM);
    bytes.drain(..=line);
    Ok(StoredAnswer {
        query,
        since: header.since,
        bytes,
    })
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
