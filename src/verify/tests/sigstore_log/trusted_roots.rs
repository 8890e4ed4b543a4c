//! Every trusted root among the vectors.

use assay_verify::sigstore::trusted_root::{PartyError, TrustedRoot, TrustedRootError};

use crate::read::{files_below, folder, read};

#[test]
fn every_real_root_is_read_and_the_one_without_a_start_is_refused() {
    let mut roots = Vec::new();
    files_below(&folder(), &mut roots);
    roots.retain(|path| {
        path.to_str().unwrap().ends_with("trusted_root.json") || path.parent().unwrap().ends_with("trusted_roots")
    });
    assert!(roots.len() > 40, "only {} roots were found", roots.len());
    for path in roots {
        let outcome = TrustedRoot::parse(&read(&path));
        if path.ends_with("trust-root-tlog-missing-validity-start_fail/trusted_root.json") {
            let missing = PartyError::Missing("publicKey.validFor.start");
            let Err(TrustedRootError::Party {
                list: "tlogs", cause, ..
            }) = outcome
            else {
                panic!("{outcome:?}");
            };
            assert_eq!(cause, missing);
        } else {
            assert!(outcome.is_ok(), "{}: {}", path.display(), outcome.unwrap_err());
        }
    }
}
