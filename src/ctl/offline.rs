//! Judging without the daemon: a policy, an OCI image layout and a time.

use std::path::Path;
use std::sync::Arc;

use assay_proto::v1 as proto;
use assay_verify::Timestamp;
use assay_verify::query::Query;
use assay_verify::reference::Reference;

use super::Failure;
use super::evidence::BundledAnswers;
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
        let input = |error: LayoutError| Failure::Input(format!("{}: {error}", self.layout.display()));
        let layout = Layout::open(self.layout).map_err(input)?;
        let (question, found) = find(&layout, &self.reference).map_err(input)?;
        let answers = BundledAnswers::of(&layout).map_err(input)?;
        // One that cannot be read is not there.
        let answer = |query: &Query| answers.to(query).ok().flatten().map(Arc::from);
        let snapshot = Arc::new(snapshot);
        let mut explanation = admission::offline_with(&snapshot, &question, &found, self.now, answer);
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
        let input = |error: LayoutError| Failure::Input(format!("{}: {error}", self.layout.display()));
        let layout = Layout::open(self.layout).map_err(input)?;
        let (question, found) = find(&layout, &self.reference).map_err(input)?;
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
fn find(layout: &Layout, reference: &Reference) -> Result<(Question, Found), LayoutError> {
    let descriptor = layout.find(reference)?;
    let found = layout.signatures(&descriptor.digest)?;
    let question = Question {
        repository: reference.repository.clone(),
        descriptor,
        hook: Hook::Control,
    };
    Ok((question, found))
}
