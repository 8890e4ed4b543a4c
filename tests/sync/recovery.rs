//! What never goes back, and the one way to make it: a root that takes the keys away.

use assay_verify::Timestamp;
use assayd::sync::{RELEASE_DATE, Refreshed, SyncError, Versions};
use serde_json::json;

use crate::lab::{Lab, WAYS, Way, content};
use crate::policy_repository::{
    Authority, BELOW_ROOT, EXCEPTIONS, REVOCATIONS, ROOT, SNAPSHOT, Signer, TARGETS, TIMESTAMP, at, now,
};

const FAR: u64 = u64::MAX - 1;

/// Who has the keys of these roles raises their versions as far as they go, and the node follows.
async fn fast_forward(way: Way, roles: &[&'static str]) -> Lab {
    let mut lab = Lab::new(way).await;
    let honest = lab.repository.versions.clone();
    for role in roles {
        lab.repository.versions.insert(role, FAR);
    }
    lab.repository.bump(&[TIMESTAMP]);
    lab.repository.publish();
    lab.upload();
    lab.follows().await;
    lab.repository.versions = honest;
    lab.repository.bump(&BELOW_ROOT);
    lab
}

fn versions(lab: &Lab) -> Versions {
    *lab.client.current().unwrap().versions()
}

/// TUF specification §5.3.11.
#[tokio::test]
async fn fast_forwarded_versions_go_with_the_keys_that_signed_them() {
    for way in WAYS {
        for (forwarded, rotated) in [
            (vec![TIMESTAMP], TIMESTAMP),
            (vec![SNAPSHOT], SNAPSHOT),
            (vec![SNAPSHOT], TIMESTAMP),
            (vec![TIMESTAMP, SNAPSHOT], TIMESTAMP),
            (vec![TARGETS, REVOCATIONS, EXCEPTIONS], SNAPSHOT),
        ] {
            let mut lab = fast_forward(way, &forwarded).await;
            lab.repository.update("2");
            lab.upload();
            lab.refuses("rollback").await;
            lab.repository
                .rotate(|authorities| drop(authorities.insert(rotated, Authority::new(1, 1))));
            lab.recovers().await;
            let versions = versions(&lab);
            for signed in [versions.timestamp, versions.snapshot, versions.targets] {
                assert!(signed.version < 10, "{forwarded:?} {rotated} {versions:?}");
            }
            // From here on they hold again.
            let newest = lab.repository.files.clone();
            lab.repository.versions.insert(TIMESTAMP, 1);
            lab.repository.publish();
            lab.upload();
            lab.refuses("rollback").await;
            lab.repository.files = newest;
        }
    }
}

#[tokio::test]
async fn fast_forwarded_versions_go_also_where_only_the_floor_remembers_them() {
    for way in WAYS {
        let mut lab = fast_forward(way, &[TIMESTAMP, SNAPSHOT, TARGETS]).await;
        std::fs::remove_file(lab.state().join("generation")).unwrap();
        lab.restart();
        lab.repository.update("2");
        lab.upload();
        lab.refuses("rollback").await;
        lab.repository
            .rotate(|authorities| drop(authorities.insert(SNAPSHOT, Authority::new(1, 1))));
        lab.recovers().await;
    }
}

/// What the old key signed still counts, so it could be replayed.
#[tokio::test]
async fn a_key_that_is_only_added_makes_nothing_go_back() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        let first = lab.repository.files.clone();
        lab.repository.update("2");
        lab.upload();
        lab.follows().await;
        lab.repository.rotate(|authorities| {
            for role in [TIMESTAMP, SNAPSHOT] {
                authorities.get_mut(role).unwrap().signers.push(Signer::new());
            }
        });
        let mut replayed = first.clone();
        replayed.insert("2.root.json".to_owned(), lab.repository.files["2.root.json"].clone());
        lab.serve(&replayed);
        let error = lab.refresh().await.unwrap_err();
        assert_eq!(error.word(), "rollback", "{way:?}: {error}");
        // Also where only the floor remembers it. The root is stored again first.
        std::fs::remove_file(lab.state().join("generation")).unwrap();
        lab.restart();
        assert_eq!(lab.refresh().await.unwrap_err().word(), "rollback");
        lab.refuses("rollback").await;
        lab.recovers().await;
    }
}

