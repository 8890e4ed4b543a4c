use std::collections::BTreeMap;

use serde_json::json;

use super::*;
use crate::envelope::CriticalAttribute;

fn name() -> PluginName {
    "com.example.plugin".parse().unwrap()
}

fn metadata(changes: Value) -> Vec<u8> {
    let mut metadata = json!({
        "name": "com.example.plugin",
        "description": "an example",
        "version": "1.0.0",
        "url": "https://example",
        "supportedContractVersions": ["1.0"],
        "capabilities": ["SIGNATURE_VERIFIER.TRUSTED_IDENTITY", "SIGNATURE_GENERATOR.RAW"],
    });
    for (key, value) in changes.as_object().unwrap() {
        metadata[key] = value.clone();
    }
    metadata.to_string().into_bytes()
}

#[test]
fn reads_metadata_and_keeps_what_can_verify() {
    let changes = json!({"version": "1.2.3-rc.1+build", "later": {"contract": "versions"}});
    let read = PluginMetadata::parse(&metadata(changes), &name()).unwrap();
    assert_eq!(read.version.to_string(), "1.2.3-rc.1+build");
    assert_eq!(read.capabilities, BTreeSet::from([Capability::TrustedIdentity]));
}

#[test]
fn a_plugin_that_can_verify_nothing_says_so_by_having_no_capability() {
    for capabilities in [json!([]), Value::Null, json!(["SIGNATURE_GENERATOR.RAW"])] {
        let read = PluginMetadata::parse(&metadata(json!({"capabilities": capabilities})), &name()).unwrap();
        assert!(read.capabilities.is_empty());
    }
}

#[test]
fn refuses_metadata_that_is_not_that_of_this_plugin() {
    let field = |name, expected| PluginError::Field { name, expected };
    for (changes, error) in [
        (
            json!({"name": "com.example.other"}),
            PluginError::Name("com.example.other".into()),
        ),
        (json!({"name": null}), field("name", "text")),
        (json!({"version": "1.0"}), PluginError::Version("1.0".into())),
        (json!({"version": "v1.0.0"}), PluginError::Version("v1.0.0".into())),
        (json!({"version": "01.0.0"}), PluginError::Version("01.0.0".into())),
        (json!({"version": 1}), field("version", "text")),
        (
            json!({"supportedContractVersions": ["2.0"]}),
            PluginError::ContractVersion,
        ),
        (json!({"supportedContractVersions": []}), PluginError::ContractVersion),
        (json!({"supportedContractVersions": null}), PluginError::ContractVersion),
        (
            json!({"supportedContractVersions": "1.0"}),
            field("supportedContractVersions", "an array of text"),
        ),
        (json!({"capabilities": [1]}), field("capabilities", "an array of text")),
    ] {
        assert_eq!(PluginMetadata::parse(&metadata(changes), &name()), Err(error));
    }
}

