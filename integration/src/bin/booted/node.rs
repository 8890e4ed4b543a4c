//! A whole node: a Debian root with systemd and journald, booted in a container and thrown away.

use std::fs;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};
use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

/// What a node has beside the essentials. rpm and dnf are there for the other kind of package, runc for containerd.
const PACKAGES: &str = "systemd,systemd-sysv,dbus,ca-certificates,procps,rpm,dnf,runc";

/// The file of a root that names what it was made with.
const MADE_WITH: &str = "etc/made-with";

/// How long a node may take to boot.
const BOOT: Duration = Duration::from_secs(120);

/// A booted node. Dropping it ends it, and nothing of it is left.
pub(crate) struct Node {
    container: Child,
    /// Its first process, as this machine sees it.
    init: i32,
}

impl Node {
    /// Boots a node of a Debian suite, with files and folders of this machine, to be read alone, where `shown` says.
    pub(crate) fn boot(suite: &str, lab: &Path, shown: &[(PathBuf, &str)]) -> Result<Self> {
        let root = root(suite, lab)?;
        // systemd-nspawn wants the unified hierarchy, whatever the machine has.
        // Images are unpacked into a file system of their own: the node's root is an overlay, and one cannot lie on another.
        let script = "umount -R /sys/fs/cgroup 2>/dev/null; mount -t cgroup2 cgroup2 /sys/fs/cgroup && exec systemd-nspawn \
                      --register=no --keep-unit --quiet --console=read-only --volatile=overlay \
                      --tmpfs=/var/lib/containerd:mode=0711 \"$@\" -b";
        let container = Command::new("unshare")
            .args(["--mount", "--propagation", "private", "sh", "-c", script, "sh"])
            .arg("-D")
            .arg(&root)
            .args(
                shown
                    .iter()
                    .map(|(from, to)| format!("--bind-ro={}:{to}", from.display())),
            )
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0)
            .spawn()
            .context("unshare cannot be run")?;
        let mut node = Self { container, init: 0 };
        node.wait_until_booted()?;
        Ok(node)
    }

    fn wait_until_booted(&mut self) -> Result<()> {
        let started = Instant::now();
        while started.elapsed() < BOOT {
            if let Some(status) = self.container.try_wait()? {
                bail!("the node ended while it booted ({status}): systemd-nspawn says why, above");
            }
            // unshare executes sh, and that systemd-nspawn, whose one child is the node's init.
            let children = format!("/proc/{0}/task/{0}/children", self.container.id());
            let children = fs::read_to_string(children).unwrap_or_default();
            if let Some(init) = children.split_whitespace().last().and_then(|pid| pid.parse().ok()) {
                self.init = init;
                let state = self.output("systemctl is-system-running --wait 2>/dev/null")?;
                // In a container some unit that wants hardware may fail.
                if ["running\n", "degraded\n"].contains(&String::from_utf8_lossy(&state.stdout).as_ref()) {
                    return Ok(());
                }
            }
            std::thread::sleep(Duration::from_millis(200));
        }
        bail!("the node did not boot within {} s", BOOT.as_secs())
    }

    /// Runs a shell script on the node and returns all it says. A script that fails is an error.
    pub(crate) fn run(&self, script: &str) -> Result<String> {
        let output = self.output(&format!("set -e\nexec 2>&1\n{script}"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        ensure!(
            output.status.success(),
            "{script}\nended with {}:\n{said}",
            output.status
        );
        Ok(said)
    }

    /// Starts a script on the node that goes on beside what comes next.
    pub(crate) fn start(&self, script: &str) -> Result<Child> {
        self.command(script).spawn().context("nsenter cannot be run")
    }

    /// Writes a file of the node, for its root alone to write.
    pub(crate) fn write(&self, path: &str, text: &str) -> Result<()> {
        let target = self.seen_from_outside(path);
        let folder = target.parent().context("a file has a folder")?;
        fs::create_dir_all(folder).with_context(|| format!("{} cannot be created", folder.display()))?;
        fs::write(&target, text).with_context(|| format!("{} cannot be written", target.display()))
    }

    /// A path of the node as this machine's processes reach it.
    pub(crate) fn seen_from_outside(&self, path: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/root{path}", self.init))
    }

    fn output(&self, script: &str) -> Result<Output> {
        let output = self.command(script).stderr(Stdio::null()).output();
        output.context("nsenter cannot be run")
    }

    fn command(&self, script: &str) -> Command {
        let mut command = Command::new("nsenter");
        command
            .args([
                "--target",
                &self.init.to_string(),
                "--mount",
                "--uts",
                "--ipc",
                "--net",
                "--pid",
                "--cgroup",
                "--",
            ])
            .args(["bash", "-c", script])
            .env_clear()
            .env("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin")
            .env("TERM", "dumb")
            .env("HOME", "/root")
            .env("DEBIAN_FRONTEND", "noninteractive")
            .stdin(Stdio::null());
        command
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        // The init of a pid namespace takes everything in it along.
        if self.init > 1 {
            let _ = nix::sys::signal::kill(Pid::from_raw(self.init), Signal::SIGKILL);
        }
        if let Ok(group) = i32::try_from(self.container.id()) {
            let _ = killpg(Pid::from_raw(group), Signal::SIGTERM);
        }
        let _ = self.container.wait();
    }
}

/// The root file system of a suite, made once.
fn root(suite: &str, lab: &Path) -> Result<PathBuf> {
    let root = lab.join(suite);
    if fs::read_to_string(root.join(MADE_WITH)).is_ok_and(|packages| packages == PACKAGES) {
        return Ok(root);
    }
    println!("making a root of {suite}");
    fs::create_dir_all(lab)?;
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let unfinished = lab.join(format!("{suite}.unfinished"));
    if unfinished.exists() {
        fs::remove_dir_all(&unfinished)?;
    }
    let status = Command::new("mmdebstrap")
        .args(["--quiet", "--variant=minbase", "--include", PACKAGES, suite])
        .arg(&unfinished)
        .arg(mirror()?)
        .status()
        .context("mmdebstrap cannot be run: apt install mmdebstrap")?;
    ensure!(status.success(), "mmdebstrap failed: {status}");
    fs::write(unfinished.join(MADE_WITH), PACKAGES)?;
    fs::rename(&unfinished, &root)?;
    Ok(root)
}

/// The mirror that this machine's own apt uses for Debian.
fn mirror() -> Result<String> {
    let output = Command::new("apt-get")
        .args([
            "indextargets",
            "--format",
            "$(REPO_URI)",
            "Origin: Debian",
            "Created-By: Packages",
        ])
        .output()
        .context("apt-get cannot be run")?;
    let found = String::from_utf8(output.stdout)?;
    let mut mirrors = found.lines().filter(|address| !address.contains("security"));
    mirrors
        .next()
        .map(str::to_owned)
        .context("apt knows no mirror of Debian: apt-get update")
}
