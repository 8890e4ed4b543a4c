//! Published attacks on other verifiers, made by the holder of a good key: everything but the defect is right.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_verify::descriptor::{Annotations, Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::sigstore::authority::RequiredEvidence;
use assay_verify::sigstore::dsse::{IN_TOTO, pre_authentication_encoding};
use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::material::Material;
use assay_verify::sigstore::signature::{Artifact, Purpose};
use assay_verify::sigstore::statement::COSIGN_SIGNATURE;
use assay_verify::sigstore::{bundle, simple_signing};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};

use crate::judged::{self, Terms, Who};

/// A key, and an image that it signs.
struct Lab {
    key: KeyPair,
    terms: Terms,
    image: Descriptor,
}

impl Lab {
    fn new() -> Self {
        // P-256 with SHA-256, as cosign's own keys.
        let key = KeyPair::generate().unwrap();
        let spki = key.subject_public_key_info();
        Self {
            key,
            terms: Terms {
                who: Who::Key(VerificationKey::from_spki(&spki).unwrap()),
                root: None,
                evidence: RequiredEvidence::default(),
                annotations: BTreeMap::new(),
            },
            image: Descriptor {
                media_type: MediaType::parse(MediaType::OCI_MANIFEST).unwrap(),
                digest: Digest::sha256(b"an image"),
                size: 8,
            },
        }
    }

    fn sign(&self, message: &[u8]) -> String {
        STANDARD.encode(self.key.sign(message).unwrap())
    }

    /// The payload of a v2 signature of the image.
    fn payload(&self) -> String {
        format!(
            r#"{{"critical":{{"identity":{{"docker-reference":""}},"image":{{"docker-manifest-digest":"{}"}},"type":"cosign container image signature"}},"optional":null}}"#,
            self.image.digest
        )
    }

    fn statement(&self) -> String {
        format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","subject":[{{"digest":{{"sha256":"{}"}}}}],"predicateType":"{COSIGN_SIGNATURE}","predicate":{{}}}}"#,
            self.image.digest.hex()
        )
    }

    fn layer(&self, payload: &str) -> Material {
        let signature = self.sign(payload.as_bytes());
        let annotations = Annotations::from([("dev.cosignproject.cosign/signature".to_owned(), signature)]);
        simple_signing::signature(&annotations, Arc::from(payload.as_bytes())).unwrap()
    }

    /// An envelope with the payload and, among `others`, its good signature at a place.
    fn envelope(&self, payload: &str, others: &[&str], place: usize) -> serde_json::Value {
        let good = self.sign(&pre_authentication_encoding(IN_TOTO, payload.as_bytes()));
        let mut signatures: Vec<_> = others.iter().map(|other| serde_json::json!({"sig": other})).collect();
        signatures.insert(place, serde_json::json!({"sig": good}));
        serde_json::json!({"payload": STANDARD.encode(payload), "payloadType": IN_TOTO, "signatures": signatures})
    }

    fn bundle(&self, envelope: &serde_json::Value) -> Vec<u8> {
        let bundle = serde_json::json!({
            "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
            "verificationMaterial": {"publicKey": {"hint": ""}},
            "dsseEnvelope": envelope,
        });
        bundle.to_string().into_bytes()
    }

    fn judge(&self, material: &Material) -> Result<(), String> {
        let artifact = Artifact::Image(&self.image);
        judged::judge(material, None, &self.terms, artifact, Purpose::ImageSignature).map(drop)
    }
}

/// Ways to damage a good payload so that it still has every word that a careless reader looks for.
fn damaged(good: &str) -> Vec<String> {
    let image = Digest::sha256(b"another image");
    vec![
        String::new(),
        good[..good.len() - 1].to_owned(),
        format!("{good}x"),
        format!("{good}{good}"),
        format!("\u{feff}{good}"),
        format!("[{good}]"),
        good.replacen('{', r#"{"critical":{},"subject":[],"#, 1),
        good.replacen("\"sha256", "\"sha256:", 1),
        good.replace(Digest::sha256(b"an image").hex(), image.hex()),
        good.replace(
            Digest::sha256(b"an image").hex(),
            &Digest::sha256(b"an image").hex().to_uppercase(),
        ),
    ]
}

/// CVE-2026-39395 (cosign): a payload that did not parse was reported as verified.
#[test]
fn denies_a_signed_payload_that_does_not_parse() {
    let lab = Lab::new();
    assert_eq!(lab.judge(&lab.layer(&lab.payload())), Ok(()));
    for payload in damaged(&lab.payload()) {
        assert!(lab.judge(&lab.layer(&payload)).is_err(), "{payload}");
    }
}

/// The same for statements, in a bundle and in a v2 attestation.
#[test]
fn denies_a_signed_statement_that_does_not_parse() {
    let lab = Lab::new();
    let judge = |payload: &str| {
        let envelope = lab.envelope(payload, &[], 0);
        let layer = simple_signing::attestation(&Annotations::new(), envelope.to_string().into_bytes().into());
        let layer = layer
            .map_err(|error| error.to_string())
            .and_then(|material| lab.judge(&material));
        let bundle = bundle::parse(&lab.bundle(&envelope));
        let bundle = bundle
            .map_err(|error| error.to_string())
            .and_then(|material| lab.judge(&material));
        assert_eq!(layer.is_ok(), bundle.is_ok(), "{payload}");
        bundle
    };
    assert_eq!(judge(&lab.statement()), Ok(()));
    for payload in damaged(&lab.statement()) {
        assert!(judge(&payload).is_err(), "{payload}");
    }
}

/// TOB-SIGSTORE-9 (sigstore-rust): with several signatures, one may be verified and another be what is logged.
#[test]
fn denies_an_envelope_with_another_signature_beside_the_good_one() {
    let lab = Lab::new();
    let other = lab.sign(b"something else");
    for place in [0, 1] {
        let envelope = lab.envelope(&lab.statement(), &[&other], place);
        assert!(bundle::parse(&lab.bundle(&envelope)).is_err());
        let layer = simple_signing::attestation(&Annotations::new(), envelope.to_string().into_bytes().into());
        assert!(layer.is_err());
    }
}

/// One reader's bundle is another's: what has two contents, or one of them twice, has no meaning.
#[test]
fn denies_a_bundle_that_says_two_things() {
    let lab = Lab::new();
    let good = String::from_utf8(lab.bundle(&lab.envelope(&lab.statement(), &[], 0))).unwrap();
    let material = bundle::parse(good.as_bytes()).unwrap();
    assert_eq!(lab.judge(&material), Ok(()));
    let other = lab.envelope(&lab.statement().replace("Statement/v1", "Statement/v0.1"), &[], 0);
    for added in [
        format!(r#""dsseEnvelope":{other},"#),
        format!(r#""dsse_envelope":{other},"#),
        r#""messageSignature":{"signature":"AA=="},"#.to_owned(),
        r#""mediaType":"application/vnd.dev.sigstore.bundle.v0.3+json","#.to_owned(),
        r#""verificationMaterial":{},"#.to_owned(),
    ] {
        for place in [1, good.len() - 1] {
            let mut twice = good.clone();
            match place {
                1 => twice.insert_str(1, &added),
                end => twice.insert_str(end, &format!(",{}", added.trim_end_matches(','))),
            }
            assert!(bundle::parse(twice.as_bytes()).is_err(), "{added} at {place}");
        }
    }
}
