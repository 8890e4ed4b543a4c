//! The trust policy for files: notation's own fixtures, and case by case what differs from the one for images.

use super::*;
use crate::document::Severity;

#[expect(
    clippy::disallowed_methods,
    reason = "tests find the vectors through the environment"
)]
fn fixture(path: &str) -> String {
    let vectors = std::env::var_os("ASSAY_VECTORS").map_or_else(
        || std::path::PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
        std::path::PathBuf::from,
    );
    let file = vectors.join("notation/notation").join(path);
    std::fs::read_to_string(&file).unwrap_or_else(|error| {
        panic!(
            "the test vectors are absent: {}: {error}; set ASSAY_VECTORS to the folder that holds notation/",
            file.display()
        )
    })
}

fn problems(parsed: &ParsedBlobTrustPolicy, severity: Severity) -> Vec<String> {
    let of = parsed.diagnostics.iter().filter(|one| one.severity == severity);
    of.map(ToString::to_string).collect()
}

fn policy(text: &str) -> BlobTrustPolicy {
    let parsed = BlobTrustPolicy::parse("trustpolicy.blob.json", text);
    parsed.policy.unwrap_or_else(|| panic!("{:#?}", parsed.diagnostics))
}

const TRUST: &str = r#""trustStores": ["ca:corp"], "trustedIdentities": ["*"]"#;

/// A document of statements that verify strictly, each with these fields more.
fn document(statements: &[&str]) -> String {
    let statements: Vec<_> = statements
        .iter()
        .map(|fields| format!(r#"{{{fields}, "signatureVerification": {{"level": "strict"}}, {TRUST}}}"#))
        .collect();
    format!(r#"{{"version": "1.0", "trustPolicies": [{}]}}"#, statements.join(", "))
}

#[test]
fn reads_notations_own_policies() {
    let one = policy(&fixture("blob/trustpolicies/trustpolicy.blob.json"));
    assert_eq!(one.statements().len(), 3);
    let named = |name| one.applicable(name).unwrap().name.to_string();
    assert_eq!(named(None), "test-blob-global-statement");
    assert_eq!(named(Some("test-blob-statement")), "test-blob-statement");
    let timestamped = one.applicable(Some("test-blob-with-timestamping")).unwrap();
    assert_eq!(timestamped.verify_timestamp, VerifyTimestamp::Always);
    assert_eq!(timestamped.trust_stores.len(), 2);
    assert!(timestamped.terms().is_some());
    let parsed = BlobTrustPolicy::parse("f", &fixture("config/trustpolicies/blob_trust_policy.json"));
    assert_eq!(problems(&parsed, Severity::Error), [""; 0]);
}

#[test]
fn a_name_that_does_not_exist_never_falls_back_to_the_global_statement() {
    let policy = policy(&document(&[r#""name": "a", "globalPolicy": true"#, r#""name": "b""#]));
    let error = policy.applicable(Some("c")).unwrap_err().to_string();
    assert_eq!(error, "the trust policy has no statement named \"c\"; it has a, b");
    assert!(policy.applicable(Some("")).is_err());
    assert!(policy.applicable(Some("A")).is_err());
}

#[test]
fn says_the_way_out_where_no_statement_is_global() {
    let policy = policy(&document(&[r#""name": "a""#, r#""name": "b", "globalPolicy": false"#]));
    let error = policy.applicable(None).unwrap_err().to_string();
    assert!(error.contains("name one of a, b"), "{error}");
    assert!(error.contains("\"globalPolicy\": true"), "{error}");
}

#[test]
fn refuses_what_the_specification_forbids() {
    let statement = |fields: &str| format!(r#"{{"version": "1.0", "trustPolicies": [{{{fields}}}]}}"#);
    let skip = r#""signatureVerification": {"level": "skip"}"#;
    let strict = r#""signatureVerification": {"level": "strict"}"#;
    for (text, expected) in [
        (
            document(&[
                r#""name": "a", "globalPolicy": true"#,
                r#""name": "b", "globalPolicy": true"#,
            ]),
            "more than one statement has \"globalPolicy\": true",
        ),
        (
            statement(&format!(r#""name": "a", "globalPolicy": true, {skip}"#)),
            "the global statement \"a\" skips verification",
        ),
        (
            document(&[r#""name": "a", "registryScopes": ["*"]"#]),
            "\"registryScopes\" belongs to a policy for images",
        ),
        (
            document(&[r#""name": "a", "globalpolicy": true"#]),
            "key \"globalpolicy\" differs from \"globalPolicy\" in case",
        ),
        (
            document(&[r#""name": "a", "globalPolicy": "true""#]),
            "\"globalPolicy\" must be true or false",
        ),
        (
            document(&[r#""name": "a""#, r#""name": "a""#]),
            "more than one statement is named \"a\"",
        ),
        (document(&[r#""name": """#]), "\"name\" is empty"),
        (document(&[]), "\"trustPolicies\" is empty"),
        (statement(&format!("{strict}, {TRUST}")), "missing its \"name\""),
        (
            statement(&format!(r#""name": "a", {TRUST}"#)),
            "missing its \"signatureVerification\"",
        ),
        (
            statement(&format!(r#""name": "a", {strict}, "trustedIdentities": ["*"]"#)),
            "\"trustStores\" is missing or empty",
        ),
        (
            statement(&format!(r#""name": "a", {skip}, {TRUST}"#)),
            "\"trustStores\" has no meaning with the level skip",
        ),
        (
            document(&[r#""name": "a""#]).replace("1.0", "1.1"),
            "version \"1.1\" is not supported",
        ),
        ("[]".to_owned(), "a trust policy must be a table"),
    ] {
        let parsed = BlobTrustPolicy::parse("trustpolicy.blob.json", &text);
        assert!(parsed.policy.is_none(), "{text}");
        let errors = problems(&parsed, Severity::Error);
        assert!(
            errors.iter().any(|error| error.contains(expected)),
            "{expected}: {errors:#?}"
        );
        assert!(errors[0].starts_with("trustpolicy.blob.json:1:"), "{errors:#?}");
    }
}

#[test]
fn a_statement_that_is_named_may_skip_and_asks_nothing() {
    let policy =
        policy(r#"{"version": "1.0", "trustPolicies": [{"name": "a", "signatureVerification": {"level": "skip"}}]}"#);
    assert!(policy.applicable(Some("a")).unwrap().terms().is_none());
}

#[test]
fn warns_of_keys_that_notation_ignores() {
    let parsed = BlobTrustPolicy::parse("f", &document(&[r#""name": "a", "scope": "all""#]));
    assert!(parsed.policy.is_some());
    assert!(problems(&parsed, Severity::Warning)[0].contains("unknown key \"scope\""));
}
