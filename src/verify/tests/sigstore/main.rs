//! Bundles, signed images and attestations made by sigstore's own programs, and forged ones made by their authors.
//!
//! What is expected is written in the vectors or in a committed table. A case that is judged otherwise fails, in either
//! direction.

mod attacks;
mod conformance;
mod files;
mod images;
mod judged;
mod vectors;
