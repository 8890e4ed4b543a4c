//! How files and links are put in place and taken away: whole or not at all, also when the power fails.

use std::ffi::OsString;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _, fchown, symlink};
use std::path::Path;

use nix::errno::Errno;

/// What a link is called until it is in place, and how a file's name ends until then.
const UNFINISHED: &str = ".assayctl-new";

/// Whether something had to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::ctl) enum Done {
    Now,
    Before,
}

/// Puts a symbolic link at `path`. One that leads elsewhere is exchanged at once; anything else that is there is left alone and
/// an error.
///
/// The link that will take another's place is made beside the folder, not in it: containerd runs every entry of it.
pub(in crate::ctl) fn link(target: &Path, path: &Path) -> io::Result<Done> {
    let folder = folder_of(path)?;
    match fs::read_link(path) {
        Ok(found) if found == target => Ok(Done::Before),
        Ok(_) => {
            let beside = folder.parent().unwrap_or(folder).join(UNFINISHED);
            // Of a process that died.
            remove(&beside)?;
            symlink(target, &beside)?;
            let mut moved = fs::rename(&beside, path);
            if moved
                .as_ref()
                .is_err_and(|error| error.raw_os_error() == Some(Errno::EXDEV as i32))
            {
                // The folder is a mount of its own. Under any name the link leads to the hook, and running it twice is the
                // same as running it once.
                remove(&beside)?;
                let inside = folder.join(UNFINISHED);
                remove(&inside)?;
                symlink(target, &inside)?;
                moved = fs::rename(&inside, path);
            }
            moved?;
            sync(folder)?;
            Ok(Done::Now)
        }
        Err(error) if error.kind() == ErrorKind::NotFound => {
            symlink(target, path)?;
            sync(folder)?;
            Ok(Done::Now)
        }
        // EINVAL, readlink(2): it is no link.
        Err(error) if error.kind() == ErrorKind::InvalidInput => Err(io::Error::new(
            ErrorKind::AlreadyExists,
            "it is there and no symbolic link: assayctl did not put it there and leaves it alone",
        )),
        Err(error) => Err(error),
    }
}

/// Puts a file in place, with the owner and mode of the one that it takes the place of, or with this mode.
///
/// Until it is whole its name ends unlike those of its kind: whoever reads every `*.toml` of the folder must not read half of it.
pub(in crate::ctl) fn put(path: &Path, content: &[u8], mode: u32) -> io::Result<()> {
    let folder = folder_of(path)?;
    let before = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_file() => Some(metadata),
        Ok(_) => {
            return Err(io::Error::new(
                ErrorKind::AlreadyExists,
                "it is there and no regular file",
            ));
        }
        Err(error) if error.kind() == ErrorKind::NotFound => None,
        Err(error) => return Err(error),
    };
    let mut unfinished = OsString::from(path);
    unfinished.push(UNFINISHED);
    let unfinished = Path::new(&unfinished);
    // Of a process that died.
    remove(unfinished)?;
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(unfinished)?;
    let written = file.write_all(content).and_then(|()| match &before {
        Some(before) => {
            fchown(&file, Some(before.uid()), Some(before.gid()))?;
            file.set_permissions(Permissions::from_mode(before.mode() & 0o7777))
        }
        None => file.set_permissions(Permissions::from_mode(mode)),
    });
    let written = written.and_then(|()| file.sync_all());
    if let Err(error) = written.and_then(|()| fs::rename(unfinished, path)) {
        fs::remove_file(unfinished).ok();
        return Err(error);
    }
    sync(folder)
}

/// Removes a file or a link that may not be there.
pub(in crate::ctl) fn remove(path: &Path) -> io::Result<Done> {
    match fs::remove_file(path) {
        Ok(()) => {
            sync(folder_of(path)?)?;
            Ok(Done::Now)
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(Done::Before),
        Err(error) => Err(error),
    }
}

fn folder_of(path: &Path) -> io::Result<&Path> {
    path.parent()
        .filter(|folder| !folder.as_os_str().is_empty())
        .ok_or_else(|| io::Error::new(ErrorKind::InvalidInput, "it is no absolute path"))
}

fn sync(folder: &Path) -> io::Result<()> {
    File::open(folder)?.sync_all()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_is_put_exchanged_and_removed_and_each_again_changes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let path = bin.join("assay-verifier");
        for (target, done) in [("/a", Done::Now), ("/a", Done::Before), ("/b", Done::Now)] {
            assert_eq!(link(Path::new(target), &path).unwrap(), done);
            assert_eq!(fs::read_link(&path).unwrap(), Path::new(target));
            assert_eq!(fs::read_dir(&bin).unwrap().count(), 1);
        }
        assert_eq!(remove(&path).unwrap(), Done::Now);
        assert_eq!(remove(&path).unwrap(), Done::Before);
        assert_eq!(remove(&path.join("below")).unwrap(), Done::Before);
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_file_keeps_the_mode_of_the_one_that_it_takes_the_place_of() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        let mode = || fs::metadata(&path).unwrap().mode() & 0o7777;
        put(&path, b"one", 0o644).unwrap();
        assert_eq!(mode(), 0o644);
        fs::set_permissions(&path, Permissions::from_mode(0o640)).unwrap();
        // What a process that died left behind is in nobody's way.
        fs::write(folder.path().join("config.toml.assayctl-new"), "half").unwrap();
        put(&path, b"two", 0o644).unwrap();
        assert_eq!((mode(), fs::read_to_string(&path).unwrap().as_str()), (0o640, "two"));
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
        assert!(put(folder.path(), b"three", 0o644).is_err());
    }

    #[test]
    fn what_assayctl_did_not_put_there_is_left_alone() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("assay-verifier");
        fs::write(&path, "precious").unwrap();
        assert!(link(Path::new("/a"), &path).is_err());
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }

    #[test]
    fn what_a_process_that_died_left_behind_is_in_nobodys_way() {
        let folder = tempfile::tempdir().unwrap();
        let bin = folder.path().join("bin");
        fs::create_dir(&bin).unwrap();
        let path = bin.join("assay-verifier");
        symlink("/old", &path).unwrap();
        symlink("/half", folder.path().join(UNFINISHED)).unwrap();
        assert_eq!(link(Path::new("/new"), &path).unwrap(), Done::Now);
        assert_eq!(fs::read_link(&path).unwrap(), Path::new("/new"));
    }
}
