//! What happens to a signature between its signer and the node.

use assay_integration::Image;
use assay_integration::registry::{Content, OCI_MANIFEST};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

const SIGNATURE: &str = "dev.cosignproject.cosign/signature";
const CERTIFICATE: &str = "dev.sigstore.cosign/certificate";
const ENTRY: &str = "dev.sigstore.cosign/bundle";

/// The first signature of an image, in either format.
pub(crate) struct Stored<'a> {
    content: &'a Content,
    repository: &'a str,
    /// The tag that it is under, if it is under one.
    tag: Option<String>,
    digest: String,
    manifest: Value,
    /// The payload of the old format, or the bundle.
    blob: Value,
}

impl<'a> Stored<'a> {
    pub(crate) fn of(content: &'a Content, repository: &'a str, image: &Image) -> Self {
        let tag = format!("{}.sig", image.digest().replace(':', "-"));
        let tagged = content.resolve(repository, &tag);
        let referrer = || {
            let referrers = content.referrers(repository, image.digest());
            let first = referrers.first().expect("a signature");
            first["digest"].as_str().expect("a digest").to_owned()
        };
        let digest = tagged.clone().unwrap_or_else(referrer);
        let manifest = content.manifest_bytes(repository, &digest).expect("a manifest");
        let manifest: Value = serde_json::from_slice(&manifest).expect("JSON");
        let blob = manifest["layers"][0]["digest"].as_str().expect("a layer");
        let blob = content.blob(repository, blob).expect("a blob");
        Self {
            content,
            repository,
            tag: tagged.map(|_| tag),
            digest,
            blob: serde_json::from_slice(&blob).expect("JSON"),
            manifest,
        }
    }

    fn is_old(&self) -> bool {
        self.tag.is_some()
    }

    fn annotation(&mut self, name: &str) -> &mut Value {
        &mut self.manifest["layers"][0]["annotations"][name]
    }

    /// Puts it into the place of what it was.
    fn store(mut self) {
        let bytes = self.blob.to_string();
        let digest = self.content.put_blob(self.repository, bytes.clone());
        self.manifest["layers"][0]["digest"] = digest.into();
        self.manifest["layers"][0]["size"] = bytes.len().into();
        self.content.remove(self.repository, &self.digest);
        let manifest = self.manifest.to_string();
        let digest = self.content.put_manifest(self.repository, OCI_MANIFEST, manifest);
        if let Some(tag) = &self.tag {
            self.content.tag(self.repository, tag, &digest);
        }
    }

    /// What is signed says something more.
    pub(crate) fn change_payload(mut self) {
        if self.is_old() {
            self.blob["optional"] = json!({ "added": "later" });
        } else {
            let payload = &mut self.blob["dsseEnvelope"]["payload"];
            let mut statement: Value = serde_json::from_slice(&decode(payload)).expect("a statement");
            statement["predicate"] = json!({ "added": "later" });
            *payload = STANDARD.encode(statement.to_string()).into();
        }
        self.store();
    }

    /// One bit of the signature is another.
    pub(crate) fn change_signature(mut self) {
        if self.is_old() {
            flip(self.annotation(SIGNATURE));
        } else {
            flip(&mut self.blob["dsseEnvelope"]["signatures"][0]["sig"]);
        }
        self.store();
    }

    /// Its certificate is that of another signature by the same signer.
    pub(crate) fn take_certificate(mut self, mut other: Self) {
        if self.is_old() {
            *self.annotation(CERTIFICATE) = other.annotation(CERTIFICATE).take();
        } else {
            let certificate = other.blob["verificationMaterial"]["certificate"].take();
            self.blob["verificationMaterial"]["certificate"] = certificate;
        }
        self.store();
    }

    /// What the log says is about another signature by the same signer.
    pub(crate) fn take_entry(mut self, mut other: Self) {
        if self.is_old() {
            *self.annotation(ENTRY) = other.annotation(ENTRY).take();
        } else {
            let entries = other.blob["verificationMaterial"]["tlogEntries"].take();
            self.blob["verificationMaterial"]["tlogEntries"] = entries;
        }
        self.store();
    }

