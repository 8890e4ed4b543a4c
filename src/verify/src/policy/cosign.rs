//! Authorities of the type `cosign`: keys, or identities that a certificate authority vouches for.
//!
//! What the document says stands here as it is written. The files that it names are read elsewhere, and make a
//! [`sigstore::authority::Authority`](crate::sigstore::authority::Authority) of it.

pub(super) mod read;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use crate::reference::Repository;
use crate::sigstore::authority::RequiredEvidence;
use crate::sigstore::identity::IdentityMatcher;
use crate::sigstore::trusted_root::{Authority, TransparencyLog, TrustedRoot};

/// An authority of the type `cosign`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CosignDocument {
    /// Whose signatures count.
    pub signers: SignersDocument,
    /// What has to vouch for a signature beside its signer, where the document says so.
    pub stated: StatedEvidence,
    /// Annotations that the signed payload must have, with these values.
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// Where signatures lie, if not in the image's own repository.
    pub repository: Option<Repository>,
    /// Whether log entries of the kind `dsse` 0.0.2 count.
    pub accept_dsse_v0_0_2: bool,
}

/// Whose signatures count.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SignersDocument {
    /// The holders of keys.
    Keys {
        /// Files with a key each, at least one, relative to the folder of the policy.
        files: Vec<FileName>,
        /// The logs and timestamp authorities that may vouch.
        root: Option<RootName>,
    },
    /// Whoever a certificate says is one of these.
    Identities {
        /// Who may issue such certificates.
        anchors: AnchorsDocument,
        /// The identities, at least one.
        identities: Vec<IdentityMatcher>,
    },
}

/// Who may issue certificates.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnchorsDocument {
    /// The certificate authorities of a trusted root.
    TrustedRoot(RootName),
    /// Certificates from files, relative to the folder of the policy.
    Certificates {
        /// Trust anchors, at least one.
        anchors: Vec<FileName>,
        /// Certificates between them and signers'.
        intermediates: Vec<FileName>,
    },
}

/// A trusted root.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RootName {
    /// One that assayd brings along.
    Shipped(ShippedRoot),
    /// A file, relative to the folder of the policy.
    File(FileName),
}

/// The trusted roots that assayd brings along.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ShippedRoot {
    /// GitHub's own: attestations of private repositories.
    GitHub,
    /// Sigstore's public good instance.
    PublicGood,
}

/// The name of a file: not empty, without NUL.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileName(Box<str>);

/// What has to vouch for a signature, as far as the document says so.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct StatedEvidence {
    /// `transparency_log`.
    pub log_entries: Option<usize>,
    /// `timestamps`.
    pub timestamps: Option<usize>,
    /// `signed_certificate_timestamps`.
    pub signed_certificate_timestamps: Option<usize>,
}

/// More is asked for than a trusted root has: no signature could ever satisfy it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("{key} is {asked}, and the trusted root has {present} of different operators")]
pub struct TooMuchEvidence {
    /// The key of the document.
    pub key: &'static str,
    /// How many are asked for.
    pub asked: usize,
    /// How many there are.
    pub present: usize,
}

impl ShippedRoot {
    /// All of them.
    pub const ALL: [Self; 2] = [Self::GitHub, Self::PublicGood];

    /// Its name in a policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::GitHub => "github",
            Self::PublicGood => "public-good",
        }
    }
}

impl FileName {
    /// The name, where it can be one.
    pub fn new(text: &str) -> Option<Self> {
        (!text.is_empty() && !text.contains('\0')).then(|| Self(text.into()))
    }

    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl CosignDocument {
    /// The trusted root that it names.
    pub fn root(&self) -> Option<&RootName> {
        match &self.signers {
            SignersDocument::Keys { root, .. } => root.as_ref(),
            SignersDocument::Identities { anchors, .. } => match anchors {
                AnchorsDocument::TrustedRoot(root) => Some(root),
                AnchorsDocument::Certificates { .. } => None,
            },
        }
    }

    /// What has to vouch for a signature: what the document says, and otherwise what the trusted root makes possible. One
    /// log entry where it has logs; one signed certificate timestamp where it has certificate logs and signers are
    /// identities; no timestamp.
    ///
    /// A certificate of a few minutes means nothing without a time, so with identities a verified time is needed where the
    /// root has anybody to vouch for one, unless the document asks for none of them.
    ///
    /// # Errors
    ///
    /// When more is asked for than the root has.
    pub fn required_evidence(&self, root: &TrustedRoot) -> Result<RequiredEvidence, TooMuchEvidence> {
        let stated = &self.stated;
        let identities = matches!(self.signers, SignersDocument::Identities { .. });
        let logs = operators(&root.logs);
        let certificate_logs = operators(&root.certificate_logs);
        let timestamp_authorities = authority_operators(&root.timestamp_authorities);
        let wanted = |key, stated: Option<usize>, default: usize, present: usize| {
            let asked = stated.unwrap_or(default);
            if asked > present {
                Err(TooMuchEvidence { key, asked, present })
            } else {
                Ok(asked)
            }
        };
        let verified_time =
            (logs > 0 && stated.log_entries != Some(0)) || (timestamp_authorities > 0 && stated.timestamps != Some(0));
        Ok(RequiredEvidence {
            log_entries: wanted("transparency_log", stated.log_entries, logs.min(1), logs)?,
            timestamps: wanted("timestamps", stated.timestamps, 0, timestamp_authorities)?,
            signed_certificate_timestamps: wanted(
                "signed_certificate_timestamps",
                stated.signed_certificate_timestamps,
                if identities { certificate_logs.min(1) } else { 0 },
                certificate_logs,
            )?,
            verified_time: identities && verified_time,
        })
    }
}

fn operators(logs: &[TransparencyLog]) -> usize {
    logs.iter().map(|log| &log.operator).collect::<BTreeSet<_>>().len()
}

fn authority_operators(authorities: &[Authority]) -> usize {
    authorities
        .iter()
        .map(|one| &one.operator)
        .collect::<BTreeSet<_>>()
        .len()
}
