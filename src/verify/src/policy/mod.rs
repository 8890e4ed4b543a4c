//! The policy: which images are admitted under which conditions.
//!
//! [`document`] reads the TOML document into types, [`pattern`] says which repositories a rule is for, and [`decide`]
//! finds the rule of an image. [`reference`] has every key of the documents. [`conditions`] are what a rule asks of every signature. [`exception`] reads what admits images
//! for some hours without evidence. Whether the evidence that a rule asks for is there is not decided here.

pub mod conditions;
pub mod cosign;
pub mod decide;
pub mod document;
pub mod exception;
pub mod pattern;
pub mod reference;

mod attestations;
mod duration;
mod reachability;

pub use conditions::Conditions;
pub use cosign::CosignDocument;
pub use decide::{Decision, DenyReason};
pub use document::{
    AuthorityDocument, AuthorityName, AuthoritySource, Effect, Mode, Parsed, Policy, Requirement, Requirements, Rule,
    Unmatched,
};
pub use exception::{Exception, Exceptions};
pub use pattern::Pattern;
