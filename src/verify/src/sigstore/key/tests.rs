//! Keys as files have them, and signatures as cosign makes them.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as sign, EcdsaKeyPair, KeyPair as _, RsaEncoding, RsaKeyPair};
use der::pem::LineEnding;
use ed25519_dalek::{DigestSigner as _, Signer as _};
use p384::ecdsa::signature::hazmat::PrehashSigner as _;

use super::*;

const MESSAGE: &[u8] = b"assay";
const OTHER: &[u8] = b"assaz";

fn spki(oid: const_oid::ObjectIdentifier, parameters: Option<AnyRef<'_>>, bits: &[u8]) -> Vec<u8> {
    let info: SubjectPublicKeyInfo<AnyRef<'_>, BitStringRef<'_>> = SubjectPublicKeyInfo {
        algorithm: AlgorithmIdentifierRef { oid, parameters },
        subject_public_key: BitStringRef::from_bytes(bits).unwrap(),
    };
    info.to_der().unwrap()
}

fn ecdsa_key(curve: const_oid::ObjectIdentifier, point: &[u8]) -> Result<VerificationKey, KeyError> {
    VerificationKey::from_spki(&spki(rfc5912::ID_EC_PUBLIC_KEY, Some((&curve).into()), point))
}

fn ed25519_key(bits: &[u8]) -> Result<VerificationKey, KeyError> {
    VerificationKey::from_spki(&spki(const_oid::db::rfc8410::ID_ED_25519, None, bits))
}

fn rsa_key(der: &[u8]) -> Result<VerificationKey, KeyError> {
    VerificationKey::from_spki(&spki(rfc5912::RSA_ENCRYPTION, Some(Null.into()), der))
}

fn pem(label: &str, der: &[u8]) -> String {
    pem::encode_string(label, LineEnding::LF, der).unwrap()
}

/// A signature verifies over the message and its digest by the one hash, and over nothing else.
#[track_caller]
fn check(key: &VerificationKey, hash: Hash, signature: &[u8]) {
    assert_eq!(key.verify(Message::Bytes(MESSAGE), signature), Ok(hash));
    assert_eq!(key.verify(Message::Bytes(OTHER), signature), Err(BadSignature));
    for other in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
        let verdict = key.verify(Message::Digest(other, &other.digest(MESSAGE)), signature);
        assert_eq!(verdict.is_ok(), other == hash, "{other:?}");
        assert_eq!(
            key.verify(Message::Digest(hash, &other.digest(OTHER)), signature),
            Err(BadSignature)
        );
    }
    assert_eq!(key.verify(Message::Digest(hash, b""), signature), Err(BadSignature));
    assert_eq!(key.verify(Message::Bytes(MESSAGE), b""), Err(BadSignature));
}

#[test]
fn ecdsa_verifies_with_the_hash_of_the_curve() {
    for (curve, signing, hash) in [
        (
            rfc5912::SECP_256_R_1,
            &sign::ECDSA_P256_SHA256_ASN1_SIGNING,
            Hash::Sha256,
        ),
        (
            rfc5912::SECP_384_R_1,
            &sign::ECDSA_P384_SHA384_ASN1_SIGNING,
            Hash::Sha384,
        ),
        (
            rfc5912::SECP_521_R_1,
            &sign::ECDSA_P521_SHA512_ASN1_SIGNING,
            Hash::Sha512,
        ),
    ] {
        let pair = EcdsaKeyPair::generate(signing).unwrap();
        let key = ecdsa_key(curve, pair.public_key().as_ref()).unwrap();
        let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap();
        check(&key, hash, signature.as_ref());
        assert_eq!(key.verify_with(hash, MESSAGE, signature.as_ref()), Ok(()));
        assert_eq!(key.verify_with(hash, OTHER, signature.as_ref()), Err(BadSignature));
        let other = match hash {
            Hash::Sha256 => Hash::Sha384,
            Hash::Sha384 | Hash::Sha512 => Hash::Sha256,
        };
        assert_eq!(
            key.verify_with(other, MESSAGE, signature.as_ref()),
            Err(BadSignature),
            "a log's hash is not tried in several ways"
        );
    }
}

