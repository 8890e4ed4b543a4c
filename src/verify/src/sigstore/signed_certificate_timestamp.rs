//! Signed certificate timestamps: a certificate transparency log's promise to include a certificate (RFC 6962 §3.2,
//! §3.3).
//!
//! The log signed the certificate before it held the promise: the `TBSCertificate` without the extension, with the hash
//! of the issuer's key. So the extension is cut out of the bytes as they came, and only the three lengths around it
//! change.
//!
//! Deliberately absent: promises beside the certificate (Fulcio's `SCT` header), and precertificates by a signing
//! certificate of their own, which no sigstore deployment issues.

use const_oid::ObjectIdentifier;
use der::asn1::OctetStringRef;
use der::{Decode as _, Tag};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

use super::trusted_root::TransparencyLog;
use super::window::Window;
use crate::Timestamp;
use crate::code::Code;
use crate::crypto::{BadSignature, Hash, KeyKind};
use crate::digest::hex;
use crate::limits::MAX_CERTIFICATE_TIMESTAMPS;
use crate::x509::certificate::Certificate;
use crate::x509::walk::{self, Extension, Walk};

/// RFC 6962 §3.3.
const EMBEDDED: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

/// A promise that holds.
#[derive(Clone, Debug)]
pub struct VerifiedTimestamp<'a> {
    /// The log.
    pub log: &'a TransparencyLog,
    /// When it promised.
    pub at: Timestamp,
}

/// Why a certificate has no promise that holds.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ScTimestampError {
    /// There is none.
    #[error("its certificate has no signed certificate timestamp")]
    None,
    /// The list is not what RFC 6962 §3.3 has.
    #[error("the signed certificate timestamps of its certificate are malformed")]
    Malformed,
    /// More than [`MAX_CERTIFICATE_TIMESTAMPS`].
    #[error("its certificate has more than {MAX_CERTIFICATE_TIMESTAMPS} signed certificate timestamps")]
    TooMany,
    /// None of them holds.
    #[error("{}: {cause}", refused_promises(*count))]
    Refused {
        /// How many there are.
        count: usize,
        /// Why the one that came nearest does not.
        cause: PromiseError,
    },
}

/// Why one promise does not hold.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Error)]
pub enum PromiseError {
    /// A version after RFC 6962's own.
    #[error("it has version {0}: expected 0 (v1)")]
    Version(u8),
    /// The trusted root has no such log.
    #[error("the log {0} is not in the trusted root")]
    UnknownLog(String),
    /// The structure is not that of version 1.
    #[error("it is malformed")]
    Malformed,
    /// The log's key did not count when it promised.
    #[error("it is of {at}, when the log's key did not count: it counts {window}")]
    OutsideWindow {
        /// The time of the promise.
        at: Timestamp,
        /// When the key counts.
        window: Window,
    },
    /// Not SHA-256 with the log's kind of key (RFC 6962 §2.1.4).
    #[error("it is signed with hash {hash} and algorithm {signature} of TLS, which do not fit the log's key")]
    Algorithm {
        /// `HashAlgorithm` (RFC 5246 §7.4.1.4.1).
        hash: u8,
        /// `SignatureAlgorithm` (RFC 5246 §7.4.1.4.1).
        signature: u8,
    },
    /// The log signed something else.
    #[error("the log's signature does not verify")]
    Signature,
}

fn refused_promises(count: usize) -> &'static str {
    match count {
        1 => "the signed certificate timestamp of its certificate is refused",
        _ => "every signed certificate timestamp of its certificate is refused, the closest because",
    }
}

impl ScTimestampError {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::TooMany => Code::LimitExceeded,
            Self::Malformed => Code::SignatureInvalid,
            Self::None | Self::Refused { .. } => Code::UntrustedSigner,
        }
    }
}

/// Verifies the promises embedded in a certificate. `issuer` is the certificate above it in its chain. Promises of
/// unknown logs are passed over; those that are wrong do not spoil others.
///
/// # Errors
///
/// When none of them holds.
pub fn verify<'a>(
    leaf: &Certificate,
    issuer: &Certificate,
    logs: &'a [TransparencyLog],
) -> Result<Vec<VerifiedTimestamp<'a>>, ScTimestampError> {
    let promises = embedded(leaf)?;
    let precertificate = Precertificate {
        issuer_key_hash: Sha256::digest(issuer.subject_public_key_info_der()).into(),
        to_be_signed: without_promises(leaf.to_be_signed()).map_err(|_| ScTimestampError::Malformed)?,
    };
    let mut holding = Vec::new();
    let mut nearest = None;
    for promise in &promises {
        match verify_promise(promise, &precertificate, logs) {
            Ok(verified) => holding.push(verified),
            Err(error) => nearest = nearest.max(Some(error)),
        }
    }
    match nearest {
        _ if !holding.is_empty() => Ok(holding),
        None => Err(ScTimestampError::None),
        Some(cause) => Err(ScTimestampError::Refused {
            count: promises.len(),
            cause,
        }),
    }
}

/// `SignedCertificateTimestampList` (RFC 6962 §3.3), in an octet string inside the extension's own.
fn embedded(leaf: &Certificate) -> Result<Vec<&[u8]>, ScTimestampError> {
    let content = leaf.extension(EMBEDDED).ok_or(ScTimestampError::None)?;
    let list = <&OctetStringRef>::from_der(content).map_err(|_| ScTimestampError::Malformed)?;
    let mut outer = Reader(list.as_bytes());
    let mut inner = Reader(outer.opaque().ok_or(ScTimestampError::Malformed)?);
    if !outer.0.is_empty() {
        return Err(ScTimestampError::Malformed);
    }
    let mut promises = Vec::new();
    while !inner.0.is_empty() {
        if promises.len() == MAX_CERTIFICATE_TIMESTAMPS {
            return Err(ScTimestampError::TooMany);
        }
        promises.push(inner.opaque().ok_or(ScTimestampError::Malformed)?);
    }
    Ok(promises)
}

