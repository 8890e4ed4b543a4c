//! DSSE envelopes (dsse: envelope.md, protocol.md).

use thiserror::Error;

use crate::untrusted::Untrusted;

/// The payload type of in-toto statements.
pub const IN_TOTO: &str = "application/vnd.in-toto+json";

/// An envelope with its one signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What the payload is.
    pub payload_type: Box<str>,
    /// The decoded payload.
    pub payload: Box<[u8]>,
    /// The decoded signature.
    pub signature: Box<[u8]>,
}

/// Why JSON is no envelope.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum EnvelopeError {
    /// The JSON is malformed or lacks a field.
    #[error("the DSSE envelope is malformed: {0}")]
    Malformed(Untrusted),
    /// Not exactly one signature (TOB-SIGSTORE-9).
    #[error("the DSSE envelope has {0} signatures: expected one")]
    SignatureCount(usize),
}

impl Envelope {
    /// Parses an envelope.
    ///
    /// # Errors
    ///
    /// When it is malformed or does not have exactly one signature.
    pub fn parse(json: &[u8]) -> Result<Self, EnvelopeError> {
        let _ = json;
        Err(EnvelopeError::Malformed("not read".into()))
    }
}

/// What is signed: the pre-authentication encoding of type and payload (dsse: protocol.md).
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut encoded = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    encoded.extend_from_slice(payload);
    encoded
}
