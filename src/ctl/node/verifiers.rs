//! The folder of image verifiers. containerd runs every entry of it, in the order of their names, and stops at the first
//! that refuses (containerd, `pkg/imageverifier/bindir`). A folder that is not there, or has nothing in it, admits everything.

use std::ffi::OsString;
use std::fs;
use std::io::{self, ErrorKind};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use assay_verify::limits::MAX_VERIFIER_ENTRIES;

use super::effective::Verifiers;

/// What the hook is called in the folder.
pub(in crate::ctl) const LINK: &str = "assay-verifier";

/// The folder, as containerd would find it.
#[derive(Debug)]
pub(in crate::ctl) enum Folder {
    /// The configuration names none: containerd admits everything.
    Unset,
    /// It is not there: containerd admits everything.
    Missing,
    /// It cannot be listed: containerd denies everything.
    Unreadable(io::Error),
    /// Its entries, in the order in which containerd runs them.
    Listed(Vec<Entry>),
}

/// One entry.
#[derive(Debug)]
pub(in crate::ctl) struct Entry {
    pub(in crate::ctl) name: OsString,
    /// Where a link leads.
    pub(in crate::ctl) target: Option<PathBuf>,
    pub(in crate::ctl) is: Kind,
    /// Whether it is the hook.
    pub(in crate::ctl) is_hook: bool,
}

/// What becomes of running it.
#[derive(Debug, PartialEq)]
pub(in crate::ctl) enum Kind {
    Program,
    /// A link to nothing: running it fails, and every pull with it.
    Dangling,
    /// Not a program, such as a folder, a README or a file of a package manager: the same.
    NotAProgram(&'static str),
}

impl Folder {
    /// Lists the folder. `verifier` is the installed hook.
    pub(in crate::ctl) fn list(path: &Path, verifier: &Path) -> Self {
        if path.as_os_str().is_empty() {
            return Self::Unset;
        }
        match list(path, verifier) {
            Ok(entries) => Self::Listed(entries),
            Err(error) if error.kind() == ErrorKind::NotFound => Self::Missing,
            Err(error) => Self::Unreadable(error),
        }
    }

    /// The hook's entry and its position, from 0.
    pub(in crate::ctl) fn hook(&self) -> Option<(usize, &Entry)> {
        match self {
            Self::Listed(entries) => entries.iter().enumerate().find(|(_, entry)| entry.is_hook),
            _ => None,
        }
    }

    /// Entries that fail when they are run, and deny every pull.
    pub(in crate::ctl) fn strays(&self) -> impl Iterator<Item = &Entry> {
        let entries = match self {
            Self::Listed(entries) => entries.as_slice(),
            _ => &[],
        };
        entries.iter().filter(|entry| entry.is != Kind::Program)
    }
}

impl Verifiers {
    /// Whether the entry at this position is run at all. Of those beyond the number, containerd says only in its log that
    /// they are skipped.
    pub(in crate::ctl) fn runs(&self, position: usize) -> bool {
        usize::try_from(self.max_verifiers).map_or(true, |most| position < most)
    }
}

fn list(path: &Path, verifier: &Path) -> io::Result<Vec<Entry>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(path)? {
        names.push(entry?.file_name());
        if names.len() > MAX_VERIFIER_ENTRIES {
            let message = format!("it has more than {MAX_VERIFIER_ENTRIES} entries");
            return Err(io::Error::new(ErrorKind::FileTooLarge, message));
        }
    }
    names.sort();
    let installed = fs::metadata(verifier)
        .ok()
        .map(|metadata| (metadata.dev(), metadata.ino()));
    let entry = |name: OsString| {
        let own = path.join(&name);
        let target = fs::read_link(&own).ok();
        let (is, file) = match fs::metadata(&own) {
            Ok(metadata) if !metadata.is_file() => (Kind::NotAProgram(kind(&metadata)), None),
            Ok(metadata) if metadata.permissions().mode() & 0o111 == 0 => {
                (Kind::NotAProgram("a file that is not executable"), None)
            }
            Ok(metadata) => (Kind::Program, Some((metadata.dev(), metadata.ino()))),
            Err(_) => (Kind::Dangling, None),
        };
        // By what it is, or by what it is meant to be where that is gone.
        let is_hook = (file.is_some() && file == installed) || target.as_deref() == Some(verifier) || name == LINK;
        Entry {
            name,
            target,
            is,
            is_hook,
        }
    };
    Ok(names.into_iter().map(entry).collect())
}

fn kind(metadata: &fs::Metadata) -> &'static str {
    if metadata.is_dir() {
        "a folder"
    } else {
        "no regular file"
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    fn program(path: &Path) {
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_folder_that_is_not_there_is_told_from_one_that_cannot_be_listed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bin");
        let list = || Folder::list(&path, Path::new("/v"));
        assert!(matches!(list(), Folder::Missing));
        fs::write(&path, "").unwrap();
        assert!(matches!(list(), Folder::Unreadable(_)));
        fs::remove_file(&path).unwrap();
        fs::create_dir(&path).unwrap();
        assert!(matches!(list(), Folder::Listed(entries) if entries.is_empty()));
        assert!(matches!(Folder::list(Path::new(""), Path::new("/v")), Folder::Unset));
    }

    #[test]
    fn entries_come_in_the_order_in_which_they_are_run() {
        let folder = tempfile::tempdir().unwrap();
        let (bin, verifier) = (folder.path().join("bin"), folder.path().join("assay-verifier"));
        fs::create_dir_all(bin.join("a-folder")).unwrap();
        program(&verifier);
        program(&bin.join("Z-first"));
        fs::write(bin.join("README"), "").unwrap();
        symlink("/nonexistent", bin.join("b-gone")).unwrap();
        symlink(&verifier, bin.join("c-hook")).unwrap();
        let listed = Folder::list(&bin, &verifier);
        let Folder::Listed(entries) = &listed else {
            panic!("{listed:?}")
        };
        let names: Vec<_> = entries.iter().map(|entry| entry.name.to_str().unwrap()).collect();
        assert_eq!(names, ["README", "Z-first", "a-folder", "b-gone", "c-hook"]);
        let strays: Vec<_> = listed.strays().map(|entry| entry.name.to_str().unwrap()).collect();
        assert_eq!(strays, ["README", "a-folder", "b-gone"]);
        assert_eq!(listed.hook().map(|(position, _)| position), Some(4));
    }

    #[test]
    fn only_so_many_are_run() {
        let most = |max_verifiers| Verifiers {
            max_verifiers,
            ..Verifiers::default()
        };
        assert!(most(1).runs(0) && !most(1).runs(1) && !most(0).runs(0) && most(-1).runs(1000));
    }
}
