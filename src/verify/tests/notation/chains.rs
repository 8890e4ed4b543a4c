//! The rules of certificates and chains, one defect at a time.

use assay_verify::crypto::{EnvelopeAlgorithm, KeyKind};
use assay_verify::limits::{MAX_CERTIFICATE_SIZE, MAX_CHAIN_LENGTH};
use assay_verify::x509::certificate::{Certificate, NotIssuedBy, ParseCertificateError};
use assay_verify::x509::chain::{Chain, ChainError, IssuerError, IssuerPosition, LeafError};
use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc5912};
use der::{Encode as _, Reader as _, SliceReader};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyPair, KeyUsagePurpose,
};

use crate::support::*;

fn check(parts: &ChainParts) -> Result<Chain, ChainError> {
    Chain::check(parse(&parts.build()))
}

/// A change of the leaf, or of the CA above it.
type Change = fn(&mut CertificateParams);

#[track_caller]
fn check_leaf(change: Change) -> Result<Chain, ChainError> {
    let mut parts = ChainParts::default();
    change(&mut parts.leaf);
    check(&parts)
}

#[track_caller]
fn check_issuer(change: Change) -> Result<Chain, ChainError> {
    let mut parts = ChainParts::with_intermediate();
    change(parts.intermediate.as_mut().unwrap());
    check(&parts)
}

fn extension(oid: &[u64], critical: bool, value: &[u8]) -> CustomExtension {
    let mut extension = CustomExtension::from_oid_content(oid, value.to_vec());
    extension.set_criticality(critical);
    extension
}

const BASIC_CONSTRAINTS: [u64; 4] = [2, 5, 29, 19];
const KEY_USAGE: [u64; 4] = [2, 5, 29, 15];

#[test]
fn accepts_chains_of_one_to_three() {
    for parts in [ChainParts::default(), ChainParts::with_intermediate()] {
        let chain = check(&parts).unwrap();
        assert_eq!(chain.algorithm(), EnvelopeAlgorithm::Es256);
        assert!(chain.leaf().to_string().contains("CN=release"));
        assert!(chain.root().to_string().contains("CN=root"));
        assert_eq!(chain.leaf().not_before(), time(NOT_BEFORE));
        assert_eq!(chain.leaf().not_after(), time(NOT_AFTER));
        assert_eq!(chain.revocable().count(), chain.certificates().count() - 1);
    }
    let alone = leaf().self_signed(key(EnvelopeAlgorithm::Es256)).unwrap();
    let chain = Chain::check(parse(&[alone.der().to_vec()])).unwrap();
    assert_eq!(chain.leaf(), chain.root());
    assert_eq!(chain.revocable().count(), 0);
}

#[test]
fn accepts_leaves_with_what_is_optional() {
    let changes: [Change; 4] = [
        |leaf| leaf.is_ca = IsCa::ExplicitNoCa,
        |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning],
        |leaf| leaf.key_usages.push(KeyUsagePurpose::ContentCommitment),
        // Not critical, so not asked about.
        |leaf| leaf.custom_extensions.push(extension(&[1, 2, 3], false, b"?")),
    ];
    for change in changes {
        assert!(check_leaf(change).is_ok());
    }
}

