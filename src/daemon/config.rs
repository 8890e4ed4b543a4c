//! The daemon's configuration, `/etc/assayd/config.toml`.
//!
//! A missing file is the default configuration. An unknown key is an error: a misspelt setting that is silently
//! ignored protects nobody.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use assay_verify::digest::Digest;
use assay_verify::limits::{
    DEFAULT_CACHE_SIZE, DEFAULT_DECISION_FILE_SIZE, DEFAULT_DECISION_FILES, DEFAULT_MAX_POLL_INTERVAL,
    DEFAULT_POLL_INTERVAL, MAX_DECISION_FILE_SIZE, MAX_DECISION_FILES, MAX_FLEET_GRACE, MAX_POLICY_SIZE,
    MAX_POLL_INTERVAL, MIN_DECISION_FILE_SIZE, MIN_POLL_INTERVAL,
};
use assay_verify::policy::Unmatched;
use assay_verify::query::PluginName;
use assay_verify::reference::canonical_host;
use jiff::SignedDuration;
use serde::Deserialize;
use thiserror::Error;

use crate::admission::decision_log::DecisionLogOptions;
use crate::credential::{CredentialError, CredentialSocket, DockerConfig, Keyring, Providers, Runner, Sources};
use crate::fetch::revocation::{EndpointHost, RevocationConfig};
use crate::fetch::{Credentials, FetchConfig, HostTree, RegistryConfig, Secret, proxy_hosts};
use crate::plugin::PluginConfig;
use crate::sync::{Channel, Followed, Intervals, ParseChannelError, Profile, RepositoryAddress, WhenExpired};
use crate::trust::Floor;

/// Where the configuration is read from, unless told.
pub const DEFAULT_PATH: &str = "/etc/assayd/config.toml";

/// Where containerd's host trees are, unless told.
pub const DEFAULT_CONFIG_PATH: &str = "/etc/containerd/certs.d";

/// The beginning of a path below systemd's folder of credentials (systemd.exec: LoadCredential).
const CREDENTIALS_DIRECTORY: &str = "$CREDENTIALS_DIRECTORY";

/// The configuration. Every setting has a default.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The socket that hooks ask.
    pub verifier_socket: PathBuf,
    /// The socket that assayctl asks.
    pub control_socket: PathBuf,
    /// The mode of both sockets: 0600 or 0660, in octal.
    pub socket_mode: SocketMode,
    /// Users that may connect, by uid.
    pub allowed_users: Vec<u32>,
    /// Where evidence is kept.
    pub state_directory: PathBuf,
    /// The policy document.
    pub policy: PathBuf,
    /// Bytes of evidence on disk.
    pub cache_size: u64,
    /// Where logs go.
    pub log: LogTarget,
    /// A file for node-exporter's textfile collector, whose name ends in `.prom`.
    pub metrics_file: Option<PathBuf>,
    /// containerd's `config_path`: the host trees that say which hosts serve a registry's images, separated by colons.
    pub config_path: String,
    /// Where Prometheus asks for the metrics.
    pub metrics_listen: Option<MetricsAddress>,
    /// Files of credentials, in the form of docker's config.json. `$CREDENTIALS_DIRECTORY/` stands for systemd's.
    pub docker_config: Vec<PathBuf>,
    /// Folders in which docker's credential helpers are looked for.
    pub credential_helpers: Vec<PathBuf>,
    /// The kubelet's credential providers, where assayd's user may run them.
    pub credential_provider: Option<CredentialProvider>,
    /// The socket of assay-credential, which runs them as root.
    pub credential_socket: Option<PathBuf>,
    /// The log of decisions.
    pub decision_log: DecisionLogTable,
    /// Registries that need more than their name.
    pub registry: Vec<Registry>,
    /// How revocation endpoints are reached.
    pub revocation: Revocation,
    /// Verification plugins, by the name that signatures ask for.
    pub plugin: BTreeMap<String, Plugin>,
    /// The policy repository that this node follows, in place of a policy of its own.
    pub fleet: Option<Fleet>,
    /// What the policy of a fleet may not relax.
    pub floor: FloorTable,
}

/// The kubelet's credential providers.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CredentialProvider {
    /// The kubelet's `--image-credential-provider-config`.
    pub config: PathBuf,
    /// The kubelet's `--image-credential-provider-bin-dir`.
    pub bin_dir: PathBuf,
}

