//! One signer of a token: its attributes, the certificate that it is bound to, and its signature.

use const_oid::ObjectIdentifier;
use const_oid::db::rfc5912;
use der::asn1::{AnyRef, IntRef, OctetStringRef};
use der::{Reader as _, Sequence, Tag, Tagged as _};
use thiserror::Error;
use x509_cert::spki::AlgorithmIdentifierRef;
use x509_cert::time::Time;

use crate::Timestamp;
use crate::crypto::{self, BadSignature, Hash, SignatureAlgorithm};
use crate::limits::MAX_ATTRIBUTES;
use crate::timestamp::cms::{SignedAttributes, SignedData, SignerInfo, TST_INFO};
use crate::timestamp::{Trust, implicit};
use crate::untrusted::Untrusted;
use crate::x509::certificate::{Certificate, hash_algorithm, signature_algorithm, timestamp};
use crate::x509::timestamping::{Budget, Exhausted, TimestampingChainError, find_chain};

const CONTENT_TYPE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.3");
const MESSAGE_DIGEST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.4");
const SIGNING_TIME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.5");
const SIGNING_CERTIFICATE_V2: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.9.16.2.47");

/// Why a signer of a token is not good.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignerError {
    /// Not a `SignerInfo`.
    #[error("it is malformed: {0}")]
    Malformed(Untrusted),
    /// Another version than 1: the signer is not named by issuer and serial number (RFC 5652 §5.3). notation asks for 1,
    /// too.
    #[error("it has version {0}: expected 1")]
    Version(u8),
    /// Nothing says what is signed.
    #[error("it has no signed attributes")]
    NoSignedAttributes,
    /// More signed attributes than [`MAX_ATTRIBUTES`].
    #[error("it has more than {MAX_ATTRIBUTES} signed attributes")]
    TooManyAttributes,
    /// A mandatory attribute is absent.
    #[error("it has no signed attribute {0}")]
    MissingAttribute(&'static str),
    /// An attribute is there twice, or has not exactly one value.
    #[error("its signed attribute {0} is not there once with one value")]
    RepeatedAttribute(&'static str),
    /// An attribute's value is malformed.
    #[error("its signed attribute {0} is malformed")]
    MalformedAttribute(&'static str),
    /// The digest algorithm is not in the list.
    #[error("it hashes with {0}: expected SHA-256, SHA-384 or SHA-512")]
    DigestAlgorithm(ObjectIdentifier),
    /// The signature algorithm is not in the list, or uses another hash than the digest algorithm.
    #[error("it signs with {0}, which is not supported or does not fit its digest algorithm")]
    SignatureAlgorithm(ObjectIdentifier),
    /// What is signed is something else than the token's content.
    #[error("it signs content of the type {0}")]
    ContentType(ObjectIdentifier),
    /// The signed digest is another than the content's.
    #[error("it signs other content")]
    MessageDigest,
    /// The signing-certificate-v2 attribute names no certificate.
    #[error("its signing certificate attribute names no certificate")]
    NoSigningCertificate,
    /// The hash of the signing-certificate-v2 attribute is not in the list.
    #[error("its signing certificate is hashed with {0}: expected SHA-256, SHA-384 or SHA-512")]
    CertificateHashAlgorithm(ObjectIdentifier),
    /// Neither the token nor the trusted root has a certificate with the issuer and serial number.
    #[error("its certificate is not in the token")]
    CertificateNotFound,
    /// Signed with another certificate than the one that the trusted root lists for the authority.
    #[error("its certificate is not the one that the trusted root lists")]
    OtherCertificate,
    /// The signed hash is another than that of the signer's certificate (RFC 5035 §4).
    #[error("the certificate is not the one whose hash it signs")]
    CertificateHash,
    /// The signed issuer and serial number are others than those of the signer's certificate.
    #[error("the certificate is not the one whose issuer and serial number it signs")]
    IssuerSerial,
    /// The signature does not verify with the key of the signer's certificate.
    #[error(transparent)]
    Signature(#[from] BadSignature),
    /// No chain leads to a trusted root.
    #[error(transparent)]
    Chain(#[from] TimestampingChainError),
}

impl SignerError {
    /// Whether a bound of [`crate::limits`] ended the verification, not a rule.
    pub const fn is_limit(&self) -> bool {
        matches!(
            self,
            Self::TooManyAttributes | Self::Chain(TimestampingChainError::TooLong)
        )
    }

    pub(super) fn malformed(error: der::Error) -> Self {
        Self::Malformed(error.to_string().into())
    }
}

/// Verifies a signer of `signed`, and finds its chain.
pub(super) fn verify(
    signer: &[u8],
    signed: &SignedData<'_>,
    generated_at: Timestamp,
    trust: &Trust<'_>,
    budget: &mut Budget,
) -> Result<Result<Vec<Certificate>, SignerError>, Exhausted> {
    let (signer, leaf, signing_time) = match bind(signer, signed, trust) {
        Ok(bound) => bound,
        Err(error) => return Ok(Err(error)),
    };
    budget.spend()?;
    if let Err(error) = crypto::verify(
        signer.algorithm,
        leaf.public_key(),
        &signer.to_be_signed,
        signer.signature,
    ) {
        return Ok(Err(error.into()));
    }
    // Beside the time of the token, the one that the signer's software added has to fit the certificates: notation asks
    // for that, too. It is nothing else to anyone.
    let moments: Vec<_> = [Some(generated_at), signing_time].into_iter().flatten().collect();
    let intermediates = trust.certificates.iter().chain(&signed.certificates);
    let chain = find_chain(leaf, intermediates, trust.anchors.iter().copied(), &moments, budget)?;
    Ok(chain.map_err(SignerError::from))
}

/// A signature that is yet to be verified.
struct Bound<'a> {
    algorithm: SignatureAlgorithm,
    to_be_signed: Vec<u8>,
    signature: &'a [u8],
}

/// Everything that a signer's bytes must say, and the certificate that they are bound to.
fn bind<'s, 'd>(
    signer: &'d [u8],
    signed: &'s SignedData<'_>,
    trust: &Trust<'s>,
) -> Result<(Bound<'d>, &'s Certificate, Option<Timestamp>), SignerError> {
    let signer = SignerInfo::parse(signer)?;
    let hash =
        hash_algorithm(&signer.digest_algorithm).ok_or(SignerError::DigestAlgorithm(signer.digest_algorithm.oid))?;
    let algorithm = algorithm(&signer.signature_algorithm, hash)
        .ok_or(SignerError::SignatureAlgorithm(signer.signature_algorithm.oid))?;

    let attributes = &signer.attributes;
    let content_type: ObjectIdentifier = value(attributes.one(CONTENT_TYPE, "content-type")?, "content-type")?;
    if content_type != TST_INFO {
        return Err(SignerError::ContentType(content_type));
    }
    let message_digest: &OctetStringRef = value(attributes.one(MESSAGE_DIGEST, "message-digest")?, "message-digest")?;
    if message_digest.as_bytes() != hash.digest(signed.content) {
        return Err(SignerError::MessageDigest);
    }
    let signing_time = signing_time(attributes)?;

    let named = |certificate: &&Certificate| {
        certificate.issuer_der() == signer.issuer && certificate.serial_number() == signer.serial_number
    };
    let essential = EssentialCertificate::read(attributes)?;
    let known = signed.certificates.iter().chain(trust.certificates);
    let mut candidates = known.filter(named).peekable();
    if candidates.peek().is_none() {
        return Err(SignerError::CertificateNotFound);
    }
    let leaf = candidates
        .find(|certificate| essential.hash.digest(certificate.der()) == essential.digest)
        .ok_or(SignerError::CertificateHash)?;
    if let Some((issuer, serial_number)) = essential.issuer_serial
        && (issuer, serial_number) != (leaf.issuer_der(), leaf.serial_number())
    {
        return Err(SignerError::IssuerSerial);
    }
    if trust.signer.is_some_and(|expected| expected != leaf) {
        return Err(SignerError::OtherCertificate);
    }
    let bound = Bound {
        algorithm,
        to_be_signed: attributes.to_be_signed(),
        signature: signer.signature,
    };
    Ok((bound, leaf, signing_time))
}

/// The algorithm of a signature. It names its hash (RFC 5754 §3, RFC 4056 §3), or it is RSA alone and the hash is that
/// of the digests (RFC 3370 §3.2). Where both name one, they agree.
fn algorithm(identifier: &AlgorithmIdentifierRef<'_>, digest: Hash) -> Option<SignatureAlgorithm> {
    if identifier.oid == rfc5912::RSA_ENCRYPTION {
        let null_or_absent = identifier
            .parameters
            .is_none_or(|parameters| parameters.tag() == Tag::Null);
        return null_or_absent.then_some(SignatureAlgorithm::RsaPkcs1(digest));
    }
    signature_algorithm(identifier).filter(|algorithm| {
        matches!(algorithm, SignatureAlgorithm::RsaPkcs1(hash) | SignatureAlgorithm::RsaPss(hash)
            | SignatureAlgorithm::EcdsaDer(hash) if *hash == digest)
    })
}

fn value<'a, T>(value: AnyRef<'a>, name: &'static str) -> Result<T, SignerError>
where
    T: der::Choice<'a> + der::DecodeValue<'a>,
{
    value
        .decode_as()
        .map_err(|_: <T as der::DecodeValue<'a>>::Error| SignerError::MalformedAttribute(name))
}

/// The signing-time attribute (RFC 5652 §11.3), which is optional.
fn signing_time(attributes: &SignedAttributes<'_>) -> Result<Option<Timestamp>, SignerError> {
    const NAME: &str = "signing-time";
    let Some(attribute) = attributes.at_most_one(SIGNING_TIME, NAME)? else {
        return Ok(None);
    };
    let time: Time = value(attribute, NAME)?;
    Ok(Some(timestamp(time)))
}

/// The first `ESSCertIDv2` of the signing-certificate-v2 attribute: it is the signer's (RFC 5035 §3). The first version
/// of the attribute hashes with SHA-1; where it stands alone the signer is not bound to a certificate.
struct EssentialCertificate<'a> {
    hash: Hash,
    digest: &'a [u8],
    /// The issuer's encoded name, and the serial number.
    issuer_serial: Option<(&'a [u8], &'a [u8])>,
}

/// `ESSCertIDv2` (RFC 5035 §4). The algorithm's default is SHA-256.
#[derive(Sequence)]
struct EssCertIdV2<'a> {
    #[asn1(optional = "true")]
    algorithm: Option<AlgorithmIdentifierRef<'a>>,
    digest: &'a OctetStringRef,
    #[asn1(optional = "true")]
    issuer_serial: Option<IssuerSerial<'a>>,
}

#[derive(Sequence)]
struct IssuerSerial<'a> {
    issuer: AnyRef<'a>,
    serial_number: IntRef<'a>,
}

impl<'a> EssentialCertificate<'a> {
    fn read(attributes: &SignedAttributes<'a>) -> Result<Self, SignerError> {
        const NAME: &str = "signing-certificate-v2";
        let malformed = |_| SignerError::MalformedAttribute(NAME);
        let attribute = attributes.one(SIGNING_CERTIFICATE_V2, NAME)?;
        let first = attribute
            .sequence(|reader| {
                let certificates: AnyRef<'a> = reader.decode()?;
                // Policies may follow. They say nothing that is asked here.
                let _policies: Option<AnyRef<'a>> = match reader.is_finished() {
                    true => None,
                    false => Some(reader.decode()?),
                };
                Ok::<_, der::Error>(certificates)
            })
            .map_err(malformed)?;
        first.tag().assert_eq(Tag::Sequence).map_err(malformed)?;
        if first.value().is_empty() {
            return Err(SignerError::NoSigningCertificate);
        }
        let first: EssCertIdV2<'a> = der::SliceReader::new(first.value())
            .and_then(|mut reader| reader.decode())
            .map_err(malformed)?;
        let hash = match first.algorithm {
            None => Hash::Sha256,
            Some(algorithm) => {
                hash_algorithm(&algorithm).ok_or(SignerError::CertificateHashAlgorithm(algorithm.oid))?
            }
        };
        let issuer_serial = match &first.issuer_serial {
            None => None,
            Some(wire) => {
                let issuer = directory_name(wire.issuer).map_err(malformed)?;
                Some((issuer, wire.serial_number.as_bytes()))
            }
        };
        Ok(Self {
            hash,
            digest: first.digest.as_bytes(),
            issuer_serial,
        })
    }
}

/// The one `directoryName` of `GeneralNames`, encoded: a certificate has one issuer (RFC 5035 §4). The tag is explicit,
/// so the name is all that is behind it.
fn directory_name(names: AnyRef<'_>) -> der::Result<&[u8]> {
    names.sequence(|reader| match implicit(reader, 4)? {
        Some(name) => Ok(name),
        None => Err(Tag::Sequence.value_error().into()),
    })
}
