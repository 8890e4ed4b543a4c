//! What was found about one signature, step by step, for a person.

use super::fulcio;
use super::material::{ClaimedSigner, Content, Material};
use super::signature::{SignatureJudgement, Signed, Step, Verified, Witness};
use super::statement::{COSIGN_SIGNATURE, Statement};
use crate::untrusted::Untrusted;

/// How one step went.
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
    /// Passed, and what was found.
    Passed(String),
    /// Not passed, and why.
    Failed(String),
    /// An earlier step was not passed.
    NotReached,
}

impl SignatureJudgement {
    /// Every step, in the order in which they are taken.
    pub fn steps(&self) -> Vec<StepReport> {
        steps(self.result.as_ref().map(AsRef::as_ref))
    }
}

/// Every step of a judgement, in the order in which they are taken.
pub fn steps(result: Result<&Verified, &super::signature::Rejected>) -> Vec<StepReport> {
    let outcome = |step: Step| match result {
        Ok(verified) => StepOutcome::Passed(found(step, verified)),
        Err(rejected) if step < rejected.step => StepOutcome::Passed(String::new()),
        Err(rejected) if step == rejected.step => StepOutcome::Failed(rejected.failure.to_string()),
        Err(_) => StepOutcome::NotReached,
    };
    Step::ALL
        .into_iter()
        .map(|step| StepReport {
            step,
            outcome: outcome(step),
        })
        .collect()
}

fn found(step: Step, verified: &Verified) -> String {
    match step {
        Step::Content => match verified.signed() {
            Signed::Artifact => "a signature".to_owned(),
            Signed::Statement { predicate_type } => Untrusted::new(predicate_type).to_string(),
        },
        Step::TransparencyLog => witnesses(verified.log_entries()),
        Step::Timestamp => witnesses(verified.timestamps()),
        Step::CertificateTransparency => witnesses(verified.certificate_promises()),
        Step::Identity => verified.signer().to_string(),
        Step::VerifiedTime => verified
            .signed_at()
            .map_or_else(|| "not asked for".to_owned(), |at| at.to_string()),
        Step::DenyList => "no entry of the deny-list names it".to_owned(),
        Step::SecondOpinion if verified.is_agreed() => "sigstore-verify agrees".to_owned(),
        Step::SecondOpinion => "not of its shape".to_owned(),
        Step::Format
        | Step::Subject
        | Step::Integrity
        | Step::Authenticity
        | Step::RequiredEvidence
        | Step::SigningTime
        | Step::Annotations => String::new(),
    }
}

fn witnesses(witnesses: &[Witness]) -> String {
    let lines: Vec<_> = witnesses.iter().map(ToString::to_string).collect();
    match lines.len() {
        0 => "not asked for".to_owned(),
        _ => lines.join("; "),
    }
}

/// What a signature says about itself. Nothing of it is proven.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claims {
    /// Who signed.
    pub signer: String,
    /// What is attested; none for a signature.
    pub predicate_type: Option<String>,
    /// Who vouches for it.
    pub witnesses: Vec<String>,
}

/// What a signature says about itself, for those that no authority verifies.
pub fn claims(material: &Material) -> Claims {
    let signer = match &material.signer {
        ClaimedSigner::Key { hint: None } => "a key".to_owned(),
        ClaimedSigner::Key { hint: Some(hint) } => format!("a key ({})", Untrusted::new(hint)),
        ClaimedSigner::Certificate { leaf, .. } => match fulcio::holder(leaf) {
            Ok(holder) => match &holder.issuer {
                Some(issuer) => format!("{} ({})", Untrusted::new(&holder.subject), Untrusted::new(issuer)),
                None => Untrusted::new(&holder.subject).to_string(),
            },
            Err(error) => format!("a certificate: {error}"),
        },
    };
    let predicate_type = match &material.content {
        Content::Dsse { payload, .. } => match Statement::parse(payload) {
            Ok(statement) if *statement.predicate_type == *COSIGN_SIGNATURE => None,
            Ok(statement) => Some(Untrusted::new(&statement.predicate_type).to_string()),
            Err(error) => Some(error.to_string()),
        },
        Content::SimpleSigning { .. } | Content::Message { .. } => None,
    };
    let entries = material.log_entries.iter().map(|entry| {
        let at = entry.integrated_time.map_or_else(String::new, |at| format!(", {at}"));
        format!("log entry {}{at}", entry.log_index)
    });
    let timestamps = material.timestamps.iter().map(|_| "a timestamp".to_owned());
    Claims {
        signer,
        predicate_type,
        witnesses: entries.chain(timestamps).collect(),
    }
}
