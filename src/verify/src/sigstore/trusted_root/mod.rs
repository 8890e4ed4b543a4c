//! Trusted roots: which logs and authorities of a sigstore deployment are trusted, and when (sigstore protobuf-specs:
//! sigstore_trustroot.proto).
//!
//! A root comes from a `trusted_root.json` or is put together from PEM files. It is the operator's word: nothing in it is
//! a stranger's, but a mistake in it must not pass for something else, so it is read strictly and never merged.

mod json;
mod log_key;
mod outlook;
mod parts;
#[cfg(test)]
mod tests;

use thiserror::Error;

pub use log_key::LogKeyError;
pub(crate) use log_key::LogKeyKind;
pub use outlook::{Coverage, Lapse, Party, Role, Standing};
pub use parts::{LogParts, Parts, PartsError};

use super::key::VerificationKey;
use super::window::Window;
use crate::limits::{MAX_CHAIN_LENGTH, MAX_TRUSTED_ROOT_SIZE};
use crate::untrusted::Untrusted;
use crate::x509::certificate::{Certificate, ParseCertificateError};

/// The trusted parties of one deployment.
#[derive(Clone, Debug, Default)]
pub struct TrustedRoot {
    /// Transparency logs for signatures.
    pub logs: Vec<TransparencyLog>,
    /// Certificate transparency logs.
    pub certificate_logs: Vec<TransparencyLog>,
    /// Certificate authorities whose certificates say who signed.
    pub certificate_authorities: Vec<Authority>,
    /// Timestamp authorities.
    pub timestamp_authorities: Vec<Authority>,
}

/// A log and its key.
#[derive(Clone, Debug)]
pub struct TransparencyLog {
    /// Where it is served. Its host name is the origin of a Rekor v2 checkpoint.
    pub base_url: Box<str>,
    /// Its key.
    pub key: VerificationKey,
    /// Its identifier, as entries name it.
    pub log_id: Box<[u8]>,
    /// When the key counts.
    pub window: Window,
    /// Who runs it: thresholds count operators. The base URL where the root names none.
    pub operator: Box<str>,
}

/// A certificate or timestamp authority.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Its certificates as the root lists them: towards the root, the last one the trust anchor. A timestamp authority's
    /// first may be the signing certificate.
    pub certificates: Vec<Certificate>,
    /// When it counts.
    pub window: Window,
    /// Who runs it: thresholds count operators. Its URI, or the anchor's fingerprint, where the root names none.
    pub operator: Box<str>,
}

/// Why JSON is no trusted root.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum TrustedRootError {
    /// More bytes than [`MAX_TRUSTED_ROOT_SIZE`].
    #[error("the trusted root has {0} bytes, more than {MAX_TRUSTED_ROOT_SIZE}")]
    TooLarge(usize),
    /// The JSON is malformed or has a field that is not known.
    #[error("the trusted root is malformed: {0}")]
    Malformed(Untrusted),
    /// Another document, or a version of it that is not known.
    #[error("the file has the media type {0}: expected a trusted root of version 0.1 or 0.2")]
    MediaType(Untrusted),
    /// A log or authority that cannot be used.
    #[error("{list}[{index}]: {cause}")]
    Party {
        /// The list it is in.
        list: &'static str,
        /// Where in the list.
        index: usize,
        /// Why.
        cause: PartyError,
    },
    /// Two logs with one identifier or one key: which one an entry is of would be a guess.
    #[error("{list}[{second}] has the identifier or the key of {list}[{first}]")]
    Ambiguous {
        /// The list they are in.
        list: &'static str,
        /// The one.
        first: usize,
        /// The other.
        second: usize,
    },
    /// No log and no authority: nothing could ever be verified with it.
    #[error("the trusted root names no log and no authority")]
    Empty,
}

