//! The client of CRL distribution points and OCSP responders.
//!
//! Their addresses come from certificates, so they lead to public addresses only, unless the configuration names the
//! host (promise 9). They are plain HTTP (RFC 5280 §4.2.1.13, RFC 6960 §A.1): what comes back is bytes that nobody has
//! looked at, beyond telling an answer from an error page. The judgement proves them.
//!
//! Deliberately absent: credentials, cookies, and a second try. A failure is remembered for a moment instead, so that
//! the askers behind it do not wait for the same silence.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::str::FromStr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use http::StatusCode;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, LOCATION};
use reqwest::dns::Resolve;
use serde::Deserialize;
use thiserror::Error;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, interval, timeout_at};
use url::{Host as UrlHost, Url};

use assay_verify::code::Code;
use assay_verify::limits::{
    CRL_TIMEOUT, MAX_CRL_SIZE, MAX_OCSP_RESPONSE_SIZE, MAX_REDIRECTS, MAX_REQUESTS_PER_REVOCATION_HOST,
    MAX_REVOCATION_HOSTS, MAX_REVOCATION_MEMORY, OCSP_TIMEOUT, REVOCATION_FAILURE_LIFETIME,
};
use assay_verify::query::{Query, RevocationUrl, Unanswered};
use assay_verify::untrusted::Untrusted;
use assay_verify::x509::revocation::{Validity, validity};

use super::address::{self, check_literal};
use super::body::{self, Payer};
use super::budget::{ProcessMemory, RegistryShare};
use super::config::{FetchConfig, RegistryConfig};
use super::error::FetchError;
use super::host::authority;
use super::own_tls::OwnTls;
use super::transport::{self, Transport};

/// An OCSP request whose encoded form is shorter is asked with GET, which caches on the way can answer (RFC 6960 §A.1,
/// RFC 5019 §5).
const MAX_GET_LENGTH: usize = 255;

/// How often memory is looked for that nobody holds any more, while a request is under way.
const SWEEP_INTERVAL: Duration = Duration::from_millis(100);

/// The world of revocation endpoints.
pub trait RevocationEndpoints: Send + Sync {
    /// Asks a query until `deadline`. The answer is bytes that nobody has proved.
    fn ask<'a>(
        &'a self,
        query: &'a Query,
        source: Source,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Arc<[u8]>, Unanswered>>;
}

/// Who may answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The authority, or a cache on the way.
    Any,
    /// The authority itself, past the caches that obey: for who has an answer and wants the next one (RFC 5019 §6).
    Authority,
}

/// How long a query may take at its endpoints.
pub fn time_for(query: &Query) -> Duration {
    match query {
        Query::Crl(_) => CRL_TIMEOUT,
        Query::Ocsp { responders, .. } => {
            OCSP_TIMEOUT.saturating_mul(u32::try_from(responders.len()).unwrap_or(u32::MAX))
        }
        Query::PluginMetadata(_) | Query::PluginVerdict { .. } => Duration::ZERO,
    }
}

/// When an answer was made and lapses, by what it says of itself; none for what is no answer to the query. A large one
/// is read on a thread for blocking work: a CRL of megabytes must not hold up others.
pub async fn validity_of(query: &Query, answer: &Arc<[u8]>) -> Option<Validity> {
    if answer.len() <= MAX_OCSP_RESPONSE_SIZE {
        return validity(query, answer);
    }
    let (query, answer) = (query.clone(), Arc::clone(answer));
    // What makes the reader panic is no answer.
    tokio::task::spawn_blocking(move || validity(&query, &answer))
        .await
        .ok()
        .flatten()
}

/// How revocation endpoints are reached. Empty is a good configuration: those on the public internet.
#[derive(Clone, Debug, Default)]
pub struct RevocationConfig {
    /// Whether all endpoints, and their redirects, may have private addresses.
    pub private_addresses: bool,
    /// Endpoints that may have private addresses.
    pub hosts: BTreeSet<EndpointHost>,
    /// The hosts of the proxies that the environment names; see [`super::proxy_hosts`]. A proxy may have a private
    /// address.
    pub proxy_hosts: BTreeSet<String>,
}

/// A host as the configuration names it: `pki.corp.example`, `127.0.0.1:8888`, `[fd00::1]:8080`. Without a port it
/// stands for the scheme's own.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(try_from = "String")]
pub struct EndpointHost {
    host: UrlHost,
    port: Option<u16>,
}

