//! A fleet on one machine: thousands of nodes that run the daemon's own client against a real nginx.
//!
//! Each node has its own state on a file system in memory, its own connection and its own randomness, and polls through
//! [`assayd::sync::Poller`], as the daemon does. What is left out is what a node does with a policy that is in force. Nothing is
//! sent but to loopback, and everything ends by itself.
//!
//! Figures that this machine bounds and not the protocol are marked.

mod machine;
mod model;
mod node;
mod phases;
#[path = "../../../../tests/policy_repository/mod.rs"]
mod policy_repository;
mod publisher;
mod random;
mod report;
mod wire;

use std::fs;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use assay_integration::certificates::server_identity;
use assay_integration::{Nginx, Peers};
use assayd::sync::Intervals;
use clap::Parser;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::Instant;

use node::World;
use phases::Simulation;
use publisher::Publisher;
use report::Report;

/// Simulates a fleet that follows a policy repository, and says what it costs.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many nodes there are.
    #[arg(long, default_value_t = 2_000, value_parser = clap::value_parser!(u16).range(1..=10_000))]
    nodes: u16,
    /// How often a node asks, in seconds. The shortest and longest interval become shorter with it, as they are for 60 s.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=60))]
    interval: u64,
    /// When it ends at the latest, in seconds. What has not happened by then is said.
    #[arg(long, default_value_t = 240, value_parser = clap::value_parser!(u64).range(10..=600))]
    seconds: u64,
    /// For how long the server is away, in seconds.
    #[arg(long, default_value_t = 30, value_parser = clap::value_parser!(u64).range(1..=120))]
    outage: u64,
    /// HTTPS for the whole fleet. What a poll costs is measured over both either way.
    #[arg(long)]
    https: bool,
    /// What the nodes' randomness begins with.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where all figures are written, in JSON.
    #[arg(long)]
    json: Option<PathBuf>,
}

/// The intervals of a node that asks each `seconds`: what a node has for 60 s (5 s and 1 h), made shorter alike.
fn intervals(seconds: u64) -> Intervals {
    let default = Duration::from_secs(seconds);
    Intervals {
        default,
        min: default / 12,
        max: default * 60,
    }
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        done = run(&arguments) => done,
        // What was started ends with the values that hold it, nginx among them.
        _ = terminate.recv() => bail!("terminated"),
        _ = interrupt.recv() => bail!("interrupted"),
    }
}

async fn run(arguments: &Arguments) -> Result<ExitCode> {
    for name in [
        "http_proxy",
        "HTTP_PROXY",
        "https_proxy",
        "HTTPS_PROXY",
        "all_proxy",
        "ALL_PROXY",
    ] {
        let is_set = std::env::var_os(name).is_some_and(|value| !value.is_empty());
        ensure!(
            !is_set,
            "{name} is set, and the nodes would ask that proxy: run this without it"
        );
    }
    let nodes = usize::from(arguments.nodes);
    machine::allow_files(nodes)?;
    let peers = tokio::task::block_in_place(Peers::fetch)?;
    let served = tempfile::tempdir()?;
    let mut publisher = Publisher::new(served.path())?;
    let hosts = Nginx::hosts();
    let hosts: Vec<&str> = hosts.iter().map(String::as_str).collect();
    let identity = server_identity(&hosts)?;
    // The list of certificate authorities is read once, and the clock of the run begins after what is fetched and read.
    let world = World::new(
        publisher.pinned(),
        Some(identity.ca_pem()),
        intervals(arguments.interval),
        arguments.seed,
    )?;
    let world = Arc::new(world);
    let end = Instant::now() + Duration::from_secs(arguments.seconds);

    eprintln!("==> What one poll costs, byte for byte");
    let connections = nodes * machine::CONNECTIONS_OF_NODE;
    let plain = Nginx::start(&peers, served.path(), None, connections).await?;
    let secure = Nginx::start(&peers, served.path(), Some(&identity), connections).await?;
    let http = wire::measure(&world, &plain, &mut publisher, nodes).await?;
    let https = wire::measure(&world, &secure, &mut publisher, nodes + 1).await?;
    let (nginx, other) = if arguments.https {
        (secure, plain)
    } else {
        (plain, secure)
    };
    drop(other);

    let outage = Duration::from_secs(arguments.outage);
    let simulation = Simulation::new(&world, nginx, publisher, nodes, end);
    let measured = simulation.run(outage).await?;
    let report = Report::new(arguments, &world, http, https, measured, identity.certificate_pem())?;
    println!("{report}");
    if let Some(path) = &arguments.json {
        let text = serde_json::to_string_pretty(&report)?;
        fs::write(path, text + "\n").with_context(|| format!("cannot write {}", path.display()))?;
    }
    Ok(if report.holds() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}
