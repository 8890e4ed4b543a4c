//! Real entries of transparency logs, and the trusted roots that they are verified with: those of sigstore's conformance
//! suite, of images that both cosigns signed, and of images in the public-good log.
//!
//! The tables say what becomes of each. A file that is in no row fails, and so does a row without a file.

#[path = "../shared/manifest.rs"]
#[expect(dead_code, reason = "only its reader of tables is of use here")]
mod manifest;

mod entries;
mod merkle;
mod read;
mod trusted_roots;
