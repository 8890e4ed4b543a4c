//! The bodies of log entries: what a log holds of a signature, by kind.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use x509_cert::der::pem;

use super::BodyError;
use crate::crypto::{Curve, Hash, KeyKind};
use crate::limits::MAX_ENVELOPE_VALUES;
use crate::sigstore::key::VerificationKey;
use crate::sigstore::wire;
use crate::x509::certificate::Certificate;
use crate::x509::pem::pem_blocks;

/// What an entry says about the signature it was made for.
#[derive(Debug)]
pub(super) struct Body {
    /// Which Rekor makes such entries.
    pub(super) generation: Generation,
    /// Who signed.
    pub(super) verifier: Verifier,
    /// The signature. `intoto` 0.0.1 has none: it is in the envelope that its hash is of.
    pub(super) signature: Option<Box<[u8]>>,
    /// What is signed.
    pub(super) subject: Subject,
}

/// The two Rekors.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Generation {
    V1,
    V2,
}

impl Generation {
    pub(super) const fn number(self) -> u8 {
        match self {
            Self::V1 => 1,
            Self::V2 => 2,
        }
    }
}

/// Who signed, in DER.
#[derive(Debug)]
pub(super) enum Verifier {
    Certificate(Box<[u8]>),
    Key(Box<[u8]>),
}

/// What is signed.
#[derive(Debug)]
pub(super) enum Subject {
    /// The digest of what the signature is over.
    Signed(LoggedDigest),
    /// A DSSE envelope, by some of these, at least one.
    Envelope {
        /// The digest of the whole envelope as it was logged.
        envelope: Option<LoggedDigest>,
        /// The digest of the decoded payload.
        payload: Option<LoggedDigest>,
        /// The payload's type.
        payload_type: Option<Box<str>>,
    },
}

/// A digest as the entry has it, of the length that its hash has.
#[derive(Debug)]
pub(super) struct LoggedDigest {
    pub(super) hash: Hash,
    bytes: Box<[u8]>,
}

impl LoggedDigest {
    fn new(hash: Hash, bytes: Vec<u8>) -> Result<Self, BodyError> {
        match bytes.len() == hash.length() {
            true => Ok(Self {
                hash,
                bytes: bytes.into(),
            }),
            false => Err(BodyError::DigestLength),
        }
    }

    /// Whether it is the digest of `content`.
    pub(super) fn is_of(&self, content: &[u8]) -> bool {
        self.is(&self.hash.digest(content))
    }

    /// Whether it is this digest, which is by the same hash.
    pub(super) fn is(&self, digest: &[u8]) -> bool {
        *self.bytes == *digest
    }
}

impl Body {
    /// Parses a body. `said` is the kind and the version that the entry says beside it.
    pub(super) fn parse(bytes: &[u8], said: Option<(&str, &str)>, accept_dsse_v0_0_2: bool) -> Result<Self, BodyError> {
        let entry: Entry = wire::parse(bytes, MAX_ENVELOPE_VALUES, &["signatures"]).map_err(BodyError::Malformed)?;
        let (kind, version) = (&*entry.kind, &*entry.api_version);
        if said.is_some_and(|said| said != (kind, version)) {
            return Err(BodyError::OtherKind {
                kind: kind.into(),
                version: version.into(),
            });
        }
        match (kind, version) {
            ("hashedrekord", "0.0.1") => HashedRekord::body(typed(entry.spec)?, None),
            ("rekord", "0.0.1") => HashedRekord::body(typed(entry.spec)?, Some("x509")),
            ("intoto", "0.0.1") => InToto1::body(typed(entry.spec)?),
            ("intoto", "0.0.2") => InToto2::body(typed(entry.spec)?),
            ("dsse", "0.0.1") => Dsse1::body(typed(entry.spec)?),
            ("hashedrekord", "0.0.2") => HashedRekord2::body(typed(entry.spec)?),
            ("dsse", "0.0.2") if accept_dsse_v0_0_2 => Dsse2::body(typed(entry.spec)?),
            ("dsse", "0.0.2") => Err(BodyError::DsseV0_0_2),
            _ => Err(BodyError::UnknownKind {
                kind: kind.into(),
                version: version.into(),
            }),
        }
    }
}

