//! The daemon under test, as the workspace built it.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail, ensure};
use nix::sys::signal::Signal;
use tokio::net::UnixStream;
use tonic::transport::{Channel, Endpoint};

use crate::journal::Journal;
use crate::network::Network;
use crate::process::{Finished, Service, output};

/// The path of one of the project's programs: in the folder that `ASSAY_BIN_DIR` names, else beside the running test,
/// else in the workspace's `target/debug` or `target/release`.
///
/// # Errors
///
/// It was not built; the error says how to.
pub fn program(name: &str) -> Result<PathBuf> {
    if let Some(directory) = env::var_os("ASSAY_BIN_DIR") {
        // containerd runs in another folder.
        let path = std::path::absolute(directory)?.join(name);
        return path
            .is_file()
            .then_some(path)
            .with_context(|| format!("ASSAY_BIN_DIR holds no {name}"));
    }
    let test = env::current_exe().context("cannot tell where this test runs")?;
    let target = crate::workspace().join("target");
    let beside = test.ancestors().skip(1).take(2).map(Path::to_owned);
    let mut candidates = beside.chain([target.join("debug"), target.join("release")]);
    match candidates.find(|directory| directory.join(name).is_file()) {
        Some(directory) => Ok(directory.join(name)),
        None => bail!("{name} is not built: run `cargo build --bins`, or set ASSAY_BIN_DIR"),
    }
}

/// Builds what [`program`] finds but assay-gate, as a user would.
///
/// # Errors
///
/// The build fails, and cargo has said why.
pub fn build_programs() -> Result<()> {
    let cargo = env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let built = Command::new(cargo)
        .args(["build", "--quiet", "--package", "assayd"])
        .args(["--package", "assay-verifier", "--bins"])
        .status()?;
    ensure!(built.success(), "the build failed");
    Ok(())
}

/// How the daemon is to be configured.
#[derive(Debug, Default)]
pub struct Builder {
    policy: String,
    registries: Vec<toml::Table>,
    files: Vec<(PathBuf, Vec<u8>)>,
    settings: toml::Table,
    environment: Vec<(String, String)>,
    /// What stands before the program on its command line.
    within: Vec<OsString>,
}

impl Builder {
    /// The policy document.
    pub fn policy(mut self, policy: &str) -> Self {
        self.policy = policy.into();
        self
    }

    /// A registry that is spoken to in plain HTTP.
    pub fn plain_http(self, host: &str) -> Self {
        self.registry(toml::toml! { plain_http = true }, host)
    }

    /// A registry whose certificate the PEM text `ca` vouches for.
    pub fn tls(self, host: &str, ca: &str) -> Self {
        let file = format!("{}.pem", host.replace(':', "-"));
        let table = toml::Table::from_iter([("ca".to_owned(), toml::Value::from(vec![file.clone()]))]);
        self.file(&file, ca).registry(table, host)
    }

    /// A registry in plain HTTP that asks for a password.
    pub fn plain_http_with_password(self, host: &str, username: &str, password: &str) -> Self {
        let file = format!("{}.password", host.replace(':', "-"));
        let mut table = toml::toml! { plain_http = true };
        table.insert("username".into(), username.into());
        table.insert("password_file".into(), file.clone().into());
        self.file(&file, password).registry(table, host)
    }

    /// A `[[registry]]` table of config.toml, to which `host` is added. File names in it are made absolute by the
    /// daemon, relative to its configuration folder.
    pub fn registry(mut self, mut table: toml::Table, host: &str) -> Self {
        table.insert("host".into(), host.into());
        self.registries.push(table);
        self
    }

    /// Another key of config.toml.
    pub fn setting(mut self, name: &str, value: impl Into<toml::Value>) -> Self {
        self.settings.insert(name.into(), value.into());
        self
    }

    /// A file of the configuration folder.
    pub fn file(mut self, path: &str, content: impl Into<Vec<u8>>) -> Self {
        self.files.push((path.into(), content.into()));
        self
    }