/// The policy repository that a node follows.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fleet {
    /// Where it is: `https://`, `http://`, `file://` or `oci://`.
    pub repository: String,
    /// The pinned root of its metadata.
    pub root: PathBuf,
    /// Which of its channels is for this node.
    pub channel: ChannelName,
    /// Certificate authorities to trust for it beside the system's, PEM files.
    #[serde(default)]
    pub ca: Vec<PathBuf>,
    /// Whether it may be asked over plain HTTP.
    #[serde(default)]
    pub plain_http: bool,
    /// What the settings below are where they are not set.
    #[serde(default)]
    pub profile: ProfileWord,
    /// How often it is asked, where its policy does not say.
    poll_interval: Option<Span>,
    /// The least that the policy can set.
    min_poll_interval: Option<Span>,
    /// The most.
    max_poll_interval: Option<Span>,
    /// How long after the expiry of its metadata everything is judged as before.
    grace: Option<Span>,
    /// What is done after that.
    when_expired: Option<WhenExpiredWord>,
}

/// What a fleet's node is like.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProfileWord {
    /// It is always connected: grace 24 h, then nothing is admitted.
    #[default]
    Datacenter,
    /// It may be without a network for long: grace 30 days, then what was admitted before still is.
    Edge,
}

impl ProfileWord {
    fn profile(self) -> Profile {
        match self {
            Self::Datacenter => Profile::Datacenter,
            Self::Edge => Profile::Edge,
        }
    }
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum WhenExpiredWord {
    DenyNew,
    CachedOnly,
}

/// Which of a repository's policies is for this node.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct ChannelName(pub Channel);

impl TryFrom<String> for ChannelName {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
            .map(Self)
            .map_err(|error: ParseChannelError| error.to_string())
    }
}

/// A duration such as `"60s"` or `"30d"`.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Span(Duration);

impl TryFrom<String> for Span {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        // Days are 24 hours here: nothing in a configuration means the day on which clocks are changed.
        let days = text.strip_suffix('d').and_then(|days| days.trim().parse::<u32>().ok());
        let read = match days {
            Some(days) => Some(Duration::from_secs(u64::from(days) * 24 * 3600)),
            None => text
                .parse::<SignedDuration>()
                .ok()
                .and_then(|read| Duration::try_from(read).ok()),
        };
        read.map(Self)
            .ok_or_else(|| "expected a duration such as \"60s\", \"24h\" or \"30d\"".to_owned())
    }
}

impl Fleet {
    /// How often the repository is asked where its policy does not say, and within which bounds the policy may say it.
    pub fn intervals(&self) -> Intervals {
        let or = |span: Option<Span>, otherwise: Duration| span.map_or(otherwise, |span| span.0);
        Intervals {
            default: or(self.poll_interval, DEFAULT_POLL_INTERVAL),
            min: or(self.min_poll_interval, MIN_POLL_INTERVAL),
            max: or(self.max_poll_interval, DEFAULT_MAX_POLL_INTERVAL),
        }
    }

    /// What this node follows.
    pub fn followed(&self) -> Followed {
        Followed {
            repository: self.repository.clone(),
            channel: self.channel.0.to_string(),
            grace: self.grace.map_or(self.profile.profile().grace(), |span| span.0),
            when_expired: match self.when_expired {
                Some(WhenExpiredWord::DenyNew) => WhenExpired::DenyNew,
                Some(WhenExpiredWord::CachedOnly) => WhenExpired::CachedOnly,
                None => self.profile.profile().when_expired(),
            },
        }
    }

    /// Where the repository is.
    ///
    /// # Errors
    ///
    /// When it is no address, or one of plain HTTP that was not asked for.
    pub fn address(&self) -> Result<RepositoryAddress, String> {
        RepositoryAddress::parse(&self.repository, self.plain_http)
            .map_err(|error| format!("[fleet]: repository: {error}"))
    }

    /// Reads the pinned root.
    ///
    /// # Errors
    ///
    /// When the file cannot be read.
    pub fn read_root(&self) -> Result<Vec<u8>, ConfigError> {
        read_small(&self.root)
    }

    /// Reads the certificate authorities.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn read_ca(&self) -> Result<Vec<Vec<u8>>, ConfigError> {
        self.ca.iter().map(read_small).collect()
    }

    fn check(&self) -> Result<(), String> {
        self.address()?;
        let Intervals { default, min, max } = self.intervals();
        let shown = |duration: Duration| format!("{} s", duration.as_secs());
        if min < MIN_POLL_INTERVAL || max > MAX_POLL_INTERVAL || min > max {
            return Err(format!(
                "[fleet]: min_poll_interval is {} and max_poll_interval {}: expected {} to {}, the first not above the second",
                shown(min),
                shown(max),
                shown(MIN_POLL_INTERVAL),
                shown(MAX_POLL_INTERVAL),
            ));
        }
        if default < min || default > max {
            return Err(format!(
                "[fleet]: poll_interval is {}: expected {} to {}",
                shown(default),
                shown(min),
                shown(max)
            ));
        }
        if self.followed().grace > MAX_FLEET_GRACE {
            return Err(format!(
                "[fleet]: grace is above {} days",
                MAX_FLEET_GRACE.as_secs() / (24 * 3600)
            ));
        }
        Ok(())
    }
}

