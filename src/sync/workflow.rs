//! The steps of the TUF client workflow (TUF specification §5.3 to §5.7), on bytes that somebody else reads.
//!
//! One procedure serves what is stored and what is offered: the difference is the time that expiries are compared with.
//! Signatures, thresholds, versions and hashes are checked by [`TrustedMetadataSet`] of the crate `sigstore-tuf`. Its
//! `Updater` is not used: it stores each file as soon as that one verifies, which is how a refused update gets stuck in a
//! client (CVE-2025-2888), and only warns when it cannot.
//!
//! Stricter than the specification, because every policy repository is made for assayd: consistent snapshots are a must, as
//! is the SHA-256 of each target; a delegation to a role that is looked at must be pinned by the snapshot, so that nobody
//! can leave out the deny-list; and no role may have a key twice under two ids.

use std::collections::{BTreeMap, BTreeSet};

use sigstore_tuf::{Delegations, Error, MetaFile, Root, TargetFile, TrustedMetadataSet};

use assay_verify::Timestamp;
use assay_verify::digest::Digest;
use assay_verify::limits::{MAX_FLEET_FILE_SIZE, MAX_FLEET_FILES, MAX_FLEET_SIZE, MAX_METADATA_VALUES};
use assay_verify::untrusted::Untrusted;

use super::error::SyncError;
use super::floor::{Floor, Reached};
use super::generation::Versions;
use super::layout::{EXCEPTIONS_FOLDER, REVOCATION_FOLDER, SIGNED_AT_FIELD};
use super::names::{Channel, TargetPath};
use super::role::{Role, Signed};

/// The roles that the targets may delegate to, and the folder that each may sign files in.
const DELEGATED: [(Role, &str); 2] = [
    (Role::Revocations, REVOCATION_FOLDER),
    (Role::Exceptions, EXCEPTIONS_FOLDER),
];

/// A time before every expiry: signatures hold then, and staleness is judged elsewhere.
pub(super) const BEFORE_EXPIRY: Timestamp = Timestamp::MIN;

/// The chain of roots, up to the newest that was verified.
#[derive(Clone, Debug)]
pub(super) struct Roots(TrustedMetadataSet);

impl Roots {
    /// Begins with the pinned root, which has to be signed by its own keys.
    pub(super) fn pinned(bytes: &[u8]) -> Result<Self, SyncError> {
        let file = "the pinned root";
        check_values(file, bytes)?;
        let set = TrustedMetadataSet::from_root(bytes).map_err(|error| refuse(file, error))?;
        check_root(file, set.root())?;
        Ok(Self(set))
    }

    /// Follows the next root: signed by the keys of the one before, and by its own (§5.3.4, §5.3.5).
    pub(super) fn follow(&mut self, bytes: &[u8]) -> Result<(), SyncError> {
        let file = Role::Root.file(self.version().saturating_add(1));
        check_values(&file, bytes)?;
        let mut set = self.0.clone();
        set.update_root(bytes).map_err(|error| refuse(&file, error))?;
        check_root(&file, set.root())?;
        self.0 = set;
        Ok(())
    }

    pub(super) fn version(&self) -> u64 {
        self.0.root().version
    }

    pub(super) fn newest(&self) -> &Root {
        self.0.root()
    }

    pub(super) fn signed(&self) -> Signed {
        let root = self.0.root();
        Signed {
            version: root.version,
            expires: root.expires,
        }
    }
}

/// Checks what a policy repository's root must have beyond the specification.
fn check_root(file: &str, root: &Root) -> Result<(), SyncError> {
    let malformed = |cause: &str| SyncError::Malformed {
        file: file.into(),
        cause: cause.into(),
    };
    if !root.consistent_snapshot {
        return Err(malformed("it does not ask for consistent snapshots"));
    }
    for role in [Role::Root, Role::Timestamp, Role::Snapshot, Role::Targets] {
        let named = root.role(role.as_str());
        let named = named.ok_or_else(|| malformed(&format!("it has no role {role}")))?;
        check_keys(file, role, &named.keyids, |id| {
            root.keys.get(id).map(|key| key.keyval.public.as_str())
        })?;
    }
    Ok(())
}

/// Checks that no key stands for several signatures of one role (CVE-2020-15093, CVE-2026-6966).
fn check_keys<'a>(
    file: &str,
    role: Role,
    ids: &[String],
    key: impl Fn(&String) -> Option<&'a str>,
) -> Result<(), SyncError> {
    let distinct_ids: BTreeSet<&String> = ids.iter().collect();
    let keys: Vec<&str> = distinct_ids.iter().filter_map(|id| key(id)).map(str::trim).collect();
    let distinct_keys: BTreeSet<&str> = keys.iter().copied().collect();
    if distinct_keys.len() < keys.len() {
        return Err(SyncError::Malformed {
            file: file.into(),
            cause: format!("the role {role} has one key under two ids").into(),
        });
    }
    Ok(())
}

