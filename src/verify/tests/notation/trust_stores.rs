//! The files of trust stores.

use assay_verify::limits::{MAX_TRUST_STORE_CERTIFICATES, MAX_TRUST_STORE_FILE_SIZE};
use assay_verify::notation::statement::TrustStoreKind::{
    self, CertificateAuthority, SigningAuthority, TimestampAuthority,
};
use assay_verify::notation::trust_store::{TrustStore, TrustStoreError, TrustStoreFileError};
use assay_verify::x509::certificate::Certificate;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::support::*;

fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn certificate(der: &[u8]) -> String {
    pem("CERTIFICATE", der)
}

fn load(kind: TrustStoreKind, files: &[&[u8]]) -> Result<TrustStore, TrustStoreError> {
    TrustStore::from_files(kind, files.iter().map(|content| ("file", *content)))
}

fn count(files: &[&[u8]]) -> usize {
    load(CertificateAuthority, files).unwrap().certificates().count()
}

fn cause(kind: TrustStoreKind, file: &[u8]) -> TrustStoreFileError {
    match load(kind, &[file]) {
        Err(TrustStoreError::File { cause, .. }) => cause,
        other => panic!("{other:?}"),
    }
}

#[test]
fn reads_pem_with_many_blocks_and_der_one_behind_the_other() {
    let chain = ChainParts::with_intermediate().build();
    let (intermediate, root) = (&chain[1], &chain[2]);
    let text = certificate(intermediate) + &certificate(root);
    assert_eq!(count(&[text.as_bytes()]), 2);
    assert_eq!(count(&[text.replace('\n', "\r\n").as_bytes()]), 2);
    assert_eq!(count(&[text.trim_end().as_bytes()]), 2);
    assert_eq!(count(&[&[&intermediate[..], root].concat()]), 2);
    assert_eq!(count(&[intermediate, certificate(root).as_bytes()]), 2);
    let commented = format!("Subject: CN=root\n{}\ntrailing words\n", certificate(root));
    assert_eq!(count(&[commented.as_bytes()]), 1);
}

#[test]
fn counts_a_certificate_that_is_there_twice_once() {
    assert_eq!(count(&[root(), root(), certificate(root()).as_bytes()]), 1);
}

#[test]
fn contains_exactly_its_certificates() {
    let store = load(CertificateAuthority, &[root()]).unwrap();
    let chain = parse(&CHAIN);
    assert!(store.contains(&chain[1]));
    assert!(!store.contains(&chain[0]));
    // The same key and names, another signature.
    let again = Certificate::from_der(ca("root").self_signed(&*ROOT_KEY).unwrap().der()).unwrap();
    assert!(!store.contains(&again));
}

#[test]
fn refuses_files_that_are_not_certificates() {
    let root = certificate(root());
    assert_eq!(load(CertificateAuthority, &[]), Err(TrustStoreError::Empty));
    assert_eq!(cause(CertificateAuthority, b""), TrustStoreFileError::Empty);
    assert_eq!(
        cause(CertificateAuthority, &vec![0; MAX_TRUST_STORE_FILE_SIZE + 1]),
        TrustStoreFileError::TooLarge(MAX_TRUST_STORE_FILE_SIZE + 1)
    );
    assert_eq!(
        cause(CertificateAuthority, pem("PRIVATE KEY", b"secret").as_bytes()),
        TrustStoreFileError::OtherPem("PRIVATE KEY".into())
    );
    assert_eq!(
        cause(
            CertificateAuthority,
            (root.clone() + &pem("PRIVATE KEY", b"secret")).as_bytes()
        ),
        TrustStoreFileError::OtherPem("PRIVATE KEY".into())
    );
    for text in [
        "words\n",
        "\n",
        &root[..root.len() / 2],
        &root.replace("-----END CERTIFICATE-----\n", ""),
    ] {
        let cause = cause(CertificateAuthority, text.as_bytes());
        assert!(matches!(cause, TrustStoreFileError::Encoding(_)), "{text}: {cause}");
    }
    // One that is right does not save the one that is not.
    let half = root.clone() + &certificate(b"no DER");
    assert!(matches!(
        cause(CertificateAuthority, half.as_bytes()),
        TrustStoreFileError::Certificate { position: 1, .. }
    ));
}

#[test]
fn refuses_more_certificates_than_the_limit() {
    let file = root().repeat(MAX_TRUST_STORE_CERTIFICATES + 1);
    assert!(matches!(
        cause(CertificateAuthority, &file),
        TrustStoreFileError::Encoding(_) | TrustStoreFileError::TooLarge(_)
    ));
}

#[test]
fn anchors_are_cas_or_self_signed() {
    let chain = ChainParts::with_intermediate().build();
    let alone = leaf().self_signed(&*ROOT_KEY).unwrap();
    for kind in [CertificateAuthority, SigningAuthority] {
        for anchor in [&chain[1][..], &chain[2], alone.der()] {
            assert!(load(kind, &[anchor]).is_ok());
        }
        assert!(matches!(
            cause(kind, &chain[0]),
            TrustStoreFileError::NotAnAnchor { position: 0, .. }
        ));
    }
}

#[test]
fn timestamp_authorities_are_anchored_by_roots_only() {
    let chain = ChainParts::with_intermediate().build();
    let alone = leaf().self_signed(&*ROOT_KEY).unwrap();
    assert!(load(TimestampAuthority, &[&chain[2]]).is_ok());
    for other in [&chain[0][..], &chain[1], alone.der()] {
        assert!(matches!(
            cause(TimestampAuthority, other),
            TrustStoreFileError::NotARoot { position: 0, .. }
        ));
    }
}
