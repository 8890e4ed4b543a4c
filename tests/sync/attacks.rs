//! What an attacker between repository and node, or with some of its keys, can serve. None of it gets anywhere: the
//! generation stays, in memory and on disk, and the next honest refresh succeeds.

use std::sync::Mutex;

use assay_verify::limits::MAX_FLEET_FILE_SIZE;
use assayd::sync::Refreshed;
use serde_json::{Value, json};

use crate::lab::{Lab, WAYS, Way, content};
use crate::policy_repository::{
    BELOW_ROOT, EXCEPTIONS, Files, REVOCATIONS, ROOT, Repository, SNAPSHOT, TARGETS, TIMESTAMP, at,
};

/// Serves what `attack` makes of a repository that has moved on since the node's generation. The node refuses it with
/// `word`, however it reads the repository, and recovers.
async fn attack(word: &str, attack: impl Fn(&mut Repository) -> Files) {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        lab.repository.update("2");
        lab.upload();
        lab.follows().await;
        let files = attack(&mut lab.repository);
        lab.serve(&files);
        lab.refuses(word).await;
        // Nor does asking again help.
        lab.refuses(word).await;
        lab.recovers().await;
    }
}

/// The same for a change of one document of the next update.
async fn tamper(word: &str, role: &'static str, change: impl Fn(&mut Value) + Clone + 'static) {
    attack(word, |repository| {
        let change = change.clone();
        repository.before_signing = Some(Box::new(move |of, document| {
            if of == role {
                change(document);
            }
        }));
        repository.update("3");
        repository.files.clone()
    })
    .await;
}

/// The same for a change of its signatures.
async fn tamper_with_signatures(word: &str, role: &'static str, change: impl Fn(&mut Vec<Value>) + Clone + 'static) {
    attack(word, |repository| {
        let change = change.clone();
        repository.after_signing = Some(Box::new(move |of, envelope| {
            if of == role {
                change(envelope["signatures"].as_array_mut().unwrap());
            }
        }));
        repository.update("3");
        repository.files.clone()
    })
    .await;
}

/// The next update with one file changed after it was made.
async fn replace(word: &str, file: impl Fn(&Repository) -> String, change: impl Fn(&mut Vec<u8>, &Repository)) {
    attack(word, |repository| {
        repository.update("3");
        let mut files = repository.files.clone();
        change(files.get_mut(&file(repository)).unwrap(), repository);
        files
    })
    .await;
}

#[tokio::test]
async fn an_older_timestamp_is_a_rollback() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        let first = lab.repository.files.clone();
        lab.repository.update("2");
        lab.upload();
        lab.follows().await;
        lab.serve(&first);
        let error = lab.refuses("rollback").await;
        assert_eq!(error.to_string(), "the version of timestamp went back from 2 to 1");
        lab.restart();
        lab.refuses("rollback").await;
        lab.recovers().await;
    }
}

#[tokio::test]
async fn an_older_snapshot_under_a_new_timestamp_is_a_rollback() {
    attack("rollback", |repository| {
        repository.versions.insert(SNAPSHOT, 1);
        repository.bump(&[TIMESTAMP]);
        repository.publish();
        let files = repository.files.clone();
        repository.versions.insert(SNAPSHOT, 2);
        files
    })
    .await;
}

#[tokio::test]
async fn older_targets_under_a_new_snapshot_are_a_rollback() {
    for role in [TARGETS, REVOCATIONS, EXCEPTIONS] {
        attack("rollback", |repository| {
            repository.versions.insert(role, 1);
            repository.bump(&[TIMESTAMP, SNAPSHOT]);
            repository.publish();
            let files = repository.files.clone();
            repository.versions.insert(role, 2);
            files
        })
        .await;
    }
}

#[tokio::test]
async fn what_has_expired_is_not_followed_whichever_role_it_is_of() {
    for role in BELOW_ROOT {
        attack("expired", |repository| {
            let good = repository.expires.insert(role, at("2026-11-30T23:59:59Z")).unwrap();
            repository.signed_at = Value::Null;
            repository.update("3");
            repository.expires.insert(role, good);
            repository.files.clone()
        })
        .await;
    }
}

