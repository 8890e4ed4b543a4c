//! Both providers, side by side: what one verifies the other verifies, and what one refuses the other refuses.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as sign, EcdsaKeyPair, EcdsaSigningAlgorithm, KeyPair as _, RsaEncoding, RsaKeyPair};

use super::*;

const MESSAGE: &[u8] = b"assay";

/// What both providers say; they have to agree.
#[track_caller]
fn verdict(algorithm: SignatureAlgorithm, key: PublicKey<'_>, message: &[u8], signature: &[u8]) -> bool {
    let default = verify(algorithm, key, message, signature).is_ok();
    let oracle = match algorithm {
        SignatureAlgorithm::Ed25519ph => default,
        _ => rustcrypto::verify(algorithm, key, message, signature).is_ok(),
    };
    assert_eq!(
        default, oracle,
        "the providers differ on {algorithm:?} with {}",
        key.kind
    );
    let usable = is_usable(key);
    assert_eq!(usable, rustcrypto::is_usable(key), "{}", key.kind);
    assert!(usable || !default, "what is no key verifies nothing");
    // The digest of the message says the same, where the algorithm signs a digest.
    if let Some(hash) = algorithm.hash() {
        let digest = hash.digest(message);
        let of_digest = verify_digest(algorithm, key, &digest, signature).is_ok();
        assert_eq!(of_digest, default, "{algorithm:?} of the digest");
        if algorithm != SignatureAlgorithm::Ed25519ph {
            let oracle = rustcrypto::verify_digest(algorithm, key, &digest, signature).is_ok();
            assert_eq!(of_digest, oracle, "the providers differ on the digest");
        }
    }
    for digest in [&message[..0], &[0; 20], &[0; 65]] {
        assert!(verify_digest(algorithm, key, digest, signature).is_err());
        assert!(rustcrypto::verify_digest(algorithm, key, digest, signature).is_err());
    }
    default
}

/// Checks that a signature verifies, and that nothing else does: not one changed bit anywhere, not a cut or longer
/// signature, not another algorithm.
#[track_caller]
fn check(algorithm: SignatureAlgorithm, key: PublicKey<'_>, signature: &[u8]) {
    assert!(verdict(algorithm, key, MESSAGE, signature), "{algorithm:?}");
    assert!(!verdict(algorithm, key, b"assaz", signature));
    assert!(!verdict(algorithm, key, MESSAGE, b""));
    assert!(!verdict(algorithm, key, MESSAGE, &signature[1..]));
    assert!(!verdict(algorithm, key, MESSAGE, &[signature, &[0]].concat()));
    assert!(!verdict(algorithm, key, MESSAGE, &vec![0; signature.len()]));
    for position in (0..signature.len()).step_by(7) {
        let mut changed = signature.to_vec();
        changed[position] ^= 1;
        assert!(!verdict(algorithm, key, MESSAGE, &changed), "byte {position}");
    }
    for other in ALL.into_iter().filter(|other| *other != algorithm) {
        assert!(!verdict(other, key, MESSAGE, signature), "{algorithm:?} as {other:?}");
    }
}

const ALL: [SignatureAlgorithm; 14] = [
    SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
    SignatureAlgorithm::RsaPkcs1(Hash::Sha384),
    SignatureAlgorithm::RsaPkcs1(Hash::Sha512),
    SignatureAlgorithm::RsaPss(Hash::Sha256),
    SignatureAlgorithm::RsaPss(Hash::Sha384),
    SignatureAlgorithm::RsaPss(Hash::Sha512),
    SignatureAlgorithm::EcdsaDer(Hash::Sha256),
    SignatureAlgorithm::EcdsaDer(Hash::Sha384),
    SignatureAlgorithm::EcdsaDer(Hash::Sha512),
    SignatureAlgorithm::EcdsaFixed(Curve::P256),
    SignatureAlgorithm::EcdsaFixed(Curve::P384),
    SignatureAlgorithm::EcdsaFixed(Curve::P521),
    SignatureAlgorithm::Ed25519,
    SignatureAlgorithm::Ed25519ph,
];

fn rsa_sign(key: &RsaKeyPair, encoding: &'static dyn RsaEncoding) -> Vec<u8> {
    let mut signature = vec![0; key.public_modulus_len()];
    key.sign(encoding, &SystemRandom::new(), MESSAGE, &mut signature)
        .unwrap();
    signature
}

