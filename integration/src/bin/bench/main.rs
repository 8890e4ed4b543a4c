//! The comparison: assayd as it is released beside `notation verify` and an empty program, on this machine, in one run.
//!
//! What is compared is measured alternately, so that a busy moment hits both. Nothing here passes or fails: figures of a
//! shared machine are no test. The goals stand beside them for orientation.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant, SystemTime};

use anyhow::{Context as _, Result, ensure};
use assay_integration::certificates::{Authority, Profile, SigningIdentity};
use assay_integration::envelope::{EnvelopeSigner, JWS};
use assay_integration::measure::{Goal, Samples, Table, ratio, shown};
use assay_integration::notation::Sign;
use assay_integration::registry::{OCI_MANIFEST, sha256};
use assay_integration::{Assayd, Image, Notation, Peers, Registry, program};
use assay_proto::v1::control_client::ControlClient;
use assay_proto::v1::image_verifier_client::ImageVerifierClient;
use assay_proto::v1::{CacheState, ClearCacheRequest, Descriptor, Hook, Verdict, VerifyRequest, VerifyResponse};
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::transport::{Channel, Endpoint};

/// Verdicts through the hook, and runs of the empty program between them.
const EXECS: usize = 2_000;
/// One run of notation for this many of the hook's: it takes longer by an order of magnitude.
const EXECS_PER_NOTATION: usize = 40;
/// Calls one after the other.
const CALLS: usize = 20_000;
/// Streams of one connection, and for how long they ask.
const STREAMS: usize = 64;
const STREAMING: Duration = Duration::from_secs(3);
/// Runs of everything that asks the registry.
const COLD_RUNS: usize = 50;
const COLD_RUNS_FAR_AWAY: usize = 10;
/// The round-trip time to a registry far away.
const ROUND_TRIP: Duration = Duration::from_millis(50);
/// Equal questions at once.
const EQUAL_QUESTIONS: usize = 1_000;
/// Images in the store, and how many are asked about at once to fill it.
const IMAGES: usize = 10_000;
const FILLERS: usize = 16;
/// How long the daemon rests before its memory is read.
const REST: Duration = Duration::from_secs(2);

const MEBIBYTE: f64 = 1024.0 * 1024.0;

#[tokio::main]
async fn main() -> Result<()> {
    ensure!(
        nix::unistd::geteuid().is_root(),
        "assayd answers root alone unless configured: run the comparison as root"
    );
    let programs = Programs::build()?;
    say("Making an image, signing it with the real notation");
    let peers = Peers::fetch()?;
    let lab = Lab::new(&peers).await?;
    let before = load_average();

    let mut table = Table::default();
    through_the_hook(&lab, &programs, &mut table).await?;
    over_grpc(&lab, &mut table).await?;
    cold(&lab, &programs, &mut table).await?;
    judge_alone(&mut table)?;
    with_many_images(&mut table).await?;

    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let (met, goals) = table.goals();
    say("The comparison");
    println!("{table}");
    println!("{met} of {goals} goals met. x: times as long. Times are medians unless they say otherwise.");
    println!("{cores} cores; load average {before} before, {} after.", load_average());
    for (name, version) in peers.versions().iter().filter(|(name, _)| name == "notation") {
        println!("{name} {version}");
    }
    Ok(())
}

/// What is measured, as it is released.
struct Programs {
    hook: PathBuf,
    empty: PathBuf,
    /// Holds `empty`.
    _directory: tempfile::TempDir,
}

impl Programs {
    fn build() -> Result<Self> {
        say("Building assayd and its hook as they are released (minutes the first time)");
        let daemon = built(
            "assayd",
            &["build", "--release", "--package", "assayd", "--bin", "assayd"],
        )?;
        ensure!(
            program("assayd")? == daemon,
            "{} would be measured, which is not what was released: run `cargo bench-peers`",
            program("assayd")?.display()
        );
        let hook = built("assay-verifier", &["build-hook"])?;
        ensure!(
            is_static(&hook)?,
            "{} is not linked statically: is RUSTFLAGS set? It replaces the flags of `cargo build-hook`",
            hook.display()
        );
        let directory = tempfile::tempdir()?;
        let (source, empty) = (directory.path().join("empty.rs"), directory.path().join("empty"));
        fs::write(&source, "fn main() {}\n")?;
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let compiled = Command::new(compiler)
            .args([
                "-Copt-level=3",
                "-Cstrip=symbols",
                "-Ctarget-feature=+crt-static",
                "-Crelocation-model=static",
            ])
            .arg("-o")
            .args([&empty, &source])
            .status()?;
        ensure!(
            compiled.success() && is_static(&empty)?,
            "the empty program cannot be made"
        );
        Ok(Self {
            hook,
            empty,
            _directory: directory,
        })
    }
}

