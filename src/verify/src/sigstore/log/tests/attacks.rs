//! Published attacks on verifiers of log entries. In each, everything is genuine: the log signed what it holds. It is only
//! not about this signature, or not of the time it claims.

use super::super::*;
use super::fixture::*;

/// A genuine entry of somebody else's signature, presented beside this one.
fn stolen(body: &str, content: &Content) -> Result<(), LogError> {
    let log = Log::rekor_v1();
    let logged = logged(content, SIGNER.key());
    let entry = log.entry_v1(body);
    verify(&entry, &logged, &log.root()).map(|_| ())
}

fn of_attacker(payload: &[u8], signature: &[u8]) -> String {
    hashedrekord(&sha256(payload), signature, &pem("PUBLIC KEY", &Signer::new().spki))
}

/// Case 1: cosign took a Rekor bundle that was not for the signature.
#[test]
fn cve_2022_23649_an_entry_of_another_signature_is_refused() {
    let error = stolen(&of_attacker(b"other", b"other"), &simple_signing());
    assert_eq!(error, Err(LogError::Binding(BindingError::Signature)));
}

/// Case 3: the entry has the signature, and not the certificate or the blob's digest; or the other way round.
#[test]
fn cve_2022_36056_an_entry_that_agrees_in_part_is_refused() {
    let signer = stolen(&of_attacker(PAYLOAD, SIGNATURE), &simple_signing());
    assert_eq!(signer, Err(LogError::Binding(BindingError::Signer)));
    let content = stolen(
        &hashedrekord(&sha256(b"other"), SIGNATURE, &key_pem()),
        &simple_signing(),
    );
    assert_eq!(content, Err(LogError::Binding(BindingError::Content)));
}

/// Case 7: comparisons were skipped where the entry or the signature had nothing to compare, as for attestations.
#[test]
fn cve_2026_22703_a_comparison_that_cannot_be_made_is_a_refusal() {
    let without_envelope = stolen(&intoto_1(b"other", Some(PAYLOAD)), &envelope(None));
    assert_eq!(without_envelope, Err(LogError::Binding(BindingError::Uncomparable)));
    let of_a_file = stolen(&good_v1(), &message());
    assert_eq!(of_a_file, Err(LogError::Binding(BindingError::NoDigest(Hash::Sha256))));
    let other_kind = stolen(&of_attacker(BLOB, b""), &envelope(Some(BLOB)));
    assert!(matches!(other_kind, Err(LogError::Binding(_))));
    let unsigned = Content::Dsse {
        payload_type: PAYLOAD_TYPE.into(),
        payload: PAYLOAD.into(),
        signature: [].into(),
        envelope: Some(BLOB.into()),
    };
    let empty = stolen(&dsse(BLOB, PAYLOAD, b"other"), &unsigned);
    assert_eq!(empty, Err(LogError::Binding(BindingError::Signature)));
}

/// Case 14: sigstore-js took the time of an entry without a promise.
#[test]
fn cve_2026_48816_a_time_without_a_promise_is_no_time() {
    let log = Log::rekor_v1();
    let mut entry = log.entry_v1(&good_v1());
    entry.promise = None;
    entry.integrated_time = Some(at(TIME - 365 * 24 * 3600));
    assert_eq!(judge(&log, &entry), Ok(None));
}

/// Case 15: the time was used before its promise was verified.
#[test]
fn tob_sigstore_3_the_time_of_a_bad_promise_is_no_time() {
    let log = Log::rekor_v1();
    let mut entry = log.entry_v1(&good_v1());
    entry.integrated_time = Some(at(TIME - 60));
    assert_eq!(judge(&log, &entry), Err(LogError::Promise(PromiseError::Signature)));
}

/// Case 19: entries were verified and not held against the bundle, of whatever kind.
#[test]
fn sigstore_rust_160_an_entry_of_every_kind_is_held_against_the_signature() {
    let bodies = [
        dsse(BLOB, b"other", SIGNATURE),
        dsse(BLOB, PAYLOAD, b"other"),
        intoto_2(PAYLOAD_TYPE, BLOB, b"other", SIGNATURE),
        intoto_2(PAYLOAD_TYPE, BLOB, PAYLOAD, b"other"),
        intoto_1(b"other", None),
    ];
    for body in bodies {
        let error = stolen(&body, &envelope(Some(BLOB)));
        assert!(matches!(error, Err(LogError::Binding(_))), "{body}: {error:?}");
    }
    let log = Log::rekor_v2();
    let content = envelope(None);
    let root = log.root();
    let error = verify(&log.entry_v2(&good_v2()), &logged(&content, SIGNER.key()), &root);
    assert_eq!(error.unwrap_err(), LogError::Binding(BindingError::Content));
}

/// Case 27: gitsign took another entry of the same log, of the same signer.
#[test]
fn cve_2024_51746_another_entry_of_the_same_signer_is_refused() {
    let error = stolen(
        &hashedrekord(&sha256(b"other"), b"other", &key_pem()),
        &simple_signing(),
    );
    assert_eq!(error, Err(LogError::Binding(BindingError::Signature)));
}
