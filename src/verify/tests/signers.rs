//! Real signers' certificates, their logs' promises and their timestamps, judged by the trusted roots that they were
//! made under: `signers.tsv` has what becomes of each.
//!
//! Nothing else of a bundle is looked at here: one that fails for another reason has a good certificate.

#[path = "shared/sigstore.rs"]
mod sigstore;

use std::collections::BTreeSet;

use assay_verify::Timestamp;
use assay_verify::notation::trust_store::parse_file;
use assay_verify::sigstore::dsse::pre_authentication_encoding;
use assay_verify::sigstore::key::{Message, VerificationKey};
use assay_verify::sigstore::{fulcio, signed_certificate_timestamp, timestamp};
use assay_verify::x509::certificate::Certificate;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use sigstore::{Root, base64, parsed, texts};

const CASES: &str = include_str!("signers.tsv");

/// When the private authority's certificates of the vectors are valid.
const NOW: &str = "2026-11-21T12:00:00Z";

/// The columns of a case: the holder, the path, the promises, the timestamps. Where no time is known, `now` counts.
fn outcome(bundle: &Value, root: &Root, now: Option<Timestamp>) -> Vec<String> {
    let material = &bundle["verificationMaterial"];
    let signature = match &bundle["messageSignature"]["signature"] {
        // One of them is broken on purpose: it is of no message.
        Value::String(text) => STANDARD.decode(text).unwrap_or_default(),
        _ => base64(bundle["dsseEnvelope"]["signatures"][0]["sig"].as_str().unwrap()),
    };

    let mut moments = Vec::new();
    let mut timestamps = Vec::new();
    for encoded in texts(
        &material["timestampVerificationData"]["rfc3161Timestamps"],
        "signedTimestamp",
    ) {
        match timestamp::verify(&base64(encoded), &signature, &root.timestamp_authorities) {
            Ok(verified) => {
                moments.push(verified.at);
                timestamps.push(format!("{} in {}", verified.at, verified.chain.len()));
            }
            Err(error) => timestamps.push(format!("refused: {error}")),
        }
    }
    // Unsigned here: whether it counts is the log's business. Rekor v2 has none; some clients write 0 then.
    for time in texts(&material["tlogEntries"], "integratedTime").filter(|time| *time != "0") {
        moments.push(Timestamp::from_second(time.parse().unwrap()).unwrap());
    }
    if moments.is_empty() {
        moments.extend(now);
    }

    let certificates: Vec<Certificate> = std::iter::once(&material["certificate"]["rawBytes"])
        .filter_map(Value::as_str)
        .chain(texts(&material["x509CertificateChain"]["certificates"], "rawBytes"))
        .map(|encoded| Certificate::from_der(&base64(encoded)).unwrap())
        .collect();
    let timestamps = timestamps.join("; ");
    let Some((leaf, intermediates)) = certificates.split_first() else {
        return [String::new(), String::new(), String::new(), timestamps].to_vec();
    };
    let refused = |error: &dyn std::fmt::Display| format!("refused: {error}");
    let holder = match fulcio::holder(leaf) {
        Ok(holder) => format!(
            "{} by {}, {} claims",
            holder.subject,
            holder.issuer.unwrap_or_default(),
            holder.claims.len()
        ),
        Err(error) => refused(&error),
    };
    let (path, promises) = match fulcio::find_path(leaf, intermediates, &root.certificate_authorities, &moments) {
        Ok(path) => {
            let promises =
                match signed_certificate_timestamp::verify(leaf, &path.certificates[1], &root.certificate_logs) {
                    Ok(promises) => promises.iter().map(|promise| promise.at.to_string()).collect(),
                    Err(error) => refused(&error),
                };
            (path.certificates.len().to_string(), promises)
        }
        Err(error) => (format!("refused ({}): {error}", error.code()), String::new()),
    };
    [holder, path, promises, timestamps].to_vec()
}

