//! A certificate, parsed once (RFC 5280 §4).
//!
//! The bytes are kept: what is hashed, compared and verified is always what came, never an encoding of what was parsed.
//! Parsing says what a certificate is; whether it may do something is decided by [`super::chain`].

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use const_oid::ObjectIdentifier;
use const_oid::db::{rfc5912, rfc8410};
use der::asn1::{AnyRef, BitStringRef, ContextSpecific, IntRef, UintRef};
use der::{Decode as _, Reader as _, Sequence, SliceReader, Tag, TagMode, TagNumber, Tagged as _};
use sha2::{Digest as _, Sha256};
use thiserror::Error;
use x509_cert::ext::Extensions as WireExtensions;
use x509_cert::name::Name;
use x509_cert::spki::{AlgorithmIdentifierRef, SubjectPublicKeyInfoRef};
use x509_cert::time::{Time, Validity};

use crate::Timestamp;
use crate::crypto::{self, BadSignature, Curve, Hash, KeyKind, PublicKey, SignatureAlgorithm};
use crate::digest::hex;
use crate::limits::{MAX_ATTRIBUTES, MAX_CERTIFICATE_SIZE, MAX_REVOCATION_URLS};
use crate::untrusted::Untrusted;
use crate::x509::extensions::Extensions;
use crate::x509::walk::{self, Extension, Walk};

/// The SHA-256 of a certificate's DER: its name in reports and deny-lists.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// The bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex(&self.0))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({self})")
    }
}

/// A certificate. Cloning shares the bytes.
#[derive(Clone)]
pub struct Certificate(Arc<Parsed>);

struct Parsed {
    der: Box<[u8]>,
    fingerprint: Fingerprint,
    to_be_signed: Range<usize>,
    signature_algorithm: Result<SignatureAlgorithm, ObjectIdentifier>,
    signature: Box<[u8]>,
    serial_number: Range<usize>,
    issuer_der: Range<usize>,
    subject_der: Range<usize>,
    subject_public_key_info_der: Range<usize>,
    subject: Name,
    key_kind: KeyKind,
    key: Box<[u8]>,
    not_before: Timestamp,
    not_after: Timestamp,
    extensions: Extensions,
}

/// Why bytes are not a certificate.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseCertificateError {
    /// More than [`MAX_CERTIFICATE_SIZE`].
    #[error("the certificate has {0} bytes, more than {MAX_CERTIFICATE_SIZE}")]
    TooLarge(usize),
    /// Not DER, or not a certificate.
    #[error("the certificate is malformed: {0}")]
    Malformed(Untrusted),
    /// The signed and the outer signature algorithm differ (RFC 5280 §4.1.1.2).
    #[error("the certificate names two signature algorithms")]
    TwoSignatureAlgorithms,
    /// An extension appears twice (RFC 5280 §4.2).
    #[error("the certificate has the extension {0} twice")]
    DuplicateExtension(ObjectIdentifier),
    /// More than [`MAX_ATTRIBUTES`].
    #[error("the certificate has {0} extensions, more than {MAX_ATTRIBUTES}")]
    TooManyExtensions(usize),
    /// A subject of more than [`MAX_ATTRIBUTES`].
    #[error("the certificate's subject has {0} attributes, more than {MAX_ATTRIBUTES}")]
    TooManyAttributes(usize),
    /// An extended key usage of more than [`MAX_ATTRIBUTES`].
    #[error("the certificate's extended key usage has {0} purposes, more than {MAX_ATTRIBUTES}")]
    TooManyPurposes(usize),
    /// An extension that judging reads is malformed.
    #[error("the certificate's extension {0} is malformed")]
    MalformedExtension(ObjectIdentifier),
    /// More than [`MAX_REVOCATION_URLS`] revocation sources of one kind.
    #[error("the certificate's extension {0} names more than {MAX_REVOCATION_URLS} revocation sources")]
    TooManyRevocationSources(ObjectIdentifier),
    /// A path length on what is not a CA (RFC 5280 §4.2.1.9).
    #[error("the certificate is no CA, yet has a path length")]
    PathLengthWithoutCa,
}

