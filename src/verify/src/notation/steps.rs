//! The steps of verifying a signature, one function each, and the token that only this function makes.
//!
//! A step that a level skips, or whose failure it only logs, has a token too, which says so: a step that was forgotten
//! has none, and does not compile.

use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::Timestamp;
use crate::code::Code;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::envelope::{Envelope, EnvelopeError, Format, SigningScheme, VerifiedEnvelope};
use crate::evidence;
use crate::notation::identity::{IdentityError, RecognisedIdentity, TrustedIdentities};
use crate::notation::statement::{Action, RevocationAction, TrustStoreKind, TrustStoreName};
use crate::notation::trust_store::TrustStores;
use crate::untrusted::Untrusted;
use crate::x509::certificate::{Certificate, Fingerprint};

/// The steps, in their order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The envelope parses, its chain is well-formed and its signature verifies.
    Integrity,
    /// Every critical attribute is understood.
    Attributes,
    /// The chain has a certificate of the statement's trust stores.
    Authenticity,
    /// The signer is a trusted identity.
    Identity,
    /// The signature has not expired.
    Expiry,
    /// The certificates were valid at the time that counts.
    AuthenticTimestamp,
    /// No certificate is revoked.
    Revocation,
    /// The signature is one of this image.
    Subject,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Self; 8] = [
        Self::Integrity,
        Self::Attributes,
        Self::Authenticity,
        Self::Identity,
        Self::Expiry,
        Self::AuthenticTimestamp,
        Self::Revocation,
        Self::Subject,
    ];

    /// The name in reports; the specification's, where it has one.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integrity => "integrity",
            Self::Attributes => "attributes",
            Self::Authenticity => "authenticity",
            Self::Identity => "identity",
            Self::Expiry => "expiry",
            Self::AuthenticTimestamp => "authenticTimestamp",
            Self::Revocation => "revocation",
            Self::Subject => "subject",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a step fails.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum Failure {
    /// The envelope does not hold together.
    #[error(transparent)]
    Envelope(#[from] EnvelopeError),
    /// An attribute that must be understood is not.
    #[error("the signature has the critical attribute {0}, which this version does not understand")]
    CriticalAttribute(Untrusted),
    /// The signature asks for a plugin.
    #[error("the signature asks for the verification plugin {0}: plugins are not supported")]
    Plugin(Untrusted),
    /// A trust store of the statement does not exist.
    #[error("the trust store {0} does not exist")]
    NoSuchTrustStore(TrustStoreName),
    /// The statement has no store for the signing scheme.
    #[error("the signing scheme is {scheme}, but no trust store of the type {} is named", .kind.as_str())]
    NoTrustStoreForScheme {
        /// The scheme.
        scheme: &'static str,
        /// The type of store that anchors it.
        kind: TrustStoreKind,
    },
    /// No certificate of the chain is in the trust stores.
    #[error("no certificate of the chain is in a trust store; the root is {root} (sha256 {fingerprint})")]
    Untrusted {
        /// The subject of the chain's last certificate.
        root: Untrusted,
        /// Its fingerprint.
        fingerprint: Fingerprint,
    },
    /// The signer is not a trusted identity.
    #[error(transparent)]
    Identity(#[from] IdentityError),
    /// The signature has expired.
    #[error("the signature expired at {expiry}")]
    Expired {
        /// Its expiry.
        expiry: Timestamp,
    },
    /// A certificate was not valid at the time that counts.
    #[error("the certificate {subject} is valid from {not_before} to {not_after}, not at {at}")]
    CertificateNotValid {
        /// Its subject.
        subject: Untrusted,
        /// The start of its validity.
        not_before: Timestamp,
        /// The end of its validity.
        not_after: Timestamp,
        /// The time that counts.
        at: Timestamp,
    },
    /// A certificate names a revocation source, which this version does not ask.
    #[error("the revocation status of the certificate {subject} is not known: this version asks no CRL and no OCSP")]
    RevocationUnknown {
        /// Its subject.
        subject: Untrusted,
    },
    /// The manifest refers to another artifact.
    #[error("the signature's manifest refers to {manifest}, not to the image {image}")]
    ManifestSubject {
        /// What the manifest names.
        manifest: Digest,
        /// The image.
        image: Digest,
    },
    /// The payload signs another artifact.
    #[error("the signature is one of {} ({}, {} bytes), not of the image {} ({}, {} bytes)",
        .signed.digest, .signed.media_type, .signed.size, .image.digest, .image.media_type, .image.size)]
    Target {
        /// What is signed.
        signed: Box<Descriptor>,
        /// The image.
        image: Box<Descriptor>,
    },
}

