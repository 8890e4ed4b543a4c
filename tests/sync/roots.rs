//! The chain of roots: only forward, only by those who may, and nobody can cut it short.

use std::sync::Arc;

use assayd::sync::{Client, Store};
use serde_json::{Value, json};

use crate::lab::{Lab, WAYS, Way, open};
use crate::policy_repository::server::Fault;
use crate::policy_repository::{Authority, ROOT, Repository, SNAPSHOT, Signer, TARGETS, TIMESTAMP};

/// Publishes a second root that is wrong. The node refuses it with `word`, keeps what it has, and follows the right one.
async fn refuses_root(word: &str, publish: impl Fn(&mut Repository)) {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        let honest = lab.repository.files.clone();
        let (authorities, versions) = (lab.repository.authorities.clone(), lab.repository.versions.clone());
        publish(&mut lab.repository);
        lab.upload();
        lab.refuses(word).await;
        assert_eq!(lab.client.root_version(), 1);
        lab.repository.files = honest;
        lab.repository.authorities = authorities;
        lab.repository.versions = versions;
        lab.repository.behave();
        lab.repository.rotate(|_| ());
        lab.recovers().await;
        assert_eq!(lab.client.root_version(), 2);
    }
}

/// The same for a change of the document before it is signed by everybody.
async fn tamper(word: &str, change: impl Fn(&mut Value) + Clone + 'static) {
    refuses_root(word, |repository| {
        let change = change.clone();
        repository.before_signing = Some(Box::new(move |_, document| change(document)));
        repository.rotate(|_| ());
    })
    .await;
}

/// CVE-2025-2885.
#[tokio::test]
async fn versions_of_roots_follow_each_other_without_a_gap() {
    for version in [0, 1, 3, u64::MAX] {
        tamper("integrity", move |document| document["version"] = version.into()).await;
    }
}

#[tokio::test]
async fn a_root_has_to_be_signed_by_the_keys_of_the_one_before() {
    refuses_root("threshold", |repository| {
        repository.authorities.insert(ROOT, Authority::new(3, 2));
        repository.versions.insert(ROOT, 2);
        repository.publish_root(&[]);
    })
    .await;
}

#[tokio::test]
async fn a_root_has_to_be_signed_by_its_own_keys() {
    refuses_root("threshold", |repository| {
        let own: Vec<String> = {
            repository.authorities.insert(ROOT, Authority::new(3, 2));
            let signers = &repository.authorities[ROOT].signers;
            signers.iter().map(|signer| signer.id()).collect()
        };
        repository.after_signing = Some(Box::new(move |_, envelope| {
            let signatures = envelope["signatures"].as_array_mut().unwrap();
            signatures.retain(|signature| !own.contains(&signature["keyid"].as_str().unwrap().to_owned()));
        }));
        repository.versions.insert(ROOT, 2);
        let before = Repository::new().authorities[ROOT].signers.clone();
        repository.publish_root(&before);
    })
    .await;
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        let own = Authority::new(3, 2);
        let ids: Vec<String> = own.signers.iter().map(|signer| signer.id()).collect();
        lab.repository.after_signing = Some(Box::new(move |_, envelope| {
            let signatures = envelope["signatures"].as_array_mut().unwrap();
            signatures.retain(|signature| !ids.contains(&signature["keyid"].as_str().unwrap().to_owned()));
        }));
        lab.repository.rotate(|authorities| drop(authorities.insert(ROOT, own)));
        lab.upload();
        let error = lab.refuses("threshold").await;
        assert!(error.to_string().contains("0/2"), "{error}");
    }
}

#[tokio::test]
async fn a_root_signed_by_fewer_than_the_threshold_is_refused() {
    refuses_root("threshold", |repository| {
        repository.after_signing = Some(Box::new(|_, envelope| {
            envelope["signatures"].as_array_mut().unwrap().truncate(1);
        }));
        repository.rotate(|_| ());
    })
    .await;
}

/// CVE-2020-15093.
#[tokio::test]
async fn a_root_signed_twice_by_one_key_is_refused() {
    refuses_root("threshold", |repository| {
        repository.after_signing = Some(Box::new(|_, envelope| {
            let first = envelope["signatures"][0].clone();
            envelope["signatures"] = json!([first.clone(), first]);
        }));
        repository.rotate(|_| ());
    })
    .await;
}

#[tokio::test]
async fn a_root_that_no_policy_repository_may_have_is_refused() {
    tamper("malformed", |document| document["consistent_snapshot"] = false.into()).await;
    tamper("malformed", |document| {
        document["roles"].as_object_mut().unwrap().remove(SNAPSHOT);
    })
    .await;
    tamper("malformed", |document| {
        let id = document["roles"][TARGETS]["keyids"][0].as_str().unwrap().to_owned();
        document["keys"]["another"] = document["keys"][&id].clone();
        document["roles"][TARGETS]["keyids"]
            .as_array_mut()
            .unwrap()
            .push("another".into());
    })
    .await;
    tamper("malformed", |document| document["roles"][ROOT]["threshold"] = 0.into()).await;
}

