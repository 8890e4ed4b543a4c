//! Logs' keys: the kinds that logs sign with, how each signs, and how checkpoints name it.

use const_oid::ObjectIdentifier;
use der::{Decode as _, Encode as _};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use x509_cert::spki::{AlgorithmIdentifierOwned, SubjectPublicKeyInfoOwned, SubjectPublicKeyInfoRef};

use super::TransparencyLog;
use crate::crypto::{Curve, KeyKind};
use crate::sigstore::key::{KeyError, VerificationKey};
use crate::untrusted::Untrusted;

/// `id-Ed25519` (RFC 8410 §3).
const ID_ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// The signature type of RSA, which C2SP does not number, and its name (sigstore protobuf-specs: sigstore_trustroot.proto,
/// `checkpoint_key_id`).
const RSA_SIGNATURE_TYPE: &[u8] = b"\xffPKIX-RSA-PKCS#1v1.5";

/// The signature type of Ed25519 (C2SP signed-note.md#signature-types).
const ED25519_SIGNATURE_TYPE: &[u8] = b"\x01";

/// Why bytes are no log's key.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogKeyError {
    /// Details that no log here signs with.
    #[error("keys of the details {0} are not supported")]
    Details(Untrusted),
    /// The bytes are no key.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The key is of another kind than its details say.
    #[error("it is not of the kind that its details say: {0}")]
    OtherKind(&'static str),
}

/// The kinds of keys that logs sign with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum LogKeyKind {
    Ecdsa(Curve),
    Ed25519([u8; 32]),
    Rsa,
}

impl LogKeyKind {
    /// None for keys that no log signs with.
    pub(crate) fn of(key: &VerificationKey) -> Option<Self> {
        let info = SubjectPublicKeyInfoRef::from_der(key.spki()).ok()?;
        if info.algorithm.oid == ID_ED25519 {
            let bytes = info.subject_public_key.as_bytes()?;
            return bytes.try_into().ok().map(Self::Ed25519);
        }
        match key.kind() {
            KeyKind::Ecdsa(curve) => Some(Self::Ecdsa(curve)),
            KeyKind::Rsa { .. } => Some(Self::Rsa),
            _ => None,
        }
    }
}

impl TransparencyLog {
    /// Whether an identifier is the key's name in the log's checkpoints: the whole hash, or the four bytes that are used of it.
    pub(super) fn has_checkpoint_key_id(&self, id: &[u8]) -> bool {
        let name = self.host().unwrap_or_default();
        LogKeyKind::of(&self.key).is_some_and(|kind| {
            let hash = self.note_key_hash(kind, name);
            id == hash || hash.first_chunk::<4>().is_some_and(|first| id == first)
        })
    }

    /// The hash of which the first four bytes are the key's name in checkpoints: for ECDSA that of the key (rekor
    /// pkg/util/signed_note.go; C2SP signed-note.md#signature-types), for the others that of the log's name and the key.
    pub(crate) fn note_key_hash(&self, kind: LogKeyKind, name: &str) -> [u8; 32] {
        let named = |signature_type: &[u8], key: &[u8]| {
            let hash = Sha256::new().chain_update(name).chain_update("\n");
            hash.chain_update(signature_type).chain_update(key).finalize().into()
        };
        match kind {
            LogKeyKind::Ecdsa(_) => *self.key.fingerprint(),
            LogKeyKind::Ed25519(key) => named(ED25519_SIGNATURE_TYPE, &key),
            LogKeyKind::Rsa => named(RSA_SIGNATURE_TYPE, self.key.spki()),
        }
    }
}

/// Parses a key by its details (sigstore protobuf-specs: sigstore_common.proto, `PublicKeyDetails`), of those that
/// sigstore-go takes for a log (pkg/root/trusted_root.go). The curve and the size have to be the ones that they say.
pub(super) fn parse(details: &str, bytes: &[u8]) -> Result<VerificationKey, LogKeyError> {
    let (name, fits): (_, fn(&VerificationKey) -> bool) = match details {
        "PKIX_ECDSA_P256_SHA_256" => ("P-256", |key| key.kind() == KeyKind::Ecdsa(Curve::P256)),
        "PKIX_ECDSA_P384_SHA_384" => ("P-384", |key| key.kind() == KeyKind::Ecdsa(Curve::P384)),
        "PKIX_ECDSA_P521_SHA_512" => ("P-521", |key| key.kind() == KeyKind::Ecdsa(Curve::P521)),
        "PKIX_RSA_PKCS1V15_2048_SHA256" => ("RSA-2048", |key| key.kind() == KeyKind::Rsa { bits: 2048 }),
        "PKIX_RSA_PKCS1V15_3072_SHA256" => ("RSA-3072", |key| key.kind() == KeyKind::Rsa { bits: 3072 }),
        "PKIX_RSA_PKCS1V15_4096_SHA256" => ("RSA-4096", |key| key.kind() == KeyKind::Rsa { bits: 4096 }),
        "PKIX_ED25519" => ("Ed25519", |key| {
            matches!(LogKeyKind::of(key), Some(LogKeyKind::Ed25519(_)))
        }),
        // Deprecated, and in the staging deployment's root.
        "PKCS1_RSA_PKCS1V5" => {
            let fits = |key: &VerificationKey| matches!(key.kind(), KeyKind::Rsa { .. });
            return check(VerificationKey::from_spki(&rsa_info(bytes)?)?, "RSA", fits);
        }
        other => return Err(LogKeyError::Details(other.into())),
    };
    check(VerificationKey::from_spki(bytes)?, name, fits)
}

fn check(
    key: VerificationKey,
    name: &'static str,
    fits: fn(&VerificationKey) -> bool,
) -> Result<VerificationKey, LogKeyError> {
    match fits(&key) {
        true => Ok(key),
        false => Err(LogKeyError::OtherKind(name)),
    }
}

/// The `SubjectPublicKeyInfo` around an `RSAPublicKey` (RFC 3279 §2.3.1).
fn rsa_info(key: &[u8]) -> Result<Vec<u8>, LogKeyError> {
    let malformed = |error: der::Error| LogKeyError::Key(KeyError::Malformed(error.to_string().into()));
    let algorithm = AlgorithmIdentifierOwned {
        oid: const_oid::db::rfc5912::RSA_ENCRYPTION,
        parameters: Some(der::Any::null()),
    };
    let subject_public_key = der::asn1::BitString::from_bytes(key).map_err(malformed)?;
    let info = SubjectPublicKeyInfoOwned {
        algorithm,
        subject_public_key,
    };
    info.to_der().map_err(malformed)
}
