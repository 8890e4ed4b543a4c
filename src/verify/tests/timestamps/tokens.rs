//! Tokens that are made here: what is accepted, and every rule by a token that breaks only it.

use std::sync::LazyLock;

use assay_verify::crypto::{BadSignature, EnvelopeAlgorithm};
use assay_verify::limits::{MAX_ATTRIBUTES, MAX_CHAIN_LENGTH, MAX_TIMESTAMP_TOKEN_ITEMS, MAX_TIMESTAMP_TOKEN_SIZE};
use assay_verify::timestamp::{Countersignature, SignerError, TimestampError, verify};
use assay_verify::x509::certificate::{Certificate, NotIssuedBy};
use assay_verify::x509::chain::{IssuerError, LeafError};
use assay_verify::x509::timestamping::TimestampingChainError;
use const_oid::ObjectIdentifier;
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, IsCa, Issuer, KeyPair, KeyUsagePurpose, SerialNumber,
    date_time_ymd,
};

use crate::support::{ChainParts, INTERMEDIATE_KEY, ROOT_KEY, ca, key};
use crate::token::*;

/// The leaf first, the root last.
static CHAIN: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| parts().build());

fn token() -> Token {
    Token::new(&CHAIN)
}

/// Verifies against the root of a chain.
fn verify_with(token: &[u8], chain: &[Vec<u8>]) -> Result<Countersignature, TimestampError> {
    verify(token, MESSAGE, &[certificate(chain.last().unwrap())])
}

fn check(token: &Token) -> Result<Countersignature, TimestampError> {
    verify_with(&token.build(), &CHAIN)
}

fn parse(chain: &[Vec<u8>]) -> Vec<Certificate> {
    chain.iter().map(|der| certificate(der)).collect()
}

fn id(text: &str) -> ObjectIdentifier {
    ObjectIdentifier::new_unwrap(text)
}

#[track_caller]
fn refused(token: &Token, expected: &TimestampError) {
    assert_eq!(check(token).as_ref(), Err(expected));
    assert!(!expected.is_limit());
}

#[track_caller]
fn signer_refused(change: impl FnOnce(&mut Token), expected: SignerError) {
    let mut token = token();
    change(&mut token);
    let count = token.signers.len();
    refused(&token, &TimestampError::Signers { count, cause: expected });
}

#[track_caller]
fn chain_refused(parts: &ChainParts, expected: TimestampingChainError) {
    let chain = parts.build();
    let error = verify_with(&Token::new(&chain).build(), &chain).unwrap_err();
    let cause = SignerError::Chain(expected);
    assert_eq!(error, TimestampError::Signers { count: 1, cause });
}

#[test]
fn accepts_a_token_and_gives_the_chain_to_the_anchor() {
    let countersignature = check(&token()).unwrap();
    assert_eq!(countersignature.chain(), parse(&CHAIN));
    let expected = at("2026-05-01T00:00:00Z");
    assert_eq!(countersignature.generated_at(), expected);
    assert_eq!(countersignature.earliest(), expected);
    assert_eq!(countersignature.latest(), expected);
}

#[test]
fn accepts_every_algorithm_of_an_authority() {
    let ecdsa = algorithm;
    let with_null = |oid_text| sequence([&oid(oid_text), &[5, 0]]);
    for (kind, digest, algorithm) in [
        (EnvelopeAlgorithm::Es256, SHA_256, ecdsa(ECDSA_SHA_256)),
        (EnvelopeAlgorithm::Es384, SHA_384, ecdsa(ECDSA_SHA_384)),
        (EnvelopeAlgorithm::Es512, SHA_512, ecdsa(ECDSA_SHA_512)),
        (EnvelopeAlgorithm::Ps256, SHA_256, with_null(RSA)),
        (EnvelopeAlgorithm::Ps256, SHA_384, with_null(RSA)),
        (EnvelopeAlgorithm::Ps256, SHA_512, algorithm(RSA)),
        (EnvelopeAlgorithm::Ps256, SHA_256, with_null(RSA_SHA_256)),
        (EnvelopeAlgorithm::Ps256, SHA_256, pss(SHA_256, 32)),
    ] {
        let chain = ChainParts {
            algorithm: kind,
            ..parts()
        }
        .build();
        let mut token = Token::new(&chain);
        token.info.hash = digest;
        token.info.imprint = crate::token::digest(digest, MESSAGE);
        token.signers[0].digest = digest;
        token.signers[0].algorithm = algorithm;
        token.signers[0].key = key(kind);
        let result = verify_with(&token.build(), &chain);
        assert!(result.is_ok(), "{kind:?} {digest}: {result:?}");
    }
}

