//! Certificates that say who signed: Fulcio's and those of private authorities of the same shape (fulcio
//! docs/certificate-specification.md, docs/oid-info.md).
//!
//! [`holder`] reads whom a certificate names, [`find_path`] decides whether an authority of the trusted root vouches
//! for it. Neither says anything without the other.
//!
//! Deliberately absent: revocation, which Fulcio does not have, because its certificates live for minutes; name
//! constraints, whose bearers are refused; and the rules that bind authorities only, an empty subject for example,
//! which private ones do not follow.

mod claim;
mod path;

use std::collections::BTreeMap;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::Decode as _;
use der::asn1::{Ia5StringRef, Utf8StringRef};
use thiserror::Error;

pub use self::claim::Claim;
use self::claim::{Encoding, extension};
pub use self::path::{Path, PathError, find_path};
use crate::code::Code;
use crate::limits::MAX_CLAIM_LENGTH;
use crate::x509::certificate::Certificate;
use crate::x509::walk::{Element, Walk, constructed, primitive};

/// `otherName` of Fulcio's user names (fulcio docs/oid-info.md).
const USER_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");

/// The arcs of the two extensions that name the identity provider: raw, and as a DER `UTF8String`.
const ISSUER_RAW: u8 = 1;
const ISSUER: u8 = 8;

/// Who a certificate says its holder is. All texts are a stranger's until a path to an authority is found, and the
/// identity provider's and workload's words then.
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

/// Why a certificate does not say who signed, or does not lead to a trusted authority.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum CertificateError {
    /// A rule of the certificate's own profile is broken.
    #[error("its certificate {0}")]
    Profile(#[from] ProfileError),
    /// No chain to an authority.
    #[error(transparent)]
    Path(#[from] PathError),
}

/// A rule of signers' certificates that does not hold (fulcio docs/certificate-specification.md#issued-certificate).
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ProfileError {
    /// A critical extension that is not known here (RFC 5280 §4.2).
    #[error("has the critical extension {0}, which is not supported")]
    UnknownCriticalExtension(ObjectIdentifier),
    /// It is a CA.
    #[error("is a CA's")]
    IsCa,
    /// Key usage is absent or lacks digitalSignature.
    #[error("has no key usage digitalSignature")]
    NoDigitalSignature,
    /// Extended key usage is absent or lacks codeSigning.
    #[error("has no extended key usage codeSigning")]
    NoCodeSigning,
    /// Not exactly one subject alternative name: with two, each verifier could pick another.
    #[error("has {0} subject alternative names: expected one")]
    SubjectCount(usize),
    /// A subject alternative name of another kind.
    #[error("names its subject by something else than a URI, an e-mail address or Fulcio's user name")]
    SubjectKind,
    /// An extension's text is malformed or not UTF-8.
    #[error("has a malformed extension {0}")]
    Malformed(ObjectIdentifier),
    /// An empty subject, or a text above [`MAX_CLAIM_LENGTH`].
    #[error("has a text of {length} bytes in the extension {extension}: expected 1 to {MAX_CLAIM_LENGTH}")]
    Length {
        /// The extension.
        extension: ObjectIdentifier,
        /// The length of the text.
        length: usize,
    },
    /// The two extensions that name the identity provider differ.
    #[error("names two issuers of the identity, which differ")]
    TwoIssuers,
}

impl CertificateError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Profile(_) => Code::SignatureInvalid,
            Self::Path(error) => error.code(),
        }
    }
}

/// Reads who a certificate says its holder is.
///
/// # Errors
///
/// When it says so in two ways that differ, or not at all, or is no certificate of a signer.
pub fn holder(leaf: &Certificate) -> Result<Holder, CertificateError> {
    check_profile(leaf)?;
    let (subject_kind, subject) = subject(leaf)?;
    let mut claims = BTreeMap::new();
    for claim in Claim::all() {
        if let Some(text) = claim
            .extension()
            .map(|id| text(leaf, id, claim.encoding()))
            .transpose()?
            .flatten()
        {
            claims.insert(claim, text);
        }
    }
    Ok(Holder {
        subject,
        subject_kind,
        issuer: issuer(leaf)?,
        claims,
    })
}

