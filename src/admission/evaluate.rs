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
    CONFIRMATION_DEADLINE, DENIAL_LIFETIME, GATHER_DEADLINE, GRACE_VERDICT_LIFETIME, MAX_QUERIES, MAX_QUERY_ROUNDS,
    MAX_SIGNATURES, MAX_VERDICT_LIFETIME,
};
use assay_verify::notation::steps;
use assay_verify::platform::NodePlatform;
use assay_verify::policy::{self, Conditions, Effect, Rule};
use assay_verify::query::{Answered, Answers, Proven, Query};
use assay_verify::reference::Repository;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use jiff::SignedDuration;
use tracing::{debug, warn};

use super::advice::advice;
use super::before_evidence::{self, BeforeEvidence, Sources};
use super::bundle::Bundle;
use super::children::{Children, undecided};
pub(super) use super::gathering::Waiting;
use super::gathering::{Seeking, Source, fetch_index, too_many};
use super::pipeline::{CacheState, Inner};
use super::question::Question;
use super::respondents::{Reach, Respondents};
use super::verdict::{Denial, Ground, Outcome, Verdict};
use crate::cache::evidence::{Extent, NotStored, Stored};
use crate::cache::verdicts::Interval;
use crate::fetch::layout::{Found, THE_LAYOUT};
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
    /// Why what an admit rests on is not kept.
    pub(super) not_stored: Option<NotStored>,
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
    sources: Sources,
    waiting: Waiting,
) -> Evaluation {
    match sources {
        Sources::All => online(world, snapshot, rule, question, now, waiting).await,
        Sources::Stored { expired } => {
            let from_store = stored(world, snapshot, rule, question, now).await;
            if from_store.explanation.verdict.outcome.admits() {
                return from_store;
            }
            from_store.decided(snapshot, rule, before_evidence::expired(expired).under(rule.mode()))
        }
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
    from(world, snapshot, rule, question, now, Source::Registries(waiting)).await
}

/// Judges an image by what somebody brings and what is stored, and stores what an admit rests on.
pub(super) async fn brought(
    world: &Inner,
    snapshot: &Arc<TrustSnapshot>,
    rule: &Rule,
    question: &Question,
    now: Timestamp,
    bundle: &dyn Bundle,
) -> Evaluation {
    from(world, snapshot, rule, question, now, Source::Bundle(bundle)).await
}

async fn from(
    world: &Inner,
    snapshot: &Arc<TrustSnapshot>,
    rule: &Rule,
    question: &Question,
    now: Timestamp,
    source: Source<'_>,
) -> Evaluation {
    let recalled = Recalled::new(world, snapshot, rule, question, now, source.reach()).await;
    // What is brought is stored for each child, whether it was stored before or not.
    if !source.is_bundle()
        && let Some(gathered) = recalled.of_platforms(world, snapshot, rule, question).await
    {
        return conclude(snapshot, rule, gathered, now);
    }
    let gathered = gather(world, question, source, recalled).await;
    let indexed = rule.accepts_platform_signatures() && question.descriptor.media_type.is_index();
    if indexed && has_nothing(&gathered) {
        return platforms(world, snapshot, rule, question, now, source, gathered).await;
    }
    conclude(snapshot, rule, gathered, now)
}

/// Judges an image by what is stored alone. No registry is searched and nobody is asked. What lacks for an admit may be in the
/// registry: then the denial is inconclusive. It is conclusive where evidence of somebody who may sign is there, and is not
/// good any more.
pub(super) async fn stored(
    world: &Inner,
    snapshot: &Arc<TrustSnapshot>,
    rule: &Rule,
    question: &Question,
    now: Timestamp,
) -> Evaluation {
    let recalled = Recalled::new(world, snapshot, rule, question, now, Reach::Kept).await;
    if let Some(gathered) = recalled.of_platforms(world, snapshot, rule, question).await {
        return conclude(snapshot, rule, gathered, now);
    }
    let gathered = recalled.alone(question).await;
    conclude(snapshot, rule, gathered, now)
}

/// What is stored for an image, judged.
struct Recalled<'w> {
    stored: Stored,
    judging: Judging<'w>,
    /// Whether it satisfies the rule. Where the newest decides, it may be not the newest.
    suffices: bool,
}

