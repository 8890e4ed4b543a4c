//! A publisher's folder, and a node that has the client's crate.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use assay_verify::Timestamp;
use serde_json::Value;
use sigstore_tuf::transport::FetchFuture;
use sigstore_tuf::{Repository, Updater};
use tempfile::TempDir;
use tokio::sync::Mutex;

pub(crate) const DONE: Option<i32> = Some(0);
pub(crate) const DENIED: Option<i32> = Some(1);
pub(crate) const USAGE: Option<i32> = Some(2);

pub(crate) const OTHER_POLICY: &str = r#"version = 1
unmatched = "deny"
[[rule]]
name = "production"
images = ["registry.corp.example/prod/**"]
admit_digests = ["sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"]
[[rule]]
name = "tools"
images = ["registry.corp.example/tools/**"]
admit_digests = ["sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"]
"#;

pub(crate) const RELEASE_KEY_FILE: &str = "release.pub";
pub(crate) const RELEASE_KEY: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAjJJCIxspu+je/xIG64i9fiKtWjLH4HROewTWVciRqYA=\n-----END PUBLIC KEY-----\n";

/// The policy of a new channel.
pub(crate) fn policy() -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/policy.toml")).unwrap()
}

type Files = BTreeMap<String, Vec<u8>>;

#[track_caller]
pub(crate) fn run(arguments: &[&str], code: Option<i32>, expected: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_assayctl"))
        .args(arguments)
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert_eq!(output.status.code(), code, "{arguments:?}: {said}");
    for expected in expected {
        assert!(
            said.contains(expected),
            "{arguments:?}: {said}\ndoes not say\n{expected}"
        );
    }
    said
}

pub(crate) fn mode(path: &str) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

pub(crate) fn open_to_all(path: &str) {
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

/// Makes NAME.pem and NAME.pub.
pub(crate) fn make_key(folder: &Path, name: &str, algorithm: &'static rcgen::SignatureAlgorithm) {
    let pair = rcgen::KeyPair::generate_for(algorithm).unwrap();
    let private = folder.join(format!("{name}.pem"));
    fs::write(&private, pair.serialize_pem()).unwrap();
    fs::set_permissions(&private, fs::Permissions::from_mode(0o600)).unwrap();
    fs::write(folder.join(format!("{name}.pub")), pair.public_key_pem()).unwrap();
}

/// The manifest and all blobs of an OCI image layout.
pub(crate) fn artifact_of_layout(tar: &[u8]) -> (String, Vec<Vec<u8>>) {
    let entries = entries(tar);
    let index: Value = serde_json::from_slice(&entries["index.json"]).unwrap();
    let digest = index["manifests"][0]["digest"].as_str().unwrap().replace(':', "/");
    let manifest = String::from_utf8(entries[&format!("blobs/{digest}")].clone()).unwrap();
    let blobs = entries.into_iter().filter(|(path, _)| path.starts_with("blobs/"));
    (manifest, blobs.map(|(_, content)| content).collect())
}

fn entries(tar: &[u8]) -> HashMap<String, Vec<u8>> {
    let mut entries = HashMap::new();
    let mut archive = tar::Archive::new(tar);
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().display().to_string();
        let mut content = Vec::new();
        std::io::Read::read_to_end(&mut entry, &mut content).unwrap();
        entries.insert(path, content);
    }
    entries
}

/// The files of an artifact in an OCI image layout, by their titles.
pub(crate) fn files_of_layout(tar: &[u8]) -> Files {
    let entries = entries(tar);
    let blob = |digest: &Value| &entries[&format!("blobs/{}", digest.as_str().unwrap().replace(':', "/"))];
    let index: Value = serde_json::from_slice(&entries["index.json"]).unwrap();
    let manifest: Value = serde_json::from_slice(blob(&index["manifests"][0]["digest"])).unwrap();
    let layer = |layer: &Value| {
        let title = layer["annotations"]["org.opencontainers.image.title"].as_str().unwrap();
        (title.to_owned(), blob(&layer["digest"]).clone())
    };
    manifest["layers"].as_array().unwrap().iter().map(layer).collect()
}

/// A publisher's folder with keys of its own.
pub(crate) struct Fleet {
    folder: TempDir,
}

impl Fleet {
    pub(crate) fn new(options: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("fleet").display().to_string();
        let arguments = [&["publish", "init", &path, "--generate-keys"], options].concat();
        run(&arguments, DONE, &["[fleet]", "channel    = \"stable\"", "1.root.json"]);
        Self { folder }
    }

    /// With everything published for the first time.
    pub(crate) fn published() -> Self {
        let fleet = Self::new(&[]);
        fleet.publish_all();
        fleet
    }