#[tokio::test]
async fn a_frozen_repository_is_noticed_when_its_timestamp_expires() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        lab.finds_nothing_new().await;
        lab.now = at("2026-12-02T00:00:01Z");
        let error = lab.refuses("expired").await;
        assert_eq!(
            error.to_string(),
            "the metadata of timestamp expired at 2026-12-02T00:00:00Z"
        );
        lab.repository.expires.insert(TIMESTAMP, at("2026-12-03T00:00:00Z"));
        lab.recovers().await;
    }
}

#[tokio::test]
async fn a_root_that_has_expired_ends_a_repository() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        for role in BELOW_ROOT {
            lab.repository.expires.insert(role, at("2029-01-01T00:00:00Z"));
        }
        lab.now = at("2028-01-01T00:00:01Z");
        lab.repository.update("2");
        lab.upload();
        let error = lab.refuses("expired").await;
        assert_eq!(
            error.to_string(),
            "the metadata of root expired at 2028-01-01T00:00:00Z"
        );
        lab.repository.expires.insert(ROOT, at("2029-01-01T00:00:00Z"));
        lab.repository.rotate(|_| ());
        lab.recovers().await;
    }
}

#[tokio::test]
async fn files_of_different_moments_do_not_mix() {
    for role in [SNAPSHOT, TARGETS, REVOCATIONS, EXCEPTIONS] {
        // Bytes of the version before under the name of this one.
        replace(
            "integrity",
            |repository| repository.file(role),
            |bytes, repository| {
                let before = format!("{}.{role}.json", repository.versions[role] - 1);
                let before = &repository.files[&before];
                // Of the same length, so that nothing but the hash tells.
                let length = bytes.len();
                *bytes = before.clone();
                bytes.resize(length, b' ');
            },
        )
        .await;
    }
}

#[tokio::test]
async fn files_of_different_moments_do_not_mix_where_only_versions_are_named() {
    for role in [SNAPSHOT, TARGETS, REVOCATIONS, EXCEPTIONS] {
        attack("integrity", |repository| {
            repository.before_signing = Some(Box::new(move |of, document| {
                if of == TIMESTAMP || of == SNAPSHOT {
                    for pin in document["meta"].as_object_mut().unwrap().values_mut() {
                        *pin = json!({ "version": pin["version"] });
                    }
                }
            }));
            repository.update("3");
            let mut files = repository.files.clone();
            let before = format!("{}.{role}.json", repository.versions[role] - 1);
            files.insert(repository.file(role), repository.files[&before].clone());
            files
        })
        .await;
    }
}

#[tokio::test]
async fn endless_metadata_is_not_read_to_its_end() {
    for role in [SNAPSHOT, TARGETS, REVOCATIONS, EXCEPTIONS, TIMESTAMP] {
        let pad = |bytes: &mut Vec<u8>, _: &Repository| bytes.resize(4 * 1024 * 1024, b' ');
        replace("endless-data", |repository| repository.file(role), pad).await;
    }
}

#[tokio::test]
async fn endless_metadata_is_not_read_to_its_end_where_only_versions_are_named() {
    for role in [SNAPSHOT, TARGETS, REVOCATIONS] {
        attack("endless-data", |repository| {
            repository.before_signing = Some(Box::new(move |of, document| {
                if of == TIMESTAMP || of == SNAPSHOT {
                    for pin in document["meta"].as_object_mut().unwrap().values_mut() {
                        *pin = json!({ "version": pin["version"] });
                    }
                }
            }));
            repository.update("3");
            let mut files = repository.files.clone();
            files.insert(repository.file(role), vec![b' '; 4 * 1024 * 1024]);
            files
        })
        .await;
    }
}

#[tokio::test]
async fn an_endless_root_is_not_read_to_its_end() {
    attack("endless-data", |repository| {
        let mut files = repository.files.clone();
        files.insert("2.root.json".to_owned(), vec![b' '; 1024 * 1024]);
        files
    })
    .await;
}

#[tokio::test]
async fn an_endless_target_is_not_read_to_its_end() {
    for path in ["channels/stable/policy.toml", "revocation/deny.json"] {
        let pad = |bytes: &mut Vec<u8>, _: &Repository| bytes.push(b' ');
        replace("endless-data", |repository| repository.target_file(path), pad).await;
    }
}

#[tokio::test]
async fn metadata_that_multiplies_itself_in_memory_is_not_parsed() {
    attack("malformed", |repository| {
        let mut files = repository.files.clone();
        files.insert("2.root.json".to_owned(), vec![b'['; 100_000]);
        files
    })
    .await;
    attack("malformed", |repository| {
        repository.before_signing = Some(Box::new(|of, document| {
            if of == TARGETS {
                document["x"] = json!(vec![0; 70_000]);
            }
        }));
        repository.update("3");
        repository.files.clone()
    })
    .await;
}

