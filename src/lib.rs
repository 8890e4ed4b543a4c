//! assayd decides on the node itself which container images may be unpacked.
//!
//! The modules, lowest first. Each may use those before it, except that `trust`, `fetch`, `cache` and `plugin` never use each other;
//! `tests/layering.rs` holds the table. What judges is the crate `assay-verify`, below all of them; `ARCHITECTURE.md`
//! beside this file is the map.

#![forbid(unsafe_code)]
#![warn(missing_docs)]
#![cfg_attr(
    not(test),
    warn(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing)
)]

pub mod process;

pub mod credential;

pub mod trust;

pub mod fetch;

pub mod cache;

pub mod plugin;

pub mod sync;

pub mod admission;

pub mod hooks;

pub mod ctl;

pub mod daemon;
