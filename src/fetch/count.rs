//! How many requests were made, by what they were for.

use std::sync::atomic::{AtomicU64, Ordering};

/// What a request is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Blob,
    Listing,
    Manifest,
    Token,
}

#[derive(Debug, Default)]
pub(super) struct Counters {
    blobs: AtomicU64,
    listings: AtomicU64,
    manifests: AtomicU64,
    tokens: AtomicU64,
}

/// Requests sent since the client was made; redirects, retries and challenges count each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RequestCounts {
    /// For envelopes.
    pub blobs: u64,
    /// For referrers and fallback tags.
    pub listings: u64,
    /// For manifests.
    pub manifests: u64,
    /// To token servers.
    pub tokens: u64,
}

impl RequestCounts {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.blobs + self.listings + self.manifests + self.tokens
    }
}

impl Counters {
    pub(super) fn count(&self, purpose: Purpose) {
        let counter = match purpose {
            Purpose::Blob => &self.blobs,
            Purpose::Listing => &self.listings,
            Purpose::Manifest => &self.manifests,
            Purpose::Token => &self.tokens,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    pub(super) fn read(&self) -> RequestCounts {
        RequestCounts {
            blobs: self.blobs.load(Ordering::Relaxed),
            listings: self.listings.load(Ordering::Relaxed),
            manifests: self.manifests.load(Ordering::Relaxed),
            tokens: self.tokens.load(Ordering::Relaxed),
        }
    }
}
