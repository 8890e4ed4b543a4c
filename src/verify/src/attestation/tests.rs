//! Which statements satisfy a requirement.

use serde_json::json;

use super::*;

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2026-06-01T12:00:00Z")
}

fn statement(kind: &str, predicate: Value) -> Statement {
    let predicate_type = kind.parse::<PredicateType>().unwrap();
    Statement {
        predicate_type: predicate_type.as_str().into(),
        subjects: Vec::new(),
        json: std::sync::Arc::new(json!({"predicateType": predicate_type.as_str(), "predicate": predicate})),
    }
}

fn requirement(kind: &str, conditions: Vec<Condition>, max_age: Option<&str>) -> AttestationRequirement {
    let max_age = max_age.map(|age| age.parse::<SignedDuration>().unwrap().try_into().unwrap());
    AttestationRequirement::new(kind.parse().unwrap(), "ci".parse().unwrap(), conditions, max_age).unwrap()
}

fn scan(end: &str, severity: &str) -> Statement {
    statement(
        "vuln",
        json!({
            "scanner": {"result": {"SchemaVersion": 2, "Results": [
                {"Vulnerabilities": [{"VulnerabilityID": "CVE-1", "Severity": severity}]}]}},
            "metadata": {"scanFinishedOn": end},
        }),
    )
}

fn decide(requirement: &AttestationRequirement, statements: &[&Statement]) -> Result<usize, AttestationError> {
    let attested: Vec<_> = statements
        .iter()
        .map(|statement| Attested {
            statement,
            signed_at: None,
        })
        .collect();
    requirement.decide(&attested, now()).map(|satisfied| satisfied.by)
}

fn equals(path: &str, value: &str) -> Condition {
    Condition::Equals(path.parse().unwrap(), Scalar::Text(value.into()))
}

/// `--type` matched nothing, and nothing was good enough (CVE-2022-35929, CVE-2022-35930, CVE-2025-25204).
#[test]
fn no_attestation_of_the_type_satisfies_nothing() {
    let review = statement("https://corp.example/review/v1", json!({}));
    let signature = Statement {
        predicate_type: crate::sigstore::statement::COSIGN_SIGNATURE.into(),
        ..review.clone()
    };
    for requirement in [
        requirement("spdx", vec![], None),
        requirement("vuln", vec![Condition::MaxSeverity(Severity::Critical)], Some("24h")),
    ] {
        for statements in [&[][..], &[&review], &[&review, &signature]] {
            let refusal = decide(&requirement, statements).unwrap_err();
            assert_eq!(refusal.code(), Code::AttestationMissing, "{refusal}");
        }
        assert_eq!(
            requirement.check(&review, None, now()).map_err(|error| error.code()),
            Err(Code::AttestationMissing)
        );
    }
}

#[test]
fn one_statement_has_to_satisfy_all_conditions() {
    let conditions = vec![equals("predicate.a", "1"), equals("predicate.b", "2")];
    let requirement = requirement("custom", conditions, None);
    let one = statement("custom", json!({"a": "1", "b": "x"}));
    let other = statement("custom", json!({"a": "x", "b": "2"}));
    let both = statement("custom", json!({"a": "1", "b": "2"}));
    let refusal = decide(&requirement, &[&one, &other]).unwrap_err();
    assert_eq!(refusal.code(), Code::AttestationRefused);
    assert_eq!(decide(&requirement, &[&one, &other, &both]), Ok(2));
}

/// Every condition that is written down decides (CVE-2025-29778).
#[test]
fn each_condition_is_asked() {
    let text = |text: &str| TextMatcher::Exact(text.into());
    let provenance = statement(
        "slsaprovenance1",
        json!({
            "buildDefinition": {"externalParameters": {
                "workflow": {"repository": "https://github.com/corp/app", "ref": "refs/heads/main"}}},
            "runDetails": {"builder": {"id": "builder"}},
        }),
    );
    for (name, good, bad) in [
        (
            "builder",
            Condition::Builder(text("builder")),
            Condition::Builder(text("buildes")),
        ),
        (
            "source_repository",
            Condition::SourceRepository(text("https://github.com/corp/app")),
            Condition::SourceRepository(text("https://github.com/corp/ap")),
        ),
        (
            "source_ref",
            Condition::SourceRef(text("refs/heads/main")),
            Condition::SourceRef(text("refs/heads/mai")),
        ),
        (
            "equals",
            equals("predicate.runDetails.builder.id", "builder"),
            equals("predicate.runDetails.builder", "builder"),
        ),
        (
            "cel",
            Condition::Expression(Expression::new("predicate.runDetails.builder.id == 'builder'").unwrap()),
            Condition::Expression(Expression::new("predicate.runDetails.builder.id == 'other'").unwrap()),
        ),
        (
            "format",
            equals("predicateType", "https://slsa.dev/provenance/v1"),
            Condition::Format(Format::Spdx),
        ),
        ("max_severity", good_again(), Condition::MaxSeverity(Severity::Critical)),
    ] {
        let check = |condition| requirement("slsaprovenance1", vec![condition], None).check(&provenance, None, now());
        assert_eq!(check(good), Ok(Interval::ALWAYS), "{name}");
        assert_eq!(bad.name(), name);
        let refusal = check(bad).unwrap_err();
        assert!(refusal.to_string().starts_with(&format!("{name}: ")), "{refusal}");
        assert_eq!(refusal.code(), Code::AttestationRefused);
    }
}