#[test]
fn refuses_leaves_that_may_not_sign() {
    let cases: [(Change, LeafError); 17] = [
        (
            |leaf| leaf.is_ca = IsCa::Ca(BasicConstraints::Unconstrained),
            LeafError::IsCa,
        ),
        (|leaf| leaf.key_usages.clear(), LeafError::NoKeyUsage),
        (
            |leaf| {
                leaf.key_usages.clear();
                leaf.custom_extensions
                    .push(extension(&KEY_USAGE, false, &[3, 2, 7, 0x80]));
            },
            LeafError::KeyUsageNotCritical,
        ),
        (
            |leaf| leaf.key_usages = vec![KeyUsagePurpose::ContentCommitment],
            LeafError::NoDigitalSignature,
        ),
        (
            |leaf| leaf.key_usages.push(KeyUsagePurpose::KeyEncipherment),
            LeafError::ForbiddenKeyUsage("keyEncipherment"),
        ),
        (
            |leaf| leaf.key_usages.push(KeyUsagePurpose::DataEncipherment),
            LeafError::ForbiddenKeyUsage("dataEncipherment"),
        ),
        (
            |leaf| leaf.key_usages.push(KeyUsagePurpose::KeyAgreement),
            LeafError::ForbiddenKeyUsage("keyAgreement"),
        ),
        (
            |leaf| leaf.key_usages.push(KeyUsagePurpose::KeyCertSign),
            LeafError::ForbiddenKeyUsage("keyCertSign"),
        ),
        (
            |leaf| leaf.key_usages.push(KeyUsagePurpose::CrlSign),
            LeafError::ForbiddenKeyUsage("cRLSign"),
        ),
        (
            |leaf| leaf.key_usages.push(KeyUsagePurpose::EncipherOnly),
            LeafError::ForbiddenKeyUsage("encipherOnly"),
        ),
        (
            |leaf| leaf.key_usages.push(KeyUsagePurpose::DecipherOnly),
            LeafError::ForbiddenKeyUsage("decipherOnly"),
        ),
        (
            |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth],
            LeafError::ForbiddenExtendedKeyUsage("serverAuth"),
        ),
        (
            |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth],
            LeafError::ForbiddenExtendedKeyUsage("clientAuth"),
        ),
        (
            |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::EmailProtection],
            LeafError::ForbiddenExtendedKeyUsage("emailProtection"),
        ),
        (
            |leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::TimeStamping],
            LeafError::ForbiddenExtendedKeyUsage("timeStamping"),
        ),
        (
            |leaf| {
                leaf.extended_key_usages = vec![
                    ExtendedKeyUsagePurpose::CodeSigning,
                    ExtendedKeyUsagePurpose::OcspSigning,
                ];
            },
            LeafError::ForbiddenExtendedKeyUsage("OCSPSigning"),
        ),
        (
            |leaf| {
                leaf.key_usages.clear();
                leaf.custom_extensions
                    .push(extension(&KEY_USAGE, true, &[3, 2, 6, 0x40]));
            },
            LeafError::NoDigitalSignature,
        ),
    ];
    for (change, expected) in cases {
        assert_eq!(check_leaf(change), Err(ChainError::Leaf(expected)));
    }
}

/// The specification lists it, notation's code does not.
#[test]
fn refuses_a_leaf_for_any_extended_key_usage() {
    assert_eq!(
        check_leaf(|leaf| leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]),
        Err(ChainError::Leaf(LeafError::ForbiddenExtendedKeyUsage(
            "anyExtendedKeyUsage"
        )))
    );
}

#[test]
fn refuses_leaves_with_other_keys() {
    let ed25519 = KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let alone = leaf().self_signed(&ed25519).unwrap();
    assert_eq!(
        Chain::check(parse(&[alone.der().to_vec()])),
        Err(ChainError::Leaf(LeafError::Key(KeyKind::Ed25519)))
    );
}

#[test]
fn refuses_issuers_that_may_not_issue() {
    let cases: [(Change, IssuerError); 6] = [
        (|ca| ca.is_ca = IsCa::NoCa, IssuerError::NotCa),
        (|ca| ca.is_ca = IsCa::ExplicitNoCa, IssuerError::NotCa),
        (|ca| ca.key_usages.clear(), IssuerError::NoKeyUsage),
        (
            |ca| {
                ca.key_usages.clear();
                ca.custom_extensions
                    .push(extension(&KEY_USAGE, false, &[3, 2, 2, 0x04]));
            },
            IssuerError::KeyUsageNotCritical,
        ),
        (
            |ca| ca.key_usages = vec![KeyUsagePurpose::DigitalSignature],
            IssuerError::NoKeyCertSign,
        ),
        (
            |ca| {
                ca.is_ca = IsCa::NoCa;
                ca.custom_extensions
                    .push(extension(&BASIC_CONSTRAINTS, true, &[0x30, 0]));
            },
            IssuerError::NotCa,
        ),
    ];
    for (change, cause) in cases {
        assert_eq!(check_issuer(change), Err(ChainError::Issuer { position: 1, cause }));
    }
}

/// RFC 5280 §4.2.1.9. notation's message says "critical", its code does not look.
#[test]
fn refuses_an_issuer_whose_basic_constraints_are_not_critical() {
    let change: Change = |ca| {
        ca.is_ca = IsCa::NoCa;
        ca.custom_extensions
            .push(extension(&BASIC_CONSTRAINTS, false, &[0x30, 3, 1, 1, 0xff]));
    };
    assert_eq!(
        check_issuer(change),
        Err(ChainError::Issuer {
            position: 1,
            cause: IssuerError::BasicConstraintsNotCritical,
        })
    );
}

