//! What must hold for everything that reaches a terminal or a journal.

use std::fmt::{Debug, Display};

use assay_verify::document::{Diagnostic, Severity};
use assay_verify::limits::MAX_DIAGNOSTICS;

/// The longest line of a message: fixed text around at most four strings from outside.
const MAX_LINE: usize = 1_024;

/// Asserts that an error's line is printable and bounded, and returns the error in short.
///
/// # Panics
///
/// When it is not.
pub fn error(error: &(impl Display + Debug)) -> String {
    line(&error.to_string());
    format!("{error:?}")
}

/// Asserts that a line is printable and bounded. Beside ASCII there is only the ellipsis of our own messages.
///
/// # Panics
///
/// When it is not.
pub fn line(text: &str) {
    assert!(text.len() <= MAX_LINE, "{} bytes: {text}", text.len());
    let printable = |character| matches!(character, ' '..='~' | '…');
    assert!(text.chars().all(printable), "not printable: {text:?}");
}

/// Asserts what must hold for the problems of a document, and returns them in short: there is a document if and only if
/// there is no error, the list is bounded and in order, and every place is in the text.
///
/// # Panics
///
/// When it does not hold.
pub fn diagnostics(text: &str, parsed: bool, found: &[Diagnostic]) -> String {
    assert_eq!(
        parsed,
        found.iter().all(|one| one.severity == Severity::Warning),
        "there is a document if and only if there is no error: {found:?}"
    );
    assert!(found.len() <= MAX_DIAGNOSTICS + 1, "{} problems", found.len());
    assert!(found.is_sorted_by_key(|one| one.place.map_or((usize::MAX, 0), |place| (place.line, place.column))));
    let lines: Vec<&str> = text.split('\n').collect();
    for one in found {
        one.to_string().lines().for_each(line);
        assert!(one.to_string().lines().count() <= 2, "{one}");
        if let Some(place) = one.place {
            let line = lines.get(place.line.wrapping_sub(1));
            let columns = line.map_or(0, |line| line.chars().count() + 1);
            assert!(
                (1..=columns).contains(&place.column),
                "{place:?} is not in the text: {one}"
            );
        }
    }
    let messages: Vec<&str> = found.iter().take(4).map(|one| one.message.as_str()).collect();
    format!("{parsed} {}", messages.join(";"))
}
