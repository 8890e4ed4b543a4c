//! assayctl's commands. People first; `--output json` for machines.
//!
//! Exit codes: 0 admitted or done, 1 denied or refused, 2 usage or bad input, 3 not decided (the daemon or the registry
//! was away, or time ran out).

mod blob;
mod bootstrap;
mod bundle;
mod client;
mod decision_log;
mod decisions;
mod doctor;
mod evidence;
mod hook;
mod inventory;
mod node;
mod offline;
mod policy;
mod progress;
mod publish;
mod render;
mod support;
mod sync;
mod trust;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use assay_proto::v1 as proto;
use assay_verify::Timestamp;
use assay_verify::code::Code;
use clap::{Args, Parser, Subcommand, ValueEnum};

use self::blob::VerifyBlob;
use self::bootstrap::Bootstrap;
use self::bundle::VerifyBundle;
use self::client::ControlClient;
use self::doctor::Examination;
use self::evidence::Bundle;
use self::hook::Hook;
use self::inventory::Inventory;
use self::offline::Offline;
use self::publish::Publish;
use self::support::SupportBundle;
use self::sync::Sync;
use self::trust::Trust;
use crate::daemon::config::Config;

/// Admitted, or done.
const DONE: u8 = 0;
/// Denied, or refused.
const DENIED: u8 = 1;
/// Usage, or bad input.
const USAGE: u8 = 2;
/// Not decided.
const NOT_DECIDED: u8 = 3;

/// Asks and steers assayd, the daemon that decides which container images may be unpacked on this node.
#[derive(Parser)]
#[command(name = "assayctl", version, max_term_width = 100, after_help = EXIT_CODES)]
pub struct Cli {
    /// The daemon's control socket [default: as in /etc/assayd/config.toml]
    #[arg(long, global = true, value_name = "PATH", env = "ASSAYD_CONTROL_SOCKET")]
    socket: Option<PathBuf>,
    /// For people, or for machines
    #[arg(long, global = true, value_enum, default_value_t = Output::Human)]
    output: Output,
    #[command(subcommand)]
    command: Command,
}

const EXIT_CODES: &str = "Exit codes:\n  0  admitted, or done\n  1  denied, or refused\n  2  usage, or bad input\n  \
                          3  not decided: the daemon or the registry was away, or time ran out";

/// Who reads the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Output {
    Human,
    Json,
}

#[derive(Subcommand)]
enum Command {
    /// Judge an image and print the verdict
    Verify(Judge),
    /// Judge an image and print every step: the rule, each authority and signature, and what would make it pass
    Explain(Judge),
    /// Judge the detached signature of a file by the trust policy for files, without the daemon
    VerifyBlob(Box<VerifyBlob>),
    /// Show every signature, attestation and referrer of an image, with who signed it and when. Decides nothing
    Tree(Judge),
    /// Carry the evidence of images to nodes that reach no registry
    #[command(subcommand)]
    Bundle(Bundle),
    /// Show every image of this node, in every namespace of containerd's, and what the policy makes of it. Fetches signatures
    /// where none are stored, and no layer
    Inventory(Inventory),
    /// Speak the protocol of sigstore's conformance suite
    #[command(hide = true)]
    VerifyBundle(VerifyBundle),
    /// Import, show and check trusted roots of sigstore
    #[command(subcommand)]
    Trust(Trust),
    /// Check a policy document, explain its keys, or show the one in force
    #[command(subcommand)]
    Policy(Policy),
    /// Make and maintain the policy repository of a fleet
    #[command(subcommand)]
    Publish(Publish),
    /// Show what the daemon is doing: policy, verdicts, cache
    Status,
    /// Show what this node has of its policy repository, or ask it now
    #[command(subcommand)]
    Sync(Sync),
    /// Propose the list of images that the hook admits while assayd is away
    #[command(subcommand)]
    Bootstrap(Bootstrap),
    /// Examine whether what protects this node works: containerd's configuration, the hook, the daemon
    #[command(after_help = doctor::EXIT_CODES)]
    Doctor(Box<Examination>),
    /// Collect what a report of a fault needs into a tar, without secrets, whether or not the daemon runs
    SupportBundle(SupportBundle),
    /// Have containerd ask assayd, or no longer, and say whether it does
    #[command(subcommand)]
    Hook(Hook),
    /// Show what was decided, filtered, from the daemon's log of decisions; exits 1 where there is nothing to show
    Decisions(decision_log::Decisions),
    /// Print the daemon's metrics in Prometheus' text format
    Metrics,
    /// Read policy and trust material again; a broken one is reported and does not replace the one in force
    Reload,
    /// Show or clear the cache
    #[command(subcommand)]
    Cache(Cache),
}

