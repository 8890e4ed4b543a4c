//! Each step of a signature's judgement, by a signature that passes all others.

use std::sync::Arc;

use assay_verify::code::Code;
use assay_verify::limits::{MAX_LOG_ENTRIES, MAX_REFUSED_TIMESTAMPS, MAX_TIMESTAMPS};
use assay_verify::policy::Conditions;
use assay_verify::sigstore::authority::{Authority, RequiredEvidence, Signers};
use assay_verify::sigstore::material::{ClaimedSigner, Content, Material, MessageDigest};
use assay_verify::sigstore::signature::{
    Artifact, Asked, Failure, FileDigest, Judged, Purpose, Rejected, Step, verify,
};
use assay_verify::sigstore::window::Window;
use rcgen::{KeyPair, SigningKey as _};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::deployment::{
    ISSUER, Keyless, Log, SIGN, SLSA, SUBJECT, TimestampAuthority, at, dsse, hashedrekord, identity, judge, judge_with,
    key_authority, now, payload, pem, signed_at, simple_signing, statement,
};
use crate::support::image;

#[track_caller]
fn refused(result: Result<Judged, Rejected>, step: Step, code: Code) {
    let rejected = result.expect_err("it is refused");
    assert_eq!(
        (rejected.step, rejected.failure.code()),
        (step, code),
        "{}",
        rejected.failure
    );
}

#[track_caller]
fn accepted(result: Result<Judged, Rejected>) -> Judged {
    result.unwrap_or_else(|rejected| panic!("refused at {:?}: {}", rejected.step, rejected.failure))
}

fn key() -> KeyPair {
    KeyPair::generate().unwrap()
}

#[test]
fn accepts_a_signature_of_the_key_in_both_formats() {
    let key = key();
    accepted(judge(
        &simple_signing(&key, payload(&Value::Null)),
        &key_authority(&key),
    ));
    accepted(judge(&dsse(&key, statement(SIGN, &json!({}))), &key_authority(&key)));
}

#[test]
fn accepts_a_signature_of_any_of_several_keys_and_says_which() {
    let (first, second) = (key(), key());
    let mut authority = key_authority(&first);
    authority.signers = Signers::Keys(vec![
        crate::deployment::verification_key(&first),
        crate::deployment::verification_key(&second),
    ]);
    let judged = accepted(judge(&simple_signing(&second, payload(&Value::Null)), &authority));
    let expected = crate::deployment::verification_key(&second);
    assert_eq!(
        judged.verified.signer().key_fingerprint(),
        Some(*expected.fingerprint())
    );
}

#[test]
fn an_attestation_is_no_signature() {
    let key = key();
    let material = dsse(&key, statement(SLSA, &json!({})));
    refused(judge(&material, &key_authority(&key)), Step::Content, Code::Unsigned);
}

#[test]
fn a_signature_is_no_attestation() {
    let key = key();
    let purpose = Purpose::Attestation { predicate_type: SLSA };
    for material in [
        simple_signing(&key, payload(&Value::Null)),
        dsse(&key, statement(SIGN, &json!({}))),
    ] {
        let result = judge_with(&material, &key_authority(&key), purpose, &Conditions::default(), now());
        refused(result, Step::Content, Code::AttestationMissing);
    }
}

#[test]
fn an_envelope_with_another_payload_type_says_nothing() {
    let key = key();
    let mut material = dsse(&key, statement(SIGN, &json!({})));
    let Content::Dsse { payload_type, .. } = &mut material.content else {
        unreachable!()
    };
    *payload_type = "application/json".into();
    refused(judge(&material, &key_authority(&key)), Step::Content, Code::Unsigned);
}

