//! JSON into a tree.
//!
//! serde_json decides whether the text is JSON: strict grammar, bounded depth, nothing after the value. jsonc-parser,
//! whose grammar is wider, then only tells where each value stands.
//!
//! A tree takes several times the memory of its text. A document that may be long is read in [`Part`]s: each of them
//! becomes a tree, is walked, and is gone before the next.

use std::collections::BTreeMap;
use std::fmt;

use jsonc_parser::ast::{Object, ObjectPropName, Value as JsonValue};
use jsonc_parser::common::Ranged as _;
use jsonc_parser::{CollectOptions, ParseOptions, parse_to_ast};
use serde::Deserialize;
use serde::de::{Deserializer, MapAccess, Visitor};
use serde_json::value::RawValue;

use super::report::{Report, quoted};
use super::tree::{Entry, Node, Table, Value};

/// Reads the document. Go's decoder, notation's, matches keys without regard to case and takes the last of several; so
/// keys that differ in case only, or not at all, mean different things to different readers and are errors here.
pub(crate) fn parse_json(report: &mut Report<'_>, text: &str) -> Option<Node> {
    Part::whole(text).read(report)
}

/// A value of a document that is not read yet.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Part<'t> {
    /// Where in the document it stands.
    pub(crate) at: usize,
    text: &'t str,
}

/// A member of an object that is read in parts.
#[derive(Clone, Debug)]
pub(crate) struct Member<'t> {
    pub(crate) key: String,
    pub(crate) at: usize,
    pub(crate) value: Part<'t>,
}

impl<'t> Part<'t> {
    /// The whole document.
    pub(crate) fn whole(text: &'t str) -> Self {
        Self { at: 0, text }
    }

    /// The tree of the value.
    pub(crate) fn read(self, report: &mut Report<'_>) -> Option<Node> {
        let Self { at, text } = self;
        if let Err(error) = serde_json::from_str::<serde_json::Value>(text) {
            return self.malformed(report, &error);
        }
        match parse_to_ast(text, &CollectOptions::default(), &ParseOptions::default()).map(|parsed| parsed.value) {
            Ok(Some(value)) => Some(convert(report, &value, at)),
            Ok(None) => {
                report.error(at, "malformed JSON: there is no value");
                None
            }
            Err(error) => {
                report.error(at + error.range().start, "malformed JSON");
                None
            }
        }
    }

    /// The members of an object, in their order. `what` the value is, for the message where it is no object.
    pub(crate) fn members(self, report: &mut Report<'_>, what: &str) -> Option<Vec<Member<'t>>> {
        if !self.text.trim_start().starts_with('{') {
            let node = self.read(report)?;
            report.table(what, &node)?;
        }
        let members = match serde_json::from_str::<Members<'t>>(self.text) {
            Ok(members) => members.0,
            Err(error) => return self.malformed(report, &error),
        };
        let mut keys = Keys::default();
        let mut end = 0;
        let mut found = Vec::with_capacity(members.len());
        for (key, value) in members {
            let value = self.part(value);
            let start = value.at - self.at;
            // Between two values there is nothing but the key, and its quotation mark comes first.
            let before = self.text.get(end..start).unwrap_or_default();
            let at = self.at + end + before.find('"').unwrap_or(0);
            end = start + value.text.len();
            if keys.take(report, &key, at) {
                found.push(Member { key, at, value });
            }
        }
        Some(found)
    }

    /// The items of a list. `what` the value is, for the message where it is no list.
    pub(crate) fn items(self, report: &mut Report<'_>, what: &str) -> Option<Vec<Self>> {
        if !self.text.trim_start().starts_with('[') {
            let node = self.read(report)?;
            report.list(what, &node)?;
        }
        match serde_json::from_str::<Vec<&'t RawValue>>(self.text) {
            Ok(items) => Some(items.into_iter().map(|item| self.part(item)).collect()),
            Err(error) => self.malformed(report, &error),
        }
    }

    /// A part of this part: it lies in the same text.
    fn part(self, value: &'t RawValue) -> Self {
        let text = value.get();
        Self {
            at: self.at + (text.as_ptr().addr() - self.text.as_ptr().addr()),
            text,
        }
    }

    fn malformed<T>(self, report: &mut Report<'_>, error: &serde_json::Error) -> Option<T> {
        report.error(
            self.at + offset(self.text, error.line(), error.column()),
            format!("malformed JSON: {}", reason(error)),
        );
        None
    }
}

/// The members of an object as text.
struct Members<'t>(Vec<(String, &'t RawValue)>);

impl<'de> Deserialize<'de> for Members<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        deserializer.deserialize_map(Object)
    }
}

/// The keys of one object so far.
#[derive(Default)]
struct Keys(BTreeMap<String, String>);

impl Keys {
    /// Whether the key is a new one; otherwise that is reported.
    fn take(&mut self, report: &mut Report<'_>, key: &str, at: usize) -> bool {
        match self.0.insert(fold_key(key), key.to_owned()) {
            None => return true,
            Some(first) if first == key => report.error_with_help(
                at,
                format!("duplicate key {}", quoted(key)),
                "readers differ in which one counts: keep one",
            ),
            Some(first) => report.error_with_help(
                at,
                format!("key {} differs from {} in case only", quoted(key), quoted(&first)),
                "notation reads both as the same key: keep one",
            ),
        }
        false
    }
}

fn convert(report: &mut Report<'_>, node: &JsonValue<'_>, base: usize) -> Node {
    let at = base + node.range().start;
    let value = match node {
        JsonValue::StringLit(text) => Value::Text(text.value.to_string()),
        JsonValue::NumberLit(number) => number
            .value
            .parse()
            .map_or(Value::Other("a number with a fraction"), Value::Integer),
        JsonValue::BooleanLit(boolean) => Value::Boolean(boolean.value),
        JsonValue::Array(array) => Value::List(array.elements.iter().map(|item| convert(report, item, base)).collect()),
        JsonValue::Object(object) => Value::Table(convert_object(report, object, base)),
        JsonValue::NullKeyword(_) => Value::Other("null"),
    };
    Node { at, value }
}

fn convert_object(report: &mut Report<'_>, object: &Object<'_>, base: usize) -> Table {
    let mut keys = Keys::default();
    let mut entries = Vec::with_capacity(object.properties.len());
    for property in &object.properties {
        let (key, at) = match &property.name {
            ObjectPropName::String(name) => (name.value.to_string(), base + name.range.start),
            ObjectPropName::Word(name) => (name.value.to_owned(), base + name.range.start),
        };
        let node = convert(report, &property.value, base);
        if keys.take(report, &key, at) {
            entries.push(Entry { key, at, node });
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
