//! Where addresses learned from answers may lead: never into the node's own networks.
//!
//! The check is made where a name becomes addresses, inside the HTTP client, and the client connects to what the check
//! let through. A name that answers differently the next time (rebinding) is checked the next time. A literal address
//! never reaches a resolver, so it is checked in the URL.

use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use reqwest::dns::{Addrs, Name, Resolve, Resolving};
use thiserror::Error;
use url::{Host, Url};

use assay_verify::untrusted::Untrusted;

/// A name or address that leads into the node's own networks.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error("{host} leads to {address}, which is not a public address")]
pub struct ForbiddenAddress {
    /// The host, as the answer named it.
    pub host: Untrusted,
    /// Where it leads.
    pub address: IpAddr,
}

/// Whether an address is on the public internet: not loopback, private, shared, link-local, unique-local, multicast,
/// unspecified, reserved (IANA's special-purpose address registries), and not a wrapper of such an address.
pub fn is_public(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(address) => is_public_v4(address),
        IpAddr::V6(address) => is_public_v6(address),
    }
}

fn is_public_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    !(a == 0
        || a == 127
        || address.is_private()
        || address.is_link_local()
        || (a == 100 && (64..128).contains(&b)) // RFC 6598
        || (a == 192 && b == 0 && c == 0) // RFC 6890
        || (a == 198 && (b == 18 || b == 19)) // RFC 2544
        || address.is_documentation()
        || a >= 224)
}

fn is_public_v6(address: Ipv6Addr) -> bool {
    let segments = address.segments();
    let embedded = |high: u16, low: u16| {
        let [a, b] = high.to_be_bytes();
        let [c, d] = low.to_be_bytes();
        is_public_v4(Ipv4Addr::new(a, b, c, d))
    };
    match segments {
        // Mapped and the deprecated compatible addresses (RFC 4291 §2.5.5); `::` and `::1` are among the latter.
        [0, 0, 0, 0, 0, 0 | 0xffff, high, low] => embedded(high, low),
        // Translation to IPv4 (RFC 6052), and its local prefix (RFC 8215), whose networks nobody outside knows.
        [0x64, 0xff9b, 0, 0, 0, 0, high, low] => embedded(high, low),
        [0x64, 0xff9b, ..] => false,
        // 6to4 (RFC 3056).
        [0x2002, high, low, ..] => embedded(high, low),
        // IETF protocol assignments, Teredo among them (RFC 2928), and documentation.
        [0x2001, second, ..] => second >= 0x200 && second != 0xdb8,
        // Global unicast is 2000::/3 and nothing else; unique-local, link-local, site-local and multicast lie outside.
        [first, ..] => first & 0xe000 == 0x2000,
    }
}

/// Refuses a URL whose host is a literal address that is not public.
pub(super) fn check_literal(url: &Url) -> Result<(), ForbiddenAddress> {
    let address = match url.host() {
        Some(Host::Ipv4(address)) => IpAddr::V4(address),
        Some(Host::Ipv6(address)) => IpAddr::V6(address),
        Some(Host::Domain(_)) | None => return Ok(()),
    };
    if is_public(address) {
        return Ok(());
    }
    Err(ForbiddenAddress {
        host: url.host_str().unwrap_or_default().into(),
        address,
    })
}

/// The system's resolver.
#[derive(Debug, Default)]
pub(super) struct SystemResolver;

impl Resolve for SystemResolver {
    fn resolve(&self, name: Name) -> Resolving {
        Box::pin(async move {
            // The port is the URL's; the client sets it.
            let addresses: Vec<SocketAddr> = tokio::net::lookup_host((name.as_str(), 0)).await?.collect();
            Ok(Box::new(addresses.into_iter()) as Addrs)
        })
    }
}

/// A resolver that lets only public addresses through, and anything for the hosts of proxies.
pub(super) struct PublicOnly {
    pub(super) resolver: Arc<dyn Resolve>,
    pub(super) proxy_hosts: BTreeSet<String>,
}

