//! Small images, made here so that nothing but busybox is needed.

use std::fs;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use serde_json::{Value, json};
use url::Url;

use crate::peers::Peers;
use crate::registry::{Content, OCI_INDEX, OCI_MANIFEST, sha256};

const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Layers are not compressed: the image specification asks every runtime to take them so, and bytes stay predictable.
const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";

/// Content with its digest and media type: what a descriptor describes.
#[derive(Clone, Debug)]
pub struct Blob {
    /// Its media type.
    pub media_type: String,
    /// Its digest, `sha256:…`.
    pub digest: String,
    /// Its content.
    pub bytes: Bytes,
}

impl Blob {
    pub(crate) fn new(media_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        Self {
            media_type: media_type.into(),
            digest: sha256(&bytes),
            bytes,
        }
    }

    /// The descriptor: media type, digest and size.
    pub fn descriptor(&self) -> Value {
        json!({ "mediaType": self.media_type, "digest": self.digest, "size": self.bytes.len() })
    }
}

/// An image manifest with its configuration and layer, or an index of several.
#[derive(Clone, Debug)]
pub struct Image {
    /// What a reference resolves to: the manifest, or the index.
    top: Blob,
    manifests: Vec<Blob>,
    blobs: Vec<Blob>,
    layers: Vec<String>,
}

impl Image {
    /// An image for this machine's architecture with busybox and a file that holds `marker`: another marker, another
    /// digest.
    ///
    /// # Errors
    ///
    /// busybox cannot be read.
    pub fn busybox(peers: &Peers, marker: &str) -> Result<Self> {
        let busybox = fs::read(peers.busybox()).context("cannot read busybox")?;
        Self::single(architecture(), marker, Some(&busybox))
    }

    /// An image of a few hundred bytes with nothing to run in it, for what only resolves and verifies.
    ///
    /// # Errors
    ///
    /// The archive cannot be written.
    pub fn tiny(marker: &str) -> Result<Self> {
        Self::single(architecture(), marker, None)
    }

    /// An index of two platforms, this machine's and one it is not.
    ///
    /// # Errors
    ///
    /// busybox cannot be read.
    pub fn two_platforms(peers: &Peers, marker: &str) -> Result<Self> {
        let busybox = fs::read(peers.busybox()).context("cannot read busybox")?;
        let own = architecture();
        let other = if own == "amd64" { "arm64" } else { "amd64" };
        let images = [
            Self::single(own, marker, Some(&busybox))?,
            Self::single(other, &format!("{marker} {other}"), None)?,
        ];
        let entry = |image: &Self, architecture: &str| {
            let mut descriptor = image.top.descriptor();
            descriptor["platform"] = json!({ "architecture": architecture, "os": "linux" });
            descriptor
        };
        let [first, second] = &images;
        let index = json!({
            "schemaVersion": 2,
            "mediaType": OCI_INDEX,
            "manifests": [entry(first, own), entry(second, other)],
        });
        Ok(Self {
            top: Blob::new(OCI_INDEX, index.to_string()),
            manifests: images.iter().map(|image| image.top.clone()).collect(),
            blobs: images.iter().flat_map(|image| image.blobs.clone()).collect(),
            layers: images.iter().flat_map(|image| image.layers.clone()).collect(),
        })
    }