#[test]
fn reads_ber_as_authorities_that_stream_write_it() {
    let der = token().build();
    let ber = to_ber(&der);
    assert_ne!(der, ber);
    assert_eq!(verify_with(&ber, &CHAIN), verify_with(&der, &CHAIN));
    assert!(verify_with(&ber, &CHAIN).is_ok());
}

#[test]
fn sorts_the_signed_attributes_before_it_verifies() {
    let mut token = token();
    token.signers[0].reversed = true;
    assert!(check(&token).is_ok());
}

#[test]
fn keeps_fractions_and_adds_the_accuracy() {
    let seconds = sequence([&integer(2)]);
    let milliseconds = sequence([&tlv(0x80, &[0x01, 0xf4])]);
    let all = sequence([&integer(1), &tlv(0x80, &[1]), &tlv(0x81, &[1])]);
    let immense = sequence([&tlv(2, &[0x7f, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff])]);
    let baseline = "0.4.0.2023.1.1";
    let other = "1.2.3.4";
    let extremes = ("-009999-01-02T01:59:59Z", "9999-12-30T22:00:00.999999999Z");
    for (policy, accuracy, earliest, latest) in [
        (other, &[][..], "2026-05-01T00:00:00.641Z", "2026-05-01T00:00:00.641Z"),
        (baseline, &[], "2026-04-30T23:59:59.641Z", "2026-05-01T00:00:01.641Z"),
        (
            baseline,
            &sequence([]),
            "2026-04-30T23:59:59.641Z",
            "2026-05-01T00:00:01.641Z",
        ),
        (
            baseline,
            &milliseconds,
            "2026-05-01T00:00:00.141Z",
            "2026-05-01T00:00:01.141Z",
        ),
        (other, &seconds, "2026-04-30T23:59:58.641Z", "2026-05-01T00:00:02.641Z"),
        (
            other,
            &all,
            "2026-04-30T23:59:59.639999Z",
            "2026-05-01T00:00:01.642001Z",
        ),
        (other, &immense, extremes.0, extremes.1),
    ] {
        let mut token = token();
        token.info.policy = policy;
        token.info.generated_at = "20260501000000.641Z".to_owned();
        token.info.rest = accuracy.to_vec();
        let countersignature = check(&token).unwrap();
        assert_eq!(countersignature.generated_at(), at("2026-05-01T00:00:00.641Z"));
        assert_eq!(countersignature.earliest(), at(earliest), "{policy} {accuracy:x?}");
        assert_eq!(countersignature.latest(), at(latest), "{policy} {accuracy:x?}");
    }
}

#[test]
fn accepts_what_a_tst_info_may_have_besides() {
    let extension = sequence([&oid("1.2.3"), &octets(b"?")]);
    let tsa = tlv(0xa0, &tlv(0xa4, &sequence([])));
    let mut token = token();
    token.info.rest = [
        sequence([&integer(1)]),
        tlv(1, &[0xff]),
        integer(9),
        tsa,
        tlv(0xa1, &extension),
    ]
    .concat();
    assert!(check(&token).is_ok());
}

