//! What a search comes to: batches of signatures, and what yielded none.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use assay_verify::digest::Digest;
use assay_verify::evidence::{NotASignature, Signature, SignatureFormat, SignatureId};

use crate::fetch::budget::Lease;
use crate::fetch::error::FetchError;

/// Something that was listed or opened and yields no signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// What.
    pub what: SkippedItem,
    /// Why.
    pub reason: SkipReason,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.what, self.reason)
    }
}

/// What yields no signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SkippedItem {
    /// A manifest.
    Manifest(Digest),
    /// One of the signatures of a manifest.
    Signature(SignatureId),
    /// The manifest under a tag.
    Tag(Box<str>),
}

impl fmt::Display for SkippedItem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Manifest(digest) => digest.fmt(f),
            Self::Signature(id) => id.fmt(f),
            Self::Tag(tag) => write!(f, "tag {tag}"),
        }
    }
}

/// Why something yields no signature.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SkipReason {
    /// It was opened and is none. Holds for ever, for this digest.
    #[error(transparent)]
    NotASignature(#[from] NotASignature),
    /// It is a signature of a kind that no authority of the rule asks for.
    #[error("it is {}, which no authority of the rule asks for", named(*.0))]
    NotSought(SignatureFormat),
    /// It is listed, but it or its blob is not there.
    #[error("it is listed, but {0} is not there")]
    Missing(Digest),
    /// It could not be fetched, so nothing is known about it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

fn named(format: SignatureFormat) -> &'static str {
    match format {
        SignatureFormat::Notation => "a Notary Project signature",
        SignatureFormat::Bundle => "a sigstore bundle",
        SignatureFormat::SimpleSigning => "a cosign signature",
        SignatureFormat::Attestation => "a cosign attestation",
    }
}

/// Signatures that arrived. The batch holds their share of the memory budget: drop it when they are judged.
#[derive(Debug, Default)]
pub struct Batch {
    /// The signatures, at least one. Nothing in them is verified yet.
    pub signatures: Vec<Signature>,
    /// For the blobs.
    pub(super) leases: Vec<Lease>,
    /// For the manifests, which several signatures share.
    pub(super) manifests: Vec<Arc<Lease>>,
}

/// What a search came to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Summary {
    /// Referrers that were listed.
    pub listed: usize,
    /// Referrers that were opened, or tried.
    pub opened: usize,
    /// What yields no signature: the first ones, as many as may be opened.
    pub skipped: Vec<Skipped>,
    /// What kept the search from being complete. Without it, and after the last batch, there are no other signatures.
    /// With it, that no signature satisfies is inconclusive.
    pub incomplete: Option<FetchError>,
}

/// Signatures that were judged before and need not be fetched again.
#[derive(Debug, Default)]
pub struct Judged {
    signatures: HashSet<SignatureId>,
    /// How many signatures of a manifest were not.
    left: HashMap<Digest, usize>,
}

impl Judged {
    /// Adds a signature.
    pub fn add(&mut self, signature: &Signature) {
        let id = signature.id();
        let all = signature.manifest().layers().len();
        let left = self.left.entry(id.manifest.clone()).or_insert(all);
        if self.signatures.insert(id) {
            *left = left.saturating_sub(1);
        }
    }

    /// Whether this one was judged.
    pub fn knows(&self, signature: &SignatureId) -> bool {
        self.signatures.contains(signature)
    }

    /// Whether all signatures of a manifest were judged.
    pub(super) fn knows_all_of(&self, manifest: &Digest) -> bool {
        self.left.get(manifest) == Some(&0)
    }
}
