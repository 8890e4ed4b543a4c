//! Each fault behaves as it is named, seen through a client that follows nothing by itself.

use std::time::{Duration, Instant};

use http::StatusCode;
use reqwest::redirect::Policy;
use serde_json::{Value, json};

use super::*;
use crate::image::Image;

struct Client(reqwest::Client);

impl Client {
    fn new() -> Self {
        crate::http_client();
        Self(
            reqwest::Client::builder()
                .no_proxy()
                .redirect(Policy::none())
                .build()
                .expect("a client"),
        )
    }

    async fn get(&self, registry: &Registry, path: &str) -> reqwest::Response {
        self.try_get(registry, path).await.expect("an answer")
    }

    async fn try_get(&self, registry: &Registry, path: &str) -> reqwest::Result<reqwest::Response> {
        self.0.get(format!("{}{path}", registry.url())).send().await
    }
}

fn header(answer: &reqwest::Response, name: &str) -> String {
    answer
        .headers()
        .get(name)
        .map(|value| value.to_str().expect("text").to_owned())
        .unwrap_or_default()
}

async fn with_image() -> (Registry, Image, Client) {
    let registry = Registry::start().await.expect("a registry");
    let image = Image::tiny("one").expect("an image");
    image.store(registry.content(), "app", "v1");
    (registry, image, Client::new())
}

async fn referrers(client: &Client, registry: &Registry, subject: &str) -> Vec<Value> {
    let index: Value = client
        .get(registry, &format!("/v2/app/referrers/{subject}"))
        .await
        .json()
        .await
        .expect("an index");
    index["manifests"].as_array().cloned().expect("manifests")
}

/// reqwest's `json` feature is off in this workspace.
trait Json {
    async fn json(self) -> serde_json::Result<Value>;
}

impl Json for reqwest::Response {
    async fn json(self) -> serde_json::Result<Value> {
        serde_json::from_slice(&self.bytes().await.expect("a body"))
    }
}

#[tokio::test]
async fn serves_what_was_pushed_over_http() {
    let registry = Registry::start().await.unwrap();
    let image = Image::tiny("pushed").unwrap();
    image.push(&registry.repository("app"), "v1").await.unwrap();
    let client = Client::new();
    let answer = client.get(&registry, "/v2/app/manifests/v1").await;
    assert_eq!(header(&answer, "docker-content-digest"), image.digest());
    assert_eq!(header(&answer, "content-type"), OCI_MANIFEST);
    assert_eq!(answer.bytes().await.unwrap(), *image.bytes());
    assert_eq!(
        client.get(&registry, "/v2/app/manifests/v2").await.status(),
        StatusCode::NOT_FOUND
    );
    assert_eq!(
        client.get(&registry, "/v2/other/manifests/v1").await.status(),
        StatusCode::NOT_FOUND
    );
}

#[tokio::test]
async fn refuses_content_that_its_digest_does_not_name() {
    let (registry, image, client) = with_image().await;
    let url = format!("{}/v2/app/manifests/{}", registry.url(), image.digest());
    let answer = client.0.put(url).body("{}").send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
}

#[tokio::test]
async fn lists_referrers_filters_them_and_names_the_subject() {
    let (registry, image, client) = with_image().await;
    let content = registry.content();
    let signature = content.attach_signature("app", &image.descriptor(), "application/jose+json", b"{}");
    let other = json!({ "schemaVersion": 2, "artifactType": "text/plain", "subject": image.descriptor() }).to_string();
    let url = format!("{}/v2/app/manifests/other", registry.url());
    let answer = client
        .0
        .put(url)
        .header("content-type", OCI_MANIFEST)
        .body(other)
        .send()
        .await
        .unwrap();
    assert_eq!(header(&answer, "oci-subject"), image.digest());

    assert_eq!(referrers(&client, &registry, image.digest()).await.len(), 2);
    let path = format!("/v2/app/referrers/{}?artifactType={NOTATION_SIGNATURE}", image.digest());
    let answer = client.get(&registry, &path).await;
    assert_eq!(header(&answer, "oci-filters-applied"), "artifactType");
    let index = answer.json().await.unwrap();
    assert_eq!(index["manifests"][0]["digest"], signature.as_str());
    assert_eq!(index["manifests"].as_array().map(Vec::len), Some(1));
}

