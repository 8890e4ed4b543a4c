//! Descriptors as containerd writes them to a verifier.

use assay_verify::descriptor::{Descriptor, MediaType};

use crate::{Target, seeds, shown};

/// Descriptors as containerd writes them to a verifier.
pub const TARGET: Target = Target {
    name: "descriptor",
    seeds: || {
        let digest = "2c".repeat(32);
        seeds::texts(&[
            &format!(
                r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"sha256:{digest}","size":517}}"#
            ),
            &format!(
                r#"{{"mediaType":"a/b","digest":"sha256:{digest}","size":0,"annotations":{{"a":"b"}},"urls":["u"],
                "platform":{{"architecture":"arm64","os":"linux","variant":"v8"}},"artifactType":"c/d","data":"e30="}}"#
            ),
        ])
    },
    words: super::JSON,
    check,
    inputs: 4_000,
};

/// A descriptor that is read, written and read again is the same.
pub fn check(input: &[u8]) -> String {
    match Descriptor::from_json(input) {
        Ok(descriptor) => {
            again(&descriptor);
            "read".to_owned()
        }
        Err(error) => shown::error(&error).replace('"', ""),
    }
}

/// Asserts that a descriptor survives being written.
pub(super) fn again(descriptor: &Descriptor) {
    let Descriptor {
        media_type,
        digest,
        size,
    } = descriptor;
    shown::line(&media_type.to_string());
    assert_eq!(MediaType::parse(media_type.as_str()).as_ref(), Ok(media_type));
    let json = serde_json::json!({"mediaType": media_type.as_str(), "digest": digest.to_string(), "size": size});
    assert_eq!(
        Descriptor::from_json(json.to_string().as_bytes()).as_ref(),
        Ok(descriptor)
    );
}
