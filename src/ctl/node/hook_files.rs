//! The files that the hook obeys, where they are, and whether it does: it believes only what nobody but root could write.

use std::fs::{self, Metadata};
use std::io::{self, ErrorKind, Read as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::OFlag;

use super::containerd::Running;

/// Where the hook is installed.
pub(in crate::ctl) const VERIFIER: &str = "/usr/libexec/assayd/assay-verifier";
const VERIFIER_SOCKET: &str = "/run/assayd/verifier.sock";
const BOOTSTRAP_LIST: &str = "/etc/assayd/bootstrap.list";
const OBSERVE_FLAG: &str = "/etc/assayd/observe";

/// Permission bits by which others than the owner could write.
const WRITABLE_BY_OTHERS: u32 = 0o022;

/// Where the hook finds what it needs. Variables of containerd's environment move them (`docs/configuration.md`).
#[derive(Clone, Debug)]
pub(in crate::ctl) struct HookFiles {
    pub(in crate::ctl) socket: PathBuf,
    pub(in crate::ctl) bootstrap_list: PathBuf,
    pub(in crate::ctl) observe_flag: PathBuf,
}

impl HookFiles {
    /// As a running containerd hands them down; the usual places where none runs.
    pub(in crate::ctl) fn of(running: Option<&Running>) -> Self {
        let path = |variable: &str, usual: &str| {
            let moved = running.and_then(|running| running.environment.get(variable));
            moved.cloned().unwrap_or_else(|| usual.into())
        };
        Self {
            socket: path("ASSAYD_VERIFIER_SOCKET", VERIFIER_SOCKET),
            bootstrap_list: path("ASSAYD_BOOTSTRAP_LIST", BOOTSTRAP_LIST),
            observe_flag: path("ASSAYD_OBSERVE_FLAG", OBSERVE_FLAG),
        }
    }
}

/// What is wrong with an owner or a mode, for people; none where only root can write.
pub(in crate::ctl) fn writable_by_others(metadata: &Metadata) -> Option<String> {
    if metadata.uid() != 0 {
        return Some(format!("belongs to user {}, not to root", metadata.uid()));
    }
    (metadata.mode() & WRITABLE_BY_OTHERS != 0)
        .then(|| format!("can be written by others (mode {:04o})", metadata.mode() & 0o7777))
}

/// The same for a file or folder and every folder above it: who can write one of those can exchange what lies in it. Links
/// are followed.
pub(in crate::ctl) fn exchangeable_by_others(path: &Path) -> Option<String> {
    let resolved = match fs::canonicalize(path) {
        Ok(resolved) => resolved,
        Err(error) => return Some(format!("{}: {error}", path.display())),
    };
    resolved.ancestors().find_map(|part| {
        let fault = match fs::symlink_metadata(part) {
            // Of a sticky folder, like /tmp, only owners remove and rename entries, and each of those is looked at.
            Ok(metadata) if metadata.is_dir() && metadata.uid() == 0 && metadata.mode() & 0o1000 != 0 => None,
            Ok(metadata) => writable_by_others(&metadata),
            Err(error) => Some(error.to_string()),
        };
        fault.map(|fault| format!("{} {fault}", part.display()))
    })
}

/// A file that the hook obeys only if it is root's.
#[derive(Clone, Debug, PartialEq)]
pub(in crate::ctl) enum RootFile {
    Absent,
    /// It is there and not obeyed, because of this.
    NotObeyed(String),
    Read(Vec<u8>),
}

impl RootFile {
    /// Reads a file of at most `limit` bytes by the hook's own rules: it and its folder are root's alone, and it is no
    /// symbolic link.
    pub(in crate::ctl) fn read(path: &Path, limit: u64) -> Self {
        match read(path, limit) {
            Ok(content) => Self::Read(content),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::Absent,
            Err(error) => Self::NotObeyed(error.to_string()),
        }
    }
}

fn read(path: &Path, limit: u64) -> io::Result<Vec<u8>> {
    let folder = path.parent().unwrap_or(Path::new("/"));
    if let Some(found) = writable_by_others(&fs::metadata(folder)?) {
        return Err(io::Error::other(format!("its folder {} {found}", folder.display())));
    }
    // O_NONBLOCK: opening a pipe would wait for its writer.
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_CLOEXEC;
    let file = fs::OpenOptions::new().read(true).custom_flags(flags.bits()).open(path);
    let file = file.map_err(|error| match error.raw_os_error() {
        Some(number) if number == Errno::ELOOP as i32 => io::Error::other("it is a symbolic link"),
        _ => error,
    })?;
    let metadata = file.metadata()?;
    if let Some(found) = writable_by_others(&metadata) {
        return Err(io::Error::other(format!("it {found}")));
    }
    if !metadata.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    let mut content = Vec::new();
    file.take(limit + 1).read_to_end(&mut content)?;
    if content.len() as u64 > limit {
        return Err(io::Error::other(format!("it is longer than {limit} bytes")));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    fn set(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn reads_what_only_root_could_write() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flag");
        assert_eq!(RootFile::read(&path, 9), RootFile::Absent);
        fs::write(&path, "on").unwrap();
        set(&path, 0o644);
        let expected = match nix::unistd::geteuid().is_root() {
            true => RootFile::Read(b"on".to_vec()),
            false => return,
        };
        assert_eq!(RootFile::read(&path, 9), expected);
    }

    #[test]
    fn what_others_could_write_is_not_obeyed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("flag");
        fs::write(&path, "on").unwrap();
        let says = |words: &str| match RootFile::read(&path, 1) {
            RootFile::NotObeyed(fault) => assert!(fault.contains(words), "{fault}"),
            other => panic!("{other:?}"),
        };
        if !nix::unistd::geteuid().is_root() {
            return says("belongs to user");
        }
        set(&path, 0o644);
        says("longer than 1 bytes");
        set(&path, 0o664);
        says("written by others (mode 0664)");
        set(folder.path(), 0o777);
        says("its folder");
        set(folder.path(), 0o755);
        fs::rename(&path, folder.path().join("other")).unwrap();
        symlink("other", &path).unwrap();
        says("symbolic link");
    }
}
