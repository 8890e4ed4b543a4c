//! Promises over certificates that are made here: the log signs what the certificate was before it held the promise.

use rcgen::{CertificateParams, CustomExtension, Issuer, KeyPair, SigningKey as _};

use super::*;
use crate::sigstore::fulcio::testing::*;
use crate::sigstore::key::VerificationKey;

const PROMISED_AT: &str = "2026-05-01T00:00:00.25Z";

/// A log's own view of a promise, every part open to change.
struct Parts {
    version: u8,
    log_id: Vec<u8>,
    at: Timestamp,
    extensions: Vec<u8>,
    hash: u8,
    signature_algorithm: u8,
    issuer_key_hash: Vec<u8>,
    /// What is signed instead of the precertificate, if anything.
    signs: Option<Vec<u8>>,
}

fn key_of(pair: &KeyPair) -> VerificationKey {
    VerificationKey::from_spki(&rcgen::PublicKeyData::subject_public_key_info(pair)).unwrap()
}

fn log(pair: &KeyPair, window: Window) -> TransparencyLog {
    let key = key_of(pair);
    TransparencyLog {
        base_url: "https://ctfe.corp.example/".into(),
        log_id: key.fingerprint()[..].into(),
        key,
        window,
        operator: "corp".into(),
    }
}

fn parts(pair: &KeyPair) -> Parts {
    Parts {
        version: 0,
        log_id: key_of(pair).fingerprint().to_vec(),
        at: time(PROMISED_AT),
        extensions: Vec::new(),
        hash: 4,
        signature_algorithm: 3,
        issuer_key_hash: Sha256::digest(Chain::default().intermediate.subject_public_key_info_der()).to_vec(),
        signs: None,
    }
}

fn opaque(content: &[u8]) -> Vec<u8> {
    [&u16::try_from(content.len()).unwrap().to_be_bytes()[..], content].concat()
}

/// The certificate before it holds a promise.
fn precertificate(params: &CertificateParams) -> Certificate {
    Chain::new(&root(), &intermediate(), params).leaf
}

/// `SignedCertificateTimestamp`, signed by the log (RFC 6962 §3.2).
fn promise(pair: &KeyPair, params: &CertificateParams, parts: &Parts) -> Vec<u8> {
    let precertificate = precertificate(params);
    let to_be_signed = parts.signs.as_deref().unwrap_or(precertificate.to_be_signed());
    let at = u64::try_from(parts.at.as_millisecond()).unwrap().to_be_bytes();
    let length = u32::try_from(to_be_signed.len()).unwrap().to_be_bytes();
    let signed = [
        &[0, 0][..],
        &at,
        &[0, 1],
        &parts.issuer_key_hash,
        &length[1..],
        to_be_signed,
        &opaque(&parts.extensions),
    ]
    .concat();
    let signature = pair.sign(&signed).unwrap();
    [
        &[parts.version][..],
        &parts.log_id,
        &at,
        &opaque(&parts.extensions),
        &[parts.hash, parts.signature_algorithm],
        &opaque(&signature),
    ]
    .concat()
}

fn extension(content: Vec<u8>) -> CustomExtension {
    CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 11129, 2, 4, 2], content)
}

fn list(promises: &[Vec<u8>]) -> CustomExtension {
    let inner: Vec<u8> = promises.iter().flat_map(|promise| opaque(promise)).collect();
    extension(walk::encoded(0x04, &opaque(&inner)))
}

/// The chain of a certificate with an extension among its others.
fn chain(params: &CertificateParams, promises: CustomExtension) -> Chain {
    let mut params = params.clone();
    // Not at the end: what follows has to survive the cut.
    params.custom_extensions.insert(1, promises);
    Chain::new(&root(), &intermediate(), &params)
}

fn check<'a>(
    promises: CustomExtension,
    logs: &'a [TransparencyLog],
) -> Result<Vec<VerifiedTimestamp<'a>>, ScTimestampError> {
    let chain = chain(&leaf(), promises);
    verify(&chain.leaf, &chain.intermediate, logs)
}

#[track_caller]
fn refused(change: impl FnOnce(&mut Parts), window: Window, cause: PromiseError) {
    let pair = KeyPair::generate().unwrap();
    let mut parts = parts(&pair);
    change(&mut parts);
    let promise = promise(&pair, &leaf(), &parts);
    let error = check(list(&[promise]), &[log(&pair, window)]).unwrap_err();
    assert_eq!(error.code(), Code::UntrustedSigner);
    assert_eq!(error, ScTimestampError::Refused { count: 1, cause });
}

