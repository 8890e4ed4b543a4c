//! The signatures of an image in a layout.
//!
//! A layout has no referrers API. Its signatures are among the manifests that `index.json` lists, directly or through nested
//! indexes, as notation finds them; under the names of cosign's tags; beside the image that `cosign save` wrote; or nowhere:
//! of bundles `cosign save` keeps the blobs and forgets the list, so those are found by their subject.

use std::collections::HashSet;
use std::fs;
use std::io;
use std::sync::Arc;

use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::{Algorithm, Digest};
use assay_verify::evidence::{
    NotASignature, Signature, SignatureFormat, SignatureId, SignatureLayer, SignatureManifest,
};
use assay_verify::limits::{
    MAX_LAYOUT_TAR_ENTRIES, MAX_MANIFEST_SIZE, MAX_NESTING, MAX_REFERRERS, MAX_SIGNATURES_MANIFEST_SIZE,
    MAX_VERIFICATION_MEMORY,
};
use assay_verify::manifest::{Index, Manifest};

use super::{CosignKind, Entry, Layout, LayoutError, Source};
use crate::fetch::FetchError;
use crate::fetch::discovery::{CosignTag, SkipReason, Skipped, SkippedItem};

/// What stands in the place of a registry's name.
pub const THE_LAYOUT: &str = "the layout";

/// The signatures of one image in a layout.
#[derive(Debug, Default)]
pub struct Found {
    /// The bytes of the image's own manifest or index, where they are there. Nobody has compared them with a digest.
    pub image: Option<Arc<[u8]>>,
    /// The signatures. Nothing in them is verified yet.
    pub signatures: Vec<Signature>,
    /// What belongs to the image, or cannot be read, and yields no signature.
    pub skipped: Vec<Skipped>,
    /// Why there may be signatures beside these.
    pub incomplete: Option<FetchError>,
    /// Why there may be a newer attestation than these: one that is missing, damaged or too large. Where any good one
    /// suffices it says nothing.
    pub unread: Option<FetchError>,
}

/// What a layout lists, looked at once for all its images.
#[derive(Debug)]
pub struct Survey<'a> {
    layout: &'a Layout,
    listed: Vec<Listed>,
    /// Manifests that nothing lists, with what they refer to.
    loose: Vec<(Descriptor, Digest)>,
}

/// A manifest that `index.json` lists, directly or through nested indexes.
#[derive(Debug)]
struct Listed {
    descriptor: Descriptor,
    what: Sighting,
}

/// What a listed manifest turned out to be.
#[derive(Debug)]
enum Sighting {
    /// It refers to this.
    RefersTo(Digest),
    /// It is no referrer, and none is hidden by it.
    Other,
    /// It cannot be read, and it or what it lists may be an attestation.
    Unread(SkipReason),
    /// It cannot be read and yields no signature, for this reason.
    Skipped(SkipReason),
}

/// A walk through what belongs to one image.
struct Walk<'a> {
    layout: &'a Layout,
    subject: &'a Digest,
    seen: HashSet<Digest>,
    /// Bytes of the signatures that were found.
    held: usize,
    found: Found,
}

impl Layout {
    /// The signatures of the image `subject`.
    ///
    /// # Errors
    ///
    /// When the layout exceeds a limit or cannot be read. One unreadable manifest does not spoil the others.
    pub fn signatures(&self, subject: &Digest) -> Result<Found, LayoutError> {
        self.survey()?.signatures(subject)
    }