impl Failure {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Envelope(error) if error.is_limit() => Code::LimitExceeded,
            Self::Envelope(_) => Code::SignatureInvalid,
            Self::CriticalAttribute(_) | Self::Plugin(_) => Code::SignatureUnsupported,
            Self::NoSuchTrustStore(_) | Self::NoTrustStoreForScheme { .. } | Self::Untrusted { .. } => {
                Code::UntrustedSigner
            }
            Self::Identity(_) => Code::IdentityMismatch,
            Self::Expired { .. } => Code::SignatureExpired,
            Self::CertificateNotValid { .. } => Code::CertificateExpired,
            Self::RevocationUnknown { .. } => Code::RevocationUnknown,
            Self::ManifestSubject { .. } | Self::Target { .. } => Code::SubjectMismatch,
        }
    }
}

/// How a step that did not end the verification went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome<T> {
    /// It holds.
    Passed(T),
    /// It fails, and the level only reports that.
    Logged(Failure),
    /// The level skips it.
    Skipped,
}

impl<T> Outcome<T> {
    fn new(result: Result<T, Failure>, action: Action) -> Result<Self, Failure> {
        match (result, action) {
            (Ok(value), _) => Ok(Self::Passed(value)),
            (Err(failure), Action::Log) => Ok(Self::Logged(failure)),
            (Err(failure), Action::Enforce) => Err(failure),
        }
    }

    /// What the step found, if it holds.
    pub const fn passed(&self) -> Option<&T> {
        match self {
            Self::Passed(value) => Some(value),
            Self::Logged(_) | Self::Skipped => None,
        }
    }
}

/// The envelope's signature verifies with the leaf of its well-formed chain.
#[derive(Clone, Debug)]
pub struct Integrity(Arc<VerifiedEnvelope>);

impl Integrity {
    /// What is signed, and by whom.
    pub fn envelope(&self) -> &VerifiedEnvelope {
        &self.0
    }
}

/// Parses the envelope and verifies its signature. Nothing about it depends on a policy or the time.
///
/// # Errors
///
/// When it does not hold together.
pub fn integrity(signature: &evidence::Signature) -> Result<Integrity, Failure> {
    let format = Format::of(&signature.manifest().envelope().media_type)?;
    let envelope = Envelope::parse(format, signature.envelope())?.verify()?;
    Ok(Integrity(Arc::new(envelope)))
}

/// Every critical attribute is understood.
#[derive(Clone, Debug)]
pub struct Understood(());

/// Refuses what this version does not understand but must (notation spec: signature-specification.md#signed-attributes).
/// notation itself accepts unknown critical attributes where no plugin is asked for.
pub(super) fn attributes(integrity: &Integrity) -> Result<Understood, Failure> {
    let attributes = integrity.envelope().attributes();
    if let Some(plugin) = &attributes.plugin {
        return Err(Failure::Plugin(plugin.name.as_str().into()));
    }
    match attributes.critical.first() {
        Some(attribute) => Err(Failure::CriticalAttribute((&attribute.name).into())),
        None => Ok(Understood(())),
    }
}

/// Where a chain is anchored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Anchor {
    /// The trust store.
    pub store: TrustStoreName,
    /// The certificate that is in the chain and in the store.
    pub certificate: Fingerprint,
}

