//! assayd itself: whether it answers, under which policy, and what the hook does without it.

use std::fs;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use assay_proto::v1 as proto;
use assay_verify::limits::{MAX_BOOTSTRAP_LIST_SIZE, MAX_OBSERVE_FLAG_SIZE};
use assay_verify::untrusted::Untrusted;

use super::finding::{Finding, Kind};
use crate::admission::bootstrap_list::{self, Line};
use crate::ctl::Failure;
use crate::ctl::client::ControlClient;
use crate::ctl::node::command;
use crate::ctl::node::hook_files::{HookFiles, RootFile};

/// What the daemon says of itself.
pub(super) struct Answers {
    pub(super) status: proto::StatusResponse,
    sync: proto::SyncStatusResponse,
}

/// Asks the daemon.
pub(super) async fn ask(client: &mut ControlClient) -> Result<Answers, Failure> {
    Ok(Answers {
        status: client.status().await?,
        sync: client.sync_status().await?,
    })
}

pub(super) fn examine(answers: &Result<Answers, String>, files: &HookFiles) -> Vec<Finding> {
    let mut findings = match answers {
        Ok(answers) => policy(&answers.status)
            .into_iter()
            .chain(trust(&answers.sync))
            .collect(),
        Err(why) => vec![Finding::new(
            Kind::DaemonAway,
            why,
            "systemctl status assayd\njournalctl -u assayd -n 50",
        )],
    };
    findings.extend(socket(&files.socket));
    findings.extend(bootstrap(&files.bootstrap_list));
    findings.extend(observe(&files.observe_flag));
    findings
}

fn policy(status: &proto::StatusResponse) -> Option<Finding> {
    let policy = status.policy.as_ref()?;
    let error = policy
        .rejected_errors
        .first()
        .map(|error| Untrusted::new(error).to_string());
    let path = Untrusted::new(&policy.path);
    let mend = format!("assayctl policy check {path}");
    match (policy.revision.is_empty(), error) {
        (true, error) => Some(Finding::new(Kind::PolicyNone, error.unwrap_or(path.to_string()), mend)),
        (false, Some(error)) if policy.rejected_at != 0 => Some(Finding::new(Kind::PolicyRefused, error, mend)),
        _ => None,
    }
}

fn trust(sync: &proto::SyncStatusResponse) -> Option<Finding> {
    if sync.clock_behind {
        let mend = "timedatectl set-ntp true\ntimedatectl timesync-status    # or: chronyc tracking";
        let facts = "the clock is before a time that is known to have passed";
        return Some(Finding::new(Kind::ClockBehind, facts, mend));
    }
    let fails = !sync.error.is_empty() || matches!(sync.staleness.as_str(), "stale" | "expired");
    (!sync.repository.is_empty() && fails).then(|| {
        let facts = format!("{} {}", Untrusted::new(&sync.staleness), Untrusted::new(&sync.error));
        Finding::new(Kind::TrustNotFresh, facts.trim(), "assayctl sync status")
    })
}

/// Who can connect to the socket, and who could put another in its place.
fn socket(path: &Path) -> Option<Finding> {
    // A socket that is not there is a daemon that is away.
    let metadata = fs::metadata(path).ok()?;
    let folder = path.parent().and_then(|folder| fs::metadata(folder).ok());
    let mode = metadata.mode() & 0o7777;
    let mend = "chmod o= on the socket, chmod go-w on its folder; socket_mode of config.toml is \"0600\" or \"0660\"";
    if mode & 0o007 != 0 {
        let facts = format!("{} has mode {mode:04o}", path.display());
        return Some(Finding::new(Kind::SocketMode, facts, mend));
    }
    let folder = folder.filter(|folder| folder.mode() & 0o022 != 0 && folder.mode() & 0o1000 == 0)?;
    let facts = format!(
        "the folder of {} has mode {:04o}",
        path.display(),
        folder.mode() & 0o7777
    );
    Some(Finding::new(Kind::SocketMode, facts, mend))
}

