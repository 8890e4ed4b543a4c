//! What a publisher's repository holds, and what waits for signatures beside it.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::ErrorKind;
use std::num::NonZeroU64;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::de::DeserializeOwned;
use tough::schema::{Root, Signed, Snapshot, Targets, Timestamp};

use assay_verify::digest::Digest;
use assay_verify::limits::MAX_FLEET_FILE_SIZE;

use super::Stop;
use super::files::Tree;
use super::folder::{self, Folder};
use super::metadata::{self, Holder, digest_of};
use crate::sync::layout::{SIGNED_AT_FIELD, TARGETS_FOLDER};
use crate::sync::{Role, TargetPath, check_clock, trusted_time};

/// The roles that sign files.
pub(super) const TARGET_ROLES: [Role; 3] = [Role::Targets, Role::Revocations, Role::Exceptions];

/// Metadata, and the bytes it was read from or will be written as.
#[derive(Clone, Debug)]
pub(super) struct Kept<T> {
    pub(super) document: Signed<T>,
    pub(super) bytes: Vec<u8>,
}

impl<T: serde::Serialize + DeserializeOwned> Kept<T> {
    pub(super) fn new(document: Signed<T>) -> Result<Self, Stop> {
        let bytes = metadata::encode(&document)?;
        Ok(Self { document, bytes })
    }

    fn read(path: &Path, role: Role) -> Result<Option<Self>, Stop> {
        let read = folder::read(path, metadata::max_size(role)).map_err(|error| Stop::io(path, &error))?;
        let Some(bytes) = read else {
            return Ok(None);
        };
        let document =
            metadata::decode(&bytes).map_err(|error| Stop::usage(format!("{} is damaged: {error}", path.display())))?;
        Ok(Some(Self { document, bytes }))
    }
}

/// The repository as it is served.
#[derive(Clone, Debug, Default)]
pub(super) struct Published {
    /// All roots, from the first that is there.
    pub(super) roots: Vec<Kept<Root>>,
    pub(super) timestamp: Option<Kept<Timestamp>>,
    pub(super) snapshot: Option<Kept<Snapshot>>,
    pub(super) targets: BTreeMap<Role, Kept<Targets>>,
    /// The highest version that each role has a file of.
    highest: BTreeMap<Role, u64>,
}

impl Published {
    pub(super) fn read(folder: &Folder) -> Result<Self, Stop> {
        let repository = folder.repository();
        let (roots, highest) = versions(&repository)?;
        let mut published = Self {
            highest,
            ..Self::default()
        };
        for version in roots {
            let path = repository.join(metadata::file_of(Role::Root, version));
            let root = Kept::<Root>::read(&path, Role::Root)?.ok_or_else(|| missing(&path))?;
            published.follow(root, &path)?;
        }
        let path = repository.join("timestamp.json");
        let Some(timestamp) = Kept::<Timestamp>::read(&path, Role::Timestamp)? else {
            return Ok(published);
        };
        let damaged = |what: &str| Stop::usage(format!("{} is damaged: {what}", path.display()));
        let pin = timestamp.document.signed.meta.get("snapshot.json");
        let version = pin.ok_or_else(|| damaged("it names no snapshot"))?.version;
        let path = repository.join(metadata::file_of(Role::Snapshot, version));
        let snapshot = Kept::<Snapshot>::read(&path, Role::Snapshot)?.ok_or_else(|| missing(&path))?;
        for role in TARGET_ROLES {
            if let Some(pin) = snapshot.document.signed.meta.get(&format!("{role}.json")) {
                let path = repository.join(metadata::file_of(role, pin.version));
                let targets = Kept::<Targets>::read(&path, role)?.ok_or_else(|| missing(&path))?;
                published.targets.insert(role, targets);
            }
        }
        published.snapshot = Some(snapshot);
        published.timestamp = Some(timestamp);
        Ok(published)
    }

    /// Each root has to be signed by the one before it, and by itself; none may be missing between two.
    fn follow(&mut self, root: Kept<Root>, path: &Path) -> Result<(), Stop> {
        let signed = &root.document;
        let last = self.roots.last().map(|last| &last.document.signed);
        let follows = last.is_none_or(|last| {
            last.version.get().checked_add(1) == Some(signed.signed.version.get()) && last.verify_role(signed).is_ok()
        });
        if !follows || signed.signed.verify_role(signed).is_err() {
            return Err(Stop::usage(format!(
                "{} is not signed as it should be: get it back from where it is served",
                path.display()
            )));
        }
        self.roots.push(root);
        Ok(())
    }

    /// The newest root.
    pub(super) fn root(&self) -> Option<&Kept<Root>> {
        self.roots.last()
    }

