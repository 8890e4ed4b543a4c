//! One poll after the other: reading the repository, taking over what is new, and when to ask again.

use std::time::Duration;

use assay_verify::Timestamp;

use super::client::{Candidate, Client, Refreshed};
use super::error::SyncError;
use super::schedule::{Intervals, Schedule};
use super::transport::Transport;

/// Who looks at what is new before it counts.
pub trait Taker: Sync {
    /// Validates what is new as a whole, and [commits](Client::commit) or [refuses](Client::refuse) it. Returns the interval
    /// that its policy asks for.
    ///
    /// # Errors
    ///
    /// Why it was not taken over.
    fn take(
        &self,
        client: &mut Client,
        candidate: Candidate,
        now: Timestamp,
    ) -> impl Future<Output = Result<Option<Duration>, SyncError>> + Send;
}

/// A node's client, the way to its repository, and when it asks.
#[derive(Debug)]
pub struct Poller {
    client: Client,
    transport: Transport,
    schedule: Schedule,
}

/// A poll that is over.
#[derive(Debug)]
pub struct Polled {
    /// Whether the repository is followed; if it is not, the generation in use stays.
    pub outcome: Result<(), SyncError>,
    /// How long to wait for the next poll.
    pub wait: Duration,
}

impl Poller {
    /// Polls with the default interval, until [`Poller::follow`] or an update says another.
    pub fn new(client: Client, transport: Transport, intervals: Intervals) -> Self {
        Self {
            client,
            transport,
            schedule: Schedule::new(intervals),
        }
    }

    /// What the node knows of the repository.
    pub fn client(&self) -> &Client {
        &self.client
    }

    /// The way to the repository.
    pub fn transport(&self) -> &Transport {
        &self.transport
    }

    /// When it asks.
    pub fn schedule(&self) -> &Schedule {
        &self.schedule
    }

    /// Takes over the interval that the policy in force asks for, within the configuration's bounds.
    pub fn follow(&mut self, wanted: Option<Duration>) {
        self.schedule.follow(wanted);
    }

    /// The wait before the first poll. A node that has no generation admits nothing, and asks at once.
    pub fn first_wait(&self, random: u64) -> Duration {
        match self.client.current() {
            Some(_) => self.schedule.at_start(random),
            None => Duration::ZERO,
        }
    }

    /// Asks once. `random` is uniform over all its values.
    pub async fn poll(&mut self, taker: &impl Taker, now: Timestamp, random: u64) -> Polled {
        let outcome = self.ask(taker, now).await;
        let wait = match &outcome {
            Ok(()) => self.schedule.after_success(random),
            Err(error) => self.schedule.after_failure(error.retry_after(), random),
        };
        Polled { outcome, wait }
    }

    async fn ask(&mut self, taker: &impl Taker, now: Timestamp) -> Result<(), SyncError> {
        let candidate = match self.client.refresh(&self.transport, now).await? {
            Refreshed::Unchanged => return Ok(()),
            Refreshed::Candidate(candidate) => *candidate,
        };
        let current = self.client.current();
        if current.is_some_and(|current| candidate.generation().has_files_of(current)) {
            // Signed anew, and it says the same.
            return self.client.commit(candidate).await.map(drop);
        }
        let wanted = taker.take(&mut self.client, candidate, now).await?;
        self.schedule.follow(wanted);
        Ok(())
    }
}
