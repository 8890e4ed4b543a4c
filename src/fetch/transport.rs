//! The HTTP clients: one for a registry itself, one for where its answers lead.

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use reqwest::dns::Resolve;
use reqwest::redirect::Policy;
use reqwest::{RequestBuilder, Response};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::time::timeout;

use assay_verify::limits::{
    CONNECT_TIMEOUT, CONNECTION_WINDOW, MAX_HEADER_SIZE, MAX_REQUESTS_PER_REGISTRY, RESPONSE_HEAD_TIMEOUT,
    STREAM_WINDOW,
};

use super::address::{ForbiddenAddress, PublicOnly};
use super::config::{ConfigError, FetchConfig, RegistryConfig};
use super::error::FetchError;
use super::own_tls::OwnTls;

/// What we call ourselves.
const USER_AGENT: &str = concat!("assayd/", env!("CARGO_PKG_VERSION"));

/// The clients of one registry.
#[derive(Clone, Debug)]
pub(super) struct Transport {
    /// For the host itself. It alone is shown a client certificate, and it alone may go unverified.
    pub(super) direct: reqwest::Client,
    /// For other hosts that the configuration names.
    pub(super) named: reqwest::Client,
    /// For hosts that answers name: it connects to public addresses only, unless the configuration allows others.
    pub(super) learned: reqwest::Client,
    /// As `direct`, for second tries.
    pub(super) direct_anew: reqwest::Client,
    /// As `learned`, for second tries.
    pub(super) learned_anew: reqwest::Client,
}

/// Whether connections are kept open between requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pool {
    Kept,
    /// Each request has one of its own. A connection that broke is seldom the only one: a firewall that forgets idle ones, or a
    /// network that was away, takes all that the pool holds, and a second try on one of those fails as the first did.
    None,
}

/// The system's certificate authorities, and those that the configuration adds.
pub(super) fn roots(
    system: &RootCertStore,
    host: &str,
    extra_ca: &[Vec<u8>],
) -> Result<Arc<RootCertStore>, ConfigError> {
    let mut roots = system.clone();
    for (index, pem) in extra_ca.iter().enumerate() {
        let refuse = |cause: String| ConfigError::Certificate {
            host: host.into(),
            position: index + 1,
            cause: cause.into(),
        };
        let mut count = 0;
        for certificate in CertificateDer::pem_slice_iter(pem) {
            let certificate = certificate.map_err(|error| refuse(error.to_string()))?;
            roots.add(certificate).map_err(|error| refuse(error.to_string()))?;
            count += 1;
        }
        if count == 0 {
            return Err(refuse("it holds no PEM certificate".to_owned()));
        }
    }
    Ok(Arc::new(roots))
}

/// The certificate authorities that the system trusts. One that cannot be read is left out: it can only make a
/// connection fail.
pub(super) fn system_roots() -> RootCertStore {
    let mut roots = RootCertStore::empty();
    let loaded = rustls_native_certs::load_native_certs();
    for error in &loaded.errors {
        tracing::warn!(%error, "a certificate authority of the system cannot be read");
    }
    roots.add_parsable_certificates(loaded.certs);
    roots
}

impl Transport {
    pub(super) fn new(
        fetch: &FetchConfig,
        registry: &RegistryConfig,
        roots: Arc<RootCertStore>,
        own: &OwnTls,
        resolver: &Arc<dyn Resolve>,
    ) -> Result<Self, ConfigError> {
        let tls = tls(roots)?;
        let own_tls = own.apply(tls.clone());
        let own_timeout = own.connect_timeout();
        let any = Arc::clone(resolver);
        let learned: Arc<dyn Resolve> = if registry.private_addresses {
            Arc::clone(resolver)
        } else {
            Arc::new(PublicOnly {
                resolver: Arc::clone(resolver),
                proxy_hosts: fetch.proxy_hosts.clone(),
            })
        };
        let other =
            |resolver: &Arc<dyn Resolve>, pool| client(tls.clone(), Arc::clone(resolver), pool, CONNECT_TIMEOUT);
        let direct = |pool| client(own_tls.clone(), Arc::clone(&any), pool, own_timeout);
        let kept = direct(Pool::Kept)?;
        Ok(Self {
            named: if own.is_usual() {
                kept.clone()
            } else {
                other(&any, Pool::Kept)?
            },
            direct: kept,
            learned: other(&learned, Pool::Kept)?,
            direct_anew: direct(Pool::None)?,
            learned_anew: other(&learned, Pool::None)?,
        })
    }

