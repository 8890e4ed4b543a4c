//! The steps of verifying a signature, one function each, and the token that only this function makes.
//!
//! A step that a level skips, or whose failure it only logs, has a token too, which says so: a step that was forgotten
//! has none, and does not compile.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use jiff::SignedDuration;
use thiserror::Error;

use crate::Timestamp;
use crate::artifact::{ArtifactDigest, Blob, SignedArtifact};
use crate::circumstances::Circumstances;
use crate::code::Code;
use crate::crypto::Hash;
use crate::deny_list::{DenyList, Entry, Made, SignerFacts};
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::envelope::{AttributeValue, Envelope, EnvelopeError, Format, SigningScheme, VerifiedEnvelope};
use crate::evidence;
use crate::limits::PLUGIN_VERDICT_LIFETIME;
use crate::notation::identity::{IdentityError, RecognisedIdentity, TrustedIdentities};
use crate::notation::plugin::{self, Consultation, PluginFinding, PluginRefusal, UnavailablePlugin};
use crate::notation::signature::Terms;
use crate::notation::statement::{Action, Checks, RevocationAction, TrustStoreKind, TrustStoreName};
use crate::notation::trust_policy::VerifyTimestamp;
use crate::notation::trust_store::{TrustStore, TrustStores};
use crate::policy::Conditions;
use crate::query::{Answers, PluginName, Proven, Query};
use crate::timestamp::{self, Countersignature, TimestampError};
use crate::untrusted::Untrusted;
use crate::x509::certificate::{Certificate, Fingerprint};
use crate::x509::revocation::{self, NotRevoked, Revoked, Unknown};

/// The steps, in the order in which they are told. What needs nobody's word is taken before what does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Step {
    /// The envelope parses, its chain is well-formed and its signature verifies.
    Integrity,
    /// Every critical attribute is understood, or there is a plugin to understand it.
    Attributes,
    /// The chain has a certificate of the statement's trust stores.
    Authenticity,
    /// The plugin that the signature asks for was consulted.
    Plugin,
    /// The signer is a trusted identity.
    Identity,
    /// The signature has not expired.
    Expiry,
    /// The certificates were valid at the time that counts.
    AuthenticTimestamp,
    /// The signature is one of this image or file.
    Subject,
    /// No entry of the deny-list names the signature, a certificate that it rests on, or its signer.
    DenyList,
    /// The signature is not older than the rule allows.
    SigningTime,
    /// The payload has the annotations that the rule asks for.
    Annotations,
    /// No certificate of the timestamp authority is revoked.
    TimestampRevocation,
    /// No certificate of the signer is revoked.
    Revocation,
}

impl Step {
    /// All steps, in their order.
    pub const ALL: [Self; 13] = [
        Self::Integrity,
        Self::Attributes,
        Self::Authenticity,
        Self::Plugin,
        Self::Identity,
        Self::Expiry,
        Self::AuthenticTimestamp,
        Self::Subject,
        Self::DenyList,
        Self::SigningTime,
        Self::Annotations,
        Self::TimestampRevocation,
        Self::Revocation,
    ];