/// Text that names no host.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "\"{0}\" is not a host: expected a name or address, with a port where it is not the usual one, and nothing else"
)]
pub struct ParseEndpointHostError(Untrusted);

impl EndpointHost {
    fn is_host_of(&self, url: &Url) -> bool {
        let port = match self.port {
            None => url.port().is_none(),
            port => url.port_or_known_default() == port,
        };
        port && url
            .host()
            .is_some_and(|host| without_root(host.to_owned()) == self.host)
    }
}

/// `host.example.` is `host.example`.
fn without_root(host: UrlHost) -> UrlHost {
    match host {
        UrlHost::Domain(name) => UrlHost::Domain(name.strip_suffix('.').map(str::to_owned).unwrap_or(name)),
        address => address,
    }
}

impl FromStr for EndpointHost {
    type Err = ParseEndpointHostError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let refused = || ParseEndpointHostError(text.into());
        let authority: http::uri::Authority = text.parse().map_err(|_| refused())?;
        // `host:` and `host:x` have a colon and no port.
        let port = authority.port_u16();
        let tail = text.rsplit_once(']').map_or(text, |(_, tail)| tail);
        // A pattern would look as if it matched.
        if text.contains(['@', '*']) || (port.is_none() && tail.contains(':')) {
            return Err(refused());
        }
        let host = without_root(UrlHost::parse(authority.host()).map_err(|_| refused())?);
        Ok(Self { host, port })
    }
}

impl TryFrom<String> for EndpointHost {
    type Error = ParseEndpointHostError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

/// Why an endpoint gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum Failure {
    #[error("{address} is not asked: {cause}; `[revocation] hosts` may allow it")]
    Private { address: Untrusted, cause: Untrusted },
    #[error("{address} is not asked: {cause}")]
    Refused { address: Untrusted, cause: Untrusted },
    #[error("{host} answered with {size} bytes that are no {kind}")]
    NotAnAnswer {
        host: Box<str>,
        size: usize,
        kind: &'static str,
    },
    #[error(transparent)]
    Fetch(#[from] FetchError),
}

impl Failure {
    fn code(&self) -> Code {
        match self {
            Self::Fetch(error) if error.code() == Code::LimitExceeded => Code::LimitExceeded,
            _ => Code::RevocationUnknown,
        }
    }
}

/// The memory of revocation answers, of all images together. An answer is paid for as long as anyone holds it.
#[derive(Clone, Debug)]
pub struct AnswerMemory(Arc<Held>);

#[derive(Debug)]
struct Held {
    purse: ProcessMemory,
    answers: Mutex<Vec<(Arc<[u8]>, OwnedSemaphorePermit)>>,
}

impl Default for AnswerMemory {
    fn default() -> Self {
        Self(Arc::new(Held {
            purse: ProcessMemory::of(MAX_REVOCATION_MEMORY),
            answers: Mutex::default(),
        }))
    }
}

/// Paid memory for an answer that is about to be read.
#[derive(Debug)]
pub struct Paid {
    memory: AnswerMemory,
    permit: OwnedSemaphorePermit,
}

impl AnswerMemory {
    /// Pays for an answer of `bytes`, for instance before it is read from disk. None where others hold all the memory
    /// for longer than is waited.
    pub async fn pay(&self, bytes: usize, deadline: Instant) -> Option<Paid> {
        self.sweep();
        let paying = self.0.purse.reserve(bytes, deadline);
        let permit = self.sweeping_while(paying).await.ok()?;
        Some(Paid {
            memory: self.clone(),
            permit,
        })
    }

    /// Gives back the memory of answers that nobody else holds any more.
    pub fn sweep(&self) {
        lock(&self.0.answers).retain(|(answer, _)| Arc::strong_count(answer) > 1);
    }

    /// Bytes that nobody holds.
    pub fn available(&self) -> usize {
        self.0.purse.available()
    }

    /// Runs `work`, and meanwhile gives back what others let go.
    async fn sweeping_while<T>(&self, work: impl Future<Output = T>) -> T {
        let mut work = std::pin::pin!(work);
        let mut ticks = interval(SWEEP_INTERVAL);
        loop {
            tokio::select! {
                biased;
                output = &mut work => return output,
                _ = ticks.tick() => self.sweep(),
            }
        }
    }

