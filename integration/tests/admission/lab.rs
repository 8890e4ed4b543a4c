//! One node with its registry and its signers, and what tests ask of it.

use std::path::PathBuf;

use assay_integration::assayd::Builder;
use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::notation::{Format, Sign};
use assay_integration::registry::{AccessLog, Kind, Mark, Request, Signature};
use assay_integration::{Assayd, Containerd, Finished, Image, Notation, Peers, Question, Registry};
use assay_proto::v1::{Verdict, VerifyResponse};
use serde_json::Value;

/// The trusted identity of the key `release`.
pub(crate) const RELEASE: &str = "x509.subject: C=US, ST=WA, O=Corp, CN=release";

/// The rule that most tests need.
pub(crate) const PRODUCTION: &str = r#"
[[rule]]
name    = "production"
images  = ["HOST/prod/**"]
require = { all = ["corp"] }
"#;

/// A policy that denies what no rule matches, with the authority `corp`: the key `release` under the root of
/// [`Signers`]. `HOST` in the rules stands for `host`.
pub(crate) fn policy(host: &str, rules: &str) -> String {
    let authority = format!(
        r#"version   = 1
unmatched = "deny"

[authority.corp]
type               = "notation"
trust_stores       = ["ca:corp"]
trusted_identities = ["{RELEASE}"]
level              = "strict"
"#
    );
    authority + &rules.replace("HOST", host)
}

/// notation with the keys `release` and `colleague` of one root, and `stranger` of none.
pub(crate) struct Signers {
    pub(crate) root: Authority,
    pub(crate) notation: Notation,
}

impl Signers {
    pub(crate) fn new(peers: &Peers) -> Self {
        let root = Authority::root(&Profile::named("Corp Root")).expect("a root");
        let notation = Notation::new(peers).expect("notation");
        let stranger = SigningIdentity::self_signed(&Profile::named("release")).expect("a stranger");
        let issue = |name: &str| root.issue(&Profile::named(name)).expect("a signer");
        for (name, identity) in [
            ("release", issue("release")),
            ("colleague", issue("colleague")),
            ("stranger", stranger),
        ] {
            notation.add_key(name, &identity).expect("a key");
        }
        Self { root, notation }
    }

    /// A daemon's configuration in which the trust store `ca:corp` holds the root.
    pub(crate) fn assayd(&self) -> Builder {
        let store = "notation/truststore/x509/ca/corp/root.pem";
        Assayd::builder().file(store, self.root.certificate_pem())
    }
}

/// A node with its registry and its signers.
pub(crate) struct Lab {
    pub(crate) peers: Peers,
    pub(crate) registry: Registry,
    pub(crate) signers: Signers,
    pub(crate) assayd: Assayd,
    pub(crate) containerd: Containerd,
}

impl Lab {
    /// A node whose policy has these rules ([`policy`]).
    pub(crate) async fn start(rules: &str) -> Self {
        Self::start_with(|host, daemon| daemon.policy(&policy(host, rules))).await
    }

    /// A node whose daemon is configured by `configure`, which is given the registry's host.
    pub(crate) async fn start_with(configure: impl FnOnce(&str, Builder) -> Builder) -> Self {
        let peers = Peers::fetch().expect("the peers");
        let registry = Registry::start().await.expect("a registry");
        let signers = Signers::new(&peers);
        let daemon = configure(&registry.host(), signers.assayd()).plain_http(&registry.host());
        let assayd = daemon.start().await.expect("assayd");
        let containerd = Containerd::builder(&peers).hook(&assayd).expect("the hook");
        let containerd = containerd
            .plain_http(&registry.host())
            .start()
            .await
            .expect("containerd");
        Self {
            peers,
            registry,
            signers,
            assayd,
            containerd,
        }
    }

    /// `HOST/NAME:v1`.
    pub(crate) fn reference(&self, repository: &str) -> String {
        format!("{}:v1", self.registry.repository(repository))
    }

    /// Puts an image of its own into `repository:v1`.
    pub(crate) fn push(&self, repository: &str) -> Image {
        let image = Image::tiny(repository).expect("an image");
        image.store(self.registry.content(), repository, "v1");
        image
    }

    /// Puts an image of its own into `repository:v1` and has notation sign it.
    pub(crate) async fn push_signed(&self, repository: &str, how: &Sign) -> Image {
        let image = self.push(repository);
        self.sign(repository, &image, how).await;
        image
    }

    /// Has notation sign an image of the repository.
    pub(crate) async fn sign(&self, repository: &str, image: &Image, how: &Sign) {
        let reference = format!("{}@{}", self.registry.repository(repository), image.digest());
        self.signers.notation.sign(&reference, how).await.expect("a signature");
    }

    /// A signature by notation, made in another repository and left there.
    pub(crate) async fn signature(&self, image: &Image, how: &Sign) -> Signature {
        let aside = "aside/signed";
        image.store(self.registry.content(), aside, "v1");
        self.sign(aside, image, how).await;
        let mut signatures = self.registry.content().signatures(aside, image.digest());
        signatures.pop().expect("the signature")
    }

    /// Attaches an envelope to an image of the repository.
    pub(crate) fn attach(&self, repository: &str, image: &Image, media_type: &str, envelope: &[u8]) {
        let content = self.registry.content();
        content.attach_signature(repository, &image.descriptor(), media_type, envelope);
    }

