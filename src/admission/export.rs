//! Everything that a judgement of an image may need, for a node that reaches no registry.

use std::sync::Arc;

use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::evidence::Signature;
use assay_verify::limits::GATHER_DEADLINE;
use assay_verify::manifest::Index;
use assay_verify::policy::Rule;
use assay_verify::query::{Proven, Query};
use tokio::sync::mpsc;

use super::before_evidence::{self, BeforeEvidence};
use super::evaluate::{self, Arguments, Judging, Seen, Waiting};
use super::pipeline::{Inner, no_policy};
use super::question::Question;
use super::respondents::Reach;
use super::tree::repositories;
use super::verdict::Verdict;
use crate::fetch::{Judged, Place, Sought};
use crate::trust::TrustSnapshot;

/// A part of what is exported.
#[derive(Debug)]
pub enum Exported {
    /// A signature or attestation. Nothing in it is verified.
    Signature {
        /// The image, or its child, that it was found for.
        of: Digest,
        /// The signature.
        signature: Box<Signature>,
    },
    /// An answer that the judgement here proved.
    Answer(Query, Arc<[u8]>),
    /// The end.
    End {
        /// The verdict here, now.
        verdict: Box<Verdict>,
        /// Why there may be more.
        incomplete: Option<String>,
    },
}

/// Gathers everything of an image whose bytes are at hand, and hands it over part by part. Ends early where nobody takes the
/// parts any more.
pub(super) async fn export(
    world: &Inner,
    snapshot: Option<Arc<TrustSnapshot>>,
    question: &Question,
    image: &[u8],
    parts: &mpsc::Sender<Exported>,
) {
    let now = (world.clock)();
    let standing = world.sync.standing(now);
    let decided = snapshot
        .as_ref()
        .map(|snapshot| before_evidence::decide_without_exceptions(snapshot, standing, question, now));
    let rule = match &decided {
        Some(BeforeEvidence::Evidence(rule, _)) => Some((*rule).clone()),
        Some(BeforeEvidence::Decided(_)) | None => None,
    };
    let mut subjects = vec![question.descriptor.clone()];
    if rule.as_ref().is_some_and(Rule::accepts_platform_signatures) {
        // For a node of another platform, too.
        subjects.extend(images_of(&question.descriptor, image));
    }
    let mut proven = Proven::new();
    let mut incomplete = None;
    for descriptor in subjects {
        let question = Question {
            descriptor,
            ..question.clone()
        };
        let mut judging = match (&snapshot, &rule) {
            (Some(snapshot), Some(rule)) => Some(Judging::new(
                &world.respondents,
                Reach::World,
                Arguments::new(snapshot, rule, &question, now),
            )),
            _ => None,
        };
        let places = repositories(snapshot.as_deref(), &question);
        let places = places.into_iter().map(|repository| Place {
            repository,
            sought: Sought::EVERYTHING,
        });
        let budget = world.registries.budget(tokio::time::Instant::now() + GATHER_DEADLINE);
        let mut search = world.registries.search(places, &question.descriptor, budget);
        search.demand_the_newest();
        while let Some(batch) = search.next_batch(&Judged::default()).await {
            if let Some(judging) = &mut judging {
                judging.add(batch.signatures.clone(), Seen::Now).await;
            }
            for signature in &batch.signatures {
                let part = Exported::Signature {
                    of: question.descriptor.digest.clone(),
                    signature: Box::new(signature.clone()),
                };
                if parts.send(part).await.is_err() {
                    return;
                }
            }
        }
        let lacking = search.finish().incomplete;
        incomplete = incomplete.or(lacking.map(|error| error.to_string()));
        if let Some(judging) = judging {
            proven.extend(judging.proven());
            // What it comes to is judged below, as a pull would judge it.
            judging.conclude().await;
        }
    }
    for (query, bytes) in proven {
        if parts.send(Exported::Answer(query, bytes)).await.is_err() {
            return;
        }
    }
    let verdict = match (&snapshot, decided) {
        (Some(snapshot), Some(BeforeEvidence::Evidence(rule, sources))) => {
            let judged = evaluate::within(world, snapshot, rule, question, now, sources, Waiting::Nobody).await;
            judged.explanation.verdict
        }
        (_, Some(BeforeEvidence::Decided(verdict))) => verdict,
        (_, None) | (None, _) => no_policy(&world.trust),
    };
    let end = Exported::End {
        verdict: Box::new(verdict),
        incomplete,
    };
    // Whoever asked may be gone.
    let _ = parts.send(end).await;
}

/// The children of an index that are images.
fn images_of(image: &Descriptor, bytes: &[u8]) -> Vec<Descriptor> {
    let Ok(index) = Index::parse(&image.media_type, bytes) else {
        return Vec::new();
    };
    let is_image = |media_type: &MediaType| {
        [MediaType::OCI_MANIFEST, MediaType::DOCKER_MANIFEST]
            .iter()
            .any(|known| *media_type == *known)
    };
    let mut images: Vec<_> = index
        .entries
        .into_iter()
        .map(|entry| entry.descriptor)
        .filter(|descriptor| is_image(&descriptor.media_type))
        .collect();
    images.sort();
    images.dedup();
    images
}
