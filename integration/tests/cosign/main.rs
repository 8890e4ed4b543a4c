//! Images that both cosigns sign in every form, pulled through the real containerd beside `cosign verify`.
//!
//! `cases.tsv` has each image: how it is signed, what is changed afterwards, under which authority of the policy it is
//! pulled, and what both come to. `differences.tsv` has the cases in which one accepts what the other refuses, each with
//! its reason. `--nocapture` prints both verdicts and the requests that each took.

mod cases;
mod certificates;
mod changes;
mod lab;
mod policy;
mod registries;

use std::collections::BTreeSet;

use crate::cases::{CASES, Case, DIFFERENCES, rows};

#[test]
fn each_case_is_there_once_and_each_difference_is_listed_with_its_reason() {
    let cases: Vec<_> = rows(CASES).map(|row| Case::parse(&row)).collect();
    let ids: BTreeSet<_> = cases.iter().map(|case| case.id).collect();
    assert_eq!(ids.len(), cases.len(), "an id is there twice");
    let differ: BTreeSet<_> = cases.iter().filter(|case| case.differs()).map(|case| case.id).collect();
    let listed: Vec<_> = rows(DIFFERENCES).collect();
    let reasons = listed.iter().all(|row| row.len() == 2 && row[1].ends_with('.'));
    assert!(reasons, "a difference without a reason");
    assert_eq!(listed.iter().map(|row| row[0]).collect::<BTreeSet<_>>(), differ);
    assert_eq!(listed.len(), differ.len(), "a difference is listed twice");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cosign_2_signs() {
    lab::run(|case| case.part == "two").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cosign_3_signs() {
    lab::run(|case| case.part == "three").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_as_it_was_signed() {
    lab::run(|case| case.part == "changed").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_both_attest() {
    lab::run(|case| case.part == "attested").await;
}
