//! Finding an image's signatures: the listing of its referrers, and opening what is listed.
//!
//! The listing is the referrers API's, or the fallback tag's where the registry has no such API or lists nothing there
//! (distribution specification: spec.md#listing-referrers, #unavailable-referrers-api). What a listing claims about a
//! referrer orders the work, likely signatures first, and decides nothing: every referrer is opened, up to the limit.
//!
//! "There is none" is said only on the registry's own 404 or an empty listing. Everything else that goes wrong is a
//! [`FetchError`], and a failure beside good signatures leaves those standing.

use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{BoxFuture, Either, select};
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};
use thiserror::Error;
use tokio::time::Instant;
use url::Url;

use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::evidence::{NOTATION_SIGNATURE, NotASignature, Signature, SignatureManifest};
use assay_verify::limits::{
    MAX_ENVELOPE_SIZE, MAX_OPENED_REFERRERS, MAX_REFERRERS, MAX_REFERRERS_PAGE_SIZE, MAX_REFERRERS_PAGES,
    MAX_REQUESTS_PER_REGISTRY, MAX_SIGNATURES_MANIFEST_SIZE, REGISTRY_KIND_LIFETIME,
};
use assay_verify::manifest::{Index, IndexEntry};
use assay_verify::reference::Repository;

use super::budget::{Budget, Lease};
use super::count::Purpose;
use super::error::FetchError;
use super::registry::{Answer, Found, Registry, Request};

/// What a listing costs in memory for each referrer that is kept: a candidate and its digest's digits, rounded up.
const CANDIDATE_SIZE: usize = 224;

/// The characters of a digest that its fallback tag keeps (distribution specification: spec.md#referrers-tag-schema).
const TAG_DIGITS: usize = 64;

const ACCEPT_INDEX: &str = MediaType::OCI_INDEX;
const ACCEPT_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json, \
                               application/vnd.oci.artifact.manifest.v1+json, \
                               application/vnd.docker.distribution.manifest.v2+json";
const ACCEPT_BLOB: &str = "*/*";

/// Where a registry lists referrers. It saves requests and decides nothing: where the remembered place lists nothing, the
/// other is asked too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    FallbackTag,
    ReferrersApi,
}

/// What is remembered about a registry, for a while.
#[derive(Debug, Default)]
pub(super) struct KnownKind(Mutex<Option<(Kind, Instant)>>);

impl KnownKind {
    fn known(&self) -> Option<Kind> {
        let known = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known
            .filter(|(_, since)| since.elapsed() < REGISTRY_KIND_LIFETIME)
            .map(|(kind, _)| kind)
    }

    fn remember(&self, kind: Kind) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((kind, Instant::now()));
    }
}

/// A referrer that was listed or opened and yields no signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Skipped {
    /// The referrer.
    pub digest: Digest,
    /// Why.
    pub reason: SkipReason,
}

impl fmt::Display for Skipped {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.digest, self.reason)
    }
}

/// Why a referrer yields no signature.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum SkipReason {
    /// It was opened and is none. Holds for ever, for this digest.
    #[error(transparent)]
    NotASignature(#[from] NotASignature),
    /// It is listed, but it or its envelope is not there.
    #[error("it is listed, but {0} is not there")]
    Missing(Digest),
    /// It could not be fetched, so nothing is known about it.
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

/// Signatures that arrived. The batch holds their share of the memory budget: drop it when they are judged.
#[derive(Debug)]
pub struct Batch {
    /// The signatures, at least one. Nothing in them is verified yet.
    pub signatures: Vec<Signature>,
    _leases: Vec<Lease>,
}

/// What a search came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Summary {
    /// Referrers that were listed.
    pub listed: usize,
    /// Referrers that were opened, or tried.
    pub opened: usize,
    /// Those that yield no signature.
    pub skipped: Vec<Skipped>,
    /// What kept the search from being complete. Without it, and after the last batch, there are no other signatures.
    /// With it, that no signature satisfies is inconclusive.
    pub incomplete: Option<FetchError>,
}

#[derive(Debug)]
struct Candidate {
    digest: Digest,
    media_type: MediaTypeClaim,
}

/// What a listing says a referrer's media type is; only what can be a signature's is kept, in one byte.
#[derive(Clone, Copy, Debug)]
enum MediaTypeClaim {
    OciManifest,
    OciArtifact,
    DockerManifest,
    Other,
}

