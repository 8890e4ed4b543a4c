//! The chain of a signature: from the signer's certificate to a root, complete and in order
//! (notation spec: signature-specification.md#certificate-requirements).
//!
//! There is no path building: an envelope carries its chain, and it is right as it stands or it is refused. Validity in
//! time and revocation are not judged here, because what they mean depends on the level and the signing scheme.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use thiserror::Error;
use x509_cert::ext::pkix::KeyUsage;

use crate::crypto::{EnvelopeAlgorithm, KeyKind};
use crate::limits::MAX_CHAIN_LENGTH;
use crate::x509::certificate::{Certificate, NotIssuedBy};

/// A chain of which every rule but time, revocation and trust holds. The leaf is first, the root last.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Chain {
    leaf: Certificate,
    issuers: Vec<Certificate>,
    algorithm: EnvelopeAlgorithm,
}

/// Why certificates are not the chain of a signature. Positions count from the leaf, which is 0.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChainError {
    /// There is no certificate.
    #[error("there is no certificate")]
    Empty,
    /// More than [`MAX_CHAIN_LENGTH`].
    #[error("the chain has {0} certificates, more than {MAX_CHAIN_LENGTH}")]
    TooLong(usize),
    /// A certificate has a critical extension that is not known here (RFC 5280 §4.2).
    #[error("certificate {position} has the critical extension {extension}, which is not supported")]
    UnknownCriticalExtension {
        /// Where in the chain.
        position: usize,
        /// The extension.
        extension: ObjectIdentifier,
    },
    /// Only the last certificate may be issued by itself.
    #[error("certificate {0} is self-issued, but not the last of the chain")]
    SelfIssuedBelowRoot(usize),
    /// The last certificate is no root.
    #[error("the last certificate of the chain is not self-issued: the root is missing")]
    NoRoot,
    /// A certificate was not issued by the next one; the last one, by itself.
    #[error("certificate {position} is not issued by {issuer}: {cause}")]
    NotIssuedBy {
        /// Where in the chain.
        position: usize,
        /// The expected issuer's place.
        issuer: IssuerPosition,
        /// Why not.
        cause: NotIssuedBy,
    },
    /// An issuer breaks a rule of CA certificates.
    #[error("certificate {position} may not issue: {cause}")]
    Issuer {
        /// Where in the chain.
        position: usize,
        /// The rule.
        cause: IssuerError,
    },
    /// The leaf breaks a rule of signing certificates.
    #[error("the signing certificate may not sign: {0}")]
    Leaf(#[from] LeafError),
}

/// Who should have issued a certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IssuerPosition {
    /// The next certificate of the chain.
    Next,
    /// The certificate itself: it is the root.
    Itself,
}

impl std::fmt::Display for IssuerPosition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Next => "the next",
            Self::Itself => "itself",
        })
    }
}

/// A rule of CA certificates that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum IssuerError {
    /// Basic constraints are absent or say that it is no CA.
    #[error("it is no CA by its basic constraints")]
    NotCa,
    /// RFC 5280 §4.2.1.9: critical in certificates of CAs. notation's code does not look.
    #[error("its basic constraints are not critical")]
    BasicConstraintsNotCritical,
    /// More CAs below than the path length allows.
    #[error("its path length is {allowed}, but {below} CAs are below it")]
    PathLength {
        /// The path length.
        allowed: u8,
        /// The CAs between it and the leaf.
        below: usize,
    },
    /// Key usage is absent.
    #[error("it has no key usage")]
    NoKeyUsage,
    /// Key usage is not critical.
    #[error("its key usage is not critical")]
    KeyUsageNotCritical,
    /// Key usage lacks keyCertSign.
    #[error("its key usage has no keyCertSign")]
    NoKeyCertSign,
}

