//! Deny-lists.

use assay_verify::deny_list::{Denied, DenyList, Entry};

use crate::{Target, seeds, shown};

const WHOLE: &str = r#"{"version": 1, "issued": "2026-11-28T10:00:00Z", "entries": [
  {"image": "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "reason": "a", "reference": "INC-4711", "at": "2026-11-28T09:00:00Z"},
  {"signature": "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "reason": "a", "reference": "b", "at": "2026-11-28T09:00:00Z"},
  {"key": "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "reason": "a", "reference": "b", "at": "2026-11-28T09:00:00Z"},
  {"certificate": "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824", "reason": "a", "reference": "b", "at": "2026-11-28T09:00:00Z"},
  {"issuer": "CN=Corp CA, O=Corp, C=US", "serial": "00:0a:1b", "reason": "a", "reference": "b", "at": "2026-11-28T09:00:00Z"},
  {"identity": {"certificate_subject": "C=US, ST=WA, O=Corp, CN=release"}, "from": "2026-01-01T00:00:00Z", "until": "2026-02-01T00:00:00Z", "reason": "a", "reference": "b", "at": "2026-11-28T09:00:00Z"},
  {"identity": {"issuer": "https://idp.example", "subject": "ci"}, "from": "2026-01-01T00:00:00Z", "reason": "a", "reference": "b", "at": "2026-11-28T09:00:00Z"}
]}"#;

/// Deny-lists.
pub const TARGET: Target = Target {
    name: "deny_list",
    seeds: || {
        seeds::texts(&[
            WHOLE,
            r#"{"version":1,"issued":"2026-11-28T10:00:00Z","entries":[]}"#,
            "{ \"entries\" :\n[ 1 , {} , [ ] ] , \"issued\" : 1 }",
            &format!("{{\"entries\":{}", "[".repeat(20_000)),
            &format!("{{\"a\":{}", "[{\"a\":".repeat(10_000)),
        ])
    },
    words: &[
        b"{",
        b"}",
        b"[",
        b"]",
        b"\"",
        b",",
        b":",
        b"\\u0000",
        b"\\u212a",
        b"\\ud800",
        b"\\\"",
        b"\xe2\x80\xae",
        b"\x1b[31m",
        b"\n",
        b"1e400",
        b"null",
        b"//",
        b"\"from\": \"2026-01-01T00:00:00Z\",",
        b"\"until\": \"2025-01-01T00:00:00Z\",",
        b"\"KEY\": 1,",
        b"\"entries\": [{}],",
        b"sha512:",
        b"CN=a+O=b",
        b"\\\\20",
        b"1.2.3=",
        b"=#",
        b"00",
    ],
    check,
    inputs: 2_500,
};

/// A list that is read is JSON, says the same when it is read again or joined with itself, finds what it names by a digest,
/// and tells each entry in a printable line.
pub fn check(input: &[u8]) -> String {
    let Some(text) = super::text(input) else {
        return "not text".to_owned();
    };
    let parsed = DenyList::parse("deny.json", text);
    if let Some(list) = &parsed.list {
        serde_json::from_str::<serde_json::Value>(text).expect("JSON");
        assert!(list.issued().is_some());
        let again = DenyList::parse("again", text).list.expect("the same list");
        let twice = list.union(&again);
        let entries: Vec<&Entry> = list.entries().collect();
        assert!(entries.iter().copied().eq(again.entries()));
        assert_eq!(twice.entries().len(), 2 * entries.len());
        for entry in entries {
            shown::line(&entry.to_string());
            if let Denied::Image(digest)
            | Denied::Signature(digest)
            | Denied::Key(digest)
            | Denied::Certificate(digest) = entry.denied()
            {
                let found = list.image(digest).expect("an entry names it");
                assert_eq!(twice.image(digest), Some(found));
            }
        }
    }
    shown::diagnostics(text, parsed.list.is_some(), &parsed.diagnostics)
}
