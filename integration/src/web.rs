//! A web server for what certificates point at: CRLs, answers of OCSP responders, timestamps.

use std::time::Duration;

use anyhow::Result;
use bytes::Bytes;
use futures_util::FutureExt as _;
use http::{Method, StatusCode};

use crate::registry::page::{Answer, Page};
use crate::registry::{AccessLog, Fault, Registry, When};

/// Longer than any client waits.
const FOR_EVER: Duration = Duration::from_secs(60 * 60);

/// An HTTP/1.1 server on a loopback port of its own, until it is dropped. It is the registry's server without a
/// registry's content: it keeps the same access log (each request is of kind `Other`) and misbehaves in the same ways.
#[derive(Debug)]
pub struct WebServer {
    server: Registry,
}

impl WebServer {
    /// Starts a server that answers 404 to everything.
    ///
    /// # Errors
    ///
    /// No port could be opened.
    pub async fn start() -> Result<Self> {
        Ok(Self {
            server: Registry::start().await?,
        })
    }

    /// Where it listens: `127.0.0.1:5000`.
    pub fn host(&self) -> String {
        self.server.host()
    }

    /// The address of a path: `http://127.0.0.1:5000/leaf.crl` for `/leaf.crl`.
    pub fn url(&self, path: &str) -> String {
        format!("{}{path}", self.server.url())
    }

    /// Answers 200 with this body to every request for `path` and below from now on, whatever its method.
    pub fn serve(&self, path: &str, content_type: &str, body: impl Into<Bytes>) {
        self.serve_status(path, StatusCode::OK, content_type, body);
    }

    /// The same with another status.
    pub fn serve_status(&self, path: &str, status: StatusCode, content_type: &str, body: impl Into<Bytes>) {
        let answer = Answer {
            status,
            content_type: content_type.to_owned(),
            body: body.into(),
        };
        self.server.pages().put(path, Page::Fixed(answer));
    }

    /// Serves a CRL in DER (RFC 5280 §4.2.1.13, RFC 2585 §4.2).
    pub fn serve_crl(&self, path: &str, der: &[u8]) {
        self.serve(path, "application/pkix-crl", der.to_vec());
    }

    /// Serves one OCSP answer to whatever is asked below `path`: a replay.
    pub fn serve_ocsp(&self, path: &str, der: &[u8]) {
        self.serve(path, "application/ocsp-response", der.to_vec());
    }

    /// Answers with what `program` makes of method, rest of the path and body; with 500 and its error when it fails.
    pub(crate) fn serve_program<F>(
        &self,
        path: &str,
        content_type: &'static str,
        program: impl Fn(Method, String, Bytes) -> F + Send + Sync + 'static,
    ) where
        F: Future<Output = Result<Vec<u8>>> + Send + 'static,
    {
        let page = move |method, rest, body| {
            let made = program(method, rest, body);
            let answer = async move {
                match made.await {
                    Ok(body) => Answer {
                        status: StatusCode::OK,
                        content_type: content_type.to_owned(),
                        body: body.into(),
                    },
                    Err(error) => Answer {
                        status: StatusCode::INTERNAL_SERVER_ERROR,
                        content_type: "text/plain".to_owned(),
                        body: format!("{error:#}").into(),
                    },
                }
            };
            answer.boxed()
        };
        self.server.pages().put(path, Page::Program(std::sync::Arc::new(page)));
    }

    /// Answers 404 for `path` again.
    pub fn remove(&self, path: &str) {
        self.server.pages().remove(path);
    }

    /// What was asked of it.
    pub fn log(&self) -> &AccessLog {
        self.server.log()
    }

    /// How many requests were for `path` or below.
    pub fn requests(&self, path: &str) -> usize {
        let of_path = |asked: &str| {
            asked
                .strip_prefix(path)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        };
        let requests = self.log().requests();
        requests.iter().filter(|request| of_path(&request.path)).count()
    }

    /// Switches a fault on, beside those that are on.
    pub fn misbehave(&self, when: When, fault: Fault) {
        self.server.misbehave(when, fault);
    }

    /// Takes the requests that `when` names and never answers.
    pub fn hang(&self, when: When) {
        self.misbehave(when, Fault::Delay(FOR_EVER));
    }

    /// Adds a round-trip time to every request from now on.
    pub fn add_latency(&self, time: Duration) {
        self.server.add_latency(time);
    }

    /// Switches all faults off.
    pub fn behave(&self) {
        self.server.behave();
    }

    /// Stops serving at once: connections break, and new ones are refused.
    pub async fn stop(&mut self) {
        self.server.stop().await;
    }

    /// Serves again on the same port, with the same content and log.
    ///
    /// # Errors
    ///
    /// Somebody else took the port.
    pub async fn restart(&mut self) -> Result<()> {
        self.server.restart().await
    }
}
