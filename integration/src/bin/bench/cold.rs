//! The verdict about an image that nobody asked about before.

use std::time::Duration;

use anyhow::{Result, ensure};
use assay_integration::Registry;
use assay_integration::measure::{Goal, Samples, Table, ratio, shown};
use assay_proto::v1::Verdict;
use assay_proto::v1::image_verifier_client::ImageVerifierClient;
use tokio::task::JoinSet;

use crate::lab::{Lab, connect};
use crate::programs::Programs;
use crate::{ROUND_TRIP, RUNS_FAR_AWAY, runs, say};

/// Runs of everything that asks a registry nearby.
const COLD_RUNS: usize = runs(50);
/// Equal questions at once.
const EQUAL_QUESTIONS: usize = 1_000;

/// Runs of one program, with the registry requests of each.
pub(crate) struct Cold {
    pub(crate) times: Samples,
    pub(crate) requests: usize,
}

impl Cold {
    /// Runs `run` after `prepare`, which is not measured.
    pub(crate) async fn measure(
        registry: &Registry,
        runs: usize,
        prepare: impl AsyncFn() -> Result<()>,
        run: impl Fn() -> Result<Duration>,
    ) -> Result<Self> {
        let (mut times, mut requests) = (vec![], vec![]);
        for _ in 0..runs {
            prepare().await?;
            let mark = registry.log().mark();
            times.push(tokio::task::block_in_place(&run)?);
            requests.push(registry.log().requests_since(mark).len());
        }
        let most = requests.iter().copied().max().unwrap_or_default();
        let least = requests.iter().copied().min().unwrap_or_default();
        ensure!(
            most == least,
            "between {least} and {most} registry requests for the same"
        );
        Ok(Self {
            times: times.into_iter().collect(),
            requests: most,
        })
    }
}

/// Verdicts without anything stored, through the hook, on a registry whose kind is known.
pub(crate) async fn cold(lab: &Lab, programs: &Programs, table: &mut Table) -> Result<()> {
    say("Asking with everything forgotten: on loopback, then with 50 ms added to each round trip");
    let nothing = async || Ok(());
    for (place, round_trip, runs) in [
        ("on loopback", Duration::ZERO, COLD_RUNS),
        ("50 ms away", ROUND_TRIP, RUNS_FAR_AWAY),
    ] {
        if !round_trip.is_zero() {
            lab.registry.add_latency(round_trip);
        }
        let ours = Cold::measure(
            &lab.registry,
            runs,
            async || lab.clear_cache().await,
            || lab.exec(&programs.hook, &lab.image),
        )
        .await?;
        let notation = Cold::measure(&lab.registry, runs, nothing, || lab.exec_notation(&lab.image)).await?;
        let (took, others) = (ours.times.median(), notation.times.median());
        let goal = (!round_trip.is_zero()).then(|| Goal::within(took, round_trip.mul_f64(3.3)));
        table.add(
            &format!("cold verdict, exec to exit, registry {place}"),
            shown(took),
            goal,
            format!("notation verify {}: {:.1} x", shown(others), ratio(others, took)),
        );
        table.add(
            "  registry requests",
            ours.requests.to_string(),
            Some(Goal::at_most(ours.requests as f64, 3.0, "")),
            format!("notation verify {}", notation.requests),
        );
    }
    lab.registry.behave();

    lab.clear_cache().await?;
    let mark = lab.registry.log().mark();
    let client = ImageVerifierClient::new(connect(&lab.assayd.verifier_socket()).await?);
    let mut askers = JoinSet::new();
    for _ in 0..EQUAL_QUESTIONS {
        let (mut client, question) = (client.clone(), lab.question(&lab.image));
        askers.spawn(async move { client.verify(question).await });
    }
    while let Some(answer) = askers.join_next().await {
        let answer = answer??.into_inner();
        ensure!(answer.verdict() == Verdict::Admit, "expected an admit, got {answer:?}");
    }
    let requests = lab.registry.log().requests_since(mark).len();
    table.add(
        &format!("{EQUAL_QUESTIONS} equal questions at once, registry requests"),
        requests.to_string(),
        Some(Goal::at_most(requests as f64, 3.0, "")),
        "",
    );
    Ok(())
}
