//! Break-glass exceptions: images that are admitted for some hours although nothing vouches for them.
//!
//! Each is for one scope, with an owner, a reason and an incident, and lasts a day at most. It overrides neither the deny-list
//! nor a rule's `deny`; who asks for one sees to that, and that each use is journalled. `docs/deny-list.md` describes the
//! document.

use std::collections::BTreeSet;
use std::fmt;

use super::document::{read_digests, read_patterns};
use super::pattern::Pattern;
use super::reference;
use crate::Timestamp;
use crate::digest::Digest;
use crate::document::{Diagnostic, Known, Node, Report, Table, Value, parse_toml, quoted};
use crate::limits::{MAX_EXCEPTION_LIFETIME, MAX_EXCEPTIONS, MAX_POLICY_NAME_LENGTH, MAX_POLICY_SIZE};
use crate::reference::Repository;
use crate::untrusted::Untrusted;

#[cfg(test)]
mod tests;

/// The only version of the document.
const VERSION: i64 = 1;

/// The exceptions of one document. The default has none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Exceptions(Vec<Exception>);

/// One exception. Its display is for journals and denials: who is responsible, why, and until when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Exception {
    images: Option<Vec<Pattern>>,
    digests: Option<BTreeSet<Digest>>,
    owner: Untrusted,
    reason: Untrusted,
    incident: Untrusted,
    starts: Timestamp,
    expires: Timestamp,
}

/// What reading a document gives. There are exceptions if and only if there are no errors.
#[derive(Clone, Debug)]
pub struct ParsedExceptions {
    /// The exceptions; maybe none.
    pub exceptions: Option<Exceptions>,
    /// Every problem, in the order of the document.
    pub diagnostics: Vec<Diagnostic>,
}

impl Exceptions {
    /// Reads a document. `file` is its name in the diagnostics.
    pub fn parse(file: &str, text: &str) -> ParsedExceptions {
        if text.len() > MAX_POLICY_SIZE {
            let message = format!("the exceptions have {} bytes, more than {MAX_POLICY_SIZE}", text.len());
            return ParsedExceptions {
                exceptions: None,
                diagnostics: vec![Diagnostic::error(file, message)],
            };
        }
        let mut report = Report::new(file, text);
        let exceptions = parse_toml(&mut report, text).and_then(|table| read_document(&mut report, &table));
        ParsedExceptions {
            exceptions: exceptions.filter(|_| !report.has_errors()),
            diagnostics: report.finish(),
        }
    }

    /// The exceptions in the order of the document.
    pub fn all(&self) -> &[Exception] {
        &self.0
    }

    /// The first exception that is active and whose whole scope matches. Two never combine.
    pub fn active_for(&self, repository: &Repository, digest: &Digest, now: Timestamp) -> Option<&Exception> {
        self.active(now).find(|exception| exception.is_for(repository, digest))
    }

    /// Those that are active.
    pub fn active(&self, now: Timestamp) -> impl Iterator<Item = &Exception> {
        self.0.iter().filter(move |exception| exception.is_active(now))
    }

    /// Whether any is active.
    pub fn any_active(&self, now: Timestamp) -> bool {
        self.active(now).next().is_some()
    }

    /// The first moment after `now` at which one starts or expires; nothing where none does any more.
    pub fn next_change(&self, now: Timestamp) -> Option<Timestamp> {
        let changes = self
            .0
            .iter()
            .flat_map(|exception| [exception.starts, exception.expires]);
        changes.filter(|change| *change > now).min()
    }
}

impl Exception {
    /// Whether it is for an image: every condition that it has holds, as in a rule.
    fn is_for(&self, repository: &Repository, digest: &Digest) -> bool {
        let images = self
            .images
            .as_ref()
            .is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(repository)));
        images && self.digests.as_ref().is_none_or(|digests| digests.contains(digest))
    }

    /// Whether it counts at a moment: from its start to just before its expiry.
    pub fn is_active(&self, now: Timestamp) -> bool {
        self.starts <= now && now < self.expires
    }

    /// The patterns of which one has to match, where it has any.
    pub fn images(&self) -> Option<&[Pattern]> {
        self.images.as_deref()
    }

    /// The digests of which the image has to be one, where it has any.
    pub fn digests(&self) -> Option<&BTreeSet<Digest>> {
        self.digests.as_ref()
    }

    /// Who is responsible for it.
    pub fn owner(&self) -> &Untrusted {
        &self.owner
    }

    /// Why it was made.
    pub fn reason(&self) -> &Untrusted {
        &self.reason
    }

    /// Where more is written about it: the number of an incident.
    pub fn incident(&self) -> &Untrusted {
        &self.incident
    }

    /// The first moment at which it counts.
    pub fn starts(&self) -> Timestamp {
        self.starts
    }

    /// The first moment at which it counts no longer.
    pub fn expires(&self) -> Timestamp {
        self.expires
    }
}

