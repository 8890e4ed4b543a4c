//! How a question becomes a verdict, and who waits for what.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use assay_verify::Timestamp;
use assay_verify::code::Code;
use assay_verify::deny_list::DenyList;
use assay_verify::digest::Digest;
use assay_verify::document::{Diagnostic, Severity};
use assay_verify::limits::{
    GATHER_DEADLINE, MAX_CACHED_VERDICTS, MAX_CONCURRENT_GATHERS, MAX_POLICY_CHANGES, STALE_GATHER, VERIFY_DEADLINE,
};
use assay_verify::query::QueryId;
use assay_verify::untrusted::Untrusted;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout_at;
use tracing::warn;
use uuid::Uuid;

use super::before_evidence::{self, BeforeEvidence, Sources, verdict};
use super::bundle::{Bundle, Imported};
use super::decision_log::DecisionLog;
use super::evaluate::{self, Evaluation, Explanation, Waiting};
use super::events;
use super::export::{self, Exported};
use super::ledger::Ledger;
use super::question::{Hook, Question, QuestionError};
use super::respondents::Respondents;
use super::statistics::Statistics;
use super::tree::{self, Tree};
use super::verdict::{Denial, Outcome, Verdict};
use super::withdrawal::Withdrawals;
use crate::cache::evidence::{EvidenceStore, NotStored};
use crate::cache::single_flight::{Flight, FlightError, SingleFlight};
use crate::cache::verdicts::{VerdictCache, VerdictKey};
use crate::fetch::Client;
use crate::sync::Status;
use crate::trust::{Rejected, TrustSnapshot, TrustState, VerifiedFiles};

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

/// The pipeline. Clones share everything.
#[derive(Clone)]
pub struct Admission {
    pub(super) inner: Arc<Inner>,
}

