//! Real entries with the outcome that the table says.

use std::collections::BTreeMap;
use std::path::Path;

use assay_verify::sigstore::key::VerificationKey;

use crate::manifest::rows;
use crate::read::{bundle, folder, layout, names, read, root};

const CASES: &str = include_str!("entries.tsv");

fn expected(group: &str) -> BTreeMap<&'static str, &'static str> {
    let rows = rows(CASES).into_iter().filter(|row| row[0] == group);
    rows.map(|row| (row[1], row[2])).collect()
}

#[track_caller]
fn check(group: &str, found: BTreeMap<String, String>) {
    let shown = |case: &str, outcome: &str| format!("{group}\t{case}\t{outcome}");
    let found: Vec<String> = found.iter().map(|(case, outcome)| shown(case, outcome)).collect();
    let expected: Vec<String> = expected(group)
        .iter()
        .map(|(case, outcome)| shown(case, outcome))
        .collect();
    assert_eq!(found.join("\n"), expected.join("\n"));
}

fn key(path: &Path) -> Option<VerificationKey> {
    VerificationKey::from_pem(&String::from_utf8(read(path)).unwrap()).ok()
}

#[test]
fn entries_of_the_conformance_suite_have_their_outcome() {
    let suite = folder().join("conformance/bundle-verify");
    let mut found = BTreeMap::new();
    for case in names(&suite) {
        let case_folder = suite.join(&case);
        if !case_folder.is_dir() {
            continue;
        }
        let own = |name: &str, other: &Path| match case_folder.join(name) {
            path if path.is_file() => path,
            _ => other.to_owned(),
        };
        let root_path = own(
            "trusted_root.json",
            &folder().join("trusted-roots/prod-trusted_root.json"),
        );
        let artifact = read(&own("artifact", &suite.join("a.txt")));
        let key_path = case_folder.join("key.pub");
        let key = key_path.is_file().then(|| key(&key_path)).flatten();
        let outcome = match bundle(&read(&case_folder.join("bundle.sigstore.json"))) {
            None => "unreadable".to_owned(),
            Some(_) if case == "trust-root-tlog-missing-validity-start_fail" => "no root".to_owned(),
            Some(signed) => signed.outcome(&root(&root_path), key.as_ref(), Some(&artifact)),
        };
        if !case.ends_with("_fail") {
            assert!(outcome.starts_with("verified"), "{case}: {outcome}");
        }
        found.insert(case, outcome);
    }
    check("conformance", found);
}

#[test]
fn entries_of_images_that_cosign_signed_have_their_outcome() {
    let generated = folder().join("generated");
    let cases = String::from_utf8(read(&generated.join("cases.tsv"))).unwrap();
    let mut found = BTreeMap::new();
    for row in rows(&cases).iter().skip(1) {
        let named = |name: &str| {
            row[2]
                .split(';')
                .find_map(|part| part.strip_prefix(name)?.strip_prefix('='))
        };
        let key = named("key").and_then(|path| key(&generated.join(path)));
        let root = root(&generated.join(named("root").unwrap_or("trust/trusted_root.json")));
        let signed = layout(&generated.join("layouts").join(row[0]));
        let outcomes = signed.iter().map(|signed| signed.outcome(&root, key.as_ref(), None));
        let outcomes: Vec<String> = outcomes.filter(|outcome| outcome != "no entry").collect();
        if !outcomes.is_empty() {
            found.insert(row[0].to_owned(), outcomes.join("; "));
        }
    }
    check("generated", found);
}

#[test]
fn entries_of_real_images_in_the_public_good_log_have_their_outcome() {
    let root = root(&folder().join("trusted-roots/prod-trusted_root.json"));
    let builders = folder().join("slsa-verifier/gha_generic_container");
    let mut found = BTreeMap::new();
    for version in names(&builders) {
        for image in names(&builders.join(&version)) {
            let path = builders.join(&version).join(&image);
            if !path.is_dir() {
                continue;
            }
            let outcomes: Vec<String> = layout(&path)
                .iter()
                .map(|signed| signed.outcome(&root, None, None))
                .collect();
            found.insert(format!("{version}/{image}"), outcomes.join("; "));
        }
    }
    check("slsa-verifier", found);
}
