//! Manifests and indexes, parsed once (OCI image specification: manifest.md, image-index.md).
//!
//! One digest must have one meaning (CVE-2021-41190): a document that says another media type than the one it was
//! served or described by, or that is manifest and index at once, is refused.

use serde::Deserialize;
use serde::de::IgnoredAny;
use thiserror::Error;

use crate::descriptor::{Annotations, Descriptor, MediaType, ParseDescriptorError};
use crate::limits::{MAX_ATTRIBUTES, MAX_REFERRERS};
use crate::untrusted::Untrusted;

/// Why JSON is not a manifest or index.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseManifestError {
    /// The JSON is malformed or lacks a field.
    #[error("manifest is malformed: {0}")]
    Json(Untrusted),
    /// The document says another media type than the one it came under.
    #[error("manifest says it is {says}, but came as {came_as}")]
    MediaTypeMismatch {
        /// The document's own `mediaType`.
        says: Untrusted,
        /// The media type of the descriptor or response.
        came_as: Untrusted,
    },
    /// A document that is manifest and index at once.
    #[error("document has the fields of a manifest and of an index: ambiguous")]
    Ambiguous,
    /// The media type is none that is read here.
    #[error("{0} is not the media type of a manifest or index")]
    UnknownMediaType(Untrusted),
    /// `schemaVersion` is not 2.
    #[error("schemaVersion is {0}: expected 2")]
    SchemaVersion(u64),
    /// A descriptor in it is malformed.
    #[error(transparent)]
    Descriptor(#[from] ParseDescriptorError),
    /// More entries than the limit.
    #[error("index has more than {MAX_REFERRERS} entries")]
    TooManyEntries,
    /// More annotations than the limit.
    #[error("manifest has more than {MAX_ATTRIBUTES} annotations")]
    TooManyAnnotations,
}

/// An image or artifact manifest: what a referrer is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// `artifactType`, where given.
    pub artifact_type: Option<MediaType>,
    /// The config's media type; the legacy artifact manifest has none.
    pub config: Option<MediaType>,
    /// The layers, or the legacy artifact manifest's blobs.
    pub layers: Vec<Layer>,
    /// What the artifact refers to.
    pub subject: Option<Descriptor>,
    /// The annotations.
    pub annotations: Annotations,
}

/// A layer of a manifest.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Layer {
    /// The blob.
    pub descriptor: Descriptor,
    /// What stands beside it.
    pub annotations: Annotations,
}

/// An index: an image's platforms, or a referrers listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Index {
    /// The entries, in order.
    pub entries: Vec<IndexEntry>,
}

/// One entry of an index. What it says beside the descriptor is a claim: it may order work, never decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexEntry {
    /// The manifest.
    pub descriptor: Descriptor,
    /// The `artifactType` that the index claims.
    pub artifact_type: Option<Box<str>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Wire {
    // The legacy artifact manifest has no schemaVersion.
    schema_version: Option<u64>,
    media_type: Option<String>,
    artifact_type: Option<String>,
    config: Option<oci_spec::image::Descriptor>,
    layers: Option<Vec<oci_spec::image::Descriptor>>,
    blobs: Option<Vec<oci_spec::image::Descriptor>>,
    subject: Option<oci_spec::image::Descriptor>,
    manifests: Option<IgnoredAny>,
    // Docker's schema 1; its presence beside schema 2 is an attack.
    fs_layers: Option<IgnoredAny>,
    annotations: Option<Annotations>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireIndex {
    schema_version: u64,
    media_type: Option<String>,
    manifests: Vec<WireEntry>,
    config: Option<IgnoredAny>,
    layers: Option<IgnoredAny>,
    fs_layers: Option<IgnoredAny>,
}

// Not oci-spec's descriptor: it would parse platforms and annotations, and one strange platform would spoil the listing.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEntry {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
}

impl Manifest {
    /// Parses a manifest that came as `media_type`, by its descriptor or its response's content type.
    ///
    /// Keys are compared exactly and unknown ones ignored, unlike in Go's decoder. That is safe for a signature's manifest:
    /// containerd never reads it, and what it says decides nothing. The envelope is bound to it by digest, and what is
    /// signed is the digest in the envelope's payload.
    ///
    /// # Errors
    ///
    /// When it is malformed, ambiguous, or not what it came as.
    pub fn parse(media_type: &MediaType, json: &[u8]) -> Result<Self, ParseManifestError> {
        let legacy = *media_type == MediaType::OCI_ARTIFACT;
        if !legacy && *media_type != MediaType::OCI_MANIFEST && *media_type != MediaType::DOCKER_MANIFEST {
            return Err(ParseManifestError::UnknownMediaType(media_type.as_str().into()));
        }
        let wire: Wire = from_json(json)?;
        agree(wire.media_type.as_deref(), media_type)?;
        if wire.manifests.is_some() || wire.fs_layers.is_some() || (wire.layers.is_some() && wire.blobs.is_some()) {
            return Err(ParseManifestError::Ambiguous);
        }
        let annotations = wire.annotations.unwrap_or_default();
        if annotations.len() > MAX_ATTRIBUTES {
            return Err(ParseManifestError::TooManyAnnotations);
        }
        let layers = if legacy { wire.blobs } else { wire.layers };
        let layers = layers.unwrap_or_default();
        if layers.len() > MAX_REFERRERS {
            return Err(ParseManifestError::TooManyEntries);
        }
        match wire.schema_version {
            Some(2) => {}
            None if legacy => {}
            other => return Err(ParseManifestError::SchemaVersion(other.unwrap_or(0))),
        }
        let config = match &wire.config {
            Some(config) => Some(Descriptor::from_oci(config)?.media_type),
            None if legacy => None,
            None => return Err(ParseManifestError::Json("missing field `config`".into())),
        };
        Ok(Self {
            artifact_type: wire
                .artifact_type
                .as_deref()
                .filter(|text| !text.is_empty())
                .map(MediaType::parse)
                .transpose()?,
            config,
            layers: layers.iter().map(Layer::from_oci).collect::<Result<_, _>>()?,
            subject: wire.subject.as_ref().map(Descriptor::from_oci).transpose()?,
            annotations,
        })
    }
}

