//! The real programs that assayd works with, taken from Debian's archive into a folder of the project's own.
//!
//! Nothing is installed on the system: a private apt list directory knows the suite that a package comes from,
//! `apt-get download` fetches and verifies, `dpkg -x` unpacks. The mirror is the one that the machine's own apt uses, so
//! no address is written here. Two processes that fetch at once wait for each other on a lock file.

use std::collections::BTreeSet;
use std::env;
use std::fmt;
use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};

/// Where apt finds what signs Debian's archive; the second name is the one of Debian 13 and later.
const KEYRINGS: [&str; 2] = [
    "/usr/share/keyrings/debian-archive-keyring.gpg",
    "/usr/share/keyrings/debian-archive-keyring.pgp",
];

/// Which suite a package comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Suite {
    /// Debian unstable: the only suite with containerd 2.1, notation and cosign 3.
    Sid,
    /// Debian 13: the suite with cosign 2.
    Trixie,
    /// The machine's own suite, for what needs the machine's C library.
    Own,
}

impl Suite {
    /// Its name in the archive, on a machine of the suite `own`.
    fn name(self, own: &str) -> &str {
        match self {
            Self::Sid => "sid",
            Self::Trixie => "trixie",
            Self::Own => own,
        }
    }
}

struct Package {
    name: &'static str,
    suite: Suite,
    /// Files that must be there once it is unpacked.
    programs: &'static [&'static str],
}

const PACKAGES: [Package; 5] = [
    Package {
        name: "containerd",
        suite: Suite::Sid,
        programs: &["usr/bin/containerd", "usr/bin/containerd-shim-runc-v2", "usr/bin/ctr"],
    },
    Package {
        name: "runc",
        suite: Suite::Own,
        programs: &["usr/sbin/runc"],
    },
    Package {
        name: "notation",
        suite: Suite::Sid,
        programs: &["usr/bin/notation"],
    },
    Package {
        name: "docker-registry",
        suite: Suite::Sid,
        programs: &["usr/bin/docker-registry"],
    },
    Package {
        name: "busybox-static",
        suite: Suite::Sid,
        programs: &["usr/bin/busybox"],
    },
];

/// A peer that is fetched by the first who needs it, into a folder of its own: two of them have files of the same name.
struct Apart {
    folder: &'static str,
    package: &'static str,
    suite: Suite,
    /// Where it is; `*` stands for the folder of the machine's architecture.
    program: &'static str,
    /// How its version must begin; another one behaves differently.
    series: &'static str,
    /// How the name of the package begins that it needs beside the C library. It may change with the suite, and not every
    /// architecture has it.
    library: Option<&'static str>,
}

impl Apart {
    /// Its program below the folder that it was unpacked into.
    fn find(&self, root: &Path) -> Option<PathBuf> {
        let Some((before, after)) = self.program.split_once("/*/") else {
            return Some(root.join(self.program)).filter(|program| program.is_file());
        };
        let folders = fs::read_dir(root.join(before)).ok()?.filter_map(Result::ok);
        let mut programs = folders.map(|folder| folder.path().join(after));
        programs.find(|program| program.is_file())
    }
}

/// The file that holds the version of a peer that is apart.
const VERSION: &str = "version";

const COSIGN_2: Apart = Apart {
    folder: "cosign-2",
    package: "cosign",
    suite: Suite::Trixie,
    program: "usr/bin/cosign",
    series: "2.",
    library: None,
};

const COSIGN_3: Apart = Apart {
    folder: "cosign-3",
    package: "cosign",
    suite: Suite::Sid,
    program: "usr/bin/cosign",
    series: "3.",
    library: None,
};

/// The series of Debian 13, which never calls a verifier.
const CONTAINERD_1: Apart = Apart {
    folder: "containerd-1",
    package: "containerd",
    suite: Suite::Trixie,
    program: "usr/bin/containerd",
    series: "1.",
    library: None,
};

/// Kills a process at a system call of one's choice.
const STRACE: Apart = Apart {
    folder: "strace",
    package: "strace",
    suite: Suite::Own,
    program: "usr/bin/strace",
    series: "",
    library: Some("libunwind"),
};

