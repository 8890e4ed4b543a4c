//! The bootstrap list: what a node may unpack while the daemon is away, so that a node that runs nothing yet can start
//! the daemon's own dependencies (pause, the network plugin). One `repository@digest` a line; `#` starts a comment.

use std::path::{Path, PathBuf};

use crate::{limits::MAX_BOOTSTRAP_LIST, root_owned};

/// The hosts that are Docker Hub beside `docker.io` itself.
const DOCKER_HUB_ALIASES: [&str; 2] = ["index.docker.io", "registry-1.docker.io"];

/// The proof that the list names the image.
#[derive(Debug)]
pub(crate) struct Listed {
    path: PathBuf,
    line: usize,
}

impl Listed {
    /// The file and line that name it.
    pub(crate) fn place(&self) -> String {
        format!("{}:{}", self.path.display(), self.line)
    }
}

/// What the list says about one image.
#[derive(Debug, Default)]
pub(crate) struct Answer {
    pub(crate) listed: Option<Listed>,
    /// What is wrong with the list, for the operator; empty when nothing is.
    pub(crate) note: String,
}

/// Looks for an image by its repository's canonical name and its exact digest. A malformed line names nothing and is
/// reported; a list that others than root could have written names nothing at all.
pub(crate) fn look_up(path: &Path, name: &str, digest: &str) -> Answer {
    let content = match root_owned::read(path, MAX_BOOTSTRAP_LIST) {
        Ok(Some(content)) => content,
        Ok(None) => return Answer::default(),
        Err(fault) => {
            return Answer {
                listed: None,
                note: format!("{} is not used: it {fault}", path.display()),
            };
        }
    };
    let asked = canonical_repository(name).filter(|_| is_digest(digest));
    let mut listed = None;
    let mut malformed = Vec::new();
    for (number, line) in (1..).zip(content.split(|byte| *byte == b'\n')) {
        match parse_line(line) {
            Ok(None) => {}
            Ok(Some((repository, named))) => {
                if listed.is_none() && Some(repository) == asked && named == digest {
                    listed = Some(Listed {
                        path: path.to_owned(),
                        line: number,
                    });
                }
            }
            Err(()) => malformed.push(number),
        }
    }
    let note = match malformed.as_slice() {
        [] => String::new(),
        [line] => format!("{}:{line} is not repository@digest", path.display()),
        [line, others @ ..] => {
            format!(
                "{}:{line} is not repository@digest, nor are {} more lines",
                path.display(),
                others.len()
            )
        }
    };
    Answer { listed, note }
}

/// One line: nothing, or the canonical repository and the digest. A tag before the digest is allowed and says nothing.
fn parse_line(line: &[u8]) -> Result<Option<(String, &str)>, ()> {
    let line = std::str::from_utf8(line).map_err(|_| ())?;
    let line = line.split('#').next().unwrap_or_default().trim();
    if line.is_empty() {
        return Ok(None);
    }
    let (name, digest) = line.split_once('@').ok_or(())?;
    let repository = canonical_repository(name).ok_or(())?;
    if is_digest(digest) {
        Ok(Some((repository, digest)))
    } else {
        Err(())
    }
}

