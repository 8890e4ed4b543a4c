//! What assayd remembers. Nothing here is authority: a lost, damaged or stale entry costs work and never admits.
//!
//! - [`evidence`]: bytes that prove themselves when they are read again, on disk, in sled on its own thread.
//! - [`answers`]: revocation answers, which their issuers signed, on disk, a file each.
//! - [`verdicts`]: what was decided, in memory only, each with the interval in which it holds.
//! - [`single_flight`]: equal questions asked at once share one answer.

mod accounts;
pub mod answers;
mod database;
pub mod evidence;
mod files;
mod record;
pub mod single_flight;
mod store;
pub mod verdicts;
