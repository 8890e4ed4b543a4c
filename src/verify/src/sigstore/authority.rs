//! What an authority of the type `cosign` asks of a signature: the policy's words with the files they name.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::identity::IdentityMatcher;
use super::key::VerificationKey;
use super::second_opinion::SecondOpinion;
use super::trusted_root::TrustedRoot;
use crate::reference::Repository;

/// An authority.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Whose signatures count.
    pub signers: Signers,
    /// The logs and authorities that are trusted. Empty where the policy names no trusted root.
    pub root: Arc<TrustedRoot>,
    /// The second opinion on bundles, where the trusted root came as a file of its own format.
    pub second_opinion: Option<Arc<SecondOpinion>>,
    /// What has to vouch for a signature beside its signer.
    pub evidence: RequiredEvidence,
    /// Annotations that the signed payload must have, with these values.
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// Whether log entries of the kind `dsse` 0.0.2 count: bundles that cosign 3.0 made with a private Rekor v2.
    pub accept_dsse_v0_0_2: bool,
    /// Where signatures lie, if not in the image's own repository.
    pub repository: Option<Repository>,
}

/// Whose signatures count.
#[derive(Clone, Debug)]
pub enum Signers {
    /// The holders of these keys, at least one.
    Keys(Vec<VerificationKey>),
    /// Whoever a certificate of the trusted root says is one of these, at least one.
    Identities(Vec<IdentityMatcher>),
}

/// What has to vouch for a signature, counted by operators: one who vouches twice counts once (CVE-2026-49834,
/// sigstore-go#471).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequiredEvidence {
    /// Entries in so many transparency logs.
    pub log_entries: usize,
    /// Timestamps by so many authorities.
    pub timestamps: usize,
    /// Promises by so many certificate transparency logs.
    pub signed_certificate_timestamps: usize,
    /// Whether at least one verified time is needed: a log's, by its promise, or a timestamp authority's. Without one, a
    /// certificate has to be valid at the time of the judgement.
    pub verified_time: bool,
}
