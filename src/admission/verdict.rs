//! What was decided, and on what ground. Only here does anything become an admit.

use std::sync::Arc;

use assay_verify::code::Code;
use assay_verify::deny_list::{DenyList, Entry};
use assay_verify::judge::{Grant, GrantedBy, Permit};
use assay_verify::limits::MAX_REASON_LENGTH;
use assay_verify::policy::{Mode, Unmatched};
use assay_verify::query::QueryId;
use assay_verify::untrusted::one_line;

/// A decided question.
#[derive(Clone, Debug)]
pub struct Verdict {
    /// Admit or deny.
    pub outcome: Outcome,
    /// The rule that decided; none when no rule matched or the question never reached the rules.
    pub rule: Option<Arc<str>>,
    /// Names the policy and trust material it rests on; none without a good policy.
    pub revision: Option<Arc<str>>,
}

/// Admit or deny. There is no third: what is unknown is denied.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// May be unpacked.
    Admit(Ground),
    /// Would have been denied; audit mode admits and says so in every channel.
    Audited(Denial),
    /// May not be unpacked.
    Deny(Denial),
}

/// Why an image is admitted.
#[derive(Clone, Debug)]
pub enum Ground {
    /// The evidence satisfies the rule.
    Evidence(Arc<Permit>),
    /// Evidence that was the newest when it was stored satisfies the rule, and a registry did not say whether it still is.
    StoredEvidence {
        /// What it grants.
        permit: Arc<Permit>,
        /// Why the registry said nothing.
        unconfirmed: Box<str>,
    },
    /// The rule lists the digest.
    ListedDigest,
    /// An exception is active. Who answers for it, why and until when.
    Exception(Box<str>),
    /// No rule matches, and the policy admits what no rule matches.
    Unmatched,
}

/// Why an image is denied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Denial {
    /// The stable code.
    pub code: Code,
    /// For a person: what was found. One line, escaped.
    pub reason: String,
}

impl Denial {
    /// A denial whose reason holds no text from outside, or only through [`assay_verify::untrusted::Untrusted`].
    pub fn new(code: Code, reason: impl Into<String>) -> Self {
        Self {
            code,
            reason: reason.into(),
        }
    }

    /// What a rule's mode makes of a denial on its requirement. The deny-list is enforced whatever the mode.
    pub(super) fn under(self, mode: Mode) -> Outcome {
        match mode {
            Mode::Audit if self.code != Code::DeniedByList => Outcome::Audited(self),
            Mode::Audit | Mode::Enforce => Outcome::Deny(self),
        }
    }
}

impl Outcome {
    /// What the policy says about images that no rule matches.
    pub(super) fn unmatched(unmatched: Unmatched, repository: &str) -> Self {
        let denial = || {
            Denial::new(
                Code::NoMatchingRule,
                format!("no rule of the policy matches {repository}"),
            )
        };
        match unmatched {
            Unmatched::Deny => Self::Deny(denial()),
            Unmatched::Audit => Self::Audited(denial()),
            Unmatched::Admit => Self::Admit(Ground::Unmatched),
        }
    }

    /// The same, with another reason where it is a denial.
    pub(super) fn explained(mut self, explain: impl FnOnce(&str) -> String) -> Self {
        if let Self::Audited(denial) | Self::Deny(denial) = &mut self {
            denial.reason = explain(&denial.reason);
        }
        self
    }

    /// The denial, also where audit mode overrode it.
    pub fn denial(&self) -> Option<&Denial> {
        match self {
            Self::Admit(_) => None,
            Self::Audited(denial) | Self::Deny(denial) => Some(denial),
        }
    }

    /// Whether the image may be unpacked.
    pub fn admits(&self) -> bool {
        matches!(self, Self::Admit(_) | Self::Audited(_))
    }
}

impl Verdict {
    /// Whether it is an admit that rests on the answer to a query.
    pub(super) fn rests_on(&self, query: QueryId) -> bool {
        match &self.outcome {
            Outcome::Admit(Ground::Evidence(permit) | Ground::StoredEvidence { permit, .. }) => {
                permit.rests_on().queries.contains(&query)
            }
            _ => false,
        }
    }

    /// The entry of a deny-list that names something that an admit rests on.
    pub(super) fn denied_by<'a>(&self, denials: &'a DenyList) -> Option<&'a Entry> {
        match &self.outcome {
            Outcome::Admit(Ground::Evidence(permit) | Ground::StoredEvidence { permit, .. }) => {
                permit.rests_on().denied_by(denials)
            }
            _ => None,
        }
    }

    /// What was found, for a person: one line of printable ASCII. The rule, the policy and the decision are not in it:
    /// whoever shows it adds them.
    pub fn finding(&self) -> String {
        let found = match &self.outcome {
            Outcome::Admit(Ground::Evidence(permit)) => granted(permit),
            Outcome::Admit(Ground::StoredEvidence { permit, unconfirmed }) => {
                format!(
                    "not confirmed to be the newest, from stored evidence: {unconfirmed}; {}",
                    granted(permit)
                )
            }
            Outcome::Admit(Ground::ListedDigest) => "the rule lists this digest".to_owned(),
            Outcome::Admit(Ground::Exception(exception)) => exception.to_string(),
            Outcome::Admit(Ground::Unmatched) => "no rule matches, and the policy admits such images".to_owned(),
            Outcome::Audited(denial) | Outcome::Deny(denial) => denial.reason.clone(),
        };
        one_line(&found, MAX_REASON_LENGTH)
    }
}

/// Who satisfied the rule, in words.
fn granted(permit: &Permit) -> String {
    let grant = |grant: &Grant| match &grant.by {
        GrantedBy::Signature { identity, .. } => format!("{}: signed by {identity}", grant.authority),
        GrantedBy::Attestation {
            identity,
            predicate_type,
            ..
        } => format!("{}: {predicate_type} attested by {identity}", grant.authority),
        GrantedBy::UnauthenticatedSignature { .. } => format!("{}: signed by an unverified signer", grant.authority),
        GrantedBy::Nothing => format!("{}: not verified", grant.authority),
    };
    let mut words: Vec<_> = permit.grants().iter().map(grant).collect();
    // What is stretched is said in every channel.
    words.extend(
        permit
            .on_grace()
            .iter()
            .map(|grace| format!("on revocation grace: {grace}")),
    );
    words.join("; ")
}
