//! `assayctl hook`, `doctor` and `bootstrap` on a real containerd: each trap that is planted is found, and a sound node is silent.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use assay_integration::{Assayd, Containerd, Finished, Image, Peers, Registry, program};
use serde_json::Value;

const NOTHING: &str = "version   = 1\nunmatched = \"deny\"\n\n[authority.corp]\ntype = \"cosign\"\nkeys = [\"key.pub\"]\n\n[[rule]]\n\
                       name = \"signed\"\nimages = [\"registry.example/**\"]\nrequire = { all = [\"corp\"] }\n";
/// Any key: nothing is signed with it.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n\
                   6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n-----END PUBLIC KEY-----\n";

/// A daemon, and a containerd that is to ask it.
struct Node {
    assayd: Assayd,
    containerd: Containerd,
    verifier: PathBuf,
}

impl Node {
    /// Without the hook, with these tables in containerd's configuration.
    async fn without_hook(settings: &str, registry: Option<&Registry>) -> Self {
        let peers = Peers::fetch().unwrap();
        let mut daemon = Assayd::builder().policy(NOTHING).file("key.pub", KEY);
        if let Some(registry) = registry {
            daemon = daemon.plain_http(&registry.host());
        }
        let assayd = daemon.start().await.unwrap();
        let digest = format!("registry.k8s.io/pause@sha256:{}\n", "a".repeat(64));
        fs::write(assayd.bootstrap_list(), digest).unwrap();
        let mut containerd = Containerd::builder(&peers).asks(&assayd).settings(settings);
        if let Some(registry) = registry {
            containerd = containerd.plain_http(&registry.host());
        }
        Self {
            containerd: containerd.start().await.unwrap(),
            assayd,
            verifier: program("assay-verifier").unwrap(),
        }
    }

    async fn with_hook(settings: &str) -> Self {
        let node = Self::without_hook(settings, None).await;
        node.hook(&["enable"]).await.successful().unwrap();
        node
    }

    async fn assayctl(&self, command: &[&str]) -> Finished {
        let config = self.containerd.config_file();
        let mut arguments = command.to_vec();
        arguments.extend(["--containerd-config", config.to_str().unwrap()]);
        self.assayd.assayctl(&arguments).await.unwrap()
    }

    async fn hook(&self, command: &[&str]) -> Finished {
        let mut arguments = vec!["hook"];
        arguments.extend(command);
        arguments.extend(["--verifier", self.verifier.to_str().unwrap()]);
        self.assayctl(&arguments).await
    }

    async fn doctor(&self) -> Diagnosis {
        let verifier = self.verifier.to_str().unwrap();
        let finished = self
            .assayctl(&["doctor", "--output", "json", "--verifier", verifier])
            .await;
        Diagnosis::read(&finished)
    }

    fn link(&self) -> PathBuf {
        self.containerd.verifier_directory().join("assay-verifier")
    }
}

#[derive(Debug)]
struct Diagnosis {
    code: Option<i32>,
    found: BTreeSet<String>,
    text: String,
}

impl Diagnosis {
    fn read(finished: &Finished) -> Self {
        let report: Value =
            serde_json::from_str(&finished.stdout).unwrap_or_else(|error| panic!("{error}: {finished:?}"));
        let findings = report["findings"].as_array().unwrap().iter();
        Self {
            code: finished.code,
            found: findings
                .map(|finding| finding["id"].as_str().unwrap().to_owned())
                .collect(),
            text: finished.stdout.clone(),
        }
    }

    #[track_caller]
    fn is(&self, code: i32, expected: &[&str]) {
        let expected: BTreeSet<_> = expected.iter().map(ToString::to_string).collect();
        assert_eq!((self.code, &self.found), (Some(code), &expected), "{}", self.text);
    }
}

#[tokio::test]
async fn a_sound_node_is_silent_and_the_canary_proves_the_hook() {
    let node = Node::with_hook("").await;
    node.doctor().await.is(0, &[]);
    let verifier = node.verifier.to_str().unwrap();
    let shown = node.assayctl(&["doctor", "--verifier", verifier]).await;
    assert!(shown.stdout.lines().all(|line| line.starts_with("OK ")), "{shown:?}");
    assert!(shown.stdout.contains("the canary was denied by decision "), "{shown:?}");
    assert!(node.containerd.images().await.unwrap().is_empty());
}

#[tokio::test]
async fn every_setting_that_leads_past_the_verifiers_is_found_and_the_canary_shows_that_it_does() {
    let images = |line: &str| format!("[plugins.\"io.containerd.cri.v1.images\"]\n{line}\n");
    let registry = |table: &str| format!("[plugins.\"io.containerd.cri.v1.images\".registry.{table}]\n");
    for (settings, id) in [
        (images("use_local_image_pull = true"), "local-pull"),
        (
            images("disable_snapshot_annotations = false"),
            "local-pull-snapshot-annotations",
        ),
        (
            images("discard_unpacked_layers = true"),
            "local-pull-discard-unpacked-layers",
        ),
        (
            images("max_concurrent_downloads = 5"),
            "local-pull-concurrent-downloads",
        ),
        (images("image_pull_with_sync_fs = true"), "local-pull-sync-fs"),
        (
            registry("configs.\"r.example\".auth") + "username = \"u\"\npassword = \"p\"\n",
            "local-pull-registry-configs",
        ),
        (
            registry("auths.\"https://r.example\"") + "username = \"u\"\npassword = \"p\"\n",
            "local-pull-registry-auths",
        ),
    ] {
        let node = Node::with_hook(&settings).await;
        node.doctor().await.is(1, &[id, "canary-admitted"]);
    }
}

