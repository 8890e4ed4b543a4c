//! The sockets that systemd listens on for the daemon (sd_listen_fds(3)). Questions that come while the daemon restarts wait
//! in their queues.

use std::io;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};

use listenfd::ListenFd;
use thiserror::Error;

/// What systemd handed over. Empty where it handed over nothing.
#[derive(Debug, Default)]
pub struct Activation {
    listeners: Vec<(PathBuf, UnixListener)>,
}

/// Why what systemd handed over cannot be used.
#[derive(Debug, Error)]
pub enum ActivationError {
    /// It is no socket of ours.
    #[error("what systemd handed over is no listening unix socket with a path: {0}; see assayd.socket")]
    NoSocket(io::Error),
    /// It is a socket that nobody would ask.
    #[error(
        "systemd listens on {path}, which is neither verifier_socket nor control_socket: assayd.socket and the \
         configuration have to name the same paths"
    )]
    Unnamed {
        /// Where it listens.
        path: PathBuf,
    },
}

impl Activation {
    /// Takes over the sockets of this process. To be called before there is another thread: it changes the environment, so
    /// that no plugin takes the sockets for its own.
    ///
    /// # Errors
    ///
    /// When something was handed over that is no listening unix socket with a path.
    pub fn take() -> Result<Self, ActivationError> {
        let mut handed_over = ListenFd::from_env();
        let mut listeners = Vec::new();
        for index in 0..handed_over.len() {
            let taken = handed_over.take_unix_listener(index);
            let Some(listener) = taken.map_err(ActivationError::NoSocket)? else {
                continue;
            };
            // One unit has one name for all its sockets (FileDescriptorName=), so they are told apart by their paths.
            let address = listener.local_addr().map_err(ActivationError::NoSocket)?;
            let path = address
                .as_pathname()
                .ok_or_else(|| ActivationError::NoSocket(io::ErrorKind::AddrNotAvailable.into()))?;
            listeners.push((path.to_owned(), listener));
        }
        Ok(Self { listeners })
    }

    /// Whether systemd listens, and goes on listening when the daemon has stopped.
    pub(super) fn is_used(&self) -> bool {
        !self.listeners.is_empty()
    }

    /// The listener at a path, where there is one.
    pub(super) fn listener(&mut self, path: &Path) -> Option<UnixListener> {
        let index = self.listeners.iter().position(|(bound, _)| bound == path)?;
        Some(self.listeners.swap_remove(index).1)
    }

    /// Sees that nothing is left: nobody would answer there.
    pub(super) fn finish(self) -> Result<(), ActivationError> {
        match self.listeners.into_iter().next() {
            Some((path, _)) => Err(ActivationError::Unnamed { path }),
            None => Ok(()),
        }
    }
}
