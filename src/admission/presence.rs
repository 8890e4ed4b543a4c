//! What containerd has, held against what hooks were told.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use assay_verify::Timestamp;
use assay_verify::limits::{MAX_BOOTSTRAP_LIST_SIZE, MAX_REPORTED_AT_ONCE};
use assay_verify::untrusted::Untrusted;

use super::bootstrap_list::{self, Line};
use super::events;
use super::ledger::{Named, Presence};
use super::pipeline::Admission;
use super::question::{Hook, Question};
use super::verdict::Verdict;

impl Admission {
    /// Remembers what the hook was told. An explanation for people is no such word.
    pub(super) fn remember(&self, question: &Question, verdict: &Verdict, now: Timestamp) {
        let Some(ledger) = self.ledger().filter(|_| question.hook == Hook::ContainerdImageVerifier) else {
            return;
        };
        let (repository, digest) = (&question.repository, &question.descriptor.digest);
        if verdict.outcome.admits() {
            ledger.admitted(repository, digest, now);
        } else if !super::canary::is_canary(repository) {
            ledger.denied(repository, digest, now);
        }
    }

    /// Remembers that the policy in force admits an image which is here already, because somebody looked.
    pub fn admit_present(&self, question: &Question, verdict: &Verdict) {
        if let Some(ledger) = self.ledger().filter(|_| verdict.outcome.admits()) {
            ledger.admitted(&question.repository, &question.descriptor.digest, (self.inner.clock)());
        }
    }

    /// Takes what containerd has, all of it or what appeared, and says in the journal what came past the hook. Blocks on the disk.
    /// Each image comes with one of the namespaces that it is in.
    pub fn report_images(&self, images: &BTreeMap<Named, Untrusted>, all: bool) -> Presence {
        let Some(ledger) = self.ledger() else {
            return Presence::default();
        };
        let names = images.keys().cloned().collect();
        let exempt = bootstrap_list(ledger.bootstrap_list());
        let found = ledger.report(names, all, |image| exempt.contains(image), (self.inner.clock)());
        let nowhere = Untrusted::from("");
        for (image, past) in found.iter().take(MAX_REPORTED_AT_ONCE) {
            let namespace = images.get(image).unwrap_or(&nowhere);
            events::past_the_hook(image, namespace, *past);
        }
        if let Some(more) = found.len().checked_sub(MAX_REPORTED_AT_ONCE).filter(|more| *more > 0) {
            events::more_past_the_hook(more);
        }
        ledger.presence()
    }
}

/// The images that the hook admits without asking. None where it would not obey the list: the hook says so, and the doctor.
fn bootstrap_list(path: &Path) -> BTreeSet<Named> {
    let lines = bootstrap_list::parse(&read(path).unwrap_or_default());
    let images = lines.into_iter().filter_map(|(_, line)| match line {
        Line::Image(reference) => Some(Named {
            digest: reference.digest?,
            repository: Some(reference.repository),
        }),
        Line::Malformed => None,
    });
    images.collect()
}

/// Reads it where nobody but root can have written it. The hook looks closer than this.
fn read(path: &Path) -> io::Result<Vec<u8>> {
    let metadata = fs::symlink_metadata(path)?;
    if !metadata.is_file() || metadata.uid() != 0 || metadata.mode() & 0o022 != 0 {
        return Err(io::Error::other("it is no file that root alone can write"));
    }
    let mut content = Vec::new();
    File::open(path)?
        .take(MAX_BOOTSTRAP_LIST_SIZE + 1)
        .read_to_end(&mut content)?;
    if content.len() as u64 > MAX_BOOTSTRAP_LIST_SIZE {
        return Err(io::Error::other(format!(
            "it has more than {MAX_BOOTSTRAP_LIST_SIZE} bytes"
        )));
    }
    Ok(content)
}
