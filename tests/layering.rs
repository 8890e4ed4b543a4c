//! Who may use whom. The crate border guards `assay-verify`; this table guards the rest.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

/// Each module of the daemon, and the modules it may use beside itself.
const ALLOWED: &[(&str, &[&str])] = &[
    ("process", &[]),
    ("credential", &["process"]),
    ("trust", &[]),
    ("fetch", &["credential"]),
    ("cache", &[]),
    ("plugin", &["process"]),
    ("sync", &["cache", "fetch", "plugin", "trust"]),
    ("admission", &["cache", "fetch", "plugin", "sync", "trust"]),
    // `daemon::config` is data: where the sockets are, which registries there are.
    ("hooks", &["admission", "cache", "fetch", "plugin", "sync", "trust"]),
    (
        "ctl",
        &[
            "admission",
            "cache",
            "daemon::config",
            "fetch",
            "hooks",
            "plugin",
            "sync",
            "trust",
        ],
    ),
    (
        "daemon",
        &[
            "admission",
            "cache",
            "credential",
            "fetch",
            "hooks",
            "plugin",
            "sync",
            "trust",
        ],
    ),
];

/// Crates that the pure core must never reach. `tracing` is reached through sigstore-verify: it hands events to whoever
/// listens, and the daemon listens to none of those.
const IMPURE: &[&str] = &["hyper", "mio", "nix", "reqwest", "rustix", "socket2", "tokio"];

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn sources(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display())) {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            found.push(path);
        }
    }
    found
}

/// The paths that a source names after `crate::`, as `module` and `module::submodule`.
fn used(text: &str) -> BTreeSet<String> {
    let mut used = BTreeSet::new();
    for line in text.lines().map(str::trim).filter(|line| !line.starts_with("//")) {
        for after in line.split("crate::").skip(1) {
            let path: String = after
                .chars()
                .take_while(|c| c.is_ascii_alphanumeric() || matches!(c, '_' | ':'))
                .collect();
            used.insert(path);
        }
    }
    used
}

#[test]
fn modules_use_only_what_is_below_them() {
    let table: BTreeMap<&str, &[&str]> = ALLOWED.iter().copied().collect();
    for (module, allowed) in &table {
        for file in sources(&root().join("src").join(module)) {
            for path in used(&fs::read_to_string(&file).unwrap()) {
                let top = path.split("::").next().unwrap();
                let fits = |entry: &&str| top == *entry || path == **entry || path.starts_with(&format!("{entry}::"));
                assert!(
                    top == *module || !table.contains_key(top) || allowed.iter().any(fits),
                    "{} uses crate::{path}, which {module} may not",
                    file.display()
                );
            }
        }
    }
}

#[test]
fn the_table_names_every_module() {
    let library = fs::read_to_string(root().join("src/lib.rs")).unwrap();
    let modules: BTreeSet<&str> = library
        .lines()
        .filter_map(|line| line.strip_prefix("pub mod ")?.strip_suffix(';'))
        .collect();
    assert_eq!(modules, ALLOWED.iter().map(|(module, _)| *module).collect());
}

/// The crates that are linked into a crate of the workspace.
fn linked_into(package: &str) -> BTreeSet<String> {
    let output = std::process::Command::new(env!("CARGO"))
        .args(["tree", "--package", package, "--edges", "normal"])
        .args(["--prefix", "none", "--format", "{p}"])
        .current_dir(root())
        .output()
        .expect("cargo tree runs");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let tree = String::from_utf8(output.stdout).unwrap();
    let name = |line: &str| line.split(' ').next().unwrap().to_owned();
    tree.lines().map(name).collect()
}

#[test]
fn the_hook_uses_the_protocol_alone() {
    let ours: Vec<_> = linked_into("assay-verifier")
        .into_iter()
        .filter(|name| name.starts_with("assay"))
        .collect();
    assert_eq!(ours, ["assay-proto", "assay-verifier"]);
}

#[test]
fn the_pure_core_reaches_no_input_or_output() {
    let linked = linked_into("assay-verify");
    for name in IMPURE {
        assert!(
            !linked.contains(*name),
            "assay-verify reaches {name}: cargo tree -p assay-verify -i {name}"
        );
    }
}
