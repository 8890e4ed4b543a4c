//! JSON objects, read field by field into types. What was not asked for is left over, and whoever reads says whether that is
//! an error.
//!
//! Bundles are proto3 JSON, of which the strict half is taken: both spellings of a field's name, 64-bit integers as numbers
//! or text, `null` for an absent field; but one alphabet of base64 (everything that makes bundles writes the standard one,
//! padded), no integers with a fraction or an exponent, and no field twice.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE};
use serde_json::{Map, Value};
use thiserror::Error;

use crate::code::Code;
use crate::envelope::{EnvelopeError, json};
use crate::limits::MAX_NESTING;
use crate::untrusted::Untrusted;

/// Why JSON is not what its format asks for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum JsonError {
    /// It is not JSON, or has a key twice.
    #[error("it is not JSON of one meaning: {0}")]
    Syntax(Untrusted),
    /// It nests deeper than the limit.
    #[error("it nests deeper than {MAX_NESTING}")]
    TooDeep,
    /// It takes more memory than the limit.
    #[error("it has more values than the limit")]
    TooManyValues,
    /// A field has more items than the limit.
    #[error("{field} has {count} items, more than {limit}")]
    TooManyItems {
        /// Which.
        field: &'static str,
        /// How many it has.
        count: usize,
        /// How many it may have.
        limit: usize,
    },
    /// A field is missing or empty.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// A field has another type.
    #[error("{field} is not {expected}")]
    Type {
        /// Which.
        field: &'static str,
        /// What it has to be.
        expected: &'static str,
    },
    /// A field that the format does not have.
    #[error("{object} has the unknown field {field}")]
    Unknown {
        /// Where.
        object: &'static str,
        /// Its name.
        field: Untrusted,
    },
    /// A field in both of its spellings.
    #[error("{0} is there twice, in two spellings")]
    Twice(&'static str),
}

impl JsonError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::TooDeep | Self::TooManyValues | Self::TooManyItems { .. } => Code::LimitExceeded,
            _ => Code::SignatureInvalid,
        }
    }
}

/// Parses exactly one value that takes no more than `units` of memory: see [`json::parse_weighing`].
pub(super) fn parse(bytes: &[u8], units: usize) -> Result<Value, JsonError> {
    json::parse_weighing(bytes, units).map_err(|error| match error {
        EnvelopeError::TooDeep => JsonError::TooDeep,
        EnvelopeError::TooManyValues => JsonError::TooManyValues,
        EnvelopeError::Malformed(problem) => JsonError::Syntax(problem),
        other => JsonError::Syntax(other.to_string().into()),
    })
}

/// How the fields of an object are named.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// As they are written.
    Exact,
    /// In lowerCamelCase, or as the protocol buffers name them: parsers accept both (protobuf: programming-guides/json).
    Proto,
}

/// An object. Fields are taken out of it.
pub(super) struct Object {
    name: &'static str,
    names: Names,
    fields: Map<String, Value>,
}

impl Object {
    /// Parses a document that is an object.
    pub(super) fn parse(bytes: &[u8], units: usize, names: Names, name: &'static str) -> Result<Self, JsonError> {
        Self::of(parse(bytes, units)?, names, name)
    }

    fn of(value: Value, names: Names, name: &'static str) -> Result<Self, JsonError> {
        match value {
            Value::Object(fields) => Ok(Self { name, names, fields }),
            _ => Err(wrong(name, "an object")),
        }
    }

    /// Takes a field. `null` is an absent one.
    pub(super) fn take(&mut self, field: &'static str) -> Result<Option<Value>, JsonError> {
        let value = self.fields.remove(field);
        let original = match self.names {
            Names::Proto => original_name(field).and_then(|name| self.fields.remove(&name)),
            Names::Exact => None,
        };
        match (value, original) {
            (Some(_), Some(_)) => Err(JsonError::Twice(field)),
            (value, None) | (None, value) => Ok(value.filter(|value| !value.is_null())),
        }
    }

