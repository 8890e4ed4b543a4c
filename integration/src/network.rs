//! A network of a node's own, which can be cut.

use std::ffi::OsString;
use std::net::Ipv4Addr;
use std::process;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result};

use crate::peers::{IPROUTE2, Peers, Program};
use crate::process::output;

/// Addresses for the measurement of networks (RFC 2544 appendix C.2.2): nothing real has them. Its /30s, one for each cable.
const ADDRESSES: Ipv4Addr = Ipv4Addr::new(198, 18, 0, 0);
/// How many /30s a /15 has.
const SUBNETS: u32 = 1 << 15;
/// Networks that one process makes.
const FOR_EACH_PROCESS: u32 = 64;

/// How a network goes away.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// What is sent is lost, and nobody says so: a firewall drops it, or something in between has failed.
    Silent,
    /// There is no way to anywhere, and the kernel says so at once: the node's own interface is down.
    AtOnce,
}

/// A network namespace (network_namespaces(7)) with one cable to this machine, which goes when it is dropped.
///
/// Servers that listen on [`Self::outside`] are reached from both ends: from here also when it is cut.
#[derive(Debug)]
pub struct Network {
    ip: Program,
    /// Of the namespace, and of this end of the cable.
    name: String,
    outside: Ipv4Addr,
    inside: Ipv4Addr,
}

impl Network {
    /// Makes a network.
    ///
    /// # Errors
    ///
    /// Not root, the kernel has no network namespaces, or there is no `ip` and none can be fetched.
    pub async fn new(peers: &Peers) -> Result<Self> {
        static NETWORKS: AtomicU32 = AtomicU32::new(0);
        let number = NETWORKS.fetch_add(1, Ordering::Relaxed);
        let ip = match Program::on_path("ip") {
            Some(ip) => ip,
            None => peers
                .linked(&IPROUTE2)
                .context("no ip on PATH, and none can be fetched")?,
        };
        let subnet = process::id().wrapping_mul(FOR_EACH_PROCESS).wrapping_add(number) % SUBNETS;
        let base = u32::from(ADDRESSES) + 4 * subnet;
        let network = Self {
            ip,
            // IFNAMSIZ: at most 15 characters. Process ids have up to seven.
            name: format!("assay{}-{number}", process::id()),
            outside: (base + 1).into(),
            inside: (base + 2).into(),
        };
        let Self {
            name, outside, inside, ..
        } = &network;
        for arguments in [
            format!("netns add {name}"),
            format!("link add {name} type veth peer name eth0 netns {name}"),
            format!("addr add {outside}/30 dev {name}"),
            format!("link set {name} up"),
            format!("-n {name} link set lo up"),
            format!("-n {name} addr add {inside}/30 dev eth0"),
            format!("-n {name} link set eth0 up"),
        ] {
            network.ip(&arguments).await?;
        }
        Ok(network)
    }

    /// This machine's end of the cable.
    pub fn outside(&self) -> Ipv4Addr {
        self.outside
    }

    /// Takes the network away.
    ///
    /// # Errors
    ///
    /// `ip` refused.
    pub async fn cut(&self, how: Cut) -> Result<()> {
        let Self { name, outside, .. } = self;
        self.ip(&match how {
            // Frames go to an address that nobody has.
            Cut::Silent => format!("-n {name} neigh replace {outside} lladdr 02:00:00:00:00:00 nud permanent dev eth0"),
            Cut::AtOnce => format!("-n {name} link set eth0 down"),
        })
        .await
    }

    /// Brings it back.
    ///
    /// # Errors
    ///
    /// `ip` refused.
    pub async fn mend(&self) -> Result<()> {
        let name = &self.name;
        self.ip(&format!("-n {name} neigh flush nud permanent dev eth0"))
            .await?;
        self.ip(&format!("-n {name} link set eth0 up")).await
    }

    /// What stands before a program's command line, so that it runs here.
    pub(crate) fn within(&self) -> Vec<OsString> {
        vec!["nsenter".into(), format!("--net=/run/netns/{}", self.name).into()]
    }

    async fn ip(&self, arguments: &str) -> Result<()> {
        let mut command = self.ip.command();
        command.args(arguments.split(' '));
        let finished = output(command).await?.successful();
        finished.map(drop).with_context(|| format!("ip {arguments}"))
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        // The end inside goes with the namespace once nobody runs in it, and the cable with either end.
        for arguments in [["link", "del"], ["netns", "del"]] {
            let mut command = self.ip.command();
            command.args(arguments).arg(&self.name);
            let _: std::io::Result<process::Output> = command.output();
        }
    }
}
