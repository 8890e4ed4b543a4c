//! `assayctl publish` as a process, and what nodes' client crate makes of what it publishes.

mod lab;

use std::fs;

use assay_verify::Timestamp;
use assay_verify::limits::MAX_CLOCK_SKEW;
use jiff::SignedDuration;

use lab::{DENIED, DONE, Fleet, USAGE};

const DIGEST: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn now() -> Timestamp {
    Timestamp::now()
}

fn in_hours(hours: i64) -> Timestamp {
    now() + SignedDuration::from_hours(hours)
}

#[tokio::test]
async fn what_is_published_is_what_a_client_takes() {
    let fleet = Fleet::new(&[]);
    fleet.says(&["check"], DONE, &["channel stable is good"]);
    fleet.put("channels/stable/keys/release.pub", lab::RELEASE_KEY);
    fleet.publish_all();
    let node = fleet.node(now()).await.unwrap();
    // Files in folders below a channel's too: the hash stands before the file's name.
    for path in [
        "channels/stable/policy.toml",
        "channels/stable/keys/release.pub",
        "revocation/deny.json",
    ] {
        let expected = fs::read(fleet.files().join(path)).unwrap();
        assert_eq!(node.target(path).await.unwrap(), expected, "{path}");
    }
    let said = fleet.says(
        &["serve-check"],
        DONE,
        &["nodes of channel stable would take", "timestamp   version 1"],
    );
    assert!(said.contains("requests"), "{said}");
    fleet.says(&["status"], DONE, &["timestamp   version 1"]);
}

#[tokio::test]
async fn a_timestamp_expires_by_itself_and_a_timer_makes_the_next() {
    let fleet = Fleet::published();
    assert!(fleet.node(in_hours(25)).await.is_err());
    let before = fleet.repository();
    fleet.says(
        &["sign", "--timestamp-only", "--key", &fleet.key("online-1")],
        DONE,
        &["published  timestamp 2"],
    );
    assert_eq!(fleet.differs(&before), ["timestamp.json"]);
    let timestamp = fleet.json("timestamp.json");
    let signed_at: Timestamp = timestamp["signed"]["x-assayd-signed-at"]
        .as_str()
        .unwrap()
        .parse()
        .unwrap();
    assert!(signed_at <= now() && signed_at > in_hours(-1));
    fleet.node(now()).await.unwrap();
}

#[test]
fn a_timer_needs_no_good_files() {
    let fleet = Fleet::published();
    fleet.put("channels/stable/policy.toml", "version = ");
    fleet.says(
        &["sign", "--timestamp-only", "--key", &fleet.key("online-1")],
        DONE,
        &["published  timestamp 2"],
    );
}

#[tokio::test]
async fn a_policy_needs_as_many_signatures_as_its_threshold() {
    let fleet = Fleet::new(&["--targets-threshold", "2"]);
    fleet.publish_all();
    fleet.put("channels/stable/policy.toml", lab::OTHER_POLICY);
    let before = fleet.repository();
    fleet.sign(
        &["targets-1", "online-1"],
        &["signed     targets 2 by targets-1", "1 of 2 signatures", "nothing new"],
    );
    assert_eq!(fleet.differs(&before), [""; 0]);
    // The same holder again is still one.
    fleet.sign(&["targets-1", "online-1"], &["1 of 2 signatures", "nothing new"]);
    fleet.sign(
        &["targets-2", "online-1"],
        &["signed     targets 2 by targets-2", "published  targets 2"],
    );
    let node = fleet.node(now()).await.unwrap();
    assert_eq!(
        node.target("channels/stable/policy.toml").await.unwrap(),
        lab::OTHER_POLICY.as_bytes()
    );
    assert!(!fleet.folder().join("staged").exists());
}

#[tokio::test]
async fn a_complete_policy_waits_for_the_online_keys_and_keeps_its_files() {
    let fleet = Fleet::published();
    fleet.put("channels/stable/policy.toml", lab::OTHER_POLICY);
    fleet.sign(
        &["targets-1"],
        &["targets 2: complete; the snapshot's and the timestamp's keys publish it"],
    );
    // Whoever publishes it need not have the files as they were signed.
    fleet.put("channels/stable/policy.toml", "version = 1\nunmatched = \"admit\"\n");
    fleet.sign(&["online-1"], &["published  targets 2"]);
    let node = fleet.node(now()).await.unwrap();
    assert_eq!(
        node.target("channels/stable/policy.toml").await.unwrap(),
        lab::OTHER_POLICY.as_bytes()
    );
}