/// Runs cargo, and returns where it put the program.
fn built(name: &str, arguments: &[&str]) -> Result<PathBuf> {
    let output = cargo()
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "cargo {} failed", arguments.join(" "));
    let messages = String::from_utf8(output.stdout)?;
    let executable = |line| -> Option<PathBuf> {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == name)
            .then(|| message["executable"].as_str())?
            .map(PathBuf::from)
    };
    messages
        .lines()
        .find_map(executable)
        .with_context(|| format!("cargo does not say where {name} is"))
}

/// Whether a program of this machine's kind has no interpreter, that is, no dynamic loader (elf(5), PT_INTERP).
fn is_static(program: &Path) -> Result<bool> {
    const PROGRAM_INTERPRETER: u32 = 3;
    let bytes = fs::read(program)?;
    let number = |at: usize, length: usize| -> Option<u64> {
        let mut number = [0; 8];
        number.get_mut(..length)?.copy_from_slice(bytes.get(at..at + length)?);
        Some(u64::from_le_bytes(number))
    };
    ensure!(
        bytes.starts_with(b"\x7fELF\x02\x01"),
        "{} is no 64-bit ELF file",
        program.display()
    );
    let headers = || -> Option<Vec<u32>> {
        let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let kind = |index| u32::try_from(number(usize::try_from(start + index * size).ok()?, 4)?).ok();
        (0..count).map(kind).collect()
    };
    let headers = headers().context("an ELF file that ends early")?;
    Ok(!headers.contains(&PROGRAM_INTERPRETER))
}

/// A registry with an image that notation signed, and a daemon and a notation that trust its signer.
struct Lab {
    registry: Registry,
    notation: Notation,
    assayd: Assayd,
    image: Image,
}

const REPOSITORY: &str = "prod/app";

impl Lab {
    async fn new(peers: &Peers) -> Result<Self> {
        let registry = Registry::start().await?;
        let notation = Notation::new(peers)?;
        let trust = Trust::new()?;
        notation.add_key("release", &trust.signer)?;
        notation.trust("ca", "corp", &trust.authority.certificate_pem())?;
        notation.trust_everywhere("corp", &[&trust.release.trusted_identity()])?;
        let image = Image::tiny("compared")?;
        image.store(registry.content(), REPOSITORY, "v1");
        let assayd = trust.daemon(&registry).start().await?;
        let lab = Self {
            registry,
            notation,
            assayd,
            image,
        };
        lab.notation.sign(&lab.reference(), &Sign::with("release")).await?;
        lab.notation.verify(&lab.reference()).await?.successful()?;
        Ok(lab)
    }

    fn reference(&self) -> String {
        format!("{}@{}", self.registry.repository(REPOSITORY), self.image.digest())
    }

    fn question(&self) -> VerifyRequest {
        question(&self.registry.repository(REPOSITORY), &self.image.descriptor())
    }

    /// The hook as containerd runs it, with the program given: an empty one gets the same.
    fn exec(&self, program: &Path) -> Result<Duration> {
        let descriptor = self.image.descriptor().to_string();
        let mut command = Command::new(program);
        command
            .args(["-name", &format!("{}:v1", self.registry.repository(REPOSITORY))])
            .args(["-digest", self.image.digest()])
            .args(["-stdin-media-type", "application/vnd.oci.descriptor.v1+json"])
            .env_clear()
            .envs(self.assayd.hook_environment())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let started = Instant::now();
        let mut child = command.spawn()?;
        if let Some(mut stdin) = child.stdin.take() {
            // The empty program does not read.
            let _: std::io::Result<()> = stdin.write_all(descriptor.as_bytes());
        }
        let status = child.wait()?;
        let took = started.elapsed();
        ensure!(status.success(), "{} ended with {status}", program.display());
        Ok(took)
    }

    fn exec_notation(&self) -> Result<Duration> {
        let mut command = self
            .notation
            .command(&["verify", "--insecure-registry", &self.reference()]);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        let started = Instant::now();
        let status = command.status()?;
        let took = started.elapsed();
        ensure!(status.success(), "notation verify ended with {status}");
        Ok(took)
    }

    async fn clear_cache(&self) -> Result<()> {
        let mut control = ControlClient::new(connect(&self.assayd.control_socket()).await?);
        control.clear_cache(ClearCacheRequest {}).await?;
        Ok(())
    }
}