/// Gives a process another clock.
const FAKETIME: Apart = Apart {
    folder: "faketime",
    package: "libfaketime",
    suite: Suite::Own,
    program: "usr/lib/*/faketime/libfaketimeMT.so.1",
    series: "",
    library: None,
};

/// Checks and tests Prometheus' alert rules.
const PROMTOOL: Apart = Apart {
    folder: "prometheus",
    package: "prometheus",
    suite: Suite::Own,
    program: "usr/bin/promtool",
    series: "",
    library: None,
};

/// A peer of the machine's own suite that comes with the libraries it is linked with, whose names change with the suite
/// (libssl3, libssl3t64). It is fetched by the first who needs it, into a folder of its own.
pub(crate) struct Linked {
    folder: &'static str,
    package: &'static str,
    /// Where suites have put its program.
    programs: &'static [&'static str],
}

pub(crate) const OPENSSL: Linked = Linked {
    folder: "openssl",
    package: "openssl",
    programs: &["usr/bin/openssl"],
};

/// The web server that operators serve a policy repository with.
pub(crate) const NGINX: Linked = Linked {
    folder: "nginx",
    package: "nginx",
    programs: &["usr/sbin/nginx"],
};

/// Makes networks.
pub(crate) const IPROUTE2: Linked = Linked {
    folder: "iproute2",
    package: "iproute2",
    programs: &["usr/bin/ip", "bin/ip", "sbin/ip"],
};

/// The compiler of Protocol Buffers, which the build of the crate containerd-client asks.
const PROTOC: Linked = Linked {
    folder: "protoc",
    package: "protobuf-compiler",
    programs: &["usr/bin/protoc"],
};

/// A program, and where its libraries are.
#[derive(Clone, Debug)]
pub(crate) struct Program {
    path: PathBuf,
    libraries: Vec<PathBuf>,
}

impl Program {
    /// The machine's own program of this name, where `PATH` has one.
    pub(crate) fn on_path(name: &str) -> Option<Self> {
        let path = env::var_os("PATH").unwrap_or_default();
        let mut candidates = env::split_paths(&path).map(|folder| folder.join(name));
        let path = candidates.find(|program| program.is_file())?;
        Some(Self {
            path,
            libraries: vec![],
        })
    }

    /// Runs it with its libraries.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(&self.path);
        if !self.libraries.is_empty() {
            let libraries: Vec<_> = self
                .libraries
                .iter()
                .map(|folder| folder.display().to_string())
                .collect();
            command.env("LD_LIBRARY_PATH", libraries.join(":"));
        }
        command
    }
}

/// Real containerd, runc, notation, docker-registry and busybox on this machine's disk.
#[derive(Clone, Debug)]
pub struct Peers {
    root: PathBuf,
    versions: Vec<(String, String)>,
}

impl Peers {
    /// Fetches the peers, or finds them where an earlier call left them. Blocks for as long as the download takes.
    ///
    /// They live in `.lab/peers` of the workspace, or in `peers` of the folder that `ASSAY_LAB` names. Removing that
    /// folder makes the next call fetch what the archive has then.
    ///
    /// # Errors
    ///
    /// Names what is missing: Debian, a program, a keyring, the network, or a package that the archive no longer has.
    pub fn fetch() -> Result<Self> {
        let lab = env::var_os("ASSAY_LAB").map_or_else(|| crate::workspace().join(".lab"), PathBuf::from);
        Self::fetch_into(&lab.join("peers"))
    }

    fn fetch_into(folder: &Path) -> Result<Self> {
        fs::create_dir_all(folder).with_context(|| format!("cannot create {}", folder.display()))?;
        let lock = File::create(folder.join("lock")).context("cannot create the lock file of the peers")?;
        lock.lock().context("cannot lock the folder of the peers")?;

        if let Some(found) = Self::find(folder) {
            return Ok(found);
        }
        download(folder)?;
        Self::find(folder).with_context(|| format!("{} is incomplete after a fetch", folder.display()))
    }

    fn find(folder: &Path) -> Option<Self> {
        let root = folder.join("root");
        let complete = PACKAGES
            .iter()
            .flat_map(|package| package.programs)
            .all(|program| root.join(program).is_file());
        let versions = fs::read_to_string(folder.join("versions.tsv")).ok()?;
        let versions = versions.lines().filter_map(|line| line.split_once('\t'));
        complete.then(|| Self {
            root,
            versions: versions.map(|(name, is)| (name.into(), is.into())).collect(),
        })
    }

