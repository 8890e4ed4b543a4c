use std::fmt::Write as _;

use super::*;
use crate::limits::{MAX_DENY_LIST_ENTRIES, MAX_DENY_LIST_SIZE, MAX_DENY_REASON_LENGTH};
use crate::x509::loose_name::LooseAttribute;

/// A list with these entries; what is mandatory is added.
fn list(entries: &[&str]) -> String {
    let entries: Vec<_> = entries
        .iter()
        .map(|entry| {
            format!(r#"{{{entry}, "reason": "leaked", "reference": "INC-4711", "at": "2026-11-28T09:00:00Z"}}"#)
        })
        .collect();
    document(&entries)
}

fn document(entries: &[String]) -> String {
    format!(
        r#"{{"version": 1, "issued": "2026-11-28T10:00:00Z", "entries": [{}]}}"#,
        entries.join(", ")
    )
}

#[track_caller]
fn parsed(text: &str) -> DenyList {
    let ParsedDenyList { list, diagnostics } = DenyList::parse("deny.json", text);
    list.unwrap_or_else(|| panic!("{diagnostics:?}"))
}

#[track_caller]
fn refused(text: &str) -> Vec<String> {
    let parsed = DenyList::parse("d", text);
    assert!(parsed.list.is_none(), "{text}");
    parsed.diagnostics.iter().map(Diagnostic::one_line).collect()
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

const A: &str = "sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
const B: &str = "sha256:bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb";

#[test]
fn an_entry_says_what_it_denies_since_when_and_why() {
    let digest = |kind: &str| format!(r#""{kind}": "{A}""#);
    for (entry, expected) in [
        (digest("image"), format!("image {A}")),
        (digest("signature"), format!("signature {A}")),
        (digest("key"), format!("key {A}")),
        (digest("certificate"), format!("certificate {A}")),
        (
            r#""issuer": "CN=Root, C=US", "serial": "00:0A:1B""#.to_owned(),
            "certificate a1b of CN=Root, C=US".to_owned(),
        ),
        (
            r#""identity": {"certificate_subject": "O=Corp,ST=WA,C=US"}"#.to_owned(),
            "identity C=US, O=Corp, ST=WA".to_owned(),
        ),
        (
            r#""identity": {"issuer": "https://idp", "subject": "ci\u202e"}, "from": "2026-01-01T00:00:00Z""#
                .to_owned(),
            r"identity ci\u{202e} (https://idp) from 2026-01-01T00:00:00Z on".to_owned(),
        ),
        (
            r#""identity": {"issuer": "i", "subject": "s"}, "until": "2026-01-01T00:00:00Z""#.to_owned(),
            "identity s (i) until 2026-01-01T00:00:00Z".to_owned(),
        ),
    ] {
        let list = parsed(&list(&[&entry]));
        let shown: Vec<_> = list.entries().map(ToString::to_string).collect();
        let expected = format!("{expected} is on the deny-list since 2026-11-28T09:00:00Z: leaked (INC-4711)");
        assert_eq!(shown, [expected]);
        assert_eq!(list.issued(), Some(at("2026-11-28T10:00:00Z")));
    }
}

#[test]
fn the_default_denies_nothing_and_was_never_issued() {
    let empty = DenyList::default();
    assert!(empty.is_empty());
    assert_eq!(empty.issued(), None);
    assert_eq!(empty.image(&Digest::sha256(b"")), None);
}

#[test]
fn an_image_is_found_by_its_digest_among_all_others() {
    let sha512 = Digest::of(crate::digest::Algorithm::Sha512, b"image");
    let digests: Vec<Digest> = (0_u32..500).map(|n| Digest::sha256(&n.to_be_bytes())).collect();
    let mut entries: Vec<_> = digests.iter().map(|digest| format!(r#""image": "{digest}""#)).collect();
    entries.push(format!(r#""image": "{sha512}""#));
    let list = parsed(&list(&entries.iter().map(String::as_str).collect::<Vec<_>>()));
    for digest in digests.iter().chain([&sha512]) {
        assert_eq!(list.image(digest).unwrap().denied(), &Denied::Image(digest.clone()));
    }
    assert_eq!(list.image(&Digest::sha256(b"another")), None);
}

/// Whoever lists a digest under the wrong word means it all the same.
#[test]
fn a_digest_counts_whatever_it_is_called() {
    for kind in ["image", "signature", "key", "certificate"] {
        let list = parsed(&list(&[&format!(r#""{kind}": "{A}""#)]));
        assert!(list.image(&A.parse().unwrap()).is_some(), "{kind}");
        assert!(list.image(&B.parse().unwrap()).is_none(), "{kind}");
    }
}

#[test]
fn the_first_of_several_entries_is_told() {
    let entry = |reference: &str| {
        format!(r#"{{"image": "{A}", "reason": "r", "reference": "{reference}", "at": "2026-11-28T09:00:00Z"}}"#)
    };
    let list = parsed(&document(&[entry("ONE"), entry("TWO")]));
    let found = list.image(&A.parse().unwrap()).unwrap();
    assert_eq!(found.reference().to_string(), "ONE");
}

#[test]
fn a_union_denies_what_either_does() {
    let one = parsed(&list(&[&format!(r#""image": "{A}""#)]));
    let other = list(&[&format!(r#""image": "{B}""#)]).replace("T10:", "T11:");
    let other = parsed(&other);
    let (a, b) = (A.parse().unwrap(), B.parse().unwrap());
    for both in [one.union(&other), other.union(&one)] {
        assert!(both.image(&a).is_some() && both.image(&b).is_some());
        assert_eq!(both.entries().len(), 2);
        assert_eq!(both.issued(), Some(at("2026-11-28T11:00:00Z")));
    }
    let same = one.union(&DenyList::default());
    assert!(same.image(&a).is_some() && same.image(&b).is_none());
    assert_eq!(same.issued(), one.issued());
}

#[test]
fn a_list_is_refused_as_a_whole_and_every_problem_has_its_place() {
    let text = format!(
        r#"{{
  "version": 2,
  "Version": 1,
  "issued": "yesterday",
  "entrys": [],
  "entries": [
    {{"image": "sha256:ab", "reason": "r", "reference": "x", "at": "2026-11-28T09:00:00Z"}},
    {{"image": "{A}", "key": "{A}", "reason": "r", "reference": "x", "at": "2026-11-28T09:00:00Z"}},
    {{"reason": "r", "reference": "x", "at": "2026-11-28T09:00:00Z"}},
    {{"key": "{A}", "reason": " ", "reference": 1, "at": "2026-11-28"}},
    {{"key": "{A}", "key": "{A}", "KEY": "{A}", "reasons": "r"}},
    7
  ]
}}"#
    );
    assert_eq!(
        refused(&text),
        [
            "d:2:14: error: version 2 is not supported: expected 1".to_owned(),
            "d:3:3: error: key \"Version\" differs from \"version\" in case only; help: notation reads both as the same key: \
             keep one"
                .to_owned(),
            "d:4:13: error: \"issued\" cannot be \"yesterday\"; help: expected a time such as \"2026-01-31T00:00:00Z\""
                .to_owned(),
            "d:5:3: error: unknown key \"entrys\"; help: expected one of: version, issued, entries".to_owned(),
            "d:7:15: error: digest sha256:ab is not 64 lower-case hexadecimal digits".to_owned(),
            "d:8:5: error: an entry must name exactly one of image, signature, key, certificate, issuer with serial, and \
             identity; help: an entry counts by itself: write one for each"
                .to_owned(),
            "d:9:5: error: an entry must name exactly one of image, signature, key, certificate, issuer with serial, and \
             identity; help: an entry counts by itself: write one for each"
                .to_owned(),
            "d:10:98: error: \"reason\" is empty; help: denials show it: write a few words".to_owned(),
            "d:10:116: error: \"reference\" must be text, not a number".to_owned(),
            "d:10:125: error: \"at\" cannot be \"2026-11-28\"; help: expected a time such as \"2026-01-31T00:00:00Z\""
                .to_owned(),
            "d:11:5: error: an entry is missing its \"reason\"; help: every entry has reason, reference, at".to_owned(),
            "d:11:5: error: an entry is missing its \"reference\"; help: every entry has reason, reference, at".to_owned(),
            "d:11:5: error: an entry is missing its \"at\"; help: every entry has reason, reference, at".to_owned(),
            "d:11:88: error: duplicate key \"key\"; help: readers differ in which one counts: keep one".to_owned(),
            "d:11:170: error: key \"KEY\" differs from \"key\" in case only; help: notation reads both as the same key: keep \
             one"
                .to_owned(),
            format!(
                "d:11:252: error: unknown key \"reasons\"; help: expected one of: {}",
                "image, signature, key, certificate, issuer, identity, serial, reason, reference, at, from, until"
            ),
            "d:12:5: error: an entry must be a table, not a number".to_owned(),
        ]
    );
}

#[test]
fn everything_of_the_document_is_mandatory() {
    for (text, expected) in [
        ("[]", "d:1:1: error: a deny-list must be a table, not a list"),
        ("{\n", "d:2:1: error: malformed JSON: EOF while parsing an object"),
        ("", "d:1:1: error: malformed JSON: EOF while parsing a value"),
        (
            r#"{"issued": "2026-11-28T10:00:00Z", "entries": []}"#,
            "d:1:1: error: \"version\" is missing; help: add: \"version\": 1",
        ),
        (
            r#"{"version": 1, "entries": []}"#,
            "d:1:1: error: \"issued\" is missing; help: add the time of issue, for example: \"issued\": \
             \"2026-01-31T00:00:00Z\"",
        ),
        (
            r#"{"version": 1, "issued": "2026-11-28T10:00:00Z"}"#,
            "d:1:1: error: \"entries\" is missing; help: add: \"entries\": []",
        ),
        (
            r#"{"version": 1, "issued": "2026-11-28T10:00:00Z", "entries": {}}"#,
            "d:1:61: error: \"entries\" must be a list, not a table",
        ),
        (
            r#"{"version": 1, "issued": "2026-11-28T10:00:00Z", "entries": [{"a": 1,}]}"#,
            "d:1:70: error: malformed JSON: key must be a string",
        ),
        (
            r#"{"version": 1, "issued": "2026-11-28T10:00:00Z", "entries": [{"a": "\ud800"}]}"#,
            "d:1:75: error: malformed JSON: unexpected end of hex escape",
        ),
        (
            r#"{"version": 1, "issued": "2026-11-28T10:00:00Z", "entries": []} {}"#,
            "d:1:65: error: malformed JSON: trailing characters",
        ),
    ] {
        assert_eq!(refused(text), [expected], "{text}");
    }
}

#[test]
fn names_that_could_never_match_are_refused() {
    for (entry, expected) in [
        (
            r#""key": "sha512:00""#.to_owned(),
            "digest sha512:00 is not 128 lower-case hexadecimal digits",
        ),
        (
            format!(r#""key": "sha512:{}""#, "0".repeat(128)),
            "\"key\" is a sha512; help: keys and certificates are named by their SHA-256: sha256:…",
        ),
        (
            r#""certificate": "ab""#.to_owned(),
            "digest ab has no algorithm: expected sha256:… or sha512:…",
        ),
        (
            r#""issuer": "CN=a""#.to_owned(),
            "an entry with an \"issuer\" is missing its \"serial\"; help: write the hexadecimal digits as OpenSSL prints them, \
             for example \"0a1b\"",
        ),
        (
            r#""issuer": "Corp CA", "serial": "1""#.to_owned(),
            "\"issuer\" cannot be \"Corp CA\": Corp CA is not an attribute: expected TYPE=value; help: write the issuer's name, \
             for example \"CN=Corp CA, O=Corp, C=US\"; or name the certificate by its SHA-256",
        ),
        (
            r#""issuer": "CN=a", "serial": "-1""#.to_owned(),
            "\"serial\" cannot be \"-1\"; help: write the hexadecimal digits as OpenSSL prints them, for example \"0a1b\"",
        ),
        (
            format!(r#""image": "{A}", "serial": "1""#),
            "\"serial\" has no meaning beside \"image\"; help: it belongs to an entry with \"issuer\"",
        ),
        (
            format!(r#""key": "{A}", "from": "2026-01-01T00:00:00Z""#),
            "\"from\" has no meaning beside \"key\"; help: it belongs to an entry with \"identity\"",
        ),
        (
            r#""identity": {"subject": "a"}"#.to_owned(),
            "\"identity\" must have either certificate_subject, or issuer and subject; help: write { \"certificate_subject\": \
             \"C=…, ST=…, O=…\" } for a certificate's subject, or { \"issuer\": \"https://…\", \"subject\": \"…\" } for whom an \
             identity provider vouches",
        ),
        (
            r#""identity": {"issuer": "i", "subject": ""}"#.to_owned(),
            "\"subject\" has 0 bytes: expected 1 to 2048",
        ),
        (
            r#""identity": {"certificate_subject": "CN=release"}"#.to_owned(),
            "\"certificate_subject\" cannot be \"CN=release\": the attribute C is mandatory: a name needs C, ST and O; help: \
             write it as a trusted identity: \"C=…, ST=…, O=…, CN=…\"; or name the certificate or its key by their SHA-256",
        ),
        (
            r#""identity": {"certificate_subject": "C=US, ST=WA, O=Corp, cn=a, Name=b"}"#.to_owned(),
            "\"certificate_subject\" cannot be \"C=US, ST=WA, O=Corp, cn=a, Name=b\": the attribute type Name is not known: \
             write it as a dotted number; help: write it as a trusted identity: \"C=…, ST=…, O=…, CN=…\"; or name the \
             certificate or its key by their SHA-256",
        ),
        (
            r#""identity": {"issuer": "i", "subject": "s"}, "from": "2026-01-01T00:00:00Z", "until": "2026-01-01T00:00:00Z""#
                .to_owned(),
            "the window is empty: it ends at 2026-01-01T00:00:00Z and begins at 2026-01-01T00:00:00Z; help: \"until\" is the \
             first moment that is no longer denied",
        ),
        (
            format!(r#""image": "{A}", "x": {}"#, "[".repeat(200) + &"]".repeat(200)),
            "malformed JSON: recursion limit exceeded",
        ),
    ] {
        let found = refused(&list(&[&entry]));
        let [problem] = &found[..] else { panic!("{found:?}") };
        let (_, problem) = problem.split_once("error: ").unwrap();
        assert_eq!(problem, expected, "{entry}");
    }
}

#[test]
fn as_many_entries_as_the_limit_are_read_and_no_more() {
    let text = |count: usize| {
        let mut entries = Vec::with_capacity(count);
        for number in 0..count {
            let mut entry = String::new();
            let digest = Digest::sha256(&number.to_be_bytes());
            write!(
                entry,
                r#"{{"image":"{digest}","reason":"{}","reference":"{}","at":"2026-11-28T09:00:00Z"}}"#,
                "r".repeat(50),
                "x".repeat(20)
            )
            .unwrap();
            entries.push(entry);
        }
        document(&entries)
    };
    let full = text(MAX_DENY_LIST_ENTRIES);
    assert!(full.len() < MAX_DENY_LIST_SIZE);
    let list = parsed(&full);
    assert_eq!(list.entries().len(), MAX_DENY_LIST_ENTRIES);
    assert!(list.image(&Digest::sha256(&7_usize.to_be_bytes())).is_some());
    let found = refused(&text(MAX_DENY_LIST_ENTRIES + 1));
    assert_eq!(found, ["d:1:61: error: 100001 entries are more than 100000"]);
    let found = refused(&" ".repeat(MAX_DENY_LIST_SIZE + 1));
    assert_eq!(
        found,
        ["d: error: the deny-list has 33554433 bytes, more than 33554432"]
    );
}

#[test]
fn texts_are_short_enough_for_the_line_that_a_hook_prints() {
    let with = |reason: &str, reference: &str| {
        let entry = format!(
            r#"{{"image": "{A}", "reason": "{reason}", "reference": "{reference}", "at": "2026-11-28T09:00:00Z"}}"#
        );
        document(&[entry])
    };
    let reason = "r".repeat(MAX_DENY_REASON_LENGTH);
    let list = parsed(&with(&reason, &"x".repeat(64)));
    let line = list.entries().next().unwrap().to_string();
    assert!(line.len() < 350 && line.ends_with("xxx)"), "{line}");
    for (reason, reference, expected) in [
        (
            format!("{reason}r"),
            "x".to_owned(),
            "\"reason\" has 129 bytes, more than 128",
        ),
        (
            "r".to_owned(),
            "x".repeat(65),
            "\"reference\" has 65 bytes, more than 64",
        ),
        (
            "a\\u0007".to_owned(),
            "x".to_owned(),
            "\"reason\" contains control characters",
        ),
    ] {
        let found = refused(&with(&reason, &reference));
        assert!(found[0].contains(expected), "{found:?}");
    }
}

/// The facts of a signer with these attributes, and a key of its own.
fn signer(attributes: &[&str], made: Option<(&str, &str)>) -> SignerFacts {
    let attributes = attributes.join(",");
    let names = LooseAttribute::of_text(&attributes).unwrap();
    let mut names: Vec<_> = names.iter().map(Name::of_attribute).collect();
    names.push(Name::of_digest(&A.parse().unwrap()));
    let made = made.map(|(after, by)| Made {
        after: at(after),
        by: at(by),
    });
    SignerFacts::of_names(names, made)
}

#[test]
fn an_identity_is_found_among_many_that_share_most_of_it() {
    let subject = |number: usize| format!("C=US, ST=WA, O=Corp, OU={}, CN=release {}", number % 7, number % 11);
    let entry = |number: usize| format!(r#""identity": {{"certificate_subject": "{}"}}"#, subject(number));
    let entries: Vec<_> = (0..77).map(entry).collect();
    for missing in [0, 5, 76] {
        let others = entries.iter().enumerate().filter(|(number, _)| *number != missing);
        let list = parsed(&list(&others.map(|(_, entry)| entry.as_str()).collect::<Vec<_>>()));
        for number in 0..77 {
            let facts = signer(&[&subject(number), "L=Seattle"], None);
            let found = list.find([], [&facts]).map(|entry| entry.denied().to_string());
            let (unit, name) = (number % 7, number % 11);
            let expected = format!("identity C=US, CN=release {name}, O=Corp, OU={unit}, ST=WA");
            assert_eq!(
                found,
                Some(expected).filter(|_| number != missing),
                "{number} without {missing}"
            );
        }
    }
}

#[test]
fn several_windows_of_one_identity_each_count() {
    let entry = |window: &str| format!(r#""identity": {{"certificate_subject": "C=US,ST=WA,O=Corp"}}, {window}"#);
    let list = parsed(&list(&[
        &entry(r#""until": "2026-02-01T00:00:00Z""#),
        &entry(r#""from": "2026-06-01T00:00:00Z", "until": "2026-07-01T00:00:00Z""#),
    ]));
    let window = |made| {
        let facts = signer(&["C=US,ST=WA,O=Corp"], made);
        let found = list.find([], [&facts])?;
        list.entries().position(|entry| entry == found)
    };
    for (made, expected) in [
        (None, Some(0)),
        (Some(("2026-01-31T00:00:00Z", "2026-05-01T00:00:00Z")), Some(0)),
        (Some(("2026-02-01T00:00:00Z", "2026-05-31T00:00:00Z")), None),
        (Some(("2026-02-01T00:00:00Z", "2026-06-01T00:00:00Z")), Some(1)),
        (Some(("2026-06-30T00:00:00Z", "2026-08-01T00:00:00Z")), Some(1)),
        (Some(("2026-07-01T00:00:00Z", "2026-08-01T00:00:00Z")), None),
    ] {
        assert_eq!(window(made), expected, "{made:?}");
    }
}

#[test]
fn of_digests_and_signers_the_first_entry_of_the_list_is_told() {
    let facts = signer(&["C=US,ST=WA,O=Corp"], None);
    let identity = r#""identity": {"certificate_subject": "C=US,ST=WA,O=Corp"}"#.to_owned();
    let image = format!(r#""image": "{B}""#);
    let b = B.parse().unwrap();
    for entries in [[&identity, &image], [&image, &identity]] {
        let list = parsed(&list(&entries.map(String::as_str)));
        let found = list.find([&b], [&facts]).unwrap();
        assert_eq!(Some(found), list.entries().next());
    }
}

#[test]
fn the_examples_of_the_manual_are_read() {
    const MANUAL: &str = include_str!("../../../../docs/deny-list.md");
    let example = |language: &str| {
        let (_, rest) = MANUAL.split_once(&format!("```{language}\n")).unwrap();
        rest.split_once("```").unwrap().0
    };
    assert_eq!(parsed(example("json")).entries().len(), 7);
    let parsed = crate::policy::Exceptions::parse("break-glass.toml", example("toml"));
    assert_eq!(parsed.exceptions.unwrap().all().len(), 1, "{:?}", parsed.diagnostics);
}
