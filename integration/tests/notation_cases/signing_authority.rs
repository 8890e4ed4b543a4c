//! Signatures of the shape that AWS Signer writes: by a signing authority, with short-lived certificates, critical
//! attributes of its own, and a plugin to judge them. The trust policy lists nothing but ARNs.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, SystemTime};

use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::envelope::{EnvelopeSigner, JWS};
use assay_integration::notation::Statement;
use assay_integration::{Assayd, Containerd, Finished, Image, Notation, Peers, Registry};
use assay_verify::limits::MAX_CONCURRENT_PLUGINS;
use futures_util::future::join_all;
use serde_json::json;

use crate::lab::{hook, policy};
use crate::plugin::Program;

const PLUGIN: &str = "com.amazonaws.signer.notation.plugin";
/// What the signature asks for, as AWS Signer's do.
const MINIMUM: &str = "1.0.292";
const INSTALLED: &str = "1.0.350";
const STORE: &str = "aws-signer-ts";

const PROFILE: &str = "arn:aws:signer:us-west-2:111122223333:/signing-profiles/release";
const OTHER_PROFILE: &str = "arn:aws:signer:us-west-2:444455556666:/signing-profiles/release";
const PROFILE_VERSION: &str = "arn:aws:signer:us-west-2:111122223333:/signing-profiles/release/0aBcD1eFgH";
const JOB: &str = "arn:aws:signer:us-west-2:111122223333:/signing-jobs/97af8947-1dd8-4b1f-8b0a-2b8e5f6b5e3c";

const PROFILE_VERSION_ATTRIBUTE: &str = "com.amazonaws.signer.signingProfileVersion";
const JOB_ATTRIBUTE: &str = "com.amazonaws.signer.signingJob";

const HOUR: Duration = Duration::from_secs(3600);

/// The service: its certificate was valid for one hour, three days ago.
struct SigningService {
    root: Authority,
    leaf: SigningIdentity,
    valid_from: SystemTime,
}

impl SigningService {
    fn new() -> Self {
        let valid_from = SystemTime::now() - 72 * HOUR;
        let at = |name: &str, hours: u32| Profile {
            not_before: valid_from,
            not_after: valid_from + hours * HOUR,
            ..Profile::named(name)
        };
        let root = Authority::root(&at("Signing Service Root", 24 * 365)).expect("a root");
        let leaf = root.issue(&at("Signing Service", 1)).expect("a certificate");
        Self { root, leaf, valid_from }
    }

    /// A signature, which the service says to have made so long after its certificate began.
    fn sign(&self, image: &Image, after: Duration) -> (Vec<u8>, String) {
        let made = jiff::Timestamp::try_from(self.valid_from + after).expect("a time");
        let made = made.round(jiff::Unit::Second).expect("a time").to_string();
        let header = json!({
            "alg": "ES256",
            "cty": "application/vnd.cncf.notary.payload.v1+json",
            "crit": [
                "io.cncf.notary.signingScheme",
                "io.cncf.notary.authenticSigningTime",
                "io.cncf.notary.verificationPlugin",
                "io.cncf.notary.verificationPluginMinVersion",
                PROFILE_VERSION_ATTRIBUTE,
                JOB_ATTRIBUTE,
            ],
            "io.cncf.notary.signingScheme": "notary.x509.signingAuthority",
            "io.cncf.notary.authenticSigningTime": made,
            "io.cncf.notary.verificationPlugin": PLUGIN,
            "io.cncf.notary.verificationPluginMinVersion": MINIMUM,
            PROFILE_VERSION_ATTRIBUTE: PROFILE_VERSION,
            JOB_ATTRIBUTE: JOB,
        });
        let payload = json!({ "targetArtifact": image.descriptor() });
        let envelope = EnvelopeSigner::new(&self.leaf).and_then(|signer| signer.sign_claims(&header, &payload));
        (envelope.expect("an envelope"), made)
    }
}

/// A node that trusts the service, with an image that the service signed.
struct Node {
    service: SigningService,
    program: Program,
    registry: Registry,
    notation: Notation,
    /// What notation's plugin is told.
    config: BTreeMap<String, String>,
    assayd: Assayd,
    image: Image,
    made: String,
}

impl Node {
    /// With the plugin installed, which is told `settings`; or without it.
    async fn start(peers: &Peers, settings: Option<&[(&str, &str)]>) -> Self {
        Self::signed_after(peers, settings, HOUR / 2).await
    }

