//! Everything that hangs on an image, and who signed it. It decides nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::circumstances::Circumstances;
use assay_verify::evidence::{Signature, SignatureFormat, SignatureId};
use assay_verify::judge::{self, AuthorityTerms, GrantedBy, Judgement, Requirement, Subject};
use assay_verify::limits::GATHER_DEADLINE;
use assay_verify::notation::steps;
use assay_verify::policy::{AuthorityName, Conditions, Effect, Rule};
use assay_verify::reference::Repository;
use assay_verify::sigstore::material::Material;
use assay_verify::sigstore::report::{self, Claims};
use assay_verify::sigstore::signature::{self, Artifact, Asked, Origin, Purpose};
use assay_verify::untrusted::Untrusted;

use super::pipeline::Inner;
use super::question::Question;
use crate::fetch::{Judged, Place, Skipped, Sought};
use crate::trust::TrustSnapshot;

/// What hangs on an image.
#[derive(Clone, Debug, Default)]
pub struct Tree {
    /// Signatures and attestations.
    pub entries: Vec<TreeEntry>,
    /// Referrers that are neither, or could not be read, each with the reason.
    pub others: Vec<Skipped>,
    /// Why there may be more than this.
    pub incomplete: Option<String>,
}

/// One signature or attestation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TreeEntry {
    /// Which.
    pub id: SignatureId,
    /// In which format it came.
    pub format: SignatureFormat,
    /// The bytes of its envelope, bundle or payload.
    pub size: usize,
    /// What is attested; none for a signature.
    pub predicate_type: Option<String>,
    /// Who signed it: proven where an authority verifies it, otherwise what it says itself.
    pub signer: String,
    /// The authorities of the policy under whose terms it is verified.
    pub verified_by: Vec<String>,
    /// Who vouches for it, and when: proven where an authority verifies it, otherwise what it says itself.
    pub witnesses: Vec<String>,
    /// Why no authority verifies it.
    pub problem: Option<String>,
}

/// Gathers everything that hangs on an image, whatever the policy asks for.
pub(super) async fn gather(
    world: &Inner,
    snapshot: Option<Arc<TrustSnapshot>>,
    question: &Question,
    now: Timestamp,
) -> Tree {
    let budget = world.registries.budget(tokio::time::Instant::now() + GATHER_DEADLINE);
    let places = repositories(snapshot.as_deref(), question)
        .into_iter()
        .map(|repository| Place {
            repository,
            sought: Sought::EVERYTHING,
        });
    let mut search = world.registries.search(places, &question.descriptor, budget);
    let mut tree = Tree::default();
    while let Some(batch) = search.next_batch(&Judged::default()).await {
        let signatures = batch.signatures.clone();
        let (snapshot, question) = (snapshot.clone(), question.clone());
        let describe_all = move || {
            let described = signatures
                .iter()
                .map(|one| describe(one, snapshot.as_deref(), &question, now));
            described.collect::<Vec<_>>()
        };
        // As in judging: a hostile image must not hold up the others.
        if let Ok(described) = tokio::task::spawn_blocking(describe_all).await {
            tree.entries.extend(described);
        }
    }
    let summary = search.finish();
    tree.others = summary.skipped;
    tree.incomplete = summary.incomplete.map(|error| error.to_string());
    tree.entries.sort_by(|one, other| one.id.cmp(&other.id));
    tree
}

/// Where an image's signatures lie: beside it, and where the authorities of the rule that is for it say. What a rule for
/// other images names is nobody's business here, and would only cost time and credentials.
pub(super) fn repositories(snapshot: Option<&TrustSnapshot>, question: &Question) -> BTreeSet<Repository> {
    let mut repositories = BTreeSet::from([question.repository.clone()]);
    let Some(snapshot) = snapshot else {
        return repositories;
    };
    let mut rules = snapshot.policy.rules().iter();
    let rule = rules.find(|rule| rule.is_for(&question.repository, &question.descriptor.digest));
    if let Some(Effect::Require { requirements, .. }) = rule.map(Rule::effect) {
        let authorities = requirements.authorities().filter_map(|name| snapshot.cosign(name));
        repositories.extend(authorities.filter_map(|authority| authority.repository.clone()));
    }
    repositories
}

