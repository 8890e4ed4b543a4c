//! A registry with signed images, and nodes whose registry and revocation endpoints can be taken away.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use assay_integration::certificates::{Authority, Profile};
use assay_integration::envelope::{EnvelopeSigner, JWS};
use assay_integration::registry::{OCI_EMPTY, OCI_INDEX, OCI_MANIFEST, Registry};
use assay_proto::v1::control_server::ControlServer;
use assay_verify::Timestamp;
use assay_verify::code::Code;
use assay_verify::descriptor::Descriptor;
use assay_verify::evidence::SIMPLE_SIGNING;
use assay_verify::limits::MAX_QUESTION_SIZE;
use assay_verify::query::{Query, Unanswered};
use assay_verify::sigstore::dsse::{IN_TOTO, pre_authentication_encoding};
use assayd::admission::answers::{RevocationAnswers, World};
use assayd::admission::respondents::Respondents;
use assayd::admission::{Admission, Hook, Question, Verdict};
use assayd::cache::answers::{AnswerOptions, AnswerStore};
use assayd::cache::evidence::{EvidenceOptions, EvidenceStore};
use assayd::fetch::revocation::{AnswerMemory, RevocationEndpoints, Source};
use assayd::fetch::{Client, FetchConfig, ProcessMemory, RegistryConfig};
use assayd::hooks::control::ControlService;
use assayd::hooks::metrics::Metrics;
use assayd::plugin::Plugins;
use assayd::sync::Status;
use assayd::trust::TrustState;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures_util::future::BoxFuture;
use rcgen::{
    BasicConstraints, CertificateParams, CertificateRevocationListParams, DistinguishedName, DnType, IsCa, Issuer,
    KeyIdMethod, KeyPair, KeyUsagePurpose, PublicKeyData as _, RevocationReason, RevokedCertParams, SerialNumber,
    SigningKey as _,
};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::net::UnixListener;
use tokio::time::Instant;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::Server;

/// Where the signer's certificate may be revoked. Nobody listens there: [`Endpoints`] answers.
const CRL: &str = "http://crl.example/corp.crl";

/// The serial number of the signer's certificate.
const SERIAL: u64 = 7;

/// The repository of the images.
pub(crate) const APP: &str = "app";

/// Where signatures lie that are not beside their image.
const ELSEWHERE: &str = "signatures";

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// A registry, and who signs: `corp` with a certificate that can be revoked, `release` with a bare key.
pub(crate) struct Lab {
    pub(crate) registry: Registry,
    root: Authority,
    corp: EnvelopeSigner,
    release: KeyPair,
    pub(crate) endpoints: Arc<Endpoints>,
}

/// Revocation endpoints that are there, or away.
#[derive(Default)]
pub(crate) struct Endpoints {
    crl: Mutex<Option<Arc<[u8]>>>,
    asked: AtomicUsize,
}

impl Endpoints {
    /// How often they were asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }

    /// Serves this list from now on, or nothing.
    pub(crate) fn serve(&self, crl: Option<Arc<[u8]>>) {
        *self.crl.lock().unwrap() = crl;
    }
}

impl RevocationEndpoints for Endpoints {
    fn ask<'a>(&'a self, query: &'a Query, _: Source, _: Instant) -> BoxFuture<'a, Result<Arc<[u8]>, Unanswered>> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let served = match query {
            Query::Crl(url) if url.as_str() == CRL => self.crl.lock().unwrap().clone(),
            _ => None,
        };
        let unanswered = || Unanswered {
            code: Code::RevocationUnknown,
            reason: "it is away".into(),
        };
        Box::pin(async move { served.ok_or_else(unanswered) })
    }
}

impl Lab {
    pub(crate) async fn new() -> Self {
        let root = Authority::root(&Profile::named("root")).unwrap();
        let leaf = root.issue(&Profile::named("corp").crl(CRL).serial(SERIAL)).unwrap();
        let lab = Self {
            registry: Registry::start().await.unwrap(),
            corp: EnvelopeSigner::new(&leaf).unwrap(),
            root,
            release: KeyPair::generate().unwrap(),
            endpoints: Arc::default(),
        };
        lab.endpoints.serve(Some(lab.crl(false)));
        lab
    }

    /// The CRL of the signer's authority, good for a day.
    pub(crate) fn crl(&self, revoked: bool) -> Arc<[u8]> {
        self.crl_until(revoked, SystemTime::now() + Duration::from_secs(24 * 3600))
    }

