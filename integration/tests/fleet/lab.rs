//! A fleet with its repository and its signers, and its nodes.

use std::time::{Duration, Instant};

use assay_integration::assayd::Builder;
use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::journal::{Entry, Mark};
use assay_integration::notation::Sign;
use assay_integration::registry::{self, AccessLog, Kind, Request, sha256};
use assay_integration::{
    Assayd, Containerd, Image, Journal, Network, Notation, Peers, PolicyServer, Question, Registry,
};
use assay_proto::v1::{Verdict, VerifyResponse};
use assay_verify::Timestamp;
use assayd::admission::events::{ADMITTED, AUDITED, DENIED, EXCEPTION_USED};
use serde_json::{Value, json};

use crate::policy_repository::{Files, REVOCATIONS, Repository, SNAPSHOT, TARGETS, TIMESTAMP};

/// The shortest interval that can be configured.
pub(crate) const POLL: Duration = Duration::from_secs(5);
/// How long a poll may be late: a tenth of the interval, and what a busy machine needs.
pub(crate) const LATE: Duration = Duration::from_secs(3);
/// How long anything else may take.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// The rules that most tests need, and the authority of both: anybody under the root of [`Fleet`].
pub(crate) const PRODUCTION: &str = r#"
[authority.corp]
type               = "notation"
trust_stores       = ["ca:corp"]
trusted_identities = ["*"]
level              = "strict"

[[rule]]
name    = "production"
images  = ["HOST/prod/**"]
require = { all = ["corp"] }
"#;

/// A policy that denies what no rule matches, and is asked for as often as can be. `HOST` in the rules stands for `host`.
pub(crate) fn policy(host: &str, rules: &str) -> String {
    "version = 1\nunmatched = \"deny\"\npoll_interval = \"5s\"\n".to_owned() + &rules.replace("HOST", host)
}

/// Now, in whole seconds, as documents have it.
pub(crate) fn now() -> Timestamp {
    Timestamp::from_second(Timestamp::now().as_second()).expect("a time")
}

/// A deny-list. Each entry names what it denies, and its reference.
pub(crate) fn deny_list(entries: &[(Value, &str)]) -> String {
    let now = now().to_string();
    let entries = entries.iter().map(|(denied, reference)| {
        let mut entry = denied.clone();
        entry["reason"] = "taken out of use".into();
        entry["reference"] = (*reference).into();
        entry["at"] = now.clone().into();
        entry
    });
    json!({ "version": 1, "issued": now, "entries": entries.collect::<Vec<_>>() }).to_string()
}

/// How a deny-list names somebody's key.
pub(crate) fn key_of(identity: &SigningIdentity) -> String {
    let key = rcgen::KeyPair::from_pem(&identity.key_pem).expect("a key");
    sha256(&rcgen::PublicKeyData::subject_public_key_info(&key))
}

/// What all nodes share. Everything listens on the outer end of the nodes' network.
pub(crate) struct Fleet {
    pub(crate) peers: Peers,
    pub(crate) registry: Registry,
    pub(crate) web: PolicyServer,
    pub(crate) repository: Repository,
    /// How long a timestamp lives from its publication.
    pub(crate) lifetime: Duration,
    pub(crate) root: Authority,
    pub(crate) notation: Notation,
    pub(crate) network: Network,
}

impl Fleet {
    /// A fleet whose repository has a policy with these rules ([`policy`]).
    pub(crate) async fn new(rules: &str) -> Self {
        let peers = Peers::fetch().expect("the peers");
        let network = Network::new(&peers).await.expect("a network");
        let registry = Registry::start_on(network.outside()).await.expect("a registry");
        let web = PolicyServer::start(&peers, network.outside()).await.expect("nginx");
        let root = Authority::root(&Profile::named("Corp Root")).expect("a root");
        let mut repository = Repository::new();
        repository.targets.clear();
        repository.files = Files::new();
        let soon = now() + Duration::from_secs(24 * 3600);
        repository.expires.values_mut().for_each(|expires| *expires = soon);
        repository.publish_root(&[]);
        let mut fleet = Self {
            notation: Notation::new(&peers).expect("notation"),
            peers,
            registry,
            web,
            repository,
            lifetime: Duration::from_secs(24 * 3600),
            root,
            network,
        };
        fleet.put(
            TARGETS,
            "channels/stable/policy.toml",
            &policy(&fleet.registry.host(), rules),
        );
        let store = "channels/stable/notation/truststore/x509/ca/corp/root.pem";
        fleet.put(TARGETS, store, &fleet.root.certificate_pem());
        fleet.put(REVOCATIONS, "revocation/deny.json", &deny_list(&[]));
        fleet.publish(&[]);
        fleet
    }

