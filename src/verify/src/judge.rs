//! The judgement of an image: does its evidence satisfy as many authorities as a rule needs?
//!
//! A judgement depends on its arguments alone. It is monotone in signatures: more of them never turn an admit into a
//! denial, and their order does not matter, as long as there are at most [`MAX_SIGNATURES`]. Of more, the first that many
//! are judged, so a gatherer hands over likely ones first; an image that none of them admits is denied with
//! `limit-exceeded`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::circumstances::Circumstances;
use crate::code::Code;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::evidence::Signature;
use crate::limits::{MAX_REASON_LENGTH, MAX_SIGNATURES};
use crate::notation::signature::{self, Asked, NotVerified, SignatureJudgement, Terms, Verified};
use crate::notation::steps::{self, Failure, Integrity, Interval, Step};
use crate::notation::trust_store::TrustStores;
use crate::platform::RunnableChildren;
use crate::policy::Conditions;
use crate::query::{Proven, Query, QueryId};
use crate::reference::Repository;
use crate::untrusted::one_line;
use crate::x509::certificate::{Certificate, Fingerprint};
use crate::x509::revocation::OnGrace;

/// What is judged: an image in a repository.
#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    /// The repository.
    pub repository: &'a Repository,
    /// The image.
    pub descriptor: &'a Descriptor,
}

/// What one authority asks of a signature on images of this repository.
#[derive(Clone, Copy, Debug)]
pub enum AuthorityTerms<'a> {
    /// A signature under the terms of a Notary Project statement.
    Notation {
        /// The terms.
        terms: Terms<'a>,
        /// All trust stores that the terms may name.
        stores: &'a TrustStores,
    },
    /// A statement of the level skip: nothing is asked, so nothing is known.
    Skip,
    /// The authority has nothing to say about this repository.
    NotApplicable {
        /// Why, for a person.
        reason: &'a str,
    },
}

impl AuthorityTerms<'_> {
    /// Everything that is asked of a signature on `image`; nothing where no signature is asked for.
    fn asked<'a>(&'a self, image: &'a Descriptor, conditions: &'a Conditions) -> Option<Asked<'a>> {
        match self {
            Self::Notation { terms, stores } => Some(Asked {
                target: image,
                terms: *terms,
                stores,
                conditions,
            }),
            Self::Skip | Self::NotApplicable { .. } => None,
        }
    }
}

/// The answer.
#[derive(Clone, Debug)]
pub enum Judgement {
    /// The evidence satisfies the requirement.
    Admit(Permit),
    /// It may: the world has to be asked first. Where that is not possible, this is no admit.
    Need(Need),
    /// It does not.
    Reject(Rejection),
}

/// Why an image is admitted. Only [`judge`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    subject: Descriptor,
    grants: Vec<Grant>,
    rests_on: RestsOn,
    interval: Interval,
    on_grace: Vec<OnGrace>,
    reports: Vec<AuthorityReport>,
}

impl Permit {
    /// The permit of an index whose children that the node could run all have one. Nothing where one of them lacks it.
    ///
    /// The children are bound to the index by its own bytes, and each permit to its child.
    pub fn of_every_child(children: &RunnableChildren, permits: &[Self]) -> Option<Self> {
        let mut whole = Self {
            subject: children.index().clone(),
            grants: Vec::new(),
            rests_on: RestsOn::default(),
            interval: Interval::ALWAYS,
            on_grace: Vec::new(),
            reports: Vec::new(),
        };
        whole.rests_on.digests.insert(children.index().digest.clone());
        for child in children.children() {
            let permit = permits.iter().find(|permit| permit.subject == *child)?;
            for grant in &permit.grants {
                if !whole.grants.contains(grant) {
                    whole.grants.push(grant.clone());
                }
            }
            whole.rests_on.merge(&permit.rests_on);
            whole.interval = whole.interval.intersect(permit.interval);
            whole.on_grace.extend(permit.on_grace.iter().cloned());
            whole.reports.extend(permit.reports.iter().cloned());
        }
        Some(whole)
    }

    /// What is permitted.
    pub fn subject(&self) -> &Descriptor {
        &self.subject
    }

    /// Which authorities are satisfied, and by what.
    pub fn grants(&self) -> &[Grant] {
        &self.grants
    }

    /// Everything whose withdrawal ends the permit.
    pub fn rests_on(&self) -> &RestsOn {
        &self.rests_on
    }