    /// Pulls `repository:v1` as the kubelet does and expects an admit.
    pub(crate) async fn admitted(&self, repository: &str) {
        let (mark, reference) = (self.registry.log().mark(), self.reference(repository));
        let pulled = self.containerd.pull_cri(&reference).await;
        pulled.unwrap_or_else(|refusal| panic!("{repository}: {refusal}\n{}", self.assayd.log()));
        assert!(!layers_since(self.registry.log(), mark).is_empty(), "{repository}");
        assert!(
            self.containerd.has(&reference).await.expect("an answer"),
            "{repository}"
        );
    }

    /// Pulls `repository:v1` as the kubelet does, expects a denial with this code that nothing was fetched for, that a
    /// person can act on and that the log holds once, and returns the event's text.
    pub(crate) async fn denied(&self, repository: &str, code: &str) -> String {
        let (mark, reference) = (self.registry.log().mark(), self.reference(repository));
        let refusal = self.containerd.pull_cri(&reference).await;
        let event = refusal.expect_err(repository).to_string();
        assert_denial(&event, code, &self.assayd.log());
        assert!(layers_since(self.registry.log(), mark).is_empty(), "{repository}");
        let requests = self.registry.log().requests_since(mark);
        assert!(
            requests.iter().any(|request| request.kind == Kind::Manifest),
            "{repository} was not even resolved"
        );
        assert!(
            !self.containerd.has(&reference).await.expect("an answer"),
            "{repository}"
        );
        event
    }

    /// The requests that assayd made since `mark`.
    pub(crate) fn requests_by_assayd(&self, mark: Mark) -> Vec<Request> {
        let mut requests = self.registry.log().requests_since(mark);
        let by_assayd = |agent: Option<&str>| agent.is_some_and(|agent| agent.starts_with("assayd/"));
        requests.retain(|request| by_assayd(request.user_agent.as_deref()));
        requests
    }

    /// Asks the daemon as the hook does.
    pub(crate) async fn verify(&self, name: &str, descriptor: &Value) -> VerifyResponse {
        verify(&self.assayd, name, descriptor).await
    }
}

/// The requests for layers since `mark`: GET only, because a HEAD moves no content.
pub(crate) fn layers_since(log: &AccessLog, mark: Mark) -> Vec<Request> {
    let mut requests = log.requests_since(mark);
    requests.retain(|request| request.kind == Kind::Layer && request.method == "GET");
    requests
}

/// An event tells the code, a reason in words and the decision, and the daemon's log has that decision once.
pub(crate) fn assert_denial(event: &str, code: &str, log: &str) {
    assert!(event.contains("image verifier bindir blocked pull"), "{event}");
    let said = event.split(&format!("DENY {code}: ")).nth(1);
    let said = said.unwrap_or_else(|| panic!("no DENY {code} in: {event}\n{log}"));
    let reason = said.split(" (").next().unwrap_or_default();
    assert!(reason.split(' ').count() >= 3, "no reason in words: {event}");
    let decision = said.split("decision ").nth(1).and_then(|rest| rest.get(..36));
    let decision = decision.unwrap_or_else(|| panic!("no decision in: {event}"));
    let logged: Vec<_> = log.lines().filter(|line| line.contains(decision)).collect();
    let [line] = logged.as_slice() else {
        panic!("decision {decision} is logged {} times:\n{log}", logged.len())
    };
    assert!(
        line.starts_with("warning: deny ") && line.contains(&format!("code={code} ")),
        "{line}"
    );
}

/// Asks the daemon as the hook does.
pub(crate) async fn verify(assayd: &Assayd, name: &str, descriptor: &Value) -> VerifyResponse {
    let channel = assayd.channel().expect("a socket");
    Question::new(name, descriptor.clone())
        .grpc(channel)
        .await
        .expect("a verdict")
}

/// Whether an answer is the explicit admit.
pub(crate) fn admits(answer: &VerifyResponse) -> bool {
    answer.verdict() == Verdict::Admit
}

/// Runs the hook as containerd does.
pub(crate) async fn run_hook(assayd: &Assayd, name: &str, descriptor: &Value) -> Finished {
    Question::new(name, descriptor.clone())
        .hook(assayd)
        .await
        .expect("the hook")
}

/// The envelope with one byte of its signature changed.
pub(crate) fn with_one_byte_changed(format: Format, envelope: &[u8]) -> Vec<u8> {
    let mut changed = envelope.to_vec();
    let place = match format {
        // Twenty characters into the value: the last one may carry unused bits.
        Format::Jws => {
            let name = br#""signature":""#;
            let start = changed.windows(name.len()).position(|window| window == name);
            start.expect("a signature") + name.len() + 20
        }
        // RFC 9052 §4.2: the signature is the last element of COSE_Sign1.
        Format::Cose => changed.len() - 1,
    };
    changed[place] = match (format, changed[place]) {
        (Format::Jws, b'A') => b'B',
        (Format::Jws, _) => b'A',
        (Format::Cose, byte) => byte ^ 1,
    };
    assert_eq!(changed.iter().zip(envelope).filter(|(a, b)| a != b).count(), 1);
    changed
}

/// The folder of test vectors.
pub(crate) fn vectors() -> PathBuf {
    let beside = || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../shared/vectors"));
    let folder = std::env::var_os("ASSAY_VECTORS").map_or_else(beside, PathBuf::from);
    assert!(
        folder.join("notation/MANIFEST.tsv").is_file(),
        "the test vectors are absent: set ASSAY_VECTORS to the folder that holds notation/, not {}",
        folder.display()
    );
    folder
}