impl MediaTypeClaim {
    fn of(media_type: &MediaType) -> Self {
        match media_type.as_str() {
            MediaType::OCI_MANIFEST => Self::OciManifest,
            MediaType::OCI_ARTIFACT => Self::OciArtifact,
            MediaType::DOCKER_MANIFEST => Self::DockerManifest,
            _ => Self::Other,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::OciManifest | Self::Other => MediaType::OCI_MANIFEST,
            Self::OciArtifact => MediaType::OCI_ARTIFACT,
            Self::DockerManifest => MediaType::DOCKER_MANIFEST,
        }
    }
}

/// A page of a listing.
struct Page {
    entries: Vec<IndexEntry>,
    next: Option<Url>,
    /// Why the pages after this one are not asked for.
    broken: Option<FetchError>,
    /// Pays for the entries.
    lease: Lease,
}

/// What opening a candidate came to.
type Opened = Result<(Signature, Lease), Skipped>;

/// A search for the signatures of one image. Dropping it ends the requests that are under way.
pub struct Search {
    registry: Arc<Registry>,
    repository: Arc<Repository>,
    budget: Budget,
    /// Referrers that are listed as signatures, those of which the listing says nothing, and those that are listed as
    /// something else.
    candidates: [VecDeque<Candidate>; 3],
    /// Pays for the candidates.
    leases: Vec<Lease>,
    next_page: Option<Url>,
    pages: usize,
    listed: usize,
    seen: HashSet<Digest>,
    in_flight: FuturesUnordered<BoxFuture<'static, Opened>>,
    opened: usize,
    skipped: Vec<Skipped>,
    incomplete: Option<FetchError>,
}

impl Search {
    pub(super) async fn start(
        registry: Arc<Registry>,
        repository: Repository,
        subject: &Descriptor,
        budget: Budget,
    ) -> Result<Self, FetchError> {
        let (page, incomplete) = list(&registry, &repository, &subject.digest, &budget).await?;
        let mut search = Self {
            registry,
            repository: Arc::new(repository),
            budget,
            candidates: Default::default(),
            leases: Vec::new(),
            next_page: None,
            pages: 0,
            listed: 0,
            seen: HashSet::new(),
            in_flight: FuturesUnordered::new(),
            opened: 0,
            skipped: Vec::new(),
            incomplete,
        };
        if let Some(page) = page {
            search.keep(page);
        }
        Ok(search)
    }

    /// Opens referrers until at least one signature arrived, and gives those that did. `None` when there is nothing left
    /// to open: [`Search::finish`] says whether that was all.
    ///
    /// A referrer for which `known_bad` answers true, by the digest of its manifest, is not opened: it was judged before.
    pub async fn next_batch(&mut self, mut known_bad: impl FnMut(&Digest) -> bool) -> Option<Batch> {
        loop {
            self.send_out(&mut known_bad).await;
            let first = self.in_flight.next().await?;
            let mut batch = Batch {
                signatures: Vec::new(),
                _leases: Vec::new(),
            };
            let mut arrived = Some(first);
            while let Some(opened) = arrived {
                match opened {
                    Ok((signature, lease)) => {
                        batch.signatures.push(signature);
                        batch._leases.push(lease);
                    }
                    Err(skipped) => self.skip(skipped),
                }
                // What else is here already comes along; what is under way goes on.
                arrived = self.in_flight.next().now_or_never().flatten();
            }
            if !batch.signatures.is_empty() {
                return Some(batch);
            }
        }
    }

    /// Ends the search and says what it came to.
    pub fn finish(mut self) -> Summary {
        let left = self.next_page.is_some() || self.candidates.iter().any(|queue| !queue.is_empty());
        if left && self.opened >= MAX_OPENED_REFERRERS {
            self.incomplete.get_or_insert(FetchError::TooManyOpened {
                registry: self.registry.name.clone(),
            });
        }
        Summary {
            listed: self.listed,
            opened: self.opened,
            skipped: self.skipped,
            incomplete: self.incomplete,
        }
    }

    /// Keeps as many requests under way as the registry has slots for.
    async fn send_out(&mut self, known_bad: &mut impl FnMut(&Digest) -> bool) {
        while self.in_flight.len() < MAX_REQUESTS_PER_REGISTRY && self.opened < MAX_OPENED_REFERRERS {
            let Some(candidate) = self.next_candidate().await else {
                return;
            };
            if known_bad(&candidate.digest) || !self.seen.insert(candidate.digest.clone()) {
                continue;
            }
            self.opened += 1;
            let (registry, repository) = (Arc::clone(&self.registry), Arc::clone(&self.repository));
            let budget = self.budget.clone();
            self.in_flight.push(
                async move {
                    open(&registry, &repository, &budget, &candidate)
                        .await
                        .map_err(|reason| Skipped {
                            digest: candidate.digest,
                            reason,
                        })
                }
                .boxed(),
            );
        }
    }

