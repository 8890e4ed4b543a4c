//! Listed referrers that are still to be opened, likely signatures first.

use std::collections::VecDeque;

use assay_verify::descriptor::MediaType;
use assay_verify::digest::Digest;
use assay_verify::evidence::{NOTATION_SIGNATURE, SIGSTORE_BUNDLE};
use assay_verify::limits::MAX_SIGNATURES_MANIFEST_SIZE;
use assay_verify::manifest::IndexEntry;

use super::Sought;

/// What a listing costs in memory for each referrer that is kept: a candidate and its digest's digits, rounded up.
pub(super) const CANDIDATE_SIZE: usize = 224;

/// What a referrer's manifest may have whatever the listing says of its size: listings are written by many hands, and
/// this much of each fits into memory.
pub(super) const LEAST_SIZE: usize = 64 * 1024;

/// What clients call cosign's signatures and attestations in a listing: cosign itself with OCI 1.1 referrers, and, up to
/// 3.1.1, the empty config's media type in the fallback tag's index, whatever the bundle's own artifact type is.
const COSIGN_CLAIMS: [&str; 3] = [
    "application/vnd.dev.cosign.artifact.sig.v1+json",
    "application/vnd.in-toto+json",
    "application/vnd.oci.empty.v1+json",
];

/// A referrer that was listed.
#[derive(Debug)]
pub(super) struct Candidate {
    /// In which place it was listed.
    pub(super) origin: usize,
    pub(super) digest: Digest,
    pub(super) media_type: MediaTypeClaim,
    /// Whether the listing calls it what an attestation is called, or nothing.
    pub(super) may_attest: bool,
    size: u32,
}

impl Candidate {
    /// The bytes that its manifest may have.
    pub(super) fn limit(&self) -> usize {
        usize::try_from(self.size)
            .unwrap_or(MAX_SIGNATURES_MANIFEST_SIZE)
            .clamp(LEAST_SIZE, MAX_SIGNATURES_MANIFEST_SIZE)
    }
}

/// What a listing says a referrer's media type is; only what can be a signature's is kept, in one byte.
#[derive(Clone, Copy, Debug)]
pub(super) enum MediaTypeClaim {
    OciManifest,
    OciArtifact,
    DockerManifest,
    Other,
}

impl MediaTypeClaim {
    fn of(media_type: &MediaType) -> Self {
        match media_type.as_str() {
            MediaType::OCI_MANIFEST => Self::OciManifest,
            MediaType::OCI_ARTIFACT => Self::OciArtifact,
            MediaType::DOCKER_MANIFEST => Self::DockerManifest,
            _ => Self::Other,
        }
    }

    pub(super) fn as_str(self) -> &'static str {
        match self {
            Self::OciManifest | Self::Other => MediaType::OCI_MANIFEST,
            Self::OciArtifact => MediaType::OCI_ARTIFACT,
            Self::DockerManifest => MediaType::DOCKER_MANIFEST,
        }
    }
}

/// Referrers that are listed as signatures, those of which the listing says nothing, and those that are listed as
/// something else; of each place on their own, and the places in turn.
#[derive(Debug, Default)]
pub(super) struct Candidates {
    of_places: Vec<[VecDeque<Candidate>; 3]>,
    /// The place whose turn it is.
    turn: usize,
}

impl Candidates {
    pub(super) fn push(&mut self, origin: usize, sought: Sought, entry: IndexEntry) {
        let rank = rank(entry.artifact_type.as_deref(), sought);
        if self.of_places.len() <= origin {
            self.of_places.resize_with(origin + 1, Default::default);
        }
        if let Some(queue) = self.of_places.get_mut(origin).and_then(|queues| queues.get_mut(rank)) {
            queue.push_back(Candidate {
                origin,
                may_attest: may_attest(entry.artifact_type.as_deref()),
                media_type: MediaTypeClaim::of(&entry.descriptor.media_type),
                digest: entry.descriptor.digest,
                size: u32::try_from(entry.descriptor.size).unwrap_or(u32::MAX),
            });
        }
    }

    /// One that is listed as a signature, in a place that may be asked.
    pub(super) fn likely(&mut self, may_ask: impl Fn(usize) -> bool) -> Option<Candidate> {
        self.next(0, &may_ask)
    }

    /// The likeliest, in a place that may be asked.
    pub(super) fn any(&mut self, may_ask: impl Fn(usize) -> bool) -> Option<Candidate> {
        (0..3).find_map(|rank| self.next(rank, &may_ask))
    }

    fn next(&mut self, rank: usize, may_ask: &impl Fn(usize) -> bool) -> Option<Candidate> {
        let count = self.of_places.len();
        for offset in 0..count {
            let origin = (self.turn + offset) % count;
            if !may_ask(origin) {
                continue;
            }
            let queue = self.of_places.get_mut(origin).and_then(|queues| queues.get_mut(rank));
            if let Some(candidate) = queue.and_then(VecDeque::pop_front) {
                self.turn = origin + 1;
                return Some(candidate);
            }
        }
        None
    }

    /// Puts one back that cannot be opened yet.
    pub(super) fn put_back(&mut self, candidate: Candidate) {
        if let Some([queue, ..]) = self.of_places.get_mut(candidate.origin) {
            queue.push_front(candidate);
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.of_places.iter().flatten().all(VecDeque::is_empty)
    }
}

/// How likely a referrer is a signature that is sought, by what the listing calls it. It orders the work and decides
/// nothing.
fn rank(claim: Option<&str>, sought: Sought) -> usize {
    let of_cosign = sought.cosign || sought.attestations;
    match claim {
        Some(NOTATION_SIGNATURE) if sought.notation => 0,
        Some(claim) if of_cosign && is_of_cosign(claim) => 0,
        None | Some("") => 1,
        Some(_) => 2,
    }
}

fn is_of_cosign(claim: &str) -> bool {
    claim.starts_with(SIGSTORE_BUNDLE) || COSIGN_CLAIMS.contains(&claim)
}

/// Whether something listed so may be an attestation, as long as it was not opened.
fn may_attest(claim: Option<&str>) -> bool {
    claim.is_none_or(|claim| claim.is_empty() || is_of_cosign(claim))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_what_is_sought_first_and_leaves_nothing_out() {
        let notation = Sought {
            notation: true,
            ..Sought::default()
        };
        let cosign = Sought {
            cosign: true,
            ..Sought::default()
        };
        let attestations = Sought {
            attestations: true,
            ..Sought::default()
        };
        let bundle = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let empty = "application/vnd.oci.empty.v1+json";
        for (claim, sought, expected) in [
            (Some(NOTATION_SIGNATURE), notation, 0),
            (Some(NOTATION_SIGNATURE), cosign, 2),
            (Some(bundle), cosign, 0),
            (Some(bundle), attestations, 0),
            (Some(bundle), notation, 2),
            (Some(empty), cosign, 0),
            (Some(empty), notation, 2),
            (Some("application/vnd.dev.cosign.artifact.sig.v1+json"), cosign, 0),
            (Some("application/spdx+json"), Sought::EVERYTHING, 2),
            (Some(""), Sought::EVERYTHING, 1),
            (None, Sought::EVERYTHING, 1),
        ] {
            assert_eq!(rank(claim, sought), expected, "{claim:?} {sought:?}");
        }
    }
}