#[test]
fn signatures_for_other_files_count_no_more() {
    let fleet = Fleet::new(&["--targets-threshold", "2"]);
    fleet.publish_all();
    fleet.put("channels/stable/policy.toml", lab::OTHER_POLICY);
    fleet.sign(&["targets-1"], &["1 of 2 signatures"]);
    fleet.put("channels/stable/policy.toml", "version = 1\nunmatched = \"admit\"\n");
    fleet.sign(&["targets-2", "online-1"], &["made anew", "1 of 2 signatures"]);
}

#[tokio::test]
async fn an_incident_takes_two_commands_and_no_offline_key() {
    let fleet = Fleet::new(&["--targets-threshold", "2"]);
    fleet.publish_all();
    // While a policy waits for its second signature, and the next is half written.
    fleet.put("channels/stable/policy.toml", lab::OTHER_POLICY);
    fleet.sign(&["targets-1"], &["1 of 2 signatures"]);
    fleet.put("channels/stable/policy.toml", "version = ");
    fleet.put("notes.txt", "of the incident");
    let entry = [
        "deny",
        "--image",
        DIGEST,
        "--reason",
        "stolen key",
        "--reference",
        "INC-4711",
    ];
    fleet.says(&entry, DONE, &["INC-4711", "online-1"]);
    fleet.sign(&["revocations-1", "online-1"], &["published  revocations 2"]);
    let node = fleet.node(now()).await.unwrap();
    let list = String::from_utf8(node.target("revocation/deny.json").await.unwrap()).unwrap();
    assert!(list.contains(DIGEST) && list.contains("stolen key"), "{list}");
    assert_eq!(
        node.target("channels/stable/policy.toml").await.unwrap(),
        lab::policy().as_bytes()
    );
    fleet.says(&["serve-check"], DONE, &["revocations version 2"]);
    // And the policy goes on where it was.
    fs::remove_file(fleet.files().join("notes.txt")).unwrap();
    fleet.put("channels/stable/policy.toml", lab::OTHER_POLICY);
    fleet.sign(&["targets-2", "online-1"], &["published  targets 2"]);
}

#[test]
fn a_deny_list_from_the_future_is_refused_before_nodes_doubt_their_clocks() {
    let fleet = Fleet::published();
    let list = "{\"version\": 1, \"issued\": \"2099-01-01T00:00:00Z\", \"entries\": []}";
    fleet.put("revocation/deny.json", list);
    let said = &["revocation/deny.json", "issued is in the future", "2099-01-01"];
    fleet.says(&["check"], DENIED, said);
    let deny = ["deny", "--image", DIGEST, "--reason", "r", "--reference", "R"];
    fleet.says(&deny, USAGE, said);
    let unchanged = fs::read_to_string(fleet.files().join("revocation/deny.json")).unwrap();
    assert_eq!(unchanged, list);
}

#[test]
fn nothing_is_signed_by_a_clock_that_is_behind_what_was_signed() {
    let fleet = Fleet::published();
    let mut timestamp = fleet.json("timestamp.json");
    timestamp["signed"]["x-assayd-signed-at"] = (now() + 2 * MAX_CLOCK_SKEW).to_string().into();
    fs::write(fleet.folder().join("repository/timestamp.json"), timestamp.to_string()).unwrap();
    let said = &["the local clock says", "timedatectl"];
    fleet.says(
        &["sign", "--timestamp-only", "--key", &fleet.key("online-1")],
        USAGE,
        said,
    );
    fleet.says(&["rotate"], USAGE, said);
    let deny = ["deny", "--image", DIGEST, "--reason", "r", "--reference", "R"];
    fleet.says(&deny, USAGE, said);
}

#[test]
fn a_denial_that_cannot_be_published_changes_nothing() {
    let fleet = Fleet::published();
    fs::write(fleet.folder().join("publish.toml"), "nonsense").unwrap();
    let before = fs::read_to_string(fleet.files().join("revocation/deny.json")).unwrap();
    let deny = ["deny", "--image", DIGEST, "--reason", "r", "--reference", "R"];
    fleet.says(&deny, DENIED, &["publish.toml:1", "nothing was changed"]);
    assert_eq!(
        fs::read_to_string(fleet.files().join("revocation/deny.json")).unwrap(),
        before
    );
}

