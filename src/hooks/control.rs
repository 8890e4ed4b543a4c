//! The service that assayctl asks: `assayd.v1.Control`.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use assay_proto::v1 as proto;
use assay_proto::v1::control_server::Control;
use assay_verify::Timestamp;
use assay_verify::evidence::{SignatureFormat, SignatureId};
use assay_verify::judge::{AttestationJudgement, AuthorityReport, Finding, NotAttested};
use assay_verify::limits::GATHER_DEADLINE;
use assay_verify::notation::signature::{SignatureJudgement, StepOutcome, StepReport};
use assay_verify::reference::Reference;
use assay_verify::sigstore::report;
use tokio::sync::{Semaphore, mpsc};
use tokio::time::Instant;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status, Streaming};
use uuid::Uuid;

use super::evidence::{self, descriptor_to_wire};
use super::metrics::Metrics;
use super::node_images::{self, Judging};
use super::sync;
use super::verifier::response;
use crate::admission::answers::FailingQuery;
use crate::admission::{
    Admission, CacheState, Decision, Explanation, Hook, Outcome, Question, Tree, TreeEntry, Verdict,
};
use crate::fetch::FetchError;
use crate::trust::TrustState;

/// Answers assayctl.
#[derive(Clone)]
pub struct ControlService {
    admission: Admission,
    metrics: Metrics,
    started_at: Timestamp,
    /// One import at a time: what it holds is bounded, and nobody waits for it.
    importing: Arc<Semaphore>,
}

impl ControlService {
    /// Answers from `admission`.
    pub fn new(admission: Admission, metrics: Metrics, started_at: Timestamp) -> Self {
        Self {
            admission,
            metrics,
            started_at,
            importing: Arc::new(Semaphore::new(1)),
        }
    }

    fn cache(&self) -> proto::CacheStatsResponse {
        let evidence = self.admission.evidence().stats();
        let statistics = self.admission.statistics();
        proto::CacheStatsResponse {
            verdicts: self.admission.cached_verdicts() as u64,
            verdict_hits: statistics.verdict_hits.load(Ordering::Relaxed),
            evidence_hits: statistics.evidence_hits.load(Ordering::Relaxed),
            gathers: statistics.gathers.load(Ordering::Relaxed),
            evidence_state: evidence.state.to_string(),
            degraded: evidence.state.is_degraded(),
            evidence_images: evidence.images,
            evidence_bytes: evidence.bytes,
            evidence_bytes_limit: evidence.limit,
            bytes_on_disk: evidence.bytes_on_disk,
            damaged_records: evidence.damaged_records,
            damaged_stores: evidence.damaged_stores,
            evicted: evidence.evicted,
            imported_images: evidence.imported,
        }
    }

    /// What a reference names now. A tag is resolved for whoever looks, never for a decision.
    async fn resolve(&self, text: &str) -> Result<(Reference, Question), Status> {
        let reference: Reference = text
            .parse()
            .map_err(|error| Status::invalid_argument(format!("{error}")))?;
        let registries = self.admission.registries();
        let budget = registries.budget(Instant::now() + GATHER_DEADLINE);
        let descriptor = registries.resolve(&reference, &budget).await.map_err(unavailable)?;
        let question = Question {
            repository: reference.repository.clone(),
            descriptor,
            hook: Hook::Control,
        };
        Ok((reference, question))
    }

    fn revocation(&self) -> proto::RevocationStatus {
        let statistics = self.admission.respondents().revocation.statistics();
        let failing = |failing: &FailingQuery| {
            let FailingQuery {
                query,
                since,
                unanswered,
            } = failing;
            let since = since.round(jiff::Unit::Second).unwrap_or(*since);
            format!("{query} since {since}: {}", unanswered.reason)
        };
        proto::RevocationStatus {
            kept: statistics.kept as u64,
            bytes_in_memory: statistics.memory as u64,
            bytes_on_disk: statistics.disk,
            soonest_lapse: statistics.soonest_lapse.map_or(0, Timestamp::as_second),
            failing: statistics.failing.iter().map(failing).collect(),
        }
    }
}

