//! The system calls that a process makes on a folder, and its death at one of them.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, ensure};
use nix::sys::signal::Signal;

use crate::Peers;

/// The calls that change what is in a folder. One that an architecture does not have is left out.
const CHANGES: [&str; 20] = [
    "?open",
    "openat",
    "?creat",
    "write",
    "writev",
    "pwrite64",
    "ftruncate",
    "fallocate",
    "fsync",
    "fdatasync",
    "?rename",
    "?renameat",
    "renameat2",
    "?link",
    "linkat",
    "?symlink",
    "?unlink",
    "unlinkat",
    "?mkdir",
    "mkdirat",
];

/// Debian's strace.
#[derive(Clone, Debug)]
pub struct Strace {
    program: PathBuf,
    libraries: Vec<PathBuf>,
}

/// One call of a process: the `number`th of its name, counted from 1, that concerns one of the watched paths.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Call {
    /// The system call.
    pub name: String,
    /// Which of them it is.
    pub number: usize,
    /// The call as strace shows it.
    pub shown: String,
}

impl Call {
    /// Whether something is different on the disk afterwards, or is on the disk afterwards.
    pub fn changes(&self) -> bool {
        !matches!(self.name.as_str(), "open" | "openat") || self.shown.contains("O_CREAT")
    }
}

impl Strace {
    /// strace from the machine's own suite.
    ///
    /// # Errors
    ///
    /// It cannot be fetched, or this machine lets nobody trace.
    pub fn find(peers: &Peers) -> Result<Self> {
        let (program, libraries) = peers.strace()?;
        let strace = Self { program, libraries };
        let output = strace.command().args(["-o", "/dev/null", "true"]).output()?;
        ensure!(
            output.status.success(),
            "processes cannot be traced here: {}",
            String::from_utf8_lossy(&output.stderr).trim()
        );
        Ok(strace)
    }

    /// strace, without arguments.
    fn command(&self) -> Command {
        let mut command = Command::new(&self.program);
        let libraries: Vec<&OsStr> = self.libraries.iter().map(|path| path.as_os_str()).collect();
        // For strace itself and not for what it runs.
        command
            .env("LD_LIBRARY_PATH", libraries.join(OsStr::new(":")))
            .args(["-E", "LD_LIBRARY_PATH"]);
        command
    }

    /// Runs `traced` to its end, and takes down which of its calls change or open exactly these paths, whether or not they
    /// exist.
    ///
    /// # Errors
    ///
    /// strace cannot be run, the process fails, or several threads touch the paths: strace counts for each thread.
    pub fn calls(&self, traced: &Command, paths: &[PathBuf]) -> Result<Vec<Call>> {
        let log = tempfile::NamedTempFile::new()?;
        finished(&run(self.watching(paths, log.path()), traced)?)?;
        calls(&fs::read_to_string(log.path())?)
    }

    /// Runs `traced` and kills it by SIGKILL as it enters this call of those that [`Self::calls`] found. It is not done any
    /// more. A process that does not come to it runs to its end.
    ///
    /// # Errors
    ///
    /// strace cannot be run.
    pub fn kill(&self, traced: &Command, paths: &[PathBuf], at: &Call) -> Result<Output> {
        let mut command = self.watching(paths, Path::new("/dev/null"));
        command
            .arg("-e")
            .arg(format!("inject={}:signal=SIGKILL:when={}", at.name, at.number));
        run(command, traced)
    }

    fn watching(&self, paths: &[PathBuf], log: &Path) -> Command {
        let mut command = self.command();
        // Not with --seccomp-bpf, which is faster: a signal is lost there (ptrace(2), PTRACE_EVENT stops).
        command.args(["-f", "-y", "-qq", "-s", "0", "-o"]).arg(log);
        command.arg("-e").arg(format!("trace={}", CHANGES.join(",")));
        for path in paths {
            command.arg("-P").arg(path);
        }
        command
    }

    /// Runs `traced` to its end, and says which system calls had to do with this folder and what is in it, however.
    ///
    /// # Errors
    ///
    /// strace cannot be run, or the process fails.
    pub fn every_call_on(&self, traced: &Command, folder: &Path) -> Result<Vec<Call>> {
        let log = tempfile::NamedTempFile::new()?;
        let mut command = self.command();
        command.args(["-f", "-y", "-qq", "-s", "4096", "-o"]).arg(log.path());
        finished(&run(command, traced)?)?;
        let folder = folder.to_str().context("a folder whose name is not UTF-8")?;
        let all = fs::read(log.path())?;
        let all = String::from_utf8_lossy(&all);
        let lines: Vec<&str> = all.lines().filter(|line| line.contains(folder)).collect();
        calls(&lines.join("\n"))
    }
}

fn run(mut strace: Command, traced: &Command) -> Result<Output> {
    strace.arg(traced.get_program()).args(traced.get_args());
    for (name, value) in traced.get_envs() {
        match value {
            Some(value) => strace.env(name, value),
            None => strace.env_remove(name),
        };
    }
    strace.stdin(Stdio::null()).output().context("cannot run strace")
}

fn finished(output: &Output) -> Result<()> {
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "it ended with {}: {}",
        output.status,
        said.trim()
    );
    Ok(())
}

/// Whether a process was killed.
pub fn was_killed(output: &Output) -> bool {
    output.status.signal() == Some(Signal::SIGKILL as i32)
}

/// Reads what strace wrote: `PID NAME(ARGUMENTS) = RESULT`, and `PID <... NAME resumed>…` for the end of a call during which
/// another thread did something.
fn calls(log: &str) -> Result<Vec<Call>> {
    let (mut calls, mut threads) = (Vec::new(), Vec::new());
    let mut numbers = BTreeMap::<&str, usize>::new();
    for line in log.lines() {
        let Some((thread, shown)) = line.split_once(' ') else {
            continue;
        };
        let shown = shown.trim_start();
        let Some((name, _)) = shown.split_once('(') else {
            continue;
        };
        if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_') {
            continue;
        }
        threads.push(thread);
        let number = numbers.entry(name).or_default();
        *number += 1;
        calls.push(Call {
            name: name.to_owned(),
            number: *number,
            shown: shown.to_owned(),
        });
    }
    threads.sort_unstable();
    threads.dedup();
    ensure!(threads.len() < 2, "several threads touch the folder:\n{log}");
    Ok(calls)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_the_calls_of_each_name() {
        let log = "7  mkdir(\"/s\", 0700) = 0\n7 openat(AT_FDCWD</>, \"/s/a\", O_WRONLY|O_CREAT) = 3</s/a>\n\
                   7 write(3</s/a>, \"\"..., 9 <unfinished ...>\n7 <... write resumed>) = 9\n7 write(3</s/a>, \"\"..., 1) = 1\n\
                   7 openat(AT_FDCWD</>, \"/s\", O_RDONLY) = 3</s>\n7 +++ killed by SIGKILL +++\n";
        let calls = calls(log).unwrap();
        let short: Vec<(&str, usize, bool)> = calls
            .iter()
            .map(|call| (call.name.as_str(), call.number, call.changes()))
            .collect();
        let expected = [
            ("mkdir", 1, true),
            ("openat", 1, true),
            ("write", 1, true),
            ("write", 2, true),
            ("openat", 2, false),
        ];
        assert_eq!(short, expected);
    }

    #[test]
    fn two_threads_cannot_be_counted() {
        let error = calls("7 fsync(3</s>) = 0\n8 fsync(3</s>) = 0\n")
            .unwrap_err()
            .to_string();
        assert!(error.contains("several threads"), "{error}");
    }
}
