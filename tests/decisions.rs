//! `assayctl decisions` as a process: what it selects, and that it follows the log through a rotation.

use std::fs::{self, File, OpenOptions};
use std::io::{BufRead as _, BufReader, Write as _};
use std::path::Path;
use std::process::{Command, Output, Stdio};

const DIGEST: &str = "sha256:2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824";

fn line(time: &str, id: &str, repository: &str, verdict: &str, code: &str) -> String {
    format!(
        "{{\"time\":\"{time}\",\"id\":\"{id}\",\"hook\":\"containerd-image-verifier\",\"repository\":\"{repository}\",\
         \"digest\":\"{DIGEST}\",\"verdict\":\"{verdict}\",\"code\":\"{code}\",\"rule\":\"apps\",\"reason\":\"because\"}}\n"
    )
}

fn command(folder: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_assayctl"));
    command.arg("decisions").arg("--directory").arg(folder).args(arguments);
    command
}

fn run(folder: &Path, arguments: &[&str]) -> Output {
    command(folder, arguments).output().unwrap()
}

fn log() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    let old = line("2026-01-01T00:00:00Z", "0001", "r.example/prod/app", "admit", "");
    fs::write(folder.path().join("decisions.jsonl.1"), old).unwrap();
    let new = line("2026-02-01T00:00:00Z", "0002", "r.example/prod/app", "deny", "unsigned")
        + "{\"id\":\"torn\n"
        + &line("2026-03-01T00:00:00Z", "0003", "r.example/dev/app", "audit", "unsigned");
    fs::write(folder.path().join("decisions.jsonl"), new).unwrap();
    folder
}

#[test]
fn shows_the_decisions_that_all_filters_want_and_the_oldest_first() {
    let folder = log();
    for (arguments, expected) in [
        (&[][..], &["0001", "0002", "0003"][..]),
        (&["--verdict", "deny"], &["0002"]),
        (&["--code", "unsigned"], &["0002", "0003"]),
        (&["--code", "unsigned", "--verdict", "audit"], &["0003"]),
        (&["--image", "r.example/prod/**"], &["0001", "0002"]),
        (&["--image", DIGEST], &["0001", "0002", "0003"]),
        (&["--since", "2026-02-01T00:00:00Z"], &["0002", "0003"]),
        (&["--hook", "control"], &[]),
        (&["--id", "0002"], &["0002"]),
    ] {
        let mut arguments = arguments.to_vec();
        arguments.extend(["--output", "json"]);
        let output = run(folder.path(), &arguments);
        let shown = String::from_utf8(output.stdout).unwrap();
        let id = |line: &str| -> String {
            let value: serde_json::Value = serde_json::from_str(line).unwrap();
            value["id"].as_str().unwrap().to_owned()
        };
        assert_eq!(shown.lines().map(id).collect::<Vec<_>>(), expected, "{arguments:?}");
        assert_eq!(
            output.status.code(),
            Some(i32::from(expected.is_empty())),
            "{arguments:?}"
        );
        let said = String::from_utf8(output.stderr).unwrap();
        assert!(said.starts_with("assayctl: 1 lines are no decisions"), "{said}");
    }
    let shown = String::from_utf8(run(folder.path(), &["--id", "0002"]).stdout).unwrap();
    let expected = format!(
        "2026-02-01T00:00:00Z DENY unsigned r.example/prod/app@{DIGEST}: because (rule \"apps\", decision 0002)\n"
    );
    assert_eq!(shown, expected);
}

#[test]
fn says_what_is_wrong_with_what_it_was_asked() {
    let folder = log();
    for (arguments, words) in [
        (["--since", "yesterday"], "expected a time"),
        (["--since", "-2h"], "expected a time"),
        (["--code", "nonsense"], "nonsense"),
        (["--image", "UPPER/**"], "UPPER"),
    ] {
        let arguments = [format!("{}={}", arguments[0], arguments[1])];
        let output = run(folder.path(), &[&arguments[0]]);
        let said = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(2), "{said}");
        assert!(said.contains(words), "{said}");
    }
    let absent = run(&folder.path().join("absent"), &[]);
    assert_eq!(absent.status.code(), Some(2));
    assert!(
        String::from_utf8(absent.stderr)
            .unwrap()
            .contains("no decision log is there")
    );
}

#[test]
fn follows_the_log_through_a_rotation_and_waits_for_the_end_of_a_line() {
    let folder = log();
    let current = folder.path().join("decisions.jsonl");
    let mut following = command(folder.path(), &["--follow", "--output", "json"])
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut shown = BufReader::new(following.stdout.take().unwrap()).lines();
    let mut next = || shown.next().unwrap().unwrap();
    for id in ["0001", "0002", "0003"] {
        assert!(next().contains(&format!("\"id\":\"{id}\"")));
    }
    let write = |file: &mut File, text: &str| file.write_all(text.as_bytes()).unwrap();
    let mut file = OpenOptions::new().append(true).open(&current).unwrap();
    let whole = line("2026-04-01T00:00:00Z", "0004", "r.example/prod/app", "deny", "unsigned");
    write(&mut file, &whole[..20]);
    write(&mut file, &whole[20..]);
    assert!(next().contains("\"id\":\"0004\""));
    write(
        &mut file,
        &line("2026-04-02T00:00:00Z", "0005", "r.example/prod/app", "admit", ""),
    );
    fs::rename(
        folder.path().join("decisions.jsonl.1"),
        folder.path().join("decisions.jsonl.2"),
    )
    .unwrap();
    fs::rename(&current, folder.path().join("decisions.jsonl.1")).unwrap();
    fs::write(
        &current,
        line("2026-04-03T00:00:00Z", "0006", "r.example/prod/app", "admit", ""),
    )
    .unwrap();
    assert!(next().contains("\"id\":\"0005\""));
    assert!(next().contains("\"id\":\"0006\""));
    following.kill().unwrap();
    following.wait().unwrap();
}
