//! Figures: percentiles of repeated measurements, and the table that sets them beside goals and peers.

use std::fmt;
use std::time::Duration;

/// Durations of the same thing, measured again and again.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Samples(Vec<Duration>);

impl FromIterator<Duration> for Samples {
    fn from_iter<T: IntoIterator<Item = Duration>>(durations: T) -> Self {
        let mut durations: Vec<_> = durations.into_iter().collect();
        durations.sort_unstable();
        Self(durations)
    }
}

impl Samples {
    /// How often it was measured.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether it was never measured.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The shortest duration that at least `percent` of a hundred do not exceed (the nearest rank); zero without
    /// samples.
    pub fn percentile(&self, percent: usize) -> Duration {
        let rank = (self.0.len() * percent).div_ceil(100);
        self.0.get(rank.saturating_sub(1)).copied().unwrap_or_default()
    }

    /// Half are not longer.
    pub fn median(&self) -> Duration {
        self.percentile(50)
    }
}

/// How many times `one` is as long as `other`.
pub fn ratio(one: Duration, other: Duration) -> f64 {
    one.as_secs_f64() / other.as_secs_f64()
}

/// A duration in the unit that people compare it in, with three digits.
pub fn shown(duration: Duration) -> String {
    let micros = duration.as_secs_f64() * 1e6;
    match micros {
        ..1e3 => format!("{micros:.0} us"),
        ..1e4 => format!("{:.2} ms", micros / 1e3),
        ..1e5 => format!("{:.1} ms", micros / 1e3),
        ..1e6 => format!("{:.0} ms", micros / 1e3),
        _ => format!("{:.2} s", micros / 1e6),
    }
}

/// What a figure should be.
#[derive(Clone, Debug, PartialEq)]
pub struct Goal {
    text: String,
    met: bool,
}

impl Goal {
    /// A duration of at most `most`.
    pub fn within(measured: Duration, most: Duration) -> Self {
        Self {
            text: format!("<= {}", shown(most)),
            met: measured <= most,
        }
    }

    /// A number of at most `most` of `unit`.
    pub fn at_most(measured: f64, most: f64, unit: &str) -> Self {
        Self {
            text: format!("<= {most}{unit}"),
            met: measured <= most,
        }
    }

    /// A number of at least `least` of `unit`.
    pub fn at_least(measured: f64, least: f64, unit: &str) -> Self {
        Self {
            text: format!(">= {least}{unit}"),
            met: measured >= least,
        }
    }
}

#[derive(Clone, Debug)]
struct Row {
    name: String,
    measured: String,
    goal: Option<Goal>,
    beside: String,
}

/// Figures with their goals, and what was measured beside them in the same run.
#[derive(Clone, Debug, Default)]
pub struct Table(Vec<Row>);

impl Table {
    /// Adds a figure. `beside` is what a peer took, with the ratio; empty where there is none.
    pub fn add(&mut self, name: &str, measured: impl Into<String>, goal: Option<Goal>, beside: impl Into<String>) {
        self.0.push(Row {
            name: name.to_owned(),
            measured: measured.into(),
            goal,
            beside: beside.into(),
        });
    }

    /// How many goals are met, and how many there are.
    pub fn goals(&self) -> (usize, usize) {
        let goals: Vec<_> = self.0.iter().filter_map(|row| row.goal.as_ref()).collect();
        (goals.iter().filter(|goal| goal.met).count(), goals.len())
    }
}

impl fmt::Display for Table {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let head = ["", "assayd", "goal", "", "beside it"].map(str::to_owned);
        let lines = self.0.iter().map(|row| {
            let (goal, word) = match &row.goal {
                Some(goal) => (goal.text.clone(), if goal.met { "PASS" } else { "MISS" }),
                None => (String::new(), ""),
            };
            [
                row.name.clone(),
                row.measured.clone(),
                goal,
                word.to_owned(),
                row.beside.clone(),
            ]
        });
        let lines: Vec<_> = [head].into_iter().chain(lines).collect();
        let width = |column: usize| {
            let lengths = lines.iter().filter_map(|line| line.get(column)).map(String::len);
            lengths.max().unwrap_or_default()
        };
        let (name, measured, goal) = (width(0), width(1), width(2));
        for [first, second, third, word, last] in &lines {
            let line = format!("{first:<name$}  {second:>measured$}  {third:>goal$}  {word:<4}  {last}");
            writeln!(f, "{}", line.trim_end())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn milliseconds(count: u64) -> Samples {
        (1..=count).rev().map(Duration::from_millis).collect()
    }

    #[test]
    fn a_percentile_is_the_nearest_rank() {
        for (count, percent, expected) in [
            (1, 50, 1),
            (1, 99, 1),
            (4, 50, 2),
            (100, 99, 99),
            (1000, 99, 990),
            (3, 0, 1),
        ] {
            let found = milliseconds(count).percentile(percent);
            assert_eq!(found, Duration::from_millis(expected), "{percent} % of {count}");
        }
        assert_eq!(Samples::default().median(), Duration::ZERO);
    }

    #[test]
    fn durations_are_shown_in_the_unit_that_fits() {
        for (nanoseconds, expected) in [
            (87_400, "87 us"),
            (780_000, "780 us"),
            (1_234_000, "1.23 ms"),
            (15_260_000, "15.3 ms"),
            (165_000_000, "165 ms"),
            (2_500_000_000, "2.50 s"),
        ] {
            assert_eq!(shown(Duration::from_nanos(nanoseconds)), expected);
        }
    }

    #[test]
    fn a_row_says_whether_its_goal_is_met() {
        let mut table = Table::default();
        let took = Duration::from_micros(700);
        table.add(
            "verdict",
            shown(took),
            Some(Goal::within(took, Duration::from_micros(800))),
            "",
        );
        table.add(
            "throughput",
            "40000/s",
            Some(Goal::at_least(4e4, 5e4, "/s")),
            "peer 3 x",
        );
        table.add("requests", "3", None, "");
        let text = table.to_string();
        let lines: Vec<_> = text.lines().collect();
        assert!(lines[1].ends_with("<= 800 us  PASS"), "{text}");
        assert!(lines[2].contains(">= 50000/s  MISS  peer 3 x"), "{text}");
        assert!(lines[3].ends_with("      3"), "{text}");
        assert_eq!(table.goals(), (1, 2));
    }
}
