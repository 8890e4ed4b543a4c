//! A repository that is about to be served: proved as a node does, and written so that none ever sees half of it.

use std::collections::BTreeMap;
use std::path::PathBuf;

use sigstore_tuf::TrustedMetadataSet;
use tough::schema::{Root, Signed, Snapshot, Targets, Timestamp as TimestampMetadata};

use assay_verify::Timestamp;
use assay_verify::limits::MAX_METADATA_VALUES;

use super::Stop;
use super::files::Tree;
use super::folder::{self, Folder};
use super::metadata::{file_of, max_size};
use super::published::{self, Kept, Published};
use crate::sync::Role;

/// Everything that nodes see of a repository.
#[derive(Clone, Debug)]
pub(super) struct Repository {
    pub(super) root: Kept<Root>,
    /// None but a root, before anything else was published.
    pub(super) below: Option<Below>,
}

/// The metadata below the root.
#[derive(Clone, Debug)]
pub(super) struct Below {
    pub(super) timestamp: Kept<TimestampMetadata>,
    pub(super) snapshot: Kept<Snapshot>,
    pub(super) targets: BTreeMap<Role, Kept<Targets>>,
}

impl Repository {
    /// Walks through all of it as a node does, from the first root on, and from what is served now.
    ///
    /// # Errors
    ///
    /// When a node would refuse it.
    pub(super) fn prove(&self, served: &Published, now: Timestamp) -> Result<(), Stop> {
        let refused = |what: &str| {
            let what = what.to_owned();
            move |error: sigstore_tuf::Error| {
                Stop::usage(format!("{what}: nodes would refuse it: {error}; nothing was published"))
            }
        };
        let mut roots: Vec<&[u8]> = served.roots.iter().map(|kept| kept.bytes.as_slice()).collect();
        let version = self.root.document.signed.version;
        if served.version(Role::Root) != Some(version) {
            roots.push(&self.root.bytes);
        }
        let mut roots = roots.into_iter();
        let first = roots.next().unwrap_or(&self.root.bytes);
        let mut set = TrustedMetadataSet::from_root(first).map_err(refused("root"))?;
        for root in roots {
            set.update_root(root).map_err(refused("root"))?;
        }
        set.check_root_expired(now).map_err(refused("root"))?;
        self.check_sizes()?;
        let Some(below) = &self.below else {
            return Ok(());
        };
        if let (Some(timestamp), Some(snapshot)) = (&served.timestamp, &served.snapshot)
            && timestamp.bytes != below.timestamp.bytes
        {
            // Versions that nodes have seen cannot go back. What keys signed that count no more says nothing.
            let before_expiry = Timestamp::MIN;
            if set.update_timestamp(&timestamp.bytes, before_expiry).is_ok() {
                let _ = set.update_snapshot(&snapshot.bytes, before_expiry);
            }
        }
        set.update_timestamp(&below.timestamp.bytes, now)
            .map_err(refused("timestamp"))?;
        set.update_snapshot(&below.snapshot.bytes, now)
            .map_err(refused("snapshot"))?;
        for (role, kept) in &below.targets {
            let taken = match role {
                Role::Targets => set.update_targets(&kept.bytes, now),
                _ => set.update_delegated_targets(&kept.bytes, role.as_str(), Role::Targets.as_str(), now),
            };
            taken.map_err(refused(role.as_str()))?;
        }
        Ok(())
    }

    /// Nodes read no more of a file than this.
    fn check_sizes(&self) -> Result<(), Stop> {
        let mut all = vec![(Role::Root, &self.root.bytes)];
        if let Some(below) = &self.below {
            all.push((Role::Timestamp, &below.timestamp.bytes));
            all.push((Role::Snapshot, &below.snapshot.bytes));
            all.extend(below.targets.iter().map(|(role, kept)| (*role, &kept.bytes)));
        }
        for (role, bytes) in all {
            let values = bytes.iter().filter(|byte| matches!(byte, b'[' | b'{' | b',')).count();
            let limit = max_size(role);
            if bytes.len() > limit || values > MAX_METADATA_VALUES {
                return Err(Stop::usage(format!(
                    "the metadata of {role} has {} bytes and {values} values: nodes take {limit} and {MAX_METADATA_VALUES}",
                    bytes.len()
                )));
            }
        }
        Ok(())
    }

    /// The files to write, in their order: what nothing refers to yet first, then a new root, which nodes find by its name,
    /// and `timestamp.json` last, which leads to all others.
    fn files(&self, folder: &Folder, contents: &Tree) -> Result<Vec<(PathBuf, Vec<u8>)>, Stop> {
        let base = folder.repository();
        let mut files = Vec::new();
        if let Some(below) = &self.below {
            for kept in below.targets.values() {
                for (path, digest) in published::paths(&kept.document.signed) {
                    let at = published::content_path(&base, &path, &digest);
                    let content = match contents.get(&path).filter(|content| digest.matches(content)) {
                        Some(content) => Some(content.clone()),
                        None => published::content(folder, &path, &digest)?,
                    };
                    let content =
                        content.ok_or_else(|| Stop::usage(format!("{path} of {digest} is in no folder any more")))?;
                    files.push((at, content.to_vec()));
                }
            }
            for (role, kept) in &below.targets {
                files.push((base.join(name(*role, &kept.document)), kept.bytes.clone()));
            }
            let snapshot = &below.snapshot;
            let version = snapshot.document.signed.version;
            files.push((base.join(file_of(Role::Snapshot, version)), snapshot.bytes.clone()));
        }
        let version = self.root.document.signed.version;
        files.push((base.join(file_of(Role::Root, version)), self.root.bytes.clone()));
        if let Some(below) = &self.below {
            files.push((base.join("timestamp.json"), below.timestamp.bytes.clone()));
        }
        Ok(files)
    }

    /// Writes what is not there yet. Old files stay, for readers that are on their way. Returns what was written.
    pub(super) fn write(&self, folder: &Folder, contents: &Tree) -> Result<Vec<PathBuf>, Stop> {
        let mut written = Vec::new();
        for (path, content) in self.files(folder, contents)? {
            let failed = |error| Stop::io(&path, &error);
            let there = folder::read(&path, content.len()).ok().flatten();
            if there.is_some_and(|there| there == content) {
                continue;
            }
            folder::put(&path, &content, 0o644).map_err(failed)?;
            written.push(path);
        }
        Ok(written)
    }
}

fn name(role: Role, document: &Signed<Targets>) -> String {
    file_of(role, document.signed.version)
}
