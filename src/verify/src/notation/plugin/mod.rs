//! Verification plugins: which one a signature asks for, what it is asked, and what its answers mean
//! (notation spec: plugin-extensibility.md#verification-extensibility).
//!
//! A plugin is a program of the node. Whoever gathers runs it; here is the contract with it. What a plugin writes is
//! judged like anything from outside, except that its word on the checks that it was asked for counts: that is what it
//! is installed for.

mod error_response;
mod metadata;
mod request;
#[cfg(test)]
mod tests;
mod verdict;

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use semver::Version;
use serde_json::{Map, Value};
use thiserror::Error;

pub use self::error_response::{ErrorCode, ErrorResponse};
pub use self::metadata::PluginMetadata;
pub use self::verdict::PluginVerdict;
use crate::code::Code;
use crate::envelope::{AttributeName, AttributeValue, EnvelopeError, RequiredPlugin, VerifiedEnvelope, json};
use crate::limits::{MAX_ENVELOPE_VALUES, MAX_NESTING, MAX_PLUGIN_OUTPUT};
use crate::notation::identity::TrustedIdentities;
use crate::notation::statement::{Checks, RevocationAction};
use crate::query::{Answers, PluginName, Query, Unanswered};
use crate::untrusted::Untrusted;

/// The version of the contract that is spoken here.
pub const CONTRACT_VERSION: &str = "1.0";

/// A check that a plugin can take over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Capability {
    /// Whether the signer is a trusted identity.
    TrustedIdentity,
    /// Whether anything about the signature is revoked.
    RevocationCheck,
}

impl Capability {
    /// All of them, as they are asked.
    pub const ALL: [Self; 2] = [Self::TrustedIdentity, Self::RevocationCheck];

    /// The name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::TrustedIdentity => "SIGNATURE_VERIFIER.TRUSTED_IDENTITY",
            Self::RevocationCheck => "SIGNATURE_VERIFIER.REVOCATION_CHECK",
        }
    }

    fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|capability| capability.as_str() == name)
    }
}

impl fmt::Display for Capability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why what a plugin wrote is not an answer.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PluginError {
    /// The contract's version is another.
    #[error("it does not support version {CONTRACT_VERSION} of the plugin contract")]
    ContractVersion,
    /// Not one JSON value without duplicate keys.
    #[error("its answer is not valid JSON: {0}")]
    Malformed(Untrusted),
    /// A result that it must give is absent.
    #[error("it has no result for {0}, which it was asked for")]
    MissingResult(Capability),
    /// It is another plugin.
    #[error("it calls itself {0}")]
    Name(Untrusted),
    /// A field is absent or of another type.
    #[error("its answer has no {name}, or {name} is not {expected}")]
    Field {
        /// The field.
        name: &'static str,
        /// What it should be.
        expected: &'static str,
    },
    /// More values than [`MAX_ENVELOPE_VALUES`].
    #[error("its answer has more than {MAX_ENVELOPE_VALUES} values")]
    TooManyValues,
    /// Deeper than [`MAX_NESTING`].
    #[error("its answer nests deeper than {MAX_NESTING}")]
    TooDeep,
    /// More bytes than [`MAX_PLUGIN_OUTPUT`].
    #[error("its answer has {0} bytes, more than {MAX_PLUGIN_OUTPUT}")]
    TooLarge(usize),
    /// An attribute that it had to process was not.
    #[error("it did not process the critical attribute {0}")]
    Unprocessed(Untrusted),
    /// A result that nobody asked for.
    #[error("it has a result for {0}, which it was not asked for")]
    UnexpectedResult(Untrusted),
    /// The plugin's version is no semantic version.
    #[error("its version {0} is not a semantic version")]
    Version(Untrusted),
}