    /// The name in reports; the specification's, where it has one.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Integrity => "integrity",
            Self::Attributes => "attributes",
            Self::Authenticity => "authenticity",
            Self::Plugin => "plugin",
            Self::Identity => "identity",
            Self::Expiry => "expiry",
            Self::AuthenticTimestamp => "authenticTimestamp",
            Self::Subject => "subject",
            Self::DenyList => "denyList",
            Self::SigningTime => "signingTime",
            Self::Annotations => "annotations",
            Self::TimestampRevocation => "timestampRevocation",
            Self::Revocation => "revocation",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a step gives no token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stop {
    /// It fails, and the level enforces it.
    Failed(Failure),
    /// It lacks the world's word. Which one is known only when integrity and authenticity hold.
    Needs(BTreeSet<Query>),
}

impl From<Failure> for Stop {
    fn from(failure: Failure) -> Self {
        Self::Failed(failure)
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
    /// The signature asks for a plugin, which is not asked for a signer whom nobody vouches for.
    #[error("the signature asks for the plugin {0}, which is not run: the chain leads to no trust store")]
    PluginNotAsked(PluginName),
    /// The plugin cannot be heard.
    #[error(transparent)]
    PluginUnavailable(#[from] UnavailablePlugin),
    /// The plugin says no.
    #[error(transparent)]
    PluginRefused(#[from] PluginRefusal),
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
    /// A certificate was not valid in all of the time in which the timestamp may have been made.
    #[error(
        "the certificate {subject} is valid from {not_before} to {not_after}, but the timestamp is from {earliest} to {latest}"
    )]
    NotValidAtTimestamp {
        /// Its subject.
        subject: Untrusted,
        /// The start of its validity.
        not_before: Timestamp,
        /// The end of its validity.
        not_after: Timestamp,
        /// The timestamp, less its accuracy.
        earliest: Timestamp,
        /// The timestamp and its accuracy.
        latest: Timestamp,
    },
    /// There is no countersignature, and there must be one.
    #[error("the signature has no timestamp, and {0}")]
    TimestampRequired(TimestampNeed),
    /// The countersignature does not hold.
    #[error("the timestamp does not hold: {0}")]
    Timestamp(#[from] TimestampError),
    /// An entry of the deny-list names it.
    #[error("{0}")]
    Denied(Box<Entry>),
    /// The signature is older than the rule allows.
    #[error("the signature was made at {made} or later, and the rule asks for {minimum}")]
    TooOld {
        /// The earliest moment at which it may have been made.
        made: Timestamp,
        /// The rule's minimum.
        minimum: Timestamp,
    },
    /// Nobody but the signer says when the signature was made.
    #[error("no authenticated time says when the signature was made, and the rule asks for {minimum} or later")]
    NoAuthenticatedTime {
        /// The rule's minimum.
        minimum: Timestamp,
    },
    /// An annotation of the rule is absent or has another value.
    #[error("the signature has no annotation {key} with the value {value}")]
    Annotation {
        /// Its key.
        key: Untrusted,
        /// The value that the rule asks for.
        value: Untrusted,
    },
    /// A certificate is revoked.
    #[error(transparent)]
    Revoked(#[from] Revoked),
    /// It is not known whether a certificate is revoked.
    #[error(transparent)]
    RevocationUnknown(#[from] Unknown),
    /// Whether a certificate is revoked is not asked for a signer whom nobody vouches for.
    #[error("the revocation of the certificate {subject} is not asked: the chain leads to no trust store")]
    RevocationNotAsked {
        /// Its subject.
        subject: Untrusted,
    },
    /// The manifest refers to another artifact.
    #[error("the signature's manifest refers to {}, not to the image {image}",
        .manifest.as_ref().map_or_else(|| "nothing".to_owned(), ToString::to_string))]
    ManifestSubject {
        /// What the manifest names.
        manifest: Option<Digest>,
        /// The image.
        image: Digest,
    },
    /// The payload signs another artifact.
    #[error("the signature is one of {signed}, not of the image {} ({}, {} bytes)",
        .image.digest, .image.media_type, .image.size)]
    Target {
        /// What is signed.
        signed: Box<SignedArtifact>,
        /// The image.
        image: Box<Descriptor>,
    },
    /// The payload signs another file, or names it by another hash than that of the signature's algorithm.
    #[error("the signature is one of {signed}, not of the file {digest} ({size} bytes); its algorithm's hash is {}", .hash.as_str())]
    Blob {
        /// What is signed.
        signed: Box<SignedArtifact>,
        /// The file's digest.
        digest: Box<ArtifactDigest>,
        /// The file's size.
        size: u64,
        /// The hash by which the signature has to name a file.
        hash: Hash,
    },
    /// The payload signs the file as something else.
    #[error("the signature is one of a file of the type {signed}, not {asked}")]
    BlobMediaType {
        /// The media type that is signed.
        signed: Untrusted,
        /// The one that the asker expects.
        asked: Untrusted,
    },
}

/// Why a countersignature is needed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TimestampNeed {
    /// The statement names a timestamp store and verifies timestamps always.
    Always,
    /// The statement verifies timestamps after a certificate has expired, and one has.
    Expired {
        /// Its subject.
        subject: Untrusted,
        /// When it expired.
        not_after: Timestamp,
    },
}

