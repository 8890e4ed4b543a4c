//! Evidence: everything that a judgement of an image needs, as bytes that prove themselves.
//!
//! A [`Signature`] can only be made from bytes that hang together by digest: the manifest's own bytes, and the blob of one
//! of its layers. So what comes from a registry, a file or the store is checked in one place.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::descriptor::{Annotations, Descriptor, MediaType};
use crate::digest::Digest;
use crate::limits::{MAX_ATTESTATION_SIZE, MAX_ENVELOPE_SIZE, MAX_SIGNATURE_LAYERS, MAX_SIGNATURES_MANIFEST_SIZE};
use crate::manifest::{Layer, Manifest, ParseManifestError};
use crate::untrusted::Untrusted;

/// The artifact type of a Notary Project signature (notation spec: signature-specification.md#storage).
pub const NOTATION_SIGNATURE: &str = "application/vnd.cncf.notary.signature";

/// How the media type of a sigstore bundle begins, whatever its version (cosign specs/BUNDLE_SPEC.md).
pub const SIGSTORE_BUNDLE: &str = "application/vnd.dev.sigstore.bundle";

/// The media type of a cosign v2 signature's payload (cosign specs/SIGNATURE_SPEC.md).
pub const SIMPLE_SIGNING: &str = "application/vnd.dev.cosign.simplesigning.v1+json";

/// The media type of a cosign v2 attestation's envelope.
pub const DSSE_ENVELOPE: &str = "application/vnd.dsse.envelope.v1+json";

/// The formats in which signatures come.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SignatureFormat {
    /// A Notary Project envelope.
    Notation,
    /// A sigstore bundle: a signature or an attestation.
    Bundle,
    /// A cosign v2 signature: a payload, and its signature among the layer's annotations.
    SimpleSigning,
    /// A cosign v2 attestation: a DSSE envelope.
    Attestation,
}

impl SignatureFormat {
    /// The format of a layer's blob. What the manifest says of itself counts for Notary Project signatures alone: their
    /// envelopes have media types of other things, too.
    fn of_layer(media_type: &MediaType) -> Option<Self> {
        match media_type.as_str() {
            SIMPLE_SIGNING => Some(Self::SimpleSigning),
            DSSE_ENVELOPE => Some(Self::Attestation),
            bundle if bundle.starts_with(SIGSTORE_BUNDLE) => Some(Self::Bundle),
            _ => None,
        }
    }

    /// Its name in reports.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Notation => "notation",
            Self::Bundle => "bundle",
            Self::SimpleSigning => "simple-signing",
            Self::Attestation => "attestation",
        }
    }

    /// The most bytes that its blob may have.
    pub const fn max_size(self) -> usize {
        match self {
            Self::Notation | Self::SimpleSigning => MAX_ENVELOPE_SIZE,
            Self::Bundle | Self::Attestation => MAX_ATTESTATION_SIZE,
        }
    }
}

/// A manifest that carries signatures, opened and parsed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureManifest {
    digest: Digest,
    media_type: MediaType,
    json: Arc<[u8]>,
    subject: Option<Descriptor>,
    layers: Vec<Arc<SignatureLayer>>,
}

/// A layer that is a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignatureLayer {
    /// The blob that is to be fetched.
    pub descriptor: Descriptor,
    /// What it is.
    pub format: SignatureFormat,
    /// What stands beside it.
    pub annotations: Annotations,
}

/// The name of a signature: its manifest, and which of the manifest's signatures it is, from 0.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SignatureId {
    /// The digest of the manifest.
    pub manifest: Digest,
    /// The position among the manifest's signatures.
    pub position: usize,
}

impl fmt::Display for SignatureId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.position {
            0 => write!(f, "{}", self.manifest),
            position => write!(f, "{} (layer {})", self.manifest, position + 1),
        }
    }
}

