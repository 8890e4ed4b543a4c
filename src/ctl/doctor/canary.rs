//! The live proof: an image that assayd always denies is pulled as the kubelet pulls, and must not arrive.
//!
//! containerd resolves a name before it asks its verifiers, so the name has to lead somewhere: to a registry on loopback that
//! serves the canary's manifest by its tag alone, for as long as the proof takes. What comes after the verifiers, the manifest by
//! its digest, is not there: also where nobody denies it, no canary arrives on the node.

use std::convert::Infallible;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use assay_verify::Timestamp;
use assay_verify::digest::Digest;
use assay_verify::limits::{CANARY_TIMEOUT, MAX_CANARY_REQUEST, MAX_OBSERVE_FLAG_SIZE};
use assay_verify::untrusted::Untrusted;
use bytes::Bytes;
use http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use http::{Method, Request, Response, StatusCode};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use serde_json::json;
use tokio::net::TcpListener;
use uuid::Uuid;

use super::finding::{Finding, Kind};
use crate::admission::Hook;
use crate::admission::canary::CANARY;
use crate::ctl::connect_to;
use crate::ctl::node::command;
use crate::ctl::node::containerd::Containerd;
use crate::ctl::node::cri::Cri;
use crate::ctl::node::hook_files::{HookFiles, RootFile};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Where journald listens; without it there is no journal to look into.
const JOURNAL: &str = "/run/systemd/journal/socket";
/// journald writes what it is told a moment later.
const JOURNAL_TRIES: u32 = 20;
const JOURNAL_PAUSE: Duration = Duration::from_millis(100);

/// The registry on loopback, and what it was asked.
struct Registry {
    tag: String,
    manifest: Bytes,
    digest: Digest,
    /// The name was resolved.
    resolved: AtomicBool,
    /// Something was asked for that comes after the verifiers.
    went_on: AtomicBool,
}

impl Registry {
    fn new(tag: Uuid) -> Self {
        let empty = Digest::sha256(b"{}").to_string();
        // The tag makes it another manifest each time: no decision of before can be mistaken for this one.
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": empty, "size": 2 },
            "layers": [],
            "annotations": { "invalid.assayd.canary": tag.to_string() },
        });
        let manifest = Bytes::from(manifest.to_string());
        Self {
            tag: tag.to_string(),
            digest: Digest::sha256(&manifest),
            manifest,
            resolved: AtomicBool::new(false),
            went_on: AtomicBool::new(false),
        }
    }

    fn answer(&self, method: &Method, path: &str) -> Response<Full<Bytes>> {
        let by_tag = format!("/v2/{CANARY}/manifests/{}", self.tag);
        let mut response = Response::new(Full::default());
        if path == by_tag {
            self.resolved.store(true, Ordering::SeqCst);
            let headers = response.headers_mut();
            headers.insert(CONTENT_TYPE, http::HeaderValue::from_static(MANIFEST));
            headers.insert(CONTENT_LENGTH, self.manifest.len().into());
            if let Ok(digest) = self.digest.to_string().parse() {
                headers.insert("docker-content-digest", digest);
            }
            if *method == Method::GET {
                *response.body_mut() = Full::new(self.manifest.clone());
            }
        } else if path.starts_with(&format!("/v2/{CANARY}/manifests/sha")) || path.contains("/blobs/") {
            self.went_on.store(true, Ordering::SeqCst);
            *response.status_mut() = StatusCode::NOT_FOUND;
        } else if path != "/v2/" {
            *response.status_mut() = StatusCode::NOT_FOUND;
        }
        response
    }

    async fn serve(self: Arc<Self>, listener: TcpListener) {
        while let Ok((stream, _)) = listener.accept().await {
            let registry = self.clone();
            let answer = move |request: Request<Incoming>| {
                let response = registry.answer(request.method(), request.uri().path());
                async move { Ok::<_, Infallible>(response) }
            };
            tokio::spawn(async move {
                let mut http = hyper::server::conn::http1::Builder::new();
                // A connection that breaks is one that containerd makes again, or a proof that fails.
                let _ = http
                    .max_buf_size(MAX_CANARY_REQUEST)
                    .serve_connection(TokioIo::new(stream), service_fn(answer))
                    .await;
            });
        }
    }
}

