//! Names as deny-lists compare them: nobody slips past one by the order, the encoding or the case of its attributes.
//!
//! What is trusted is compared strictly ([`super::distinguished_name`]), and a name that could be read in two ways is nobody's.
//! What is denied has to be compared the other way round: a name is a set of attributes, whatever their order, whether they
//! are joined by `+` and how often a type is there; and the text of a value is compared as X.500 does for most types
//! (RFC 5280 §7.1): whatever string type holds it, without regard to case, to spaces around it and to how many there are in
//! it. So every name that a trusted identity recognises has all attributes of that identity here, too.
//!
//! Deliberately absent: the Unicode normalisation of RFC 4518. No authority is known that issues one name in several forms.

use const_oid::ObjectIdentifier;
use der::{Tag, Tagged as _};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::Name;

use super::distinguished_name::{DistinguishedName, DistinguishedNameError, NAMED_TYPES, split, unescape};
use crate::digest::hex;
use crate::limits::{MAX_ATTRIBUTES, MAX_DISTINGUISHED_NAME_LENGTH};

/// Beside [`NAMED_TYPES`], those that issuers have; by the names that RFC 4514 and OpenSSL print.
const MORE_NAMED_TYPES: [(&str, &str); 9] = [
    ("2.5.4.8", "S"),
    ("2.5.4.4", "SN"),
    ("2.5.4.12", "title"),
    ("2.5.4.42", "GN"),
    ("2.5.4.97", "organizationIdentifier"),
    ("0.9.2342.19200300.100.1.1", "UID"),
    ("0.9.2342.19200300.100.1.25", "DC"),
    ("1.2.840.113549.1.9.1", "emailAddress"),
    ("1.2.840.113549.1.9.1", "E"),
];

/// An attribute: its type as a dotted number, and its value, folded.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct LooseAttribute(Box<str>);

impl LooseAttribute {
    fn new(kind: ObjectIdentifier, value: &str) -> Self {
        let mut text = format!("{kind}=");
        for (position, word) in value.split_whitespace().enumerate() {
            if position > 0 {
                text.push(' ');
            }
            text.extend(word.chars().flat_map(char::to_lowercase));
        }
        Self(text.into())
    }

    /// The text of type and value.
    pub(crate) fn as_str(&self) -> &str {
        &self.0
    }

    /// The attributes of a certificate's name.
    pub(crate) fn of_name(name: &Name) -> impl Iterator<Item = Self> + '_ {
        name.iter()
            .map(|attribute| Self::new(attribute.oid, &any_text(attribute)))
    }

    /// The attributes of a name that a person wrote as a trusted identity is written.
    ///
    /// # Errors
    ///
    /// When a type is neither known nor a number: no certificate could have it.
    pub(crate) fn of_identity(name: &DistinguishedName) -> Result<Vec<Self>, DistinguishedNameError> {
        let attributes = name.attributes();
        attributes
            .map(|(kind, value)| Ok(Self::new(type_number(kind)?, value)))
            .collect()
    }

    /// The attributes of any other name that a person wrote: as RFC 4514 has it, as OpenSSL prints it, or in the order of
    /// the certificate.
    ///
    /// # Errors
    ///
    /// When it is malformed, or a type is not known.
    pub(crate) fn of_text(text: &str) -> Result<Vec<Self>, DistinguishedNameError> {
        if text.len() > MAX_DISTINGUISHED_NAME_LENGTH {
            return Err(DistinguishedNameError::TooLong(text.len()));
        }
        if text.contains("=#") {
            return Err(DistinguishedNameError::HexadecimalValue);
        }
        let mut attributes = Vec::new();
        for (part, _) in split(text) {
            if attributes.len() >= MAX_ATTRIBUTES {
                return Err(DistinguishedNameError::TooManyAttributes);
            }
            let (kind, value) = part
                .split_once('=')
                .ok_or_else(|| DistinguishedNameError::NotAnAttribute(part.into()))?;
            let kind = kind.trim();
            let value = unescape(kind, value)?;
            if value.trim().is_empty() {
                return Err(DistinguishedNameError::Empty(kind.into()));
            }
            attributes.push(Self::new(type_number(kind)?, &value));
        }
        Ok(attributes)
    }
}

/// The number of a type, by its name in any case or by the number itself.
fn type_number(kind: &str) -> Result<ObjectIdentifier, DistinguishedNameError> {
    let mut named = NAMED_TYPES.iter().chain(&MORE_NAMED_TYPES);
    let named = named.find(|(_, name)| name.eq_ignore_ascii_case(kind));
    let number = named.map_or(kind, |(number, _)| number);
    ObjectIdentifier::new(number).map_err(|_| DistinguishedNameError::UnknownType(kind.into()))
}

