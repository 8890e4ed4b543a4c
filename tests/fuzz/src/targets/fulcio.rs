//! Signers' certificates: whom they name, and what logs promised.

use std::path::PathBuf;
use std::sync::LazyLock;

use assay_verify::Timestamp;
use assay_verify::limits::MAX_CLAIM_LENGTH;
use assay_verify::notation::trust_store::parse_file;
use assay_verify::sigstore::fulcio::{Holder, Path, find_path, holder};
use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::signed_certificate_timestamp::verify;
use assay_verify::sigstore::trusted_root::{Authority, TransparencyLog};
use assay_verify::sigstore::window::Window;
use assay_verify::untrusted::Untrusted;
use assay_verify::x509::certificate::Certificate;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use crate::{Target, seeds, shown};

/// Certificates in DER.
pub const TARGET: Target = Target {
    name: "fulcio",
    seeds: || SIGNERS.iter().map(|signer| signer.der().to_vec()).collect(),
    words: &[
        b"\x30\x82",
        b"\x04\x00",
        b"\x04\x03\x00\x01\x00",
        b"\x0c\x00",
        b"\x0c\x01\xff",
        b"\x81\x01a",
        b"\x86\x01a",
        b"\xa0\x10\x06\x0a\x2b\x06\x01\x04\x01\x83\xbf\x30\x01\x07\xa0\x02\x0c\x00",
        b"\x06\x0a\x2b\x06\x01\x04\x01\x83\xbf\x30\x01\x01",
        b"\x06\x0a\x2b\x06\x01\x04\x01\x83\xbf\x30\x01\x08",
        b"\x06\x0a\x2b\x06\x01\x04\x01\x83\xbf\x30\x01\x0c",
        b"\x06\x0a\x2b\x06\x01\x04\x01\xd6\x79\x02\x04\x02",
        b"\x06\x03\x55\x1d\x11",
        b"\x01\x01\xff",
        b"\xa3",
        b"\x00\x76",
        b"\x04\x03\x00\x47",
    ],
    check,
    inputs: 3_000,
};

/// Leaves that the public authority issued, from bundles and from the annotations of image manifests.
static SIGNERS: LazyLock<Vec<Certificate>> = LazyLock::new(|| {
    let mut found: Vec<Certificate> = Vec::new();
    let mut folders = vec![vectors("conformance/bundle-verify"), vectors("slsa-verifier")];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        for path in paths {
            if path.is_dir() {
                folders.push(path);
            } else if let Ok(text) = std::fs::read_to_string(&path) {
                found.extend(strings(&text).filter(|certificate| !certificate.is_ca()));
            }
        }
    }
    found.sort_by_key(Certificate::fingerprint);
    found.dedup();
    found
});

/// The certificates among the strings of JSON, in base64 or in PEM.
fn strings(json: &str) -> impl Iterator<Item = Certificate> {
    json.split('"')
        .flat_map(|text| match text.starts_with("-----BEGIN CERTIFICATE") {
            true => parse_file(text.replace("\\n", "\n").as_bytes()).unwrap_or_default(),
            false if text.starts_with("MII") => STANDARD
                .decode(text)
                .ok()
                .and_then(|der| Certificate::from_der(&der).ok())
                .into_iter()
                .collect(),
            false => Vec::new(),
        })
}

fn vectors(path: &str) -> PathBuf {
    seeds::folder("sigstore").join(path)
}

fn read(path: &str) -> Vec<u8> {
    let path = vectors(path);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The public authority: its intermediate and its root.
static AUTHORITY: LazyLock<[Authority; 1]> = LazyLock::new(|| {
    let files = ["prod-fulcio_intermediate_v1.crt.pem", "prod-fulcio_v1.crt.pem"];
    let certificates = files.iter().flat_map(|file| {
        let content = read(&format!("trusted-roots/{file}"));
        parse_file(&content).unwrap_or_else(|error| panic!("{file}: {error}"))
    });
    [Authority {
        certificates: certificates.collect(),
        window: Window::default(),
        operator: "sigstore.dev".into(),
    }]
});

static LOGS: LazyLock<Vec<TransparencyLog>> = LazyLock::new(|| {
    let files = ["prod-ctfe.pub", "prod-ctfe_2022.pub"];
    let log = |file: &&str| {
        let text = String::from_utf8_lossy(&read(&format!("trusted-roots/{file}"))).into_owned();
        let key = VerificationKey::from_pem(&text).unwrap_or_else(|error| panic!("{file}: {error}"));
        TransparencyLog {
            base_url: (*file).into(),
            log_id: key.fingerprint()[..].into(),
            key,
            window: Window::default(),
            operator: (*file).into(),
        }
    };
    files.iter().map(log).collect()
});

/// Whom the seeds name.
static HOLDERS: LazyLock<Vec<Holder>> =
    LazyLock::new(|| SIGNERS.iter().filter_map(|signer| holder(signer).ok()).collect());

/// Texts are bounded; a log's promise, or an authority's signature, holds for nobody else than those who have it; and
/// what leads to an authority says who it is.
pub fn check(input: &[u8]) -> String {
    let Ok(certificate) = Certificate::from_der(input) else {
        return "none".to_owned();
    };
    let holder = holder(&certificate);
    let name = match &holder {
        Ok(holder) => {
            assert!(!holder.subject.is_empty());
            let texts = holder.claims.values().chain(&holder.issuer).chain([&holder.subject]);
            for text in texts {
                assert!(text.len() <= MAX_CLAIM_LENGTH);
                shown::line(&Untrusted::new(text).to_string());
            }
            format!("{:?} {}", holder.subject_kind, holder.claims.len())
        }
        Err(error) => shown::error(error),
    };
    let known = |holder: &Holder| HOLDERS.contains(holder);
    let intermediate = AUTHORITY.first().and_then(|authority| authority.certificates.first());
    let promises = intermediate.map_or_else(String::new, |issuer| match verify(&certificate, issuer, &LOGS) {
        Ok(promises) => {
            assert!(!promises.is_empty());
            assert!(holder.as_ref().is_ok_and(known), "a promise for somebody else");
            "promised".to_owned()
        }
        Err(error) => shown::error(&error),
    });
    let moments: [Timestamp; 1] = [certificate.not_before()];
    let path = match find_path(&certificate, &[], &*AUTHORITY, &moments) {
        Ok(Path { certificates }) => {
            assert_eq!(certificates.first(), Some(&certificate));
            assert!(holder.as_ref().is_ok_and(known), "a path for somebody else");
            "path".to_owned()
        }
        Err(error) => shown::error(&error),
    };
    format!("{name} {promises} {path}")
}
