//! What is measured, built as it is released.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use assay_integration::program;
use serde_json::Value;

use crate::{TRIAL, say};

/// What is measured, as it is released.
pub(crate) struct Programs {
    pub(crate) hook: PathBuf,
    pub(crate) empty: PathBuf,
    /// Holds `empty`.
    _directory: tempfile::TempDir,
}

impl Programs {
    pub(crate) fn build() -> Result<Self> {
        let (release, build_hook): (&[&str], &[&str]) = match TRIAL {
            true => (&[], &["build", "--package", "assay-verifier"]),
            false => (&["--release"], &["build-hook"]),
        };
        say("Building assayd and its hook (minutes the first time)");
        let build = ["build", "--package", "assayd", "--bin", "assayd"];
        let daemon = built("assayd", &[&build, release].concat())?;
        ensure!(
            program("assayd")? == daemon,
            "{} would be measured, which is not what was built: run `cargo bench-peers` without ASSAY_BIN_DIR",
            program("assayd")?.display()
        );
        let hook = built("assay-verifier", build_hook)?;
        ensure!(
            TRIAL || is_static(&hook)?,
            "{} is not linked statically: is RUSTFLAGS set? It replaces the flags of `cargo build-hook`",
            hook.display()
        );
        let directory = tempfile::tempdir()?;
        let (source, empty) = (directory.path().join("empty.rs"), directory.path().join("empty"));
        fs::write(&source, "fn main() {}\n")?;
        let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let compiled = Command::new(compiler)
            .args([
                "-Copt-level=3",
                "-Cstrip=symbols",
                "-Ctarget-feature=+crt-static",
                "-Crelocation-model=static",
            ])
            .arg("-o")
            .args([&empty, &source])
            .status()?;
        ensure!(
            compiled.success() && is_static(&empty)?,
            "the empty program cannot be made"
        );
        Ok(Self {
            hook,
            empty,
            _directory: directory,
        })
    }
}

/// Runs cargo, and returns where it put the program.
fn built(name: &str, arguments: &[&str]) -> Result<PathBuf> {
    let output = cargo()
        .args(arguments)
        .arg("--message-format=json-render-diagnostics")
        .stderr(Stdio::inherit())
        .output()?;
    ensure!(output.status.success(), "cargo {} failed", arguments.join(" "));
    let messages = String::from_utf8(output.stdout)?;
    let executable = |line| -> Option<PathBuf> {
        let message: Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == name)
            .then(|| message["executable"].as_str())?
            .map(PathBuf::from)
    };
    messages
        .lines()
        .find_map(executable)
        .with_context(|| format!("cargo does not say where {name} is"))
}

/// Whether a program of this machine's kind has no interpreter, that is, no dynamic loader (elf(5), PT_INTERP).
fn is_static(program: &Path) -> Result<bool> {
    const PROGRAM_INTERPRETER: u32 = 3;
    let bytes = fs::read(program)?;
    let number = |at: usize, length: usize| -> Option<u64> {
        let mut number = [0; 8];
        number.get_mut(..length)?.copy_from_slice(bytes.get(at..at + length)?);
        Some(u64::from_le_bytes(number))
    };
    ensure!(
        bytes.starts_with(b"\x7fELF\x02\x01"),
        "{} is no 64-bit ELF file",
        program.display()
    );
    let headers = || -> Option<Vec<u32>> {
        let (start, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
        let kind = |index| u32::try_from(number(usize::try_from(start + index * size).ok()?, 4)?).ok();
        (0..count).map(kind).collect()
    };
    let headers = headers().context("an ELF file that ends early")?;
    Ok(!headers.contains(&PROGRAM_INTERPRETER))
}

/// cargo in the workspace's folder.
pub(crate) fn cargo() -> Command {
    let name: OsString = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut command = Command::new(name);
    command.current_dir(here.parent().unwrap_or(here));
    command
}
