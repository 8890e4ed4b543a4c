//! Writing a layout as a tar (OCI image specification: image-layout.md).

use std::collections::{BTreeMap, HashSet};
use std::io::{self, Write};

use serde_json::{Map, Value, json};
use tar::{Builder, EntryType, Header};
use thiserror::Error;

use assay_verify::descriptor::{Annotations, Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::limits::{MAX_LAYOUT_TAR_ENTRIES, MAX_MANIFEST_SIZE, MAX_REFERRERS};
use assay_verify::reference::Reference;

use super::{IMAGE_NAME, REF_NAME};

/// Writes a layout that [`super::Layout`] and other tools read. The same content in the same order makes the same bytes: the files
/// have no times and no owner.
pub struct LayoutWriter<W: Write> {
    tar: Builder<W>,
    written: HashSet<Digest>,
    entries: Vec<Value>,
    /// The same in text.
    listed: HashSet<String>,
    bytes: u64,
}

/// Why a layout cannot be written.
#[derive(Debug, Error)]
pub enum WriteError {
    /// The file cannot be written.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The bytes are not those of the digest.
    #[error("the bytes are not those of {0}")]
    WrongBytes(Digest),
    /// It would hold more than is read again.
    #[error("it would hold more than {limit} {what}: make several")]
    TooMuch {
        /// Of what.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
}

impl<W: Write> LayoutWriter<W> {
    /// Begins.
    pub fn new(writer: W) -> Self {
        Self {
            tar: Builder::new(writer),
            written: HashSet::new(),
            entries: Vec::new(),
            listed: HashSet::new(),
            bytes: 0,
        }
    }

    /// Files a blob under its digest, once.
    ///
    /// # Errors
    ///
    /// When it is not the digest's, or cannot be written.
    pub fn blob(&mut self, digest: &Digest, content: &[u8]) -> Result<(), WriteError> {
        if self.written.contains(digest) {
            return Ok(());
        }
        if !digest.matches(content) {
            return Err(WriteError::WrongBytes(digest.clone()));
        }
        // Two more files come at the end.
        if self.written.len() + 2 >= MAX_LAYOUT_TAR_ENTRIES {
            return Err(WriteError::TooMuch {
                what: "blobs",
                limit: MAX_LAYOUT_TAR_ENTRIES,
            });
        }
        self.written.insert(digest.clone());
        self.file(
            &format!("blobs/{}/{}", digest.algorithm().as_str(), digest.hex()),
            content,
        )
    }

    /// Lists an image under its whole name, and under its tag.
    ///
    /// # Errors
    ///
    /// When there are too many entries.
    pub fn image(&mut self, reference: &Reference, image: &Descriptor) -> Result<(), WriteError> {
        let mut annotations = BTreeMap::from([(IMAGE_NAME.to_owned(), reference.to_string())]);
        if let Some(tag) = &reference.tag {
            annotations.insert(REF_NAME.to_owned(), tag.to_string());
        }
        self.entry(image, &annotations)
    }

    /// Lists a manifest with signatures, under a tag where it has one.
    ///
    /// # Errors
    ///
    /// When there are too many entries.
    pub fn signatures(&mut self, manifest: &Descriptor, tag: Option<&str>) -> Result<(), WriteError> {
        let annotations = tag.map(|tag| (REF_NAME.to_owned(), tag.to_owned()));
        self.entry(manifest, &annotations.into_iter().collect())
    }

    /// Makes an artifact of layers that were filed before, and lists it.
    ///
    /// # Errors
    ///
    /// When there are too many entries or layers, or it cannot be written.
    pub fn artifact(
        &mut self,
        artifact_type: &str,
        layers: &[(Descriptor, Annotations)],
        annotations: Annotations,
    ) -> Result<(), WriteError> {
        const EMPTY: &[u8] = b"{}";
        let empty = Digest::sha256(EMPTY);
        self.blob(&empty, EMPTY)?;
        let layer = |(descriptor, annotations): &(Descriptor, Annotations)| json_of(descriptor, annotations);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MediaType::OCI_MANIFEST,
            "artifactType": artifact_type,
            "config": { "mediaType": "application/vnd.oci.empty.v1+json", "digest": empty.to_string(), "size": EMPTY.len() },
            "layers": layers.iter().map(layer).collect::<Vec<_>>(),
            "annotations": annotations,
        })
        .to_string();
        if layers.len() > MAX_REFERRERS || manifest.len() > MAX_MANIFEST_SIZE {
            return Err(WriteError::TooMuch {
                what: "files in one artifact",
                limit: MAX_REFERRERS,
            });
        }
        let digest = Digest::sha256(manifest.as_bytes());
        self.blob(&digest, manifest.as_bytes())?;
        let entry = json!({
            "mediaType": MediaType::OCI_MANIFEST,
            "digest": digest.to_string(),
            "size": manifest.len(),
            "artifactType": artifact_type,
        });
        self.push(entry)
    }

    /// Bytes of everything that was filed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Writes the two fixed files and the end of the tar.
    ///
    /// # Errors
    ///
    /// When the list is larger than is read again, or cannot be written.
    pub fn finish(mut self) -> Result<W, WriteError> {
        let index =
            json!({ "schemaVersion": 2, "mediaType": MediaType::OCI_INDEX, "manifests": self.entries }).to_string();
        if index.len() > MAX_MANIFEST_SIZE {
            return Err(WriteError::TooMuch {
                what: "bytes of entries",
                limit: MAX_MANIFEST_SIZE,
            });
        }
        self.file("oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#)?;
        self.file("index.json", index.as_bytes())?;
        Ok(self.tar.into_inner()?)
    }

    fn entry(&mut self, descriptor: &Descriptor, annotations: &Annotations) -> Result<(), WriteError> {
        self.push(json_of(descriptor, annotations))
    }

    /// Adds an entry, once.
    fn push(&mut self, entry: Value) -> Result<(), WriteError> {
        let text = entry.to_string();
        if self.listed.contains(&text) {
            return Ok(());
        }
        if self.entries.len() >= MAX_REFERRERS {
            return Err(WriteError::TooMuch {
                what: "entries",
                limit: MAX_REFERRERS,
            });
        }
        self.listed.insert(text);
        self.entries.push(entry);
        Ok(())
    }

    fn file(&mut self, name: &str, content: &[u8]) -> Result<(), WriteError> {
        let mut header = Header::new_gnu();
        header.set_entry_type(EntryType::Regular);
        header.set_size(content.len() as u64);
        header.set_mode(0o644);
        header.set_mtime(0);
        self.tar.append_data(&mut header, name, content)?;
        self.bytes += content.len() as u64;
        Ok(())
    }
}

fn json_of(descriptor: &Descriptor, annotations: &Annotations) -> Value {
    let mut fields = Map::from_iter([
        ("mediaType".to_owned(), json!(descriptor.media_type.as_str())),
        ("digest".to_owned(), json!(descriptor.digest.to_string())),
        ("size".to_owned(), json!(descriptor.size)),
    ]);
    if !annotations.is_empty() {
        fields.insert("annotations".to_owned(), json!(annotations));
    }
    Value::Object(fields)
}
