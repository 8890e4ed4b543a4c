//! Text that a stranger wrote: names in certificates, annotations, registries' errors.

use std::fmt;

use crate::limits::MAX_SHOWN_LENGTH;

/// Text from outside, for showing only: everything but printable ASCII, and the backslash itself, becomes an escape, and
/// what is shown stops at [`MAX_SHOWN_LENGTH`] bytes. So no terminal, journal or `kubectl describe` receives a control
/// sequence, a newline or a bidirectional mark from outside.
///
/// Only as much is kept as could be shown: a judgement keeps the failures of a hundred signatures, and each of them may
/// quote a megabyte. So texts that differ only behind that are equal, and nothing may be decided by comparing.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Untrusted(Box<str>);

/// Twice the shown length is enough to show it, and that there is more: no character is shown in less bytes than half of
/// its own.
const KEPT: usize = 2 * MAX_SHOWN_LENGTH;

impl Untrusted {
    /// Takes the text, as far as it could be shown.
    pub fn new(text: impl AsRef<str>) -> Self {
        let text = text.as_ref();
        if text.len() <= KEPT {
            return Self(text.into());
        }
        let end = (0..=KEPT).rev().find(|end| text.is_char_boundary(*end)).unwrap_or(0);
        Self(text.get(..end).unwrap_or_default().into())
    }

    /// Takes bytes that should be text; what is not UTF-8 is replaced.
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let head = bytes.get(..KEPT).unwrap_or(bytes);
        Self::new(String::from_utf8_lossy(head))
    }
}

impl From<&str> for Untrusted {
    fn from(text: &str) -> Self {
        Self::new(text)
    }
}

impl From<String> for Untrusted {
    fn from(text: String) -> Self {
        Self::new(text)
    }
}

impl fmt::Display for Untrusted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&escape(&self.0, MAX_SHOWN_LENGTH))
    }
}

/// Escapes everything but printable ASCII, and ends with `...` where more than `limit` bytes would be shown. The limit
/// never cuts an escape in two.
pub fn escape(text: &str, limit: usize) -> String {
    const ELLIPSIS: &str = "...";
    let mut shown = String::with_capacity(text.len().min(limit));
    // Where to cut if the whole does not fit: after the last piece that leaves room for the ellipsis.
    let mut cut = 0;
    for character in text.chars() {
        match character {
            ' '..='~' if character != '\\' => shown.push(character),
            _ => shown.extend(character.escape_default()),
        }
        if shown.len() > limit {
            shown.truncate(cut);
            shown.push_str(ELLIPSIS);
            break;
        }
        if shown.len() + ELLIPSIS.len() <= limit {
            cut = shown.len();
        }
    }
    shown
}

/// The last guard of a composed line whose parts were escaped where they came in: what is printable ASCII stays as it
/// is, anything else becomes `?`, and the line stops at `limit` bytes.
pub fn one_line(text: &str, limit: usize) -> String {
    let printable = |character| if matches!(character, ' '..='~') { character } else { '?' };
    if text.len() <= limit {
        return text.chars().map(printable).collect();
    }
    let head: String = text.chars().map(printable).take(limit.saturating_sub(3)).collect();
    format!("{head}...")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shows_printable_ascii_as_it_is() {
        assert_eq!(
            Untrusted::from("C=US, O=Corp (release)").to_string(),
            "C=US, O=Corp (release)"
        );
    }

    #[test]
    fn escapes_control_sequences_newlines_and_bidirectional_marks() {
        assert_eq!(
            Untrusted::from("a\x1b[31m\n\u{202e}\\").to_string(),
            r"a\u{1b}[31m\n\u{202e}\\"
        );
    }

    #[test]
    fn stops_at_the_shown_length_without_cutting_an_escape() {
        let shown = Untrusted::from("\u{202e}".repeat(100)).to_string();
        assert!(shown.len() <= MAX_SHOWN_LENGTH, "{}", shown.len());
        assert!(shown.ends_with(r"\u{202e}..."), "{shown}");
    }

    #[test]
    fn a_composed_line_is_printable_ascii_of_bounded_length() {
        assert_eq!(one_line(r"by CN=a\u{1b}", 80), r"by CN=a\u{1b}");
        assert_eq!(one_line("a\nb\u{e9}", 80), "a?b?");
        assert_eq!(one_line(&"\u{e9}".repeat(80), 80), format!("{}...", "?".repeat(77)));
    }

    #[test]
    fn keeps_no_more_than_could_be_shown() {
        for piece in ["x", "\u{e9}", "\u{20ac}", "\u{1f600}", "\\"] {
            let long = Untrusted::from(piece.repeat(1024 * 1024));
            assert!(long.0.len() <= 2 * MAX_SHOWN_LENGTH, "{piece}");
            assert_eq!(
                long.to_string(),
                escape(&piece.repeat(1024), MAX_SHOWN_LENGTH),
                "{piece}"
            );
        }
    }

    #[test]
    fn shows_text_that_just_fits_whole() {
        let text = "x".repeat(MAX_SHOWN_LENGTH);
        assert_eq!(Untrusted::from(text.as_str()).to_string(), text);
    }
}
