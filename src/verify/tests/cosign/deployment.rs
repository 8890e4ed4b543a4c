//! A sigstore of the test's own: keys, a certificate authority, logs and timestamp authorities, all open to change.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::attestation::AttestationRequirement;
use assay_verify::circumstances::Circumstances;
use assay_verify::code::Code;
use assay_verify::deny_list::DenyList;
use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::evidence::{SIMPLE_SIGNING, Signature, SignatureManifest};
use assay_verify::judge::{self, AttestationAsked, AuthorityTerms, Judgement, Permit, Requirement, Subject};
use assay_verify::policy::Conditions;
use assay_verify::sigstore::authority::{Authority, RequiredEvidence, Signers};
use assay_verify::sigstore::dsse::{IN_TOTO, pre_authentication_encoding};
use assay_verify::sigstore::identity::{IdentityMatcher, TextMatcher};
use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::material::{BundleVersion, ClaimedSigner, Content, Format, LogEntry, Material};
use assay_verify::sigstore::signature::{self, Artifact, Asked, Judged, Origin, Purpose, Rejected};
use assay_verify::sigstore::trusted_root::{self, TransparencyLog, TrustedRoot};
use assay_verify::sigstore::window::Window;
use assay_verify::x509::certificate::Certificate;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
use rcgen::{KeyUsagePurpose, PublicKeyData as _, SanType, SigningKey as _, date_time_ymd};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::support::{ChainParts, ROOT_KEY, image};
use crate::token::{self, Token, authority as tsa_params, digest as imprint};

pub(crate) const ISSUER: &str = "https://issuer.test";
pub(crate) const SUBJECT: &str = "https://ci.test/release";
pub(crate) const SLSA: &str = "https://slsa.dev/provenance/v1";
pub(crate) const SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// The time of most signatures: inside the validity of all certificates.
pub(crate) fn signed_at() -> Timestamp {
    at("2026-05-01T00:00:00Z")
}

/// The time of most judgements.
pub(crate) fn now() -> Timestamp {
    at("2026-11-21T12:00:00Z")
}

pub(crate) fn verification_key(key: &KeyPair) -> VerificationKey {
    VerificationKey::from_spki(&key.subject_public_key_info()).unwrap()
}

/// A transparency log with a key of its own.
pub(crate) struct Log {
    pub(crate) key: KeyPair,
    pub(crate) operator: &'static str,
    pub(crate) window: Window,
}

impl Log {
    pub(crate) fn new(operator: &'static str) -> Self {
        Self {
            key: KeyPair::generate().unwrap(),
            operator,
            window: Window {
                start: Some(at("2026-01-01T00:00:00Z")),
                end: None,
            },
        }
    }

    fn id(&self) -> [u8; 32] {
        Sha256::digest(self.key.subject_public_key_info()).into()
    }

    pub(crate) fn trusted(&self) -> TransparencyLog {
        TransparencyLog {
            base_url: format!("https://{}.test", self.operator).into(),
            key: verification_key(&self.key),
            log_id: self.id().into(),
            window: self.window,
            operator: self.operator.into(),
        }
    }

    /// An entry with the log's promise.
    pub(crate) fn entry(&self, index: u64, body: &Value, time: Timestamp) -> LogEntry {
        let body = serde_json::to_vec(body).unwrap();
        let log_id: String = self.id().iter().map(|byte| format!("{byte:02x}")).collect();
        // Keys in the order of RFC 8785, and nothing that it would write otherwise.
        let promised = format!(
            r#"{{"body":"{}","integratedTime":{},"logID":"{log_id}","logIndex":{index}}}"#,
            STANDARD.encode(&body),
            time.as_second(),
        );
        LogEntry {
            log_id: self.id().into(),
            log_index: index,
            integrated_time: Some(time),
            kind: None,
            promise: Some(self.key.sign(promised.as_bytes()).unwrap().into()),
            proof: None,
            body: body.into(),
        }
    }
}

/// A timestamp authority: its root is the one of the support module.
pub(crate) struct TimestampAuthority {
    chain: Vec<Vec<u8>>,
    pub(crate) operator: &'static str,
}

impl TimestampAuthority {
    pub(crate) fn new(operator: &'static str) -> Self {
        let chain = ChainParts {
            leaf: tsa_params(operator),
            ..ChainParts::default()
        };
        Self {
            chain: chain.build(),
            operator,
        }
    }

