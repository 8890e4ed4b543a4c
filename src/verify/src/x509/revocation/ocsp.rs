//! The word of an OCSP responder about one certificate (RFC 6960, in the profile of RFC 5019).
//!
//! A certificate is identified by hashes of its issuer's name and key, and they are SHA-1, as RFC 5019 §2.1.1 asks of
//! clients and as responders with prepared answers know them. Nothing rests on SHA-1: it says which certificate is meant,
//! and who says something about it is proven with the key of the issuer in the chain.

use std::sync::Arc;

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5280, rfc5912};
use der::Tag;
use der::asn1::BitStringRef;
use sha1::{Digest as _, Sha1};
use x509_cert::spki::AlgorithmIdentifierRef;

use super::crl::{is_excused, read_reason, read_time};
use super::status::{OcspError, Reason, ResponderError};
use crate::Timestamp;
use crate::crypto::{self, SignatureAlgorithm};
use crate::limits::{MAX_CLOCK_SKEW, MAX_OCSP_CERTIFICATES, MAX_OCSP_RESPONSE_SIZE};
use crate::untrusted::Untrusted;
use crate::x509::certificate::{self, Certificate};
use crate::x509::walk::{self, Element, Extension, Walk, constructed, primitive};

/// `id-pkix-ocsp-basic` (RFC 6960 §4.2.1).
const ID_PKIX_OCSP_BASIC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.48.1.1");

/// Which certificate is meant: `CertID` (RFC 6960 §4.1.1) with SHA-1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct CertificateId<'a> {
    issuer_name_hash: [u8; 20],
    issuer_key_hash: [u8; 20],
    serial_number: &'a [u8],
}

impl<'a> CertificateId<'a> {
    pub(super) fn of(certificate: &'a Certificate, issuer: &Certificate) -> Self {
        Self {
            issuer_name_hash: Sha1::digest(certificate.issuer_der()).into(),
            issuer_key_hash: Sha1::digest(issuer.public_key().bytes).into(),
            serial_number: certificate.serial_number(),
        }
    }

    /// The `OCSPRequest` for it: one request, not signed, without a nonce, so that responders can answer from what they
    /// prepared (RFC 5019 §2.1.1). What is too old is told by its times.
    pub(super) fn request(&self) -> Arc<[u8]> {
        // AlgorithmIdentifier of SHA-1 with NULL.
        const SHA_1: [u8; 11] = [0x30, 0x09, 0x06, 0x05, 0x2b, 0x0e, 0x03, 0x02, 0x1a, 0x05, 0x00];
        let octets = |content: &[u8]| tagged(0x04, &[content]);
        let id = tagged(
            0x30,
            &[
                &SHA_1,
                &octets(&self.issuer_name_hash),
                &octets(&self.issuer_key_hash),
                &tagged(0x02, &[self.serial_number]),
            ],
        );
        // Request, requestList, tbsRequest, OCSPRequest.
        (0..4).fold(id, |inner, _| tagged(0x30, &[&inner])).into()
    }

    /// The id in a request that [`Self::request`] made.
    pub(super) fn of_request(request: &'a [u8]) -> Option<Self> {
        let mut inner = request;
        for _ in 0..4 {
            let mut walk = Walk::sequence(inner).ok()?;
            inner = walk.required().ok()?.whole;
            walk.finish().ok()?;
        }
        Self::read(&walk::only(inner).ok()?).ok()?
    }

    /// Reads a `CertID`; none where it is with another hash.
    fn read(element: &Element<'a>) -> der::Result<Option<Self>> {
        let mut parts = element.inside(Tag::Sequence)?;
        let algorithm: AlgorithmIdentifierRef<'a> = parts.decode()?;
        let (name, key, serial_number) = (parts.required()?, parts.required()?, parts.required()?);
        parts.finish()?;
        for hash in [&name, &key] {
            hash.tag().assert_eq(Tag::OctetString)?;
        }
        let serial_number = walk::integer(&serial_number)?;
        let sha_1 = algorithm.oid == rfc5912::ID_SHA_1 && algorithm.parameters.is_none_or(|value| value.is_null());
        let (Ok(issuer_name_hash), Ok(issuer_key_hash)) = (name.content().try_into(), key.content().try_into()) else {
            return Ok(None);
        };
        Ok(sha_1.then_some(Self {
            issuer_name_hash,
            issuer_key_hash,
            serial_number,
        }))
    }
}