#[test]
fn refuses_output_that_is_not_one_object() {
    for bytes in [
        "",
        "null",
        "[]",
        "{} {}",
        "debug: starting\n{}",
        r#"{"name":"a","name":"b"}"#,
    ] {
        let error = PluginMetadata::parse(bytes.as_bytes(), &name()).unwrap_err();
        assert!(matches!(error, PluginError::Malformed(_)), "{bytes}: {error}");
    }
    let long = vec![b' '; MAX_PLUGIN_OUTPUT + 1];
    assert_eq!(
        PluginMetadata::parse(&long, &name()),
        Err(PluginError::TooLarge(MAX_PLUGIN_OUTPUT + 1))
    );
    let deep = format!(
        r#"{{"a":{}1{}}}"#,
        "[".repeat(MAX_NESTING + 1),
        "]".repeat(MAX_NESTING + 1)
    );
    assert_eq!(
        PluginMetadata::parse(deep.as_bytes(), &name()),
        Err(PluginError::TooDeep)
    );
    let many = format!(r#"{{"capabilities":[{}"a"]}}"#, r#""a","#.repeat(MAX_ENVELOPE_VALUES));
    assert_eq!(
        PluginMetadata::parse(many.as_bytes(), &name()),
        Err(PluginError::TooManyValues)
    );
}

fn attributes(names: &[&str]) -> Vec<CriticalAttribute> {
    let attribute = |name: &&str| CriticalAttribute {
        name: AttributeName::from(*name),
        value: AttributeValue::Null,
    };
    names.iter().map(attribute).collect()
}

fn verdict(
    answer: &Value,
    asked: &[Capability],
    attributes: &[CriticalAttribute],
) -> Result<PluginVerdict, PluginError> {
    let asked = asked.iter().copied().collect();
    PluginVerdict::parse(answer.to_string().as_bytes(), &asked, attributes)
}

const IDENTITY: &str = "SIGNATURE_VERIFIER.TRUSTED_IDENTITY";
const REVOCATION: &str = "SIGNATURE_VERIFIER.REVOCATION_CHECK";

#[test]
fn reads_a_result_for_every_check_that_was_asked() {
    let answer = json!({
        "verificationResults": {IDENTITY: {"success": true, "later": 1}, REVOCATION: {"success": false, "reason": "no"}},
        "processedAttributes": ["a", "b", "more"],
        "later": null,
    });
    let read = verdict(&answer, &Capability::ALL, &attributes(&["b", "a"])).unwrap();
    let expected = [
        (Capability::TrustedIdentity, Ok(())),
        (Capability::RevocationCheck, Err("no".into())),
    ];
    assert_eq!(read.results, BTreeMap::from(expected));
}

#[test]
fn a_failure_without_a_reason_is_a_failure() {
    for reason in [json!(null), json!(""), json!(7)] {
        let answer = json!({"verificationResults": {IDENTITY: {"success": false, "reason": reason}}});
        let read = verdict(&answer, &[Capability::TrustedIdentity], &[]).unwrap();
        let expected = Err("it gives no reason".into());
        assert_eq!(read.results[&Capability::TrustedIdentity], expected);
    }
}

#[test]
fn refuses_a_verdict_that_leaves_something_open() {
    let success = || json!({"success": true});
    let field = |name, expected| PluginError::Field { name, expected };
    for (answer, error) in [
        (json!({}), PluginError::MissingResult(Capability::TrustedIdentity)),
        (
            json!({"verificationResults": null}),
            PluginError::MissingResult(Capability::TrustedIdentity),
        ),
        (
            json!({"verificationResults": []}),
            field("verificationResults", "an object"),
        ),
        (
            json!({"verificationResults": {IDENTITY: success(), REVOCATION: success()}}),
            PluginError::UnexpectedResult(REVOCATION.into()),
        ),
        (
            json!({"verificationResults": {IDENTITY: success(), "x": {}}}),
            PluginError::UnexpectedResult("x".into()),
        ),
        (
            json!({"verificationResults": {IDENTITY: null}}),
            field("success", "a boolean"),
        ),
        (
            json!({"verificationResults": {IDENTITY: {"success": "true"}}}),
            field("success", "a boolean"),
        ),
        (
            json!({"verificationResults": {IDENTITY: {"Success": true}}}),
            field("success", "a boolean"),
        ),
        (
            json!({"verificationResults": {IDENTITY: success()}}),
            PluginError::Unprocessed("a".into()),
        ),
        (
            json!({"verificationResults": {IDENTITY: success()}, "processedAttributes": ["A"]}),
            PluginError::Unprocessed("a".into()),
        ),
        (
            json!({"verificationResults": {IDENTITY: success()}, "processedAttributes": {"a": true}}),
            field("processedAttributes", "an array of text"),
        ),
    ] {
        let found = verdict(&answer, &[Capability::TrustedIdentity], &attributes(&["a"]));
        assert_eq!(found, Err(error), "{answer}");
    }
}

#[test]
fn attributes_must_be_processed_when_no_check_is_asked_too() {
    let open = json!({"verificationResults": {}, "processedAttributes": []});
    assert_eq!(
        verdict(&open, &[], &attributes(&["a"])),
        Err(PluginError::Unprocessed("a".into()))
    );
    let done = json!({"verificationResults": {}, "processedAttributes": ["a"]});
    assert!(verdict(&done, &[], &attributes(&["a"])).is_ok());
}

#[test]
fn an_attribute_without_a_text_for_a_name_is_never_processed() {
    let number = CriticalAttribute {
        name: AttributeName::Number(99),
        value: AttributeValue::Null,
    };
    let answer = json!({"processedAttributes": ["99", "#99"]});
    assert_eq!(
        verdict(&answer, &[], &[number]),
        Err(PluginError::Unprocessed("#99".into()))
    );
}

#[test]
fn reads_a_failure_in_the_plugin_s_own_words() {
    let read = |text: &str| ErrorResponse::parse(text.as_bytes());
    let throttled = read(r#"{"errorCode":"THROTTLED","errorMessage":"slow\ndown","errorMetadata":{"a":"b"}}"#).unwrap();
    assert_eq!(throttled.code, ErrorCode::Throttled);
    assert_eq!(throttled.reason.to_string(), r"THROTTLED: slow\ndown");
    let unknown = read(r#"{"errorCode":"WHAT","errorMessage":"x"}"#).unwrap();
    assert_eq!(unknown.code, ErrorCode::Error);
    assert!(read("panic: oh").is_err());
    assert!(read(r#"{"errorMessage":"x"}"#).is_err());
}
