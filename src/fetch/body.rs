//! The bounded reader: no answer is larger, or slower, than what was paid for.

use assay_verify::limits::READ_IDLE_TIMEOUT;
use reqwest::Response;
use tokio::time::timeout;

use super::budget::{Budget, Lease, RegistryShare};
use super::error::FetchError;

/// Memory is paid for in steps of this size while reading; real manifests, envelopes and listings fit in one.
pub(super) const STEP: usize = 64 * 1024;

/// What reading an answer of at most `limit` bytes takes meanwhile: whole steps.
pub(super) const fn read_cost(limit: usize) -> usize {
    limit.div_ceil(STEP) * STEP
}

/// Who pays for an answer.
#[derive(Clone, Copy)]
pub(super) struct Payer<'a> {
    pub(super) registry: &'a str,
    pub(super) share: &'a RegistryShare,
    pub(super) budget: &'a Budget,
}

impl Payer<'_> {
    pub(super) async fn reserve(&self, bytes: usize) -> Result<Lease, FetchError> {
        self.budget.reserve(self.share, bytes).await
    }
}

/// Reads a whole answer of at most `limit` bytes, with the lease that pays for it. The declared length may refuse an
/// answer early; it never allocates.
pub(super) async fn read(
    payer: Payer<'_>,
    mut response: Response,
    limit: usize,
) -> Result<(Vec<u8>, Lease), FetchError> {
    let registry = payer.registry;
    let too_large = || FetchError::TooLarge {
        registry: registry.into(),
        limit,
    };
    if response.content_length().is_some_and(|length| length > limit as u64) {
        return Err(too_large());
    }
    let mut lease = payer.reserve(STEP.min(limit)).await?;
    let mut body = Vec::new();
    while let Some(chunk) = next_chunk(registry, &mut response).await? {
        let length = body.len() + chunk.len();
        if length > limit {
            return Err(too_large());
        }
        while lease.bytes() < length {
            lease.merge(payer.reserve(STEP).await?);
        }
        body.extend_from_slice(&chunk);
    }
    lease.shrink_to(body.len());
    Ok((body, lease))
}

/// Reads the beginning of an error's body, for the message. What breaks off here is not worth another error.
pub(super) async fn read_head(registry: &str, response: &mut Response, limit: usize) -> Vec<u8> {
    let mut head = Vec::new();
    while head.len() < limit {
        match next_chunk(registry, response).await {
            Ok(Some(chunk)) => head.extend(chunk.iter().take(limit - head.len())),
            Ok(None) | Err(_) => break,
        }
    }
    head
}

async fn next_chunk(registry: &str, response: &mut Response) -> Result<Option<bytes::Bytes>, FetchError> {
    match timeout(READ_IDLE_TIMEOUT, response.chunk()).await {
        Ok(Ok(chunk)) => Ok(chunk),
        Ok(Err(error)) => Err(FetchError::Interrupted {
            registry: registry.into(),
            cause: super::transport::innermost(&error).into(),
        }),
        Err(_) => Err(FetchError::Silent {
            registry: registry.into(),
        }),
    }
}
