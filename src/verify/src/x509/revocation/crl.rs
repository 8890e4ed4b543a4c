//! A certificate revocation list (RFC 5280 §5): what it covers, and what it says about one serial number.
//!
//! The header is parsed first, the signature verified next; the entries are walked only then, one by one, and none is
//! kept. So a list of a hundred thousand costs no memory beside its bytes, and a stranger's list not even the walk.

use std::cmp::Ordering;

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5280;
use der::asn1::BitStringRef;
use der::{Decode as _, Tag};
use x509_cert::spki::AlgorithmIdentifierRef;
use x509_cert::time::Time;

use super::status::{CrlError, Reason, Scope};
use crate::Timestamp;
use crate::crypto::{self, SignatureAlgorithm};
use crate::limits::{MAX_ATTRIBUTES, MAX_CRL_SIZE};
use crate::x509::certificate::{self, Certificate};
use crate::x509::revocation_sources::{DistributionPoint, SourcesError, full_name};
use crate::x509::walk::{self, Element, Extension, Walk, constructed, primitive};

/// A CRL of which only the header has been read. Nothing about it is proven.
#[derive(Clone, Debug)]
pub(super) struct Unproven<'a> {
    to_be_signed: &'a [u8],
    algorithm: Result<SignatureAlgorithm, ObjectIdentifier>,
    signature: &'a [u8],
    issuer: &'a [u8],
    this_update: Timestamp,
    next_update: Option<Timestamp>,
    entries: Walk<'a>,
    extensions: Extensions<'a>,
}

/// A CRL that the issuer signed. It may cover something else than the certificate in question.
#[derive(Clone, Debug)]
pub(super) struct Crl<'a> {
    /// When it was made.
    pub(super) this_update: Timestamp,
    /// When there will be a newer one.
    pub(super) next_update: Timestamp,
    entries: Walk<'a>,
    extensions: Extensions<'a>,
}

/// The extensions of a list (RFC 5280 §5.2).
#[derive(Clone, Debug, Default)]
struct Extensions<'a> {
    authority_key_identifier: Option<&'a [u8]>,
    number: Option<&'a [u8]>,
    base_number: Option<&'a [u8]>,
    issuing_distribution_point: Option<&'a [u8]>,
    freshest_crl: Vec<DistributionPoint>,
    unknown_critical: Option<ObjectIdentifier>,
}

/// What a list says about one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Since when it is revoked.
    pub(super) at: Timestamp,
    /// Why.
    pub(super) reason: Reason,
}

impl From<der::Error> for CrlError {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error.to_string().into())
    }
}

impl From<SourcesError> for CrlError {
    fn from(error: SourcesError) -> Self {
        Self::Malformed(
            match error {
                SourcesError::TooMany => "its freshest CRL names too many sources",
                SourcesError::Malformed => "its freshest CRL",
            }
            .into(),
        )
    }
}

impl<'a> Unproven<'a> {
    /// Reads the header. The entries are not looked at.
    pub(super) fn read(der: &'a [u8]) -> Result<Self, CrlError> {
        if der.len() > MAX_CRL_SIZE {
            return Err(CrlError::TooLarge(der.len()));
        }
        let mut outer = Walk::sequence(der)?;
        let to_be_signed = outer.required()?;
        let outer_algorithm: AlgorithmIdentifierRef<'a> = outer.decode()?;
        let signature: BitStringRef<'a> = outer.decode()?;
        outer.finish()?;

        let mut list = to_be_signed.inside(Tag::Sequence)?;
        let version = list.optional(Tag::Integer)?;
        let inner_algorithm: AlgorithmIdentifierRef<'a> = list.decode()?;
        let issuer = list.required()?;
        issuer.tag().assert_eq(Tag::Sequence)?;
        let this_update = certificate::timestamp(list.decode()?);
        let next_update = match list.optional(Tag::UtcTime)? {
            Some(time) => Some(time),
            None => list.optional(Tag::GeneralizedTime)?,
        };
        let next_update = next_update.map(|time| Time::from_der(time.whole)).transpose()?;
        let entries = match list.optional(Tag::Sequence)? {
            Some(entries) => entries.inside(Tag::Sequence)?,
            None => Walk::over(&[]),
        };
        let extensions = match list.optional(constructed(0))? {
            Some(extensions) => Extensions::read(extensions.content())?,
            None => Extensions::default(),
        };
        list.finish()?;

        // RFC 5280 §5.1.2.1: the second version, or the first, which has no field for it.
        if version.is_some_and(|version| version.content() != [1]) {
            return Err(CrlError::Malformed("its version is unknown".into()));
        }
        if inner_algorithm != outer_algorithm {
            return Err(CrlError::TwoSignatureAlgorithms);
        }
        Ok(Self {
            to_be_signed: to_be_signed.whole,
            algorithm: certificate::signature_algorithm(&outer_algorithm).ok_or(outer_algorithm.oid),
            signature: signature
                .as_bytes()
                .ok_or_else(|| CrlError::Malformed("its signature has unused bits".into()))?,
            issuer: issuer.whole,
            this_update,
            next_update: next_update.map(certificate::timestamp),
            entries,
            extensions,
        })
    }

