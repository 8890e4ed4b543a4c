//! Evidence that somebody brings, for nodes that reach no registry.
//!
//! A bundle is no authority. It takes the place of a registry and of revocation endpoints, and is trusted as little: its bytes
//! count by their digest, its answers by their signature, and nothing is stored but what an admit rests on.

use std::sync::Arc;

use assay_verify::descriptor::Descriptor;
use assay_verify::digest::Digest;
use assay_verify::evidence::Signature;
use assay_verify::query::Query;
use assay_verify::untrusted::Untrusted;
use futures_util::future::BoxFuture;

use super::evaluate::Explanation;
use super::verdict::{Ground, Outcome};
use crate::cache::evidence::NotStored;
use crate::fetch::{FetchError, Held};

/// What stands in the place of a registry's name.
pub const THE_BUNDLE: &str = "the bundle";

/// The world of a bundle. It is asked for one thing after the other.
pub trait Bundle: Send + Sync {
    /// The bytes of a manifest or index; none where it is not there. Nobody has compared them with the digest.
    fn manifest<'a>(&'a self, of: &'a Descriptor) -> BoxFuture<'a, Result<Option<Brought<Vec<u8>>>, FetchError>>;

    /// The next signature of an image, or that there is no other.
    fn next<'a>(&'a self, of: &'a Digest) -> BoxFuture<'a, Result<Next, FetchError>>;

    /// The answer to a query about revocation; none where it is not there. Nobody has proved it.
    fn answer<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Option<Arc<[u8]>>>;
}

/// Something that was brought, and what pays for its bytes.
#[derive(Debug)]
pub struct Brought<T> {
    /// What.
    pub what: T,
    /// The memory that it takes.
    pub held: Held,
}

/// What comes next.
#[derive(Debug)]
pub enum Next {
    /// A signature. Nothing in it is verified yet.
    Signature(Box<Brought<Signature>>),
    /// Nothing more.
    End(End),
}

/// What is said of the signatures of an image when there is no other.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct End {
    /// Why there may be signatures beside these.
    pub incomplete: Option<Untrusted>,
    /// Why there may be a newer attestation than these. Where any good one suffices it says nothing.
    pub unread: Option<Untrusted>,
}

/// What became of an image whose evidence was brought.
#[derive(Debug)]
pub struct Imported {
    /// The verdict by that evidence and what was stored before.
    pub explanation: Explanation,
    /// Why the image is admitted and its evidence is not kept.
    pub not_stored: Option<NotStored>,
}

impl Imported {
    /// Whether evidence is kept of which the image is admitted from now on.
    pub fn is_kept(&self) -> bool {
        let by_evidence = matches!(self.explanation.verdict.outcome, Outcome::Admit(Ground::Evidence(_)));
        by_evidence && self.not_stored.is_none()
    }
}
