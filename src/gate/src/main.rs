//! assay-gate: what containerd has, shown to whoever has to know.
//!
//! It runs as root and opens containerd's socket, which is root-equivalent. So it parses nothing that a stranger wrote: names and
//! digests are handed on as containerd tells them, and assayd, which may not open that socket, makes something of them.

mod channel;
mod containerd;
mod report;
mod watch;

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Parser, Subcommand};

use self::containerd::Containerd;
use self::report::Assayd;

/// Shows assayd what images containerd has.
#[derive(Parser)]
#[command(version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Print every image of every namespace, one JSON object a line
    List(Which),
    /// Tell assayd what images there are and which appear, until it is stopped
    Watch {
        #[command(flatten)]
        which: Which,
        /// assayd's control socket
        #[arg(
            long,
            value_name = "PATH",
            default_value = "/run/assayd/control.sock",
            env = "ASSAYD_CONTROL_SOCKET"
        )]
        control_socket: PathBuf,
    },
}

#[derive(Args)]
struct Which {
    /// containerd's socket; k3s has /run/k3s/containerd/containerd.sock
    #[arg(
        long,
        value_name = "PATH",
        default_value = "/run/containerd/containerd.sock",
        env = "CONTAINERD_ADDRESS"
    )]
    address: PathBuf,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    match run(&arguments.command) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("assay-gate: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(command: &Command) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        match command {
            Command::List(which) => list(&Containerd::new(&which.address)).await,
            Command::Watch { which, control_socket } => {
                watch::watch(&Containerd::new(&which.address), &Assayd::new(control_socket)).await
            }
        }
    })
}

async fn list(containerd: &Containerd) -> anyhow::Result<()> {
    let mut output = io::stdout().lock();
    for image in containerd.images().await? {
        serde_json::to_writer(&mut output, &image)
            .map_err(io::Error::from)
            .and_then(|()| output.write_all(b"\n"))
            .context("standard output")?;
    }
    Ok(())
}
