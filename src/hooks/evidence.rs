//! Evidence on the wire: what assayctl takes away from one daemon and brings to another.
//!
//! An import is a conversation that the daemon leads. It asks for one thing, and reads no more than the answer to that; so it
//! holds one piece at a time, whatever the bundle has, and each piece is paid for before it is read.

use std::collections::HashSet;
use std::sync::Arc;
use std::time::Duration;

use assay_proto::v1 as proto;
use assay_proto::v1::evidence_content::Kind;
use assay_proto::v1::export_evidence_response::Part as ExportPart;
use assay_proto::v1::import_evidence_request::Part as ImportPart;
use assay_proto::v1::import_evidence_response::Event;
use assay_verify::descriptor::{Descriptor, MediaType};
use assay_verify::digest::Digest;
use assay_verify::evidence::{Signature, SignatureManifest};
use assay_verify::limits::{
    EVIDENCE_PIECE, GATHER_DEADLINE, MAX_CRL_SIZE, MAX_MANIFEST_SIZE, MAX_OCSP_RESPONSE_SIZE,
    MAX_SIGNATURES_MANIFEST_SIZE, MEMORY_WAIT, READ_IDLE_TIMEOUT,
};
use assay_verify::query::Query;
use assay_verify::reference::Reference;
use assay_verify::untrusted::Untrusted;
use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use thiserror::Error;
use tokio::sync::{Mutex, mpsc};
use tokio::time::{Instant, timeout};
use tonic::{Status, Streaming};

use super::control::{unavailable, verdict_response};
use crate::admission::bundle::{Brought, Bundle, End, Imported, Next};
use crate::admission::{Admission, Exported, Hook, Question};
use crate::fetch::layout::tag_for;
use crate::fetch::revocation::AnswerMemory;
use crate::fetch::{Client, FetchError, Held};

/// Messages that wait for the other side. Each holds at most [`EVIDENCE_PIECE`] bytes of evidence.
pub(super) const IN_FLIGHT: usize = 4;

/// What came is not what the protocol has.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{0}")]
pub struct Malformed(Untrusted);

impl Malformed {
    fn new(what: impl ToString) -> Self {
        Self(what.to_string().into())
    }
}

/// A descriptor on the wire.
pub fn descriptor_to_wire(descriptor: &Descriptor) -> proto::Descriptor {
    proto::Descriptor {
        media_type: descriptor.media_type.to_string(),
        digest: descriptor.digest.to_string(),
        size: descriptor.size,
    }
}

/// Reads it back.
///
/// # Errors
///
/// When it is none.
pub fn descriptor_from_wire(wire: Option<&proto::Descriptor>) -> Result<Descriptor, Malformed> {
    let wire = wire.ok_or_else(|| Malformed::new("a descriptor is missing"))?;
    Ok(Descriptor {
        media_type: MediaType::parse(&wire.media_type).map_err(Malformed::new)?,
        digest: wire.digest.parse().map_err(Malformed::new)?,
        size: wire.size,
    })
}

/// A query about revocation on the wire; none for a question to a plugin.
pub fn query_to_wire(query: &Query) -> Option<proto::RevocationQuery> {
    match query {
        Query::Crl(url) => Some(proto::RevocationQuery {
            addresses: vec![url.as_str().to_owned()],
            ocsp_request: Vec::new(),
        }),
        Query::Ocsp { responders, request } => Some(proto::RevocationQuery {
            addresses: responders.iter().map(|url| url.as_str().to_owned()).collect(),
            ocsp_request: request.to_vec(),
        }),
        Query::PluginMetadata(_) | Query::PluginVerdict { .. } => None,
    }
}

/// Reads it back.
///
/// # Errors
///
/// When it is none.
pub fn query_from_wire(wire: &proto::RevocationQuery) -> Result<Query, Malformed> {
    let addresses = wire.addresses.iter().map(|address| address.parse());
    let mut addresses: Vec<_> = addresses.collect::<Result<_, _>>().map_err(Malformed::new)?;
    if !wire.ocsp_request.is_empty() {
        return Ok(Query::Ocsp {
            responders: addresses,
            request: wire.ocsp_request.as_slice().into(),
        });
    }
    match (addresses.pop(), addresses.is_empty()) {
        (Some(address), true) => Ok(Query::Crl(address)),
        _ => Err(Malformed::new("a CRL has one address")),
    }
}

