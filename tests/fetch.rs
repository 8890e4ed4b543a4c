//! The registry client against a registry that misbehaves on demand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assay_integration::registry::{
    Fault, Kind, Login, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST, Registry, TokenIssuer, When, basic,
};
use assay_verify::code::Code;
use assay_verify::descriptor::Descriptor;
use assay_verify::evidence::{NOTATION_SIGNATURE, NotASignature, Signature};
use assay_verify::limits::{MAX_OPENED_REFERRERS, MAX_PROCESS_MEMORY, MAX_REDIRECTS, MAX_REFERRERS_PAGES};
use assay_verify::reference::Repository;
use assayd::fetch::{
    Client, Credentials, FetchConfig, FetchError, ProcessMemory, RegistryConfig, Secret, SkipReason, Summary,
};
use http::StatusCode;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde_json::{Value, json};

const JWS: &str = "application/jose+json";

/// A registry with an image `app`, and what is needed to ask for its signatures.
struct Lab {
    registry: Registry,
    subject: Descriptor,
    subject_json: Value,
    memory: ProcessMemory,
    client: Client,
}

fn config(registry: &Registry) -> (String, RegistryConfig) {
    let config = RegistryConfig {
        plain_http: registry.ca().is_none(),
        extra_ca: registry.ca().map(|pem| pem.as_bytes().to_vec()).into_iter().collect(),
        ..RegistryConfig::default()
    };
    (registry.host(), config)
}

fn credentials() -> Option<Credentials> {
    Some(Credentials {
        username: "robot".to_owned(),
        secret: Secret::new("hunter2"),
    })
}

impl Lab {
    async fn new() -> Self {
        Self::with(Registry::start().await.unwrap(), |_| ()).await
    }

    async fn with(registry: Registry, configure: impl FnOnce(&mut RegistryConfig)) -> Self {
        let (host, mut registry_config) = config(&registry);
        configure(&mut registry_config);
        let fetch = FetchConfig {
            registries: [(host, registry_config)].into(),
            ..FetchConfig::default()
        };
        Self::with_config(registry, fetch)
    }

    fn with_config(registry: Registry, fetch: FetchConfig) -> Self {
        let image = format!(
            r#"{{"schemaVersion":2,"mediaType":"{OCI_MANIFEST}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{}","size":2}},"layers":[]}}"#,
            registry.content().put_blob("app", "{}")
        );
        let digest = registry.content().put_manifest("app", OCI_MANIFEST, image.clone());
        let subject_json = json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": image.len() });
        let memory = ProcessMemory::default();
        Self {
            subject: Descriptor::from_json(subject_json.to_string().as_bytes()).unwrap(),
            subject_json,
            client: Client::new(fetch, memory.clone()).unwrap(),
            memory,
            registry,
        }
    }

    fn sign(&self, envelope: &str) -> String {
        self.registry
            .content()
            .attach_signature("app", &self.subject_json, JWS, envelope.as_bytes())
    }

    fn repository(&self) -> Repository {
        self.registry.repository("app").parse().unwrap()
    }

    fn fallback_tag(&self) -> String {
        self.subject.digest.to_string().replace(':', "-")
    }

    /// Lists every signature under the fallback tag, as clients do where the registry has no referrers API.
    fn tag_referrers(&self) {
        let entries = self
            .registry
            .content()
            .referrers("app", &self.subject.digest.to_string());
        self.tag_index(&json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries }));
    }

    fn tag_index(&self, index: &Value) {
        let content = self.registry.content();
        let digest = content.put_manifest("app", OCI_INDEX, index.to_string());
        content.tag("app", &self.fallback_tag(), &digest);
    }

    async fn search(&self) -> Result<(Vec<Signature>, Summary), FetchError> {
        self.search_within(Duration::from_secs(30)).await
    }

    async fn search_within(&self, time: Duration) -> Result<(Vec<Signature>, Summary), FetchError> {
        let budget = self.client.budget(tokio::time::Instant::now() + time);
        let mut search = self.client.search(&self.repository(), &self.subject, budget).await?;
        let mut found = Vec::new();
        while let Some(batch) = search.next_batch(|_| false).await {
            found.extend(batch.signatures);
        }
        Ok((found, search.finish()))
    }

    async fn envelopes(&self) -> Vec<String> {
        let (found, summary) = self.search().await.unwrap();
        assert_eq!(summary.incomplete, None);
        texts(&found)
    }

    async fn failure(&self) -> FetchError {
        self.search().await.unwrap_err()
    }
}

