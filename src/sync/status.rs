//! What this node knows of its policy repository, for those who ask while it is being followed.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use assay_verify::Timestamp;
use tokio::sync::{Notify, watch};

use super::generation::Versions;
use super::staleness::{Staleness, WhenExpired, staleness};
use super::time::check_clock;

/// What does not change while the daemon runs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Followed {
    /// Where the repository is.
    pub repository: String,
    /// Which of its channels is for this node.
    pub channel: String,
    /// How long everything is judged as before once the metadata has expired.
    pub grace: Duration,
    /// What is done after that.
    pub when_expired: WhenExpired,
}

/// A failure that lasts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failing {
    /// Since when every attempt fails.
    pub since: Timestamp,
    /// The stable word of the last failure.
    pub class: &'static str,
    /// The last failure, for people.
    pub error: String,
}

/// What is known at a moment.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Known {
    /// The versions and expiries of the generation in force.
    pub versions: Option<Versions>,
    /// When its timestamp was signed, as it says itself.
    pub signed_at: Option<Timestamp>,
    /// When the repository was last asked.
    pub last_attempt: Option<Timestamp>,
    /// When it last had something to say that was taken, or nothing new.
    pub last_success: Option<Timestamp>,
    /// When it will be asked next.
    pub next_poll: Option<Timestamp>,
    /// How often it is asked.
    pub interval: Duration,
    /// Why it cannot be asked, or its answer not be taken.
    pub failing: Option<Failing>,
    /// What is wrong with an update that was not taken, a line each.
    pub refused: Vec<String>,
    /// Why the state cannot be kept on disk.
    pub degraded: Option<String>,
    /// Requests to the repository since the start.
    pub requests: u64,
    /// Bytes of its answers.
    pub bytes: u64,
}

/// Shared by who follows the repository and who asks about it. Clones share everything.
#[derive(Clone, Debug)]
pub struct Status(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    followed: Option<Followed>,
    known: Mutex<Known>,
    trusted_time: Mutex<Timestamp>,
    /// Somebody wants the repository to be asked now.
    wanted: Notify,
    /// Changes after each attempt.
    asked: watch::Sender<()>,
}

/// Where a node stands at a moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It may decide. What is merely stale is said, and decides nothing.
    Sound,
    /// Its clock is before a time that is known to have passed. Nothing that depends on the time can be judged.
    ClockBehind {
        /// The time that has passed.
        known: Timestamp,
    },
    /// The repository's metadata has expired, and so has its grace.
    Expired {
        /// When the grace ended.
        since: Timestamp,
        /// What is done then.
        then: WhenExpired,
    },
}

impl Status {
    /// Of a node that follows a repository, or none.
    pub fn new(followed: Option<Followed>, trusted_time: Timestamp) -> Self {
        Self(Arc::new(Inner {
            followed,
            known: Mutex::default(),
            trusted_time: Mutex::new(trusted_time),
            wanted: Notify::new(),
            asked: watch::Sender::new(()),
        }))
    }

    /// What is followed; none where this node has a policy of its own.
    pub fn followed(&self) -> Option<&Followed> {
        self.0.followed.as_ref()
    }

    /// What is known now.
    pub fn known(&self) -> Known {
        lock(&self.0.known).clone()
    }

    /// What the clock cannot be before.
    pub fn trusted_time(&self) -> Timestamp {
        *lock(&self.0.trusted_time)
    }

    /// Takes in what has become known.
    pub fn update(&self, change: impl FnOnce(&mut Known)) {
        change(&mut lock(&self.0.known));
    }

    /// Sets what the clock cannot be before.
    pub fn trust_time(&self, time: Timestamp) {
        *lock(&self.0.trusted_time) = time;
    }

    /// Has the repository asked now, and waits until it was. Where none is followed this never ends.
    pub async fn ask_now(&self) {
        let mut asked = self.0.asked.subscribe();
        self.0.wanted.notify_one();
        // The sender lives as long as this.
        let _ = asked.changed().await;
    }

    /// Waits until somebody wants the repository to be asked.
    pub async fn wanted(&self) {
        self.0.wanted.notified().await;
    }

    /// Tells those who wait that the repository was asked.
    pub fn was_asked(&self) {
        self.0.asked.send_replace(());
    }

    /// How old the generation in force is; none where there is none.
    pub fn staleness(&self, now: Timestamp) -> Option<Staleness> {
        let grace = self.followed()?.grace;
        let known = lock(&self.0.known);
        Some(staleness(known.versions.as_ref()?, grace, now))
    }

    /// Where the node stands.
    pub fn standing(&self, now: Timestamp) -> Standing {
        let known = self.trusted_time();
        if check_clock(now, known).is_err() {
            return Standing::ClockBehind { known };
        }
        match (self.followed(), self.staleness(now)) {
            (Some(followed), Some(Staleness::Expired { since })) => Standing::Expired {
                since,
                then: followed.when_expired,
            },
            _ => Standing::Sound,
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