/// What a log signs of a certificate (RFC 6962 §3.2): `PreCert`.
struct Precertificate {
    issuer_key_hash: [u8; 32],
    to_be_signed: Vec<u8>,
}

/// `SignedCertificateTimestamp` of version 1 (RFC 6962 §3.2).
struct Promise<'a> {
    log_id: &'a [u8],
    /// Milliseconds since 1970.
    timestamp: [u8; 8],
    extensions: &'a [u8],
    hash: u8,
    signature_algorithm: u8,
    signature: &'a [u8],
}

impl<'a> Promise<'a> {
    fn read(bytes: &'a [u8]) -> Result<Self, PromiseError> {
        let mut reader = Reader(bytes);
        let version = reader.byte().ok_or(PromiseError::Malformed)?;
        if version != 0 {
            return Err(PromiseError::Version(version));
        }
        let mut rest = || {
            let promise = Self {
                log_id: reader.take(32)?,
                timestamp: reader.take(8)?.try_into().ok()?,
                extensions: reader.opaque()?,
                hash: reader.byte()?,
                signature_algorithm: reader.byte()?,
                signature: reader.opaque()?,
            };
            reader.0.is_empty().then_some(promise)
        };
        rest().ok_or(PromiseError::Malformed)
    }

    fn at(&self) -> Result<Timestamp, PromiseError> {
        i64::try_from(u64::from_be_bytes(self.timestamp))
            .ok()
            .and_then(|milliseconds| Timestamp::from_millisecond(milliseconds).ok())
            .ok_or(PromiseError::Malformed)
    }

    /// `digitally-signed struct` of RFC 6962 §3.2: version, `certificate_timestamp` (0), the time, `precert_entry` (1),
    /// the precertificate, and the extensions of the promise. None for what no length can say.
    fn signed(&self, precertificate: &Precertificate) -> Option<Vec<u8>> {
        let length = u32::try_from(precertificate.to_be_signed.len()).ok()?.to_be_bytes();
        let [0, length @ ..] = length else {
            return None;
        };
        let extensions = u16::try_from(self.extensions.len()).ok()?.to_be_bytes();
        let parts: [&[u8]; 8] = [
            &[0, 0],
            &self.timestamp,
            &[0, 1],
            &precertificate.issuer_key_hash,
            &length,
            &precertificate.to_be_signed,
            &extensions,
            self.extensions,
        ];
        Some(parts.concat())
    }
}

fn verify_promise<'a>(
    promise: &[u8],
    precertificate: &Precertificate,
    logs: &'a [TransparencyLog],
) -> Result<VerifiedTimestamp<'a>, PromiseError> {
    let promise = Promise::read(promise)?;
    let at = promise.at()?;
    let signed = promise.signed(precertificate).ok_or(PromiseError::Malformed)?;
    // A trusted root may list a key twice, with two windows.
    let mut nearest = None;
    for log in logs.iter().filter(|log| *log.log_id == *promise.log_id) {
        match verify_with(&promise, at, &signed, log) {
            Ok(()) => return Ok(VerifiedTimestamp { log, at }),
            Err(error) => nearest = nearest.max(Some(error)),
        }
    }
    Err(nearest.unwrap_or_else(|| PromiseError::UnknownLog(hex(promise.log_id))))
}

fn verify_with(promise: &Promise<'_>, at: Timestamp, signed: &[u8], log: &TransparencyLog) -> Result<(), PromiseError> {
    if !log.window.contains(at) {
        return Err(PromiseError::OutsideWindow { at, window: log.window });
    }
    // SHA-256 is 4, RSA is 1, ECDSA is 3 (RFC 5246 §7.4.1.4.1).
    match (promise.hash, promise.signature_algorithm, log.key.kind()) {
        (4, 1, KeyKind::Rsa { .. }) | (4, 3, KeyKind::Ecdsa(_)) => {}
        (hash, signature, _) => return Err(PromiseError::Algorithm { hash, signature }),
    }
    log.key
        .verify_with(Hash::Sha256, signed, promise.signature)
        .map_err(|BadSignature| PromiseError::Signature)
}

/// A `TBSCertificate` without the extension, and with all else as it came.
fn without_promises(to_be_signed: &[u8]) -> der::Result<Vec<u8>> {
    const EXTENSIONS: Tag = walk::constructed(3);
    let mut fields = Vec::new();
    for field in Walk::sequence(to_be_signed)? {
        let field = field?;
        if field.tag() != EXTENSIONS {
            fields.extend_from_slice(field.whole);
            continue;
        }
        let mut kept = Vec::new();
        for extension in Walk::sequence(field.content())? {
            let extension = extension?;
            if Extension::read(&extension)?.id != EMBEDDED {
                kept.extend_from_slice(extension.whole);
            }
        }
        // The field has at least one extension, or is not there (RFC 5280 §4.1).
        if !kept.is_empty() {
            walk::write(0xa3, &walk::encoded(0x30, &kept), &mut fields);
        }
    }
    Ok(walk::encoded(0x30, &fields))
}

/// Reads what TLS encodes (RFC 5246 §4).
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    /// `opaque<0..2^16-1>`: a length of two bytes, and as much.
    fn opaque(&mut self) -> Option<&'a [u8]> {
        let length = u16::from_be_bytes(self.take(2)?.try_into().ok()?);
        self.take(length.into())
    }
}

#[cfg(test)]
mod tests;