/// cosign v2 signs with SHA-256 on every curve.
#[test]
fn ecdsa_on_larger_curves_verifies_with_sha_256_too() {
    let p384 = p384::ecdsa::SigningKey::from_slice(&[7; 48]).unwrap();
    let key = ecdsa_key(
        rfc5912::SECP_384_R_1,
        p384.verifying_key().to_encoded_point(false).as_bytes(),
    )
    .unwrap();
    for hash in [Hash::Sha256, Hash::Sha512] {
        let signature: p384::ecdsa::Signature = p384.sign_prehash(&hash.digest(MESSAGE)).unwrap();
        check(&key, hash, signature.to_der().as_bytes());
    }

    let pair = EcdsaKeyPair::generate(&sign::ECDSA_P521_SHA256_ASN1_SIGNING).unwrap();
    let key = ecdsa_key(rfc5912::SECP_521_R_1, pair.public_key().as_ref()).unwrap();
    let signature = pair.sign(&SystemRandom::new(), MESSAGE).unwrap();
    check(&key, Hash::Sha256, signature.as_ref());
}

#[test]
fn rsa_verifies_with_pkcs1_and_never_with_pss() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let key = rsa_key(pair.public_key().as_ref()).unwrap();
    let sign_with = |encoding: &'static dyn RsaEncoding| {
        let mut signature = vec![0; pair.public_modulus_len()];
        pair.sign(encoding, &SystemRandom::new(), MESSAGE, &mut signature)
            .unwrap();
        signature
    };
    check(&key, Hash::Sha256, &sign_with(&sign::RSA_PKCS1_SHA256));
    check(&key, Hash::Sha384, &sign_with(&sign::RSA_PKCS1_SHA384));
    check(&key, Hash::Sha512, &sign_with(&sign::RSA_PKCS1_SHA512));
    let pss = sign_with(&sign::RSA_PSS_SHA256);
    assert_eq!(key.verify(Message::Bytes(MESSAGE), &pss), Err(BadSignature));
}

#[test]
fn ed25519_verifies_pure_and_prehashed() {
    let secret = ed25519_dalek::SigningKey::from_bytes(&[7; 32]);
    let key = ed25519_key(secret.verifying_key().as_bytes()).unwrap();
    assert_eq!(key.kind(), KeyKind::Ed25519);

    let pure = secret.sign(MESSAGE).to_bytes();
    assert_eq!(key.verify(Message::Bytes(MESSAGE), &pure), Ok(Hash::Sha512));
    assert_eq!(key.verify(Message::Bytes(OTHER), &pure), Err(BadSignature));
    assert_eq!(key.verify_with(Hash::Sha256, MESSAGE, &pure), Ok(()));
    // The digest alone cannot tell: pure Ed25519 signs the message.
    let digest = Hash::Sha512.digest(MESSAGE);
    assert_eq!(
        key.verify(Message::Digest(Hash::Sha512, &digest), &pure),
        Err(BadSignature)
    );

    let prehashed = secret
        .try_sign_digest(ed25519_dalek::Sha512::new_with_prefix(MESSAGE))
        .unwrap()
        .to_bytes();
    check(&key, Hash::Sha512, &prehashed);
    assert_eq!(
        key.verify_with(Hash::Sha512, MESSAGE, &prehashed),
        Err(BadSignature),
        "a log signs pure Ed25519 only"
    );
}

