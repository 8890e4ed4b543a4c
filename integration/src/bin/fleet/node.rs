//! The nodes: each with its own state, connection and randomness, polling as the daemon does.

use std::fs;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context as _, Result};
use assay_verify::Timestamp;
use assayd::fetch;
use assayd::sync::{
    Candidate, Channel, Client, Intervals, Polled, Poller, RepositoryAddress, Store, SyncError, Taker, Transport,
};
use assayd::trust::{FleetPolicy, Floor, TrustState, VerifiedFiles};
use tempfile::TempDir;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep_until};

use crate::publisher::CHANNEL;
use crate::random::Random;

/// What all nodes have in common.
pub(crate) struct World {
    pub(crate) intervals: Intervals,
    pub(crate) ledger: Ledger,
    root: Vec<u8>,
    channel: Channel,
    ca: Vec<Vec<u8>>,
    registries: fetch::Client,
    /// Only validates: what is in force is not kept here.
    trust: TrustState,
    state: TempDir,
    seed: u64,
}

/// What the nodes did.
#[derive(Default)]
pub(crate) struct Ledger {
    polls: Mutex<Vec<Poll>>,
    taken: Mutex<Vec<Taken>>,
}

/// A poll of a node.
#[derive(Clone, Debug)]
pub(crate) struct Poll {
    pub(crate) node: usize,
    /// Which life of the node it was in; restarts begin another.
    pub(crate) life: usize,
    pub(crate) pace: Pace,
    /// When it should have begun.
    pub(crate) due: Instant,
    pub(crate) began: Instant,
    pub(crate) ended: Instant,
    pub(crate) outcome: Outcome,
    pub(crate) requests: u64,
    /// How long the schedule waits after it.
    pub(crate) wait: Duration,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Outcome {
    Unchanged,
    Updated,
    Failed(&'static str),
}

/// A node has committed a generation.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    pub(crate) node: usize,
    /// How many entries its deny-list has.
    pub(crate) denied: usize,
    pub(crate) at: Instant,
}

impl Outcome {
    pub(crate) fn is_success(self) -> bool {
        !matches!(self, Self::Failed(_))
    }
}

impl Ledger {
    fn poll(&self, poll: Poll) {
        self.polls.lock().unwrap_or_else(PoisonError::into_inner).push(poll);
    }

    fn take(&self, taken: Taken) {
        self.taken.lock().unwrap_or_else(PoisonError::into_inner).push(taken);
    }

    /// The polls that began in a span of time.
    pub(crate) fn polls(&self, from: Instant, until: Instant) -> Vec<Poll> {
        let polls = self.polls.lock().unwrap_or_else(PoisonError::into_inner);
        let within = polls.iter().filter(|poll| (from..until).contains(&poll.began));
        within.cloned().collect()
    }

    /// When each node's first poll ended well that began at a moment or later.
    pub(crate) fn first_success(&self, from: Instant, nodes: usize) -> Vec<Option<Instant>> {
        let polls = self.polls.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first = vec![None; nodes];
        // They stand in the order in which they ended.
        for poll in polls.iter().rev().take_while(|poll| poll.ended >= from) {
            if let Some(first) = first.get_mut(poll.node)
                && poll.began >= from
                && poll.outcome.is_success()
            {
                *first = Some(poll.ended);
            }
        }
        first
    }

    /// When nodes committed a deny-list with at least so many entries, each node's first.
    pub(crate) fn have(&self, denied: usize, nodes: usize) -> Vec<Option<Instant>> {
        let taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let mut first = vec![None; nodes];
        for taken in taken.iter().filter(|taken| taken.denied >= denied) {
            if let Some(first) = first.get_mut(taken.node) {
                first.get_or_insert(taken.at);
            }
        }
        first
    }
}

/// When a node asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Pace {
    /// As its schedule says.
    Schedule,
    /// At once, and then after each interval, whatever happened: what a loop does that nobody has thought about.
    Naive,
}

impl World {
    pub(crate) fn new(root: Vec<u8>, ca: Option<&str>, intervals: Intervals, seed: u64) -> Result<Self> {
        let registries = fetch::Client::new(fetch::FetchConfig::default(), fetch::ProcessMemory::default())?;
        let policy = FleetPolicy {
            channel: CHANNEL.to_owned(),
            floor: Floor::default(),
        };
        Ok(Self {
            intervals,
            ledger: Ledger::default(),
            root,
            channel: CHANNEL.parse()?,
            ca: ca.into_iter().map(Vec::from).collect(),
            registries,
            trust: TrustState::of_fleet("/nonexistent/policy.toml", nix::unistd::geteuid().as_raw(), policy),
            // In memory: what is measured is not this machine's disk.
            state: tempfile::tempdir_in("/dev/shm").context("there is no folder in memory at /dev/shm")?,
            seed,
        })
    }

