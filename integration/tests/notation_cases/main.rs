//! The verification cases of notation's own end-to-end suite (notaryproject/notation, test/e2e/suite), judged by assayd
//! and by the real `notation` beside it. Each table has the cases of its part and what each must come to;
//! `differences.tsv` has the verdicts that are not the same, each with its reason. `--nocapture` prints both verdicts of
//! every case.
//!
//! The suite has 98 cases. [`SECTIONS`] says where each is.

mod command;
mod lab;
mod plugin;
mod signing_authority;
mod trust_policy;

use std::collections::{BTreeMap, BTreeSet};

use crate::lab::{DIFFERENCES, rows};

/// Endpoints are not to be had in this folder: what notation comes to is beside it, what assayd does in `revocation`.
const REVOCATION: &str = include_str!("../revocation_peers/cases.tsv");

/// Where the cases of a section are.
enum Place {
    /// A table of this folder.
    Table(&'static str),
    /// A test beside this folder.
    Elsewhere(&'static str),
}

/// Every section of the suite, by the first and the last number of its cases, and where they are.
const SECTIONS: [(&str, usize, usize, Place); 11] = [
    ("verification_level-", 1, 23, Place::Table(trust_policy::CASES)),
    ("registry_scope-", 1, 8, Place::Table(trust_policy::CASES)),
    ("multi_statements-", 1, 4, Place::Table(trust_policy::CASES)),
    ("trust_store-", 1, 5, Place::Table(trust_policy::CASES)),
    ("trusted_identity-", 1, 11, Place::Table(trust_policy::CASES)),
    ("command/verify-", 1, 14, Place::Table(command::CASES)),
    ("command/verify-", 15, 17, Place::Elsewhere("revocation/timestamps.rs")),
    ("plugin/verify-", 1, 6, Place::Table(plugin::CASES)),
    ("crl-", 1, 8, Place::Table(REVOCATION)),
    ("ocsp-", 1, 3, Place::Table(REVOCATION)),
    ("command/blob/verify-", 1, 13, Place::Elsewhere("admission/blobs.rs")),
];

#[test]
fn the_sections_are_the_whole_suite() {
    let cases: usize = SECTIONS.iter().map(|(_, first, last, _)| last + 1 - first).sum();
    assert_eq!(cases, 98);
}

#[test]
fn the_tables_have_each_case_once_and_each_difference_is_of_a_case() {
    let tables = [trust_policy::CASES, command::CASES, plugin::CASES, REVOCATION];
    let mut seen = BTreeMap::<&str, usize>::new();
    for row in tables.into_iter().flat_map(rows) {
        *seen.entry(row[0]).or_default() += 1;
    }
    let twice: Vec<_> = seen.iter().filter(|(_, count)| **count > 1).collect();
    assert!(twice.is_empty(), "{twice:?}");
    for (section, first, last, place) in &SECTIONS {
        for number in *first..=*last {
            let id = format!("{section}{number:02}");
            let here = seen.contains_key(id.as_str());
            match place {
                Place::Table(table) => assert!(rows(table).any(|row| row[0] == id), "{id} is missing"),
                Place::Elsewhere(file) => assert!(!here, "{id} is here and in {file}"),
            }
        }
    }
    let differences: Vec<_> = rows(DIFFERENCES).collect();
    let ids: BTreeSet<_> = differences.iter().map(|row| row[0]).collect();
    assert_eq!(ids.len(), differences.len(), "a difference is listed twice");
    let beyond: Vec<_> = ids.iter().filter(|id| !seen.contains_key(*id)).collect();
    assert!(beyond.is_empty(), "differences of no case: {beyond:?}");
    assert!(
        differences.iter().all(|row| row.len() == 4 && row[3].ends_with('.')),
        "a difference without a reason"
    );
}
