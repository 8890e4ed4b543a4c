//! Where the evidence store's files are, who may touch them, and how they are moved.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::SystemTime;

/// Room on the disk before a store that cannot be written is opened anew: four of sled's segments.
const PROBE_SIZE: usize = 2 * 1024 * 1024;

/// The files of the store: siblings in one directory, so that a rename moves them.
#[derive(Debug)]
pub(super) struct Files {
    pub(super) directory: PathBuf,
}

impl Files {
    const STORE: &str = "evidence";
    const DAMAGED_PREFIX: &str = "evidence.damaged-";

    fn path(&self, name: &str) -> PathBuf {
        self.directory.join(name)
    }

    pub(super) fn store(&self) -> PathBuf {
        self.path(Self::STORE)
    }

    pub(super) fn lock(&self) -> PathBuf {
        self.path("evidence.lock")
    }

    /// Has one byte for each process in a row that died while it opened the store.
    pub(super) fn openings(&self) -> PathBuf {
        self.path("evidence.opening")
    }

    /// The copy that a rebuild writes.
    pub(super) fn copy(&self) -> PathBuf {
        self.path("evidence.new")
    }

    /// The original, between the two renames at the end of a rebuild.
    pub(super) fn old(&self) -> PathBuf {
        self.path("evidence.old")
    }

    /// Whether the disk takes more than sled needs to open the store.
    pub(super) fn probe(&self) -> io::Result<()> {
        let path = self.path("evidence.probe");
        let written = fs::write(&path, vec![0; PROBE_SIZE]);
        remove(&path)?;
        written
    }

    /// Ends a rebuild that a dying process left behind.
    pub(super) fn finish_rebuild(&self) -> io::Result<()> {
        if !exists(&self.store())? && exists(&self.old())? && exists(&self.copy())? {
            fs::rename(self.copy(), self.store())?;
        }
        remove(&self.copy())?;
        if exists(&self.store())? {
            remove(&self.old())
        } else if exists(&self.old())? {
            fs::rename(self.old(), self.store())
        } else {
            Ok(())
        }
    }

    /// Moves the damaged files aside and removes what was moved aside before: one is kept, for whoever wants to look.
    pub(super) fn set_aside(&self) -> io::Result<PathBuf> {
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            if entry.file_name().to_string_lossy().starts_with(Self::DAMAGED_PREFIX) {
                remove(&entry.path())?;
            }
        }
        let seconds = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .map_or(0, |since| since.as_secs());
        let aside = self.path(&format!("{}{seconds}", Self::DAMAGED_PREFIX));
        match fs::rename(self.store(), &aside) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                // What cannot be kept for looking at must still not be opened again.
                remove(&self.store())?;
            }
            _ => {}
        }
        Ok(aside)
    }
}

fn exists(path: &Path) -> io::Result<bool> {
    path.try_exists()
}

/// Removes a file or folder, and is content when there is none.
pub(super) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The right to touch the files: one process holds it, and in it one thread.
#[derive(Debug, Default)]
pub(super) struct Claim {
    lock: Mutex<Option<File>>,
    pub(super) thread: AtomicU32,
}

impl Claim {
    /// Takes the right away from every thread before this one, and returns this one's number.
    pub(super) fn take(&self) -> u32 {
        self.thread.fetch_add(1, Ordering::SeqCst) + 1
    }

    pub(super) fn lock(&self) -> MutexGuard<'_, Option<File>> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
