//! assay-gate and a real containerd: what comes past the hook is seen, whichever way it takes, and what the hook admitted is not.

use std::fs;
use std::time::Duration;

use assay_integration::journal::{Entry, Mark};
use assay_integration::{Assayd, Containerd, Finished, Gate, Image, Journal, Peers, Registry, program};
use serde_json::Value;

/// "An image is on the node that came past the hook."
const PAST_THE_HOOK: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a17";

/// How long an entry of the journal is waited for. Only a failing test waits so long.
const PATIENCE: Duration = Duration::from_secs(30);

struct Node {
    journal: Journal,
    /// Before its first entry.
    start: Mark,
    registry: Registry,
    assayd: Assayd,
    containerd: Containerd,
}

impl Node {
    /// A node whose policy admits the images below `good`, and no others.
    async fn start() -> Self {
        let registry = Registry::start().await.unwrap();
        let journal = Journal::listen().unwrap();
        let start = journal.mark();
        let assayd = Assayd::builder()
            .journal(&journal)
            .policy(&policy(&registry, "good"))
            .file("key.pub", KEY)
            .plain_http(&registry.host())
            .start()
            .await
            .unwrap();
        let containerd = Containerd::builder(&Peers::fetch().unwrap())
            .hook(&assayd)
            .unwrap()
            .plain_http(&registry.host())
            .start()
            .await
            .unwrap();
        Self {
            start,
            journal,
            registry,
            assayd,
            containerd,
        }
    }

    /// Puts an image into the registry and returns its reference.
    fn image(&self, repository: &str) -> String {
        let image = Image::busybox(&Peers::fetch().unwrap(), repository).unwrap();
        image.store(self.registry.content(), repository, "v1");
        format!("{}:v1", self.registry.repository(repository))
    }

    async fn ctr(&self, arguments: &[&str]) {
        self.containerd.ctr(arguments).await.unwrap().successful().unwrap();
    }

    async fn inventory(&self, arguments: &[&str]) -> Finished {
        let config = self.containerd.config_file();
        let gate = program("assay-gate").unwrap();
        let mut words = vec!["inventory", "--gate", gate.to_str().unwrap()];
        words.extend(["--containerd-config", config.to_str().unwrap()]);
        words.extend(arguments);
        self.assayd.assayctl(&words).await.unwrap()
    }

    /// What the inventory says of each repository: how it stands, its code, and what hooks were told.
    async fn standings(&self, arguments: &[&str]) -> Vec<(String, String, String, String)> {
        let said = self.inventory(&[arguments, &["--output", "json"]].concat()).await;
        let said: Value = serde_json::from_str(&said.stdout).unwrap_or_else(|error| panic!("{error}: {said:?}"));
        let text = |image: &Value, field: &str| image[field].as_str().unwrap().to_owned();
        let images = said["images"].as_array().unwrap().iter();
        let host = format!("{}/", self.registry.host());
        images
            .map(|image| {
                let repository = text(image, "repository").replace(&host, "");
                (
                    repository,
                    text(image, "standing"),
                    text(image, "code"),
                    text(image, "asked"),
                )
            })
            .collect()
    }

    /// The entries about images that came past the hook: repository, how, and containerd's namespace.
    fn past(&self) -> Vec<(String, String, String)> {
        let host = format!("{}/", self.registry.host());
        let entries = self.journal.entries().into_iter();
        let mut found: Vec<_> = entries
            .filter(|entry| entry.get("MESSAGE_ID").is_some_and(|id| id == PAST_THE_HOOK))
            .map(|entry| {
                let field = |name: &str| entry.get(name).cloned().unwrap_or_default();
                (
                    field("ASSAY_IMAGE").replace(&host, ""),
                    field("ASSAY_PAST"),
                    field("ASSAY_NAMESPACE"),
                )
            })
            .collect();
        found.sort();
        found
    }

    /// Waits for the entry about a repository.
    async fn reported(&self, repository: &str) {
        let wanted = self.registry.repository(repository);
        let is = |entry: &Entry| entry.get("ASSAY_IMAGE") == Some(&wanted);
        self.journal
            .wait_for(self.start, PAST_THE_HOOK, PATIENCE, is)
            .await
            .unwrap();
    }

    async fn metric(&self, name: &str) -> Option<f64> {
        let text = self.assayd.assayctl(&["metrics"]).await.unwrap().stdout;
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        line.and_then(|value| value.parse().ok())
    }
}

/// Any key: nothing is signed with it.
const KEY: &str = "-----BEGIN PUBLIC KEY-----\nMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxfR8uEsQkf4vOblY6RA8ncDfYEt\n\
                   6zOg9KE5RdiYwpZP40Li/hp/m47n60p8D54WK84zV2sxXs7LtkBoN79R9Q==\n-----END PUBLIC KEY-----\n";

