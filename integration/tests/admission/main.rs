//! What a node sees: a real containerd asks the real hook and daemon about images that the real notation signed.
//!
//! Each test starts a containerd, a daemon and a registry of its own; all of them run at once.

mod admits;
mod artifacts;
mod assayctl;
mod blobs;
mod denials;
mod escaping;
mod hook;
mod lab;
mod registries;
mod reload;
mod subjects;
