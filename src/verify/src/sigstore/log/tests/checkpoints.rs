//! The form of checkpoints, and whose signatures on them matter.

use super::super::*;
use super::fixture::*;

/// Judges an entry under the checkpoint that `make` makes of the good one's text and signatures.
fn judge_note(log: &Log, make: impl Fn(&str, &str) -> String) -> Result<Option<Timestamp>, LogError> {
    let mut entry = match log.host {
        "rekor.test" => log.entry_v1(&good_v1()),
        _ => log.entry_v2(&good_v2()),
    };
    let note = proof(&mut entry).checkpoint.clone().unwrap();
    let (text, signatures) = note.split_once("\n\n").unwrap();
    proof(&mut entry).checkpoint = Some(make(&format!("{text}\n"), signatures).into());
    judge(log, &entry)
}

#[test]
fn the_signatures_of_others_do_not_matter() {
    for log in [Log::rekor_v1(), Log::rekor_v2()] {
        let other = Log::rekor_v2();
        let witness = |text: &str| other.signature_line("witness.test", other.key_id("witness.test"), text);
        let good = judge_note(&log, |text, signatures| format!("{text}\n{signatures}"));
        assert!(good.is_ok());
        let before = judge_note(&log, |text, signatures| {
            format!("{text}\n{}{signatures}", witness(text))
        });
        assert_eq!(before, good);
        let after = judge_note(&log, |text, signatures| {
            format!("{text}\n{signatures}{}", witness("other"))
        });
        assert_eq!(after, good);
        let alone = judge_note(&log, |text, _| format!("{text}\n{}", witness(text)));
        assert_eq!(alone, Err(LogError::Checkpoint(CheckpointError::Unsigned)));
    }
}

/// Under Rekor v2 another key of the same name is another signer; so is the same key under another name.
#[test]
fn the_log_s_signature_is_known_by_name_and_key() {
    let (log, other) = (Log::rekor_v2(), Log::rekor_v2());
    let unsigned = Err(LogError::Checkpoint(CheckpointError::Unsigned));
    let by_other = |text: &str| other.signature_line(log.host, other.key_id(log.host), text);
    assert_eq!(
        judge_note(&log, |text, signatures| format!(
            "{text}\n{}{signatures}",
            by_other(text)
        )),
        Ok(None)
    );
    assert_eq!(
        judge_note(&log, |text, _| format!("{text}\n{}", by_other(text))),
        unsigned
    );
    let renamed = |text: &str| log.signature_line("other.test", log.key_id(log.host), text);
    assert_eq!(
        judge_note(&log, |text, _| format!("{text}\n{}", renamed(text))),
        unsigned
    );
}

#[test]
fn every_signature_that_names_the_log_s_key_has_to_verify() {
    for log in [Log::rekor_v1(), Log::rekor_v2()] {
        let refused = Err(LogError::Checkpoint(CheckpointError::Signature));
        let key_id = match log.host {
            "rekor.test" => *log.id().first_chunk().unwrap(),
            _ => log.key_id(log.host),
        };
        let bad = log.signature_line(log.host, key_id, "another text");
        assert_eq!(judge_note(&log, |text, _| format!("{text}\n{bad}")), refused);
        assert_eq!(
            judge_note(&log, |text, signatures| format!("{text}\n{signatures}{bad}")),
            refused
        );
        let changed = judge_note(&log, |text, signatures| format!("{text}more\n\n{signatures}"));
        assert_eq!(changed, refused);
    }
}

#[test]
fn the_origin_of_a_rekor_v2_log_is_its_host() {
    let log = Log::rekor_v2();
    let mut entry = log.entry_v2(&good_v2());
    let mut root = log.root();
    for (url, is_host) in [
        ("log2025.test", true),
        ("http://log2025.test", true),
        ("https://user@log2025.test:80/x?y", true),
        ("https://other.test/log2025.test", false),
        ("https://log2025.test.other", false),
    ] {
        root.logs[0].base_url = url.into();
        let expected = match is_host {
            true => Ok(None),
            false => Err(LogError::Checkpoint(CheckpointError::Origin)),
        };
        assert_eq!(judge_with(&root, &entry), expected, "{url}");
    }
    root.logs[0].base_url = "https:///".into();
    assert_eq!(
        judge_with(&root, &entry),
        Err(LogError::Checkpoint(CheckpointError::NoHost))
    );
    // Signed by the log, for another origin: that is another log of the same key.
    let tree = proof(&mut entry).root_hash.clone();
    let text = format!("other.test\n7\n{}\n", base64(&tree));
    let line = log.signature_line(log.host, log.key_id(log.host), &text);
    proof(&mut entry).checkpoint = Some(format!("{text}\n{line}").into());
    assert_eq!(judge(&log, &entry), Err(LogError::Checkpoint(CheckpointError::Origin)));
}

