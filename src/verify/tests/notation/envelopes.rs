//! The rules of envelopes and their headers, each as a row: one change, one error.

use assay_verify::crypto::{BadSignature, EnvelopeAlgorithm};
use assay_verify::descriptor::MediaType;
use assay_verify::envelope::{Envelope, EnvelopeError, Format, RequiredPlugin, SigningScheme, VerifiedEnvelope};
use assay_verify::limits::{MAX_CHAIN_LENGTH, MAX_ENVELOPE_SIZE};
use assay_verify::query::PluginName;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use ciborium::Value as Cbor;
use serde_json::{Value as Json, json};

use crate::support::*;

const SCHEME: &str = "io.cncf.notary.signingScheme";
const SIGNING_TIME: &str = "io.cncf.notary.signingTime";
const AUTHENTIC: &str = "io.cncf.notary.authenticSigningTime";
const EXPIRES: &str = "io.cncf.notary.expiry";
const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
const MIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";
const TOKEN: &str = "io.cncf.notary.timestampSignature";

fn verify(format: Format, bytes: &[u8]) -> Result<VerifiedEnvelope, EnvelopeError> {
    Envelope::parse(format, bytes)?.verify()
}

#[test]
fn media_types_name_the_format() {
    let of = |text| Format::of(&MediaType::parse(text).unwrap());
    assert_eq!(of(JWS), Ok(Format::Jws));
    assert_eq!(of(COSE), Ok(Format::Cose));
    for other in [
        "application/json",
        "application/vnd.oci.image.layer.v1.tar",
        "Application/Cose",
    ] {
        assert_eq!(of(other), Err(EnvelopeError::UnknownMediaType(other.into())));
    }
}

#[test]
fn verifies_every_algorithm_in_both_formats() {
    for algorithm in ALGORITHMS {
        let chain = ChainParts {
            algorithm,
            ..ChainParts::default()
        }
        .build();
        for (format, envelope) in [
            (Format::Jws, Jws::new(algorithm, &chain).envelope()),
            (Format::Cose, Cose::new(algorithm, &chain).envelope()),
        ] {
            let verified = verify(format, &envelope).unwrap();
            assert_eq!(verified.target(), &image());
            assert_eq!(verified.chain().algorithm(), algorithm);
            assert_eq!(verified.attributes().expiry, Some(time(EXPIRY)));
            assert_eq!(
                verified.attributes().scheme,
                SigningScheme::X509 {
                    signing_time: time(SIGNED_AT)
                }
            );
        }
    }
}

#[test]
fn reads_what_is_optional() {
    let mut jws = jws().by_signing_authority();
    jws.protected[PLUGIN] = "example".into();
    jws.protected["note"] = json!({"not": "critical"});
    jws.mark_critical(PLUGIN);
    jws.header[TOKEN] = STANDARD.encode(b"token").into();
    jws.header["unknown"] = json!([1, 2]);
    let mut cose = cose().by_signing_authority();
    cose.set(PLUGIN, "example".into());
    cose.set("note", Cbor::Array(vec![Cbor::Null]));
    cose.set(99, 1.into());
    cose.mark_critical(PLUGIN);
    cose.unprotected.push((TOKEN.into(), Cbor::Bytes(b"token".to_vec())));
    cose.unprotected.push(("unknown".into(), Cbor::Bool(true)));
    for (format, envelope) in [(Format::Jws, jws.envelope()), (Format::Cose, cose.envelope())] {
        let verified = verify(format, &envelope).unwrap();
        let attributes = verified.attributes();
        assert_eq!(
            attributes.scheme,
            SigningScheme::SigningAuthority {
                authentic_signing_time: time(SIGNED_AT)
            }
        );
        let plugin = RequiredPlugin {
            name: "example".parse().unwrap(),
            minimum_version: None,
        };
        assert_eq!(attributes.plugin, Some(plugin));
        assert_eq!(attributes.critical, []);
        assert_eq!(verified.timestamp_token(), Some(&b"token"[..]));
    }
}

#[test]
fn a_label_that_is_a_number_is_not_the_text_of_its_digits() {
    let mut cose = cose();
    cose.set("#99", "text".into());
    cose.mark_critical("#99");
    assert!(verify(Format::Cose, &cose.envelope()).is_ok());
    cose.remove("#99");
    cose.set(99, "number".into());
    assert_eq!(
        verify(Format::Cose, &cose.envelope()).unwrap_err(),
        EnvelopeError::CriticalAbsent("#99".into())
    );
}