#[test]
fn denies_when_the_payload_names_another_digest() {
    let key = key();
    let other = "0".repeat(64);
    let payload = String::from_utf8(payload(&Value::Null))
        .unwrap()
        .replace(image().digest.hex(), &other);
    let statement = String::from_utf8(statement(SIGN, &json!({})))
        .unwrap()
        .replace(image().digest.hex(), &other);
    for material in [simple_signing(&key, payload.into()), dsse(&key, statement.into())] {
        refused(
            judge(&material, &key_authority(&key)),
            Step::Subject,
            Code::SubjectMismatch,
        );
    }
}

#[test]
fn denies_a_signature_of_another_key() {
    let material = simple_signing(&key(), payload(&Value::Null));
    refused(
        judge(&material, &key_authority(&key())),
        Step::Integrity,
        Code::UntrustedSigner,
    );
}

#[test]
fn denies_a_payload_that_changed_after_it_was_signed() {
    let key = key();
    let mut material = simple_signing(&key, payload(&Value::Null));
    if let Content::SimpleSigning { payload, .. } = &mut material.content {
        *payload = crate::deployment::payload(&json!({ "env": "prod" })).into();
    }
    refused(
        judge(&material, &key_authority(&key)),
        Step::Integrity,
        Code::UntrustedSigner,
    );
    let mut material = dsse(&key, statement(SIGN, &json!({})));
    if let Content::Dsse { payload, .. } = &mut material.content {
        *payload = statement(SIGN, &json!({ "more": 1 })).into();
    }
    refused(
        judge(&material, &key_authority(&key)),
        Step::Integrity,
        Code::UntrustedSigner,
    );
}

#[test]
fn accepts_a_certificate_of_a_trusted_authority_with_a_log_entry() {
    let keyless = Keyless::new();
    let judged = accepted(judge(&keyless.signature(), &keyless.authority()));
    assert_eq!(judged.verified.signed_at(), Some(signed_at()));
    assert_eq!(judged.verified.signer().to_string(), format!("{SUBJECT} ({ISSUER})"));
    assert_eq!(judged.verified.log_entries().len(), 1);
}

#[test]
fn identities_are_not_satisfied_by_a_key() {
    let keyless = Keyless::new();
    let mut material = keyless.signature();
    material.signer = ClaimedSigner::Key { hint: None };
    refused(
        judge(&material, &keyless.authority()),
        Step::Integrity,
        Code::UntrustedSigner,
    );
}

#[test]
fn denies_a_signature_that_is_not_of_its_certificate() {
    let keyless = Keyless::new();
    let mut material = keyless.signature();
    let stranger = simple_signing(&key(), payload(&Value::Null));
    material.content = stranger.content;
    refused(
        judge(&material, &keyless.authority()),
        Step::Integrity,
        Code::SignatureInvalid,
    );
}

#[test]
fn denies_a_certificate_of_an_authority_that_is_not_trusted() {
    let keyless = Keyless::new();
    let mut authority = keyless.authority();
    let mut root = keyless.root();
    root.certificate_authorities = vec![TimestampAuthority::new("other").trusted()];
    authority.root = Arc::new(root);
    refused(
        judge(&keyless.signature(), &authority),
        Step::Authenticity,
        Code::UntrustedSigner,
    );
}

#[test]
fn denies_a_certificate_that_had_ended_when_the_log_saw_the_signature() {
    let keyless = Keyless::new();
    let mut material = keyless.signature();
    let body = hashedrekord(&material, &pem("CERTIFICATE", keyless.leaf.der()));
    material.log_entries = vec![keyless.logs[0].entry(7, &body, at("2026-05-03T00:00:00Z"))];
    refused(
        judge(&material, &keyless.authority()),
        Step::Authenticity,
        Code::CertificateExpired,
    );
}

/// TOB-SIGSTORE-4: one time inside the certificate's life does not make up for another outside.
#[test]
fn every_verified_time_has_to_fit_the_certificate() {
    let keyless = Keyless::new();
    let mut material = keyless.signature();
    let signature = material.content.signature().to_vec();
    material.timestamps = vec![keyless.timestamp_authorities[0].stamp(&signature, "20260601000000Z")];
    refused(
        judge(&material, &keyless.authority()),
        Step::Authenticity,
        Code::CertificateExpired,
    );
}

