//! Credentials of registries, from where operators already keep them: docker's `config.json`, its credential helpers, the
//! kubelet's `config.json` and its credential provider plugins.
//!
//! A [`Keyring`] is asked for the credentials of one image at one host, and looks nowhere but under that host's name. Whoever
//! asks sends them to that host and to nobody else.

mod cache;
mod docker_config;
mod helper;
mod image;
mod provider;
mod socket;

use std::collections::{BTreeMap, HashSet};
use std::ffi::OsString;
use std::fmt;
use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use assay_verify::limits::{MAX_CACHED_CREDENTIALS, MAX_CONCURRENT_CREDENTIAL_RUNS};
use assay_verify::untrusted::Untrusted;
use thiserror::Error;
use tokio::sync::Semaphore;

pub use docker_config::DockerConfig;
pub use image::ImageName;
pub use provider::Providers;
pub use socket::{CredentialSocket, serve};

use cache::Cache;
use docker_config::Found;

/// User name and password at one registry.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// The user name.
    pub username: String,
    /// The password or token.
    pub secret: Secret,
}

/// Who we are at one registry.
#[derive(Clone, Debug)]
pub enum Identity {
    /// Somebody with a password, or a robot with a token.
    Password(Credentials),
    /// Somebody whom the registry's token server knows by this token (docker: `identitytoken`; OAuth: a refresh token).
    Token(Secret),
}

/// Text that is never shown: it has no `Display`, and its `Debug` says only that it is there.
#[derive(Clone)]
pub struct Secret(Box<str>);

impl Secret {
    /// Takes the secret.
    pub fn new(secret: impl Into<Box<str>>) -> Self {
        Self(secret.into())
    }

    /// The secret, to be sent to the host it belongs to and nowhere else.
    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl Identity {
    /// What docker's files and helpers mean by a user name and a secret.
    fn from_parts(username: String, secret: String) -> Result<Self, String> {
        if username == "<token>" {
            return Ok(Self::Token(Secret::new(secret)));
        }
        // RFC 7617 §2.
        if username.contains(|character: char| character == ':' || character.is_control()) {
            return Err("the user name holds a colon or a control character".to_owned());
        }
        Ok(Self::Password(Credentials {
            username,
            secret: Secret::new(secret),
        }))
    }
}

/// Why credentials that are configured cannot be had. It never holds them.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{from}: {cause}")]
pub struct CredentialError {
    /// The file or program.
    pub from: Box<str>,
    /// What is wrong with it.
    pub cause: Untrusted,
}

impl CredentialError {
    fn new(from: impl fmt::Display, cause: impl Into<Untrusted>) -> Self {
        Self {
            from: from.to_string().into(),
            cause: cause.into(),
        }
    }
}

/// How programs that give credentials are run: each with the same environment, at most so many at once.
#[derive(Clone, Debug)]
pub struct Runner {
    /// Where docker's credential helpers are looked for.
    pub folders: Vec<PathBuf>,
    environment: BTreeMap<OsString, OsString>,
    slots: Arc<Semaphore>,
}

impl Runner {
    /// A runner that gives programs this environment, but for what a service manager says to us alone.
    pub fn new(folders: Vec<PathBuf>, environment: impl IntoIterator<Item = (OsString, OsString)>) -> Self {
        const OURS: [&str; 6] = [
            "NOTIFY_SOCKET",
            "LISTEN_FDS",
            "LISTEN_PID",
            "LISTEN_FDNAMES",
            "WATCHDOG_PID",
            "WATCHDOG_USEC",
        ];
        Self {
            folders,
            environment: environment
                .into_iter()
                .filter(|(name, _)| !OURS.iter().any(|ours| name == ours))
                .collect(),
            slots: Arc::new(Semaphore::new(MAX_CONCURRENT_CREDENTIAL_RUNS)),
        }
    }
}

/// Where a keyring looks, in this order.
#[derive(Debug, Default)]
pub struct Sources {
    /// Files in the form of docker's `config.json`.
    pub files: Vec<DockerConfig>,
    /// How their helpers are run.
    pub runner: Runner,
    /// The kubelet's credential providers, where assayd may run them itself.
    pub providers: Option<Providers>,
    /// `assay-credential`, which runs them as root.
    pub socket: Option<CredentialSocket>,
}

impl Default for Runner {
    fn default() -> Self {
        Self::new(Vec::new(), [])
    }
}

/// Where credentials are looked for, in order. Clones share what is remembered.
#[derive(Clone, Debug)]
pub struct Keyring(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    files: Vec<DockerConfig>,
    runner: Runner,
    cache: Cache,
    providers: Option<Providers>,
    socket: Option<CredentialSocket>,
    /// Images whose registry refused what the socket gave.
    refused: Mutex<HashSet<ImageName>>,
}

impl Default for Keyring {
    fn default() -> Self {
        Self::new(Sources::default())
    }
}

impl Keyring {
    /// A keyring of these sources. No file but the providers' is read before it is asked.
    pub fn new(sources: Sources) -> Self {
        Self(Arc::new(Inner {
            files: sources.files,
            runner: sources.runner,
            cache: Cache::default(),
            providers: sources.providers,
            socket: sources.socket,
            refused: Mutex::default(),
        }))
    }

