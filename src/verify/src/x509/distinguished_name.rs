//! Distinguished names as the Notary Project compares them: a set of attributes, each type once
//! (notation spec: trust-store-trust-policy.md#trusted-identities-constraints).
//!
//! A policy writes them as text (RFC 4514, with `;` beside `,` as RFC 2253 readers accept it); a certificate holds them
//! in DER. Both become one type, and every form whose comparison could be read in two ways is refused: attributes
//! joined by `+`, a type given twice, values in hexadecimal BER (`#…`), and attribute types without a name in text.

use std::collections::BTreeMap;
use std::fmt;

use const_oid::ObjectIdentifier;
use der::{Tag, Tagged as _};
use thiserror::Error;
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::Name;

use crate::limits::{MAX_ATTRIBUTES, MAX_DISTINGUISHED_NAME_LENGTH};
use crate::untrusted::Untrusted;

/// Attributes that have to be there, in a policy and in a certificate.
const MANDATORY: [&str; 3] = ["C", "ST", "O"];

/// The types that have a name in text. Others can be written as numbers only, with a value in hexadecimal.
pub(super) const NAMED_TYPES: [(&str, &str); 9] = [
    ("2.5.4.3", "CN"),
    ("2.5.4.5", "SERIALNUMBER"),
    ("2.5.4.6", "C"),
    ("2.5.4.7", "L"),
    ("2.5.4.8", "ST"),
    ("2.5.4.9", "STREET"),
    ("2.5.4.10", "O"),
    ("2.5.4.11", "OU"),
    ("2.5.4.17", "POSTALCODE"),
];

/// A distinguished name with at least C, ST and O, each type once. Types and values are compared by case.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct DistinguishedName {
    attributes: BTreeMap<Box<str>, Box<str>>,
}

/// Why a distinguished name cannot be compared.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum DistinguishedNameError {
    /// Longer than the limit (CVE-2023-25656).
    #[error("the name has {0} bytes, more than {MAX_DISTINGUISHED_NAME_LENGTH}")]
    TooLong(usize),
    /// More attributes than the limit.
    #[error("the name has more than {MAX_ATTRIBUTES} attributes")]
    TooManyAttributes,
    /// A value in hexadecimal BER, or text that could be read as one.
    #[error("the name contains \"=#\": values in hexadecimal are not supported")]
    HexadecimalValue,
    /// A part without `=`, or an empty one.
    #[error("{0} is not an attribute: expected TYPE=value")]
    NotAnAttribute(Untrusted),
    /// A type that is neither a word nor a number.
    #[error("{0} is not an attribute type")]
    Type(Untrusted),
    /// A backslash before something that cannot be escaped.
    #[error("the value {0} has a malformed escape: expected \\ before a special character or two hexadecimal digits")]
    Escape(Untrusted),
    /// Escapes, or bytes of a certificate, that are no text.
    #[error("the value of {attribute} is not valid text ({encoding})")]
    NotText {
        /// The attribute's type.
        attribute: Untrusted,
        /// How the text is encoded.
        encoding: &'static str,
    },
    /// Several attributes in one place.
    #[error("attributes joined by + are not supported")]
    MultiValued,
    /// One type twice.
    #[error("the attribute {0} is there more than once")]
    Duplicate(Untrusted),
    /// An attribute without a value.
    #[error("the attribute {0} has no value")]
    Empty(Untrusted),
    /// C, ST or O is absent.
    #[error("the attribute {0} is mandatory: a name needs C, ST and O")]
    Missing(&'static str),
    /// A type that has no name in text, in a certificate.
    #[error("the attribute {0} has no name in a trusted identity")]
    UnnamedType(Untrusted),
    /// A type that is neither a number nor a name that is known here.
    #[error("the attribute type {0} is not known: write it as a dotted number")]
    UnknownType(Untrusted),
    /// A string type that is not read.
    #[error("the value of {attribute} is a {encoding}, which is not supported")]
    Encoding {
        /// The attribute's type.
        attribute: &'static str,
        /// The ASN.1 type.
        encoding: Untrusted,
    },
}

