//! What a plugin writes to its standard error when it fails (notation spec: plugin-extensibility.md#plugin-contract).

use serde_json::Value;

use super::{PluginError, read};
use crate::untrusted::Untrusted;

/// Why a plugin fails, as the contract classes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ErrorCode {
    /// What the plugin asks in turn denied it access.
    AccessDenied,
    /// Anything else.
    Error,
    /// What the plugin asks in turn asked it to slow down.
    Throttled,
    /// The plugin's own time ran out.
    Timeout,
    /// The plugin does not speak this version of the contract.
    UnsupportedContractVersion,
    /// The plugin finds a fault in the request.
    ValidationError,
}

impl ErrorCode {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::AccessDenied,
        Self::Error,
        Self::Throttled,
        Self::Timeout,
        Self::UnsupportedContractVersion,
        Self::ValidationError,
    ];

    /// The name in the contract.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::AccessDenied => "ACCESS_DENIED",
            Self::Error => "ERROR",
            Self::Throttled => "THROTTLED",
            Self::Timeout => "TIMEOUT",
            Self::UnsupportedContractVersion => "UNSUPPORTED_CONTRACT_VERSION",
            Self::ValidationError => "VALIDATION_ERROR",
        }
    }
}

/// A plugin's failure in its own words. Its metadata, which may be anything, is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ErrorResponse {
    /// The class; [`ErrorCode::Error`] where the contract does not know it.
    pub code: ErrorCode,
    /// The class and the message, in one line.
    pub reason: Untrusted,
}

impl ErrorResponse {
    /// Reads it.
    ///
    /// # Errors
    ///
    /// When it is not an object with a code.
    pub fn parse(bytes: &[u8]) -> Result<Self, PluginError> {
        let object = read(bytes)?;
        let code = object.get("errorCode").and_then(Value::as_str);
        let code = code.ok_or(PluginError::Field {
            name: "errorCode",
            expected: "text",
        })?;
        let code = ErrorCode::ALL
            .into_iter()
            .find(|known| known.as_str() == code)
            .unwrap_or(ErrorCode::Error);
        let message = object.get("errorMessage").and_then(Value::as_str).unwrap_or_default();
        Ok(Self {
            code,
            reason: format!("{}: {message}", code.as_str()).into(),
        })
    }
}
