//! Real entries with the outcome that the table says.

use std::collections::BTreeMap;
use std::path::Path;

use assay_verify::Timestamp;
use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::material::Content;

use crate::manifest::rows;
use crate::read::{Signed, bundle, folder, layout, names, read, root};

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

/// Changes one thing of a signature or its entry at a time.
fn changes(signed: &Signed) -> Vec<(&'static str, Signed)> {
    let mut changed = Vec::new();
    let mut change = |name, apply: &dyn Fn(&mut Signed)| {
        let mut other = signed.clone();
        apply(&mut other);
        changed.push((name, other));
    };
    change("signature", &|signed| match &mut signed.content {
        Content::SimpleSigning { signature, .. } | Content::Message { signature, .. } => signature[9] ^= 1,
        Content::Dsse {
            signature, envelope, ..
        } => {
            signature[9] ^= 1;
            // The signature is in the envelope, so that is another one, too.
            *envelope = envelope.as_ref().map(|blob| [&**blob, b" "].concat().into());
        }
    });
    if !matches!(signed.content, Content::Message { .. }) {
        change("payload", &|signed| match &mut signed.content {
            Content::SimpleSigning { payload, .. } | Content::Dsse { payload, .. } => {
                *payload = [b" ", &**payload].concat().into();
            }
            Content::Message { .. } => {}
        });
    }
    if signed.certificate.is_some() {
        change("certificate", &|signed| signed.certificate.as_mut().unwrap()[99] ^= 1);
    }
    change("body", &|signed| {
        let body = &mut signed.entries[0].body;
        *body = [&**body, b" "].concat().into();
    });
    if signed.entries[0].promise.is_some() {
        change("promise", &|signed| {
            signed.entries[0].promise.as_mut().unwrap()[20] ^= 1
        });
        change("promised time", &|signed| {
            let time = &mut signed.entries[0].integrated_time;
            *time = time.map(|at| Timestamp::from_second(at.as_second() + 1).unwrap());
        });
        change("promised position", &|signed| signed.entries[0].log_index += 1);
    }
    if let Some(proof) = &signed.entries[0].proof {
        change("root hash", &|signed| {
            signed.entries[0].proof.as_mut().unwrap().root_hash[0] ^= 1
        });
        change("position", &|signed| {
            signed.entries[0].proof.as_mut().unwrap().log_index ^= 1
        });
        // Without a checkpoint nobody says how large the tree is, and the proof proves nothing.
        if proof.checkpoint.is_some() {
            change("size", &|signed| {
                signed.entries[0].proof.as_mut().unwrap().tree_size += 1
            });
            change("checkpoint", &|signed| {
                let checkpoint = &mut signed.entries[0].proof.as_mut().unwrap().checkpoint;
                *checkpoint = checkpoint
                    .as_ref()
                    .map(|note| note.replacen("\n\n", "\nmore\n\n", 1).into());
            });
        }
        for (index, _) in proof.hashes.iter().enumerate() {
            change("hash", &|signed| {
                signed.entries[0].proof.as_mut().unwrap().hashes[index][31] ^= 1
            });
        }
    }
    changed
}

/// An entry that verifies does so as it came and no other way.
#[track_caller]
fn check_changes(case: &str, signed: &Signed, verify: impl Fn(&Signed) -> String) {
    if !verify(signed).starts_with("verified") {
        return;
    }
    for (name, changed) in changes(signed) {
        let outcome = verify(&changed);
        assert!(outcome.starts_with("refused"), "{case} with another {name}: {outcome}");
    }
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
            Some(signed) => {
                let (root, key) = (root(&root_path), key.as_ref());
                check_changes(&case, &signed, |signed| signed.outcome(&root, key, Some(&artifact)));
                signed.outcome(&root, key, Some(&artifact))
            }
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
        for signed in &signed {
            check_changes(row[0], signed, |signed| signed.outcome(&root, key.as_ref(), None));
        }
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
            let signed = layout(&path);
            for signed in &signed {
                check_changes(&version, signed, |signed| signed.outcome(&root, None, None));
            }
            let outcomes: Vec<String> = signed.iter().map(|signed| signed.outcome(&root, None, None)).collect();
            found.insert(format!("{version}/{image}"), outcomes.join("; "));
        }
    }
    check("slsa-verifier", found);
}
