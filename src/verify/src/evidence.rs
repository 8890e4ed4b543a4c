//! Evidence: everything that a judgement of an image needs, as bytes that prove themselves.
//!
//! A [`Signature`] can only be made from bytes that hang together by digest: the manifest's own bytes, and the envelope
//! that the manifest describes. So what comes from a registry, a file or the store is checked in one place.

use std::sync::Arc;

use thiserror::Error;

use crate::descriptor::{Descriptor, MediaType};
use crate::digest::Digest;
use crate::limits::{MAX_ENVELOPE_SIZE, MAX_SIGNATURE_MANIFEST_SIZE};
use crate::manifest::{Manifest, ParseManifestError};
use crate::untrusted::Untrusted;

/// The artifact type of a Notary Project signature (notation spec: signature-specification.md#storage).
pub const NOTATION_SIGNATURE: &str = "application/vnd.cncf.notary.signature";

/// A manifest that says it is a Notary Project signature, opened and parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureManifest {
    digest: Digest,
    media_type: MediaType,
    json: Arc<[u8]>,
    subject: Descriptor,
    envelope: Descriptor,
}

/// Why a referrer is no signature that can be judged. One of these never spoils the others.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotASignature {
    /// The bytes are not the ones that the digest addresses.
    #[error("the manifest's bytes are not those of {0}")]
    WrongBytes(Digest),
    /// Larger than the limit.
    #[error("the manifest has {0} bytes, more than {MAX_SIGNATURE_MANIFEST_SIZE}")]
    ManifestTooLarge(u64),
    /// Not a manifest.
    #[error(transparent)]
    Manifest(#[from] ParseManifestError),
    /// Another kind of artifact.
    #[error("it is {0}, not a Notary Project signature")]
    OtherArtifact(Untrusted),
    /// No subject.
    #[error("it has no subject")]
    NoSubject,
    /// Not exactly one layer.
    #[error("it has {0} layers: a signature has exactly one")]
    LayerCount(usize),
    /// The envelope is larger than the limit.
    #[error("the envelope has {0} bytes, more than {MAX_ENVELOPE_SIZE}")]
    EnvelopeTooLarge(u64),
    /// The envelope's bytes are not the ones that the manifest describes.
    #[error("the envelope's bytes are not those of {0}")]
    WrongEnvelope(Digest),
}

impl SignatureManifest {
    /// Opens a referrer: proves its bytes, parses them, and reads which envelope it carries.
    ///
    /// Both shapes are read (notation spec: signature-specification.md#storage): `artifactType`, or, without one, the
    /// config's media type. What a listing claimed about the referrer is not asked.
    ///
    /// # Errors
    ///
    /// When it is not a signature.
    pub fn open(descriptor: &Descriptor, json: Arc<[u8]>) -> Result<Self, NotASignature> {
        if json.len() > MAX_SIGNATURE_MANIFEST_SIZE {
            return Err(NotASignature::ManifestTooLarge(json.len() as u64));
        }
        if !descriptor.describes(&json) {
            return Err(NotASignature::WrongBytes(descriptor.digest.clone()));
        }
        let manifest = Manifest::parse(&descriptor.media_type, &json)?;
        let kind = manifest.artifact_type.or(manifest.config);
        if kind.as_ref().is_none_or(|kind| *kind != NOTATION_SIGNATURE) {
            return Err(NotASignature::OtherArtifact(
                kind.as_ref().map_or("", MediaType::as_str).into(),
            ));
        }
        let subject = manifest.subject.ok_or(NotASignature::NoSubject)?;
        let count = manifest.layers.len();
        let [envelope] = <[Descriptor; 1]>::try_from(manifest.layers).map_err(|_| NotASignature::LayerCount(count))?;
        if envelope.size > MAX_ENVELOPE_SIZE as u64 {
            return Err(NotASignature::EnvelopeTooLarge(envelope.size));
        }
        Ok(Self {
            digest: descriptor.digest.clone(),
            media_type: descriptor.media_type.clone(),
            json,
            subject,
            envelope,
        })
    }

    /// The digest of the manifest: the signature's name.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }

    /// The manifest's media type.
    pub fn media_type(&self) -> &MediaType {
        &self.media_type
    }

    /// The manifest's bytes.
    pub fn json(&self) -> &Arc<[u8]> {
        &self.json
    }

    /// What the manifest says it signs. A claim: the envelope's payload is what is signed.
    pub fn subject(&self) -> &Descriptor {
        &self.subject
    }

    /// The envelope that is to be fetched.
    pub fn envelope(&self) -> &Descriptor {
        &self.envelope
    }
}

/// A signature: a manifest and exactly the envelope that it describes. Nothing in it is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    manifest: SignatureManifest,
    envelope: Arc<[u8]>,
}

impl Signature {
    /// Joins a manifest and its envelope.
    ///
    /// # Errors
    ///
    /// When the bytes are not those that the manifest describes.
    pub fn new(manifest: SignatureManifest, envelope: Arc<[u8]>) -> Result<Self, NotASignature> {
        if !manifest.envelope.describes(&envelope) {
            return Err(NotASignature::WrongEnvelope(manifest.envelope.digest.clone()));
        }
        Ok(Self { manifest, envelope })
    }

    /// The manifest.
    pub fn manifest(&self) -> &SignatureManifest {
        &self.manifest
    }

    /// The envelope's bytes.
    pub fn envelope(&self) -> &Arc<[u8]> {
        &self.envelope
    }

    /// The bytes it holds.
    pub fn size(&self) -> usize {
        self.manifest.json.len() + self.envelope.len()
    }
}
