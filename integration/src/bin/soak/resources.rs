//! What the daemon holds of the machine, once a second, and whether that grows.

use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use assay_integration::Assayd;

/// While a registry sends too much, up to 32 MiB are in flight, for some seconds. So of each piece of the run this long, its lowest
/// value counts: what everything falls back to. In looks, of which there is one each second; a short run has four pieces.
const PIECE: usize = 30;
/// Growth that is no leak: a tenth of what it was, and at least this. An allocator keeps pieces of what it was given.
const MEMORY_SLACK: f64 = 4.0;
/// Connections come and go with the questions under way.
const DESCRIPTOR_SLACK: f64 = 16.0;
/// Threads that block for the disk and for judging come when there is work, and go after 10 s without.
const THREAD_SLACK: f64 = 8.0;

const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// One look at the daemon.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    values: [f64; 4],
}

/// What is looked at, in the order of [`Sample::values`], with the unit and what may be grown.
const SERIES: [(&str, &str, f64); 4] = [
    ("memory, anonymous", " MiB", MEMORY_SLACK),
    // Files that are mapped or cached with it: shown, and judged by what is anonymous.
    ("memory, resident", " MiB", f64::INFINITY),
    ("threads", "", THREAD_SLACK),
    ("descriptors", "", DESCRIPTOR_SLACK),
];

/// One row of the report.
#[derive(Clone, Debug)]
pub(crate) struct Trend {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
    /// Means of the first and the last minute after the warm-up.
    pub(crate) first: f64,
    pub(crate) last: f64,
    /// The most that was seen at all.
    pub(crate) peak: f64,
    /// What a line through the lows after the warm-up rises by.
    pub(crate) growth: f64,
    /// What it may rise by.
    pub(crate) allowed: f64,
}

impl Trend {
    pub(crate) fn is_flat(&self) -> bool {
        self.growth <= self.allowed
    }
}

/// All that was seen.
#[derive(Debug, Default)]
pub(crate) struct Resources {
    samples: Vec<Sample>,
}

impl Resources {
    /// Looks once.
    pub(crate) fn look(&mut self, started: Instant, assayd: &Assayd) -> Result<()> {
        let memory = assayd.memory()?;
        let values = [
            memory.anonymous as f64 / MEBIBYTE,
            memory.resident as f64 / MEBIBYTE,
            memory.threads as f64,
            assayd.descriptors()? as f64,
        ];
        self.samples.push(Sample {
            at: started.elapsed(),
            values,
        });
        Ok(())
    }

    /// All samples as comma-separated values.
    pub(crate) fn csv(&self) -> String {
        let names = SERIES.map(|(name, ..)| name.replace(", ", " ")).join(",");
        let line = |sample: &Sample| {
            let values = sample.values.map(|value| format!("{value:.1}")).join(",");
            format!("{:.0},{values}\n", sample.at.as_secs_f64())
        };
        let lines: String = self.samples.iter().map(line).collect();
        format!("second,{names}\n{lines}")
    }

    /// How everything went after `warm`.
    ///
    /// # Errors
    ///
    /// Nothing was seen after it.
    pub(crate) fn trends(&self, warm: Duration) -> Result<Vec<Trend>> {
        let since = self.samples.iter().position(|sample| sample.at >= warm);
        let samples = since.and_then(|since| self.samples.get(since..)).unwrap_or_default();
        let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
            anyhow::bail!("the run ended before it was warm");
        };
        // The minutes must not overlap, or a short run would be compared with itself.
        let minute = Duration::from_secs(60).min((last.at - first.at) / 2);
        let early: Vec<_> = samples.iter().filter(|sample| sample.at <= first.at + minute).collect();
        let late: Vec<_> = samples.iter().filter(|sample| sample.at + minute >= last.at).collect();
        let trend = |(index, (name, unit, slack)): (usize, (&'static str, &'static str, f64))| {
            let value = |sample: &Sample| sample.values.get(index).copied();
            let low = |piece: &[Sample]| {
                let at = piece.first()?.at.as_secs_f64();
                Some((at, piece.iter().filter_map(value).reduce(f64::min)?))
            };
            // What is left at the end is no whole piece.
            let piece = (samples.len() / 4).clamp(1, PIECE);
            let points: Option<Vec<_>> = samples.chunks_exact(piece).map(low).collect();
            let mean = |samples: &[&Sample]| {
                samples.iter().filter_map(|sample| value(sample)).sum::<f64>() / samples.len() as f64
            };
            let first = mean(&early);
            Some(Trend {
                name,
                unit,
                first,
                last: mean(&late),
                peak: self.samples.iter().filter_map(value).fold(0.0, f64::max),
                growth: growth(&points?),
                allowed: slack.max(first / 10.0),
            })
        };
        let trends: Option<Vec<_>> = SERIES.into_iter().enumerate().map(trend).collect();
        trends.context("each sample has a value of each kind")
    }
}

/// What the straight line through the points (least squares) rises by from the first to the last.
fn growth(points: &[(f64, f64)]) -> f64 {
    let count = points.len() as f64;
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return 0.0;
    };
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (middle, level) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|(at, _)| (at - middle).powi(2)).sum();
    let together: f64 = points.iter().map(|(at, value)| (at - middle) * (value - level)).sum();
    if spread == 0.0 {
        return 0.0;
    }
    together / spread * (last.0 - first.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A look each second, by a function of the second.
    fn run(seconds: u32, value: impl Fn(f64) -> f64) -> Resources {
        let sample = |second: u32| Sample {
            at: Duration::from_secs(second.into()),
            values: [value(second.into()); 4],
        };
        Resources {
            samples: (0..=seconds).map(sample).collect(),
        }
    }

    #[test]
    fn what_rises_is_not_flat_and_what_only_swings_is() {
        for (what, value, is_flat) in [
            ("still", (|_| 30.0) as fn(f64) -> f64, true),
            ("a swing of 10", |second| 30.0 + 10.0 * (second % 2.0), true),
            (
                "40 more now and then",
                |second| if second % 90.0 > 80.0 { 70.0 } else { 30.0 },
                true,
            ),
            (
                "40 more at the end",
                |second| if second > 350.0 { 70.0 } else { 30.0 },
                true,
            ),
            ("10 that stay", |second| if second > 200.0 { 40.0 } else { 30.0 }, false),
            ("3 in all", |second| 30.0 + second / 100.0, true),
            ("6 in all", |second| 30.0 + second / 50.0, false),
            (
                "6 in all, and a swing",
                |second| 30.0 + second / 50.0 + 10.0 * (second % 2.0),
                false,
            ),
            ("a warm-up", |second| if second < 60.0 { second } else { 60.0 }, true),
        ] {
            let trends = run(360, value).trends(Duration::from_secs(60)).unwrap();
            assert_eq!(trends[0].is_flat(), is_flat, "{what}: {:?}", trends[0]);
        }
    }

    #[test]
    fn minutes_are_the_first_and_the_last_after_the_warm_up() {
        let trends = run(300, |second| second).trends(Duration::from_secs(100)).unwrap();
        let Trend {
            first, last, growth, ..
        } = trends[0];
        // From the first whole piece to the sixth.
        assert_eq!((first, last, growth.round()), (130.0, 270.0, 150.0));
        assert!(run(10, |_| 1.0).trends(Duration::from_secs(20)).is_err());
    }
}
