//! What a signature's payload names, and files that are signed without a registry
//! (notation spec: signature-specification.md#payload and #blob-signatures).

use std::fmt;
use std::str::FromStr;

use sha2::{Digest as _, Sha256, Sha384, Sha512};

use crate::crypto::Hash;
use crate::descriptor::{Descriptor, MediaType, ParseDescriptorError};
use crate::digest::{Algorithm, Digest, ParseDigestError, check_hex, hex};
use crate::untrusted::Untrusted;

/// The digest of a signed artifact: a content digest, or SHA-384, by which RSA-3072 and P-384 keys sign files.
///
/// SHA-384 is no registered algorithm of content digests (OCI image specification: descriptor.md#registered-algorithms).
/// So it names nothing in a registry or a store, and a [`Digest`] cannot hold it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ArtifactDigest {
    /// By SHA-256 or SHA-512.
    Content(Digest),
    /// By SHA-384: its lower-case hexadecimal digits.
    Sha384(Box<str>),
}

impl ArtifactDigest {
    /// The hash that it is by.
    pub fn hash(&self) -> Hash {
        match self {
            Self::Content(digest) => match digest.algorithm() {
                Algorithm::Sha256 => Hash::Sha256,
                Algorithm::Sha512 => Hash::Sha512,
            },
            Self::Sha384(_) => Hash::Sha384,
        }
    }
}

impl FromStr for ArtifactDigest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const LENGTH: usize = 96;
        match text.strip_prefix("sha384:") {
            Some(digits) => Ok(Self::Sha384(check_hex(text, digits, LENGTH)?.into())),
            None => text.parse().map(Self::Content),
        }
    }
}

impl fmt::Display for ArtifactDigest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Content(digest) => digest.fmt(f),
            Self::Sha384(digits) => write!(f, "sha384:{digits}"),
        }
    }
}

/// The artifact that a payload names: its `targetArtifact`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedArtifact {
    media_type: Box<str>,
    digest: ArtifactDigest,
    size: u64,
}

impl SignedArtifact {
    /// Takes over the parts of a payload. Signers may give the media type of a file parameters (RFC 6838 §4.3), which
    /// that of an image never has.
    ///
    /// # Errors
    ///
    /// When the media type is not `type/subtype`, with or without parameters.
    pub(crate) fn new(media_type: &str, digest: ArtifactDigest, size: u64) -> Result<Self, ParseDescriptorError> {
        let kind = media_type.split_once(';').map_or(media_type, |(kind, _)| kind);
        MediaType::parse(kind.trim_ascii_end())?;
        Ok(Self {
            media_type: media_type.into(),
            digest,
            size,
        })
    }

    /// The media type, with its parameters. It is the signer's text: show it as [`Untrusted`].
    pub fn media_type(&self) -> &str {
        &self.media_type
    }

    /// The digest.
    pub fn digest(&self) -> &ArtifactDigest {
        &self.digest
    }

    /// The size in bytes.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The same as the descriptor of something in a registry; none where a registry can have no such thing.
    pub fn descriptor(&self) -> Option<Descriptor> {
        let ArtifactDigest::Content(digest) = &self.digest else {
            return None;
        };
        Some(Descriptor {
            media_type: MediaType::parse(&self.media_type).ok()?,
            digest: digest.clone(),
            size: self.size,
        })
    }
}

/// Equal in media type, digest and size, byte for byte.
impl PartialEq<Descriptor> for SignedArtifact {
    fn eq(&self, other: &Descriptor) -> bool {
        let digest = matches!(&self.digest, ArtifactDigest::Content(digest) if *digest == other.digest);
        digest && self.size == other.size && *self.media_type == *other.media_type.as_str()
    }
}

impl fmt::Display for SignedArtifact {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let media_type = Untrusted::new(&self.media_type);
        write!(f, "{} ({media_type}, {} bytes)", self.digest, self.size)
    }
}

/// A file that is signed without a registry. Who has the file makes this of it: a judgement never reads one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blob {
    /// The digest of all its bytes. A signature counts only by the hash of its own algorithm: see [`BlobHasher`].
    pub digest: ArtifactDigest,
    /// How many bytes it has.
    pub size: u64,
    /// What the asker takes it for. None where that does not matter: a file does not say what it is.
    pub media_type: Option<Box<str>>,
}

