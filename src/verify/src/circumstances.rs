//! What a judgement depends on beside the evidence and what is asked of it.

use std::sync::LazyLock;

use crate::Timestamp;
use crate::query::Answers;
use crate::x509::revocation::LocalRevocation;

/// The time, and what the world has told. Arguments of a judgement, so that it can be repeated.
#[derive(Clone, Copy, Debug)]
pub struct Circumstances<'a> {
    /// The time.
    pub now: Timestamp,
    /// What was asked, and what came back.
    pub answers: &'a Answers,
    /// Revocation data from files.
    pub local: &'a LocalRevocation,
}

impl Circumstances<'static> {
    /// A time at which nobody was asked anything.
    pub fn at(now: Timestamp) -> Self {
        static NOTHING: LazyLock<(Answers, LocalRevocation)> = LazyLock::new(Default::default);
        Self {
            now,
            answers: &NOTHING.0,
            local: &NOTHING.1,
        }
    }
}
