//! Finding an image's signatures: the listing of its referrers, the tags of cosign, and opening what is there.
//!
//! All places are asked at once, and everything that they hold is evidence: a signature in one place hides none in another.
//! What a listing claims about a referrer orders the work, likely signatures first, and decides nothing: every referrer is
//! opened, up to the limit.
//!
//! "There is none" is said only on the registry's own 404 or an empty listing. Everything else that goes wrong is a
//! [`FetchError`](super::FetchError), and a failure beside good signatures leaves those standing.

mod candidates;
mod cosign_tags;
mod listing;
mod opening;
mod search;
mod sought;
mod summary;

pub(super) use cosign_tags::CosignTag;
pub(super) use listing::KnownKind;
pub use search::Search;
pub use sought::{Place, Sought};
pub use summary::{Batch, Judged, SkipReason, Skipped, SkippedItem, Summary};