/// The rules of the leaf alone. Time and issuers are [`find_path`]'s.
fn check_profile(leaf: &Certificate) -> Result<(), ProfileError> {
    let extensions = leaf.extensions();
    if let Some(extension) = extensions.unknown_critical {
        return Err(ProfileError::UnknownCriticalExtension(extension));
    }
    if leaf.is_ca() {
        return Err(ProfileError::IsCa);
    }
    let usage = extensions.key_usage.as_ref().map(|usage| &usage.value);
    if !usage.is_some_and(|usage| usage.digital_signature()) {
        return Err(ProfileError::NoDigitalSignature);
    }
    let purposes = extensions.extended_key_usage.as_ref().map(|purposes| &purposes.value.0);
    if !purposes.is_some_and(|purposes| purposes.contains(&rfc5280::ID_KP_CODE_SIGNING)) {
        return Err(ProfileError::NoCodeSigning);
    }
    Ok(())
}

/// The one subject alternative name (RFC 5280 §4.2.1.6).
fn subject(leaf: &Certificate) -> Result<(SubjectKind, Box<str>), ProfileError> {
    const EXTENSION: ObjectIdentifier = rfc5280::ID_CE_SUBJECT_ALT_NAME;
    let malformed = |_| ProfileError::Malformed(EXTENSION);
    let content = leaf.extension(EXTENSION).ok_or(ProfileError::SubjectCount(0))?;
    let names: Vec<Element<'_>> = Walk::sequence(content)
        .and_then(Iterator::collect::<der::Result<_>>)
        .map_err(malformed)?;
    let [name] = names.as_slice() else {
        return Err(ProfileError::SubjectCount(names.len()));
    };
    let ascii = || Ia5StringRef::new(name.content()).map_err(malformed);
    let (kind, text) = if name.tag() == primitive(6) {
        (SubjectKind::Uri, ascii()?.as_str().into())
    } else if name.tag() == primitive(1) {
        (SubjectKind::Email, ascii()?.as_str().into())
    } else if name.tag() == constructed(0) {
        let text = user_name(name).map_err(malformed)?.ok_or(ProfileError::SubjectKind)?;
        (SubjectKind::UserName, text)
    } else {
        return Err(ProfileError::SubjectKind);
    };
    if text.is_empty() {
        return Err(ProfileError::Length {
            extension: EXTENSION,
            length: 0,
        });
    }
    Ok((kind, bounded(text, EXTENSION)?))
}

/// `OtherName` (RFC 5280 §4.2.1.6) of Fulcio's kind, a `UTF8String`; none for other kinds.
fn user_name(name: &Element<'_>) -> der::Result<Option<Box<str>>> {
    let mut parts = Walk::over(name.content());
    let kind: ObjectIdentifier = parts.decode()?;
    let value = parts.required()?;
    parts.finish()?;
    value.tag().assert_eq(constructed(0))?;
    if kind != USER_NAME {
        return Ok(None);
    }
    Utf8StringRef::from_der(value.content()).map(|text| Some(text.as_str().into()))
}

/// The identity provider. The later extension counts; where both are there they agree, because verifiers differ in
/// which of them they read.
fn issuer(leaf: &Certificate) -> Result<Option<Box<str>>, ProfileError> {
    let read = |arc, encoding| {
        extension(arc)
            .map(|id| text(leaf, id, encoding))
            .transpose()
            .map(Option::flatten)
    };
    match (read(ISSUER, Encoding::Utf8String)?, read(ISSUER_RAW, Encoding::Raw)?) {
        (Some(issuer), Some(raw)) if issuer != raw => Err(ProfileError::TwoIssuers),
        (issuer, raw) => Ok(issuer.or(raw)),
    }
}

/// The text of one of Fulcio's extensions.
fn text(leaf: &Certificate, id: ObjectIdentifier, encoding: Encoding) -> Result<Option<Box<str>>, ProfileError> {
    let Some(content) = leaf.extension(id) else {
        return Ok(None);
    };
    let text = match encoding {
        Encoding::Raw => std::str::from_utf8(content).ok(),
        Encoding::Utf8String => Utf8StringRef::from_der(content).ok().map(|text| text.as_str()),
    };
    let text = text.ok_or(ProfileError::Malformed(id))?;
    bounded(text.into(), id).map(Some)
}

fn bounded(text: Box<str>, extension: ObjectIdentifier) -> Result<Box<str>, ProfileError> {
    match text.len() {
        length if length > MAX_CLAIM_LENGTH => Err(ProfileError::Length { extension, length }),
        _ => Ok(text),
    }
}

#[cfg(test)]
pub(crate) mod testing;
#[cfg(test)]
mod tests;
