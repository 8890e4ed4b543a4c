//! The registry's side of the distribution specification, over the content in memory.

use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{StreamExt as _, stream};
use http::header::{
    ACCEPT, AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HeaderValue, LINK, LOCATION, RETRY_AFTER, USER_AGENT,
    WWW_AUTHENTICATE,
};
use http::{HeaderName, Method, Request, Response, StatusCode};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use serde_json::{Value, json};
use url::form_urlencoded;

use super::access_log::{self, AccessLog, Kind};
use super::content::{Content, OCI_INDEX, has_digest};
use super::fault::{Fault, Faults};
use super::login::{self, Login, TokenIssuer};
use super::page::{self, Pages};

const CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");
const FILTERS_APPLIED: HeaderName = HeaderName::from_static("oci-filters-applied");
const SUBJECT: HeaderName = HeaderName::from_static("oci-subject");
/// The size of the pieces of a slow or huge body.
const PIECE: usize = 16 * 1024;

/// The body broke off, or the connection is to be reset: hyper then gives up the connection.
#[derive(Debug, thiserror::Error)]
#[error("broken off on purpose")]
pub(super) struct BrokenOff;

pub(super) type Body = BoxBody<Bytes, BrokenOff>;

/// What all connections of one registry share.
#[derive(Debug, Default)]
pub(super) struct Shared {
    pub(super) content: Content,
    pub(super) log: AccessLog,
    pub(super) faults: Faults,
    pub(super) pages: Pages,
    pub(super) login: Mutex<Login>,
    pub(super) tokens: Mutex<Option<TokenIssuer>>,
    uploads: Mutex<HashMap<String, Vec<u8>>>,
    uploads_begun: AtomicU64,
}

/// What a path asks for.
#[derive(Debug, PartialEq, Eq)]
enum Route<'a> {
    Base,
    Manifest {
        repository: &'a str,
        reference: &'a str,
    },
    Blob {
        repository: &'a str,
        digest: &'a str,
    },
    Referrers {
        repository: &'a str,
        digest: &'a str,
    },
    Upload {
        repository: &'a str,
        session: Option<&'a str>,
    },
    Tags {
        repository: &'a str,
    },
    Token,
    Other,
}

impl<'a> Route<'a> {
    fn of(path: &'a str) -> Self {
        if path == "/token" {
            return Self::Token;
        }
        let Some(path) = path.strip_prefix("/v2/") else {
            return if path == "/v2" { Self::Base } else { Self::Other };
        };
        if path.is_empty() {
            return Self::Base;
        }
        if let Some(repository) = path.strip_suffix("/tags/list") {
            return Self::Tags { repository };
        }
        if let Some((repository, session)) = path.rsplit_once("/blobs/uploads/") {
            return Self::Upload {
                repository,
                session: Some(session).filter(|session| !session.is_empty()),
            };
        }
        if let Some((repository, digest)) = path.rsplit_once("/blobs/") {
            return Self::Blob { repository, digest };
        }
        if let Some((repository, reference)) = path.rsplit_once("/manifests/") {
            return Self::Manifest { repository, reference };
        }
        if let Some((repository, digest)) = path.rsplit_once("/referrers/") {
            return Self::Referrers { repository, digest };
        }
        Self::Other
    }

    fn repository(&self) -> Option<&'a str> {
        match self {
            Self::Manifest { repository, .. }
            | Self::Blob { repository, .. }
            | Self::Referrers { repository, .. }
            | Self::Upload { repository, .. }
            | Self::Tags { repository } => Some(repository),
            Self::Base | Self::Token | Self::Other => None,
        }
    }

    fn kind(&self, content: &Content) -> Kind {
        match self {
            Self::Base => Kind::Base,
            Self::Manifest { .. } => Kind::Manifest,
            Self::Blob { repository, digest } if content.is_layer(repository, digest) => Kind::Layer,
            Self::Blob { .. } => Kind::Blob,
            Self::Referrers { .. } => Kind::Referrers,
            Self::Upload { .. } => Kind::Upload,
            Self::Tags { .. } => Kind::Tags,
            Self::Token => Kind::Token,
            Self::Other => Kind::Other,
        }
    }
}

