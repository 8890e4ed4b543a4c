//! In-toto statements.

use assay_verify::digest::Digest;
use assay_verify::limits::{MAX_ATTRIBUTES, MAX_NESTING, MAX_STATEMENT_SUBJECTS, MAX_SUBJECT_DIGESTS};
use assay_verify::sigstore::dsse::Envelope;
use assay_verify::sigstore::statement::Statement;
use serde_json::Value;

use crate::{Target, seeds, shown};

/// In-toto statements.
pub const TARGET: Target = Target {
    name: "statement",
    seeds,
    words: &[
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"null",
        b"1e300",
        b"18446744073709551616",
        b"9007199254740993",
        b"https://in-toto.io/Statement/v0.1",
        b"https://in-toto.io/Statement/v1",
        b"https://in-toto.io/Statement/v2",
        b"\"subject\":[],",
        b"\"digest\":{},",
        b"\"sha512\":\"\",",
        b"\"SHA256\":",
        b"\"annotations\":{\"a\":\"b\",\"c\":1},",
        b"\"predicate\":\"\",",
        b"\"predicateType\":\"\",",
        b"[[[[[[[[",
        b"\\u0000",
        b"\xff",
    ],
    check,
    inputs: 4_000,
};

fn seeds() -> Vec<Vec<u8>> {
    let envelopes = seeds::files("../sigstore", |_, content| content.starts_with(b"{\"payloadType\""));
    let payloads = envelopes.iter().filter_map(|envelope| Envelope::parse(envelope).ok());
    let mut seeds: Vec<_> = payloads.map(|envelope| envelope.payload.to_vec()).collect();
    seeds.extend(seeds::sigstore_files("conformance", |path, _| {
        path.ends_with("statement.json")
    }));
    seeds
}

/// A statement is of a known version, about something, and says of numbers and keys what every reader reads.
pub fn check(input: &[u8]) -> String {
    let statement = match Statement::parse(input) {
        Ok(statement) => statement,
        Err(error) => return shown::error(&error),
    };
    assert!(!statement.predicate_type.is_empty());
    assert!((1..=MAX_STATEMENT_SUBJECTS).contains(&statement.subjects.len()));
    for subject in &statement.subjects {
        assert!(
            (1..=MAX_SUBJECT_DIGESTS).contains(&subject.digests.len()) && subject.annotations.len() <= MAX_ATTRIBUTES
        );
        for (algorithm, digits) in &subject.digests {
            let Ok(digest) = format!("{algorithm}:{digits}").parse::<Digest>() else {
                continue;
            };
            let found = statement.subject(&digest).expect("a subject is found by its digest");
            assert!(found.digests.iter().any(|(_, other)| other == digits));
            assert!(statement.subjects_with(&digest).count() >= 1);
        }
    }
    assert!(statement.subject(&Digest::sha256(input)).is_none(), "about itself");
    // serde_json keeps the last of two equal keys: where none is there twice, both readers read the same.
    assert_eq!(
        serde_json::from_slice::<Value>(input).ok().as_ref(),
        Some(&*statement.json)
    );
    assert!(depth(&statement.json) <= MAX_NESTING + 1);
    format!(
        "{} {}",
        statement.subjects.len().min(4),
        statement.json.get("predicate").is_some()
    )
}

fn depth(value: &Value) -> usize {
    1 + match value {
        Value::Array(items) => items.iter().map(depth).max().unwrap_or(0),
        Value::Object(fields) => fields.values().map(depth).max().unwrap_or(0),
        _ => 0,
    }
}
