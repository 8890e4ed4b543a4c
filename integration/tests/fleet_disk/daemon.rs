//! The real daemon as a node of a fleet, and what it is asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use assay_integration::assayd::Builder;
use assay_integration::{Assayd, Question};
use assay_proto::v1::{Verdict, VerifyResponse};
use assay_verify::Timestamp;
use assay_verify::digest::Digest;
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::policy_repository::{BELOW_ROOT, Files, REVOCATIONS, Repository, TARGETS};

const PATIENCE: Duration = Duration::from_secs(30);

/// How long the metadata counts: all that a test takes, and no year.
pub(crate) const LIFE: Duration = Duration::from_secs(30 * 24 * 3600);

/// The policy repository's address for a test that serves it otherwise than from a folder.
pub(crate) type Address = Option<String>;

/// A repository in a folder, and a daemon that follows it and does not ask it unless it is told to.
pub(crate) struct Node {
    pub(crate) repository: Repository,
    pub(crate) daemon: Assayd,
    folder: TempDir,
}

impl Node {
    /// A repository with the policy `first`, and a daemon that is not started yet. `settings` are those of `[fleet]`.
    pub(crate) fn prepare(settings: toml::Table, address: Address, change: impl FnOnce(Builder) -> Builder) -> Self {
        let mut repository = Repository::new();
        for expires in repository.expires.values_mut() {
            *expires = Timestamp::now() + LIFE;
        }
        repository.targets.clear();
        repository.put(TARGETS, "channels/stable/policy.toml", &policy("first"));
        repository.put(REVOCATIONS, "revocation/deny.json", &deny_list(&[DENIED]));
        let key = rcgen::KeyPair::generate().unwrap().public_key_pem();
        repository.put(TARGETS, "channels/stable/keys/corp.pub", &key);
        repository.signed_at = json!(Timestamp::now().to_string());
        repository.files = Files::new();
        repository.publish_root(&[]);
        repository.publish();

        let folder = TempDir::with_prefix("assay-repository-").unwrap();
        let mut fleet = toml::toml! {
            root = "fleet-root.json"
            channel = "stable"
            poll_interval = "24h"
            max_poll_interval = "24h"
        };
        let address = address.unwrap_or_else(|| format!("file://{}", folder.path().join("repository").display()));
        fleet.insert("repository".to_owned(), address.into());
        fleet.extend(settings);
        let builder = Assayd::builder()
            .setting("fleet", fleet)
            .file("fleet-root.json", repository.pinned());
        let node = Self {
            daemon: change(builder).prepare().expect("assayd"),
            repository,
            folder,
        };
        node.upload();
        node
    }

    pub(crate) async fn start(&mut self) {
        self.daemon.start().await.expect("assayd");
    }

    /// The folder of the daemon's state that holds what is known of the repository.
    pub(crate) fn state(&self) -> PathBuf {
        self.daemon.state_directory().join("fleet")
    }

    fn upload(&self) {
        let folder = self.folder.path().join("repository");
        let _ = fs::remove_dir_all(&folder);
        write(&folder, &self.repository.files);
    }

    /// Publishes another policy, and a deny-list with these images.
    pub(crate) fn publish(&mut self, name: &str, denied: &[&str]) {
        self.repository
            .put(TARGETS, "channels/stable/policy.toml", &policy(name));
        self.repository
            .put(REVOCATIONS, "revocation/deny.json", &deny_list(denied));
        self.repository.signed_at = json!(Timestamp::now().to_string());
        self.repository.bump(&BELOW_ROOT);
        self.repository.publish();
        self.upload();
    }

    async fn sync(&self, what: &str) -> (Option<i32>, Value) {
        let finished = self.daemon.assayctl(&["sync", what, "--output", "json"]).await.unwrap();
        let status = serde_json::from_str(&finished.stdout);
        (
            finished.code,
            status.unwrap_or_else(|_| panic!("{finished:?}\n{}", self.daemon.log())),
        )
    }

    /// What `assayctl sync status` says, and its exit code.
    pub(crate) async fn status(&self) -> (Option<i32>, Value) {
        self.sync("status").await
    }

