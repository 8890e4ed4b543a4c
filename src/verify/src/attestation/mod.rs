//! Attestations: what a rule asks of the statements that somebody signed about an image.
//!
//! A requirement is for one predicate type and one authority, and one statement has to satisfy all of it: two statements
//! never combine. Where its age matters, the newest statement decides, so that no older one can be put in its place.

mod bill_of_materials;
mod expression;
mod field;
mod predicate_type;
mod slsa;
mod vulnerabilities;

use std::time::Duration;

use jiff::SignedDuration;
use serde_json::Value;
use thiserror::Error;

use crate::Timestamp;
use crate::code::Code;
use crate::limits::MAX_CLOCK_SKEW;
use crate::notation::steps::Interval;
use crate::policy::AuthorityName;
use crate::sigstore::identity::TextMatcher;
use crate::sigstore::statement::Statement;
use crate::untrusted::Untrusted;

pub use bill_of_materials::Format;
pub use expression::{Expression, ExpressionError};
pub use field::{FieldPath, FieldPathError, Scalar};
pub use predicate_type::{PredicateType, PredicateTypeError};
pub use vulnerabilities::Severity;

/// What a rule asks of an image's attestations.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestationRequirement {
    predicate_type: PredicateType,
    authority: AuthorityName,
    conditions: Vec<Condition>,
    max_age: Option<Duration>,
}

/// What a statement has to say.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Condition {
    /// SLSA provenance: the builder's identifier.
    Builder(TextMatcher),
    /// A scan: no finding is worse than this.
    MaxSeverity(Severity),
    /// A bill of materials in this format.
    Format(Format),
    /// A field is equal to a value.
    Equals(FieldPath, Scalar),
    /// An expression in the Common Expression Language is true.
    Expression(Expression),
    /// SLSA provenance: the repository that was built from.
    SourceRepository(TextMatcher),
    /// SLSA provenance: the branch or tag that was built from.
    SourceRef(TextMatcher),
}

/// Why conditions make no requirement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum RequirementError {
    /// A scan of any age would do: an old one, from before the findings, could be put in a newer one's place.
    #[error("attestations of vulnerabilities need a maximum age")]
    AgeNeeded,
}

/// A statement whose signature by the authority, and whose subject, are verified.
#[derive(Clone, Copy, Debug)]
pub struct Attested<'a> {
    /// The statement.
    pub statement: &'a Statement,
    /// When it was signed, by verified time. None where nobody vouches for a time.
    pub signed_at: Option<Timestamp>,
}

/// A requirement that is satisfied.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Satisfied {
    /// The position of the statement that satisfies it.
    pub by: usize,
    /// When it does.
    pub interval: Interval,
}

/// Why a statement, or all of them, do not satisfy a requirement.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum AttestationError {
    /// There is no statement of this type by the authority.
    #[error("there is no attestation of the type {0} by the authority")]
    Missing(PredicateType),
    /// The statement is of another type.
    #[error("the attestation has the type {0}")]
    OtherType(Untrusted),
    /// A condition does not hold, or cannot be decided.
    #[error("{condition}: {problem}")]
    Refused {
        /// Which, as the policy calls it.
        condition: &'static str,
        /// Why.
        problem: Untrusted,
    },
    /// Its age is not known.
    #[error("its age is not known: {0}")]
    AgeUnknown(Untrusted),
    /// It is older than the policy allows.
    #[error("it is of {at}, and may be no older than {} s", max_age.as_secs())]
    TooOld {
        /// When it was made.
        at: Timestamp,
        /// How old it may be.
        max_age: Duration,
    },
    /// It is of a time that has not come.
    #[error("it is of {0}, which is in the future")]
    InTheFuture(Timestamp),
}

impl AttestationError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Missing(_) | Self::OtherType(_) => Code::AttestationMissing,
            Self::Refused { .. } | Self::AgeUnknown(_) | Self::TooOld { .. } | Self::InTheFuture(_) => {
                Code::AttestationRefused
            }
        }
    }
}

impl AttestationRequirement {
    /// A statement of this type by this authority, for which all conditions hold, and which is no older than `max_age`.
    ///
    /// # Errors
    ///
    /// When the conditions have no meaning without a maximum age.
    pub fn new(
        predicate_type: PredicateType,
        authority: AuthorityName,
        conditions: Vec<Condition>,
        max_age: Option<Duration>,
    ) -> Result<Self, RequirementError> {
        if predicate_type.is_vulnerability_scan() && max_age.is_none() {
            return Err(RequirementError::AgeNeeded);
        }
        Ok(Self {
            predicate_type,
            authority,
            conditions,
            max_age,
        })
    }

    /// The predicate type.
    pub fn predicate_type(&self) -> &PredicateType {
        &self.predicate_type
    }

    /// Who has to have signed the statement.
    pub fn authority(&self) -> &AuthorityName {
        &self.authority
    }

    /// What the statement has to say.
    pub fn conditions(&self) -> &[Condition] {
        &self.conditions
    }

    /// How old the statement may be.
    pub fn max_age(&self) -> Option<Duration> {
        self.max_age
    }

    /// Whether the newest statement decides. Otherwise any one does.
    pub fn newest_decides(&self) -> bool {
        self.max_age.is_some()
    }

    /// Whether a statement is of the type that is asked for.
    pub fn is_for(&self, statement: &Statement) -> bool {
        *statement.predicate_type == *self.predicate_type.as_str()
    }

