use super::*;
use crate::limits;
use crate::policy::{Exceptions, Policy};

/// What each table needs so that the key that is tried is looked at, and where the key goes: `@`.
const FRAMES: [(&str, &str); 10] = [
    ("The policy document", "@\n"),
    (
        "`[authority.NAME]` with `type = \"notation\"`",
        "version = 1\nunmatched = \"deny\"\n[authority.a]\ntype = \"notation\"\nlevel = \"strict\"\n@\n",
    ),
    (
        "`[authority.NAME]` with `type = \"cosign\"`",
        "version = 1\nunmatched = \"deny\"\n[authority.a]\ntype = \"cosign\"\n@\n",
    ),
    (
        "Each of `identities`",
        "version = 1\nunmatched = \"deny\"\n[authority.a]\ntype = \"cosign\"\ntrusted_root = \"github\"\nidentities = [{ @ }]\n",
    ),
    ("`[[rule]]`", "version = 1\nunmatched = \"deny\"\n[[rule]]\n@\n"),
    (
        "`require`",
        "version = 1\nunmatched = \"deny\"\n[[rule]]\nname = \"r\"\nimages = [\"**\"]\nrequire = { @ }\n",
    ),
    (
        "`require`",
        "version = 1\nunmatched = \"deny\"\n[[rule]]\nname = \"r\"\nimages = [\"**\"]\n[rule.require]\nat_least = 1\nof = []\n@\n",
    ),
    (
        "Each of `require_attestations`",
        "version = 1\nunmatched = \"deny\"\n[[rule]]\nname = \"r\"\nimages = [\"**\"]\nrequire_attestations = [{ @ }]\n",
    ),
    ("The document of exceptions", "@\n"),
    ("`[[exception]]`", "version = 1\n[[exception]]\n@\n"),
];

/// What the reader says of documents with this line in a table of the section, where it has nothing else for the key.
fn said(section: &Section, key: &str, line: &str) -> Vec<String> {
    let begins = format!("{key} = ");
    let frames: Vec<_> = FRAMES.iter().filter(|(title, _)| *title == section.title).collect();
    assert!(!frames.is_empty(), "{} has no frame", section.title);
    let mut said = Vec::new();
    for (_, frame) in frames {
        let kept = frame.lines().filter(|other| !other.starts_with(&begins));
        let text = kept
            .map(|other| format!("{other}\n"))
            .collect::<String>()
            .replace('@', line);
        said.extend(match section.title.contains("exception") {
            true => Exceptions::parse("p", &text).diagnostics,
            false => Policy::parse("p", &text).diagnostics,
        });
    }
    said.iter().map(ToString::to_string).collect()
}

/// A date is a value of no key, so whoever reads the key complains.
#[test]
fn every_key_of_the_reference_is_one_that_the_reader_reads() {
    for section in SECTIONS {
        for key in section.keys {
            let said = said(section, key.name, &format!("{} = 1979-05-27", key.name));
            assert!(
                !said.iter().any(|one| one.contains("unknown key")),
                "{} of {} is unknown: {said:?}",
                key.name,
                section.title
            );
            let complaint = said.iter().any(|one| one.contains("a date") || key.absent == Refused);
            assert!(complaint, "nobody reads {} of {}: {said:?}", key.name, section.title);
        }
    }
}

#[test]
fn every_word_of_the_reference_is_accepted_and_no_other() {
    for section in SECTIONS {
        for key in section.keys {
            let Words(words) = key.value else { continue };
            let refused = |word: &str| {
                let said = said(section, key.name, &format!("{} = \"{word}\"", key.name));
                let about = |one: &String| one.contains("cannot be") || one.contains("is unknown");
                said.into_iter().find(|one| about(one))
            };
            for word in words {
                assert_eq!(refused(word), None, "{} of {}", key.name, section.title);
            }
            assert!(
                refused("other").is_some(),
                "{} of {} takes any word",
                key.name,
                section.title
            );
        }
    }
}

#[test]
fn what_the_reference_calls_mandatory_is_missed_and_nothing_else_is() {
    for section in SECTIONS {
        for key in section.keys {
            if let Instead(_) = key.absent {
                continue;
            }
            let said = said(section, key.name, "").join("\n");
            let missed = [format!("{} is missing", key.name), format!("missing its {}", key.name)];
            let missed = missed.iter().any(|message| said.contains(message));
            assert_eq!(
                missed,
                key.absent == Mandatory,
                "{} of {}: {said}",
                key.name,
                section.title
            );
        }
    }
}

#[test]
fn a_key_that_the_reference_lacks_is_unknown() {
    for section in SECTIONS {
        let said = said(section, "later", "later = 1");
        assert!(
            said.iter().any(|one| one.contains("unknown key \"later\"")),
            "{}: {said:?}",
            section.title
        );
    }
}

#[test]
fn the_bounds_of_the_reference_are_those_of_the_limits() {
    let days = |time: std::time::Duration| time.as_secs() / (24 * 3600);
    let (page, least, most) = (reference(), limits::MIN_POLL_INTERVAL, limits::MAX_POLL_INTERVAL);
    for said in [
        format!("time, `\"{}s\"` to `\"{}h\"`", least.as_secs(), most.as_secs() / 3600),
        format!("list of at most {} files", limits::MAX_KEYS),
        format!("list of 1 to {} tables | – | who may sign", limits::MAX_IDENTITIES),
        format!("number, 0 to {}", limits::MAX_REQUIRED_VOUCHERS),
        format!("table of 1 to {} texts", limits::MAX_ATTRIBUTES),
        format!("text, at most {} bytes", limits::MAX_POLICY_NAME_LENGTH),
        format!(
            "list of 1 to {} tables | – | attestations",
            limits::MAX_ATTESTATION_REQUIREMENTS
        ),
        format!("time, at most {} days", days(limits::MAX_REVOCATION_GRACE)),
        format!("list of at most {} tables, `[[exception]]`", limits::MAX_EXCEPTIONS),
        format!(
            "at most {} hours later",
            limits::MAX_EXCEPTION_LIFETIME.as_secs() / 3600
        ),
    ] {
        assert!(page.contains(&said), "the reference does not say: {said}");
    }
    assert_eq!(
        days(limits::MAX_ATTESTATION_AGE),
        10 * 365,
        "the reference says ten years"
    );
}