/// Why a certificate is not signed by an issuer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum NotIssuedBy {
    /// The certificate's issuer is not the issuer's subject.
    #[error("its issuer has another name")]
    Name,
    /// Signed with an algorithm that is not in the list; SHA-1 and MD5 are among them.
    #[error("it is signed with the algorithm {0}, which is not supported")]
    Algorithm(ObjectIdentifier),
    /// The signature does not verify.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

impl Certificate {
    /// Parses exactly one certificate from DER.
    ///
    /// # Errors
    ///
    /// When it is too large, malformed, or has an extension twice.
    pub fn from_der(der: &[u8]) -> Result<Self, ParseCertificateError> {
        if der.len() > MAX_CERTIFICATE_SIZE {
            return Err(ParseCertificateError::TooLarge(der.len()));
        }
        Parsed::from_der(der).map(|parsed| Self(Arc::new(parsed)))
    }

    /// The bytes as they came.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The SHA-256 of the bytes.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// The subject.
    pub fn subject(&self) -> &Name {
        &self.0.subject
    }

    /// The subject as it is encoded. Names are compared byte for byte.
    pub fn subject_der(&self) -> &[u8] {
        self.bytes(&self.0.subject_der)
    }

    /// The issuer's name as it is encoded.
    pub fn issuer_der(&self) -> &[u8] {
        self.bytes(&self.0.issuer_der)
    }

    /// The octets of the serial number, as encoded: any integer, big-endian, in two's complement. RFC 5280 §4.1.2.2
    /// asks for a positive one, and for users to handle others gracefully.
    pub fn serial_number(&self) -> &[u8] {
        self.bytes(&self.0.serial_number)
    }

    /// The whole `SubjectPublicKeyInfo` as it is encoded.
    pub fn subject_public_key_info_der(&self) -> &[u8] {
        self.bytes(&self.0.subject_public_key_info_der)
    }

    /// What kind of key it holds.
    pub fn key_kind(&self) -> KeyKind {
        self.0.key_kind
    }

    /// The key.
    pub fn public_key(&self) -> PublicKey<'_> {
        PublicKey {
            kind: self.0.key_kind,
            bytes: &self.0.key,
        }
    }

    /// The first moment of its validity, inclusive.
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// The last moment of its validity, inclusive (RFC 5280 §4.1.2.5).
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// The extensions that judging reads.
    pub fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }

    /// The part that its issuer signed, as it is encoded.
    pub(crate) fn to_be_signed(&self) -> &[u8] {
        self.bytes(&self.0.to_be_signed)
    }

    /// The content of an extension as it is encoded, be it one that [`Extensions`] has or not. There is at most one: a
    /// certificate with an extension twice does not parse.
    pub(crate) fn extension(&self, id: ObjectIdentifier) -> Option<&[u8]> {
        let extensions = extension_elements(self.to_be_signed()).ok()??;
        extensions
            .filter_map(|element| Extension::read(&element.ok()?).ok())
            .find(|extension| extension.id == id)
            .map(|extension| extension.value)
    }

    /// Whether it says that it is a CA.
    pub fn is_ca(&self) -> bool {
        self.extensions()
            .basic_constraints
            .as_ref()
            .is_some_and(|constraints| constraints.value.ca)
    }

    /// Whether subject and issuer are the same name, byte for byte.
    pub fn is_self_issued(&self) -> bool {
        self.issuer_der() == self.subject_der()
    }

    /// Checks that `issuer` signed it: the names are the same bytes and the signature verifies. Whether the issuer may
    /// sign certificates is not asked here.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn check_issued_by(&self, issuer: &Self) -> Result<(), NotIssuedBy> {
        if self.issuer_der() != issuer.subject_der() {
            return Err(NotIssuedBy::Name);
        }
        self.check_signed_with(issuer)
    }

    /// Checks that its own key signed it, whatever its names say.
    ///
    /// # Errors
    ///
    /// When it is not.
    pub fn check_self_signed(&self) -> Result<(), NotIssuedBy> {
        self.check_signed_with(self)
    }

    fn check_signed_with(&self, signer: &Self) -> Result<(), NotIssuedBy> {
        let algorithm = self.0.signature_algorithm.map_err(NotIssuedBy::Algorithm)?;
        crypto::verify(
            algorithm,
            signer.public_key(),
            self.bytes(&self.0.to_be_signed),
            &self.0.signature,
        )?;
        Ok(())
    }

    // The ranges were made from the same bytes.
    fn bytes(&self, range: &Range<usize>) -> &[u8] {
        self.0.der.get(range.clone()).unwrap_or_default()
    }
}

impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.0.der == other.0.der
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Certificate")
            .field("subject", &self.to_string())
            .field("fingerprint", &self.fingerprint())
            .finish_non_exhaustive()
    }
}

/// The subject in the form of RFC 4514, escaped, for people.
impl fmt::Display for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Untrusted::new(self.0.subject.to_string()).fmt(f)
    }
}

fn malformed(error: der::Error) -> ParseCertificateError {
    ParseCertificateError::Malformed(error.to_string().into())
}

/// What the walk over the outer structure finds. Where bytes matter they are kept as bytes.
struct Wire<'a> {
    to_be_signed: Range<usize>,
    serial_number: Range<usize>,
    inner_algorithm: AlgorithmIdentifierRef<'a>,
    issuer: Range<usize>,
    validity: Validity,
    subject: Range<usize>,
    subject_public_key_info: Range<usize>,
    public_key: SubjectPublicKeyInfoRef<'a>,
    extensions: WireExtensions,
    outer_algorithm: AlgorithmIdentifierRef<'a>,
    signature: BitStringRef<'a>,
}

impl<'a> Wire<'a> {
    /// RFC 5280 §4.1. Unique identifiers ([1] and [2]) must not be used (§4.1.2.8) and are refused.
    fn read(der: &'a [u8]) -> der::Result<Self> {
        let mut reader = SliceReader::new(der)?;
        let wire = reader.sequence(|reader| {
            let (to_be_signed, tbs) = element(reader)?;
            let outer_algorithm = reader.decode()?;
            let signature = reader.decode()?;
            let base = to_be_signed.start;
            let mut reader = SliceReader::new(tbs)?;
            let wire = reader.sequence(|reader| {
                let _version: Option<ContextSpecific<AnyRef<'a>>> =
                    ContextSpecific::decode_explicit(reader, TagNumber(0))?;
                let serial_number: IntRef<'a> = reader.decode()?;
                // The content ends where the element does.
                let end = usize::try_from(reader.position())?;
                let serial_number = end.saturating_sub(serial_number.as_bytes().len())..end;
                let inner_algorithm = reader.decode()?;
                let (issuer, _) = element(reader)?;
                let validity = reader.decode()?;
                let (subject, _) = element(reader)?;
                let (subject_public_key_info, key_bytes) = element(reader)?;
                let public_key = SubjectPublicKeyInfoRef::from_der(key_bytes)?;
                let extensions: Option<WireExtensions> = reader.context_specific(TagNumber(3), TagMode::Explicit)?;
                let shift = |range: Range<usize>| base + range.start..base + range.end;
                Ok::<_, der::Error>(Wire {
                    to_be_signed: to_be_signed.clone(),
                    serial_number: shift(serial_number),
                    inner_algorithm,
                    issuer: shift(issuer),
                    validity,
                    subject: shift(subject),
                    subject_public_key_info: shift(subject_public_key_info),
                    public_key,
                    extensions: extensions.unwrap_or_default(),
                    outer_algorithm,
                    signature,
                })
            })?;
            reader.finish()?;
            Ok::<_, der::Error>(wire)
        })?;
        reader.finish()?;
        Ok(wire)
    }
}

/// The extensions of a `TBSCertificate`, one by one; none where it has no such field (RFC 5280 §4.1).
pub(crate) fn extension_elements(to_be_signed: &[u8]) -> der::Result<Option<Walk<'_>>> {
    const FIELD: Tag = walk::constructed(3);
    for field in Walk::sequence(to_be_signed)? {
        let field = field?;
        if field.tag() == FIELD {
            return Walk::sequence(field.content()).map(Some);
        }
    }
    Ok(None)
}