    fn hold(&self, answer: Vec<u8>, permit: OwnedSemaphorePermit) -> Arc<[u8]> {
        let answer: Arc<[u8]> = answer.into();
        lock(&self.0.answers).push((Arc::clone(&answer), permit));
        answer
    }
}

impl Paid {
    /// Takes the answer that was paid for, or none if it is larger.
    pub fn hold(mut self, answer: Vec<u8>) -> Option<Arc<[u8]>> {
        let surplus = self.permit.num_permits().checked_sub(answer.len())?;
        drop(self.permit.split(surplus));
        Some(self.memory.hold(answer, self.permit))
    }
}

/// The client. Clones share connections, slots and memory. Making one sends nothing.
#[derive(Clone)]
pub struct Client(Arc<Inner>);

struct Inner {
    config: RevocationConfig,
    resolver: Arc<dyn Resolve>,
    transport: OnceLock<Transport>,
    hosts: Mutex<HashMap<Box<str>, Arc<Endpoint>>>,
    memory: AnswerMemory,
    requests: AtomicU64,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("revocation::Client")
            .field("config", &self.0.config)
            .finish_non_exhaustive()
    }
}

/// One host and port that is asked.
struct Endpoint {
    name: Box<str>,
    slots: Semaphore,
    share: RegistryShare,
    /// How it failed to answer at all, and when.
    failed: Mutex<Option<(Instant, FetchError)>>,
}

/// One question to one address.
struct Question<'a> {
    query: &'a Query,
    url: Url,
    post: Option<&'a [u8]>,
    accept: &'static str,
    kind: &'static str,
    limit: usize,
    source: Source,
}

impl Client {
    /// Makes a client that resolves names as the system does.
    pub fn new(config: RevocationConfig, memory: AnswerMemory) -> Self {
        Self::with_resolver(config, memory, Arc::new(address::SystemResolver))
    }

    /// Makes a client that resolves names with `resolver`.
    pub fn with_resolver(config: RevocationConfig, memory: AnswerMemory, resolver: Arc<dyn Resolve>) -> Self {
        Self(Arc::new(Inner {
            config,
            resolver,
            transport: OnceLock::new(),
            hosts: Mutex::default(),
            memory,
            requests: AtomicU64::new(0),
        }))
    }

    /// How many requests were sent so far; redirects count each.
    pub fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    /// Asks a query until `deadline`, and no endpoint for longer than its own time: [`CRL_TIMEOUT`], [`OCSP_TIMEOUT`].
    /// OCSP responders are asked in their order until one gives a response that says something.
    ///
    /// # Errors
    ///
    /// When no endpoint gives anything that looks like an answer; with [`Code::LimitExceeded`] when a bound was the
    /// reason.
    pub async fn ask(&self, query: &Query, source: Source, deadline: Instant) -> Result<Arc<[u8]>, Unanswered> {
        match query {
            Query::Crl(address) => {
                let question = |url| Question {
                    query,
                    url,
                    post: None,
                    accept: "application/pkix-crl, */*;q=0.1",
                    kind: "CRL",
                    limit: MAX_CRL_SIZE,
                    source,
                };
                self.ask_one(address, question, deadline.min(Instant::now() + CRL_TIMEOUT))
                    .await
                    .map_err(|failure| Unanswered {
                        code: failure.code(),
                        reason: failure.to_string().into(),
                    })
            }
            Query::Ocsp { responders, request } => {
                let mut failures = Vec::new();
                for address in responders {
                    let question = |url| ocsp_question(query, url, request, source);
                    let deadline = deadline.min(Instant::now() + OCSP_TIMEOUT);
                    match self.ask_one(address, question, deadline).await {
                        Ok(answer) => return Ok(answer),
                        Err(failure) => failures.push(failure),
                    }
                }
                Err(none_answered(&failures))
            }
            Query::PluginMetadata(_) | Query::PluginVerdict { .. } => Err(Unanswered {
                code: Code::PluginUnavailable,
                reason: "a plugin is not asked over the network".into(),
            }),
        }
    }

