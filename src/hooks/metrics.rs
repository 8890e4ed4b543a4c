//! The metrics, in Prometheus' text format (OpenMetrics 1.0).
//!
//! What is counted is counted where it happens; what is a state is read when somebody asks.

use assay_verify::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;

use crate::admission::Admission;
use crate::sync::{Staleness, Standing, SyncError};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Revision {
    revision: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Word {
    state: &'static str,
}

/// The metrics of a moment.
pub fn render(admission: &Admission, now: Timestamp) -> String {
    let mut registry = Registry::with_prefix("assayd");
    let statistics = admission.statistics();
    registry.register("verdicts", "Verdicts by what they say", statistics.verdicts.clone());
    registry.register(
        "verdict_duration_seconds",
        "How long askers waited, by what it took",
        statistics.durations.clone(),
    );
    let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
    let snapshot = admission.trust().current();
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
    gauge(
        &mut registry,
        "evidence_degraded",
        "1 while the store of evidence does less than it should",
        i64::from(admission.evidence().stats().state.is_degraded()),
    );
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