/// An element of DER.
fn tagged(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let content = contents.concat();
    let mut element = vec![tag];
    // Short form, or as many octets as it takes (X.690 §8.1.3).
    match u8::try_from(content.len()) {
        Ok(length @ 0..=0x7f) => element.push(length),
        _ => {
            let length = content.len().to_be_bytes();
            let octets: Vec<u8> = length.into_iter().skip_while(|octet| *octet == 0).collect();
            element.push(0x80 | u8::try_from(octets.len()).unwrap_or(0x7f));
            element.extend(octets);
        }
    }
    element.extend(content);
    element
}

/// A response of which nothing is proven.
#[derive(Clone, Debug)]
pub(super) struct Unproven<'a> {
    to_be_signed: &'a [u8],
    algorithm: Result<SignatureAlgorithm, ObjectIdentifier>,
    signature: &'a [u8],
    certificates: Walk<'a>,
    responder: Responder<'a>,
    produced_at: Timestamp,
    responses: Walk<'a>,
    critical_extension: Option<ObjectIdentifier>,
}

/// `ResponderID`.
#[derive(Clone, Copy, Debug)]
enum Responder<'a> {
    Name(&'a [u8]),
    Key(&'a [u8]),
}

impl Responder<'_> {
    fn is(&self, certificate: &Certificate) -> bool {
        match self {
            Self::Name(name) => *name == certificate.subject_der(),
            // RFC 6960 §4.2.1 defines the hash as SHA-1.
            Self::Key(hash) => *hash == &*Sha1::digest(certificate.public_key().bytes),
        }
    }
}

/// What is said about one certificate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Answer {
    /// The status.
    pub(super) status: Status,
    /// When it was known to be so.
    pub(super) this_update: Timestamp,
    /// When there will be newer knowledge.
    pub(super) next_update: Option<Timestamp>,
}

/// `CertStatus`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Status {
    /// Not revoked.
    Good,
    /// Revoked, or on hold.
    Revoked {
        /// Since when.
        at: Timestamp,
        /// Why.
        reason: Reason,
    },
    /// The responder does not know the certificate.
    Unknown,
}

/// An answer that the issuer, or somebody whom it authorised, signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Proven {
    /// The status.
    pub(super) status: Status,
    /// When it was known to be so.
    pub(super) this_update: Timestamp,
    /// When there will be newer knowledge.
    pub(super) next_update: Timestamp,
    /// Whom the issuer authorised, if it did not sign itself.
    pub(super) responder: Option<Certificate>,
}

impl From<der::Error> for OcspError {
    fn from(error: der::Error) -> Self {
        Self::Malformed(error.to_string().into())
    }
}

impl<'a> Unproven<'a> {
    /// Reads a response (RFC 6960 §4.2.1). Neither the certificates nor the single responses are looked at.
    pub(super) fn read(der: &'a [u8]) -> Result<Self, OcspError> {
        if der.len() > MAX_OCSP_RESPONSE_SIZE {
            return Err(OcspError::TooLarge(der.len()));
        }
        let mut outer = Walk::sequence(der)?;
        let status = outer.required()?;
        status.tag().assert_eq(Tag::Enumerated)?;
        let bytes = outer.optional(constructed(0))?;
        outer.finish()?;
        refused(status.content())?;
        let bytes = bytes.ok_or_else(|| OcspError::Malformed("it is empty".into()))?;
        let mut bytes = walk::only(bytes.content())?.inside(Tag::Sequence)?;
        let kind: ObjectIdentifier = bytes.decode()?;
        if kind != ID_PKIX_OCSP_BASIC {
            return Err(OcspError::Type(kind));
        }
        let basic = bytes.required()?;
        basic.tag().assert_eq(Tag::OctetString)?;
        bytes.finish()?;

        let mut basic = Walk::sequence(basic.content())?;
        let to_be_signed = basic.required()?;
        let algorithm: AlgorithmIdentifierRef<'a> = basic.decode()?;
        let signature: BitStringRef<'a> = basic.decode()?;
        let certificates = match basic.optional(constructed(0))? {
            Some(certificates) => walk::only(certificates.content())?.inside(Tag::Sequence)?,
            None => Walk::over(&[]),
        };
        basic.finish()?;

        let mut data = to_be_signed.inside(Tag::Sequence)?;
        // The one version there is is the default, which DER leaves out; many responders write it.
        if let Some(version) = data.optional(constructed(0))?
            && walk::integer(&walk::only(version.content())?)? != [0]
        {
            return Err(OcspError::Malformed("its version is unknown".into()));
        }
        let responder = match data.optional(constructed(1))? {
            Some(name) => Responder::Name(walk::only(name.content())?.whole),
            None => {
                let key = data.required()?;
                key.tag().assert_eq(constructed(2))?;
                let key = walk::only(key.content())?;
                key.tag().assert_eq(Tag::OctetString)?;
                Responder::Key(key.content())
            }
        };
        let produced_at = walk::generalized_time(&data.required()?)?;
        let responses = data.required()?.inside(Tag::Sequence)?;
        let critical_extension = match data.optional(constructed(1))? {
            Some(extensions) => critical_extension(&extensions, |_| false)?,
            None => None,
        };
        data.finish()?;
        Ok(Self {
            to_be_signed: to_be_signed.whole,
            algorithm: certificate::signature_algorithm(&algorithm).ok_or(algorithm.oid),
            signature: signature
                .as_bytes()
                .ok_or_else(|| OcspError::Malformed("its signature has unused bits".into()))?,
            certificates,
            responder,
            produced_at,
            responses,
            critical_extension,
        })
    }

