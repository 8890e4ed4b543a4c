//! The registry client against a registry that misbehaves on demand.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use assay_integration::registry::{
    Fault, Kind, Login, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST, Registry, TokenIssuer, When, basic,
};
use assay_verify::code::Code;
use assay_verify::descriptor::Descriptor;
use assay_verify::digest::{Algorithm, Digest};
use assay_verify::evidence::{
    DSSE_ENVELOPE, NOTATION_SIGNATURE, NotASignature, SIMPLE_SIGNING, Signature, SignatureFormat,
};
use assay_verify::limits::{
    MAX_ATTESTATION_SIZE, MAX_OPENED_REFERRERS, MAX_PROCESS_MEMORY, MAX_REDIRECTS, MAX_REFERRERS_PAGES,
    MAX_SIGNATURE_LAYERS, MAX_VERIFICATION_MEMORY, RESPONSE_HEAD_TIMEOUT,
};
use assay_verify::reference::Repository;
use assayd::fetch::{
    Client, Credentials, FetchConfig, FetchError, Judged, Place, ProcessMemory, RegistryConfig, Search, Secret,
    SkipReason, Skipped, SkippedItem, Sought, Summary,
};
use bytes::Bytes;
use http::StatusCode;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use serde_json::{Value, json};

const JWS: &str = "application/jose+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

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

    /// A manifest with these blobs as layers, each with a media type.
    fn carrier(&self, layers: &[(&str, &str)]) -> Value {
        let content = self.registry.content();
        let layer = |(media_type, text): &(&str, &str)| json!({ "mediaType": media_type, "digest": content.put_blob("app", text.to_string()), "size": text.len() });
        json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": { "mediaType": OCI_EMPTY, "digest": content.put_blob("app", "{}"), "size": 2 },
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        })
    }

    /// Hangs a manifest on cosign's tag with this suffix.
    fn hang_manifest(&self, suffix: &str, media_type: &str, manifest: impl Into<Bytes>) -> String {
        let content = self.registry.content();
        let digest = content.put_manifest("app", media_type, manifest);
        content.tag("app", &(self.fallback_tag() + suffix), &digest);
        digest
    }

    /// Hangs blobs on cosign's tag with this suffix, the newest last.
    fn hang(&self, suffix: &str, layers: &[(&str, &str)]) -> String {
        self.hang_manifest(suffix, OCI_MANIFEST, self.carrier(layers).to_string())
    }

    /// Attaches a bundle, as cosign 3 does.
    fn bundle(&self, text: &str) -> String {
        let mut manifest = self.carrier(&[(BUNDLE, text)]);
        manifest["artifactType"] = BUNDLE.into();
        manifest["subject"] = self.subject_json.clone();
        self.registry
            .content()
            .put_manifest("app", OCI_MANIFEST, manifest.to_string())
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

    /// Begins to look for everything, in the image's own repository.
    fn begin(&self, time: Duration) -> Search {
        self.begin_in([self.place(Sought::EVERYTHING)], time)
    }

    fn begin_in(&self, places: impl IntoIterator<Item = Place>, time: Duration) -> Search {
        let budget = self.client.budget(tokio::time::Instant::now() + time);
        self.client.search(places, &self.subject, budget)
    }

    fn place(&self, sought: Sought) -> Place {
        Place {
            repository: self.repository(),
            sought,
        }
    }

    async fn search(&self) -> (Vec<Signature>, Summary) {
        all(self.begin(Duration::from_secs(30))).await
    }

    async fn seek(&self, sought: Sought) -> (Vec<Signature>, Summary) {
        all(self.begin_in([self.place(sought)], Duration::from_secs(30))).await
    }

    async fn envelopes(&self) -> Vec<String> {
        let (found, summary) = self.search().await;
        assert_eq!(summary.incomplete, None);
        texts(&found)
    }

    /// Why a search that finds nothing says nothing about the image.
    async fn failure(&self) -> FetchError {
        let (found, summary) = self.search().await;
        assert_eq!(texts(&found), [""; 0]);
        summary.incomplete.unwrap()
    }
}