#[tokio::test]
async fn a_target_that_is_not_what_was_signed_is_refused() {
    for path in ["channels/stable/policy.toml", "revocation/deny.json"] {
        let flip = |bytes: &mut Vec<u8>, _: &Repository| bytes[0] ^= 1;
        replace("integrity", |repository| repository.target_file(path), flip).await;
        let shorten = |bytes: &mut Vec<u8>, _: &Repository| bytes.truncate(bytes.len() - 1);
        replace("integrity", |repository| repository.target_file(path), shorten).await;
        let empty = |bytes: &mut Vec<u8>, _: &Repository| bytes.clear();
        replace("integrity", |repository| repository.target_file(path), empty).await;
    }
}

#[tokio::test]
async fn metadata_that_is_cut_short_or_damaged_is_refused() {
    for role in [SNAPSHOT, TARGETS, REVOCATIONS, EXCEPTIONS] {
        let flip = |bytes: &mut Vec<u8>, _: &Repository| {
            let middle = bytes.len() / 2;
            bytes[middle] ^= 1;
        };
        replace("integrity", |repository| repository.file(role), flip).await;
        let halve = |bytes: &mut Vec<u8>, _: &Repository| bytes.truncate(bytes.len() / 2);
        replace("integrity", |repository| repository.file(role), halve).await;
    }
    let halve = |bytes: &mut Vec<u8>, _: &Repository| bytes.truncate(bytes.len() / 2);
    replace("malformed", |repository| repository.file(TIMESTAMP), halve).await;
    for nonsense in [
        "",
        "{}",
        "null",
        "[]",
        "<html>login</html>",
        "{\"signed\":{},\"signatures\":[]}",
        "\u{0}",
    ] {
        let replaced = |bytes: &mut Vec<u8>, _: &Repository| *bytes = nonsense.into();
        replace("malformed", |repository| repository.file(TIMESTAMP), replaced).await;
    }
}

/// CVE-2026-23991: nor does any of it end the process.
#[tokio::test]
async fn whatever_byte_of_the_metadata_is_changed_it_is_noticed() {
    let mut lab = Lab::new(Way::Folder).await;
    // No signature more than it takes.
    lab.repository.after_signing = Some(Box::new(|_, envelope| {
        envelope["signatures"].as_array_mut().unwrap().truncate(2);
    }));
    lab.repository.rotate(|_| ());
    lab.repository.update("2");
    for file in [
        "2.root.json",
        "timestamp.json",
        "2.snapshot.json",
        "2.targets.json",
        "2.revocations.json",
    ] {
        let honest = lab.repository.files[file].clone();
        for place in (0..honest.len()).step_by(53) {
            for byte in [b'0', b'"', 0xff] {
                let mut files = lab.repository.files.clone();
                let bytes = files.get_mut(file).unwrap();
                if bytes[place] == byte {
                    continue;
                }
                bytes[place] = byte;
                lab.serve(&files);
                let refreshed = lab.refresh().await;
                let Err(error) = refreshed else {
                    panic!("{file} {place} {byte}: {refreshed:?}");
                };
                assert!(!error.is_transport(), "{file} {place}: {error}");
            }
        }
        if file == "2.root.json" {
            // Followed once, it is not asked for again.
            assert_eq!(lab.client.root_version(), 1);
        }
    }
    lab.recovers().await;
}

#[tokio::test]
async fn a_file_that_is_missing_is_no_attack() {
    for role in [SNAPSHOT, TARGETS, REVOCATIONS, EXCEPTIONS, TIMESTAMP] {
        attack("not-found", |repository| {
            repository.update("3");
            let mut files = repository.files.clone();
            files.remove(&repository.file(role)).unwrap();
            files
        })
        .await;
    }
    attack("not-found", |repository| {
        repository.update("3");
        let mut files = repository.files.clone();
        files.remove(&repository.target_file("revocation/deny.json")).unwrap();
        files
    })
    .await;
}

#[tokio::test]
async fn fewer_signatures_than_the_threshold_are_not_enough() {
    for role in BELOW_ROOT {
        tamper_with_signatures("threshold", role, |signatures| signatures.clear()).await;
    }
    for role in [TARGETS, EXCEPTIONS] {
        tamper_with_signatures("threshold", role, |signatures| signatures.truncate(1)).await;
    }
}