/// The text of a value, whatever its type. Where writers and readers disagree on the character set, one reading is taken, always
/// the same; what is no text at all is its bytes.
fn any_text(attribute: &AttributeTypeAndValue) -> String {
    let bytes = attribute.value.value();
    match attribute.value.tag() {
        Tag::BmpString => {
            let (units, _) = bytes.as_chunks::<2>();
            let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            String::from_utf16_lossy(&units)
        }
        Tag::Utf8String
        | Tag::PrintableString
        | Tag::Ia5String
        | Tag::TeletexString
        | Tag::VisibleString
        | Tag::NumericString => match std::str::from_utf8(bytes) {
            Ok(text) => text.to_owned(),
            // ISO 8859-1, which is what most writers of a TeletexString mean.
            Err(_) => bytes.iter().copied().map(char::from).collect(),
        },
        _ => format!("#{}", hex(bytes)),
    }
}

#[cfg(test)]
mod tests {
    use std::str::FromStr as _;

    use der::asn1::SetOfVec;
    use der::{Any, Decode as _, Encode as _};
    use x509_cert::name::{RdnSequence, RelativeDistinguishedName};

    use super::*;

    fn of_text(text: &str) -> Vec<LooseAttribute> {
        let mut attributes = LooseAttribute::of_text(text).unwrap();
        attributes.sort();
        attributes
    }

    #[test]
    fn a_name_is_the_same_however_it_is_written() {
        let expected = of_text("C=US, O=Corp Ltd, CN=Root CA");
        for text in [
            "CN=Root CA,O=Corp Ltd,C=US",
            "C = US; O = Corp  Ltd ; CN = root ca",
            "CN=Root CA+O=CORP LTD, C=us",
            r"2.5.4.3=Root\20CA, o=Corp Ltd, c=US",
        ] {
            assert_eq!(of_text(text), expected, "{text}");
        }
        for text in [
            "C=US, O=Corp Ltd",
            "C=US, O=Corp Ltd, CN=Root C A",
            "C=US, O=Corp Ltd, OU=Root CA",
        ] {
            assert_ne!(of_text(text), expected, "{text}");
        }
    }

    #[test]
    fn a_certificates_name_has_the_attributes_that_a_person_writes() {
        let name = Name::from_str("CN=Root CA,emailAddress=ca@corp.example,DC=corp").unwrap();
        let mut found: Vec<_> = LooseAttribute::of_name(&name).collect();
        found.sort();
        assert_eq!(found, of_text("DC=corp, E=CA@corp.example, CN=Root CA"));
    }

    /// Names that no trusted identity can be compared with.
    #[test]
    fn neither_a_second_value_nor_a_joined_or_odd_one_hides_an_attribute() {
        let attribute = |number: &str, tag, bytes: &[u8]| AttributeTypeAndValue {
            oid: ObjectIdentifier::new(number).unwrap(),
            value: Any::new(tag, bytes).unwrap(),
        };
        let (unit, organisation) = ("2.5.4.11", "2.5.4.10");
        let mut sequence = RdnSequence::default();
        for joined in [
            vec![
                attribute(unit, Tag::Utf8String, b"one"),
                attribute(organisation, Tag::BmpString, b"\0C\0o"),
            ],
            vec![attribute(unit, Tag::PrintableString, b"two")],
            vec![attribute(unit, Tag::TeletexString, b"Caf\xe9")],
            vec![attribute(unit, Tag::OctetString, b"\x01\x02")],
        ] {
            sequence.push(RelativeDistinguishedName::from(SetOfVec::try_from(joined).unwrap()));
        }
        let name = Name::from_der(&sequence.to_der().unwrap()).unwrap();
        assert!(DistinguishedName::from_name(&name).is_err());
        let mut found: Vec<_> = LooseAttribute::of_name(&name).map(|one| one.0).collect();
        found.sort();
        let expected = [
            "2.5.4.10=co",
            "2.5.4.11=#0102",
            "2.5.4.11=café",
            "2.5.4.11=one",
            "2.5.4.11=two",
        ];
        assert_eq!(found, expected.map(Box::from));
    }

    #[test]
    fn refuses_what_no_certificate_could_have() {
        use DistinguishedNameError as E;
        for (text, expected) in [
            ("", E::NotAnAttribute("".into())),
            ("CN=a, O", E::NotAnAttribute(" O".into())),
            ("CN=", E::Empty("CN".into())),
            ("CN=#0403", E::HexadecimalValue),
            ("/C=US/CN=a", E::UnknownType("/C".into())),
            ("Issuer: CN=a", E::UnknownType("Issuer: CN".into())),
        ] {
            assert_eq!(LooseAttribute::of_text(text), Err(expected), "{text}");
        }
        let misspelt = DistinguishedName::parse("C=US, ST=WA, O=Corp, commonname=a").unwrap();
        assert_eq!(
            LooseAttribute::of_identity(&misspelt),
            Err(E::UnknownType("commonname".into()))
        );
        let many: Vec<_> = (0..=MAX_ATTRIBUTES).map(|_| "CN=a").collect();
        assert_eq!(LooseAttribute::of_text(&many.join(",")), Err(E::TooManyAttributes));
        let long = "x".repeat(MAX_DISTINGUISHED_NAME_LENGTH + 1);
        assert_eq!(LooseAttribute::of_text(&long), Err(E::TooLong(long.len())));
    }
}
