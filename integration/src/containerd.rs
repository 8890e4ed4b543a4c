//! A private containerd: own root, state, socket and verifier folder, gone without a trace when dropped.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, PoisonError};

use anyhow::{Context, Result, ensure};
use assay_proto::cri::Image;
use nix::mount::{MntFlags, umount2};
use tokio::net::UnixStream;

use crate::assayd::Assayd;
use crate::cri::Cri;
pub use crate::cri::PullError;
use crate::peers::Peers;
use crate::process::{Service, kill_everything_of, output};

/// How the private containerd is to be set up.
#[derive(Debug)]
pub struct Builder {
    peers: Peers,
    verifiers: Vec<(String, PathBuf)>,
    environment: Vec<(String, String)>,
    registries: Vec<RegistryHost>,
    settings: String,
    lines: Vec<(String, String)>,
    format: Format,
    is_series_1: bool,
    serves_cri: bool,
    host_tree: Option<PathBuf>,
}

/// The version of the configuration's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Format {
    /// Of containerd 1, which containerd 2 translates.
    Two,
    Three,
}

#[derive(Debug)]
struct RegistryHost {
    host: String,
    /// Where its content is fetched from, where that is another host.
    mirror: Option<String>,
    ca: Option<String>,
}

impl Builder {
    /// Puts a symlink called `name` to `program` into the verifier folder.
    pub fn verifier(mut self, name: &str, program: &Path) -> Self {
        self.verifiers.push((name.into(), program.into()));
        self
    }

    /// Sets a variable of containerd's environment, which verifiers inherit.
    pub fn env(mut self, name: &str, value: impl AsRef<Path>) -> Self {
        self.environment
            .push((name.into(), value.as_ref().to_string_lossy().into_owned()));
        self
    }

    /// Adds tables to the configuration, which has none of them yet.
    pub fn settings(mut self, toml: &str) -> Self {
        self.settings.push_str(toml);
        self
    }

    /// Writes `text` in place of the one line of the configuration that sets `key`.
    pub fn line(mut self, key: &str, text: &str) -> Self {
        self.lines.push((key.into(), text.into()));
        self
    }

    /// Writes the configuration in the format of containerd 1.
    pub fn format_2(mut self) -> Self {
        self.format = Format::Two;
        self
    }

    /// Runs the containerd of Debian 13, which never asks a verifier.
    pub fn series_1(mut self) -> Self {
        self.is_series_1 = true;
        self.format_2()
    }

    /// Starts it although its configuration keeps it from serving CRI.
    pub fn without_cri(mut self) -> Self {
        self.serves_cri = false;
        self
    }

    /// Sets the variables through which a hook that is put into the folder later finds this daemon.
    pub fn asks(self, assayd: &Assayd) -> Self {
        let variables = assayd.hook_environment();
        variables
            .into_iter()
            .fold(self, |builder, (name, path)| builder.env(name, path))
    }

    /// Puts the project's own hook into the verifier folder, pointed at this daemon.
    ///
    /// # Errors
    ///
    /// The hook is not built.
    pub fn hook(self, assayd: &Assayd) -> Result<Self> {
        Ok(self
            .asks(assayd)
            .verifier("assay-verifier", &crate::program("assay-verifier")?))
    }

    /// Makes `host` (`127.0.0.1:5000`) a registry that is spoken to in plain HTTP.
    pub fn plain_http(mut self, host: &str) -> Self {
        self.registries.push(RegistryHost {
            host: host.into(),
            mirror: None,
            ca: None,
        });
        self
    }

    /// Has everything of `host` fetched from `mirror`, in plain HTTP. `host` itself is never asked.
    pub fn mirror(mut self, host: &str, mirror: &str) -> Self {
        self.registries.push(RegistryHost {
            host: host.into(),
            mirror: Some(mirror.into()),
            ca: None,
        });
        self
    }

    /// Makes `host` a registry whose certificate the PEM text `ca` vouches for.
    pub fn tls(mut self, host: &str, ca: &str) -> Self {
        self.registries.push(RegistryHost {
            host: host.into(),
            mirror: None,
            ca: Some(ca.into()),
        });
        self
    }

    /// Has it read a host tree of the test's own, in place of one made of the registries above.
    pub fn host_tree(mut self, folder: &Path) -> Self {
        self.host_tree = Some(folder.into());
        self
    }

