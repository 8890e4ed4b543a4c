//! Digests.

use assay_verify::digest::{Algorithm, Digest};

use crate::{Target, seeds, shown};

/// Digests.
pub const TARGET: Target = Target {
    name: "digest",
    seeds: || {
        seeds::texts(&[
            &format!("sha256:{}", "0f".repeat(32)),
            &format!("sha512:{}", "a9".repeat(64)),
            "sha384:00",
        ])
    },
    words: &[b"sha256:", b"sha512:", b"SHA256:", b":", b"+", b"f", b"F"],
    check,
    inputs: 8_000,
};

/// A digest is shown as it was written, and addresses its content and no other.
pub fn check(input: &[u8]) -> String {
    for algorithm in [Algorithm::Sha256, Algorithm::Sha512] {
        let digest = Digest::of(algorithm, input);
        assert!(digest.matches(input) && !digest.matches(&[input, b"x"].concat()));
        assert_eq!(digest.to_string().parse().as_ref(), Ok(&digest));
    }
    match super::text(input).map(str::parse::<Digest>) {
        None => "not text".to_owned(),
        Some(Err(error)) => shown::error(&error),
        Some(Ok(digest)) => {
            assert_eq!(digest.to_string().as_bytes(), input);
            digest.algorithm().as_str().to_owned()
        }
    }
}
