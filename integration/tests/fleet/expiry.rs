//! Trust that is not renewed: fresh, stale, expired, and fresh again.

use std::time::{Duration, Instant};

use assay_integration::Image;
use assay_integration::journal::Mark;
use assay_integration::notation::Sign;
use assayd::admission::events::{SYNC_FAILING, SYNC_RECOVERED, TRUST_STANDING};
use serde_json::json;

use crate::lab::{Fleet, LATE, Node, POLL, PRODUCTION};

/// How long the timestamp lives that is not renewed.
const LIFETIME: Duration = Duration::from_secs(3);

/// Waits until a node's trust is so, and until the journal and the metrics say it.
async fn becomes(node: &Node, told: Mark, word: &str) -> String {
    node.until(word, async |node| node.status().await["staleness"] == word)
        .await;
    assert!(
        node.counts(&format!("assayd_trust_standing{{state=\"{word}\"}}"), 1)
            .await
    );
    let entry = node
        .told(told, TRUST_STANDING, |entry| entry["ASSAY_TRUST"] == word)
        .await;
    println!("{}", entry["MESSAGE"]);
    entry["MESSAGE"].clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn stale_trust_is_said_and_expired_trust_admits_nothing_or_what_is_known_as_the_node_has_it() {
    let listed = Image::tiny("prod/listed").expect("an image");
    let by_digest = format!(
        "\n[[rule]]\nname = \"listed\"\nimages = [\"HOST/listed/**\"]\nadmit_digests = [\"{}\"]\n",
        listed.digest()
    );
    let mut fleet = Fleet::new(&(PRODUCTION.to_owned() + &by_digest)).await;
    fleet.signer("release");
    let release = Sign::with("release");
    for repository in ["prod/seen", "prod/meanwhile", "prod/unseen"] {
        fleet.push_signed(repository, &release).await;
    }
    let denied = fleet.push_signed("prod/denied", &release).await;
    fleet.push("listed/app", &listed);
    fleet.deny(&[(json!({ "image": denied.digest() }), "INC-1")]);
    let mut nodes = vec![];
    for when_expired in ["deny-new", "cached-only"] {
        let mut settings = toml::toml! { grace = "12s" };
        settings.insert("when_expired".into(), when_expired.into());
        let node = fleet.start(fleet.node(settings)).await;
        node.admitted("prod/seen").await;
        nodes.push(node);
    }
    let [deny_new, cached_only] = nodes.as_slice() else {
        panic!("two nodes")
    };
    let told = [deny_new, cached_only].map(|node| node.journal.mark());
    fleet.lifetime = LIFETIME;
    fleet.publish(&[]);
    for node in &nodes {
        let (status, code) = node.sync_now().await;
        assert_eq!((&status["staleness"], code), (&json!("fresh"), Some(0)), "{status}");
    }

    for (node, told) in nodes.iter().zip(told) {
        node.until("stale", async |node| node.status().await["staleness"] == "stale")
            .await;
        assert_eq!(node.admitted("prod/seen").await["ASSAY_CACHE"], "verdict");
        assert_eq!(node.admitted("prod/meanwhile").await["ASSAY_CACHE"], "gathered");
        node.denied("prod/denied", "denied-by-list").await;
        let (said, code) = node.said().await;
        assert!(
            said.contains("STALE: everything is judged as before until") && code == Some(1),
            "{said}"
        );
        assert!(
            node.status().await["staleness"] == "stale",
            "all that was while it was stale"
        );
        becomes(node, told, "stale").await;
    }

    for (node, told) in nodes.iter().zip(told) {
        let message = becomes(node, told, "expired").await;
        let (said, code) = node.said().await;
        assert!(said.contains("EXPIRED since") && code == Some(1), "{said}");
        let then = said
            .lines()
            .find_map(|line| line.split_once("EXPIRED since ")?.1.split_once(": "));
        assert!(
            then.is_some_and(|(_, then)| message.ends_with(then)),
            "{message}\n{said}"
        );
        node.told(told, SYNC_FAILING, |entry| entry["ASSAY_SYNC_ERROR"] == "expired")
            .await;
    }
    let asked = fleet.registry.log().mark();
    for repository in ["prod/seen", "prod/meanwhile", "prod/unseen", "listed/app"] {
        let denied = deny_new.denied(repository, "trust-stale").await;
        assert_eq!(denied.entry["ASSAY_CACHE"], "not-needed", "{repository}");
        assert!(denied.event.contains("assayctl sync status"), "{}", denied.event);
    }
    for (repository, cache) in [
        ("prod/seen", "verdict"),
        ("prod/meanwhile", "verdict"),
        ("listed/app", "not-needed"),
    ] {
        assert_eq!(
            cached_only.admitted(repository).await["ASSAY_CACHE"],
            cache,
            "{repository}"
        );
    }
    cached_only.denied("prod/unseen", "trust-stale").await;
    for node in &nodes {
        let denied = node.denied("prod/denied", "denied-by-list").await;
        assert!(denied.event.contains("INC-1"), "{}", denied.event);
        assert!(node.asked(asked).is_empty());
    }
    // What is known outlasts a restart: it is on disk.
    let [_, cached_only] = nodes.as_mut_slice() else {
        panic!("two nodes")
    };
    cached_only.assayd.stop().await.expect("it stops");
    cached_only.assayd.start().await.expect("it starts");
    assert_eq!(cached_only.admitted("prod/seen").await["ASSAY_CACHE"], "evidence");
    cached_only.denied("prod/unseen", "trust-stale").await;
    cached_only.denied("prod/denied", "denied-by-list").await;
    assert!(cached_only.asked(asked).is_empty());
    cached_only
        .until("a failure", async |node| {
            node.status().await["error_class"] == "expired"
        })
        .await;

    fleet.lifetime = Duration::from_secs(3600);
    let told: Vec<_> = nodes.iter().map(|node| node.journal.mark()).collect();
    let published = fleet.publish(&[]);
    for (node, told) in nodes.iter().zip(told) {
        node.until("fresh", async |node| node.status().await["staleness"] == "fresh")
            .await;
        println!("fresh {:?} after the publication", published.elapsed());
        node.told(told, SYNC_RECOVERED, |_| true).await;
        node.admitted("prod/unseen").await;
        becomes(node, told, "fresh").await;
    }
    assert!(Instant::now() - published < 8 * POLL + LATE);
}