#[test]
fn counts_the_cas_below_a_path_length() {
    let mut parts = ChainParts::with_intermediate();
    parts.intermediate.as_mut().unwrap().is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parts.root.is_ca = IsCa::Ca(BasicConstraints::Constrained(1));
    assert!(check(&parts).is_ok());
    parts.root.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    assert_eq!(
        check(&parts),
        Err(ChainError::Issuer {
            position: 2,
            cause: IssuerError::PathLength { allowed: 0, below: 1 },
        })
    );
}

#[test]
fn refuses_chains_that_are_not_complete_and_in_order() {
    let chain = ChainParts::with_intermediate().build();
    let [leaf, intermediate, root] = &chain[..] else {
        unreachable!()
    };
    let other_root = ca("other root").self_signed(&*ROOT_KEY).unwrap().der().to_vec();
    let same_name = ca("root").self_signed(&KeyPair::generate().unwrap()).unwrap();
    let not_issued = |position, issuer, cause| ChainError::NotIssuedBy {
        position,
        issuer,
        cause,
    };
    let bad_signature = NotIssuedBy::Signature(assay_verify::crypto::BadSignature);
    for (chain, expected) in [
        (vec![], ChainError::Empty),
        (vec![leaf], ChainError::NoRoot),
        (vec![leaf, intermediate], ChainError::NoRoot),
        (vec![leaf, root], not_issued(0, IssuerPosition::Next, NotIssuedBy::Name)),
        (
            vec![leaf, root, intermediate],
            not_issued(0, IssuerPosition::Next, NotIssuedBy::Name),
        ),
        (vec![root, intermediate, leaf], ChainError::Leaf(LeafError::IsCa)),
        (vec![leaf, intermediate, root, root], ChainError::SelfIssuedBelowRoot(2)),
        (
            vec![leaf, intermediate, &other_root],
            not_issued(1, IssuerPosition::Next, NotIssuedBy::Name),
        ),
        (
            vec![leaf, intermediate, &same_name.der().to_vec()],
            not_issued(1, IssuerPosition::Next, bad_signature),
        ),
        (
            vec![leaf; MAX_CHAIN_LENGTH + 1],
            ChainError::TooLong(MAX_CHAIN_LENGTH + 1),
        ),
    ] {
        let chain: Vec<_> = chain.into_iter().cloned().collect();
        assert_eq!(Chain::check(parse(&chain)), Err(expected));
    }
}

#[test]
fn refuses_a_root_that_only_claims_to_be_its_own_issuer() {
    let mut chain = CHAIN.clone();
    // The last byte of the root's signature.
    *chain[1].last_mut().unwrap() ^= 1;
    assert_eq!(
        Chain::check(parse(&chain)),
        Err(ChainError::NotIssuedBy {
            position: 1,
            issuer: IssuerPosition::Itself,
            cause: NotIssuedBy::Signature(assay_verify::crypto::BadSignature),
        })
    );
}

#[test]
fn refuses_unknown_critical_extensions_anywhere_in_the_chain() {
    let id = ObjectIdentifier::new_unwrap("1.2.3");
    let unknown = |position, extension| Err(ChainError::UnknownCriticalExtension { position, extension });
    assert_eq!(
        check_leaf(|leaf| leaf.custom_extensions.push(extension(&[1, 2, 3], true, b"?"))),
        unknown(0, id)
    );
    assert_eq!(
        check_issuer(|ca| ca.custom_extensions.push(extension(&[1, 2, 3], true, b"?"))),
        unknown(1, id)
    );
    // Name constraints are not processed here, so they must not be ignored.
    let constrained: Change = |ca| {
        ca.name_constraints = Some(rcgen::NameConstraints {
            permitted_subtrees: vec![rcgen::GeneralSubtree::DnsName("corp.example".to_owned())],
            excluded_subtrees: vec![],
        });
    };
    assert_eq!(check_issuer(constrained), unknown(1, rfc5280::ID_CE_NAME_CONSTRAINTS));
}

