//! `cargo package-node`: the deb and the rpm that an operator installs.
//!
//! The programs are built, manual and completions are made of their command lines, all files are laid out below
//! `target/package/root` as they lie on a node, and cargo-deb and cargo-generate-rpm pack that tree by the lists in Cargo.toml.

use std::ffi::OsString;
use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};
use assay_integration::Peers;
use assayd::ctl::Cli;
use assayd::daemon::arguments::Arguments;
use clap::{CommandFactory as _, Parser};
use clap_complete::Shell;

/// The versions that the lists in Cargo.toml are written for.
const CARGO_DEB: &str = "3.8.0";
const CARGO_GENERATE_RPM: &str = "0.21.1";

/// Where tools are installed.
const TOOLS: &str = ".lab/tools";

/// Where the tree is laid out, below the workspace.
const ROOT: &str = "target/package/root";

/// Where the workspace is copied to for another version.
const SOURCE: &str = "target/source";

/// Builds the deb and the rpm of assayd, and prints where they are.
#[derive(Parser)]
struct Options {
    /// The revision of the packages, for another package of the same version
    #[arg(long, default_value_t = 1)]
    revision: u32,
    /// Another version of everything: the programs are built from a copy of the workspace that says so
    #[arg(long, value_name = "VERSION", default_value = env!("CARGO_PKG_VERSION"))]
    of_version: String,
}

fn main() -> Result<()> {
    let options = Options::parse();
    ensure!(
        !workspace().to_string_lossy().contains(char::is_whitespace),
        "the path of the workspace has spaces, which the packers do not take"
    );
    let Options { revision, of_version } = &options;
    let source = if of_version == env!("CARGO_PKG_VERSION") {
        workspace().to_owned()
    } else {
        copy_of_version(of_version)?
    };
    cargo(&source, &["build", "--release", "--package", "assayd", "--bins"])?;
    cargo(&source, &["build-hook"])?;
    cargo(&source, &["build", "--release", "--package", "assay-gate"])?;
    lay_out(&options)?;
    let deb = tool("cargo-deb", CARGO_DEB)?;
    let full = format!("{of_version}-{revision}");
    let deb = run(Command::new(deb).args(["--no-build", "--no-strip", "--deb-version", &full]))?;
    let rpm = tool("cargo-generate-rpm", CARGO_GENERATE_RPM)?;
    let metadata = format!("version=\"{of_version}\"\nrelease=\"{revision}\"");
    run(Command::new(rpm).args(["--set-metadata", &metadata, "--output", "target/package/"]))?;
    // cargo-deb prints the path of what it made.
    let deb = PathBuf::from(String::from_utf8(deb)?.trim());
    let name = deb.file_name().context("cargo-deb named no package")?;
    fs::rename(&deb, workspace().join("target/package").join(name)).context("the deb cannot be moved")?;
    let mut made: Vec<_> = fs::read_dir(workspace().join("target/package"))?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| {
            path.is_file()
                && path
                    .extension()
                    .is_some_and(|extension| extension == "deb" || extension == "rpm")
        })
        .collect();
    made.sort();
    for path in made {
        println!("{}", path.strip_prefix(workspace()).unwrap_or(&path).display());
    }
    Ok(())
}

