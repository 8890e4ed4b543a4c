//! Hands the metrics to Prometheus, on a port that only this machine reaches or on a unix socket.

use std::convert::Infallible;
use std::io;
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::limits::{MAX_METRICS_CONNECTIONS, METRICS_DEADLINE};
use bytes::Bytes;
use http::header::{ALLOW, CONTENT_TYPE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tracing::warn;

use crate::daemon::config::MetricsAddress;
use crate::hooks::metrics::{self, Metrics};
use crate::hooks::socket::{self, SocketError};

/// Why nobody can ask for the metrics.
#[derive(Debug, Error)]
pub(super) enum EndpointError {
    /// The port cannot be had.
    #[error("metrics_listen: {address}: {error}")]
    Port {
        /// The address and port.
        address: std::net::SocketAddr,
        /// What the system says.
        error: io::Error,
    },
    /// The socket cannot be had.
    #[error("metrics_listen: {0}")]
    Socket(#[from] SocketError),
}

/// Where Prometheus asks.
pub(super) enum Endpoint {
    Port(TcpListener),
    Socket(UnixListener),
}

impl Endpoint {
    /// Binds the address; a socket gets the mode.
    ///
    /// # Errors
    ///
    /// When it is in use or may not be bound.
    pub(super) async fn bind(address: &MetricsAddress, mode: u32) -> Result<Self, EndpointError> {
        match address {
            MetricsAddress::Loopback(address) => match TcpListener::bind(address).await {
                Ok(listener) => Ok(Self::Port(listener)),
                Err(error) => Err(EndpointError::Port {
                    address: *address,
                    error,
                }),
            },
            MetricsAddress::Unix(path) => Ok(Self::Socket(socket::bind(path, mode)?)),
        }
    }

    /// Answers for as long as the daemon runs. Whoever asks more than [`MAX_METRICS_CONNECTIONS`] at once waits.
    pub(super) async fn serve(self, metrics: Metrics) {
        let slots = Arc::new(Semaphore::new(MAX_METRICS_CONNECTIONS));
        loop {
            // It is never closed.
            let Ok(slot) = slots.clone().acquire_owned().await else {
                return;
            };
            let accepted = match &self {
                Self::Port(listener) => (listener.accept().await)
                    .map(|(stream, _)| drop(tokio::spawn(answer(stream, metrics.clone(), slot)))),
                Self::Socket(listener) => (listener.accept().await)
                    .map(|(stream, _)| drop(tokio::spawn(answer(stream, metrics.clone(), slot)))),
            };
            if let Err(error) = accepted {
                // Out of descriptors, or the peer was gone already: neither lasts, and neither may spin.
                warn!("a connection that asks for the metrics failed: {error}");
                tokio::time::sleep(METRICS_DEADLINE).await;
            }
        }
    }
}

/// One connection, one answer; the slot is for as long as it takes.
async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, metrics: Metrics, _slot: OwnedSemaphorePermit) {
    let service = service_fn(move |request: Request<hyper::body::Incoming>| {
        let response = response(request.method(), request.uri().path(), &metrics);
        async move { Ok::<_, Infallible>(response) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .keep_alive(false)
        .max_buf_size(MAX_REQUEST_HEAD)
        .serve_connection(TokioIo::new(stream), service);
    // Who breaks off or is too slow gets no metrics.
    let _ = tokio::time::timeout(METRICS_DEADLINE, connection).await;
}

/// hyper's least. The answer is not held to it.
const MAX_REQUEST_HEAD: usize = 8192;

fn response(method: &Method, path: &str, metrics: &Metrics) -> Response<Full<Bytes>> {
    if path != "/metrics" {
        return text(StatusCode::NOT_FOUND, "the metrics are at /metrics\n");
    }
    if !matches!(*method, Method::GET | Method::HEAD) {
        let mut refused = text(StatusCode::METHOD_NOT_ALLOWED, "");
        refused
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return refused;
    }
    let mut answer = Response::new(Full::from(metrics.render(Timestamp::now())));
    let content_type = HeaderValue::from_static(metrics::CONTENT_TYPE);
    answer.headers_mut().insert(CONTENT_TYPE, content_type);
    answer
}

fn text(status: StatusCode, text: &'static str) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::from(text));
    *response.status_mut() = status;
    let content_type = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(CONTENT_TYPE, content_type);
    response
}
