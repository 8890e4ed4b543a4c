//! What plugins say about signatures.

use assay_verify::envelope::{AttributeValue, CriticalAttribute};
use assay_verify::notation::plugin::{Capability, PluginVerdict};
use serde_json::Value;

use crate::{Target, seeds, shown};

/// Answers to `verify-signature`.
pub const TARGET: Target = Target {
    name: "plugin_verdict",
    seeds: || {
        seeds::texts(&[
            r#"{"verificationResults":{"SIGNATURE_VERIFIER.TRUSTED_IDENTITY":{"success":true,"reason":"r"},"SIGNATURE_VERIFIER.REVOCATION_CHECK":{"success":false,"reason":"r"}},"processedAttributes":["a","b"]}"#,
            r#"{"verificationResults":{"SIGNATURE_VERIFIER.TRUSTED_IDENTITY":{"success":true}},"processedAttributes":null}"#,
            r#"{"verificationResults":null,"processedAttributes":["a"]}"#,
            r#"{"verificationResults":{},"processedAttributes":["b",1]}"#,
        ])
    },
    words: &[
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b":",
        b",",
        b"null",
        b"true",
        b"false",
        b"\"success\"",
        b"\"Success\"",
        b"\"reason\"",
        b"\"SIGNATURE_VERIFIER.TRUSTED_IDENTITY\"",
        b"\"SIGNATURE_VERIFIER.REVOCATION_CHECK\"",
        b"\"verificationResults\"",
        b"\"processedAttributes\"",
        b"\\u0061",
        b"\\ud800",
        b"\xff",
        b"[[[[",
    ],
    check,
    inputs: 6_000,
};

/// A verdict that is accepted has one result for each check that was asked, true only where the plugin wrote true, and
/// names every attribute.
pub fn check(input: &[u8]) -> String {
    let attribute = |name: &str| CriticalAttribute {
        name: name.into(),
        value: AttributeValue::Null,
    };
    let mut outcome = String::new();
    for asked in [&[][..], &[Capability::TrustedIdentity], &Capability::ALL] {
        for names in [&[][..], &["a"], &["a", "b"]] {
            let attributes: Vec<_> = names.iter().map(|name| attribute(name)).collect();
            match PluginVerdict::parse(input, &asked.iter().copied().collect(), &attributes) {
                Ok(verdict) => {
                    let parsed: Value = serde_json::from_slice(input).expect("it is JSON");
                    assert!(verdict.results.keys().eq(asked));
                    for (capability, result) in &verdict.results {
                        let written = &parsed["verificationResults"][capability.as_str()]["success"];
                        assert_eq!(*written, Value::Bool(result.is_ok()));
                    }
                    for name in names {
                        let processed = parsed["processedAttributes"].as_array().expect("it is a list");
                        assert!(processed.iter().any(|item| item == name));
                    }
                    outcome.push('+');
                }
                Err(error) => outcome.push_str(&shown::error(&error)),
            }
        }
    }
    outcome
}
