//! Bills of materials: whether a predicate is one, and in which format.

use serde_json::Value;

use crate::untrusted::Untrusted;

/// The format of a bill of materials.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Format {
    /// CycloneDX in JSON.
    CycloneDx,
    /// SPDX 2 in JSON, or as tags and values.
    Spdx,
}

impl Format {
    /// Every format.
    pub const ALL: [Self; 2] = [Self::CycloneDx, Self::Spdx];

    /// Its name in a policy.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::CycloneDx => "cyclonedx",
            Self::Spdx => "spdx",
        }
    }

    /// Whether the predicate is in this format. What it lists is not looked at.
    pub(super) fn check(self, statement: &Value) -> Result<(), Untrusted> {
        let predicate = statement.get("predicate").unwrap_or(&Value::Null);
        let text = |name: &str| predicate.get(name).and_then(Value::as_str).unwrap_or_default();
        let is_it = match self {
            // CycloneDX 1.x: both are required.
            Self::CycloneDx => text("bomFormat") == "CycloneDX" && !text("specVersion").is_empty(),
            // SPDX 2.3 §6.1, §6.3. cosign puts tags and values, which are no JSON, into the predicate as text.
            Self::Spdx => match predicate {
                Value::String(tags) => tags.lines().any(|line| line.starts_with("SPDXVersion: SPDX-2.")),
                _ => text("spdxVersion").starts_with("SPDX-2.") && text("SPDXID") == "SPDXRef-DOCUMENT",
            },
        };
        if is_it {
            Ok(())
        } else {
            Err(format!("its predicate is not in the format {}", self.as_str()).into())
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tells_the_formats_by_their_own_marks() {
        let spdx = json!({"spdxVersion": "SPDX-2.3", "SPDXID": "SPDXRef-DOCUMENT", "packages": []});
        let tags = json!("# comment\nSPDXVersion: SPDX-2.2\nDataLicense: CC0-1.0\n");
        let cyclonedx = json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": []});
        for (predicate, expected) in [
            (spdx, Some(Format::Spdx)),
            (tags, Some(Format::Spdx)),
            (cyclonedx, Some(Format::CycloneDx)),
            (json!({"spdxVersion": "SPDX-2.3"}), None),
            (json!({"bomFormat": "CycloneDX"}), None),
            (json!({}), None),
            (json!(null), None),
            (json!("{}"), None),
        ] {
            let statement = json!({ "predicate": predicate });
            for format in Format::ALL {
                assert_eq!(
                    format.check(&statement).is_ok(),
                    expected == Some(format),
                    "{statement}"
                );
            }
        }
        assert!(Format::Spdx.check(&json!({})).is_err());
    }
}
