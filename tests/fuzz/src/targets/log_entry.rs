//! Bodies of log entries.

use std::sync::LazyLock;

use assay_verify::Timestamp;
use assay_verify::crypto::Hash;
use assay_verify::digest::hex;
use assay_verify::sigstore::key::VerificationKey;
use assay_verify::sigstore::log::{self, LogError, Logged, LoggedSigner, inclusion};
use assay_verify::sigstore::material::{Content, InclusionProof, LogEntry};
use assay_verify::sigstore::trusted_root::{LogParts, Parts, TrustedRoot};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use der::pem::{LineEnding, encode_string};
use rcgen::{KeyPair, PublicKeyData as _, SigningKey as _};
use serde_json::{Value, json};

use crate::{Target, seeds, shown};

/// What a log holds, in a log that vouches for whatever it is given.
pub const TARGET: Target = Target {
    name: "log_entry",
    seeds,
    words: &[
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b",",
        b"null",
        b"1e400",
        b"\\u0000",
        b"\"kind\":\"hashedrekord\"",
        b"\"kind\":\"rekord\"",
        b"\"kind\":\"dsse\"",
        b"\"kind\":\"intoto\"",
        b"\"0.0.1\"",
        b"\"0.0.2\"",
        b"\"sha512\"",
        b"\"SHA2_512\"",
        b"\"signatures\":[],",
        b"\"payloadHash\":{\"algorithm\":\"sha256\",\"value\":\"\"},",
        b"\"PKIX_ED25519_PH\"",
        b"\"x509Certificate\":{\"rawBytes\":\"\"},",
        b"=",
        b"==",
    ],
    check,
    inputs: 2_000,
};

const SIGNATURE: &[u8] = b"the signature";
const PAYLOAD: &[u8] = b"the payload";
const ENVELOPE: &[u8] = b"the envelope";
const PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";
const HOST: &str = "rekor.test";

/// One key is the log's, the other the signer's.
struct Parties {
    log: KeyPair,
    signer: Vec<u8>,
    root: TrustedRoot,
}

static PARTIES: LazyLock<Parties> = LazyLock::new(|| {
    let log = KeyPair::generate().expect("a key");
    let key = VerificationKey::from_spki(&log.subject_public_key_info()).expect("a key");
    let logs = vec![LogParts {
        key,
        base_url: Some(HOST.into()),
    }];
    let root = TrustedRoot::from_parts(Parts {
        logs,
        ..Parts::default()
    })
    .expect("a root");
    let signer = KeyPair::generate().expect("a key").subject_public_key_info();
    Parties { log, signer, root }
});

fn contents() -> [Content; 4] {
    let envelope = |blob: Option<&[u8]>| Content::Dsse {
        payload_type: PAYLOAD_TYPE.into(),
        payload: PAYLOAD.into(),
        signature: SIGNATURE.into(),
        envelope: blob.map(Into::into),
    };
    [
        Content::SimpleSigning {
            payload: PAYLOAD.into(),
            signature: SIGNATURE.into(),
        },
        Content::Message {
            digest: None,
            signature: SIGNATURE.into(),
        },
        envelope(None),
        envelope(Some(ENVELOPE)),
    ]
}

fn encoded() -> Vec<u8> {
    [
        format!("DSSEv1 {} {PAYLOAD_TYPE} {} ", PAYLOAD_TYPE.len(), PAYLOAD.len()).as_bytes(),
        PAYLOAD,
    ]
    .concat()
}

fn verifier() -> String {
    STANDARD.encode(encode_string("PUBLIC KEY", LineEnding::LF, &PARTIES.signer).expect("PEM"))
}

