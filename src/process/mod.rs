//! One run of another program, bounded in time and output.
//!
//! The program leads a process group of its own. A thread waits for it to end and then kills what is left of the group, while
//! the leader, dead but not yet reaped, still holds the group's number: no other process can have it. Who gives up before
//! kills the group, and the thread cleans up.

use std::any::Any;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;
use std::process::{Child, ChildStderr, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, killpg};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::unix::pipe;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::timeout;

/// What is run.
pub(crate) struct Program {
    /// The file.
    pub(crate) path: PathBuf,
    /// What has to live until the program has started, such as the opened file behind `path`.
    pub(crate) hold: Box<dyn Any + Send>,
    /// What the program sees as its own name.
    pub(crate) name: String,
    /// Its arguments.
    pub(crate) arguments: Vec<String>,
    /// Its whole environment.
    pub(crate) environment: BTreeMap<OsString, OsString>,
    /// How long it may take, and how much it may write to either of its outputs.
    pub(crate) limits: RunLimits,
}

/// What a run may take.
#[derive(Clone, Copy, Debug)]
pub(crate) struct RunLimits {
    /// From the start to the end of its output.
    pub(crate) time: Duration,
    /// Bytes of its standard output, and of its standard error.
    pub(crate) output: usize,
}

/// What a run that came to its end left.
#[derive(Debug)]
pub(crate) struct Output {
    /// How it ended.
    pub(crate) status: ExitStatus,
    /// Its standard output.
    pub(crate) stdout: Vec<u8>,
    /// Its standard error.
    pub(crate) stderr: Vec<u8>,
}

/// Why a run did not come to its end.
#[derive(Debug, Error)]
pub(crate) enum RunError {
    /// It did not start.
    #[error("it cannot be run: {0}")]
    NotStarted(io::Error),
    /// It was killed.
    #[error("it did not end within {} s", .0.as_secs())]
    Timeout(Duration),
    /// It was killed.
    #[error("it writes more than {0} bytes")]
    TooMuch(usize),
    /// It was killed.
    #[error("its output cannot be read: {0}")]
    Output(io::Error),
}

/// Runs a program with this standard input. The slot is free again when the program is gone.
pub(crate) async fn run(program: Program, input: Vec<u8>, slot: OwnedSemaphorePermit) -> Result<Output, RunError> {
    let RunLimits { time, output } = program.limits;
    let (started, starting) = oneshot::channel();
    let ended = tokio::task::spawn_blocking(move || supervise(program, started, slot));
    let Ok(mut running) = starting.await else {
        return Err(RunError::NotStarted(match ended.await {
            Ok(Err(error)) => error,
            Ok(Ok(_)) => io::Error::other("it has no standard streams"),
            Err(error) => error.into(),
        }));
    };
    let talk = async {
        let Some((stdin, stdout, stderr)) = running.streams.take() else {
            return Err(RunError::Output(io::ErrorKind::BrokenPipe.into()));
        };
        let mut stdin = pipe::Sender::from_owned_fd(stdin.into()).map_err(RunError::Output)?;
        let stdout = pipe::Receiver::from_owned_fd(stdout.into()).map_err(RunError::Output)?;
        let stderr = pipe::Receiver::from_owned_fd(stderr.into()).map_err(RunError::Output)?;
        let write = async move {
            // A program that does not read what it is asked is judged by what it answers.
            let _ = stdin.write_all(&input).await;
            Ok(())
        };
        let ((), stdout, stderr) = tokio::try_join!(write, read(stdout, output), read(stderr, output))?;
        let status = ended
            .await
            .map_err(io::Error::from)
            .and_then(|status| status)
            .map_err(RunError::Output)?;
        Ok(Output { status, stdout, stderr })
    };
    timeout(time, talk).await.unwrap_or(Err(RunError::Timeout(time)))
}

async fn read(stream: impl AsyncRead + Unpin, limit: usize) -> Result<Vec<u8>, RunError> {
    let mut bytes = Vec::new();
    let mut stream = stream.take(limit as u64 + 1);
    stream.read_to_end(&mut bytes).await.map_err(RunError::Output)?;
    if bytes.len() > limit {
        return Err(RunError::TooMuch(limit));
    }
    Ok(bytes)
}

/// A program that runs. Dropping it kills the program, if it has not ended.
struct Running {
    group: Arc<Group>,
    streams: Option<(ChildStdin, ChildStdout, ChildStderr)>,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.group.kill();
    }
}

/// The process group of a program, as long as its number is certain.
struct Group(Mutex<Option<Pid>>);

impl Group {
    fn kill(&self) {
        if let Some(leader) = *self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            // That the group is gone is what is wanted.
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }

    /// Kills the group for the last time: its leader is about to be reaped.
    fn end(&self) {
        if let Some(leader) = self.0.lock().unwrap_or_else(PoisonError::into_inner).take() {
            let _ = killpg(leader, Signal::SIGKILL);
        }
    }
}

/// Starts the program, and waits until it and its group are gone.
fn supervise(
    program: Program,
    started: oneshot::Sender<Running>,
    slot: OwnedSemaphorePermit,
) -> io::Result<ExitStatus> {
    let mut child = Command::new(&program.path)
        .arg0(&program.name)
        .args(&program.arguments)
        .env_clear()
        .envs(&program.environment)
        .current_dir("/")
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()?;
    drop(program.hold);
    let leader = Pid::from_raw(i32::try_from(child.id()).map_err(io::Error::other)?);
    let group = Arc::new(Group(Mutex::new(Some(leader))));
    // Where nobody waits any more, what is sent is dropped, and so the program killed.
    let _ = started.send(Running {
        group: group.clone(),
        streams: streams(&mut child),
    });
    while waitid(Id::Pid(leader), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT) == Err(Errno::EINTR) {}
    group.end();
    let status = child.wait();
    drop(slot);
    status
}

fn streams(child: &mut Child) -> Option<(ChildStdin, ChildStdout, ChildStderr)> {
    Some((child.stdin.take()?, child.stdout.take()?, child.stderr.take()?))
}
