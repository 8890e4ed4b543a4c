//! Image references.

use assay_verify::reference::{Reference, Repository, canonical_host};

use crate::{Target, seeds, shown};

/// Image references.
pub const TARGET: Target = Target {
    name: "reference",
    seeds: || {
        let digest = format!("@sha256:{}", "2c".repeat(32));
        let named = format!("Registry.Example:443/team/app:v1{digest}");
        seeds::texts(&[
            "alpine",
            "alpine:3.20",
            "docker.io/alpine",
            "index.docker.io/library/alpine:1",
            "localhost:5000/a/b",
            "host:443/app",
            "registry-1.docker.io/alpine",
            "DOCKER.IO/alpine",
            "127.0.0.1/a__b/c-d",
            "[2001:db8::1]:443/app",
            "Host/app",
            &named,
        ])
    },
    words: &[
        b"docker.io",
        b":443",
        b"/",
        b":",
        b"@sha256:",
        b"library/",
        b"registry-1.",
        b"localhost",
        b"[::1]",
        b"..",
        b"__",
    ],
    check,
    inputs: 4_000,
};

/// What is shown of a reference is printable and reads as the same reference; a name has one canonical form.
pub fn check(input: &[u8]) -> String {
    let Some(text) = super::text(input) else {
        return "not text".to_owned();
    };
    let host = canonical_host(text.split('/').next().unwrap_or_default());
    let _ = text.parse::<Repository>().map_err(|error| shown::error(&error));
    match text.parse::<Reference>() {
        Ok(reference) => {
            shown::line(&reference.to_string());
            assert_eq!(reference.to_string().parse().as_ref(), Ok(&reference));
            assert_eq!(
                reference.repository.to_string().parse().as_ref(),
                Ok(&reference.repository)
            );
            assert_eq!(canonical_host(reference.repository.host()), reference.repository.host());
            assert_eq!(text.contains('@'), reference.digest.is_some());
            format!(
                "read {} {} {}",
                host == reference.repository.host(),
                reference.tag.is_some(),
                text.contains('@')
            )
        }
        Err(error) => shown::error(&error),
    }
}
