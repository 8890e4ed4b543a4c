//! Deny-lists of a few entries.

use assay_verify::deny_list::DenyList;
use assay_verify::digest::{Digest, hex};
use assay_verify::x509::certificate::Certificate;

/// A list of these entries, each with its own keys; what every entry has is added.
pub(crate) fn deny(entries: &[&str]) -> DenyList {
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| {
            format!(r#"{{{entry}, "reason": "leaked", "reference": "INC-4711", "at": "2026-05-20T00:00:00Z"}}"#)
        })
        .collect();
    let text = format!(
        r#"{{"version": 1, "issued": "2026-05-20T00:00:00Z", "entries": [{}]}}"#,
        entries.join(",")
    );
    let parsed = DenyList::parse("deny.json", &text);
    parsed.list.unwrap_or_else(|| panic!("{:?}", parsed.diagnostics))
}

/// The entries that name a certificate, each in its own way: by itself, its key, and its issuer.
pub(crate) fn naming(certificate: &Certificate) -> [String; 3] {
    let key = Digest::sha256(certificate.subject_public_key_info_der());
    [
        format!(r#""certificate": "sha256:{}""#, certificate.fingerprint()),
        format!(r#""key": "{key}""#),
        format!(
            r#""issuer": "{}", "serial": "{}""#,
            issuer(certificate),
            hex(certificate.serial_number())
        ),
    ]
}

/// The name of the issuer as a person writes it. Those of the tests have one of a few common names.
fn issuer(certificate: &Certificate) -> String {
    let der = certificate.issuer_der();
    let names = ["root", "intermediate", "time root", "time intermediate", "signers"];
    let ends_with = |name: &&str| der.ends_with(name.as_bytes()) && der[der.len() - name.len() - 1] == name.len() as u8;
    let name = names
        .into_iter()
        .find(ends_with)
        .expect("one of the tests' authorities");
    format!("CN={name},O=Corp,ST=WA,C=US")
}