    /// Checks the clock of this machine against the moment at which the published timestamp was signed. Whatever a clock that is
    /// behind signs has an expiry that is too early, and nodes refuse a timestamp from before the last.
    pub(super) fn check_clock(&self, now: jiff::Timestamp) -> Result<(), Stop> {
        let signed = self.timestamp.as_ref().map(|kept| &kept.document.signed);
        let at = signed.and_then(|signed| signed._extra.get(SIGNED_AT_FIELD)?.as_str()?.parse().ok());
        check_clock(now, trusted_time(at)).map_err(|behind| {
            Stop::usage(format!(
                "{behind}: set the clock of this machine right first (timedatectl)"
            ))
        })
    }

    /// The version that a role's next metadata has: one more than any there ever was.
    pub(super) fn next_version(&self, role: Role) -> Result<NonZeroU64, Stop> {
        let current = match role {
            Role::Root => self.root().map(|kept| kept.document.signed.version),
            Role::Timestamp => self.timestamp.as_ref().map(|kept| kept.document.signed.version),
            Role::Snapshot => self.snapshot.as_ref().map(|kept| kept.document.signed.version),
            _ => self.targets.get(&role).map(|kept| kept.document.signed.version),
        };
        let current = current.map_or(0, NonZeroU64::get);
        let highest = self.highest.get(&role).copied().unwrap_or(0);
        let next = current.max(highest).checked_add(1).and_then(NonZeroU64::new);
        next.ok_or_else(|| Stop::usage(format!("{role} has no version left")))
    }

    /// The version of a role that nodes see.
    pub(super) fn version(&self, role: Role) -> Option<NonZeroU64> {
        match role {
            Role::Root => self.root().map(|kept| kept.document.signed.version),
            Role::Timestamp => self.timestamp.as_ref().map(|kept| kept.document.signed.version),
            Role::Snapshot => self.snapshot.as_ref().map(|kept| kept.document.signed.version),
            _ => self.targets.get(&role).map(|kept| kept.document.signed.version),
        }
    }

    /// The moment at which a role's metadata expires.
    pub(super) fn expires(&self, role: Role) -> Option<jiff::Timestamp> {
        match role {
            Role::Root => self.root().map(|kept| kept.document.signed.expires),
            Role::Timestamp => self.timestamp.as_ref().map(|kept| kept.document.signed.expires),
            Role::Snapshot => self.snapshot.as_ref().map(|kept| kept.document.signed.expires),
            _ => self.targets.get(&role).map(|kept| kept.document.signed.expires),
        }
    }

    /// The files that nodes see, as far as they are there.
    pub(super) fn tree(&self, folder: &Folder) -> Result<Tree, Stop> {
        let mut tree = Tree::new();
        for kept in self.targets.values() {
            for (path, digest) in paths(&kept.document.signed) {
                if let Some(content) = content(folder, &path, &digest)? {
                    tree.insert(path, content);
                }
            }
        }
        Ok(tree)
    }
}

/// The versions of the roots in their order, and each role's highest version.
fn versions(repository: &Path) -> Result<(Vec<NonZeroU64>, BTreeMap<Role, u64>), Stop> {
    let mut roots = BTreeSet::new();
    let mut highest: BTreeMap<Role, u64> = BTreeMap::new();
    let entries = match fs::read_dir(repository) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok((Vec::new(), highest)),
        Err(error) => return Err(Stop::io(repository, &error)),
    };
    for entry in entries {
        let name = entry.map_err(|error| Stop::io(repository, &error))?.file_name();
        let Some((version, role)) = name.to_str().and_then(parse_name) else {
            continue;
        };
        if role == Role::Root {
            roots.insert(version);
        }
        let known = highest.entry(role).or_default();
        *known = (*known).max(version.get());
    }
    Ok((roots.into_iter().collect(), highest))
}

/// The version and the role of a metadata file's name.
pub(super) fn parse_name(name: &str) -> Option<(NonZeroU64, Role)> {
    let (version, role) = name.strip_suffix(".json")?.split_once('.')?;
    let role = super::plan::ROLES.into_iter().find(|known| known.as_str() == role)?;
    let parsed: NonZeroU64 = version.parse().ok()?;
    (parsed.to_string() == version).then_some((parsed, role))
}

fn missing(path: &Path) -> Stop {
    Stop::usage(format!(
        "{} is missing: get it back from where the repository is served",
        path.display()
    ))
}

/// The targets of a document.
pub(super) fn paths(targets: &Targets) -> BTreeMap<TargetPath, Digest> {
    let targets = targets.targets.iter();
    let parsed = targets.filter_map(|(name, target)| Some((name.raw().parse().ok()?, digest_of(target)?)));
    parsed.collect()
}

/// Where a target's content lies below a folder of a repository's shape.
pub(super) fn content_path(base: &Path, path: &TargetPath, digest: &Digest) -> PathBuf {
    base.join(TARGETS_FOLDER).join(path.of_content(digest))
}

