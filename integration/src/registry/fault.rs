//! How the registry misbehaves, and on which requests.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::StatusCode;

use super::access_log::Kind;

/// One way to misbehave. Several may apply to one request: delays add up, the first that replaces the answer wins, and
/// those that spoil an answer spoil whichever is given.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Waits before it answers. On all requests, this is a network's round-trip time.
    Delay(Duration),
    /// Closes the connection with a TCP reset instead of an answer.
    Reset,
    /// Answers with this status and an error body of the distribution specification.
    Status(StatusCode),
    /// Answers 429 with `Retry-After` in whole seconds.
    TooManyRequests {
        /// How long the client is asked to wait.
        retry_after: Duration,
    },
    /// Answers 401 with this `WWW-Authenticate`, whatever the request proves. For challenges that lead astray; for
    /// logins that work see [`super::Login`].
    Challenge(String),
    /// Redirects to the same path with a new query, for ever.
    RedirectLoop,
    /// Redirects to the same path below this base (`http://127.0.0.1:5001`).
    RedirectTo(String),
    /// Answers 200 with this many spaces, without naming the length first.
    Huge {
        /// Bytes of the body.
        bytes: u64,
    },
    /// Sends the body at this pace.
    Slow {
        /// Bytes a second; at least 1.
        bytes_per_second: u64,
    },
    /// Promises the whole body and breaks off after this many bytes.
    Truncate {
        /// Bytes that are sent.
        after: usize,
    },
    /// Flips one bit in the middle of the body; length and headers stay.
    WrongBytes,
    /// Names another content type.
    ContentType(String),
    /// The referrers API answers 404, as a registry does that has none.
    NoReferrersApi,
    /// The referrers API answers 200 with an empty index, whatever there is.
    EmptyReferrers,
    /// The referrers API answers in pages of this many, linked by `Link`.
    Pages(usize),
    /// The referrers API answers pages of junk, each of which links to one more.
    EndlessPages,
}

/// Which requests a fault applies to: all that match every condition that is set. The default matches all.
#[derive(Clone, Debug, Default)]
pub struct When {
    kind: Option<Kind>,
    path_contains: Option<String>,
    times: Option<u32>,
}

impl When {
    /// Every request.
    pub fn always() -> Self {
        Self::default()
    }

    /// Requests of this kind.
    pub fn kind(kind: Kind) -> Self {
        Self {
            kind: Some(kind),
            ..Self::default()
        }
    }

    /// Requests whose path holds this text: a repository, a digest, a tag.
    pub fn path(contains: impl Into<String>) -> Self {
        Self {
            path_contains: Some(contains.into()),
            ..Self::default()
        }
    }

    /// Of those only the ones whose path holds this text too.
    pub fn and_path(self, contains: impl Into<String>) -> Self {
        Self {
            path_contains: Some(contains.into()),
            ..self
        }
    }

    /// Of those only the first `times`.
    pub fn times(self, times: u32) -> Self {
        Self {
            times: Some(times),
            ..self
        }
    }

    fn takes(&mut self, kind: Kind, path: &str) -> bool {
        let matches = self.kind.is_none_or(|wanted| wanted == kind)
            && self.path_contains.as_ref().is_none_or(|text| path.contains(text))
            && self.times != Some(0);
        if matches {
            self.times = self.times.map(|times| times - 1);
        }
        matches
    }
}

/// The faults that are switched on.
#[derive(Debug, Default)]
pub(super) struct Faults(Mutex<Vec<(When, Fault)>>);

impl Faults {
    pub(super) fn add(&self, when: When, fault: Fault) {
        self.lock().push((when, fault));
    }

    pub(super) fn clear(&self) {
        self.lock().clear();
    }

    /// The faults for one request, each of which counts as used.
    pub(super) fn of(&self, kind: Kind, path: &str) -> Vec<Fault> {
        let mut faults = self.lock();
        faults
            .iter_mut()
            .filter_map(|(when, fault)| when.takes(kind, path).then(|| fault.clone()))
            .collect()
    }

    fn lock(&self) -> MutexGuard<'_, Vec<(When, Fault)>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
