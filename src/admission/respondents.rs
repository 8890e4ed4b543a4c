//! Whom the queries of a judgement are put to: the revocation endpoints, through what is kept of them, and the plugins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::code::Code;
use assay_verify::query::{Answered, Query, Unanswered};

use super::answers::RevocationAnswers;
use crate::plugin::Plugins;

/// All who can answer.
#[derive(Clone)]
pub struct Respondents {
    /// CRLs and OCSP.
    pub revocation: RevocationAnswers,
    /// The plugins of the node.
    pub plugins: Arc<Plugins>,
}

impl Respondents {
    /// Puts one query. It comes back, with an answer or with why there is none.
    pub(super) async fn ask(&self, query: Query, now: Timestamp) -> (Query, Answered) {
        if matches!(query, Query::PluginMetadata(_) | Query::PluginVerdict { .. }) {
            let now = self.plugins.answer(&query).await;
            return (query, Answered { now, kept: None });
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

    /// The same, from what this node has. Plugins are its own, and run without asking anybody that assayd knows of: one that
    /// does is not asked here.
    pub(super) async fn ask_node(&self, query: Query, now: Timestamp) -> (Query, Answered) {
        if matches!(query, Query::PluginMetadata(_) | Query::PluginVerdict { .. }) {
            return self.ask(query, now).await;
        }
        let answered = self.revocation.known(&query, now).await;
        (query, answered)
    }

    /// Keeps the answers that were found to be signed by those who may. Persisting follows judging, so that an answer that
    /// somebody put in the way is never kept.
    pub(super) async fn keep(&self, proven: BTreeMap<Query, Arc<[u8]>>) {
        self.revocation.keep(proven).await;
    }
}