#[test]
fn reads_a_signature_without_expiry() {
    let mut jws = jws();
    jws.protected.as_object_mut().unwrap().remove(EXPIRES);
    jws.protected["crit"] = json!([SCHEME]);
    let mut cose = cose();
    cose.remove(EXPIRES);
    cose.set(2, Cbor::Array(vec![SCHEME.into()]));
    for (format, envelope) in [(Format::Jws, jws.envelope()), (Format::Cose, cose.envelope())] {
        assert_eq!(verify(format, &envelope).unwrap().attributes().expiry, None);
    }
}

/// A rule that both formats have: what is changed in each, and the error that both give.
struct Rule {
    jws: fn(&mut Jws),
    cose: fn(&mut Cose),
    error: EnvelopeError,
}

fn remove(jws: &mut Jws, name: &str) {
    jws.protected.as_object_mut().unwrap().remove(name);
}

#[test]
fn the_header_rules_are_the_same_in_both_formats() {
    let text = |name| EnvelopeError::Type { name, expected: "text" };
    let unexpected = |header, scheme| EnvelopeError::UnexpectedHeader { header, scheme };
    let rules = [
        Rule {
            jws: |jws| remove(jws, "alg"),
            cose: |cose| cose.remove(1),
            error: EnvelopeError::Missing("alg"),
        },
        Rule {
            jws: |jws| remove(jws, "crit"),
            cose: |cose| cose.remove(2),
            error: EnvelopeError::Missing("the list of critical headers"),
        },
        Rule {
            jws: |jws| remove(jws, "cty"),
            cose: |cose| cose.remove(3),
            error: EnvelopeError::Missing("the content type"),
        },
        Rule {
            jws: |jws| jws.protected["cty"] = "application/json".into(),
            cose: |cose| cose.set(3, "application/json".into()),
            error: EnvelopeError::ContentType("application/json".into()),
        },
        Rule {
            jws: |jws| {
                remove(jws, SCHEME);
            },
            cose: |cose| cose.remove(SCHEME),
            error: EnvelopeError::Missing(SCHEME),
        },
        Rule {
            jws: |jws| jws.protected[SCHEME] = "notary.x509.other".into(),
            cose: |cose| cose.set(SCHEME, "notary.x509.other".into()),
            error: EnvelopeError::SigningScheme("notary.x509.other".into()),
        },
        Rule {
            jws: |jws| jws.protected[SCHEME] = 1.into(),
            cose: |cose| cose.set(SCHEME, 1.into()),
            error: text(SCHEME),
        },
        Rule {
            jws: |jws| remove(jws, SIGNING_TIME),
            cose: |cose| cose.remove(SIGNING_TIME),
            error: EnvelopeError::Missing(SIGNING_TIME),
        },
        Rule {
            jws: |jws| jws.protected[SIGNING_TIME] = 1_700_000_000.into(),
            cose: |cose| cose.set(SIGNING_TIME, SIGNED_AT.into()),
            // JWS has text there, COSE tag 1: each refuses the other's form.
            error: EnvelopeError::Time(SIGNING_TIME),
        },
        Rule {
            jws: |jws| jws.protected[AUTHENTIC] = SIGNED_AT.into(),
            cose: |cose| cose.set(AUTHENTIC, seconds(SIGNED_AT)),
            error: unexpected(AUTHENTIC, "notary.x509"),
        },
        Rule {
            jws: |jws| {
                *jws = jws.clone().by_signing_authority();
                jws.protected[SIGNING_TIME] = SIGNED_AT.into();
            },
            cose: |cose| {
                *cose = cose.clone().by_signing_authority();
                cose.set(SIGNING_TIME, seconds(SIGNED_AT));
            },
            error: unexpected(SIGNING_TIME, "notary.x509.signingAuthority"),
        },
        Rule {
            jws: |jws| {
                *jws = jws.clone().by_signing_authority();
                remove(jws, AUTHENTIC);
            },
            cose: |cose| {
                *cose = cose.clone().by_signing_authority();
                cose.remove(AUTHENTIC);
            },
            error: EnvelopeError::Missing(AUTHENTIC),
        },
        Rule {
            jws: |jws| {
                *jws = jws.clone().by_signing_authority();
                jws.protected["crit"] = json!([SCHEME, EXPIRES]);
            },
            cose: |cose| {
                *cose = cose.clone().by_signing_authority();
                cose.set(2, Cbor::Array(vec![SCHEME.into(), EXPIRES.into()]));
            },
            error: EnvelopeError::NotCritical(AUTHENTIC),
        },
        Rule {
            jws: |jws| jws.protected["crit"] = json!([EXPIRES]),
            cose: |cose| cose.set(2, Cbor::Array(vec![EXPIRES.into()])),
            error: EnvelopeError::NotCritical(SCHEME),
        },
        Rule {
            jws: |jws| jws.protected["crit"] = json!([SCHEME]),
            cose: |cose| cose.set(2, Cbor::Array(vec![SCHEME.into()])),
            error: EnvelopeError::NotCritical(EXPIRES),
        },
        Rule {
            jws: |jws| jws.mark_critical("absent"),
            cose: |cose| cose.mark_critical("absent"),
            error: EnvelopeError::CriticalAbsent("absent".into()),
        },
        Rule {
            jws: |jws| jws.mark_critical(SIGNING_TIME),
            cose: |cose| cose.mark_critical(SIGNING_TIME),
            error: EnvelopeError::CriticalAbsent(SIGNING_TIME.into()),
        },
        Rule {
            jws: |jws| jws.mark_critical(SCHEME),
            cose: |cose| cose.mark_critical(SCHEME),
            error: EnvelopeError::CriticalTwice(SCHEME.into()),
        },
        Rule {
            jws: |jws| jws.protected[EXPIRES] = SIGNED_AT.into(),
            cose: |cose| cose.set(EXPIRES, seconds(SIGNED_AT)),
            error: EnvelopeError::ExpiryBeforeSigning {
                expiry: time(SIGNED_AT),
                signing_time: time(SIGNED_AT),
            },
        },
        Rule {
            jws: |jws| jws.protected[PLUGIN] = 1.into(),
            cose: |cose| cose.set(PLUGIN, 1.into()),
            error: text(PLUGIN),
        },
        Rule {
            jws: |jws| jws.protected[PLUGIN] = "example".into(),
            cose: |cose| cose.set(PLUGIN, "example".into()),
            error: EnvelopeError::NotCritical(PLUGIN),
        },
        Rule {
            jws: |jws| {
                jws.protected[PLUGIN] = "".into();
                jws.mark_critical(PLUGIN);
            },
            cose: |cose| {
                cose.set(PLUGIN, "".into());
                cose.mark_critical(PLUGIN);
            },
            error: EnvelopeError::Plugin("".parse::<PluginName>().unwrap_err()),
        },
        Rule {
            jws: |jws| {
                jws.protected[PLUGIN] = "../../bin/sh".into();
                jws.mark_critical(PLUGIN);
            },
            cose: |cose| {
                cose.set(PLUGIN, "../../bin/sh".into());
                cose.mark_critical(PLUGIN);
            },
            error: EnvelopeError::Plugin("../../bin/sh".parse::<PluginName>().unwrap_err()),
        },
        Rule {
            jws: |jws| {
                jws.protected[MIN_VERSION] = "1.0.0".into();
                jws.mark_critical(MIN_VERSION);
            },
            cose: |cose| {
                cose.set(MIN_VERSION, "1.0.0".into());
                cose.mark_critical(MIN_VERSION);
            },
            error: EnvelopeError::Missing(PLUGIN),
        },
        Rule {
            jws: |jws| {
                jws.protected[PLUGIN] = "example".into();
                jws.mark_critical(PLUGIN);
                jws.protected[MIN_VERSION] = "1.0.0".into();
            },
            cose: |cose| {
                cose.set(PLUGIN, "example".into());
                cose.mark_critical(PLUGIN);
                cose.set(MIN_VERSION, "1.0.0".into());
            },
            error: EnvelopeError::NotCritical(MIN_VERSION),
        },
        Rule {
            jws: |jws| {
                jws.protected[PLUGIN] = "example".into();
                jws.mark_critical(PLUGIN);
                jws.protected[MIN_VERSION] = "1.0".into();
                jws.mark_critical(MIN_VERSION);
            },
            cose: |cose| {
                cose.set(PLUGIN, "example".into());
                cose.mark_critical(PLUGIN);
                cose.set(MIN_VERSION, "1.0".into());
                cose.mark_critical(MIN_VERSION);
            },
            error: EnvelopeError::PluginVersion("1.0".into()),
        },
        Rule {
            jws: |jws| {
                jws.protected["alg"] = "ES384".into();
            },
            cose: |cose| cose.set(1, (-35).into()),
            error: EnvelopeError::AlgorithmMismatch {
                header: "ES384",
                key: "ES256",
            },
        },
        Rule {
            jws: |jws| jws.payload = b"{}".to_vec(),
            cose: |cose| cose.payload = b"{}".to_vec(),
            error: EnvelopeError::Payload("targetArtifact is missing".into()),
        },
    ];
    for (number, rule) in rules.into_iter().enumerate() {
        let (mut jws, mut cose) = (jws(), cose());
        (rule.jws)(&mut jws);
        (rule.cose)(&mut cose);
        let (jws, cose) = (jws.envelope(), cose.envelope());
        let found = verify(Format::Cose, &cose).map(drop);
        assert_eq!(found, Err(rule.error.clone()), "rule {number}, COSE");
        let found = verify(Format::Jws, &jws).map(drop);
        match found {
            // A number where text should be is found before it is read as a time.
            Err(EnvelopeError::Type { name, .. }) if rule.error == EnvelopeError::Time(name) => {}
            _ => assert_eq!(found, Err(rule.error), "rule {number}, JWS"),
        }
    }
}

