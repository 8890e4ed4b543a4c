//! Gather, judge, commit: what the evidence of one image says under one rule.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use assay_verify::Timestamp;
use assay_verify::circumstances::Circumstances;
use assay_verify::code::Code;
use assay_verify::evidence::{Signature, SignatureFormat};
use assay_verify::judge::{
    self, AttestationAsked, AuthorityReport, AuthorityTerms, Findings, Judgement, Permit, Progress, Rejection,
    Requirement, Subject,
};
use assay_verify::limits::{
    CONFIRMATION_DEADLINE, DENIAL_LIFETIME, GATHER_DEADLINE, GRACE_VERDICT_LIFETIME, MAX_QUERIES, MAX_SIGNATURES,
    MAX_VERDICT_LIFETIME,
};
use assay_verify::notation::steps;
use assay_verify::platform::NodePlatform;
use assay_verify::policy::{self, Conditions, Effect, Rule};
use assay_verify::query::{Answered, Answers, Query};
use assay_verify::reference::Repository;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::SignedDuration;
use tracing::{debug, warn};

use super::advice::advice;
use super::before_evidence::{self, BeforeEvidence, Reach};
use super::pipeline::{CacheState, Inner};
use super::question::Question;
use super::respondents::Respondents;
use super::verdict::{Denial, Ground, Outcome, Verdict};
use crate::cache::evidence::Extent;
use crate::cache::verdicts::Interval;
use crate::fetch::layout::Found;
use crate::fetch::{FetchError, Judged, Place, Skipped, Sought, Summary};
use crate::sync::Standing;
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

impl Evaluation {
    /// The same findings, with another outcome.
    fn decided(mut self, snapshot: &TrustSnapshot, rule: &Rule, outcome: Outcome) -> Self {
        self.explanation.verdict = before_evidence::verdict(snapshot, Some(rule), outcome);
        self.explanation.advice = advice(&self.explanation.verdict, &self.explanation.authorities);
        self
    }

    /// The same, with another reason where it is a denial.
    fn explained(mut self, explain: impl FnOnce(&str) -> String) -> Self {
        self.explanation.verdict.outcome = self.explanation.verdict.outcome.explained(explain);
        self
    }
}

/// Judges an image under a rule that demands evidence, by what may be looked at.
pub(super) async fn within(
    world: &Inner,
    snapshot: &Arc<TrustSnapshot>,
    rule: &Rule,
    question: &Question,
    now: Timestamp,
    reach: Reach,
    waiting: Waiting,
) -> Evaluation {
    match reach {
        Reach::Anywhere => online(world, snapshot, rule, question, now, waiting).await,
        Reach::Stored { expired } => {
            let stored = from_stored(world, snapshot, rule, question, now).await;
            if stored.explanation.verdict.outcome.admits() {
                return stored;
            }
            stored.decided(snapshot, rule, before_evidence::expired(expired).under(rule.mode()))
        }
    }
}

/// Judges an image by what is stored, without the network.
pub(super) async fn from_stored(
    world: &Inner,
    snapshot: &Arc<TrustSnapshot>,
    rule: &Rule,
    question: &Question,
    now: Timestamp,
) -> Evaluation {
    let stored = world.evidence.load(&question.repository, &question.descriptor).await;
    let arguments = Arguments::new(snapshot, rule, question, now);
    let mut judging = Judging::new(&world.respondents, arguments, Asked::Node);
    let nothing = stored.signatures.is_empty();
    judging.add(stored.signatures, Seen::Before).await;
    let newest = !judging.wants_everything() || stored.extent == Extent::Everything;
    let judgement = match judging.conclude().await {
        Judgement::Admit(permit) if !newest => undecided(permit, &not_asked_for(question)),
        judgement => judgement,
    };
    let gathered = Gathered {
        judgement,
        // Where something is stored, an admit rested on it: what it no longer satisfies is denied, as far as is known here.
        summary: nothing.then(|| not_begun(not_asked_for(question))),
        cache: CacheState::Evidence,
        unconfirmed: None,
    };
    conclude(snapshot, rule, gathered, now)
}

