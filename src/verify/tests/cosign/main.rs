//! Signatures and attestations of cosign, made in the test with one defect at a time.

mod attestations;
mod denied;
#[path = "../shared/deny_list.rs"]
mod deny_list;
mod deployment;
mod judgement;
mod steps;
#[path = "../notation/support.rs"]
#[allow(dead_code, reason = "the tests of notation need more of it")]
mod support;
#[path = "../timestamps/token.rs"]
#[allow(dead_code, reason = "the tests of timestamps need more of it")]
mod token;
