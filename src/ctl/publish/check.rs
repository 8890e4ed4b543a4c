//! Validation of files, by the code that nodes validate them with.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::document::{Diagnostic, Severity};
use assay_verify::limits::MAX_FLEET_SIZE;

use super::files::{Tree, channels_of};
use crate::sync::layout::{CHANNELS_FOLDER, DENY_LIST_FILE, REVOCATION_FOLDER};
use crate::sync::{Channel, check_clock};
use crate::trust::{Floor, TrustSnapshot, VerifiedFiles, load_fleet};

/// What nodes of each channel would make of these files.
#[derive(Default)]
pub(super) struct Checked {
    /// By channel, where a node would take it.
    pub(super) channels: BTreeMap<Channel, TrustSnapshot>,
    /// Every error and warning, each once.
    pub(super) diagnostics: Vec<Diagnostic>,
}

impl Checked {
    pub(super) fn is_good(&self) -> bool {
        self.diagnostics.iter().all(|one| one.severity != Severity::Error)
    }
}

/// Loads every channel as a node does, before whose floor nothing is known here.
pub(super) fn check(tree: &Tree, now: Timestamp) -> Checked {
    let mut checked = Checked::default();
    for channel in channels_of(tree.keys()) {
        let files = of_channel(tree, &channel);
        let size = files.values().map(|content| content.len()).sum::<usize>();
        if size > MAX_FLEET_SIZE {
            let message = format!("the files of a node have {size} bytes, more than {MAX_FLEET_SIZE}");
            checked.add([Diagnostic::error(&channel.folder(), message)]);
        }
        match load_fleet(&VerifiedFiles::new(files), channel.as_str(), &Floor::default(), now) {
            Ok(snapshot) => {
                checked.add(snapshot.warnings.iter().cloned());
                checked.add(issued_ahead(&snapshot, now));
                checked.channels.insert(channel, snapshot);
            }
            Err(diagnostics) => checked.add(diagnostics),
        }
    }
    checked
}

impl Checked {
    /// The deny-list is the same for every channel, and so are its problems.
    fn add(&mut self, diagnostics: impl IntoIterator<Item = Diagnostic>) {
        for diagnostic in diagnostics {
            if !self.diagnostics.contains(&diagnostic) {
                self.diagnostics.push(diagnostic);
            }
        }
    }
}

/// A deny-list that says it was issued later than it is now. Nodes would take their own clocks to be behind, and deny for it.
fn issued_ahead(snapshot: &TrustSnapshot, now: Timestamp) -> Option<Diagnostic> {
    let ahead = check_clock(now, snapshot.denials.issued()?).err()?;
    let message = format!("issued is in the future: {ahead}");
    Some(Diagnostic::error(
        &format!("{REVOCATION_FOLDER}/{DENY_LIST_FILE}"),
        message,
    ))
}

/// What a node of a channel takes of these files.
pub(super) fn of_channel(tree: &Tree, channel: &Channel) -> BTreeMap<String, Arc<[u8]>> {
    let own = format!("{}/", channel.folder());
    let others = format!("{CHANNELS_FOLDER}/");
    let files = tree.iter().filter(|(path, _)| {
        let path = path.as_str();
        path.starts_with(&own) || !path.starts_with(&others)
    });
    files
        .map(|(path, content)| (path.to_string(), Arc::clone(content)))
        .collect()
}
