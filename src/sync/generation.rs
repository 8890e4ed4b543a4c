//! What a node took from a policy repository at one moment, verified as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::digest::Digest;

use super::role::{Role, Signed};

/// The versions that a generation consists of, and until when each counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Versions {
    /// Of the newest root, whose keys are in force. It may be newer than the rest.
    pub root: Signed,
    /// Of the timestamp.
    pub timestamp: Signed,
    /// Of the snapshot.
    pub snapshot: Signed,
    /// Of the targets.
    pub targets: Signed,
    /// Of the deny-lists' role, where the repository has one.
    pub revocations: Option<Signed>,
    /// Of the exceptions' role, where the repository has one.
    pub exceptions: Option<Signed>,
}

impl Versions {
    /// Each role's, the root's first.
    pub fn iter(&self) -> impl Iterator<Item = (Role, Signed)> {
        [
            (Role::Root, Some(self.root)),
            (Role::Timestamp, Some(self.timestamp)),
            (Role::Snapshot, Some(self.snapshot)),
            (Role::Targets, Some(self.targets)),
            (Role::Revocations, self.revocations),
            (Role::Exceptions, self.exceptions),
        ]
        .into_iter()
        .filter_map(|(role, signed)| Some((role, signed?)))
    }

    /// The moment at which the first metadata expires that makes a generation stale. The two delegated roles do not: what a
    /// deny-list denied goes on to be denied, and exceptions have an end of their own. A repository whose delegated metadata has
    /// expired is not followed any further, so the timestamp's expiry follows.
    pub fn first_expiry(&self) -> Timestamp {
        [self.root, self.timestamp, self.snapshot, self.targets]
            .into_iter()
            .fold(Timestamp::MAX, |first, signed| first.min(signed.expires))
    }
}

/// The bytes that a generation is verified from, as the repository served them.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Metadata {
    /// The version of the root that the others were verified with.
    pub(super) root: u64,
    pub(super) timestamp: Arc<[u8]>,
    pub(super) snapshot: Arc<[u8]>,
    pub(super) targets: Arc<[u8]>,
    /// Of the roles that the targets delegate to.
    pub(super) delegated: BTreeMap<Role, Arc<[u8]>>,
}

impl Metadata {
    /// That of a role which a timestamp leads to.
    pub(super) fn of(&self, role: Role) -> Option<&Arc<[u8]>> {
        match role {
            Role::Root => None,
            Role::Timestamp => Some(&self.timestamp),
            Role::Snapshot => Some(&self.snapshot),
            Role::Targets => Some(&self.targets),
            Role::Revocations | Role::Exceptions => self.delegated.get(&role),
        }
    }
}

/// A verified state of the repository: metadata, and the target files of this node's channel.
#[derive(Clone)]
pub struct Generation {
    pub(super) metadata: Metadata,
    pub(super) versions: Versions,
    pub(super) signed_at: Option<Timestamp>,
    pub(super) files: BTreeMap<String, Arc<[u8]>>,
    pub(super) digests: BTreeMap<String, Digest>,
}

/// Without the bytes, which are long.
impl fmt::Debug for Metadata {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metadata")
            .field("root", &self.root)
            .finish_non_exhaustive()
    }
}

/// The same.
impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Generation")
            .field("versions", &self.versions)
            .field("signed_at", &self.signed_at)
            .field("digests", &self.digests)
            .finish_non_exhaustive()
    }
}

impl Generation {
    /// The versions of its metadata.
    pub fn versions(&self) -> &Versions {
        &self.versions
    }

    /// When its timestamp was signed, if that says so.
    pub fn signed_at(&self) -> Option<Timestamp> {
        self.signed_at
    }

    /// The files of this node, by their paths in the repository. What is below `revocation/` and `exceptions/` was signed
    /// by the targets role or the role that may sign it; all else by the targets role.
    pub fn files(&self) -> &BTreeMap<String, Arc<[u8]>> {
        &self.files
    }

    /// The SHA-256 digest of each file.
    pub fn digests(&self) -> &BTreeMap<String, Digest> {
        &self.digests
    }

    /// Whether another generation has the same files, whoever signed them and when.
    pub fn has_files_of(&self, other: &Self) -> bool {
        self.digests == other.digests
    }
}