#[test]
fn refuses_what_is_no_token() {
    type Change = fn(&mut Token);
    let cases: [(Change, TimestampError); 12] = [
        (|token| token.kind = DATA, TimestampError::NotSignedData(id(DATA))),
        (|token| token.version = 1, TimestampError::SignedDataVersion(1)),
        (|token| token.version = 4, TimestampError::SignedDataVersion(4)),
        (|token| token.content_type = DATA, TimestampError::NotTstInfo(id(DATA))),
        (|token| token.detached = true, TimestampError::NoContent),
        (
            |token| token.certificates.push(tlv(0xa1, &[])),
            TimestampError::CertificateKind,
        ),
        (|token| token.info.version = 2, TimestampError::TstInfoVersion(2)),
        (
            |token| token.info.hash = SHA_1,
            TimestampError::ImprintAlgorithm(id(SHA_1)),
        ),
        (
            |token| token.info.imprint = digest(SHA_256, b"other"),
            TimestampError::Imprint,
        ),
        (
            |token| token.info.generated_at = "20260501000000.50Z".to_owned(),
            TimestampError::GeneratedAt("20260501000000.50Z".into()),
        ),
        (
            |token| token.info.rest = sequence([&tlv(0x80, &[0x03, 0xe8])]),
            TimestampError::Accuracy,
        ),
        (
            |token| {
                let extension = sequence([&oid("1.2.3"), &tlv(1, &[0xff]), &octets(b"?")]);
                token.info.rest = tlv(0xa1, &extension);
            },
            TimestampError::CriticalExtension(id("1.2.3")),
        ),
    ];
    for (change, expected) in cases {
        let mut token = token();
        change(&mut token);
        refused(&token, &expected);
    }
}

#[test]
fn refuses_a_certificate_that_does_not_parse() {
    let mut token = token();
    token.certificates.push(sequence([]));
    assert!(matches!(
        check(&token),
        Err(TimestampError::Certificate { position: 2, .. })
    ));
}

#[test]
fn refuses_a_token_of_another_message() {
    let anchors = [certificate(&CHAIN[2])];
    assert_eq!(
        verify(&token().build(), b"another signature", &anchors),
        Err(TimestampError::Imprint)
    );
}

#[test]
fn refuses_a_token_that_nobody_signed() {
    let mut token = token();
    token.signers.clear();
    refused(&token, &TimestampError::NoSigner);
}

/// A change of the signed attributes.
type Change = fn(&mut Vec<Attribute>);

fn remove(attributes: &mut Vec<Attribute>, kind: &str) {
    attributes.retain(|(other, _)| *other != kind);
}

fn replace(attributes: &mut Vec<Attribute>, kind: &'static str, value: Vec<u8>) {
    remove(attributes, kind);
    attributes.push((kind, vec![value]));
}

#[test]
fn refuses_signers_whose_attributes_do_not_bind() {
    let cases: [(Change, SignerError); 16] = [
        (Vec::clear, SignerError::NoSignedAttributes),
        (
            |attributes| remove(attributes, CONTENT_TYPE),
            SignerError::MissingAttribute("content-type"),
        ),
        (
            |attributes| replace(attributes, CONTENT_TYPE, oid(DATA)),
            SignerError::ContentType(id(DATA)),
        ),
        (
            |attributes| attributes.push((CONTENT_TYPE, vec![oid(TST_INFO)])),
            SignerError::RepeatedAttribute("content-type"),
        ),
        (
            |attributes| remove(attributes, MESSAGE_DIGEST),
            SignerError::MissingAttribute("message-digest"),
        ),
        (
            |attributes| replace(attributes, MESSAGE_DIGEST, octets(&digest(SHA_256, b"other"))),
            SignerError::MessageDigest,
        ),
        (
            |attributes| replace(attributes, MESSAGE_DIGEST, integer(1)),
            SignerError::MalformedAttribute("message-digest"),
        ),
        (
            |attributes| attributes[1].1.push(octets(b"two values")),
            SignerError::RepeatedAttribute("message-digest"),
        ),
        (
            |attributes| attributes[1].1.clear(),
            SignerError::MalformedAttribute("message-digest"),
        ),
        (
            |attributes| remove(attributes, SIGNING_CERTIFICATE_V2),
            SignerError::MissingAttribute("signing-certificate-v2"),
        ),
        (
            |attributes| attributes[2].0 = SIGNING_CERTIFICATE,
            SignerError::MissingAttribute("signing-certificate-v2"),
        ),
        (
            |attributes| replace(attributes, SIGNING_CERTIFICATE_V2, signing_certificate(&[])),
            SignerError::NoSigningCertificate,
        ),
        (
            |attributes| {
                let identifier = sequence([&algorithm(SHA_1), &octets(&[0; 20])]);
                replace(attributes, SIGNING_CERTIFICATE_V2, signing_certificate(&identifier));
            },
            SignerError::CertificateHashAlgorithm(id(SHA_1)),
        ),
        (
            // The signer's own hash counts in the first place only.
            |attributes| {
                let identifiers = [ess_certificate(&CHAIN[1], None), ess_certificate(&CHAIN[0], None)].concat();
                replace(attributes, SIGNING_CERTIFICATE_V2, signing_certificate(&identifiers));
            },
            SignerError::CertificateHash,
        ),
        (
            |attributes| {
                let identifier = ess_certificate(&CHAIN[0], Some(&issuer_serial(&CHAIN[1])));
                replace(attributes, SIGNING_CERTIFICATE_V2, signing_certificate(&identifier));
            },
            SignerError::IssuerSerial,
        ),
        (
            |attributes| replace(attributes, SIGNING_TIME, octets(b"noon")),
            SignerError::MalformedAttribute("signing-time"),
        ),
    ];
    for (change, expected) in cases {
        signer_refused(|token| token.signers[0].change = change, expected);
    }
}

