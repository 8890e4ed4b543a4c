//! The pipeline of one request's life: gather, judge, commit.
//!
//! ```text
//! question ─▶ rule? ─▶ cached verdict? ─▶ stored evidence? ─▶ gather ─▶ judge ─▶ commit ─▶ answer
//! ```
//!
//! A verdict is made in one place ([`verdict`]), from a permit or from words of the policy; everything else is a denial.

mod advice;
pub mod answers;
mod before_evidence;
pub mod blob;
pub mod bootstrap_list;
pub mod bundle;
pub mod canary;
mod children;
pub mod decision_log;
mod evaluate;
pub mod events;
mod export;
mod gathering;
pub mod ledger;
mod pipeline;
mod presence;
mod probe;
mod question;
pub mod respondents;
mod statistics;
mod tree;
mod verdict;
mod withdrawal;

pub use evaluate::{Explanation, offline, offline_with};
pub use export::Exported;
pub use pipeline::{Admission, CacheState, Clock, Decision};
pub use question::{Hook, Question, QuestionError};
pub use statistics::Statistics;
pub use tree::{Tree, TreeEntry, describe};
pub use verdict::{Denial, Ground, Outcome, Verdict};
pub use withdrawal::Withdrawn;
