//! Checkpoints: a log's signed word on its tree (C2SP signed-note.md, tlog-checkpoint.md).

use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::CheckpointError;
use super::inclusion::TreeHash;
use crate::crypto::Hash;
use crate::limits::MAX_CHECKPOINT_SIGNATURES;
use crate::sigstore::trusted_root::{LogKeyKind, TransparencyLog};

/// What begins the line of a signature.
const SIGNATURE_MARK: &str = "\u{2014} ";

/// A checkpoint as it came. Nothing in it is verified.
#[derive(Clone, Debug)]
pub struct Checkpoint<'a> {
    /// What is signed: the text, its last newline included.
    text: &'a str,
    /// The name of the log.
    origin: &'a str,
    /// The number of leaves.
    pub size: u64,
    /// The root hash.
    pub root: TreeHash,
    signatures: Vec<Signature<'a>>,
}

#[derive(Clone, Debug)]
struct Signature<'a> {
    /// The name of the signer's key.
    name: &'a str,
    /// The first bytes of a hash of the key.
    key_id: [u8; 4],
    signature: Box<[u8]>,
}

impl<'a> Checkpoint<'a> {
    /// Parses a note and the checkpoint in it.
    ///
    /// # Errors
    ///
    /// When it is no note, its text no checkpoint, or when it has more than [`MAX_CHECKPOINT_SIGNATURES`].
    pub fn parse(note: &'a str) -> Result<Self, CheckpointError> {
        use CheckpointError::{Note, Text, TooManySignatures};
        if note
            .chars()
            .any(|character| character.is_ascii_control() && character != '\n')
        {
            return Err(Note("it has control characters"));
        }
        // The text may have blank lines, the signatures have none: the last one divides them.
        let divide = note
            .rfind("\n\n")
            .ok_or(Note("no blank line is above its signatures"))?;
        let (text, rest) = note.split_at(divide + 1);
        let lines = rest.strip_prefix('\n').and_then(|lines| lines.strip_suffix('\n'));
        let lines = lines.ok_or(Note("it has no signatures, or ends without a newline"))?;
        if lines.split('\n').count() > MAX_CHECKPOINT_SIGNATURES {
            return Err(TooManySignatures);
        }
        let signatures = lines.split('\n').map(Signature::parse).collect::<Option<Vec<_>>>();

        let mut body = text.strip_suffix('\n').unwrap_or(text).split('\n');
        let origin = body
            .next()
            .filter(|origin| !origin.is_empty())
            .ok_or(Text("it has no origin"))?;
        let size = body
            .next()
            .and_then(decimal)
            .ok_or(Text("its second line is not a size"))?;
        let root = body.next().and_then(|line| STANDARD.decode(line).ok()?.try_into().ok());
        if body.any(str::is_empty) {
            return Err(Text("it has a blank line"));
        }
        Ok(Self {
            text,
            origin,
            size,
            root: root.ok_or(Text("its third line is not a root hash"))?,
            signatures: signatures.ok_or(Note("the line of a signature is malformed"))?,
        })
    }

    /// Whether a Rekor v1 log made it: their origins end with the number of a tree, those of Rekor v2 are bare names
    /// (sigstore-go pkg/verify/tlog.go, `hasRekorV1STH`).
    pub fn is_rekor_v1(&self) -> bool {
        let tree = self.origin.rsplit_once(" - ").map(|(_, tree)| tree);
        tree.is_some_and(|tree| !tree.is_empty() && tree.bytes().all(|byte| byte.is_ascii_digit()))
    }

    /// Verifies that a Rekor v1 log signed it: always with SHA-256, and under a name that says nothing (rekor
    /// pkg/util/signed_note.go). The signatures of others do not matter.
    ///
    /// # Errors
    ///
    /// When it did not.
    pub fn verify_rekor_v1(&self, log: &TransparencyLog) -> Result<(), CheckpointError> {
        self.verify(log, Hash::Sha256, log.key.fingerprint(), None)
    }

    /// Verifies that a Rekor v2 log signed it: its host name is the origin, and the name of its signature (rekor-tiles
    /// pkg/note/note.go). The signatures of others, its witnesses', do not matter.
    ///
    /// # Errors
    ///
    /// When it did not, or the checkpoint is of another log.
    pub fn verify_rekor_v2(&self, log: &TransparencyLog) -> Result<(), CheckpointError> {
        let host = log.host().ok_or(CheckpointError::NoHost)?;
        if self.origin != host {
            return Err(CheckpointError::Origin);
        }
        let kind = LogKeyKind::of(&log.key).ok_or(CheckpointError::Unsigned)?;
        self.verify(log, kind.hash(), &log.note_key_hash(kind, host), Some(host))
    }

    /// At least one signature names the log's key, and all that do verify with it: a bad one beside a good one is no
    /// accident (C2SP signed-note.md#verification).
    fn verify(
        &self,
        log: &TransparencyLog,
        hash: Hash,
        key_hash: &[u8; 32],
        name: Option<&str>,
    ) -> Result<(), CheckpointError> {
        let named = |signature: &&Signature<'_>| {
            key_hash.starts_with(&signature.key_id) && name.is_none_or(|name| signature.name == name)
        };
        let mut own = self.signatures.iter().filter(named).peekable();
        if own.peek().is_none() {
            return Err(CheckpointError::Unsigned);
        }
        let mut seen = BTreeSet::new();
        // One line a hundred times is verified once.
        for signature in own.filter(|signature| seen.insert(&signature.signature)) {
            let verified = log.key.verify_with(hash, self.text.as_bytes(), &signature.signature);
            verified.map_err(|_| CheckpointError::Signature)?;
        }
        Ok(())
    }
}

impl<'a> Signature<'a> {
    fn parse(line: &'a str) -> Option<Self> {
        let (name, encoded) = line.strip_prefix(SIGNATURE_MARK)?.split_once(' ')?;
        let bad = |character: char| character.is_whitespace() || character == '+';
        if name.is_empty() || name.contains(bad) {
            return None;
        }
        let bytes = STANDARD.decode(encoded).ok()?;
        let (key_id, signature) = bytes.split_first_chunk()?;
        (!signature.is_empty()).then(|| Self {
            name,
            key_id: *key_id,
            signature: signature.into(),
        })
    }
}

/// A number without leading zeros.
fn decimal(text: &str) -> Option<u64> {
    let canonical = text == "0" || !text.starts_with('0');
    let digits = text.bytes().all(|byte| byte.is_ascii_digit());
    (canonical && digits).then(|| text.parse().ok())?
}
