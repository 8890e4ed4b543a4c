//! When a node polls: a calculation, with the randomness as an argument.
//!
//! What 100,000 nodes with an interval of 60 s do:
//!
//! - **At the start** a node waits a uniform part of the interval (full jitter). Nodes that start together, after a power
//!   failure or an update of the fleet, ask no more often than nodes that have run for months: 1,667 a second.
//! - **After a poll that succeeded** it waits the interval, 10 % more or less. Without that, nodes that once fell into step
//!   would stay in it; with it they are spread over the whole interval after some fifty polls.
//! - **After a failure** it waits a uniform part of a time that begins at twice the interval and is then as long as polls have
//!   failed, up to [`MAX_POLL_BACKOFF`]: so the first retry comes after one interval in the mean, a short outage is over for
//!   the last node after as long again, and a repository that comes back after an hour is asked 667 times a second and not by
//!   all at once. It never waits less than the shortest interval that the node's configuration allows.
//! - **`Retry-After`** is kept to, and to it comes a uniform part of the interval: those who were told the same would come
//!   back as one. It counts up to the longest interval that the configuration allows, lest an answer silence a node for
//!   good.

use std::time::Duration;

use assay_verify::limits::MAX_POLL_BACKOFF;

/// How far a poll may be from the interval, in parts of it: one tenth.
const JITTER: u32 = 10;

/// The intervals that a node's configuration allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Intervals {
    /// What it is where the policy names none.
    pub default: Duration,
    /// The shortest that a policy may ask for.
    pub min: Duration,
    /// The longest that a policy may ask for.
    pub max: Duration,
}

impl Intervals {
    /// The interval that counts where a policy names `wanted`, or none.
    pub fn clamp(&self, wanted: Option<Duration>) -> Duration {
        // Not Duration::clamp, which panics where the bounds are crossed.
        wanted.unwrap_or(self.default).min(self.max).max(self.min)
    }
}

/// When the next poll is. It knows how many failed in a row, and how long that took.
#[derive(Clone, Debug)]
pub struct Schedule {
    intervals: Intervals,
    interval: Duration,
    failures: u32,
    /// The waits since the first of these failures.
    failing: Duration,
}

impl Schedule {
    /// A schedule with the default interval.
    pub fn new(intervals: Intervals) -> Self {
        Self {
            intervals,
            interval: intervals.clamp(None),
            failures: 0,
            failing: Duration::ZERO,
        }
    }

    /// The interval in use.
    pub fn interval(&self) -> Duration {
        self.interval
    }

    /// How many polls in a row have failed.
    pub fn failures(&self) -> u32 {
        self.failures
    }

    /// Takes over the interval that a signed policy asks for, within the configuration's bounds.
    pub fn follow(&mut self, wanted: Option<Duration>) {
        self.interval = self.intervals.clamp(wanted);
    }

    /// The wait before the first poll. `random` is uniform over all its values, here and below.
    pub fn at_start(&self, random: u64) -> Duration {
        part(self.interval, random)
    }

    /// The wait after a poll that succeeded, whether or not it brought something.
    pub fn after_success(&mut self, random: u64) -> Duration {
        self.failures = 0;
        self.failing = Duration::ZERO;
        let spread = self.interval / JITTER;
        self.interval - spread + part(2 * spread, random)
    }

    /// The wait after a poll that failed. `retry_after` is what the repository asked for.
    pub fn after_failure(&mut self, retry_after: Option<Duration>, random: u64) -> Duration {
        self.failures = self.failures.saturating_add(1);
        let wait = match retry_after {
            Some(asked) => {
                let apart = part(self.interval, random).max(self.intervals.min);
                asked.min(self.intervals.max).saturating_add(apart)
            }
            None => {
                let backoff = self.failing.max(self.interval.saturating_mul(2));
                part(backoff.min(MAX_POLL_BACKOFF.max(self.interval)), random).max(self.intervals.min)
            }
        };
        self.failing = self.failing.saturating_add(wait);
        wait
    }
}

