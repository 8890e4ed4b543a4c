//! `assayctl doctor --journal-changes`: what is found now and was not before, and what no longer is. A timer asks again and again,
//! and a journal in which the same line stands every hour is not read.

use std::collections::BTreeSet;
use std::path::Path;

use assay_verify::limits::{MAX_DOCTOR_STATE, MAX_FINDING_LINE};
use assay_verify::untrusted::one_line;
use serde::{Deserialize, Serialize};
use tracing::{error, info, warn};
use tracing_subscriber::layer::SubscriberExt as _;

use super::finding::{Area, Finding, Kind, Severity};
use crate::ctl::Failure;
use crate::ctl::node::hook_files::RootFile;
use crate::ctl::publish::folder::put;

const FOUND: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a60";
const GONE: &str = "6f1d5c1ab3a04b3c9d0b7c5f2f0f7a61";

/// What was found the last time, by its stable words.
#[derive(Debug, Default, Deserialize, Serialize)]
struct State {
    findings: BTreeSet<String>,
}

impl State {
    fn read(file: &Path) -> Result<Self, Failure> {
        match RootFile::read(file, MAX_DOCTOR_STATE) {
            RootFile::Absent => Ok(Self::default()),
            RootFile::NotObeyed(fault) => Err(Failure::Input(format!(
                "{}: {fault}. It says what is known already, so nobody but root may write it: rm it, and all that is found is new",
                file.display()
            ))),
            RootFile::Read(content) => Ok(serde_json::from_slice(&content).unwrap_or_else(|error| {
                eprintln!(
                    "assayctl: {}: {error}; all that is found is taken for new",
                    file.display()
                );
                Self::default()
            })),
        }
    }
}

/// What differs from the last time.
#[derive(Debug, Default, PartialEq)]
struct Changes<'a> {
    found: Vec<&'a Finding>,
    gone: Vec<String>,
    /// What to remember.
    now: BTreeSet<String>,
}

impl<'a> Changes<'a> {
    fn between(before: &State, findings: &'a [Finding]) -> Self {
        let mut changes = Self::default();
        for finding in findings {
            let word = finding.kind.word().to_owned();
            let is_known = before.findings.contains(&word);
            if changes.now.insert(word) && !is_known {
                changes.found.push(finding);
            }
        }
        for word in &before.findings {
            if changes.now.contains(word) {
                continue;
            }
            let kind = Kind::ALL.iter().find(|kind| kind.word() == word);
            if kind.is_some_and(|kind| !is_looked_at(*kind, findings)) {
                changes.now.insert(word.clone());
            } else {
                changes.gone.push(word.clone());
            }
        }
        changes
    }
}

/// Whether something could be found at all: what is in the way of looking at it mends nothing.
fn is_looked_at(kind: Kind, findings: &[Finding]) -> bool {
    let hides = |in_the_way: Kind| match in_the_way {
        Kind::ContainerdUnknown => {
            matches!(kind.area(), Area::Containerd | Area::Pulls | Area::Folder | Area::Proof)
        }
        Kind::DaemonAway => matches!(
            kind,
            Kind::PolicyNone | Kind::PolicyRefused | Kind::TrustNotFresh | Kind::ClockBehind
        ),
        Kind::CriAway | Kind::CanaryNotAsked => kind.area() == Area::Proof && kind.severity() != Severity::Unknown,
        _ => false,
    };
    !findings.iter().any(|finding| hides(finding.kind))
}

/// Writes to the journal what differs from what is remembered in `file`, then remembers.
pub(super) fn record(findings: &[Finding], file: &Path) -> Result<(), Failure> {
    let changes = Changes::between(&State::read(file)?, findings);
    if !changes.found.is_empty() || !changes.gone.is_empty() {
        let journal = tracing_journald::layer()
            .map_err(|error| Failure::Input(format!("journald cannot be reached: {error}; nothing is remembered")))?
            .with_field_prefix(None)
            .with_syslog_identifier("assayctl".to_owned());
        let journal = tracing_subscriber::registry().with(journal);
        tracing::subscriber::with_default(journal, || changes.write());
    }
    // Only now: what was not written is new the next time.
    let state = serde_json::to_vec(&State { findings: changes.now });
    let state = state.map_err(|error| Failure::Input(error.to_string()))?;
    put(file, &state, 0o600).map_err(|error| Failure::Input(format!("{}: {error}", file.display())))
}