/// Describes one signature by what it says, and by every authority of the policy. Nobody is asked: where revocation has to
/// be known, that is the problem.
pub fn describe(
    signature: &Signature,
    snapshot: Option<&TrustSnapshot>,
    question: &Question,
    now: Timestamp,
) -> TreeEntry {
    let mut entry = match signature.layer().format {
        SignatureFormat::Notation => of_notation(signature),
        _ => of_cosign(signature),
    };
    let Some(snapshot) = snapshot else {
        entry
            .problem
            .get_or_insert_with(|| "there is no good policy".to_owned());
        return entry;
    };
    let opened = match signature.layer().format {
        SignatureFormat::Notation => None,
        _ => signature::open(signature).ok().map(Arc::new),
    };
    for name in snapshot.policy.authorities().keys() {
        match (snapshot.terms(name, &question.repository), &opened) {
            (AuthorityTerms::Cosign { authority }, Some(material)) => {
                entry.judge_cosign(name, authority, material, &Origin::of(signature), question, now);
            }
            (terms @ AuthorityTerms::Notation { .. }, None) => {
                entry.judge_notation(name, terms, signature, snapshot, question, now);
            }
            _ => {}
        }
    }
    if !entry.verified_by.is_empty() {
        entry.problem = None;
    } else if entry.problem.is_none() {
        entry.problem = Some("no authority of the policy is for signatures of this kind".to_owned());
    }
    entry
}

impl TreeEntry {
    fn new(signature: &Signature) -> Self {
        Self {
            id: signature.id(),
            format: signature.layer().format,
            size: signature.envelope().len(),
            predicate_type: None,
            signer: String::new(),
            verified_by: Vec::new(),
            witnesses: Vec::new(),
            problem: None,
        }
    }

    fn judge_cosign(
        &mut self,
        name: &AuthorityName,
        authority: &assay_verify::sigstore::authority::Authority,
        material: &Material,
        origin: &Origin<'_>,
        question: &Question,
        now: Timestamp,
    ) {
        let asked = Asked {
            authority,
            artifact: Artifact::Image(&question.descriptor),
            purpose: Purpose::Any,
            conditions: &Conditions::default(),
        };
        match signature::verify(material, origin, &asked, &Circumstances::at(now)) {
            Ok(judged) => {
                let verified = judged.verified;
                let witnesses = verified.log_entries().iter().chain(verified.timestamps());
                self.witnesses = witnesses.map(ToString::to_string).collect();
                self.signer = verified.signer().to_string();
                self.verified_by.push(name.to_string());
            }
            Err(rejected) => {
                self.problem
                    .get_or_insert_with(|| format!("{name}: {}", rejected.failure));
            }
        }
    }

    fn judge_notation(
        &mut self,
        name: &AuthorityName,
        terms: AuthorityTerms<'_>,
        signature: &Signature,
        snapshot: &TrustSnapshot,
        question: &Question,
        now: Timestamp,
    ) {
        let subject = Subject {
            repository: &question.repository,
            descriptor: &question.descriptor,
        };
        let requirement = Requirement {
            needed: 1,
            authorities: &[(name.as_str(), terms)],
            accept_unverified: false,
            conditions: &Conditions::default(),
            attestations: &[],
        };
        let circumstances = Circumstances {
            local: &snapshot.revocation,
            denied: &snapshot.denials,
            ..Circumstances::at(now)
        };
        match judge::judge(std::slice::from_ref(signature), &subject, &requirement, &circumstances) {
            Judgement::Admit(permit) => {
                for grant in permit.grants() {
                    if let GrantedBy::Signature { identity, .. } = &grant.by {
                        self.signer.clone_from(identity);
                    }
                }
                self.verified_by.push(name.to_string());
            }
            Judgement::Need(need) => {
                let queries: Vec<_> = need.queries.iter().map(ToString::to_string).collect();
                self.problem
                    .get_or_insert_with(|| format!("{name}: not asked: {}", queries.join("; ")));
            }
            Judgement::Reject(rejection) => {
                self.problem.get_or_insert(rejection.reason);
            }
        }
    }
}