#[test]
fn accepts_attributes_that_bind_in_other_ways() {
    let cases: [Change; 4] = [
        |attributes| {
            let identifier = ess_certificate(&CHAIN[0], Some(&issuer_serial(&CHAIN[0])));
            replace(attributes, SIGNING_CERTIFICATE_V2, signing_certificate(&identifier));
        },
        |attributes| {
            let identifier = sequence([&algorithm(SHA_512), &octets(&digest(SHA_512, &CHAIN[0]))]);
            replace(attributes, SIGNING_CERTIFICATE_V2, signing_certificate(&identifier));
        },
        // The first version besides, an attribute that nobody knows, and a time.
        |attributes| {
            attributes.push((SIGNING_CERTIFICATE, vec![sequence([])]));
            attributes.push(("1.2.3", vec![integer(1), integer(2)]));
        },
        |attributes| attributes.push((SIGNING_TIME, vec![tlv(0x17, b"260501000001Z")])),
    ];
    for change in cases {
        let mut token = token();
        token.signers[0].change = change;
        check(&token).unwrap();
    }
}

#[test]
fn refuses_a_signing_time_outside_of_the_certificates() {
    let (not_before, not_after) = (at("2026-01-01T00:00:00Z"), at("2027-01-01T00:00:00Z"));
    signer_refused(
        |token| {
            token.signers[0].change = |attributes| attributes.push((SIGNING_TIME, vec![tlv(0x17, b"270101000001Z")]));
        },
        SignerError::Chain(TimestampingChainError::NotValidAt {
            position: 0,
            moment: at("2027-01-01T00:00:01Z"),
            not_before,
            not_after,
        }),
    );
}

#[test]
fn refuses_signers_with_other_versions_and_algorithms() {
    signer_refused(|token| token.signers[0].version = 3, SignerError::Version(3));
    signer_refused(
        |token| token.signers[0].digest = SHA_1,
        SignerError::DigestAlgorithm(id(SHA_1)),
    );
    // The signature's hash is not that of the digests.
    signer_refused(
        |token| token.signers[0].digest = SHA_384,
        SignerError::SignatureAlgorithm(id(ECDSA_SHA_256)),
    );
    signer_refused(
        |token| token.signers[0].algorithm = algorithm("1.2.840.10045.4.1"),
        SignerError::SignatureAlgorithm(id("1.2.840.10045.4.1")),
    );
    // An algorithm that does not fit the key.
    signer_refused(
        |token| token.signers[0].algorithm = algorithm(RSA),
        SignerError::Signature(BadSignature),
    );
}

#[test]
fn refuses_a_signature_of_something_else() {
    signer_refused(
        |token| {
            token.signers[0].tamper = |signer| {
                let last = signer.len() - 1;
                signer[last] ^= 1;
            };
        },
        SignerError::Signature(BadSignature),
    );
}

/// Another authority below the same intermediate.
fn sibling(key: &KeyPair) -> Vec<u8> {
    sibling_with(key, Some(vec![9].into()))
}

/// The same with a serial number; the default one is made from the key.
fn sibling_with(key: &KeyPair, serial_number: Option<SerialNumber>) -> Vec<u8> {
    let params = ca("intermediate");
    let issuer = Issuer::from_params(&params, &*INTERMEDIATE_KEY);
    let mut sibling = authority("sibling");
    sibling.serial_number = serial_number;
    sibling.signed_by(key, &issuer).unwrap().der().to_vec()
}

