//! Real signers' certificates, their logs' promises and their timestamps, judged by the trusted roots that they were made
//! under: `signers.tsv` has what becomes of each.
//!
//! Nothing else of a bundle is looked at here: one that fails for another reason has a good certificate.

#[path = "shared/sigstore.rs"]
mod sigstore;

use assay_verify::Timestamp;
use assay_verify::sigstore::{fulcio, signed_certificate_timestamp, timestamp};
use assay_verify::x509::certificate::Certificate;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use sigstore::{Root, base64, json, texts};

const CASES: &str = include_str!("signers.tsv");

/// The columns of a case: the holder, the path, the promises, the timestamps.
fn outcome(bundle: &Value, root: &Root) -> Vec<String> {
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
    // Unsigned here: whether it counts is the log's business.
    for time in texts(&material["tlogEntries"], "integratedTime") {
        moments.push(Timestamp::from_second(time.parse().unwrap()).unwrap());
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

#[test]
fn signers_of_the_conformance_suite_are_judged_as_the_table_says() {
    let mut actual = String::new();
    for name in sigstore::folders("conformance/bundle-verify") {
        let folder = format!("conformance/bundle-verify/{name}");
        let Some(bundle) = json(&format!("{folder}/bundle.sigstore.json")) else {
            continue;
        };
        let root = json(&format!("{folder}/trusted_root.json"))
            .or_else(|| json("trusted-roots/prod-trusted_root.json"))
            .unwrap();
        let columns = outcome(&bundle, &Root::read(&root)).join("\t");
        actual.push_str(&format!("{name}\t{columns}\n"));
    }
    let (actual, expected): (Vec<&str>, Vec<&str>) = (actual.lines().collect(), CASES.lines().skip(1).collect());
    let different: Vec<_> = actual.iter().filter(|line| !expected.contains(line)).collect();
    assert!(different.is_empty(), "not in signers.tsv:\n{different:#?}");
    assert_eq!(actual.len(), expected.len(), "signers.tsv has cases that are gone");
}