    /// The same, good until then.
    pub(crate) fn crl_until(&self, revoked: bool, next_update: SystemTime) -> Arc<[u8]> {
        let mut name = DistinguishedName::new();
        for (kind, value) in [
            (DnType::CountryName, "US"),
            (DnType::StateOrProvinceName, "WA"),
            (DnType::OrganizationName, "Corp"),
            (DnType::CommonName, "root"),
        ] {
            name.push(kind, value);
        }
        let mut authority = CertificateParams::default();
        authority.distinguished_name = name;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        authority.key_usages = vec![KeyUsagePurpose::CrlSign];
        let issuer = Issuer::new(authority, KeyPair::from_pem(&self.root.key_pem()).unwrap());
        let hour_ago = SystemTime::now() - Duration::from_secs(3600);
        let entry = RevokedCertParams {
            serial_number: SerialNumber::from(SERIAL),
            revocation_time: hour_ago.into(),
            reason_code: Some(RevocationReason::KeyCompromise),
            invalidity_date: None,
        };
        let params = CertificateRevocationListParams {
            this_update: hour_ago.into(),
            next_update: next_update.into(),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: if revoked { vec![entry] } else { Vec::new() },
            key_identifier_method: KeyIdMethod::Sha256,
        };
        params.signed_by(&issuer).unwrap().der().to_vec().into()
    }

    /// Puts an image into the registry.
    pub(crate) fn image(&self, text: &str) -> Value {
        let content = self.registry.content();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": content.put_blob(APP, "{}"), "size": 2 },
            "layers": [],
            "annotations": { "text": text },
        })
        .to_string();
        let digest = content.put_manifest(APP, OCI_MANIFEST, manifest.clone());
        json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": manifest.len() })
    }

    /// Puts an index of these children into the registry, the first for this machine, the others for one that it is not.
    pub(crate) fn index(&self, children: &[Value]) -> Value {
        let own = match std::env::consts::ARCH {
            "aarch64" => "arm64",
            _ => "amd64",
        };
        let entries = children.iter().enumerate().map(|(number, child)| {
            let mut entry = child.clone();
            let architecture = if number == 0 { own } else { "s390x" };
            entry["platform"] = json!({ "os": "linux", "architecture": architecture });
            entry
        });
        let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": entries.collect::<Vec<_>>() });
        self.index_of(&index.to_string())
    }

    /// Puts this text into the registry, as an index.
    pub(crate) fn index_of(&self, text: &str) -> Value {
        let digest = self.registry.content().put_manifest(APP, OCI_INDEX, text.to_owned());
        json!({ "mediaType": OCI_INDEX, "digest": digest, "size": text.len() })
    }

    /// Has `corp` sign an image, with notation.
    pub(crate) fn sign_by_corp(&self, image: &Value) -> String {
        let envelope = self.corp.sign(image, SystemTime::now()).unwrap();
        self.registry.content().attach_signature(APP, image, JWS, &envelope)
    }

    /// Has `release` sign an image, with cosign.
    pub(crate) fn sign_by_release(&self, image: &Value) {
        self.hang_signature(APP, image, &self.release);
    }

    /// Has somebody sign an image whom nobody knows.
    pub(crate) fn sign_by_a_stranger(&self, image: &Value) {
        self.hang_signature(APP, image, &KeyPair::generate().unwrap());
    }

    /// Has `release` sign an image, in a repository of signatures.
    pub(crate) fn sign_elsewhere(&self, image: &Value) {
        self.hang_signature(ELSEWHERE, image, &self.release);
    }

    /// Attests an image by `release`: a scan that was finished then, with a finding of this severity.
    pub(crate) fn scan(&self, image: &Value, finished: Timestamp, severity: &str) {
        let content = self.registry.content();
        let digest = image["digest"].as_str().unwrap().trim_start_matches("sha256:");
        let findings = json!([{ "VulnerabilityID": "CVE-1", "Severity": severity }]);
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "digest": { "sha256": digest } }],
            "predicateType": "https://cosign.sigstore.dev/attestation/vuln/v1",
            "predicate": {
                "invocation": { "uri": "", "event_id": "", "builder.id": "" },
                "scanner": { "uri": "pkg:trivy", "version": "1", "db": { "uri": "", "version": "" },
                    "result": { "SchemaVersion": 2, "Results": [{ "Target": "app", "Vulnerabilities": findings }] } },
                "metadata": { "scanStartedOn": finished, "scanFinishedOn": finished },
            },
        })
        .to_string();
        let signature = self
            .release
            .sign(&pre_authentication_encoding(IN_TOTO, statement.as_bytes()))
            .unwrap();
        let bundle = json!({
            "mediaType": BUNDLE,
            "verificationMaterial": { "publicKey": { "hint": "release" } },
            "dsseEnvelope": {
                "payload": STANDARD.encode(statement),
                "payloadType": IN_TOTO,
                "signatures": [{ "sig": STANDARD.encode(signature) }],
            },
        })
        .to_string();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": BUNDLE,
            "config": { "mediaType": OCI_EMPTY, "digest": content.put_blob(APP, "{}"), "size": 2 },
            "layers": [{ "mediaType": BUNDLE, "digest": content.put_blob(APP, bundle.clone()), "size": bundle.len() }],
            "subject": image,
        });
        content.put_manifest(APP, OCI_MANIFEST, manifest.to_string());
    }

    fn hang_signature(&self, repository: &str, image: &Value, key: &KeyPair) {
        let content = self.registry.content();
        let digest = image["digest"].as_str().unwrap();
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": "" },
                "image": { "docker-manifest-digest": digest },
                "type": "cosign container image signature",
            },
            "optional": null,
        })
        .to_string();
        let signature = STANDARD.encode(key.sign(payload.as_bytes()).unwrap());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": { "mediaType": OCI_EMPTY, "digest": content.put_blob(repository, "{}"), "size": 2 },
            "layers": [{
                "mediaType": SIMPLE_SIGNING,
                "digest": content.put_blob(repository, payload.clone()),
                "size": payload.len(),
                "annotations": { "dev.cosignproject.cosign/signature": signature },
            }],
        });
        let manifest = content.put_manifest(repository, OCI_MANIFEST, manifest.to_string());
        content.tag(repository, &format!("{}.sig", digest.replace(':', "-")), &manifest);
    }

    /// `HOST/app@DIGEST`.
    pub(crate) fn reference(&self, image: &Value) -> String {
        format!(
            "{}@{}",
            self.registry.repository(APP),
            image["digest"].as_str().unwrap()
        )
    }

    /// Names an image by a tag, too.
    pub(crate) fn tag(&self, image: &Value, tag: &str) -> String {
        self.registry.content().tag(APP, tag, image["digest"].as_str().unwrap());
        format!("{}:{tag}", self.registry.repository(APP))
    }

    pub(crate) fn question(&self, image: &Value) -> Question {
        Question {
            repository: self.registry.repository(APP).parse().unwrap(),
            descriptor: descriptor(image),
            hook: Hook::Control,
        }
    }

    /// A policy of one rule, for all images of the registry.
    pub(crate) fn policy(&self, rule: &str) -> String {
        format!(
            "version = 1\nunmatched = \"deny\"\n\
             [authority.corp]\ntype = \"notation\"\ntrust_stores = [\"ca:corp\"]\ntrusted_identities = [\"*\"]\nlevel = \"strict\"\n\
             [authority.release]\ntype = \"cosign\"\nkeys = [\"release.pub\"]\n\
             [authority.elsewhere]\ntype = \"cosign\"\nkeys = [\"release.pub\"]\nrepository = \"{0}/{ELSEWHERE}\"\n\
             [[rule]]\nname = \"signed\"\nimages = [\"{0}/**\"]\n{rule}\n",
            self.registry.host()
        )
    }

    /// A node that asks for a signature by both of these.
    pub(crate) async fn node(&self, rule: &str) -> Node {
        Node::start(self, TempDir::new().unwrap(), rule).await
    }
}

