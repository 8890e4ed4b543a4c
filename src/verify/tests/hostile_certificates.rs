//! Certificates and envelopes that are small as bytes and made to be large in memory, or to be read in two ways.

use assay_verify::envelope::{Envelope, EnvelopeError, Format};
use assay_verify::x509::certificate::{Certificate, ParseCertificateError};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use rcgen::{CertificateParams, CustomExtension, DnType, ExtendedKeyUsagePurpose, KeyPair};

fn self_signed(parameters: &CertificateParams) -> Vec<u8> {
    let key = KeyPair::generate().unwrap();
    parameters.self_signed(&key).unwrap().der().to_vec()
}

fn parse(parameters: &CertificateParams) -> Result<Certificate, ParseCertificateError> {
    Certificate::from_der(&self_signed(parameters))
}

fn with_purposes(count: u64) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.extended_key_usages = (0..count)
        .map(|number| ExtendedKeyUsagePurpose::Other(vec![1, 3, number]))
        .collect();
    parameters
}

fn with_attributes(count: u64) -> CertificateParams {
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    for number in 0..count {
        parameters
            .distinguished_name
            .push(DnType::CustomDnType(vec![1, 3, number]), "x");
    }
    parameters
}

#[test]
fn refuses_a_certificate_with_more_purposes_than_anyone_has() {
    assert!(parse(&with_purposes(128)).is_ok());
    let error = parse(&with_purposes(129)).unwrap_err();
    assert_eq!(error, ParseCertificateError::TooManyPurposes(129));
}

#[test]
fn refuses_a_subject_with_more_attributes_than_anyone_has() {
    assert!(parse(&with_attributes(128)).is_ok());
    let error = parse(&with_attributes(129)).unwrap_err();
    assert_eq!(error, ParseCertificateError::TooManyAttributes(129));
}

#[test]
fn refuses_a_certificate_whose_encoding_was_touched() {
    let good = self_signed(&CertificateParams::default());
    assert!(Certificate::from_der(&good).is_ok());
    assert!(Certificate::from_der(&[&good[..], &[0]].concat()).is_err(), "trailing");
    for end in 0..good.len() {
        assert!(Certificate::from_der(&good[..end]).is_err(), "cut at {end}");
    }
}

#[test]
fn a_certificate_with_one_changed_byte_parses_to_another_or_not_at_all() {
    let good = self_signed(&CertificateParams::default());
    let original = Certificate::from_der(&good).unwrap();
    original.check_self_signed().unwrap();
    for at in 0..good.len() {
        for flip in [0x01, 0x80, 0xff] {
            let mut bytes = good.clone();
            bytes[at] ^= flip;
            if let Ok(other) = Certificate::from_der(&bytes) {
                assert_ne!(other, original);
                assert!(other.check_self_signed().is_err(), "byte {at} xor {flip:#x}");
            }
        }
    }
}

#[test]
fn refuses_an_extension_that_is_there_twice() {
    let mut parameters = CertificateParams::default();
    for content in [vec![5, 0], vec![4, 0]] {
        parameters
            .custom_extensions
            .push(CustomExtension::from_oid_content(&[1, 3, 6, 1], content));
    }
    assert!(matches!(
        parse(&parameters),
        Err(ParseCertificateError::DuplicateExtension(_))
    ));
}

/// Why an envelope is refused, which a judgement keeps for an explanation.
#[test]
fn a_refusal_does_not_carry_the_text_that_it_refuses() {
    let long = "x".repeat(400_000);
    for envelope in [
        format!(r#"{{"payload":"","protected":"e30","signature":"","header":{{"{long}":1,"{long}":2}}}}"#),
        format!(r#"{{"payload":1,"{long}":1,"{long}":2}}"#),
        format!(
            r#"{{"payload":"","signature":"","header":{{}},"protected":"{}"}}"#,
            URL_SAFE_NO_PAD.encode(format!(r#"{{"alg":"{}"}}"#, "x".repeat(600_000)))
        ),
    ] {
        let error = Envelope::parse(Format::Jws, envelope.as_bytes()).unwrap_err();
        assert!(!matches!(error, EnvelopeError::TooLarge(_)));
        assert!(format!("{error:?}").len() < 2_000, "{}", error);
    }
}
