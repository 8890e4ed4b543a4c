//! `assayctl policy check` and `assayctl policy reference`.

use std::path::Path;

use assay_verify::Timestamp;
use assay_verify::document::{Diagnostic, Severity};
use serde_json::json;

use super::{DENIED, DONE, Output};
use crate::trust;

/// Checks a policy document and everything it names, and prints what was found.
pub(super) fn check(output: Output, file: &Path, strict: bool) -> u8 {
    let (revision, diagnostics) = match trust::load(file, nix::unistd::geteuid().as_raw(), Timestamp::now()).outcome {
        Ok(snapshot) => (Some(snapshot.revision().to_owned()), snapshot.warnings),
        Err(diagnostics) => (None, diagnostics),
    };
    let errors = diagnostics
        .iter()
        .filter(|diagnostic| diagnostic.severity == Severity::Error)
        .count();
    let warnings = diagnostics.len() - errors;
    let good = errors == 0 && revision.is_some() && (warnings == 0 || !strict);
    match output {
        Output::Json => println!(
            "{}",
            json!({
                "file": file.display().to_string(),
                "good": good,
                "revision": revision.as_deref(),
                "diagnostics": diagnostics.iter().map(to_json).collect::<Vec<_>>(),
            })
        ),
        Output::Human => {
            for diagnostic in &diagnostics {
                println!("{diagnostic}");
            }
            let file = file.display();
            match revision {
                Some(revision) if good => {
                    println!("{file} is good: policy {revision}, {}", plural(warnings, "warning"))
                }
                Some(_) => println!("{file} is refused under --strict: {}", plural(warnings, "warning")),
                None => println!(
                    "{file} is refused: {}, {}",
                    plural(errors, "error"),
                    plural(warnings, "warning")
                ),
            }
        }
    }
    if good { DONE } else { DENIED }
}

/// Prints the page of the manual that has every key, as this version reads them.
pub(super) fn reference() -> u8 {
    print!("{}", assay_verify::policy::reference::reference());
    DONE
}

fn plural(count: usize, noun: &str) -> String {
    if count == 1 {
        format!("1 {noun}")
    } else {
        format!("{count} {noun}s")
    }
}

pub(super) fn to_json(diagnostic: &Diagnostic) -> serde_json::Value {
    json!({
        "severity": if diagnostic.severity == Severity::Error { "error" } else { "warning" },
        "file": diagnostic.file,
        "line": diagnostic.place.map(|place| place.line),
        "column": diagnostic.place.map(|place| place.column),
        "message": diagnostic.message,
        "help": diagnostic.help,
    })
}
