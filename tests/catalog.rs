//! The journal's catalog and the manual know every event that the code has, and no other.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// A 128-bit id in lower-case hexadecimal (sd-id128(3)), as all of ours begin.
fn is_message_id(text: &str) -> bool {
    text.len() == 32 && text.starts_with("6f1d5c1ab3a04b3c9d0b7c5f2f0f") && text.bytes().all(|b| b.is_ascii_hexdigit())
}

/// The ids between these marks.
fn ids(text: &str, mark: char) -> Vec<String> {
    text.split(mark)
        .filter(|part| is_message_id(part))
        .map(str::to_owned)
        .collect()
}

fn in_the_code() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for source in sources(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src")) {
        for id in ids(&fs::read_to_string(source).unwrap(), '"') {
            assert!(found.insert(id.clone()), "{id} is the id of two events");
        }
    }
    assert!(!found.is_empty());
    found
}

#[test]
fn the_catalog_has_one_entry_for_each_event() {
    let catalog = read("systemd/assayd.catalog");
    let entries: Vec<_> = catalog.lines().filter_map(|line| line.strip_prefix("-- ")).collect();
    assert!(entries.iter().all(|entry| is_message_id(entry)), "{entries:?}");
    let known: BTreeSet<_> = entries.iter().map(|entry| (*entry).to_owned()).collect();
    assert_eq!(known.len(), entries.len(), "an event has two entries");
    assert_eq!(known, in_the_code());
}

#[test]
fn each_entry_says_what_it_is_and_what_to_do() {
    let catalog = read("systemd/assayd.catalog");
    for entry in catalog.split("\n-- ").skip(1) {
        let (head, text) = entry.split_once("\n\n").expect("a header and a text");
        assert!(
            head.contains("\nSubject: ") && head.contains("\nDefined-By: assayd"),
            "{head}"
        );
        assert!(
            text.trim_end().split("\n\n").count() >= 2,
            "what happened and what to do: {text}"
        );
    }
}

#[test]
fn the_manual_lists_each_event() {
    let listed: BTreeSet<_> = ids(&read("docs/codes.md"), '`').into_iter().collect();
    assert_eq!(listed, in_the_code());
}
