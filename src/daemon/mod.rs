//! The daemon: configuration, start, reload, drain, logs.

pub mod activation;
pub mod arguments;
pub mod config;
mod fleet;
mod metrics_endpoint;
mod metrics_file;
mod random;
pub mod run;
mod service_manager;
pub mod telemetry;
mod watch;
