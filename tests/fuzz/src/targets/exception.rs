//! Break-glass exceptions.

use assay_verify::digest::Digest;
use assay_verify::limits::MAX_EXCEPTION_LIFETIME;
use assay_verify::policy::Exceptions;

use crate::{Target, seeds, shown};

const WHOLE: &str = r#"version = 1
[[exception]]
images   = ["registry.corp.example/prod/**"]
digests  = []
owner    = "jane@corp.example"
reason   = "registry of signatures is down"
incident = "INC-4711"
starts   = "2026-11-28T10:00:00Z"
expires  = "2026-11-28T18:00:00Z"
[[exception]]
images   = ["**"]
digests  = ["sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"]
owner    = "a"
reason   = "b"
incident = "c"
starts   = "2026-11-28T10:00:00Z"
expires  = "2026-11-29T10:00:00Z"
"#;

/// Break-glass exceptions.
pub const TARGET: Target = Target {
    name: "exception",
    seeds: || {
        seeds::texts(&[
            WHOLE,
            "version = 1\n",
            "version = 1\nexception = [{images = ['a'], owner = 'b', reason = 'c', incident = 'd', starts = '2026-11-28T10:00:00Z', expires = '2026-11-28T10:00:00.1Z'}]\n",
            "version = 1\n[exception]\nimages = [\"**\"]\n",
        ])
    },
    words: &[
        b"[",
        b"]",
        b"[[exception]]\n",
        b"{",
        b"}",
        b"=",
        b"\"",
        b"'",
        b"\"\"\"",
        b"\\u202E",
        b"\xe2\x80\xae",
        b"\x1b[31m",
        b"\n",
        b"\r\n",
        b"a.",
        b"#",
        b"1979-05-27T07:32:00Z",
        b"\"2026-11-29T10:00:00Z\"",
        b"\"2026-11-27T10:00:00+23:59\"",
        b"\"9999-12-30T22:00:00Z\"",
        b"\"-009999-01-02T01:59:59Z\"",
        b"\"**\",",
        b"images = []\n",
        b"digests = []\n",
        b"0",
        b"-",
    ],
    check,
    inputs: 2_500,
};

/// Exceptions that are read are TOML; each has a scope, lasts a day at most, is active from its start to its expiry, and tells
/// itself in a printable line.
pub fn check(input: &[u8]) -> String {
    let Some(text) = super::text(input) else {
        return "not text".to_owned();
    };
    let parsed = Exceptions::parse("break-glass.toml", text);
    if let Some(exceptions) = &parsed.exceptions {
        text.parse::<toml::Table>().expect("TOML");
        let repository = "registry.corp.example/prod/a".parse().expect("a repository");
        for exception in exceptions.all() {
            shown::line(&exception.to_string());
            let (starts, expires) = (exception.starts(), exception.expires());
            assert!(starts < expires);
            assert!(expires.duration_since(starts).unsigned_abs() <= MAX_EXCEPTION_LIFETIME);
            assert!(
                exception.images().is_some_and(|images| !images.is_empty())
                    || exception.digests().is_some_and(|digests| !digests.is_empty())
            );
            assert!(exception.is_active(starts) && !exception.is_active(expires));
            assert!(exceptions.any_active(starts));
            let next = exceptions.next_change(starts).expect("an expiry");
            assert!(starts < next && next <= expires);
            if let Some(found) = exceptions.active_for(&repository, &Digest::sha256(b"hello"), starts) {
                assert!(found.is_active(starts));
            }
        }
    }
    shown::diagnostics(text, parsed.exceptions.is_some(), &parsed.diagnostics)
}
