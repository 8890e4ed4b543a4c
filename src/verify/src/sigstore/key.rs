//! Public keys as cosign, logs and trusted roots name them, and the ways in which they sign.

use std::sync::Arc;

use thiserror::Error;

use crate::crypto::{BadSignature, Hash, KeyKind};
use crate::untrusted::Untrusted;

/// A public key. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationKey(Arc<Parsed>);

#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    /// The DER of the `SubjectPublicKeyInfo`.
    spki: Box<[u8]>,
    kind: KeyKind,
    fingerprint: [u8; 32],
}

/// Why bytes are no key that can verify a signature.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// Not a PEM file with a key or certificate.
    #[error("it is not PEM with a public key or a certificate: {0}")]
    Pem(Untrusted),
    /// The DER is malformed.
    #[error("the key is malformed: {0}")]
    Malformed(Untrusted),
    /// A kind of key that nothing here verifies with.
    #[error("keys of this kind are not supported: expected RSA of 2048 to 8192 bits, P-256, P-384, P-521 or Ed25519")]
    Unsupported,
}

/// What a signature is over.
#[derive(Clone, Copy, Debug)]
pub enum Message<'a> {
    /// The bytes.
    Bytes(&'a [u8]),
    /// Their digest: the bytes themselves are not here.
    Digest(Hash, &'a [u8]),
}

impl VerificationKey {
    /// Parses a `SubjectPublicKeyInfo` (RFC 5280 §4.1.2.7).
    ///
    /// # Errors
    ///
    /// When it is malformed or a key of another kind.
    pub fn from_spki(der: &[u8]) -> Result<Self, KeyError> {
        let _ = der;
        Err(KeyError::Unsupported)
    }

    /// Parses a PEM file: `PUBLIC KEY` (a `SubjectPublicKeyInfo`), `RSA PUBLIC KEY` (RFC 8017 §A.1.1) or `CERTIFICATE`,
    /// whose key counts and nothing else of it. Exactly one block.
    ///
    /// # Errors
    ///
    /// When there is no block, more than one, or no key in it.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        let _ = text;
        Err(KeyError::Unsupported)
    }

    /// The DER of its `SubjectPublicKeyInfo`.
    pub fn spki(&self) -> &[u8] {
        &self.0.spki
    }

    /// Its kind.
    pub fn kind(&self) -> KeyKind {
        self.0.kind
    }

    /// The SHA-256 of its `SubjectPublicKeyInfo`: its name in reports and deny-lists, and a log's identifier (RFC 6962
    /// §3.2).
    pub fn fingerprint(&self) -> &[u8; 32] {
        &self.0.fingerprint
    }

    /// Verifies a signature in any of the ways in which cosign signs with such a key: ECDSA with the curve's own hash or
    /// SHA-256, RSA PKCS #1 v1.5 with SHA-256, 384 or 512, Ed25519 pure, or as Ed25519ph of SHA-512. Returns the hash that fits.
    ///
    /// # Errors
    ///
    /// When it is not this key's signature of this message.
    pub fn verify(&self, message: Message<'_>, signature: &[u8]) -> Result<Hash, BadSignature> {
        let _ = (message, signature);
        Err(BadSignature)
    }

    /// Verifies a signature made with one hash: a log's or a certificate transparency log's, which is never tried in
    /// several ways. Ed25519 is pure.
    ///
    /// # Errors
    ///
    /// When it is not this key's signature of this message.
    pub fn verify_with(&self, hash: Hash, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let _ = (hash, message, signature);
        Err(BadSignature)
    }
}