#[tokio::test]
async fn rotations_are_followed_one_by_one() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        for _ in 0..3 {
            lab.repository.rotate(|authorities| {
                for (_, authority) in authorities.iter_mut() {
                    *authority = Authority::new(2, 2);
                }
            });
        }
        lab.repository.update("2");
        lab.upload();
        let generation = lab.follows().await;
        assert_eq!(generation.versions().root.version, 4);
        lab.restart();
        assert_eq!(lab.client.damage(), []);
        assert_eq!(lab.client.current().unwrap().versions().root.version, 4);
        lab.recovers().await;
    }
}

#[tokio::test]
async fn a_key_that_a_root_takes_away_signs_nothing_any_more() {
    for role in [TIMESTAMP, SNAPSHOT, TARGETS] {
        for way in WAYS {
            let mut lab = Lab::new(way).await;
            let stolen = lab.repository.authorities[role].clone();
            lab.repository
                .rotate(|authorities| drop(authorities.insert(role, Authority::new(2, 1))));
            let honest = lab.repository.authorities.insert(role, stolen).unwrap();
            lab.repository.update("by the thief");
            lab.upload();
            // The first refresh keeps the root that it could follow.
            let error = lab.refresh().await.unwrap_err();
            assert_eq!(error.word(), "threshold", "{way:?}: {error}");
            assert_eq!(lab.client.root_version(), 2);
            lab.refuses("threshold").await;
            // A thief between node and repository cannot hide the root from who has seen it.
            lab.restart();
            let mut hidden = lab.repository.files.clone();
            hidden.remove("2.root.json");
            lab.serve(&hidden);
            lab.refuses("threshold").await;
            lab.repository.authorities.insert(role, honest);
            lab.recovers().await;
        }
    }
}

/// What the new root does not verify any more goes on to serve until there is something newer: also over a restart.
#[tokio::test]
async fn a_rotation_alone_takes_nothing_from_a_node() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        let files = lab.client.current().unwrap().files().clone();
        lab.repository
            .rotate(|authorities| drop(authorities.insert(TARGETS, Authority::new(2, 2))));
        lab.upload();
        assert_eq!(lab.refresh().await.unwrap_err().word(), "threshold");
        assert_eq!(lab.client.current().unwrap().files(), &files);
        assert_eq!(lab.client.current().unwrap().versions().root.version, 2);
        lab.restart();
        assert_eq!(lab.client.damage(), []);
        assert_eq!(lab.client.root_version(), 2);
        assert_eq!(lab.client.current().unwrap().files(), &files);
        lab.refuses("threshold").await;
        lab.recovers().await;
    }
}

#[tokio::test]
async fn a_rotation_that_leaves_the_other_keys_alone_changes_nothing_else() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        lab.repository
            .rotate(|authorities| drop(authorities.insert(ROOT, Authority::new(4, 3))));
        lab.upload();
        lab.finds_nothing_new().await;
        assert_eq!(lab.client.current().unwrap().versions().root.version, 2);
        lab.restart();
        assert_eq!(lab.client.current().unwrap().versions().root.version, 2);
        lab.finds_nothing_new().await;
        lab.recovers().await;
    }
}

#[tokio::test]
async fn a_server_that_fails_is_not_the_end_of_the_chain() {
    let mut lab = Lab::new(Way::Https).await;
    lab.repository
        .rotate(|authorities| drop(authorities.insert(TIMESTAMP, Authority::new(1, 1))));
    lab.repository.update("2");
    lab.upload();
    for fault in [
        Fault::Status(400, None),
        Fault::Status(401, None),
        Fault::Status(410, None),
        Fault::Status(429, Some(9)),
        Fault::Status(500, None),
        Fault::Status(502, None),
        Fault::Status(503, None),
        Fault::Status(204, None),
        Fault::NotModified,
        Fault::Redirect("/policy/1.root.json".to_owned()),
        Fault::Truncated,
    ] {
        lab.server().misbehave("2.root.json", fault);
        let error = lab.refuses("transport").await;
        assert!(error.is_transport());
        lab.server().behave();
    }
    lab.recovers().await;
}

#[tokio::test]
async fn a_store_that_forbids_what_it_does_not_have_ends_the_chain() {
    let mut lab = Lab::new(Way::Https).await;
    lab.server().misbehave("2.root.json", Fault::Status(403, None));
    lab.finds_nothing_new().await;
    // Any other file should be there.
    lab.server().misbehave("timestamp.json", Fault::Status(403, None));
    lab.refuses("transport").await;
    lab.recovers().await;
}

