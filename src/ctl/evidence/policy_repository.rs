//! A policy repository in a bundle. Nothing here verifies it: the nodes do, from their pinned root.

use std::collections::BTreeMap;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, ErrorKind, Read as _, Write};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::limits::{
    MAX_FLEET_FILE_SIZE, MAX_NESTING, MAX_REFERRERS, MAX_REPOSITORY_PATH_LENGTH, MAX_REPOSITORY_SIZE,
    MAX_TIMESTAMP_METADATA_SIZE,
};
use assay_verify::manifest::Manifest;
use assay_verify::untrusted::Untrusted;
use nix::fcntl::OFlag;
use serde_json::Value;
use thiserror::Error;

use crate::ctl::Failure;
use crate::fetch::layout::{Layout, LayoutWriter};
use crate::sync::layout::{FILE_ANNOTATION, REPOSITORY_ARTIFACT, REPOSITORY_LAYER, TARGETS_FOLDER};

/// The file that says which the others are. It is written last.
const TIMESTAMP: &str = "timestamp.json";

/// The place of a file in a repository: names joined by `/`, none of which leads anywhere else.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct RepositoryPath(Box<str>);

/// Text that is no place in a repository.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0} is no place in a policy repository")]
pub(super) struct NoRepositoryPath(Untrusted);

impl RepositoryPath {
    fn parse(text: &str) -> Result<Self, NoRepositoryPath> {
        let is_name = |name: &str| {
            (1..=255).contains(&name.len())
                && !name.starts_with('.')
                && name.bytes().all(|byte| (b' '..=b'~').contains(&byte) && byte != b'\\')
        };
        let good = text.len() <= MAX_REPOSITORY_PATH_LENGTH
            && text.split('/').count() <= MAX_NESTING
            && text.split('/').all(is_name);
        match good {
            true => Ok(Self(text.into())),
            false => Err(NoRepositoryPath(text.into())),
        }
    }

    /// Targets first, then the metadata that names them, then what says which metadata counts: whoever reads meanwhile finds
    /// everything that he is told of.
    fn rank(&self) -> u8 {
        match self.0.split_once('/') {
            Some((TARGETS_FOLDER, _)) => 0,
            _ if *self.0 == *TIMESTAMP => 2,
            _ => 1,
        }
    }
}

/// The files of the repository in a folder.
pub(super) fn list(folder: &Path) -> Result<Vec<RepositoryPath>, Failure> {
    let mut found = Vec::new();
    let mut left = vec![(folder.to_owned(), String::new())];
    while let Some((path, prefix)) = left.pop() {
        let entries = fs::read_dir(&path).map_err(|error| about(&path, error))?;
        for entry in entries {
            let entry = entry.map_err(|error| about(&path, error))?;
            let kind = entry.file_type().map_err(|error| about(&entry.path(), error))?;
            let name = entry.file_name();
            let name = format!("{prefix}{}", name.to_string_lossy());
            let place = RepositoryPath::parse(&name).map_err(|error| about(folder, error))?;
            if kind.is_dir() {
                left.push((entry.path(), format!("{name}/")));
            } else if kind.is_file() {
                found.push(place);
            } else {
                return Err(about(&entry.path(), "neither a file nor a folder"));
            }
            if found.len() + left.len() > MAX_REFERRERS {
                return Err(about(folder, format!("it holds more than {MAX_REFERRERS} files")));
            }
        }
    }
    if !found.iter().any(|place| *place.0 == *TIMESTAMP) {
        return Err(about(
            folder,
            format!("it is no policy repository: it has no {TIMESTAMP}"),
        ));
    }
    found.sort();
    Ok(found)
}

