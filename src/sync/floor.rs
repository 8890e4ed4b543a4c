//! What must never go back: versions, and the time of the last signed statement.
//!
//! A floor holds as long as the keys do that it was recorded under. Who took over the keys of the timestamp or the snapshot
//! can raise the versions so far that no honest one comes after them (fast-forward attack); the way out is a root that takes
//! those keys away, and with them goes what they signed (TUF specification §5.3.11). Only root versions never go back.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sigstore_tuf::Root;

use assay_verify::Timestamp;
use assay_verify::digest::Digest;

use super::error::SyncError;
use super::role::Role;

/// The floor, as it is stored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Floor {
    /// The SHA-256 digest of the pinned root. Who pins another starts anew: it may be that of another repository.
    pinned: String,
    /// The version of the newest root.
    root: u64,
    /// The versions of the rest, if there was any.
    metadata: Option<MetadataFloor>,
    /// The highest time of signing, if there was any.
    signed_at: Option<TimeFloor>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct MetadataFloor {
    timestamp: RoleKeys,
    snapshot: RoleKeys,
    timestamp_version: u64,
    snapshot_version: u64,
    /// The versions that the snapshot names, by role.
    pins: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct TimeFloor {
    timestamp: RoleKeys,
    at: Timestamp,
}

/// The keys of a role: the SHA-256 of each (TUF specification §4.2), whatever id the root gives it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RoleKeys {
    keys: BTreeSet<String>,
    threshold: usize,
}

impl RoleKeys {
    fn of(root: &Root, role: Role) -> Self {
        let Some(named) = root.role(role.as_str()) else {
            return Self {
                keys: BTreeSet::new(),
                threshold: usize::MAX,
            };
        };
        let key = |id: &String| root.keys.get(id)?.key_id().ok();
        Self {
            keys: named.keyids.iter().filter_map(key).collect(),
            threshold: named.threshold,
        }
    }

    /// Whether a root takes one of these keys away, or asks for more of them. A key that is only added takes nothing back:
    /// what the old ones signed still counts, and could be replayed.
    fn superseded_by(&self, new: &Self) -> bool {
        !self.keys.is_subset(&new.keys) || new.threshold > self.threshold
    }
}

/// The versions of one verified state.
pub(super) struct Reached<'a> {
    /// The root that it was verified with.
    pub(super) root: &'a Root,
    pub(super) timestamp: u64,
    pub(super) snapshot: u64,
    pub(super) pins: BTreeMap<Role, u64>,
    pub(super) signed_at: Option<Timestamp>,
}

impl Floor {
    /// Nothing is known but the pinned root.
    pub(super) fn new(pinned: &[u8], root: u64) -> Self {
        Self {
            pinned: Digest::sha256(pinned).to_string(),
            root,
            metadata: None,
            signed_at: None,
        }
    }

    /// Whether it was recorded under this pinned root.
    pub(super) fn is_of(&self, pinned: &[u8]) -> bool {
        self.pinned == Digest::sha256(pinned).to_string()
    }

    /// Whether versions are held: there were some, and no root has taken away the keys that signed them.
    pub(super) fn holds_versions(&self) -> bool {
        self.metadata.is_some()
    }

    /// The highest time of signing.
    pub(super) fn signed_at(&self) -> Option<Timestamp> {
        self.signed_at.as_ref().map(|floor| floor.at)
    }

    /// Raises the root's version, and forgets what was signed by keys that this root has taken away.
    pub(super) fn follow(&mut self, root: &Root) {
        self.root = self.root.max(root.version);
        let timestamp = RoleKeys::of(root, Role::Timestamp);
        let snapshot = RoleKeys::of(root, Role::Snapshot);
        // Both, whichever was rotated: the timestamp holds a version of the snapshot.
        let gone = |floor: &MetadataFloor| {
            floor.timestamp.superseded_by(&timestamp) || floor.snapshot.superseded_by(&snapshot)
        };
        if self.metadata.as_ref().is_some_and(gone) {
            self.metadata = None;
        }
        if self
            .signed_at
            .as_ref()
            .is_some_and(|floor| floor.timestamp.superseded_by(&timestamp))
        {
            self.signed_at = None;
        }
    }

    /// Raises it to a state that was taken over, or that is stored. The root must be the one that was followed last.
    pub(super) fn raise(&mut self, reached: &Reached<'_>) {
        let root = reached.root;
        self.follow(root);
        let timestamp = RoleKeys::of(root, Role::Timestamp);
        let mut metadata = MetadataFloor {
            timestamp: timestamp.clone(),
            snapshot: RoleKeys::of(root, Role::Snapshot),
            timestamp_version: reached.timestamp,
            snapshot_version: reached.snapshot,
            pins: reached
                .pins
                .iter()
                .map(|(role, version)| (role.to_string(), *version))
                .collect(),
        };
        if let Some(before) = self.metadata.take() {
            metadata.timestamp_version = metadata.timestamp_version.max(before.timestamp_version);
            metadata.snapshot_version = metadata.snapshot_version.max(before.snapshot_version);
            for (role, version) in before.pins {
                let pin = metadata.pins.entry(role).or_default();
                *pin = version.max(*pin);
            }
        }
        self.metadata = Some(metadata);
        if let Some(at) = reached.signed_at.max(self.signed_at()) {
            self.signed_at = Some(TimeFloor { timestamp, at });
        }
    }

    /// Checks the version of the newest root.
    pub(super) fn check_root(&self, version: u64) -> Result<(), SyncError> {
        at_least(Role::Root.as_str(), self.root, version)
    }

    /// Checks the versions that a timestamp has and names. `root` is the one that it was verified with.
    pub(super) fn check_timestamp(&self, version: u64, snapshot: u64) -> Result<(), SyncError> {
        let Some(floor) = &self.metadata else {
            return Ok(());
        };
        at_least(Role::Timestamp.as_str(), floor.timestamp_version, version)?;
        at_least(Role::Snapshot.as_str(), floor.snapshot_version, snapshot)
    }

    /// Checks the versions that a snapshot names. What it named once, it goes on to name.
    pub(super) fn check_pins(&self, pins: &BTreeMap<Role, u64>) -> Result<(), SyncError> {
        let offered: BTreeMap<&str, u64> = pins.iter().map(|(role, version)| (role.as_str(), *version)).collect();
        let recorded = self.metadata.iter().flat_map(|floor| &floor.pins);
        for (role, version) in recorded {
            at_least(role, *version, offered.get(role.as_str()).copied().unwrap_or(0))?;
        }
        Ok(())
    }
}

fn at_least(role: &str, trusted: u64, offered: u64) -> Result<(), SyncError> {
    if offered < trusted {
        return Err(SyncError::Rollback {
            role: role.into(),
            trusted,
            offered,
        });
    }
    Ok(())
}
