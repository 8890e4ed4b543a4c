//! The service that hooks ask: `assayd.v1.ImageVerifier`.

use assay_proto::v1::image_verifier_server::ImageVerifier;
use assay_proto::v1::{self as proto, VerifyRequest, VerifyResponse};
use assay_verify::code::Code;
use tonic::{Request, Response, Status};

use crate::admission::{Admission, CacheState, Decision, Hook, Outcome, Question, QuestionError};

/// Answers hooks.
#[derive(Clone)]
pub struct VerifierService {
    admission: Admission,
}

impl VerifierService {
    /// Answers from `admission`.
    pub fn new(admission: Admission) -> Self {
        Self { admission }
    }
}

#[tonic::async_trait]
impl ImageVerifier for VerifierService {
    async fn verify(&self, request: Request<VerifyRequest>) -> Result<Response<VerifyResponse>, Status> {
        let request = request.into_inner();
        Ok(Response::new(match question(&request) {
            Ok(question) => {
                // A task of its own, so that the decision is in the journal also when its asker has given up or was
                // killed, and tonic drops this future.
                let admission = self.admission.clone();
                let deciding = tokio::spawn(async move { admission.decide(&question).await });
                let decision = deciding.await;
                response(&decision.map_err(|_| Status::internal("deciding was broken off by an error"))?)
            }
            Err(error) => {
                let decision = self
                    .admission
                    .malformed(&request.name, &request.digest, hook(&request), &error);
                response(&decision)
            }
        }))
    }
}

fn question(request: &VerifyRequest) -> Result<Question, QuestionError> {
    let hook = hook(request).ok_or(QuestionError::UnknownHook)?;
    let descriptor = request.descriptor.as_ref();
    let descriptor = descriptor.map(|descriptor| {
        (
            descriptor.media_type.as_str(),
            descriptor.digest.as_str(),
            descriptor.size,
        )
    });
    Question::parse(&request.name, &request.digest, descriptor, hook)
}

fn hook(request: &VerifyRequest) -> Option<Hook> {
    match request.hook() {
        proto::Hook::ContainerdImageVerifier => Some(Hook::ContainerdImageVerifier),
        proto::Hook::Control => Some(Hook::Control),
        proto::Hook::Unspecified => None,
    }
}

/// The answer on the wire.
pub fn response(decision: &Decision) -> VerifyResponse {
    let verdict = &decision.verdict;
    let admits = match verdict.outcome {
        Outcome::Admit(_) | Outcome::Audited(_) => proto::Verdict::Admit,
        Outcome::Deny(_) => proto::Verdict::Deny,
    };
    VerifyResponse {
        verdict: admits.into(),
        code: verdict
            .outcome
            .denial()
            .map(|denial| denial.code)
            .map_or("", Code::as_str)
            .to_owned(),
        reason: verdict.finding(),
        rule: verdict.rule.as_deref().unwrap_or_default().to_owned(),
        policy_revision: verdict.revision.as_deref().unwrap_or_default().to_owned(),
        decision_id: decision.id.to_string(),
        cache: match decision.cache {
            CacheState::Verdict => proto::CacheState::Verdict,
            CacheState::Evidence => proto::CacheState::Evidence,
            CacheState::Gathered => proto::CacheState::Gathered,
            CacheState::NotNeeded => proto::CacheState::NotNeeded,
        }
        .into(),
        audited: matches!(verdict.outcome, Outcome::Audited(_)),
    }
}
