//! What is particular to each way to a repository.

use std::os::unix::fs::symlink;
use std::time::Duration;

use assay_integration::registry::{Fault as RegistryFault, Kind, OCI_EMPTY, OCI_MANIFEST, When};
use assay_verify::Timestamp;
use assay_verify::limits::MAX_NOT_MODIFIED;
use assayd::fetch;
use assayd::sync::layout::{FILE_ANNOTATION, REPOSITORY_ARTIFACT};
use assayd::sync::{Client, Refreshed, RepositoryAddress, Store, SyncError, Transport, TransportError};
use nix::sys::stat::Mode;
use serde_json::json;

use crate::lab::{Lab, Way, content};
use crate::policy_repository::server::{Asked, Fault, Server};
use crate::policy_repository::{TARGETS, TIMESTAMP, at, now};

fn asked(file: &str, if_none_match: bool, status: u16) -> Asked {
    Asked {
        file: file.to_owned(),
        if_none_match,
        status,
    }
}

#[tokio::test]
async fn an_unchanged_repository_costs_two_small_requests_on_one_connection() {
    let mut lab = Lab::new(Way::Https).await;
    lab.server().asked();
    let (before, connections) = (lab.traffic(), lab.server().connections());
    for _ in 0..3 {
        lab.finds_nothing_new().await;
        assert_eq!(
            lab.server().asked(),
            [asked("2.root.json", false, 404), asked("timestamp.json", true, 304)]
        );
    }
    let after = lab.traffic();
    assert_eq!(after.requests - before.requests, 6);
    assert_eq!(after.not_modified - before.not_modified, 3);
    assert_eq!(after.bytes, before.bytes);
    assert_eq!(lab.server().connections(), connections);
}

#[tokio::test]
async fn only_what_has_changed_is_read() {
    let mut lab = Lab::new(Way::Https).await;
    lab.server().asked();
    lab.repository.put(TARGETS, "channels/stable/policy.toml", "policy 2");
    lab.repository.bump(&[TARGETS, "snapshot", TIMESTAMP]);
    lab.repository.publish();
    lab.upload();
    lab.follows().await;
    let files: Vec<String> = lab.server().asked().into_iter().map(|asked| asked.file).collect();
    let policy = lab.repository.target_file("channels/stable/policy.toml");
    assert_eq!(
        files,
        [
            "2.root.json",
            "timestamp.json",
            "2.snapshot.json",
            "2.targets.json",
            &policy
        ]
    );
}

#[tokio::test]
async fn what_nobody_asked_about_cannot_be_unmodified() {
    let mut lab = Lab::new(Way::Https).await;
    lab.repository.update("2");
    lab.upload();
    for file in ["2.snapshot.json", "2.targets.json", "2.root.json"] {
        lab.server().misbehave(file, Fault::NotModified);
        let error = lab.refuses("transport").await;
        assert!(matches!(
            error,
            SyncError::Transport(TransportError::Status { status: 304, .. })
        ));
        lab.server().behave();
    }
    lab.restart();
    lab.server().misbehave("timestamp.json", Fault::NotModified);
    lab.refuses("transport").await;
    lab.recovers().await;
}

/// "Not modified" for ever is a freeze, and is noticed as any other.
#[tokio::test]
async fn a_server_that_says_unmodified_of_everything_freezes_a_node_no_longer_than_the_timestamp_allows() {
    let mut lab = Lab::new(Way::Https).await;
    lab.server().misbehave("timestamp.json", Fault::StuckTag);
    lab.restart();
    lab.finds_nothing_new().await;
    lab.repository.expires.insert(TIMESTAMP, at("2026-12-03T00:00:00Z"));
    lab.repository.update("2");
    lab.upload();
    lab.finds_nothing_new().await;
    lab.now = at("2026-12-02T00:00:01Z");
    lab.refuses("expired").await;
    // What failed is asked for anew, without condition.
    lab.server().asked();
    lab.follows().await;
    assert_eq!(lab.server().asked()[1], asked("timestamp.json", false, 200));
    lab.recovers().await;
}

/// nginx makes its validators of the second of a change and of the length.
#[tokio::test]
async fn what_is_published_twice_within_a_second_is_noticed() {
    let mut lab = Lab::new(Way::Https).await;
    let soon = Timestamp::now() + Duration::from_secs(3600);
    lab.server().misbehave("timestamp.json", Fault::CoarseTag(soon));
    lab.restart();
    lab.finds_nothing_new().await;
    lab.repository.update("2");
    lab.upload();
    lab.follows().await;
    lab.server().behave();
    // Long ago, the same validator is one to rely on.
    let before = Timestamp::now() - Duration::from_secs(3600);
    lab.server().misbehave("timestamp.json", Fault::CoarseTag(before));
    lab.finds_nothing_new().await;
    lab.server().asked();
    lab.finds_nothing_new().await;
    assert_eq!(lab.server().asked()[1], asked("timestamp.json", true, 304));
}

