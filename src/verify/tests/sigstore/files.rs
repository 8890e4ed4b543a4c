//! Single files of sigstore's own programs: bundles, trusted roots, envelopes, statements, payloads and keys.
//!
//! `sigstore_files.tsv` says what each is read as and what becomes of it. What the MANIFEST expects must come out, or there
//! must be a reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use assay_verify::crypto::Hash;
use assay_verify::digest::Digest;
use assay_verify::sigstore::authority::RequiredEvidence;
use assay_verify::sigstore::bundle;
use assay_verify::sigstore::dsse::Envelope;
use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::material::{Content, Material};
use assay_verify::sigstore::signature::{Artifact, FileDigest, Purpose};
use assay_verify::sigstore::simple_signing::Payload;
use assay_verify::sigstore::statement::Statement;

use crate::judged::{self, Root, Terms, Who};
use crate::vectors::{manifest, names, read, rows};

const FILES: &str = include_str!("../sigstore_files.tsv");

/// What becomes of a file when it is read as something: `accepted`, or the reason why not.
fn outcome(file: &str, read_as: &str) -> String {
    let content = read(file);
    let result = match read_as.split_once(' ') {
        None => parse(read_as, &content),
        Some(("bundle", how)) => judge(&content, how),
        Some(_) => panic!("sigstore_files.tsv: a file cannot be read as {read_as}"),
    };
    match result {
        Ok(()) => "accepted".to_owned(),
        Err(reason) => format!("refused: {reason}"),
    }
}

fn parse(read_as: &str, content: &[u8]) -> Result<(), String> {
    match read_as {
        "bundle" => bundle::parse(content).map(drop).map_err(|error| error.to_string()),
        // What one implementation takes and the other does not would leave every signature to one of them.
        "root" => match Root::parse(content)?.unusable() {
            None => Ok(()),
            Some(reason) => Err(format!("by the second implementation alone: {reason}")),
        },
        "attestation" => {
            let envelope = Envelope::parse(content).map_err(|error| error.to_string())?;
            let statement = Statement::parse(&envelope.payload);
            statement.map(drop).map_err(|error| error.to_string())
        }
        "statement" => Statement::parse(content).map(drop).map_err(|error| error.to_string()),
        "payload" => Payload::parse(content).map(drop).map_err(|error| error.to_string()),
        "key" => {
            let text = std::str::from_utf8(content).map_err(|error| error.to_string())?;
            VerificationKey::from_pem(text)
                .map(drop)
                .map_err(|error| error.to_string())
        }
        other => panic!("sigstore_files.tsv: a file cannot be read as {other}"),
    }
}

/// Judges a bundle by the artifact that it names itself, whoever signed it: `under <root>`, with as much evidence as the
/// bundle has; `without promise` where the deployment has no certificate transparency; `by <key>`.
fn judge(json: &[u8], how: &str) -> Result<(), String> {
    let mut terms = Terms {
        who: Who::Anybody,
        root: None,
        evidence: RequiredEvidence {
            log_entries: 0,
            timestamps: 0,
            signed_certificate_timestamps: 1,
            verified_time: true,
        },
        annotations: BTreeMap::new(),
    };
    let mut words = how.split(' ');
    while let Some(word) = words.next() {
        match (word, words.next().unwrap_or_default()) {
            ("under", file) => terms.root = Some(Arc::new(Root::parse(&read(file))?)),
            ("without", "promise") => terms.evidence.signed_certificate_timestamps = 0,
            ("by", file) => {
                let pem = String::from_utf8(read(file)).unwrap();
                terms.who = Who::Key(VerificationKey::from_pem(&pem).map_err(|error| error.to_string())?);
            }
            other => panic!("sigstore_files.tsv: {other:?}"),
        }
    }
    let material = bundle::parse(json).map_err(|error| error.to_string())?;
    terms.evidence.log_entries = usize::from(!material.log_entries.is_empty());
    let known = claimed(&material)?;
    judged::judge(&material, Some(json), &terms, Artifact::Blob(&known), Purpose::Any).map(drop)
}

