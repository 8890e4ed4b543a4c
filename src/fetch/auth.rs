//! Logins: anonymous, basic (RFC 7617), and tokens (distribution specification: Docker token authentication).
//!
//! Credentials belong to one registry. They are sent to that host, to a token server on that host, and to token servers
//! that the configuration names for it; any other token server is asked without them, because a realm on another host is
//! how credentials are stolen (CVE-2026-33540). They never travel over plain HTTP unless the registry itself does.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue, StatusCode};
use serde::Deserialize;
use tokio::time::Instant;
use url::Url;

use assay_verify::limits::{MAX_CACHED_TOKENS, MAX_TOKEN_LIFETIME, MAX_TOKEN_RESPONSE_SIZE};
use assay_verify::reference::{DOCKER_HUB, Repository};
use assay_verify::untrusted::Untrusted;

use super::body;
use super::budget::Budget;
use super::count::Purpose;
use super::error::FetchError;
use super::host::{Host, authority};
use super::transport;
use crate::credential::{Identity, Secret};

/// Docker Hub's token server, the one known pair of registry and token server on different hosts.
const DOCKER_HUB_REALM: &str = "auth.docker.io";

/// The life of a token that does not say (Docker token specification: `expires_in`).
const DEFAULT_TOKEN_LIFETIME: Duration = Duration::from_secs(60);

/// What a registry wants, as its last challenge said, and the tokens got so far.
#[derive(Default)]
pub(super) struct Authenticator {
    scheme: Mutex<Option<Scheme>>,
    tokens: Mutex<HashMap<Box<str>, TokenSlot>>,
}

/// The token of one scope. Whoever holds the lock fetches for all who wait.
type TokenSlot = Arc<tokio::sync::Mutex<Option<Token>>>;

#[derive(Clone, Debug, PartialEq, Eq)]
enum Scheme {
    Basic,
    Bearer(TokenServer),
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct TokenServer {
    realm: Url,
    service: Option<Box<str>>,
}

struct Token {
    header: HeaderValue,
    expires: Instant,
}

// No Debug: it holds the token.
#[derive(Deserialize)]
struct TokenAnswer {
    token: Option<String>,
    access_token: Option<String>,
    expires_in: Option<u64>,
}

impl Authenticator {
    /// The header that the registry is known to want, so that a challenge costs no round trip.
    pub(super) async fn prepare(
        &self,
        registry: &Host,
        repository: &Repository,
        budget: &Budget,
    ) -> Result<Option<HeaderValue>, FetchError> {
        let scheme = lock(&self.scheme).clone();
        match scheme {
            None => Ok(None),
            Some(Scheme::Basic) => Ok(registry.identity(repository).await?.as_ref().and_then(basic)),
            Some(Scheme::Bearer(server)) => {
                let token = self.token(registry, &server, repository, None, budget).await;
                if token.is_err() {
                    // The next request asks the registry again which token server it wants.
                    *lock(&self.scheme) = None;
                }
                token.map(Some)
            }
        }
    }

    /// The header that answers a challenge. `rejected` is what the request already carried.
    pub(super) async fn respond(
        &self,
        registry: &Host,
        repository: &Repository,
        challenges: &[String],
        rejected: Option<HeaderValue>,
        detail: Option<Untrusted>,
        budget: &Budget,
    ) -> Result<HeaderValue, FetchError> {
        let refused = async |detail| FetchError::AccessRefused {
            registry: registry.name.clone(),
            status: StatusCode::UNAUTHORIZED.as_u16(),
            detail,
            withheld_from: self.withheld_from(registry, repository).await,
        };
        let Some(scheme) = choose(registry, challenges)? else {
            return Err(refused(detail).await);
        };
        self.remember(&scheme);
        match scheme {
            Scheme::Basic => {
                let mut header = registry.identity(repository).await?.as_ref().and_then(basic);
                if header.is_some() && header == rejected {
                    // A program may have newer ones than those that are remembered.
                    registry.forget_identity(repository);
                    header = registry.identity(repository).await?.as_ref().and_then(basic);
                }
                match header {
                    Some(header) if rejected.as_ref() != Some(&header) => Ok(header),
                    _ => Err(refused(detail).await),
                }
            }
            Scheme::Bearer(server) => {
                self.token(registry, &server, repository, rejected.as_ref(), budget)
                    .await
            }
        }
    }

    /// The token server that gets no credentials although some are configured.
    pub(super) async fn withheld_from(&self, registry: &Host, repository: &Repository) -> Option<Box<str>> {
        let realm = match &*lock(&self.scheme) {
            Some(Scheme::Bearer(server)) if !is_trusted(registry, &server.realm) => authority(&server.realm),
            _ => return None,
        };
        registry.identity(repository).await.ok()??;
        Some(realm.into())
    }