    pub(crate) fn trusted(&self) -> trusted_root::Authority {
        trusted_root::Authority {
            certificates: self
                .chain
                .iter()
                .map(|der| Certificate::from_der(der).unwrap())
                .collect(),
            window: Window::default(),
            operator: self.operator.into(),
        }
    }

    /// A token of a message, at a time such as `20260501000000Z`.
    pub(crate) fn stamp(&self, message: &[u8], time: &str) -> Box<[u8]> {
        let mut token = Token::new(&self.chain);
        token.info.imprint = imprint(token::SHA_256, message);
        token.info.generated_at = time.to_owned();
        token.build().into()
    }
}

/// A certificate authority that says who signs.
pub(crate) struct Issuing {
    params: CertificateParams,
}

impl Issuing {
    pub(crate) fn new() -> Self {
        let mut params = crate::support::ca("signers");
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        Self { params }
    }

    pub(crate) fn trusted(&self) -> trusted_root::Authority {
        let root = self.params.self_signed(&*ROOT_KEY).unwrap();
        trusted_root::Authority {
            certificates: vec![Certificate::from_der(root.der()).unwrap()],
            window: Window::default(),
            operator: "ca".into(),
        }
    }

    /// A certificate for a key, valid in the year 2026.
    pub(crate) fn certificate(&self, key: &KeyPair, subject: &str, issuer: &str) -> Certificate {
        let mut params = CertificateParams::default();
        params.not_before = date_time_ymd(2026, 4, 30);
        params.not_after = date_time_ymd(2026, 5, 2);
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.is_ca = IsCa::ExplicitNoCa;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
        params.subject_alt_names = vec![SanType::URI(subject.try_into().unwrap())];
        params.custom_extensions = vec![CustomExtension::from_oid_content(
            &[1, 3, 6, 1, 4, 1, 57264, 1, 8],
            token::tlv(0x0c, issuer.as_bytes()),
        )];
        let signed = params
            .signed_by(key, &Issuer::from_params(&self.params, &*ROOT_KEY))
            .unwrap();
        Certificate::from_der(signed.der()).unwrap()
    }
}

impl Default for Issuing {
    fn default() -> Self {
        let mut issuing = Self::new();
        issuing.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        issuing
    }
}

/// A simple-signing payload of the support module's image.
pub(crate) fn payload(optional: &Value) -> Vec<u8> {
    serde_json::to_vec(&json!({
        "critical": {
            "identity": { "docker-reference": "registry.test/app" },
            "image": { "docker-manifest-digest": image().digest.to_string() },
            "type": "cosign container image signature",
        },
        "optional": optional,
    }))
    .unwrap()
}

/// A statement about the support module's image.
pub(crate) fn statement(predicate_type: &str, predicate: &Value) -> Vec<u8> {
    serde_json::to_vec(&json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": [{ "digest": { "sha256": image().digest.hex() } }],
        "predicateType": predicate_type,
        "predicate": predicate,
    }))
    .unwrap()
}

/// A v2 signature: the payload, signed.
pub(crate) fn simple_signing(key: &KeyPair, payload: Vec<u8>) -> Material {
    let signature = key.sign(&payload).unwrap().into();
    Material {
        format: Format::Layer,
        content: Content::SimpleSigning {
            payload: payload.into(),
            signature,
        },
        signer: ClaimedSigner::Key { hint: None },
        log_entries: Vec::new(),
        timestamps: Vec::new(),
    }
}

/// A bundle with a statement, signed.
pub(crate) fn dsse(key: &KeyPair, statement: Vec<u8>) -> Material {
    let signature = key
        .sign(&pre_authentication_encoding(IN_TOTO, &statement))
        .unwrap()
        .into();
    Material {
        format: Format::Bundle(BundleVersion::V0_3),
        content: Content::Dsse {
            payload_type: IN_TOTO.into(),
            payload: statement.into(),
            signature,
            envelope: None,
        },
        signer: ClaimedSigner::Key { hint: None },
        log_entries: Vec::new(),
        timestamps: Vec::new(),
    }
}

