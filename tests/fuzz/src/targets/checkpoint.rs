//! Checkpoints of transparency logs.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use assay_verify::limits::MAX_CHECKPOINT_SIGNATURES;
use assay_verify::sigstore::log::CheckpointError;
use assay_verify::sigstore::log::checkpoint::Checkpoint;
use assay_verify::sigstore::trusted_root::{TransparencyLog, TrustedRoot};
use serde_json::Value;

use crate::{Target, seeds, shown};

/// Checkpoints as entries carry them.
pub const TARGET: Target = Target {
    name: "checkpoint",
    seeds,
    words: &[
        b"\n",
        b"\n\n",
        b"\r\n",
        b"\xe2\x80\x94 ",
        b" - 1",
        b" - ",
        b"0",
        b"18446744073709551616",
        b"-1",
        b"=",
        b"\0",
        b"\xc2\xa0",
        b"+",
        b"log2025-alpha1.rekor.sigstage.dev",
        b"rekor.sigstore.dev",
    ],
    check,
    inputs: 6_000,
};

const SUITE: &str = "conformance/bundle-verify";

fn seeds() -> Vec<Vec<u8>> {
    let bundles = seeds::sigstore_files(SUITE, |path, _| path.ends_with("bundle.sigstore.json"));
    let checkpoint = |bundle: &Vec<u8>| {
        let bundle: Value = serde_json::from_slice(bundle).ok()?;
        let note = bundle.pointer("/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope")?;
        Some(note.as_str()?.as_bytes().to_vec())
    };
    bundles
        .iter()
        .filter_map(checkpoint)
        .collect::<BTreeSet<_>>()
        .into_iter()
        .collect()
}

static LOGS: LazyLock<Vec<TransparencyLog>> = LazyLock::new(|| {
    let roots = seeds::sigstore_files("", |path, _| path.ends_with("trusted_root.json"));
    let logs = roots.iter().filter_map(|root| TrustedRoot::parse(root).ok());
    let mut logs: Vec<_> = logs.flat_map(|root| root.logs).collect();
    logs.sort_by_key(|log| *log.key.fingerprint());
    logs.dedup_by(|one, other| one.key == other.key && one.base_url == other.base_url);
    logs
});

/// What the logs signed: everything above the signatures.
static GENUINE: LazyLock<BTreeSet<String>> = LazyLock::new(|| {
    let genuine = seeds().into_iter().filter_map(|seed| {
        let note = String::from_utf8(seed).ok()?;
        is_signed(&Checkpoint::parse(&note).ok()?).then(|| signed(&note))
    });
    let genuine: BTreeSet<String> = genuine.collect();
    assert!(genuine.len() > 10, "few seeds verify: {}", genuine.len());
    genuine
});

fn signed(note: &str) -> String {
    note.rsplit_once("\n\n").map_or(note, |(text, _)| text).to_owned()
}

fn is_signed(checkpoint: &Checkpoint<'_>) -> bool {
    LOGS.iter().any(|log| verify(checkpoint, log).is_ok())
}

fn verify(checkpoint: &Checkpoint<'_>, log: &TransparencyLog) -> Result<(), CheckpointError> {
    match checkpoint.is_rekor_v1() {
        true => checkpoint.verify_rekor_v1(log),
        false => checkpoint.verify_rekor_v2(log),
    }
}

/// No mutation forges a log's word: whatever verifies is a text that a log signed, byte for byte.
pub fn check(input: &[u8]) -> String {
    let Some(note) = super::text(input) else {
        return "not text".to_owned();
    };
    match Checkpoint::parse(note) {
        Ok(checkpoint) => {
            assert!(note.ends_with('\n') && note.lines().count() >= 5);
            let marks = note.matches('\u{2014}').count();
            assert!(
                marks >= 1
                    && note
                        .rsplit("\n\n")
                        .next()
                        .is_some_and(|lines| lines.lines().count() <= MAX_CHECKPOINT_SIGNATURES)
            );
            assert!(
                note.lines()
                    .nth(1)
                    .is_some_and(|line| line == checkpoint.size.to_string())
            );
            if is_signed(&checkpoint) {
                assert!(GENUINE.contains(&signed(note)), "no log signed this: {note:?}");
            }
            let outcomes: BTreeSet<String> = LOGS
                .iter()
                .map(|log| verify(&checkpoint, log).map_or_else(|error| shown::error(&error), |()| "signed".to_owned()))
                .collect();
            format!("{} {outcomes:?}", checkpoint.is_rekor_v1())
        }
        Err(error) => shown::error(&error),
    }
}