/// What the policy of a fleet may not relax, as the document says it.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FloorTable {
    unmatched: Option<UnmatchedWord>,
    audit: Option<bool>,
    accept_unverified: Option<bool>,
    exceptions: Option<bool>,
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(rename_all = "lowercase")]
enum UnmatchedWord {
    Admit,
    Audit,
    Deny,
}

impl FloorTable {
    /// The floor. What is not set is left to the fleet.
    pub fn floor(self) -> Floor {
        let default = Floor::default();
        Floor {
            unmatched: match self.unmatched {
                None => default.unmatched,
                Some(UnmatchedWord::Admit) => Unmatched::Admit,
                Some(UnmatchedWord::Audit) => Unmatched::Audit,
                Some(UnmatchedWord::Deny) => Unmatched::Deny,
            },
            audit: self.audit.unwrap_or(default.audit),
            accept_unverified: self.accept_unverified.unwrap_or(default.accept_unverified),
            exceptions: self.exceptions.unwrap_or(default.exceptions),
        }
    }
}

/// Where logs go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogTarget {
    /// The journal when standard error leads there, standard error otherwise.
    #[default]
    Auto,
    /// The journal, natively.
    Journald,
    /// Standard error.
    Stderr,
}

/// The mode of the sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum SocketMode {
    /// 0600: the daemon's user only, and root.
    Owner,
    /// 0660: its group too.
    Group,
}

impl SocketMode {
    /// The permission bits.
    pub const fn bits(self) -> u32 {
        match self {
            Self::Owner => 0o600,
            Self::Group => 0o660,
        }
    }
}

impl TryFrom<String> for SocketMode {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        match text.as_str() {
            "0600" => Ok(Self::Owner),
            "0660" => Ok(Self::Group),
            _ => Err("socket_mode is \"0600\" or \"0660\"".to_owned()),
        }
    }
}

/// The log of decisions on disk.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DecisionLogTable {
    directory: Option<PathBuf>,
    file_size: u64,
    files: u32,
}

impl Default for DecisionLogTable {
    fn default() -> Self {
        Self {
            directory: None,
            file_size: DEFAULT_DECISION_FILE_SIZE,
            files: DEFAULT_DECISION_FILES,
        }
    }
}

impl DecisionLogTable {
    fn check(&self) -> Result<(), String> {
        if !(MIN_DECISION_FILE_SIZE..=MAX_DECISION_FILE_SIZE).contains(&self.file_size) {
            return Err(format!(
                "[decision_log]: file_size is {}: expected {MIN_DECISION_FILE_SIZE} to {MAX_DECISION_FILE_SIZE}",
                self.file_size
            ));
        }
        if self.files > MAX_DECISION_FILES {
            return Err(format!("[decision_log]: files is above {MAX_DECISION_FILES}"));
        }
        Ok(())
    }
}

/// Where Prometheus asks for the metrics: a port that only this machine reaches, or a unix socket.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub enum MetricsAddress {
    /// A port on a loopback address.
    Loopback(SocketAddr),
    /// A unix socket.
    Unix(PathBuf),
}

impl TryFrom<String> for MetricsAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        if let Some(path) = text.strip_prefix("unix:").filter(|path| !path.is_empty()) {
            return Ok(Self::Unix(path.into()));
        }
        match text.parse::<SocketAddr>() {
            Ok(address) if address.ip().is_loopback() => Ok(Self::Loopback(address)),
            Ok(address) => Err(format!(
                "metrics_listen: {} is not a loopback address: the metrics have no password; let a proxy or node-exporter \
                 (metrics_file) hand them on",
                address.ip()
            )),
            Err(_) => Err("metrics_listen: expected \"127.0.0.1:PORT\", \"[::1]:PORT\" or \"unix:PATH\"".to_owned()),
        }
    }
}

/// A registry that needs more than its name.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Registry {
    /// The host, with its port.
    pub host: String,
    /// Speak plain HTTP to it.
    #[serde(default)]
    pub plain_http: bool,
    /// Certificate authorities to trust for it beside the system's, PEM files.
    #[serde(default)]
    pub ca: Vec<PathBuf>,
    /// The user to authenticate as.
    pub username: Option<String>,
    /// The file that holds the password or token; its trailing newline does not count.
    pub password_file: Option<PathBuf>,
    /// Hosts of token servers, beside the registry's own, that receive the credentials.
    #[serde(default)]
    pub token_realms: BTreeSet<String>,
    /// Whether redirects and token servers of this registry may lead to private addresses.
    #[serde(default)]
    pub private_addresses: bool,
}