pub(crate) fn pem(label: &str, der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<_> = text
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

/// What Rekor v1 writes for a simple-signing signature.
pub(crate) fn hashedrekord(material: &Material, verifier: &str) -> Value {
    let Content::SimpleSigning { payload, signature } = &material.content else {
        panic!("a hashedrekord is of a payload");
    };
    let digest: String = Sha256::digest(payload)
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    json!({
        "apiVersion": "0.0.1",
        "kind": "hashedrekord",
        "spec": {
            "data": { "hash": { "algorithm": "sha256", "value": digest } },
            "signature": {
                "content": STANDARD.encode(signature),
                "publicKey": { "content": STANDARD.encode(verifier) },
            },
        },
    })
}

/// A signer with a certificate, and what vouches for his signature.
pub(crate) struct Keyless {
    pub(crate) issuing: Issuing,
    pub(crate) key: KeyPair,
    pub(crate) leaf: Certificate,
    pub(crate) logs: Vec<Log>,
    pub(crate) timestamp_authorities: Vec<TimestampAuthority>,
}

impl Keyless {
    pub(crate) fn new() -> Self {
        let issuing = Issuing::default();
        let key = KeyPair::generate().unwrap();
        let leaf = issuing.certificate(&key, SUBJECT, ISSUER);
        Self {
            issuing,
            key,
            leaf,
            logs: vec![Log::new("log")],
            timestamp_authorities: vec![TimestampAuthority::new("tsa")],
        }
    }

    /// A v2 signature with an entry in each log.
    pub(crate) fn signature(&self) -> Material {
        let mut material = simple_signing(&self.key, payload(&Value::Null));
        material.signer = ClaimedSigner::Certificate {
            leaf: self.leaf.clone(),
            intermediates: Vec::new(),
        };
        let body = hashedrekord(&material, &pem("CERTIFICATE", self.leaf.der()));
        material.log_entries = self.logs.iter().map(|log| log.entry(7, &body, signed_at())).collect();
        material
    }

    pub(crate) fn root(&self) -> TrustedRoot {
        TrustedRoot {
            logs: self.logs.iter().map(Log::trusted).collect(),
            certificate_logs: Vec::new(),
            certificate_authorities: vec![self.issuing.trusted()],
            timestamp_authorities: self
                .timestamp_authorities
                .iter()
                .map(TimestampAuthority::trusted)
                .collect(),
        }
    }

    pub(crate) fn authority(&self) -> Authority {
        Authority {
            signers: Signers::Identities(vec![identity(SUBJECT, ISSUER)]),
            root: Arc::new(self.root()),
            evidence: RequiredEvidence {
                log_entries: 1,
                timestamps: 0,
                signed_certificate_timestamps: 0,
                verified_time: true,
            },
            ..key_authority(&self.key)
        }
    }
}

pub(crate) fn identity(subject: &str, issuer: &str) -> IdentityMatcher {
    IdentityMatcher {
        issuer: TextMatcher::Exact(issuer.into()),
        subject: TextMatcher::Exact(subject.into()),
        claims: BTreeMap::new(),
    }
}

/// An authority of one key, for which nobody has to vouch.
pub(crate) fn key_authority(key: &KeyPair) -> Authority {
    Authority {
        signers: Signers::Keys(vec![verification_key(key)]),
        root: Arc::new(TrustedRoot::default()),
        second_opinion: None,
        evidence: RequiredEvidence::default(),
        annotations: BTreeMap::new(),
        accept_dsse_v0_0_2: false,
        repository: None,
    }
}

/// The judgement of a signature on the support module's image.
pub(crate) fn judge(material: &Material, authority: &Authority) -> Result<Judged, Rejected> {
    judge_with(
        material,
        authority,
        Purpose::ImageSignature,
        &Conditions::default(),
        now(),
    )
}

pub(crate) fn judge_with(
    material: &Material,
    authority: &Authority,
    purpose: Purpose<'_>,
    conditions: &Conditions,
    now: Timestamp,
) -> Result<Judged, Rejected> {
    let image = image();
    let asked = Asked {
        authority,
        artifact: Artifact::Image(&image),
        purpose,
        conditions,
    };
    signature::verify(material, &Origin::default(), &asked, &Circumstances::at(now))
}

/// The judgement of a signature by all that is asked of it.
pub(crate) fn judge_asked(material: &Material, asked: &Asked<'_>) -> Result<Judged, Rejected> {
    signature::verify(material, &Origin::default(), asked, &Circumstances::at(now()))
}

fn descriptor(media_type: &str, content: &[u8]) -> Descriptor {
    Descriptor {
        media_type: MediaType::parse(media_type).unwrap(),
        digest: Digest::sha256(content),
        size: content.len() as u64,
    }
}

/// A manifest with these layers, as evidence: one signature for each.
fn manifest(artifact_type: Option<&str>, subject: bool, layers: &[(&str, Vec<u8>, Value)]) -> Vec<Signature> {
    let mut manifest = json!({
        "schemaVersion": 2,
        "mediaType": MediaType::OCI_MANIFEST,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": Digest::sha256(b"{}").to_string(), "size": 2 },
        "layers": layers.iter().map(|(media_type, content, annotations)| json!({
            "mediaType": media_type,
            "digest": Digest::sha256(content).to_string(),
            "size": content.len(),
            "annotations": annotations,
        })).collect::<Vec<_>>(),
    });
    if let Some(artifact_type) = artifact_type {
        manifest["artifactType"] = artifact_type.into();
    }
    if subject {
        let image = image();
        manifest["subject"] = json!({
            "mediaType": image.media_type.as_str(), "digest": image.digest.to_string(), "size": image.size,
        });
    }
    let json: Arc<[u8]> = serde_json::to_vec(&manifest).unwrap().into();
    let manifest = Arc::new(SignatureManifest::open(&descriptor(MediaType::OCI_MANIFEST, &json), json).unwrap());
    let blobs = layers.iter().enumerate();
    blobs
        .map(|(position, (_, content, _))| {
            Signature::new(manifest.clone(), position, content.as_slice().into()).unwrap()
        })
        .collect()
}

/// A referrer with a bundle of one statement, signed with a key.
pub(crate) fn bundle(key: &KeyPair, statement: &[u8]) -> Signature {
    let signature = key.sign(&pre_authentication_encoding(IN_TOTO, statement)).unwrap();
    let bundle = json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": { "publicKey": { "hint": "" } },
        "dsseEnvelope": {
            "payload": STANDARD.encode(statement),
            "payloadType": IN_TOTO,
            "signatures": [{ "sig": STANDARD.encode(signature) }],
        },
    });
    let media_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let layers = [(media_type, serde_json::to_vec(&bundle).unwrap(), json!({}))];
    manifest(Some(media_type), true, &layers).remove(0)
}

