//! The bundle verification tests of sigstore's conformance suite (sigstore-conformance: test/assets/bundle-verify), each
//! with the artifact's bytes and with its digest.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use assay_verify::crypto::Hash;
use assay_verify::digest::{Algorithm, Digest};
use assay_verify::sigstore::authority::RequiredEvidence;
use assay_verify::sigstore::bundle;
use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::second_opinion::{self, Opinion};
use assay_verify::sigstore::signature::{Artifact, FileDigest, Purpose};

use crate::judged::{self, Root, Terms, Who};
use crate::vectors::{find, folder, names, read, text};

const FOLDER: &str = "conformance/bundle-verify";

/// The suite's own defaults (test/assets/bundle-verify/README.md).
const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// How the artifact is given.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Given {
    Path,
    Digest,
}

/// What became of one case.
struct Outcome {
    /// The judgement.
    whole: Result<(), String>,
    /// By our own steps alone.
    ours: Result<(), String>,
    /// The second opinion, where there is a bundle to ask about.
    second: Option<Opinion>,
}

fn digests(artifact: &[u8], given: Given) -> Vec<FileDigest> {
    let digest = |hash, algorithm| {
        let hex = Digest::of(algorithm, artifact).hex().to_owned();
        let bytes = hex.as_bytes().chunks(2).map(|pair| {
            let pair = std::str::from_utf8(pair).unwrap();
            u8::from_str_radix(pair, 16).unwrap()
        });
        FileDigest {
            hash,
            bytes: bytes.collect(),
        }
    };
    match given {
        // Nothing here is signed with SHA-384: those with P-384 keys are with SHA-256.
        Given::Path => vec![
            digest(Hash::Sha256, Algorithm::Sha256),
            digest(Hash::Sha512, Algorithm::Sha512),
        ],
        Given::Digest => vec![digest(Hash::Sha256, Algorithm::Sha256)],
    }
}

fn judge(case: &str, given: Given) -> Outcome {
    let file = |name: &str| format!("{FOLDER}/{case}/{name}");
    let refused = |reason: String| Outcome {
        whole: Err(reason.clone()),
        ours: Err(reason),
        second: None,
    };
    let key = find(&file("key.pub"));
    let who = match key.map(|pem| VerificationKey::from_pem(std::str::from_utf8(&pem).unwrap())) {
        Some(Ok(key)) => Who::Key(key),
        Some(Err(error)) => return refused(error.to_string()),
        None => Who::Identity {
            subject: find(&file("identity")).map_or_else(|| IDENTITY.to_owned(), trimmed),
            issuer: find(&file("issuer")).map_or_else(|| ISSUER.to_owned(), trimmed),
        },
    };
    let root = find(&file("trusted_root.json")).unwrap_or_else(|| read("trusted-roots/prod-trusted_root.json"));
    let root = match Root::parse(&root) {
        Ok(root) => Arc::new(root),
        Err(error) => return refused(error),
    };
    let is_key = matches!(who, Who::Key(_));
    let terms = Terms {
        who,
        root: Some(root),
        evidence: RequiredEvidence {
            log_entries: 1,
            timestamps: 0,
            signed_certificate_timestamps: usize::from(!is_key),
            verified_time: !is_key,
        },
        annotations: BTreeMap::new(),
    };
    let json = read(&file("bundle.sigstore.json"));
    let material = match bundle::parse(&json) {
        Ok(material) => material,
        Err(error) => return refused(error.to_string()),
    };
    let artifact = find(&file("artifact")).unwrap_or_else(|| read(&format!("{FOLDER}/a.txt")));
    let digest = Digest::sha256(&artifact);
    let second = judged::second(
        &json,
        &material,
        &terms,
        match given {
            Given::Path => second_opinion::Artifact::Bytes(&artifact),
            Given::Digest => second_opinion::Artifact::Digest(&digest),
        },
    );
    let digests = digests(&artifact, given);
    let judge = |bundle| judged::judge(&material, bundle, &terms, Artifact::Blob(&digests), Purpose::Any).map(drop);
    Outcome {
        whole: judge(Some(&json)),
        ours: judge(None),
        second,
    }
}

fn trimmed(text: Vec<u8>) -> String {
    String::from_utf8(text).unwrap().trim().to_owned()
}

fn cases() -> Vec<String> {
    let is_folder = |name: &String| folder().join(FOLDER).join(name).is_dir();
    names(FOLDER).into_iter().filter(is_folder).collect()
}

fn each_case(mut check: impl FnMut(&str, Given, bool, Outcome)) {
    for case in cases() {
        for given in [Given::Path, Given::Digest] {
            check(&case, given, !case.ends_with("_fail"), judge(&case, given));
        }
    }
}

#[test]
fn every_case_ends_as_the_suite_expects() {
    let (mut count, mut wrong) = (0, Vec::new());
    each_case(|case, given, expected, outcome| {
        count += 1;
        if outcome.whole.is_ok() != expected {
            let readme = text(&format!("{FOLDER}/{case}/README"));
            wrong.push(format!(
                "{case} by {given:?}: {:?}; {}",
                outcome.whole,
                readme.lines().next().unwrap_or_default()
            ));
        }
    });
    assert_eq!(count, 140);
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Our own steps do not lean on the second opinion: they refuse every forged bundle alone.
#[test]
fn our_own_steps_alone_end_as_the_suite_expects() {
    let mut wrong = Vec::new();
    each_case(|case, given, expected, outcome| {
        if outcome.ours.is_ok() != expected {
            wrong.push(format!("{case} by {given:?}: {:?}", outcome.ours));
        }
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The second opinion is asked about every good bundle, and refuses every forged one that it is asked about.
#[test]
fn the_second_opinion_alone_ends_as_the_suite_expects() {
    let (mut agreed, mut refused, mut other) = (0, 0, BTreeSet::new());
    let mut wrong = Vec::new();
    each_case(|case, given, expected, outcome| match outcome.second {
        Some(Opinion::Agrees { ref times }) if expected => {
            assert!(!times.is_empty(), "{case}");
            agreed += 1;
        }
        Some(Opinion::Refuses(_)) if !expected => refused += 1,
        Some(Opinion::NotItsShape(shape)) if !expected => drop(other.insert((case.to_owned(), shape))),
        // Nothing to ask about.
        None if !expected => {}
        second => wrong.push(format!("{case} by {given:?}: {second:?}")),
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(agreed, 42);
    assert!(refused > 50, "{refused}, {other:?}");
}
