//! Exceptions admit what nothing vouches for, for a while, and never what is denied.

use std::fs;
use std::time::Duration;

use assay_integration::Image;
use assay_integration::notation::Sign;
use assayd::admission::events::EXCEPTION_USED;
use serde_json::json;

use crate::lab::{Fleet, Node, PRODUCTION, now};
use crate::policy_repository::EXCEPTIONS;

/// Long enough to pull a few images.
const LASTS: Duration = Duration::from_secs(6);

/// A document with one exception for a repository, from now on.
fn exception(image: &str, incident: &str, lasts: Duration) -> String {
    let now = now();
    format!(
        "version = 1\n\n[[exception]]\nimages   = [\"{image}\"]\nowner    = \"jane@corp.example\"\n\
         reason   = \"the registry of signatures is down\"\nincident = \"{incident}\"\nstarts   = \"{now}\"\nexpires  = \"{}\"\n",
        now + lasts
    )
}

/// An unsigned image and a signed one are admitted, each by the exception; the denied one is not.
async fn admits_by_exception(node: &Node, folder: &str, incident: &str) {
    let active = async |node: &Node| node.status().await["exceptions"].to_string().contains(incident);
    node.until("the exception", active).await;
    assert!(node.counts("assayd_break_glass_active", 1).await);
    for repository in ["unsigned", "signed"] {
        let entry = node
            .admitted_as(&format!("{folder}/{repository}"), EXCEPTION_USED)
            .await;
        assert_eq!(
            (entry["ASSAY_CACHE"].as_str(), entry["PRIORITY"].as_str()),
            ("not-needed", "4"),
            "{entry:?}"
        );
        let message = &entry["MESSAGE"];
        assert!(
            message.contains(incident) && message.contains("jane@corp.example"),
            "{message}"
        );
        println!("{message}");
    }
    let denied = node.denied(&format!("{folder}/denied"), "denied-by-list").await;
    assert!(denied.event.contains("INC-1"), "{}", denied.event);
}

/// When it has ended, everything is as it was.
async fn ends(node: &Node, folder: &str) {
    node.until("the end", async |node| node.status().await["exceptions"] == json!([]))
        .await;
    node.denied(&format!("{folder}/unsigned"), "unsigned").await;
    node.admitted(&format!("{folder}/signed")).await;
    assert!(node.counts("assayd_break_glass_active", 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn exceptions_of_the_node_and_of_the_fleet_admit_until_they_end_and_never_what_is_denied() {
    let mut fleet = Fleet::new(PRODUCTION).await;
    fleet.signer("release");
    let mut denied = vec![];
    for folder in ["prod/local", "prod/fleet"] {
        let unsigned = format!("{folder}/unsigned");
        fleet.push(&unsigned, &Image::tiny(&unsigned).expect("an image"));
        fleet
            .push_signed(&format!("{folder}/signed"), &Sign::with("release"))
            .await;
        let image = fleet
            .push_signed(&format!("{folder}/denied"), &Sign::with("release"))
            .await;
        denied.push((json!({ "image": image.digest() }), "INC-1"));
    }
    fleet.deny(&denied);
    let node = fleet.start_node().await;
    for folder in ["prod/local", "prod/fleet"] {
        node.denied(&format!("{folder}/unsigned"), "unsigned").await;
    }

    let host = fleet.registry.host();
    let text = exception(&format!("{host}/prod/local/**"), "INC-LOCAL", LASTS);
    fs::write(node.assayd.config_directory().join("break-glass.toml"), text).expect("a file");
    admits_by_exception(&node, "prod/local", "INC-LOCAL").await;
    node.denied("prod/fleet/unsigned", "unsigned").await;

    let text = exception(
        &format!("{host}/prod/fleet/**"),
        "INC-FLEET",
        LASTS + Duration::from_secs(5),
    );
    fleet.publish(&[(EXCEPTIONS, "exceptions/break-glass.toml", text)]);
    admits_by_exception(&node, "prod/fleet", "INC-FLEET").await;
    ends(&node, "prod/fleet").await;
    ends(&node, "prod/local").await;
}
