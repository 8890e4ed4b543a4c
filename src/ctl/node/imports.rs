//! The files that make up containerd's configuration, in the order in which containerd merges them: a later one overrides what an
//! earlier one says, tables are merged, and lists only ever grow (containerd, `cmd/containerd/server/config`). What comes of it
//! containerd itself says; these are only the files.

use std::fs;
use std::io;
use std::path::{Component, Path, PathBuf};

use assay_verify::limits::{MAX_CONTAINERD_CONFIG, MAX_CONTAINERD_FILES};
use thiserror::Error;
use toml::{Table, Value};

use crate::ctl::publish::folder::read;

/// One file, as containerd reads it.
#[derive(Clone, Debug)]
pub(in crate::ctl) struct File {
    pub(in crate::ctl) path: PathBuf,
    pub(in crate::ctl) text: String,
    pub(in crate::ctl) table: Table,
}

/// Why the files are not known.
#[derive(Debug, Error)]
#[error("{path}: {why}")]
pub(in crate::ctl) struct ImportError {
    path: PathBuf,
    why: String,
}

impl File {
    /// Reads one file. Links are followed: configurations are mounted and linked into place.
    fn read(path: &Path) -> Result<Self, ImportError> {
        let failed = |why: String| ImportError {
            path: path.to_owned(),
            why,
        };
        let resolved = fs::canonicalize(path).map_err(|error| failed(error.to_string()))?;
        let content = read(&resolved, MAX_CONTAINERD_CONFIG).map_err(|error| failed(error.to_string()))?;
        let content = content.ok_or_else(|| failed(io::Error::from(io::ErrorKind::NotFound).to_string()))?;
        let text = String::from_utf8(content).map_err(|error| failed(error.to_string()))?;
        let table = toml::from_str(&text).map_err(|error| failed(error.message().to_owned()))?;
        Ok(Self {
            path: path.to_owned(),
            text,
            table,
        })
    }

    /// What it imports, as it is written: none where there is no such line.
    pub(in crate::ctl) fn imports(&self) -> Option<Vec<&str>> {
        let imports = self.table.get("imports")?.as_array()?;
        Some(imports.iter().filter_map(Value::as_str).collect())
    }

    /// The version of its format. containerd takes a file without one for the oldest.
    pub(in crate::ctl) fn version(&self) -> i64 {
        self.table.get("version").and_then(Value::as_integer).unwrap_or(0)
    }
}

/// Reads the main file and all that is imported, directly or not.
pub(in crate::ctl) fn load(main: &Path) -> Result<Vec<File>, ImportError> {
    let mut pending = std::collections::VecDeque::from([main.to_owned()]);
    let mut loaded: Vec<File> = Vec::new();
    while let Some(path) = pending.pop_front() {
        if loaded.iter().any(|file| file.path == path) {
            continue;
        }
        let failed = |why: String| ImportError {
            path: path.clone(),
            why,
        };
        if loaded.len() == MAX_CONTAINERD_FILES {
            return Err(failed(format!("more than {MAX_CONTAINERD_FILES} files are imported")));
        }
        let file = File::read(&path)?;
        for import in file.imports().unwrap_or_default() {
            let found = resolve(&path, import);
            pending.extend(found.map_err(|error| failed(format!("imports {import:?}: {error}")))?);
        }
        loaded.push(file);
    }
    Ok(loaded)
}

/// The path that an import means: relative to the folder of the file that has it.
pub(in crate::ctl) fn absolute(parent: &Path, import: &str) -> PathBuf {
    clean(&parent.parent().unwrap_or(Path::new("/")).join(import))
}

/// What an import takes in: the one file, or those that match a pattern, in the order of their names.
pub(in crate::ctl) fn resolve(parent: &Path, import: &str) -> io::Result<Vec<PathBuf>> {
    let path = absolute(parent, import);
    if !import.contains('*') {
        return Ok(vec![path]);
    }
    let pattern = Pattern::of(&path).ok_or_else(|| io::Error::other("no pattern that assayctl can follow"))?;
    let mut names = Vec::new();
    let entries = match fs::read_dir(&pattern.folder) {
        Ok(entries) => entries,
        // As for containerd, a folder that cannot be read has nothing in it.
        Err(_) => return Ok(names),
    };
    for entry in entries {
        let name = entry?.file_name();
        if name.to_str().is_some_and(|name| pattern.takes(name)) {
            names.push(pattern.folder.join(name));
        }
        if names.len() > MAX_CONTAINERD_FILES {
            return Err(io::Error::other(format!(
                "more than {MAX_CONTAINERD_FILES} files match"
            )));
        }
    }
    names.sort();
    Ok(names)
}

