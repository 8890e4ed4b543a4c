//! Image references, parsed once into canonical names.
//!
//! The grammar is that of the distribution project, Docker's short names included. On top, names are made canonical, so
//! that one repository has one name: the host in lower case and without `:443`, and docker.io under all its names. A rule
//! compares canonical names only.
//!
//! oci-spec has the same grammar as a regular expression. Compiled, that holds 13 MiB, so the grammar is written out
//! here, and the tests compare both. This one is stricter: tags are ASCII, as the specification has them; a
//! repository has no capitals also where Docker's short names leave out the host; and a host has no underscores.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::digest::{Digest, ParseDigestError};
use crate::limits::{MAX_REFERENCE_LENGTH, MAX_REPOSITORY_LENGTH, MAX_TAG_LENGTH};
use crate::untrusted::Untrusted;

/// Docker Hub's canonical host.
pub const DOCKER_HUB: &str = "docker.io";

/// The other hosts that are Docker Hub: the legacy index name that clients write, and the host that serves it.
const DOCKER_HUB_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// A repository under its canonical name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Repository {
    host: Box<str>,
    path: Box<str>,
}

impl Repository {
    /// The registry: a host in lower case, with its port where that is not 443.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The path below the registry, e.g. `library/alpine`.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.host, self.path)
    }
}

impl FromStr for Repository {
    type Err = ParseReferenceError;

    /// Parses a repository; a tag or digest is refused.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let last = text.rsplit('/').next().unwrap_or(text);
        if text.contains('@') || last.contains(':') {
            return Err(ParseReferenceError::NotARepository(text.into()));
        }
        text.parse::<Reference>().map(|reference| reference.repository)
    }
}

/// An image reference: a repository and what was asked for in it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Reference {
    /// The repository under its canonical name.
    pub repository: Repository,
    /// The tag, where one was given.
    pub tag: Option<Box<str>>,
    /// The digest, where one was given.
    pub digest: Option<Digest>,
}

/// Why text is not a reference.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseReferenceError {
    /// Longer than any reference may be.
    #[error("reference has {0} bytes, more than {MAX_REFERENCE_LENGTH}")]
    TooLong(usize),
    /// Not in the grammar.
    #[error("{text} is not an image reference: {cause}")]
    Malformed {
        /// What was given.
        text: Untrusted,
        /// What the grammar says.
        cause: &'static str,
    },
    /// The digest is not one.
    #[error(transparent)]
    Digest(#[from] ParseDigestError),
    /// A tag or digest where only a repository is meant.
    #[error("{0} names a tag or digest: expected a repository only")]
    NotARepository(Untrusted),
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_REFERENCE_LENGTH {
            return Err(ParseReferenceError::TooLong(text.len()));
        }
        let malformed = |cause| ParseReferenceError::Malformed {
            text: text.into(),
            cause,
        };
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest.parse()?)),
            None => (text, None),
        };
        // A colon before the last slash is a port's.
        let last = name.rfind('/').map_or(0, |slash| slash + 1);
        let (name, tag) = match name.get(last..).and_then(|last| last.split_once(':')) {
            Some((before, tag)) => (name.get(..last + before.len()).unwrap_or_default(), Some(tag)),
            None => (name, None),
        };
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(malformed("the tag is not valid"));
        }
        let (host, path) = match name.split_once('/') {
            Some((host, path)) if names_a_host(host) => (host, path),
            _ => (DOCKER_HUB, name),
        };
        if !is_host(host) {
            return Err(malformed("the registry is not a host"));
        }
        if !path.split('/').all(is_path_component) {
            return Err(malformed("the repository is not valid"));
        }
        let host = canonical_host(host);
        // Official images live below library, whichever of Docker Hub's names is written.
        let path = match host == DOCKER_HUB && !path.contains('/') {
            true => format!("library/{path}").into(),
            false => path.into(),
        };
        let repository = Repository {
            host: host.into(),
            path,
        };
        if repository.path.len() > MAX_REPOSITORY_LENGTH {
            return Err(malformed("the repository is longer than 255 bytes"));
        }
        let reference = Self {
            repository,
            tag: tag.map(Into::into),
            digest,
        };
        // The canonical name may be the longer one, and it must be readable again.
        match reference.to_string().len() {
            length if length > MAX_REFERENCE_LENGTH => Err(ParseReferenceError::TooLong(length)),
            _ => Ok(reference),
        }
    }
}

