//! Logs that sign what they are told to, and entries in them.

use std::sync::LazyLock;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{self as sign, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _, RsaKeyPair};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::pem::{LineEnding, encode_string};
use sha2::{Digest as _, Sha256};

use super::super::*;
use crate::crypto::Hash;
use crate::digest::hex;
use crate::sigstore::dsse::pre_authentication_encoding;
use crate::sigstore::key::VerificationKey;
use crate::sigstore::trusted_root::TransparencyLog;
use crate::sigstore::window::Window;

pub(super) const SIGNATURE: &[u8] = b"the signature";
pub(super) const PAYLOAD: &[u8] = b"the payload";
pub(super) const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
pub(super) const BLOB: &[u8] = b"the envelope as it was pushed";
/// The time that promises are of.
pub(super) const TIME: i64 = 1_700_000_000;

pub(super) fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

pub(super) fn base64(bytes: &[u8]) -> String {
    STANDARD.encode(bytes)
}

/// A log's private key.
pub(super) enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(RsaKeyPair),
}

impl Pair {
    pub(super) fn p256() -> Self {
        Self::Ecdsa(EcdsaKeyPair::generate(&sign::ECDSA_P256_SHA256_ASN1_SIGNING).unwrap())
    }

    pub(super) fn p384() -> Self {
        Self::Ecdsa(EcdsaKeyPair::generate(&sign::ECDSA_P384_SHA384_ASN1_SIGNING).unwrap())
    }

    pub(super) fn ed25519() -> Self {
        Self::Ed25519(Ed25519KeyPair::generate().unwrap())
    }

    pub(super) fn rsa() -> Self {
        Self::Rsa(RsaKeyPair::generate(KeySize::Rsa2048).unwrap())
    }

    pub(super) fn spki(&self) -> Vec<u8> {
        match self {
            Self::Ecdsa(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
            Self::Rsa(pair) => pair.public_key().as_der().unwrap().as_ref().to_vec(),
        }
    }

    pub(super) fn sign(&self, message: &[u8]) -> Vec<u8> {
        match self {
            Self::Ecdsa(pair) => pair.sign(&SystemRandom::new(), message).unwrap().as_ref().to_vec(),
            Self::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Self::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&sign::RSA_PKCS1_SHA256, &SystemRandom::new(), message, &mut signature)
                    .unwrap();
                signature
            }
        }
    }
}

/// A log: its keys, and what the trusted root has of it.
pub(super) struct Log {
    pub(super) pair: Pair,
    pub(super) host: &'static str,
}

impl Log {
    pub(super) fn rekor_v1() -> Self {
        Self {
            pair: Pair::p256(),
            host: "rekor.test",
        }
    }

    pub(super) fn rekor_v2() -> Self {
        Self {
            pair: Pair::ed25519(),
            host: "log2025.test",
        }
    }

    pub(super) fn id(&self) -> Box<[u8]> {
        Hash::Sha256.digest(&self.pair.spki()).into()
    }

    /// A root with this log, which counts from an hour before [`TIME`] until an hour after it.
    pub(super) fn root(&self) -> TrustedRoot {
        let window = Window {
            start: Some(at(TIME - 3600)),
            end: Some(at(TIME + 3600)),
        };
        TrustedRoot {
            logs: vec![TransparencyLog {
                base_url: format!("https://{}:3000/api", self.host).into(),
                key: VerificationKey::from_spki(&self.pair.spki()).unwrap(),
                log_id: self.id(),
                window,
                operator: "test".into(),
            }],
            ..TrustedRoot::default()
        }
    }

    /// The first bytes of the name that checkpoints give the key, by the rules of C2SP.
    pub(super) fn key_id(&self, name: &str) -> [u8; 4] {
        let spki = self.pair.spki();
        let hashed = match &self.pair {
            Pair::Ecdsa(_) => spki,
            Pair::Ed25519(pair) => [name.as_bytes(), b"\n\x01", pair.public_key().as_ref()].concat(),
            Pair::Rsa(_) => [name.as_bytes(), b"\n\xffPKIX-RSA-PKCS#1v1.5", &spki].concat(),
        };
        *Sha256::digest(hashed).first_chunk().unwrap()
    }

    /// A line with a signature of `text`.
    pub(super) fn signature_line(&self, name: &str, key_id: [u8; 4], text: &str) -> String {
        let signature = [&key_id[..], &self.pair.sign(text.as_bytes())].concat();
        format!("\u{2014} {name} {}\n", base64(&signature))
    }

    /// The checkpoint of a Rekor v1 log.
    pub(super) fn checkpoint_v1(&self, size: u64, root: &[u8]) -> Box<str> {
        let text = format!("{} - 4711\n{size}\n{}\n", self.host, base64(root));
        let key_id = *self.id().first_chunk().unwrap();
        format!("{text}\n{}", self.signature_line(self.host, key_id, &text)).into()
    }

