//! Rules of which the newest statement decides, against a registry that hides it, withholds it or is away.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use assay_integration::registry::{Fault, Kind, OCI_EMPTY, OCI_INDEX, OCI_MANIFEST, Registry, When};
use assay_verify::Timestamp;
use assay_verify::code::Code;
use assay_verify::descriptor::Descriptor;
use assay_verify::limits::{
    MAX_ATTESTATION_SIZE, MAX_OPENED_REFERRERS, MAX_SIGNATURE_LAYERS, MAX_SIGNATURES, MAX_SIGNATURES_MANIFEST_SIZE,
    MAX_VERIFICATION_MEMORY,
};
use assay_verify::sigstore::dsse::{IN_TOTO, pre_authentication_encoding};
use assayd::admission::answers::{RevocationAnswers, World};
use assayd::admission::respondents::Respondents;
use assayd::admission::{Admission, Hook, Question, Verdict, offline};
use assayd::cache::answers::{AnswerOptions, AnswerStore};
use assayd::cache::evidence::{EvidenceOptions, EvidenceStore, Extent, Stored};
use assayd::fetch::layout::Layout;
use assayd::fetch::revocation::{self, AnswerMemory};
use assayd::fetch::{Client, FetchConfig, ProcessMemory, RegistryConfig};
use assayd::plugin::Plugins;
use assayd::trust::TrustState;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::StatusCode;
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};
use tempfile::TempDir;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const VULN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";
const DSSE: &str = "application/vnd.dsse.envelope.v1+json";

const MONDAY: &str = "2026-11-16T00:00:00Z";
const TUESDAY: &str = "2026-11-17T00:00:00Z";

fn now() -> Timestamp {
    "2026-11-18T00:00:00Z".parse().unwrap()
}

/// A daemon without its sockets, a registry with an image `app`, and who scans it.
struct Lab {
    registry: Registry,
    key: KeyPair,
    admission: Admission,
    image: Value,
    _directory: TempDir,
}

fn pem(der: &[u8]) -> String {
    format!(
        "-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n",
        STANDARD.encode(der)
    )
}

impl Lab {
    async fn new() -> Self {
        Self::with("").await
    }