impl DistinguishedName {
    /// Reads a policy's text.
    ///
    /// # Errors
    ///
    /// When it is malformed or cannot be compared.
    pub fn parse(text: &str) -> Result<Self, DistinguishedNameError> {
        if text.len() > MAX_DISTINGUISHED_NAME_LENGTH {
            return Err(DistinguishedNameError::TooLong(text.len()));
        }
        if text.contains("=#") {
            return Err(DistinguishedNameError::HexadecimalValue);
        }
        let mut attributes = Attributes::default();
        for (part, separator) in split(text) {
            if separator == Some('+') {
                return Err(DistinguishedNameError::MultiValued);
            }
            let (name, value) = part
                .split_once('=')
                .ok_or_else(|| DistinguishedNameError::NotAnAttribute(part.into()))?;
            let name = attribute_type(name)?;
            let value = unescape(name, value)?;
            attributes.insert(name, value)?;
        }
        attributes.finish()
    }

    /// Reads a certificate's subject.
    ///
    /// # Errors
    ///
    /// When it cannot be compared.
    pub fn from_name(name: &Name) -> Result<Self, DistinguishedNameError> {
        let mut attributes = Attributes::default();
        let mut length = 0_usize;
        for set in name.iter_rdn() {
            if set.len() > 1 {
                return Err(DistinguishedNameError::MultiValued);
            }
            for attribute in set.iter() {
                length = length.saturating_add(attribute.value.value().len());
                if length > MAX_DISTINGUISHED_NAME_LENGTH {
                    return Err(DistinguishedNameError::TooLong(length));
                }
                let kind = named_type(attribute.oid)
                    .ok_or_else(|| DistinguishedNameError::UnnamedType(attribute.oid.to_string().into()))?;
                let value = directory_string(kind, attribute)?;
                // In text this would read as a value in hexadecimal, which no policy may name.
                if value.contains("=#") {
                    return Err(DistinguishedNameError::HexadecimalValue);
                }
                attributes.insert(kind, value)?;
            }
        }
        attributes.finish()
    }

    /// Types and values.
    pub(super) fn attributes(&self) -> impl Iterator<Item = (&str, &str)> {
        self.attributes.iter().map(|(kind, value)| (&**kind, &**value))
    }

    /// Whether each attribute of this name is in the other with the same value.
    pub fn is_subset_of(&self, other: &Self) -> bool {
        self.attributes
            .iter()
            .all(|(name, value)| other.attributes.get(name) == Some(value))
    }
}

impl fmt::Display for DistinguishedName {
    /// Escaped as everything from outside, in the order of the types: for people, not for parsing.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let pairs: Vec<String> = self
            .attributes
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        Untrusted::from(pairs.join(", ")).fmt(f)
    }
}

/// Attributes on their way into a name.
#[derive(Default)]
struct Attributes(BTreeMap<Box<str>, Box<str>>);

impl Attributes {
    fn insert(&mut self, name: &str, value: String) -> Result<(), DistinguishedNameError> {
        if self.0.len() >= MAX_ATTRIBUTES {
            return Err(DistinguishedNameError::TooManyAttributes);
        }
        // An empty value would equal an absent attribute for some readers.
        if value.is_empty() {
            return Err(DistinguishedNameError::Empty(name.into()));
        }
        match self.0.insert(name.into(), value.into()) {
            None => Ok(()),
            Some(_) => Err(DistinguishedNameError::Duplicate(name.into())),
        }
    }

    fn finish(self) -> Result<DistinguishedName, DistinguishedNameError> {
        match MANDATORY.into_iter().find(|name| !self.0.contains_key(*name)) {
            Some(missing) => Err(DistinguishedNameError::Missing(missing)),
            None => Ok(DistinguishedName { attributes: self.0 }),
        }
    }
}

/// The parts between unescaped `,`, `;` and `+`, each with the separator behind it.
pub(super) fn split(text: &str) -> impl Iterator<Item = (&str, Option<char>)> {
    let mut rest = Some(text);
    std::iter::from_fn(move || {
        let current = rest?;
        let mut escaping = false;
        for (at, character) in current.char_indices() {
            match character {
                _ if escaping => escaping = false,
                '\\' => escaping = true,
                ',' | ';' | '+' => {
                    rest = current.get(at + 1..);
                    return Some((current.get(..at).unwrap_or_default(), Some(character)));
                }
                _ => {}
            }
        }
        rest = None;
        Some((current, None))
    })
}

