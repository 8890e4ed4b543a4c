use serde_json::{Value, json};

use super::*;

fn certificate(authority: bool) -> String {
    use base64::Engine as _;
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "root");
    let root = rcgen::CertifiedIssuer::self_signed(params, key).unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.distinguished_name.push(rcgen::DnType::CommonName, "leaf");
    let leaf = params.signed_by(&rcgen::KeyPair::generate().unwrap(), &root).unwrap();
    let der = if authority {
        root.der().to_vec()
    } else {
        leaf.der().to_vec()
    };
    base64::engine::general_purpose::STANDARD.encode(der)
}

fn entry() -> Value {
    json!({
        "logIndex": "7",
        "logId": {"keyId": "AAAA"},
        "kindVersion": {"kind": "hashedrekord", "version": "0.0.1"},
        "integratedTime": "1700000000",
        "inclusionPromise": {"signedEntryTimestamp": "BBBB"},
        "inclusionProof": {
            "logIndex": "3",
            "rootHash": "CCCC",
            "treeSize": "5",
            "hashes": ["DDDD", "EEEE"],
            "checkpoint": {"envelope": "log\n5\n"},
        },
        "canonicalizedBody": "e30=",
    })
}

/// A bundle of version 0.3 with everything in it.
fn bundle() -> Value {
    json!({
        "mediaType": "application/vnd.dev.sigstore.bundle.v0.3+json",
        "verificationMaterial": {
            "certificate": {"rawBytes": certificate(false)},
            "tlogEntries": [entry()],
            "timestampVerificationData": {"rfc3161Timestamps": [{"signedTimestamp": "FFFF"}]},
        },
        "dsseEnvelope": {
            "payload": "e30=",
            "payloadType": "application/vnd.in-toto+json",
            "signatures": [{"sig": "AA==", "keyid": "k"}],
        },
    })
}

/// A bundle where one place, a JSON pointer, is something else, or is gone.
fn with(pointer: &str, value: Option<Value>) -> Value {
    let mut bundle = bundle();
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match (bundle.pointer_mut(parent).unwrap(), value) {
        (Value::Object(object), Some(value)) => drop(object.insert(key.to_owned(), value)),
        (Value::Object(object), None) => drop(object.remove(key)),
        (Value::Array(array), Some(value)) => array[key.parse::<usize>().unwrap()] = value,
        _ => panic!("{pointer}"),
    }
    bundle
}

fn read(bundle: &Value) -> Result<Material, BundleError> {
    parse(bundle.to_string().as_bytes())
}

const ENTRY: &str = "/verificationMaterial/tlogEntries/0";

#[test]
fn parses_a_bundle_with_everything_in_it() {
    let material = read(&bundle()).unwrap();
    assert_eq!(material.format, Format::Bundle(BundleVersion::V0_3));
    assert!(
        matches!(&material.content, Content::Dsse { payload, signature, envelope: None, .. }
        if **payload == *b"{}" && **signature == [0])
    );
    assert!(matches!(&material.signer, ClaimedSigner::Certificate { intermediates, .. } if intermediates.is_empty()));
    assert_eq!(material.timestamps.len(), 1);
    let [entry] = &material.log_entries[..] else { panic!() };
    assert_eq!(entry.log_index, 7);
    assert_eq!(entry.integrated_time.unwrap().as_second(), 1_700_000_000);
    assert_eq!(entry.kind, Some(("hashedrekord".into(), "0.0.1".into())));
    assert!(entry.promise.is_some());
    let proof = entry.proof.as_ref().unwrap();
    assert_eq!((proof.log_index, proof.tree_size, proof.hashes.len()), (3, 5, 2));
    assert_eq!(proof.checkpoint.as_deref(), Some("log\n5\n"));
}

#[test]
fn takes_absent_fields_for_their_defaults() {
    for (pointer, value) in [
        ("/verificationMaterial/tlogEntries", None),
        ("/verificationMaterial/tlogEntries", Some(Value::Null)),
        ("/verificationMaterial/timestampVerificationData", None),
        ("/verificationMaterial/timestampVerificationData", Some(json!({}))),
        ("/verificationMaterial/tlogEntries/0/logIndex", None),
        ("/verificationMaterial/tlogEntries/0/integratedTime", None),
        ("/verificationMaterial/tlogEntries/0/integratedTime", Some(json!(0))),
        ("/verificationMaterial/tlogEntries/0/inclusionPromise", None),
        ("/verificationMaterial/tlogEntries/0/inclusionPromise", Some(json!({}))),
        ("/verificationMaterial/tlogEntries/0/inclusionProof/hashes", None),
        ("/verificationMaterial/tlogEntries/0/inclusionProof/logIndex", None),
        ("/verificationMaterial/tlogEntries/0/inclusionProof/rootHash", None),
        ("/verificationMaterial/publicKey", Some(Value::Null)),
        ("/dsseEnvelope/signatures/0/keyid", None),
    ] {
        assert!(read(&with(pointer, value.clone())).is_ok(), "{pointer} {value:?}");
    }
}