    /// A variable of the daemon's environment.
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.into(), value.into()));
        self
    }

    /// The variables that `assayd.service` sets: what is measured is measured as it runs on a node.
    ///
    /// # Errors
    ///
    /// The unit cannot be read.
    pub fn environment_of_the_unit(mut self) -> Result<Self> {
        let unit = crate::workspace().join("systemd/assayd.service");
        let unit = fs::read_to_string(&unit).with_context(|| unit.display().to_string())?;
        let lines = unit.lines().filter_map(|line| line.strip_prefix("Environment="));
        let variables = lines
            .flat_map(str::split_whitespace)
            .filter_map(|one| one.split_once('='));
        self.environment
            .extend(variables.map(|(name, value)| (name.into(), value.into())));
        Ok(self)
    }

    /// Runs the daemon in a network of its own. Its sockets are files, and stay within everybody's reach.
    pub fn network(mut self, network: &Network) -> Self {
        self.within.extend(network.within());
        self
    }

    /// Has the daemon write to this journal, whether or not the machine has one.
    pub fn journal(mut self, journal: &Journal) -> Self {
        self.within.extend(journal.within());
        self.setting("log", "journald")
    }

    /// Writes the configuration, starts the daemon and waits until its sockets take connections.
    ///
    /// # Errors
    ///
    /// The daemon is not built or does not come up; then the error holds the end of its log.
    pub async fn start(self) -> Result<Assayd> {
        let mut assayd = self.prepare()?;
        assayd.start().await?;
        Ok(assayd)
    }

    /// Writes the configuration without starting the daemon, for tests of its absence.
    ///
    /// # Errors
    ///
    /// The daemon is not built or the configuration cannot be written.
    pub fn prepare(self) -> Result<Assayd> {
        self.prepare_with(program("assayd")?)
    }

    fn prepare_with(self, program: PathBuf) -> Result<Assayd> {
        let directory = tempfile::Builder::new().prefix("assay-daemon-").tempdir()?;
        let assayd = Assayd {
            service: None,
            program,
            environment: self.environment,
            within: self.within,
            directory,
        };
        let config = assayd.config_directory();
        for folder in [&config, &assayd.state_directory(), &assayd.run_directory()] {
            fs::create_dir_all(folder)?;
        }
        for (path, content) in self.files {
            let path = config.join(path);
            fs::create_dir_all(path.parent().unwrap_or(&config))?;
            fs::write(&path, content).with_context(|| format!("cannot write {}", path.display()))?;
        }
        assayd.write_policy(&self.policy)?;

        let mut settings = self.settings;
        // Not the machine's own.
        settings.entry("config_path").or_insert_with(|| "".into());
        for (name, path) in [
            ("verifier_socket", assayd.verifier_socket()),
            ("control_socket", assayd.control_socket()),
            ("state_directory", assayd.state_directory()),
            ("policy", config.join("policy.toml")),
        ] {
            settings
                .entry(name)
                .or_insert_with(|| path.to_string_lossy().into_owned().into());
        }
        if !self.registries.is_empty() {
            settings.insert("registry".into(), toml::Value::from(self.registries));
        }
        fs::write(config.join("config.toml"), settings.to_string()).context("cannot write config.toml")?;
        Ok(assayd)
    }
}

/// Memory in bytes, and threads, proc(5).
#[derive(Clone, Copy, Debug)]
pub struct Memory {
    /// Resident now.
    pub resident: u64,
    /// Resident now and its own: no file is behind it.
    pub anonymous: u64,
    /// The most that was resident since it started.
    pub peak: u64,
    /// Threads.
    pub threads: u64,
}

/// A daemon with folders and sockets of its own. Dropping it kills it and removes them.
#[derive(Debug)]
pub struct Assayd {
    service: Option<Service>,
    program: PathBuf,
    environment: Vec<(String, String)>,
    within: Vec<OsString>,
    directory: tempfile::TempDir,
}

impl Assayd {
    /// Begins the configuration of a daemon.
    pub fn builder() -> Builder {
        Builder::default()
    }