fn texts(signatures: &[Signature]) -> Vec<String> {
    let mut texts: Vec<_> = signatures
        .iter()
        .map(|signature| String::from_utf8(signature.envelope().to_vec()).unwrap())
        .collect();
    texts.sort();
    texts
}

// Listing

#[tokio::test]
async fn finds_signatures_by_the_referrers_api() {
    let lab = Lab::new().await;
    lab.sign("one");
    lab.sign("two");
    assert_eq!(lab.envelopes().await, ["one", "two"]);
}

#[tokio::test]
async fn an_image_without_signatures_has_an_empty_and_complete_search() {
    let lab = Lab::new().await;
    let (found, summary) = lab.search().await.unwrap();
    assert!(found.is_empty());
    assert_eq!((summary.listed, summary.incomplete), (0, None));
}

#[tokio::test]
async fn finds_signatures_by_the_fallback_tag_where_there_is_no_referrers_api() {
    let lab = Lab::new().await;
    lab.registry.misbehave(When::always(), Fault::NoReferrersApi);
    assert!(lab.envelopes().await.is_empty());
    lab.sign("one");
    lab.tag_referrers();
    assert_eq!(lab.envelopes().await, ["one"]);
    // And again, now that the kind is known.
    assert_eq!(lab.envelopes().await, ["one"]);
}

#[tokio::test]
async fn finds_signatures_by_the_fallback_tag_where_the_api_answers_another_content_type() {
    let lab = Lab::new().await;
    lab.sign("one");
    lab.tag_referrers();
    lab.registry
        .misbehave(When::kind(Kind::Referrers), Fault::ContentType("text/html".to_owned()));
    assert_eq!(lab.envelopes().await, ["one"]);
}

#[tokio::test]
async fn finds_signatures_by_the_fallback_tag_where_the_api_lists_nothing() {
    let lab = Lab::new().await;
    lab.sign("one");
    lab.tag_referrers();
    lab.registry.misbehave(When::always(), Fault::EmptyReferrers);
    assert_eq!(lab.envelopes().await, ["one"]);
    assert_eq!(lab.envelopes().await, ["one"]);
}

#[tokio::test]
async fn a_registry_that_gains_the_referrers_api_is_asked_it() {
    let lab = Lab::new().await;
    lab.registry.misbehave(When::always(), Fault::NoReferrersApi);
    lab.tag_index(&json!({ "schemaVersion": 2, "manifests": [] }));
    assert!(lab.envelopes().await.is_empty());
    lab.registry.behave();
    lab.sign("one");
    assert_eq!(lab.envelopes().await, ["one"]);
}

#[tokio::test]
async fn a_refused_fallback_tag_is_not_unsigned() {
    for status in [401, 403, 429, 500, 503] {
        let lab = Lab::new().await;
        lab.registry
            .misbehave(When::kind(Kind::Referrers), Fault::NoReferrersApi);
        lab.registry.misbehave(
            When::path(lab.fallback_tag()),
            Fault::Status(StatusCode::from_u16(status).unwrap()),
        );
        let expected = if status < 404 {
            Code::RegistryAuth
        } else {
            Code::RegistryUnavailable
        };
        assert_eq!(lab.failure().await.code(), expected, "{status}");
    }
}

#[tokio::test]
async fn a_refused_fallback_tag_beside_an_empty_listing_is_not_unsigned() {
    let lab = Lab::new().await;
    lab.registry
        .misbehave(When::path(lab.fallback_tag()), Fault::Status(StatusCode::FORBIDDEN));
    assert_eq!(lab.failure().await.code(), Code::RegistryAuth);
    assert_eq!(lab.failure().await.code(), Code::RegistryAuth);
}

#[tokio::test]
async fn a_refused_or_failing_referrers_api_is_not_unsigned() {
    for (status, code) in [
        (403, Code::RegistryAuth),
        (400, Code::RegistryUnavailable),
        (405, Code::RegistryUnavailable),
        (502, Code::RegistryUnavailable),
    ] {
        let lab = Lab::new().await;
        lab.registry.misbehave(
            When::kind(Kind::Referrers),
            Fault::Status(StatusCode::from_u16(status).unwrap()),
        );
        assert_eq!(lab.failure().await.code(), code, "{status}");
    }
}

#[tokio::test]
async fn a_failing_referrers_api_leaves_what_the_fallback_tag_lists_standing() {
    let lab = Lab::new().await;
    lab.sign("one");
    lab.tag_referrers();
    lab.registry
        .misbehave(When::kind(Kind::Referrers), Fault::Status(StatusCode::FORBIDDEN));
    let (found, summary) = lab.search().await.unwrap();
    assert_eq!(texts(&found), ["one"]);
    assert_eq!(summary.incomplete.unwrap().code(), Code::RegistryAuth);
}