/// CVE-2020-15093, and CVE-2026-6966 for delegated roles.
#[tokio::test]
async fn a_signature_twice_is_no_second_signature() {
    for role in [TARGETS, EXCEPTIONS] {
        tamper_with_signatures("threshold", role, |signatures| {
            let first = signatures[0].clone();
            *signatures = vec![first.clone(), first];
        })
        .await;
    }
}

#[tokio::test]
async fn a_signature_by_another_role_s_key_is_none() {
    attack("threshold", |repository| {
        let honest = repository.authorities.clone();
        // Whoever has the online keys may sign the snapshot and the timestamp, and nothing else.
        let online = repository.authorities[SNAPSHOT].signers.clone();
        let real = repository.authorities[TARGETS].clone();
        repository.after_signing = Some(Box::new(move |of, envelope| {
            if of == TARGETS {
                let signature = online[0].signature(&envelope["signed"]);
                let mut claimed = signature.clone();
                claimed["keyid"] = real.signers[0].id().into();
                envelope["signatures"] = json!([signature, claimed]);
            }
        }));
        repository.update("3");
        repository.authorities = honest;
        repository.files.clone()
    })
    .await;
}

/// CVE-2026-6967, CVE-2026-23992 and CVE-2024-47534: delegated metadata is checked as that of the other roles is, with the
/// keys that its delegation names.
#[tokio::test]
async fn a_delegated_role_is_signed_with_the_keys_of_its_own_delegation() {
    attack("threshold", |repository| {
        let exceptions = repository.authorities[EXCEPTIONS].signers.clone();
        repository.after_signing = Some(Box::new(move |of, envelope| {
            if of == REVOCATIONS {
                envelope["signatures"] = json!([exceptions[0].signature(&envelope["signed"])]);
            }
        }));
        repository.update("3");
        repository.files.clone()
    })
    .await;
}

#[tokio::test]
async fn a_delegated_role_without_a_threshold_is_refused() {
    tamper("malformed", TARGETS, |document| {
        document["delegations"]["roles"][0]["threshold"] = 0.into();
    })
    .await;
}

#[tokio::test]
async fn a_delegated_role_that_is_named_twice_is_refused() {
    tamper("malformed", TARGETS, |document| {
        let roles = document["delegations"]["roles"].as_array_mut().unwrap();
        roles.push(roles[0].clone());
    })
    .await;
}

#[tokio::test]
async fn a_key_under_two_ids_does_not_count_twice() {
    tamper("malformed", TARGETS, |document| {
        let id = document["delegations"]["roles"][1]["keyids"][0]
            .as_str()
            .unwrap()
            .to_owned();
        let key = document["delegations"]["keys"][&id].clone();
        document["delegations"]["keys"]["another"] = key;
        let ids = document["delegations"]["roles"][1]["keyids"].as_array_mut().unwrap();
        ids.push("another".into());
    })
    .await;
}

/// Who has the online keys could otherwise take the deny-list away.
#[tokio::test]
async fn a_snapshot_that_leaves_out_the_deny_list_is_refused() {
    for role in [REVOCATIONS, EXCEPTIONS, TARGETS] {
        tamper("integrity", SNAPSHOT, move |document| {
            document["meta"]
                .as_object_mut()
                .unwrap()
                .remove(&format!("{role}.json"));
        })
        .await;
    }
    for way in WAYS {
        let mut lab = Lab::fresh(way).await;
        lab.repository.before_signing = Some(Box::new(|of, document| {
            if of == SNAPSHOT {
                document["meta"].as_object_mut().unwrap().remove("revocations.json");
            }
        }));
        lab.repository.update("2");
        lab.upload();
        lab.refuses("integrity").await;
        lab.recovers().await;
    }
}

/// CVE-2026-24686, CVE-2026-24137, CVE-2026-6968.
#[tokio::test]
async fn names_that_lead_elsewhere_are_refused() {
    for name in [
        "channels/stable/../../../etc/passwd",
        "channels/stable//policy.toml",
        "channels/stable/./policy.toml",
        "channels/stable/%2e%2e/x",
        "channels/stable/a\\b",
        "channels/stable/.hidden",
        "channels/stable/",
        "channels/stable/a\u{0}b",
        "channels/stable/a\u{202e}b",
        "revocation/../channels/stable/policy.toml",
    ] {
        tamper("malformed", TARGETS, move |document| {
            document["targets"][name] = document["targets"]["channels/stable/policy.toml"].clone();
        })
        .await;
    }
    tamper("malformed", REVOCATIONS, |document| {
        document["targets"]["revocation/../x"] = document["targets"]["revocation/deny.json"].clone();
    })
    .await;
}

