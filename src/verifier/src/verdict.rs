//! The outcome, the line that tells it, and the proof that an image was admitted.

use std::fmt::Write as _;

use assay_proto::v1::{Verdict, VerifyResponse};

use crate::{
    bootstrap::Listed,
    limits::{MAX_FIELD, MAX_LINE, MAX_NOTE},
};

/// Why the hook itself denies. The daemon's own codes come through as they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Code {
    /// The daemon answered something that is no verdict.
    AnswerInvalid,
    /// No verdict could be had from the daemon.
    DaemonUnavailable,
    /// The time was up before there was a verdict.
    Deadline,
    /// A defect of the hook.
    Internal,
    /// containerd's question cannot be understood.
    RequestMalformed,
}

impl Code {
    fn as_str(self) -> &'static str {
        match self {
            Self::AnswerInvalid => "answer-invalid",
            Self::DaemonUnavailable => "daemon-unavailable",
            Self::Deadline => "deadline",
            Self::Internal => "internal",
            Self::RequestMalformed => "request-malformed",
        }
    }
}

/// A denial: everything that is not an explicit admit.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Denied {
    code: String,
    reason: String,
    /// Where the denial comes from: rule, policy, decision, or what is wrong with a file.
    note: String,
}

impl Denied {
    /// A denial by the hook.
    pub(crate) fn new(code: Code, reason: impl Into<String>) -> Self {
        Self {
            code: code.as_str().to_owned(),
            reason: reason.into(),
            note: String::new(),
        }
    }

    /// Adds a note, which is shown even where the reason has to be cut.
    pub(crate) fn with_note(mut self, note: &str) -> Self {
        if !self.note.is_empty() && !note.is_empty() {
            self.note.push_str("; ");
        }
        self.note.push_str(note);
        self
    }

    fn line(&self) -> String {
        join(&format!("DENY {}: ", self.code), &self.reason, &self.note)
    }
}

/// The proof that the image was explicitly admitted. Only the two constructors below make one, and exit code 0 cannot be
/// had without one.
#[derive(Debug)]
pub(crate) struct Admitted {
    line: String,
}

impl Admitted {
    /// By the daemon's verdict.
    pub(crate) fn by_daemon(answer: &VerifyResponse) -> Result<Self, Denied> {
        match Verdict::try_from(answer.verdict) {
            Ok(Verdict::Admit) if answer.audited => {
                let head = format!("ADMIT by audit mode, would DENY {}: ", shown_code(&answer.code));
                Ok(Self {
                    line: join(&head, &answer.reason, &origin(answer)),
                })
            }
            Ok(Verdict::Admit) => Ok(Self {
                line: join("ADMIT ", &answer.reason, &origin(answer)),
            }),
            Ok(Verdict::Deny) => Err(Denied {
                code: shown_code(&answer.code),
                reason: answer.reason.clone(),
                note: origin(answer),
            }),
            Ok(Verdict::Unspecified) => Err(Denied::new(Code::AnswerInvalid, "assayd answered without a verdict")),
            Err(_) => Err(Denied::new(
                Code::AnswerInvalid,
                format!(
                    "assayd answered with the unknown verdict {}; do the versions match?",
                    answer.verdict
                ),
            )),
        }
    }

    /// By the operator's own list of what a node needs to start, while the daemon is away.
    pub(crate) fn by_bootstrap_list(listed: &Listed, note: &str) -> Self {
        let reason = format!("assayd is away, {} names this digest", listed.place());
        Self {
            line: join("ADMIT bootstrap: ", &reason, note),
        }
    }
}

/// The line for standard output, without its newline.
pub(crate) fn line(outcome: &Result<Admitted, Denied>) -> String {
    match outcome {
        Ok(admitted) => admitted.line.clone(),
        Err(denied) => denied.line(),
    }
}

/// The line for standard output in observe mode.
pub(crate) fn observed_line(outcome: &Result<Admitted, Denied>) -> String {
    join("OBSERVE would ", &line(outcome), "")
}

/// The facts by which a decision is found again.
fn origin(answer: &VerifyResponse) -> String {
    let mut facts = Vec::new();
    if !answer.rule.is_empty() {
        facts.push(format!("rule \"{}\"", printable(&answer.rule, MAX_FIELD)));
    }
    if !answer.policy_revision.is_empty() {
        facts.push(format!("policy {}", printable(&answer.policy_revision, MAX_FIELD)));
    }
    if !answer.decision_id.is_empty() {
        facts.push(format!("decision {}", printable(&answer.decision_id, MAX_FIELD)));
    }
    facts.join(", ")
}

/// The daemon's code, or a word for its absence.
fn shown_code(code: &str) -> String {
    match code {
        "" => "without-code".to_owned(),
        code => printable(code, MAX_FIELD),
    }
}

