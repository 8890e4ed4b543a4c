//! Equality on one field of a statement.

use std::fmt;
use std::str::FromStr;

use serde_json::Value;
use thiserror::Error;

use crate::limits::{MAX_FIELD_PATH_LENGTH, MAX_SHOWN_LENGTH};
use crate::untrusted::{Untrusted, escape};

/// The way to a field: names of members, and positions in lists, with dots between them, from the statement on:
/// `predicate.builder.id`. A name with a dot in it cannot be written: an expression can.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FieldPath(Box<str>);

/// Why text is no path.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0} is no path: expected names with dots between them, such as predicate.builder.id")]
pub struct FieldPathError(Untrusted);

/// A value that a field may have. Values of different kinds are never equal.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Scalar {
    /// True or false.
    Boolean(bool),
    /// A whole number.
    Integer(i64),
    /// Text.
    Text(Box<str>),
}

impl FromStr for FieldPath {
    type Err = FieldPathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let valid = text.len() <= MAX_FIELD_PATH_LENGTH
            && text.split('.').all(|name| !name.is_empty())
            && !text.chars().any(char::is_control);
        if valid {
            Ok(Self(text.into()))
        } else {
            Err(FieldPathError(text.into()))
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Untrusted::from(&*self.0).fmt(f)
    }
}

impl FieldPath {
    /// The field, where the statement has it.
    pub(super) fn find<'a>(&self, statement: &'a Value) -> Option<&'a Value> {
        self.0.split('.').try_fold(statement, |value, name| match value {
            Value::Object(members) => members.get(name),
            Value::Array(items) => items.get(position(name)?),
            _ => None,
        })
    }

    /// Whether the field is there and equal to `wanted`.
    pub(super) fn check(&self, statement: &Value, wanted: &Scalar) -> Result<(), Untrusted> {
        let Some(found) = self.find(statement) else {
            return Err(format!("there is no {self}").into());
        };
        let equal = match wanted {
            Scalar::Boolean(wanted) => found.as_bool() == Some(*wanted),
            Scalar::Integer(wanted) => found.as_i64() == Some(*wanted),
            Scalar::Text(wanted) => found.as_str() == Some(wanted),
        };
        if equal {
            Ok(())
        } else {
            Err(format!("{self} is {}", brief(found)).into())
        }
    }
}

/// A position in a list, written as JSON would: no sign, no leading zero.
fn position(text: &str) -> Option<usize> {
    let canonical = text == "0" || !text.starts_with('0');
    (canonical && text.bytes().all(|byte| byte.is_ascii_digit())).then(|| text.parse().ok())?
}

/// A value in a few words: a list or an object may have megabytes.
pub(super) fn brief(value: &Value) -> String {
    match value {
        Value::Null => "null".to_owned(),
        Value::Bool(value) => value.to_string(),
        Value::Number(number) => number.to_string(),
        Value::String(text) => format!("\"{}\"", escape(text, MAX_SHOWN_LENGTH)),
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
    }
}
