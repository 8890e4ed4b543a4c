//! A repository, a way to it and a node.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock};

use assay_integration::registry::{OCI_EMPTY, OCI_MANIFEST, Registry};
use assay_verify::Timestamp;
use assayd::fetch;
use assayd::sync::layout::{FILE_ANNOTATION, REPOSITORY_ARTIFACT, REPOSITORY_LAYER};
use assayd::sync::{Client, Generation, Refreshed, RepositoryAddress, Store, SyncError, Traffic, Transport};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::policy_repository::server::Server;
use crate::policy_repository::{Files, Repository, now};

/// How the repository is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Folder,
    Https,
    Registry,
}

pub(crate) const WAYS: [Way; 3] = [Way::Folder, Way::Https, Way::Registry];

enum Source {
    Folder(TempDir),
    Https(Server),
    Registry(Registry),
}

pub(crate) struct Lab {
    pub(crate) way: Way,
    pub(crate) repository: Repository,
    pub(crate) client: Client,
    pub(crate) now: Timestamp,
    state: TempDir,
    source: Source,
    transport: Transport,
}

impl Lab {
    /// A node that has taken over the first generation.
    pub(crate) async fn new(way: Way) -> Self {
        let mut lab = Self::fresh(way).await;
        lab.follows().await;
        lab
    }

    /// A node that has nothing but its pinned root.
    pub(crate) async fn fresh(way: Way) -> Self {
        let repository = Repository::new();
        let source = match way {
            Way::Folder => Source::Folder(tempfile::tempdir().unwrap()),
            Way::Https => Source::Https(Server::start().await),
            Way::Registry => Source::Registry(Registry::start().await.unwrap()),
        };
        // In memory, because flushing hundreds of files would take longer than the tests.
        let state = tempfile::tempdir_in("/dev/shm")
            .or_else(|_| tempfile::tempdir())
            .unwrap();
        let lab = Self {
            way,
            client: open(&repository, &state.path().join("fleet")),
            transport: transport(&source),
            repository,
            now: now(),
            state,
            source,
        };
        lab.upload();
        lab
    }

    pub(crate) fn server(&self) -> &Server {
        match &self.source {
            Source::Https(server) => server,
            _ => panic!("not over HTTPS"),
        }
    }

    pub(crate) fn registry(&self) -> &Registry {
        match &self.source {
            Source::Registry(registry) => registry,
            _ => panic!("not from a registry"),
        }
    }

    pub(crate) fn folder(&self) -> &Path {
        match &self.source {
            Source::Folder(folder) => folder.path(),
            _ => panic!("not from a folder"),
        }
    }

    pub(crate) fn state(&self) -> std::path::PathBuf {
        self.state.path().join("fleet")
    }

    /// Another way to the same repository.
    pub(crate) fn transport(&self) -> Transport {
        transport(&self.source)
    }

    pub(crate) fn traffic(&self) -> Traffic {
        self.transport.traffic()
    }

    /// Serves what the repository has.
    pub(crate) fn upload(&self) {
        self.serve(&self.repository.files);
    }

    /// Serves these files.
    pub(crate) fn serve(&self, files: &Files) {
        match &self.source {
            Source::Folder(folder) => {
                for entry in std::fs::read_dir(folder.path()).unwrap() {
                    let path = entry.unwrap().path();
                    if path.is_dir() {
                        std::fs::remove_dir_all(path).unwrap();
                    } else {
                        std::fs::remove_file(path).unwrap();
                    }
                }
                for (name, content) in files {
                    let path = folder.path().join(name);
                    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
                    std::fs::write(path, content).unwrap();
                }
            }
            Source::Https(server) => server.serve(files.clone()),
            Source::Registry(registry) => {
                let content = registry.content();
                let layer = |(name, bytes): (&String, &Vec<u8>)| {
                    let digest = content.put_blob("policy", bytes.clone());
                    json!({
                        "mediaType": REPOSITORY_LAYER,
                        "digest": digest,
                        "size": bytes.len(),
                        "annotations": { FILE_ANNOTATION: name },
                    })
                };
                let layers: Vec<Value> = files.iter().map(layer).collect();
                self.push(&json!({
                    "schemaVersion": 2,
                    "mediaType": OCI_MANIFEST,
                    "artifactType": REPOSITORY_ARTIFACT,
                    "config": { "mediaType": OCI_EMPTY, "digest": content.put_blob("policy", "{}"), "size": 2 },
                    "layers": layers,
                }));
            }
        }
    }

    /// Makes this manifest the repository's artifact.
    pub(crate) fn push(&self, manifest: &Value) {
        let content = self.registry().content();
        let digest = content.put_manifest("policy", OCI_MANIFEST, manifest.to_string());
        content.tag("policy", "stable", &digest);
    }