/// Everything that a search finds.
async fn all(mut search: Search) -> (Vec<Signature>, Summary) {
    let mut found = Vec::new();
    while let Some(batch) = search.next_batch(&Judged::default()).await {
        found.extend(batch.signatures);
    }
    (found, search.finish())
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
    let (found, summary) = lab.search().await;
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
    let (found, summary) = lab.search().await;
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
    let (found, summary) = lab.search().await;
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
    let mut search = lab.begin(Duration::from_secs(30));
    let batch = search.next_batch(&Judged::default()).await.unwrap();
    assert_eq!(texts(&batch.signatures), ["good"]);
    assert!(lab.memory.available() > MAX_PROCESS_MEMORY - 8 * 1024 * 1024);
    assert_eq!(lab.client.requests().blobs, 1);
    drop(batch);
    while search.next_batch(&Judged::default()).await.is_some() {}
    let summary = search.finish();
    assert_eq!((summary.listed, summary.opened), (10_001, MAX_OPENED_REFERRERS));
    assert_eq!(summary.incomplete.unwrap().code(), Code::LimitExceeded);
    assert_eq!(lab.memory.available(), MAX_PROCESS_MEMORY);
}

#[tokio::test]
async fn ten_thousand_junk_signatures_end_with_limit_exceeded() {
    let lab = Lab::new().await;
    lab.registry.content().attach_junk("app", &lab.subject_json, 10_000);
    let (found, summary) = lab.search().await;
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
    let (found, summary) = lab.search().await;
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
        let (found, summary) = lab.search().await;
        assert_eq!(texts(&found), ["good"], "{name}");
        assert_eq!(summary.skipped.len(), 1, "{name}");
        assert_eq!(summary.skipped[0].what.to_string(), bad, "{name}");
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
        let (found, summary) = lab.search().await;
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
    let (found, summary) = lab.search().await;
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
    let (found, summary) = lab.search().await;
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
    let (found, summary) = lab.search().await;
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
async fn what_was_judged_before_is_not_fetched_again() {
    let lab = Lab::new().await;
    lab.sign("bad");
    let (bad, _) = lab.search().await;
    let mut judged = Judged::default();
    judged.add(&bad[0]);
    lab.sign("good");
    let before = lab.client.requests();
    let mut search = lab.begin(Duration::from_secs(30));
    let mut found = Vec::new();
    while let Some(batch) = search.next_batch(&judged).await {
        found.extend(batch.signatures);
    }
    assert_eq!(texts(&found), ["good"]);
    assert_eq!(lab.client.requests().blobs - before.blobs, 1);
}

// Places

#[tokio::test]
async fn signatures_in_every_place_are_found_together() {
    let lab = Lab::new().await;
    lab.sign("notation");
    lab.bundle("bundle");
    lab.hang(".sig", &[(SIMPLE_SIGNING, "first"), (SIMPLE_SIGNING, "second")]);
    lab.hang(".att", &[(DSSE_ENVELOPE, "attested")]);
    let everything = ["attested", "bundle", "first", "notation", "second"];
    assert_eq!(lab.envelopes().await, everything);
    // Where there is no referrers API, too.
    lab.tag_referrers();
    lab.registry.misbehave(When::always(), Fault::NoReferrersApi);
    assert_eq!(lab.envelopes().await, everything);
}

#[tokio::test]
async fn what_is_under_a_tag_and_listed_too_is_found_once() {
    let lab = Lab::new().await;
    let mut manifest = lab.carrier(&[(SIMPLE_SIGNING, "one"), (SIMPLE_SIGNING, "two")]);
    manifest["subject"] = lab.subject_json.clone();
    lab.hang_manifest(".sig", OCI_MANIFEST, manifest.to_string());
    assert_eq!(lab.envelopes().await, ["one", "two"]);
}

#[tokio::test]
async fn cosign_signatures_as_referrers_are_found_by_their_layers() {
    for artifact_type in [
        "application/vnd.dev.cosign.artifact.sig.v1+json",
        "application/vnd.in-toto+json",
        "application/vnd.oci.empty.v1+json",
        "application/spdx+json",
    ] {
        let lab = Lab::new().await;
        let mut manifest = lab.carrier(&[(SIMPLE_SIGNING, "older"), (DSSE_ENVELOPE, "newer")]);
        manifest["artifactType"] = artifact_type.into();
        manifest["subject"] = lab.subject_json.clone();
        lab.registry
            .content()
            .put_manifest("app", OCI_MANIFEST, manifest.to_string());
        assert_eq!(lab.envelopes().await, ["newer", "older"], "{artifact_type}");
    }
}

#[tokio::test]
async fn a_place_that_fails_is_not_unsigned_and_leaves_the_others_standing() {
    let tag = |lab: &Lab, suffix: &str| When::path(lab.fallback_tag() + suffix);
    for (status, code) in [
        (401, Code::RegistryAuth),
        (403, Code::RegistryAuth),
        (400, Code::RegistryUnavailable),
        (500, Code::RegistryUnavailable),
    ] {
        for (place, missing) in [("listing", "bundle"), (".sig", "signed"), (".att", "attested")] {
            let lab = Lab::new().await;
            lab.bundle("bundle");
            lab.hang(".sig", &[(SIMPLE_SIGNING, "signed")]);
            lab.hang(".att", &[(DSSE_ENVELOPE, "attested")]);
            let when = match place {
                "listing" => When::kind(Kind::Referrers),
                suffix => tag(&lab, suffix),
            };
            lab.registry
                .misbehave(when, Fault::Status(StatusCode::from_u16(status).unwrap()));
            let (found, summary) = lab.search().await;
            let expected: Vec<_> = ["attested", "bundle", "signed"]
                .into_iter()
                .filter(|text| *text != missing)
                .collect();
            assert_eq!(texts(&found), expected, "{place} {status}");
            assert_eq!(summary.incomplete.unwrap().code(), code, "{place} {status}");
        }
    }
}

#[tokio::test]
async fn a_place_that_hangs_does_not_hold_up_the_others() {
    let lab = Lab::new().await;
    lab.hang(".sig", &[(SIMPLE_SIGNING, "signed")]);
    lab.registry
        .misbehave(When::kind(Kind::Referrers), Fault::Delay(Duration::from_secs(60)));
    lab.registry.misbehave(
        When::path(lab.fallback_tag() + ".att"),
        Fault::Delay(Duration::from_secs(60)),
    );
    let mut search = lab.begin(Duration::from_secs(20));
    let batch = search.next_batch(&Judged::default()).await.unwrap();
    assert_eq!(texts(&batch.signatures), ["signed"]);
}

/// Neither the slots nor the memory of the verification are kept for answers that never begin.
#[tokio::test]
async fn places_that_hang_keep_no_bundle_waiting() {
    let registry = Registry::start().await.unwrap();
    let dead = Registry::start().await.unwrap();
    let fetch = FetchConfig {
        registries: [config(&registry), config(&dead)].into(),
        ..FetchConfig::default()
    };
    let lab = Lab::with_config(registry, fetch);
    lab.bundle("good");
    let hangs = Fault::Delay(Duration::from_secs(60));
    dead.misbehave(When::always(), hangs.clone());
    for suffix in [".sig", ".att"] {
        lab.registry
            .misbehave(When::path(lab.fallback_tag() + suffix), hangs.clone());
    }
    let elsewhere = |number: usize| Place {
        repository: dead.repository(&format!("place{number}")).parse().unwrap(),
        sought: Sought::EVERYTHING,
    };
    for count in [0, 1, 7] {
        let places = (0..count).map(elsewhere).chain([lab.place(Sought::EVERYTHING)]);
        // Less than a single answer may take to begin.
        let mut search = lab.begin_in(places, RESPONSE_HEAD_TIMEOUT / 2);
        let batch = search.next_batch(&Judged::default()).await;
        let found = batch.map(|batch| texts(&batch.signatures));
        assert_eq!(found, Some(vec!["good".to_owned()]), "{count}");
    }
}

#[tokio::test]
async fn bundles_elsewhere_that_hang_keep_no_bundle_waiting() {
    let lab = Lab::new().await;
    let content = lab.registry.content();
    for number in 0..40 {
        let text = format!("{{\"n\":{number}}}");
        let blob = content.put_blob("dead", text.clone());
        let config = content.put_blob("dead", "{}");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": BUNDLE,
            "config": { "mediaType": OCI_EMPTY, "digest": config, "size": 2 },
            // As large as it may be, so that one alone takes half of the memory.
            "layers": [{ "mediaType": BUNDLE, "digest": blob, "size": MAX_ATTESTATION_SIZE }],
            "subject": lab.subject_json,
        });
        content.put_manifest("dead", OCI_MANIFEST, manifest.to_string());
    }
    let hangs = Fault::Delay(Duration::from_secs(60));
    lab.registry
        .misbehave(When::kind(Kind::Blob).and_path("/dead/"), hangs.clone());
    lab.bundle("good");
    // The own listing comes last.
    let late = Fault::Delay(Duration::from_millis(500));
    lab.registry
        .misbehave(When::kind(Kind::Referrers).and_path("/app/"), late);
    let dead = Place {
        repository: lab.registry.repository("dead").parse().unwrap(),
        sought: Sought::EVERYTHING,
    };
    let places = [dead, lab.place(Sought::EVERYTHING)];
    let mut search = lab.begin_in(places.clone(), RESPONSE_HEAD_TIMEOUT / 2);
    let batch = search.next_batch(&Judged::default()).await;
    assert_eq!(
        batch.map(|batch| texts(&batch.signatures)),
        Some(vec!["good".to_owned()])
    );
    drop(search);

    lab.registry.behave();
    lab.registry
        .misbehave(When::kind(Kind::Manifest).and_path("/dead/"), hangs);
    let mut search = lab.begin_in(places, RESPONSE_HEAD_TIMEOUT / 2);
    let batch = search.next_batch(&Judged::default()).await;
    assert_eq!(
        batch.map(|batch| texts(&batch.signatures)),
        Some(vec!["good".to_owned()])
    );
}

