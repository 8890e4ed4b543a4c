//! Timestamp tokens (RFC 3161): the word of a timestamp authority that a message existed at a time.
//!
//! A token is CMS `SignedData` (RFC 5652) around a `TSTInfo`. It is verified from the outside in: the encoding, the
//! imprint of the message, then for each signer its attributes, the binding to its certificate (RFC 5816), the signature,
//! and a chain of certificates to an anchor at the time that the token names. One good signer is enough, and the
//! countersignature has that signer's chain, never another's.
//!
//! The structures are read with the `der` crate, by definitions of our own. The `cms` crate, a release candidate still,
//! parses certificates into values that are to be encoded again before they can be hashed, fails on the whole where one
//! of several signers is malformed, and has no bounds; and it turns on BER for every user of `der`. `der` itself refuses
//! the fractions of a second that `TSTInfo` allows. From libraries come the primitives only: `PKCS7_verify` of AWS-LC let
//! signatures and chains pass that it should not (CVE-2026-3336, CVE-2026-3338).
//!
//! Deliberately absent: revocation of the chain, which the caller asks about; CRLs and unsigned attributes inside the
//! token, which nobody vouches for; the `tsa` name in `TSTInfo`, which only hints at the certificate that the signed
//! hash already names; and `nonce`, which is for the asker.

mod ber;
mod cms;
mod signer;
mod tst_info;

use const_oid::ObjectIdentifier;
use der::asn1::AnyRef;
use der::{Decode as _, Reader as _, SliceReader, Tag};
use thiserror::Error;

pub use signer::SignerError;

use crate::Timestamp;
use crate::limits::{MAX_TIMESTAMP_TOKEN_SIZE, MAX_TIMESTAMP_VERIFICATIONS};
use crate::sigstore::window::Window;
use crate::timestamp::cms::SignedData;
use crate::timestamp::tst_info::TstInfo;
use crate::untrusted::Untrusted;
use crate::x509::certificate::{Certificate, ParseCertificateError};
use crate::x509::timestamping::{Budget, Exhausted};
use crate::x509::walk::Walk;

/// A countersignature that holds: a timestamp authority said that the message existed at this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Countersignature {
    chain: Vec<Certificate>,
    generated_at: Timestamp,
    earliest: Timestamp,
    latest: Timestamp,
}

impl Countersignature {
    fn new(chain: Vec<Certificate>, info: &TstInfo<'_>) -> Self {
        let generated_at = info.generated_at;
        Self {
            chain,
            generated_at,
            earliest: generated_at.checked_sub(info.accuracy).unwrap_or(Timestamp::MIN),
            latest: generated_at.checked_add(info.accuracy).unwrap_or(Timestamp::MAX),
        }
    }

    /// The authority's chain, the leaf first and a trust anchor last. Its revocation is not judged here.
    pub fn chain(&self) -> &[Certificate] {
        &self.chain
    }

    /// The time that the token names, fractions of a second included.
    pub fn generated_at(&self) -> Timestamp {
        self.generated_at
    }

    /// The earliest moment that the authority's accuracy allows.
    pub fn earliest(&self) -> Timestamp {
        self.earliest
    }

    /// The latest moment that the authority's accuracy allows.
    pub fn latest(&self) -> Timestamp {
        self.latest
    }
}