/// Gathers the evidence of an image and sends it.
pub(super) async fn export(
    admission: &Admission,
    reference: &str,
    outgoing: &mpsc::Sender<Result<proto::ExportEvidenceResponse, Status>>,
) -> Result<(), Status> {
    let reference: Reference = reference
        .parse()
        .map_err(|error| Status::invalid_argument(format!("{error}")))?;
    let registries = admission.registries();
    let budget = registries.budget(Instant::now() + GATHER_DEADLINE);
    let image = registries.fetch(&reference, &budget).await.map_err(unavailable)?;
    let question = Question {
        repository: reference.repository.clone(),
        descriptor: image.descriptor.clone(),
        hook: Hook::Control,
    };
    let kind = Kind::Image(proto::ImageContent {
        descriptor: Some(descriptor_to_wire(&image.descriptor)),
    });
    send(outgoing, kind, &image.bytes).await?;
    let (parts, exported) = mpsc::channel(1);
    // Each side is moved into what uses it, so that the other sees its end.
    let exporting = async {
        let parts = parts;
        admission.export(&question, &image.bytes, &parts).await;
    };
    let sending = async {
        let (mut exported, mut sent) = (exported, HashSet::new());
        while let Some(part) = exported.recv().await {
            match part {
                Exported::Signature { of, signature } => send_signature(outgoing, &of, &signature, &mut sent).await?,
                Exported::Answer(query, bytes) => {
                    let kind = Kind::Answer(proto::RevocationAnswerContent {
                        query: query_to_wire(&query),
                        size: bytes.len() as u64,
                    });
                    send(outgoing, kind, &bytes).await?;
                }
                Exported::End { verdict, incomplete } => {
                    let end = proto::Exported {
                        reference: reference.to_string(),
                        descriptor: Some(descriptor_to_wire(&question.descriptor)),
                        verdict: Some(verdict_response(&verdict)),
                        incomplete: incomplete.unwrap_or_default(),
                    };
                    send_part(outgoing, ExportPart::Exported(end)).await?;
                }
            }
        }
        Ok(())
    };
    tokio::join!(exporting, sending).1
}

async fn send_signature(
    outgoing: &mpsc::Sender<Result<proto::ExportEvidenceResponse, Status>>,
    of: &Digest,
    signature: &Signature,
    sent: &mut HashSet<(Digest, Digest)>,
) -> Result<(), Status> {
    let manifest = signature.manifest();
    // Under the name of each image that it was found for.
    if sent.insert((manifest.digest().clone(), of.clone())) {
        let kind = Kind::Manifest(proto::SignatureManifestContent {
            descriptor: Some(descriptor_to_wire(&Descriptor {
                media_type: manifest.media_type().clone(),
                digest: manifest.digest().clone(),
                size: manifest.json().len() as u64,
            })),
            tag: tag_for(manifest, of).unwrap_or_default(),
        });
        send(outgoing, kind, manifest.json()).await?;
    }
    let kind = Kind::Blob(proto::SignatureBlobContent {
        descriptor: Some(descriptor_to_wire(&signature.layer().descriptor)),
        position: u32::try_from(signature.position()).unwrap_or(u32::MAX),
    });
    send(outgoing, kind, signature.envelope()).await
}

async fn send(
    outgoing: &mpsc::Sender<Result<proto::ExportEvidenceResponse, Status>>,
    kind: Kind,
    bytes: &[u8],
) -> Result<(), Status> {
    let content = proto::EvidenceContent { kind: Some(kind) };
    send_part(outgoing, ExportPart::Content(content)).await?;
    for piece in bytes.chunks(EVIDENCE_PIECE) {
        send_part(outgoing, ExportPart::Data(piece.to_vec())).await?;
    }
    Ok(())
}

async fn send_part(
    outgoing: &mpsc::Sender<Result<proto::ExportEvidenceResponse, Status>>,
    part: ExportPart,
) -> Result<(), Status> {
    let message = proto::ExportEvidenceResponse { part: Some(part) };
    let gone = |_| Status::cancelled("nobody takes what is exported");
    outgoing.send(Ok(message)).await.map_err(gone)
}

