//! containerd's effective configuration, as `containerd config dump` prints it: defaults, the file, and what it imports,
//! merged by containerd itself. Nobody else can say what counts.

use std::path::PathBuf;
use std::time::Duration;

use jiff::SignedDuration;
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};
use thiserror::Error;
use toml::{Table, Value};

/// containerd's own defaults (2.1, `plugins/imageverifier` and `internal/cri/config`), for keys that a dump leaves out.
const DEFAULT_ADDRESS: &str = "/run/containerd/containerd.sock";
pub(in crate::ctl) const DEFAULT_BIN_DIR: &str = "/opt/containerd/image-verifier/bin";
pub(in crate::ctl) const DEFAULT_MAX_VERIFIERS: i64 = 10;
const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);
/// The one number of concurrent downloads with which containerd does not fall back to local pulls.
pub(in crate::ctl) const DEFAULT_DOWNLOADS: i64 = 3;

/// The image verifiers' plugin.
pub(in crate::ctl) const VERIFIER_PLUGIN: &str = "io.containerd.image-verifier.v1.bindir";
/// CRI's image service since 2.0.
pub(in crate::ctl) const CRI_IMAGES: &str = "io.containerd.cri.v1.images";
/// What limits downloads where the transfer service pulls, which asks verifiers.
pub(in crate::ctl) const TRANSFER: &str = "io.containerd.transfer.v1.local";
/// Where the socket is since 2.3, in place of the table `grpc`.
const GRPC_SERVER: &str = "io.containerd.server.v1.grpc";
const CRI_RUNTIME: &str = "io.containerd.cri.v1.runtime";
/// All of CRI before 2.0; since then its gRPC service alone.
pub(in crate::ctl) const CRI_SERVICE: &str = "io.containerd.grpc.v1.cri";

/// What of the configuration matters to image verifiers.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(in crate::ctl) struct Effective {
    pub(in crate::ctl) grpc: Grpc,
    pub(in crate::ctl) disabled_plugins: Vec<String>,
    /// All of the plugins' tables.
    pub(in crate::ctl) plugins: Table,
    #[serde(skip)]
    pub(in crate::ctl) verifiers: Verifiers,
    #[serde(skip)]
    pub(in crate::ctl) images: Images,
    /// Where network plugins lie.
    #[serde(skip)]
    pub(in crate::ctl) network_folders: Vec<PathBuf>,
    /// The image of pods' own containers.
    #[serde(skip)]
    pub(in crate::ctl) sandbox_image: Option<String>,
}

#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub(in crate::ctl) struct Grpc {
    /// The socket, which serves CRI too.
    pub(in crate::ctl) address: PathBuf,
}

impl Default for Grpc {
    fn default() -> Self {
        Self {
            address: DEFAULT_ADDRESS.into(),
        }
    }
}

/// The settings of the image verifiers' plugin.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub(in crate::ctl) struct Verifiers {
    /// Empty where the configuration empties it.
    pub(in crate::ctl) bin_dir: PathBuf,
    /// How many run; below zero all.
    pub(in crate::ctl) max_verifiers: i64,
    #[serde(rename = "per_verifier_timeout", deserialize_with = "go_duration")]
    pub(in crate::ctl) timeout: Duration,
}

impl Default for Verifiers {
    fn default() -> Self {
        Self {
            bin_dir: DEFAULT_BIN_DIR.into(),
            max_verifiers: DEFAULT_MAX_VERIFIERS,
            timeout: DEFAULT_TIMEOUT,
        }
    }
}

/// The settings of CRI's image service by which containerd decides between its transfer service, which asks verifiers, and
/// local pulls, which do not (`CheckLocalImagePullConfigs`).
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(default)]
pub(in crate::ctl) struct Images {
    pub(in crate::ctl) disable_snapshot_annotations: bool,
    pub(in crate::ctl) discard_unpacked_layers: bool,
    pub(in crate::ctl) max_concurrent_downloads: i64,
    pub(in crate::ctl) image_pull_with_sync_fs: bool,
    pub(in crate::ctl) use_local_image_pull: bool,
    pub(in crate::ctl) registry: Registry,
    pinned_images: Pinned,
}

impl Default for Images {
    fn default() -> Self {
        Self {
            disable_snapshot_annotations: true,
            discard_unpacked_layers: false,
            max_concurrent_downloads: DEFAULT_DOWNLOADS,
            image_pull_with_sync_fs: false,
            use_local_image_pull: false,
            registry: Registry::default(),
            pinned_images: Pinned::default(),
        }
    }
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
pub(in crate::ctl) struct Registry {
    pub(in crate::ctl) mirrors: Table,
    pub(in crate::ctl) configs: Table,
    pub(in crate::ctl) auths: Table,
}

#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(default)]
struct Pinned {
    sandbox: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Runtime {
    cni: Network,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Network {
    bin_dir: PathBuf,
    bin_dirs: Vec<PathBuf>,
}

/// CRI before 2.0.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OldCri {
    sandbox_image: Option<String>,
    cni: Network,
}

/// A dump that cannot be read.
#[derive(Debug, Error)]
#[error("containerd's configuration cannot be read: {0}")]
pub(in crate::ctl) struct EffectiveError(String);

impl Effective {
    /// Reads what `containerd config dump` prints.
    pub(in crate::ctl) fn parse(dump: &str) -> Result<Self, EffectiveError> {
        let mut effective: Self = toml::from_str(dump).map_err(|error| EffectiveError(error.message().to_owned()))?;
        effective.verifiers = table(&effective.plugins, VERIFIER_PLUGIN)?;
        effective.images = table(&effective.plugins, CRI_IMAGES)?;
        if effective.plugins.contains_key(GRPC_SERVER) {
            effective.grpc = table(&effective.plugins, GRPC_SERVER)?;
        }
        let old: OldCri = table(&effective.plugins, CRI_SERVICE)?;
        let runtime: Runtime = table(&effective.plugins, CRI_RUNTIME)?;
        effective.sandbox_image = effective.images.pinned_images.sandbox.take().or(old.sandbox_image);
        effective.sandbox_image = effective.sandbox_image.filter(|image| !image.is_empty());
        for network in [runtime.cni, old.cni] {
            effective.network_folders.push(network.bin_dir);
            effective.network_folders.extend(network.bin_dirs);
        }
        effective
            .network_folders
            .retain(|folder| !folder.as_os_str().is_empty());
        Ok(effective)
    }

