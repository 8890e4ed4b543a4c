//! Recorded decisions, and what a policy says of the same images.
//!
//! Without evidence nobody can tell what becomes of an image that a rule asks evidence of. So three things are said: what is
//! denied for certain, what is admitted for certain, and of what evidence decides, with the rule and what it asks for.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::Path;

use serde::Deserialize;
use serde_json::{Value, json};

use assay_verify::Timestamp;
use assay_verify::code::Code;
use assay_verify::digest::Digest;
use assay_verify::document::Diagnostic;
use assay_verify::limits::{MAX_DECISIONS, MAX_DECISIONS_SIZE};
use assay_verify::policy::{Decision, DenyReason, Mode, Requirements, Unmatched};
use assay_verify::reference::Repository;
use assay_verify::untrusted::Untrusted;

use super::{DENIED, DONE, Failure, Output};
use crate::trust::{self, TrustSnapshot};

/// A decision as a node made it: a line of a file. More fields may stand beside these.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
pub(super) struct Recorded {
    /// The canonical repository: `registry.example/prod/app`. Empty where a question was malformed.
    repository: String,
    digest: String,
    /// `admit` or `deny`.
    verdict: Word,
    /// The code of a denial.
    #[serde(default)]
    code: String,
    /// The rule; none where none matched.
    #[serde(default)]
    rule: String,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Word {
    #[serde(alias = "audit")]
    Admit,
    Deny,
}

/// A recorded decision with what it is about.
#[derive(Clone, Debug)]
pub(super) struct Known {
    repository: Repository,
    digest: Digest,
    recorded: Recorded,
}

/// Reads a file of JSON lines. Empty lines are none, and what was decided again and again is one decision: a node that pulls an
/// image every minute has a line for each time.
pub(super) fn read(path: &Path) -> Result<Vec<Known>, Failure> {
    let failed = |what: String| Failure::Input(format!("{}{what}", path.display()));
    let file = std::fs::File::open(path).map_err(|error| failed(format!(": {error}")))?;
    let mut text = String::new();
    std::io::Read::read_to_string(&mut std::io::Read::take(file, MAX_DECISIONS_SIZE as u64 + 1), &mut text)
        .map_err(|error| failed(format!(": {error}")))?;
    if text.len() > MAX_DECISIONS_SIZE {
        return Err(failed(format!(": more than {MAX_DECISIONS_SIZE} bytes")));
    }
    let mut known = Vec::new();
    let mut seen = BTreeSet::new();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let at = |what: &dyn fmt::Display| failed(format!(":{}: {}", number + 1, Untrusted::new(what.to_string())));
        let recorded: Recorded = serde_json::from_str(line).map_err(|error| at(&error))?;
        // A malformed question is about no image.
        if recorded.repository.is_empty() && recorded.code == Code::RequestMalformed.as_str() {
            continue;
        }
        if !seen.insert(recorded.clone()) {
            continue;
        }
        known.push(Known {
            repository: recorded.repository.parse().map_err(|error| at(&error))?,
            digest: recorded.digest.parse().map_err(|error| at(&error))?,
            recorded,
        });
        if known.len() > MAX_DECISIONS {
            return Err(failed(format!(": more than {MAX_DECISIONS} decisions")));
        }
    }
    Ok(known)
}

/// What a policy says of an image without looking at evidence.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Says {
    /// Whatever the evidence.
    Admits { rule: String, why: String },
    /// Whatever the evidence.
    Denies { rule: String, code: Code, why: String },
    /// Evidence decides.
    Asks { rule: String, what: String },
}

impl fmt::Display for Says {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Admits { why, .. } => write!(f, "admit: {why}"),
            Self::Denies { code, why, .. } => write!(f, "deny {code}: {why}"),
            Self::Asks { rule, what } => write!(f, "rule \"{rule}\" asks for {what}"),
        }
    }
}