impl Resolve for PublicOnly {
    fn resolve(&self, name: Name) -> Resolving {
        let host = name.as_str().to_owned();
        let proxy = self.proxy_hosts.contains(&host);
        let resolving = self.resolver.resolve(name);
        Box::pin(async move {
            let addresses: Vec<SocketAddr> = resolving.await?.collect();
            if proxy {
                return Ok(Box::new(addresses.into_iter()) as Addrs);
            }
            let (public, forbidden): (Vec<_>, Vec<_>) =
                addresses.into_iter().partition(|address| is_public(address.ip()));
            match forbidden.first() {
                Some(address) if public.is_empty() => Err(ForbiddenAddress {
                    host: host.into(),
                    address: address.ip(),
                }
                .into()),
                _ => Ok(Box::new(public.into_iter()) as Addrs),
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_public_internet_is_public() {
        for (address, public) in [
            ("93.184.215.14", true),
            ("2606:4700::6810:84e5", true),
            ("172.15.0.1", true),
            ("172.32.0.1", true),
            ("100.63.255.255", true),
            ("100.128.0.1", true),
            ("127.0.0.1", false),
            ("127.255.255.254", false),
            ("10.0.0.1", false),
            ("172.16.0.1", false),
            ("192.168.1.1", false),
            ("169.254.169.254", false),
            ("100.64.0.1", false),
            ("100.127.255.255", false),
            ("192.0.0.1", false),
            ("198.18.0.1", false),
            ("0.0.0.0", false),
            ("0.1.2.3", false),
            ("224.0.0.1", false),
            ("240.0.0.1", false),
            ("255.255.255.255", false),
            ("::", false),
            ("::1", false),
            ("::ffff:127.0.0.1", false),
            ("::ffff:169.254.169.254", false),
            ("::ffff:93.184.215.14", true),
            ("::10.0.0.1", false),
            ("64:ff9b::10.0.0.1", false),
            ("64:ff9b::93.184.215.14", true),
            ("64:ff9b:1::1", false),
            ("2002:7f00:1::", false),
            ("2001::1", false),
            ("2001:db8::1", false),
            ("fe80::1", false),
            ("fec0::1", false),
            ("fc00::1", false),
            ("fd12:3456::1", false),
            ("ff02::1", false),
        ] {
            assert_eq!(is_public(address.parse().unwrap()), public, "{address}");
        }
    }

    #[test]
    fn refuses_literal_addresses_however_they_are_written() {
        for url in [
            "https://127.0.0.1/",
            "https://0x7f.1/",
            "https://2130706433/",
            "https://0251.0376.169.254/",
            "https://[::1]:8443/",
            "https://[::ffff:10.0.0.1]/",
            "https://169.254.169.254./",
        ] {
            assert!(check_literal(&Url::parse(url).unwrap()).is_err(), "{url}");
        }
        assert_eq!(check_literal(&Url::parse("https://storage.example/").unwrap()), Ok(()));
        assert_eq!(check_literal(&Url::parse("https://93.184.215.14/").unwrap()), Ok(()));
    }

    struct Fixed(Vec<SocketAddr>);

    impl Resolve for Fixed {
        fn resolve(&self, _: Name) -> Resolving {
            let addresses = self.0.clone();
            Box::pin(async move { Ok(Box::new(addresses.into_iter()) as Addrs) })
        }
    }

    async fn resolve(addresses: &[&str], proxy_hosts: &[&str]) -> Result<Vec<IpAddr>, String> {
        let resolver = PublicOnly {
            resolver: Arc::new(Fixed(
                addresses
                    .iter()
                    .map(|ip| SocketAddr::new(ip.parse().unwrap(), 0))
                    .collect(),
            )),
            proxy_hosts: proxy_hosts.iter().map(|&host| host.to_owned()).collect(),
        };
        match resolver.resolve("storage.example".parse().unwrap()).await {
            Ok(addresses) => Ok(addresses.map(|address| address.ip()).collect()),
            Err(error) => Err(error.to_string()),
        }
    }

    #[tokio::test]
    async fn a_name_is_checked_by_where_it_leads() {
        assert_eq!(
            resolve(&["169.254.169.254"], &[]).await,
            Err("storage.example leads to 169.254.169.254, which is not a public address".to_owned())
        );
        let public: IpAddr = "93.184.215.14".parse().unwrap();
        assert_eq!(resolve(&["10.0.0.1", "93.184.215.14"], &[]).await, Ok(vec![public]));
    }

    #[tokio::test]
    async fn a_proxy_may_be_private() {
        assert_eq!(resolve(&["10.0.0.1"], &["storage.example"]).await.unwrap().len(), 1);
    }
}
