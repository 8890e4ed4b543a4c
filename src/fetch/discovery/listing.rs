//! The listing of an image's referrers: the referrers API's, or the fallback tag's where the registry has no such API or
//! lists nothing there (distribution specification: spec.md#listing-referrers, #unavailable-referrers-api).

use std::sync::{Arc, Mutex, PoisonError};

use futures_util::future::{Either, select};
use tokio::time::Instant;
use url::Url;

use assay_verify::descriptor::MediaType;
use assay_verify::digest::Digest;
use assay_verify::limits::{MAX_REFERRERS_PAGE_SIZE, REGISTRY_KIND_LIFETIME};
use assay_verify::manifest::{Index, IndexEntry};
use assay_verify::reference::Repository;

use super::opening::content_type;
use crate::fetch::budget::{Budget, Lease};
use crate::fetch::count::Purpose;
use crate::fetch::error::FetchError;
use crate::fetch::host::{Answer, Found, Host, Patience, Request};
use crate::fetch::registry::{Names, Registry};

/// The characters of a digest that its fallback tag keeps (distribution specification: spec.md#referrers-tag-schema).
const TAG_DIGITS: usize = 64;

const ACCEPT_INDEX: &str = MediaType::OCI_INDEX;

/// Where a registry lists referrers. It saves requests and decides nothing: where the remembered place lists nothing, the
/// other is asked too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    FallbackTag,
    ReferrersApi,
}

/// What is remembered about a registry, for a while.
#[derive(Debug, Default)]
pub(in crate::fetch) struct KnownKind(Mutex<Option<(Kind, Instant)>>);

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

/// Where a listing goes on: at the host that began it.
pub(super) struct NextPage {
    pub(super) host: Arc<Host>,
    pub(super) url: Url,
}

/// A page of a listing.
pub(super) struct Page {
    pub(super) entries: Vec<IndexEntry>,
    pub(super) next: Option<NextPage>,
    /// Why the pages after this one are not asked for.
    pub(super) broken: Option<FetchError>,
    /// Pays for the entries.
    pub(super) lease: Lease,
}

/// The first page of the listing, or none, and what stands beside it that was not answered.
///
/// The first host that lists anything is the one that counts. One that lists nothing is followed by the next: a mirror may
/// hold an image without its signatures. That nothing is listed is known only if every host was heard.
pub(super) async fn list(
    registry: &Registry,
    repository: &Repository,
    subject: &Digest,
    budget: &Budget,
) -> Result<(Option<Page>, Option<FetchError>), FetchError> {
    let mut unheard = None;
    for (host, patience) in registry.hosts_for(Names::Name)? {
        match list_at(&host, patience, repository, subject, budget).await {
            Ok((None, None)) => {}
            Ok((None, Some(error))) => {
                unheard.get_or_insert(error);
            }
            Err(error) if error.is_one_hosts() => {
                unheard.get_or_insert(error);
            }
            listed => return listed,
        }
    }
    unheard.map_or(Ok((None, None)), Err)
}

/// What one host lists.
///
/// Where nothing is remembered of a host, both places are asked at once, so that finding out costs no round trip.
async fn list_at(
    registry: &Arc<Host>,
    patience: Patience,
    repository: &Repository,
    subject: &Digest,
    budget: &Budget,
) -> Result<(Option<Page>, Option<FetchError>), FetchError> {
    let api_url = registry.url(repository, "referrers", &subject.to_string())?;
    let tag_url = registry.url(repository, "manifests", &fallback_tag(subject))?;
    let api = ask_api(registry, patience, repository, api_url, budget);
    let tag = ask_tag(registry, patience, repository, tag_url, budget);
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
    registry: &Arc<Host>,
    patience: Patience,
    repository: &Repository,
    url: Url,
    budget: &Budget,
) -> Result<Option<Page>, FetchError> {
    match page(registry, patience, repository, url, budget).await {
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
    registry: &Arc<Host>,
    patience: Patience,
    repository: &Repository,
    url: Url,
    budget: &Budget,
) -> Result<Option<Page>, FetchError> {
    let page = page(registry, patience, repository, url, budget).await?;
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

/// One page of the listing, if it is there.
pub(super) async fn page(
    registry: &Arc<Host>,
    patience: Patience,
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
        promise: None,
    };
    let Answer::Found(found) = registry.get(&request, patience, budget).await? else {
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
            Ok(next) if registry.owns(&next) => {
                let host = Arc::clone(registry);
                (Some(NextPage { host, url: next }), None)
            }
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
