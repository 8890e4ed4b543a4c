//! The watch: what is on the node is told as a whole, again and again, and what appears between is told at once.
//!
//! The whole is what counts. An event that is lost, an assayd that was away, or a gate that was not running costs at most the
//! time until the next report.

use std::time::Duration;

use anyhow::Result;
use sd_notify::NotifyState;
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until};

use crate::containerd::{Appeared, Containerd};
use crate::report::Assayd;

/// How often everything is told.
const INTERVAL: Duration = Duration::from_secs(60);

/// How soon the second time.
const SOON: Duration = Duration::from_secs(2);

/// How long it waits after a failure, at first and at most.
const PAUSE: Duration = Duration::from_secs(1);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Watches until SIGTERM or SIGINT.
pub(crate) async fn watch(containerd: &Containerd, assayd: &Assayd) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    // It waits for containerd and for assayd by itself, and nobody else has to wait for that.
    notify(&[NotifyState::Ready]);
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
        never = watch_on(containerd, assayd) => match never {},
    }
    notify(&[NotifyState::Stopping]);
    Ok(())
}

/// Begins anew after each failure, and says each kind of failure once.
async fn watch_on(containerd: &Containerd, assayd: &Assayd) -> std::convert::Infallible {
    let (mut pause, mut said) = (PAUSE, String::new());
    loop {
        let mut reported = false;
        let Err(error) = follow(containerd, assayd, &mut reported).await;
        if reported {
            pause = PAUSE;
            said.clear();
        }
        let message = format!("{error:#}");
        if message != said {
            eprintln!("assay-gate: {message}; what comes meanwhile is told when that is over");
            notify(&[NotifyState::Status(&message)]);
            said = message;
        }
        sleep(pause).await;
        pause = LONGEST_PAUSE.min(pause * 2);
    }
}

/// Tells everything, and then what appears, until something fails.
async fn follow(
    containerd: &Containerd,
    assayd: &Assayd,
    reported: &mut bool,
) -> Result<std::convert::Infallible, anyhow::Error> {
    let mut events = containerd.events();
    // containerd does not say when it begins to tell events, so everything is told again soon.
    let mut next = Instant::now();
    let mut pauses = std::iter::once(SOON).chain(std::iter::repeat(INTERVAL));
    loop {
        tokio::select! {
            appeared = events.next() => {
                if let Some(appeared) = appeared? {
                    tell(containerd, assayd, &appeared).await?;
                }
            }
            () = sleep_until(next) => {
                let images = containerd.images().await?;
                let names = images.len();
                let answer = assayd.report(true, images).await?;
                if !*reported {
                    *reported = true;
                    eprintln!("assay-gate: assayd knows what there is: {}", summary(names, &answer));
                }
                if answer.unreadable > 0 {
                    eprintln!("assay-gate: assayd could not read {} of the images", answer.unreadable);
                }
                notify(&[NotifyState::Status(&summary(names, &answer))]);
                next = Instant::now() + pauses.next().unwrap_or(INTERVAL);
            }
        }
    }
}

async fn tell(containerd: &Containerd, assayd: &Assayd, appeared: &Appeared) -> Result<()> {
    match containerd.image(appeared).await? {
        Some(image) => assayd.report(false, vec![image]).await.map(drop),
        None => {
            eprintln!(
                "assay-gate: the image {:?} of the namespace {:?} was gone again before it could be looked at",
                appeared.name, appeared.namespace
            );
            Ok(())
        }
    }
}

fn summary(names: usize, answer: &assay_proto::v1::ReportImagesResponse) -> String {
    format!(
        "{names} names of images, {} images that came past the hook",
        answer.without_verdict
    )
}

fn notify(states: &[NotifyState<'_>]) {
    // Whoever did not start it with a socket wants no word.
    let _ = sd_notify::notify(states);
}
