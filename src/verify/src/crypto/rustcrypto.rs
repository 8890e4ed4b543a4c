//! The RustCrypto libraries: the provider for builds without a C compiler, and the oracle of the tests.

use ed25519_dalek::Verifier as _;
use rsa::traits::PublicKeyParts as _;
use rsa::{Pkcs1v15Sign, Pss, RsaPublicKey};
use sha2::{Sha256, Sha384, Sha512};

use super::{BadSignature, Curve, Hash, KeyKind, PublicKey, SignatureAlgorithm};

/// The same bounds as the other provider. The library itself stops at 4096 bits unless told.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

pub(super) fn verify(
    algorithm: SignatureAlgorithm,
    key: PublicKey<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    match (algorithm.hash(), key.kind) {
        (Some(hash), _) => verify_digest(algorithm, key, &hash.digest(message), signature),
        (None, KeyKind::Ed25519) => {
            let signature = ed25519_dalek::Signature::from_slice(signature).map_err(|_| BadSignature)?;
            ed25519_key(key.bytes)?
                .verify(message, &signature)
                .map_err(|_| BadSignature)
        }
        _ => Err(BadSignature),
    }
}

pub(super) fn verify_digest(
    algorithm: SignatureAlgorithm,
    key: PublicKey<'_>,
    digest: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    if algorithm.hash().is_none_or(|hash| digest.len() != hash.length()) {
        return Err(BadSignature);
    }
    match (algorithm, key.kind) {
        (SignatureAlgorithm::RsaPkcs1(hash), KeyKind::Rsa { .. }) => {
            let scheme = match hash {
                Hash::Sha256 => Pkcs1v15Sign::new::<Sha256>(),
                Hash::Sha384 => Pkcs1v15Sign::new::<Sha384>(),
                Hash::Sha512 => Pkcs1v15Sign::new::<Sha512>(),
            };
            rsa_key(key.bytes)?
                .verify(scheme, digest, signature)
                .map_err(|_| BadSignature)
        }
        (SignatureAlgorithm::RsaPss(hash), KeyKind::Rsa { .. }) => {
            let scheme = match hash {
                Hash::Sha256 => Pss::new_with_salt::<Sha256>(hash.length()),
                Hash::Sha384 => Pss::new_with_salt::<Sha384>(hash.length()),
                Hash::Sha512 => Pss::new_with_salt::<Sha512>(hash.length()),
            };
            rsa_key(key.bytes)?
                .verify(scheme, digest, signature)
                .map_err(|_| BadSignature)
        }
        (SignatureAlgorithm::EcdsaDer(_), KeyKind::Ecdsa(curve)) => {
            ecdsa(curve, key.bytes, digest, signature, Encoding::Der)
        }
        (SignatureAlgorithm::EcdsaFixed(expected), KeyKind::Ecdsa(curve)) if curve == expected => {
            ecdsa(curve, key.bytes, digest, signature, Encoding::Fixed)
        }
        _ => Err(BadSignature),
    }
}

pub(super) fn is_usable(key: PublicKey<'_>) -> bool {
    match key.kind {
        KeyKind::Rsa { .. } => rsa_key(key.bytes).is_ok(),
        KeyKind::Ecdsa(Curve::P256) => p256::ecdsa::VerifyingKey::from_sec1_bytes(key.bytes).is_ok(),
        KeyKind::Ecdsa(Curve::P384) => p384::ecdsa::VerifyingKey::from_sec1_bytes(key.bytes).is_ok(),
        KeyKind::Ecdsa(Curve::P521) => p521::ecdsa::VerifyingKey::from_sec1_bytes(key.bytes).is_ok(),
        KeyKind::Ed25519 => ed25519_key(key.bytes).is_ok(),
        KeyKind::Other => false,
    }
}

fn ed25519_key(bytes: &[u8]) -> Result<ed25519_dalek::VerifyingKey, BadSignature> {
    ed25519_dalek::VerifyingKey::try_from(bytes).map_err(|_| BadSignature)
}

fn rsa_key(der: &[u8]) -> Result<RsaPublicKey, BadSignature> {
    use rsa::pkcs1::RsaPublicKey as Wire;
    let wire = Wire::try_from(der).map_err(|_| BadSignature)?;
    let number = |bytes: &[u8]| rsa::BigUint::from_bytes_be(bytes);
    let key = RsaPublicKey::new_with_max_size(
        number(wire.modulus.as_bytes()),
        number(wire.public_exponent.as_bytes()),
        *RSA_BITS.end(),
    )
    .map_err(|_| BadSignature)?;
    if RSA_BITS.contains(&key.n().bits()) {
        Ok(key)
    } else {
        Err(BadSignature)
    }
}

#[derive(Clone, Copy)]
enum Encoding {
    Der,
    Fixed,
}

// The three curves have distinct types without a common trait that would be shorter than this.
macro_rules! verify_on {
    ($curve:ident, $length:literal, $key:expr, $digest:expr, $signature:expr, $encoding:expr) => {{
        use $curve::ecdsa::signature::hazmat::PrehashVerifier as _;
        use $curve::ecdsa::{Signature, VerifyingKey};
        let signature = match $encoding {
            Encoding::Der => Signature::from_der($signature),
            Encoding::Fixed => Signature::from_slice($signature),
        }
        .map_err(|_| BadSignature)?;
        // The library refuses a digest shorter than half the field; its value is what counts (FIPS 186-5 §6.4.2).
        let mut digest = vec![0; usize::saturating_sub($length, $digest.len())];
        digest.extend_from_slice($digest);
        VerifyingKey::from_sec1_bytes($key)
            .and_then(|key| key.verify_prehash(&digest, &signature))
            .map_err(|_| BadSignature)
    }};
}

fn ecdsa(curve: Curve, key: &[u8], digest: &[u8], signature: &[u8], encoding: Encoding) -> Result<(), BadSignature> {
    match curve {
        Curve::P256 => verify_on!(p256, 32, key, digest, signature, encoding),
        Curve::P384 => verify_on!(p384, 48, key, digest, signature, encoding),
        Curve::P521 => verify_on!(p521, 66, key, digest, signature, encoding),
    }
}
