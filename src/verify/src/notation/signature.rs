//! The verification of one signature under one statement
//! (notation spec: trust-store-trust-policy.md#signature-verification-details).

use crate::Timestamp;
use crate::code::Code;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::evidence;
use crate::notation::identity::TrustedIdentities;
use crate::notation::statement::{Checks, TrustStoreName};
use crate::notation::steps::{
    self, AuthenticTimestamp, Authenticity, Expiry, Failure, Identity, Integrity, Interval, Outcome, Revocation, Step,
    SubjectMatch, Understood,
};
use crate::notation::trust_store::TrustStores;

/// What a statement asks of a signature.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Which checks are enforced.
    pub checks: &'a Checks,
    /// The trust stores that may anchor a chain.
    pub trust_stores: &'a [TrustStoreName],
    /// Who may sign.
    pub identities: &'a TrustedIdentities,
}

/// A signature that passed every step that its level enforces. There is one token per step, and no other way to make
/// one of these than to take all steps.
#[derive(Clone, Debug)]
pub struct Verified {
    integrity: Integrity,
    _attributes: Understood,
    authenticity: Authenticity,
    identity: Identity,
    expiry: Expiry,
    authentic_timestamp: AuthenticTimestamp,
    revocation: Revocation,
    _subject: SubjectMatch,
}

impl Verified {
    /// What is signed, and by whom.
    pub fn integrity(&self) -> &Integrity {
        &self.integrity
    }

    /// Where the chain is anchored.
    pub fn authenticity(&self) -> &Authenticity {
        &self.authenticity
    }

    /// Who signed.
    pub fn identity(&self) -> &Identity {
        &self.identity
    }

    /// Whether the signature has expired.
    pub fn expiry(&self) -> &Expiry {
        &self.expiry
    }

    /// Whether the certificates were valid.
    pub fn authentic_timestamp(&self) -> &AuthenticTimestamp {
        &self.authentic_timestamp
    }

    /// Whether a certificate is revoked.
    pub fn revocation(&self) -> &Revocation {
        &self.revocation
    }

    /// The failure of authenticity or identity that the level only logged. A signature that has one says nothing about
    /// who made it.
    pub fn unauthenticated(&self) -> Option<&Failure> {
        match (self.authenticity.outcome(), self.identity.outcome()) {
            (Outcome::Logged(failure), _) | (_, Outcome::Logged(failure)) => Some(failure),
            _ => None,
        }
    }

    /// When this result holds. What a level only logs does not end it.
    pub fn interval(&self) -> Interval {
        let validity = self.authentic_timestamp.outcome().passed().copied();
        let expiry = self.expiry.outcome().passed().copied().flatten();
        validity.unwrap_or(Interval::ALWAYS).intersect(Interval {
            not_before: Timestamp::MIN,
            until: expiry.unwrap_or(Timestamp::MAX),
        })
    }
}

/// How one step went, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepReport {
    /// The step.
    pub step: Step,
    /// How it went.
    pub outcome: StepOutcome,
}

/// How a step went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StepOutcome {
    /// It holds; what was found.
    Passed(String),
    /// It fails, and the level only reports that.
    Logged(Failure),
    /// The level skips it.
    Skipped,
    /// It fails, and ends the verification.
    Failed(Failure),
    /// An earlier step ended the verification.
    NotReached,
}

/// What became of one signature.
#[derive(Clone, Debug)]
pub struct SignatureJudgement {
    /// The digest of the signature's manifest.
    pub manifest: Digest,
    /// The signature, or why not.
    pub result: Result<Verified, Rejected>,
    /// All steps, in their order.
    pub steps: Vec<StepReport>,
}

/// The step that ended a verification.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rejected {
    /// The step.
    pub step: Step,
    /// Why it fails.
    pub failure: Failure,
}

impl Rejected {
    /// The stable code.
    pub const fn code(&self) -> Code {
        self.failure.code()
    }
}

/// Verifies `signature` as one of `image` under the terms of a statement.
pub fn verify(
    signature: &evidence::Signature,
    image: &Descriptor,
    terms: Terms<'_>,
    stores: &TrustStores,
    now: Timestamp,
) -> SignatureJudgement {
    verify_opened(signature, &steps::integrity(signature), image, terms, stores, now)
}

/// The same for an envelope that was opened before: integrity depends on nothing but the bytes, so one answer serves all
/// statements.
pub(crate) fn verify_opened(
    signature: &evidence::Signature,
    opened: &Result<Integrity, Failure>,
    image: &Descriptor,
    terms: Terms<'_>,
    stores: &TrustStores,
    now: Timestamp,
) -> SignatureJudgement {
    let mut trace = Trace(Vec::with_capacity(Step::ALL.len()));
    let result = take_steps(&mut trace, signature, opened, image, terms, stores, now);
    SignatureJudgement {
        manifest: signature.manifest().digest().clone(),
        result,
        steps: trace.complete(),
    }
}