/// The next element: where it is, and its bytes, header included.
fn element<'a>(reader: &mut SliceReader<'a>) -> der::Result<(Range<usize>, &'a [u8])> {
    let start = usize::try_from(reader.position())?;
    let bytes = reader.tlv_bytes()?;
    Ok((start..start + bytes.len(), bytes))
}

impl Parsed {
    fn from_der(der: &[u8]) -> Result<Self, ParseCertificateError> {
        let wire = Wire::read(der).map_err(malformed)?;
        if wire.inner_algorithm != wire.outer_algorithm {
            return Err(ParseCertificateError::TwoSignatureAlgorithms);
        }
        let subject = Name::from_der(der.get(wire.subject.clone()).unwrap_or_default()).map_err(malformed)?;
        // An empty set counts, too: parsed, it takes more memory than its two bytes.
        let attributes = subject.iter_rdn().map(|set| set.len().max(1)).sum();
        if attributes > MAX_ATTRIBUTES {
            return Err(ParseCertificateError::TooManyAttributes(attributes));
        }
        let octets = |bits: BitStringRef<'_>| {
            bits.as_bytes()
                .map(Box::from)
                .ok_or_else(|| malformed(Tag::BitString.value_error().into()))
        };
        Ok(Self {
            der: der.into(),
            fingerprint: Fingerprint(Sha256::digest(der).into()),
            to_be_signed: wire.to_be_signed,
            signature_algorithm: signature_algorithm(&wire.outer_algorithm).ok_or(wire.outer_algorithm.oid),
            signature: octets(wire.signature)?,
            serial_number: wire.serial_number,
            issuer_der: wire.issuer,
            subject_der: wire.subject,
            subject_public_key_info_der: wire.subject_public_key_info,
            subject,
            key_kind: key_kind(&wire.public_key),
            key: octets(wire.public_key.subject_public_key)?,
            not_before: timestamp(wire.validity.not_before),
            not_after: timestamp(wire.validity.not_after),
            extensions: Extensions::read(&wire.extensions)?,
        })
    }
}

/// A time of a certificate. `99991231235959Z`, which says that a certificate has no good end (RFC 5280 §4.1.2.5), is
/// later than the last moment that the clock type has; it becomes that moment.
pub(crate) fn timestamp(time: Time) -> Timestamp {
    i64::try_from(time.to_unix_duration().as_secs())
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .unwrap_or(Timestamp::MAX)
}

/// The kind of a key: the closed list of those that verify anything here.
pub(crate) fn key_kind(info: &SubjectPublicKeyInfoRef<'_>) -> KeyKind {
    let bits = info.subject_public_key.raw_bytes();
    match info.algorithm.oid {
        rfc5912::RSA_ENCRYPTION => RsaPublicKey::from_der(bits).map_or(KeyKind::Other, |key| KeyKind::Rsa {
            bits: bit_length(key.modulus.as_bytes()),
        }),
        rfc5912::ID_EC_PUBLIC_KEY => {
            let curve = match info.algorithm.parameters_oid() {
                Ok(rfc5912::SECP_256_R_1) => Curve::P256,
                Ok(rfc5912::SECP_384_R_1) => Curve::P384,
                Ok(rfc5912::SECP_521_R_1) => Curve::P521,
                _ => return KeyKind::Other,
            };
            // Uncompressed points only: the other form is optional (RFC 5480 §2.2), and providers differ on it.
            match bits.first() {
                Some(0x04) => KeyKind::Ecdsa(curve),
                _ => KeyKind::Other,
            }
        }
        // RFC 8410 §3: no parameters; §4: the 32 bytes as they are.
        rfc8410::ID_ED_25519 if info.algorithm.parameters.is_none() && bits.len() == 32 => KeyKind::Ed25519,
        _ => KeyKind::Other,
    }
}

/// `RSAPublicKey` (RFC 8017 §A.1.1).
#[derive(Sequence)]
struct RsaPublicKey<'a> {
    modulus: UintRef<'a>,
    _public_exponent: UintRef<'a>,
}

