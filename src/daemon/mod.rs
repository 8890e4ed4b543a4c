//! The daemon: configuration, start, reload, drain, logs.

pub mod config;
mod fleet;
mod metrics_file;
mod random;
pub mod run;
pub mod telemetry;
mod watch;
