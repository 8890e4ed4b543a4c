//! What a rule asks of attestations: `require_attestations`.

#[cfg(test)]
mod tests;

use std::time::Duration;

use super::cosign::read::read_one;
use super::document::AuthorityName;
use super::duration::read_duration;
use super::reference;
use crate::attestation::{
    AttestationRequirement, Condition, Expression, FieldPath, Format, PredicateType, Scalar, Severity,
};
use crate::document::{Entry, Known, Node, Report, Value, quoted};
use crate::limits::{MAX_ATTESTATION_AGE, MAX_ATTESTATION_REQUIREMENTS, MAX_ATTRIBUTES};
use crate::sigstore::identity::TextMatcher;

/// The key of a rule that this file reads.
pub(super) const KEY: &str = "require_attestations";

const HELP: &str = "write: require_attestations = [{ type = \"slsaprovenance1\", authority = \"…\" }]";

/// What is known of the authority that a requirement names.
pub(super) enum Named {
    /// There is none of this name.
    Unknown,
    /// It signs no attestations.
    Notation,
    /// It may sign some.
    Cosign,
}

/// Reads the list. It is never empty.
pub(super) fn read_attestations(
    report: &mut Report<'_>,
    node: &Node,
    named: impl Fn(&AuthorityName) -> Named,
) -> Option<Vec<AttestationRequirement>> {
    let list = report.list(KEY, node)?;
    if list.is_empty() || list.len() > MAX_ATTESTATION_REQUIREMENTS {
        let message = format!(
            "{KEY} has {} items: expected 1 to {MAX_ATTESTATION_REQUIREMENTS}",
            list.len()
        );
        report.error_with_help(node.at, message, HELP);
        return None;
    }
    let read: Vec<_> = list
        .iter()
        .filter_map(|item| read_requirement(report, item, &named))
        .collect();
    (read.len() == list.len()).then_some(read)
}

fn read_requirement(
    report: &mut Report<'_>,
    node: &Node,
    named: impl Fn(&AuthorityName) -> Named,
) -> Option<AttestationRequirement> {
    let table = report.table(&format!("each of {KEY}"), node)?;
    let table = report.known(table, &reference::ATTESTATION);
    let predicate_type = read_type(report, node.at, table);
    let authority = read_authority(report, node.at, table, named);
    let max_age = read_max_age(report, table);
    let mut conditions = Vec::new();
    let mut complete = true;
    for (key, make) in [
        ("builder", Condition::Builder as fn(_) -> _),
        ("source_repository", Condition::SourceRepository),
        ("source_ref", Condition::SourceRef),
    ] {
        match read_text_condition(report, table, key) {
            Ok(text) => conditions.extend(text.map(make)),
            Err(Reported) => complete = false,
        }
    }
    for read in [read_max_severity, read_format, read_expression] {
        match read(report, table) {
            Ok(condition) => conditions.extend(condition),
            Err(Reported) => complete = false,
        }
    }
    match read_equals(report, table) {
        Ok(equalities) => conditions.extend(equalities),
        Err(Reported) => complete = false,
    }
    let predicate_type = predicate_type?;
    refuse_foreign_conditions(report, table, &predicate_type)?;
    let (authority, max_age) = (authority?, max_age?);
    if !complete {
        return None;
    }
    AttestationRequirement::new(predicate_type, authority, conditions, max_age)
        .map_err(|error| {
            let help = "add max_age = \"24h\": how long ago the scan may have ended";
            report.error_with_help(node.at, error.to_string(), help);
        })
        .ok()
}

/// The problem is in the report.
struct Reported;

fn read_type(report: &mut Report<'_>, at: usize, table: Known<'_>) -> Option<PredicateType> {
    let names = || PredicateType::short_names().collect::<Vec<_>>().join(", ");
    let Some(node) = table.get("type") else {
        let help = format!("add type = \"…\": a URI, or one of {}", names());
        report.error_with_help(at, "an attestation is missing its type", help);
        return None;
    };
    match report.text("type", node)?.parse() {
        Ok(predicate_type) => Some(predicate_type),
        Err(error) => {
            let help = format!("expected a URI, or one of {}", names());
            report.error_with_help(node.at, format!("type cannot be used: {error}"), help);
            None
        }
    }
}

fn read_authority(
    report: &mut Report<'_>,
    at: usize,
    table: Known<'_>,
    named: impl Fn(&AuthorityName) -> Named,
) -> Option<AuthorityName> {
    let Some(node) = table.get("authority") else {
        let help = "add authority = \"…\": whose word on it counts";
        report.error_with_help(at, "an attestation is missing its authority", help);
        return None;
    };
    let name = match report.text("authority", node)?.parse::<AuthorityName>() {
        Ok(name) => name,
        Err(error) => {
            report.error(node.at, error.to_string());
            return None;
        }
    };
    match named(&name) {
        Named::Cosign => return Some(name),
        Named::Notation => report.error_with_help(
            node.at,
            format!("authority {name} is of the type notation, which signs no attestations"),
            "name one of the type cosign",
        ),
        Named::Unknown => {
            report.error_with_help(
                node.at,
                format!("authority {name} is not defined"),
                format!("add [authority.{name}]"),
            );
        }
    }
    None
}

fn read_max_age(report: &mut Report<'_>, table: Known<'_>) -> Option<Option<Duration>> {
    let Some(node) = table.get("max_age") else {
        return Some(None);
    };
    let range = Duration::from_secs(1)..=MAX_ATTESTATION_AGE;
    read_duration(report, "max_age", node, range, "\"24h\"").map(Some)
}

