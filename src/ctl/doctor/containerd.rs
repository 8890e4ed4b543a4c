//! What containerd's version and effective configuration mean for its image verifiers.

use std::path::Path;

use super::finding::{Finding, Kind};
use super::setting::Setting;
use crate::ctl::node::containerd::Containerd;
use crate::ctl::node::effective::{
    CRI_IMAGES, CRI_SERVICE, DEFAULT_DOWNLOADS, Effective, Images, TRANSFER, VERIFIER_PLUGIN,
};
use crate::ctl::node::version::{Verifies, Version};

const RESTART: &str = "systemctl restart containerd";

/// Everything about containerd itself.
pub(super) fn examine(containerd: &Containerd) -> Vec<Finding> {
    let mut findings = version(&containerd.version);
    // An older containerd has none of what follows.
    if findings.is_empty() {
        findings = configuration(&containerd.effective, &containerd.config_file);
    }
    let unread = containerd.unread();
    if !unread.is_empty() {
        let files: Vec<_> = unread.iter().map(|file| file.display().to_string()).collect();
        let facts = format!("{} changed after containerd started", files.join(", "));
        findings.push(Finding::new(Kind::ContainerdNotRestarted, facts, RESTART));
    }
    if let Some(running) = containerd.running.as_ref().filter(|running| running.replaced) {
        let facts = format!("process {} runs a program that is no longer on the disk", running.pid);
        findings.push(Finding::new(Kind::ContainerdReplaced, facts, RESTART));
    }
    findings
}

fn version(version: &Version) -> Vec<Finding> {
    let mend = "Install containerd 2.1 or later.";
    let kind = match version.verifies() {
        Verifies::Nothing => Kind::ContainerdTooOld,
        Verifies::ClientsOnly => Kind::ContainerdWithoutCri,
        Verifies::CriToo => return Vec::new(),
    };
    vec![Finding::new(kind, format!("containerd {version}"), mend)]
}

fn configuration(effective: &Effective, file: &Path) -> Vec<Finding> {
    let mut findings = Vec::new();
    if effective.disables(VERIFIER_PLUGIN) {
        let facts = format!("disabled_plugins has {VERIFIER_PLUGIN}");
        let mend = format!("In {}: take it out of disabled_plugins.\n{RESTART}", file.display());
        findings.push(Finding::new(Kind::VerifierPluginDisabled, facts, mend));
    }
    let disabled = [CRI_IMAGES, CRI_SERVICE]
        .into_iter()
        .find(|plugin| effective.disables(plugin));
    if let Some(plugin) = disabled {
        let facts = format!("disabled_plugins has {plugin}");
        let mend = format!("In {}: take it out of disabled_plugins.\n{RESTART}", file.display());
        findings.push(Finding::new(Kind::CriDisabled, facts, mend));
        // CRI's settings pull nothing.
        return findings;
    }
    findings.extend(pulls(&effective.images));
    findings
}