/// What to read next: a file, and how many bytes it may have.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) file: String,
    pub(super) limit: usize,
}

/// A target file that this node takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct WantedTarget {
    pub(super) path: TargetPath,
    pub(super) digest: Digest,
    pub(super) length: usize,
}

/// One walk through the workflow, from a root to the targets.
#[derive(Clone, Debug)]
pub(super) struct Workflow {
    set: TrustedMetadataSet,
    at: Timestamp,
}

impl Workflow {
    /// Begins with the newest root. Expiries are compared with `at`.
    pub(super) fn new(roots: &Roots, at: Timestamp) -> Self {
        Self {
            set: roots.0.clone(),
            at,
        }
    }

    /// Begins with what is trusted already, so that nothing that follows can be older. Where it was signed by keys that
    /// count no more, it is left out.
    pub(super) fn seed(&mut self, timestamp: &[u8], snapshot: &[u8]) {
        if self.set.update_timestamp(timestamp, BEFORE_EXPIRY).is_ok() {
            // Without it, the floor still knows the versions.
            let _ = self.set.update_snapshot(snapshot, BEFORE_EXPIRY);
        }
    }

    /// Checks the root's expiry (§5.3.10).
    pub(super) fn check_root(&self) -> Result<(), SyncError> {
        let file = Role::Root.file(self.set.root().version);
        self.set
            .check_root_expired(self.at)
            .map_err(|error| refuse(&file, error))
    }

    /// Takes a timestamp (§5.4). Says whether it is another than the one that is trusted; whether that one has expired is
    /// looked at where it is used.
    pub(super) fn timestamp(&mut self, bytes: &[u8], floor: &Floor) -> Result<bool, SyncError> {
        let file = Role::Timestamp.document();
        check_values(&file, bytes)?;
        let mut set = self.set.clone();
        let is_newer = match set.update_timestamp(bytes, self.at) {
            Ok(()) => true,
            Err(Error::EqualVersion { .. }) => false,
            Err(error) => return Err(refuse(&file, error)),
        };
        let pin = snapshot_pin(&set)?;
        let version = set.timestamp().map_or(0, |timestamp| timestamp.version);
        floor.check_timestamp(version, pin.version)?;
        self.set = set;
        self.signed_at()?;
        Ok(is_newer)
    }

    /// When the timestamp was signed, if it says so.
    pub(super) fn signed_at(&self) -> Result<Option<Timestamp>, SyncError> {
        let Some(timestamp) = self.set.timestamp() else {
            return Ok(None);
        };
        let Some(value) = timestamp.extra.get(SIGNED_AT_FIELD) else {
            return Ok(None);
        };
        let malformed = |cause: &str| SyncError::Malformed {
            file: Role::Timestamp.document().into(),
            cause: cause.into(),
        };
        let at = value.as_str().and_then(|text| text.parse::<Timestamp>().ok());
        let at = at.ok_or_else(|| malformed(&format!("{SIGNED_AT_FIELD} is not a time in RFC 3339")))?;
        // So an absurd time needs an absurd expiry, which somebody may notice.
        if at > timestamp.expires {
            return Err(malformed(&format!("{SIGNED_AT_FIELD} is after its expiry")));
        }
        Ok(Some(at))
    }

    /// The metadata of a role, as the timestamp and the snapshot name it.
    pub(super) fn wanted(&self, role: Role) -> Result<Wanted, SyncError> {
        if role == Role::Snapshot {
            return Ok(wanted(role, snapshot_pin(&self.set)?));
        }
        let pin = self
            .set
            .snapshot()
            .and_then(|snapshot| snapshot.meta.get(&role.document()));
        // A deny-list that the snapshot leaves out would be no deny-list.
        let pin = pin.ok_or_else(|| SyncError::Integrity {
            file: role.document().into(),
            cause: "the snapshot does not name it".into(),
        })?;
        Ok(wanted(role, pin))
    }