#[test]
fn a_timestamp_alone_gives_the_time() {
    let keyless = Keyless::new();
    let mut authority = keyless.authority();
    authority.evidence = RequiredEvidence {
        timestamps: 1,
        verified_time: true,
        ..RequiredEvidence::default()
    };
    let mut material = keyless.signature();
    material.log_entries.clear();
    refused(
        judge(&material, &authority),
        Step::RequiredEvidence,
        Code::TimestampRequired,
    );
    let signature = material.content.signature().to_vec();
    material.timestamps = vec![keyless.timestamp_authorities[0].stamp(&signature, "20260501000000Z")];
    let judged = accepted(judge(&material, &authority));
    assert_eq!(judged.verified.signed_at(), Some(signed_at()));
    // Of other bytes it says nothing.
    material.timestamps = vec![keyless.timestamp_authorities[0].stamp(b"other", "20260501000000Z")];
    refused(
        judge(&material, &authority),
        Step::RequiredEvidence,
        Code::TimestampInvalid,
    );
}

#[test]
fn without_anybody_who_says_when_the_certificate_has_to_be_valid_now() {
    let keyless = Keyless::new();
    let mut authority = keyless.authority();
    authority.evidence = RequiredEvidence::default();
    let mut material = keyless.signature();
    material.log_entries.clear();
    let at_signing = judge_with(
        &material,
        &authority,
        Purpose::ImageSignature,
        &Conditions::default(),
        signed_at(),
    );
    let judged = accepted(at_signing);
    assert_eq!(judged.verified.interval().until, keyless.leaf.not_after());
    refused(
        judge(&material, &authority),
        Step::Authenticity,
        Code::CertificateExpired,
    );
}

/// CVE-2026-48816: an integrated time without the log's signature over it is a stranger's word.
#[test]
fn an_integrated_time_without_a_promise_gives_no_time() {
    let keyless = Keyless::new();
    let mut material = keyless.signature();
    material.log_entries[0].promise = None;
    refused(
        judge(&material, &keyless.authority()),
        Step::TransparencyLog,
        Code::LogEntryInvalid,
    );
}

/// CVE-2022-36056, CVE-2026-22703: a valid entry of the log that is about another signature.
#[test]
fn denies_a_log_entry_of_another_signature() {
    let keyless = Keyless::new();
    let mut material = keyless.signature();
    let other = simple_signing(&keyless.key, payload(&json!({ "env": "other" })));
    let body = hashedrekord(&other, &pem("CERTIFICATE", keyless.leaf.der()));
    material.log_entries = vec![keyless.logs[0].entry(7, &body, signed_at())];
    refused(
        judge(&material, &keyless.authority()),
        Step::TransparencyLog,
        Code::LogEntryInvalid,
    );
}

#[test]
fn denies_a_log_entry_of_another_signer() {
    let keyless = Keyless::new();
    let mut material = keyless.signature();
    let other = keyless
        .issuing
        .certificate(&keyless.key, "https://ci.test/other", ISSUER);
    let body = hashedrekord(&material, &pem("CERTIFICATE", other.der()));
    material.log_entries = vec![keyless.logs[0].entry(7, &body, signed_at())];
    refused(
        judge(&material, &keyless.authority()),
        Step::TransparencyLog,
        Code::LogEntryInvalid,
    );
}

#[test]
fn entries_of_unknown_logs_are_passed_over_and_do_not_count() {
    let keyless = Keyless::new();
    let mut material = keyless.signature();
    let body = hashedrekord(&material, &pem("CERTIFICATE", keyless.leaf.der()));
    let unknown = Log::new("unknown").entry(8, &body, signed_at());
    material.log_entries.push(unknown.clone());
    accepted(judge(&material, &keyless.authority()));
    material.log_entries = vec![unknown];
    refused(
        judge(&material, &keyless.authority()),
        Step::RequiredEvidence,
        Code::LogEntryInvalid,
    );
}