    async fn signed_after(peers: &Peers, settings: Option<&[(&str, &str)]>, after: Duration) -> Self {
        let service = SigningService::new();
        let registry = Registry::start().await.expect("a registry");
        let image = Image::tiny("signed by a service").expect("an image");
        image.store(registry.content(), "app", "v1");
        let (envelope, made) = service.sign(&image, after);
        registry
            .content()
            .attach_signature("app", &image.descriptor(), JWS, &envelope);

        let notation = Notation::new(peers).expect("notation");
        let root = service.root.certificate_pem();
        notation.trust("signingAuthority", STORE, &root).expect("a trust store");
        let statement = Statement::strict(&[&format!("signingAuthority:{STORE}")], &[PROFILE]);
        notation.write_policy(&statement.policy()).expect("a trust policy");

        let program = Program::named(PLUGIN);
        let mut builder = Assayd::builder()
            .policy(&policy(&notation.config(), false))
            .plain_http(&registry.host());
        let told = settings.unwrap_or_default().iter();
        let mut config: BTreeMap<_, _> = told
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        config
            .entry("version".to_owned())
            .or_insert_with(|| INSTALLED.to_owned());
        if settings.is_some() {
            program.install(&notation);
            let recording = config.clone().into_iter().chain([program.recording()]).collect();
            builder = builder.setting("plugin", program.table(&recording));
        }
        Self {
            assayd: builder.start().await.expect("assayd"),
            service,
            program,
            registry,
            notation,
            config,
            image,
            made,
        }
    }

    fn reference(&self) -> String {
        format!("{}:v1", self.registry.repository("app"))
    }

    async fn ask(&self) -> Finished {
        self.ask_about("app", self.image.clone()).await
    }

    async fn ask_about(&self, repository: &str, image: Image) -> Finished {
        let reference = format!("{}:v1", self.registry.repository(repository));
        hook(&self.assayd, &reference, &image.descriptor()).await
    }

    /// Has the policy trust another signer too, who asks for no plugin.
    async fn trust_release_too(&self) -> EnvelopeSigner {
        let release = Profile::named("release");
        let signer = SigningIdentity::self_signed(&release).expect("a signer");
        let anchor = &signer.anchor_pem;
        self.notation.trust("ca", "corp", anchor).expect("a trust store");
        let (service, identity) = (format!("signingAuthority:{STORE}"), release.trusted_identity());
        let statement = Statement::strict(&[&service, "ca:corp"], &[PROFILE, &identity]);
        self.notation.write_policy(&statement.policy()).expect("a trust policy");
        self.reload().await;
        EnvelopeSigner::new(&signer).expect("a signer")
    }

    async fn reload(&self) {
        let reloaded = self.assayd.assayctl(&["reload"]).await.expect("assayctl");
        reloaded.successful().expect("a good policy");
    }

    async fn ask_notation(&self) -> Finished {
        let config = self.config.iter();
        let arguments: Vec<_> = config
            .map(|(key, value)| format!("--plugin-config={key}={value}"))
            .collect();
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        let reference = format!("{}@{}", self.registry.repository("app"), self.image.digest());
        self.notation
            .verify_with(&reference, &arguments)
            .await
            .expect("notation")
    }