    /// The likeliest candidate. The whole listing is read before a referrer is opened that does not look like a
    /// signature, but not before one that does.
    async fn next_candidate(&mut self) -> Option<Candidate> {
        loop {
            if let Some(candidate) = self.candidates.first_mut().and_then(VecDeque::pop_front) {
                return Some(candidate);
            }
            // Likely signatures that are under way may end the search before the listing goes on.
            let Some(url) = self.next_page.take() else {
                return self.candidates.iter_mut().find_map(VecDeque::pop_front);
            };
            if !self.in_flight.is_empty() {
                self.next_page = Some(url);
                return None;
            }
            if self.pages >= MAX_REFERRERS_PAGES {
                self.incomplete.get_or_insert(FetchError::TooManyPages {
                    registry: self.registry.name.clone(),
                });
                continue;
            }
            match page(&self.registry, &self.repository, url, &self.budget).await {
                Ok(Some(page)) => self.keep(page),
                // The registry itself named this page.
                Ok(None) => {
                    self.incomplete.get_or_insert(FetchError::Missing {
                        registry: self.registry.name.clone(),
                        what: "next page of the listing that it names".into(),
                    });
                }
                Err(error) => {
                    self.incomplete.get_or_insert(error);
                }
            }
        }
    }

    fn keep(&mut self, page: Page) {
        self.pages += 1;
        self.next_page = page.next;
        if let Some(error) = page.broken {
            self.incomplete.get_or_insert(error);
        }
        let mut lease = page.lease;
        let mut kept = 0;
        for entry in page.entries {
            if self.listed >= MAX_REFERRERS {
                self.next_page = None;
                self.incomplete.get_or_insert(FetchError::TooManyReferrers {
                    registry: self.registry.name.clone(),
                });
                break;
            }
            self.listed += 1;
            kept += 1;
            let rank = match entry.artifact_type.as_deref() {
                Some(NOTATION_SIGNATURE) => 0,
                None | Some("") => 1,
                Some(_) => 2,
            };
            if let Some(queue) = self.candidates.get_mut(rank) {
                queue.push_back(Candidate {
                    media_type: MediaTypeClaim::of(&entry.descriptor.media_type),
                    digest: entry.descriptor.digest,
                });
            }
        }
        lease.shrink_to(kept * CANDIDATE_SIZE);
        self.leases.push(lease);
    }

    fn skip(&mut self, skipped: Skipped) {
        if let SkipReason::Fetch(error) = &skipped.reason {
            self.incomplete.get_or_insert_with(|| error.clone());
        }
        self.skipped.push(skipped);
    }
}

/// The first page of the listing, or none, and what stands beside it that was not answered.
///
/// Where nothing is remembered of a registry, both places are asked at once, so that finding out costs no round trip.
async fn list(
    registry: &Registry,
    repository: &Repository,
    subject: &Digest,
    budget: &Budget,
) -> Result<(Option<Page>, Option<FetchError>), FetchError> {
    let api_url = registry.url(repository, "referrers", &subject.to_string())?;
    let tag_url = registry.url(repository, "manifests", &fallback_tag(subject))?;
    let api = ask_api(registry, repository, api_url, budget);
    let tag = ask_tag(registry, repository, tag_url, budget);
    match registry.kind.known() {
        Some(Kind::ReferrersApi) => match api.await? {
            Some(page) => Ok((Some(page), None)),
            None => Ok((tag.await?, None)),
        },
        Some(Kind::FallbackTag) => match tag.await? {
            Some(page) => Ok((Some(page), None)),
            None => Ok((api.await?, None)),
        },
        None => {
            let (api, tag) = match select(Box::pin(api), Box::pin(tag)).await {
                Either::Left((Ok(Some(page)), _)) => return Ok((Some(page), None)),
                Either::Left((api, tag)) => (api, tag.await),
                Either::Right((tag, api)) => (api.await, tag),
            };
            match (api, tag) {
                // The fallback tag is for registries whose API lists nothing; so it is not asked the next time either.
                (Ok(Some(page)), _) => Ok((Some(page), None)),
                (Ok(None), tag) => Ok((tag?, None)),
                (Err(error), Ok(Some(page))) => Ok((Some(page), Some(error))),
                (Err(error), _) => Err(error),
            }
        }
    }
}