/// The artifact that a bundle says it is about.
fn claimed(material: &Material) -> Result<Vec<FileDigest>, String> {
    let hex: String = match &material.content {
        Content::Message {
            digest: Some(digest), ..
        } => digest.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        Content::Dsse { payload, .. } => {
            let statement = Statement::parse(payload).map_err(|error| error.to_string())?;
            let mut digests = statement.subjects.into_iter().flat_map(|subject| subject.digests);
            let sha256 = digests.find(|(algorithm, _)| **algorithm == *"sha256");
            let (_, digits) = sha256.ok_or("no subject has a sha256")?;
            digits.into()
        }
        _ => return Err("it names no artifact".to_owned()),
    };
    format!("sha256:{hex}")
        .parse::<Digest>()
        .map_err(|error| error.to_string())?;
    let pairs = hex.as_bytes().chunks(2);
    let bytes = pairs.map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap());
    let known = FileDigest {
        hash: Hash::Sha256,
        bytes: bytes.collect(),
    };
    Ok(vec![known])
}

#[test]
fn every_file_has_its_expected_outcome() {
    let mut wrong = Vec::new();
    for row in rows(FILES) {
        let [file, read_as, expected, _] = row[..] else {
            panic!("sigstore_files.tsv: {row:?}")
        };
        let outcome = outcome(file, read_as);
        if outcome != expected {
            wrong.push(format!("{file} as {read_as}: {outcome}; expected: {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What the file's own authors expect of it: the MANIFEST's sentence, or else the name that it has in their tests.
fn authors_refuse(file: &str, sentence: &str) -> bool {
    let refused = [
        "_fail/",
        "malformed/",
        "mismatch",
        "bogus",
        "garbage",
        "invalid",
        "_no_",
        "cve_",
    ];
    sentence.starts_with("reject") || refused.iter().any(|part| file.contains(part))
}

#[test]
fn every_outcome_is_what_its_authors_expect_or_has_a_reason() {
    let manifest: BTreeMap<_, _> = manifest().into_iter().collect();
    let mut wrong = Vec::new();
    for row in rows(FILES) {
        let (file, read_as, outcome, reason) = (row[0], row[1], row[2], row[3]);
        let sentence = manifest
            .get(file)
            .unwrap_or_else(|| panic!("{file} is not in the MANIFEST"));
        let agrees = outcome.starts_with("refused") == authors_refuse(file, sentence);
        if agrees != (reason == "-") {
            wrong.push(format!("{file} as {read_as}: {outcome}; {reason}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What is judged in another place, and what is no file of a signature: policies, programs, bills of materials.
fn is_other(file: &str) -> bool {
    let elsewhere = [
        "conformance/",
        "generated/layouts/",
        "slsa-verifier/",
        "sigstore-rust/merkle/",
        "sigstore-rust/verify/x509/",
    ];
    let kinds = [
        ".yaml",
        ".cue",
        ".spdx",
        ".wasm",
        ".md",
        ".txt",
        ".conda",
        ".tsv",
        "Dockerfile",
        "predicate.json",
        "bom-go-mod.cyclonedx.json",
        "spdx.json",
        "test-result.json",
    ];
    let signing_config = file.contains("signing_config");
    elsewhere.iter().any(|folder| file.starts_with(folder))
        || kinds.iter().any(|kind| file.ends_with(kind))
        || signing_config
}

#[test]
fn no_file_is_forgotten() {
    let known: BTreeSet<_> = rows(FILES).into_iter().map(|row| row[0].to_owned()).collect();
    let forgotten: Vec<_> = manifest()
        .into_iter()
        .map(|(file, _)| file)
        .filter(|file| !is_other(file) && !known.contains(file))
        .collect();
    assert!(forgotten.is_empty(), "not in sigstore_files.tsv: {forgotten:#?}");
}

/// Every payload, envelope and statement that the generated images hold parses, whatever is signed with it.
#[test]
fn everything_that_cosign_wrote_parses() {
    let (mut payloads, mut envelopes, mut bundles) = (0, 0, 0);
    for layout in names("generated/layouts") {
        for blob in names(&format!("generated/layouts/{layout}/blobs/sha256")) {
            let content = read(&format!("generated/layouts/{layout}/blobs/sha256/{blob}"));
            if content.starts_with(b"{\"critical\"") {
                Payload::parse(&content).unwrap();
                payloads += 1;
            } else if content.starts_with(b"{\"payloadType\"") {
                Statement::parse(&Envelope::parse(&content).unwrap().payload).unwrap();
                envelopes += 1;
            } else if content.starts_with(b"{\"mediaType\":\"application/vnd.dev.sigstore.bundle") {
                let material = bundle::parse(&content).unwrap();
                let Content::Dsse { payload, .. } = &material.content else {
                    panic!("{layout}")
                };
                Statement::parse(payload).unwrap();
                bundles += 1;
            }
        }
    }
    assert!(
        payloads >= 10 && envelopes >= 5 && bundles >= 20,
        "{payloads} {envelopes} {bundles}"
    );
}
