//! The time in which a key or an authority counts.

use std::fmt;

use crate::Timestamp;

/// An interval with both ends in it; an end that is not given is open (sigstore protobuf-specs: sigstore_common.proto,
/// TimeRange).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Window {
    /// The first moment.
    pub start: Option<Timestamp>,
    /// The last moment.
    pub end: Option<Timestamp>,
}

impl Window {
    /// Whether a moment is inside.
    pub fn contains(&self, moment: Timestamp) -> bool {
        self.start.is_none_or(|start| start <= moment) && self.end.is_none_or(|end| moment <= end)
    }
}

/// For people: `from … to …`, where an end that is not given is left out.
impl fmt::Display for Window {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.start, self.end) {
            (Some(start), Some(end)) => write!(f, "from {start} to {end}"),
            (Some(start), None) => write!(f, "from {start} on"),
            (None, Some(end)) => write!(f, "until {end}"),
            (None, None) => f.write_str("always"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ends_are_inside_and_a_missing_end_is_open() {
        let at = |second| Timestamp::from_second(second).unwrap();
        let window = Window {
            start: Some(at(10)),
            end: Some(at(20)),
        };
        for (moment, inside) in [(9, false), (10, true), (20, true), (21, false)] {
            assert_eq!(window.contains(at(moment)), inside, "{moment}");
        }
        assert!(Window::default().contains(Timestamp::MIN) && Window::default().contains(Timestamp::MAX));
    }
}
