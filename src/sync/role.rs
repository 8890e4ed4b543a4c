//! The roles of a policy repository.

use std::fmt;

use assay_verify::Timestamp;
use assay_verify::limits::{
    MAX_ROOT_METADATA_SIZE, MAX_SNAPSHOT_METADATA_SIZE, MAX_TARGETS_METADATA_SIZE, MAX_TIMESTAMP_METADATA_SIZE,
};

use super::layout::{EXCEPTIONS_ROLE, REVOCATIONS_ROLE};

/// Who signs what. Other roles that a repository delegates to are not looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Says which keys the other roles have.
    Root,
    /// Says which snapshot is the newest.
    Timestamp,
    /// Says which versions of the target roles belong together.
    Snapshot,
    /// Says what the targets are.
    Targets,
    /// Signs deny-lists and revocation data, for the targets role.
    Revocations,
    /// Signs exceptions, for the targets role.
    Exceptions,
}

impl Role {
    /// The name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
            Self::Revocations => REVOCATIONS_ROLE,
            Self::Exceptions => EXCEPTIONS_ROLE,
        }
    }

    /// What the role's metadata is called, whatever its version.
    pub(super) fn document(self) -> String {
        format!("{self}.json")
    }

    /// The file with one version of the role's metadata (TUF specification §6.2).
    pub(super) fn file(self, version: u64) -> String {
        match self {
            Self::Timestamp => self.document(),
            _ => format!("{version}.{self}.json"),
        }
    }

    /// The bytes that it may have.
    pub(super) const fn max_size(self) -> usize {
        match self {
            Self::Root => MAX_ROOT_METADATA_SIZE,
            Self::Timestamp => MAX_TIMESTAMP_METADATA_SIZE,
            Self::Snapshot => MAX_SNAPSHOT_METADATA_SIZE,
            Self::Targets | Self::Revocations | Self::Exceptions => MAX_TARGETS_METADATA_SIZE,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A role's metadata: which version, and until when it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The version.
    pub version: u64,
    /// The moment at which it expires.
    pub expires: Timestamp,
}
