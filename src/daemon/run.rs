//! The daemon's life: build, serve, reload, drain.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use assay_proto::v1::control_server::ControlServer;
use assay_proto::v1::image_verifier_server::ImageVerifierServer;
use assay_verify::Timestamp;
use assay_verify::limits::{ACTIVATED_DRAIN_TIMEOUT, DRAIN_TIMEOUT, MAX_QUESTION_SIZE};
use assay_verify::query::QueryId;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{mpsc, watch};
use tonic::transport::Server;
use tonic_health::server::HealthReporter;
use tracing::{info, warn};

use crate::admission::Admission;
use crate::admission::answers::{RevocationAnswers, World};
use crate::admission::decision_log::DecisionLog;
use crate::admission::events::{STARTED, STOPPED};
use crate::admission::ledger::{Ledger, LedgerOptions};
use crate::admission::respondents::Respondents;
use crate::cache::answers::{AnswerOptions, AnswerStore};
use crate::cache::evidence::{EvidenceOptions, EvidenceStore};
use crate::daemon::activation::Activation;
use crate::daemon::config::Config;
use crate::daemon::fleet::{Follower, watch_standing};
use crate::daemon::metrics_endpoint::Endpoint;
use crate::daemon::metrics_file::write_metrics;
use crate::daemon::random::random;
use crate::daemon::service_manager;
use crate::daemon::watch::watch as watch_files;
use crate::fetch::revocation::{self, AnswerMemory};
use crate::fetch::{Client, ProcessMemory};
use crate::hooks::control::ControlService;
use crate::hooks::metrics::Metrics;
use crate::hooks::socket;
use crate::hooks::verifier::VerifierService;
use crate::plugin::Plugins;
use crate::sync::{RELEASE_DATE, Status};
use crate::trust::{FleetPolicy, TrustState};

/// How long refreshing rests after it ended unexpectedly, so that what ends it at once does not fill the journal.
const RESTART_PAUSE: Duration = Duration::from_secs(10);

/// The flag under which the hook observes, where the hook looks for it unless told otherwise.
const OBSERVE_FLAG: &str = "/etc/assayd/observe";

/// The images that the hook admits without asking, where it looks for them unless told otherwise.
const BOOTSTRAP_LIST: &str = "/etc/assayd/bootstrap.list";

