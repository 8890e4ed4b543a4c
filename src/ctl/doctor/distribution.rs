//! Distributions whose containerd is set up in a way of their own, and what that means here.

use std::fs;
use std::path::Path;

use super::finding::Kind;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Distribution {
    /// Amazon Linux 2023 as a node of EKS.
    Eks,
    Talos,
    K3s,
    Kind,
    Debian,
    Other,
}

impl Distribution {
    /// Recognises the distribution by its files below `root`.
    pub(super) fn of(root: &Path) -> Self {
        let is_there = |path: &str| root.join(path).exists();
        let release = ["etc/os-release", "usr/lib/os-release"];
        let release = release.iter().find_map(|path| fs::read_to_string(root.join(path)).ok());
        let release = release.unwrap_or_default();
        let value = |key: &str| {
            let line = release
                .lines()
                .find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().trim_matches(['"', '\'']).to_owned()
        };
        match value("ID").as_str() {
            "talos" => Self::Talos,
            // Both run on any distribution, kind in a container of Debian's.
            _ if is_there("var/lib/rancher/k3s") || is_there("var/lib/rancher/rke2") => Self::K3s,
            _ if is_there("kind/version") || is_there("kind/product_name") => Self::Kind,
            "amzn" if value("VERSION_ID") == "2023" && (is_there("etc/eks") || is_there("usr/bin/nodeadm")) => {
                Self::Eks
            }
            "debian" => Self::Debian,
            _ => Self::Other,
        }
    }

    /// Whether the distribution writes drop-ins of containerd's itself, and whether it writes config.toml: what others change there is
    /// overwritten.
    pub(super) const fn owns(self) -> (bool, bool) {
        match self {
            Self::Eks | Self::Talos => (true, true),
            Self::K3s | Self::Kind => (false, true),
            Self::Debian | Self::Other => (false, false),
        }
    }

    /// Where settings of containerd's are written instead.
    pub(super) const fn instead(self) -> Option<&'static str> {
        self.note(Kind::LocalPull)
    }

    /// How a finding is mended here, where it is another way than on other distributions.
    pub(super) const fn note(self, kind: Kind) -> Option<&'static str> {
        use super::finding::Area::{Folder, Pulls};
        match (self, kind) {
            (Self::Debian, Kind::ContainerdTooOld) => Some(
                "Debian 12 ships containerd 1.6 and Debian 13 ships 1.7: neither ever calls a verifier. containerd.io of Docker's \
                 archive, or a later Debian's containerd, does.",
            ),
            (Self::Eks, _) if matches!(kind.area(), Pulls | Folder) => Some(
                "EKS: nodeadm writes discard_unpacked_layers = true at every start. Override it in the NodeConfig, under \
                 spec.containerd.config, not in /etc/containerd.",
            ),
            (Self::Talos, _) if matches!(kind.area(), Pulls | Folder) => Some(
                "Talos sets discard_unpacked_layers and use_local_image_pull itself. Override both in \
                 /etc/cri/conf.d/20-customization.part, under machine.files of the machine configuration.",
            ),
            (Self::K3s, _) if matches!(kind.area(), Pulls | Folder) => Some(
                "k3s and rke2 write config.toml at every start: put the lines into config-v3.toml.tmpl beside it, below \
                 {{ template \"base\" . }}. A login in registries.yaml becomes registry.configs and leads past the verifiers.",
            ),
            (Self::Kind, _) if matches!(kind.area(), Pulls | Folder) => Some(
                "kind: set it under containerdConfigPatches of the cluster's configuration; its image has \
                 discard_unpacked_layers = true.",
            ),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distribution_is_recognised_by_its_files() {
        for (files, expected) in [
            (
                &[("etc/os-release", "ID=debian\nVERSION_ID=\"12\"\n")][..],
                Distribution::Debian,
            ),
            (&[("usr/lib/os-release", "ID=talos\n")], Distribution::Talos),
            (
                &[
                    ("etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2023\"\n"),
                    ("usr/bin/nodeadm", ""),
                ],
                Distribution::Eks,
            ),
            (
                &[("etc/os-release", "ID=\"amzn\"\nVERSION_ID=\"2023\"\n")],
                Distribution::Other,
            ),
            (
                &[("etc/os-release", "ID=debian\n"), ("kind/version", "v0.30.0")],
                Distribution::Kind,
            ),
            (
                &[("etc/os-release", "ID=ubuntu\n"), ("var/lib/rancher/k3s/x", "")],
                Distribution::K3s,
            ),
            (&[], Distribution::Other),
        ] {
            let root = tempfile::tempdir().unwrap();
            for (path, content) in files {
                let path = root.path().join(path);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(path, content).unwrap();
            }
            assert_eq!(Distribution::of(root.path()), expected, "{files:?}");
        }
    }

    #[test]
    fn a_distributions_note_stands_where_it_helps() {
        assert!(Distribution::Eks.note(Kind::DiscardUnpackedLayers).is_some());
        assert!(Distribution::Eks.note(Kind::DaemonAway).is_none());
        assert!(Distribution::Debian.note(Kind::ContainerdTooOld).is_some());
        assert!(Distribution::Other.note(Kind::LocalPull).is_none());
    }
}
