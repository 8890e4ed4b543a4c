//! Sigstore bundles, versions 0.1 to 0.3 (sigstore protobuf-specs: sigstore_bundle.proto, sigstore_rekor.proto).
//!
//! Unknown fields are refused, as sigstore-go refuses them: a field that a later version adds may take away from what the
//! others say.
//!
//! `sigstore-types` parses bundles for the second opinion only. It has no bounds, passes over unknown fields, takes the first
//! of two contents, and refuses a bundle whole for a log entry of a kind that it does not know.

use thiserror::Error;

use super::json::{JsonError, Names, Object, decode, text, wrong};
use super::material::{
    BundleVersion, ClaimedSigner, Content, Format, InclusionProof, LogEntry, Material, MessageDigest,
};
use crate::Timestamp;
use crate::code::Code;
use crate::crypto::Hash;
use crate::limits::{
    MAX_ATTESTATION_SIZE, MAX_BUNDLE_UNITS, MAX_CHAIN_LENGTH, MAX_INCLUSION_PROOF_HASHES, MAX_LOG_ENTRIES,
    MAX_TIMESTAMPS,
};
use crate::untrusted::Untrusted;
use crate::x509::certificate::{Certificate, ParseCertificateError};

/// Why JSON is no bundle.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BundleError {
    /// More bytes than the limit.
    #[error("the bundle has {0} bytes, more than {MAX_ATTESTATION_SIZE}")]
    TooLarge(usize),
    /// The JSON is malformed, or a field is.
    #[error("the bundle is malformed: {0}")]
    Json(#[from] JsonError),
    /// No bundle, or one of a version that nobody here knows.
    #[error("the bundle has the media type {0}: expected a version from 0.1 to 0.3")]
    MediaType(Untrusted),
    /// None or several of what there has to be one of.
    #[error("the bundle does not have exactly one of {0}")]
    NotExactlyOne(&'static str),
    /// Not exactly one signature (TOB-SIGSTORE-9).
    #[error("the bundle's envelope has {0} signatures: expected one")]
    SignatureCount(usize),
    /// A chain without a certificate.
    #[error("the bundle's certificate chain is empty")]
    EmptyChain,
    /// A chain in version 0.3.
    #[error("the bundle has a certificate chain, which version 0.3 does not have")]
    ChainNotAllowed,
    /// A certificate is malformed.
    #[error("certificate {position} of the bundle is malformed: {cause}")]
    Certificate {
        /// Which, from 0.
        position: usize,
        /// Why.
        cause: ParseCertificateError,
    },
    /// A log entry without a promise, in version 0.1.
    #[error("log entry {0} of the bundle has no inclusion promise, which version 0.1 asks for")]
    NoPromise(usize),
    /// A log entry without a proof, from version 0.2 on.
    #[error("log entry {0} of the bundle has no inclusion proof, which versions from 0.2 on ask for")]
    NoProof(usize),
    /// A proof without the log's word on the tree, in any version: it proves nothing about the log (sigstore-go
    /// pkg/tlog/entry.go).
    #[error("log entry {0} of the bundle has an inclusion proof without a checkpoint")]
    NoCheckpoint(usize),
}

impl BundleError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::TooLarge(_) => Code::LimitExceeded,
            Self::Json(error) => error.code(),
            Self::MediaType(_) => Code::SignatureUnsupported,
            _ => Code::SignatureInvalid,
        }
    }
}

/// Parses a bundle.
///
/// # Errors
///
/// When it is malformed, of an unknown version, or breaks a rule of its version.
pub fn parse(json: &[u8]) -> Result<Material, BundleError> {
    if json.len() > MAX_ATTESTATION_SIZE {
        return Err(BundleError::TooLarge(json.len()));
    }
    let mut bundle = Object::parse(json, MAX_BUNDLE_UNITS, Names::Proto, "the bundle")?;
    // The version first: what a later one means with its fields is not for this reader to say.
    let version = version(&bundle.required_text("mediaType")?)?;
    let mut verification = bundle.required_object("verificationMaterial")?;
    let material = Material {
        format: Format::Bundle(version),
        content: content(&mut bundle)?,
        signer: signer(&mut verification, version)?,
        log_entries: log_entries(&mut verification, version)?,
        timestamps: timestamps(&mut verification)?,
    };
    verification.finish()?;
    bundle.finish()?;
    Ok(material)
}