#[tokio::test]
async fn a_malformed_listing_is_an_error() {
    let lab = Lab::new().await;
    lab.registry
        .misbehave(When::kind(Kind::Referrers), Fault::NoReferrersApi);
    lab.tag_index(&json!({ "schemaVersion": 2, "manifests": [], "layers": [] }));
    assert!(matches!(lab.failure().await, FetchError::Listing { .. }));
}

#[tokio::test]
async fn reads_a_listing_in_pages() {
    let lab = Lab::new().await;
    for number in 0..7 {
        lab.sign(&number.to_string());
    }
    lab.registry.misbehave(When::always(), Fault::Pages(3));
    assert_eq!(lab.envelopes().await, ["0", "1", "2", "3", "4", "5", "6"]);
    assert_eq!(lab.registry.log().count(Kind::Referrers), 3);
}

#[tokio::test]
async fn endless_pages_end() {
    let lab = Lab::new().await;
    lab.registry.misbehave(When::always(), Fault::EndlessPages);
    let (found, summary) = lab.search().await.unwrap();
    assert!(found.is_empty());
    assert_eq!(summary.incomplete.unwrap().code(), Code::LimitExceeded);
    assert!(lab.registry.log().count(Kind::Referrers) <= MAX_REFERRERS_PAGES + 1);
    assert!(summary.opened <= MAX_OPENED_REFERRERS);
}

#[tokio::test]
async fn ten_thousand_junk_referrers_hide_no_signature_that_says_it_is_one() {
    let lab = Lab::new().await;
    let content = lab.registry.content();
    for number in 0..10_000 {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/spdx+json",
            "config": { "mediaType": OCI_EMPTY, "digest": lab.subject_json["digest"], "size": 2 },
            "layers": [],
            "subject": lab.subject_json,
            "annotations": { "number": number.to_string() },
        });
        content.put_manifest("app", OCI_MANIFEST, manifest.to_string());
    }
    lab.sign("good");
    let budget = lab.client.budget(tokio::time::Instant::now() + Duration::from_secs(30));
    let mut search = lab
        .client
        .search(&lab.repository(), &lab.subject, budget)
        .await
        .unwrap();
    let batch = search.next_batch(|_| false).await.unwrap();
    assert_eq!(texts(&batch.signatures), ["good"]);
    assert!(lab.memory.available() > MAX_PROCESS_MEMORY - 8 * 1024 * 1024);
    assert_eq!(lab.client.requests().blobs, 1);
    drop(batch);
    while search.next_batch(|_| false).await.is_some() {}
    let summary = search.finish();
    assert_eq!((summary.listed, summary.opened), (10_001, MAX_OPENED_REFERRERS));
    assert_eq!(summary.incomplete.unwrap().code(), Code::LimitExceeded);
    assert_eq!(lab.memory.available(), MAX_PROCESS_MEMORY);
}

#[tokio::test]
async fn ten_thousand_junk_signatures_end_with_limit_exceeded() {
    let lab = Lab::new().await;
    lab.registry.content().attach_junk("app", &lab.subject_json, 10_000);
    let (found, summary) = lab.search().await.unwrap();
    assert_eq!(found.len(), MAX_OPENED_REFERRERS);
    assert_eq!(summary.incomplete.unwrap().code(), Code::LimitExceeded);
    assert_eq!(lab.memory.available(), MAX_PROCESS_MEMORY);
}

// Opening

#[tokio::test]
async fn a_signature_that_the_listing_calls_something_else_is_found() {
    let lab = Lab::new().await;
    let digest = lab.sign("one");
    let size = lab.registry.content().manifest_bytes("app", &digest).unwrap().len();
    lab.registry
        .misbehave(When::kind(Kind::Referrers), Fault::NoReferrersApi);
    lab.tag_index(&json!({ "schemaVersion": 2, "manifests": [
        { "mediaType": OCI_MANIFEST, "digest": digest, "size": size, "artifactType": "application/spdx+json" },
    ] }));
    assert_eq!(lab.envelopes().await, ["one"]);
}

