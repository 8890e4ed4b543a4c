//! SLSA provenance: who built an image, and from what.

use serde_json::Value;

use super::predicate_type::PredicateType;
use crate::untrusted::Untrusted;

/// Text that a condition asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TextCondition {
    /// Exactly this text.
    Exact(Box<str>),
}

/// What was built from.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Source {
    pub(super) repository: String,
    pub(super) reference: String,
}

impl TextCondition {
    pub(super) fn check(&self, found: &str) -> Result<(), Untrusted> {
        let Self::Exact(wanted) = self;
        if **wanted == *found {
            Ok(())
        } else {
            Err(format!("it is {}", Untrusted::from(found)).into())
        }
    }
}

pub(super) fn builder<'a>(kind: &PredicateType, statement: &'a Value) -> Result<&'a str, Untrusted> {
    let _ = (kind.is_provenance_1(), statement);
    Err("not read".into())
}

pub(super) fn source(kind: &PredicateType, statement: &Value) -> Result<Source, Untrusted> {
    let _ = (kind, statement);
    Err("not read".into())
}
