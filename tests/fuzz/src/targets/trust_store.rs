//! Certificate files of trust stores.

use assay_verify::notation::statement::TrustStoreKind;
use assay_verify::notation::trust_store::{TrustStore, parse_file};
use assay_verify::x509::chain::Chain;

use crate::{Target, seeds, shown};

/// Certificate files of trust stores.
pub const TARGET: Target = Target {
    name: "trust_store",
    seeds: || {
        seeds::files("", |path, content| {
            let wanted = path
                .extension()
                .is_some_and(|kind| ["pem", "crt", "cer", "der"].into_iter().any(|one| kind == one));
            wanted && content.len() < 16 * 1024
        })
    },
    words: &[
        b"-----BEGIN CERTIFICATE-----\n",
        b"-----END CERTIFICATE-----\n",
        b"-----BEGIN ",
        b"-----END ",
        b"-----",
        b"\n",
        b"\r\n",
        b"=",
        b"\x30\x82",
        b"\x30\x80",
        b"\0",
    ],
    check,
    inputs: 1_500,
};

/// The certificates of a file, one behind the other in DER, are a file with the same certificates, and a store has exactly
/// those of its files.
pub fn check(input: &[u8]) -> String {
    let parsed = parse_file(input);
    let mut outcome = String::new();
    for kind in [
        TrustStoreKind::CertificateAuthority,
        TrustStoreKind::SigningAuthority,
        TrustStoreKind::TimestampAuthority,
    ] {
        match TrustStore::from_files(kind, [("file", input)]) {
            Ok(store) => {
                let certificates = parsed.as_deref().expect("a store's file has certificates");
                assert!(!certificates.is_empty() && certificates.iter().all(|certificate| store.contains(certificate)));
                assert!(
                    store
                        .certificates()
                        .all(|certificate| certificates.contains(certificate))
                );
                outcome += kind.as_str();
            }
            Err(error) => outcome += &shown::error(&error),
        }
    }
    match parsed {
        Ok(certificates) => {
            let der: Vec<u8> = certificates
                .iter()
                .flat_map(|certificate| certificate.der().iter().copied())
                .collect();
            assert_eq!(parse_file(&der).as_ref(), Ok(&certificates));
            match Chain::check(certificates) {
                Ok(chain) => outcome += chain.algorithm().as_str(),
                Err(error) => outcome += &shown::error(&error),
            }
        }
        Err(error) => drop(shown::error(&error)),
    }
    outcome
}