impl Shared {
    /// Logs a request, answers it and spoils the answer as told.
    pub(super) async fn serve(&self, connection: u64, request: Request<Incoming>) -> Result<Response<Body>, BrokenOff> {
        let uri = request.uri().clone();
        let route = Route::of(uri.path());
        let kind = route.kind(&self.content);
        let header = |name| joined(request.headers(), name);
        let number = self.log.arrive(access_log::Request {
            at: Instant::now(),
            connection,
            method: request.method().to_string(),
            path: uri.path().to_owned(),
            query: uri.query().unwrap_or_default().to_owned(),
            kind,
            repository: route.repository().map(str::to_owned),
            authorization: header(AUTHORIZATION),
            accept: header(ACCEPT),
            user_agent: header(USER_AGENT),
            status: None,
            duration: None,
        });

        let faults = self.faults.of(kind, uri.path());
        let mut replacement = None;
        for fault in &faults {
            match fault {
                Fault::Delay(time) => tokio::time::sleep(*time).await,
                Fault::Reset => return Err(BrokenOff),
                _ => replacement = replacement.or_else(|| replace(fault, &uri, kind)),
            }
        }
        let is_head = request.method() == Method::HEAD;
        let answer = match replacement {
            Some(answer) => answer,
            None => self.answer(&route, request, &faults).await,
        };
        self.log.answered(number, answer.status().as_u16());
        Ok(if is_head {
            without_body(answer)
        } else {
            spoil(answer, &faults).await
        })
    }

    async fn answer(&self, route: &Route<'_>, request: Request<Incoming>, faults: &[Fault]) -> Response<Body> {
        let (head, body) = request.into_parts();
        let authorization = joined(&head.headers, AUTHORIZATION);
        let query = Query::of(&head.uri);
        if let Some(page) = self.pages.of(head.uri.path()) {
            // A client that breaks off its request gets no answer that matters.
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let page::Answer {
                status,
                content_type,
                body,
            } = page.answer(head.method, head.uri.path(), body).await;
            return respond(status, &content_type, body);
        }
        if *route == Route::Token {
            let body = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
            let form = Query::parse(&body);
            if head.method == Method::POST && form.get("grant_type") == Some("refresh_token") {
                let proof = form.get("refresh_token").map(login::refresh);
                return self.token(proof.as_deref(), &form);
            }
            return self.token(authorization.as_deref(), &query);
        }
        let reads = head.method == Method::GET || head.method == Method::HEAD;
        let login = self.login.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let action = if reads { "pull" } else { "push" };
        if let Some(challenge) = login.refusal(authorization.as_deref(), route.repository().unwrap_or_default(), action)
        {
            return with(failure(StatusCode::UNAUTHORIZED), WWW_AUTHENTICATE, &challenge);
        }
        // A client that breaks off its upload gets no answer that matters.
        let body = if reads {
            Bytes::new()
        } else {
            body.collect().await.map(|b| b.to_bytes()).unwrap_or_default()
        };

        match (head.method.as_str(), route) {
            ("GET" | "HEAD", Route::Base) => respond(StatusCode::OK, "application/json", "{}"),
            ("GET" | "HEAD", Route::Manifest { repository, reference }) => {
                let Some((digest, manifest)) = self.content.manifest(repository, reference) else {
                    return failure(StatusCode::NOT_FOUND);
                };
                with(
                    respond(StatusCode::OK, &manifest.media_type, manifest.bytes),
                    CONTENT_DIGEST,
                    &digest,
                )
            }
            ("PUT", Route::Manifest { repository, reference }) => {
                let media_type = joined(&head.headers, CONTENT_TYPE).unwrap_or_default();
                self.put_manifest(repository, reference, &media_type, body)
            }
            ("GET" | "HEAD", Route::Blob { repository, digest }) => match self.content.blob(repository, digest) {
                Some(blob) => with(
                    respond(StatusCode::OK, "application/octet-stream", blob),
                    CONTENT_DIGEST,
                    digest,
                ),
                None => failure(StatusCode::NOT_FOUND),
            },
            (
                "DELETE",
                Route::Manifest {
                    repository,
                    reference: name,
                }
                | Route::Blob {
                    repository,
                    digest: name,
                },
            ) => {
                let status = if self.content.remove(repository, name) {
                    StatusCode::ACCEPTED
                } else {
                    StatusCode::NOT_FOUND
                };
                respond(status, "text/plain", "")
            }
            ("GET", Route::Referrers { repository, digest }) => self.referrers(repository, digest, &query, faults),
            ("GET", Route::Tags { repository }) => match self.content.tags(repository) {
                Some(tags) => {
                    let list = json!({ "name": repository, "tags": tags });
                    respond(StatusCode::OK, "application/json", list.to_string())
                }
                None => failure(StatusCode::NOT_FOUND),
            },
            (method, Route::Upload { repository, session }) => self.upload(method, repository, *session, &query, body),
            _ => failure(StatusCode::NOT_FOUND),
        }
    }

