//! The exact header bytes of the reference implementation's conformance files.
//!
//! Their keys and chains are not published, so the envelopes cannot be verified: what is asked is that the bytes are
//! read as the values the files say, and that exactly these bytes are what would be verified.

use ciborium::Value as Cbor;
use serde_json::Value as Json;

use super::*;
use crate::digest::hex;

#[expect(
    clippy::disallowed_methods,
    reason = "only the tests ask the environment, and only where files are"
)]
fn conformance(format: &str) -> Json {
    let vectors = std::env::var("ASSAY_VECTORS")
        .unwrap_or_else(|_| concat!(env!("CARGO_MANIFEST_DIR"), "/../../../shared/vectors").to_owned());
    let path = format!("{vectors}/notation/notation-core-go/signature/{format}/testdata/conformance.json");
    let text = std::fs::read(&path).unwrap_or_else(|error| panic!("{path}: {error}; set ASSAY_VECTORS"));
    serde_json::from_slice(&text).unwrap()
}

fn certificate() -> Vec<u8> {
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::default().self_signed(&key).unwrap();
    certificate.der().to_vec()
}

#[test]
fn reads_the_conformance_headers_of_cose() {
    let file = conformance("cose");
    let unhex = |text: &Json| -> Vec<u8> {
        let text = text.as_str().unwrap();
        (0..text.len())
            .step_by(2)
            .map(|start| u8::from_str_radix(&text[start..start + 2], 16).unwrap())
            .collect()
    };
    let message: Cbor = ciborium::from_reader(&unhex(&file["expectedOutput"]["cborHex"])[..]).unwrap();
    let mut parts = message.as_tag().unwrap().1.as_array().unwrap().clone();
    let protected = unhex(&file["protectedHeaders"]["cborHex"]);
    assert_eq!(parts[0], Cbor::Bytes(protected.clone()));
    let chain = Cbor::Array(vec![Cbor::Bytes(certificate())]);
    parts[1].as_map_mut().unwrap().push((33.into(), chain));
    let mut bytes = Vec::new();
    ciborium::into_writer(&Cbor::Tag(18, Box::new(Cbor::Array(parts))), &mut bytes).unwrap();

    let envelope = Envelope::parse(Format::Cose, &bytes).unwrap();
    let second = |field: &str| Timestamp::from_second(file[field].as_i64().unwrap()).unwrap();
    assert_eq!(envelope.algorithm, EnvelopeAlgorithm::Ps384);
    assert_eq!(envelope.payload, unhex(&file["payload"]));
    assert_eq!(
        envelope.attributes,
        Attributes {
            scheme: SigningScheme::X509 {
                signing_time: second("signingTime")
            },
            expiry: Some(second("expiry")),
            plugin: None,
            critical: vec![CriticalAttribute {
                name: "signedCritKey1".into(),
                value: AttributeValue::Text("signedCritValue1".to_owned()),
            }],
        }
    );
    // RFC 9052 §4.4, spelled out: the context, the header as it came, no external data, the payload.
    let head = [&[0x84, 0x6a][..], b"Signature1", &[0x59, 0x01, 0x17]].concat();
    let expected = [&head[..], &protected, &[0x40, 0x4a], &envelope.payload].concat();
    assert_eq!(hex(&envelope.signed), hex(&expected));
}

#[test]
fn reads_the_conformance_headers_of_jws() {
    use base64::Engine as _;
    let mut file = conformance("jws");
    let expected = format!(
        "{}.{}",
        file["protected"].as_str().unwrap(),
        file["payload"].as_str().unwrap()
    );
    file["header"]["x5c"] = serde_json::json!([base64::engine::general_purpose::STANDARD.encode(certificate())]);

    let envelope = Envelope::parse(Format::Jws, file.to_string().as_bytes()).unwrap();
    assert_eq!(envelope.algorithm, EnvelopeAlgorithm::Es256);
    assert_eq!(envelope.signed, expected.as_bytes());
    assert_eq!(envelope.signature.len(), 64);
    assert_eq!(
        envelope.attributes,
        Attributes {
            scheme: SigningScheme::X509 {
                signing_time: "2022-08-29T13:50:00Z".parse().unwrap()
            },
            expiry: Some("2099-08-30T13:50:00Z".parse().unwrap()),
            plugin: None,
            critical: vec![CriticalAttribute {
                name: "signedCritKey1".into(),
                value: AttributeValue::Text("signedCritValue1".to_owned()),
            }],
        }
    );
}
