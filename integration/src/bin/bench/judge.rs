//! The judgement without the daemon.

use std::fs;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use assay_integration::measure::{Goal, Table, shown};
use serde_json::Value;

use crate::programs::cargo;
use crate::{TRIAL, say};

/// The medians of `cargo bench --package assay-verify`, which measures with criterion.
pub(crate) fn judge_alone(table: &mut Table) -> Result<()> {
    say("Judging alone, with criterion");
    let figures = tempfile::tempdir()?;
    let how: (&[&str], &[&str]) = match TRIAL {
        true => (&["--profile", "dev"], &["--quick"]),
        false => (&[], &["--warm-up-time", "1", "--measurement-time", "2"]),
    };
    let measured = cargo()
        .args(["bench", "--package", "assay-verify"])
        .args(["--bench", "judge", "--bench", "sigstore", "--bench", "timestamp"])
        .args(how.0)
        .arg("--")
        .args(how.1)
        .env("CRITERION_HOME", figures.path())
        .status()?;
    ensure!(measured.success(), "cargo bench failed");
    let mut medians = vec![];
    for entry in fs::read_dir(figures.path())? {
        let folder = entry?.path().join("new");
        if !folder.is_dir() {
            continue;
        }
        let read = |file: &str| -> Result<Value> { Ok(serde_json::from_slice(&fs::read(folder.join(file))?)?) };
        let name = read("benchmark.json")?["full_id"].as_str().map(str::to_owned);
        let nanoseconds = read("estimates.json")?["median"]["point_estimate"].as_f64();
        let (name, nanoseconds) = name.zip(nanoseconds).context("criterion writes other files")?;
        medians.push((name, Duration::from_secs_f64(nanoseconds / 1e9)));
    }
    ensure!(!medians.is_empty(), "criterion left no figures in CRITERION_HOME");
    medians.sort();
    for (name, median) in medians {
        let (name, goal) = row(&name).with_context(|| format!("criterion measures {name}, which has no row"))?;
        let goal = goal.map(|most| Goal::within(median, most));
        table.add(&name, shown(median), goal, "");
    }
    Ok(())
}

/// The row of a benchmark, `judge/FORMAT/KEY/CHAIN+MORE`, `sigstore/LAYOUT` or `timestamp/ENCODING`. Of the first only the judgement of envelope and chain
/// has a goal.
fn row(name: &str) -> Option<(String, Option<Duration>)> {
    if let Some(encoding) = name.strip_prefix("timestamp/") {
        return Some((format!("timestamp token alone: {encoding}, 3 in the chain"), None));
    }
    if let Some(what) = name.strip_prefix("sigstore/") {
        // The goal is for a bundle, whoever has to agree on it.
        let goal = what.starts_with("v3").then_some(Duration::from_micros(700));
        return Some((format!("judge alone: {what}"), goal));
    }
    let shape = name.strip_prefix("judge/")?.replace('/', ", ");
    Some(match shape.split_once('+') {
        None => (
            format!("judge alone: {shape} in the chain"),
            Some(Duration::from_micros(150)),
        ),
        Some((shape, more)) => {
            let more = more.replace('+', ", ").replace("CRL-100000", "CRL of 100,000 entries");
            (format!("judge alone: {shape} in the chain, with {more}"), None)
        }
    })
}