/// How the CRL distribution points and OCSP responders are reached that certificates name.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Revocation {
    /// Whether all of them may have private addresses.
    pub private_addresses: bool,
    /// Those that may.
    pub hosts: BTreeSet<EndpointHost>,
}

/// A verification plugin.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plugin {
    /// The program.
    pub path: PathBuf,
    /// The SHA-256 of the program, in hexadecimal.
    pub sha256: Option<String>,
    /// The plugin's whole environment.
    #[serde(default)]
    pub environment: BTreeMap<String, String>,
    /// What the plugin is told as its configuration.
    #[serde(default)]
    pub config: BTreeMap<String, String>,
}

impl Plugin {
    fn read(&self, name: &str) -> Result<(PluginName, PluginConfig), String> {
        let failed = |message: &str| format!("plugin \"{name}\": {message}");
        let plugin: PluginName = name.parse().map_err(|error| format!("{error}"))?;
        let sha256 = match &self.sha256 {
            None => None,
            Some(hex) => match format!("sha256:{hex}").parse::<Digest>() {
                Ok(digest) => Some(digest),
                Err(_) => return Err(failed("sha256 is not 64 lower-case hexadecimal digits")),
            },
        };
        for (key, value) in &self.environment {
            if key.is_empty() || key.contains(['=', '\0']) || value.contains('\0') {
                return Err(failed(&format!("{key:?} cannot be a variable of its environment")));
            }
        }
        let config = PluginConfig {
            path: self.path.clone(),
            sha256,
            environment: self.environment.clone(),
            config: self.config.clone(),
        };
        Ok((plugin, config))
    }
}

impl Default for Config {
    fn default() -> Self {
        Self {
            verifier_socket: "/run/assayd/verifier.sock".into(),
            control_socket: "/run/assayd/control.sock".into(),
            socket_mode: SocketMode::Owner,
            allowed_users: vec![0],
            state_directory: "/var/lib/assayd".into(),
            policy: "/etc/assayd/policy.toml".into(),
            cache_size: DEFAULT_CACHE_SIZE,
            log: LogTarget::Auto,
            metrics_file: None,
            config_path: DEFAULT_CONFIG_PATH.to_owned(),
            metrics_listen: None,
            docker_config: Vec::new(),
            credential_helpers: vec!["/usr/local/bin".into(), "/usr/bin".into()],
            credential_provider: None,
            credential_socket: None,
            decision_log: DecisionLogTable::default(),
            registry: Vec::new(),
            revocation: Revocation::default(),
            plugin: BTreeMap::new(),
            fleet: None,
            floor: FloorTable::default(),
        }
    }
}

/// Why the configuration cannot be used.
#[derive(Debug, Error)]
pub enum ConfigError {
    /// A file cannot be read.
    #[error("{path}: {error}")]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// The document is malformed.
    #[error("{path}:{line}:{column}: {message}")]
    Parse {
        /// The file.
        path: PathBuf,
        /// Counted from 1.
        line: usize,
        /// Counted from 1.
        column: usize,
        /// What is wrong.
        message: String,
    },
    /// The kubelet's credential providers cannot be used.
    #[error(transparent)]
    Credentials(CredentialError),
    /// The settings contradict each other.
    #[error("{path}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What is wrong, and the way out.
        message: String,
    },
}

