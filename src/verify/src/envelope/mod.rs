//! Signature envelopes of the Notary Project: JWS and COSE, with the rules that both share
//! (notation spec: signature-specification.md#signature-envelope).
//!
//! [`Envelope`] is what a stranger wrote, parsed. [`VerifiedEnvelope`] is what the owner of the leaf's key signed: only
//! it gives out the payload and the signed attributes. Neither says anything about who the owner is.

mod cbor;
mod cose;
pub(crate) mod json;
mod jws;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use semver::Version;
use thiserror::Error;

use crate::Timestamp;
use crate::artifact::SignedArtifact;
use crate::crypto::{self, BadSignature, EnvelopeAlgorithm};
use crate::descriptor::{MediaType, ParseDescriptorError};
use crate::digest::ParseDigestError;
use crate::limits::{MAX_ATTRIBUTES, MAX_CHAIN_LENGTH, MAX_ENVELOPE_SIZE, MAX_ENVELOPE_VALUES, MAX_NESTING};
use crate::query::{ParsePluginNameError, PluginName};
use crate::untrusted::Untrusted;
use crate::x509::certificate::{Certificate, ParseCertificateError};
use crate::x509::chain::{Chain, ChainError};

/// The one content type of a payload (notation spec: signature-specification.md#payload).
pub(crate) const PAYLOAD: &str = "application/vnd.cncf.notary.payload.v1+json";

// The names of headers, the same in both formats (notation spec: signature-specification.md#signed-attributes).
const SIGNING_SCHEME: &str = "io.cncf.notary.signingScheme";
const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
const AUTHENTIC_SIGNING_TIME: &str = "io.cncf.notary.authenticSigningTime";
const EXPIRY: &str = "io.cncf.notary.expiry";
const VERIFICATION_PLUGIN: &str = "io.cncf.notary.verificationPlugin";
const VERIFICATION_PLUGIN_MIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";
const TIMESTAMP_SIGNATURE: &str = "io.cncf.notary.timestampSignature";

const X509: &str = "notary.x509";
const SIGNING_AUTHORITY: &str = "notary.x509.signingAuthority";

/// The encoding of an envelope.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Format {
    /// Flattened JSON (RFC 7515 §7.2.2).
    Jws,
    /// `COSE_Sign1` (RFC 9052 §4.2).
    Cose,
}

impl Format {
    /// The format of a manifest's layer.
    ///
    /// # Errors
    ///
    /// When the media type is of neither.
    pub fn of(media_type: &MediaType) -> Result<Self, EnvelopeError> {
        match media_type.as_str() {
            "application/jose+json" => Ok(Self::Jws),
            "application/cose" => Ok(Self::Cose),
            other => Err(EnvelopeError::UnknownMediaType(other.into())),
        }
    }
}

/// What the signer claims about time, by the scheme (notation spec: signing-scheme.md).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SigningScheme {
    /// `notary.x509`: the time is the signer's own claim and proves nothing.
    X509 {
        /// When the signer says that it signed.
        signing_time: Timestamp,
    },
    /// `notary.x509.signingAuthority`: the time is vouched for by the signing authority.
    SigningAuthority {
        /// When the signing authority says that it signed.
        authentic_signing_time: Timestamp,
    },
}

impl SigningScheme {
    /// The time of either scheme.
    pub const fn time(self) -> Timestamp {
        match self {
            Self::X509 { signing_time } => signing_time,
            Self::SigningAuthority { authentic_signing_time } => authentic_signing_time,
        }
    }
}

impl fmt::Display for SigningScheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::X509 { .. } => X509,
            Self::SigningAuthority { .. } => SIGNING_AUTHORITY,
        })
    }
}

/// The plugin that a signer asks to be consulted
/// (notation spec: signature-specification.md#extended-attributes-for-notation-plugins).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequiredPlugin {
    /// Its name. It leads to a program only where the node's configuration has the same.
    pub name: PluginName,
    /// The oldest version that will do.
    pub minimum_version: Option<Version>,
}

/// The name of a signed attribute. In COSE it may be a number, which is never the text of the same digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum AttributeName {
    /// A COSE label without text.
    Number(i64),
    /// Any other.
    Text(Box<str>),
}