#[derive(Args)]
struct Judge {
    /// The image, e.g. registry.example/app:v1 or registry.example/app@sha256:…
    reference: String,
    /// Judge without the daemon, by the evidence in this OCI image layout (a folder or a tar)
    #[arg(long, value_name = "LAYOUT")]
    offline: Option<PathBuf>,
    /// The policy to judge by offline
    #[arg(
        long,
        value_name = "FILE",
        requires = "offline",
        default_value = "/etc/assayd/policy.toml"
    )]
    policy: PathBuf,
    /// The time to judge at offline, e.g. 2026-11-21T12:00:00Z [default: now]
    #[arg(long, value_name = "TIME", requires = "offline")]
    at: Option<Timestamp>,
}

impl Judge {
    fn offline<'a>(&'a self, layout: &'a Path) -> Result<Offline<'a>, Failure> {
        Ok(Offline {
            layout,
            policy: &self.policy,
            reference: self
                .reference
                .parse()
                .map_err(|error| Failure::Input(format!("{error}")))?,
            now: self.at.unwrap_or_else(Timestamp::now),
        })
    }
}

#[derive(Subcommand)]
enum Policy {
    /// Check a policy document and everything it names; every error and warning with file, line and column
    Check {
        /// The document
        #[arg(default_value = "/etc/assayd/policy.toml")]
        file: PathBuf,
        /// Take warnings for errors
        #[arg(long)]
        strict: bool,
    },
    /// Say what a policy document would make of recorded decisions, without evidence; exits 1 when an image that was admitted
    /// would be denied
    Test {
        /// The document
        #[arg(default_value = "/etc/assayd/policy.toml")]
        file: PathBuf,
        /// The decisions, JSON lines
        #[arg(long, value_name = "FILE")]
        decisions: PathBuf,
    },
    /// Print every key that a policy may have: its values, what holds without it, and what it means
    Reference,
    /// Print the policy document in force
    Show,
}

#[derive(Subcommand)]
enum Cache {
    /// Show how much is cached and how often it served
    Stats,
    /// Forget all verdicts and evidence. Nothing is lost but time, and what was imported: import it again
    Clear,
}

/// Why a command could not do its work.
enum Failure {
    /// The daemon did not answer.
    Daemon(String),
    /// What was given is wrong.
    Input(String),
}

impl Failure {
    /// The daemon said what it should not have.
    fn unexpected(what: impl ToString) -> Self {
        Self::Daemon(format!("assayd answers unexpectedly: {}", what.to_string()))
    }

    /// Why, for a person.
    fn into_message(self) -> String {
        match self {
            Self::Daemon(message) | Self::Input(message) => message,
        }
    }

    /// The same, with what it is about before it.
    fn about(self, what: &str) -> Self {
        match self {
            Self::Daemon(message) => Self::Daemon(format!("{what}: {message}")),
            Self::Input(message) => Self::Input(format!("{what}: {message}")),
        }
    }
}

impl From<tonic::Status> for Failure {
    fn from(status: tonic::Status) -> Self {
        match status.code() {
            tonic::Code::InvalidArgument => Self::Input(status.message().to_owned()),
            _ => Self::Daemon(status.message().to_owned()),
        }
    }
}

/// Runs a command.
pub async fn run(cli: Cli) -> ExitCode {
    match execute(&cli).await {
        Ok(code) => code.into(),
        Err(Failure::Daemon(message)) => {
            eprintln!("assayctl: {message}");
            NOT_DECIDED.into()
        }
        Err(Failure::Input(message)) => {
            eprintln!("assayctl: {message}");
            USAGE.into()
        }
    }
}

