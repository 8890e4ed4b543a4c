//! Documents that a person writes, TOML and JSON, read so that every problem is reported at once, each with its place.
//!
//! serde stops at the first problem, and in JSON it knows the place of syntax errors only. So a document is first read
//! into a tree whose nodes know where they stand, and then walked.

mod diagnostic;
mod json;
mod keys;
mod report;
mod toml;
mod tree;

pub use diagnostic::{Diagnostic, Place, Severity};

pub(crate) use json::{Part, fold_key, parse_json};
pub(crate) use keys::{Absent, Key, Kind, Known, Section};
pub(crate) use report::{Report, quoted};
pub(crate) use toml::parse_toml;
pub(crate) use tree::{Entry, Node, Table, Value};
