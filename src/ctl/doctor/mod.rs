//! `assayctl doctor`: whether what protects this node works. A hook that nobody asks looks exactly like one that admits, so
//! everything in which they differ is looked at.

mod canary;
mod containerd;
mod daemon;
mod distribution;
mod finding;
mod fix;
mod folder;
mod journal;
mod setting;

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::{Value, json};

use self::daemon::Answers;
use self::distribution::Distribution;
use self::finding::{Area, Finding, Kind, Severity};
use super::node::containerd::{Containerd, ContainerdError, Which};
use super::node::hook_files::{HookFiles, VERIFIER};
use super::node::version::Verifies;
use super::render::time;
use super::{Cli, DENIED, DONE, Failure, NOT_DECIDED, Output, connect_to};

/// Nothing is wrong, and something should be known.
const WARNED: u8 = 4;

#[derive(Args)]
pub(super) struct Doctor {
    /// The installed hook
    #[arg(long, value_name = "PROGRAM", default_value = VERIFIER)]
    verifier: PathBuf,
    #[command(flatten)]
    pub(super) containerd: Which,
    /// Do not pull the canary, and so prove nothing
    #[arg(long)]
    no_canary: bool,
}

/// What is done about what is found.
#[derive(Args)]
pub(super) struct Examination {
    #[command(flatten)]
    doctor: Doctor,
    /// Show the drop-in of containerd's that mends what one can mend, and write it where you say so. The exit code is that of what is
    /// left
    #[arg(long)]
    fix: bool,
    /// Write it without asking
    #[arg(long, requires = "fix")]
    yes: bool,
    /// With --yes: also write the line that has the drop-in read, where containerd's configuration imports nothing
    #[arg(long, requires = "yes")]
    edit_config: bool,
    /// Write to the journal what differs from the last time, which is remembered in this file
    #[arg(long, value_name = "FILE", conflicts_with = "fix")]
    journal_changes: Option<PathBuf>,
}

pub(super) const EXIT_CODES: &str = "Exit codes:\n  0  sound\n  1  images are unpacked that nobody judged, or denied for another reason than the \
                          policy\n  2  usage\n  3  something could not be looked at, and nothing else is wrong\n  4  warnings only";

/// All that was seen.
pub(super) struct Report {
    findings: Vec<Finding>,
    /// One line for each area, for when it is sound.
    sound: Vec<(Area, String)>,
}

pub(super) async fn run(cli: &Cli, asked: &Examination) -> Result<u8, Failure> {
    if asked.fix {
        return fix::run(cli, asked).await;
    }
    let report = examine(cli.socket.as_deref(), &asked.doctor).await;
    match cli.output {
        Output::Json => println!("{}", report.to_json()),
        Output::Human => report.print(),
    }
    if let Some(file) = &asked.journal_changes {
        journal::record(&report.findings, file)?;
    }
    Ok(report.exit_code())
}

/// Looks at all of it. `socket` is the daemon's, where it is not as in config.toml.
pub(super) async fn examine(socket: Option<&Path>, asked: &Doctor) -> Report {
    look(socket, asked, !asked.no_canary).await.0
}

/// The same, and the containerd that was looked at.
async fn look(socket: Option<&Path>, asked: &Doctor, canary: bool) -> (Report, Result<Containerd, ContainerdError>) {
    let containerd = Containerd::inspect(&asked.containerd, Path::new("/proc")).await;
    let mut report = Report {
        findings: Vec::new(),
        sound: Vec::new(),
    };
    let running = containerd
        .as_ref()
        .ok()
        .and_then(|containerd| containerd.running.as_ref());
    let files = HookFiles::of(running);
    match &containerd {
        Ok(containerd) => {
            let effective = &containerd.effective;
            report.findings.extend(containerd::examine(containerd));
            // One without verifiers has no folder of them, and no link mends that.
            let has_verifiers = containerd.version.verifies() != Verifies::Nothing;
            if has_verifiers {
                report.findings.extend(folder::examine(effective, &asked.verifier));
            }
            let config = containerd.config_file.display();
            let imports = match containerd.imported.len() {
                0 => String::new(),
                1 => " and the file it imports".to_owned(),
                count => format!(" and the {count} files it imports"),
            };
            report.sound(
                Area::Containerd,
                format!("{}, set up by {config}{imports}", containerd.version),
            );
            if asks_verifiers(&report.findings) {
                report.sound(Area::Pulls, "CRI pulls ask image verifiers");
            }
            if has_verifiers {
                report.sound(
                    Area::Folder,
                    format!("{} has the hook", effective.verifiers.bin_dir.display()),
                );
            }
        }
        Err(error) => report.findings.push(Finding::new(
            Kind::ContainerdUnknown,
            error.to_string(),
            "containerd --config FILE config dump    # as root; --containerd and --containerd-config name them",
        )),
    }
    let answers = match connect_to(socket).await {
        Ok(mut client) => daemon::ask(&mut client).await,
        Err(failure) => Err(failure),
    };
    let answers = answers.map_err(|failure| match failure {
        Failure::Daemon(why) | Failure::Input(why) => why,
    });
    report.findings.extend(daemon::examine(&answers, &files));
    if let Ok(answers) = &answers {
        report.sound(Area::Daemon, daemon_line(answers));
    }
    if let (Ok(containerd), true) = (&containerd, canary) {
        match canary::prove(socket, containerd, &files).await {
            Ok(line) => report.sound(Area::Proof, line),
            Err(finding) => report.findings.push(*finding),
        }
    }
    report.findings.extend(daemon::clock().await);
    report.sound(Area::Node, "the clock is not known to be wrong");
    let distribution = Distribution::of(Path::new("/"));
    for finding in &mut report.findings {
        finding.note = distribution.note(finding.kind);
    }
    report
        .findings
        .sort_by_key(|finding| (finding.kind.severity(), finding.kind));
    (report, containerd)
}