#[test]
fn a_verified_time_is_needed_whoever_gives_it() {
    let keyless = Keyless::new();
    let mut authority = keyless.authority();
    authority.evidence = RequiredEvidence {
        verified_time: true,
        ..RequiredEvidence::default()
    };
    accepted(judge(&keyless.signature(), &authority));
    let mut material = keyless.signature();
    material.log_entries.clear();
    refused(
        judge(&material, &authority),
        Step::VerifiedTime,
        Code::TimestampRequired,
    );
    material.timestamps = vec![Box::default()];
    refused(judge(&material, &authority), Step::VerifiedTime, Code::TimestampInvalid);
}

#[test]
fn denies_one_entry_that_is_there_twice() {
    let keyless = Keyless::new();
    let mut material = keyless.signature();
    material.log_entries.push(material.log_entries[0].clone());
    refused(
        judge(&material, &keyless.authority()),
        Step::TransparencyLog,
        Code::LogEntryInvalid,
    );
}

/// CVE-2024-45395: endless entries and timestamps.
#[test]
fn denies_more_entries_or_timestamps_than_the_limit() {
    let keyless = Keyless::new();
    let mut material = keyless.signature();
    material.log_entries = vec![material.log_entries[0].clone(); MAX_LOG_ENTRIES + 1];
    refused(
        judge(&material, &keyless.authority()),
        Step::TransparencyLog,
        Code::LimitExceeded,
    );
    let mut material = keyless.signature();
    for count in [MAX_REFUSED_TIMESTAMPS + 1, MAX_TIMESTAMPS + 1] {
        material.timestamps = vec![Box::default(); count];
        let result = judge(&material, &keyless.authority());
        refused(result, Step::Timestamp, Code::LimitExceeded);
    }
    material.timestamps = vec![Box::default(); MAX_REFUSED_TIMESTAMPS];
    accepted(judge(&material, &keyless.authority()));
}

fn two_logs(second: &'static str) -> (Keyless, Authority) {
    let mut keyless = Keyless::new();
    keyless.logs.push(Log::new(second));
    let mut authority = keyless.authority();
    authority.evidence.log_entries = 2;
    (keyless, authority)
}

/// CVE-2026-49834: a threshold counts operators, not entries or keys.
#[test]
fn two_logs_of_one_operator_count_once() {
    let (keyless, authority) = two_logs("another");
    accepted(judge(&keyless.signature(), &authority));
    let (keyless, authority) = two_logs("log");
    refused(
        judge(&keyless.signature(), &authority),
        Step::RequiredEvidence,
        Code::LogEntryInvalid,
    );
}

/// sigstore-go#471: two timestamps of one authority count once.
#[test]
fn two_timestamps_of_one_authority_count_once() {
    let mut keyless = Keyless::new();
    keyless.timestamp_authorities.push(TimestampAuthority::new("second"));
    let mut authority = keyless.authority();
    authority.evidence.timestamps = 2;
    let mut material = keyless.signature();
    let signature = material.content.signature().to_vec();
    let stamp = |index: usize, time: &str| keyless.timestamp_authorities[index].stamp(&signature, time);
    material.timestamps = vec![stamp(0, "20260501000000Z"), stamp(0, "20260501000001Z")];
    refused(
        judge(&material, &authority),
        Step::RequiredEvidence,
        Code::TimestampRequired,
    );
    material.timestamps[1] = stamp(1, "20260501000001Z");
    accepted(judge(&material, &authority));
}

#[test]
fn denies_a_signature_without_the_log_that_is_asked_for() {
    let keyless = Keyless::new();
    let mut material = keyless.signature();
    material.log_entries.clear();
    let signature = material.content.signature().to_vec();
    material.timestamps = vec![keyless.timestamp_authorities[0].stamp(&signature, "20260501000000Z")];
    refused(
        judge(&material, &keyless.authority()),
        Step::RequiredEvidence,
        Code::LogEntryInvalid,
    );
}

