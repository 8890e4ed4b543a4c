//! The order in which a question is decided, and who waits for what.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use assay_verify::Timestamp;
use assay_verify::code::Code;
use assay_verify::document::{Diagnostic, Severity};
use assay_verify::limits::{
    GATHER_DEADLINE, MAX_CACHED_VERDICTS, MAX_CONCURRENT_GATHERS, MAX_POLICY_CHANGES, STALE_GATHER, VERIFY_DEADLINE,
};
use assay_verify::policy::{self, Rule};
use assay_verify::query::QueryId;
use assay_verify::untrusted::Untrusted;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout_at;
use tracing::warn;
use uuid::Uuid;

use super::bundle::{Bundle, Imported};
use super::evaluate::{self, Evaluation, Explanation, Waiting};
use super::events;
use super::export::{self, Exported};
use super::question::{Hook, Question, QuestionError};
use super::respondents::Respondents;
use super::tree::{self, Tree};
use super::verdict::{Denial, Ground, Outcome, Verdict};
use crate::cache::evidence::{EvidenceStore, NotStored};
use crate::cache::single_flight::{Flight, FlightError, SingleFlight};
use crate::cache::verdicts::{VerdictCache, VerdictKey};
use crate::fetch::Client;
use crate::trust::{TrustSnapshot, TrustState};

/// What a flight brings home.
type Answer = (Arc<Verdict>, CacheState);

/// Tells the time. The one clock of the process is read here and handed down.
pub type Clock = fn() -> Timestamp;

/// A decided question, as one asker sees it.
#[derive(Clone, Debug)]
pub struct Decision {
    /// Finds it in the journal.
    pub id: Uuid,
    /// What was decided.
    pub verdict: Arc<Verdict>,
    /// How much work it took.
    pub cache: CacheState,
    /// How long the asker waited.
    pub duration: Duration,
}

/// How much work a verdict took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum CacheState {
    /// It was in memory.
    Verdict,
    /// Stored evidence was judged again, without a request.
    Evidence,
    /// Evidence was gathered from the registry.
    Gathered,
    /// The policy decided without evidence.
    NotNeeded,
}

impl CacheState {
    /// The word in journals and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verdict => "verdict",
            Self::Evidence => "evidence",
            Self::Gathered => "gathered",
            Self::NotNeeded => "not-needed",
        }
    }
}

/// What has been decided since the start.
#[derive(Debug, Default)]
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
    last_verdict: [AtomicI64; Hook::ALL.len()],
}

impl Statistics {
    /// When a hook was last answered, in Unix seconds; none while it was never heard.
    pub fn last_verdict_at(&self, hook: Hook) -> Option<i64> {
        let at = self.last_verdict.get(hook as usize)?.load(Ordering::Relaxed);
        (at != 0).then_some(at)
    }
}

/// The pipeline. Clones share everything.
#[derive(Clone)]
pub struct Admission {
    inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) trust: Arc<TrustState>,
    pub(super) registries: Client,
    pub(super) evidence: EvidenceStore,
    pub(super) respondents: Respondents,
    pub(super) clock: Clock,
    verdicts: VerdictCache<Arc<Verdict>>,
    flights: SingleFlight<VerdictKey, Answer>,
    statistics: Statistics,
    reloads: watch::Sender<()>,
    /// How often an answer changed that verdicts may rest on.
    changed_answers: AtomicU64,
}