/// The settings that make containerd pull past its verifiers, in the order in which it looks at them.
pub(super) fn pulls(images: &Images) -> Vec<Finding> {
    let set = |kind, is: &str, key, to: bool| Finding::of_settings(kind, is, vec![Setting::new(CRI_IMAGES, key, to)]);
    let registries = "Take the table out, and say the same in FOLDER/HOST/hosts.toml (containerd, docs/hosts.md):\n\
                      [plugins.'io.containerd.cri.v1.images'.registry]\n  config_path = '/etc/containerd/certs.d'";
    let logins =
        "Take the table out. Logins belong to the pods (imagePullSecrets) or to the kubelet's credential providers.";
    let names = |table: &toml::Table| {
        table
            .keys()
            .map(|name| format!("{name:?}"))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let mut findings = Vec::new();
    if images.use_local_image_pull {
        let (kind, is) = (Kind::LocalPull, "use_local_image_pull = true");
        findings.push(set(kind, is, "use_local_image_pull", false));
    }
    if !images.disable_snapshot_annotations {
        let (kind, is) = (Kind::SnapshotAnnotations, "disable_snapshot_annotations = false");
        findings.push(set(kind, is, "disable_snapshot_annotations", true));
    }
    if images.discard_unpacked_layers {
        let (kind, is) = (Kind::DiscardUnpackedLayers, "discard_unpacked_layers = true");
        findings.push(set(kind, is, "discard_unpacked_layers", false));
    }
    for (kind, name, table, mend) in [
        (Kind::RegistryMirrors, "mirrors", &images.registry.mirrors, registries),
        (Kind::RegistryConfigs, "configs", &images.registry.configs, registries),
        (Kind::RegistryAuths, "auths", &images.registry.auths, logins),
    ] {
        if !table.is_empty() {
            findings.push(Finding::new(
                kind,
                format!("registry.{name} has {}", names(table)),
                mend,
            ));
        }
    }
    let downloads = images.max_concurrent_downloads;
    if downloads != DEFAULT_DOWNLOADS {
        let key = "max_concurrent_downloads";
        let mut settings = vec![Setting::new(CRI_IMAGES, key, DEFAULT_DOWNLOADS)];
        // The transfer service has a number of its own, which may be any.
        if downloads > 0 {
            settings.push(Setting::new(TRANSFER, key, downloads));
        }
        let (kind, is) = (Kind::ConcurrentDownloads, format!("{key} = {downloads}"));
        findings.push(Finding::of_settings(kind, is, settings));
    }
    if images.image_pull_with_sync_fs {
        let (kind, is) = (Kind::SyncFs, "image_pull_with_sync_fs = true");
        findings.push(set(kind, is, "image_pull_with_sync_fs", false));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(dump: &str) -> Vec<Kind> {
        let effective = Effective::parse(dump).unwrap();
        let findings = configuration(&effective, Path::new("/etc/containerd/config.toml"));
        findings.iter().map(|finding| finding.kind).collect()
    }

    #[test]
    fn each_setting_that_leads_past_the_verifiers_is_found_by_its_own_name() {
        let images = |line: &str| format!("version = 3\n[plugins.'io.containerd.cri.v1.images']\n{line}\n");
        let registry = |table: &str| {
            format!("version = 3\n[plugins.'io.containerd.cri.v1.images'.registry.{table}.'r.example']\nx = 1\n")
        };
        for (dump, kind) in [
            (images("use_local_image_pull = true"), Kind::LocalPull),
            (
                images("disable_snapshot_annotations = false"),
                Kind::SnapshotAnnotations,
            ),
            (images("discard_unpacked_layers = true"), Kind::DiscardUnpackedLayers),
            (registry("mirrors"), Kind::RegistryMirrors),
            (registry("configs"), Kind::RegistryConfigs),
            (registry("auths"), Kind::RegistryAuths),
            (images("max_concurrent_downloads = 4"), Kind::ConcurrentDownloads),
            (images("max_concurrent_downloads = 0"), Kind::ConcurrentDownloads),
            (images("image_pull_with_sync_fs = true"), Kind::SyncFs),
        ] {
            assert_eq!(found(&dump), [kind], "{dump}");
        }
    }

    #[test]
    fn a_disabled_plugin_is_found_and_pulls_of_a_disabled_cri_are_not_looked_at() {
        let disabled = |plugin: &str| {
            format!(
                "disabled_plugins = ['{plugin}']\n[plugins.'io.containerd.cri.v1.images']\ndiscard_unpacked_layers = true\n"
            )
        };
        assert_eq!(
            found(&disabled(VERIFIER_PLUGIN)),
            [Kind::VerifierPluginDisabled, Kind::DiscardUnpackedLayers]
        );
        for plugin in [CRI_IMAGES, CRI_SERVICE] {
            assert_eq!(found(&disabled(plugin)), [Kind::CriDisabled]);
        }
    }

    #[test]
    fn nothing_is_found_in_containerds_defaults() {
        assert_eq!(found("version = 3\n"), []);
    }

    #[test]
    fn a_containerd_that_does_not_ask_is_found_by_its_version() {
        for (printed, kind) in [
            ("containerd c 1.7.24~ds1 1", Some(Kind::ContainerdTooOld)),
            ("containerd c 2.0.5 1", Some(Kind::ContainerdWithoutCri)),
            ("containerd c 2.1.9+unknown", None),
        ] {
            let findings = version(&Version::parse(printed).unwrap());
            assert_eq!(findings.first().map(|finding| finding.kind), kind, "{printed}");
        }
    }
}
