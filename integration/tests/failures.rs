//! What fails around a verdict: the daemon, its disk, its policy, the registry and the askers. Each test sees a denial
//! with the code that `docs/codes.md` gives it, in the time that the hook has, and that nothing is lost afterwards.

use std::fs;
use std::os::unix::fs::{PermissionsExt as _, chown};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant, SystemTime};

use assay_integration::certificates::{Authority, Profile};
use assay_integration::envelope::{EnvelopeSigner, JWS};
use assay_integration::notation::Sign;
use assay_integration::registry::{Fault, Kind, OCI_INDEX, OCI_MANIFEST, When, sha256};
use assay_integration::{Assayd, Containerd, Finished, Image, Notation, Peers, Registry, assayd, program};
use assay_proto::v1::{CacheState, Verdict, VerifyResponse};
use futures_util::future::join_all;
use http::StatusCode;
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use serde_json::{Value, json};
use tonic::transport::Channel;

/// containerd kills a hook after 10 s; the hook promises 8.
const HOOK_LIMIT: Duration = Duration::from_secs(9);
/// A denial is remembered for 5 s, a store that could not be written is tried again after 10.
const RECOVERY: Duration = Duration::from_secs(20);
/// The user that owns nothing.
const NOBODY: u32 = 65534;

/// Everybody's signing key, made once: whose key it is matters to none of these tests.
struct Signer {
    envelopes: EnvelopeSigner,
    anchor: String,
}

impl Signer {
    fn new() -> Self {
        let root = Authority::root(&Profile::named("root")).unwrap();
        let release = root.issue(&Profile::named("release")).unwrap();
        Self {
            envelopes: EnvelopeSigner::new(&release).unwrap(),
            anchor: root.certificate_pem(),
        }
    }

    fn sign(&self, registry: &Registry, repository: &str, image: &Image) {
        let time = SystemTime::now() - Duration::from_secs(60);
        let envelope = self.envelopes.sign(&image.descriptor(), time).unwrap();
        registry
            .content()
            .attach_signature(repository, &image.descriptor(), JWS, &envelope);
    }
}

/// A policy under which every image of these registries needs a signature by `signer`.
fn policy(registries: &[&Registry], signer: &str) -> String {
    let images: Vec<_> = registries
        .iter()
        .map(|registry| format!("\"{}\"", registry.repository("**")))
        .collect();
    format!(
        r#"version   = 1
unmatched = "deny"

[authority.corp]
type               = "notation"
trust_stores       = ["ca:corp"]
trusted_identities = ["x509.subject: C=US, ST=WA, O=Corp, CN={signer}"]
level              = "strict"

[[rule]]
name    = "everything"
images  = [{}]
require = {{ all = ["corp"] }}
"#,
        images.join(", ")
    )
}

fn daemon(registries: &[&Registry], signer: &Signer) -> assayd::Builder {
    let builder = Assayd::builder()
        .policy(&policy(registries, "release"))
        .file("notation/truststore/x509/ca/corp/root.pem", signer.anchor.clone());
    registries
        .iter()
        .fold(builder, |builder, registry| builder.plain_http(&registry.host()))
}

/// A registry, a daemon that asks it, and a key that the daemon trusts.
struct Lab {
    registry: Registry,
    signer: Signer,
    assayd: Assayd,
}

impl Lab {
    async fn start() -> Self {
        Self::start_with(|builder| builder).await
    }

    async fn start_with(configure: impl FnOnce(assayd::Builder) -> assayd::Builder) -> Self {
        let mut lab = Self::prepare(configure).await;
        lab.assayd.start().await.unwrap();
        lab
    }

    async fn prepare(configure: impl FnOnce(assayd::Builder) -> assayd::Builder) -> Self {
        let registry = Registry::start().await.unwrap();
        let signer = Signer::new();
        let assayd = configure(daemon(&[&registry], &signer)).prepare().unwrap();
        Self {
            registry,
            signer,
            assayd,
        }
    }

    fn signed(&self, repository: &str) -> Question {
        signed(&self.registry, &self.signer, repository)
    }

    fn unsigned(&self, repository: &str) -> Question {
        unsigned(&self.registry, repository)
    }

    async fn ask(&self, question: &Question) -> Answer {
        question.hook(&self.assayd).await
    }
}

fn unsigned(registry: &Registry, repository: &str) -> Question {
    Question::about(registry, repository, &stored(registry, repository))
}

fn signed(registry: &Registry, signer: &Signer, repository: &str) -> Question {
    let image = stored(registry, repository);
    signer.sign(registry, repository, &image);
    Question::about(registry, repository, &image)
}

fn stored(registry: &Registry, repository: &str) -> Image {
    let image = Image::tiny(repository).unwrap();
    image.store(registry.content(), repository, "v1");
    image
}

/// What containerd asks of an image.
#[derive(Clone)]
struct Question(assay_integration::Question);

impl Question {
    fn about(registry: &Registry, repository: &str, image: &Image) -> Self {
        let name = format!("{}:v1", registry.repository(repository));
        Self(assay_integration::Question::new(name, image.descriptor()))
    }

    /// Asks through the real hook, execed as containerd does.
    async fn hook(&self, assayd: &Assayd) -> Answer {
        self.hook_of(&program("assay-verifier").unwrap(), assayd, 0).await
    }

    async fn hook_of(&self, program: &Path, assayd: &Assayd, user: u32) -> Answer {
        let started = Instant::now();
        let output = self.exec(program, assayd, user).await.wait_with_output().await.unwrap();
        Answer {
            admitted: output.status.success(),
            line: String::from_utf8(output.stdout).unwrap(),
            took: started.elapsed(),
        }
    }

    async fn exec(&self, program: &Path, assayd: &Assayd, user: u32) -> tokio::process::Child {
        self.0.exec(program, assayd, user).await.expect("the hook starts")
    }

    /// Asks over gRPC.
    async fn grpc(&self, channel: Channel) -> VerifyResponse {
        self.0.grpc(channel).await.expect("a verdict")
    }

