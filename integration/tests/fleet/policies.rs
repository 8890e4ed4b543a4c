//! Policies that are published: broken ones, narrower ones, and rules that only watch.

use assay_integration::notation::Sign;
use assayd::admission::events::{AUDITED, POLICY_LOADED, UPDATE_REFUSED, WITHDRAWN};

use crate::lab::{Fleet, PRODUCTION, admits};

#[tokio::test(flavor = "multi_thread")]
async fn a_broken_policy_changes_nothing_and_a_narrower_one_withdraws_what_it_no_longer_admits() {
    let mut fleet = Fleet::new(PRODUCTION).await;
    for name in ["old", "new"] {
        fleet.signer(name);
    }
    let old = fleet.push_signed("prod/old", &Sign::with("old")).await;
    fleet.push_signed("prod/new", &Sign::with("new")).await;
    let node = fleet.start_node().await;
    for repository in ["prod/old", "prod/new"] {
        assert_eq!(node.admitted(repository).await["ASSAY_CACHE"], "gathered");
    }
    let revision = node.admitted("prod/new").await["ASSAY_POLICY"].clone();

    let told = node.journal.mark();
    fleet.rule(&PRODUCTION.replace("trust_stores ", "trust_stors "));
    let place = "channels/stable/policy.toml:7:1";
    let entry = node
        .told(told, UPDATE_REFUSED, |entry| entry["MESSAGE"].contains(place))
        .await;
    assert!(entry["MESSAGE"].contains("trust_stors"), "{entry:?}");
    node.until("the refusal", async |node| {
        node.status().await["error_class"] == "refused"
    })
    .await;
    let (said, code) = node.said().await;
    let mut refused = said.lines().filter(|line| line.trim_start().starts_with("REFUSED"));
    assert!(refused.any(|line| line.contains(place)) && code == Some(1), "{said}");
    println!("{said}");
    assert!(node.counts("assayd_policy_rejected", 1).await);
    assert!(node.counts("assayd_sync_failing{state=\"refused\"}", 1).await);
    for repository in ["prod/old", "prod/new"] {
        let entry = node.admitted(repository).await;
        assert_eq!(
            (&entry["ASSAY_CACHE"], &entry["ASSAY_POLICY"]),
            (&"verdict".to_owned(), &revision)
        );
    }

    let (told, asked) = (node.journal.mark(), fleet.registry.log().mark());
    let narrower = PRODUCTION.replace("\"*\"", "\"x509.subject: C=US, ST=WA, O=Corp, CN=new\"");
    fleet.rule(&narrower);
    let entry = node.told(told, WITHDRAWN, |_| true).await;
    println!("{}", entry["MESSAGE"]);
    assert_eq!(entry["ASSAY_DIGEST"], old.digest());
    // The registry may have a signature by somebody who still counts: nobody has asked it.
    assert!(
        entry["MESSAGE"].contains("was admitted and may be denied now") && entry["MESSAGE"].contains("CN=old"),
        "{entry:?}"
    );
    assert!(node.counts("assayd_withdrawn_images{state=\"undecided\"}", 1).await);
    let entry = node.admitted("prod/new").await;
    assert_eq!(entry["ASSAY_CACHE"], "verdict");
    assert_ne!(entry["ASSAY_POLICY"], revision);
    assert!(node.asked(asked).is_empty(), "{:#?}", node.asked(asked));
    assert_eq!(node.said().await.1, Some(0));
    assert!(node.counts("assayd_policy_rejected", 0).await);
    let code = "identity-mismatch";
    let denied = node.denied("prod/old", code).await;
    assert_ne!(denied.entry["ASSAY_POLICY"], revision);

    let told = node.journal.mark();
    fleet.rule(&narrower.replace("require =", "mode    = \"audit\"\nrequire ="));
    node.told(told, POLICY_LOADED, |_| true).await;
    let entry = node.admitted_as("prod/old", AUDITED).await;
    assert_eq!(
        (&entry["ASSAY_VERDICT"], &entry["ASSAY_CODE"]),
        (&"audit".to_owned(), &code.to_owned())
    );
    let answer = node.verify("prod/old", &old).await;
    assert!(admits(&answer) && answer.audited, "{answer:?}");
    println!("{}", entry["MESSAGE"]);
    let metric =
        format!("assayd_verdicts_total{{verdict=\"audit\",code=\"{code}\",hook=\"containerd-image-verifier\"}}");
    assert!(node.counts(&metric, 2).await);
    node.until("no withdrawal", async |node| {
        node.counts("assayd_withdrawn_images{state=\"undecided\"}", 0).await
            && node.counts("assayd_withdrawn_images{state=\"denied\"}", 0).await
    })
    .await;
}
