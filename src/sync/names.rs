//! Names from metadata and configuration that become paths and parts of addresses, parsed once.

use std::fmt;
use std::str::FromStr;

use thiserror::Error;

use assay_verify::digest::Digest;
use assay_verify::limits::{MAX_CHANNEL_LENGTH, MAX_TARGET_PATH_LENGTH, MAX_TARGET_SEGMENT_LENGTH};
use assay_verify::untrusted::Untrusted;

use super::layout::CHANNELS_FOLDER;

/// The path of a target in a policy repository: plain segments, separated by slashes. So it is safe below a folder and in
/// an address, and cannot lead out of either (CVE-2026-24686, CVE-2026-24137).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TargetPath(Box<str>);

/// Why text is not a path.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParsePathError {
    /// Longer than any path may be.
    #[error("the path has {0} bytes, more than {MAX_TARGET_PATH_LENGTH}")]
    TooLong(usize),
    /// A segment that is not a plain name.
    #[error(
        "{0} is not a plain relative path: expected segments of 1 to {MAX_TARGET_SEGMENT_LENGTH} letters, digits, spaces \
         and ._-+@=~,() that neither begin with a dot or a space nor end with a space"
    )]
    Segment(Untrusted),
}

impl TargetPath {
    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The path of the file with these bytes: the hash stands before the file's name, not before the folder's.
    pub fn of_content(&self, sha256: &Digest) -> String {
        match self.0.rsplit_once('/') {
            Some((folder, name)) => format!("{folder}/{}.{name}", sha256.hex()),
            None => format!("{}.{}", sha256.hex(), self.0),
        }
    }
}

/// Whether text is one segment of a path.
fn is_plain(segment: &str) -> bool {
    let allowed = |byte: u8| byte.is_ascii_alphanumeric() || b"._-+@=~,() ".contains(&byte);
    (1..=MAX_TARGET_SEGMENT_LENGTH).contains(&segment.len())
        && segment.bytes().all(allowed)
        && !segment.starts_with(['.', ' '])
        && !segment.ends_with(' ')
}

impl FromStr for TargetPath {
    type Err = ParsePathError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_TARGET_PATH_LENGTH {
            return Err(ParsePathError::TooLong(text.len()));
        }
        if text.split('/').all(is_plain) {
            Ok(Self(text.into()))
        } else {
            Err(ParsePathError::Segment(text.into()))
        }
    }
}

impl fmt::Display for TargetPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// A channel: which of a repository's policies a node follows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Channel(Box<str>);

/// Text that is not a channel's name.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
#[error(
    "{0} is not a channel: expected 1 to {MAX_CHANNEL_LENGTH} of a-z, 0-9, dot, underscore and hyphen, a letter or digit first"
)]
pub struct ParseChannelError(pub Untrusted);

impl Channel {
    /// The name.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The folder of its targets: `channels/stable`.
    pub fn folder(&self) -> String {
        format!("{CHANNELS_FOLDER}/{}", self.0)
    }
}

impl FromStr for Channel {
    type Err = ParseChannelError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let first = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
        let other = |byte: u8| first(byte) || b"._-".contains(&byte);
        let plain = (1..=MAX_CHANNEL_LENGTH).contains(&text.len())
            && text.bytes().next().is_some_and(first)
            && text.bytes().all(other);
        if plain {
            Ok(Self(text.into()))
        } else {
            Err(ParseChannelError(text.into()))
        }
    }
}

impl fmt::Display for Channel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_plain_relative_paths_and_nothing_else() {
        for path in [
            "policy.toml",
            "channels/stable/policy.toml",
            "channels/stable/notation/truststore/x509/ca/corp/Corp Root CA (2026).crt",
            "revocation/a+b=c@d~e,f_g-h.crl",
        ] {
            assert_eq!(path.parse::<TargetPath>().unwrap().as_str(), path);
        }
        for path in [
            "",
            "/",
            "/etc/passwd",
            "channels/",
            "channels//policy.toml",
            "./policy.toml",
            "channels/../revocation/deny.json",
            "..",
            "channels/stable/.hidden",
            " a",
            "a ",
            "a\\b",
            "a:b",
            "a%2e%2e/b",
            "a?b",
            "a#b",
            "a\0b",
            "a\nb",
            "a\u{e9}b",
            "https://evil.example/x",
            "*",
        ] {
            assert!(path.parse::<TargetPath>().is_err(), "{path:?}");
        }
        assert!("a".repeat(MAX_TARGET_SEGMENT_LENGTH).parse::<TargetPath>().is_ok());
        assert!("a".repeat(MAX_TARGET_SEGMENT_LENGTH + 1).parse::<TargetPath>().is_err());
        assert_eq!(
            "a/".repeat(MAX_TARGET_PATH_LENGTH).parse::<TargetPath>(),
            Err(ParsePathError::TooLong(2 * MAX_TARGET_PATH_LENGTH))
        );
    }

    #[test]
    fn the_hash_stands_before_the_file_s_name() {
        let digest = Digest::sha256(b"");
        let path: TargetPath = "channels/stable/policy.toml".parse().unwrap();
        assert_eq!(
            path.of_content(&digest),
            format!("channels/stable/{}.policy.toml", digest.hex())
        );
        let path: TargetPath = "policy.toml".parse().unwrap();
        assert_eq!(path.of_content(&digest), format!("{}.policy.toml", digest.hex()));
    }

    #[test]
    fn a_channel_is_a_plain_name() {
        for name in ["stable", "canary-2", "0", "eu.west_1"] {
            assert_eq!(name.parse::<Channel>().unwrap().folder(), format!("channels/{name}"));
        }
        for name in ["", "Stable", "-a", ".a", "a/b", "a b", "..", "\u{e9}"] {
            assert!(name.parse::<Channel>().is_err(), "{name:?}");
        }
        assert!("a".repeat(MAX_CHANNEL_LENGTH + 1).parse::<Channel>().is_err());
    }
}
