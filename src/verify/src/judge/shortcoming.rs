//! Why a rule is not satisfied, in the words of the evidence that came closest.

use std::borrow::Cow;

use super::attestations::NotAttested;
use super::{AuthorityReport, Finding, Rejection};
use crate::code::Code;
use crate::limits::{MAX_REASON_LENGTH, MAX_SIGNATURES};
use crate::notation::signature::{NotVerified, SignatureJudgement};
use crate::notation::steps::Step;
use crate::sigstore::signature as sigstore;
use crate::untrusted::one_line;

/// Why what was judged does not decide.
#[derive(Clone, Copy, Debug)]
pub(super) enum Undecided {
    /// There is more than is judged.
    Cut,
    /// Something that may be the newest could not be looked into.
    Unread,
}

/// The code and the words for an authority that is not satisfied.
pub(super) fn of(report: &AuthorityReport) -> (Code, String) {
    match shortcoming(report) {
        Some(found) => (found.code, found.reason),
        None => nothing_found(report),
    }
}

/// There was nothing to find fault with.
fn nothing_found(report: &AuthorityReport) -> (Code, String) {
    let authority = &report.authority;
    match &report.attestation {
        None => (Code::Unsigned, format!("no signature by {authority} was found")),
        Some(predicate_type) => (
            Code::AttestationMissing,
            format!("no attestation of the type {predicate_type} by {authority} was found"),
        ),
    }
}

pub(super) fn reject(
    needed: usize,
    satisfied: usize,
    undecided: Option<Undecided>,
    reports: Vec<AuthorityReport>,
) -> Rejection {
    let attested = reports.iter().any(|report| report.attestation.is_some());
    let (code, reason) = if reports.is_empty() || (needed == 0 && !attested) {
        let reason = "the requirement asks for nothing: it is never satisfied";
        (Code::PolicyInvalid, Cow::Borrowed(reason))
    } else {
        let unsatisfied = || reports.iter().filter(|report| !report.satisfied);
        let mut names: Vec<_> = unsatisfied().map(|report| report.authority.as_str()).collect();
        names.dedup();
        let names = names.join(" and ");
        let closest = unsatisfied()
            .filter_map(|report| shortcoming(report).map(|found| (found, report)))
            // The first of equals, so that the answer does not depend on how a maximum is chosen.
            .reduce(|best, next| if next.0.rank > best.0.rank { next } else { best });
        let (code, reason) = match closest {
            Some((found, report)) => (found.code, format!("{}: {}", report.authority, found.reason)),
            None => {
                // A missing signature tells more than a missing attestation: without it there is none of the latter.
                let unsigned = unsatisfied().any(|report| report.attestation.is_none());
                match unsatisfied().next().filter(|_| !unsigned) {
                    Some(report) => nothing_found(report),
                    None => (Code::Unsigned, format!("no signature by {names} was found")),
                }
            }
        };
        let progress = if satisfied > 0 && satisfied < needed {
            format!("{satisfied} of {needed} authorities satisfied; ")
        } else {
            String::new()
        };
        match undecided {
            Some(Undecided::Cut) => {
                let reason =
                    format!("{progress}none of the first {MAX_SIGNATURES} signatures satisfies {names}; {reason}");
                (Code::LimitExceeded, Cow::Owned(reason))
            }
            Some(Undecided::Unread) => {
                let what = "an attestation that may be the newest is too large to be looked into";
                (Code::LimitExceeded, Cow::Owned(format!("{progress}{what}; {reason}")))
            }
            None => (code, Cow::Owned(progress + &reason)),
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
    /// The deny-list names it. Whoever put it there has to find that in every denial to which it led.
    Denied,
}

/// How close to passing a signature came that failed this step. It is not the order in which the steps are taken: that the
/// right signer's signature has expired tells more than that somebody else signed.
const fn rank(step: Step) -> Rank {
    Rank::Failed(match step {
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
        Step::DenyList => return Rank::Denied,
    })
}

/// The same for what cosign makes. That an attestation is no signature tells least: every image with provenance has one.
const fn rank_of_cosign(step: sigstore::Step) -> Rank {
    Rank::Failed(match step {
        sigstore::Step::Format | sigstore::Step::Content => 0,
        sigstore::Step::Integrity => 1,
        sigstore::Step::Authenticity => 2,
        sigstore::Step::Identity => 3,
        sigstore::Step::Subject => 5,
        sigstore::Step::TransparencyLog | sigstore::Step::CertificateTransparency => 6,
        sigstore::Step::Timestamp | sigstore::Step::RequiredEvidence | sigstore::Step::VerifiedTime => 7,
        sigstore::Step::SigningTime => 8,
        sigstore::Step::Annotations => 9,
        sigstore::Step::SecondOpinion => 10,
        sigstore::Step::DenyList => return Rank::Denied,
    })
}

/// What a good statement says, and should not.
const STATEMENT_CLOSENESS: u8 = 12;

/// None where there was nothing to find fault with.
fn shortcoming(report: &AuthorityReport) -> Option<Shortcoming> {
    match &report.finding {
        Finding::NotApplicable(reason) => Some(Shortcoming {
            rank: Rank::NotApplicable,
            code: Code::NoMatchingRule,
            reason: reason.clone(),
        }),
        Finding::Skipped => Some(Shortcoming {
            rank: Rank::Skipped,
            code: Code::Unsigned,
            reason: "its level skips verification, and the rule does not accept that".to_owned(),
        }),
        Finding::Signatures(judgements) => of_notation(judgements),
        Finding::Cosign(judgements) => {
            let rejected = judgements
                .iter()
                .filter_map(|judgement| judgement.result.as_ref().err());
            closest(rejected.map(of_cosign), judgements.len(), "signatures")
        }
        Finding::Attestations(judgements) => {
            let refused = judgements
                .iter()
                .filter_map(|judgement| judgement.result.as_ref().err());
            let found = refused.map(|refused| match refused {
                NotAttested::Signature(rejected) => of_cosign(rejected),
                NotAttested::Statement { error, .. } => Shortcoming {
                    rank: Rank::Failed(STATEMENT_CLOSENESS),
                    code: error.code(),
                    reason: error.to_string(),
                },
            });
            closest(found, judgements.len(), "attestations")
        }
    }
}

fn of_cosign(rejected: &sigstore::Rejected) -> Shortcoming {
    // Strangers can attach what is too large: it tells least.
    let too_large = rejected.failure.code() == Code::LimitExceeded;
    Shortcoming {
        rank: match too_large {
            true => Rank::Failed(0),
            false => rank_of_cosign(rejected.step),
        },
        code: rejected.failure.code(),
        reason: rejected.failure.to_string(),
    }
}

/// The one that came closest; the first of equals.
fn closest(found: impl Iterator<Item = Shortcoming>, count: usize, what: &str) -> Option<Shortcoming> {
    let mut closest = found.reduce(|best, next| if next.rank > best.rank { next } else { best })?;
    if count > 1 {
        closest.reason = format!("{} (the closest of {count} {what})", closest.reason);
    }
    Some(closest)
}

fn of_notation(judgements: &[SignatureJudgement]) -> Option<Shortcoming> {
    let (rank, failure) = judgements
        .iter()
        .filter_map(|judgement| match &judgement.result {
            Ok(verified) => Some((Rank::Unauthenticated, verified.unauthenticated()?)),
            Err(NotVerified::Rejected(rejected)) => Some((rank(rejected.step), &rejected.failure)),
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