impl Admission {
    /// Joins the parts of the pipeline.
    pub fn new(
        trust: Arc<TrustState>,
        registries: Client,
        evidence: EvidenceStore,
        respondents: Respondents,
        clock: Clock,
    ) -> Self {
        let inner = Inner {
            trust,
            registries,
            evidence,
            respondents,
            clock,
            verdicts: VerdictCache::new(MAX_CACHED_VERDICTS),
            flights: SingleFlight::new(MAX_CONCURRENT_GATHERS, STALE_GATHER),
            statistics: Statistics::default(),
            reloads: watch::Sender::new(()),
            changed_answers: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Decides a question within [`VERIFY_DEADLINE`], and logs the decision once.
    pub async fn decide(&self, question: &Question) -> Decision {
        let started = Instant::now();
        let (verdict, cache) = self.verdict(question, started).await;
        let decision = Decision {
            id: Uuid::now_v7(),
            verdict,
            cache,
            duration: started.elapsed(),
        };
        self.count(question.hook, &decision);
        events::decided(question, &decision);
        decision
    }

    /// Denies a question that is not well-formed, and logs it.
    pub fn malformed(&self, name: &str, digest: &str, error: &QuestionError) -> Decision {
        let verdict = Verdict {
            outcome: Outcome::Deny(Denial::new(Code::RequestMalformed, error.to_string())),
            rule: None,
            revision: None,
        };
        let id = Uuid::now_v7();
        self.inner.statistics.denied.fetch_add(1, Ordering::Relaxed);
        warn!(
            message_id = events::MALFORMED,
            assay_image = %Untrusted::from(name),
            assay_digest = %Untrusted::from(digest),
            assay_verdict = "deny",
            assay_code = Code::RequestMalformed.as_str(),
            assay_decision_id = %id,
            "deny {}: the question is malformed: {error}",
            Untrusted::from(name)
        );
        Decision {
            id,
            verdict: Arc::new(verdict),
            cache: CacheState::NotNeeded,
            duration: Duration::ZERO,
        }
    }

    /// Judges afresh, past the verdict cache, and keeps what every step said.
    pub async fn explain(&self, question: &Question) -> Explanation {
        let now = (self.inner.clock)();
        let Some(snapshot) = self.inner.trust.current() else {
            return Explanation::without_evidence(no_policy(&self.inner.trust));
        };
        match decide_by_rules(&snapshot, question) {
            ByRules::Decided(verdict) => Explanation::without_evidence(verdict),
            ByRules::Evidence(rule) => {
                evaluate::online(&self.inner, &snapshot, rule, question, now, Waiting::Asker)
                    .await
                    .explanation
            }
        }
    }

    /// Judges by the policy in force and by what is stored, without a network: no registry is searched, no endpoint and no
    /// plugin asked. Where that does not suffice for an admit the denial is inconclusive ([`Code::is_inconclusive`]), because the
    /// registry may have what lacks. It touches neither the verdicts in memory nor the order in which evidence is evicted.
    pub async fn judge_stored(&self, question: &Question) -> Explanation {
        let now = (self.inner.clock)();
        let Some(snapshot) = self.inner.trust.current() else {
            return Explanation::without_evidence(no_policy(&self.inner.trust));
        };
        match decide_by_rules(&snapshot, question) {
            ByRules::Decided(verdict) => Explanation::without_evidence(verdict),
            ByRules::Evidence(rule) => {
                evaluate::stored(&self.inner, &snapshot, rule, question, now)
                    .await
                    .explanation
            }
        }
    }

    /// Gathers everything that a judgement of an image may need, here or elsewhere, and hands it over part by part. `image` is
    /// the image's own manifest or index.
    pub async fn export(&self, question: &Question, image: &[u8], parts: &mpsc::Sender<Exported>) {
        export::export(&self.inner, self.inner.trust.current(), question, image, parts).await;
    }

    /// Judges an image by the policy in force, by what is stored and by what somebody brings, without a network, and stores what
    /// an admit rests on. Answers are kept where the judgement proves them, whatever comes of it.
    pub async fn import(&self, question: &Question, bundle: &dyn Bundle) -> Imported {
        let now = (self.inner.clock)();
        let decided = |verdict| Imported {
            explanation: Explanation::without_evidence(verdict),
            not_stored: None,
        };
        let Some(snapshot) = self.inner.trust.current() else {
            return decided(no_policy(&self.inner.trust));
        };
        let imported = match decide_by_rules(&snapshot, question) {
            ByRules::Decided(verdict) => decided(verdict),
            ByRules::Evidence(rule) => {
                let evaluation = evaluate::brought(&self.inner, &snapshot, rule, question, now, bundle).await;
                Imported {
                    explanation: evaluation.explanation,
                    not_stored: evaluation.not_stored,
                }
            }
        };
        // What was decided before may be decided otherwise now.
        let (repository, descriptor) = (&question.repository, &question.descriptor);
        self.inner
            .verdicts
            .invalidate_if(|key, _| key.repository == *repository && key.descriptor == *descriptor);
        events::imported(question, &imported);
        imported
    }

    /// Everything that hangs on an image, with who signed it. It decides nothing.
    pub async fn tree(&self, question: &Question) -> Tree {
        let now = (self.inner.clock)();
        tree::gather(&self.inner, self.inner.trust.current(), question, now).await
    }

    /// Reads policy and trust material again, and says what came of it. Blocks on the disk. Returns whether what is on
    /// disk is now in force.
    pub fn reload(&self, why: &str) -> bool {
        let before = self.generation();
        let outcome = self.inner.trust.reload((self.inner.clock)());
        if self.generation() != before {
            // Their keys name another generation: they can never be asked for again.
            self.inner.verdicts.clear();
        }
        events::reloaded(&self.inner.trust, &outcome, why);
        self.inner.reloads.send_replace(());
        outcome.is_ok()
    }

    /// Forgets the verdicts that rest on the answer to a query, because there is a newer one: what is revoked ends with it.
    /// Others stay.
    pub fn answer_changed(&self, query: QueryId) {
        // Before the verdicts are searched: a flight that lands afterwards sees that it has to look again.
        self.inner.changed_answers.fetch_add(1, Ordering::SeqCst);
        self.inner.verdicts.invalidate_if(|_, verdict| verdict.rests_on(query));
    }

    /// Whom the queries of judgements are put to.
    pub fn respondents(&self) -> &Respondents {
        &self.inner.respondents
    }

    /// Changes whenever the policy was read again.
    pub fn reloads(&self) -> watch::Receiver<()> {
        self.inner.reloads.subscribe()
    }

    /// The generation of policy and trust in force; 0 before there was a good one.
    fn generation(&self) -> u64 {
        self.inner.trust.current().map_or(0, |snapshot| snapshot.generation)
    }

    /// What has been decided since the start.
    pub fn statistics(&self) -> &Statistics {
        &self.inner.statistics
    }

    /// Verdicts in memory.
    pub fn cached_verdicts(&self) -> usize {
        self.inner.verdicts.len()
    }

    /// Forgets the verdicts, the revocation answers and the evidence.
    ///
    /// # Errors
    ///
    /// When the evidence cannot be removed; the verdicts are forgotten all the same.
    pub async fn clear_cache(&self) -> Result<(), NotStored> {
        self.inner.verdicts.clear();
        self.inner.respondents.revocation.clear().await;
        self.inner.evidence.clear().await
    }

    /// The store of evidence.
    pub fn evidence(&self) -> &EvidenceStore {
        &self.inner.evidence
    }

    /// The policy and trust material.
    pub fn trust(&self) -> &Arc<TrustState> {
        &self.inner.trust
    }

    /// The client of the registries.
    pub fn registries(&self) -> &Client {
        &self.inner.registries
    }

    async fn verdict(&self, question: &Question, started: Instant) -> Answer {
        for _ in 0..MAX_POLICY_CHANGES {
            let Some(snapshot) = self.inner.trust.current() else {
                return (Arc::new(no_policy(&self.inner.trust)), CacheState::NotNeeded);
            };
            let rule = match decide_by_rules(&snapshot, question) {
                ByRules::Decided(verdict) => return (Arc::new(verdict), CacheState::NotNeeded),
                ByRules::Evidence(rule) => rule,
            };
            let key = VerdictKey {
                repository: question.repository.clone(),
                descriptor: question.descriptor.clone(),
                hook: question.hook,
                generation: snapshot.generation,
            };
            if let Some(hit) = self.inner.verdicts.get(&key, (self.inner.clock)()) {
                if hit.refresh_due {
                    // Nobody waits for it; what it finds replaces the verdict.
                    drop(self.fly(key, question.clone(), snapshot.clone(), Waiting::Nobody));
                }
                return (hit.value, CacheState::Verdict);
            }
            let flight = async {
                let flight = self.fly(key, question.clone(), snapshot.clone(), Waiting::Asker)?;
                flight.outcome().await
            };
            let denial = match timeout_at((started + VERIFY_DEADLINE).into(), flight).await {
                // A policy that came into force meanwhile decides instead.
                Ok(Ok(_)) if self.generation() != snapshot.generation => continue,
                Ok(Ok(answer)) => return answer,
                Ok(Err(error @ FlightError::TooMany(_))) => Denial::new(Code::LimitExceeded, error.to_string()),
                Ok(Err(error @ FlightError::Deadline(_))) => Denial::new(Code::Deadline, error.to_string()),
                Ok(Err(FlightError::BrokenOff)) => {
                    Denial::new(Code::Internal, "judging was broken off by an error: the journal has it")
                }
                Err(_) => Denial::new(
                    Code::Deadline,
                    "no verdict within the deadline; gathering goes on, so a retry may find it",
                ),
            };
            let verdict = verdict(&snapshot, Some(rule), denial.under(rule.mode()));
            return (Arc::new(verdict), CacheState::Gathered);
        }
        let denial = Denial::new(
            Code::Deadline,
            "the policy changed again and again while the image was judged",
        );
        (
            Arc::new(Verdict {
                outcome: Outcome::Deny(denial),
                rule: None,
                revision: None,
            }),
            CacheState::NotNeeded,
        )
    }

    /// Joins the flight of a key, or starts it, or another beside one that is stuck. It goes on when its askers give up, and
    /// keeps what it finds.
    fn fly(
        &self,
        key: VerdictKey,
        question: Question,
        snapshot: Arc<TrustSnapshot>,
        waiting: Waiting,
    ) -> Result<Flight<Answer>, FlightError> {
        let admission = self.clone();
        let landing = key.clone();
        self.inner.flights.join(key, GATHER_DEADLINE, move || async move {
            let now = (admission.inner.clock)();
            let ByRules::Evidence(rule) = decide_by_rules(&snapshot, &question) else {
                let denial = Denial::new(Code::Internal, "the rule that asked for evidence is gone");
                return (
                    Arc::new(verdict(&snapshot, None, Outcome::Deny(denial))),
                    CacheState::NotNeeded,
                );
            };
            let mut turn = 1;
            loop {
                let changes = admission.changed_answers();
                let evaluation = evaluate::online(&admission.inner, &snapshot, rule, &question, now, waiting).await;
                let answer = admission.land(&landing, evaluation, now);
                // Revocation data that came meanwhile may end what was found. Then it is judged again, from what is at hand
                // now; what changes without end is answered and not remembered.
                if changes == admission.changed_answers() {
                    return answer;
                }
                admission.inner.verdicts.invalidate_if(|key, _| *key == landing);
                turn += 1;
                if turn > MAX_POLICY_CHANGES || !answer.0.outcome.admits() {
                    return answer;
                }
            }
        })
    }

    fn changed_answers(&self) -> u64 {
        self.inner.changed_answers.load(Ordering::SeqCst)
    }

    /// Remembers what a flight brings home. What could not be decided takes the place of no verdict that still holds: a
    /// refresh that meets a registry or plugin that is away ends no admit before its time.
    fn land(&self, key: &VerdictKey, evaluation: Evaluation, now: Timestamp) -> Answer {
        let Evaluation {
            explanation,
            cache,
            interval,
            not_stored: _,
        } = evaluation;
        let counter = match cache {
            CacheState::Gathered => &self.inner.statistics.gathers,
            _ => &self.inner.statistics.evidence_hits,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        let verdict = Arc::new(explanation.verdict);
        let undecided = verdict
            .outcome
            .denial()
            .is_some_and(|denial| denial.code.is_inconclusive());
        if !undecided || self.inner.verdicts.get(key, now).is_none() {
            self.inner.verdicts.insert(key.clone(), verdict.clone(), interval);
        }
        (verdict, cache)
    }

    fn count(&self, hook: Hook, decision: &Decision) {
        let statistics = &self.inner.statistics;
        let outcome = if decision.verdict.outcome.admits() {
            &statistics.admitted
        } else {
            &statistics.denied
        };
        outcome.fetch_add(1, Ordering::Relaxed);
        if decision.cache == CacheState::Verdict {
            statistics.verdict_hits.fetch_add(1, Ordering::Relaxed);
        }
        if let Some(last) = statistics.last_verdict.get(hook as usize) {
            last.store((self.inner.clock)().as_second(), Ordering::Relaxed);
        }
    }
}

/// What the rules say before any evidence is looked at.
pub(super) enum ByRules<'a> {
    Decided(Verdict),
    Evidence(&'a Rule),
}

/// Promise 2 and the order of precedence: the first matching rule, then `unmatched`. The deny-list and break-glass
/// stand before the rules once there is a source for them.
pub(super) fn decide_by_rules<'a>(snapshot: &'a TrustSnapshot, question: &Question) -> ByRules<'a> {
    let decision = snapshot
        .policy
        .decide(&question.repository, &question.descriptor.digest);
    ByRules::Decided(match decision {
        policy::Decision::Require { rule, .. } => return ByRules::Evidence(rule),
        policy::Decision::AdmitDigest { rule } => verdict(snapshot, Some(rule), Outcome::Admit(Ground::ListedDigest)),
        policy::Decision::Deny { rule, reason } => {
            let denial = Denial::new(Code::DeniedByRule, reason.to_string());
            verdict(snapshot, Some(rule), denial.under(rule.mode()))
        }
        policy::Decision::Unmatched(unmatched) => verdict(
            snapshot,
            None,
            Outcome::unmatched(unmatched, &question.repository.to_string()),
        ),
    })
}

pub(super) fn verdict(snapshot: &TrustSnapshot, rule: Option<&Rule>, outcome: Outcome) -> Verdict {
    Verdict {
        outcome,
        rule: rule.map(|rule| rule.name().into()),
        revision: Some(snapshot.revision().into()),
    }
}

pub(super) fn no_policy(trust: &TrustState) -> Verdict {
    let reason = match trust.rejected().and_then(|rejected| refusal(&rejected.diagnostics)) {
        Some(why) => format!("there is no good policy: {why}"),
        None => "there is no policy yet".to_owned(),
    };
    Verdict {
        outcome: Outcome::Deny(Denial::new(Code::PolicyInvalid, reason)),
        rule: None,
        revision: None,
    }
}

/// The first error in one line: a warning before it is not why the policy was refused.
fn refusal(diagnostics: &[Diagnostic]) -> Option<String> {
    let error = diagnostics.iter().find(|one| one.severity == Severity::Error)?;
    Some(error.one_line())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refusal_is_the_first_error_in_one_line() {
        let warning = Diagnostic::warning("policy.toml", "authority corp is not used");
        let error = Diagnostic::error("policy.toml", "no rule").with_help("write one");
        let later = Diagnostic::error("policy.toml", "unmatched is missing");
        let why = refusal(&[warning.clone(), error, later]);
        assert_eq!(why.as_deref(), Some("policy.toml: error: no rule; help: write one"));
        assert_eq!(refusal(&[warning]), None);
    }
}