fn good_again() -> Condition {
    equals("predicate.runDetails.builder.id", "builder")
}

#[test]
fn fields_are_compared_with_their_kind() {
    let found = json!({"predicate": {"a": "1", "b": 1, "c": true, "d": ["x", {"e": "y"}], "f": 1.0}});
    for (path, value, expected) in [
        ("predicate.a", Scalar::Text("1".into()), true),
        ("predicate.a", Scalar::Integer(1), false),
        ("predicate.b", Scalar::Integer(1), true),
        ("predicate.b", Scalar::Text("1".into()), false),
        ("predicate.c", Scalar::Boolean(true), true),
        ("predicate.c", Scalar::Boolean(false), false),
        ("predicate.c", Scalar::Text("true".into()), false),
        ("predicate.d.1.e", Scalar::Text("y".into()), true),
        ("predicate.d.0", Scalar::Text("x".into()), true),
        ("predicate.d.00", Scalar::Text("x".into()), false),
        ("predicate.d.+0", Scalar::Text("x".into()), false),
        ("predicate.d.2", Scalar::Text("x".into()), false),
        ("predicate.a.b", Scalar::Text("1".into()), false),
        ("predicate.f", Scalar::Integer(1), false),
        ("predicate.none", Scalar::Boolean(false), false),
    ] {
        let path = path.parse::<FieldPath>().unwrap();
        assert_eq!(path.check(&found, &value).is_ok(), expected, "{path} {value:?}");
    }
    for path in ["", ".", "a.", ".a", "a..b", "a\u{7}"] {
        assert!(path.parse::<FieldPath>().is_err(), "{path}");
    }
}

/// A scan from before the findings were known must not be put in the place of a newer one.
#[test]
fn the_newest_scan_decides() {
    let requirement = requirement("vuln", vec![Condition::MaxSeverity(Severity::Low)], Some("24h"));
    let good = scan("2026-06-01T10:00:00Z", "LOW");
    let bad = scan("2026-06-01T11:00:00Z", "HIGH");
    let newer = scan("2026-06-01T11:30:00Z", "LOW");
    assert_eq!(decide(&requirement, &[&good]), Ok(0));
    for statements in [[&good, &bad], [&bad, &good]] {
        let refusal = decide(&requirement, &statements).unwrap_err();
        assert!(refusal.to_string().contains("CVE-1 is high"), "{refusal}");
    }
    assert_eq!(decide(&requirement, &[&good, &newer, &bad]), Ok(1));
    // Of two of one moment neither is newer.
    let same = scan("2026-06-01T11:00:00Z", "LOW");
    for statements in [[&bad, &same], [&same, &bad]] {
        assert!(decide(&requirement, &statements).is_err());
    }
    // One whose time is not known may be the newest.
    let timeless = scan("yesterday", "LOW");
    let refusal = decide(&requirement, &[&good, &timeless]).unwrap_err();
    assert!(matches!(refusal, AttestationError::AgeUnknown(_)), "{refusal}");
    // Statements of other types have no part in it.
    let other = statement(
        "custom",
        json!({"metadata": {"scanFinishedOn": "2026-06-01T11:59:00Z"}}),
    );
    assert_eq!(decide(&requirement, &[&other, &good]), Ok(1));
}

#[test]
fn a_scan_counts_for_its_age_and_not_in_the_future() {
    let requirement = requirement("vuln", vec![], Some("24h"));
    let check = |end: &str| requirement.check(&scan(end, "CRITICAL"), None, now());
    let interval = check("2026-06-01T10:00:00Z").unwrap();
    assert_eq!(interval.until, at("2026-06-02T10:00:00Z"));
    assert!(check("2026-05-31T12:00:01Z").is_ok());
    assert!(matches!(
        check("2026-05-31T12:00:00Z"),
        Err(AttestationError::TooOld { .. })
    ));
    assert!(check("2026-06-01T12:05:00Z").is_ok());
    assert!(matches!(
        check("2026-06-01T12:05:01Z"),
        Err(AttestationError::InTheFuture(_))
    ));
}

#[test]
fn the_age_of_other_attestations_is_that_of_their_signature() {
    let requirement = requirement("custom", vec![], Some("24h"));
    let statement = statement(
        "custom",
        json!({"metadata": {"scanFinishedOn": "2026-06-01T11:00:00Z"}}),
    );
    let check = |signed_at| requirement.check(&statement, signed_at, now());
    assert!(check(Some(at("2026-06-01T10:00:00Z"))).is_ok());
    assert!(matches!(
        check(Some(at("2026-05-01T10:00:00Z"))),
        Err(AttestationError::TooOld { .. })
    ));
    assert!(matches!(check(None), Err(AttestationError::AgeUnknown(_))));
}

#[test]
fn a_scan_of_any_age_cannot_be_asked_for() {
    let made = AttestationRequirement::new("vuln".parse().unwrap(), "ci".parse().unwrap(), vec![], None);
    assert_eq!(made, Err(RequirementError::AgeNeeded));
}