/// Admits what lies below a repository; the rest has to be signed.
fn policy(registry: &Registry, admitted: &str) -> String {
    let host = registry.host();
    format!(
        "version = 1\nunmatched = \"admit\"\n[authority.corp]\ntype = \"cosign\"\nkeys = [\"key.pub\"]\n\
         [[rule]]\nname = \"{admitted}\"\nimages = [\"{host}/{admitted}/**\"]\nmode = \"audit\"\nrequire = {{ all = [\"corp\"] }}\n\
         [[rule]]\nname = \"rest\"\nimages = [\"{host}/**\"]\nrequire = {{ all = [\"corp\"] }}\n"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_comes_past_the_hook_is_reported_and_what_it_admitted_is_not() {
    let mut node = Node::start().await;
    let [old, app, local, bad] = ["bad/old", "good/app", "bad/local", "bad/app"].map(|name| node.image(name));
    // There before anybody watches.
    node.ctr(&["images", "pull", "--local", "--plain-http", &old]).await;
    // Carried here as a file.
    let folder = tempfile::tempdir().unwrap();
    let tar = folder.path().join("imported.tar");
    let tar = tar.to_str().unwrap();
    let imported = node.image("bad/imported");
    node.ctr(&["images", "pull", "--local", "--plain-http", &imported])
        .await;
    node.ctr(&["images", "export", tar, &imported]).await;
    node.ctr(&["images", "remove", "--sync", &imported]).await;
    let gate = Gate::start(&node.containerd, &node.assayd).await.unwrap();

    node.containerd.pull_cri(&app).await.unwrap();
    assert!(node.containerd.pull_cri(&bad).await.unwrap_err().is_denial());
    // Local pulls ask no verifier, and neither does an import.
    node.ctr(&["images", "pull", "--local", "--plain-http", &local]).await;
    node.reported("bad/local").await;
    let renamed = format!("{}:v1", node.registry.repository("good/renamed"));
    node.ctr(&["images", "tag", &app, &renamed]).await;
    node.reported("good/renamed").await;
    node.ctr(&["images", "import", tar]).await;
    node.reported("bad/imported").await;
    node.ctr(&[
        "--namespace",
        "elsewhere",
        "images",
        "pull",
        "--local",
        "--plain-http",
        &bad,
    ])
    .await;
    node.reported("bad/app").await;

    let expected = [
        ("bad/app", "denied", "elsewhere"),
        ("bad/imported", "never-asked", "k8s.io"),
        ("bad/local", "never-asked", "k8s.io"),
        ("good/renamed", "other-name", "k8s.io"),
    ];
    let expected = expected.map(|(name, how, space)| (name.to_owned(), how.to_owned(), space.to_owned()));
    assert_eq!(node.past(), expected, "{}", node.journal.text());
    assert_eq!(
        node.metric("assayd_images_past_hook{state=\"never-asked\"}").await,
        Some(2.0)
    );
    assert_eq!(
        node.metric("assayd_images_past_hook{state=\"denied\"}").await,
        Some(1.0)
    );
    assert_eq!(
        node.metric("assayd_images_past_hook{state=\"other-name\"}").await,
        Some(1.0)
    );

    let row =
        |name: &str, standing: &str, code: &str, asked: &str| [name, standing, code, asked].map(str::to_owned).into();
    let expected: Vec<(String, String, String, String)> = vec![
        row("bad/app", "deny", "unsigned", "denied"),
        row("bad/imported", "deny", "unsigned", "never"),
        row("bad/local", "deny", "unsigned", "never"),
        row("bad/old", "deny", "unsigned", "before"),
        row("good/app", "admit", "unsigned", "admitted"),
        row("good/renamed", "admit", "unsigned", "other-name"),
    ];
    let layers = node.registry.log().layer_requests().len();
    assert_eq!(node.standings(&[]).await, expected);
    // Nothing but evidence was fetched, and what the policy admits has a verdict from now on.
    assert_eq!(node.registry.log().layer_requests().len(), layers);
    assert_eq!(
        node.metric("assayd_images_past_hook{state=\"other-name\"}").await,
        Some(0.0)
    );

    // It is remembered over a restart of both what was admitted, what was there before and what was said.
    assert!(gate.stop().await.unwrap());
    node.assayd.stop().await.unwrap();
    node.assayd.start().await.unwrap();
    let said = node.past().len();
    let gate = Gate::start(&node.containerd, &node.assayd).await.unwrap();
    assert_eq!(node.past().len(), said, "{}", node.journal.text());
    assert_eq!(
        node.metric("assayd_images_past_hook{state=\"never-asked\"}").await,
        Some(2.0)
    );
    assert_eq!(node.metric("assayd_images_present").await, Some(6.0));
    drop(gate);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proposed_policy_says_what_it_would_refuse_and_comes_into_force_nowhere() {
    let node = Node::start().await;
    let app = node.image("good/app");
    node.containerd.pull_cri(&app).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("proposed.toml");
    let what_if = ["--what-if", file.to_str().unwrap()];
    fs::write(&file, policy(&node.registry, "nothing")).unwrap();
    let refused = node.inventory(&what_if).await;
    assert_eq!(refused.code, Some(1), "{refused:?}");
    assert!(
        refused.stdout.contains("1 images: 0 admitted, 1 denied, 0 not decided"),
        "{refused:?}"
    );
    assert!(refused.stdout.contains("unsigned: "), "{refused:?}");
    // The policy in force is what it was.
    assert_eq!(node.inventory(&[]).await.code, Some(0));
    let offline = node.inventory(&["--offline", what_if[0], what_if[1]]).await;
    assert_eq!(offline.code, Some(3), "{offline:?}");

    fs::write(&file, "version = 1\nunmatched = \"perhaps\"\n").unwrap();
    let broken = node.inventory(&what_if).await;
    assert_eq!(broken.code, Some(2), "{broken:?}");
    assert!(
        broken.stderr.contains("the proposed policy:2:13: error: "),
        "{broken:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gate_waits_for_whoever_is_away_and_tells_everything_then() {
    let mut node = Node::start().await;
    let local = node.image("bad/local");
    let gate = Gate::start(&node.containerd, &node.assayd).await.unwrap();
    node.assayd.kill();
    node.ctr(&["images", "pull", "--local", "--plain-http", &local]).await;
    node.assayd.start().await.unwrap();
    node.reported("bad/local").await;
    assert!(gate.log().contains("assayd takes no report on "), "{}", gate.log());
    assert!(gate.stop().await.unwrap());
}