    /// The checkpoint of a Rekor v2 log.
    pub(super) fn checkpoint_v2(&self, size: u64, root: &[u8]) -> Box<str> {
        let text = format!("{}\n{size}\n{}\n", self.host, base64(root));
        format!(
            "{text}\n{}",
            self.signature_line(self.host, self.key_id(self.host), &text)
        )
        .into()
    }

    /// Signs the promise of an entry as it is, written out by hand.
    pub(super) fn promise(&self, entry: &LogEntry) -> Box<[u8]> {
        let signed = format!(
            "{{\"body\":\"{}\",\"integratedTime\":{},\"logID\":\"{}\",\"logIndex\":{}}}",
            base64(&entry.body),
            entry.integrated_time.unwrap().as_second(),
            hex(&entry.log_id),
            entry.log_index
        );
        self.pair.sign(signed.as_bytes()).into()
    }

    /// An entry of a Rekor v1 log, with a promise and a proof.
    pub(super) fn entry_v1(&self, body: &str) -> LogEntry {
        let mut entry = self.entry(body, Self::checkpoint_v1);
        entry.log_index = 1_000_003;
        entry.integrated_time = Some(at(TIME));
        entry.promise = Some(self.promise(&entry));
        entry
    }

    /// An entry of a Rekor v2 log, with a proof.
    pub(super) fn entry_v2(&self, body: &str) -> LogEntry {
        self.entry(body, Self::checkpoint_v2)
    }

    /// The entry is leaf 3 of 7.
    fn entry(&self, body: &str, checkpoint: fn(&Self, u64, &[u8]) -> Box<str>) -> LogEntry {
        let leaves: Vec<&[u8]> = vec![b"0", b"1", b"2", body.as_bytes(), b"4", b"5", b"6"];
        let root = super::trees::tree_hash(&leaves);
        LogEntry {
            log_id: self.id(),
            log_index: 3,
            integrated_time: None,
            kind: None,
            promise: None,
            proof: Some(InclusionProof {
                log_index: 3,
                tree_size: 7,
                root_hash: root.as_slice().into(),
                hashes: super::trees::path(3, &leaves),
                checkpoint: Some(checkpoint(self, 7, &root)),
            }),
            body: body.as_bytes().into(),
        }
    }
}

/// A signer's key and certificate.
pub(super) struct Signer {
    pub(super) spki: Vec<u8>,
    pub(super) certificate: Vec<u8>,
}

impl Signer {
    pub(super) fn new() -> Self {
        let pair = rcgen::KeyPair::generate().unwrap();
        let certificate = rcgen::CertificateParams::default().self_signed(&pair).unwrap();
        Self {
            spki: rcgen::PublicKeyData::subject_public_key_info(&pair),
            certificate: certificate.der().to_vec(),
        }
    }

    pub(super) fn key(&self) -> LoggedSigner<'_> {
        LoggedSigner::Key(&self.spki)
    }

    pub(super) fn certificate(&self) -> LoggedSigner<'_> {
        LoggedSigner::Certificate(&self.certificate)
    }
}

pub(super) static SIGNER: LazyLock<Signer> = LazyLock::new(Signer::new);

/// The base64 of a PEM block, as Rekor v1 has verifiers.
pub(super) fn pem(label: &str, der: &[u8]) -> String {
    base64(encode_string(label, LineEnding::LF, der).unwrap().as_bytes())
}

pub(super) fn key_pem() -> String {
    pem("PUBLIC KEY", &SIGNER.spki)
}

pub(super) fn sha256(content: &[u8]) -> String {
    format!(
        r#"{{"algorithm":"sha256","value":"{}"}}"#,
        hex(&Hash::Sha256.digest(content))
    )
}

pub(super) fn hashedrekord(hash: &str, signature: &[u8], verifier: &str) -> String {
    let signature = base64(signature);
    format!(
        r#"{{"apiVersion":"0.0.1","kind":"hashedrekord","spec":{{"data":{{"hash":{hash}}},"signature":{{"content":"{signature}","publicKey":{{"content":"{verifier}"}}}}}}}}"#
    )
}

pub(super) fn rekord(format: &str) -> String {
    let (hash, signature, verifier) = (sha256(PAYLOAD), base64(SIGNATURE), key_pem());
    format!(
        r#"{{"apiVersion":"0.0.1","kind":"rekord","spec":{{"data":{{"hash":{hash}}},"signature":{{"content":"{signature}","format":"{format}","publicKey":{{"content":"{verifier}"}}}}}}}}"#
    )
}

