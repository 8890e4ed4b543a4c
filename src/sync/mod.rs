//! Central configuration: the policy repository that a fleet's owner publishes, and this node's verified copy of it.
//!
//! The repository is one of The Update Framework (TUF): static files that prove themselves from a pinned root.

pub mod layout;
