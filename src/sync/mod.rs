//! Central configuration: the policy repository that a fleet's owner publishes, and this node's verified copy of it.
//!
//! The repository is one of The Update Framework (TUF): static files that prove themselves from a pinned root. A
//! [`Client`] holds what was verified, and refreshes it through a [`Transport`]; [`staleness`] says how old that may become,
//! [`Schedule`] when to ask again, and [`trusted_time`] what the local clock cannot be before. A [`Poller`] has them all.
//!
//! Time and randomness are arguments. What the files mean is not known here: who uses a candidate validates it.

mod address;
mod client;
mod error;
mod floor;
mod generation;
pub mod layout;
mod names;
mod poll;
mod role;
mod schedule;
mod staleness;
mod status;
mod store;
mod time;
mod transport;
mod workflow;

pub use address::{ParseAddressError, RepositoryAddress};
pub use client::{Candidate, Client, Refreshed};
pub use error::{Operation, StorageError, SyncError};
pub use generation::{Generation, Versions};
pub use names::{Channel, ParseChannelError, ParsePathError, TargetPath};
pub use poll::{Polled, Poller, Taker};
pub use role::{Role, Signed};
pub use schedule::{Intervals, Schedule};
pub use staleness::{Profile, Staleness, WhenExpired, staleness};
pub use status::{Failing, Followed, Known, Standing, Status};
pub use store::{Intercept, Store};
pub use time::{ClockUnsynchronised, RELEASE_DATE, check_clock, trusted_time};
pub use transport::{Traffic, Transport, TransportError};