/// A type: a word (RFC 4512 §1.4 descr) or a dotted number. `S` is what some tools write for `ST`.
fn attribute_type(text: &str) -> Result<&str, DistinguishedNameError> {
    let name = text.trim();
    let valid = name
        .bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.');
    if name.is_empty() || !valid {
        return Err(DistinguishedNameError::Type(name.into()));
    }
    Ok(if name == "S" { "ST" } else { name })
}

/// Removes the spaces around a value and the escapes in it (RFC 4514 §2.4).
pub(super) fn unescape(name: &str, text: &str) -> Result<String, DistinguishedNameError> {
    let malformed = || DistinguishedNameError::Escape(text.into());
    let start = text.trim_start();
    let mut bytes = Vec::with_capacity(start.len());
    // Where to cut: after the last byte that is not an unescaped space.
    let mut end = 0;
    let mut rest = start.chars();
    while let Some(character) = rest.next() {
        if character != '\\' {
            bytes.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
            if !character.is_whitespace() {
                end = bytes.len();
            }
            continue;
        }
        let escaped = rest.next().ok_or_else(malformed)?;
        if " \"#+,;<=>\\".contains(escaped) {
            bytes.push(escaped as u8);
        } else {
            let high = escaped.to_digit(16).ok_or_else(malformed)?;
            let low = rest.next().and_then(|digit| digit.to_digit(16)).ok_or_else(malformed)?;
            bytes.push(u8::try_from(16 * high + low).map_err(|_| malformed())?);
        }
        end = bytes.len();
    }
    bytes.truncate(end);
    String::from_utf8(bytes).map_err(|_| DistinguishedNameError::NotText {
        attribute: name.into(),
        encoding: "UTF-8",
    })
}

fn named_type(oid: ObjectIdentifier) -> Option<&'static str> {
    let text = oid.to_string();
    NAMED_TYPES
        .iter()
        .find_map(|(number, name)| (*number == text).then_some(*name))
}

/// The text of a value (RFC 5280 §4.1.2.4). TeletexString is read as far as it is ASCII: beyond, its writers and readers
/// disagree on the character set. UniversalString is met nowhere.
fn directory_string(kind: &'static str, attribute: &AttributeTypeAndValue) -> Result<String, DistinguishedNameError> {
    let bytes = attribute.value.value();
    let tag = attribute.value.tag();
    let not_text = |encoding| DistinguishedNameError::NotText {
        attribute: kind.into(),
        encoding,
    };
    let ascii = |encoding| match std::str::from_utf8(bytes) {
        Ok(text) if text.is_ascii() => Ok(text.to_owned()),
        _ => Err(not_text(encoding)),
    };
    match tag {
        Tag::PrintableString => ascii("PrintableString"),
        Tag::Ia5String => ascii("IA5String"),
        Tag::TeletexString => ascii("TeletexString"),
        Tag::Utf8String => String::from_utf8(bytes.to_vec()).map_err(|_| not_text("UTF8String")),
        Tag::BmpString => {
            let (units, odd) = bytes.as_chunks::<2>();
            let units: Vec<u16> = units.iter().map(|unit| u16::from_be_bytes(*unit)).collect();
            match String::from_utf16(&units) {
                // Surrogates are not in the basic multilingual plane: the text must have as many characters as units.
                Ok(text) if odd.is_empty() && text.chars().count() == units.len() => Ok(text),
                _ => Err(not_text("BMPString")),
            }
        }
        other => Err(DistinguishedNameError::Encoding {
            attribute: kind,
            encoding: other.to_string().into(),
        }),
    }
}

#[cfg(test)]
mod tests {
    use der::asn1::SetOfVec;
    use der::{Any, Decode as _, Encode as _};
    use x509_cert::name::{RdnSequence, RelativeDistinguishedName};

