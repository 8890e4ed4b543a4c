//! The vectors of sigstore, and trusted roots as far as certificates need them: their own reader is tested elsewhere.

use std::path::PathBuf;

use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::trusted_root::{Authority, TransparencyLog};
use assay_verify::sigstore::window::Window;
use assay_verify::x509::certificate::Certificate;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

#[expect(
    clippy::disallowed_methods,
    reason = "only the tests ask the environment, and only where files are"
)]
fn vectors() -> PathBuf {
    let folder = std::env::var_os("ASSAY_VECTORS").map_or_else(
        || PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors")),
        PathBuf::from,
    );
    let sigstore = folder.join("sigstore");
    assert!(
        sigstore.join("MANIFEST.tsv").is_file(),
        "the test vectors are not in {}: set ASSAY_VECTORS to the folder that has sigstore/MANIFEST.tsv",
        folder.display()
    );
    sigstore
}

/// The content of a file.
pub(crate) fn bytes(path: &str) -> Vec<u8> {
    std::fs::read(vectors().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The text of a file.
pub(crate) fn text(path: &str) -> String {
    String::from_utf8(bytes(path)).unwrap()
}

/// A file with JSON; none where there is no such file, or it is no JSON.
pub(crate) fn parsed(path: &str) -> Option<Value> {
    serde_json::from_slice(&std::fs::read(vectors().join(path)).ok()?).ok()
}

/// The names of the folders in a folder, in order.
pub(crate) fn folders(path: &str) -> Vec<String> {
    names(path, true)
}

/// The names of the files in a folder, in order.
pub(crate) fn files(path: &str) -> Vec<String> {
    names(path, false)
}

fn names(path: &str, folders: bool) -> Vec<String> {
    let mut names: Vec<String> = std::fs::read_dir(vectors().join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
        .map(Result::unwrap)
        .filter(|entry| entry.path().is_dir() == folders)
        .map(|entry| entry.file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

pub(crate) fn base64(text: &str) -> Vec<u8> {
    // Some files have line ends in it.
    STANDARD.decode(text.replace('\n', "")).unwrap()
}

/// One text of every element of an array; of an absent array, nothing.
pub(crate) fn texts<'a>(array: &'a Value, key: &'a str) -> impl Iterator<Item = &'a str> {
    let elements = array.as_array().map(Vec::as_slice).unwrap_or_default();
    elements.iter().filter_map(move |element| element[key].as_str())
}

/// What a trusted root says about certificates.
pub(crate) struct Root {
    pub(crate) certificate_authorities: Vec<Authority>,
    pub(crate) timestamp_authorities: Vec<Authority>,
    pub(crate) certificate_logs: Vec<TransparencyLog>,
}

impl Root {
    pub(crate) fn read(json: &Value) -> Self {
        let list = |key: &str| json[key].as_array().cloned().unwrap_or_default();
        Self {
            certificate_authorities: list("certificateAuthorities").iter().map(authority).collect(),
            timestamp_authorities: list("timestampAuthorities").iter().map(authority).collect(),
            certificate_logs: list("ctlogs").iter().map(log).collect(),
        }
    }
}

fn authority(json: &Value) -> Authority {
    Authority {
        certificates: texts(&json["certChain"]["certificates"], "rawBytes")
            .map(|encoded| Certificate::from_der(&base64(encoded)).unwrap())
            .collect(),
        window: window(&json["validFor"]),
        operator: json["uri"].as_str().unwrap_or_default().into(),
    }
}

fn log(json: &Value) -> TransparencyLog {
    let base_url = json["baseUrl"].as_str().unwrap();
    let key = base64(json["publicKey"]["rawBytes"].as_str().unwrap());
    let key = match json["publicKey"]["keyDetails"].as_str() {
        Some(details) if details.starts_with("PKCS1_") => VerificationKey::from_pkcs1(&key),
        _ => VerificationKey::from_spki(&key),
    };
    TransparencyLog {
        base_url: base_url.into(),
        key: key.unwrap(),
        log_id: base64(json["logId"]["keyId"].as_str().unwrap()).into(),
        window: window(&json["publicKey"]["validFor"]),
        operator: base_url.into(),
    }
}

fn window(json: &Value) -> Window {
    let moment = |key: &str| json[key].as_str().map(|text| text.parse().unwrap());
    Window {
        start: moment("start"),
        end: moment("end"),
    }
}