    /// Looks at everything that is listed, or filed without being listed, once.
    ///
    /// # Errors
    ///
    /// When the layout exceeds a limit or cannot be read.
    pub fn survey(&self) -> Result<Survey<'_>, LayoutError> {
        let mut survey = Survey {
            layout: self,
            listed: Vec::new(),
            loose: Vec::new(),
        };
        let seen = survey.list()?;
        survey.search(&seen)?;
        Ok(survey)
    }

    /// Whether a manifest is the image's by its name: it needs no subject then. The name is a claim; the signed payload
    /// decides.
    fn names(&self, entry: &Entry, subject: &Digest) -> bool {
        let tags = [CosignTag::Signatures, CosignTag::Attestations].map(|tag| tag.of(subject));
        let is_saved = |entry: &Entry| entry.kind == Some(CosignKind::Image) && entry.descriptor.digest == *subject;
        match (&entry.name, entry.kind) {
            (Some(name), _) if tags.iter().any(|tag| **tag == **name) => true,
            (_, Some(CosignKind::Signatures)) => self.entries.iter().any(is_saved),
            _ => false,
        }
    }

    /// The entries of a nested index; none where it is missing or malformed, since then nothing in it can be fetched.
    fn nested(&self, descriptor: &Descriptor) -> Result<Option<Vec<Descriptor>>, LayoutError> {
        let content = self.blob(&descriptor.digest, MAX_MANIFEST_SIZE)?;
        let index = content
            .filter(|content| descriptor.digest.matches(content))
            .and_then(|content| Index::parse(&descriptor.media_type, &content).ok());
        Ok(index.map(|index| index.entries.into_iter().map(|entry| entry.descriptor).collect()))
    }

    /// Everything that is filed as a blob of at most `limit` bytes, in the order of the digests.
    fn small_blobs(&self, limit: usize) -> Result<Vec<Digest>, LayoutError> {
        let too_many = || LayoutError::TooManyEntries {
            path: self.path.clone(),
            limit: MAX_LAYOUT_TAR_ENTRIES,
        };
        let mut digests = Vec::new();
        match &self.source {
            Source::Tar { blobs, .. } => {
                let small = blobs.iter().filter(|(_, (_, size))| *size <= limit as u64);
                digests.extend(small.map(|(digest, _)| digest.clone()));
            }
            Source::Folder => {
                for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
                    let path = self.path.join("blobs").join(algorithm.as_str());
                    let io_error = |cause| LayoutError::Io {
                        path: path.clone(),
                        cause,
                    };
                    let files = match fs::read_dir(&path) {
                        Ok(files) => files,
                        Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                        Err(error) => return Err(io_error(error)),
                    };
                    for (count, file) in files.enumerate() {
                        if count >= MAX_LAYOUT_TAR_ENTRIES {
                            return Err(too_many());
                        }
                        let file = file.map_err(io_error)?;
                        // Of the link itself, where it is one.
                        let metadata = file.metadata().map_err(io_error)?;
                        let name = file.file_name();
                        let digest = name.to_str().map(|name| format!("{}:{name}", algorithm.as_str()));
                        if metadata.is_file() && metadata.len() <= limit as u64 {
                            digests.extend(digest.and_then(|digest| digest.parse::<Digest>().ok()));
                        }
                    }
                }
            }
        }
        digests.sort();
        Ok(digests)
    }
}