    async fn ask_one<'a>(
        &self,
        address: &RevocationUrl,
        question: impl FnOnce(Url) -> Question<'a>,
        deadline: Instant,
    ) -> Result<Arc<[u8]>, Failure> {
        let refused = |cause: &str| Failure::Refused {
            address: address.as_str().into(),
            cause: cause.into(),
        };
        let url = Url::parse(address.as_str()).map_err(|error| refused(&error.to_string()))?;
        if !url.username().is_empty() || url.password().is_some() {
            return Err(refused("it carries a user name"));
        }
        let question = question(url);
        let name = authority(&question.url);
        // The endpoint that was asked and has not begun to answer.
        let silent = Mutex::new(None);
        let memory = &self.0.memory;
        memory.sweep();
        match timeout_at(
            deadline,
            memory.sweeping_while(self.exchange(&question, &silent, deadline)),
        )
        .await
        {
            Ok(answer) => answer,
            Err(_) => {
                let error = FetchError::Deadline { registry: name.into() };
                if let Some(endpoint) = lock(&silent).take() {
                    endpoint.remember(&error);
                }
                Err(error.into())
            }
        }
    }

    async fn exchange(
        &self,
        question: &Question<'_>,
        silent: &Mutex<Option<Arc<Endpoint>>>,
        deadline: Instant,
    ) -> Result<Arc<[u8]>, Failure> {
        let inner = &*self.0;
        let mut url = question.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let client = self.client_for(&url)?;
            let endpoint = self.endpoint(&url);
            // Never closed. Who waits for a slot waits within its own deadline.
            let _slot = endpoint.slots.acquire().await;
            if let Some(error) = endpoint.recent_failure() {
                return Err(error.into());
            }
            let mut sending = match question.post {
                None => client.get(url.clone()),
                Some(body) => client
                    .post(url.clone())
                    .header(CONTENT_TYPE, "application/ocsp-request")
                    .body(body.to_vec()),
            };
            sending = sending.header(ACCEPT, question.accept);
            if question.source == Source::Authority {
                sending = sending.header(CACHE_CONTROL, "no-cache");
            }
            inner.requests.fetch_add(1, Ordering::Relaxed);
            *lock(silent) = Some(Arc::clone(&endpoint));
            let response = sending.send().await;
            lock(silent).take();
            let response = response.map_err(|error| {
                let error = transport::failure(&endpoint.name, &error);
                endpoint.remember(&error);
                error
            })?;
            let status = response.status();
            if let Some(location) = redirect(status, question.post.is_some(), response.headers().get(LOCATION)) {
                url = follow(&endpoint.name, &url, location)?;
                continue;
            }
            if status != StatusCode::OK {
                return Err(Failure::Fetch(FetchError::Status {
                    registry: endpoint.name.clone(),
                    status: status.as_u16(),
                    // Error pages of such endpoints are HTML that says no more.
                    detail: None,
                }));
            }
            let budget = inner.memory.0.purse.budget(deadline);
            let payer = Payer {
                registry: &endpoint.name,
                share: &endpoint.share,
                budget: &budget,
            };
            let (answer, lease) = body::read(payer, response, question.limit).await?;
            let answer = inner.memory.hold(answer, lease.into_process());
            // Tells an answer from an error page or a responder's "try later"; it says nothing about who signed it.
            if validity_of(question.query, &answer).await.is_none() {
                return Err(Failure::NotAnAnswer {
                    host: endpoint.name.clone(),
                    size: answer.len(),
                    kind: question.kind,
                });
            }
            return Ok(answer);
        }
        Err(Failure::Fetch(FetchError::Redirects {
            registry: authority(&question.url).into(),
        }))
    }

    /// The client that may connect to where `url` leads.
    fn client_for(&self, url: &Url) -> Result<&reqwest::Client, Failure> {
        let config = &self.0.config;
        let transport = self.transport()?;
        if config.private_addresses || config.hosts.iter().any(|host| host.is_host_of(url)) {
            return Ok(&transport.direct);
        }
        check_literal(url).map_err(|error| Failure::Private {
            address: authority(url).into(),
            cause: error.to_string().into(),
        })?;
        Ok(&transport.learned)
    }

    fn transport(&self) -> Result<&Transport, FetchError> {
        let inner = &*self.0;
        if let Some(transport) = inner.transport.get() {
            return Ok(transport);
        }
        let fetch = FetchConfig {
            proxy_hosts: inner.config.proxy_hosts.clone(),
            ..FetchConfig::default()
        };
        let registry = RegistryConfig {
            private_addresses: inner.config.private_addresses,
            ..RegistryConfig::default()
        };
        // Certificates matter only where an endpoint redirects to HTTPS. Read when the first is asked: it takes
        // milliseconds that a start does not have.
        let roots = Arc::new(transport::system_roots());
        let transport =
            Transport::new(&fetch, &registry, roots, &OwnTls::default(), &inner.resolver).map_err(|error| {
                FetchError::Unusable {
                    registry: "a revocation endpoint".into(),
                    cause: error.to_string().into(),
                }
            })?;
        Ok(inner.transport.get_or_init(|| transport))
    }

    fn endpoint(&self, url: &Url) -> Arc<Endpoint> {
        let name = authority(url);
        let mut hosts = lock(&self.0.hosts);
        if let Some(endpoint) = hosts.get(name.as_str()) {
            return Arc::clone(endpoint);
        }
        if hosts.len() >= MAX_REVOCATION_HOSTS {
            hosts.retain(|_, endpoint| Arc::strong_count(endpoint) > 1);
        }
        let endpoint = Arc::new(Endpoint {
            name: name.as_str().into(),
            slots: Semaphore::new(MAX_REQUESTS_PER_REVOCATION_HOST),
            share: RegistryShare::of(MAX_REVOCATION_MEMORY / 2),
            failed: Mutex::default(),
        });
        hosts.insert(name.into(), Arc::clone(&endpoint));
        endpoint
    }
}

