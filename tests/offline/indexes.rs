//! A verdict about an index is one about its children.

use std::collections::BTreeSet;

use assay_integration::registry::{Fault, Kind, When};
use assay_verify::code::Code;
use assay_verify::digest::Digest;
use assay_verify::limits::MAX_INDEX_CHILDREN;
use assayd::admission::{Ground, Outcome, Verdict, offline};
use assayd::cache::evidence::Stored;
use assayd::fetch::layout::Found;
use http::StatusCode;
use serde_json::{Value, json};

use crate::lab::{APP, Lab, Node, assert_admitted, assert_denied, descriptor};

const BY_RELEASE: &str = "require = { all = [\"release\"] }";
const BY_PLATFORMS: &str = "require = { all = [\"release\"] }\naccept_platform_signatures = true";

fn digest(image: &Value) -> Digest {
    descriptor(image).digest
}

/// The digests that an admit rests on.
fn rests_on(verdict: &Verdict) -> BTreeSet<Digest> {
    let Outcome::Admit(Ground::Evidence(permit)) = &verdict.outcome else {
        panic!("{}", verdict.finding())
    };
    permit.rests_on().digests.clone()
}

/// An index of two children.
fn two(lab: &Lab) -> (Value, [Value; 2]) {
    let children = ["own", "other"].map(|name| lab.image(name));
    (lab.index(&children), children)
}

#[tokio::test]
async fn an_admitted_index_rests_on_every_child_and_is_judged_again_without_a_network() {
    let mut lab = Lab::new().await;
    let (index, children) = two(&lab);
    lab.sign_by_release(&index);
    let node = lab.node(BY_RELEASE).await;
    let question = lab.question(&index);
    let found = rests_on(&node.judge(&question).await);
    assert!(found.is_superset(&BTreeSet::from([&children[0], &children[1], &index].map(digest))));

    let node = node.restart(&lab, BY_RELEASE).await;
    lab.registry.stop().await;
    assert_eq!(rests_on(&node.judge(&question).await), found);
    assert_eq!(node.requests(), 0);
}

#[tokio::test]
async fn the_index_costs_one_request_beside_the_search_and_none_after_it() {
    let lab = Lab::new().await;
    let (index, _) = two(&lab);
    let image = lab.image("image");
    let node = lab.node(BY_RELEASE).await;
    let mut counts = Vec::new();
    for signed in [&image, &index] {
        lab.sign_by_release(signed);
        let before = node.requests();
        assert_admitted(&node.judge(&lab.question(signed)).await);
        counts.push(node.requests() - before);
    }
    assert_eq!(counts[1], counts[0] + 1);
    // What depends on other answers comes after the index was asked for.
    let requests = lab.registry.log().requests();
    let place = |wanted: &dyn Fn(&str) -> bool| requests.iter().rposition(|request| wanted(&request.path)).unwrap();
    let index = digest(&index).to_string();
    assert!(place(&|path| path.ends_with(&index)) < place(&|path| path.contains("/blobs/")));
}

#[tokio::test]
async fn an_index_that_cannot_be_had_is_not_admitted_and_nothing_is_stored() {
    for (fault, code) in [
        (
            Fault::Status(StatusCode::SERVICE_UNAVAILABLE),
            Code::RegistryUnavailable,
        ),
        (Fault::Status(StatusCode::NOT_FOUND), Code::RegistryUnavailable),
        (Fault::Status(StatusCode::FORBIDDEN), Code::RegistryAuth),
        (Fault::WrongBytes, Code::RegistryUnavailable),
        (Fault::Huge { bytes: 1 << 20 }, Code::RegistryUnavailable),
    ] {
        let lab = Lab::new().await;
        let (index, _) = two(&lab);
        lab.sign_by_release(&index);
        let node = lab.node(BY_RELEASE).await;
        let question = lab.question(&index);
        let of_the_index = When::kind(Kind::Manifest).and_path(digest(&index).to_string());
        lab.registry.misbehave(of_the_index, fault);
        assert_denied(&node.judge(&question).await, code);
        assert!(!node.has_evidence(&question).await);
        lab.registry.behave();
        assert_admitted(&node.judge(&question).await);
    }
}

#[tokio::test]
async fn an_index_that_is_not_signed_is_unsigned_whether_it_can_be_had_or_not() {
    let lab = Lab::new().await;
    let (index, _) = two(&lab);
    let node = lab.node(BY_RELEASE).await;
    let of_the_index = When::kind(Kind::Manifest).and_path(digest(&index).to_string());
    lab.registry
        .misbehave(of_the_index, Fault::Status(StatusCode::SERVICE_UNAVAILABLE));
    assert_denied(&node.judge(&lab.question(&index)).await, Code::Unsigned);
}

