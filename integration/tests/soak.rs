//! The soak, with a short one: every verdict is right, and assayd's own count is the same.

use std::process::Command;

use assay_integration::program;

#[test]
fn six_hundred_pulls_while_registries_misbehave_are_all_answered_rightly() {
    let programs = program("assayd").expect("assayd is built");
    let output = Command::new(env!("CARGO_BIN_EXE_soak"))
        .args(["--pulls", "600", "--seconds", "20"])
        // What is built already is what is soaked.
        .env("ASSAY_BIN_DIR", programs.parent().expect("a folder"))
        .output()
        .expect("the soak runs");
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    // Its own checks: no wrong verdict, each one counted by assayd, something not decided, and nothing that grows.
    assert!(output.status.success(), "{said}");
    for line in [
        "wrong verdicts                                          0",
        "audit unsigned",
    ] {
        assert!(said.contains(line), "{line}: {said}");
    }
}