// GHSA-xm5m-wgh2-rrg3: the certificate that is judged is the one that signed.
#[test]
fn binds_the_signature_to_the_certificate_whose_hash_is_signed() {
    let same_key = sibling(key(EnvelopeAlgorithm::Es256));
    let other_key = sibling(key(EnvelopeAlgorithm::Es384));
    // The sibling is named, but the hash of the signer is signed: with one key for both, only the hash tells.
    for sibling in [&same_key, &other_key] {
        signer_refused(
            |token| {
                token.certificates.insert(0, sibling.clone());
                token.signers[0].named = sibling.clone();
            },
            SignerError::CertificateHash,
        );
    }
    // The sibling is named and its hash is signed, but by another key.
    signer_refused(
        |token| {
            token.certificates.insert(0, other_key.clone());
            token.signers[0].named = other_key.clone();
            token.signers[0].hashed = other_key;
        },
        SignerError::Signature(BadSignature),
    );
    signer_refused(
        |token| {
            token.certificates.remove(0);
        },
        SignerError::CertificateNotFound,
    );
}

#[test]
fn the_signed_hash_decides_between_certificates_of_one_issuer_and_serial_number() {
    let twin = sibling_with(key(EnvelopeAlgorithm::Es256), None);
    assert_eq!(
        certificate(&twin).serial_number(),
        certificate(&CHAIN[0]).serial_number()
    );
    let mut token = token();
    token.certificates.insert(0, twin);
    assert_eq!(check(&token).unwrap().chain(), parse(&CHAIN));
}

// sigstore-go#471, TOB-SIGSTORE-4: the signers of a token are one countersignature with one time, never several.
#[test]
fn one_good_signer_is_enough_and_the_chain_is_its_own() {
    let other = sibling(key(EnvelopeAlgorithm::Es256));
    let mut token = token();
    token.certificates.insert(0, other.clone());
    // Shorter, so it is the first of the set.
    let mut bad = Signer::new(&other);
    bad.key = key(EnvelopeAlgorithm::Es384);
    bad.algorithm = algorithm(ECDSA_SHA_256);
    token.signers.push(bad);
    assert_eq!(check(&token).unwrap().chain(), parse(&CHAIN));
    token.signers.remove(0);
    assert!(check(&token).is_err());
    // A malformed one harms nobody else.
    let mut token = crate::tokens::token();
    let mut bad = Signer::new(&CHAIN[0]);
    bad.tamper = |signer| *signer = sequence([]);
    token.signers.push(bad);
    assert_eq!(check(&token).unwrap().chain(), parse(&CHAIN));
}

#[test]
fn finds_the_chain_in_any_order_and_among_strangers() {
    let stranger = ca("stranger").self_signed(&*ROOT_KEY).unwrap().der().to_vec();
    let mut token = token();
    token.certificates = vec![
        stranger,
        CHAIN[2].clone(),
        CHAIN[1].clone(),
        sibling(key(EnvelopeAlgorithm::Es384)),
        CHAIN[0].clone(),
        CHAIN[1].clone(),
    ];
    assert_eq!(check(&token).unwrap().chain(), parse(&CHAIN));
}

#[test]
fn refuses_a_chain_with_a_gap() {
    let subject = certificate(&CHAIN[0]).subject().to_string().into();
    signer_refused(
        |token| {
            token.certificates.remove(1);
        },
        SignerError::Chain(TimestampingChainError::NoIssuer { position: 0, subject }),
    );
}