#[tokio::test]
async fn an_index_whose_children_are_too_many_or_not_known_is_not_admitted() {
    let lab = Lab::new().await;
    let child = |number: usize| {
        let digest = Digest::sha256(number.to_string().as_bytes()).to_string();
        json!({ "mediaType": "application/vnd.oci.image.manifest.v1+json", "digest": digest, "size": 1 })
    };
    let of = |count: usize| json!({ "schemaVersion": 2, "manifests": (0..count).map(child).collect::<Vec<_>>() });
    let node = lab.node(BY_RELEASE).await;
    for (text, expected) in [
        (of(MAX_INDEX_CHILDREN).to_string(), None),
        (of(MAX_INDEX_CHILDREN + 1).to_string(), Some(Code::LimitExceeded)),
        (
            r#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#.to_owned(),
            Some(Code::RequestMalformed),
        ),
    ] {
        let index = lab.index_of(&text);
        lab.sign_by_release(&index);
        let verdict = node.judge(&lab.question(&index)).await;
        match expected {
            None => assert_admitted(&verdict),
            Some(code) => assert_denied(&verdict, code),
        }
    }
}

#[tokio::test]
async fn an_index_of_which_the_signatures_alone_are_stored_costs_one_request() {
    let lab = Lab::new().await;
    let (index, _) = two(&lab);
    lab.sign_by_release(&index);
    let node = lab.node(BY_RELEASE).await;
    let question = lab.question(&index);
    assert_admitted(&node.judge(&question).await);
    let (repository, descriptor) = (&question.repository, &question.descriptor);
    let stored = node.admission.evidence().peek(repository, descriptor).await;
    let lost = Stored { index: None, ..stored };
    let evidence = node.admission.evidence();
    evidence
        .store(repository, descriptor, lost, jiff::Timestamp::now())
        .await
        .unwrap();
    for expected in [1, 0] {
        let before = node.requests();
        assert_admitted(&node.judge(&question).await);
        assert_eq!(node.requests() - before, expected);
    }
}

async fn requests_for(lab: &Lab, node: &Node, index: &Value) -> usize {
    let mark = lab.registry.log().mark();
    assert_admitted(&node.judge(&lab.question(index)).await);
    let requests = lab.registry.log().requests_since(mark);
    let own = format!("/v2/{APP}/manifests/{}", digest(index));
    requests.iter().filter(|request| request.path == own).count()
}

#[tokio::test]
async fn an_index_by_the_signatures_of_its_children_is_fetched_once_and_judged_again_without_a_network() {
    let mut lab = Lab::new().await;
    let (index, [own, other]) = two(&lab);
    lab.sign_by_release(&own);
    let node = lab.node(BY_PLATFORMS).await;
    assert_eq!(requests_for(&lab, &node, &index).await, 1);

    let question = lab.question(&index);
    let node = node.restart(&lab, BY_PLATFORMS).await;
    lab.registry.stop().await;
    let found = rests_on(&node.judge(&question).await);
    assert!(found.is_superset(&BTreeSet::from([&own, &other, &index].map(digest))));
    assert_admitted(&node.judge_stored(&question).await);
    assert_eq!(node.requests(), 0);
    // A rule that counts no children's signatures has nothing to go by.
    node.follow(&lab, BY_RELEASE);
    assert_denied(&node.judge(&question).await, Code::RegistryUnavailable);
    assert_denied(&node.judge_stored(&question).await, Code::RegistryUnavailable);
}

#[tokio::test]
async fn a_child_that_a_rule_denies_is_denied_under_the_name_of_its_stored_index_too() {
    let lab = Lab::new().await;
    let (index, [own, _]) = two(&lab);
    lab.sign_by_release(&own);
    let node = lab.node(BY_PLATFORMS).await;
    let question = lab.question(&index);
    assert_admitted(&node.judge(&question).await);
    let before = format!("deny = \"withdrawn\"\ndigests = [\"{}\"]", digest(&own));
    let rules = format!(
        "{before}\n[[rule]]\nname = \"rest\"\nimages = [\"{}/**\"]\n{BY_PLATFORMS}",
        lab.registry.host()
    );
    node.follow(&lab, &rules);
    assert_denied(&node.judge(&question).await, Code::DeniedByRule);
    assert!(!node.judge_stored(&question).await.outcome.admits());
}

#[tokio::test]
async fn a_layout_without_the_index_itself_admits_no_index() {
    let lab = Lab::new().await;
    let (index, [own, other]) = two(&lab);
    lab.sign_by_release(&index);
    let node = lab.node(BY_RELEASE).await;
    let question = lab.question(&index);
    assert_admitted(&node.judge(&question).await);
    let stored = node
        .admission
        .evidence()
        .peek(&question.repository, &question.descriptor)
        .await;
    let snapshot = node.admission.trust().current().unwrap();
    let now = jiff::Timestamp::now();
    let mut found = Found {
        image: stored.index.map(|index| index.bytes().clone()),
        signatures: stored.signatures,
        ..Found::default()
    };
    let verdict = offline(&snapshot, &question, &found, now).verdict;
    assert!(rests_on(&verdict).is_superset(&BTreeSet::from([&own, &other].map(digest))));
    found.image = None;
    assert_denied(
        &offline(&snapshot, &question, &found, now).verdict,
        Code::RegistryUnavailable,
    );
}
