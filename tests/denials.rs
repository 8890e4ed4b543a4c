//! What is decided before evidence, and what becomes of verdicts when it changes: deny-lists, exceptions, the clock and expired
//! trust, against a registry.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use assay_integration::registry::{Fault, OCI_EMPTY, OCI_MANIFEST, Registry, When};
use assay_verify::Timestamp;
use assay_verify::code::Code;
use assay_verify::descriptor::Descriptor;
use assay_verify::digest::Digest;
use assay_verify::sigstore::dsse::{IN_TOTO, pre_authentication_encoding};
use assay_verify::sigstore::statement::COSIGN_SIGNATURE;
use assayd::admission::answers::{RevocationAnswers, World};
use assayd::admission::respondents::Respondents;
use assayd::admission::{Admission, CacheState, Decision, Ground, Hook, Outcome, Question, Withdrawn};
use assayd::cache::answers::{AnswerOptions, AnswerStore};
use assayd::cache::evidence::{EvidenceOptions, EvidenceStore};
use assayd::fetch::revocation::{self, AnswerMemory};
use assayd::fetch::{Client, FetchConfig, ProcessMemory, RegistryConfig};
use assayd::hooks::metrics::Metrics;
use assayd::plugin::Plugins;
use assayd::sync::{Followed, Signed, Status, Versions, WhenExpired};
use assayd::trust::TrustState;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::join_all;
use http::StatusCode;
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};
use tempfile::TempDir;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

