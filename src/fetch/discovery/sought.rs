//! What is looked for, and where.

use assay_verify::evidence::SignatureFormat;
use assay_verify::reference::Repository;

/// Which signatures are asked for. What is not costs no request beyond the listing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sought {
    /// Notary Project signatures.
    pub notation: bool,
    /// cosign's signatures: bundles, and what hangs on the tag `.sig`.
    pub cosign: bool,
    /// Attestations: bundles, and what hangs on the tag `.att`.
    pub attestations: bool,
}

impl Sought {
    /// All of them.
    pub const EVERYTHING: Self = Self {
        notation: true,
        cosign: true,
        attestations: true,
    };

    /// Whether nothing is.
    pub fn is_nothing(self) -> bool {
        self == Self::default()
    }

    /// What is asked for by one or the other.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self {
            notation: self.notation || other.notation,
            cosign: self.cosign || other.cosign,
            attestations: self.attestations || other.attestations,
        }
    }

    pub(super) fn includes(self, format: SignatureFormat) -> bool {
        match format {
            SignatureFormat::Notation => self.notation,
            // What a bundle holds shows only when it is opened.
            SignatureFormat::Bundle => self.cosign || self.attestations,
            SignatureFormat::SimpleSigning => self.cosign,
            SignatureFormat::Attestation => self.attestations,
        }
    }
}

/// A repository in which an image's signatures may lie, and which of them are asked for there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The image's own repository, or another one that an authority names.
    pub repository: Repository,
    /// What is asked for.
    pub sought: Sought,
}
