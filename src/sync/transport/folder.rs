//! A repository in a folder of this machine.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};

use super::{Counters, TransportError};

/// The folder.
pub(super) struct Folder(Arc<Path>);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.into())
    }

    pub(super) async fn read(
        &self,
        path: &str,
        limit: usize,
        counters: &Counters,
    ) -> Result<Option<Vec<u8>>, TransportError> {
        counters.request();
        let (folder, name) = (Arc::clone(&self.0), path.to_owned());
        // A network's file system may take its time.
        let reading = tokio::task::spawn_blocking(move || read(&folder, &name, limit));
        let read = match reading.await {
            Ok(read) => read,
            Err(error) => Err(io::Error::other(error)),
        };
        let unreadable = |error: io::Error| TransportError::Unreadable {
            file: path.into(),
            cause: error.to_string().into(),
        };
        let content = read.map_err(unreadable)?;
        if let Some(content) = &content {
            counters.came(content.len());
            if content.len() > limit {
                return Err(TransportError::TooLarge {
                    file: path.into(),
                    limit,
                });
            }
        }
        Ok(content)
    }
}

/// Reads a regular file of at most `limit` bytes, or one byte more. Symbolic links are followed inside the folder, as a
/// Kubernetes volume has them, and the kernel sees to it that they do not lead out (openat2(2), `RESOLVE_BENEATH`).
fn read(folder: &Path, name: &str, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let directory = File::open(folder)?;
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    let how = OpenHow::new()
        .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
        .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
    let file = match openat2(&directory, name, how) {
        Ok(descriptor) => File::from(descriptor),
        Err(Errno::ENOENT) => return Ok(None),
        Err(Errno::EXDEV) => return Err(io::Error::other("it leads out of the folder")),
        Err(error) => return Err(error.into()),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut content)?;
    Ok(Some(content))
}
