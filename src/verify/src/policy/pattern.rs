//! Image patterns: which repositories a rule is for.
//!
//! | pattern | repositories |
//! | --- | --- |
//! | `registry.example/team/app` | this one |
//! | `registry.example/team/app-*` | `*` is any text, also none, within a segment |
//! | `registry.example/team/**` | `**` is one or more whole segments |
//! | `*.corp.example/app` | `*` in the host is exactly one whole label, among others; a port is written out |
//! | `**` | every repository |
//!
//! Names are canonical on both sides: `alpine` is `docker.io/library/alpine`. A pattern never names a tag or digest: a
//! tag says nothing about what is unpacked, and a rule names digests elsewhere.
//!
//! Matching looks at each piece of a pattern once from the left, so its time is linear in the name for each piece, and
//! never exponential.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use crate::limits::MAX_REFERENCE_LENGTH;
use crate::reference::{DOCKER_HUB, Repository, canonical_host};
use crate::untrusted::Untrusted;

/// Which repositories a rule is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Pattern(Kind);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Kind {
    Everything,
    Repositories { host: Host, path: Path },
}

/// A canonical host, or labels of which some are `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Host {
    Exact(Box<str>),
    Labels(Box<str>),
}

/// Segments, joined by slashes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
enum Path {
    Exact(Box<str>),
    Glob(Box<str>),
}

/// Why text is not an image pattern.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParsePatternError {
    /// Nothing.
    #[error("an image pattern is empty")]
    Empty,
    /// Longer than any reference.
    #[error("image pattern has {0} bytes, more than {MAX_REFERENCE_LENGTH}")]
    TooLong(usize),
    /// A tag or digest.
    #[error("image pattern \"{0}\" names a tag or digest: a pattern names repositories, digests belong in \"digests\"")]
    TagOrDigest(Untrusted),
    /// `*` alone, which could mean one segment or everything.
    #[error(
        "image pattern \"*\" is ambiguous: write \"**\" for every repository, \"docker.io/library/*\" for official images"
    )]
    AmbiguousWildcard,
    /// `**` that is not a whole segment of the path.
    #[error("image pattern \"{0}\": ** stands for whole segments below a registry, as in registry.example/team/**")]
    DoubleWildcard(Untrusted),
    /// A wildcard in the host that is not a whole label beside others.
    #[error("image pattern \"{0}\": * in a host stands for one whole label, as in *.corp.example/app")]
    HostWildcard(Untrusted),
    /// The host or the path is not in the grammar of references.
    #[error("image pattern \"{text}\" is not valid: {part} is no {expected}")]
    Malformed {
        /// The pattern.
        text: Untrusted,
        /// What is wrong in it.
        part: Untrusted,
        /// What it should be.
        expected: &'static str,
    },
}

impl Pattern {
    /// Whether a repository is among those of the pattern.
    pub fn matches(&self, repository: &Repository) -> bool {
        let Kind::Repositories { host, path } = &self.0 else {
            return true;
        };
        let host_matches = match host {
            Host::Exact(exact) => **exact == *repository.host(),
            Host::Labels(labels) => labels_match(labels, repository.host()),
        };
        host_matches
            && match path {
                Path::Exact(exact) => **exact == *repository.path(),
                Path::Glob(glob) => path_matches(glob, repository.path()),
            }
    }

    /// Whether every repository is among them.
    pub fn is_everything(&self) -> bool {
        self.0 == Kind::Everything
    }

    /// Whether it is a full name, without wildcards.
    pub fn is_exact(&self) -> bool {
        matches!(
            self.0,
            Kind::Repositories {
                host: Host::Exact(_),
                path: Path::Exact(_),
            }
        )
    }

    /// Whether every repository of the other pattern is one of this pattern. Sound, not complete: where it cannot tell,
    /// it says no.
    pub fn covers(&self, other: &Self) -> bool {
        let (
            Kind::Repositories { host, path },
            Kind::Repositories {
                host: other_host,
                path: other_path,
            },
        ) = (&self.0, &other.0)
        else {
            return self.0 == Kind::Everything;
        };
        // A wildcard of the other pattern stays in the text that is matched. No literal equals it, so only a wildcard
        // that is at least as wide can take it.
        let hosts = match (host, other_host) {
            (Host::Exact(one), Host::Exact(other)) => one == other,
            (Host::Exact(_), Host::Labels(_)) => false,
            (Host::Labels(labels), Host::Exact(other) | Host::Labels(other)) => labels_match(labels, other),
        };
        hosts
            && match (path, other_path) {
                (Path::Exact(one), Path::Exact(other)) => one == other,
                (Path::Exact(_), Path::Glob(_)) => false,
                (Path::Glob(glob), Path::Exact(other) | Path::Glob(other)) => path_matches(glob, other),
            }
    }
}

