//! How a policy repository is read: from a web server, a folder or a registry.
//!
//! Nothing here proves anything, and nothing is believed but this: whether a file is there. What is read is bounded while
//! it is read.

mod error;
mod folder;
mod registry;
mod web;

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::time::{Instant, timeout_at};

use assay_verify::limits::REFRESH_DEADLINE;

use super::address::RepositoryAddress;
use super::role::Role;
use crate::fetch;

pub use error::TransportError;

use folder::Folder;
use registry::{Listed, RegistryRepository};
use web::WebRepository;

/// A way to a policy repository. Making one sends nothing.
pub struct Transport {
    address: RepositoryAddress,
    source: Source,
    counters: Arc<Counters>,
}

enum Source {
    Folder(Folder),
    Registry(RegistryRepository),
    Web(WebRepository),
}

impl fmt::Debug for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Transport").field(&self.address).finish()
    }
}

/// What was asked of a repository since its [`Transport`] was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    /// Files asked for: requests to a web server; of a registry, without logins and redirects.
    pub requests: u64,
    /// Bytes of the files that came, without what carries them.
    pub bytes: u64,
    /// Requests that were answered with "not modified".
    pub not_modified: u64,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    requests: AtomicU64,
    bytes: AtomicU64,
    not_modified: AtomicU64,
}

impl Counters {
    fn request(&self) {
        self.requests.fetch_add(1, Ordering::Relaxed);
    }

    fn came(&self, bytes: usize) {
        self.bytes.fetch_add(bytes as u64, Ordering::Relaxed);
    }

    fn not_modified(&self) {
        self.not_modified.fetch_add(1, Ordering::Relaxed);
    }
}

impl Transport {
    /// A way to the repository at `address`. `extra_ca` are PEM files with certificate authorities that count beside the
    /// system's, for `https://`; `fetch` knows the system's, and asks registries for `oci://` with its own configuration.
    ///
    /// # Errors
    ///
    /// When a certificate authority is malformed.
    pub fn new(
        address: RepositoryAddress,
        extra_ca: &[Vec<u8>],
        fetch: &fetch::Client,
    ) -> Result<Self, fetch::ConfigError> {
        let counters = Arc::<Counters>::default();
        let source = match &address {
            RepositoryAddress::Folder(path) => Source::Folder(Folder::new(path)),
            RepositoryAddress::Registry(reference) => {
                Source::Registry(RegistryRepository::new(reference, fetch.clone()))
            }
            RepositoryAddress::Web(base) => Source::Web(WebRepository::new(base, extra_ca, fetch)?),
        };
        Ok(Self {
            address,
            source,
            counters,
        })
    }

    /// Where it leads.
    pub fn address(&self) -> &RepositoryAddress {
        &self.address
    }

    /// What was asked so far.
    pub fn traffic(&self) -> Traffic {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        Traffic {
            requests: read(&self.counters.requests),
            bytes: read(&self.counters.bytes),
            not_modified: read(&self.counters.not_modified),
        }
    }

    /// Begins one refresh, which has to end within [`REFRESH_DEADLINE`].
    pub(super) fn session(&self) -> Session<'_> {
        Session {
            transport: self,
            deadline: Instant::now() + REFRESH_DEADLINE,
            listed: tokio::sync::OnceCell::new(),
        }
    }

    /// Forgets what "not modified" would refer to, after a refresh that failed: whatever confused it is read again.
    pub(super) fn forget(&self) {
        if let Source::Web(web) = &self.source {
            web.forget();
        }
    }
}

/// One refresh. Everything that it reads of a registry is read of one state of it: a tag is resolved once.
pub(super) struct Session<'a> {
    transport: &'a Transport,
    deadline: Instant,
    listed: tokio::sync::OnceCell<Listed>,
}

/// How a file is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asked {
    /// A file that need not be there, and a store may answer 403 to who asks for what it does not have.
    Perhaps,
    /// A file that is read again and again, and mostly has not changed.
    Again,
    /// A file that should be there.
    Once,
}

impl Session<'_> {
    /// One version of the root's metadata, or `None`: only the repository's own word that it has none ends the chain of roots.
    pub(super) async fn root(&self, version: u64) -> Result<Option<Vec<u8>>, TransportError> {
        self.read(&Role::Root.file(version), Role::Root.max_size(), Asked::Perhaps)
            .await
    }

    /// The newest timestamp metadata.
    pub(super) async fn timestamp(&self) -> Result<Option<Vec<u8>>, TransportError> {
        self.read(&Role::Timestamp.document(), Role::Timestamp.max_size(), Asked::Again)
            .await
    }

    /// Any other file, by its path from the base, whose segments are plain names.
    pub(super) async fn file(&self, path: &str, limit: usize) -> Result<Option<Vec<u8>>, TransportError> {
        self.read(path, limit, Asked::Once).await
    }

    async fn read(&self, path: &str, limit: usize, asked: Asked) -> Result<Option<Vec<u8>>, TransportError> {
        let counters = &self.transport.counters;
        let reading = async {
            match &self.transport.source {
                Source::Folder(folder) => folder.read(path, limit, counters).await,
                Source::Registry(registry) => {
                    let listing = || registry.list(self.deadline, counters);
                    let listed = self.listed.get_or_try_init(listing).await?;
                    registry.read(listed, path, limit, self.deadline, counters).await
                }
                Source::Web(web) => web.read(path, limit, asked, counters).await,
            }
        };
        match timeout_at(self.deadline, reading).await {
            Ok(read) => read,
            Err(_) => Err(TransportError::Deadline { file: path.into() }),
        }
    }
}