/// Whether this containerd, by its version and its plugins, asks verifiers at all: where it does not, its settings say nothing.
fn asks_verifiers(findings: &[Finding]) -> bool {
    let of_containerd = |finding: &&Finding| finding.kind.area() == Area::Containerd;
    let is_deaf = |kind: Kind| kind.severity() == Severity::Bypass || kind == Kind::CriDisabled;
    !findings
        .iter()
        .filter(of_containerd)
        .any(|finding| is_deaf(finding.kind))
}

fn daemon_line(answers: &Answers) -> String {
    let policy = answers
        .status
        .policy
        .as_ref()
        .map_or("none", |policy| policy.revision.as_str());
    let hooks: Vec<_> = answers
        .status
        .last_verdict_at
        .iter()
        .map(|(hook, at)| format!("{hook} asked last {}", time(*at)))
        .collect();
    let asked = if hooks.is_empty() {
        "nobody has asked yet".to_owned()
    } else {
        hooks.join(", ")
    };
    format!("policy {policy} is in force; {asked}")
}

impl Report {
    fn sound(&mut self, area: Area, line: impl Into<String>) {
        self.sound.push((area, line.into()));
    }

    fn has(&self, severity: Severity) -> bool {
        self.findings.iter().any(|finding| finding.kind.severity() == severity)
    }

    fn exit_code(&self) -> u8 {
        match () {
            () if self.has(Severity::Bypass) || self.has(Severity::Blocked) => DENIED,
            () if self.has(Severity::Unknown) => NOT_DECIDED,
            () if self.has(Severity::Warning) => WARNED,
            () => DONE,
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "sound": self.exit_code() == DONE,
            "findings": self.findings.iter().map(Finding::to_json).collect::<Vec<_>>(),
        })
    }

    fn print(&self) {
        for area in Area::ALL {
            let is_touched = self.findings.iter().any(|finding| finding.kind.area() == area);
            let line = self.sound.iter().find(|(of, _)| *of == area);
            if let Some((_, line)) = line.filter(|_| !is_touched) {
                println!("OK       {}: {line}", area.word());
            }
        }
        for finding in &self.findings {
            println!("{finding}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_containerd_that_never_asks_no_setting_is_called_sound() {
        for (kind, asks) in [
            (Kind::ContainerdTooOld, false),
            (Kind::ContainerdWithoutCri, false),
            (Kind::VerifierPluginDisabled, false),
            (Kind::CriDisabled, false),
            (Kind::ContainerdNotRestarted, true),
            (Kind::BinDirEmpty, true),
        ] {
            assert_eq!(asks_verifiers(&[Finding::new(kind, "", "")]), asks, "{}", kind.word());
        }
    }

    #[test]
    fn the_exit_code_is_that_of_the_worst_finding() {
        let code = |kinds: &[Kind]| {
            let findings = kinds.iter().map(|kind| Finding::new(*kind, "", "")).collect();
            Report {
                findings,
                sound: Vec::new(),
            }
            .exit_code()
        };
        assert_eq!(code(&[]), DONE);
        assert_eq!(code(&[Kind::ObserveFlag]), WARNED);
        assert_eq!(code(&[Kind::ObserveFlag, Kind::CriAway]), NOT_DECIDED);
        assert_eq!(code(&[Kind::ObserveFlag, Kind::CriAway, Kind::DaemonAway]), DENIED);
        assert_eq!(code(&[Kind::ObserveFlag, Kind::LocalPull]), DENIED);
    }
}
