//! Fetching a manifest, by digest or by tag, and the blobs of the signatures that it carries.

use std::sync::Arc;

use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::evidence::{NotASignature, Signature, SignatureManifest};
use assay_verify::limits::MAX_SIGNATURES_MANIFEST_SIZE;

use super::SkipReason;
use super::candidates::{Candidate, MediaTypeClaim};
use super::cosign_tags::may_be_malformed;
use super::search::Origin;
use crate::fetch::budget::{Budget, Lease, Promise};
use crate::fetch::count::Purpose;
use crate::fetch::error::FetchError;
use crate::fetch::host::{Answer, Found};
use crate::fetch::registry::{Names, Question, Registry};

const ACCEPT_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json, \
                               application/vnd.oci.artifact.manifest.v1+json, \
                               application/vnd.docker.distribution.manifest.v2+json";
const ACCEPT_BLOB: &str = "*/*";

/// A manifest that carries signatures, and what pays for it as long as one of them is held.
pub(super) struct Opened {
    pub(super) manifest: Arc<SignatureManifest>,
    pub(super) lease: Arc<Lease>,
}

/// What each byte of a manifest takes in memory: itself, and about as much parsed.
pub(super) const MANIFEST_COST: usize = 2;

/// Opens a referrer.
pub(super) async fn referrer(
    origin: Arc<Origin>,
    candidate: Arc<Candidate>,
    budget: Budget,
    promise: &Promise,
) -> Result<Opened, SkipReason> {
    let digest = &candidate.digest;
    let found = match manifest(
        &origin,
        &digest.to_string(),
        Names::Digest,
        candidate.limit(),
        &budget,
        promise,
    )
    .await?
    {
        Answer::Found(found) => found,
        Answer::Missing => return Err(SkipReason::Missing(digest.clone())),
    };
    open(&origin.registry, Some(digest), candidate.media_type, found, &budget).await
}

/// Opens what a tag points at; `None` where there is no such tag. It is fetched once, and what came is what is judged: no
/// second answer can be another (CVE-2022-47633).
pub(super) async fn tagged(
    origin: Arc<Origin>,
    tag: Arc<str>,
    budget: Budget,
    promise: &Promise,
) -> Result<Option<Opened>, SkipReason> {
    let found = match manifest(
        &origin,
        &tag,
        Names::Name,
        MAX_SIGNATURES_MANIFEST_SIZE,
        &budget,
        promise,
    )
    .await
    {
        Ok(Answer::Found(found)) => found,
        Ok(Answer::Missing) => return Ok(None),
        Err(SkipReason::Fetch(FetchError::Status { status: 400, .. })) if may_be_malformed(&tag) => return Ok(None),
        Err(error) => return Err(error),
    };
    open(&origin.registry, None, MediaTypeClaim::Other, found, &budget)
        .await
        .map(Some)
}

async fn manifest(
    origin: &Origin,
    reference: &str,
    names: Names,
    limit: usize,
    budget: &Budget,
    promise: &Promise,
) -> Result<Answer, SkipReason> {
    let registry = &origin.registry;
    let question = Question {
        purpose: Purpose::Manifest,
        repository: &origin.repository,
        endpoint: "manifests",
        reference,
        names,
        accept: ACCEPT_MANIFEST,
        limit,
        promise: Some(promise),
    };
    match registry.get(&question, budget).await {
        // More than the manifest of a signature can have, so it is none.
        Err(FetchError::TooLarge { limit, .. }) => Err(NotASignature::ManifestTooLarge(limit as u64 + 1).into()),
        answer => Ok(answer?),
    }
}

/// Opens a manifest that came. `digest` is what was asked for, if it was a digest.
async fn open(
    registry: &Registry,
    digest: Option<&Digest>,
    claim: MediaTypeClaim,
    found: Found,
    budget: &Budget,
) -> Result<Opened, SkipReason> {
    // Not the listing's word: the digest proves the bytes, and the answer's content type must agree with the document
    // (CVE-2021-41190).
    let media_type = answered_media_type(&found, claim).ok_or_else(|| FetchError::ContentType {
        registry: registry.name.clone(),
        content_type: found.content_type.as_deref().unwrap_or_default().into(),
    })?;
    let descriptor = Descriptor {
        media_type,
        digest: digest.cloned().unwrap_or_else(|| Digest::sha256(&found.body)),
        size: found.body.len() as u64,
    };
    let mut lease = found.lease;
    let parsed = (MANIFEST_COST - 1) * found.body.len();
    lease.merge(registry.payer(budget).reserve(parsed).await?);
    match SignatureManifest::open(&descriptor, found.body.into()) {
        Ok(manifest) => Ok(Opened {
            manifest: Arc::new(manifest),
            lease: Arc::new(lease),
        }),
        Err(NotASignature::WrongBytes(digest)) => Err(wrong_bytes(registry, digest)),
        Err(reason) => Err(reason.into()),
    }
}

/// Fetches the blob of a manifest's signature.
pub(super) async fn signature(
    origin: Arc<Origin>,
    manifest: Arc<SignatureManifest>,
    position: usize,
    budget: Budget,
) -> Result<(Signature, Lease), SkipReason> {
    let registry = &origin.registry;
    let layer = manifest.layers().get(position);
    let layer = layer.ok_or(NotASignature::NoSuchLayer(position))?;
    let digest = layer.descriptor.digest.clone();
    let question = Question {
        purpose: Purpose::Blob,
        repository: &origin.repository,
        endpoint: "blobs",
        reference: &digest.to_string(),
        names: Names::Digest,
        accept: ACCEPT_BLOB,
        // More than this is not what the manifest describes, and allocates nothing (CVE-2024-29902, CVE-2024-29903).
        limit: usize::try_from(layer.descriptor.size)
            .unwrap_or(usize::MAX)
            .min(layer.format.max_size()),
        // The manifest describes it, so its promise is whole from the start.
        promise: None,
    };
    let found = match registry.get(&question, &budget).await {
        Ok(Answer::Found(found)) => found,
        Ok(Answer::Missing) => return Err(SkipReason::Missing(digest)),
        Err(FetchError::TooLarge { .. }) => return Err(wrong_bytes(registry, digest)),
        Err(error) => return Err(error.into()),
    };
    match Signature::new(Arc::clone(&manifest), position, found.body.into()) {
        Ok(signature) => Ok((signature, found.lease)),
        Err(NotASignature::WrongEnvelope(digest)) => Err(wrong_bytes(registry, digest)),
        Err(other) => Err(other.into()),
    }
}

/// Bytes that a digest does not address say nothing about what it does address.
fn wrong_bytes(registry: &Registry, digest: Digest) -> SkipReason {
    FetchError::WrongBytes {
        registry: registry.name.clone(),
        digest,
    }
    .into()
}

/// The media type that a manifest came as: the answer's, or the listing's where the answer names none in particular.
fn answered_media_type(found: &Found, claim: MediaTypeClaim) -> Option<MediaType> {
    content_type(found)
        .filter(|text| !matches!(*text, "application/json" | "application/octet-stream" | "text/plain"))
        .and_then(|text| MediaType::parse(text).ok())
        .or_else(|| MediaType::parse(claim.as_str()).ok())
}

/// The content type without its parameters.
pub(super) fn content_type(found: &Found) -> Option<&str> {
    let text = found.content_type.as_deref()?;
    Some(text.split(';').next().unwrap_or(text).trim())
}