impl<'w> Recalled<'w> {
    async fn new(
        world: &'w Inner,
        snapshot: &Arc<TrustSnapshot>,
        rule: &Rule,
        question: &Question,
        now: Timestamp,
        reach: Reach<'w>,
    ) -> Self {
        let (repository, descriptor) = (&question.repository, &question.descriptor);
        let stored = match reach {
            Reach::World => world.evidence.load(repository, descriptor).await,
            Reach::Kept | Reach::Bundle(_) => world.evidence.peek(repository, descriptor).await,
        };
        let arguments = Arguments::new(snapshot, rule, question, now);
        let mut judging = Judging::new(&world.respondents, reach, arguments);
        let suffices = judging.add(stored.signatures.clone(), Seen::Before).await;
        Self {
            stored,
            judging,
            suffices,
        }
    }

    /// The index, or why it is not there.
    fn children(&self, question: &Question) -> Children {
        match (&self.stored.index, question.descriptor.media_type.is_index()) {
            (_, false) => Children::None,
            (Some(index), true) => Children::Known(Arc::clone(index)),
            (None, true) => Children::Unknown(not_asked_for(question)),
        }
    }

    /// Admits an index by what is stored for its children, where it was stored without a signature of its own because a
    /// whole search had found none. None where that does not suffice.
    async fn of_platforms(
        &self,
        world: &Inner,
        snapshot: &Arc<TrustSnapshot>,
        rule: &Rule,
        question: &Question,
    ) -> Option<Gathered> {
        let index = self.stored.index.as_ref()?;
        let by_platforms = rule.accepts_platform_signatures() && self.stored.signatures.is_empty();
        if !by_platforms || self.suffices || self.judging.wants_everything() {
            return None;
        }
        let runnable = index.runnable(&this_node()).ok()?;
        let now = self.judging.arguments.now;
        let mut permits = Vec::with_capacity(runnable.children().len());
        for child in runnable.children() {
            let question = Question {
                descriptor: child.clone(),
                ..question.clone()
            };
            let decided = before_evidence::decide(snapshot, Standing::Sound, &question, now);
            if let BeforeEvidence::Decided(verdict) = decided
                && !verdict.outcome.admits()
            {
                return None;
            }
            let recalled = Recalled::new(world, snapshot, rule, &question, now, self.judging.reach).await;
            match recalled.alone(&question).await.judgement {
                Judgement::Admit(permit) => permits.push(*permit),
                Judgement::Need(_) | Judgement::Reject(_) => return None,
            }
        }
        let permit = Permit::of_every_child(&runnable, &permits)?;
        let children = Children::Known(Arc::clone(index));
        Some(Gathered {
            judgement: children.bound_to(Judgement::Admit(Box::new(permit)), &snapshot.denials),
            summary: None,
            cache: CacheState::Evidence,
            unconfirmed: None,
            children,
            extent: self.stored.extent,
            not_stored: None,
        })
    }

    /// What it comes to when nothing else is asked for.
    async fn alone(self, question: &Question) -> Gathered {
        let children = self.children(question);
        let snapshot = Arc::clone(&self.judging.arguments.snapshot);
        let not_asked = not_asked_for(question);
        let newest_decides = self.judging.wants_everything();
        let was_newest = !newest_decides || self.stored.extent == Extent::Everything;
        let judgement = match self.judging.conclude().await {
            Judgement::Admit(permit) if !was_newest => undecided(permit, &not_asked),
            Judgement::Reject(rejection) if is_lack(rejection.code) => Judgement::Reject(Rejection {
                code: not_asked.code(),
                reason: format!("{not_asked}, and what is stored does not suffice: {}", rejection.reason),
                reports: rejection.reports,
            }),
            judgement => judgement,
        };
        let judgement = children.bound_to(judgement, &snapshot.denials);
        Gathered {
            unconfirmed: Some(not_asked).filter(|_| newest_decides && matches!(judgement, Judgement::Admit(_))),
            judgement,
            summary: None,
            cache: CacheState::Evidence,
            children,
            extent: self.stored.extent,
            not_stored: None,
        }
    }
}

/// Whether a rejection says that nothing is there of whoever has to sign, rather than that it is not good.
fn is_lack(code: Code) -> bool {
    matches!(
        code,
        Code::AttestationMissing | Code::IdentityMismatch | Code::Unsigned | Code::UntrustedSigner
    )
}

fn not_asked_for(question: &Question) -> FetchError {
    FetchError::NotAsked {
        registry: question.repository.host().into(),
    }
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
    children: Children,
    extent: Extent,
    /// Why what it rests on is not kept.
    not_stored: Option<NotStored>,
}

