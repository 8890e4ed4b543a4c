//! The trust policy, against notation's own end-to-end fixtures and case by case.

use std::path::PathBuf;

use super::*;
use crate::document::Severity;

/// The folder of notation's fixtures.
#[expect(
    clippy::disallowed_methods,
    reason = "tests find the vectors through the environment"
)]
fn fixtures() -> PathBuf {
    let vectors = std::env::var_os("ASSAY_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
        PathBuf::from,
    );
    let folder = vectors.join("notation/notation/config/trustpolicies");
    assert!(
        folder.is_dir(),
        "the test vectors are absent: {} is no folder; set ASSAY_VECTORS to the folder that holds notation/",
        folder.display()
    );
    folder
}

fn errors(parsed: &ParsedTrustPolicy) -> Vec<String> {
    parsed
        .diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .map(ToString::to_string)
        .collect()
}

/// Line, column and a part of the message, if there is an error.
type Outcome = Result<(), (usize, usize, &'static str)>;

/// What a fixture must lead to: a policy, or exactly one error with this place and text.
const FIXTURES: &[(&str, &str, Outcome)] = &[
    ("verification_level-01..04", "trustpolicy", Ok(())),
    ("verification_level-05..08", "permissive_trustpolicy", Ok(())),
    ("verification_level-09..12", "audit_trustpolicy", Ok(())),
    (
        // notation accepts it; the specification forbids skip for every repository, and the stricter side counts.
        "verification_level-13",
        "skip_trustpolicy",
        Err((7, 38, "skips verification for every repository")),
    ),
    ("verification_level-14..16", "override_strict_trustpolicy", Ok(())),
    ("verification_level-17..19", "override_permissive_trustpolicy", Ok(())),
    (
        "verification_level-20",
        "override_integrity_for_permissive_trustpolicy",
        Err((12, 21, "\"integrity\" verification cannot be overridden")),
    ),
    ("verification_level-21..23", "override_audit_trustpolicy", Ok(())),
    (
        "registry_scope-01",
        "empty_registry_scope_trustpolicy",
        Err((6, 31, "zero registry scopes")),
    ),
    (
        "registry_scope-02",
        "malformed_registry_scope_trustpolicy",
        Err((6, 33, "registry scope \"localhost:5000\\\\test-repo\" is not valid")),
    ),
    ("registry_scope-03", "registry_scope_trustpolicy", Ok(())),
    ("registry_scope-04", "multiple_registry_scope_trustpolicy", Ok(())),
    ("registry_scope-05", "any_registry_scope_trust_policy", Ok(())),
    (
        "registry_scope-06",
        "overlapped_registry_scope_trustpolicy",
        Err((6, 61, "\"localhost:5000/test-repo6\" is present more than once")),
    ),
    (
        "registry_scope-07",
        "wildcard_plus_other_registry_scope_trustpolicy",
        Err((6, 32, "wildcard scope \"*\" cannot be used together")),
    ),
    ("registry_scope-08", "invalid_registry_scope_trustpolicy", Ok(())),
    (
        "multi_statements-01",
        "multi_statements_with_the_same_registry_scope_trustpolicy",
        Err((17, 33, "\"localhost:5000/test-repo8\" is present more than once")),
    ),
    (
        "multi_statements-02",
        "multi_statements_with_wildcard_registry_scope_trustpolicy",
        Ok(()),
    ),
    (
        "multi_statements-03",
        "multi_statements_with_the_same_name_trustpolicy",
        Err((16, 21, "more than one statement is named \"e2e\"")),
    ),
    (
        "multi_statements-04",
        "multi_statements_with_multi_wildcard_registry_scope_trustpolicy",
        Err((17, 33, "the registry scope \"*\" is present in more than one statement")),
    ),
    (
        "trust_store-01",
        "unset_trust_store_trustpolicy",
        Err((10, 28, "\"trustStores\" is missing or empty")),
    ),
    ("trust_store-02", "invalid_trust_store_trustpolicy", Ok(())),
    (
        "trust_store-03",
        "malformed_trust_store_trustpolicy",
        Err((10, 30, "unsupported trust store name \"\"")),
    ),
    (
        "trust_store-04",
        "wildcard_trust_store_trustpolicy",
        Err((10, 29, "malformed trust store value *")),
    ),
    ("trust_store-05", "multiple_trust_store_trustpolicy", Ok(())),
    (
        "trusted_identity-01",
        "unset_trusted_identity_trustpolicy",
        Err((11, 34, "\"trustedIdentities\" is missing or empty")),
    ),
    ("trusted_identity-02", "valid_trusted_identity_trustpolicy", Ok(())),
    ("trusted_identity-03", "invalid_trusted_identity_trustpolicy", Ok(())),
    (
        "trusted_identity-04",
        "malformed_trusted_identity_trustpolicy",
        Err((12, 17, "missing the separator")),
    ),
    (
        "trusted_identity-05",
        "empty_trusted_identity_trustpolicy",
        Err((11, 35, "a trusted identity is empty")),
    ),
    ("trusted_identity-06", "multiple_trusted_identity_trustpolicy", Ok(())),
    (
        "trusted_identity-07",
        "overlapped_trusted_identity_trustpolicy",
        Err((13, 17, "trusted identities overlap")),
    ),
    (
        "trusted_identity-08",
        "wildcard_plus_other_trusted_identity_trustpolicy",
        Err((12, 17, "the wildcard \"*\" cannot be used together")),
    ),
    (
        "trusted_identity-09",
        "missing_organization_trusted_identity_trustpolicy",
        Err((12, 17, "the attribute O is mandatory")),
    ),
    (
        "trusted_identity-10",
        "missing_state_trusted_identity_trustpolicy",
        Err((12, 17, "the attribute ST is mandatory")),
    ),
    (
        "trusted_identity-11",
        "missing_country_trusted_identity_trustpolicy",
        Err((12, 17, "the attribute C is mandatory")),
    ),
    ("verify-16", "timestamp_trustpolicy", Ok(())),
    ("verify-17", "timestamp_after_cert_expiry_trustpolicy", Ok(())),
    // Not among the cases of the suite, but beside them.
    ("quick start", "quickstart_trustpolicy", Ok(())),
    ("generate-test", "generate_test_trustpolicy", Ok(())),
    ("one store twice", "overlapped_trust_store_trustpolicy", Ok(())),
    ("malformed", "invalid_format_trustpolicy", Err((7, 7, "malformed JSON"))),
];

#[test]
fn reads_notations_end_to_end_policies_as_listed() {
    let folder = fixtures();
    let mut wrong = Vec::new();
    for (case, name, expected) in FIXTURES {
        let file = format!("{name}.json");
        let text = std::fs::read_to_string(folder.join(&file)).unwrap();
        let parsed = TrustPolicy::parse(&file, &text);
        let found = errors(&parsed);
        let fits = match expected {
            Ok(()) => found.is_empty() && parsed.policy.is_some(),
            Err((line, column, message)) => {
                let place = format!("{file}:{line}:{column}: error: ");
                parsed.policy.is_none()
                    && matches!(&found[..], [one] if one.starts_with(&place) && one.contains(message))
            }
        };
        if !fits {
            wrong.push(format!("{case}: expected {expected:?}, found {found:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_fixture_is_listed_or_is_for_blobs() {
    let mut unlisted: Vec<String> = std::fs::read_dir(fixtures())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|file| !FIXTURES.iter().any(|(_, name, _)| *file == format!("{name}.json")))
        .collect();
    unlisted.sort();
    assert_eq!(unlisted, ["blob_trust_policy.json"]);
}

#[test]
fn refuses_a_policy_for_blobs() {
    let text = std::fs::read_to_string(fixtures().join("blob_trust_policy.json")).unwrap();
    let parsed = TrustPolicy::parse("blob", &text);
    assert!(parsed.policy.is_none());
    assert!(
        errors(&parsed)
            .iter()
            .any(|error| error.contains("missing its \"registryScopes\""))
    );
    assert!(
        errors(&parsed)
            .iter()
            .any(|error| error.contains("belongs to a policy for blobs"))
    );
}

/// A policy of one statement with these members besides its name.
fn policy(members: &str) -> String {
    format!(r#"{{"version": "1.0", "trustPolicies": [{{"name": "a", {members}}}]}}"#)
}

const SCOPES: &str = r#""registryScopes": ["a.example/b"]"#;
const TRUST: &str = r#""trustStores": ["ca:x"], "trustedIdentities": ["*"]"#;

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    let parsed = TrustPolicy::parse("p.json", text);
    let found: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expected.len(), "{found:#?}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}\ndoes not say\n{expected}");
    }
    let refused = parsed.diagnostics.iter().any(|one| one.severity == Severity::Error);
    assert_eq!(parsed.policy.is_none(), refused);
}

fn verification(members: &str) -> String {
    policy(&format!(r#"{SCOPES}, "signatureVerification": {{{members}}}, {TRUST}"#))
}

fn level(members: &str) -> Level {
    let parsed = TrustPolicy::parse("p.json", &verification(members));
    let policy = parsed.policy.expect(members);
    policy.statements()[0].level.clone()
}

#[test]
fn levels_mean_what_the_specification_says() {
    assert_eq!(level(r#""level": "strict""#), Level::Verify(Checks::STRICT));
    assert_eq!(level(r#""level": "permissive""#), Level::Verify(Checks::PERMISSIVE));
    assert_eq!(level(r#""level": "audit""#), Level::Verify(Checks::AUDIT));
    let overridden = level(r#""level": "audit", "override": {"authenticity": "enforce", "revocation": "skip"}"#);
    let expected = Checks {
        authenticity: Action::Enforce,
        revocation: RevocationAction::Skip,
        ..Checks::AUDIT
    };
    assert_eq!(overridden, Level::Verify(expected));
}

#[test]
fn refuses_overrides_that_notation_refuses() {
    check(
        &verification(r#""level": "strict", "override": {"expiry": "skip"}"#),
        &["action \"skip\" for \"expiry\""],
    );
    check(
        &verification(r#""level": "strict", "override": {"Expiry": "log"}"#),
        &["check \"Expiry\" is unknown"],
    );
    check(
        &verification(r#""level": "strict", "override": {"integrity": "log"}"#),
        &["cannot be overridden"],
    );
    check(
        &verification(r#""level": "strict", "override": {"expiry": 1}"#),
        &["\"expiry\" must be text, not a number"],
    );
    check(&verification(r#""level": "Strict""#), &["level \"Strict\" is unknown"]);
    check(&verification(""), &["\"level\" is missing"]);
    check(
        &policy(&format!(
            r#"{SCOPES}, "signatureVerification": {{"level": "skip", "override": {{"expiry": "log"}}}}"#
        )),
        &["\"override\" has no meaning with the level skip"],
    );
}

#[test]
fn skip_takes_neither_stores_nor_identities() {
    check(
        &verification(r#""level": "skip""#),
        &["\"trustStores\" has no meaning", "\"trustedIdentities\" has no meaning"],
    );
    let text = policy(&format!(r#"{SCOPES}, "signatureVerification": {{"level": "skip"}}"#));
    let parsed = TrustPolicy::parse("p.json", &text);
    let policy = parsed.policy.unwrap();
    let statement = &policy.statements()[0];
    assert_eq!(statement.level, Level::Skip);
    assert_eq!(statement.identities, TrustedIdentities::nobody());
}

#[test]
fn skip_for_every_repository_is_refused_as_the_specification_asks() {
    check(
        &policy(r#""registryScopes": ["*"], "signatureVerification": {"level": "skip"}"#),
        &["p.json:1:102: error: statement \"a\" skips verification for every repository"],
    );
}

#[test]
fn verify_timestamp_without_a_timestamp_store_is_a_warning() {
    for word in ["afterCertExpiry", "always", ""] {
        check(
            &verification(&format!(r#""level": "strict", "verifyTimestamp": "{word}""#)),
            &["has no effect: no timestamp store is named"],
        );
    }
    check(
        &verification(r#""level": "strict", "verifyTimestamp": "never""#),
        &["\"never\" is unknown", "has no effect"],
    );
}

#[test]
fn ignored_keys_are_warnings_and_case_variants_are_errors() {
    check(
        &verification(r#""level": "strict", "comment": 1"#),
        &["p.json:1:132: warning: unknown key \"comment\""],
    );
    check(
        &verification(r#""level": "strict", "Override": {}"#),
        &["error: key \"Override\" differs from \"override\" in case"],
    );
    check(
        &verification(r#""level": "skip", "level": "strict""#),
        &[
            "error: duplicate key \"level\"",
            "\"trustStores\" has no meaning",
            "\"trustedIdentities\" has no meaning",
        ],
    );
}

#[test]
fn refuses_scopes_that_name_no_repository() {
    for scope in [
        "",
        "alpine",
        "a.example",
        "https://a.example/b",
        "a.example/b:tag",
        "a.example/b@sha256:00",
        "a.example/*",
        "*.example/b",
        "a.example/B",
        "a.example/b/",
        "team/app",
    ] {
        let text = policy(&format!(
            r#""registryScopes": ["{scope}"], "signatureVerification": {{"level": "strict"}}, {TRUST}"#
        ));
        check(&text, &["registry scope"]);
    }
}

#[test]
fn selects_the_statement_that_names_the_repository_else_the_one_for_all() {
    let statement = |name: &str, scope: &str| {
        format!(
            r#"{{"name": "{name}", "registryScopes": [{scope}], "signatureVerification": {{"level": "strict"}}, {TRUST}}}"#
        )
    };
    let named = statement("named", r#""a.example/b", "docker.io/alpine""#);
    let select = |text: &str, repository: &str| {
        let policy = TrustPolicy::parse("p.json", text).policy.unwrap();
        let found = policy.applicable(&repository.parse().unwrap());
        found.map(|statement| statement.name.to_string())
    };
    let both = format!(
        r#"{{"version": "1.0", "trustPolicies": [{}, {named}]}}"#,
        statement("rest", "\"*\"")
    );
    assert_eq!(select(&both, "a.example/b").as_deref(), Some("named"));
    assert_eq!(select(&both, "A.example:443/b").as_deref(), Some("named"));
    assert_eq!(select(&both, "alpine").as_deref(), Some("named"));
    assert_eq!(select(&both, "a.example/b/c").as_deref(), Some("rest"));
    let one = format!(r#"{{"version": "1.0", "trustPolicies": [{named}]}}"#);
    assert_eq!(select(&one, "a.example/bb"), None);
}

#[test]
fn two_names_of_one_repository_are_one_scope() {
    let text = policy(&format!(
        r#""registryScopes": ["docker.io/alpine", "index.docker.io/library/alpine"],
           "signatureVerification": {{"level": "strict"}}, {TRUST}"#
    ));
    check(&text, &["\"index.docker.io/library/alpine\" is present more than once"]);
}

#[test]
fn reports_all_problems_at_once_in_their_order() {
    let text = r#"{
  "version": "2.0",
  "trustPolicies": [
    {
      "name": "",
      "registryScopes": "a.example/b",
      "signatureVerification": {"level": "lax"},
      "trustStores": ["ca:ok", "tls:no"],
      "trustedIdentities": [1]
    },
    7
  ]
}"#;
    let parsed = TrustPolicy::parse("p.json", text);
    let shown: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(
        shown,
        [
            "p.json:2:14: error: version \"2.0\" is not supported: expected \"1.0\"",
            "p.json:5:15: error: a statement's \"name\" is empty",
            "p.json:6:25: error: \"registryScopes\" must be a list, not text",
            "p.json:7:42: error: level \"lax\" is unknown: expected strict, permissive, audit or skip",
            "p.json:8:32: error: unsupported trust store type tls: expected ca, signingAuthority or tsa",
            "p.json:9:29: error: each of \"trustedIdentities\" must be text, not a number",
            "p.json:11:5: error: a statement must be a table, not a number",
        ]
    );
}

#[test]
fn refuses_what_is_larger_than_the_limit() {
    check(&" ".repeat(MAX_POLICY_SIZE + 1), &["more than 1048576"]);
}
