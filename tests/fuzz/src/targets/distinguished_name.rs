//! Distinguished names in a policy's text.

use assay_verify::x509::distinguished_name::DistinguishedName;
use der::asn1::{Any, SetOfVec};
use der::oid::ObjectIdentifier;
use der::{Encode as _, Tag};
use x509_cert::attr::AttributeTypeAndValue;
use x509_cert::name::{RdnSequence, RelativeDistinguishedName};

use crate::{Target, seeds, shown};

/// Lines, each a name; the first three are values as well.
pub const TARGET: Target = Target {
    name: "distinguished_name",
    seeds: || {
        seeds::texts(&[
            "C=US, ST=WA, O=Corp, CN=release\nC=US,ST=WA,O=Corp\nC=US;S=WA;O=Corp",
            "C=US,ST=WA,O=a\\,b\\=c\\20,OU=\\C3\\A4\n x \n\u{e4}",
            "C=a,ST=b,O=c+OU=d\n#00\nx=#00",
            "C=\\ a\\ , ST= b , O=\"c\",1.2.3=d",
        ])
    },
    words: &[
        b"=",
        b",",
        b";",
        b"+",
        b"\\",
        b"=#",
        b"\\20",
        b"\\C3\\A4",
        b"\\5C",
        b"\\,",
        b" ",
        b"\n",
        b"C=",
        b"ST=",
        b"S=",
        b"O=",
        b"CN=",
        b"\"",
        b"\xc2\xa0",
        b"\0",
        b"\xe2\x80\xae",
    ],
    check,
    inputs: 6_000,
};

/// A name includes itself, two names that include each other are one, surrounding space does not count, and a value in
/// full escape compares as the same value in a certificate.
pub fn check(input: &[u8]) -> String {
    let lines: Vec<&str> = super::text(input).unwrap_or_default().lines().take(16).collect();
    let names: Vec<DistinguishedName> = lines
        .iter()
        .filter_map(|line| DistinguishedName::parse(line).ok())
        .collect();
    for name in &names {
        shown::line(&name.to_string());
        for other in &names {
            assert_eq!(
                name.is_subset_of(other) && other.is_subset_of(name),
                name == other,
                "{name} {other}"
            );
        }
    }
    if let [country, state, organisation, ..] = lines[..] {
        let values = [country, state, organisation];
        let text: Vec<String> = ["C", "ST", "O"]
            .iter()
            .zip(values)
            .map(|(name, value)| format!("{name}={}", escaped(value)))
            .collect();
        let from_text = DistinguishedName::parse(&text.join(","));
        let from_der = DistinguishedName::from_name(&certificate_name(&values));
        if let (Ok(text), Ok(der)) = (&from_text, &from_der) {
            assert_eq!(text, der);
        }
        let short = values
            .iter()
            .all(|value| value.len() < 256 && !value.is_empty() && !value.contains("=#"));
        assert_eq!(
            short,
            short && from_text.is_ok() && from_der.is_ok(),
            "{from_text:?} {from_der:?}"
        );
    }
    let Some(line) = lines.first() else {
        return "nothing".to_owned();
    };
    match DistinguishedName::parse(line) {
        Ok(name) => {
            assert_eq!(DistinguishedName::parse(&format!("  {line}")).as_ref(), Ok(&name));
            format!("read {}", "names(".repeat(names.len()))
        }
        Err(error) => shown::error(&error),
    }
}

/// Every byte in hexadecimal (RFC 4514 §2.4).
fn escaped(value: &str) -> String {
    value.bytes().map(|byte| format!("\\{byte:02X}")).collect()
}

/// C, ST and O as a certificate holds them.
fn certificate_name(values: &[&str; 3]) -> x509_cert::name::Name {
    let attribute = |(number, value): (&str, &&str)| {
        let value = Any::new(Tag::Utf8String, value.as_bytes()).expect("a value");
        let oid = ObjectIdentifier::new(number).expect("a type");
        let set = SetOfVec::try_from([AttributeTypeAndValue { oid, value }]).expect("a set");
        RelativeDistinguishedName::from(set)
    };
    let sequence = RdnSequence::from(
        ["2.5.4.6", "2.5.4.8", "2.5.4.10"]
            .into_iter()
            .zip(values)
            .map(attribute)
            .collect::<Vec<_>>(),
    );
    der::Decode::from_der(&sequence.to_der().expect("DER")).expect("a name")
}
