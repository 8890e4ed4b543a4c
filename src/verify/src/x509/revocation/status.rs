//! What is found about the revocation of a chain, in facts.

use std::collections::BTreeSet;
use std::fmt;

use const_oid::ObjectIdentifier;
use thiserror::Error;

use crate::Timestamp;
use crate::code::Code;
use crate::crypto::BadSignature;
use crate::limits::{MAX_CLOCK_SKEW, MAX_OCSP_CERTIFICATES};
use crate::query::{Query, RevocationUrl, Unanswered};
use crate::untrusted::Untrusted;

/// What is found about a chain.
#[derive(Clone, Debug)]
pub struct ChainStatus {
    /// The answer.
    pub outcome: Outcome,
    /// The queries for which what the world says now is signed by the right issuer, says something about a certificate of
    /// the chain, and is no older than what was kept. Nothing else may be stored, or take the place of what is.
    pub proven: BTreeSet<Query>,
}

/// Whether a certificate of a chain is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// None is.
    NotRevoked(NotRevoked),
    /// One is. It beats whatever is not known about the others.
    Revoked(Revoked),
    /// It is not known, and no further question would tell.
    Unknown(Unknown),
    /// It depends on answers that are not there yet. Never empty.
    Needs(BTreeSet<Query>),
}

/// No certificate is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotRevoked {
    /// The first moment at which it must be asked again.
    pub until: Timestamp,
    /// The answer that has lapsed and counts by grace alone, if there is one. A verdict on grace must show it.
    pub on_grace: Option<OnGrace>,
    /// What is known of each certificate, the leaf first.
    pub checked: Vec<Checked>,
}

/// An answer that has lapsed while its endpoint is away.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{by} has lapsed at {lapsed} and counts on grace: there is no newer one")]
pub struct OnGrace {
    /// Whose answer.
    pub by: Source,
    /// Its nextUpdate.
    pub lapsed: Timestamp,
}

/// How one certificate was found not to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Checked {
    /// Its subject.
    pub subject: Untrusted,
    /// How.
    pub by: CheckedBy,
}

/// By what a certificate is known not to be revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CheckedBy {
    /// It names no place where that could be looked up: its issuer does not revoke it.
    NoSource,
    /// What these said: an OCSP response, or CRLs and their delta CRLs.
    Sources(Vec<Source>),
}

impl fmt::Display for Checked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.by {
            CheckedBy::NoSource => write!(f, "{}: names no revocation source", self.subject),
            CheckedBy::Sources(sources) => {
                write!(f, "{}: not revoked by ", self.subject)?;
                some(f, sources, "and")
            }
        }
    }
}

/// The first two of several, and how many there are: an address may have a whole line's length.
fn some<T: fmt::Display>(f: &mut fmt::Formatter<'_>, items: &[T], word: &str) -> fmt::Result {
    match items {
        [] => f.write_str("nobody"),
        [one] => one.fmt(f),
        [one, other] => write!(f, "{one} {word} {other}"),
        [one, other, more @ ..] => write!(f, "{one}, {other} {word} {} more", more.len()),
    }
}

/// Who says something about a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// One of the responders.
    Ocsp(Vec<RevocationUrl>),
    /// The CRL at an address.
    Crl(RevocationUrl),
    /// A file of the node.
    File(Untrusted),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Ocsp(responders) => {
                f.write_str("the OCSP responder ")?;
                some(f, responders, "or")
            }
            Self::Crl(url) => write!(f, "the CRL {url}"),
            Self::File(name) => write!(f, "the file {name}"),
        }
    }
}

/// A certificate is revoked.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the certificate {subject} was revoked at {at} ({reason}), says {by}")]
pub struct Revoked {
    /// Its subject.
    pub subject: Untrusted,
    /// Since when.
    pub at: Timestamp,
    /// Why.
    pub reason: Reason,
    /// Who says so.
    pub by: Source,
}

/// Why an issuer revokes (RFC 5280 §5.3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reason {
    /// None is given.
    Unspecified,
    /// The subject's key is in other hands.
    KeyCompromise,
    /// The key of a CA is in other hands.
    CaCompromise,
    /// The subject's name or affiliation changed.
    AffiliationChanged,
    /// Another certificate took its place.
    Superseded,
    /// It is no longer needed.
    CessationOfOperation,
    /// It may be good again; until then it is revoked.
    CertificateHold,
    /// It was on hold, and is good again. Only delta CRLs say so.
    RemoveFromCrl,
    /// A privilege of the subject was withdrawn.
    PrivilegeWithdrawn,
    /// The key of an attribute authority is in other hands.
    AaCompromise,
}

