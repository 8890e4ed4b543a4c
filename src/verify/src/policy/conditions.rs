//! What a rule asks of every signature that is to satisfy it, whichever authority's.

use std::collections::BTreeMap;
use std::time::Duration;

use super::duration::read_duration;
use crate::Timestamp;
use crate::document::{Known, Report, quoted};
use crate::limits::{MAX_ANNOTATION_LENGTH, MAX_ATTRIBUTES, MAX_REVOCATION_GRACE};

/// Conditions of one rule. The default asks nothing and grants nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The signature must have been made at this time or later, by authenticated time: a timestamp authority's or a signing
    /// authority's. A signer's own claim does not count, so a signature without authenticated time is too old.
    pub minimum_signing_time: Option<Timestamp>,
    /// Annotations that the signed payload must have, with these values: notation's user metadata.
    pub annotations: BTreeMap<Box<str>, Box<str>>,
    /// How far past its nextUpdate revocation data may count while its endpoint is away, for an image whose evidence is
    /// stored: it was admitted here before.
    pub revocation_grace: Duration,
}

impl Conditions {
    /// The conditions for an image that was never seen: nothing is stretched.
    #[must_use]
    pub fn without_grace(&self) -> Self {
        Self {
            revocation_grace: Duration::ZERO,
            ..self.clone()
        }
    }
}

/// The keys of a rule that this file reads.
pub(super) const KEYS: [&str; 4] = [
    "on_inconclusive",
    "revocation_grace",
    "minimum_signing_time",
    "annotations",
];

/// Reads the conditions of a rule that requires evidence.
pub(super) fn read_conditions(report: &mut Report<'_>, table: Known<'_>) -> Option<Conditions> {
    let revocation_grace = read_grace(report, table);
    let minimum_signing_time = read_minimum_signing_time(report, table);
    let annotations = read_annotations(report, table);
    Some(Conditions {
        minimum_signing_time: minimum_signing_time?,
        annotations: annotations?,
        revocation_grace: revocation_grace?,
    })
}

/// `on_inconclusive` says whether anything is stretched, `revocation_grace` by how much: neither means anything alone.
fn read_grace(report: &mut Report<'_>, table: Known<'_>) -> Option<Duration> {
    const WRITE: &str = "write: on_inconclusive = \"admit_if_seen\" and revocation_grace = \"24h\"";
    let admit_if_seen = match table.get("on_inconclusive") {
        None => false,
        Some(node) => match report.text("on_inconclusive", node)? {
            "deny" => false,
            "admit_if_seen" => true,
            other => {
                let message = format!("on_inconclusive cannot be {}", quoted(other));
                report.error_with_help(node.at, message, "expected \"deny\" or \"admit_if_seen\"");
                return None;
            }
        },
    };
    let grace = match table.entry("revocation_grace") {
        None => None,
        Some(entry) => {
            let range = Duration::from_secs(1)..=MAX_REVOCATION_GRACE;
            let grace = read_duration(report, "revocation_grace", &entry.node, range, "\"24h\" or \"90m\"")?;
            Some((entry.at, grace))
        }
    };
    match (admit_if_seen, grace) {
        (true, Some((_, grace))) => Some(grace),
        (false, Some((at, _))) => {
            let message = "revocation_grace has no meaning without on_inconclusive = \"admit_if_seen\"";
            report.error_with_help(at, message, WRITE);
            None
        }
        (true, None) => {
            let at = table.entry("on_inconclusive").map_or(0, |entry| entry.at);
            let message = "on_inconclusive = \"admit_if_seen\" changes nothing without revocation_grace";
            report.warning(at, message, WRITE);
            Some(Duration::ZERO)
        }
        (false, None) => Some(Duration::ZERO),
    }
}

fn read_minimum_signing_time(report: &mut Report<'_>, table: Known<'_>) -> Option<Option<Timestamp>> {
    let Some(node) = table.get("minimum_signing_time") else {
        return Some(None);
    };
    report.time("minimum_signing_time", node).map(Some)
}

pub(super) fn read_annotations(report: &mut Report<'_>, table: Known<'_>) -> Option<BTreeMap<Box<str>, Box<str>>> {
    let Some(node) = table.get("annotations") else {
        return Some(BTreeMap::new());
    };
    let entries = &report.table("annotations", node)?.entries;
    if entries.is_empty() || entries.len() > MAX_ATTRIBUTES {
        let message = format!("annotations has {} keys", entries.len());
        report.error_with_help(
            node.at,
            message,
            format!("expected 1 to {MAX_ATTRIBUTES}, or no annotations"),
        );
        return None;
    }
    let mut annotations = BTreeMap::new();
    for entry in entries {
        let value = report.text(&format!("annotation {}", quoted(&entry.key)), &entry.node)?;
        // notation spec: signature-specification.md#payload: the prefix is the specification's own.
        let problem = if entry.key.starts_with("io.cncf.notary") {
            "is reserved: no signer can set it"
        } else if entry.key.is_empty() || entry.key.len() + value.len() > MAX_ANNOTATION_LENGTH {
            "is empty or too long"
        } else {
            annotations.insert(entry.key.as_str().into(), value.into());
            continue;
        };
        report.error(entry.at, format!("annotation {} {problem}", quoted(&entry.key)));
    }
    (annotations.len() == entries.len()).then_some(annotations)
}