/// Puts the files of a repository into a bundle.
pub(super) fn pack<W: Write>(
    writer: &mut LayoutWriter<W>,
    folder: &Path,
    files: &[RepositoryPath],
) -> Result<(), Failure> {
    let media_type = MediaType::parse(REPOSITORY_LAYER).map_err(|error| about(folder, error))?;
    let mut layers = Vec::with_capacity(files.len());
    let mut size = 0;
    for place in files {
        let path = folder.join(&*place.0);
        let content = read(&path, MAX_FLEET_FILE_SIZE)?;
        size += content.len() as u64;
        if size > MAX_REPOSITORY_SIZE {
            return Err(about(folder, format!("it has more than {MAX_REPOSITORY_SIZE} bytes")));
        }
        let digest = Digest::sha256(&content);
        writer.blob(&digest, &content).map_err(|error| about(&path, error))?;
        let layer = Descriptor {
            media_type: media_type.clone(),
            digest,
            size: content.len() as u64,
        };
        layers.push((
            layer,
            BTreeMap::from([(FILE_ANNOTATION.to_owned(), place.0.to_string())]),
        ));
    }
    writer
        .artifact(REPOSITORY_ARTIFACT, &layers, BTreeMap::new())
        .map_err(|error| about(folder, error))
}

/// Puts the repository of a bundle into a folder, file by file, in an order in which a node may read it meanwhile. How many there
/// are.
pub(super) fn unpack(
    layout: &Layout,
    repositories: &[(Descriptor, Option<Manifest>)],
    folder: &Path,
) -> Result<usize, Failure> {
    let refuse = |cause: String| Failure::Input(format!("the policy repository in the bundle: {cause}"));
    let manifest = match repositories {
        [] => return Err(Failure::Input("the bundle holds no policy repository".to_owned())),
        [(_, Some(manifest))] => manifest,
        [(descriptor, None)] => return Err(refuse(format!("its list {} cannot be read", descriptor.digest))),
        several => return Err(refuse(format!("there are {}", several.len()))),
    };
    let mut files = BTreeMap::new();
    let mut size = 0_u64;
    for layer in &manifest.layers {
        let title = layer.annotations.get(FILE_ANNOTATION).map(String::as_str);
        let place = RepositoryPath::parse(title.unwrap_or_default()).map_err(|error| refuse(error.to_string()))?;
        size = size.saturating_add(layer.descriptor.size);
        let rank = place.rank();
        if files.insert((rank, place), &layer.descriptor).is_some() {
            return Err(refuse(format!(
                "two files are {}",
                Untrusted::new(title.unwrap_or_default())
            )));
        }
    }
    if size > MAX_REPOSITORY_SIZE {
        return Err(refuse(format!("it has more than {MAX_REPOSITORY_SIZE} bytes")));
    }
    let content = |place: &RepositoryPath, descriptor: &Descriptor| {
        let content = layout.content(descriptor, MAX_FLEET_FILE_SIZE);
        let content = content.map_err(|error| refuse(error.to_string()))?;
        content.ok_or_else(|| refuse(format!("the bytes of {} are not there, or are others", place.0)))
    };
    let timestamp = files.iter().find(|((_, place), _)| *place.0 == *TIMESTAMP);
    let Some(((_, place), descriptor)) = timestamp else {
        return Err(refuse(format!("it has no {TIMESTAMP}")));
    };
    let (brought, before) = (version(&content(place, descriptor)?), version_in(folder));
    if brought < before {
        let (brought, before) = (shown(brought), shown(before));
        return Err(refuse(format!(
            "its version is {brought}, and {} has {before}",
            folder.display()
        )));
    }
    for ((_, place), descriptor) in &files {
        write(folder, place, &content(place, descriptor)?)?;
    }
    Ok(files.len())
}

fn shown(version: Option<u64>) -> String {
    version.map_or_else(|| "none".to_owned(), |version| version.to_string())
}

/// The version that a `timestamp.json` claims (TUF specification §4.6). Going back to an older one by mistake would only be refused
/// by the node.
fn version(timestamp: &[u8]) -> Option<u64> {
    if timestamp.len() > MAX_TIMESTAMP_METADATA_SIZE {
        return None;
    }
    let json: Value = serde_json::from_slice(timestamp).ok()?;
    json.get("signed")?.get("version")?.as_u64()
}