    fn remember(&self, scheme: &Scheme) {
        let mut remembered = lock(&self.scheme);
        if remembered.as_ref() != Some(scheme) {
            *remembered = Some(scheme.clone());
            lock(&self.tokens).clear();
        }
    }

    async fn token(
        &self,
        registry: &Host,
        server: &TokenServer,
        repository: &Repository,
        rejected: Option<&HeaderValue>,
        budget: &Budget,
    ) -> Result<HeaderValue, FetchError> {
        let slot = self.slot(repository);
        let mut cached = slot.lock().await;
        if let Some(token) = &*cached
            && token.expires > Instant::now()
            && Some(&token.header) != rejected
        {
            return Ok(token.header.clone());
        }
        let token = fetch_token(registry, server, repository, budget).await?;
        let header = token.header.clone();
        *cached = Some(token);
        Ok(header)
    }

    fn slot(&self, repository: &Repository) -> TokenSlot {
        let mut tokens = lock(&self.tokens);
        if tokens.len() >= MAX_CACHED_TOKENS {
            // Those in use stay; the others cost one request each when they are needed again.
            tokens.retain(|_, slot| Arc::strong_count(slot) > 1);
        }
        Arc::clone(tokens.entry(repository.path().into()).or_default())
    }
}

/// The challenge that is answered: a token before basic, as other clients prefer.
fn choose(registry: &Host, challenges: &[String]) -> Result<Option<Scheme>, FetchError> {
    let refuse = |cause: String| FetchError::Challenge {
        registry: registry.name.clone(),
        cause: cause.into(),
    };
    let mut chosen = None;
    for text in challenges {
        let parsed =
            http_auth::parse_challenges(text).map_err(|_| refuse(format!("malformed WWW-Authenticate: {text}")))?;
        for challenge in parsed {
            let parameter = |name: &str| {
                challenge
                    .params
                    .iter()
                    .find(|(key, _)| key.eq_ignore_ascii_case(name))
                    .map(|(_, value)| value.to_unescaped())
            };
            if challenge.scheme.eq_ignore_ascii_case("bearer") {
                let realm = parameter("realm").ok_or_else(|| refuse("a token server without realm".to_owned()))?;
                return Ok(Some(Scheme::Bearer(TokenServer {
                    realm: realm_url(registry, &realm)?,
                    service: parameter("service").map(Into::into),
                })));
            }
            if challenge.scheme.eq_ignore_ascii_case("basic") {
                chosen = Some(Scheme::Basic);
            }
        }
    }
    Ok(chosen)
}

/// The realm, where it may be asked at all: over HTTPS, or on the registry's own origin.
fn realm_url(registry: &Host, realm: &str) -> Result<Url, FetchError> {
    let refuse = |cause: String| FetchError::Challenge {
        registry: registry.name.clone(),
        cause: cause.into(),
    };
    let url = Url::parse(realm).map_err(|error| refuse(format!("realm {realm}: {error}")))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refuse(format!("realm {realm} carries a user name")));
    }
    if url.scheme() != "https" && !registry.owns(&url) {
        return Err(refuse(format!("realm {realm} is not HTTPS")));
    }
    Ok(url)
}

/// Whether a token server is one that the registry's credentials belong to.
fn is_trusted(registry: &Host, realm: &Url) -> bool {
    let host = authority(realm);
    registry.owns(realm)
        || (realm.scheme() == "https"
            && (host == registry.api_host()
                || registry.config.token_realms.contains(&host)
                || (*registry.name == *DOCKER_HUB && host == DOCKER_HUB_REALM)))
}

/// Asks a token server for the right to pull from one repository, and for nothing else, whatever the challenge's scope.
async fn fetch_token(
    registry: &Host,
    server: &TokenServer,
    repository: &Repository,
    budget: &Budget,
) -> Result<Token, FetchError> {
    let trusted = is_trusted(registry, &server.realm);
    let owned = registry.owns(&server.realm);
    let client = if owned {
        &registry.transport.direct
    } else if trusted {
        &registry.transport.named
    } else {
        // Checks where the realm leads.
        registry.learn(&server.realm, server.realm.as_str())?;
        &registry.transport.learned
    };
    let mut headers = registry.headers_for(!owned);
    headers.insert(ACCEPT, HeaderValue::from_static("application/json"));
    let identity = registry.identity(repository).await?;
    let scope = format!("repository:{}:pull", repository.path());
    let sending = match identity.as_ref().filter(|_| trusted) {
        Some(Identity::Token(token)) => {
            client
                .post(server.realm.clone())
                .body(refresh(server, &scope, token, &mut headers))
        }
        identity => {
            if let Some(header) = identity.and_then(basic) {
                headers.insert(AUTHORIZATION, header);
            }
            client.get(asked(server, &scope))
        }
    };
    let sending = sending.headers(headers);
    registry.counters.count(Purpose::Token);
    let requested = Instant::now();
    let mut response = transport::send(&registry.name, sending).await?;
    let realm: Untrusted = authority(&server.realm).into();
    let status = response.status();
    if status.is_server_error() || status == StatusCode::TOO_MANY_REQUESTS {
        return Err(FetchError::Status {
            registry: registry.name.clone(),
            status: status.as_u16(),
            detail: registry.detail(&mut response).await,
        });
    }
    // Redirects are not followed: nothing says whose host the next one is.
    if status != StatusCode::OK {
        if trusted {
            registry.forget_identity(repository);
        }
        return Err(FetchError::TokenRefused {
            registry: registry.name.clone(),
            realm,
            status: status.as_u16(),
            detail: registry.detail(&mut response).await,
            withheld_from: (identity.is_some() && !trusted).then(|| authority(&server.realm).into()),
        });
    }
    let (json, _lease) = body::read(registry.payer(budget), response, MAX_TOKEN_RESPONSE_SIZE).await?;
    token_from(&json, requested).ok_or_else(|| FetchError::TokenMalformed {
        registry: registry.name.clone(),
        realm,
    })
}