/// The referrers API's first page, if it lists anything.
async fn ask_api(
    registry: &Registry,
    repository: &Repository,
    url: Url,
    budget: &Budget,
) -> Result<Option<Page>, FetchError> {
    match page(registry, repository, url, budget).await {
        Ok(Some(page)) => {
            registry.kind.remember(Kind::ReferrersApi);
            // An empty page with a next one is a listing that goes on.
            Ok(Some(page).filter(|page| !page.entries.is_empty() || page.next.is_some() || page.broken.is_some()))
        }
        Ok(None) => Ok(None),
        // Registries without the API that answer 200 to any path (distribution specification: spec.md#listing-referrers).
        Err(FetchError::ContentType { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// The fallback tag's listing, if there is one.
async fn ask_tag(
    registry: &Registry,
    repository: &Repository,
    url: Url,
    budget: &Budget,
) -> Result<Option<Page>, FetchError> {
    let page = page(registry, repository, url, budget).await?;
    if page.is_some() && registry.kind.known().is_none() {
        registry.kind.remember(Kind::FallbackTag);
    }
    // A tag has no pages.
    Ok(page
        .map(|page| Page {
            next: None,
            broken: None,
            ..page
        })
        .filter(|page| !page.entries.is_empty()))
}

async fn page(
    registry: &Registry,
    repository: &Repository,
    url: Url,
    budget: &Budget,
) -> Result<Option<Page>, FetchError> {
    let request = Request {
        purpose: Purpose::Listing,
        url: url.clone(),
        repository,
        accept: ACCEPT_INDEX,
        limit: MAX_REFERRERS_PAGE_SIZE,
    };
    let Answer::Found(found) = registry.get(&request, budget).await? else {
        return Ok(None);
    };
    let content_type = content_type(&found).unwrap_or_default();
    let media_type = MediaType::parse(content_type)
        .ok()
        .filter(|media_type| *media_type == MediaType::OCI_INDEX)
        .ok_or_else(|| FetchError::ContentType {
            registry: registry.name.clone(),
            content_type: content_type.into(),
        })?;
    let Found {
        link, body, mut lease, ..
    } = found;
    // Entries take about as much as the text they are parsed from; both exist for a moment.
    lease.merge(registry.payer(budget).reserve(body.len()).await?);
    let index = Index::parse(&media_type, &body).map_err(|cause| FetchError::Listing {
        registry: registry.name.clone(),
        cause,
    })?;
    drop(body);
    let (next, broken) = match link.as_deref().and_then(next_link) {
        None => (None, None),
        Some(text) => match url.join(text) {
            Ok(next) if registry.owns(&next) => (Some(next), None),
            _ => (
                None,
                Some(FetchError::Address {
                    registry: registry.name.clone(),
                    cause: format!("the next page {text} is on another host").into(),
                }),
            ),
        },
    };
    Ok(Some(Page {
        entries: index.entries,
        next,
        broken,
        lease,
    }))
}

/// Fetches a referrer and its envelope.
async fn open(
    registry: &Registry,
    repository: &Repository,
    budget: &Budget,
    candidate: &Candidate,
) -> Result<(Signature, Lease), SkipReason> {
    let request = Request {
        purpose: Purpose::Manifest,
        url: registry.url(repository, "manifests", &candidate.digest.to_string())?,
        repository,
        accept: ACCEPT_MANIFEST,
        limit: MAX_SIGNATURES_MANIFEST_SIZE,
    };
    let found = match registry.get(&request, budget).await {
        Ok(Answer::Found(found)) => found,
        Ok(Answer::Missing) => return Err(SkipReason::Missing(candidate.digest.clone())),
        // More than a signature's manifest can have, so it is none.
        Err(FetchError::TooLarge { limit, .. }) => {
            return Err(NotASignature::ManifestTooLarge(limit as u64 + 1).into());
        }
        Err(error) => return Err(error.into()),
    };
    // Not the listing's word: the digest proves the bytes, and the answer's content type must agree with the document
    // (CVE-2021-41190).
    let media_type = answered_media_type(&found, candidate.media_type).ok_or_else(|| FetchError::ContentType {
        registry: registry.name.clone(),
        content_type: found.content_type.as_deref().unwrap_or_default().into(),
    })?;
    let descriptor = Descriptor {
        media_type,
        digest: candidate.digest.clone(),
        size: found.body.len() as u64,
    };
    let mut lease = found.lease;
    let manifest = match SignatureManifest::open(&descriptor, found.body.into()) {
        Err(NotASignature::WrongBytes(digest)) => return Err(wrong_bytes(registry, digest)),
        manifest => manifest?,
    };

    let Some(layer) = manifest.layers().first() else {
        return Err(NotASignature::NoSuchLayer(0).into());
    };
    let envelope = layer.descriptor.clone();
    let request = Request {
        purpose: Purpose::Blob,
        url: registry.url(repository, "blobs", &envelope.digest.to_string())?,
        repository,
        accept: ACCEPT_BLOB,
        // `open` has refused more than this.
        limit: usize::try_from(envelope.size)
            .unwrap_or(MAX_ENVELOPE_SIZE)
            .min(MAX_ENVELOPE_SIZE),
    };
    let found = match registry.get(&request, budget).await {
        Ok(Answer::Found(found)) => found,
        Ok(Answer::Missing) => return Err(SkipReason::Missing(envelope.digest)),
        Err(FetchError::TooLarge { .. }) => return Err(wrong_bytes(registry, envelope.digest)),
        Err(error) => return Err(error.into()),
    };
    lease.merge(found.lease);
    match Signature::new(manifest.into(), 0, found.body.into()) {
        Ok(signature) => Ok((signature, lease)),
        Err(NotASignature::WrongEnvelope(digest)) => Err(wrong_bytes(registry, digest)),
        Err(other) => Err(other.into()),
    }
}

/// Bytes that a digest does not address say nothing about what it does address.
fn wrong_bytes(registry: &Registry, digest: Digest) -> SkipReason {
    FetchError::WrongBytes {
        registry: registry.name.clone(),
        digest,
    }
    .into()
}

/// The media type that a manifest came as: the answer's, or the listing's where the answer names none in particular.
fn answered_media_type(found: &Found, claim: MediaTypeClaim) -> Option<MediaType> {
    content_type(found)
        .filter(|text| !matches!(*text, "application/json" | "application/octet-stream" | "text/plain"))
        .and_then(|text| MediaType::parse(text).ok())
        .or_else(|| MediaType::parse(claim.as_str()).ok())
}

/// The content type without its parameters.
fn content_type(found: &Found) -> Option<&str> {
    let text = found.content_type.as_deref()?;
    Some(text.split(';').next().unwrap_or(text).trim())
}

/// The tag under which clients list referrers where the registry does not.
fn fallback_tag(subject: &Digest) -> String {
    let digits = subject.hex().get(..TAG_DIGITS).unwrap_or(subject.hex());
    format!("{}-{digits}", subject.algorithm().as_str())
}

/// The target of the link with the relation `next` (RFC 8288 §3).
fn next_link(header: &str) -> Option<&str> {
    let mut rest = header;
    loop {
        let (_, after) = rest.split_once('<')?;
        let (target, after) = after.split_once('>')?;
        let parameters = after.split('<').next().unwrap_or(after);
        let is_next = parameters.split([';', ',']).any(|parameter| {
            parameter.trim().split_once('=').is_some_and(|(name, value)| {
                name.trim().eq_ignore_ascii_case("rel")
                    && value
                        .trim()
                        .trim_matches('"')
                        .split_ascii_whitespace()
                        .any(|relation| relation.eq_ignore_ascii_case("next"))
            })
        });
        if is_next {
            return Some(target);
        }
        rest = after;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_next_link() {
        for (header, next) in [
            (r#"</v2/a/referrers/x?n=2>; rel="next""#, Some("/v2/a/referrers/x?n=2")),
            ("</v2/a>; rel=next", Some("/v2/a")),
            (r#"</b>; rel="prev", </a>; title="x"; rel="last next""#, Some("/a")),
            (r#"</b>; rel="prev""#, None),
            (r#"</b>; relation="next""#, None),
            ("", None),
            ("<", None),
            ("no link", None),
        ] {
            assert_eq!(next_link(header), next, "{header}");
        }
    }

    #[test]
    fn a_fallback_tag_is_a_tag_for_every_algorithm() {
        let tag = fallback_tag(&Digest::sha256(b""));
        assert!(tag.starts_with("sha256-e3b0c442"), "{tag}");
        let long = fallback_tag(&Digest::of(assay_verify::digest::Algorithm::Sha512, b""));
        assert_eq!(long.len(), "sha512-".len() + 64);
    }
}