    /// Asks again and again until the image is admitted, as the kubelet does.
    async fn admitted_soon(&self, assayd: &Assayd) {
        let started = Instant::now();
        loop {
            let answer = self.hook(assayd).await;
            if answer.admitted {
                return;
            }
            assert!(started.elapsed() < RECOVERY, "still denied: {}", answer.line);
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    }
}

fn channel(assayd: &Assayd) -> Channel {
    assayd.channel().expect("a socket")
}

/// What the hook said.
#[derive(Debug)]
struct Answer {
    admitted: bool,
    line: String,
    took: Duration,
}

impl Answer {
    #[track_caller]
    fn is_admitted(&self) {
        assert!(self.admitted && self.line.starts_with("ADMIT"), "{self:?}");
    }

    #[track_caller]
    fn is_denied(&self, code: &str) {
        let denied = !self.admitted && self.line.starts_with(&format!("DENY {code}: "));
        assert!(denied, "expected {code}: {self:?}");
        assert!(
            self.took < HOOK_LIMIT,
            "containerd would have killed the hook: {self:?}"
        );
    }
}

/// All that a registry was asked for, without the digests, sorted.
fn requests(registry: &Registry) -> Vec<String> {
    let kinds = ["/referrers/", "/manifests/sha256-", "/manifests/sha256:", "/blobs/"];
    let shape = |path: String| match kinds.iter().find(|kind| path.contains(**kind)) {
        Some(kind) => (*kind).to_owned(),
        None => path,
    };
    let requests = registry.log().requests().into_iter();
    let mut shapes: Vec<_> = requests.map(|request| shape(request.path)).collect();
    shapes.sort();
    shapes
}

/// Waits until something is so.
async fn until(what: &str, mut so: impl FnMut() -> bool) {
    let started = Instant::now();
    while !so() {
        assert!(started.elapsed() < RECOVERY, "not so after {RECOVERY:?}: {what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn cache_stats(assayd: &Assayd) -> Value {
    let stats = assayd.assayctl(&["cache", "stats", "--output", "json"]).await.unwrap();
    serde_json::from_str(&stats.successful().unwrap().stdout).expect("JSON")
}

// The daemon.

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_between_questions_denies_until_it_is_back_and_has_lost_nothing() {
    let mut lab = Lab::start().await;
    let question = lab.signed("app");
    lab.ask(&question).await.is_admitted();

    lab.assayd.kill();
    lab.ask(&question).await.is_denied("daemon-unavailable");
    fs::remove_file(lab.assayd.verifier_socket()).unwrap();
    let answer = lab.ask(&question).await;
    answer.is_denied("daemon-unavailable");
    assert!(answer.line.contains("verifier.sock"), "{answer:?}");

    // What was admitted before kill -9 is on disk.
    lab.registry.stop().await;
    lab.assayd.start().await.unwrap();
    lab.ask(&question).await.is_admitted();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_in_the_middle_of_a_question_denies_it_at_once_and_admits_it_later() {
    let mut lab = Lab::start().await;
    let question = lab.signed("app");
    lab.registry
        .misbehave(When::kind(Kind::Referrers), Fault::Delay(Duration::from_secs(30)));
    let asker = tokio::spawn({
        let (question, program) = (question.clone(), program("assay-verifier").unwrap());
        let child = question.exec(&program, &lab.assayd, 0).await;
        async move { child.wait_with_output().await.unwrap() }
    });
    until("the question reaches the registry", || {
        lab.registry.log().count(Kind::Referrers) > 0
    })
    .await;
    lab.assayd.kill();
    let output = asker.await.unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(!output.status.success());
    assert!(line.starts_with("DENY daemon-unavailable: "), "{line}");

    lab.registry.behave();
    lab.assayd.start().await.unwrap();
    lab.ask(&question).await.is_admitted();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_daemon_killed_in_the_middle_of_a_pull_lets_no_layer_through_and_the_retry_is_admitted() {
    let peers = Peers::fetch().unwrap();
    let mut lab = Lab::start().await;
    let image = Image::busybox(&peers, "killed").unwrap();
    image.store(lab.registry.content(), "app", "v1");
    lab.signer.sign(&lab.registry, "app", &image);
    let containerd = Containerd::builder(&peers)
        .hook(&lab.assayd)
        .unwrap()
        .plain_http(&lab.registry.host())
        .start()
        .await
        .unwrap();
    lab.registry
        .misbehave(When::kind(Kind::Referrers), Fault::Delay(Duration::from_secs(30)));
    let reference = format!("{}:v1", lab.registry.repository("app"));
    let log = lab.registry.log().clone();
    let kill_it = async {
        until("the question reaches the registry", || log.count(Kind::Referrers) > 0).await;
        lab.assayd.kill();
    };
    let (pulled, ()) = tokio::join!(containerd.pull_cri(&reference), kill_it);
    let denial = pulled.expect_err("a denial");
    assert!(
        denial.is_denial() && denial.message.contains("DENY daemon-unavailable: "),
        "{denial}"
    );
    assert!(log.layer_requests().is_empty());

    lab.registry.behave();
    lab.assayd.start().await.unwrap();
    containerd.pull_cri(&reference).await.unwrap();
    assert_eq!(log.layer_requests().len(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn sigterm_answers_the_questions_under_way_before_the_daemon_ends() {
    let mut lab = Lab::start().await;
    let slow = Duration::from_secs(2);
    lab.registry.misbehave(When::kind(Kind::Referrers), Fault::Delay(slow));
    let (question, unsigned) = (lab.signed("app"), lab.unsigned("unsigned"));
    let log = lab.registry.log().clone();
    // A connection that is open and asks nothing keeps nobody waiting.
    let idle = channel(&lab.assayd);
    lab.signed("before").grpc(idle.clone()).await;
    let hook = program("assay-verifier").unwrap();
    let asking = [
        question.exec(&hook, &lab.assayd, 0).await,
        unsigned.exec(&hook, &lab.assayd, 0).await,
    ];
    until("both questions reach the registry", || log.count(Kind::Referrers) >= 3).await;
    lab.assayd.stop().await.expect("it ends with success");
    let mut lines = vec![];
    for child in asking {
        let output = child.wait_with_output().await.unwrap();
        lines.push((output.status.success(), String::from_utf8(output.stdout).unwrap()));
    }
    assert!(lines[0].0 && lines[0].1.starts_with("ADMIT "), "{lines:?}");
    assert!(!lines[1].0 && lines[1].1.starts_with("DENY unsigned: "), "{lines:?}");
    lab.ask(&question).await.is_denied("daemon-unavailable");
    drop(idle);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_daemon_on_the_same_sockets_refuses_and_leaves_the_first_alone() {
    let lab = Lab::start().await;
    let question = lab.signed("app");
    let second = run_daemon(&lab.assayd.config_directory().join("config.toml")).await;
    assert!(!second.success);
    assert!(
        second.stderr.contains("verifier.sock") && second.stderr.contains("is assayd running already?"),
        "{second:?}"
    );
    lab.ask(&question).await.is_admitted();
}

/// Runs the daemon in the foreground, for one that ends by itself.
async fn run_daemon(config: &Path) -> Finished {
    let mut command = tokio::process::Command::new(program("assayd").unwrap());
    command.arg("--config").arg(config).kill_on_drop(true);
    let output = tokio::time::timeout(RECOVERY, command.output()).await;
    let output = output.expect("it ends by itself").unwrap();
    assert!(matches!(output.status.code(), Some(0 | 1)), "{output:?}");
    output.into()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mistake_in_the_configuration_is_named_with_its_place_and_nothing_starts() {
    for (text, expected) in [
        (
            "verifer_socket = \"x\"",
            "config.toml:3:1: unknown field `verifer_socket`",
        ),
        ("cache_size = \"much\"", "config.toml:3:14: "),
        ("log = \"syslog\"", "config.toml:3:7: unknown variant `syslog`"),
        (
            "socket_mode = \"0666\"",
            "config.toml:3:15: socket_mode is \"0600\" or \"0660\"",
        ),
        (
            "[[registry]]\nhost = \"a.example\"\nplain-http = true",
            "config.toml:5:1: unknown field `plain-http`",
        ),
        ("= 1", "config.toml:3:1: "),
        (
            "[[registry]]\nhost = \"a.example\"\nca = [\"missing.pem\"]",
            "missing.pem: No such file",
        ),
    ] {
        let folder = tempfile::tempdir().unwrap();
        let config = folder.path().join("config.toml");
        // Whatever the mistake, an assayd that this machine may run stays alone.
        let sockets = "verifier_socket = \"verifier.sock\"\ncontrol_socket = \"control.sock\"";
        fs::write(&config, format!("{sockets}\n{text}\n")).unwrap();
        let finished = run_daemon(&config).await;
        assert!(!finished.success, "{text}");
        assert!(finished.stderr.contains(expected), "{text}: {}", finished.stderr);
    }
    let missing = run_daemon(Path::new("/nonexistent/config.toml")).await;
    assert!(
        !missing.success && missing.stderr.contains("/nonexistent/config.toml: No such file"),
        "{missing:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_broken_at_the_start_denies_and_is_taken_up_once_it_is_mended() {
    let lab = Lab::start_with(|builder| builder.policy("version = 1\nunmatched = \"deny\"\nrules = []\n")).await;
    let question = lab.signed("app");
    let answer = lab.ask(&question).await;
    answer.is_denied("policy-invalid");
    assert!(answer.line.contains("policy.toml:3:1"), "{answer:?}");
    let status = lab.assayd.assayctl(&["status"]).await.unwrap();
    let said = status.stdout + &status.stderr;
    assert!(said.contains("policy.toml:3:1"), "{said}");

    lab.assayd.write_policy(&policy(&[&lab.registry], "release")).unwrap();
    question.admitted_soon(&lab.assayd).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_policy_broken_later_leaves_the_last_good_one_in_force_until_the_restart() {
    let mut lab = Lab::start().await;
    let (first, second, third) = (lab.signed("first"), lab.signed("second"), lab.unsigned("third"));
    lab.ask(&first).await.is_admitted();
    lab.assayd
        .write_policy("version = 1\nunmatched = \"admit\"\n[[rule]]\n")
        .unwrap();
    let reload = lab.assayd.assayctl(&["reload"]).await.unwrap();
    assert!(!reload.success, "{reload:?}");
    lab.ask(&second).await.is_admitted();
    lab.ask(&third).await.is_denied("unsigned");

    lab.assayd.stop().await.unwrap();
    lab.assayd.start().await.unwrap();
    lab.ask(&first).await.is_denied("policy-invalid");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_user_who_may_not_ask_is_refused_whatever_the_mode_of_the_socket() {
    for (allowed, expected) in [(vec![0], false), (vec![0, i64::from(NOBODY)], true)] {
        let lab =
            Lab::start_with(|builder| builder.setting("socket_mode", "0660").setting("allowed_users", allowed)).await;
        let question = lab.signed("app");
        // Only the peer's credentials are in the way: the files let everybody through.
        let root = lab.assayd.config_directory().parent().unwrap().to_owned();
        fs::set_permissions(&root, fs::Permissions::from_mode(0o711)).unwrap();
        chown(lab.assayd.verifier_socket(), None, Some(NOBODY)).unwrap();
        let public = tempfile::tempdir().unwrap();
        fs::set_permissions(public.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let hook = public.path().join("assay-verifier");
        fs::copy(program("assay-verifier").unwrap(), &hook).unwrap();

        let answer = question.hook_of(&hook, &lab.assayd, NOBODY).await;
        if expected {
            answer.is_admitted();
        } else {
            answer.is_denied("daemon-unavailable");
            let log = lab.assayd.log();
            assert!(
                log.contains(&format!("refused a connection: user {NOBODY} may not ask")),
                "{log}"
            );
            assert!(lab.registry.log().requests().is_empty());
        }
        lab.ask(&question).await.is_admitted();
    }
}

// The registry.

/// One way in which a registry fails, and the code that the denial must have.
struct Failing {
    story: &'static str,
    faults: Vec<(When, Fault)>,
    code: &'static str,
}

impl Failing {
    fn new(story: &'static str, code: &'static str, when: When, fault: Fault) -> Self {
        Self {
            story,
            faults: vec![(when, fault)],
            code,
        }
    }

    fn and(mut self, when: When, fault: Fault) -> Self {
        self.faults.push((when, fault));
        self
    }
}

fn listing() -> When {
    When::kind(Kind::Referrers)
}

fn fallback_tag() -> When {
    When::kind(Kind::Manifest).and_path("/manifests/sha256-")
}

fn manifest() -> When {
    When::kind(Kind::Manifest).and_path("/manifests/sha256:")
}

fn envelope() -> When {
    When::kind(Kind::Blob)
}

/// Every case has a registry of its own, and all of them are asked about at once by one daemon: what one does must not
/// touch the others. Afterwards the registries are themselves again, and each image is admitted without a restart of the
/// daemon.
async fn each_is_denied_and_admitted_after_recovery(cases: Vec<Failing>, others: &[&Registry]) {
    let signer = Signer::new();
    let mut registries = vec![];
    for case in &cases {
        let registry = Registry::start().await.unwrap();
        for (when, fault) in &case.faults {
            registry.misbehave(when.clone(), fault.clone());
        }
        registries.push(registry);
    }
    let assayd = daemon(&[others, &registries.iter().collect::<Vec<_>>()].concat(), &signer)
        .start()
        .await
        .unwrap();
    let one = async |case: &Failing, registry: &Registry| {
        let question = signed(registry, &signer, "app");
        let answer = question.hook(&assayd).await;
        println!("{}: {} ({:?})", case.story, answer.line.trim_end(), answer.took);
        answer.is_denied(case.code);
        registry.behave();
        question.admitted_soon(&assayd).await;
    };
    join_all(
        cases
            .iter()
            .zip(&registries)
            .map(|(case, registry)| one(case, registry)),
    )
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_fails_is_unavailable_until_it_works_again() {
    let status = |code| Fault::Status(StatusCode::from_u16(code).unwrap());
    let wait = |seconds| Fault::TooManyRequests {
        retry_after: Duration::from_secs(seconds),
    };
    let cases = vec![
        Failing::new("500 for the listing", "registry-unavailable", listing(), status(500)),
        Failing::new(
            "503 for everything",
            "registry-unavailable",
            When::always(),
            status(503),
        ),
        Failing::new(
            "500 for the fallback tag",
            "registry-unavailable",
            fallback_tag(),
            status(500),
        )
        .and(listing(), Fault::NoReferrersApi),
        Failing::new(
            "502 for the signature's manifest",
            "registry-unavailable",
            manifest(),
            status(502),
        ),
        Failing::new("500 for the envelope", "registry-unavailable", envelope(), status(500)),
        Failing::new(
            "resets every connection",
            "registry-unavailable",
            When::always(),
            Fault::Reset,
        ),
        Failing::new(
            "resets while the envelope is asked for",
            "registry-unavailable",
            envelope(),
            Fault::Reset,
        ),
        Failing::new("asks to wait a minute", "registry-unavailable", listing(), wait(60)),
        Failing::new(
            "asks to wait again and again",
            "registry-unavailable",
            listing(),
            wait(1),
        ),
        Failing::new(
            "breaks off the listing",
            "registry-unavailable",
            listing(),
            Fault::Truncate { after: 40 },
        ),
        Failing::new(
            "breaks off the manifest",
            "registry-unavailable",
            manifest(),
            Fault::Truncate { after: 1 },
        ),
        Failing::new(
            "breaks off the envelope",
            "registry-unavailable",
            envelope(),
            Fault::Truncate { after: 500 },
        ),
    ];
    each_is_denied_and_admitted_after_recovery(cases, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_refuses_access_never_makes_an_image_unsigned() {
    let status = |code| Fault::Status(StatusCode::from_u16(code).unwrap());
    let challenge = |text: &str| Fault::Challenge(text.to_owned());
    let cases = vec![
        Failing::new("401 for everything", "registry-auth", When::always(), status(401)),
        Failing::new("403 for everything", "registry-auth", When::always(), status(403)),
        Failing::new("401 for the listing", "registry-auth", listing(), status(401)),
        Failing::new("403 for the listing", "registry-auth", listing(), status(403)),
        Failing::new("401 for the fallback tag", "registry-auth", fallback_tag(), status(401))
            .and(listing(), Fault::NoReferrersApi),
        Failing::new("403 for the fallback tag", "registry-auth", fallback_tag(), status(403))
            .and(listing(), Fault::NoReferrersApi),
        Failing::new(
            "403 for the fallback tag, nothing in the listing",
            "registry-auth",
            fallback_tag(),
            status(403),
        )
        .and(listing(), Fault::EmptyReferrers),
        Failing::new(
            "403 for the signature's manifest",
            "registry-auth",
            manifest(),
            status(403),
        ),
        Failing::new("401 for the envelope", "registry-auth", envelope(), status(401)),
        Failing::new(
            "asks for a password",
            "registry-auth",
            When::always(),
            challenge("Basic realm=\"registry\""),
        ),
    ];
    each_is_denied_and_admitted_after_recovery(cases, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_lies_is_not_believed() {
    let html = || Fault::ContentType("text/html".to_owned());
    let cases = vec![
        Failing::new(
            "other bytes for the manifest",
            "registry-unavailable",
            manifest(),
            Fault::WrongBytes,
        ),
        Failing::new(
            "other bytes for the envelope",
            "registry-unavailable",
            envelope(),
            Fault::WrongBytes,
        ),
        Failing::new("another content type for the listing", "unsigned", listing(), html()),
        Failing::new("another content type for the manifest", "unsigned", manifest(), html()),
        Failing::new("an empty listing", "unsigned", listing(), Fault::EmptyReferrers),
        Failing::new(
            "no signature under the address it lists",
            "unsigned",
            manifest(),
            Fault::Status(StatusCode::NOT_FOUND),
        ),
        Failing::new(
            "no envelope",
            "unsigned",
            envelope(),
            Fault::Status(StatusCode::NOT_FOUND),
        ),
    ];
    each_is_denied_and_admitted_after_recovery(cases, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_without_end_is_left_at_a_limit() {
    let endless = || Fault::Huge { bytes: u64::MAX };
    let index = || Fault::ContentType(OCI_INDEX.to_owned());
    let oci = || Fault::ContentType(OCI_MANIFEST.to_owned());
    let cases = vec![
        Failing::new("pages", "limit-exceeded", listing(), Fault::EndlessPages),
        Failing::new("a listing", "limit-exceeded", listing(), endless()).and(listing(), index()),
        Failing::new("a fallback tag", "limit-exceeded", fallback_tag(), endless())
            .and(fallback_tag(), index())
            .and(listing(), Fault::NoReferrersApi),
        Failing::new("a manifest", "unsigned", manifest(), endless()).and(manifest(), oci()),
        Failing::new("an envelope", "registry-unavailable", envelope(), endless()),
        Failing::new(
            "redirects of the listing",
            "limit-exceeded",
            listing(),
            Fault::RedirectLoop,
        ),
        Failing::new(
            "redirects of the envelope",
            "limit-exceeded",
            envelope(),
            Fault::RedirectLoop,
        ),
    ];
    each_is_denied_and_admitted_after_recovery(cases, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_cannot_send_the_daemon_to_a_private_address() {
    let inside = Registry::start().await.unwrap();
    let to = |base: &str| Fault::RedirectTo(base.to_owned());
    let port = inside.host().split_once(':').unwrap().1.to_owned();
    let (plain, encrypted) = (inside.url(), format!("https://{}", inside.host()));
    let (short, named) = (format!("https://127.1:{port}"), format!("https://localhost:{port}"));
    let cases = vec![
        Failing::new("loopback", "registry-unavailable", listing(), to(&plain)),
        Failing::new("loopback over TLS", "registry-unavailable", listing(), to(&encrypted)),
        Failing::new("loopback in short", "registry-unavailable", envelope(), to(&short)),
        Failing::new("loopback by name", "registry-unavailable", envelope(), to(&named)),
        Failing::new(
            "link-local",
            "registry-unavailable",
            listing(),
            to("http://169.254.169.254"),
        ),
        Failing::new(
            "link-local over TLS",
            "registry-unavailable",
            manifest(),
            to("https://169.254.169.254"),
        ),
        Failing::new("private", "registry-unavailable", envelope(), to("https://10.0.0.1")),
        Failing::new(
            "unique-local",
            "registry-unavailable",
            listing(),
            to("https://[fd00::1]"),
        ),
        Failing::new("another scheme", "registry-unavailable", listing(), to("file:///etc")),
        Failing::new(
            "a token server at a link-local address",
            "registry-unavailable",
            When::always(),
            Fault::Challenge("Bearer realm=\"https://169.254.169.254/token\",service=\"registry\"".to_owned()),
        ),
    ];
    // The daemon speaks plain HTTP to the one inside when it is asked to by name, so it is the address that counts.
    each_is_denied_and_admitted_after_recovery(cases, &[&inside]).await;
    assert!(inside.log().requests().is_empty(), "{:?}", inside.log().requests());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_drips_or_hangs_is_denied_with_deadline_in_time() {
    let drip = || Fault::Slow { bytes_per_second: 2 };
    let hang = || Fault::Delay(Duration::from_secs(300));
    let cases = vec![
        Failing::new("a dripping listing", "deadline", listing(), drip()),
        Failing::new("a dripping fallback tag", "deadline", fallback_tag(), drip())
            .and(listing(), Fault::NoReferrersApi),
        Failing::new("a dripping manifest", "deadline", manifest(), drip()),
        Failing::new("a dripping envelope", "deadline", envelope(), drip()),
        Failing::new("no answer at all", "deadline", When::always(), hang()),
        Failing::new("no answer for the envelope", "deadline", envelope(), hang()),
    ];
    each_is_denied_and_admitted_after_recovery(cases, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_asks_to_wait_a_moment_is_waited_for() {
    let lab = Lab::start().await;
    let wait = Fault::TooManyRequests {
        retry_after: Duration::from_secs(1),
    };
    lab.registry.misbehave(listing().times(2), wait);
    let question = lab.signed("app");
    lab.ask(&question).await.is_admitted();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_is_away_is_unavailable_until_it_is_back() {
    let mut lab = Lab::start().await;
    let (good, bad) = (lab.signed("app"), lab.unsigned("unsigned"));
    lab.registry.stop().await;
    lab.ask(&good).await.is_denied("registry-unavailable");
    lab.ask(&bad).await.is_denied("registry-unavailable");
    lab.registry.restart().await.unwrap();
    good.admitted_soon(&lab.assayd).await;
    let started = Instant::now();
    while !lab.ask(&bad).await.line.starts_with("DENY unsigned: ") {
        assert!(started.elapsed() < RECOVERY);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_hangs_starves_no_other() {
    let (hanging, prompt) = (Registry::start().await.unwrap(), Registry::start().await.unwrap());
    let signer = Signer::new();
    let assayd = daemon(&[&hanging, &prompt], &signer).start().await.unwrap();
    hanging.misbehave(When::always(), Fault::Delay(Duration::from_secs(300)));
    let waiting: Vec<_> = (0..200)
        .map(|number| signed(&hanging, &signer, &format!("app{number}")))
        .collect();
    let channel = channel(&assayd);
    let asked = waiting.iter().map(|question| question.grpc(channel.clone()));
    let others = async {
        until("the hanging registry is asked", || {
            hanging.log().count(Kind::Referrers) > 0
        })
        .await;
        for number in 0..5 {
            let question = signed(&prompt, &signer, &format!("app{number}"));
            let answer = question.hook(&assayd).await;
            answer.is_admitted();
            assert!(answer.took < HOOK_LIMIT, "{answer:?}");
        }
        // They were admitted while the others waited, or this shows nothing.
        hanging.log().requests().iter().all(|request| request.status.is_none())
    };
    let (answers, still_hanging) = tokio::join!(join_all(asked), others);
    assert!(still_hanging);
    for answer in answers {
        assert_eq!((answer.verdict(), answer.code.as_str()), (Verdict::Deny, "deadline"));
    }
}

// Many askers.

#[tokio::test(flavor = "multi_thread")]
async fn a_thousand_simultaneous_questions_of_one_image_ask_the_registry_once() {
    for is_signed in [true, false] {
        let image = |lab: &Lab, name: &str| {
            if is_signed {
                lab.signed(name)
            } else {
                lab.unsigned(name)
            }
        };
        // What one question asks of a registry that the daemon does not know yet.
        let alone = Lab::start().await;
        assert_eq!(alone.ask(&image(&alone, "app")).await.admitted, is_signed);
        let one_set = requests(&alone.registry);
        assert!(one_set.len() >= 2, "{one_set:?}");

        let lab = Lab::start().await;
        let question = image(&lab, "app");
        // Long enough that everybody is there before the first answer.
        let slow = Duration::from_secs(3);
        lab.registry.misbehave(listing(), Fault::Delay(slow));
        // A server answers a few hundred questions of one connection at a time.
        let channels: Vec<_> = (0..20).map(|_| channel(&lab.assayd)).collect();
        let over_grpc = (0..1_000).zip(channels.iter().cycle());
        let over_grpc = join_all(over_grpc.map(|(_, channel)| question.grpc(channel.clone())));
        let by_hook = join_all((0..40).map(|_| question.hook(&lab.assayd)));
        let (over_grpc, by_hook) = tokio::join!(over_grpc, by_hook);
        for answer in &by_hook {
            if is_signed {
                answer.is_admitted();
            } else {
                answer.is_denied("unsigned");
            }
        }
        let expected = if is_signed {
            (Verdict::Admit, "")
        } else {
            (Verdict::Deny, "unsigned")
        };
        for answer in &over_grpc {
            assert_eq!((answer.verdict(), answer.code.as_str()), expected, "{answer:?}");
        }
        let waited = over_grpc
            .iter()
            .filter(|answer| answer.cache() == CacheState::Gathered)
            .count();
        println!("{waited} of 1000 questions shared the one flight");
        assert!(waited > 500, "too few were simultaneous to show anything: {waited}");
        assert_eq!(requests(&lab.registry), one_set);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hook_that_is_killed_cancels_nobody_else() {
    let lab = Lab::start().await;
    let question = lab.signed("app");
    lab.registry.misbehave(listing(), Fault::Delay(Duration::from_secs(3)));
    let hook = program("assay-verifier").unwrap();
    let mut first = question.exec(&hook, &lab.assayd, 0).await;
    until("the first question reaches the registry", || {
        lab.registry.log().count(Kind::Referrers) > 0
    })
    .await;
    let second = tokio::spawn({
        let child = question.exec(&hook, &lab.assayd, 0).await;
        async move { child.wait_with_output().await.unwrap() }
    });
    tokio::time::sleep(Duration::from_millis(300)).await;
    first.kill().await.unwrap();
    let output = second.await.unwrap();
    let line = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success() && line.starts_with("ADMIT "), "{line}");
    assert_eq!(lab.registry.log().count(Kind::Referrers), 1, "the flight went on");
    // Both decisions are logged, also the one that nobody waited for any more.
    until("two decisions are in the log", || {
        lab.assayd.log().matches("verdict=admit").count() == 2
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_that_needs_twelve_seconds_is_denied_once_and_admitted_on_the_retry() {
    let peers = Peers::fetch().unwrap();
    let lab = Lab::start().await;
    let (image, repository) = (Image::busybox(&peers, "slow").unwrap(), lab.registry.repository("app"));
    image.store(lab.registry.content(), "app", "v1");
    let notation = Notation::new(&peers).unwrap();
    let release = Authority::root(&Profile::named("root")).unwrap();
    notation
        .add_key("release", &release.issue(&Profile::named("release")).unwrap())
        .unwrap();
    let store = lab
        .assayd
        .config_directory()
        .join("notation/truststore/x509/ca/corp/notation.pem");
    fs::write(store, release.certificate_pem()).unwrap();
    lab.assayd.assayctl(&["reload"]).await.unwrap().successful().unwrap();
    notation
        .sign(&format!("{repository}@{}", image.digest()), &Sign::with("release"))
        .await
        .unwrap();
    let containerd = Containerd::builder(&peers)
        .hook(&lab.assayd)
        .unwrap()
        .plain_http(&lab.registry.host())
        .start()
        .await
        .unwrap();

    lab.registry.misbehave(listing(), Fault::Delay(Duration::from_secs(12)));
    let mark = lab.registry.log().mark();
    let reference = format!("{repository}:v1");
    let denial = containerd.pull_cri(&reference).await.expect_err("a denial");
    assert!(
        denial.is_denial() && denial.message.contains("DENY deadline: "),
        "{denial}"
    );
    assert!(lab.registry.log().layer_requests().is_empty());

    containerd.pull_cri(&reference).await.unwrap();
    let listings = lab.registry.log().requests_since(mark);
    let listings = listings.iter().filter(|request| request.kind == Kind::Referrers);
    assert_eq!(listings.count(), 1, "the retry found what the first pull had begun");
}

/// Ten thousand referrers that are none of ours, each with content of its own.
fn attach_strangers(registry: &Registry, repository: &str, image: &Image) {
    for number in 0..10_000 {
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": "application/vnd.example.report",
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": sha256(b"{}"), "size": 2 },
            "layers": [],
            "annotations": { "number": number.to_string() },
            "subject": image.descriptor(),
        });
        registry
            .content()
            .put_manifest(repository, OCI_MANIFEST, manifest.to_string());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ten_thousand_junk_referrers_cost_neither_the_deadline_nor_the_memory() {
    const BOUND: u64 = 120 * 1024 * 1024;
    let lab = Lab::start().await;
    let image = |repository: &str| stored(&lab.registry, repository);
    let content = lab.registry.content();

    let among_strangers = image("among-strangers");
    attach_strangers(&lab.registry, "among-strangers", &among_strangers);
    lab.signer.sign(&lab.registry, "among-strangers", &among_strangers);

    let first = image("before-forgeries");
    lab.signer.sign(&lab.registry, "before-forgeries", &first);
    content.attach_junk("before-forgeries", &first.descriptor(), 10_000);

    let last = image("after-forgeries");
    content.attach_junk("after-forgeries", &last.descriptor(), 10_000);
    lab.signer.sign(&lab.registry, "after-forgeries", &last);

    let none = image("only-strangers");
    attach_strangers(&lab.registry, "only-strangers", &none);

    let before = lab.assayd.memory().unwrap().resident;
    for (repository, image, expected) in [
        ("among-strangers", &among_strangers, ""),
        ("before-forgeries", &first, ""),
        ("after-forgeries", &last, "limit-exceeded"),
        ("only-strangers", &none, "limit-exceeded"),
    ] {
        let answer = lab.ask(&Question::about(&lab.registry, repository, image)).await;
        println!("{repository}: {} ({:?})", answer.line.trim_end(), answer.took);
        match expected {
            "" => answer.is_admitted(),
            code => answer.is_denied(code),
        }
    }
    let memory = lab.assayd.memory().unwrap();
    println!(
        "memory: {before} before, {} after, {} at most",
        memory.resident, memory.peak
    );
    assert!(memory.peak < BOUND, "{memory:?}");
}

// The disk.

/// Mounts a small file system in memory for a daemon's state. Dropping it unmounts.
struct Disk {
    folder: tempfile::TempDir,
}

impl Disk {
    fn of(size: &str) -> Self {
        let disk = Self {
            folder: tempfile::tempdir().unwrap(),
        };
        let options = format!("size={size},mode=0700");
        mount(
            Some("tmpfs"),
            disk.path(),
            Some("tmpfs"),
            MsFlags::empty(),
            Some(options.as_str()),
        )
        .expect("these tests run as root");
        disk
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Takes all the room that is left.
    fn fill(&self) {
        let filler = fs::File::create(self.path().join("filler")).unwrap();
        let mut filler = std::io::BufWriter::with_capacity(4096, filler);
        while std::io::Write::write_all(&mut filler, &[0; 4096]).is_ok() {}
        // What the buffer still holds finds no room either.
        drop(filler.into_parts());
    }

    fn make_room(&self) {
        fs::remove_file(self.path().join("filler")).unwrap();
    }

    fn remount(&self, flags: MsFlags) {
        mount(
            None::<&str>,
            self.path(),
            None::<&str>,
            MsFlags::MS_REMOUNT | flags,
            None::<&str>,
        )
        .unwrap();
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        // Lazily: a daemon that a failed test leaves behind still has files open.
        let _: nix::Result<()> = umount2(self.path(), MntFlags::MNT_DETACH);
    }
}

fn with_state_on(disk: &Disk) -> impl FnOnce(assayd::Builder) -> assayd::Builder {
    let path = disk.path().to_string_lossy().into_owned();
    |builder| builder.setting("state_directory", path)
}

/// Restarts the daemon while the registry is away, and sees which images it still admits.
async fn admits_without_the_registry(lab: &mut Lab, questions: &[Question]) -> Vec<bool> {
    lab.registry.stop().await;
    lab.assayd.stop().await.unwrap();
    lab.assayd.start().await.unwrap();
    let mut admitted = vec![];
    for question in questions {
        let answer = question.grpc(channel(&lab.assayd)).await;
        match answer.verdict() {
            Verdict::Admit => assert_eq!(answer.cache(), CacheState::Evidence, "{answer:?}"),
            _ => assert_eq!(answer.code, "registry-unavailable", "{answer:?}"),
        }
        admitted.push(answer.verdict() == Verdict::Admit);
    }
    lab.registry.restart().await.unwrap();
    admitted
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_admitted_once_needs_no_registry_after_a_restart_and_no_distrusted_signer_is_admitted_from_it() {
    let mut lab = Lab::start().await;
    let (good, bad) = (lab.signed("app"), lab.unsigned("unsigned"));
    lab.ask(&good).await.is_admitted();
    lab.ask(&bad).await.is_denied("unsigned");
    let mark = lab.registry.log().mark();
    assert_eq!(
        admits_without_the_registry(&mut lab, &[good.clone(), bad]).await,
        [true, false]
    );
    assert!(lab.assayd.log().contains("cache=evidence"), "{}", lab.assayd.log());
    assert!(lab.registry.log().requests_since(mark).is_empty());

    // The stored signature no longer suffices. Whether the registry has a better one is not known while it is away.
    lab.registry.stop().await;
    lab.assayd
        .write_policy(&policy(&[&lab.registry], "somebody-else"))
        .unwrap();
    lab.assayd.assayctl(&["reload"]).await.unwrap().successful().unwrap();
    lab.ask(&good).await.is_denied("registry-unavailable");
    lab.registry.restart().await.unwrap();
    let started = Instant::now();
    while !lab.ask(&good).await.line.starts_with("DENY identity-mismatch: ") {
        assert!(started.elapsed() < RECOVERY);
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    lab.assayd.write_policy(&policy(&[&lab.registry], "release")).unwrap();
    lab.assayd.assayctl(&["reload"]).await.unwrap().successful().unwrap();
    lab.ask(&good).await.is_admitted();
}

/// What happens to the bytes of a file while nobody looks.
#[derive(Clone, Copy, Debug)]
enum Damage {
    /// One bit in every so many bytes flips.
    BitFlips { every: usize },
    /// The second half is gone.
    HalfOfIt,
    /// Everything is gone, and the file is still there.
    Emptied,
    /// The file is gone.
    Removed,
    /// Other bytes take the place of all.
    Garbage,
    /// A folder takes the file's place.
    Folder,
}

impl Damage {
    const ALL: [Self; 7] = [
        Self::BitFlips { every: 64 },
        Self::BitFlips { every: 10_007 },
        Self::HalfOfIt,
        Self::Emptied,
        Self::Removed,
        Self::Garbage,
        Self::Folder,
    ];

    fn strike(self, file: &Path) {
        let mut bytes = fs::read(file).unwrap();
        match self {
            Self::BitFlips { every } => bytes.iter_mut().step_by(every).for_each(|byte| *byte ^= 0x10),
            Self::HalfOfIt => bytes.truncate(bytes.len() / 2),
            Self::Emptied => bytes.clear(),
            Self::Garbage => bytes
                .iter_mut()
                .enumerate()
                .for_each(|(at, byte)| *byte = (at * 167 % 251) as u8 ^ 0xa5),
            Self::Removed | Self::Folder => {
                fs::remove_file(file).unwrap();
                if matches!(self, Self::Folder) {
                    fs::create_dir(file).unwrap();
                }
                return;
            }
        }
        fs::write(file, bytes).unwrap();
    }
}

/// All regular files below a folder.
fn files_below(folder: &Path) -> Vec<PathBuf> {
    let mut files = vec![];
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(files_below(&path));
        } else {
            files.push(path);
        }
    }
    files
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_damaged_on_disk_changes_no_verdict_and_is_moved_aside() {
    let damages = Damage::ALL
        .into_iter()
        .flat_map(|damage| [(damage, "db"), (damage, "conf")]);
    let mut aside = 0;
    for outcomes in damages.collect::<Vec<_>>().chunks(4) {
        let outcomes = outcomes.iter().map(|(damage, file)| survive(*damage, file));
        aside += join_all(outcomes).await.into_iter().sum::<u64>();
    }
    assert!(aside > 3, "only {aside} of the damages were found to be any");
}

/// Damages a store, and returns how many stores were moved aside.
async fn survive(damage: Damage, file: &str) -> u64 {
    let mut lab = Lab::start().await;
    let good: Vec<_> = (0..5).map(|number| lab.signed(&format!("app{number}"))).collect();
    let bad = lab.unsigned("unsigned");
    for question in &good {
        lab.ask(question).await.is_admitted();
    }
    lab.assayd.stop().await.unwrap();
    let state = lab.assayd.state_directory();
    let struck: Vec<_> = files_below(&state.join("evidence"))
        .into_iter()
        .filter(|path| path.file_name().is_some_and(|name| name == file))
        .collect();
    assert_eq!(struck.len(), 1, "sled has no file {file}");
    for path in &struck {
        damage.strike(path);
    }

    lab.assayd.start().await.unwrap();
    for question in &good {
        lab.ask(question).await.is_admitted();
    }
    lab.ask(&bad).await.is_denied("unsigned");
    let stats = cache_stats(&lab.assayd).await;
    let moved = stats["damaged_stores"].as_u64().unwrap();
    let said = lab.assayd.assayctl(&["cache", "stats"]).await.unwrap().stdout;
    println!("{damage:?} of {file}: {stats}");
    let folders = fs::read_dir(&state).unwrap().flatten();
    let names: Vec<_> = folders
        .map(|entry| entry.file_name().to_string_lossy().into_owned())
        .collect();
    assert_eq!(
        moved > 0,
        names.iter().any(|name| name.starts_with("evidence.damaged-")),
        "{names:?}"
    );
    assert_eq!(
        moved > 0,
        said.contains(&format!("{moved} whole stores moved aside")),
        "{said}"
    );
    assert_eq!(stats["degraded"], json!(false), "{stats}");

    // It is a good store again.
    assert_eq!(
        admits_without_the_registry(&mut lab, &good).await,
        [true; 5],
        "{damage:?} of {file}"
    );
    moved
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_without_room_for_a_store_costs_only_requests_until_there_is_room() {
    let disk = Disk::of("8m");
    disk.fill();
    let mut lab = Lab::start_with(with_state_on(&disk)).await;
    let (good, bad) = (lab.signed("app"), lab.unsigned("unsigned"));
    lab.ask(&good).await.is_admitted();
    lab.ask(&bad).await.is_denied("unsigned");
    let stats = cache_stats(&lab.assayd).await;
    assert_eq!(
        (&stats["degraded"], &stats["damaged_stores"]),
        (&json!(true), &json!(0)),
        "{stats}"
    );
    assert_eq!(
        admits_without_the_registry(&mut lab, std::slice::from_ref(&good)).await,
        [false]
    );

    disk.make_room();
    lab.assayd.stop().await.unwrap();
    lab.assayd.start().await.unwrap();
    lab.ask(&good).await.is_admitted();
    assert_eq!(admits_without_the_registry(&mut lab, &[good]).await, [true]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disk_that_fills_up_loses_nothing_that_was_stored_before() {
    let disk = Disk::of("8m");
    let mut lab = Lab::start_with(with_state_on(&disk)).await;
    let (before, bad) = (lab.signed("before"), lab.unsigned("unsigned"));
    lab.ask(&before).await.is_admitted();
    disk.fill();
    // More than sled's file has room for.
    let later: Vec<_> = (0..200).map(|number| lab.signed(&format!("later{number}"))).collect();
    let asked = later.iter().map(|question| question.grpc(channel(&lab.assayd)));
    for answer in join_all(asked).await {
        assert_eq!(answer.verdict(), Verdict::Admit, "{answer:?}");
    }
    lab.ask(&bad).await.is_denied("unsigned");
    let stats = cache_stats(&lab.assayd).await;
    println!("full: {stats}");
    assert_eq!(
        (&stats["degraded"], &stats["damaged_stores"]),
        (&json!(true), &json!(0)),
        "{stats}"
    );

    // Without a restart: the store is tried again by itself once there is room.
    disk.make_room();
    let last = lab.signed("last");
    let started = Instant::now();
    let mut number = 0;
    while cache_stats(&lab.assayd).await["degraded"] == json!(true) {
        assert!(started.elapsed() < RECOVERY, "{}", cache_stats(&lab.assayd).await);
        lab.ask(&lab.signed(&format!("again{number}"))).await.is_admitted();
        number += 1;
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
    lab.ask(&last).await.is_admitted();
    assert_eq!(
        admits_without_the_registry(&mut lab, &[before, last]).await,
        [true, true]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_read_only_disk_costs_only_requests() {
    let disk = Disk::of("8m");
    let mut lab = Lab::start_with(with_state_on(&disk)).await;
    let (good, bad) = (lab.signed("app"), lab.unsigned("unsigned"));
    lab.ask(&good).await.is_admitted();
    lab.assayd.stop().await.unwrap();
    disk.remount(MsFlags::MS_RDONLY);
    lab.assayd.start().await.unwrap();
    lab.ask(&good).await.is_admitted();
    lab.ask(&bad).await.is_denied("unsigned");
    let stats = cache_stats(&lab.assayd).await;
    assert_eq!(
        (&stats["degraded"], &stats["damaged_stores"]),
        (&json!(true), &json!(0)),
        "{stats}"
    );

    lab.assayd.stop().await.unwrap();
    disk.remount(MsFlags::empty());
    lab.assayd.start().await.unwrap();
    assert_eq!(
        admits_without_the_registry(&mut lab, &[good]).await,
        [true],
        "what was stored is still there"
    );
}