/// The versions by media type. The new spelling began with 0.3.
fn version(media_type: &str) -> Result<BundleVersion, BundleError> {
    match media_type {
        "application/vnd.dev.sigstore.bundle+json;version=0.1" => Ok(BundleVersion::V0_1),
        "application/vnd.dev.sigstore.bundle+json;version=0.2" => Ok(BundleVersion::V0_2),
        "application/vnd.dev.sigstore.bundle+json;version=0.3" | "application/vnd.dev.sigstore.bundle.v0.3+json" => {
            Ok(BundleVersion::V0_3)
        }
        other => Err(BundleError::MediaType(other.into())),
    }
}

/// `content`: a oneof.
fn content(bundle: &mut Object) -> Result<Content, BundleError> {
    match (bundle.object("messageSignature")?, bundle.object("dsseEnvelope")?) {
        (Some(message), None) => message_signature(message),
        (None, Some(envelope)) => dsse_envelope(envelope),
        _ => Err(BundleError::NotExactlyOne("messageSignature and dsseEnvelope")),
    }
}

fn message_signature(mut message: Object) -> Result<Content, BundleError> {
    let digest = message.object("messageDigest")?.map(message_digest).transpose()?;
    let signature = message.required_bytes("signature")?.into();
    message.finish()?;
    Ok(Content::Message { digest, signature })
}

/// sigstore protobuf-specs: sigstore_common.proto, HashOutput. An enumeration's value is its name or its number.
fn message_digest(mut digest: Object) -> Result<MessageDigest, JsonError> {
    let algorithm = match digest.take("algorithm")? {
        Some(name) if name == "SHA2_256" || name == 1 => Hash::Sha256,
        Some(name) if name == "SHA2_384" || name == 2 => Hash::Sha384,
        Some(name) if name == "SHA2_512" || name == 3 => Hash::Sha512,
        Some(_) => return Err(wrong("algorithm", "SHA2_256, SHA2_384 or SHA2_512")),
        None => return Err(JsonError::Missing("algorithm")),
    };
    let length = match algorithm {
        Hash::Sha256 => 32,
        Hash::Sha384 => 48,
        Hash::Sha512 => 64,
    };
    let bytes = digest.required_bytes("digest")?;
    if bytes.len() != length {
        return Err(wrong("digest", "of the length of its algorithm"));
    }
    digest.finish()?;
    Ok(MessageDigest {
        algorithm,
        bytes: bytes.into(),
    })
}

fn dsse_envelope(mut envelope: Object) -> Result<Content, BundleError> {
    let [mut signature] = <[Object; 1]>::try_from(envelope.objects("signatures", MAX_BUNDLE_UNITS)?)
        .map_err(|signatures| BundleError::SignatureCount(signatures.len()))?;
    // A name of the key. It decides nothing.
    signature.text("keyid")?;
    let content = Content::Dsse {
        payload_type: envelope.required_text("payloadType")?,
        payload: envelope.required_bytes("payload")?.into(),
        signature: signature.required_bytes("sig")?.into(),
        envelope: None,
    };
    signature.finish()?;
    envelope.finish()?;
    Ok(content)
}

/// `content` of the verification material: a oneof.
fn signer(material: &mut Object, version: BundleVersion) -> Result<ClaimedSigner, BundleError> {
    let key = material.object("publicKey")?;
    let chain = material.object("x509CertificateChain")?;
    let certificate = material.object("certificate")?;
    match (key, chain, certificate) {
        (Some(mut key), None, None) => {
            let hint = key.text("hint")?;
            key.finish()?;
            Ok(ClaimedSigner::Key {
                hint: Some(hint).filter(|hint| !hint.is_empty()),
            })
        }
        (None, Some(_), None) if version >= BundleVersion::V0_3 => Err(BundleError::ChainNotAllowed),
        (None, Some(chain), None) => certificate_chain(chain),
        (None, None, Some(certificate)) => Ok(ClaimedSigner::Certificate {
            leaf: parse_certificate(0, certificate)?,
            intermediates: Vec::new(),
        }),
        _ => Err(BundleError::NotExactlyOne(
            "publicKey, x509CertificateChain and certificate",
        )),
    }
}

fn certificate_chain(mut chain: Object) -> Result<ClaimedSigner, BundleError> {
    let certificates = chain.objects("certificates", MAX_CHAIN_LENGTH)?;
    chain.finish()?;
    let mut certificates = certificates.into_iter().enumerate();
    let (position, leaf) = certificates.next().ok_or(BundleError::EmptyChain)?;
    let leaf = parse_certificate(position, leaf)?;
    // sigstore_bundle.proto, VerificationMaterial.content: signers must not put a root into a bundle, and verifiers should
    // ignore those of old ones. Whoever trusts what comes with a signature has been told by it what to trust.
    let intermediates = certificates
        .map(|(position, certificate)| parse_certificate(position, certificate))
        .filter(|parsed| !parsed.as_ref().is_ok_and(Certificate::is_self_issued))
        .collect::<Result<_, _>>()?;
    Ok(ClaimedSigner::Certificate { leaf, intermediates })
}

