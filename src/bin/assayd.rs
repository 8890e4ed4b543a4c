//! The daemon that decides on the node which container images may be unpacked.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use assayd::daemon::activation::Activation;
use assayd::daemon::arguments::Arguments;
use assayd::daemon::config::{Config, DEFAULT_PATH};
use assayd::daemon::{run, telemetry};
use clap::Parser;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let config = match Config::load_in_service(arguments.config.as_deref()) {
        Ok(config) => config,
        Err(error) => return fail(&format!("{error}")),
    };
    if let Err(error) = telemetry::start(config.log) {
        return fail(&format!(
            "log = \"journald\" in {}: {error}",
            arguments.config.unwrap_or(DEFAULT_PATH.into()).display()
        ));
    }
    let activation = match Activation::take() {
        Ok(activation) => activation,
        Err(error) => return fail(&format!("{error}")),
    };
    // One worker serves: it beat two on the request path. Judging and the disk have threads of their own, few of them,
    // because each one's arena is memory that stays.
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .max_blocking_threads(8)
        .enable_all()
        .build();
    match runtime
        .map_err(anyhow::Error::from)
        .and_then(|runtime| runtime.block_on(run::run(config, activation)))
    {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => fail(&format!("{error:#}")),
    }
}

fn fail(message: &str) -> ExitCode {
    eprintln!("assayd: {message}");
    ExitCode::FAILURE
}