/// Why a manifest carries no signature that can be judged. One of these never spoils the others.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum NotASignature {
    /// The bytes are not the ones that the digest addresses.
    #[error("the manifest's bytes are not those of {0}")]
    WrongBytes(Digest),
    /// Larger than the limit.
    #[error("the manifest has {0} bytes, more than {MAX_SIGNATURES_MANIFEST_SIZE}")]
    ManifestTooLarge(u64),
    /// Not a manifest.
    #[error(transparent)]
    Manifest(#[from] ParseManifestError),
    /// Another kind of artifact.
    #[error("it is {0}, not a signature")]
    OtherArtifact(Untrusted),
    /// A Notary Project signature or a bundle without a subject.
    #[error("it has no subject")]
    NoSubject,
    /// A Notary Project signature or a bundle that does not have exactly one layer.
    #[error("it has {0} layers: a signature has exactly one")]
    LayerCount(usize),
    /// More signatures in one manifest than the limit.
    #[error("it has {0} signatures, more than {MAX_SIGNATURE_LAYERS}")]
    TooManyLayers(usize),
    /// The blob is larger than the limit.
    #[error("its envelope has {size} bytes, more than {limit}")]
    EnvelopeTooLarge {
        /// How many it says it has.
        size: u64,
        /// How many it may have.
        limit: usize,
    },
    /// The blob's bytes are not the ones that the manifest describes.
    #[error("the envelope's bytes are not those of {0}")]
    WrongEnvelope(Digest),
    /// The manifest has no such layer.
    #[error("the manifest has no signature {0}")]
    NoSuchLayer(usize),
}

impl SignatureManifest {
    /// Opens a manifest: proves its bytes, parses them, and reads which signatures it carries.
    ///
    /// What a listing or a tag claimed about it is not asked. A Notary Project signature is told by `artifactType`, or,
    /// without one, the config's media type (notation spec: signature-specification.md#storage); everything else by the
    /// media types of its layers, because registries and cosign itself write several artifact types for one thing.
    ///
    /// # Errors
    ///
    /// When it carries no signature.
    pub fn open(descriptor: &Descriptor, json: Arc<[u8]>) -> Result<Self, NotASignature> {
        if json.len() > MAX_SIGNATURES_MANIFEST_SIZE {
            return Err(NotASignature::ManifestTooLarge(json.len() as u64));
        }
        if !descriptor.describes(&json) {
            return Err(NotASignature::WrongBytes(descriptor.digest.clone()));
        }
        let manifest = Manifest::parse(&descriptor.media_type, &json)?;
        let kind = manifest.artifact_type.or(manifest.config);
        let count = manifest.layers.len();
        let layers: Vec<_> = if kind.as_ref().is_some_and(|kind| *kind == NOTATION_SIGNATURE) {
            let [layer] = <[Layer; 1]>::try_from(manifest.layers).map_err(|_| NotASignature::LayerCount(count))?;
            vec![SignatureLayer::shared(layer, SignatureFormat::Notation)]
        } else {
            let known = |layer: Layer| {
                let format = SignatureFormat::of_layer(&layer.descriptor.media_type)?;
                Some(SignatureLayer::shared(layer, format))
            };
            let mut layers: Vec<_> = manifest.layers.into_iter().filter_map(known).collect();
            if count != 1 && !layers.is_empty() {
                // A bundle is alone in its manifest (cosign specs/BUNDLE_SPEC.md). Beside others it is junk, and hides none
                // of them.
                layers.retain(|layer| layer.format != SignatureFormat::Bundle);
                if layers.is_empty() {
                    return Err(NotASignature::LayerCount(count));
                }
            }
            layers
        };
        if layers.is_empty() {
            let kind = kind.as_ref().map_or("", MediaType::as_str);
            return Err(NotASignature::OtherArtifact(kind.into()));
        }
        if layers.len() > MAX_SIGNATURE_LAYERS {
            return Err(NotASignature::TooManyLayers(layers.len()));
        }
        for layer in &layers {
            // What hangs on a tag needs no subject, and of its many layers each is refused for itself.
            if matches!(layer.format, SignatureFormat::Notation | SignatureFormat::Bundle) {
                if manifest.subject.is_none() {
                    return Err(NotASignature::NoSubject);
                }
                let limit = layer.format.max_size();
                if layer.descriptor.size > limit as u64 {
                    let size = layer.descriptor.size;
                    return Err(NotASignature::EnvelopeTooLarge { size, limit });
                }
            }
        }
        Ok(Self {
            digest: descriptor.digest.clone(),
            media_type: descriptor.media_type.clone(),
            json,
            subject: manifest.subject,
            layers,
        })
    }

