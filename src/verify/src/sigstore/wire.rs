//! JSON into structs, for documents whose every field is known.

use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::envelope::json;
use crate::untrusted::Untrusted;

/// Parses exactly one value, of at most `values`, without a key twice. Only the fields named in `lists` may have arrays, of
/// no arrays: serde takes an array for a struct, its items for the fields in their order, and other readers do not.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], values: usize, lists: &[&str]) -> Result<T, Untrusted> {
    let value = json::parse_within(bytes, values).map_err(|error| Untrusted::from(error.to_string()))?;
    if has_stray_list(&value, false, lists) {
        return Err("there is an array where an object has to be".into());
    }
    serde_json::from_value(value).map_err(|error| error.to_string().into())
}

/// The depth is bounded by whoever parsed the value.
fn has_stray_list(value: &Value, may_be_list: bool, lists: &[&str]) -> bool {
    match value {
        Value::Array(items) => !may_be_list || items.iter().any(|item| has_stray_list(item, false, lists)),
        Value::Object(fields) => {
            let mut fields = fields.iter();
            fields.any(|(name, value)| has_stray_list(value, lists.contains(&name.as_str()), lists))
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_array_is_no_struct() {
        for (json, is_good) in [
            (r#"{"list":[{"a":1},{"a":[1]}]}"#, false),
            (r#"{"list":[{"a":1},{"a":{"list":[]}}]}"#, true),
            (r#"{"list":[[]]}"#, false),
            (r#"{"a":{"b":[]}}"#, false),
            (r#"{"a":{"b":1}}"#, true),
            ("[]", false),
        ] {
            assert_eq!(
                parse::<Value>(json.as_bytes(), 100, &["list"]).is_ok(),
                is_good,
                "{json}"
            );
        }
        assert!(parse::<Value>(br#"{"a":1,"a":1}"#, 100, &[]).is_err());
        assert!(parse::<Value>(br#"{"a":1}"#, 1, &[]).is_err());
    }
}