#[tokio::test]
async fn logs_every_request_and_tells_layers_from_other_blobs() {
    let (registry, image, client) = with_image().await;
    let layer = image.layers().next().unwrap().to_owned();
    let manifest: Value = serde_json::from_slice(image.bytes()).unwrap();
    let config = manifest["config"]["digest"].as_str().unwrap();
    client.get(&registry, "/v2/app/manifests/v1?x=1").await;
    client.get(&registry, &format!("/v2/app/blobs/{config}")).await;
    let mark = registry.log().mark();
    assert!(registry.log().layer_requests().is_empty());
    client.get(&registry, &format!("/v2/app/blobs/{layer}")).await;

    let log = registry.log();
    assert_eq!(log.layer_requests().len(), 1);
    assert_eq!(log.requests_since(mark).len(), 1);
    let kinds: Vec<_> = log.requests().iter().map(|request| request.kind).collect();
    assert_eq!(kinds, [Kind::Manifest, Kind::Blob, Kind::Layer]);
    let first = &log.requests()[0];
    assert_eq!(
        (first.query.as_str(), first.status, first.repository.as_deref()),
        ("x=1", Some(200), Some("app"))
    );
}

#[tokio::test]
async fn answers_the_status_that_a_fault_names_only_where_and_as_often_as_it_says() {
    let (registry, _, client) = with_image().await;
    for status in [
        StatusCode::FORBIDDEN,
        StatusCode::NOT_FOUND,
        StatusCode::INTERNAL_SERVER_ERROR,
    ] {
        registry.misbehave(
            When::kind(Kind::Manifest).and_path("/app/").times(1),
            Fault::Status(status),
        );
        assert_eq!(client.get(&registry, "/v2/").await.status(), StatusCode::OK);
        assert_eq!(client.get(&registry, "/v2/app/manifests/v1").await.status(), status);
        assert_eq!(
            client.get(&registry, "/v2/app/manifests/v1").await.status(),
            StatusCode::OK
        );
    }
}

