//! Judging without the daemon: a policy, an OCI image layout and a time.

use std::path::Path;
use std::sync::Arc;

use assay_proto::v1 as proto;
use assay_verify::Timestamp;
use assay_verify::reference::Reference;

use super::Failure;
use crate::admission::{self, Hook, Question};
use crate::fetch::layout::{Layout, LayoutError};
use crate::hooks::control::explained;
use crate::trust;

/// Judges an image of a layout at a given time.
pub(super) fn explain(
    layout: &Path,
    policy: &Path,
    reference: &Reference,
    now: Timestamp,
) -> Result<proto::ExplainResponse, Failure> {
    let snapshot = trust::load(policy, nix::unistd::geteuid().as_raw(), now)
        .outcome
        .map_err(|diagnostics| {
            let lines: Vec<String> = diagnostics.iter().map(ToString::to_string).collect();
            Failure::Input(lines.join("\n"))
        })?;
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
    let mut explanation = admission::offline(&Arc::new(snapshot), &question, &found.signatures, now);
    explanation.skipped = found.skipped;
    Ok(explained(reference, &question, &explanation))
}