/// Judges an index by the signatures on its children, because the index itself has none that suffices: every child that
/// this node could run is an image that the rule has to admit.
async fn platforms(
    world: &Inner,
    snapshot: &Arc<TrustSnapshot>,
    rule: &Rule,
    question: &Question,
    now: Timestamp,
    source: Source<'_>,
    mut index: Gathered,
) -> Evaluation {
    let listed = match &index.children {
        Children::Known(listed) => Arc::clone(listed),
        Children::Unknown(error) => {
            index.summary = Some(not_begun(error.clone()));
            return conclude(snapshot, rule, index, now);
        }
        Children::None => return conclude(snapshot, rule, index, now),
    };
    let children = match listed.runnable(&this_node()) {
        Ok(children) => children,
        // What is wrong with the index is worth less than why it is not signed, but it may be an attack.
        Err(error) => {
            return conclude(snapshot, rule, index, now)
                .explained(|reason| format!("{reason}; and no signature on its children counts: {error}"));
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
                not_stored: None,
            };
            return denied.explained(|reason| {
                format!(
                    "the index is not signed, and its child {} is denied: {reason}",
                    child.digest
                )
            });
        }
        let recalled = Recalled::new(world, snapshot, rule, &question, now, source.reach()).await;
        let gathered = gather(world, &question, source, recalled).await;
        match gathered.judgement {
            Judgement::Admit(permit) => {
                permits.push(*permit);
                unconfirmed = unconfirmed.or(gathered.unconfirmed);
                index.not_stored = index.not_stored.or(gathered.not_stored);
            }
            _ => {
                return conclude(snapshot, rule, gathered, now)
                    .explained(|reason| format!("the index is not signed, nor its child {}: {reason}", child.digest));
            }
        }
    }
    if let Some(permit) = Permit::of_every_child(&children, &permits) {
        let judgement = Judgement::Admit(Box::new(permit));
        index.judgement = index.children.bound_to(judgement, &snapshot.denials);
        index.summary = None;
        if unconfirmed.is_none() {
            // The index itself has nothing; each child's evidence is stored as the child's.
            index.keep(world, snapshot, question, Vec::new(), source, now).await;
        }
        index.unconfirmed = unconfirmed;
    }
    conclude(snapshot, rule, index, now)
}

fn this_node() -> NodePlatform {
    NodePlatform::new(std::env::consts::OS, std::env::consts::ARCH)
}

/// Finds what there is about an image: by what is stored, then by what the registry has, or somebody brings.
async fn gather(world: &Inner, question: &Question, source: Source<'_>, recalled: Recalled<'_>) -> Gathered {
    // Stored evidence that still admits needs no request to a registry: it is judged from its bytes, so it proves itself
    // again. With nothing stored this is the judgement without evidence, which only a rule that accepts the unverified
    // passes.
    let Recalled {
        stored,
        mut judging,
        suffices: stored_suffices,
    } = recalled;
    let now = judging.arguments.now;
    let snapshot = Arc::clone(&judging.arguments.snapshot);
    let mut kept = stored.signatures;
    let wants_everything = judging.wants_everything();
    let is_index = question.descriptor.media_type.is_index();
    let needs_search = !stored_suffices || wants_everything;
    let needs_index = is_index && stored.index.is_none();
    if !needs_search && !needs_index {
        let children = stored.index.map_or(Children::None, Children::Known);
        let mut gathered = Gathered {
            judgement: children.bound_to(judging.conclude().await, &snapshot.denials),
            summary: None,
            cache: CacheState::Evidence,
            unconfirmed: None,
            children,
            extent: stored.extent,
            not_stored: None,
        };
        if source.is_bundle() {
            // From now on it counts as brought.
            gathered.keep(world, &snapshot, question, kept, source, now).await;
        }
        return gathered;
    }
    // Where the newest decides, only what was the newest when it was stored may stand in for what a registry does not say.
    let stands_in = stored_suffices && stored.extent == Extent::Everything;
    // What is stored may also be known to be denied. Its asker is told so in time, whether or not the registry has more.
    let denied = !stored_suffices && !kept.is_empty() && judging.denied_by_list();
    kept.retain(|signature| judging.rests_on(signature));

    let patience = match source {
        Source::Registries(Waiting::Asker) if stands_in || denied => CONFIRMATION_DEADLINE,
        Source::Registries(_) | Source::Bundle(_) => GATHER_DEADLINE,
    };
    let budget = world.registries.budget(tokio::time::Instant::now() + patience);
    // Beside the search, not after it: it costs a request and no round trip.
    let fetching = async {
        match stored.index {
            Some(index) => (Children::Known(index), None),
            None if !is_index => (Children::None, None),
            None => fetch_index(world, question, source, &budget).await,
        }
    };
    let searching = async {
        let places = match needs_search {
            true => judging.arguments.places(),
            false => Vec::new(),
        };
        let mut search = Seeking::begin(world, question, source, places, &budget);
        if wants_everything {
            search.demand_the_newest();
        }
        while let Some(batch) = search.next_batch(&judging.judged).await {
            let enough = judging.add(batch.signatures().to_vec(), Seen::Now).await;
            // What satisfied nothing is dropped with its batch, and its share of the memory goes back.
            let used = batch.signatures().iter().filter(|one| judging.rests_on(one));
            kept.extend(used.cloned());
            if enough && !wants_everything {
                break;
            }
        }
        search.finish()
    };
    let ((children, _held), mut summary) = tokio::join!(fetching, searching);
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
            // That nothing was brought says nothing of what there is.
            let nothing_else = lacking.is_none() && !source.is_bundle();
            if decided && wants_everything && (stored_suffices || nothing_else) {
                forget(world, &snapshot, question).await;
            }
            (Judgement::Reject(rejection), None)
        }
        (judgement, lacking) => (judgement, lacking),
    };
    let mut gathered = Gathered {
        judgement: children.bound_to(judgement, &snapshot.denials),
        summary: Some(summary),
        cache: if unconfirmed.is_some() {
            CacheState::Evidence
        } else {
            CacheState::Gathered
        },
        unconfirmed,
        children,
        extent: if wants_everything {
            Extent::Everything
        } else {
            Extent::Enough
        },
        not_stored: None,
    };
    if gathered.unconfirmed.is_none() {
        gathered.keep(world, &snapshot, question, kept, source, now).await;
    }
    gathered
}