/// One line of printable ASCII that fits. Where it is too long, the reason gives way.
fn join(head: &str, reason: &str, note: &str) -> String {
    let note = if note.is_empty() {
        String::new()
    } else {
        format!(" ({})", printable(note, MAX_NOTE))
    };
    let room = (MAX_LINE - 1).saturating_sub(head.len() + note.len());
    let said = format!("{head}{}", printable(reason, room));
    printable(&format!("{}{note}", said.trim_end()), MAX_LINE - 1)
}

/// Escapes everything but printable ASCII, and ends with `...` what would take more than `limit` bytes. The daemon has
/// escaped its text already, and so the backslash stays as it is.
pub(crate) fn printable(text: &str, limit: usize) -> String {
    const ELLIPSIS: &str = "...";
    let mut shown = String::new();
    // Where to cut, should the text turn out too long: the last place that leaves room for the ellipsis.
    let mut cut = 0;
    for character in text.chars() {
        let start = shown.len();
        match character {
            ' '..='~' => shown.push(character),
            _ => {
                let _ = write!(shown, "{}", character.escape_default());
            }
        }
        if start + ELLIPSIS.len() <= limit {
            cut = start;
        }
        if shown.len() > limit {
            shown.truncate(cut);
            shown.push_str(if limit < ELLIPSIS.len() { "" } else { ELLIPSIS });
            break;
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(verdict: i32) -> VerifyResponse {
        VerifyResponse {
            verdict,
            ..VerifyResponse::default()
        }
    }

    #[test]
    fn only_the_explicit_admit_admits() {
        for verdict in (-3..100).chain([i32::MIN, i32::MAX]) {
            let admitted = Admitted::by_daemon(&answer(verdict)).is_ok();
            assert_eq!(admitted, verdict == Verdict::Admit as i32, "{verdict}");
        }
    }

    #[test]
    fn tells_what_decided() {
        let decided = VerifyResponse {
            code: "unsigned".into(),
            reason: "no signature by corp and github was found".into(),
            rule: "production".into(),
            policy_revision: "42".into(),
            decision_id: "8f3c".into(),
            ..answer(Verdict::Deny as i32)
        };
        let origin = "(rule \"production\", policy 42, decision 8f3c)";
        let denied = Admitted::by_daemon(&decided);
        let said = format!("DENY unsigned: no signature by corp and github was found {origin}");
        assert_eq!(line(&denied), said);
        assert_eq!(observed_line(&denied), format!("OBSERVE would {said}"));

        let audited = VerifyResponse {
            verdict: Verdict::Admit as i32,
            audited: true,
            ..decided.clone()
        };
        let said = format!("ADMIT by audit mode, would {said}");
        assert_eq!(line(&Admitted::by_daemon(&audited)), said);

        let plain = VerifyResponse {
            code: String::new(),
            reason: String::new(),
            audited: false,
            ..audited
        };
        assert_eq!(line(&Admitted::by_daemon(&plain)), format!("ADMIT {origin}"));
        assert_eq!(line(&Admitted::by_daemon(&answer(Verdict::Admit as i32))), "ADMIT");
        assert_eq!(
            line(&Admitted::by_daemon(&answer(Verdict::Deny as i32))),
            "DENY without-code:"
        );
    }

    #[test]
    fn every_line_is_one_of_printable_ascii_that_fits_and_keeps_its_origin() {
        for text in ["x", "\n", "\u{1b}[2J", "\u{202e}", "\0", "\u{10ffff}", "\\"] {
            for length in [0, 1, 60, 64, 65, 400, 500, 512, 5000] {
                let field = text.repeat(length);
                let denial = VerifyResponse {
                    code: field.clone(),
                    reason: field.clone(),
                    rule: field.clone(),
                    policy_revision: field.clone(),
                    decision_id: field,
                    ..answer(Verdict::Deny as i32)
                };
                for said in [
                    line(&Admitted::by_daemon(&denial)),
                    observed_line(&Admitted::by_daemon(&denial)),
                ] {
                    assert!(said.len() < MAX_LINE, "{} bytes: {said}", said.len());
                    assert!(said.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{said}");
                }
                if length > 0 {
                    assert!(line(&Admitted::by_daemon(&denial)).ends_with(')'));
                }
            }
        }
    }

    #[test]
    fn cuts_between_escapes_and_says_so() {
        for (text, limit, shown) in [
            ("plain", 5, "plain"),
            ("plainer", 5, "pl..."),
            ("a\nb", 4, "a\\nb"),
            ("\n\n\n", 5, "\\n..."),
            ("\u{202e}x", 8, "..."),
            ("abcd", 2, ""),
        ] {
            assert_eq!(printable(text, limit), shown, "{text:?} in {limit}");
        }
    }
}
