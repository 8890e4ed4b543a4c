//! assayd's parts, in the order in which they may use each other.

#![forbid(unsafe_code)]
#![warn(missing_docs)]

pub mod cache;