#[test]
fn trusts_no_root_but_the_anchors() {
    let mut token = token();
    token.certificates.push(CHAIN[2].clone());
    let token = token.build();
    let subject = certificate(&CHAIN[1]).subject().to_string().into();
    let cause = SignerError::Chain(TimestampingChainError::NoIssuer { position: 1, subject });
    let expected = Err(TimestampError::Signers { count: 1, cause });
    assert_eq!(verify(&token, MESSAGE, &[]), expected);
    // Neither the authority itself nor an intermediate is an anchor.
    assert_eq!(verify(&token, MESSAGE, &parse(&CHAIN[..2])), expected);
    let stranger = ca("stranger").self_signed(&*ROOT_KEY).unwrap();
    assert_eq!(verify(&token, MESSAGE, &[certificate(stranger.der())]), expected);
    // An anchor with the root's name and another key.
    let namesake = ca("root").self_signed(&*INTERMEDIATE_KEY).unwrap();
    let cause = SignerError::Chain(TimestampingChainError::NotIssuedBy {
        position: 1,
        cause: NotIssuedBy::Signature(BadSignature),
    });
    assert_eq!(
        verify(&token, MESSAGE, &[certificate(namesake.der())]),
        Err(TimestampError::Signers { count: 1, cause })
    );
}

#[test]
fn takes_another_path_where_one_is_a_dead_end() {
    let root = ca("root");
    let issuer = Issuer::from_params(&root, &*ROOT_KEY);
    let mut expired = ca("intermediate");
    expired.not_after = date_time_ymd(2026, 2, 1);
    let expired = expired.signed_by(&*INTERMEDIATE_KEY, &issuer).unwrap().der().to_vec();
    // Cross-signed by a root that nobody trusts.
    let elsewhere = ca("elsewhere");
    let elsewhere = Issuer::from_params(&elsewhere, &*ROOT_KEY);
    let crossed = ca("intermediate")
        .signed_by(&*INTERMEDIATE_KEY, &elsewhere)
        .unwrap()
        .der()
        .to_vec();
    let mut token = token();
    token.certificates = vec![expired, crossed, CHAIN[0].clone(), CHAIN[1].clone()];
    assert_eq!(check(&token).unwrap().chain(), parse(&CHAIN));
}

/// A change of one certificate's parameters.
type Defect = fn(&mut CertificateParams);

#[test]
fn refuses_authorities_whose_certificate_may_not_timestamp() {
    const CODE_SIGNING: &str = "1.3.6.1.5.5.7.3.3";
    const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";
    use TimestampingChainError as Error;
    let cases: [(Defect, Error); 9] = [
        (|leaf| leaf.custom_extensions.clear(), Error::NoExtendedKeyUsage),
        (
            |leaf| leaf.custom_extensions = vec![purposes(false, &[TIME_STAMPING])],
            Error::ExtendedKeyUsageNotCritical,
        ),
        (
            |leaf| leaf.custom_extensions = vec![purposes(true, &[TIME_STAMPING, CODE_SIGNING])],
            Error::NotForTimestampingAlone,
        ),
        (
            |leaf| leaf.custom_extensions = vec![purposes(true, &[CODE_SIGNING])],
            Error::NotForTimestampingAlone,
        ),
        (
            |leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            Error::Leaf(LeafError::IsCa),
        ),
        (|leaf| leaf.key_usages.clear(), Error::Leaf(LeafError::NoKeyUsage)),
        (
            |leaf| leaf.key_usages = vec![KeyUsagePurpose::ContentCommitment],
            Error::Leaf(LeafError::NoDigitalSignature),
        ),
        (
            |leaf| leaf.key_usages.push(KeyUsagePurpose::CrlSign),
            Error::Leaf(LeafError::ForbiddenKeyUsage("cRLSign")),
        ),
        (
            |leaf| {
                let mut extension = CustomExtension::from_oid_content(&[1, 2, 3], b"?".to_vec());
                extension.set_criticality(true);
                leaf.custom_extensions.push(extension);
            },
            Error::UnknownCriticalExtension {
                position: 0,
                extension: id("1.2.3"),
            },
        ),
    ];
    for (defect, expected) in cases {
        let mut parts = parts();
        defect(&mut parts.leaf);
        chain_refused(&parts, expected);
    }
}

