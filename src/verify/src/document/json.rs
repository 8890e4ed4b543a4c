//! JSON into a tree.
//!
//! serde_json decides whether the text is JSON: strict grammar, bounded depth, nothing after the value. jsonc-parser,
//! whose grammar is wider, then only tells where each value stands.

use jsonc_parser::ast::{Object, ObjectPropName, Value as JsonValue};
use jsonc_parser::common::Ranged as _;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};

use super::report::{Report, quoted};
use super::tree::{Entry, Node, Table, Value};

/// Reads the document. Go's decoder, notation's, matches keys without regard to case and takes the last of several; so
/// keys that differ in case only, or not at all, mean different things to different readers and are errors here.
pub(crate) fn parse_json(report: &mut Report<'_>, text: &str) -> Option<Node> {
    if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
        report.error(
            offset(text, error.line(), error.column()),
            format!("malformed JSON: {}", reason(&error)),
        );
        return None;
    }
    match parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default()).map(|parsed| parsed.value) {
        Ok(Some(value)) => Some(convert(report, &value)),
        Ok(None) => {
            report.error(0, "malformed JSON: there is no value");
            None
        }
        Err(error) => {
            report.error(error.range().start, "malformed JSON");
            None
        }
    }
}

fn convert(report: &mut Report<'_>, node: &JsonValue<'_>) -> Node {
    let at = node.range().start;
    let value = match node {
        JsonValue::StringLit(text) => Value::Text(text.value.to_string()),
        JsonValue::NumberLit(number) => number
            .value
            .parse()
            .map_or(Value::Other("a number with a fraction"), Value::Integer),
        JsonValue::BooleanLit(boolean) => Value::Boolean(boolean.value),
        JsonValue::Array(array) => Value::List(array.elements.iter().map(|item| convert(report, item)).collect()),
        JsonValue::Object(object) => Value::Table(convert_object(report, object)),
        JsonValue::NullKeyword(_) => Value::Other("null"),
    };
    Node { at, value }
}

fn convert_object(report: &mut Report<'_>, object: &Object<'_>) -> Table {
    let mut seen = std::collections::BTreeMap::new();
    let mut entries = Vec::with_capacity(object.properties.len());
    for property in &object.properties {
        let (key, at) = match &property.name {
            ObjectPropName::String(name) => (name.value.to_string(), name.range.start),
            ObjectPropName::Word(name) => (name.value.to_owned(), name.range.start),
        };
        let node = convert(report, &property.value);
        match seen.insert(fold_key(&key), key.clone()) {
            None => entries.push(Entry { key, at, node }),
            Some(first) if first == key => report.error_with_help(
                at,
                format!("duplicate key {}", quoted(&key)),
                "readers differ in which one counts: keep one",
            ),
            Some(first) => report.error_with_help(
                at,
                format!("key {} differs from {} in case only", quoted(&key), quoted(&first)),
                "notation reads both as the same key: keep one",
            ),
        }
    }
    Table { entries }
}

/// The key as Go's decoder compares it: without case, with the two letters outside ASCII that fold into it.
pub(crate) fn fold_key(key: &str) -> String {
    key.chars()
        .map(|character| match character {
            '\u{17f}' => 's',
            '\u{212a}' => 'k',
            other => other.to_ascii_lowercase(),
        })
        .collect()
}

/// serde_json counts bytes from 1, and 0 for the place before the first.
fn offset(text: &str, line: usize, column: usize) -> usize {
    let start: usize = text
        .split_inclusive('\n')
        .take(line.saturating_sub(1))
        .map(str::len)
        .sum();
    (start + column.saturating_sub(1)).min(text.len())
}

/// The message without the place, which the diagnostic has.
fn reason(error: &serde_json::Error) -> String {
    let message = error.to_string();
    let reason = message.split(" at line ").next().unwrap_or_default();
    crate::untrusted::Untrusted::from(reason).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn check(text: &str, expected: &[&str]) {
        let mut report = Report::new("f.json", text);
        parse_json(&mut report, text);
        let found: Vec<String> = report.finish().iter().map(ToString::to_string).collect();
        assert_eq!(found, expected);
    }

    #[test]
    fn refuses_what_is_not_json_at_its_place() {
        check("{\"a\": 1,\n}", &["f.json:2:1: error: malformed JSON: trailing comma"]);
        check("{} {}", &["f.json:1:4: error: malformed JSON: trailing characters"]);
        check("// c\n{}", &["f.json:1:1: error: malformed JSON: expected value"]);
        check("", &["f.json:1:1: error: malformed JSON: EOF while parsing a value"]);
    }

    #[test]
    fn refuses_deep_nesting_without_a_stack_overflow() {
        let text = "[".repeat(100_000);
        let mut report = Report::new("f.json", &text);
        assert!(parse_json(&mut report, &text).is_none());
    }

    #[test]
    fn refuses_duplicate_keys_and_case_variants() {
        check(
            r#"{"level": 1, "level": 2, "LEVEL": 3, "ſ": 1, "S": 2}"#,
            &[
                "f.json:1:14: error: duplicate key \"level\"\n  help: readers differ in which one counts: keep one",
                "f.json:1:26: error: key \"LEVEL\" differs from \"level\" in case only\n  help: notation reads both as the \
                 same key: keep one",
                "f.json:1:46: error: key \"S\" differs from \"\\u{17f}\" in case only\n  help: notation reads both as the \
                 same key: keep one",
            ],
        );
    }
}