/// The part of `whole` that `random` is of all its values.
fn part(whole: Duration, random: u64) -> Duration {
    // 64 bits of nanoseconds are 584 years.
    let whole = u64::try_from(whole.as_nanos()).unwrap_or(u64::MAX);
    let nanoseconds = (u128::from(whole) * u128::from(random)) >> u64::BITS;
    Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn intervals() -> Intervals {
        Intervals {
            default: seconds(60),
            min: seconds(5),
            max: seconds(3600),
        }
    }

    /// Evenly spaced values of the randomness.
    fn spread(count: u64) -> impl Iterator<Item = u64> {
        (0..count).map(move |n| (u64::MAX / count) * n)
    }

    #[test]
    fn a_restart_storm_asks_no_more_often_than_the_fleet_always_does() {
        let schedule = Schedule::new(intervals());
        let mut per_second = [0u32; 60];
        for random in spread(100_000) {
            let wait = schedule.at_start(random);
            assert!(wait < seconds(60));
            per_second[usize::try_from(wait.as_secs()).unwrap()] += 1;
        }
        assert!(
            per_second.iter().all(|&count| (1_600..=1_700).contains(&count)),
            "{per_second:?}"
        );
    }

    #[test]
    fn regular_polls_are_an_interval_apart_more_or_less() {
        let mut schedule = Schedule::new(intervals());
        assert_eq!(schedule.after_success(0), seconds(54));
        assert_eq!(
            schedule.after_success(u64::MAX / 2),
            seconds(60) - Duration::from_nanos(1)
        );
        let most = schedule.after_success(u64::MAX);
        assert!(seconds(66) - SECOND < most && most < seconds(66), "{most:?}");
    }

    #[test]
    fn failures_wait_longer_each_time_up_to_five_minutes() {
        let mut schedule = Schedule::new(intervals());
        for longest in [120, 120, 240, 300, 300] {
            let wait = schedule.after_failure(None, u64::MAX);
            assert!(
                seconds(longest) - SECOND < wait && wait < seconds(longest),
                "{wait:?} {longest}"
            );
        }
        assert_eq!(schedule.failures(), 5);
        assert_eq!(schedule.after_success(0), seconds(54));
        assert_eq!(schedule.failures(), 0);
    }

    #[test]
    fn the_last_node_is_back_when_an_outage_is_over_for_as_long_again() {
        let outage = seconds(600);
        for random in spread(1_000) {
            let mut schedule = Schedule::new(intervals());
            let mut at = Duration::ZERO;
            while at < outage {
                at += schedule.after_failure(None, random);
            }
            assert!(at <= 2 * outage, "{at:?}");
        }
        let mut schedule = Schedule::new(intervals());
        let mut at = Duration::ZERO;
        while at < seconds(30) {
            at += schedule.after_failure(None, u64::MAX);
        }
        assert!(at <= seconds(120), "{at:?}");
    }

    #[test]
    fn failures_never_ask_more_often_than_the_shortest_interval() {
        let mut schedule = Schedule::new(intervals());
        assert_eq!(schedule.after_failure(None, 0), seconds(5));
    }

    #[test]
    fn an_interval_beyond_the_backoff_stays_the_longest_wait() {
        let mut schedule = Schedule::new(intervals());
        schedule.follow(Some(seconds(3000)));
        for _ in 0..40 {
            assert!(schedule.after_failure(None, u64::MAX) < seconds(3000));
        }
    }

    #[test]
    fn a_repository_that_asks_to_wait_is_obeyed_and_its_nodes_come_back_one_by_one() {
        let mut schedule = Schedule::new(intervals());
        assert_eq!(schedule.after_failure(Some(seconds(120)), 0), seconds(125));
        let latest = schedule.after_failure(Some(seconds(120)), u64::MAX);
        assert!(seconds(179) < latest && latest < seconds(180), "{latest:?}");
    }

    #[test]
    fn nobody_is_silenced_for_good() {
        let mut schedule = Schedule::new(intervals());
        let wait = schedule.after_failure(Some(Duration::MAX), u64::MAX);
        assert!(wait < seconds(3660), "{wait:?}");
    }

    #[test]
    fn the_policy_s_interval_counts_within_the_configuration_s_bounds() {
        let mut schedule = Schedule::new(intervals());
        for (wanted, expected) in [
            (None, 60),
            (Some(0), 5),
            (Some(5), 5),
            (Some(10), 10),
            (Some(86_400), 3600),
        ] {
            schedule.follow(wanted.map(seconds));
            assert_eq!(schedule.interval(), seconds(expected), "{wanted:?}");
        }
        let crossed = Intervals {
            default: seconds(1),
            min: seconds(9),
            max: seconds(3),
        };
        assert_eq!(Schedule::new(crossed).interval(), seconds(9));
    }

    #[test]
    fn the_longest_durations_do_not_overflow() {
        let endless = Intervals {
            default: Duration::MAX,
            min: SECOND,
            max: Duration::MAX,
        };
        let mut schedule = Schedule::new(endless);
        schedule.at_start(u64::MAX);
        schedule.after_failure(None, u64::MAX);
        schedule.after_failure(Some(Duration::MAX), u64::MAX);
    }
}
