//! Evidence without a network: an OCI image layout, as a folder or a tar (OCI image specification: image-layout.md).
//!
//! Nothing is extracted, links are not followed, and a blob is found by its digest alone, so no name in a layout leads
//! anywhere.

mod signatures;
mod tar_file;
mod write;

use std::collections::{HashMap, HashSet};
use std::fs::{File, OpenOptions};
use std::io::{self, Read as _};
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::OFlag;
use serde::Deserialize;
use thiserror::Error;

use assay_verify::descriptor::{Annotations, Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::evidence::{SignatureFormat, SignatureLayer, SignatureManifest};
use assay_verify::limits::{MAX_MANIFEST_SIZE, MAX_REFERRERS, MAX_VERIFICATION_MEMORY};
use assay_verify::manifest::Manifest;
use assay_verify::reference::Reference;
use assay_verify::untrusted::Untrusted;

use super::discovery::CosignTag;
pub use signatures::{Found, Survey, THE_LAYOUT};
use tar_file::scan;
pub use write::{LayoutWriter, WriteError};

/// The annotation under which a layout names an image.
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The annotation under which containerd and Docker write the whole name of an image (containerd images/archive).
const IMAGE_NAME: &str = "io.containerd.image.name";

/// How the artifact types of what assayd itself puts beside evidence begin.
const OUR_OWN: &str = "application/vnd.assayd.";

/// The annotation by which `cosign save` tells an image from its signatures and attestations (cosign pkg/oci/layout).
const COSIGN_KIND: &str = "kind";

/// The name under which a manifest with signatures of an image has to stand in a layout: one of cosign's tags, where it does not
/// refer to the image itself.
pub fn tag_for(manifest: &SignatureManifest, image: &Digest) -> Option<String> {
    if manifest.subject().is_some_and(|subject| subject.digest == *image) {
        return None;
    }
    let attests = |layer: &Arc<SignatureLayer>| layer.format == SignatureFormat::Attestation;
    let tag = match manifest.layers().iter().any(attests) {
        true => CosignTag::Attestations,
        false => CosignTag::Signatures,
    };
    Some(tag.of(image))
}

/// An opened layout.
#[derive(Debug)]
pub struct Layout {
    path: PathBuf,
    source: Source,
    entries: Vec<Entry>,
}

#[derive(Debug)]
enum Source {
    Folder,
    Tar {
        file: File,
        /// Where each blob's bytes are, and how many.
        blobs: HashMap<Digest, (u64, u64)>,
    },
}

#[derive(Debug)]
struct Entry {
    descriptor: Descriptor,
    artifact_type: Option<Box<str>>,
    name: Option<Box<str>>,
    /// The whole name, where it is one.
    image: Option<Reference>,
    kind: Option<CosignKind>,
}

impl Entry {
    /// Whether it says that it is neither an image nor a signature, but something of assayd's.
    fn is_our_own(&self) -> bool {
        let artifact_type = self.artifact_type.as_deref();
        artifact_type.is_some_and(|artifact_type| artifact_type.starts_with(OUR_OWN))
    }

    /// Whether it is the image of this name, in the repository and by its digest or tag.
    fn is_named(&self, reference: &Reference) -> bool {
        let by = |named: &Reference| match (&reference.digest, &reference.tag) {
            (Some(digest), _) => self.descriptor.digest == *digest,
            (None, tag) => named.tag.as_deref().unwrap_or(LATEST) == tag.as_deref().unwrap_or(LATEST),
        };
        let named = self.image.as_ref();
        named.is_some_and(|named| named.repository == reference.repository && by(named))
    }
}

/// The tag of a reference that has none.
const LATEST: &str = "latest";

/// What `cosign save` says a manifest is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum CosignKind {
    Image,
    Signatures,
}

impl CosignKind {
    fn of(text: &str) -> Option<Self> {
        match text.strip_prefix("dev.cosignproject.cosign/")? {
            "image" | "imageIndex" => Some(Self::Image),
            "sigs" | "atts" => Some(Self::Signatures),
            _ => None,
        }
    }
}

