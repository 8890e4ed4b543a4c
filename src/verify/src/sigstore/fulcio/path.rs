//! The path from a signer's certificate to an authority of the trusted root (RFC 5280 §6.1; sigstore client
//! specification §4.3).

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use thiserror::Error;

use crate::Timestamp;
use crate::code::Code;
use crate::limits::{MAX_CHAIN_LENGTH, MAX_PATH_VERIFICATIONS};
use crate::sigstore::fulcio::{CertificateError, check_profile};
use crate::sigstore::trusted_root::Authority;
use crate::sigstore::window::Window;
use crate::untrusted::Untrusted;
use crate::x509::certificate::{Certificate, NotIssuedBy};
use crate::x509::chain::IssuerError;
use crate::x509::path::{self, Budget, DeadEnd, Exhausted, LinkError, Place};

/// A chain from a leaf to a trust anchor.
#[derive(Clone, Debug)]
pub struct Path {
    /// The leaf first, the anchor last.
    pub certificates: Vec<Certificate>,
}

/// Why a certificate does not lead to an authority. Positions count from the leaf, which is 0. Of several dead ends the
/// one that came nearest is told.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PathError {
    /// The trusted root has no certificate authority.
    #[error("the trusted root has no certificate authority")]
    NoAuthority,
    /// Nobody said when the certificates have to be valid.
    #[error("there is no moment at which its certificate would have to be valid")]
    NoMoment,
    /// Neither the signature nor the authority has the issuer.
    #[error("nobody issued certificate {position} ({subject}): no authority of the trusted root leads to it")]
    NoIssuer {
        /// Where in the chain.
        position: usize,
        /// Its subject.
        subject: Untrusted,
    },
    /// A certificate that names its issuer was not signed by it.
    #[error("certificate {position} is not issued by the one with its issuer's name: {cause}")]
    NotIssuedBy {
        /// Where in the chain.
        position: usize,
        /// Why not.
        cause: NotIssuedBy,
    },
    /// An issuer has a critical extension that is not known here (RFC 5280 §4.2).
    #[error("certificate {position} has the critical extension {extension}, which is not supported")]
    UnknownCriticalExtension {
        /// Where in the chain.
        position: usize,
        /// The extension.
        extension: ObjectIdentifier,
    },
    /// An issuer limits the names below it, which nothing here enforces (RFC 5280 §4.2.1.10). Critical or not: to pass
    /// over a limit would trust an authority with more than it was given.
    #[error("certificate {position} has name constraints, which are not supported")]
    NameConstraints {
        /// Where in the chain.
        position: usize,
    },
    /// An issuer breaks a rule of CA certificates.
    #[error("certificate {position} may not issue: {cause}")]
    Issuer {
        /// Where in the chain.
        position: usize,
        /// The rule.
        cause: IssuerError,
    },
    /// An issuer's extended key usage leaves codeSigning out.
    #[error("certificate {position} may not issue for code signing by its extended key usage")]
    IssuerNotForCodeSigning {
        /// Where in the chain.
        position: usize,
    },
    /// A certificate was not valid at one of the moments.
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
    /// The authority did not count at one of the moments.
    #[error("the authority that issued its certificate did not count at {moment}: it counts {window}")]
    OutsideWindow {
        /// The moment.
        moment: Timestamp,
        /// When the authority counts.
        window: Window,
    },
    /// More than [`MAX_CHAIN_LENGTH`].
    #[error("the chain of its certificate has more than {MAX_CHAIN_LENGTH} certificates")]
    TooLong,
    /// More signatures to verify than [`MAX_PATH_VERIFICATIONS`] before a path is found.
    #[error("its certificates need more than {MAX_PATH_VERIFICATIONS} signatures verified")]
    TooManyVerifications,
}

impl PathError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::NotValidAt { .. } | Self::OutsideWindow { .. } => Code::CertificateExpired,
            Self::TooLong | Self::TooManyVerifications => Code::LimitExceeded,
            Self::NoMoment => Code::Internal,
            Self::NoAuthority
            | Self::NoIssuer { .. }
            | Self::NotIssuedBy { .. }
            | Self::UnknownCriticalExtension { .. }
            | Self::NameConstraints { .. }
            | Self::Issuer { .. }
            | Self::IssuerNotForCodeSigning { .. } => Code::UntrustedSigner,
        }
    }
}

impl From<LinkError> for PathError {
    fn from(error: LinkError) -> Self {
        match error {
            LinkError::NotIssuedBy { position, cause } => Self::NotIssuedBy { position, cause },
            LinkError::NoIssuer { position, subject } => Self::NoIssuer { position, subject },
            LinkError::TooLong => Self::TooLong,
        }
    }
}

impl From<Exhausted> for PathError {
    fn from(_: Exhausted) -> Self {
        Self::TooManyVerifications
    }
}

