//! What must hold for envelopes of both formats.

use assay_verify::artifact::SignedArtifact;
use assay_verify::envelope::{Attributes, Envelope, EnvelopeError, Format, VerifiedEnvelope};
use assay_verify::limits::MAX_CHAIN_LENGTH;

use crate::shown;

/// Who signed what: the signer's key, the signed attributes and the signed artifact.
#[derive(Debug, PartialEq)]
pub(super) struct Signed {
    key: Vec<u8>,
    attributes: Attributes,
    target: SignedArtifact,
}

pub(super) fn verify(format: Format, input: &[u8]) -> Result<VerifiedEnvelope, EnvelopeError> {
    Envelope::parse(format, input).and_then(Envelope::verify)
}

pub(super) fn signed(envelope: &VerifiedEnvelope) -> Signed {
    Signed {
        key: envelope.chain().leaf().public_key().bytes.to_vec(),
        attributes: envelope.attributes().clone(),
        target: envelope.target().clone(),
    }
}

/// No mutation forges a signature: whatever verifies says what an owner of a seed's key signed, nothing else.
pub(super) fn check(format: Format, input: &[u8], genuine: &[Signed]) -> String {
    match verify(format, input) {
        Ok(envelope) => {
            let signed = signed(&envelope);
            assert!(genuine.contains(&signed), "nobody signed this: {signed:?}");
            assert!(envelope.chain().certificates().count() <= MAX_CHAIN_LENGTH);
            if let Some(target) = envelope.target().descriptor() {
                super::descriptor::again(&target);
            }
            assert_eq!(verify(format, input).map(|again| self::signed(&again)), Ok(signed));
            format!("verified {}", envelope.timestamp_token().is_some())
        }
        Err(error) => {
            assert_eq!(verify(format, input).map(drop), Err(error.clone()));
            shown::error(&error)
        }
    }
}
