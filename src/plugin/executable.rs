//! The program of a plugin: a file that is trusted because of who may write it, and because of its digest where one is
//! pinned.
//!
//! The file is opened once. It is looked at, hashed and executed through this one opening, so that a file put in its
//! place afterwards changes nothing. Who may change the opened file itself is root or the daemon's own user, whom no pin
//! holds; so it is not copied into memory that nobody could change, which for a program of 60 MiB is more than everything
//! else that the daemon holds.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::fs::{FileExt as _, MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use assay_verify::digest::{Digest, hex};
use assay_verify::limits::MAX_PLUGIN_FILE_SIZE;
use nix::errno::Errno;
use nix::fcntl::OFlag;
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Why a program is not run.
#[derive(Debug, Error)]
pub(super) enum ExecutableError {
    #[error("there is no program at {0}")]
    Missing(PathBuf),
    #[error("{0} is a symbolic link, which is not supported")]
    Link(PathBuf),
    #[error("{0} is not a regular file")]
    NotAFile(PathBuf),
    #[error("{0} is not executable")]
    NotExecutable(PathBuf),
    #[error("{0} is a script: its interpreter would be a program that nobody named")]
    Script(PathBuf),
    #[error("{0} is larger than {MAX_PLUGIN_FILE_SIZE} bytes")]
    TooLarge(PathBuf),
    #[error("{0} may be written by its group or everyone (mode {1:04o})")]
    Writable(PathBuf, u32),
    #[error("{0} belongs to user {1}")]
    Foreign(PathBuf, u32),
    #[error("its program has the digest sha256:{found}, not {expected}")]
    Digest { found: String, expected: Digest },
    #[error("{0} cannot be read: {1}")]
    Unreadable(PathBuf, io::Error),
}

/// What tells whether a file has changed. The time of the last change of its inode cannot be set back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct FileState {
    device: u64,
    inode: u64,
    size: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// An opened program that may be run.
#[derive(Debug)]
pub(super) struct Executable {
    file: File,
    state: FileState,
    path: PathBuf,
}

impl Executable {
    /// Opens the program and checks who may write it: root and `user`.
    pub(super) fn open(path: &Path, user: u32) -> Result<Self, ExecutableError> {
        let unreadable = |error| ExecutableError::Unreadable(path.to_owned(), error);
        let folder = path.parent().unwrap_or(Path::new("/"));
        let metadata = std::fs::metadata(folder).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => ExecutableError::Missing(path.to_owned()),
            _ => ExecutableError::Unreadable(folder.to_owned(), error),
        })?;
        check_writers(folder, &metadata, user)?;

        // Without O_NONBLOCK, opening a pipe would wait for its writer.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let opened = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
        let file = opened.map_err(|error| {
            const LINK: i32 = Errno::ELOOP as i32;
            match error.raw_os_error() {
                Some(LINK) => ExecutableError::Link(path.to_owned()),
                _ if error.kind() == io::ErrorKind::NotFound => ExecutableError::Missing(path.to_owned()),
                _ => unreadable(error),
            }
        })?;
        let metadata = file.metadata().map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(ExecutableError::NotAFile(path.to_owned()));
        }
        check_writers(path, &metadata, user)?;
        if metadata.mode() & 0o111 == 0 {
            return Err(ExecutableError::NotExecutable(path.to_owned()));
        }
        if metadata.size() > MAX_PLUGIN_FILE_SIZE {
            return Err(ExecutableError::TooLarge(path.to_owned()));
        }
        let mut magic = [0; 2];
        let read = file.read_at(&mut magic, 0).map_err(unreadable)?;
        if read == magic.len() && &magic == b"#!" {
            return Err(ExecutableError::Script(path.to_owned()));
        }
        Ok(Self {
            file,
            state: FileState {
                device: metadata.dev(),
                inode: metadata.ino(),
                size: metadata.size(),
                modified: (metadata.mtime(), metadata.mtime_nsec()),
                changed: (metadata.ctime(), metadata.ctime_nsec()),
            },
            path: path.to_owned(),
        })
    }

    /// The state of the file when it was opened.
    pub(super) fn state(&self) -> FileState {
        self.state
    }

    /// Hashes the file. It blocks.
    pub(super) fn check_digest(&self, expected: &Digest) -> Result<(), ExecutableError> {
        let unreadable = |error| ExecutableError::Unreadable(self.path.clone(), error);
        let mut hash = Sha256::new();
        let mut content = (&self.file).take(MAX_PLUGIN_FILE_SIZE + 1);
        let mut buffer = vec![0; 64 * 1024];
        loop {
            let read = content.read(&mut buffer).map_err(unreadable)?;
            match buffer.get(..read) {
                Some(chunk) if !chunk.is_empty() => hash.update(chunk),
                _ => break,
            }
        }
        let found = hex(&hash.finalize());
        if expected.to_string() == format!("sha256:{found}") {
            Ok(())
        } else {
            Err(ExecutableError::Digest {
                found,
                expected: expected.clone(),
            })
        }
    }

    /// The path by which a child process finds the opened file, as long as this lives.
    pub(super) fn descriptor_path(&self) -> PathBuf {
        format!("/proc/self/fd/{}", self.file.as_raw_fd()).into()
    }
}

fn check_writers(path: &Path, metadata: &Metadata, user: u32) -> Result<(), ExecutableError> {
    const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
    if metadata.uid() != 0 && metadata.uid() != user {
        return Err(ExecutableError::Foreign(path.to_owned(), metadata.uid()));
    }
    if metadata.mode() & GROUP_OR_OTHERS_WRITE != 0 {
        return Err(ExecutableError::Writable(path.to_owned(), metadata.mode() & 0o7777));
    }
    Ok(())
}