#[tokio::test]
async fn a_signature_whose_kind_is_its_configs_media_type_is_found() {
    let lab = Lab::new().await;
    let content = lab.registry.content();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": NOTATION_SIGNATURE, "digest": content.put_blob("app", "{}"), "size": 2 },
        "layers": [{ "mediaType": JWS, "digest": content.put_blob("app", "old"), "size": 3 }],
        "subject": lab.subject_json,
    });
    content.put_manifest("app", OCI_MANIFEST, manifest.to_string());
    assert_eq!(lab.envelopes().await, ["old"]);
}

#[tokio::test]
async fn another_artifact_is_skipped_with_its_reason() {
    let lab = Lab::new().await;
    let content = lab.registry.content();
    let manifest = json!({
        "schemaVersion": 2,
        "artifactType": "application/spdx+json",
        "config": { "mediaType": OCI_EMPTY, "digest": content.put_blob("app", "{}"), "size": 2 },
        "layers": [],
        "subject": lab.subject_json,
    });
    content.put_manifest("app", OCI_MANIFEST, manifest.to_string());
    lab.sign("one");
    let (found, summary) = lab.search().await.unwrap();
    assert_eq!(texts(&found), ["one"]);
    assert_eq!(summary.incomplete, None);
    let [skipped] = &summary.skipped[..] else {
        panic!("{:?}", summary.skipped)
    };
    assert!(matches!(
        skipped.reason,
        SkipReason::NotASignature(NotASignature::OtherArtifact(_))
    ));
}

#[tokio::test]
async fn one_unreadable_signature_does_not_spoil_the_others() {
    for (name, kind, fault) in [
        ("reset", Kind::Manifest, Fault::Reset),
        ("refused", Kind::Manifest, Fault::Status(StatusCode::FORBIDDEN)),
        (
            "failed",
            Kind::Manifest,
            Fault::Status(StatusCode::INTERNAL_SERVER_ERROR),
        ),
        ("truncated", Kind::Manifest, Fault::Truncate { after: 20 }),
        ("other bytes", Kind::Manifest, Fault::WrongBytes),
    ] {
        let lab = Lab::new().await;
        let bad = lab.sign("bad");
        lab.sign("good");
        lab.registry.misbehave(When::kind(kind).and_path(bad.as_str()), fault);
        let (found, summary) = lab.search().await.unwrap();
        assert_eq!(texts(&found), ["good"], "{name}");
        assert_eq!(summary.skipped.len(), 1, "{name}");
        assert_eq!(summary.skipped[0].digest.to_string(), bad, "{name}");
        assert!(summary.incomplete.is_some(), "{name}");
    }
}

#[tokio::test]
async fn a_damaged_envelope_is_not_a_signature_and_not_unsigned() {
    for (name, fault) in [
        ("other bytes", Fault::WrongBytes),
        ("truncated", Fault::Truncate { after: 2 }),
        ("huge", Fault::Huge { bytes: 64 << 20 }),
        ("reset", Fault::Reset),
    ] {
        let lab = Lab::new().await;
        lab.sign("envelope");
        lab.registry.misbehave(When::kind(Kind::Blob), fault);
        let (found, summary) = lab.search().await.unwrap();
        assert!(found.is_empty(), "{name}");
        assert_eq!(summary.incomplete.unwrap().code(), Code::RegistryUnavailable, "{name}");
    }
}

#[tokio::test]
async fn a_referrer_that_is_listed_but_gone_is_skipped() {
    let lab = Lab::new().await;
    lab.sign("one");
    lab.registry.content().put_blob("app", "two");
    lab.registry
        .misbehave(When::kind(Kind::Referrers), Fault::NoReferrersApi);
    let gone = lab.sign("two");
    lab.tag_referrers();
    lab.registry.content().remove("app", &gone);
    let (found, summary) = lab.search().await.unwrap();
    assert_eq!(texts(&found), ["one"]);
    assert_eq!(summary.incomplete, None);
    assert!(matches!(summary.skipped[0].reason, SkipReason::Missing(_)));
}

#[tokio::test]
async fn a_manifest_that_comes_as_another_media_type_than_it_says_is_refused() {
    let lab = Lab::new().await;
    let digest = lab.sign("one");
    lab.registry.misbehave(
        When::kind(Kind::Manifest).and_path(digest.as_str()),
        Fault::ContentType(OCI_INDEX.to_owned()),
    );
    let (found, summary) = lab.search().await.unwrap();
    assert!(found.is_empty());
    assert!(matches!(
        summary.skipped[0].reason,
        SkipReason::NotASignature(NotASignature::Manifest(_))
    ));
}