#[tokio::test]
async fn a_validator_that_never_changes_delays_an_update_by_ten_polls_and_no_more() {
    let mut lab = Lab::new(Way::Https).await;
    lab.server().misbehave("timestamp.json", Fault::StuckTag);
    lab.restart();
    lab.finds_nothing_new().await;
    lab.repository.update("2");
    lab.upload();
    for _ in 0..MAX_NOT_MODIFIED {
        lab.finds_nothing_new().await;
    }
    lab.follows().await;
}

#[tokio::test]
async fn a_connection_that_is_closed_while_it_is_used_again_fails_no_poll() {
    let mut lab = Lab::new(Way::Https).await;
    for file in ["2.root.json", "timestamp.json"] {
        lab.server().misbehave(file, Fault::HangUp(1));
        lab.finds_nothing_new().await;
        lab.server().behave();
    }
    lab.server().asked();
    lab.server().misbehave("2.root.json", Fault::HangUp(usize::MAX));
    let error = lab.refuses("transport").await;
    assert!(matches!(
        error,
        SyncError::Transport(TransportError::Interrupted { .. })
    ));
    assert_eq!(lab.server().asked().len(), 2);
    lab.recovers().await;
}

#[tokio::test]
async fn a_server_that_asks_to_wait_says_how_long() {
    let mut lab = Lab::new(Way::Https).await;
    for (status, wait) in [(429, Some(7)), (503, Some(3600)), (429, None), (503, None)] {
        lab.server().misbehave("timestamp.json", Fault::Status(status, wait));
        let error = lab.refuses("transport").await;
        assert_eq!(error.retry_after(), wait.map(Duration::from_secs));
        assert!(error.is_transport());
        lab.server().behave();
    }
    lab.recovers().await;
}

#[tokio::test]
async fn files_that_come_wrongly_change_nothing() {
    let mut lab = Lab::new(Way::Https).await;
    lab.repository.update("2");
    lab.upload();
    let policy = lab.repository.target_file("channels/stable/policy.toml");
    for file in ["2.snapshot.json", "2.targets.json", "2.revocations.json", &policy] {
        for (fault, word) in [
            (Fault::Truncated, "transport"),
            (Fault::Short, "integrity"),
            (Fault::Flipped, "integrity"),
            (Fault::Padded(1), "endless-data"),
            (Fault::Endless(64 * 1024 * 1024), "endless-data"),
            (Fault::Instead(b"<html>sign in</html>".to_vec()), "integrity"),
            (Fault::Status(404, None), "not-found"),
            (Fault::Status(500, None), "transport"),
            (Fault::Redirect("https://evil.example/".to_owned()), "transport"),
        ] {
            // A page for signing in may be longer than a policy.
            if file == policy && matches!(fault, Fault::Instead(_)) {
                continue;
            }
            lab.server().misbehave(file, fault.clone());
            lab.refuses(word).await;
            lab.server().behave();
        }
    }
    for (fault, word) in [
        (Fault::Truncated, "transport"),
        (Fault::Short, "malformed"),
        (Fault::Endless(64 * 1024 * 1024), "endless-data"),
        (Fault::Instead(b"<html>sign in</html>".to_vec()), "malformed"),
        (Fault::Status(404, None), "not-found"),
        (Fault::Status(500, None), "transport"),
    ] {
        lab.server().misbehave("timestamp.json", fault);
        lab.refuses(word).await;
        lab.server().behave();
    }
    lab.recovers().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let other = Server::start().await;
    let mut lab = Lab::new(Way::Https).await;
    lab.repository.update("2");
    other.serve(lab.repository.files.clone());
    lab.server().misbehave("timestamp.json", Fault::Redirect(other.url()));
    lab.refuses("transport").await;
    lab.server()
        .misbehave("timestamp.json", Fault::Redirect("/policy/other".to_owned()));
    lab.refuses("transport").await;
    assert_eq!(other.connections(), 0);
    lab.recovers().await;
}