/// Who signs, and the daemon that trusts them.
struct Trust {
    authority: Authority,
    release: Profile,
    signer: SigningIdentity,
}

impl Trust {
    fn new() -> Result<Self> {
        let authority = Authority::root(&Profile::named("Corp Root"))?;
        let release = Profile::named("release");
        let signer = authority.issue(&release)?;
        Ok(Self {
            authority,
            release,
            signer,
        })
    }

    fn daemon(&self, registry: &Registry) -> assay_integration::assayd::Builder {
        let policy = format!(
            r#"version   = 1
unmatched = "deny"

[authority.corp]
type               = "notation"
trust_stores       = ["ca:corp"]
trusted_identities = ["{}"]
level              = "strict"

[[rule]]
name    = "production"
images  = ["{}/prod/**"]
require = {{ all = ["corp"] }}
"#,
            self.release.trusted_identity(),
            registry.host()
        );
        Assayd::builder()
            .policy(&policy)
            .file(
                "notation/truststore/x509/ca/corp/root.pem",
                self.authority.certificate_pem(),
            )
            .plain_http(&registry.host())
    }
}

fn question(repository: &str, descriptor: &Value) -> VerifyRequest {
    let text = |name: &str| descriptor[name].as_str().unwrap_or_default().to_owned();
    VerifyRequest {
        name: format!("{repository}:v1"),
        digest: text("digest"),
        descriptor: Some(Descriptor {
            media_type: text("mediaType"),
            digest: text("digest"),
            size: descriptor["size"].as_u64().unwrap_or_default(),
        }),
        hook: Hook::ContainerdImageVerifier.into(),
        context: HashMap::new(),
    }
}

async fn connect(socket: &Path) -> Result<Channel> {
    let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
    endpoint
        .connect()
        .await
        .with_context(|| format!("nobody answers at {}", socket.display()))
}

/// Asks, and takes nothing but an admit with this much work.
async fn ask(client: &mut ImageVerifierClient<Channel>, question: VerifyRequest, work: CacheState) -> Result<()> {
    let answer: VerifyResponse = client.verify(question).await?.into_inner();
    ensure!(
        answer.verdict() == Verdict::Admit && answer.cache() == work,
        "expected an admit ({work:?}), got {answer:?}"
    );
    Ok(())
}

/// The cached verdict from exec to exit, the empty program and notation, alternately.
async fn through_the_hook(lab: &Lab, programs: &Programs, table: &mut Table) -> Result<()> {
    say(&format!(
        "Asking through the hook {EXECS} times, between runs of an empty program and of notation"
    ));
    let requests_since = |mark| lab.registry.log().requests_since(mark).len();
    let (mut hook, mut empty, mut notation) = (vec![], vec![], vec![]);
    let (mut requests, mut of_notation) = (0, 0);
    tokio::task::block_in_place(|| -> Result<()> {
        // The first verdict is not from the cache; the others warm the machine's caches.
        for _ in 0..EXECS / 20 {
            lab.exec(&programs.empty)?;
            lab.exec(&programs.hook)?;
        }
        let start = lab.registry.log().mark();
        for number in 0..EXECS {
            if number.is_multiple_of(EXECS_PER_NOTATION) {
                let mark = lab.registry.log().mark();
                notation.push(lab.exec_notation()?);
                of_notation += requests_since(mark);
            }
            // Whoever comes after notation finds colder caches: they take turns.
            if (number / EXECS_PER_NOTATION).is_multiple_of(2) {
                empty.push(lab.exec(&programs.empty)?);
                hook.push(lab.exec(&programs.hook)?);
            } else {
                hook.push(lab.exec(&programs.hook)?);
                empty.push(lab.exec(&programs.empty)?);
            }
        }
        requests = requests_since(start) - of_notation;
        Ok(())
    })?;
    let of_notation = of_notation / notation.len().max(1);
    let (hook, empty, notation): (Samples, Samples, Samples) = (
        hook.into_iter().collect(),
        empty.into_iter().collect(),
        notation.into_iter().collect(),
    );
    let cached = hook.median();
    table.add(
        "cached verdict, exec of the hook to exit",
        shown(cached),
        Some(Goal::within(cached, Duration::from_micros(800))),
        format!(
            "notation verify {}: {:.0} x",
            shown(notation.median()),
            ratio(notation.median(), cached)
        ),
    );
    for (percent, most) in [(50, 2.0), (99, 2.5)] {
        let (ours, least) = (hook.percentile(percent), empty.percentile(percent));
        let times = ratio(ours, least);
        table.add(
            &format!("  p{percent} against an empty static program"),
            format!("{times:.2} x"),
            Some(Goal::at_most(times, most, " x")),
            format!("hook {}, empty program {}", shown(ours), shown(least)),
        );
    }
    table.add(
        "  registry requests",
        requests.to_string(),
        Some(Goal::at_most(requests as f64, 0.0, "")),
        format!("notation verify {of_notation}"),
    );
    Ok(())
}

