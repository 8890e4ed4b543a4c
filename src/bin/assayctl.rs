//! Asks and steers assayd.

#![forbid(unsafe_code)]

use std::process::ExitCode;

use assayd::ctl::{Cli, run};
use clap::Parser;

fn main() -> ExitCode {
    let cli = Cli::parse();
    match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime.block_on(run(cli)),
        Err(error) => {
            eprintln!("assayctl: {error}");
            ExitCode::from(3)
        }
    }
}
