//! What is written to the store, and how it is recognised when it is read again.
//!
//! ```text
//! key    'i' + SHA-256 of the image's name     value  frame(image record: checksum, JSON)
//! key    'b' + SHA-256 of the blob's digest    value  frame(the blob's bytes)
//! frame  format version (1) | kind (1) | length of what follows (4, little-endian)
//! ```
//!
//! An image record lists which signatures belong to an image, and whether the bytes of the image itself are there too: those of
//! an index, whose children a verdict is about as well. It carries a checksum over its key and itself, so that a
//! torn record, or one that surfaced under another key, is recognised. A blob needs none: it must be what the listed
//! digest describes. Neither proves that a record is the newest: sled can return older ones after damage. An older list
//! names older evidence, which is judged like any other.

use std::collections::HashMap;

use assay_verify::Timestamp;
use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::evidence::Signature;
use assay_verify::limits::{MAX_MANIFEST_SIZE, MAX_SIGNATURES, MAX_VERIFICATION_MEMORY};
use assay_verify::reference::Repository;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use thiserror::Error;

/// Changes with the layout of any record. Records of another version are not read.
const FORMAT_VERSION: u8 = 4;

const HEADER_LENGTH: usize = 6;

const CHECKSUM_LENGTH: usize = 32;

/// An image record: [`MAX_SIGNATURES`] entries of two digests and a media type each, and the image's own name.
const MAX_IMAGE_RECORD_SIZE: usize = 128 * 1024;

/// The first byte of the key of every image record.
pub(super) const IMAGE_PREFIX: u8 = b'i';

const BLOB_PREFIX: u8 = b'b';

/// The name of an image in the store: its canonical repository and its whole descriptor, hashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ImageKey([u8; 32]);

impl ImageKey {
    /// The key of `descriptor` in `repository`.
    pub fn new(repository: &Repository, descriptor: &Descriptor) -> Self {
        // Neither a repository, a media type nor a digest contains a newline, so no two images have one text.
        let name = format!(
            "{repository}\n{}\n{}\n{}",
            descriptor.media_type, descriptor.digest, descriptor.size
        );
        Self(Sha256::digest(name).into())
    }

    /// Reads the key of an image record back.
    pub(super) fn from_bytes(key: &[u8]) -> Option<Self> {
        match key.split_first() {
            Some((&IMAGE_PREFIX, rest)) => Some(Self(rest.try_into().ok()?)),
            _ => None,
        }
    }

    pub(super) fn to_bytes(self) -> [u8; 33] {
        prefixed(IMAGE_PREFIX, self.0)
    }
}

/// The name of a blob in the store.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct BlobKey([u8; 32]);

impl BlobKey {
    pub(super) fn new(digest: &Digest) -> Self {
        Self(Sha256::digest(digest.to_string()).into())
    }

    pub(super) fn to_bytes(self) -> [u8; 33] {
        prefixed(BLOB_PREFIX, self.0)
    }
}

fn prefixed(prefix: u8, hash: [u8; 32]) -> [u8; 33] {
    let mut key = [prefix; 33];
    for (byte, from) in key.iter_mut().skip(1).zip(hash) {
        *byte = from;
    }
    key
}

/// How much was looked at before evidence was stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Extent {
    /// Enough for a rule that any good evidence satisfies. There may have been newer.
    #[default]
    Enough,
    /// All that there was, under a rule of which the newest statement decides: this was the newest.
    Everything,
}

/// Which signatures belong to an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ImageRecord {
    pub(super) repository: Repository,
    pub(super) descriptor: Descriptor,
    /// When the list was recorded: a hint, for people.
    pub(super) recorded: Timestamp,
    /// The store's count of uses when this image was last used, coarsely.
    pub(super) used: u64,
    pub(super) extent: Extent,
    /// Whether the image is an index whose bytes are stored, as the blob of its own digest.
    pub(super) index: bool,
    /// Whether somebody brought it, and there may be no other place to have it from.
    pub(super) imported: bool,
    pub(super) signatures: Vec<SignatureEntry>,
}