    pub(super) const fn this_update(&self) -> Timestamp {
        self.this_update
    }

    pub(super) const fn next_update(&self) -> Option<Timestamp> {
        self.next_update
    }

    /// The name of the issuer, as it is encoded.
    pub(super) const fn issuer(&self) -> &'a [u8] {
        self.issuer
    }

    /// Proves that the issuer of a certificate signed it (RFC 5280 §6.3.3 (f), (g)). Indirect CRLs, which are signed by
    /// others, are not supported: the issuer's own key signs.
    pub(super) fn prove(self, issuer: &Certificate) -> Result<Crl<'a>, CrlError> {
        if self.issuer != issuer.subject_der() {
            return Err(CrlError::Issuer);
        }
        let usage = &issuer.extensions().key_usage;
        if usage.as_ref().is_some_and(|usage| !usage.value.crl_sign()) {
            return Err(CrlError::NoCrlSign);
        }
        if let Some(identifier) = self.extensions.authority_key_identifier
            && let Some(own) = &issuer.extensions().subject_key_identifier
            && let Some(key) = key_identifier(identifier)?
            && *key != **own
        {
            return Err(CrlError::AuthorityKey);
        }
        let algorithm = self.algorithm.map_err(CrlError::Algorithm)?;
        crypto::verify(algorithm, issuer.public_key(), self.to_be_signed, self.signature)?;
        if let Some(extension) = self.extensions.unknown_critical {
            return Err(CrlError::UnknownCriticalExtension(extension));
        }
        Ok(Crl {
            this_update: self.this_update,
            // Without it nobody could tell whether a list is the newest one.
            next_update: self.next_update.ok_or(CrlError::NoNextUpdate)?,
            entries: self.entries,
            extensions: self.extensions,
        })
    }
}

impl<'a> Crl<'a> {
    /// Checks that it is a complete CRL which covers the certificate, as one of the distribution point (RFC 5280
    /// §6.3.3 (b)).
    pub(super) fn check_complete(
        &self,
        certificate: &Certificate,
        point: Option<&DistributionPoint>,
    ) -> Result<(), CrlError> {
        if self.extensions.base_number.is_some() {
            return Err(CrlError::IsDelta);
        }
        match self.extensions.issuing_distribution_point {
            Some(encoded) => IssuingDistributionPoint::read(encoded)?.check_covers(certificate, point),
            None => Ok(()),
        }
    }

    /// Checks that it is a delta to a complete CRL (RFC 5280 §5.2.4, §6.3.3 (c)). Both are proven to be of one issuer and
    /// key. One with the number of the complete CRL was issued with it and has the same content (§5.2.3): it adds nothing,
    /// and says that there is nothing newer.
    pub(super) fn check_delta(&self, base: &Self) -> Result<(), CrlError> {
        let Some(from) = self.extensions.base_number else {
            return Err(CrlError::IsNoDelta);
        };
        if self.extensions.issuing_distribution_point != base.extensions.issuing_distribution_point {
            return Err(CrlError::OtherBase("they cover different certificates"));
        }
        let (Some(number), Some(base_number)) = (self.extensions.number, base.extensions.number) else {
            return Err(CrlError::OtherBase("one of them has no number"));
        };
        if compare(from, base_number) == Ordering::Greater {
            return Err(CrlError::OtherBase("it begins with a later one"));
        }
        if compare(number, base_number) == Ordering::Less {
            return Err(CrlError::OtherBase("it is older"));
        }
        Ok(())
    }