impl Gathered {
    /// Stores what an admit rests on. Persisting follows judging, and keeps only that: junk never fills the store.
    async fn keep(
        &mut self,
        world: &Inner,
        snapshot: &TrustSnapshot,
        question: &Question,
        mut signatures: Vec<Signature>,
        source: Source<'_>,
        now: Timestamp,
    ) {
        // What suffices for a policy that is proposed may not suffice for the one in force, whose evidence it would replace.
        let Judgement::Admit(permit) = &self.judgement else {
            return;
        };
        if snapshot.is_proposed {
            return;
        }
        let digests = &permit.rests_on().digests;
        signatures.retain(|signature| {
            digests.contains(signature.manifest().digest()) && digests.contains(&signature.layer().descriptor.digest)
        });
        let evidence = Stored {
            signatures,
            index: self.children.index().cloned(),
            extent: self.extent,
            imported: source.is_bundle(),
        };
        let (repository, descriptor) = (&question.repository, &question.descriptor);
        if let Err(error) = world.evidence.store(repository, descriptor, evidence, now).await {
            debug!("the evidence of {repository} is not kept: {error}");
            self.not_stored = Some(error);
        }
    }
}

/// Removes what is stored for an image that is denied now. A policy that is proposed denies nothing.
async fn forget(world: &Inner, snapshot: &TrustSnapshot, question: &Question) {
    if snapshot.is_proposed {
        return;
    }
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
pub(super) enum Seen {
    Before,
    Now,
}

/// A judgement under way.
pub(super) struct Judging<'w> {
    respondents: &'w Respondents,
    reach: Reach<'w>,
    arguments: Arc<Arguments>,
    findings: Findings,
    answers: Answers,
    judged: Judged,
    /// How many signatures of cosign's were given to the judge, who looks at the first [`MAX_SIGNATURES`].
    of_cosign: usize,
}

/// What does not change while an image is judged.
pub(super) struct Arguments {
    snapshot: Arc<TrustSnapshot>,
    rule: Rule,
    question: Question,
    /// What the rule asks of evidence that was never seen before: nothing is stretched.
    without_grace: Conditions,
    now: Timestamp,
}

