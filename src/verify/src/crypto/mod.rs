//! Signature primitives. This module hides which library computes them.
//!
//! Only verifying happens here: no private key exists in this process. The list is closed and has no SHA-1, no RSA
//! below 2048 bits and no parameters that a stranger could choose.

#[cfg(feature = "aws-lc")]
mod aws_lc;
mod ed25519ph;
// Tests have both providers, to compare them.
#[cfg(any(test, all(feature = "rustcrypto", not(feature = "aws-lc"))))]
mod rustcrypto;
#[cfg(test)]
mod tests;

#[cfg(not(any(feature = "aws-lc", feature = "rustcrypto")))]
compile_error!("assay-verify needs a provider of signature primitives: the feature aws-lc or rustcrypto");

#[cfg(feature = "aws-lc")]
use aws_lc as provider;
#[cfg(all(feature = "rustcrypto", not(feature = "aws-lc")))]
use rustcrypto as provider;

use std::fmt;

use sha2::{Digest as _, Sha256, Sha384, Sha512};
use thiserror::Error;

/// The hash of a signature algorithm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hash {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl Hash {
    /// The digest of a message.
    pub fn digest(self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => Sha256::digest(message).to_vec(),
            Self::Sha384 => Sha384::digest(message).to_vec(),
            Self::Sha512 => Sha512::digest(message).to_vec(),
        }
    }

    /// The length of a digest, in bytes.
    pub const fn length(self) -> usize {
        match self {
            Self::Sha256 => 32,
            Self::Sha384 => 48,
            Self::Sha512 => 64,
        }
    }

    /// The name, as digests have it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }
}

/// A curve of NIST (FIPS 186-5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Curve {
    /// P-256, secp256r1.
    P256,
    /// P-384, secp384r1.
    P384,
    /// P-521, secp521r1.
    P521,
}

impl Curve {
    /// The hash that belongs to it.
    pub const fn hash(self) -> Hash {
        match self {
            Self::P256 => Hash::Sha256,
            Self::P384 => Hash::Sha384,
            Self::P521 => Hash::Sha512,
        }
    }
}

/// What kind of key it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyKind {
    /// RSA with a modulus of so many bits.
    Rsa {
        /// The length of the modulus.
        bits: usize,
    },
    /// A point on a curve.
    Ecdsa(Curve),
    /// A point on edwards25519 (RFC 8410). Notary Project envelopes have none.
    Ed25519,
    /// Anything else. It verifies nothing.
    Other,
}

impl fmt::Display for KeyKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Rsa { bits } => write!(f, "RSA-{bits}"),
            Self::Ecdsa(Curve::P256) => f.write_str("ECDSA P-256"),
            Self::Ecdsa(Curve::P384) => f.write_str("ECDSA P-384"),
            Self::Ecdsa(Curve::P521) => f.write_str("ECDSA P-521"),
            Self::Ed25519 => f.write_str("Ed25519"),
            Self::Other => f.write_str("of an unsupported type"),
        }
    }
}

/// A public key as a certificate holds it.
#[derive(Clone, Copy, Debug)]
pub struct PublicKey<'a> {
    /// Its kind.
    pub kind: KeyKind,
    /// The bits of `subjectPublicKey`: a DER `RSAPublicKey` (RFC 8017 §A.1.1), an uncompressed point (RFC 5480 §2.2),
    /// or the 32 bytes of RFC 8032 §5.1.2.
    pub bytes: &'a [u8],
}

/// How a signature is computed and encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum SignatureAlgorithm {
    /// RSASSA-PKCS1-v1_5 (RFC 8017 §8.2): certificates and timestamp tokens only.
    RsaPkcs1(Hash),
    /// RSASSA-PSS (RFC 8017 §8.1) with MGF1 of the same hash and a salt of the hash's length.
    RsaPss(Hash),
    /// ECDSA with `Ecdsa-Sig-Value` in DER (RFC 3279 §2.2.3): certificates and timestamp tokens only. Any of the three
    /// curves.
    EcdsaDer(Hash),
    /// ECDSA with the fixed-length concatenation of r and s (RFC 7518 §3.4), the hash that belongs to the curve.
    EcdsaFixed(Curve),
    /// Ed25519 over the message itself (RFC 8032 §5.1).
    Ed25519,
    /// Ed25519ph: over the SHA-512 of the message, without a context (RFC 8032 §5.1).
    Ed25519ph,
}

impl SignatureAlgorithm {
    /// The hash whose digest is signed. Ed25519 has none: it needs the message.
    pub const fn hash(self) -> Option<Hash> {
        match self {
            Self::RsaPkcs1(hash) | Self::RsaPss(hash) | Self::EcdsaDer(hash) => Some(hash),
            Self::EcdsaFixed(curve) => Some(curve.hash()),
            Self::Ed25519 => None,
            Self::Ed25519ph => Some(Hash::Sha512),
        }
    }
}