#[tokio::test]
async fn a_generation_that_was_wiped_is_fetched_again_but_no_older_one() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        let first = lab.repository.files.clone();
        lab.repository.update("2");
        lab.upload();
        let before = lab.follows().await;
        for wiped in [vec!["generation"], vec!["targets"], vec!["generation", "targets"]] {
            for name in &wiped {
                let path = lab.state().join(name);
                if path.is_dir() {
                    std::fs::remove_dir_all(path).unwrap();
                } else {
                    std::fs::remove_file(path).unwrap();
                }
            }
            lab.restart();
            assert!(lab.client.current().is_none());
            assert_eq!(lab.client.damage().len(), 1);
            lab.serve(&first);
            lab.refuses("rollback").await;
            lab.upload();
            let after = lab.follows().await;
            assert_eq!(after.versions(), before.versions());
            assert!(after.has_files_of(&before));
            assert_eq!(lab.client.damage(), []);
        }
        lab.recovers().await;
    }
}

/// Each of them is held on its own.
#[tokio::test]
async fn every_version_is_held_also_where_only_the_floor_remembers_it() {
    for older in [TIMESTAMP, SNAPSHOT, TARGETS, REVOCATIONS, EXCEPTIONS] {
        let mut lab = Lab::new(Way::Folder).await;
        lab.repository.update("2");
        lab.upload();
        lab.follows().await;
        std::fs::remove_file(lab.state().join("generation")).unwrap();
        lab.restart();
        // All else is new.
        let newest = lab.repository.versions.clone();
        lab.repository.bump(&BELOW_ROOT);
        lab.repository.versions.insert(older, 1);
        lab.repository.publish();
        lab.upload();
        let error = lab.refuses("rollback").await;
        assert_eq!(
            error.to_string(),
            format!("the version of {older} went back from 2 to 1")
        );
        lab.repository.versions = newest;
        lab.recovers().await;
    }
}

#[tokio::test]
async fn a_role_that_was_there_stays_also_where_only_the_floor_remembers_it() {
    let mut lab = Lab::new(Way::Folder).await;
    std::fs::remove_file(lab.state().join("generation")).unwrap();
    lab.restart();
    let honest = std::mem::take(&mut lab.repository.delegations);
    lab.repository.update("2");
    lab.upload();
    lab.refuses("rollback").await;
    lab.repository.delegations = honest;
    lab.recovers().await;
}

#[tokio::test]
async fn an_older_generation_on_disk_is_not_taken_up() {
    let mut lab = Lab::new(Way::Folder).await;
    let (older, files) = (lab.state().join("generation"), lab.on_disk());
    lab.repository.update("2");
    lab.upload();
    lab.follows().await;
    std::fs::write(&older, &files["generation"]).unwrap();
    for (name, content) in files.iter().filter(|(name, _)| name.starts_with("targets/")) {
        std::fs::write(lab.state().join(name), content).unwrap();
    }
    lab.restart();
    assert!(lab.client.current().is_none());
    assert!(
        matches!(
            lab.client.damage(),
            [SyncError::Rollback {
                trusted: 2,
                offered: 1,
                ..
            }]
        ),
        "{:?}",
        lab.client.damage()
    );
    lab.recovers().await;
}

/// Its versions are those of the floor, but a root is missing that may have taken keys away.
#[tokio::test]
async fn a_generation_on_disk_with_an_older_root_is_not_taken_up() {
    let mut lab = Lab::new(Way::Folder).await;
    let older = lab.on_disk();
    lab.repository.rotate(|_| ());
    lab.upload();
    lab.finds_nothing_new().await;
    std::fs::write(lab.state().join("generation"), &older["generation"]).unwrap();
    lab.restart();
    assert!(lab.client.current().is_none());
    let damage = lab.client.damage();
    assert_eq!(damage.len(), 1);
    assert_eq!(damage[0].to_string(), "the version of root went back from 2 to 1");
    lab.recovers().await;
}

