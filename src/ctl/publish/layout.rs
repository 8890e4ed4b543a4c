//! `assayctl publish layout`: what is served, as an OCI image layout that `oras`, `crane` or `skopeo` copy into a registry.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};
use tar::{Builder, EntryType, Header};

use assay_verify::digest::Digest;

use super::Stop;
use super::folder::{self, Folder};
use super::metadata::file_of;
use super::published::{self, Published};
use crate::sync::Role;
use crate::sync::layout::{FILE_ANNOTATION, REPOSITORY_ARTIFACT, REPOSITORY_LAYER, TARGETS_FOLDER};

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
/// The configuration of an artifact that has none (OCI image specification: manifest.md).
const EMPTY: &str = "application/vnd.oci.empty.v1+json";
const REFERENCE_NAME: &str = "org.opencontainers.image.ref.name";

/// The files that a node needs, by their paths in the repository.
pub(super) fn served(folder: &Folder) -> Result<BTreeMap<String, Vec<u8>>, Stop> {
    let published = Published::read(folder)?;
    let (Some(timestamp), Some(snapshot)) = (&published.timestamp, &published.snapshot) else {
        return Err(Stop::usage(
            "nothing is published yet: assayctl publish status".to_owned(),
        ));
    };
    let mut files = BTreeMap::new();
    for root in &published.roots {
        files.insert(file_of(Role::Root, root.document.signed.version), root.bytes.clone());
    }
    files.insert("timestamp.json".to_owned(), timestamp.bytes.clone());
    files.insert(
        file_of(Role::Snapshot, snapshot.document.signed.version),
        snapshot.bytes.clone(),
    );
    for (role, kept) in &published.targets {
        files.insert(file_of(*role, kept.document.signed.version), kept.bytes.clone());
        for (path, digest) in published::paths(&kept.document.signed) {
            let content = published::content(folder, &path, &digest)?;
            let content =
                content.ok_or_else(|| Stop::usage(format!("{path} of {digest} is missing in repository/")))?;
            files.insert(
                format!("{TARGETS_FOLDER}/{}", path.of_content(&digest)),
                content.to_vec(),
            );
        }
    }
    Ok(files)
}

/// Writes the layout as a tar. The same repository always gives the same bytes.
pub(super) fn write(folder: &Folder, tag: &str, out: &Path) -> Result<Digest, Stop> {
    let files = served(folder)?;
    let mut blobs: BTreeMap<Digest, Vec<u8>> = BTreeMap::new();
    let mut put = |content: Vec<u8>| {
        let digest = Digest::sha256(&content);
        let size = content.len();
        blobs.insert(digest.clone(), content);
        (digest, size)
    };
    let mut layers: Vec<Value> = Vec::new();
    for (path, content) in files {
        let (digest, size) = put(content);
        layers.push(json!({
            "mediaType": REPOSITORY_LAYER,
            "digest": digest.to_string(),
            "size": size,
            "annotations": { FILE_ANNOTATION: path },
        }));
    }
    let (config, size) = put(b"{}".to_vec());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": REPOSITORY_ARTIFACT,
        "config": { "mediaType": EMPTY, "digest": config.to_string(), "size": size },
        "layers": layers,
    });
    let (digest, size) = put(manifest.to_string().into_bytes());
    let index = json!({
        "schemaVersion": 2,
        "mediaType": INDEX,
        "manifests": [{
            "mediaType": MANIFEST,
            "artifactType": REPOSITORY_ARTIFACT,
            "digest": digest.to_string(),
            "size": size,
            "annotations": { REFERENCE_NAME: tag },
        }],
    });
    let mut entries: Vec<(PathBuf, Vec<u8>)> = vec![
        (
            "oci-layout".into(),
            json!({ "imageLayoutVersion": "1.0.0" }).to_string().into_bytes(),
        ),
        ("index.json".into(), index.to_string().into_bytes()),
    ];
    for (digest, content) in blobs {
        entries.push((Path::new("blobs/sha256").join(digest.hex()), content));
    }
    let failed = |error| Stop::io(out, &error);
    let mut archive = Builder::new(Vec::new());
    for (path, content) in entries {
        let mut header = Header::new_ustar();
        header.set_entry_type(EntryType::Regular);
        header.set_mode(0o644);
        header.set_size(content.len() as u64);
        header.set_mtime(0);
        archive
            .append_data(&mut header, path, content.as_slice())
            .map_err(failed)?;
    }
    let bytes = archive.into_inner().map_err(failed)?;
    folder::put(out, &bytes, 0o644).map_err(failed)?;
    Ok(digest)
}
