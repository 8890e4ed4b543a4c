//! Content descriptors, parsed once (OCI image specification: descriptor.md).

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::digest::{Digest, ParseDigestError};
use crate::limits::MAX_ATTRIBUTES;
use crate::untrusted::Untrusted;

/// A media type: `type/subtype` of the characters that RFC 6838 §4.2 allows, without parameters.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MediaType(Arc<str>);

impl MediaType {
    /// An OCI image manifest.
    pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
    /// An OCI image index.
    pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
    /// Docker's image manifest, schema 2.
    pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
    /// Docker's manifest list.
    pub const DOCKER_INDEX: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
    /// The artifact manifest of OCI 1.1's release candidates, still found on older registries.
    pub const OCI_ARTIFACT: &str = "application/vnd.oci.artifact.manifest.v1+json";

    /// Whether it is an index: one name for several platforms.
    pub fn is_index(&self) -> bool {
        [Self::OCI_INDEX, Self::DOCKER_INDEX].contains(&self.as_str())
    }

    /// Parses a media type. Comparison is exact, as notation compares it.
    ///
    /// # Errors
    ///
    /// When the text is not `type/subtype` (RFC 6838 §4.2).
    pub fn parse(text: &str) -> Result<Self, ParseDescriptorError> {
        let name = |part: &str| {
            (1..=127).contains(&part.len())
                && part
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&byte))
        };
        match text.split_once('/') {
            Some((kind, subtype)) if name(kind) && name(subtype) => Ok(Self(text.into())),
            _ => Err(ParseDescriptorError::MediaType(text.into())),
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for MediaType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl PartialEq<&str> for MediaType {
    fn eq(&self, other: &&str) -> bool {
        &*self.0 == *other
    }
}

/// A content descriptor: what the bytes are, which bytes they are, and how many.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Descriptor {
    /// The media type.
    pub media_type: MediaType,
    /// The digest.
    pub digest: Digest,
    /// The size in bytes. A claim until the bytes are read.
    pub size: u64,
}

/// Annotations: what a stranger wrote beside a descriptor or manifest.
pub type Annotations = BTreeMap<String, String>;

/// Why JSON is not a descriptor.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseDescriptorError {
    /// The media type is not `type/subtype`.
    #[error("{0} is not a media type")]
    MediaType(Untrusted),
    /// The digest is not one.
    #[error(transparent)]
    Digest(#[from] ParseDigestError),
    /// The JSON is malformed or lacks a field.
    #[error("descriptor is malformed: {0}")]
    Json(Untrusted),
    /// More annotations than the limit.
    #[error("descriptor has more than {MAX_ATTRIBUTES} annotations")]
    TooManyAnnotations,
}

impl Descriptor {
    /// Parses the JSON descriptor that containerd writes to a verifier's standard input.
    ///
    /// # Errors
    ///
    /// When the JSON, the media type or the digest is malformed. Unknown fields are ignored, as the specification asks.
    pub fn from_json(json: &[u8]) -> Result<Self, ParseDescriptorError> {
        let wire: oci_spec::image::Descriptor =
            serde_json::from_slice(json).map_err(|error| ParseDescriptorError::Json(error.to_string().into()))?;
        Self::from_oci(&wire)
    }

    /// Takes over a descriptor that oci-spec parsed.
    ///
    /// # Errors
    ///
    /// When the media type or the digest is malformed, or there are too many annotations.
    pub fn from_oci(wire: &oci_spec::image::Descriptor) -> Result<Self, ParseDescriptorError> {
        if wire
            .annotations()
            .as_ref()
            .is_some_and(|annotations| annotations.len() > MAX_ATTRIBUTES)
        {
            return Err(ParseDescriptorError::TooManyAnnotations);
        }
        Ok(Self {
            media_type: MediaType::parse(wire.media_type().as_ref())?,
            digest: wire.digest().to_string().parse()?,
            size: wire.size(),
        })
    }

    /// Whether `content` is what this descriptor describes: as many bytes, with this digest.
    pub fn describes(&self, content: &[u8]) -> bool {
        u64::try_from(content.len()) == Ok(self.size) && self.digest.matches(content)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[test]
    fn parses_what_containerd_writes_to_standard_input() {
        let json = format!(
            r#"{{"mediaType":"{}","digest":"{DIGEST}","size":5,"x":1}}"#,
            MediaType::OCI_INDEX
        );
        let descriptor = Descriptor::from_json(json.as_bytes()).unwrap();
        assert_eq!(descriptor.media_type, MediaType::OCI_INDEX);
        assert!(descriptor.describes(b"hello"));
        assert!(!descriptor.describes(b"hello!"));
    }

    #[test]
    fn refuses_malformed_descriptors() {
        for json in [
            "",
            "{}",
            r#"{"mediaType":"a/b","digest":"sha256:abc","size":5}"#,
            &format!(r#"{{"mediaType":"a/b","digest":"{DIGEST}","size":-5}}"#),
            &format!(r#"{{"mediaType":"a b","digest":"{DIGEST}","size":5}}"#),
            &format!(r#"{{"mediaType":"a/b; c=d","digest":"{DIGEST}","size":5}}"#),
        ] {
            assert!(Descriptor::from_json(json.as_bytes()).is_err(), "{json}");
        }
    }
}
