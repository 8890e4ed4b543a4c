//! The policy with everything it names, at one moment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::digest::Digest;
use assay_verify::document::Diagnostic;
use assay_verify::judge::AuthorityTerms;
use assay_verify::notation::blob_policy::BlobStatement;
use assay_verify::notation::signature::Terms;
use assay_verify::notation::statement::Level;
use assay_verify::notation::trust_policy::TrustPolicy;
use assay_verify::notation::trust_store::TrustStores;
use assay_verify::policy::{AuthorityName, Policy};
use assay_verify::reference::Repository;
use assay_verify::sigstore::authority::Authority;
use assay_verify::x509::revocation::LocalRevocation;

/// A Notary Project authority with its files.
#[derive(Clone, Debug)]
pub struct NotationAuthority {
    /// Its statements: one for every repository, where assayd's own policy describes the authority.
    pub policy: TrustPolicy,
    /// Every trust store that a statement names.
    pub stores: TrustStores,
}

/// A statement about files, with what it needs.
#[derive(Clone, Debug)]
pub struct BlobTrust {
    /// The statement that is for the file.
    pub statement: BlobStatement,
    /// Every trust store that it names.
    pub stores: TrustStores,
    /// CRLs and OCSP responses from files.
    pub revocation: LocalRevocation,
    /// What is valid in the trust policy and probably not meant.
    pub warnings: Vec<Diagnostic>,
}

/// The policy with everything it names. It never changes.
#[derive(Clone, Debug)]
pub struct TrustSnapshot {
    /// Counts the different contents that were loaded since the start of the process, from 1. What was decided under
    /// another generation has to be decided again.
    pub generation: u64,
    /// The digest of everything that was read.
    pub fingerprint: Digest,
    /// The policy.
    pub policy: Policy,
    /// The file that it was read from.
    pub path: PathBuf,
    /// The text of that file.
    pub document: String,
    /// When it was read.
    pub loaded_at: Timestamp,
    /// The Notary Project authorities. Every authority of the policy is here or in `cosign`.
    pub notation: BTreeMap<AuthorityName, NotationAuthority>,
    /// The authorities of the type cosign.
    pub cosign: BTreeMap<AuthorityName, Arc<Authority>>,
    /// CRLs and OCSP responses from files, for nodes that cannot reach a certificate authority.
    pub revocation: Arc<LocalRevocation>,
    /// What is valid and probably not meant.
    pub warnings: Vec<Diagnostic>,
}

impl TrustSnapshot {
    /// The revision, for people: the same on every node with the same files. The first 12 hexadecimal digits of the
    /// fingerprint.
    pub fn revision(&self) -> &str {
        self.fingerprint.hex().get(..12).unwrap_or_default()
    }

    /// An authority of the type cosign.
    pub fn cosign(&self, authority: &AuthorityName) -> Option<&Arc<Authority>> {
        self.cosign.get(authority)
    }

    /// What an authority asks of signatures on images of a repository.
    pub fn terms(&self, authority: &AuthorityName, repository: &Repository) -> AuthorityTerms<'_> {
        if let Some(authority) = self.cosign.get(authority) {
            return AuthorityTerms::Cosign { authority };
        }
        let Some(authority) = self.notation.get(authority) else {
            return AuthorityTerms::NotApplicable {
                reason: "the policy has no such authority",
            };
        };
        let Some(statement) = authority.policy.applicable(repository) else {
            return AuthorityTerms::NotApplicable {
                reason: "no statement of its trust policy is for this repository",
            };
        };
        match &statement.level {
            Level::Skip => AuthorityTerms::Skip,
            Level::Verify(checks) => AuthorityTerms::Notation {
                terms: Terms {
                    checks,
                    verify_timestamp: statement.verify_timestamp,
                    trust_stores: &statement.trust_stores,
                    identities: &statement.identities,
                },
                stores: &authority.stores,
            },
        }
    }
}