#[tokio::test]
async fn asks_for_patience_with_429() {
    let (registry, _, client) = with_image().await;
    registry.misbehave(
        When::always(),
        Fault::TooManyRequests {
            retry_after: Duration::from_secs(7),
        },
    );
    let answer = client.get(&registry, "/v2/").await;
    assert_eq!(
        (answer.status(), header(&answer, "retry-after")),
        (StatusCode::TOO_MANY_REQUESTS, "7".into())
    );
    registry.behave();
    assert_eq!(client.get(&registry, "/v2/").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn asks_for_a_password() {
    let (registry, _, client) = with_image().await;
    registry.require(Login::Basic {
        username: "user".into(),
        password: "secret".into(),
    });
    let answer = client.get(&registry, "/v2/app/manifests/v1").await;
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(header(&answer, "www-authenticate"), "Basic realm=\"registry\"");
    for (password, status) in [("wrong", StatusCode::UNAUTHORIZED), ("secret", StatusCode::OK)] {
        let url = format!("{}/v2/app/manifests/v1", registry.url());
        let answer = client
            .0
            .get(url)
            .header("authorization", basic("user", password))
            .send()
            .await
            .unwrap();
        assert_eq!(answer.status(), status);
    }
    let last = registry.log().requests().pop().unwrap();
    assert_eq!(last.authorization, Some(basic("user", "secret")));
}

#[tokio::test]
async fn gives_and_requires_tokens_with_the_right_scope() {
    let (registry, image, client) = with_image().await;
    image.store(registry.content(), "other", "v1");
    registry.require_tokens(TokenIssuer::with_password("user", "secret"));
    let answer = client.get(&registry, "/v2/app/manifests/v1").await;
    let challenge = header(&answer, "www-authenticate");
    let host = registry.host();
    assert_eq!(
        challenge,
        format!("Bearer realm=\"http://{host}/token\",service=\"{host}\",scope=\"repository:app:pull\"")
    );

    let path = "/token?service=x&scope=repository:app:pull";
    assert_eq!(client.get(&registry, path).await.status(), StatusCode::UNAUTHORIZED);
    let url = format!("{}{path}", registry.url());
    let answer = client
        .0
        .get(url)
        .header("authorization", basic("user", "secret"))
        .send()
        .await
        .unwrap();
    let token = format!("Bearer {}", answer.json().await.unwrap()["token"].as_str().unwrap());
    for (name, status) in [("app", StatusCode::OK), ("other", StatusCode::UNAUTHORIZED)] {
        let url = format!("{}/v2/{name}/manifests/v1", registry.url());
        assert_eq!(
            client
                .0
                .get(url)
                .header("authorization", &token)
                .send()
                .await
                .unwrap()
                .status(),
            status
        );
    }
    let url = format!("{}/v2/app/manifests/v2", registry.url());
    let push = client
        .0
        .put(url)
        .header("authorization", &token)
        .body("{}")
        .send()
        .await
        .unwrap();
    assert_eq!(push.status(), StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn sends_its_clients_to_a_token_server_on_another_host() {
    let (registry, _, client) = with_image().await;
    let tokens = Registry::start().await.unwrap();
    let issuer = TokenIssuer::anonymous();
    tokens.serve_tokens(issuer.clone());
    let realm = format!("{}/token", tokens.url());
    registry.require(Login::Bearer {
        realm: realm.clone(),
        service: "x".into(),
        issuer: issuer.clone(),
    });
    let challenge = header(&client.get(&registry, "/v2/app/manifests/v1").await, "www-authenticate");
    assert!(challenge.contains(&realm), "{challenge}");
    let answer = client
        .get(&tokens, "/token?scope=repository:app:pull")
        .await
        .json()
        .await
        .unwrap();
    let token = format!("Bearer {}", answer["token"].as_str().unwrap());
    let url = format!("{}/v2/app/manifests/v1", registry.url());
    assert_eq!(
        client
            .0
            .get(&url)
            .header("authorization", &token)
            .send()
            .await
            .unwrap()
            .status(),
        StatusCode::OK
    );
    issuer.forget_tokens();
    let answer = client.0.get(&url).header("authorization", &token).send().await.unwrap();
    assert_eq!(answer.status(), StatusCode::UNAUTHORIZED);
    assert_eq!(client.get(&registry, "/token").await.status(), StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn challenges_with_any_realm() {
    let (registry, _, client) = with_image().await;
    let evil = "Bearer realm=\"http://169.254.169.254/token\"";
    registry.misbehave(When::kind(Kind::Referrers), Fault::Challenge(evil.into()));
    let answer = client.get(&registry, "/v2/app/referrers/sha256:00").await;
    assert_eq!(
        (answer.status(), header(&answer, "www-authenticate")),
        (StatusCode::UNAUTHORIZED, evil.to_owned())
    );
}

#[tokio::test]
async fn waits_before_it_answers_and_paces_the_body() {
    let (registry, image, client) = with_image().await;
    // Lower bounds only: no machine is too slow for them.
    registry.add_latency(Duration::from_millis(40));
    let started = Instant::now();
    client.get(&registry, "/v2/").await;
    assert!(started.elapsed() >= Duration::from_millis(40));

    registry.behave();
    let length = image.bytes().len() as u64;
    registry.misbehave(
        When::always(),
        Fault::Slow {
            bytes_per_second: length * 5,
        },
    );
    let started = Instant::now();
    let body = client
        .get(&registry, "/v2/app/manifests/v1")
        .await
        .bytes()
        .await
        .unwrap();
    assert_eq!(body, *image.bytes());
    assert!(
        started.elapsed() >= Duration::from_millis(150),
        "{:?}",
        started.elapsed()
    );
}

#[tokio::test]
async fn breaks_off_in_the_middle_of_a_body() {
    let (registry, image, client) = with_image().await;
    registry.misbehave(When::always(), Fault::Truncate { after: 10 });
    let mut answer = client.get(&registry, "/v2/app/manifests/v1").await;
    assert_eq!(header(&answer, "content-length"), image.bytes().len().to_string());
    assert_eq!(answer.chunk().await.unwrap().map(|chunk| chunk.len()), Some(10));
    assert!(answer.chunk().await.is_err());
}

#[tokio::test]
async fn serves_other_bytes_of_the_same_length() {
    let (registry, image, client) = with_image().await;
    registry.misbehave(When::kind(Kind::Manifest), Fault::WrongBytes);
    let answer = client.get(&registry, "/v2/app/manifests/v1").await;
    assert_eq!(header(&answer, "docker-content-digest"), image.digest());
    let body = answer.bytes().await.unwrap();
    assert_eq!(body.len(), image.bytes().len());
    assert_ne!(sha256(&body), image.digest());
}

#[tokio::test]
async fn names_another_content_type() {
    let (registry, image, client) = with_image().await;
    registry.misbehave(When::kind(Kind::Referrers), Fault::ContentType("text/html".into()));
    let answer = client
        .get(&registry, &format!("/v2/app/referrers/{}", image.digest()))
        .await;
    assert_eq!(header(&answer, "content-type"), "text/html");
}

#[tokio::test]
async fn hides_referrers_behind_404_or_an_empty_index() {
    let (registry, image, client) = with_image().await;
    registry.content().attach_junk("app", &image.descriptor(), 3);
    registry.misbehave(When::always(), Fault::NoReferrersApi);
    let path = format!("/v2/app/referrers/{}", image.digest());
    assert_eq!(client.get(&registry, &path).await.status(), StatusCode::NOT_FOUND);
    assert_eq!(
        client.get(&registry, "/v2/app/manifests/v1").await.status(),
        StatusCode::OK
    );
    registry.behave();
    registry.misbehave(When::always(), Fault::EmptyReferrers);
    assert!(referrers(&client, &registry, image.digest()).await.is_empty());
    registry.behave();
    assert_eq!(referrers(&client, &registry, image.digest()).await.len(), 3);
}

#[tokio::test]
async fn lists_referrers_in_pages_that_hold_each_once() {
    let (registry, image, client) = with_image().await;
    registry.content().attach_junk("app", &image.descriptor(), 7);
    registry.misbehave(When::kind(Kind::Referrers), Fault::Pages(3));
    let mut path = format!("/v2/app/referrers/{}?artifactType={NOTATION_SIGNATURE}", image.digest());
    let mut seen = vec![];
    let mut sizes = vec![];
    loop {
        let answer = client.get(&registry, &path).await;
        let link = header(&answer, "link");
        let page = answer.json().await.unwrap()["manifests"].as_array().cloned().unwrap();
        sizes.push(page.len());
        seen.extend(page.iter().map(|descriptor| descriptor["digest"].to_string()));
        let Some((next, _)) = link.trim_start_matches('<').split_once(">; rel=\"next\"") else {
            break;
        };
        path = next.to_owned();
    }
    seen.sort();
    seen.dedup();
    assert_eq!((sizes, seen.len()), (vec![3, 3, 1], 7));
}

#[tokio::test]
async fn links_to_one_more_page_for_ever() {
    let (registry, image, client) = with_image().await;
    registry.misbehave(When::kind(Kind::Referrers), Fault::EndlessPages);
    let path = format!("/v2/app/referrers/{}?last=1000000", image.digest());
    let answer = client.get(&registry, &path).await;
    assert!(header(&answer, "link").contains("last=1000001"));
    assert_eq!(
        answer.json().await.unwrap()["manifests"].as_array().map(Vec::len),
        Some(1)
    );
}

#[tokio::test]
async fn lists_ten_thousand_junk_referrers_that_can_be_fetched() {
    let (registry, image, client) = with_image().await;
    registry.content().attach_junk("app", &image.descriptor(), 10_000);
    let found = referrers(&client, &registry, image.digest()).await;
    assert_eq!(found.len(), 10_000);
    let digest = found[9_999]["digest"].as_str().unwrap();
    let answer = client.get(&registry, &format!("/v2/app/manifests/{digest}")).await;
    assert_eq!(sha256(&answer.bytes().await.unwrap()), digest);
}

#[tokio::test]
async fn redirects_in_circles_and_to_another_host() {
    let (registry, _, client) = with_image().await;
    registry.misbehave(When::always().times(2), Fault::RedirectLoop);
    for (path, location) in [("/v2/", "/v2/?turn=1"), ("/v2/?turn=1", "/v2/?turn=2")] {
        let answer = client.get(&registry, path).await;
        assert_eq!(
            (answer.status(), header(&answer, "location")),
            (StatusCode::TEMPORARY_REDIRECT, location.into())
        );
    }
    registry.misbehave(When::always(), Fault::RedirectTo("http://127.0.0.1:1".into()));
    let answer = client.get(&registry, "/v2/app/manifests/v1?x=1").await;
    assert_eq!(
        header(&answer, "location"),
        "http://127.0.0.1:1/v2/app/manifests/v1?x=1"
    );
}

#[tokio::test]
async fn sends_a_huge_body_of_unknown_length() {
    let (registry, _, client) = with_image().await;
    registry.misbehave(When::always(), Fault::Huge { bytes: 1_000_000 });
    let answer = client.get(&registry, "/v2/app/manifests/v1").await;
    assert_eq!(header(&answer, "content-length"), "");
    assert_eq!(answer.bytes().await.unwrap().len(), 1_000_000);
}

#[tokio::test]
async fn resets_the_connection() {
    let (registry, _, client) = with_image().await;
    registry.misbehave(When::always().times(1), Fault::Reset);
    let error = client.try_get(&registry, "/v2/").await.expect_err("no answer");
    let said = format!("{error:?}");
    assert!(said.contains("ConnectionReset"), "{said}");
    assert_eq!(client.get(&registry, "/v2/").await.status(), StatusCode::OK);
}

#[tokio::test]
async fn goes_away_and_comes_back_with_its_content() {
    let (mut registry, _, client) = with_image().await;
    registry.stop().await;
    assert!(
        client
            .try_get(&registry, "/v2/")
            .await
            .expect_err("nobody listens")
            .is_connect()
    );
    registry.restart().await.unwrap();
    assert_eq!(
        client.get(&registry, "/v2/app/manifests/v1").await.status(),
        StatusCode::OK
    );
}

#[tokio::test]
async fn speaks_tls_that_its_own_ca_vouches_for() {
    crate::http_client();
    let registry = Registry::start_tls().await.unwrap();
    let ca = reqwest::Certificate::from_pem(registry.ca().expect("a CA").as_bytes()).unwrap();
    let trusting = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([ca])
        .build()
        .unwrap();
    let url = format!("{}/v2/", registry.url());
    assert_eq!(trusting.get(&url).send().await.unwrap().status(), StatusCode::OK);
    let stranger = reqwest::Client::builder()
        .no_proxy()
        .tls_certs_only([])
        .build()
        .unwrap();
    assert!(stranger.get(&url).send().await.is_err());
}