pub(crate) fn descriptor(image: &Value) -> Descriptor {
    Descriptor::from_json(image.to_string().as_bytes()).unwrap()
}

/// A daemon without its sockets.
pub(crate) struct Node {
    pub(crate) admission: Admission,
    directory: TempDir,
}

impl Node {
    async fn start(lab: &Lab, directory: TempDir, rule: &str) -> Self {
        let at = |name: &str| directory.path().join(name);
        let store = at("notation/truststore/x509/ca/corp");
        fs::create_dir_all(&store).unwrap();
        fs::set_permissions(directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
        write(&store.join("root.pem"), lab.root.certificate_pem().as_bytes());
        let key = STANDARD.encode(lab.release.subject_public_key_info());
        let pem = format!("-----BEGIN PUBLIC KEY-----\n{key}\n-----END PUBLIC KEY-----\n");
        write(&at("release.pub"), pem.as_bytes());
        write(&at("policy.toml"), lab.policy(rule).as_bytes());
        let trust = TrustState::new(at("policy.toml"), nix::unistd::geteuid().as_raw());
        let plain = RegistryConfig {
            plain_http: true,
            ..RegistryConfig::default()
        };
        let fetch = FetchConfig {
            registries: [(lab.registry.host(), plain)].into(),
            ..FetchConfig::default()
        };
        let respondents = Respondents {
            revocation: RevocationAnswers::new(World {
                endpoints: Arc::clone(&lab.endpoints) as Arc<dyn RevocationEndpoints>,
                memory: AnswerMemory::default(),
                store: AnswerStore::open(AnswerOptions::new(&at("state"))),
                clock: Timestamp::now,
                random: || 0.5,
                changed: Box::new(|_| ()),
            }),
            plugins: Arc::new(Plugins::new(BTreeMap::new())),
        };
        let admission = Admission::new(
            Arc::new(trust),
            Client::new(fetch, ProcessMemory::default()).unwrap(),
            EvidenceStore::open(EvidenceOptions::new(at("state"))).unwrap(),
            respondents,
            Timestamp::now,
            Status::new(None, Timestamp::UNIX_EPOCH),
        );
        let node = Self { admission, directory };
        node.reload();
        node
    }

    /// The same node after a restart, with this rule.
    pub(crate) async fn restart(self, lab: &Lab, rule: &str) -> Self {
        self.admission.respondents().revocation.flush().await;
        self.admission.evidence().shut_down().await;
        Self::start(lab, self.directory, rule).await
    }

    pub(crate) fn reload(&self) {
        let rejected = |node: &Self| {
            node.admission
                .trust()
                .rejected()
                .map(|rejected| rejected.diagnostics.clone())
        };
        assert!(self.admission.reload("test"), "{:?}", rejected(self));
    }

    /// Replaces the policy's rule.
    pub(crate) fn follow(&self, lab: &Lab, rule: &str) {
        write(&self.directory.path().join("policy.toml"), lab.policy(rule).as_bytes());
        self.reload();
    }

    /// Brings a CRL as a file.
    pub(crate) fn bring(&self, crl: &[u8]) {
        let folder = self.directory.path().join("revocation");
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        write(&folder.join("corp.crl"), crl);
        self.reload();
    }

    /// Judges afresh, past the verdicts in memory.
    pub(crate) async fn judge(&self, question: &Question) -> Verdict {
        self.admission.explain(question).await.verdict
    }

    /// Judges by what is stored alone.
    pub(crate) async fn judge_stored(&self, question: &Question) -> Verdict {
        self.admission.judge_stored(question).await.verdict
    }

    /// Requests to registries so far.
    pub(crate) fn requests(&self) -> u64 {
        let counts = self.admission.registries().requests();
        counts.blobs + counts.listings + counts.manifests + counts.tokens
    }

    /// Answers assayctl from now on.
    pub(crate) fn serve(&self) {
        let listener = UnixListener::bind(self.socket()).unwrap();
        let metrics = Metrics::new(self.admission.clone(), self.directory.path().join("observe"));
        let service = ControlService::new(self.admission.clone(), metrics, Timestamp::now());
        let control = ControlServer::new(service).max_decoding_message_size(MAX_QUESTION_SIZE);
        let server = Server::builder().add_service(control);
        tokio::spawn(server.serve_with_incoming(UnixListenerStream::new(listener)));
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("control.sock")
    }

    /// The policy document.
    pub(crate) fn policy(&self) -> PathBuf {
        self.directory.path().join("policy.toml")
    }

    /// Runs assayctl against this node.
    pub(crate) async fn assayctl(&self, arguments: &[&str]) -> Ran {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_assayctl"));
        command
            .args(arguments)
            .env("ASSAYD_CONTROL_SOCKET", self.socket())
            .kill_on_drop(true);
        let output = command.output().await.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        Ran {
            code: output.status.code().unwrap(),
            stdout: text(output.stdout),
            stderr: text(output.stderr),
        }
    }

    /// Whether anything is stored for any image.
    pub(crate) async fn has_any_evidence(&self) -> bool {
        !self.admission.evidence().list(None).await.unwrap().images.is_empty()
    }

    /// Whether anything is stored for an image.
    pub(crate) async fn has_evidence(&self, question: &Question) -> bool {
        let evidence = self.admission.evidence();
        !evidence
            .peek(&question.repository, &question.descriptor)
            .await
            .is_empty()
    }
}

/// What a program did.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) code: i32,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ran {
    #[track_caller]
    pub(crate) fn ended_with(self, code: i32) -> Self {
        assert_eq!(self.code, code, "{self:?}");
        self
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

fn write(path: &Path, content: &[u8]) {
    fs::write(path, content).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap();
}

/// The code of a denial; none for an admit.
pub(crate) fn code(verdict: &Verdict) -> Option<Code> {
    verdict.outcome.denial().map(|denial| denial.code)
}

#[track_caller]
pub(crate) fn assert_admitted(verdict: &Verdict) {
    assert_eq!(code(verdict), None, "{}", verdict.finding());
}

#[track_caller]
pub(crate) fn assert_denied(verdict: &Verdict, expected: Code) {
    assert_eq!(code(verdict), Some(expected), "{}", verdict.finding());
}
