//! A program that is asked something: bounded in time and output.

use std::ffi::OsStr;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use assay_verify::limits::{MAX_PROGRAM_OUTPUT, PROGRAM_TIMEOUT};
use assay_verify::untrusted::Untrusted;
use thiserror::Error;
use tokio::io::{AsyncRead, AsyncReadExt as _};
use tokio::process::Command;
use tokio::time::timeout;

/// Why a program gave no answer.
#[derive(Debug, Error)]
pub(in crate::ctl) enum CommandError {
    #[error("{0} cannot be run: {1}")]
    NotStarted(PathBuf, io::Error),
    #[error("{0} did not end within {seconds} s", seconds = PROGRAM_TIMEOUT.as_secs())]
    Timeout(PathBuf),
    #[error("{0} writes more than {MAX_PROGRAM_OUTPUT} bytes")]
    TooMuch(PathBuf),
    #[error("{program} failed ({status}): {said}")]
    Failed {
        program: PathBuf,
        status: std::process::ExitStatus,
        said: Untrusted,
    },
}

impl CommandError {
    /// Whether there is no such program.
    pub(in crate::ctl) fn is_absent(&self) -> bool {
        matches!(self, Self::NotStarted(_, error) if error.kind() == io::ErrorKind::NotFound)
    }
}

/// What a program that ended wrote.
#[derive(Debug)]
pub(in crate::ctl) struct Ended {
    pub(in crate::ctl) status: std::process::ExitStatus,
    pub(in crate::ctl) stdout: String,
    pub(in crate::ctl) stderr: String,
}

/// Runs a program to its end, whatever its exit code.
pub(in crate::ctl) async fn run<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Result<Ended, CommandError> {
    let not_started = |error| CommandError::NotStarted(program.to_owned(), error);
    let mut command = Command::new(program);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command.spawn().map_err(not_started)?;
    let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
    let talk = async {
        let (stdout, stderr) = tokio::join!(read(stdout), read(stderr));
        let (stdout, stderr) = (stdout.map_err(not_started)?, stderr.map_err(not_started)?);
        if stdout.len().max(stderr.len()) > MAX_PROGRAM_OUTPUT {
            return Err(CommandError::TooMuch(program.to_owned()));
        }
        let status = child.wait().await.map_err(not_started)?;
        Ok(Ended {
            status,
            stdout: String::from_utf8_lossy(&stdout).into_owned(),
            stderr: String::from_utf8_lossy(&stderr).into_owned(),
        })
    };
    timeout(PROGRAM_TIMEOUT, talk)
        .await
        .map_err(|_| CommandError::Timeout(program.to_owned()))?
}

/// What a program writes that ends well.
pub(in crate::ctl) async fn output<S: AsRef<OsStr>>(program: &Path, arguments: &[S]) -> Result<String, CommandError> {
    let ended = run(program, arguments).await?;
    if ended.status.success() {
        return Ok(ended.stdout);
    }
    // The last line is the error; before it there may be warnings of a log.
    let said = ended.stderr.trim().lines().last().unwrap_or_default();
    Err(CommandError::Failed {
        program: program.to_owned(),
        status: ended.status,
        said: Untrusted::new(said),
    })
}

/// Reads to the end, and no further than one byte too much.
async fn read(stream: Option<impl AsyncRead + Unpin>) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    if let Some(stream) = stream {
        let mut stream = stream.take(MAX_PROGRAM_OUTPUT as u64 + 1);
        stream.read_to_end(&mut content).await?;
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn shell(script: &str) -> Result<String, CommandError> {
        output(Path::new("/bin/sh"), &["-c", script]).await
    }

    #[tokio::test]
    async fn says_what_a_program_wrote_or_why_it_failed() {
        assert_eq!(shell("echo good; echo noise >&2").await.unwrap(), "good\n");
        let failed = shell("echo first >&2; printf 'the \\033 reason\\n' >&2; exit 3").await;
        let said = failed.unwrap_err().to_string();
        assert!(said.ends_with("the \\u{1b} reason"), "{said}");
    }

    #[tokio::test]
    async fn a_program_that_never_stops_writing_is_given_up() {
        let endless = shell("exec cat /dev/zero").await.unwrap_err();
        assert!(matches!(endless, CommandError::TooMuch(_)), "{endless}");
    }

    #[tokio::test]
    async fn a_program_that_is_not_there_is_told_from_one_that_fails() {
        let absent = output(Path::new("/nonexistent/containerd"), &["--version"])
            .await
            .unwrap_err();
        assert!(absent.is_absent());
        assert!(!shell("exit 1").await.unwrap_err().is_absent());
    }
}