#[test]
fn refuses_malformed_certificates() {
    let good = &CHAIN[0];
    let twice: Change = |leaf| {
        leaf.custom_extensions
            .extend([extension(&[1, 2, 3], false, b"1"), extension(&[1, 2, 3], false, b"2")]);
    };
    let with = |change: Change| {
        let mut params = leaf();
        change(&mut params);
        let key = key(EnvelopeAlgorithm::Es256);
        Certificate::from_der(params.self_signed(key).unwrap().der()).map(drop)
    };
    assert_eq!(
        with(twice),
        Err(ParseCertificateError::DuplicateExtension(ObjectIdentifier::new_unwrap(
            "1.2.3"
        )))
    );
    assert_eq!(
        with(|leaf| leaf.custom_extensions.push(extension(&BASIC_CONSTRAINTS, true, b"?"))),
        Err(ParseCertificateError::MalformedExtension(
            rfc5280::ID_CE_BASIC_CONSTRAINTS
        ))
    );
    assert_eq!(
        with(|leaf| {
            leaf.custom_extensions
                .push(extension(&BASIC_CONSTRAINTS, true, &[0x30, 3, 2, 1, 0]));
        }),
        Err(ParseCertificateError::PathLengthWithoutCa)
    );
    assert_eq!(
        with(|leaf| {
            leaf.custom_extensions
                .extend((0..129).map(|arc| extension(&[1, 2, arc], false, b"")));
        })
        .map_err(|error| matches!(error, ParseCertificateError::TooManyExtensions(_))),
        Err(true)
    );
    assert_eq!(
        Certificate::from_der(&vec![0; MAX_CERTIFICATE_SIZE + 1]).map(drop),
        Err(ParseCertificateError::TooLarge(MAX_CERTIFICATE_SIZE + 1))
    );
    for bytes in [
        &[][..],
        &good[1..],
        &good[..good.len() - 1],
        &[&good[..], &[0]].concat(),
    ] {
        assert!(matches!(
            Certificate::from_der(bytes),
            Err(ParseCertificateError::Malformed(_))
        ));
    }
}

/// `99991231235959Z` says that a certificate has no good end; it is later than the last moment the clock type has.
#[test]
fn reads_a_certificate_that_never_ends() {
    let mut params = leaf();
    params.not_after = rcgen::date_time_ymd(9999, 12, 31) + std::time::Duration::from_secs(86_399);
    let certificate = params.self_signed(key(EnvelopeAlgorithm::Es256)).unwrap();
    let certificate = Certificate::from_der(certificate.der()).unwrap();
    assert_eq!(certificate.not_after(), assay_verify::Timestamp::MAX);
}

/// Encodes a SEQUENCE of parts that are encoded already.
fn sequence(parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut bytes = der::Header::new(der::Tag::Sequence, der::Length::try_from(content.len()).unwrap())
        .to_der()
        .unwrap();
    bytes.extend(content);
    bytes
}

fn elements(sequence: &[u8]) -> Vec<&[u8]> {
    let mut elements = Vec::new();
    let mut reader = SliceReader::new(sequence).unwrap();
    reader
        .sequence(|reader| {
            while !reader.is_finished() {
                elements.push(reader.tlv_bytes()?);
            }
            Ok::<_, der::Error>(())
        })
        .unwrap();
    elements
}

/// The certificate with other signature algorithms: the one that is signed, and the outer one.
fn with_algorithms(der: &[u8], inner: &[u8], outer: &[u8], sign: impl Fn(&[u8]) -> Vec<u8>) -> Vec<u8> {
    let mut tbs = elements(elements(der)[0]);
    // version, serial number, signature algorithm
    tbs[2] = inner;
    let tbs = sequence(&tbs);
    let signature = der::asn1::BitString::from_bytes(&sign(&tbs)).unwrap().to_der().unwrap();
    sequence(&[&tbs, outer, &signature])
}

fn algorithm(oid: ObjectIdentifier, parameters: &[u8]) -> Vec<u8> {
    sequence(&[&oid.to_der().unwrap(), parameters])
}

const NULL: [u8; 2] = [5, 0];

fn rsa_leaf() -> Vec<u8> {
    leaf()
        .self_signed(key(EnvelopeAlgorithm::Ps256))
        .unwrap()
        .der()
        .to_vec()
}

