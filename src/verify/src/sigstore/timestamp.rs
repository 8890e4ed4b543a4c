//! RFC 3161 timestamps by the authorities of a trusted root.
//!
//! What a token has to be is [`crate::timestamp`]'s business. Here is what a trusted root adds: it lists the
//! certificates of each authority, so that tokens may leave them out, and says when the authority counts.

use super::trusted_root::Authority;
use crate::Timestamp;
use crate::timestamp::{Countersignature, Encoded, SignerError, TimestampError, Token, Trust};
use crate::x509::certificate::Certificate;
use crate::x509::timestamping::{Budget, TimestampingChainError};

/// A timestamp that holds.
#[derive(Clone, Debug)]
pub struct VerifiedTimestamp<'a> {
    /// The authority.
    pub authority: &'a Authority,
    /// The authority's time, fractions of a second included.
    pub at: Timestamp,
    /// The latest moment that the authority's accuracy allows.
    pub latest: Timestamp,
    /// Its chain, the leaf first.
    pub chain: Vec<Certificate>,
}

/// Verifies a timestamp, a token or a whole response, of `message`. The authority's window has the time in it, the
/// chain is valid at it, and the window is that of the very authority that signed (TOB-SIGSTORE-11).
///
/// # Errors
///
/// When it holds for no authority.
pub fn verify<'a>(
    timestamp: &[u8],
    message: &[u8],
    authorities: &'a [Authority],
) -> Result<VerifiedTimestamp<'a>, TimestampError> {
    let encoded = Encoded::token_or_response(timestamp)?;
    let token = encoded.open(message)?;
    let mut budget = Budget::default();
    let mut refused = TimestampError::NoAuthority;
    for authority in authorities {
        match verify_by(&token, authority, &mut budget) {
            Ok(countersignature) => {
                return Ok(VerifiedTimestamp {
                    authority,
                    at: countersignature.generated_at(),
                    latest: countersignature.latest(),
                    chain: countersignature.chain().to_vec(),
                });
            }
            Err(error @ TimestampError::TooManyVerifications) => return Err(error),
            Err(error) => {
                if closeness(&error) > closeness(&refused) {
                    refused = error;
                }
            }
        }
    }
    Err(refused)
}

/// How near an authority came to have signed: of several refusals the nearest is told.
const fn closeness(error: &TimestampError) -> u8 {
    use SignerError::{CertificateNotFound, Chain, OtherCertificate};
    match error {
        TimestampError::NoAuthority => 0,
        TimestampError::Signers {
            cause: CertificateNotFound | OtherCertificate | Chain(TimestampingChainError::NoIssuer { .. }),
            ..
        } => 1,
        TimestampError::OutsideWindow { .. } => 3,
        _ => 2,
    }
}

/// Whether this authority signed, and counted when it did. Where the trusted root lists its signing certificate, no
/// other one signs for it.
fn verify_by(
    token: &Token<'_>,
    authority: &Authority,
    budget: &mut Budget,
) -> Result<Countersignature, TimestampError> {
    let anchor = authority.certificates.last().ok_or(TimestampError::NoAuthority)?;
    let trust = Trust {
        anchors: &[anchor],
        certificates: &authority.certificates,
        signer: authority.certificates.first().filter(|first| !first.is_ca()),
    };
    let countersignature = token.verify(&trust, budget)?;
    let generated_at = countersignature.generated_at();
    if !authority.window.contains(generated_at) {
        return Err(TimestampError::OutsideWindow {
            generated_at,
            window: authority.window,
        });
    }
    Ok(countersignature)
}