impl Config {
    /// Reads the configuration. A missing file at the default path is the default configuration; a missing file that was
    /// asked for by name is an error. Paths among systemd's credentials are not looked at: only the service has them.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or is malformed.
    pub fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        Self::read(path, |config, _| Ok(config))
    }

    /// The same for the service itself, which has systemd's credentials.
    ///
    /// # Errors
    ///
    /// The same, and where a path asks for a credential and systemd handed over none.
    pub fn load_in_service(path: Option<&Path>) -> Result<Self, ConfigError> {
        let folder = std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from);
        Self::read(path, |config, path| config.with_credentials(path, folder.as_deref()))
    }

    fn read(
        path: Option<&Path>,
        complete: impl FnOnce(Self, &Path) -> Result<Self, ConfigError>,
    ) -> Result<Self, ConfigError> {
        let (path, named) = path.map_or((Path::new(DEFAULT_PATH), false), |path| (path, true));
        match fs::read_to_string(path) {
            Ok(text) => {
                let config = complete(Self::parse(path, &text)?, path)?;
                Ok(config.relative_to(path.parent().unwrap_or(Path::new(""))))
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound && !named => Ok(Self::default()),
            Err(error) => Err(ConfigError::Read {
                path: path.into(),
                error,
            }),
        }
    }

    fn parse(path: &Path, text: &str) -> Result<Self, ConfigError> {
        let config: Self = toml::from_str(text).map_err(|error| {
            let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
            ConfigError::Parse {
                path: path.into(),
                line: before.matches('\n').count() + 1,
                column: before.chars().rev().take_while(|character| *character != '\n').count() + 1,
                message: error.message().to_owned(),
            }
        })?;
        let invalid = |message: String| ConfigError::Invalid {
            path: path.into(),
            message,
        };
        if config.verifier_socket == config.control_socket {
            return Err(invalid(
                "verifier_socket and control_socket are the same path".to_owned(),
            ));
        }
        let mut hosts = BTreeSet::new();
        for registry in &config.registry {
            if !hosts.insert(canonical_host(&registry.host)) {
                return Err(invalid(format!("registry {} is configured twice", registry.host)));
            }
            if registry.username.is_some() != registry.password_file.is_some() {
                return Err(invalid(format!(
                    "registry {}: username and password_file belong together, one is missing",
                    registry.host
                )));
            }
        }
        for (name, plugin) in &config.plugin {
            plugin.read(name).map_err(invalid)?;
        }
        config.decision_log.check().map_err(invalid)?;
        if let Some(fleet) = &config.fleet {
            fleet.check().map_err(invalid)?;
        }
        Ok(config)
    }

    /// What the runner of plugins needs.
    ///
    /// # Errors
    ///
    /// When a plugin's settings are invalid. A configuration that was read from a file has none.
    pub fn plugins(&self) -> Result<BTreeMap<PluginName, PluginConfig>, ConfigError> {
        let invalid = |message| ConfigError::Invalid {
            path: DEFAULT_PATH.into(),
            message,
        };
        self.plugin
            .iter()
            .map(|(name, plugin)| plugin.read(name).map_err(invalid))
            .collect()
    }

    /// Paths in the document are relative to its folder.
    fn relative_to(mut self, folder: &Path) -> Self {
        let registries = self
            .registry
            .iter_mut()
            .flat_map(|registry| registry.ca.iter_mut().chain(&mut registry.password_file));
        let own = [
            &mut self.verifier_socket,
            &mut self.control_socket,
            &mut self.state_directory,
            &mut self.policy,
        ];
        let docker = self.docker_config.iter_mut().chain(&mut self.credential_helpers);
        let docker = docker.chain(self.credential_socket.iter_mut());
        let providers = self.credential_provider.iter_mut();
        let docker = docker.chain(providers.flat_map(|provider| [&mut provider.config, &mut provider.bin_dir]));
        let plugins = self.plugin.values_mut().map(|plugin| &mut plugin.path);
        let socket = self.metrics_listen.iter_mut().filter_map(|address| match address {
            MetricsAddress::Unix(path) => Some(path),
            MetricsAddress::Loopback(_) => None,
        });
        let metrics = self
            .metrics_file
            .iter_mut()
            .chain(socket)
            .chain(&mut self.decision_log.directory);
        let fleet = self.fleet.iter_mut();
        let fleet = fleet.flat_map(|fleet| fleet.ca.iter_mut().chain([&mut fleet.root]));
        for path in own
            .into_iter()
            .chain(registries)
            .chain(docker)
            .chain(plugins)
            .chain(metrics)
            .chain(fleet)
        {
            *path = folder.join(&*path);
        }
        self
    }

    /// Reads the files that the registries name, and hands the fetcher what it needs.
    ///
    /// # Errors
    ///
    /// When a file cannot be read.
    pub fn fetch(&self) -> Result<FetchConfig, ConfigError> {
        let registries = self.registry.iter().map(|registry| {
            let credentials = match (&registry.username, &registry.password_file) {
                (Some(username), Some(file)) => {
                    let secret = String::from_utf8_lossy(&read_small(file)?)
                        .trim_end_matches(['\r', '\n'])
                        .to_owned();
                    Some(Credentials {
                        username: username.clone(),
                        secret: Secret::new(secret),
                    })
                }
                _ => None,
            };
            let extra_ca = registry.ca.iter().map(read_small).collect::<Result<_, _>>()?;
            let config = RegistryConfig {
                plain_http: registry.plain_http,
                extra_ca,
                credentials,
                private_addresses: registry.private_addresses,
                token_realms: registry.token_realms.clone(),
            };
            Ok((canonical_host(&registry.host), config))
        });
        Ok(FetchConfig {
            registries: registries.collect::<Result<_, _>>()?,
            keyring: self.keyring()?,
            hosts: HostTree::from_config_path(&self.config_path),
            proxy_hosts: proxy_hosts(std::env::vars()),
        })
    }

    fn keyring(&self) -> Result<Keyring, ConfigError> {
        let runner = Runner::new(self.credential_helpers.clone(), std::env::vars_os());
        let files = self.docker_config.iter().cloned().map(DockerConfig::new);
        let providers = match &self.credential_provider {
            None => None,
            Some(CredentialProvider { config, bin_dir }) => {
                Some(Providers::load(config, bin_dir, runner.clone()).map_err(ConfigError::Credentials)?)
            }
        };
        Ok(Keyring::new(Sources {
            files: files.collect(),
            runner,
            providers,
            socket: self.credential_socket.clone().map(CredentialSocket),
        }))
    }

    /// Puts systemd's folder of credentials into the paths that ask for it.
    fn with_credentials(mut self, path: &Path, folder: Option<&Path>) -> Result<Self, ConfigError> {
        let registries = self.registry.iter_mut();
        let secrets = registries.filter_map(|registry| registry.password_file.as_mut());
        for file in secrets.chain(&mut self.docker_config) {
            let Ok(name) = file.strip_prefix(CREDENTIALS_DIRECTORY) else {
                continue;
            };
            let Some(folder) = folder else {
                return Err(ConfigError::Invalid {
                    path: path.into(),
                    message: format!(
                        "{}: the service has no credentials: add LoadCredential={}:/path to its unit (systemctl edit assayd)",
                        file.display(),
                        name.display()
                    ),
                });
            };
            *file = folder.join(name);
        }
        Ok(self)
    }

    /// The log of decisions; none where no file of it is to be kept.
    pub fn decision_log_options(&self) -> Option<DecisionLogOptions> {
        let table = &self.decision_log;
        (table.files > 0).then(|| DecisionLogOptions {
            directory: (table.directory.clone()).unwrap_or_else(|| self.state_directory.join("decisions")),
            file_size: table.file_size,
            files: table.files,
        })
    }

    /// What the client of revocation endpoints needs.
    pub fn revocation_endpoints(&self) -> RevocationConfig {
        RevocationConfig {
            private_addresses: self.revocation.private_addresses,
            hosts: self.revocation.hosts.clone(),
            proxy_hosts: proxy_hosts(std::env::vars()),
        }
    }
}

