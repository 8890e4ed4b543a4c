//! The network goes away, and comes back.

use std::time::Instant;

use assay_integration::notation::Sign;
use assay_integration::{Cut, Image};
use assayd::admission::events::{SYNC_FAILING, SYNC_RECOVERED, WITHDRAWN};
use serde_json::json;

use crate::lab::{Fleet, LATE, Node, POLL, PRODUCTION, key_of};

/// What status, journal and metrics say while the repository cannot be reached.
async fn says_that_it_fails(node: &Node) {
    let status = node.status().await;
    let since = status["failing_since"].as_str().expect("a time");
    assert_eq!(
        (&status["error_class"], &status["staleness"]),
        (&json!("transport"), &json!("fresh"))
    );
    let (said, code) = node.said().await;
    let line = said.lines().find(|line| line.trim_start().starts_with("FAILING"));
    let line = line.unwrap_or_else(|| panic!("{said}"));
    assert!(line.contains(&format!("since {since}: transport: ")), "{line}");
    assert_eq!(code, Some(1), "{said}");
    println!("{}", line.trim());
    assert!(node.counts("assayd_sync_failing{state=\"transport\"}", 1).await);
    assert!(node.counts("assayd_trust_standing{state=\"fresh\"}", 1).await);
}

/// What was seen keeps its verdict, what was never seen has none. The registry hears of neither.
async fn serves_what_it_knows(fleet: &Fleet, node: &Node, cache: &str) {
    let asked = fleet.registry.log().mark();
    let entry = node.admitted("prod/seen").await;
    assert_eq!(entry["ASSAY_CACHE"], cache, "{entry:?}");
    for (repository, reference) in [("prod/denied", "INC-1"), ("prod/leaked", "INC-3")] {
        let denied = node.denied(repository, "denied-by-list").await;
        assert!(denied.event.contains(reference), "{}", denied.event);
    }
    let denied = node.denied("prod/unseen", "registry-unavailable").await;
    println!("{}", denied.event);
    assert!(node.asked(asked).is_empty(), "there is a network");
}

async fn a_network_goes_away_and_returns(how: Cut) {
    let mut fleet = Fleet::new(PRODUCTION).await;
    let [leaked, _] = ["leaked", "release"].map(|name| fleet.signer(name));
    let seen = fleet.push_signed("prod/seen", &Sign::with("release")).await;
    let denied: Image = fleet.push_signed("prod/denied", &Sign::with("release")).await;
    fleet.push_signed("prod/unseen", &Sign::with("release")).await;
    fleet.push_signed("prod/leaked", &Sign::with("leaked")).await;
    let mut node = fleet.start_node().await;
    for repository in ["prod/seen", "prod/leaked"] {
        node.admitted(repository).await;
    }
    let before = vec![
        (json!({ "image": denied.digest() }), "INC-1"),
        (json!({ "key": key_of(&leaked) }), "INC-3"),
    ];
    fleet.deny(&before);
    let (status, code) = node.sync_now().await;
    assert_eq!((&status["denials"], code), (&json!(2), Some(0)), "{status}");

    let told = node.journal.mark();
    fleet.network.cut(how).await.expect("a cut");
    let cut = Instant::now();
    // The first question may go out on a connection that was open, and its asker leave before that is known to be dead.
    let first = node
        .denied_with_any("prod/unseen", &["deadline", "registry-unavailable"])
        .await;
    println!("{how:?}: {} after {:?}", first.entry["ASSAY_CODE"], cut.elapsed());
    serves_what_it_knows(&fleet, &node, "verdict").await;
    let entry = node.told(told, SYNC_FAILING, |_| true).await;
    println!("{how:?}: told {:?} after the cut: {}", cut.elapsed(), entry["MESSAGE"]);
    assert_eq!(entry["ASSAY_SYNC_ERROR"], "transport");
    assert!(entry["MESSAGE"].contains("what is in force stays"), "{entry:?}");
    says_that_it_fails(&node).await;

    // Also over a restart: nothing is in memory then.
    let told = node.journal.mark();
    node.assayd.stop().await.expect("it stops");
    node.assayd.start().await.expect("it starts");
    serves_what_it_knows(&fleet, &node, "evidence").await;
    node.told(told, SYNC_FAILING, |_| true).await;
    says_that_it_fails(&node).await;
    println!("{}", node.said().await.0);

    // What is published meanwhile counts as soon as the network is back, and nobody has to do anything.
    let meanwhile = (json!({ "image": seen.digest() }), "INC-2");
    fleet.deny(&[before, vec![meanwhile]].concat());
    assert_eq!(node.admitted("prod/seen").await["ASSAY_CACHE"], "verdict");
    let told = node.journal.mark();
    fleet.network.mend().await.expect("a network");
    let mended = Instant::now();
    let took = node.until_denied("prod/seen", &seen, mended).await;
    println!("{how:?}: denied {took:?} after the return of the network");
    // After two failures the wait is a part of four intervals.
    assert!(took < 4 * POLL + LATE, "{took:?}");
    let entry = node.told(told, SYNC_RECOVERED, |_| true).await;
    assert!(entry["MESSAGE"].contains("failing since"), "{entry:?}");
    node.told(told, WITHDRAWN, |entry| entry["ASSAY_CODE"] == "denied-by-list")
        .await;
    let denied = node.denied("prod/seen", "denied-by-list").await;
    assert!(denied.event.contains("INC-2"), "{}", denied.event);
    assert_eq!(node.admitted("prod/unseen").await["ASSAY_CACHE"], "gathered");
    let (said, code) = node.said().await;
    assert!(code == Some(0) && !said.contains("FAILING"), "{said}");
    assert!(node.counts("assayd_sync_failing{state=\"transport\"}", 0).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_whose_packets_are_lost_serves_what_it_knows_and_recovers_by_itself() {
    a_network_goes_away_and_returns(Cut::Silent).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_without_a_way_to_anywhere_serves_what_it_knows_and_recovers_by_itself() {
    a_network_goes_away_and_returns(Cut::AtOnce).await;
}
