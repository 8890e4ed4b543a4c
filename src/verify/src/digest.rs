//! Content digests, parsed once (OCI image specification: descriptor.md#digests).

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use sha2::{Digest as _, Sha256, Sha512};
use thiserror::Error;

use crate::untrusted::Untrusted;

/// The registered algorithms. Others are refused: an unregistered or weak hash addresses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Algorithm {
    /// SHA-256, 32 bytes.
    Sha256,
    /// SHA-512, 64 bytes.
    Sha512,
}

impl Algorithm {
    /// The name before the colon.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha512 => "sha512",
        }
    }

    const fn hex_length(self) -> usize {
        match self {
            Self::Sha256 => 64,
            Self::Sha512 => 128,
        }
    }
}

/// A content digest: a registered algorithm and exactly its number of lower-case hexadecimal digits. So it is safe in
/// a path, a URL and a tag.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Digest {
    algorithm: Algorithm,
    /// Shared: what is remembered of an image names its digests again and again.
    hex: Arc<str>,
}

/// Why text is not a digest.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ParseDigestError {
    /// There is no colon.
    #[error("digest {0} has no algorithm: expected sha256:… or sha512:…")]
    NoAlgorithm(Untrusted),
    /// The algorithm is not registered.
    #[error("digest algorithm {0} is not supported: expected sha256 or sha512")]
    UnknownAlgorithm(Untrusted),
    /// Not the algorithm's number of lower-case hexadecimal digits.
    #[error("digest {text} is not {expected} lower-case hexadecimal digits")]
    Malformed {
        /// What was given.
        text: Untrusted,
        /// How many digits the algorithm has.
        expected: usize,
    },
}

impl Digest {
    /// The SHA-256 digest of `content`.
    pub fn sha256(content: &[u8]) -> Self {
        Self::of(Algorithm::Sha256, content)
    }

    /// The digest of `content` by `algorithm`.
    pub fn of(algorithm: Algorithm, content: &[u8]) -> Self {
        match algorithm {
            Algorithm::Sha256 => Self::of_output(algorithm, &Sha256::digest(content)),
            Algorithm::Sha512 => Self::of_output(algorithm, &Sha512::digest(content)),
        }
    }

    /// The digest whose bytes the algorithm's hash gave.
    pub(crate) fn of_output(algorithm: Algorithm, output: &[u8]) -> Self {
        debug_assert_eq!(2 * output.len(), algorithm.hex_length());
        Self {
            algorithm,
            hex: hex(output).into(),
        }
    }

    /// Whether `content` is what this digest addresses.
    pub fn matches(&self, content: &[u8]) -> bool {
        *self == Self::of(self.algorithm, content)
    }

    /// The algorithm.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The first sixteen bytes of the hash: see [`Name`](crate::deny_list).
    pub(crate) fn head(&self) -> [u8; 16] {
        let value = |digit: u8| match digit {
            b'0'..=b'9' => digit - b'0',
            digit => digit.wrapping_sub(b'a').wrapping_add(10),
        };
        let mut head = [0; 16];
        for (byte, [high, low]) in head.iter_mut().zip(self.hex.as_bytes().as_chunks::<2>().0) {
            *byte = value(*high) << 4 | value(*low);
        }
        head
    }

    /// The hexadecimal digits, without the algorithm.
    pub fn hex(&self) -> &str {
        &self.hex
    }
}

impl FromStr for Digest {
    type Err = ParseDigestError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, hex) = text
            .split_once(':')
            .ok_or_else(|| ParseDigestError::NoAlgorithm(text.into()))?;
        let algorithm = match name {
            "sha256" => Algorithm::Sha256,
            "sha512" => Algorithm::Sha512,
            _ => return Err(ParseDigestError::UnknownAlgorithm(name.into())),
        };
        let hex = check_hex(text, hex, algorithm.hex_length())?.into();
        Ok(Self { algorithm, hex })
    }
}

/// Takes exactly the expected number of lower-case hexadecimal digits. `text` is the whole digest.
pub(crate) fn check_hex<'a>(text: &str, hex: &'a str, expected: usize) -> Result<&'a str, ParseDigestError> {
    if hex.len() != expected || !hex.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')) {
        return Err(ParseDigestError::Malformed {
            text: text.into(),
            expected,
        });
    }
    Ok(hex)
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.algorithm.as_str(), self.hex)
    }
}

/// Lower-case hexadecimal digits of `bytes`.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write as _;
    bytes
        .iter()
        .fold(String::with_capacity(2 * bytes.len()), |mut text, byte| {
            // Writing to a String cannot fail.
            let _ = write!(text, "{byte:02x}");
            text
        })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digests_content_and_recognises_it() {
        let digest = Digest::sha256(b"hello");
        assert_eq!(
            digest.to_string(),
            "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
        );
        assert!(digest.matches(b"hello"));
        assert!(!digest.matches(b"hello "));
        assert_eq!(digest.to_string().parse(), Ok(digest));
    }

    #[test]
    fn parses_sha512() {
        let digest = Digest::of(Algorithm::Sha512, b"");
        assert_eq!(digest.to_string().parse::<Digest>(), Ok(digest));
    }

    #[test]
    fn refuses_what_is_not_a_digest() {
        let short = "sha256:abc".to_owned();
        let upper = format!("sha256:{}", "A".repeat(64));
        let path = format!("sha256:{}", "../".repeat(21) + "a");
        for text in [short, upper, path] {
            assert!(
                matches!(text.parse::<Digest>(), Err(ParseDigestError::Malformed { .. })),
                "{text}"
            );
        }
        assert!(matches!("abc".parse::<Digest>(), Err(ParseDigestError::NoAlgorithm(_))));
        assert!(matches!(
            "md5:abc".parse::<Digest>(),
            Err(ParseDigestError::UnknownAlgorithm(_))
        ));
    }
}