    /// Whether a plugin is disabled, under its whole name or, as older configurations have it, its last part.
    pub(in crate::ctl) fn disables(&self, plugin: &str) -> bool {
        let last = plugin.rsplit('.').next().unwrap_or(plugin);
        self.disabled_plugins
            .iter()
            .any(|disabled| disabled == plugin || disabled == last)
    }
}

fn table<T: Default + serde::de::DeserializeOwned>(plugins: &Table, name: &str) -> Result<T, EffectiveError> {
    match plugins.get(name) {
        None => Ok(T::default()),
        Some(table) => Value::try_into(table.clone())
            .map_err(|error: toml::de::Error| EffectiveError(format!("plugins.\"{name}\": {}", error.message()))),
    }
}

/// A duration as Go prints it: `10s`, `1m30s`. One below zero is over at once, as zero is.
fn go_duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let text = String::deserialize(deserializer)?;
    let read: SignedDuration = text.parse().map_err(|_| D::Error::custom("not a duration"))?;
    Ok(Duration::try_from(read).unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_matters_of_a_dump() {
        let dump = "version = 3\ndisabled_plugins = ['cri']\n\
            [grpc]\n  address = '/run/k3s/containerd/containerd.sock'\n\
            [plugins]\n  [plugins.'io.containerd.cri.v1.images']\n    discard_unpacked_layers = true\n\
            [plugins.'io.containerd.cri.v1.images'.pinned_images]\n      sandbox = 'registry.k8s.io/pause:3.10'\n\
            [plugins.'io.containerd.cri.v1.images'.registry.mirrors.'docker.io']\n  endpoint = ['https://m.example']\n\
            [plugins.'io.containerd.cri.v1.runtime'.cni]\n  bin_dir = ''\n  bin_dirs = ['/opt/cni/bin']\n\
            [plugins.'io.containerd.image-verifier.v1.bindir']\n  bin_dir = '/v'\n  max_verifiers = -1\n\
            per_verifier_timeout = '1m30s'\n";
        let effective = Effective::parse(dump).unwrap();
        assert_eq!(
            effective.grpc.address,
            PathBuf::from("/run/k3s/containerd/containerd.sock")
        );
        assert!(effective.disables(CRI_SERVICE) && !effective.disables(VERIFIER_PLUGIN));
        assert!(effective.images.discard_unpacked_layers && !effective.images.use_local_image_pull);
        assert!(effective.images.registry.mirrors.contains_key("docker.io"));
        assert_eq!(effective.sandbox_image.as_deref(), Some("registry.k8s.io/pause:3.10"));
        assert_eq!(effective.network_folders, [PathBuf::from("/opt/cni/bin")]);
        let verifiers = Verifiers {
            bin_dir: "/v".into(),
            max_verifiers: -1,
            timeout: Duration::from_secs(90),
        };
        assert_eq!(effective.verifiers, verifiers);
    }

    #[test]
    fn reads_the_socket_where_2_3_prints_it() {
        let dump = "version = 4\n[plugins.'io.containerd.server.v1.grpc']\naddress = '/run/other.sock'\nuid = 0\n";
        assert_eq!(
            Effective::parse(dump).unwrap().grpc.address,
            PathBuf::from("/run/other.sock")
        );
    }

    #[test]
    fn what_a_dump_leaves_out_is_containerds_default() {
        let effective = Effective::parse("version = 3\n").unwrap();
        assert_eq!(effective.verifiers.bin_dir, PathBuf::from(DEFAULT_BIN_DIR));
        assert_eq!(effective.images, Images::default());
        assert_eq!(effective.grpc.address, PathBuf::from(DEFAULT_ADDRESS));
    }

    #[test]
    fn a_dump_that_is_none_is_an_error_that_names_the_plugin() {
        assert!(Effective::parse("not toml").is_err());
        let wrong = "[plugins.'io.containerd.image-verifier.v1.bindir']\nper_verifier_timeout = 'soon'\n";
        let said = Effective::parse(wrong).unwrap_err().to_string();
        assert!(said.contains(VERIFIER_PLUGIN) && said.contains("duration"), "{said}");
    }

    #[test]
    fn reads_the_names_of_before_2_0() {
        let dump = "version = 2\n[plugins.'io.containerd.grpc.v1.cri']\nsandbox_image = 'registry.k8s.io/pause:3.8'\n\
            [plugins.'io.containerd.grpc.v1.cri'.cni]\nbin_dir = '/opt/cni/bin'\n";
        let effective = Effective::parse(dump).unwrap();
        assert_eq!(effective.sandbox_image.as_deref(), Some("registry.k8s.io/pause:3.8"));
        assert_eq!(effective.network_folders, [PathBuf::from("/opt/cni/bin")]);
    }
}