    /// Where deltas to it can be had.
    pub(super) fn freshest_crl(&self) -> &[DistributionPoint] {
        &self.extensions.freshest_crl
    }

    /// What it says about the certificate with a serial number. Every entry is looked at: a critical extension that is not
    /// known makes the whole list unusable (RFC 5280 §5.3). Where a number is there twice, the worst counts.
    ///
    /// An entry whose invalidity date is after `signed_at` says nothing about the signature made then.
    pub(super) fn find(&self, serial_number: &[u8], signed_at: Option<Timestamp>) -> Result<Option<Entry>, CrlError> {
        let mut found: Option<Entry> = None;
        for element in self.entries.clone() {
            let mut entry = element?.inside(Tag::Sequence)?;
            let serial = walk::integer(&entry.required()?)?;
            let at = entry.required()?;
            let extensions = entry.optional(Tag::Sequence)?;
            entry.finish()?;
            let wanted = serial == serial_number;
            let (mut reason, mut invalidity_date) = (Reason::Unspecified, None);
            for extension in extensions
                .iter()
                .flat_map(|extensions| Walk::over(extensions.content()))
            {
                let extension = Extension::read(&extension?)?;
                match extension.id {
                    rfc5280::ID_CE_CRL_REASONS if wanted => reason = read_reason(extension.value)?,
                    rfc5280::ID_CE_INVALIDITY_DATE if wanted => {
                        invalidity_date = Some(read_time(extension.value)?);
                    }
                    rfc5280::ID_CE_CRL_REASONS | rfc5280::ID_CE_INVALIDITY_DATE => {}
                    other if extension.critical => return Err(CrlError::UnknownCriticalExtension(other)),
                    _ => {}
                }
            }
            if wanted && !is_excused(invalidity_date, signed_at) {
                let at = certificate::timestamp(Time::from_der(at.whole)?);
                let next = Entry { at, reason };
                found = Some(found.map_or(next, |known| worse(known, next)));
            }
        }
        Ok(found)
    }
}

/// Of two entries for one certificate.
fn worse(one: Entry, other: Entry) -> Entry {
    let badness = |entry: &Entry| match entry.reason {
        Reason::RemoveFromCrl => 0,
        Reason::CertificateHold => 1,
        _ => 2,
    };
    if badness(&other) > badness(&one) { other } else { one }
}

/// Whether a signature of that time is older than what makes its certificate doubtful. Only an authority's word about the
/// time counts (notation spec: trust-store-trust-policy.md#certificate-revocation-evaluation).
pub(super) fn is_excused(invalidity_date: Option<Timestamp>, signed_at: Option<Timestamp>) -> bool {
    invalidity_date.is_some_and(|date| signed_at.is_some_and(|signed_at| signed_at < date))
}

impl<'a> Extensions<'a> {
    fn read(encoded: &'a [u8]) -> Result<Self, CrlError> {
        let mut extensions = Self::default();
        let mut seen: Vec<ObjectIdentifier> = Vec::new();
        for element in Walk::sequence(encoded)? {
            let extension = Extension::read(&element?)?;
            if seen.contains(&extension.id) || seen.len() >= MAX_ATTRIBUTES {
                return Err(CrlError::Malformed("an extension twice, or too many".into()));
            }
            seen.push(extension.id);
            let value = extension.value;
            match extension.id {
                rfc5280::ID_CE_AUTHORITY_KEY_IDENTIFIER => extensions.authority_key_identifier = Some(value),
                rfc5280::ID_CE_CRL_NUMBER => extensions.number = Some(read_number(value)?),
                rfc5280::ID_CE_DELTA_CRL_INDICATOR => extensions.base_number = Some(read_number(value)?),
                rfc5280::ID_CE_ISSUING_DISTRIBUTION_POINT => extensions.issuing_distribution_point = Some(value),
                rfc5280::ID_CE_FRESHEST_CRL => extensions.freshest_crl = DistributionPoint::read_all(value)?,
                other if extension.critical => {
                    extensions.unknown_critical.get_or_insert(other);
                }
                _ => {}
            }
        }
        Ok(extensions)
    }
}

