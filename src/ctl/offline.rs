//! Judging without the daemon: a policy, an OCI image layout and a time.

use std::path::Path;
use std::sync::Arc;

use assay_proto::v1 as proto;
use assay_verify::Timestamp;
use assay_verify::reference::Reference;

use super::Failure;
use crate::admission::{self, Hook, Question, Tree};
use crate::fetch::layout::{Found, Layout, LayoutError};
use crate::hooks::control::{explained, tree_response};
use crate::trust::{self, TrustSnapshot};

/// An image of a layout, and what it is judged by.
pub(super) struct Offline<'a> {
    pub(super) layout: &'a Path,
    pub(super) policy: &'a Path,
    pub(super) reference: Reference,
    pub(super) now: Timestamp,
}

impl Offline<'_> {
    /// Judges the image.
    pub(super) fn explain(&self) -> Result<proto::ExplainResponse, Failure> {
        let snapshot = load(self.policy, self.now)?;
        let (question, found) = find(self.layout, &self.reference)?;
        let mut explanation = admission::offline(&Arc::new(snapshot), &question, &found, self.now);
        explanation.skipped = found.skipped;
        Ok(explained(&self.reference, &question, &explanation))
    }

    /// What hangs on the image.
    pub(super) fn tree(&self) -> Result<proto::TreeResponse, Failure> {
        // Without a policy there is still something to see, but a broken one is no reason to pretend that there is none.
        let snapshot = if self.policy.exists() {
            Some(load(self.policy, self.now)?)
        } else {
            None
        };
        let (question, found) = find(self.layout, &self.reference)?;
        let described = found
            .signatures
            .iter()
            .map(|signature| admission::describe(signature, snapshot.as_ref(), &question, self.now));
        let tree = Tree {
            entries: described.collect(),
            others: found.skipped,
            incomplete: found.incomplete.map(|error| error.to_string()),
        };
        Ok(tree_response(&self.reference, &question, &tree))
    }
}

fn load(policy: &Path, now: Timestamp) -> Result<TrustSnapshot, Failure> {
    let loaded = trust::load(policy, nix::unistd::geteuid().as_raw(), now);
    loaded.outcome.map_err(|diagnostics| {
        let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
        Failure::Input(lines.join("\n"))
    })
}

/// The image that a reference names in a layout, and its signatures.
fn find(layout: &Path, reference: &Reference) -> Result<(Question, Found), Failure> {
    let input = |error: LayoutError| Failure::Input(format!("{}: {error}", layout.display()));
    let opened = Layout::open(layout).map_err(input)?;
    let digest = reference.digest.as_ref().map(ToString::to_string);
    let wanted = digest.as_deref().or(reference.tag.as_deref()).unwrap_or("latest");
    let descriptor = opened.resolve(wanted).map_err(input)?;
    let found = opened.signatures(&descriptor.digest).map_err(input)?;
    let question = Question {
        repository: reference.repository.clone(),
        descriptor,
        hook: Hook::Control,
    };
    Ok((question, found))
}
