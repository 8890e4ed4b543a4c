//! What plugins say about themselves, and their errors.

use assay_verify::notation::plugin::{ErrorResponse, PluginMetadata};
use assay_verify::query::PluginName;

use crate::{Target, seeds, shown};

/// Answers to `get-plugin-metadata`, and what is written to standard error.
pub const TARGET: Target = Target {
    name: "plugin_metadata",
    seeds: || {
        seeds::texts(&[
            r#"{"name":"a","description":"d","version":"1.0.0","url":"u","supportedContractVersions":["1.0"],"capabilities":["SIGNATURE_VERIFIER.TRUSTED_IDENTITY","SIGNATURE_VERIFIER.REVOCATION_CHECK"]}"#,
            r#"{"name":"a","version":"1.0.0-rc.1+b","supportedContractVersions":["1.0","2.0"],"capabilities":["SIGNATURE_GENERATOR.RAW"]}"#,
            r#"{"name":"b","version":"1","supportedContractVersions":null,"capabilities":[]}"#,
            r#"{"errorCode":"ACCESS_DENIED","errorMessage":"m","errorMetadata":{"k":"v"}}"#,
        ])
    },
    words: super::JSON,
    check,
    inputs: 6_000,
};

/// Metadata that are accepted are those of the plugin that was asked, and can be compared with a minimum version.
pub fn check(input: &[u8]) -> String {
    let plugin: PluginName = "a".parse().expect("it is a name");
    let error = match ErrorResponse::parse(input) {
        Ok(response) => {
            shown::line(&response.reason.to_string());
            format!("{:?}", response.code)
        }
        Err(error) => shown::error(&error),
    };
    match PluginMetadata::parse(input, &plugin) {
        Ok(metadata) => {
            assert_eq!(
                metadata.version.to_string().parse().ok().as_ref(),
                Some(&metadata.version)
            );
            let parsed: serde_json::Value = serde_json::from_slice(input).expect("it is JSON");
            assert_eq!(parsed["name"], "a");
            format!("{:?} {error}", metadata.capabilities)
        }
        Err(found) => shown::error(&found) + &error,
    }
}