/// The registry was not asked.
fn not_asked_for(question: &Question) -> FetchError {
    FetchError::NotAsked {
        registry: question.repository.host().into(),
    }
}

/// Judges an image by its registry's word.
async fn online(
    world: &Inner,
    snapshot: &Arc<TrustSnapshot>,
    rule: &Rule,
    question: &Question,
    now: Timestamp,
    waiting: Waiting,
) -> Evaluation {
    let gathered = gather(world, snapshot, rule, question, now, waiting).await;
    let indexed = rule.accepts_platform_signatures() && question.descriptor.media_type.is_index();
    if indexed && has_nothing(&gathered) {
        return platforms(world, snapshot, rule, question, now, waiting, gathered).await;
    }
    conclude(snapshot, rule, gathered, now)
}

/// Whether a complete search found nothing that any authority of the rule would have to say. What says no, or may, stands:
/// the children's signatures do not outvote their index's own.
fn has_nothing(gathered: &Gathered) -> bool {
    let is_nothing = |code| matches!(code, Code::Unsigned | Code::AttestationMissing);
    let complete = |summary: &Summary| summary.incomplete.is_none();
    match &gathered.judgement {
        Judgement::Reject(rejection) => {
            let mut reports = rejection.reports.iter().filter_map(AuthorityReport::shortcoming);
            is_nothing(rejection.code)
                && reports.all(|(code, _)| is_nothing(code))
                && gathered.summary.as_ref().is_none_or(complete)
        }
        Judgement::Admit(_) | Judgement::Need(_) => false,
    }
}

/// What was found about an image.
struct Gathered {
    judgement: Judgement,
    /// What the search for signatures came to, where there was one.
    summary: Option<Summary>,
    cache: CacheState,
    /// Why it rests on what was stored: a registry that should have been asked did not answer.
    unconfirmed: Option<FetchError>,
}

/// Who waits for a judgement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Waiting {
    /// An asker, with a deadline of his own.
    Asker,
    /// Nobody: a verdict that still holds is looked at again.
    Nobody,
}

/// Judges an index by the signatures on its children, because the index itself has none that suffices: every child that
/// this node could run is an image that the rule has to admit.
async fn platforms(
    world: &Inner,
    snapshot: &Arc<TrustSnapshot>,
    rule: &Rule,
    question: &Question,
    now: Timestamp,
    waiting: Waiting,
    index: Gathered,
) -> Evaluation {
    let budget = world.registries.budget(tokio::time::Instant::now() + GATHER_DEADLINE);
    let node = NodePlatform::new(std::env::consts::OS, std::env::consts::ARCH);
    let listed = world
        .registries
        .runnable_children(&question.repository, &question.descriptor, &node, &budget)
        .await;
    let children = match listed {
        Ok(Ok(children)) => children,
        // What is wrong with the index is worth less than why it is not signed, but it may be an attack.
        Ok(Err(error)) => {
            return conclude(snapshot, rule, index, now)
                .explained(|reason| format!("{reason}; and no signature on its children counts: {error}"));
        }
        Err(error) => {
            let incomplete = Gathered {
                summary: Some(not_begun(error)),
                ..index
            };
            return conclude(snapshot, rule, incomplete, now);
        }
    };
    let mut permits = Vec::with_capacity(children.children().len());
    let mut unconfirmed = None;
    for child in children.children() {
        let question = Question {
            descriptor: child.clone(),
            ..question.clone()
        };
        // A rule that denies the child's digest stands, whatever name leads to it.
        if let BeforeEvidence::Decided(verdict) = before_evidence::decide(snapshot, Standing::Sound, &question, now)
            && !verdict.outcome.admits()
        {
            let denied = Evaluation {
                explanation: Explanation::without_evidence(verdict),
                cache: CacheState::Gathered,
                interval: denial_interval(now),
            };
            return denied.explained(|reason| {
                format!(
                    "the index is not signed, and its child {} is denied: {reason}",
                    child.digest
                )
            });
        }
        let gathered = gather(world, snapshot, rule, &question, now, waiting).await;
        match gathered.judgement {
            Judgement::Admit(permit) => {
                permits.push(*permit);
                unconfirmed = unconfirmed.or(gathered.unconfirmed);
            }
            _ => {
                return conclude(snapshot, rule, gathered, now)
                    .explained(|reason| format!("the index is not signed, nor its child {}: {reason}", child.digest));
            }
        }
    }
    let judgement = match Permit::of_every_child(&children, &permits) {
        Some(permit) => Judgement::Admit(Box::new(permit)),
        None => index.judgement,
    };
    let whole = Gathered {
        judgement,
        summary: None,
        cache: CacheState::Gathered,
        unconfirmed,
    };
    conclude(snapshot, rule, whole, now)
}

