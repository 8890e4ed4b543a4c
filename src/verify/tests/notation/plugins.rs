//! What the plugin that a signature asks for is asked, and what follows from its answers.

use std::collections::BTreeSet;

use assay_verify::code::Code;
use assay_verify::envelope::{AttributeName, Envelope, Format, VerifiedEnvelope};
use assay_verify::notation::identity::{IdentityKinds, TrustedIdentities};
use assay_verify::notation::plugin::{Consultation, PluginError, PluginFinding, UnavailablePlugin, consult};
use assay_verify::notation::statement::{Checks, RevocationAction};
use assay_verify::query::{Answered, Answers, PluginName, Query, Unanswered};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ciborium::Value as Cbor;
use serde_json::{Value as Json, json};

use crate::support::*;

const PLUGIN: &str = "io.cncf.notary.verificationPlugin";
const MIN_VERSION: &str = "io.cncf.notary.verificationPluginMinVersion";
const NAME: &str = "com.example.plugin";
const PROFILE: &str = "com.example.profile";
const IDENTITY: &str = "SIGNATURE_VERIFIER.TRUSTED_IDENTITY";
const REVOCATION: &str = "SIGNATURE_VERIFIER.REVOCATION_CHECK";
const ARN: &str = "com.example.signer:arn:x";

const SKIP_REVOCATION: Checks = Checks {
    revocation: RevocationAction::Skip,
    ..Checks::STRICT
};

fn name() -> PluginName {
    NAME.parse().unwrap()
}

fn plugin_jws() -> Jws {
    let mut jws = jws();
    jws.protected[PLUGIN] = NAME.into();
    jws.mark_critical(PLUGIN);
    jws
}

fn with(mut jws: Jws, attribute: &str, value: Json) -> Jws {
    jws.protected[attribute] = value;
    jws.mark_critical(attribute);
    jws
}

fn verified(jws: &Jws) -> VerifiedEnvelope {
    Envelope::parse(Format::Jws, &jws.envelope()).unwrap().verify().unwrap()
}

fn answered(answer: &Json) -> Answered {
    Answered {
        now: Ok(answer.to_string().into_bytes().into()),
        kept: None,
    }
}

fn metadata(version: &str, capabilities: &[&str]) -> Json {
    json!({
        "name": NAME,
        "version": version,
        "supportedContractVersions": ["1.0"],
        "capabilities": capabilities,
    })
}

/// Consults with a plugin of these capabilities until its verdict is asked for. Returns the request and the consultation
/// on this verdict.
fn hear(envelope: &VerifiedEnvelope, checks: &Checks, capabilities: &[&str], verdict: &Json) -> (Json, Consultation) {
    let identities = TrustedIdentities::parse(&[ARN], IdentityKinds::Standard).unwrap();
    let mut answers = Answers::default();
    let query = Query::PluginMetadata(name());
    assert_eq!(
        consult(envelope, &identities, checks, &answers),
        Consultation::Needs(BTreeSet::from([query.clone()]))
    );
    answers.insert(query, answered(&metadata("1.0.0", capabilities)));
    let Consultation::Needs(queries) = consult(envelope, &identities, checks, &answers) else {
        panic!("no verdict is asked for");
    };
    let query = queries.first().unwrap();
    let Query::PluginVerdict { plugin, request } = query else {
        panic!("{query}");
    };
    assert_eq!((plugin, queries.len()), (&name(), 1));
    answers.insert(query.clone(), answered(verdict));
    (
        serde_json::from_str(request).unwrap(),
        consult(envelope, &identities, checks, &answers),
    )
}

/// The consultation when the plugin says this about itself.
fn met(envelope: &VerifiedEnvelope, checks: &Checks, metadata: &Json) -> Consultation {
    let mut answers = Answers::default();
    answers.insert(Query::PluginMetadata(name()), answered(metadata));
    consult(envelope, &TrustedIdentities::Any, checks, &answers)
}

#[track_caller]
fn finding(consultation: Consultation) -> PluginFinding {
    match consultation {
        Consultation::Answered(finding) => finding,
        other => panic!("{other:?}"),
    }
}

