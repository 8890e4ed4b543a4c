//! The containerd of this node: which one runs, with which configuration, and what it says that comes to.

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs;
use std::io::Read as _;
use std::os::unix::ffi::OsStrExt as _;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use assay_verify::limits::MAX_PROGRAM_OUTPUT;
use assay_verify::untrusted::Untrusted;
use clap::Args;
use thiserror::Error;

use super::command::{self, CommandError};
use super::effective::{Effective, EffectiveError};
use super::imports;
use super::version::Version;

/// Where containerd looks unless told.
const DEFAULT_CONFIG: &str = "/etc/containerd/config.toml";
/// The socket that the kubelet asks unless told: who serves it is meant where several containerds run.
const DEFAULT_SOCKET: &str = "/run/containerd/containerd.sock";

/// Which containerd is meant.
#[derive(Args, Clone, Debug, Default)]
pub(in crate::ctl) struct Which {
    /// containerd's configuration file [default: that of the running containerd]
    #[arg(long, value_name = "FILE")]
    pub(in crate::ctl) containerd_config: Option<PathBuf>,
    /// containerd's program [default: the one that runs]
    #[arg(long, value_name = "PROGRAM")]
    containerd: Option<PathBuf>,
}

/// A containerd that runs in this mount namespace.
#[derive(Clone, Debug)]
pub(in crate::ctl) struct Running {
    pub(in crate::ctl) pid: u32,
    /// Its program, also when the file has been replaced since.
    program: PathBuf,
    /// Whether it has.
    pub(in crate::ctl) replaced: bool,
    pub(in crate::ctl) started: Option<SystemTime>,
    config: PathBuf,
    /// Its socket, where the command line says so.
    address: Option<PathBuf>,
    /// What its verifiers inherit.
    pub(in crate::ctl) environment: BTreeMap<String, PathBuf>,
}

/// What is known of the node's containerd.
#[derive(Debug)]
pub(in crate::ctl) struct Containerd {
    pub(in crate::ctl) running: Option<Running>,
    /// Its program, which can be asked what it makes of another file.
    program: PathBuf,
    pub(in crate::ctl) config_file: PathBuf,
    /// The files that are imported, as far as they can be told.
    pub(in crate::ctl) imported: Vec<PathBuf>,
    pub(in crate::ctl) version: Version,
    pub(in crate::ctl) effective: Effective,
}

