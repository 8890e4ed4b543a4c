//! A question, parsed once.

use assay_verify::descriptor::{Descriptor, MediaType, ParseDescriptorError};
use assay_verify::digest::{Digest, ParseDigestError};
use assay_verify::reference::{ParseReferenceError, Reference, Repository};
use thiserror::Error;

pub use crate::cache::verdicts::Hook;

/// May these bytes be unpacked under this name?
///
/// A tag is not part of the question: the digest that containerd will unpack is what is judged.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Question {
    /// The repository, under its canonical name.
    pub repository: Repository,
    /// What will be unpacked.
    pub descriptor: Descriptor,
    /// Who asks.
    pub hook: Hook,
}

/// Why a question is not well-formed.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum QuestionError {
    /// The name is no reference.
    #[error("name: {0}")]
    Name(#[from] ParseReferenceError),
    /// The digest is none.
    #[error("digest: {0}")]
    Digest(#[from] ParseDigestError),
    /// The descriptor is none.
    #[error("descriptor: {0}")]
    Descriptor(#[from] ParseDescriptorError),
    /// The descriptor names other bytes than the digest.
    #[error("the descriptor is of {descriptor}, the digest asked about is {digest}")]
    DigestsDiffer {
        /// The descriptor's.
        descriptor: Digest,
        /// The question's.
        digest: Digest,
    },
    /// The name carries another digest than the one asked about.
    #[error("the name is of {name}, the digest asked about is {digest}")]
    NameDiffers {
        /// The name's.
        name: Digest,
        /// The question's.
        digest: Digest,
    },
    /// No descriptor: a signature binds media type and size too, so an image without them cannot be judged.
    #[error("there is no descriptor")]
    NoDescriptor,
    /// The hook is not known.
    #[error("the hook is not known to this version")]
    UnknownHook,
}

impl Question {
    /// Parses a question as a hook asks it: the name, the digest, and the descriptor's media type, digest and size.
    ///
    /// # Errors
    ///
    /// When a part is malformed or the parts contradict each other.
    pub fn parse(
        name: &str,
        digest: &str,
        descriptor: Option<(&str, &str, u64)>,
        hook: Hook,
    ) -> Result<Self, QuestionError> {
        let reference: Reference = name.parse()?;
        let digest: Digest = digest.parse()?;
        let (media_type, described, size) = descriptor.ok_or(QuestionError::NoDescriptor)?;
        let descriptor = Descriptor {
            media_type: MediaType::parse(media_type)?,
            digest: described.parse()?,
            size,
        };
        if descriptor.digest != digest {
            return Err(QuestionError::DigestsDiffer {
                descriptor: descriptor.digest,
                digest,
            });
        }
        if let Some(named) = reference.digest.filter(|named| *named != digest) {
            return Err(QuestionError::NameDiffers { name: named, digest });
        }
        Ok(Self {
            repository: reference.repository,
            descriptor,
            hook,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";
    const OTHER: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

    fn parse(name: &str, digest: &str, described: &str) -> Result<Question, QuestionError> {
        Question::parse(
            name,
            digest,
            Some((MediaType::OCI_INDEX, described, 5)),
            Hook::ContainerdImageVerifier,
        )
    }

    #[test]
    fn the_name_is_made_canonical_and_its_tag_is_not_judged() {
        let question = parse("alpine:3.20", DIGEST, DIGEST).unwrap();
        assert_eq!(question.repository.to_string(), "docker.io/library/alpine");
        assert_eq!(
            question,
            parse("index.docker.io/library/alpine:edge", DIGEST, DIGEST).unwrap()
        );
    }

    #[test]
    fn refuses_parts_that_contradict_each_other() {
        assert!(matches!(
            parse("a.example/b", DIGEST, OTHER),
            Err(QuestionError::DigestsDiffer { .. })
        ));
        let named = format!("a.example/b@{OTHER}");
        assert!(matches!(
            parse(&named, DIGEST, DIGEST),
            Err(QuestionError::NameDiffers { .. })
        ));
    }

    #[test]
    fn refuses_a_question_without_a_descriptor() {
        let question = Question::parse("a.example/b", DIGEST, None, Hook::Control);
        assert_eq!(question, Err(QuestionError::NoDescriptor));
    }
}
