//! In-toto statements: what an attestation says, and about what (in-toto attestation: spec/v1/statement.md).

use std::sync::Arc;

use serde_json::Value;
use thiserror::Error;

use super::json::{self, JsonError, wrong};
use crate::code::Code;
use crate::digest::Digest;
use crate::limits::{MAX_ATTRIBUTES, MAX_STATEMENT_SUBJECTS, MAX_STATEMENT_UNITS, MAX_SUBJECT_DIGESTS};
use crate::untrusted::Untrusted;

/// The predicate type of an image's signature as a bundle (cosign specs/BUNDLE_SPEC.md).
pub const COSIGN_SIGNATURE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The statement types: v0.1 and v1 have the same fields here.
const TYPES: [&str; 2] = ["https://in-toto.io/Statement/v0.1", "https://in-toto.io/Statement/v1"];

/// A statement, v0.1 or v1.
#[derive(Clone, Debug)]
pub struct Statement {
    /// What the predicate is.
    pub predicate_type: Box<str>,
    /// What it is about.
    pub subjects: Vec<StatementSubject>,
    /// The whole statement, parsed: attestation conditions look into it. No key in it is there twice, and every number is
    /// exactly what was signed. The predicate may be missing (cosign before 3.0.5 wrote none into signatures) and may be of
    /// any type: older attestations of the type `custom` have a text.
    pub json: Arc<Value>,
}

/// One of the things that a statement is about.
#[derive(Clone, Debug)]
pub struct StatementSubject {
    /// Its digests: algorithm and hexadecimal digits, as they came.
    pub digests: Vec<(Box<str>, Box<str>)>,
    /// Its annotations, those that are texts.
    pub annotations: Vec<(Box<str>, Box<str>)>,
}

/// Why a payload is no statement.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum StatementError {
    /// Not JSON, or not the JSON of a statement.
    #[error("the statement is malformed: {0}")]
    Json(#[from] JsonError),
    /// Another type, or a version that nobody here knows.
    #[error("the statement has the type {0}: expected v0.1 or v1 of in-toto")]
    Type(Untrusted),
    /// A statement about nothing.
    #[error("the statement has no subject")]
    NoSubject,
    /// A number that readers round, each in its own way.
    #[error("the statement has a number beyond 2^53 that is not a 64-bit integer")]
    InexactNumber,
}

impl StatementError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Json(error) => error.code(),
            Self::Type(_) => Code::SignatureUnsupported,
            Self::NoSubject | Self::InexactNumber => Code::SignatureInvalid,
        }
    }
}

impl Statement {
    /// Parses a payload. Unknown fields are ignored, as the specification asks.
    ///
    /// # Errors
    ///
    /// When it is no statement, or has more of anything than the limits allow.
    pub fn parse(payload: &[u8]) -> Result<Self, StatementError> {
        let whole = json::parse(payload, MAX_STATEMENT_UNITS)?;
        if !is_exact(&whole) {
            return Err(StatementError::InexactNumber);
        }
        let fields = whole.as_object().ok_or(wrong("the statement", "an object"))?;
        let kind = required(fields, "_type")?;
        if !TYPES.contains(&kind) {
            return Err(StatementError::Type(kind.into()));
        }
        let predicate_type = required(fields, "predicateType")?.into();
        let subjects = subjects(fields)?;
        Ok(Self {
            predicate_type,
            subjects,
            json: Arc::new(whole),
        })
    }

    /// The first subject with this digest: the algorithm's own name, and exactly the same digits.
    pub fn subject(&self, digest: &Digest) -> Option<&StatementSubject> {
        self.subjects.iter().find(|subject| subject.has(digest))
    }

    /// The subjects with this digest. A statement may name one thing twice, with other annotations.
    pub fn subjects_with<'a>(&'a self, digest: &'a Digest) -> impl Iterator<Item = &'a StatementSubject> {
        self.subjects.iter().filter(move |subject| subject.has(digest))
    }
}

impl StatementSubject {
    fn has(&self, digest: &Digest) -> bool {
        self.digests
            .iter()
            .any(|(algorithm, digits)| **algorithm == *digest.algorithm().as_str() && **digits == *digest.hex())
    }
}

fn required<'a>(fields: &'a serde_json::Map<String, Value>, field: &'static str) -> Result<&'a str, JsonError> {
    match fields.get(field) {
        None => Err(JsonError::Missing(field)),
        Some(Value::String(text)) if text.is_empty() => Err(JsonError::Missing(field)),
        Some(Value::String(text)) => Ok(text),
        Some(_) => Err(wrong(field, "text")),
    }
}

fn subjects(fields: &serde_json::Map<String, Value>) -> Result<Vec<StatementSubject>, StatementError> {
    let subjects = match fields.get("subject") {
        None | Some(Value::Null) => return Err(StatementError::NoSubject),
        Some(Value::Array(subjects)) => subjects,
        Some(_) => return Err(wrong("subject", "an array").into()),
    };
    if subjects.is_empty() {
        return Err(StatementError::NoSubject);
    }
    if subjects.len() > MAX_STATEMENT_SUBJECTS {
        let count = subjects.len();
        return Err(too_many("subject", count, MAX_STATEMENT_SUBJECTS).into());
    }
    let subjects = subjects.iter().map(subject).collect::<Result<_, _>>()?;
    Ok(subjects)
}

