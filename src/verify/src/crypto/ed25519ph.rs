//! Ed25519ph (RFC 8032 §5.1), with either provider: cosign v3 signs bundles with it, and AWS-LC's Rust interface does
//! not have it.

use ed25519_dalek::ed25519::signature::digest::{FixedOutput, HashMarker, Output, OutputSizeUser, Update, consts::U64};
use ed25519_dalek::{Signature, VerifyingKey};

use super::{BadSignature, KeyKind, PublicKey};

/// Verifies a signature over a SHA-512.
pub(super) fn verify(key: PublicKey<'_>, digest: &[u8], signature: &[u8]) -> Result<(), BadSignature> {
    if key.kind != KeyKind::Ed25519 {
        return Err(BadSignature);
    }
    let key = VerifyingKey::try_from(key.bytes).map_err(|_| BadSignature)?;
    let signature = Signature::from_slice(signature).map_err(|_| BadSignature)?;
    let digest = Computed(digest.try_into().map_err(|_| BadSignature)?);
    key.verify_prehashed(digest, None, &signature).map_err(|_| BadSignature)
}

/// A hash that was computed before. The library asks for a hasher and calls nothing but its end.
struct Computed([u8; 64]);

impl Default for Computed {
    fn default() -> Self {
        Self([0; 64])
    }
}

impl HashMarker for Computed {}

impl OutputSizeUser for Computed {
    type OutputSize = U64;
}

impl Update for Computed {
    fn update(&mut self, _: &[u8]) {}
}

impl FixedOutput for Computed {
    fn finalize_into(self, out: &mut Output<Self>) {
        out.copy_from_slice(&self.0);
    }
}