#[test]
fn denies_a_certificate_without_the_promise_that_is_asked_for() {
    let keyless = Keyless::new();
    let mut authority = keyless.authority();
    authority.evidence.signed_certificate_timestamps = 1;
    refused(
        judge(&keyless.signature(), &authority),
        Step::CertificateTransparency,
        Code::UntrustedSigner,
    );
}

#[test]
fn denies_a_signature_of_the_future_by_the_judgements_own_time() {
    let keyless = Keyless::new();
    let before = at("2026-04-30T12:00:00Z");
    let result = judge_with(
        &keyless.signature(),
        &keyless.authority(),
        Purpose::ImageSignature,
        &Conditions::default(),
        before,
    );
    refused(result, Step::VerifiedTime, Code::TimestampInvalid);
}

/// CVE-2026-54787: the log's key counts in its window alone.
#[test]
fn denies_an_entry_outside_the_window_of_the_logs_key() {
    let mut keyless = Keyless::new();
    keyless.logs[0].window = Window {
        start: Some(at("2026-01-01T00:00:00Z")),
        end: Some(at("2026-04-30T23:59:59Z")),
    };
    refused(
        judge(&keyless.signature(), &keyless.authority()),
        Step::TransparencyLog,
        Code::LogEntryInvalid,
    );
    keyless.logs[0].window.end = Some(signed_at());
    accepted(judge(&keyless.signature(), &keyless.authority()));
}

#[test]
fn denies_another_identity() {
    let keyless = Keyless::new();
    let mut authority = keyless.authority();
    for (subject, issuer) in [(SUBJECT, "https://other.test"), ("https://ci.test/other", ISSUER)] {
        authority.signers = Signers::Identities(vec![identity(subject, issuer)]);
        refused(
            judge(&keyless.signature(), &authority),
            Step::Identity,
            Code::IdentityMismatch,
        );
    }
    authority.signers = Signers::Identities(vec![
        identity("https://ci.test/other", ISSUER),
        identity(SUBJECT, ISSUER),
    ]);
    accepted(judge(&keyless.signature(), &authority));
}

#[test]
fn annotations_of_the_authority_and_of_the_rule_have_to_be_in_the_signed_payload() {
    let key = key();
    let mut authority = key_authority(&key);
    authority.annotations.insert("env".into(), "prod".into());
    let mut conditions = Conditions::default();
    conditions.annotations.insert("team".into(), "a".into());
    let of = |optional: Value| simple_signing(&key, payload(&optional));
    let judged = |material: &Material| judge_with(material, &authority, Purpose::ImageSignature, &conditions, now());
    accepted(judged(&of(json!({ "env": "prod", "team": "a", "more": "b" }))));
    for optional in [
        Value::Null,
        json!({ "env": "prod" }),
        json!({ "team": "a" }),
        json!({ "env": "test", "team": "a" }),
        json!({ "env": "prod", "team": ["a"] }),
    ] {
        refused(judged(&of(optional)), Step::Annotations, Code::AnnotationMismatch);
    }
}

#[test]
fn annotations_of_two_subjects_do_not_combine() {
    let key = key();
    let mut authority = key_authority(&key);
    authority.annotations.insert("env".into(), "prod".into());
    authority.annotations.insert("team".into(), "a".into());
    let of = |annotations: [Value; 2]| {
        let subject = annotations
            .map(|annotations| json!({ "digest": { "sha256": image().digest.hex() }, "annotations": annotations }));
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1", "subject": subject, "predicateType": SIGN, "predicate": {},
        });
        dsse(&key, serde_json::to_vec(&statement).unwrap())
    };
    let halves = of([json!({ "env": "prod" }), json!({ "team": "a" })]);
    refused(judge(&halves, &authority), Step::Annotations, Code::AnnotationMismatch);
    // Whichever of the two it is.
    accepted(judge(
        &of([json!({}), json!({ "env": "prod", "team": "a" })]),
        &authority,
    ));
}