#[test]
fn a_denial_keeps_what_was_denied_and_never_goes_back_in_time() {
    let fleet = Fleet::new(&[]);
    // The clock of another publisher, ahead by less than nodes allow.
    let future = (now() + MAX_CLOCK_SKEW / 2)
        .round(jiff::Unit::Second)
        .unwrap()
        .to_string();
    let future = future.as_str();
    let entry = format!(
        "{{\"image\": \"{DIGEST}\", \"reason\": \"first\",   \"reference\": \"A\", \"at\": \"2026-01-01T00:00:00Z\"}}"
    );
    fleet.put(
        "revocation/deny.json",
        &format!("{{\"version\": 1, \"issued\": \"{future}\", \"entries\": [{entry}]}}"),
    );
    let key = lab::RELEASE_KEY_FILE;
    fs::write(fleet.folder().join(key), lab::RELEASE_KEY).unwrap();
    let key = fleet.folder().join(key).display().to_string();
    fleet.says(
        &["deny", "--key", &key, "--reason", "leaked", "--reference", "B"],
        DONE,
        &["\"key\": \"sha256:"],
    );
    let subject = [
        "deny",
        "--identity-issuer",
        "https://i.example",
        "--identity-subject",
        "s",
        "--until",
        "2026-05-01T00:00:00Z",
    ];
    fleet.says(
        &[&subject[..], &["--reason", "gone", "--reference", "C"]].concat(),
        DONE,
        &["\"until\""],
    );
    let list = fs::read_to_string(fleet.files().join("revocation/deny.json")).unwrap();
    assert!(list.contains(&entry) && list.contains(future), "{list}");
    fleet.says(&["check"], DONE, &["good"]);
    let before = list;
    for wrong in [
        &["deny", "--image", "sha256:00", "--reason", "r", "--reference", "R"][..],
        &["deny", "--image", DIGEST, "--reason", "r"],
        &["deny", "--reason", "r", "--reference", "R"],
        &[
            "deny",
            "--image",
            DIGEST,
            "--signature",
            DIGEST,
            "--reason",
            "r",
            "--reference",
            "R",
        ],
    ] {
        fleet.says(wrong, USAGE, &[]);
    }
    let window = [
        "deny",
        "--image",
        DIGEST,
        "--from",
        "2026-05-01T00:00:00Z",
        "--reason",
        "r",
        "--reference",
        "R",
    ];
    fleet.says(&window, DENIED, &["the new entry", "from"]);
    assert_eq!(
        fs::read_to_string(fleet.files().join("revocation/deny.json")).unwrap(),
        before
    );
}

#[tokio::test]
async fn an_exception_is_published_without_an_offline_key() {
    let fleet = Fleet::published();
    let exception = [
        "exception",
        "--image",
        "registry.corp.example/prod/**",
        "--owner",
        "jane@corp.example",
    ];
    let exception = [
        &exception[..],
        &[
            "--reason",
            "signatures are \"away\"",
            "--incident",
            "INC-1",
            "--hours",
            "4",
        ],
    ]
    .concat();
    fleet.says(&exception, DONE, &["[[exception]]", "online-1"]);
    fleet.sign(&["exceptions-1", "online-1"], &["published  exceptions 2"]);
    let node = fleet.node(now()).await.unwrap();
    let text = String::from_utf8(node.target("exceptions/break-glass.toml").await.unwrap()).unwrap();
    assert!(text.contains("INC-1"), "{text}");
    fleet.says(
        &[&exception[..8], &["--incident", "2", "--hours", "25"]].concat(),
        USAGE,
        &[],
    );
}

#[test]
fn a_broken_policy_is_refused_with_its_place_and_changes_nothing() {
    let fleet = Fleet::published();
    fleet.put("channels/stable/policy.toml", "version = 1\nunmatched = \"perhaps\"\n");
    fleet.put("revocation/deny.json", "{\"version\": 1}");
    let before = fleet.repository();
    fleet.says(
        &["check"],
        DENIED,
        &[
            "channels/stable/policy.toml:2:13: error",
            "revocation/deny.json",
            "refused",
        ],
    );
    let keys = ["targets-1", "revocations-1", "online-1"].map(|name| fleet.key(name));
    let sign = ["sign", "--key", &keys[0], "--key", &keys[1], "--key", &keys[2]];
    fleet.says(
        &sign,
        DENIED,
        &["channels/stable/policy.toml:2:13: error", "nothing was changed"],
    );
    assert_eq!(fleet.differs(&before), [""; 0]);
    assert!(!fleet.folder().join("staged").exists());
}

