//! Follows the policy repository: asks, validates, commits, brings into force.

use std::time::Duration;

use anyhow::Context as _;
use assay_verify::Timestamp;
use assay_verify::deny_list::DenyList;
use assay_verify::document::Diagnostic;
use tracing::{error, info, warn};

use super::config::{Config, Fleet};
use super::random::random_bits;
use crate::admission::Admission;
use crate::admission::events::{SYNC_FAILING, SYNC_RECOVERED, TRUST_STANDING, UPDATE_REFUSED};
use crate::fetch;
use crate::sync::layout::{DENY_LIST_FILE, REVOCATION_FOLDER};
use crate::sync::{
    Candidate, Client, Failing, Generation, Known, Polled, Poller, Staleness, Standing, Status, Store, SyncError,
    Taker, Transport, WhenExpired,
};
use crate::trust::VerifiedFiles;

/// The folder of the state directory that holds what is known of the repository.
const FOLDER: &str = "fleet";

/// How often it is looked at whether the node's standing has changed.
const STANDING_INTERVAL: Duration = Duration::from_secs(10);

/// What a node knows of its repository when it starts.
pub(super) struct Follower(Poller);

impl Follower {
    /// Takes up what is stored. This blocks on files.
    ///
    /// # Errors
    ///
    /// When the configuration cannot be used: the pinned root is missing or none, or a certificate authority is malformed.
    pub(super) fn open(config: &Config, fleet: &Fleet, registries: &fetch::Client) -> anyhow::Result<Self> {
        let address = fleet.address().map_err(anyhow::Error::msg)?;
        let transport = Transport::new(address, &fleet.read_ca()?, registries).context("[fleet]: ca")?;
        let store = Store::new(config.state_directory.join(FOLDER));
        let client = Client::open(&fleet.read_root()?, fleet.channel.0.clone(), store)
            .with_context(|| format!("[fleet]: root: {}", fleet.root.display()))?;
        for damage in client.damage() {
            warn!(
                message_id = SYNC_FAILING,
                "what was stored of the policy repository is not used: {damage}"
            );
        }
        Ok(Self(Poller::new(client, transport, fleet.intervals())))
    }

    /// The files of the generation that is stored, where there is one.
    pub(super) fn files(&self) -> Option<VerifiedFiles> {
        self.0.client().current().map(|generation| files(generation))
    }

    /// Says how old what is stored is, and what the clock cannot be before. No question may be answered before that: what has
    /// expired would pass for fresh.
    pub(super) fn show_stored(&self, admission: &Admission) {
        self.show(admission, |_| {});
    }

    /// Asks the repository for as long as the daemon runs.
    pub(super) async fn follow(mut self, admission: Admission) {
        let status = admission.sync().clone();
        // What is stored is in force by now, and so is the interval that it asks for.
        let stored = admission.trust().current();
        self.0
            .follow(stored.and_then(|snapshot| snapshot.policy.poll_interval()));
        let mut wait = self.0.first_wait(random_bits());
        loop {
            let next = Timestamp::now().checked_add(wait).ok();
            self.show(&admission, |known| known.next_poll = next);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = status.wanted() => {}
            }
            wait = self.ask(&admission).await;
            status.was_asked();
        }
    }

    /// Asks once, and says how long to wait for the next time.
    async fn ask(&mut self, admission: &Admission) -> Duration {
        let now = Timestamp::now();
        let Polled { outcome, wait } = self.0.poll(&Daemon(admission), now, random_bits()).await;
        let failing = admission.sync().known().failing;
        if let (Ok(()), Some(failing)) = (&outcome, &failing) {
            info!(
                message_id = SYNC_RECOVERED,
                "the policy repository is followed again, after failing since {}", failing.since
            );
        }
        if let Err(error) = &outcome
            && failing.is_none_or(|failing| failing.class != error.word())
        {
            warn!(
                message_id = SYNC_FAILING,
                assay_sync_error = error.word(),
                "the policy repository is not followed: {error}; what is in force stays"
            );
        }
        self.show(admission, |known| {
            known.last_attempt = Some(now);
            match outcome {
                Ok(()) => {
                    known.last_success = Some(now);
                    known.failing = None;
                    known.refused.clear();
                }
                Err(error) => {
                    known.failing = Some(Failing {
                        since: known.failing.as_ref().map_or(now, |failing| failing.since),
                        class: error.word(),
                        error: error.to_string(),
                    });
                }
            }
        });
        wait
    }

    /// Shows what is known now.
    fn show(&self, admission: &Admission, change: impl FnOnce(&mut Known)) {
        let client = self.0.client();
        let generation = client.current();
        let traffic = self.0.transport().traffic();
        let status = admission.sync();
        status.update(|known| {
            known.versions = generation.map(|generation| *generation.versions());
            known.signed_at = generation.and_then(|generation| generation.signed_at());
            known.degraded = client.degraded().map(ToString::to_string);
            known.interval = self.0.schedule().interval();
            known.requests = traffic.requests;
            known.bytes = traffic.bytes;
            change(known);
        });
        let issued = admission
            .trust()
            .current()
            .and_then(|snapshot| snapshot.denials.issued());
        status.trust_time(issued.map_or(client.trusted_time(), |issued| issued.max(client.trusted_time())));
    }
}