    /// Decides over all statements about the image whose signatures by the authority are verified.
    ///
    /// # Errors
    ///
    /// When there is none of the type; or why the one that decides, or else the last one, does not satisfy.
    pub fn decide(&self, attested: &[Attested<'_>], now: Timestamp) -> Result<Satisfied, AttestationError> {
        let missing = || AttestationError::Missing(self.predicate_type.clone());
        let mut candidates: Vec<(usize, &Attested<'_>)> = attested
            .iter()
            .enumerate()
            .filter(|(_, one)| self.is_for(one.statement))
            .collect();
        if !self.newest_decides() {
            let mut refusal = missing();
            for (by, one) in candidates {
                match self.check(one.statement, one.signed_at, now) {
                    Ok(interval) => return Ok(Satisfied { by, interval }),
                    Err(error) => refusal = error,
                }
            }
            return Err(refusal);
        }
        // One whose age is not known may be the newest.
        let moments = candidates
            .iter()
            .map(|(_, one)| self.moment(one.statement, one.signed_at))
            .collect::<Result<Vec<_>, _>>()?;
        let newest = moments.iter().copied().max().ok_or_else(missing)?;
        let mut moments = moments.into_iter();
        candidates.retain(|_| moments.next() == Some(newest));
        // Of several of the same moment none is newer: each has to satisfy.
        let mut satisfied = None;
        for (by, one) in candidates {
            let interval = self.check(one.statement, one.signed_at, now)?;
            satisfied = Some(Satisfied { by, interval });
        }
        satisfied.ok_or_else(missing)
    }

    /// Whether one statement satisfies the requirement, and when it does. Its signature and its subject are not looked at.
    /// Where [`Self::newest_decides`], a statement alone says nothing: [`Self::decide`] does.
    ///
    /// # Errors
    ///
    /// Why it does not.
    pub fn check(
        &self,
        statement: &Statement,
        signed_at: Option<Timestamp>,
        now: Timestamp,
    ) -> Result<Interval, AttestationError> {
        if !self.is_for(statement) {
            return Err(AttestationError::OtherType((&*statement.predicate_type).into()));
        }
        let interval = match self.max_age {
            None => Interval::ALWAYS,
            Some(max_age) => age_interval(self.moment(statement, signed_at)?, max_age, now)?,
        };
        for condition in &self.conditions {
            condition
                .check(&self.predicate_type, statement)
                .map_err(|problem| AttestationError::Refused {
                    condition: condition.name(),
                    problem,
                })?;
        }
        Ok(interval)
    }

    /// The moment that a statement's age is counted from: the end of a scan, or else the verified time of the signature.
    ///
    /// # Errors
    ///
    /// When it is not known.
    pub fn moment(&self, statement: &Statement, signed_at: Option<Timestamp>) -> Result<Timestamp, AttestationError> {
        if self.predicate_type.is_vulnerability_scan() {
            return vulnerabilities::scan_end(&statement.json).map_err(AttestationError::AgeUnknown);
        }
        signed_at.ok_or_else(|| AttestationError::AgeUnknown("its signature has no verified time".into()))
    }
}

/// When something of the moment `at` is neither in the future nor too old. Clocks may differ a little.
fn age_interval(at: Timestamp, max_age: Duration, now: Timestamp) -> Result<Interval, AttestationError> {
    let shifted = |moment: Timestamp, by: Duration, back: bool| {
        let by = SignedDuration::try_from(by).unwrap_or(SignedDuration::MAX);
        moment.checked_add(if back { -by } else { by })
    };
    let not_before = shifted(at, MAX_CLOCK_SKEW, true).unwrap_or(Timestamp::MIN);
    let until = shifted(at, max_age, false).unwrap_or(Timestamp::MAX);
    if now < not_before {
        return Err(AttestationError::InTheFuture(at));
    }
    if now >= until {
        return Err(AttestationError::TooOld { at, max_age });
    }
    Ok(Interval { not_before, until })
}

impl Condition {
    /// The key that writes it in a policy.
    pub const fn name(&self) -> &'static str {
        match self {
            Self::Builder(_) => "builder",
            Self::MaxSeverity(_) => "max_severity",
            Self::Format(_) => "format",
            Self::Equals(..) => "equals",
            Self::Expression(_) => "cel",
            Self::SourceRepository(_) => "source_repository",
            Self::SourceRef(_) => "source_ref",
        }
    }

    fn check(&self, predicate_type: &PredicateType, statement: &Statement) -> Result<(), Untrusted> {
        let json = &*statement.json;
        match self {
            Self::Builder(wanted) => expect(wanted, slsa::builder(predicate_type, json)?),
            Self::SourceRepository(wanted) => expect(wanted, slsa::source(predicate_type, json)?.repository),
            Self::SourceRef(wanted) => expect(wanted, slsa::source(predicate_type, json)?.reference()?),
            Self::MaxSeverity(worst) => vulnerabilities::check(json, *worst),
            Self::Format(format) => format.check(json),
            Self::Equals(path, value) => path.check(json, value),
            Self::Expression(expression) => expression.check(json),
        }
    }
}

fn expect(wanted: &TextMatcher, found: &str) -> Result<(), Untrusted> {
    if wanted.accepts(found) {
        return Ok(());
    }
    Err(format!("it is {}, not {wanted}", Untrusted::from(found)).into())
}

/// The value at a path below the predicate. A predicate that is text has none: that is left to expressions.
fn field<'a>(statement: &'a Value, path: &[&str]) -> Option<&'a Value> {
    let predicate = statement.get("predicate")?;
    path.iter().try_fold(predicate, |value, name| value.get(name))
}

/// The text at a path below the predicate.
fn text<'a>(statement: &'a Value, path: &[&str]) -> Result<&'a str, Untrusted> {
    let found = field(statement, path).and_then(Value::as_str);
    found.ok_or_else(|| format!("there is no text predicate.{}", path.join(".")).into())
}

#[cfg(test)]
mod tests;
