//! The simulator of a fleet, with a small one: it holds what it measures to what has to be so on any machine.

use std::fs;
use std::process::Command;

use serde_json::Value;

const NODES: u64 = 20;

#[test]
fn a_small_fleet_follows_its_repository_through_a_revocation_restarts_and_an_outage() {
    let folder = tempfile::tempdir().unwrap();
    let figures = folder.path().join("figures.json");
    let nodes = NODES.to_string();
    let output = Command::new(env!("CARGO_BIN_EXE_fleet"))
        .args([
            "--nodes",
            &nodes,
            "--interval",
            "1",
            "--outage",
            "2",
            "--seconds",
            "120",
        ])
        .arg("--json")
        .arg(&figures)
        .output()
        .unwrap();
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    // Its own checks: every node has the revocation and comes back, unchanged polls are two requests, nobody asks too often,
    // and nginx has logged what the nodes counted.
    assert!(output.status.success(), "{said}");

    let figures: Value = serde_json::from_slice(&fs::read(figures).unwrap()).unwrap();
    let checks = figures["checks"].as_array().unwrap();
    assert!(
        checks.len() >= 9 && checks.iter().all(|check| check["holds"] == true),
        "{said}"
    );
    let measured = &figures["measured"];
    assert_eq!(measured["cut_short"], false, "{said}");
    // Each node took over the first generation, and then the revocation.
    for window in ["first_start", "revocation"] {
        assert_eq!(measured[window]["updated"], NODES, "{said}");
    }
    assert_eq!(measured["steady"]["updated"], 0, "{said}");
    assert!(measured["outage"]["failed"].as_u64().unwrap() > 0, "{said}");
    // Nothing answered while the server was away.
    assert_eq!(measured["outage"]["requests"], 0, "{said}");
    for scheme in ["http", "https"] {
        let revocation = figures[scheme]
            .as_array()
            .unwrap()
            .iter()
            .find(|cost| cost["what"] == "revocation");
        // The next root, which there is none of; timestamp, snapshot, the role's metadata and the list.
        assert_eq!(revocation.unwrap()["requests"], 5.0, "{said}");
    }
}