    /// The credentials for an image at one host, if there are any: of the first source that has some.
    ///
    /// # Errors
    ///
    /// When a source cannot be read or asked; whether it has any is not known then.
    pub async fn find(&self, image: &ImageName) -> Result<Option<Identity>, CredentialError> {
        let inner = &*self.0;
        for file in &inner.files {
            match file.find(image)? {
                Found::Nothing => {}
                Found::Identity(identity) => return Ok(Some(identity)),
                Found::Helper { name, server } => {
                    let ask = helper::ask(&inner.runner, &name, &server);
                    let asked = inner.cache.get(helper::key(&name, &server), ask).await?;
                    if asked.is_some() {
                        return Ok(asked);
                    }
                }
            }
        }
        if let Some(providers) = &inner.providers
            && let Some(identity) = providers.find(image).await?
        {
            return Ok(Some(identity));
        }
        match &inner.socket {
            None => Ok(None),
            Some(socket) => {
                let again = inner.refused().remove(image);
                socket.ask(image, again).await
            }
        }
    }

    /// Forgets what programs said about an image: its registry refused it.
    pub fn forget(&self, image: &ImageName) {
        for file in &self.0.files {
            if let Ok(Found::Helper { name, server }) = file.find(image) {
                self.0.cache.forget(&helper::key(&name, &server));
            }
        }
        if let Some(providers) = &self.0.providers {
            providers.forget(image);
        }
        let mut refused = self.0.refused();
        if self.0.socket.is_some() && refused.len() < MAX_CACHED_CREDENTIALS {
            refused.insert(image.clone());
        }
    }
}

impl Inner {
    fn refused(&self) -> MutexGuard<'_, HashSet<ImageName>> {
        self.refused.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells whether a file has changed; the time of the last change of its inode cannot be set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    changed: (i64, i64),
}

impl FileState {
    /// The state of a file now, if it is there.
    pub fn of(path: &Path) -> Option<Self> {
        let metadata = fs::metadata(path).ok()?;
        Some(Self {
            device: metadata.dev(),
            inode: metadata.ino(),
            size: metadata.size(),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_never_shown() {
        for (username, password) in [("robot", "hunter2"), ("<token>", "hunter2")] {
            let identity = Identity::from_parts(username.to_owned(), password.to_owned()).unwrap();
            let shown = format!("{identity:?} {identity:#?}");
            assert!(!shown.contains("hunter2"), "{shown}");
        }
    }

    #[test]
    fn a_program_is_not_told_what_the_service_manager_tells_us() {
        let environment = [("PATH", "/bin"), ("NOTIFY_SOCKET", "/run/x"), ("WATCHDOG_USEC", "1")];
        let runner = Runner::new(Vec::new(), environment.map(|(name, value)| (name.into(), value.into())));
        assert_eq!(runner.environment.len(), 1);
    }
}