impl Reason {
    /// The reason of a number.
    pub const fn from_number(number: u8) -> Option<Self> {
        Some(match number {
            0 => Self::Unspecified,
            1 => Self::KeyCompromise,
            2 => Self::CaCompromise,
            3 => Self::AffiliationChanged,
            4 => Self::Superseded,
            5 => Self::CessationOfOperation,
            6 => Self::CertificateHold,
            8 => Self::RemoveFromCrl,
            9 => Self::PrivilegeWithdrawn,
            10 => Self::AaCompromise,
            _ => return None,
        })
    }

    /// The name in RFC 5280.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::KeyCompromise => "keyCompromise",
            Self::CaCompromise => "cACompromise",
            Self::AffiliationChanged => "affiliationChanged",
            Self::Superseded => "superseded",
            Self::CessationOfOperation => "cessationOfOperation",
            Self::CertificateHold => "certificateHold",
            Self::RemoveFromCrl => "removeFromCRL",
            Self::PrivilegeWithdrawn => "privilegeWithdrawn",
            Self::AaCompromise => "aACompromise",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The status of a certificate is not known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the revocation status of the certificate {subject} is not known: {why}")]
pub struct Unknown {
    /// Its subject.
    pub subject: Untrusted,
    /// Why not. Where an OCSP responder and a CRL both failed, it is the CRL's, which was asked last.
    pub why: UnknownReason,
}

impl Unknown {
    /// The stable code. It is inconclusive.
    pub const fn code(&self) -> Code {
        match &self.why {
            UnknownReason::Unanswered { unanswered, .. } => unanswered.code,
            _ => Code::RevocationUnknown,
        }
    }
}

/// Why a status is not known.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum UnknownReason {
    /// All sources that the certificate names are of a kind that is not asked.
    #[error("it names revocation sources, but none at an http address")]
    NoAddress,
    /// One of the CRLs that it names is at no address that is asked.
    #[error("a CRL of it has no http address")]
    CrlWithoutAddress,
    /// A delta CRL has no address that is asked.
    #[error("{base} asks for a delta CRL, which has no http address")]
    DeltaWithoutAddress {
        /// The CRL that is not complete without it.
        base: Source,
    },
    /// Nobody answered.
    #[error("{by} did not answer: {}", .unanswered.reason)]
    Unanswered {
        /// Who.
        by: Source,
        /// Why not.
        unanswered: Unanswered,
    },
    /// The newest answer has lapsed, and the endpoint that is away has been so for longer than the grace.
    #[error("{by} has lapsed at {lapsed}")]
    Lapsed {
        /// Whose answer.
        by: Source,
        /// Its nextUpdate.
        lapsed: Timestamp,
    },
    /// The endpoint answers, with nothing newer than what has lapsed: it is broken, or somebody replays.
    #[error("{by} answers, but its newest answer has lapsed at {lapsed}")]
    Replayed {
        /// Whose answer.
        by: Source,
        /// Its nextUpdate.
        lapsed: Timestamp,
    },
    /// The responder does not know the certificate.
    #[error("{by} does not know the certificate")]
    NotKnown {
        /// The responder.
        by: Source,
    },
    /// A CRL is of no use.
    #[error("{by} is not usable: {cause}")]
    Crl {
        /// The CRL.
        by: Source,
        /// Why.
        cause: CrlError,
    },
    /// An OCSP response is of no use.
    #[error("the answer of {by} is not usable: {cause}")]
    Ocsp {
        /// The responder.
        by: Source,
        /// Why.
        cause: OcspError,
    },
}

/// Why a CRL says nothing about a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CrlError {
    /// More than [`crate::limits::MAX_CRL_SIZE`].
    #[error("it has {0} bytes, more than allowed")]
    TooLarge(usize),
    /// Not DER, or not a CRL.
    #[error("it is malformed: {0}")]
    Malformed(Untrusted),
    /// The signed and the outer signature algorithm differ (RFC 5280 §5.1.1.2).
    #[error("it names two signature algorithms")]
    TwoSignatureAlgorithms,
    /// An algorithm that is not in the list; SHA-1 and MD5 are among them.
    #[error("it is signed with the algorithm {0}, which is not supported")]
    Algorithm(ObjectIdentifier),
    /// It is of another issuer than the certificate.
    #[error("it is issued by another name than the certificate")]
    Issuer,
    /// The issuer's key is not for signing CRLs (RFC 5280 §4.2.1.3).
    #[error("the issuer's key usage has no cRLSign")]
    NoCrlSign,
    /// It names another key of the issuer (RFC 5280 §5.2.1).
    #[error("it names another key of the issuer")]
    AuthorityKey,
    /// The signature does not verify.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// A critical extension, of the CRL or of an entry, that is not known here (RFC 5280 §5.2, §5.3).
    #[error("it has the critical extension {0}, which is not supported")]
    UnknownCriticalExtension(ObjectIdentifier),
    /// It is indirect: its entries are of several issuers (RFC 5280 §5.2.5).
    #[error("it is indirect, which is not supported")]
    Indirect,
    /// It covers some reasons only.
    #[error("it covers only some reasons")]
    SomeReasons,
    /// It covers other certificates (RFC 5280 §6.3.3 (b)).
    #[error("it covers {0}, and the certificate is none")]
    Scope(Scope),
    /// It is a delta CRL where a complete one is needed.
    #[error("it is a delta CRL")]
    IsDelta,
    /// It is a complete CRL where a delta is needed.
    #[error("it is no delta CRL")]
    IsNoDelta,
    /// The delta is not one to the complete CRL (RFC 5280 §5.2.4).
    #[error("it is no delta to the complete CRL: {0}")]
    OtherBase(&'static str),
    /// It does not say when there will be a new one.
    #[error("it has no nextUpdate")]
    NoNextUpdate,
    /// It is from a future beyond [`MAX_CLOCK_SKEW`].
    #[error("its thisUpdate {0} is more than {limit} seconds ahead", limit = MAX_CLOCK_SKEW.as_secs())]
    Future(Timestamp),
}