impl<'w> Judging<'w> {
    pub(super) fn new(respondents: &'w Respondents, reach: Reach<'w>, arguments: Arguments) -> Self {
        Self {
            respondents,
            reach,
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

    /// Whether what was judged so far fails at the deny-list.
    fn denied_by_list(&self) -> bool {
        let judgement = self.arguments.with_requirement(Seen::Now, |requirement| {
            self.findings.clone().conclude(&self.arguments.subject(), requirement)
        });
        matches!(judgement, Judgement::Reject(rejection) if rejection.code == Code::DeniedByList)
    }

    /// Judges more signatures, and asks the world for what they lack. Returns whether there are enough good ones now.
    pub(super) async fn add(&mut self, signatures: Vec<Signature>, seen: Seen) -> bool {
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
            // What is at hand may settle the matter: then nobody hears of it.
            let mut is_news = false;
            let mut others = Vec::new();
            for query in queries {
                if asked.len() == MAX_QUERIES || asked.contains(&query) {
                    continue;
                }
                match self.respondents.at_hand(&query, self.reach, self.arguments.now) {
                    Some(answered) => {
                        asked.insert(query.clone());
                        self.answers.insert(query, answered);
                        is_news = true;
                    }
                    None => others.push(query),
                }
            }
            if is_news {
                progress = self.judge(seen, Findings::answer).await;
                continue;
            }
            for query in others {
                if asked.len() < MAX_QUERIES && asked.insert(query.clone()) {
                    asking.push(self.respondents.ask(query, self.reach, self.arguments.now));
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

    /// What the world said, as far as it was found to be signed by those who may.
    pub(super) fn proven(&self) -> Proven {
        self.findings.proven()
    }

    /// Ends the judgement. What the world said and was found to be signed by those who may is kept, whatever came of it:
    /// that a certificate is revoked is worth as much as that it is not.
    pub(super) async fn conclude(self) -> Judgement {
        self.respondents.keep(self.findings.proven()).await;
        let arguments = self.arguments;
        arguments.with_requirement(Seen::Now, |requirement| {
            self.findings.conclude(&arguments.subject(), requirement)
        })
    }
}

impl Arguments {
    pub(super) fn new(snapshot: &Arc<TrustSnapshot>, rule: &Rule, question: &Question, now: Timestamp) -> Self {
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
            now: self.now,
            answers,
            local: &self.snapshot.revocation,
            denied: &self.snapshot.denials,
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
    offline_with(snapshot, question, found, now, |_| None)
}

/// The same with the answers in hand to what the judgement lacks.
pub fn offline_with(
    snapshot: &Arc<TrustSnapshot>,
    question: &Question,
    found: &Found,
    now: Timestamp,
    answer: impl Fn(&Query) -> Option<Arc<[u8]>>,
) -> Explanation {
    match before_evidence::decide(snapshot, Standing::Sound, question, now) {
        BeforeEvidence::Decided(verdict) => Explanation::without_evidence(verdict),
        BeforeEvidence::Evidence(rule, _) => {
            let arguments = Arguments::new(snapshot, rule, question, now);
            let mut answers = Answers::default();
            let (judgement, wants_everything) = arguments.with_requirement(Seen::Now, |requirement| {
                let subject = arguments.subject();
                let judge = |answers: &Answers| {
                    judge::judge(
                        &found.signatures,
                        &subject,
                        requirement,
                        &arguments.circumstances(answers),
                    )
                };
                let mut judgement = judge(&answers);
                for _ in 0..MAX_QUERY_ROUNDS {
                    let Judgement::Need(need) = &judgement else { break };
                    let before = answers.iter().count();
                    // What has no answer stays a question that nobody was asked.
                    let known = need
                        .queries
                        .iter()
                        .filter_map(|query| Some((query.clone(), answer(query)?)));
                    answers.extend(known.map(|(query, bytes)| {
                        let answered = Answered {
                            now: Ok(bytes),
                            kept: None,
                        };
                        (query, answered)
                    }));
                    if answers.iter().count() == before {
                        break;
                    }
                    judgement = judge(&answers);
                }
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
            let children = Children::of(found.image.as_ref(), &question.descriptor, THE_LAYOUT);
            let gathered = Gathered {
                judgement: children.bound_to(judgement, &snapshot.denials),
                summary: Some(Summary {
                    skipped: found.skipped.clone(),
                    incomplete,
                    ..Summary::default()
                }),
                cache: CacheState::Gathered,
                unconfirmed: None,
                children,
                extent: Extent::Enough,
                not_stored: None,
            };
            conclude(snapshot, rule, gathered, now).explanation
        }
    }
}

fn is_of_cosign(signature: &Signature) -> bool {
    signature.layer().format != SignatureFormat::Notation
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
        children: _,
        extent: _,
        not_stored,
    } = gathered;
    let (skipped, incomplete) = summary
        .map(|summary| (summary.skipped, summary.incomplete))
        .unwrap_or_default();
    let (outcome, authorities, interval) = match (judgement, incomplete) {
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
        // A registry that is away may have another signature, and hides no entry of the deny-list.
        (Judgement::Reject(rejection), Some(error)) if rejection.code == Code::DeniedByList => (
            Denial::new(
                rejection.code,
                format!("{}; other evidence was not looked for: {error}", rejection.reason),
            )
            .under(rule.mode()),
            rejection.reports,
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
        not_stored,
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