fn read_text_condition(report: &mut Report<'_>, table: Known<'_>, key: &str) -> Result<Option<TextMatcher>, Reported> {
    let pattern = format!("{key}_regex");
    let entry = match (table.entry(key), table.entry(&pattern)) {
        (None, None) => return Ok(None),
        (Some(_), Some(second)) => {
            let message = format!("{key} and {pattern} cannot both be given");
            report.error_with_help(second.at, message, "keep one: both would have to fit");
            return Err(Reported);
        }
        (Some(entry), None) | (None, Some(entry)) => entry,
    };
    read_one(report, entry).map(Some).ok_or(Reported)
}

fn read_max_severity(report: &mut Report<'_>, table: Known<'_>) -> Result<Option<Condition>, Reported> {
    choice(
        report,
        table,
        "max_severity",
        &Severity::ALL.map(|one| (one.as_str(), one)),
    )
    .map(|severity| severity.map(Condition::MaxSeverity))
}

fn read_format(report: &mut Report<'_>, table: Known<'_>) -> Result<Option<Condition>, Reported> {
    choice(report, table, "format", &Format::ALL.map(|one| (one.as_str(), one)))
        .map(|format| format.map(Condition::Format))
}

fn choice<T: Copy>(
    report: &mut Report<'_>,
    table: Known<'_>,
    key: &str,
    choices: &[(&str, T)],
) -> Result<Option<T>, Reported> {
    let Some(node) = table.get(key) else {
        return Ok(None);
    };
    let text = report.text(key, node).ok_or(Reported)?;
    let found = choices
        .iter()
        .find(|(word, _)| *word == text)
        .map(|(_, choice)| *choice);
    if found.is_none() {
        let words: Vec<_> = choices.iter().map(|(word, _)| *word).collect();
        let help = format!("expected one of: {}", words.join(", "));
        report.error_with_help(node.at, format!("{key} cannot be {}", quoted(text)), help);
    }
    found.map(Some).ok_or(Reported)
}

fn read_expression(report: &mut Report<'_>, table: Known<'_>) -> Result<Option<Condition>, Reported> {
    let Some(node) = table.get("cel") else {
        return Ok(None);
    };
    let text = report.text("cel", node).ok_or(Reported)?;
    match Expression::new(text) {
        Ok(expression) => Ok(Some(Condition::Expression(expression))),
        Err(error) => {
            let help = "what an expression may have is in docs/attestations.md";
            report.error_with_help(node.at, format!("cel cannot be used: {error}"), help);
            Err(Reported)
        }
    }
}

fn read_equals(report: &mut Report<'_>, table: Known<'_>) -> Result<Vec<Condition>, Reported> {
    let Some(node) = table.get("equals") else {
        return Ok(Vec::new());
    };
    let entries = &report.table("equals", node).ok_or(Reported)?.entries;
    if entries.is_empty() || entries.len() > MAX_ATTRIBUTES {
        let message = format!("equals has {} fields", entries.len());
        report.error_with_help(
            node.at,
            message,
            format!("expected 1 to {MAX_ATTRIBUTES}, or no equals"),
        );
        return Err(Reported);
    }
    let read: Vec<_> = entries
        .iter()
        .filter_map(|entry| read_equality(report, entry))
        .collect();
    if read.len() < entries.len() {
        Err(Reported)
    } else {
        Ok(read)
    }
}

fn read_equality(report: &mut Report<'_>, entry: &Entry) -> Option<Condition> {
    let path = match entry.key.parse::<FieldPath>() {
        Ok(path) => path,
        Err(error) => {
            report.error(entry.at, error.to_string());
            return None;
        }
    };
    let value = match &entry.node.value {
        Value::Boolean(value) => Scalar::Boolean(*value),
        Value::Integer(value) => Scalar::Integer(*value),
        Value::Text(text) => Scalar::Text(text.as_str().into()),
        other => {
            let message = format!("{} cannot be equal to {}", quoted(&entry.key), other.kind());
            let help = "write the path in quotes, \"predicate.builder.id\" = \"…\", and text, a number or a boolean";
            report.error_with_help(entry.node.at, message, help);
            return None;
        }
    };
    Some(Condition::Equals(path, value))
}

/// Conditions that predicates of this type have no field for: they could never hold.
fn refuse_foreign_conditions(report: &mut Report<'_>, table: Known<'_>, predicate_type: &PredicateType) -> Option<()> {
    let mut sound = true;
    let mut refuse = |keys: &[&str], types: &str| {
        for entry in keys.iter().filter_map(|key| table.entry(key)) {
            sound = false;
            let message = format!(
                "{} has no meaning for the type {}",
                entry.key,
                quoted(predicate_type.as_str())
            );
            report.error_with_help(entry.at, message, format!("it is for {types}; use equals or cel"));
        }
    };
    if !predicate_type.is_provenance() {
        let keys = [
            "builder",
            "builder_regex",
            "source_repository",
            "source_repository_regex",
            "source_ref",
            "source_ref_regex",
        ];
        refuse(&keys, "slsaprovenance and slsaprovenance1");
    }
    if !predicate_type.is_vulnerability_scan() {
        refuse(&["max_severity"], "vuln");
    }
    if predicate_type.is_provenance() || predicate_type.is_vulnerability_scan() {
        refuse(&["format"], "bills of materials");
    }
    sound.then_some(())
}
