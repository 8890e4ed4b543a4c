//! What changes while questions are asked: when it began, and from when on the daemon has to know.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// A switch of the policy or of the deny-list, which is off at first.
#[derive(Debug, Default)]
pub(crate) struct Switch(Mutex<Vec<Change>>);

#[derive(Clone, Copy, Debug)]
struct Change {
    on: bool,
    begun: Instant,
    /// From here on there is no other answer. None while the change is under way.
    settled: Option<Instant>,
}

impl Switch {
    /// A change begins: from now on both answers are right.
    pub(crate) fn begin(&self, on: bool) {
        self.lock().push(Change {
            on,
            begun: Instant::now(),
            settled: None,
        });
    }

    /// The daemon has been told: after `grace` the other answer is wrong.
    pub(crate) fn settle(&self, grace: Duration) {
        if let Some(change) = self.lock().last_mut() {
            change.settled = Some(Instant::now() + grace);
        }
    }

    /// Whether a question that was open from `asked` to `answered` may have met the switch in this position.
    pub(crate) fn may_be(&self, on: bool, asked: Instant, answered: Instant) -> bool {
        let changes = self.lock();
        let settled = |change: &&Change| change.settled.is_some_and(|settled| settled <= asked);
        let before = changes.iter().rev().find(settled);
        let before_is = before.is_some_and(|change| change.on);
        let since = changes
            .iter()
            .filter(|change| change.begun <= answered && !settled(change));
        before_is == on || since.into_iter().any(|change| change.on == on)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Change>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The times at which a registry misbehaves, and how.
#[derive(Debug, Default)]
pub(crate) struct Outages(Mutex<Vec<Outage>>);

#[derive(Clone, Copy, Debug)]
struct Outage {
    name: &'static str,
    begun: Instant,
    /// From here on nothing of it is met. None while it goes on.
    over: Option<Instant>,
}

impl Outages {
    /// An outage begins.
    pub(crate) fn begin(&self, name: &'static str) {
        self.lock().push(Outage {
            name,
            begun: Instant::now(),
            over: None,
        });
    }

    /// It ends, and what it did is over after `aftermath`.
    pub(crate) fn end(&self, aftermath: Duration) {
        if let Some(outage) = self.lock().last_mut() {
            outage.over = Some(Instant::now() + aftermath);
        }
    }

    /// The last one that a question may have met which was open from `asked` to `answered`.
    pub(crate) fn met(&self, asked: Instant, answered: Instant) -> Option<&'static str> {
        let met = |outage: &&Outage| outage.begun <= answered && outage.over.is_none_or(|over| asked <= over);
        self.lock().iter().rev().find(met).map(|outage| outage.name)
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Outage>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_answers_are_right_while_a_change_is_under_way_and_one_is_before_and_after() {
        let switch = Switch::default();
        let before = Instant::now();
        let may_be = |asked, answered| [false, true].map(|on| switch.may_be(on, asked, answered));
        assert_eq!(may_be(before, before), [true, false]);
        switch.begin(true);
        let during = Instant::now();
        assert_eq!(may_be(during, during), [true, true]);
        assert_eq!(may_be(before, during), [true, true]);
        switch.settle(Duration::from_secs(5));
        let settled = Instant::now() + Duration::from_secs(6);
        assert_eq!(may_be(during, during), [true, true]);
        assert_eq!(may_be(settled, settled), [false, true]);
        switch.begin(false);
        assert_eq!(may_be(settled, settled), [true, true]);
        switch.settle(Duration::from_secs(10));
        let again = settled + Duration::from_secs(60);
        assert_eq!(may_be(again, again), [true, false]);
    }

    #[test]
    fn an_outage_is_met_from_its_beginning_to_the_end_of_its_aftermath() {
        let outages = Outages::default();
        let before = Instant::now();
        std::thread::sleep(Duration::from_millis(1));
        outages.begin("resets");
        let during = Instant::now();
        outages.end(Duration::from_secs(30));
        let second = |count| during + Duration::from_secs(count);
        for (asked, answered, met) in [
            (before, before, None),
            (before, during, Some("resets")),
            (during, second(100), Some("resets")),
            (second(29), second(29), Some("resets")),
            (second(31), second(32), None),
        ] {
            assert_eq!(outages.met(asked, answered), met);
        }
    }
}