#[tokio::test]
async fn a_tag_whose_answer_never_begins_leaves_the_search_incomplete() {
    let lab = Lab::new().await;
    let tag = When::path(lab.fallback_tag() + ".sig");
    lab.registry.misbehave(tag, Fault::Delay(Duration::from_secs(60)));
    assert!(matches!(lab.failure().await, FetchError::Silent { .. }));
}

#[tokio::test]
async fn all_places_are_asked_before_any_has_answered() {
    let lab = Lab::new().await;
    lab.registry.add_latency(Duration::from_millis(300));
    lab.search().await;
    let requests = lab.registry.log().requests();
    let answered = requests
        .iter()
        .filter_map(|request| Some(request.at + request.duration?))
        .min()
        .unwrap();
    let mut asked: Vec<_> = requests
        .iter()
        .filter(|request| request.at < answered)
        .map(|request| request.path.rsplit('/').next().unwrap().to_owned())
        .collect();
    asked.sort();
    let tag = lab.fallback_tag();
    let digest = lab.subject.digest.to_string();
    assert_eq!(asked, [tag.clone(), format!("{tag}.att"), format!("{tag}.sig"), digest]);
}

#[tokio::test]
async fn a_signature_that_nobody_asks_for_is_not_fetched() {
    let lab = Lab::new().await;
    lab.bundle("bundle");
    lab.sign("notation");
    for (sought, expected, skipped) in [
        (NOTATION, "notation", SignatureFormat::Bundle),
        (COSIGN, "bundle", SignatureFormat::Notation),
    ] {
        let before = lab.client.requests();
        let (found, summary) = lab.seek(sought).await;
        assert_eq!(texts(&found), [expected]);
        assert_eq!(lab.client.requests().blobs - before.blobs, 1);
        assert_eq!(summary.incomplete, None);
        assert_eq!(summary.skipped[0].reason, SkipReason::NotSought(skipped));
    }
}

