//! The policy with everything it names, at one moment.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::deny_list::DenyList;
use assay_verify::digest::Digest;
use assay_verify::document::Diagnostic;
use assay_verify::judge::AuthorityTerms;
use assay_verify::notation::blob_policy::BlobStatement;
use assay_verify::notation::signature::Terms;
use assay_verify::notation::statement::Level;
use assay_verify::notation::trust_policy::TrustPolicy;
use assay_verify::notation::trust_store::TrustStores;
use assay_verify::policy::{AuthorityName, Exception, Exceptions, Policy};
use assay_verify::reference::Repository;
use assay_verify::sigstore::authority::Authority;
use assay_verify::x509::revocation::LocalRevocation;

use super::load::Additions;

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
    /// Who is denied.
    pub denials: DenyList,
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
    /// Whether it is only proposed: what is judged by it leaves no trace in the evidence that is stored. Revocation answers are
    /// facts about certificates whoever asks, and are kept.
    pub is_proposed: bool,
    /// The Notary Project authorities. Every authority of the policy is here or in `cosign`.
    pub notation: BTreeMap<AuthorityName, NotationAuthority>,
    /// The authorities of the type cosign.
    pub cosign: BTreeMap<AuthorityName, Arc<Authority>>,
    /// CRLs and OCSP responses from files, for nodes that cannot reach a certificate authority.
    pub revocation: Arc<LocalRevocation>,
    /// Everything that is denied, by the fleet and by this node. No part of the generation: it is looked at with every
    /// decision, and a change of it ends no verdict that it does not touch.
    pub denials: Arc<DenyList>,
    /// Exceptions of the fleet and of this node. No part of the generation either.
    pub exceptions: Vec<Arc<Exceptions>>,
    /// What is valid and probably not meant.
    pub warnings: Vec<Diagnostic>,
}

impl TrustSnapshot {
    /// The same, with what a node adds.
    pub(super) fn with(mut self, additions: &Additions) -> Self {
        if !additions.denials.is_empty() {
            self.denials = Arc::new(self.denials.union(&additions.denials));
        }
        if !additions.exceptions.all().is_empty() {
            self.exceptions.push(Arc::clone(&additions.exceptions));
        }
        self.warnings.extend_from_slice(&additions.warnings);
        self
    }

    /// The exception that is active for an image now. One alone counts: two never combine.
    pub fn exception(&self, repository: &Repository, digest: &Digest, now: Timestamp) -> Option<&Exception> {
        self.exceptions
            .iter()
            .find_map(|exceptions| exceptions.active_for(repository, digest, now))
    }

    /// The revision, for people: the same on every node with the same files. The first 12 hexadecimal digits of the
    /// fingerprint.
    pub fn revision(&self) -> &str {
        self.fingerprint.hex().get(..12).unwrap_or_default()
    }

    /// The exceptions that are active now.
    pub fn active_exceptions(&self, now: Timestamp) -> impl Iterator<Item = &Exception> {
        self.exceptions
            .iter()
            .flat_map(move |exceptions| exceptions.active(now))
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