/// Reads a file that the configuration names.
fn read_small(path: &PathBuf) -> Result<Vec<u8>, ConfigError> {
    let read = |error| ConfigError::Read {
        path: path.clone(),
        error,
    };
    let size = fs::metadata(path).map_err(read)?.len();
    if size > MAX_POLICY_SIZE as u64 {
        let message = format!("has {size} bytes, more than {MAX_POLICY_SIZE}");
        return Err(ConfigError::Invalid {
            path: path.clone(),
            message,
        });
    }
    fs::read(path).map_err(read)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, String> {
        Config::parse(Path::new("config.toml"), text).map_err(|error| error.to_string())
    }

    #[test]
    fn an_empty_document_is_the_default_configuration() {
        let config = parse("").unwrap();
        assert_eq!(config.verifier_socket, Path::new("/run/assayd/verifier.sock"));
        assert_eq!(config.allowed_users, [0]);
        assert_eq!(config.socket_mode.bits(), 0o600);
    }

    #[test]
    fn an_unknown_key_is_an_error_with_its_place() {
        let error = parse("policy = \"p\"\nverifer_socket = \"x\"\n").unwrap_err();
        assert!(
            error.starts_with("config.toml:2:1: unknown field `verifer_socket`"),
            "{error}"
        );
    }

    /// The keys of a table, as the error for a key that it does not have lists them.
    fn keys(table: &str) -> Vec<String> {
        let error = parse(&format!("{table}nobody_reads_this = 1\n")).unwrap_err();
        let (_, listed) = error.split_once("expected ").unwrap_or_default();
        let keys: Vec<_> = listed.split('`').skip(1).step_by(2).map(str::to_owned).collect();
        assert!(!keys.is_empty(), "{error}");
        keys
    }

    #[test]
    fn the_manual_has_every_key() {
        let manual = include_str!("../../docs/configuration.md");
        for (table, header) in [
            ("", None),
            ("[[registry]]\n", Some("[[registry]]")),
            ("[decision_log]\n", Some("`[decision_log]`")),
            ("[revocation]\n", Some("`[revocation]`")),
            ("[fleet]\n", Some("`[fleet]`")),
            ("[floor]\n", Some("`[floor]`")),
            ("[plugin.x]\n", Some("[plugin.")),
            ("[credential_provider]\n", None),
        ] {
            // From where the manual speaks of the table on.
            let at = header.map_or(0, |header| manual.find(header).expect(header));
            for key in keys(table) {
                let ways = [
                    format!("`{key}`"),
                    format!("`{key} = "),
                    format!("[{key}"),
                    format!("{{ {key} = "),
                    format!(", {key} = "),
                ];
                let told = ways.iter().any(|way| manual[at..].contains(way))
                    || manual[at..].lines().any(|line| {
                        line.strip_prefix(&key)
                            .is_some_and(|rest| rest.trim_start().starts_with('='))
                    });
                assert!(told, "docs/configuration.md does not tell of {key} in {table:?}");
            }
        }
    }

    #[test]
    fn the_decision_log_is_bounded_and_can_be_switched_off() {
        let options = parse("state_directory = \"/s\"")
            .unwrap()
            .decision_log_options()
            .unwrap();
        assert_eq!(options.directory, Path::new("/s/decisions"));
        assert!(
            parse("[decision_log]\nfiles = 0")
                .unwrap()
                .decision_log_options()
                .is_none()
        );
        for text in ["file_size = 1", "file_size = 999999999999", "files = 1001", "size = 1"] {
            assert!(parse(&format!("[decision_log]\n{text}")).is_err(), "{text}");
        }
    }

    #[test]
    fn metrics_are_for_this_machine_alone() {
        let listen = |text: &str| parse(&format!("metrics_listen = \"{text}\""));
        assert_eq!(parse("").unwrap().metrics_listen, None);
        for address in ["127.0.0.1:9464", "[::1]:9464"] {
            let expected = MetricsAddress::Loopback(address.parse().unwrap());
            assert_eq!(listen(address).unwrap().metrics_listen, Some(expected));
        }
        let config = listen("unix:metrics.sock")
            .unwrap()
            .relative_to(Path::new("/etc/assayd"));
        let expected = MetricsAddress::Unix("/etc/assayd/metrics.sock".into());
        assert_eq!(config.metrics_listen, Some(expected));
        for (address, words) in [
            ("0.0.0.0:9464", "is not a loopback address"),
            ("[::]:9464", "is not a loopback address"),
            ("192.0.2.1:9464", "is not a loopback address"),
            ("localhost:9464", "expected"),
            (":9464", "expected"),
            ("unix:", "expected"),
        ] {
            let error = listen(address).unwrap_err();
            assert!(
                error.starts_with("config.toml:1:18: ") && error.contains(words),
                "{error}"
            );
        }
    }

    #[test]
    fn refuses_half_a_credential_and_a_registry_named_twice() {
        let half = parse("[[registry]]\nhost = \"r.example\"\nusername = \"u\"\n").unwrap_err();
        assert!(half.contains("password_file"), "{half}");
        let twice = parse("[[registry]]\nhost = \"r.example\"\n[[registry]]\nhost = \"R.example:443\"\n").unwrap_err();
        assert!(twice.contains("configured twice"), "{twice}");
    }

    #[test]
    fn a_path_below_systemds_credentials_needs_them() {
        let text = "docker_config = [\"$CREDENTIALS_DIRECTORY/kubelet\"]\n[[registry]]\nhost = \"r.example\"\nusername = \"u\"\npassword_file = \"$CREDENTIALS_DIRECTORY/r\"\n";
        let path = Path::new("config.toml");
        let with = |folder| parse(text).unwrap().with_credentials(path, folder);
        let config = with(Some(Path::new("/run/credentials/assayd.service"))).unwrap();
        assert_eq!(
            config.docker_config,
            [Path::new("/run/credentials/assayd.service/kubelet")]
        );
        assert_eq!(
            config.registry[0].password_file.as_deref(),
            Some(Path::new("/run/credentials/assayd.service/r"))
        );
        let error = with(None).unwrap_err().to_string();
        assert!(error.contains("LoadCredential=r:/path"), "{error}");
    }

    #[test]
    fn only_the_service_needs_systemds_credentials() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.toml");
        fs::write(&path, "docker_config = [\"$CREDENTIALS_DIRECTORY/kubelet\"]\n").unwrap();
        let config = Config::load(Some(&path)).unwrap();
        assert_eq!(config.control_socket, Config::default().control_socket);
        let error = Config::load_in_service(Some(&path)).unwrap_err().to_string();
        assert!(error.contains("LoadCredential=kubelet:/path"), "{error}");
    }

    #[test]
    fn revocation_endpoints_are_public_unless_named() {
        let default = parse("").unwrap().revocation_endpoints();
        assert!(!default.private_addresses && default.hosts.is_empty());
        let text = "[revocation]\nprivate_addresses = true\nhosts = [\"pki.corp.example\", \"127.0.0.1:8888\"]\n";
        let named = parse(text).unwrap().revocation_endpoints();
        assert!(named.private_addresses);
        assert_eq!(
            named.hosts,
            ["pki.corp.example", "127.0.0.1:8888"]
                .map(|host| host.parse().unwrap())
                .into()
        );
    }

    const FLEET: &str =
        "[fleet]\nrepository = \"https://policy.corp.example/assayd\"\nroot = \"root.json\"\nchannel = \"stable\"\n";

    #[test]
    fn a_profile_says_what_is_not_set() {
        for (profile, grace, then) in [
            ("", 24, WhenExpired::DenyNew),
            ("profile = \"datacenter\"\n", 24, WhenExpired::DenyNew),
            ("profile = \"edge\"\n", 30 * 24, WhenExpired::CachedOnly),
            (
                "profile = \"edge\"\ngrace = \"2d\"\nwhen_expired = \"deny-new\"\n",
                48,
                WhenExpired::DenyNew,
            ),
        ] {
            let fleet = parse(&format!("{FLEET}{profile}")).unwrap().fleet.unwrap();
            let followed = fleet.followed();
            assert_eq!(followed.grace, Duration::from_secs(grace * 3600), "{profile}");
            assert_eq!(followed.when_expired, then, "{profile}");
            let Intervals { default, min, max } = fleet.intervals();
            assert_eq!([default, min, max].map(|one| one.as_secs()), [60, 5, 3600]);
        }
    }

    #[test]
    fn what_a_fleets_node_cannot_do_is_an_error_that_says_what_it_can() {
        for (setting, message) in [
            ("poll_interval = \"1s\"", "poll_interval is 1 s: expected 5 s to 3600 s"),
            ("min_poll_interval = \"1s\"", "expected 5 s to 86400 s"),
            ("min_poll_interval = \"2h\"", "the first not above the second"),
            ("grace = \"400d\"", "grace is above 366 days"),
            ("grace = \"soon\"", "expected a duration"),
            ("when_expired = \"admit\"", "unknown variant `admit`"),
            ("chanel = \"x\"", "unknown field `chanel`"),
        ] {
            let error = parse(&format!("{FLEET}{setting}\n")).unwrap_err();
            assert!(error.contains(message), "{setting}: {error}");
        }
        for (from, to, message) in [
            ("https://", "http://", "plain_http"),
            (
                "https://policy.corp.example/assayd",
                "policy.corp.example",
                "repository",
            ),
            ("stable", "../stable", "is not a channel"),
        ] {
            let error = parse(&FLEET.replace(from, to)).unwrap_err();
            assert!(error.contains(message), "{to}: {error}");
        }
    }

    #[test]
    fn a_floor_that_is_not_set_is_left_to_the_fleet() {
        assert_eq!(parse("").unwrap().floor.floor(), Floor::default());
        let set = parse("[floor]\nunmatched = \"deny\"\naudit = false\nexceptions = false\n").unwrap();
        let expected = Floor {
            unmatched: Unmatched::Deny,
            audit: false,
            accept_unverified: true,
            exceptions: false,
        };
        assert_eq!(set.floor.floor(), expected);
    }

    #[test]
    fn a_mistake_about_revocation_is_an_error_with_its_place() {
        for (text, place, what) in [
            ("[revocation]\nhost = []\n", "2:1", "unknown field `host`"),
            ("[revocation]\nprivate_addresses = 1\n", "2:21", "invalid type"),
            (
                "[revocation]\nhosts = [\n  \"a\",\n  \"http://a/\",\n]\n",
                "2:9",
                "is not a host",
            ),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.starts_with(&format!("config.toml:{place}: ")), "{error}");
            assert!(error.contains(what), "{error}");
        }
    }

    #[test]
    fn reads_a_plugin() {
        let text = r#"
            [plugin."com.example.plugin"]
            path = "plugins/notation-com.example.plugin"
            sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
            environment = { HOME = "/var/empty" }
            config = { region = "eu" }
        "#;
        let config = parse(text).unwrap().relative_to(Path::new("/etc/assayd"));
        let plugins = config.plugins().unwrap();
        let plugin = &plugins[&"com.example.plugin".parse().unwrap()];
        assert_eq!(
            plugin.path,
            Path::new("/etc/assayd/plugins/notation-com.example.plugin")
        );
        assert_eq!(plugin.sha256, Some(Digest::sha256(b"abc")));
        assert_eq!(plugin.environment["HOME"], "/var/empty");
        assert_eq!(plugin.config["region"], "eu");
    }

    #[test]
    fn refuses_a_plugin_that_could_not_be_run() {
        for (text, words) in [
            ("[plugin.a]\n", "missing field `path`"),
            ("[plugin.\"../a\"]\npath = \"/a\"\n", "is not the name of a plugin"),
            (
                "[plugin.a]\npath = \"/a\"\nsha256 = \"ABC\"\n",
                "plugin \"a\": sha256 is not 64",
            ),
            ("[plugin.a]\npath = \"/a\"\nshasum = \"\"\n", "unknown field"),
            (
                "[plugin.a]\npath = \"/a\"\nenvironment = { \"A=B\" = \"\" }\n",
                "environment",
            ),
            ("[plugin.a]\npath = \"/a\"\nconfig = { a = 1 }\n", "invalid type"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.contains(words), "{error}");
        }
    }

    #[test]
    fn refuses_a_socket_mode_for_everyone() {
        assert!(parse("socket_mode = \"0666\"").unwrap_err().contains("0660"));
    }
}