/// Why the plugin that a signature asks for cannot be heard. Nothing about the signature follows from it.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UnavailablePlugin {
    /// It is not configured, does not run, or fails.
    #[error("the plugin {plugin}: {}", .cause.reason)]
    Unanswered {
        /// The plugin.
        plugin: PluginName,
        /// Why there is no answer.
        cause: Unanswered,
    },
    /// What it says is no answer.
    #[error("the plugin {plugin}: {cause}")]
    Answer {
        /// The plugin.
        plugin: PluginName,
        /// What is wrong with its answer.
        cause: PluginError,
    },
    /// It can verify nothing.
    #[error("the plugin {plugin} has no capability to verify signatures")]
    NoCapability {
        /// The plugin.
        plugin: PluginName,
    },
    /// It is older than the signature asks for.
    #[error("the signature asks for the plugin {plugin} in version {minimum} or later, but {version} is installed")]
    TooOld {
        /// The plugin.
        plugin: PluginName,
        /// The installed version.
        version: Untrusted,
        /// The oldest version that will do.
        minimum: Untrusted,
    },
}

impl UnavailablePlugin {
    /// The stable code.
    pub const fn code(&self) -> Code {
        match self {
            Self::Unanswered { cause, .. } => cause.code,
            Self::Answer {
                cause: PluginError::TooDeep | PluginError::TooLarge(_) | PluginError::TooManyValues,
                ..
            } => Code::LimitExceeded,
            Self::Answer { .. } | Self::NoCapability { .. } | Self::TooOld { .. } => Code::PluginUnavailable,
        }
    }
}

/// A plugin's "no", in its own words.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("the plugin {plugin} says: {reason}")]
pub struct PluginRefusal {
    /// The plugin.
    pub plugin: PluginName,
    /// Its reason.
    pub reason: Untrusted,
}

/// What a plugin found. That there is one means that every critical attribute of the signature was processed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginFinding {
    /// The plugin.
    pub plugin: PluginName,
    /// Its version.
    pub version: Version,
    /// Whether the signer is a trusted identity; none where the plugin does not judge that, and the policy's own names
    /// decide.
    pub trusted_identity: Option<Result<(), PluginRefusal>>,
    /// Whether anything is revoked; none where the plugin does not judge that or the level skips it.
    pub revocation: Option<Result<(), PluginRefusal>>,
}

/// What becomes of a signature's plugin and its critical attributes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Consultation {
    /// The signature asks for no plugin, and has no critical attribute that would need one.
    NotAsked,
    /// A critical attribute that nobody understands: there is no plugin for it, or no plugin can be told of it.
    Unsupported(AttributeName),
    /// These must be answered first.
    Needs(BTreeSet<Query>),
    /// The plugin cannot be heard.
    Unavailable(UnavailablePlugin),
    /// The plugin was heard, or has nothing to be asked.
    Answered(PluginFinding),
}

/// Consults the plugin that a signature asks for. Only for a signature that is anchored in a trust store: else strangers
/// would choose what a node runs.
///
/// An answer that was kept does not count: nobody signed it. How long a fresh one counts is the gatherer's affair, within
/// [`crate::limits::PLUGIN_VERDICT_LIFETIME`].
pub fn consult(
    envelope: &VerifiedEnvelope,
    identities: &TrustedIdentities,
    checks: &Checks,
    answers: &Answers,
) -> Consultation {
    let attributes = envelope.attributes();
    let Some(required) = &attributes.plugin else {
        return match attributes.critical.first() {
            Some(attribute) => Consultation::Unsupported(attribute.name.clone()),
            None => Consultation::NotAsked,
        };
    };
    let untellable = attributes.critical.iter().find(|attribute| {
        matches!(attribute.name, AttributeName::Number(_)) || attribute.value == AttributeValue::Composite
    });
    if let Some(attribute) = untellable {
        return Consultation::Unsupported(attribute.name.clone());
    }
    match hear(envelope, required, identities, checks, answers) {
        Ok(finding) => Consultation::Answered(finding),
        Err(Unheard::Needs(query)) => Consultation::Needs(BTreeSet::from([query])),
        Err(Unheard::Unavailable(unavailable)) => Consultation::Unavailable(unavailable),
    }
}

enum Unheard {
    Needs(Query),
    Unavailable(UnavailablePlugin),
}