    /// Takes the metadata of a role, once that of those before it was: the snapshot (§5.5), the targets (§5.6), a role that
    /// these delegate to (§5.6.7).
    pub(super) fn take(&mut self, role: Role, bytes: &[u8], floor: &Floor) -> Result<(), SyncError> {
        let file = self.wanted(role)?.file;
        check_values(&file, bytes)?;
        // What is refused leaves no trace.
        let mut set = self.set.clone();
        let taken = match role {
            Role::Snapshot => set.update_snapshot(bytes, self.at),
            Role::Targets => set.update_targets(bytes, self.at).map(|_| ()),
            _ => set
                .update_delegated_targets(bytes, role.as_str(), Role::Targets.as_str(), self.at)
                .map(|_| ()),
        };
        taken.map_err(|error| refuse(&file, error))?;
        if role == Role::Snapshot {
            floor.check_pins(&pins(&set))?;
        }
        self.set = set;
        Ok(())
    }

    /// The roles that the targets delegate to, of those that are looked at.
    pub(super) fn delegated(&self) -> Result<Vec<Role>, SyncError> {
        let Some(delegations) = self.delegations() else {
            return Ok(Vec::new());
        };
        let mut found = Vec::new();
        for (role, _) in DELEGATED {
            let mut named = delegations.roles.iter().filter(|named| named.name == role.as_str());
            let Some(first) = named.next() else {
                continue;
            };
            if named.next().is_some() {
                return Err(SyncError::Malformed {
                    file: Role::Targets.document().into(),
                    cause: format!("it delegates twice to {role}").into(),
                });
            }
            check_keys(&Role::Targets.document(), role, &first.keyids, |id| {
                delegations.keys.get(id).map(|key| key.keyval.public.as_str())
            })?;
            found.push(role);
        }
        Ok(found)
    }

    fn delegations(&self) -> Option<&Delegations> {
        self.set.targets_role(Role::Targets.as_str())?.delegations.as_ref()
    }

    /// The files that a node of this channel takes, by who may sign them: what is in a channel, the targets role alone; what
    /// is in a delegated role's folder, the targets role before that role. All else is left alone, whoever signed it.
    pub(super) fn select(&self, channel: &Channel) -> Result<Vec<WantedTarget>, SyncError> {
        let mut selected = BTreeMap::new();
        let channel = channel.folder();
        self.select_from(Role::Targets, &channel, &mut selected, |_| Ok(true))?;
        for (role, folder) in DELEGATED {
            self.select_from(Role::Targets, folder, &mut selected, |_| Ok(true))?;
            let named = self.delegations().map(|all| all.roles.iter());
            let named = named.and_then(|mut roles| roles.find(|named| named.name == role.as_str()));
            if let Some(named) = named {
                self.select_from(role, folder, &mut selected, |path| {
                    let matches = named.matches_path(path.as_str());
                    matches.map_err(|error| refuse(&Role::Targets.document(), error))
                })?;
            }
        }
        if selected.len() > MAX_FLEET_FILES {
            return Err(too_much(format!("it has more than {MAX_FLEET_FILES} files for a node")));
        }
        let length = |one: &WantedTarget| one.length;
        let bytes = selected.values().map(length).fold(0, usize::saturating_add);
        if bytes > MAX_FLEET_SIZE {
            return Err(too_much(format!(
                "its files for a node have {bytes} bytes, more than {MAX_FLEET_SIZE}"
            )));
        }
        Ok(selected.into_values().collect())
    }

    /// Takes what a role signs in a folder, where nobody before it did.
    fn select_from(
        &self,
        role: Role,
        folder: &str,
        selected: &mut BTreeMap<TargetPath, WantedTarget>,
        may_sign: impl Fn(&TargetPath) -> Result<bool, SyncError>,
    ) -> Result<(), SyncError> {
        let Some(targets) = self.set.targets_role(role.as_str()) else {
            return Ok(());
        };
        let prefix = format!("{folder}/");
        for (text, target) in &targets.targets {
            if !text.starts_with(&prefix) {
                continue;
            }
            let path = text.parse::<TargetPath>().map_err(|error| SyncError::Malformed {
                file: role.document().into(),
                cause: error.to_string().into(),
            })?;
            if may_sign(&path)? && !selected.contains_key(&path) {
                let target = wanted_target(role, path.clone(), target)?;
                selected.insert(path, target);
            }
        }
        Ok(())
    }

    /// The versions of everything that was taken. Called when all of it was.
    pub(super) fn versions(&self, newest_root: Signed) -> Option<Versions> {
        let timestamp = self.set.timestamp()?;
        let snapshot = self.set.snapshot()?;
        let targets = |role: Role| {
            let targets = self.set.targets_role(role.as_str())?;
            Some(Signed {
                version: targets.version,
                expires: targets.expires,
            })
        };
        Some(Versions {
            root: newest_root,
            timestamp: Signed {
                version: timestamp.version,
                expires: timestamp.expires,
            },
            snapshot: Signed {
                version: snapshot.version,
                expires: snapshot.expires,
            },
            targets: targets(Role::Targets)?,
            revocations: targets(Role::Revocations),
            exceptions: targets(Role::Exceptions),
        })
    }