/// A target's content, from the repository or from beside it.
pub(super) fn content(folder: &Folder, path: &TargetPath, digest: &Digest) -> Result<Option<Arc<[u8]>>, Stop> {
    for base in [folder.repository(), folder.staged()] {
        let file = content_path(&base, path, digest);
        let read = folder::read(&file, MAX_FLEET_FILE_SIZE).map_err(|error| Stop::io(&file, &error))?;
        if let Some(content) = read.filter(|content| digest.matches(content)) {
            return Ok(Some(content.into()));
        }
    }
    Ok(None)
}

/// Metadata that is not published yet: signatures or what it belongs to are missing.
#[derive(Clone, Debug, Default)]
pub(super) struct Staged {
    pub(super) root: Option<Signed<Root>>,
    pub(super) targets: BTreeMap<Role, Signed<Targets>>,
}

impl Staged {
    /// Reads what is staged. What has a version that is published already was left behind by a process that died.
    pub(super) fn read(folder: &Folder, published: &Published) -> Result<Self, Stop> {
        let mut staged = Self::default();
        let is_newer = |role: Role, version: NonZeroU64| published.version(role).is_none_or(|known| version > known);
        let path = file(folder, Role::Root);
        if let Some(kept) = Kept::<Root>::read(&path, Role::Root)?
            && is_newer(Role::Root, kept.document.signed.version)
        {
            staged.root = Some(kept.document);
        }
        for role in TARGET_ROLES {
            if let Some(kept) = Kept::<Targets>::read(&file(folder, role), role)?
                && is_newer(role, kept.document.signed.version)
            {
                staged.targets.insert(role, kept.document);
            }
        }
        Ok(staged)
    }

    /// Writes what is staged, and removes all else.
    pub(super) fn write(&self, folder: &Folder, contents: &Tree) -> Result<(), Stop> {
        let base = folder.staged();
        let mut needed = BTreeSet::new();
        for document in self.targets.values() {
            for (path, digest) in paths(&document.signed) {
                if content_path(&folder.repository(), &path, &digest).exists() {
                    continue;
                }
                let file = content_path(&base, &path, &digest);
                if let Some(content) = contents.get(&path).filter(|content| digest.matches(content)) {
                    folder::put(&file, content, 0o644).map_err(|error| Stop::io(&file, &error))?;
                }
                needed.insert(file);
            }
        }
        for role in super::plan::ROLES {
            let bytes = match (role, &self.root) {
                (Role::Root, Some(root)) => Some(pretty(root)?),
                (Role::Root, None) => None,
                _ => self.targets.get(&role).map(pretty).transpose()?,
            };
            let file = file(folder, role);
            match bytes {
                Some(bytes) => folder::put(&file, &bytes, 0o644).map_err(|error| Stop::io(&file, &error))?,
                None => remove(&file)?,
            }
        }
        sweep(&base, &needed).map_err(|error| Stop::io(&base, &error))
    }

    /// Who judges a target role's metadata once everything that is staged is published.
    pub(super) fn judge(&self, role: Role, published: &Published) -> Option<Holder> {
        if role == Role::Targets {
            let staged = self.root.as_ref().map(|root| &root.signed);
            let root = staged.or_else(|| published.root().map(|kept| &kept.document.signed))?;
            return Some(Holder::root(root));
        }
        let staged = self.targets.get(&Role::Targets).map(|targets| &targets.signed);
        let published = published.targets.get(&Role::Targets);
        let targets = staged.or_else(|| published.map(|kept| &kept.document.signed))?;
        targets.delegations.as_ref().map(Holder::delegations)
    }
}

/// For people: they look at what they sign.
fn pretty<T: serde::Serialize>(document: &Signed<T>) -> Result<Vec<u8>, Stop> {
    let encoded = serde_json::to_value(document).and_then(|value| serde_json::to_vec_pretty(&value));
    encoded.map_err(|error| Stop::usage(format!("metadata cannot be written: {error}")))
}

/// Where a role's metadata waits.
pub(super) fn file(folder: &Folder, role: Role) -> PathBuf {
    folder.staged().join(format!("{role}.json"))
}

fn remove(path: &Path) -> Result<(), Stop> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Stop::io(path, &error)),
        _ => Ok(()),
    }
}

/// Removes contents that nothing staged needs, and folders that are empty then.
fn sweep(base: &Path, needed: &BTreeSet<PathBuf>) -> std::io::Result<()> {
    let entries = match fs::read_dir(base) {
        Ok(entries) => entries,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    let mut is_empty = true;
    for entry in entries {
        let entry = entry?;
        let (path, kind) = (entry.path(), entry.file_type()?);
        if kind.is_dir() {
            sweep(&path, needed)?;
            is_empty &= !path.exists();
        } else if is_metadata(&path) || needed.contains(&path) {
            is_empty = false;
        } else {
            fs::remove_file(&path)?;
        }
    }
    if is_empty { fs::remove_dir(base) } else { Ok(()) }
}

/// Whether it is a role's metadata: those are written and removed by name.
fn is_metadata(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_role = super::plan::ROLES.iter().any(|role| name == format!("{role}.json"));
    is_role && path.parent().is_some_and(|folder| folder.ends_with("staged"))
}