impl RevocationEndpoints for Client {
    fn ask<'a>(
        &'a self,
        query: &'a Query,
        source: Source,
        deadline: Instant,
    ) -> BoxFuture<'a, Result<Arc<[u8]>, Unanswered>> {
        Box::pin(Self::ask(self, query, source, deadline))
    }
}

impl Endpoint {
    fn remember(&self, error: &FetchError) {
        *lock(&self.failed) = Some((Instant::now(), error.clone()));
    }

    fn recent_failure(&self) -> Option<FetchError> {
        let mut failed = lock(&self.failed);
        match &*failed {
            Some((at, error)) if at.elapsed() < REVOCATION_FAILURE_LIFETIME => Some(error.clone()),
            _ => {
                *failed = None;
                None
            }
        }
    }
}

/// With GET where the encoded request is short and the address has no query that it would end up in; with POST
/// otherwise.
fn ocsp_question<'a>(query: &'a Query, mut url: Url, request: &'a [u8], source: Source) -> Question<'a> {
    let encoded: String = url::form_urlencoded::byte_serialize(STANDARD.encode(request).as_bytes()).collect();
    let get = encoded.len() < MAX_GET_LENGTH && url.query().is_none();
    if get {
        let path = format!("{}/{encoded}", url.path().trim_end_matches('/'));
        url.set_path(&path);
    }
    Question {
        query,
        url,
        post: (!get).then_some(request),
        accept: "application/ocsp-response, */*;q=0.1",
        kind: "OCSP response that says something",
        limit: MAX_OCSP_RESPONSE_SIZE,
        source,
    }
}

/// Where a redirect leads. A POST is sent again only where its method stays (RFC 9110 §15.4): as a GET it would ask
/// nothing.
fn redirect(status: StatusCode, post: bool, location: Option<&http::HeaderValue>) -> Option<&str> {
    let followed = match status.as_u16() {
        301..=303 => !post,
        307 | 308 => true,
        _ => false,
    };
    location.filter(|_| followed)?.to_str().ok()
}

/// Resolves a redirect, if its kind of address may be followed; where it leads is checked before it is asked.
fn follow(endpoint: &str, current: &Url, location: &str) -> Result<Url, Failure> {
    let refuse = |cause: String| FetchError::Address {
        registry: endpoint.into(),
        cause: cause.into(),
    };
    let url = current
        .join(location)
        .map_err(|error| refuse(format!("{location}: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(refuse(format!("{location} is neither HTTP nor HTTPS")).into());
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(format!("{} with a user name", authority(&url))).into());
    }
    Ok(url)
}

fn none_answered(failures: &[Failure]) -> Unanswered {
    let reasons: Vec<_> = failures.iter().map(ToString::to_string).collect();
    let code = match failures {
        [first, others @ ..] if others.iter().all(|other| other.code() == first.code()) => first.code(),
        _ => Code::RevocationUnknown,
    };
    Unanswered {
        code,
        reason: if reasons.is_empty() {
            "the certificate names no OCSP responder".into()
        } else {
            reasons.join("; ").into()
        },
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