#[tokio::test]
async fn a_target_without_a_sha_256_or_with_too_many_bytes_is_refused() {
    tamper("malformed", TARGETS, |document| {
        document["targets"]["channels/stable/policy.toml"]["hashes"] = json!({ "sha512": "00" });
    })
    .await;
    tamper("malformed", TARGETS, |document| {
        document["targets"]["channels/stable/policy.toml"]["length"] = (MAX_FLEET_FILE_SIZE + 1).into();
    })
    .await;
    tamper("malformed", TARGETS, |document| {
        let target = json!({ "length": MAX_FLEET_FILE_SIZE, "hashes": { "sha256": "0".repeat(64) } });
        for number in 0..5 {
            document["targets"][format!("channels/stable/{number}")] = target.clone();
        }
    })
    .await;
    tamper("malformed", TARGETS, |document| {
        let target = json!({ "length": 1, "hashes": { "sha256": "0".repeat(64) } });
        for number in 0..2_048 {
            document["targets"][format!("channels/stable/{number}")] = target.clone();
        }
    })
    .await;
}

#[tokio::test]
async fn metadata_of_another_kind_or_a_later_specification_is_refused() {
    tamper("malformed", SNAPSHOT, |document| document["_type"] = "targets".into()).await;
    tamper("malformed", TIMESTAMP, |document| document["_type"] = "snapshot".into()).await;
    tamper("malformed", TARGETS, |document| {
        document["spec_version"] = "2.0.0".into()
    })
    .await;
    tamper("malformed", TIMESTAMP, |document| document["version"] = (-1).into()).await;
    tamper("malformed", TIMESTAMP, |document| document["meta"] = json!({})).await;
    tamper("malformed", TIMESTAMP, |document| document["expires"] = "soon".into()).await;
    attack("malformed", |repository| {
        repository.after_signing = Some(Box::new(|of, envelope| {
            if of == TIMESTAMP {
                envelope["signed"]["version"] = json!(3.5);
            }
        }));
        repository.update("3");
        repository.files.clone()
    })
    .await;
}

/// CVE-2025-2888: a client that stored the timestamp before it looked at the snapshot could not go back to a good one.
#[tokio::test]
async fn what_was_refused_leaves_no_version_behind() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        // Far ahead, and its snapshot is wrong.
        let honest = lab.repository.versions.clone();
        lab.repository.versions.insert(TIMESTAMP, 1_000_000);
        lab.repository.versions.insert(SNAPSHOT, 1_000_000);
        lab.repository.publish();
        let mut files = lab.repository.files.clone();
        files.insert("1000000.snapshot.json".to_owned(), b"{}".to_vec());
        lab.serve(&files);
        lab.refuses("integrity").await;
        lab.repository.versions = honest;
        lab.recovers().await;
        assert_eq!(lab.client.current().unwrap().versions().timestamp.version, 2);
    }
}

/// The same where all signatures hold, and what the files say is refused.
#[tokio::test]
async fn an_update_whose_content_is_refused_does_not_stand_in_the_way_of_a_better_one() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        lab.repository.update("broken");
        lab.upload();
        for _ in 0..2 {
            let on_disk = lab.on_disk();
            let Refreshed::Candidate(candidate) = lab.refresh().await.unwrap() else {
                panic!("{way:?}");
            };
            assert_eq!(
                content(candidate.generation(), "channels/stable/policy.toml"),
                "policy broken"
            );
            // What it denies can be taken to heart nevertheless.
            assert_eq!(content(candidate.generation(), "revocation/deny.json"), "deny broken");
            let error = lab.client.refuse(*candidate, "policy.toml:1:1: expected a table");
            assert_eq!(error.word(), "refused");
            assert_eq!(
                error.to_string(),
                "the update was refused: policy.toml:1:1: expected a table"
            );
            let current = lab.client.current().unwrap();
            assert_eq!(content(current, "channels/stable/policy.toml"), "policy 1");
            assert_eq!(lab.on_disk(), on_disk);
        }
        // The owner may even withdraw it: its versions were never taken over.
        lab.repository.put(TARGETS, "channels/stable/policy.toml", "policy 1");
        lab.repository.publish();
        lab.upload();
        lab.follows().await;
        lab.recovers().await;
    }
}

