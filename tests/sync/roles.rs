//! Who may sign what, and what a node takes of it.

use assay_verify::digest::Digest;
use assayd::sync::{Client, Store};
use serde_json::json;

use crate::lab::{Lab, WAYS, Way, content};
use crate::policy_repository::{EXCEPTIONS, REVOCATIONS, TARGETS};

const POLICY: &str = "channels/stable/policy.toml";
const DENY_LIST: &str = "revocation/deny.json";

async fn paths(lab: &mut Lab) -> Vec<String> {
    lab.repository.update("2");
    lab.upload();
    lab.follows().await.files().keys().cloned().collect()
}

#[tokio::test]
async fn a_node_takes_its_channel_the_deny_list_and_the_exceptions() {
    for way in WAYS {
        let mut lab = Lab::fresh(way).await;
        let generation = lab.follows().await;
        let files: Vec<&str> = generation.files().keys().map(String::as_str).collect();
        assert_eq!(
            files,
            [
                "channels/stable/notation/truststore/x509/ca/corp/Corp Root (1).crt",
                POLICY,
                "exceptions/break-glass.toml",
                DENY_LIST,
            ]
        );
        for (path, content) in generation.files() {
            assert_eq!(generation.digests()[path], Digest::sha256(content));
        }
    }
}

/// Compromised keys of the deny-list can deny, and nothing else.
#[tokio::test]
async fn the_deny_list_s_role_delivers_no_policy_and_no_exceptions() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        let before = paths(&mut lab).await;
        for path in [
            POLICY,
            "channels/stable/keys/evil.pub",
            "exceptions/break-glass.toml",
            "exceptions/more.toml",
            "revocation",
            "revocation/deeper/deny.json",
            "revocations/deny.json",
            "policy.toml",
        ] {
            lab.repository.put(REVOCATIONS, path, "evil");
        }
        assert_eq!(paths(&mut lab).await, before, "{way:?}");
        let current = lab.client.current().unwrap();
        assert_eq!(content(current, POLICY), "policy 2");
        assert_eq!(content(current, "exceptions/break-glass.toml"), "exceptions 1");
        assert_eq!(content(current, DENY_LIST), "deny 2");
    }
}

#[tokio::test]
async fn the_exceptions_role_delivers_no_policy_and_no_deny_list() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        let before = paths(&mut lab).await;
        for path in [POLICY, DENY_LIST, "revocation/empty.crl", "channels/stable/x"] {
            lab.repository.put(EXCEPTIONS, path, "evil");
        }
        assert_eq!(paths(&mut lab).await, before, "{way:?}");
        let current = lab.client.current().unwrap();
        assert_eq!(content(current, POLICY), "policy 2");
        assert_eq!(content(current, DENY_LIST), "deny 2");
    }
}

/// Even where a delegation names more than it should.
#[tokio::test]
async fn a_delegation_does_not_widen_what_a_role_may_sign() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        let before = paths(&mut lab).await;
        lab.repository.delegations = vec![
            (
                REVOCATIONS,
                vec!["revocation/*", "channels/stable/*", "exceptions/*", "*"],
            ),
            (EXCEPTIONS, vec!["*/*", "*/*/*"]),
        ];
        lab.repository.put(REVOCATIONS, "channels/stable/evil", "evil");
        lab.repository.put(REVOCATIONS, "exceptions/evil", "evil");
        lab.repository.put(EXCEPTIONS, "revocation/evil", "evil");
        lab.repository.put(EXCEPTIONS, "channels/stable/evil", "evil");
        assert_eq!(paths(&mut lab).await, before, "{way:?}");
    }
}

#[tokio::test]
async fn a_delegation_can_name_less() {
    let mut lab = Lab::new(Way::Folder).await;
    lab.repository.put(REVOCATIONS, "revocation/corp.crl", "crl");
    assert!(paths(&mut lab).await.contains(&"revocation/corp.crl".to_owned()));
    lab.repository.delegations[0].1 = vec!["revocation/*.json"];
    let paths = paths(&mut lab).await;
    assert!(!paths.contains(&"revocation/corp.crl".to_owned()));
    assert!(paths.contains(&DENY_LIST.to_owned()));
}

/// An unparsable pattern must not silently match nothing.
#[tokio::test]
async fn a_delegation_that_cannot_be_read_is_refused() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        let honest = std::mem::replace(
            &mut lab.repository.delegations[0].1,
            vec!["x", "revocation/[", "revocation/*"],
        );
        lab.repository.update("2");
        lab.upload();
        lab.refuses("malformed").await;
        lab.repository.delegations[0].1 = honest;
        lab.recovers().await;
    }
}

#[tokio::test]
async fn the_targets_role_comes_before_those_it_delegates_to() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        lab.repository.put(TARGETS, DENY_LIST, "by the owner");
        lab.repository.update("2");
        lab.upload();
        assert_eq!(content(lab.follows().await.as_ref(), DENY_LIST), "by the owner");
    }
}

#[tokio::test]
async fn a_repository_can_do_without_delegations() {
    for way in WAYS {
        let mut lab = Lab::fresh(way).await;
        lab.repository.delegations.clear();
        lab.repository.put(TARGETS, DENY_LIST, "by the owner");
        lab.repository.update("2");
        lab.upload();
        let generation = lab.follows().await;
        assert_eq!(content(&generation, DENY_LIST), "by the owner");
        assert_eq!(generation.versions().revocations, None);
        lab.restart();
        assert_eq!(lab.client.damage(), []);
        assert_eq!(lab.client.current().unwrap().files(), generation.files());
    }
}

/// Nor is its metadata asked for.
#[tokio::test]
async fn a_role_that_is_not_known_is_left_alone() {
    let mut lab = Lab::new(Way::Https).await;
    lab.repository.before_signing = Some(Box::new(|of, document| {
        if of == TARGETS {
            let mut other = document["delegations"]["roles"][0].clone();
            other["name"] = "other".into();
            other["paths"] = json!(["*", "*/*", "*/*/*"]);
            let roles = document["delegations"]["roles"].as_array_mut().unwrap();
            roles.insert(0, other);
        }
    }));
    lab.server().asked();
    lab.repository.update("2");
    lab.upload();
    assert_eq!(content(lab.follows().await.as_ref(), POLICY), "policy 2");
    assert!(lab.server().asked().iter().all(|asked| !asked.file.contains("other")));
}

#[tokio::test]
async fn a_node_can_change_its_channel() {
    let mut lab = Lab::new(Way::Folder).await;
    lab.client = Client::open(
        &lab.repository.pinned(),
        "canary".parse().unwrap(),
        Store::new(lab.state()),
    )
    .unwrap();
    assert!(lab.client.current().is_none());
    assert_eq!(lab.client.damage()[0].word(), "integrity");
    let generation = lab.follows().await;
    assert_eq!(content(&generation, "channels/canary/policy.toml"), "canary's policy");
    assert!(!generation.files().contains_key(POLICY));
}

#[tokio::test]
async fn two_paths_with_the_same_content_are_one_file() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        lab.repository.put(TARGETS, "channels/stable/keys/one.pub", "key");
        lab.repository.put(TARGETS, "channels/stable/keys/two.pub", "key");
        lab.repository.put(TARGETS, "channels/stable/keys/empty.pub", "");
        lab.repository.update("2");
        lab.upload();
        let generation = lab.follows().await;
        assert_eq!(content(&generation, "channels/stable/keys/one.pub"), "key");
        assert_eq!(content(&generation, "channels/stable/keys/two.pub"), "key");
        assert_eq!(content(&generation, "channels/stable/keys/empty.pub"), "");
        lab.recovers().await;
    }
}