/// The verdict without the hook. The client has a thread of its own, as a hook would be a process of its own.
async fn over_grpc(lab: &Lab, table: &mut Table) -> Result<()> {
    say(&format!(
        "Asking over gRPC: {CALLS} calls one after the other, then {STREAMS} streams for {} s",
        STREAMING.as_secs()
    ));
    let (socket, question) = (lab.assayd.verifier_socket(), lab.question());
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

/// Runs of one program, with the registry requests of each.
struct Cold {
    times: Samples,
    requests: usize,
}

impl Cold {
    /// Runs `run` after `prepare`, which is not measured.
    async fn measure(
        lab: &Lab,
        runs: usize,
        prepare: impl AsyncFn() -> Result<()>,
        run: impl Fn() -> Result<Duration>,
    ) -> Result<Self> {
        let (mut times, mut requests) = (vec![], vec![]);
        for _ in 0..runs {
            prepare().await?;
            let mark = lab.registry.log().mark();
            times.push(tokio::task::block_in_place(&run)?);
            requests.push(lab.registry.log().requests_since(mark).len());
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
async fn cold(lab: &Lab, programs: &Programs, table: &mut Table) -> Result<()> {
    say("Asking with everything forgotten: on loopback, then with 50 ms added to each round trip");
    let nothing = async || Ok(());
    for (place, round_trip, runs) in [
        ("on loopback", Duration::ZERO, COLD_RUNS),
        ("50 ms away", ROUND_TRIP, COLD_RUNS_FAR_AWAY),
    ] {
        if !round_trip.is_zero() {
            lab.registry.add_latency(round_trip);
        }
        let ours = Cold::measure(lab, runs, async || lab.clear_cache().await, || lab.exec(&programs.hook)).await?;
        let notation = Cold::measure(lab, runs, nothing, || lab.exec_notation()).await?;
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
        let (mut client, question) = (client.clone(), lab.question());
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

/// The medians of `cargo bench --package assay-verify`, which measures with criterion.
fn judge_alone(table: &mut Table) -> Result<()> {
    say("Judging alone, with criterion");
    let figures = tempfile::tempdir()?;
    let measured = cargo()
        .args(["bench", "--package", "assay-verify", "--bench", "judge", "--"])
        .args(["--warm-up-time", "1", "--measurement-time", "2"])
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
        let shape: Vec<_> = name.split('/').skip(1).collect();
        table.add(
            &format!("judge alone: {} in the chain", shape.join(", ")),
            shown(median),
            Some(Goal::within(median, Duration::from_micros(150))),
            "",
        );
    }
    Ok(())
}

/// Memory and start-up with many images in the store.
async fn with_many_images(table: &mut Table) -> Result<()> {
    say(&format!(
        "Filling the store: {IMAGES} images, each with a signature of its own"
    ));
    let registry = Registry::start().await?;
    let trust = Trust::new()?;
    let questions: Arc<[VerifyRequest]> = signed_images(&registry, &trust)?.into();
    let mut assayd = trust.daemon(&registry).start().await?;
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
    let first = questions.first().context("there are images")?.clone();
    let socket = assayd.verifier_socket();
    let started = Instant::now();
    let answered = tokio::spawn(async move {
        loop {
            // The socket's file outlives the daemon; nobody listens on it until the next one does.
            if let Ok(channel) = connect(&socket).await {
                ask(&mut ImageVerifierClient::new(channel), first, CacheState::Evidence).await?;
                return anyhow::Ok(started.elapsed());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    assayd.start().await?;
    let ready = answered.await??;
    table.add(
        &format!("start until the first verdict, {IMAGES} images stored"),
        shown(ready),
        Some(Goal::within(ready, Duration::from_millis(100))),
        "",
    );
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
    .await
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

fn cargo() -> Command {
    let name: OsString = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(name);
    command.current_dir(here.parent().unwrap_or(here));
    command
}

/// Of the last one, five and fifteen minutes (proc(5)).
fn load_average() -> String {
    let text = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().take(3).collect::<Vec<_>>().join(" ")
}

fn say(what: &str) {
    println!("\n==> {what}");
}
