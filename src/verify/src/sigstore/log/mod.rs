//! Transparency logs: whether an entry is in a trusted log, and whether it is about this very signature.

mod error;

pub use error::{BindingError, BodyError, CheckpointError, InclusionError, LogError, PromiseError};

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

impl VerifiedEntry<'_> {
    /// Checks that the log's key counts at every one of `times`: those that are verified for the signature, or, where
    /// none is, the time of the judgement. [`verify`] has checked the time of a promise; an entry without one has no time
    /// of its own, so its log's window can only be held against the others (CVE-2026-54787).
    ///
    /// # Errors
    ///
    /// When it does not, or when there is no time.
    pub fn check_window(&self, times: &[Timestamp]) -> Result<(), LogError> {
        let window = self.log.window;
        match times.iter().find(|at| !window.contains(**at)) {
            Some(at) => Err(LogError::OutsideWindow { at: *at, window }),
            None if times.is_empty() => Err(LogError::NoTime),
            None => Ok(()),
        }
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
    Err(LogError::UnknownLog(crate::digest::hex(&entry.log_id).into()))
}
