//! CMS `SignedData` (RFC 5652 §5), as far as timestamp tokens have it.

use const_oid::ObjectIdentifier;
use der::asn1::{AnyRef, IntRef, OctetStringRef};
use der::{Decode as _, Reader as _, Sequence, SliceReader, Tag, Tagged as _};
use x509_cert::spki::AlgorithmIdentifierRef;

use crate::limits::{MAX_ATTRIBUTES, MAX_TIMESTAMP_TOKEN_ITEMS};
use crate::timestamp::{SignerError, TimestampError, elements, implicit};
use crate::x509::certificate::Certificate;
use crate::x509::walk::write;

const SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
pub(super) const TST_INFO: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.1.4");

const PART: &str = "signed data";
const SET_OF: u8 = 0x31;

/// Signed data around a `TSTInfo`. Nothing in it is verified.
pub(super) struct SignedData<'a> {
    pub(super) content: &'a [u8],
    pub(super) certificates: Vec<Certificate>,
    /// Each a `SignerInfo`, not parsed: one that is malformed does not harm another.
    pub(super) signers: Vec<&'a [u8]>,
}

#[derive(Sequence)]
struct ContentInfo<'a> {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    content: AnyRef<'a>,
}

#[derive(Sequence)]
struct EncapsulatedContentInfo<'a> {
    content_type: ObjectIdentifier,
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT", optional = "true")]
    content: Option<&'a OctetStringRef>,
}

struct Wire<'a> {
    version: u8,
    encapsulated: EncapsulatedContentInfo<'a>,
    certificates: Option<&'a [u8]>,
    signers: AnyRef<'a>,
}

impl<'a> Wire<'a> {
    fn read(content: AnyRef<'a>) -> der::Result<Self> {
        content.sequence(|reader| {
            let version = reader.decode()?;
            // What the signers use is in them.
            let digest_algorithms: AnyRef<'a> = reader.decode()?;
            digest_algorithms.tag().assert_eq(Tag::Set)?;
            let encapsulated = reader.decode()?;
            let certificates = implicit(reader, 0)?;
            let _revocation_lists = implicit(reader, 1)?;
            let signers: AnyRef<'a> = reader.decode()?;
            signers.tag().assert_eq(Tag::Set)?;
            Ok(Self {
                version,
                encapsulated,
                certificates,
                signers,
            })
        })
    }
}

fn malformed(error: der::Error) -> TimestampError {
    TimestampError::Malformed {
        part: PART,
        cause: error.to_string().into(),
    }
}

impl<'a> SignedData<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, TimestampError> {
        let info = ContentInfo::from_der(der).map_err(malformed)?;
        if info.content_type != SIGNED_DATA {
            return Err(TimestampError::NotSignedData(info.content_type));
        }
        let wire = Wire::read(info.content).map_err(malformed)?;
        if wire.version != 3 {
            return Err(TimestampError::SignedDataVersion(wire.version));
        }
        if wire.encapsulated.content_type != TST_INFO {
            return Err(TimestampError::NotTstInfo(wire.encapsulated.content_type));
        }
        let content = wire.encapsulated.content.ok_or(TimestampError::NoContent)?;
        let items = |set, what| {
            let limit = MAX_TIMESTAMP_TOKEN_ITEMS;
            elements(set, limit)
                .map_err(malformed)?
                .ok_or(TimestampError::TooMany { what, limit })
        };
        let certificates = items(wire.certificates.unwrap_or_default(), "certificates")?;
        Ok(Self {
            content: content.as_bytes(),
            certificates: certificates
                .into_iter()
                .enumerate()
                .map(certificate)
                .collect::<Result<_, _>>()?,
            signers: items(wire.signers.value(), "signers")?,
        })
    }
}

/// RFC 5652 §10.2.2: the other choices are obsolete or not X.509, and have context-specific tags.
fn certificate((position, der): (usize, &[u8])) -> Result<Certificate, TimestampError> {
    if der.first() != Some(&0x30) {
        return Err(TimestampError::CertificateKind);
    }
    Certificate::from_der(der).map_err(|cause| TimestampError::Certificate { position, cause })
}

/// `SignerInfo` of version 1.
pub(super) struct SignerInfo<'a> {
    /// The issuer of the signer's certificate, encoded.
    pub(super) issuer: &'a [u8],
    /// The serial number of the signer's certificate.
    pub(super) serial_number: &'a [u8],
    pub(super) digest_algorithm: AlgorithmIdentifierRef<'a>,
    pub(super) attributes: SignedAttributes<'a>,
    pub(super) signature_algorithm: AlgorithmIdentifierRef<'a>,
    pub(super) signature: &'a [u8],
}

