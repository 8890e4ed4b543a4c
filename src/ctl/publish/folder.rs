//! The working folder of a publisher: where its parts lie, and how they are written.

use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use nix::fcntl::{Flock, FlockArg, OFlag};

use super::Stop;

/// What a file is called while it is written. No path of a target begins with a dot.
const UNFINISHED: &str = ".assayctl-new";

/// The folder.
#[derive(Clone, Debug)]
pub(super) struct Folder(PathBuf);

/// Held while something is written, so that a timer and a person do not write at once.
pub(super) struct Held(#[expect(dead_code, reason = "unlocked when dropped")] Flock<File>);

impl Folder {
    pub(super) fn new(path: &Path) -> Self {
        Self(path.to_owned())
    }

    /// A folder that `publish init` made.
    pub(super) fn open(path: &Path) -> Result<Self, Stop> {
        let folder = Self::new(path);
        if folder.plan().is_file() {
            return Ok(folder);
        }
        Err(Stop::usage(format!(
            "{} has no publish.toml: assayctl publish init FOLDER makes such a folder, --folder names it",
            path.display()
        )))
    }

    pub(super) fn path(&self) -> &Path {
        &self.0
    }

    pub(super) fn plan(&self) -> PathBuf {
        self.0.join("publish.toml")
    }

    pub(super) fn files(&self) -> PathBuf {
        self.0.join("files")
    }

    pub(super) fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    pub(super) fn repository(&self) -> PathBuf {
        self.0.join("repository")
    }

    pub(super) fn staged(&self) -> PathBuf {
        self.0.join("staged")
    }

    /// Waits until nobody else writes.
    pub(super) fn hold(&self) -> Result<Held, Stop> {
        let path = self.0.join(".lock");
        let opened = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path);
        let file = opened.map_err(|error| Stop::io(&path, &error))?;
        match Flock::lock(file, FlockArg::LockExclusive) {
            Ok(lock) => Ok(Held(lock)),
            Err((_, errno)) => Err(Stop::io(&path, &errno.into())),
        }
    }
}

/// Reads a regular file of at most `limit` bytes; none where there is none.
pub(in crate::ctl) fn read(path: &Path, limit: usize) -> Result<Option<Vec<u8>>, io::Error> {
    // Without O_NONBLOCK, opening a pipe would wait for its writer.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut content = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut content)?;
    if content.len() > limit {
        let message = format!("it has more than {limit} bytes");
        return Err(io::Error::new(ErrorKind::FileTooLarge, message));
    }
    Ok(Some(content))
}

/// Makes a folder and those above it that are missing. What is served is for everybody to read, whatever the umask.
pub(in crate::ctl) fn make_folder(path: &Path) -> io::Result<()> {
    if path.as_os_str().is_empty() || path.is_dir() {
        return Ok(());
    }
    if let Some(above) = path.parent() {
        make_folder(above)?;
    }
    DirBuilder::new().mode(0o755).create(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o755))?;
    match path.parent() {
        Some(above) if !above.as_os_str().is_empty() => File::open(above)?.sync_all(),
        _ => Ok(()),
    }
}

/// Puts a file in place whole or not at all, also when the power fails.
pub(in crate::ctl) fn put(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let (Some(folder), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::Error::other("not a file's path"));
    };
    make_folder(folder)?;
    let mut unfinished = std::ffi::OsString::from(UNFINISHED);
    unfinished.push("-");
    unfinished.push(name);
    let temporary = folder.join(unfinished);
    match fs::remove_file(&temporary) {
        Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(&temporary)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.set_permissions(Permissions::from_mode(mode)))
        .and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(&temporary, path)) {
        fs::remove_file(&temporary).ok();
        return Err(error);
    }
    let folder = if folder.as_os_str().is_empty() {
        Path::new(".")
    } else {
        folder
    };
    File::open(folder)?.sync_all()
}

/// Makes a file that must not be there yet.
pub(super) fn create(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    let mut file = OpenOptions::new().write(true).create_new(true).mode(mode).open(path)?;
    file.write_all(content)?;
    file.sync_all()
}

/// What a process left behind that died while it wrote.
pub(super) fn is_unfinished(name: &str) -> bool {
    name.starts_with(UNFINISHED)
}