fn says(snapshot: &TrustSnapshot, known: &Known, now: Timestamp) -> Says {
    let Known { repository, digest, .. } = known;
    if let Some(entry) = snapshot.denials.image(digest) {
        return Says::Denies {
            rule: String::new(),
            code: Code::DeniedByList,
            why: entry.to_string(),
        };
    }
    let decision = snapshot.policy.decide(repository, digest);
    // A rule's own word stands before exceptions, and those before all else.
    let is_stated = matches!(
        decision,
        Decision::Deny {
            reason: DenyReason::Stated(_),
            ..
        }
    );
    if !is_stated && let Some(exception) = snapshot.exception(repository, digest, now) {
        return Says::Admits {
            rule: String::new(),
            why: format!("exception: {exception}"),
        };
    }
    match decision {
        Decision::AdmitDigest { rule } => Says::Admits {
            rule: rule.name().to_owned(),
            why: format!("rule \"{}\" admits this digest", rule.name()),
        },
        Decision::Deny { rule, reason } if is_stated || rule.mode() == Mode::Enforce => Says::Denies {
            rule: rule.name().to_owned(),
            code: Code::DeniedByRule,
            why: format!("rule \"{}\": {reason}", rule.name()),
        },
        Decision::Deny { rule, .. } => audited(rule.name()),
        Decision::Require { rule, .. } if rule.mode() == Mode::Audit => audited(rule.name()),
        Decision::Require { rule, requirements } => Says::Asks {
            rule: rule.name().to_owned(),
            what: asked(requirements),
        },
        Decision::Unmatched(Unmatched::Admit) => Says::Admits {
            rule: String::new(),
            why: "no rule is for it, and unmatched = \"admit\"".to_owned(),
        },
        Decision::Unmatched(Unmatched::Audit) => audited(""),
        Decision::Unmatched(Unmatched::Deny) => Says::Denies {
            rule: String::new(),
            code: Code::NoMatchingRule,
            why: "no rule is for it".to_owned(),
        },
    }
}

fn audited(rule: &str) -> Says {
    let why = if rule.is_empty() {
        "no rule is for it, and unmatched = \"audit\" only says so".to_owned()
    } else {
        format!("rule \"{rule}\" is in audit mode, whatever the evidence")
    };
    Says::Admits {
        rule: rule.to_owned(),
        why,
    }
}

fn asked(requirements: &Requirements) -> String {
    let mut asked = Vec::new();
    if let Some(signatures) = requirements.signatures() {
        let names: Vec<&str> = signatures.authorities().iter().map(|name| name.as_str()).collect();
        let names = names.join(", ");
        let all = signatures.authorities().len();
        asked.push(match signatures.needed() {
            needed if needed == all && all == 1 => format!("a signature by {names}"),
            needed if needed == all => format!("signatures by all of {names}"),
            1 => format!("a signature by one of {names}"),
            needed => format!("signatures by {needed} of {names}"),
        });
    }
    for attestation in requirements.attestations() {
        let (kind, authority) = (attestation.predicate_type(), attestation.authority());
        asked.push(format!("an attestation {kind} by {authority}"));
    }
    asked.join(" and ")
}

/// How a decision changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Change {
    /// It was admitted, and would be denied for certain.
    Denied,
    /// It was denied, and would be admitted for certain.
    Admitted,
    /// Another rule, or the same with other demands, decides by evidence.
    AsksAnew,
    /// A rule decides by evidence, as far as can be told the one that did.
    Asks,
    /// None for certain.
    None,
}

impl Change {
    const fn word(self) -> &'static str {
        match self {
            Self::Denied => "would-be-denied",
            Self::Admitted => "would-be-admitted",
            Self::AsksAnew => "evidence-decides-anew",
            Self::Asks => "evidence-decides",
            Self::None => "same",
        }
    }
}

/// What a new policy would say of recorded decisions.
pub(super) struct Compared {
    items: Vec<(Change, Known, Says)>,
    /// Whether trust material or rules differ from those the decisions were compared with; unknown without those.
    material_changed: Option<bool>,
}

/// Compares recorded decisions with what a policy says; with the policy that it replaces, where that is known.
pub(super) fn compare(known: &[Known], old: Option<&TrustSnapshot>, new: &TrustSnapshot, now: Timestamp) -> Compared {
    let compare = |known: &Known| {
        let will = says(new, known, now);
        let change = match (&will, known.recorded.verdict) {
            (Says::Denies { .. }, Word::Admit) => Change::Denied,
            (Says::Admits { .. }, Word::Deny) => Change::Admitted,
            (Says::Denies { .. }, Word::Deny) | (Says::Admits { .. }, Word::Admit) => Change::None,
            (Says::Asks { rule, .. }, _) => match old {
                Some(old) if says(old, known, now) == will => Change::Asks,
                None if *rule == known.recorded.rule => Change::Asks,
                _ => Change::AsksAnew,
            },
        };
        (change, known.clone(), will)
    };
    let mut items: Vec<_> = known.iter().map(compare).collect();
    items.sort_by_key(|(change, ..)| *change);
    Compared {
        items,
        material_changed: old.map(|old| old.fingerprint != new.fingerprint),
    }
}