fn subject(value: &Value) -> Result<StatementSubject, JsonError> {
    let fields = value.as_object().ok_or(wrong("subject", "an array of objects"))?;
    let map = |field| match fields.get(field) {
        None | Some(Value::Null) => Ok(None),
        Some(Value::Object(map)) => Ok(Some(map)),
        Some(_) => Err(wrong(field, "an object")),
    };
    // The specification asks for a digest of every subject (spec/v1/statement.md: subjects are matched by digest alone).
    let digests = map("digest")?
        .filter(|digests| !digests.is_empty())
        .ok_or(JsonError::Missing("digest"))?;
    if digests.len() > MAX_SUBJECT_DIGESTS {
        return Err(too_many("digest", digests.len(), MAX_SUBJECT_DIGESTS));
    }
    let digests = digests
        .iter()
        .map(|(algorithm, digits)| match digits {
            Value::String(digits) => Ok((algorithm.as_str().into(), digits.as_str().into())),
            _ => Err(wrong("digest", "an object of texts")),
        })
        .collect::<Result<_, _>>()?;
    let annotations = match map("annotations")? {
        None => Vec::new(),
        Some(annotations) if annotations.len() > MAX_ATTRIBUTES => {
            return Err(too_many("annotations", annotations.len(), MAX_ATTRIBUTES));
        }
        Some(annotations) => annotations
            .iter()
            .filter_map(|(key, value)| Some((key.as_str().into(), value.as_str()?.into())))
            .collect(),
    };
    Ok(StatementSubject { digests, annotations })
}

fn too_many(field: &'static str, count: usize, limit: usize) -> JsonError {
    JsonError::TooManyItems { field, count, limit }
}