/// A digest of an algorithm that images are addressed by (OCI image-spec, descriptor.md#registered-algorithms).
fn is_digest(text: &str) -> bool {
    let length = match text.split_once(':') {
        Some(("sha256", _)) => 64,
        Some(("sha512", _)) => 128,
        _ => return false,
    };
    let hex = text.split_once(':').map(|(_, hex)| hex).unwrap_or_default();
    hex.len() == length && hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The one name of an image's repository, tag and digest dropped: the host in lower case and without `:443` or a closing
/// dot, docker.io under all its names, `library/` where Docker Hub's short form is used
/// (distribution/reference, `ParseNormalizedNamed`). `None` where the text is not an image's name.
fn canonical_repository(name: &str) -> Option<String> {
    let name = name.split('@').next().unwrap_or_default();
    let (host, path) = match name.split_once('/') {
        // The first part is a host where no path could look like it.
        Some((host, path))
            if host.contains(['.', ':']) || host == "localhost" || host.contains(|c: char| c.is_ascii_uppercase()) =>
        {
            (host.to_ascii_lowercase(), path)
        }
        _ => ("docker.io".to_owned(), name),
    };
    let host = host.strip_suffix(":443").unwrap_or(&host);
    let host = host.strip_suffix('.').unwrap_or(host);
    let host = if DOCKER_HUB_ALIASES.contains(&host) {
        "docker.io"
    } else {
        host
    };
    let is_of_host = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | ':' | '[' | ']');
    if host.is_empty() || !host.chars().all(is_of_host) {
        return None;
    }

    let path = path.split_once(':').map_or(path, |(path, _tag)| path);
    let is_component = |component: &str| {
        !component.is_empty()
            && component
                .bytes()
                .all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'.' | b'_' | b'-'))
    };
    if !path.split('/').all(is_component) {
        return None;
    }
    let library = if host == "docker.io" && !path.contains('/') {
        "library/"
    } else {
        ""
    };
    Some(format!("{host}/{library}{path}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_repository_has_one_name() {
        for (canonical, names) in [
            (
                "docker.io/library/alpine",
                &[
                    "alpine",
                    "alpine:3.20",
                    "docker.io/alpine",
                    "docker.io/library/alpine:3.20",
                    "index.docker.io/library/alpine",
                    "registry-1.docker.io/library/alpine",
                    "DOCKER.io:443/library/alpine@sha256:00",
                    "docker.io./alpine",
                ][..],
            ),
            (
                "docker.io/grafana/grafana",
                &["grafana/grafana", "docker.io/grafana/grafana:1"],
            ),
            (
                "registry.example/app",
                &["Registry.Example:443/app:v1", "registry.example./app"],
            ),
            (
                "registry.example:5000/a/b",
                &["registry.example:5000/a/b", "REGISTRY.example:5000/a/b:v1@sha256:00"],
            ),
            ("localhost/app", &["localhost/app"]),
            ("[::1]:5000/app", &["[::1]:5000/app:v1"]),
        ] {
            for name in names {
                assert_eq!(canonical_repository(name).as_deref(), Some(canonical), "{name}");
            }
        }
    }

    #[test]
    fn what_is_no_name_has_no_repository() {
        for name in [
            "",
            "@sha256:00",
            "a//b",
            "/a",
            "a/",
            "registry.example/A",
            "registry.example/",
            "a b",
            "é",
            "a/\u{1b}",
        ] {
            assert_eq!(canonical_repository(name), None, "{name}");
        }
    }

    #[test]
    fn reads_names_comments_and_faults_line_by_line() {
        let digest = format!("sha256:{}", "a".repeat(64));
        let named = |repository: &str| Ok(Some((repository.to_owned(), digest.as_str())));
        for (line, expected) in [
            ("", Ok(None)),
            ("   # all of it", Ok(None)),
            ("\r", Ok(None)),
            (
                &format!("registry.k8s.io/pause@{digest}"),
                named("registry.k8s.io/pause"),
            ),
            (
                &format!("\tregistry.k8s.io/pause:3.10@{digest} # pause\r"),
                named("registry.k8s.io/pause"),
            ),
            ("registry.k8s.io/pause", Err(())),
            ("registry.k8s.io/pause@", Err(())),
            ("registry.k8s.io/pause:3.10", Err(())),
            (&format!("@{digest}"), Err(())),
            (&digest, Err(())),
            (&format!("*@{digest}"), Err(())),
            (&format!("a@{digest}@{digest}"), Err(())),
            (&format!("a@{}", digest.to_uppercase()), Err(())),
            (&format!("a@{digest}0"), Err(())),
            (&format!("a@md5:{}", "a".repeat(32)), Err(())),
        ] {
            assert_eq!(parse_line(line.as_bytes()), expected, "{line:?}");
        }
        assert_eq!(parse_line(b"\xff"), Err(()));
    }
}
