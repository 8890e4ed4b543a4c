//! A clock that is wrong by years, before or behind, or that jumps: nothing is admitted that should not be, nothing ends, and
//! when the clock is right again, so is the node.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use assay_integration::registry::{Fault, When};
use assay_integration::{Peers, WebServer};
use assay_verify::Timestamp;
use serde_json::Value;
use tempfile::TempDir;

use crate::daemon::{ANYTHING, AWAY, DENIED, FORBIDDEN, LISTED, LISTING, Node, OTHER, SIGNED};

/// What libfaketime(1) reads the clock's error from.
struct Clock {
    library: PathBuf,
    folder: TempDir,
}

impl Clock {
    fn new() -> Self {
        let clock = Self {
            library: Peers::fetch().expect("peers").faketime().expect("libfaketime"),
            folder: tempfile::tempdir().unwrap(),
        };
        clock.set("+0");
        clock
    }

    fn file(&self) -> PathBuf {
        self.folder.path().join("clock")
    }

    /// Sets it, in a process that runs, too: `+10y` is ten years from the real time.
    fn set(&self, error: &str) {
        let new = self.folder.path().join("new");
        fs::write(&new, format!("{error}\n")).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    /// A node that lives by it, and whose metadata counts for 30 days. It has no registry that answers.
    fn node(&self, settings: toml::Table, address: Option<String>) -> Node {
        let [library, file] = [&self.library, &self.file()].map(|path| path.to_str().unwrap().to_owned());
        Node::prepare(settings, address, |builder| {
            builder
                .env("LD_PRELOAD", &library)
                .env("FAKETIME_TIMESTAMP_FILE", &file)
                .env("FAKETIME_NO_CACHE", "1")
                .env("TZ", "UTC")
                // Timers are no clocks: the kernel's monotonic one does not jump either.
                .env("FAKETIME_DONT_FAKE_MONOTONIC", "1")
                .env("DONT_FAKE_MONOTONIC", "1")
                .plain_http(AWAY)
        })
    }

    /// The same, running, with the policy `first` in force.
    async fn started(&self, settings: toml::Table) -> Node {
        let mut node = self.node(settings, None);
        node.start().await;
        node.follows("first").await;
        node
    }
}

/// Where a clock begins that has no battery. The kernel lets none be before 1970 (clock_settime(2), EINVAL).
const EARLIEST: &str = "@1970-01-02 00:00:00";

/// What is asked in each standing of a node, and the codes of the answers.
const QUESTIONS: [(&str, &str); 5] = [
    (LISTING, LISTED),
    (LISTING, DENIED),
    (FORBIDDEN, OTHER),
    (SIGNED, OTHER),
    (ANYTHING, OTHER),
];

#[track_caller]
fn answers<'a>(node: &'a Node, expected: [&'a str; 5]) -> impl Future<Output = ()> + 'a {
    let caller = std::panic::Location::caller();
    async move {
        let mut codes = Vec::new();
        for (name, digest) in QUESTIONS {
            codes.push(node.code(name, digest).await);
        }
        assert_eq!(codes, expected, "{caller}: {}", node.told().await);
    }
}

/// With the clock right. The registry cannot be reached.
const RIGHT: [&str; 5] = [
    "admitted",
    "denied-by-list",
    "denied-by-rule",
    "registry-unavailable",
    "admitted",
];
const BEHIND: [&str; 5] = [
    "clock-unsynchronised",
    "denied-by-list",
    "denied-by-rule",
    "clock-unsynchronised",
    "clock-unsynchronised",
];
const DENY_NEW: [&str; 5] = [
    "trust-stale",
    "denied-by-list",
    "denied-by-rule",
    "trust-stale",
    "trust-stale",
];
const CACHED_ONLY: [&str; 5] = [
    "admitted",
    "denied-by-list",
    "denied-by-rule",
    "trust-stale",
    "trust-stale",
];

fn no_panic(node: &Node) {
    let log = node.daemon.log();
    assert!(!log.contains("panicked"), "{log}");
}

fn at(status: &Value, field: &str) -> Timestamp {
    status[field]
        .as_str()
        .unwrap_or_else(|| panic!("{status}"))
        .parse()
        .unwrap()
}

#[tokio::test]
async fn a_clock_that_is_years_behind_denies_everything_until_it_is_right() {
    let clock = Clock::new();
    let mut node = clock.started(toml::Table::new()).await;
    answers(&node, RIGHT).await;
    let (_, before) = node.status().await;
    for error in ["-10y", "-26d", EARLIEST] {
        clock.set(error);
        answers(&node, BEHIND).await;
        let (code, status) = node.status().await;
        assert_eq!(code, Some(1), "{error}: {status}");
        assert_eq!(status["trusted_time"], before["trusted_time"], "{error}");
        let told = node.told().await;
        assert!(told.contains("  CLOCK      says "), "{error}: {told}");
        assert_eq!(status["clock_behind"], true, "{error}: {status}");
        assert!(at(&status, "now") < at(&status, "trusted_time"), "{error}: {status}");
        // Nothing is learnt by such a clock.
        node.publish(&format!("at {error}"), &[DENIED]);
        let (code, status) = node.ask().await;
        assert_eq!(
            (code, status["error_class"].as_str()),
            (Some(1), Some("clock")),
            "{error}: {status}"
        );
        assert_eq!(node.policy().await, "first");

        // A start finds the same.
        node.daemon.kill();
        node.start().await;
        answers(&node, BEHIND).await;
        clock.set("+0");
        answers(&node, RIGHT).await;
    }
    assert_eq!(node.ask().await.0, Some(0));
    assert_eq!(node.policy().await, format!("at {EARLIEST}"));
    answers(&node, RIGHT).await;
    no_panic(&node);
}

#[tokio::test]
async fn a_node_that_starts_for_the_first_time_with_such_a_clock_follows_once_it_is_right() {
    let clock = Clock::new();
    let mut node = clock.node(toml::Table::new(), None);
    clock.set(EARLIEST);
    node.start().await;
    let (code, status) = node.ask().await;
    assert_eq!(
        (code, status["error_class"].as_str()),
        (Some(1), Some("clock")),
        "{status}"
    );
    for (name, digest) in QUESTIONS {
        assert!(!node.code(name, digest).await.contains("admitted"));
    }
    clock.set("+0");
    assert_eq!(node.ask().await.0, Some(0));
    answers(&node, RIGHT).await;
    no_panic(&node);
}

async fn years_ahead(settings: toml::Table, expected: [&str; 5]) {
    let clock = Clock::new();
    let mut node = clock.started(settings).await;
    answers(&node, RIGHT).await;
    for error in ["+10y", "+100y"] {
        clock.set(error);
        answers(&node, expected).await;
        let (code, status) = node.status().await;
        assert_eq!(
            (code, status["staleness"].as_str()),
            (Some(1), Some("expired")),
            "{status}"
        );
        assert!(at(&status, "changes_at") < Timestamp::now() + Duration::from_secs(60 * 24 * 3600));
        let told = node.told().await;
        assert!(told.contains("EXPIRED since"), "{told}");
        // The repository has nothing that would count then, and a time to come is learnt from nobody.
        let (code, status) = node.ask().await;
        assert_eq!(
            (code, status["error_class"].as_str()),
            (Some(1), Some("expired")),
            "{status}"
        );
        assert!(at(&status, "trusted_time") < Timestamp::now() + Duration::from_secs(60));
        node.daemon.kill();
        node.start().await;
        answers(&node, expected).await;
        clock.set("+0");
        answers(&node, RIGHT).await;
        assert_eq!(node.ask().await.0, Some(0));
    }
    answers(&node, RIGHT).await;
    no_panic(&node);
}

#[tokio::test]
async fn a_clock_that_is_years_ahead_denies_everything_where_the_node_is_to_deny_what_is_new() {
    years_ahead(toml::toml! { when_expired = "deny-new" }, DENY_NEW).await;
}

#[tokio::test]
async fn a_clock_that_is_years_ahead_leaves_what_is_known_where_the_node_may_keep_it() {
    years_ahead(toml::toml! { profile = "edge" }, CACHED_ONLY).await;
}

#[tokio::test]
async fn a_clock_in_the_grace_changes_nothing_but_what_is_said() {
    let clock = Clock::new();
    let node = clock.started(toml::toml! { profile = "edge" }).await;
    clock.set("+31d");
    answers(&node, RIGHT).await;
    let (code, status) = node.status().await;
    assert_eq!(
        (code, status["staleness"].as_str()),
        (Some(1), Some("stale")),
        "{status}"
    );
    clock.set("+0");
    assert_eq!(node.status().await.0, Some(0));
    no_panic(&node);
}

/// The clock jumps while the repository takes its time to answer.
#[tokio::test]
async fn a_clock_that_jumps_during_a_refresh_makes_no_difference_once_it_is_right() {
    const PAUSE: Duration = Duration::from_secs(1);
    let clock = Clock::new();
    let web = WebServer::start().await.unwrap();
    let mut node = clock.node(toml::toml! { plain_http = true }, Some(web.url("/policy")));
    serve(&web, &node);
    node.start().await;
    node.follows("first").await;
    for (number, error) in ["-10y", "+10y", EARLIEST, "+100y"].into_iter().enumerate() {
        let name = format!("jump {number}");
        node.publish(&name, &[DENIED]);
        serve(&web, &node);
        web.misbehave(When::path(".snapshot.json"), Fault::Delay(PAUSE));
        let asked = web.requests("/policy");
        let jumps = async {
            node.wait_for("request", async || web.requests("/policy") > asked + 1)
                .await;
            clock.set(error);
        };
        let ((code, status), ()) = tokio::join!(node.ask(), jumps);
        // What was asked before the jump is judged by the time before it.
        assert_eq!(node.policy().await, name, "{error}: {status}");
        assert_eq!(code, Some(1), "{error}: {status}");
        let expected = if error.starts_with('+') { DENY_NEW } else { BEHIND };
        answers(&node, expected).await;
        web.behave();
        clock.set("+0");
        let (code, status) = node.ask().await;
        assert_eq!(code, Some(0), "{status}");
        answers(&node, RIGHT).await;

        // And the other way: it was wrong when the repository was asked, and is right when it answers.
        let name = format!("jump {number} back");
        node.publish(&name, &[DENIED]);
        serve(&web, &node);
        clock.set(error);
        web.misbehave(When::path(".root.json"), Fault::Delay(PAUSE));
        let back = async {
            tokio::time::sleep(PAUSE / 2).await;
            clock.set("+0");
        };
        let ((code, status), ()) = tokio::join!(node.ask(), back);
        assert_eq!(code, Some(1), "{error}: {status}");
        assert_eq!(node.policy().await, format!("jump {number}"));
        answers(&node, RIGHT).await;
        web.behave();
        assert_eq!(node.ask().await.0, Some(0));
        assert_eq!(node.policy().await, name);
    }
    no_panic(&node);
}

fn serve(web: &WebServer, node: &Node) {
    for (name, content) in &node.repository.files {
        web.serve(&format!("/policy/{name}"), "application/json", content.clone());
    }
}
