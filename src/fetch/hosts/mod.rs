//! containerd's host trees (`/etc/containerd/certs.d`): which hosts serve a registry's images, in which order, and how each is
//! spoken to. They are read as containerd 2.1 reads them (core/remotes/docker/config), so that signatures come from where the
//! layers come from.

mod file;
mod tree;

pub(super) use file::{Capabilities, HostEntry};
pub use tree::HostTree;
pub(super) use tree::{LoadedHost, Seen};

use std::path::PathBuf;

use thiserror::Error;

/// Why the hosts of a registry are not known: the file, the place in it, what is wrong, and the way out.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum HostsError {
    #[error("{}:{line}:{column}: {message}; containerd ignores the whole file, so mend it or remove it", path.display())]
    Malformed {
        path: PathBuf,
        line: usize,
        column: usize,
        message: String,
    },
    #[error("{}: {message}", path.display())]
    Unreadable { path: PathBuf, message: String },
}
