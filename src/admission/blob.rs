//! The judgement of a file by its detached signature: once, for whoever asks, with nothing cached and nothing kept.

use std::collections::BTreeSet;
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::artifact::Blob;
use assay_verify::circumstances::Circumstances;
use assay_verify::code::Code;
use assay_verify::limits::{MAX_QUERY_ROUNDS, MAX_REASON_LENGTH};
use assay_verify::notation::signature::{self, Asked, BlobJudgement, NotVerified, StepReport};
use assay_verify::notation::steps::{Failure, Integrity};
use assay_verify::policy::Conditions;
use assay_verify::query::{Answered, Answers, Query};
use assay_verify::untrusted::one_line;
use futures_util::future::join_all;
use tokio::time::Instant;

use crate::fetch::revocation::{RevocationEndpoints, Source, time_for};
use crate::plugin::Plugins;
use crate::trust::BlobTrust;

/// Who is asked about the signature of a file, each time anew.
pub struct BlobRespondents {
    /// CRL distribution points and OCSP responders.
    pub revocation: Arc<dyn RevocationEndpoints>,
    /// The plugins of the node.
    pub plugins: Plugins,
}

impl BlobRespondents {
    /// Puts all queries at once. Every one comes back, with an answer or with why there is none.
    async fn answer(&self, queries: BTreeSet<Query>) -> Vec<(Query, Answered)> {
        join_all(queries.into_iter().map(|query| async move {
            let now = match &query {
                Query::Crl(_) | Query::Ocsp { .. } => {
                    let deadline = Instant::now() + time_for(&query);
                    self.revocation.ask(&query, Source::Any, deadline).await
                }
                Query::PluginMetadata(_) | Query::PluginVerdict { .. } => self.plugins.answer(&query).await,
            };
            (query, Answered { now, kept: None })
        }))
        .await
    }
}

/// What is asked of the signature of a file, beside its trust policy.
#[derive(Clone, Debug, Default)]
pub struct BlobTerms {
    /// The user metadata that it must have, and whatever else a rule could ask.
    pub conditions: Conditions,
    /// Whether a statement is also satisfied that verifies nothing, or that only logs that a signer is not authentic.
    pub accept_unverified: bool,
}

/// The answer about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BlobOutcome {
    /// The signature is good, or whoever asks accepts that nothing says so.
    Admit {
        /// Why, for a person.
        reason: String,
    },
    /// Anything else.
    Deny {
        /// The stable code.
        code: Code,
        /// Why, for a person.
        reason: String,
    },
}

/// The answer about a file, and how it came about.
#[derive(Clone, Debug)]
pub struct BlobVerdict {
    /// The answer.
    pub outcome: BlobOutcome,
    /// All steps in their order; none where the statement's level is skip.
    pub steps: Vec<StepReport>,
}

/// Judges the signature of a file. Without respondents nobody is asked, and what is lacked is not known.
pub async fn judge(
    trust: &BlobTrust,
    opened: &Result<Integrity, Failure>,
    blob: &Blob,
    asked: &BlobTerms,
    respondents: Option<&BlobRespondents>,
    now: Timestamp,
) -> BlobVerdict {
    let Some(terms) = trust.statement.terms() else {
        return BlobVerdict {
            outcome: skipped(asked.accept_unverified),
            steps: Vec::new(),
        };
    };
    let asks = Asked {
        target: blob,
        terms,
        stores: &trust.stores,
        conditions: &asked.conditions,
    };
    let mut answers = Answers::default();
    let verify = |answers: &Answers| {
        let circumstances = Circumstances {
            now,
            answers,
            local: &trust.revocation,
            denied: &trust.denials,
        };
        signature::verify_blob(opened, &asks, &circumstances)
    };
    let mut judgement = verify(&answers);
    if let Some(respondents) = respondents {
        for _ in 0..MAX_QUERY_ROUNDS {
            let Err(NotVerified::Needs(queries)) = &judgement.result else {
                break;
            };
            answers.extend(respondents.answer(queries.clone()).await);
            judgement = verify(&answers);
        }
    }
    let outcome = conclude(&judgement, asked.accept_unverified);
    BlobVerdict {
        outcome,
        steps: judgement.steps,
    }
}

fn skipped(accepted: bool) -> BlobOutcome {
    if accepted {
        let reason = "nothing is verified: the statement's level is skip, and that is accepted".to_owned();
        return BlobOutcome::Admit { reason };
    }
    BlobOutcome::Deny {
        code: Code::Unsigned,
        reason: "the statement's level is skip: it verifies nothing, and nothing is no proof".to_owned(),
    }
}

fn conclude(judgement: &BlobJudgement, accept_unverified: bool) -> BlobOutcome {
    let deny = |code, reason: String| BlobOutcome::Deny {
        code,
        reason: one_line(&reason, MAX_REASON_LENGTH),
    };
    let verified = match &judgement.result {
        Ok(verified) => verified,
        Err(NotVerified::Rejected(rejected)) => return deny(rejected.code(), rejected.failure.to_string()),
        Err(NotVerified::Needs(queries)) => {
            let of_plugins = |query: &Query| matches!(query, Query::PluginMetadata(_) | Query::PluginVerdict { .. });
            let code = if queries.iter().all(of_plugins) {
                Code::PluginUnavailable
            } else {
                Code::RevocationUnknown
            };
            let names: Vec<_> = queries.iter().map(ToString::to_string).take(3).collect();
            return deny(code, format!("not asked: {}", names.join("; ")));
        }
    };
    let reason = match (verified.unauthenticated(), verified.identity().outcome().passed()) {
        (None, Some(identity)) => format!("signed by {identity}"),
        (Some(failure), _) if !accept_unverified => {
            return deny(
                failure.code(),
                format!("{failure}; the statement's level only logs that"),
            );
        }
        (Some(failure), _) => format!("signed by nobody in particular, and that is accepted: {failure}"),
        // A step that the level skips is never the identity.
        (None, None) => return deny(Code::Internal, "nobody was recognised".to_owned()),
    };
    BlobOutcome::Admit {
        reason: one_line(&reason, MAX_REASON_LENGTH),
    }
}
