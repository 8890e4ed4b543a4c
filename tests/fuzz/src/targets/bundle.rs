//! Sigstore bundles, and the second opinion on them.

use std::sync::LazyLock;

use assay_verify::crypto::Hash;
use assay_verify::digest::Digest;
use assay_verify::limits::{MAX_CHAIN_LENGTH, MAX_INCLUSION_PROOF_HASHES, MAX_LOG_ENTRIES, MAX_TIMESTAMPS};
use assay_verify::sigstore::bundle;
use assay_verify::sigstore::material::{BundleVersion, ClaimedSigner, Content, Format, Material};
use assay_verify::sigstore::second_opinion::{Artifact, Asked, Opinion, SecondOpinion};
use assay_verify::sigstore::statement::Statement;

use crate::{Target, seeds, shown};

/// Sigstore bundles.
pub const TARGET: Target = Target {
    name: "bundle",
    seeds,
    words: &[
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"null",
        b"\"-1\"",
        b"18446744073709551616",
        b"\\u0000",
        b"application/vnd.dev.sigstore.bundle+json;version=0.1",
        b"application/vnd.dev.sigstore.bundle+json;version=0.2",
        b"application/vnd.dev.sigstore.bundle.v0.3+json",
        b"application/vnd.dev.sigstore.bundle.v0.4+json",
        b"\"tlogEntries\":[],",
        b"\"tlog_entries\":[],",
        b"\"inclusionPromise\":{},",
        b"\"inclusionProof\":{},",
        b"\"checkpoint\":{},",
        b"\"hashes\":[],",
        b"\"logIndex\":\"0\",",
        b"\"integratedTime\":0,",
        b"\"publicKey\":{\"hint\":\"\"},",
        b"\"certificate\":null,",
        b"\"x509CertificateChain\":{\"certificates\":[]},",
        b"\"messageSignature\":{},",
        b"\"messageDigest\":{\"algorithm\":1},",
        b"\"rfc3161Timestamps\":[],",
        b"\"kind\":\"hashedrekord\",\"version\":\"0.0.2\"",
        b"\"kind\":\"intoto\",\"version\":\"0.0.1\"",
        b"=",
    ],
    check,
    inputs: 3_000,
};

fn is_bundle(content: &[u8]) -> bool {
    content.starts_with(b"{") && content.windows(26).any(|part| part == b"vnd.dev.sigstore.bundle+js")
        || content.windows(27).any(|part| part == b"vnd.dev.sigstore.bundle.v0.")
}

fn seeds() -> Vec<Vec<u8>> {
    let mut seeds = seeds::sigstore_files("conformance", |_, content| is_bundle(content));
    seeds.extend(seeds::sigstore_files("generated/layouts", |_, content| {
        content.starts_with(b"{\"mediaType\":\"application/vnd.dev.sigstore.bundle")
    }));
    seeds
}

static SECOND: LazyLock<SecondOpinion> = LazyLock::new(|| {
    let is_root = |path: &std::path::Path, _: &[u8]| path.ends_with("prod-trusted_root.json");
    let root = seeds::sigstore_files("trusted-roots", is_root);
    let second = SecondOpinion::new(&root[0]);
    assert!(second.unusable().is_none());
    second
});

/// What a bundle signs, as far as the second opinion can vouch for it.
fn signed(material: &Material) -> Option<(Vec<u8>, Digest)> {
    let statement = |payload: &[u8]| Statement::parse(payload).ok();
    let (bytes, hex) = match &material.content {
        Content::Message {
            digest: Some(digest),
            signature,
        } if digest.algorithm == Hash::Sha256 => (
            signature.to_vec(),
            digest.bytes.iter().map(|byte| format!("{byte:02x}")).collect(),
        ),
        Content::Dsse { payload, .. } => {
            let digests = statement(payload)?
                .subjects
                .into_iter()
                .flat_map(|subject| subject.digests);
            let (_, digits) = { digests }.find(|(algorithm, _)| **algorithm == *"sha256")?;
            (payload.to_vec(), digits.into_string())
        }
        _ => return None,
    };
    Some((bytes, format!("sha256:{hex}").parse().ok()?))
}

fn second(input: &[u8], material: &Material, digest: &Digest) -> Opinion {
    let hash = match &material.content {
        Content::Message {
            digest: Some(digest), ..
        } => digest.algorithm,
        _ => Hash::Sha256,
    };
    let asked = Asked {
        artifact: Artifact::Digest(digest),
        key: None,
        hash,
        log: true,
        signed_certificate_timestamp: true,
        timestamps_held: true,
        now: assay_verify::Timestamp::MAX,
    };
    SECOND.ask(input, material, &asked)
}

static GENUINE: LazyLock<Vec<Vec<u8>>> = LazyLock::new(|| {
    let agreed = seeds().into_iter().filter_map(|seed| {
        let material = bundle::parse(&seed).ok()?;
        let (bytes, digest) = signed(&material)?;
        matches!(second(&seed, &material, &digest), Opinion::Agrees { .. }).then_some(bytes)
    });
    let genuine: Vec<_> = agreed.collect();
    assert!(genuine.len() > 4, "no seed verifies");
    genuine
});

/// What is parsed keeps every rule of its version and the limits; and the second opinion, which is a stranger's code, ends
/// and agrees to no mutation that says something else.
pub fn check(input: &[u8]) -> String {
    let material = match bundle::parse(input) {
        Ok(material) => material,
        Err(error) => {
            assert_eq!(bundle::parse(input).err(), Some(error.clone()));
            return shown::error(&error);
        }
    };
    let Format::Bundle(version) = material.format else {
        panic!("a bundle in the format of a layer")
    };
    assert!(!material.content.signature().is_empty());
    assert!(material.log_entries.len() <= MAX_LOG_ENTRIES && material.timestamps.len() <= MAX_TIMESTAMPS);
    for entry in &material.log_entries {
        match version {
            BundleVersion::V0_1 => assert!(entry.promise.is_some()),
            BundleVersion::V0_2 | BundleVersion::V0_3 => assert!(entry.proof.is_some()),
        }
        if let Some(proof) = &entry.proof {
            assert!(proof.checkpoint.is_some() && proof.hashes.len() <= MAX_INCLUSION_PROOF_HASHES);
        }
        assert!(entry.kind.is_some() && !entry.body.is_empty() && !entry.log_id.is_empty());
    }
    if let ClaimedSigner::Certificate { intermediates, .. } = &material.signer {
        assert!(intermediates.is_empty() || version < BundleVersion::V0_3);
        assert!(intermediates.len() < MAX_CHAIN_LENGTH);
        assert!(!intermediates.iter().any(|certificate| certificate.is_self_issued()));
    }
    let Some((bytes, digest)) = signed(&material) else {
        return format!("{version:?} of nothing");
    };
    match second(input, &material, &digest) {
        Opinion::Agrees { times } => {
            assert!(GENUINE.contains(&bytes), "nobody signed this");
            format!("{version:?} agreed {}", times.len())
        }
        Opinion::Refuses(reason) => {
            shown::line(&reason.to_string());
            format!("{version:?} refused {reason}")
        }
        Opinion::NotItsShape(shape) => format!("{version:?} {shape}"),
    }
}
