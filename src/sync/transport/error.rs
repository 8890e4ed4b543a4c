//! Why a file of a repository could not be read.

use std::time::Duration;

use thiserror::Error;

use assay_verify::limits::REFRESH_DEADLINE;
use assay_verify::untrusted::Untrusted;

use crate::fetch::FetchError;

/// A file that could not be read, and why. None of these says anything about what the repository holds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TransportError {
    /// The server asks for fewer requests, or for time.
    #[error("{file}: the server asks to wait ({status}){}", .retry_after.map(|wait| format!(": {} s", wait.as_secs())).unwrap_or_default())]
    Busy {
        /// What was asked for.
        file: Untrusted,
        /// 429 or 503.
        status: u16,
        /// For how long, where it says so.
        retry_after: Option<Duration>,
    },
    /// No connection.
    #[error("{file}: the server cannot be reached: {cause}")]
    Connect {
        /// What was asked for.
        file: Untrusted,
        /// Why.
        cause: Untrusted,
    },
    /// The refresh took too long as a whole.
    #[error("{file}: the refresh took longer than {} s", REFRESH_DEADLINE.as_secs())]
    Deadline {
        /// What was being read.
        file: Untrusted,
    },
    /// The answer broke off.
    #[error("{file}: the answer broke off: {cause}")]
    Interrupted {
        /// What was asked for.
        file: Untrusted,
        /// Why.
        cause: Untrusted,
    },
    /// A redirect. None is followed: the address is the configuration's.
    #[error("{file}: the server redirects ({status}), which is not followed")]
    Redirected {
        /// What was asked for.
        file: Untrusted,
        /// The status.
        status: u16,
    },
    /// The registry client's failure.
    #[error("{file}: {error}")]
    Registry {
        /// What was asked for.
        file: Untrusted,
        /// What the registry client says.
        error: FetchError,
    },
    /// No answer came, or one that stopped without an end.
    #[error("{file}: the server went silent")]
    Silent {
        /// What was asked for.
        file: Untrusted,
    },
    /// A status that says nothing about the file.
    #[error("{file}: the server answered {status}")]
    Status {
        /// What was asked for.
        file: Untrusted,
        /// The status.
        status: u16,
    },
    /// The file has more bytes than it may have.
    #[error("{file} has more than {limit} bytes")]
    TooLarge {
        /// Which.
        file: Untrusted,
        /// The bytes that it may have.
        limit: usize,
    },
    /// The folder, or the artifact, is not what it should be.
    #[error("{file} cannot be read: {cause}")]
    Unreadable {
        /// Which file.
        file: Untrusted,
        /// Why.
        cause: Untrusted,
    },
}

impl TransportError {
    /// How long the server asks to be left alone.
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy { retry_after, .. } => *retry_after,
            Self::Registry {
                error: FetchError::TooManyRequests { retry_after, .. },
                ..
            } => *retry_after,
            _ => None,
        }
    }
}