/// One signature: its manifest, which of the manifest's signatures it is, and the blob that the manifest describes there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SignatureEntry {
    pub(super) manifest: Descriptor,
    pub(super) position: usize,
    pub(super) envelope: Digest,
    pub(super) envelope_size: u64,
}

impl SignatureEntry {
    pub(super) fn new(signature: &Signature) -> Self {
        let manifest = signature.manifest();
        Self {
            manifest: Descriptor {
                media_type: manifest.media_type().clone(),
                digest: manifest.digest().clone(),
                size: manifest.json().len() as u64,
            },
            position: signature.position(),
            envelope: signature.layer().descriptor.digest.clone(),
            envelope_size: signature.layer().descriptor.size,
        }
    }

    /// The blobs it needs, and their sizes.
    pub(super) fn blobs(&self) -> [(BlobKey, u64); 2] {
        self.content().map(named)
    }

    fn content(&self) -> [(&Digest, u64); 2] {
        [
            (&self.manifest.digest, self.manifest.size),
            (&self.envelope, self.envelope_size),
        ]
    }
}

/// Why bytes from the store are not the record that was asked for.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub(super) enum RecordError {
    #[error("the record is cut off")]
    Short,
    #[error("the record has format version {0}: expected {FORMAT_VERSION}")]
    Version(u8),
    #[error("the record is of another kind")]
    Kind,
    #[error("the record's checksum does not match")]
    Checksum,
    #[error("the record's content is malformed")]
    Content,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire<'a> {
    repository: &'a str,
    media_type: &'a str,
    digest: String,
    size: u64,
    recorded: Timestamp,
    used: u64,
    extent: Extent,
    index: bool,
    imported: bool,
    signatures: Vec<WireSignature>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct WireSignature {
    media_type: String,
    manifest: String,
    manifest_size: u64,
    position: usize,
    envelope: String,
    envelope_size: u64,
}

impl ImageRecord {
    pub(super) fn key(&self) -> ImageKey {
        ImageKey::new(&self.repository, &self.descriptor)
    }

    /// The blobs it needs, and their sizes; one that several signatures share as often as they do.
    pub(super) fn blobs(&self) -> impl Iterator<Item = (BlobKey, u64)> {
        self.content().map(named)
    }

    /// The same by their digests.
    pub(super) fn content(&self) -> impl Iterator<Item = (&Digest, u64)> {
        let index = self.index.then_some((&self.descriptor.digest, self.descriptor.size));
        index
            .into_iter()
            .chain(self.signatures.iter().flat_map(SignatureEntry::content))
    }

    /// The record as it is written.
    ///
    /// # Errors
    ///
    /// When it is larger than a record may be.
    pub(super) fn encode(&self) -> Result<Vec<u8>, RecordError> {
        let wire = Wire {
            repository: &self.repository.to_string(),
            media_type: self.descriptor.media_type.as_str(),
            digest: self.descriptor.digest.to_string(),
            size: self.descriptor.size,
            recorded: self.recorded,
            used: self.used,
            extent: self.extent,
            index: self.index,
            imported: self.imported,
            signatures: self.signatures.iter().map(WireSignature::from).collect(),
        };
        let json = serde_json::to_vec(&wire).map_err(|_| RecordError::Content)?;
        let mut content = checksum(self.key(), &json).to_vec();
        content.extend(json);
        if content.len() > MAX_IMAGE_RECORD_SIZE {
            return Err(RecordError::Content);
        }
        frame(IMAGE_PREFIX, &content)
    }

    /// Reads the record that was found under `key`.
    ///
    /// # Errors
    ///
    /// When the bytes are not a whole record of this format that was written under this key.
    pub(super) fn decode(key: ImageKey, bytes: &[u8]) -> Result<Self, RecordError> {
        let content = unframe(IMAGE_PREFIX, bytes)?;
        if content.len() > MAX_IMAGE_RECORD_SIZE {
            return Err(RecordError::Content);
        }
        let (stored, json) = content.split_at_checked(CHECKSUM_LENGTH).ok_or(RecordError::Short)?;
        if stored != checksum(key, json) {
            return Err(RecordError::Checksum);
        }
        let record = Self::from_json(json).ok_or(RecordError::Content)?;
        if record.key() != key {
            return Err(RecordError::Content);
        }
        Ok(record)
    }