struct SignerWire<'a> {
    version: u8,
    identifier: AnyRef<'a>,
    digest_algorithm: AlgorithmIdentifierRef<'a>,
    attributes: Option<&'a [u8]>,
    signature_algorithm: AlgorithmIdentifierRef<'a>,
    signature: &'a OctetStringRef,
}

impl<'a> SignerWire<'a> {
    fn read(der: &'a [u8]) -> der::Result<Self> {
        AnyRef::from_der(der)?.sequence(|reader| {
            let wire = Self {
                version: reader.decode()?,
                identifier: reader.decode()?,
                digest_algorithm: reader.decode()?,
                attributes: implicit(reader, 0)?,
                signature_algorithm: reader.decode()?,
                signature: reader.decode()?,
            };
            let _unsigned_attributes = implicit(reader, 1)?;
            Ok(wire)
        })
    }
}

impl<'a> SignerInfo<'a> {
    pub(super) fn parse(der: &'a [u8]) -> Result<Self, SignerError> {
        let wire = SignerWire::read(der).map_err(SignerError::malformed)?;
        // Version 3 names the certificate by its key's identifier (RFC 5652 §5.3).
        if wire.version != 1 {
            return Err(SignerError::Version(wire.version));
        }
        let (issuer, serial_number) = issuer_and_serial_number(wire.identifier).map_err(SignerError::malformed)?;
        Ok(Self {
            issuer,
            serial_number,
            digest_algorithm: wire.digest_algorithm,
            attributes: SignedAttributes::parse(wire.attributes.ok_or(SignerError::NoSignedAttributes)?)?,
            signature_algorithm: wire.signature_algorithm,
            signature: wire.signature.as_bytes(),
        })
    }
}

fn issuer_and_serial_number(identifier: AnyRef<'_>) -> der::Result<(&[u8], &[u8])> {
    identifier.sequence(|reader| {
        let issuer = reader.tlv_bytes()?;
        let serial_number: IntRef<'_> = reader.decode()?;
        Ok((issuer, serial_number.as_bytes()))
    })
}

/// The attributes that a signer signed (RFC 5652 §5.3), each an element of a set.
pub(super) struct SignedAttributes<'a> {
    encoded: Vec<&'a [u8]>,
    parsed: Vec<Attribute<'a>>,
}

#[derive(Clone, Copy, Sequence)]
struct Attribute<'a> {
    kind: ObjectIdentifier,
    values: AnyRef<'a>,
}

impl<'a> SignedAttributes<'a> {
    fn parse(content: &'a [u8]) -> Result<Self, SignerError> {
        let encoded = elements(content, MAX_ATTRIBUTES)
            .map_err(SignerError::malformed)?
            .ok_or(SignerError::TooManyAttributes)?;
        let parsed = encoded
            .iter()
            .map(|der| Attribute::from_der(der))
            .collect::<der::Result<_>>()
            .map_err(SignerError::malformed)?;
        Ok(Self { encoded, parsed })
    }

    /// What the signature is over: the DER of the attributes as a set, which is sorted, instead of the implicit tag that
    /// they have in the token (RFC 5652 §5.4).
    pub(super) fn to_be_signed(&self) -> Vec<u8> {
        let mut sorted = self.encoded.clone();
        sorted.sort_unstable();
        let mut der = Vec::new();
        write(SET_OF, &sorted.concat(), &mut der);
        der
    }

    /// The value of an attribute that may be there once, with one value.
    pub(super) fn at_most_one(
        &self,
        kind: ObjectIdentifier,
        name: &'static str,
    ) -> Result<Option<AnyRef<'a>>, SignerError> {
        let mut found = self.parsed.iter().filter(|attribute| attribute.kind == kind);
        let Some(attribute) = found.next() else {
            return Ok(None);
        };
        if found.next().is_some() {
            return Err(SignerError::RepeatedAttribute(name));
        }
        let one = || {
            attribute.values.tag().assert_eq(Tag::Set)?;
            let mut reader = SliceReader::new(attribute.values.value())?;
            let value = reader.decode()?;
            Ok::<_, der::Error>((value, reader.is_finished()))
        };
        match one() {
            Ok((value, true)) => Ok(Some(value)),
            Ok((_, false)) => Err(SignerError::RepeatedAttribute(name)),
            Err(_) => Err(SignerError::MalformedAttribute(name)),
        }
    }

    /// The value of an attribute that has to be there once, with one value.
    pub(super) fn one(&self, kind: ObjectIdentifier, name: &'static str) -> Result<AnyRef<'a>, SignerError> {
        self.at_most_one(kind, name)?.ok_or(SignerError::MissingAttribute(name))
    }
}
