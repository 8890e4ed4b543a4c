//! A registry, the endpoints that certificates name, and what a daemon beside them is asked.

use std::time::{Duration, Instant, SystemTime};

use assay_integration::assayd::Builder;
use assay_integration::certificates::{Authority, Profile, Serial, SigningIdentity};
use assay_integration::crl::CrlProfile;
use assay_integration::envelope::{EnvelopeSigner, JWS};
use assay_integration::{
    Assayd, Crl, Image, OpenSsl, Peers, Question, Reason, Registry, Revoked, TimestampAuthority, WebServer,
};
use assay_proto::v1::{Verdict, VerifyResponse};
use serde_json::{Value, json};

/// Nobody listens there.
pub(crate) const AWAY: &str = "http://127.0.0.1:1/ocsp";
/// containerd kills a hook after 10 s; the hook promises 8.
pub(crate) const HOOK_LIMIT: Duration = Duration::from_secs(9);
/// A denial is remembered for 5 s, the failure of an endpoint for 10.
pub(crate) const RECOVERY: Duration = Duration::from_secs(25);

/// The life of a list that a test outlives: long enough for one question on a busy machine.
pub(crate) const SHORT: Duration = Duration::from_secs(4);

/// The lines of a policy that differ from test to test: strict by default, for anybody under `ca:corp`.
#[derive(Clone, Debug)]
pub(crate) struct Policy {
    /// Trust stores and further lines of the authority.
    pub(crate) authority: String,
    /// Further lines of the rule.
    pub(crate) rule: String,
}

impl Default for Policy {
    fn default() -> Self {
        Self::authority("trust_stores = [\"ca:corp\"]")
    }
}

impl Policy {
    pub(crate) fn authority(lines: &str) -> Self {
        Self {
            authority: lines.to_owned(),
            rule: String::new(),
        }
    }

    pub(crate) fn rule(self, lines: &str) -> Self {
        Self {
            rule: lines.to_owned(),
            ..self
        }
    }

    /// The document, for all images of a registry.
    pub(crate) fn text(&self, registry: &Registry) -> String {
        let Self { authority, rule } = self;
        let images = registry.repository("**");
        format!(
            r#"version   = 1
unmatched = "deny"

[authority.corp]
type               = "notation"
trusted_identities = ["*"]
level              = "strict"
{authority}

[[rule]]
name    = "everything"
images  = ["{images}"]
require = {{ all = ["corp"] }}
{rule}
"#
        )
    }
}

/// A registry, openssl, and a web server for CRLs.
pub(crate) struct Lab {
    pub(crate) peers: Peers,
    pub(crate) openssl: OpenSsl,
    pub(crate) registry: Registry,
    pub(crate) web: WebServer,
}

impl Lab {
    pub(crate) async fn start() -> Self {
        let peers = Peers::fetch().expect("peers");
        Self {
            openssl: OpenSsl::find(&peers).expect("openssl"),
            registry: Registry::start().await.expect("a registry"),
            web: WebServer::start().await.expect("a web server"),
            peers,
        }
    }

    /// A daemon's configuration: this root is the store `ca:corp`, and endpoints may be on this machine.
    pub(crate) fn daemon(&self, root_pem: &str, policy: &Policy) -> Builder {
        let endpoints = toml::toml! { private_addresses = true };
        self.sheltered_daemon(root_pem, policy).setting("revocation", endpoints)
    }

    /// The same, without a word on revocation endpoints in config.toml.
    pub(crate) fn sheltered_daemon(&self, root_pem: &str, policy: &Policy) -> Builder {
        Assayd::builder()
            .policy(&policy.text(&self.registry))
            .file("notation/truststore/x509/ca/corp/root.pem", root_pem)
            .plain_http(&self.registry.host())
    }

    /// A strict daemon that trusts this root.
    pub(crate) async fn strict(&self, root: &Authority) -> Assayd {
        let daemon = self.daemon(&root.certificate_pem(), &Policy::default());
        daemon.start().await.expect("assayd")
    }

    /// An image of its own in `repository:v1`.
    pub(crate) fn push(&self, repository: &str) -> Image {
        let image = Image::tiny(repository).expect("an image");
        image.store(self.registry.content(), repository, "v1");
        image
    }

    pub(crate) fn question(&self, repository: &str, image: &Image) -> Question {
        Question::new(
            format!("{}:v1", self.registry.repository(repository)),
            image.descriptor(),
        )
    }

    /// `HOST/NAME@DIGEST`.
    pub(crate) fn reference(&self, repository: &str, image: &Image) -> String {
        format!("{}@{}", self.registry.repository(repository), image.digest())
    }

    pub(crate) fn attach(&self, repository: &str, descriptor: &Value, envelope: &[u8]) {
        let content = self.registry.content();
        content.attach_signature(repository, descriptor, JWS, envelope);
    }

