//! The verification of one signature under one statement
//! (notation spec: trust-store-trust-policy.md#signature-verification-details).

use std::collections::BTreeSet;

use crate::Timestamp;
use crate::artifact::Blob;
use crate::circumstances::Circumstances;
use crate::code::Code;
use crate::deny_list::SignerFacts;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::evidence;
use crate::notation::identity::TrustedIdentities;
use crate::notation::statement::{Checks, TrustStoreName};
use crate::notation::steps::{
    self, Annotated, AuthenticTime, AuthenticTimestamp, Authenticity, Consulted, Expiry, Failure, Identity, Integrity,
    Interval, Matched, NotDenied, NotRevokedBy, Outcome, Revocation, Revocations, SigningTime, Step, Stop,
    SubjectMatch, TimestampRevocation, Understood,
};
use crate::notation::trust_policy::VerifyTimestamp;
use crate::notation::trust_store::TrustStores;
use crate::policy::Conditions;
use crate::query::{Proven, Query};
use crate::x509::certificate::Certificate;
use crate::x509::revocation::NotRevoked;

/// What a statement asks of a signature.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// Which checks are enforced.
    pub checks: &'a Checks,
    /// When a countersignature is looked at. Without a timestamp store, never.
    pub verify_timestamp: VerifyTimestamp,
    /// The trust stores that may anchor a chain.
    pub trust_stores: &'a [TrustStoreName],
    /// Who may sign.
    pub identities: &'a TrustedIdentities,
}

/// Everything that is asked of a signature: by the statement, by the rule, and of what it has to be: an image, or a
/// [`Blob`].
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a, T = Descriptor> {
    /// What it has to be one of.
    pub target: &'a T,
    /// What the statement asks.
    pub terms: Terms<'a>,
    /// All trust stores that the terms may name.
    pub stores: &'a TrustStores,
    /// What the rule asks.
    pub conditions: &'a Conditions,
}

/// A signature that passed every step that its level enforces. There is one token per step, and no other way to make
/// one of these than to take all steps.
#[derive(Clone, Debug)]
pub struct Verified {
    integrity: Integrity,
    _attributes: Understood,
    authenticity: Authenticity,
    consulted: Consulted,
    identity: Identity,
    expiry: Expiry,
    authentic_timestamp: AuthenticTimestamp,
    _subject: SubjectMatch,
    not_denied: NotDenied,
    _signing_time: SigningTime,
    _annotations: Annotated,
    timestamp_revocation: TimestampRevocation,
    revocation: Revocation,
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