/// A rule of signing certificates that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LeafError {
    /// It is a CA.
    #[error("it is a CA")]
    IsCa,
    /// Key usage is absent.
    #[error("it has no key usage")]
    NoKeyUsage,
    /// Key usage is not critical.
    #[error("its key usage is not critical")]
    KeyUsageNotCritical,
    /// Key usage lacks digitalSignature.
    #[error("its key usage has no digitalSignature")]
    NoDigitalSignature,
    /// Key usage has more than a signer may have.
    #[error("its key usage has {0}")]
    ForbiddenKeyUsage(&'static str),
    /// Extended key usage has a purpose that a signer may not have.
    #[error("its extended key usage has {0}")]
    ForbiddenExtendedKeyUsage(&'static str),
    /// No envelope algorithm belongs to the key.
    #[error("its key is {0}: expected RSA-2048, RSA-3072, RSA-4096, P-256, P-384 or P-521")]
    Key(KeyKind),
}

/// Purposes that a signing certificate must not have. anyExtendedKeyUsage includes all of them; the specification lists
/// it, notation's code does not.
const FORBIDDEN_PURPOSES: [(ObjectIdentifier, &str); 6] = [
    (rfc5280::ANY_EXTENDED_KEY_USAGE, "anyExtendedKeyUsage"),
    (rfc5280::ID_KP_SERVER_AUTH, "serverAuth"),
    (rfc5280::ID_KP_CLIENT_AUTH, "clientAuth"),
    (rfc5280::ID_KP_EMAIL_PROTECTION, "emailProtection"),
    (rfc5280::ID_KP_TIME_STAMPING, "timeStamping"),
    (rfc5280::ID_KP_OCSP_SIGNING, "OCSPSigning"),
];

impl Chain {
    /// Checks that `certificates` are a chain as it has to be. The cheap rules come first: a signature is computed only
    /// over what would otherwise pass.
    ///
    /// # Errors
    ///
    /// The first rule that does not hold.
    pub fn check(certificates: Vec<Certificate>) -> Result<Self, ChainError> {
        if certificates.len() > MAX_CHAIN_LENGTH {
            return Err(ChainError::TooLong(certificates.len()));
        }
        for (position, certificate) in certificates.iter().enumerate() {
            if let Some(extension) = certificate.extensions().unknown_critical {
                return Err(ChainError::UnknownCriticalExtension { position, extension });
            }
        }
        let mut certificates = certificates.into_iter();
        let leaf = certificates.next().ok_or(ChainError::Empty)?;
        let issuers: Vec<_> = certificates.collect();
        let algorithm = check_leaf(&leaf)?;
        for (below, issuer) in issuers.iter().enumerate() {
            check_issuer(issuer, below, Criticality::Required).map_err(|cause| ChainError::Issuer {
                position: below + 1,
                cause,
            })?;
        }
        let chain = Self {
            leaf,
            issuers,
            algorithm,
        };
        chain.check_links()?;
        Ok(chain)
    }

    fn check_links(&self) -> Result<(), ChainError> {
        let mut certificates = self.certificates().enumerate().peekable();
        while let Some((position, certificate)) = certificates.next() {
            let not_issued_by = |issuer| {
                move |cause| ChainError::NotIssuedBy {
                    position,
                    issuer,
                    cause,
                }
            };
            match certificates.peek() {
                Some(_) if certificate.is_self_issued() => return Err(ChainError::SelfIssuedBelowRoot(position)),
                Some((_, next)) => certificate
                    .check_issued_by(next)
                    .map_err(not_issued_by(IssuerPosition::Next))?,
                None if !certificate.is_self_issued() => return Err(ChainError::NoRoot),
                None => certificate
                    .check_self_signed()
                    .map_err(not_issued_by(IssuerPosition::Itself))?,
            }
        }
        Ok(())
    }

    /// The signer's certificate.
    pub fn leaf(&self) -> &Certificate {
        &self.leaf
    }

    /// The root: the last certificate, which may be the leaf.
    pub fn root(&self) -> &Certificate {
        self.issuers.last().unwrap_or(&self.leaf)
    }

    /// The algorithm that belongs to the signer's key.
    pub fn algorithm(&self) -> EnvelopeAlgorithm {
        self.algorithm
    }

    /// All certificates, the leaf first.
    pub fn certificates(&self) -> impl Iterator<Item = &Certificate> {
        std::iter::once(&self.leaf).chain(&self.issuers)
    }

    /// All certificates that an issuer could revoke: all but the root.
    pub fn revocable(&self) -> impl Iterator<Item = &Certificate> {
        self.certificates().take(self.issuers.len())
    }
}

/// Whether the key usage of a certificate has to be critical.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Criticality {
    /// It has to be.
    Required,
    /// It may be.
    Optional,
}

