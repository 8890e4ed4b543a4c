//! What registries do to signatures of cosign: real ones, ones that fail, and ones that go away.

use std::time::{Duration, Instant};

use assay_integration::cosign::{Identity, Log, Series, Sign};
use assay_integration::registry::{Fault, OCI_EMPTY, OCI_MANIFEST, When, sha256};
use assay_integration::{Image, Question};
use http::StatusCode;
use serde_json::json;

use crate::lab::{Lab, verdict};

/// How soon a registry that is well again is asked again. Generous, for a busy machine.
const RECOVERY: Duration = Duration::from_secs(30);

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

impl Lab {
    /// Puts an image into `p256/NAME:v1` and has this cosign sign it with the key.
    async fn signed(&self, name: &str, series: Series) -> Image {
        let image = Image::tiny(name).unwrap();
        let repository = format!("p256/{name}");
        image.store(self.registry.content(), &repository, "v1");
        let reference = format!("{}@{}", self.registry.repository(&repository), image.digest());
        let how = Sign::key(self.trusted.key("p256").unwrap());
        self.cosign(series).sign(&reference, &how).await.unwrap();
        image
    }

    /// What a registry failed to give is asked for again after a moment.
    async fn admitted_soon(&self, name: &str) {
        let started = Instant::now();
        loop {
            let verdict = self.pull(name).await;
            if verdict == "ADMIT" {
                return;
            }
            assert!(started.elapsed() < RECOVERY, "{name}: still {verdict}");
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }

    async fn pull(&self, name: &str) -> String {
        let reference = format!("{}:v1", self.registry.repository(&format!("p256/{name}")));
        let (verdict, event) = verdict(&self.containerd.pull_cri(&reference).await);
        if !event.is_empty() {
            println!("{event}");
        }
        verdict
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_formats_are_found_in_a_registry_without_the_referrers_api() {
    let lab = Lab::start().await;
    let key = Sign::key(lab.trusted.key("p256").unwrap());
    let keyless = Sign::keyless(&Identity::ci(), &lab.trusted.services);
    let bundle = Sign {
        timestamp: true,
        ..keyless.clone().logged(Log::RekorV2, &lab.trusted.services)
    };
    for (repository, series, how, expected) in [
        ("p256/two", Series::Two, Some(&key), "ADMIT"),
        ("p256/three", Series::Three, Some(&key), "ADMIT"),
        ("ci/two", Series::Two, Some(&keyless), "ADMIT"),
        ("ci-log-and-time/three", Series::Three, Some(&bundle), "ADMIT"),
        ("p384/two", Series::Two, Some(&key), "DENY untrusted-signer"),
        ("p384/three", Series::Three, Some(&key), "DENY untrusted-signer"),
        ("p256/unsigned", Series::Three, None, "DENY unsigned"),
    ] {
        let image = Image::tiny(repository).unwrap();
        let name = lab.distribution.repository(repository);
        image.push(&name, "v1").await.unwrap();
        if let Some(how) = how {
            let reference = format!("{name}@{}", image.digest());
            lab.cosign(series).sign(&reference, how).await.unwrap();
        }
        let (verdict, event) = verdict(&lab.containerd.pull_cri(&format!("{name}:v1")).await);
        assert_eq!(verdict, expected, "{repository}: {event}\n{}", lab.assayd.log());
        let layers = lab.distribution.layer_requests(&image).len();
        assert_eq!(layers > 0, verdict == "ADMIT", "{repository}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_fails_does_not_make_an_image_unsigned() {
    let lab = Lab::start().await;
    let failed = Fault::Status(StatusCode::INTERNAL_SERVER_ERROR);
    let refused = Fault::Status(StatusCode::FORBIDDEN);
    // Parts of paths below the repository: the tags of signatures, payloads and bundles, the referrers API.
    let (tag, blob, list) = ("manifests/sha256-", "blobs/", "referrers/");
    for (name, series, path, fault, code) in [
        ("tag", Series::Two, tag, &failed, "registry-unavailable"),
        ("payload", Series::Two, blob, &failed, "registry-unavailable"),
        ("list", Series::Three, list, &failed, "registry-unavailable"),
        ("bundle", Series::Three, blob, &failed, "registry-unavailable"),
        ("tag-refused", Series::Two, tag, &refused, "registry-auth"),
        ("list-refused", Series::Three, list, &refused, "registry-auth"),
    ] {
        lab.signed(name, series).await;
        let path = format!("/p256/{name}/{path}");
        lab.registry.misbehave(When::path(&path), fault.clone());
        assert_eq!(lab.pull(name).await, format!("DENY {code}"), "{name}");
        lab.registry.behave();
        lab.admitted_soon(name).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_admitted_is_judged_again_without_the_registry() {
    let mut lab = Lab::start().await;
    let mut questions = vec![];
    for (name, series) in [("two", Series::Two), ("three", Series::Three)] {
        let image = lab.signed(name, series).await;
        let reference = format!("{}:v1", lab.registry.repository(&format!("p256/{name}")));
        questions.push(Question::new(reference, image.descriptor()));
    }
    for question in &questions {
        let said = question.hook(&lab.assayd).await.unwrap();
        assert!(said.success, "{}", said.stdout);
    }
    let mark = lab.registry.log().mark();
    for question in &questions {
        assert!(question.hook(&lab.assayd).await.unwrap().success);
    }
    assert_eq!(lab.requests_by_assayd(mark), 0);

    lab.assayd.stop().await.unwrap();
    lab.registry.stop().await;
    lab.assayd.start().await.unwrap();
    for question in &questions {
        let said = question.hook(&lab.assayd).await.unwrap();
        assert!(said.success, "{}", said.stdout);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn junk_beside_a_signature_does_not_hide_it() {
    let lab = Lab::start().await;
    for (name, series) in [("junk-two", Series::Two), ("junk-three", Series::Three)] {
        let image = lab.signed(name, series).await;
        let (content, repository) = (lab.registry.content(), format!("p256/{name}"));
        content.attach_junk(&repository, &image.descriptor(), 20);
        content.put_blob(&repository, "{}");
        for number in 0..20 {
            let bundle = json!({ "mediaType": BUNDLE, "verificationMaterial": { "number": number } }).to_string();
            let manifest = json!({
                "schemaVersion": 2,
                "mediaType": OCI_MANIFEST,
                "artifactType": BUNDLE,
                "config": { "mediaType": OCI_EMPTY, "digest": sha256(b"{}"), "size": 2 },
                "layers": [{ "mediaType": BUNDLE, "digest": sha256(bundle.as_bytes()), "size": bundle.len() }],
                "subject": image.descriptor(),
            });
            content.put_blob(&repository, bundle);
            content.put_manifest(&repository, OCI_MANIFEST, manifest.to_string());
        }
        assert_eq!(lab.pull(name).await, "ADMIT", "{name}");
    }
}

/// CVE-2023-46737, CVE-2024-29903: cosign read as many signatures as a registry gave it.
#[tokio::test(flavor = "multi_thread")]
async fn more_signatures_than_are_read_are_not_taken_for_none() {
    let lab = Lab::start().await;
    let image = lab.signed("endless", Series::Two).await;
    let (content, repository) = (lab.registry.content(), "p256/endless");
    let tag = format!("{}.sig", image.digest().replace(':', "-"));
    let digest = content.resolve(repository, &tag).unwrap();
    let bytes = content.manifest_bytes(repository, &digest).unwrap();
    let mut manifest: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    let layer = manifest["layers"][0].clone();
    manifest["layers"] = json!(vec![layer; 1_001]);
    let digest = content.put_manifest(repository, OCI_MANIFEST, manifest.to_string());
    content.tag(repository, &tag, &digest);
    assert_eq!(lab.pull("endless").await, "DENY limit-exceeded");
}