/// Finds what there is about an image: by what is stored, then by what the registry has.
async fn gather(
    world: &Inner,
    snapshot: &Arc<TrustSnapshot>,
    rule: &Rule,
    question: &Question,
    now: Timestamp,
    waiting: Waiting,
) -> Gathered {
    // Stored evidence that still admits needs no request to a registry: it is judged from its bytes, so it proves itself
    // again. With nothing stored this is the judgement without evidence, which only a rule that accepts the unverified
    // passes.
    let stored = world.evidence.load(&question.repository, &question.descriptor).await;
    let mut kept = stored.signatures;
    let arguments = Arguments::new(snapshot, rule, question, now);
    let mut judging = Judging::new(&world.respondents, arguments, Asked::Anybody);
    let stored_suffices = judging.add(kept.clone(), Seen::Before).await;
    let wants_everything = judging.wants_everything();
    if stored_suffices && !wants_everything {
        return Gathered {
            judgement: judging.conclude().await,
            summary: None,
            cache: CacheState::Evidence,
            unconfirmed: None,
        };
    }
    // Where the newest decides, only what was the newest when it was stored may stand in for what a registry does not say.
    let stands_in = stored_suffices && stored.extent == Extent::Everything;
    kept.retain(|signature| judging.rests_on(signature));

    let patience = match waiting {
        Waiting::Asker if stands_in => CONFIRMATION_DEADLINE,
        Waiting::Asker | Waiting::Nobody => GATHER_DEADLINE,
    };
    let budget = world.registries.budget(tokio::time::Instant::now() + patience);
    let places = judging.arguments.places();
    let mut search = world.registries.search(places, &question.descriptor, budget);
    if wants_everything {
        search.demand_the_newest();
    }
    while let Some(batch) = search.next_batch(&judging.judged).await {
        let enough = judging.add(batch.signatures.clone(), Seen::Now).await;
        // What satisfied nothing is dropped with its batch, and its share of the memory goes back.
        kept.extend(
            batch
                .signatures
                .iter()
                .filter(|signature| judging.rests_on(signature))
                .cloned(),
        );
        if enough && !wants_everything {
            break;
        }
    }
    let mut summary = search.finish();
    if wants_everything && judging.of_cosign > MAX_SIGNATURES {
        summary.incomplete = Some(too_many(question));
    }
    let lacking = summary.incomplete.clone().filter(|_| wants_everything);
    let judgement = judging.conclude().await;
    let (judgement, unconfirmed) = match (judgement, lacking) {
        (Judgement::Admit(permit), Some(error)) if !stands_in || !error.is_silence() => {
            (undecided(permit, &error), None)
        }
        (Judgement::Reject(rejection), lacking) => {
            // Something newer than what is stored denies, or there is nothing that admits: from now on no silence of a
            // registry may bring back what is stored.
            let decided = !rejection.code.is_inconclusive();
            if decided && wants_everything && (stored_suffices || lacking.is_none()) {
                forget(world, question).await;
            }
            (Judgement::Reject(rejection), None)
        }
        (judgement, lacking) => (judgement, lacking),
    };
    if let (Judgement::Admit(permit), None) = (&judgement, &unconfirmed) {
        // Persisting follows judging, and keeps only what the permit rests on: junk never fills the store.
        let digests = &permit.rests_on().digests;
        kept.retain(|signature| {
            digests.contains(signature.manifest().digest()) && digests.contains(&signature.layer().descriptor.digest)
        });
        let extent = if wants_everything {
            Extent::Everything
        } else {
            Extent::Enough
        };
        if let Err(error) = world
            .evidence
            .store(&question.repository, &question.descriptor, &kept, extent, now)
            .await
        {
            debug!("the evidence of {} is not kept: {error}", question.repository);
        }
    }
    Gathered {
        judgement,
        summary: Some(summary),
        cache: if unconfirmed.is_some() {
            CacheState::Evidence
        } else {
            CacheState::Gathered
        },
        unconfirmed,
    }
}