/// The rules of CA certificates; `below` CAs are between it and the leaf.
pub(super) fn check_issuer(
    certificate: &Certificate,
    below: usize,
    criticality: Criticality,
) -> Result<(), IssuerError> {
    let extensions = certificate.extensions();
    let constraints = match &extensions.basic_constraints {
        Some(constraints) if constraints.value.ca => constraints,
        _ => return Err(IssuerError::NotCa),
    };
    if !constraints.critical {
        return Err(IssuerError::BasicConstraintsNotCritical);
    }
    if let Some(allowed) = constraints.value.path_len_constraint
        && below > usize::from(allowed)
    {
        return Err(IssuerError::PathLength { allowed, below });
    }
    let key_usage = extensions.key_usage.as_ref().ok_or(IssuerError::NoKeyUsage)?;
    if !key_usage.critical && criticality == Criticality::Required {
        return Err(IssuerError::KeyUsageNotCritical);
    }
    if !key_usage.value.key_cert_sign() {
        return Err(IssuerError::NoKeyCertSign);
    }
    Ok(())
}

/// The rules of signing certificates. codeSigning is not asked for: the specification makes it optional.
fn check_leaf(certificate: &Certificate) -> Result<EnvelopeAlgorithm, LeafError> {
    let algorithm = check_signer(certificate, Criticality::Required)?;
    if let Some(purposes) = &certificate.extensions().extended_key_usage
        && let Some((_, name)) = FORBIDDEN_PURPOSES
            .iter()
            .find(|(purpose, _)| purposes.value.0.contains(purpose))
    {
        return Err(LeafError::ForbiddenExtendedKeyUsage(name));
    }
    Ok(algorithm)
}

/// The rules of whoever signs, be it images or timestamps; all but those of the extended key usage.
pub(super) fn check_signer(
    certificate: &Certificate,
    criticality: Criticality,
) -> Result<EnvelopeAlgorithm, LeafError> {
    if certificate.is_ca() {
        return Err(LeafError::IsCa);
    }
    let key_usage = certificate
        .extensions()
        .key_usage
        .as_ref()
        .ok_or(LeafError::NoKeyUsage)?;
    if !key_usage.critical && criticality == Criticality::Required {
        return Err(LeafError::KeyUsageNotCritical);
    }
    if !key_usage.value.digital_signature() {
        return Err(LeafError::NoDigitalSignature);
    }
    if let Some(name) = forbidden_key_usage(&key_usage.value) {
        return Err(LeafError::ForbiddenKeyUsage(name));
    }
    let key = certificate.key_kind();
    EnvelopeAlgorithm::for_key(key).ok_or(LeafError::Key(key))
}

/// The first usage that a signer must not have. nonRepudiation is allowed.
fn forbidden_key_usage(usage: &KeyUsage) -> Option<&'static str> {
    [
        (usage.key_encipherment(), "keyEncipherment"),
        (usage.data_encipherment(), "dataEncipherment"),
        (usage.key_agreement(), "keyAgreement"),
        (usage.key_cert_sign(), "keyCertSign"),
        (usage.crl_sign(), "cRLSign"),
        (usage.encipher_only(), "encipherOnly"),
        (usage.decipher_only(), "decipherOnly"),
    ]
    .into_iter()
    .find_map(|(present, name)| present.then_some(name))
}