    /// With more lines in the rule.
    async fn with(lines: &str) -> Self {
        let registry = Registry::start().await.unwrap();
        let key = KeyPair::generate().unwrap();
        let directory = TempDir::new().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("scanner.pub"), pem(&key.subject_public_key_info())).unwrap();
        let policy = format!(
            "version = 1\nunmatched = \"deny\"\n[authority.scanner]\ntype = \"cosign\"\nkeys = [\"scanner.pub\"]\n\
             [[rule]]\nname = \"scanned\"\nimages = [\"{}/**\"]\n{lines}\n\
             require_attestations = [{{ type = \"vuln\", authority = \"scanner\", max_severity = \"high\", max_age = \"168h\" }}]\n",
            registry.host()
        );
        std::fs::write(at("policy.toml"), policy).unwrap();
        let trust = TrustState::new(at("policy.toml"), nix::unistd::geteuid().as_raw());
        trust.reload(now()).unwrap();
        let config = RegistryConfig {
            plain_http: true,
            ..RegistryConfig::default()
        };
        let fetch = FetchConfig {
            registries: [(registry.host(), config)].into(),
            ..FetchConfig::default()
        };
        let memory = AnswerMemory::default();
        let respondents = Respondents {
            revocation: RevocationAnswers::new(World {
                endpoints: Arc::new(revocation::Client::new(Default::default(), memory.clone())),
                memory,
                store: AnswerStore::open(AnswerOptions::new(directory.path())),
                clock: now,
                random: || 0.5,
                changed: Box::new(|_| ()),
            }),
            plugins: Arc::new(Plugins::new(BTreeMap::new())),
        };
        let admission = Admission::new(
            Arc::new(trust),
            Client::new(fetch, ProcessMemory::default()).unwrap(),
            EvidenceStore::open(EvidenceOptions::new(directory.path())).unwrap(),
            respondents,
            now,
        );
        let image = put_image(&registry, "app");
        Self {
            registry,
            key,
            admission,
            image,
            _directory: directory,
        }
    }

    fn question(&self, image: &Value) -> Question {
        Question {
            repository: self.registry.repository("app").parse().unwrap(),
            descriptor: Descriptor::from_json(image.to_string().as_bytes()).unwrap(),
            hook: Hook::Control,
        }
    }

    /// Judges afresh, past the verdicts in memory.
    async fn verdict(&self) -> Verdict {
        self.admission.explain(&self.question(&self.image)).await.verdict
    }

    async fn denied(&self) -> Code {
        let verdict = self.verdict().await;
        verdict
            .outcome
            .denial()
            .unwrap_or_else(|| panic!("{}", verdict.finding()))
            .code
    }

    async fn admitted(&self) -> String {
        let verdict = self.verdict().await;
        assert!(verdict.outcome.admits(), "{}", verdict.finding());
        verdict.finding()
    }

    fn envelope(&self, image: &Value, finished: &str, severity: &str) -> Value {
        let digest = image["digest"].as_str().unwrap().trim_start_matches("sha256:");
        let findings = json!([{ "VulnerabilityID": "CVE-1", "Severity": severity }]);
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": [{ "digest": { "sha256": digest } }],
            "predicateType": VULN,
            "predicate": {
                "invocation": { "uri": "", "event_id": "", "builder.id": "" },
                "scanner": { "uri": "pkg:trivy", "version": "1", "db": { "uri": "", "version": "" },
                    "result": { "SchemaVersion": 2, "Results": [{ "Target": "app", "Vulnerabilities": findings }] } },
                "metadata": { "scanStartedOn": finished, "scanFinishedOn": finished },
            },
        })
        .to_string();
        let signature = self
            .key
            .sign(&pre_authentication_encoding(IN_TOTO, statement.as_bytes()))
            .unwrap();
        json!({
            "payload": STANDARD.encode(statement),
            "payloadType": IN_TOTO,
            "signatures": [{ "sig": STANDARD.encode(signature) }],
        })
    }

    /// Attaches a scan as a bundle. The digests of its manifest and its blob.
    fn scan(&self, image: &Value, finished: &str, severity: &str) -> (String, String) {
        let bundle = json!({
            "mediaType": BUNDLE,
            "verificationMaterial": { "publicKey": { "hint": "scanner" } },
            "dsseEnvelope": self.envelope(image, finished, severity),
        });
        self.attach(image, &bundle.to_string(), None)
    }

    /// Attaches a bundle, whose manifest may say another size.
    fn attach(&self, image: &Value, text: &str, size: Option<usize>) -> (String, String) {
        let content = self.registry.content();
        let blob = content.put_blob("app", text.to_owned());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": BUNDLE,
            "config": { "mediaType": OCI_EMPTY, "digest": content.put_blob("app", "{}"), "size": 2 },
            "layers": [{ "mediaType": BUNDLE, "digest": blob, "size": size.unwrap_or(text.len()) }],
            "subject": image,
        });
        (content.put_manifest("app", OCI_MANIFEST, manifest.to_string()), blob)
    }

    /// Hangs layers on the image's tag `.att`.
    fn hang(&self, layers: &[String]) {
        let content = self.registry.content();
        let layer = |text: &String| json!({ "mediaType": DSSE, "digest": content.put_blob("app", text.clone()), "size": text.len() });
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": { "mediaType": OCI_EMPTY, "digest": content.put_blob("app", "{}"), "size": 2 },
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
        });
        let digest = content.put_manifest("app", OCI_MANIFEST, manifest.to_string());
        let tag = self.image["digest"].as_str().unwrap().replace(':', "-") + ".att";
        content.tag("app", &tag, &digest);
    }

    fn fail(&self, when: When, status: StatusCode) {
        self.registry.misbehave(when, Fault::Status(status));
    }

    async fn extent(&self) -> Option<Extent> {
        let question = self.question(&self.image);
        let evidence = self.admission.evidence();
        let stored = evidence.load(&question.repository, &question.descriptor).await;
        (!stored.signatures.is_empty()).then_some(stored.extent)
    }
}

fn put_image(registry: &Registry, text: &str) -> Value {
    let content = registry.content();
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "config": { "mediaType": "application/vnd.oci.image.config.v1+json", "digest": content.put_blob("app", "{}"), "size": 2 },
        "layers": [],
        "annotations": { "text": text },
    })
    .to_string();
    let digest = content.put_manifest("app", OCI_MANIFEST, manifest.clone());
    json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": manifest.len() })
}