impl Changes<'_> {
    fn write(&self) {
        for finding in &self.found {
            let kind = finding.kind;
            let (id, severity, area) = (kind.word(), kind.severity(), kind.area().word());
            let line = format!(
                "{id}: {}. {} To mend it: {}",
                finding.facts,
                kind.meaning(),
                finding.mend
            );
            let line = one_line(&line, MAX_FINDING_LINE).to_string();
            let word = severity.word();
            match severity {
                Severity::Bypass | Severity::Blocked => {
                    error!(
                        message_id = FOUND,
                        assay_finding = id,
                        assay_severity = word,
                        assay_area = area,
                        "{line}"
                    );
                }
                Severity::Unknown | Severity::Warning => {
                    warn!(
                        message_id = FOUND,
                        assay_finding = id,
                        assay_severity = word,
                        assay_area = area,
                        "{line}"
                    );
                }
            }
        }
        for word in &self.gone {
            let word = one_line(word, MAX_FINDING_LINE).to_string();
            info!(
                message_id = GONE,
                assay_finding = word.as_str(),
                "{word} is no longer found"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(kinds: &[Kind]) -> Vec<Finding> {
        kinds.iter().map(|kind| Finding::new(*kind, "", "")).collect()
    }

    #[track_caller]
    fn check(before: &[&str], now: &[Kind], found: &[Kind], gone: &[&str], remembered: &[&str]) {
        let before = State {
            findings: before.iter().map(ToString::to_string).collect(),
        };
        let now = findings(now);
        let changes = Changes::between(&before, &now);
        let kinds: Vec<_> = changes.found.iter().map(|finding| finding.kind).collect();
        let remembers: Vec<_> = changes.now.iter().map(String::as_str).collect();
        assert_eq!(
            (kinds.as_slice(), &changes.gone[..], &remembers[..]),
            (
                found,
                &gone.iter().map(ToString::to_string).collect::<Vec<_>>()[..],
                remembered
            )
        );
    }

    #[test]
    fn what_was_found_before_is_no_news() {
        use Kind::{BinDirEmpty, LocalPull};
        check(&[], &[], &[], &[], &[]);
        check(&[], &[LocalPull], &[LocalPull], &[], &["local-pull"]);
        check(&["local-pull"], &[LocalPull], &[], &[], &["local-pull"]);
        check(
            &["local-pull"],
            &[BinDirEmpty],
            &[BinDirEmpty],
            &["local-pull"],
            &["bin-dir-empty"],
        );
        // Two of one kind are one finding.
        check(&[], &[LocalPull, LocalPull], &[LocalPull], &[], &["local-pull"]);
        // One that an earlier release knew.
        check(&["of-old"], &[], &[], &["of-old"], &[]);
    }

    #[test]
    fn what_could_not_be_looked_at_is_not_gone() {
        use Kind::{CanaryNotAsked, ContainerdUnknown, CriAway, DaemonAway};
        for (now, kept, gone) in [
            (ContainerdUnknown, "local-pull", "policy-none"),
            (ContainerdUnknown, "canary-admitted", "observing"),
            (DaemonAway, "policy-none", "local-pull"),
            (CriAway, "canary-admitted", "canary-not-asked"),
            (CanaryNotAsked, "canary-admitted", "cri-away"),
        ] {
            let mut remembered = [kept, now.word()];
            remembered.sort_unstable();
            check(&[kept, gone], &[now], &[now], &[gone], &remembered);
        }
    }
}