#[test]
fn refuses_what_is_missing_or_malformed() {
    for (pointer, value) in [
        ("/mediaType", None),
        ("/verificationMaterial", None),
        ("/dsseEnvelope/payload", None),
        ("/dsseEnvelope/payloadType", None),
        ("/dsseEnvelope/payload", Some(json!("e30"))),
        ("/dsseEnvelope/signatures/0/sig", Some(json!(""))),
        ("/dsseEnvelope/signatures/0/keyid", Some(json!(1))),
        ("/verificationMaterial/certificate/rawBytes", None),
        ("/verificationMaterial/tlogEntries", Some(json!({}))),
        ("/verificationMaterial/tlogEntries/0", Some(Value::Null)),
        ("/verificationMaterial/tlogEntries/0/logId", None),
        ("/verificationMaterial/tlogEntries/0/logId/keyId", None),
        ("/verificationMaterial/tlogEntries/0/kindVersion", None),
        ("/verificationMaterial/tlogEntries/0/kindVersion/kind", None),
        ("/verificationMaterial/tlogEntries/0/canonicalizedBody", None),
        ("/verificationMaterial/tlogEntries/0/integratedTime", Some(json!(-1))),
        (
            "/verificationMaterial/tlogEntries/0/integratedTime",
            Some(json!(i64::MAX)),
        ),
        (
            "/verificationMaterial/tlogEntries/0/inclusionProof/treeSize",
            Some(json!(-1)),
        ),
        (
            "/verificationMaterial/tlogEntries/0/inclusionProof/hashes/0",
            Some(json!("-_8=")),
        ),
        (
            "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0",
            Some(json!({})),
        ),
    ] {
        let error = read(&with(pointer, value.clone())).unwrap_err();
        assert!(matches!(error, BundleError::Json(_)), "{pointer} {value:?}: {error}");
    }
    let garbled = with("/verificationMaterial/certificate/rawBytes", Some(json!("AAAA")));
    assert!(matches!(
        read(&garbled),
        Err(BundleError::Certificate { position: 0, .. })
    ));
}

#[test]
fn refuses_negative_log_indexes() {
    for index in [json!(-1), json!("-1")] {
        for place in ["logIndex", "inclusionProof/logIndex"] {
            let bundle = with(&format!("{ENTRY}/{place}"), Some(index.clone()));
            assert!(matches!(read(&bundle), Err(BundleError::Json(JsonError::Type { .. }))));
        }
    }
}

#[test]
fn refuses_unknown_fields_at_every_level() {
    for parent in [
        "",
        "/dsseEnvelope",
        "/dsseEnvelope/signatures/0",
        "/verificationMaterial",
        "/verificationMaterial/certificate",
        "/verificationMaterial/timestampVerificationData",
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps/0",
        "/verificationMaterial/tlogEntries/0",
        "/verificationMaterial/tlogEntries/0/logId",
        "/verificationMaterial/tlogEntries/0/kindVersion",
        "/verificationMaterial/tlogEntries/0/inclusionPromise",
        "/verificationMaterial/tlogEntries/0/inclusionProof",
        "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint",
    ] {
        let error = read(&with(&format!("{parent}/x"), Some(json!(1)))).unwrap_err();
        assert!(
            matches!(error, BundleError::Json(JsonError::Unknown { .. })),
            "{parent}: {error}"
        );
    }
}

