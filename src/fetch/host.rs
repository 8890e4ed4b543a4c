//! One host that serves a registry's images, the registry itself or a mirror of it: requests with redirects, retries, slots
//! and logins, and answers that are whole or errors.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, LINK, LOCATION, RETRY_AFTER, WWW_AUTHENTICATE};
use http::{HeaderMap, HeaderValue, StatusCode};
use reqwest::Response;
use serde::Deserialize;
use tokio::sync::Semaphore;
use tokio::time::{Instant, sleep, timeout_at};
use url::Url;

use assay_verify::limits::{
    MAX_ERROR_BODY_SIZE, MAX_REDIRECTS, MAX_REQUEST_TRIES, MAX_REQUESTS_PER_REGISTRY, MAX_RETRY_AFTER,
    MAX_RETRY_AFTER_WAITS, MIRROR_REST,
};
use assay_verify::reference::{DOCKER_HUB, Repository, canonical_host};
use assay_verify::untrusted::Untrusted;

use super::address::check_literal;
use super::auth::Authenticator;
use super::body::{self, Payer};
use super::budget::{Budget, Lease, Promise, RegistryShare};
use super::config::RegistryConfig;
use super::count::{Counters, Purpose};
use super::discovery::KnownKind;
use super::error::FetchError;
use super::hosts::{Capabilities, HostEntry};
use super::transport::{self, Transport};
use crate::credential::{Identity, ImageName, Keyring};

/// The host that serves Docker Hub's API; `docker.io` itself is a web site.
const DOCKER_HUB_API: &str = "registry-1.docker.io";

/// The wait before a second try, and where `Retry-After` is no number of seconds.
const BACKOFF: Duration = Duration::from_millis(200);

/// One host, as it serves one registry.
pub(super) struct Host {
    /// Its canonical name.
    pub(super) name: Box<str>,
    pub(super) config: RegistryConfig,
    keyring: Keyring,
    pub(super) transport: Transport,
    pub(super) counters: Arc<Counters>,
    /// Of the registry, whichever of its hosts is asked.
    pub(super) share: RegistryShare,
    /// What is remembered about how it lists referrers.
    pub(super) kind: KnownKind,
    /// What it is trusted for.
    pub(super) capabilities: Capabilities,
    base: Url,
    /// The same over plain HTTP, for a host that the configuration says both of: `http://`, and how TLS is spoken.
    plain: Option<Plain>,
    /// The registry that a mirror is asked for (containerd: the query's `ns`).
    namespace: Option<Box<str>>,
    /// Sent to this host alone.
    headers: HeaderMap,
    plain_hosts: Arc<BTreeSet<String>>,
    authenticator: Authenticator,
    slots: Semaphore,
    /// When it could last not be reached.
    away_since: Mutex<Option<Instant>>,
}

/// How a host is reached that turns out not to speak TLS.
struct Plain {
    base: Url,
    known: AtomicBool,
}

/// What a host is made from.
pub(super) struct Parts {
    pub(super) config: RegistryConfig,
    pub(super) keyring: Keyring,
    pub(super) entry: HostEntry,
    pub(super) transport: Transport,
    pub(super) counters: Arc<Counters>,
    pub(super) share: RegistryShare,
    pub(super) plain_hosts: Arc<BTreeSet<String>>,
}

/// How much is tried before a host is given up on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Patience {
    /// Another host is left: it is asked at once, as containerd does.
    Another,
    /// There is no other.
    Last,
}

/// One question to a host.
pub(super) struct Request<'a> {
    pub(super) purpose: Purpose,
    pub(super) url: Url,
    pub(super) repository: &'a Repository,
    pub(super) accept: &'static str,
    /// The bytes that the answer may have.
    pub(super) limit: usize,
    /// Where a search counts what the answer will take: it grows when the answer begins.
    pub(super) promise: Option<&'a Promise>,
}

/// What a host says: either the whole body, or, with its own word for it, that there is nothing.
pub(super) enum Answer {
    Found(Found),
    Missing,
}

pub(super) struct Found {
    pub(super) content_type: Option<Box<str>>,
    pub(super) link: Option<Box<str>>,
    pub(super) body: Vec<u8>,
    /// Pays for the body.
    pub(super) lease: Lease,
}

/// A failed try, and whether another may help.
struct Failure {
    error: FetchError,
    retry: Retry,
}

enum Retry {
    No,
    /// The server or the connection failed.
    Again,
    /// The registry asks for fewer requests.
    After(Option<Duration>),
}

impl From<FetchError> for Failure {
    fn from(error: FetchError) -> Self {
        let retry = match &error {
            FetchError::Connect { .. } | FetchError::Interrupted { .. } => Retry::Again,
            _ => Retry::No,
        };
        Self { error, retry }
    }
}