/// The chain leads to a trust store.
#[derive(Clone, Debug)]
pub struct Authenticity(Outcome<Anchor>);

/// Looks for a certificate of the chain in the trust stores of the scheme
/// (notation spec: trust-store-trust-policy.md#steps). Any certificate of the chain may be the anchor, the leaf too.
pub(super) fn authenticity(
    integrity: &Integrity,
    names: &[TrustStoreName],
    stores: &TrustStores,
    action: Action,
) -> Result<Authenticity, Failure> {
    Outcome::new(find_anchor(integrity, names, stores), action).map(Authenticity)
}

fn find_anchor(integrity: &Integrity, names: &[TrustStoreName], stores: &TrustStores) -> Result<Anchor, Failure> {
    let envelope = integrity.envelope();
    let (scheme, kind) = match envelope.attributes().scheme {
        SigningScheme::X509 { .. } => ("notary.x509", TrustStoreKind::CertificateAuthority),
        SigningScheme::SigningAuthority { .. } => ("notary.x509.signingAuthority", TrustStoreKind::SigningAuthority),
    };
    let mut searched = 0;
    let mut anchor = None;
    // Every named store must exist, also where another one has the anchor: a store that is not there is a mistake.
    for name in names.iter().filter(|name| name.kind == kind) {
        let store = stores
            .0
            .get(name)
            .ok_or_else(|| Failure::NoSuchTrustStore(name.clone()))?;
        searched += 1;
        if anchor.is_none() {
            anchor = envelope
                .chain()
                .certificates()
                .find(|certificate| store.contains(certificate))
                .map(|certificate| Anchor {
                    store: name.clone(),
                    certificate: certificate.fingerprint(),
                });
        }
    }
    if searched == 0 {
        return Err(Failure::NoTrustStoreForScheme { scheme, kind });
    }
    anchor.ok_or_else(|| {
        let root = envelope.chain().root();
        Failure::Untrusted {
            root: subject(root),
            fingerprint: root.fingerprint(),
        }
    })
}

/// The signer is a trusted identity.
#[derive(Clone, Debug)]
pub struct Identity(Outcome<RecognisedIdentity>);

/// Recognises the leaf's subject. Part of authenticity, and under its action.
pub(super) fn identity(
    integrity: &Integrity,
    identities: &TrustedIdentities,
    action: Action,
) -> Result<Identity, Failure> {
    let recognised = identities.recognises(integrity.envelope().chain().leaf().subject());
    Outcome::new(recognised.map_err(Failure::from), action).map(Identity)
}

/// The signature has not expired.
#[derive(Clone, Debug)]
pub struct Expiry(Outcome<Option<Timestamp>>);

/// The signature counts before its expiry, no longer at it.
pub(super) fn expiry(integrity: &Integrity, action: Action, now: Timestamp) -> Result<Expiry, Failure> {
    let expiry = integrity.envelope().attributes().expiry;
    let result = match expiry {
        Some(expiry) if now >= expiry => Err(Failure::Expired { expiry }),
        _ => Ok(expiry),
    };
    Outcome::new(result, action).map(Expiry)
}

/// A span of time: from its start to just before its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The first moment.
    pub not_before: Timestamp,
    /// The first moment that is no longer in it.
    pub until: Timestamp,
}

impl Interval {
    /// All time.
    pub const ALWAYS: Self = Self {
        not_before: Timestamp::MIN,
        until: Timestamp::MAX,
    };

    /// What both have in common.
    pub fn intersect(self, other: Self) -> Self {
        Self {
            not_before: self.not_before.max(other.not_before),
            until: self.until.min(other.until),
        }
    }
}

/// The certificates were valid at the time that counts.
#[derive(Clone, Debug)]
pub struct AuthenticTimestamp(Outcome<Interval>);

