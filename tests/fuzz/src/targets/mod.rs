//! The targets.

pub mod bundle;
pub mod cel;
pub mod certificate;
pub mod checkpoint;
pub mod cose;
pub mod crl;
pub mod deny_list;
pub mod descriptor;
pub mod digest;
pub mod distinguished_name;
pub mod dsse;
mod envelope;
pub mod exception;
pub mod fulcio;
pub mod identities;
pub mod index;
pub mod jws;
pub mod log_entry;
pub mod manifest;
pub mod ocsp;
pub mod pattern;
pub mod platform;
pub mod plugin_metadata;
pub mod plugin_verdict;
pub mod policy;
pub mod query;
pub mod reference;
pub mod simple_signing;
pub mod statement;
pub mod timestamp;
pub mod trust_policy;
pub mod trust_store;
pub mod trusted_root;
pub mod untrusted;

use crate::Target;

/// All of them.
pub const ALL: &[&Target] = &[
    &bundle::TARGET,
    &cel::TARGET,
    &certificate::TARGET,
    &checkpoint::TARGET,
    &cose::TARGET,
    &crl::TARGET,
    &deny_list::TARGET,
    &descriptor::TARGET,
    &digest::TARGET,
    &distinguished_name::TARGET,
    &dsse::TARGET,
    &exception::TARGET,
    &fulcio::TARGET,
    &identities::TARGET,
    &index::TARGET,
    &jws::TARGET,
    &log_entry::TARGET,
    &manifest::TARGET,
    &ocsp::TARGET,
    &pattern::TARGET,
    &platform::TARGET,
    &plugin_metadata::TARGET,
    &plugin_verdict::TARGET,
    &policy::TARGET,
    &query::TARGET,
    &reference::TARGET,
    &simple_signing::TARGET,
    &statement::TARGET,
    &timestamp::TARGET,
    &trust_policy::TARGET,
    &trust_store::TARGET,
    &trusted_root::TARGET,
    &untrusted::TARGET,
];

const JSON: &[&[u8]] = &[
    b"{",
    b"}",
    b"[",
    b"]",
    b"\"",
    b":",
    b",",
    b"null",
    b"true",
    b"{\"a\":",
    b"[[",
    b"\\u0000",
    b"\\ud800",
    b"\\u202e",
    b"1e400",
    b"-1",
    b"18446744073709551616",
    b"1.5",
    b"\xef\xbb\xbf",
    b"\xff",
    b"//",
    b"/*",
];

const DER: &[&[u8]] = &[
    b"\x30\x80",
    b"\x30\x82",
    b"\x30\x84\xff\xff\xff\xff",
    b"\x31\x00",
    b"\x02\x01",
    b"\x03\x02\x00",
    b"\x04\x00",
    b"\x05\x00",
    b"\x06\x03\x55\x1d\x13",
    b"\x06\x03\x55\x1d\x0f",
    b"\x06\x03\x55\x1d\x25",
    b"\x0c\x01",
    b"\x13\x01",
    b"\x14\x01",
    b"\x1e\x02\xd8\x00",
    b"\x01\x01\xff",
    b"\x18\x0f",
    b"\x17\x0d",
    b"\xa0\x03\x02\x01\x02",
    b"\xa3",
    b"\x1f\xff\xff\x7f",
];

fn text(input: &[u8]) -> Option<&str> {
    std::str::from_utf8(input).ok()
}