/// The procedure. The cheap refusals that need no trust come before what is computed for a trusted signer only.
fn take_steps(
    trace: &mut Trace,
    signature: &evidence::Signature,
    opened: &Result<Integrity, Failure>,
    image: &Descriptor,
    terms: Terms<'_>,
    stores: &TrustStores,
    now: Timestamp,
) -> Result<Verified, Rejected> {
    let checks = terms.checks;
    let integrity = trace.take(Step::Integrity, opened.clone())?;
    let attributes = trace.take(Step::Attributes, steps::attributes(&integrity))?;
    let authenticity = trace.take(
        Step::Authenticity,
        steps::authenticity(&integrity, terms.trust_stores, stores, checks.authenticity),
    )?;
    let identity = trace.take(
        Step::Identity,
        steps::identity(&integrity, terms.identities, checks.authenticity),
    )?;
    let expiry = trace.take(Step::Expiry, steps::expiry(&integrity, checks.expiry, now))?;
    let authentic_timestamp = trace.take(
        Step::AuthenticTimestamp,
        steps::authentic_timestamp(&integrity, checks.authentic_timestamp, now),
    )?;
    let revocation = trace.take(Step::Revocation, steps::revocation(&integrity, checks.revocation))?;
    let subject = trace.take(Step::Subject, steps::subject_match(&integrity, signature, image))?;
    Ok(Verified {
        integrity,
        _attributes: attributes,
        authenticity,
        identity,
        expiry,
        authentic_timestamp,
        revocation,
        _subject: subject,
    })
}

/// What the steps that were taken found.
struct Trace(Vec<StepReport>);

impl Trace {
    fn take<T: Report>(&mut self, step: Step, result: Result<T, Failure>) -> Result<T, Rejected> {
        let outcome = match &result {
            Ok(token) => token.report(),
            Err(failure) => StepOutcome::Failed(failure.clone()),
        };
        self.0.push(StepReport { step, outcome });
        result.map_err(|failure| Rejected { step, failure })
    }

    fn complete(mut self) -> Vec<StepReport> {
        let not_reached = Step::ALL.into_iter().skip(self.0.len()).map(|step| StepReport {
            step,
            outcome: StepOutcome::NotReached,
        });
        self.0.extend(not_reached);
        self.0
    }
}

/// How a token's step is reported.
trait Report {
    fn report(&self) -> StepOutcome;
}

fn report<T>(outcome: &Outcome<T>, passed: impl FnOnce(&T) -> String) -> StepOutcome {
    match outcome {
        Outcome::Passed(value) => StepOutcome::Passed(passed(value)),
        Outcome::Logged(failure) => StepOutcome::Logged(failure.clone()),
        Outcome::Skipped => StepOutcome::Skipped,
    }
}

impl Report for Integrity {
    fn report(&self) -> StepOutcome {
        let envelope = self.envelope();
        StepOutcome::Passed(format!(
            "signed with {} by {} at {}, scheme {}",
            envelope.chain().algorithm().as_str(),
            envelope.chain().leaf(),
            envelope.attributes().scheme.time(),
            envelope.attributes().scheme,
        ))
    }
}

impl Report for Understood {
    fn report(&self) -> StepOutcome {
        StepOutcome::Passed("no unknown critical attribute".to_owned())
    }
}

impl Report for Authenticity {
    fn report(&self) -> StepOutcome {
        report(self.outcome(), |anchor| {
            format!("anchored in {} (sha256 {})", anchor.store, anchor.certificate)
        })
    }
}

impl Report for Identity {
    fn report(&self) -> StepOutcome {
        report(self.outcome(), |identity| format!("recognised as {identity}"))
    }
}

impl Report for Expiry {
    fn report(&self) -> StepOutcome {
        report(self.outcome(), |expiry| match expiry {
            Some(expiry) => format!("expires at {expiry}"),
            None => "the signature has no expiry".to_owned(),
        })
    }
}

impl Report for AuthenticTimestamp {
    fn report(&self) -> StepOutcome {
        report(self.outcome(), |interval| {
            if interval.until == Timestamp::MAX {
                "all certificates were valid at the authentic signing time".to_owned()
            } else {
                format!("all certificates are valid until {}", interval.until)
            }
        })
    }
}

impl Report for Revocation {
    fn report(&self) -> StepOutcome {
        report(self.outcome(), |()| {
            "no certificate names a revocation source".to_owned()
        })
    }
}

impl Report for SubjectMatch {
    fn report(&self) -> StepOutcome {
        StepOutcome::Passed("manifest and payload name this image".to_owned())
    }
}
