//! Finds out whether questions are answered.

use assay_verify::descriptor::MediaType;

use super::pipeline::Admission;
use super::question::{Hook, Question, QuestionError};

/// What is asked about: nothing has this name (RFC 6761, section 6.4) or this digest.
const NAME: &str = "assayd.invalid/probe";
const DIGEST: &str = "sha256:0000000000000000000000000000000000000000000000000000000000000000";

impl Admission {
    /// Takes a question of its own along the way of every question and returns when each station has answered: the policy
    /// in force, the verdicts in memory, the store of evidence and a thread that judges. No registry is asked, and nothing
    /// is counted, logged or remembered.
    ///
    /// The store has a bound of its own on how long it is waited for, so a slow disk does not look like a daemon that is
    /// stuck.
    ///
    /// # Errors
    ///
    /// Never, as long as the question is well-formed.
    pub async fn probe(&self) -> Result<(), QuestionError> {
        let descriptor = Some((MediaType::OCI_MANIFEST, DIGEST, 2));
        let question = Question::parse(NAME, DIGEST, descriptor, Hook::Control)?;
        // Which of the stations this reaches depends on the policy, so each of them is asked below as well.
        self.judge_stored(&question).await;
        self.cached_verdicts();
        self.evidence().peek(&question.repository, &question.descriptor).await;
        // It fails only when the runtime ends.
        let _ = tokio::task::spawn_blocking(|| ()).await;
        Ok(())
    }
}
