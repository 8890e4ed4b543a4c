//! Fuzz targets for everything in assay-verify that parses what strangers wrote.

#![forbid(unsafe_code)]

mod authority;
mod mutate;
pub mod runner;
pub mod seeds;
pub mod shown;
pub mod targets;

/// A function that must hold for every input, and where its inputs come from.
pub struct Target {
    /// Its name: that of its test and of the files with its findings.
    pub name: &'static str,
    /// Inputs to begin with.
    pub seeds: fn() -> Vec<Vec<u8>>,
    /// Pieces of the format that random bytes would seldom hit.
    pub words: &'static [&'static [u8]],
    /// Asserts what must hold, and says in a few words what became of the input.
    pub check: fn(&[u8]) -> String,
    /// How many inputs a short run has.
    pub inputs: u64,
}
