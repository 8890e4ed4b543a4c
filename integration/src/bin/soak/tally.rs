//! What was answered, and whether it was right.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::Duration;

use assay_integration::measure::{Samples, shown};

use crate::subjects::Outcome;

/// Codes that say that nothing is known. All that a registry's fault may bring about.
const INCONCLUSIVE: [&str; 4] = ["deadline", "limit-exceeded", "registry-auth", "registry-unavailable"];
/// How many wrong answers are shown.
const SHOWN: usize = 20;

/// What an answer is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Worth {
    Right,
    /// Not decided, and the registry misbehaved.
    NotDecided,
    Wrong,
}

impl Worth {
    /// `is_right`: whether it is the answer of a registry that is well. `faulty`: whether that registry may not have been.
    pub(crate) fn of(outcome: &Outcome, is_right: bool, faulty: bool) -> Self {
        let is_open = outcome.code().is_some_and(|code| INCONCLUSIVE.contains(&code));
        match (is_right, faulty && is_open) {
            (true, _) => Self::Right,
            (false, true) => Self::NotDecided,
            (false, false) => Self::Wrong,
        }
    }
}

/// The path that a pull took.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Path {
    /// The hook, execed as containerd does.
    Hook,
    /// A pull through containerd.
    Containerd,
}

/// All answers so far.
#[derive(Debug, Default)]
pub(crate) struct Tally {
    pub(crate) hook: u64,
    pub(crate) containerd: u64,
    /// Asked while the registry misbehaved, or shortly after.
    pub(crate) faulty: u64,
    pub(crate) not_decided: u64,
    pub(crate) wrong: u64,
    outcomes: BTreeMap<Outcome, u64>,
    /// Pulls while each fault was on or shortly after, and how many of them were not decided.
    faults: BTreeMap<&'static str, [u64; 2]>,
    shown: Vec<String>,
    times: Vec<Duration>,
    times_of_pulls: Vec<Duration>,
}

impl Tally {
    pub(crate) fn add(
        &mut self,
        path: Path,
        outcome: Outcome,
        worth: Worth,
        fault: Option<&'static str>,
        took: Duration,
    ) {
        match path {
            Path::Hook => self.hook += 1,
            Path::Containerd => self.containerd += 1,
        }
        if let Some(fault) = fault {
            self.faulty += 1;
            let [met, not_decided] = self.faults.entry(fault).or_default();
            *met += 1;
            *not_decided += u64::from(worth == Worth::NotDecided);
        }
        match worth {
            Worth::Right => {}
            Worth::NotDecided => self.not_decided += 1,
            Worth::Wrong => self.wrong += 1,
        }
        match path {
            // A registry that takes its time is no matter of the hook's.
            Path::Hook if fault.is_none() => self.times.push(took),
            Path::Hook => {}
            Path::Containerd => self.times_of_pulls.push(took),
        }
        *self.outcomes.entry(outcome).or_default() += 1;
    }

    pub(crate) fn show_wrong(&mut self, what: String) {
        if self.shown.len() < SHOWN {
            self.shown.push(what);
        }
    }

    pub(crate) fn wrong_ones(&self) -> &[String] {
        &self.shown
    }

    pub(crate) fn all(&self) -> u64 {
        self.hook + self.containerd
    }

    /// The table of verdicts, and how long they took.
    pub(crate) fn report(&self, ran: Duration) -> String {
        let mut text = String::new();
        let mut line = |name: &str, value: String| {
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{name:<44} {value:>12}");
        };
        let per_second = self.all() as f64 / ran.as_secs_f64();
        line("pulls", format!("{}", self.all()));
        line("  a second", format!("{per_second:.0}"));
        line("  through the hook", format!("{}", self.hook));
        line("  through containerd (CRI)", format!("{}", self.containerd));
        line("  while or after a fault", format!("{}", self.faulty));
        line("  of these not decided", format!("{}", self.not_decided));
        for (fault, [met, not_decided]) in &self.faults {
            line(&format!("    {fault}"), format!("{not_decided} of {met}"));
        }
        let mut outcomes = BTreeMap::<String, u64>::new();
        for (outcome, count) in &self.outcomes {
            *outcomes.entry(outcome.name()).or_default() += count;
        }
        for (outcome, count) in outcomes {
            line(&outcome, count.to_string());
        }
        for (name, times) in [
            ("hook, exec to exit, no fault", &self.times),
            ("pull through containerd", &self.times_of_pulls),
        ] {
            let samples: Samples = times.iter().copied().collect();
            let (median, most) = (samples.median(), samples.percentile(99));
            line(&format!("{name}: p50"), shown(median));
            line(&format!("{name}: p99"), shown(most));
        }
        line("wrong verdicts", self.wrong.to_string());
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fault_excuses_what_is_not_decided_and_nothing_else() {
        let deny = |code: &str| Outcome::Deny(code.to_owned());
        for (outcome, is_right, faulty, worth) in [
            (Outcome::Admit, true, false, Worth::Right),
            (Outcome::Admit, true, true, Worth::Right),
            (Outcome::Admit, false, true, Worth::Wrong),
            (deny("unsigned"), false, true, Worth::Wrong),
            (deny("signature-invalid"), false, true, Worth::Wrong),
            (deny("daemon-unavailable"), false, true, Worth::Wrong),
            (deny("registry-unavailable"), false, true, Worth::NotDecided),
            (deny("registry-unavailable"), false, false, Worth::Wrong),
            (Outcome::Audit("deadline".to_owned()), false, true, Worth::NotDecided),
            (Outcome::Other("exit code None: ".to_owned()), false, true, Worth::Wrong),
        ] {
            assert_eq!(
                Worth::of(&outcome, is_right, faulty),
                worth,
                "{outcome:?} {is_right} {faulty}"
            );
        }
    }

    #[test]
    fn an_answer_is_read_from_exit_code_and_line_together() {
        for (code, line, expected) in [
            (0, "ADMIT (rule \"prod\", policy 1, decision 2)", "admit"),
            (
                0,
                "ADMIT by audit mode, would DENY unsigned: no signature",
                "audit unsigned",
            ),
            (1, "DENY unsigned: no signature (rule \"prod\")", "deny unsigned"),
            (0, "DENY unsigned: no signature", "something else"),
            (1, "ADMIT", "something else"),
            (0, "", "something else"),
            (0, "OBSERVE would DENY unsigned: no signature", "something else"),
        ] {
            assert_eq!(Outcome::of_hook(Some(code), line).name(), expected, "{code} {line}");
        }
        assert_eq!(Outcome::of_hook(None, "ADMIT").name(), "something else");
    }
}