/// Why a token is no countersignature of a message.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TimestampError {
    /// More than [`MAX_TIMESTAMP_TOKEN_SIZE`].
    #[error("the timestamp token has {0} bytes, more than {MAX_TIMESTAMP_TOKEN_SIZE}")]
    TooLarge(usize),
    /// More of something than the limit.
    #[error("the timestamp token has more than {limit} {what}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there may be.
        limit: usize,
    },
    /// Nested deeper than the limit.
    #[error("the timestamp token nests deeper than {0}")]
    TooDeep(usize),
    /// More signatures to verify than [`MAX_TIMESTAMP_VERIFICATIONS`] before a chain is found.
    #[error("the timestamp token needs more than {MAX_TIMESTAMP_VERIFICATIONS} signatures verified")]
    TooManyVerifications,
    /// Not BER, or not the structure that it has to be.
    #[error("the timestamp token's {part} is malformed: {cause}")]
    Malformed {
        /// Which part.
        part: &'static str,
        /// What the decoder says.
        cause: Untrusted,
    },
    /// Not CMS `SignedData`.
    #[error("the timestamp token is no signed data, but {0}")]
    NotSignedData(ObjectIdentifier),
    /// Signed data of another version: what RFC 5652 §5.1 prescribes for a `TSTInfo` and X.509 certificates is 3.
    #[error("the timestamp token's signed data has version {0}: expected 3")]
    SignedDataVersion(u8),
    /// What is signed is no `TSTInfo`.
    #[error("the timestamp token's content is no TSTInfo, but {0}")]
    NotTstInfo(ObjectIdentifier),
    /// There is no content: the signature is detached.
    #[error("the timestamp token has no content")]
    NoContent,
    /// A certificate that is no X.509 certificate.
    #[error("the timestamp token has a certificate that is not X.509")]
    CertificateKind,
    /// A certificate that does not parse.
    #[error("the timestamp token's certificate {position}: {cause}")]
    Certificate {
        /// Which, from 0.
        position: usize,
        /// Why.
        cause: ParseCertificateError,
    },
    /// Another version of `TSTInfo` than 1.
    #[error("the timestamp token's TSTInfo has version {0}: expected 1")]
    TstInfoVersion(u8),
    /// The message is hashed with an algorithm that is not in the list.
    #[error("the timestamp token's imprint is made with {0}: expected SHA-256, SHA-384 or SHA-512")]
    ImprintAlgorithm(ObjectIdentifier),
    /// The token is of another message.
    #[error("the timestamp token is of another message")]
    Imprint,
    /// The time is not written as RFC 3161 §2.4.2 has it.
    #[error("the timestamp token's time {0} is malformed: expected YYYYMMDDhhmmss[.s...]Z")]
    GeneratedAt(Untrusted),
    /// A part of the accuracy is out of its range.
    #[error("the timestamp token's accuracy is out of range")]
    Accuracy,
    /// A critical extension of `TSTInfo` that is not known here. All are unknown.
    #[error("the timestamp token has the critical extension {0}, which is not supported")]
    CriticalExtension(ObjectIdentifier),
    /// A response without a token, because the authority refused the request (RFC 3161 §2.4.2).
    #[error("the timestamp response has the status {0}: expected 0, granted")]
    NotGranted(u32),
    /// The trusted root has no timestamp authority.
    #[error("the trusted root has no timestamp authority")]
    NoAuthority,
    /// The authority did not count at the time that it named.
    #[error("the timestamp is of {generated_at}, when its authority did not count: it counts {window}")]
    OutsideWindow {
        /// The time that the token names.
        generated_at: Timestamp,
        /// When the authority counts.
        window: Window,
    },
    /// Nobody signed it.
    #[error("the timestamp token has no signer")]
    NoSigner,
    /// No signer is good.
    #[error("{}: {cause}", refused_signers(*count))]
    Signers {
        /// How many there are.
        count: usize,
        /// Why the first is not.
        cause: SignerError,
    },
}

impl TimestampError {
    /// Whether a bound of [`crate::limits`] ended the verification, not a rule.
    pub const fn is_limit(&self) -> bool {
        match self {
            Self::TooLarge(_) | Self::TooMany { .. } | Self::TooDeep(_) | Self::TooManyVerifications => true,
            Self::Signers { cause, .. } => cause.is_limit(),
            _ => false,
        }
    }
}

impl From<Exhausted> for TimestampError {
    fn from(_: Exhausted) -> Self {
        Self::TooManyVerifications
    }
}

fn refused_signers(count: usize) -> &'static str {
    match count {
        1 => "the timestamp token's signer is refused",
        _ => "every signer of the timestamp token is refused, the first because",
    }
}

/// Verifies a token over `message`, the raw bytes of an envelope's signature. `anchors` are the roots of timestamp
/// authorities that are trusted; what is no root among them is passed over.
///
/// # Errors
///
/// When the token is malformed, of another message, or has no signer with a chain to an anchor.
pub fn verify<'a>(
    token: &[u8],
    message: &[u8],
    anchors: impl IntoIterator<Item = &'a Certificate> + Clone,
) -> Result<Countersignature, TimestampError> {
    let roots: Vec<&Certificate> = anchors.into_iter().filter(|anchor| anchor.is_self_issued()).collect();
    let trust = Trust {
        anchors: &roots,
        certificates: &[],
        signer: None,
    };
    Encoded::token(token)?
        .open(message)?
        .verify(&trust, &mut Budget::default())
}

