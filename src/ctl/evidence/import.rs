//! Bringing what a bundle holds to the daemon.

use std::collections::{HashMap, VecDeque};

use assay_proto::v1 as proto;
use assay_proto::v1::evidence_content::Kind;
use assay_proto::v1::import_evidence_request::Part;
use assay_proto::v1::import_evidence_response::Event;
use assay_verify::code::Code;
use assay_verify::descriptor::Descriptor;
use assay_verify::digest::Digest;
use assay_verify::evidence::Signature;
use assay_verify::limits::{EVIDENCE_PIECE, MAX_MANIFEST_SIZE};
use assay_verify::reference::Reference;
use assay_verify::untrusted::Untrusted;
use serde_json::json;
use tokio::sync::mpsc;

use super::{BundledAnswers, Import, policy_repository};
use crate::ctl::client::ControlClient;
use crate::ctl::progress::Progress;
use crate::ctl::{DENIED, DONE, Failure, NOT_DECIDED, Output, denied, render};
use crate::fetch::layout::{Layout, LayoutError, Survey};
use crate::hooks::evidence::{descriptor_from_wire, descriptor_to_wire, query_from_wire};
use crate::sync::layout::REPOSITORY_ARTIFACT;

/// What became of one image.
struct Row {
    reference: Reference,
    digest: Option<Digest>,
    outcome: Result<proto::ImportedVerdict, String>,
}

impl Row {
    /// The exit code for this image alone.
    fn exit_code(&self) -> u8 {
        let Ok(imported) = &self.outcome else {
            return NOT_DECIDED;
        };
        let verdict = imported.verdict.clone().unwrap_or_default();
        match verdict.verdict() {
            proto::Verdict::Admit if imported.not_kept.is_empty() => DONE,
            proto::Verdict::Admit => NOT_DECIDED,
            _ => verdict.code.parse::<Code>().map_or(DENIED, denied),
        }
    }
}

pub(super) async fn run(
    output: Output,
    asked: &Import,
    connect: impl AsyncFnOnce() -> Result<ControlClient, Failure>,
) -> Result<u8, Failure> {
    let input = |error: LayoutError| Failure::Input(error.to_string());
    let layout = Layout::open(&asked.file).map_err(input)?;
    let images = images(&layout, asked)?;
    let repositories = layout.artifacts(REPOSITORY_ARTIFACT).map_err(input)?;
    let placed = match &asked.policy_repository_to {
        Some(folder) => Some((folder, policy_repository::unpack(&layout, &repositories, folder)?)),
        None => None,
    };
    if images.is_empty() && repositories.is_empty() {
        return Err(Failure::Input(format!(
            "{} names no image: name those that it holds, e.g. registry.example/app@sha256:…",
            asked.file.display()
        )));
    }
    let mut rows = Vec::with_capacity(images.len());
    if !images.is_empty() {
        let mut client = connect().await?;
        let mut carrier = Carrier::new(&layout).map_err(input)?;
        let (mut progress, count) = (Progress::new(), images.len());
        for (number, (reference, found)) in images.into_iter().enumerate() {
            progress.show(|| format!("importing {} of {count}: {reference}", number + 1));
            rows.push(match found {
                Ok(descriptor) => Row {
                    digest: Some(descriptor.digest.clone()),
                    // One that fails keeps none of the others from being brought.
                    outcome: carrier
                        .carry(&mut client, &reference, &descriptor)
                        .await
                        .map_err(Failure::into_message),
                    reference,
                },
                Err(error) => Row {
                    reference,
                    digest: None,
                    outcome: Err(error.to_string()),
                },
            });
        }
    }
    show(
        output,
        &rows,
        placed.as_ref().map(|(folder, files)| (folder.as_path(), *files)),
    );
    if placed.is_none() && !repositories.is_empty() && output == Output::Human {
        println!(
            "the bundle also holds a policy repository: --policy-repository-to DIR puts it where the node reads it"
        );
    }
    // What is denied is worse than what is not decided.
    let codes: Vec<_> = rows.iter().map(Row::exit_code).collect();
    let worst = [DENIED, NOT_DECIDED].into_iter().find(|code| codes.contains(code));
    Ok(worst.unwrap_or(DONE))
}

type Found = (Reference, Result<Descriptor, LayoutError>);

