//! Simple signing: payloads, and the annotations of their layers.

use std::sync::Arc;

use assay_verify::descriptor::Annotations;
use assay_verify::limits::{MAX_ATTRIBUTES, MAX_CHAIN_LENGTH};
use assay_verify::sigstore::material::{ClaimedSigner, Content};
use assay_verify::sigstore::simple_signing::{self, Payload};

use crate::{Target, seeds, shown};

/// The annotations that a layer is made of.
const NAMES: [&str; 5] = [
    "dev.cosignproject.cosign/signature",
    "dev.sigstore.cosign/certificate",
    "dev.sigstore.cosign/chain",
    "dev.sigstore.cosign/bundle",
    "dev.sigstore.cosign/rfc3161timestamp",
];

/// Simple signing: a payload, or the JSON of a layer's annotations.
pub const TARGET: Target = Target {
    name: "simple_signing",
    seeds,
    words: &[
        b"{",
        b"}",
        b",",
        b"null",
        b"\"optional\":null",
        b"\"optional\":{\"a\":\"b\"}",
        b"\"identity\":{},",
        b"\"docker-manifest-digest\":",
        b"cosign container image signature",
        b"atomic container signature",
        b"sha256:",
        b"sha512:",
        b"\"dev.sigstore.cosign/bundle\":\"{}\",",
        b"\"dev.sigstore.cosign/certificate\":\"\",",
        b"\\\"SignedEntryTimestamp\\\":\\\"\\\",",
        b"\\\"logIndex\\\":-1,",
        b"\\\"integratedTime\\\":0,",
        b"-----BEGIN CERTIFICATE-----\\n",
        b"-----END CERTIFICATE-----\\n",
        b"\\u0000",
        b"\xff",
    ],
    check,
    inputs: 3_000,
};

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = seeds::sigstore_files("generated/layouts", |_, content| content.starts_with(b"{\"critical\""));
    let manifests = seeds::files("../sigstore", |_, content| {
        content.windows(28).any(|part| part == b"dev.cosignproject.cosign/sig")
    });
    for manifest in manifests {
        let Ok(manifest) = serde_json::from_slice::<serde_json::Value>(&manifest) else {
            continue;
        };
        let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
        seeds.extend(layers.iter().map(|layer| layer["annotations"].to_string().into_bytes()));
    }
    seeds
}

/// A payload names an image; and an annotation that says something is read or refused, never passed over (CVE-2026-39395).
pub fn check(input: &[u8]) -> String {
    let payload = match Payload::parse(input) {
        Ok(payload) => {
            let digest = payload.digest.to_string();
            assert!(input.windows(8).any(|part| part == b"critical") && payload.annotations.len() <= MAX_ATTRIBUTES);
            assert_eq!(digest.parse(), Ok(payload.digest.clone()));
            assert_eq!(Payload::parse(input), Ok(payload));
            "payload".to_owned()
        }
        Err(error) => shown::error(&error),
    };
    let Ok(annotations) = serde_json::from_slice::<Annotations>(input) else {
        return payload;
    };
    let says = |name: &str| annotations.get(name).is_some_and(|value| !value.is_empty());
    let layer = match simple_signing::signature(&annotations, Arc::from(*b"{}")) {
        Ok(material) => {
            assert!(says(NAMES[0]) && matches!(material.content, Content::SimpleSigning { .. }));
            assert_eq!(material.log_entries.len(), usize::from(says(NAMES[3])));
            assert_eq!(material.timestamps.len(), usize::from(says(NAMES[4])));
            match &material.signer {
                ClaimedSigner::Certificate { intermediates, .. } => {
                    assert!(says(NAMES[1]) && intermediates.len() <= MAX_CHAIN_LENGTH);
                    assert!(says(NAMES[2]) || intermediates.is_empty());
                }
                ClaimedSigner::Key { .. } => assert!(!says(NAMES[1])),
            }
            for entry in &material.log_entries {
                assert!(entry.promise.is_some() && entry.integrated_time.is_some() && entry.kind.is_none());
            }
            "layer".to_owned()
        }
        Err(error) => shown::error(&error),
    };
    format!("{payload} {layer}")
}
