//! Writing a bundle.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File, OpenOptions};
use std::io::{self, BufWriter, Write as _};
use std::path::{Path, PathBuf};

use assay_proto::v1 as proto;
use assay_proto::v1::evidence_content::Kind;
use assay_proto::v1::export_evidence_response::Part;
use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::limits::{
    MAX_ATTESTATION_SIZE, MAX_CRL_SIZE, MAX_ENVELOPE_SIZE, MAX_MANIFEST_SIZE, MAX_SIGNATURES_MANIFEST_SIZE,
};
use assay_verify::query::{Query, QueryId};
use serde_json::json;

use super::{Export, QUERY_ANNOTATION, REVOCATION_ANSWER, media_type_of, policy_repository};
use crate::ctl::client::ControlClient;
use crate::ctl::progress::Progress;
use crate::ctl::{DONE, Failure, NOT_DECIDED, Output, render};
use crate::fetch::layout::{LayoutWriter, WriteError};
use crate::hooks::evidence::{Malformed, descriptor_from_wire, query_from_wire};

/// The largest blob of a signature, whatever its format.
const MAX_BLOB_SIZE: usize = if MAX_ATTESTATION_SIZE > MAX_ENVELOPE_SIZE {
    MAX_ATTESTATION_SIZE
} else {
    MAX_ENVELOPE_SIZE
};

type Writer = LayoutWriter<BufWriter<File>>;

/// What was exported of an image.
struct Row {
    exported: proto::Exported,
    signatures: usize,
    answers: usize,
}

pub(super) async fn run(
    output: Output,
    asked: &Export,
    connect: impl AsyncFnOnce() -> Result<ControlClient, Failure>,
) -> Result<u8, Failure> {
    let unwritable = |error: WriteError| Failure::Input(format!("{}: {error}", asked.file.display()));
    let repository = match &asked.with_policy_repository {
        Some(folder) => Some((folder, policy_repository::list(folder)?)),
        None => None,
    };
    let unfinished = Unfinished::create(&asked.file).map_err(|error| unwritable(error.into()))?;
    let mut writer = LayoutWriter::new(BufWriter::new(
        unfinished.file.try_clone().map_err(|error| unwritable(error.into()))?,
    ));
    let mut rows = Vec::new();
    if !asked.references.is_empty() {
        let mut client = connect().await?;
        let (mut progress, mut answered) = (Progress::new(), HashSet::new());
        for (number, reference) in asked.references.iter().enumerate() {
            progress.show(|| format!("exporting {} of {}: {reference}", number + 1, asked.references.len()));
            let exported = one(&mut client, reference, &mut writer, &mut answered).await;
            rows.push(exported.map_err(|failure| failure.about(reference))?);
        }
    }
    // What lacks something would be judged as if it were not there.
    let whole = rows.iter().all(|row| row.exported.incomplete.is_empty());
    let mut files = 0;
    let mut bytes = 0;
    if whole {
        if let Some((folder, listed)) = repository {
            files = listed.len();
            policy_repository::pack(&mut writer, folder, &listed)?;
        }
        bytes = writer.bytes();
        let mut file = writer.finish().map_err(unwritable)?;
        file.flush().map_err(|error| unwritable(error.into()))?;
        unfinished.finish().map_err(|error| unwritable(error.into()))?;
    }
    show(output, asked, &rows, files, whole.then_some(bytes));
    Ok(if whole { DONE } else { NOT_DECIDED })
}

/// A file that takes the place of another when it is whole, and else is removed.
struct Unfinished {
    file: File,
    path: PathBuf,
    target: PathBuf,
    is_finished: bool,
}

impl Unfinished {
    fn create(target: &Path) -> io::Result<Self> {
        let name = target.file_name().unwrap_or_default().to_string_lossy();
        let path = target.with_file_name(format!(".{name}.{}.new", std::process::id()));
        Ok(Self {
            file: OpenOptions::new().write(true).create_new(true).open(&path)?,
            path,
            target: target.to_owned(),
            is_finished: false,
        })
    }

