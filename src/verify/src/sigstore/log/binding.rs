//! Whether an entry is about a signature: the signature itself, who made it, and what is signed, each compared.
//!
//! An entry that a log vouches for proves nothing about a signature that it is not of (CVE-2022-23649, CVE-2022-36056,
//! CVE-2026-22703, CVE-2024-51746). What cannot be compared is refused, never skipped.

use super::body::{Body, Generation, LoggedDigest, Subject, Verifier};
use super::{BindingError, Logged, LoggedSigner};
use crate::sigstore::dsse::pre_authentication_encoding;
use crate::sigstore::material::Content;

/// Compares a body with the signature that it came with.
pub(super) fn check(body: &Body, logged: &Logged<'_>) -> Result<(), BindingError> {
    let is_signature = |signature: &[u8]| signature == logged.content.signature();
    if !body.signature.as_deref().is_none_or(is_signature) {
        return Err(BindingError::Signature);
    }
    check_signer(&body.verifier, logged.signer)?;
    match (&body.subject, logged.content) {
        (Subject::Signed(digest), Content::SimpleSigning { payload, .. }) => of(digest, payload, BindingError::Content),
        (Subject::Signed(digest), Content::Message { .. }) => check_message(digest, logged),
        (
            Subject::Signed(digest),
            Content::Dsse {
                payload_type, payload, ..
            },
        ) => match body.generation {
            // The digest is of what is signed (rekor-v2-spec §6.1.4).
            Generation::V2 => of(
                digest,
                &pre_authentication_encoding(payload_type, payload),
                BindingError::Content,
            ),
            // Rekor v1 logs envelopes as such (sigstore-go pkg/verify/tlog.go).
            Generation::V1 => Err(BindingError::Kind),
        },
        (Subject::Envelope { .. }, Content::Dsse { .. }) => check_envelope(body, logged.content),
        (Subject::Envelope { .. }, _) => Err(BindingError::Kind),
    }
}

/// A certificate is compared with a certificate and a key with a key, by their DER (sigstore-go
/// pkg/bundle/verification_content.go, `CompareKey`).
fn check_signer(verifier: &Verifier, signer: LoggedSigner<'_>) -> Result<(), BindingError> {
    let is_same = match (verifier, signer) {
        (Verifier::Certificate(logged), LoggedSigner::Certificate(der)) => **logged == *der,
        (Verifier::Key(logged), LoggedSigner::Key(der)) => **logged == *der,
        _ => false,
    };
    match is_same {
        true => Ok(()),
        false => Err(BindingError::Signer),
    }
}

/// Of a file only digests are known: one has to be by the hash of the entry's.
fn check_message(digest: &LoggedDigest, logged: &Logged<'_>) -> Result<(), BindingError> {
    let mut known = logged
        .message
        .iter()
        .filter(|(hash, _)| *hash == digest.hash)
        .peekable();
    if known.peek().is_none() {
        return Err(BindingError::NoDigest(digest.hash));
    }
    match known.all(|(_, bytes)| digest.is(bytes)) {
        true => Ok(()),
        false => Err(BindingError::Content),
    }
}

/// The envelope's own bytes are here only where it came as a blob. Without them, what the hash of the whole stands for is
/// compared in parts: the payload, and the signature over its type and itself. That these are the ones in the blob is for
/// whoever parsed it: [`Content::Dsse`] has both.
fn check_envelope(body: &Body, content: &Content) -> Result<(), BindingError> {
    let (
        Subject::Envelope {
            envelope,
            payload,
            payload_type,
        },
        Content::Dsse {
            payload_type: signed_type,
            payload: signed,
            envelope: blob,
            ..
        },
    ) = (&body.subject, content)
    else {
        return Err(BindingError::Kind);
    };
    if payload_type.as_ref().is_some_and(|logged| logged != signed_type) {
        return Err(BindingError::PayloadType);
    }
    if let Some(payload) = payload {
        of(payload, signed, BindingError::Content)?;
    }
    if let (Some(envelope), Some(blob)) = (envelope, blob) {
        return of(envelope, blob, BindingError::Envelope);
    }
    match payload.is_some() && body.signature.is_some() {
        true => Ok(()),
        false => Err(BindingError::Uncomparable),
    }
}

fn of(digest: &LoggedDigest, content: &[u8], otherwise: BindingError) -> Result<(), BindingError> {
    match digest.is_of(content) {
        true => Ok(()),
        false => Err(otherwise),
    }
}
