//! What the doctor can find. Each kind has a word that never changes its meaning; `docs/doctor.md` explains all of them.

use std::fmt;

use serde_json::{Value, json};

use super::setting::Setting;

/// What a finding is about. Each area that is sound has one line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Area {
    Containerd,
    Pulls,
    Folder,
    Daemon,
    Node,
    Proof,
}

impl Area {
    pub(super) const ALL: [Self; 6] = [
        Self::Containerd,
        Self::Pulls,
        Self::Folder,
        Self::Daemon,
        Self::Node,
        Self::Proof,
    ];

    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Containerd => "containerd",
            Self::Pulls => "pulls",
            Self::Folder => "folder",
            Self::Daemon => "daemon",
            Self::Node => "node",
            Self::Proof => "proof",
        }
    }
}

/// How bad it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Severity {
    /// Images are unpacked that nobody judged.
    Bypass,
    /// Images are denied, or will be, for another reason than the policy.
    Blocked,
    /// It could not be looked at.
    Unknown,
    /// It works, and should be known.
    Warning,
}

impl Severity {
    pub(super) const fn word(self) -> &'static str {
        match self {
            Self::Bypass => "bypass",
            Self::Blocked => "blocked",
            Self::Unknown => "unknown",
            Self::Warning => "warning",
        }
    }
}

/// One thing that was found on this node.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Finding {
    pub(super) kind: Kind,
    /// What was seen, and where.
    pub(super) facts: String,
    /// What to do: lines to write and commands to run.
    pub(super) mend: String,
    /// The same for `--fix`, where a drop-in of containerd's can mend it.
    pub(super) settings: Vec<Setting>,
    /// How this is done on this distribution.
    pub(super) note: Option<&'static str>,
}

impl Finding {
    pub(super) fn new(kind: Kind, facts: impl Into<String>, mend: impl Into<String>) -> Self {
        Self {
            kind,
            facts: facts.into(),
            mend: mend.into(),
            settings: Vec::new(),
            note: None,
        }
    }

    /// One that other values of settings mend.
    pub(super) fn of_settings(kind: Kind, facts: impl Into<String>, settings: Vec<Setting>) -> Self {
        Self {
            settings: settings.clone(),
            ..Self::new(kind, facts, Setting::lines(&settings))
        }
    }

    pub(super) fn to_json(&self) -> Value {
        json!({
            "id": self.kind.word(),
            "severity": self.kind.severity().word(),
            "area": self.kind.area().word(),
            "facts": self.facts,
            "meaning": self.kind.meaning(),
            "mend": self.mend,
            "note": self.note,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = self.kind;
        writeln!(
            f,
            "{:8} {}: {}",
            kind.severity().word().to_uppercase(),
            kind.word(),
            self.facts
        )?;
        write!(f, "         {}", kind.meaning())?;
        for line in self.mend.lines() {
            write!(f, "\n           {line}")?;
        }
        if let Some(note) = self.note {
            write!(f, "\n         {note}")?;
        }
        Ok(())
    }
}

/// Declares the kinds, so that none can lack a word, an area, a severity or a meaning.
macro_rules! kinds {
    ($($kind:ident $word:literal $area:ident $severity:ident $meaning:literal;)+) => {
        /// The kinds of findings.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        pub(super) enum Kind {
            $($kind,)+
        }

        impl Kind {
            pub(super) const ALL: &[Self] = &[$(Self::$kind,)+];

            /// The stable word.
            pub(super) const fn word(self) -> &'static str {
                match self {
                    $(Self::$kind => $word,)+
                }
            }

            pub(super) const fn area(self) -> Area {
                match self {
                    $(Self::$kind => Area::$area,)+
                }
            }

            pub(super) const fn severity(self) -> Severity {
                match self {
                    $(Self::$kind => Severity::$severity,)+
                }
            }

            /// What it means for this node.
            pub(super) const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$kind => $meaning,)+
                }
            }
        }
    };
}