impl Layer {
    fn from_oci(wire: &oci_spec::image::Descriptor) -> Result<Self, ParseManifestError> {
        let annotations = wire.annotations().iter().flatten();
        Ok(Self {
            descriptor: Descriptor::from_oci(wire)?,
            annotations: annotations.map(|(key, value)| (key.clone(), value.clone())).collect(),
        })
    }
}

impl Index {
    /// Parses an index that came as `media_type`. An entry that is malformed is left out: it cannot be fetched, and one
    /// bad entry must not hide the others of a listing.
    ///
    /// Keys are compared exactly and unknown ones ignored: a listing only orders work. What containerd runs from an image's
    /// index, [`crate::platform::RunnableChildren`] tells.
    ///
    /// # Errors
    ///
    /// When the document is malformed, ambiguous, too long, or not what it came as.
    pub fn parse(media_type: &MediaType, json: &[u8]) -> Result<Self, ParseManifestError> {
        if *media_type != MediaType::OCI_INDEX && *media_type != MediaType::DOCKER_INDEX {
            return Err(ParseManifestError::UnknownMediaType(media_type.as_str().into()));
        }
        let wire: WireIndex = from_json(json)?;
        agree(wire.media_type.as_deref(), media_type)?;
        if wire.config.is_some() || wire.layers.is_some() || wire.fs_layers.is_some() {
            return Err(ParseManifestError::Ambiguous);
        }
        if wire.schema_version != 2 {
            return Err(ParseManifestError::SchemaVersion(wire.schema_version));
        }
        if wire.manifests.len() > MAX_REFERRERS {
            return Err(ParseManifestError::TooManyEntries);
        }
        let entry = |wire: WireEntry| {
            Some(IndexEntry {
                descriptor: Descriptor {
                    media_type: MediaType::parse(&wire.media_type).ok()?,
                    digest: wire.digest.parse().ok()?,
                    size: wire.size,
                },
                artifact_type: wire.artifact_type.map(Into::into),
            })
        };
        Ok(Self {
            entries: wire.manifests.into_iter().filter_map(entry).collect(),
        })
    }
}

fn from_json<'a, T: Deserialize<'a>>(json: &'a [u8]) -> Result<T, ParseManifestError> {
    serde_json::from_slice(json).map_err(|error| ParseManifestError::Json(error.to_string().into()))
}

fn agree(says: Option<&str>, came_as: &MediaType) -> Result<(), ParseManifestError> {
    match says {
        Some(says) if !says.is_empty() && says != came_as.as_str() => Err(ParseManifestError::MediaTypeMismatch {
            says: says.into(),
            came_as: came_as.as_str().into(),
        }),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESCRIPTOR: &str = r#"{"mediaType":"application/x","digest":"sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824","size":5}"#;

    fn oci_manifest() -> MediaType {
        MediaType::parse(MediaType::OCI_MANIFEST).unwrap()
    }

    fn oci_index() -> MediaType {
        MediaType::parse(MediaType::OCI_INDEX).unwrap()
    }

    #[test]
    fn parses_a_manifest_with_a_subject() {
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","artifactType":"application/y","config":{DESCRIPTOR},"layers":[{DESCRIPTOR}],"subject":{DESCRIPTOR}}}"#,
            MediaType::OCI_MANIFEST
        );
        let manifest = Manifest::parse(&oci_manifest(), json.as_bytes()).unwrap();
        assert_eq!(manifest.artifact_type.unwrap(), "application/y");
        assert_eq!(manifest.config.unwrap(), "application/x");
        assert_eq!(manifest.layers.len(), 1);
        assert!(manifest.subject.is_some());
    }

    #[test]
    fn refuses_a_document_that_is_manifest_and_index_at_once() {
        let json = format!(r#"{{"schemaVersion":2,"config":{DESCRIPTOR},"layers":[],"manifests":[]}}"#);
        assert_eq!(
            Manifest::parse(&oci_manifest(), json.as_bytes()),
            Err(ParseManifestError::Ambiguous)
        );
        assert_eq!(
            Index::parse(&oci_index(), json.as_bytes()),
            Err(ParseManifestError::Ambiguous)
        );
    }

    #[test]
    fn refuses_a_document_that_says_another_media_type_than_it_came_as() {
        let json = format!(
            r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[]}}"#,
            MediaType::DOCKER_INDEX
        );
        assert!(matches!(
            Index::parse(&oci_index(), json.as_bytes()),
            Err(ParseManifestError::MediaTypeMismatch { .. })
        ));
    }

    #[test]
    fn refuses_repeated_fields() {
        let json = r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#;
        assert!(matches!(
            Index::parse(&oci_index(), json.as_bytes()),
            Err(ParseManifestError::Json(_))
        ));
    }

    #[test]
    fn leaves_out_entries_that_cannot_be_fetched() {
        let json = format!(
            r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"application/x","digest":"md5:1","size":1}},{DESCRIPTOR}]}}"#
        );
        assert_eq!(Index::parse(&oci_index(), json.as_bytes()).unwrap().entries.len(), 1);
    }
}