    fn put_manifest(&self, repository: &str, reference: &str, media_type: &str, body: Bytes) -> Response<Body> {
        let digest = if reference.contains(':') {
            if !has_digest(&body, reference) {
                return failure(StatusCode::BAD_REQUEST);
            }
            self.content.put_manifest_as(repository, reference, media_type, body);
            reference.to_owned()
        } else {
            let digest = self.content.put_manifest(repository, media_type, body);
            self.content.tag(repository, reference, &digest);
            digest
        };
        let created = respond(StatusCode::CREATED, "text/plain", "");
        let created = with(created, LOCATION, &format!("/v2/{repository}/manifests/{digest}"));
        let created = with(created, CONTENT_DIGEST, &digest);
        match self
            .content
            .manifest(repository, &digest)
            .and_then(|(_, manifest)| manifest.subject)
        {
            Some(subject) => with(created, SUBJECT, &subject),
            None => created,
        }
    }

    /// Uploads in one request, in two, or in pieces (distribution-spec, pushing blobs).
    fn upload(
        &self,
        method: &str,
        repository: &str,
        session: Option<&str>,
        query: &Query,
        body: Bytes,
    ) -> Response<Body> {
        let mut uploads = self.uploads.lock().unwrap_or_else(PoisonError::into_inner);
        let finish = |content: Vec<u8>, digest: &str| {
            if !has_digest(&content, digest) {
                return failure(StatusCode::BAD_REQUEST);
            }
            self.content.put_blob_as(repository, digest, content);
            let created = respond(StatusCode::CREATED, "text/plain", "");
            let created = with(created, LOCATION, &format!("/v2/{repository}/blobs/{digest}"));
            with(created, CONTENT_DIGEST, digest)
        };
        let session = match (method, session) {
            ("POST", None) => {
                if let Some(digest) = query.get("digest") {
                    return finish(body.to_vec(), digest);
                }
                let session = self.uploads_begun.fetch_add(1, Ordering::Relaxed).to_string();
                uploads.insert(session.clone(), vec![]);
                session
            }
            ("PATCH", Some(session)) => match uploads.get_mut(session) {
                Some(content) => {
                    content.extend_from_slice(&body);
                    session.to_owned()
                }
                None => return failure(StatusCode::NOT_FOUND),
            },
            ("PUT", Some(session)) => match (uploads.remove(session), query.get("digest")) {
                (Some(mut content), Some(digest)) => {
                    content.extend_from_slice(&body);
                    return finish(content, digest);
                }
                _ => return failure(StatusCode::NOT_FOUND),
            },
            _ => return failure(StatusCode::METHOD_NOT_ALLOWED),
        };
        let length = uploads.get(&session).map_or(0, Vec::len);
        let accepted = respond(StatusCode::ACCEPTED, "text/plain", "");
        let accepted = with(accepted, LOCATION, &format!("/v2/{repository}/blobs/uploads/{session}"));
        with(
            accepted,
            http::header::RANGE,
            &format!("0-{}", length.saturating_sub(1)),
        )
    }