/// The bundles and v2 layers of an image layout, in the order of their names. A layer is put into the shape of a
/// bundle.
fn signatures(layout: &str) -> Vec<Value> {
    let blobs = format!("{layout}/blobs/sha256");
    let documents = sigstore::files(&blobs)
        .into_iter()
        .filter_map(|blob| parsed(&format!("{blobs}/{blob}")));
    let mut signatures = Vec::new();
    for document in documents {
        if document["verificationMaterial"].is_object() {
            signatures.push(document);
            continue;
        }
        for layer in document["layers"].as_array().into_iter().flatten() {
            let annotation = |name: &str| layer["annotations"][name].as_str();
            let Some(signature) = annotation("dev.cosignproject.cosign/signature") else {
                continue;
            };
            let chain = [
                annotation("dev.sigstore.cosign/certificate"),
                annotation("dev.sigstore.cosign/chain"),
            ];
            let certificates: Vec<Value> = chain
                .into_iter()
                .flatten()
                .flat_map(|pem| parse_file(pem.as_bytes()).unwrap())
                .map(|certificate| json!({ "rawBytes": STANDARD.encode(certificate.der()) }))
                .collect();
            let nested = |name| annotation(name).map(|text| serde_json::from_str::<Value>(text).unwrap());
            let time =
                nested("dev.sigstore.cosign/bundle").map(|bundle| bundle["Payload"]["integratedTime"].to_string());
            let timestamp = nested("dev.sigstore.cosign/rfc3161timestamp");
            signatures.push(json!({
                "verificationMaterial": {
                    "x509CertificateChain": { "certificates": certificates },
                    "tlogEntries": time.map(|time| json!([{ "integratedTime": time }])),
                    "timestampVerificationData": timestamp.map(|timestamp| json!({
                        "rfc3161Timestamps": [{ "signedTimestamp": timestamp["SignedRFC3161Timestamp"] }],
                    })),
                },
                "messageSignature": { "signature": signature },
                "payload": layer["digest"],
            }));
        }
    }
    signatures
}

/// Appends the cases of a layout: those of its signatures that have a certificate.
fn judge_layout(name: &str, layout: &str, root: &str, actual: &mut String) {
    let root = Root::read(&parsed(root).unwrap());
    for signature in signatures(layout) {
        let columns = outcome(&signature, &root, Some(NOW.parse().unwrap()));
        if !columns[0].is_empty() {
            actual.push_str(&format!("{name}\t{}\n", columns.join("\t")));
        }
    }
}

/// Other bundles, by private and public instances, with the trusted roots that they belong to.
const BUNDLES: [(&str, &str); 19] = [
    ("verify/bundles/bundle_cve_2022_36056.txt.sigstore", STAGING),
    ("verify/bundles/bundle_invalid_version.txt.sigstore", STAGING),
    ("verify/bundles/bundle_no_checkpoint.txt.sigstore", STAGING),
    ("verify/bundles/bundle_no_log_entry.txt.sigstore", STAGING),
    ("verify/bundles/bundle_v3_github.whl.sigstore", PUBLIC),
    ("verify/bundles/bundle_v3_no_signed_time.txt.sigstore.json", PUBLIC),
    ("verify/bundles/conda-attestation-rekor2.sigstore.json", STAGING),
    ("verify/bundles/conda-attestation.sigstore.json", PUBLIC),
    ("verify/bundles/cosign-v3-blob.sigstore.json", PUBLIC),
    ("verify/bundles/dsse-2sigs.sigstore.json", PUBLIC),
    ("verify/bundles/dsse.sigstore.json", PUBLIC),
    ("verify/bundles/github-private-attestation.sigstore.json", GITHUB),
    (
        "verify/bundles/othername.sigstore.json",
        "sigstore-rust/verify/trusted_roots/scaffolding.json",
    ),
    ("verify/bundles/sigstore.js@2.0.0-provenance.sigstore.json", PUBLIC),
    (
        "verify/sct-multi-intermediate/staging_bundle.sigstore.json",
        "sigstore-rust/verify/sct-multi-intermediate/staging_trusted_root.json",
    ),
    (
        "tsa/timestamps/github_sha384_bundle.json",
        "sigstore-rust/tsa/timestamps/github_trusted_root.json",
    ),
    (
        "tsa/timestamps/payload_mismatch_bundle.json",
        "sigstore-rust/tsa/timestamps/valid_trusted_root.json",
    ),
    (
        "tsa/timestamps/valid_bundle.json",
        "sigstore-rust/tsa/timestamps/valid_trusted_root.json",
    ),
    // A root of another instance.
    ("tsa/timestamps/valid_bundle.json", PUBLIC),
];
const PUBLIC: &str = "trusted-roots/prod-trusted_root.json";
const STAGING: &str = "trusted-roots/staging-trusted_root.json";
const GITHUB: &str = "trusted-roots/github-trusted_root.json";