fn seeds() -> Vec<Vec<u8>> {
    let hash = |content: &[u8]| json!({ "algorithm": "sha256", "value": hex(&Hash::Sha256.digest(content)) });
    let output =
        |content: &[u8]| json!({ "algorithm": "SHA2_256", "digest": STANDARD.encode(Hash::Sha256.digest(content)) });
    let signature = STANDARD.encode(SIGNATURE);
    let key = json!({ "keyDetails": "PKIX_ECDSA_P256_SHA_256", "publicKey": { "rawBytes": STANDARD.encode(&PARTIES.signer) } });
    let signature_2 = json!({ "content": signature, "verifier": key });
    let body = |kind: &str, version: &str, spec: Value| json!({ "kind": kind, "apiVersion": version, "spec": spec });
    let hashedrekord = |content: &[u8]| {
        body(
            "hashedrekord",
            "0.0.2",
            json!({ "hashedRekordV002": { "data": output(content), "signature": signature_2 } }),
        )
    };
    let own = [
        body(
            "hashedrekord",
            "0.0.1",
            json!({
                "data": { "hash": hash(PAYLOAD) },
                "signature": { "content": signature, "publicKey": { "content": verifier() } },
            }),
        ),
        body(
            "rekord",
            "0.0.1",
            json!({
                "data": { "hash": hash(PAYLOAD) },
                "signature": { "content": signature, "format": "x509", "publicKey": { "content": verifier() } },
            }),
        ),
        body(
            "intoto",
            "0.0.1",
            json!({
                "content": { "hash": hash(ENVELOPE), "payloadHash": hash(PAYLOAD) },
                "publicKey": verifier(),
            }),
        ),
        body(
            "intoto",
            "0.0.2",
            json!({ "content": {
            "envelope": {
                "payloadType": PAYLOAD_TYPE,
                "signatures": [{ "publicKey": verifier(), "sig": STANDARD.encode(&signature) }],
            },
            "hash": hash(ENVELOPE),
            "payloadHash": hash(PAYLOAD),
        } }),
        ),
        body(
            "dsse",
            "0.0.1",
            json!({
                "envelopeHash": hash(ENVELOPE),
                "payloadHash": hash(PAYLOAD),
                "signatures": [{ "signature": signature, "verifier": verifier() }],
            }),
        ),
        hashedrekord(PAYLOAD),
        hashedrekord(&encoded()),
        body(
            "dsse",
            "0.0.2",
            json!({ "dsseV002": { "payloadHash": output(PAYLOAD), "signatures": [signature_2] } }),
        ),
    ];
    let mut bodies: Vec<Vec<u8>> = own.iter().map(|body| body.to_string().into_bytes()).collect();
    assert!(
        bodies.iter().all(|body| check(body).contains("about")),
        "a seed is about nothing"
    );
    let bundles = seeds::sigstore_files("conformance/bundle-verify", |path, _| {
        path.ends_with("bundle.sigstore.json")
    });
    bodies.extend(bundles.iter().filter_map(|bundle| {
        let bundle: Value = serde_json::from_slice(bundle).ok()?;
        let body = bundle.pointer("/verificationMaterial/tlogEntries/0/canonicalizedBody")?;
        STANDARD.decode(body.as_str()?).ok()
    }));
    bodies
}

/// An entry that the log vouches for as Rekor v1 does.
fn promised(body: &[u8]) -> LogEntry {
    let log_id = PARTIES.root.logs[0].log_id.clone();
    let signed = format!(
        r#"{{"body":"{}","integratedTime":1700000000,"logID":"{}","logIndex":0}}"#,
        STANDARD.encode(body),
        hex(&log_id)
    );
    LogEntry {
        log_id,
        log_index: 0,
        integrated_time: Timestamp::from_second(1_700_000_000).ok(),
        kind: None,
        promise: Some(PARTIES.log.sign(signed.as_bytes()).expect("a signature").into()),
        proof: None,
        body: body.into(),
    }
}

/// An entry that the log vouches for as Rekor v2 does: the only leaf of a tree.
fn proved(body: &[u8]) -> LogEntry {
    let root = inclusion::leaf_hash(body);
    let text = format!("{HOST}\n1\n{}\n", STANDARD.encode(root));
    let signature = PARTIES.log.sign(text.as_bytes()).expect("a signature");
    let line = [&PARTIES.root.logs[0].key.fingerprint()[..4], &signature].concat();
    LogEntry {
        integrated_time: None,
        promise: None,
        proof: Some(InclusionProof {
            log_index: 0,
            tree_size: 1,
            root_hash: root.into(),
            hashes: Vec::new(),
            checkpoint: Some(format!("{text}\n\u{2014} {HOST} {}\n", STANDARD.encode(line)).into()),
        }),
        ..promised(body)
    }
}

