//! Child processes that end with the test that started them.

use std::fs::{self, File};
use std::future::Future;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

/// How long a service may take until it answers. Generous: a shared machine with two cores builds meanwhile.
const READY: Duration = Duration::from_secs(60);
/// How long a service may take to end when asked to.
const STOP: Duration = Duration::from_secs(20);

/// A long-running child with its output in a file. Dropping it kills it.
#[derive(Debug)]
pub(crate) struct Service {
    name: &'static str,
    child: Child,
    log: PathBuf,
}

impl Service {
    /// Starts `command`, appending both its outputs to `log`, in a process group of its own.
    pub(crate) fn spawn(name: &'static str, mut command: Command, log: &Path) -> Result<Self> {
        let file = File::options().create(true).append(true).open(log);
        let file = file.with_context(|| format!("cannot open {}", log.display()))?;
        command
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .process_group(0);
        let child = command
            .spawn()
            .with_context(|| format!("cannot start {name} ({:?})", command.get_program()))?;
        Ok(Self {
            name,
            child,
            log: log.to_owned(),
        })
    }

    pub(crate) fn id(&self) -> u32 {
        self.child.id()
    }

    pub(crate) fn log_file(&self) -> &Path {
        &self.log
    }

    pub(crate) fn log(&self) -> String {
        fs::read(&self.log)
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Waits until `ready` says so; fails with the end of the log when the process ends or time runs out.
    pub(crate) async fn wait_until<F>(&mut self, mut ready: impl FnMut() -> F) -> Result<()>
    where
        F: Future<Output = bool>,
    {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                bail!(
                    "{} ended before it was ready ({status}):\n{}",
                    self.name,
                    self.end_of_log()
                );
            }
            if ready().await {
                return Ok(());
            }
            if started.elapsed() > READY {
                bail!("{} is not ready after {READY:?}:\n{}", self.name, self.end_of_log());
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Sends SIGTERM and waits for the end.
    pub(crate) async fn terminate(&mut self) -> Result<ExitStatus> {
        self.signal(Signal::SIGTERM)?;
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(status);
            }
            if started.elapsed() > STOP {
                self.kill();
                bail!(
                    "{} did not end within {STOP:?} of SIGTERM:\n{}",
                    self.name,
                    self.end_of_log()
                );
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    pub(crate) fn signal(&self, signal: Signal) -> Result<()> {
        kill(self.pid()?, signal).with_context(|| format!("cannot signal {}", self.name))
    }

    /// Sends SIGKILL and reaps. Does nothing to a process that has ended.
    pub(crate) fn kill(&mut self) {
        // An error here means that the process is gone already, which is what is wanted.
        let _: io::Result<()> = self.child.kill();
        let _: io::Result<ExitStatus> = self.child.wait();
    }

    fn pid(&self) -> Result<Pid> {
        Ok(Pid::from_raw(
            i32::try_from(self.child.id()).context("a process id beyond 31 bits")?,
        ))
    }

    fn end_of_log(&self) -> String {
        let log = self.log();
        let lines: Vec<_> = log.lines().collect();
        lines[lines.len().saturating_sub(20)..].join("\n")
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Runs a command to its end without blocking the runtime.
pub(crate) async fn output(command: Command) -> Result<Finished> {
    let shown = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    let output = command.stdin(Stdio::null()).kill_on_drop(true).output().await;
    let output = output.with_context(|| format!("cannot run {shown}"))?;
    Ok(output.into())
}

/// What a command that ran to its end left behind.
#[derive(Clone, Debug)]
pub struct Finished {
    /// Whether its exit code was 0.
    pub success: bool,
    /// Its exit code; none when a signal ended it.
    pub code: Option<i32>,
    /// Its standard output.
    pub stdout: String,
    /// Its standard error.
    pub stderr: String,
}

impl From<std::process::Output> for Finished {
    fn from(output: std::process::Output) -> Self {
        Self {
            success: output.status.success(),
            code: output.status.code(),
            stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
            stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
        }
    }
}

impl Finished {
    /// Turns a failure into an error that holds what the command said.
    ///
    /// # Errors
    ///
    /// The command failed.
    pub fn successful(self) -> Result<Self> {
        if self.success {
            Ok(self)
        } else {
            bail!("{}{}", self.stdout, self.stderr)
        }
    }
}

/// Kills every process whose command line mentions `directory`, and all below them: shims outlive the containerd that
/// started them, and containers outlive their shims.
pub(crate) fn kill_everything_of(directory: &Path) {
    let needle = directory.as_os_str().as_encoded_bytes();
    let Ok(entries) = fs::read_dir("/proc") else { return };
    let mut processes = vec![];
    for entry in entries.flatten() {
        let Some(id) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        let mentions = fs::read(entry.path().join("cmdline"))
            .is_ok_and(|command_line| command_line.windows(needle.len()).any(|window| window == needle));
        processes.push((id, parent_of(&entry.path()), mentions));
    }
    let mut doomed: Vec<_> = processes
        .iter()
        .filter(|(_, _, mentions)| *mentions)
        .map(|(id, ..)| *id)
        .collect();
    let mut done = 0;
    while let Some(parent) = doomed.get(done).copied() {
        let children = processes
            .iter()
            .filter(|(_, of, _)| *of == Some(parent))
            .map(|(id, ..)| *id);
        let new: Vec<_> = children.filter(|id| !doomed.contains(id)).collect();
        doomed.extend(new);
        done += 1;
    }
    for id in doomed {
        // It may have ended meanwhile.
        let _: nix::Result<()> = kill(Pid::from_raw(id), Signal::SIGKILL);
    }
}

/// proc(5): the fourth field of `stat`; the second is in parentheses and may hold anything.
fn parent_of(process: &Path) -> Option<i32> {
    let stat = fs::read_to_string(process.join("stat")).ok()?;
    let (_, after_name) = stat.rsplit_once(')')?;
    after_name.split_whitespace().nth(1)?.parse().ok()
}