#[tokio::test]
async fn signatures_in_another_repository_are_found_beside_the_images_own() {
    let lab = Lab::new().await;
    lab.hang(".sig", &[(SIMPLE_SIGNING, "here")]);
    let content = lab.registry.content();
    let elsewhere = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": OCI_EMPTY, "digest": content.put_blob("signatures", "{}"), "size": 2 },
        "layers": [{ "mediaType": SIMPLE_SIGNING, "digest": content.put_blob("signatures", "there"), "size": 5 }],
    });
    let digest = content.put_manifest("signatures", OCI_MANIFEST, elsewhere.to_string());
    content.tag("signatures", &(lab.fallback_tag() + ".sig"), &digest);
    let mut bundle = elsewhere;
    bundle["layers"][0]["mediaType"] = BUNDLE.into();
    bundle["subject"] = lab.subject_json.clone();
    content.put_manifest("signatures", OCI_MANIFEST, bundle.to_string());
    let other = Place {
        repository: lab.registry.repository("signatures").parse().unwrap(),
        sought: COSIGN,
    };
    let seek = || all(lab.begin_in([lab.place(COSIGN), other.clone()], Duration::from_secs(30)));
    let (found, summary) = seek().await;
    assert_eq!(summary.incomplete, None);
    assert_eq!(texts(&found), ["here", "there", "there"]);
    // One that cannot be asked spoils nothing of the other.
    lab.registry
        .misbehave(When::path("/signatures/"), Fault::Status(StatusCode::FORBIDDEN));
    let (found, summary) = seek().await;
    assert_eq!(texts(&found), ["here"]);
    assert_eq!(summary.incomplete.unwrap().code(), Code::RegistryAuth);
}