/// Whether what stands before the first slash is a host. Docker's short names have none.
fn names_a_host(text: &str) -> bool {
    text.contains(['.', ':']) || text == "localhost"
}

/// Labels of letters, digits and inner hyphens, joined by dots; a port may follow.
fn is_host(text: &str) -> bool {
    let (name, port) = match text.split_once(':') {
        Some((name, port)) => (name, Some(port)),
        None => (text, None),
    };
    let is_label = |label: &str| {
        !label.is_empty()
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    let is_port = |port: &str| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    name.split('.').all(is_label) && port.is_none_or(is_port)
}

/// Runs of small letters and digits, joined by one dot, one or two underscores, or any number of hyphens (distribution
/// spec: spec.md#pulling-manifests).
fn is_path_component(text: &str) -> bool {
    let is_alphanumeric = |character: char| character.is_ascii_lowercase() || character.is_ascii_digit();
    let is_separator = |text: &str| matches!(text, "" | "." | "_" | "__") || text.bytes().all(|byte| byte == b'-');
    text.starts_with(is_alphanumeric)
        && text.ends_with(is_alphanumeric)
        && text.split(is_alphanumeric).all(is_separator)
}

/// At most 128 letters, digits, underscores, dots and hyphens; neither of the last two first (distribution spec:
/// spec.md#pulling-manifests).
fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= MAX_TAG_LENGTH
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

impl fmt::Display for Reference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// The one name of a registry host. A single label keeps its port, 443 too: `host/app` is a repository of Docker Hub, so
/// the name of that host would be read as another's.
pub fn canonical_host(host: &str) -> String {
    let lower = host.to_ascii_lowercase();
    let plain = lower.strip_suffix(":443").unwrap_or(&lower);
    let plain = plain.strip_suffix('.').unwrap_or(plain);
    if DOCKER_HUB_ALIASES.contains(&plain) {
        DOCKER_HUB.to_owned()
    } else if plain.is_empty() || plain == "localhost" || plain.contains(['.', ':']) {
        plain.to_owned()
    } else {
        format!("{plain}:443")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

    #[track_caller]
    fn check(text: &str, repository: &str, tag: Option<&str>, digest: Option<&str>) {
        let reference: Reference = text.parse().unwrap();
        assert_eq!(reference.repository.to_string(), repository);
        assert_eq!(reference.tag.as_deref(), tag);
        assert_eq!(reference.digest.map(|digest| digest.to_string()).as_deref(), digest);
    }

    #[test]
    fn makes_docker_names_canonical() {
        check("alpine", "docker.io/library/alpine", None, None);
        check("alpine:3.20", "docker.io/library/alpine", Some("3.20"), None);
        check("grafana/grafana", "docker.io/grafana/grafana", None, None);
        check("docker.io/alpine", "docker.io/library/alpine", None, None);
        check(
            "index.docker.io/library/alpine:1",
            "docker.io/library/alpine",
            Some("1"),
            None,
        );
        check(
            "registry-1.docker.io/library/alpine",
            "docker.io/library/alpine",
            None,
            None,
        );
        for alias in [
            "index.docker.io",
            "registry-1.docker.io",
            "Docker.IO",
            "docker.io:443",
            "INDEX.docker.io:443",
        ] {
            check(
                &format!("{alias}/alpine:3"),
                "docker.io/library/alpine",
                Some("3"),
                None,
            );
        }
    }

    #[test]
    fn makes_hosts_canonical() {
        check("Registry.Example:443/app:v1", "registry.example/app", Some("v1"), None);
        check("registry.example:5000/app", "registry.example:5000/app", None, None);
        check("localhost/app", "localhost/app", None, None);
        check(
            "127.0.0.1:5000/team/app:latest",
            "127.0.0.1:5000/team/app",
            Some("latest"),
            None,
        );
    }

    #[test]
    fn keeps_the_port_of_a_host_that_would_read_as_a_part_of_docker_hub() {
        check("registry:443/team/app", "registry:443/team/app", None, None);
        check("registry:5000/app", "registry:5000/app", None, None);
        check("localhost:443/app", "localhost/app", None, None);
        assert_eq!(canonical_host("Registry"), "registry:443");
        assert_eq!(canonical_host(&canonical_host("registry")), "registry:443");
    }

    #[test]
    fn puts_official_images_below_library_under_every_name_of_docker_hub() {
        for name in ["docker.io", "DOCKER.IO", "index.docker.io", "registry-1.docker.io:443"] {
            check(&format!("{name}/alpine"), "docker.io/library/alpine", None, None);
        }
        let long = format!("registry-1.docker.io/{}", "a".repeat(MAX_REPOSITORY_LENGTH));
        assert!(long.parse::<Reference>().is_err());
    }

    #[test]
    fn keeps_tag_and_digest() {
        check(&format!("a.example/b@{DIGEST}"), "a.example/b", None, Some(DIGEST));
        check(
            &format!("a.example/b:c@{DIGEST}"),
            "a.example/b",
            Some("c"),
            Some(DIGEST),
        );
    }

    #[test]
    fn refuses_what_is_not_a_reference() {
        for text in [
            "",
            "/",
            "a.example/UPPER",
            "Host/app",
            "UPPER",
            "a.example/b@sha256:abc",
            "a.example/b@md5:abc",
            "a.example/../b",
            "a.example/b c",
            "https://a.example/b",
            "a.example/b:t\u{202e}",
            "a.example./b",
            "Registry/app",
            "LOCALHOST/app",
            "a.example:/b",
            "a.example:x/b",
            "-a.example/b",
            "a.example/b:",
            "a.example/b:-c",
            "a.example/b:c:d",
            "a.example/b..c",
            "a.example/b___c",
            "a.example/-b",
            "a.example//b",
            "a.example/b/",
            "Team/app",
        ] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
        assert_eq!(
            "x".repeat(2000).parse::<Reference>(),
            Err(ParseReferenceError::TooLong(2000))
        );
    }

    /// What oci-spec's regular expression says, with what is stricter here and what is made canonical.
    fn by_oci_spec(text: &str) -> Option<(String, Option<String>)> {
        let wire: oci_spec::distribution::Reference = text.parse().ok()?;
        let written = text.rsplit('/').next()?.contains(':');
        let tag = wire.tag().filter(|_| written).map(str::to_owned);
        let host = canonical_host(wire.registry());
        let path = match host == DOCKER_HUB && !wire.repository().contains('/') {
            true => format!("library/{}", wire.repository()),
            false => wire.repository().to_owned(),
        };
        let lower = !path.contains(|character: char| character.is_ascii_uppercase());
        (lower && is_host(&host)).then(|| (format!("{host}/{path}"), tag))
    }

    proptest::proptest! {
        #[test]
        fn agrees_with_oci_spec(
            text in "(([aZ0]{0,2}[-._:/]{0,2}){0,5}|(docker\\.io|localhost|index\\.docker\\.io|a\\.b(:5)?)/)([ab0]{1,2}[-._/:]{0,2}){0,4}(:[aB_0][-a._]{0,3})?"
        ) {
            let ours = text.parse::<Reference>().ok();
            let ours = ours.map(|found| (found.repository.to_string(), found.tag.map(String::from)));
            proptest::prop_assert_eq!(ours, by_oci_spec(&text));
        }
    }

    #[test]
    fn a_repository_has_neither_tag_nor_digest() {
        assert_eq!(
            "a.example:5000/b".parse::<Repository>().unwrap().to_string(),
            "a.example:5000/b"
        );
        for text in ["a.example/b:c", "alpine:3", "registry:5000"] {
            assert!(text.parse::<Repository>().is_err(), "{text}");
        }
        assert!(format!("a.example/b@{DIGEST}").parse::<Repository>().is_err());
    }
}
