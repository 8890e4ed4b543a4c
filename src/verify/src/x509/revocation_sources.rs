//! The places where a certificate's revocation can be looked up: CRL distribution points (RFC 5280 §4.2.1.13), freshest
//! CRLs (§4.2.1.15) and OCSP responders (§4.2.2.1).

use const_oid::db::rfc5280;
use der::Tag;

use crate::limits::MAX_REVOCATION_URLS;
use crate::query::RevocationUrl;
use crate::x509::walk::{self, Element, Walk, constructed, primitive};

/// What a certificate names. A source that nobody here can ask is named, too: it is no reason to pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct RevocationSources {
    /// How many OCSP responders there are, whatever their addresses.
    responders: usize,
    ocsp: Vec<RevocationUrl>,
    crl: Vec<DistributionPoint>,
    freshest_crl: Vec<DistributionPoint>,
}

impl RevocationSources {
    /// Whether the certificate names no source at all: it cannot be revoked
    /// (notation spec: trust-store-trust-policy.md#certificate-revocation-evaluation).
    pub const fn is_empty(&self) -> bool {
        self.responders == 0 && self.crl.is_empty() && self.freshest_crl.is_empty()
    }

    /// The OCSP responders that can be asked, in order.
    pub fn ocsp(&self) -> &[RevocationUrl] {
        &self.ocsp
    }

    /// The CRL distribution points.
    pub fn crl(&self) -> &[DistributionPoint] {
        &self.crl
    }

    /// The distribution points of delta CRLs.
    pub fn freshest_crl(&self) -> &[DistributionPoint] {
        &self.freshest_crl
    }

    pub(super) fn read_ocsp(&mut self, authority_info_access: &[u8]) -> Result<(), SourcesError> {
        for description in Walk::sequence(authority_info_access)? {
            let mut parts = description?.inside(Tag::Sequence)?;
            let method: const_oid::ObjectIdentifier = parts.decode()?;
            let location = parts.required()?;
            parts.finish()?;
            if method != rfc5280::ID_AD_OCSP {
                continue;
            }
            self.responders += 1;
            if self.responders > MAX_REVOCATION_URLS {
                return Err(SourcesError::TooMany);
            }
            self.ocsp.extend(address(&location));
        }
        Ok(())
    }

    pub(super) fn read_crl(&mut self, distribution_points: &[u8]) -> Result<(), SourcesError> {
        self.crl = DistributionPoint::read_all(distribution_points)?;
        Ok(())
    }

    pub(super) fn read_freshest_crl(&mut self, distribution_points: &[u8]) -> Result<(), SourcesError> {
        self.freshest_crl = DistributionPoint::read_all(distribution_points)?;
        Ok(())
    }
}

/// One CRL, and where it can be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DistributionPoint {
    addresses: Vec<RevocationUrl>,
    names: Vec<Box<[u8]>>,
}

impl DistributionPoint {
    /// The addresses that can be asked. They are ways to one and the same CRL (RFC 5280 §4.2.1.13).
    pub fn addresses(&self) -> &[RevocationUrl] {
        &self.addresses
    }

    /// Whether it has this name, an encoded `GeneralName`: CRLs of which each covers a part of the certificates say so by
    /// the name (RFC 5280 §5.2.5).
    pub fn has_name(&self, name: &[u8]) -> bool {
        self.names.iter().any(|known| **known == *name)
    }

    /// `CRLDistributionPoints` or `FreshestCRL`.
    pub(super) fn read_all(encoded: &[u8]) -> Result<Vec<Self>, SourcesError> {
        let mut points: Vec<Self> = Vec::new();
        let mut room = MAX_REVOCATION_URLS;
        for point in Walk::sequence(encoded)? {
            if points.len() >= MAX_REVOCATION_URLS {
                return Err(SourcesError::TooMany);
            }
            points.push(Self::read(&point?, &mut room)?);
        }
        Ok(points)
    }

    /// Reasons are not kept: only CRLs for all reasons are used, so a point for some of them is covered by one, too. A
    /// name relative to the CRL's issuer is the name of a directory, which is not asked.
    fn read(point: &Element<'_>, room: &mut usize) -> Result<Self, SourcesError> {
        let mut parts = point.inside(Tag::Sequence)?;
        let name = parts.optional(constructed(0))?;
        let _reasons = parts.optional(primitive(1))?;
        let other_issuer = parts.optional(constructed(2))?.is_some();
        parts.finish()?;
        let mut read = Self {
            addresses: Vec::new(),
            names: Vec::new(),
        };
        let Some(name) = name else {
            return Ok(read);
        };
        for name in full_name(name.content())? {
            let name = name?;
            *room = room.checked_sub(1).ok_or(SourcesError::TooMany)?;
            // A CRL of another issuer is an indirect one, which is not supported: there is nothing to ask.
            if !other_issuer {
                read.addresses.extend(address(&name));
            }
            read.names.push(name.whole.into());
        }
        Ok(read)
    }
}

/// The names of a `DistributionPointName`; none where it is relative to the CRL's issuer.
pub(super) fn full_name(encoded: &[u8]) -> der::Result<Walk<'_>> {
    let chosen = walk::only(encoded)?;
    match chosen.tag() {
        tag if tag == constructed(0) => Ok(Walk::over(chosen.content())),
        tag if tag == constructed(1) => Ok(Walk::over(&[])),
        tag => Err(tag.value_error().into()),
    }
}

