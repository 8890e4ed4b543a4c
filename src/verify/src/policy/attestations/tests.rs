//! What a rule may ask of attestations, and what it says when it may not.

use std::time::Duration;

use crate::attestation::Condition;
use crate::policy::{Effect, Policy, Requirements};

/// A rule with these lines, in a policy with authorities of both types.
fn document(lines: &str) -> String {
    format!(
        "version = 1\nunmatched = \"deny\"\n[authority.ci]\ntype = \"cosign\"\nkeys = [\"ci.pub\"]\n\
         [authority.corp]\ntype = \"notation\"\nconfig = \"/etc/notation\"\n[[rule]]\nname = \"r\"\nimages = [\"a.example/a\"]\n\
         {lines}\n[[rule]]\nname = \"last\"\nimages = [\"z.example/z\"]\nrequire = {{ all = [\"corp\", \"ci\"] }}\n"
    )
}

#[track_caller]
fn read(lines: &str) -> Requirements {
    let parsed = Policy::parse("policy.toml", &document(lines));
    let policy = parsed
        .policy
        .unwrap_or_else(|| panic!("{lines}: {:#?}", parsed.diagnostics));
    assert!(parsed.diagnostics.is_empty(), "{:#?}", parsed.diagnostics);
    match policy.rules()[0].effect() {
        Effect::Require { requirements, .. } => requirements.clone(),
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn check(lines: &str, expected: &[&str]) {
    let parsed = Policy::parse("policy.toml", &document(lines));
    let found: Vec<String> = parsed.diagnostics.iter().map(ToString::to_string).collect();
    assert_eq!(found.len(), expected.len(), "{lines}: {found:#?}");
    assert!(parsed.policy.is_none(), "{lines}");
    for (found, expected) in found.iter().zip(expected) {
        assert!(found.contains(expected), "{found}\ndoes not say\n{expected}");
    }
}

/// The one attestation has exactly this problem.
#[track_caller]
fn refused(attestation: &str, expected: &str) {
    check(&format!("require_attestations = [{{ {attestation} }}]"), &[expected]);
}

#[test]
fn reads_every_condition() {
    let found = read(
        r#"
require = { all = ["corp"] }
require_attestations = [
    { type = "slsaprovenance1", authority = "ci", builder_regex = "https://github\\.com/corp/.+", source_repository = "https://github.com/corp/app", source_ref = "refs/heads/main", equals = { "predicate.a" = "b", "predicate.n" = 1, "predicate.t" = true } },
    { type = "vuln", authority = "ci", max_severity = "medium", max_age = "24h" },
    { type = "spdxjson", authority = "ci", format = "spdx" },
    { type = "https://corp.example/review/v1", authority = "ci", cel = "predicate.reviewers.exists(r, r == 'ann')", max_age = "720h" },
]
"#,
    );
    assert_eq!(found.signatures().map(|one| one.needed()), Some(1));
    let names: Vec<Vec<&str>> = found
        .attestations()
        .iter()
        .map(|one| one.conditions().iter().map(Condition::name).collect())
        .collect();
    assert_eq!(
        names,
        [
            vec![
                "builder",
                "source_repository",
                "source_ref",
                "equals",
                "equals",
                "equals"
            ],
            vec!["max_severity"],
            vec!["format"],
            vec!["cel"],
        ]
    );
    let types: Vec<&str> = found
        .attestations()
        .iter()
        .map(|one| one.predicate_type().as_str())
        .collect();
    assert_eq!(types[0], "https://slsa.dev/provenance/v1");
    assert_eq!(types[3], "https://corp.example/review/v1");
    let newest: Vec<bool> = found.attestations().iter().map(|one| one.newest_decides()).collect();
    assert_eq!(newest, [false, true, false, true]);
    assert_eq!(found.attestations()[1].max_age(), Some(Duration::from_secs(24 * 3600)));
}

#[test]
fn attestations_may_be_all_that_is_asked_for() {
    let found = read("require_attestations = [{ type = \"spdx\", authority = \"ci\" }]");
    assert!(found.signatures().is_none());
    assert_eq!(found.attestations().len(), 1);
    assert!(found.attestations()[0].conditions().is_empty());
    let names: Vec<&str> = found.authorities().map(|name| name.as_str()).collect();
    assert_eq!(names, ["ci"]);
}

/// What cannot be read is never the same as what is not there: the rule would ask for less.
#[test]
fn a_requirement_that_cannot_be_read_refuses_the_policy() {
    let require = "require = { all = [\"corp\"] }\n";
    check(
        &format!("{require}require_attestations = []"),
        &["require_attestations has 0 items"],
    );
    check(
        &format!("{require}require_attestations = {{}}"),
        &["require_attestations must be a list"],
    );
    check(
        &format!("{require}require_attestations = [1]"),
        &["each of require_attestations must be a table"],
    );
    let good = "{ type = \"spdx\", authority = \"ci\" }";
    check(
        &format!("require = {{ all = [] }}\nrequire_attestations = [{good}]"),
        &["all is empty"],
    );
    check(
        &format!("{require}require_attestations = [{good}, {{ type = \"spdx\" }}]"),
        &["an attestation is missing its authority"],
    );
}

#[test]
fn refuses_attestations_without_a_meaning() {
    refused("authority = \"ci\"", "an attestation is missing its type");
    refused(
        "type = \"sbom\", authority = \"ci\"",
        "sbom is neither a known short name nor a URI",
    );
    refused(
        "type = \"true\", authority = \"ci\"",
        "true is neither a known short name",
    );
    refused(
        "type = \"https://sigstore.dev/cosign/sign/v1\", authority = \"ci\"",
        "is the type of signatures",
    );
    refused(
        "type = \"spdx\", authority = \"corp\"",
        "of the type notation, which signs no attestations",
    );
    refused(
        "type = \"spdx\", authority = \"other\"",
        "authority other is not defined",
    );
    refused("type = \"spdx\", authority = \"a b\"", "is not valid");
    refused(
        "type = \"spdx\", authority = \"ci\", predicate = \"x\"",
        "unknown key \"predicate\"",
    );
    let spdx = |condition: &str, expected: &str| {
        refused(&format!("type = \"spdx\", authority = \"ci\", {condition}"), expected);
    };
    spdx("builder = \"x\"", "builder has no meaning for the type");
    spdx(
        "source_ref_regex = \"x\"",
        "source_ref_regex has no meaning for the type",
    );
    spdx("max_severity = \"low\"", "max_severity has no meaning for the type");
    spdx("format = \"csv\"", "format cannot be \"csv\"");
    spdx("max_age = \"0s\"", "max_age cannot be \"0s\"");
    spdx("max_age = \"soon\"", "max_age cannot be \"soon\"");
    spdx("equals = {}", "equals has 0 fields");
    spdx("equals = { \"a..b\" = \"x\" }", "is no path");
    spdx(
        "equals = { predicate.a = \"x\" }",
        "\"predicate\" cannot be equal to a table",
    );
    spdx(
        "equals = { \"predicate.a\" = 1.5 }",
        "cannot be equal to a number with a fraction",
    );
    spdx("cel = \"predicate.\"", "cel cannot be used: it is malformed");
    spdx(
        "cel = \"subject.all(a, subject.all(b, true))\"",
        "a macro stands in another one",
    );
    let provenance = |condition: &str, expected: &str| {
        refused(
            &format!("type = \"slsaprovenance1\", authority = \"ci\", {condition}"),
            expected,
        );
    };
    provenance("format = \"spdx\"", "format has no meaning for the type");
    provenance("builder = \"\"", "builder is empty");
    provenance("builder_regex = \"(\"", "builder_regex cannot be used");
    provenance(
        "builder = \"a\", builder_regex = \"b\"",
        "builder and builder_regex cannot both be given",
    );
}

/// An old scan could be put in the place of a newer one.
#[test]
fn a_scan_needs_a_maximum_age() {
    refused(
        "type = \"vuln\", authority = \"ci\", max_severity = \"low\"",
        "attestations of vulnerabilities need a maximum age",
    );
    refused("type = \"vuln\", authority = \"ci\"", "need a maximum age");
    refused(
        "type = \"vuln\", authority = \"ci\", max_age = \"24h\", max_severity = \"HIGH\"",
        "max_severity cannot be \"HIGH\"",
    );
}

#[test]
fn a_deny_and_a_rule_without_signatures_have_no_conditions_on_them() {
    let attested = "require_attestations = [{ type = \"spdx\", authority = \"ci\" }]";
    check(
        &format!("deny = \"x\"\n{attested}"),
        &["both denies and has require_attestations"],
    );
    check(
        &format!("{attested}\nannotations = {{ a = \"b\" }}"),
        &["annotations has no meaning"],
    );
    check(
        &format!("{attested}\naccept_unverified = true"),
        &["accept_unverified has no meaning"],
    );
    read(&format!(
        "{attested}\nminimum_signing_time = \"2026-01-31T00:00:00Z\"\naccept_platform_signatures = true"
    ));
}