/// The images that are to be brought, each with its descriptor, or why it is not there.
fn images(layout: &Layout, asked: &Import) -> Result<Vec<Found>, Failure> {
    if asked.references.is_empty() {
        let proven = |(reference, descriptor): (Reference, Descriptor)| {
            let found = layout.resolve(&descriptor.digest.to_string());
            (reference, found)
        };
        return Ok(layout.images().into_iter().map(proven).collect());
    }
    let mut images = Vec::with_capacity(asked.references.len());
    for text in &asked.references {
        let reference: Reference = text.parse().map_err(|error| Failure::Input(format!("{error}")))?;
        let found = layout.find(&reference);
        images.push((reference, found));
    }
    Ok(images)
}

/// A bundle, and how far the daemon has come with it.
struct Carrier<'a> {
    layout: &'a Layout,
    survey: Survey<'a>,
    answers: BundledAnswers<'a>,
}

/// What the daemon has asked for of one image so far.
#[derive(Default)]
struct Conversation {
    subjects: HashMap<Digest, Subject>,
    /// The manifest that it has in hand.
    manifest: Option<Digest>,
}

struct Subject {
    left: VecDeque<Signature>,
    end: proto::NothingElse,
}

impl<'a> Carrier<'a> {
    fn new(layout: &'a Layout) -> Result<Self, LayoutError> {
        Ok(Self {
            layout,
            survey: layout.survey()?,
            answers: BundledAnswers::of(layout)?,
        })
    }

    /// Has the daemon judge one image.
    async fn carry(
        &mut self,
        client: &mut ControlClient,
        reference: &Reference,
        image: &Descriptor,
    ) -> Result<proto::ImportedVerdict, Failure> {
        let first = Part::Image(proto::ImportedImage {
            reference: reference.to_string(),
            descriptor: Some(descriptor_to_wire(image)),
        });
        let (outgoing, mut events) = client.import_evidence(first).await?;
        let mut conversation = Conversation::default();
        loop {
            let event = events.message().await?.and_then(|message| message.event);
            match event {
                Some(Event::Manifest(wire)) => {
                    let wanted = descriptor_from_wire(Some(&wire)).map_err(Failure::unexpected)?;
                    let content = self.read(&wanted, MAX_MANIFEST_SIZE)?;
                    let kind = Kind::Image(proto::ImageContent { descriptor: Some(wire) });
                    send_or_nothing(&outgoing, kind, content).await?;
                }
                Some(Event::NextSignatureOf(digest)) => {
                    let digest: Digest = digest.parse().map_err(Failure::unexpected)?;
                    self.next(&mut conversation, &digest, &outgoing).await?;
                }
                Some(Event::Answer(wire)) => {
                    let query = query_from_wire(&wire).map_err(Failure::unexpected)?;
                    let content = self.answers.to(&query);
                    let content = content.map_err(|error| Failure::Input(error.to_string()))?;
                    let kind = Kind::Answer(proto::RevocationAnswerContent {
                        query: Some(wire),
                        size: content.as_ref().map_or(0, Vec::len) as u64,
                    });
                    send_or_nothing(&outgoing, kind, content).await?;
                }
                Some(Event::Imported(imported)) => return Ok(imported),
                None => return Err(Failure::unexpected("the import broke off")),
            }
        }
    }

    fn read(&self, descriptor: &Descriptor, limit: usize) -> Result<Option<Vec<u8>>, Failure> {
        self.layout
            .content(descriptor, limit)
            .map_err(|error| Failure::Input(error.to_string()))
    }

