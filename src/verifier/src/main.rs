//! containerd's image-verifier hook: asks assayd whether an image may be unpacked.
//!
//! containerd execs it for every pull with the image on the command line and standard input, takes the exit code for the
//! verdict and standard output for the reason (containerd, docs/image-verification.md). Everything that is not an
//! explicit admit is a denial. Nothing is written to standard error but a panic's message: containerd drops the rest.

#![forbid(unsafe_code)]

mod arguments;
mod bootstrap;
mod daemon;
mod descriptor;
mod limits;
mod root_owned;
mod verdict;

use std::{
    env,
    ffi::OsString,
    io::{self, Write},
    panic::{AssertUnwindSafe, catch_unwind},
    path::PathBuf,
    process::ExitCode,
    time::Instant,
};

use assay_proto::v1::{Hook, VerifyRequest};

use crate::{
    arguments::{Arguments, Command},
    daemon::Failure,
    limits::{DEADLINE, OBSERVE_DEADLINE},
    verdict::{Admitted, Code, Denied},
};

const USAGE: &str = "\
containerd execs assay-verifier for every image it pulls, as one of the programs in the image verifier's bin_dir:

  assay-verifier -name IMAGE -digest DIGEST -stdin-media-type TYPE  < descriptor.json

It asks assayd, prints one line and exits 0 when the image is admitted, 1 when it is denied. A symlink to it in that
folder puts it in place; `assayctl verify IMAGE` asks the same question by hand.

ASSAYD_VERIFIER_SOCKET   assayd's socket                       /run/assayd/verifier.sock
ASSAYD_BOOTSTRAP_LIST    images admitted while assayd is away  /etc/assayd/bootstrap.list
ASSAYD_OBSERVE_FLAG      admit everything while this exists    /etc/assayd/observe
";

/// The exit code for a person who asked for help. Not 0: that means *admit*, whoever asks.
const EXIT_USAGE: u8 = 2;

/// Whether the verdict counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The verdict decides.
    Enforce,
    /// The observe flag is there: every image is admitted, and what the verdict would have been is told.
    Observe,
}

/// Where the hook finds what it needs.
///
/// The environment is containerd's, and whoever sets that is root on the node already; the files must belong to root
/// wherever they are.
struct Paths {
    socket: PathBuf,
    bootstrap_list: PathBuf,
    observe_flag: PathBuf,
}

impl Paths {
    fn from_environment() -> Self {
        let path = |variable, default: &str| env::var_os(variable).map_or_else(|| default.into(), PathBuf::from);
        Self {
            socket: path("ASSAYD_VERIFIER_SOCKET", "/run/assayd/verifier.sock"),
            bootstrap_list: path("ASSAYD_BOOTSTRAP_LIST", "/etc/assayd/bootstrap.list"),
            observe_flag: path("ASSAYD_OBSERVE_FLAG", "/etc/assayd/observe"),
        }
    }
}

fn main() -> ExitCode {
    let start = Instant::now();
    let arguments: Vec<OsString> = env::args_os().skip(1).collect();
    let command = arguments::parse(arguments);
    match command {
        Ok(Command::Help) => return tell_person(USAGE),
        Ok(Command::Version) => return tell_person(concat!("assay-verifier ", env!("CARGO_PKG_VERSION"), "\n")),
        _ => {}
    }

    let paths = Paths::from_environment();
    let (mode, note) = mode(&paths);
    let deadline = match mode {
        Mode::Enforce => start + DEADLINE,
        Mode::Observe => start + OBSERVE_DEADLINE,
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| decide(command, &paths, deadline)))
        .unwrap_or_else(|_| {
            Err(Denied::new(
                Code::Internal,
                "the hook panicked; containerd's debug log has the place",
            ))
        })
        .map_err(|denied| denied.with_note(&note));
    let line = match mode {
        Mode::Enforce => verdict::line(&outcome),
        Mode::Observe => verdict::observed_line(&outcome),
    };
    // Whether anybody reads the line changes nothing about the verdict.
    let _ = io::stdout().write_all(format!("{line}\n").as_bytes());
    exit_code(mode, &outcome)
}

/// The one place where exit code 0 comes from.
fn exit_code(mode: Mode, outcome: &Result<Admitted, Denied>) -> ExitCode {
    match (mode, outcome) {
        (Mode::Enforce, Ok(Admitted { .. })) | (Mode::Observe, _) => ExitCode::SUCCESS,
        (Mode::Enforce, Err(_)) => ExitCode::FAILURE,
    }
}

/// Observe mode is asked for by a file that only root can have written. Anything else enforces, and a flag that is not
/// obeyed is told about.
fn mode(paths: &Paths) -> (Mode, String) {
    match root_owned::read(&paths.observe_flag, limits::MAX_OBSERVE_FLAG) {
        Ok(Some(_)) => (Mode::Observe, String::new()),
        Ok(None) => (Mode::Enforce, String::new()),
        Err(fault) => (
            Mode::Enforce,
            format!("{} is not obeyed: it {fault}", paths.observe_flag.display()),
        ),
    }
}

/// The verdict on one image.
fn decide(command: Result<Command, Denied>, paths: &Paths, deadline: Instant) -> Result<Admitted, Denied> {
    let arguments = match command? {
        Command::Verify(arguments) => arguments,
        Command::Help | Command::Version => return Err(Denied::new(Code::RequestMalformed, "no image is named")),
    };
    let question = question(arguments, deadline)?;
    match daemon::ask(&paths.socket, &question, deadline) {
        Ok(answer) => Admitted::by_daemon(&answer),
        Err(Failure::Deadline) => Err(Denied::new(
            Code::Deadline,
            "assayd did not answer in time; the next pull asks again",
        )),
        Err(Failure::Refused(reason)) => Err(Denied::new(Code::DaemonUnavailable, reason)),
        Err(Failure::Away(reason) | Failure::Broken(reason)) => {
            let answer = bootstrap::look_up(&paths.bootstrap_list, &question.name, &question.digest);
            match answer.listed {
                Some(listed) => Ok(Admitted::by_bootstrap_list(&listed, &answer.note)),
                None => Err(Denied::new(Code::DaemonUnavailable, reason).with_note(&answer.note)),
            }
        }
    }
}

/// Puts the question together. The digest on the command line and the one of the descriptor are one: what is judged is
/// what will be unpacked.
fn question(arguments: Arguments, deadline: Instant) -> Result<VerifyRequest, Denied> {
    let Arguments {
        name,
        digest,
        stdin_media_type,
    } = arguments;
    let input = descriptor::read_input(stdin_media_type.as_deref(), io::stdin(), deadline)?;
    let digest = match (digest, &input.descriptor) {
        (Some(digest), Some(descriptor)) if digest != descriptor.digest => {
            return Err(Denied::new(
                Code::RequestMalformed,
                "the descriptor's digest is not the one of -digest",
            ));
        }
        (Some(digest), _) => digest,
        (None, Some(descriptor)) if !descriptor.digest.is_empty() => descriptor.digest.clone(),
        (None, _) => {
            return Err(Denied::new(
                Code::RequestMalformed,
                "neither -digest nor standard input gives a digest",
            ));
        }
    };
    Ok(VerifyRequest {
        name,
        digest,
        descriptor: input.descriptor,
        hook: Hook::ContainerdImageVerifier.into(),
        context: input.context,
    })
}

/// Answers a person.
fn tell_person(text: &str) -> ExitCode {
    let _ = io::stdout().write_all(text.as_bytes());
    ExitCode::from(EXIT_USAGE)
}