    /// The digest of the manifest.
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

    /// What the manifest says it signs. A claim: the signed payload counts. None for what hangs on a tag.
    pub fn subject(&self) -> Option<&Descriptor> {
        self.subject.as_ref()
    }

    /// The signatures it carries, at least one; the newest comes last, because cosign appends.
    pub fn layers(&self) -> &[Arc<SignatureLayer>] {
        &self.layers
    }
}

impl SignatureLayer {
    fn shared(layer: Layer, format: SignatureFormat) -> Arc<Self> {
        Arc::new(Self {
            descriptor: layer.descriptor,
            format,
            annotations: layer.annotations,
        })
    }
}

/// A signature: a manifest and exactly the blob that one of its layers describes. Nothing in it is verified yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    manifest: Arc<SignatureManifest>,
    position: usize,
    layer: Arc<SignatureLayer>,
    envelope: Arc<[u8]>,
}

impl Signature {
    /// Joins a manifest and the blob of its layer at `position`.
    ///
    /// # Errors
    ///
    /// When there is no such layer, the blob is larger than its format may be, or its bytes are not those that the
    /// manifest describes.
    pub fn new(manifest: Arc<SignatureManifest>, position: usize, envelope: Arc<[u8]>) -> Result<Self, NotASignature> {
        let layer = manifest.layers.get(position).cloned();
        let layer = layer.ok_or(NotASignature::NoSuchLayer(position))?;
        let limit = layer.format.max_size();
        if envelope.len() > limit {
            let size = envelope.len() as u64;
            return Err(NotASignature::EnvelopeTooLarge { size, limit });
        }
        if !layer.descriptor.describes(&envelope) {
            return Err(NotASignature::WrongEnvelope(layer.descriptor.digest.clone()));
        }
        Ok(Self {
            manifest,
            position,
            layer,
            envelope,
        })
    }

    /// Its name.
    pub fn id(&self) -> SignatureId {
        SignatureId {
            manifest: self.manifest.digest.clone(),
            position: self.position,
        }
    }

    /// The manifest.
    pub fn manifest(&self) -> &SignatureManifest {
        &self.manifest
    }

    /// Which of the manifest's signatures it is, from 0.
    pub fn position(&self) -> usize {
        self.position
    }

    /// Its layer.
    pub fn layer(&self) -> &SignatureLayer {
        &self.layer
    }

    /// The blob's bytes: an envelope, a bundle or a payload.
    pub fn envelope(&self) -> &Arc<[u8]> {
        &self.envelope
    }

    /// The blob's bytes, where they are a sigstore bundle.
    pub fn bundle(&self) -> Option<&[u8]> {
        (self.layer.format == SignatureFormat::Bundle).then_some(&*self.envelope)
    }