fn now() -> Timestamp {
    at("2026-11-18T12:00:00Z")
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A daemon without its sockets, whose policy asks for a signature by `one` or by `other`, and a registry.
struct Lab {
    registry: Registry,
    keys: BTreeMap<&'static str, KeyPair>,
    admission: Admission,
    folder: TempDir,
}

impl Lab {
    async fn new() -> Self {
        Self::with("", Status::new(None, Timestamp::UNIX_EPOCH)).await
    }

    /// With more lines in the rule, and a standing.
    async fn with(lines: &str, sync: Status) -> Self {
        let registry = Registry::start().await.unwrap();
        let folder = TempDir::new().unwrap();
        let keys: BTreeMap<_, _> = ["one", "other"].map(|name| (name, KeyPair::generate().unwrap())).into();
        let mut policy = "version = 1\nunmatched = \"deny\"\n".to_owned();
        for (name, key) in &keys {
            write(
                folder.path(),
                &format!("{name}.pub"),
                &pem(&key.subject_public_key_info()),
            );
            policy += &format!("[authority.{name}]\ntype = \"cosign\"\nkeys = [\"{name}.pub\"]\n");
        }
        let host = registry.host();
        policy += &format!(
            "[[rule]]\nname = \"never\"\nimages = [\"{host}/never\"]\ndeny = \"withdrawn\"\n\
             [[rule]]\nname = \"signed\"\nimages = [\"{host}/**\"]\nrequire = {{ any = [\"one\", \"other\"] }}\n{lines}\n"
        );
        write(folder.path(), "policy.toml", &policy);
        let trust = TrustState::new(folder.path().join("policy.toml"), nix::unistd::geteuid().as_raw());
        trust.reload(now()).unwrap();
        let config = RegistryConfig {
            plain_http: true,
            ..RegistryConfig::default()
        };
        let fetch = FetchConfig {
            registries: [(host, config)].into(),
            ..FetchConfig::default()
        };
        let memory = AnswerMemory::default();
        let respondents = Respondents {
            revocation: RevocationAnswers::new(World {
                endpoints: Arc::new(revocation::Client::new(Default::default(), memory.clone())),
                memory,
                store: AnswerStore::open(AnswerOptions::new(folder.path())),
                clock: now,
                random: || 0.5,
                changed: Box::new(|_| ()),
            }),
            plugins: Arc::new(Plugins::new(BTreeMap::new())),
        };
        let admission = Admission::new(
            Arc::new(trust),
            Client::new(fetch, ProcessMemory::default()).unwrap(),
            EvidenceStore::open(EvidenceOptions::new(folder.path())).unwrap(),
            respondents,
            now,
            sync,
        );
        tokio::spawn({
            let admission = admission.clone();
            async move { admission.judge_again().await }
        });
        Self {
            registry,
            keys,
            admission,
            folder,
        }
    }

    /// Puts an image into the repository `app`, signed by these.
    fn image(&self, text: &str, signers: &[&str]) -> Question {
        let content = self.registry.content();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": content.put_blob("app", "{}"), "size": 2 },
            "layers": [],
            "annotations": { "text": text },
        })
        .to_string();
        let digest = content.put_manifest("app", OCI_MANIFEST, manifest.clone());
        let image = json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": manifest.len() });
        for signer in signers {
            self.sign(&image, signer);
        }
        self.question("app", &image)
    }

    fn question(&self, repository: &str, image: &Value) -> Question {
        Question {
            repository: self.registry.repository(repository).parse().unwrap(),
            descriptor: Descriptor::from_json(image.to_string().as_bytes()).unwrap(),
            hook: Hook::ContainerdImageVerifier,
        }
    }

    fn sign(&self, image: &Value, signer: &str) {
        let digest = image["digest"].as_str().unwrap().trim_start_matches("sha256:");
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "digest": { "sha256": digest } }],
            "predicateType": COSIGN_SIGNATURE,
            "predicate": {},
        })
        .to_string();
        let signature = self.keys[signer]
            .sign(&pre_authentication_encoding(IN_TOTO, statement.as_bytes()))
            .unwrap();
        let bundle = json!({
            "mediaType": BUNDLE,
            "verificationMaterial": { "publicKey": { "hint": signer } },
            "dsseEnvelope": {
                "payload": STANDARD.encode(statement),
                "payloadType": IN_TOTO,
                "signatures": [{ "sig": STANDARD.encode(signature) }],
            },
        })
        .to_string();
        let content = self.registry.content();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": BUNDLE,
            "config": { "mediaType": OCI_EMPTY, "digest": content.put_blob("app", "{}"), "size": 2 },
            "layers": [{ "mediaType": BUNDLE, "digest": content.put_blob("app", bundle.clone()), "size": bundle.len() }],
            "subject": image,
        });
        content.put_manifest("app", OCI_MANIFEST, manifest.to_string());
    }

    async fn decide(&self, question: &Question) -> Decision {
        self.admission.decide(question).await
    }

    async fn admitted(&self, question: &Question) -> CacheState {
        let decision = self.decide(question).await;
        assert!(
            matches!(decision.verdict.outcome, Outcome::Admit(_)),
            "{}",
            decision.verdict.finding()
        );
        decision.cache
    }

    /// The code and the reason of a denial that is carried out.
    async fn denied(&self, question: &Question) -> (Code, String) {
        denial(&self.decide(question).await)
    }

    /// Puts entries on this node's own deny-list.
    fn deny(&self, entries: &[(&str, String)]) {
        let entry = |(kind, value): &(&str, String)| json!({ *kind: value, "reason": "leaked", "reference": "INC-4711", "at": "2026-11-18T11:00:00Z" });
        let list = json!({
            "version": 1,
            "issued": "2026-11-18T11:30:00Z",
            "entries": entries.iter().map(entry).collect::<Vec<_>>(),
        });
        write(self.folder.path(), "revocation/deny.json", &list.to_string());
        assert!(self.admission.reload("test"), "{:?}", self.admission.trust().rejected());
    }

    fn key_id(&self, signer: &str) -> String {
        Digest::sha256(&self.keys[signer].subject_public_key_info()).to_string()
    }

    /// Writes this node's exceptions.
    fn except(&self, scope: &str, expires: &str) {
        let text = format!(
            "version = 1\n[[exception]]\n{scope}\nowner = \"jane\"\nreason = \"the registry is down\"\nincident = \"INC-1\"\n\
             starts = \"2026-11-18T11:00:00Z\"\nexpires = \"{expires}\"\n"
        );
        write(self.folder.path(), "break-glass.toml", &text);
        self.admission.reload("test");
    }

    /// Waits until as many images as that were admitted and are no longer.
    async fn withdraws(&self, count: usize) {
        let found = || {
            let found = self.admission.withdrawn();
            found.denied + found.undecided
        };
        for _ in 0..100 {
            if found() == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert_eq!(found(), count);
    }

    fn metric(&self, line: &str) -> bool {
        let text = Metrics::new(self.admission.clone(), "/nonexistent/observe").render(now());
        text.lines().any(|one| one == line)
    }
}