/// Who may have signed a token.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Trust<'t> {
    /// Where a chain has to end.
    pub(crate) anchors: &'t [&'t Certificate],
    /// Certificates that may be in it, beside those of the token.
    pub(crate) certificates: &'t [Certificate],
    /// The one certificate that may sign, where it is known.
    pub(crate) signer: Option<&'t Certificate>,
}

/// The DER of a token.
pub(crate) struct Encoded(Vec<u8>);

impl Encoded {
    /// Takes a token.
    pub(crate) fn token(ber: &[u8]) -> Result<Self, TimestampError> {
        if ber.len() > MAX_TIMESTAMP_TOKEN_SIZE {
            return Err(TimestampError::TooLarge(ber.len()));
        }
        ber::to_der(ber).map(Self)
    }

    /// Takes a token, or a whole `TimeStampResp` (RFC 3161 §2.4.2) whose status is granted. The one begins with an object
    /// identifier, the other with the sequence of its status.
    pub(crate) fn token_or_response(ber: &[u8]) -> Result<Self, TimestampError> {
        let Self(der) = Self::token(ber)?;
        match response(&der)? {
            Some(token) => Ok(Self(token.to_vec())),
            None => Ok(Self(der)),
        }
    }

    /// Reads the token, and checks that it is of `message`.
    pub(crate) fn open(&self, message: &[u8]) -> Result<Token<'_>, TimestampError> {
        let signed = SignedData::parse(&self.0)?;
        let info = TstInfo::parse(signed.content)?;
        if info.imprint != info.hash.digest(message) {
            return Err(TimestampError::Imprint);
        }
        Ok(Token { signed, info })
    }
}

/// The token in a response; none where the bytes are no response.
fn response(der: &[u8]) -> Result<Option<&[u8]>, TimestampError> {
    const PART: &str = "response";
    let malformed = |error: der::Error| TimestampError::Malformed {
        part: PART,
        cause: error.to_string().into(),
    };
    let mut parts = Walk::sequence(der).map_err(malformed)?;
    let status = parts.required().map_err(malformed)?;
    if status.tag() != Tag::Sequence {
        return Ok(None);
    }
    let status: u32 = Walk::over(status.content()).decode().map_err(malformed)?;
    // RFC 3161 §2.4.2: granted is 0. An authority that changed what it was asked for (1) says that it did, not what.
    if status != 0 {
        return Err(TimestampError::NotGranted(status));
    }
    let token = parts.required().map_err(malformed)?.whole;
    parts.finish().map_err(malformed)?;
    Ok(Some(token))
}

/// A token of a message. Nobody has vouched for it yet.
pub(crate) struct Token<'a> {
    signed: SignedData<'a>,
    info: TstInfo<'a>,
}

impl Token<'_> {
    /// Verifies that a signer has a chain to an anchor.
    pub(crate) fn verify(&self, trust: &Trust<'_>, budget: &mut Budget) -> Result<Countersignature, TimestampError> {
        let mut first = None;
        for signer in &self.signed.signers {
            match signer::verify(signer, &self.signed, self.info.generated_at, trust, budget)? {
                Ok(chain) => return Ok(Countersignature::new(chain, &self.info)),
                Err(error) => first = first.or(Some(error)),
            }
        }
        Err(first.map_or(TimestampError::NoSigner, |cause| TimestampError::Signers {
            count: self.signed.signers.len(),
            cause,
        }))
    }
}

/// What is behind a constructed context-specific tag, if that is what comes next.
fn implicit<'a>(reader: &mut SliceReader<'a>, number: u8) -> der::Result<Option<&'a [u8]>> {
    if reader.peek_byte() != Some(0xa0 | number) {
        return Ok(None);
    }
    AnyRef::decode(reader).map(|any| Some(any.value()))
}

/// The elements of a set or sequence, with their headers; none where there are more than `limit`.
fn elements(content: &[u8], limit: usize) -> der::Result<Option<Vec<&[u8]>>> {
    let mut elements = Vec::new();
    let mut reader = SliceReader::new(content)?;
    while !reader.is_finished() {
        if elements.len() == limit {
            return Ok(None);
        }
        elements.push(reader.tlv_bytes()?);
    }
    Ok(Some(elements))
}
