//! Attestations that a rule asks for.

use std::time::Duration;

use assay_verify::attestation::{AttestationRequirement, Condition, FieldPath, Scalar, Severity};
use assay_verify::code::Code;
use assay_verify::evidence::Signature;
use assay_verify::judge::{GrantedBy, Judgement};
use assay_verify::limits::MAX_SIGNATURES;
use rcgen::KeyPair;
use serde_json::{Value, json};

use crate::deployment::{SIGN, SLSA, admitted, at, bundle, denied, judge_image, key_authority, statement};

const VULN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

pub(crate) fn provenance(key: &KeyPair, builder: &str) -> Signature {
    bundle(
        key,
        &statement(SLSA, &json!({ "runDetails": { "builder": { "id": builder } } })),
    )
}

pub(crate) fn built_by(builder: &str) -> AttestationRequirement {
    asked(SLSA, vec![equals("predicate.runDetails.builder.id", builder)], None)
}

fn equals(path: &str, value: &str) -> Condition {
    let path: FieldPath = path.parse().unwrap();
    Condition::Equals(path, Scalar::Text(value.into()))
}

fn asked(predicate_type: &str, conditions: Vec<Condition>, max_age: Option<Duration>) -> AttestationRequirement {
    let authority = "builder".parse().unwrap();
    AttestationRequirement::new(predicate_type.parse().unwrap(), authority, conditions, max_age).unwrap()
}

fn judged(evidence: &[Signature], key: &KeyPair, requirement: &AttestationRequirement) -> Judgement {
    judge_image(evidence, 0, &[], &[("builder", &key_authority(key), requirement)])
}

#[test]
fn admits_by_an_attestation_alone_where_no_signature_is_asked_for() {
    let key = key();
    let permit = admitted(judged(&[provenance(&key, "b")], &key, &built_by("b")));
    assert!(matches!(&permit.grants()[0].by, GrantedBy::Attestation { predicate_type, .. } if predicate_type == SLSA));
}

#[test]
fn a_missing_attestation_denies_a_signed_image() {
    let key = key();
    let authority = key_authority(&key);
    let requirement = built_by("b");
    let asked = [("builder", &authority, &requirement)];
    let signed = bundle(&key, &statement(SIGN, &json!({})));
    let (code, _) = denied(judge_image(
        std::slice::from_ref(&signed),
        1,
        &[("release", &authority)],
        &asked,
    ));
    assert_eq!(code, Code::AttestationMissing);
    admitted(judge_image(
        &[signed, provenance(&key, "b")],
        1,
        &[("release", &authority)],
        &asked,
    ));
}

/// CVE-2022-35929, CVE-2022-35930, GHSA-w6c6-c85g-mmv6: an attestation of another type is none of this type.
#[test]
fn an_attestation_of_another_type_is_missing_not_accepted() {
    let key = key();
    let other = bundle(&key, &statement(VULN, &json!({})));
    let (code, _) = denied(judged(&[other], &key, &asked(SLSA, Vec::new(), None)));
    assert_eq!(code, Code::AttestationMissing);
    let (code, _) = denied(judged(&[], &key, &asked(SLSA, Vec::new(), None)));
    assert_eq!(code, Code::AttestationMissing);
}

#[test]
fn an_attestation_by_somebody_else_does_not_count() {
    let (ours, theirs) = (key(), key());
    let (code, _) = denied(judged(&[provenance(&theirs, "b")], &ours, &built_by("b")));
    assert_eq!(code, Code::UntrustedSigner);
}

#[test]
fn a_statement_that_says_something_else_is_refused() {
    let key = key();
    let (code, reason) = denied(judged(&[provenance(&key, "other")], &key, &built_by("b")));
    assert_eq!(code, Code::AttestationRefused, "{reason}");
}

/// Two statements, each with half of what is asked, are no whole one.
#[test]
fn two_statements_never_combine() {
    let key = key();
    let half = |field: &str| bundle(&key, &statement(SLSA, &json!({ field: "yes" })));
    let requirement = asked(
        SLSA,
        vec![equals("predicate.a", "yes"), equals("predicate.b", "yes")],
        None,
    );
    let (code, _) = denied(judged(&[half("a"), half("b")], &key, &requirement));
    assert_eq!(code, Code::AttestationRefused);
    let whole = bundle(&key, &statement(SLSA, &json!({ "a": "yes", "b": "yes" })));
    admitted(judged(&[half("a"), whole, half("b")], &key, &requirement));
}

#[test]
fn any_good_statement_suffices_where_age_does_not_matter() {
    let key = key();
    let evidence = [provenance(&key, "other"), provenance(&key, "b")];
    admitted(judged(&evidence, &key, &built_by("b")));
}

pub(crate) fn scan(key: &KeyPair, finished: &str, severities: &[&str]) -> Signature {
    let findings: Vec<Value> = severities
        .iter()
        .map(|severity| json!({ "VulnerabilityID": "CVE-1", "Severity": severity }))
        .collect();
    let predicate = json!({
        "invocation": { "uri": "", "event_id": "", "builder.id": "" },
        "scanner": { "uri": "pkg:trivy", "version": "1", "db": { "uri": "", "version": "" },
            "result": { "SchemaVersion": 2, "Results": [{ "Target": "app", "Vulnerabilities": findings }] } },
        "metadata": { "scanStartedOn": finished, "scanFinishedOn": finished },
    });
    bundle(key, &statement(VULN, &predicate))
}