    use super::*;

    #[track_caller]
    fn parsed(text: &str) -> String {
        DistinguishedName::parse(text).unwrap().to_string()
    }

    #[track_caller]
    fn refused(text: &str, expected: &DistinguishedNameError) {
        assert_eq!(DistinguishedName::parse(text).as_ref(), Err(expected), "{text}");
    }

    /// A subject of single-valued attributes: type, tag, bytes.
    fn subject(attributes: &[(&str, Tag, &[u8])]) -> Name {
        let mut sequence = RdnSequence::default();
        for attribute in attributes {
            sequence.push(set(std::slice::from_ref(attribute)));
        }
        name(&sequence)
    }

    fn name(sequence: &RdnSequence) -> Name {
        Name::from_der(&sequence.to_der().unwrap()).unwrap()
    }

    fn set(attributes: &[(&str, Tag, &[u8])]) -> RelativeDistinguishedName {
        let mut set = SetOfVec::new();
        for (oid, tag, bytes) in attributes {
            let oid = ObjectIdentifier::new(oid).unwrap();
            let value = Any::new(*tag, *bytes).unwrap();
            set.insert(AttributeTypeAndValue { oid, value }).unwrap();
        }
        RelativeDistinguishedName::from(set)
    }

    const C: (&str, Tag, &[u8]) = ("2.5.4.6", Tag::PrintableString, b"US");
    const ST: (&str, Tag, &[u8]) = ("2.5.4.8", Tag::Utf8String, b"WA");
    const O: (&str, Tag, &[u8]) = ("2.5.4.10", Tag::Utf8String, b"Corp");

    #[test]
    fn reads_attributes_in_any_order_and_with_either_separator() {
        assert_eq!(
            parsed("C=US, ST=WA; O=Corp,CN=release"),
            "C=US, CN=release, O=Corp, ST=WA"
        );
        assert_eq!(parsed("  O = Corp , S = WA , C = US "), "C=US, O=Corp, ST=WA");
        assert_eq!(parsed("C=US,ST=WA,O=a=b"), "C=US, O=a=b, ST=WA");
    }