    /// The client for a try of a request. `foreign` says whether an answer named the host.
    pub(super) fn client(&self, foreign: bool, try_number: u32) -> &reqwest::Client {
        match (foreign, try_number) {
            (false, ..=1) => &self.direct,
            (true, ..=1) => &self.learned,
            (false, _) => &self.direct_anew,
            (true, _) => &self.learned_anew,
        }
    }
}

/// How connections are secured, whoever is at the other end.
fn tls(roots: Arc<RootCertStore>) -> Result<ClientConfig, ConfigError> {
    let mut tls = ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .map_err(|error| ConfigError::Client(error.to_string().into()))?
        .with_root_certificates(roots)
        .with_no_client_auth();
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(tls)
}

fn client(
    tls: ClientConfig,
    resolver: Arc<dyn Resolve>,
    pool: Pool,
    connect_timeout: Duration,
) -> Result<reqwest::Client, ConfigError> {
    reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .dns_resolver(resolver)
        .user_agent(USER_AGENT)
        // Redirects and retries are ours: they carry credentials and spend the budget.
        .redirect(Policy::none())
        .retry(reqwest::retry::never())
        .referer(false)
        .connect_timeout(connect_timeout)
        // A pooled connection whose other end is gone must not hold a request until its deadline.
        .tcp_user_timeout(CONNECT_TIMEOUT)
        .http2_keep_alive_interval(CONNECT_TIMEOUT)
        .http2_keep_alive_timeout(CONNECT_TIMEOUT)
        .pool_max_idle_per_host(match pool {
            Pool::Kept => MAX_REQUESTS_PER_REGISTRY,
            Pool::None => 0,
        })
        .http2_initial_stream_window_size(STREAM_WINDOW)
        .http2_initial_connection_window_size(CONNECTION_WINDOW)
        .http2_max_header_list_size(MAX_HEADER_SIZE)
        .build()
        .map_err(|error| ConfigError::Client(innermost(&error).into()))
}

/// A client for a host that is no registry. See [`super::Client::web_client`].
pub(super) fn web(
    system: &RootCertStore,
    host: &str,
    extra_ca: &[Vec<u8>],
    resolver: &Arc<dyn Resolve>,
) -> Result<reqwest::Client, ConfigError> {
    let tls = tls(roots(system, host, extra_ca)?)?;
    client(tls, Arc::clone(resolver), Pool::Kept, CONNECT_TIMEOUT)
}

/// The cause at the bottom: what is above it repeats the URL, with what a signed redirect put into its query.
pub(crate) fn innermost(error: &reqwest::Error) -> String {
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    if error.source().is_none() {
        return "the request failed".to_owned();
    }
    cause.to_string()
}

/// Sends one request and waits for the head of its answer.
pub(super) async fn send(registry: &str, request: RequestBuilder) -> Result<Response, FetchError> {
    answer(registry, send_once(request).await)
}

/// The same, with the client's own error; `None` when nothing came in time.
pub(super) async fn send_once(request: RequestBuilder) -> Option<Result<Response, reqwest::Error>> {
    timeout(RESPONSE_HEAD_TIMEOUT, request.send()).await.ok()
}

/// What came of sending a request.
pub(super) fn answer(registry: &str, sent: Option<Result<Response, reqwest::Error>>) -> Result<Response, FetchError> {
    match sent {
        Some(sent) => sent.map_err(|error| failure(registry, &error)),
        None => Err(FetchError::Silent {
            registry: registry.into(),
        }),
    }
}

/// Whether the other end does not speak TLS: what came first is no TLS record.
pub(super) fn is_not_tls(error: &reqwest::Error) -> bool {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(source) = cause {
        if matches!(source.downcast_ref(), Some(rustls::Error::InvalidMessage(_))) {
            return true;
        }
        // The source of an input-output error is not what it holds, but that one's source.
        let held = source
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref);
        cause = match held {
            Some(held) => Some(held),
            None => source.source(),
        };
    }
    false
}

/// What a request that got no answer means.
pub(super) fn failure(registry: &str, error: &reqwest::Error) -> FetchError {
    let mut cause: Option<&(dyn std::error::Error + 'static)> = error.source();
    while let Some(source) = cause {
        if let Some(forbidden) = source.downcast_ref::<ForbiddenAddress>() {
            return FetchError::Address {
                registry: registry.into(),
                cause: forbidden.to_string().into(),
            };
        }
        cause = source.source();
    }
    let cause = innermost(error).into();
    if error.is_connect() && error.is_timeout() {
        FetchError::NoConnection {
            registry: registry.into(),
        }
    } else if error.is_connect() {
        FetchError::Connect {
            registry: registry.into(),
            cause,
        }
    } else {
        FetchError::Interrupted {
            registry: registry.into(),
            cause,
        }
    }
}