/// Digests a file piece by piece, because it may be larger than memory.
#[derive(Clone, Debug)]
pub struct BlobHasher {
    state: State,
    size: u64,
}

#[derive(Clone, Debug)]
enum State {
    Sha256(Sha256),
    Sha384(Sha384),
    Sha512(Sha512),
}

impl BlobHasher {
    /// Begins, with the hash of the signature's algorithm.
    pub fn new(hash: Hash) -> Self {
        let state = match hash {
            Hash::Sha256 => State::Sha256(Sha256::new()),
            Hash::Sha384 => State::Sha384(Sha384::new()),
            Hash::Sha512 => State::Sha512(Sha512::new()),
        };
        Self { state, size: 0 }
    }

    /// Adds the next bytes.
    pub fn update(&mut self, bytes: &[u8]) {
        match &mut self.state {
            State::Sha256(state) => state.update(bytes),
            State::Sha384(state) => state.update(bytes),
            State::Sha512(state) => state.update(bytes),
        }
        self.size += bytes.len() as u64;
    }

    /// Ends the file.
    pub fn finish(self, media_type: Option<&str>) -> Blob {
        let digest = match self.state {
            State::Sha256(state) => ArtifactDigest::Content(Digest::of_output(Algorithm::Sha256, &state.finalize())),
            State::Sha384(state) => ArtifactDigest::Sha384(hex(&state.finalize()).into()),
            State::Sha512(state) => ArtifactDigest::Content(Digest::of_output(Algorithm::Sha512, &state.finalize())),
        };
        Blob {
            digest,
            size: self.size,
            media_type: media_type.map(Into::into),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix D: SHA-384 of "abc".
    const ABC: &str =
        "sha384:cb00753f45a35e8bb5a03d699ac65007272c32ab0eded1631a8b605a43ff5bed8086072ba1e7cc2358baeca134c825a7";

    fn digested(hash: Hash, pieces: &[&str]) -> Blob {
        let mut hasher = BlobHasher::new(hash);
        for piece in pieces {
            hasher.update(piece.as_bytes());
        }
        hasher.finish(None)
    }

    #[test]
    fn digests_a_file_in_pieces_by_every_hash() {
        for hash in [Hash::Sha256, Hash::Sha384, Hash::Sha512] {
            let blob = digested(hash, &["a", "", "bc"]);
            assert_eq!(blob, digested(hash, &["abc"]));
            assert_eq!((blob.size, blob.digest.hash()), (3, hash));
            assert_eq!(blob.digest.to_string().parse(), Ok(blob.digest));
        }
        assert_eq!(digested(Hash::Sha384, &["abc"]).digest.to_string(), ABC);
        let content = ArtifactDigest::Content(Digest::sha256(b"abc"));
        assert_eq!(digested(Hash::Sha256, &["abc"]).digest, content);
    }

    #[test]
    fn sha384_is_a_digest_of_files_and_never_of_content() {
        assert!(ABC.parse::<ArtifactDigest>().is_ok());
        assert!(ABC.parse::<Digest>().is_err());
        for text in [
            "sha384:abc",
            &ABC.to_uppercase(),
            &ABC[..ABC.len() - 1],
            "md5:abc",
            "abc",
        ] {
            assert!(text.parse::<ArtifactDigest>().is_err(), "{text}");
        }
        let signed = SignedArtifact::new("text/plain", ABC.parse().unwrap(), 3).unwrap();
        assert_eq!(signed.descriptor(), None);
    }

    #[test]
    fn a_media_type_with_parameters_is_one_of_files_only() {
        let digest = || ArtifactDigest::Content(Digest::sha256(b"abc"));
        let signed = SignedArtifact::new("text/plain; charset=utf-8", digest(), 3).unwrap();
        assert_eq!(signed.media_type(), "text/plain; charset=utf-8");
        assert_eq!(signed.descriptor(), None);
        assert!(
            SignedArtifact::new("text/plain", digest(), 3)
                .unwrap()
                .descriptor()
                .is_some()
        );
        for text in ["", "text", "; a=b", "text/pl ain"] {
            assert!(SignedArtifact::new(text, digest(), 3).is_err(), "{text}");
        }
    }
}
