//! What systemd is told (sd_notify(3)): ready, reloading, stopping, and that questions are answered. Where nobody asked to
//! be told, all of it does nothing.

use sd_notify::NotifyState;
use tracing::warn;

use crate::admission::Admission;

/// The daemon serves.
pub(super) fn ready(admission: &Admission) {
    notify(&[NotifyState::Ready, NotifyState::Status(&status(admission))]);
}

/// Policy and trust material are read again; [`ready`] says that it is done.
pub(super) fn reloading() {
    let mut states = vec![NotifyState::Reloading];
    // systemd 253 and later wants to know which reload this is.
    states.extend(NotifyState::monotonic_usec_now());
    notify(&states);
}

/// The daemon stops.
pub(super) fn stopping() {
    notify(&[NotifyState::Stopping]);
}

/// Keeps the line of `systemctl status` true.
pub(super) async fn report_status(admission: Admission) {
    let mut reloads = admission.reloads();
    while reloads.changed().await.is_ok() {
        notify(&[NotifyState::Status(&status(&admission))]);
    }
}

/// Feeds the watchdog, where the unit has one (WatchdogSec=), after each probe of the way that questions take. So what is
/// stuck on that way is restarted, and a timer that goes on beside it keeps nothing alive.
pub(super) async fn feed_watchdog(admission: Admission) {
    let Some(limit) = sd_notify::watchdog_enabled().filter(|limit| !limit.is_zero()) else {
        return;
    };
    // Two probes may come late before systemd runs out of patience.
    let interval = limit / 3;
    loop {
        // A task of its own: a probe that panics is one that did not answer.
        let probing = admission.clone();
        let probe = tokio::spawn(async move { probing.probe().await });
        match tokio::time::timeout(interval, probe).await {
            Ok(Ok(Ok(()))) => notify(&[NotifyState::Watchdog]),
            Ok(_) => warn!("a probe of the way that questions take was broken off by an error"),
            Err(_) => warn!(
                "questions are not answered: a probe found no answer within {} s; systemd restarts assayd if that goes on",
                interval.as_secs()
            ),
        }
        tokio::time::sleep(interval).await;
    }
}

fn status(admission: &Admission) -> String {
    match admission.trust().current() {
        Some(snapshot) => format!("policy {} is in force", snapshot.revision()),
        None => "no good policy: every image is denied with policy-invalid; see assayctl policy check".to_owned(),
    }
}

fn notify(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!("systemd could not be notified: {error}");
    }
}