pub(crate) fn no_worse_than_high() -> AttestationRequirement {
    let age = Duration::from_secs(7 * 24 * 3600);
    asked(VULN, vec![Condition::MaxSeverity(Severity::High)], Some(age))
}

/// An older scan from before the findings must not be put in the newer one's place.
#[test]
fn the_newest_scan_decides() {
    let key = key();
    let clean = scan(&key, "2026-11-18T00:00:00Z", &["LOW"]);
    let bad = scan(&key, "2026-11-20T00:00:00Z", &["CRITICAL"]);
    for evidence in [[clean.clone(), bad.clone()], [bad, clean.clone()]] {
        let (code, _) = denied(judged(&evidence, &key, &no_worse_than_high()));
        assert_eq!(code, Code::AttestationRefused);
    }
    let mended = scan(&key, "2026-11-20T00:00:00Z", &[]);
    let permit = admitted(judged(&[clean, mended], &key, &no_worse_than_high()));
    assert_eq!(permit.interval().until, at("2026-11-27T00:00:00Z"));
}

#[test]
fn two_scans_of_one_moment_both_have_to_satisfy() {
    let key = key();
    let clean = scan(&key, "2026-11-20T00:00:00Z", &["LOW"]);
    let bad = scan(&key, "2026-11-20T00:00:00Z", &["CRITICAL"]);
    for evidence in [[clean.clone(), bad.clone()], [bad, clean]] {
        denied(judged(&evidence, &key, &no_worse_than_high()));
    }
}

#[test]
fn a_scan_that_is_too_old_or_of_the_future_does_not_count() {
    let key = key();
    for finished in ["2026-11-01T00:00:00Z", "2026-12-01T00:00:00Z"] {
        let (code, _) = denied(judged(&[scan(&key, finished, &[])], &key, &no_worse_than_high()));
        assert_eq!(code, Code::AttestationRefused, "{finished}");
    }
}

#[test]
fn a_scan_of_unknown_age_may_be_the_newest() {
    let key = key();
    let clean = scan(&key, "2026-11-20T00:00:00Z", &["LOW"]);
    let undated = bundle(&key, &statement(VULN, &json!({ "scanner": { "result": {} } })));
    denied(judged(&[clean, undated], &key, &no_worse_than_high()));
}

/// What somebody else attests, whatever it says, neither satisfies nor spoils.
#[test]
fn a_strangers_scan_spoils_nothing() {
    let (ours, theirs) = (key(), key());
    let evidence = [
        scan(&ours, "2026-11-20T00:00:00Z", &[]),
        scan(&theirs, "2026-11-21T00:00:00Z", &["CRITICAL"]),
    ];
    admitted(judged(&evidence, &ours, &no_worse_than_high()));
}

/// Junk must not push the newest scan out of what is judged.
#[test]
fn a_scan_counts_only_if_everything_there_is_was_judged() {
    let (ours, theirs) = (key(), key());
    let mut evidence = vec![scan(&ours, "2026-11-20T00:00:00Z", &[])];
    let junk = (0..MAX_SIGNATURES).map(|at| provenance(&theirs, &at.to_string()));
    evidence.extend(junk);
    let (code, _) = denied(judged(&evidence, &ours, &no_worse_than_high()));
    assert_eq!(code, Code::LimitExceeded);
    evidence.pop();
    admitted(judged(&evidence, &ours, &no_worse_than_high()));
}

/// A statement that is too large to be looked into may be the newest, and the worse an image is the larger it gets.
#[test]
fn a_scan_that_is_too_large_is_undecided_not_absent() {
    let key = key();
    let clean = scan(&key, "2026-11-19T00:00:00Z", &[]);
    let many = vec!["CRITICAL"; 60_000];
    let huge = scan(&key, "2026-11-20T00:00:00Z", &many);
    let (code, _) = denied(judged(&[clean, huge], &key, &no_worse_than_high()));
    assert_eq!(code, Code::LimitExceeded);
}

#[test]
fn a_strangers_statement_that_is_too_large_spoils_nothing() {
    let (ours, theirs) = (key(), key());
    let clean = scan(&ours, "2026-11-20T00:00:00Z", &[]);
    let huge = scan(&theirs, "2026-11-20T00:00:00Z", &vec!["CRITICAL"; 60_000]);
    admitted(judged(&[clean, huge], &ours, &no_worse_than_high()));
}

/// An old approval with a new timestamp must not pass for the newest word.
#[test]
fn the_age_of_what_a_key_signs_is_not_known() {
    let key = key();
    let age = Some(Duration::from_secs(24 * 3600));
    let (code, _) = denied(judged(&[provenance(&key, "b")], &key, &asked(SLSA, Vec::new(), age)));
    assert_eq!(code, Code::AttestationRefused);
}