#[tokio::test]
async fn a_long_absence_is_made_up_for_in_several_refreshes() {
    let mut lab = Lab::new(Way::Folder).await;
    for _ in 0..70 {
        lab.repository.rotate(|_| ());
    }
    lab.repository.update("2");
    lab.upload();
    let error = lab.refresh().await.unwrap_err();
    assert_eq!(error.word(), "malformed");
    assert_eq!(lab.client.root_version(), 65);
    lab.restart();
    assert_eq!(lab.client.root_version(), 65);
    assert_eq!(lab.follows().await.versions().root.version, 71);
    lab.recovers().await;
}

#[tokio::test]
async fn a_pinned_root_has_to_be_one() {
    let repository = Repository::new();
    let pinned = repository.pinned();
    let unsigned = {
        let mut root: Value = serde_json::from_slice(&pinned).unwrap();
        root["signatures"] = json!([]);
        root.to_string().into_bytes()
    };
    let folder = tempfile::tempdir().unwrap();
    for (root, word) in [
        (b"".to_vec(), "malformed"),
        (b"{}".to_vec(), "malformed"),
        (repository.files["timestamp.json"].clone(), "malformed"),
        (vec![b'['; 100_000], "malformed"),
        (unsigned, "threshold"),
    ] {
        let error = Client::open(&root, "stable".parse().unwrap(), Store::new(folder.path())).unwrap_err();
        assert_eq!(error.word(), word);
        assert!(error.to_string().contains("root"), "{error}");
    }
}

#[tokio::test]
async fn a_newer_pinned_root_goes_on_from_what_is_stored() {
    let mut lab = Lab::new(Way::Folder).await;
    for _ in 0..3 {
        lab.repository.rotate(|_| ());
    }
    lab.repository.update("2");
    lab.upload();
    lab.follows().await;
    for version in 1..=4 {
        let pinned = &lab.repository.files[&format!("{version}.root.json")];
        let client = Client::open(pinned, "stable".parse().unwrap(), Store::new(lab.state())).unwrap();
        assert_eq!(client.damage(), [], "{version}");
        assert_eq!(client.root_version(), 4);
        assert_eq!(client.current().unwrap().versions().timestamp.version, 2);
    }
    // One that the stored chain does not reach yet.
    lab.repository.rotate(|_| ());
    lab.repository.rotate(|_| ());
    let pinned = &lab.repository.files["6.root.json"];
    let client = Client::open(pinned, "stable".parse().unwrap(), Store::new(lab.state())).unwrap();
    assert_eq!(client.damage(), []);
    assert_eq!(client.root_version(), 6);
    assert_eq!(client.current().unwrap().versions().timestamp.version, 2);
}

#[tokio::test]
async fn another_repository_s_root_starts_anew() {
    let mut lab = Lab::new(Way::Folder).await;
    lab.repository.rotate(|_| ());
    lab.repository.update("2");
    lab.upload();
    lab.follows().await;
    lab.repository = Repository::new();
    lab.upload();
    lab.restart();
    assert!(lab.client.current().is_none());
    assert_eq!(lab.client.damage()[0].word(), "threshold");
    let generation = lab.follows().await;
    assert_eq!(generation.versions().timestamp.version, 1);
    assert_eq!(generation.versions().root.version, 1);
    lab.recovers().await;
}

#[tokio::test]
async fn a_root_never_goes_back_even_if_all_but_the_floor_is_lost() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        lab.repository.rotate(|_| ());
        lab.repository.update("2");
        lab.upload();
        lab.follows().await;
        std::fs::remove_file(lab.state().join("generation")).unwrap();
        std::fs::remove_dir_all(lab.state().join("targets")).unwrap();
        lab.restart();
        let mut hidden = lab.repository.files.clone();
        hidden.remove("2.root.json");
        lab.serve(&hidden);
        let error = lab.refuses("rollback").await;
        assert_eq!(error.to_string(), "the version of root went back from 2 to 1");
        lab.recovers().await;
    }
}

/// The signers of a root that were not there before are not asked whether it may have them.
#[tokio::test]
async fn keys_are_what_counts_and_not_their_ids() {
    let mut lab = Lab::new(Way::Folder).await;
    let thief: Arc<Signer> = Signer::new();
    let id = lab.repository.authorities[TIMESTAMP].signers[0].id();
    let key = thief.key();
    // A signature by another key under the id of the right one, in metadata that brings the key along.
    lab.repository.after_signing = Some(Box::new(move |of, envelope| {
        if of == TIMESTAMP {
            let mut signature = thief.signature(&envelope["signed"]);
            signature["keyid"] = id.clone().into();
            envelope["signatures"] = json!([signature]);
            envelope["keys"] = json!({ id.clone(): key });
        }
    }));
    lab.repository.update("2");
    lab.upload();
    lab.refuses("threshold").await;
    lab.recovers().await;
    let _ = open(&lab.repository, &lab.state());
}
