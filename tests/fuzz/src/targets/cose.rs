//! COSE envelopes.

use std::sync::LazyLock;

use assay_verify::envelope::Format;

use super::envelope::{self, Signed};
use crate::{Target, seeds};

/// COSE envelopes.
pub const TARGET: Target = Target {
    name: "cose",
    seeds,
    words: &[
        b"\xd2\x84",
        b"\x84",
        b"\xa0",
        b"\xa1",
        b"\xbf",
        b"\x9f",
        b"\xff",
        b"\x5f",
        b"\x7f",
        b"\xf6",
        b"\xf5",
        b"\xc1\x1a\x65\x00\x00\x00",
        b"\xc1\xfb\x41\xd9\x00\x00\x00\x00\x00\x00",
        b"\x01\x38\x24",
        b"\x02\x80",
        b"\x18\x21\x81",
        b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x3b\xff\xff\xff\xff\xff\xff\xff\xff",
        b"\x5a\xff\xff\xff\xff",
        b"\x9a\xff\xff\xff\xff",
        b"\xc2\x41\x01",
        b"\x78\x1cio.cncf.notary.signingScheme",
        b"\x75io.cncf.notary.expiry",
        b"\x78\x24io.cncf.notary.authenticSigningTime",
        b"\x81\x81\x81",
        b"\xf9\x7e\x00",
        b"\x18\x01",
    ],
    check,
    inputs: 3_000,
};

static GENUINE: LazyLock<Vec<Signed>> = LazyLock::new(|| {
    let verified = seeds()
        .into_iter()
        .filter_map(|seed| envelope::verify(Format::Cose, &seed).ok());
    let genuine: Vec<Signed> = verified.map(|envelope| envelope::signed(&envelope)).collect();
    assert!(!genuine.is_empty(), "no seed verifies");
    genuine
});

fn seeds() -> Vec<Vec<u8>> {
    seeds::files("notation", |_, content| content.starts_with(b"\xd2\x84"))
}

/// No mutation forges a signature, and judging twice says the same.
pub fn check(input: &[u8]) -> String {
    envelope::check(Format::Cose, input, &GENUINE)
}