impl fmt::Display for TimestampNeed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Always => f.write_str("the statement asks for one"),
            Self::Expired { subject, not_after } => {
                write!(f, "the certificate {subject} expired at {not_after}")
            }
        }
    }
}

impl Failure {
    /// The stable code.
    pub fn code(&self) -> Code {
        match self {
            Self::Envelope(error) if error.is_limit() => Code::LimitExceeded,
            Self::Timestamp(error) if error.is_limit() => Code::LimitExceeded,
            Self::Envelope(_) => Code::SignatureInvalid,
            Self::CriticalAttribute(_) | Self::PluginNotAsked(_) => Code::SignatureUnsupported,
            Self::PluginUnavailable(unavailable) => unavailable.code(),
            Self::PluginRefused(_) => Code::PluginRefused,
            Self::NoSuchTrustStore(_) | Self::NoTrustStoreForScheme { .. } | Self::Untrusted { .. } => {
                Code::UntrustedSigner
            }
            Self::Identity(_) => Code::IdentityMismatch,
            Self::Denied(_) => Code::DeniedByList,
            Self::Expired { .. } => Code::SignatureExpired,
            Self::CertificateNotValid { .. } => Code::CertificateExpired,
            Self::TimestampRequired(_) => Code::TimestampRequired,
            Self::Timestamp(_) | Self::NotValidAtTimestamp { .. } => Code::TimestampInvalid,
            Self::TooOld { .. } | Self::NoAuthenticatedTime { .. } => Code::SignatureTooOld,
            Self::Annotation { .. } => Code::AnnotationMismatch,
            Self::Revoked(_) => Code::CertificateRevoked,
            Self::RevocationUnknown(_) | Self::RevocationNotAsked { .. } => Code::RevocationUnknown,
            Self::ManifestSubject { .. } | Self::Target { .. } | Self::Blob { .. } | Self::BlobMediaType { .. } => {
                Code::SubjectMismatch
            }
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
pub struct Integrity {
    envelope: Arc<VerifiedEnvelope>,
    digest: Digest,
}

impl Integrity {
    /// What is signed, and by whom.
    pub fn envelope(&self) -> &VerifiedEnvelope {
        &self.envelope
    }

    /// The digest of the envelope's bytes.
    pub fn digest(&self) -> &Digest {
        &self.digest
    }
}

/// Parses the envelope and verifies its signature. Nothing about it depends on a policy or the time.
///
/// # Errors
///
/// When it does not hold together.
pub fn integrity(signature: &evidence::Signature) -> Result<Integrity, Failure> {
    let layer = &signature.layer().descriptor;
    let format = Format::of(&layer.media_type)?;
    verify_envelope(format, signature.envelope(), || layer.digest.clone())
}

/// The same for a signature that is a file of its own.
///
/// # Errors
///
/// When it does not hold together.
pub fn open(format: Format, envelope: &[u8]) -> Result<Integrity, Failure> {
    verify_envelope(format, envelope, || Digest::sha256(envelope))
}

fn verify_envelope(format: Format, bytes: &[u8], digest: impl FnOnce() -> Digest) -> Result<Integrity, Failure> {
    let envelope = Envelope::parse(format, bytes)?.verify()?;
    Ok(Integrity {
        envelope: Arc::new(envelope),
        digest: digest(),
    })
}

/// Every critical attribute is understood.
#[derive(Clone, Debug)]
pub struct Understood(());

/// Refuses what this version does not understand but must (notation spec: signature-specification.md#signed-attributes).
/// notation itself accepts unknown critical attributes where no plugin is asked for.
pub(super) fn attributes(integrity: &Integrity) -> Result<Understood, Failure> {
    let attributes = integrity.envelope().attributes();
    match attributes.critical.first() {
        Some(attribute) if attributes.plugin.is_none() => Err(Failure::CriticalAttribute((&attribute.name).into())),
        _ => Ok(Understood(())),
    }
}

/// The plugin was heard, or the signature asks for none.
#[derive(Clone, Debug)]
pub struct Consulted(Option<Heard>);

#[derive(Clone, Debug)]
struct Heard {
    finding: PluginFinding,
    until: Timestamp,
    /// The critical attributes that the plugin processed, for people: who signed is often there and nowhere else.
    attributes: String,
}

/// Consults the plugin that the signature asks for (notation spec: plugin-extensibility.md). A plugin that understands the
/// attributes is part of integrity: no level lets a signature pass whose plugin is not heard.
pub(super) fn plugin(
    integrity: &Integrity,
    authenticity: &Authenticity,
    terms: &Terms<'_>,
    circumstances: &Circumstances<'_>,
) -> Result<Consulted, Stop> {
    let envelope = integrity.envelope();
    if let (Some(required), None) = (&envelope.attributes().plugin, authenticity.outcome().passed()) {
        return Err(Failure::PluginNotAsked(required.name.clone()).into());
    }
    match plugin::consult(envelope, terms.identities, terms.checks, circumstances.answers) {
        Consultation::NotAsked => Ok(Consulted(None)),
        Consultation::Unsupported(name) => Err(Failure::CriticalAttribute((&name).into()).into()),
        Consultation::Needs(queries) => Err(Stop::Needs(queries)),
        Consultation::Unavailable(unavailable) => Err(Failure::from(unavailable).into()),
        Consultation::Answered(finding) => {
            // Nobody signed its word, so it counts for a while only.
            let lifetime = SignedDuration::try_from(PLUGIN_VERDICT_LIFETIME).unwrap_or(SignedDuration::ZERO);
            let until = circumstances.now.saturating_add(lifetime).unwrap_or(circumstances.now);
            let critical = &envelope.attributes().critical;
            let text = critical.iter().filter_map(|attribute| match &attribute.value {
                AttributeValue::Text(value) => Some(format!(
                    "; {}: {}",
                    Untrusted::from(&attribute.name),
                    Untrusted::new(value)
                )),
                _ => None,
            });
            Ok(Consulted(Some(Heard {
                finding,
                until,
                attributes: text.collect(),
            })))
        }
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

/// Recognises the leaf's subject. Part of authenticity, and under its action. Where a plugin judges identities, its word
/// replaces the policy's own names.
pub(super) fn identity(
    integrity: &Integrity,
    consulted: &Consulted,
    identities: &TrustedIdentities,
    action: Action,
) -> Result<Identity, Failure> {
    let leaf = integrity.envelope().chain().leaf();
    let recognised = match consulted.finding() {
        Some(PluginFinding {
            plugin,
            trusted_identity: Some(word),
            ..
        }) => match word {
            Ok(()) => Ok(RecognisedIdentity::ByPlugin {
                subject: subject(leaf),
                plugin: plugin.clone(),
            }),
            Err(refusal) => Err(refusal.clone().into()),
        },
        _ => identities.recognises(leaf).map_err(Failure::from),
    };
    Outcome::new(recognised, action).map(Identity)
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

/// The time that the certificates were judged by.
#[derive(Clone, Debug)]
pub enum AuthenticTime {
    /// Now, because nobody vouches for another one. They are all valid in this interval.
    Now(Interval),
    /// The time that the signing authority vouches for.
    SigningAuthority(Timestamp),
    /// The time of a timestamp authority's countersignature.
    Countersigned(Arc<Countersignature>),
}

impl AuthenticTime {
    /// When the certificates were valid by this time. That a past moment was inside their validity stays true.
    fn interval(&self) -> Interval {
        match self {
            Self::Now(validity) => *validity,
            Self::SigningAuthority(_) | Self::Countersigned(_) => Interval::ALWAYS,
        }
    }

    /// The earliest moment at which the signature may have been made, as far as anybody but the signer says so.
    fn authenticated(&self) -> Option<Timestamp> {
        match self {
            Self::Now(_) => None,
            Self::SigningAuthority(time) => Some(*time),
            Self::Countersigned(countersignature) => Some(countersignature.earliest()),
        }
    }
}

/// The signer as deny-lists know it before anybody says when it signed.
pub(super) struct Suspect {
    facts: SignerFacts,
    /// Whether an entry names it, unless it signed outside the entry's window.
    named: bool,
}

/// Everything that can be said of the signer by the envelope alone. `digests` are the signature's own.
pub(super) fn suspect(integrity: &Integrity, digests: &[&Digest], denied: &DenyList) -> Suspect {
    let facts = SignerFacts::of_chain(integrity.envelope().chain().certificates(), None);
    let named = denied.find(digests.iter().copied(), [&facts]).is_some();
    Suspect { facts, named }
}

/// The certificates were valid at the time that counts.
#[derive(Clone, Debug)]
pub struct AuthenticTimestamp {
    outcome: Outcome<AuthenticTime>,
    /// Whether more than the validity of certificates rests on the time.
    decides: bool,
}

/// Without a countersignature the time that counts is now; a signing authority vouches for its own
/// (notation spec: trust-store-trust-policy.md#steps, authentic timestamp).
pub(super) fn authentic_timestamp(
    integrity: &Integrity,
    terms: &Terms<'_>,
    stores: &TrustStores,
    conditions: &Conditions,
    suspect: &Suspect,
    now: Timestamp,
) -> Result<AuthenticTimestamp, Failure> {
    let time = match integrity.envelope().attributes().scheme {
        SigningScheme::SigningAuthority {
            authentic_signing_time: at,
        } => valid_at(integrity, at).map(|_| AuthenticTime::SigningAuthority(at)),
        SigningScheme::X509 { .. } => signing_time(integrity, terms, stores, conditions, suspect, now),
    };
    Ok(AuthenticTimestamp {
        outcome: Outcome::new(time, terms.checks.authentic_timestamp)?,
        decides: conditions.minimum_signing_time.is_some() || suspect.named,
    })
}

/// The time that counts under the scheme notary.x509. A statement without a timestamp store looks at no countersignature.
fn signing_time(
    integrity: &Integrity,
    terms: &Terms<'_>,
    stores: &TrustStores,
    conditions: &Conditions,
    suspect: &Suspect,
    now: Timestamp,
) -> Result<AuthenticTime, Failure> {
    let envelope = integrity.envelope();
    let mut authorities = Vec::new();
    for name in terms.trust_stores {
        if name.kind == TrustStoreKind::TimestampAuthority {
            let store = stores.0.get(name);
            authorities.push(store.ok_or_else(|| Failure::NoSuchTrustStore(name.clone()))?);
        }
    }
    let expired = || {
        let certificate = envelope.chain().certificates().find(|one| now > one.not_after())?;
        Some(TimestampNeed::Expired {
            subject: subject(certificate),
            not_after: certificate.not_after(),
        })
    };
    let need = match terms.verify_timestamp {
        _ if authorities.is_empty() => None,
        VerifyTimestamp::Always => Some(TimestampNeed::Always),
        VerifyTimestamp::AfterCertificateExpiry => expired(),
    };
    let by_now = || valid_at(integrity, now).map(AuthenticTime::Now);
    // A minimum signing time asks for authenticated time, so a countersignature is looked at where it could give one. So does
    // a window of the deny-list: there one that does not hold says nothing, and one that does makes no certificate valid.
    let of_use = !authorities.is_empty() && conditions.minimum_signing_time.is_some();
    let may_clear = !authorities.is_empty() && suspect.named;
    match (envelope.timestamp_token(), need) {
        (None, Some(need)) => Err(Failure::TimestampRequired(need)),
        (Some(token), Some(_)) => countersigned(envelope, token, &authorities),
        (Some(token), None) if of_use => countersigned(envelope, token, &authorities),
        (Some(token), None) if may_clear => {
            let valid_now = by_now()?;
            Ok(countersigned(envelope, token, &authorities).unwrap_or(valid_now))
        }
        (_, None) => by_now(),
    }
}

/// The time of the countersignature, if it holds and the chain was valid in all of the time in which it may have been made.
fn countersigned(
    envelope: &VerifiedEnvelope,
    token: &[u8],
    authorities: &[&Arc<TrustStore>],
) -> Result<AuthenticTime, Failure> {
    let anchors = authorities.iter().flat_map(|store| store.certificates());
    let countersignature = timestamp::verify(token, envelope.signature(), anchors)?;
    let (earliest, latest) = (countersignature.earliest(), countersignature.latest());
    // The whole of the time in which the token may have been made lies inside the validity of every certificate.
    let outside = |certificate: &&Certificate| earliest < certificate.not_before() || latest > certificate.not_after();
    if let Some(certificate) = envelope.chain().certificates().find(outside) {
        return Err(Failure::NotValidAtTimestamp {
            subject: subject(certificate),
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            earliest,
            latest,
        });
    }
    Ok(AuthenticTime::Countersigned(Arc::new(countersignature)))
}

/// Every certificate of the chain is valid at a time. Returns the interval in which all of them are.
fn valid_at(integrity: &Integrity, at: Timestamp) -> Result<Interval, Failure> {
    let mut certificates = integrity.envelope().chain().certificates();
    certificates.try_fold(Interval::ALWAYS, |validity, certificate| {
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
    })
}

/// No entry of the deny-list names the signature, a certificate that it rests on, or its signer. No level only logs that.
#[derive(Clone, Debug)]
pub struct NotDenied(SignerFacts);

/// Asks the deny-list with everything that is known. A window counts the time of a timestamp authority alone: a signing
/// authority's is the word of the very signer that is on the list.
pub(super) fn deny_list(
    integrity: &Integrity,
    suspect: Suspect,
    time: &AuthenticTimestamp,
    digests: &[&Digest],
    denied: &DenyList,
) -> Result<NotDenied, Failure> {
    let facts = match time.outcome().passed() {
        Some(AuthenticTime::Countersigned(countersignature)) => suspect.facts.vouched_for(
            countersignature.chain(),
            Some(Made {
                after: integrity.envelope().chain().leaf().not_before(),
                by: countersignature.latest(),
            }),
        ),
        Some(AuthenticTime::Now(_) | AuthenticTime::SigningAuthority(_)) | None => suspect.facts,
    };
    match denied.find(digests.iter().copied(), [&facts]) {
        Some(entry) => Err(Failure::Denied(Box::new(entry.clone()))),
        None => Ok(NotDenied(facts)),
    }
}

/// The signature is not older than the rule allows.
#[derive(Clone, Debug)]
pub struct SigningTime(Option<Timestamp>);

/// Counts authenticated time only: a signer's own claim would let an old signature be made young.
pub(super) fn signing_time_floor(
    time: &AuthenticTimestamp,
    minimum: Option<Timestamp>,
) -> Result<SigningTime, Failure> {
    let Some(minimum) = minimum else {
        return Ok(SigningTime(None));
    };
    match time.outcome().passed().and_then(AuthenticTime::authenticated) {
        Some(made) if made >= minimum => Ok(SigningTime(Some(made))),
        Some(made) => Err(Failure::TooOld { made, minimum }),
        None => Err(Failure::NoAuthenticatedTime { minimum }),
    }
}

/// The payload has the annotations that the rule asks for.
#[derive(Clone, Debug)]
pub struct Annotated(usize);

/// notation spec: signature-specification.md#payload. Keys and values are compared byte for byte.
pub(super) fn annotations(integrity: &Integrity, wanted: &BTreeMap<Box<str>, Box<str>>) -> Result<Annotated, Failure> {
    let has = integrity.envelope().annotations();
    let mut wanted_all = wanted.iter();
    match wanted_all.find(|&(key, value)| has.get(&**key).map(String::as_str) != Some(&**value)) {
        Some((key, value)) => Err(Failure::Annotation {
            key: Untrusted::new(key),
            value: Untrusted::new(value),
        }),
        None => Ok(Annotated(wanted.len())),
    }
}

/// No certificate of the timestamp authority is revoked.
#[derive(Clone, Debug)]
pub struct TimestampRevocation(Option<Outcome<NotRevoked>>);

/// No certificate of the signer is revoked.
#[derive(Clone, Debug)]
pub struct Revocation(Outcome<NotRevokedBy>);

/// Who says that no certificate of the signer is revoked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NotRevokedBy {
    /// Their issuers, or nobody could revoke them.
    Issuers(NotRevoked),
    /// A plugin that judges revocation.
    Plugin(PluginName),
}

/// What is known about the revocation of both chains. They are looked at together, so that what both lack is asked at once.
pub(super) struct Revocations {
    pub(super) timestamp: Result<TimestampRevocation, Stop>,
    pub(super) signer: Result<Revocation, Stop>,
    /// The answers that are signed by those who may.
    pub(super) proven: Proven,
}

/// notation spec: trust-store-trust-policy.md#certificate-revocation-evaluation. The timestamp authority's revocation is
/// part of its countersignature's worth, so it has the action of that step and no level skips it.
pub(super) fn revocations(
    integrity: &Integrity,
    authenticity: &Authenticity,
    consulted: &Consulted,
    time: &AuthenticTimestamp,
    checks: &Checks,
    conditions: &Conditions,
    circumstances: &Circumstances<'_>,
) -> Revocations {
    let scheme = integrity.envelope().attributes().scheme;
    let context = revocation::Context {
        answers: circumstances.answers,
        local: circumstances.local,
        now: circumstances.now,
        grace: conditions.revocation_grace,
        authentic_signing_time: match scheme {
            SigningScheme::X509 { .. } => None,
            SigningScheme::SigningAuthority { authentic_signing_time } => Some(authentic_signing_time),
        },
    };
    let mut proven = Proven::new();
    let timestamp = match time.outcome().passed() {
        Some(AuthenticTime::Countersigned(countersignature)) => {
            // Where the rule has a minimum signing time, or the deny-list a window, the authority's time is what the signature
            // passes by: then no level only logs that the authority is revoked.
            let action = match time.decides {
                true => Action::Enforce,
                false => checks.authentic_timestamp,
            };
            // A timestamp authority has no authority over its own signing time.
            let context = revocation::Context {
                authentic_signing_time: None,
                ..context
            };
            look(countersignature.chain(), &context, &mut proven)
                .and_then(|found| decide(found, action))
                .map(Some)
        }
        _ => Ok(None),
    };
    let action = match checks.revocation {
        RevocationAction::Enforce => Some(Action::Enforce),
        RevocationAction::Log => Some(Action::Log),
        RevocationAction::Skip => None,
    };
    let signer = match (action, consulted.finding(), authenticity.outcome()) {
        (None, _, _) => Ok(Outcome::Skipped),
        (
            Some(action),
            Some(PluginFinding {
                plugin,
                revocation: Some(word),
                ..
            }),
            _,
        ) => {
            let word = word.clone().map(|()| NotRevokedBy::Plugin(plugin.clone()));
            decide(word.map_err(Failure::from), action)
        }
        (Some(action), _, Outcome::Passed(_)) => {
            look(integrity.envelope().chain().certificates(), &context, &mut proven)
                .and_then(|found| decide(found.map(NotRevokedBy::Issuers), action))
        }
        // Nothing that a stranger's envelope names is touched: only what can be said without asking counts.
        (Some(action), _, _) => {
            let context = revocation::Context {
                answers: &Answers::default(),
                ..context
            };
            let chain = integrity.envelope().chain();
            let found = look(chain.certificates(), &context, &mut proven).unwrap_or_else(|_| {
                let subject = subject(chain.leaf());
                Err(Failure::RevocationNotAsked { subject })
            });
            decide(found.map(NotRevokedBy::Issuers), action)
        }
    };
    Revocations {
        timestamp: timestamp.map(TimestampRevocation),
        signer: signer.map(Revocation),
        proven,
    }
}

/// What is known about the revocation of a chain: that none of it is revoked, or why that cannot be said; or what to ask.
fn look<'a>(
    chain: impl IntoIterator<Item = &'a Certificate>,
    context: &revocation::Context<'_>,
    proven: &mut Proven,
) -> Result<Result<NotRevoked, Failure>, Stop> {
    let status = revocation::check(chain, context);
    proven.extend(status.proven.into_iter().filter_map(|query| {
        let bytes = context.answers.get(&query)?.now.as_ref().ok()?.clone();
        Some((query, bytes))
    }));
    match status.outcome {
        revocation::Outcome::NotRevoked(found) => Ok(Ok(found)),
        revocation::Outcome::Revoked(revoked) => Ok(Err(revoked.into())),
        revocation::Outcome::Unknown(unknown) => Ok(Err(unknown.into())),
        revocation::Outcome::Needs(queries) => Err(Stop::Needs(queries)),
    }
}

fn decide<T>(found: Result<T, Failure>, action: Action) -> Result<Outcome<T>, Stop> {
    Outcome::new(found, action).map_err(Stop::Failed)
}

/// The signature is one of this image or file.
#[derive(Clone, Debug)]
pub struct SubjectMatch(Matched);

#[derive(Clone, Debug)]
pub(super) enum Matched {
    Image,
    Blob,
}

/// The payload's descriptor and the image's are equal in media type, digest and size, and the manifest refers to the
/// image. notation does not look at the manifest's subject again.
pub(super) fn subject_match(
    integrity: &Integrity,
    signature: &evidence::Signature,
    image: &Descriptor,
) -> Result<SubjectMatch, Failure> {
    let manifest = signature.manifest().subject().map(|subject| &subject.digest);
    if manifest != Some(&image.digest) {
        return Err(Failure::ManifestSubject {
            manifest: manifest.cloned(),
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
    Ok(SubjectMatch(Matched::Image))
}

/// The payload names the file by size and by the hash of the signature's algorithm, and by the media type if one is asked
/// for (notation spec: signature-specification.md#blob-signatures). A signature that names it by another hash is
/// refused, as notation does: a weaker one would be the weakest link.
pub(super) fn blob_match(integrity: &Integrity, blob: &Blob) -> Result<SubjectMatch, Failure> {
    let signed = integrity.envelope().target();
    let hash = integrity.envelope().chain().algorithm().hash();
    if blob.digest.hash() != hash || *signed.digest() != blob.digest || signed.size() != blob.size {
        return Err(Failure::Blob {
            signed: Box::new(signed.clone()),
            digest: Box::new(blob.digest.clone()),
            size: blob.size,
            hash,
        });
    }
    match &blob.media_type {
        Some(asked) if **asked != *signed.media_type() => Err(Failure::BlobMediaType {
            signed: signed.media_type().into(),
            asked: Untrusted::new(asked),
        }),
        _ => Ok(SubjectMatch(Matched::Blob)),
    }
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
    /// How it went; the time that the certificates were judged by.
    pub fn outcome(&self) -> &Outcome<AuthenticTime> {
        &self.outcome
    }

    /// When it holds. What a level only logs does not end it.
    pub fn interval(&self) -> Interval {
        self.outcome.passed().map_or(Interval::ALWAYS, AuthenticTime::interval)
    }
}

impl NotDenied {
    /// What a later deny-list may name.
    pub fn facts(&self) -> &SignerFacts {
        &self.0
    }
}

impl Consulted {
    /// What the plugin found; none where the signature asks for none.
    pub fn finding(&self) -> Option<&PluginFinding> {
        self.0.as_ref().map(|heard| &heard.finding)
    }

    /// The textual attributes that it processed, each after a semicolon.
    pub fn attributes(&self) -> &str {
        self.0.as_ref().map_or("", |heard| &heard.attributes)
    }

    /// When its word counts.
    pub fn interval(&self) -> Interval {
        let until = self.0.as_ref().map_or(Timestamp::MAX, |heard| heard.until);
        Interval {
            not_before: Timestamp::MIN,
            until,
        }
    }
}

impl SigningTime {
    /// The earliest moment at which the signature may have been made, where the rule has a minimum.
    pub fn made(&self) -> Option<Timestamp> {
        self.0
    }
}

impl Annotated {
    /// How many annotations the rule asks for.
    pub fn count(&self) -> usize {
        self.0
    }
}

impl SubjectMatch {
    pub(super) fn matched(&self) -> &Matched {
        &self.0
    }
}

impl TimestampRevocation {
    /// How it went; none where no countersignature counts.
    pub fn outcome(&self) -> Option<&Outcome<NotRevoked>> {
        self.0.as_ref()
    }
}

impl Revocation {
    /// How it went; who says so.
    pub fn outcome(&self) -> &Outcome<NotRevokedBy> {
        &self.0
    }
}