impl Survey<'_> {
    /// The signatures of the image `subject`.
    ///
    /// # Errors
    ///
    /// When the layout cannot be read. One unreadable manifest does not spoil the others.
    pub fn signatures(&self, subject: &Digest) -> Result<Found, LayoutError> {
        let layout = self.layout;
        let mut walk = Walk {
            layout,
            subject,
            seen: HashSet::new(),
            held: 0,
            found: Found::default(),
        };
        match walk.everything(self) {
            // What was found until then counts.
            Err(LayoutError::TooManySignatures { .. }) => {
                walk.found.incomplete = Some(FetchError::TooManySignatures {
                    registry: THE_LAYOUT.into(),
                    what: subject.to_string().into(),
                });
            }
            outcome => outcome?,
        }
        walk.found.image = match layout.blob(subject, MAX_MANIFEST_SIZE) {
            Ok(image) => image.map(Into::into),
            Err(LayoutError::TooLarge { .. }) => None,
            Err(error) => return Err(error),
        };
        Ok(walk.found)
    }

    /// Reads what `index.json` lists. What was seen.
    fn list(&mut self) -> Result<HashSet<Digest>, LayoutError> {
        let layout = self.layout;
        let mut seen = HashSet::new();
        let entries = layout.entries.iter().rev().filter(|entry| !entry.is_our_own());
        let mut left: Vec<(Descriptor, usize)> = entries.map(|entry| (entry.descriptor.clone(), 0)).collect();
        while let Some((descriptor, depth)) = left.pop() {
            if !seen.insert(descriptor.digest.clone()) {
                continue;
            }
            if seen.len() + left.len() > MAX_REFERRERS {
                return Err(LayoutError::TooManyEntries {
                    path: layout.path.clone(),
                    limit: MAX_REFERRERS,
                });
            }
            let what = if descriptor.media_type.is_index() {
                match depth < MAX_NESTING {
                    true => match layout.nested(&descriptor)? {
                        Some(nested) => {
                            left.extend(nested.into_iter().rev().map(|nested| (nested, depth + 1)));
                            Sighting::Other
                        }
                        // Referrers may have been listed in it.
                        None if depth == 0 => Sighting::Unread(SkipReason::Missing(descriptor.digest.clone())),
                        None => Sighting::Other,
                    },
                    false => Sighting::Other,
                }
            } else {
                self.look(&descriptor, depth)?
            };
            if !matches!(what, Sighting::Other) {
                self.listed.push(Listed { descriptor, what });
            }
        }
        Ok(seen)
    }

    fn look(&self, descriptor: &Descriptor, depth: usize) -> Result<Sighting, LayoutError> {
        let content = match self.layout.blob(&descriptor.digest, MAX_SIGNATURES_MANIFEST_SIZE) {
            Ok(Some(content)) => content,
            // An image's children are often left out of a layout.
            Ok(None) if depth > 0 => return Ok(Sighting::Other),
            Ok(None) => return Ok(Sighting::Unread(SkipReason::Missing(descriptor.digest.clone()))),
            Err(LayoutError::TooLarge { .. }) => {
                let too_large = NotASignature::ManifestTooLarge(descriptor.size);
                return Ok(Sighting::Unread(too_large.into()));
            }
            Err(error) => return Err(error),
        };
        if !descriptor.digest.matches(&content) {
            let reason = NotASignature::WrongBytes(descriptor.digest.clone());
            return Ok(Sighting::Skipped(reason.into()));
        }
        Ok(match Manifest::parse(&descriptor.media_type, &content) {
            Ok(manifest) => manifest
                .subject
                .map_or(Sighting::Other, |subject| Sighting::RefersTo(subject.digest)),
            Err(error) => Sighting::Skipped(NotASignature::Manifest(error).into()),
        })
    }

    /// Reads the blobs that nothing lists, and notes the manifests that refer to something.
    fn search(&mut self, seen: &HashSet<Digest>) -> Result<(), LayoutError> {
        let Ok(media_type) = MediaType::parse(MediaType::OCI_MANIFEST) else {
            return Ok(());
        };
        let layout = self.layout;
        for digest in layout.small_blobs(MAX_SIGNATURES_MANIFEST_SIZE)? {
            if seen.contains(&digest) {
                continue;
            }
            let Some(content) = layout.blob(&digest, MAX_SIGNATURES_MANIFEST_SIZE)? else {
                continue;
            };
            // Most blobs are something else.
            if !content.trim_ascii_start().starts_with(b"{") {
                continue;
            }
            let parsed = Manifest::parse(&media_type, &content).ok();
            if let Some(subject) = parsed.and_then(|manifest| manifest.subject) {
                let descriptor = Descriptor {
                    media_type: media_type.clone(),
                    size: content.len() as u64,
                    digest,
                };
                self.loose.push((descriptor, subject.digest));
            }
        }
        Ok(())
    }
}

