//! What was admitted on a node, as it stands now.

use std::sync::Arc;

use assay_verify::code::Code;
use serde_json::Value;

use crate::bundles::{BY_CORP, BY_RELEASE, go_dark, served};
use crate::lab::{Lab, Node, assert_admitted, assert_denied};

async fn inventory(node: &Node, code: i32) -> Value {
    let ran = node.assayctl(&["inventory", "--stored", "--output", "json"]).await;
    ran.ended_with(code).json()
}

fn standings(inventory: &Value) -> Vec<(&str, &str)> {
    let images = inventory["images"].as_array().unwrap().iter();
    let mut found: Vec<_> = images
        .map(|image| (image["standing"].as_str().unwrap(), image["code"].as_str().unwrap()))
        .collect();
    found.sort_unstable();
    found
}

#[tokio::test(flavor = "multi_thread")]
async fn every_admitted_image_is_judged_anew_without_a_network() {
    let mut lab = Lab::new().await;
    let either = "require = { any = [\"corp\", \"release\"] }";
    let node = served(&lab, either).await;
    assert_eq!(standings(&inventory(&node, 0).await), []);
    let [by_corp, by_release, unsigned] = ["corp", "release", "unsigned"].map(|text| lab.image(text));
    lab.sign_by_corp(&by_corp);
    lab.sign_by_release(&by_release);
    for image in [&by_corp, &by_release] {
        assert_admitted(&node.judge(&lab.question(image)).await);
    }
    node.judge(&lab.question(&unsigned)).await;
    let requests = node.requests();
    go_dark(&mut lab).await;
    let asked = lab.endpoints.asked();

    let all = inventory(&node, 0).await;
    assert_eq!(standings(&all), [("admit", ""); 2]);
    assert!(
        all["not_in_it"]
            .as_str()
            .unwrap()
            .contains("without assayd being asked")
    );
    assert_eq!(
        (&all["images"][0]["imported"], &all["admitted"]),
        (&false.into(), &2.into())
    );
    // The signer is revoked: the one image is denied, the other is not touched.
    node.bring(&lab.crl(true));
    assert_eq!(
        standings(&inventory(&node, 1).await),
        [("admit", ""), ("deny", "certificate-revoked")]
    );
    // Another policy, of which nothing is known without the registry.
    node.follow(&lab, BY_RELEASE);
    assert_eq!(
        standings(&inventory(&node, 3).await),
        [("admit", ""), ("unknown", "registry-unavailable")]
    );
    let said = node.assayctl(&["inventory", "--stored"]).await.ended_with(3);
    assert!(said.stdout.contains("1 admitted, 0 denied, 1 not decided"), "{said:?}");
    assert!(said.stdout.contains("without assayd being asked"), "{said:?}");
    node.follow(&lab, "deny = \"withdrawn\"");
    assert_eq!(standings(&inventory(&node, 1).await), [("deny", "denied-by-rule"); 2]);
    assert_eq!((node.requests(), lab.endpoints.asked()), (requests, asked));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposed_policy_leaves_no_trace_in_what_is_stored() {
    let mut lab = Lab::new().await;
    let node = served(&lab, BY_CORP).await;
    let image = lab.image("both");
    lab.sign_by_corp(&image);
    lab.sign_by_release(&image);
    let question = lab.question(&image);
    assert_admitted(&node.judge(&question).await);
    let evidence = node.admission.evidence();
    let before = evidence.peek(&question.repository, &question.descriptor).await;
    let propose = |rule: &str| {
        let proposed = node
            .admission
            .trust()
            .propose(&lab.policy(rule), jiff::Timestamp::now());
        Arc::new(proposed.unwrap())
    };
    let proposed = propose(BY_RELEASE);
    let explained = node.admission.explain_under(&proposed, &question, false).await;
    assert_admitted(&explained.verdict);
    let after = evidence.peek(&question.repository, &question.descriptor).await;
    assert_eq!(before.signatures.len(), 1);
    assert_eq!(after.signatures[0].id(), before.signatures[0].id());
    // Nor does a denial take anything away, or change what is in force.
    let explained = node
        .admission
        .explain_under(&propose("deny = \"withdrawn\""), &question, false)
        .await;
    assert_denied(&explained.verdict, Code::DeniedByRule);
    go_dark(&mut lab).await;
    assert_admitted(&node.judge_stored(&question).await);
}

#[tokio::test(flavor = "multi_thread")]
async fn hundreds_of_images_are_listed_each_once() {
    const COUNT: usize = 321;
    let lab = Lab::new().await;
    let node = served(&lab, BY_CORP).await;
    let signed = lab.image("signed");
    lab.sign_by_corp(&signed);
    assert_admitted(&node.judge(&lab.question(&signed)).await);
    let question = lab.question(&signed);
    let evidence = node.admission.evidence();
    let stored = evidence.peek(&question.repository, &question.descriptor).await;
    for number in 1..COUNT {
        let repository = format!("{}/copy{number}", lab.registry.host()).parse().unwrap();
        let copy = stored.clone();
        evidence
            .store(&repository, &question.descriptor, copy, jiff::Timestamp::now())
            .await
            .unwrap();
    }
    let all = inventory(&node, 0).await;
    let mut names: Vec<_> = all["images"]
        .as_array()
        .unwrap()
        .iter()
        .map(|image| &image["repository"])
        .collect();
    assert_eq!((names.len(), &all["admitted"]), (COUNT, &COUNT.into()));
    names.dedup();
    assert_eq!(names.len(), COUNT);
}