/// Whatever is about a signature has it in it, and its signer, and a digest of what is signed. The log is beyond doubt, so
/// nothing but the body decides.
pub fn check(input: &[u8]) -> String {
    let digest = Hash::Sha256.digest(PAYLOAD);
    let message = [(Hash::Sha256, &*digest)];
    let mut outcomes = Vec::new();
    for entry in [promised(input), proved(input)] {
        for content in &contents() {
            let signer = LoggedSigner::Key(&PARTIES.signer);
            let logged = Logged {
                content,
                signer,
                message: &message,
                accept_dsse_v0_0_2: true,
            };
            outcomes.push(match log::verify(&entry, &logged, &PARTIES.root) {
                Ok(verified) => {
                    assert_eq!(verified.integrated_at.is_some(), entry.promise.is_some());
                    assert_about(input, content);
                    "about it".to_owned()
                }
                Err(error) => {
                    let beyond_doubt = matches!(
                        error,
                        LogError::UnknownLog(_) | LogError::Promise(_) | LogError::Checkpoint(_)
                    );
                    assert!(!beyond_doubt, "{error}");
                    shown::error(&error)
                }
            });
        }
    }
    outcomes.dedup();
    outcomes.join(" ")
}

/// Searches the body for the signature, the signer and the digests, as bytes in any of their encodings.
fn assert_about(body: &[u8], content: &Content) {
    let body: Value = serde_json::from_slice(body).expect("JSON");
    let mut values = Vec::new();
    bytes(&body, &mut values);
    let has = |wanted: &[u8]| {
        values
            .iter()
            .any(|value| value.windows(wanted.len()).any(|part| part == wanted))
    };
    let signed = match content {
        Content::Dsse { .. } => [PAYLOAD.to_vec(), encoded(), ENVELOPE.to_vec()].to_vec(),
        _ => vec![PAYLOAD.to_vec()],
    };
    let hashes = [Hash::Sha256, Hash::Sha384, Hash::Sha512];
    assert!(
        hashes
            .iter()
            .any(|hash| signed.iter().any(|signed| has(&hash.digest(signed)))),
        "of other content: {body}"
    );
    // An entry of the kind intoto 0.0.1 has the signature in the envelope that it has the digest of.
    assert!(
        has(SIGNATURE) || has(&Hash::Sha256.digest(ENVELOPE)),
        "of another signature: {body}"
    );
    assert!(has(&PARTIES.signer), "of another signer: {body}");
}

/// All texts of a value, decoded in every way that they can be, twice for what is encoded twice.
fn bytes(value: &Value, found: &mut Vec<Vec<u8>>) {
    match value {
        Value::String(text) => {
            let once = decoded(text.as_bytes());
            found.extend(once.iter().flat_map(|bytes| decoded(bytes)));
            found.extend(once);
        }
        Value::Array(items) => items.iter().for_each(|item| bytes(item, found)),
        Value::Object(fields) => fields.values().for_each(|field| bytes(field, found)),
        _ => {}
    }
}

fn decoded(text: &[u8]) -> Vec<Vec<u8>> {
    let digits = std::str::from_utf8(text).unwrap_or_default();
    let pairs = (0..digits.len() / 2).map(|at| u8::from_str_radix(digits.get(2 * at..2 * at + 2)?, 16).ok());
    let from_hex = pairs.collect::<Option<Vec<u8>>>();
    let from_pem = digits.contains("-----BEGIN").then(|| {
        let lines = digits.lines().filter(|line| !line.starts_with("-----"));
        STANDARD.decode(lines.collect::<String>()).unwrap_or_default()
    });
    from_hex
        .into_iter()
        .chain(STANDARD.decode(text).ok())
        .chain(from_pem)
        .collect()
}
