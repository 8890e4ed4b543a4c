//! Expressions of the Common Expression Language, and the statements that they are evaluated over.

use std::sync::Arc;

use assay_verify::attestation::{AttestationRequirement, Condition, Expression};
use assay_verify::limits::MAX_EXPRESSION_LENGTH;
use assay_verify::sigstore::statement::Statement;

use crate::authority::now;
use crate::{Target, seeds, shown};

const STATEMENT: &str = r#"{"predicateType":"https://cosign.sigstore.dev/attestation/v1","subject":[{"name":"a","digest":{"sha256":"ab"}}],"predicate":{"a":"b","n":3,"f":1.5,"t":true,"z":null,"l":[{"k":"v"},{"k":"w"}],"u":18446744073709551615}}"#;

/// The first line is the expression, the rest the statement.
pub const TARGET: Target = Target {
    name: "cel",
    seeds: || {
        let expressions = [
            "predicate.a == 'b' && predicate.n > 2",
            "predicate.l.all(x, x.k in ['v', 'w'])",
            "predicate.l.exists_one(x, x.k.startsWith('v')) || has(predicate.nothing)",
            "predicate.l.filter(x, x.k.matches('^(v|w)$')).size() == 2",
            "predicate.l.map(x, x.k) == ['v', 'w']",
            "statement.subject[0].digest['sha256'].contains('a') ? !(predicate.f < 1) : false",
            "int('3') == predicate.n && double('1.5') == predicate.f && size(subject) == 1",
            "predicate.u > -1 && predicate.z == null && predicateType.endsWith('v1')",
            r#"predicate.a == "\u00e9\x41\101\n" || predicate.a == r'\' || b'a' == b"a""#,
        ];
        let lines = expressions.map(|expression| format!("{expression}\n{STATEMENT}"));
        seeds::texts(&lines.each_ref().map(String::as_str))
    },
    words: &[
        b"(",
        b")",
        b"((((((((",
        b"!!!!",
        b"----",
        b"[",
        b"]",
        b"{",
        b"}",
        b".",
        b"?",
        b":",
        b"'",
        b"\"\"\"",
        b"r'",
        b"b'",
        b"\\u",
        b"`",
        b"@result",
        b"predicate",
        b"statement",
        b".all(x, ",
        b".exists(x, ",
        b".map(x, ",
        b".matches('^",
        b"has(",
        b" + ",
        b" in ",
        b"9223372036854775808",
        b"-9223372036854775808",
        b"1u",
        b"1e999",
        b"0x",
        b"null",
        b"//",
        b"\n",
        b"{\"a\":",
        b"[[[[",
    ],
    check,
    inputs: 4_000,
};

/// What is read is bounded and reads as itself; an evaluation ends, the same each time, and no expression is true together
/// with its opposite.
pub fn check(input: &[u8]) -> String {
    let Some(text) = super::text(input) else {
        return "not text".to_owned();
    };
    let (text, json) = text.split_once('\n').unwrap_or((text, STATEMENT));
    let expression = match Expression::new(text) {
        Ok(expression) => expression,
        Err(error) => return shown::error(&error),
    };
    assert!(text.len() <= MAX_EXPRESSION_LENGTH && expression.as_str() == text);
    let Ok(json) = serde_json::from_str::<serde_json::Value>(json) else {
        return "no statement".to_owned();
    };
    let statement = Statement {
        predicate_type: "https://cosign.sigstore.dev/attestation/v1".into(),
        subjects: Vec::new(),
        json: Arc::new(json),
    };
    let outcome = evaluate(expression.clone(), &statement);
    assert_eq!(evaluate(expression, &statement), outcome);
    // A comment would swallow what is put behind it.
    if let Ok(opposite) = Expression::new(&format!("!({text}\n)")) {
        assert!(outcome.is_err() || evaluate(opposite, &statement).is_err(), "{text}");
    }
    match outcome {
        Ok(()) => "true".to_owned(),
        Err(words) => words,
    }
}

fn evaluate(expression: Expression, statement: &Statement) -> Result<(), String> {
    let (kind, authority) = ("custom".parse().expect("a type"), "ci".parse().expect("a name"));
    let conditions = vec![Condition::Expression(expression)];
    let requirement = AttestationRequirement::new(kind, authority, conditions, None).expect("a requirement");
    requirement
        .check(statement, None, now())
        .map(drop)
        .map_err(|error| shown::error(&error))
}
