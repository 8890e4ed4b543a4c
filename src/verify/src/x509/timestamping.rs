//! The chain of a timestamp authority: from the certificate that signed a token to a root that is trusted
//! (notation spec: signature-specification.md#certificate-requirements, RFC 3161 §2.3).
//!
//! Unlike an envelope's chain this one is built (`super::path`): a token's certificates are a set, the root may be left
//! out of it, and cross-signed authorities put more into it than one path.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use thiserror::Error;

use crate::Timestamp;
use crate::limits::MAX_CHAIN_LENGTH;
use crate::untrusted::Untrusted;
use crate::x509::certificate::{Certificate, NotIssuedBy};
use crate::x509::chain::{self, Criticality, IssuerError, LeafError};
use crate::x509::path::{self, LinkError, Place};

pub use crate::x509::path::{Budget, Exhausted};

/// Why there is no chain. Positions count from the leaf, which is 0. Of several dead ends the longest is told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TimestampingChainError {
    /// A certificate has a critical extension that is not known here (RFC 5280 §4.2).
    #[error("certificate {position} has the critical extension {extension}, which is not supported")]
    UnknownCriticalExtension {
        /// Where in the chain.
        position: usize,
        /// The extension.
        extension: ObjectIdentifier,
    },
    /// A certificate is not valid at a moment of the token.
    #[error("certificate {position} was not valid at {moment}, but from {not_before} to {not_after}")]
    NotValidAt {
        /// Where in the chain.
        position: usize,
        /// The moment.
        moment: Timestamp,
        /// The first moment of its validity.
        not_before: Timestamp,
        /// The last moment of its validity.
        not_after: Timestamp,
    },
    /// The leaf breaks a rule of whoever signs.
    #[error("the timestamp authority's certificate may not sign: {0}")]
    Leaf(#[from] LeafError),
    /// The leaf has no extended key usage.
    #[error("the timestamp authority's certificate has no extended key usage")]
    NoExtendedKeyUsage,
    /// The leaf's extended key usage is not critical.
    #[error("the extended key usage of the timestamp authority's certificate is not critical")]
    ExtendedKeyUsageNotCritical,
    /// The leaf's extended key usage is not exactly timeStamping.
    #[error("the extended key usage of the timestamp authority's certificate is not timeStamping alone")]
    NotForTimestampingAlone,
    /// An issuer breaks a rule of CA certificates.
    #[error("certificate {position} may not issue: {cause}")]
    Issuer {
        /// Where in the chain.
        position: usize,
        /// The rule.
        cause: IssuerError,
    },
    /// An issuer's extended key usage leaves timeStamping out.
    #[error("certificate {position} may not issue for timestamping by its extended key usage")]
    IssuerNotForTimestamping {
        /// Where in the chain.
        position: usize,
    },
    /// A certificate that names its issuer was not signed by it.
    #[error("certificate {position} is not issued by the one with its issuer's name: {cause}")]
    NotIssuedBy {
        /// Where in the chain.
        position: usize,
        /// Why not.
        cause: NotIssuedBy,
    },
    /// Neither the token nor the trusted roots have the issuer.
    #[error("nobody issued certificate {position} ({subject}): no trusted root leads to it")]
    NoIssuer {
        /// Where in the chain.
        position: usize,
        /// Its subject.
        subject: Untrusted,
    },
    /// More than [`MAX_CHAIN_LENGTH`].
    #[error("the chain has more than {MAX_CHAIN_LENGTH} certificates")]
    TooLong,
}

impl From<LinkError> for TimestampingChainError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::NotIssuedBy { position, cause } => Self::NotIssuedBy { position, cause },
            LinkError::NoIssuer { position, subject } => Self::NoIssuer { position, subject },
            LinkError::TooLong => Self::TooLong,
        }
    }
}

/// Finds a chain from `leaf` over `intermediates`, in any order, to one of `anchors`. The anchor is trusted as it
/// stands: its own signature is not computed, but every other rule counts for it, too. A root among the intermediates
/// is passed over. A leaf that is an anchor itself is a chain.
///
/// # Errors
///
/// [`Exhausted`] when the budget ends before the search; otherwise the inner error when there is no chain.
pub fn find_chain<'a>(
    leaf: &Certificate,
    intermediates: impl IntoIterator<Item = &'a Certificate> + Clone,
    anchors: impl IntoIterator<Item = &'a Certificate> + Clone,
    moments: &[Timestamp],
    budget: &mut Budget,
) -> Result<Result<Vec<Certificate>, TimestampingChainError>, Exhausted> {
    if let Err(error) = check_leaf(leaf, moments) {
        return Ok(Err(error));
    }
    if anchors.clone().into_iter().any(|anchor| anchor == leaf) {
        return Ok(Ok(vec![leaf.clone()]));
    }
    let check = |issuer: &Certificate, position, _: Place| check_issuer(issuer, position, moments);
    let found = path::find(leaf, intermediates, anchors, &check, budget)?;
    Ok(found.map_err(|dead_end| dead_end.cause))
}

/// RFC 3161 §2.3: the extended key usage is critical and has timeStamping alone. The rest is as for whoever signs.
fn check_leaf(certificate: &Certificate, moments: &[Timestamp]) -> Result<(), TimestampingChainError> {
    check_any(certificate, 0, moments)?;
    chain::check_signer(certificate, Criticality::Optional)?;
    let purposes = certificate
        .extensions()
        .extended_key_usage
        .as_ref()
        .ok_or(TimestampingChainError::NoExtendedKeyUsage)?;
    if purposes.value.0 != [rfc5280::ID_KP_TIME_STAMPING] {
        return Err(TimestampingChainError::NotForTimestampingAlone);
    }
    if !purposes.critical {
        return Err(TimestampingChainError::ExtendedKeyUsageNotCritical);
    }
    Ok(())
}

/// The rules of CA certificates. An extended key usage limits what is below it, as all who verify paths have it.
fn check_issuer(
    certificate: &Certificate,
    position: usize,
    moments: &[Timestamp],
) -> Result<(), TimestampingChainError> {
    check_any(certificate, position, moments)?;
    chain::check_issuer(certificate, position - 1, Criticality::Optional)
        .map_err(|cause| TimestampingChainError::Issuer { position, cause })?;
    let for_timestamping = [rfc5280::ID_KP_TIME_STAMPING, rfc5280::ANY_EXTENDED_KEY_USAGE];
    match &certificate.extensions().extended_key_usage {
        Some(purposes) if !purposes.value.0.iter().any(|one| for_timestamping.contains(one)) => {
            Err(TimestampingChainError::IssuerNotForTimestamping { position })
        }
        _ => Ok(()),
    }
}

/// The rules of every certificate of the chain.
fn check_any(certificate: &Certificate, position: usize, moments: &[Timestamp]) -> Result<(), TimestampingChainError> {
    if let Some(extension) = certificate.extensions().unknown_critical {
        return Err(TimestampingChainError::UnknownCriticalExtension { position, extension });
    }
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    match moments
        .iter()
        .find(|moment| !(not_before..=not_after).contains(*moment))
    {
        Some(moment) => Err(TimestampingChainError::NotValidAt {
            position,
            moment: *moment,
            not_before,
            not_after,
        }),
        None => Ok(()),
    }
}