#[test]
fn what_does_not_belong_among_the_files_is_refused_by_its_name() {
    let fleet = Fleet::published();
    fleet.put("README", "x");
    fleet.put("channels/canary/policy.toml", lab::OTHER_POLICY);
    fleet.put("revocation/notes.txt", "x");
    fleet.put("revocation/old/a.crl", "x");
    fleet.put("exceptions/others.toml", "x");
    fleet.put("channels/stable/.policy.toml.swp", "x");
    std::os::unix::fs::symlink("policy.toml", fleet.files().join("channels/stable/linked.toml")).unwrap();
    fleet.says(
        &["check"],
        DENIED,
        &[
            "files/README: error: nodes do not look at it",
            "files/channels/canary/policy.toml: error: nodes do not look at it\n  help: canary is none of the channels",
            "files/revocation/notes.txt: error",
            "files/revocation/old/a.crl: error",
            "files/exceptions/others.toml: error",
            "files/channels/stable/.policy.toml.swp: error: it cannot be published",
            "files/channels/stable/linked.toml: error: a symbolic link",
        ],
    );
    fleet.says(
        &["sign", "--key", &fleet.key("targets-1"), "--role", "targets"],
        DENIED,
        &["files/README: error"],
    );
}

#[test]
fn a_key_that_signs_nothing_is_told_what_it_is() {
    let fleet = Fleet::published();
    let online = fleet.key("online-1");
    fleet.says(
        &["sign", "--role", "targets", "--key", &online],
        USAGE,
        &["online-1.pem (online-1) is not a key of targets: it is one of snapshot, timestamp"],
    );
    let other = Fleet::new(&[]);
    fleet.says(
        &["sign", "--key", &other.key("root-1")],
        USAGE,
        &["root-1.pem (key ", "is not a key of any role: its id is "],
    );
    fleet.says(
        &["sign", "--role", "mirrors", "--key", &online],
        USAGE,
        &["expected one of: root"],
    );
    lab::open_to_all(&online);
    fleet.says(
        &["sign", "--key", &online],
        USAGE,
        &["everyone may read it (mode 0644)"],
    );
}

#[tokio::test]
async fn a_root_is_rotated_by_those_before_and_after_it() {
    let fleet = Fleet::published();
    let stranger = Fleet::new(&[]);
    fleet.gives("root-3", &stranger, "root-1");
    let keys = [fleet.key("root-1"), fleet.key("root-2"), stranger.key("root-1")];
    fleet.sign(&["online-1"], &["publish.toml asks for other keys than root 1 has"]);
    fleet.says(
        &["rotate"],
        DONE,
        &["root 2 waits", "2 of the old keys", "2 of the new keys"],
    );
    // One of the old and the new one: not enough of the old.
    fleet.says(
        &["sign", "--key", &keys[2]],
        DONE,
        &["signed     root 2", "waits      root 2: 0 of 2"],
    );
    fleet.says(&["sign", "--key", &keys[0]], DONE, &["waits      root 2: 1 of 2"]);
    let before = fleet.repository();
    fleet.says(&["sign", "--key", &keys[1]], DONE, &["published  root 2"]);
    // A new root needs no new timestamp: nodes find it by its name.
    assert_eq!(fleet.differs(&before), ["2.root.json"]);
    let node = fleet.node(now()).await.unwrap();
    assert_eq!(node.root_version(), 2);
    fleet.says(&["serve-check"], DONE, &["root        version 2"]);
    // The key that was taken away signs no root any more.
    fleet.says(&["rotate"], DONE, &["root 3 waits"]);
    fleet.says(
        &["sign", "--key", &fleet.key("root-3")],
        USAGE,
        &["is not a key of any role"],
    );
}