    #[track_caller]
    pub(crate) fn publish_all(&self) {
        let names = ["targets-1", "targets-2", "revocations-1", "exceptions-1", "online-1"];
        self.sign(&names, &["published  targets 1", "published  timestamp 1"]);
    }

    pub(crate) fn folder(&self) -> PathBuf {
        self.folder.path().join("fleet")
    }

    pub(crate) fn files(&self) -> PathBuf {
        self.folder().join("files")
    }

    pub(crate) fn key(&self, name: &str) -> String {
        self.folder().join(format!("keys/{name}.pem")).display().to_string()
    }

    pub(crate) fn put(&self, path: &str, content: &str) {
        let path = self.files().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }

    #[track_caller]
    pub(crate) fn says(&self, arguments: &[&str], code: Option<i32>, expected: &[&str]) -> String {
        let folder = self.folder().display().to_string();
        let (command, rest) = arguments.split_first().unwrap();
        run(
            &[&["publish", command, "--folder", &folder], rest].concat(),
            code,
            expected,
        )
    }

    #[track_caller]
    pub(crate) fn sign(&self, names: &[&str], expected: &[&str]) {
        let keys: Vec<String> = names.iter().map(|name| self.key(name)).collect();
        let mut arguments = vec!["sign"];
        keys.iter().for_each(|key| arguments.extend(["--key", key]));
        self.says(&arguments, DONE, expected);
    }

    /// Gives the place of one of this fleet's keys to another's.
    pub(crate) fn gives(&self, name: &str, other: &Self, others: &str) {
        let table = |fleet: &Self, name: &str| -> (String, String) {
            let text = fs::read_to_string(fleet.folder().join("publish.toml")).unwrap();
            let after = text.split(&format!("[key.{name}]\n")).nth(1).unwrap().to_owned();
            (after.split("\n[").next().unwrap().to_owned(), text)
        };
        let ((old, text), (new, _)) = (table(self, name), table(other, others));
        fs::write(self.folder().join("publish.toml"), text.replace(&old, &new)).unwrap();
    }

    /// What is served.
    pub(crate) fn repository(&self) -> Files {
        fn walk(base: &Path, folder: &Path, found: &mut Files) {
            for entry in fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                if path.is_dir() {
                    walk(base, &path, found);
                } else {
                    let name = path.strip_prefix(base).unwrap().display().to_string();
                    found.insert(name, fs::read(&path).unwrap());
                }
            }
        }
        let (base, mut found) = (self.folder().join("repository"), Files::new());
        walk(&base, &base, &mut found);
        found
    }

    /// The files that differ from an earlier state.
    pub(crate) fn differs(&self, before: &Files) -> Vec<String> {
        let now = self.repository();
        let names: std::collections::BTreeSet<&String> = before.keys().chain(now.keys()).collect();
        names
            .into_iter()
            .filter(|name| before.get(*name) != now.get(*name))
            .cloned()
            .collect()
    }

    pub(crate) fn json(&self, name: &str) -> Value {
        serde_json::from_slice(&self.repository()[name]).unwrap()
    }

    pub(crate) async fn node(&self, now: Timestamp) -> Result<Node, sigstore_tuf::Error> {
        Node::of(self.repository(), now).await
    }
}

/// The client's crate, with the first root pinned and everything refreshed.
pub(crate) struct Node {
    updater: Mutex<Updater>,
    now: Timestamp,
}

struct Served(Arc<Files>);

impl Served {
    fn get(&self, name: &str) -> FetchFuture<'_> {
        let content = self.0.get(name).cloned();
        Box::pin(async move { Ok(content) })
    }
}

impl Repository for Served {
    fn fetch_metadata<'a>(&'a self, name: &'a str, _: u64) -> FetchFuture<'a> {
        self.get(name)
    }

    fn fetch_target<'a>(&'a self, path: &'a str, _: u64) -> FetchFuture<'a> {
        self.get(&format!("targets/{path}"))
    }
}

impl Node {
    pub(crate) async fn of(files: Files, now: Timestamp) -> Result<Self, sigstore_tuf::Error> {
        let root = files["1.root.json"].clone();
        let mut updater = Updater::new(Served(Arc::new(files)), &root)?;
        updater.refresh(now).await?;
        Ok(Self {
            updater: Mutex::new(updater),
            now,
        })
    }

    pub(crate) async fn target(&self, path: &str) -> Result<Vec<u8>, sigstore_tuf::Error> {
        self.updater.lock().await.get_target(path, self.now).await
    }

    pub(crate) fn root_version(&self) -> u64 {
        self.updater.try_lock().unwrap().trusted().root().version
    }
}