    /// Brings the next signature of an image, or says that there is no other.
    async fn next(
        &self,
        conversation: &mut Conversation,
        image: &Digest,
        outgoing: &mpsc::Sender<proto::ImportEvidenceRequest>,
    ) -> Result<(), Failure> {
        if !conversation.subjects.contains_key(image) {
            let found = self.survey.signatures(image);
            let found = found.map_err(|error| Failure::Input(error.to_string()))?;
            let subject = Subject {
                left: found.signatures.into(),
                end: proto::NothingElse {
                    incomplete: found.incomplete.map(|error| error.to_string()).unwrap_or_default(),
                    unread: found.unread.map(|error| error.to_string()).unwrap_or_default(),
                },
            };
            conversation.subjects.insert(image.clone(), subject);
        }
        let Some(subject) = conversation.subjects.get_mut(image) else {
            return Ok(());
        };
        let Some(signature) = subject.left.pop_front() else {
            return send(outgoing, Part::NothingElse(subject.end.clone())).await;
        };
        let manifest = signature.manifest();
        if conversation.manifest.as_ref() != Some(manifest.digest()) {
            let descriptor = Descriptor {
                media_type: manifest.media_type().clone(),
                digest: manifest.digest().clone(),
                size: manifest.json().len() as u64,
            };
            let kind = Kind::Manifest(proto::SignatureManifestContent {
                descriptor: Some(descriptor_to_wire(&descriptor)),
                tag: String::new(),
            });
            send_content(outgoing, kind, manifest.json()).await?;
            conversation.manifest = Some(descriptor.digest);
        }
        let kind = Kind::Blob(proto::SignatureBlobContent {
            descriptor: Some(descriptor_to_wire(&signature.layer().descriptor)),
            position: u32::try_from(signature.position()).unwrap_or(u32::MAX),
        });
        send_content(outgoing, kind, signature.envelope()).await
    }
}

async fn send_or_nothing(
    outgoing: &mpsc::Sender<proto::ImportEvidenceRequest>,
    kind: Kind,
    content: Option<Vec<u8>>,
) -> Result<(), Failure> {
    match content {
        Some(content) => send_content(outgoing, kind, &content).await,
        None => send(outgoing, Part::NothingElse(proto::NothingElse::default())).await,
    }
}

async fn send_content(
    outgoing: &mpsc::Sender<proto::ImportEvidenceRequest>,
    kind: Kind,
    content: &[u8],
) -> Result<(), Failure> {
    send(outgoing, Part::Content(proto::EvidenceContent { kind: Some(kind) })).await?;
    for piece in content.chunks(EVIDENCE_PIECE) {
        send(outgoing, Part::Data(piece.to_vec())).await?;
    }
    Ok(())
}

async fn send(outgoing: &mpsc::Sender<proto::ImportEvidenceRequest>, part: Part) -> Result<(), Failure> {
    // A daemon that takes nothing any more says why in the next event.
    let _ = outgoing.send(proto::ImportEvidenceRequest { part: Some(part) }).await;
    Ok(())
}

fn show(output: Output, rows: &[Row], placed: Option<(&std::path::Path, usize)>) {
    let digest = |row: &Row| row.digest.as_ref().map(ToString::to_string).unwrap_or_default();
    if output == Output::Json {
        let row = |row: &Row| match &row.outcome {
            Ok(imported) => {
                let verdict = imported.verdict.clone().unwrap_or_default();
                json!({
                    "reference": row.reference.to_string(),
                    "digest": digest(row),
                    "verdict": render::word(&verdict),
                    "audited": verdict.audited,
                    "code": verdict.code,
                    "reason": verdict.reason,
                    "rule": verdict.rule,
                    "kept": imported.kept,
                    "not_kept": imported.not_kept,
                })
            }
            Err(why) => json!({
                "reference": row.reference.to_string(),
                "digest": digest(row),
                "verdict": "unknown",
                "code": "",
                "reason": Untrusted::new(why).to_string(),
                "kept": false,
            }),
        };
        println!(
            "{}",
            json!({
                "images": rows.iter().map(row).collect::<Vec<_>>(),
                "policy_repository": placed.map(|(folder, files)| json!({
                    "folder": folder.display().to_string(),
                    "files": files,
                })),
            })
        );
        return;
    }
    if let Some((folder, files)) = placed {
        println!("policy repository: {files} files in {}", folder.display());
    }
    for row in rows {
        match &row.outcome {
            Ok(imported) => {
                let verdict = imported.verdict.clone().unwrap_or_default();
                println!("{} {} {}", render::headline_word(&verdict), row.reference, digest(row));
                match (imported.kept, imported.not_kept.as_str()) {
                    (true, _) => println!("  kept       {}", verdict.reason),
                    (false, "") if verdict.code.is_empty() => println!("  nothing    {}", verdict.reason),
                    (false, "") => println!("  not kept   {}: {}", verdict.code, verdict.reason),
                    (false, why) => println!("  {} {why}", render::bad("not kept  ")),
                }
            }
            Err(why) => {
                println!("{} {}", render::warn("UNKNOWN"), row.reference);
                println!("  not read   {}", Untrusted::new(why));
            }
        }
    }
}