/// Slow retrieval attack.
#[tokio::test]
async fn a_slow_server_holds_a_refresh_no_longer_than_the_deadline() {
    for (fault, expected) in [(Fault::Silent, "silent"), (Fault::Dripping, "longer than 300 s")] {
        let mut lab = Lab::new(Way::Https).await;
        lab.repository.update("2");
        lab.upload();
        lab.server().misbehave("2.targets.json", fault);
        // The connection is there, so that only waiting takes time.
        tokio::time::pause();
        let begun = tokio::time::Instant::now();
        let error = lab.refuses("transport").await;
        assert!(error.to_string().contains(expected), "{error}");
        assert!(begun.elapsed() <= Duration::from_secs(301), "{:?}", begun.elapsed());
        tokio::time::resume();
        lab.recovers().await;
    }
}

/// What came before the deadline need not come again, so a slow line gets there in the end.
#[tokio::test]
async fn what_came_is_kept_for_the_next_refresh() {
    let mut lab = Lab::new(Way::Https).await;
    lab.repository.update("2");
    lab.upload();
    let policy = lab.repository.target_file("channels/stable/policy.toml");
    let deny_list = lab.repository.target_file("revocation/deny.json");
    lab.server().misbehave(&policy, Fault::Truncated);
    lab.refuses("transport").await;
    lab.server().asked();
    lab.server().behave();
    lab.follows().await;
    let again: Vec<String> = lab.server().asked().into_iter().map(|asked| asked.file).collect();
    assert!(again.contains(&policy));
    assert!(!again.contains(&"2.targets.json".to_owned()), "{again:?}");
    assert!(again.len() <= 4, "{deny_list}: {again:?}");
}

#[tokio::test]
async fn a_server_that_is_away_is_no_attack() {
    let mut lab = Lab::new(Way::Https).await;
    lab.restart();
    lab.server().stop();
    tokio::task::yield_now().await;
    let error = lab.refuses("transport").await;
    assert!(error.is_transport());
    assert_eq!(error.retry_after(), None);
}

#[tokio::test]
async fn a_server_has_to_prove_who_it_is() {
    let (lab, other) = (Lab::fresh(Way::Https).await, Server::start().await);
    let fetch = fetch::Client::new(fetch::FetchConfig::default(), fetch::ProcessMemory::default()).unwrap();
    let address = RepositoryAddress::parse(&lab.server().url(), false).unwrap();
    for ca in [vec![], vec![other.ca()]] {
        let transport = Transport::new(address.clone(), &ca, &fetch).unwrap();
        let mut client = Client::open(
            &lab.repository.pinned(),
            "stable".parse().unwrap(),
            Store::new(lab.state()),
        )
        .unwrap();
        let error = client.refresh(&transport, now()).await.unwrap_err();
        assert!(
            matches!(error, SyncError::Transport(TransportError::Connect { .. })),
            "{error:?}"
        );
    }
    assert_eq!(lab.server().asked(), []);
    assert!(Transport::new(address, &[b"no PEM".to_vec()], &fetch).is_err());
}

/// A refresh runs beside others, so it has to be able to move between threads.
#[tokio::test]
async fn a_refresh_can_be_spawned() {
    let lab = Lab::fresh(Way::Https).await;
    let (pinned, state, transport) = (lab.repository.pinned(), lab.state(), lab.transport());
    let spawned = tokio::spawn(async move {
        let mut client = Client::open(&pinned, "stable".parse().unwrap(), Store::new(state)).unwrap();
        let Refreshed::Candidate(candidate) = client.refresh(&transport, now()).await.unwrap() else {
            panic!("nothing new");
        };
        client.commit(*candidate).await.unwrap()
    });
    assert_eq!(
        content(&spawned.await.unwrap(), "channels/stable/policy.toml"),
        "policy 1"
    );
}

#[tokio::test]
async fn links_inside_the_folder_are_followed_and_none_that_leads_out() {
    let mut lab = Lab::new(Way::Folder).await;
    lab.repository.update("2");
    lab.upload();
    let folder = lab.folder().to_owned();
    let outside = tempfile::tempdir().unwrap();
    let timestamp = folder.join("timestamp.json");
    let away = outside.path().join("timestamp.json");
    std::fs::rename(&timestamp, &away).unwrap();
    for target in [away.clone(), "../timestamp.json".into(), "timestamp.json".into()] {
        symlink(&target, &timestamp).unwrap();
        lab.refuses("transport").await;
        std::fs::remove_file(&timestamp).unwrap();
    }
    std::fs::create_dir(&timestamp).unwrap();
    lab.refuses("transport").await;
    std::fs::remove_dir(&timestamp).unwrap();
    // Nobody writes to it, and nobody waits.
    nix::unistd::mkfifo(&timestamp, Mode::S_IRWXU).unwrap();
    lab.refuses("transport").await;
    std::fs::remove_file(&timestamp).unwrap();

    // As a Kubernetes volume has it.
    std::fs::create_dir(folder.join("..2026")).unwrap();
    std::fs::copy(&away, folder.join("..2026/timestamp.json")).unwrap();
    symlink("..2026", folder.join("..data")).unwrap();
    symlink("..data/timestamp.json", &timestamp).unwrap();
    lab.follows().await;
    lab.recovers().await;
}