#[tokio::test]
async fn the_newest_scan_decides() {
    let lab = Lab::new().await;
    assert_eq!(lab.denied().await, Code::AttestationMissing);
    lab.scan(&lab.image, MONDAY, "LOW");
    assert!(!lab.admitted().await.contains("stored evidence"));
    lab.scan(&lab.image, TUESDAY, "CRITICAL");
    assert_eq!(lab.denied().await, Code::AttestationRefused);
}

#[tokio::test]
async fn asks_for_newer_statements_although_stored_ones_suffice() {
    let lab = Lab::new().await;
    lab.scan(&lab.image, MONDAY, "LOW");
    lab.admitted().await;
    assert_eq!(lab.extent().await, Some(Extent::Everything));
    let before = lab.admission.registries().requests();
    lab.admitted().await;
    let after = lab.admission.registries().requests();
    assert!(after.listings > before.listings);
    // What is stored is not fetched again.
    assert_eq!(after.blobs, before.blobs);
}

#[tokio::test]
async fn the_newest_known_scan_stands_in_while_the_registry_says_nothing_and_the_verdict_says_so() {
    for fault in [
        Fault::Status(StatusCode::SERVICE_UNAVAILABLE),
        Fault::Status(StatusCode::FORBIDDEN),
        Fault::Status(StatusCode::UNAUTHORIZED),
        Fault::Reset,
    ] {
        let lab = Lab::new().await;
        lab.scan(&lab.image, MONDAY, "LOW");
        lab.admitted().await;
        lab.registry.misbehave(When::always(), fault.clone());
        let finding = lab.admitted().await;
        assert!(
            finding.contains("not confirmed to be the newest"),
            "{fault:?}: {finding}"
        );
        assert!(finding.contains("attested by"), "{fault:?}: {finding}");
        assert_eq!(lab.extent().await, Some(Extent::Everything));
    }
}

