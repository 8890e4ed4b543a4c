//! What a judgement depends on beside the evidence and what is asked of it.

use std::sync::LazyLock;

use crate::Timestamp;
use crate::deny_list::DenyList;
use crate::query::Answers;
use crate::x509::revocation::LocalRevocation;

/// The time, what the world has told, and what counts no longer. Arguments of a judgement, so that it can be repeated.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The time.
    pub now: Timestamp,
    /// What was asked, and what came back.
    pub answers: &'a Answers,
    /// Revocation data from files.
    pub local: &'a LocalRevocation,
    /// What counts no longer.
    pub denied: &'a DenyList,
}

impl Circumstances<'static> {
    /// A time at which nobody was asked anything and nothing is denied.
    pub fn at(now: Timestamp) -> Self {
        static NOTHING: LazyLock<(Answers, LocalRevocation, DenyList)> = LazyLock::new(Default::default);
        Self {
            now,
            answers: &NOTHING.0,
            local: &NOTHING.1,
            denied: &NOTHING.2,
        }
    }
}
