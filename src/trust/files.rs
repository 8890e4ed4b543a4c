//! Reading files that are trusted: because of who may write them, or because they were verified.
//!
//! A file on disk is opened first and looked at afterwards, so that what was checked is what is read.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{File, Metadata, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::errno::Errno;
use nix::fcntl::{OFlag, OpenHow, ResolveFlag, openat2};
use nix::sys::statvfs::{FsFlags, statvfs};
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
    #[error("leads out of its folder")]
    Outside,
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
            Self::Link => Some(format!(
                "put the file itself at {path}; for trust stores that are mounted from a Kubernetes Secret, set follow_symlinks \
                 = true in the authority"
            )),
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

/// Why a file that policies are to name will be refused, or the folder it lies in: what [`TrustedFiles`] says of them where
/// `user` runs the daemon, and whether anybody but their owner can reach them.
pub(crate) fn refusal(folder: &Path, file: &Path, user: u32, limit: usize) -> Option<String> {
    let files = TrustedFiles { user };
    let told = |path: &Path, error: FileError| {
        let help = error.help(path).map_or_else(String::new, |help| format!(": {help}"));
        let shown = assay_verify::untrusted::Untrusted::new(path.display().to_string());
        format!("{shown}: {error}{help}")
    };
    if let Err(error) = files.check_folder(folder) {
        return Some(told(folder, error));
    }
    // Who asks may read more than the daemon, whose user is nobody's owner here.
    const OTHERS_ENTER: u32 = 0o011;
    if std::fs::metadata(folder).is_ok_and(|metadata| metadata.mode() & OTHERS_ENTER == 0) {
        return Some(told(
            folder,
            FileError::Unreadable(io::ErrorKind::PermissionDenied.into()),
        ));
    }
    files.read(file, limit).err().map(|error| told(file, error))
}

fn is_read_only(path: &Path) -> bool {
    statvfs(path).is_ok_and(|system| system.flags().contains(FsFlags::ST_RDONLY))
}

/// Where files are read from.
#[derive(Clone, Debug)]
pub(super) enum Files {
    /// The disk.
    Disk(TrustedFiles),
    /// A generation of the policy repository.
    Verified(VerifiedFiles),
}

impl Files {
    /// Whether there is anything of this name, readable or not.
    pub(super) fn is_present(&self, path: &Path) -> bool {
        match self {
            Self::Disk(_) => path
                .symlink_metadata()
                .map_or_else(|error| error.kind() != io::ErrorKind::NotFound, |_| true),
            Self::Verified(files) => !matches!(files.read(path, 0), Err(FileError::Missing)),
        }
    }

    /// Reads a regular file whole.
    pub(super) fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
        match self {
            Self::Disk(files) => files.read(path, limit),
            Self::Verified(files) => files.read(path, limit),
        }
    }

    /// Checks that a folder is one in which nobody else can put files.
    pub(super) fn check_folder(&self, path: &Path) -> Result<(), FileError> {
        match self {
            Self::Disk(files) => files.check_folder(path),
            Self::Verified(files) => files.list(path).map(drop),
        }
    }

    /// The entries of a folder in the order of their names.
    pub(super) fn list(&self, path: &Path) -> Result<Vec<PathBuf>, FileError> {
        match self {
            Self::Disk(files) => files.list(path),
            Self::Verified(files) => files.list(path),
        }
    }

    /// Reads a file of a folder, through symbolic links that stay inside that folder. Verified files have none.
    pub(super) fn read_inside(&self, folder: &Path, name: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
        match self {
            Self::Disk(files) => files.read_inside(folder, name, limit),
            Self::Verified(files) => files.read(&folder.join(name), limit),
        }
    }

    /// The names in a folder that [`Self::read_inside`] reads.
    pub(super) fn list_inside(&self, folder: &Path) -> Result<Vec<PathBuf>, FileError> {
        match self {
            Self::Disk(files) => files.list_inside(folder),
            Self::Verified(files) => {
                let listed = files.list(folder)?;
                Ok(listed
                    .iter()
                    .filter_map(|path| path.file_name().map(PathBuf::from))
                    .collect())
            }
        }
    }
}

