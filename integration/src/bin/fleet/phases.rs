//! What the fleet is put through, one thing after the other.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use assay_integration::Nginx;
use assay_integration::measure::Samples;
use assay_integration::nginx::Access;
use assayd::sync::Intervals;
use serde::Serialize;
use tokio::time::{Instant, sleep, sleep_until};

use crate::machine::{self, Ticks};
use crate::model::{Spread, peak_per_second};
use crate::node::{Node, Outcome, Pace, Poll, Running, World};
use crate::publisher::Publisher;

/// How often it is looked at whether something has happened to all nodes.
const LOOKING: Duration = Duration::from_millis(50);
/// All nodes restart within this time.
const RESTARTING: Duration = Duration::from_secs(1);
/// What taking up all nodes may take.
const REOPENING: Duration = Duration::from_secs(5);
/// The part of the machine that nodes and server together may keep busy; above, figures are the machine's.
const SATURATED: f64 = 0.8;
/// How much later than they should 99 of 100 polls may begin, and how long they may take.
const LATE: Duration = Duration::from_millis(100);
const SLOW: Duration = Duration::from_millis(250);
/// The longest that nothing happens.
const STEADY: Duration = Duration::from_secs(60);

/// What happened in a span of time.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Window {
    pub(crate) name: &'static str,
    pub(crate) seconds: f64,
    pub(crate) polls: usize,
    pub(crate) unchanged: usize,
    pub(crate) updated: usize,
    pub(crate) failed: usize,
    /// Requests that the nodes sent in polls that found nothing new, in the mean.
    pub(crate) requests_per_unchanged_poll: f64,
    /// The most polls in any second, those that failed among them.
    pub(crate) peak_polls: usize,
    /// What the server answered.
    pub(crate) requests: usize,
    pub(crate) peak_requests: usize,
    pub(crate) not_modified: usize,
    pub(crate) not_found: usize,
    /// Requests that were the first on their connection.
    pub(crate) connections: usize,
    /// Bytes of requests and answers with their heads, by the server's log.
    pub(crate) received: u64,
    pub(crate) sent: u64,
    /// Parts of one core.
    pub(crate) server_cores: f64,
    pub(crate) simulator_cores: f64,
    /// The part of all cores that was busy, whoever kept it so.
    pub(crate) machine_busy: f64,
    /// How much later than they should polls began: 99 of 100 not more, in milliseconds.
    pub(crate) late_p99_milliseconds: f64,
    pub(crate) poll_p50_milliseconds: f64,
    pub(crate) poll_p99_milliseconds: f64,
    /// Whether the figures are this machine's and not the protocol's.
    pub(crate) bounded_by_simulator: bool,
}

/// Where a window begins.
struct Opened {
    at: Instant,
    server: Duration,
    own: Duration,
    ticks: Ticks,
}

/// Everything that was measured.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Measured {
    pub(crate) nginx: String,
    pub(crate) scheme: String,
    pub(crate) files: Vec<(String, usize)>,
    pub(crate) memory_per_node: u64,
    pub(crate) first_start: Window,
    pub(crate) steady: Window,
    pub(crate) revocation: Window,
    pub(crate) revocation_reached: Spread,
    pub(crate) storm: Window,
    pub(crate) storm_followed: Spread,
    pub(crate) naive: Window,
    pub(crate) naive_followed: Spread,
    /// The most requests in one second of the naive loop once all had restarted: it stays in step.
    pub(crate) naive_peak_later: usize,
    pub(crate) outage: Window,
    pub(crate) recovery: Window,
    pub(crate) recovered: Spread,
    /// How many waits after a failure were so many intervals long: below 1, 2, 4, 8 and above.
    pub(crate) waits_after_failures: [usize; 5],
    /// Polls that came sooner after the one before than the schedule allows.
    pub(crate) too_early: usize,
    /// All requests of the fleet: what the nodes counted, that in polls that failed, and what the server logged.
    pub(crate) counted: usize,
    pub(crate) counted_in_failures: usize,
    pub(crate) logged: usize,
    /// Whether the time was up before all had happened; after an outage, the last nodes wait for minutes.
    pub(crate) cut_short: bool,
}

pub(crate) struct Simulation {
    world: Arc<World>,
    nginx: Nginx,
    publisher: Publisher,
    nodes: usize,
    end: Instant,
    lives: usize,
    /// All requests that nginx has logged since the fleet began.
    logged: usize,
}

impl Simulation {
    pub(crate) fn new(world: &Arc<World>, nginx: Nginx, publisher: Publisher, nodes: usize, end: Instant) -> Self {
        Self {
            world: Arc::clone(world),
            nginx,
            publisher,
            nodes,
            end,
            lives: 0,
            logged: 0,
        }
    }

