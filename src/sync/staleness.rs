//! How old a generation may become: fresh, then stale, then expired.
//!
//! Staleness is judged from the signed expiries and a time, and it says nothing about whether the signatures hold: they
//! do, or there would be no generation.

use std::time::Duration;

use assay_verify::Timestamp;

use super::generation::Versions;

/// Defaults for a kind of node.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Profile {
    /// A node whose network is seldom away.
    #[default]
    Datacenter,
    /// A node that is often alone for days or weeks.
    Edge,
}

impl Profile {
    /// How long a stale generation serves, unless the configuration says otherwise.
    pub const fn grace(self) -> Duration {
        const DAY: Duration = Duration::from_secs(24 * 3600);
        match self {
            Self::Datacenter => DAY,
            Self::Edge => DAY.saturating_mul(30),
        }
    }

    /// What happens then, unless the configuration says otherwise.
    pub const fn when_expired(self) -> WhenExpired {
        match self {
            Self::Datacenter => WhenExpired::DenyNew,
            Self::Edge => WhenExpired::CachedOnly,
        }
    }
}

/// What happens once the grace is over. Running containers are not touched either way, and the deny-list goes on to deny.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WhenExpired {
    /// Every image is denied.
    DenyNew,
    /// Images whose stored evidence satisfies the policy, and digests that it lists, are admitted; all others are denied.
    CachedOnly,
}

/// How old a generation is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Staleness {
    /// Nothing has expired.
    Fresh {
        /// The moment at which something does.
        until: Timestamp,
    },
    /// Something has expired, and the grace is running: everything is judged as before.
    Stale {
        /// The moment at which the first metadata expired.
        since: Timestamp,
        /// The end of the grace.
        until: Timestamp,
    },
    /// The grace is over.
    Expired {
        /// The moment at which it ended.
        since: Timestamp,
    },
}

impl Staleness {
    /// A stable word for it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Fresh { .. } => "fresh",
            Self::Stale { .. } => "stale",
            Self::Expired { .. } => "expired",
        }
    }
}

/// How old a generation with these expiries is at `now`.
pub fn staleness(versions: &Versions, grace: Duration, now: Timestamp) -> Staleness {
    let since = versions.first_expiry();
    if now < since {
        return Staleness::Fresh { until: since };
    }
    let until = since.checked_add(grace).unwrap_or(Timestamp::MAX);
    if now < until {
        Staleness::Stale { since, until }
    } else {
        Staleness::Expired { since: until }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sync::role::Signed;

    const HOUR: Duration = Duration::from_secs(3600);

    fn at(hours: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + hours * 3600).unwrap()
    }

    fn versions(root: i64, timestamp: i64, snapshot: i64, targets: i64) -> Versions {
        let signed = |hours| Signed {
            version: 1,
            expires: at(hours),
        };
        Versions {
            root: signed(root),
            timestamp: signed(timestamp),
            snapshot: signed(snapshot),
            targets: signed(targets),
            revocations: Some(signed(-100)),
            exceptions: Some(signed(-100)),
        }
    }

    #[test]
    fn whatever_expires_first_makes_it_stale() {
        for versions in [
            versions(1, 2, 3, 4),
            versions(2, 1, 3, 4),
            versions(2, 3, 1, 4),
            versions(2, 3, 4, 1),
        ] {
            assert_eq!(
                staleness(&versions, HOUR, at(0)),
                Staleness::Fresh { until: at(1) },
                "{versions:?}"
            );
        }
    }

    #[test]
    fn fresh_becomes_stale_and_then_expired_and_no_moment_is_left_out() {
        let versions = versions(9, 1, 9, 9);
        let nanosecond = Duration::from_nanos(1);
        for (now, expected) in [
            (Timestamp::MIN, Staleness::Fresh { until: at(1) }),
            (at(1) - nanosecond, Staleness::Fresh { until: at(1) }),
            (
                at(1),
                Staleness::Stale {
                    since: at(1),
                    until: at(2),
                },
            ),
            (
                at(2) - nanosecond,
                Staleness::Stale {
                    since: at(1),
                    until: at(2),
                },
            ),
            (at(2), Staleness::Expired { since: at(2) }),
            (Timestamp::MAX, Staleness::Expired { since: at(2) }),
        ] {
            assert_eq!(staleness(&versions, HOUR, now), expected, "{now}");
        }
    }

    #[test]
    fn without_grace_nothing_is_ever_stale() {
        let versions = versions(9, 1, 9, 9);
        assert_eq!(
            staleness(&versions, Duration::ZERO, at(1)),
            Staleness::Expired { since: at(1) }
        );
    }

    #[test]
    fn a_grace_beyond_the_calendar_does_not_end() {
        let versions = versions(9, 1, 9, 9);
        assert_eq!(
            staleness(&versions, Duration::MAX, at(1)),
            Staleness::Stale {
                since: at(1),
                until: Timestamp::MAX
            }
        );
    }
}