impl Host {
    pub(super) fn new(registry: &str, parts: Parts) -> Result<Self, FetchError> {
        let Parts { config, entry, .. } = parts;
        let unusable = |cause: String| FetchError::Unusable {
            registry: registry.into(),
            cause: cause.into(),
        };
        let (name, mut base) = match entry.api {
            Some(api) => (authority(&api), api),
            None => (
                registry.to_owned(),
                own_api(registry, config.plain_http).map_err(unusable)?,
            ),
        };
        // containerd: core/remotes/docker/config/hosts.go, NewHTTPFallback. Port 80 is never TLS.
        let mut plain = None;
        if base.scheme() == "http" && entry.says_tls && base.port_or_known_default() != Some(80) {
            let over_http = base.clone();
            if base.set_scheme("https").is_ok() {
                plain = Some(Plain {
                    base: over_http,
                    known: AtomicBool::new(false),
                });
            }
        }
        Ok(Self {
            namespace: (name != registry).then(|| registry.into()),
            name: name.into(),
            config,
            keyring: parts.keyring,
            transport: parts.transport,
            counters: parts.counters,
            share: parts.share,
            kind: KnownKind::default(),
            capabilities: entry.capabilities,
            base,
            plain,
            headers: entry.headers,
            plain_hosts: parts.plain_hosts,
            authenticator: Authenticator::default(),
            slots: Semaphore::new(MAX_REQUESTS_PER_REGISTRY),
            away_since: Mutex::new(None),
        })
    }

    /// `<api>/<repository>/<endpoint>/<reference>`. All parts are of the reference grammar, which has nothing to escape.
    pub(super) fn url(&self, repository: &Repository, endpoint: &str, reference: &str) -> Result<Url, FetchError> {
        let joined = self.base.join(&format!("{}/{endpoint}/{reference}", repository.path()));
        let mut url = joined.map_err(|error| FetchError::Unusable {
            registry: self.name.clone(),
            cause: error.to_string().into(),
        })?;
        if let Some(namespace) = &self.namespace {
            url.query_pairs_mut().append_pair("ns", namespace);
        }
        Ok(url)
    }

    /// Who we are to this host, for one repository: what the configuration says of the host, else what is kept elsewhere
    /// under its name.
    pub(super) async fn identity(&self, repository: &Repository) -> Result<Option<Identity>, FetchError> {
        if let Some(credentials) = &self.config.credentials {
            return Ok(Some(Identity::Password(credentials.clone())));
        }
        let found = self.keyring.find(&self.image(repository)).await;
        found.map_err(|cause| FetchError::Credentials {
            registry: self.name.clone(),
            cause,
        })
    }

    /// Forgets what it refused.
    pub(super) fn forget_identity(&self, repository: &Repository) {
        self.keyring.forget(&self.image(repository));
    }

    /// An image as this host names it. Where its API is below a path of its own, that is the beginning of the repository.
    fn image(&self, repository: &Repository) -> ImageName {
        let below = self.base.path().strip_prefix("/v2/").unwrap_or_default();
        ImageName::new(&self.name, &format!("{below}{}", repository.path()))
    }

    /// Whether it could not be reached a moment ago.
    pub(super) fn is_away(&self) -> bool {
        let since = *self.away_since.lock().unwrap_or_else(PoisonError::into_inner);
        since.is_some_and(|since| since.elapsed() < MIRROR_REST)
    }

    /// Whether a URL is served by the registry itself: same scheme, host and port.
    pub(super) fn owns(&self, url: &Url) -> bool {
        url.origin() == self.base.origin()
            || self
                .plain
                .as_ref()
                .is_some_and(|plain| url.origin() == plain.base.origin())
    }

    /// The host of the registry's API.
    pub(super) fn api_host(&self) -> String {
        authority(&self.base)
    }

