//! Whom the queries of a judgement are put to: the revocation endpoints, through what is kept of them, and the plugins.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use assay_verify::Timestamp;
use assay_verify::query::{Answered, Query};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;

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
    /// Puts all queries at once. Every one comes back, with an answer or with why there is none.
    pub(super) async fn answer(&self, queries: BTreeSet<Query>, now: Timestamp) -> Vec<(Query, Answered)> {
        let is_plugin = |query: &Query| matches!(query, Query::PluginMetadata(_) | Query::PluginVerdict { .. });
        let (plugin, revocation): (BTreeSet<_>, BTreeSet<_>) = queries.into_iter().partition(is_plugin);
        let mut running: FuturesUnordered<_> = plugin
            .into_iter()
            .map(|query| async move {
                let now = self.plugins.answer(&query).await;
                (query, Answered { now, kept: None })
            })
            .collect();
        let words = async {
            let mut words = Vec::new();
            while let Some(answered) = running.next().await {
                words.push(answered);
            }
            words
        };
        let (mut answered, words) = tokio::join!(self.revocation.answer(&revocation, now), words);
        answered.extend(words);
        answered
    }

    /// Keeps the answers that were found to be signed by those who may. Persisting follows judging, so that an answer that
    /// somebody put in the way is never kept.
    pub(super) async fn keep(&self, proven: BTreeMap<Query, Arc<[u8]>>) {
        self.revocation.keep(proven).await;
    }
}
