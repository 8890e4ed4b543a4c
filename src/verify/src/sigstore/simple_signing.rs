//! Simple signing: the payload of a cosign v2 signature, and the annotations beside it (cosign specs/SIGNATURE_SPEC.md).

use std::sync::Arc;

use thiserror::Error;

use super::bundle::time;
use super::dsse::{self, Envelope};
use super::json::{JsonError, Names, Object, decode, wrong};
use super::material::{ClaimedSigner, Content, Format, LogEntry, Material};
use crate::code::Code;
use crate::descriptor::Annotations;
use crate::digest::{Digest, ParseDigestError};
use crate::limits::{MAX_ATTRIBUTES, MAX_CHAIN_LENGTH, MAX_ENVELOPE_SIZE, MAX_SIMPLE_SIGNING_UNITS};
use crate::notation::trust_store;
use crate::untrusted::Untrusted;
use crate::x509::certificate::Certificate;

/// The type of a payload. Another one is a promise about something else.
const TYPE: &str = "cosign container image signature";

/// The annotation with the signature; of an attestation it is empty.
const SIGNATURE: &str = "dev.cosignproject.cosign/signature";

/// The annotation with the certificate, in PEM.
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";

/// The annotation with the certificates above it, in PEM.
const CHAIN: &str = "dev.sigstore.cosign/chain";

/// The annotation with the log's promise, and what it promised.
const BUNDLE: &str = "dev.sigstore.cosign/bundle";

/// The annotation with the timestamp.
const TIMESTAMP: &str = "dev.sigstore.cosign/rfc3161timestamp";

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
    /// The payload has more bytes than the limit.
    #[error("the payload has {0} bytes, more than {MAX_ENVELOPE_SIZE}")]
    TooLarge(usize),
    /// The payload is malformed.
    #[error("the payload is malformed: {0}")]
    Payload(#[from] JsonError),
    /// The payload promises something else.
    #[error("the payload has the type {0}: expected {TYPE}")]
    Type(Untrusted),
    /// The payload does not name an image.
    #[error("the payload does not name an image: {0}")]
    Digest(#[from] ParseDigestError),
    /// An attestation's envelope is malformed.
    #[error(transparent)]
    Envelope(#[from] dsse::EnvelopeError),
    /// An annotation of the layer is missing or malformed. cosign once passed over a log's promise that it could not read,
    /// and so over what the promise was needed for (CVE-2026-39395).
    #[error("the annotation {annotation} {problem}")]
    Annotation {
        /// Which.
        annotation: &'static str,
        /// What is wrong with it.
        problem: Untrusted,
    },
}

impl SimpleSigningError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::TooLarge(_) => Code::LimitExceeded,
            Self::Payload(error) => error.code(),
            Self::Envelope(error) => error.code(),
            Self::Type(_) | Self::Digest(_) | Self::Annotation { .. } => Code::SignatureInvalid,
        }
    }
}

impl Payload {
    /// Parses a payload. What is critical has to be understood whole (containers-signature(5), the format that cosign took
    /// over); of what is optional, texts are kept.
    ///
    /// # Errors
    ///
    /// When it is not what the specification says, the type included.
    pub fn parse(json: &[u8]) -> Result<Self, SimpleSigningError> {
        if json.len() > MAX_ENVELOPE_SIZE {
            return Err(SimpleSigningError::TooLarge(json.len()));
        }
        let mut payload = Object::parse(json, MAX_SIMPLE_SIGNING_UNITS, Names::Exact, "the payload")?;
        let mut critical = payload.required_object("critical")?;
        let kind = critical.required_text("type")?;
        if *kind != *TYPE {
            return Err(SimpleSigningError::Type((*kind).into()));
        }
        let mut image = critical.required_object("image")?;
        let digest = image.required_text("docker-manifest-digest")?.parse()?;
        image.finish()?;
        let reference = match critical.object("identity")? {
            None => None,
            Some(mut identity) => {
                let reference = identity.text("docker-reference")?;
                identity.finish()?;
                Some(reference).filter(|reference| !reference.is_empty())
            }
        };
        critical.finish()?;
        let annotations = match payload.object("optional")? {
            None => Vec::new(),
            Some(optional) => annotations(optional)?,
        };
        payload.finish()?;
        Ok(Self {
            digest,
            reference,
            annotations,
        })
    }
}

/// Key and text of every annotation that is text.
type Texts = Vec<(Box<str>, Box<str>)>;

fn annotations(optional: Object) -> Result<Texts, JsonError> {
    let annotations = optional.rest();
    if annotations.len() > MAX_ATTRIBUTES {
        return Err(JsonError::TooManyItems {
            field: "optional",
            count: annotations.len(),
            limit: MAX_ATTRIBUTES,
        });
    }
    let texts = annotations.filter_map(|(key, value)| Some((key.into(), value.as_str()?.into())));
    Ok(texts.collect())
}

/// The material of a layer with a simple-signing payload.
///
/// # Errors
///
/// When the layer lacks its signature, or an annotation is malformed.
pub fn signature(annotations: &Annotations, payload: Arc<[u8]>) -> Result<Material, SimpleSigningError> {
    let signature = present(annotations, SIGNATURE).ok_or_else(|| problem(SIGNATURE, "is missing"))?;
    let signature = decode(signature, "the signature")
        .map_err(|error| problem(SIGNATURE, format_args!("is not valid: {error}")))?
        .into();
    material(annotations, Content::SimpleSigning { payload, signature })
}