/// What came of the pull.
#[derive(Debug, PartialEq)]
enum Outcome {
    /// containerd asked no registry on this machine for it.
    NotResolved,
    /// It was on its way to be fetched.
    WentOn,
    /// A verifier refused it, with assayd's decision.
    Denied(Uuid),
    /// It was refused without a decision of assayd's.
    DeniedOtherwise,
}

fn outcome(resolved: bool, went_on: bool, pulled: &Result<(), String>) -> Outcome {
    match pulled {
        _ if went_on => Outcome::WentOn,
        // It cannot have arrived; if it did, nobody stopped it.
        Ok(()) => Outcome::WentOn,
        Err(_) if !resolved => Outcome::NotResolved,
        Err(message) => decision(message).map_or(Outcome::DeniedOtherwise, Outcome::Denied),
    }
}

/// The decision's identifier, which the hook prints at the end of its line.
fn decision(message: &str) -> Option<Uuid> {
    let (_, after) = message.rsplit_once("decision ")?;
    after.get(..36)?.parse().ok()
}

/// Makes the proof, and says in a line what it is.
pub(super) async fn prove(
    control: Option<&Path>,
    containerd: &Containerd,
    files: &HookFiles,
) -> Result<String, Box<Finding>> {
    let socket = &containerd.effective.grpc.address;
    let found = |kind, facts: String, mend: &str| Box::new(Finding::new(kind, facts, mend));
    let cri = Cri::connect(socket).await;
    let cri = cri.map_err(|error| found(Kind::CriAway, error.to_string(), "systemctl status containerd"))?;
    let not_asked = |facts: String| {
        let mend = "Look for a mirror of everything in certs.d/_default/hosts.toml, and at the limits of loopback; then run the doctor \
                    again.";
        found(Kind::CanaryNotAsked, facts, mend)
    };
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await;
    let listener = listener.map_err(|error| not_asked(format!("127.0.0.1: {error}")))?;
    let host = listener.local_addr().map_err(|error| not_asked(error.to_string()))?;
    let registry = Arc::new(Registry::new(Uuid::now_v7()));
    let serving = tokio::spawn(registry.clone().serve(listener));
    let began = Timestamp::now();
    let pulled = cri.pull(&format!("{host}/{CANARY}:{}", registry.tag)).await;
    serving.abort();

    let said = pulled.as_ref().err().map_or_else(
        || "the pull succeeded".to_owned(),
        |said| Untrusted::new(said).to_string(),
    );
    let (resolved, went_on) = (
        registry.resolved.load(Ordering::SeqCst),
        registry.went_on.load(Ordering::SeqCst),
    );
    let asked = asked_since(control, began).await;
    match outcome(resolved, went_on, &pulled) {
        Outcome::NotResolved => Err(not_asked(said)),
        Outcome::WentOn => {
            let observes = matches!(
                RootFile::read(&files.observe_flag, MAX_OBSERVE_FLAG_SIZE),
                RootFile::Read(_)
            );
            if observes && asked {
                return Ok("assayd was asked about the canary, and the hook observes".to_owned());
            }
            let mend = "Mend what is found above, restart containerd, and run the doctor again.";
            Err(found(
                Kind::CanaryAdmitted,
                "containerd went on to fetch the canary".to_owned(),
                mend,
            ))
        }
        Outcome::DeniedOtherwise => {
            let mend = "journalctl -u containerd -n 50\nsystemctl status assayd";
            Err(found(Kind::CanaryDeniedOtherwise, said, mend))
        }
        Outcome::Denied(_) if !asked => {
            let facts = format!("this assayd was not asked, another one was: {said}");
            let mend =
                "Compare ASSAYD_VERIFIER_SOCKET of containerd's environment with verifier_socket of config.toml.";
            Err(found(Kind::CanaryDeniedOtherwise, facts, mend))
        }
        Outcome::Denied(id) => journal(id).await.map_err(Box::new),
    }
}