    /// The bundle may be on a stick that is pulled out next.
    fn finish(mut self) -> io::Result<()> {
        self.file.sync_all()?;
        fs::rename(&self.path, &self.target)?;
        self.is_finished = true;
        Ok(())
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        if !self.is_finished {
            // It may be gone already.
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Content that comes in pieces.
struct Coming {
    kind: Kind,
    bytes: Vec<u8>,
    size: usize,
}

async fn one(
    client: &mut ControlClient,
    reference: &str,
    writer: &mut Writer,
    answered: &mut HashSet<QueryId>,
) -> Result<Row, Failure> {
    let mut parts = client.export_evidence(reference).await?;
    let (mut image, mut coming): (Option<Descriptor>, Option<Coming>) = (None, None);
    let (mut signatures, mut answers) = (0, 0);
    loop {
        let part = parts.message().await?.and_then(|message| message.part);
        match (part, &mut coming) {
            (Some(Part::Content(content)), None) => coming = Some(Coming::begin(content)?),
            (Some(Part::Data(data)), Some(content)) => content.push(data)?,
            (Some(Part::Exported(exported)), None) => {
                let named = exported.reference.parse().map_err(Failure::unexpected)?;
                let image = image.ok_or_else(|| Failure::unexpected("the image itself did not come"))?;
                writer.image(&named, &image).map_err(written)?;
                return Ok(Row {
                    exported,
                    signatures,
                    answers,
                });
            }
            _ => {
                return Err(Failure::unexpected(
                    "what is exported broke off, or came in another order",
                ));
            }
        }
        let Some(Coming { kind, bytes, .. }) = coming.take_if(|content| content.is_whole()) else {
            continue;
        };
        match kind {
            Kind::Image(content) => {
                let descriptor = filed(writer, content.descriptor.as_ref(), &bytes)?;
                image = Some(descriptor);
            }
            Kind::Manifest(content) => {
                let descriptor = filed(writer, content.descriptor.as_ref(), &bytes)?;
                let tag = Some(content.tag.as_str()).filter(|tag| !tag.is_empty());
                writer.signatures(&descriptor, tag).map_err(written)?;
                // The configuration of most, which other tools ask for.
                let empty = b"{}".as_slice();
                writer.blob(&Digest::sha256(empty), empty).map_err(written)?;
            }
            Kind::Blob(content) => {
                filed(writer, content.descriptor.as_ref(), &bytes)?;
                signatures += 1;
            }
            Kind::Answer(content) => {
                let query = content
                    .query
                    .ok_or_else(|| Failure::unexpected("an answer without a query"))?;
                let query = query_from_wire(&query).map_err(Failure::unexpected)?;
                answers += 1;
                if answered.insert(query.id()) {
                    file_answer(writer, &query, &bytes)?;
                }
            }
        }
    }
}

impl Coming {
    fn begin(content: proto::EvidenceContent) -> Result<Self, Failure> {
        let size_of = |descriptor: &Option<proto::Descriptor>| descriptor.as_ref().map_or(u64::MAX, |wire| wire.size);
        let kind = content.kind.ok_or_else(|| Failure::unexpected("content of no kind"))?;
        let (size, limit) = match &kind {
            Kind::Image(content) => (size_of(&content.descriptor), MAX_MANIFEST_SIZE),
            Kind::Manifest(content) => (size_of(&content.descriptor), MAX_SIGNATURES_MANIFEST_SIZE),
            Kind::Blob(content) => (size_of(&content.descriptor), MAX_BLOB_SIZE),
            Kind::Answer(content) => (content.size, MAX_CRL_SIZE),
        };
        let size = usize::try_from(size).ok().filter(|size| *size <= limit);
        Ok(Self {
            kind,
            bytes: Vec::new(),
            size: size.ok_or_else(|| Failure::unexpected("content that is larger than any"))?,
        })
    }

    fn push(&mut self, data: Vec<u8>) -> Result<(), Failure> {
        if data.len() > self.size - self.bytes.len() {
            return Err(Failure::unexpected("more content than was announced"));
        }
        self.bytes.extend(data);
        Ok(())
    }

    fn is_whole(&self) -> bool {
        self.bytes.len() == self.size
    }
}

fn filed(writer: &mut Writer, wire: Option<&proto::Descriptor>, bytes: &[u8]) -> Result<Descriptor, Failure> {
    let descriptor = descriptor_from_wire(wire).map_err(|error: Malformed| Failure::unexpected(error))?;
    writer.blob(&descriptor.digest, bytes).map_err(written)?;
    Ok(descriptor)
}

/// Files an answer with its query, so that it finds its place.
fn file_answer(writer: &mut Writer, query: &Query, bytes: &[u8]) -> Result<(), Failure> {
    let text = query
        .to_json()
        .ok_or_else(|| Failure::unexpected("an answer of a plugin"))?;
    let layer = Descriptor {
        media_type: MediaType::parse(media_type_of(query)).map_err(Failure::unexpected)?,
        digest: Digest::sha256(bytes),
        size: bytes.len() as u64,
    };
    writer.blob(&layer.digest, bytes).map_err(written)?;
    let annotations = BTreeMap::from([(QUERY_ANNOTATION.to_owned(), text)]);
    writer
        .artifact(REVOCATION_ANSWER, &[(layer, BTreeMap::new())], annotations)
        .map_err(written)
}

fn written(error: WriteError) -> Failure {
    Failure::Input(error.to_string())
}

fn show(output: Output, asked: &Export, rows: &[Row], files: usize, bytes: Option<u64>) {
    let digest = |row: &Row| {
        let descriptor = row.exported.descriptor.as_ref();
        descriptor
            .map(|descriptor| descriptor.digest.clone())
            .unwrap_or_default()
    };
    if output == Output::Json {
        let row = |row: &Row| {
            let verdict = row.exported.verdict.clone().unwrap_or_default();
            json!({
                "reference": row.exported.reference,
                "digest": digest(row),
                "signatures": row.signatures,
                "answers": row.answers,
                "verdict": render::word(&verdict),
                "code": verdict.code,
                "reason": verdict.reason,
                "incomplete": row.exported.incomplete,
            })
        };
        println!(
            "{}",
            json!({
                "file": bytes.is_some().then(|| asked.file.display().to_string()),
                "bytes": bytes,
                "images": rows.iter().map(row).collect::<Vec<_>>(),
                "policy_repository_files": files,
            })
        );
        return;
    }
    for row in rows {
        let verdict = row.exported.verdict.clone().unwrap_or_default();
        println!(
            "{} {} {}",
            render::headline_word(&verdict),
            row.exported.reference,
            digest(row)
        );
        println!(
            "  exported   {} signatures, {} revocation answers",
            row.signatures, row.answers
        );
        if !verdict.code.is_empty() {
            println!("  here       {}: {}", verdict.code, verdict.reason);
        }
        if !row.exported.incomplete.is_empty() {
            println!("  {} {}", render::bad("incomplete"), row.exported.incomplete);
        }
    }
    if files > 0 {
        println!("policy repository: {files} files");
    }
    match bytes {
        Some(bytes) => println!("wrote {} ({} KiB)", asked.file.display(), bytes.div_ceil(1024)),
        None => println!(
            "{}: not everything could be read, and what lacks would count as absent. {} was not written",
            render::bad("not exported"),
            asked.file.display()
        ),
    }
}