    /// When the permit holds. The time of the judgement is in it, except at the one instant that a certificate ends.
    pub fn interval(&self) -> Interval {
        self.interval
    }

    /// Revocation data that has lapsed and counts only because the rule grants it grace.
    pub fn on_grace(&self) -> &[OnGrace] {
        &self.on_grace
    }

    /// What was found, for an explanation.
    pub fn reports(&self) -> &[AuthorityReport] {
        &self.reports
    }

    /// Takes what was found out of a permit that is to be remembered: it holds whole envelopes and certificate chains,
    /// and nothing that the permit rests on.
    pub fn take_reports(&mut self) -> Vec<AuthorityReport> {
        std::mem::take(&mut self.reports)
    }
}

/// An authority that is satisfied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Grant {
    /// The authority.
    pub authority: String,
    /// By what.
    pub by: GrantedBy,
}

/// What satisfies an authority.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantedBy {
    /// A signature by a trusted identity.
    Signature {
        /// The digest of its manifest.
        manifest: Digest,
        /// Who signed.
        identity: String,
    },
    /// A signature by nobody in particular: its level only logs that, and the rule accepts it.
    UnauthenticatedSignature {
        /// The digest of its manifest.
        manifest: Digest,
    },
    /// Nothing: the level is skip, and the rule accepts that.
    Nothing,
}

/// What a permit rests on: deny-lists and revocations are matched against this.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RestsOn {
    /// The image, the manifests of signatures and their envelopes.
    pub digests: BTreeSet<Digest>,
    /// Every certificate of the chains.
    pub certificates: BTreeSet<Fingerprint>,
    /// The signers, as they were recognised.
    pub identities: BTreeSet<String>,
    /// The queries whose answers it rests on.
    pub queries: BTreeSet<QueryId>,
}

impl RestsOn {
    fn merge(&mut self, other: &Self) {
        self.digests.extend(other.digests.iter().cloned());
        self.certificates.extend(&other.certificates);
        self.identities.extend(other.identities.iter().cloned());
        self.queries.extend(&other.queries);
    }
}

/// What is lacked for a judgement.
#[derive(Clone, Debug)]
pub struct Need {
    /// What to ask. At least one.
    pub queries: Vec<Query>,
    /// What was found so far, for an explanation.
    pub reports: Vec<AuthorityReport>,
}

/// Why an image is denied.
#[derive(Clone, Debug)]
pub struct Rejection {
    /// The stable code.
    pub code: Code,
    /// One line for a person: printable ASCII, at most [`MAX_REASON_LENGTH`] bytes.
    pub reason: String,
    /// What was found, for an explanation.
    pub reports: Vec<AuthorityReport>,
}

/// What was found for one authority.
#[derive(Clone, Debug)]
pub struct AuthorityReport {
    /// The authority.
    pub authority: String,
    /// Whether it is satisfied.
    pub satisfied: bool,
    /// What was looked at.
    pub finding: Finding,
}

impl AuthorityReport {
    /// Why the authority is not satisfied: the code and the words of the signature that came closest. None when it is
    /// satisfied.
    pub fn shortcoming(&self) -> Option<(Code, String)> {
        if self.satisfied {
            return None;
        }
        let found = shortcoming(self).map(|found| (found.code, found.reason));
        Some(found.unwrap_or_else(|| (Code::Unsigned, format!("no signature by {} was found", self.authority))))
    }
}

/// What was looked at for one authority.
#[derive(Clone, Debug)]
pub enum Finding {
    /// The authority has nothing to say about this repository.
    NotApplicable(String),
    /// The level is skip.
    Skipped,
    /// The signatures that were judged: all, or all up to the first that satisfies. Of those whose lack of authenticity
    /// the level only logs, the first.
    Signatures(Vec<SignatureJudgement>),
}

impl Finding {
    fn is_empty(&self) -> bool {
        matches!(self, Self::Signatures(judgements) if judgements.is_empty())
    }
}

/// What a rule asks of an image's evidence.
#[derive(Clone, Copy, Debug)]
pub struct Requirement<'a> {
    /// How many of the authorities must be satisfied. All, any and at least n are all of this form.
    pub needed: usize,
    /// The authorities by name, with their terms. A name that is there twice counts once.
    pub authorities: &'a [(&'a str, AuthorityTerms<'a>)],
    /// Whether an authority is also satisfied by a level that skips everything, or that only logs that a signer is not
    /// authentic.
    pub accept_unverified: bool,
    /// What is asked of every signature.
    pub conditions: &'a Conditions,
}

