//! JWS envelopes.

use std::sync::LazyLock;

use assay_verify::envelope::Format;

use super::envelope::{self, Signed};
use crate::{Target, seeds};

/// JWS envelopes.
pub const TARGET: Target = Target {
    name: "jws",
    seeds,
    words: &[
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b",",
        b"\\u0000",
        b"\\ud800",
        b"null",
        b"1e400",
        b"\"signatures\":[],",
        b"\"alg\":\"PS256\",",
        b"\"crit\":[],",
        b"\"b64\":false,",
        b"\"io.cncf.notary.expiry\":\"2030-01-01T00:00:00Z\",",
        b"\"io.cncf.notary.signingScheme\":\"notary.x509.signingAuthority\",",
        b"\"io.cncf.notary.authenticSigningTime\":\"2030-01-01T00:00:00Z\",",
        b"\"io.cncf.notary.verificationPlugin\":\"\",",
        b"\"x5c\":[],",
        b"=",
        b"[[[[",
        b"{\"a\":",
    ],
    check,
    inputs: 3_000,
};

static GENUINE: LazyLock<Vec<Signed>> = LazyLock::new(|| {
    let verified = seeds()
        .into_iter()
        .filter_map(|seed| envelope::verify(Format::Jws, &seed).ok());
    let genuine: Vec<Signed> = verified.map(|envelope| envelope::signed(&envelope)).collect();
    assert!(!genuine.is_empty(), "no seed verifies");
    genuine
});

fn seeds() -> Vec<Vec<u8>> {
    seeds::files("notation", |_, content| content.starts_with(b"{\"payload\""))
}

/// No mutation forges a signature, and judging twice says the same.
pub fn check(input: &[u8]) -> String {
    envelope::check(Format::Jws, input, &GENUINE)
}