    /// No log says anything.
    pub(crate) fn remove_entry(mut self) {
        if self.is_old() {
            let annotations = self.manifest["layers"][0]["annotations"].as_object_mut();
            annotations.expect("annotations").remove(ENTRY);
        } else {
            self.blob["verificationMaterial"]["tlogEntries"] = json!([]);
        }
        self.store();
    }

    /// The log's promise is another's.
    pub(crate) fn change_promise(mut self) {
        if self.is_old() {
            let entry = self.annotation(ENTRY);
            let mut parsed: Value = serde_json::from_str(entry.as_str().expect("text")).expect("an entry");
            flip(&mut parsed["SignedEntryTimestamp"]);
            *entry = parsed.to_string().into();
        } else {
            flip(&mut self.entry()["inclusionPromise"]["signedEntryTimestamp"]);
        }
        self.store();
    }

    /// The proof leads to another tree.
    pub(crate) fn change_proof(mut self) {
        flip(&mut self.entry()["inclusionProof"]["hashes"][0]);
        self.store();
    }

    /// The checkpoint is signed by somebody else.
    pub(crate) fn change_checkpoint(mut self) {
        let envelope = &mut self.entry()["inclusionProof"]["checkpoint"]["envelope"];
        let text = envelope.as_str().expect("a checkpoint").trim_end().to_owned();
        let (before, signature) = text.rsplit_once(' ').expect("a signature line");
        let mut signature = Value::from(signature);
        flip(&mut signature);
        *envelope = format!("{before} {}\n", signature.as_str().unwrap_or_default()).into();
        self.store();
    }

    /// The timestamp is of another signature.
    pub(crate) fn take_timestamp(mut self, mut other: Self) {
        let timestamps = other.blob["verificationMaterial"]["timestampVerificationData"].take();
        self.blob["verificationMaterial"]["timestampVerificationData"] = timestamps;
        self.store();
    }

    /// There is no timestamp.
    pub(crate) fn remove_timestamp(mut self) {
        let material = self.blob["verificationMaterial"].as_object_mut();
        material.expect("material").remove("timestampVerificationData");
        self.store();
    }

    /// There is another signature in the envelope, before the one that counts (TOB-SIGSTORE-9).
    pub(crate) fn add_signature(mut self) {
        let signatures = &mut self.blob["dsseEnvelope"]["signatures"];
        let mut other = signatures[0].clone();
        flip(&mut other["sig"]);
        signatures.as_array_mut().expect("signatures").insert(0, other);
        self.store();
    }

    /// What the log says is there twice.
    pub(crate) fn repeat_entry(mut self) {
        let entry = self.entry().clone();
        let entries = self.blob["verificationMaterial"]["tlogEntries"].as_array_mut();
        entries.expect("entries").push(entry);
        self.store();
    }

    /// The timestamp is there twice (sigstore-go#471).
    pub(crate) fn repeat_timestamp(mut self) {
        let timestamps = &mut self.blob["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"];
        let timestamp = timestamps[0].clone();
        timestamps.as_array_mut().expect("timestamps").push(timestamp);
        self.store();
    }

    /// It is attached to another image.
    pub(crate) fn copy_to(self, image: &Image) {
        let mut manifest = self.manifest;
        if self.tag.is_none() {
            manifest["subject"] = image.descriptor();
        }
        let digest = self
            .content
            .put_manifest(self.repository, OCI_MANIFEST, manifest.to_string());
        if self.tag.is_some() {
            let tag = format!("{}.sig", image.digest().replace(':', "-"));
            self.content.tag(self.repository, &tag, &digest);
        }
    }

    fn entry(&mut self) -> &mut Value {
        &mut self.blob["verificationMaterial"]["tlogEntries"][0]
    }
}

fn decode(text: &Value) -> Vec<u8> {
    let text = text.as_str().expect("text");
    STANDARD.decode(text).expect("Base64")
}

/// Another bit at the end, where a signature has its last number and a hash its last octet.
fn flip(text: &mut Value) {
    let mut bytes = decode(text);
    if let Some(last) = bytes.last_mut() {
        *last ^= 1;
    }
    *text = STANDARD.encode(bytes).into();
}
