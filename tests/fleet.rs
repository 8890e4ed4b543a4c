//! The built daemon as a node of a fleet: what it takes from a policy repository in a folder, what it refuses, and what it says.

mod policy_repository;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assay_verify::Timestamp;
use serde_json::{Value, json};
use tempfile::TempDir;

use policy_repository::{BELOW_ROOT, EXCEPTIONS, Files, REVOCATIONS, Repository, TARGETS};

const PATIENCE: Duration = Duration::from_secs(20);

/// A node and the repository that it follows.
struct Node {
    folder: TempDir,
    repository: Repository,
    daemon: Option<Child>,
}

impl Node {
    /// A repository with a valid policy, and a daemon that follows it.
    fn start(settings: &str) -> Self {
        let mut node = Self::prepare(settings);
        node.run();
        node
    }

    fn prepare(settings: &str) -> Self {
        let mut repository = Repository::new();
        let soon = Timestamp::now() + Duration::from_secs(24 * 3600);
        for expires in repository.expires.values_mut() {
            *expires = soon;
        }
        repository.signed_at = json!(Timestamp::now().to_string());
        repository.targets.clear();
        repository.put(TARGETS, "channels/stable/policy.toml", &policy("first"));
        repository.put(REVOCATIONS, "revocation/deny.json", &deny_list(&[]));
        repository.files = Files::new();
        repository.publish_root(&[]);
        repository.publish();
        let node = Self {
            folder: TempDir::new().unwrap(),
            repository,
            daemon: None,
        };
        node.upload();
        fs::create_dir(node.path("state")).unwrap();
        fs::write(node.path("root.json"), node.repository.pinned()).unwrap();
        let config = format!(
            "verifier_socket = \"verifier.sock\"\ncontrol_socket = \"control.sock\"\nstate_directory = \"state\"\n\
             policy = \"policy.toml\"\nallowed_users = [{}]\nmetrics_file = \"assayd.prom\"\n[fleet]\nrepository = \"file://{}\"\nroot = \"root.json\"\n\
             channel = \"stable\"\nmax_poll_interval = \"24h\"\npoll_interval = \"24h\"\n{settings}\n",
            nix::unistd::geteuid(),
            node.path("repository").display(),
        );
        fs::write(node.path("config.toml"), config).unwrap();
        node
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn run(&mut self) {
        let log = fs::File::options()
            .create(true)
            .append(true)
            .open(self.path("log"))
            .unwrap();
        let daemon = Command::new(env!("CARGO_BIN_EXE_assayd"))
            .arg("--config")
            .arg(self.path("config.toml"))
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.daemon = Some(daemon);
        self.wait_for("an answer", || self.try_status().is_some());
    }

    fn kill(&mut self) {
        if let Some(mut daemon) = self.daemon.take() {
            daemon.kill().unwrap();
            daemon.wait().unwrap();
        }
    }

    fn wait_for(&self, what: &str, holds: impl Fn() -> bool) {
        let since = Instant::now();
        while !holds() {
            assert!(since.elapsed() < PATIENCE, "no {what}:\n{}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn log(&self) -> String {
        fs::read_to_string(self.path("log")).unwrap_or_default()
    }

    /// Makes the folder what the repository is.
    fn upload(&self) {
        let folder = self.path("repository");
        let _ = fs::remove_dir_all(&folder);
        for (name, content) in &self.repository.files {
            let path = folder.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, content).unwrap();
        }
    }

    fn publish(&mut self, changes: &[(&'static str, &str, String)]) {
        for (role, path, content) in changes {
            self.repository.put(role, path, content);
        }
        self.repository.bump(&BELOW_ROOT);
        self.repository.publish();
        self.upload();
    }

    fn assayctl(&self, arguments: &[&str]) -> (Option<i32>, String) {
        let output = Command::new(env!("CARGO_BIN_EXE_assayctl"))
            .env("ASSAYD_CONTROL_SOCKET", self.path("control.sock"))
            .args(arguments)
            .output()
            .unwrap();
        let said = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(said).unwrap())
    }

    fn try_status(&self) -> Option<Value> {
        let (_, said) = self.assayctl(&["sync", "status", "--output", "json"]);
        serde_json::from_str(&said).ok()
    }

    /// Asks the repository now.
    fn ask(&self) -> (Option<i32>, Value) {
        let (code, said) = self.assayctl(&["sync", "now", "--output", "json"]);
        (code, serde_json::from_str(&said).unwrap_or_else(|_| panic!("{said}")))
    }

    /// The name of the rule in force.
    fn rule(&self) -> String {
        let (_, said) = self.assayctl(&["policy", "show"]);
        let line = said.lines().find_map(|line| line.strip_prefix("name = "));
        line.map(|name| name.trim_matches('"').to_owned()).unwrap_or(said)
    }

    fn follows(&self, rule: &str) {
        self.wait_for(rule, || self.rule() == rule);
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        self.kill();
    }
}

fn policy(name: &str) -> String {
    format!(
        "version = 1\nunmatched = \"deny\"\n[[rule]]\nname = \"{name}\"\nimages = [\"registry.example/**\"]\ndeny = \"for the test\"\n"
    )
}

fn deny_list(images: &[&str]) -> String {
    let now = Timestamp::now().to_string();
    let entry = |image: &&str| json!({ "image": image, "reason": "bad", "reference": "INC-1", "at": now });
    json!({ "version": 1, "issued": now, "entries": images.iter().map(entry).collect::<Vec<_>>() }).to_string()
}

const IMAGE: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

#[test]
fn follows_the_repository_and_keeps_what_it_has_when_that_is_gone() {
    let mut node = Node::start("");
    node.follows("first");
    node.publish(&[(TARGETS, "channels/stable/policy.toml", policy("second"))]);
    let (code, status) = node.ask();
    assert_eq!(
        (code, status["staleness"].as_str()),
        (Some(0), Some("fresh")),
        "{status}"
    );
    assert_eq!(node.rule(), "second");

    fs::remove_dir_all(node.path("repository")).unwrap();
    let (code, status) = node.ask();
    assert_eq!(code, Some(1), "{status}");
    assert!(!status["error"].as_str().unwrap().is_empty(), "{status}");
    assert_eq!(node.rule(), "second");
    node.upload();
    let (code, status) = node.ask();
    assert_eq!((code, status["error"].as_str()), (Some(0), Some("")), "{status}");
    let log = node.log();
    assert!(log.contains("the policy repository is followed again"), "{log}");
    // Also over a restart that nobody announced, without the repository.
    fs::remove_dir_all(node.path("repository")).unwrap();
    node.kill();
    node.run();
    assert_eq!(node.rule(), "second");
}

#[test]
fn an_update_is_taken_as_a_whole_or_not_at_all_and_what_it_denies_counts_at_once() {
    let mut node = Node::start("");
    node.follows("first");
    node.publish(&[
        (
            TARGETS,
            "channels/stable/policy.toml",
            policy("second").replace("unmatched", "unmatchd"),
        ),
        (REVOCATIONS, "revocation/deny.json", deny_list(&[IMAGE])),
    ]);
    let (code, status) = node.ask();
    assert_eq!(code, Some(1));
    assert_eq!(status["error_class"], "refused");
    let refused = status["refused"].to_string();
    assert!(
        refused.contains("channels/stable/policy.toml:2:1") && refused.contains("unmatchd"),
        "{refused}"
    );
    assert_eq!(node.rule(), "first");
    assert_eq!(status["denials"], 1);
    // A broken deny-list is no empty one.
    node.publish(&[
        (TARGETS, "channels/stable/policy.toml", policy("third")),
        (REVOCATIONS, "revocation/deny.json", "{}".to_owned()),
    ]);
    let (_, status) = node.ask();
    assert!(
        status["refused"].to_string().contains("revocation/deny.json"),
        "{status}"
    );
    assert_eq!((node.rule().as_str(), &status["denials"]), ("first", &json!(1)));

    node.publish(&[(REVOCATIONS, "revocation/deny.json", deny_list(&[]))]);
    let (code, status) = node.ask();
    assert_eq!((code, &status["denials"]), (Some(0), &json!(0)), "{status}");
    assert_eq!(node.rule(), "third");
}

#[test]
fn what_is_rolled_back_is_refused_also_over_a_restart_and_a_wiped_generation() {
    let mut node = Node::start("");
    node.follows("first");
    let before = node.repository.files.clone();
    node.publish(&[(TARGETS, "channels/stable/policy.toml", policy("second"))]);
    node.ask();
    let after = std::mem::replace(&mut node.repository.files, before);
    node.upload();
    let (code, status) = node.ask();
    assert_eq!(
        (code, &status["error_class"]),
        (Some(1), &json!("rollback")),
        "{status}"
    );
    node.kill();
    fs::remove_file(node.path("state/fleet/generation")).unwrap();
    node.run();
    let (_, status) = node.ask();
    assert_eq!(status["error_class"], "rollback", "{status}");
    assert_eq!(status["staleness"], "none");
    node.repository.files = after;
    node.upload();
    assert_eq!(node.ask().0, Some(0));
    assert_eq!(node.rule(), "second");
}

#[test]
fn a_floor_and_the_nodes_own_denials_stand_whatever_the_fleet_says() {
    let mut node = Node::prepare("[floor]\nunmatched = \"deny\"\nexceptions = false\n");
    fs::create_dir(node.path("revocation")).unwrap();
    fs::write(node.path("revocation/deny.json"), deny_list(&[IMAGE])).unwrap();
    let now = Timestamp::now();
    let exception = format!(
        "version = 1\n[[exception]]\nimages = [\"registry.example/app\"]\nowner = \"jane\"\nreason = \"down\"\nincident = \"I\"\n\
         starts = \"{}\"\nexpires = \"{}\"\n",
        now,
        now + Duration::from_secs(3600)
    );
    node.publish(&[(EXCEPTIONS, "exceptions/break-glass.toml", exception.clone())]);
    node.run();
    node.follows("first");
    let (_, status) = node.ask();
    assert_eq!(
        (&status["denials"], &status["exceptions"]),
        (&json!(1), &json!([])),
        "{status}"
    );
    node.publish(&[(
        TARGETS,
        "channels/stable/policy.toml",
        policy("lax").replace("\"deny\"\n[[", "\"admit\"\n[["),
    )]);
    let (_, status) = node.ask();
    assert!(
        status["refused"].to_string().contains("below this node's floor"),
        "{status}"
    );
    assert_eq!(node.rule(), "first");

    let text = "[floor]";
    let config = fs::read_to_string(node.path("config.toml")).unwrap();
    fs::write(node.path("config.toml"), config.split(text).next().unwrap()).unwrap();
    node.kill();
    node.run();
    let (_, status) = node.ask();
    assert_eq!(status["exceptions"].as_array().unwrap().len(), 1, "{status}");
    node.wait_for("metrics", || {
        let metrics = fs::read_to_string(node.path("assayd.prom")).unwrap_or_default();
        metrics.contains("assayd_break_glass_active 1\n")
    });
    assert!(node.log().contains("policy"), "{}", node.log());
}

#[test]
fn without_a_generation_everything_is_denied_and_the_reason_is_said() {
    let mut node = Node::prepare("");
    fs::remove_dir_all(node.path("repository")).unwrap();
    node.run();
    let (code, said) = node.assayctl(&["sync", "status"]);
    assert_eq!(code, Some(1), "{said}");
    assert!(said.contains("no generation is on this node yet"), "{said}");
    let (code, said) = node.assayctl(&["status"]);
    assert_eq!(code, Some(1), "{said}");
    node.upload();
    node.ask();
    node.follows("first");
}

#[test]
fn a_pinned_root_that_is_none_is_an_error_at_the_start_that_names_the_file() {
    let node = Node::prepare("");
    for content in ["", "{}", "not JSON"] {
        fs::write(node.path("root.json"), content).unwrap();
        let output = Command::new(env!("CARGO_BIN_EXE_assayd"))
            .arg("--config")
            .arg(node.path("config.toml"))
            .output()
            .unwrap();
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(!output.status.success() && said.contains("root.json"), "{said}");
    }
}

#[test]
fn the_folder_of_the_state_is_the_daemons_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let node = Node::start("");
    node.follows("first");
    let folder: &Path = &node.path("state/fleet");
    let mode = fs::metadata(folder).unwrap().permissions().mode();
    assert_eq!(mode & 0o022, 0, "{mode:o}");
}