    fn from_json(json: &[u8]) -> Option<Self> {
        let wire: Wire<'_> = serde_json::from_slice(json).ok()?;
        if wire.signatures.len() > MAX_SIGNATURES {
            return None;
        }
        let record = Self {
            repository: wire.repository.parse().ok()?,
            descriptor: Descriptor {
                media_type: MediaType::parse(wire.media_type).ok()?,
                digest: wire.digest.parse().ok()?,
                size: wire.size,
            },
            recorded: wire.recorded,
            used: wire.used,
            extent: wire.extent,
            index: wire.index,
            imported: wire.imported,
            signatures: wire
                .signatures
                .iter()
                .map(WireSignature::parse)
                .collect::<Option<_>>()?,
        };
        let is_index = record.descriptor.media_type.is_index() && record.descriptor.size <= MAX_MANIFEST_SIZE as u64;
        // A manifest is there once, however many of its signatures are listed.
        let blobs: HashMap<_, _> = record.content().collect();
        let total = blobs.into_values().fold(0, u64::saturating_add);
        (total <= MAX_VERIFICATION_MEMORY as u64 && (is_index || !record.index)).then_some(record)
    }
}

/// The blob of an index itself, and its size.
pub(super) fn index_blob(descriptor: &Descriptor) -> (BlobKey, u64) {
    named((&descriptor.digest, descriptor.size))
}

fn named((digest, size): (&Digest, u64)) -> (BlobKey, u64) {
    (BlobKey::new(digest), size)
}

impl From<&SignatureEntry> for WireSignature {
    fn from(entry: &SignatureEntry) -> Self {
        Self {
            media_type: entry.manifest.media_type.to_string(),
            manifest: entry.manifest.digest.to_string(),
            manifest_size: entry.manifest.size,
            position: entry.position,
            envelope: entry.envelope.to_string(),
            envelope_size: entry.envelope_size,
        }
    }
}

impl WireSignature {
    fn parse(&self) -> Option<SignatureEntry> {
        Some(SignatureEntry {
            manifest: Descriptor {
                media_type: MediaType::parse(&self.media_type).ok()?,
                digest: self.manifest.parse().ok()?,
                size: self.manifest_size,
            },
            position: self.position,
            envelope: self.envelope.parse().ok()?,
            envelope_size: self.envelope_size,
        })
    }
}

/// A blob as it is written.
pub(super) fn encode_blob(content: &[u8]) -> Result<Vec<u8>, RecordError> {
    frame(BLOB_PREFIX, content)
}

/// The bytes of a blob. That they are the right ones is still to be proved, by their digest.
pub(super) fn decode_blob(bytes: &[u8]) -> Result<&[u8], RecordError> {
    unframe(BLOB_PREFIX, bytes)
}

fn frame(kind: u8, content: &[u8]) -> Result<Vec<u8>, RecordError> {
    let length = u32::try_from(content.len()).map_err(|_| RecordError::Content)?;
    let mut bytes = Vec::with_capacity(HEADER_LENGTH + content.len());
    bytes.extend([FORMAT_VERSION, kind]);
    bytes.extend(length.to_le_bytes());
    bytes.extend(content);
    Ok(bytes)
}

fn unframe(expected: u8, bytes: &[u8]) -> Result<&[u8], RecordError> {
    let (&[version, kind, a, b, c, d], content) =
        bytes.split_first_chunk::<HEADER_LENGTH>().ok_or(RecordError::Short)?;
    if version != FORMAT_VERSION {
        return Err(RecordError::Version(version));
    }
    if kind != expected {
        return Err(RecordError::Kind);
    }
    if u32::try_from(content.len()) != Ok(u32::from_le_bytes([a, b, c, d])) {
        return Err(RecordError::Short);
    }
    Ok(content)
}