#[test]
fn a_minimum_signing_time_counts_what_is_proven_alone() {
    let keyless = Keyless::new();
    let judged = |material: &Material, authority: &Authority, minimum: &str| {
        let conditions = Conditions {
            minimum_signing_time: Some(at(minimum)),
            ..Conditions::default()
        };
        judge_with(material, authority, Purpose::ImageSignature, &conditions, now())
    };
    accepted(judged(
        &keyless.signature(),
        &keyless.authority(),
        "2026-04-30T00:00:00Z",
    ));
    refused(
        judged(&keyless.signature(), &keyless.authority(), "2026-04-30T00:00:01Z"),
        Step::SigningTime,
        Code::SignatureTooOld,
    );
    let key = key();
    refused(
        judged(
            &simple_signing(&key, payload(&Value::Null)),
            &key_authority(&key),
            "2026-04-30T00:00:00Z",
        ),
        Step::SigningTime,
        Code::SignatureTooOld,
    );
}

/// A timestamp says that a signature existed by then. Anybody can have an old one stamped again.
#[test]
fn a_new_timestamp_makes_no_old_signature_young() {
    let keyless = Keyless::new();
    let mut authority = key_authority(&keyless.key);
    authority.root = Arc::new(keyless.root());
    let mut material = simple_signing(&keyless.key, payload(&Value::Null));
    let signature = material.content.signature().to_vec();
    material.timestamps = vec![keyless.timestamp_authorities[0].stamp(&signature, "20261120000000Z")];
    let conditions = Conditions {
        minimum_signing_time: Some(at("2026-05-01T00:00:00Z")),
        ..Conditions::default()
    };
    let judged = judge_with(&material, &authority, Purpose::ImageSignature, &conditions, now());
    refused(judged, Step::SigningTime, Code::SignatureTooOld);
    assert_eq!(accepted(judge(&material, &authority)).verified.made_after(), None);
}

#[test]
fn a_bad_entry_spoils_nothing_where_no_log_is_asked_for() {
    let keyless = Keyless::new();
    let mut authority = keyless.authority();
    authority.evidence = RequiredEvidence {
        timestamps: 1,
        verified_time: true,
        ..RequiredEvidence::default()
    };
    let mut material = keyless.signature();
    material.log_entries[0].promise = Some(Box::from(*b"nothing"));
    let signature = material.content.signature().to_vec();
    material.timestamps = vec![keyless.timestamp_authorities[0].stamp(&signature, "20260501000000Z")];
    let judged = accepted(judge(&material, &authority));
    assert!(judged.verified.log_entries().is_empty());
}

#[test]
fn one_body_under_two_positions_is_one_entry() {
    let keyless = Keyless::new();
    let mut material = keyless.signature();
    let mut again = material.log_entries[0].clone();
    again.log_index += 1;
    let position = again.log_index;
    material.log_entries.push(again);
    // The promise is of another position, too: that it does not hold would refuse the entry for another reason.
    let rejected = judge(&material, &keyless.authority()).expect_err("it is refused");
    assert_eq!(rejected.failure, Failure::DuplicateEntry(position));
    refused(Err(rejected), Step::TransparencyLog, Code::LogEntryInvalid);
}

