//! Simple signing: the payload of a cosign v2 signature, and the annotations beside it (cosign specs/SIGNATURE_SPEC.md).

use std::sync::Arc;

use thiserror::Error;

use super::material::Material;
use crate::descriptor::Annotations;
use crate::digest::Digest;
use crate::untrusted::Untrusted;

/// A payload: which image is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// The image's manifest.
    pub digest: Digest,
    /// The name that it was signed under. It decides nothing (cosign specs/SIGNATURE_SPEC.md: the reference is ignored).
    pub reference: Option<Box<str>>,
    /// `optional`: the signer's annotations, those that are texts.
    pub annotations: Vec<(Box<str>, Box<str>)>,
}

/// Why a layer is no signature.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SimpleSigningError {
    /// The payload is malformed.
    #[error("the payload is malformed: {0}")]
    Payload(Untrusted),
    /// An annotation of the layer is missing or malformed.
    #[error("the annotation {annotation} {problem}")]
    Annotation {
        /// Which.
        annotation: &'static str,
        /// What is wrong with it.
        problem: Untrusted,
    },
}

impl Payload {
    /// Parses a payload.
    ///
    /// # Errors
    ///
    /// When it is not what the specification says, the type included.
    pub fn parse(json: &[u8]) -> Result<Self, SimpleSigningError> {
        let _ = json;
        Err(SimpleSigningError::Payload("not read".into()))
    }
}

/// The material of a layer with a simple-signing payload.
///
/// # Errors
///
/// When the layer lacks its signature, or an annotation is malformed.
pub fn signature(annotations: &Annotations, payload: Arc<[u8]>) -> Result<Material, SimpleSigningError> {
    let _ = (annotations, payload);
    Err(SimpleSigningError::Payload("not read".into()))
}

/// The material of a layer with a DSSE envelope: a v2 attestation.
///
/// # Errors
///
/// When the envelope or an annotation is malformed.
pub fn attestation(annotations: &Annotations, envelope: Arc<[u8]>) -> Result<Material, SimpleSigningError> {
    let _ = (annotations, envelope);
    Err(SimpleSigningError::Payload("not read".into()))
}