    fn single(architecture: &str, marker: &str, busybox: Option<&[u8]>) -> Result<Self> {
        let layer = Blob::new(LAYER, archive(marker, busybox).context("cannot write the layer")?);
        let config = json!({
            "architecture": architecture,
            "os": "linux",
            "config": { "Cmd": ["/bin/busybox", "sleep", "3600"] },
            "rootfs": { "type": "layers", "diff_ids": [layer.digest] },
        });
        let config = Blob::new(CONFIG, config.to_string());
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": OCI_MANIFEST,
            "config": config.descriptor(),
            "layers": [layer.descriptor()],
        });
        let layers = vec![layer.digest.clone()];
        let top = Blob::new(OCI_MANIFEST, manifest.to_string());
        Ok(Self {
            top,
            manifests: vec![],
            blobs: vec![config, layer],
            layers,
        })
    }

    /// The digest that containerd asks about and that is signed.
    pub fn digest(&self) -> &str {
        &self.top.digest
    }

    /// The descriptor of what is signed.
    pub fn descriptor(&self) -> Value {
        self.top.descriptor()
    }

    /// The bytes of the manifest or index.
    pub fn bytes(&self) -> &Bytes {
        &self.top.bytes
    }

    /// The digests of its layers, of all platforms.
    pub fn layers(&self) -> impl Iterator<Item = &str> {
        self.layers.iter().map(String::as_str)
    }

    /// The image with one byte of its layer changed, so that every digest above it differs too.
    ///
    /// # Errors
    ///
    /// It is an index.
    pub fn with_one_byte_changed(&self) -> Result<Self> {
        let [config, layer] = self.blobs.as_slice() else {
            bail!("only an image of one platform can be changed")
        };
        let mut bytes = layer.bytes.to_vec();
        // The marker is the archive's first file; its content follows the header of 512 bytes.
        let Some(byte) = bytes.get_mut(512) else {
            bail!("the layer holds nothing")
        };
        *byte ^= 1;
        let layer = Blob::new(LAYER, bytes);
        let mut parsed: Value = serde_json::from_slice(&config.bytes)?;
        parsed["rootfs"]["diff_ids"] = json!([layer.digest]);
        let config = Blob::new(CONFIG, parsed.to_string());
        let mut manifest: Value = serde_json::from_slice(&self.top.bytes)?;
        manifest["config"] = config.descriptor();
        manifest["layers"] = json!([layer.descriptor()]);
        let layers = vec![layer.digest.clone()];
        let top = Blob::new(OCI_MANIFEST, manifest.to_string());
        Ok(Self {
            top,
            manifests: vec![],
            blobs: vec![config, layer],
            layers,
        })
    }

    /// Puts it into the registry in memory under `repository:tag`, without a request.
    pub fn store(&self, content: &Content, repository: &str, tag: &str) {
        for blob in &self.blobs {
            content.put_blob(repository, blob.bytes.clone());
        }
        for manifest in self.manifests.iter().chain([&self.top]) {
            content.put_manifest(repository, &manifest.media_type, manifest.bytes.clone());
        }
        content.tag(repository, tag, &self.top.digest);
    }

    /// Pushes it over plain HTTP to `repository` (`127.0.0.1:5000/app`) as `tag`, to any registry.
    ///
    /// # Errors
    ///
    /// The registry refused.
    pub async fn push(&self, repository: &str, tag: &str) -> Result<()> {
        let (host, name) = repository.split_once('/').context("a repository is HOST/NAME")?;
        let base = Url::parse(&format!("http://{host}/v2/{name}/"))?;
        for blob in &self.blobs {
            push_blob(&base, blob).await?;
        }
        let by_digest = self
            .manifests
            .iter()
            .map(|manifest| (manifest, manifest.digest.as_str()));
        for (manifest, reference) in by_digest.chain([(&self.top, tag)]) {
            push_manifest(&base, manifest, reference).await?;
        }
        Ok(())
    }
}

/// Pushes a manifest below `base` (`http://127.0.0.1:5000/v2/app/`), under a tag or its digest.
pub(crate) async fn push_manifest(base: &Url, manifest: &Blob, reference: &str) -> Result<()> {
    let request = crate::http_client().put(base.join(&format!("manifests/{reference}"))?);
    let request = request
        .header("content-type", &manifest.media_type)
        .body(manifest.bytes.clone());
    request
        .send()
        .await?
        .error_for_status()
        .map(drop)
        .with_context(|| format!("cannot push {reference}"))
}

/// Pushes a blob below `base`.
pub(crate) async fn push_blob(base: &Url, blob: &Blob) -> Result<()> {
    upload(base, blob)
        .await
        .with_context(|| format!("cannot push {}", blob.digest))
}

async fn upload(base: &Url, blob: &Blob) -> Result<()> {
    let started = crate::http_client()
        .post(base.join("blobs/uploads/")?)
        .send()
        .await?
        .error_for_status()?;
    let location = started
        .headers()
        .get("location")
        .context("an upload without a location")?
        .to_str()?;
    let mut location = base.join(location)?;
    location.query_pairs_mut().append_pair("digest", &blob.digest);
    let request = crate::http_client()
        .put(location)
        .header("content-type", "application/octet-stream");
    request.body(blob.bytes.clone()).send().await?.error_for_status()?;
    Ok(())
}

fn archive(marker: &str, busybox: Option<&[u8]>) -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(vec![]);
    let mut append = |path: &str, mode: u32, content: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_mtime(0);
        archive.append_data(&mut header, path, content)
    };
    append("marker", 0o644, format!("{marker}\n").as_bytes())?;
    if let Some(busybox) = busybox {
        append("bin/busybox", 0o755, busybox)?;
    }
    archive.into_inner()
}

/// This machine's architecture in the words of image configurations.
fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}
