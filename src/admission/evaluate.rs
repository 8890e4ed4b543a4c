//! Gather, judge, commit: what the evidence of one image says under one rule.

use std::collections::HashSet;
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::digest::Digest;
use assay_verify::evidence::Signature;
use assay_verify::judge::{self, AuthorityReport, Findings, Judgement, Requirement, Subject};
use assay_verify::limits::{DENIAL_LIFETIME, GATHER_DEADLINE, MAX_VERDICT_LIFETIME};
use assay_verify::notation::steps;
use assay_verify::policy::{self, Effect, Rule};
use jiff::SignedDuration;
use tracing::debug;

use super::advice::advice;
use super::pipeline::{self, ByRules, CacheState, Inner, decide_by_rules};
use super::question::Question;
use super::verdict::{Denial, Ground, Outcome, Verdict};
use crate::cache::verdicts::Interval;
use crate::fetch::{FetchError, Skipped, Summary};
use crate::trust::TrustSnapshot;

/// A verdict with everything that was found on the way.
#[derive(Clone, Debug)]
pub struct Explanation {
    /// The verdict.
    pub verdict: Verdict,
    /// What each authority of the rule says.
    pub authorities: Vec<AuthorityReport>,
    /// Referrers that are no signature or could not be read, each with the reason.
    pub skipped: Vec<Skipped>,
    /// What would make the image pass; empty when it passes.
    pub advice: Vec<String>,
}

impl Explanation {
    pub(super) fn without_evidence(verdict: Verdict) -> Self {
        let advice = advice(&verdict, &[]);
        Self {
            verdict,
            authorities: Vec::new(),
            skipped: Vec::new(),
            advice,
        }
    }
}

/// An explanation, what it took, and how long it holds.
pub(super) struct Evaluation {
    pub(super) explanation: Explanation,
    pub(super) cache: CacheState,
    pub(super) interval: Interval,
}

/// Judges an image under a rule that demands evidence: by what is stored, then by what the registry has.
pub(super) async fn online(
    world: &Inner,
    snapshot: &Arc<TrustSnapshot>,
    rule: &Rule,
    question: &Question,
    now: Timestamp,
) -> Evaluation {
    // Stored evidence that still admits needs no request: it is judged from its bytes, so it proves itself again. With
    // nothing stored this is the judgement without evidence, which only a rule that accepts the unverified passes.
    let mut kept = world.evidence.load(&question.repository, &question.descriptor).await;
    let mut judging = Judging::new(snapshot.clone(), rule.clone(), question.clone(), now);
    if judging.add(kept.clone()).await {
        return conclude(snapshot, rule, judging.conclude(), None, CacheState::Evidence, now);
    }
    kept.retain(|signature| judging.findings.rests_on(signature.manifest().digest()));

    let budget = world.registries.budget(tokio::time::Instant::now() + GATHER_DEADLINE);
    let mut search = match world
        .registries
        .search(&question.repository, &question.descriptor, budget)
        .await
    {
        Ok(search) => search,
        Err(error) => {
            return conclude(
                snapshot,
                rule,
                judging.conclude(),
                Some(not_begun(error)),
                CacheState::Gathered,
                now,
            );
        }
    };
    while let Some(batch) = search.next_batch(|digest| judging.knows(digest)).await {
        let enough = judging.add(batch.signatures.clone()).await;
        // What satisfied nothing is dropped with its batch, and its share of the memory goes back.
        let good = |signature: &&Signature| judging.findings.rests_on(signature.manifest().digest());
        kept.extend(batch.signatures.iter().filter(good).cloned());
        if enough {
            break;
        }
    }
    let summary = search.finish();
    let judgement = judging.conclude();
    if let Judgement::Admit(permit) = &judgement {
        // Persisting follows judging, and keeps only what the permit rests on: junk never fills the store.
        kept.retain(|signature| permit.rests_on().digests.contains(signature.manifest().digest()));
        if let Err(error) = world
            .evidence
            .store(&question.repository, &question.descriptor, &kept, now)
            .await
        {
            debug!("the evidence of {} is not kept: {error}", question.repository);
        }
    }
    conclude(snapshot, rule, judgement, Some(summary), CacheState::Gathered, now)
}

/// A judgement under way, with everything it needs to go on on another thread.
struct Judging {
    arguments: Arc<Arguments>,
    findings: Findings,
    seen: HashSet<Digest>,
}

struct Arguments {
    snapshot: Arc<TrustSnapshot>,
    rule: Rule,
    question: Question,
    now: Timestamp,
}

impl Judging {
    fn new(snapshot: Arc<TrustSnapshot>, rule: Rule, question: Question, now: Timestamp) -> Self {
        let arguments = Arguments {
            snapshot,
            rule,
            question,
            now,
        };
        let findings = arguments.with_requirement(Findings::new);
        Self {
            arguments: Arc::new(arguments),
            findings,
            seen: HashSet::new(),
        }
    }

    /// Whether a signature was judged already, by the digest of its manifest.
    fn knows(&self, signature: &Digest) -> bool {
        self.seen.contains(signature)
    }