/// Removes what is stored for an image that is denied now.
async fn forget(world: &Inner, question: &Question) {
    if let Err(error) = world.evidence.remove(&question.repository, &question.descriptor).await {
        warn!(
            "the evidence of {} is denied and cannot be removed: {error}",
            question.repository
        );
    }
}

const NOTATION: Sought = Sought {
    notation: true,
    cosign: false,
    attestations: false,
};

const SIGNATURES: Sought = Sought {
    notation: false,
    cosign: true,
    attestations: false,
};

const ATTESTATIONS: Sought = Sought {
    notation: false,
    cosign: false,
    attestations: true,
};

/// Where an image's signatures are looked for, and which: what the authorities of a rule ask for, each place once.
fn places(requirement: &Requirement<'_>, repository: &Repository) -> Vec<Place> {
    let mut places: Vec<Place> = Vec::new();
    let mut seek =
        |repository: &Repository, sought: Sought| match places.iter_mut().find(|place| place.repository == *repository)
        {
            Some(place) => place.sought = place.sought.or(sought),
            None => places.push(Place {
                repository: repository.clone(),
                sought,
            }),
        };
    let authorities = requirement.authorities.iter().map(|(_, terms)| (terms, SIGNATURES));
    let attestations = requirement
        .attestations
        .iter()
        .map(|asked| (&asked.terms, ATTESTATIONS));
    for (terms, of_cosign) in authorities.chain(attestations) {
        match terms {
            AuthorityTerms::Notation { .. } => seek(repository, NOTATION),
            AuthorityTerms::Cosign { authority } => {
                seek(authority.repository.as_ref().unwrap_or(repository), of_cosign);
            }
            // No signature would change what these say.
            AuthorityTerms::Skip | AuthorityTerms::NotApplicable { .. } => {}
        }
    }
    places
}

/// Whether evidence was stored, because an earlier judgement rested on it, or has just been gathered.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Seen {
    Before,
    Now,
}

/// Who is asked for what a judgement lacks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Asked {
    /// Whoever knows.
    Anybody,
    /// This node alone: what it keeps, and its plugins.
    Node,
}

impl Asked {
    async fn ask(self, respondents: &Respondents, query: Query, now: Timestamp) -> (Query, Answered) {
        match self {
            Self::Anybody => respondents.ask(query, now).await,
            Self::Node => respondents.ask_node(query, now).await,
        }
    }
}

/// A judgement under way.
struct Judging<'w> {
    respondents: &'w Respondents,
    asked: Asked,
    arguments: Arc<Arguments>,
    findings: Findings,
    answers: Answers,
    judged: Judged,
    /// How many signatures of cosign's were given to the judge, who looks at the first [`MAX_SIGNATURES`].
    of_cosign: usize,
}