/// What a CRL covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Certificates that are no CA's.
    EndEntities,
    /// Certificates of CAs.
    Authorities,
    /// Attribute certificates.
    Attributes,
    /// Certificates with another distribution point.
    OtherDistributionPoint,
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::EndEntities => "only certificates that are no CA's",
            Self::Authorities => "only certificates of CAs",
            Self::Attributes => "only attribute certificates",
            Self::OtherDistributionPoint => "only certificates of another distribution point",
        })
    }
}

/// Why an OCSP response says nothing about a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum OcspError {
    /// More than [`crate::limits::MAX_OCSP_RESPONSE_SIZE`].
    #[error("it has {0} bytes, more than allowed")]
    TooLarge(usize),
    /// Not DER, or not a response.
    #[error("it is malformed: {0}")]
    Malformed(Untrusted),
    /// The responder says that it does not answer (RFC 6960 §4.2.1).
    #[error("the responder says {0}")]
    Refused(&'static str),
    /// Another type than `id-pkix-ocsp-basic`.
    #[error("it is of the type {0}, which is not supported")]
    Type(ObjectIdentifier),
    /// It is about other certificates.
    #[error("it is not about the certificate")]
    OtherCertificate,
    /// A critical extension: none is known here.
    #[error("it has the critical extension {0}, which is not supported")]
    CriticalExtension(ObjectIdentifier),
    /// An algorithm that is not in the list; SHA-1 and MD5 are among them.
    #[error("it is signed with the algorithm {0}, which is not supported")]
    Algorithm(ObjectIdentifier),
    /// More than [`MAX_OCSP_CERTIFICATES`].
    #[error("it has more than {MAX_OCSP_CERTIFICATES} certificates")]
    TooManyCertificates,
    /// Neither the issuer nor a certificate in the response has the name or key of the responder.
    #[error("the responder is neither the issuer nor one of the certificates in the response")]
    NoSigner,
    /// The responder is not one that the issuer authorised (RFC 6960 §4.2.2.2).
    #[error("the responder's certificate {subject} may not answer for the issuer: {cause}")]
    Responder {
        /// Its subject.
        subject: Untrusted,
        /// Why not.
        cause: ResponderError,
    },
    /// Whether the responder itself is revoked is not known.
    #[error("the revocation status of the responder's certificate {subject} is not known: {why}")]
    ResponderUnknown {
        /// Its subject.
        subject: Untrusted,
        /// Why not.
        why: Box<UnknownReason>,
    },
    /// The signature does not verify.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// It does not say when there will be a new one.
    #[error("it has no nextUpdate")]
    NoNextUpdate,
    /// It is from a future beyond [`MAX_CLOCK_SKEW`].
    #[error("it is from {0}, more than {limit} seconds ahead", limit = MAX_CLOCK_SKEW.as_secs())]
    Future(Timestamp),
}

/// Why a certificate is not one of a responder that an issuer authorised.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum ResponderError {
    /// The issuer of the certificate in question did not issue it itself.
    #[error("it is not issued by the same issuer")]
    NotIssued,
    /// It lacks id-kp-OCSPSigning.
    #[error("its extended key usage has no OCSPSigning")]
    NoOcspSigning,
    /// It has a key usage without digitalSignature.
    #[error("its key usage has no digitalSignature")]
    NoDigitalSignature,
    /// It has a critical extension that is not known here.
    #[error("it has the critical extension {0}, which is not supported")]
    UnknownCriticalExtension(ObjectIdentifier),
    /// The issuer revoked it.
    #[error("it is revoked")]
    Revoked,
    /// It is not valid now, or was not when the response was produced.
    #[error("it is not valid at {0}")]
    NotValid(Timestamp),
}