impl fmt::Display for Exception {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            owner,
            reason,
            incident,
            expires,
            ..
        } = self;
        write!(f, "{reason} ({incident}), by {owner} until {expires}")
    }
}

fn read_document(report: &mut Report<'_>, table: &Table) -> Option<Exceptions> {
    let table = report.known(table, &reference::EXCEPTIONS);
    match table.get("version") {
        None => report.error_with_help(0, "version is missing", format!("begin with: version = {VERSION}")),
        Some(node) => match report.integer("version", node) {
            Some(VERSION) | None => {}
            Some(other) => report.error(node.at, format!("version {other} is not supported: expected {VERSION}")),
        },
    }
    let Some(node) = table.get("exception") else {
        return Some(Exceptions::default());
    };
    if matches!(node.value, Value::Table(_)) {
        report.error_with_help(
            node.at,
            "exception is one table",
            "exceptions are a list: write [[exception]]",
        );
        return None;
    }
    let list = report.list("exception", node)?;
    if list.len() > MAX_EXCEPTIONS {
        let message = format!("{} exceptions are more than {MAX_EXCEPTIONS}", list.len());
        report.error(node.at, message);
        return None;
    }
    let exceptions: Vec<_> = list.iter().map(|item| read_exception(report, item)).collect();
    exceptions.into_iter().collect::<Option<_>>().map(Exceptions)
}

fn read_exception(report: &mut Report<'_>, node: &Node) -> Option<Exception> {
    let table = report.table("an exception", node)?;
    let table = report.known(table, &reference::EXCEPTION);
    let scope = read_scope(report, node.at, table);
    let mut shown = |key| {
        let node = required(report, node.at, table, key)?;
        report.shown(key, node, MAX_POLICY_NAME_LENGTH).map(Untrusted::from)
    };
    let (owner, reason, incident) = (shown("owner"), shown("reason"), shown("incident"));
    let mut time = |key| {
        let node = required(report, node.at, table, key)?;
        Some((node.at, report.time(key, node)?))
    };
    let (starts, expires) = (time("starts"), time("expires"));
    let ((_, starts), (at, expires)) = (starts?, expires?);
    if expires <= starts {
        let message = format!("it expires at {expires}, and starts at {starts}");
        report.error_with_help(at, message, "an exception expires after it starts");
        return None;
    }
    if expires.duration_since(starts).unsigned_abs() > MAX_EXCEPTION_LIFETIME {
        let hours = MAX_EXCEPTION_LIFETIME.as_secs() / 3600;
        let message = format!("it expires at {expires}, more than {hours} h after it starts");
        let help = "make another one tomorrow, if it is still needed then; what stays needed belongs in the policy";
        report.error_with_help(at, message, help);
        return None;
    }
    let (images, digests) = scope?;
    Some(Exception {
        images,
        digests: digests.map(|digests| digests.into_iter().collect()),
        owner: owner?,
        reason: reason?,
        incident: incident?,
        starts,
        expires,
    })
}

fn required<'n>(report: &mut Report<'_>, at: usize, table: Known<'n>, key: &str) -> Option<&'n Node> {
    let node = table.get(key);
    if node.is_none() {
        let help = "every exception has an owner, a reason, an incident, starts and expires";
        report.error_with_help(at, format!("an exception is missing its {key}"), help);
    }
    node
}

type Scope = (Option<Vec<Pattern>>, Option<Vec<Digest>>);

/// What it is for: names, digests, or both; not every image there is. An empty list is one that is not there.
fn read_scope(report: &mut Report<'_>, at: usize, table: Known<'_>) -> Option<Scope> {
    let is_empty = |key| matches!(table.get(key).map(|node| &node.value), Some(Value::List(list)) if list.is_empty());
    let images = match is_empty("images") {
        true => Some(None),
        false => read_patterns(report, "images", table),
    };
    let digests = match is_empty("digests") {
        true => Some(None),
        false => read_digests(report, "digests", table),
    };
    let (images, digests) = (images?, digests?);
    match (&images, &digests) {
        (None, None) => {
            let help = "add images = [\"…\"] or digests = [\"sha256:…\"]";
            report.error_with_help(at, "an exception has no scope", help);
            return None;
        }
        (Some(patterns), None) if patterns.iter().any(Pattern::is_everything) => {
            let at = table.get("images").map_or(at, |node| node.at);
            let message = format!("an exception for {} is one for every image there is", quoted("**"));
            let help = "name what has to run, for example \"registry.example/prod/**\"; or add digests";
            report.error_with_help(at, message, help);
            return None;
        }
        _ => {}
    }
    Some((images, digests))
}