#[tokio::test]
async fn nothing_stands_in_where_nothing_is_stored() {
    let lab = Lab::new().await;
    lab.scan(&lab.image, MONDAY, "LOW");
    lab.fail(When::path(".att"), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(lab.denied().await, Code::RegistryUnavailable);
    assert_eq!(lab.extent().await, None);
    // And not because it was judged before.
    assert_eq!(lab.denied().await, Code::RegistryUnavailable);
}

#[tokio::test]
async fn a_registry_that_falls_silent_brings_back_no_scan_that_a_newer_one_denied() {
    let lab = Lab::new().await;
    lab.scan(&lab.image, MONDAY, "LOW");
    lab.admitted().await;
    lab.hang(&[lab.envelope(&lab.image, TUESDAY, "CRITICAL").to_string()]);
    assert_eq!(lab.denied().await, Code::AttestationRefused);
    assert_eq!(lab.extent().await, None);
    lab.fail(When::path(".att"), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(lab.denied().await, Code::RegistryUnavailable);
}

#[tokio::test]
async fn a_newer_scan_found_by_an_incomplete_search_ends_what_is_stored_too() {
    let lab = Lab::new().await;
    lab.scan(&lab.image, MONDAY, "LOW");
    lab.admitted().await;
    lab.scan(&lab.image, TUESDAY, "CRITICAL");
    lab.fail(When::path(".att"), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(lab.denied().await, Code::RegistryUnavailable);
    assert_eq!(lab.extent().await, None);
    lab.fail(When::always(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(lab.denied().await, Code::RegistryUnavailable);
}

#[tokio::test]
async fn evidence_that_was_stored_when_enough_was_found_stands_in_for_nothing() {
    let lab = Lab::new().await;
    lab.scan(&lab.image, MONDAY, "LOW");
    lab.admitted().await;
    let question = lab.question(&lab.image);
    let evidence = lab.admission.evidence();
    let stored = evidence.load(&question.repository, &question.descriptor).await;
    let (repository, descriptor) = (&question.repository, &question.descriptor);
    let enough = Stored {
        extent: Extent::Enough,
        ..stored
    };
    evidence.store(repository, descriptor, enough, now()).await.unwrap();
    lab.fail(When::always(), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(lab.denied().await, Code::RegistryUnavailable);
    // A complete search makes it count.
    lab.registry.behave();
    lab.admitted().await;
    lab.fail(When::always(), StatusCode::SERVICE_UNAVAILABLE);
    lab.admitted().await;
}

/// What somebody who writes into the repository may put there, or a registry in the way of the newest statement.
#[tokio::test]
async fn no_stored_scan_stands_in_for_a_statement_that_is_there_and_cannot_be_read() {
    type Hide = fn(&Lab);
    let hidings: [(&str, Code, Hide); 11] = [
        ("a blob of other bytes", Code::RegistryUnavailable, |lab| {
            let (_, blob) = lab.scan(&lab.image, TUESDAY, "CRITICAL");
            lab.registry.misbehave(When::path(blob), Fault::WrongBytes);
        }),
        ("a manifest of other bytes", Code::RegistryUnavailable, |lab| {
            let (manifest, _) = lab.scan(&lab.image, TUESDAY, "CRITICAL");
            lab.registry.misbehave(When::path(manifest), Fault::WrongBytes);
        }),
        ("a blob that is not there", Code::RegistryUnavailable, |lab| {
            let (_, blob) = lab.scan(&lab.image, TUESDAY, "CRITICAL");
            lab.registry.content().remove("app", &blob);
        }),
        ("a manifest that is not there", Code::RegistryUnavailable, |lab| {
            let (manifest, _) = lab.scan(&lab.image, TUESDAY, "CRITICAL");
            lab.fail(When::kind(Kind::Manifest).and_path(manifest), StatusCode::NOT_FOUND);
        }),
        ("a manifest that is too large", Code::LimitExceeded, |lab| {
            let (manifest, _) = lab.scan(&lab.image, TUESDAY, "CRITICAL");
            let bytes = MAX_SIGNATURES_MANIFEST_SIZE as u64 + 1;
            lab.registry.misbehave(When::path(manifest), Fault::Huge { bytes });
        }),
        ("a bundle that is too large", Code::LimitExceeded, |lab| {
            lab.attach(&lab.image, "{}", Some(MAX_ATTESTATION_SIZE + 1));
        }),
        ("an attestation that is too large", Code::LimitExceeded, |lab| {
            lab.hang(&["x".repeat(MAX_ATTESTATION_SIZE + 1)]);
        }),
        ("too many attestations under the tag", Code::LimitExceeded, |lab| {
            let layers: Vec<_> = (0..=MAX_SIGNATURE_LAYERS)
                .map(|number| format!("{{\"n\":{number}}}"))
                .collect();
            lab.hang(&layers);
        }),
        ("junk before it", Code::LimitExceeded, |lab| {
            for number in 0..=MAX_OPENED_REFERRERS {
                lab.attach(&lab.image, &format!("{{\"n\":{number}}}"), None);
            }
        }),
        ("more bundles than are judged", Code::LimitExceeded, |lab| {
            for number in 0..=MAX_SIGNATURES {
                lab.attach(&lab.image, &format!("{{\"n\":{number}}}"), None);
            }
        }),
        ("a listing without end", Code::LimitExceeded, |lab| {
            lab.registry.misbehave(When::always(), Fault::EndlessPages);
        }),
    ];
    for (what, code, hide) in hidings {
        let lab = Lab::new().await;
        lab.scan(&lab.image, MONDAY, "LOW");
        lab.admitted().await;
        hide(&lab);
        let verdict = lab.verdict().await;
        let code_found = verdict.outcome.denial().map(|denial| denial.code);
        assert_eq!(code_found, Some(code), "{what}: {}", verdict.finding());
        assert_eq!(lab.extent().await, Some(Extent::Everything), "{what}");
    }
}

#[tokio::test]
async fn the_silence_of_one_place_does_not_cover_up_what_another_hides() {
    let lab = Lab::new().await;
    lab.scan(&lab.image, MONDAY, "LOW");
    lab.admitted().await;
    lab.attach(&lab.image, "{}", Some(MAX_ATTESTATION_SIZE + 1));
    lab.fail(When::path(".att"), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(lab.denied().await, Code::LimitExceeded);
}

/// Whoever puts much beside the newest statement does not win by the time that reading takes.
#[tokio::test]
async fn no_stored_scan_stands_in_for_a_statement_that_takes_too_long() {
    let hangs = Fault::Delay(Duration::from_secs(60));
    for blob_alone in [false, true] {
        let lab = Lab::new().await;
        lab.scan(&lab.image, MONDAY, "LOW");
        lab.admitted().await;
        let (manifest, blob) = lab.scan(&lab.image, TUESDAY, "CRITICAL");
        lab.registry
            .misbehave(When::path(if blob_alone { blob } else { manifest }), hangs.clone());
        assert_eq!(lab.denied().await, Code::LimitExceeded);
    }
}

#[tokio::test]
async fn something_else_that_cannot_be_read_spoils_nothing() {
    let lab = Lab::new().await;
    lab.scan(&lab.image, MONDAY, "LOW");
    let content = lab.registry.content();
    let materials = json!({
        "schemaVersion": 2,
        "mediaType": OCI_MANIFEST,
        "artifactType": "application/spdx+json",
        "config": { "mediaType": OCI_EMPTY, "digest": content.put_blob("app", "{}"), "size": 2 },
        "layers": [],
        "subject": lab.image,
    });
    let digest = content.put_manifest("app", OCI_MANIFEST, materials.to_string());
    lab.fail(When::kind(Kind::Manifest).and_path(digest), StatusCode::NOT_FOUND);
    lab.admitted().await;
}

#[tokio::test]
async fn the_scans_of_its_children_do_not_outvote_an_indexs_own() {
    let lab = Lab::with("accept_platform_signatures = true").await;
    let child = put_image(&lab.registry, "child");
    let mut entry = child.clone();
    let architecture = if cfg!(target_arch = "aarch64") {
        "arm64"
    } else {
        "amd64"
    };
    entry["platform"] = json!({ "os": "linux", "architecture": architecture });
    let index = json!({ "schemaVersion": 2, "mediaType": OCI_INDEX, "manifests": [entry] }).to_string();
    let digest = lab.registry.content().put_manifest("app", OCI_INDEX, index.clone());
    let index = json!({ "mediaType": OCI_INDEX, "digest": digest, "size": index.len() });
    let judge = async || lab.admission.explain(&lab.question(&index)).await.verdict;
    let code = |verdict: &Verdict| verdict.outcome.denial().map(|denial| denial.code);

    assert_eq!(code(&judge().await), Some(Code::AttestationMissing));
    lab.scan(&child, MONDAY, "LOW");
    assert_eq!(code(&judge().await), None);
    // Whether the index has a scan of its own is not known.
    let tag = index["digest"].as_str().unwrap().replace(':', "-");
    lab.fail(When::path(tag), StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(code(&judge().await), Some(Code::RegistryUnavailable));
    lab.registry.behave();
    lab.scan(&index, TUESDAY, "CRITICAL");
    assert_eq!(code(&judge().await), Some(Code::AttestationRefused));
}

#[tokio::test]
async fn an_asker_is_answered_from_what_is_stored_while_the_registry_hangs() {
    let lab = Lab::new().await;
    lab.scan(&lab.image, MONDAY, "LOW");
    lab.admitted().await;
    // Slower than the asker has time, and never silent.
    lab.registry
        .misbehave(When::always(), Fault::Slow { bytes_per_second: 1 });
    let decision = lab.admission.decide(&lab.question(&lab.image)).await;
    let finding = decision.verdict.finding();
    assert!(decision.verdict.outcome.admits(), "{finding}");
    assert!(finding.contains("not confirmed to be the newest"), "{finding}");
}

// Without a network

impl Lab {
    /// Everything of the image as an OCI image layout.
    fn layout(&self) -> TempDir {
        let (content, folder) = (self.registry.content(), TempDir::new().unwrap());
        let mut entries = vec![self.image.clone()];
        entries.extend(content.referrers("app", self.image["digest"].as_str().unwrap()));
        for entry in &entries {
            let manifest = content
                .manifest_bytes("app", entry["digest"].as_str().unwrap())
                .unwrap();
            let json: Value = serde_json::from_slice(&manifest).unwrap();
            write_blob(&folder, entry["digest"].as_str().unwrap(), &manifest);
            for layer in json["layers"].as_array().unwrap() {
                let digest = layer["digest"].as_str().unwrap();
                write_blob(&folder, digest, &content.blob("app", digest).unwrap());
            }
        }
        std::fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        let index = json!({ "schemaVersion": 2, "manifests": entries });
        std::fs::write(folder.path().join("index.json"), index.to_string()).unwrap();
        folder
    }

    fn offline(&self, layout: &TempDir) -> Verdict {
        let question = self.question(&self.image);
        let found = Layout::open(layout.path())
            .unwrap()
            .signatures(&question.descriptor.digest)
            .unwrap();
        offline(&self.admission.trust().current().unwrap(), &question, &found, now()).verdict
    }

    fn denied_offline(&self, layout: &TempDir) -> Option<Code> {
        self.offline(layout).outcome.denial().map(|denial| denial.code)
    }
}

fn blob_path(folder: &TempDir, digest: &str) -> PathBuf {
    folder.path().join("blobs").join(digest.replace(':', "/"))
}

fn write_blob(folder: &TempDir, digest: &str, bytes: &[u8]) {
    let path = blob_path(folder, digest);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

#[tokio::test]
async fn the_newest_scan_of_a_layout_decides() {
    let lab = Lab::new().await;
    lab.scan(&lab.image, MONDAY, "LOW");
    assert_eq!(lab.denied_offline(&lab.layout()), None);
    lab.scan(&lab.image, TUESDAY, "CRITICAL");
    assert_eq!(lab.denied_offline(&lab.layout()), Some(Code::AttestationRefused));
}

#[tokio::test]
async fn a_scan_of_a_layout_that_cannot_be_read_leaves_it_undecided() {
    type Hide = fn(&Lab, &TempDir, &str, &str);
    let hidings: [(&str, Code, Hide); 6] = [
        ("no blob", Code::RegistryUnavailable, |_, layout, _, blob| {
            std::fs::remove_file(blob_path(layout, blob)).unwrap();
        }),
        ("no manifest", Code::RegistryUnavailable, |_, layout, manifest, _| {
            std::fs::remove_file(blob_path(layout, manifest)).unwrap();
        }),
        ("a damaged blob", Code::RegistryUnavailable, |_, layout, _, blob| {
            write_blob(layout, blob, b"{}");
        }),
        (
            "a damaged manifest",
            Code::RegistryUnavailable,
            |_, layout, manifest, _| {
                write_blob(layout, manifest, b"{}");
            },
        ),
        ("a large manifest", Code::LimitExceeded, |_, layout, manifest, _| {
            write_blob(layout, manifest, &vec![b' '; MAX_SIGNATURES_MANIFEST_SIZE + 1]);
        }),
        ("a large blob", Code::RegistryUnavailable, |_, layout, _, blob| {
            write_blob(layout, blob, &vec![b' '; MAX_ATTESTATION_SIZE + 1]);
        }),
    ];
    let lab = Lab::new().await;
    lab.scan(&lab.image, MONDAY, "LOW");
    let (manifest, blob) = lab.scan(&lab.image, TUESDAY, "CRITICAL");
    for (what, code, hide) in hidings {
        let layout = lab.layout();
        hide(&lab, &layout, &manifest, &blob);
        let verdict = lab.offline(&layout);
        let found = verdict.outcome.denial().map(|denial| denial.code);
        assert_eq!(found, Some(code), "{what}: {}", verdict.finding());
        assert!(code.is_inconclusive());
    }
}

#[tokio::test]
async fn a_bundle_of_a_layout_that_says_it_is_too_large_leaves_it_undecided() {
    let lab = Lab::new().await;
    lab.scan(&lab.image, MONDAY, "LOW");
    lab.attach(&lab.image, "{}", Some(MAX_ATTESTATION_SIZE + 1));
    assert_eq!(lab.denied_offline(&lab.layout()), Some(Code::LimitExceeded));
}

#[tokio::test]
async fn a_layout_with_more_evidence_than_is_held_or_judged_is_undecided() {
    for (count, size) in [(3, MAX_VERIFICATION_MEMORY / 3), (MAX_SIGNATURES, 16)] {
        let lab = Lab::new().await;
        lab.scan(&lab.image, MONDAY, "LOW");
        for number in 0..count {
            lab.attach(&lab.image, &format!("{number}{}", " ".repeat(size)), None);
        }
        assert_eq!(lab.denied_offline(&lab.layout()), Some(Code::LimitExceeded), "{count}");
    }
}
