//! The pure core of assayd: bytes, policy and a time in, a judgement out.
//!
//! Nothing here reads a clock, a file, an environment variable or a socket: the crate links nothing that could, and
//! `clippy.toml` bans what the standard library still offers. So every judgement can be repeated from its arguments.
//!
//! Bytes from outside are parsed once into the types of this crate, each with a bound from [`limits`], and what a
//! stranger wrote reaches a terminal or a journal only as [`untrusted::Untrusted`].

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    warn(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::unreachable,
        clippy::indexing_slicing
    )
)]

pub mod artifact;
pub mod attestation;
pub mod circumstances;
pub mod code;
pub mod crypto;
pub mod descriptor;
pub mod digest;
pub mod document;
pub mod envelope;
pub mod evidence;
pub mod index;
pub mod judge;
pub mod limits;
pub mod manifest;
pub mod notation;
pub mod platform;
pub mod policy;
pub mod query;
pub mod reference;
pub mod sigstore;
pub mod timestamp;
pub mod untrusted;
pub mod x509;

/// A moment, as every judgement takes it: an argument, never read from a clock.
pub use jiff::Timestamp;
