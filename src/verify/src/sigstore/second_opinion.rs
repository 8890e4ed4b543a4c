//! The second opinion of `sigstore-verify` on bundles of the shapes that it knows.
//!
//! Both have to agree: a defect in one of two implementations admits nothing. What it lacks is left to our own steps alone
//! (reference: ARCHITECTURE.md). It reads the wall clock; every time is checked again with the judgement's own.
