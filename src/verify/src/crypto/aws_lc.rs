//! AWS-LC: the default provider.

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1,
    ECDSA_P384_SHA256_ASN1, ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA384_FIXED, ECDSA_P384_SHA512_ASN1,
    ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1, ECDSA_P521_SHA512_ASN1, ECDSA_P521_SHA512_FIXED, ED25519,
    ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384, RSA_PKCS1_2048_8192_SHA512,
    RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512, UnparsedPublicKey,
    VerificationAlgorithm,
};

use super::{BadSignature, Curve, Hash, KeyKind, PublicKey, SignatureAlgorithm};

pub(super) fn verify(
    algorithm: SignatureAlgorithm,
    key: PublicKey<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    let algorithm = select(algorithm, key.kind).ok_or(BadSignature)?;
    UnparsedPublicKey::new(algorithm, key.bytes)
        .verify(message, signature)
        .map_err(|_| BadSignature)
}

pub(super) fn verify_digest(
    algorithm: SignatureAlgorithm,
    key: PublicKey<'_>,
    digest: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    let hash = match algorithm.hash().ok_or(BadSignature)? {
        Hash::Sha256 => &digest::SHA256,
        Hash::Sha384 => &digest::SHA384,
        Hash::Sha512 => &digest::SHA512,
    };
    let digest = Digest::import_less_safe(digest, hash).map_err(|_| BadSignature)?;
    let algorithm = select(algorithm, key.kind).ok_or(BadSignature)?;
    UnparsedPublicKey::new(algorithm, key.bytes)
        .verify_digest(&digest, signature)
        .map_err(|_| BadSignature)
}

pub(super) fn is_usable(key: PublicKey<'_>) -> bool {
    let algorithm = match key.kind {
        KeyKind::Rsa { bits: 2048..=8192 } => SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
        KeyKind::Ecdsa(curve) => SignatureAlgorithm::EcdsaDer(curve.hash()),
        KeyKind::Ed25519 => SignatureAlgorithm::Ed25519,
        KeyKind::Rsa { .. } | KeyKind::Other => return false,
    };
    select(algorithm, key.kind).is_some_and(|algorithm| ParsedPublicKey::new(algorithm, key.bytes).is_ok())
}

fn select(algorithm: SignatureAlgorithm, key: KeyKind) -> Option<&'static dyn VerificationAlgorithm> {
    use Curve::{P256, P384, P521};
    use Hash::{Sha256, Sha384, Sha512};
    use KeyKind::{Ecdsa, Rsa};
    use SignatureAlgorithm::{EcdsaDer, EcdsaFixed, RsaPkcs1, RsaPss};

    Some(match (algorithm, key) {
        (RsaPkcs1(Sha256), Rsa { .. }) => &RSA_PKCS1_2048_8192_SHA256,
        (RsaPkcs1(Sha384), Rsa { .. }) => &RSA_PKCS1_2048_8192_SHA384,
        (RsaPkcs1(Sha512), Rsa { .. }) => &RSA_PKCS1_2048_8192_SHA512,
        (RsaPss(Sha256), Rsa { .. }) => &RSA_PSS_2048_8192_SHA256,
        (RsaPss(Sha384), Rsa { .. }) => &RSA_PSS_2048_8192_SHA384,
        (RsaPss(Sha512), Rsa { .. }) => &RSA_PSS_2048_8192_SHA512,
        (EcdsaDer(Sha256), Ecdsa(P256)) => &ECDSA_P256_SHA256_ASN1,
        (EcdsaDer(Sha384), Ecdsa(P256)) => &ECDSA_P256_SHA384_ASN1,
        (EcdsaDer(Sha512), Ecdsa(P256)) => &ECDSA_P256_SHA512_ASN1,
        (EcdsaDer(Sha256), Ecdsa(P384)) => &ECDSA_P384_SHA256_ASN1,
        (EcdsaDer(Sha384), Ecdsa(P384)) => &ECDSA_P384_SHA384_ASN1,
        (EcdsaDer(Sha512), Ecdsa(P384)) => &ECDSA_P384_SHA512_ASN1,
        (EcdsaDer(Sha256), Ecdsa(P521)) => &ECDSA_P521_SHA256_ASN1,
        (EcdsaDer(Sha384), Ecdsa(P521)) => &ECDSA_P521_SHA384_ASN1,
        (EcdsaDer(Sha512), Ecdsa(P521)) => &ECDSA_P521_SHA512_ASN1,
        (EcdsaFixed(P256), Ecdsa(P256)) => &ECDSA_P256_SHA256_FIXED,
        (EcdsaFixed(P384), Ecdsa(P384)) => &ECDSA_P384_SHA384_FIXED,
        (EcdsaFixed(P521), Ecdsa(P521)) => &ECDSA_P521_SHA512_FIXED,
        (SignatureAlgorithm::Ed25519, KeyKind::Ed25519) => &ED25519,
        _ => return None,
    })
}
