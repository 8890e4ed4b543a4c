//! The metrics, in Prometheus' text format (OpenMetrics 1.0).
//!
//! What is counted is counted where it happens; what is a state is read when somebody asks.

use std::os::unix::fs::MetadataExt as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use assay_verify::Timestamp;
use assay_verify::policy::{Mode, Unmatched};
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::admission::ledger::Past;
use crate::admission::{Admission, Hook};
use crate::sync::{Staleness, Standing, SyncError};
use crate::trust::TrustSnapshot;

/// What the text is, for who asks over HTTP.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Revision {
    revision: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Word {
    state: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Reason {
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Version {
    version: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Asker {
    hook: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RuleMode {
    mode: &'static str,
}

/// What the metrics are read from. Clones share everything.
#[derive(Clone)]
pub struct Metrics {
    admission: Admission,
    observe_flag: Arc<PathBuf>,
}

impl Metrics {
    /// The metrics of `admission`, on a node whose hook observes while `observe_flag` is there.
    pub fn new(admission: Admission, observe_flag: impl Into<PathBuf>) -> Self {
        Self {
            admission,
            observe_flag: Arc::new(observe_flag.into()),
        }
    }

    /// The metrics of a moment.
    pub fn render(&self, now: Timestamp) -> String {
        render(&self.admission, is_obeyed(&self.observe_flag), now)
    }
}

/// Whether the hook obeys the flag: it does where nobody but root can have written it. It looks closer than this, and what
/// it does not obey it says.
fn is_obeyed(observe_flag: &PathBuf) -> bool {
    let flag = std::fs::symlink_metadata(observe_flag);
    flag.is_ok_and(|flag| flag.is_file() && flag.uid() == 0 && flag.mode() & 0o022 == 0)
}

/// Whether an image that the policy refuses is kept from being unpacked. Without a good policy all are.
fn is_enforcing(snapshot: Option<&TrustSnapshot>) -> bool {
    snapshot.is_none_or(|snapshot| {
        let rules = snapshot.policy.rules();
        snapshot.policy.unmatched() == Unmatched::Deny || rules.iter().any(|rule| rule.mode() == Mode::Enforce)
    })
}

fn render(admission: &Admission, is_observing: bool, now: Timestamp) -> String {
    let mut registry = Registry::with_prefix("assayd");
    let version = Family::<Version, Gauge>::default();
    let labels = Version {
        version: env!("CARGO_PKG_VERSION"),
    };
    version.get_or_create(&labels).set(1);
    registry.register("build_info", "1 for the version that runs", version);
    let statistics = admission.statistics();
    registry.register("verdicts", "Verdicts by what they say", statistics.verdicts.clone());
    registry.register(
        "verdict_duration_seconds",
        "How long askers waited, by what it took",
        statistics.durations.clone(),
    );
    registry.register(
        "questions_in_flight",
        "Questions that wait for their verdict",
        statistics.in_flight.clone(),
    );
    let last = Family::<Asker, Gauge>::default();
    for hook in Hook::ALL {
        if let Some(at) = statistics.last_verdict_at(hook) {
            last.get_or_create(&Asker { hook: hook.as_str() }).set(at);
        }
    }
    registry.register(
        "last_verdict_timestamp_seconds",
        "When a hook was last answered; none while it was never heard",
        last,
    );
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let snapshot = admission.trust().current();
    gauge(
        &mut registry,
        "enforcing",
        "1 while what the policy refuses is refused: it has a rule that enforces or unmatched denies, and the hook does not only observe",
        i64::from(!is_observing && is_enforcing(snapshot.as_deref())),
    );
    gauge(
        &mut registry,
        "observing",
        "1 while the observe flag is there and the hook admits everything",
        i64::from(is_observing),
    );
    gauge(
        &mut registry,
        "policy_in_force",
        "1 while there is a good policy; without one everything is denied",
        i64::from(snapshot.is_some()),
    );
    if let Some(snapshot) = &snapshot {
        gauge(
            &mut registry,
            "policy_loaded_timestamp_seconds",
            "When the policy in force was read",
            snapshot.loaded_at.as_second(),
        );
        let rules = Family::<RuleMode, Gauge>::default();
        for (mode, word) in [(Mode::Enforce, "enforce"), (Mode::Audit, "audit")] {
            let of_mode = snapshot.policy.rules().iter().filter(|rule| rule.mode() == mode);
            rules
                .get_or_create(&RuleMode { mode: word })
                .set(count(of_mode.count()));
        }
        registry.register("policy_rules", "Rules of the policy in force", rules);
    }
    gauge(
        &mut registry,
        "policy_rejected",
        "1 while what is on disk or in the policy repository is broken, and not what is in force",
        i64::from(admission.trust().rejected().is_some() || !admission.sync().known().refused.is_empty()),
    );
    gauge(
        &mut registry,
        "break_glass_active",
        "1 while any exception is active",
        i64::from(
            snapshot
                .as_ref()
                .is_some_and(|snapshot| snapshot.active_exceptions(now).next().is_some()),
        ),
    );
    gauge(
        &mut registry,
        "deny_list_entries",
        "Entries of all deny-lists in force",
        count(snapshot.as_ref().map_or(0, |snapshot| snapshot.denials.entries().len())),
    );
    gauge(
        &mut registry,
        "verdicts_cached",
        "Verdicts in memory",
        count(admission.cached_verdicts()),
    );
    let evidence = admission.evidence().stats();
    gauge(
        &mut registry,
        "evidence_degraded",
        "1 while the store of evidence does less than it should",
        i64::from(evidence.state.is_degraded()),
    );
    for (name, help, value) in [
        ("evidence_images", "Images with stored evidence", evidence.images),
        ("evidence_bytes", "Bytes of stored evidence", evidence.bytes),
        ("evidence_limit_bytes", "The bound of stored evidence", evidence.limit),
        (
            "evidence_disk_bytes",
            "Bytes that the store's files take",
            evidence.bytes_on_disk,
        ),
    ] {
        gauge(&mut registry, name, help, i64::try_from(value).unwrap_or(i64::MAX));
    }
    for (name, help, value) in [
        (
            "evidence_evicted",
            "Images whose evidence made room for others'",
            evidence.evicted,
        ),
        (
            "evidence_damaged_records",
            "Records that did not prove themselves",
            evidence.damaged_records,
        ),
        (
            "evidence_damaged_stores",
            "Stores that were damaged and moved aside",
            evidence.damaged_stores,
        ),
    ] {
        registry.register(name, help, ConstCounter::new(value));
    }
    let revocation = admission.respondents().revocation.statistics();
    gauge(
        &mut registry,
        "revocation_answers",
        "Answers of CRLs and OCSP responders that are kept",
        count(revocation.kept),
    );
    gauge(
        &mut registry,
        "revocation_failing",
        "Revocation endpoints that give no answer now, by what is asked of them",
        count(revocation.failing.len()),
    );
    if let Some(at) = revocation.soonest_lapse {
        gauge(
            &mut registry,
            "revocation_soonest_lapse_timestamp_seconds",
            "When the first revocation answer in use lapses, or lapsed",
            at.as_second(),
        );
    }
    let withdrawn = Family::<Word, Gauge>::default();
    let found = admission.withdrawn();
    for (state, images) in [("denied", found.denied), ("undecided", found.undecided)] {
        withdrawn.get_or_create(&Word { state }).set(count(images));
    }
    registry.register(
        "withdrawn_images",
        "Images that were admitted since the start and would not be now",
        withdrawn,
    );
    if let Some(ledger) = admission.ledger() {
        let presence = ledger.presence();
        gauge(
            &mut registry,
            "ledger_degraded",
            "1 while what hooks were told cannot be written down",
            i64::from(ledger.degraded().is_some()),
        );
        // Without assay-gate nobody knows what is here.
        if let Some(at) = presence.reported_at {
            gauge(
                &mut registry,
                "images_reported_timestamp_seconds",
                "When assay-gate last told which images containerd has",
                at.as_second(),
            );
            gauge(
                &mut registry,
                "images_present",
                "Images that containerd has, by their names",
                count(presence.images),
            );
            let past = Family::<Word, Gauge>::default();
            for (state, images) in Past::ALL.into_iter().zip(presence.past) {
                let state = state.as_str();
                past.get_or_create(&Word { state }).set(count(images));
            }
            registry.register(
                "images_past_hook",
                "Images that containerd has and no hook admitted, by how that came",
                past,
            );
        }
    }
    if let Some(log) = admission.decision_log() {
        let counts = log.counts();
        registry.register(
            "decisions_logged",
            "Decisions that were written to the decision log",
            ConstCounter::new(counts.written.load(Ordering::Relaxed)),
        );
        let dropped = Family::<Reason, Counter>::default();
        for (reason, count) in [("queue", &counts.dropped_by_queue), ("disk", &counts.dropped_by_disk)] {
            dropped
                .get_or_create(&Reason { reason })
                .inc_by(count.load(Ordering::Relaxed));
        }
        registry.register("decisions_dropped", "Decisions that the decision log lacks", dropped);
        gauge(
            &mut registry,
            "decision_log_degraded",
            "1 while the decision log cannot be written",
            i64::from(counts.degraded.load(Ordering::Relaxed)),
        );
    }
    let sync = admission.sync();
    let known = sync.known();
    if sync.followed().is_some() {
        if let Some(versions) = &known.versions {
            gauge(
                &mut registry,
                "trust_expires_timestamp_seconds",
                "When the first metadata of the policy repository expires",
                versions.first_expiry().as_second(),
            );
        }
        if let Some(at) = known.last_success {
            gauge(
                &mut registry,
                "last_sync_success_timestamp_seconds",
                "When the policy repository last had an answer that was taken",
                at.as_second(),
            );
        }
        gauge(
            &mut registry,
            "fleet_state_degraded",
            "1 while the state of the policy repository cannot be kept on disk",
            i64::from(known.degraded.is_some()),
        );
        let failing = Family::<Word, Gauge>::default();
        for word in SyncError::WORDS {
            let is_so = known.failing.as_ref().is_some_and(|failing| failing.class == *word);
            failing.get_or_create(&Word { state: word }).set(i64::from(is_so));
        }
        registry.register(
            "sync_failing",
            "1 for the way in which following the policy repository fails",
            failing,
        );
    }
    let standing = Family::<Word, Gauge>::default();
    let stands = match (sync.standing(now), sync.staleness(now)) {
        (Standing::ClockBehind { .. }, _) => "clock-behind",
        (Standing::Expired { .. }, _) => "expired",
        (Standing::Sound, Some(Staleness::Stale { .. })) => "stale",
        (Standing::Sound, _) => "fresh",
    };
    for word in ["clock-behind", "expired", "fresh", "stale"] {
        standing
            .get_or_create(&Word { state: word })
            .set(i64::from(word == stands));
    }
    registry.register("trust_standing", "1 for where the node stands", standing);
    let revision = Family::<Revision, Gauge>::default();
    if let Some(snapshot) = &snapshot {
        let labels = Revision {
            revision: snapshot.revision().to_owned(),
        };
        revision.get_or_create(&labels).set(1);
    }
    registry.register("policy_revision", "1 for the revision in force", revision);
    let mut text = String::new();
    // Writing to a string cannot fail.
    let _ = encode(&mut text, &registry);
    text
}

fn gauge(registry: &mut Registry, name: &str, help: &str, value: i64) {
    let gauge = Gauge::<i64>::default();
    gauge.set(value);
    registry.register(name, help, gauge);
}