#[tokio::test]
async fn a_huge_manifest_is_no_signature() {
    let lab = Lab::new().await;
    let digest = lab.sign("one");
    lab.sign("two");
    lab.registry.misbehave(
        When::kind(Kind::Manifest).and_path(digest.as_str()),
        Fault::Huge { bytes: 1 << 30 },
    );
    let (found, summary) = lab.search().await.unwrap();
    assert_eq!(texts(&found), ["two"]);
    assert!(matches!(
        summary.skipped[0].reason,
        SkipReason::NotASignature(NotASignature::ManifestTooLarge(_))
    ));
}

#[tokio::test]
async fn a_huge_listing_is_limit_exceeded_and_its_memory_comes_back() {
    let lab = Lab::new().await;
    lab.registry
        .misbehave(When::kind(Kind::Referrers), Fault::ContentType(OCI_INDEX.to_owned()));
    lab.registry
        .misbehave(When::kind(Kind::Referrers), Fault::Huge { bytes: 1 << 30 });
    assert_eq!(lab.failure().await.code(), Code::LimitExceeded);
    assert_eq!(lab.memory.available(), MAX_PROCESS_MEMORY);
}

#[tokio::test]
async fn what_was_judged_bad_before_is_not_fetched_again() {
    let lab = Lab::new().await;
    let bad = lab.sign("bad");
    lab.sign("good");
    let budget = lab.client.budget(tokio::time::Instant::now() + Duration::from_secs(30));
    let mut search = lab
        .client
        .search(&lab.repository(), &lab.subject, budget)
        .await
        .unwrap();
    let mut found = Vec::new();
    while let Some(batch) = search.next_batch(|digest| digest.to_string() == bad).await {
        found.extend(batch.signatures);
    }
    assert_eq!(texts(&found), ["good"]);
    assert_eq!(lab.client.requests().blobs, 1);
}

// Time

#[tokio::test]
async fn a_slow_body_ends_with_deadline() {
    let lab = Lab::new().await;
    lab.sign("one");
    lab.registry
        .misbehave(When::kind(Kind::Referrers), Fault::Slow { bytes_per_second: 1 });
    lab.registry
        .misbehave(When::path(lab.fallback_tag()), Fault::Delay(Duration::from_secs(60)));
    let error = lab.search_within(Duration::from_secs(1)).await.unwrap_err();
    assert_eq!(error.code(), Code::Deadline);
    assert_eq!(lab.memory.available(), MAX_PROCESS_MEMORY);
}

#[tokio::test]
async fn one_slow_signature_does_not_hold_up_the_others() {
    let lab = Lab::new().await;
    let slow = lab.sign("slow");
    lab.sign("fast");
    lab.registry
        .misbehave(When::path(slow), Fault::Delay(Duration::from_secs(60)));
    let budget = lab.client.budget(tokio::time::Instant::now() + Duration::from_secs(20));
    let mut search = lab
        .client
        .search(&lab.repository(), &lab.subject, budget)
        .await
        .unwrap();
    let batch = search.next_batch(|_| false).await.unwrap();
    assert_eq!(texts(&batch.signatures), ["fast"]);
}

#[tokio::test]
async fn a_registry_that_asks_to_wait_is_waited_for() {
    let lab = Lab::new().await;
    lab.sign("one");
    lab.registry.misbehave(
        When::kind(Kind::Blob).times(1),
        Fault::TooManyRequests {
            retry_after: Duration::from_secs(1),
        },
    );
    assert_eq!(lab.envelopes().await, ["one"]);
}

#[tokio::test]
async fn a_registry_that_asks_to_wait_past_the_deadline_is_unavailable() {
    let lab = Lab::new().await;
    lab.registry.misbehave(
        When::always(),
        Fault::TooManyRequests {
            retry_after: Duration::from_secs(3600),
        },
    );
    let error = lab.failure().await;
    assert!(matches!(error, FetchError::TooManyRequests { .. }), "{error}");
    assert_eq!(error.code(), Code::RegistryUnavailable);
}

#[tokio::test]
async fn one_failure_of_the_server_or_the_connection_is_tried_again() {
    for fault in [Fault::Status(StatusCode::BAD_GATEWAY), Fault::Reset] {
        let lab = Lab::new().await;
        lab.sign("one");
        lab.registry
            .misbehave(When::kind(Kind::Referrers).times(1), fault.clone());
        lab.registry.misbehave(When::kind(Kind::Blob).times(1), fault);
        assert_eq!(lab.envelopes().await, ["one"]);
    }
}