fn denial(decision: &Decision) -> (Code, String) {
    match &decision.verdict.outcome {
        Outcome::Deny(denial) => (denial.code, denial.reason.clone()),
        other => panic!("not denied: {other:?}"),
    }
}

fn write(folder: &Path, name: &str, content: &str) {
    let path: PathBuf = folder.join(name);
    let parent = path.parent().unwrap();
    fs::create_dir_all(parent).unwrap();
    fs::write(&path, content).unwrap();
    // Whatever the umask of who runs the test.
    fs::set_permissions(parent, fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
}

fn pem(der: &[u8]) -> String {
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(der)
    )
}

/// A node that follows a repository whose metadata expired at this time.
fn followed(expires: &str, when_expired: WhenExpired) -> Status {
    let status = Status::new(
        Some(Followed {
            repository: "https://policy.example".to_owned(),
            channel: "stable".to_owned(),
            grace: Duration::from_secs(3600),
            when_expired,
        }),
        Timestamp::UNIX_EPOCH,
    );
    let signed = Signed {
        version: 1,
        expires: at(expires),
    };
    status.update(|known| {
        known.versions = Some(Versions {
            root: signed,
            timestamp: signed,
            snapshot: signed,
            targets: signed,
            revocations: None,
            exceptions: None,
        });
    });
    status
}

#[tokio::test]
async fn an_image_on_the_deny_list_is_denied_with_the_lists_own_words_whatever_vouches_for_it() {
    let lab = Lab::with("mode = \"audit\"", Status::new(None, Timestamp::UNIX_EPOCH)).await;
    let (image, other) = (lab.image("a", &["one", "other"]), lab.image("b", &["one"]));
    lab.admitted(&image).await;
    lab.deny(&[("image", image.descriptor.digest.to_string())]);
    let (code, reason) = lab.denied(&image).await;
    assert_eq!(code, Code::DeniedByList);
    assert!(reason.contains("leaked") && reason.contains("INC-4711"), "{reason}");
    lab.admitted(&other).await;
}

#[tokio::test]
async fn a_denial_ends_the_verdicts_that_it_touches_and_no_others() {
    let lab = Lab::new().await;
    let (touched, untouched) = (lab.image("a", &["one"]), lab.image("b", &["other"]));
    for image in [&touched, &untouched] {
        assert_eq!(lab.admitted(image).await, CacheState::Gathered);
        assert_eq!(lab.admitted(image).await, CacheState::Verdict);
    }
    lab.deny(&[("key", lab.key_id("one"))]);
    let (code, reason) = lab.denied(&touched).await;
    assert_eq!(code, Code::DeniedByList, "{reason}");
    assert!(reason.contains("INC-4711"), "{reason}");
    assert_eq!(lab.admitted(&untouched).await, CacheState::Verdict);
    // What is taken off the list passes again: past the denial, which lasts a moment, and time stands still here.
    lab.deny(&[]);
    assert!(lab.admission.explain(&touched).await.verdict.outcome.admits());
}

