//! The folder of image verifiers: whether containerd runs the hook, and nothing else that fails.

use std::path::{Path, PathBuf};

use assay_verify::limits::HOOK_DEADLINE;

use super::finding::{Finding, Kind};
use super::setting::Setting;
use crate::ctl::node::effective::{DEFAULT_BIN_DIR, DEFAULT_MAX_VERIFIERS, Effective, VERIFIER_PLUGIN};
use crate::ctl::node::hook_files::exchangeable_by_others;
use crate::ctl::node::verifiers::{Folder, Kind as EntryKind};

const ENABLE: &str = "assayctl hook enable";

pub(super) fn examine(effective: &Effective, verifier: &Path) -> Vec<Finding> {
    let settings = &effective.verifiers;
    let path = &settings.bin_dir;
    let shown = path.display();
    let mut findings = Vec::new();
    if settings.timeout <= HOOK_DEADLINE {
        let facts = format!("per_verifier_timeout is {} s", settings.timeout.as_secs_f32());
        let mend = vec![Setting::new(VERIFIER_PLUGIN, "per_verifier_timeout", "10s")];
        findings.push(Finding::of_settings(Kind::TimeoutTooShort, facts, mend));
    }
    if effective.network_folders.iter().any(|folder| same(folder, path)) {
        let facts = format!("bin_dir is {shown}, where network plugins lie");
        findings.push(Finding::of_settings(Kind::BinDirOfNetwork, facts, own_folder()));
        return findings;
    }
    let folder = Folder::list(path, verifier);
    match &folder {
        Folder::Unset => {
            findings.push(Finding::of_settings(
                Kind::BinDirUnset,
                "bin_dir is empty",
                own_folder(),
            ));
        }
        Folder::Missing => findings.push(Finding::new(Kind::BinDirMissing, shown.to_string(), ENABLE)),
        Folder::Unreadable(error) => {
            let mend = format!("ls -ld {shown}; it has to be a folder, or not to be there");
            findings.push(Finding::new(Kind::BinDirUnreadable, format!("{shown}: {error}"), mend));
        }
        Folder::Listed(entries) if entries.is_empty() => {
            findings.push(Finding::new(Kind::BinDirEmpty, shown.to_string(), ENABLE));
        }
        Folder::Listed(_) => findings.extend(entries(effective, &folder, verifier)),
    }
    findings
}

/// A folder that nothing else uses, in place of one that cannot be used.
fn own_folder() -> Vec<Setting> {
    vec![Setting::new(VERIFIER_PLUGIN, "bin_dir", DEFAULT_BIN_DIR)]
}

fn entries(effective: &Effective, folder: &Folder, verifier: &Path) -> Vec<Finding> {
    let path = &effective.verifiers.bin_dir;
    let mut findings = Vec::new();
    if let Some(fault) = exchangeable_by_others(path) {
        let mend = "chown root:root and chmod go-w what is named";
        findings.push(Finding::new(Kind::BinDirExchangeable, fault, mend));
    }
    let strays: Vec<PathBuf> = folder
        .strays()
        .filter(|entry| !entry.is_hook)
        .map(|entry| path.join(&entry.name))
        .collect();
    if !strays.is_empty() {
        let strays: Vec<_> = strays.iter().map(|stray| stray.display().to_string()).collect();
        let mend = format!("rm -r {}", strays.join(" "));
        findings.push(Finding::new(Kind::StrayEntry, strays.join(", "), mend));
    }
    let Some((position, hook)) = folder.hook() else {
        findings.push(Finding::new(Kind::HookAbsent, path.display().to_string(), ENABLE));
        return findings;
    };
    let own = path.join(&hook.name);
    if !effective.verifiers.runs(position) {
        let most = effective.verifiers.max_verifiers;
        let facts = format!(
            "{} is number {}, and max_verifiers is {most}",
            own.display(),
            position + 1
        );
        // The folder has a bounded number of entries.
        let enough = i64::try_from(position + 1)
            .unwrap_or(i64::MAX)
            .max(DEFAULT_MAX_VERIFIERS);
        let mend = vec![Setting::new(VERIFIER_PLUGIN, "max_verifiers", enough)];
        findings.push(Finding::of_settings(Kind::HookSkipped, facts, mend));
    }
    match (&hook.is, &hook.target) {
        (EntryKind::Program, target) => {
            if target.is_none() {
                let mend = format!("rm {}\n{ENABLE}", own.display());
                findings.push(Finding::new(Kind::HookCopied, own.display().to_string(), mend));
            }
            if let Some(fault) = exchangeable_by_others(&own) {
                let mend = "chown root:root and chmod go-w what is named";
                findings.push(Finding::new(Kind::HookExchangeable, fault, mend));
            }
        }
        _ => {
            let facts = match &hook.target {
                Some(target) => format!("{} -> {}", own.display(), target.display()),
                None => own.display().to_string(),
            };
            let mend = format!(
                "Install assayd ({}), or take the hook out: assayctl hook disable",
                verifier.display()
            );
            findings.push(Finding::new(Kind::HookDangling, facts, mend));
        }
    }
    findings
}