    fn referrers(&self, repository: &str, digest: &str, query: &Query, faults: &[Fault]) -> Response<Body> {
        let mut found = self.content.referrers(repository, digest);
        if faults.iter().any(|fault| matches!(fault, Fault::EmptyReferrers)) {
            found.clear();
        }
        let wanted = query.get("artifactType");
        found.retain(|descriptor| wanted.is_none_or(|wanted| descriptor["artifactType"] == wanted));

        let start = query.get("last").and_then(|last| last.parse().ok()).unwrap_or(0_usize);
        let endless = faults.iter().any(|fault| matches!(fault, Fault::EndlessPages));
        let per_page = faults.iter().find_map(|fault| match fault {
            Fault::Pages(per_page) => Some(*per_page),
            Fault::EndlessPages => Some(1),
            _ => None,
        });
        let per_page = per_page.unwrap_or(usize::MAX);
        let next = start.saturating_add(per_page);
        let more = endless || next < found.len();
        let page: Vec<_> = match endless {
            true => vec![junk_descriptor(start)],
            false => found.into_iter().skip(start).take(per_page).collect(),
        };
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": page });
        let mut answer = respond(StatusCode::OK, OCI_INDEX, index.to_string());
        if let Some(wanted) = wanted {
            answer = with(answer, FILTERS_APPLIED, "artifactType");
            if more {
                let wanted: String = form_urlencoded::byte_serialize(wanted.as_bytes()).collect();
                let link = format!("/v2/{repository}/referrers/{digest}?artifactType={wanted}&last={next}");
                answer = with(answer, LINK, &format!("<{link}>; rel=\"next\""));
            }
        } else if more {
            let link = format!("</v2/{repository}/referrers/{digest}?last={next}>; rel=\"next\"");
            answer = with(answer, LINK, &link);
        }
        answer
    }

    fn token(&self, authorization: Option<&str>, query: &Query) -> Response<Body> {
        let issuer = self.tokens.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let Some(issuer) = issuer else {
            return failure(StatusCode::NOT_FOUND);
        };
        match issuer.issue(authorization, query.all("scope")) {
            Some(token) => {
                let answer = json!({ "token": token, "access_token": token, "expires_in": 300 });
                respond(StatusCode::OK, "application/json", answer.to_string())
            }
            None => failure(StatusCode::UNAUTHORIZED),
        }
    }
}

/// A descriptor of a signature that is nowhere, different for each number.
fn junk_descriptor(number: usize) -> Value {
    json!({
        "mediaType": super::OCI_MANIFEST,
        "digest": super::sha256(format!("junk {number}").as_bytes()),
        "size": 700,
        "artifactType": super::NOTATION_SIGNATURE,
    })
}

/// The answer that takes the place of the true one.
fn replace(fault: &Fault, uri: &http::Uri, kind: Kind) -> Option<Response<Body>> {
    Some(match fault {
        Fault::Status(status) => failure(*status),
        Fault::TooManyRequests { retry_after } => with(
            failure(StatusCode::TOO_MANY_REQUESTS),
            RETRY_AFTER,
            &retry_after.as_secs().to_string(),
        ),
        Fault::Challenge(challenge) => with(failure(StatusCode::UNAUTHORIZED), WWW_AUTHENTICATE, challenge),
        Fault::RedirectLoop => {
            let turn = Query::of(uri)
                .get("turn")
                .and_then(|turn| turn.parse().ok())
                .unwrap_or(0_u64)
                + 1;
            let to = format!("{}?turn={turn}", uri.path());
            with(respond(StatusCode::TEMPORARY_REDIRECT, "text/plain", ""), LOCATION, &to)
        }
        Fault::RedirectTo(base) => {
            let to = format!("{base}{}", uri.path_and_query().map_or("", |path| path.as_str()));
            with(respond(StatusCode::TEMPORARY_REDIRECT, "text/plain", ""), LOCATION, &to)
        }
        Fault::NoReferrersApi if kind == Kind::Referrers => {
            respond(StatusCode::NOT_FOUND, "text/plain", "404 page not found\n")
        }
        Fault::Huge { bytes } => {
            let pieces = stream::unfold(*bytes, |left| async move {
                let now = usize::try_from(left).map_or(PIECE, |left| left.min(PIECE));
                let piece = Bytes::from_static(SPACES.get(..now)?);
                (now > 0).then(|| (Ok(Frame::data(piece)), left - now as u64))
            });
            let mut answer = Response::new(BodyExt::boxed(StreamBody::new(pieces)));
            answer
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            answer
        }
        _ => return None,
    })
}

static SPACES: [u8; PIECE] = [b' '; PIECE];

