//! Evidence bundles: what a node needs that reaches no registry, in one file.
//!
//! A bundle is an OCI image layout in a tar, so that other tools read it too. Beside the images' own manifests and their signatures
//! it holds revocation answers, each with its query, and perhaps a policy repository. It is no authority: the daemon judges what
//! it brings.

mod export;
mod import;
mod policy_repository;

use std::collections::HashMap;
use std::path::PathBuf;

use assay_verify::descriptor::Descriptor;
use assay_verify::limits::MAX_CRL_SIZE;
use assay_verify::query::{Query, QueryId};
use clap::{Args, Subcommand};

use super::client::ControlClient;
use super::{Failure, Output};
use crate::fetch::layout::{Layout, LayoutError};

/// The artifact type of a revocation answer: a manifest with the answer as its one layer.
const REVOCATION_ANSWER: &str = "application/vnd.assayd.revocation-answer.v1+json";

/// The annotation with the query that was answered, as JSON.
const QUERY_ANNOTATION: &str = "vnd.assayd.revocation.query";

/// The revocation answers that a bundle holds.
pub(super) struct BundledAnswers<'a> {
    layout: &'a Layout,
    answers: HashMap<QueryId, Descriptor>,
}

impl<'a> BundledAnswers<'a> {
    /// Reads which there are. What cannot be read is an answer that is not there.
    pub(super) fn of(layout: &'a Layout) -> Result<Self, LayoutError> {
        let mut answers = HashMap::new();
        for (_, manifest) in layout.artifacts(REVOCATION_ANSWER)? {
            let Some(manifest) = manifest else { continue };
            let query = manifest.annotations.get(QUERY_ANNOTATION);
            let query = query.and_then(|text| Query::from_json(text).ok());
            if let (Some(query), [layer]) = (query, manifest.layers.as_slice()) {
                answers.entry(query.id()).or_insert_with(|| layer.descriptor.clone());
            }
        }
        Ok(Self { layout, answers })
    }

    /// The answer to a query. Nobody has proved it.
    pub(super) fn to(&self, query: &Query) -> Result<Option<Vec<u8>>, LayoutError> {
        match self.answers.get(&query.id()) {
            Some(answer) => self.layout.content(answer, MAX_CRL_SIZE),
            None => Ok(None),
        }
    }
}

/// Commands on evidence bundles.
#[derive(Subcommand)]
pub(super) enum Bundle {
    /// Write the evidence of images, gathered by the daemon here and now, into a file for nodes that reach no registry
    Export(Export),
    /// Have the daemon judge the evidence in a file, and keep what it admits images by
    Import(Import),
}

/// What is taken along.
#[derive(Args)]
pub(super) struct Export {
    /// The images, e.g. registry.example/app:v1 or registry.example/app@sha256:…
    #[arg(value_name = "REF", required_unless_present = "with_policy_repository")]
    references: Vec<String>,
    /// The file to write: an OCI image layout as a tar
    #[arg(short = 'o', long, value_name = "FILE")]
    file: PathBuf,
    /// Take along the policy repository in this folder
    #[arg(long, value_name = "DIR")]
    with_policy_repository: Option<PathBuf>,
}

/// What is brought.
#[derive(Args)]
pub(super) struct Import {
    /// The file: an OCI image layout, as a tar or a folder
    file: PathBuf,
    /// Only these images [default: all that the file names]
    #[arg(value_name = "REF")]
    references: Vec<String>,
    /// Put the policy repository that the file holds into this folder, for nodes with repository = "file:///DIR"
    #[arg(long, value_name = "DIR")]
    policy_repository_to: Option<PathBuf>,
}

/// Runs a command. `connect` is called when the daemon is needed.
pub(super) async fn run(
    output: Output,
    command: &Bundle,
    connect: impl AsyncFnOnce() -> Result<ControlClient, Failure>,
) -> Result<u8, Failure> {
    match command {
        Bundle::Export(asked) => export::run(output, asked, connect).await,
        Bundle::Import(asked) => import::run(output, asked, connect).await,
    }
}

/// The media type of an answer (RFC 2585 §4.2, RFC 6960 §C.2).
fn media_type_of(query: &Query) -> &'static str {
    match query {
        Query::Ocsp { .. } => "application/ocsp-response",
        _ => "application/pkix-crl",
    }
}
