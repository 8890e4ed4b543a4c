//! What has been found about an image so far.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::attestations::AttestationFindings;
use super::shortcoming::{Undecided, reject};
use super::{
    AuthorityReport, AuthorityTerms, Finding, Grant, GrantedBy, Judgement, Need, Permit, Requirement, RestsOn, Subject,
};
use crate::circumstances::Circumstances;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::evidence::{Signature, SignatureFormat, SignatureId};
use crate::limits::MAX_SIGNATURES;
use crate::notation::signature::{self as notation, Asked, NotVerified, SignatureJudgement};
use crate::notation::steps::{self, Failure, Integrity, Interval};
use crate::policy::Conditions;
use crate::query::{Proven, Query, QueryId};
use crate::sigstore;
use crate::sigstore::material::Material;
use crate::sigstore::signature::{Artifact, Origin, Purpose, Rejected};

/// How far a judgement has come.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// The rule is satisfied.
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
    attestations: Vec<AttestationFindings>,
    /// Judged so far, Notary Project signatures and those of cosign apart: junk of one kind hides none of the other.
    judged: [usize; 2],
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
    Notation {
        signature: SignatureId,
        envelope: Digest,
        verified: Box<notation::Verified>,
        queries: BTreeSet<QueryId>,
    },
    Cosign {
        signature: SignatureId,
        envelope: Digest,
        verified: Arc<sigstore::signature::Verified>,
    },
    Nothing,
}

impl Granted {
    fn signature(&self) -> Option<&SignatureId> {
        match self {
            Self::Notation { signature, .. } | Self::Cosign { signature, .. } => Some(signature),
            Self::Nothing => None,
        }
    }
}

/// A signature, opened when it is first asked for: that does not depend on an authority.
pub(super) struct Opened<'a> {
    pub(super) signature: &'a Signature,
    integrity: Option<Result<Integrity, Failure>>,
    material: Option<Result<Arc<Material>, Rejected>>,
}

impl<'a> Opened<'a> {
    fn new(signature: &'a Signature) -> Self {
        Self {
            signature,
            integrity: None,
            material: None,
        }
    }

    fn is_notation(&self) -> bool {
        is_notation(self.signature)
    }

    fn integrity(&mut self) -> &Result<Integrity, Failure> {
        self.integrity.get_or_insert_with(|| steps::integrity(self.signature))
    }

    /// What cosign made of it, parsed.
    pub(super) fn material(&mut self) -> Result<Arc<Material>, Rejected> {
        self.material
            .get_or_insert_with(|| sigstore::signature::open(self.signature).map(Arc::new))
            .clone()
    }
}