/// The material of a layer with a DSSE envelope: a v2 attestation. Its signature is in the envelope.
///
/// # Errors
///
/// When the envelope or an annotation is malformed, or there is a signature beside the envelope.
pub fn attestation(annotations: &Annotations, envelope: Arc<[u8]>) -> Result<Material, SimpleSigningError> {
    if present(annotations, SIGNATURE).is_some() {
        return Err(problem(SIGNATURE, "is not empty beside an envelope"));
    }
    let parsed = Envelope::parse(&envelope)?;
    let content = Content::Dsse {
        payload_type: parsed.payload_type,
        payload: parsed.payload.into(),
        signature: parsed.signature,
        envelope: Some(envelope),
    };
    material(annotations, content)
}

fn material(annotations: &Annotations, content: Content) -> Result<Material, SimpleSigningError> {
    let entry = present(annotations, BUNDLE).map(log_entry).transpose();
    let timestamp = present(annotations, TIMESTAMP).map(timestamp).transpose();
    Ok(Material {
        format: Format::Layer,
        content,
        signer: signer(annotations)?,
        log_entries: entry
            .map_err(|error| problem(BUNDLE, format_args!("is not valid: {error}")))?
            .into_iter()
            .collect(),
        timestamps: timestamp
            .map_err(|error| problem(TIMESTAMP, format_args!("is not valid: {error}")))?
            .into_iter()
            .collect(),
    })
}

/// An annotation that says something: cosign writes empty ones for what there is not.
fn present<'a>(annotations: &'a Annotations, name: &str) -> Option<&'a str> {
    annotations
        .get(name)
        .map(String::as_str)
        .filter(|value| !value.is_empty())
}

fn problem(annotation: &'static str, problem: impl std::fmt::Display) -> SimpleSigningError {
    SimpleSigningError::Annotation {
        annotation,
        problem: problem.to_string().into(),
    }
}

fn signer(annotations: &Annotations) -> Result<ClaimedSigner, SimpleSigningError> {
    let Some(leaf) = present(annotations, CERTIFICATE) else {
        // A chain without a certificate is no use, and no harm.
        return Ok(ClaimedSigner::Key { hint: None });
    };
    let [leaf] = <[Certificate; 1]>::try_from(certificates(CERTIFICATE, leaf)?)
        .map_err(|certificates| problem(CERTIFICATE, format_args!("has {} certificates", certificates.len())))?;
    // Unlike a bundle, it may end in the root: cosign writes down what Fulcio answered. They are hints all the same.
    let intermediates = match present(annotations, CHAIN) {
        None => Vec::new(),
        Some(chain) => certificates(CHAIN, chain)?,
    };
    if intermediates.len() > MAX_CHAIN_LENGTH {
        return Err(problem(
            CHAIN,
            format_args!("has {} certificates, more than {MAX_CHAIN_LENGTH}", intermediates.len()),
        ));
    }
    Ok(ClaimedSigner::Certificate { leaf, intermediates })
}

fn certificates(annotation: &'static str, pem: &str) -> Result<Vec<Certificate>, SimpleSigningError> {
    if !pem.contains("-----BEGIN ") {
        return Err(problem(annotation, "is not PEM"));
    }
    trust_store::parse_file(pem.as_bytes()).map_err(|error| problem(annotation, format_args!("is not valid: {error}")))
}

/// cosign: pkg/cosign/bundle/rekor.go. The names are Go's own.
fn log_entry(json: &str) -> Result<LogEntry, JsonError> {
    let mut bundle = Object::parse(json.as_bytes(), MAX_SIMPLE_SIGNING_UNITS, Names::Exact, "it")?;
    let promise = bundle.required_bytes("SignedEntryTimestamp")?;
    let mut payload = bundle.required_object("Payload")?;
    let time = match payload.count("integratedTime")? {
        0 => return Err(JsonError::Missing("integratedTime")),
        seconds => time(seconds, "integratedTime")?,
    };
    let entry = LogEntry {
        log_id: hexadecimal(&payload.required_text("logID")?)
            .ok_or_else(|| wrong("logID", "hexadecimal digits"))?
            .into(),
        log_index: payload.count("logIndex")?,
        integrated_time: Some(time),
        kind: None,
        promise: Some(promise.into()),
        proof: None,
        body: payload.required_bytes("body")?.into(),
    };
    payload.finish()?;
    bundle.finish()?;
    Ok(entry)
}

/// The bytes of lower-case hexadecimal digits.
fn hexadecimal(digits: &str) -> Option<Vec<u8>> {
    let value = |digit: u8| match digit {
        b'0'..=b'9' => Some(digit - b'0'),
        b'a'..=b'f' => Some(digit - b'a' + 10),
        _ => None,
    };
    let (pairs, rest) = digits.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs
        .iter()
        .map(|[high, low]| Some(value(*high)? << 4 | value(*low)?))
        .collect()
}

/// cosign: pkg/cosign/bundle/tsa.go.
fn timestamp(json: &str) -> Result<Box<[u8]>, JsonError> {
    let mut timestamp = Object::parse(json.as_bytes(), MAX_SIMPLE_SIGNING_UNITS, Names::Exact, "it")?;
    let signed = timestamp.required_bytes("SignedRFC3161Timestamp")?;
    timestamp.finish()?;
    Ok(signed.into())
}

#[cfg(test)]
mod tests;