pub(super) struct Inner {
    pub(super) trust: Arc<TrustState>,
    pub(super) registries: Client,
    pub(super) evidence: EvidenceStore,
    pub(super) respondents: Respondents,
    pub(super) clock: Clock,
    pub(super) sync: Status,
    pub(super) withdrawals: Withdrawals,
    verdicts: VerdictCache<Arc<Verdict>>,
    flights: SingleFlight<VerdictKey, Answer>,
    statistics: Statistics,
    decision_log: OnceLock<DecisionLog>,
    ledger: OnceLock<Ledger>,
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
        sync: Status,
    ) -> Self {
        let inner = Inner {
            trust,
            registries,
            evidence,
            respondents,
            clock,
            sync,
            withdrawals: Withdrawals::default(),
            verdicts: VerdictCache::new(MAX_CACHED_VERDICTS),
            flights: SingleFlight::new(MAX_CONCURRENT_GATHERS, STALE_GATHER),
            statistics: Statistics::default(),
            decision_log: OnceLock::new(),
            ledger: OnceLock::new(),
            reloads: watch::Sender::new(()),
            changed_answers: AtomicU64::new(0),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Has every decision from now on written to a log. The first log stays.
    pub fn keep_decisions(&self, log: DecisionLog) {
        let _ = self.inner.decision_log.set(log);
    }

    /// The log of decisions, where there is one.
    pub fn decision_log(&self) -> Option<&DecisionLog> {
        self.inner.decision_log.get()
    }

    /// Has it remembered what hooks are told. The first ledger stays.
    pub fn keep_ledger(&self, ledger: Ledger) {
        let _ = self.inner.ledger.set(ledger);
    }

    /// What hooks were told, where that is remembered.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.inner.ledger.get()
    }

    /// Decides a question within [`VERIFY_DEADLINE`], and logs the decision once.
    pub async fn decide(&self, question: &Question) -> Decision {
        let started = Instant::now();
        let _in_flight = self.inner.statistics.asked();
        let (verdict, cache) = self.verdict(question, started).await;
        if verdict.outcome.admits() {
            self.inner.withdrawals.admitted(question);
        }
        let decision = Decision {
            id: Uuid::now_v7(),
            verdict,
            cache,
            duration: started.elapsed(),
        };
        let now = (self.inner.clock)();
        self.inner.statistics.count(Some(question.hook), &decision, now);
        events::decided(question, &decision);
        if let Some(log) = self.decision_log() {
            log.record(now, Some(question), Some(question.hook), &decision);
        }
        self.remember(question, &decision.verdict, now);
        decision
    }

    /// Denies a question that is not well-formed, and logs it.
    pub fn malformed(&self, name: &str, digest: &str, hook: Option<Hook>, error: &QuestionError) -> Decision {
        let verdict = Verdict {
            outcome: Outcome::Deny(Denial::new(Code::RequestMalformed, error.to_string())),
            rule: None,
            revision: None,
        };
        let decision = Decision {
            id: Uuid::now_v7(),
            verdict: Arc::new(verdict),
            cache: CacheState::NotNeeded,
            duration: Duration::ZERO,
        };
        let now = (self.inner.clock)();
        self.inner.statistics.count(hook, &decision, now);
        if let Some(log) = self.decision_log() {
            log.record(now, None, hook, &decision);
        }
        warn!(
            message_id = events::MALFORMED,
            assay_image = %Untrusted::from(name),
            assay_digest = %Untrusted::from(digest),
            assay_verdict = "deny",
            assay_code = Code::RequestMalformed.as_str(),
            assay_decision_id = %decision.id,
            "deny {}: the question is malformed: {error}",
            Untrusted::from(name)
        );
        decision
    }

    /// Judges afresh, past the verdict cache, and keeps what every step said.
    pub async fn explain(&self, question: &Question) -> Explanation {
        let Some(snapshot) = self.inner.trust.current() else {
            return Explanation::without_evidence(no_policy(&self.inner.trust));
        };
        self.explain_under(&snapshot, question, false).await
    }

    /// Judges afresh under a policy that is proposed, as [`Admission::explain`] does under the one in force. `offline` looks at what
    /// is stored alone.
    pub async fn explain_under(
        &self,
        snapshot: &Arc<TrustSnapshot>,
        question: &Question,
        offline: bool,
    ) -> Explanation {
        let now = (self.inner.clock)();
        match before_evidence::decide(snapshot, self.inner.sync.standing(now), question, now) {
            BeforeEvidence::Decided(verdict) => Explanation::without_evidence(verdict),
            BeforeEvidence::Evidence(rule, _) if offline => {
                evaluate::stored(&self.inner, snapshot, rule, question, now)
                    .await
                    .explanation
            }
            BeforeEvidence::Evidence(rule, sources) => {
                evaluate::within(&self.inner, snapshot, rule, question, now, sources, Waiting::Asker)
                    .await
                    .explanation
            }
        }
    }

    /// Judges by the policy in force and by what is stored, without a network: no registry is searched, no endpoint and no
    /// plugin asked. Where that does not suffice for an admit the denial is inconclusive ([`Code::is_inconclusive`]), because the
    /// registry may have what lacks. It touches neither the verdicts in memory nor the order in which evidence is evicted.
    pub async fn judge_stored(&self, question: &Question) -> Explanation {
        let Some(snapshot) = self.inner.trust.current() else {
            return Explanation::without_evidence(no_policy(&self.inner.trust));
        };
        self.explain_under(&snapshot, question, true).await
    }

    /// The same for what was admitted under another policy or deny-list. An admit is remembered, so that the next asker waits for
    /// nobody, and so is a denial by the list, as long as any denial: after that the registry may have another signature.
    pub(super) async fn judge_anew(&self, question: &Question) -> Arc<Verdict> {
        let now = (self.inner.clock)();
        let Some(snapshot) = self.inner.trust.current() else {
            return Arc::new(no_policy(&self.inner.trust));
        };
        match before_evidence::decide(&snapshot, self.inner.sync.standing(now), question, now) {
            BeforeEvidence::Decided(verdict) => Arc::new(verdict),
            BeforeEvidence::Evidence(rule, _) => {
                let evaluation = evaluate::stored(&self.inner, &snapshot, rule, question, now).await;
                // Audit mode admits what was not looked for, and would go on to say no more than that.
                let denial = evaluation.explanation.verdict.outcome.denial();
                if denial.is_some_and(|denial| denial.code != Code::DeniedByList) {
                    return Arc::new(evaluation.explanation.verdict);
                }
                self.land(&key(question, &snapshot), evaluation, now).0
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
        let standing = self.inner.sync.standing(now);
        let imported = match before_evidence::decide_without_exceptions(&snapshot, standing, question, now) {
            BeforeEvidence::Decided(verdict) => decided(verdict),
            // What is brought is no more stored than what a registry has.
            BeforeEvidence::Evidence(rule, Sources::Stored { expired }) => decided(verdict(
                &snapshot,
                Some(rule),
                before_evidence::expired(expired).under(rule.mode()),
            )),
            BeforeEvidence::Evidence(rule, Sources::All) => {
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
        let before = self.inner.trust.current();
        let outcome = self.inner.trust.reload((self.inner.clock)());
        self.came_into_force(before, &outcome, why);
        outcome.is_ok()
    }

    /// Brings a generation of the policy repository into force, and says what came of it.
    ///
    /// # Errors
    ///
    /// What is wrong, where it could not come into force, or something that this node adds is broken.
    pub fn activate(&self, files: VerifiedFiles, why: &str) -> Result<Arc<TrustSnapshot>, Arc<Rejected>> {
        let before = self.inner.trust.current();
        let outcome = self.inner.trust.activate(files, (self.inner.clock)());
        self.came_into_force(before, &outcome, why);
        outcome
    }

    /// Denies from now on what a verified deny-list names, although the generation that it came with cannot come into force.
    pub fn deny_at_once(&self, list: &DenyList) {
        let before = self.inner.trust.current();
        self.inner.trust.deny_at_once(list);
        self.withdraw(before);
    }

    fn came_into_force(
        &self,
        before: Option<Arc<TrustSnapshot>>,
        outcome: &Result<Arc<TrustSnapshot>, Arc<Rejected>>,
        why: &str,
    ) {
        self.withdraw(before);
        events::reloaded(&self.inner.trust, outcome, why);
        self.inner.reloads.send_replace(());
    }

    /// Forgets the verdicts that no longer stand, and has them judged again from what is stored: those of another generation,
    /// and those that the deny-list touches now. Others stay.
    fn withdraw(&self, before: Option<Arc<TrustSnapshot>>) {
        let Some(current) = self.inner.trust.current() else {
            return;
        };
        let verdicts = &self.inner.verdicts;
        let taken = match &before {
            Some(before) if before.generation == current.generation => {
                if Arc::ptr_eq(&before.denials, &current.denials) {
                    return;
                }
                let denials = &current.denials;
                verdicts.take_if(|key, verdict| is_denied(denials, &key.descriptor.digest, verdict))
            }
            // Their keys name another generation: they can never be asked for again.
            _ => verdicts.take_if(|_, _| true),
        };
        let admitted = taken.into_iter().filter(|(_, verdict)| verdict.outcome.admits());
        self.inner.withdrawals.add(admitted.map(|(key, _)| key));
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

    /// Whether an answer holds under what is in force now: a policy or a denial that came meanwhile decides instead.
    fn holds(&self, judged_under: &TrustSnapshot, question: &Question, verdict: &Verdict) -> bool {
        let Some(current) = self.inner.trust.current() else {
            return false;
        };
        let digest = &question.descriptor.digest;
        current.generation == judged_under.generation && !is_denied(&current.denials, digest, verdict)
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

    /// What is known of the policy repository.
    pub fn sync(&self) -> &Status {
        &self.inner.sync
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
            let now = (self.inner.clock)();
            let (rule, sources) = match before_evidence::decide(&snapshot, self.inner.sync.standing(now), question, now)
            {
                BeforeEvidence::Decided(verdict) => return (Arc::new(verdict), CacheState::NotNeeded),
                BeforeEvidence::Evidence(rule, sources) => (rule, sources),
            };
            let key = key(question, &snapshot);
            // A flight that landed after the deny-list changed may have brought a verdict home that it touches.
            let remembered = self.inner.verdicts.get(&key, now);
            if let Some(hit) = remembered.filter(|hit| self.holds(&snapshot, question, &hit.value)) {
                if hit.refresh_due && sources == Sources::All {
                    // Nobody waits for it; what it finds replaces the verdict.
                    drop(self.fly(key, question.clone(), snapshot.clone(), sources, Waiting::Nobody));
                }
                return (hit.value, CacheState::Verdict);
            }
            let flight = async {
                let flight = self.fly(key, question.clone(), snapshot.clone(), sources, Waiting::Asker)?;
                flight.outcome().await
            };
            let denial = match timeout_at((started + VERIFY_DEADLINE).into(), flight).await {
                Ok(Ok(answer)) if !self.holds(&snapshot, question, &answer.0) => continue,
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
        sources: Sources,
        waiting: Waiting,
    ) -> Result<Flight<Answer>, FlightError> {
        let admission = self.clone();
        let landing = key.clone();
        self.inner.flights.join(key, GATHER_DEADLINE, move || async move {
            let now = (admission.inner.clock)();
            // The deny-list may have changed since the asker looked.
            let current = admission.inner.trust.current();
            let snapshot = current
                .filter(|current| current.generation == snapshot.generation)
                .unwrap_or(snapshot);
            let rule = match before_evidence::decide(&snapshot, admission.inner.sync.standing(now), &question, now) {
                BeforeEvidence::Evidence(rule, _) => rule,
                BeforeEvidence::Decided(verdict) => return (Arc::new(verdict), CacheState::NotNeeded),
            };
            let mut turn = 1;
            loop {
                let changes = admission.changed_answers();
                let evaluation =
                    evaluate::within(&admission.inner, &snapshot, rule, &question, now, sources, waiting).await;
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
}

fn key(question: &Question, snapshot: &TrustSnapshot) -> VerdictKey {
    VerdictKey {
        repository: question.repository.clone(),
        descriptor: question.descriptor.clone(),
        hook: question.hook,
        generation: snapshot.generation,
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

/// Whether a deny-list names an image, or what its admit rests on.
fn is_denied(denials: &DenyList, digest: &Digest, verdict: &Verdict) -> bool {
    verdict.outcome.admits() && (denials.image(digest).is_some() || verdict.denied_by(denials).is_some())
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