pub(super) fn dsse(envelope: &[u8], payload: &[u8], signature: &[u8]) -> String {
    let signature = format!(r#"{{"signature":"{}","verifier":"{}"}}"#, base64(signature), key_pem());
    dsse_signed_by(envelope, payload, &signature)
}

pub(super) fn dsse_signed_by(envelope: &[u8], payload: &[u8], signatures: &str) -> String {
    let (envelope, payload) = (sha256(envelope), sha256(payload));
    format!(
        r#"{{"apiVersion":"0.0.1","kind":"dsse","spec":{{"envelopeHash":{envelope},"payloadHash":{payload},"signatures":[{signatures}]}}}}"#
    )
}

pub(super) fn intoto_1(envelope: &[u8], payload: Option<&[u8]>) -> String {
    let payload = payload
        .map(|payload| format!(r#","payloadHash":{}"#, sha256(payload)))
        .unwrap_or_default();
    let (envelope, verifier) = (sha256(envelope), key_pem());
    format!(
        r#"{{"apiVersion":"0.0.1","kind":"intoto","spec":{{"content":{{"hash":{envelope}{payload}}},"publicKey":"{verifier}"}}}}"#
    )
}

pub(super) fn intoto_2(payload_type: &str, envelope: &[u8], payload: &[u8], signature: &[u8]) -> String {
    let (envelope, payload, verifier) = (sha256(envelope), sha256(payload), key_pem());
    let signature = base64(base64(signature).as_bytes());
    format!(
        r#"{{"apiVersion":"0.0.2","kind":"intoto","spec":{{"content":{{"envelope":{{"payloadType":"{payload_type}","signatures":[{{"publicKey":"{verifier}","sig":"{signature}"}}]}},"hash":{envelope},"payloadHash":{payload}}}}}}}"#
    )
}

/// A verifier of Rekor v2.
pub(super) fn verifier_2(details: &str, spki: &[u8]) -> String {
    format!(
        r#"{{"keyDetails":"{details}","publicKey":{{"rawBytes":"{}"}}}}"#,
        base64(spki)
    )
}

pub(super) fn hashedrekord_2(algorithm: &str, digest: &[u8], signature: &[u8], verifier: &str) -> String {
    let (digest, signature) = (base64(digest), base64(signature));
    format!(
        r#"{{"apiVersion":"0.0.2","kind":"hashedrekord","spec":{{"hashedRekordV002":{{"data":{{"algorithm":"{algorithm}","digest":"{digest}"}},"signature":{{"content":"{signature}","verifier":{verifier}}}}}}}}}"#
    )
}

/// The body of what [`simple_signing`] is, in Rekor v1.
pub(super) fn good_v1() -> String {
    hashedrekord(&sha256(PAYLOAD), SIGNATURE, &key_pem())
}

/// The body of what [`simple_signing`] is, in Rekor v2.
pub(super) fn good_v2() -> String {
    let verifier = verifier_2("PKIX_ECDSA_P256_SHA_256", &SIGNER.spki);
    hashedrekord_2("SHA2_256", &Hash::Sha256.digest(PAYLOAD), SIGNATURE, &verifier)
}

pub(super) fn dsse_2(payload: &[u8]) -> String {
    let verifier = verifier_2("PKIX_ECDSA_P256_SHA_256", &SIGNER.spki);
    let (digest, signature) = (base64(&Hash::Sha256.digest(payload)), base64(SIGNATURE));
    format!(
        r#"{{"apiVersion":"0.0.2","kind":"dsse","spec":{{"dsseV002":{{"payloadHash":{{"algorithm":"SHA2_256","digest":"{digest}"}},"signatures":[{{"content":"{signature}","verifier":{verifier}}}]}}}}}}"#
    )
}

pub(super) fn simple_signing() -> Content {
    Content::SimpleSigning {
        payload: PAYLOAD.into(),
        signature: SIGNATURE.into(),
    }
}

pub(super) fn message() -> Content {
    Content::Message {
        digest: None,
        signature: SIGNATURE.into(),
    }
}

pub(super) fn envelope(blob: Option<&[u8]>) -> Content {
    Content::Dsse {
        payload_type: PAYLOAD_TYPE.into(),
        payload: PAYLOAD.into(),
        signature: SIGNATURE.into(),
        envelope: blob.map(Into::into),
    }
}

pub(super) fn encoded() -> Vec<u8> {
    pre_authentication_encoding(PAYLOAD_TYPE, PAYLOAD)
}

pub(super) fn logged<'a>(content: &'a Content, signer: LoggedSigner<'a>) -> Logged<'a> {
    Logged {
        content,
        signer,
        message: &[],
        accept_dsse_v0_0_2: false,
    }
}

/// Verifies an entry about [`simple_signing`] by the signer's key.
pub(super) fn judge(log: &Log, entry: &LogEntry) -> Result<Option<Timestamp>, LogError> {
    judge_with(&log.root(), entry)
}

pub(super) fn judge_with(root: &TrustedRoot, entry: &LogEntry) -> Result<Option<Timestamp>, LogError> {
    let content = simple_signing();
    verify(entry, &logged(&content, SIGNER.key()), root).map(|verified| verified.integrated_at)
}

pub(super) fn proof(entry: &mut LogEntry) -> &mut InclusionProof {
    entry.proof.as_mut().unwrap()
}
