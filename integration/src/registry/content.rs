//! What the registry holds, in memory, by repository.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256, Sha512};

/// `application/vnd.oci.image.manifest.v1+json`.
pub const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// `application/vnd.oci.image.index.v1+json`.
pub const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The artifact type of Notary Project signatures.
pub const NOTATION_SIGNATURE: &str = "application/vnd.cncf.notary.signature";
/// The empty configuration of artifacts, whose content is `{}`.
pub const OCI_EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The digest of `bytes`, as `sha256:…`.
pub fn sha256(bytes: &[u8]) -> String {
    format!("sha256:{}", hex(&Sha256::digest(bytes)))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// Whether `bytes` have this digest, by the algorithm that it names.
pub(super) fn has_digest(bytes: &[u8], digest: &str) -> bool {
    match digest.split_once(':') {
        Some(("sha256", expected)) => hex(&Sha256::digest(bytes)) == expected,
        Some(("sha512", expected)) => hex(&Sha512::digest(bytes)) == expected,
        _ => false,
    }
}

#[derive(Clone, Debug)]
pub(super) struct Manifest {
    pub(super) media_type: String,
    pub(super) bytes: Bytes,
    /// What it refers to.
    pub(super) subject: Option<String>,
    /// Its descriptor as the referrers API shows it.
    descriptor: Value,
}

#[derive(Debug, Default)]
struct Repository {
    manifests: HashMap<String, Manifest>,
    /// Digests of `manifests` in the order of their arrival, which is the order of the referrers API.
    order: Vec<String>,
    tags: BTreeMap<String, String>,
    blobs: HashMap<String, Bytes>,
    layers: BTreeSet<String>,
}

/// A stored Notary Project signature.
#[derive(Clone, Debug)]
pub struct Signature {
    /// The digest of its manifest, to remove it by.
    pub digest: String,
    /// The media type of its envelope.
    pub media_type: String,
    /// The envelope.
    pub envelope: Bytes,
}

/// The registry's content. Tests may put anything into it, well-formed or not.
#[derive(Debug, Default)]
pub struct Content(Mutex<HashMap<String, Repository>>);

impl Content {
    /// Stores a blob and returns its digest.
    pub fn put_blob(&self, repository: &str, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        self.put_blob_as(repository, &digest, bytes);
        digest
    }

    /// Stores a blob under a digest that need not be its own.
    pub fn put_blob_as(&self, repository: &str, digest: &str, bytes: impl Into<Bytes>) {
        self.lock()
            .entry(repository.into())
            .or_default()
            .blobs
            .insert(digest.into(), bytes.into());
    }

    /// Stores a manifest, index or anything else that is served as a manifest, and returns its digest. When its JSON has
    /// a subject, the referrers API lists it there.
    pub fn put_manifest(&self, repository: &str, media_type: &str, bytes: impl Into<Bytes>) -> String {
        let bytes = bytes.into();
        let digest = sha256(&bytes);
        self.put_manifest_as(repository, &digest, media_type, bytes);
        digest
    }

    /// Stores a manifest under a digest that need not be its own.
    pub fn put_manifest_as(&self, repository: &str, digest: &str, media_type: &str, bytes: impl Into<Bytes>) {
        let bytes = bytes.into();
        let json: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let text = |pointer: &str| json.pointer(pointer).and_then(Value::as_str).map(str::to_owned);
        let mut descriptor = json!({ "mediaType": media_type, "digest": digest, "size": bytes.len() });
        if let Some(artifact_type) = text("/artifactType").or_else(|| text("/config/mediaType")) {
            descriptor["artifactType"] = artifact_type.into();
        }
        if let Some(annotations) = json.get("annotations") {
            descriptor["annotations"] = annotations.clone();
        }

        let mut repositories = self.lock();
        let repository = repositories.entry(repository.into()).or_default();
        for layer in json.get("layers").and_then(Value::as_array).into_iter().flatten() {
            let field = |name: &str| layer.get(name).and_then(Value::as_str).unwrap_or_default();
            if field("mediaType").contains(".image.layer.") || field("mediaType").contains(".image.rootfs.diff.") {
                repository.layers.insert(field("digest").to_owned());
            }
        }
        let manifest = Manifest {
            media_type: media_type.into(),
            bytes,
            subject: text("/subject/digest"),
            descriptor,
        };
        if repository.manifests.insert(digest.into(), manifest).is_none() {
            repository.order.push(digest.into());
        }
    }

    /// Makes `tag` point to `digest`, from now on.
    pub fn tag(&self, repository: &str, tag: &str, digest: &str) {
        self.lock()
            .entry(repository.into())
            .or_default()
            .tags
            .insert(tag.into(), digest.into());
    }

    /// The digest that `tag` points to.
    pub fn resolve(&self, repository: &str, tag: &str) -> Option<String> {
        self.lock().get(repository)?.tags.get(tag).cloned()
    }

    /// A manifest's bytes.
    pub fn manifest_bytes(&self, repository: &str, digest: &str) -> Option<Bytes> {
        self.manifest(repository, digest).map(|(_, manifest)| manifest.bytes)
    }

    /// A blob's bytes.
    pub fn blob(&self, repository: &str, digest: &str) -> Option<Bytes> {
        self.lock().get(repository)?.blobs.get(digest).cloned()
    }

    /// The descriptors of what refers to `subject`, the oldest first, as the referrers API lists them.
    pub fn referrers(&self, repository: &str, subject: &str) -> Vec<Value> {
        let repositories = self.lock();
        let Some(repository) = repositories.get(repository) else {
            return vec![];
        };
        let manifests = repository
            .order
            .iter()
            .filter_map(|digest| repository.manifests.get(digest));
        let referrers = manifests.filter(|manifest| manifest.subject.as_deref() == Some(subject));
        referrers.map(|manifest| manifest.descriptor.clone()).collect()
    }

    /// The signatures of a subject, the oldest first, for tests that change, copy or remove them.
    pub fn signatures(&self, repository: &str, subject: &str) -> Vec<Signature> {
        let digests = self
            .referrers(repository, subject)
            .into_iter()
            .filter_map(|descriptor| {
                (descriptor["artifactType"] == NOTATION_SIGNATURE)
                    .then(|| descriptor["digest"].as_str().map(str::to_owned))?
            });
        let read = |digest: String| {
            let manifest: Value = serde_json::from_slice(&self.manifest_bytes(repository, &digest)?).ok()?;
            let layer = &manifest["layers"][0];
            let envelope = self.blob(repository, layer["digest"].as_str()?)?;
            Some(Signature {
                digest,
                media_type: layer["mediaType"].as_str()?.to_owned(),
                envelope,
            })
        };
        digests.filter_map(read).collect()
    }

    /// Attaches a Notary Project signature manifest around `envelope` to a subject, as notation would, and returns its
    /// digest. `envelope` may be anything.
    pub fn attach_signature(&self, repository: &str, subject: &Value, media_type: &str, envelope: &[u8]) -> String {
        self.put_blob(repository, "{}");
        let layer = self.put_blob(repository, envelope.to_vec());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "artifactType": NOTATION_SIGNATURE,
            "config": { "mediaType": OCI_EMPTY, "digest": sha256(b"{}"), "size": 2 },
            "layers": [{ "mediaType": media_type, "digest": layer, "size": envelope.len() }],
            "subject": subject,
        });
        self.put_manifest(repository, OCI_MANIFEST, manifest.to_string())
    }

    /// Attaches `count` well-formed signature manifests, each around an envelope of its own that is not one.
    pub fn attach_junk(&self, repository: &str, subject: &Value, count: usize) {
        for number in 0..count {
            let envelope = format!("{{\"payload\":\"junk {number}\"}}");
            self.attach_signature(repository, subject, "application/jose+json", envelope.as_bytes());
        }
    }

    /// Removes a manifest, a tag or a blob, by tag or digest.
    pub fn remove(&self, repository: &str, reference: &str) -> bool {
        let mut repositories = self.lock();
        let Some(repository) = repositories.get_mut(repository) else {
            return false;
        };
        repository.order.retain(|digest| digest != reference);
        let tag = repository.tags.remove(reference).is_some();
        let manifest = repository.manifests.remove(reference).is_some();
        tag | manifest | repository.blobs.remove(reference).is_some()
    }

    pub(super) fn manifest(&self, repository: &str, reference: &str) -> Option<(String, Manifest)> {
        let repositories = self.lock();
        let repository = repositories.get(repository)?;
        let digest = if reference.contains(':') {
            reference
        } else {
            repository.tags.get(reference)?
        };
        repository
            .manifests
            .get(digest)
            .map(|manifest| (digest.to_owned(), manifest.clone()))
    }

    pub(super) fn tags(&self, repository: &str) -> Option<Vec<String>> {
        self.lock()
            .get(repository)
            .map(|repository| repository.tags.keys().cloned().collect())
    }

    pub(super) fn is_layer(&self, repository: &str, digest: &str) -> bool {
        self.lock()
            .get(repository)
            .is_some_and(|repository| repository.layers.contains(digest))
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<String, Repository>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