#[tokio::test]
async fn one_signature_in_two_repositories_is_found_once_and_from_either() {
    let lab = Lab::new().await;
    let digest = lab.hang(".sig", &[(SIMPLE_SIGNING, "copied")]);
    let content = lab.registry.content();
    content.put_blob("copies", "copied");
    let manifest = content.manifest_bytes("app", &digest).unwrap();
    content.put_manifest("copies", OCI_MANIFEST, manifest);
    content.tag("copies", &(lab.fallback_tag() + ".sig"), &digest);
    let other = Place {
        repository: lab.registry.repository("copies").parse().unwrap(),
        sought: COSIGN,
    };
    for broken in ["/nothing/", "/app/blobs/", "/copies/blobs/"] {
        lab.registry.misbehave(When::path(broken), Fault::WrongBytes);
        let search = lab.begin_in([lab.place(COSIGN), other.clone()], Duration::from_secs(30));
        assert_eq!(texts(&all(search).await.0), ["copied"], "{broken}");
        lab.registry.behave();
    }
}

#[tokio::test]
async fn the_tag_of_a_sha512_digest_may_be_refused_as_malformed() {
    let mut lab = Lab::new().await;
    lab.registry.misbehave(
        When::path(lab.fallback_tag() + ".sig"),
        Fault::Status(StatusCode::BAD_REQUEST),
    );
    assert!(lab.seek(COSIGN).await.1.incomplete.is_some());
    lab.subject.digest = Digest::of(Algorithm::Sha512, b"image");
    let tag = format!("sha512-{}.sig", lab.subject.digest.hex());
    let refuse = || {
        lab.registry
            .misbehave(When::path(tag.clone()), Fault::Status(StatusCode::BAD_REQUEST));
    };
    refuse();
    assert_eq!(lab.seek(COSIGN).await.1.incomplete, None);
    lab.registry.behave();
    let digest = lab.registry.content().put_manifest(
        "app",
        OCI_MANIFEST,
        lab.carrier(&[(SIMPLE_SIGNING, "long")]).to_string(),
    );
    lab.registry.content().tag("app", &tag, &digest);
    assert_eq!(texts(&lab.seek(COSIGN).await.0), ["long"]);
}

// Hostile tags and layers

#[tokio::test]
async fn a_tag_that_points_at_something_else_is_skipped_with_its_reason() {
    let lab = Lab::new().await;
    let good = lab.bundle("good");
    let image = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": lab.subject_json["digest"], "size": 2 },
        "layers": [{ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip", "digest": lab.subject_json["digest"], "size": 9 }],
    });
    let notation = lab
        .registry
        .content()
        .attach_signature("app", &lab.subject_json, JWS, b"notation");
    let notation = lab.registry.content().manifest_bytes("app", &notation).unwrap();
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [] });
    for (name, media_type, manifest, reason) in [
        (
            "an index",
            OCI_INDEX,
            Bytes::from(index.to_string()),
            "application/vnd.oci.image.index.v1+json",
        ),
        (
            "an image",
            OCI_MANIFEST,
            Bytes::from(image.to_string()),
            "it is application/vnd.oci.image.config.v1+json, not a signature",
        ),
        (
            "a Notary Project signature",
            OCI_MANIFEST,
            notation,
            "it is a Notary Project signature, which no authority of the rule asks for",
        ),
        ("no manifest", OCI_MANIFEST, Bytes::from_static(b"[]"), "manifest"),
    ] {
        lab.hang_manifest(".sig", media_type, manifest);
        let (found, summary) = lab.seek(COSIGN).await;
        assert_eq!(texts(&found), ["good"], "{name}");
        assert_eq!(summary.incomplete, None, "{name}");
        let reasons: Vec<_> = summary.skipped.iter().map(ToString::to_string).collect();
        assert!(reasons.iter().any(|text| text.contains(reason)), "{name}: {reasons:?}");
        assert!(!reasons.iter().any(|text| text.contains(&good)), "{name}: {reasons:?}");
    }
}

