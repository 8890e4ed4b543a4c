//! What the journal is told. One fixed message id per kind of event (systemd.journal-fields(7)), explained by the
//! message catalog and `docs/codes.md`.

use std::sync::Arc;
use std::time::Duration;

use assay_verify::digest::Digest;
use assay_verify::reference::Repository;
use assay_verify::untrusted::Untrusted;
use tracing::{error, info, warn};

use super::bundle::Imported;
use super::ledger::{Named, Past};
use super::pipeline::Decision;
use super::question::Question;
use super::verdict::{Denial, Ground, Outcome, Verdict};
use crate::trust::{Rejected, TrustSnapshot, TrustState};

/// An image was admitted.
pub const ADMITTED: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a10";
/// An image was admitted that enforcement would deny.
pub const AUDITED: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a11";
/// An image was denied.
pub const DENIED: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a12";
/// An exception admitted an image: break-glass.
pub const EXCEPTION_USED: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a14";
/// An image that was admitted would be denied now.
pub const WITHDRAWN: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a15";
/// A question was not well-formed.
pub const MALFORMED: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a13";
/// Evidence was imported, or refused.
pub const IMPORTED: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a16";
/// An image is on the node that came past the hook.
pub const PAST_THE_HOOK: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a17";
/// A policy came into force.
pub const POLICY_LOADED: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a20";
/// A policy was refused; the last good one stays in force.
pub const POLICY_REFUSED: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a21";
/// The policy repository cannot be followed; what is in force stays.
pub const SYNC_FAILING: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a22";
/// The policy repository is followed again.
pub const SYNC_RECOVERED: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a23";
/// An update of the policy repository was refused; what is in force stays.
pub const UPDATE_REFUSED: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a24";
/// The node's standing changed: fresh, stale, expired, or its clock is behind.
pub const TRUST_STANDING: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a25";
/// The daemon serves.
pub const STARTED: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a30";
/// The daemon stops.
pub const STOPPED: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a31";
/// Somebody connected who may not ask.
pub const PEER_REFUSED: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a32";

/// The decision log cannot be written, or is written again.
pub const DECISION_LOG: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a40";

/// The ledger of admissions cannot be read or written, or is written again.
pub const LEDGER: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a41";

/// Logs a decision, once.
pub(super) fn decided(question: &Question, decision: &Decision) {
    let (id, word, code) = match &decision.verdict.outcome {
        Outcome::Admit(Ground::Exception(_)) => (EXCEPTION_USED, "admit", ""),
        Outcome::Admit(_) => (ADMITTED, "admit", ""),
        Outcome::Audited(denial) => (AUDITED, "audit", denial.code.as_str()),
        Outcome::Deny(denial) => (DENIED, "deny", denial.code.as_str()),
    };
    // The level is part of an event's static description, so each level has its own call.
    macro_rules! log {
        ($level:ident) => {
            $level!(
                message_id = id,
                assay_image = %question.repository,
                assay_digest = %question.descriptor.digest,
                assay_verdict = word,
                assay_code = code,
                assay_rule = decision.verdict.rule.as_deref().unwrap_or_default(),
                assay_policy = decision.verdict.revision.as_deref().unwrap_or_default(),
                assay_cache = decision.cache.as_str(),
                assay_duration_us = microseconds(decision.duration),
                assay_decision_id = %decision.id,
                assay_hook = question.hook.as_str(),
                "{word} {}: {}",
                question.repository,
                decision.verdict.finding()
            )
        };
    }
    match decision.verdict.outcome {
        Outcome::Admit(Ground::Exception(_)) => log!(warn),
        Outcome::Admit(_) => log!(info),
        Outcome::Audited(_) | Outcome::Deny(_) => log!(warn),
    }
}