/// The parameters of RSASSA-PSS, each explicitly tagged.
fn pss(hash: ObjectIdentifier, mask_hash: ObjectIdentifier, salt: u8) -> Vec<u8> {
    let tagged = |tag: u8, content: &[u8]| [&[0xa0 | tag, u8::try_from(content.len()).unwrap()], content].concat();
    let hash = algorithm(hash, &NULL);
    let mask = algorithm(rfc5912::ID_MGF_1, &algorithm(mask_hash, &NULL));
    let parameters = sequence(&[&tagged(0, &hash), &tagged(1, &mask), &tagged(2, &[2, 1, salt])]);
    algorithm(rfc5912::ID_RSASSA_PSS, &parameters)
}

#[test]
fn reads_certificates_signed_with_pss() {
    let pss_256 = pss(rfc5912::ID_SHA_256, rfc5912::ID_SHA_256, 32);
    let der = with_algorithms(&rsa_leaf(), &pss_256, &pss_256, |tbs| {
        sign(EnvelopeAlgorithm::Ps256, tbs)
    });
    assert_eq!(Chain::check(parse(&[der])).map(drop), Ok(()));
}

#[test]
fn refuses_pss_whose_parameters_do_not_agree() {
    for identifier in [
        pss(rfc5912::ID_SHA_256, rfc5912::ID_SHA_384, 32),
        pss(rfc5912::ID_SHA_256, rfc5912::ID_SHA_256, 20),
        pss(rfc5912::ID_SHA_1, rfc5912::ID_SHA_1, 20),
        // All defaults: SHA-1.
        algorithm(rfc5912::ID_RSASSA_PSS, &[0x30, 0]),
        algorithm(rfc5912::ID_RSASSA_PSS, &[]),
    ] {
        let der = with_algorithms(&rsa_leaf(), &identifier, &identifier, |tbs| {
            sign(EnvelopeAlgorithm::Ps256, tbs)
        });
        assert_eq!(
            parse(&[der])[0].check_self_signed(),
            Err(NotIssuedBy::Algorithm(rfc5912::ID_RSASSA_PSS))
        );
    }
}

/// notation accepts a single self-signed certificate with SHA-1.
#[test]
fn refuses_a_self_signed_leaf_with_sha_1() {
    let sha_1 = algorithm(rfc5912::SHA_1_WITH_RSA_ENCRYPTION, &NULL);
    let der = with_algorithms(&rsa_leaf(), &sha_1, &sha_1, |tbs| {
        let key = aws_lc_rs::signature::RsaKeyPair::from_pkcs8(key(EnvelopeAlgorithm::Ps256).serialized_der()).unwrap();
        let mut signature = vec![0; key.public_modulus_len()];
        // The strongest case for it: the signature is good with a strong hash, only the name says SHA-1.
        key.sign(
            &aws_lc_rs::signature::RSA_PKCS1_SHA256,
            &aws_lc_rs::rand::SystemRandom::new(),
            tbs,
            &mut signature,
        )
        .unwrap();
        signature
    });
    assert_eq!(
        Chain::check(parse(&[der])),
        Err(ChainError::NotIssuedBy {
            position: 0,
            issuer: IssuerPosition::Itself,
            cause: NotIssuedBy::Algorithm(rfc5912::SHA_1_WITH_RSA_ENCRYPTION),
        })
    );
}

/// RFC 5280 §4.1.1.2: what is signed must name the algorithm that it is signed with.
#[test]
fn refuses_a_certificate_that_names_two_signature_algorithms() {
    let inner = algorithm(rfc5912::SHA_512_WITH_RSA_ENCRYPTION, &NULL);
    let outer = algorithm(rfc5912::SHA_256_WITH_RSA_ENCRYPTION, &NULL);
    let der = with_algorithms(&rsa_leaf(), &inner, &outer, |tbs| sign(EnvelopeAlgorithm::Ps256, tbs));
    assert_eq!(
        Certificate::from_der(&der).map(drop),
        Err(ParseCertificateError::TwoSignatureAlgorithms)
    );
}

/// A certificate with any one byte changed is no longer issued by its issuer, if it is a certificate at all.
#[test]
fn refuses_an_issued_certificate_with_one_byte_changed() {
    let root = Certificate::from_der(&CHAIN[1]).unwrap();
    for position in 0..CHAIN[0].len() {
        let mut changed = CHAIN[0].clone();
        changed[position] ^= 1;
        if let Ok(changed) = Certificate::from_der(&changed) {
            assert!(changed.check_issued_by(&root).is_err(), "byte {position}");
        }
    }
}
