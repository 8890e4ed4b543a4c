//! DSSE envelopes: v2 attestations, and what is beside them in a layer.

use std::sync::Arc;

use assay_verify::descriptor::Annotations;
use assay_verify::sigstore::dsse::{Envelope, pre_authentication_encoding};
use assay_verify::sigstore::material::{ClaimedSigner, Content, Format};
use assay_verify::sigstore::simple_signing;

use crate::{Target, seeds, shown};

/// DSSE envelopes.
pub const TARGET: Target = Target {
    name: "dsse",
    seeds: || seeds::files("../sigstore", |_, content| content.starts_with(b"{\"payloadType\"")),
    words: &[
        b"{",
        b"}",
        b"[",
        b"]",
        b",",
        b"null",
        b"\"payload\":\"\",",
        b"\"payloadType\":\"\",",
        b"\"signatures\":[],",
        b"{\"sig\":\"AA==\"},",
        b"\"keyid\":\"\",",
        b"-_8=",
        b"\\u0000",
        b"\xff",
        b"[[[[",
    ],
    check,
    inputs: 3_000,
};

/// An envelope has one signature and one payload, and one encoding that is signed; a layer holds exactly what the envelope
/// does, with the envelope's own bytes.
pub fn check(input: &[u8]) -> String {
    let layer = simple_signing::attestation(&Annotations::new(), Arc::from(input));
    let envelope = match Envelope::parse(input) {
        Ok(envelope) => envelope,
        Err(error) => {
            let layer = layer.expect_err("an attestation without an envelope");
            assert_eq!(layer.to_string(), error.to_string());
            return shown::error(&error);
        }
    };
    let material = layer.expect("an envelope is an attestation");
    assert_eq!(material.format, Format::Layer);
    assert!(matches!(material.signer, ClaimedSigner::Key { hint: None }));
    assert!(material.log_entries.is_empty() && material.timestamps.is_empty());
    let Content::Dsse {
        payload_type,
        payload,
        signature,
        envelope: Some(kept),
    } = &material.content
    else {
        panic!("not an envelope: {:?}", material.content)
    };
    assert!(
        (&**payload_type, &**payload, &**signature)
            == (&*envelope.payload_type, &*envelope.payload, &*envelope.signature)
    );
    assert!(**kept == *input && !payload.is_empty() && !signature.is_empty());

    // Type and payload can be told again from what is signed, so that no two envelopes share it (dsse: protocol.md).
    let encoded = pre_authentication_encoding(payload_type, payload);
    let rest = encoded.strip_prefix(b"DSSEv1 ").expect("the version");
    let (kind, rest) = counted(rest);
    let (body, end) = counted(rest.strip_prefix(b" ").expect("a space"));
    assert!(kind == payload_type.as_bytes() && body == &**payload && end.is_empty());
    format!("{} {}", payload_type.len().min(64), payload.len().ilog2())
}

/// Takes bytes that stand behind their number.
fn counted(encoded: &[u8]) -> (&[u8], &[u8]) {
    let space = encoded.iter().position(|byte| *byte == b' ').expect("a space");
    let count: usize = std::str::from_utf8(&encoded[..space])
        .ok()
        .and_then(|digits| digits.parse().ok())
        .expect("a number");
    encoded[space + 1..].split_at(count)
}
