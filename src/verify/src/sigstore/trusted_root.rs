//! Trusted roots: which logs and authorities of a sigstore deployment are trusted, and when (sigstore protobuf-specs:
//! sigstore_trustroot.proto).

use thiserror::Error;

use super::key::VerificationKey;
use super::window::Window;
use crate::untrusted::Untrusted;
use crate::x509::certificate::Certificate;

/// The trusted parties of one deployment.
#[derive(Clone, Debug, Default)]
pub struct TrustedRoot {
    /// Transparency logs for signatures.
    pub logs: Vec<TransparencyLog>,
    /// Certificate transparency logs.
    pub certificate_logs: Vec<TransparencyLog>,
    /// Certificate authorities whose certificates say who signed.
    pub certificate_authorities: Vec<Authority>,
    /// Timestamp authorities.
    pub timestamp_authorities: Vec<Authority>,
}

/// A log and its key.
#[derive(Clone, Debug)]
pub struct TransparencyLog {
    /// Where it is served. Its host name is the origin of a Rekor v2 checkpoint.
    pub base_url: Box<str>,
    /// Its key.
    pub key: VerificationKey,
    /// Its identifier, as entries name it.
    pub log_id: Box<[u8]>,
    /// When the key counts.
    pub window: Window,
    /// Who runs it: thresholds count operators. The base URL where the root names none.
    pub operator: Box<str>,
}

/// A certificate or timestamp authority.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Its certificates as the root lists them: towards the root, the last one the trust anchor. A timestamp authority's
    /// first may be the signing certificate.
    pub certificates: Vec<Certificate>,
    /// When it counts.
    pub window: Window,
    /// Who runs it: thresholds count operators. Its URI, or the anchor's fingerprint, where the root names none.
    pub operator: Box<str>,
}

/// Why JSON is no trusted root.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrustedRootError {
    /// The JSON is malformed or lacks a field.
    #[error("the trusted root is malformed: {0}")]
    Malformed(Untrusted),
}

impl TrustedRoot {
    /// Parses a `trusted_root.json`.
    ///
    /// # Errors
    ///
    /// When it is malformed or says less than it has to.
    pub fn parse(json: &[u8]) -> Result<Self, TrustedRootError> {
        let _ = json;
        Err(TrustedRootError::Malformed("not read".into()))
    }
}
