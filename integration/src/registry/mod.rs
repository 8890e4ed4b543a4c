//! Registries: the project's own in memory, which can misbehave, and the real docker-registry.

mod access_log;
mod content;
mod distribution;
mod fault;
mod login;
pub(crate) mod page;
mod serve;
#[cfg(test)]
mod tests;

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;

use crate::certificates::{self, ServerIdentity};

pub use access_log::{AccessLog, Kind, Mark, Request};
pub use content::{Content, NOTATION_SIGNATURE, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST, Signature, sha256};
pub use distribution::Distribution;
pub use fault::{Fault, When};
pub use login::{Login, TokenIssuer, basic};

use serve::{BrokenOff, Shared};

/// A registry with the referrers API, on a loopback port of its own, that serves until it is dropped.
#[derive(Debug)]
pub struct Registry {
    shared: Arc<Shared>,
    address: SocketAddr,
    tls: Option<ServerIdentity>,
    server: tokio::task::JoinHandle<()>,
}

impl Registry {
    /// Starts a registry that speaks plain HTTP.
    ///
    /// # Errors
    ///
    /// No port could be opened.
    pub async fn start() -> Result<Self> {
        Self::start_with(Ipv4Addr::LOCALHOST, None).await
    }

    /// The same on another address of this machine.
    ///
    /// # Errors
    ///
    /// No port could be opened.
    pub async fn start_on(address: Ipv4Addr) -> Result<Self> {
        Self::start_with(address, None).await
    }

    /// Starts a registry that speaks TLS, with a certificate for `127.0.0.1` and `localhost` from a CA of its own.
    ///
    /// # Errors
    ///
    /// No port could be opened or no certificate made.
    pub async fn start_tls() -> Result<Self> {
        let identity = certificates::server_identity(&["127.0.0.1", "localhost"])?;
        Self::start_with(Ipv4Addr::LOCALHOST, Some(identity)).await
    }

    async fn start_with(address: Ipv4Addr, tls: Option<ServerIdentity>) -> Result<Self> {
        let listener = TcpListener::bind((address, 0))
            .await
            .with_context(|| format!("cannot open a port of {address}"))?;
        let address = listener.local_addr()?;
        let shared = Arc::new(Shared::default());
        let acceptor = tls.as_ref().map(|identity| TlsAcceptor::from(identity.rustls()));
        let server = tokio::spawn(accept(listener, acceptor, shared.clone()));
        Ok(Self {
            shared,
            address,
            tls,
            server,
        })
    }

    /// Where it listens, as references name it: `127.0.0.1:5000`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Its address with the scheme: `http://127.0.0.1:5000`.
    pub fn url(&self) -> String {
        let scheme = if self.tls.is_some() { "https" } else { "http" };
        format!("{scheme}://{}", self.address)
    }

    /// The PEM text of the CA to trust, when it speaks TLS.
    pub fn ca(&self) -> Option<&str> {
        self.tls.as_ref().map(ServerIdentity::ca_pem)
    }

    /// `127.0.0.1:5000/app` for `app`.
    pub fn repository(&self, name: &str) -> String {
        format!("{}/{name}", self.address)
    }

    /// What it holds, for tests to look at and to change.
    pub fn content(&self) -> &Content {
        &self.shared.content
    }

    /// What was asked of it.
    pub fn log(&self) -> &AccessLog {
        &self.shared.log
    }

    /// Pages beside the registry's own.
    pub(crate) fn pages(&self) -> &page::Pages {
        &self.shared.pages
    }

    /// Switches a fault on, beside those that are on.
    pub fn misbehave(&self, when: When, fault: Fault) {
        self.shared.faults.add(when, fault);
    }

    /// Switches all faults off.
    pub fn behave(&self) {
        self.shared.faults.clear();
    }

    /// Adds a round-trip time to every request from now on.
    pub fn add_latency(&self, time: Duration) {
        self.misbehave(When::always(), Fault::Delay(time));
    }

    /// What it asks of its clients from now on.
    pub fn require(&self, login: Login) {
        *self.shared.login.lock().unwrap_or_else(PoisonError::into_inner) = login;
    }

    /// Answers `/token` with tokens of `issuer`, for this registry's clients or for another's.
    pub fn serve_tokens(&self, issuer: TokenIssuer) {
        *self.shared.tokens.lock().unwrap_or_else(PoisonError::into_inner) = Some(issuer);
    }

    /// Serves tokens of `issuer` and requires them.
    pub fn require_tokens(&self, issuer: TokenIssuer) {
        self.serve_tokens(issuer.clone());
        let realm = format!("{}/token", self.url());
        self.require(Login::Bearer {
            realm,
            service: self.host(),
            issuer,
        });
    }

    /// Stops serving at once: connections break, and new ones are refused.
    pub async fn stop(&mut self) {
        self.server.abort();
        if !self.server.is_finished() {
            // Aborting is the only way it ends.
            let _: Result<(), tokio::task::JoinError> = (&mut self.server).await;
        }
    }

    /// Serves again on the same port, with the same content and log.
    ///
    /// # Errors
    ///
    /// Somebody else took the port.
    pub async fn restart(&mut self) -> Result<()> {
        self.stop().await;
        let listener = TcpListener::bind(self.address)
            .await
            .context("cannot open the same port again")?;
        let acceptor = self.tls.as_ref().map(|identity| TlsAcceptor::from(identity.rustls()));
        self.server = tokio::spawn(accept(listener, acceptor, self.shared.clone()));
        Ok(())
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.server.abort();
    }
}

/// Accepts until it is aborted; the connections end with it.
async fn accept(listener: TcpListener, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    let connections = AtomicU64::new(0);
    let mut running = JoinSet::new();
    loop {
        let Ok((stream, _)) = listener.accept().await else {
            continue;
        };
        while running.try_join_next().is_some() {}
        let number = connections.fetch_add(1, Ordering::Relaxed);
        running.spawn(connection(stream, number, tls.clone(), shared.clone()));
    }
}

async fn connection(stream: TcpStream, number: u64, tls: Option<TlsAcceptor>, shared: Arc<Shared>) {
    // Without this, small answers wait for the client's delayed acknowledgement.
    if stream.set_nodelay(true).is_err() {
        return;
    }
    // A second handle to the socket, to reset it once hyper has let go of the first.
    let Ok(socket) = std::os::fd::AsFd::as_fd(&stream).try_clone_to_owned() else {
        return;
    };
    let broken = match tls {
        None => converse(stream, number, shared).await,
        Some(acceptor) => match acceptor.accept(stream).await {
            Ok(stream) => converse(stream, number, shared).await,
            Err(_) => return,
        },
    };
    if broken {
        let now = nix::libc::linger {
            l_onoff: 1,
            l_linger: 0,
        };
        // A socket that the client has closed cannot be reset, and need not be.
        let _: nix::Result<()> = nix::sys::socket::setsockopt(&socket, nix::sys::socket::sockopt::Linger, &now);
    }
}

/// Serves one connection; true when a fault asked to break it.
async fn converse(stream: impl AsyncRead + AsyncWrite + Unpin, number: u64, shared: Arc<Shared>) -> bool {
    let service = service_fn(|request| {
        let shared = shared.clone();
        async move { shared.serve(number, request).await }
    });
    let outcome = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        .serve_connection(TokioIo::new(stream), service)
        .await;
    let source = outcome.as_ref().err().and_then(std::error::Error::source);
    source.is_some_and(|source| source.downcast_ref::<BrokenOff>().is_some())
}
