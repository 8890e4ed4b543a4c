//! What a plugin says about itself (notation spec: plugin-extensibility.md#plugin-metadata).

use std::collections::BTreeSet;

use semver::Version;
use serde_json::Value;

use super::{CONTRACT_VERSION, Capability, PluginError, read, texts};
use crate::query::PluginName;

/// What a plugin is and can do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PluginMetadata {
    /// Its version.
    pub version: Version,
    /// What it can verify. What else it can do, signing above all, is not of interest.
    pub capabilities: BTreeSet<Capability>,
}

impl PluginMetadata {
    /// Reads the answer to `get-plugin-metadata`. Description and address are not asked for: nothing depends on them.
    ///
    /// # Errors
    ///
    /// When it is malformed, another plugin's, or one of a plugin that speaks another version of the contract.
    pub fn parse(bytes: &[u8], plugin: &PluginName) -> Result<Self, PluginError> {
        let object = read(bytes)?;
        let text = |name: &'static str| {
            object
                .get(name)
                .and_then(Value::as_str)
                .ok_or(PluginError::Field { name, expected: "text" })
        };
        let name = text("name")?;
        if name != plugin.as_str() {
            return Err(PluginError::Name(name.into()));
        }
        if !texts(&object, "supportedContractVersions")?.contains(&CONTRACT_VERSION) {
            return Err(PluginError::ContractVersion);
        }
        let version = text("version")?;
        Ok(Self {
            version: Version::parse(version).map_err(|_| PluginError::Version(version.into()))?,
            capabilities: texts(&object, "capabilities")?
                .into_iter()
                .filter_map(Capability::from_name)
                .collect(),
        })
    }
}
