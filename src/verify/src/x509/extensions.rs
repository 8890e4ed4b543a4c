//! The extensions of a certificate that judging reads (RFC 5280 §4.2).

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::Tag;
use der::asn1::Ia5StringRef;
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, ExtendedKeyUsage, KeyUsage, SubjectKeyIdentifier};

use crate::limits::MAX_ATTRIBUTES;
use crate::x509::certificate::ParseCertificateError;
use crate::x509::revocation_sources::{RevocationSources, SourcesError};
use crate::x509::walk::{Walk, primitive};

/// `id-pkix-ocsp-nocheck` (RFC 6960 §4.2.2.2.1).
const ID_PKIX_OCSP_NOCHECK: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.5");

/// An extension's value, and whether a verifier that does not know it must refuse the certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Marked<T> {
    /// The critical flag.
    pub critical: bool,
    /// The value.
    pub value: T,
}

/// The extensions that judging reads. The others are kept out, unless they are critical.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Extensions {
    /// Whether it is a CA, and how many CAs may be below.
    pub basic_constraints: Option<Marked<BasicConstraints>>,
    /// What the key is for.
    pub key_usage: Option<Marked<KeyUsage>>,
    /// What the key is for, in more detail.
    pub extended_key_usage: Option<Marked<ExtendedKeyUsage>>,
    /// The name that its issuer gave its key.
    pub subject_key_identifier: Option<Box<[u8]>>,
    /// Other names of its subject, of the kinds that a policy can name.
    pub alternative_names: Vec<AlternativeName>,
    /// Where its revocation can be looked up.
    pub revocation_sources: RevocationSources,
    /// Its issuer says that the revocation of this responder's certificate need not be checked: `id-pkix-ocsp-nocheck`.
    pub ocsp_no_check: bool,
    /// The first critical extension that is not known here. A certificate that has one is refused (RFC 5280 §4.2).
    pub unknown_critical: Option<ObjectIdentifier>,
}

/// Another name of a certificate's subject (RFC 5280 §4.2.1.6). Names of other kinds are not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AlternativeName {
    /// `dNSName`, in lower case.
    Dns(Box<str>),
    /// `uniformResourceIdentifier`.
    Uri(Box<str>),
    /// `rfc822Name`.
    Email(Box<str>),
}

impl Extensions {
    pub(super) fn read(wire: &[Extension]) -> Result<Self, ParseCertificateError> {
        if wire.len() > MAX_ATTRIBUTES {
            return Err(ParseCertificateError::TooManyExtensions(wire.len()));
        }
        let mut extensions = Self::default();
        let mut seen = Vec::with_capacity(wire.len());
        for extension in wire {
            let id = extension.extn_id;
            if seen.contains(&id) {
                return Err(ParseCertificateError::DuplicateExtension(id));
            }
            seen.push(id);
            let sources = &mut extensions.revocation_sources;
            let content = extension.extn_value.as_bytes();
            let refused = |error| match error {
                SourcesError::TooMany => ParseCertificateError::TooManyRevocationSources(id),
                SourcesError::Malformed => ParseCertificateError::MalformedExtension(id),
            };
            match id {
                rfc5280::ID_CE_BASIC_CONSTRAINTS => {
                    let constraints: Marked<BasicConstraints> = value(extension)?;
                    if !constraints.value.ca && constraints.value.path_len_constraint.is_some() {
                        return Err(ParseCertificateError::PathLengthWithoutCa);
                    }
                    extensions.basic_constraints = Some(constraints);
                }
                rfc5280::ID_CE_KEY_USAGE => extensions.key_usage = Some(value(extension)?),
                rfc5280::ID_CE_EXT_KEY_USAGE => {
                    let purposes: Marked<ExtendedKeyUsage> = value(extension)?;
                    // Parsed, a purpose takes ten times the memory of its encoding.
                    if purposes.value.0.len() > MAX_ATTRIBUTES {
                        return Err(ParseCertificateError::TooManyPurposes(purposes.value.0.len()));
                    }
                    extensions.extended_key_usage = Some(purposes);
                }
                rfc5280::ID_CE_SUBJECT_KEY_IDENTIFIER => {
                    let identifier: Marked<SubjectKeyIdentifier> = value(extension)?;
                    extensions.subject_key_identifier = Some(identifier.value.0.as_bytes().into());
                }
                rfc5280::ID_CE_SUBJECT_ALT_NAME => {
                    extensions.alternative_names =
                        alternative_names(content).map_err(|_| ParseCertificateError::MalformedExtension(id))?;
                }
                rfc5280::ID_CE_CRL_DISTRIBUTION_POINTS => sources.read_crl(content).map_err(refused)?,
                rfc5280::ID_CE_FRESHEST_CRL => sources.read_freshest_crl(content).map_err(refused)?,
                rfc5280::ID_PE_AUTHORITY_INFO_ACCESS => sources.read_ocsp(content).map_err(refused)?,
                ID_PKIX_OCSP_NOCHECK => extensions.ocsp_no_check = true,
                // Among these: name constraints and policy constraints, which are not processed here and so deny.
                _ if extension.critical => {
                    extensions.unknown_critical.get_or_insert(id);
                }
                _ => {}
            }
        }
        Ok(extensions)
    }
}

/// `GeneralNames`. Text that is not ASCII is no IA5String, and is refused.
fn alternative_names(content: &[u8]) -> der::Result<Vec<AlternativeName>> {
    let mut names = Vec::new();
    for name in Walk::sequence(content)? {
        let name = name?;
        let text = || -> der::Result<Box<str>> { Ok(Ia5StringRef::new(name.content())?.as_str().into()) };
        let tag = name.tag();
        let known = if tag == primitive(1) {
            AlternativeName::Email(text()?)
        } else if tag == primitive(2) {
            AlternativeName::Dns(text()?.to_ascii_lowercase().into())
        } else if tag == primitive(6) {
            AlternativeName::Uri(text()?)
        } else {
            continue;
        };
        if names.len() == MAX_ATTRIBUTES {
            return Err(Tag::Sequence.length_error().into());
        }
        names.push(known);
    }
    Ok(names)
}

fn value<'a, T: der::Decode<'a>>(extension: &'a Extension) -> Result<Marked<T>, ParseCertificateError> {
    let value = T::from_der(extension.extn_value.as_bytes())
        .map_err(|_| ParseCertificateError::MalformedExtension(extension.extn_id))?;
    Ok(Marked {
        critical: extension.critical,
        value,
    })
}
