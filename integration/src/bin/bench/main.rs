//! The comparison: assayd as it is released beside `notation verify`, `cosign verify` and an empty program, on this machine, in one run.
//!
//! What is compared is measured alternately, so that a busy moment hits both. Nothing here passes or fails: figures of a
//! shared machine are no test. The goals stand beside them for orientation.
//!
//! The arguments are the sections to run, all of them where there is none. Built without optimisation, with
//! `cargo run --package assay-integration --bin bench`, it is a trial of the comparison itself: programs built alike, a
//! fiftieth of the runs, and figures that say nothing.

mod cold;
mod cosign;
mod grpc;
mod hook;
mod images;
mod judge;
mod lab;
mod programs;
mod revocation;

use std::fs;
use std::time::Duration;

use anyhow::{Result, ensure};
use assay_integration::Peers;
use assay_integration::measure::Table;

use lab::Lab;
use programs::Programs;

/// Whether this is a trial of the comparison.
const TRIAL: bool = cfg!(debug_assertions);
/// The round-trip time to a registry or an endpoint far away.
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// Runs of what takes several of those.
const RUNS_FAR_AWAY: usize = runs(10);

const SECTIONS: [&str; 7] = ["hook", "grpc", "cold", "revocation", "cosign", "judge", "images"];

/// How often something is measured: so often, and less in a trial.
const fn runs(released: usize) -> usize {
    match released / 50 {
        _ if !TRIAL => released,
        0 | 1 => 2,
        fewer => fewer,
    }
}

#[tokio::main]
async fn main() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "assayd answers root alone unless configured: run the comparison as root"
    );
    let chosen: Vec<String> = std::env::args().skip(1).collect();
    for name in &chosen {
        ensure!(
            SECTIONS.contains(&name.as_str()),
            "there is no section {name}: {}",
            SECTIONS.join(", ")
        );
    }
    let wanted = |section: &str| chosen.is_empty() || chosen.iter().any(|name| name == section);

    let programs = Programs::build()?;
    say("Making an image, signing it with the real notation");
    let peers = Peers::fetch()?;
    let lab = Lab::new(&peers).await?;
    let before = load_average();

    let mut table = Table::default();
    if wanted("hook") {
        hook::through_the_hook(&lab, &programs, &mut table).await?;
    }
    if wanted("grpc") {
        grpc::over_grpc(&lab, &mut table).await?;
    }
    if wanted("cold") {
        cold::cold(&lab, &programs, &mut table).await?;
    }
    if wanted("revocation") {
        revocation::with_revocation(&peers, &programs, &mut table).await?;
    }
    if wanted("cosign") {
        cosign::beside_cosign(&peers, &programs, &mut table).await?;
    }
    if wanted("judge") {
        judge::judge_alone(&mut table)?;
    }
    if wanted("images") {
        images::with_many_images(&mut table).await?;
    }

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (met, goals) = table.goals();
    say("The comparison");
    println!("{table}");
    println!("{met} of {goals} goals met. x: times as long. Times are medians unless they say otherwise.");
    println!("{cores} cores; load average {before} before, {} after.", load_average());
    for (name, version) in peers.versions().iter().filter(|(name, _)| name == "notation") {
        println!("{name} {version}");
    }
    if TRIAL {
        println!("A TRIAL of programs that are not optimised: run `cargo bench-peers` for figures.");
    }
    Ok(())
}

/// Of the last one, five and fifteen minutes (proc(5)).
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn say(what: &str) {
    println!("\n==> {what}");
}