/// Reads what an import is about, and leads it to its end.
pub(super) async fn import(
    admission: &Admission,
    mut incoming: Streaming<proto::ImportEvidenceRequest>,
    outgoing: mpsc::Sender<Result<proto::ImportEvidenceResponse, Status>>,
) -> Result<(), Status> {
    let first = incoming.message().await?.and_then(|message| message.part);
    let Some(ImportPart::Image(image)) = first else {
        return Err(Status::invalid_argument("an import begins with what it is about"));
    };
    let digest = image.descriptor.as_ref().map(|wire| wire.digest.as_str());
    let descriptor = image.descriptor.as_ref();
    let descriptor = descriptor.map(|wire| (wire.media_type.as_str(), wire.digest.as_str(), wire.size));
    let question = Question::parse(&image.reference, digest.unwrap_or_default(), descriptor, Hook::Control)
        .map_err(|error| Status::invalid_argument(error.to_string()))?;
    let carrier = Carrier {
        registries: admission.registries().clone(),
        answers: admission.respondents().revocation.memory().clone(),
        conversation: Mutex::new(Conversation {
            incoming,
            outgoing: outgoing.clone(),
            manifest: None,
            broken: None,
        }),
    };
    let imported = admission.import(&question, &carrier).await;
    let verdict = imported_verdict(&imported);
    let event = proto::ImportEvidenceResponse {
        event: Some(Event::Imported(verdict)),
    };
    // Whoever asked may be gone.
    let _ = outgoing.send(Ok(event)).await;
    Ok(())
}

fn imported_verdict(imported: &Imported) -> proto::ImportedVerdict {
    proto::ImportedVerdict {
        verdict: Some(verdict_response(&imported.explanation.verdict)),
        kept: imported.is_kept(),
        not_kept: imported
            .not_stored
            .as_ref()
            .map(ToString::to_string)
            .unwrap_or_default(),
    }
}

/// A bundle at the other end of a connection.
struct Carrier {
    registries: Client,
    answers: AnswerMemory,
    /// One question after the other.
    conversation: Mutex<Conversation>,
}

struct Conversation {
    incoming: Streaming<proto::ImportEvidenceRequest>,
    outgoing: mpsc::Sender<Result<proto::ImportEvidenceResponse, Status>>,
    /// The manifest of the signatures that come now, and what pays for it.
    manifest: Option<(Arc<SignatureManifest>, Held)>,
    /// Why nothing more is asked.
    broken: Option<FetchError>,
}

impl Bundle for Carrier {
    fn manifest<'a>(&'a self, of: &'a Descriptor) -> BoxFuture<'a, Result<Option<Brought<Vec<u8>>>, FetchError>> {
        async move {
            let mut conversation = self.conversation.lock().await;
            let asked = conversation.manifest(&self.registries, of).await;
            conversation.or_broken(asked)
        }
        .boxed()
    }

    fn next<'a>(&'a self, of: &'a Digest) -> BoxFuture<'a, Result<Next, FetchError>> {
        async move {
            let mut conversation = self.conversation.lock().await;
            let asked = conversation.next(&self.registries, of).await;
            conversation.or_broken(asked)
        }
        .boxed()
    }

    fn answer<'a>(&'a self, query: &'a Query) -> BoxFuture<'a, Option<Arc<[u8]>>> {
        async move {
            let mut conversation = self.conversation.lock().await;
            let asked = conversation.answer(&self.answers, query).await;
            conversation.or_broken(asked).ok().flatten()
        }
        .boxed()
    }
}

impl Conversation {
    /// After a mistake of the other side nothing that it says can be told apart.
    fn or_broken<T>(&mut self, asked: Result<T, FetchError>) -> Result<T, FetchError> {
        if let Err(error) = &asked {
            self.broken.get_or_insert_with(|| error.clone());
        }
        asked
    }

    async fn ask(&mut self, event: Event) -> Result<(), FetchError> {
        if let Some(error) = &self.broken {
            return Err(error.clone());
        }
        let message = proto::ImportEvidenceResponse { event: Some(event) };
        let gone = |_| not_whole("whoever brings it is gone");
        self.outgoing.send(Ok(message)).await.map_err(gone)
    }

    async fn receive(&mut self) -> Result<ImportPart, FetchError> {
        let message = match timeout(READ_IDLE_TIMEOUT, self.incoming.message()).await {
            Ok(Ok(message)) => message,
            Ok(Err(status)) => return Err(not_whole(status.message())),
            Err(_) => {
                let seconds = Duration::as_secs(&READ_IDLE_TIMEOUT);
                return Err(not_whole(&format!("nothing came for {seconds} s")));
            }
        };
        message
            .and_then(|message| message.part)
            .ok_or_else(|| not_whole("it broke off"))
    }

    /// Reads exactly as many bytes as were announced and paid for.
    async fn bytes(&mut self, size: usize) -> Result<Vec<u8>, FetchError> {
        let mut bytes = Vec::with_capacity(size);
        while bytes.len() < size {
            match self.receive().await? {
                ImportPart::Data(data) if !data.is_empty() && data.len() <= size - bytes.len() => bytes.extend(data),
                _ => return Err(not_whole("other bytes came than were announced")),
            }
        }
        Ok(bytes)
    }

