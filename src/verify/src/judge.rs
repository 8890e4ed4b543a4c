//! The judgement of an image: does its evidence satisfy as many authorities as a rule needs?
//!
//! A judgement depends on its arguments alone. It is monotone in signatures: more of them never turn an admit into a
//! denial, and their order does not matter, as long as there are at most [`MAX_SIGNATURES`]. Of more, the first that many
//! are judged, so a gatherer hands over likely ones first; an image that none of them admits is denied with
//! `limit-exceeded`.

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::Timestamp;
use crate::code::Code;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::evidence::Signature;
use crate::limits::{MAX_REASON_LENGTH, MAX_SIGNATURES};
use crate::notation::signature::{self, SignatureJudgement, Terms, Verified};
use crate::notation::steps::{self, Failure, Integrity, Interval, Step};
use crate::notation::trust_store::TrustStores;
use crate::reference::Repository;
use crate::x509::certificate::Fingerprint;

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

/// The answer.
#[derive(Clone, Debug)]
pub enum Judgement {
    /// The evidence satisfies the requirement.
    Admit(Permit),
    /// It does not.
    Reject(Rejection),
}

/// Why an image is admitted. Only [`judge`] makes one.
#[derive(Clone, Debug)]
pub struct Permit {
    grants: Vec<Grant>,
    rests_on: RestsOn,
    interval: Interval,
    reports: Vec<AuthorityReport>,
}

impl Permit {
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

    /// What was found, for an explanation.
    pub fn reports(&self) -> &[AuthorityReport] {
        &self.reports
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

/// What was looked at for one authority.
#[derive(Clone, Debug)]
pub enum Finding {
    /// The authority has nothing to say about this repository.
    NotApplicable(String),
    /// The level is skip.
    Skipped,
    /// The signatures that were judged: all, or all up to the first that satisfies.
    Signatures(Vec<SignatureJudgement>),
}

/// Judges `evidence`: admits when at least `needed` of the named authorities are satisfied. All, any and at least n are
/// all of this form.
///
/// An authority is satisfied by one signature that is verified under its terms; the same signature may satisfy several. A
/// level that only logs that a signer is not authentic, or skips everything, satisfies nothing, unless
/// `accept_unverified`. A requirement of nothing, by nobody, or by more authorities than there are, is never satisfied;
/// a name that is there twice counts once.
pub fn judge(
    evidence: &[Signature],
    subject: &Subject<'_>,
    needed: usize,
    authorities: &[(&str, AuthorityTerms<'_>)],
    accept_unverified: bool,
    now: Timestamp,
) -> Judgement {
    let mut evidence = Evidence::new(evidence);
    let mut names = BTreeSet::new();
    let mut satisfied = Vec::new();
    let mut reports = Vec::new();
    for (name, terms) in authorities {
        if !names.insert(*name) {
            continue;
        }
        let (grant, finding) = satisfy(&mut evidence, subject.descriptor, terms, accept_unverified, now);
        reports.push(AuthorityReport {
            authority: (*name).to_owned(),
            satisfied: grant.is_some(),
            finding,
        });
        satisfied.extend(grant.map(|granted| (*name, granted)));
        if needed > 0 && satisfied.len() >= needed {
            return Judgement::Admit(permit(subject, satisfied, reports));
        }
    }
    Judgement::Reject(reject(needed, satisfied.len(), evidence.is_cut(), reports))
}

/// The signatures with their opened envelopes. Integrity does not depend on an authority, so it is computed once, and
/// only when it is asked for.
struct Evidence<'a> {
    signatures: Vec<(&'a Signature, Option<Result<Integrity, Failure>>)>,
    cut: bool,
}

impl<'a> Evidence<'a> {
    fn new(signatures: &'a [Signature]) -> Self {
        Self {
            signatures: signatures
                .iter()
                .take(MAX_SIGNATURES)
                .map(|signature| (signature, None))
                .collect(),
            cut: signatures.len() > MAX_SIGNATURES,
        }
    }

    fn is_cut(&self) -> bool {
        self.cut
    }
}

/// A satisfied authority: by which signature, if by any.
enum Granted {
    Signature(Digest, Digest, Box<Verified>),
    Nothing,
}

fn satisfy(
    evidence: &mut Evidence<'_>,
    image: &Descriptor,
    authority: &AuthorityTerms<'_>,
    accept_unverified: bool,
    now: Timestamp,
) -> (Option<Granted>, Finding) {
    let (terms, stores) = match authority {
        AuthorityTerms::NotApplicable { reason } => return (None, Finding::NotApplicable((*reason).to_owned())),
        AuthorityTerms::Skip => return (accept_unverified.then_some(Granted::Nothing), Finding::Skipped),
        AuthorityTerms::Notation { terms, stores } => (*terms, *stores),
    };
    let mut judgements = Vec::new();
    // A signature that proves who made it is preferred over one that is merely accepted.
    let mut accepted = None;
    for (signature, opened) in &mut evidence.signatures {
        let opened = opened.get_or_insert_with(|| steps::integrity(signature));
        let judgement = signature::verify_opened(signature, opened, image, terms, stores, now);
        let granted = judgement.result.as_ref().ok().map(|verified| {
            let envelope = signature.manifest().envelope().digest.clone();
            let granted = Granted::Signature(judgement.manifest.clone(), envelope, Box::new(verified.clone()));
            (verified.unauthenticated().is_none(), granted)
        });
        judgements.push(judgement);
        match granted {
            Some((true, granted)) => return (Some(granted), Finding::Signatures(judgements)),
            Some((false, granted)) if accept_unverified => {
                accepted.get_or_insert(granted);
            }
            _ => {}
        }
    }
    (accepted, Finding::Signatures(judgements))
}

fn permit(subject: &Subject<'_>, satisfied: Vec<(&str, Granted)>, reports: Vec<AuthorityReport>) -> Permit {
    let mut rests_on = RestsOn::default();
    rests_on.digests.insert(subject.descriptor.digest.clone());
    let mut interval = Interval::ALWAYS;
    let mut grants = Vec::new();
    for (authority, granted) in satisfied {
        let by = match granted {
            Granted::Nothing => GrantedBy::Nothing,
            Granted::Signature(manifest, envelope, verified) => {
                interval = interval.intersect(verified.interval());
                let chain = verified.integrity().envelope().chain();
                rests_on
                    .certificates
                    .extend(chain.certificates().map(|certificate| certificate.fingerprint()));
                rests_on.digests.extend([manifest.clone(), envelope]);
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
        grants,
        rests_on,
        interval,
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
        reason: one_line(&reason),
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
    Failed(Step),
    Unauthenticated,
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
            Err(rejected) => Some((Rank::Failed(rejected.step), &rejected.failure)),
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

/// What strangers wrote is escaped where it is shown; this keeps what operators wrote, and the whole, in one short line.
fn one_line(text: &str) -> String {
    const ELLIPSIS: &str = "...";
    let mut line: String = text
        .chars()
        .map(|character| if matches!(character, ' '..='~') { character } else { '?' })
        .collect();
    if line.len() > MAX_REASON_LENGTH {
        line.truncate(MAX_REASON_LENGTH - ELLIPSIS.len());
        line.push_str(ELLIPSIS);
    }
    line
}
