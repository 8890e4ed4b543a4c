//! TOML into a tree.

use toml::de::{DeTable, DeValue};

use super::report::Report;
use super::tree::{Entry, Node, Table, Value};

/// Reads the document. Syntax errors, duplicate keys among them, are reported, all of them; then there is no tree.
pub(crate) fn parse_toml(report: &mut Report<'_>, text: &str) -> Option<Table> {
    let (table, errors) = DeTable::parse_recoverable(text);
    for error in &errors {
        let at = error.span().map_or(0, |span| span.start);
        report.error(at, crate::untrusted::Untrusted::from(error.message()).to_string());
    }
    errors.is_empty().then(|| convert_table(table.get_ref()))
}

fn convert_table(table: &DeTable<'_>) -> Table {
    let entries = table.iter().map(|(key, value)| Entry {
        key: key.get_ref().to_string(),
        at: key.span().start,
        node: Node {
            at: value.span().start,
            value: convert(value.get_ref()),
        },
    });
    Table {
        entries: entries.collect(),
    }
}

fn convert(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        // A number that no field could hold is no number of ours.
        DeValue::Integer(integer) => i64::from_str_radix(integer.as_str(), integer.radix())
            .map_or(Value::Other("a number out of range"), Value::Integer),
        DeValue::Boolean(value) => Value::Boolean(*value),
        DeValue::Array(items) => Value::List(
            items
                .iter()
                .map(|item| Node {
                    at: item.span().start,
                    value: convert(item.get_ref()),
                })
                .collect(),
        ),
        DeValue::Table(table) => Value::Table(convert_table(table)),
        DeValue::Float(_) => Value::Other("a number with a fraction"),
        DeValue::Datetime(_) => Value::Other("a date"),
    }
}