#[test]
fn accepts_authorities_with_what_is_optional() {
    const KEY_USAGE: [u64; 4] = [2, 5, 29, 15];
    // Unlike those of image signers, key usages need not be critical.
    let accepted: [fn(&mut ChainParts); 5] = [
        |parts| {
            parts.leaf.key_usages.clear();
            let usage = CustomExtension::from_oid_content(&KEY_USAGE, vec![3, 2, 7, 0x80]);
            parts.leaf.custom_extensions.push(usage);
        },
        |parts| parts.leaf.key_usages.push(KeyUsagePurpose::ContentCommitment),
        |parts| {
            let issuer = parts.intermediate.as_mut().unwrap();
            issuer.key_usages.clear();
            let usage = CustomExtension::from_oid_content(&KEY_USAGE, vec![3, 2, 2, 4]);
            issuer.custom_extensions.push(usage);
        },
        |parts| {
            let issuer = parts.intermediate.as_mut().unwrap();
            issuer.custom_extensions = vec![purposes(false, &["1.3.6.1.5.5.7.3.3", "1.3.6.1.5.5.7.3.8"])];
        },
        |parts| parts.root.custom_extensions = vec![purposes(false, &["2.5.29.37.0"])],
    ];
    for change in accepted {
        let mut parts = parts();
        change(&mut parts);
        let chain = parts.build();
        verify_with(&Token::new(&chain).build(), &chain).unwrap();
    }
}

#[test]
fn refuses_issuers_that_may_not_issue_for_timestamping() {
    use TimestampingChainError as Error;
    let cases: [(Defect, Error); 3] = [
        (
            |issuer| issuer.key_usages = vec![KeyUsagePurpose::CrlSign],
            Error::Issuer {
                position: 1,
                cause: IssuerError::NoKeyCertSign,
            },
        ),
        (
            |issuer| issuer.is_ca = IsCa::ExplicitNoCa,
            Error::Issuer {
                position: 1,
                cause: IssuerError::NotCa,
            },
        ),
        (
            |issuer| issuer.custom_extensions = vec![purposes(false, &["1.3.6.1.5.5.7.3.3"])],
            Error::IssuerNotForTimestamping { position: 1 },
        ),
    ];
    for (defect, expected) in cases {
        let mut parts = parts();
        defect(parts.intermediate.as_mut().unwrap());
        chain_refused(&parts, expected);
    }
    let mut parts = parts();
    parts.root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    chain_refused(
        &parts,
        Error::Issuer {
            position: 2,
            cause: IssuerError::PathLength { allowed: 0, below: 1 },
        },
    );
}

// TOB-SIGSTORE-11: no authority's validity is another's. Every certificate holds at the time, the anchor, too.
#[test]
fn refuses_certificates_that_were_not_valid_at_the_time() {
    for position in 0..3 {
        let mut parts = parts();
        let params = match position {
            0 => &mut parts.leaf,
            1 => parts.intermediate.as_mut().unwrap(),
            _ => &mut parts.root,
        };
        params.not_after = date_time_ymd(2026, 4, 30);
        let expected = TimestampingChainError::NotValidAt {
            position,
            moment: at("2026-05-01T00:00:00Z"),
            not_before: at("2026-01-01T00:00:00Z"),
            not_after: at("2026-04-30T00:00:00Z"),
        };
        chain_refused(&parts, expected);
    }
}

#[test]
fn a_certificate_is_valid_at_its_first_and_last_moment() {
    for (generated_at, valid) in [
        ("20251231235959.9Z", false),
        ("20260101000000Z", true),
        ("20270101000000Z", true),
        ("20270101000000.1Z", false),
    ] {
        let mut token = token();
        token.info.generated_at = generated_at.to_owned();
        assert_eq!(check(&token).is_ok(), valid, "{generated_at}");
    }
}

// GHSA-4qg8-fj49-pxjh: nothing that a token declares allocates or computes beyond the limits.
#[test]
fn stops_at_the_limits() {
    let error = verify_with(&vec![0x30; MAX_TIMESTAMP_TOKEN_SIZE + 1], &CHAIN).unwrap_err();
    assert_eq!(error, TimestampError::TooLarge(MAX_TIMESTAMP_TOKEN_SIZE + 1));
    assert!(error.is_limit());

    let mut token = token();
    token.certificates = vec![CHAIN[0].clone(); MAX_TIMESTAMP_TOKEN_ITEMS + 1];
    let limit = MAX_TIMESTAMP_TOKEN_ITEMS;
    let what = "certificates";
    assert_eq!(check(&token), Err(TimestampError::TooMany { what, limit }));

    let mut token = crate::tokens::token();
    token.signers = (0..=limit).map(|_| Signer::new(&CHAIN[0])).collect();
    let what = "signers";
    let error = check(&token).unwrap_err();
    assert_eq!(error, TimestampError::TooMany { what, limit });
    assert!(error.is_limit());

    let error = verify_with(&[0x30, 0x80].repeat(1_000), &CHAIN).unwrap_err();
    assert!(matches!(error, TimestampError::TooDeep(_)) && error.is_limit());
}