fn token_from(json: &[u8], requested: Instant) -> Option<Token> {
    let answer: TokenAnswer = serde_json::from_slice(json).ok()?;
    let token = answer
        .token
        .or(answer.access_token)
        .filter(|token| !token.is_empty() && token.bytes().all(|byte| byte.is_ascii_graphic()))?;
    let mut header = HeaderValue::from_str(&format!("Bearer {token}")).ok()?;
    header.set_sensitive(true);
    let lifetime = answer
        .expires_in
        .map_or(DEFAULT_TOKEN_LIFETIME, Duration::from_secs)
        .min(MAX_TOKEN_LIFETIME);
    Some(Token {
        header,
        // Renewed before its end, so that it does not expire under way.
        expires: requested + lifetime.mul_f64(0.9),
    })
}

/// The address that a token is asked from with a user name and password, or without.
fn asked(server: &TokenServer, scope: &str) -> Url {
    let mut url = server.realm.clone();
    {
        let mut query = url.query_pairs_mut();
        if let Some(service) = &server.service {
            query.append_pair("service", service);
        }
        query.append_pair("scope", scope);
    }
    url
}

/// The body that a token is asked with by a token that lasts (distribution: docs/spec/auth/oauth.md).
fn refresh(server: &TokenServer, scope: &str, token: &Secret, headers: &mut HeaderMap) -> String {
    headers.insert(
        CONTENT_TYPE,
        HeaderValue::from_static("application/x-www-form-urlencoded"),
    );
    let mut form = url::form_urlencoded::Serializer::new(String::new());
    form.append_pair("grant_type", "refresh_token");
    form.append_pair("service", server.service.as_deref().unwrap_or_default());
    form.append_pair("client_id", "assayd");
    form.append_pair("scope", scope);
    form.append_pair("refresh_token", token.expose());
    form.finish()
}

/// The header of a user name and password. One who has a token alone has none.
fn basic(identity: &Identity) -> Option<HeaderValue> {
    let Identity::Password(credentials) = identity else {
        return None;
    };
    let encoded = STANDARD.encode(format!("{}:{}", credentials.username, credentials.secret.expose()));
    // Base64 is always a header value.
    let mut header = HeaderValue::from_str(&format!("Basic {encoded}")).ok()?;
    header.set_sensitive(true);
    Some(header)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    // What it guards is replaced whole, never left half-written.
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_is_read_in_both_spellings() {
        let now = Instant::now();
        for json in [r#"{"token":"a.b"}"#, r#"{"access_token":"a.b","expires_in":300}"#] {
            let token = token_from(json.as_bytes(), now).unwrap();
            assert_eq!(token.header.to_str().unwrap(), "Bearer a.b");
            assert!(token.header.is_sensitive());
            assert!(token.expires > now);
        }
    }

    #[test]
    fn a_token_lives_no_longer_than_it_says_and_never_for_ever() {
        let now = Instant::now();
        let expires = |json: &str| token_from(json.as_bytes(), now).unwrap().expires - now;
        assert!(expires(r#"{"token":"a"}"#) < DEFAULT_TOKEN_LIFETIME);
        assert!(expires(r#"{"token":"a","expires_in":10}"#) < Duration::from_secs(10));
        assert!(expires(r#"{"token":"a","expires_in":18446744073709551615}"#) < MAX_TOKEN_LIFETIME);
    }

    #[test]
    fn refuses_answers_without_a_usable_token() {
        for json in [
            "",
            "{}",
            r#"{"token":""}"#,
            r#"{"token":"a\r\nX: y"}"#,
            r#"{"token":"a b"}"#,
            r#"{"token":"a","token":"b"}"#,
            r#"{"token":7}"#,
        ] {
            assert!(token_from(json.as_bytes(), Instant::now()).is_none(), "{json}");
        }
    }
}
