//! Certificates.

use assay_verify::digest::Digest;
use assay_verify::notation::trust_store::parse_file;
use assay_verify::x509::certificate::Certificate;
use assay_verify::x509::chain::Chain;
use assay_verify::x509::distinguished_name::DistinguishedName;

use crate::{Target, seeds, shown};

/// Certificates in DER.
pub const TARGET: Target = Target {
    name: "certificate",
    seeds: || {
        let files = seeds::files("", |path, _| {
            path.extension()
                .is_some_and(|kind| kind == "pem" || kind == "crt" || kind == "cer")
        });
        let parsed = files.iter().filter_map(|content| parse_file(content).ok()).flatten();
        parsed.map(|certificate| certificate.der().to_vec()).collect()
    },
    words: super::DER,
    check,
    inputs: 3_000,
};

/// A certificate keeps exactly the bytes that came, and its fingerprint is their SHA-256; nothing follows it.
pub fn check(input: &[u8]) -> String {
    match Certificate::from_der(input) {
        Ok(certificate) => {
            assert_eq!(certificate.der(), input);
            assert_eq!(certificate.fingerprint().to_string(), Digest::sha256(input).hex());
            assert!(Certificate::from_der(&[input, b"\0"].concat()).is_err());
            let name = DistinguishedName::from_name(certificate.subject()).map_or_else(
                |error| shown::error(&error),
                |name| {
                    shown::line(&name.to_string());
                    "named".to_owned()
                },
            );
            let own = certificate
                .check_self_signed()
                .map_or_else(|error| shown::error(&error), |()| "own".to_owned());
            let issued = certificate.check_issued_by(&certificate);
            assert!(issued.is_err() || own == "own");
            shown::line(&certificate.key_kind().to_string());
            let chain =
                Chain::check(vec![certificate]).map_or_else(|error| shown::error(&error), |_| "chain".to_owned());
            format!("{name} {own} {chain}")
        }
        Err(error) => shown::error(&error),
    }
}