#[track_caller]
fn unavailable(consultation: Consultation) -> UnavailablePlugin {
    match consultation {
        Consultation::Unavailable(unavailable) => unavailable,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_signature_without_plugin_and_critical_attributes_needs_nobody() {
    let consultation = consult(
        &verified(&jws()),
        &TrustedIdentities::Any,
        &Checks::STRICT,
        &Answers::default(),
    );
    assert_eq!(consultation, Consultation::NotAsked);
}

#[test]
fn a_critical_attribute_without_a_plugin_is_understood_by_nobody() {
    let envelope = verified(&with(jws(), PROFILE, json!("x")));
    let consultation = consult(&envelope, &TrustedIdentities::Any, &Checks::AUDIT, &Answers::default());
    assert_eq!(consultation, Consultation::Unsupported(PROFILE.into()));
}

#[test]
fn the_request_is_the_one_of_the_specification() {
    let jws = with(plugin_jws().by_signing_authority(), MIN_VERSION, json!("0.0.1"));
    let mut jws = with(with(jws, "b", json!(null)), PROFILE, json!("arn"));
    jws.protected["note"] = "not critical".into();
    let verdict = json!({
        "verificationResults": {IDENTITY: {"success": true}, REVOCATION: {"success": true}},
        "processedAttributes": [PROFILE, "b"],
    });
    let (request, consultation) = hear(&verified(&jws), &Checks::STRICT, &[IDENTITY, REVOCATION], &verdict);
    let expected = json!({
        "contractVersion": "1.0",
        "signature": {
            "criticalAttributes": {
                "contentType": "application/vnd.cncf.notary.payload.v1+json",
                "signingScheme": "notary.x509.signingAuthority",
                "expiry": EXPIRY,
                "authenticSigningTime": SIGNED_AT,
                "verificationPlugin": NAME,
                "verificationPluginMinVersion": "0.0.1",
                "extendedAttributes": {"b": null, PROFILE: "arn"},
            },
            "unprocessedAttributes": ["b", PROFILE],
            "certificateChain": CHAIN.iter().map(|der| STANDARD.encode(der)).collect::<Vec<_>>(),
        },
        "trustPolicy": {"trustedIdentities": [ARN], "signatureVerification": [IDENTITY, REVOCATION]},
    });
    assert_eq!(request, expected);
    let finding = finding(consultation);
    assert_eq!(
        (finding.trusted_identity, finding.revocation),
        (Some(Ok(())), Some(Ok(())))
    );
}

#[test]
fn the_request_is_the_same_text_for_the_same_question() {
    let one = with(with(plugin_jws(), "a", json!(1)), "b", json!(true));
    let other = with(with(plugin_jws(), "b", json!(true)), "a", json!(1));
    let text = |jws: &Jws| match met(&verified(jws), &Checks::STRICT, &metadata("1.0.0", &[IDENTITY])) {
        Consultation::Needs(queries) => queries,
        other => panic!("{other:?}"),
    };
    assert_eq!(text(&one), text(&other));
}

#[test]
fn both_formats_ask_the_same() {
    let mut cose = cose();
    for (attribute, value) in [
        (PLUGIN, Cbor::from(NAME)),
        ("number", Cbor::from(-7)),
        ("truth", Cbor::Bool(true)),
        ("text", "t".into()),
    ] {
        cose.set(attribute, value);
        cose.mark_critical(attribute);
    }
    let cose = Envelope::parse(Format::Cose, &cose.envelope())
        .unwrap()
        .verify()
        .unwrap();
    let jws = with(plugin_jws(), "number", json!(-7));
    let jws = verified(&with(with(jws, "truth", json!(true)), "text", json!("t")));
    let ask = |envelope| met(envelope, &Checks::STRICT, &metadata("1.0.0", &[IDENTITY]));
    assert!(matches!(ask(&cose), Consultation::Needs(_)));
    assert_eq!(ask(&cose), ask(&jws));
}

#[test]
fn an_attribute_that_no_plugin_can_be_told_is_unsupported() {
    let ask = |envelope: &VerifiedEnvelope| met(envelope, &Checks::STRICT, &metadata("1.0.0", &[IDENTITY]));
    for value in [json!([]), json!({"a": 1})] {
        let envelope = verified(&with(plugin_jws(), "a", value));
        assert_eq!(ask(&envelope), Consultation::Unsupported("a".into()));
    }
    let mut plain = cose();
    plain.set(PLUGIN, NAME.into());
    plain.mark_critical(PLUGIN);
    for value in [
        Cbor::Bytes(vec![1]),
        Cbor::Array(Vec::new()),
        Cbor::Tag(1, Box::new(1.into())),
        Cbor::Float(f64::NAN),
        Cbor::Integer(ciborium::value::Integer::try_from(-(1_i128 << 64)).unwrap()),
    ] {
        let mut cose = plain.clone();
        cose.set("a", value.clone());
        cose.mark_critical("a");
        match Envelope::parse(Format::Cose, &cose.envelope()) {
            Ok(envelope) => assert_eq!(ask(&envelope.verify().unwrap()), Consultation::Unsupported("a".into())),
            // What the encoding itself does not allow is refused before.
            Err(error) => assert!(matches!(value, Cbor::Float(_)), "{value:?}: {error}"),
        }
    }
    let mut cose = plain;
    // A number for private use: of the others the library knows those of the registry.
    const PRIVATE: i64 = -70_000;
    cose.set(PRIVATE, "number".into());
    let (_, critical) = cose.protected.iter_mut().find(|(label, _)| *label == 2.into()).unwrap();
    critical.as_array_mut().unwrap().push(PRIVATE.into());
    let envelope = Envelope::parse(Format::Cose, &cose.envelope())
        .unwrap()
        .verify()
        .unwrap();
    assert_eq!(
        ask(&envelope),
        Consultation::Unsupported(AttributeName::Number(PRIVATE))
    );
}

#[test]
fn only_what_the_plugin_can_and_the_level_asks_is_asked() {
    let envelope = verified(&plugin_jws());
    for (checks, capabilities, asked) in [
        (Checks::STRICT, &[IDENTITY][..], &[IDENTITY][..]),
        (Checks::STRICT, &[REVOCATION], &[REVOCATION]),
        (Checks::AUDIT, &[REVOCATION, IDENTITY], &[IDENTITY, REVOCATION]),
        (SKIP_REVOCATION, &[REVOCATION, IDENTITY], &[IDENTITY]),
    ] {
        let results: serde_json::Map<String, Json> = asked
            .iter()
            .map(|name| ((*name).to_owned(), json!({"success": true})))
            .collect();
        let verdict = json!({"verificationResults": results});
        let (request, consultation) = hear(&envelope, &checks, capabilities, &verdict);
        assert_eq!(request["trustPolicy"]["signatureVerification"], json!(asked));
        let finding = finding(consultation);
        assert_eq!(finding.trusted_identity.is_some(), asked.contains(&IDENTITY));
        assert_eq!(finding.revocation.is_some(), asked.contains(&REVOCATION));
    }
}

#[test]
fn a_plugin_whose_checks_are_all_skipped_still_processes_the_attributes() {
    let bare = met(
        &verified(&plugin_jws()),
        &SKIP_REVOCATION,
        &metadata("1.0.0", &[REVOCATION]),
    );
    let heard = finding(bare);
    assert_eq!((heard.trusted_identity, heard.revocation), (None, None));

    let envelope = verified(&with(plugin_jws(), PROFILE, json!("x")));
    let (request, consultation) = hear(&envelope, &SKIP_REVOCATION, &[REVOCATION], &json!({}));
    assert_eq!(request["trustPolicy"]["signatureVerification"], json!([]));
    let cause = PluginError::Unprocessed(PROFILE.into());
    assert_eq!(
        unavailable(consultation),
        UnavailablePlugin::Answer { plugin: name(), cause }
    );
    let processed = json!({"processedAttributes": [PROFILE]});
    finding(hear(&envelope, &SKIP_REVOCATION, &[REVOCATION], &processed).1);
}

#[test]
fn a_plugin_s_no_keeps_its_reason() {
    let verdict = json!({"verificationResults": {
        IDENTITY: {"success": false, "reason": "the profile \u{1b}[2J is unknown"},
        REVOCATION: {"success": true},
    }});
    let envelope = verified(&plugin_jws());
    let finding = finding(hear(&envelope, &Checks::STRICT, &[IDENTITY, REVOCATION], &verdict).1);
    assert_eq!(
        finding.trusted_identity.unwrap().unwrap_err().to_string(),
        r"the plugin com.example.plugin says: the profile \u{1b}[2J is unknown"
    );
    assert_eq!(finding.revocation, Some(Ok(())));
}

#[test]
fn the_minimum_version_compares_as_semantic_versions_do() {
    for (installed, minimum, good) in [
        ("1.0.0", "1.0.0", true),
        ("1.0.0", "0.0.1", true),
        ("1.0.0", "1.0.11", false),
        ("1.0.9", "1.0.11", false),
        ("2.0.0", "10.0.0", false),
        ("1.0.0-rc.1", "1.0.0", false),
        ("1.0.0", "1.0.0-rc.1", true),
        ("1.0.0+a", "1.0.0+b", true),
    ] {
        let envelope = verified(&with(plugin_jws(), MIN_VERSION, json!(minimum)));
        let consultation = met(&envelope, &Checks::STRICT, &metadata(installed, &[IDENTITY]));
        if good {
            assert!(matches!(consultation, Consultation::Needs(_)), "{installed} {minimum}");
        } else {
            let unavailable = unavailable(consultation);
            assert_eq!(unavailable.code(), Code::PluginUnavailable);
            assert!(
                matches!(unavailable, UnavailablePlugin::TooOld { .. }),
                "{installed} {minimum}"
            );
        }
    }
}

#[test]
fn a_plugin_that_cannot_be_heard_is_unavailable() {
    let envelope = verified(&plugin_jws());
    let incapable = met(
        &envelope,
        &Checks::STRICT,
        &metadata("1.0.0", &["SIGNATURE_GENERATOR.RAW"]),
    );
    assert_eq!(
        unavailable(incapable),
        UnavailablePlugin::NoCapability { plugin: name() }
    );
    let other = met(&envelope, &Checks::STRICT, &json!({"name": "other"}));
    assert_eq!(
        unavailable(other).to_string(),
        "the plugin com.example.plugin: it calls itself other"
    );
    let cause = Unanswered {
        code: Code::LimitExceeded,
        reason: "it writes too much".into(),
    };
    let mut answers = Answers::default();
    let silent = Answered {
        now: Err(cause),
        // Nobody signed what it said before.
        kept: Some(metadata("1.0.0", &[IDENTITY]).to_string().into_bytes().into()),
    };
    answers.insert(Query::PluginMetadata(name()), silent);
    let silent = unavailable(consult(&envelope, &TrustedIdentities::Any, &Checks::STRICT, &answers));
    assert_eq!(silent.code(), Code::LimitExceeded);
    assert_eq!(silent.to_string(), "the plugin com.example.plugin: it writes too much");
}