    async fn manifest(&mut self, registries: &Client, of: &Descriptor) -> Result<Option<Brought<Vec<u8>>>, FetchError> {
        self.ask(Event::Manifest(descriptor_to_wire(of))).await?;
        let content = match self.receive().await? {
            ImportPart::NothingElse(_) => return Ok(None),
            ImportPart::Content(proto::EvidenceContent {
                kind: Some(Kind::Image(content)),
            }) => content,
            _ => return Err(unasked()),
        };
        let announced = announced(content.descriptor.as_ref(), MAX_MANIFEST_SIZE)?;
        let held = registries.pay(announced.1).await?;
        let what = self.bytes(announced.1).await?;
        Ok(Some(Brought { what, held }))
    }

    async fn next(&mut self, registries: &Client, of: &Digest) -> Result<Next, FetchError> {
        self.ask(Event::NextSignatureOf(of.to_string())).await?;
        loop {
            let kind = match self.receive().await? {
                ImportPart::NothingElse(end) => {
                    let said = |text: String| Some(text).filter(|text| !text.is_empty()).map(Untrusted::from);
                    return Ok(Next::End(End {
                        incomplete: said(end.incomplete),
                        unread: said(end.unread),
                    }));
                }
                ImportPart::Content(content) => content.kind,
                ImportPart::Image(_) | ImportPart::Data(_) => None,
            };
            match kind {
                Some(Kind::Manifest(content)) => {
                    let (descriptor, size) = announced(content.descriptor.as_ref(), MAX_SIGNATURES_MANIFEST_SIZE)?;
                    // Parsed, it takes about as much again.
                    let held = registries.pay(2 * size).await?;
                    let json = self.bytes(size).await?;
                    let manifest = SignatureManifest::open(&descriptor, json.into());
                    let manifest = manifest.map_err(|error| not_whole(&error.to_string()))?;
                    self.manifest = Some((Arc::new(manifest), held));
                }
                Some(Kind::Blob(content)) => {
                    let Some((manifest, _)) = &self.manifest else {
                        return Err(not_whole("the blob of a signature came before its manifest"));
                    };
                    let manifest = Arc::clone(manifest);
                    let position = usize::try_from(content.position).unwrap_or(usize::MAX);
                    let limit = manifest
                        .layers()
                        .get(position)
                        .map_or(0, |layer| layer.format.max_size());
                    let (_, size) = announced(content.descriptor.as_ref(), limit)?;
                    let held = registries.pay(size).await?;
                    let blob = self.bytes(size).await?;
                    let signature = Signature::new(manifest, position, blob.into());
                    let what = signature.map_err(|error| not_whole(&error.to_string()))?;
                    return Ok(Next::Signature(Box::new(Brought { what, held })));
                }
                _ => return Err(unasked()),
            }
        }
    }

    async fn answer(&mut self, memory: &AnswerMemory, query: &Query) -> Result<Option<Arc<[u8]>>, FetchError> {
        let Some(wire) = query_to_wire(query) else {
            return Ok(None);
        };
        self.ask(Event::Answer(wire)).await?;
        let content = match self.receive().await? {
            ImportPart::NothingElse(_) => return Ok(None),
            ImportPart::Content(proto::EvidenceContent {
                kind: Some(Kind::Answer(content)),
            }) => content,
            _ => return Err(unasked()),
        };
        let limit = match query {
            Query::Crl(_) => MAX_CRL_SIZE,
            _ => MAX_OCSP_RESPONSE_SIZE,
        };
        let size = within(content.size, limit)?;
        let paid = memory.pay(size, Instant::now() + MEMORY_WAIT).await;
        let paid = paid.ok_or(FetchError::ProcessMemory)?;
        let bytes = self.bytes(size).await?;
        Ok(paid.hold(bytes))
    }
}

/// What is announced, and how many bytes it has.
fn announced(wire: Option<&proto::Descriptor>, limit: usize) -> Result<(Descriptor, usize), FetchError> {
    let descriptor = descriptor_from_wire(wire).map_err(|error| not_whole(&error.to_string()))?;
    let size = within(descriptor.size, limit)?;
    Ok((descriptor, size))
}

fn within(size: u64, limit: usize) -> Result<usize, FetchError> {
    let size = usize::try_from(size).ok().filter(|size| *size <= limit);
    size.ok_or_else(|| not_whole(&format!("something in it is larger than {limit} bytes")))
}

fn not_whole(cause: &str) -> FetchError {
    FetchError::NotWhole { cause: cause.into() }
}

fn unasked() -> FetchError {
    not_whole("something came that was not asked for")
}