    /// Takes an object; none where it is absent.
    pub(super) fn object(&mut self, field: &'static str) -> Result<Option<Self>, JsonError> {
        let names = self.names;
        let value = self.take(field)?;
        value.map(|value| Self::of(value, names, field)).transpose()
    }

    /// Takes an object that has to be there.
    pub(super) fn required_object(&mut self, field: &'static str) -> Result<Self, JsonError> {
        self.object(field)?.ok_or(JsonError::Missing(field))
    }

    /// Takes an array of at most `limit` items; an absent one is empty.
    pub(super) fn array(&mut self, field: &'static str, limit: usize) -> Result<Vec<Value>, JsonError> {
        match self.take(field)? {
            None => Ok(Vec::new()),
            Some(Value::Array(items)) if items.len() > limit => Err(JsonError::TooManyItems {
                field,
                count: items.len(),
                limit,
            }),
            Some(Value::Array(items)) => Ok(items),
            Some(_) => Err(wrong(field, "an array")),
        }
    }

    /// Takes an array of objects.
    pub(super) fn objects(&mut self, field: &'static str, limit: usize) -> Result<Vec<Self>, JsonError> {
        let names = self.names;
        let items = self.array(field, limit)?.into_iter();
        items.map(|item| Self::of(item, names, field)).collect()
    }

    /// Takes text; an absent one is empty.
    pub(super) fn text(&mut self, field: &'static str) -> Result<Box<str>, JsonError> {
        match self.take(field)? {
            None => Ok(Box::default()),
            Some(value) => text(value, field),
        }
    }

    /// Takes text that has to be there and not empty.
    pub(super) fn required_text(&mut self, field: &'static str) -> Result<Box<str>, JsonError> {
        let text = self.text(field)?;
        if text.is_empty() {
            return Err(JsonError::Missing(field));
        }
        Ok(text)
    }

    /// Takes bytes in base64; absent ones are empty.
    pub(super) fn bytes(&mut self, field: &'static str) -> Result<Vec<u8>, JsonError> {
        decode(&self.text(field)?, field)
    }

    /// Takes bytes that have to be there.
    pub(super) fn required_bytes(&mut self, field: &'static str) -> Result<Vec<u8>, JsonError> {
        let bytes = self.bytes(field)?;
        if bytes.is_empty() {
            return Err(JsonError::Missing(field));
        }
        Ok(bytes)
    }

    /// Takes an integer, a number or its digits; an absent one is 0.
    pub(super) fn integer(&mut self, field: &'static str) -> Result<i64, JsonError> {
        let expected = || wrong(field, "a 64-bit integer");
        match self.take(field)? {
            None => Ok(0),
            Some(Value::Number(number)) => number.as_i64().ok_or_else(expected),
            Some(Value::String(digits)) => match digits.parse::<i64>() {
                // Exactly the digits: no plus, no leading zero.
                Ok(integer) if integer.to_string() == digits => Ok(integer),
                _ => Err(expected()),
            },
            Some(_) => Err(expected()),
        }
    }

    /// Takes an integer that is not negative: log indexes and sizes.
    pub(super) fn count(&mut self, field: &'static str) -> Result<u64, JsonError> {
        u64::try_from(self.integer(field)?).map_err(|_| wrong(field, "0 or more"))
    }

    /// Takes what is left, in the order of the keys.
    pub(super) fn rest(self) -> impl ExactSizeIterator<Item = (String, Value)> {
        self.fields.into_iter()
    }

    /// Checks that nothing is left.
    pub(super) fn finish(self) -> Result<(), JsonError> {
        match self.fields.into_iter().next() {
            None => Ok(()),
            Some((field, _)) => Err(JsonError::Unknown {
                object: self.name,
                field: field.into(),
            }),
        }
    }
}

/// The error of a field with another type.
pub(super) fn wrong(field: &'static str, expected: &'static str) -> JsonError {
    JsonError::Type { field, expected }
}

/// The text of a value.
pub(super) fn text(value: Value, field: &'static str) -> Result<Box<str>, JsonError> {
    match value {
        Value::String(text) => Ok(text.into()),
        _ => Err(wrong(field, "text")),
    }
}