fn checksum(key: ImageKey, json: &[u8]) -> [u8; CHECKSUM_LENGTH] {
    Sha256::new()
        .chain_update(key.to_bytes())
        .chain_update(json)
        .finalize()
        .into()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record() -> ImageRecord {
        let descriptor = |content: &str| Descriptor {
            media_type: MediaType::parse(MediaType::OCI_MANIFEST).unwrap(),
            digest: Digest::sha256(content.as_bytes()),
            size: content.len() as u64,
        };
        ImageRecord {
            repository: "registry.example/app".parse().unwrap(),
            descriptor: descriptor("image"),
            recorded: Timestamp::from_second(1_800_000_000).unwrap(),
            used: 7,
            extent: Extent::Everything,
            index: false,
            imported: true,
            signatures: vec![SignatureEntry {
                manifest: descriptor("manifest"),
                position: 3,
                envelope: Digest::sha256(b"envelope"),
                envelope_size: 8,
            }],
        }
    }

    #[test]
    fn reads_back_what_was_written() {
        let record = record();
        assert_eq!(ImageRecord::decode(record.key(), &record.encode().unwrap()), Ok(record));
        assert_eq!(decode_blob(&encode_blob(b"bytes").unwrap()), Ok(b"bytes".as_slice()));
    }

    #[test]
    fn only_an_index_within_the_limits_has_its_bytes_beside_its_signatures() {
        let mut record = record();
        record.index = true;
        let written = record.encode().unwrap();
        assert_eq!(ImageRecord::decode(record.key(), &written), Err(RecordError::Content));
        record.descriptor.media_type = MediaType::parse(MediaType::OCI_INDEX).unwrap();
        let written = record.encode().unwrap();
        assert_eq!(ImageRecord::decode(record.key(), &written), Ok(record.clone()));
        assert_eq!(record.blobs().count(), 3);
        record.descriptor.size = MAX_MANIFEST_SIZE as u64 + 1;
        let written = record.encode().unwrap();
        assert_eq!(ImageRecord::decode(record.key(), &written), Err(RecordError::Content));
    }

    #[test]
    fn recognises_every_flipped_bit_and_every_cut() {
        let record = record();
        let good = record.encode().unwrap();
        for bit in 0..8 * good.len() {
            let mut bad = good.clone();
            bad[bit / 8] ^= 1 << (bit % 8);
            assert!(ImageRecord::decode(record.key(), &bad).is_err(), "bit {bit}");
        }
        for length in 0..good.len() {
            assert!(
                ImageRecord::decode(record.key(), &good[..length]).is_err(),
                "{length} bytes"
            );
        }
    }

    #[test]
    fn recognises_a_record_under_another_images_key() {
        let mut other = record();
        other.repository = "registry.example/other".parse().unwrap();
        assert_eq!(
            ImageRecord::decode(other.key(), &record().encode().unwrap()),
            Err(RecordError::Checksum)
        );
    }

    #[test]
    fn recognises_another_format_version_and_kind() {
        let key = record().key();
        let mut bytes = record().encode().unwrap();
        for version in [1, 2, 3] {
            bytes[0] = version;
            assert_eq!(ImageRecord::decode(key, &bytes), Err(RecordError::Version(version)));
        }
        assert_eq!(
            ImageRecord::decode(key, &encode_blob(b"{}").unwrap()),
            Err(RecordError::Kind)
        );
    }

    #[test]
    fn one_digest_in_two_repositories_or_with_two_media_types_is_two_images() {
        let mut keys = vec![record().key()];
        let mut other = record();
        other.repository = "registry.example/other".parse().unwrap();
        keys.push(other.key());
        let mut other = record();
        other.descriptor.media_type = MediaType::parse(MediaType::OCI_INDEX).unwrap();
        keys.push(other.key());
        let mut other = record();
        other.descriptor.size += 1;
        keys.push(other.key());
        keys.sort();
        keys.dedup();
        assert_eq!(keys.len(), 4);
    }
}
