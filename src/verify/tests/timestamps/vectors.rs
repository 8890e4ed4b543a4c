//! Real tokens: every token of the vectors has the outcome that the MANIFEST says, or is in `divergences.tsv` with the
//! reason.
//!
//! `vectors.tsv` says of which message a token is, and which outcome is expected. The anchors are all roots of timestamp
//! authorities that the vectors have. A token that is in neither table fails, and so does a divergence that is none any
//! more. `.tsq` and `.tsr` are `TimeStampResp`, the wrapping in which an authority answers: no envelope has that, and it
//! is refused as every other thing that is no token.

use std::collections::{BTreeMap, BTreeSet};

use assay_verify::envelope::{Envelope, Format};
use assay_verify::notation::trust_store::parse_file;
use assay_verify::timestamp::verify;
use assay_verify::x509::certificate::Certificate;
use assay_verify::x509::timestamping::{Budget, TimestampingChainError, find_chain};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ciborium::Value as Cbor;

use crate::manifest::{manifest, read, rows};
use crate::token::at;

const CASES: &str = include_str!("vectors.tsv");
const DIVERGENCES: &str = include_str!("divergences.tsv");

const ROOTS: [&str; 3] = [
    "tspclient-go/testdata/GlobalSignRootCA.crt",
    "notation/config/timestamp/globalsignTSARoot.cer",
    "notation/config/timestamp/DigiCertTSARootSHA384.cer",
];

fn certificates(file: &str) -> Vec<Certificate> {
    parse_file(&read(file)).unwrap()
}

/// The token of an envelope, and the raw bytes of the signature that it is of.
fn of_envelope(format: Format, content: &[u8]) -> (Vec<u8>, Vec<u8>) {
    let envelope = Envelope::parse(format, content).and_then(Envelope::verify).unwrap();
    let signature = match format {
        Format::Jws => {
            let json: serde_json::Value = serde_json::from_slice(content).unwrap();
            URL_SAFE_NO_PAD.decode(json["signature"].as_str().unwrap()).unwrap()
        }
        Format::Cose => {
            let cbor: Cbor = ciborium::from_reader(content).unwrap();
            let (_, sign1) = cbor.into_tag().unwrap();
            sign1.into_array().unwrap().pop().unwrap().into_bytes().unwrap()
        }
    };
    (envelope.timestamp_token().unwrap().to_vec(), signature)
}

/// `accepted` with the time and its bounds, or the reason why not.
fn outcome(file: &str, message: &str) -> String {
    let content = read(file);
    let (token, message) = match message {
        "of the JWS" => of_envelope(Format::Jws, &content),
        "of the COSE" => of_envelope(Format::Cose, &content),
        text => (content, text.as_bytes().to_vec()),
    };
    let anchors: Vec<_> = ROOTS.into_iter().flat_map(certificates).collect();
    match verify(&token, &message, &anchors) {
        Ok(countersignature) => format!(
            "accepted: {} to {}",
            countersignature.earliest(),
            countersignature.latest()
        ),
        Err(error) => format!("refused: {error}"),
    }
}

#[test]
fn every_token_has_its_expected_outcome() {
    let mut wrong = Vec::new();
    for row in rows(CASES) {
        let [file, message, expected] = row[..] else {
            panic!("vectors.tsv: {row:?}")
        };
        let outcome = outcome(file, message);
        if outcome != expected {
            wrong.push(format!("{file}\t{message}\t{outcome}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn every_outcome_is_what_the_manifest_says_or_a_divergence_with_a_reason() {
    let manifest = manifest();
    let divergences: BTreeMap<_, _> = rows(DIVERGENCES)
        .into_iter()
        .map(|row| {
            let [file, reason] = row[..] else {
                panic!("divergences.tsv: {row:?}")
            };
            assert!(!reason.is_empty());
            (file, reason)
        })
        .collect();
    let mut used = BTreeSet::new();
    for row in rows(CASES) {
        let (file, expected) = (row[0], row[2]);
        let sentence = manifest
            .get(file)
            .unwrap_or_else(|| panic!("{file} is not in the MANIFEST"));
        let refused = sentence.contains("DENY") || sentence.contains("ERROR");
        let agrees = refused == expected.starts_with("refused");
        if divergences.contains_key(file) {
            used.insert(file);
            assert!(!agrees, "{file} diverges no more");
        } else {
            assert!(agrees, "{file}: {expected}; the MANIFEST: {sentence}");
        }
    }
    assert_eq!(used.len(), divergences.len(), "a divergence is of no case");
}

#[test]
fn no_token_is_forgotten() {
    let cases: BTreeSet<_> = rows(CASES).into_iter().map(|row| row[0].to_owned()).collect();
    let name = b"io.cncf.notary.timestampSignature";
    let has_token = |file: &str| {
        [".p7s", ".tsq", ".tsr"].iter().any(|end| file.ends_with(end))
            || read(file).windows(name.len()).any(|window| window == name)
    };
    let forgotten: Vec<_> = manifest()
        .into_keys()
        .filter(|file| !cases.contains(file) && has_token(file))
        .collect();
    assert!(forgotten.is_empty(), "not in vectors.tsv: {forgotten:#?}");
    assert!(cases.len() >= 38, "{}", cases.len());
}

#[test]
fn the_chain_of_a_real_token_ends_with_the_anchor() {
    let anchors = certificates(ROOTS[0]);
    let token = read("tspclient-go/internal/cms/testdata/TimeStampToken.p7s");
    let countersignature = verify(&token, b"notation", &anchors).unwrap();
    assert_eq!(countersignature.generated_at(), at("2021-09-17T14:09:10Z"));
    // The token has the younger root, cross-signed by the older one, which is the anchor.
    assert_eq!(countersignature.chain().len(), 4);
    assert_eq!(countersignature.chain().last(), anchors.first());
    // Where the younger root is an anchor itself, the chain ends with it.
    let younger = certificates(ROOTS[1]);
    let shorter = verify(&token, b"notation", &younger).unwrap();
    assert_eq!(shorter.chain().len(), 3);
    assert_eq!(shorter.chain().last(), younger.first());
    assert!(countersignature.chain()[0].to_string().contains("Globalsign TSA"));
}

#[test]
fn judges_the_chains_of_timestamp_authorities_as_notation_does() {
    let folder = "notation-core-go/x509";
    let one = |name: &str| certificates(&format!("{folder}/testdata/timestamp_{name}.crt")).remove(0);
    let leaf = one("leaf");
    let moments = [leaf.not_before()];
    let find = |leaf, intermediates: &[_], anchors: &[_]| {
        find_chain(leaf, intermediates, anchors, &moments, &mut Budget::default()).unwrap()
    };
    let (intermediate, root) = (one("intermediate"), one("root"));
    let chain = find(&leaf, std::slice::from_ref(&intermediate), std::slice::from_ref(&root));
    assert_eq!(chain, Ok(vec![leaf.clone(), intermediate, root]));

    let missing = certificates(&format!("{folder}/embedded/ekuMissingTimestampingLeaf.pem")).remove(0);
    let moments = [missing.not_before()];
    let refused = find_chain(&missing, &[], &[], &moments, &mut Budget::default()).unwrap();
    assert_eq!(refused, Err(TimestampingChainError::NotForTimestampingAlone));
}
