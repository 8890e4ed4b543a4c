//! What has been found for one attestation that a rule asks for.
//!
//! One statement has to satisfy the whole requirement: two never combine, whoever signed them. Where the newest decides,
//! the state keeps what the newest says, not the statements: they may be large.

use std::sync::Arc;

use super::findings::Opened;
use super::{AttestationAsked, AuthorityReport, AuthorityTerms, Finding};
use crate::Timestamp;
use crate::attestation::{AttestationError, AttestationRequirement};
use crate::circumstances::Circumstances;
use crate::code::Code;
use crate::deny_list::DenyList;
use crate::descriptor::Descriptor;
use crate::digest::Digest;
use crate::evidence::{SignatureFormat, SignatureId};
use crate::notation::steps::Interval;
use crate::policy::Conditions;
use crate::sigstore::material::Material;
use crate::sigstore::signature::{self, Artifact, Asked, Failure, Judged, Origin, Purpose, Rejected, Verified};

/// What was found about one attestation.
#[derive(Clone, Debug)]
pub struct AttestationJudgement {
    /// Which.
    pub id: SignatureId,
    /// In which format it came.
    pub format: SignatureFormat,
    /// What was found.
    pub result: Result<Arc<Verified>, NotAttested>,
}

/// Why an attestation does not satisfy a requirement.
#[derive(Clone, Debug)]
pub enum NotAttested {
    /// It is not signed as it has to be.
    Signature(Rejected),
    /// It does not say what it has to.
    Statement {
        /// Its signature, which is good.
        verified: Arc<Verified>,
        /// Why not.
        error: AttestationError,
    },
}

/// A statement that satisfies a requirement.
#[derive(Clone, Debug)]
pub(super) struct Held {
    pub(super) signature: SignatureId,
    pub(super) envelope: Digest,
    pub(super) verified: Arc<Verified>,
    pub(super) interval: Interval,
}

/// What the statements of one moment say, where the newest decides. Of several of the same moment none is newer: each has
/// to satisfy.
#[derive(Clone, Debug)]
struct Newest {
    moment: Timestamp,
    held: Option<Held>,
}

#[derive(Clone, Debug)]
pub(super) struct AttestationFindings {
    authority: String,
    predicate_type: String,
    newest_decides: bool,
    /// Why nothing can be found, where the authority's terms are not cosign's.
    not_applicable: Option<String>,
    /// The statement that satisfies, where any one does.
    any: Option<Held>,
    newest: Option<Newest>,
    /// A statement whose age is not known may be the newest.
    age_unknown: bool,
    /// The same of one that is too large to be looked into.
    unread: bool,
    judgements: Vec<AttestationJudgement>,
}