async fn execute(cli: &Cli) -> Result<u8, Failure> {
    let output = cli.output;
    match &cli.command {
        Command::Verify(judge) => {
            let explained = explain(cli, judge).await?;
            render::verdict(output, &explained);
            Ok(exit_code(&explained))
        }
        Command::Explain(judge) => {
            let explained = explain(cli, judge).await?;
            render::explanation(output, &explained);
            Ok(exit_code(&explained))
        }
        Command::VerifyBlob(asked) => blob::verify(output, asked).await,
        Command::Tree(judge) => {
            let tree = tree(cli, judge).await?;
            render::tree(output, &tree);
            Ok(seen(&tree))
        }
        Command::Bundle(command) => evidence::run(output, command, async || connect(cli).await).await,
        Command::Inventory(asked) => inventory::run(output, asked, connect(cli).await?).await,
        Command::VerifyBundle(asked) => bundle::conformance(output, asked),
        Command::Trust(command) => trust::run(output, command),
        Command::Policy(Policy::Check { file, strict }) => Ok(policy::check(output, file, *strict)),
        Command::Policy(Policy::Reference) => Ok(policy::reference()),
        Command::Policy(Policy::Test { file, decisions }) => decisions::test(output, file, decisions, Timestamp::now()),
        Command::Publish(command) => publish::run(output, command).await,
        Command::Policy(Policy::Show) => {
            let shown = connect(cli).await?.show_policy().await?;
            render::policy(output, &shown);
            Ok(DONE)
        }
        Command::Status => {
            let status = connect(cli).await?.status().await?;
            render::status(output, &status);
            let sound = status
                .policy
                .is_some_and(|policy| !policy.revision.is_empty() && policy.rejected_at == 0);
            Ok(if sound { DONE } else { DENIED })
        }
        Command::Sync(Sync::Status) => Ok(sync::show(output, &connect(cli).await?.sync_status().await?)),
        Command::Sync(Sync::Now) => Ok(sync::show(output, &connect(cli).await?.sync_now().await?)),
        Command::Bootstrap(command) => bootstrap::run(output, command).await,
        Command::Doctor(asked) => doctor::run(cli, asked).await,
        Command::SupportBundle(asked) => support::run(cli, asked).await,
        Command::Hook(command) => hook::run(cli, command).await,
        Command::Decisions(asked) => decision_log::run(output, asked),
        Command::Metrics => {
            print!("{}", connect(cli).await?.metrics().await?.text);
            Ok(DONE)
        }
        Command::Reload => {
            let reloaded = connect(cli).await?.reload().await?;
            render::reloaded(output, &reloaded);
            Ok(if reloaded.accepted { DONE } else { DENIED })
        }
        Command::Cache(Cache::Stats) => {
            render::cache(output, &connect(cli).await?.cache_stats().await?);
            Ok(DONE)
        }
        Command::Cache(Cache::Clear) => {
            render::cleared(output, &connect(cli).await?.clear_cache().await?);
            Ok(DONE)
        }
    }
}

async fn explain(cli: &Cli, judge: &Judge) -> Result<proto::ExplainResponse, Failure> {
    match &judge.offline {
        Some(layout) => judge.offline(layout)?.explain(),
        None => connect(cli).await?.explain(&judge.reference).await,
    }
}

async fn tree(cli: &Cli, judge: &Judge) -> Result<proto::TreeResponse, Failure> {
    match &judge.offline {
        Some(layout) => judge.offline(layout)?.tree(),
        None => connect(cli).await?.tree(&judge.reference).await,
    }
}

async fn connect(cli: &Cli) -> Result<ControlClient, Failure> {
    connect_to(cli.socket.as_deref()).await
}

async fn connect_to(socket: Option<&Path>) -> Result<ControlClient, Failure> {
    let socket = match socket {
        Some(socket) => socket.to_owned(),
        None => {
            Config::load(None)
                .map_err(|error| Failure::Input(error.to_string()))?
                .control_socket
        }
    };
    ControlClient::connect(socket).await
}

fn exit_code(explained: &proto::ExplainResponse) -> u8 {
    let Some(verdict) = &explained.verdict else {
        return NOT_DECIDED;
    };
    if verdict.verdict() == proto::Verdict::Admit {
        return DONE;
    }
    verdict.code.parse::<Code>().map_or(DENIED, denied)
}

/// Whether everything that hangs on an image was seen: of what was not, nothing can be said.
fn seen(tree: &proto::TreeResponse) -> u8 {
    if tree.incomplete.is_empty() { DONE } else { NOT_DECIDED }
}

fn denied(code: Code) -> u8 {
    if code.is_inconclusive() { NOT_DECIDED } else { DENIED }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_that_was_not_seen_whole_is_not_decided() {
        let tree = |incomplete: &str| proto::TreeResponse {
            incomplete: incomplete.to_owned(),
            ..proto::TreeResponse::default()
        };
        assert_eq!(seen(&tree("")), DONE);
        assert_eq!(seen(&tree("the registry is away")), NOT_DECIDED);
        assert!(render::says_nothing_is_there(&tree("")));
        assert!(!render::says_nothing_is_there(&tree("the registry is away")));
    }
}