    /// Starts it, again after [`Self::stop`] or [`Self::kill`], with the same state.
    ///
    /// # Errors
    ///
    /// It does not come up; the error holds the end of its log.
    pub async fn start(&mut self) -> Result<()> {
        let mut words = self
            .within
            .iter()
            .map(OsString::as_os_str)
            .chain([self.program.as_os_str()]);
        let mut command = Command::new(words.next().context("there is no program")?);
        command
            .args(words)
            .arg("--config")
            .arg(self.config_directory().join("config.toml"));
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        let mut service = Service::spawn("assayd", command, &self.directory.path().join("assayd.log"))?;
        let sockets = [self.verifier_socket(), self.control_socket()];
        let answers = || {
            let [verifier, control] = sockets.clone();
            async move { UnixStream::connect(verifier).await.is_ok() && UnixStream::connect(control).await.is_ok() }
        };
        service.wait_until(answers).await?;
        self.service = Some(service);
        Ok(())
    }

    /// Ends it with SIGTERM and waits.
    ///
    /// # Errors
    ///
    /// It was not running, did not end in time, or did not end well.
    pub async fn stop(&mut self) -> Result<()> {
        let mut service = self.service.take().context("assayd is not running")?;
        let status = service.terminate().await?;
        if status.success() {
            Ok(())
        } else {
            bail!("assayd ended with {status}:\n{}", service.log())
        }
    }

    /// Ends it with SIGKILL; its socket files stay.
    pub fn kill(&mut self) {
        if let Some(mut service) = self.service.take() {
            service.kill();
        }
    }

    /// Asks it to read its policy again, with SIGHUP.
    ///
    /// # Errors
    ///
    /// It is not running.
    pub fn reload(&self) -> Result<()> {
        self.service
            .as_ref()
            .context("assayd is not running")?
            .signal(Signal::SIGHUP)
    }

    /// Its process id while it runs.
    pub fn id(&self) -> Option<u32> {
        self.service.as_ref().map(Service::id)
    }

    /// Its memory while it runs.
    ///
    /// # Errors
    ///
    /// It is not running.
    pub fn memory(&self) -> Result<Memory> {
        let id = self.id().context("assayd is not running")?;
        let status = fs::read_to_string(format!("/proc/{id}/status")).context("assayd has ended")?;
        let field = |name: &str| {
            let line = status
                .lines()
                .find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            line.map(str::trim).with_context(|| format!("it has no {name}"))
        };
        let bytes = |name: &str| -> Result<u64> {
            let kibibytes = field(name)?.strip_suffix(" kB").context("no size")?;
            Ok(kibibytes.parse::<u64>()? * 1024)
        };
        Ok(Memory {
            resident: bytes("VmRSS")?,
            anonymous: bytes("RssAnon")?,
            peak: bytes("VmHWM")?,
            threads: field("Threads")?.parse()?,
        })
    }

    /// How many descriptors it has open.
    ///
    /// # Errors
    ///
    /// It is not running.
    pub fn descriptors(&self) -> Result<usize> {
        let id = self.id().context("assayd is not running")?;
        let folder = fs::read_dir(format!("/proc/{id}/fd")).context("assayd has ended")?;
        Ok(folder.count())
    }

