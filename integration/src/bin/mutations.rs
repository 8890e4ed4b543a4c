//! Takes one check after the other out of the judge, and sees a test fail each time.
//!
//! The list is `tests/mutations.toml`: what is replaced by what, in which file, and the test that has to notice. A
//! mutation that does not compile, or that no test notices, is a failure. The work happens in a copy under `target/`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Output};
use std::time::Instant;

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;

const LIST: &str = "tests/mutations.toml";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct List {
    mutation: Vec<Mutation>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mutation {
    /// What is taken away, as a sentence.
    name: String,
    file: PathBuf,
    /// Text that is in the file exactly once.
    find: String,
    replace: String,
    /// The package whose tests notice.
    package: String,
    /// The test binary, or `lib` for unit tests.
    binary: String,
    /// A part of the name of the test that has to fail.
    test: String,
}

fn main() -> ExitCode {
    match run() {
        Ok(0) => ExitCode::SUCCESS,
        Ok(survivors) => {
            println!("\n{survivors} mutations were not noticed or not tried.");
            ExitCode::FAILURE
        }
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<usize> {
    let mut list: List = toml::from_str(&fs::read_to_string(root().join(LIST)).context(LIST)?).context(LIST)?;
    check(&list)?;
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.iter().any(|argument| argument == "--check") {
        println!("{} mutations apply", list.mutation.len());
        return Ok(0);
    }
    list.mutation
        .retain(|mutation| wanted.is_empty() || wanted.iter().any(|part| mutation.name.contains(part.as_str())));
    let tree = copy()?;
    for package in packages(&list) {
        let output = cargo(&tree, &["test", "--package", &package, "--no-run", "--quiet"])?;
        ensure!(
            output.status.success(),
            "{package} does not build without mutations:\n{}",
            text(&output)
        );
    }
    let mut survivors = 0;
    for mutation in &list.mutation {
        let started = Instant::now();
        let tried = try_one(&tree, mutation);
        let word = match tried {
            Ok(true) => "noticed",
            Ok(false) => "NOT NOTICED",
            Err(_) => "NOT TRIED",
        };
        println!("{word:<12} {:>4} s  {}", started.elapsed().as_secs(), mutation.name);
        survivors += usize::from(!matches!(tried, Ok(true)));
        // One that cannot be tried is no reason to leave the others out.
        if let Err(cause) = tried {
            println!("{cause:#}");
        }
    }
    println!(
        "{} mutations, {} noticed",
        list.mutation.len(),
        list.mutation.len() - survivors
    );
    Ok(survivors)
}

/// Every mutation still applies: its text is in its file once.
fn check(list: &List) -> Result<()> {
    for mutation in &list.mutation {
        let text = fs::read_to_string(root().join(&mutation.file))
            .with_context(|| format!("{}: {}", mutation.name, mutation.file.display()))?;
        let count = text.matches(&mutation.find).count();
        ensure!(
            count == 1,
            "{}: its text is {count} times in {}: expected once",
            mutation.name,
            mutation.file.display()
        );
    }
    Ok(())
}

fn packages(list: &List) -> Vec<String> {
    let mut packages: Vec<_> = list.mutation.iter().map(|mutation| mutation.package.clone()).collect();
    packages.sort();
    packages.dedup();
    packages
}

/// Whether the test fails with the mutation, and with nothing else wrong.
fn try_one(tree: &Path, mutation: &Mutation) -> Result<bool> {
    let path = tree.join(&mutation.file);
    let original = fs::read_to_string(&path)?;
    fs::write(&path, original.replace(&mutation.find, &mutation.replace))?;
    let output = test(tree, mutation);
    fs::write(&path, original)?;
    let output = output?;
    let said = text(&output);
    if !said.contains("test result:") {
        bail!("it does not build:\n{said}");
    }
    ensure!(!said.contains("running 0 tests"), "there is no test {}", mutation.test);
    Ok(!output.status.success())
}

fn test(tree: &Path, mutation: &Mutation) -> Result<Output> {
    let mut arguments = vec!["test", "--quiet", "--package", &mutation.package];
    if mutation.binary == "lib" {
        arguments.push("--lib");
    } else {
        arguments.extend(["--test", &mutation.binary]);
    }
    arguments.extend(["--", &mutation.test]);
    cargo(tree, &arguments)
}

fn cargo(tree: &Path, arguments: &[&str]) -> Result<Output> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    Command::new(cargo)
        .args(arguments)
        .current_dir(tree)
        .env("CARGO_TARGET_DIR", root().join("target/mutations/build"))
        .env("ASSAY_VECTORS", vectors())
        // A mutation leaves things unused.
        .env("RUSTFLAGS", "--cap-lints allow")
        .output()
        .context("cargo cannot be run")
}

fn vectors() -> PathBuf {
    std::env::var_os("ASSAY_VECTORS").map_or_else(|| root().join("../shared/vectors"), PathBuf::from)
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

/// A copy of every file that git knows, as it is now. Files that did not change keep their time, so builds are reused.
fn copy() -> Result<PathBuf> {
    let tree = root().join("target/mutations/tree");
    let listed = Command::new("git")
        .args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"])
        .current_dir(root())
        .output()
        .context("git cannot be run")?;
    ensure!(listed.status.success(), "git lists no files");
    for name in listed.stdout.split(|byte| *byte == 0).filter(|name| !name.is_empty()) {
        let name = std::str::from_utf8(name)?;
        let (from, to) = (root().join(name), tree.join(name));
        let Ok(content) = fs::read(&from) else {
            continue;
        };
        if fs::read(&to).is_ok_and(|known| known == content) {
            continue;
        }
        if let Some(folder) = to.parent() {
            fs::create_dir_all(folder)?;
        }
        fs::write(&to, content).with_context(|| to.display().to_string())?;
    }
    Ok(tree)
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}