#[tonic::async_trait]
impl Control for ControlService {
    async fn status(&self, _: Request<proto::StatusRequest>) -> Result<Response<proto::StatusResponse>, Status> {
        let statistics = self.admission.statistics();
        let last_verdict_at = Hook::ALL
            .into_iter()
            .filter_map(|hook| Some((hook.as_str().to_owned(), statistics.last_verdict_at(hook)?)))
            .collect();
        Ok(Response::new(proto::StatusResponse {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            process_id: std::process::id(),
            started_at: self.started_at.as_second(),
            policy: Some(policy_status(self.admission.trust())),
            admitted: statistics.admitted.load(Ordering::Relaxed),
            denied: statistics.denied.load(Ordering::Relaxed),
            last_verdict_at,
            cache: Some(self.cache()),
            revocation: Some(self.revocation()),
        }))
    }

    async fn reload(&self, _: Request<proto::ReloadRequest>) -> Result<Response<proto::ReloadResponse>, Status> {
        let admission = self.admission.clone();
        let accepted = tokio::task::spawn_blocking(move || admission.reload("assayctl reload"))
            .await
            .map_err(|_| Status::internal("the reload failed unexpectedly: the journal has the error"))?;
        Ok(Response::new(proto::ReloadResponse {
            accepted,
            policy: Some(policy_status(self.admission.trust())),
        }))
    }

    async fn show_policy(
        &self,
        _: Request<proto::ShowPolicyRequest>,
    ) -> Result<Response<proto::ShowPolicyResponse>, Status> {
        let snapshot = self
            .admission
            .trust()
            .current()
            .ok_or_else(|| Status::failed_precondition("there is no good policy"))?;
        Ok(Response::new(proto::ShowPolicyResponse {
            revision: snapshot.revision().to_owned(),
            path: snapshot.path.display().to_string(),
            document: snapshot.document.to_string(),
        }))
    }

    async fn explain(
        &self,
        request: Request<proto::ExplainRequest>,
    ) -> Result<Response<proto::ExplainResponse>, Status> {
        let (reference, question) = self.resolve(&request.into_inner().reference).await?;
        let explanation = self.admission.explain(&question).await;
        Ok(Response::new(explained(&reference, &question, &explanation)))
    }

    async fn tree(&self, request: Request<proto::TreeRequest>) -> Result<Response<proto::TreeResponse>, Status> {
        let (reference, question) = self.resolve(&request.into_inner().reference).await?;
        let tree = self.admission.tree(&question).await;
        Ok(Response::new(tree_response(&reference, &question, &tree)))
    }

    async fn cache_stats(
        &self,
        _: Request<proto::CacheStatsRequest>,
    ) -> Result<Response<proto::CacheStatsResponse>, Status> {
        Ok(Response::new(self.cache()))
    }

    async fn sync_status(
        &self,
        _: Request<proto::SyncStatusRequest>,
    ) -> Result<Response<proto::SyncStatusResponse>, Status> {
        Ok(Response::new(sync::status(&self.admission, Timestamp::now())))
    }

    async fn sync_now(&self, _: Request<proto::SyncNowRequest>) -> Result<Response<proto::SyncStatusResponse>, Status> {
        if self.admission.sync().followed().is_none() {
            return Err(Status::failed_precondition(
                "this node has a policy of its own: config.toml has no [fleet]",
            ));
        }
        self.admission.sync().ask_now().await;
        Ok(Response::new(sync::status(&self.admission, Timestamp::now())))
    }

    async fn metrics(&self, _: Request<proto::MetricsRequest>) -> Result<Response<proto::MetricsResponse>, Status> {
        let text = self.metrics.render(Timestamp::now());
        Ok(Response::new(proto::MetricsResponse { text }))
    }

    async fn clear_cache(
        &self,
        _: Request<proto::ClearCacheRequest>,
    ) -> Result<Response<proto::ClearCacheResponse>, Status> {
        let verdicts = self.admission.cached_verdicts() as u64;
        let evidence_images = self.admission.evidence().stats().images;
        self.admission
            .clear_cache()
            .await
            .map_err(|error| Status::unavailable(error.to_string()))?;
        Ok(Response::new(proto::ClearCacheResponse {
            verdicts,
            evidence_images,
        }))
    }

