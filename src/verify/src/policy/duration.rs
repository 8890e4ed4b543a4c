//! Durations in the document, such as `"24h"`.

use std::ops::RangeInclusive;
use std::time::Duration;

use jiff::SignedDuration;

use crate::document::{Node, Report, quoted};

/// Reads a duration that lies in a range. What does not is reported.
pub(super) fn read_duration(
    report: &mut Report<'_>,
    key: &str,
    node: &Node,
    range: RangeInclusive<Duration>,
    example: &str,
) -> Option<Duration> {
    let text = report.text(key, node)?;
    let read = text
        .parse::<SignedDuration>()
        .ok()
        .and_then(|read| Duration::try_from(read).ok())
        .filter(|read| range.contains(read));
    if read.is_none() {
        let (least, most) = (shown(*range.start()), shown(*range.end()));
        let help = format!("expected a duration of {least} to {most}, such as {example}");
        report.error_with_help(node.at, format!("{key} cannot be {}", quoted(text)), help);
    }
    read
}

/// In the largest unit that leaves no rest.
fn shown(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match [(24 * 3600, "days"), (3600, "h"), (60, "min")]
        .into_iter()
        .find(|(unit, _)| seconds > *unit && seconds.is_multiple_of(*unit))
    {
        Some((unit, name)) => format!("{} {name}", seconds / unit),
        None => format!("{seconds} s"),
    }
}