#[test]
fn providers_agree_on_rsa() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let key = PublicKey {
        kind: KeyKind::Rsa { bits: 2048 },
        bytes: pair.public_key().as_ref(),
    };
    for (algorithm, encoding) in [
        (SignatureAlgorithm::RsaPkcs1(Hash::Sha256), &sign::RSA_PKCS1_SHA256),
        (SignatureAlgorithm::RsaPkcs1(Hash::Sha384), &sign::RSA_PKCS1_SHA384),
        (SignatureAlgorithm::RsaPkcs1(Hash::Sha512), &sign::RSA_PKCS1_SHA512),
        (SignatureAlgorithm::RsaPss(Hash::Sha256), &sign::RSA_PSS_SHA256),
        (SignatureAlgorithm::RsaPss(Hash::Sha384), &sign::RSA_PSS_SHA384),
        (SignatureAlgorithm::RsaPss(Hash::Sha512), &sign::RSA_PSS_SHA512),
    ] {
        check(algorithm, key, &rsa_sign(&pair, encoding));
    }
}

#[test]
fn providers_agree_on_rsa_of_every_envelope_size() {
    for (size, bits, algorithm, encoding) in [
        (KeySize::Rsa3072, 3072, EnvelopeAlgorithm::Ps384, &sign::RSA_PSS_SHA384),
        (KeySize::Rsa4096, 4096, EnvelopeAlgorithm::Ps512, &sign::RSA_PSS_SHA512),
    ] {
        let pair = RsaKeyPair::generate(size).unwrap();
        let key = PublicKey {
            kind: KeyKind::Rsa { bits },
            bytes: pair.public_key().as_ref(),
        };
        let signature = rsa_sign(&pair, encoding);
        assert!(verdict(algorithm.signature_algorithm(), key, MESSAGE, &signature));
        assert!(!verdict(algorithm.signature_algorithm(), key, b"assaz", &signature));
    }
}

