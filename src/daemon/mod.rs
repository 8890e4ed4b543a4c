//! The daemon: configuration, start, reload, drain, logs.

pub mod config;
pub mod run;
pub mod telemetry;
mod watch;
