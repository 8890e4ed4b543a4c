//! A soak: thousands of pulls with every outcome, while registries misbehave one after the other, the policy and the deny-list
//! change, and stored evidence is evicted all the time. Each answer is compared with the only right one, and the daemon's
//! memory, threads and descriptors are looked at each second.
//!
//! Most pulls are the hook's part of one: execed as containerd does, against the daemon. Some go through a real containerd, from
//! a registry that is always well: what happens at the others must not be noticed there.
//!
//! While a registry misbehaves, and for half a minute after, what is not decided is right for its images, too: the codes are
//! those of [`tally`]. A wrong admit, or a denial for a reason that is not so, never is.

mod change;
mod faults;
mod lab;
#[path = "../fleet/random.rs"]
mod random;
mod resources;
mod subjects;
mod tally;

use std::path::PathBuf;
use std::process::{ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use assay_integration::{Assayd, Containerd, Peers, Question, Registry, build_programs, program};
use clap::Parser;
use tokio::io::AsyncWriteExt as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;

use change::Outages;
use faults::MISBEHAVIOURS;
use lab::{Documents, Signers};
use random::Random;
use resources::Resources;
use subjects::{Outcome, Subject, Switches};
use tally::{Path, Tally, Worth};

/// Hooks at once: a node that starts many pods. containerd itself pulls fewer at once.
const PULLERS: usize = 16;
/// Pulls through containerd at once.
const CONTAINERD_PULLERS: usize = 2;
/// One pull through containerd for this many in all.
const PULLS_PER_CONTAINERD_PULL: usize = 40;
/// Images for pulls: each is pulled several times, and they are too many for the store.
const PULLS_PER_IMAGE: usize = 6;
/// The first of them are pulled as often as all others together.
const POPULAR: usize = 200;
/// Pulls for one more registry, within bounds.
const PULLS_PER_REGISTRY: usize = 1_000;
/// How long a registry misbehaves: half of it, and up to as much again.
const OUTAGE: Duration = Duration::from_secs(6);
/// After an outage, what it did may still be met: slow bodies go on for 20 s, and a denial is remembered for 5 s.
const AFTERMATH: Duration = Duration::from_secs(30);
/// How often the policy or the deny-list changes.
const BETWEEN_CHANGES: Duration = Duration::from_secs(10);
/// When the run ends at the latest.
const LONGEST: Duration = Duration::from_secs(600);
/// How long the daemon rests before the last look.
const REST: Duration = Duration::from_secs(5);

/// Soaks the daemon in pulls, and says whether it stayed right and flat.
#[derive(Debug, Parser)]
struct Arguments {
    /// How many pulls.
    #[arg(long, default_value_t = 24_000, value_parser = clap::value_parser!(u32).range(200..=100_000))]
    pulls: u32,
    /// Over how many seconds they are spread, if the machine is fast enough.
    #[arg(long, default_value_t = 480, value_parser = clap::value_parser!(u64).range(10..=580))]
    seconds: u64,
    /// What the run's randomness begins with.
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Where memory, threads and descriptors of each second are written, as comma-separated values.
    #[arg(long)]
    csv: Option<PathBuf>,
}

#[tokio::main]
async fn main() -> Result<ExitCode> {
    let arguments = Arguments::parse();
    ensure!(
        nix::unistd::geteuid().is_root(),
        "containerd mounts file systems: run the soak as root"
    );
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::select! {
        done = run(&arguments) => done,
        // What was started ends with the values that hold it.
        _ = terminate.recv() => bail!("terminated"),
        _ = interrupt.recv() => bail!("interrupted"),
    }
}

async fn run(arguments: &Arguments) -> Result<ExitCode> {
    // Whoever names the programs has built them.
    if std::env::var_os("ASSAY_BIN_DIR").is_none() {
        say("Building assayd, its hook and assayctl (a few minutes the first time)");
        tokio::task::block_in_place(build_programs)?;
    }
    let peers = tokio::task::block_in_place(Peers::fetch)?;
    let pulls = usize::try_from(arguments.pulls)?;
    let mut registries = vec![];
    // The first is always well.
    for _ in 0..=(pulls / PULLS_PER_REGISTRY).clamp(4, 24) {
        registries.push(Registry::start().await?);
    }
    let images = pulls / PULLS_PER_IMAGE;
    say(&format!(
        "Making {images} images on {} registries, and having notation and both cosigns sign some more",
        registries.len()
    ));
    let signers = Signers::new()?;
    let (subjects, key) = subjects::prepare(images, &peers, &registries, &signers).await?;
    let documents = Documents::new(&registries, &subjects, &signers)?;
    let assayd = documents.daemon(&peers, &signers, &key).await?;
    let calm = registries.first().context("there are registries")?.host();
    let containerd = Containerd::builder(&peers).hook(&assayd)?.plain_http(&calm);
    let containerd = containerd.start().await?;
    let through_containerd = pulls / PULLS_PER_CONTAINERD_PULL;
    say(&format!(
        "Pulling {pulls} times over {} s, {through_containerd} of them through containerd",
        arguments.seconds
    ));
    let soak = Arc::new(Soak {
        by_registry: by_registry(&subjects, registries.len()),
        outages: registries.iter().map(|_| Outages::default()).collect(),
        hook: program("assay-verifier")?,
        hook_pulls: pulls - through_containerd,
        through_containerd,
        length: Duration::from_secs(arguments.seconds),
        seed: arguments.seed,
        csv: arguments.csv.clone(),
        subjects,
        registries,
        documents,
        assayd,
        containerd,
        started: Instant::now(),
        switches: Switches::default(),
        failing: AtomicUsize::new(0),
        next: AtomicUsize::new(0),
        next_through_containerd: AtomicUsize::new(0),
        done: AtomicBool::new(false),
        warm: Mutex::new(None),
        tally: Mutex::default(),
    });
    soak.clone().run().await
}

/// The numbers of the subjects of each registry.
fn by_registry(subjects: &[Subject], registries: usize) -> Vec<Vec<usize>> {
    let of = |registry| {
        let numbered = subjects.iter().enumerate();
        let here = numbered.filter(move |(_, subject)| subject.registry == registry);
        here.map(|(number, _)| number).collect()
    };
    (0..registries).map(of).collect()
}

struct Soak {
    subjects: Vec<Subject>,
    by_registry: Vec<Vec<usize>>,
    registries: Vec<Registry>,
    outages: Vec<Outages>,
    documents: Documents,
    assayd: Assayd,
    containerd: Containerd,
    hook: PathBuf,
    hook_pulls: usize,
    through_containerd: usize,
    length: Duration,
    seed: u64,
    csv: Option<PathBuf>,
    started: Instant,
    switches: Switches,
    /// Which registry misbehaves; the first one, which never does, for none.
    failing: AtomicUsize,
    next: AtomicUsize,
    next_through_containerd: AtomicUsize,
    done: AtomicBool,
    /// When every image had been pulled once, which fills what is kept.
    warm: Mutex<Option<Duration>>,
    tally: Mutex<Tally>,
}

impl Soak {
    async fn run(self: Arc<Self>) -> Result<ExitCode> {
        let mut pullers = JoinSet::new();
        for _ in 0..PULLERS {
            let soak = self.clone();
            pullers.spawn(async move { soak.pull_by_hook().await });
        }
        for worker in 0..CONTAINERD_PULLERS {
            let soak = self.clone();
            pullers.spawn(async move { soak.pull_by_containerd(worker).await });
        }
        let mut others = JoinSet::new();
        let soak = self.clone();
        others.spawn(async move { soak.misbehave().await });
        let soak = self.clone();
        others.spawn(async move { soak.change().await });

        let mut resources = Resources::default();
        let mut seconds = tokio::time::interval(Duration::from_secs(1));
        let mut shown = Instant::now();
        while !pullers.is_empty() {
            tokio::select! {
                puller = pullers.join_next() => puller.context("there are pullers")???,
                other = others.join_next(), if !others.is_empty() => other.context("there are others")???,
                _ = seconds.tick() => {
                    resources.look(self.started, &self.assayd)?;
                    ensure!(
                        self.started.elapsed() < LONGEST,
                        "{} of {} pulls were made within {} s: this machine is too slow for so many, see --pulls",
                        self.lock().all(),
                        self.hook_pulls + self.through_containerd,
                        LONGEST.as_secs()
                    );
                    if shown.elapsed() >= Duration::from_secs(30) {
                        shown = Instant::now();
                        let tally = self.lock();
                        println!(
                            "  {:>3} s: {} pulls, {} not decided, {} wrong",
                            self.started.elapsed().as_secs(), tally.all(), tally.not_decided, tally.wrong
                        );
                    }
                }
            }
        }
        let ran = self.started.elapsed();
        self.done.store(true, Ordering::Relaxed);
        while let Some(other) = others.join_next().await {
            other??;
        }
        tokio::time::sleep(REST).await;
        resources.look(self.started, &self.assayd)?;
        self.report(&resources, ran).await
    }

    /// Makes pulls through the hook until there are enough.
    async fn pull_by_hook(&self) -> Result<()> {
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.hook_pulls {
                return Ok(());
            }
            // In herds: as many at once as there are pullers.
            let herd = number - number % PULLERS;
            self.wait_for(herd, self.hook_pulls).await;
            let chosen = self.choose(number);
            let subject = self.subjects.get(chosen).context("there is such an image")?;
            let asked = Instant::now();
            let (code, line) = self.exec(&subject.question).await?;
            self.judge(Path::Hook, subject, Outcome::of_hook(code, &line), &line, asked);
            if number + 1 == self.subjects.len() {
                *self.warm.lock().unwrap_or_else(PoisonError::into_inner) = Some(self.started.elapsed());
            }
        }
    }

    /// The subject of the pull of this number: each once at first, and then any.
    fn choose(&self, number: usize) -> usize {
        let all = self.subjects.len();
        if number < all {
            return number;
        }
        let mut random = Random::new(self.seed.wrapping_mul(1_000_003).wrapping_add(number as u64));
        let mut below = |bound: usize| (random.bits() % bound.max(1) as u64) as usize;
        let failing = self.failing.load(Ordering::Relaxed);
        let there = self.by_registry.get(failing).filter(|_| failing > 0);
        match (below(6), there) {
            // What fails is what is to be seen.
            (0 | 1, Some(there)) if !there.is_empty() => there.get(below(there.len())).copied().unwrap_or_default(),
            (0..=3, _) => below(POPULAR.min(all)),
            _ => below(all),
        }
    }

    /// The hook, as containerd runs it: its exit code, and what it says.
    async fn exec(&self, question: &Question) -> Result<(Option<i32>, String)> {
        let request = question.request();
        let mut command = tokio::process::Command::new(&self.hook);
        command
            .args(["-name", &request.name, "-digest", &request.digest])
            .args(["-stdin-media-type", "application/vnd.oci.descriptor.v1+json"])
            .env_clear()
            .envs(self.assayd.hook_environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .kill_on_drop(true);
        let mut child = command.spawn().context("cannot run the hook")?;
        if let Some(mut input) = child.stdin.take() {
            input.write_all(question.descriptor.to_string().as_bytes()).await?;
        }
        let output = child.wait_with_output().await?;
        let line = String::from_utf8_lossy(&output.stdout).trim_end().to_owned();
        Ok((output.status.code(), line))
    }

    /// Pulls through containerd from the registry that is always well, and removes what came.
    async fn pull_by_containerd(&self, worker: usize) -> Result<()> {
        let calm = self.by_registry.first().context("there is a first registry")?;
        // No two pull the same image: one would remove what the other pulls.
        let mine: Vec<_> = calm.iter().skip(worker).step_by(CONTAINERD_PULLERS).collect();
        for turn in 0.. {
            let number = self.next_through_containerd.fetch_add(1, Ordering::Relaxed);
            if number >= self.through_containerd {
                break;
            }
            self.wait_for(number, self.through_containerd).await;
            let chosen = mine.get(turn % mine.len().max(1)).context("it has images")?;
            let subject = self.subjects.get(**chosen).context("there is such an image")?;
            let asked = Instant::now();
            let pulled = self.containerd.pull_cri(&subject.question.name).await;
            let (outcome, said) = match pulled {
                Ok(()) => (None, String::new()),
                Err(error) => {
                    let said = error.to_string();
                    let line = said.find("DENY ").filter(|_| error.is_denial());
                    let line = line.and_then(|at| said.get(at..)).unwrap_or(&said).to_owned();
                    (Some(Outcome::of_hook(Some(1), &line)), said)
                }
            };
            // What audit mode admits is pulled like everything that is admitted.
            let outcome = outcome.unwrap_or_else(|| match subject.kind {
                subjects::Kind::Audited => Outcome::Audit("unsigned".to_owned()),
                _ => Outcome::Admit,
            });
            self.judge(Path::Containerd, subject, outcome.clone(), &said, asked);
            if !matches!(outcome, Outcome::Deny(_) | Outcome::Other(_)) {
                self.containerd.remove(&subject.question.name).await?;
            }
        }
        Ok(())
    }

    /// Waits until the pull of this number is due.
    async fn wait_for(&self, number: usize, of: usize) {
        let due = self.length.mul_f64(number as f64 / of.max(1) as f64);
        tokio::time::sleep(due.saturating_sub(self.started.elapsed())).await;
    }

    /// Compares an answer with the right one.
    fn judge(&self, path: Path, subject: &Subject, outcome: Outcome, said: &str, asked: Instant) {
        let answered = Instant::now();
        let is_right = subject.is_right(&outcome, &self.switches, asked, answered);
        let outages = self.outages.get(subject.registry);
        let fault = outages.and_then(|outages| outages.met(asked, answered));
        let worth = Worth::of(&outcome, is_right, fault.is_some());
        let mut tally = self.lock();
        if worth == Worth::Wrong {
            tally.show_wrong(format!(
                "{:.1} s, {path:?}, {:?}, registry {} ({}), {}: {}{said}",
                (asked - self.started).as_secs_f64(),
                subject.kind,
                subject.registry,
                fault.unwrap_or("well"),
                subject.question.name,
                if matches!(outcome, Outcome::Admit) {
                    "admitted "
                } else {
                    ""
                },
            ));
        }
        tally.add(path, outcome, worth, fault, answered - asked);
    }

    /// Has one registry after the other misbehave, in every way.
    async fn misbehave(&self) -> Result<()> {
        let mut random = Random::new(self.seed);
        let may_fail = self.registries.len() - 1;
        for (turn, misbehaviour) in (0..).zip(MISBEHAVIOURS.iter().cycle()) {
            // Every registry once before the first comes again: by then it has been well for a while.
            let place = 1 + turn % may_fail;
            let registry = self.registries.get(place).context("there is such a registry")?;
            let outages = self.outages.get(place).context("there is such a registry")?;
            outages.begin(misbehaviour.name);
            misbehaviour.begin(registry);
            self.failing.store(place, Ordering::Relaxed);
            let stopped = self.rest(OUTAGE / 2 + random.part(OUTAGE)).await;
            self.failing.store(0, Ordering::Relaxed);
            registry.behave();
            outages.end(AFTERMATH);
            if stopped {
                break;
            }
        }
        Ok(())
    }

    /// Changes the policy and the deny-list in turn, there and back.
    async fn change(&self) -> Result<()> {
        for turn in 0_u32.. {
            if self.rest(BETWEEN_CHANGES).await {
                break;
            }
            match turn % 4 {
                0 => self.documents.leak(true, &self.assayd, &self.switches).await?,
                1 => self.documents.switch(true, &self.assayd, &self.switches).await?,
                2 => self.documents.leak(false, &self.assayd, &self.switches).await?,
                _ => self.documents.switch(false, &self.assayd, &self.switches).await?,
            }
        }
        Ok(())
    }

    /// Sleeps; true when the pulls are over.
    async fn rest(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        while Instant::now() < until {
            if self.done.load(Ordering::Relaxed) {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        false
    }

    async fn report(&self, resources: &Resources, ran: Duration) -> Result<ExitCode> {
        if let Some(path) = &self.csv {
            std::fs::write(path, resources.csv()).with_context(|| format!("cannot write {}", path.display()))?;
        }
        let counted = self.counted().await?;
        let warm = self.warm.lock().unwrap_or_else(PoisonError::into_inner);
        // Connections are kept to each registry that was asked lately, and the first minutes ask one after the other.
        let warm = warm.context("not every image was pulled")?.max(self.length / 4);
        let trends = resources.trends(warm)?;
        let tally = self.lock();
        say(&format!("{:.0} s with seed {}", ran.as_secs_f64(), self.seed));
        print!("{}", tally.report(ran));
        let mut failures = vec![];
        for trend in &trends {
            let unit = trend.unit;
            println!(
                "{:<20} first minute {:.1}{unit}, last {:.1}{unit}, peak {:.1}{unit}; grew by {:.1}{unit}",
                trend.name, trend.first, trend.last, trend.peak, trend.growth
            );
            if !trend.is_flat() {
                failures.push(format!(
                    "{} grew by {:.1}{unit}, more than {:.1}{unit}",
                    trend.name, trend.growth, trend.allowed
                ));
            }
        }
        for wrong in tally.wrong_ones() {
            println!("wrong: {wrong}");
        }
        if tally.wrong > 0 {
            failures.push(format!("{} verdicts are wrong", tally.wrong));
        }
        if counted != tally.all() {
            failures.push(format!(
                "assayd counted {counted} verdicts and {} were given",
                tally.all()
            ));
        }
        if tally.faulty > 0 && tally.not_decided == 0 {
            failures.push("no fault was noticed: nothing was put to the test".to_owned());
        }
        for failure in &failures {
            println!("FAILED: {failure}");
        }
        Ok(if failures.is_empty() {
            println!("Every verdict was right, and memory, threads and descriptors stayed flat.");
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }

    /// How many verdicts assayd says that it gave to hooks.
    async fn counted(&self) -> Result<u64> {
        let metrics = self.assayd.assayctl(&["metrics"]).await?.successful()?.stdout;
        let lines = metrics.lines().filter(|line| {
            line.starts_with("assayd_verdicts_total{") && line.contains("hook=\"containerd-image-verifier\"")
        });
        let counts = lines.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok());
        Ok(counts.sum())
    }

    fn lock(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn say(what: &str) {
    println!("\n==> {what}");
}