/// An image under the tag `.sig`, with one signature for each key.
pub(crate) fn tag(keys: &[&KeyPair]) -> Vec<Signature> {
    let layer = |(index, key): (usize, &&KeyPair)| {
        // Payloads differ, as those of different signers do.
        let payload = payload(&json!({ "n": index.to_string() }));
        let signature = STANDARD.encode(key.sign(&payload).unwrap());
        let annotations = json!({ "dev.cosignproject.cosign/signature": signature });
        (SIMPLE_SIGNING, payload, annotations)
    };
    manifest(None, false, &keys.iter().enumerate().map(layer).collect::<Vec<_>>())
}

/// A rule's judgement of all evidence at once.
pub(crate) fn judge_image(
    evidence: &[Signature],
    needed: usize,
    authorities: &[(&str, &Authority)],
    attestations: &[(&str, &Authority, &AttestationRequirement)],
) -> Judgement {
    judge_image_under(&DenyList::default(), evidence, needed, authorities, attestations)
}

/// The same under a deny-list.
pub(crate) fn judge_image_under(
    denied: &DenyList,
    evidence: &[Signature],
    needed: usize,
    authorities: &[(&str, &Authority)],
    attestations: &[(&str, &Authority, &AttestationRequirement)],
) -> Judgement {
    let image = image();
    let repository = "registry.test/app".parse().unwrap();
    let subject = Subject {
        repository: &repository,
        descriptor: &image,
    };
    let authorities: Vec<_> = authorities
        .iter()
        .map(|(name, authority)| (*name, AuthorityTerms::Cosign { authority }))
        .collect();
    let attestations: Vec<_> = attestations
        .iter()
        .map(|(name, authority, requirement)| AttestationAsked {
            authority: name,
            terms: AuthorityTerms::Cosign { authority },
            requirement,
        })
        .collect();
    let requirement = Requirement {
        needed,
        authorities: &authorities,
        accept_unverified: false,
        conditions: &Conditions::default(),
        attestations: &attestations,
    };
    let circumstances = Circumstances {
        denied,
        ..Circumstances::at(now())
    };
    judge::judge(evidence, &subject, &requirement, &circumstances)
}

/// Why an image is denied.
#[track_caller]
pub(crate) fn denied(judgement: Judgement) -> (Code, String) {
    match judgement {
        Judgement::Reject(rejection) => (rejection.code, rejection.reason),
        other => panic!("it is denied: {other:?}"),
    }
}

/// What an image is admitted by.
#[track_caller]
pub(crate) fn admitted(judgement: Judgement) -> Permit {
    match judgement {
        Judgement::Admit(permit) => *permit,
        other => panic!("it is admitted: {other:?}"),
    }
}
