//! The cached verdict over gRPC, without the hook.

use std::time::{Duration, Instant};

use anyhow::Result;
use assay_integration::measure::{Goal, Samples, Table, shown};
use assay_proto::v1::image_verifier_client::ImageVerifierClient;
use assay_proto::v1::{CacheState, VerifyRequest};
use tokio::task::JoinSet;
use tonic::transport::Channel;

use crate::lab::{Lab, ask, connect};
use crate::{runs, say};

/// Calls one after the other.
const CALLS: usize = runs(20_000);
/// Streams of one connection, and for how long they ask.
const STREAMS: usize = 64;
const STREAMING: Duration = Duration::from_secs(3);

/// The verdict without the hook. The client has a thread of its own, as a hook would be a process of its own.
pub(crate) async fn over_grpc(lab: &Lab, table: &mut Table) -> Result<()> {
    say(&format!(
        "Asking over gRPC: {CALLS} calls one after the other, then {STREAMS} streams for {} s",
        STREAMING.as_secs()
    ));
    let (socket, question) = (lab.assayd.verifier_socket(), lab.question(&lab.image));
    let client = move || -> Result<(Samples, f64)> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(async {
            let mut client = ImageVerifierClient::new(connect(&socket).await?);
            for _ in 0..CALLS / 20 {
                ask(&mut client, question.clone(), CacheState::Verdict).await?;
            }
            let mut times = Vec::with_capacity(CALLS);
            for _ in 0..CALLS {
                let started = Instant::now();
                ask(&mut client, question.clone(), CacheState::Verdict).await?;
                times.push(started.elapsed());
            }
            Ok((times.into_iter().collect(), throughput(&client, &question).await?))
        })
    };
    let (times, per_second) = tokio::task::spawn_blocking(client).await??;
    table.add(
        "cached verdict, gRPC alone, one stream",
        shown(times.median()),
        Some(Goal::within(times.median(), Duration::from_micros(100))),
        format!("p99 {}", shown(times.percentile(99))),
    );
    table.add(
        &format!("  {STREAMS} streams of one connection"),
        format!("{per_second:.0}/s"),
        Some(Goal::at_least(per_second, 50_000.0, "/s")),
        "the client takes part of the same cores",
    );
    Ok(())
}

async fn throughput(client: &ImageVerifierClient<Channel>, question: &VerifyRequest) -> Result<f64> {
    let started = Instant::now();
    let mut streams = JoinSet::new();
    for _ in 0..STREAMS {
        let (mut client, question) = (client.clone(), question.clone());
        streams.spawn(async move {
            let mut answers = 0_u32;
            while started.elapsed() < STREAMING {
                ask(&mut client, question.clone(), CacheState::Verdict).await?;
                answers += 1;
            }
            anyhow::Ok(answers)
        });
    }
    let mut answers = 0;
    while let Some(stream) = streams.join_next().await {
        answers += stream??;
    }
    Ok(f64::from(answers) / started.elapsed().as_secs_f64())
}
