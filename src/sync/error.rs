//! Why a refresh brought nothing. In all of these cases the generation in use stays.

use std::path::Path;
use std::time::Duration;

use thiserror::Error;

use assay_verify::Timestamp;
use assay_verify::untrusted::Untrusted;

use super::time::ClockUnsynchronised;
use super::transport::TransportError;
use crate::fetch::FetchError;

/// A refresh, or the taking over of what it found, that failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SyncError {
    /// The local clock cannot be right, so nothing can be told from expiries.
    #[error(transparent)]
    Clock(#[from] ClockUnsynchronised),
    /// A file that has more bytes than it may have, or than the metadata says (endless data attack).
    #[error("{file} has more than {limit} bytes")]
    EndlessData {
        /// Which.
        file: Untrusted,
        /// The bytes that it may have.
        limit: usize,
    },
    /// Metadata that is no longer valid: the repository is not maintained, or somebody withholds what is newer (freeze
    /// attack).
    #[error("the metadata of {role} expired at {expires}")]
    Expired {
        /// Whose.
        role: Untrusted,
        /// When.
        expires: Timestamp,
    },
    /// Files that do not belong together (mix-and-match attack), or that are not what the metadata says.
    #[error("{file} does not belong to the repository's metadata: {cause}")]
    Integrity {
        /// Which.
        file: Untrusted,
        /// What is wrong with it.
        cause: Untrusted,
    },
    /// Something that cannot be read, or that a policy repository may not hold.
    #[error("{file} cannot be used: {cause}")]
    Malformed {
        /// Which.
        file: Untrusted,
        /// What is wrong with it.
        cause: Untrusted,
    },
    /// The repository does not have a file that it should have.
    #[error("the repository has no {file}")]
    NotFound {
        /// Which.
        file: Untrusted,
    },
    /// The update is signed as it should be, and what it holds was refused.
    #[error("the update was refused: {reason}")]
    Refused {
        /// Why.
        reason: Untrusted,
    },
    /// A version that is lower than one seen before (rollback attack).
    #[error("the version of {role} went back from {trusted} to {offered}")]
    Rollback {
        /// Whose.
        role: Untrusted,
        /// The version that was seen.
        trusted: u64,
        /// The version that was offered; 0 where there is none any more.
        offered: u64,
    },
    /// The state could not be written.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// Metadata that is not signed by enough of the keys that its role has.
    #[error("the metadata of {role} is not signed by enough of the role's keys: {cause}")]
    Threshold {
        /// Whose.
        role: Untrusted,
        /// How many are missing.
        cause: Untrusted,
    },
    /// The repository could not be read.
    #[error(transparent)]
    Transport(TransportError),
}

impl From<TransportError> for SyncError {
    fn from(error: TransportError) -> Self {
        match error {
            TransportError::TooLarge { file, limit } => Self::EndlessData { file, limit },
            TransportError::Registry {
                file,
                error: error @ FetchError::WrongBytes { .. },
            } => Self::Integrity {
                file,
                cause: error.to_string().into(),
            },
            TransportError::Registry {
                file,
                error: FetchError::Missing { .. },
            } => Self::NotFound { file },
            error => Self::Transport(error),
        }
    }
}

impl SyncError {
    /// A stable word for the kind of failure, for status and metrics.
    pub const fn word(&self) -> &'static str {
        match self {
            Self::Clock(_) => "clock",
            Self::EndlessData { .. } => "endless-data",
            Self::Expired { .. } => "expired",
            Self::Integrity { .. } => "integrity",
            Self::Malformed { .. } => "malformed",
            Self::NotFound { .. } => "not-found",
            Self::Refused { .. } => "refused",
            Self::Rollback { .. } => "rollback",
            Self::Storage(_) => "storage",
            Self::Threshold { .. } => "threshold",
            Self::Transport(_) => "transport",
        }
    }

    /// Every word, in alphabetical order.
    pub const WORDS: &[&str] = &[
        "clock",
        "endless-data",
        "expired",
        "integrity",
        "malformed",
        "not-found",
        "refused",
        "rollback",
        "storage",
        "threshold",
        "transport",
    ];

    /// Whether the repository was away: nothing that it said was wrong.
    pub const fn is_transport(&self) -> bool {
        matches!(self, Self::NotFound { .. } | Self::Transport(_))
    }

    /// How long the repository asks to be left alone.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Transport(error) => error.retry_after(),
            _ => None,
        }
    }
}