/// Runs the daemon until SIGTERM or SIGINT. SIGHUP reloads. It serves the sockets that systemd handed over, and makes those
/// that it did not.
///
/// # Errors
///
/// When a socket cannot be served or the configuration cannot be used. A broken policy is no such error: the daemon
/// runs, denies with `policy-invalid`, and takes the policy up as soon as it is mended.
pub async fn run(config: Config, mut activation: Activation) -> anyhow::Result<()> {
    let started_at = Timestamp::now();
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;

    // Before the sockets: a daemon that will not start takes no questions.
    let endpoint = match &config.metrics_listen {
        Some(address) => Some(Endpoint::bind(address, config.socket_mode.bits()).await?),
        None => None,
    };

    let systemd_listens = activation.is_used();
    let mut listen = |path: &Path| match activation.listener(path) {
        Some(listener) => socket::adopt(path, listener),
        None => socket::bind(path, config.socket_mode.bits()),
    };
    let verifier_socket = listen(&config.verifier_socket)?;
    let control_socket = listen(&config.control_socket)?;
    activation.finish()?;

    let registries = Client::new(config.fetch()?, ProcessMemory::default()).context("the registry client")?;
    let options = EvidenceOptions {
        limit: config.cache_size,
        ..EvidenceOptions::new(&config.state_directory)
    };
    let evidence = EvidenceStore::open(options).context("the thread of the evidence store")?;
    let user = nix::unistd::geteuid().as_raw();
    let (trust, follower, status) = match &config.fleet {
        None => (
            TrustState::new(&config.policy, user),
            None,
            Status::new(None, RELEASE_DATE),
        ),
        Some(fleet) => {
            let policy = FleetPolicy {
                channel: fleet.channel.0.to_string(),
                floor: config.floor.floor(),
            };
            let follower = Follower::open(&config, fleet, &registries)?;
            let status = Status::new(Some(fleet.followed()), RELEASE_DATE);
            (
                TrustState::of_fleet(&config.policy, user, policy),
                Some(follower),
                status,
            )
        }
    };
    let decision_log = config.decision_log_options().map(DecisionLog::start).transpose();
    let decision_log = decision_log.context("the thread of the decision log")?;
    let (changed, changes) = mpsc::unbounded_channel();
    let respondents = respondents(&config, changed)?;
    let admission = Admission::new(
        Arc::new(trust),
        registries,
        evidence,
        respondents,
        Timestamp::now,
        status,
    );
    if let Some(log) = decision_log.clone() {
        admission.keep_decisions(log);
    }
    let ledger = Ledger::open(LedgerOptions {
        directory: config.state_directory.clone(),
        bootstrap_list: BOOTSTRAP_LIST.into(),
    })
    .context("the thread of the ledger")?;
    admission.keep_ledger(ledger.clone());
    let loading = admission.clone();
    let stored = follower.as_ref().and_then(Follower::files);
    tokio::task::spawn_blocking(move || match stored {
        Some(files) => loading.activate(files, "start").is_ok(),
        None => loading.reload("start"),
    })
    .await
    .context("loading the policy")?;
    if let Some(follower) = &follower {
        follower.show_stored(&admission);
    }

    let users: Arc<[u32]> = config.allowed_users.into();
    let (stop, stopping) = watch::channel(());
    let (health, health_service) = tonic_health::server::health_reporter();
    let verifier =
        ImageVerifierServer::new(VerifierService::new(admission.clone())).max_decoding_message_size(MAX_QUESTION_SIZE);
    let verifying = Server::builder()
        .add_service(health_service)
        .add_service(verifier)
        .serve_with_incoming_shutdown(
            socket::accept(verifier_socket, users.clone()),
            stopped(stopping.clone()),
        );
    let metrics = Metrics::new(admission.clone(), OBSERVE_FLAG);
    let control = ControlServer::new(ControlService::new(admission.clone(), metrics.clone(), started_at))
        .max_decoding_message_size(MAX_QUESTION_SIZE);
    let controlling = Server::builder()
        .add_service(control)
        .serve_with_incoming_shutdown(socket::accept(control_socket, users), stopped(stopping));
    let mut serving = tokio::spawn(async move { tokio::try_join!(verifying, controlling) });
    tokio::spawn(watch_files(admission.clone()));
    tokio::spawn(follow_answers(admission.clone(), changes));
    tokio::spawn(watch_standing(admission.sync().clone()));
    if let Some(path) = config.metrics_file {
        tokio::spawn(write_metrics(path, metrics.clone()));
    }
    if let Some(endpoint) = endpoint {
        tokio::spawn(endpoint.serve(metrics));
    }
    if let Some(follower) = follower {
        tokio::spawn(follower.follow(admission.clone()));
    }
    let judging = admission.clone();
    tokio::spawn(async move {
        loop {
            let again = judging.clone();
            // It ends by a panic alone: one image must not keep the others from being judged again.
            let _ = tokio::spawn(async move { again.judge_again().await }).await;
            warn!("judging again what was admitted ended unexpectedly and is started again");
        }
    });
    let revocation = admission.respondents().revocation.clone();
    tokio::spawn(async move {
        loop {
            let refreshing = revocation.clone();
            // It ends by a panic alone, and must not end: answers would lapse unseen.
            let _ = tokio::spawn(async move { refreshing.keep_fresh().await }).await;
            warn!("the refreshing of revocation answers ended unexpectedly and is started again");
            tokio::time::sleep(RESTART_PAUSE).await;
        }
    });
    tokio::spawn(report_health(health, admission.clone()));

    info!(
        message_id = STARTED,
        "assayd {} answers on {}",
        env!("CARGO_PKG_VERSION"),
        config.verifier_socket.display()
    );
    service_manager::ready(&admission);
    tokio::spawn(service_manager::report_status(admission.clone()));
    tokio::spawn(service_manager::feed_watchdog(admission.clone()));
    loop {
        tokio::select! {
            _ = hangup.recv() => {
                service_manager::reloading();
                let reloading = admission.clone();
                // A panic while loading leaves the policy in force as it is.
                let _ = tokio::task::spawn_blocking(move || reloading.reload("SIGHUP")).await;
                service_manager::ready(&admission);
            }
            _ = terminate.recv() => break,
            _ = interrupt.recv() => break,
            ended = &mut serving => {
                ended.context("a service ended unexpectedly")?.context("a socket failed")?;
                anyhow::bail!("the services ended without being asked to");
            }
        }
    }
    service_manager::stopping();
    info!(
        message_id = STOPPED,
        "assayd stops: the questions under way are answered first"
    );
    drop(stop);
    let drain_timeout = if systemd_listens {
        ACTIVATED_DRAIN_TIMEOUT
    } else {
        DRAIN_TIMEOUT
    };
    if tokio::time::timeout(drain_timeout, serving).await.is_err() {
        warn!(
            message_id = STOPPED,
            "some questions were not answered within {} s; who asked is free to ask again",
            drain_timeout.as_secs()
        );
    }
    // What is not written costs a request after the next start.
    let _ = tokio::time::timeout(DRAIN_TIMEOUT, admission.respondents().revocation.flush()).await;
    admission.evidence().shut_down().await;
    // Without its end an admission of the last moments may be reported as a bypass.
    let _ = tokio::task::spawn_blocking(move || ledger.shut_down()).await;
    if let Some(log) = decision_log {
        // What it does not write, the journal has.
        let _ = tokio::task::spawn_blocking(move || log.shut_down()).await;
    }
    // The socket files stay: where systemd does not own them, the next start replaces them.
    Ok(())
}