#[test]
fn signers_are_judged_as_the_table_says() {
    let mut actual = String::new();
    for name in sigstore::folders("conformance/bundle-verify") {
        let folder = format!("conformance/bundle-verify/{name}");
        let Some(bundle) = parsed(&format!("{folder}/bundle.sigstore.json")) else {
            continue;
        };
        let root = parsed(&format!("{folder}/trusted_root.json"))
            .or_else(|| parsed("trusted-roots/prod-trusted_root.json"))
            .unwrap();
        let columns = outcome(&bundle, &Root::read(&root), None).join("\t");
        actual.push_str(&format!("{name}\t{columns}\n"));
    }
    for name in sigstore::folders("generated/layouts") {
        let root = match name.contains("-pki-") {
            true => "generated/trust/acme_trusted_root.json",
            false => "generated/trust/trusted_root.json",
        };
        judge_layout(&name, &format!("generated/layouts/{name}"), root, &mut actual);
    }
    for version in sigstore::folders("slsa-verifier/gha_generic_container") {
        let layout = format!("slsa-verifier/gha_generic_container/{version}/container_workflow_dispatch");
        judge_layout(&version, &layout, "trusted-roots/prod-trusted_root.json", &mut actual);
    }
    for (bundle, root) in BUNDLES {
        let parsed_bundle = parsed(&format!("sigstore-rust/{bundle}")).unwrap();
        let columns = outcome(&parsed_bundle, &Root::read(&parsed(root).unwrap()), None).join("\t");
        let root = root.rsplit('/').next().unwrap();
        actual.push_str(&format!("{bundle} of {root}\t{columns}\n"));
    }
    let (actual, expected): (Vec<&str>, Vec<&str>) = (actual.lines().collect(), CASES.lines().skip(1).collect());
    let different: Vec<_> = actual.iter().filter(|line| !expected.contains(line)).collect();
    assert!(different.is_empty(), "not in signers.tsv:\n{different:#?}");
    assert_eq!(actual.len(), expected.len(), "signers.tsv has cases that are gone");
}

/// What cosign 2 and 3 sign with every kind of key: those that cosign 3.1 itself cannot verify (P-384, P-521, Ed25519)
/// too.
#[test]
fn every_key_verifies_what_cosign_signed_with_it_and_no_other() {
    let keys: Vec<(String, VerificationKey)> = sigstore::files("generated/keys")
        .into_iter()
        .map(|file| {
            let key = VerificationKey::from_pem(&sigstore::text(&format!("generated/keys/{file}"))).unwrap();
            (file.trim_end_matches(".pub").to_owned(), key)
        })
        .collect();
    let mut seen = BTreeSet::new();
    for layout in sigstore::folders("generated/layouts") {
        let Some((version, signer)) = layout.split_once("-key-") else {
            continue;
        };
        let signer = signer.split('-').next().unwrap();
        if version.contains("att") || signer == "unsigned" {
            continue;
        }
        for signature in signatures(&format!("generated/layouts/{layout}")) {
            let (message, signature) = match &signature["dsseEnvelope"] {
                Value::Null => {
                    let payload = signature["payload"].as_str().unwrap().replace(':', "/");
                    let payload = sigstore::bytes(&format!("generated/layouts/{layout}/blobs/{payload}"));
                    (
                        payload,
                        base64(signature["messageSignature"]["signature"].as_str().unwrap()),
                    )
                }
                envelope => (
                    pre_authentication_encoding(
                        envelope["payloadType"].as_str().unwrap(),
                        &base64(envelope["payload"].as_str().unwrap()),
                    ),
                    base64(envelope["signatures"][0]["sig"].as_str().unwrap()),
                ),
            };
            for (name, key) in &keys {
                let verdict = key.verify(Message::Bytes(&message), &signature);
                assert_eq!(verdict.is_ok(), name == signer, "{layout} with {name}");
                if let Ok(hash) = verdict {
                    // Ed25519 of cosign 3 is prehashed, so every one of these can be verified by its digest.
                    let digest = hash.digest(&message);
                    assert_eq!(key.verify(Message::Digest(hash, &digest), &signature), Ok(hash));
                    seen.insert(format!("{version} {signer} {}", hash.as_str()));
                }
            }
        }
    }
    let expected = [
        "v2 p256 sha256",
        "v2 p384 sha256",
        "v2 p521 sha256",
        "v2 rsa2048 sha256",
        "v2 rsa4096 sha256",
        "v3 ed25519 sha512",
        "v3 p256 sha256",
        "v3 p384 sha384",
        "v3 p521 sha512",
        "v3 rsa2048 sha256",
        "v3 rsa4096 sha256",
    ];
    assert!(seen.iter().eq(expected), "{seen:#?}");
}