/// Why a log or an authority cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum PartyError {
    /// A field that has to be there is not.
    #[error("{0} is missing")]
    Missing(&'static str),
    /// Text is not base64.
    #[error("{0} is not base64")]
    Base64(&'static str),
    /// A moment is not in the form of RFC 3339.
    #[error("{0} is not a time")]
    Time(&'static str),
    /// The interval ends before it begins.
    #[error("its interval ends before it begins")]
    Backwards,
    /// The key's name in checkpoints is not the one that its log and its bytes give.
    #[error("checkpointKeyId is not the key's")]
    CheckpointKeyId,
    /// A tree of another hash than SHA-256.
    #[error("its tree is hashed with {0}: expected SHA2_256")]
    HashAlgorithm(Untrusted),
    /// The key cannot be used.
    #[error("its key: {0}")]
    Key(#[from] LogKeyError),
    /// An authority without certificates, or with more than [`MAX_CHAIN_LENGTH`].
    #[error("it has {0} certificates: expected 1 to {MAX_CHAIN_LENGTH}")]
    ChainLength(usize),
    /// A certificate is malformed.
    #[error("certificate {position}: {cause}")]
    Certificate {
        /// Where in the chain.
        position: usize,
        /// Why.
        cause: ParseCertificateError,
    },
}

impl TrustedRoot {
    /// Parses a `trusted_root.json` of the versions 0.1 and 0.2. A field that is not known, a key of a kind that nothing
    /// here verifies with, a log's key without a first moment: each refuses the whole root, as sigstore-go does
    /// (pkg/root/trusted_root.go). A root from which something was left out silently would judge otherwise than its owner
    /// expects.
    ///
    /// # Errors
    ///
    /// When it is malformed, says less than it has to, or is ambiguous.
    pub fn parse(json: &[u8]) -> Result<Self, TrustedRootError> {
        let root = json::parse(json)?;
        for (list, logs) in [("tlogs", &root.logs), ("ctlogs", &root.certificate_logs)] {
            if let Some((first, second)) = ambiguous(logs) {
                return Err(TrustedRootError::Ambiguous { list, first, second });
            }
        }
        let none = root.logs.is_empty()
            && root.certificate_logs.is_empty()
            && root.certificate_authorities.is_empty()
            && root.timestamp_authorities.is_empty();
        if none {
            return Err(TrustedRootError::Empty);
        }
        Ok(root)
    }

    /// The log for signatures that an entry names.
    pub fn log(&self, log_id: &[u8]) -> Option<&TransparencyLog> {
        self.logs.iter().find(|log| log.is(log_id))
    }
}

impl TransparencyLog {
    /// Whether an entry that names `log_id` is of this log: by its identifier, or by the name that checkpoints give its key,
    /// whole or its first four bytes (sigstore protobuf-specs: sigstore_trustroot.proto, `log_id`, `checkpoint_key_id`).
    pub fn is(&self, log_id: &[u8]) -> bool {
        *self.log_id == *log_id || self.has_checkpoint_key_id(log_id)
    }

    /// The host name of its URL, which may lack a scheme: the origin of a Rekor v2 log's checkpoints (rekor-v2-spec §4;
    /// sigstore-go pkg/verify/tlog.go).
    pub fn host(&self) -> Option<&str> {
        let rest = self
            .base_url
            .split_once("://")
            .map_or(&*self.base_url, |(_, rest)| rest);
        let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host_and_port = authority.rsplit_once('@').map_or(authority, |(_, rest)| rest);
        let host = match host_and_port.strip_prefix('[') {
            Some(rest) => rest.split_once(']').map_or("", |(host, _)| host),
            None => host_and_port.split(':').next().unwrap_or_default(),
        };
        (!host.is_empty()).then_some(host)
    }
}

/// The first two logs that one identifier or one key could mean.
fn ambiguous(logs: &[TransparencyLog]) -> Option<(usize, usize)> {
    let same = |one: &TransparencyLog, other: &TransparencyLog| {
        one.key == other.key || one.is(&other.log_id) || other.is(&one.log_id)
    };
    logs.iter().enumerate().find_map(|(second, log)| {
        let first = logs.iter().take(second).position(|earlier| same(earlier, log))?;
        Some((first, second))
    })
}