    /// The same node after a restart.
    pub(crate) fn restart(&mut self) {
        self.client = open(&self.repository, &self.state());
        self.transport = transport(&self.source);
    }

    pub(crate) async fn refresh(&mut self) -> Result<Refreshed, SyncError> {
        self.client.refresh(&self.transport, self.now).await
    }

    /// A refresh brings something, which is taken over.
    pub(crate) async fn follows(&mut self) -> Arc<Generation> {
        match self.refresh().await {
            Ok(Refreshed::Candidate(candidate)) => self.client.commit(*candidate).await.unwrap(),
            other => panic!("{:?}: {other:?}", self.way),
        }
    }

    /// A refresh finds nothing new.
    pub(crate) async fn finds_nothing_new(&mut self) {
        let refreshed = self.refresh().await;
        assert!(
            matches!(refreshed, Ok(Refreshed::Unchanged)),
            "{:?}: {refreshed:?}",
            self.way
        );
    }

    /// A refresh fails with this word, and changes nothing: neither in memory nor on disk nor after a restart.
    #[track_caller]
    pub(crate) fn refuses(&mut self, word: &str) -> impl Future<Output = SyncError> {
        let caller = std::panic::Location::caller();
        async move {
            let (before, on_disk) = (self.client.current().cloned(), self.on_disk());
            let error = match self.refresh().await {
                Err(error) => error,
                Ok(other) => panic!("{caller}: {:?}: {other:?}", self.way),
            };
            assert_eq!(error.word(), word, "{caller}: {:?}: {error}", self.way);
            let after = self.client.current();
            assert_eq!(after.is_some(), before.is_some());
            if let (Some(before), Some(after)) = (&before, after) {
                assert!(Arc::ptr_eq(before, after), "{caller}");
            }
            assert!(self.on_disk() == on_disk, "{caller}: what is on disk has changed");
            let reopened = open(&self.repository, &self.state());
            assert_eq!(
                reopened.current().map(|one| *one.versions()),
                before.map(|one| *one.versions()),
                "{caller}: {:?}",
                reopened.damage()
            );
            error
        }
    }

    /// The owner mends everything, and the node follows.
    pub(crate) async fn recovers(&mut self) {
        self.repository.behave();
        if let Source::Https(server) = &self.source {
            server.behave();
        }
        self.repository.update("after the attack");
        self.upload();
        let generation = self.follows().await;
        assert_eq!(
            content(&generation, "channels/stable/policy.toml"),
            "policy after the attack"
        );
        self.restart();
        assert_eq!(self.client.damage(), []);
        let current = self.client.current().unwrap();
        assert_eq!(current.versions(), generation.versions());
        assert_eq!(current.files(), generation.files());
    }

    /// All files of the state.
    pub(crate) fn on_disk(&self) -> BTreeMap<String, Vec<u8>> {
        let mut files = BTreeMap::new();
        let folder = self.state();
        for part in [folder.clone(), folder.join("targets")] {
            let Ok(entries) = std::fs::read_dir(&part) else {
                continue;
            };
            for entry in entries {
                let path = entry.unwrap().path();
                if path.is_file() {
                    let name = path.strip_prefix(&folder).unwrap().display().to_string();
                    files.insert(name, std::fs::read(path).unwrap());
                }
            }
        }
        files
    }
}

pub(crate) fn open(repository: &Repository, folder: &Path) -> Client {
    Client::open(&repository.pinned(), "stable".parse().unwrap(), Store::new(folder)).unwrap()
}

pub(crate) fn content(generation: &Generation, path: &str) -> String {
    String::from_utf8(generation.files()[path].to_vec()).unwrap()
}

fn transport(source: &Source) -> Transport {
    let mut config = fetch::FetchConfig::default();
    let (address, ca) = match source {
        Source::Folder(folder) => (format!("file://{}", folder.path().display()), None),
        Source::Https(server) => (server.url(), Some(server.ca())),
        Source::Registry(registry) => {
            let plain = fetch::RegistryConfig {
                plain_http: true,
                ..fetch::RegistryConfig::default()
            };
            config.registries.insert(registry.host(), plain);
            (format!("oci://{}:stable", registry.repository("policy")), None)
        }
    };
    let address = RepositoryAddress::parse(&address, false).unwrap();
    // Reading the system's certificate authorities takes longer than most tests.
    static WEB: LazyLock<fetch::Client> = LazyLock::new(|| client(fetch::FetchConfig::default()));
    match source {
        Source::Registry(_) => Transport::new(address, &[], &client(config)).unwrap(),
        _ => Transport::new(address, &Vec::from_iter(ca), &WEB).unwrap(),
    }
}

fn client(config: fetch::FetchConfig) -> fetch::Client {
    fetch::Client::new(config, fetch::ProcessMemory::default()).unwrap()
}
