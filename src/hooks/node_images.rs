//! The images of a node on the wire: judged for who asks, and held against what hooks were told.

use std::collections::BTreeMap;
use std::sync::Arc;

use assay_proto::v1 as proto;
use assay_proto::v1::judge_images_request::Part as JudgePart;
use assay_proto::v1::report_images_request::Part as ReportPart;
use assay_verify::Timestamp;
use assay_verify::descriptor::Descriptor;
use assay_verify::limits::{MAX_NODE_IMAGES, MAX_POLICY_SIZE, NODE_IMAGES_AT_ONCE};
use assay_verify::untrusted::Untrusted;
use futures_util::StreamExt as _;
use tokio::sync::mpsc;
use tonic::{Status, Streaming};

use super::control::verdict_response;
use super::evidence::{Malformed, descriptor_from_wire};
use crate::admission::ledger::{Asked, Named};
use crate::admission::{Admission, Explanation, Hook, Question};
use crate::trust::TrustSnapshot;

/// What is to be judged, and by what.
pub(super) struct Judging {
    offline: bool,
    /// Not the policy in force, but this.
    proposed: Option<Arc<TrustSnapshot>>,
    images: Vec<proto::NodeImage>,
}

impl Judging {
    /// Reads what somebody asks.
    pub(super) async fn read(
        admission: &Admission,
        mut parts: Streaming<proto::JudgeImagesRequest>,
    ) -> Result<Self, Status> {
        let (mut offline, mut policy, mut images) = (false, Vec::new(), Vec::new());
        while let Some(part) = parts.message().await? {
            match part.part {
                Some(JudgePart::Options(options)) => offline = options.offline,
                Some(JudgePart::Policy(piece)) => {
                    if policy.len() + piece.len() > MAX_POLICY_SIZE {
                        let message = format!("the proposed policy has more than {MAX_POLICY_SIZE} bytes");
                        return Err(Status::invalid_argument(message));
                    }
                    policy.extend_from_slice(&piece);
                }
                Some(JudgePart::Image(image)) => push(&mut images, image)?,
                None => return Err(Status::invalid_argument("a part says nothing that is known here")),
            }
        }
        let proposed = match policy.is_empty() {
            true => None,
            false => Some(Arc::new(propose(admission, policy).await?)),
        };
        Ok(Self {
            offline,
            proposed,
            images,
        })
    }

    /// Judges one image after the other, some at once. Ends early where nobody takes the answers.
    pub(super) async fn run(
        self,
        admission: &Admission,
        outgoing: &mpsc::Sender<Result<proto::JudgeImagesResponse, Status>>,
    ) {
        let Self {
            offline,
            proposed,
            images,
        } = self;
        let proposed = &proposed;
        let judge = async |(position, image): (u32, proto::NodeImage)| {
            let mut answer = match named(&image) {
                Ok((named, descriptor)) => judge(admission, proposed.as_ref(), named, descriptor, offline).await,
                Err(_) => proto::JudgeImagesResponse::default(),
            };
            answer.position = position;
            answer
        };
        let mut judging =
            futures_util::stream::iter((0..).zip(images).map(judge)).buffer_unordered(NODE_IMAGES_AT_ONCE);
        while let Some(answer) = judging.next().await {
            if outgoing.send(Ok(answer)).await.is_err() {
                return;
            }
        }
    }
}

/// Says what the policy makes of an image. Of one without a name that a policy could judge, it is only said whether anybody was asked.
async fn judge(
    admission: &Admission,
    proposed: Option<&Arc<TrustSnapshot>>,
    named: Named,
    descriptor: Descriptor,
    offline: bool,
) -> proto::JudgeImagesResponse {
    let mut answer = proto::JudgeImagesResponse {
        asked: asked(admission, &named).into(),
        ..proto::JudgeImagesResponse::default()
    };
    let Some(repository) = named.repository else {
        return answer;
    };
    let question = Question {
        repository,
        descriptor,
        hook: Hook::Control,
    };
    let Explanation { verdict, .. } = match (proposed, offline) {
        (Some(snapshot), _) => admission.explain_under(snapshot, &question, offline).await,
        (None, true) => admission.judge_stored(&question).await,
        (None, false) => admission.explain(&question).await,
    };
    if proposed.is_none() {
        admission.admit_present(&question, &verdict);
    }
    answer.verdict = Some(verdict_response(&verdict));
    answer
}