/// Whether two paths are one folder.
fn same(a: &Path, b: &Path) -> bool {
    let resolved = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    resolved(a) == resolved(b)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::{PermissionsExt as _, symlink};

    use super::*;

    struct Node(tempfile::TempDir);

    impl Node {
        /// A folder with the hook in it.
        fn sound() -> Self {
            let node = Self(tempfile::tempdir().unwrap());
            fs::create_dir(node.bin()).unwrap();
            program(&node.verifier());
            symlink(node.verifier(), node.bin().join("assay-verifier")).unwrap();
            node
        }

        fn bin(&self) -> PathBuf {
            self.0.path().join("bin")
        }

        fn verifier(&self) -> PathBuf {
            self.0.path().join("assay-verifier")
        }

        #[track_caller]
        fn finds(&self, settings: &str, expected: &[Kind]) {
            let dump = format!(
                "[plugins.'io.containerd.image-verifier.v1.bindir']\nbin_dir = '{}'\n{settings}",
                self.bin().display()
            );
            let found = examine(&Effective::parse(&dump).unwrap(), &self.verifier());
            let kinds: Vec<_> = found.iter().map(|finding| finding.kind).collect();
            // Who owns the folders of a test is not root where it does not run as root.
            let owned = |kind: &Kind| !matches!(kind, Kind::BinDirExchangeable | Kind::HookExchangeable);
            let kinds: Vec<_> = match nix::unistd::geteuid().is_root() {
                true => kinds,
                false => kinds.into_iter().filter(owned).collect(),
            };
            assert_eq!(kinds, expected, "{found:?}");
        }
    }

    fn program(path: &Path) {
        fs::write(path, "#!/bin/sh\n").unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn nothing_is_found_in_a_folder_with_the_hook() {
        Node::sound().finds("", &[]);
    }

    #[test]
    fn a_folder_that_admits_everything_is_found() {
        let node = Node::sound();
        fs::remove_file(node.bin().join("assay-verifier")).unwrap();
        node.finds("", &[Kind::BinDirEmpty]);
        fs::remove_dir(node.bin()).unwrap();
        node.finds("", &[Kind::BinDirMissing]);
        fs::write(node.bin(), "").unwrap();
        node.finds("", &[Kind::BinDirUnreadable]);
        let unset = Effective::parse("[plugins.'io.containerd.image-verifier.v1.bindir']\nbin_dir = ''\n").unwrap();
        assert_eq!(examine(&unset, &node.verifier())[0].kind, Kind::BinDirUnset);
    }

    #[test]
    fn what_denies_every_pull_is_found() {
        let node = Node::sound();
        fs::write(node.bin().join("README"), "").unwrap();
        node.finds("", &[Kind::StrayEntry]);
        fs::remove_file(node.bin().join("README")).unwrap();
        fs::remove_file(node.verifier()).unwrap();
        node.finds("", &[Kind::HookDangling]);
    }

    #[test]
    fn a_hook_that_is_not_run_or_not_there_is_found() {
        let node = Node::sound();
        node.finds("max_verifiers = 0\n", &[Kind::HookSkipped]);
        program(&node.bin().join("a-first"));
        node.finds("max_verifiers = 1\n", &[Kind::HookSkipped]);
        node.finds("max_verifiers = -1\n", &[]);
        fs::remove_file(node.bin().join("assay-verifier")).unwrap();
        node.finds("", &[Kind::HookAbsent]);
        program(&node.bin().join("assay-verifier"));
        node.finds("", &[Kind::HookCopied]);
    }

    #[test]
    fn a_folder_of_network_plugins_and_a_short_timeout_are_found() {
        let node = Node::sound();
        for (timeout, expected) in [
            ("8s", &[Kind::TimeoutTooShort][..]),
            ("0s", &[Kind::TimeoutTooShort]),
            ("8.1s", &[]),
            ("1m0s", &[]),
        ] {
            node.finds(&format!("per_verifier_timeout = '{timeout}'\n"), expected);
        }
        let network = format!(
            "[plugins.'io.containerd.cri.v1.runtime'.cni]\nbin_dirs = ['{}/']\n",
            node.bin().display()
        );
        node.finds(&network, &[Kind::BinDirOfNetwork]);
    }

    #[test]
    fn what_others_than_root_could_exchange_is_found() {
        if !nix::unistd::geteuid().is_root() {
            return;
        }
        let node = Node::sound();
        fs::set_permissions(node.verifier(), fs::Permissions::from_mode(0o777)).unwrap();
        node.finds("", &[Kind::HookExchangeable]);
        fs::set_permissions(node.bin(), fs::Permissions::from_mode(0o775)).unwrap();
        node.finds("", &[Kind::BinDirExchangeable, Kind::HookExchangeable]);
    }
}
