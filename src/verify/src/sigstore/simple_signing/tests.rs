use super::*;

const HEX: &str = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn payload(critical: &str, optional: &str) -> Result<Payload, SimpleSigningError> {
    Payload::parse(format!(r#"{{"critical":{critical},"optional":{optional}}}"#).as_bytes())
}

fn critical() -> String {
    format!(
        r#"{{"identity":{{"docker-reference":"r"}},"image":{{"docker-manifest-digest":"sha256:{HEX}"}},"type":"{TYPE}"}}"#
    )
}

#[test]
fn parses_which_image_is_signed_and_the_annotations_that_are_texts() {
    let payload = payload(&critical(), r#"{"env":"prod","n":1,"o":{},"z":null}"#).unwrap();
    assert_eq!(payload.digest.hex(), HEX);
    assert_eq!(payload.reference.as_deref(), Some("r"));
    assert_eq!(payload.annotations, [("env".into(), "prod".into())]);
}

#[test]
fn needs_neither_a_reference_nor_annotations() {
    for (from, to) in [
        (r#""docker-reference":"r""#, ""),
        (r#""docker-reference":"r""#, r#""docker-reference":"""#),
        (r#""identity":{"docker-reference":"r"},"#, ""),
    ] {
        for optional in ["null", "{}"] {
            let payload = payload(&critical().replace(from, to), optional).unwrap();
            assert_eq!((payload.reference, payload.annotations.len()), (None, 0));
        }
    }
}

#[test]
fn refuses_payloads_that_promise_something_else() {
    let error = payload(&critical().replace(TYPE, "atomic container signature"), "null").unwrap_err();
    assert!(matches!(error, SimpleSigningError::Type(_)));
    for digest in ["", "sha256:00", "md5:00", &HEX.to_uppercase()] {
        let critical = critical().replace(&format!("sha256:{HEX}"), digest);
        assert!(payload(&critical, "null").is_err(), "{digest}");
    }
}

#[test]
fn refuses_malformed_payloads() {
    let good = critical();
    for (critical, optional) in [
        ("null", "null"),
        ("[]", "null"),
        (good.as_str(), "[]"),
        (good.as_str(), "\"x\""),
        (good.as_str(), r#"{},"optional":{}"#),
        (good.as_str(), r#"{},"more":{}"#),
        (&good.replace(r#""identity":"#, r#""audience":"#), "null"),
        (&good.replace(r#""docker-reference":"#, r#""reference":"#), "null"),
        (&good.replace(r#""image":{"#, r#""image":{"x":1,"#), "null"),
        (&good.replace(r#""type":"#, r#""Type":"#), "null"),
        (&good.replace(r#""r""#, "1"), "null"),
    ] {
        assert!(
            matches!(payload(critical, optional), Err(SimpleSigningError::Payload(_))),
            "{critical} {optional}"
        );
    }
}

#[test]
fn stops_at_the_limits_of_a_payload() {
    let keys = |count| {
        (0..count)
            .map(|n| format!(r#""k{n}":"""#))
            .collect::<Vec<_>>()
            .join(",")
    };
    assert!(payload(&critical(), &format!("{{{}}}", keys(MAX_ATTRIBUTES))).is_ok());
    let error = payload(&critical(), &format!("{{{}}}", keys(MAX_ATTRIBUTES + 1))).unwrap_err();
    assert_eq!(error.code(), Code::LimitExceeded);
    let large = vec![b' '; MAX_ENVELOPE_SIZE + 1];
    assert_eq!(Payload::parse(&large), Err(SimpleSigningError::TooLarge(large.len())));
}

fn layer(more: &[(&str, &str)]) -> Result<Material, SimpleSigningError> {
    let mut annotations = Annotations::from([(SIGNATURE.to_owned(), "AA==".to_owned())]);
    for (name, value) in more {
        annotations.insert((*name).to_owned(), (*value).to_owned());
    }
    signature(&annotations, Arc::from(*b"{}"))
}

fn pem() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    rcgen::CertificateParams::default().self_signed(&key).unwrap().pem()
}

const ENTRY: &str = r#"{"SignedEntryTimestamp":"AAAA","Payload":{"body":"e30=","integratedTime":1700000000,"logIndex":7,"logID":"00ff"}}"#;

#[test]
fn a_layer_with_its_signature_alone_is_by_a_key() {
    let material = layer(&[(CERTIFICATE, ""), (CHAIN, ""), (BUNDLE, ""), (TIMESTAMP, "")]).unwrap();
    assert_eq!(material.format, Format::Layer);
    assert_eq!(material.content.signature(), [0]);
    assert!(matches!(material.signer, ClaimedSigner::Key { hint: None }));
    assert!(material.log_entries.is_empty() && material.timestamps.is_empty());
}

#[test]
fn a_layer_has_a_certificate_its_chain_a_promise_and_a_timestamp_beside_it() {
    let pem = pem();
    let material = layer(&[
        (CERTIFICATE, &pem),
        (CHAIN, &pem.repeat(2)),
        (BUNDLE, ENTRY),
        (TIMESTAMP, r#"{"SignedRFC3161Timestamp":"FFFF"}"#),
    ])
    .unwrap();
    assert!(matches!(material.signer, ClaimedSigner::Certificate { intermediates, .. } if intermediates.len() == 2));
    assert_eq!(material.timestamps.len(), 1);
    let [entry] = &material.log_entries[..] else { panic!() };
    assert_eq!(*entry.log_id, [0x00, 0xff]);
    assert_eq!((entry.log_index, &*entry.body), (7, &b"{}"[..]));
    assert_eq!(entry.integrated_time.unwrap().as_second(), 1_700_000_000);
    assert!(entry.promise.is_some() && entry.proof.is_none() && entry.kind.is_none());
}

#[test]
fn refuses_a_layer_without_a_signature() {
    for annotations in [
        Annotations::new(),
        Annotations::from([(SIGNATURE.to_owned(), String::new())]),
        Annotations::from([(SIGNATURE.to_owned(), "A".to_owned())]),
    ] {
        assert!(signature(&annotations, Arc::from(*b"{}")).is_err());
    }
}

/// CVE-2026-39395: what cannot be read is not what is not there.
#[test]
fn refuses_a_layer_whose_annotations_cannot_be_read() {
    let pem = pem();
    let two = pem.repeat(2);
    let many = pem.repeat(MAX_CHAIN_LENGTH + 1);
    for (name, value) in [
        (BUNDLE, "x"),
        (BUNDLE, "{}"),
        (BUNDLE, "null"),
        (BUNDLE, &ENTRY.replace("AAAA", "")),
        (BUNDLE, &ENTRY.replace("e30=", "")),
        (BUNDLE, &ENTRY.replace("e30=", "e30")),
        (BUNDLE, &ENTRY.replace("1700000000", "0")),
        (BUNDLE, &ENTRY.replace("1700000000", "-1")),
        (BUNDLE, &ENTRY.replace("1700000000", "1.5")),
        (BUNDLE, &ENTRY.replace(":7", ":-7")),
        (BUNDLE, &ENTRY.replace("00ff", "")),
        (BUNDLE, &ENTRY.replace("00ff", "00f")),
        (BUNDLE, &ENTRY.replace("00ff", "00FF")),
        (BUNDLE, &ENTRY.replace("00ff", "00fg")),
        (BUNDLE, &ENTRY.replace(r#""logIndex""#, r#""logIndex":7,"logIndex""#)),
        (BUNDLE, &ENTRY.replace(r#""logIndex""#, r#""x":7,"logIndex""#)),
        (TIMESTAMP, "x"),
        (TIMESTAMP, "{}"),
        (TIMESTAMP, r#"{"SignedRFC3161Timestamp":"FFF"}"#),
        (CERTIFICATE, "x"),
        (CERTIFICATE, &two),
        (
            CERTIFICATE,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
        ),
    ] {
        let error = layer(&[(name, value)]).unwrap_err();
        assert!(
            matches!(error, SimpleSigningError::Annotation { annotation, .. } if annotation == name),
            "{name} {value}: {error}"
        );
    }
    for chain in ["x", &many] {
        assert!(layer(&[(CERTIFICATE, &pem), (CHAIN, chain)]).is_err());
    }
}

#[test]
fn an_attestation_has_its_signature_in_the_envelope() {
    let envelope: Arc<[u8]> =
        Arc::from(*br#"{"payloadType":"t","payload":"e30=","signatures":[{"sig":"AA==","keyid":""}]}"#);
    for beside in [None, Some("")] {
        let annotations = beside.map(|value| (SIGNATURE.to_owned(), value.to_owned()));
        let material = attestation(&annotations.into_iter().collect(), envelope.clone()).unwrap();
        assert_eq!(material.format, Format::Layer);
        assert!(
            matches!(&material.content, Content::Dsse { envelope: Some(kept), payload, .. }
            if *kept == envelope && **payload == *b"{}")
        );
    }
    let annotations = Annotations::from([(SIGNATURE.to_owned(), "AA==".to_owned())]);
    assert!(attestation(&annotations, envelope).is_err());
    let malformed = attestation(&Annotations::new(), Arc::from(*b"{}"));
    assert!(matches!(malformed, Err(SimpleSigningError::Envelope(_))));
}