    /// Resolves an address that an answer names, if it may be followed.
    pub(super) fn learn(&self, current: &Url, text: &str) -> Result<Url, FetchError> {
        let refuse = |cause: String| FetchError::Address {
            registry: self.name.clone(),
            cause: cause.into(),
        };
        let url = current.join(text).map_err(|error| refuse(format!("{text}: {error}")))?;
        // Without query and fragment, where signed addresses keep their secrets.
        let shown = || format!("{}://{}{}", url.scheme(), authority(&url), url.path());
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refuse(format!("{} carries a user name", shown())));
        }
        if self.owns(&url) {
            return Ok(url);
        }
        match url.scheme() {
            "https" => {}
            "http" if self.plain_hosts.contains(&authority(&url)) => {}
            _ => return Err(refuse(format!("{} is not HTTPS", shown()))),
        }
        if !self.config.private_addresses {
            check_literal(&url).map_err(|error| refuse(error.to_string()))?;
        }
        Ok(url)
    }

    /// Asks, within the deadline.
    pub(super) async fn get(
        &self,
        request: &Request<'_>,
        patience: Patience,
        budget: &Budget,
    ) -> Result<Answer, FetchError> {
        match timeout_at(budget.deadline(), self.get_patiently(request, patience, budget)).await {
            Ok(answer) => {
                let away = answer.as_ref().is_err_and(FetchError::is_unreachable);
                *self.away_since.lock().unwrap_or_else(PoisonError::into_inner) = away.then(Instant::now);
                answer
            }
            Err(_) => Err(FetchError::Deadline {
                registry: self.name.clone(),
            }),
        }
    }

    async fn get_patiently(
        &self,
        request: &Request<'_>,
        patience: Patience,
        budget: &Budget,
    ) -> Result<Answer, FetchError> {
        // Held while waiting, too: a registry that asks for fewer requests gets fewer. Never closed.
        let _slot = self.slots.acquire().await;
        let (mut tries, mut waits) = (1, 0);
        loop {
            let Failure { error, retry } = match self.attempt(request, budget, tries).await {
                Ok(answer) => return Ok(answer),
                Err(failure) => failure,
            };
            let wait = match retry {
                // A connection that broke may have been idle for too long; whatever else fails, another host may do.
                _ if patience == Patience::Another && !matches!(error, FetchError::Interrupted { .. }) => {
                    return Err(error);
                }
                Retry::Again if tries < MAX_REQUEST_TRIES => {
                    tries += 1;
                    BACKOFF
                }
                Retry::After(wait) if waits < MAX_RETRY_AFTER_WAITS => {
                    waits += 1;
                    wait.unwrap_or(BACKOFF).max(BACKOFF)
                }
                _ => return Err(error),
            };
            if wait > MAX_RETRY_AFTER || Instant::now() + wait >= budget.deadline() {
                return Err(error);
            }
            sleep(wait).await;
        }
    }

    async fn attempt(&self, request: &Request<'_>, budget: &Budget, try_number: u32) -> Result<Answer, Failure> {
        let mut authorization = self.authenticator.prepare(self, request.repository, budget).await?;
        let (mut response, mut foreign) = self.send(request, authorization.as_ref(), try_number).await?;
        if response.status() == StatusCode::UNAUTHORIZED && !foreign {
            let challenges = text_headers(response.headers(), &WWW_AUTHENTICATE);
            // Read to its end, so that the connection is used again.
            let detail = self.detail(&mut response).await;
            authorization = self
                .authenticator
                .respond(self, request.repository, &challenges, authorization, detail, budget)
                .await
                .map(Some)?;
            (response, foreign) = self.send(request, authorization.as_ref(), try_number).await?;
        }
        let status = response.status();
        match status {
            StatusCode::OK => {
                let content_type = text_header(response.headers(), &CONTENT_TYPE);
                let links = text_headers(response.headers(), &LINK);
                let link = (!links.is_empty()).then(|| links.join(",").into());
                if let Some(promise) = request.promise {
                    let length = response
                        .content_length()
                        .and_then(|length| usize::try_from(length).ok());
                    promise.grow_to(length.map_or(request.limit, |length| length.min(request.limit)));
                }
                let (body, lease) = body::read(self.payer(budget), response, request.limit).await?;
                Ok(Answer::Found(Found {
                    content_type,
                    link,
                    body,
                    lease,
                }))
            }
            // Only the registry's own word counts: storage behind it knows nothing about what was signed.
            StatusCode::NOT_FOUND if !foreign => {
                self.detail(&mut response).await;
                Ok(Answer::Missing)
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(FetchError::AccessRefused {
                registry: self.name.clone(),
                status: status.as_u16(),
                detail: self.detail(&mut response).await,
                withheld_from: self.authenticator.withheld_from(self, request.repository).await,
            }
            .into()),
            StatusCode::TOO_MANY_REQUESTS => {
                let retry_after = retry_after(response.headers());
                Err(Failure {
                    error: FetchError::TooManyRequests {
                        registry: self.name.clone(),
                        retry_after,
                    },
                    retry: Retry::After(retry_after),
                })
            }
            _ => Err(Failure {
                retry: if status.is_server_error() {
                    Retry::Again
                } else {
                    Retry::No
                },
                error: FetchError::Status {
                    registry: self.name.clone(),
                    status: status.as_u16(),
                    detail: self.detail(&mut response).await,
                },
            }),
        }
    }

    /// Sends a request and follows its redirects. Says whether the answer came from another host; from there on neither
    /// credentials nor the client for private addresses are used, not even if the last address is the registry's again.
    async fn send(
        &self,
        request: &Request<'_>,
        authorization: Option<&HeaderValue>,
        try_number: u32,
    ) -> Result<(Response, bool), FetchError> {
        let mut url = request.url.clone();
        let mut foreign = false;
        for _ in 0..=MAX_REDIRECTS {
            self.counters.count(request.purpose);
            let client = self.transport.client(foreign, try_number);
            let mut headers = self.headers_for(foreign);
            headers.insert(ACCEPT, HeaderValue::from_static(request.accept));
            if let Some(authorization) = authorization.filter(|_| !foreign) {
                headers.insert(AUTHORIZATION, authorization.clone());
            }
            let response = if foreign {
                transport::send(&self.name, client.get(url.clone()).headers(headers)).await?
            } else {
                self.send_to_itself(client, &mut url, headers).await?
            };
            let redirected = matches!(response.status().as_u16(), 301 | 302 | 303 | 307 | 308);
            let Some(location) = text_header(response.headers(), &LOCATION).filter(|_| redirected) else {
                return Ok((response, foreign));
            };
            url = self.learn(&url, &location)?;
            foreign |= !self.owns(&url);
        }
        Err(FetchError::Redirects {
            registry: self.name.clone(),
        })
    }

    /// Sends a request to the host itself: over TLS, or over plain HTTP where it may be and is not TLS that is spoken.
    async fn send_to_itself(
        &self,
        client: &reqwest::Client,
        url: &mut Url,
        headers: HeaderMap,
    ) -> Result<Response, FetchError> {
        if let Some(plain) = &self.plain {
            if !plain.known.load(Ordering::Relaxed) {
                match transport::send_once(client.get(url.clone()).headers(headers.clone())).await {
                    Some(Err(error)) if transport::is_not_tls(&error) => plain.known.store(true, Ordering::Relaxed),
                    sent => return transport::answer(&self.name, sent),
                }
            }
            // Only a URL without a host has no scheme to set.
            let _: Result<(), ()> = url.set_scheme("http");
        }
        transport::send(&self.name, client.get(url.clone()).headers(headers)).await
    }

    /// The headers that the host's configuration adds: for itself alone, as they may hold a secret.
    pub(super) fn headers_for(&self, foreign: bool) -> HeaderMap {
        if foreign {
            HeaderMap::new()
        } else {
            self.headers.clone()
        }
    }

    pub(super) fn payer<'a>(&'a self, budget: &'a Budget) -> Payer<'a> {
        Payer {
            registry: &self.name,
            share: &self.share,
            budget,
        }
    }

    /// What an error's body says: the first error of the distribution specification's form, or its first bytes.
    pub(super) async fn detail(&self, response: &mut Response) -> Option<Untrusted> {
        #[derive(Deserialize)]
        struct Errors {
            errors: Vec<ErrorItem>,
        }
        #[derive(Deserialize)]
        struct ErrorItem {
            code: String,
            #[serde(default)]
            message: String,
        }
        let head = body::read_head(&self.name, response, MAX_ERROR_BODY_SIZE).await;
        if let Ok(Errors { errors }) = serde_json::from_slice(&head)
            && let Some(ErrorItem { code, message }) = errors.into_iter().next()
        {
            let separator = if message.is_empty() { "" } else { ": " };
            return Some(format!("{code}{separator}{message}").into());
        }
        let text = head.trim_ascii();
        (!text.is_empty()).then(|| Untrusted::from_bytes(text))
    }
}

