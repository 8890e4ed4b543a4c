//! Timestamp tokens.

use std::sync::LazyLock;

use assay_verify::limits::MAX_CHAIN_LENGTH;
use assay_verify::notation::trust_store::parse_file;
use assay_verify::timestamp::{TimestampError, verify};
use assay_verify::x509::certificate::Certificate;

use crate::{Target, seeds, shown};

/// Tokens in BER.
pub const TARGET: Target = Target {
    name: "timestamp",
    seeds: || {
        let tokens = seeds::files("", |path, _| {
            path.extension()
                .is_some_and(|kind| ["p7s", "tsq", "tsr"].into_iter().any(|one| kind == one))
        });
        let indefinite = tokens.iter().filter_map(|token| indefinite(token)).collect::<Vec<_>>();
        [tokens, indefinite].concat()
    },
    words: &[
        b"\x30\x80",
        b"\x24\x80",
        b"\xa0\x80",
        b"\x00\x00",
        b"\x30\x84\x00\x00",
        b"\x31\x00",
        b"\x02\x01\x03",
        b"\x04\x00",
        b"\x05\x00",
        b"\x06\x09\x2a\x86\x48\x86\xf7\x0d\x01\x07\x02",
        b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x01\x04",
        b"\x06\x0b\x2a\x86\x48\x86\xf7\x0d\x01\x09\x10\x02\x2f",
        b"\x06\x09\x60\x86\x48\x01\x65\x03\x04\x02\x01",
        b"\x06\x06\x04\x00\x8f\x67\x01\x01",
        b"\x18\x0f20210917140910Z",
        b"\x18\x1320210917140910.123Z",
        b"\x80\x02\x03\xe7",
        b"\xa1",
    ],
    check,
    inputs: 3_000,
};

/// What the vectors' real tokens are of.
const MESSAGE: &[u8] = b"notation";
const GENERATED_AT: &str = "2021-09-17T14:09:10Z";

static ANCHORS: LazyLock<Vec<Certificate>> = LazyLock::new(|| {
    let roots = ["GlobalSignRootCA.crt", "globalsignTSARoot.cer"];
    let files = seeds::files("", |path, _| roots.iter().any(|root| path.ends_with(root)));
    let certificates = files.iter().filter_map(|content| parse_file(content).ok());
    certificates.flatten().collect()
});

/// A token with lengths of two bytes outside, written as authorities that stream do.
fn indefinite(token: &[u8]) -> Option<Vec<u8>> {
    match token {
        [0x30, 0x82, _, _, content @ ..] => Some([&[0x30, 0x80][..], content, &[0, 0]].concat()),
        _ => None,
    }
}

/// Whatever is accepted says what the authority signed, with a chain to an anchor; it is of no other message, and
/// nothing without anchors.
pub fn check(input: &[u8]) -> String {
    match verify(input, MESSAGE, &*ANCHORS) {
        Ok(countersignature) => {
            let generated_at = countersignature.generated_at();
            assert_eq!(generated_at.to_string(), GENERATED_AT);
            assert!((countersignature.earliest()..=countersignature.latest()).contains(&generated_at));
            let chain = countersignature.chain();
            assert!((2..=MAX_CHAIN_LENGTH).contains(&chain.len()));
            assert!(chain.last().is_some_and(|root| ANCHORS.contains(root)));
            assert_eq!(verify(input, b"other", &*ANCHORS), Err(TimestampError::Imprint));
            let without = verify(input, MESSAGE, []).expect_err("there is no anchor");
            shown::error(&without);
            assert!(verify(&[input, b"\0"].concat(), MESSAGE, &*ANCHORS).is_err());
            format!("accepted {}", chain.len())
        }
        Err(error) => {
            let limit = error.is_limit();
            format!("{} {limit}", shown::error(&error))
        }
    }
}
