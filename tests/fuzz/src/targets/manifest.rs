//! Manifests, indexes and the manifests of signatures.

use std::sync::Arc;

use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::evidence::{NotASignature, SignatureFormat, SignatureManifest};
use assay_verify::limits::{MAX_ATTRIBUTES, MAX_REFERRERS, MAX_SIGNATURE_LAYERS};
use assay_verify::manifest::{Index, Manifest};

use crate::{Target, seeds, shown};

const MANIFESTS: [&str; 3] = [
    MediaType::OCI_MANIFEST,
    MediaType::DOCKER_MANIFEST,
    MediaType::OCI_ARTIFACT,
];
const INDEXES: [&str; 2] = [MediaType::OCI_INDEX, MediaType::DOCKER_INDEX];

/// Manifests, indexes and the manifests of signatures.
pub const TARGET: Target = Target {
    name: "manifest",
    seeds: || {
        let digest = format!("sha256:{}", "2c".repeat(32));
        let blob = format!(r#"{{"mediaType":"application/jose+json","digest":"{digest}","size":2048}}"#);
        let mut seeds = seeds::files("notation/registry", |_, content| content.starts_with(b"{"));
        seeds.extend(seeds::texts(&[
            &format!(
                r#"{{"mediaType":"{}","artifactType":"application/vnd.cncf.notary.signature","blobs":[{blob}],"subject":{blob}}}"#,
                MediaType::OCI_ARTIFACT
            ),
            &format!(r#"{{"schemaVersion":2,"mediaType":"{}","manifests":[{blob},{blob}]}}"#, MediaType::DOCKER_INDEX),
            &format!(r#"{{"schemaVersion":2,"mediaType":"{}","config":{blob},"layers":[{blob}]}}"#, MediaType::DOCKER_MANIFEST),
        ]));
        seeds
    },
    words: &[
        b"{\"",
        b"},",
        b"[",
        b"]",
        b"null",
        b"\"manifests\":[],",
        b"\"config\":{},",
        b"\"layers\":[],",
        b"\"blobs\":[],",
        b"\"fsLayers\":[],",
        b"\"subject\":null,",
        b"\"schemaVersion\":2,",
        b"\"mediaType\":\"\",",
        b"\"artifactType\":\"a/b\",",
        b"\"annotations\":{},",
        b"18446744073709551616",
        b"application/vnd.oci.image.index.v1+json",
        b"application/vnd.oci.image.manifest.v1+json",
        b"\\u0000",
        b"\xff",
    ],
    check,
    inputs: 3_000,
};

/// One document has one meaning (CVE-2021-41190): it is never manifest and index, and a media type that it states is the
/// only one that it is read as. A signature's manifest opens only under its own digest.
pub fn check(input: &[u8]) -> String {
    let mut read = Vec::new();
    let mut outcome = String::new();
    for media_type in MANIFESTS {
        let media_type = MediaType::parse(media_type).expect("a media type");
        match Manifest::parse(&media_type, input) {
            Ok(manifest) => {
                assert!(manifest.layers.len() <= MAX_REFERRERS && manifest.annotations.len() <= MAX_ATTRIBUTES);
                manifest
                    .layers
                    .iter()
                    .map(|layer| &layer.descriptor)
                    .chain(&manifest.subject)
                    .for_each(super::descriptor::again);
                read.push(media_type.clone());
            }
            Err(error) => outcome += &shown::error(&error).replace('"', ""),
        }
        outcome += &signature(media_type, input);
    }
    let manifests = read.len();
    for media_type in INDEXES {
        let media_type = MediaType::parse(media_type).expect("a media type");
        match Index::parse(&media_type, input) {
            Ok(index) => {
                assert!(index.entries.len() <= MAX_REFERRERS);
                index
                    .entries
                    .iter()
                    .for_each(|entry| super::descriptor::again(&entry.descriptor));
                read.push(media_type);
            }
            Err(error) => outcome += &shown::error(&error).replace('"', ""),
        }
    }
    assert!(
        manifests == 0 || manifests == read.len(),
        "manifest and index: {read:?}"
    );
    let states = serde_json::from_slice::<serde_json::Value>(input).ok();
    if let Some(states) = states
        .as_ref()
        .and_then(|value| value.get("mediaType")?.as_str())
        .filter(|text| !text.is_empty())
    {
        assert!(
            read.iter().all(|media_type| *media_type == states),
            "{states} is read as {read:?}"
        );
    }
    format!("{read:?}{outcome}").replace('"', "")
}

fn signature(media_type: MediaType, input: &[u8]) -> String {
    let json: Arc<[u8]> = input.into();
    let mut descriptor = Descriptor {
        media_type,
        digest: Digest::sha256(input),
        size: input.len() as u64,
    };
    let opened = SignatureManifest::open(&descriptor, Arc::clone(&json));
    if let Ok(opened) = &opened {
        assert!((1..=MAX_SIGNATURE_LAYERS).contains(&opened.layers().len()));
        let alone = |format| matches!(format, SignatureFormat::Notation | SignatureFormat::Bundle);
        if let Some(layer) = opened.layers().iter().find(|layer| alone(layer.format)) {
            assert!(opened.layers().len() == 1 && opened.subject().is_some());
            assert!(layer.descriptor.size <= layer.format.max_size() as u64);
        }
        descriptor.digest = Digest::sha256(&[input, b" "].concat());
        let other = SignatureManifest::open(&descriptor, json);
        assert_eq!(other, Err(NotASignature::WrongBytes(descriptor.digest)));
    }
    opened.map_or_else(
        |error| shown::error(&error).replace('"', ""),
        |_| "signature".to_owned(),
    )
}