    pub(crate) async fn run(mut self, outage: Duration) -> Result<Measured> {
        let interval = self.world.intervals.default;
        self.nginx.asked()?;
        let first = Instant::now();

        say(&format!("First start of {} nodes", self.nodes));
        let before = machine::memory()?;
        let nodes = self.open().await?;
        let window = self.begin()?;
        // Nodes that have nothing ask at once, so it is the simulator that spreads them.
        let starts = self.spread(nodes, interval);
        let began = window.at;
        let mut running = Running::start(starts, Pace::Schedule);
        self.until_all(began, self.end).await?;
        let first_start = self.finish("first start", window)?;
        let memory_per_node = machine::memory()?.saturating_sub(before) / self.nodes as u64;

        say("Steady: nothing new");
        let window = self.begin()?;
        self.wait((2 * interval).min(STEADY)).await;
        let steady = self.finish("steady", window)?;

        say("A revocation");
        let window = self.begin()?;
        let published = self.publisher.revoke()?;
        let denied = self.publisher.denied();
        let mut have = Vec::new();
        while Instant::now() < self.end && (have.is_empty() || have.iter().any(Option::is_none)) {
            sleep(LOOKING).await;
            have = self.world.ledger.have(denied, self.nodes);
        }
        let revocation_reached = Spread::of(have.iter().map(|at| at.map(|at| at - published)));
        let revocation = self.finish("revocation", window)?;

        say("All nodes restart, with the schedule");
        running.end().await?;
        let nodes = self.open().await?;
        let window = self.begin()?;
        let began = window.at;
        let starts = self.spread(nodes, RESTARTING);
        running = Running::start(starts, Pace::Schedule);
        let storm_followed = self.until_all(began, began + interval * 2).await?;
        let storm = self.finish("restart storm", window)?;

        say(&format!("The server is away for {} s", outage.as_secs()));
        self.nginx.stop().await?;
        let away = Instant::now();
        let window = self.begin()?;
        sleep_until((away + outage).min(self.end)).await;
        let outage = self.finish("outage", window)?;
        self.nginx.serve().await?;
        let window = self.begin()?;
        let back = window.at;
        // What is left is for the loop without a schedule.
        let patience = self.end - interval - REOPENING;
        let recovered = self.until_all(back, patience).await?;
        let cut_short = Instant::now() >= patience;
        let recovery = self.finish("recovery", window)?;

        say("All nodes restart, without it");
        running.end().await?;
        let nodes = self.open().await?;
        let window = self.begin()?;
        let began = window.at;
        let starts = self.spread(nodes, RESTARTING);
        running = Running::start(starts, Pace::Naive);
        let naive_followed = self.until_all(began, began + interval * 2).await?;
        let naive = self.finish("naive restart storm", window)?;
        let window = self.begin()?;
        self.wait(interval).await;
        let naive_peak_later = self.finish("naive, later", window)?.peak_requests;
        running.end().await?;
        // An answer is logged after it was sent.
        sleep(LOOKING).await;
        self.logged += self.nginx.asked()?.len();

        let polls = self.world.ledger.polls(first, Instant::now());
        let failed = polls.iter().filter(|poll| !poll.outcome.is_success());
        let counted_in_failures = failed.map(|poll| poll.requests).sum::<u64>();
        let waits_after_failures = waits_after_failures(&polls, interval);
        Ok(Measured {
            nginx: self.nginx.version().to_owned(),
            scheme: self.nginx.scheme().to_owned(),
            files: self.publisher.sizes(),
            memory_per_node,
            first_start,
            steady,
            revocation,
            revocation_reached,
            storm,
            storm_followed,
            naive,
            naive_followed,
            naive_peak_later,
            outage,
            recovery,
            recovered,
            waits_after_failures,
            too_early: too_early(&polls, self.world.intervals),
            counted: usize::try_from(polls.iter().map(|poll| poll.requests).sum::<u64>())?,
            counted_in_failures: usize::try_from(counted_in_failures)?,
            logged: self.logged,
            cut_short: cut_short || Instant::now() >= self.end,
        })
    }
}

impl Simulation {
    /// Takes up every node from disk.
    async fn open(&mut self) -> Result<Vec<Node>> {
        let life = self.lives;
        self.lives += 1;
        let addresses: Vec<_> = (0..self.nodes).map(|node| self.nginx.address(node)).collect();
        let (world, scheme) = (Arc::clone(&self.world), self.nginx.scheme().to_owned());
        let opened = tokio::task::spawn_blocking(move || {
            let open = |(number, address)| world.open(number, life, &scheme, address);
            addresses.into_iter().enumerate().map(open).collect()
        });
        opened.await?
    }

    /// Gives each node a moment within `time` from now.
    fn spread(&self, nodes: Vec<Node>, time: Duration) -> Vec<(Node, Instant)> {
        let mut random = self.world.random(self.lives);
        let now = Instant::now();
        let start = |node| (node, now + random.part(time));
        nodes.into_iter().map(start).collect()
    }

    async fn wait(&self, time: Duration) {
        sleep_until((Instant::now() + time).min(self.end)).await;
    }