    /// Judges more signatures, on a thread for blocking work: a hostile image with a hundred long chains must not hold up
    /// the others. Returns whether there are enough good ones now.
    async fn add(&mut self, signatures: Vec<Signature>) -> bool {
        self.seen
            .extend(signatures.iter().map(|signature| signature.manifest().digest().clone()));
        let (arguments, mut findings) = (self.arguments.clone(), self.findings.clone());
        let judge = move || {
            let enough = arguments.with_requirement(|requirement| {
                findings.add(&signatures, &arguments.subject(), requirement, arguments.now)
            });
            (enough, findings)
        };
        match tokio::task::spawn_blocking(judge).await {
            Ok((enough, findings)) => {
                self.findings = findings;
                enough
            }
            // The flight ends with the panic of its judge, and every asker is denied.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime ends, and with it whoever waits for the answer.
            Err(_) => false,
        }
    }

    fn conclude(self) -> Judgement {
        self.arguments
            .with_requirement(|requirement| self.findings.conclude(&self.arguments.subject(), requirement))
    }
}

impl Arguments {
    fn subject(&self) -> Subject<'_> {
        Subject {
            repository: &self.question.repository,
            descriptor: &self.question.descriptor,
        }
    }

    fn with_requirement<T>(&self, use_it: impl FnOnce(&Requirement<'_>) -> T) -> T {
        // A rule without a requirement demands nothing, and nothing is never enough.
        let asked = match self.rule.effect() {
            Effect::Require { requirement, .. } => Some(requirement),
            _ => None,
        };
        let names = asked.map(policy::Requirement::authorities).unwrap_or_default();
        let authorities: Vec<_> = names
            .iter()
            .map(|name| (name.as_str(), self.snapshot.terms(name, &self.question.repository)))
            .collect();
        use_it(&Requirement {
            needed: asked.map_or(0, policy::Requirement::needed),
            authorities: &authorities,
            accept_unverified: self.rule.accepts_unverified(),
        })
    }
}

/// Judges an image from evidence in hand, without a daemon, a store or a network.
pub fn offline(
    snapshot: &Arc<TrustSnapshot>,
    question: &Question,
    signatures: &[Signature],
    now: Timestamp,
) -> Explanation {
    match decide_by_rules(snapshot, question) {
        ByRules::Decided(verdict) => Explanation::without_evidence(verdict),
        ByRules::Evidence(rule) => {
            let arguments = Arguments {
                snapshot: snapshot.clone(),
                rule: rule.clone(),
                question: question.clone(),
                now,
            };
            let judgement = arguments
                .with_requirement(|requirement| judge::judge(signatures, &arguments.subject(), requirement, now));
            conclude(snapshot, rule, judgement, None, CacheState::Gathered, now).explanation
        }
    }
}

/// A search that could not even be begun.
fn not_begun(error: FetchError) -> Summary {
    Summary {
        listed: 0,
        opened: 0,
        skipped: Vec::new(),
        incomplete: Some(error),
    }
}

/// Makes a verdict of a judgement. What could not be fetched might have satisfied the rule: then the denial says so, and
/// is inconclusive, not a rejection.
fn conclude(
    snapshot: &TrustSnapshot,
    rule: &Rule,
    judgement: Judgement,
    summary: Option<Summary>,
    cache: CacheState,
    now: Timestamp,
) -> Evaluation {
    let (skipped, incomplete) = summary
        .map(|summary| (summary.skipped, summary.incomplete))
        .unwrap_or_default();
    let (outcome, authorities, interval) = match (judgement, incomplete) {
        (Judgement::Admit(mut permit), _) => {
            let interval = admit_interval(permit.interval(), now);
            // The verdict is remembered, by the thousand; what was found is told once.
            let authorities = permit.take_reports();
            (
                Outcome::Admit(Ground::Evidence(Arc::new(permit))),
                authorities,
                interval,
            )
        }
        (Judgement::Reject(rejection), Some(error)) => (
            Denial::new(error.code(), error.to_string()).under(rule.mode()),
            rejection.reports,
            denial_interval(now),
        ),
        (Judgement::Reject(rejection), None) => (
            Denial::new(rejection.code, rejection.reason).under(rule.mode()),
            rejection.reports,
            denial_interval(now),
        ),
    };
    let verdict = pipeline::verdict(snapshot, Some(rule), outcome);
    let advice = advice(&verdict, &authorities);
    Evaluation {
        explanation: Explanation {
            verdict,
            authorities,
            skipped,
            advice,
        },
        cache,
        interval,
    }
}

/// A verdict holds while nothing it rests on changes, and at most [`MAX_VERDICT_LIFETIME`]; half way through it is served
/// while it is refreshed.
fn admit_interval(permit: steps::Interval, now: Timestamp) -> Interval {
    let longest = now.saturating_add(signed(MAX_VERDICT_LIFETIME)).unwrap_or(now);
    let not_after = permit.until.min(longest);
    let half = now.duration_until(not_after) / 2;
    let refresh_after = now.saturating_add(half).unwrap_or(now);
    Interval {
        not_before: permit.not_before,
        refresh_after,
        not_after,
    }
}

/// The denial of an image lasts a moment, then its listing is asked for again.
fn denial_interval(now: Timestamp) -> Interval {
    let not_after = now.saturating_add(signed(DENIAL_LIFETIME)).unwrap_or(now);
    Interval {
        not_before: now,
        refresh_after: not_after,
        not_after,
    }
}

fn signed(duration: std::time::Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
