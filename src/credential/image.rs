//! The names under which credentials are kept, and which images they match: as the kubelet matches them
//! (k8s.io/kubernetes/pkg/credentialprovider, URLsMatch).

use assay_verify::reference::{DOCKER_HUB, canonical_host};

/// An image at one host: the host that is asked, and the repository as that host names it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct ImageName {
    host: Box<str>,
    repository: Box<str>,
}

impl ImageName {
    /// The image `repository` at `host`. Docker Hub has one name, whichever is given.
    pub fn new(host: &str, repository: &str) -> Self {
        Self {
            host: canonical_host(host).into(),
            repository: repository.into(),
        }
    }

    /// The host, with its port where that is not 443.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The repository, as the host names it.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The name as an image reference has it, without tag and digest.
    pub fn reference(&self) -> String {
        format!("{}/{}", self.host, self.repository)
    }
}

/// A name under which credentials are kept: a host, in which `*` stands for a part of one label, a port, and the beginning of
/// a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pattern {
    host: String,
    port: Option<String>,
    path: String,
}

impl Pattern {
    /// Reads a pattern, with a scheme or without. Docker's version (`/v1/`, `/v2/`) is no part of a path.
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let rest = match text.split_once("://") {
            Some(("http" | "https", rest)) => rest,
            Some((scheme, _)) => {
                return Err(format!(
                    "{text:?} has the scheme {scheme:?}: only hosts have credentials here"
                ));
            }
            None => text,
        };
        let (authority, path) = match rest.find('/') {
            Some(at) => rest.split_at(at),
            None => (rest, ""),
        };
        if authority.is_empty() || authority.contains(['@', '#', ' ']) {
            return Err(format!("{text:?} names no host"));
        }
        if authority.contains(['[', '\\']) && !authority.starts_with('[') {
            return Err(format!("{text:?}: only * and ? are understood in a pattern"));
        }
        let path = ["/v1/", "/v2/"]
            .iter()
            .find_map(|version| path.strip_prefix(version))
            .unwrap_or_else(|| path.trim_start_matches('/'));
        // A pattern is no host to be made canonical, but for those of Docker Hub, which mean the same to everybody.
        let lower = authority.to_ascii_lowercase();
        let host = match canonical_host(&lower) {
            hub if hub == DOCKER_HUB => hub,
            _ => lower,
        };
        let (host, port) = split_port(&host);
        Ok(Self {
            host: host.to_owned(),
            port: port.filter(|port| *port != "443").map(str::to_owned),
            path: path.to_owned(),
        })
    }

    /// How particular it is: the more so, the earlier it counts.
    pub(super) fn rank(&self) -> (usize, usize, String) {
        let wildcards = self.host.matches(['*', '?']).count();
        (usize::MAX - wildcards, self.path.len(), self.host.clone())
    }

    /// Whether it means this image.
    pub(super) fn matches(&self, image: &ImageName) -> bool {
        let (host, port) = split_port(&image.host);
        if port.filter(|port| *port != "443") != self.port.as_deref() {
            return false;
        }
        let wanted: Vec<&str> = self.host.split('.').collect();
        let labels: Vec<&str> = host.split('.').collect();
        wanted.len() == labels.len()
            && wanted
                .iter()
                .zip(&labels)
                .all(|(pattern, label)| glob(pattern.as_bytes(), label.as_bytes()))
            && image.repository.starts_with(&self.path)
    }
}

/// A host's name and port; the port of an address in brackets stands behind them.
fn split_port(host: &str) -> (&str, Option<&str>) {
    match host.rsplit_once(':') {
        Some((name, port)) if !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit() || byte == b'*') => {
            (name, Some(port))
        }
        _ => (host, None),
    }
}

/// Whether a label fits a pattern with `*` and `?`. It takes one step back at most, so it is linear in each star.
fn glob(pattern: &[u8], label: &[u8]) -> bool {
    let (mut at, mut from) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match (pattern.get(at), label.get(from)) {
            (None, None) => return true,
            (Some(b'*'), _) => {
                star = Some((at, from));
                at += 1;
            }
            (Some(b'?'), Some(_)) => (at, from) = (at + 1, from + 1),
            (Some(wanted), Some(found)) if wanted == found => (at, from) = (at + 1, from + 1),
            _ => match star {
                Some((star_at, taken)) if taken < label.len() => {
                    star = Some((star_at, taken + 1));
                    (at, from) = (star_at + 1, taken + 1);
                }
                _ => return false,
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn matches_as_the_kubelet_does() {
        for (pattern, image, expected) in [
            ("registry.example", "registry.example/a", true),
            ("https://registry.example", "registry.example/a", true),
            ("https://registry.example/v2/", "registry.example/a", true),
            ("https://index.docker.io/v1/", "docker.io/library/a", true),
            ("registry-1.docker.io", "docker.io/library/a", true),
            ("registry.example:443", "registry.example/a", true),
            ("registry.example:5000", "registry.example/a", false),
            ("registry.example", "registry.example:5000/a", false),
            ("registry.example:5000", "registry.example:5000/a", true),
            ("127.0.0.1:5000", "127.0.0.1:5000/a", true),
            ("[::1]:5000", "[::1]:5000/a", true),
            ("registry.example/team", "registry.example/team/a", true),
            ("registry.example/team", "registry.example/other/a", false),
            ("*.dkr.ecr.*.amazonaws.com", "1.dkr.ecr.eu-1.amazonaws.com/a", true),
            (
                "*.dkr.ecr.*.amazonaws.com",
                "1.dkr.ecr.eu-1.amazonaws.com.evil.example/a",
                false,
            ),
            ("*.example", "a.b.example/x", false),
            ("*.example", "example/x", false),
            ("*", "registry.example/a", false),
            ("reg*ry.example", "registry.example/a", true),
            ("registr?.example", "registry.example/a", true),
            ("registry.example", "registry.example.evil/a", false),
            ("registry.example", "evil.example/registry.example", false),
            ("REGISTRY.example", "registry.example/a", true),
        ] {
            let (host, repository) = image.split_once('/').unwrap();
            let matched = Pattern::parse(pattern)
                .unwrap()
                .matches(&ImageName::new(host, repository));
            assert_eq!(matched, expected, "{pattern} {image}");
        }
    }

    #[test]
    fn refuses_what_names_no_host() {
        for text in [
            "",
            "/a",
            "ftp://registry.example",
            "user@registry.example",
            "reg[a-z].example",
        ] {
            assert!(Pattern::parse(text).is_err(), "{text}");
        }
    }
}
