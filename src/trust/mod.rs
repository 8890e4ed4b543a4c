//! The current policy and trust material: one immutable snapshot with a generation, read from files that only root or
//! the daemon's user may write.

mod cosign;
mod files;
mod floor;
pub mod layout;
mod load;
pub(crate) mod shipped;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;

pub use files::VerifiedFiles;
pub(crate) use files::refusal;
pub use floor::Floor;
pub use load::{Loaded, load, load_blob, load_fleet};
pub use snapshot::{BlobTrust, NotationAuthority, TrustSnapshot};
pub use state::{FleetPolicy, Rejected, TrustState};