#[tokio::test]
async fn a_root_that_takes_keys_away_waits_for_what_they_signed() {
    let fleet = Fleet::published();
    let stranger = Fleet::new(&[]);
    // Both of the targets' keys, and the online one.
    for name in ["targets-1", "targets-2", "online-1"] {
        fleet.gives(name, &stranger, name);
    }
    fleet.says(&["rotate"], DONE, &["root 2 waits"]);
    let before = fleet.repository();
    fleet.sign(
        &["root-1", "root-2"],
        &["root 2: complete; it waits for what belongs to it"],
    );
    assert_eq!(fleet.differs(&before), [""; 0]);
    // Meanwhile an incident is published by the keys that nodes know.
    fleet.says(
        &["deny", "--image", DIGEST, "--reason", "r", "--reference", "R"],
        DONE,
        &[],
    );
    fleet.sign(&["revocations-1", "online-1"], &["published  revocations 2"]);
    let online = stranger.key("online-1");
    fleet.says(
        &["sign", "--key", &stranger.key("targets-1"), "--key", &online],
        DONE,
        &[
            "signed     targets 2",
            "published  root 2",
            "published  targets 2",
            "published  snapshot 3",
        ],
    );
    let node = fleet.node(now()).await.unwrap();
    assert_eq!(node.root_version(), 2);
    fleet.says(
        &["sign", "--timestamp-only", "--key", &online],
        DONE,
        &["published  timestamp 4"],
    );
    fleet.node(now()).await.unwrap();
}

#[tokio::test]
async fn keys_of_a_delegated_role_are_changed_by_the_targets_role() {
    let fleet = Fleet::published();
    let stranger = Fleet::new(&[]);
    fleet.gives("revocations-1", &stranger, "revocations-1");
    // The new key counts only with the targets' signature.
    fleet.says(
        &["deny", "--image", DIGEST, "--reason", "r", "--reference", "R"],
        DONE,
        &[],
    );
    let new = stranger.key("revocations-1");
    let online = fleet.key("online-1");
    fleet.says(
        &["sign", "--key", &new, "--key", &online],
        DONE,
        &["signed     revocations 2", "waits      revocations 2"],
    );
    fleet.says(
        &["sign", "--key", &fleet.key("targets-1"), "--key", &online],
        DONE,
        &["published  targets 2", "published  revocations 2"],
    );
    fleet.node(now()).await.unwrap();
}

#[tokio::test]
async fn no_moment_of_an_update_shows_a_client_half_of_it() {
    let fleet = Fleet::published();
    let before = fleet.repository();
    fleet.put("channels/stable/policy.toml", lab::OTHER_POLICY);
    fleet.put("channels/stable/keys/release.pub", lab::RELEASE_KEY);
    fleet.says(
        &["deny", "--image", DIGEST, "--reason", "r", "--reference", "R"],
        DONE,
        &[],
    );
    let stranger = Fleet::new(&[]);
    fleet.gives("root-3", &stranger, "root-1");
    fleet.says(&["rotate"], DONE, &[]);
    let names = ["root-1", "root-2", "targets-1", "revocations-1", "online-1"];
    let mut arguments = vec!["sign".to_owned(), "--key".to_owned(), stranger.key("root-1")];
    arguments.extend(names.iter().flat_map(|name| ["--key".to_owned(), fleet.key(name)]));
    arguments.extend(["--output".to_owned(), "json".to_owned()]);
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let said: serde_json::Value = serde_json::from_str(&fleet.says(&arguments, DONE, &[])).unwrap();
    let written: Vec<String> = said["written"]
        .as_array()
        .unwrap()
        .iter()
        .map(|path| path.as_str().unwrap().to_owned())
        .collect();
    assert!(
        written.last().unwrap().ends_with("timestamp.json") && written.len() >= 8,
        "{written:#?}"
    );
    let after = fleet.repository();
    // As if the process had died after each of the writes, and before the first.
    for count in 0..=written.len() {
        let mut seen = before.clone();
        for path in &written[..count] {
            let name = path.split("/repository/").nth(1).unwrap().to_owned();
            seen.insert(name.clone(), after[&name].clone());
        }
        let node = lab::Node::of(seen, now())
            .await
            .unwrap_or_else(|error| panic!("after {count} writes: {error}"));
        for path in ["channels/stable/policy.toml", "revocation/deny.json"] {
            node.target(path)
                .await
                .unwrap_or_else(|error| panic!("{path} after {count} writes: {error}"));
        }
        let is_new = node.target("channels/stable/policy.toml").await.unwrap() == lab::OTHER_POLICY.as_bytes();
        assert_eq!(is_new, count == written.len(), "after {count} writes");
    }
    assert_eq!(lab::Node::of(after, now()).await.unwrap().root_version(), 2);
}