/// Why a layout cannot be read.
#[derive(Debug, Error)]
pub enum LayoutError {
    /// The file system says no.
    #[error("{}: {cause}", path.display())]
    Io {
        /// The file.
        path: PathBuf,
        /// Why.
        cause: io::Error,
    },
    /// Neither a folder nor a tar with a layout in it.
    #[error("{} is not an OCI image layout: {cause}", path.display())]
    NotALayout {
        /// The folder or tar.
        path: PathBuf,
        /// What is wrong with it.
        cause: Untrusted,
    },
    /// A file in it is larger than the limit.
    #[error("{}: {what} is larger than {limit} bytes", path.display())]
    TooLarge {
        /// The folder or tar.
        path: PathBuf,
        /// The file.
        what: Box<str>,
        /// The limit.
        limit: usize,
    },
    /// It lists more manifests, or the tar holds more files, than the limit.
    #[error("{} holds more than {limit} entries", path.display())]
    TooManyEntries {
        /// The folder or tar.
        path: PathBuf,
        /// The limit.
        limit: usize,
    },
    /// The image has more signatures than one verification may hold. [`Layout::signatures`] gives those before.
    #[error("{}: the signatures take more than {MAX_VERIFICATION_MEMORY} bytes", path.display())]
    TooManySignatures {
        /// The folder or tar.
        path: PathBuf,
    },
    /// It has no such image.
    #[error("{} has no image {reference}", path.display())]
    NotFound {
        /// The folder or tar.
        path: PathBuf,
        /// What was asked for.
        reference: Untrusted,
    },
    /// Two images have the same name.
    #[error("{} names several images {name}", path.display())]
    Ambiguous {
        /// The folder or tar.
        path: PathBuf,
        /// The name.
        name: Untrusted,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireLayout {
    image_layout_version: String,
}

#[derive(Deserialize)]
struct WireIndex {
    manifests: Vec<WireEntry>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireEntry {
    media_type: String,
    digest: String,
    size: u64,
    artifact_type: Option<String>,
    annotations: Option<Annotations>,
}

impl Layout {
    /// Opens a folder or a tar.
    ///
    /// # Errors
    ///
    /// When it is no layout, or too large for one.
    pub fn open(path: &Path) -> Result<Self, LayoutError> {
        let io_error = |cause| LayoutError::Io {
            path: path.to_owned(),
            cause,
        };
        let metadata = std::fs::metadata(path).map_err(io_error)?;
        let (source, marker, index) = if metadata.is_dir() {
            let read = |name: &str| read_file(&path.join(name), MAX_MANIFEST_SIZE);
            let marker = read("oci-layout").map_err(io_error)?;
            let index = read("index.json").map_err(io_error)?;
            (Source::Folder, marker, index)
        } else {
            let file = open_file(path)
                .map_err(io_error)?
                .ok_or_else(|| LayoutError::NotALayout {
                    path: path.to_owned(),
                    cause: "neither a folder nor a regular file".into(),
                })?;
            scan(path, file)?
        };
        let entries = read_index(path, marker, index)?;
        Ok(Self {
            path: path.to_owned(),
            source,
            entries,
        })
    }

    /// The descriptor of the image that a tag or a digest names. The image's own bytes are checked against it.
    ///
    /// # Errors
    ///
    /// When there is no such image, more than one, or its bytes are others.
    pub fn resolve(&self, reference: &str) -> Result<Descriptor, LayoutError> {
        let not_found = || LayoutError::NotFound {
            path: self.path.clone(),
            reference: reference.into(),
        };
        let digest = reference.parse::<Digest>().ok();
        let matching = self.entries.iter().filter(|entry| match &digest {
            Some(digest) => entry.descriptor.digest == *digest,
            None => entry.name.as_deref() == Some(reference),
        });
        let found = self.only(matching, reference)?;
        self.prove(found.ok_or_else(not_found)?, reference)
    }

    /// The descriptor of the image that a whole name means: the one of that name, or else the one that its digest or tag alone
    /// names, whatever repository it came from. The image's own bytes are checked against it.
    ///
    /// # Errors
    ///
    /// When there is no such image, more than one, or its bytes are others.
    pub fn find(&self, reference: &Reference) -> Result<Descriptor, LayoutError> {
        let whole = reference.to_string();
        let named = self.entries.iter().filter(|entry| entry.is_named(reference));
        if let Some(named) = self.only(named, &whole)? {
            return self.prove(named, &whole);
        }
        let digest = reference.digest.as_ref().map(ToString::to_string);
        let alone = digest.as_deref().or(reference.tag.as_deref()).unwrap_or(LATEST);
        self.resolve(alone)
    }

    /// The images that have a whole name, each with it.
    pub fn images(&self) -> Vec<(Reference, Descriptor)> {
        let named = self.entries.iter().filter(|entry| !entry.is_our_own());
        let mut images: Vec<_> = named
            .filter_map(|entry| Some((entry.image.clone()?, entry.descriptor.clone())))
            .collect();
        let mut seen = HashSet::new();
        images.retain(|(reference, descriptor)| seen.insert((reference.repository.clone(), descriptor.clone())));
        images
    }

    /// The artifacts of a type, each with its manifest where that is there and what its digest says.
    ///
    /// # Errors
    ///
    /// When the layout cannot be read.
    pub fn artifacts(&self, artifact_type: &str) -> Result<Vec<(Descriptor, Option<Manifest>)>, LayoutError> {
        let entries = self
            .entries
            .iter()
            .filter(|entry| entry.artifact_type.as_deref() == Some(artifact_type));
        let read = |entry: &Entry| {
            let descriptor = entry.descriptor.clone();
            let content = self.content(&descriptor, MAX_MANIFEST_SIZE)?;
            let manifest = content.and_then(|content| Manifest::parse(&descriptor.media_type, &content).ok());
            Ok((descriptor, manifest))
        };
        entries.map(read).collect()
    }

    /// The bytes that a descriptor describes; none where they are not there, are others, or more than `limit`.
    ///
    /// # Errors
    ///
    /// When the layout cannot be read.
    pub fn content(&self, descriptor: &Descriptor, limit: usize) -> Result<Option<Vec<u8>>, LayoutError> {
        match self.blob(&descriptor.digest, limit) {
            Ok(content) => Ok(content.filter(|content| descriptor.describes(content))),
            Err(LayoutError::TooLarge { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The one image among several entries, which may name it more than once.
    fn only<'a>(
        &self,
        mut matching: impl Iterator<Item = &'a Entry>,
        name: &str,
    ) -> Result<Option<&'a Descriptor>, LayoutError> {
        let Some(first) = matching.next() else {
            return Ok(None);
        };
        if matching.any(|other| other.descriptor != first.descriptor) {
            return Err(LayoutError::Ambiguous {
                path: self.path.clone(),
                name: name.into(),
            });
        }
        Ok(Some(&first.descriptor))
    }

    /// Checks an image's own bytes.
    fn prove(&self, image: &Descriptor, name: &str) -> Result<Descriptor, LayoutError> {
        let content = self.blob(&image.digest, MAX_MANIFEST_SIZE)?;
        let content = content.ok_or_else(|| LayoutError::NotFound {
            path: self.path.clone(),
            reference: name.into(),
        })?;
        if !image.describes(&content) {
            return Err(LayoutError::NotALayout {
                path: self.path.clone(),
                cause: format!("the bytes of {} are others", image.digest).into(),
            });
        }
        Ok(image.clone())
    }

    /// The bytes filed under a digest; whoever uses them checks that they are its own.
    fn blob(&self, digest: &Digest, limit: usize) -> Result<Option<Vec<u8>>, LayoutError> {
        let too_large = || LayoutError::TooLarge {
            path: self.path.clone(),
            what: digest.to_string().into(),
            limit,
        };
        let io_error = |cause| LayoutError::Io {
            path: self.path.clone(),
            cause,
        };
        let content = match &self.source {
            Source::Folder => {
                let path = self
                    .path
                    .join("blobs")
                    .join(digest.algorithm().as_str())
                    .join(digest.hex());
                read_file(&path, limit).map_err(io_error)?
            }
            Source::Tar { file, blobs } => match blobs.get(digest) {
                None => None,
                Some(&(offset, size)) => Some(read_at(file, offset, size, limit).map_err(io_error)?),
            },
        };
        match content {
            Some(content) if content.len() > limit => Err(too_large()),
            content => Ok(content),
        }
    }
}

fn read_index(path: &Path, marker: Option<Vec<u8>>, index: Option<Vec<u8>>) -> Result<Vec<Entry>, LayoutError> {
    let refuse = |cause: String| LayoutError::NotALayout {
        path: path.to_owned(),
        cause: cause.into(),
    };
    let marker = marker.ok_or_else(|| refuse("it has no oci-layout".to_owned()))?;
    let version: WireLayout =
        serde_json::from_slice(&marker).map_err(|error| refuse(format!("oci-layout: {error}")))?;
    if version.image_layout_version != "1.0.0" {
        return Err(refuse(format!(
            "oci-layout: version {}: expected 1.0.0",
            version.image_layout_version
        )));
    }
    let index = index.ok_or_else(|| refuse("it has no index.json".to_owned()))?;
    if index.len() > MAX_MANIFEST_SIZE {
        return Err(LayoutError::TooLarge {
            path: path.to_owned(),
            what: "index.json".into(),
            limit: MAX_MANIFEST_SIZE,
        });
    }
    let index: WireIndex = serde_json::from_slice(&index).map_err(|error| refuse(format!("index.json: {error}")))?;
    if index.manifests.len() > MAX_REFERRERS {
        return Err(LayoutError::TooManyEntries {
            path: path.to_owned(),
            limit: MAX_REFERRERS,
        });
    }
    let entry = |(position, wire): (usize, WireEntry)| {
        let place = |cause: String| refuse(format!("index.json: manifests[{position}]: {cause}"));
        let annotations = wire.annotations.unwrap_or_default();
        let annotation = |name: &str| annotations.get(name).map(String::as_str);
        Ok(Entry {
            descriptor: Descriptor {
                media_type: MediaType::parse(&wire.media_type).map_err(|error| place(error.to_string()))?,
                digest: wire.digest.parse().map_err(|error| place(format!("{error}")))?,
                size: wire.size,
            },
            artifact_type: wire.artifact_type.map(Into::into),
            name: annotation(REF_NAME).map(Into::into),
            image: annotation(IMAGE_NAME).and_then(|name| name.parse().ok()),
            kind: annotation(COSIGN_KIND).and_then(CosignKind::of),
        })
    };
    index.manifests.into_iter().enumerate().map(entry).collect()
}

/// Opens a regular file; `None` for anything else. A symbolic link is not followed, and a pipe does not block.
fn open_file(path: &Path) -> io::Result<Option<File>> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(flags.bits()).open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        // What O_NOFOLLOW says about a link.
        Err(error) if error.raw_os_error() == Some(nix::errno::Errno::ELOOP as i32) => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(file.metadata()?.is_file().then_some(file))
}

/// Reads a regular file, up to one byte more than `limit`.
fn read_file(path: &Path, limit: usize) -> io::Result<Option<Vec<u8>>> {
    let Some(file) = open_file(path)? else {
        return Ok(None);
    };
    let mut content = Vec::new();
    file.take(limit as u64 + 1).read_to_end(&mut content)?;
    Ok(Some(content))
}

/// Reads a part of a file, up to one byte more than `limit`. What the tar claims allocates no more than that.
fn read_at(file: &File, offset: u64, size: u64, limit: usize) -> io::Result<Vec<u8>> {
    let length = usize::try_from(size).unwrap_or(usize::MAX).min(limit.saturating_add(1));
    let mut content = vec![0; length];
    file.read_exact_at(&mut content, offset)?;
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use assay_verify::evidence::NotASignature;

    use super::*;
    use crate::fetch::SkipReason;

    const SUBJECT: &str = "sha256:b8479de3f88fb259a0a9ea82a5b2a052a1ef3c4ebbcfc61482d5ae4c831f8af9";

    fn vector(name: &str) -> PathBuf {
        let root = std::env::var_os("ASSAY_VECTORS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors"),
            PathBuf::from,
        );
        let path = root.join("notation/notation/registry/oci_layout").join(name);
        assert!(
            path.is_dir(),
            "{} is absent: set ASSAY_VECTORS to the folder of test vectors",
            path.display()
        );
        path
    }

    fn subject() -> Digest {
        SUBJECT.parse().unwrap()
    }

    fn tar_of(folder: &Path) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.as_file());
        builder.append_dir_all(".", folder).unwrap();
        builder.finish().unwrap();
        drop(builder);
        file
    }

    #[test]
    fn finds_the_signatures_that_notation_wrote() {
        for (name, count) in [
            ("e2e", 0),
            ("e2e-expired-signature", 1),
            ("e2e-invalid-signature", 1),
            ("e2e-valid-multiple-signatures", 2),
            ("e2e-valid-signature", 1),
            ("e2e-with-expired-cert", 1),
            ("e2e-with-invalid-timestamped-signature", 1),
            ("e2e-with-timestamped-signature", 1),
        ] {
            let folder = vector(name);
            let tar = tar_of(&folder);
            for path in [folder.as_path(), tar.path()] {
                let layout = Layout::open(path).unwrap();
                let descriptor = layout.resolve("v1").unwrap();
                let digest = descriptor.digest.to_string();
                assert_eq!(layout.resolve(&digest).unwrap(), descriptor, "{name}");
                let found = layout.signatures(&descriptor.digest).unwrap();
                assert_eq!(found.signatures.len(), count, "{name}: {:?}", found.skipped);
                assert!(
                    found
                        .signatures
                        .iter()
                        .all(|signature| signature.manifest().subject() == Some(&descriptor))
                );
            }
        }
    }

    #[test]
    fn the_signatures_of_one_image_are_not_those_of_another() {
        let layout = Layout::open(&vector("e2e-valid-signature")).unwrap();
        assert!(
            layout
                .signatures(&Digest::sha256(b"other"))
                .unwrap()
                .signatures
                .is_empty()
        );
    }

    #[test]
    fn an_image_that_is_not_there_is_not_found() {
        let layout = Layout::open(&vector("e2e-valid-signature")).unwrap();
        for reference in ["v2", "sha256:abc", &Digest::sha256(b"other").to_string()] {
            assert!(
                matches!(layout.resolve(reference), Err(LayoutError::NotFound { .. })),
                "{reference}"
            );
        }
    }

    /// A copy of a vector, as a folder that a test may damage.
    fn copy(name: &str) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        let mut archive = tar::Archive::new(tar_of(&vector(name)).reopen().unwrap());
        archive.unpack(copy.path()).unwrap();
        copy
    }