    /// How often the daemon ran the plugin: for its metadata, and for a verdict.
    fn runs(&self) -> (usize, usize) {
        let count = |command| self.program.runs(command).len();
        (count("get-plugin-metadata"), count("verify-signature"))
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn containerd_pulls_what_a_signing_service_signed_and_its_plugin_recognises() {
    let peers = Peers::fetch().expect("the peers");
    let node = Node::start(&peers, Some(&[("trusted", PROFILE)])).await;
    let containerd = Containerd::builder(&peers).hook(&node.assayd).expect("the hook");
    let containerd = containerd
        .plain_http(&node.registry.host())
        .start()
        .await
        .expect("containerd");
    let reference = node.reference();
    for _ in 0..2 {
        containerd.pull_cri(&reference).await.expect("an admit");
        assert!(containerd.has(&reference).await.expect("an answer"));
        containerd.remove(&reference).await.expect("a removal");
    }
    assert_eq!(node.runs(), (1, 1), "a known verdict needs no plugin");
    node.ask_notation().await.successful().expect("notation accepts it too");

    let request = &node.program.runs("verify-signature")[0]["request"];
    assert_eq!(request["trustPolicy"]["trustedIdentities"], json!([PROFILE]));
    assert_eq!(
        request["trustPolicy"]["signatureVerification"],
        json!([
            "SIGNATURE_VERIFIER.TRUSTED_IDENTITY",
            "SIGNATURE_VERIFIER.REVOCATION_CHECK"
        ])
    );
    let signature = &request["signature"];
    let expected = json!({
        "contentType": "application/vnd.cncf.notary.payload.v1+json",
        "signingScheme": "notary.x509.signingAuthority",
        "authenticSigningTime": node.made,
        "verificationPlugin": PLUGIN,
        "verificationPluginMinVersion": MINIMUM,
        "extendedAttributes": { PROFILE_VERSION_ATTRIBUTE: PROFILE_VERSION, JOB_ATTRIBUTE: JOB },
    });
    assert_eq!(signature["criticalAttributes"], expected);
    let mut unprocessed: Vec<_> = signature["unprocessedAttributes"]
        .as_array()
        .expect("a list")
        .iter()
        .collect();
    unprocessed.sort_by_key(|name| name.as_str());
    assert_eq!(unprocessed, [JOB_ATTRIBUTE, PROFILE_VERSION_ATTRIBUTE]);
    let chain = signature["certificateChain"].as_array().map(Vec::len);
    assert_eq!(chain, Some(2));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_plugin_runs_once_for_all_who_ask_until_its_word_is_forgotten() {
    let peers = Peers::fetch().expect("the peers");
    let mut node = Node::start(&peers, Some(&[])).await;
    let answers = join_all((0..8).map(|_| node.ask())).await;
    for answer in answers {
        assert!(answer.success, "{}", answer.stdout);
    }
    assert_eq!(node.runs(), (1, 1));
    // What is forgotten is asked again; what the program is was not forgotten.
    let cleared = node.assayd.assayctl(&["cache", "clear"]).await.expect("assayctl");
    cleared.successful().expect("a clear cache");
    assert!(node.ask().await.success);
    assert_eq!(node.runs(), (1, 2));
    // Nothing that a plugin says is on disk: what is stored of the image needs its word again, and no registry.
    node.assayd.stop().await.expect("the end");
    node.assayd.start().await.expect("assayd");
    let mark = node.registry.log().mark();
    assert!(node.ask().await.success);
    assert_eq!(node.runs(), (2, 3));
    assert!(node.registry.log().requests_since(mark).is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_good_signature_suffices_beside_one_whose_plugin_hangs() {
    let peers = Peers::fetch().expect("the peers");
    let node = Node::start(&peers, Some(&[("misbehave", "sleep")])).await;
    let signer = node.trust_release_too().await;
    let envelope = signer
        .sign(&node.image.descriptor(), SystemTime::now())
        .expect("an envelope");
    let content = node.registry.content();
    content.attach_signature("app", &node.image.descriptor(), JWS, &envelope);
    let answer = node.ask().await;
    assert!(
        answer.success && answer.stdout.contains("CN=release"),
        "{}",
        answer.stdout
    );
}

/// The plugin's slots are all taken for images of one signer, and an image of another signer needs none.
#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_hangs_holds_up_no_other_image() {
    let peers = Peers::fetch().expect("the peers");
    let node = Node::start(&peers, Some(&[("misbehave", "sleep")])).await;
    let signer = node.trust_release_too().await;
    let content = node.registry.content();
    let names: Vec<_> = (0..2 * MAX_CONCURRENT_PLUGINS)
        .map(|number| format!("hangs-{number}"))
        .collect();
    let push = |repository: &str| {
        let image = Image::tiny(repository).expect("an image");
        image.store(content, repository, "v1");
        image
    };
    let asked = names.iter().map(|repository| {
        let image = push(repository);
        let (envelope, _) = node.service.sign(&image, HOUR / 2);
        content.attach_signature(repository, &image.descriptor(), JWS, &envelope);
        node.ask_about(repository, image)
    });
    let other = async {
        // All slots are taken before this one asks.
        while node.program.runs("verify-signature").len() < MAX_CONCURRENT_PLUGINS {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let image = push("plain");
        let envelope = signer
            .sign(&image.descriptor(), SystemTime::now())
            .expect("an envelope");
        content.attach_signature("plain", &image.descriptor(), JWS, &envelope);
        node.ask_about("plain", image).await
    };
    let (hanging, other) = tokio::join!(join_all(asked), other);
    assert!(other.success, "{}", other.stdout);
    for answer in hanging {
        // Those who waited for a slot may have waited longer than the hook does.
        let undecided = ["plugin-unavailable", "limit-exceeded", "deadline"];
        let says = |code: &&str| answer.stdout.contains(&format!("DENY {code}: "));
        assert!(undecided.iter().any(says), "{}{}", answer.stdout, answer.stderr);
        assert!(
            answer.stdout.contains("decision "),
            "the hook gave up: {}",
            answer.stdout
        );
    }
}

/// A case of a denial: what the plugin is told, none where it is not installed; the code, and part of the reason.
type Denial = (
    Option<&'static [(&'static str, &'static str)]>,
    &'static str,
    &'static str,
);

#[tokio::test(flavor = "multi_thread")]
async fn denies_what_the_plugin_does_not_vouch_for_as_notation_does() {
    const DENIALS: [Denial; 10] = [
        (None, "plugin-unavailable", "it is not configured on this node"),
        (
            Some(&[("identity", "profile not trusted")]),
            "plugin-refused",
            "profile not trusted",
        ),
        (Some(&[("trusted", OTHER_PROFILE)]), "plugin-refused", OTHER_PROFILE),
        (
            Some(&[("revocation", "job was revoked")]),
            "plugin-refused",
            "job was revoked",
        ),
        (
            Some(&[("unprocessed", JOB_ATTRIBUTE)]),
            "plugin-unavailable",
            JOB_ATTRIBUTE,
        ),
        (
            Some(&[("version", "1.0.291")]),
            "plugin-unavailable",
            "but 1.0.291 is installed",
        ),
        // Then the policy's own names decide, and it has only ARNs.
        (
            Some(&[("capabilities", "revocation")]),
            "identity-mismatch",
            "no plugin judges the others",
        ),
        (Some(&[("capabilities", "sign")]), "plugin-unavailable", "no capability"),
        (Some(&[("misbehave", "denied")]), "plugin-unavailable", "ACCESS_DENIED"),
        (Some(&[("misbehave", "abort")]), "plugin-unavailable", "signal: 6"),
    ];
    let peers = Peers::fetch().expect("the peers");
    for (settings, code, words) in DENIALS {
        let node = Node::start(&peers, settings).await;
        let answer = node.ask().await;
        assert!(!answer.success, "{settings:?}: {}", answer.stdout);
        assert!(
            answer.stdout.contains(&format!("DENY {code}: ")),
            "{settings:?}: {}",
            answer.stdout
        );
        assert!(answer.stdout.contains(words), "{settings:?}: {}", answer.stdout);
        let notation = node.ask_notation().await;
        assert!(!notation.success, "{settings:?}: {}", notation.stdout);
    }
}

/// The same terms without a trustpolicy.json.
#[tokio::test(flavor = "multi_thread")]
async fn policy_toml_names_the_store_and_the_profiles_of_the_service_too() {
    let peers = Peers::fetch().expect("the peers");
    let node = Node::start(&peers, Some(&[("trusted", PROFILE)])).await;
    let store = format!("notation/truststore/x509/signingAuthority/{STORE}");
    let store = node.assayd.config_directory().join(store);
    std::fs::create_dir_all(&store).expect("a folder");
    std::fs::write(store.join("root.pem"), node.service.root.certificate_pem()).expect("a trust store");
    for (profile, expected) in [(OTHER_PROFILE, "DENY plugin-refused: "), (PROFILE, "ADMIT ")] {
        let policy = format!(
            r#"version = 1
unmatched = "deny"

[authority.signer]
type               = "notation"
trust_stores       = ["signingAuthority:{STORE}"]
trusted_identities = ["{profile}"]
level              = "strict"

[[rule]]
name    = "signed"
images  = ["**"]
require = {{ all = ["signer"] }}
"#
        );
        node.assayd.write_policy(&policy).expect("a policy");
        node.reload().await;
        let answer = node.ask().await;
        assert!(answer.stdout.starts_with(expected), "{profile}: {}", answer.stdout);
        let asked = node.program.runs("verify-signature").pop().expect("a run");
        assert_eq!(asked["request"]["trustPolicy"]["trustedIdentities"], json!([profile]));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_that_hangs_is_a_denial_before_the_hook_gives_up() {
    let peers = Peers::fetch().expect("the peers");
    let node = Node::start(&peers, Some(&[("misbehave", "sleep")])).await;
    let answer = node.ask().await;
    // The hook's own patience ends with another code.
    assert!(answer.stdout.contains("DENY plugin-unavailable: "), "{}", answer.stdout);
    assert!(answer.stdout.contains("did not end within"), "{}", answer.stdout);
    let process = node.program.runs("verify-signature")[0]["process"].clone();
    let process = format!("/proc/{process}");
    // It is killed before the answer, and gone when its supervisor has been told.
    for _ in 0..200 {
        if !Path::new(&process).exists() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("it still runs");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_signing_authority_cannot_sign_beyond_its_certificate() {
    let peers = Peers::fetch().expect("the peers");
    let node = Node::signed_after(&peers, Some(&[]), 2 * HOUR).await;
    let answer = node.ask().await;
    assert!(
        answer.stdout.contains("DENY certificate-expired: "),
        "{}",
        answer.stdout
    );
    assert!(!node.ask_notation().await.success);
}