#[test]
fn versions_go_up_by_one_and_none_is_used_twice() {
    let fleet = Fleet::published();
    fleet.put("channels/stable/policy.toml", lab::OTHER_POLICY);
    fleet.sign(&["targets-1"], &["signed     targets 2"]);
    fs::remove_dir_all(fleet.folder().join("staged")).unwrap();
    fleet.sign(
        &["targets-1", "online-1"],
        &[
            "published  targets 2",
            "published  snapshot 2",
            "published  timestamp 2",
        ],
    );
    // A process that died before the last write left version 3 behind: it may have been seen.
    fs::write(fleet.folder().join("repository/3.targets.json"), "{}").unwrap();
    fleet.put("channels/stable/policy.toml", &lab::policy());
    fleet.sign(
        &["targets-1", "online-1"],
        &["published  targets 4", "published  snapshot 3"],
    );
    assert_eq!(
        fs::read_to_string(fleet.folder().join("repository/3.targets.json")).unwrap(),
        "{}"
    );
}

#[test]
fn what_has_not_changed_is_not_signed_unless_it_is_asked_for() {
    let fleet = Fleet::published();
    let before = fleet.repository();
    fleet.sign(
        &["targets-1", "revocations-1", "online-1"],
        &["nothing new is published"],
    );
    assert_eq!(fleet.differs(&before), [""; 0]);
    let (targets, online) = (fleet.key("targets-1"), fleet.key("online-1"));
    let anew = [
        "sign",
        "--role",
        "targets",
        "--role",
        "snapshot",
        "--role",
        "timestamp",
        "--key",
        &targets,
        "--key",
        &online,
    ];
    fleet.says(&anew, DONE, &["published  targets 2"]);
}