impl Walk<'_> {
    fn everything(&mut self, survey: &Survey<'_>) -> Result<(), LayoutError> {
        let layout = self.layout;
        for entry in layout.entries.iter().filter(|entry| layout.names(entry, self.subject)) {
            self.named(&entry.descriptor)?;
        }
        for Listed { descriptor, what } in &survey.listed {
            // What is named was read.
            if !self.seen.insert(descriptor.digest.clone()) {
                continue;
            }
            match what {
                Sighting::RefersTo(subject) if subject == self.subject => self.reopen(descriptor)?,
                Sighting::RefersTo(_) | Sighting::Other => {}
                // An image too large for a signature.
                Sighting::Unread(_) if descriptor.digest == *self.subject => {}
                Sighting::Unread(reason) => self.unread(&SkippedItem::Manifest(descriptor.digest.clone()), reason),
                Sighting::Skipped(reason) => self.skip_manifest(descriptor, reason.clone()),
            }
        }
        for (descriptor, subject) in &survey.loose {
            if subject == self.subject && self.seen.insert(descriptor.digest.clone()) {
                self.reopen(descriptor)?;
            }
        }
        Ok(())
    }

    /// Reads a manifest that was seen before.
    fn reopen(&mut self, descriptor: &Descriptor) -> Result<(), LayoutError> {
        match self.layout.blob(&descriptor.digest, MAX_SIGNATURES_MANIFEST_SIZE)? {
            Some(content) => self.open(descriptor, content),
            // It was there a moment ago.
            None => {
                self.skip_manifest(descriptor, SkipReason::Missing(descriptor.digest.clone()));
                Ok(())
            }
        }
    }

    /// Remembers that something which may be an attestation of the image cannot be read.
    fn unread(&mut self, what: &SkippedItem, reason: &SkipReason) {
        let registry = THE_LAYOUT.into();
        let error = match reason {
            SkipReason::Missing(digest) => FetchError::Missing {
                registry,
                what: digest.to_string().into(),
            },
            SkipReason::NotASignature(NotASignature::WrongBytes(digest) | NotASignature::WrongEnvelope(digest)) => {
                FetchError::WrongBytes {
                    registry,
                    digest: digest.clone(),
                }
            }
            SkipReason::NotASignature(
                NotASignature::ManifestTooLarge(_)
                | NotASignature::TooManyLayers(_)
                | NotASignature::EnvelopeTooLarge { .. },
            ) => FetchError::Unread {
                registry,
                what: what.to_string().into(),
            },
            SkipReason::NotASignature(_) | SkipReason::NotSought(_) | SkipReason::Fetch(_) => return,
        };
        self.found.unread.get_or_insert(error);
    }

    /// Reads a manifest that is the image's by its name.
    fn named(&mut self, descriptor: &Descriptor) -> Result<(), LayoutError> {
        if !self.seen.insert(descriptor.digest.clone()) {
            return Ok(());
        }
        match self.layout.blob(&descriptor.digest, MAX_SIGNATURES_MANIFEST_SIZE) {
            Ok(Some(content)) => self.open(descriptor, content),
            Ok(None) => {
                self.skip_manifest(descriptor, SkipReason::Missing(descriptor.digest.clone()));
                Ok(())
            }
            Err(LayoutError::TooLarge { .. }) => {
                let reason = NotASignature::ManifestTooLarge(descriptor.size);
                self.skip_manifest(descriptor, reason.into());
                Ok(())
            }
            Err(error) => Err(error),
        }
    }

    /// Takes the signatures of a manifest, the newest first: cosign appends.
    fn open(&mut self, descriptor: &Descriptor, content: Vec<u8>) -> Result<(), LayoutError> {
        let manifest = match SignatureManifest::open(descriptor, content.into()) {
            Ok(manifest) => Arc::new(manifest),
            Err(reason) => {
                self.skip_manifest(descriptor, reason.into());
                return Ok(());
            }
        };
        self.hold(manifest.json().len())?;
        for (position, layer) in manifest.layers().iter().enumerate().rev() {
            match self.signature(&manifest, position, layer)? {
                Ok(signature) => {
                    self.hold(signature.envelope().len())?;
                    self.found.signatures.push(signature);
                }
                Err(reason) => {
                    let what = SkippedItem::Signature(SignatureId {
                        manifest: manifest.digest().clone(),
                        position,
                    });
                    if matches!(layer.format, SignatureFormat::Bundle | SignatureFormat::Attestation) {
                        self.unread(&what, &reason);
                    }
                    self.found.skipped.push(Skipped { what, reason });
                }
            }
        }
        Ok(())
    }

    fn signature(
        &self,
        manifest: &Arc<SignatureManifest>,
        position: usize,
        layer: &SignatureLayer,
    ) -> Result<Result<Signature, SkipReason>, LayoutError> {
        let (digest, limit) = (&layer.descriptor.digest, layer.format.max_size());
        let size = layer.descriptor.size;
        if size > limit as u64 {
            return Ok(Err(NotASignature::EnvelopeTooLarge { size, limit }.into()));
        }
        match self.layout.blob(digest, limit) {
            Ok(Some(content)) => {
                Ok(Signature::new(Arc::clone(manifest), position, content.into()).map_err(SkipReason::from))
            }
            Ok(None) => Ok(Err(SkipReason::Missing(digest.clone()))),
            Err(LayoutError::TooLarge { .. }) => Ok(Err(NotASignature::WrongEnvelope(digest.clone()).into())),
            Err(error) => Err(error),
        }
    }

    /// Counts bytes that stay in memory.
    fn hold(&mut self, bytes: usize) -> Result<(), LayoutError> {
        self.held += bytes;
        if self.held > MAX_VERIFICATION_MEMORY {
            return Err(LayoutError::TooManySignatures {
                path: self.layout.path.clone(),
            });
        }
        Ok(())
    }

    fn skip_manifest(&mut self, descriptor: &Descriptor, reason: SkipReason) {
        let what = SkippedItem::Manifest(descriptor.digest.clone());
        self.unread(&what, &reason);
        self.found.skipped.push(Skipped { what, reason });
    }
}

