//! The pipeline of one request's life: gather, judge, commit.
//!
//! ```text
//! question ─▶ rule? ─▶ cached verdict? ─▶ stored evidence? ─▶ gather ─▶ judge ─▶ commit ─▶ answer
//! ```
//!
//! A verdict is made in one place ([`verdict`]), from a permit or from words of the policy; everything else is a denial.

mod advice;
pub mod answers;
pub mod blob;
pub mod bundle;
mod children;
mod evaluate;
pub mod events;
mod export;
mod gathering;
mod pipeline;
mod question;
pub mod respondents;
mod tree;
mod verdict;

pub use evaluate::{Explanation, offline, offline_with};
pub use export::Exported;
pub use pipeline::{Admission, CacheState, Clock, Decision, Statistics};
pub use question::{Hook, Question, QuestionError};
pub use tree::{Tree, TreeEntry, describe};
pub use verdict::{Denial, Ground, Outcome, Verdict};
