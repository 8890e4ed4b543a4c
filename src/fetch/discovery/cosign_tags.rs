//! The tags under which cosign keeps the signatures and attestations of an image (cosign specs/SIGNATURE_SPEC.md,
//! tag-based discovery).

use assay_verify::digest::Digest;
use assay_verify::limits::MAX_TAG_LENGTH;

/// What hangs on a tag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::fetch) enum CosignTag {
    /// Signatures.
    Signatures,
    /// Attestations.
    Attestations,
}

impl CosignTag {
    /// The tag for an image: the digest with a dash for its colon, and a suffix. cosign cuts nothing off a longer digest
    /// (cosign pkg/oci/remote: normalizeWithSeparator), unlike the tag of a referrers listing.
    pub(in crate::fetch) fn of(self, subject: &Digest) -> String {
        let suffix = match self {
            Self::Signatures => "sig",
            Self::Attestations => "att",
        };
        format!("{}-{}.{suffix}", subject.algorithm().as_str(), subject.hex())
    }
}

/// Whether a registry may refuse the tag as malformed, because the distribution specification allows none so long: that of
/// a sha512 digest. A registry that does has no such tag.
pub(super) fn may_be_malformed(tag: &str) -> bool {
    tag.len() > MAX_TAG_LENGTH
}

#[cfg(test)]
mod tests {
    use assay_verify::digest::Algorithm;

    use super::*;

    #[test]
    fn a_tag_names_the_whole_digest() {
        let digest = Digest::sha256(b"");
        assert_eq!(
            CosignTag::Signatures.of(&digest),
            "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.sig"
        );
        assert_eq!(
            CosignTag::Attestations.of(&digest),
            "sha256-e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855.att"
        );
        assert!(!may_be_malformed(&CosignTag::Signatures.of(&digest)));
        let long = CosignTag::Signatures.of(&Digest::of(Algorithm::Sha512, b""));
        assert_eq!(long.len(), "sha512-".len() + 128 + ".sig".len());
        assert!(may_be_malformed(&long));
    }
}