#[test]
fn a_files_signature_is_one_of_the_file_and_none_of_an_image() {
    let key = key();
    let file = b"a file";
    let digest: [u8; 32] = Sha256::digest(file).into();
    let mut material = simple_signing(&key, payload(&Value::Null));
    let message = |named: &[u8]| Content::Message {
        digest: Some(MessageDigest {
            algorithm: assay_verify::crypto::Hash::Sha256,
            bytes: named.into(),
        }),
        signature: key.sign(file).unwrap().into(),
    };
    let authority = key_authority(&key);
    let conditions = Conditions::default();
    let digests = |digest: [u8; 32]| {
        vec![FileDigest {
            hash: assay_verify::crypto::Hash::Sha256,
            bytes: digest.into(),
        }]
    };
    let judged = |material: &Material, digests: &[FileDigest]| {
        let asked = Asked {
            authority: &authority,
            artifact: Artifact::Blob(digests),
            purpose: Purpose::Any,
            conditions: &conditions,
        };
        verify(material, None, &asked, now())
    };
    refused(judged(&material, &digests(digest)), Step::Content, Code::Unsigned);
    material.content = message(&digest);
    accepted(judged(&material, &digests(digest)));
    let mut annotated = authority.clone();
    annotated.annotations.insert("env".into(), "prod".into());
    let asked = Asked {
        authority: &annotated,
        artifact: Artifact::Blob(&digests(digest)),
        purpose: Purpose::Any,
        conditions: &conditions,
    };
    refused(
        verify(&material, None, &asked, now()),
        Step::Annotations,
        Code::AnnotationMismatch,
    );
    refused(judge(&material, &authority), Step::Content, Code::Unsigned);
    refused(
        judged(&material, &digests([7; 32])),
        Step::Subject,
        Code::SubjectMismatch,
    );
    material.content = message(&[7; 32]);
    refused(
        judged(&material, &digests(digest)),
        Step::Subject,
        Code::SubjectMismatch,
    );
    refused(
        judged(&material, &digests([7; 32])),
        Step::Integrity,
        Code::UntrustedSigner,
    );
}

#[test]
fn a_statement_about_a_file_is_no_signature_of_it() {
    let key = key();
    let hex = image().digest.hex().to_owned();
    let bytes = (0..hex.len()).step_by(2);
    let digests = [FileDigest {
        hash: assay_verify::crypto::Hash::Sha256,
        bytes: bytes
            .map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap())
            .collect(),
    }];
    let authority = key_authority(&key);
    let conditions = Conditions::default();
    let judged = |material: &Material, purpose: Purpose<'_>| {
        let asked = Asked {
            authority: &authority,
            artifact: Artifact::Blob(&digests),
            purpose,
            conditions: &conditions,
        };
        verify(material, None, &asked, now())
    };
    // SLSA's verification summary: what it says of the file may be that it failed.
    let summary = "https://slsa.dev/verification_summary/v1";
    let attestation = |predicate_type| Purpose::Attestation { predicate_type };
    let material = dsse(&key, statement(summary, &json!({ "verificationResult": "FAILED" })));
    refused(judged(&material, Purpose::FileSignature), Step::Content, Code::Unsigned);
    refused(
        judged(&material, attestation(SLSA)),
        Step::Content,
        Code::AttestationMissing,
    );
    accepted(judged(&material, attestation(summary)));
    // Neither is the statement that is one of an image.
    let of_image = dsse(&key, statement(SIGN, &json!({})));
    refused(judged(&of_image, Purpose::FileSignature), Step::Content, Code::Unsigned);
}

#[test]
fn the_signature_of_a_file_has_no_annotations_to_ask_for() {
    let key = key();
    let file = b"a file";
    let digest: [u8; 32] = Sha256::digest(file).into();
    let digests = [FileDigest {
        hash: assay_verify::crypto::Hash::Sha256,
        bytes: digest.into(),
    }];
    let mut material = simple_signing(&key, payload(&Value::Null));
    material.content = Content::Message {
        digest: Some(MessageDigest {
            algorithm: assay_verify::crypto::Hash::Sha256,
            bytes: digest.into(),
        }),
        signature: key.sign(file).unwrap().into(),
    };
    let judged = |authority: &Authority| {
        let asked = Asked {
            authority,
            artifact: Artifact::Blob(&digests),
            purpose: Purpose::FileSignature,
            conditions: &Conditions::default(),
        };
        verify(&material, None, &asked, now())
    };
    let mut authority = key_authority(&key);
    accepted(judged(&authority));
    authority.annotations.insert("env".into(), "prod".into());
    refused(judged(&authority), Step::Annotations, Code::AnnotationMismatch);
}