#[tokio::test]
async fn a_candidate_that_was_overtaken_is_not_committed() {
    let mut lab = Lab::new(Way::Folder).await;
    let candidate = async |lab: &mut Lab| match lab.refresh().await.unwrap() {
        Refreshed::Candidate(candidate) => *candidate,
        Refreshed::Unchanged => panic!("nothing new"),
    };
    lab.repository.update("2");
    lab.upload();
    let (second, again) = (candidate(&mut lab).await, candidate(&mut lab).await);
    lab.repository.update("3");
    lab.upload();
    let third = lab.follows().await;
    assert_eq!(lab.client.commit(second).await.unwrap_err().word(), "rollback");
    assert_eq!(lab.client.current().unwrap().versions(), third.versions());

    // By a root as well.
    lab.repository.rotate(|authorities| {
        for role in [TIMESTAMP, SNAPSHOT] {
            authorities.insert(role, Authority::new(1, 1));
        }
    });
    lab.repository.update("4");
    lab.upload();
    lab.refresh().await.unwrap();
    assert_eq!(lab.client.commit(again).await.unwrap_err().word(), "rollback");
    lab.restart();
    assert_eq!(
        lab.client.current().unwrap().versions().timestamp,
        third.versions().timestamp
    );
    lab.recovers().await;
}

#[tokio::test]
async fn the_floor_is_raised_again_from_the_generation() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        let (first, old_floor) = (lab.repository.files.clone(), lab.on_disk()["floor"].clone());
        lab.repository.update("2");
        lab.upload();
        lab.follows().await;
        let floor = lab.on_disk()["floor"].clone();
        assert_ne!(floor, old_floor);
        // As it is when the process dies between the two files; gone; and damaged.
        for stale in [Some(old_floor), None, Some(b"junk".to_vec())] {
            match &stale {
                Some(bytes) => std::fs::write(lab.state().join("floor"), bytes).unwrap(),
                None => std::fs::remove_file(lab.state().join("floor")).unwrap(),
            }
            lab.restart();
            assert_eq!(lab.on_disk()["floor"], floor);
            assert!(lab.client.current().is_some());
        }
        std::fs::remove_file(lab.state().join("generation")).unwrap();
        lab.restart();
        lab.serve(&first);
        lab.refuses("rollback").await;
        lab.recovers().await;
    }
}

#[tokio::test]
async fn a_clock_before_the_last_signed_time_is_not_believed() {
    for way in WAYS {
        let mut lab = Lab::fresh(way).await;
        assert_eq!(lab.client.trusted_time(), RELEASE_DATE);
        lab.now = at("2026-10-31T00:00:00Z");
        lab.refuses("clock").await;
        lab.now = now();
        lab.follows().await;
        let signed_at = at("2026-11-30T23:59:00Z");
        assert_eq!(lab.client.trusted_time(), signed_at);
        lab.restart();
        assert_eq!(lab.client.trusted_time(), signed_at);
        for wrong in ["2016-12-01T00:00:00Z", "1969-12-31T23:59:59Z", "2026-11-30T23:53:59Z"] {
            lab.now = at(wrong);
            let error = lab.refuses("clock").await;
            assert!(!error.is_transport());
        }
        lab.now = Timestamp::MIN;
        lab.refuses("clock").await;
        // Within what signers' clocks may be ahead.
        lab.now = at("2026-11-30T23:54:00Z");
        lab.finds_nothing_new().await;
        // And ten years on, and back.
        for wrong in [at("2036-12-01T00:00:00Z"), Timestamp::MAX] {
            lab.now = wrong;
            lab.refuses("expired").await;
        }
        lab.now = now();
        lab.finds_nothing_new().await;
        lab.recovers().await;
    }
}

