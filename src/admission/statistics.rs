//! What has been decided since the start, counted.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use assay_verify::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;

use super::pipeline::{CacheState, Decision};
use super::question::Hook;
use super::verdict::Outcome;

/// The labels of a verdict. Every set is closed: a stranger's text is never a label.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct VerdictLabels {
    /// admit, audit, deny.
    pub verdict: &'static str,
    /// The code of a denial, also where audit mode overrode it; empty on an admit.
    pub code: &'static str,
    /// Who asked; `unknown` where the question does not say it.
    pub hook: &'static str,
}

/// How much work a verdict took.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct CacheLabels {
    /// [`CacheState::as_str`].
    pub cache: &'static str,
}

/// Makes the histogram of one kind of verdict: from a tenth of a millisecond, for what is in memory, to the hook's deadline.
#[derive(Clone, Debug)]
pub struct Durations;

impl MetricConstructor<Histogram> for Durations {
    fn new_metric(&self) -> Histogram {
        const SECONDS: [f64; 12] = [0.0001, 0.000_5, 0.001, 0.005, 0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 3.0, 8.0];
        Histogram::new(SECONDS)
    }
}

/// What has been decided since the start.
#[derive(Debug)]
pub struct Statistics {
    /// Admits, those of audit mode included.
    pub admitted: AtomicU64,
    /// Denials.
    pub denied: AtomicU64,
    /// Verdicts answered from memory.
    pub verdict_hits: AtomicU64,
    /// Verdicts from stored evidence.
    pub evidence_hits: AtomicU64,
    /// Verdicts that asked a registry.
    pub gathers: AtomicU64,
    /// Questions that wait for their verdict.
    pub in_flight: Gauge,
    /// Verdicts by what they say.
    pub verdicts: Family<VerdictLabels, Counter>,
    /// Seconds that askers waited, by what it took.
    pub durations: Family<CacheLabels, Histogram, Durations>,
    last_verdict: [AtomicI64; Hook::ALL.len()],
}

impl Default for Statistics {
    fn default() -> Self {
        Self {
            admitted: AtomicU64::default(),
            denied: AtomicU64::default(),
            verdict_hits: AtomicU64::default(),
            evidence_hits: AtomicU64::default(),
            gathers: AtomicU64::default(),
            in_flight: Gauge::default(),
            verdicts: Family::default(),
            durations: Family::new_with_constructor(Durations),
            last_verdict: Default::default(),
        }
    }
}

impl Statistics {
    /// When a hook was last answered, in Unix seconds; none while it was never heard.
    pub fn last_verdict_at(&self, hook: Hook) -> Option<i64> {
        let at = self.last_verdict.get(hook as usize)?.load(Ordering::Relaxed);
        (at != 0).then_some(at)
    }

    /// Counts a question for as long as what is returned lives, also where its asker gives up.
    pub(super) fn asked(&self) -> InFlight {
        self.in_flight.inc();
        InFlight(self.in_flight.clone())
    }

    /// Counts a decision.
    pub(super) fn count(&self, hook: Option<Hook>, decision: &Decision, now: Timestamp) {
        let outcome = &decision.verdict.outcome;
        let counter = if outcome.admits() { &self.admitted } else { &self.denied };
        counter.fetch_add(1, Ordering::Relaxed);
        if decision.cache == CacheState::Verdict {
            self.verdict_hits.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(last) = hook.and_then(|hook| self.last_verdict.get(hook as usize)) {
            last.store(now.as_second(), Ordering::Relaxed);
        }
        let labels = VerdictLabels {
            verdict: match outcome {
                Outcome::Admit(_) => "admit",
                Outcome::Audited(_) => "audit",
                Outcome::Deny(_) => "deny",
            },
            code: outcome.denial().map_or("", |denial| denial.code.as_str()),
            hook: hook.map_or("unknown", Hook::as_str),
        };
        self.verdicts.get_or_create(&labels).inc();
        let labels = CacheLabels {
            cache: decision.cache.as_str(),
        };
        self.durations
            .get_or_create(&labels)
            .observe(decision.duration.as_secs_f64());
    }
}

/// A question that waits for its verdict.
pub(super) struct InFlight(Gauge);

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
