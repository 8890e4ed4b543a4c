//! Transparency logs: whether an entry is in a trusted log, and whether it is about this very signature.

mod binding;
mod body;
pub mod checkpoint;
mod error;
pub mod inclusion;
mod promise;
#[cfg(test)]
mod tests;

pub use error::{BindingError, BodyError, CheckpointError, InclusionError, LogError, PromiseError};

use self::body::{Body, Generation};
use self::checkpoint::Checkpoint;
use super::material::{Content, InclusionProof, LogEntry};
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
    /// The position in the log. A promise covers it, and so does a proof under Rekor v2; a proof under Rekor v1 is of the
    /// position in one of the log's trees.
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
/// one of them; and that the body is about `logged`. What is there has to be right: a good promise excuses no bad proof.
///
/// A promise is checked against the log's window at the time that it promises. An entry without one has no time, whatever
/// it says (CVE-2026-48816): see [`VerifiedEntry::check_window`].
///
/// # Errors
///
/// When anything of it does not hold.
pub fn verify<'a>(entry: &LogEntry, logged: &Logged<'_>, root: &'a TrustedRoot) -> Result<VerifiedEntry<'a>, LogError> {
    let unknown = || LogError::UnknownLog(crate::digest::hex(&entry.log_id).into());
    let log = root.log(&entry.log_id).ok_or_else(unknown)?;
    let said = entry.kind.as_ref().map(|(kind, version)| (&**kind, &**version));
    let body = Body::parse(&entry.body, said, logged.accept_dsse_v0_0_2)?;
    let integrated_at = match body.generation {
        Generation::V1 => verify_rekor_v1(entry, log)?,
        Generation::V2 => {
            verify_rekor_v2(entry, log)?;
            None
        }
    };
    binding::check(&body, logged)?;
    Ok(VerifiedEntry {
        log,
        log_index: entry.log_index,
        integrated_at,
    })
}

/// Rekor v1 gives a promise, a proof, or both. Only with a promise may the proof lack its checkpoint, as those of the
/// first bundles did: then it proves nothing, and still must not be wrong.
fn verify_rekor_v1(entry: &LogEntry, log: &TransparencyLog) -> Result<Option<Timestamp>, LogError> {
    if entry.promise.is_none() && entry.proof.is_none() {
        return Err(LogError::NoEvidence);
    }
    let promised = entry
        .promise
        .as_ref()
        .map(|promise| promise::verify(entry, promise, log));
    let integrated_at = promised.transpose()?;
    if let Some(proof) = &entry.proof {
        verify_path(entry, proof)?;
        match &proof.checkpoint {
            Some(note) => {
                let checkpoint = Checkpoint::parse(note)?;
                if !checkpoint.is_rekor_v1() {
                    return Err(generations(Generation::V2, Generation::V1));
                }
                checkpoint.verify_rekor_v1(log)?;
                compare_trees(&checkpoint, proof)?;
            }
            None if integrated_at.is_some() => {}
            None => return Err(InclusionError::NoCheckpoint.into()),
        }
    }
    Ok(integrated_at)
}

/// Rekor v2 gives a proof with a checkpoint, and nothing else (rekor-v2-spec §4; rekor-tiles CLIENTS.md).
fn verify_rekor_v2(entry: &LogEntry, log: &TransparencyLog) -> Result<(), LogError> {
    if entry.promise.is_some() {
        return Err(LogError::PromiseOfRekorV2);
    }
    let proof = entry.proof.as_ref().ok_or(LogError::NoProof)?;
    let note = proof.checkpoint.as_ref().ok_or(InclusionError::NoCheckpoint)?;
    let checkpoint = Checkpoint::parse(note)?;
    if checkpoint.is_rekor_v1() {
        return Err(generations(Generation::V1, Generation::V2));
    }
    checkpoint.verify_rekor_v2(log)?;
    compare_trees(&checkpoint, proof)?;
    // Rekor v2 has one tree a log, so both are the position in it. Rekor v1 counts through all its trees.
    if proof.log_index != entry.log_index {
        return Err(LogError::Inclusion(InclusionError::Position {
            proof: proof.log_index,
            entry: entry.log_index,
        }));
    }
    verify_path(entry, proof)
}

fn verify_path(entry: &LogEntry, proof: &InclusionProof) -> Result<(), LogError> {
    let leaf = inclusion::leaf_hash(&entry.body);
    inclusion::verify(leaf, proof.log_index, proof.tree_size, &proof.hashes, &proof.root_hash)?;
    Ok(())
}

/// The proof has to be of the very tree that the checkpoint is of.
fn compare_trees(checkpoint: &Checkpoint<'_>, proof: &InclusionProof) -> Result<(), CheckpointError> {
    if checkpoint.size != proof.tree_size {
        return Err(CheckpointError::Size {
            checkpoint: checkpoint.size,
            proof: proof.tree_size,
        });
    }
    match checkpoint.root == *proof.root_hash {
        true => Ok(()),
        false => Err(CheckpointError::Root),
    }
}

const fn generations(log: Generation, entry: Generation) -> LogError {
    LogError::Generation {
        log: log.number(),
        entry: entry.number(),
    }
}