    /// Starts containerd and waits until its image service answers.
    ///
    /// # Errors
    ///
    /// Not root, or containerd does not come up; then the error holds the end of its log.
    pub async fn start(self) -> Result<Containerd> {
        ensure!(
            nix::unistd::geteuid().is_root(),
            "containerd mounts file systems: run these tests as root"
        );
        let directory = tempfile::Builder::new().prefix("assay-containerd-").tempdir()?;
        let path = directory.path();
        let bin_dir = path.join("verifiers");
        fs::create_dir(&bin_dir)?;
        for (name, program) in &self.verifiers {
            ensure!(program.is_file(), "the verifier {} does not exist", program.display());
            symlink(program, bin_dir.join(name))?;
        }
        if let Some(tree) = &self.host_tree {
            ensure!(
                self.registries.is_empty(),
                "the host tree says how registries are reached"
            );
            symlink(tree, path.join("certs.d"))?;
        }
        for registry in &self.registries {
            write_host(&path.join("certs.d"), registry)?;
        }
        let mut text = configuration(path, self.format);
        for (key, line) in &self.lines {
            text = with_line(&text, key, line)?;
        }
        fs::write(path.join("config.toml"), text + &self.settings)?;

        let program = match self.is_series_1 {
            true => self.peers.containerd1()?.0,
            false => self.peers.containerd(),
        };
        let service = spawn(&program, &self.peers, &self.environment, path)?;
        let images = Cri::at(&path.join("containerd.sock"))?;
        let mut containerd = Containerd {
            service,
            images,
            program,
            serves_cri: self.serves_cri,
            environment: self.environment,
            peers: self.peers,
            containers: Mutex::default(),
            directory,
        };
        containerd.answers().await?;
        Ok(containerd)
    }
}

fn spawn(program: &Path, peers: &Peers, environment: &[(String, String)], directory: &Path) -> Result<Service> {
    let mut command = Command::new(program);
    command
        .arg("--config")
        .arg(directory.join("config.toml"))
        .arg("--log-level")
        .arg("debug");
    command
        .env("PATH", peers.path_variable())
        .envs(environment.iter().map(|(name, value)| (name, value)))
        .current_dir(directory);
    Service::spawn("containerd", command, &directory.join("containerd.log"))
}

/// A running containerd. Dropping it kills it, its shims and its verifiers, and removes what it mounted and wrote.
#[derive(Debug)]
pub struct Containerd {
    service: Service,
    images: Cri,
    program: PathBuf,
    serves_cri: bool,
    environment: Vec<(String, String)>,
    peers: Peers,
    containers: Mutex<Vec<String>>,
    directory: tempfile::TempDir,
}

impl Containerd {
    /// Begins the set-up of a containerd without verifiers and registries.
    pub fn builder(peers: &Peers) -> Builder {
        Builder {
            peers: peers.clone(),
            verifiers: vec![],
            environment: vec![],
            registries: vec![],
            settings: String::new(),
            lines: vec![],
            format: Format::Three,
            is_series_1: false,
            serves_cri: true,
            host_tree: None,
        }
    }

    async fn answers(&mut self) -> Result<()> {
        let (probe, socket, serves_cri) = (self.images.clone(), self.socket(), self.serves_cri);
        let answers = || {
            let (probe, socket) = (probe.clone(), socket.clone());
            async move {
                match serves_cri {
                    true => probe.images().await.is_ok(),
                    false => UnixStream::connect(socket).await.is_ok(),
                }
            }
        };
        self.service.wait_until(answers).await
    }

    /// Ends it and starts it again, with the configuration that is there now.
    ///
    /// # Errors
    ///
    /// It does not end, or does not come up.
    pub async fn restart(&mut self) -> Result<()> {
        self.service.terminate().await?;
        self.service = spawn(&self.program, &self.peers, &self.environment, self.directory.path())?;
        self.answers().await
    }

    /// Its program.
    pub fn program(&self) -> &Path {
        &self.program
    }