fn bootstrap(path: &Path) -> Option<Finding> {
    let shown = path.display();
    match RootFile::read(path, MAX_BOOTSTRAP_LIST_SIZE) {
        RootFile::Absent => Some(Finding::new(
            Kind::NoBootstrapList,
            format!("there is no {shown}"),
            format!("assayctl bootstrap generate > {shown}    # and read it"),
        )),
        RootFile::NotObeyed(fault) => Some(Finding::new(
            Kind::BootstrapListNotObeyed,
            format!("{shown}: {fault}"),
            format!("chown root:root {shown}; chmod 0644 {shown}"),
        )),
        RootFile::Read(content) => {
            let malformed: Vec<_> = bootstrap_list::parse(&content)
                .into_iter()
                .filter(|(_, line)| *line == Line::Malformed)
                .map(|(number, _)| number.to_string())
                .collect();
            (!malformed.is_empty()).then(|| {
                Finding::new(
                    Kind::BootstrapListMalformed,
                    format!("{shown}, lines {}", malformed.join(", ")),
                    "registry.k8s.io/pause@sha256:...",
                )
            })
        }
    }
}

fn observe(path: &Path) -> Option<Finding> {
    let shown = path.display();
    match RootFile::read(path, MAX_OBSERVE_FLAG_SIZE) {
        RootFile::Absent => None,
        RootFile::Read(_) => Some(Finding::new(
            Kind::ObserveFlag,
            format!("there is {shown}"),
            "assayctl hook enable    # enforces, and says before what would be denied",
        )),
        RootFile::NotObeyed(fault) => Some(Finding::new(
            Kind::ObserveFlagNotObeyed,
            format!("{shown}: {fault}"),
            "assayctl hook enable --observe    # or without --observe",
        )),
    }
}

/// Whether something keeps the clock right, where systemd knows.
pub(super) async fn clock() -> Option<Finding> {
    let arguments = ["show", "--property=NTPSynchronized", "--value"];
    let said = command::output(Path::new("timedatectl"), &arguments).await.ok()?;
    (said.trim() == "no").then(|| {
        let facts = "timedatectl: NTPSynchronized=no";
        Finding::new(
            Kind::ClockUnsynchronised,
            facts,
            "timedatectl set-ntp true    # or a chrony that runs",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_without_a_good_policy_is_told_from_one_whose_last_good_policy_stands() {
        let status = |revision: &str, rejected_at, errors: &[&str]| proto::StatusResponse {
            policy: Some(proto::PolicyStatus {
                revision: revision.to_owned(),
                rejected_at,
                rejected_errors: errors.iter().map(ToString::to_string).collect(),
                ..proto::PolicyStatus::default()
            }),
            ..proto::StatusResponse::default()
        };
        for (status, expected) in [
            (status("r1", 0, &[]), None),
            (status("r1", 5, &["policy.toml:1: broken"]), Some(Kind::PolicyRefused)),
            (status("", 5, &["policy.toml:1: broken"]), Some(Kind::PolicyNone)),
            (status("", 0, &[]), Some(Kind::PolicyNone)),
        ] {
            assert_eq!(policy(&status).map(|finding| finding.kind), expected);
        }
    }

    #[test]
    fn trust_that_grows_old_and_a_clock_that_is_behind_are_found() {
        let sync = |repository: &str, staleness: &str, error: &str, clock_behind| proto::SyncStatusResponse {
            repository: repository.to_owned(),
            staleness: staleness.to_owned(),
            error: error.to_owned(),
            clock_behind,
            ..proto::SyncStatusResponse::default()
        };
        for (sync, expected) in [
            (sync("", "", "", false), None),
            (sync("https://p", "fresh", "", false), None),
            (sync("https://p", "stale", "", false), Some(Kind::TrustNotFresh)),
            (sync("https://p", "fresh", "away", false), Some(Kind::TrustNotFresh)),
            (sync("", "", "", true), Some(Kind::ClockBehind)),
        ] {
            assert_eq!(trust(&sync).map(|finding| finding.kind), expected);
        }
    }
}