#[tokio::test]
async fn a_registry_that_is_away_is_unavailable() {
    let mut lab = Lab::new().await;
    lab.registry.stop().await;
    let error = lab.failure().await;
    assert!(matches!(error, FetchError::Connect { .. }), "{error}");
    assert_eq!(error.code(), Code::RegistryUnavailable);
}

#[tokio::test]
async fn a_cold_search_takes_three_dependent_requests() {
    for (name, api) in [("referrers API", true), ("fallback tag", false)] {
        let lab = Lab::new().await;
        lab.sign("one");
        lab.tag_referrers();
        if !api {
            lab.registry.misbehave(When::always(), Fault::NoReferrersApi);
        }
        lab.envelopes().await;
        let mark = lab.registry.log().mark();
        lab.envelopes().await;
        // One request begins only after the one before it was answered, so requests are the depth here.
        assert_eq!(lab.registry.log().requests_since(mark).len(), 3, "{name}");
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let lab = Lab::new().await;
    lab.sign("one");
    for _ in 0..10 {
        lab.envelopes().await;
    }
    assert!(
        lab.registry.log().connections() <= 3,
        "{}",
        lab.registry.log().connections()
    );
}

// Redirects and learned addresses

#[tokio::test]
async fn a_redirect_loop_ends() {
    let lab = Lab::new().await;
    lab.sign("one");
    lab.registry.misbehave(When::kind(Kind::Blob), Fault::RedirectLoop);
    let (found, summary) = lab.search().await.unwrap();
    assert!(found.is_empty());
    assert_eq!(summary.incomplete.unwrap().code(), Code::LimitExceeded);
    assert_eq!(lab.registry.log().count(Kind::Blob), MAX_REDIRECTS + 1);
}

#[tokio::test]
async fn a_redirect_to_a_private_address_is_not_followed() {
    for target in [
        "https://169.254.169.254",
        "https://127.0.0.1:1",
        "https://localhost:1",
        "https://[::1]:1",
        "https://10.0.0.1",
        "https://[fd00::1]",
        "http://storage.example",
        "https://user:password@storage.example",
    ] {
        let lab = Lab::new().await;
        lab.sign("one");
        lab.registry
            .misbehave(When::kind(Kind::Blob), Fault::RedirectTo(target.to_owned()));
        let (found, summary) = lab.search().await.unwrap();
        assert!(found.is_empty(), "{target}");
        let error = summary.incomplete.unwrap();
        assert!(matches!(error, FetchError::Address { .. }), "{target}: {error}");
    }
}

/// Answers every name with loopback, as rebinding does.
struct Rebinding;

impl Resolve for Rebinding {
    fn resolve(&self, _: Name) -> Resolving {
        let address = SocketAddr::from(([127, 0, 0, 1], 0));
        Box::pin(async move { Ok(Box::new([address].into_iter()) as Addrs) })
    }
}

#[tokio::test]
async fn a_redirect_to_a_name_that_leads_to_loopback_is_not_followed() {
    let registry = Registry::start().await.unwrap();
    let storage = Registry::start_tls().await.unwrap();
    let port = storage.host().rsplit_once(':').unwrap().1.to_owned();
    let (host, registry_config) = config(&registry);
    let fetch = FetchConfig {
        registries: [(host, registry_config)].into(),
        ..FetchConfig::default()
    };
    let mut lab = Lab::with_config(registry, fetch.clone());
    lab.client = Client::with_resolver(fetch, lab.memory.clone(), Arc::new(Rebinding)).unwrap();
    lab.sign("one");
    lab.registry.misbehave(
        When::kind(Kind::Blob),
        Fault::RedirectTo(format!("https://storage.example:{port}")),
    );
    let (found, summary) = lab.search().await.unwrap();
    assert!(found.is_empty());
    let error = summary.incomplete.unwrap();
    assert!(
        error.to_string().contains("storage.example leads to 127.0.0.1"),
        "{error}"
    );
    assert!(storage.log().requests().is_empty());
}

#[tokio::test]
async fn credentials_are_dropped_on_a_redirect_to_another_host() {
    let storage = Registry::start_tls().await.unwrap();
    let registry = Registry::start().await.unwrap();
    registry.require(Login::Basic {
        username: "robot".to_owned(),
        password: "hunter2".to_owned(),
    });
    let lab = Lab::with(registry, |config| {
        config.credentials = credentials();
        config.private_addresses = true;
        config.extra_ca = vec![storage.ca().unwrap().as_bytes().to_vec()];
    })
    .await;
    lab.sign("one");
    storage.content().put_blob("app", "one");
    lab.registry
        .misbehave(When::kind(Kind::Blob), Fault::RedirectTo(storage.url()));
    assert_eq!(lab.envelopes().await, ["one"]);
    let asked = storage.log().requests();
    assert_eq!(asked.len(), 1);
    assert_eq!(asked[0].authorization, None);
    assert!(
        lab.registry
            .log()
            .requests()
            .iter()
            .any(|request| request.authorization == Some(basic("robot", "hunter2")))
    );
}

#[tokio::test]
async fn a_missing_blob_behind_a_redirect_is_not_the_registrys_word() {
    let storage = Registry::start_tls().await.unwrap();
    let registry = Registry::start().await.unwrap();
    let lab = Lab::with(registry, |config| {
        config.private_addresses = true;
        config.extra_ca = vec![storage.ca().unwrap().as_bytes().to_vec()];
    })
    .await;
    lab.registry
        .misbehave(When::path(lab.fallback_tag()), Fault::RedirectTo(storage.url()));
    assert_eq!(lab.failure().await.code(), Code::RegistryUnavailable);
}

// Logins

#[tokio::test]
async fn signs_in_with_basic_credentials() {
    let registry = Registry::start_tls().await.unwrap();
    registry.require(Login::Basic {
        username: "robot".to_owned(),
        password: "hunter2".to_owned(),
    });
    let lab = Lab::with(registry, |config| config.credentials = credentials()).await;
    lab.sign("one");
    assert_eq!(lab.envelopes().await, ["one"]);
    let mark = lab.registry.log().mark();
    assert_eq!(lab.envelopes().await, ["one"]);
    assert_eq!(lab.registry.log().requests_since(mark).len(), 3);
}

#[tokio::test]
async fn refused_or_absent_credentials_are_registry_auth() {
    for credentials in [None, credentials()] {
        let registry = Registry::start().await.unwrap();
        registry.require(Login::Basic {
            username: "robot".to_owned(),
            password: "another".to_owned(),
        });
        let lab = Lab::with(registry, |config| config.credentials = credentials).await;
        lab.sign("one");
        let error = lab.failure().await;
        assert_eq!(error.code(), Code::RegistryAuth);
        assert!(!format!("{error} {error:?}").contains("hunter2"));
    }
}

#[tokio::test]
async fn gets_an_anonymous_token_and_keeps_it() {
    let registry = Registry::start().await.unwrap();
    registry.require_tokens(TokenIssuer::anonymous());
    let lab = Lab::with(registry, |_| ()).await;
    lab.sign("one");
    assert_eq!(lab.envelopes().await, ["one"]);
    assert_eq!(lab.envelopes().await, ["one"]);
    assert_eq!(lab.registry.log().count(Kind::Token), 1);
    assert_eq!(lab.client.requests().tokens, 1);
}

#[tokio::test]
async fn gets_a_token_with_credentials_for_its_own_scope_alone() {
    let registry = Registry::start().await.unwrap();
    registry.require_tokens(TokenIssuer::with_password("robot", "hunter2"));
    let lab = Lab::with(registry, |config| config.credentials = credentials()).await;
    lab.sign("one");
    assert_eq!(lab.envelopes().await, ["one"]);
    for request in lab.registry.log().requests() {
        let expected = request.kind == Kind::Token;
        let sent = request.authorization == Some(basic("robot", "hunter2"));
        assert_eq!(sent, expected, "{request:?}");
        if expected {
            assert!(request.query.contains("repository%3Aapp%3Apull"), "{}", request.query);
            assert!(!request.query.contains("push"));
        }
    }
}

#[tokio::test]
async fn a_token_that_became_worthless_is_replaced() {
    let registry = Registry::start().await.unwrap();
    let issuer = TokenIssuer::anonymous();
    registry.require_tokens(issuer.clone());
    let lab = Lab::with(registry, |_| ()).await;
    lab.sign("one");
    assert_eq!(lab.envelopes().await, ["one"]);
    issuer.forget_tokens();
    assert_eq!(lab.envelopes().await, ["one"]);
    assert_eq!(lab.registry.log().count(Kind::Token), 2);
}

#[tokio::test]
async fn a_failed_token_request_is_no_anonymous_access() {
    let registry = Registry::start().await.unwrap();
    registry.require_tokens(TokenIssuer::with_password("robot", "another"));
    let lab = Lab::with(registry, |config| config.credentials = credentials()).await;
    lab.sign("one");
    let error = lab.failure().await;
    assert!(matches!(error, FetchError::TokenRefused { .. }), "{error}");
    assert_eq!(error.code(), Code::RegistryAuth);
}

/// A registry whose tokens come from `token_server`, which is another host.
async fn lab_with_foreign_realm(token_server: &Registry, trusted: bool) -> Lab {
    let issuer = TokenIssuer::anonymous();
    token_server.serve_tokens(issuer.clone());
    let registry = Registry::start().await.unwrap();
    registry.require(Login::Bearer {
        realm: format!("{}/token", token_server.url()),
        service: "registry".to_owned(),
        issuer,
    });
    let lab = Lab::with(registry, |config| {
        config.credentials = credentials();
        config.private_addresses = true;
        config.extra_ca = vec![token_server.ca().unwrap().as_bytes().to_vec()];
        if trusted {
            config.token_realms = [token_server.host()].into();
        }
    })
    .await;
    lab.sign("one");
    lab
}

#[tokio::test]
async fn a_realm_on_another_host_gets_no_credentials() {
    let token_server = Registry::start_tls().await.unwrap();
    let lab = lab_with_foreign_realm(&token_server, false).await;
    assert_eq!(lab.envelopes().await, ["one"]);
    let asked = token_server.log().requests();
    assert!(!asked.is_empty());
    assert!(asked.iter().all(|request| request.authorization.is_none()), "{asked:?}");
}

#[tokio::test]
async fn a_realm_that_the_configuration_names_gets_the_credentials() {
    let token_server = Registry::start_tls().await.unwrap();
    let lab = lab_with_foreign_realm(&token_server, true).await;
    assert_eq!(lab.envelopes().await, ["one"]);
    let asked = token_server.log().requests();
    assert_eq!(asked[0].authorization, Some(basic("robot", "hunter2")));
}

#[tokio::test]
async fn a_realm_on_a_private_address_or_without_tls_is_not_asked() {
    let elsewhere = Registry::start().await.unwrap();
    for realm in [
        "https://169.254.169.254/token".to_owned(),
        "https://localhost:1/token".to_owned(),
        format!("{}/token", elsewhere.url()),
        "https://user@token.example/token".to_owned(),
        "no url".to_owned(),
    ] {
        let registry = Registry::start().await.unwrap();
        registry.misbehave(When::always(), Fault::Challenge(format!("Bearer realm=\"{realm}\"")));
        let lab = Lab::with(registry, |config| config.credentials = credentials()).await;
        let error = lab.failure().await;
        assert!(
            matches!(error, FetchError::Challenge { .. } | FetchError::Address { .. }),
            "{realm}: {error}"
        );
    }
    assert!(elsewhere.log().requests().is_empty());
}

#[tokio::test]
async fn plain_http_is_for_hosts_that_are_configured_so() {
    let registry = Registry::start().await.unwrap();
    let lab = Lab::with_config(registry, FetchConfig::default());
    assert!(lab.search().await.is_err());
    assert!(lab.registry.log().requests().is_empty());
}

#[tokio::test]
async fn an_unknown_certificate_authority_is_refused() {
    let registry = Registry::start_tls().await.unwrap();
    let lab = Lab::with_config(registry, FetchConfig::default());
    let error = lab.failure().await;
    assert!(matches!(error, FetchError::Connect { .. }), "{error}");
    assert!(lab.registry.log().requests().is_empty());
}

// Explanations

#[tokio::test]
async fn resolves_a_tag_for_explanations() {
    let lab = Lab::new().await;
    lab.registry.content().tag("app", "v1", &lab.subject.digest.to_string());
    let budget = lab.client.budget(tokio::time::Instant::now() + Duration::from_secs(30));
    let name = format!("{}:v1", lab.registry.repository("app"));
    assert_eq!(
        lab.client.resolve(&name.parse().unwrap(), &budget).await.unwrap(),
        lab.subject
    );
    let gone = format!("{}:v2", lab.registry.repository("app"));
    assert!(matches!(
        lab.client.resolve(&gone.parse().unwrap(), &budget).await,
        Err(FetchError::Missing { .. })
    ));
}

#[tokio::test]
async fn making_a_client_sends_nothing_and_names_a_bad_certificate() {
    let started = Instant::now();
    let bad = FetchConfig {
        registries: [(
            "registry.example".to_owned(),
            RegistryConfig {
                extra_ca: vec![b"no certificate".to_vec()],
                ..RegistryConfig::default()
            },
        )]
        .into(),
        ..FetchConfig::default()
    };
    let error = Client::new(bad, ProcessMemory::default()).unwrap_err();
    assert!(error.to_string().contains("registry.example"), "{error}");
    assert!(started.elapsed() < Duration::from_secs(5));
}