/// Label by label, and the same port or none: a wildcard stands for a name, never for a port.
fn labels_match(pattern: &str, host: &str) -> bool {
    let (pattern, port) = split_port(pattern);
    let (host, other_port) = split_port(host);
    let mut labels = host.split('.');
    let all = pattern
        .split('.')
        .all(|expected| labels.next().is_some_and(|label| expected == "*" || expected == label));
    all && labels.next().is_none() && port == other_port
}

fn split_port(host: &str) -> (&str, Option<&str>) {
    host.split_once(':')
        .map_or((host, None), |(name, port)| (name, Some(port)))
}

/// Pieces of segments between `**`, each as far left as possible: the first at the start, the last at the end.
fn path_matches(pattern: &str, path: &str) -> bool {
    let segments: Vec<&str> = path.split('/').collect();
    let mut pieces = pattern.split('/').collect::<Vec<_>>();
    // A segment pattern never takes `**`, which occurs in text only when a pattern is matched for coverage.
    let run_matches = |run: &[&str], at: usize, segments: &[&str]| {
        segments.get(at..at + run.len()).is_some_and(|window| {
            run.iter()
                .zip(window)
                .all(|(expected, segment)| *segment != "**" && segment_matches(expected, segment))
        })
    };
    let Some(first_wide) = pieces.iter().position(|piece| *piece == "**") else {
        return pieces.len() == segments.len() && run_matches(&pieces, 0, &segments);
    };
    let rest = pieces.split_off(first_wide);
    if !run_matches(&pieces, 0, &segments) {
        return false;
    }
    // `rest` begins with `**`; so the first of its runs is empty and every other follows a `**`.
    let mut at = pieces.len();
    let mut runs = rest.split(|piece| *piece == "**").skip(1).peekable();
    while let Some(run) = runs.next() {
        let earliest = at + 1;
        if runs.peek().is_none() {
            return segments
                .len()
                .checked_sub(run.len())
                .is_some_and(|start| start >= earliest && run_matches(run, start, &segments));
        }
        let Some(start) = (earliest..segments.len()).find(|start| run_matches(run, *start, &segments)) else {
            return false;
        };
        at = start + run.len();
    }
    false
}

/// Literal pieces between `*`, each as far left as possible.
fn segment_matches(pattern: &str, segment: &str) -> bool {
    let Some((prefix, rest)) = pattern.split_once('*') else {
        return pattern == segment;
    };
    let Some(mut text) = segment.strip_prefix(prefix) else {
        return false;
    };
    let (middle, suffix) = rest.rsplit_once('*').unwrap_or(("", rest));
    for piece in middle.split('*') {
        match text.find(piece).and_then(|at| text.get(at + piece.len()..)) {
            Some(after) => text = after,
            None => return false,
        }
    }
    text.ends_with(suffix)
}

impl FromStr for Pattern {
    type Err = ParsePatternError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.is_empty() {
            return Err(ParsePatternError::Empty);
        }
        if text.len() > MAX_REFERENCE_LENGTH {
            return Err(ParsePatternError::TooLong(text.len()));
        }
        match text {
            "**" => return Ok(Self(Kind::Everything)),
            "*" => return Err(ParsePatternError::AmbiguousWildcard),
            _ => {}
        }
        let last = text.rsplit('/').next().unwrap_or(text);
        if text.contains('@') || last.contains(':') {
            return Err(ParsePatternError::TagOrDigest(text.into()));
        }
        let (host, path) = match text.split_once('/') {
            Some((host, path)) if is_host(host) => (Some(host), path),
            _ => (None, text),
        };
        // Without a host a name is one of Docker Hub's. Whoever writes a wildcard there means every registry, or may.
        if host.is_none() && path.starts_with("**") {
            return Err(ParsePatternError::DoubleWildcard(text.into()));
        }
        if host.is_none() && path.starts_with("*/") {
            return Err(ParsePatternError::HostWildcard(text.into()));
        }
        let host = parse_host(text, host.unwrap_or(DOCKER_HUB))?;
        let path = parse_path(text, path)?;
        // Official images live below library (the rule that references follow, too).
        let path = match &host {
            Host::Exact(host) if **host == *DOCKER_HUB && !path.contains('/') && path != "**" => {
                format!("library/{path}")
            }
            _ => path,
        };
        let path = if path.contains('*') {
            Path::Glob(path.into())
        } else {
            Path::Exact(path.into())
        };
        let pattern = Self(Kind::Repositories { host, path });
        // The canonical form may be the longer one, and it must be readable again.
        match pattern.to_string().len() {
            length if length > MAX_REFERENCE_LENGTH => Err(ParsePatternError::TooLong(length)),
            _ => Ok(pattern),
        }
    }
}

