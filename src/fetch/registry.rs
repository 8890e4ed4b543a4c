//! One registry: the hosts that serve its images, in order. A host that does not have, or does not give, what it is asked
//! for is followed by the next (containerd: core/remotes/docker/{resolver,fetcher}.go).

use std::sync::Arc;

use assay_verify::reference::Repository;

use super::body::Payer;
use super::budget::{Budget, Promise, RegistryShare};
use super::count::Purpose;
use super::error::FetchError;
use super::host::{Answer, Host, Patience, Request};

/// One registry under its canonical name.
pub(super) struct Registry {
    pub(super) name: Box<str>,
    share: RegistryShare,
    hosts: Vec<Arc<Host>>,
}

/// What is asked of a registry.
pub(super) struct Question<'a> {
    pub(super) purpose: Purpose,
    pub(super) repository: &'a Repository,
    pub(super) endpoint: &'static str,
    pub(super) reference: &'a str,
    pub(super) names: Names,
    pub(super) accept: &'static str,
    /// The bytes that the answer may have.
    pub(super) limit: usize,
    /// Where a search counts what the answer will take: it grows when the answer begins.
    pub(super) promise: Option<&'a Promise>,
}

/// What a question names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Names {
    /// Bytes that prove themselves.
    Digest,
    /// Whatever the host says it stands for: a tag, or a listing.
    Name,
}

impl Registry {
    pub(super) fn new(name: &str, share: RegistryShare, hosts: Vec<Arc<Host>>) -> Self {
        Self {
            name: name.into(),
            share,
            hosts,
        }
    }

    /// The hosts to ask, in order, and how much to try with each. What a name stands for is asked of those that may pull and
    /// resolve. Bytes are asked of every host once one may pull: containerd does not look at the others' capabilities when it
    /// fetches, and signatures are to come from where it fetches from.
    ///
    /// A host that could not be reached a moment ago goes behind the others.
    pub(super) fn hosts_for(&self, names: Names) -> Result<Vec<(Arc<Host>, Patience)>, FetchError> {
        let may = |host: &Arc<Host>| match names {
            Names::Digest => self.hosts.iter().any(|host| host.capabilities.pull),
            Names::Name => host.capabilities.pull && host.capabilities.resolve,
        };
        let mut hosts: Vec<_> = self.hosts.iter().filter(|host| may(host)).cloned().collect();
        hosts.sort_by_key(|host| host.is_away());
        let Some(last) = hosts.len().checked_sub(1) else {
            let cause = match names {
                Names::Digest => "none of its hosts has the capability \"pull\"",
                Names::Name => "none of its hosts has the capabilities \"pull\" and \"resolve\"",
            };
            return Err(FetchError::Unusable {
                registry: self.name.clone(),
                cause: format!("{cause} (hosts.toml)").into(),
            });
        };
        let patience = |index| {
            if index == last {
                Patience::Last
            } else {
                Patience::Another
            }
        };
        Ok(hosts
            .into_iter()
            .enumerate()
            .map(|(index, host)| (host, patience(index)))
            .collect())
    }

    /// Asks the hosts, one after the other, until one has it. That none has it is their word only if all of them were heard.
    pub(super) async fn get(&self, question: &Question<'_>, budget: &Budget) -> Result<Answer, FetchError> {
        let mut unheard = None;
        for (host, patience) in self.hosts_for(question.names)? {
            let request = Request {
                purpose: question.purpose,
                url: host.url(question.repository, question.endpoint, question.reference)?,
                repository: question.repository,
                accept: question.accept,
                limit: question.limit,
                promise: question.promise,
            };
            match host.get(&request, patience, budget).await {
                Ok(Answer::Missing) => {}
                Err(error) if error.is_one_hosts() => {
                    unheard.get_or_insert(error);
                }
                answer => return answer,
            }
        }
        unheard.map_or(Ok(Answer::Missing), Err)
    }

    pub(super) fn payer<'a>(&'a self, budget: &'a Budget) -> Payer<'a> {
        Payer {
            registry: &self.name,
            share: &self.share,
            budget,
        }
    }
}