#[test]
fn extension_lines_are_signed_text() {
    let log = Log::rekor_v1();
    let mut entry = log.entry_v1(&good_v1());
    let tree = proof(&mut entry).root_hash.clone();
    let text = format!("rekor.test - 1\n7\n{}\nTimestamp: 1\nanything\n", base64(&tree));
    let line = log.signature_line("rekor.test", *log.id().first_chunk().unwrap(), &text);
    proof(&mut entry).checkpoint = Some(format!("{text}\n{line}").into());
    assert_eq!(judge(&log, &entry), Ok(Some(at(TIME))));
}

#[test]
fn refuses_what_is_no_checkpoint() {
    use CheckpointError::{Note, Text, TooManySignatures};
    let root = base64(&[7; 32]);
    let line = "\u{2014} name AAAAAAA=\n";
    let body = format!("o\n1\n{root}\n");
    let good = format!("{body}\n{line}");
    assert!(Checkpoint::parse(&good).is_ok());
    let origin = Text("it has no origin");
    let size = Text("its second line is not a size");
    let hash = Text("its third line is not a root hash");
    let blank = Note("no blank line is above its signatures");
    let unsigned = Note("it has no signatures, or ends without a newline");
    let malformed = Note("the line of a signature is malformed");
    for (note, expected) in [
        (String::new(), blank),
        (body.clone(), blank),
        (format!("{body}{line}"), blank),
        (format!("{body}\n"), unsigned),
        (format!("{body}\n{}", line.trim_end()), unsigned),
        (format!("\n1\n{root}\n\n{line}"), origin),
        (format!("o\n\n{line}"), size),
        (format!("o\n{root}\n1\n\n{line}"), size),
        (format!("o\n01\n{root}\n\n{line}"), size),
        (format!("o\n+1\n{root}\n\n{line}"), size),
        (format!("o\n-1\n{root}\n\n{line}"), size),
        (format!("o\n\n{root}\n\n{line}"), size),
        (format!("o\n18446744073709551616\n{root}\n\n{line}"), size),
        (format!("o\n1\n\n{line}"), hash),
        (format!("o\n1\n{}\n\n{line}", base64(&[7; 31])), hash),
        (format!("o\n1\n{}\n\n{line}", root.trim_end_matches('=')), hash),
        (format!("{body}\nmore\n\n{line}"), Text("it has a blank line")),
        (format!("{body}\n{line}\n{line}"), Text("it has a blank line")),
        (good.replace("o\n", "o\r\n"), Note("it has control characters")),
        (good.replace("o\n", "o\0\n"), Note("it has control characters")),
        (good.replace('\u{2014}', "-"), malformed),
        (good.replace("name", ""), malformed),
        (good.replace("name", "na+me"), malformed),
        (good.replace("name", "na\u{a0}me"), malformed),
        (good.replace("AAAAAAA=", "AAAAAA=="), malformed),
        (good.replace("AAAAAAA=", "AAAAAAA"), malformed),
        (good.replace(" AAAAAAA=", ""), malformed),
        (format!("{body}\n{}", line.repeat(101)), TooManySignatures),
    ] {
        assert_eq!(Checkpoint::parse(&note).unwrap_err(), expected, "{note:?}");
    }
    assert!(Checkpoint::parse(&format!("{body}\n{}", line.repeat(100))).is_ok());
    assert_eq!(Checkpoint::parse(&good.replace("\n1\n", "\n0\n")).unwrap().size, 0);
}

#[test]
fn the_number_of_a_tree_makes_an_origin_one_of_rekor_v1() {
    for (origin, is_rekor_v1) in [
        ("rekor.sigstore.dev - 1193050959916656506", true),
        ("a - b - 1", true),
        (" - 1", true),
        ("rekor.sigstore.dev", false),
        ("rekor.sigstore.dev - ", false),
        ("rekor.sigstore.dev - 1a", false),
        ("rekor.sigstore.dev -1", false),
        ("1", false),
    ] {
        let note = format!("{origin}\n1\n{}\n\n\u{2014} name AAAAAAA=\n", base64(&[7; 32]));
        assert_eq!(Checkpoint::parse(&note).unwrap().is_rekor_v1(), is_rekor_v1, "{origin}");
    }
}