/// Whether the daemon heard of containerd's hook since a time.
async fn asked_since(control: Option<&Path>, began: Timestamp) -> bool {
    let Ok(mut client) = connect_to(control).await else {
        return false;
    };
    let status = client.status().await;
    let last = status.ok().and_then(|status| {
        status
            .last_verdict_at
            .get(Hook::ContainerdImageVerifier.as_str())
            .copied()
    });
    last.is_some_and(|last| last >= began.as_second())
}

/// Looks for the decision in the journal.
async fn journal(id: Uuid) -> Result<String, Finding> {
    if !Path::new(JOURNAL).exists() {
        return Ok(format!(
            "the canary was denied by decision {id}; this node has no journal"
        ));
    }
    let arguments = [
        "--quiet",
        "--output=cat",
        "--lines=1",
        &format!("ASSAY_DECISION_ID={id}"),
    ]
    .map(str::to_owned);
    for _ in 0..JOURNAL_TRIES {
        match command::output(Path::new("journalctl"), &arguments).await {
            Ok(found) if !found.trim().is_empty() => {
                return Ok(format!(
                    "the canary was denied by decision {id}, and the journal has it"
                ));
            }
            Err(error) if error.is_absent() => {
                return Ok(format!(
                    "the canary was denied by decision {id}; there is no journalctl to look for it"
                ));
            }
            _ => tokio::time::sleep(JOURNAL_PAUSE).await,
        }
    }
    let mend = format!(
        "journalctl ASSAY_DECISION_ID={id}\nlog of config.toml is \"auto\" or \"journald\"; systemctl status systemd-journald"
    );
    Err(Finding::new(Kind::CanaryNotRecorded, format!("decision {id}"), mend))
}

const _: () = assert!(CANARY_TIMEOUT.as_secs() > 10);

#[cfg(test)]
mod tests {
    use super::*;

    const DENIED: &str = "failed to pull and unpack image \"127.0.0.1:1/assayd.invalid/canary:x\": image verifier bindir blocked \
                          pull of x with digest y for reason: verifier assay-verifier rejected image (exit code 1): DENY canary: \
                          no (policy r1, decision 0199f0c2-5e2a-7000-8000-000000000001)";

    #[test]
    fn only_a_denial_with_a_decision_of_assayds_proves_the_hook() {
        let denied = || Err(DENIED.to_owned());
        let id: Uuid = "0199f0c2-5e2a-7000-8000-000000000001".parse().unwrap();
        let away = || Err("rejected image (exit code 1): DENY daemon-unavailable: no socket".to_owned());
        for (resolved, went_on, pulled, expected) in [
            (true, false, denied(), Outcome::Denied(id)),
            (true, false, away(), Outcome::DeniedOtherwise),
            (true, false, Err("decision \u{e9}".to_owned()), Outcome::DeniedOtherwise),
            (true, true, Err("not found".to_owned()), Outcome::WentOn),
            (true, true, denied(), Outcome::WentOn),
            (true, false, Ok(()), Outcome::WentOn),
            (false, false, Err("no such host".to_owned()), Outcome::NotResolved),
        ] {
            assert_eq!(outcome(resolved, went_on, &pulled), expected, "{pulled:?}");
        }
    }

    #[test]
    fn the_canary_is_resolved_by_its_tag_and_never_served_by_its_digest() {
        let registry = Registry::new(Uuid::now_v7());
        let path = |reference: &str| format!("/v2/{CANARY}/manifests/{reference}");
        let head = registry.answer(&Method::HEAD, &path(&registry.tag));
        assert_eq!(head.headers()["docker-content-digest"], registry.digest.to_string());
        assert_eq!(head.headers()[CONTENT_LENGTH], registry.manifest.len().to_string());
        assert!(registry.resolved.load(Ordering::SeqCst) && !registry.went_on.load(Ordering::SeqCst));
        let fetched = registry.answer(&Method::GET, &path(&registry.digest.to_string()));
        assert_eq!(fetched.status(), StatusCode::NOT_FOUND);
        assert!(registry.went_on.load(Ordering::SeqCst));
    }
}