/// Judges evidence that is there all at once: see [`Findings`].
pub fn judge(
    evidence: &[Signature],
    subject: &Subject<'_>,
    requirement: &Requirement<'_>,
    circumstances: &Circumstances<'_>,
) -> Judgement {
    let mut findings = Findings::new(requirement);
    findings.add(evidence, subject, requirement, circumstances);
    findings.conclude(subject, requirement)
}

/// How far a judgement has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Enough authorities are satisfied.
    Enough,
    /// More evidence may help.
    NotEnough,
    /// The answers to these queries may help, before more evidence does. One of each signature comes first, then the second
    /// ones: whoever cannot ask all of them leaves out none of the signatures.
    Needs(Vec<Query>),
}

/// What has been found about an image so far: the state of a judgement whose evidence arrives bit by bit. It keeps
/// findings, not evidence, so bytes that satisfied nothing can be dropped as soon as they are judged.
///
/// An authority is satisfied by one signature that is verified under its terms; the same signature may satisfy several. A
/// requirement of nothing, by nobody, or by more authorities than there are, is never satisfied.
#[derive(Clone, Debug, Default)]
pub struct Findings {
    authorities: Vec<AuthorityFindings>,
    judged: usize,
    cut: bool,
}

#[derive(Clone, Debug)]
struct AuthorityFindings {
    name: String,
    /// By a signature that proves who made it.
    verified: Option<Granted>,
    /// By what a rule may accept although it does not prove who made it.
    unverified: Option<Granted>,
    finding: Finding,
    /// Signatures that lack the world's word, each with its place in the finding.
    pending: Vec<Pending>,
}

/// A signature that was judged as far as is possible without the world's word.
#[derive(Clone, Debug)]
struct Pending {
    signature: Signature,
    opened: Result<Integrity, Failure>,
    index: usize,
}

/// What satisfies an authority: a signature, or that its level asks for none.
#[derive(Clone, Debug)]
enum Granted {
    Signature {
        manifest: Digest,
        envelope: Digest,
        verified: Box<Verified>,
        queries: BTreeSet<QueryId>,
    },
    Nothing,
}

/// A signature and its envelope, opened when it is first asked for: integrity does not depend on an authority.
type Opened<'a> = (&'a Signature, Option<Result<Integrity, Failure>>);

impl Findings {
    /// Nothing found yet.
    pub fn new(requirement: &Requirement<'_>) -> Self {
        let mut authorities: Vec<AuthorityFindings> = Vec::with_capacity(requirement.authorities.len());
        for (name, terms) in requirement.authorities {
            if authorities.iter().all(|known| known.name != *name) {
                authorities.push(AuthorityFindings::new(name, terms));
            }
        }
        Self {
            authorities,
            judged: 0,
            cut: false,
        }
    }

    /// Judges more evidence of the same image under the same requirement, until enough authorities are satisfied.
    pub fn add(
        &mut self,
        evidence: &[Signature],
        subject: &Subject<'_>,
        requirement: &Requirement<'_>,
        circumstances: &Circumstances<'_>,
    ) -> Progress {
        let room = MAX_SIGNATURES.saturating_sub(self.judged);
        self.cut |= evidence.len() > room;
        let mut opened: Vec<Opened<'_>> = evidence.iter().take(room).map(|signature| (signature, None)).collect();
        self.judged += opened.len();
        for (name, terms) in requirement.authorities {
            if self.is_satisfied(requirement) {
                break;
            }
            if let Some(authority) = self.authorities.iter_mut().find(|authority| authority.name == *name) {
                authority.add(
                    &mut opened,
                    subject.descriptor,
                    terms,
                    requirement.conditions,
                    circumstances,
                );
            }
        }
        self.progress(requirement)
    }

    /// Judges again what lacked the world's word, with more answers.
    pub fn answer(
        &mut self,
        subject: &Subject<'_>,
        requirement: &Requirement<'_>,
        circumstances: &Circumstances<'_>,
    ) -> Progress {
        for (name, terms) in requirement.authorities {
            if let Some(authority) = self.authorities.iter_mut().find(|authority| authority.name == *name) {
                authority.answer(subject.descriptor, terms, requirement.conditions, circumstances);
            }
        }
        self.progress(requirement)
    }