#[test]
fn init_overwrites_nothing_and_takes_public_keys() {
    let fleet = Fleet::published();
    let before = fleet.repository();
    let folder = fleet.folder().display().to_string();
    lab::run(&["publish", "init", &folder, "--generate-keys"], USAGE, &["not empty"]);
    assert_eq!(fleet.differs(&before), [""; 0]);
    assert_eq!(lab::mode(&fleet.key("root-1")), 0o600);

    let temporary = tempfile::tempdir().unwrap();
    let at = |name: &str| temporary.path().join(name).display().to_string();
    let mut arguments = vec!["publish".to_owned(), "init".to_owned(), at("fleet")];
    for (option, name, algorithm) in [
        ("--root-key", "a", &rcgen::PKCS_ED25519),
        ("--root-key", "b", &rcgen::PKCS_ECDSA_P256_SHA256),
        ("--root-key", "c", &rcgen::PKCS_RSA_SHA256),
        ("--targets-key", "d", &rcgen::PKCS_ECDSA_P256_SHA256),
        ("--revocations-key", "e", &rcgen::PKCS_RSA_SHA256),
        ("--online-key", "f", &rcgen::PKCS_ED25519),
    ] {
        lab::make_key(temporary.path(), name, algorithm);
        arguments.extend([option.to_owned(), at(&format!("{name}.pub"))]);
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    lab::run(
        &arguments,
        DONE,
        &["root 1: 0 of 2 signatures", "Every holder of a root key signs"],
    );
    let keys: Vec<String> = ["b", "c", "d", "e", "f"]
        .iter()
        .map(|name| at(&format!("{name}.pem")))
        .collect();
    let fleet = at("fleet");
    let mut arguments = vec!["publish", "sign", "--folder", &fleet];
    keys.iter().for_each(|key| arguments.extend(["--key", key]));
    lab::run(&arguments, DONE, &["published  root 1", "published  timestamp 1"]);
    lab::run(&["publish", "serve-check", &fleet], DONE, &["would take"]);
    lab::run(&["publish", "key", &keys[1]], DONE, &["[key.c]", "public = \""]);
}

#[test]
fn a_diff_says_what_changes_and_for_which_images() {
    let fleet = Fleet::new(&[]);
    fleet.put("channels/stable/policy.toml", lab::OTHER_POLICY);
    fleet.publish_all();
    fleet.says(&["diff"], DONE, &["no file has changed"]);
    fleet.put(
        "channels/stable/policy.toml",
        &lab::OTHER_POLICY.replace("prod/**", "prod2/**"),
    );
    let other = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";
    fleet.says(
        &["deny", "--image", DIGEST, "--reason", "bad", "--reference", "INC-1"],
        DONE,
        &[],
    );
    let line = |repository: &str, digest: &str, verdict: &str, rule: &str| {
        format!(
            "{{\"repository\": \"{repository}\", \"digest\": \"{digest}\", \"verdict\": \"{verdict}\", \"rule\": \"{rule}\", \"more\": 1}}\n"
        )
    };
    let decisions = fleet.folder().join("decisions.jsonl");
    let text = line("registry.corp.example/prod/a", other, "admit", "production")
        // Pulled twice.
        + &line("registry.corp.example/prod/a", other, "admit", "production")
        + &line("registry.corp.example/tools/a", DIGEST, "admit", "tools")
        + &line("registry.corp.example/tools/b", other, "admit", "tools")
        + &line("registry.corp.example/prod2/b", other, "deny", "");
    fs::write(&decisions, text).unwrap();
    let decisions = decisions.display().to_string();
    let said = fleet.says(
        &["diff", "--decisions", &decisions],
        DENIED,
        &[
            "changed channels/stable/policy.toml",
            "-images = [\"registry.corp.example/prod/**\"]",
            "denied from now on: {\"at\"",
            "WOULD BE DENIED  registry.corp.example/prod/a",
            "deny no-matching-rule: no rule is for it",
            "deny denied-by-list: image sha256:aaaa",
            "would be admitted  registry.corp.example/prod2/b",
            "2 would be denied that were admitted, 1 would be admitted that were denied",
        ],
    );
    assert!(said.contains("1 stay as they are for certain"), "{said}");
    let policy = fleet.files().join("channels/stable/policy.toml").display().to_string();
    lab::run(
        &["policy", "test", &policy, "--decisions", &decisions],
        DENIED,
        &["WOULD BE DENIED  registry.corp.example/prod/a"],
    );
    fs::write(&decisions, "{\"repository\": \"x y\"}\n").unwrap();
    lab::run(
        &["policy", "test", &policy, "--decisions", &decisions],
        USAGE,
        &["decisions.jsonl:1: "],
    );
}

#[test]
fn a_layout_for_a_registry_has_every_file_that_a_node_needs() {
    let fleet = Fleet::published();
    let out = fleet.folder().join("out.tar");
    fleet.says(
        &["layout", &out.display().to_string(), "--tag", "stable"],
        DONE,
        &["holds sha256:", "oras cp"],
    );
    let first = fs::read(&out).unwrap();
    let files = lab::files_of_layout(&first);
    for (path, content) in fleet.repository() {
        assert_eq!(files.get(&path), Some(&content), "{path}");
    }
    fleet.says(&["layout", &out.display().to_string(), "--tag", "stable"], DONE, &[]);
    assert_eq!(fs::read(&out).unwrap(), first);
}

#[tokio::test]
async fn what_no_node_asks_for_any_more_can_be_pruned() {
    let fleet = Fleet::published();
    let first = fleet.repository();
    fleet.put("channels/stable/policy.toml", lab::OTHER_POLICY);
    fleet.sign(&["targets-1", "online-1"], &["published  targets 2"]);
    for path in first.keys() {
        assert!(
            fleet.repository().contains_key(path),
            "{path} is kept for readers on their way"
        );
    }
    fleet.says(&["prune"], DONE, &["0 files removed"]);
    fleet.says(
        &["prune", "--older-than", "0s"],
        DONE,
        &["1.targets.json", "1.snapshot.json", "3 files removed"],
    );
    fleet.node(now()).await.unwrap();
}

#[test]
fn serve_check_says_what_is_wrong() {
    let fleet = Fleet::published();
    let tomorrow = in_hours(25).to_string();
    fleet.says(
        &["serve-check", "--at", &tomorrow],
        DENIED,
        &["would refuse", "expired"],
    );
    fleet.says(
        &["serve-check", "--channel", "canary"],
        DENIED,
        &["channels/canary/policy.toml"],
    );
    let other = Fleet::published();
    let root = other.folder().join("repository/1.root.json").display().to_string();
    fleet.says(&["serve-check", "--root", &root], DENIED, &["threshold"]);
    fs::remove_file(fleet.folder().join("repository/timestamp.json")).unwrap();
    fleet.says(&["serve-check"], Some(3), &["not-found"]);
}

#[test]
fn what_was_exchanged_while_it_waited_is_not_signed() {
    let fleet = Fleet::published();
    let path = fleet.folder().join("staged/root.json");
    fleet.says(&["rotate"], DONE, &["nothing changes but its expiry"]);
    let staged = fs::read_to_string(&path).unwrap();
    let exchanged = [
        staged.replace("\"version\": 2", "\"version\": 4000000000"),
        staged.replace("\"threshold\": 2", "\"threshold\": 1"),
        staged.replace("\"expires\": \"2", "\"expires\": \"3"),
    ];
    for exchanged in exchanged {
        assert_ne!(exchanged, staged);
        fs::write(&path, exchanged).unwrap();
        fleet.says(
            &["sign", "--key", &fleet.key("root-1")],
            USAGE,
            &["is not the root that publish.toml asks for"],
        );
    }
    fleet.says(&["rotate"], DONE, &["root 2 waits"]);
    fleet.sign(&["root-1", "root-2"], &["published  root 2"]);

    let fleet = Fleet::new(&["--targets-threshold", "2"]);
    fleet.publish_all();
    fleet.put("channels/stable/policy.toml", lab::OTHER_POLICY);
    fleet.sign(&["targets-1"], &["1 of 2 signatures"]);
    let path = fleet.folder().join("staged/targets.json");
    let staged = fs::read_to_string(&path).unwrap();
    fs::write(&path, staged.replace("\"version\": 2", "\"version\": 4000000000")).unwrap();
    fleet.sign(
        &["targets-2", "online-1"],
        &["signed     targets 2 by targets-2", "1 of 2 signatures"],
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_serves_the_layout_to_nodes() {
    let fleet = Fleet::published();
    let out = fleet.folder().join("out.tar");
    fleet.says(&["layout", &out.display().to_string(), "--tag", "stable"], DONE, &[]);
    let registry = assay_integration::registry::Registry::start().await.unwrap();
    let (manifest, blobs) = lab::artifact_of_layout(&fs::read(&out).unwrap());
    let content = registry.content();
    for blob in blobs {
        content.put_blob("policy", blob);
    }
    let digest = content.put_manifest("policy", "application/vnd.oci.image.manifest.v1+json", manifest);
    content.tag("policy", "stable", &digest);
    let address = format!("oci://{}:stable", registry.repository("policy"));
    fleet.says(
        &["serve-check", &address, "--plain-http"],
        DONE,
        &["nodes of channel stable would take oci://"],
    );
}

#[test]
fn a_timer_and_a_person_do_not_write_at_once() {
    let fleet = Fleet::published();
    let (folder, key) = (fleet.folder().display().to_string(), fleet.key("online-1"));
    std::thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let sign = [
                    "publish",
                    "sign",
                    "--folder",
                    &folder,
                    "--timestamp-only",
                    "--key",
                    &key,
                ];
                lab::run(&sign, DONE, &["published  timestamp"]);
            });
        }
    });
    // None overwrote another's.
    assert_eq!(fleet.json("timestamp.json")["signed"]["version"], 9);
}