/// Files whose bytes somebody proved, by their path: relative, with `/` between plain names.
#[derive(Clone, Debug, Default)]
pub struct VerifiedFiles(Arc<BTreeMap<String, Arc<[u8]>>>);

impl VerifiedFiles {
    /// Takes files over from whoever proved them.
    pub fn new(files: BTreeMap<String, Arc<[u8]>>) -> Self {
        Self(Arc::new(files))
    }

    /// A file's content.
    pub fn get(&self, path: &str) -> Option<&Arc<[u8]>> {
        self.0.get(path)
    }

    /// What lies below a folder, with the path from the folder on.
    fn below<'a>(&'a self, folder: &Path) -> impl Iterator<Item = &'a str> {
        let prefix = format!("{}/", folder.to_string_lossy());
        let paths = self.0.keys();
        paths.filter_map(move |path| path.strip_prefix(&prefix))
    }

    fn read(&self, path: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
        // A path that is not UTF-8 is none of these.
        let content = path.to_str().and_then(|path| self.get(path));
        match content {
            Some(content) if content.len() > limit => Err(FileError::TooLarge(limit)),
            Some(content) => Ok(content.to_vec()),
            None if self.below(path).next().is_some() => Err(FileError::NotAFile),
            None => Err(FileError::Missing),
        }
    }

    fn list(&self, folder: &Path) -> Result<Vec<PathBuf>, FileError> {
        let names: BTreeSet<&str> = self
            .below(folder)
            .map(|rest| rest.split_once('/').map_or(rest, |(first, _)| first))
            .collect();
        match names.len() {
            0 if folder.to_str().is_some_and(|path| self.get(path).is_some()) => Err(FileError::NotAFolder),
            0 => Err(FileError::Missing),
            count if count > MAX_FOLDER_ENTRIES => Err(FileError::TooManyEntries),
            _ => Ok(names.into_iter().map(|name| folder.join(name)).collect()),
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
        self.read_open(file, limit)
    }

    fn read_open(self, file: File, limit: usize) -> Result<Vec<u8>, FileError> {
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
        self.entries(path)
    }

    fn entries(self, path: &Path) -> Result<Vec<PathBuf>, FileError> {
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

    /// Reads a file of a folder, through symbolic links that stay inside that folder: Kubernetes mounts secrets that way.
    /// The kernel resolves the links (openat2(2), `RESOLVE_BENEATH`), so nothing can be exchanged in between.
    pub(super) fn read_inside(self, folder: &Path, name: &Path, limit: usize) -> Result<Vec<u8>, FileError> {
        let directory = File::open(folder)?;
        let how = OpenHow::new()
            .flags(OFlag::O_RDONLY | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC)
            .resolve(ResolveFlag::RESOLVE_BENEATH | ResolveFlag::RESOLVE_NO_MAGICLINKS);
        match openat2(&directory, name, how) {
            Ok(descriptor) => self.read_open(File::from(descriptor), limit),
            Err(Errno::EXDEV) => Err(FileError::Outside),
            Err(error) => Err(io::Error::from(error).into()),
        }
    }

    /// The names in a folder that [`Self::read_inside`] reads. Names that begin with two dots are Kubernetes' own. A mount
    /// that nobody can write may have any mode: those of secrets have.
    pub(super) fn list_inside(self, folder: &Path) -> Result<Vec<PathBuf>, FileError> {
        let listed = match self.list(folder) {
            Err(FileError::Writable(_)) if is_read_only(folder) => self.entries(folder)?,
            other => other?,
        };
        let names = listed.iter().filter_map(|path| path.file_name().map(PathBuf::from));
        Ok(names
            .filter(|name| !name.as_os_str().as_encoded_bytes().starts_with(b".."))
            .collect())
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