fn of_notation(signature: &Signature) -> TreeEntry {
    let mut entry = TreeEntry::new(signature);
    match steps::integrity(signature) {
        Ok(integrity) => {
            let leaf = integrity.envelope().chain().leaf();
            entry.signer = Untrusted::new(leaf.subject().to_string()).to_string();
        }
        Err(failure) => entry.problem = Some(failure.to_string()),
    }
    entry
}

fn of_cosign(signature: &Signature) -> TreeEntry {
    let mut entry = TreeEntry::new(signature);
    match signature::open(signature) {
        Ok(material) => {
            let Claims {
                signer,
                predicate_type,
                witnesses,
            } = report::claims(&material);
            entry.signer = signer;
            entry.predicate_type = predicate_type;
            entry.witnesses = witnesses;
        }
        Err(rejected) => entry.problem = Some(rejected.failure.to_string()),
    }
    entry
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt as _;

    use assay_verify::descriptor::{Descriptor, MediaType};
    use assay_verify::digest::Digest;

    use super::*;
    use crate::admission::Hook;
    use crate::trust;

    const POLICY: &str = r#"version = 1
unmatched = "deny"
[authority.beside]
type = "cosign"
keys = ["key.pub"]
[authority.attesting]
type = "cosign"
keys = ["key.pub"]
repository = "signatures.example/attestations"
[authority.elsewhere]
type = "cosign"
keys = ["key.pub"]
repository = "signatures.example/signatures"
[[rule]]
name = "app"
images = ["a.example/app"]
require = { any = ["beside", "elsewhere"] }
require_attestations = [{ type = "openvex", authority = "attesting" }]
[[rule]]
name = "plain"
images = ["a.example/plain"]
require = { all = ["beside"] }
[[rule]]
name = "everything"
images = ["a.example/*"]
require = { all = ["elsewhere"] }
"#;

    fn snapshot() -> TrustSnapshot {
        let folder = tempfile::tempdir().unwrap();
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        let key = rcgen::KeyPair::generate().unwrap().public_key_pem();
        for (name, content) in [("policy.toml", POLICY), ("key.pub", &key)] {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
        }
        let user = nix::unistd::geteuid().as_raw();
        trust::load(&folder.path().join("policy.toml"), user, Timestamp::UNIX_EPOCH)
            .outcome
            .unwrap()
    }

    #[test]
    fn looks_where_the_rule_of_the_image_says_and_beside_it() {
        let snapshot = snapshot();
        let searched = |snapshot: Option<&TrustSnapshot>, repository: &str| {
            let question = Question {
                repository: repository.parse().unwrap(),
                descriptor: Descriptor {
                    media_type: MediaType::parse("application/vnd.oci.image.manifest.v1+json").unwrap(),
                    digest: Digest::sha256(b"an image"),
                    size: 8,
                },
                hook: Hook::Control,
            };
            let found = repositories(snapshot, &question);
            found.iter().map(ToString::to_string).collect::<Vec<_>>()
        };
        for (image, elsewhere) in [
            (
                "a.example/app",
                &["signatures.example/attestations", "signatures.example/signatures"][..],
            ),
            ("a.example/plain", &[]),
            ("a.example/other", &["signatures.example/signatures"]),
            ("b.example/app", &[]),
        ] {
            assert_eq!(
                searched(Some(&snapshot), image),
                [&[image], elsewhere].concat(),
                "{image}"
            );
        }
        assert_eq!(searched(None, "a.example/app"), ["a.example/app"]);
    }
}
