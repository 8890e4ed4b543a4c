//! Memory, start-up and throughput with many images in the store.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result};
use assay_integration::envelope::{EnvelopeSigner, JWS};
use assay_integration::measure::{Goal, Table, shown};
use assay_integration::registry::{OCI_MANIFEST, sha256};
use assay_integration::{Assayd, Registry};
use assay_proto::v1::image_verifier_client::ImageVerifierClient;
use assay_proto::v1::{CacheState, VerifyRequest};
use serde_json::json;
use tokio::task::JoinSet;

use crate::lab::{Trust, ask, connect, question};
use crate::{runs, say};

/// Images in the store, and how many are asked about at once to fill it.
const IMAGES: usize = runs(10_000);
const FILLERS: usize = 16;
/// How long the daemon rests before its memory is read.
const REST: Duration = Duration::from_secs(2);

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// Memory and start-up with many images in the store.
pub(crate) async fn with_many_images(table: &mut Table) -> Result<()> {
    say(&format!(
        "Filling the store: {IMAGES} images, each with a signature of its own"
    ));
    let registry = Registry::start().await?;
    let trust = Trust::new()?;
    let questions: Arc<[VerifyRequest]> = signed_images(&registry, &trust)?.into();
    let mut assayd = trust.daemon(&registry).environment_of_the_unit()?.start().await?;
    tokio::time::sleep(REST).await;
    let idle = assayd.memory()?.resident as f64 / MEBIBYTE;
    table.add(
        "memory, idle",
        format!("{idle:.1} MiB"),
        Some(Goal::at_most(idle, 25.0, " MiB")),
        "",
    );

    let started = Instant::now();
    ask_all(&assayd, &questions, CacheState::Gathered).await?;
    let per_second = IMAGES as f64 / started.elapsed().as_secs_f64();
    memory(
        &assayd,
        &format!("  {IMAGES} images verified"),
        table,
        &format!("{per_second:.0}/s"),
    )
    .await?;

    say("Starting with a full store");
    assayd.stop().await?;
    // What a node has stored is on its disk long before it is started again. Here it was written within seconds, and whoever opens
    // the store next would wait for the disk to take all of it.
    nix::unistd::sync();
    let first = questions.first().context("there are images")?;
    start(
        &mut assayd,
        first,
        &format!("start until the first verdict, {IMAGES} images stored in the run before"),
        table,
    )
    .await?;
    memory(
        &assayd,
        &format!("  memory after that start, {IMAGES} images stored"),
        table,
        "",
    )
    .await?;
    // The first one is in memory now.
    let others: Arc<[VerifyRequest]> = questions.iter().skip(1).cloned().collect();
    let started = Instant::now();
    ask_all(&assayd, &others, CacheState::Evidence).await?;
    let per_second = IMAGES as f64 / started.elapsed().as_secs_f64();
    memory(
        &assayd,
        "  each judged again from the store",
        table,
        &format!("{per_second:.0}/s"),
    )
    .await?;
    assayd.stop().await?;
    nix::unistd::sync();
    // sled reads what was written since it last opened its files.
    start(
        &mut assayd,
        first,
        &format!("start until the first verdict, {IMAGES} images stored before that"),
        table,
    )
    .await
}

/// Starts the daemon, and measures until it has answered from the store.
async fn start(assayd: &mut Assayd, question: &VerifyRequest, name: &str, table: &mut Table) -> Result<()> {
    let (socket, question) = (assayd.verifier_socket(), question.clone());
    let started = Instant::now();
    let answered = tokio::spawn(async move {
        loop {
            // The socket's file outlives the daemon; nobody listens on it until the next one does.
            if let Ok(channel) = connect(&socket).await {
                ask(&mut ImageVerifierClient::new(channel), question, CacheState::Evidence).await?;
                return anyhow::Ok(started.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assayd.start().await?;
    let ready = answered.await??;
    table.add(
        name,
        shown(ready),
        Some(Goal::within(ready, Duration::from_millis(100))),
        "",
    );
    Ok(())
}

async fn memory(assayd: &Assayd, name: &str, table: &mut Table, beside: &str) -> Result<()> {
    tokio::time::sleep(REST).await;
    let memory = assayd.memory()?;
    let (resident, peak) = (memory.resident as f64 / MEBIBYTE, memory.peak as f64 / MEBIBYTE);
    let peak = format!("peak {peak:.1} MiB");
    let beside = [peak.as_str(), beside].join("  ");
    let goal = Goal::at_most(resident, 60.0, " MiB");
    table.add(name, format!("{resident:.1} MiB"), Some(goal), beside.trim_end());
    Ok(())
}

/// Puts signatures of images into the registry, and returns the questions about them. The images themselves are not
/// there: nobody asks for them.
fn signed_images(registry: &Registry, trust: &Trust) -> Result<Vec<VerifyRequest>> {
    let signer = EnvelopeSigner::new(&trust.signer)?;
    let now = SystemTime::now();
    let signed = |number: usize| {
        // A node's images are spread over repositories.
        let repository = format!("prod/app-{}", number / 20);
        let digest = sha256(format!("image {number}").as_bytes());
        let descriptor = json!({ "mediaType": OCI_MANIFEST, "digest": digest, "size": 1_000 + number });
        let envelope = signer.sign(&descriptor, now)?;
        registry
            .content()
            .attach_signature(&repository, &descriptor, JWS, &envelope);
        Ok(question(&registry.repository(&repository), &descriptor))
    };
    (0..IMAGES).map(signed).collect()
}

/// Asks all questions, several at once.
async fn ask_all(assayd: &Assayd, questions: &Arc<[VerifyRequest]>, work: CacheState) -> Result<()> {
    let client = ImageVerifierClient::new(connect(&assayd.verifier_socket()).await?);
    let next = Arc::new(AtomicUsize::new(0));
    let mut askers = JoinSet::new();
    for _ in 0..FILLERS {
        let (mut client, questions, next) = (client.clone(), questions.clone(), next.clone());
        askers.spawn(async move {
            while let Some(question) = questions.get(next.fetch_add(1, Ordering::Relaxed)) {
                ask(&mut client, question.clone(), work).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(asker) = askers.join_next().await {
        asker??;
    }
    Ok(())
}
