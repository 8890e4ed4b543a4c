//! Collects the problems of one document, and reads values of a given kind from its tree.

use super::diagnostic::{Diagnostic, Place, Severity};
use super::keys::{Known, Section};
use super::tree::{Entry, Node, Table, Value};
use crate::Timestamp;
use crate::limits::MAX_DIAGNOSTICS;
use crate::untrusted::Untrusted;

/// The problems found so far.
pub(crate) struct Report<'a> {
    file: &'a str,
    text: &'a str,
    line_starts: Vec<usize>,
    found: Vec<(usize, Diagnostic)>,
    errors: usize,
    omitted: usize,
}

impl<'a> Report<'a> {
    pub(crate) fn new(file: &'a str, text: &'a str) -> Self {
        let line_starts = std::iter::once(0)
            .chain(text.match_indices('\n').map(|(at, _)| at + 1))
            .collect();
        Self {
            file,
            text,
            line_starts,
            found: Vec::new(),
            errors: 0,
            omitted: 0,
        }
    }

    /// The line and column of an offset.
    pub(crate) fn place(&self, at: usize) -> Place {
        let line = self.line_starts.partition_point(|start| *start <= at).max(1);
        let start = self.line_starts.get(line - 1).copied().unwrap_or(0);
        let column = self.text.get(start..at).map_or(1, |before| before.chars().count() + 1);
        Place { line, column }
    }

    pub(crate) fn error(&mut self, at: usize, message: impl Into<String>) {
        self.push(Severity::Error, at, message.into(), None);
    }