    /// Package names with their Debian versions, for reports.
    pub fn versions(&self) -> &[(String, String)] {
        &self.versions
    }

    /// containerd 2.1 or later.
    pub fn containerd(&self) -> PathBuf {
        self.root.join("usr/bin/containerd")
    }

    /// containerd's own command-line client.
    pub fn ctr(&self) -> PathBuf {
        self.root.join("usr/bin/ctr")
    }

    /// The Notary Project's command line.
    pub fn notation(&self) -> PathBuf {
        self.root.join("usr/bin/notation")
    }

    /// A registry without the referrers API.
    pub fn docker_registry(&self) -> PathBuf {
        self.root.join("usr/bin/docker-registry")
    }

    /// cosign 2, which signs under tags, and its Debian version. Fetched by the first call and not with the other peers.
    ///
    /// # Errors
    ///
    /// It cannot be fetched, or the archive has another series.
    pub fn cosign2(&self) -> Result<(PathBuf, String)> {
        self.apart(&COSIGN_2)
    }

    /// cosign 3, which signs in bundles, and its Debian version. Fetched by the first call and not with the other peers.
    ///
    /// # Errors
    ///
    /// It cannot be fetched, or the archive has another series.
    pub fn cosign3(&self) -> Result<(PathBuf, String)> {
        self.apart(&COSIGN_3)
    }

    /// containerd 1, which never calls a verifier, and its Debian version. Fetched by the first call and not with the other peers.
    ///
    /// # Errors
    ///
    /// It cannot be fetched, or the archive has another series.
    pub fn containerd1(&self) -> Result<(PathBuf, String)> {
        self.apart(&CONTAINERD_1)
    }

    /// strace of the machine's own suite, and the folders that may hold its libraries. Fetched by the first call and not
    /// with the other peers.
    pub(crate) fn strace(&self) -> Result<(PathBuf, Vec<PathBuf>)> {
        let (program, _) = self.apart(&STRACE)?;
        let root = program.ancestors().nth(3).context("strace is in no folder")?;
        let entries = fs::read_dir(root.join("usr/lib")).into_iter().flatten();
        let libraries = entries.filter_map(Result::ok).map(|entry| entry.path()).collect();
        Ok((program, libraries))
    }

    /// The library which, preloaded, gives a process another clock. Fetched by the first call and not with the other peers.
    ///
    /// # Errors
    ///
    /// It cannot be fetched.
    pub fn faketime(&self) -> Result<PathBuf> {
        Ok(self.apart(&FAKETIME)?.0)
    }

    /// Prometheus' own checker of alert rules. Fetched by the first call and not with the other peers.
    ///
    /// # Errors
    ///
    /// It cannot be fetched.
    pub fn promtool(&self) -> Result<PathBuf> {
        Ok(self.apart(&PROMTOOL)?.0)
    }

    /// A program for the variable `PROTOC` of a build: protoc with its libraries. Fetched by the first call and not with the
    /// other peers.
    ///
    /// # Errors
    ///
    /// It cannot be fetched.
    pub fn protoc(&self) -> Result<PathBuf> {
        let program = self.linked(&PROTOC)?;
        let (folder, _lock) = self.locked()?;
        let script = folder.join(PROTOC.folder).join("protoc");
        let libraries: Vec<_> = (program.libraries.iter())
            .map(|folder| folder.display().to_string())
            .collect();
        let content = format!(
            "#!/bin/sh\nLD_LIBRARY_PATH='{}' exec '{}' \"$@\"\n",
            libraries.join(":"),
            program.path.display()
        );
        if fs::read_to_string(&script).ok().as_ref() != Some(&content) {
            fs::write(&script, content)?;
            fs::set_permissions(&script, fs::Permissions::from_mode(0o755))?;
        }
        Ok(script)
    }