fn typed<T: DeserializeOwned>(value: Value) -> Result<T, BodyError> {
    serde_json::from_value(value).map_err(|error| BodyError::Malformed(error.to_string().into()))
}

/// What all kinds have (rekor pkg/generated/models; rekor-tiles api/proto/rekor/v2/entry.proto).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Entry {
    kind: String,
    api_version: String,
    spec: Value,
}

/// A digest of Rekor v1.
#[derive(Deserialize)]
struct HexDigest {
    algorithm: String,
    value: String,
}

impl HexDigest {
    fn parse(&self) -> Result<LoggedDigest, BodyError> {
        let hash = match &*self.algorithm {
            "sha256" => Hash::Sha256,
            "sha384" => Hash::Sha384,
            "sha512" => Hash::Sha512,
            other => return Err(BodyError::HashAlgorithm(other.into())),
        };
        LoggedDigest::new(hash, unhex(&self.value).ok_or(BodyError::Field("digest"))?)
    }
}

/// `hashedrekord` 0.0.1 and `rekord` 0.0.1, which are alike but for the format of the signature.
#[derive(Deserialize)]
struct HashedRekord {
    data: Data,
    signature: HashedRekordSignature,
}

#[derive(Deserialize)]
struct Data {
    hash: HexDigest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HashedRekordSignature {
    content: String,
    format: Option<String>,
    public_key: PublicKey,
}

#[derive(Deserialize)]
struct PublicKey {
    content: String,
}

impl HashedRekord {
    /// `format` is how the signature has to be encoded: `rekord` may also hold PGP, minisign and SSH.
    fn body(self, format: Option<&str>) -> Result<Body, BodyError> {
        if self.signature.format.as_deref() != format {
            return Err(BodyError::Field("signature format"));
        }
        Ok(Body {
            generation: Generation::V1,
            verifier: Verifier::of_pem(&self.signature.public_key.content)?,
            signature: Some(decode("signature", &self.signature.content)?),
            subject: Subject::Signed(self.data.hash.parse()?),
        })
    }
}

/// `intoto` 0.0.1.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InToto1 {
    content: InToto1Content,
    public_key: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InToto1Content {
    hash: HexDigest,
    // The first entries of 2022 lack it.
    payload_hash: Option<HexDigest>,
}

impl InToto1 {
    fn body(self) -> Result<Body, BodyError> {
        Ok(Body {
            generation: Generation::V1,
            verifier: Verifier::of_pem(&self.public_key)?,
            signature: None,
            subject: Subject::Envelope {
                envelope: Some(self.content.hash.parse()?),
                payload: self.content.payload_hash.map(|hash| hash.parse()).transpose()?,
                payload_type: None,
            },
        })
    }
}

/// `intoto` 0.0.2.
#[derive(Deserialize)]
struct InToto2 {
    content: InToto2Content,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InToto2Content {
    envelope: InToto2Envelope,
    hash: HexDigest,
    payload_hash: HexDigest,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InToto2Envelope {
    payload_type: String,
    signatures: Vec<InToto2Signature>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct InToto2Signature {
    public_key: String,
    sig: String,
}

impl InToto2 {
    fn body(self) -> Result<Body, BodyError> {
        let envelope = self.content.envelope;
        let signature = one(envelope.signatures)?;
        // Encoded twice: the envelope's own base64, as bytes.
        let encoded = decode("signature", &signature.sig)?;
        let text = std::str::from_utf8(&encoded).map_err(|_| BodyError::Field("signature"))?;
        Ok(Body {
            generation: Generation::V1,
            verifier: Verifier::of_pem(&signature.public_key)?,
            signature: Some(decode("signature", text)?),
            subject: Subject::Envelope {
                envelope: Some(self.content.hash.parse()?),
                payload: Some(self.content.payload_hash.parse()?),
                payload_type: Some(envelope.payload_type.into()),
            },
        })
    }
}

/// `dsse` 0.0.1.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Dsse1 {
    envelope_hash: HexDigest,
    payload_hash: HexDigest,
    signatures: Vec<Dsse1Signature>,
}

#[derive(Deserialize)]
struct Dsse1Signature {
    signature: String,
    verifier: String,
}

impl Dsse1 {
    fn body(self) -> Result<Body, BodyError> {
        let signature = one(self.signatures)?;
        Ok(Body {
            generation: Generation::V1,
            verifier: Verifier::of_pem(&signature.verifier)?,
            signature: Some(decode("signature", &signature.signature)?),
            subject: Subject::Envelope {
                envelope: Some(self.envelope_hash.parse()?),
                payload: Some(self.payload_hash.parse()?),
                payload_type: None,
            },
        })
    }
}

/// A digest of Rekor v2 (sigstore_common.proto, `HashOutput`).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HashOutput {
    algorithm: String,
    digest: String,
}

impl HashOutput {
    fn parse(&self) -> Result<LoggedDigest, BodyError> {
        let hash = match &*self.algorithm {
            "SHA2_256" => Hash::Sha256,
            "SHA2_384" => Hash::Sha384,
            "SHA2_512" => Hash::Sha512,
            other => return Err(BodyError::HashAlgorithm(other.into())),
        };
        LoggedDigest::new(hash, decode("digest", &self.digest)?.into())
    }
}

/// `hashedrekord` 0.0.2 (rekor-tiles api/proto/rekor/v2/hashedrekord.proto). Nothing of it may be left uncompared: clients
/// that rebuild the leaf would refuse what has one field more.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HashedRekord2 {
    #[serde(rename = "hashedRekordV002")]
    entry: HashedRekord2Entry,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct HashedRekord2Entry {
    data: HashOutput,
    signature: Signature2,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Signature2 {
    content: String,
    verifier: Verifier2,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Verifier2 {
    key_details: String,
    public_key: Option<RawBytes>,
    x509_certificate: Option<RawBytes>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawBytes {
    raw_bytes: String,
}

impl HashedRekord2 {
    fn body(self) -> Result<Body, BodyError> {
        let (data, signature) = (self.entry.data.parse()?, self.entry.signature);
        let (verifier, hash) = signature.verifier.parse()?;
        // The digest is the one that is signed, so it is by the key's hash.
        if data.hash != hash {
            return Err(BodyError::KeyDetails(signature.verifier.key_details.into()));
        }
        Ok(Body {
            generation: Generation::V2,
            verifier,
            signature: Some(decode("signature", &signature.content)?),
            subject: Subject::Signed(data),
        })
    }
}

/// `dsse` 0.0.2, which Rekor v2 made until 2026 (rekor-tiles api/proto/rekor/v2/dsse.proto).
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Dsse2 {
    #[serde(rename = "dsseV002")]
    entry: Dsse2Entry,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Dsse2Entry {
    payload_hash: HashOutput,
    signatures: Vec<Signature2>,
}

impl Dsse2 {
    fn body(self) -> Result<Body, BodyError> {
        let signature = one(self.entry.signatures)?;
        let (verifier, _) = signature.verifier.parse()?;
        Ok(Body {
            generation: Generation::V2,
            verifier,
            signature: Some(decode("signature", &signature.content)?),
            subject: Subject::Envelope {
                envelope: None,
                payload: Some(self.entry.payload_hash.parse()?),
                payload_type: None,
            },
        })
    }
}

impl Verifier2 {
    /// The verifier, and the hash that its details say that it signs with.
    fn parse(&self) -> Result<(Verifier, Hash), BodyError> {
        let (verifier, kind) = match (&self.public_key, &self.x509_certificate) {
            (Some(key), None) => {
                let der = decode("verifier", &key.raw_bytes)?;
                let key = VerificationKey::from_spki(&der).map_err(|_| BodyError::Verifier)?;
                (Verifier::Key(der), key.kind())
            }
            (None, Some(certificate)) => {
                let der = decode("verifier", &certificate.raw_bytes)?;
                let certificate = Certificate::from_der(&der).map_err(|_| BodyError::Verifier)?;
                (Verifier::Certificate(der), certificate.key_kind())
            }
            _ => return Err(BodyError::Verifier),
        };
        let hash = hash_of_details(&self.key_details, kind);
        let hash = hash.ok_or_else(|| BodyError::KeyDetails(self.key_details.as_str().into()))?;
        Ok((verifier, hash))
    }
}

/// The hash of a key's details, where the key is of their kind (sigstore_common.proto, `PublicKeyDetails`). Those that sign
/// without a hash have no place in a log of digests; RSA-PSS is nothing that cosign signs with.
fn hash_of_details(details: &str, kind: KeyKind) -> Option<Hash> {
    Some(match (details, kind) {
        ("PKIX_ECDSA_P256_SHA_256", KeyKind::Ecdsa(Curve::P256))
        | ("PKIX_ECDSA_P384_SHA_256", KeyKind::Ecdsa(Curve::P384))
        | ("PKIX_ECDSA_P521_SHA_256", KeyKind::Ecdsa(Curve::P521))
        | ("PKIX_RSA_PKCS1V15_2048_SHA256", KeyKind::Rsa { bits: 2048 })
        | ("PKIX_RSA_PKCS1V15_3072_SHA256", KeyKind::Rsa { bits: 3072 })
        | ("PKIX_RSA_PKCS1V15_4096_SHA256", KeyKind::Rsa { bits: 4096 }) => Hash::Sha256,
        ("PKIX_ECDSA_P384_SHA_384", KeyKind::Ecdsa(Curve::P384)) => Hash::Sha384,
        ("PKIX_ECDSA_P521_SHA_512", KeyKind::Ecdsa(Curve::P521)) | ("PKIX_ED25519_PH", KeyKind::Ed25519) => {
            Hash::Sha512
        }
        _ => return None,
    })
}

impl Verifier {
    /// Reads the base64 of a PEM file of exactly one block, as Rekor v1 has it.
    fn of_pem(encoded: &str) -> Result<Self, BodyError> {
        let file = decode("verifier", encoded)?;
        let mut blocks = pem_blocks(&file);
        let (Some(block), None) = (blocks.next(), blocks.next()) else {
            return Err(BodyError::Verifier);
        };
        let mut decoder = pem::Decoder::new_detect_wrap(block).map_err(|_| BodyError::Verifier)?;
        if decoder.type_label() == "CERTIFICATE" {
            let mut der = Vec::new();
            decoder.decode_to_end(&mut der).map_err(|_| BodyError::Verifier)?;
            return Ok(Self::Certificate(der.into()));
        }
        let text = std::str::from_utf8(block).map_err(|_| BodyError::Verifier)?;
        let key = VerificationKey::from_pem(text).map_err(|_| BodyError::Verifier)?;
        Ok(Self::Key(key.spki().into()))
    }
}

/// An entry is of one signature (TOB-SIGSTORE-9).
fn one<T>(signatures: Vec<T>) -> Result<T, BodyError> {
    let count = signatures.len();
    let mut signatures = signatures.into_iter();
    match (signatures.next(), signatures.next()) {
        (Some(signature), None) => Ok(signature),
        _ => Err(BodyError::SignatureCount(count)),
    }
}

fn decode(field: &'static str, text: &str) -> Result<Box<[u8]>, BodyError> {
    STANDARD
        .decode(text)
        .map(Into::into)
        .map_err(|_| BodyError::Field(field))
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pairs = text.as_bytes().chunks(2).map(|pair| match pair {
        [high, low] => Some(digit(*high)? << 4 | digit(*low)?),
        _ => None,
    });
    pairs.collect()
}