    pub(crate) fn error_with_help(&mut self, at: usize, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Error, at, message.into(), Some(help.into()));
    }

    pub(crate) fn warning(&mut self, at: usize, message: impl Into<String>, help: impl Into<String>) {
        self.push(Severity::Warning, at, message.into(), Some(help.into()));
    }

    fn push(&mut self, severity: Severity, at: usize, message: String, help: Option<String>) {
        if severity == Severity::Error {
            self.errors += 1;
        }
        if self.found.len() >= MAX_DIAGNOSTICS {
            self.omitted += 1;
            return;
        }
        let diagnostic = Diagnostic {
            severity,
            file: self.file.into(),
            place: Some(self.place(at)),
            message,
            help,
        };
        self.found.push((at, diagnostic));
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Everything found, in the order of the document.
    pub(crate) fn finish(mut self) -> Vec<Diagnostic> {
        self.found.sort_by_key(|(at, _)| *at);
        let mut all: Vec<Diagnostic> = self.found.into_iter().map(|(_, diagnostic)| diagnostic).collect();
        if self.omitted > 0 {
            let message = format!("{} more problems are not shown", self.omitted);
            all.push(match self.errors {
                0 => Diagnostic::warning(self.file, message),
                _ => Diagnostic::error(self.file, message),
            });
        }
        all
    }

    /// Reads text; another kind is a problem.
    pub(crate) fn text<'n>(&mut self, what: &str, node: &'n Node) -> Option<&'n str> {
        match &node.value {
            Value::Text(text) => Some(text),
            other => self.wrong_kind(what, node.at, "text", other),
        }
    }

    pub(crate) fn boolean(&mut self, what: &str, node: &Node) -> Option<bool> {
        match &node.value {
            Value::Boolean(value) => Some(*value),
            other => self.wrong_kind(what, node.at, "true or false", other),
        }
    }

    pub(crate) fn integer(&mut self, what: &str, node: &Node) -> Option<i64> {
        match &node.value {
            Value::Integer(value) => Some(*value),
            other => self.wrong_kind(what, node.at, "a whole number", other),
        }
    }

    /// Reads a moment, which both formats write as text.
    pub(crate) fn time(&mut self, what: &str, node: &Node) -> Option<Timestamp> {
        const HELP: &str = "expected a time such as \"2026-01-31T00:00:00Z\"";
        let Value::Text(text) = &node.value else {
            self.error_with_help(node.at, format!("{what} must be text, not {}", node.value.kind()), HELP);
            return None;
        };
        let time = text.parse().ok();
        if time.is_none() {
            self.error_with_help(node.at, format!("{what} cannot be {}", quoted(text)), HELP);
        }
        time
    }

    /// Reads text that denials and journals show: a few words, at most `limit` bytes, and printable.
    pub(crate) fn shown<'n>(&mut self, what: &str, node: &'n Node, limit: usize) -> Option<&'n str> {
        let text = self.text(what, node)?;
        let problem = if text.trim().is_empty() {
            format!("{what} is empty")
        } else if text.len() > limit {
            format!("{what} has {} bytes, more than {limit}", text.len())
        } else if text.chars().any(char::is_control) {
            format!("{what} contains control characters")
        } else {
            return Some(text);
        };
        self.error_with_help(node.at, problem, "denials show it: write a few words");
        None
    }

    /// A table of a section. Keys that the section does not have are errors.
    pub(crate) fn known<'n>(&mut self, table: &'n Table, section: &'static Section) -> Known<'n> {
        self.refuse_unknown(table, &section.names());
        Known::new(table, section)
    }

    /// The keys of a table that are none of `known` are errors.
    pub(crate) fn refuse_unknown(&mut self, table: &Table, known: &[&str]) {
        for entry in self.unknown(table, known) {
            self.refuse_key(&entry.key, entry.at, known);
        }
    }

    /// A key that is none of `known`.
    pub(crate) fn refuse_key(&mut self, key: &str, at: usize, known: &[&str]) {
        let message = format!("unknown key {}", quoted(key));
        self.error_with_help(at, message, format!("expected one of: {}", known.join(", ")));
    }

    pub(crate) fn table<'n>(&mut self, what: &str, node: &'n Node) -> Option<&'n Table> {
        match &node.value {
            Value::Table(table) => Some(table),
            other => self.wrong_kind(what, node.at, "a table", other),
        }
    }

    pub(crate) fn list<'n>(&mut self, what: &str, node: &'n Node) -> Option<&'n [Node]> {
        match &node.value {
            Value::List(list) => Some(list),
            other => self.wrong_kind(what, node.at, "a list", other),
        }
    }

    /// Reads a list of text with the place of each. Nothing when an item is something else.
    pub(crate) fn texts<'n>(&mut self, what: &str, node: &'n Node) -> Option<Vec<(usize, &'n str)>> {
        let list = self.list(what, node)?;
        let texts: Vec<_> = list
            .iter()
            .filter_map(|item| self.text(&format!("each of {what}"), item).map(|text| (item.at, text)))
            .collect();
        (texts.len() == list.len()).then_some(texts)
    }

    fn wrong_kind<T>(&mut self, what: &str, at: usize, expected: &str, got: &Value) -> Option<T> {
        self.error(at, format!("{what} must be {expected}, not {}", got.kind()));
        None
    }

    /// The keys of a table that are none of `known`.
    pub(crate) fn unknown<'n>(&self, table: &'n Table, known: &[&str]) -> Vec<&'n Entry> {
        let unknown = |entry: &&Entry| !known.contains(&entry.key.as_str());
        table.entries.iter().filter(unknown).collect()
    }
}

/// Text of a document inside a message: in quotes, escaped.
pub(crate) fn quoted(text: &str) -> String {
    format!("\"{}\"", Untrusted::from(text))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_lines_and_characters_from_one() {
        let report = Report::new("f", "a\nbä c\n");
        let place = |at| {
            let Place { line, column } = report.place(at);
            (line, column)
        };
        assert_eq!(place(0), (1, 1));
        assert_eq!(place(2), (2, 1));
        assert_eq!(place(6), (2, 4));
        assert_eq!(place(8), (3, 1));
    }

    #[test]
    fn stops_showing_but_not_counting() {
        let mut report = Report::new("f", "");
        for _ in 0..MAX_DIAGNOSTICS {
            report.warning(0, "w", "h");
        }
        report.error(0, "e");
        assert!(report.has_errors());
        let all = report.finish();
        assert_eq!(all.len(), MAX_DIAGNOSTICS + 1);
        assert_eq!(
            all[MAX_DIAGNOSTICS].to_string(),
            "f: error: 1 more problems are not shown"
        );
    }
}
