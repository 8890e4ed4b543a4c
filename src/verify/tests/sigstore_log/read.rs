//! Reads bundles and cosign's layers as far as their log entries need it. The judge's own readers are tested elsewhere; with
//! these, nothing here depends on them.

use std::path::{Path, PathBuf};

use assay_verify::Timestamp;
use assay_verify::crypto::Hash;
use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::log::{self, Logged, LoggedSigner};
use assay_verify::sigstore::material::{Content, InclusionProof, LogEntry};
use assay_verify::sigstore::trusted_root::TrustedRoot;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

/// Where the vectors of sigstore are.
#[expect(
    clippy::disallowed_methods,
    reason = "only the tests ask the environment, and only where files are"
)]
pub(crate) fn folder() -> PathBuf {
    let folder = std::env::var_os("ASSAY_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
        PathBuf::from,
    );
    let sigstore = folder.join("sigstore");
    assert!(
        sigstore.join("MANIFEST.tsv").is_file(),
        "the test vectors are not in {}: set ASSAY_VECTORS to the folder that has sigstore/MANIFEST.tsv",
        folder.display()
    );
    sigstore
}

pub(crate) fn read(path: &Path) -> Vec<u8> {
    std::fs::read(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn root(path: &Path) -> TrustedRoot {
    TrustedRoot::parse(&read(path)).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The names in a folder, sorted.
pub(crate) fn names(path: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// The files of a folder and of those in it.
pub(crate) fn files_below(folder: &Path, found: &mut Vec<PathBuf>) {
    for name in names(folder) {
        match folder.join(&name) {
            path if path.is_dir() => files_below(&path, found),
            path => found.push(path),
        }
    }
}

/// A signature with its log entries.
#[derive(Clone)]
pub(crate) struct Signed {
    pub(crate) content: Content,
    pub(crate) certificate: Option<Vec<u8>>,
    pub(crate) entries: Vec<LogEntry>,
}

impl Signed {
    /// What becomes of its entries: `verified` and the time, or why not; one behind the other.
    pub(crate) fn outcome(&self, root: &TrustedRoot, key: Option<&VerificationKey>, artifact: Option<&[u8]>) -> String {
        let signer = match (&self.certificate, key) {
            (Some(certificate), _) => LoggedSigner::Certificate(certificate),
            (None, Some(key)) => LoggedSigner::Key(key.spki()),
            (None, None) => return "no signer".to_owned(),
        };
        let digests: Vec<_> = artifact
            .map(|bytes| (Hash::Sha256, Hash::Sha256.digest(bytes)))
            .into_iter()
            .collect();
        let message: Vec<_> = digests.iter().map(|(hash, digest)| (*hash, &**digest)).collect();
        let logged = Logged {
            content: &self.content,
            signer,
            message: &message,
            accept_dsse_v0_0_2: false,
        };
        let outcomes = self
            .entries
            .iter()
            .map(|entry| match log::verify(entry, &logged, root) {
                Ok(verified) => match verified.integrated_at {
                    Some(at) => format!("verified at {at}"),
                    None => "verified without a time".to_owned(),
                },
                Err(error) => format!("refused: {error}"),
            });
        let outcomes: Vec<String> = outcomes.collect();
        match outcomes.is_empty() {
            true => "no entry".to_owned(),
            false => outcomes.join("; "),
        }
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer)?.as_str()
}

fn bytes(value: &Value, pointer: &str) -> Option<Vec<u8>> {
    STANDARD.decode(text(value, pointer)?).ok()
}

/// A number of proto3 JSON: text or number, absent where it is zero. None when it is negative.
fn number(value: &Value, pointer: &str) -> Option<u64> {
    match value.pointer(pointer) {
        None => Some(0),
        Some(Value::String(text)) => text.parse().ok(),
        Some(number) => number.as_u64(),
    }
}

/// A bundle, or None when it is malformed in a part that has nothing to do with logs.
pub(crate) fn bundle(json: &[u8]) -> Option<Signed> {
    let bundle: Value = serde_json::from_slice(json).ok()?;
    let content = match bundle.get("dsseEnvelope") {
        Some(envelope) => dsse(envelope, None)?,
        None => Content::Message {
            digest: None,
            signature: bytes(&bundle, "/messageSignature/signature")?.into(),
        },
    };
    let material = bundle.get("verificationMaterial")?;
    let certificate = bytes(material, "/certificate/rawBytes")
        .or_else(|| bytes(material, "/x509CertificateChain/certificates/0/rawBytes"));
    let entries = material
        .get("tlogEntries")
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let entries = entries.iter().map(entry).collect::<Option<Vec<_>>>()?;
    Some(Signed {
        content,
        certificate,
        entries,
    })
}

fn dsse(envelope: &Value, blob: Option<&[u8]>) -> Option<Content> {
    Some(Content::Dsse {
        payload_type: text(envelope, "/payloadType")?.into(),
        payload: bytes(envelope, "/payload")?.into(),
        signature: bytes(envelope, "/signatures/0/sig")?.into(),
        envelope: blob.map(Into::into),
    })
}

fn entry(value: &Value) -> Option<LogEntry> {
    let seconds = number(value, "/integratedTime").filter(|seconds| *seconds > 0);
    let proof = value.get("inclusionProof").map(|proof| {
        let hashes = proof
            .get("hashes")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        Some(InclusionProof {
            log_index: number(proof, "/logIndex")?,
            tree_size: number(proof, "/treeSize")?,
            root_hash: bytes(proof, "/rootHash")?.into(),
            hashes: hashes
                .iter()
                .map(|hash| Some(bytes(hash, "")?.into()))
                .collect::<Option<_>>()?,
            checkpoint: text(proof, "/checkpoint/envelope").map(Into::into),
        })
    });
    Some(LogEntry {
        log_id: bytes(value, "/logId/keyId")?.into(),
        log_index: number(value, "/logIndex")?,
        integrated_time: seconds.map(|seconds| Timestamp::from_second(seconds.try_into().unwrap()).unwrap()),
        kind: Some((
            text(value, "/kindVersion/kind")?.into(),
            text(value, "/kindVersion/version")?.into(),
        )),
        promise: bytes(value, "/inclusionPromise/signedEntryTimestamp").map(Into::into),
        proof: match proof {
            Some(proof) => Some(proof?),
            None => None,
        },
        body: bytes(value, "/canonicalizedBody")?.into(),
    })
}

/// The signatures of an OCI layout: bundles, and layers with cosign's annotations.
pub(crate) fn layout(layout: &Path) -> Vec<Signed> {
    let blobs = layout.join("blobs/sha256");
    let contents = names(&blobs).into_iter().map(|name| read(&blobs.join(name)));
    let mut signed = Vec::new();
    for content in contents {
        let Ok(json) = serde_json::from_slice::<Value>(&content) else {
            continue;
        };
        if text(&json, "/mediaType").is_some_and(|media_type| media_type.contains("sigstore.bundle")) {
            signed.push(bundle(&content).expect("a bundle"));
        }
        let layers = json
            .get("layers")
            .and_then(Value::as_array)
            .map(Vec::as_slice)
            .unwrap_or_default();
        for layer in layers.iter().filter(|layer| annotation(layer, "signature").is_some()) {
            let digest = text(layer, "/digest").unwrap().strip_prefix("sha256:").unwrap();
            signed.push(layer_signature(layer, &read(&blobs.join(digest))));
        }
    }
    signed
}

fn annotation<'a>(layer: &'a Value, name: &str) -> Option<&'a str> {
    let annotations = layer.get("annotations")?;
    let prefix = match name {
        "signature" => "dev.cosignproject.cosign/",
        _ => "dev.sigstore.cosign/",
    };
    annotations.get(format!("{prefix}{name}"))?.as_str()
}

fn layer_signature(layer: &Value, blob: &[u8]) -> Signed {
    let content = match STANDARD.decode(annotation(layer, "signature").unwrap()).unwrap() {
        signature if signature.is_empty() => dsse(&serde_json::from_slice(blob).unwrap(), Some(blob)).unwrap(),
        signature => Content::SimpleSigning {
            payload: blob.into(),
            signature: signature.into(),
        },
    };
    let certificate = annotation(layer, "certificate")
        .filter(|pem| !pem.is_empty())
        .map(|pem| {
            let certificates = assay_verify::notation::trust_store::parse_file(pem.as_bytes()).unwrap();
            certificates[0].der().to_vec()
        });
    let entries = annotation(layer, "bundle").map(|json| {
        let json: Value = serde_json::from_str(json).unwrap();
        let payload = json.get("Payload").unwrap();
        let log_id = text(payload, "/logID").unwrap();
        LogEntry {
            log_id: (0..log_id.len())
                .step_by(2)
                .map(|at| u8::from_str_radix(&log_id[at..at + 2], 16).unwrap())
                .collect(),
            log_index: number(payload, "/logIndex").unwrap(),
            integrated_time: Timestamp::from_second(payload["integratedTime"].as_i64().unwrap()).ok(),
            kind: None,
            promise: bytes(&json, "/SignedEntryTimestamp").map(Into::into),
            proof: None,
            body: bytes(payload, "/body").unwrap().into(),
        }
    });
    Signed {
        content,
        certificate,
        entries: entries.into_iter().collect(),
    }
}