    /// What a later deny-list may name.
    pub fn facts(&self) -> &SignerFacts {
        self.not_denied.facts()
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

    /// Every certificate that the signature rests on: the signer's chain, and the timestamp authority's where its
    /// countersignature counts.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        let countersigned = match self.authentic_timestamp.outcome().passed() {
            Some(AuthenticTime::Countersigned(countersignature)) => countersignature.chain(),
            _ => &[],
        };
        self.integrity.envelope().chain().certificates().chain(countersigned)
    }

    /// What was found about revocation, of the signer's chain and of the timestamp authority's.
    pub fn not_revoked(&self) -> impl Iterator<Item = &NotRevoked> {
        let timestamp = self.timestamp_revocation.outcome().and_then(Outcome::passed);
        let signer = match self.revocation.outcome().passed() {
            Some(NotRevokedBy::Issuers(found)) => Some(found),
            Some(NotRevokedBy::Plugin(_)) | None => None,
        };
        timestamp.into_iter().chain(signer)
    }

    /// When this result holds. What a level only logs does not end it.
    pub fn interval(&self) -> Interval {
        let expiry = self.expiry.outcome().passed().copied().flatten();
        let answered = self.not_revoked().map(|found| found.until).min();
        let valid = self.authentic_timestamp.interval().intersect(self.consulted.interval());
        valid.intersect(Interval {
            not_before: Timestamp::MIN,
            until: expiry.unwrap_or(Timestamp::MAX).min(answered.unwrap_or(Timestamp::MAX)),
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
    /// The world has to be asked first.
    Needs(BTreeSet<Query>),
    /// An earlier step ended the verification.
    NotReached,
}

/// What became of one signature.
#[derive(Clone, Debug)]
pub struct SignatureJudgement {
    /// The digest of the signature's manifest.
    pub manifest: Digest,
    /// The signature, or why not.
    pub result: Result<Verified, NotVerified>,
    /// All steps, in their order.
    pub steps: Vec<StepReport>,
    /// The answers that are signed by those who may: only these are worth keeping.
    pub proven: Proven,
}

/// Why a signature is not verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotVerified {
    /// It is not good enough.
    Rejected(Rejected),
    /// It may be: the world has to be asked first.
    Needs(BTreeSet<Query>),
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
    pub fn code(&self) -> Code {
        self.failure.code()
    }
}

/// Verifies a signature under what is asked of it.
pub fn verify(
    signature: &evidence::Signature,
    asked: &Asked<'_>,
    circumstances: &Circumstances<'_>,
) -> SignatureJudgement {
    verify_opened(signature, &steps::integrity(signature), asked, circumstances)
}

/// The same for an envelope that was opened before: integrity depends on nothing but the bytes, so one answer serves all
/// statements.
pub(crate) fn verify_opened(
    signature: &evidence::Signature,
    opened: &Result<Integrity, Failure>,
    asked: &Asked<'_>,
    circumstances: &Circumstances<'_>,
) -> SignatureJudgement {
    let manifest = signature.manifest().digest();
    let subject = |integrity: &Integrity| steps::subject_match(integrity, signature, asked.target);
    let BlobJudgement { result, steps, proven } = judge(opened, Some(manifest), subject, asked, circumstances);
    SignatureJudgement {
        manifest: manifest.clone(),
        result,
        steps,
        proven,
    }
}

/// What became of the signature of a file.
#[derive(Clone, Debug)]
pub struct BlobJudgement {
    /// The signature, or why not.
    pub result: Result<Verified, NotVerified>,
    /// All steps, in their order.
    pub steps: Vec<StepReport>,
    /// The answers that are signed by those who may.
    pub proven: Proven,
}

/// Verifies the signature of a file under what is asked of it. It is opened first ([`steps::open`]), because only its
/// algorithm says by which hash the file is to be digested.
pub fn verify_blob(
    opened: &Result<Integrity, Failure>,
    asked: &Asked<'_, Blob>,
    circumstances: &Circumstances<'_>,
) -> BlobJudgement {
    let subject = |integrity: &Integrity| steps::blob_match(integrity, asked.target);
    judge(opened, None, subject, asked, circumstances)
}

/// `manifest` is the digest of the manifest that the envelope came with, where there is one.
fn judge<T>(
    opened: &Result<Integrity, Failure>,
    manifest: Option<&Digest>,
    subject: impl FnOnce(&Integrity) -> Result<SubjectMatch, Failure>,
    asked: &Asked<'_, T>,
    circumstances: &Circumstances<'_>,
) -> BlobJudgement {
    let mut trace = Trace {
        steps: Vec::with_capacity(Step::ALL.len()),
        proven: Proven::new(),
    };
    let result = take_steps(&mut trace, opened, manifest, subject, asked, circumstances);
    let (steps, proven) = trace.complete();
    BlobJudgement { result, steps, proven }
}

/// The procedure. What needs no trust comes first, and what needs the world's word last: nothing outside is asked about a
/// signature that would be refused anyway.
fn take_steps<T>(
    trace: &mut Trace,
    opened: &Result<Integrity, Failure>,
    manifest: Option<&Digest>,
    subject: impl FnOnce(&Integrity) -> Result<SubjectMatch, Failure>,
    asked: &Asked<'_, T>,
    circumstances: &Circumstances<'_>,
) -> Result<Verified, NotVerified> {
    let Asked {
        target: _,
        terms,
        stores,
        conditions,
    } = asked;
    let checks = terms.checks;
    let now = circumstances.now;
    let integrity = trace.take(Step::Integrity, opened.clone())?;
    let attributes = trace.take(Step::Attributes, steps::attributes(&integrity))?;
    let authenticity = trace.take(
        Step::Authenticity,
        steps::authenticity(&integrity, terms.trust_stores, stores, checks.authenticity),
    )?;
    let recognise = |trace: &mut Trace| {
        let consulted = trace.take(
            Step::Plugin,
            steps::plugin(&integrity, &authenticity, terms, circumstances),
        )?;
        let identity = trace.take(
            Step::Identity,
            steps::identity(&integrity, &consulted, terms.identities, checks.authenticity),
        )?;
        Ok((consulted, identity))
    };
    // A plugin is run only for a signature that nothing else is wrong with.
    let recognised = match &integrity.envelope().attributes().plugin {
        None => Some(recognise(trace)?),
        Some(_) => None,
    };
    let expiry = trace.take(Step::Expiry, steps::expiry(&integrity, checks.expiry, now))?;
    let digests: Vec<&Digest> = manifest.into_iter().chain([integrity.digest()]).collect();
    let suspect = steps::suspect(&integrity, &digests, circumstances.denied);
    let authentic_timestamp = trace.take(
        Step::AuthenticTimestamp,
        steps::authentic_timestamp(&integrity, terms, stores, conditions, &suspect, now),
    )?;
    let subject = trace.take(Step::Subject, subject(&integrity))?;
    let not_denied = trace.take(
        Step::DenyList,
        steps::deny_list(
            &integrity,
            suspect,
            &authentic_timestamp,
            &digests,
            circumstances.denied,
        ),
    )?;
    let signing_time = trace.take(
        Step::SigningTime,
        steps::signing_time_floor(&authentic_timestamp, conditions.minimum_signing_time),
    )?;
    let annotations = trace.take(
        Step::Annotations,
        steps::annotations(&integrity, &conditions.annotations),
    )?;
    let (consulted, identity) = match recognised {
        Some(recognised) => recognised,
        None => recognise(trace)?,
    };
    let Revocations {
        timestamp,
        signer,
        proven,
    } = steps::revocations(
        &integrity,
        &authenticity,
        &consulted,
        &authentic_timestamp,
        checks,
        conditions,
        circumstances,
    );
    trace.proven.extend(proven);
    // What both lack is asked in one round.
    let lacking = match (&timestamp, &signer) {
        (Err(Stop::Needs(one)), Err(Stop::Needs(other))) => Some(one | other),
        _ => None,
    };
    let timestamp_revocation = match lacking {
        Some(queries) => trace.take(Step::TimestampRevocation, Err(Stop::Needs(queries)))?,
        None => trace.take(Step::TimestampRevocation, timestamp)?,
    };
    let revocation = trace.take(Step::Revocation, signer)?;
    Ok(Verified {
        integrity,
        _attributes: attributes,
        authenticity,
        consulted,
        identity,
        expiry,
        authentic_timestamp,
        _subject: subject,
        not_denied,
        _signing_time: signing_time,
        _annotations: annotations,
        timestamp_revocation,
        revocation,
    })
}

/// What the steps that were taken found.
struct Trace {
    steps: Vec<StepReport>,
    proven: Proven,
}

impl Trace {
    fn take<T: Report>(&mut self, step: Step, result: Result<T, impl Into<Stop>>) -> Result<T, NotVerified> {
        let result = result.map_err(Into::into);
        let outcome = match &result {
            Ok(token) => token.report(),
            Err(Stop::Failed(failure)) => StepOutcome::Failed(failure.clone()),
            Err(Stop::Needs(queries)) => StepOutcome::Needs(queries.clone()),
        };
        self.steps.push(StepReport { step, outcome });
        result.map_err(|stop| match stop {
            Stop::Failed(failure) => NotVerified::Rejected(Rejected { step, failure }),
            Stop::Needs(queries) => NotVerified::Needs(queries),
        })
    }

    fn complete(mut self) -> (Vec<StepReport>, Proven) {
        let taken = |step| self.steps.iter().any(|report| report.step == step);
        let not_reached: Vec<_> = Step::ALL.into_iter().filter(|step| !taken(*step)).collect();
        self.steps.extend(not_reached.into_iter().map(|step| StepReport {
            step,
            outcome: StepOutcome::NotReached,
        }));
        self.steps.sort_by_key(|report| report.step);
        (self.steps, self.proven)
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
        StepOutcome::Passed("no critical attribute that nobody could understand".to_owned())
    }
}

impl Report for Authenticity {
    fn report(&self) -> StepOutcome {
        report(self.outcome(), |anchor| {
            format!("anchored in {} (sha256 {})", anchor.store, anchor.certificate)
        })
    }
}

impl Report for Consulted {
    fn report(&self) -> StepOutcome {
        StepOutcome::Passed(match self.finding() {
            Some(found) => format!(
                "the plugin {} {} was heard{}",
                found.plugin,
                found.version,
                self.attributes()
            ),
            None => "the signature asks for none".to_owned(),
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
        report(self.outcome(), |time| match time {
            AuthenticTime::Now(valid) => format!("all certificates are valid until {}", valid.until),
            AuthenticTime::SigningAuthority(at) => {
                format!("all certificates were valid at {at}, the time of the signing authority")
            }
            AuthenticTime::Countersigned(countersignature) => {
                let authority = countersignature.chain().first().map(ToString::to_string);
                format!(
                    "all certificates were valid at {}, the time of {}",
                    countersignature.generated_at(),
                    authority.unwrap_or_default()
                )
            }
        })
    }
}

impl Report for NotDenied {
    fn report(&self) -> StepOutcome {
        StepOutcome::Passed("no entry of the deny-list names it".to_owned())
    }
}

impl Report for SigningTime {
    fn report(&self) -> StepOutcome {
        StepOutcome::Passed(match self.made() {
            Some(made) => format!("made at {made} or later"),
            None => "no minimum is asked for".to_owned(),
        })
    }
}

impl Report for Annotated {
    fn report(&self) -> StepOutcome {
        StepOutcome::Passed(match self.count() {
            0 => "none is asked for".to_owned(),
            count => format!("all {count} that are asked for"),
        })
    }
}

fn not_revoked(found: &NotRevoked) -> String {
    let mut words: Vec<_> = found.checked.iter().map(ToString::to_string).collect();
    words.extend(found.on_grace.iter().map(ToString::to_string));
    words.join("; ")
}

impl Report for TimestampRevocation {
    fn report(&self) -> StepOutcome {
        match self.outcome() {
            Some(outcome) => report(outcome, not_revoked),
            None => StepOutcome::Passed("no countersignature counts".to_owned()),
        }
    }
}

impl Report for Revocation {
    fn report(&self) -> StepOutcome {
        report(self.outcome(), |found| match found {
            NotRevokedBy::Issuers(found) => not_revoked(found),
            NotRevokedBy::Plugin(plugin) => format!("not revoked by the word of the plugin {plugin}"),
        })
    }
}

impl Report for SubjectMatch {
    fn report(&self) -> StepOutcome {
        let found = match self.matched() {
            Matched::Image => "manifest and payload name this image",
            Matched::Blob => "the payload names this file",
        };
        StepOutcome::Passed(found.to_owned())
    }
}
