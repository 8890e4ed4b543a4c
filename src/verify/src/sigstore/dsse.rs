//! DSSE envelopes (dsse: envelope.md, protocol.md).

use thiserror::Error;

use super::json::{JsonError, Names, Object, decode_either};
use crate::code::Code;
use crate::limits::{MAX_ATTESTATION_SIZE, MAX_ENVELOPE_VALUES};

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
    /// More bytes than the limit.
    #[error("the DSSE envelope has {0} bytes, more than {MAX_ATTESTATION_SIZE}")]
    TooLarge(usize),
    /// The JSON is malformed, or a field is.
    #[error("the DSSE envelope is malformed: {0}")]
    Json(#[from] JsonError),
    /// Not exactly one signature (TOB-SIGSTORE-9).
    #[error("the DSSE envelope has {0} signatures: expected one")]
    SignatureCount(usize),
}

impl EnvelopeError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::TooLarge(_) => Code::LimitExceeded,
            Self::Json(error) => error.code(),
            Self::SignatureCount(_) => Code::SignatureInvalid,
        }
    }
}

impl Envelope {
    /// Parses an envelope. Fields that it does not know are ignored, as the specification asks; the name of the key decides
    /// nothing.
    ///
    /// # Errors
    ///
    /// When it is malformed or does not have exactly one signature.
    pub fn parse(json: &[u8]) -> Result<Self, EnvelopeError> {
        if json.len() > MAX_ATTESTATION_SIZE {
            return Err(EnvelopeError::TooLarge(json.len()));
        }
        let mut envelope = Object::parse(json, MAX_ENVELOPE_VALUES, Names::Exact, "the envelope")?;
        let [mut signature] = <[Object; 1]>::try_from(envelope.objects("signatures", MAX_ENVELOPE_VALUES)?)
            .map_err(|signatures| EnvelopeError::SignatureCount(signatures.len()))?;
        Ok(Self {
            payload_type: envelope.required_text("payloadType")?,
            payload: decode_either(&envelope.required_text("payload")?, "payload")?.into(),
            signature: decode_either(&signature.required_text("sig")?, "sig")?.into(),
        })
    }
}

/// What is signed: the pre-authentication encoding of type and payload (dsse: protocol.md).
pub fn pre_authentication_encoding(payload_type: &str, payload: &[u8]) -> Vec<u8> {
    let mut encoded = format!("DSSEv1 {} {payload_type} {} ", payload_type.len(), payload.len()).into_bytes();
    encoded.extend_from_slice(payload);
    encoded
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodes_the_example_of_the_specification() {
        // dsse: protocol.md, test vectors.
        assert_eq!(
            pre_authentication_encoding("http://example.com/HelloWorld", b"hello world"),
            b"DSSEv1 29 http://example.com/HelloWorld 11 hello world"
        );
    }

    #[test]
    fn parses_an_envelope_with_one_signature_and_fields_it_does_not_know() {
        let json = r#"{"payloadType":"t","payload":"aGVsbG8=","x":1,"signatures":[{"sig":"-_8=","keyid":"k","y":2}]}"#;
        let envelope = Envelope::parse(json.as_bytes()).unwrap();
        assert_eq!(&*envelope.payload_type, "t");
        assert_eq!(&*envelope.payload, b"hello");
        assert_eq!(&*envelope.signature, [0xfb, 0xff]);
    }

    #[test]
    fn refuses_an_envelope_without_exactly_one_signature() {
        for (signatures, count) in [("[]", 0), (r#"[{"sig":"AA=="},{"sig":"AA=="}]"#, 2)] {
            let json = format!(r#"{{"payloadType":"t","payload":"aGVsbG8=","signatures":{signatures}}}"#);
            assert_eq!(
                Envelope::parse(json.as_bytes()),
                Err(EnvelopeError::SignatureCount(count))
            );
        }
        let none = Envelope::parse(br#"{"payloadType":"t","payload":"aGVsbG8="}"#);
        assert_eq!(none, Err(EnvelopeError::SignatureCount(0)));
    }

    #[test]
    fn refuses_malformed_envelopes() {
        for json in [
            "",
            "[]",
            r#"{"payloadType":"t","payload":"aGVsbG8=","signatures":[{"sig":""}]}"#,
            r#"{"payloadType":"t","payload":"aGVsbG8=","signatures":[{}]}"#,
            r#"{"payloadType":"t","payload":"aGVsbG8=","signatures":["AA=="]}"#,
            r#"{"payloadType":"t","payload":"","signatures":[{"sig":"AA=="}]}"#,
            r#"{"payloadType":"t","payload":"hello","signatures":[{"sig":"AA=="}]}"#,
            r#"{"payloadType":"","payload":"aGVsbG8=","signatures":[{"sig":"AA=="}]}"#,
            r#"{"payload_type":"t","payload":"aGVsbG8=","signatures":[{"sig":"AA=="}]}"#,
            r#"{"payloadType":"t","payload":"aGVsbG8=","payload":"aGVsbG8=","signatures":[{"sig":"AA=="}]}"#,
        ] {
            assert!(
                matches!(Envelope::parse(json.as_bytes()), Err(EnvelopeError::Json(_))),
                "{json}"
            );
        }
    }

    #[test]
    fn refuses_an_envelope_that_is_too_large() {
        let large = vec![b' '; MAX_ATTESTATION_SIZE + 1];
        assert_eq!(Envelope::parse(&large), Err(EnvelopeError::TooLarge(large.len())));
    }
}