/// Spoils the answer in every way that was asked for.
async fn spoil(answer: Response<Body>, faults: &[Fault]) -> Response<Body> {
    let mut answer = answer;
    for fault in faults {
        answer = match fault {
            Fault::ContentType(media_type) => with(answer, CONTENT_TYPE, media_type),
            Fault::WrongBytes => {
                let (head, bytes) = whole(answer).await;
                let mut bytes = bytes.to_vec();
                let middle = bytes.len() / 2;
                if let Some(byte) = bytes.get_mut(middle) {
                    *byte ^= 1;
                }
                Response::from_parts(head, full(bytes))
            }
            Fault::Truncate { after } => {
                let (mut head, bytes) = whole(answer).await;
                head.headers.insert(CONTENT_LENGTH, bytes.len().into());
                let sent = bytes.slice(..bytes.len().min(*after));
                let pieces = stream::iter([Ok(Frame::data(sent))]).chain(stream::once(async {
                    // What was sent must leave before the connection breaks.
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Err(BrokenOff)
                }));
                Response::from_parts(head, BodyExt::boxed(StreamBody::new(pieces)))
            }
            Fault::Slow { bytes_per_second } => {
                let (mut head, bytes) = whole(answer).await;
                head.headers.insert(CONTENT_LENGTH, bytes.len().into());
                // Ten pieces a second, or one byte at a time below that.
                let piece = usize::try_from(bytes_per_second / 10).unwrap_or(usize::MAX).max(1);
                let pause = Duration::from_secs_f64(piece as f64 / (*bytes_per_second).max(1) as f64);
                let pieces = stream::unfold(bytes, move |mut rest| async move {
                    if rest.is_empty() {
                        return None;
                    }
                    tokio::time::sleep(pause).await;
                    let now = rest.split_to(rest.len().min(piece));
                    Some((Ok(Frame::data(now)), rest))
                });
                Response::from_parts(head, BodyExt::boxed(StreamBody::new(pieces)))
            }
            _ => answer,
        };
    }
    answer
}

async fn whole(answer: Response<Body>) -> (http::response::Parts, Bytes) {
    let (head, body) = answer.into_parts();
    // Only a body that is meant to break off fails here.
    let bytes = body.collect().await.map(|body| body.to_bytes()).unwrap_or_default();
    (head, bytes)
}

fn without_body(mut answer: Response<Body>) -> Response<Body> {
    let length = hyper::body::Body::size_hint(answer.body()).exact();
    if let Some(length) = length {
        answer.headers_mut().insert(CONTENT_LENGTH, length.into());
    }
    *answer.body_mut() = full("");
    answer
}

fn respond(status: StatusCode, content_type: &str, body: impl Into<Bytes>) -> Response<Body> {
    let mut answer = Response::new(full(body));
    *answer.status_mut() = status;
    with(answer, CONTENT_TYPE, content_type)
}

/// An error body of the distribution specification.
fn failure(status: StatusCode) -> Response<Body> {
    let code = match status {
        StatusCode::UNAUTHORIZED => "UNAUTHORIZED",
        StatusCode::FORBIDDEN => "DENIED",
        StatusCode::NOT_FOUND => "MANIFEST_UNKNOWN",
        StatusCode::TOO_MANY_REQUESTS => "TOOMANYREQUESTS",
        StatusCode::BAD_REQUEST => "DIGEST_INVALID",
        _ => "UNKNOWN",
    };
    let message = status.canonical_reason().unwrap_or("error");
    let errors = json!({ "errors": [{ "code": code, "message": message }] });
    respond(status, "application/json", errors.to_string())
}

fn full(body: impl Into<Bytes>) -> Body {
    Full::new(body.into())
        .map_err(|never: Infallible| match never {})
        .boxed()
}

/// Sets a header, unless the value cannot be one.
fn with(mut answer: Response<Body>, name: HeaderName, value: &str) -> Response<Body> {
    if let Ok(value) = HeaderValue::from_str(value) {
        answer.headers_mut().insert(name, value);
    }
    answer
}

fn joined(headers: &http::HeaderMap, name: HeaderName) -> Option<String> {
    let values: Vec<_> = headers
        .get_all(name)
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    (!values.is_empty()).then(|| values.join(", "))
}

struct Query(Vec<(String, String)>);

impl Query {
    fn of(uri: &http::Uri) -> Self {
        Self::parse(uri.query().unwrap_or_default().as_bytes())
    }

    fn parse(text: &[u8]) -> Self {
        Self(form_urlencoded::parse(text).into_owned().collect())
    }

    fn get(&self, name: &str) -> Option<&str> {
        self.0
            .iter()
            .find(|(key, _)| key == name)
            .map(|(_, value)| value.as_str())
    }

    fn all(&self, name: &str) -> Vec<String> {
        let values = self.0.iter().filter(|(key, _)| key == name).map(|(_, value)| value);
        values.flat_map(|value| value.split(' ')).map(str::to_owned).collect()
    }
}