/// Where the API of a registry is that no file places elsewhere.
fn own_api(registry: &str, plain_http: bool) -> Result<Url, String> {
    let host = if registry == DOCKER_HUB {
        DOCKER_HUB_API
    } else {
        registry
    };
    let scheme = if plain_http { "http" } else { "https" };
    let base = Url::parse(&format!("{scheme}://{host}/v2/")).map_err(|error| error.to_string())?;
    if !base.username().is_empty() || base.password().is_some() || base.path() != "/v2/" {
        return Err("its name is no host".to_owned());
    }
    Ok(base)
}

/// The canonical name of a URL's host and port.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => canonical_host(&format!("{host}:{port}")),
        None => canonical_host(host),
    }
}

fn text_header(headers: &HeaderMap, name: &http::HeaderName) -> Option<Box<str>> {
    headers.get(name)?.to_str().ok().map(Into::into)
}

fn text_headers(headers: &HeaderMap, name: &http::HeaderName) -> Vec<String> {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .map(str::to_owned)
        .collect()
}

/// `Retry-After` in seconds (RFC 9110 §10.2.3). Its other form, a date, would need the registry's clock to be right.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds = text_header(headers, &RETRY_AFTER)?.trim().parse().ok()?;
    Some(Duration::from_secs(seconds))
}