impl Compared {
    /// Whether something that runs would be refused for certain.
    pub(super) fn denies_what_was_admitted(&self) -> bool {
        self.count(Change::Denied) > 0
    }

    fn count(&self, change: Change) -> usize {
        self.items.iter().filter(|(found, ..)| *found == change).count()
    }

    pub(super) fn to_json(&self) -> Value {
        let item = |(change, known, says): &(Change, Known, Says)| {
            let (rule, code) = match says {
                Says::Admits { rule, .. } | Says::Asks { rule, .. } => (rule, ""),
                Says::Denies { rule, code, .. } => (rule, code.as_str()),
            };
            let word = match says {
                Says::Admits { .. } => "admit",
                Says::Denies { .. } => "deny",
                Says::Asks { .. } => "evidence",
            };
            json!({
                "change": change.word(),
                "repository": known.repository.to_string(),
                "digest": known.digest.to_string(),
                "recorded": { "verdict": word_of(known.recorded.verdict), "code": known.recorded.code, "rule": known.recorded.rule },
                "new": { "says": word, "rule": rule, "code": code, "why": says.to_string() },
            })
        };
        json!({
            "decisions": self.items.iter().map(item).collect::<Vec<_>>(),
            "summary": {
                "would_be_denied": self.count(Change::Denied),
                "would_be_admitted": self.count(Change::Admitted),
                "evidence_decides_anew": self.count(Change::AsksAnew),
                "evidence_decides": self.count(Change::Asks),
                "same": self.count(Change::None),
                "trust_material_changed": self.material_changed,
            },
        })
    }

    pub(super) fn print(&self) {
        let changed = |change| matches!(change, Change::Denied | Change::Admitted | Change::AsksAnew);
        for (change, known, says) in self.items.iter().filter(|(change, ..)| changed(*change)) {
            let Known {
                repository,
                digest,
                recorded,
            } = known;
            let title = match change {
                Change::Denied => "WOULD BE DENIED",
                Change::Admitted => "would be admitted",
                _ => "evidence decides anew",
            };
            println!("{title}  {repository} {digest}");
            println!("  recorded   {}", recorded_line(recorded));
            println!("  new        {says}");
        }
        // Many images, few rules.
        let mut asks: BTreeMap<String, usize> = BTreeMap::new();
        for (_, _, says) in self.items.iter().filter(|(change, ..)| *change == Change::Asks) {
            *asks.entry(says.to_string()).or_default() += 1;
        }
        for (asks, count) in asks {
            println!("as before  {count}: {asks}");
        }
        println!(
            "{} would be denied that were admitted, {} would be admitted that were denied; evidence decides {} anew and {} as \
             before; {} stay as they are for certain",
            self.count(Change::Denied),
            self.count(Change::Admitted),
            self.count(Change::AsksAnew),
            self.count(Change::Asks),
            self.count(Change::None),
        );
        if self.count(Change::AsksAnew) + self.count(Change::Asks) > 0 {
            println!("Where evidence decides, only a node or a registry that has it can tell what comes of it.");
            if self.material_changed == Some(true) {
                println!("Rules or trust material have changed: the same demand may be met by other signatures.");
            }
        }
    }
}

const fn word_of(word: Word) -> &'static str {
    match word {
        Word::Admit => "admit",
        Word::Deny => "deny",
    }
}

fn recorded_line(recorded: &Recorded) -> String {
    let code = if recorded.code.is_empty() {
        String::new()
    } else {
        format!(" {}", Untrusted::new(&recorded.code))
    };
    let rule = if recorded.rule.is_empty() {
        "no rule".to_owned()
    } else {
        format!("rule \"{}\"", Untrusted::new(&recorded.rule))
    };
    format!("{}{code}, {rule}", word_of(recorded.verdict))
}

/// `assayctl policy test`.
pub(super) fn test(output: Output, policy: &Path, decisions: &Path, now: Timestamp) -> Result<u8, Failure> {
    let known = read(decisions)?;
    let snapshot = match trust::load(policy, nix::unistd::geteuid().as_raw(), now).outcome {
        Ok(snapshot) => snapshot,
        Err(diagnostics) => {
            let lines: Vec<String> = diagnostics.iter().map(Diagnostic::to_string).collect();
            return Err(Failure::Input(format!(
                "the policy cannot be used:\n{}",
                lines.join("\n")
            )));
        }
    };
    let compared = compare(&known, None, &snapshot, now);
    match output {
        Output::Json => println!("{}", compared.to_json()),
        Output::Human => compared.print(),
    }
    Ok(if compared.denies_what_was_admitted() {
        DENIED
    } else {
        DONE
    })
}