/// `IssuingDistributionPoint` (RFC 5280 §5.2.5).
#[derive(Default)]
struct IssuingDistributionPoint<'a> {
    name: Option<Walk<'a>>,
    only_user: bool,
    only_authorities: bool,
    some_reasons: bool,
    indirect: bool,
    only_attributes: bool,
}

impl<'a> IssuingDistributionPoint<'a> {
    fn read(encoded: &'a [u8]) -> Result<Self, CrlError> {
        let mut parts = Walk::sequence(encoded)?;
        let name = parts.optional(constructed(0))?;
        let flag = |element: Option<Element<'a>>| element.map_or(Ok(false), |flag| walk::boolean(flag.content()));
        let read = Self {
            name: name.map(|name| full_name(name.content())).transpose()?,
            only_user: flag(parts.optional(primitive(1))?)?,
            only_authorities: flag(parts.optional(primitive(2))?)?,
            some_reasons: parts.optional(primitive(3))?.is_some(),
            indirect: flag(parts.optional(primitive(4))?)?,
            only_attributes: flag(parts.optional(primitive(5))?)?,
        };
        parts.finish()?;
        Ok(read)
    }

    fn check_covers(self, certificate: &Certificate, point: Option<&DistributionPoint>) -> Result<(), CrlError> {
        if self.indirect {
            return Err(CrlError::Indirect);
        }
        if self.some_reasons {
            return Err(CrlError::SomeReasons);
        }
        if self.only_attributes {
            return Err(CrlError::Scope(Scope::Attributes));
        }
        if self.only_user && certificate.is_ca() {
            return Err(CrlError::Scope(Scope::EndEntities));
        }
        if self.only_authorities && !certificate.is_ca() {
            return Err(CrlError::Scope(Scope::Authorities));
        }
        if let Some(names) = self.name {
            let mut matches = false;
            for name in names {
                let name = name?.whole;
                matches |= point.is_some_and(|point| point.has_name(name));
            }
            if !matches {
                return Err(CrlError::Scope(Scope::OtherDistributionPoint));
            }
        }
        Ok(())
    }
}

/// The key identifier of an `AuthorityKeyIdentifier` (RFC 5280 §4.2.1.1). The issuer's certificate, which it may name
/// beside it, is not compared: a renewed one has another serial number and the same key.
fn key_identifier(encoded: &[u8]) -> der::Result<Option<&[u8]>> {
    let key = Walk::sequence(encoded)?.optional(primitive(0))?;
    Ok(key.map(|key| key.content()))
}

/// A number of a list: not negative (RFC 5280 §5.2.3).
fn read_number(value: &[u8]) -> der::Result<&[u8]> {
    match walk::integer(&walk::only(value)?)? {
        [0x80..=0xff, ..] => Err(Tag::Integer.value_error().into()),
        number => Ok(number),
    }
}

/// Compares numbers that are not negative and have no superfluous octets.
fn compare(one: &[u8], other: &[u8]) -> Ordering {
    one.len().cmp(&other.len()).then_with(|| one.cmp(other))
}

pub(super) fn read_reason(value: &[u8]) -> der::Result<Reason> {
    let element = walk::only(value)?;
    element.tag().assert_eq(Tag::Enumerated)?;
    match element.content() {
        [number] => Reason::from_number(*number),
        _ => None,
    }
    .ok_or_else(|| Tag::Enumerated.value_error().into())
}

pub(super) fn read_time(value: &[u8]) -> der::Result<Timestamp> {
    walk::generalized_time(&walk::only(value)?)
}