    /// What the floor is raised to when all of it is taken over.
    pub(super) fn reached(&self) -> Result<Reached<'_>, SyncError> {
        Ok(Reached {
            root: self.set.root(),
            timestamp: self.set.timestamp().map_or(0, |timestamp| timestamp.version),
            snapshot: self.set.snapshot().map_or(0, |snapshot| snapshot.version),
            pins: pins(&self.set),
            signed_at: self.signed_at()?,
        })
    }
}

fn too_much(cause: String) -> SyncError {
    SyncError::Malformed {
        file: Role::Targets.document().into(),
        cause: cause.into(),
    }
}

fn snapshot_pin(set: &TrustedMetadataSet) -> Result<&MetaFile, SyncError> {
    let pin = set.timestamp().and_then(|timestamp| timestamp.snapshot_meta());
    pin.ok_or_else(|| SyncError::Malformed {
        file: Role::Timestamp.document().into(),
        cause: "it names no snapshot".into(),
    })
}

/// The versions that the snapshot names of the roles that are looked at.
fn pins(set: &TrustedMetadataSet) -> BTreeMap<Role, u64> {
    let version = |role: Role| {
        let pin = set.snapshot()?.meta.get(&role.document())?;
        Some((role, pin.version))
    };
    [Role::Targets, Role::Revocations, Role::Exceptions]
        .into_iter()
        .filter_map(version)
        .collect()
}

fn wanted(role: Role, pin: &MetaFile) -> Wanted {
    let named = pin.length.and_then(|length| usize::try_from(length).ok());
    Wanted {
        file: role.file(pin.version),
        limit: named.map_or(role.max_size(), |length| length.min(role.max_size())),
    }
}

fn wanted_target(role: Role, path: TargetPath, target: &TargetFile) -> Result<WantedTarget, SyncError> {
    let malformed = |cause: String| SyncError::Malformed {
        file: role.document().into(),
        cause: cause.into(),
    };
    let hex = target.hashes.get("sha256");
    let digest = hex.and_then(|hex| format!("sha256:{hex}").parse::<Digest>().ok());
    let digest = digest.ok_or_else(|| malformed(format!("it names no SHA-256 of {path}")))?;
    match usize::try_from(target.length) {
        Ok(length) if length <= MAX_FLEET_FILE_SIZE => Ok(WantedTarget { path, digest, length }),
        _ => Err(malformed(format!(
            "{path} has {} bytes, more than {MAX_FLEET_FILE_SIZE}",
            target.length
        ))),
    }
}

/// Bounds what parsing takes, before anything is known about who wrote it. Each value of a JSON document but the first
/// stands after one of these three.
fn check_values(file: &str, bytes: &[u8]) -> Result<(), SyncError> {
    let values = bytes.iter().filter(|byte| matches!(byte, b'[' | b'{' | b',')).count();
    if values > MAX_METADATA_VALUES {
        return Err(SyncError::Malformed {
            file: file.into(),
            cause: format!("it has more than {MAX_METADATA_VALUES} values").into(),
        });
    }
    Ok(())
}

/// What the verification of a file says, in this module's words.
fn refuse(file: &str, error: Error) -> SyncError {
    let cause = Untrusted::from(shown(&error));
    // Some name a role by its file, and say where its version was read.
    let role = |text: &str| Untrusted::from(text.split(['.', ' ']).next().unwrap_or(text));
    match error {
        Error::DuplicateSignature { role: of, .. } | Error::ThresholdNotMet { role: of, .. } => {
            SyncError::Threshold { role: role(&of), cause }
        }
        Error::Expired { role: of, expires } => SyncError::Expired {
            role: role(&of),
            expires,
        },
        Error::Rollback { role: of, trusted, new } => SyncError::Rollback {
            role: role(&of),
            trusted,
            offered: new,
        },
        Error::BadRootVersion { .. } | Error::IntegrityMismatch(_) => SyncError::Integrity {
            file: file.into(),
            cause,
        },
        _ => SyncError::Malformed {
            file: file.into(),
            cause,
        },
    }
}

/// An error with what is below it.
fn shown(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        text = format!("{text}: {cause}");
        source = cause.source();
    }
    text
}