    /// The socket that serves CRI and containerd's own API.
    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("containerd.sock")
    }

    /// Its configuration file.
    pub fn config_file(&self) -> PathBuf {
        self.directory.path().join("config.toml")
    }

    /// The folder whose programs containerd asks, for tests that change it while containerd runs.
    pub fn verifier_directory(&self) -> PathBuf {
        self.directory.path().join("verifiers")
    }

    /// All that containerd has logged, at debug level: allowing verdicts and verifiers' stderr appear only there.
    pub fn log(&self) -> String {
        self.service.log()
    }

    /// containerd's process id.
    pub fn id(&self) -> u32 {
        self.service.id()
    }

    /// Tells containerd, while it runs, that `host` speaks plain HTTP.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn trust_plain_http(&self, host: &str) -> Result<()> {
        write_host(
            &self.directory.path().join("certs.d"),
            &RegistryHost {
                host: host.into(),
                mirror: None,
                ca: None,
            },
        )
    }

    /// Pulls as the kubelet does, through CRI's PullImage.
    ///
    /// # Errors
    ///
    /// What containerd answered.
    pub async fn pull_cri(&self, reference: &str) -> Result<(), PullError> {
        self.pull_cri_with(reference, None).await
    }

    /// Pulls through CRI with a user name and a password, as a pod's imagePullSecrets would.
    ///
    /// # Errors
    ///
    /// What containerd answered.
    pub async fn pull_cri_with(&self, reference: &str, login: Option<(&str, &str)>) -> Result<(), PullError> {
        self.images.pull(reference, login).await
    }

    /// Pulls with containerd's own `ctr images pull`, over plain HTTP.
    ///
    /// # Errors
    ///
    /// What `ctr` wrote to its standard error, or why it did not run.
    pub async fn pull_ctr(&self, reference: &str) -> Result<(), PullError> {
        let finished = self.ctr(&["images", "pull", "--plain-http", reference]).await;
        match finished {
            Ok(finished) if finished.success => Ok(()),
            Ok(finished) => Err(PullError {
                message: finished.stderr.trim().to_owned(),
            }),
            Err(error) => Err(PullError {
                message: format!("{error:#}"),
            }),
        }
    }

    /// Starts a container of an image that was pulled, with the machine's network, and returns its id.
    ///
    /// # Errors
    ///
    /// The shim, runc or the machine's kernel refused.
    pub async fn run(&self, reference: &str) -> Result<String> {
        // runc and cgroups know containers by their id alone, for the whole machine.
        let name = self.directory.path().file_name().unwrap_or_default().to_string_lossy();
        let id = {
            let mut containers = self.containers.lock().unwrap_or_else(PoisonError::into_inner);
            let id = format!("{name}-{}", containers.len());
            containers.push(id.clone());
            id
        };
        self.ctr(&["run", "--detach", "--null-io", "--net-host", reference, &id])
            .await?
            .successful()?;
        Ok(id)
    }

    /// Runs `ctr` against this containerd, in the namespace `k8s.io`.
    ///
    /// # Errors
    ///
    /// `ctr` cannot be started; its exit code is in the result.
    pub async fn ctr(&self, arguments: &[&str]) -> Result<crate::Finished> {
        output(self.ctr_command(arguments)).await
    }

    fn ctr_command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.peers.ctr());
        command
            .arg("--address")
            .arg(self.socket())
            .args(["--namespace", "k8s.io"])
            .args(arguments);
        command
    }

    /// Whether containerd holds the image, by any of its names.
    ///
    /// # Errors
    ///
    /// CRI did not answer.
    pub async fn has(&self, reference: &str) -> Result<bool> {
        self.images.has(reference).await
    }

    /// All images that containerd holds.
    ///
    /// # Errors
    ///
    /// CRI did not answer.
    pub async fn images(&self) -> Result<Vec<Image>> {
        self.images.images().await
    }

    /// Removes an image and what only it used, so that the next pull fetches its layers again.
    ///
    /// # Errors
    ///
    /// containerd could not remove it.
    pub async fn remove(&self, reference: &str) -> Result<()> {
        self.images.remove(reference).await?;
        // CRI removes in the background; removing in the foreground once more waits for the garbage collector.
        self.ctr(&["images", "remove", "--sync", reference])
            .await?
            .successful()
            .map(drop)
    }

    /// Stops containerd in an orderly way, then removes its traces.
    ///
    /// # Errors
    ///
    /// It did not stop in time.
    pub async fn stop(mut self) -> Result<()> {
        self.service.terminate().await.map(drop)
    }
}