fn parse_certificate(position: usize, mut certificate: Object) -> Result<Certificate, BundleError> {
    let der = certificate.required_bytes("rawBytes")?;
    certificate.finish()?;
    Certificate::from_der(&der).map_err(|cause| BundleError::Certificate { position, cause })
}

fn log_entries(material: &mut Object, version: BundleVersion) -> Result<Vec<LogEntry>, BundleError> {
    let entries = material.objects("tlogEntries", MAX_LOG_ENTRIES)?.into_iter();
    let entries: Vec<_> = entries.map(log_entry).collect::<Result<_, _>>()?;
    for (position, entry) in entries.iter().enumerate() {
        match (version, &entry.proof) {
            (_, Some(proof)) if proof.checkpoint.is_none() => return Err(BundleError::NoCheckpoint(position)),
            (BundleVersion::V0_1, _) if entry.promise.is_none() => return Err(BundleError::NoPromise(position)),
            (BundleVersion::V0_2 | BundleVersion::V0_3, None) => return Err(BundleError::NoProof(position)),
            _ => {}
        }
    }
    Ok(entries)
}

fn log_entry(mut entry: Object) -> Result<LogEntry, JsonError> {
    let mut log = entry.required_object("logId")?;
    let mut kind = entry.required_object("kindVersion")?;
    // A time of 0 is an absent one, by proto3's rules; a log has no entry from before 1970 either.
    let integrated_time = match entry.count("integratedTime")? {
        0 => None,
        seconds => Some(time(seconds, "integratedTime")?),
    };
    let promise = match entry.object("inclusionPromise")? {
        None => None,
        Some(mut promise) => {
            let signed = promise.bytes("signedEntryTimestamp")?;
            promise.finish()?;
            Some(signed).filter(|signed| !signed.is_empty()).map(Into::into)
        }
    };
    let parsed = LogEntry {
        log_id: log.required_bytes("keyId")?.into(),
        log_index: entry.count("logIndex")?,
        integrated_time,
        kind: Some((kind.required_text("kind")?, kind.required_text("version")?)),
        promise,
        proof: entry.object("inclusionProof")?.map(inclusion_proof).transpose()?,
        body: entry.required_bytes("canonicalizedBody")?.into(),
    };
    log.finish()?;
    kind.finish()?;
    entry.finish()?;
    Ok(parsed)
}

/// A moment in seconds since 1970.
pub(super) fn time(seconds: u64, field: &'static str) -> Result<Timestamp, JsonError> {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| Timestamp::from_second(seconds).ok())
        .ok_or_else(|| wrong(field, "a time"))
}

fn inclusion_proof(mut proof: Object) -> Result<InclusionProof, JsonError> {
    let hashes = proof.array("hashes", MAX_INCLUSION_PROOF_HASHES)?.into_iter();
    let hashes = hashes
        .map(|hash| decode(&text(hash, "hashes")?, "hashes").map(Into::into))
        .collect::<Result<_, _>>()?;
    let checkpoint = match proof.object("checkpoint")? {
        None => None,
        Some(mut checkpoint) => {
            let envelope = checkpoint.text("envelope")?;
            checkpoint.finish()?;
            Some(envelope).filter(|envelope| !envelope.is_empty())
        }
    };
    let parsed = InclusionProof {
        log_index: proof.count("logIndex")?,
        tree_size: proof.count("treeSize")?,
        // A Rekor v2 checkpoint says it; the proof need not.
        root_hash: proof.bytes("rootHash")?.into(),
        hashes,
        checkpoint,
    };
    proof.finish()?;
    Ok(parsed)
}

fn timestamps(material: &mut Object) -> Result<Vec<Box<[u8]>>, JsonError> {
    let Some(mut data) = material.object("timestampVerificationData")? else {
        return Ok(Vec::new());
    };
    let timestamps = data.objects("rfc3161Timestamps", MAX_TIMESTAMPS)?.into_iter();
    let timestamps = timestamps
        .map(|mut timestamp| {
            let token = timestamp.required_bytes("signedTimestamp")?;
            timestamp.finish()?;
            Ok(token.into())
        })
        .collect::<Result<_, JsonError>>()?;
    data.finish()?;
    Ok(timestamps)
}

#[cfg(test)]
mod tests;