kinds! {
    ContainerdUnknown "containerd-unknown" Containerd Unknown
        "What containerd makes of an image cannot be told.";
    ContainerdTooOld "containerd-too-old" Containerd Bypass
        "This containerd has no image verifiers: it never asks assayd.";
    ContainerdWithoutCri "containerd-2.0" Containerd Bypass
        "containerd 2.0 asks verifiers when ctr pulls, and not when the kubelet does.";
    ContainerdNotRestarted "containerd-not-restarted" Containerd Warning
        "containerd read its configuration before that was changed. What this report says holds after the next restart.";
    ContainerdReplaced "containerd-replaced" Containerd Warning
        "The program was replaced while it runs, by an upgrade: the next restart starts another version.";
    VerifierPluginDisabled "verifier-plugin-disabled" Containerd Bypass
        "containerd runs without its image verifiers. Since 2.3 it admits everything then; before, it cannot pull.";
    CriDisabled "cri-disabled" Containerd Warning
        "This containerd serves no kubelet: pods' images are not pulled by it.";
    LocalPull "local-pull" Pulls Bypass
        "CRI's images are pulled past every verifier.";
    SnapshotAnnotations "local-pull-snapshot-annotations" Pulls Bypass
        "With this setting containerd silently falls back to local pulls, past every verifier.";
    DiscardUnpackedLayers "local-pull-discard-unpacked-layers" Pulls Bypass
        "With this setting containerd silently falls back to local pulls, past every verifier.";
    RegistryMirrors "local-pull-registry-mirrors" Pulls Bypass
        "With this table containerd silently falls back to local pulls, past every verifier.";
    RegistryConfigs "local-pull-registry-configs" Pulls Bypass
        "With this table containerd silently falls back to local pulls, past every verifier.";
    RegistryAuths "local-pull-registry-auths" Pulls Bypass
        "With this table containerd silently falls back to local pulls, past every verifier.";
    ConcurrentDownloads "local-pull-concurrent-downloads" Pulls Bypass
        "With another number than 3 containerd silently falls back to local pulls, past every verifier.";
    SyncFs "local-pull-sync-fs" Pulls Bypass
        "With this setting containerd silently falls back to local pulls, past every verifier.";
    BinDirUnset "bin-dir-unset" Folder Bypass
        "containerd has no folder of image verifiers, and admits everything.";
    BinDirMissing "bin-dir-missing" Folder Bypass
        "The folder of image verifiers is not there, and containerd admits everything.";
    BinDirEmpty "bin-dir-empty" Folder Bypass
        "The folder of image verifiers is empty, and containerd admits everything.";
    BinDirUnreadable "bin-dir-unreadable" Folder Blocked
        "containerd cannot list the folder of image verifiers, and denies everything.";
    BinDirOfNetwork "bin-dir-of-network-plugins" Folder Blocked
        "containerd would run network plugins as image verifiers; they fail, and every pull with them.";
    BinDirExchangeable "bin-dir-exchangeable" Folder Bypass
        "Others than root can change what containerd runs as root when it pulls.";
    StrayEntry "stray-entry" Folder Blocked
        "containerd runs every entry of the folder. These cannot be run, and every pull on this node is denied.";
    HookAbsent "hook-absent" Folder Bypass
        "The folder has other verifiers and not assayd's: assayd is not asked.";
    HookSkipped "hook-skipped" Folder Bypass
        "containerd runs only the first so many verifiers, in the order of their names, and skips the hook.";
    HookDangling "hook-dangling" Folder Blocked
        "The link leads to no program: running it fails, and every pull with it.";
    HookCopied "hook-copied" Folder Warning
        "The hook in the folder is a file and no link: upgrades of assayd do not reach it.";
    HookExchangeable "hook-exchangeable" Folder Bypass
        "Others than root can exchange the program that containerd runs as root and believes.";
    TimeoutTooShort "verifier-timeout-too-short" Folder Blocked
        "The hook answers within 8 s. containerd kills it before, and denies without a reason.";
    ObserveFlag "observing" Daemon Warning
        "The hook admits every image and only says what it would deny.";
    ObserveFlagNotObeyed "observe-flag-not-obeyed" Daemon Warning
        "The hook enforces although there is an observe flag: somebody else than root could have written it.";
    DaemonAway "daemon-away" Daemon Blocked
        "assayd does not answer. Unless it only observes, the hook denies every image that the bootstrap list does not name.";
    SocketMode "socket-mode" Daemon Warning
        "Others than root can connect to assayd's socket, or take its place.";
    PolicyNone "policy-none" Daemon Blocked
        "There is no good policy: every image is denied with policy-invalid.";
    PolicyRefused "policy-refused" Daemon Warning
        "What lies on the disk as a policy is broken; the last good one is in force until the next start.";
    TrustNotFresh "trust-not-fresh" Daemon Warning
        "The policy repository's metadata has expired, or it cannot be followed: policy and deny-list grow old.";
    NoBootstrapList "bootstrap-list-missing" Daemon Warning
        "While assayd is away, nothing can be pulled at all: a node that starts with an empty disk may never start its network.";
    BootstrapListNotObeyed "bootstrap-list-not-obeyed" Daemon Warning
        "The hook does not use the bootstrap list, because somebody else than root could have written it.";
    BootstrapListMalformed "bootstrap-list-malformed" Daemon Warning
        "The hook passes over lines that are not repository@digest.";
    ClockBehind "clock-behind" Node Blocked
        "The node's clock says a time that is known to have passed: images are denied with clock-unsynchronised.";
    ClockUnsynchronised "clock-unsynchronised" Node Warning
        "Nothing keeps this node's clock right. Certificates and signatures are judged by it.";
    CanaryAdmitted "canary-admitted" Proof Bypass
        "containerd would have unpacked an image that assayd always denies: the hook is not in the path of pulls.";
    CanaryNotAsked "canary-not-asked" Proof Unknown
        "The proof could not be made: containerd did not resolve the canary's name on this machine.";
    CanaryDeniedOtherwise "canary-denied-otherwise" Proof Blocked
        "The canary was denied, and not by this assayd: another verifier denies, or the hook does not reach the daemon.";
    CanaryNotRecorded "canary-not-recorded" Proof Warning
        "The canary was denied by assayd, and the journal does not have the decision: others may be missing there too.";
    CriAway "cri-away" Proof Unknown
        "The proof could not be made: containerd does not answer on its CRI socket.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_explained_in_the_documentation() {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/doctor.md");
        let documentation = std::fs::read_to_string(path).unwrap();
        for (index, kind) in Kind::ALL.iter().enumerate() {
            let row = format!("| `{}` | {} |", kind.word(), kind.severity().word());
            assert!(
                documentation.contains(&row),
                "docs/doctor.md has no row that begins with {row}"
            );
            let twice = Kind::ALL[index + 1..].iter().any(|other| other.word() == kind.word());
            assert!(!twice, "{} is there twice", kind.word());
        }
    }
}
