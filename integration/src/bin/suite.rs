//! Every test of the project, in the order in which a mistake is cheapest to find. The first failure ends the run.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Instant;

use assay_integration::Peers;

/// The version that `deny.toml` is written for.
const CARGO_DENY: &str = "0.20.2";

/// Where tools that the tests need are installed.
const TOOLS: &str = ".lab/tools";

struct Step {
    name: &'static str,
    arguments: &'static [&'static str],
}

const STEPS: &[Step] = &[
    Step {
        name: "formatting",
        arguments: &["fmt", "--all", "--check"],
    },
    Step {
        name: "lints",
        arguments: &[
            "clippy",
            "--workspace",
            "--all-targets",
            "--all-features",
            "--",
            "--deny",
            "warnings",
        ],
    },
    Step {
        name: "programs",
        arguments: &["build", "--workspace", "--bins"],
    },
    Step {
        name: "the list of mutations",
        arguments: &[
            "run",
            "--quiet",
            "--package",
            "assay-integration",
            "--bin",
            "mutations",
            "--",
            "--check",
        ],
    },
    Step {
        name: "tests against real containerd, registries, notation and cosign included",
        arguments: &["test", "--workspace"],
    },
    Step {
        name: "the second provider of cryptography alone",
        arguments: &[
            "test",
            "--package",
            "assay-verify",
            "--no-default-features",
            "--features",
            "rustcrypto",
        ],
    },
];

fn main() -> ExitCode {
    let started = Instant::now();
    // The build of assay-gate asks it.
    let protoc = match Peers::fetch().and_then(|peers| peers.protoc()) {
        Ok(protoc) => protoc,
        Err(error) => {
            println!("protoc cannot be fetched: {error:#}");
            return ExitCode::FAILURE;
        }
    };
    for step in STEPS {
        if !run(
            step.name,
            Command::new(cargo()).args(step.arguments).env("PROTOC", &protoc),
        ) {
            return ExitCode::FAILURE;
        }
    }
    if !dependencies() {
        return ExitCode::FAILURE;
    }
    println!("\nEverything passed in {} s.", started.elapsed().as_secs());
    ExitCode::SUCCESS
}

/// Licences, bans, sources and duplicates. The advisory database is not asked: it needs a network that test machines may
/// not have.
fn dependencies() -> bool {
    // cargo-deny reads every manifest of the lock file, those of other systems included; building fetched this one's only.
    if !run(
        "fetching every dependency",
        Command::new(cargo()).args(["fetch", "--quiet", "--locked"]),
    ) {
        return false;
    }
    let tool = root().join(TOOLS).join("bin/cargo-deny");
    if !tool.is_file() {
        let mut install = Command::new(cargo());
        install
            .args([
                "install",
                "--quiet",
                "--locked",
                "--version",
                CARGO_DENY,
                "cargo-deny",
                "--root",
            ])
            .arg(TOOLS);
        if !run("installing cargo-deny", &mut install) {
            return false;
        }
    }
    run(
        "licences, bans, sources and duplicates",
        Command::new(tool).args(["--offline", "check", "bans", "licenses", "sources"]),
    )
}

fn run(name: &str, command: &mut Command) -> bool {
    let started = Instant::now();
    println!("\n==> {name}");
    let passed = match command.current_dir(root()).status() {
        Ok(status) => status.success(),
        Err(error) => {
            println!("cannot be run: {error}");
            false
        }
    };
    println!(
        "==> {name}: {} after {} s",
        if passed { "passed" } else { "FAILED" },
        started.elapsed().as_secs()
    );
    passed
}

fn root() -> PathBuf {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here).to_owned()
}

fn cargo() -> OsString {
    std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into())
}