    /// The answers that were found to be signed by those who may: only these are worth keeping.
    pub fn proven(&self) -> Proven {
        let judgements = self.authorities.iter().flat_map(|authority| match &authority.finding {
            Finding::Signatures(judgements) => judgements.as_slice(),
            Finding::NotApplicable(_) | Finding::Skipped => &[],
        });
        judgements.flat_map(|judgement| judgement.proven.clone()).collect()
    }

    fn progress(&self, requirement: &Requirement<'_>) -> Progress {
        if self.is_satisfied(requirement) {
            return Progress::Enough;
        }
        let needs = self.needs();
        if needs.is_empty() {
            Progress::NotEnough
        } else {
            Progress::Needs(needs)
        }
    }

    /// What is lacked for signatures that may yet satisfy an authority, one query of each signature before its second.
    fn needs(&self) -> Vec<Query> {
        let unsatisfied = self.authorities.iter().filter(|authority| authority.verified.is_none());
        let judgements = unsatisfied.flat_map(|authority| match &authority.finding {
            Finding::Signatures(judgements) => judgements.as_slice(),
            Finding::NotApplicable(_) | Finding::Skipped => &[],
        });
        let mut lacking: Vec<_> = judgements
            .filter_map(|judgement| match &judgement.result {
                Err(NotVerified::Needs(queries)) => Some(queries.iter()),
                _ => None,
            })
            .collect();
        let mut needs = Vec::new();
        let mut known = BTreeSet::new();
        while !lacking.is_empty() {
            lacking.retain_mut(|queries| match queries.next() {
                Some(query) => {
                    if known.insert(query) {
                        needs.push(query.clone());
                    }
                    true
                }
                None => false,
            });
        }
        needs
    }

    /// Whether an authority that is satisfied so far rests on this signature, or may once the world is asked, by the
    /// digest of its manifest.
    pub fn rests_on(&self, signature: &Digest) -> bool {
        let mut pending = self.authorities.iter().flat_map(|authority| &authority.pending);
        if pending.any(|pending| pending.signature.manifest().digest() == signature) {
            return true;
        }
        let grants = self
            .authorities
            .iter()
            .flat_map(|authority| [&authority.verified, &authority.unverified]);
        grants
            .flatten()
            .any(|granted| matches!(granted, Granted::Signature { manifest, .. } if manifest == signature))
    }

    /// The judgement on all that was found.
    pub fn conclude(self, subject: &Subject<'_>, requirement: &Requirement<'_>) -> Judgement {
        let admits = self.is_satisfied(requirement);
        let report = |authority: &AuthorityFindings| AuthorityReport {
            authority: authority.name.clone(),
            satisfied: authority.satisfied_by(requirement).is_some(),
            finding: authority.finding.clone(),
        };
        let reports: Vec<_> = self.authorities.iter().map(report).collect();
        let satisfied: Vec<_> = self
            .authorities
            .iter()
            .filter_map(|authority| Some((authority.name.as_str(), authority.satisfied_by(requirement)?)))
            .collect();
        let needs = self.needs();
        if admits {
            // An authority that was not asked, because others sufficed, has nothing to report.
            let asked = |report: &AuthorityReport| report.satisfied || !report.finding.is_empty();
            Judgement::Admit(permit(subject, satisfied, reports.into_iter().filter(asked).collect()))
        } else if !needs.is_empty() {
            Judgement::Need(Need {
                queries: needs,
                reports,
            })
        } else {
            Judgement::Reject(reject(requirement.needed, satisfied.len(), self.cut, reports))
        }
    }

    fn is_satisfied(&self, requirement: &Requirement<'_>) -> bool {
        let satisfied = self
            .authorities
            .iter()
            .filter(|authority| authority.satisfied_by(requirement).is_some());
        requirement.needed > 0 && satisfied.count() >= requirement.needed
    }
}

impl AuthorityFindings {
    fn new(name: &str, terms: &AuthorityTerms<'_>) -> Self {
        let (unverified, finding) = match terms {
            AuthorityTerms::NotApplicable { reason } => (None, Finding::NotApplicable((*reason).to_owned())),
            AuthorityTerms::Skip => (Some(Granted::Nothing), Finding::Skipped),
            AuthorityTerms::Notation { .. } => (None, Finding::Signatures(Vec::new())),
        };
        Self {
            name: name.to_owned(),
            verified: None,
            unverified,
            finding,
            pending: Vec::new(),
        }
    }