#[tokio::test]
async fn a_denied_signature_does_not_stand_in_the_way_of_another_one() {
    let lab = Lab::new().await;
    let image = lab.image("a", &["one", "other"]);
    lab.deny(&[("key", lab.key_id("one"))]);
    lab.admitted(&image).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_that_lands_while_a_thousand_wait_on_one_flight_denies_all_of_them() {
    for by_key in [false, true] {
        let lab = Lab::new().await;
        let image = lab.image("a", &["one"]);
        lab.registry
            .misbehave(When::always(), Fault::Delay(Duration::from_millis(700)));
        let before = lab.admission.registries().requests().total();
        let waiting = join_all((0..1_000).map(|_| lab.decide(&image)));
        let denying = async {
            tokio::time::sleep(Duration::from_millis(300)).await;
            lab.deny(&[if by_key {
                ("key", lab.key_id("one"))
            } else {
                ("image", image.descriptor.digest.to_string())
            }]);
        };
        let (decisions, ()) = tokio::join!(waiting, denying);
        for decision in &decisions {
            assert_eq!(denial(decision).0, Code::DeniedByList, "{}", decision.verdict.finding());
        }
        assert!(lab.admission.registries().requests().total() - before < 20);
    }
}

#[tokio::test]
async fn what_was_admitted_and_is_denied_now_is_judged_from_what_is_stored_and_counted() {
    let lab = Lab::new().await;
    let images = ["a", "b", "c"].map(|text| lab.image(text, &["one"]));
    let kept = lab.image("d", &["other"]);
    for image in images.iter().chain([&kept]) {
        lab.admitted(image).await;
    }
    lab.registry
        .misbehave(When::always(), Fault::Status(StatusCode::SERVICE_UNAVAILABLE));
    let before = lab.admission.registries().requests().total();
    lab.deny(&[("key", lab.key_id("one"))]);
    let all = Withdrawn {
        denied: images.len(),
        undecided: 0,
    };
    for _ in 0..100 {
        if lab.admission.withdrawn() == all {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(lab.admission.withdrawn(), all);
    assert!(lab.metric("assayd_withdrawn_images{state=\"denied\"} 3"));
    assert_eq!(lab.admission.registries().requests().total(), before);
}

#[tokio::test]
async fn a_denied_signer_is_named_from_what_is_stored_also_while_the_registry_is_away() {
    let lab = Lab::new().await;
    let image = lab.image("a", &["one"]);
    lab.admitted(&image).await;
    let unseen = lab.image("b", &["one"]);
    lab.registry
        .misbehave(When::always(), Fault::Status(StatusCode::SERVICE_UNAVAILABLE));
    let before = lab.admission.registries().requests().total();
    lab.deny(&[("key", lab.key_id("one"))]);
    lab.withdraws(1).await;
    let decision = lab.decide(&image).await;
    assert_eq!(decision.cache, CacheState::Verdict);
    let (code, reason) = denial(&decision);
    assert!(
        code == Code::DeniedByList && reason.contains("INC-4711"),
        "{code}: {reason}"
    );
    assert_eq!(lab.admission.registries().requests().total(), before);
    // Past what is remembered, the registry is asked for another signature.
    let explained = lab.admission.explain(&image).await.verdict;
    let Outcome::Deny(denial) = explained.outcome else {
        panic!("{explained:?}")
    };
    assert_eq!(denial.code, Code::DeniedByList);
    assert!(
        denial.reason.contains("INC-4711") && denial.reason.contains("503"),
        "{}",
        denial.reason
    );
    assert_eq!(lab.denied(&unseen).await.0, Code::RegistryUnavailable);
}

#[tokio::test]
async fn what_is_admitted_again_is_no_longer_counted_as_withdrawn() {
    let lab = Lab::new().await;
    let image = lab.image("a", &["one"]);
    lab.admitted(&image).await;
    // The denial is taken back.
    lab.deny(&[("key", lab.key_id("one"))]);
    lab.withdraws(1).await;
    lab.deny(&[]);
    lab.withdraws(0).await;
    assert_eq!(lab.admitted(&image).await, CacheState::Verdict);
    // Another signer vouches for it.
    lab.deny(&[("key", lab.key_id("one"))]);
    lab.withdraws(1).await;
    let Descriptor {
        media_type,
        digest,
        size,
    } = &image.descriptor;
    let described = json!({ "mediaType": media_type.to_string(), "digest": digest.to_string(), "size": size });
    lab.sign(&described, "other");
    // A denial is remembered for seconds, and the clock of this test stands still.
    lab.admission.clear_cache().await.unwrap();
    lab.admitted(&image).await;
    lab.withdraws(0).await;
}

#[tokio::test]
async fn what_audit_mode_admits_is_not_withdrawn() {
    let lab = Lab::new().await;
    let image = lab.image("a", &["one"]);
    lab.admitted(&image).await;
    let path = lab.folder.path().join("policy.toml");
    let policy = fs::read_to_string(&path).unwrap();
    let narrower = policy.replace("any = [\"one\", \"other\"]", "any = [\"other\"]");
    for (policy, withdrawn) in [
        (narrower.clone(), 1),
        (narrower.replace("require =", "mode = \"audit\"\nrequire ="), 0),
        (policy, 0),
    ] {
        write(lab.folder.path(), "policy.toml", &policy);
        assert!(lab.admission.reload("test"));
        lab.withdraws(withdrawn).await;
        // What audit mode would deny it says by the registry's word, and not that nobody was asked.
        if let Outcome::Audited(denial) = &lab.decide(&image).await.verdict.outcome {
            assert_ne!(denial.code, Code::RegistryUnavailable, "{}", denial.reason);
        }
    }
}

#[tokio::test]
async fn a_new_policy_has_everything_judged_again_without_the_network() {
    let lab = Lab::new().await;
    let (first, other) = (lab.image("a", &["one"]), lab.image("b", &["other"]));
    lab.admitted(&first).await;
    lab.admitted(&other).await;
    lab.registry
        .misbehave(When::always(), Fault::Status(StatusCode::SERVICE_UNAVAILABLE));
    let path = lab.folder.path().join("policy.toml");
    let policy = fs::read_to_string(&path).unwrap();
    write(
        lab.folder.path(),
        "policy.toml",
        &policy.replace("any = [\"one\", \"other\"]", "any = [\"other\"]"),
    );
    assert!(lab.admission.reload("test"));
    // The registry may have a signature that suffices: it was not asked.
    let one = Withdrawn {
        denied: 0,
        undecided: 1,
    };
    for _ in 0..100 {
        if lab.admission.withdrawn() == one && lab.admission.cached_verdicts() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(lab.admission.withdrawn(), one);
    assert_eq!(lab.admitted(&other).await, CacheState::Verdict);
}

#[tokio::test]
async fn an_exception_admits_and_says_so_until_it_ends() {
    let lab = Lab::new().await;
    let image = lab.image("a", &[]);
    assert!(lab.metric("assayd_break_glass_active 0"));
    assert_eq!(lab.denied(&image).await.0, Code::Unsigned);
    let scope = format!("images = [\"{}/app\"]", lab.registry.host());
    lab.except(&scope, "2026-11-18T13:00:00Z");
    assert!(lab.metric("assayd_break_glass_active 1"));
    let decision = lab.decide(&image).await;
    assert!(matches!(decision.verdict.outcome, Outcome::Admit(Ground::Exception(_))));
    let finding = decision.verdict.finding();
    assert!(
        finding.contains("INC-1") && finding.contains("jane") && finding.contains("registry is down"),
        "{finding}"
    );
    lab.except(&scope, "2026-11-18T11:59:59Z");
    assert_eq!(lab.denied(&image).await.0, Code::Unsigned);
    assert!(lab.metric("assayd_break_glass_active 0"));
}

#[tokio::test]
async fn an_exception_overrides_neither_the_deny_list_nor_a_rules_deny() {
    let lab = Lab::new().await;
    let image = lab.image("a", &["one"]);
    lab.except(
        &format!("images = [\"{}/**\"]", lab.registry.host()),
        "2026-11-18T13:00:00Z",
    );
    lab.deny(&[("image", image.descriptor.digest.to_string())]);
    assert_eq!(lab.denied(&image).await.0, Code::DeniedByList);
    let never = lab.question(
        "never",
        &json!({ "mediaType": OCI_MANIFEST, "digest": Digest::sha256(b"x").to_string(), "size": 1 }),
    );
    assert_eq!(lab.denied(&never).await.0, Code::DeniedByRule);
}

#[tokio::test]
async fn exceptions_that_are_broken_do_not_count_and_stand_in_the_way_of_nothing() {
    let lab = Lab::new().await;
    let (signed, unsigned) = (lab.image("a", &["one"]), lab.image("b", &[]));
    for broken in [
        format!("images = [\"{}/**\"]\nowner2 = \"x\"", lab.registry.host()),
        "images = [\"**\"]".to_owned(),
    ] {
        lab.except(&broken, "2026-11-18T13:00:00Z");
        let snapshot = lab.admission.trust().current().unwrap();
        assert!(!snapshot.warnings.is_empty(), "{broken}");
        lab.admitted(&signed).await;
        assert_eq!(lab.denied(&unsigned).await.0, Code::Unsigned);
    }
    // More than a day.
    lab.except(
        &format!("images = [\"{}/**\"]", lab.registry.host()),
        "2026-11-19T11:00:01Z",
    );
    assert_eq!(lab.denied(&unsigned).await.0, Code::Unsigned);
}

#[tokio::test]
async fn a_broken_deny_list_keeps_the_last_good_one_in_force() {
    let lab = Lab::new().await;
    let image = lab.image("a", &["one"]);
    lab.deny(&[("image", image.descriptor.digest.to_string())]);
    write(
        lab.folder.path(),
        "revocation/deny.json",
        "{\"version\": 1, \"entries\": [}",
    );
    assert!(!lab.admission.reload("test"));
    assert_eq!(lab.denied(&image).await.0, Code::DeniedByList);
}

#[tokio::test]
async fn a_clock_that_is_behind_admits_nothing_and_the_deny_list_keeps_its_own_code() {
    let status = Status::new(None, at("2026-11-18T12:04:00Z"));
    let lab = Lab::with("", status.clone()).await;
    let (image, denied) = (lab.image("a", &["one"]), lab.image("b", &["one"]));
    // Within what clocks may differ by.
    lab.admitted(&image).await;
    status.trust_time(at("2026-11-18T12:06:00Z"));
    assert_eq!(lab.denied(&image).await.0, Code::ClockUnsynchronised);
    lab.except(
        &format!("images = [\"{}/**\"]", lab.registry.host()),
        "2026-11-18T13:00:00Z",
    );
    assert_eq!(lab.denied(&image).await.0, Code::ClockUnsynchronised);
    lab.deny(&[("image", denied.descriptor.digest.to_string())]);
    assert_eq!(lab.denied(&denied).await.0, Code::DeniedByList);
    status.trust_time(at("2026-11-18T12:00:00Z"));
    lab.admitted(&image).await;
}

#[tokio::test]
async fn stale_trust_is_judged_as_before_and_expired_trust_as_configured() {
    // Fresh, and stale within the hour of grace.
    for expires in ["2026-11-18T12:00:01Z", "2026-11-18T11:30:00Z"] {
        let lab = Lab::with("", followed(expires, WhenExpired::DenyNew)).await;
        lab.admitted(&lab.image("a", &["one"])).await;
    }
    let status = followed("2026-11-18T11:30:00Z", WhenExpired::DenyNew);
    let lab = Lab::with("", status.clone()).await;
    let image = lab.image("a", &["one"]);
    lab.admitted(&image).await;
    let expire = |known: &mut assayd::sync::Known| {
        if let Some(versions) = &mut known.versions {
            versions.timestamp.expires = at("2026-11-18T10:59:00Z");
        }
    };
    status.update(expire);
    assert_eq!(lab.denied(&image).await.0, Code::TrustStale);
    assert!(lab.metric("assayd_trust_standing{state=\"expired\"} 1"));

    let status = followed("2026-11-18T11:30:00Z", WhenExpired::CachedOnly);
    let lab = Lab::with("", status.clone()).await;
    let (seen, unseen) = (lab.image("a", &["one"]), lab.image("b", &["one"]));
    lab.admitted(&seen).await;
    status.update(expire);
    lab.registry
        .misbehave(When::always(), Fault::Status(StatusCode::SERVICE_UNAVAILABLE));
    lab.admitted(&seen).await;
    // Also after a restart, which forgets verdicts.
    lab.deny(&[("image", unseen.descriptor.digest.to_string())]);
    lab.deny(&[]);
    lab.admitted(&seen).await;
    let before = lab.admission.registries().requests().total();
    assert_eq!(lab.denied(&unseen).await.0, Code::TrustStale);
    assert_eq!(lab.admission.registries().requests().total(), before);
}

#[tokio::test]
async fn audit_mode_does_not_override_a_denied_signer() {
    let lab = Lab::with("mode = \"audit\"", Status::new(None, Timestamp::UNIX_EPOCH)).await;
    let (image, unsigned) = (lab.image("a", &["one"]), lab.image("b", &[]));
    lab.deny(&[("key", lab.key_id("one"))]);
    assert_eq!(lab.denied(&image).await.0, Code::DeniedByList);
    assert!(matches!(
        lab.decide(&unsigned).await.verdict.outcome,
        Outcome::Audited(_)
    ));
}

#[tokio::test]
async fn audit_mode_says_what_expired_trust_would_deny() {
    let lab = Lab::with(
        "mode = \"audit\"",
        followed("2026-11-18T10:00:00Z", WhenExpired::DenyNew),
    )
    .await;
    let decision = lab.decide(&lab.image("a", &["one"])).await;
    match &decision.verdict.outcome {
        Outcome::Audited(denial) => assert_eq!(denial.code, Code::TrustStale),
        other => panic!("{other:?}"),
    }
}