#[test]
fn a_role_that_nodes_know_is_not_left_out() {
    let fleet = Fleet::published();
    let path = fleet.folder().join("publish.toml");
    let plan = fs::read_to_string(&path).unwrap();
    let (before, after) = plan.split_once("[role.exceptions]").unwrap();
    let after = after.split_once("[role.snapshot]").unwrap().1;
    fs::write(&path, format!("{before}[role.snapshot]{after}")).unwrap();
    fleet.says(
        &["sign", "--key", &fleet.key("targets-1")],
        USAGE,
        &["keep [role.exceptions]"],
    );
}

#[test]
fn more_than_nodes_take_is_not_published() {
    let fleet = Fleet::published();
    let long = |letter: &str| letter.repeat(110);
    let folder = format!("channels/stable/{}/{}/{}", long("x"), long("y"), long("z"));
    for number in 0..2_040 {
        fleet.put(&format!("{folder}/{number}{}", long("w")), "");
    }
    fleet.says(&["check"], DONE, &["good"]);
    let before = fleet.repository();
    let (targets, online) = (fleet.key("targets-1"), fleet.key("online-1"));
    let sign = ["sign", "--key", &targets, "--key", &online];
    fleet.says(&sign, USAGE, &["the metadata of targets has", "nodes take 1048576"]);
    for number in 2_040..2_050 {
        fleet.put(&format!("{folder}/{number}"), "");
    }
    fleet.says(&sign, DENIED, &["more than 2048 files"]);
    assert_eq!(fleet.differs(&before), [""; 0]);
    assert!(!fleet.folder().join("staged").exists());
}