    /// Takes up what node `number` has on disk, as its daemon does when it starts.
    pub(crate) fn open(self: &Arc<Self>, number: usize, life: usize, scheme: &str, server: SocketAddr) -> Result<Node> {
        let folder = self.folder(number);
        fs::create_dir_all(&folder)?;
        let client = Client::open(&self.root, self.channel.clone(), Store::new(folder.join("fleet")))?;
        let address = RepositoryAddress::parse(&format!("{scheme}://{server}/"), true)?;
        let transport = Transport::new(address, &self.ca, &self.registries)?;
        let numbers = (number as u64) << 32 | life as u64;
        Ok(Node {
            number,
            life,
            poller: Poller::new(client, transport, self.intervals),
            random: Random::new(self.seed ^ numbers),
            world: Arc::clone(self),
        })
    }

    /// Randomness for one thing that is done to all nodes.
    pub(crate) fn random(&self, thing: usize) -> Random {
        Random::new(self.seed.wrapping_add(thing as u64).wrapping_mul(0xd134_2543_de82_ef95))
    }

    fn folder(&self, number: usize) -> PathBuf {
        self.state.path().join(number.to_string())
    }
}

/// A node while it runs.
pub(crate) struct Node {
    pub(crate) number: usize,
    life: usize,
    pub(crate) poller: Poller,
    random: Random,
    world: Arc<World>,
}

impl Node {
    /// Asks once.
    pub(crate) async fn poll(&mut self, due: Instant, pace: Pace) -> Polled {
        let before = self.poller.transport().traffic();
        let had = self.poller.client().current().cloned();
        let taker = SimulatedNode {
            world: &self.world,
            number: self.number,
        };
        let began = Instant::now();
        let polled = self.poller.poll(&taker, Timestamp::now(), self.random.bits()).await;
        let ended = Instant::now();
        let has = self.poller.client().current();
        let outcome = match &polled.outcome {
            Err(error) => Outcome::Failed(error.word()),
            Ok(()) if has.map(Arc::as_ptr) == had.as_ref().map(Arc::as_ptr) => Outcome::Unchanged,
            Ok(()) => Outcome::Updated,
        };
        let requests = self.poller.transport().traffic().requests - before.requests;
        self.world.ledger.poll(Poll {
            node: self.number,
            life: self.life,
            pace,
            due,
            began,
            ended,
            outcome,
            requests,
            wait: polled.wait,
        });
        polled
    }

    /// Asks until it is told to stop; never stops in the middle of a poll.
    async fn live(mut self, start: Instant, pace: Pace, mut stop: watch::Receiver<bool>) {
        let mut due = start;
        if pace == Pace::Schedule {
            due += self.poller.first_wait(self.random.bits());
        }
        loop {
            tokio::select! {
                _ = stop.wait_for(|stop| *stop) => return,
                () = sleep_until(due) => {}
            }
            let polled = self.poll(due, pace).await;
            due = match pace {
                Pace::Schedule => Instant::now() + polled.wait,
                Pace::Naive => due + self.world.intervals.default,
            };
        }
    }
}

/// Validates as the daemon does, and brings nothing into force.
struct SimulatedNode<'a> {
    world: &'a Arc<World>,
    number: usize,
}

impl Taker for SimulatedNode<'_> {
    async fn take(
        &self,
        client: &mut Client,
        candidate: Candidate,
        now: Timestamp,
    ) -> Result<Option<Duration>, SyncError> {
        let files = VerifiedFiles::new(candidate.generation().files().clone());
        let world = Arc::clone(self.world);
        let validated = tokio::task::spawn_blocking(move || world.trust.validate(&files, now)).await;
        let snapshot = match validated {
            Ok(Ok(snapshot)) => snapshot,
            Ok(Err(problems)) => {
                let first = problems.first().map(ToString::to_string).unwrap_or_default();
                return Err(client.refuse(candidate, first));
            }
            Err(error) => return Err(client.refuse(candidate, error.to_string())),
        };
        client.commit(candidate).await?;
        self.world.ledger.take(Taken {
            node: self.number,
            denied: snapshot.denials.entries().len(),
            at: Instant::now(),
        });
        Ok(snapshot.policy.poll_interval())
    }
}

/// All nodes, running.
pub(crate) struct Running {
    stop: watch::Sender<bool>,
    tasks: JoinSet<()>,
}

impl Running {
    /// Starts each node at its moment.
    pub(crate) fn start(nodes: impl IntoIterator<Item = (Node, Instant)>, pace: Pace) -> Self {
        let (stop, stopping) = watch::channel(false);
        let mut tasks = JoinSet::new();
        for (node, start) in nodes {
            tasks.spawn(node.live(start, pace, stopping.clone()));
        }
        Self { stop, tasks }
    }

    /// Ends all of them, with their connections.
    pub(crate) async fn end(self) -> Result<()> {
        let Self { stop, mut tasks } = self;
        // All of them have one to hear it.
        let _ = stop.send(true);
        while let Some(ended) = tasks.join_next().await {
            ended.context("a node ended unexpectedly")?;
        }
        Ok(())
    }
}