#[test]
fn providers_agree_on_ecdsa() {
    let cases: [(_, _, &'static EcdsaSigningAlgorithm); 8] = [
        (
            Curve::P256,
            SignatureAlgorithm::EcdsaDer(Hash::Sha256),
            &sign::ECDSA_P256_SHA256_ASN1_SIGNING,
        ),
        (
            Curve::P384,
            SignatureAlgorithm::EcdsaDer(Hash::Sha384),
            &sign::ECDSA_P384_SHA384_ASN1_SIGNING,
        ),
        (
            Curve::P521,
            SignatureAlgorithm::EcdsaDer(Hash::Sha256),
            &sign::ECDSA_P521_SHA256_ASN1_SIGNING,
        ),
        (
            Curve::P521,
            SignatureAlgorithm::EcdsaDer(Hash::Sha384),
            &sign::ECDSA_P521_SHA384_ASN1_SIGNING,
        ),
        (
            Curve::P521,
            SignatureAlgorithm::EcdsaDer(Hash::Sha512),
            &sign::ECDSA_P521_SHA512_ASN1_SIGNING,
        ),
        (
            Curve::P256,
            SignatureAlgorithm::EcdsaFixed(Curve::P256),
            &sign::ECDSA_P256_SHA256_FIXED_SIGNING,
        ),
        (
            Curve::P384,
            SignatureAlgorithm::EcdsaFixed(Curve::P384),
            &sign::ECDSA_P384_SHA384_FIXED_SIGNING,
        ),
        (
            Curve::P521,
            SignatureAlgorithm::EcdsaFixed(Curve::P521),
            &sign::ECDSA_P521_SHA512_FIXED_SIGNING,
        ),
    ];
    for (curve, algorithm, signing) in cases {
        let pair = EcdsaKeyPair::generate(signing).unwrap();
        let key = PublicKey {
            kind: KeyKind::Ecdsa(curve),
            bytes: pair.public_key().as_ref(),
        };
        let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap();
        check(algorithm, key, signature.as_ref());
    }
}

/// A hash longer than the curve is cut, a shorter one is not (FIPS 186-5 §6.4.2). Signed with the oracle's library, as
/// the other one signs with the curve's own hash only.
#[test]
fn providers_agree_on_hashes_that_do_not_belong_to_the_curve() {
    use p256::ecdsa::signature::hazmat::PrehashSigner as _;

    let secret = [7; 48];
    let (short, long) = (Sha256::digest(MESSAGE), Sha512::digest(MESSAGE));

    let p256 = p256::ecdsa::SigningKey::from_slice(&secret[..32]).unwrap();
    let point = p256.verifying_key().to_encoded_point(false);
    let key = PublicKey {
        kind: KeyKind::Ecdsa(Curve::P256),
        bytes: point.as_bytes(),
    };
    let signature: p256::ecdsa::Signature = p256.sign_prehash(&long).unwrap();
    let signature = signature.to_der();
    assert!(verdict(
        SignatureAlgorithm::EcdsaDer(Hash::Sha512),
        key,
        MESSAGE,
        signature.as_bytes()
    ));

    let p384 = p384::ecdsa::SigningKey::from_slice(&secret).unwrap();
    let point = p384.verifying_key().to_encoded_point(false);
    let key = PublicKey {
        kind: KeyKind::Ecdsa(Curve::P384),
        bytes: point.as_bytes(),
    };
    for (hash, digest) in [(Hash::Sha256, &short[..]), (Hash::Sha512, &long[..])] {
        let signature: p384::ecdsa::Signature = p384.sign_prehash(digest).unwrap();
        let signature = signature.to_der();
        assert!(verdict(
            SignatureAlgorithm::EcdsaDer(hash),
            key,
            MESSAGE,
            signature.as_bytes()
        ));
    }
}

#[test]
fn providers_agree_on_ed25519() {
    let pair = sign::Ed25519KeyPair::generate().unwrap();
    let key = PublicKey {
        kind: KeyKind::Ed25519,
        bytes: pair.public_key().as_ref(),
    };
    check(SignatureAlgorithm::Ed25519, key, pair.sign(MESSAGE).as_ref());
}

/// RFC 8032 §7.3.
#[test]
fn ed25519ph_is_that_of_the_rfc() {
    let hex = |text: &str| -> Vec<u8> {
        let digits: Vec<u8> = text
            .chars()
            .filter_map(|digit| digit.to_digit(16)?.try_into().ok())
            .collect();
        digits.chunks(2).map(|pair| pair[0] << 4 | pair[1]).collect()
    };
    let key = hex("ec172b93ad5e563bf4932c70e1245034c35467ef2efd4d64ebf819683467e2bf");
    assert_eq!(key.len(), 32);
    let key = PublicKey {
        kind: KeyKind::Ed25519,
        bytes: &key,
    };
    let signature = hex(
        "98a70222f0b8121aa9d30f813d683f809e462b469c7ff87639499bb94e6dae4131f85042463c2a355a2003d062adf5aaa10b8c61e636062aaad11c2a26083406",
    );
    assert!(verdict(SignatureAlgorithm::Ed25519ph, key, b"abc", &signature));
    assert!(!verdict(SignatureAlgorithm::Ed25519ph, key, b"abd", &signature));
    assert!(!verdict(SignatureAlgorithm::Ed25519, key, b"abc", &signature));
    assert!(!verdict(SignatureAlgorithm::Ed25519ph, key, b"abc", &signature[1..]));
    let other = PublicKey {
        kind: KeyKind::Ecdsa(Curve::P256),
        ..key
    };
    assert!(!verdict(SignatureAlgorithm::Ed25519ph, other, b"abc", &signature));
}

#[test]
fn refuses_rsa_below_2048_bits() {
    // RFC 8017's RSAPublicKey with a modulus of 1024 bits; the signature does not matter.
    let modulus = [&[0, 0x80][..], &[0; 126], &[1]].concat();
    let key = [&[0x30, 0x81, 0x89, 0x02, 0x81, 0x81][..], &modulus, &[2, 3, 1, 0, 1]].concat();
    let key = PublicKey {
        kind: KeyKind::Rsa { bits: 1024 },
        bytes: &key,
    };
    for algorithm in ALL {
        assert!(!verdict(algorithm, key, MESSAGE, &[1; 128]));
    }
}

#[test]
fn names_one_algorithm_per_key() {
    for (key, name) in [
        (KeyKind::Rsa { bits: 2048 }, Some("PS256")),
        (KeyKind::Rsa { bits: 3072 }, Some("PS384")),
        (KeyKind::Rsa { bits: 4096 }, Some("PS512")),
        (KeyKind::Ecdsa(Curve::P256), Some("ES256")),
        (KeyKind::Ecdsa(Curve::P384), Some("ES384")),
        (KeyKind::Ecdsa(Curve::P521), Some("ES512")),
        (KeyKind::Rsa { bits: 1024 }, None),
        (KeyKind::Rsa { bits: 2047 }, None),
        (KeyKind::Rsa { bits: 8192 }, None),
        (KeyKind::Ed25519, None),
        (KeyKind::Other, None),
    ] {
        let algorithm = EnvelopeAlgorithm::for_key(key);
        assert_eq!(algorithm.map(EnvelopeAlgorithm::as_str), name, "{key}");
        assert_eq!(name.and_then(EnvelopeAlgorithm::from_name), algorithm);
    }
    for name in ["", "none", "RS256", "HS256", "PS1", "EdDSA", "ps256"] {
        assert_eq!(EnvelopeAlgorithm::from_name(name), None);
    }
}