impl AttestationFindings {
    pub(super) fn new(asked: &AttestationAsked<'_>) -> Self {
        let not_applicable = match &asked.terms {
            AuthorityTerms::Cosign { .. } => None,
            AuthorityTerms::NotApplicable { reason } => Some((*reason).to_owned()),
            AuthorityTerms::Notation { .. } | AuthorityTerms::Skip => {
                Some("attestations are signed by authorities of the type cosign alone".to_owned())
            }
        };
        Self {
            authority: asked.authority.to_owned(),
            predicate_type: asked.requirement.predicate_type().as_str().to_owned(),
            newest_decides: asked.requirement.newest_decides(),
            not_applicable,
            any: None,
            newest: None,
            age_unknown: false,
            unread: false,
            judgements: Vec::new(),
        }
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn predicate_type(&self) -> &str {
        &self.predicate_type
    }

    pub(super) fn newest_decides(&self) -> bool {
        self.newest_decides
    }

    pub(super) fn satisfied_by(&self) -> Option<&Held> {
        if self.newest_decides {
            let newest = self.newest.as_ref().filter(|_| !self.age_unknown && !self.unread)?;
            newest.held.as_ref()
        } else {
            self.any.as_ref()
        }
    }

    pub(super) fn is_satisfied(&self) -> bool {
        self.satisfied_by().is_some()
    }

    pub(super) fn rests_on(&self, signature: &SignatureId) -> bool {
        self.satisfied_by().is_some_and(|held| held.signature == *signature)
    }

    /// Judges more evidence, until a statement satisfies; all of it where the newest decides.
    pub(super) fn add(
        &mut self,
        evidence: &mut [Opened<'_>],
        image: &Descriptor,
        asked: &AttestationAsked<'_>,
        conditions: &Conditions,
        circumstances: &Circumstances<'_>,
    ) {
        let AuthorityTerms::Cosign { authority } = &asked.terms else {
            return;
        };
        let requirement = asked.requirement;
        let signature_asked = Asked {
            authority,
            artifact: Artifact::Image(image),
            purpose: Purpose::Attestation {
                predicate_type: requirement.predicate_type().as_str(),
            },
            conditions,
        };
        for opened in evidence {
            if !self.newest_decides && self.any.is_some() {
                return;
            }
            let origin = Origin::of(opened.signature);
            let judged = opened
                .material()
                .and_then(|material| signature::verify(&material, &origin, &signature_asked, circumstances));
            let result = match judged {
                // Neither a signature nor an attestation of another type is what is looked for.
                Err(Rejected {
                    failure: Failure::OtherPredicate { .. } | Failure::OtherKind(_) | Failure::PayloadType(_),
                    ..
                }) => continue,
                Err(rejected) if self.newest_decides && matches!(rejected.failure, Failure::Denied(_)) => {
                    // It satisfies nothing, and yet nothing older does in its place: an entry of the deny-list only adds
                    // denials.
                    let nothing_denied = Circumstances {
                        denied: &DenyList::default(),
                        ..*circumstances
                    };
                    let judged = opened
                        .material()
                        .and_then(|material| signature::verify(&material, &origin, &signature_asked, &nothing_denied));
                    if let Ok(Judged {
                        verified,
                        statement: Some(statement),
                    }) = judged
                    {
                        self.take_newest(requirement.moment(&statement, verified.made_after()), None);
                    }
                    Err(NotAttested::Signature(rejected))
                }
                Err(rejected) => {
                    let too_large = rejected.failure.code() == Code::LimitExceeded;
                    // Of strangers nobody waits for the newest.
                    let ours = |material: &Material| signature::is_by_authority(material, &signature_asked);
                    if self.newest_decides && too_large && opened.material().is_ok_and(|material| ours(&material)) {
                        self.unread = true;
                    }
                    Err(NotAttested::Signature(rejected))
                }
                Ok(judged) => self.take(opened, judged, requirement, circumstances.now),
            };
            self.judgements.push(AttestationJudgement {
                id: opened.signature.id(),
                format: opened.signature.layer().format,
                result,
            });
        }
    }

    /// Checks what a verified statement says, and remembers the outcome.
    fn take(
        &mut self,
        opened: &Opened<'_>,
        judged: Judged,
        requirement: &AttestationRequirement,
        now: Timestamp,
    ) -> Result<Arc<Verified>, NotAttested> {
        let verified = Arc::new(judged.verified);
        let Some(statement) = judged.statement else {
            let error = AttestationError::Missing(requirement.predicate_type().clone());
            return Err(NotAttested::Statement { verified, error });
        };
        let signed_at = verified.made_after();
        let checked = requirement.check(&statement, signed_at, now).map(|interval| Held {
            signature: opened.signature.id(),
            envelope: opened.signature.layer().descriptor.digest.clone(),
            verified: verified.clone(),
            interval,
        });
        let result = match &checked {
            Ok(_) => Ok(verified),
            Err(error) => Err(NotAttested::Statement {
                verified,
                error: error.clone(),
            }),
        };
        let held = checked.ok();
        if self.newest_decides {
            self.take_newest(requirement.moment(&statement, signed_at), held);
        } else {
            self.any = held;
        }
        result
    }

    /// Remembers a statement of a moment: what satisfies in it, or nothing that does.
    fn take_newest(&mut self, moment: Result<Timestamp, AttestationError>, held: Option<Held>) {
        match moment {
            Err(_) => self.age_unknown = true,
            Ok(moment) => match &mut self.newest {
                Some(newest) if newest.moment > moment => {}
                Some(newest) if newest.moment == moment => {
                    if held.is_none() {
                        newest.held = None;
                    }
                }
                _ => self.newest = Some(Newest { moment, held }),
            },
        }
    }

    /// Whether a statement by the authority, which may be the newest, could not be looked into.
    pub(super) fn is_unread(&self) -> bool {
        self.unread
    }

    pub(super) fn report(&self) -> AuthorityReport {
        AuthorityReport {
            authority: self.authority.clone(),
            attestation: Some(self.predicate_type.clone()),
            satisfied: self.is_satisfied(),
            finding: match &self.not_applicable {
                Some(reason) => Finding::NotApplicable(reason.clone()),
                None => Finding::Attestations(self.judgements.clone()),
            },
        }
    }
}