#[tokio::test]
async fn the_last_signed_time_outlives_the_generation_and_does_not_go_back() {
    let mut lab = Lab::new(Way::Folder).await;
    lab.repository.signed_at = json!("2026-12-01T00:00:00Z");
    lab.repository.update("2");
    lab.upload();
    lab.follows().await;
    lab.repository.signed_at = json!("2026-11-15T00:00:00Z");
    lab.repository.update("3");
    lab.upload();
    lab.follows().await;
    assert_eq!(lab.client.trusted_time(), at("2026-12-01T00:00:00Z"));
    lab.repository.signed_at = serde_json::Value::Null;
    lab.repository.update("4");
    lab.upload();
    assert_eq!(lab.follows().await.signed_at(), None);
    std::fs::remove_file(lab.state().join("generation")).unwrap();
    lab.restart();
    assert_eq!(lab.client.trusted_time(), at("2026-12-01T00:00:00Z"));
    lab.recovers().await;
}

/// Who has the timestamp's key can make every node's clock seem wrong. It ends with the key.
#[tokio::test]
async fn a_signed_time_that_is_yet_to_come_goes_with_the_key_that_signed_it() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        let honest = lab
            .repository
            .expires
            .insert(TIMESTAMP, at("2126-12-01T00:00:00Z"))
            .unwrap();
        lab.repository.signed_at = json!("2126-11-30T00:00:00Z");
        lab.repository.update("2");
        lab.upload();
        lab.follows().await;
        assert_eq!(lab.client.trusted_time(), at("2126-11-30T00:00:00Z"));
        lab.refuses("clock").await;
        lab.restart();
        lab.refuses("clock").await;

        lab.repository.expires.insert(TIMESTAMP, honest);
        lab.repository.signed_at = json!("2026-12-01T00:00:00Z");
        lab.repository
            .rotate(|authorities| drop(authorities.insert(TIMESTAMP, Authority::new(1, 1))));
        lab.recovers().await;
        assert_eq!(lab.client.trusted_time(), at("2026-12-01T00:00:00Z"));
    }
}

#[tokio::test]
async fn a_signed_time_that_makes_no_sense_is_refused() {
    for signed_at in [
        json!("yesterday"),
        json!(1_800_000_000),
        json!(""),
        json!("2026-12-01"),
        // After the timestamp's own expiry.
        json!("2026-12-02T00:00:01Z"),
    ] {
        for way in WAYS {
            let mut lab = Lab::new(way).await;
            let honest = std::mem::replace(&mut lab.repository.signed_at, signed_at.clone());
            lab.repository.update("2");
            lab.upload();
            lab.refuses("malformed").await;
            lab.repository.signed_at = honest;
            lab.recovers().await;
        }
    }
}

#[tokio::test]
async fn what_is_stored_serves_however_long_ago_it_expired() {
    let mut lab = Lab::new(Way::Folder).await;
    lab.now = at("2036-01-01T00:00:00Z");
    lab.restart();
    assert_eq!(lab.client.damage(), []);
    let current = lab.client.current().unwrap();
    assert_eq!(content(current, "channels/stable/policy.toml"), "policy 1");
    assert_eq!(current.versions().first_expiry(), at("2026-12-02T00:00:00Z"));
    lab.refuses("expired").await;
    for role in BELOW_ROOT.into_iter().chain([ROOT]) {
        lab.repository.expires.insert(role, at("2037-01-01T00:00:00Z"));
    }
    lab.repository.rotate(|_| ());
    lab.recovers().await;
}

#[tokio::test]
async fn a_timestamp_that_is_signed_anew_brings_the_same_files() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        let before = lab.client.current().unwrap().clone();
        lab.repository.bump(&[TIMESTAMP]);
        lab.repository.expires.insert(TIMESTAMP, at("2026-12-03T00:00:00Z"));
        lab.repository.publish();
        lab.upload();
        let requests = lab.traffic().requests;
        let after = lab.follows().await;
        assert!(after.has_files_of(&before));
        assert_eq!(after.versions().timestamp.version, 2);
        assert_eq!(after.versions().snapshot, before.versions().snapshot);
        // The probe for a root and the timestamp; of a registry, the list and the timestamp.
        assert_eq!(lab.traffic().requests - requests, 2, "{way:?}");
    }
}
