//! The alert rules: every alert has its section in the runbook, its test for promtool, and metrics that exist.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use assay_verify::code::Code;

fn read(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn alerts(rules: &str) -> BTreeSet<&str> {
    let names: BTreeSet<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .collect();
    assert!(names.len() > 10, "{names:?}");
    names
}

#[test]
fn every_alert_has_its_section_in_the_runbook_and_leads_to_it() {
    let (rules, runbook) = (read("packaging/alerts/assayd.yml"), read("docs/runbook.md"));
    let sections: BTreeSet<_> = runbook.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(alerts(&rules), sections);
    let links: Vec<_> = rules
        .lines()
        .filter_map(|line| line.trim().strip_prefix("runbook: docs/runbook.md#"))
        .collect();
    let anchors: Vec<_> = (rules.lines())
        .filter_map(|line| line.trim().strip_prefix("- alert: "))
        .map(str::to_lowercase)
        .collect();
    assert_eq!(links, anchors);
}

#[test]
fn every_alert_is_tested() {
    let (rules, tests) = (
        read("packaging/alerts/assayd.yml"),
        read("packaging/alerts/assayd_test.yml"),
    );
    let tested: BTreeSet<_> = tests
        .lines()
        .filter_map(|line| line.trim().strip_prefix("- alertname: "))
        .collect();
    assert_eq!(alerts(&rules), tested);
}

#[test]
fn alerts_look_at_metrics_that_exist() {
    let rules = read("packaging/alerts/assayd.yml");
    let source = read("src/hooks/metrics.rs");
    let rules = rules.lines().filter(|line| !line.starts_with('#'));
    let mut found = 0;
    for word in rules.flat_map(|line| line.split(|c: char| !c.is_ascii_alphanumeric() && c != '_')) {
        let Some(name) = word.strip_prefix("assayd_") else {
            continue;
        };
        let name = name.strip_suffix("_total").unwrap_or(name);
        let name = name.strip_suffix("_bucket").unwrap_or(name);
        found += 1;
        assert!(
            source.contains(&format!("\"{name}\"")),
            "there is no metric assayd_{name}"
        );
    }
    assert!(found > 15, "{found}");
}

/// An alert that takes a code for a word about the image would send people after the wrong thing.
#[test]
fn alerts_tell_undecided_from_denied_as_the_codes_do() {
    let rules = read("packaging/alerts/assayd.yml");
    let undecided: BTreeSet<_> = (Code::ALL.into_iter())
        .filter(|code| code.is_inconclusive())
        .map(Code::as_str)
        .collect();
    let mut found = 0;
    for operator in ["code=~\"", "code!~\""] {
        for list in rules.split(operator).skip(1) {
            let listed: BTreeSet<_> = list.split('"').next().unwrap().split('|').collect();
            assert_eq!(listed, undecided);
            found += 1;
        }
    }
    assert_eq!(found, 2);
}