/// Without a countersignature the time that counts is now; a signing authority vouches for its own
/// (notation spec: trust-store-trust-policy.md#steps, authentic timestamp).
pub(super) fn authentic_timestamp(
    integrity: &Integrity,
    action: Action,
    now: Timestamp,
) -> Result<AuthenticTimestamp, Failure> {
    let envelope = integrity.envelope();
    let at = match envelope.attributes().scheme {
        SigningScheme::X509 { .. } => now,
        SigningScheme::SigningAuthority { authentic_signing_time } => authentic_signing_time,
    };
    let result = envelope
        .chain()
        .certificates()
        .try_fold(Interval::ALWAYS, |validity, certificate| {
            let (not_before, not_after) = (certificate.not_before(), certificate.not_after());
            if at < not_before || at > not_after {
                return Err(Failure::CertificateNotValid {
                    subject: subject(certificate),
                    not_before,
                    not_after,
                    at,
                });
            }
            // The last moment of a validity is part of it; that one instant is given up here.
            Ok(validity.intersect(Interval {
                not_before,
                until: not_after,
            }))
        });
    let holds = result.map(|validity| match envelope.attributes().scheme {
        SigningScheme::X509 { .. } => validity,
        // A past moment was inside the validity: this stays true.
        SigningScheme::SigningAuthority { .. } => Interval::ALWAYS,
    });
    Outcome::new(holds, action).map(AuthenticTimestamp)
}

/// No certificate is revoked.
#[derive(Clone, Debug)]
pub struct Revocation(Outcome<()>);

/// A certificate that names no revocation source cannot be revoked and passes. This version asks no source: where one is
/// named, the status is not known (notation spec: trust-store-trust-policy.md#certificate-revocation-evaluation).
pub(super) fn revocation(integrity: &Integrity, action: RevocationAction) -> Result<Revocation, Failure> {
    let action = match action {
        RevocationAction::Enforce => Action::Enforce,
        RevocationAction::Log => Action::Log,
        RevocationAction::Skip => return Ok(Revocation(Outcome::Skipped)),
    };
    let unknown = integrity
        .envelope()
        .chain()
        .revocable()
        .find(|certificate| !certificate.extensions().revocation_sources.is_empty());
    let result = match unknown {
        Some(certificate) => Err(Failure::RevocationUnknown {
            subject: subject(certificate),
        }),
        None => Ok(()),
    };
    Outcome::new(result, action).map(Revocation)
}

/// The signature is one of this image.
#[derive(Clone, Debug)]
pub struct SubjectMatch(());

/// The payload's descriptor and the image's are equal in media type, digest and size, and the manifest refers to the
/// image. notation does not look at the manifest's subject again.
pub(super) fn subject_match(
    integrity: &Integrity,
    signature: &evidence::Signature,
    image: &Descriptor,
) -> Result<SubjectMatch, Failure> {
    let manifest = &signature.manifest().subject().digest;
    if *manifest != image.digest {
        return Err(Failure::ManifestSubject {
            manifest: manifest.clone(),
            image: image.digest.clone(),
        });
    }
    let signed = integrity.envelope().target();
    if signed != image {
        return Err(Failure::Target {
            signed: Box::new(signed.clone()),
            image: Box::new(image.clone()),
        });
    }
    Ok(SubjectMatch(()))
}

fn subject(certificate: &Certificate) -> Untrusted {
    certificate.subject().to_string().into()
}

impl Authenticity {
    /// How it went.
    pub fn outcome(&self) -> &Outcome<Anchor> {
        &self.0
    }
}

impl Identity {
    /// How it went.
    pub fn outcome(&self) -> &Outcome<RecognisedIdentity> {
        &self.0
    }
}

impl Expiry {
    /// How it went; the expiry, where there is one.
    pub fn outcome(&self) -> &Outcome<Option<Timestamp>> {
        &self.0
    }
}

impl AuthenticTimestamp {
    /// How it went; the time in which it holds.
    pub fn outcome(&self) -> &Outcome<Interval> {
        &self.0
    }
}

impl Revocation {
    /// How it went.
    pub fn outcome(&self) -> &Outcome<()> {
        &self.0
    }
}