#[test]
fn accepts_the_promise_of_a_trusted_log() {
    let pair = KeyPair::generate().unwrap();
    let logs = [log(&pair, Window::default())];
    let verified = check(list(&[promise(&pair, &leaf(), &parts(&pair))]), &logs).unwrap();
    assert_eq!(verified.len(), 1);
    assert_eq!(verified[0].at, time(PROMISED_AT));
    assert!(std::ptr::eq(verified[0].log, &logs[0]));
}

#[test]
fn accepts_the_extensions_of_a_promise_and_has_them_signed() {
    let pair = KeyPair::generate().unwrap();
    let mut with_extensions = parts(&pair);
    with_extensions.extensions = vec![0, 0, 5, 0, 0, 0, 0, 9];
    let good = promise(&pair, &leaf(), &with_extensions);
    let logs = [log(&pair, Window::default())];
    assert!(check(list(std::slice::from_ref(&good)), &logs).is_ok());
    let mut changed = good;
    changed[50] ^= 1;
    assert!(check(list(&[changed]), &logs).is_err());
}

#[test]
fn accepts_an_rsa_log() {
    let pair = KeyPair::generate_rsa_for(&rcgen::PKCS_RSA_SHA256, rcgen::RsaKeySize::_2048).unwrap();
    let mut rsa = parts(&pair);
    rsa.signature_algorithm = 1;
    let logs = [log(&pair, Window::default())];
    assert!(check(list(&[promise(&pair, &leaf(), &rsa)]), &logs).is_ok());
}

#[test]
fn refuses_a_promise_about_another_certificate() {
    let other = precertificate(&{
        let mut params = leaf();
        params.custom_extensions.pop();
        params
    });
    refused(
        |parts| parts.signs = Some(other.to_be_signed().to_vec()),
        Window::default(),
        PromiseError::Signature,
    );
}

#[test]
fn refuses_a_promise_about_another_issuer() {
    refused(
        |parts| parts.issuer_key_hash = Sha256::digest(Chain::default().root.subject_public_key_info_der()).to_vec(),
        Window::default(),
        PromiseError::Signature,
    );
    let pair = KeyPair::generate().unwrap();
    let chain = chain(&leaf(), list(&[promise(&pair, &leaf(), &parts(&pair))]));
    let logs = [log(&pair, Window::default())];
    assert!(verify(&chain.leaf, &chain.root, &logs).is_err());
}

#[test]
fn refuses_a_promise_outside_of_the_logs_window() {
    let at = time(PROMISED_AT);
    for (window, inside) in [
        (
            Window {
                start: Some(at),
                end: Some(at),
            },
            true,
        ),
        (
            Window {
                start: Some(time("2026-05-01T00:00:00.251Z")),
                end: None,
            },
            false,
        ),
        (
            Window {
                start: None,
                end: Some(time("2026-05-01T00:00:00.249Z")),
            },
            false,
        ),
    ] {
        if inside {
            let pair = KeyPair::generate().unwrap();
            let logs = [log(&pair, window)];
            assert!(check(list(&[promise(&pair, &leaf(), &parts(&pair))]), &logs).is_ok());
        } else {
            refused(|_| (), window, PromiseError::OutsideWindow { at, window });
        }
    }
}

#[test]
fn refuses_other_algorithms_and_versions() {
    for (hash, signature) in [(2, 3), (5, 3), (4, 1), (4, 2), (0, 0), (8, 7)] {
        refused(
            |parts| (parts.hash, parts.signature_algorithm) = (hash, signature),
            Window::default(),
            PromiseError::Algorithm { hash, signature },
        );
    }
    refused(|parts| parts.version = 1, Window::default(), PromiseError::Version(1));
    refused(
        |parts| parts.log_id = vec![7; 32],
        Window::default(),
        PromiseError::UnknownLog("07".repeat(32)),
    );
}