    type ExportEvidenceStream = ReceiverStream<Result<proto::ExportEvidenceResponse, Status>>;

    async fn export_evidence(
        &self,
        request: Request<proto::ExportEvidenceRequest>,
    ) -> Result<Response<Self::ExportEvidenceStream>, Status> {
        let (outgoing, stream) = mpsc::channel(evidence::IN_FLIGHT);
        let (admission, reference) = (self.admission.clone(), request.into_inner().reference);
        tokio::spawn(async move {
            if let Err(status) = evidence::export(&admission, &reference, &outgoing).await {
                // Whoever asked may be gone.
                let _ = outgoing.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type ImportEvidenceStream = ReceiverStream<Result<proto::ImportEvidenceResponse, Status>>;

    async fn import_evidence(
        &self,
        request: Request<Streaming<proto::ImportEvidenceRequest>>,
    ) -> Result<Response<Self::ImportEvidenceStream>, Status> {
        let (outgoing, stream) = mpsc::channel(evidence::IN_FLIGHT);
        let (admission, importing) = (self.admission.clone(), Arc::clone(&self.importing));
        tokio::spawn(async move {
            // Never closed.
            let _alone = importing.acquire_owned().await;
            if let Err(status) = evidence::import(&admission, request.into_inner(), outgoing.clone()).await {
                // Whoever asked may be gone.
                let _ = outgoing.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type InventoryStream = ReceiverStream<Result<proto::InventoryResponse, Status>>;

    async fn inventory(&self, _: Request<proto::InventoryRequest>) -> Result<Response<Self::InventoryStream>, Status> {
        let (outgoing, stream) = mpsc::channel(evidence::IN_FLIGHT);
        let admission = self.admission.clone();
        tokio::spawn(async move {
            if let Err(status) = inventory(&admission, &outgoing).await {
                // Whoever asked may be gone.
                let _ = outgoing.send(Err(status)).await;
            }
        });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    type JudgeImagesStream = ReceiverStream<Result<proto::JudgeImagesResponse, Status>>;

    async fn judge_images(
        &self,
        request: Request<Streaming<proto::JudgeImagesRequest>>,
    ) -> Result<Response<Self::JudgeImagesStream>, Status> {
        let judging = Judging::read(&self.admission, request.into_inner()).await?;
        let (outgoing, stream) = mpsc::channel(evidence::IN_FLIGHT);
        let admission = self.admission.clone();
        tokio::spawn(async move { judging.run(&admission, &outgoing).await });
        Ok(Response::new(ReceiverStream::new(stream)))
    }

    async fn report_images(
        &self,
        request: Request<Streaming<proto::ReportImagesRequest>>,
    ) -> Result<Response<proto::ReportImagesResponse>, Status> {
        let answer = node_images::report(&self.admission, request.into_inner()).await?;
        Ok(Response::new(answer))
    }
}

/// Judges every image with stored evidence by that alone, one after the other. Ends early where nobody takes the answers.
async fn inventory(
    admission: &Admission,
    outgoing: &mpsc::Sender<Result<proto::InventoryResponse, Status>>,
) -> Result<(), Status> {
    let mut after = None;
    loop {
        let page = admission.evidence().list(after).await;
        let page = page.map_err(|error| Status::unavailable(error.to_string()))?;
        for image in page.images {
            let question = Question {
                repository: image.repository,
                descriptor: image.descriptor,
                hook: Hook::Control,
            };
            let explanation = admission.judge_stored(&question).await;
            let row = proto::InventoryResponse {
                total: admission.evidence().stats().images,
                repository: question.repository.to_string(),
                descriptor: Some(descriptor_to_wire(&question.descriptor)),
                verdict: Some(verdict_response(&explanation.verdict)),
                recorded_at: image.recorded.as_second(),
                imported: image.imported,
            };
            if outgoing.send(Ok(row)).await.is_err() {
                return Ok(());
            }
        }
        match page.next {
            Some(last) => after = Some(last),
            None => return Ok(()),
        }
    }
}

pub(super) fn unavailable(error: FetchError) -> Status {
    Status::unavailable(format!("{}: {error}", error.code()))
}

/// What hangs on an image, on the wire. assayctl shows the same for a layout.
pub fn tree_response(reference: &Reference, question: &Question, tree: &Tree) -> proto::TreeResponse {
    let entry = |entry: &TreeEntry| proto::TreeEntry {
        manifest: entry.id.manifest.to_string(),
        position: count(entry.id.position),
        format: entry.format.as_str().to_owned(),
        predicate_type: entry.predicate_type.clone().unwrap_or_default(),
        signer: entry.signer.clone(),
        verified_by: entry.verified_by.clone(),
        witnesses: entry.witnesses.clone(),
        problem: entry.problem.clone().unwrap_or_default(),
        size: entry.size as u64,
    };
    proto::TreeResponse {
        reference: reference.to_string(),
        descriptor: Some(descriptor_to_wire(&question.descriptor)),
        entries: tree.entries.iter().map(entry).collect(),
        others: tree.others.iter().map(ToString::to_string).collect(),
        incomplete: tree.incomplete.clone().unwrap_or_default(),
    }
}

fn policy_status(trust: &TrustState) -> proto::PolicyStatus {
    let current = trust.current();
    let rejected = trust.rejected();
    let lines =
        |diagnostics: &[assay_verify::document::Diagnostic]| diagnostics.iter().map(ToString::to_string).collect();
    proto::PolicyStatus {
        revision: current
            .as_ref()
            .map(|snapshot| snapshot.revision().to_owned())
            .unwrap_or_default(),
        path: trust.path().display().to_string(),
        loaded_at: current.as_ref().map_or(0, |snapshot| snapshot.loaded_at.as_second()),
        rules: count(current.as_ref().map_or(0, |snapshot| snapshot.policy.rules().len())),
        authorities: count(
            current
                .as_ref()
                .map_or(0, |snapshot| snapshot.policy.authorities().len()),
        ),
        warnings: current
            .as_ref()
            .map(|snapshot| lines(&snapshot.warnings))
            .unwrap_or_default(),
        rejected_errors: rejected
            .as_ref()
            .map(|rejected| lines(&rejected.diagnostics))
            .unwrap_or_default(),
        rejected_at: rejected.as_ref().map_or(0, |rejected| rejected.at.as_second()),
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

/// A verdict on the wire that rests on what was stored or brought, and decides about no pull.
pub(super) fn verdict_response(verdict: &Verdict) -> proto::VerifyResponse {
    undecided_response(verdict, CacheState::Evidence)
}

/// What decides nothing has an id that leads to no journal entry.
fn undecided_response(verdict: &Verdict, cache: CacheState) -> proto::VerifyResponse {
    let decision = Decision {
        id: Uuid::nil(),
        verdict: Arc::new(verdict.clone()),
        cache,
        duration: std::time::Duration::ZERO,
    };
    proto::VerifyResponse {
        decision_id: String::new(),
        ..response(&decision)
    }
}

/// An explanation on the wire. assayctl shows the same for a judgement that it made itself, offline.
pub fn explained(reference: &Reference, question: &Question, explanation: &Explanation) -> proto::ExplainResponse {
    let cache = match &explanation.verdict.outcome {
        Outcome::Admit(_) | Outcome::Audited(_) | Outcome::Deny(_) if explanation.authorities.is_empty() => {
            CacheState::NotNeeded
        }
        _ => CacheState::Gathered,
    };
    proto::ExplainResponse {
        verdict: Some(undecided_response(&explanation.verdict, cache)),
        reference: reference.to_string(),
        descriptor: Some(descriptor_to_wire(&question.descriptor)),
        authorities: explanation.authorities.iter().map(authority).collect(),
        advice: explanation.advice.clone(),
        skipped: explanation.skipped.iter().map(ToString::to_string).collect(),
    }
}

fn authority(report: &AuthorityReport) -> proto::AuthorityReport {
    let shortcoming = report.shortcoming();
    proto::AuthorityReport {
        authority: report.authority.clone(),
        satisfied: report.satisfied,
        code: shortcoming
            .as_ref()
            .map(|(code, _)| code.to_string())
            .unwrap_or_default(),
        reason: shortcoming.map(|(_, reason)| reason).unwrap_or_default(),
        signatures: match &report.finding {
            Finding::NotApplicable(_) | Finding::Skipped => Vec::new(),
            Finding::Signatures(judgements) => judgements.iter().map(signature).collect(),
            Finding::Cosign(judgements) => judgements
                .iter()
                .map(|judgement| {
                    let steps = report::steps(judgement.result.as_ref().map(AsRef::as_ref));
                    cosign_signature(&judgement.id, judgement.format, judgement.result.is_ok(), &steps)
                })
                .collect(),
            Finding::Attestations(judgements) => judgements.iter().map(attestation).collect(),
        },
        attestation: report.attestation.clone().unwrap_or_default(),
    }
}

fn attestation(judgement: &AttestationJudgement) -> proto::SignatureReport {
    let steps = match &judgement.result {
        Ok(verified) => report::steps(Ok(verified)),
        Err(NotAttested::Statement { verified, .. }) => report::steps(Ok(verified)),
        Err(NotAttested::Signature(rejected)) => report::steps(Err(rejected)),
    };
    let mut signature = cosign_signature(&judgement.id, judgement.format, judgement.result.is_ok(), &steps);
    let (outcome, detail) = match &judgement.result {
        Ok(_) => (proto::StepOutcome::Passed, String::new()),
        Err(NotAttested::Statement { error, .. }) => (proto::StepOutcome::Failed, error.to_string()),
        Err(NotAttested::Signature(_)) => (proto::StepOutcome::NotReached, String::new()),
    };
    signature.steps.push(proto::StepReport {
        step: "statement".to_owned(),
        outcome: outcome.into(),
        detail,
    });
    signature
}

fn cosign_signature(
    id: &SignatureId,
    format: SignatureFormat,
    verified: bool,
    steps: &[report::StepReport],
) -> proto::SignatureReport {
    let step = |step: &report::StepReport| {
        let (outcome, detail) = match &step.outcome {
            report::StepOutcome::Passed(found) => (proto::StepOutcome::Passed, found.clone()),
            report::StepOutcome::Failed(why) => (proto::StepOutcome::Failed, why.clone()),
            report::StepOutcome::NotReached => (proto::StepOutcome::NotReached, String::new()),
        };
        proto::StepReport {
            step: step.step.as_str().to_owned(),
            outcome: outcome.into(),
            detail,
        }
    };
    proto::SignatureReport {
        digest: id.manifest.to_string(),
        verified,
        steps: steps.iter().map(step).collect(),
        position: count(id.position),
        format: format.as_str().to_owned(),
    }
}

fn signature(judgement: &SignatureJudgement) -> proto::SignatureReport {
    proto::SignatureReport {
        digest: judgement.manifest.to_string(),
        verified: judgement.result.is_ok(),
        steps: judgement.steps.iter().map(step).collect(),
        position: 0,
        format: SignatureFormat::Notation.as_str().to_owned(),
    }
}

/// A step on the wire.
pub fn step(report: &StepReport) -> proto::StepReport {
    let (outcome, detail) = match &report.outcome {
        StepOutcome::Passed(found) => (proto::StepOutcome::Passed, found.clone()),
        StepOutcome::Logged(failure) => (proto::StepOutcome::Logged, failure.to_string()),
        StepOutcome::Skipped => (proto::StepOutcome::Skipped, String::new()),
        StepOutcome::Failed(failure) => (proto::StepOutcome::Failed, failure.to_string()),
        StepOutcome::Needs(queries) => {
            let names: Vec<_> = queries.iter().map(ToString::to_string).collect();
            (proto::StepOutcome::Failed, format!("not asked: {}", names.join("; ")))
        }
        StepOutcome::NotReached => (proto::StepOutcome::NotReached, String::new()),
    };
    proto::StepReport {
        step: report.step.as_str().to_owned(),
        outcome: outcome.into(),
        detail,
    }
}