/// Says that an image which was admitted would not be now. It may be running.
pub(super) fn withdrawn(repository: &Repository, digest: &Digest, verdict: &Verdict, denial: &Denial) {
    warn!(
        message_id = WITHDRAWN,
        assay_image = %repository,
        assay_digest = %digest,
        assay_verdict = "deny",
        assay_code = denial.code.as_str(),
        assay_rule = verdict.rule.as_deref().unwrap_or_default(),
        assay_policy = verdict.revision.as_deref().unwrap_or_default(),
        "{repository}@{digest} was admitted and {}: {}",
        if denial.code.is_inconclusive() {
            "may be denied now"
        } else {
            "would be denied now"
        },
        verdict.finding()
    );
}

/// Logs what became of evidence that somebody brought. It decides about no pull.
pub(super) fn imported(question: &Question, imported: &Imported) {
    let verdict = &imported.explanation.verdict;
    let code = verdict.outcome.denial().map_or("", |denial| denial.code.as_str());
    let kept = match (&imported.not_stored, imported.is_kept()) {
        (Some(error), _) => format!("is not kept: {error}"),
        (None, true) => "is kept".to_owned(),
        (None, false) => "is not kept".to_owned(),
    };
    info!(
        message_id = IMPORTED,
        assay_image = %question.repository,
        assay_digest = %question.descriptor.digest,
        assay_code = code,
        assay_rule = verdict.rule.as_deref().unwrap_or_default(),
        assay_policy = verdict.revision.as_deref().unwrap_or_default(),
        "the evidence that was brought for {} {kept}: {}",
        question.repository,
        verdict.finding()
    );
}

/// Says that an image is on the node that no hook admitted.
pub(super) fn past_the_hook(image: &Named, namespace: &Untrusted, past: Past) {
    let name = match &image.repository {
        Some(repository) => repository.to_string(),
        None => "an image without a name".to_owned(),
    };
    let how = match past {
        Past::NeverAsked => "no hook was asked about it",
        Past::Denied => "the hook was told to deny it",
        Past::OtherName => "it was admitted under another name",
    };
    warn!(
        message_id = PAST_THE_HOOK,
        assay_image = %name,
        assay_digest = %image.digest,
        assay_namespace = %namespace,
        assay_past = past.as_str(),
        "{name}@{} is on this node (namespace {namespace}) and came past the hook: {how}",
        image.digest
    );
}

/// The same for those that are too many to say each.
pub(super) fn more_past_the_hook(count: usize) {
    warn!(
        message_id = PAST_THE_HOOK,
        "{count} more images are on this node that came past the hook: assayctl inventory lists them"
    );
}

fn microseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
}

/// Says what a reload came to. A policy that is refused is an error in the journal for as long as it lies there.
pub(super) fn reloaded(trust: &TrustState, outcome: &Result<Arc<TrustSnapshot>, Arc<Rejected>>, why: &str) {
    let current = trust.current();
    let revision = current.as_ref().map_or("none", |snapshot| snapshot.revision());
    let source = match trust.fleet() {
        Some(fleet) => format!("channel {} of the policy repository", fleet.channel),
        None => trust.path().display().to_string(),
    };
    let rejected = match outcome {
        Ok(snapshot) => {
            info!(
                message_id = POLICY_LOADED,
                assay_policy = revision,
                "policy {revision} is in force: {source} ({why})"
            );
            for warning in &snapshot.warnings {
                warn!(
                    message_id = POLICY_LOADED,
                    assay_policy = revision,
                    "{}",
                    warning.one_line()
                );
            }
            return;
        }
        Err(rejected) => rejected,
    };
    for diagnostic in &rejected.diagnostics {
        error!(
            message_id = POLICY_REFUSED,
            assay_policy = revision,
            "{}",
            diagnostic.one_line()
        );
    }
    let consequence = match &current {
        Some(snapshot) => format!("policy {} stays in force", snapshot.revision()),
        None => "there is no good policy: every image is denied with policy-invalid".to_owned(),
    };
    error!(
        message_id = POLICY_REFUSED,
        assay_policy = revision,
        "{source} is refused; {consequence} ({why})"
    );
}