/// Why nothing is known of it.
#[derive(Debug, Error)]
pub(in crate::ctl) enum ContainerdError {
    #[error("no containerd runs here, and none is on PATH: --containerd and --containerd-config name it")]
    Absent,
    #[error("several containerds run here ({0}): --containerd-config names the one that is meant")]
    Several(String),
    #[error("{0} --version says \"{1}\", which is no containerd's version")]
    Version(PathBuf, Untrusted),
    #[error("{program} --config {config} config dump: {error}")]
    Dump {
        program: PathBuf,
        config: PathBuf,
        error: CommandError,
    },
    #[error(transparent)]
    Command(#[from] CommandError),
    #[error(transparent)]
    Effective(#[from] EffectiveError),
}

impl Containerd {
    /// Asks the node's containerd. `proc` is where the system's processes are told, proc(5).
    pub(in crate::ctl) async fn inspect(which: &Which, proc: &Path) -> Result<Self, ContainerdError> {
        let running = choose(processes(proc), which.containerd_config.as_deref())?;
        let program = match (&which.containerd, &running) {
            (Some(program), _) => program.clone(),
            (None, Some(running)) => running.program.clone(),
            (None, None) => PathBuf::from("containerd"),
        };
        let config_file = match (&which.containerd_config, &running) {
            (Some(config), _) => config.clone(),
            (None, Some(running)) => running.config.clone(),
            (None, None) => DEFAULT_CONFIG.into(),
        };
        let printed = match command::output(&program, &["--version"]).await {
            Err(error) if error.is_absent() && which.containerd.is_none() => return Err(ContainerdError::Absent),
            printed => printed?,
        };
        let version =
            Version::parse(&printed).ok_or_else(|| ContainerdError::Version(program.clone(), printed.trim().into()))?;
        let mut effective = Effective::parse(&dump(&program, &config_file).await?)?;
        if let Some(address) = running.as_ref().and_then(|running| running.address.clone()) {
            effective.grpc.address = address;
        }
        // A configuration that containerd reads and assayctl cannot follow is no reason to say nothing of it.
        let files = imports::load(&config_file).unwrap_or_default();
        Ok(Self {
            running,
            program,
            imported: files.into_iter().skip(1).map(|file| file.path).collect(),
            config_file,
            version,
            effective,
        })
    }

    /// What this containerd prints of another main file.
    pub(in crate::ctl) async fn dump(&self, config: &Path) -> Result<String, ContainerdError> {
        dump(&self.program, config).await
    }

    /// The files that make up the configuration and are newer than the process that should have read them.
    pub(in crate::ctl) fn unread(&self) -> Vec<PathBuf> {
        let Some(started) = self.running.as_ref().and_then(|running| running.started) else {
            return Vec::new();
        };
        // A process's start is known to a hundredth of a second, and the boot's to a second.
        let started = started + Duration::from_secs(1);
        let files = std::iter::once(&self.config_file).chain(&self.imported);
        let is_newer = |file: &&PathBuf| {
            let changed = fs::metadata(file).and_then(|metadata| metadata.modified());
            changed.is_ok_and(|changed| changed > started)
        };
        files.filter(is_newer).cloned().collect()
    }
}

/// What containerd makes of a configuration file.
async fn dump(program: &Path, config: &Path) -> Result<String, ContainerdError> {
    let arguments = [
        OsStr::new("--config"),
        config.as_os_str(),
        OsStr::new("config"),
        OsStr::new("dump"),
    ];
    let dumped = command::output(program, &arguments).await;
    dumped.map_err(|error| ContainerdError::Dump {
        program: program.to_owned(),
        config: config.to_owned(),
        error,
    })
}

fn choose(mut running: Vec<Running>, config: Option<&Path>) -> Result<Option<Running>, ContainerdError> {
    if let Some(config) = config {
        running.retain(|running| running.config == config);
    }
    if running.len() > 1 {
        // Docker's own containerd runs beside the kubelet's, with its own socket on its command line or in its file.
        let serves = |running: &&Running| match &running.address {
            Some(address) => address == Path::new(DEFAULT_SOCKET),
            None => running.config == Path::new(DEFAULT_CONFIG),
        };
        let usual: Vec<_> = running.iter().filter(serves).cloned().collect();
        if usual.len() != 1 {
            let each = running
                .iter()
                .map(|running| format!("{} with {}", running.pid, running.config.display()));
            return Err(ContainerdError::Several(each.collect::<Vec<_>>().join(", ")));
        }
        running = usual;
    }
    Ok(running.pop())
}

/// The containerds of this mount namespace. What cannot be read is somebody else's.
fn processes(proc: &Path) -> Vec<Running> {
    let Ok(entries) = fs::read_dir(proc) else {
        return Vec::new();
    };
    let own = fs::read_link(proc.join("self/ns/mnt")).ok();
    let booted = booted(proc);
    let process = |entry: fs::DirEntry| {
        let pid: u32 = entry.file_name().to_str()?.parse().ok()?;
        let folder = entry.path();
        if read(&folder.join("comm"))? != b"containerd\n" || fs::read_link(folder.join("ns/mnt")).ok() != own {
            return None;
        }
        let link = fs::read_link(folder.join("exe")).ok()?;
        let arguments = Arguments::parse(&read(&folder.join("cmdline"))?);
        let folder_of = fs::read_link(folder.join("cwd")).unwrap_or_else(|_| "/".into());
        Some(Running {
            pid,
            program: folder.join("exe"),
            replaced: link.as_os_str().as_bytes().ends_with(b" (deleted)"),
            started: booted.and_then(|booted| started(&read(&folder.join("stat"))?, booted)),
            config: folder_of.join(arguments.config.unwrap_or_else(|| DEFAULT_CONFIG.into())),
            address: arguments.address,
            environment: environment(&read(&folder.join("environ")).unwrap_or_default()),
        })
    };
    entries.filter_map(|entry| process(entry.ok()?)).collect()
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut content = Vec::new();
    let file = fs::File::open(path).ok()?;
    file.take(MAX_PROGRAM_OUTPUT as u64).read_to_end(&mut content).ok()?;
    Some(content)
}

/// What matters of a containerd's command line.
#[derive(Debug, Default, PartialEq)]
struct Arguments {
    config: Option<PathBuf>,
    address: Option<PathBuf>,
}

impl Arguments {
    /// Reads `/proc/PID/cmdline`: arguments that end with a zero.
    fn parse(line: &[u8]) -> Self {
        let mut arguments = Self::default();
        let mut words = line.split(|byte| *byte == 0).skip(1);
        while let Some(word) = words.next() {
            let (name, attached) = split(word);
            let slot = match name {
                b"--config" | b"-config" | b"-c" | b"--c" => &mut arguments.config,
                b"--address" | b"-address" | b"-a" | b"--a" => &mut arguments.address,
                _ => continue,
            };
            *slot = attached
                .or_else(|| words.next())
                .map(|value| PathBuf::from(OsStr::from_bytes(value)));
        }
        arguments
    }
}

/// What stands before the first `=`, and after it.
fn split(word: &[u8]) -> (&[u8], Option<&[u8]>) {
    let mut parts = word.splitn(2, |byte| *byte == b'=');
    (parts.next().unwrap_or_default(), parts.next())
}

fn environment(block: &[u8]) -> BTreeMap<String, PathBuf> {
    let variable = |entry: &[u8]| {
        let (name, value) = split(entry);
        let name = std::str::from_utf8(name).ok()?;
        let value = value.filter(|_| name.starts_with("ASSAYD_"))?;
        Some((name.to_owned(), PathBuf::from(OsStr::from_bytes(value))))
    };
    block.split(|byte| *byte == 0).filter_map(variable).collect()
}

/// When the system was booted, by `/proc/stat`.
fn booted(proc: &Path) -> Option<SystemTime> {
    let stat = String::from_utf8(read(&proc.join("stat"))?).ok()?;
    let seconds = stat.lines().find_map(|line| line.strip_prefix("btime "))?;
    Some(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds.trim().parse().ok()?))
}

/// When a process started: the 22nd field of its `stat`, in hundredths of a second since the boot (proc(5); USER_HZ is 100 on
/// every architecture that containerd is built for). The second field may hold anything, up to the last closing parenthesis.
fn started(stat: &[u8], booted: SystemTime) -> Option<SystemTime> {
    let stat = std::str::from_utf8(stat).ok()?;
    let (_, after) = stat.rsplit_once(')')?;
    let ticks: u64 = after.split_whitespace().nth(19)?.parse().ok()?;
    Some(booted + Duration::from_millis(ticks.checked_mul(10)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn running(config: &str, address: Option<&str>) -> Running {
        Running {
            pid: 1,
            program: "/proc/1/exe".into(),
            replaced: false,
            started: None,
            config: config.into(),
            address: address.map(Into::into),
            environment: BTreeMap::new(),
        }
    }

    #[test]
    fn reads_configuration_and_socket_off_a_command_line() {
        let parse = |line: &str| Arguments::parse(line.replace(' ', "\0").as_bytes());
        let some = |text: &str| Some(PathBuf::from(text));
        for (line, config, address) in [
            ("containerd", None, None),
            ("containerd --config /c --address=/s", some("/c"), some("/s")),
            (
                "containerd -c /k3s/config.toml -a /run/k3s/containerd/containerd.sock --state /s",
                some("/k3s/config.toml"),
                some("/run/k3s/containerd/containerd.sock"),
            ),
            ("containerd --log-level debug --config", None, None),
        ] {
            assert_eq!(parse(line), Arguments { config, address }, "{line}");
        }
    }

    #[test]
    fn of_several_the_one_is_meant_that_is_named_or_serves_the_kubelet() {
        let docker = || running("/var/run/docker/containerd/containerd.toml", None);
        let node = || running(DEFAULT_CONFIG, None);
        let chosen = choose(vec![docker(), node()], None).unwrap().unwrap();
        assert_eq!(chosen.config, Path::new(DEFAULT_CONFIG));
        let chosen = choose(vec![docker(), node()], Some(&docker().config)).unwrap().unwrap();
        assert_eq!(chosen.config, docker().config);
        assert!(choose(vec![docker(), running("/b", None)], None).is_err());
        assert!(choose(vec![node()], Some(Path::new("/other"))).unwrap().is_none());
    }

    #[test]
    fn a_process_started_so_many_ticks_after_the_boot() {
        let boot = SystemTime::UNIX_EPOCH + Duration::from_secs(1000);
        let stat = b"7 (a) b) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 250 20\n";
        assert_eq!(started(stat, boot), Some(boot + Duration::from_millis(2500)));
        assert_eq!(started(b"7 (a) S 1", boot), None);
    }

    #[test]
    fn only_the_projects_own_variables_are_kept() {
        let kept = environment(b"SECRET=x\0ASSAYD_OBSERVE_FLAG=/f\0");
        assert_eq!(kept, BTreeMap::from([("ASSAYD_OBSERVE_FLAG".to_owned(), "/f".into())]));
    }
}