    /// All that it has written to its standard output and error since it was first started.
    pub fn log(&self) -> String {
        fs::read(self.directory.path().join("assayd.log"))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Replaces the policy document, without telling the daemon.
    ///
    /// # Errors
    ///
    /// The file cannot be written.
    pub fn write_policy(&self, policy: &str) -> Result<()> {
        fs::write(self.config_directory().join("policy.toml"), policy).context("cannot write policy.toml")
    }

    /// The folder with config.toml and policy.toml.
    pub fn config_directory(&self) -> PathBuf {
        self.directory.path().join("etc")
    }

    /// The folder with its store.
    pub fn state_directory(&self) -> PathBuf {
        self.directory.path().join("state")
    }

    fn run_directory(&self) -> PathBuf {
        self.directory.path().join("run")
    }

    /// The socket that the hook asks.
    pub fn verifier_socket(&self) -> PathBuf {
        self.run_directory().join("verifier.sock")
    }

    /// The socket that assayctl asks.
    pub fn control_socket(&self) -> PathBuf {
        self.run_directory().join("control.sock")
    }

    /// The hook's list of images that are admitted without the daemon.
    pub fn bootstrap_list(&self) -> PathBuf {
        self.config_directory().join("bootstrap.list")
    }

    /// The flag whose presence makes the hook only observe.
    pub fn observe_flag(&self) -> PathBuf {
        self.config_directory().join("observe")
    }

    /// The environment through which the hook finds this daemon.
    pub fn hook_environment(&self) -> [(&'static str, PathBuf); 3] {
        [
            ("ASSAYD_VERIFIER_SOCKET", self.verifier_socket()),
            ("ASSAYD_BOOTSTRAP_LIST", self.bootstrap_list()),
            ("ASSAYD_OBSERVE_FLAG", self.observe_flag()),
        ]
    }

    /// A connection to the socket that hooks ask, made when it is first used.
    ///
    /// # Errors
    ///
    /// The socket's path is no part of an address.
    pub fn channel(&self) -> Result<Channel> {
        let address = format!("unix://{}", self.verifier_socket().display());
        Ok(Endpoint::from_shared(address)?.connect_lazy())
    }

    /// Runs `assayctl` against this daemon.
    ///
    /// # Errors
    ///
    /// It is not built or cannot be started; its exit code is in the result.
    pub async fn assayctl(&self, arguments: &[&str]) -> Result<Finished> {
        let mut command = Command::new(program("assayctl")?);
        command
            .env("ASSAYD_CONTROL_SOCKET", self.control_socket())
            .args(arguments);
        output(command).await
    }

    /// Runs assayctl with this journal, whether or not the machine has one. It sees no process's mounts but its own.
    ///
    /// # Errors
    ///
    /// It is not built or cannot be started; its exit code is in the result.
    pub async fn assayctl_with(&self, journal: &Journal, arguments: &[&str]) -> Result<Finished> {
        let mut words = journal.within().into_iter();
        let mut command = Command::new(words.next().context("there is no program")?);
        command
            .args(words)
            .arg(program("assayctl")?)
            .env("ASSAYD_CONTROL_SOCKET", self.control_socket())
            .args(arguments);
        output(command).await
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn configuration(assayd: &Assayd) -> toml::Table {
        let text = fs::read_to_string(assayd.config_directory().join("config.toml")).expect("config.toml");
        text.parse().expect("TOML")
    }

    #[test]
    fn writes_sockets_folders_registries_and_files() {
        let builder = Assayd::builder()
            .policy("version = 1\n")
            .plain_http("127.0.0.1:1")
            .tls("127.0.0.1:2", "a CA")
            .plain_http_with_password("127.0.0.1:3", "user", "secret")
            .setting("cache_size", 4096);
        let assayd = builder.prepare_with("/bin/true".into()).unwrap();
        let written = configuration(&assayd);
        assert_eq!(written["verifier_socket"].as_str(), assayd.verifier_socket().to_str());
        assert_eq!(written["cache_size"].as_integer(), Some(4096));
        let registries = written["registry"].as_array().unwrap();
        assert_eq!(registries[0]["plain_http"].as_bool(), Some(true));
        let file = |registry: &toml::Value| assayd.config_directory().join(registry.as_str().unwrap());
        assert_eq!(fs::read_to_string(file(&registries[1]["ca"][0])).unwrap(), "a CA");
        assert_eq!(
            fs::read_to_string(file(&registries[2]["password_file"])).unwrap(),
            "secret"
        );
        assert_eq!(
            fs::read_to_string(assayd.config_directory().join("policy.toml")).unwrap(),
            "version = 1\n"
        );
    }

    #[tokio::test]
    async fn says_why_a_daemon_did_not_come_up() {
        let script = tempfile::tempdir().unwrap();
        let program = script.path().join("assayd");
        fs::write(&program, "#!/bin/sh\necho \"$1\" is broken >&2\nexit 3\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let mut assayd = Assayd::builder().prepare_with(program).unwrap();
        let error = assayd.start().await.expect_err("it ends at once").to_string();
        assert!(
            error.contains("exit status: 3") && error.contains("--config is broken"),
            "{error}"
        );
        assert!(assayd.id().is_none() && assayd.stop().await.is_err());
    }
}
