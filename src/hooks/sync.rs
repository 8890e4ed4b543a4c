//! What is known of the policy repository, on the wire.

use assay_proto::v1 as proto;
use assay_verify::Timestamp;

use crate::admission::Admission;
use crate::sync::{Role, Signed, Staleness, Standing, WhenExpired};

/// The status at a moment.
pub(super) fn status(admission: &Admission, now: Timestamp) -> proto::SyncStatusResponse {
    let sync = admission.sync();
    let known = sync.known();
    let followed = sync.followed();
    let snapshot = admission.trust().current();
    let seconds = |at: Option<Timestamp>| at.map_or(0, Timestamp::as_second);
    let (staleness, changes_at) = match sync.staleness(now) {
        None => ("none", None),
        Some(staleness) => {
            let at = match staleness {
                Staleness::Fresh { until } | Staleness::Stale { until, .. } => until,
                Staleness::Expired { since } => since,
            };
            (staleness.as_str(), Some(at))
        }
    };
    let role = |(role, signed): (Role, Signed)| proto::RoleStatus {
        role: role.as_str().to_owned(),
        version: signed.version,
        expires: signed.expires.as_second(),
    };
    let failing = known.failing.as_ref();
    let exceptions = snapshot.iter().flat_map(|snapshot| {
        let shown: Vec<String> = snapshot.active_exceptions(now).map(ToString::to_string).collect();
        shown
    });
    proto::SyncStatusResponse {
        repository: followed.map(|followed| followed.repository.clone()).unwrap_or_default(),
        channel: followed.map(|followed| followed.channel.clone()).unwrap_or_default(),
        staleness: staleness.to_owned(),
        changes_at: seconds(changes_at),
        when_expired: followed
            .map(|followed| match followed.when_expired {
                WhenExpired::DenyNew => "deny-new".to_owned(),
                WhenExpired::CachedOnly => "cached-only".to_owned(),
            })
            .unwrap_or_default(),
        roles: known
            .versions
            .as_ref()
            .map(|versions| versions.iter().map(role).collect())
            .unwrap_or_default(),
        signed_at: seconds(known.signed_at),
        last_attempt: seconds(known.last_attempt),
        last_success: seconds(known.last_success),
        next_poll: seconds(known.next_poll),
        interval_seconds: u32::try_from(known.interval.as_secs()).unwrap_or(u32::MAX),
        failing_since: seconds(failing.map(|failing| failing.since)),
        error_class: failing.map(|failing| failing.class.to_owned()).unwrap_or_default(),
        error: failing.map(|failing| failing.error.clone()).unwrap_or_default(),
        refused: known.refused,
        degraded: known.degraded.unwrap_or_default(),
        trusted_time: sync.trusted_time().as_second(),
        requests: known.requests,
        bytes: known.bytes,
        denials: snapshot
            .as_ref()
            .map_or(0, |snapshot| snapshot.denials.entries().len() as u64),
        exceptions: exceptions.collect(),
        now: now.as_second(),
        clock_behind: matches!(sync.standing(now), Standing::ClockBehind { .. }),
    }
}