    fn apart(&self, peer: &Apart) -> Result<(PathBuf, String)> {
        let (folder, _lock) = self.locked()?;
        let root = folder.join(peer.folder);
        let version = root.join(VERSION);
        if peer.find(&root).is_none() || !version.is_file() {
            download_apart(folder, &root, peer)?;
        }
        let program = peer.find(&root);
        let program = program.with_context(|| format!("{} is incomplete after a fetch", root.display()))?;
        Ok((program, fs::read_to_string(version)?))
    }

    /// The folder of all peers, and the lock that whoever changes it holds.
    pub(crate) fn locked(&self) -> Result<(&Path, File)> {
        let folder = self.root.parent().context("the peers are in no folder")?;
        let lock = File::create(folder.join("lock")).context("cannot create the lock file of the peers")?;
        lock.lock().context("cannot lock the folder of the peers")?;
        Ok((folder, lock))
    }

    /// A program of the machine's own suite, fetched by the first call.
    pub(crate) fn linked(&self, peer: &Linked) -> Result<Program> {
        let (folder, _lock) = self.locked()?;
        let root = folder.join(peer.folder);
        let find = || {
            peer.programs
                .iter()
                .map(|program| root.join(program))
                .find(|path| path.is_file())
        };
        if find().is_none() {
            download_linked(folder, &root, peer)?;
        }
        let path = find().with_context(|| format!("Debian's {} is incomplete after a fetch", peer.package))?;
        // Libraries lie in one folder named by the architecture, below either of two.
        let mut libraries = vec![];
        for parent in ["usr/lib", "lib"] {
            let Ok(entries) = fs::read_dir(root.join(parent)) else {
                continue;
            };
            let folders = entries.filter_map(Result::ok).map(|entry| entry.path());
            libraries.extend(folders.filter(|path| the_only_file_of(path, "lib").is_ok()));
        }
        Ok(Program { path, libraries })
    }

    /// A static busybox, the content of test images.
    pub fn busybox(&self) -> PathBuf {
        self.root.join("usr/bin/busybox")
    }

    /// A `PATH` with which containerd finds its shim and runc, before the machine's own.
    pub fn path_variable(&self) -> String {
        let inherited = env::var("PATH").unwrap_or_default();
        format!("{0}/usr/bin:{0}/usr/sbin:{inherited}", self.root.display())
    }
}

impl fmt::Display for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let each: Vec<_> = self
            .versions
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        f.write_str(&each.join(", "))
    }
}

fn download(folder: &Path) -> Result<()> {
    let archive = Archive::prepare(folder, &[Suite::Sid, Suite::Own])?;

    let root = folder.join("root.partial");
    let debs = folder.join("debs");
    for directory in [&root, &debs] {
        remove_dir(directory)?;
        fs::create_dir_all(directory)?;
    }
    let suite = |package: &Package| archive.name(package.suite);
    let wanted: Vec<_> = PACKAGES
        .iter()
        .map(|package| format!("{}/{}", package.name, suite(package)))
        .collect();
    eprintln!("peers: fetching {}", wanted.join(", "));
    let arguments: Vec<_> = ["download"]
        .into_iter()
        .chain(wanted.iter().map(String::as_str))
        .collect();
    archive
        .apt_get(&arguments, &debs)
        .context("the peers cannot be fetched; the archive may have lost one")?;

    let mut versions = String::new();
    for package in &PACKAGES {
        let deb = the_only_file_of(&debs, &format!("{}_", package.name))?;
        let version = run(Command::new("dpkg-deb").arg("--field").arg(&deb).arg("Version"))?;
        run(Command::new("dpkg").arg("-x").arg(&deb).arg(&root))?;
        for program in package.programs {
            ensure!(
                root.join(program).is_file(),
                "{} {} no longer ships {program}",
                package.name,
                version.trim()
            );
        }
        eprintln!("peers: {} {} from {}", package.name, version.trim(), suite(package));
        versions.push_str(&format!("{}\t{}\n", package.name, version.trim()));
    }

    remove_dir(&debs)?;
    remove_dir(&folder.join("root"))?;
    fs::rename(&root, folder.join("root")).context("cannot move the unpacked peers to their place")?;
    fs::write(folder.join("versions.tsv"), versions).context("cannot write the list of versions")
}

