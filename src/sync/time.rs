//! The highest trusted time: what the local clock cannot be before.
//!
//! It never comes from the local clock, only from statements that somebody signed, and from the build.

use thiserror::Error;

use assay_verify::Timestamp;
use assay_verify::limits::MAX_CLOCK_SKEW;

/// 2026-11-01T00:00:00Z: this version of assayd did not exist before. Each release sets it; it may be early, never late.
pub const RELEASE_DATE: Timestamp = Timestamp::constant(1_793_491_200, 0);

/// The latest of [`RELEASE_DATE`] and the times that verified statements were signed at.
pub fn trusted_time(signed: impl IntoIterator<Item = Timestamp>) -> Timestamp {
    signed.into_iter().fold(RELEASE_DATE, Timestamp::max)
}

/// A local clock that is before a time which a verified statement, or the build, proves to be past.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the local clock says {now}, but it is at least {trusted}")]
pub struct ClockUnsynchronised {
    /// What the local clock says.
    pub now: Timestamp,
    /// The highest trusted time.
    pub trusted: Timestamp,
}

/// Checks the local clock against the highest trusted time. Signers' clocks may be ahead by [`MAX_CLOCK_SKEW`].
///
/// # Errors
///
/// When the local clock is before it by more than that.
pub fn check_clock(now: Timestamp, trusted: Timestamp) -> Result<(), ClockUnsynchronised> {
    // Where the sum is beyond what can be expressed, no clock is before it by more.
    let allowed = now.checked_add(MAX_CLOCK_SKEW).unwrap_or(Timestamp::MAX);
    if allowed < trusted {
        return Err(ClockUnsynchronised { now, trusted });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use assay_verify::policy::cosign::ShippedRoot;

    use super::*;
    use crate::trust::shipped::shipped;

    #[test]
    fn the_release_is_not_before_the_roots_that_come_along() {
        for root in [ShippedRoot::GitHub, ShippedRoot::PublicGood] {
            let date = format!("{}T00:00:00Z", shipped(root).date)
                .parse::<Timestamp>()
                .unwrap();
            assert!(RELEASE_DATE >= date, "{date}");
        }
    }

    #[test]
    fn the_release_is_in_the_past_of_every_build() {
        assert_eq!(RELEASE_DATE.to_string(), "2026-11-01T00:00:00Z");
        assert!(RELEASE_DATE < Timestamp::now());
    }

    #[test]
    fn the_latest_statement_counts() {
        let at = |text: &str| text.parse::<Timestamp>().unwrap();
        assert_eq!(trusted_time([]), RELEASE_DATE);
        assert_eq!(trusted_time([at("2020-01-01T00:00:00Z")]), RELEASE_DATE);
        assert_eq!(
            trusted_time([at("2031-01-01T00:00:00Z"), at("2030-01-01T00:00:00Z")]),
            at("2031-01-01T00:00:00Z")
        );
    }

    #[test]
    fn a_clock_may_be_behind_by_the_skew_and_no_more() {
        let trusted = RELEASE_DATE;
        let behind = |seconds: u64| trusted - std::time::Duration::from_secs(seconds);
        let skew = MAX_CLOCK_SKEW.as_secs();
        assert_eq!(check_clock(trusted, trusted), Ok(()));
        assert_eq!(check_clock(behind(skew), trusted), Ok(()));
        let now = behind(skew + 1);
        assert_eq!(check_clock(now, trusted), Err(ClockUnsynchronised { now, trusted }));
        assert!(check_clock(Timestamp::UNIX_EPOCH, trusted).is_err());
        assert!(check_clock(Timestamp::MIN, trusted).is_err());
        assert_eq!(check_clock(Timestamp::MAX, Timestamp::MAX), Ok(()));
    }
}