/// Lays out the files of the packages as they lie on a node.
fn lay_out(options: &Options) -> Result<()> {
    let root = workspace().join(ROOT);
    if root.exists() {
        fs::remove_dir_all(&root)?;
    }
    let hook = target_of_host()?.join("release/assay-verifier");
    for (from, to) in [
        (PathBuf::from("target/release/assayd"), "usr/sbin/assayd"),
        ("target/release/assayctl".into(), "usr/bin/assayctl"),
        (hook, "usr/libexec/assayd/assay-verifier"),
        (
            "target/release/assay-credential".into(),
            "usr/libexec/assayd/assay-credential",
        ),
        ("target/release/assay-gate".into(), "usr/libexec/assayd/assay-gate"),
        (
            "packaging/scripts/take-hook-out".into(),
            "usr/libexec/assayd/take-hook-out",
        ),
        ("systemd/assayd.socket".into(), "usr/lib/systemd/system/assayd.socket"),
        ("systemd/assayd.service".into(), "usr/lib/systemd/system/assayd.service"),
        (
            "systemd/assay-credential.service".into(),
            "usr/lib/systemd/system/assay-credential.service",
        ),
        (
            "systemd/assay-gate.service".into(),
            "usr/lib/systemd/system/assay-gate.service",
        ),
        (
            "systemd/assayd-doctor.service".into(),
            "usr/lib/systemd/system/assayd-doctor.service",
        ),
        (
            "systemd/assayd-doctor.timer".into(),
            "usr/lib/systemd/system/assayd-doctor.timer",
        ),
        (
            "systemd/assayd.catalog".into(),
            "usr/lib/systemd/catalog/assayd.catalog",
        ),
        ("systemd/sysusers.conf".into(), "usr/lib/sysusers.d/assayd.conf"),
        ("systemd/tmpfiles.conf".into(), "usr/lib/tmpfiles.d/assayd.conf"),
        ("packaging/etc/config.toml".into(), "etc/assayd/config.toml"),
        ("packaging/etc/policy.toml".into(), "etc/assayd/policy.toml"),
        ("packaging/policy.toml".into(), "usr/share/assayd/examples/policy.toml"),
        (
            "packaging/man/assay-verifier.8".into(),
            "usr/share/man/man8/assay-verifier.8",
        ),
        (
            "packaging/deb/lintian-overrides".into(),
            "usr/share/lintian/overrides/assayd",
        ),
        ("LICENSE".into(), "usr/share/licenses/assayd/LICENSE"),
    ] {
        copy(&from, &root.join(to))?;
    }
    copy_all("docs", "md", &root.join("usr/share/doc/assayd"))?;
    // Whoever maintains alert rules puts them there.
    copy_all("packaging/alerts", "yml", &root.join("usr/share/assayd/alerts"))?;
    manual(&root.join("usr/share/man"), &options.of_version)?;
    completions(&root)?;
    fs::write(workspace().join("target/package/changelog"), debian_changelog(options)?)?;
    Ok(())
}

/// The manual, one page a command, compressed as both kinds of package want it.
fn manual(folder: &Path, version: &str) -> Result<()> {
    // clap keeps it for as long as the program runs.
    let version: &'static str = version.to_owned().leak();
    fs::create_dir_all(folder.join("man1"))?;
    clap_mangen::generate_to(Cli::command().version(version), folder.join("man1"))?;
    let mut page = Vec::new();
    clap_mangen::Man::new(Arguments::command().version(version))
        .section("8")
        .render(&mut page)?;
    fs::write(folder.join("man8/assayd.8"), page)?;
    for section in ["man1", "man8"] {
        for entry in fs::read_dir(folder.join(section))? {
            // Without name and time, so that equal pages are equal files.
            run(Command::new("gzip").arg("-9n").arg(entry?.path()))?;
        }
    }
    Ok(())
}

fn completions(root: &Path) -> Result<()> {
    for (shell, folder) in [
        (Shell::Bash, "usr/share/bash-completion/completions"),
        (Shell::Zsh, "usr/share/zsh/vendor-completions"),
        (Shell::Fish, "usr/share/fish/vendor_completions.d"),
    ] {
        let folder = root.join(folder);
        fs::create_dir_all(&folder)?;
        for (mut command, name) in [(Cli::command(), "assayctl"), (Arguments::command(), "assayd")] {
            let made = clap_complete::generate_to(shell, &mut command, name, &folder)?;
            if matches!(shell, Shell::Bash) {
                // bash-completion finds a file by the name of the command.
                fs::rename(made, folder.join(name))?;
            }
        }
    }
    Ok(())
}

/// deb-changelog(5): one entry, of the last commit's time, that leads to the changes of the project.
fn debian_changelog(options: &Options) -> Result<String> {
    let Options { revision, of_version } = options;
    let time = run(Command::new("git").args(["log", "-1", "--format=%cD"]))?;
    Ok(format!(
        "assayd ({of_version}-{revision}) unstable; urgency=medium\n\n  * What changed is in CHANGELOG.md of the project.\n\n \
         -- assayd maintainers <maintainers@assayd.invalid>  {}",
        String::from_utf8(time)?
    ))
}