    #[test]
    fn reads_escapes() {
        assert_eq!(
            parsed(r#"C=US,ST=WA,O=a\,b\;c\+d\\e\"f\#\<\>\="#),
            r##"C=US, O=a,b;c+d\\e"f#<>=, ST=WA"##
        );
        assert_eq!(
            DistinguishedName::parse(r"C=US,ST=WA,O=\c3\a9\ ").unwrap(),
            DistinguishedName::parse("C=US,ST=WA,O=é\\20").unwrap()
        );
    }

    #[test]
    fn refuses_what_can_be_read_in_two_ways() {
        use DistinguishedNameError as E;
        refused("C=US,ST=WA,O=#0403", &E::HexadecimalValue);
        refused("C=US+ST=WA,O=Corp", &E::MultiValued);
        refused("C=US,ST=WA,O=a,O=b", &E::Duplicate("O".into()));
        refused("C=US,ST=WA,S=WA,O=a", &E::Duplicate("ST".into()));
        refused("C=US,ST=WA,O=a,CN=", &E::Empty("CN".into()));
        refused("C=US,ST=WA,O=a,", &E::NotAnAttribute("".into()));
        refused("", &E::NotAnAttribute("".into()));
        refused("C=US,ST=WA,Corp", &E::NotAnAttribute("Corp".into()));
        refused("=US", &E::Type("".into()));
        refused("C N=US", &E::Type("C N".into()));
        refused(r"C=US,ST=WA,O=a\", &E::Escape(r"a\".into()));
        refused(r"C=US,ST=WA,O=a\z", &E::Escape(r"a\z".into()));
        refused(r"C=US,ST=WA,O=a\0", &E::Escape(r"a\0".into()));
        refused(
            r"C=US,ST=WA,O=\ff",
            &E::NotText {
                attribute: "O".into(),
                encoding: "UTF-8",
            },
        );
        refused(&"x".repeat(5000), &E::TooLong(5000));
    }

    #[test]
    fn needs_country_state_and_organisation_by_their_exact_names() {
        use DistinguishedNameError as E;
        refused("ST=WA,O=Corp", &E::Missing("C"));
        refused("C=US,O=Corp", &E::Missing("ST"));
        refused("C=US,ST=WA", &E::Missing("O"));
        refused("c=US,ST=WA,O=Corp", &E::Missing("C"));
    }

    #[test]
    fn is_quick_on_a_long_row_of_separators() {
        let text = ",".repeat(MAX_DISTINGUISHED_NAME_LENGTH);
        assert!(DistinguishedName::parse(&text).is_err());
        let many: Vec<String> = (0..400).map(|number| format!("A{number}=x")).collect();
        refused(&many.join(","), &DistinguishedNameError::TooManyAttributes);
    }

    #[test]
    fn compares_a_subset_by_case() {
        let policy = DistinguishedName::parse("C=US,ST=WA,O=Corp").unwrap();
        let leaf =
            DistinguishedName::from_name(&subject(&[C, ST, O, ("2.5.4.3", Tag::Utf8String, b"release")])).unwrap();
        assert!(policy.is_subset_of(&leaf));
        assert!(!leaf.is_subset_of(&policy));
        let other = DistinguishedName::parse("C=US,ST=WA,O=corp").unwrap();
        assert!(!other.is_subset_of(&leaf));
    }

    #[test]
    fn reads_every_string_type_that_is_met() {
        let expected = DistinguishedName::parse("C=US,ST=WA,O=Corp").unwrap();
        for (tag, bytes) in [
            (Tag::PrintableString, &b"Corp"[..]),
            (Tag::Utf8String, b"Corp"),
            (Tag::Ia5String, b"Corp"),
            (Tag::TeletexString, b"Corp"),
            (Tag::BmpString, b"\0C\0o\0r\0p"),
        ] {
            let name = subject(&[C, ST, ("2.5.4.10", tag, bytes)]);
            assert_eq!(DistinguishedName::from_name(&name).as_ref(), Ok(&expected), "{tag}");
        }
    }

    #[test]
    fn refuses_strings_whose_text_is_not_certain() {
        for (tag, bytes) in [
            (Tag::TeletexString, &b"Caf\xe9"[..]),
            (Tag::PrintableString, b"\xff"),
            (Tag::Utf8String, b"\xff"),
            (Tag::BmpString, b"\0C\0"),
            (Tag::BmpString, b"\xd8\x3d\xde\x00"),
            (Tag::OctetString, b"Corp"),
            (Tag::Utf8String, b""),
            (Tag::Utf8String, b"a=#04"),
        ] {
            let name = subject(&[C, ST, ("2.5.4.10", tag, bytes)]);
            assert!(DistinguishedName::from_name(&name).is_err(), "{tag} {bytes:?}");
        }
    }

    #[test]
    fn refuses_subjects_that_cannot_be_compared() {
        use DistinguishedNameError as E;
        let ou = |value: &'static [u8]| ("2.5.4.11", Tag::Utf8String, value);
        let check = |name: &Name, expected: E| assert_eq!(DistinguishedName::from_name(name), Err(expected));
        check(&subject(&[C, ST, O, ou(b"a"), ou(b"b")]), E::Duplicate("OU".into()));
        check(&subject(&[C, ST]), E::Missing("O"));
        check(
            &subject(&[C, ST, O, ("1.2.840.113549.1.9.1", Tag::Ia5String, b"a@b")]),
            E::UnnamedType("1.2.840.113549.1.9.1".into()),
        );
        let mut sequence = RdnSequence::default();
        sequence.push(set(&[C, ST]));
        sequence.push(set(&[O]));
        check(&name(&sequence), E::MultiValued);
    }

    #[test]
    fn shows_control_characters_escaped() {
        let name = subject(&[C, ST, ("2.5.4.10", Tag::Utf8String, "a\u{1b}[31m\u{202e}".as_bytes())]);
        let shown = DistinguishedName::from_name(&name).unwrap().to_string();
        assert_eq!(shown, r"C=US, O=a\u{1b}[31m\u{202e}, ST=WA");
    }
}
