//! Signatures made in the test, so that the defect under test is visible.

mod blobs;
mod chains;
mod conditions;
mod countersigned;
mod denied;
#[path = "../shared/deny_list.rs"]
mod deny_list;
mod envelopes;
mod judgement;
mod platforms;
mod plugins;
mod signatures;
mod support;
#[path = "../timestamps/token.rs"]
#[allow(dead_code, reason = "the tests of tokens alone need more of it")]
mod token;
mod trust_stores;
