//! What a plugin says about a signature (notation spec: plugin-extensibility.md#verify-signature-command).

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::{Capability, PluginError, read, texts};
use crate::envelope::{AttributeName, CriticalAttribute};
use crate::untrusted::Untrusted;

/// A plugin's word on everything that it was asked: one result for each check, and every attribute processed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PluginVerdict {
    /// For each check nothing, or why it fails.
    pub results: BTreeMap<Capability, Result<(), Untrusted>>,
}

impl PluginVerdict {
    /// Reads the answer to `verify-signature`, asked for these checks about a signature with these attributes.
    ///
    /// # Errors
    ///
    /// When it is malformed, lacks a result or has one that nobody asked for, or leaves an attribute unprocessed.
    /// notation overlooks results that it did not ask for; the specification does not.
    pub fn parse(
        bytes: &[u8],
        asked: &BTreeSet<Capability>,
        attributes: &[CriticalAttribute],
    ) -> Result<Self, PluginError> {
        let object = read(bytes)?;
        let mut results = BTreeMap::new();
        match object.get("verificationResults") {
            // What plugins written in Go write for an empty map.
            None | Some(Value::Null) => {}
            Some(Value::Object(entries)) => {
                for (name, entry) in entries {
                    let capability = Capability::from_name(name)
                        .filter(|capability| asked.contains(capability))
                        .ok_or_else(|| PluginError::UnexpectedResult(name.as_str().into()))?;
                    results.insert(capability, result(entry)?);
                }
            }
            Some(_) => {
                return Err(PluginError::Field {
                    name: "verificationResults",
                    expected: "an object",
                });
            }
        }
        if let Some(missing) = asked.iter().find(|capability| !results.contains_key(capability)) {
            return Err(PluginError::MissingResult(*missing));
        }
        let processed = texts(&object, "processedAttributes")?;
        let is_processed = |name: &AttributeName| match name {
            AttributeName::Text(text) => processed.contains(&&**text),
            AttributeName::Number(_) => false,
        };
        match attributes.iter().find(|attribute| !is_processed(&attribute.name)) {
            Some(attribute) => Err(PluginError::Unprocessed((&attribute.name).into())),
            None => Ok(Self { results }),
        }
    }
}

fn result(entry: &Value) -> Result<Result<(), Untrusted>, PluginError> {
    let success = entry.get("success").and_then(Value::as_bool);
    let success = success.ok_or(PluginError::Field {
        name: "success",
        expected: "a boolean",
    })?;
    if success {
        return Ok(Ok(()));
    }
    // A "no" without a reason is a "no".
    let reason = entry.get("reason").and_then(Value::as_str).unwrap_or_default();
    Ok(Err(match reason {
        "" => "it gives no reason".into(),
        reason => reason.into(),
    }))
}
