//! Certificates that say who signed: Fulcio's and those of private authorities of the same shape (fulcio
//! docs/certificate-specification.md, docs/oid-info.md).

use std::collections::BTreeMap;

use thiserror::Error;

use super::trusted_root::Authority;
use crate::Timestamp;
use crate::code::Code;
use crate::untrusted::Untrusted;
use crate::x509::certificate::Certificate;

/// Who a certificate says its holder is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Holder {
    /// The one subject alternative name: a URI, an e-mail address, or Fulcio's user name.
    pub subject: Box<str>,
    /// Which of them it is.
    pub subject_kind: SubjectKind,
    /// The identity provider that vouched for it.
    pub issuer: Option<Box<str>>,
    /// What the provider said about the workload.
    pub claims: BTreeMap<Claim, Box<str>>,
}

/// The kinds of subject alternative names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SubjectKind {
    /// A URI.
    Uri,
    /// An e-mail address.
    Email,
    /// Fulcio's OtherName 1.3.6.1.4.1.57264.1.7.
    UserName,
}

/// What Fulcio's extensions say about a workload (fulcio docs/oid-info.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Claim {
    /// The source repository's URI (1.3.6.1.4.1.57264.1.12).
    SourceRepository,
}

/// Why a certificate does not say who signed, or does not lead to a trusted authority.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// No chain to an authority.
    #[error("its certificate does not lead to an authority of the trusted root")]
    Untrusted,
    /// A rule of the certificate's profile is broken.
    #[error("its certificate {0}")]
    Profile(Untrusted),
}

impl CertificateError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Untrusted => Code::UntrustedSigner,
            Self::Profile(_) => Code::SignatureInvalid,
        }
    }
}

/// Reads who a certificate says its holder is.
///
/// # Errors
///
/// When it says so in two ways that differ, or not at all.
pub fn holder(leaf: &Certificate) -> Result<Holder, CertificateError> {
    let _ = leaf;
    Err(CertificateError::Untrusted)
}

/// A chain from a leaf to a trust anchor.
#[derive(Clone, Debug)]
pub struct Path {
    /// The leaf first, the anchor last.
    pub certificates: Vec<Certificate>,
}

/// Finds a chain from `leaf` over `intermediates` and an authority's own certificates to its anchor. Every certificate must
/// be valid at *every* one of `moments`, and the authority must count at every one (CVE-2026-24122; sigstore client
/// specification §4.3). `moments` is not empty.
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
    let _ = (leaf, intermediates, authorities, moments);
    Err(CertificateError::Untrusted)
}
