//! Logs' keys: the kinds that logs sign with, how each signs, and how checkpoints name it.

use der::pem::{self, LineEnding};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::TransparencyLog;
use crate::crypto::{Curve, Hash, KeyKind};
use crate::sigstore::key::{KeyError, VerificationKey};
use crate::untrusted::Untrusted;

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
        match key.kind() {
            KeyKind::Ecdsa(curve) => Some(Self::Ecdsa(curve)),
            // The key is what is last in its SubjectPublicKeyInfo (RFC 8410 §4).
            KeyKind::Ed25519 => key.spki().last_chunk().copied().map(Self::Ed25519),
            KeyKind::Rsa { .. } => Some(Self::Rsa),
            KeyKind::Other => None,
        }
    }

    /// The hash that it signs checkpoints with (sigstore-go pkg/root/trusted_root.go, `getSignatureHashAlgo`). Ed25519 is
    /// pure and has none of its own.
    pub(crate) const fn hash(self) -> Hash {
        match self {
            Self::Ecdsa(Curve::P256) | Self::Rsa => Hash::Sha256,
            Self::Ecdsa(Curve::P384) => Hash::Sha384,
            Self::Ecdsa(Curve::P521) | Self::Ed25519(_) => Hash::Sha512,
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
        "PKIX_ED25519" => ("Ed25519", |key| key.kind() == KeyKind::Ed25519),
        // Deprecated, and in the staging deployment's root.
        "PKCS1_RSA_PKCS1V5" => {
            let malformed = |error: pem::Error| LogKeyError::Key(KeyError::Pem(error.to_string().into()));
            let text = pem::encode_string("RSA PUBLIC KEY", LineEnding::LF, bytes).map_err(malformed)?;
            return Ok(VerificationKey::from_pem(&text)?);
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