#[tokio::test]
async fn cve_2023_42813_a_tag_with_a_huge_manifest_ends_with_limit_exceeded() {
    let lab = Lab::new().await;
    lab.bundle("good");
    lab.hang(".sig", &[(SIMPLE_SIGNING, "lost")]);
    lab.registry
        .misbehave(When::path(lab.fallback_tag() + ".sig"), Fault::Huge { bytes: 64 << 20 });
    let (found, summary) = lab.search().await;
    assert_eq!(texts(&found), ["good"]);
    assert_eq!(summary.incomplete.unwrap().code(), Code::LimitExceeded);
    let tag = SkippedItem::Tag((lab.fallback_tag() + ".sig").into());
    assert_eq!(summary.skipped[0].what, tag);
    assert_eq!(lab.memory.available(), MAX_PROCESS_MEMORY);
}

#[tokio::test]
async fn cve_2023_46737_endless_signatures_under_a_tag_end() {
    let lab = Lab::new().await;
    lab.bundle("good");
    let names: Vec<_> = (0..=MAX_SIGNATURE_LAYERS)
        .map(|number| format!("{number:04}"))
        .collect();
    let layers: Vec<_> = names.iter().map(|name| (SIMPLE_SIGNING, name.as_str())).collect();
    lab.hang(".sig", &layers);
    let (found, summary) = lab.search().await;
    assert_eq!(texts(&found), ["good"]);
    assert_eq!(summary.incomplete.unwrap().code(), Code::LimitExceeded);

    // As many as are read: the newest are fetched, up to the bound, and the bundle among them.
    lab.hang(".sig", &layers[1..]);
    let (found, summary) = lab.search().await;
    let mut expected: Vec<_> = names.iter().rev().take(MAX_OPENED_REFERRERS - 1).cloned().collect();
    expected.reverse();
    expected.push("good".to_owned());
    assert_eq!(texts(&found), expected);
    assert_eq!(summary.incomplete.unwrap().code(), Code::LimitExceeded);
    assert_eq!(lab.memory.available(), MAX_PROCESS_MEMORY);
}

#[tokio::test]
async fn cve_2024_29902_a_blob_larger_than_its_manifest_says_is_not_read() {
    for (suffix, media_type) in [(".sig", SIMPLE_SIGNING), (".att", DSSE_ENVELOPE)] {
        let lab = Lab::new().await;
        lab.hang(suffix, &[(media_type, "huge"), (media_type, "good")]);
        let huge = Digest::sha256(b"huge").to_string();
        lab.registry.misbehave(When::path(huge), Fault::Huge { bytes: 1 << 30 });
        let (found, summary) = lab.search().await;
        assert_eq!(texts(&found), ["good"], "{suffix}");
        assert!(
            matches!(summary.incomplete, Some(FetchError::WrongBytes { .. })),
            "{suffix}"
        );
        assert_eq!(lab.memory.available(), MAX_PROCESS_MEMORY);
    }
}

#[tokio::test]
async fn cve_2024_29903_a_size_that_a_manifest_claims_allocates_nothing() {
    let lab = Lab::new().await;
    let mut manifest = lab.carrier(&[
        (SIMPLE_SIGNING, "beyond the limit"),
        (DSSE_ENVELOPE, "at the limit"),
        (SIMPLE_SIGNING, "good"),
    ]);
    manifest["layers"][0]["size"] = (1_u64 << 62).into();
    manifest["layers"][1]["size"] = MAX_ATTESTATION_SIZE.into();
    lab.hang_manifest(".sig", OCI_MANIFEST, manifest.to_string());
    let (found, summary) = lab.search().await;
    assert_eq!(texts(&found), ["good"]);
    assert!(matches!(summary.incomplete, Some(FetchError::WrongBytes { .. })));
    let too_large = |skipped: &Skipped| {
        matches!(
            skipped.reason,
            SkipReason::NotASignature(NotASignature::EnvelopeTooLarge { .. })
        )
    };
    assert!(summary.skipped.iter().any(too_large), "{:?}", summary.skipped);
    assert_eq!(lab.memory.available(), MAX_PROCESS_MEMORY);
}

