//! Public keys as cosign, logs and trusted roots name them, and the ways in which they sign.

use std::sync::Arc;

use const_oid::db::rfc5912;
use der::asn1::{AnyRef, BitStringRef, Null};
use der::pem;
use der::{Decode as _, Encode as _};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfo, SubjectPublicKeyInfoRef};

use crate::crypto::{self, BadSignature, Curve, Hash, KeyKind, PublicKey, SignatureAlgorithm};
use crate::limits::MAX_KEY_SIZE;
use crate::untrusted::Untrusted;
use crate::x509::certificate::{Certificate, ParseCertificateError, key_kind};
use crate::x509::pem::pem_blocks;

/// A public key. Cloning shares the bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationKey(Arc<Parsed>);

#[derive(Debug, PartialEq, Eq)]
struct Parsed {
    /// The DER of the `SubjectPublicKeyInfo`.
    spki: Box<[u8]>,
    kind: KeyKind,
    /// The bits of its `subjectPublicKey`.
    key: Box<[u8]>,
    fingerprint: [u8; 32],
}

/// Why bytes are no key that can verify a signature.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum KeyError {
    /// More than [`MAX_KEY_SIZE`].
    #[error("it has {0} bytes, more than {MAX_KEY_SIZE}")]
    TooLarge(usize),
    /// Text without a PEM block.
    #[error("it is not PEM: no line begins with -----BEGIN")]
    NoPem,
    /// More than one PEM block: which of them counts is not for us to guess.
    #[error("it has more than one PEM block: expected one key")]
    SeveralKeys,
    /// A PEM block that does not decode.
    #[error("its PEM block is malformed: {0}")]
    Pem(Untrusted),
    /// A private key, which belongs somewhere else.
    #[error("it is a private key ({0}): expected the public one")]
    PrivateKey(Untrusted),
    /// A PEM block of something else.
    #[error("it is PEM of {0}: expected PUBLIC KEY, RSA PUBLIC KEY or CERTIFICATE")]
    Label(Untrusted),
    /// The DER is malformed, or the bits are no key of their kind.
    #[error("the key is malformed: {0}")]
    Malformed(Untrusted),
    /// The certificate around the key does not parse.
    #[error(transparent)]
    Certificate(#[from] ParseCertificateError),
    /// RSA of another size than 2048 to 8192 bits.
    #[error("its key is RSA of {bits} bits: expected 2048 to 8192")]
    RsaSize {
        /// The length of the modulus.
        bits: usize,
    },
    /// A kind of key that nothing here verifies with.
    #[error("keys of this kind are not supported: expected RSA, P-256, P-384, P-521 or Ed25519")]
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
        if der.len() > MAX_KEY_SIZE {
            return Err(KeyError::TooLarge(der.len()));
        }
        let info = SubjectPublicKeyInfoRef::from_der(der).map_err(malformed)?;
        let kind = key_kind(&info);
        match kind {
            KeyKind::Rsa { bits } if !(2048..=8192).contains(&bits) => return Err(KeyError::RsaSize { bits }),
            KeyKind::Other => return Err(KeyError::Unsupported),
            _ => {}
        }
        // A kind that is known has whole bytes: it was read from them.
        let key = info.subject_public_key.as_bytes().ok_or(KeyError::Unsupported)?;
        if !crypto::is_usable(PublicKey { kind, bytes: key }) {
            return Err(KeyError::Malformed(
                format!("its bits are not a key of the kind {kind}").into(),
            ));
        }
        Ok(Self(Arc::new(Parsed {
            spki: der.into(),
            kind,
            key: key.into(),
            fingerprint: Sha256::digest(der).into(),
        })))
    }

    /// The key of a certificate.
    ///
    /// # Errors
    ///
    /// When nothing here verifies with it.
    pub fn of_certificate(certificate: &Certificate) -> Result<Self, KeyError> {
        Self::from_spki(certificate.subject_public_key_info_der())
    }

    /// Parses a PEM file: `PUBLIC KEY` (a `SubjectPublicKeyInfo`), `RSA PUBLIC KEY` (RFC 8017 §A.1.1) or `CERTIFICATE`,
    /// whose key counts and nothing else of it. Exactly one block.
    ///
    /// # Errors
    ///
    /// When there is no block, more than one, or no key in it.
    pub fn from_pem(text: &str) -> Result<Self, KeyError> {
        if text.len() > MAX_KEY_SIZE {
            return Err(KeyError::TooLarge(text.len()));
        }
        let mut blocks = pem_blocks(text.as_bytes());
        let block = blocks.next().ok_or(KeyError::NoPem)?;
        if blocks.next().is_some() {
            return Err(KeyError::SeveralKeys);
        }
        let encoding = |error: pem::Error| KeyError::Pem(error.to_string().into());
        let mut decoder = pem::Decoder::new_detect_wrap(block).map_err(encoding)?;
        let label = decoder.type_label().to_owned();
        let mut der = Vec::new();
        match label.as_str() {
            "PUBLIC KEY" => Self::from_spki(decoder.decode_to_end(&mut der).map_err(encoding)?),
            "RSA PUBLIC KEY" => Self::from_pkcs1(decoder.decode_to_end(&mut der).map_err(encoding)?),
            "CERTIFICATE" => {
                let certificate = Certificate::from_der(decoder.decode_to_end(&mut der).map_err(encoding)?)?;
                Self::of_certificate(&certificate)
            }
            private if private.ends_with("PRIVATE KEY") => Err(KeyError::PrivateKey(private.into())),
            other => Err(KeyError::Label(other.into())),
        }
    }

    /// Parses an `RSAPublicKey` (RFC 8017 §A.1.1), and wraps it in the `SubjectPublicKeyInfo` that it has everywhere
    /// else (RFC 3279 §2.3.1): so it has the same fingerprint. Trusted roots call such a key `PKCS1_RSA_…`.
    ///
    /// # Errors
    ///
    /// When it is malformed, or of another size than 2048 to 8192 bits.
    pub fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        let info: SubjectPublicKeyInfo<AnyRef<'_>, BitStringRef<'_>> = SubjectPublicKeyInfo {
            algorithm: AlgorithmIdentifierRef {
                oid: rfc5912::RSA_ENCRYPTION,
                parameters: Some(Null.into()),
            },
            subject_public_key: BitStringRef::from_bytes(der).map_err(malformed)?,
        };
        Self::from_spki(&info.to_der().map_err(malformed)?)
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

    /// Verifies a signature in any of the ways in which cosign and the key services that it uses sign with such a key:
    /// ECDSA with the curve's own hash or another of SHA-256, 384 and 512 (v2 signs with SHA-256 on every curve), RSA
    /// PKCS #1 v1.5 with SHA-256, 384 or 512, Ed25519 pure, or as Ed25519ph. Returns the hash that fits; for Ed25519,
    /// SHA-512, which is in both.
    ///
    /// Several ways are no weakness: the signature names its hash (PKCS #1), or a digest by one hash that equals one by
    /// another would have to be found (ECDSA). RSA-PSS is not among them: cosign does not sign with it.
    ///
    /// # Errors
    ///
    /// When it is not this key's signature of this message.
    pub fn verify(&self, message: Message<'_>, signature: &[u8]) -> Result<Hash, BadSignature> {
        let key = self.public_key();
        self.candidates()
            .find(|(algorithm, hash)| match message {
                Message::Bytes(bytes) => crypto::verify(*algorithm, key, bytes, signature).is_ok(),
                Message::Digest(of, digest) => {
                    *hash == of && crypto::verify_digest(*algorithm, key, digest, signature).is_ok()
                }
            })
            .map(|(_, hash)| hash)
            .ok_or(BadSignature)
    }

    /// The ways in which the key may sign, the likeliest first.
    fn candidates(&self) -> impl Iterator<Item = (SignatureAlgorithm, Hash)> {
        use Hash::{Sha256, Sha384, Sha512};
        let candidates = match self.0.kind {
            KeyKind::Rsa { .. } => {
                [Sha256, Sha384, Sha512].map(|hash| Some((SignatureAlgorithm::RsaPkcs1(hash), hash)))
            }
            KeyKind::Ecdsa(curve) => match curve {
                Curve::P256 => [Sha256, Sha384, Sha512],
                Curve::P384 => [Sha384, Sha256, Sha512],
                Curve::P521 => [Sha512, Sha256, Sha384],
            }
            .map(|hash| Some((SignatureAlgorithm::EcdsaDer(hash), hash))),
            KeyKind::Ed25519 => [
                Some((SignatureAlgorithm::Ed25519, Sha512)),
                Some((SignatureAlgorithm::Ed25519ph, Sha512)),
                None,
            ],
            KeyKind::Other => [None; 3],
        };
        candidates.into_iter().flatten()
    }

    /// Verifies a signature made with one hash: a log's or a certificate transparency log's, which is never tried in
    /// several ways. RSA is PKCS #1 v1.5; Ed25519 is pure, whatever the hash.
    ///
    /// # Errors
    ///
    /// When it is not this key's signature of this message.
    pub fn verify_with(&self, hash: Hash, message: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
        let algorithm = match self.0.kind {
            KeyKind::Rsa { .. } => SignatureAlgorithm::RsaPkcs1(hash),
            KeyKind::Ecdsa(_) => SignatureAlgorithm::EcdsaDer(hash),
            KeyKind::Ed25519 => SignatureAlgorithm::Ed25519,
            KeyKind::Other => return Err(BadSignature),
        };
        crypto::verify(algorithm, self.public_key(), message, signature)
    }

    fn public_key(&self) -> PublicKey<'_> {
        PublicKey {
            kind: self.0.kind,
            bytes: &self.0.key,
        }
    }
}

fn malformed(error: der::Error) -> KeyError {
    KeyError::Malformed(error.to_string().into())
}

#[cfg(test)]
mod tests;