/// What was done on a disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// Making a folder.
    CreateFolder,
    /// Opening a new file.
    Create,
    /// Listing a folder.
    List,
    /// Reading a file.
    Read,
    /// Removing a file.
    Remove,
    /// Giving a file the name that it is read by.
    Rename,
    /// Waiting until a file is on the disk.
    Sync,
    /// Waiting until a folder is on the disk.
    SyncFolder,
    /// Writing a file.
    Write,
}

impl Operation {
    const fn as_str(self) -> &'static str {
        match self {
            Self::CreateFolder => "make the folder",
            Self::Create => "create",
            Self::List => "list",
            Self::Read => "read",
            Self::Remove => "remove",
            Self::Rename => "put in place",
            Self::Sync | Self::SyncFolder => "flush",
            Self::Write => "write",
        }
    }
}

/// A file operation that failed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("cannot {} {}: {cause}", .operation.as_str(), .path.display())]
pub struct StorageError {
    /// What was to be done.
    pub operation: Operation,
    /// With which file or folder.
    pub path: Box<Path>,
    /// What the system says.
    pub cause: Box<str>,
}

#[cfg(test)]
mod tests {
    use assay_verify::digest::Digest;

    use super::*;

    /// One of each kind. Whoever adds one is sent here by the compiler.
    fn all() -> Vec<SyncError> {
        let (file, role, cause) = (
            || Untrusted::from("file"),
            || Untrusted::from("role"),
            || Untrusted::from("cause"),
        );
        let clock = ClockUnsynchronised {
            now: Timestamp::UNIX_EPOCH,
            trusted: Timestamp::UNIX_EPOCH,
        };
        let storage = StorageError {
            operation: Operation::Write,
            path: Path::new("/x").into(),
            cause: "full".into(),
        };
        let expired = SyncError::Expired {
            role: role(),
            expires: Timestamp::UNIX_EPOCH,
        };
        let first = SyncError::Clock(clock);
        let next = |error: &SyncError| match error {
            SyncError::Clock(_) => Some(SyncError::EndlessData { file: file(), limit: 1 }),
            SyncError::EndlessData { .. } => Some(expired.clone()),
            SyncError::Expired { .. } => Some(SyncError::Integrity {
                file: file(),
                cause: cause(),
            }),
            SyncError::Integrity { .. } => Some(SyncError::Malformed {
                file: file(),
                cause: cause(),
            }),
            SyncError::Malformed { .. } => Some(SyncError::NotFound { file: file() }),
            SyncError::NotFound { .. } => Some(SyncError::Refused { reason: cause() }),
            SyncError::Refused { .. } => Some(SyncError::Rollback {
                role: role(),
                trusted: 2,
                offered: 1,
            }),
            SyncError::Rollback { .. } => Some(SyncError::Storage(storage.clone())),
            SyncError::Storage(_) => Some(SyncError::Threshold {
                role: role(),
                cause: cause(),
            }),
            SyncError::Threshold { .. } => Some(SyncError::Transport(TransportError::Silent { file: file() })),
            SyncError::Transport(_) => None,
        };
        std::iter::successors(Some(first), next).collect()
    }

    #[test]
    fn every_kind_has_a_word_of_its_own() {
        let words: Vec<&str> = all().iter().map(SyncError::word).collect();
        assert_eq!(words, SyncError::WORDS);
        assert!(SyncError::WORDS.is_sorted());
    }

    #[test]
    fn only_a_repository_that_is_away_is_no_attack() {
        let away: Vec<&str> = all()
            .iter()
            .filter(|error| error.is_transport())
            .map(SyncError::word)
            .collect();
        assert_eq!(away, ["not-found", "transport"]);
    }

    #[test]
    fn what_a_transport_finds_out_about_the_files_is_not_its_own_failure() {
        let file = || Untrusted::from("1.targets.json");
        let registry = || "registry.example".into();
        let digest = Digest::sha256(b"");
        for (error, word) in [
            (TransportError::TooLarge { file: file(), limit: 1 }, "endless-data"),
            (
                TransportError::Registry {
                    file: file(),
                    error: FetchError::WrongBytes {
                        registry: registry(),
                        digest: digest.clone(),
                    },
                },
                "integrity",
            ),
            (
                TransportError::Registry {
                    file: file(),
                    error: FetchError::Missing {
                        registry: registry(),
                        what: digest.to_string().into(),
                    },
                },
                "not-found",
            ),
            (
                TransportError::Registry {
                    file: file(),
                    error: FetchError::Silent { registry: registry() },
                },
                "transport",
            ),
        ] {
            assert_eq!(SyncError::from(error).word(), word);
        }
    }
}