#[tokio::test]
async fn cve_2022_47633_a_tag_is_fetched_once() {
    let lab = Lab::new().await;
    let judged = lab.hang(".sig", &[(SIMPLE_SIGNING, "first answer")]);
    let (found, _) = lab.seek(COSIGN).await;
    assert_eq!(found[0].manifest().digest().to_string(), judged);
    let asked = lab.registry.log().requests();
    let of_the_manifest = |path: &str| path.ends_with(".sig") || path.ends_with(&judged);
    assert_eq!(asked.iter().filter(|request| of_the_manifest(&request.path)).count(), 1);
}

#[tokio::test]
async fn cve_2023_47630_other_bytes_than_those_of_the_digest_are_refused() {
    let lab = Lab::new().await;
    let steered = lab.bundle("steered");
    lab.hang(".sig", &[(SIMPLE_SIGNING, "replaced")]);
    lab.registry.misbehave(When::path(steered), Fault::WrongBytes);
    let replaced = Digest::sha256(b"replaced").to_string();
    lab.registry.misbehave(When::path(replaced), Fault::WrongBytes);
    let (found, summary) = lab.search().await;
    assert_eq!(texts(&found), [""; 0]);
    assert!(matches!(summary.incomplete, Some(FetchError::WrongBytes { .. })));
}

#[tokio::test]
async fn attestations_that_are_larger_than_the_memory_together_arrive_one_after_the_other() {
    let lab = Lab::new().await;
    let size = 3 * MAX_VERIFICATION_MEMORY / 8;
    let texts: Vec<_> = ["a", "b", "c", "d", "e"].map(|letter| letter.repeat(size)).into();
    let layers: Vec<_> = texts.iter().map(|text| (DSSE_ENVELOPE, text.as_str())).collect();
    lab.hang(".att", &layers);
    let mut search = lab.begin(Duration::from_secs(30));
    let mut found = Vec::new();
    while let Some(batch) = search.next_batch(&Judged::default()).await {
        found.extend(batch.signatures.iter().map(|signature| signature.envelope()[0]));
    }
    found.sort_unstable();
    assert_eq!(found, *b"abcde");
    assert_eq!(search.finish().incomplete, None);
    assert_eq!(lab.memory.available(), MAX_PROCESS_MEMORY);
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
    let (_, summary) = all(lab.begin(Duration::from_secs(1))).await;
    assert_eq!(summary.incomplete.unwrap().code(), Code::Deadline);
    assert_eq!(lab.memory.available(), MAX_PROCESS_MEMORY);
}

