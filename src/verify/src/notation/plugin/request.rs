//! The request of `verify-signature` (notation spec: plugin-extensibility.md#verify-signature-command).

use std::collections::{BTreeMap, BTreeSet};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Value, json};

use super::{CONTRACT_VERSION, Capability};
use crate::envelope::{AttributeName, AttributeValue, PAYLOAD, RequiredPlugin, SigningScheme, VerifiedEnvelope};
use crate::notation::identity::TrustedIdentities;

/// The request as JSON, without the plugin's own configuration. The same signature under the same terms has the same
/// text, so it can name the question.
///
/// The caller has refused attributes whose name is no text or whose value is no primitive.
pub(super) fn verify_signature(
    envelope: &VerifiedEnvelope,
    required: &RequiredPlugin,
    identities: &TrustedIdentities,
    asked: &BTreeSet<Capability>,
) -> String {
    let attributes = envelope.attributes();
    let mut critical = BTreeMap::from([
        ("contentType", Value::from(PAYLOAD)),
        ("signingScheme", attributes.scheme.to_string().into()),
        ("verificationPlugin", required.name.as_str().into()),
    ]);
    if let Some(version) = &required.minimum_version {
        critical.insert("verificationPluginMinVersion", version.to_string().into());
    }
    if let Some(expiry) = attributes.expiry {
        critical.insert("expiry", expiry.to_string().into());
    }
    if let SigningScheme::SigningAuthority { authentic_signing_time } = attributes.scheme {
        critical.insert("authenticSigningTime", authentic_signing_time.to_string().into());
    }
    // Ordered by name, whatever the order of the envelope. notation also tells of the attributes that are not critical;
    // the specification does not.
    let extended: BTreeMap<&str, Value> = attributes
        .critical
        .iter()
        .filter_map(|attribute| match &attribute.name {
            AttributeName::Text(name) => Some((&**name, value(&attribute.value)?)),
            AttributeName::Number(_) => None,
        })
        .collect();
    let unprocessed: Vec<&str> = extended.keys().copied().collect();
    critical.insert("extendedAttributes", json!(extended));
    let chain = envelope
        .chain()
        .certificates()
        .map(|certificate| STANDARD.encode(certificate.der()));
    json!({
        "contractVersion": CONTRACT_VERSION,
        "signature": {
            "criticalAttributes": critical,
            "unprocessedAttributes": unprocessed,
            "certificateChain": chain.collect::<Vec<_>>(),
        },
        "trustPolicy": {
            "trustedIdentities": identities.texts().collect::<Vec<_>>(),
            "signatureVerification": asked.iter().map(|capability| capability.as_str()).collect::<Vec<_>>(),
        },
    })
    .to_string()
}

fn value(value: &AttributeValue) -> Option<Value> {
    match value {
        AttributeValue::Boolean(value) => Some((*value).into()),
        AttributeValue::Composite => None,
        AttributeValue::Null => Some(Value::Null),
        AttributeValue::Number(number) => Some(number.clone().into()),
        AttributeValue::Text(text) => Some(text.as_str().into()),
    }
}