    /// A signature that proves who made it is preferred over one that is merely accepted.
    fn satisfied_by(&self, requirement: &Requirement<'_>) -> Option<&Granted> {
        let accepted = self.unverified.as_ref().filter(|_| requirement.accept_unverified);
        self.verified.as_ref().or(accepted)
    }

    fn add(
        &mut self,
        evidence: &mut [Opened<'_>],
        image: &Descriptor,
        terms: &AuthorityTerms<'_>,
        conditions: &Conditions,
        circumstances: &Circumstances<'_>,
    ) {
        let Some(asked) = terms.asked(image, conditions) else {
            return;
        };
        for (signature, opened) in evidence {
            if self.verified.is_some() {
                return;
            }
            let opened = opened.get_or_insert_with(|| steps::integrity(signature));
            let judgement = signature::verify_opened(signature, opened, &asked, circumstances);
            let another = self.unverified.is_some();
            self.grant(signature, &judgement, circumstances);
            let Finding::Signatures(judgements) = &mut self.finding else {
                return;
            };
            match &judgement.result {
                // Anybody can make these, as large as an envelope may be, and what is verified is kept: one is enough.
                Ok(verified) if verified.unauthenticated().is_some() && another => continue,
                Ok(_) | Err(NotVerified::Rejected(_)) => {}
                Err(NotVerified::Needs(_)) => self.pending.push(Pending {
                    signature: signature.clone(),
                    opened: opened.clone(),
                    index: judgements.len(),
                }),
            }
            judgements.push(judgement);
        }
    }

    /// Judges again what lacked the world's word.
    fn answer(
        &mut self,
        image: &Descriptor,
        terms: &AuthorityTerms<'_>,
        conditions: &Conditions,
        circumstances: &Circumstances<'_>,
    ) {
        let Some(asked) = terms.asked(image, conditions) else {
            return;
        };
        for pending in std::mem::take(&mut self.pending) {
            let judgement = signature::verify_opened(&pending.signature, &pending.opened, &asked, circumstances);
            self.grant(&pending.signature, &judgement, circumstances);
            let needs = matches!(judgement.result, Err(NotVerified::Needs(_)));
            if let Finding::Signatures(judgements) = &mut self.finding
                && let Some(found) = judgements.get_mut(pending.index)
            {
                *found = judgement;
            }
            if needs {
                self.pending.push(pending);
            }
        }
    }

    /// Remembers what a judgement satisfies. The first of a kind counts.
    fn grant(&mut self, signature: &Signature, judgement: &SignatureJudgement, circumstances: &Circumstances<'_>) {
        let Ok(verified) = &judgement.result else {
            return;
        };
        let kind = match verified.unauthenticated() {
            None => &mut self.verified,
            Some(_) => &mut self.unverified,
        };
        kind.get_or_insert_with(|| Granted::Signature {
            manifest: judgement.manifest.clone(),
            envelope: signature.layer().descriptor.digest.clone(),
            verified: Box::new(verified.clone()),
            // All that was asked about the image: a few too many cost a judgement, one too few a revocation.
            queries: circumstances.answers.iter().map(|(query, _)| query.id()).collect(),
        });
    }
}

fn permit(subject: &Subject<'_>, satisfied: Vec<(&str, &Granted)>, reports: Vec<AuthorityReport>) -> Permit {
    let mut rests_on = RestsOn::default();
    rests_on.digests.insert(subject.descriptor.digest.clone());
    let mut interval = Interval::ALWAYS;
    let mut on_grace = Vec::new();
    let mut grants = Vec::new();
    for (authority, granted) in satisfied {
        let by = match granted {
            Granted::Nothing => GrantedBy::Nothing,
            Granted::Signature {
                manifest,
                envelope,
                verified,
                queries,
            } => {
                interval = interval.intersect(verified.interval());
                on_grace.extend(verified.not_revoked().filter_map(|found| found.on_grace.clone()));
                rests_on.queries.extend(queries);
                rests_on
                    .certificates
                    .extend(verified.certificates().map(Certificate::fingerprint));
                rests_on.digests.extend([manifest.clone(), envelope.clone()]);
                let manifest = manifest.clone();
                match (verified.unauthenticated(), verified.identity().outcome().passed()) {
                    (None, Some(identity)) => {
                        let identity = identity.to_string();
                        rests_on.identities.insert(identity.clone());
                        GrantedBy::Signature { manifest, identity }
                    }
                    _ => GrantedBy::UnauthenticatedSignature { manifest },
                }
            }
        };
        grants.push(Grant {
            authority: authority.to_owned(),
            by,
        });
    }
    Permit {
        subject: subject.descriptor.clone(),
        grants,
        rests_on,
        interval,
        on_grace,
        reports,
    }
}

fn reject(needed: usize, satisfied: usize, cut: bool, reports: Vec<AuthorityReport>) -> Rejection {
    let (code, reason) = if needed == 0 || reports.is_empty() {
        let reason = "the requirement asks for nothing: it is never satisfied";
        (Code::PolicyInvalid, Cow::Borrowed(reason))
    } else {
        let unsatisfied = || reports.iter().filter(|report| !report.satisfied);
        let names: Vec<_> = unsatisfied().map(|report| report.authority.as_str()).collect();
        let names = names.join(" and ");
        let closest = unsatisfied()
            .filter_map(|report| shortcoming(report).map(|found| (found, report)))
            // The first of equals, so that the answer does not depend on how a maximum is chosen.
            .reduce(|best, next| if next.0.rank > best.0.rank { next } else { best });
        let (code, reason) = match closest {
            Some((found, report)) => (found.code, format!("{}: {}", report.authority, found.reason)),
            None => (Code::Unsigned, format!("no signature by {names} was found")),
        };
        let progress = if satisfied > 0 {
            format!("{satisfied} of {needed} authorities satisfied; ")
        } else {
            String::new()
        };
        if cut {
            let reason = format!("{progress}none of the first {MAX_SIGNATURES} signatures satisfies {names}; {reason}");
            (Code::LimitExceeded, Cow::Owned(reason))
        } else {
            (code, Cow::Owned(progress + &reason))
        }
    };
    Rejection {
        code,
        reason: one_line(&reason, MAX_REASON_LENGTH),
        reports,
    }
}

/// Why an authority is not satisfied, and how close it came. Among several reasons the one that came closest tells most:
/// the signature of a stranger says little beside the expired one of the right signer.
struct Shortcoming {
    rank: Rank,
    code: Code,
    reason: String,
}

#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    NotApplicable,
    Skipped,
    Failed(u8),
    Unauthenticated,
}