/// A pattern as they are written in practice: one star in the file's name, `conf.d/*.toml`.
#[derive(Debug, PartialEq)]
pub(in crate::ctl) struct Pattern {
    pub(in crate::ctl) folder: PathBuf,
    before: String,
    after: String,
}

impl Pattern {
    pub(in crate::ctl) fn of(path: &Path) -> Option<Self> {
        let is_plain = |text: &str| !text.contains(['*', '?', '[', '\\']);
        let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
        let (before, after) = name.split_once('*')?;
        (is_plain(folder.to_str()?) && is_plain(before) && is_plain(after)).then(|| Self {
            folder: folder.to_owned(),
            before: before.to_owned(),
            after: after.to_owned(),
        })
    }

    /// Whether a file of this name is taken in.
    pub(in crate::ctl) fn takes(&self, name: &str) -> bool {
        name.len() >= self.before.len() + self.after.len()
            && name.starts_with(&self.before)
            && name.ends_with(&self.after)
    }
}

/// A path without `.` and `..`, by its words alone, as containerd cleans it.
fn clean(path: &Path) -> PathBuf {
    let mut cleaned = PathBuf::new();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                cleaned.pop();
            }
            part => cleaned.push(part),
        }
    }
    cleaned
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_come_in_the_order_in_which_containerd_merges_them() {
        let folder = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| {
            let path = folder.path().join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        };
        let main = folder.path().join("etc/config.toml");
        write(
            "etc/config.toml",
            "imports = ['conf.d/*.toml', '../own.toml', 'nowhere/*.toml']\n",
        );
        write("etc/conf.d/20-b.toml", "version = 2\n");
        // One that imports the main file again goes in no circle.
        write("etc/conf.d/10-a.toml", "imports = ['../config.toml', 'below.part']\n");
        write("etc/conf.d/below.part", "");
        write("etc/conf.d/README", "no toml");
        write("own.toml", "version = 3\n");
        let loaded = load(&main).unwrap();
        let names: Vec<_> = loaded
            .iter()
            .map(|file| file.path.file_name().unwrap().to_str().unwrap())
            .collect();
        assert_eq!(
            names,
            ["config.toml", "10-a.toml", "20-b.toml", "own.toml", "below.part"]
        );
        let versions: Vec<_> = loaded.iter().map(File::version).collect();
        assert_eq!(versions, [0, 0, 2, 3, 0]);
    }

    #[test]
    fn what_cannot_be_followed_is_an_error_that_names_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("config.toml");
        assert!(load(&main).is_err());
        for (text, words) in [
            ("imports = ['gone.toml']", "gone.toml"),
            ("imports = ['*/a.toml']", "no pattern"),
            ("imports = ['[ab]*.toml']", "no pattern"),
            ("imports = [", "config.toml"),
        ] {
            fs::write(&main, text).unwrap();
            let said = load(&main).unwrap_err().to_string();
            assert!(said.contains(words), "{said}");
        }
    }

    #[test]
    fn only_so_many_files_are_followed() {
        let folder = tempfile::tempdir().unwrap();
        let main = folder.path().join("config.toml");
        let each: Vec<_> = (0..=MAX_CONTAINERD_FILES).map(|number| format!("'{number}'")).collect();
        fs::write(&main, format!("imports = [{}]", each.join(","))).unwrap();
        for number in 0..=MAX_CONTAINERD_FILES {
            fs::write(folder.path().join(number.to_string()), "").unwrap();
        }
        assert!(load(&main).unwrap_err().to_string().contains("more than"));
    }

    #[test]
    fn a_pattern_takes_a_name_by_what_stands_before_and_after_its_star() {
        let pattern = Pattern::of(Path::new("/etc/containerd/conf.d/a*.toml")).unwrap();
        for (name, takes) in [
            ("a.toml", true),
            ("a-b.toml", true),
            ("b.toml", false),
            ("a.tom", false),
            (".toml", false),
        ] {
            assert_eq!(pattern.takes(name), takes, "{name}");
        }
        assert_eq!(Pattern::of(Path::new("/etc/a.toml")), None);
    }
}