fn version_in(folder: &Path) -> Option<u64> {
    version(&read(&folder.join(TIMESTAMP), MAX_TIMESTAMP_METADATA_SIZE).ok()?)
}

/// Writes a file so that it is there whole, or as it was before. The daemon reads it, whatever the umask.
fn write(folder: &Path, place: &RepositoryPath, content: &[u8]) -> Result<(), Failure> {
    let mut directory = folder.to_owned();
    make_directory(&directory)?;
    let mut names: Vec<&str> = place.0.split('/').collect();
    let name = names.pop().unwrap_or_default();
    for name in names {
        directory.push(name);
        make_directory(&directory)?;
    }
    let (path, unfinished) = (directory.join(name), directory.join(format!(".{name}.new")));
    let written = (|| {
        match fs::remove_file(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(&unfinished)?;
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(content)?;
        file.sync_all()?;
        fs::rename(&unfinished, &path)
    })();
    written.map_err(|error: io::Error| about(&path, error))
}

/// Makes a folder unless it is there. A link in its place leads somewhere else.
fn make_directory(path: &Path) -> Result<(), Failure> {
    match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => Ok(()),
        Ok(_) => Err(about(path, "it is there and is no folder")),
        Err(error) if error.kind() == ErrorKind::NotFound => DirBuilder::new()
            .mode(0o755)
            .create(path)
            .and_then(|()| fs::set_permissions(path, Permissions::from_mode(0o755)))
            .map_err(|error| about(path, error)),
        Err(error) => Err(about(path, error)),
    }
}

/// Reads a regular file. A link is not followed.
fn read(path: &Path, limit: usize) -> Result<Vec<u8>, Failure> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let read = || -> io::Result<Vec<u8>> {
        let file: File = OpenOptions::new().read(true).custom_flags(flags.bits()).open(path)?;
        let mut content = Vec::new();
        file.take(limit as u64 + 1).read_to_end(&mut content)?;
        Ok(content)
    };
    let content = read().map_err(|error| about(path, error))?;
    if content.len() > limit {
        return Err(about(path, format!("it has more than {limit} bytes")));
    }
    Ok(content)
}

fn about(path: &Path, cause: impl ToString) -> Failure {
    Failure::Input(format!("{}: {}", PathBuf::from(path).display(), cause.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_repository_leads_nowhere_else() {
        for good in [
            "timestamp.json",
            "1.root.json",
            "targets/channels/stable/ab.policy.toml",
            "targets/x/a b (1).crt",
        ] {
            assert!(RepositoryPath::parse(good).is_ok(), "{good}");
        }
        let long = "a".repeat(256);
        let deep = vec!["a"; MAX_NESTING + 1].join("/");
        for bad in [
            "",
            "/etc/passwd",
            "../x",
            "a/../b",
            "a/./b",
            "a//b",
            "a/",
            ".hidden",
            "a/.git/config",
            "a\\b",
            "a\0b",
            "a\nb",
            "\u{e9}",
            &long,
            &deep,
        ] {
            assert!(RepositoryPath::parse(bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_names_others_comes_after_them() {
        let mut places = ["timestamp.json", "2.targets.json", "targets/a/b", "1.root.json"]
            .map(|place| RepositoryPath::parse(place).unwrap());
        places.sort_by_key(|place| (place.rank(), place.clone()));
        let places: Vec<_> = places.iter().map(|place| &*place.0).collect();
        assert_eq!(
            places,
            ["targets/a/b", "1.root.json", "2.targets.json", "timestamp.json"]
        );
    }

    #[test]
    fn the_version_of_a_timestamp_is_what_it_claims() {
        assert_eq!(version(br#"{"signed":{"version":7}}"#), Some(7));
        for bad in [
            "",
            "{}",
            r#"{"signed":[]}"#,
            r#"{"signed":{"version":"7"}}"#,
            r#"{"signed":{"version":-1}}"#,
        ] {
            assert_eq!(version(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(version(&vec![b' '; MAX_TIMESTAMP_METADATA_SIZE + 1]), None);
    }
}