#[test]
fn every_pem_of_one_key_is_the_same_key() {
    let pair = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs1 = pair.public_key().as_ref();
    let key = rsa_key(pkcs1).unwrap();
    assert_eq!(
        VerificationKey::from_pem(&pem("RSA PUBLIC KEY", pkcs1)),
        Ok(key.clone())
    );
    assert_eq!(
        VerificationKey::from_pem(&pem("PUBLIC KEY", key.spki())),
        Ok(key.clone())
    );
    let with_text = format!("signs releases\r\n{}bye\n", pem("PUBLIC KEY", key.spki()));
    assert_eq!(VerificationKey::from_pem(&with_text), Ok(key));

    let pair = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new([]).unwrap().self_signed(&pair).unwrap();
    let key = VerificationKey::from_pem(&pair.public_key_pem()).unwrap();
    assert_eq!(VerificationKey::from_pem(&certificate.pem()), Ok(key.clone()));
    assert_eq!(key.fingerprint()[..], Hash::Sha256.digest(key.spki()));
}

#[test]
fn refuses_files_that_are_not_one_public_key_and_says_why() {
    let pair = rcgen::KeyPair::generate().unwrap();
    let good = pair.public_key_pem();
    let refused = |text: &str| VerificationKey::from_pem(text).unwrap_err();

    assert_eq!(refused(""), KeyError::NoPem);
    assert_eq!(refused("ssh-ed25519 AAAA"), KeyError::NoPem);
    assert_eq!(refused(&format!("{good}{good}")), KeyError::SeveralKeys);
    assert_eq!(
        refused(&pair.serialize_pem()),
        KeyError::PrivateKey("PRIVATE KEY".into())
    );
    assert_eq!(
        refused(&pem("ENCRYPTED SIGSTORE PRIVATE KEY", b"{}")),
        KeyError::PrivateKey("ENCRYPTED SIGSTORE PRIVATE KEY".into())
    );
    assert_eq!(
        refused(&pem("CERTIFICATE REQUEST", &[0x30, 0])),
        KeyError::Label("CERTIFICATE REQUEST".into())
    );
    assert!(matches!(
        refused(&pem("PUBLIC KEY", &[0x30, 0])),
        KeyError::Malformed(_)
    ));
    assert!(matches!(
        refused(&pem("CERTIFICATE", &[0x30, 0])),
        KeyError::Certificate(_)
    ));
    assert!(matches!(refused(&good.replace("-----END", "---END")), KeyError::Pem(_)));
    assert!(matches!(refused(&good.replacen("\nM", "\n*", 1)), KeyError::Pem(_)));
    assert_eq!(
        refused(&" ".repeat(MAX_KEY_SIZE + 1)),
        KeyError::TooLarge(MAX_KEY_SIZE + 1)
    );
}

#[test]
fn refuses_keys_that_verify_nothing() {
    let mut trailing = ed25519_key(&[9; 32]).map_or_else(|_| Vec::new(), |key| key.spki().to_vec());
    trailing.push(0);
    assert!(matches!(
        VerificationKey::from_spki(&trailing),
        Err(KeyError::Malformed(_))
    ));

    // A modulus of 1024 bits.
    let modulus = [&[0, 0x80][..], &[0; 126], &[1]].concat();
    let small = [&[0x30, 0x81, 0x89, 0x02, 0x81, 0x81][..], &modulus, &[2, 3, 1, 0, 1]].concat();
    assert_eq!(rsa_key(&small), Err(KeyError::RsaSize { bits: 1024 }));

    assert!(
        matches!(
            ecdsa_key(rfc5912::SECP_256_R_1, &[&[4][..], &[1; 64]].concat()),
            Err(KeyError::Malformed(_))
        ),
        "a point beside its curve"
    );
    let secp256k1 = const_oid::ObjectIdentifier::new_unwrap("1.3.132.0.10");
    assert_eq!(
        ecdsa_key(secp256k1, &[&[4][..], &[1; 64]].concat()),
        Err(KeyError::Unsupported)
    );
    assert_eq!(ed25519_key(&[1; 31]), Err(KeyError::Unsupported));
    let x25519 = const_oid::ObjectIdentifier::new_unwrap("1.3.101.110");
    assert_eq!(
        VerificationKey::from_spki(&spki(x25519, None, &[9; 32])),
        Err(KeyError::Unsupported)
    );
}