/// What does not change while an image is judged.
struct Arguments {
    snapshot: Arc<TrustSnapshot>,
    rule: Rule,
    question: Question,
    /// What the rule asks of evidence that was never seen before: nothing is stretched.
    without_grace: Conditions,
    now: Timestamp,
}

impl<'w> Judging<'w> {
    fn new(respondents: &'w Respondents, arguments: Arguments, asked: Asked) -> Self {
        Self {
            respondents,
            asked,
            findings: arguments.with_requirement(Seen::Now, Findings::new),
            arguments: Arc::new(arguments),
            answers: Answers::default(),
            judged: Judged::default(),
            of_cosign: 0,
        }
    }

    /// Whether the judgement rests on a signature so far, or may once the world has answered.
    fn rests_on(&self, signature: &Signature) -> bool {
        self.findings.rests_on(&signature.id())
    }

    /// Whether the judgement depends on all signatures that there are, and not on enough good ones.
    fn wants_everything(&self) -> bool {
        self.findings.wants_everything()
    }

    /// Judges more signatures, and asks the world for what they lack. Returns whether there are enough good ones now.
    async fn add(&mut self, signatures: Vec<Signature>, seen: Seen) -> bool {
        signatures.iter().for_each(|signature| self.judged.add(signature));
        self.of_cosign += signatures.iter().filter(|signature| is_of_cosign(signature)).count();
        let mut progress = self
            .judge(seen, move |findings, subject, requirement, circumstances| {
                findings.add(&signatures, subject, requirement, circumstances)
            })
            .await;
        // Whatever comes back is judged at once: a dead endpoint of one signature keeps no other from passing.
        let mut asked = BTreeSet::new();
        let mut asking = FuturesUnordered::new();
        loop {
            let queries = match progress {
                Progress::Enough => return true,
                Progress::NotEnough => return false,
                Progress::Needs(queries) => queries,
            };
            for query in queries {
                if asked.len() < MAX_QUERIES && asked.insert(query.clone()) {
                    asking.push(self.asked.ask(self.respondents, query, self.arguments.now));
                }
            }
            let Some((query, answered)) = asking.next().await else {
                return false;
            };
            self.answers.insert(query, answered);
            progress = self.judge(seen, Findings::answer).await;
        }
    }

    /// Judges on a thread for blocking work: a hostile image with a hundred long chains must not hold up the others.
    async fn judge(
        &mut self,
        seen: Seen,
        step: impl FnOnce(&mut Findings, &Subject<'_>, &Requirement<'_>, &Circumstances<'_>) -> Progress + Send + 'static,
    ) -> Progress {
        let arguments = self.arguments.clone();
        let (mut findings, answers) = (std::mem::take(&mut self.findings), std::mem::take(&mut self.answers));
        let judge = move || {
            let progress = arguments.with_requirement(seen, |requirement| {
                let circumstances = arguments.circumstances(&answers);
                step(&mut findings, &arguments.subject(), requirement, &circumstances)
            });
            (progress, findings, answers)
        };
        match tokio::task::spawn_blocking(judge).await {
            Ok((progress, findings, answers)) => {
                self.findings = findings;
                self.answers = answers;
                progress
            }
            // The flight ends with the panic of its judge, and every asker is denied.
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The runtime ends, and with it whoever waits for the answer.
            Err(_) => Progress::NotEnough,
        }
    }

    /// Ends the judgement. What the world said and was found to be signed by those who may is kept, whatever came of it:
    /// that a certificate is revoked is worth as much as that it is not.
    async fn conclude(self) -> Judgement {
        self.respondents.keep(self.findings.proven()).await;
        let arguments = self.arguments;
        arguments.with_requirement(Seen::Now, |requirement| {
            self.findings.conclude(&arguments.subject(), requirement)
        })
    }
}

impl Arguments {
    fn new(snapshot: &Arc<TrustSnapshot>, rule: &Rule, question: &Question, now: Timestamp) -> Self {
        Self {
            snapshot: snapshot.clone(),
            rule: rule.clone(),
            question: question.clone(),
            without_grace: rule.conditions().map(Conditions::without_grace).unwrap_or_default(),
            now,
        }
    }