impl Drop for Containerd {
    fn drop(&mut self) {
        let containers = std::mem::take(&mut *self.containers.lock().unwrap_or_else(PoisonError::into_inner));
        for id in containers {
            // The orderly way, which also removes what runc and cgroups keep. What it cannot end is killed below.
            let mut command = self.ctr_command(&["tasks", "delete", "--force", &id]);
            let _: std::io::Result<_> = command.stdout(Stdio::null()).stderr(Stdio::null()).status();
        }
        // While containerd lives, it is still known who belongs to it.
        kill_everything_of(self.directory.path());
        self.service.kill();
        unmount_everything_below(self.directory.path());
    }
}

/// containerd's documented host configuration (containerd docs/hosts.md): one folder for each registry.
fn write_host(certs: &Path, registry: &RegistryHost) -> Result<()> {
    let directory = certs.join(&registry.host);
    fs::create_dir_all(&directory).with_context(|| format!("cannot create {}", directory.display()))?;
    let host = registry.mirror.as_ref().unwrap_or(&registry.host);
    let hosts = match &registry.ca {
        None => format!("[host.\"http://{host}\"]\ncapabilities = [\"pull\", \"resolve\"]\n"),
        Some(ca) => {
            let file = directory.join("ca.pem");
            fs::write(&file, ca)?;
            let file = file.display();
            format!("[host.\"https://{host}\"]\ncapabilities = [\"pull\", \"resolve\"]\nca = \"{file}\"\n")
        }
    };
    // Whom containerd asks when a mirror has no answer; otherwise it is the registry itself.
    let server = registry.mirror.as_ref();
    let server = server.map(|mirror| format!("server = \"http://{mirror}\"\n"));
    let text = server.unwrap_or_default() + &hosts;
    fs::write(directory.join("hosts.toml"), text).context("cannot write hosts.toml")
}

/// NRI is off because its socket's path is one for the whole machine; a container without CAP_SYS_RESOURCE must not
/// lower its score.
fn configuration(directory: &Path, format: Format) -> String {
    let directory = directory.display();
    let (version, images, runtime) = match format {
        Format::Two => (2, "io.containerd.grpc.v1.cri", "io.containerd.grpc.v1.cri"),
        Format::Three => (3, "io.containerd.cri.v1.images", "io.containerd.cri.v1.runtime"),
    };
    format!(
        r#"version = {version}
root = "{directory}/root"
state = "{directory}/state"
disabled_plugins = ["io.containerd.nri.v1.nri"]

[grpc]
address = "{directory}/containerd.sock"

[ttrpc]
address = "{directory}/containerd.sock.ttrpc"

[plugins."io.containerd.image-verifier.v1.bindir"]
bin_dir = "{directory}/verifiers"
max_verifiers = 10
per_verifier_timeout = "10s"

[plugins."{images}".registry]
config_path = "{directory}/certs.d"

[plugins."{runtime}"]
restrict_oom_score_adj = true

[plugins."io.containerd.internal.v1.opt"]
path = "{directory}/opt"
"#
    )
}

/// A configuration with another text in place of the line that sets `key`.
fn with_line(text: &str, key: &str, line: &str) -> Result<String> {
    let sets = |one: &&str| one.split_once('=').is_some_and(|(name, _)| name.trim() == key);
    ensure!(text.lines().filter(sets).count() == 1, "not one line sets {key}");
    let lines = text.lines().map(|one| if sets(&one) { line } else { one });
    Ok(lines.map(|one| format!("{one}\n")).collect())
}

/// Unmounts what containerd and its shims mounted, the deepest first, so that the folder can be removed.
fn unmount_everything_below(directory: &Path) {
    let Ok(mounts) = fs::read_to_string("/proc/self/mountinfo") else {
        return;
    };
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(Path::new);
    let mut points: Vec<_> = points.filter(|point| point.starts_with(directory)).collect();
    points.sort_by_key(|point| std::cmp::Reverse(point.components().count()));
    for point in points {
        // What cannot be unmounted keeps its folder; there is nothing more to do about it while dropping.
        let _: nix::Result<()> = umount2(point, MntFlags::MNT_DETACH);
    }
}
