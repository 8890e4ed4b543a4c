//! The judgement of an image: does its evidence satisfy as many authorities as a rule needs?
//!
//! A judgement depends on its arguments alone. It is monotone in signatures (attestations of which the newest decides are the
//! exception): more of them never turn an admit into a denial, and their order does not matter, as long as there are at most [`MAX_SIGNATURES`]. Of more, the first that many
//! are judged, so a gatherer hands over likely ones first; an image that none of them admits is denied with
//! `limit-exceeded`.

use std::collections::BTreeSet;

use crate::attestation::AttestationRequirement;
use crate::circumstances::Circumstances;
use crate::code::Code;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::evidence::Signature;
use crate::index::ImageIndex;
use crate::notation::signature::{Asked, SignatureJudgement, Terms};
use crate::notation::steps::Interval;
use crate::notation::trust_store::TrustStores;
use crate::platform::RunnableChildren;
use crate::policy::Conditions;
use crate::query::{Query, QueryId};
use crate::reference::Repository;
use crate::sigstore;
use crate::x509::certificate::Fingerprint;
use crate::x509::revocation::OnGrace;

mod attestations;
mod findings;
mod shortcoming;

pub use attestations::{AttestationJudgement, NotAttested};
pub use findings::{Findings, Progress};

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
    /// A signature that cosign or another of sigstore's clients made.
    Cosign {
        /// Whose, and what has to vouch for it.
        authority: &'a sigstore::authority::Authority,
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
    /// Everything that is asked of a Notary Project signature on `image`; nothing where none is asked for.
    fn asked<'a>(&'a self, image: &'a Descriptor, conditions: &'a Conditions) -> Option<Asked<'a>> {
        match self {
            Self::Notation { terms, stores } => Some(Asked {
                target: image,
                terms: *terms,
                stores,
                conditions,
            }),
            Self::Cosign { .. } | Self::Skip | Self::NotApplicable { .. } => None,
        }
    }
}

/// The answer.
#[derive(Clone, Debug)]
pub enum Judgement {
    /// The evidence satisfies the requirement.
    Admit(Box<Permit>),
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

    /// Takes what an index names into what its permit rests on: the withdrawal of a child ends it. The children are bound to
    /// the index by its own bytes. False where it is another index than the one that is permitted: nothing is taken then.
    #[must_use]
    pub fn rest_on_children(&mut self, index: &ImageIndex) -> bool {
        let is_its_own = *index.descriptor() == self.subject;
        if is_its_own {
            self.rests_on.digests.extend(index.children().iter().cloned());
        }
        is_its_own
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
    /// An attestation that says what the rule asks for.
    Attestation {
        /// The digest of its manifest.
        manifest: Digest,
        /// Who signed it.
        identity: String,
        /// What it attests: the predicate type.
        predicate_type: String,
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
    /// The image, of an index its children too, the manifests of signatures and their envelopes.
    pub digests: BTreeSet<Digest>,
    /// Every certificate of the chains.
    pub certificates: BTreeSet<Fingerprint>,
    /// The keys that signed without a certificate: the SHA-256 of each one's `SubjectPublicKeyInfo`.
    pub keys: BTreeSet<[u8; 32]>,
    /// The signers, as they were recognised.
    pub identities: BTreeSet<String>,
    /// The queries whose answers it rests on.
    pub queries: BTreeSet<QueryId>,
}

impl RestsOn {
    fn merge(&mut self, other: &Self) {
        self.digests.extend(other.digests.iter().cloned());
        self.certificates.extend(&other.certificates);
        self.keys.extend(&other.keys);
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
    /// The predicate type, where an attestation is asked of it.
    pub attestation: Option<String>,
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
        Some(shortcoming::of(self))
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
    /// The same, of an authority for what cosign makes.
    Cosign(Vec<sigstore::signature::SignatureJudgement>),
    /// Attestations of the type that is asked for. Those of other types are passed over.
    Attestations(Vec<AttestationJudgement>),
}

impl Finding {
    fn is_empty(&self) -> bool {
        match self {
            Self::Signatures(judgements) => judgements.is_empty(),
            Self::Cosign(judgements) => judgements.is_empty(),
            Self::Attestations(judgements) => judgements.is_empty(),
            Self::NotApplicable(_) | Self::Skipped => false,
        }
    }
}

/// What a rule asks of an image's evidence.
#[derive(Clone, Copy, Debug)]
pub struct Requirement<'a> {
    /// How many of the authorities must be satisfied; none only where attestations are asked for. All, any and at least n are all of this form.
    pub needed: usize,
    /// The authorities by name, with their terms. A name that is there twice counts once.
    pub authorities: &'a [(&'a str, AuthorityTerms<'a>)],
    /// Whether an authority is also satisfied by a level that skips everything, or that only logs that a signer is not
    /// authentic.
    pub accept_unverified: bool,
    /// What is asked of every signature.
    pub conditions: &'a Conditions,
    /// What has to be attested. Every one of them has to be satisfied, each by one statement.
    pub attestations: &'a [AttestationAsked<'a>],
}

/// An attestation that a rule asks for.
#[derive(Clone, Copy, Debug)]
pub struct AttestationAsked<'a> {
    /// The name of the authority that has to have signed it.
    pub authority: &'a str,
    /// The authority's terms.
    pub terms: AuthorityTerms<'a>,
    /// What it has to say.
    pub requirement: &'a AttestationRequirement,
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