/// The address in a `GeneralName`, if it can be asked.
fn address(name: &Element<'_>) -> Option<RevocationUrl> {
    if name.tag() != primitive(6) {
        return None;
    }
    std::str::from_utf8(name.content()).ok()?.parse().ok()
}

/// Why sources cannot be read.
#[derive(Clone, Copy, Debug)]
pub(super) enum SourcesError {
    TooMany,
    Malformed,
}

impl From<der::Error> for SourcesError {
    fn from(_: der::Error) -> Self {
        Self::Malformed
    }
}

#[cfg(test)]
mod tests {
    use const_oid::ObjectIdentifier;
    use rcgen::{CertificateParams, CustomExtension, KeyPair};

    use super::*;
    use crate::x509::certificate::{Certificate, ParseCertificateError};

    const CRL: &[u64] = &[2, 5, 29, 31];
    const FRESHEST: &[u64] = &[2, 5, 29, 46];
    const ACCESS: &[u64] = &[1, 3, 6, 1, 5, 5, 7, 1, 1];

    fn parse(id: &[u64], content: Vec<u8>) -> Result<RevocationSources, ParseCertificateError> {
        let mut params = CertificateParams::default();
        params.custom_extensions = vec![CustomExtension::from_oid_content(id, content)];
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        let certificate = Certificate::from_der(certificate.der())?;
        Ok(certificate.extensions().revocation_sources.clone())
    }

    /// An element of DER.
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = u16::try_from(content.len()).unwrap().to_be_bytes();
        let head: &[u8] = match content.len() {
            0..=0x7f => &[tag, length[1]],
            0x80..=0xff => &[tag, 0x81, length[1]],
            _ => &[tag, 0x82, length[0], length[1]],
        };
        [head, content].concat()
    }

    fn uri(text: &str) -> Vec<u8> {
        der(0x86, text.as_bytes())
    }

    fn point(names: &[u8]) -> Vec<u8> {
        der(0x30, &der(0xa0, &der(0xa0, names)))
    }

    fn responder(address: &str) -> Vec<u8> {
        let method = [0x06, 0x08, 0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x30, 0x01];
        der(0x30, &[&method[..], &uri(address)].concat())
    }

    fn id(arcs: &[u64]) -> ObjectIdentifier {
        let text: Vec<String> = arcs.iter().map(u64::to_string).collect();
        text.join(".").parse().unwrap()
    }

    #[test]
    fn refuses_more_sources_than_anyone_has() {
        let address = "http://crl.example";
        for (extension, one) in [
            (CRL, point(&uri(address))),
            (FRESHEST, point(&uri(address))),
            (ACCESS, responder(address)),
            // A point without a name is one, too.
            (CRL, der(0x30, &[])),
        ] {
            assert!(parse(extension, der(0x30, &one.repeat(MAX_REVOCATION_URLS))).is_ok());
            assert_eq!(
                parse(extension, der(0x30, &one.repeat(MAX_REVOCATION_URLS + 1))),
                Err(ParseCertificateError::TooManyRevocationSources(id(extension)))
            );
        }
        let names = |count| der(0x30, &point(&uri(address).repeat(count)));
        assert_eq!(parse(CRL, names(8)).unwrap().crl()[0].addresses().len(), 8);
        let error = parse(CRL, names(9)).unwrap_err();
        assert_eq!(error, ParseCertificateError::TooManyRevocationSources(id(CRL)));
    }

    #[test]
    fn refuses_what_cannot_be_read() {
        for extension in [CRL, FRESHEST, ACCESS] {
            for content in [
                vec![],
                b"?".to_vec(),
                der(0x31, &[]),
                der(0x30, &[0x05, 0x00]),
                der(0x30, &der(0x30, &[0x05, 0x00])),
                [der(0x30, &[]), vec![0]].concat(),
            ] {
                assert_eq!(
                    parse(extension, content.clone()),
                    Err(ParseCertificateError::MalformedExtension(id(extension))),
                    "{content:?}"
                );
            }
        }
    }

    #[test]
    fn a_source_that_nobody_can_ask_is_one() {
        for address in ["ldap://x/y", "https://x/y", "", "x"] {
            let sources = parse(CRL, der(0x30, &point(&uri(address)))).unwrap();
            assert!(!sources.is_empty() && sources.crl()[0].addresses().is_empty());
            assert!(sources.crl()[0].has_name(&uri(address)));
            let sources = parse(ACCESS, der(0x30, &responder(address))).unwrap();
            assert!(!sources.is_empty() && sources.ocsp().is_empty());
        }
        // The issuer's certificate is no source.
        let mut issuers = responder("http://x/y");
        *issuers.get_mut(11).unwrap() = 2;
        assert!(parse(ACCESS, der(0x30, &issuers)).unwrap().is_empty());
        assert!(parse(&[1, 2, 3], vec![5, 0]).unwrap().is_empty());
    }

    #[test]
    fn keeps_the_order_of_responders() {
        let both = [responder("http://b"), responder("ldap://c"), responder("http://a")].concat();
        let sources = parse(ACCESS, der(0x30, &both)).unwrap();
        let addresses: Vec<_> = sources.ocsp().iter().map(RevocationUrl::as_str).collect();
        assert_eq!(addresses, ["http://b", "http://a"]);
    }
}