fn copy_all(folder: &str, extension: &str, to: &Path) -> Result<()> {
    let folder = workspace().join(folder);
    if !folder.is_dir() {
        return Ok(());
    }
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if let (true, Some(name)) = (path.extension().is_some_and(|one| one == extension), path.file_name()) {
            copy(&path, &to.join(name))?;
        }
    }
    Ok(())
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    let from = workspace().join(from);
    fs::create_dir_all(to.parent().context("a file has a folder")?)?;
    fs::copy(&from, to).with_context(|| format!("{} cannot be copied to {}", from.display(), to.display()))?;
    Ok(())
}

/// Where `cargo build-hook` builds: below the name of the host.
fn target_of_host() -> Result<PathBuf> {
    let version = String::from_utf8(run(Command::new("rustc").arg("-vV"))?)?;
    let host = version.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(Path::new("target").join(host.context("rustc does not name its host")?))
}

/// A tool of cargo's, installed into a folder of the project's own when it is not there.
fn tool(name: &str, version: &str) -> Result<PathBuf> {
    let tool = workspace().join(TOOLS).join("bin").join(name);
    if !tool.is_file() {
        cargo(
            workspace(),
            &[
                "install",
                "--quiet",
                "--locked",
                "--version",
                version,
                name,
                "--root",
                TOOLS,
            ],
        )?;
    }
    Ok(tool)
}

/// Copies the workspace, and gives the copy another version: what a program says of itself is built into it.
fn copy_of_version(version: &str) -> Result<PathBuf> {
    let copy = workspace().join(SOURCE);
    if copy.exists() {
        fs::remove_dir_all(&copy)?;
    }
    let files = run(Command::new("git").args(["ls-files", "-z", "--cached", "--others", "--exclude-standard"]))?;
    for file in String::from_utf8(files)?.split_terminator('\0') {
        // The copy lies in the workspace, whose aliases cargo would put before its own.
        if file.starts_with(".cargo/") {
            continue;
        }
        let from = workspace().join(file);
        // What git knows and somebody has removed.
        let Ok(modified) = from.metadata().and_then(|file| file.modified()) else {
            continue;
        };
        let to = copy.join(file);
        fs::create_dir_all(to.parent().context("a file has a folder")?)?;
        fs::copy(&from, &to).with_context(|| format!("{file} cannot be copied"))?;
        // By their times, cargo knows what it need not build again.
        File::options().append(true).open(&to)?.set_modified(modified)?;
    }
    let manifest = fs::read_to_string(copy.join("Cargo.toml"))?;
    let said = concat!("version = \"", env!("CARGO_PKG_VERSION"), "\"");
    ensure!(
        manifest.matches(said).count() == 1,
        "Cargo.toml does not say {said} in one place"
    );
    fs::write(
        copy.join("Cargo.toml"),
        manifest.replace(said, &format!("version = \"{version}\"")),
    )?;
    Ok(copy)
}

/// Runs cargo in a copy of the workspace, or in the workspace itself. They share what is built.
fn cargo(folder: &Path, arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo"));
    run_in(
        folder,
        Command::new(cargo)
            .args(arguments)
            .env("CARGO_TARGET_DIR", workspace().join("target"))
            // The build of assay-gate asks it.
            .env("PROTOC", Peers::fetch()?.protoc()?),
    )
    .map(drop)
}

/// Runs a program in the workspace and returns what it printed.
fn run(command: &mut Command) -> Result<Vec<u8>> {
    run_in(workspace(), command)
}

fn run_in(folder: &Path, command: &mut Command) -> Result<Vec<u8>> {
    let shown = format!("{command:?}");
    let output = command
        .current_dir(folder)
        .stderr(Stdio::inherit())
        .output()
        .with_context(|| format!("{shown} cannot be run"))?;
    ensure!(output.status.success(), "{shown} failed: {}", output.status);
    Ok(output.stdout)
}

fn workspace() -> &'static Path {
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    here.parent().unwrap_or(here)
}