async fn propose(admission: &Admission, document: Vec<u8>) -> Result<TrustSnapshot, Status> {
    let document =
        String::from_utf8(document).map_err(|_| Status::invalid_argument("the proposed policy is not UTF-8 text"))?;
    let trust = Arc::clone(admission.trust());
    let proposed = tokio::task::spawn_blocking(move || trust.propose(&document, Timestamp::now()));
    let proposed = proposed
        .await
        .map_err(|_| Status::internal("reading the proposed policy failed unexpectedly: the journal has the error"))?;
    proposed.map_err(|diagnostics| {
        let lines: Vec<_> = diagnostics.iter().map(ToString::to_string).collect();
        Status::invalid_argument(lines.join("\n"))
    })
}

/// Takes a report of what containerd has.
pub(super) async fn report(
    admission: &Admission,
    mut parts: Streaming<proto::ReportImagesRequest>,
) -> Result<proto::ReportImagesResponse, Status> {
    if admission.ledger().is_none() {
        return Err(Status::failed_precondition(
            "this assayd keeps no ledger of what was admitted",
        ));
    }
    let (mut all, mut images, mut unreadable) = (false, BTreeMap::new(), 0);
    while let Some(part) = parts.message().await? {
        match part.part {
            Some(ReportPart::Options(options)) => all = options.all,
            // Several names are one image: their number is not bounded, that of the images is.
            Some(ReportPart::Image(image)) => match named(&image) {
                Ok((named, _)) => {
                    if images.len() == MAX_NODE_IMAGES && !images.contains_key(&named) {
                        return Err(Status::invalid_argument(format!("more than {MAX_NODE_IMAGES} images")));
                    }
                    images.insert(named, Untrusted::new(&image.namespace));
                }
                Err(_) => unreadable += 1,
            },
            None => return Err(Status::invalid_argument("a part says nothing that is known here")),
        }
    }
    let reporting = admission.clone();
    let presence = tokio::task::spawn_blocking(move || reporting.report_images(&images, all)).await;
    let presence =
        presence.map_err(|_| Status::internal("the report was broken off by an error: the journal has it"))?;
    Ok(proto::ReportImagesResponse {
        without_verdict: presence.past.iter().sum::<usize>() as u64,
        unreadable,
    })
}

fn push(images: &mut Vec<proto::NodeImage>, image: proto::NodeImage) -> Result<(), Status> {
    if images.len() == MAX_NODE_IMAGES {
        return Err(Status::invalid_argument(format!("more than {MAX_NODE_IMAGES} images")));
    }
    images.push(image);
    Ok(())
}

fn named(image: &proto::NodeImage) -> Result<(Named, Descriptor), Malformed> {
    let descriptor = descriptor_from_wire(image.target.as_ref())?;
    Ok((Named::parse(&image.name, descriptor.digest.clone()), descriptor))
}

fn asked(admission: &Admission, image: &Named) -> proto::Asked {
    match admission.ledger().and_then(|ledger| ledger.asked(image)) {
        Some(Asked::Admitted) => proto::Asked::Admitted,
        Some(Asked::Denied) => proto::Asked::Denied,
        Some(Asked::Before) => proto::Asked::Before,
        Some(Asked::Never) => proto::Asked::Never,
        Some(Asked::UnderAnotherName) => proto::Asked::UnderAnotherName,
        None => proto::Asked::Unspecified,
    }
}
