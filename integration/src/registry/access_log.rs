//! What was asked of the registry, kept for the tests.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// What a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// `/v2/` itself.
    Base,
    /// A manifest or index, by tag or digest.
    Manifest,
    /// A blob that no image manifest lists as a layer: configurations and signature envelopes.
    Blob,
    /// A blob that an image manifest lists as a layer. What a denied pull must never ask for.
    Layer,
    /// The referrers API.
    Referrers,
    /// An upload.
    Upload,
    /// A tag listing.
    Tags,
    /// The token endpoint.
    Token,
    /// Anything else.
    Other,
}

/// One request and how it was answered.
#[derive(Clone, Debug)]
pub struct Request {
    /// When its head had arrived.
    pub at: Instant,
    /// The connection it came on, counted from 0.
    pub connection: u64,
    /// The method, in capitals.
    pub method: String,
    /// The path without the query.
    pub path: String,
    /// The query without its question mark; empty when there is none.
    pub query: String,
    /// What it is about.
    pub kind: Kind,
    /// The repository, where the path names one.
    pub repository: Option<String>,
    /// The `Authorization` header as it came, secrets included.
    pub authorization: Option<String>,
    /// The `Accept` headers, joined by commas.
    pub accept: Option<String>,
    /// The `User-Agent` header.
    pub user_agent: Option<String>,
    /// The status of the answer; absent while it is held back and when the connection was reset.
    pub status: Option<u16>,
    /// From the arrival to the head of the answer.
    pub duration: Option<Duration>,
}

/// A place in the log, to ask for what came after it.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

/// All requests since the registry started, in the order of their arrival. Clones share one log.
#[derive(Clone, Debug, Default)]
pub struct AccessLog(Arc<Mutex<Vec<Request>>>);

impl AccessLog {
    /// The present end of the log.
    pub fn mark(&self) -> Mark {
        Mark(self.lock().len())
    }

    /// Every request.
    pub fn requests(&self) -> Vec<Request> {
        self.lock().clone()
    }

    /// The requests that came after `mark`.
    pub fn requests_since(&self, mark: Mark) -> Vec<Request> {
        self.lock().get(mark.0..).unwrap_or_default().to_vec()
    }

    /// The requests for layers: GET only, because a HEAD moves no content.
    pub fn layer_requests(&self) -> Vec<Request> {
        let is_layer = |request: &&Request| request.kind == Kind::Layer && request.method == "GET";
        self.lock().iter().filter(is_layer).cloned().collect()
    }

    /// How many requests were of `kind`, whatever their method and answer.
    pub fn count(&self, kind: Kind) -> usize {
        self.lock().iter().filter(|request| request.kind == kind).count()
    }

    /// How many connections asked for something.
    pub fn connections(&self) -> usize {
        let mut seen: Vec<_> = self.lock().iter().map(|request| request.connection).collect();
        seen.sort_unstable();
        seen.dedup();
        seen.len()
    }

    pub(super) fn arrive(&self, request: Request) -> usize {
        let mut log = self.lock();
        log.push(request);
        log.len() - 1
    }

    pub(super) fn answered(&self, number: usize, status: u16) {
        if let Some(request) = self.lock().get_mut(number) {
            request.status = Some(status);
            request.duration = Some(request.at.elapsed());
        }
    }

    fn lock(&self) -> MutexGuard<'_, Vec<Request>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