    /// Waits until each node has had a poll that succeeded, and says after what time. Gives up at `deadline`, or at the end.
    async fn until_all(&self, from: Instant, deadline: Instant) -> Result<Spread> {
        loop {
            let first = self.world.ledger.first_success(from, self.nodes);
            if first.iter().all(Option::is_some) || Instant::now() >= deadline.min(self.end) {
                return Ok(Spread::of(first.iter().map(|at| at.map(|at| at - from))));
            }
            sleep(LOOKING).await;
        }
    }

    /// Opens a window.
    fn begin(&mut self) -> Result<Opened> {
        // What came between two windows belongs to none.
        self.logged += self.nginx.asked()?.len();
        Ok(Opened {
            at: Instant::now(),
            server: self.nginx.processor_time()?,
            own: machine::own_time()?,
            ticks: Ticks::now()?,
        })
    }

    /// Closes it.
    fn finish(&mut self, name: &'static str, opened: Opened) -> Result<Window> {
        let now = Instant::now();
        let seconds = (now - opened.at).as_secs_f64();
        let log = self.nginx.asked()?;
        self.logged += log.len();
        let polls = self.world.ledger.polls(opened.at, now);
        let count = |wanted: fn(&Poll) -> bool| polls.iter().filter(|poll| wanted(poll)).count();
        let unchanged: Vec<_> = polls.iter().filter(|poll| poll.outcome == Outcome::Unchanged).collect();
        let requests: u64 = unchanged.iter().map(|poll| poll.requests).sum();
        let late: Samples = polls
            .iter()
            .map(|poll| poll.began.saturating_duration_since(poll.due))
            .collect();
        let took: Samples = polls.iter().map(|poll| poll.ended - poll.began).collect();
        let mut begun: Vec<_> = polls.iter().map(|poll| poll.began - opened.at).collect();
        let mut answered: Vec<_> = log.iter().map(|access| access.at).collect();
        let answers = |wanted: fn(&Access) -> bool| log.iter().filter(|access| wanted(access)).count();
        let server_cores = (self.nginx.processor_time()?.saturating_sub(opened.server)).as_secs_f64() / seconds;
        let simulator_cores = (machine::own_time()?.saturating_sub(opened.own)).as_secs_f64() / seconds;
        let saturated = server_cores + simulator_cores > SATURATED * machine::cores();
        let machine_busy = Ticks::now()?.busy_since(opened.ticks);
        let milliseconds = |duration: Duration| duration.as_secs_f64() * 1e3;
        Ok(Window {
            name,
            seconds,
            polls: polls.len(),
            unchanged: unchanged.len(),
            updated: count(|poll| poll.outcome == Outcome::Updated),
            failed: count(|poll| !poll.outcome.is_success()),
            requests_per_unchanged_poll: requests as f64 / unchanged.len().max(1) as f64,
            peak_polls: peak_per_second(&mut begun),
            requests: log.len(),
            peak_requests: peak_per_second(&mut answered),
            not_modified: answers(|access| access.status == 304),
            not_found: answers(|access| access.status == 404),
            connections: answers(|access| access.on_connection == 1),
            received: log.iter().map(|access| access.received).sum(),
            sent: log.iter().map(|access| access.sent).sum(),
            server_cores,
            simulator_cores,
            machine_busy,
            late_p99_milliseconds: milliseconds(late.percentile(99)),
            poll_p50_milliseconds: milliseconds(took.median()),
            poll_p99_milliseconds: milliseconds(took.percentile(99)),
            bounded_by_simulator: saturated || late.percentile(99) > LATE || took.percentile(99) > SLOW,
        })
    }
}

/// How long the waits after failures are, in intervals.
fn waits_after_failures(polls: &[Poll], interval: Duration) -> [usize; 5] {
    let mut waits = [0; 5];
    for poll in polls.iter().filter(|poll| !poll.outcome.is_success()) {
        let longer = [1, 2, 4, 8].iter().filter(|most| poll.wait >= interval * **most);
        if let Some(count) = waits.get_mut(longer.count()) {
            *count += 1;
        }
    }
    waits
}

/// Polls of one life of a node that followed each other faster than the schedule allows. Those of the naive loop have none.
fn too_early(polls: &[Poll], intervals: Intervals) -> usize {
    let mut last: BTreeMap<(usize, usize), &Poll> = BTreeMap::new();
    let mut count = 0;
    for poll in polls.iter().filter(|poll| poll.pace == Pace::Schedule) {
        if let Some(before) = last.insert((poll.node, poll.life), poll) {
            let least = match before.outcome {
                Outcome::Failed(_) => intervals.min,
                // A tenth of the interval sooner at the most.
                _ => intervals.default * 9 / 10,
            };
            if poll.began - before.ended < least {
                count += 1;
            }
        }
    }
    count
}

fn say(what: &str) {
    eprintln!("==> {what}");
}