    /// An image of its own that `signer` signed a minute ago.
    pub(crate) fn signed(&self, repository: &str, signer: &SigningIdentity) -> Question {
        let image = self.push(repository);
        let time = SystemTime::now() - Duration::from_secs(60);
        let signer = EnvelopeSigner::new(signer).expect("a signer");
        let envelope = signer.sign(&image.descriptor(), time).expect("an envelope");
        self.attach(repository, &image.descriptor(), &envelope);
        self.question(repository, &image)
    }

    /// An image of its own that `signer` signed now, with a timestamp.
    pub(crate) async fn timestamped(
        &self,
        repository: &str,
        signer: &SigningIdentity,
        authority: &TimestampAuthority,
    ) -> Question {
        let image = self.push(repository);
        let signer = EnvelopeSigner::new(signer).expect("a signer");
        let payload = json!({ "targetArtifact": image.descriptor() });
        let envelope = signer.sign_timestamped(&protected(), &payload, authority).await;
        self.attach(repository, &image.descriptor(), &envelope.expect("an envelope"));
        self.question(repository, &image)
    }

    /// Has `authority` sign a list and serves it at `path`.
    pub(crate) async fn publish(&self, path: &str, authority: &Authority, profile: &CrlProfile) -> Vec<u8> {
        let crl = Crl::sign(&self.openssl, authority, profile).await.expect("a CRL");
        self.web.serve_crl(path, &crl.der);
        crl.der
    }
}

/// The protected header of a signature made now.
pub(crate) fn protected() -> Value {
    let now = jiff::Timestamp::now().round(jiff::Unit::Second).expect("a time");
    json!({
        "alg": "ES256",
        "crit": ["io.cncf.notary.signingScheme"],
        "cty": "application/vnd.cncf.notary.payload.v1+json",
        "io.cncf.notary.signingScheme": "notary.x509",
        "io.cncf.notary.signingTime": now.to_string(),
    })
}

/// An authority `root` and a signer `release` of it, whose list is at `/leaf.crl` of `web`.
pub(crate) fn signer_with_list(web: &WebServer) -> (Authority, SigningIdentity) {
    let root = Authority::root(&Profile::named("root")).expect("a root");
    let release = root.issue(&Profile::named("release").crl(web.url("/leaf.crl")));
    (root, release.expect("a signer"))
}

/// A list that is good from a minute ago until `life` from now, in whole seconds.
pub(crate) fn good_for(life: Duration) -> CrlProfile {
    let now = SystemTime::now();
    CrlProfile {
        this_update: now - Duration::from_secs(60),
        next_update: now + life,
        ..CrlProfile::default()
    }
}

/// A list, made now, that revokes what has this serial number since an hour ago.
pub(crate) fn revoking(serial: &Serial) -> CrlProfile {
    CrlProfile {
        this_update: SystemTime::now(),
        ..CrlProfile::revoking([Revoked::new(serial, Reason::KeyCompromise)])
    }
}

/// Asks over gRPC, as the hook does.
pub(crate) async fn ask(assayd: &Assayd, question: &Question) -> VerifyResponse {
    let channel = assayd.channel().expect("a socket");
    question.grpc(channel).await.expect("a verdict")
}

/// Asks and expects the explicit admit.
pub(crate) async fn admitted(assayd: &Assayd, question: &Question) -> VerifyResponse {
    let answer = ask(assayd, question).await;
    let log = || assayd.log();
    assert!(admits(&answer), "{}: {answer:?}\n{}", question.name, log());
    answer
}

/// Asks and expects a denial with this code, whose reason it returns.
pub(crate) async fn denied(assayd: &Assayd, question: &Question, code: &str) -> String {
    let answer = ask(assayd, question).await;
    let is_denied = answer.verdict() == Verdict::Deny && answer.code == code;
    assert!(is_denied, "{}: not {code}: {answer:?}\n{}", question.name, assayd.log());
    answer.reason
}

pub(crate) fn admits(answer: &VerifyResponse) -> bool {
    answer.verdict() == Verdict::Admit && !answer.audited
}

/// Asks again and again until the answer is so, as the kubelet does.
pub(crate) async fn eventually(
    assayd: &Assayd,
    question: &Question,
    what: &str,
    so: impl Fn(&VerifyResponse) -> bool,
) -> VerifyResponse {
    let started = Instant::now();
    loop {
        let answer = ask(assayd, question).await;
        if so(&answer) {
            return answer;
        }
        assert!(
            started.elapsed() < RECOVERY,
            "not {what} after {RECOVERY:?}: {answer:?}"
        );
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Waits until a time is past, by a little.
pub(crate) async fn past(time: SystemTime) {
    let rest = time.duration_since(SystemTime::now()).unwrap_or_default();
    tokio::time::sleep(rest + Duration::from_millis(100)).await;
}