#[tokio::test]
async fn one_slow_signature_does_not_hold_up_the_others() {
    let lab = Lab::new().await;
    let slow = lab.sign("slow");
    lab.sign("fast");
    lab.registry
        .misbehave(When::path(slow), Fault::Delay(Duration::from_secs(60)));
    let mut search = lab.begin(Duration::from_secs(20));
    let batch = search.next_batch(&Judged::default()).await.unwrap();
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

/// A firewall that forgets idle connections forgets all that the pool holds.
#[tokio::test]
async fn a_second_try_is_made_on_a_connection_of_its_own() {
    let lab = Lab::new().await;
    lab.sign("one");
    // Requests that are under way at once leave several connections open.
    lab.registry.add_latency(Duration::from_millis(50));
    lab.envelopes().await;
    lab.registry.behave();
    let before = lab.registry.log().requests();
    let known = |connection| before.iter().any(|request| request.connection == connection);
    assert!(known(0) && known(1), "{before:#?}");
    let mark = lab.registry.log().mark();
    lab.registry
        .misbehave(When::kind(Kind::Referrers).times(1), Fault::Reset);
    assert_eq!(lab.envelopes().await, ["one"]);
    let mut tries = lab.registry.log().requests_since(mark);
    tries.retain(|request| request.kind == Kind::Referrers);
    let [first, second] = tries.as_slice() else {
        panic!("{tries:#?}")
    };
    assert!(known(first.connection) && !known(second.connection), "{tries:#?}");
}

/// TCP asks again by itself while a connection is awaited; a second try would keep askers past their deadline.
#[tokio::test]
async fn a_connection_that_nobody_answers_is_tried_once() {
    let silent = tokio::net::TcpSocket::new_v4().unwrap();
    silent.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
    let silent = silent.listen(0).unwrap();
    let address = silent.local_addr().unwrap();
    // A queue that is full answers nobody.
    let _queued = std::net::TcpStream::connect(address).unwrap();
    let plain = RegistryConfig {
        plain_http: true,
        ..RegistryConfig::default()
    };
    let host = address.to_string();
    let config = FetchConfig {
        registries: [(host.clone(), plain)].into(),
        ..FetchConfig::default()
    };
    let client = Client::new(config, ProcessMemory::default()).unwrap();
    let started = Instant::now();
    let budget = client.budget(tokio::time::Instant::now() + Duration::from_secs(30));
    let error = client
        .resolve(&format!("{host}/app:v1").parse().unwrap(), &budget)
        .await;
    let error = error.unwrap_err();
    assert!(matches!(error, FetchError::NoConnection { .. }), "{error}");
    assert_eq!(error.code(), Code::RegistryUnavailable);
    assert!(started.elapsed() < Duration::from_secs(7), "{:?}", started.elapsed());
}

#[tokio::test]
async fn a_registry_that_is_away_is_unavailable() {
    let mut lab = Lab::new().await;
    lab.registry.stop().await;
    let error = lab.failure().await;
    assert!(matches!(error, FetchError::Connect { .. }), "{error}");
    assert_eq!(error.code(), Code::RegistryUnavailable);
}

const NOTATION: Sought = Sought {
    notation: true,
    cosign: false,
    attestations: false,
};
const COSIGN: Sought = Sought {
    notation: false,
    cosign: true,
    attestations: false,
};
const ATTESTATIONS: Sought = Sought {
    notation: false,
    cosign: false,
    attestations: true,
};

#[tokio::test]
async fn a_search_asks_for_what_is_sought_and_nothing_else() {
    for (name, api, sought, expected) in [
        // Listing, manifest and envelope, as dependent as they are.
        ("notation, referrers API", true, NOTATION, [1, 1, 1]),
        ("notation, fallback tag", false, NOTATION, [1, 1, 1]),
        // The listing beside the tag, then what is listed.
        ("cosign", true, COSIGN, [1, 2, 2]),
        ("attestations", true, ATTESTATIONS, [1, 2, 2]),
        ("everything", true, Sought::EVERYTHING, [1, 4, 4]),
        ("nothing", true, Sought::default(), [0, 0, 0]),
    ] {
        let lab = Lab::new().await;
        lab.hang(".sig", &[(SIMPLE_SIGNING, "signed")]);
        lab.hang(".att", &[(DSSE_ENVELOPE, "attested")]);
        if sought.notation {
            lab.sign("notation");
        }
        if sought.cosign || sought.attestations {
            lab.bundle("bundle");
        }
        lab.tag_referrers();
        if !api {
            lab.registry.misbehave(When::always(), Fault::NoReferrersApi);
        }
        lab.seek(NOTATION).await;
        let before = lab.client.requests();
        lab.seek(sought).await;
        let after = lab.client.requests();
        let sent = [
            after.listings - before.listings,
            after.manifests - before.manifests,
            after.blobs - before.blobs,
        ];
        assert_eq!(sent, expected, "{name}");
    }
}

#[tokio::test]
async fn connections_are_used_again() {
    let lab = Lab::new().await;
    lab.sign("one");
    for _ in 0..10 {
        lab.seek(NOTATION).await;
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
    let (found, summary) = lab.search().await;
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
        let (found, summary) = lab.search().await;
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
    let (found, summary) = lab.search().await;
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
    assert_eq!(texts(&lab.seek(NOTATION).await.0), ["one"]);
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
    lab.failure().await;
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