fn download_apart(folder: &Path, root: &Path, peer: &Apart) -> Result<()> {
    let archive = Archive::prepare(folder, &[peer.suite])?;
    let suite = archive.name(peer.suite);
    let debs = folder.join(format!("{}.debs", peer.folder));
    let partial = folder.join(format!("{}.partial", peer.folder));
    for directory in [&debs, &partial] {
        remove_dir(directory)?;
        fs::create_dir_all(directory)?;
    }
    let wanted = format!("{}/{suite}", peer.package);
    eprintln!("peers: fetching {wanted}");
    archive
        .apt_get(&["download", &wanted], &debs)
        .with_context(|| format!("{wanted} cannot be fetched; the archive may have lost it"))?;
    let deb = the_only_file_of(&debs, &format!("{}_", peer.package))?;
    let version = run(Command::new("dpkg-deb").arg("--field").arg(&deb).arg("Version"))?;
    let version = version.trim();
    ensure!(
        version.starts_with(peer.series),
        "{wanted} is {version} by now; what is asked of it here needs {}*",
        peer.series
    );
    run(Command::new("dpkg").arg("-x").arg(&deb).arg(&partial))?;
    if let Some(library) = peer.library {
        let depends = run(Command::new("dpkg-deb").arg("--field").arg(&deb).arg("Depends"))?;
        if let Some(name) = depends.split([',', ' ', '\n']).find(|word| word.starts_with(library)) {
            archive
                .apt_get(&["download", &format!("{name}/{suite}")], &debs)
                .with_context(|| format!("{name} cannot be fetched; the archive may have lost it"))?;
            let deb = the_only_file_of(&debs, &format!("{name}_"))?;
            run(Command::new("dpkg").arg("-x").arg(&deb).arg(&partial))?;
        }
    }
    ensure!(
        peer.find(&partial).is_some(),
        "{} {version} no longer ships {}",
        peer.package,
        peer.program
    );
    eprintln!("peers: {} {version} from {suite}", peer.package);
    fs::write(partial.join(VERSION), version)?;
    remove_dir(&debs)?;
    remove_dir(root)?;
    fs::rename(&partial, root).with_context(|| format!("cannot move the unpacked {} to its place", peer.package))
}

/// A package with every library that it depends on, but the C library, which is the machine's own.
fn download_linked(folder: &Path, root: &Path, peer: &Linked) -> Result<()> {
    let archive = Archive::prepare(folder, &[Suite::Own])?;
    let (debs, partial) = (
        folder.join(format!("{}.debs", peer.folder)),
        folder.join(format!("{}.partial", peer.folder)),
    );
    for directory in [&debs, &partial] {
        remove_dir(directory)?;
        fs::create_dir_all(directory)?;
    }
    let is_library = |name: &str| (name.starts_with("lib") || name.starts_with("zlib")) && name != "libc6";
    let mut seen = BTreeSet::from([peer.package.to_owned()]);
    let mut wanted = vec![peer.package.to_owned()];
    while let Some(name) = wanted.pop() {
        eprintln!("peers: fetching {name}/{}", archive.codename);
        archive
            .apt_get(&["download", &format!("{name}/{}", archive.codename)], &debs)
            .with_context(|| format!("{name} cannot be fetched; the archive may have lost it"))?;
        let deb = the_only_file_of(&debs, &format!("{name}_"))?;
        run(Command::new("dpkg").arg("-x").arg(&deb).arg(&partial))?;
        let depends = run(Command::new("dpkg-deb").arg("--field").arg(deb).arg("Depends"))?;
        // Of alternatives the first. A name may be followed by a version and an architecture.
        let names = depends
            .split(',')
            .filter_map(|one| one.split([' ', ':', '|', '\n']).find(|word| !word.is_empty()));
        for name in names.filter(|name| is_library(name)) {
            if seen.insert(name.to_owned()) {
                wanted.push(name.to_owned());
            }
        }
    }
    remove_dir(&debs)?;
    remove_dir(root)?;
    fs::rename(&partial, root).with_context(|| format!("cannot move the unpacked {} to its place", peer.package))
}

/// Debian's archive as this machine reaches it, with a list directory of its own.
struct Archive {
    codename: String,
    options: Vec<String>,
}

