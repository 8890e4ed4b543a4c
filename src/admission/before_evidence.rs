//! What is decided before any evidence is looked at, in the order of precedence.
//!
//! ```text
//! canary ─▶ deny-list ─▶ a rule's deny ─▶ clock ─▶ break-glass ─▶ expired trust ─▶ first matching rule ─▶ unmatched
//! ```
//!
//! What denies for certain stands before what admits: neither audit mode nor an exception overrides the deny-list or a
//! rule's `deny`.

use assay_verify::Timestamp;
use assay_verify::code::Code;
use assay_verify::policy::{self, DenyReason, Exception, Mode, Rule, Unmatched};

use super::canary;
use super::question::Question;
use super::verdict::{Denial, Ground, Outcome, Verdict};
use crate::sync::{Standing, WhenExpired};
use crate::trust::TrustSnapshot;

/// What is known of a question without evidence.
pub(super) enum BeforeEvidence<'a> {
    /// The verdict.
    Decided(Verdict),
    /// Evidence decides.
    Evidence(&'a Rule, Sources),
}

/// Where evidence may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sources {
    /// From the store or a registry.
    All,
    /// From the store alone: the trust has expired.
    Stored {
        /// When it did.
        expired: Timestamp,
    },
}

/// Decides what needs no evidence.
pub(super) fn decide<'a>(
    snapshot: &'a TrustSnapshot,
    standing: Standing,
    question: &Question,
    now: Timestamp,
) -> BeforeEvidence<'a> {
    let exception = snapshot.exception(&question.repository, &question.descriptor.digest, now);
    decide_under(snapshot, standing, question, now, exception)
}

/// The same, as if no exception were active: evidence that is carried has to be of use when the exception has ended.
pub(super) fn decide_without_exceptions<'a>(
    snapshot: &'a TrustSnapshot,
    standing: Standing,
    question: &Question,
    now: Timestamp,
) -> BeforeEvidence<'a> {
    decide_under(snapshot, standing, question, now, None)
}

fn decide_under<'a>(
    snapshot: &'a TrustSnapshot,
    standing: Standing,
    question: &Question,
    now: Timestamp,
    exception: Option<&Exception>,
) -> BeforeEvidence<'a> {
    let (repository, digest) = (&question.repository, &question.descriptor.digest);
    let decided = |rule: Option<&Rule>, outcome| BeforeEvidence::Decided(verdict(snapshot, rule, outcome));
    if canary::is_canary(repository) {
        return decided(None, Outcome::Deny(Denial::new(Code::Canary, canary::REASON)));
    }
    if let Some(entry) = snapshot.denials.image(digest) {
        return decided(None, Outcome::Deny(Denial::new(Code::DeniedByList, entry.to_string())));
    }
    let decision = snapshot.policy.decide(repository, digest);
    let (rule, mode) = match decision {
        policy::Decision::Deny {
            rule,
            reason: reason @ DenyReason::Stated(_),
        } => {
            return decided(
                Some(rule),
                Outcome::Deny(Denial::new(Code::DeniedByRule, reason.to_string())),
            );
        }
        policy::Decision::Deny { rule, .. }
        | policy::Decision::AdmitDigest { rule }
        | policy::Decision::Require { rule, .. } => (Some(rule), rule.mode()),
        policy::Decision::Unmatched(Unmatched::Audit) => (None, Mode::Audit),
        policy::Decision::Unmatched(Unmatched::Admit | Unmatched::Deny) => (None, Mode::Enforce),
    };
    if let Standing::ClockBehind { known } = standing {
        let reason = format!(
            "the clock of this node says {}, and {} has passed",
            second(now),
            second(known)
        );
        return decided(rule, Denial::new(Code::ClockUnsynchronised, reason).under(mode));
    }
    if let Some(exception) = exception {
        return decided(rule, Outcome::Admit(Ground::Exception(exception.to_string().into())));
    }
    let sources = match standing {
        Standing::Sound | Standing::ClockBehind { .. } => Sources::All,
        Standing::Expired {
            since,
            then: WhenExpired::DenyNew,
        } => return decided(rule, expired(since).under(mode)),
        Standing::Expired {
            since,
            then: WhenExpired::CachedOnly,
        } => Sources::Stored { expired: since },
    };
    let outcome = match (decision, sources) {
        (policy::Decision::Require { rule, .. }, sources) => return BeforeEvidence::Evidence(rule, sources),
        (policy::Decision::AdmitDigest { .. }, _) => Outcome::Admit(Ground::ListedDigest),
        (policy::Decision::Deny { reason, .. }, _) => Denial::new(Code::DeniedByRule, reason.to_string()).under(mode),
        (policy::Decision::Unmatched(_), Sources::Stored { expired: since }) => expired(since).under(mode),
        (policy::Decision::Unmatched(unmatched), Sources::All) => {
            Outcome::unmatched(unmatched, &repository.to_string())
        }
    };
    decided(rule, outcome)
}

/// The denial of what would need trust that has expired.
pub(super) fn expired(since: Timestamp) -> Denial {
    let reason = format!(
        "the policy repository's word and its grace expired at {}: assayctl sync status says why",
        second(since)
    );
    Denial::new(Code::TrustStale, reason)
}

/// A verdict under a snapshot.
pub(super) fn verdict(snapshot: &TrustSnapshot, rule: Option<&Rule>, outcome: Outcome) -> Verdict {
    Verdict {
        outcome,
        rule: rule.map(|rule| rule.name().into()),
        revision: Some(snapshot.revision().into()),
    }
}

/// For people: whole seconds.
fn second(at: Timestamp) -> Timestamp {
    at.round(jiff::Unit::Second).unwrap_or(at)
}