fn is_notation(signature: &Signature) -> bool {
    signature.layer().format == SignatureFormat::Notation
}

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
            attestations: requirement.attestations.iter().map(AttestationFindings::new).collect(),
            judged: [0; 2],
            cut: false,
        }
    }

    /// Judges more evidence of the same image under the same requirement, until the rule is satisfied.
    pub fn add(
        &mut self,
        evidence: &[Signature],
        subject: &Subject<'_>,
        requirement: &Requirement<'_>,
        circumstances: &Circumstances<'_>,
    ) -> Progress {
        let mut opened = Vec::with_capacity(evidence.len());
        for signature in evidence {
            let [of_notation, of_cosign] = &mut self.judged;
            let judged = if is_notation(signature) { of_notation } else { of_cosign };
            if *judged < MAX_SIGNATURES {
                *judged += 1;
                opened.push(Opened::new(signature));
            } else {
                self.cut = true;
            }
        }
        for (name, terms) in requirement.authorities {
            if self.has_enough_authorities(requirement) {
                break;
            }
            if let Some(authority) = self.authorities.iter_mut().find(|authority| authority.name == *name) {
                let conditions = requirement.conditions;
                authority.add(&mut opened, subject.descriptor, terms, conditions, circumstances);
            }
        }
        for (findings, asked) in self.attestations.iter_mut().zip(requirement.attestations) {
            findings.add(
                &mut opened,
                subject.descriptor,
                asked,
                requirement.conditions,
                circumstances,
            );
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
        let judgements = self.authorities.iter().flat_map(AuthorityFindings::notation);
        judgements.flat_map(|judgement| judgement.proven.clone()).collect()
    }

    /// Whether the newest of several statements decides: then enough is only enough when everything there is was looked at.
    pub fn wants_everything(&self) -> bool {
        self.attestations.iter().any(AttestationFindings::newest_decides)
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
        let mut lacking: Vec<_> = unsatisfied
            .flat_map(AuthorityFindings::notation)
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

    /// Whether what is satisfied so far rests on this signature, or may once the world is asked.
    pub fn rests_on(&self, signature: &SignatureId) -> bool {
        let mut pending = self.authorities.iter().flat_map(|authority| &authority.pending);
        if pending.any(|pending| pending.signature.id() == *signature) {
            return true;
        }
        let mut grants = self
            .authorities
            .iter()
            .flat_map(|authority| [&authority.verified, &authority.unverified])
            .flatten();
        grants.any(|granted| granted.signature() == Some(signature))
            || self.attestations.iter().any(|findings| findings.rests_on(signature))
    }

    /// The judgement on all that was found.
    pub fn conclude(self, subject: &Subject<'_>, requirement: &Requirement<'_>) -> Judgement {
        let admits = self.is_satisfied(requirement);
        let report = |authority: &AuthorityFindings| AuthorityReport {
            authority: authority.name.clone(),
            attestation: None,
            satisfied: authority.satisfied_by(requirement).is_some(),
            finding: authority.finding.clone(),
        };
        let mut reports: Vec<_> = self.authorities.iter().map(report).collect();
        reports.extend(self.attestations.iter().map(AttestationFindings::report));
        if admits {
            // An authority that was not asked, because others sufficed, has nothing to report.
            reports.retain(|report| report.satisfied || !report.finding.is_empty());
            return Judgement::Admit(Box::new(self.permit(subject, requirement, reports)));
        }
        let needs = self.needs();
        if needs.is_empty() {
            let satisfied = self.satisfied_authorities(requirement).count();
            let unread = self.attestations.iter().any(AttestationFindings::is_unread);
            let undecided = match (self.cut, unread) {
                (true, _) => Some(Undecided::Cut),
                (false, true) => Some(Undecided::Unread),
                (false, false) => None,
            };
            Judgement::Reject(reject(requirement.needed, satisfied, undecided, reports))
        } else {
            Judgement::Need(Need {
                queries: needs,
                reports,
            })
        }
    }

    fn satisfied_authorities(&self, requirement: &Requirement<'_>) -> impl Iterator<Item = (&str, &Granted)> {
        let accept_unverified = requirement.accept_unverified;
        let authorities = self.authorities.iter();
        authorities
            .filter_map(move |authority| Some((authority.name.as_str(), authority.satisfied_with(accept_unverified)?)))
    }

    fn has_enough_authorities(&self, requirement: &Requirement<'_>) -> bool {
        self.satisfied_authorities(requirement).count() >= requirement.needed
    }

    fn is_satisfied(&self, requirement: &Requirement<'_>) -> bool {
        // A requirement of nothing is never satisfied.
        let asks = requirement.needed > 0 || !self.attestations.is_empty();
        // What was not judged may be the newest.
        let whole = !(self.cut && self.wants_everything());
        asks && whole
            && self.has_enough_authorities(requirement)
            && self.attestations.iter().all(AttestationFindings::is_satisfied)
    }

    fn permit(&self, subject: &Subject<'_>, requirement: &Requirement<'_>, reports: Vec<AuthorityReport>) -> Permit {
        let mut permit = Permit {
            subject: subject.descriptor.clone(),
            grants: Vec::new(),
            rests_on: RestsOn::default(),
            interval: Interval::ALWAYS,
            on_grace: Vec::new(),
            reports,
        };
        permit.rests_on.digests.insert(subject.descriptor.digest.clone());
        for (authority, granted) in self.satisfied_authorities(requirement) {
            permit.grant(authority, granted);
        }
        for findings in &self.attestations {
            if let Some(held) = findings.satisfied_by() {
                permit.rest_on_cosign(&held.signature, &held.envelope, &held.verified);
                permit.interval = permit.interval.intersect(held.interval);
                permit.grants.push(Grant {
                    authority: findings.authority().to_owned(),
                    by: GrantedBy::Attestation {
                        manifest: held.signature.manifest.clone(),
                        identity: held.verified.signer().to_string(),
                        predicate_type: findings.predicate_type().to_owned(),
                    },
                });
            }
        }
        permit
    }
}

impl AuthorityFindings {
    fn new(name: &str, terms: &AuthorityTerms<'_>) -> Self {
        let (unverified, finding) = match terms {
            AuthorityTerms::NotApplicable { reason } => (None, Finding::NotApplicable((*reason).to_owned())),
            AuthorityTerms::Skip => (Some(Granted::Nothing), Finding::Skipped),
            AuthorityTerms::Notation { .. } => (None, Finding::Signatures(Vec::new())),
            AuthorityTerms::Cosign { .. } => (None, Finding::Cosign(Vec::new())),
        };
        Self {
            name: name.to_owned(),
            verified: None,
            unverified,
            finding,
            pending: Vec::new(),
        }
    }

    /// The judgements of Notary Project signatures.
    fn notation(&self) -> &[SignatureJudgement] {
        match &self.finding {
            Finding::Signatures(judgements) => judgements,
            Finding::NotApplicable(_) | Finding::Skipped | Finding::Cosign(_) | Finding::Attestations(_) => &[],
        }
    }

    fn satisfied_by(&self, requirement: &Requirement<'_>) -> Option<&Granted> {
        self.satisfied_with(requirement.accept_unverified)
    }

    /// A signature that proves who made it is preferred over one that is merely accepted.
    fn satisfied_with(&self, accept_unverified: bool) -> Option<&Granted> {
        let accepted = self.unverified.as_ref().filter(|_| accept_unverified);
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
        if let AuthorityTerms::Cosign { authority } = terms {
            let asked = sigstore::signature::Asked {
                authority,
                artifact: Artifact::Image(image),
                purpose: Purpose::ImageSignature,
                conditions,
            };
            self.add_cosign(evidence, &asked, circumstances);
        } else if let Some(asked) = terms.asked(image, conditions) {
            self.add_notation(evidence, &asked, circumstances);
        }
    }

    fn add_cosign(
        &mut self,
        evidence: &mut [Opened<'_>],
        asked: &sigstore::signature::Asked<'_>,
        circumstances: &Circumstances<'_>,
    ) {
        for opened in evidence.iter_mut().filter(|opened| !opened.is_notation()) {
            if self.verified.is_some() {
                return;
            }
            let result = opened
                .material()
                .and_then(|material| {
                    sigstore::signature::verify(&material, &Origin::of(opened.signature), asked, circumstances)
                })
                .map(|judged| Arc::new(judged.verified));
            let signature = opened.signature;
            if let Ok(verified) = &result {
                self.verified = Some(Granted::Cosign {
                    signature: signature.id(),
                    envelope: signature.layer().descriptor.digest.clone(),
                    verified: verified.clone(),
                });
            }
            if let Finding::Cosign(judgements) = &mut self.finding {
                judgements.push(sigstore::signature::SignatureJudgement {
                    id: signature.id(),
                    format: signature.layer().format,
                    result,
                });
            }
        }
    }

    fn add_notation(&mut self, evidence: &mut [Opened<'_>], asked: &Asked<'_>, circumstances: &Circumstances<'_>) {
        for opened in evidence.iter_mut().filter(|opened| opened.is_notation()) {
            if self.verified.is_some() {
                return;
            }
            let signature = opened.signature;
            let integrity = opened.integrity();
            let judgement = notation::verify_opened(signature, integrity, asked, circumstances);
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
                    opened: integrity.clone(),
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
            let judgement = notation::verify_opened(&pending.signature, &pending.opened, &asked, circumstances);
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
        kind.get_or_insert_with(|| Granted::Notation {
            signature: signature.id(),
            envelope: signature.layer().descriptor.digest.clone(),
            verified: Box::new(verified.clone()),
            // All that was asked about the image: a few too many cost a judgement, one too few a revocation.
            queries: circumstances.answers.iter().map(|(query, _)| query.id()).collect(),
        });
    }
}

impl Permit {
    /// Takes what satisfies an authority into the permit: who, and everything that it rests on.
    fn grant(&mut self, authority: &str, granted: &Granted) {
        let by = match granted {
            Granted::Nothing => GrantedBy::Nothing,
            Granted::Notation {
                signature,
                envelope,
                verified,
                queries,
            } => {
                self.interval = self.interval.intersect(verified.interval());
                self.on_grace
                    .extend(verified.not_revoked().filter_map(|found| found.on_grace.clone()));
                self.rests_on.queries.extend(queries);
                self.rests_on.rest_on(verified.facts());
                let manifest = signature.manifest.clone();
                self.rests_on.digests.extend([manifest.clone(), envelope.clone()]);
                match (verified.unauthenticated(), verified.identity().outcome().passed()) {
                    (None, Some(identity)) => GrantedBy::Signature {
                        manifest,
                        identity: identity.to_string(),
                    },
                    _ => GrantedBy::UnauthenticatedSignature { manifest },
                }
            }
            Granted::Cosign {
                signature,
                envelope,
                verified,
            } => {
                self.rest_on_cosign(signature, envelope, verified);
                GrantedBy::Signature {
                    manifest: signature.manifest.clone(),
                    identity: verified.signer().to_string(),
                }
            }
        };
        // Mostly there is one, and it is kept for long.
        self.grants.reserve_exact(1);
        self.grants.push(Grant {
            authority: authority.to_owned(),
            by,
        });
    }

    fn rest_on_cosign(&mut self, signature: &SignatureId, envelope: &Digest, verified: &sigstore::signature::Verified) {
        self.interval = self.interval.intersect(verified.interval());
        let rests_on = &mut self.rests_on;
        rests_on.digests.extend([signature.manifest.clone(), envelope.clone()]);
        rests_on.rest_on(verified.facts());
    }
}