#[test]
fn refuses_more_attributes_than_anyone_has() {
    let with = |change: Change| {
        let mut token = token();
        token.signers[0].change = change;
        check(&token)
    };
    fn fill(attributes: &mut Vec<Attribute>, count: usize) {
        attributes.resize(count, ("1.2.3", vec![integer(1)]));
    }
    assert!(with(|attributes| fill(attributes, MAX_ATTRIBUTES)).is_ok());
    let error = with(|attributes| fill(attributes, MAX_ATTRIBUTES + 1)).unwrap_err();
    let cause = SignerError::TooManyAttributes;
    assert_eq!(error, TimestampError::Signers { count: 1, cause });
    assert!(error.is_limit());
}

#[test]
fn the_longest_chain_is_as_long_as_it_may_be() {
    let chain_of = |length: usize| {
        let cas: Vec<_> = (0..length - 1).map(|number| ca(&format!("ca {number}"))).collect();
        let mut chain = vec![cas[0].self_signed(&*ROOT_KEY).unwrap().der().to_vec()];
        for pair in cas.windows(2) {
            let issuer = Issuer::from_params(&pair[0], &*ROOT_KEY);
            chain.insert(0, pair[1].signed_by(&*ROOT_KEY, &issuer).unwrap().der().to_vec());
        }
        let issuer = Issuer::from_params(cas.last().unwrap(), &*ROOT_KEY);
        let leaf = authority("timestamp authority").signed_by(key(EnvelopeAlgorithm::Es256), &issuer);
        chain.insert(0, leaf.unwrap().der().to_vec());
        chain
    };
    let longest = chain_of(MAX_CHAIN_LENGTH);
    let countersignature = verify_with(&Token::new(&longest).build(), &longest).unwrap();
    assert_eq!(countersignature.chain(), parse(&longest));

    let longer = chain_of(MAX_CHAIN_LENGTH + 1);
    let error = verify_with(&Token::new(&longer).build(), &longer).unwrap_err();
    let cause = SignerError::Chain(TimestampingChainError::TooLong);
    assert_eq!(error, TimestampError::Signers { count: 1, cause });
    assert!(error.is_limit());
}

#[test]
fn the_search_for_a_chain_ends_among_authorities_that_sign_each_other() {
    let (one, two) = (ca("intermediate"), ca("two"));
    let by_one = Issuer::from_params(&one, &*INTERMEDIATE_KEY);
    let by_two = Issuer::from_params(&two, &*ROOT_KEY);
    let mut token = token();
    token.certificates.truncate(1);
    for _ in 0..7 {
        let certificates = [
            one.signed_by(&*INTERMEDIATE_KEY, &by_two).unwrap(),
            two.signed_by(&*ROOT_KEY, &by_one).unwrap(),
        ];
        token
            .certificates
            .extend(certificates.map(|certificate| certificate.der().to_vec()));
    }
    let error = check(&token).unwrap_err();
    assert_eq!(error, TimestampError::TooManyVerifications);
    assert!(error.is_limit());
}

#[test]
fn no_changed_byte_yields_another_countersignature() {
    let good = token().build();
    let expected = verify_with(&good, &CHAIN).unwrap();
    for end in 0..good.len() {
        assert!(verify_with(&good[..end], &CHAIN).is_err(), "cut at {end}");
    }
    let mut accepted = 0;
    for position in 0..good.len() {
        let mut changed = good.clone();
        changed[position] ^= 0x01;
        // What nobody signs may change: the set of digest algorithms, for one.
        if let Ok(countersignature) = verify_with(&changed, &CHAIN) {
            assert_eq!(countersignature, expected, "byte {position}");
            accepted += 1;
        }
    }
    assert!(accepted < 32, "{accepted} changes are not noticed");
    assert!(verify_with(&[&good[..], &[0]].concat(), &CHAIN).is_err());
}
