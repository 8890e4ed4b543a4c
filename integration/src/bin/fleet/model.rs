//! The schedule alone: what a fleet of any size does, in virtual time and without a network.
//!
//! It runs the nodes' own [`Schedule`]. A poll takes no time, a server answers or refuses at once. Whether that is what real
//! nodes do is seen by setting it beside what was measured, with the same nodes and the same interval.

use std::time::Duration;

use assayd::sync::{Intervals, Schedule};
use serde::Serialize;

use crate::random::Random;

/// Intervals after which those who started together are spread.
const SETTLING: u32 = 60;
/// After an outage, the longest that is looked at.
const HORIZON: Duration = Duration::from_secs(3600);

/// When the first half, nearly all and all of the nodes have something, in seconds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(crate) struct Spread {
    pub(crate) p50: f64,
    pub(crate) p99: f64,
    pub(crate) p100: f64,
    /// How many do not have it.
    pub(crate) missing: usize,
}

impl Spread {
    pub(crate) fn of(moments: impl IntoIterator<Item = Option<Duration>>) -> Self {
        let (mut have, mut missing) = (Vec::new(), 0);
        for moment in moments {
            match moment {
                Some(moment) => have.push(moment.as_secs_f64()),
                None => missing += 1,
            }
        }
        have.sort_by(f64::total_cmp);
        // The nearest rank.
        let at = |percent: usize| {
            let rank = ((have.len() + missing) * percent).div_ceil(100);
            have.get(rank.saturating_sub(1)).copied().unwrap_or(f64::INFINITY)
        };
        Self {
            p50: at(50),
            p99: at(99),
            p100: at(100),
            missing,
        }
    }
}

/// The most of these moments that fall within one second.
pub(crate) fn peak_per_second(moments: &mut [Duration]) -> usize {
    const SECOND: Duration = Duration::from_secs(1);
    moments.sort_unstable();
    let (mut first, mut most) = (0, 0);
    for (last, moment) in moments.iter().enumerate() {
        while moments.get(first).is_some_and(|first| *first + SECOND <= *moment) {
            first += 1;
        }
        most = most.max(last + 1 - first);
    }
    most
}

/// What a fleet does.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Model {
    pub(crate) nodes: usize,
    pub(crate) interval_seconds: f64,
    pub(crate) steady_polls_per_second: f64,
    /// From publication until the nodes have asked.
    pub(crate) revocation: Spread,
    /// The most polls in one second after all nodes restarted within a second, and until each has asked.
    pub(crate) storm_peak: usize,
    pub(crate) storm: Spread,
    /// The same for a loop without a schedule.
    pub(crate) naive_peak: usize,
    /// Polls that fail while the server is away, and the most of them in one second.
    pub(crate) outage_seconds: f64,
    pub(crate) outage_failed: usize,
    pub(crate) outage_peak: usize,
    /// After it is back: until each node has asked, and the most polls in one second.
    pub(crate) recovery: Spread,
    pub(crate) recovery_peak: usize,
}

impl Model {
    pub(crate) fn run(nodes: usize, intervals: Intervals, outage: Duration, random: &mut Random) -> Self {
        let interval = intervals.default;
        let event = interval * SETTLING;
        let (back, end) = (event + outage, event + outage + HORIZON);
        let (mut heard, mut started, mut recovered) = (Vec::new(), Vec::new(), Vec::new());
        let (mut starts, mut naive, mut failures, mut after) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut polls = 0_usize;
        for _ in 0..nodes {
            // Restarted within a second.
            let start = random.part(Duration::from_secs(1));
            let mut schedule = Schedule::new(intervals);
            let mut now = start + schedule.at_start(random.bits());
            starts.push(now);
            naive.push(start);
            started.push(Some(now));
            // On to a moment when nobody remembers the start.
            while now < event {
                polls += 1;
                now += schedule.after_success(random.bits());
            }
            // Something is published at that moment.
            heard.push(Some(now - event));
            // Or the server goes away at that moment.
            while now < back {
                failures.push(now);
                now += schedule.after_failure(None, random.bits());
            }
            recovered.push((now < end).then(|| now - back));
            // Also those who are there again ask on.
            while now < back + 5 * interval {
                after.push(now);
                now += schedule.after_success(random.bits());
            }
        }
        Self {
            nodes,
            interval_seconds: interval.as_secs_f64(),
            steady_polls_per_second: polls as f64 / event.as_secs_f64(),
            revocation: Spread::of(heard),
            storm_peak: peak_per_second(&mut starts),
            storm: Spread::of(started),
            naive_peak: peak_per_second(&mut naive),
            outage_seconds: outage.as_secs_f64(),
            outage_failed: failures.len(),
            outage_peak: peak_per_second(&mut failures),
            recovery: Spread::of(recovered),
            recovery_peak: peak_per_second(&mut after),
        }
    }
}