fn hear(
    envelope: &VerifiedEnvelope,
    required: &RequiredPlugin,
    identities: &TrustedIdentities,
    checks: &Checks,
    answers: &Answers,
) -> Result<PluginFinding, Unheard> {
    let plugin = &required.name;
    let bad_answer = |cause| {
        Unheard::Unavailable(UnavailablePlugin::Answer {
            plugin: plugin.clone(),
            cause,
        })
    };
    let metadata = ask(Query::PluginMetadata(plugin.clone()), plugin, answers)?;
    let metadata = PluginMetadata::parse(&metadata, plugin).map_err(bad_answer)?;
    if let Some(minimum) = &required.minimum_version
        // Precedence leaves out the build: notation compares the same way.
        && metadata.version.cmp_precedence(minimum).is_lt()
    {
        return Err(Unheard::Unavailable(UnavailablePlugin::TooOld {
            plugin: plugin.clone(),
            version: metadata.version.to_string().into(),
            minimum: minimum.to_string().into(),
        }));
    }
    if metadata.capabilities.is_empty() {
        return Err(Unheard::Unavailable(UnavailablePlugin::NoCapability {
            plugin: plugin.clone(),
        }));
    }
    let mut asked = metadata.capabilities;
    if checks.revocation == RevocationAction::Skip {
        asked.remove(&Capability::RevocationCheck);
    }
    let critical = &envelope.attributes().critical;
    let verdict = if asked.is_empty() && critical.is_empty() {
        PluginVerdict::default()
    } else {
        // Where no check is left, the plugin still has to process the attributes. notation lets them pass unseen.
        let query = Query::PluginVerdict {
            plugin: plugin.clone(),
            request: request::verify_signature(envelope, required, identities, &asked).into(),
        };
        let answer = ask(query, plugin, answers)?;
        PluginVerdict::parse(&answer, &asked, critical).map_err(bad_answer)?
    };
    let result = |capability| {
        let result = verdict.results.get(&capability)?;
        Some(result.clone().map_err(|reason| PluginRefusal {
            plugin: plugin.clone(),
            reason,
        }))
    };
    Ok(PluginFinding {
        plugin: plugin.clone(),
        version: metadata.version,
        trusted_identity: result(Capability::TrustedIdentity),
        revocation: result(Capability::RevocationCheck),
    })
}

fn ask(query: Query, plugin: &PluginName, answers: &Answers) -> Result<Arc<[u8]>, Unheard> {
    match answers.get(&query) {
        None => Err(Unheard::Needs(query)),
        Some(answered) => answered.now.clone().map_err(|cause| {
            Unheard::Unavailable(UnavailablePlugin::Unanswered {
                plugin: plugin.clone(),
                cause,
            })
        }),
    }
}

/// Reads the one JSON object that a plugin writes. Fields that are not known are ignored: later minor versions of the
/// contract add some.
fn read(bytes: &[u8]) -> Result<Map<String, Value>, PluginError> {
    if bytes.len() > MAX_PLUGIN_OUTPUT {
        return Err(PluginError::TooLarge(bytes.len()));
    }
    let value = json::parse(bytes).map_err(|error| match error {
        EnvelopeError::TooDeep => PluginError::TooDeep,
        EnvelopeError::TooManyValues => PluginError::TooManyValues,
        EnvelopeError::Malformed(reason) => PluginError::Malformed(reason),
        other => PluginError::Malformed(other.to_string().into()),
    })?;
    match value {
        Value::Object(object) => Ok(object),
        _ => Err(PluginError::Malformed("not an object".into())),
    }
}

/// An array of text. Absent and null are empty: what plugins written in Go write for an empty list.
fn texts<'a>(object: &'a Map<String, Value>, name: &'static str) -> Result<Vec<&'a str>, PluginError> {
    const EXPECTED: &str = "an array of text";
    let wrong = || PluginError::Field {
        name,
        expected: EXPECTED,
    };
    match object.get(name) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(value) => {
            let items = value.as_array().ok_or_else(wrong)?.iter();
            items.map(|item| item.as_str().ok_or_else(wrong)).collect()
        }
    }
}