/// Validates what is new as a whole, stores it, and brings it into force.
struct Daemon<'a>(&'a Admission);

impl Taker for Daemon<'_> {
    async fn take(
        &self,
        client: &mut Client,
        candidate: Candidate,
        now: Timestamp,
    ) -> Result<Option<Duration>, SyncError> {
        let Self(admission) = *self;
        let files = files(candidate.generation());
        let validated = {
            let (admission, files) = (admission.clone(), files.clone());
            blocking(move || admission.trust().validate(&files, now)).await
        };
        let snapshot = match validated {
            Some(Ok(snapshot)) => snapshot,
            refused => {
                let problems = match refused {
                    Some(Err(diagnostics)) => diagnostics,
                    _ => vec![Diagnostic::error(
                        "the update",
                        "looking at it failed unexpectedly: the journal has the error",
                    )],
                };
                let reason = tell_refused(admission, &problems);
                deny_at_once(admission, &deny_list(&files));
                return Err(client.refuse(candidate, reason));
            }
        };
        if let Err(error) = client.commit(candidate).await {
            // It is verified, and does not survive a restart: of it only what denies counts.
            deny_at_once(admission, &snapshot.denials);
            return Err(error);
        }
        let admission = admission.clone();
        // What is wrong with what this node adds is said, and stands in the way of nothing.
        let _ = blocking(move || admission.activate(files, "policy repository").is_ok()).await;
        Ok(snapshot.policy.poll_interval())
    }
}

/// Says what is wrong with an update, once.
fn tell_refused(admission: &Admission, problems: &[Diagnostic]) -> String {
    let lines: Vec<String> = problems.iter().map(Diagnostic::one_line).collect();
    if admission.sync().known().refused != lines {
        for line in &lines {
            error!(message_id = UPDATE_REFUSED, "{line}");
        }
        error!(
            message_id = UPDATE_REFUSED,
            "an update of the policy repository is refused as a whole; what is in force stays"
        );
    }
    let reason = lines.first().cloned().unwrap_or_default();
    admission.sync().update(|known| known.refused = lines);
    reason
}

/// Says when the node's standing changes, for as long as the daemon runs.
pub(super) async fn watch_standing(status: Status) {
    let mut last = String::new();
    loop {
        let now = Timestamp::now();
        let (word, bad, text) = told(&status, now);
        if word != last {
            if bad {
                warn!(message_id = TRUST_STANDING, assay_trust = word, "{text}");
            } else if !last.is_empty() {
                info!(message_id = TRUST_STANDING, assay_trust = word, "{text}");
            }
            word.clone_into(&mut last);
        }
        tokio::time::sleep(STANDING_INTERVAL).await;
    }
}

/// The node's standing: a word, whether somebody has to see to it, and what it means.
fn told(status: &Status, now: Timestamp) -> (&'static str, bool, String) {
    if let Standing::ClockBehind { known } = status.standing(now) {
        let text =
            format!("the clock says {now}, and {known} has passed: every image is denied with clock-unsynchronised");
        return ("clock-behind", true, text);
    }
    match status.staleness(now) {
        None | Some(Staleness::Fresh { .. }) => ("fresh", false, "policy and trust are fresh".to_owned()),
        Some(Staleness::Stale { since, until }) => (
            "stale",
            true,
            format!(
                "the policy repository's metadata expired at {since}; everything is judged as before until {until}"
            ),
        ),
        Some(Staleness::Expired { since }) => {
            let then = match status.followed().map(|followed| followed.when_expired) {
                Some(WhenExpired::CachedOnly) => {
                    "only images that were admitted before, and digests that the policy lists, are admitted"
                }
                Some(WhenExpired::DenyNew) | None => "every image is denied with trust-stale",
            };
            let text = format!("the policy repository's metadata and its grace expired at {since}: {then}");
            ("expired", true, text)
        }
    }
}

fn files(generation: &Generation) -> VerifiedFiles {
    VerifiedFiles::new(generation.files().clone())
}

/// The deny-list of an update that is refused for something else.
fn deny_list(files: &VerifiedFiles) -> DenyList {
    let path = format!("{REVOCATION_FOLDER}/{DENY_LIST_FILE}");
    let text = files.get(&path).and_then(|content| std::str::from_utf8(content).ok());
    text.and_then(|text| DenyList::parse(&path, text).list)
        .unwrap_or_default()
}

fn deny_at_once(admission: &Admission, list: &DenyList) {
    if !list.is_empty() {
        admission.deny_at_once(list);
    }
}

/// Runs what blocks on files or computes for long. None where it panicked.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
    tokio::task::spawn_blocking(work).await.ok()
}