/// Those who answer the queries of judgements. Whatever may change an answer is told to `changed`.
fn respondents(config: &Config, changed: mpsc::UnboundedSender<QueryId>) -> anyhow::Result<Respondents> {
    let memory = AnswerMemory::default();
    let endpoints = revocation::Client::new(config.revocation_endpoints(), memory.clone());
    let plugins = Plugins::new(config.plugins()?);
    for (name, problem) in plugins.problems() {
        warn!("the plugin {name} cannot be run: {problem}");
    }
    Ok(Respondents {
        revocation: RevocationAnswers::new(World {
            endpoints: Arc::new(endpoints),
            memory,
            store: AnswerStore::open(AnswerOptions::new(&config.state_directory)),
            clock: Timestamp::now,
            random,
            // Whoever listens is gone only when the daemon stops.
            changed: Box::new(move |query| {
                let _ = changed.send(query);
            }),
        }),
        plugins: Arc::new(plugins),
    })
}

/// Forgets the verdicts that rest on an answer as soon as there may be a newer one.
async fn follow_answers(admission: Admission, mut changes: mpsc::UnboundedReceiver<QueryId>) {
    while let Some(query) = changes.recv().await {
        admission.answer_changed(query);
    }
}

/// Ends when the sender is dropped.
async fn stopped(mut stopping: watch::Receiver<()>) {
    while stopping.changed().await.is_ok() {}
}

/// The verifier is healthy while a policy is in force.
async fn report_health(health: HealthReporter, admission: Admission) {
    let mut reloads = admission.reloads();
    loop {
        if admission.trust().current().is_some() {
            health.set_serving::<ImageVerifierServer<VerifierService>>().await;
        } else {
            health.set_not_serving::<ImageVerifierServer<VerifierService>>().await;
        }
        if reloads.changed().await.is_err() {
            return;
        }
    }
}