impl Archive {
    /// Reads the package lists of these suites.
    fn prepare(folder: &Path, suites: &[Suite]) -> Result<Self> {
        let release = fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?;
        let field = |name: &str| {
            let value = release
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
            value.map(|value| value.trim_matches('"').to_owned())
        };
        let is_debian = field("ID").as_deref() == Some("debian");
        ensure!(
            is_debian,
            "the peers come from Debian's archive and this machine is not Debian"
        );
        let codename = field("VERSION_CODENAME").context("/etc/os-release names no VERSION_CODENAME")?;

        // What apt knows from downloaded lists comes first: it says whose archive each is. On a machine that has not run
        // `apt-get update` there is only what the sources say, and the keyring decides.
        let targets = [
            &["--format", "$(CODENAME)|$(COMPONENT)|$(ORIGIN)|$(REPO_URI)"][..],
            &[
                "--no-release-info",
                "--format",
                "$(RELEASE)|$(COMPONENT)|Debian|$(REPO_URI)",
            ],
        ];
        let targets = targets.map(|arguments| run(Command::new("apt-get").arg("indextargets").args(arguments)));
        let [known, configured] = targets;
        let targets = known? + &configured?;
        let wanted = format!("{codename}|main|Debian|");
        let mirror = targets.lines().find_map(|line| line.strip_prefix(&wanted));
        let mirror = mirror.map(|uri| uri.trim_end_matches('/').to_owned());
        let mirror = mirror.with_context(|| format!("apt on this machine knows no mirror of Debian's {codename}"))?;
        let Some(keyring) = KEYRINGS.iter().find(|path| Path::new(path).is_file()) else {
            bail!("no keyring for Debian's archive; install the package debian-archive-keyring");
        };

        let apt = folder.join("apt");
        fs::create_dir_all(apt.join("lists/partial"))?;
        fs::create_dir_all(apt.join("cache/archives/partial"))?;
        let names: BTreeSet<_> = suites.iter().map(|suite| suite.name(&codename)).collect();
        let lines = names
            .iter()
            .map(|suite| format!("deb [signed-by={keyring}] {mirror} {suite} main\n"));
        fs::write(apt.join("sources.list"), lines.collect::<String>())?;
        let names: Vec<_> = names.into_iter().collect();
        eprintln!(
            "peers: reading the package lists of {} from {mirror}",
            names.join(" and ")
        );
        let options = [
            format!("Dir::Etc::sourcelist={}/sources.list", apt.display()),
            "Dir::Etc::sourceparts=/dev/null".into(),
            format!("Dir::State::lists={}/lists", apt.display()),
            format!("Dir::Cache={}/cache", apt.display()),
            "APT::Sandbox::User=root".into(),
            "Acquire::Languages=none".into(),
            "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false".into(),
            "Acquire::Retries=3".into(),
            "APT::Update::Error-Mode=any".into(),
        ];
        let archive = Self {
            codename,
            options: options.into(),
        };
        archive
            .apt_get(&["update"], folder)
            .context("the package lists cannot be read")?;
        Ok(archive)
    }

    fn name(&self, suite: Suite) -> &str {
        suite.name(&self.codename)
    }

    fn apt_get(&self, arguments: &[&str], directory: &Path) -> Result<()> {
        let options = self.options.iter().flat_map(|option| ["-o", option]);
        run(Command::new("apt-get")
            .arg("-qq")
            .args(options)
            .args(arguments)
            .current_dir(directory))
        .map(drop)
    }
}

fn the_only_file_of(folder: &Path, prefix: &str) -> Result<PathBuf> {
    let mut found = fs::read_dir(folder)?.filter_map(Result::ok).map(|entry| entry.path());
    found
        .find(|path| {
            path.file_name()
                .is_some_and(|name| name.to_string_lossy().starts_with(prefix))
        })
        .with_context(|| format!("{} has no file {prefix}*", folder.display()))
}

fn remove_dir(directory: &Path) -> Result<()> {
    match fs::remove_dir_all(directory) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", directory.display()))
        }
        _ => Ok(()),
    }
}

fn run(command: &mut Command) -> Result<String> {
    let program = command.get_program().to_string_lossy().into_owned();
    let output = command.output().with_context(|| format!("cannot run {program}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{program} failed ({}): {}",
        output.status,
        said.trim()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