#[test]
fn payloads_are_strict_json_with_a_descriptor() {
    let digest = image().digest.to_string();
    for target in [
        r#"{"targetArtifact": null}"#.to_owned(),
        format!(r#"{{"targetArtifact": {{"mediaType": "a/b", "digest": "{digest}"}}}}"#),
        format!(r#"{{"targetArtifact": {{"mediaType": "a/b", "digest": "{digest}", "size": -1}}}}"#),
        format!(r#"{{"targetArtifact": {{"mediaType": "a/b", "digest": "{digest}", "size": 1.5}}}}"#),
        format!(r#"{{"targetArtifact": {{"mediaType": "a", "digest": "{digest}", "size": 5}}}}"#),
        r#"{"targetArtifact": {"mediaType": "a/b", "digest": "sha256:ab", "size": 5}}"#.to_owned(),
        format!(r#"{{"targetArtifact": {{"mediaType": "a/b", "digest": "{digest}", "size": 5, "size": 5}}}}"#),
        format!(r#"{{"targetArtifact": {{"mediaType": "a/b", "digest": "{digest}", "size": 5}}}} "x""#),
        "\u{feff}{}".to_owned(),
    ] {
        let mut jws = jws();
        jws.payload = target.clone().into_bytes();
        let found = verify(Format::Jws, &jws.envelope()).map(drop);
        assert!(matches!(found, Err(EnvelopeError::Payload(_))), "{target}: {found:?}");
    }
    // Other fields are ignored, annotations included.
    let mut jws = jws();
    let mut payload: Json = serde_json::from_slice(&jws.payload).unwrap();
    payload["other"] = 1.into();
    payload["targetArtifact"]["annotations"] = json!({"key": "value"});
    jws.payload = payload.to_string().into_bytes();
    assert_eq!(verify(Format::Jws, &jws.envelope()).unwrap().target(), &image());
}

/// What is wrong with the JSON around a JWS.
#[test]
fn jws_documents_are_flattened_strict_json() {
    let envelope: Json = serde_json::from_slice(&jws().envelope()).unwrap();
    let with = |change: &dyn Fn(&mut Json)| {
        let mut changed = envelope.clone();
        change(&mut changed);
        verify(Format::Jws, changed.to_string().as_bytes()).map(drop)
    };
    let object = |name, expected| Err(EnvelopeError::Type { name, expected });
    assert_eq!(with(&|_| ()), Ok(()));
    assert_eq!(with(&|json| json["unknown"] = 1.into()), Ok(()));
    for name in ["payload", "protected", "header", "signature"] {
        let missing = with(&|json| {
            json.as_object_mut().unwrap().remove(name);
        });
        assert_eq!(missing, Err(EnvelopeError::Missing(name)));
    }
    for name in ["payload", "protected", "signature"] {
        let number = with(&|json| json[name] = 1.into());
        assert_eq!(number, object(name, "text"));
        let padded = with(&|json| json[name] = format!("{}=", json[name].as_str().unwrap()).into());
        assert_eq!(padded, Err(EnvelopeError::Base64(name)), "padding");
        let standard = with(&|json| json[name] = "+/+/".into());
        assert_eq!(standard, Err(EnvelopeError::Base64(name)), "the alphabet of base64");
    }
    assert_eq!(with(&|json| *json = json!([])), object("the envelope", "an object"));
    assert_eq!(with(&|json| json["header"] = json!([])), object("header", "an object"));
    assert!(matches!(
        with(&|json| json["signatures"] = json!([])),
        Err(EnvelopeError::Malformed(_))
    ));
    assert_eq!(
        with(&|json| json["header"]["alg"] = "ES256".into()),
        Err(EnvelopeError::DuplicateHeader("alg".into()))
    );
    assert_eq!(
        with(&|json| json["protected"] = URL_SAFE_NO_PAD.encode("[]").into()),
        object("protected", "an object")
    );
    let text = |json: &Json| {
        let twice = json.to_string().replacen('{', r#"{"payload":"","#, 1);
        verify(Format::Jws, twice.as_bytes()).map(drop)
    };
    assert!(matches!(text(&envelope), Err(EnvelopeError::Malformed(_))));
    assert!(matches!(
        verify(Format::Jws, &[jws().envelope(), b"{}".to_vec()].concat()).map(drop),
        Err(EnvelopeError::Malformed(_))
    ));
}

#[test]
fn jws_protected_headers_have_no_duplicate_keys() {
    let jws = jws();
    let twice = jws.protected.to_string().replacen('{', r#"{"alg":"ES256","#, 1);
    let found = verify(Format::Jws, &jws.envelope_of(&twice)).map(drop);
    assert_eq!(
        found,
        Err(EnvelopeError::Malformed("duplicate key alg at line 1 column 20".into()))
    );
}

#[test]
fn jws_chains_are_arrays_of_standard_base64() {
    let with = |x5c: Option<Json>| {
        let mut jws = jws();
        match x5c {
            Some(x5c) => jws.header["x5c"] = x5c,
            None => drop(jws.header.as_object_mut().unwrap().remove("x5c")),
        }
        verify(Format::Jws, &jws.envelope()).map(drop)
    };
    let leaf = STANDARD.encode(&CHAIN[0]);
    assert_eq!(with(None), Err(EnvelopeError::Missing("x5c")));
    for not_an_array in [json!(leaf), json!({}), Json::Null] {
        assert!(matches!(
            with(Some(not_an_array)),
            Err(EnvelopeError::Type { name: "x5c", .. })
        ));
    }
    assert!(matches!(
        with(Some(json!([1]))),
        Err(EnvelopeError::Type { name: "x5c", .. })
    ));
    for text in [
        format!("{leaf}="),
        // One byte without its padding; whether the leaf has any depends on its length.
        "YQ".to_owned(),
        format!("{leaf}\n"),
        URL_SAFE_NO_PAD.encode(b"\xff\xff"),
    ] {
        assert_eq!(with(Some(json!([text]))), Err(EnvelopeError::Base64("x5c")));
    }
    assert!(matches!(
        with(Some(json!([leaf, STANDARD.encode("no certificate")]))),
        Err(EnvelopeError::Certificate { position: 1, .. })
    ));
    assert_eq!(
        with(Some(json!(vec![leaf; MAX_CHAIN_LENGTH + 1]))),
        Err(EnvelopeError::TooManyCertificates(MAX_CHAIN_LENGTH + 1))
    );
    assert!(matches!(with(Some(json!([]))), Err(EnvelopeError::Chain(_))));
}

#[test]
fn algorithms_that_are_not_in_the_table_are_refused_by_name() {
    for name in ["none", "HS256", "RS256", "EdDSA", "ES256K", "es256", ""] {
        let mut jws = jws();
        jws.protected["alg"] = name.into();
        assert_eq!(
            verify(Format::Jws, &jws.envelope()).map(drop),
            Err(EnvelopeError::Algorithm(name.into()))
        );
    }
    // EdDSA, RS256 and HMAC; the last is unassigned.
    for number in [-8, -257, 5, -65_000] {
        let mut cose = cose();
        cose.set(1, number.into());
        let found = verify(Format::Cose, &cose.envelope()).map(drop);
        assert!(
            matches!(found, Err(EnvelopeError::Algorithm(_) | EnvelopeError::Malformed(_))),
            "{number}: {found:?}"
        );
    }
}

#[test]
fn cose_messages_are_tagged_sign1_with_an_attached_payload() {
    let envelope = cose().envelope();
    let Cbor::Tag(_, message) = ciborium::from_reader(&envelope[..]).unwrap() else {
        unreachable!()
    };
    let parts = message.as_array().unwrap().clone();
    let with = |tag: Option<u64>, parts: Vec<Cbor>| {
        let array = Cbor::Array(parts);
        let value = tag.map_or(array.clone(), |tag| Cbor::Tag(tag, Box::new(array)));
        verify(Format::Cose, &encode(&value)).map(drop)
    };
    assert_eq!(with(Some(18), parts.clone()), Ok(()));
    let malformed = |found: Result<(), EnvelopeError>| assert!(matches!(found, Err(EnvelopeError::Malformed(_))));
    malformed(with(None, parts.clone()));
    malformed(with(Some(98), parts.clone()));
    malformed(with(Some(18), parts[..3].to_vec()));
    malformed(with(Some(18), [&parts[..], &[Cbor::Null]].concat()));
    // A detached payload.
    let detached = [&parts[..2], &[Cbor::Null], &parts[3..]].concat();
    assert_eq!(with(Some(18), detached), Err(EnvelopeError::Missing("the payload")));
    // A protected header that is no byte string, an empty one, and one that is no map.
    malformed(with(Some(18), [&[Cbor::Map(vec![])], &parts[1..]].concat()));
    malformed(with(Some(18), [&[Cbor::Bytes(vec![])], &parts[1..]].concat()));
    malformed(with(Some(18), [&[Cbor::Bytes(vec![0x80])], &parts[1..]].concat()));
    malformed(verify(Format::Cose, &[&envelope[..], &[0]].concat()).map(drop));
    malformed(verify(Format::Cose, &envelope[..envelope.len() - 1]).map(drop));
}

/// The library behind the parser accepts all of these.
#[test]
fn cose_protected_headers_are_strict_cbor() {
    let cose = cose();
    let protected = encode(&Cbor::Map(cose.protected.clone()));
    assert_eq!(verify(Format::Cose, &cose.envelope_of(&protected)).map(drop), Ok(()));
    let entries = &protected[1..];
    let last = encode(&Cbor::Text("x".into()));
    for (what, header) in [
        ("an indefinite length", [&[0xbf][..], entries, &[0xff]].concat()),
        ("a long head", [&[0xb8, 6][..], entries].concat()),
        (
            "a duplicate key",
            [&[0xa8][..], entries, &last, &[0], &last, &[0]].concat(),
        ),
        (
            "a duplicate key in an attribute that nobody reads",
            [&[0xa7][..], entries, &last, &[0xa2, 1, 0, 1, 0]].concat(),
        ),
        ("something behind it", [&protected[..], &[0]].concat()),
    ] {
        let found = verify(Format::Cose, &cose.envelope_of(&header)).map(drop);
        assert!(matches!(found, Err(EnvelopeError::Malformed(_))), "{what}: {found:?}");
    }
}

#[test]
fn cose_unprotected_headers_decide_nothing() {
    let with = |label: Cbor, value: Cbor| {
        let mut cose = cose();
        cose.unprotected.push((label, value));
        verify(Format::Cose, &cose.envelope()).map(drop)
    };
    let duplicate = |name: &str| Err(EnvelopeError::DuplicateHeader(name.into()));
    assert_eq!(with(1.into(), (-7).into()), duplicate("alg"));
    assert_eq!(with(2.into(), Cbor::Array(vec![SCHEME.into()])), duplicate("crit"));
    assert_eq!(with(3.into(), "application/json".into()), duplicate("content type"));
    assert_eq!(with(SCHEME.into(), "notary.x509".into()), duplicate(SCHEME));
    assert!(matches!(
        with(33.into(), Cbor::Array(vec![])),
        Err(EnvelopeError::Malformed(_))
    ));
    assert_eq!(
        with(TOKEN.into(), "text".into()),
        Err(EnvelopeError::Type {
            name: TOKEN,
            expected: "a byte string",
        })
    );
}

#[test]
fn cose_chains_are_arrays_of_byte_strings() {
    let with = |x5chain: Option<Cbor>| {
        let mut cose = cose();
        cose.unprotected.remove(0);
        cose.unprotected.extend(x5chain.map(|x5chain| (33.into(), x5chain)));
        verify(Format::Cose, &cose.envelope()).map(drop)
    };
    assert_eq!(with(None), Err(EnvelopeError::Missing("x5chain")));
    // The short form of one certificate (RFC 9360 §2) is not the Notary Project's.
    for other in [
        Cbor::Bytes(CHAIN[0].clone()),
        Cbor::Array(vec!["text".into()]),
        Cbor::Null,
    ] {
        assert!(matches!(
            with(Some(other)),
            Err(EnvelopeError::Type { name: "x5chain", .. })
        ));
    }
    let many = vec![Cbor::Bytes(CHAIN[0].clone()); MAX_CHAIN_LENGTH + 1];
    assert_eq!(
        with(Some(Cbor::Array(many))),
        Err(EnvelopeError::TooManyCertificates(MAX_CHAIN_LENGTH + 1))
    );
}

#[test]
fn cose_times_are_whole_seconds_with_tag_1() {
    for value in [
        Cbor::Integer(time(SIGNED_AT).as_second().into()),
        Cbor::Tag(0, Box::new(SIGNED_AT.into())),
        Cbor::Tag(1, Box::new(Cbor::Float(1.5))),
        Cbor::Tag(1, Box::new(Cbor::Float(1.0))),
        Cbor::Tag(1, Box::new(i64::MAX.into())),
        Cbor::Tag(1, Box::new(SIGNED_AT.into())),
        Cbor::Tag(1001, Box::new(1.into())),
    ] {
        let mut cose = cose();
        cose.set(SIGNING_TIME, value.clone());
        assert_eq!(
            verify(Format::Cose, &cose.envelope()).map(drop),
            Err(EnvelopeError::Time(SIGNING_TIME)),
            "{value:?}"
        );
    }
}

#[test]
fn larger_envelopes_than_the_limit_are_not_read() {
    for format in [Format::Jws, Format::Cose] {
        let found = verify(format, &vec![b' '; MAX_ENVELOPE_SIZE + 1]).map(drop);
        assert_eq!(found, Err(EnvelopeError::TooLarge(MAX_ENVELOPE_SIZE + 1)));
        assert!(found.unwrap_err().is_limit());
    }
}

#[test]
fn a_signature_by_another_key_does_not_verify() {
    let other = rcgen::KeyPair::generate().unwrap();
    let envelope = jws().envelope();
    let mut json: Json = serde_json::from_slice(&envelope).unwrap();
    let signed = format!(
        "{}.{}",
        json["protected"].as_str().unwrap(),
        json["payload"].as_str().unwrap()
    );
    let signature = sign_with(EnvelopeAlgorithm::Es256, &other, signed.as_bytes());
    json["signature"] = URL_SAFE_NO_PAD.encode(signature).into();
    assert_eq!(
        verify(Format::Jws, json.to_string().as_bytes()).map(drop),
        Err(EnvelopeError::Signature(BadSignature))
    );
}

/// The twin of every admit: with any byte changed the envelope is refused, or the same content is verified (the change
/// was in a header that nobody signs, and that nobody reads).
#[test]
fn an_envelope_with_one_byte_changed_verifies_nothing_else() {
    for (format, envelope) in [(Format::Jws, jws().envelope()), (Format::Cose, cose().envelope())] {
        let good = verify(format, &envelope).unwrap();
        let mut refused = 0;
        for position in 0..envelope.len() {
            let mut changed = envelope.clone();
            changed[position] ^= 1;
            match verify(format, &changed) {
                Err(_) => refused += 1,
                Ok(verified) => {
                    assert_eq!(verified.target(), good.target());
                    assert_eq!(verified.attributes(), good.attributes());
                    assert_eq!(verified.chain(), good.chain());
                }
            }
        }
        // Only the signing agent's name and value are free.
        assert!(
            envelope.len() - refused < 64,
            "{format:?}: {refused} of {}",
            envelope.len()
        );
    }
}
