//! Images that were admitted and are judged again, because what they were admitted under has changed.
//!
//! They are judged from stored evidence, without the network: a new policy must not make a thousand nodes ask a registry at
//! once. What cannot be decided so is decided when it is asked for next.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};

use assay_verify::code::Code;
use assay_verify::digest::Digest;
use assay_verify::limits::MAX_CACHED_VERDICTS;
use assay_verify::reference::Repository;
use tokio::sync::Notify;

use super::events;
use super::pipeline::Admission;
use super::question::Question;
use super::verdict::{Outcome, Verdict};
use crate::cache::verdicts::VerdictKey;

/// Images that were admitted and are no longer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Withdrawn {
    /// They would be denied.
    pub denied: usize,
    /// What is stored does not suffice any more, and their registry was not asked: it may have more.
    pub undecided: usize,
}

/// What was admitted and is no longer sure, and what became of it.
#[derive(Debug, Default)]
pub(super) struct Withdrawals {
    state: Mutex<State>,
    /// There is something to judge.
    added: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// To be judged again, at most [`MAX_CACHED_VERDICTS`].
    waiting: VecDeque<Question>,
    /// Admitted once and no longer, and why. At most [`MAX_CACHED_VERDICTS`].
    withdrawn: BTreeMap<(Repository, Digest), NoLonger>,
}

/// An image that is no longer admitted, by its question.
#[derive(Debug)]
struct NoLonger {
    question: Question,
    code: Code,
}

impl Withdrawals {
    /// Has images judged again, and with them those that are known to be denied: what changed may admit them.
    pub(super) fn add(&self, keys: impl Iterator<Item = VerdictKey>) {
        let mut state = self.lock();
        let State { waiting, withdrawn } = &mut *state;
        let admitted = keys.map(|key| Question {
            repository: key.repository,
            descriptor: key.descriptor,
            hook: key.hook,
        });
        for question in withdrawn.values().map(|one| one.question.clone()).chain(admitted) {
            if waiting.len() == MAX_CACHED_VERDICTS {
                waiting.pop_front();
            }
            waiting.push_back(question);
        }
        drop(state);
        self.added.notify_one();
    }

    /// How many images that were admitted are no longer, by whether that is certain.
    fn count(&self) -> Withdrawn {
        let state = self.lock();
        let undecided = state
            .withdrawn
            .values()
            .filter(|one| one.code.is_inconclusive())
            .count();
        Withdrawn {
            denied: state.withdrawn.len() - undecided,
            undecided,
        }
    }

    /// Remembers what became of an image. True where it was not known before.
    fn found(&self, question: &Question, verdict: &Verdict) -> bool {
        let image = (question.repository.clone(), question.descriptor.digest.clone());
        let mut state = self.lock();
        // What audit mode only watches is admitted.
        let Outcome::Deny(denial) = &verdict.outcome else {
            state.withdrawn.remove(&image);
            return false;
        };
        let known = state.withdrawn.get(&image).map(|known| known.code);
        if known.is_none() && state.withdrawn.len() >= MAX_CACHED_VERDICTS {
            return false;
        }
        let denied = NoLonger {
            question: question.clone(),
            code: denial.code,
        };
        state.withdrawn.insert(image, denied);
        known != Some(denial.code)
    }

    /// Forgets that an image is denied: somebody has just been told that it is admitted.
    pub(super) fn admitted(&self, question: &Question) {
        let mut state = self.lock();
        if !state.withdrawn.is_empty() {
            let image = (question.repository.clone(), question.descriptor.digest.clone());
            state.withdrawn.remove(&image);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Admission {
    /// Judges again what was admitted under another policy or deny-list, for as long as the daemon runs, and says of what
    /// would be denied now that it would.
    pub async fn judge_again(&self) {
        let withdrawals = &self.inner.withdrawals;
        loop {
            let next = withdrawals.lock().waiting.pop_front();
            let Some(question) = next else {
                withdrawals.added.notified().await;
                continue;
            };
            let verdict = self.judge_anew(&question).await;
            if withdrawals.found(&question, &verdict)
                && let Some(denial) = verdict.outcome.denial()
            {
                events::withdrawn(&question.repository, &question.descriptor.digest, &verdict, denial);
            }
        }
    }

    /// How many images that were admitted would not be now, as far as that is known.
    pub fn withdrawn(&self) -> Withdrawn {
        self.inner.withdrawals.count()
    }
}