#[tokio::test]
async fn a_folder_that_is_not_there_is_no_attack() {
    let mut lab = Lab::new(Way::Folder).await;
    std::fs::remove_dir_all(lab.folder()).unwrap();
    lab.refuses("transport").await;
    std::fs::create_dir(lab.folder()).unwrap();
    lab.refuses("not-found").await;
    lab.recovers().await;
}

#[tokio::test]
async fn an_unchanged_artifact_costs_one_request() {
    let mut lab = Lab::new(Way::Registry).await;
    let mark = lab.registry().log().mark();
    lab.finds_nothing_new().await;
    lab.finds_nothing_new().await;
    let requests = lab.registry().log().requests_since(mark);
    let paths: Vec<&str> = requests.iter().map(|request| request.path.as_str()).collect();
    assert_eq!(paths, ["/v2/policy/manifests/stable", "/v2/policy/manifests/stable"]);
}

#[tokio::test]
async fn an_artifact_of_another_kind_is_not_read() {
    let mut lab = Lab::new(Way::Registry).await;
    let content = lab.registry().content();
    let empty = json!({ "mediaType": OCI_EMPTY, "digest": content.put_blob("policy", "{}"), "size": 2 });
    let timestamp = &lab.repository.files["timestamp.json"];
    let layer = json!({
        "mediaType": "application/octet-stream",
        "digest": content.put_blob("policy", timestamp.clone()),
        "size": timestamp.len(),
        "annotations": { FILE_ANNOTATION: "timestamp.json" },
    });
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/vnd.example",
        "config": empty,
        "layers": [layer],
    });
    lab.push(&manifest);
    lab.refuses("transport").await;
    let mut untyped = manifest.clone();
    untyped.as_object_mut().unwrap().remove("artifactType");
    lab.push(&untyped);
    lab.refuses("transport").await;
    let mut ambiguous = manifest;
    ambiguous["artifactType"] = REPOSITORY_ARTIFACT.into();
    ambiguous["layers"] = json!([layer, layer]);
    lab.push(&ambiguous);
    lab.refuses("transport").await;
    lab.recovers().await;
}

#[tokio::test]
async fn a_registry_that_misbehaves_changes_nothing() {
    let mut lab = Lab::new(Way::Registry).await;
    lab.repository.update("2");
    lab.upload();
    for (when, fault, word) in [
        (
            When::kind(Kind::Manifest),
            RegistryFault::Status(http::StatusCode::INTERNAL_SERVER_ERROR),
            "transport",
        ),
        (
            When::kind(Kind::Manifest),
            RegistryFault::Status(http::StatusCode::FORBIDDEN),
            "transport",
        ),
        (
            When::kind(Kind::Manifest),
            RegistryFault::Status(http::StatusCode::NOT_FOUND),
            "not-found",
        ),
        (When::path("/blobs/"), RegistryFault::WrongBytes, "integrity"),
        (
            When::path("/blobs/"),
            RegistryFault::Huge { bytes: 1 << 26 },
            "endless-data",
        ),
        (When::path("/blobs/"), RegistryFault::Truncate { after: 9 }, "transport"),
        (
            When::path("/blobs/"),
            RegistryFault::TooManyRequests {
                retry_after: Duration::from_secs(60),
            },
            "transport",
        ),
    ] {
        lab.registry().misbehave(when, fault.clone());
        let error = lab.refuses(word).await;
        if let RegistryFault::TooManyRequests { retry_after } = fault {
            assert_eq!(error.retry_after(), Some(retry_after));
        }
        lab.registry().behave();
    }
    lab.recovers().await;
}

/// A tag that moves while it is read would mix two states; each refresh reads one.
#[tokio::test]
async fn a_tag_is_resolved_once_in_a_refresh() {
    let mut lab = Lab::new(Way::Registry).await;
    lab.repository.update("2");
    lab.upload();
    let mark = lab.registry().log().mark();
    lab.follows().await;
    let requests = lab.registry().log().requests_since(mark);
    let resolved = requests.iter().filter(|request| request.kind == Kind::Manifest);
    assert_eq!(resolved.count(), 1);
}