#[test]
fn refuses_a_promise_that_is_cut_or_longer_than_it_is() {
    let pair = KeyPair::generate().unwrap();
    let good = promise(&pair, &leaf(), &parts(&pair));
    let logs = [log(&pair, Window::default())];
    for changed in [
        [&good[..], &[0]].concat(),
        good[..good.len() - 1].to_vec(),
        good[..40].to_vec(),
        vec![],
    ] {
        let error = check(list(&[changed]), &logs).unwrap_err();
        let cause = PromiseError::Malformed;
        assert_eq!(error, ScTimestampError::Refused { count: 1, cause });
    }
    let mut never = parts(&pair);
    never.at = Timestamp::MAX;
    let mut late = promise(&pair, &leaf(), &never);
    late[33..41].fill(0xff);
    let error = check(list(&[late]), &logs).unwrap_err();
    let cause = PromiseError::Malformed;
    assert_eq!(error, ScTimestampError::Refused { count: 1, cause });
}

#[test]
fn a_promise_that_is_wrong_does_not_spoil_another() {
    let (good, bad, unknown) = (
        KeyPair::generate().unwrap(),
        KeyPair::generate().unwrap(),
        KeyPair::generate().unwrap(),
    );
    let mut about_another = parts(&bad);
    about_another.signs = Some(vec![0x30, 0]);
    let promises = [
        promise(&unknown, &leaf(), &parts(&unknown)),
        promise(&bad, &leaf(), &about_another),
        vec![7],
        promise(&good, &leaf(), &parts(&good)),
    ];
    let logs = [log(&bad, Window::default()), log(&good, Window::default())];
    let verified = check(list(&promises), &logs).unwrap();
    assert_eq!(verified.len(), 1);
    assert!(std::ptr::eq(verified[0].log, &logs[1]));
    assert_eq!(
        check(list(&promises[..3]), &logs).unwrap_err(),
        ScTimestampError::Refused {
            count: 3,
            cause: PromiseError::Signature
        }
    );
}

#[test]
fn refuses_lists_that_are_none_or_malformed() {
    let chain = Chain::default();
    assert_eq!(
        verify(&chain.leaf, &chain.intermediate, &[]).unwrap_err(),
        ScTimestampError::None
    );
    assert_eq!(check(list(&[]), &[]).unwrap_err(), ScTimestampError::None);
    for content in [
        vec![],
        opaque(&[]),
        walk::encoded(0x04, &[]),
        walk::encoded(0x04, &[0]),
        walk::encoded(0x04, &[0, 0, 0]),
        walk::encoded(0x04, &[0, 3, 0, 2, 1]),
        walk::encoded(0x30, &opaque(&[])),
        [walk::encoded(0x04, &opaque(&[])), vec![5, 0]].concat(),
    ] {
        let error = check(extension(content.clone()), &[]).unwrap_err();
        assert_eq!(error, ScTimestampError::Malformed, "{content:?}");
        assert_eq!(error.code(), Code::SignatureInvalid);
    }
    let error = check(list(&vec![vec![1]; MAX_CERTIFICATE_TIMESTAMPS + 1]), &[]).unwrap_err();
    assert_eq!((error.code(), error), (Code::LimitExceeded, ScTimestampError::TooMany));
    let most = check(list(&vec![vec![1]; MAX_CERTIFICATE_TIMESTAMPS]), &[]).unwrap_err();
    assert!(matches!(most, ScTimestampError::Refused { .. }));
}

#[test]
fn the_certificate_without_its_promises_is_the_precertificate_byte_for_byte() {
    // Lengths of one, two and three bytes around it.
    for padding in [0, 100, 300, 20_000] {
        let mut params = leaf();
        params.custom_extensions.push(raw(99, &"x".repeat(padding)));
        let with = chain(&params, list(&[vec![9; 200]])).leaf;
        let without = precertificate(&params);
        assert_ne!(with.to_be_signed(), without.to_be_signed());
        assert_eq!(without_promises(with.to_be_signed()).unwrap(), without.to_be_signed());
        assert_eq!(
            without_promises(without.to_be_signed()).unwrap(),
            without.to_be_signed()
        );
    }
}

#[test]
fn a_certificate_whose_only_extension_it_was_has_no_extensions() {
    let mut bare = CertificateParams::default();
    bare.custom_extensions = vec![list(&[vec![9]])];
    let root = root();
    let issuer = Issuer::from_params(&root, &*ROOT_KEY);
    let with = parse(&bare.signed_by(&*LEAF_KEY, &issuer).unwrap());
    assert!(with.extension(EMBEDDED).is_some());
    let cut = without_promises(with.to_be_signed()).unwrap();
    assert!(crate::x509::certificate::extension_elements(&cut).unwrap().is_none());
}