/// What stands before the first slash is a host by the rule that references follow.
fn is_host(text: &str) -> bool {
    text.contains(['.', ':']) || text.eq_ignore_ascii_case("localhost")
}

fn parse_host(text: &str, written: &str) -> Result<Host, ParsePatternError> {
    let host = canonical_host(written);
    if host.contains("**") {
        return Err(ParsePatternError::DoubleWildcard(text.into()));
    }
    let (name, _) = host.split_once(':').unwrap_or((&host, ""));
    let wild = host.contains('*');
    let whole = |label: &str| label == "*" || !label.contains('*');
    if wild && !(name.split('.').all(whole) && name.split('.').any(|label| label != "*") && whole(&host[name.len()..]))
    {
        return Err(ParsePatternError::HostWildcard(text.into()));
    }
    // A host is one if a reference with it, as it is written, is one. A wildcard label stands for an ordinary one.
    let sample = format!("{}/x", written.replace('*', "x"));
    match sample.parse::<Repository>() {
        Ok(_) if wild => Ok(Host::Labels(host.into())),
        Ok(_) => Ok(Host::Exact(host.into())),
        Err(_) => Err(ParsePatternError::Malformed {
            text: text.into(),
            part: host.into(),
            expected: "registry host",
        }),
    }
}

fn parse_path(text: &str, path: &str) -> Result<String, ParsePatternError> {
    for segment in path.split('/') {
        if segment == "**" {
            continue;
        }
        if segment.contains("**") {
            return Err(ParsePatternError::DoubleWildcard(text.into()));
        }
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"._-*".contains(&byte);
        // Without a wildcard the whole grammar applies, for example that a segment neither begins nor ends with a dot.
        let grammatical = segment.contains('*') || format!("{DOCKER_HUB}/x/{segment}").parse::<Repository>().is_ok();
        if segment.is_empty() || !segment.bytes().all(allowed) || !grammatical {
            return Err(ParsePatternError::Malformed {
                text: text.into(),
                part: format!("\"{segment}\"").into(),
                expected: "segment of a repository",
            });
        }
    }
    Ok(path.to_owned())
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Everything => f.write_str("**"),
            Kind::Repositories { host, path } => {
                let (Host::Exact(host) | Host::Labels(host)) = host;
                let (Path::Exact(path) | Path::Glob(path)) = path;
                write!(f, "{host}/{path}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[track_caller]
    fn check(pattern: &str, matching: &[&str], others: &[&str]) {
        let pattern: Pattern = pattern.parse().unwrap();
        for name in matching {
            assert!(
                pattern.matches(&name.parse().unwrap()),
                "{pattern} does not match {name}"
            );
        }
        for name in others {
            assert!(!pattern.matches(&name.parse().unwrap()), "{pattern} matches {name}");
        }
    }

    #[test]
    fn a_full_name_is_itself_under_all_its_names() {
        check(
            "alpine",
            &["alpine", "docker.io/library/alpine"],
            &["a.example/alpine", "alpine/alpine", "alpines"],
        );
        check("index.docker.io/alpine", &["alpine"], &[]);
        check(
            "Registry.Example:443/app",
            &["registry.example/app"],
            &["registry.example:5000/app"],
        );
        check(
            "grafana/grafana",
            &["docker.io/grafana/grafana"],
            &["grafana.example/grafana"],
        );
        check(
            "localhost:5000/a/b",
            &["localhost:5000/a/b"],
            &["localhost/a/b", "localhost:5000/a"],
        );
    }

    #[test]
    fn one_asterisk_stays_within_a_segment() {
        check(
            "a.example/b/*",
            &["a.example/b/c"],
            &["a.example/b", "a.example/b/c/d", "a.example/bc"],
        );
        check("a.example/b-*", &["a.example/b-c"], &["a.example/b", "a.example/b-c/d"]);
        check(
            "a.example/a*b*c",
            &["a.example/abc", "a.example/axxbxbxc"],
            &["a.example/ab", "a.example/acb", "a.example/abca"],
        );
        check(
            "a.example/ab*ba",
            &["a.example/abba", "a.example/abxba"],
            &["a.example/aba"],
        );
        check(
            "nginx*",
            &["nginx", "nginx-unprivileged"],
            &["docker.io/nginx/nginx", "nginxinc/nginx"],
        );
        check("docker.io/*", &["alpine"], &["grafana/grafana"]);
    }

    #[test]
    fn a_wildcard_in_the_place_of_a_host_is_refused() {
        for text in ["**/evil", "*/evil", "**/**"] {
            assert!(text.parse::<Pattern>().is_err(), "{text}");
        }
        check("docker.io/**/evil", &["a/evil"], &["b.example/a/evil"]);
        check("docker.io/*/evil", &["a/evil"], &["b.example/evil"]);
    }

    #[test]
    fn a_wildcard_label_stands_for_no_port() {
        check(
            "registry.*/app",
            &["registry.example/app"],
            &["registry.example:5000/app", "registry.corp.example/app"],
        );
        check(
            "registry.*:5000/app",
            &["registry.example:5000/app"],
            &["registry.example/app", "registry.example:5001/app"],
        );
    }

    #[test]
    fn two_asterisks_are_one_or_more_segments() {
        check(
            "a.example/b/**",
            &["a.example/b/c", "a.example/b/c/d"],
            &["a.example/b", "a.example/bc/d", "b.example/b/c"],
        );
        check(
            "a.example/**",
            &["a.example/b", "a.example/b/c"],
            &["a.example:5000/b", "xa.example/b"],
        );
        check(
            "a.example/**/b",
            &["a.example/x/b", "a.example/b/b/b"],
            &["a.example/b", "a.example/x/b/c"],
        );
        check(
            "a.example/**/b/**",
            &["a.example/x/b/y", "a.example/b/b/b/y"],
            &["a.example/b/y", "a.example/x/b"],
        );
        check(
            "a.example/a/**/b/**/c",
            &["a.example/a/b/x/b/x/c"],
            &["a.example/a/b/x/c", "a.example/a/x/b/c"],
        );
        check("docker.io/**", &["alpine", "grafana/grafana"], &["quay.io/a"]);
        check("**", &["alpine", "a.example:5000/b/c"], &[]);
    }

    #[test]
    fn an_asterisk_in_a_host_is_one_whole_label() {
        check(
            "*.corp.example/app",
            &["a.corp.example/app", "b.corp.example/app"],
            &[
                "corp.example/app",
                "a.b.corp.example/app",
                "a.corp.example:5000/app",
                "a.corp.example.evil/app",
            ],
        );
        check(
            "eu.*.example:5000/**",
            &["eu.x.example:5000/a/b"],
            &["eu.example:5000/a", "eu.x.example/a"],
        );
    }

    #[test]
    fn refuses_what_is_too_long_in_its_canonical_form() {
        let text = format!("{}*", "a".repeat(MAX_REFERENCE_LENGTH - 1));
        let length = DOCKER_HUB.len() + "/library/".len() + MAX_REFERENCE_LENGTH;
        assert_eq!(text.parse::<Pattern>(), Err(ParsePatternError::TooLong(length)));
    }

    #[test]
    fn refuses_what_has_no_single_meaning() {
        for (text, expected) in [
            ("", "empty"),
            ("*", "ambiguous"),
            ("alpine:3.20", "tag or digest"),
            ("a.example/b:*", "tag or digest"),
            ("a.example/b@sha256:00", "tag or digest"),
            ("a.example:5000", "tag or digest"),
            ("a.example/b**", "whole segments"),
            ("**.example/b", "whole segments"),
            ("reg-*.example/b", "one whole label"),
            ("*.*/b", "one whole label"),
            ("a.example:*/b", "one whole label"),
            ("a.example/B", "\"B\" is no segment"),
            ("a.example//b", "\"\" is no segment"),
            ("a.example/b/", "\"\" is no segment"),
            ("a.example/.b", "\".b\" is no segment"),
            ("a.example/../b", "\"..\" is no segment"),
            ("/b", "\"\" is no segment"),
            ("https://a.example/b", "is no registry host"),
            ("a..example/c", "is no registry host"),
            ("a.example:443:443/*", "is no registry host"),
            ("a.example./*", "is no registry host"),
            ("a.example/b\u{202e}", "is no segment"),
        ] {
            let error = text.parse::<Pattern>().unwrap_err().to_string();
            assert!(error.contains(expected), "{text}: {error}");
        }
        assert!("x".repeat(2000).parse::<Pattern>().is_err());
    }

    #[test]
    fn covers_what_is_certainly_inside() {
        let covers = |one: &str, other: &str| one.parse::<Pattern>().unwrap().covers(&other.parse().unwrap());
        for (wide, narrow) in [
            ("**", "**"),
            ("**", "a.example/b/**"),
            ("a.example/**", "a.example/b/**"),
            ("a.example/**", "a.example/b/*/c"),
            ("a.example/**", "a.example/*"),
            ("a.example/b-*", "a.example/b-c-*"),
            ("a.example/*", "a.example/b"),
            ("*.example/**", "a.example/b"),
            ("*.example/**", "*.example/b"),
            ("a.example/**/b", "a.example/**/a/b"),
        ] {
            assert!(covers(wide, narrow), "{wide} {narrow}");
        }
        for (one, other) in [
            ("a.example/**", "**"),
            ("a.example/*", "a.example/**"),
            ("a.example/b", "a.example/*"),
            ("a.example/b/**", "a.example/**"),
            ("a.example/b/**", "a.example/b"),
            ("a.example/b", "*.example/b"),
            ("a.example/*/b", "a.example/**/b"),
            ("a.example/b-c-*", "a.example/b-*"),
            ("a.example/**/**", "a.example/**"),
        ] {
            assert!(!covers(one, other), "{one} {other}");
        }
    }

    #[test]
    fn is_quick_on_patterns_made_to_be_slow() {
        let pattern: Pattern = format!("a.example/{}b", "a*".repeat(100)).parse().unwrap();
        let name = format!("a.example/{}", "a".repeat(240));
        assert!(!pattern.matches(&name.parse().unwrap()));
        let pattern: Pattern = format!("a.example/{}b", "**/a/".repeat(40)).parse().unwrap();
        let name = format!("a.example{}", "/a".repeat(120));
        assert!(!pattern.matches(&name.parse().unwrap()));
    }

    /// The definition, by trying everything: slow and obviously right.
    fn reference(pattern: &[&str], path: &[&str]) -> bool {
        fn segment(pattern: &[u8], text: &[u8]) -> bool {
            match (pattern, text) {
                ([], []) => true,
                ([b'*', rest @ ..], _) => (0..=text.len()).any(|at| segment(rest, &text[at..])),
                ([one, rest @ ..], [other, text @ ..]) => one == other && segment(rest, text),
                _ => false,
            }
        }
        match (pattern, path) {
            ([], []) => true,
            (["**", rest @ ..], _) => (1..=path.len()).any(|at| reference(rest, &path[at..])),
            ([one, rest @ ..], [other, path @ ..]) => {
                segment(one.as_bytes(), other.as_bytes()) && reference(rest, path)
            }
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn agrees_with_its_definition(
            pattern in proptest::collection::vec("\\*\\*|[ab]{0,2}\\*?[ab]{1,2}\\*?[ab]{0,2}|\\*", 1..6),
            path in proptest::collection::vec("[ab]{1,4}", 1..7),
        ) {
            let pieces: Vec<&str> = pattern.iter().map(String::as_str).collect();
            let segments: Vec<&str> = path.iter().map(String::as_str).collect();
            let parsed: Pattern = format!("a.example/{}", pattern.join("/")).parse().unwrap();
            let repository: Repository = format!("a.example/{}", path.join("/")).parse().unwrap();
            prop_assert_eq!(parsed.matches(&repository), reference(&pieces, &segments));
        }

        #[test]
        fn whatever_a_covered_pattern_matches_the_wider_one_matches(
            one in proptest::collection::vec("\\*\\*|[ab]{0,1}\\*[ab]{0,1}|[ab]", 1..4),
            other in proptest::collection::vec("\\*\\*|[ab]{0,1}\\*[ab]{0,1}|[ab]", 1..4),
            path in proptest::collection::vec("[ab]{1,3}", 1..5),
        ) {
            let one: Pattern = format!("a.example/{}", one.join("/")).parse().unwrap();
            let other: Pattern = format!("a.example/{}", other.join("/")).parse().unwrap();
            let repository: Repository = format!("a.example/{}", path.join("/")).parse().unwrap();
            if one.covers(&other) && other.matches(&repository) {
                prop_assert!(one.matches(&repository));
            }
        }
    }
}
