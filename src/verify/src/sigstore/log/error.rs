//! What can be wrong with a log entry.

use thiserror::Error;

use crate::Timestamp;
use crate::code::Code;
use crate::crypto::Hash;
use crate::sigstore::window::Window;
use crate::untrusted::Untrusted;

/// Why an entry does not count.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum LogError {
    /// The trusted root has no such log: the entry is passed over.
    #[error("the log {0} is not in the trusted root")]
    UnknownLog(Untrusted),
    /// Neither a promise nor a proof: nobody vouches for the entry.
    #[error("the log entry has neither a promise nor an inclusion proof")]
    NoEvidence,
    /// The promise does not hold.
    #[error("the log's promise does not hold: {0}")]
    Promise(#[from] PromiseError),
    /// The proof does not lead from the entry to the tree.
    #[error("the inclusion proof does not hold: {0}")]
    Inclusion(#[from] InclusionError),
    /// The log's word on the tree does not hold.
    #[error("the log's checkpoint does not hold: {0}")]
    Checkpoint(#[from] CheckpointError),
    /// The body is not one of the known kinds, or is malformed.
    #[error("the log entry's body is not usable: {0}")]
    Body(#[from] BodyError),
    /// The body is about something else.
    #[error("the log entry is not about this signature: {0}")]
    Binding(#[from] BindingError),
    /// Entries of Rekor v2 have nothing but their proof.
    #[error("the log entry is of Rekor v2 and comes without an inclusion proof")]
    NoProof,
    /// Rekor v2 promises nothing.
    #[error("the log entry is of Rekor v2 and comes with a promise")]
    PromiseOfRekorV2,
    /// A Rekor v2 log and an entry of Rekor v1, or the other way round.
    #[error("the log is of Rekor v{log} and its entry of Rekor v{entry}")]
    Generation {
        /// What the checkpoint or the promise says that the log is.
        log: u8,
        /// What the body says that the entry is.
        entry: u8,
    },
    /// The log's key does not count at a time that is verified for the signature.
    #[error("the log's key does not count at {at}")]
    OutsideWindow {
        /// The time.
        at: Timestamp,
        /// When the key counts.
        window: Window,
    },
    /// No time was given at which the log's key could count.
    #[error("no time is known at which the log's key has to count")]
    NoTime,
}

impl LogError {
    /// Whether the entry is only of no use, not wrong: others may suffice.
    pub const fn is_unknown(&self) -> bool {
        matches!(self, Self::UnknownLog(_))
    }

    /// The code of a denial for this reason.
    pub const fn code(&self) -> Code {
        Code::LogEntryInvalid
    }
}

/// Why a signed entry timestamp does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum PromiseError {
    /// It promises no time.
    #[error("it comes without the time it promises")]
    NoTime,
    /// A number beyond 2^53, which canonical JSON cannot have (RFC 8785 §3.2.2.3).
    #[error("its time or position has no canonical form")]
    Number,
    /// The log's key did not count when it promised.
    #[error("the log's key does not count at {at}")]
    OutsideWindow {
        /// The promised time.
        at: Timestamp,
        /// When the key counts.
        window: Window,
    },
    /// The log's key did not sign it.
    #[error("it is not signed by the log")]
    Signature,
}

/// Why an inclusion proof does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum InclusionError {
    /// The leaf is not inside the tree.
    #[error("the leaf {index} is outside of a tree of {size}")]
    Index {
        /// The leaf's position.
        index: u64,
        /// The tree's size.
        size: u64,
    },
    /// Not as many hashes as the path from the leaf to the root has.
    #[error("it has {found} hashes: expected {expected}")]
    Length {
        /// How many the path has.
        expected: usize,
        /// How many there are.
        found: usize,
    },
    /// A hash that is not of SHA-256.
    #[error("it has a hash of {0} bytes")]
    HashLength(usize),
    /// The path leads to another root.
    #[error("it leads to another root")]
    Root,
    /// There is no checkpoint: nobody vouches for the root.
    #[error("it comes without a checkpoint")]
    NoCheckpoint,
    /// Under Rekor v2 the entry's position and the proof's are the same.
    #[error("it is of the position {proof}, and the entry of {entry}")]
    Position {
        /// The proof's.
        proof: u64,
        /// The entry's.
        entry: u64,
    },
}

/// Why a checkpoint does not hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum CheckpointError {
    /// Not a signed note (C2SP signed-note.md).
    #[error("it is not a signed note: {0}")]
    Note(&'static str),
    /// Not a checkpoint (C2SP tlog-checkpoint.md).
    #[error("it is not a checkpoint: {0}")]
    Text(&'static str),
    /// More signatures than are looked at.
    #[error("it has more signatures than are looked at")]
    TooManySignatures,
    /// Its origin is not the log.
    #[error("its origin is not the log")]
    Origin,
    /// The trusted root says no host name of the log, so no origin can be expected.
    #[error("the trusted root names no host of the log")]
    NoHost,
    /// No signature is by the log's key.
    #[error("the log did not sign it")]
    Unsigned,
    /// A signature names the log's key and does not verify with it.
    #[error("the log's signature does not verify")]
    Signature,
    /// Not the tree of the proof.
    #[error("it is of a tree of {checkpoint}, and the proof of one of {proof}")]
    Size {
        /// The checkpoint's.
        checkpoint: u64,
        /// The proof's.
        proof: u64,
    },
    /// Not the root of the proof.
    #[error("it is of another root than the proof")]
    Root,
}

/// Why a body cannot be compared with anything.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum BodyError {
    /// Not JSON, or not that of its kind.
    #[error("{0}")]
    Malformed(Untrusted),
    /// A kind that nothing here reads.
    #[error("it is of the kind {kind} {version}")]
    UnknownKind {
        /// The kind.
        kind: Untrusted,
        /// Its version.
        version: Untrusted,
    },
    /// The entry says that it is of another kind than its body.
    #[error("it is of the kind {kind} {version}, and the entry says another")]
    OtherKind {
        /// The body's kind.
        kind: Untrusted,
        /// Its version.
        version: Untrusted,
    },
    /// Entries of the kind `dsse` 0.0.2 do not count here.
    #[error("entries of the kind dsse 0.0.2 are not accepted")]
    DsseV0_0_2,
    /// A hash that nothing here computes.
    #[error("it has a digest by {0}")]
    HashAlgorithm(Untrusted),
    /// A digest of another length than its hash has.
    #[error("it has a digest of another length than its hash has")]
    DigestLength,
    /// A field is not base64 or hexadecimal.
    #[error("its {0} is malformed")]
    Field(&'static str),
    /// Not exactly one signature.
    #[error("it has {0} signatures")]
    SignatureCount(usize),
    /// A verifier that is not exactly one PEM block with a certificate or a key.
    #[error("its verifier is not one certificate or one key")]
    Verifier,
    /// A key of other details than the body says.
    #[error("its verifier is not a key of {0}")]
    KeyDetails(Untrusted),
}

/// What differs between an entry's body and the signature that it came with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum BindingError {
    /// Entries of this kind are not about such content.
    #[error("entries of its kind are not of such content")]
    Kind,
    /// Another signature.
    #[error("it is of another signature")]
    Signature,
    /// Another certificate or key.
    #[error("it is of another signer")]
    Signer,
    /// Other content.
    #[error("it is of other content")]
    Content,
    /// Another type of content.
    #[error("it is of a payload of another type")]
    PayloadType,
    /// Another envelope around the same payload.
    #[error("it is of another envelope")]
    Envelope,
    /// No digest by this hash is known of what is signed, so it cannot be compared.
    #[error("it has a {} digest, and none is known of what is signed", .0.as_str())]
    NoDigest(Hash),
    /// The entry names no signature, and the envelope that its hash is of did not come with it.
    #[error("it does not name the signature, and the envelope is not here as it was logged")]
    Uncomparable,
}
