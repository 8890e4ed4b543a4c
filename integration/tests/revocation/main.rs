//! Revocation and timestamps as a node meets them: the real daemon, asked as the hook asks, of images whose signers name
//! the CRLs and responders of real openssl, and carry the timestamps of a real authority.
//!
//! Each test has a daemon, a registry and endpoints of its own; all of them run at once.

mod assayctl;
mod conditions;
mod files;
mod grace;
mod hostile;
mod lab;
mod life;
mod lists;
mod notation_suite;
mod order;
mod platforms;
mod pulls;
mod responders;
mod timestamps;
