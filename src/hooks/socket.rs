//! A unix socket that only certain users may use.

use std::fs;
use std::io;
use std::os::unix::fs::{FileTypeExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use futures_util::{Stream, StreamExt as _};
use nix::sys::socket::getsockopt;
use nix::sys::socket::sockopt::PeerCredentials;
use thiserror::Error;
use tokio::net::{UnixListener, UnixStream};
use tokio_stream::wrappers::UnixListenerStream;
use tracing::warn;

use crate::admission::events::PEER_REFUSED;

/// Why a socket cannot be served.
#[derive(Debug, Error)]
#[error("{path}: {error}")]
pub struct SocketError {
    /// The socket's path.
    pub path: PathBuf,
    /// What the system says.
    pub error: io::Error,
}

/// Binds a socket with the given mode. A socket file that nobody listens on is replaced; one that answers, and anything
/// that is not a socket, is left alone.
///
/// # Errors
///
/// When the path is in use, is something else, or cannot be made.
pub fn bind(path: &Path, mode: u32) -> Result<UnixListener, SocketError> {
    let fail = |error| SocketError {
        path: path.into(),
        error,
    };
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.file_type().is_socket() => {
            if std::os::unix::net::UnixStream::connect(path).is_ok() {
                let message = "another process serves this socket: is assayd running already?";
                return Err(fail(io::Error::new(io::ErrorKind::AddrInUse, message)));
            }
            fs::remove_file(path).map_err(fail)?;
        }
        Ok(_) => {
            let message = "exists and is not a socket: move it away or choose another path";
            return Err(fail(io::Error::new(io::ErrorKind::AlreadyExists, message)));
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(fail(error)),
    }
    // Between bind and chmod the mode is the umask's, so the socket is made under a name that nobody knows and moved.
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let hidden = path.with_file_name(format!(".{name}.{}", std::process::id()));
    let listener = UnixListener::bind(&hidden).map_err(fail)?;
    fs::set_permissions(&hidden, fs::Permissions::from_mode(mode))
        .and_then(|()| fs::rename(&hidden, path))
        .map_err(fail)?;
    Ok(listener)
}

/// Serves a socket at `path` that somebody else has bound, and whose mode is theirs.
///
/// # Errors
///
/// When it cannot be waited for.
pub fn adopt(path: &Path, listener: std::os::unix::net::UnixListener) -> Result<UnixListener, SocketError> {
    let adopted = listener
        .set_nonblocking(true)
        .and_then(|()| UnixListener::from_std(listener));
    adopted.map_err(|error| SocketError {
        path: path.into(),
        error,
    })
}

/// The connections of a socket whose peer is one of `users` (by uid, as the kernel says; unix(7), SO_PEERCRED). Others
/// are closed and reported.
pub fn accept(listener: UnixListener, users: Arc<[u32]>) -> impl Stream<Item = io::Result<UnixStream>> {
    UnixListenerStream::new(listener).filter_map(move |connection| {
        let allowed = match &connection {
            Ok(stream) => peer_is_one_of(stream, &users),
            Err(_) => true,
        };
        async move { allowed.then_some(connection) }
    })
}

fn peer_is_one_of(stream: &UnixStream, users: &[u32]) -> bool {
    match getsockopt(stream, PeerCredentials) {
        Ok(peer) if users.contains(&peer.uid()) => true,
        Ok(peer) => {
            warn!(
                message_id = PEER_REFUSED,
                assay_peer_uid = peer.uid(),
                assay_peer_pid = peer.pid(),
                "refused a connection: user {} may not ask (allowed_users)",
                peer.uid()
            );
            false
        }
        Err(error) => {
            warn!(
                message_id = PEER_REFUSED,
                "refused a connection: its peer is not known: {error}"
            );
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_socket_has_its_mode_and_replaces_a_stale_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.sock");
        drop(bind(&path, 0o600).unwrap());
        let listener = bind(&path, 0o660).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o660);
        drop(listener);
    }

    #[tokio::test]
    async fn a_socket_in_use_and_a_file_are_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.sock");
        let _listener = bind(&path, 0o600).unwrap();
        assert!(
            bind(&path, 0o600)
                .unwrap_err()
                .to_string()
                .contains("is assayd running already")
        );
        let file = folder.path().join("file");
        fs::write(&file, "precious").unwrap();
        assert!(bind(&file, 0o600).unwrap_err().to_string().contains("not a socket"));
        assert_eq!(fs::read_to_string(file).unwrap(), "precious");
    }

    #[tokio::test]
    async fn a_user_who_may_not_ask_is_not_heard() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("v.sock");
        let listener = bind(&path, 0o600).unwrap();
        let me = nix::unistd::getuid().as_raw();
        let client = UnixStream::connect(&path).await.unwrap();
        let mut refusing = Box::pin(accept(listener, [me + 1].into()));
        let heard = tokio::time::timeout(std::time::Duration::from_millis(50), refusing.next()).await;
        assert!(heard.is_err(), "the connection was handed on");
        // The peer sees its connection closed.
        client.readable().await.unwrap();
        assert_eq!(client.try_read(&mut [0; 1]).unwrap(), 0);
    }
}