    /// The bytes it holds.
    pub fn size(&self) -> usize {
        self.manifest.json.len() + self.envelope.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

    /// Opens a manifest with a layer for each media type.
    fn open(artifact_type: &str, layers: &[&str], subject: bool) -> Result<SignatureManifest, NotASignature> {
        let digest = Digest::sha256(b"{}");
        let descriptor = |media_type: &str| format!(r#"{{"mediaType":"{media_type}","digest":"{digest}","size":2}}"#);
        let layers: Vec<_> = layers.iter().map(|media_type| descriptor(media_type)).collect();
        let subject = match subject {
            true => format!(r#","subject":{}"#, descriptor(MediaType::OCI_MANIFEST)),
            false => String::new(),
        };
        let json = format!(
            r#"{{"schemaVersion":2,"artifactType":"{artifact_type}","config":{},"layers":[{}]{subject}}}"#,
            descriptor("application/vnd.oci.empty.v1+json"),
            layers.join(",")
        );
        let descriptor = Descriptor {
            media_type: MediaType::parse(MediaType::OCI_MANIFEST).unwrap(),
            digest: Digest::sha256(json.as_bytes()),
            size: json.len() as u64,
        };
        SignatureManifest::open(&descriptor, json.into_bytes().into())
    }

    #[test]
    fn a_signature_is_told_by_its_layers_and_not_by_the_artifact_type() {
        use SignatureFormat::{Attestation, Bundle, Notation, SimpleSigning};
        let jws = "application/jose+json";
        let gzip = "application/vnd.oci.image.layer.v1.tar+gzip";
        for (artifact_type, layers, subject, expected) in [
            (NOTATION_SIGNATURE, vec![jws], true, Ok(vec![Notation])),
            (BUNDLE, vec![BUNDLE], true, Ok(vec![Bundle])),
            (
                "application/vnd.oci.empty.v1+json",
                vec![BUNDLE],
                true,
                Ok(vec![Bundle]),
            ),
            ("", vec![SIMPLE_SIGNING], false, Ok(vec![SimpleSigning])),
            (
                "application/spdx+json",
                vec![SIMPLE_SIGNING, gzip, DSSE_ENVELOPE],
                false,
                Ok(vec![SimpleSigning, Attestation]),
            ),
            // Junk beside signatures hides none of them.
            ("", vec![BUNDLE, SIMPLE_SIGNING], false, Ok(vec![SimpleSigning])),
            ("", vec![BUNDLE, BUNDLE], true, Err(NotASignature::LayerCount(2))),
            ("", vec![gzip, BUNDLE], true, Err(NotASignature::LayerCount(2))),
            (
                NOTATION_SIGNATURE,
                vec![jws, jws],
                true,
                Err(NotASignature::LayerCount(2)),
            ),
            (NOTATION_SIGNATURE, vec![jws], false, Err(NotASignature::NoSubject)),
            ("", vec![BUNDLE], false, Err(NotASignature::NoSubject)),
            (
                BUNDLE,
                vec![gzip],
                true,
                Err(NotASignature::OtherArtifact(BUNDLE.into())),
            ),
            (BUNDLE, vec![], true, Err(NotASignature::OtherArtifact(BUNDLE.into()))),
        ] {
            let opened = open(artifact_type, &layers, subject);
            let formats = opened.map(|manifest| manifest.layers().iter().map(|layer| layer.format).collect::<Vec<_>>());
            assert_eq!(formats, expected, "{artifact_type} {layers:?}");
        }
    }

    #[test]
    fn as_many_signatures_as_cosign_reads_are_read_and_no_more() {
        let layers = vec![SIMPLE_SIGNING; MAX_SIGNATURE_LAYERS + 1];
        let opened = open("", layers.get(1..).unwrap(), false).unwrap();
        assert_eq!(opened.layers().len(), MAX_SIGNATURE_LAYERS);
        assert_eq!(
            open("", &layers, false),
            Err(NotASignature::TooManyLayers(MAX_SIGNATURE_LAYERS + 1))
        );
    }

    #[test]
    fn a_blob_is_bound_to_its_position() {
        let manifest = Arc::new(open("", &[SIMPLE_SIGNING, DSSE_ENVELOPE], false).unwrap());
        let blob = |bytes: &[u8]| -> Arc<[u8]> { bytes.into() };
        let second = Signature::new(Arc::clone(&manifest), 1, blob(b"{}")).unwrap();
        assert_eq!(
            (second.position(), second.layer().format),
            (1, SignatureFormat::Attestation)
        );
        assert_ne!(
            second.id(),
            Signature::new(Arc::clone(&manifest), 0, blob(b"{}")).unwrap().id()
        );
        assert_eq!(
            Signature::new(Arc::clone(&manifest), 1, blob(b"[]")),
            Err(NotASignature::WrongEnvelope(Digest::sha256(b"{}")))
        );
        assert_eq!(
            Signature::new(Arc::clone(&manifest), 2, blob(b"{}")),
            Err(NotASignature::NoSuchLayer(2))
        );
    }
}
