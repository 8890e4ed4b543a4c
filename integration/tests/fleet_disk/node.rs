//! A node as small as it can be: it opens its state, asks the repository once, and commits what it gets. In this process, or in
//! one of its own that can be killed.

use std::collections::{BTreeMap, BTreeSet};
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use assay_verify::Timestamp;
use assay_verify::digest::Digest;
use assayd::fetch;
use assayd::sync::{Client, Generation, Refreshed, RepositoryAddress, Store, SyncError, Transport};
use tempfile::TempDir;
use tokio::runtime::Builder;

use crate::policy_repository::{Files, Repository, now};

/// The folder of the [`Place`] whose node the test binary is, where it is run as one.
const PLACE: &str = "ASSAY_TEST_NODE";

pub(crate) const POLICY: &str = "channels/stable/policy.toml";

/// A node's state, the repository that it reads and the root that it pins, below one folder in memory: there, flushing
/// costs nothing, and what a kill leaves behind is the same.
pub(crate) struct Place(TempDir);

impl Place {
    /// A node without state.
    pub(crate) fn new(repository: &Repository) -> Self {
        let place = Self(TempDir::with_prefix_in("assay-node-", "/dev/shm").unwrap());
        fs::create_dir(place.0.path().join("repository")).unwrap();
        fs::write(place.0.path().join("root.json"), repository.pinned()).unwrap();
        place.serve(&repository.files);
        place
    }

    /// The same node, to be looked at: looking mends.
    pub(crate) fn copy(&self) -> Self {
        let place = Self(TempDir::with_prefix_in("assay-node-", "/dev/shm").unwrap());
        copy(self.0.path(), place.0.path());
        place
    }

    pub(crate) fn state(&self) -> PathBuf {
        self.0.path().join("fleet")
    }

    /// Serves these files and no others.
    pub(crate) fn serve(&self, files: &Files) {
        let folder = self.0.path().join("repository");
        fs::remove_dir_all(&folder).unwrap();
        for (name, content) in files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    pub(crate) fn open(&self) -> Client {
        open(self.0.path())
    }

    pub(crate) async fn refresh(&self, client: &mut Client) -> Result<Refreshed, SyncError> {
        client.refresh(&transport(self.0.path()), now()).await
    }

    /// Starts, asks once and commits; says what came of it.
    pub(crate) async fn follow(&self) -> Result<Client, SyncError> {
        let mut client = self.open();
        if let Refreshed::Candidate(candidate) = self.refresh(&mut client).await? {
            client.commit(*candidate).await?;
        }
        Ok(client)
    }

    /// The same in a process of its own.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env::current_exe().unwrap());
        command
            .args(["--exact", "node::is_the_node_where_it_is_run_as_one"])
            .args(["--nocapture", "--test-threads=1"])
            .env(PLACE, self.0.path())
            // Reading the system's certificate authorities takes longer than all that the node does.
            .env("SSL_CERT_FILE", self.0.path().join("no-authorities.pem"))
            .env_remove("SSL_CERT_DIR")
            .env_remove("RUST_BACKTRACE");
        command
    }

    /// All files of the state, by their names in it.
    pub(crate) fn on_disk(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        for folder in ["", "targets/"] {
            let Ok(entries) = fs::read_dir(self.state().join(folder)) else {
                continue;
            };
            for entry in entries.map(Result::unwrap) {
                if entry.file_type().unwrap().is_file() {
                    let name = format!("{folder}{}", entry.file_name().to_str().unwrap());
                    files.insert(name, fs::read(entry.path()).unwrap());
                }
            }
        }
        files
    }

    /// Every path of the state that a process may touch which finds what is there and reads this repository.
    pub(crate) fn paths(&self, repository: &Repository) -> Vec<PathBuf> {
        let contents = repository.targets.values().flat_map(BTreeMap::values);
        let contents = contents.map(|content| format!("targets/{}", Digest::sha256(content).hex()));
        let mut names: BTreeSet<String> = contents.chain(self.on_disk().into_keys()).collect();
        names.extend(["generation".to_owned(), "floor".to_owned()]);
        let unfinished: Vec<String> = names.iter().map(|name| format!("{name}.new")).collect();
        names.extend(unfinished);
        let files = names.into_iter().map(|name| self.state().join(name));
        [self.state(), self.state().join("targets")]
            .into_iter()
            .chain(files)
            .collect()
    }
}

/// What a process said of itself before it ended.
#[derive(Debug, Default)]
pub(crate) struct Said {
    /// The version of the newest root that is stored.
    pub(crate) root: Option<u64>,
    /// The policy of the generation that is stored.
    pub(crate) committed: Option<String>,
}

impl Said {
    pub(crate) fn read(output: &[u8]) -> Self {
        let mut said = Self::default();
        for line in String::from_utf8_lossy(output).lines() {
            // The test harness begins a line that it ends later.
            let line = line.rsplit("... ").next().unwrap_or(line);
            if let Some(version) = line.strip_prefix("node: root ") {
                said.root = Some(version.parse().unwrap());
            }
            if let Some(policy) = line.strip_prefix("node: committed ") {
                said.committed = Some(policy.to_owned());
            }
        }
        said
    }
}

pub(crate) fn policy(generation: &Generation) -> String {
    String::from_utf8(generation.files()[POLICY].to_vec()).unwrap()
}

/// The policy in force, where there is one.
pub(crate) fn policy_of(client: &Client) -> Option<String> {
    client.current().map(|generation| policy(generation))
}

fn open(place: &Path) -> Client {
    let root = fs::read(place.join("root.json")).unwrap();
    let store = Store::new(place.join("fleet"));
    Client::open(&root, "stable".parse().unwrap(), store).unwrap()
}

fn transport(place: &Path) -> Transport {
    static REGISTRIES: LazyLock<fetch::Client> =
        LazyLock::new(|| fetch::Client::new(fetch::FetchConfig::default(), fetch::ProcessMemory::default()).unwrap());
    let address = format!("file://{}", place.join("repository").display());
    let address = RepositoryAddress::parse(&address, false).unwrap();
    Transport::new(address, &[], &REGISTRIES).unwrap()
}

fn copy(from: &Path, to: &Path) {
    for entry in fs::read_dir(from).unwrap().map(Result::unwrap) {
        let to = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            fs::create_dir(&to).unwrap();
            copy(&entry.path(), &to);
        } else {
            fs::copy(entry.path(), to).unwrap();
        }
    }
}

/// Not a test, but the process that tests kill: [`Place::command`]. All file operations are done by one thread, so that they
/// can be counted.
#[test]
fn is_the_node_where_it_is_run_as_one() {
    let Some(place) = env::var_os(PLACE).map(PathBuf::from) else {
        return;
    };
    let runtime = Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(1)
        .build()
        .unwrap();
    runtime.block_on(async {
        let here = place.clone();
        let mut client = tokio::task::spawn_blocking(move || open(&here)).await.unwrap();
        println!();
        match client.refresh(&transport(&place), now()).await.unwrap() {
            Refreshed::Candidate(candidate) => {
                if client.degraded().is_none() {
                    println!("node: root {}", client.root_version());
                }
                let generation = client.commit(*candidate).await.unwrap();
                println!("node: committed {}", policy(&generation));
            }
            Refreshed::Unchanged => println!("node: committed {}", policy_of(&client).unwrap()),
        }
    });
}

/// The highest time of signing that a repository's files tell.
pub(crate) fn signed_at(repository: &Repository) -> Timestamp {
    repository.signed_at.as_str().unwrap().parse().unwrap()
}