    fn envelope_file(layout: &tempfile::TempDir) -> PathBuf {
        let found = Layout::open(layout.path()).unwrap().signatures(&subject()).unwrap();
        let digest = &found.signatures[0].layer().descriptor.digest;
        layout.path().join("blobs/sha256").join(digest.hex())
    }

    fn replace(path: &Path, content: &[u8]) {
        std::fs::remove_file(path).unwrap();
        File::create(path).unwrap().write_all(content).unwrap();
    }

    #[test]
    fn a_damaged_envelope_is_skipped_with_its_reason() {
        let layout = copy("e2e-valid-signature");
        let envelope = envelope_file(&layout);
        replace(&envelope, b"{}");
        let found = Layout::open(layout.path()).unwrap().signatures(&subject()).unwrap();
        assert!(found.signatures.is_empty());
        assert!(matches!(
            found.skipped[0].reason,
            SkipReason::NotASignature(NotASignature::WrongEnvelope(_))
        ));
        std::fs::remove_file(&envelope).unwrap();
        let found = Layout::open(layout.path()).unwrap().signatures(&subject()).unwrap();
        assert!(matches!(found.skipped[0].reason, SkipReason::Missing(_)));
    }

    #[test]
    fn links_and_pipes_are_not_read() {
        let layout = copy("e2e-valid-signature");
        let envelope = envelope_file(&layout);
        let elsewhere = layout.path().join("elsewhere");
        std::fs::rename(&envelope, &elsewhere).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &envelope).unwrap();
        let found = Layout::open(layout.path()).unwrap().signatures(&subject()).unwrap();
        assert!(found.signatures.is_empty());
        std::fs::remove_file(&envelope).unwrap();
        nix::unistd::mkfifo(&envelope, nix::sys::stat::Mode::S_IRWXU).unwrap();
        let found = Layout::open(layout.path()).unwrap().signatures(&subject()).unwrap();
        assert!(matches!(found.skipped[0].reason, SkipReason::Missing(_)));
    }

    #[test]
    fn an_image_with_other_bytes_is_refused() {
        let layout = copy("e2e");
        let digest = subject();
        replace(&layout.path().join("blobs/sha256").join(digest.hex()), b"{}");
        assert!(matches!(
            Layout::open(layout.path()).unwrap().resolve("v1"),
            Err(LayoutError::NotALayout { .. })
        ));
    }

    #[test]
    fn refuses_what_is_not_a_layout() {
        let empty = tempfile::tempdir().unwrap();
        assert!(matches!(
            Layout::open(empty.path()),
            Err(LayoutError::NotALayout { .. })
        ));
        let mut text = tempfile::NamedTempFile::new().unwrap();
        text.write_all(&[b'x'; 2000]).unwrap();
        assert!(matches!(Layout::open(text.path()), Err(LayoutError::NotALayout { .. })));
        assert!(matches!(
            Layout::open(&empty.path().join("absent")),
            Err(LayoutError::Io { .. })
        ));
        let broken = copy("e2e");
        replace(
            &broken.path().join("index.json"),
            br#"{"manifests":[{"mediaType":"a/b","digest":"sha256:../..","size":1}]}"#,
        );
        let error = Layout::open(broken.path()).unwrap_err().to_string();
        assert!(error.contains("manifests[0]"), "{error}");
    }

    #[test]
    fn a_tar_that_claims_more_than_it_holds_is_refused() {
        let tar = tar_of(&vector("e2e"));
        let whole = std::fs::read(tar.path()).unwrap();
        for length in [512, 700, 1500] {
            std::fs::write(tar.path(), &whole[..length]).unwrap();
            assert!(Layout::open(tar.path()).is_err(), "{length}");
        }
        // A header that claims 8 GiB for the index.
        let mut header = tar::Header::new_gnu();
        header.set_path("index.json").unwrap();
        header.set_size(8 << 30);
        header.set_cksum();
        std::fs::write(tar.path(), header.as_bytes()).unwrap();
        assert!(Layout::open(tar.path()).is_err());
    }

    #[test]
    fn a_tar_with_two_indexes_is_refused() {
        let tar = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(tar.as_file());
        for _ in 0..2 {
            let mut header = tar::Header::new_gnu();
            header.set_size(2);
            header.set_mode(0o644);
            builder.append_data(&mut header, "index.json", &b"{}"[..]).unwrap();
        }
        builder.finish().unwrap();
        drop(builder);
        let error = Layout::open(tar.path()).unwrap_err().to_string();
        assert!(error.contains("twice"), "{error}");
    }

    #[test]
    fn finds_blobs_whose_names_need_an_extension_header() {
        let digest = Digest::of(assay_verify::digest::Algorithm::Sha512, b"content");
        let tar = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(tar.as_file());
        let mut append = |name: &str, content: &[u8]| {
            let mut header = tar::Header::new_gnu();
            header.set_size(content.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, content).unwrap();
        };
        let index = format!(
            r#"{{"manifests":[{{"mediaType":"a/b","digest":"{digest}","size":7,"annotations":{{"{REF_NAME}":"v1"}}}}]}}"#
        );
        append("./oci-layout", br#"{"imageLayoutVersion":"1.0.0"}"#);
        append("./index.json", index.as_bytes());
        append(&format!("blobs/sha512/{}", digest.hex()), b"content");
        builder.finish().unwrap();
        drop(builder);
        assert_eq!(Layout::open(tar.path()).unwrap().resolve("v1").unwrap().digest, digest);
    }
}
