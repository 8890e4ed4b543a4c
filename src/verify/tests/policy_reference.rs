//! The manual's reference of the policy is what the reader's keys make. `ASSAY_REGENERATE=1 cargo test -p assay-verify --test
//! policy_reference` rewrites it.

#![expect(clippy::disallowed_methods, reason = "a test may look at the manual")]

use std::fs;
use std::path::Path;

use assay_verify::policy::reference::reference;

#[test]
fn the_committed_page_is_what_the_keys_of_the_reader_make() {
    let committed = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/policy-reference.md");
    let made = reference();
    if std::env::var_os("ASSAY_REGENERATE").is_some() {
        fs::write(&committed, &made).expect("the page is writable");
    }
    assert_eq!(
        fs::read_to_string(&committed).unwrap_or_default(),
        made,
        "docs/policy-reference.md is stale: ASSAY_REGENERATE=1 cargo test -p assay-verify --test policy_reference"
    );
}