/// Whether every number is what was written: an integer of 64 bits, or small enough for a binary64 to tell it from its
/// neighbours (RFC 8259 §6). Nesting is bounded by the parser.
fn is_exact(value: &Value) -> bool {
    const LIMIT: f64 = 9_007_199_254_740_992.0;
    match value {
        Value::Number(number) if number.is_f64() => number.as_f64().is_some_and(|number| number.abs() < LIMIT),
        Value::Array(items) => items.iter().all(is_exact),
        Value::Object(fields) => fields.values().all(is_exact),
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HEX: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    fn statement(subjects: &str) -> String {
        format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"p","subject":{subjects},"predicate":{{"a":1}}}}"#
        )
    }

    fn parse(json: &str) -> Result<Statement, StatementError> {
        Statement::parse(json.as_bytes())
    }

    #[test]
    fn parses_both_versions_with_and_without_a_predicate() {
        for version in ["v0.1", "v1"] {
            for predicate in [
                "",
                r#","predicate":{}"#,
                r#","predicate":"text""#,
                r#","predicate":null"#,
            ] {
                let json = format!(
                    r#"{{"_type":"https://in-toto.io/Statement/{version}","predicateType":"{COSIGN_SIGNATURE}","subject":[{{"name":"x","digest":{{"sha256":"{HEX}"}}}}]{predicate}}}"#
                );
                let statement = parse(&json).unwrap();
                assert_eq!(&*statement.predicate_type, COSIGN_SIGNATURE);
                assert_eq!(statement.json.get("predicate").is_some(), !predicate.is_empty());
            }
        }
    }

    #[test]
    fn finds_the_subject_by_exactly_its_algorithm_and_digits() {
        let digest: Digest = format!("sha256:{HEX}").parse().unwrap();
        for (digests, found) in [
            (format!(r#"{{"sha256":"{HEX}"}}"#), true),
            (format!(r#"{{"sha512":"{}","sha256":"{HEX}"}}"#, "0".repeat(128)), true),
            (format!(r#"{{"sha256":"{}"}}"#, HEX.to_uppercase()), false),
            (format!(r#"{{"sha256":"{HEX} "}}"#), false),
            (format!(r#"{{"sha256":"sha256:{HEX}"}}"#), false),
            (format!(r#"{{"SHA256":"{HEX}"}}"#), false),
            (format!(r#"{{"sha512":"{HEX}"}}"#), false),
            (format!(r#"{{"gitCommit":"{HEX}"}}"#), false),
            (format!(r#"{{"sha256":"{}"}}"#, &HEX[..63]), false),
        ] {
            let statement = parse(&statement(&format!(r#"[{{"digest":{digests}}}]"#))).unwrap();
            assert_eq!(statement.subject(&digest).is_some(), found, "{digests}");
        }
        let hex = "ab".repeat(64);
        let digest: Digest = format!("sha512:{hex}").parse().unwrap();
        let statement = parse(&statement(&format!(r#"[{{"digest":{{"sha512":"{hex}"}}}}]"#))).unwrap();
        assert!(statement.subject(&digest).is_some());
    }

    #[test]
    fn keeps_the_annotations_of_each_subject_that_are_texts() {
        let json = statement(&format!(
            r#"[{{"digest":{{"sha256":"00"}},"annotations":{{"env":"test"}}}},
                {{"digest":{{"sha256":"{HEX}"}},"annotations":{{"env":"prod","n":1,"l":["x"]}}}},
                {{"digest":{{"sha256":"{HEX}"}}}}]"#
        ));
        let statement = parse(&json).unwrap();
        let digest = format!("sha256:{HEX}").parse().unwrap();
        let annotations: Vec<_> = statement
            .subjects_with(&digest)
            .map(|subject| subject.annotations.len())
            .collect();
        assert_eq!(annotations, [1, 0]);
        let subject = statement.subject(&digest).unwrap();
        assert_eq!(subject.annotations, [("env".into(), "prod".into())]);
    }

    #[test]
    fn refuses_what_is_no_statement() {
        for json in [
            "",
            "[]",
            "{}",
            r#""text""#,
            r#"{"_type":"https://in-toto.io/Statement/v1","subject":[{"digest":{"sha256":"00"}}]}"#,
            r#"{"_type":"https://in-toto.io/Statement/v1","predicateType":"","subject":[{"digest":{"sha256":"00"}}]}"#,
            r#"{"_type":1,"predicateType":"p","subject":[{"digest":{"sha256":"00"}}]}"#,
            &statement("{}"),
            &statement(r#"[1]"#),
            &statement(r#"[{}]"#),
            &statement(r#"[{"digest":{}}]"#),
            &statement(r#"[{"digest":[]}]"#),
            &statement(r#"[{"digest":{"sha256":1}}]"#),
            &statement(r#"[{"digest":{"sha256":"00"},"annotations":"x"}]"#),
        ] {
            assert!(matches!(parse(json), Err(StatementError::Json(_))), "{json}");
        }
        assert_eq!(parse(&statement("[]")).unwrap_err(), StatementError::NoSubject);
        let other = statement("[]").replace("v1", "v2");
        assert!(matches!(parse(&other), Err(StatementError::Type(_))));
    }

    #[test]
    fn refuses_a_key_that_is_there_twice_at_any_depth() {
        for json in [
            statement(r#"[{"digest":{"sha256":"00","sha256":"01"}}]"#),
            statement(r#"[{"digest":{"sha256":"00"}}],"predicateType":"q""#),
            statement(r#"[{"digest":{"sha256":"00"}}]"#).replace(r#""a":1"#, r#""a":[{"b":1,"b":1}]"#),
        ] {
            assert!(
                matches!(parse(&json), Err(StatementError::Json(JsonError::Syntax(_)))),
                "{json}"
            );
        }
    }

    #[test]
    fn refuses_numbers_that_readers_round() {
        for (number, exact) in [
            ("18446744073709551615", true),
            ("-9223372036854775808", true),
            ("0.1", true),
            ("9007199254740991.5", false),
            ("18446744073709551616", false),
            ("-9223372036854775809", false),
            ("1e300", false),
        ] {
            let json = statement(r#"[{"digest":{"sha256":"00"}}]"#).replace(r#""a":1"#, &format!(r#""a":[{number}]"#));
            assert_eq!(parse(&json).is_ok(), exact, "{number}");
        }
    }

    #[test]
    fn stops_at_the_limits() {
        let many = |item: &str, count: usize| vec![item; count].join(",");
        let subject = r#"{"digest":{"sha256":"00"}}"#;
        assert!(parse(&statement(&format!("[{}]", many(subject, MAX_STATEMENT_SUBJECTS)))).is_ok());
        let error = parse(&statement(&format!("[{}]", many(subject, MAX_STATEMENT_SUBJECTS + 1)))).unwrap_err();
        assert_eq!(error.code(), Code::LimitExceeded);

        let keys = |count| {
            (0..count)
                .map(|n| format!(r#""k{n}":"""#))
                .collect::<Vec<_>>()
                .join(",")
        };
        for (digests, annotations, good) in [
            (MAX_SUBJECT_DIGESTS, MAX_ATTRIBUTES, true),
            (MAX_SUBJECT_DIGESTS + 1, 0, false),
            (1, MAX_ATTRIBUTES + 1, false),
        ] {
            let json = format!(
                r#"[{{"digest":{{{}}},"annotations":{{{}}}}}]"#,
                keys(digests),
                keys(annotations)
            );
            assert_eq!(parse(&statement(&json)).is_ok(), good, "{digests} {annotations}");
        }

        let objects = format!("[{}]", many(r#"{"k":0}"#, MAX_STATEMENT_UNITS / 22 + 1));
        let json = statement(&format!("[{subject}]")).replace(r#"{"a":1}"#, &objects);
        assert_eq!(
            parse(&json).unwrap_err(),
            StatementError::Json(JsonError::TooManyValues)
        );
    }
}