#[cfg(test)]
mod tests {
    use std::path::{Path, PathBuf};

    use super::*;

    fn vectors(path: &str) -> PathBuf {
        let root = std::env::var_os("ASSAY_VECTORS").map_or_else(
            || Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/vectors"),
            PathBuf::from,
        );
        let path = root.join("sigstore").join(path);
        assert!(
            path.exists(),
            "{} is absent: set ASSAY_VECTORS to the folder of test vectors",
            path.display()
        );
        path
    }

    fn tar_of(folder: &Path) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        let mut builder = tar::Builder::new(file.as_file());
        builder.append_dir_all(".", folder).unwrap();
        builder.finish().unwrap();
        drop(builder);
        file
    }

    /// A copy of a layout that a test may change.
    fn copy(folder: &Path) -> tempfile::TempDir {
        let copy = tempfile::tempdir().unwrap();
        let mut archive = tar::Archive::new(tar_of(folder).reopen().unwrap());
        archive.unpack(copy.path()).unwrap();
        copy
    }

    fn formats(layout: &Path, subject: &Digest) -> Vec<SignatureFormat> {
        let found = Layout::open(layout).unwrap().signatures(subject).unwrap();
        let skipped: Vec<_> = found.skipped.iter().map(ToString::to_string).collect();
        assert_eq!(skipped, [""; 0], "{}", layout.display());
        let names: HashSet<_> = found.signatures.iter().map(Signature::id).collect();
        assert_eq!(names.len(), found.signatures.len(), "{}", layout.display());
        found
            .signatures
            .iter()
            .map(|signature| signature.layer().format)
            .collect()
    }

    /// The layouts that cosign's signatures were exported into, with the image of each and what belongs to it.
    fn generated() -> Vec<(PathBuf, Digest, Vec<SignatureFormat>)> {
        let cases = fs::read_to_string(vectors("generated/cases.tsv")).unwrap();
        let mut generated = Vec::new();
        for line in cases.lines().skip(1) {
            let mut fields = line.split('\t');
            let (name, digest) = (fields.next().unwrap(), fields.next().unwrap());
            let folder = vectors("generated/layouts").join(name);
            if !folder.is_dir() {
                continue;
            }
            let format = match name {
                name if name.starts_with("v2-att") => SignatureFormat::Attestation,
                name if name.starts_with("v2") => SignatureFormat::SimpleSigning,
                _ => SignatureFormat::Bundle,
            };
            let count = match name {
                // cosign cannot log signatures of these keys in Rekor v1, and wrote none.
                "unsigned" | "v3-key-ed25519-rekor1" | "v3-key-p384-rekor1" | "v3-key-p521-rekor1" => 0,
                "v3-two-signatures" => 2,
                _ => 1,
            };
            generated.push((folder, digest.parse().unwrap(), vec![format; count]));
        }
        assert!(generated.len() > 40, "{}", generated.len());
        generated
    }

    #[test]
    fn finds_the_signatures_that_cosign_wrote() {
        for (folder, subject, expected) in generated() {
            assert_eq!(formats(&folder, &subject), expected, "{}", folder.display());
            let tar = tar_of(&folder);
            assert_eq!(formats(tar.path(), &subject), expected, "{} as a tar", folder.display());
            assert_eq!(formats(&folder, &Digest::sha256(b"other")), [], "{}", folder.display());
        }
    }

    #[test]
    fn finds_the_attestations_that_cosign_saved() {
        for version in ["v1.4.0", "v1.9.0", "v2.1.0"] {
            let folder = vectors("slsa-verifier/gha_generic_container").join(version);
            let digest = fs::read_to_string(folder.join("container_workflow_dispatch.digest")).unwrap();
            let subject: Digest = digest.trim().parse().unwrap();
            let layout = folder.join("container_workflow_dispatch");
            assert_eq!(formats(&layout, &subject), [SignatureFormat::Attestation], "{version}");
            assert_eq!(
                formats(tar_of(&layout).path(), &subject),
                [SignatureFormat::Attestation],
                "{version}"
            );
            // They are those of the image that was saved, and of no other.
            assert_eq!(formats(&layout, &Digest::sha256(b"other")), [], "{version}");
        }
    }

    #[test]
    fn finds_bundles_that_nothing_lists() {
        let (folder, subject, expected) = generated()
            .into_iter()
            .find(|(folder, ..)| folder.ends_with("v3-two-signatures"))
            .unwrap();
        let layout = copy(&folder);
        let index = layout.path().join("index.json");
        let mut json: serde_json::Value = serde_json::from_slice(&fs::read(&index).unwrap()).unwrap();
        let manifests = json["manifests"].as_array_mut().unwrap();
        manifests.retain(|entry| entry["digest"] == subject.to_string());
        assert_eq!(manifests.len(), 1);
        manifests[0]["annotations"] = serde_json::json!({ "kind": "dev.cosignproject.cosign/image" });
        fs::remove_file(&index).unwrap();
        fs::write(&index, json.to_string()).unwrap();
        assert_eq!(formats(layout.path(), &subject), expected);
        assert_eq!(formats(tar_of(layout.path()).path(), &subject), expected);
        assert_eq!(formats(layout.path(), &Digest::sha256(b"other")), []);
    }

    #[test]
    fn a_name_that_leads_to_no_signature_is_skipped_with_its_reason() {
        let (folder, subject, _) = generated()
            .into_iter()
            .find(|(folder, ..)| folder.ends_with("v2-key-p256-notlog"))
            .unwrap();
        let layout = copy(&folder);
        let opened = Layout::open(layout.path()).unwrap();
        let found = opened.signatures(&subject).unwrap();
        let blobs = layout.path().join("blobs/sha256");
        let envelope = &found.signatures[0].layer().descriptor.digest;
        fs::remove_file(blobs.join(envelope.hex())).unwrap();
        let found = opened.signatures(&subject).unwrap();
        assert_eq!(found.skipped[0].reason, SkipReason::Missing(envelope.clone()));
        let SkippedItem::Signature(id) = &found.skipped[0].what else {
            panic!("{:?}", found.skipped)
        };
        fs::remove_file(blobs.join(id.manifest.hex())).unwrap();
        let found = opened.signatures(&subject).unwrap();
        assert!(found.signatures.is_empty());
        assert_eq!(found.skipped[0].reason, SkipReason::Missing(id.manifest.clone()));
    }
}