impl From<&str> for AttributeName {
    fn from(text: &str) -> Self {
        Self::Text(text.into())
    }
}

impl From<&AttributeName> for Untrusted {
    fn from(name: &AttributeName) -> Self {
        match name {
            AttributeName::Number(number) => format!("#{number}").into(),
            AttributeName::Text(text) => Self::new(text),
        }
    }
}

/// The value of a signed attribute, as far as JSON and COSE have it in common. A plugin is told primitive values only
/// (notation spec: plugin-extensibility.md#verification-workflow-using-plugin).
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AttributeValue {
    /// True or false.
    Boolean(bool),
    /// Something that is no primitive value of JSON: an array, a map, bytes, a tag, a number out of range.
    Composite,
    /// Nothing.
    Null,
    /// A number.
    Number(serde_json::Number),
    /// Text.
    Text(String),
}

/// A critical attribute that is not one of the specification's own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CriticalAttribute {
    /// Its name.
    pub name: AttributeName,
    /// Its value.
    pub value: AttributeValue,
}

/// The signed attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// The signing scheme with its time.
    pub scheme: SigningScheme,
    /// From when on the signature no longer counts.
    pub expiry: Option<Timestamp>,
    /// The plugin that the signer asks to be consulted.
    pub plugin: Option<RequiredPlugin>,
    /// The attributes that a verifier must understand, beside those of the specification itself, in the signer's order.
    pub critical: Vec<CriticalAttribute>,
}

/// An envelope as it came: parsed, every rule of its headers checked, nothing verified.
#[derive(Clone, Debug)]
pub struct Envelope {
    algorithm: EnvelopeAlgorithm,
    certificates: Vec<Certificate>,
    signed: Vec<u8>,
    signature: Vec<u8>,
    attributes: Attributes,
    payload: Vec<u8>,
    timestamp_token: Option<Vec<u8>>,
}

/// An envelope whose signature verifies with the leaf of a well-formed chain.
#[derive(Clone, Debug)]
pub struct VerifiedEnvelope {
    chain: Chain,
    attributes: Attributes,
    signature: Vec<u8>,
    target: SignedArtifact,
    annotations: BTreeMap<String, String>,
    timestamp_token: Option<Vec<u8>>,
}

