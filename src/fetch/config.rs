//! What the fetcher is told: plain data. The daemon reads the files.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use assay_verify::untrusted::Untrusted;

use super::hosts::HostTree;
use crate::credential::{Credentials, Keyring};

/// How registries are reached. Empty is a good configuration: HTTPS, system roots, anonymous.
#[derive(Clone, Debug, Default)]
pub struct FetchConfig {
    /// Registries that differ from the default, by host (with its port where that is not 443). Names are made canonical
    /// as those of images are: Docker Hub is `docker.io`.
    pub registries: BTreeMap<String, RegistryConfig>,
    /// Which hosts serve a registry's images: containerd's own files. What is said above counts for each host by its name,
    /// mirrors too.
    pub hosts: HostTree,
    /// Where the credentials of hosts are that have none above.
    pub keyring: Keyring,
    /// The hosts of the proxies that the environment names; see [`proxy_hosts`]. A proxy may have a private address.
    pub proxy_hosts: BTreeSet<String>,
}

/// How one registry is reached.
#[derive(Clone, Debug, Default)]
pub struct RegistryConfig {
    /// HTTP instead of HTTPS, for this host alone, where no host tree says how it is reached: a redirect or token server on another host stays HTTPS.
    pub plain_http: bool,
    /// Certificate authorities beside the system's, each a PEM file with one or more certificates. They are also trusted
    /// for the hosts that this registry sends us to.
    pub extra_ca: Vec<Vec<u8>>,
    /// User name and password, or a robot's name and token.
    pub credentials: Option<Credentials>,
    /// Whether redirects and token servers of this registry may lead to private addresses, such as storage in the same
    /// network. The registry itself always may.
    pub private_addresses: bool,
    /// Hosts of token servers, beside the registry's own, that receive the credentials (with the port where that is not
    /// 443). They may have private addresses.
    pub token_realms: BTreeSet<String>,
}

/// Why a configuration is refused.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ConfigError {
    /// The key of a registry is not a host.
    #[error("registry {0}: expected a host, with a port where that is not 443")]
    Host(Untrusted),
    /// Two keys name the same registry.
    #[error("registry {0} is configured twice under different names")]
    Duplicate(Untrusted),
    /// A certificate authority cannot be read.
    #[error("registry {host}: certificate authority {position}: {cause}")]
    Certificate {
        /// The registry.
        host: Box<str>,
        /// Which of its files, from 1.
        position: usize,
        /// What is wrong with it.
        cause: Untrusted,
    },
    /// A user name that HTTP's basic authentication cannot carry (RFC 7617 §2).
    #[error("registry {0}: the user name holds a colon or a control character")]
    Username(Box<str>),
    /// The HTTP client cannot be made.
    #[error("the HTTP client cannot be made: {0}")]
    Client(Untrusted),
}

/// The hosts of the proxies that an environment names (`HTTPS_PROXY`, `HTTP_PROXY`, `ALL_PROXY`, in either case).
///
/// reqwest follows these variables by itself. Behind a proxy it is the proxy that connects, so that only its own rules
/// can keep learned names from private addresses; learned literal addresses are still checked here.
pub fn proxy_hosts(environment: impl IntoIterator<Item = (String, String)>) -> BTreeSet<String> {
    environment
        .into_iter()
        .filter(|(name, _)| {
            let name = name.to_ascii_lowercase();
            ["https_proxy", "http_proxy", "all_proxy"].contains(&name.as_str())
        })
        .filter_map(|(_, value)| {
            // A proxy is often written without its scheme.
            let url = if value.contains("://") {
                value
            } else {
                format!("http://{value}")
            };
            let url = url::Url::parse(&url).ok()?;
            url.host_str().map(str::to_owned)
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_hosts_of_proxies() {
        let environment = [
            ("HTTPS_PROXY", "http://user:pass@proxy.corp:3128"),
            ("http_proxy", "cache.corp:8080"),
            ("PATH", "/bin"),
            ("ALL_PROXY", ""),
        ];
        let hosts = proxy_hosts(environment.map(|(name, value)| (name.to_owned(), value.to_owned())));
        assert_eq!(
            hosts,
            BTreeSet::from(["cache.corp".to_owned(), "proxy.corp".to_owned()])
        );
    }
}