    /// Has a file in the repository from its next publication on.
    pub(crate) fn put(&mut self, role: &'static str, path: &str, content: &str) {
        self.repository.put(role, path, content);
    }

    /// Publishes these files as `assayctl publish` does, with new versions of the roles that sign them and of those that name
    /// these, and returns when it was done.
    pub(crate) fn publish(&mut self, changes: &[(&'static str, &str, String)]) -> Instant {
        self.sign(changes);
        self.web.upload(&self.repository.files).expect("an upload");
        Instant::now()
    }

    /// The same without the upload.
    pub(crate) fn sign(&mut self, changes: &[(&'static str, &str, String)]) {
        let mut roles = vec![SNAPSHOT, TIMESTAMP];
        for (role, path, content) in changes {
            self.put(role, path, content);
            if !roles.contains(role) {
                roles.push(role);
            }
        }
        let now = now();
        self.repository.signed_at = json!(now.to_string());
        self.repository.expires.insert(TIMESTAMP, now + self.lifetime);
        self.repository.bump(&roles);
        self.repository.publish();
    }

    /// Publishes a deny-list.
    pub(crate) fn deny(&mut self, entries: &[(Value, &str)]) -> Instant {
        self.publish(&[(REVOCATIONS, "revocation/deny.json", deny_list(entries))])
    }

    /// Publishes a policy with these rules.
    pub(crate) fn rule(&mut self, rules: &str) -> Instant {
        let policy = policy(&self.registry.host(), rules);
        self.publish(&[(TARGETS, "channels/stable/policy.toml", policy)])
    }

    /// A signer of this name under the root.
    pub(crate) fn signer(&self, name: &str) -> SigningIdentity {
        let identity = self.root.issue(&Profile::named(name)).expect("a signer");
        self.notation.add_key(name, &identity).expect("a key");
        identity
    }

    /// `HOST/NAME:v1`.
    pub(crate) fn reference(&self, repository: &str) -> String {
        format!("{}:v1", self.registry.repository(repository))
    }

    /// Puts an image into `repository:v1`.
    pub(crate) fn push(&self, repository: &str, image: &Image) {
        image.store(self.registry.content(), repository, "v1");
    }

    /// Puts an image of its own into `repository:v1` and has notation sign it.
    pub(crate) async fn push_signed(&self, repository: &str, how: &Sign) -> Image {
        let image = Image::tiny(repository).expect("an image");
        self.push(repository, &image);
        self.sign_image(repository, &image, how).await;
        image
    }

    /// Has notation sign an image.
    pub(crate) async fn sign_image(&self, repository: &str, image: &Image, how: &Sign) {
        let reference = format!("{}@{}", self.registry.repository(repository), image.digest());
        self.notation.sign(&reference, how).await.expect("a signature");
    }

    /// The configuration of a node, whose `[fleet]` has these settings too.
    pub(crate) fn node(&self, settings: toml::Table) -> Builder {
        let mut table = toml::toml! {
            root = "fleet-root.json"
            channel = "stable"
            poll_interval = "5s"
            min_poll_interval = "5s"
        };
        table.insert("repository".into(), self.web.url().into());
        table.insert("ca".into(), vec!["fleet-ca.pem"].into());
        table.extend(settings);
        Assayd::builder()
            .file("fleet-root.json", self.repository.pinned())
            .file("fleet-ca.pem", self.web.ca())
            .setting("fleet", table)
            .plain_http(&self.registry.host())
            .network(&self.network)
    }

    /// Starts a node, and waits until it has what is published.
    pub(crate) async fn start(&self, daemon: Builder) -> Node {
        let node = self.begin(daemon).await;
        node.until("a policy", async |node| node.status().await["staleness"] != "none")
            .await;
        node
    }

    /// Starts a node.
    pub(crate) async fn begin(&self, daemon: Builder) -> Node {
        let journal = Journal::listen().expect("a journal");
        let assayd = daemon.journal(&journal).start().await.expect("assayd");
        let containerd = Containerd::builder(&self.peers).hook(&assayd).expect("the hook");
        let containerd = containerd.plain_http(&self.registry.host()).start().await;
        Node {
            journal,
            assayd,
            containerd: containerd.expect("containerd"),
            host: self.registry.host(),
            log: self.registry.log().clone(),
        }
    }

    /// A node that takes every default.
    pub(crate) async fn start_node(&self) -> Node {
        self.start(self.node(toml::Table::new())).await
    }
}

/// A node.
pub(crate) struct Node {
    pub(crate) journal: Journal,
    pub(crate) assayd: Assayd,
    pub(crate) containerd: Containerd,
    host: String,
    log: AccessLog,
}

/// What containerd said, and what the journal says of it.
pub(crate) struct Denied {
    pub(crate) event: String,
    pub(crate) entry: Entry,
}

impl Node {
    fn reference(&self, repository: &str) -> String {
        format!("{}/{repository}:v1", self.host)
    }

    /// Pulls `repository:v1` as the kubelet does, expects an admit, and returns its entry in the journal.
    pub(crate) async fn admitted(&self, repository: &str) -> Entry {
        let mark = self.journal.mark();
        self.pulled(repository).await;
        self.decision(mark, repository, &[ADMITTED]).await
    }

    /// The same of an image that an exception or audit mode admits.
    pub(crate) async fn admitted_as(&self, repository: &str, id: &str) -> Entry {
        assert!([EXCEPTION_USED, AUDITED].contains(&id));
        let mark = self.journal.mark();
        self.pulled(repository).await;
        self.decision(mark, repository, &[id]).await
    }

    async fn pulled(&self, repository: &str) {
        let reference = self.reference(repository);
        let pulled = self.containerd.pull_cri(&reference).await;
        pulled.unwrap_or_else(|refusal| panic!("{repository}: {refusal}\n{}", self.journal.text()));
        assert!(
            self.containerd.has(&reference).await.expect("an answer"),
            "{repository}"
        );
    }

    /// Pulls `repository:v1` as the kubelet does, and expects a denial with this code, for which no layer is fetched.
    pub(crate) async fn denied(&self, repository: &str, code: &str) -> Denied {
        self.denied_with_any(repository, &[code]).await
    }

    /// The same with one of several codes.
    pub(crate) async fn denied_with_any(&self, repository: &str, codes: &[&str]) -> Denied {
        let (mark, asked) = (self.journal.mark(), self.log.mark());
        let refusal = self.containerd.pull_cri(&self.reference(repository)).await;
        let event = refusal.expect_err(repository).to_string();
        let code = codes.iter().find(|code| event.contains(&format!("DENY {code}: ")));
        assert!(
            event.contains("image verifier bindir blocked pull") && code.is_some(),
            "{repository}: {event}\n{}",
            self.journal.text()
        );
        let requests = self.log.requests_since(asked);
        assert!(
            requests.iter().all(|request| request.kind != Kind::Layer),
            "{repository}: {requests:?}"
        );
        let entry = self.decision(mark, repository, &[DENIED]).await;
        assert_eq!(Some(&entry["ASSAY_CODE"].as_str()), code);
        assert!(event.contains(&entry["ASSAY_DECISION_ID"]), "{event}\n{entry:?}");
        Denied { event, entry }
    }

    /// The decision about an image that came after `mark`.
    async fn decision(&self, mark: Mark, repository: &str, ids: &[&str]) -> Entry {
        let image = format!("{}/{repository}", self.host);
        let started = Instant::now();
        loop {
            let entries = self.journal.since(mark);
            let mut of_image = entries
                .into_iter()
                .filter(|entry| entry.contains_key("ASSAY_DECISION_ID") && entry.get("ASSAY_IMAGE") == Some(&image));
            if let Some(entry) = of_image.next() {
                assert!(ids.contains(&entry["MESSAGE_ID"].as_str()), "{repository}: {entry:?}");
                return entry;
            }
            assert!(started.elapsed() < PATIENCE, "{repository}:\n{}", self.journal.text());
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Waits for an entry of the journal.
    pub(crate) async fn told(&self, mark: Mark, id: &str, is: impl Fn(&Entry) -> bool) -> Entry {
        self.journal.wait_for(mark, id, PATIENCE, is).await.expect("an entry")
    }

    /// The requests that assayd made of the registry since `mark`: containerd makes its own.
    pub(crate) fn asked(&self, mark: registry::Mark) -> Vec<Request> {
        let mut requests = self.log.requests_since(mark);
        let by_assayd = |agent: Option<&str>| agent.is_some_and(|agent| agent.starts_with("assayd/"));
        requests.retain(|request| by_assayd(request.user_agent.as_deref()));
        requests
    }

    /// Asks the daemon as the hook does. Its entry is in the journal when this returns.
    pub(crate) async fn verify(&self, repository: &str, image: &Image) -> VerifyResponse {
        let channel = self.assayd.channel().expect("a socket");
        let question = Question::new(self.reference(repository), image.descriptor());
        let mark = self.journal.mark();
        let answer = question.grpc(channel).await.expect("a verdict");
        let started = Instant::now();
        let of_answer = |entry: &Entry| entry.get("ASSAY_DECISION_ID") == Some(&answer.decision_id);
        while !self.journal.since(mark).iter().any(of_answer) {
            assert!(started.elapsed() < PATIENCE, "{answer:?}\n{}", self.journal.text());
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        answer
    }

    /// Waits until an image is denied, and says how long after `since` that was.
    pub(crate) async fn until_denied(&self, repository: &str, image: &Image, since: Instant) -> Duration {
        self.until(repository, async |node| !admits(&node.verify(repository, image).await))
            .await;
        since.elapsed()
    }

    /// Waits until something holds.
    pub(crate) async fn until(&self, what: &str, mut holds: impl AsyncFnMut(&Self) -> bool) {
        let started = Instant::now();
        while !holds(self).await {
            if started.elapsed() > PATIENCE {
                let status = self.status().await;
                panic!("not within {PATIENCE:?}: {what}\n{status:#}\n{}", self.journal.text());
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// `assayctl sync status` for machines.
    pub(crate) async fn status(&self) -> Value {
        self.sync("status").await.0
    }

    /// `assayctl sync status` for people, and its exit code.
    pub(crate) async fn said(&self) -> (String, Option<i32>) {
        let said = self.assayd.assayctl(&["sync", "status"]).await.expect("assayctl");
        (said.stdout, said.code)
    }

    /// `assayctl sync now` for machines, and its exit code.
    pub(crate) async fn sync_now(&self) -> (Value, Option<i32>) {
        self.sync("now").await
    }

    async fn sync(&self, what: &str) -> (Value, Option<i32>) {
        let said = self.assayd.assayctl(&["sync", what, "--output", "json"]).await;
        let said = said.expect("assayctl");
        let status = serde_json::from_str(&said.stdout);
        (
            status.unwrap_or_else(|_| panic!("{}{}", said.stdout, said.stderr)),
            said.code,
        )
    }

    /// The value of a metric, named with its labels.
    pub(crate) async fn metric(&self, name: &str) -> f64 {
        let metrics = self.assayd.assayctl(&["metrics"]).await.expect("assayctl").stdout;
        let line = metrics
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let value = line.unwrap_or_else(|| panic!("no {name}:\n{metrics}"));
        value.parse().expect("a number")
    }

    /// Whether a metric has this value.
    pub(crate) async fn counts(&self, name: &str, value: u32) -> bool {
        (self.metric(name).await - f64::from(value)).abs() < 0.5
    }
}

/// Whether an answer is the explicit admit.
pub(crate) fn admits(answer: &VerifyResponse) -> bool {
    answer.verdict() == Verdict::Admit
}