/// Finds a chain from `leaf` over `intermediates` and an authority's own certificates to its anchor. Every certificate
/// must be valid at *every* one of `moments`, and the authority must count at every one (CVE-2026-24122; sigstore
/// client specification §4.3): so neither an expired intermediate nor one bad clock among several helps. `moments` is
/// not empty.
///
/// One authority has to have it all: a chain over one and the window of another is none.
///
/// # Errors
///
/// Why the closest chain is none.
pub fn find_path(
    leaf: &Certificate,
    intermediates: &[Certificate],
    authorities: &[Authority],
    moments: &[Timestamp],
) -> Result<Path, CertificateError> {
    check_profile(leaf)?;
    if moments.is_empty() {
        return Err(PathError::NoMoment.into());
    }
    check_validity(leaf, 0, moments)?;
    let mut budget = Budget::new(MAX_PATH_VERIFICATIONS);
    let mut nearest: Option<DeadEnd<PathError>> = None;
    for authority in authorities {
        match find_within(leaf, intermediates, authority, moments, &mut budget).map_err(PathError::from)? {
            Ok(certificates) => return Ok(Path { certificates }),
            Err(dead_end) => {
                if nearest.as_ref().is_none_or(|nearest| rank(&dead_end) > rank(nearest)) {
                    nearest = Some(dead_end);
                }
            }
        }
    }
    Err(nearest.map_or(PathError::NoAuthority, |dead_end| dead_end.cause).into())
}

/// The longest path came nearest; a broken rule says more than that nobody is there.
fn rank(dead_end: &DeadEnd<PathError>) -> (usize, bool) {
    (dead_end.length, !matches!(dead_end.cause, PathError::NoIssuer { .. }))
}

fn find_within(
    leaf: &Certificate,
    intermediates: &[Certificate],
    authority: &Authority,
    moments: &[Timestamp],
    budget: &mut Budget,
) -> Result<Result<Vec<Certificate>, DeadEnd<PathError>>, Exhausted> {
    let check = |issuer: &Certificate, position, place| check_issuer(issuer, position, place, moments);
    let known = authority.certificates.iter().chain(intermediates);
    let found = path::find(leaf, known, authority.certificates.last(), &check, budget)?;
    let window = authority.window;
    Ok(found.and_then(
        |certificates| match moments.iter().find(|moment| !window.contains(**moment)) {
            None => Ok(certificates),
            Some(moment) => Err(DeadEnd {
                length: certificates.len(),
                cause: PathError::OutsideWindow {
                    moment: *moment,
                    window,
                },
            }),
        },
    ))
}

/// RFC 5280 §6.1.4 (k) to (o), and an extended key usage limits what is below it, as all who verify paths have it: an
/// authority's own certificates need not have one. The anchor's certificate is only a carrier of name and key (§6.1.1
/// (d)): it may lack what an intermediate must say, but what it says counts.
fn check_issuer(
    certificate: &Certificate,
    position: usize,
    place: Place,
    moments: &[Timestamp],
) -> Result<(), PathError> {
    let extensions = certificate.extensions();
    if certificate.extension(rfc5280::ID_CE_NAME_CONSTRAINTS).is_some() {
        return Err(PathError::NameConstraints { position });
    }
    if let Some(extension) = extensions.unknown_critical {
        return Err(PathError::UnknownCriticalExtension { position, extension });
    }
    let refused = |cause| Err(PathError::Issuer { position, cause });
    match (&extensions.basic_constraints, place) {
        (Some(constraints), _) if constraints.value.ca => {
            let below = position - 1;
            if let Some(allowed) = constraints.value.path_len_constraint
                && below > usize::from(allowed)
            {
                return refused(IssuerError::PathLength { allowed, below });
            }
        }
        (None, Place::Anchor) => {}
        _ => return refused(IssuerError::NotCa),
    }
    if let Some(usage) = &extensions.key_usage
        && !usage.value.key_cert_sign()
    {
        return refused(IssuerError::NoKeyCertSign);
    }
    let for_code_signing = [rfc5280::ID_KP_CODE_SIGNING, rfc5280::ANY_EXTENDED_KEY_USAGE];
    if let Some(purposes) = &extensions.extended_key_usage
        && !purposes.value.0.iter().any(|one| for_code_signing.contains(one))
    {
        return Err(PathError::IssuerNotForCodeSigning { position });
    }
    check_validity(certificate, position, moments)
}

fn check_validity(certificate: &Certificate, position: usize, moments: &[Timestamp]) -> Result<(), PathError> {
    let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
    match moments
        .iter()
        .find(|moment| !(not_before..=not_after).contains(*moment))
    {
        None => Ok(()),
        Some(moment) => Err(PathError::NotValidAt {
            position,
            moment: *moment,
            not_before,
            not_after,
        }),
    }
}