/// How close to passing a signature came that failed this step. It is not the order in which the steps are taken: that the
/// right signer's signature has expired tells more than that somebody else signed.
const fn closeness(step: Step) -> u8 {
    match step {
        Step::Integrity => 0,
        Step::Attributes => 1,
        Step::Authenticity => 2,
        Step::Identity => 3,
        Step::Plugin => 4,
        Step::Subject => 5,
        Step::Expiry => 6,
        Step::AuthenticTimestamp => 7,
        Step::SigningTime => 8,
        Step::Annotations => 9,
        Step::TimestampRevocation => 10,
        Step::Revocation => 11,
    }
}

/// None where there was no signature to find fault with.
fn shortcoming(report: &AuthorityReport) -> Option<Shortcoming> {
    let judgements = match &report.finding {
        Finding::NotApplicable(reason) => {
            return Some(Shortcoming {
                rank: Rank::NotApplicable,
                code: Code::NoMatchingRule,
                reason: reason.clone(),
            });
        }
        Finding::Skipped => {
            return Some(Shortcoming {
                rank: Rank::Skipped,
                code: Code::Unsigned,
                reason: "its level skips verification, and the rule does not accept that".to_owned(),
            });
        }
        Finding::Signatures(judgements) => judgements,
    };
    let (rank, failure) = judgements
        .iter()
        .filter_map(|judgement| match &judgement.result {
            Ok(verified) => Some((Rank::Unauthenticated, verified.unauthenticated()?)),
            Err(NotVerified::Rejected(rejected)) => Some((Rank::Failed(closeness(rejected.step)), &rejected.failure)),
            // A judgement that lacks an answer rejects nothing yet.
            Err(NotVerified::Needs(_)) => None,
        })
        .reduce(|best, next| if next.0 > best.0 { next } else { best })?;
    let reason = match (rank, judgements.len()) {
        (Rank::Unauthenticated, _) => format!("{failure}; its level only logs that, and the rule does not accept it"),
        (_, 1) => failure.to_string(),
        (_, count) => format!("{failure} (the closest of {count} signatures)"),
    };
    Some(Shortcoming {
        rank,
        code: failure.code(),
        reason,
    })
}