/// The algorithms of Notary Project envelopes (notation spec: signature-specification.md#algorithm-selection).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EnvelopeAlgorithm {
    /// RSASSA-PSS with SHA-256, for RSA-2048.
    Ps256,
    /// RSASSA-PSS with SHA-384, for RSA-3072.
    Ps384,
    /// RSASSA-PSS with SHA-512, for RSA-4096.
    Ps512,
    /// ECDSA on P-256 with SHA-256.
    Es256,
    /// ECDSA on P-384 with SHA-384.
    Es384,
    /// ECDSA on P-521 with SHA-512.
    Es512,
}

impl EnvelopeAlgorithm {
    /// The one algorithm that a key signs envelopes with; none for any other key or size.
    pub const fn for_key(key: KeyKind) -> Option<Self> {
        match key {
            KeyKind::Rsa { bits: 2048 } => Some(Self::Ps256),
            KeyKind::Rsa { bits: 3072 } => Some(Self::Ps384),
            KeyKind::Rsa { bits: 4096 } => Some(Self::Ps512),
            KeyKind::Ecdsa(Curve::P256) => Some(Self::Es256),
            KeyKind::Ecdsa(Curve::P384) => Some(Self::Es384),
            KeyKind::Ecdsa(Curve::P521) => Some(Self::Es512),
            KeyKind::Rsa { .. } | KeyKind::Ed25519 | KeyKind::Other => None,
        }
    }

    /// The name in a JWS header (RFC 7518 §3.1).
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ps256 => "PS256",
            Self::Ps384 => "PS384",
            Self::Ps512 => "PS512",
            Self::Es256 => "ES256",
            Self::Es384 => "ES384",
            Self::Es512 => "ES512",
        }
    }

    /// The algorithm of a name in a JWS header.
    pub fn from_name(name: &str) -> Option<Self> {
        [
            Self::Ps256,
            Self::Ps384,
            Self::Ps512,
            Self::Es256,
            Self::Es384,
            Self::Es512,
        ]
        .into_iter()
        .find(|algorithm| algorithm.as_str() == name)
    }

    /// Its hash. The digest of a signed file is by this one (notation spec:
    /// signature-specification.md#blob-signatures).
    pub const fn hash(self) -> Hash {
        match self {
            Self::Ps256 | Self::Es256 => Hash::Sha256,
            Self::Ps384 | Self::Es384 => Hash::Sha384,
            Self::Ps512 | Self::Es512 => Hash::Sha512,
        }
    }

    /// How its signatures are computed and encoded.
    pub const fn signature_algorithm(self) -> SignatureAlgorithm {
        match self {
            Self::Ps256 => SignatureAlgorithm::RsaPss(Hash::Sha256),
            Self::Ps384 => SignatureAlgorithm::RsaPss(Hash::Sha384),
            Self::Ps512 => SignatureAlgorithm::RsaPss(Hash::Sha512),
            Self::Es256 => SignatureAlgorithm::EcdsaFixed(Curve::P256),
            Self::Es384 => SignatureAlgorithm::EcdsaFixed(Curve::P384),
            Self::Es512 => SignatureAlgorithm::EcdsaFixed(Curve::P521),
        }
    }
}

/// The signature is not the key's over the message, or key and algorithm do not fit. Nothing more is said: which of the
/// reasons it was depends on the library.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("the signature does not verify with the key")]
pub struct BadSignature;

/// Verifies `signature` over `message`.
///
/// # Errors
///
/// [`BadSignature`] for every reason there is.
pub fn verify(
    algorithm: SignatureAlgorithm,
    key: PublicKey<'_>,
    message: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    match algorithm {
        SignatureAlgorithm::Ed25519ph => ed25519ph::verify(key, &Hash::Sha512.digest(message), signature),
        _ => provider::verify(algorithm, key, message, signature),
    }
}

/// Verifies `signature` over a message of which only the digest is known: with the algorithm's own hash
/// ([`SignatureAlgorithm::hash`]), and of its length.
///
/// # Errors
///
/// [`BadSignature`] for every reason there is; one is an algorithm that needs the message.
pub fn verify_digest(
    algorithm: SignatureAlgorithm,
    key: PublicKey<'_>,
    digest: &[u8],
    signature: &[u8],
) -> Result<(), BadSignature> {
    match algorithm {
        SignatureAlgorithm::Ed25519ph => ed25519ph::verify(key, digest, signature),
        _ => provider::verify_digest(algorithm, key, digest, signature),
    }
}

/// Whether the bytes of a key are one that can verify: a point is on its curve, a modulus and an exponent are in the
/// bounds. A key of a configuration is asked this once, so that a damaged one is not met as a bad signature.
pub fn is_usable(key: PublicKey<'_>) -> bool {
    provider::is_usable(key)
}
