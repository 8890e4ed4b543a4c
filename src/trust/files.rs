//! Reading files that are trusted because of who may write them.
//!
//! A file is opened first and looked at afterwards, so that what was checked is what is read.

use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use thiserror::Error;

/// Entries of a folder that are looked at.
pub(super) const MAX_FOLDER_ENTRIES: usize = assay_verify::limits::MAX_TRUST_STORE_CERTIFICATES;

/// Why a file or folder is not read.
#[derive(Debug, Error)]
pub(super) enum FileError {
    #[error("there is no such file")]
    Missing,
    #[error("symbolic links are not supported")]
    Link,
    #[error("not a regular file")]
    NotAFile,
    #[error("not a folder")]
    NotAFolder,
    #[error("larger than {0} bytes")]
    TooLarge(usize),
    #[error("more than {MAX_FOLDER_ENTRIES} entries")]
    TooManyEntries,
    #[error("its group or everyone may write it (mode {0:04o})")]
    Writable(u32),
    #[error("it belongs to user {0}")]
    Foreign(u32),
    #[error("cannot be read: {0}")]
    Unreadable(io::Error),
}

impl FileError {
    /// The way out.
    pub(super) fn help(&self, path: &Path) -> Option<String> {
        let path = assay_verify::untrusted::Untrusted::new(path.display().to_string());
        match self {
            Self::Link => Some(format!("put the file itself at {path}")),
            Self::Writable(_) => Some(format!("chmod go-w {path}")),
            Self::Foreign(_) => Some(format!("chown root {path}")),
            Self::Unreadable(error) if error.kind() == io::ErrorKind::PermissionDenied => Some(format!(
                "let the daemon's user read it, for example: chgrp assay {path} && chmod g+rX {path}"
            )),
            _ => None,
        }
    }
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        // What O_NOFOLLOW answers for a symbolic link.
        const LINK: i32 = Errno::ELOOP as i32;
        match error.raw_os_error() {
            Some(LINK) => Self::Link,
            _ if error.kind() == io::ErrorKind::NotFound => Self::Missing,
            _ => Self::Unreadable(error),
        }
    }
}

/// Reads files that belong to root or to one user.
#[derive(Clone, Copy, Debug)]
pub(super) struct TrustedFiles {
    pub(super) user: u32,
}

impl TrustedFiles {
    /// Reads a regular file whole.
    pub(super) fn read(self, path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
        // Without O_NONBLOCK, opening a pipe would wait for its writer.
        let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
        let file: File = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        let metadata = file.metadata()?;
        if !metadata.is_file() {
            return Err(FileError::NotAFile);
        }
        self.check_writers(&metadata)?;
        let mut content = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut content)?;
        if content.len() > limit {
            return Err(FileError::TooLarge(limit));
        }
        Ok(content)
    }

    /// Checks that a folder is a real one in which only trusted users can put files.
    pub(super) fn check_folder(self, path: &Path) -> Result<(), FileError> {
        let metadata = std::fs::symlink_metadata(path)?;
        if metadata.is_symlink() {
            return Err(FileError::Link);
        }
        if !metadata.is_dir() {
            return Err(FileError::NotAFolder);
        }
        self.check_writers(&metadata)
    }

    /// The entries of a folder in the order of their names.
    pub(super) fn list(self, path: &Path) -> Result<Vec<PathBuf>, FileError> {
        self.check_folder(path)?;
        let mut entries = Vec::new();
        for entry in std::fs::read_dir(path)? {
            if entries.len() == MAX_FOLDER_ENTRIES {
                return Err(FileError::TooManyEntries);
            }
            entries.push(entry?.path());
        }
        entries.sort();
        Ok(entries)
    }

    fn check_writers(self, metadata: &Metadata) -> Result<(), FileError> {
        const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
        if metadata.uid() != 0 && metadata.uid() != self.user {
            return Err(FileError::Foreign(metadata.uid()));
        }
        if metadata.mode() & GROUP_OR_OTHERS_WRITE != 0 {
            return Err(FileError::Writable(metadata.mode() & 0o7777));
        }
        Ok(())
    }
}