/// Decodes base64 with the standard alphabet and its padding (RFC 4648 §4), in its one form.
pub(super) fn decode(text: &str, field: &'static str) -> Result<Vec<u8>, JsonError> {
    STANDARD.decode(text).map_err(|_| wrong(field, "base64"))
}

/// Decodes base64 with either alphabet: verifiers of DSSE envelopes must accept both (dsse: envelope.md).
pub(super) fn decode_either(text: &str, field: &'static str) -> Result<Vec<u8>, JsonError> {
    decode(text, field).or_else(|error| URL_SAFE.decode(text).map_err(|_| error))
}

/// The name of a field in its protocol buffer, where it differs: `log_index` for `logIndex`.
fn original_name(field: &str) -> Option<String> {
    if !field.contains(|character: char| character.is_ascii_uppercase()) {
        return None;
    }
    let mut name = String::with_capacity(field.len() + 4);
    for character in field.chars() {
        if character.is_ascii_uppercase() {
            name.push('_');
        }
        name.push(character.to_ascii_lowercase());
    }
    Some(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> Object {
        Object::parse(json.as_bytes(), 1_000, Names::Proto, "it").unwrap()
    }

    #[test]
    fn takes_a_field_in_either_spelling_but_not_in_both() {
        for json in [r#"{"logIndex":"7"}"#, r#"{"log_index":7}"#] {
            let mut object = object(json);
            assert_eq!(object.count("logIndex"), Ok(7), "{json}");
            assert_eq!(object.finish(), Ok(()));
        }
        let both = object(r#"{"logIndex":7,"log_index":7}"#).count("logIndex");
        assert_eq!(both, Err(JsonError::Twice("logIndex")));
        assert_eq!(
            original_name("x509CertificateChain").as_deref(),
            Some("x509_certificate_chain")
        );
        let mut exact = Object::parse(br#"{"log_index":7}"#, 100, Names::Exact, "it").unwrap();
        assert_eq!(exact.count("logIndex"), Ok(0));
        assert!(exact.finish().is_err());
    }

    #[test]
    fn takes_integers_as_numbers_and_as_digits_and_nothing_else() {
        for (json, expected) in [
            ("1", Ok(1)),
            ("\"-1\"", Ok(-1)),
            ("null", Ok(0)),
            ("9223372036854775807", Ok(i64::MAX)),
            ("9223372036854775808", Err(())),
            ("1.0", Err(())),
            ("1e3", Err(())),
            ("\"+1\"", Err(())),
            ("\"01\"", Err(())),
            ("\" 1\"", Err(())),
            ("\"\"", Err(())),
            ("true", Err(())),
        ] {
            let taken = object(&format!(r#"{{"n":{json}}}"#)).integer("n");
            assert_eq!(taken.map_err(|_| ()), expected, "{json}");
        }
        assert!(object(r#"{"n":-1}"#).count("n").is_err());
    }

    #[test]
    fn takes_base64_in_one_form_alone() {
        for (text, good) in [
            ("AA==", true),
            ("+/8=", true),
            ("-_8=", false),
            ("AA", false),
            ("AB==", false),
            ("A A=", false),
            ("AA==\\n", false),
        ] {
            let taken = object(&format!(r#"{{"b":"{text}"}}"#)).bytes("b");
            assert_eq!(taken.is_ok(), good, "{text}");
        }
        assert_eq!(decode_either("-_8=", "b"), decode_either("+/8=", "b"));
        assert!(decode_either("-/8=", "b").is_err());
    }

    #[test]
    fn tells_what_is_missing_from_what_has_another_type() {
        assert_eq!(object("{}").required_bytes("b"), Err(JsonError::Missing("b")));
        assert_eq!(object(r#"{"b":""}"#).required_text("b"), Err(JsonError::Missing("b")));
        assert_eq!(object(r#"{"b":1}"#).required_text("b"), Err(wrong("b", "text")));
        assert!(object(r#"{"b":{}}"#).array("b", 1).is_err());
        assert!(object(r#"{"b":[1,2]}"#).array("b", 1).is_err());
        assert!(object(r#"{"b":[null]}"#).objects("b", 1).is_err());
    }
}
