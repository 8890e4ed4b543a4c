//! Signatures made in the test, so that the defect under test is visible.

mod blobs;
mod chains;
mod conditions;
mod envelopes;
mod judgement;
mod plugins;
mod signatures;
mod support;
mod trust_stores;