/// Bits of an unsigned integer without leading zero bytes.
fn bit_length(bytes: &[u8]) -> usize {
    let leading = bytes.first().map_or(0, |byte| byte.leading_zeros() as usize);
    8 * bytes.len() - leading
}

/// The closed list of algorithms that certificates may be signed with.
pub(crate) fn signature_algorithm(identifier: &AlgorithmIdentifierRef<'_>) -> Option<SignatureAlgorithm> {
    let null_or_absent = identifier
        .parameters
        .is_none_or(|parameters| parameters.tag() == Tag::Null);
    let absent = identifier.parameters.is_none();
    Some(match identifier.oid {
        // RFC 4055 §5: NULL; RFC 5758 §3.2: absent.
        rfc5912::SHA_256_WITH_RSA_ENCRYPTION if null_or_absent => SignatureAlgorithm::RsaPkcs1(Hash::Sha256),
        rfc5912::SHA_384_WITH_RSA_ENCRYPTION if null_or_absent => SignatureAlgorithm::RsaPkcs1(Hash::Sha384),
        rfc5912::SHA_512_WITH_RSA_ENCRYPTION if null_or_absent => SignatureAlgorithm::RsaPkcs1(Hash::Sha512),
        rfc5912::ECDSA_WITH_SHA_256 if absent => SignatureAlgorithm::EcdsaDer(Hash::Sha256),
        rfc5912::ECDSA_WITH_SHA_384 if absent => SignatureAlgorithm::EcdsaDer(Hash::Sha384),
        rfc5912::ECDSA_WITH_SHA_512 if absent => SignatureAlgorithm::EcdsaDer(Hash::Sha512),
        rfc5912::ID_RSASSA_PSS => SignatureAlgorithm::RsaPss(pss_hash(identifier.parameters?)?),
        _ => return None,
    })
}

/// The closed list of hashes. Their parameters are absent or NULL (RFC 5754 §2).
pub(crate) fn hash_algorithm(identifier: &AlgorithmIdentifierRef<'_>) -> Option<Hash> {
    let null_or_absent = identifier
        .parameters
        .is_none_or(|parameters| parameters.tag() == Tag::Null);
    match identifier.oid {
        rfc5912::ID_SHA_256 if null_or_absent => Some(Hash::Sha256),
        rfc5912::ID_SHA_384 if null_or_absent => Some(Hash::Sha384),
        rfc5912::ID_SHA_512 if null_or_absent => Some(Hash::Sha512),
        _ => None,
    }
}

/// `RSASSA-PSS-params` (RFC 4055 §3.1). Every default means SHA-1, so all fields but the trailer must be present.
#[derive(Sequence)]
struct PssParameters<'a> {
    #[asn1(context_specific = "0", tag_mode = "EXPLICIT")]
    hash: AlgorithmIdentifierRef<'a>,
    #[asn1(context_specific = "1", tag_mode = "EXPLICIT")]
    mask_generation: AlgorithmIdentifierRef<'a>,
    #[asn1(context_specific = "2", tag_mode = "EXPLICIT")]
    salt_length: u8,
    #[asn1(context_specific = "3", tag_mode = "EXPLICIT", optional = "true")]
    trailer: Option<u8>,
}

/// The one hash of PSS parameters: hash, MGF1's hash and the salt's length have to agree.
fn pss_hash(parameters: AnyRef<'_>) -> Option<Hash> {
    let parameters: PssParameters<'_> = parameters.decode_as().ok()?;
    let outer = hash_algorithm(&parameters.hash)?;
    let length = match outer {
        Hash::Sha256 => 32,
        Hash::Sha384 => 48,
        Hash::Sha512 => 64,
    };
    let mask = parameters.mask_generation;
    let inner = hash_algorithm(&mask.parameters?.decode_as().ok()?)?;
    let agree = mask.oid == rfc5912::ID_MGF_1
        && outer == inner
        && parameters.salt_length == length
        && parameters.trailer.is_none_or(|trailer| trailer == 1);
    agree.then_some(outer)
}