#[test]
fn refuses_a_field_that_is_there_twice() {
    let twice = bundle().to_string().replacen('{', r#"{"mediaType":"x","#, 1);
    assert!(matches!(
        parse(twice.as_bytes()),
        Err(BundleError::Json(JsonError::Syntax(_)))
    ));
    let spelled = with("/verificationMaterial/tlog_entries", Some(json!([])));
    assert_eq!(
        read(&spelled).unwrap_err(),
        BundleError::Json(JsonError::Twice("tlogEntries"))
    );
}

#[test]
fn knows_the_versions_from_0_1_to_0_3() {
    for (media_type, version) in [
        (
            "application/vnd.dev.sigstore.bundle+json;version=0.1",
            Some(BundleVersion::V0_1),
        ),
        (
            "application/vnd.dev.sigstore.bundle+json;version=0.2",
            Some(BundleVersion::V0_2),
        ),
        (
            "application/vnd.dev.sigstore.bundle+json;version=0.3",
            Some(BundleVersion::V0_3),
        ),
        (
            "application/vnd.dev.sigstore.bundle.v0.3+json",
            Some(BundleVersion::V0_3),
        ),
        ("application/vnd.dev.sigstore.bundle+json;version=0.4", None),
        ("application/vnd.dev.sigstore.bundle.v0.4+json", None),
        ("application/vnd.dev.sigstore.bundle.v0.3.1+json", None),
        ("application/vnd.dev.sigstore.bundle.v0.2+json", None),
        ("application/vnd.dev.sigstore.bundle+json", None),
        ("application/json", None),
    ] {
        let read = read(&with("/mediaType", Some(json!(media_type))));
        match version {
            Some(version) => assert_eq!(read.unwrap().format, Format::Bundle(version)),
            None => assert!(matches!(read, Err(BundleError::MediaType(_))), "{media_type}"),
        }
    }
}

#[test]
fn asks_version_0_1_for_a_promise_later_ones_for_a_proof_and_every_proof_for_its_checkpoint() {
    let old = json!("application/vnd.dev.sigstore.bundle+json;version=0.1");
    let newer = json!("application/vnd.dev.sigstore.bundle+json;version=0.2");
    for (media_type, gone, expected) in [
        (&old, "inclusionProof", None),
        (&old, "inclusionProof/checkpoint", Some(BundleError::NoCheckpoint(0))),
        (&old, "inclusionPromise", Some(BundleError::NoPromise(0))),
        (&newer, "inclusionPromise", None),
        (&newer, "inclusionProof", Some(BundleError::NoProof(0))),
        (&newer, "inclusionProof/checkpoint", Some(BundleError::NoCheckpoint(0))),
    ] {
        let mut bundle = with(&format!("{ENTRY}/{gone}"), None);
        bundle["mediaType"] = media_type.clone();
        assert_eq!(read(&bundle).err(), expected, "{media_type} without {gone}");
    }
    // Every entry, not one of them.
    let mut bundle = bundle();
    let mut second = entry();
    second.as_object_mut().unwrap().remove("inclusionProof");
    bundle["verificationMaterial"]["tlogEntries"] = json!([entry(), second]);
    assert_eq!(read(&bundle).unwrap_err(), BundleError::NoProof(1));
}

#[test]
fn takes_a_chain_before_version_0_3_alone_and_ignores_its_root() {
    let chain = |certificates: Vec<String>, version: &str| {
        let certificates: Vec<_> = certificates.iter().map(|der| json!({"rawBytes": der})).collect();
        let mut bundle = with("/verificationMaterial/certificate", None);
        bundle["verificationMaterial"]["x509CertificateChain"] = json!({"certificates": certificates});
        bundle["mediaType"] = json!(format!("application/vnd.dev.sigstore.bundle+json;version={version}"));
        read(&bundle)
    };
    let (leaf, root) = (certificate(false), certificate(true));
    let material = chain(vec![leaf.clone(), leaf.clone()], "0.2").unwrap();
    assert!(matches!(material.signer, ClaimedSigner::Certificate { intermediates, .. } if intermediates.len() == 1));
    assert_eq!(chain(vec![], "0.2").unwrap_err(), BundleError::EmptyChain);
    // A root that came along is no hint either.
    let material = chain(vec![leaf.clone(), root, leaf.clone()], "0.2").unwrap();
    assert!(
        matches!(material.signer, ClaimedSigner::Certificate { intermediates, .. }
        if intermediates.len() == 1 && !intermediates[0].is_self_issued())
    );
    assert_eq!(
        chain(vec![leaf.clone()], "0.3").unwrap_err(),
        BundleError::ChainNotAllowed
    );
    let long = chain(vec![leaf; MAX_CHAIN_LENGTH + 1], "0.2").unwrap_err();
    assert_eq!(long.code(), Code::LimitExceeded);
}

#[test]
fn asks_for_exactly_one_content_and_one_signer() {
    let message =
        json!({"messageDigest": {"algorithm": "SHA2_256", "digest": "A".repeat(43) + "="}, "signature": "AA=="});
    let mut both = bundle();
    both["messageSignature"] = message.clone();
    assert!(matches!(read(&both), Err(BundleError::NotExactlyOne(_))));
    both.as_object_mut().unwrap().remove("dsseEnvelope");
    assert!(matches!(
        read(&both).unwrap().content,
        Content::Message { digest: Some(_), .. }
    ));
    both.as_object_mut().unwrap().remove("messageSignature");
    assert!(matches!(read(&both), Err(BundleError::NotExactlyOne(_))));

    let key = json!({"hint": "h"});
    let mut both = with("/verificationMaterial/publicKey", Some(key));
    assert!(matches!(read(&both), Err(BundleError::NotExactlyOne(_))));
    let material = both["verificationMaterial"].as_object_mut().unwrap();
    material.remove("certificate");
    assert!(matches!(
        read(&both).unwrap().signer,
        ClaimedSigner::Key { hint: Some(_) }
    ));
    both["verificationMaterial"]["publicKey"] = json!({});
    assert!(matches!(read(&both).unwrap().signer, ClaimedSigner::Key { hint: None }));
    let material = both["verificationMaterial"].as_object_mut().unwrap();
    material.remove("publicKey");
    assert!(matches!(read(&both), Err(BundleError::NotExactlyOne(_))));
}

#[test]
fn takes_the_digest_of_a_message_by_the_length_of_its_hash() {
    let digest = |algorithm: Value, bytes: usize| {
        use base64::Engine as _;
        let digest = base64::engine::general_purpose::STANDARD.encode(vec![0; bytes]);
        let mut bundle = with("/dsseEnvelope", None);
        bundle["messageSignature"] = json!({
            "messageDigest": {"algorithm": algorithm, "digest": digest},
            "signature": "AA==",
        });
        read(&bundle).is_ok()
    };
    for (algorithm, bytes, good) in [
        (json!("SHA2_256"), 32, true),
        (json!(1), 32, true),
        (json!("SHA2_384"), 48, true),
        (json!("SHA2_512"), 64, true),
        (json!("SHA2_256"), 31, false),
        (json!("SHA2_512"), 32, false),
        (json!("SHA3_256"), 32, false),
        (json!("HASH_ALGORITHM_UNSPECIFIED"), 32, false),
        (json!(0), 32, false),
        (Value::Null, 32, false),
        (json!("sha2_256"), 32, false),
    ] {
        assert_eq!(digest(algorithm.clone(), bytes), good, "{algorithm} {bytes}");
    }
}

/// TOB-SIGSTORE-9.
#[test]
fn refuses_an_envelope_without_exactly_one_signature() {
    for (signatures, count) in [(json!([]), 0), (json!([{"sig": "AA=="}, {"sig": "AA=="}]), 2)] {
        let bundle = with("/dsseEnvelope/signatures", Some(signatures));
        assert_eq!(read(&bundle).unwrap_err(), BundleError::SignatureCount(count));
    }
}

/// CVE-2024-45395: sigstore-go verified as many entries as a bundle had.
#[test]
fn stops_at_the_limits() {
    let timestamp = json!({"signedTimestamp": "FFFF"});
    for (pointer, item, limit) in [
        ("/verificationMaterial/tlogEntries", entry(), MAX_LOG_ENTRIES),
        (
            "/verificationMaterial/timestampVerificationData/rfc3161Timestamps",
            timestamp,
            MAX_TIMESTAMPS,
        ),
        (
            &format!("{ENTRY}/inclusionProof/hashes"),
            json!("DDDD"),
            MAX_INCLUSION_PROOF_HASHES,
        ),
    ] {
        let most = with(pointer, Some(json!(vec![item.clone(); limit])));
        assert!(read(&most).is_ok(), "{pointer}");
        let more = with(pointer, Some(json!(vec![item; limit + 1])));
        assert_eq!(read(&more).unwrap_err().code(), Code::LimitExceeded, "{pointer}");
    }
    let large = vec![b' '; MAX_ATTESTATION_SIZE + 1];
    assert_eq!(parse(&large).unwrap_err(), BundleError::TooLarge(large.len()));
}

#[test]
fn parses_the_largest_bundle_that_the_limits_let_through() {
    let mut full = entry();
    full["inclusionProof"]["hashes"] = json!(vec!["DDDD"; MAX_INCLUSION_PROOF_HASHES]);
    let mut bundle = with(
        "/verificationMaterial/tlogEntries",
        Some(json!(vec![full; MAX_LOG_ENTRIES])),
    );
    let timestamps = vec![json!({"signedTimestamp": "FFFF"}); MAX_TIMESTAMPS];
    bundle["verificationMaterial"]["timestampVerificationData"]["rfc3161Timestamps"] = json!(timestamps);
    assert!(read(&bundle).is_ok());
}