    /// Has the repository asked now.
    pub(crate) async fn ask(&self) -> (Option<i32>, Value) {
        self.sync("now").await
    }

    /// `assayctl sync status` for people.
    pub(crate) async fn told(&self) -> String {
        self.daemon.assayctl(&["sync", "status"]).await.unwrap().stdout
    }

    /// The name of the policy in force.
    pub(crate) async fn policy(&self) -> String {
        let shown = self.daemon.assayctl(&["policy", "show"]).await.unwrap();
        let line = shown.stdout.lines().find_map(|line| line.strip_prefix("name = "));
        line.map_or(String::new(), |name| name.trim_matches('"').to_owned())
    }

    /// Asks as the hook does.
    pub(crate) async fn verify(&self, name: &str, digest: &str) -> VerifyResponse {
        let descriptor = json!({
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "digest": digest,
            "size": 1234,
        });
        let question = Question::new(name, descriptor);
        question.grpc(self.daemon.channel().unwrap()).await.unwrap()
    }

    /// The code of a denial, or that it admits.
    pub(crate) async fn code(&self, name: &str, digest: &str) -> String {
        let response = self.verify(name, digest).await;
        match response.verdict() {
            Verdict::Admit if response.code.is_empty() => "admitted".to_owned(),
            Verdict::Admit => format!("admitted in spite of {}", response.code),
            _ => response.code,
        }
    }

    pub(crate) async fn wait_for(&self, what: &str, mut holds: impl AsyncFnMut() -> bool) {
        let since = Instant::now();
        while !holds().await {
            assert!(
                since.elapsed() < PATIENCE,
                "no {what}:\n{}\n{}",
                self.told().await,
                self.daemon.log()
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until it follows a policy.
    pub(crate) async fn follows(&self, name: &str) {
        self.wait_for(name, async || self.policy().await == name).await;
    }
}

/// Writes files below a folder.
pub(crate) fn write(folder: &Path, files: &Files) {
    for (name, content) in files {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
}

/// An image that every policy lists.
pub(crate) const LISTED: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
/// An image that the first deny-list names.
pub(crate) const DENIED: &str = "sha256:486ea46224d1bb4fb680f34f7c9ad96a8f24ec88be73ea8e5a6c65260e9cb8a7";
/// An image of which nothing is known.
pub(crate) const OTHER: &str = "sha256:82e35a63ceba37e9646434c5dd412ea577147f1e4a41ccde1614253187e3dbf9";

/// Nobody listens there.
pub(crate) const AWAY: &str = "127.0.0.1:1";

pub(crate) const LISTING: &str = "registry.example/listed";
/// In a registry where nobody listens.
pub(crate) const SIGNED: &str = "127.0.0.1:1/signed/app";
pub(crate) const FORBIDDEN: &str = "registry.example/forbidden/app";
pub(crate) const ANYTHING: &str = "elsewhere.example/anything";

/// A policy with this name that lists an image, asks for a signature, denies, and admits whatever it does not name.
fn policy(name: &str) -> String {
    format!(
        "version = 1\nunmatched = \"admit\"\n\
         [[rule]]\nname = \"{name}\"\nimages = [\"{LISTING}\"]\nadmit_digests = [\"{LISTED}\", \"{DENIED}\"]\n\
         [[rule]]\nname = \"signed\"\nimages = [\"{AWAY}/signed/**\"]\nrequire = {{ all = [\"corp\"] }}\n\
         [[rule]]\nname = \"forbidden\"\nimages = [\"registry.example/forbidden/**\"]\ndeny = \"for the test\"\n\
         [authority.corp]\ntype = \"cosign\"\nkeys = [\"keys/corp.pub\"]\n{}",
        "# It takes some pages of a disk.\n".repeat(400)
    )
}

fn deny_list(images: &[&str]) -> String {
    let now = Timestamp::now().to_string();
    let entry = |image: &&str| json!({ "image": image, "reason": "bad", "reference": "INC-1", "at": now });
    json!({ "version": 1, "issued": now, "entries": images.iter().map(entry).collect::<Vec<_>>() }).to_string()
}

/// The digest of some image.
pub(crate) fn image(number: usize) -> String {
    Digest::sha256(format!("image {number}").as_bytes()).to_string()
}
