//! Text from outside, when it is shown.

use assay_verify::limits::MAX_SHOWN_LENGTH;
use assay_verify::untrusted::{Untrusted, escape, one_line};

use crate::{Target, seeds, shown};

/// Text from outside, when it is shown.
pub const TARGET: Target = Target {
    name: "untrusted",
    seeds: || {
        seeds::texts(&[
            "a",
            "\x1b[2J",
            "\u{202e}\\",
            &"x".repeat(300),
            &"\u{1f600}".repeat(60),
            "a\nb\r\u{7f}\u{85}",
        ])
    },
    words: &[
        b"\x1b[",
        b"\n",
        b"\\",
        b"\xe2\x80\xae",
        b"\xf0\x9f\x98\x80",
        b"\xff",
        b"\xc3",
        b"\xed\xa0\x80",
        b"'",
        b"\"",
    ],
    check,
    inputs: 8_000,
};

/// What is shown is printable ASCII within its limit, and what was cut off before could not be shown.
pub fn check(input: &[u8]) -> String {
    let text = String::from_utf8_lossy(input);
    let shown = Untrusted::from_bytes(input).to_string();
    shown::line(&shown);
    assert_eq!(shown, Untrusted::new(text.clone()).to_string());
    let limits = [MAX_SHOWN_LENGTH, input.first().copied().map_or(3, usize::from).max(3)];
    for limit in limits {
        for line in [escape(&text, limit), one_line(&text, limit)] {
            assert!(
                line.is_ascii() && line.len() <= limit,
                "{} of {limit}: {line}",
                line.len()
            );
            shown::line(&line);
        }
    }
    format!("{}", shown.ends_with("..."))
}
