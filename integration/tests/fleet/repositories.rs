//! A policy repository in a registry, and one whose server cannot be trusted.

use std::time::Instant;

use assay_integration::notation::Sign;
use assay_integration::registry::{OCI_EMPTY, OCI_MANIFEST, sha256};
use assayd::admission::events::{SYNC_FAILING, SYNC_RECOVERED};
use assayd::sync::layout::{FILE_ANNOTATION, REPOSITORY_ARTIFACT, REPOSITORY_LAYER};
use serde_json::{Value, json};

use crate::lab::{Fleet, LATE, POLL, PRODUCTION, deny_list};
use crate::policy_repository::REVOCATIONS;

const REPOSITORY: &str = "fleet/policy";

/// Puts the files into the registry as one artifact, and moves the tag to it.
fn push(fleet: &Fleet) {
    let content = fleet.registry.content();
    let describe = |media_type: &str, bytes: &[u8]| -> Value {
        content.put_blob(REPOSITORY, bytes.to_vec());
        json!({ "mediaType": media_type, "digest": sha256(bytes), "size": bytes.len() })
    };
    let layers = fleet.repository.files.iter().map(|(path, bytes)| {
        let mut layer = describe(REPOSITORY_LAYER, bytes);
        layer["annotations"] = json!({ FILE_ANNOTATION: path });
        layer
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": REPOSITORY_ARTIFACT,
        "config": describe(OCI_EMPTY, b"{}"),
        "layers": layers.collect::<Vec<_>>(),
    });
    let digest = content.put_manifest(REPOSITORY, OCI_MANIFEST, manifest.to_string());
    content.tag(REPOSITORY, "stable", &digest);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repository_in_a_registry_is_followed_and_its_denials_count_within_one_poll() {
    let mut fleet = Fleet::new(PRODUCTION).await;
    fleet.signer("release");
    let image = fleet.push_signed("prod/app", &Sign::with("release")).await;
    push(&fleet);
    let mut settings = toml::Table::new();
    let address = format!("oci://{}:stable", fleet.registry.repository(REPOSITORY));
    settings.insert("repository".into(), address.clone().into());
    let mut node = fleet.start(fleet.node(settings)).await;
    assert_eq!(node.status().await["repository"], address.as_str());
    node.admitted("prod/app").await;

    let asked = fleet.registry.log().mark();
    fleet.sign(&[(
        REVOCATIONS,
        "revocation/deny.json",
        deny_list(&[(json!({ "image": image.digest() }), "INC-1")]),
    )]);
    push(&fleet);
    let took = node.until_denied("prod/app", &image, Instant::now()).await;
    println!("denied {took:?} after the push of the artifact");
    assert!(took < POLL + LATE, "{took:?}");
    let denied = node.denied("prod/app", "denied-by-list").await;
    assert!(denied.event.contains("INC-1"), "{}", denied.event);
    let requests = node.asked(asked);
    assert!(
        requests
            .iter()
            .all(|request| request.repository.as_deref() == Some(REPOSITORY)),
        "{requests:#?}"
    );

    // Over a restart without the registry.
    let told = node.journal.mark();
    fleet.registry.stop().await;
    node.assayd.stop().await.expect("it stops");
    node.assayd.start().await.expect("it starts");
    assert_eq!(node.verify("prod/app", &image).await.code, "denied-by-list");
    let entry = node.told(told, SYNC_FAILING, |_| true).await;
    println!("{}", entry["MESSAGE"]);
    assert_eq!(entry["ASSAY_SYNC_ERROR"], "transport");
    fleet.registry.restart().await.expect("a registry");
    node.told(told, SYNC_RECOVERED, |_| true).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_whose_certificate_nobody_vouches_for_is_not_followed_until_the_right_one_answers() {
    let fleet = Fleet::new(PRODUCTION).await;
    fleet.signer("release");
    fleet.push_signed("prod/app", &Sign::with("release")).await;
    let other = assay_integration::PolicyServer::start(&fleet.peers, fleet.network.outside())
        .await
        .expect("nginx");
    let daemon = fleet.node(toml::Table::new()).file("fleet-ca.pem", other.ca());
    let mut node = fleet.begin(daemon).await;
    node.until("a failure", async |node| {
        node.status().await["error_class"] == "transport"
    })
    .await;
    let (said, code) = node.said().await;
    println!("{said}");
    assert!(
        said.contains("no generation is on this node yet") && code == Some(1),
        "{said}"
    );
    assert!(said.to_lowercase().contains("certificate"), "{said}");
    let denied = node.denied("prod/app", "policy-invalid").await;
    println!("{}", denied.event);
    assert!(fleet.web.requests().is_empty(), "{:?}", fleet.web.requests());

    std::fs::write(node.assayd.config_directory().join("fleet-ca.pem"), fleet.web.ca()).expect("a file");
    node.assayd.stop().await.expect("it stops");
    node.assayd.start().await.expect("it starts");
    node.until("a policy", async |node| node.status().await["staleness"] == "fresh")
        .await;
    node.admitted("prod/app").await;
    let requests = fleet.web.requests();
    assert!(
        requests
            .iter()
            .any(|request| request.starts_with("GET /timestamp.json 200 assayd/")),
        "{requests:?}"
    );
}