    /// What it says about a certificate; the newest, if it says it more than once, and of two of one time the worse.
    pub(super) fn find(&self, id: &CertificateId<'_>, signed_at: Option<Timestamp>) -> Result<Answer, OcspError> {
        let mut found: Option<Answer> = None;
        for element in self.responses.clone() {
            let mut single = element?.inside(Tag::Sequence)?;
            let this = CertificateId::read(&single.required()?)?;
            if this.as_ref() != Some(id) {
                continue;
            }
            let answer = Answer::read(single, signed_at)?;
            let better = |known: &Answer| {
                known.this_update > answer.this_update
                    || known.this_update == answer.this_update && known.status != Status::Good
            };
            if !found.as_ref().is_some_and(better) {
                found = Some(answer);
            }
        }
        found.ok_or(OcspError::OtherCertificate)
    }

    /// Proves what it says about a certificate of an issuer.
    pub(super) fn prove(
        &self,
        certificate: &Certificate,
        issuer: &Certificate,
        now: Timestamp,
        signed_at: Option<Timestamp>,
    ) -> Result<Proven, OcspError> {
        // What costs no signature comes first.
        let answer = self.find(&CertificateId::of(certificate, issuer), signed_at)?;
        let next_update = answer.next_update.ok_or(OcspError::NoNextUpdate)?;
        let latest = now.checked_add(MAX_CLOCK_SKEW).unwrap_or(Timestamp::MAX);
        if let Some(at) = [answer.this_update, self.produced_at]
            .into_iter()
            .find(|at| *at > latest)
        {
            return Err(OcspError::Future(at));
        }
        let responder = self.find_signer(issuer, now)?;
        if let Some(extension) = self.critical_extension {
            return Err(OcspError::CriticalExtension(extension));
        }
        Ok(Proven {
            status: answer.status,
            this_update: answer.this_update,
            next_update,
            responder,
        })
    }

    /// Finds who signed: the issuer, for which there is nothing to return, or a responder whose certificate the issuer
    /// issued for that (RFC 6960 §4.2.2.2). Responders that a configuration trusts, which the RFC allows, too, do not
    /// exist here.
    fn find_signer(&self, issuer: &Certificate, now: Timestamp) -> Result<Option<Certificate>, OcspError> {
        let algorithm = self.algorithm.map_err(OcspError::Algorithm)?;
        let check =
            |signer: &Certificate| crypto::verify(algorithm, signer.public_key(), self.to_be_signed, self.signature);
        // The first reason is the one that is told; a responder that may not answer tells more than that nobody did.
        let mut failure = None;
        if self.responder.is(issuer) {
            match check(issuer) {
                // The time of a CA is judged with the chain, not here.
                Ok(()) => return Ok(None),
                Err(bad) => failure = Some(OcspError::from(bad)),
            }
        }
        for (index, element) in self.certificates.clone().enumerate() {
            if index >= MAX_OCSP_CERTIFICATES {
                return Err(OcspError::TooManyCertificates);
            }
            let Ok(responder) = Certificate::from_der(element?.whole) else {
                continue;
            };
            if !self.responder.is(&responder) || responder == *issuer {
                continue;
            }
            let result = self
                .check_authorised(&responder, issuer, now)
                .and_then(|()| check(&responder).map_err(OcspError::from));
            match result {
                Ok(()) => return Ok(Some(responder)),
                Err(error) => failure = failure.or(Some(error)),
            }
        }
        Err(failure.unwrap_or(OcspError::NoSigner))
    }