    fn subject(&self) -> Subject<'_> {
        Subject {
            repository: &self.question.repository,
            descriptor: &self.question.descriptor,
        }
    }

    fn places(&self) -> Vec<Place> {
        self.with_requirement(Seen::Now, |requirement| places(requirement, &self.question.repository))
    }

    fn circumstances<'a>(&'a self, answers: &'a Answers) -> Circumstances<'a> {
        Circumstances {
            answers,
            local: &self.snapshot.revocation,
            ..Circumstances::at(self.now)
        }
    }

    fn with_requirement<T>(&self, seen: Seen, use_it: impl FnOnce(&Requirement<'_>) -> T) -> T {
        // A rule without a requirement demands nothing, and nothing is never enough.
        let asked = match self.rule.effect() {
            Effect::Require { requirements, .. } => Some(requirements),
            _ => None,
        };
        let terms = |name| self.snapshot.terms(name, &self.question.repository);
        let signatures = asked.and_then(policy::Requirements::signatures);
        let names = signatures.map(policy::Requirement::authorities).unwrap_or_default();
        let authorities: Vec<_> = names.iter().map(|name| (name.as_str(), terms(name))).collect();
        let attestations = asked.map(policy::Requirements::attestations).unwrap_or_default();
        let attestations: Vec<_> = attestations
            .iter()
            .map(|requirement| AttestationAsked {
                authority: requirement.authority().as_str(),
                terms: terms(requirement.authority()),
                requirement,
            })
            .collect();
        use_it(&Requirement {
            needed: signatures.map_or(0, policy::Requirement::needed),
            authorities: &authorities,
            attestations: &attestations,
            accept_unverified: self.rule.accepts_unverified(),
            conditions: match seen {
                Seen::Before => self.rule.conditions().unwrap_or(&self.without_grace),
                Seen::Now => &self.without_grace,
            },
        })
    }
}

/// Judges an image from evidence in hand, without a daemon, a store or a network.
pub fn offline(snapshot: &Arc<TrustSnapshot>, question: &Question, found: &Found, now: Timestamp) -> Explanation {
    match before_evidence::decide(snapshot, Standing::Sound, question, now) {
        BeforeEvidence::Decided(verdict) => Explanation::without_evidence(verdict),
        BeforeEvidence::Evidence(rule, _) => {
            let arguments = Arguments::new(snapshot, rule, question, now);
            let nobody_asked = Answers::default();
            let circumstances = arguments.circumstances(&nobody_asked);
            let (judgement, wants_everything) = arguments.with_requirement(Seen::Now, |requirement| {
                let judgement = judge::judge(&found.signatures, &arguments.subject(), requirement, &circumstances);
                (judgement, Findings::new(requirement).wants_everything())
            });
            let mut incomplete = found.incomplete.clone();
            if wants_everything {
                let of_cosign = found.signatures.iter().filter(|signature| is_of_cosign(signature));
                let unjudged = (of_cosign.count() > MAX_SIGNATURES).then(|| too_many(question));
                incomplete = incomplete.or(unjudged).or_else(|| found.unread.clone());
            }
            let judgement = match (judgement, &incomplete) {
                (Judgement::Admit(permit), Some(error)) if wants_everything => undecided(permit, error),
                (judgement, _) => judgement,
            };
            let gathered = Gathered {
                judgement,
                summary: Some(Summary {
                    skipped: found.skipped.clone(),
                    incomplete,
                    ..Summary::default()
                }),
                cache: CacheState::Gathered,
                unconfirmed: None,
            };
            conclude(snapshot, rule, gathered, now).explanation
        }
    }
}

fn is_of_cosign(signature: &Signature) -> bool {
    signature.layer().format != SignatureFormat::Notation
}

/// There is more than the judge looks at.
fn too_many(question: &Question) -> FetchError {
    FetchError::TooManySignatures {
        registry: question.repository.host().into(),
        what: question.descriptor.digest.to_string().into(),
    }
}

/// The statement that would decide may be the one that is not there to be judged.
fn undecided(mut permit: Box<Permit>, error: &FetchError) -> Judgement {
    Judgement::Reject(Rejection {
        code: error.code(),
        reason: error.to_string(),
        reports: permit.take_reports(),
    })
}

/// A search that could not even be begun.
fn not_begun(error: FetchError) -> Summary {
    Summary {
        incomplete: Some(error),
        ..Summary::default()
    }
}

/// Makes a verdict of a judgement. What could not be fetched might have satisfied the rule: then the denial says so, and
/// is inconclusive, not a rejection.
fn conclude(snapshot: &TrustSnapshot, rule: &Rule, gathered: Gathered, now: Timestamp) -> Evaluation {
    let Gathered {
        judgement,
        summary,
        cache,
        unconfirmed,
    } = gathered;
    let (skipped, incomplete) = summary
        .map(|summary| (summary.skipped, summary.incomplete))
        .unwrap_or_default();
    let (outcome, authorities, interval) = match (judgement, incomplete) {
        (Judgement::Admit(permit), _) if permit.rests_on().denied_by(&snapshot.denials).is_some() => {
            // A child of the index, mostly: of signatures the judge knows it already.
            let entry = permit.rests_on().denied_by(&snapshot.denials);
            let reason = entry.map(ToString::to_string).unwrap_or_default();
            (
                Outcome::Deny(Denial::new(Code::DeniedByList, reason)),
                Vec::new(),
                denial_interval(now),
            )
        }
        (Judgement::Admit(mut permit), _) => {
            // What the registry would have said is asked for again soon.
            let longest = match &unconfirmed {
                Some(_) => GRACE_VERDICT_LIFETIME,
                None => MAX_VERDICT_LIFETIME,
            };
            let interval = admit_interval(permit.interval(), longest, now);
            // The verdict is remembered, by the thousand; what was found is told once.
            let authorities = permit.take_reports();
            (
                Outcome::Admit(match unconfirmed {
                    Some(error) => Ground::StoredEvidence {
                        permit: Arc::from(permit),
                        unconfirmed: error.to_string().into(),
                    },
                    None => Ground::Evidence(Arc::from(permit)),
                }),
                authorities,
                interval,
            )
        }
        // Somebody has to be asked, and there is nobody to ask, or more than may be asked.
        (Judgement::Need(need), _) => (
            not_asked(&need.queries).under(rule.mode()),
            need.reports,
            denial_interval(now),
        ),
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
    let verdict = before_evidence::verdict(snapshot, Some(rule), outcome);
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

fn not_asked(queries: &[Query]) -> Denial {
    let is_plugin = |query: &Query| matches!(query, Query::PluginMetadata(_) | Query::PluginVerdict { .. });
    let code = if queries.iter().any(is_plugin) {
        Code::PluginUnavailable
    } else {
        Code::RevocationUnknown
    };
    let names: Vec<_> = queries.iter().map(ToString::to_string).take(3).collect();
    Denial::new(code, format!("not asked: {}", names.join("; ")))
}

/// A verdict holds while nothing it rests on changes, and at most so long; half way through it is served while it is
/// refreshed.
fn admit_interval(permit: steps::Interval, longest: Duration, now: Timestamp) -> Interval {
    let longest = now.saturating_add(signed(longest)).unwrap_or(now);
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

fn signed(duration: Duration) -> SignedDuration {
    SignedDuration::try_from(duration).unwrap_or(SignedDuration::MAX)
}
