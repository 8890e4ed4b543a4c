//! Tokens by another implementation: `openssl/README.md` says how they were made.

use assay_verify::notation::trust_store::parse_file;
use assay_verify::timestamp::{TimestampError, verify};

use crate::token::at;

const ROOT: &[u8] = include_bytes!("openssl/root.pem");
const TOKENS: [(&[u8], &str, &str); 3] = [
    (
        include_bytes!("openssl/reply.p7s"),
        "2026-11-21T17:10:52.6829Z",
        "2026-11-21T17:10:55.6831Z",
    ),
    (
        include_bytes!("openssl/stream.p7s"),
        "2026-11-21T17:10:53.0309Z",
        "2026-11-21T17:10:56.0311Z",
    ),
    (
        include_bytes!("openssl/pss.p7s"),
        "2026-11-21T17:10:53.0309Z",
        "2026-11-21T17:10:56.0311Z",
    ),
];

#[test]
fn accepts_tokens_of_openssl_in_der_and_ber() {
    let anchors = parse_file(ROOT).unwrap();
    for (token, earliest, latest) in TOKENS {
        let countersignature = verify(token, b"notation", &anchors).unwrap();
        assert_eq!(countersignature.earliest(), at(earliest));
        assert_eq!(countersignature.latest(), at(latest));
        assert_eq!(countersignature.chain().last(), anchors.first());
        assert_eq!(verify(token, b"other", &anchors), Err(TimestampError::Imprint));
    }
}