    /// Checks that a certificate makes its key a responder of the issuer. Whether it is revoked is another question, which
    /// is asked only about an answer that would count ([`super::certificate`]).
    fn check_authorised(&self, responder: &Certificate, issuer: &Certificate, now: Timestamp) -> Result<(), OcspError> {
        let refuse = |cause| OcspError::Responder {
            subject: Untrusted::new(responder.subject().to_string()),
            cause,
        };
        let extensions = responder.extensions();
        // anyExtendedKeyUsage does not count: the issuer must have said that it delegates.
        let purposes = extensions.extended_key_usage.as_ref();
        if !purposes.is_some_and(|purposes| purposes.value.0.contains(&rfc5280::ID_KP_OCSP_SIGNING)) {
            return Err(refuse(ResponderError::NoOcspSigning));
        }
        let usage = extensions.key_usage.as_ref();
        if usage.is_some_and(|usage| !usage.value.digital_signature()) {
            return Err(refuse(ResponderError::NoDigitalSignature));
        }
        if let Some(extension) = extensions.unknown_critical {
            return Err(refuse(ResponderError::UnknownCriticalExtension(extension)));
        }
        for at in [now, self.produced_at] {
            // A response that a clock ahead of the node's has just made is of the present.
            let at = at.min(now);
            if at < responder.not_before() || at > responder.not_after() {
                return Err(refuse(ResponderError::NotValid(at)));
            }
        }
        responder
            .check_issued_by(issuer)
            .map_err(|_| refuse(ResponderError::NotIssued))
    }
}

impl Answer {
    /// The rest of a `SingleResponse`, behind its `CertID`.
    fn read(mut single: Walk<'_>, signed_at: Option<Timestamp>) -> Result<Self, OcspError> {
        let status = single.required()?;
        let this_update = walk::generalized_time(&single.required()?)?;
        let next_update = match single.optional(constructed(0))? {
            Some(time) => Some(walk::generalized_time(&walk::only(time.content())?)?),
            None => None,
        };
        let mut invalidity_date = None;
        if let Some(extensions) = single.optional(constructed(1))? {
            // RFC 6960 §4.4.5: extensions of CRL entries may be here.
            let unknown = critical_extension(&extensions, |extension| {
                if extension.id != rfc5280::ID_CE_INVALIDITY_DATE {
                    return false;
                }
                invalidity_date = read_time(extension.value).ok();
                true
            })?;
            if let Some(extension) = unknown {
                return Err(OcspError::CriticalExtension(extension));
            }
        }
        single.finish()?;
        let status = match status.tag() {
            tag if tag == primitive(0) => Status::Good,
            tag if tag == constructed(1) => {
                let mut revoked = Walk::over(status.content());
                let at = walk::generalized_time(&revoked.required()?)?;
                let reason = match revoked.optional(constructed(0))? {
                    Some(reason) => read_reason(reason.content())?,
                    None => Reason::Unspecified,
                };
                revoked.finish()?;
                match is_excused(invalidity_date, signed_at) {
                    true => Status::Good,
                    false => Status::Revoked { at, reason },
                }
            }
            tag if tag == primitive(2) => Status::Unknown,
            tag => return Err(der::Error::from(tag.value_error()).into()),
        };
        Ok(Self {
            status,
            this_update,
            next_update,
        })
    }
}

/// The first critical extension that is not known.
fn critical_extension<'a>(
    extensions: &Element<'a>,
    mut is_known: impl FnMut(&Extension<'a>) -> bool,
) -> der::Result<Option<ObjectIdentifier>> {
    let mut unknown = None;
    for element in walk::only(extensions.content())?.inside(Tag::Sequence)? {
        let extension = Extension::read(&element?)?;
        if !is_known(&extension) && extension.critical {
            unknown.get_or_insert(extension.id);
        }
    }
    Ok(unknown)
}

/// `OCSPResponseStatus`: all but one say that there is no answer, and nobody signs them.
fn refused(status: &[u8]) -> Result<(), OcspError> {
    Err(OcspError::Refused(match status {
        [0] => return Ok(()),
        [1] => "that the request is malformed",
        [2] => "internal error",
        [3] => "try later",
        [5] => "that the request must be signed",
        [6] => "unauthorized",
        _ => return Err(OcspError::Malformed("its status is unknown".into())),
    }))
}