#[tokio::test]
async fn what_is_wrong_with_the_folder_is_found_while_containerd_runs() {
    let node = Node::with_hook("").await;
    let stray = node.containerd.verifier_directory().join("README");
    fs::write(&stray, "").unwrap();
    node.doctor().await.is(1, &["stray-entry", "canary-denied-otherwise"]);
    fs::remove_file(&stray).unwrap();
    fs::remove_file(node.link()).unwrap();
    node.doctor().await.is(1, &["bin-dir-empty", "canary-admitted"]);
    fs::remove_dir(node.containerd.verifier_directory()).unwrap();
    node.doctor().await.is(1, &["bin-dir-missing", "canary-admitted"]);
}

#[tokio::test]
async fn a_daemon_that_is_away_is_found_and_the_hook_can_be_taken_out_without_it_and_without_containerd() {
    let mut node = Node::with_hook("").await;
    node.assayd.stop().await.unwrap();
    node.doctor().await.is(1, &["daemon-away", "canary-denied-otherwise"]);
    let (link, folder) = (node.link(), node.containerd.verifier_directory());
    // What is left of a node on which nothing runs: the folder.
    let kept = tempfile::tempdir().unwrap();
    std::os::unix::fs::symlink(fs::read_link(&link).unwrap(), kept.path().join("assay-verifier")).unwrap();
    node.containerd.stop().await.unwrap();
    assert!(!folder.exists());
    let flag = kept.path().join("observe");
    let arguments = [
        "hook",
        "disable",
        "--bin-dir",
        kept.path().to_str().unwrap(),
        "--observe-flag",
        flag.to_str().unwrap(),
        "--verifier",
        node.verifier.to_str().unwrap(),
        "--containerd",
        "/nonexistent/containerd",
    ];
    for _ in 0..2 {
        node.assayd.assayctl(&arguments).await.unwrap().successful().unwrap();
        assert_eq!(fs::read_dir(kept.path()).unwrap().count(), 0);
    }
}

#[tokio::test]
async fn under_the_observe_flag_the_canary_proves_that_assayd_is_asked() {
    let node = Node::without_hook("", None).await;
    node.hook(&["enable", "--observe"]).await.successful().unwrap();
    let status = node.hook(&["status"]).await;
    assert!(status.success && status.stdout.starts_with("observing: "), "{status:?}");
    node.doctor().await.is(4, &["observing"]);
    node.hook(&["enable"]).await.successful().unwrap();
    assert!(!node.assayd.observe_flag().exists());
    node.doctor().await.is(0, &[]);
}

#[tokio::test]
async fn nothing_is_enabled_that_would_deny_an_image_of_the_node() {
    let registry = Registry::start().await.unwrap();
    let node = Node::without_hook("", Some(&registry)).await;
    let image = Image::busybox(&Peers::fetch().unwrap(), "unsigned").unwrap();
    image.push(&registry.repository("app"), "v1").await.unwrap();
    let reference = format!("{}:v1", registry.repository("app"));
    node.containerd.pull_cri(&reference).await.unwrap();

    let refused = node.hook(&["enable"]).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    for said in [
        &registry.repository("app"),
        "no-matching-rule",
        "--accept-denials",
        "Nothing is changed",
    ] {
        assert!(refused.stdout.contains(said), "{said}: {refused:?}");
    }
    assert!(fs::symlink_metadata(node.link()).is_err());

    node.hook(&["enable", "--accept-denials"]).await.successful().unwrap();
    assert_eq!(fs::read_link(node.link()).unwrap(), node.verifier);
    node.containerd.remove(&reference).await.unwrap();
    assert!(node.containerd.pull_cri(&reference).await.unwrap_err().is_denial());
    node.hook(&["disable"]).await.successful().unwrap();
    node.containerd.pull_cri(&reference).await.unwrap();
}

#[tokio::test]
async fn a_containerd_of_debian_13_is_found_never_to_ask() {
    let (program, _) = Peers::fetch().unwrap().containerd1().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("config.toml");
    let socket = folder.path().join("containerd.sock");
    fs::write(
        &config,
        format!("version = 2\n[grpc]\naddress = \"{}\"\n", socket.display()),
    )
    .unwrap();
    let assayd = Assayd::builder()
        .policy(NOTHING)
        .file("key.pub", KEY)
        .start()
        .await
        .unwrap();
    let path = |path: &Path| path.to_str().unwrap().to_owned();
    let arguments = [
        "doctor".to_owned(),
        "--output=json".to_owned(),
        "--containerd".to_owned(),
        path(&program),
        "--containerd-config".to_owned(),
        path(&config),
    ];
    let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
    let found = Diagnosis::read(&assayd.assayctl(&arguments).await.unwrap());
    assert_eq!(found.code, Some(1));
    assert!(found.found.contains("containerd-too-old"), "{found:?}");
    assert!(found.text.contains("1.7"), "{found:?}");
    assert!(!found.found.iter().any(|id| id.starts_with("local-pull")), "{found:?}");
}