#[tokio::test]
async fn an_update_that_was_refused_is_not_read_again() {
    for way in WAYS {
        let mut lab = Lab::new(way).await;
        lab.repository.update("broken");
        lab.upload();
        let Refreshed::Candidate(candidate) = lab.refresh().await.unwrap() else {
            panic!("{way:?}");
        };
        lab.client.refuse(*candidate, "no");
        let before = lab.traffic();
        let Refreshed::Candidate(candidate) = lab.refresh().await.unwrap() else {
            panic!("{way:?}");
        };
        let after = lab.traffic();
        // The probe for a new root and the timestamp; of a registry, what lists them.
        assert!(after.requests - before.requests <= 2, "{way:?}: {before:?} {after:?}");
        lab.client.commit(*candidate).await.unwrap();
        lab.finds_nothing_new().await;
    }
}

/// Numbers that look random, and are the same every time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        // Knuth's MMIX generator.
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % bound
    }
}

/// Replaces something in a document by something else.
fn distort(document: &mut Value, numbers: &mut Numbers) {
    let children = match document {
        Value::Object(map) => map.len(),
        Value::Array(items) => items.len(),
        _ => 0,
    };
    if children > 0 && numbers.below(8) > 0 {
        let chosen = numbers.below(children);
        match document {
            Value::Object(map) if numbers.below(8) == 0 => {
                let key = map.keys().nth(chosen).unwrap().clone();
                let value = map.remove(&key).unwrap();
                if numbers.below(2) == 0 {
                    map.insert("\u{202e}/../".to_owned() + &key, value);
                }
            }
            Value::Object(map) => distort(map.values_mut().nth(chosen).unwrap(), numbers),
            Value::Array(items) if numbers.below(8) == 0 => items.push(items[chosen].clone()),
            Value::Array(items) => distort(&mut items[chosen], numbers),
            _ => {}
        }
        return;
    }
    let nested = (0..100).fold(json!([]), |inner, _| json!([inner]));
    let values = [
        json!(null),
        json!(true),
        json!(0),
        json!(-1),
        json!(u64::MAX),
        json!(i64::MIN),
        json!(""),
        json!("\u{0}\u{feff}"),
        json!("x".repeat(5000)),
        json!("9999-12-31T23:59:59Z"),
        json!("-009999-01-01T00:00:00Z"),
        json!({}),
        json!([]),
        json!([[], {}, "", 0]),
        nested,
        json!({ "": { "": "" } }),
    ];
    *document = values[numbers.below(values.len())].clone();
}

/// Whoever has all the keys can sign nonsense. It is refused, or it is taken over and read again as it is; nothing panics.
#[tokio::test]
async fn whatever_is_signed_it_is_taken_whole_or_not_at_all() {
    let (mut refused, mut taken) = (0, 0);
    for round in 0..200 {
        let mut lab = Lab::new(Way::Folder).await;
        let numbers = Mutex::new(Numbers(round));
        let role = [ROOT, TIMESTAMP, SNAPSHOT, TARGETS, REVOCATIONS][usize::try_from(round).unwrap() % 5];
        lab.repository.before_signing = Some(Box::new(move |of, document| {
            if of == role {
                distort(document, &mut numbers.lock().unwrap());
            }
        }));
        lab.repository.rotate(|_| ());
        lab.repository.update("2");
        lab.upload();
        match lab.refresh().await {
            Ok(Refreshed::Candidate(candidate)) => {
                let generation = lab.client.commit(*candidate).await.unwrap();
                lab.restart();
                assert_eq!(lab.client.damage(), [], "{round}");
                let current = lab.client.current().unwrap();
                assert_eq!(current.versions(), generation.versions());
                assert_eq!(current.files(), generation.files());
                taken += 1;
            }
            Ok(Refreshed::Unchanged) => taken += 1,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                lab.restart();
                let current = lab.client.current().unwrap();
                assert_eq!(content(current, "channels/stable/policy.toml"), "policy 1");
                refused += 1;
            }
        }
    }
    assert!(refused > 100 && taken > 2, "{refused} {taken}");
}
