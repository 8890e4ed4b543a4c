//! Whom the queries of a judgement are put to: the revocation endpoints, through what is kept of them, and the plugins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::code::Code;
use assay_verify::query::{Answered, Query, Unanswered};

use super::answers::RevocationAnswers;
use super::bundle::Bundle;
use crate::plugin::Plugins;

/// All who can answer.
#[derive(Clone)]
pub struct Respondents {
    /// CRLs and OCSP.
    pub revocation: RevocationAnswers,
    /// The plugins of the node.
    pub plugins: Arc<Plugins>,
}

/// Who may be asked what a judgement lacks.
#[derive(Clone, Copy)]
pub(super) enum Reach<'w> {
    /// Everybody who can answer.
    World,
    /// Nobody: only what is kept counts. A plugin's word is not, because nobody signed it.
    Kept,
    /// The node's plugins, and what somebody brings in place of the revocation endpoints.
    Bundle(&'w dyn Bundle),
}

impl Respondents {
    /// The answer to a query where it is at hand and the world need not be asked.
    pub(super) fn at_hand(&self, query: &Query, reach: Reach<'_>, now: Timestamp) -> Option<Answered> {
        match reach {
            Reach::World => self.revocation.at_hand(query, now),
            Reach::Kept | Reach::Bundle(_) => None,
        }
    }

    /// Puts one query. It comes back, with an answer or with why there is none.
    pub(super) async fn ask(&self, query: Query, reach: Reach<'_>, now: Timestamp) -> (Query, Answered) {
        if matches!(query, Query::PluginMetadata(_) | Query::PluginVerdict { .. }) {
            let now = match reach {
                Reach::World | Reach::Bundle(_) => self.plugins.answer(&query).await,
                Reach::Kept => Err(Unanswered {
                    code: Code::PluginUnavailable,
                    reason: "it was not to be asked".into(),
                }),
            };
            return (query, Answered { now, kept: None });
        }
        match reach {
            Reach::World => {}
            Reach::Kept => {
                let answered = self.revocation.recall(&query, now).await;
                return (query, answered);
            }
            Reach::Bundle(bundle) => {
                let brought = bundle.answer(&query).await;
                let answered = self.revocation.recall_beside(&query, brought, now).await;
                return (query, answered);
            }
        }
        let asked = self.revocation.answer(&BTreeSet::from([query.clone()]), now).await;
        asked.into_iter().next().unwrap_or_else(|| {
            let unanswered = Unanswered {
                code: Code::Internal,
                reason: "the query got lost".into(),
            };
            (
                query,
                Answered {
                    now: Err(unanswered),
                    kept: None,
                },
            )
        })
    }

    /// Keeps the answers that were found to be signed by those who may. Persisting follows judging, so that an answer that
    /// somebody put in the way is never kept.
    pub(super) async fn keep(&self, proven: BTreeMap<Query, Arc<[u8]>>) {
        self.revocation.keep(proven).await;
    }
}