/// Why bytes are not an envelope, or why it does not hold together.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EnvelopeError {
    /// The algorithm is none that may be used.
    #[error("the algorithm {0} is not supported")]
    Algorithm(Untrusted),
    /// The algorithm is not the one of the signer's key.
    #[error("the envelope says {header}, but the signing certificate's key signs with {key}")]
    AlgorithmMismatch {
        /// What the header says.
        header: &'static str,
        /// What belongs to the key.
        key: &'static str,
    },
    /// Text is not base64 in the one form that its place allows.
    #[error("{0} is not valid base64")]
    Base64(&'static str),
    /// A certificate of the chain is malformed.
    #[error("certificate {position}: {cause}")]
    Certificate {
        /// Where in the chain.
        position: usize,
        /// Why.
        cause: ParseCertificateError,
    },
    /// The chain breaks a rule.
    #[error(transparent)]
    Chain(#[from] ChainError),
    /// The payload is of another type.
    #[error("the content type is {0}: expected {PAYLOAD}")]
    ContentType(Untrusted),
    /// A header is marked critical, but absent or not to be marked.
    #[error("the header {0} is marked critical, but may not be or is absent")]
    CriticalAbsent(Untrusted),
    /// A header is marked critical twice.
    #[error("the header {0} is marked critical twice")]
    CriticalTwice(Untrusted),
    /// A label is in both the protected and the unprotected header.
    #[error("the header {0} is both protected and unprotected, or must be protected")]
    DuplicateHeader(Untrusted),
    /// The signature expires before it was made.
    #[error("the expiry {expiry} is not after the signing time {signing_time}")]
    ExpiryBeforeSigning {
        /// The expiry.
        expiry: Timestamp,
        /// The signing time.
        signing_time: Timestamp,
    },
    /// The encoding is malformed or not strict: duplicate keys and indefinite lengths are here.
    #[error("the envelope is malformed: {0}")]
    Malformed(Untrusted),
    /// A field or header is absent.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// A header must be marked critical, and is not.
    #[error("the header {0} is not marked critical")]
    NotCritical(&'static str),
    /// The verification plugin is none that could be.
    #[error(transparent)]
    Plugin(#[from] ParsePluginNameError),
    /// The minimum version of the verification plugin is no semantic version.
    #[error("the minimum version {0} of the verification plugin is not a semantic version")]
    PluginVersion(Untrusted),
    /// The payload is not what it has to be.
    #[error("the payload is malformed: {0}")]
    Payload(Untrusted),
    /// The signature does not verify.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// The signing scheme is none that there is.
    #[error("the signing scheme {0} is not supported")]
    SigningScheme(Untrusted),
    /// A time is not in the one form that its place allows.
    #[error("{0} is not a time in the expected form")]
    Time(&'static str),
    /// Deeper than [`MAX_NESTING`].
    #[error("the envelope nests deeper than {MAX_NESTING}")]
    TooDeep,
    /// More bytes than [`MAX_ENVELOPE_SIZE`].
    #[error("the envelope has {0} bytes, more than {MAX_ENVELOPE_SIZE}")]
    TooLarge(usize),
    /// More headers than [`MAX_ATTRIBUTES`].
    #[error("the envelope has more than {MAX_ATTRIBUTES} headers")]
    TooManyAttributes,
    /// More certificates than [`MAX_CHAIN_LENGTH`].
    #[error("the envelope has {0} certificates, more than {MAX_CHAIN_LENGTH}")]
    TooManyCertificates(usize),
    /// More values than [`MAX_ENVELOPE_VALUES`].
    #[error("the envelope has more than {MAX_ENVELOPE_VALUES} values")]
    TooManyValues,
    /// A field or header has another type.
    #[error("{name} is not {expected}")]
    Type {
        /// The field.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// A header that the scheme does not allow.
    #[error("the header {header} does not belong to the signing scheme {scheme}")]
    UnexpectedHeader {
        /// The header.
        header: &'static str,
        /// The scheme.
        scheme: &'static str,
    },
    /// The media type of the envelope is of neither format.
    #[error("{0} is not the media type of an envelope: expected application/jose+json or application/cose")]
    UnknownMediaType(Untrusted),
}

impl EnvelopeError {
    /// Whether a limit was reached, rather than a rule broken.
    pub const fn is_limit(&self) -> bool {
        matches!(
            self,
            Self::TooDeep
                | Self::TooLarge(_)
                | Self::TooManyAttributes
                | Self::TooManyCertificates(_)
                | Self::TooManyValues
                | Self::Chain(ChainError::TooLong(_))
                | Self::Certificate {
                    cause: ParseCertificateError::TooLarge(_)
                        | ParseCertificateError::TooManyAttributes(_)
                        | ParseCertificateError::TooManyExtensions(_)
                        | ParseCertificateError::TooManyPurposes(_),
                    ..
                }
        )
    }
}

impl Envelope {
    /// Parses an envelope and checks the rules of its headers.
    ///
    /// # Errors
    ///
    /// When it is malformed in any way. What is wrong with the signature or the chain is found by [`Self::verify`].
    pub fn parse(format: Format, bytes: &[u8]) -> Result<Self, EnvelopeError> {
        if bytes.len() > MAX_ENVELOPE_SIZE {
            return Err(EnvelopeError::TooLarge(bytes.len()));
        }
        match format {
            Format::Jws => jws::parse(bytes),
            Format::Cose => cose::parse(bytes),
        }
    }

    /// Checks that the chain is well-formed, that the algorithm is the one of the leaf's key, that the signature
    /// verifies with it, and reads the payload.
    ///
    /// # Errors
    ///
    /// When any of this does not hold.
    pub fn verify(self) -> Result<VerifiedEnvelope, EnvelopeError> {
        let chain = Chain::check(self.certificates)?;
        if self.algorithm != chain.algorithm() {
            return Err(EnvelopeError::AlgorithmMismatch {
                header: self.algorithm.as_str(),
                key: chain.algorithm().as_str(),
            });
        }
        crypto::verify(
            self.algorithm.signature_algorithm(),
            chain.leaf().public_key(),
            &self.signed,
            &self.signature,
        )?;
        let (target, annotations) = payload(&self.payload)?;
        Ok(VerifiedEnvelope {
            target,
            annotations,
            chain,
            attributes: self.attributes,
            signature: self.signature,
            timestamp_token: self.timestamp_token,
        })
    }
}

impl VerifiedEnvelope {
    /// The chain. Its leaf's key signed; whether it is trusted is another question.
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// The signed attributes.
    pub fn attributes(&self) -> &Attributes {
        &self.attributes
    }

    /// The signed artifact: the payload's `targetArtifact`.
    pub fn target(&self) -> &SignedArtifact {
        &self.target
    }

    /// What the signer says about the artifact: the annotations of `targetArtifact`, notation's user metadata.
    pub fn annotations(&self) -> &BTreeMap<String, String> {
        &self.annotations
    }

    /// The signature's own bytes, as a countersignature covers them.
    pub fn signature(&self) -> &[u8] {
        &self.signature
    }

    /// The countersignature of a timestamp authority, if there is one: a token that nobody has looked at yet.
    pub fn timestamp_token(&self) -> Option<&[u8]> {
        self.timestamp_token.as_deref()
    }
}

/// Reads `{"targetArtifact": {mediaType, digest, size, annotations?}}`. Other fields are ignored
/// (notation spec: signature-specification.md#payload).
fn payload(payload: &[u8]) -> Result<(SignedArtifact, BTreeMap<String, String>), EnvelopeError> {
    let malformed = |text: &str| EnvelopeError::Payload(text.into());
    let document = json::parse(payload).map_err(|error| EnvelopeError::Payload(error.to_string().into()))?;
    let target = document
        .get("targetArtifact")
        .ok_or_else(|| malformed("targetArtifact is missing"))?;
    let text = |name: &str| {
        target
            .get(name)
            .and_then(serde_json::Value::as_str)
            .ok_or_else(|| malformed(&format!("targetArtifact has no {name}")))
    };
    let digest = text("digest")?
        .parse()
        .map_err(|error: ParseDigestError| malformed(&error.to_string()))?;
    let size = target
        .get("size")
        .and_then(serde_json::Value::as_u64)
        .ok_or_else(|| malformed("targetArtifact has no size"))?;
    let signed = SignedArtifact::new(text("mediaType")?, digest, size)
        .map_err(|error: ParseDescriptorError| malformed(&error.to_string()))?;
    let mut annotations = BTreeMap::new();
    match target.get("annotations") {
        None | Some(serde_json::Value::Null) => {}
        Some(serde_json::Value::Object(entries)) if entries.len() <= MAX_ATTRIBUTES => {
            for (key, value) in entries {
                let value = value.as_str().ok_or_else(|| malformed("an annotation is not text"))?;
                annotations.insert(key.clone(), value.to_owned());
            }
        }
        Some(_) => return Err(malformed("annotations are not an object, or too many")),
    }
    Ok((signed, annotations))
}

/// The protected headers as one of the formats read them, before the rules that both share.
#[derive(Default)]
struct Headers {
    content_type: Option<String>,
    critical: Vec<AttributeName>,
    scheme: Option<String>,
    signing_time: Option<Timestamp>,
    authentic_signing_time: Option<Timestamp>,
    expiry: Option<Timestamp>,
    plugin: Option<String>,
    plugin_minimum_version: Option<String>,
    /// The attributes that are not the specification's own.
    extended: BTreeMap<AttributeName, AttributeValue>,
}

impl Headers {
    /// The rules of signed attributes (notation spec: signature-specification.md#signed-attributes).
    fn check(mut self) -> Result<Attributes, EnvelopeError> {
        match self.content_type.as_deref() {
            Some(PAYLOAD) => {}
            Some(other) => return Err(EnvelopeError::ContentType(other.into())),
            None => return Err(EnvelopeError::Missing("the content type")),
        }
        let scheme = self.check_scheme()?;
        let critical = self.check_critical(scheme)?;
        let signing_time = scheme.time();
        if let Some(expiry) = self.expiry
            && expiry <= signing_time
        {
            return Err(EnvelopeError::ExpiryBeforeSigning { expiry, signing_time });
        }
        Ok(Attributes {
            scheme,
            expiry: self.expiry,
            plugin: self.check_plugin()?,
            critical,
        })
    }

    fn check_plugin(&self) -> Result<Option<RequiredPlugin>, EnvelopeError> {
        let Some(name) = &self.plugin else {
            return match self.plugin_minimum_version {
                // A version of nothing: notation ignores it.
                Some(_) => Err(EnvelopeError::Missing(VERIFICATION_PLUGIN)),
                None => Ok(None),
            };
        };
        let version =
            |text: &String| Version::parse(text).map_err(|_| EnvelopeError::PluginVersion(text.as_str().into()));
        Ok(Some(RequiredPlugin {
            name: name.parse()?,
            minimum_version: self.plugin_minimum_version.as_ref().map(version).transpose()?,
        }))
    }

    /// Each scheme has its own time, and may not have the other's (notation spec: signing-scheme.md).
    fn check_scheme(&self) -> Result<SigningScheme, EnvelopeError> {
        let unexpected = |header, scheme| Err(EnvelopeError::UnexpectedHeader { header, scheme });
        match self.scheme.as_deref() {
            None => Err(EnvelopeError::Missing(SIGNING_SCHEME)),
            Some(X509) => match (self.signing_time, self.authentic_signing_time) {
                (_, Some(_)) => unexpected(AUTHENTIC_SIGNING_TIME, X509),
                (None, None) => Err(EnvelopeError::Missing(SIGNING_TIME)),
                (Some(signing_time), None) => Ok(SigningScheme::X509 { signing_time }),
            },
            Some(SIGNING_AUTHORITY) => match (self.signing_time, self.authentic_signing_time) {
                (Some(_), _) => unexpected(SIGNING_TIME, SIGNING_AUTHORITY),
                (None, None) => Err(EnvelopeError::Missing(AUTHENTIC_SIGNING_TIME)),
                (None, Some(authentic_signing_time)) => Ok(SigningScheme::SigningAuthority { authentic_signing_time }),
            },
            Some(other) => Err(EnvelopeError::SigningScheme(other.into())),
        }
    }

    /// What must be marked critical is, and what is marked is there. Returns the marked attributes that are not the
    /// specification's own.
    fn check_critical(&mut self, scheme: SigningScheme) -> Result<Vec<CriticalAttribute>, EnvelopeError> {
        if self.critical.is_empty() {
            return Err(EnvelopeError::Missing("the list of critical headers"));
        }
        let mut must_be_marked = vec![SIGNING_SCHEME];
        if self.expiry.is_some() {
            must_be_marked.push(EXPIRY);
        }
        if matches!(scheme, SigningScheme::SigningAuthority { .. }) {
            must_be_marked.push(AUTHENTIC_SIGNING_TIME);
        }
        if self.plugin.is_some() {
            must_be_marked.push(VERIFICATION_PLUGIN);
        }
        if self.plugin_minimum_version.is_some() {
            must_be_marked.push(VERIFICATION_PLUGIN_MIN_VERSION);
        }
        let mut seen = BTreeSet::new();
        let mut critical = Vec::new();
        for name in std::mem::take(&mut self.critical) {
            if seen.contains(&name) {
                return Err(EnvelopeError::CriticalTwice((&name).into()));
            }
            if let Some(value) = self.extended.remove(&name) {
                critical.push(CriticalAttribute {
                    name: name.clone(),
                    value,
                });
            } else if must_be_marked.iter().all(|known| AttributeName::from(*known) != name) {
                return Err(EnvelopeError::CriticalAbsent((&name).into()));
            }
            seen.insert(name);
        }
        match must_be_marked
            .into_iter()
            .find(|name| !seen.contains(&AttributeName::from(*name)))
        {
            Some(name) => Err(EnvelopeError::NotCritical(name)),
            None => Ok(critical),
        }
    }
}

/// Parses the chain, leaf first. An empty one is left to [`Chain::check`].
fn certificates<'a>(chain: impl ExactSizeIterator<Item = &'a [u8]>) -> Result<Vec<Certificate>, EnvelopeError> {
    if chain.len() > MAX_CHAIN_LENGTH {
        return Err(EnvelopeError::TooManyCertificates(chain.len()));
    }
    chain
        .enumerate()
        .map(|(position, der)| {
            Certificate::from_der(der).map_err(|cause| EnvelopeError::Certificate { position, cause })
        })
        .collect()
}
