//! Metadata of a repository, as tough reads and signs it.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZeroU64;
use std::time::Duration;

use aws_lc_rs::rand::SystemRandom;
use jiff::{SignedDuration, Unit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tough::TargetName;
use tough::editor::signed::SignedRole;
use tough::schema::decoded::{Decoded, Hex};
use tough::schema::{
    DelegatedRole, DelegatedTargets, Delegations, Hashes, KeyHolder, Metafile, PathPattern, PathSet, Role as ToughRole,
    RoleKeys, RoleType, Root, Signature, Signed, Target, Targets,
};

use assay_verify::Timestamp;
use assay_verify::digest::{Digest, hex};
use assay_verify::limits::{
    MAX_ROOT_METADATA_SIZE, MAX_SNAPSHOT_METADATA_SIZE, MAX_TARGETS_METADATA_SIZE, MAX_TIMESTAMP_METADATA_SIZE,
};

use super::Stop;
use super::files::{self, Tree};
use super::keys::{BadKey, PrivateKey};
use super::plan::Plan;
use crate::sync::Role;
use crate::sync::layout::{EXCEPTIONS_FOLDER, REVOCATION_FOLDER};

/// The version of TUF's specification that tough keeps to.
pub(super) const SPEC_VERSION: &str = "1.0.0";

/// The bytes that nodes take of a role's metadata.
pub(super) const fn max_size(role: Role) -> usize {
    match role {
        Role::Root => MAX_ROOT_METADATA_SIZE,
        Role::Timestamp => MAX_TIMESTAMP_METADATA_SIZE,
        Role::Snapshot => MAX_SNAPSHOT_METADATA_SIZE,
        Role::Targets | Role::Revocations | Role::Exceptions => MAX_TARGETS_METADATA_SIZE,
    }
}

/// The file of a role's metadata in a repository.
pub(super) fn file_of(role: Role, version: NonZeroU64) -> String {
    match role {
        Role::Timestamp => "timestamp.json".to_owned(),
        _ => format!("{version}.{role}.json"),
    }
}

pub(super) fn decode<T: DeserializeOwned>(bytes: &[u8]) -> Result<Signed<T>, serde_json::Error> {
    serde_json::from_slice(bytes)
}

/// The same metadata always gives the same bytes: by way of a value, whose keys are sorted.
pub(super) fn encode<T: Serialize>(document: &Signed<T>) -> Result<Vec<u8>, Stop> {
    let encoded = serde_json::to_value(document).and_then(|value| serde_json::to_vec(&value));
    encoded.map_err(|error| Stop::usage(format!("metadata cannot be written: {error}")))
}

/// What a snapshot or a timestamp says of a file.
pub(super) fn describe(version: NonZeroU64, bytes: &[u8]) -> Metafile {
    Metafile {
        length: Some(bytes.len() as u64),
        hashes: Some(hashes(&Digest::sha256(bytes))),
        version,
        _extra: HashMap::new(),
    }
}

fn hashes(digest: &Digest) -> Hashes {
    Hashes {
        sha256: digest.hex().parse().unwrap_or_else(|_| Vec::new().into()),
        _extra: HashMap::new(),
    }
}

/// The digest that metadata states of a target.
pub(super) fn digest_of(target: &Target) -> Option<Digest> {
    format!("sha256:{}", hex(&target.hashes.sha256)).parse().ok()
}

/// The moment at which something that is signed now expires, in whole seconds.
pub(super) fn expiry(now: Timestamp, lifetime: Duration) -> Timestamp {
    let lifetime = SignedDuration::try_from(lifetime).unwrap_or(SignedDuration::ZERO);
    second(now).checked_add(lifetime).unwrap_or(Timestamp::MAX)
}

/// Whole seconds: TUF's times have no fractions.
pub(super) fn second(at: Timestamp) -> Timestamp {
    at.round(
        jiff::TimestampRound::new()
            .smallest(Unit::Second)
            .mode(jiff::RoundMode::Floor),
    )
    .unwrap_or(at)
}

/// Whether metadata is in the last third of its life: then it is signed anew when its keys are at hand.
pub(super) fn is_about_to_expire(expires: Timestamp, lifetime: Duration, now: Timestamp) -> bool {
    let third = SignedDuration::try_from(lifetime / 3).unwrap_or(SignedDuration::ZERO);
    expires.duration_since(now) < third
}

/// The root that a plan asks for.
pub(super) fn root(plan: &Plan, version: NonZeroU64, expires: Timestamp) -> Result<Root, Stop> {
    let mut root = Root {
        spec_version: SPEC_VERSION.to_owned(),
        consistent_snapshot: true,
        version,
        expires,
        keys: HashMap::new(),
        roles: HashMap::new(),
        _extra: HashMap::new(),
    };
    for (role, kind) in [
        (Role::Root, RoleType::Root),
        (Role::Targets, RoleType::Targets),
        (Role::Snapshot, RoleType::Snapshot),
        (Role::Timestamp, RoleType::Timestamp),
    ] {
        let mut keyids = Vec::new();
        for key in plan.keys_of(role) {
            let id = key.tuf_id().map_err(unusable)?;
            root.keys.insert(id.clone(), key.key.clone());
            keyids.push(id);
        }
        root.roles.insert(
            kind,
            RoleKeys {
                keyids,
                threshold: threshold(plan, role),
                _extra: HashMap::new(),
            },
        );
    }
    Ok(root)
}

fn threshold(plan: &Plan, role: Role) -> NonZeroU64 {
    plan.roles.get(&role).map_or(NonZeroU64::MIN, |role| role.threshold)
}

/// Whether two roots name the same keys, roles and thresholds.
pub(super) fn same_keys(one: &Root, other: &Root) -> bool {
    let ids = |keys: &RoleKeys| keys.keyids.iter().cloned().collect::<BTreeSet<_>>();
    one.keys == other.keys
        && one.roles.len() == other.roles.len()
        && one.roles.iter().all(|(role, keys)| {
            let others = other.roles.get(role);
            others.is_some_and(|others| others.threshold == keys.threshold && ids(others) == ids(keys))
        })
}

/// Whom the targets role lets sign for it.
pub(super) fn delegations(plan: &Plan) -> Result<Delegations, Stop> {
    let mut delegations = Delegations::new();
    for (role, folder) in [
        (Role::Revocations, REVOCATION_FOLDER),
        (Role::Exceptions, EXCEPTIONS_FOLDER),
    ] {
        if !plan.roles.contains_key(&role) {
            continue;
        }
        let mut keyids = Vec::new();
        for key in plan.keys_of(role) {
            let id = key.tuf_id().map_err(unusable)?;
            delegations.keys.insert(id.clone(), key.key.clone());
            keyids.push(id);
        }
        let pattern = PathPattern::new(format!("{folder}/*"));
        delegations.roles.push(DelegatedRole {
            name: role.as_str().to_owned(),
            keyids,
            threshold: threshold(plan, role),
            paths: PathSet::Paths(vec![pattern.map_err(|error| Stop::usage(error.to_string()))?]),
            terminating: true,
            targets: None,
        });
    }
    Ok(delegations)
}

fn unusable(error: BadKey) -> Stop {
    Stop::usage(error.to_string())
}

/// What a role signs of these files.
pub(super) fn targets(
    plan: &Plan,
    tree: &Tree,
    role: Role,
    version: NonZeroU64,
    expires: Timestamp,
) -> Result<Targets, Stop> {
    let mut targets = Targets::new(SPEC_VERSION.to_owned(), version, expires);
    targets.delegations = match role {
        Role::Targets => Some(delegations(plan)?),
        _ => None,
    };
    for (path, content) in tree.iter().filter(|(path, _)| files::role_of(path) == Some(role)) {
        let name = TargetName::new(path.as_str()).map_err(|error| Stop::usage(error.to_string()))?;
        let target = Target {
            length: content.len() as u64,
            hashes: hashes(&Digest::sha256(content)),
            custom: HashMap::new(),
            _extra: HashMap::new(),
        };
        targets.targets.insert(name, target);
    }
    Ok(targets)
}

/// Whether two documents say the same of the same files and delegate alike, whatever their versions.
pub(super) fn same_content(one: &Targets, other: &Targets) -> bool {
    one.targets == other.targets && one.delegations == other.delegations
}

/// Who may sign something, with the threshold that counts.
#[derive(Clone, Debug)]
pub(super) struct Holder(KeyHolder);

impl Holder {
    pub(super) fn root(root: &Root) -> Self {
        Self(KeyHolder::Root(root.clone()))
    }

    pub(super) fn delegations(delegations: &Delegations) -> Self {
        Self(KeyHolder::Delegations(delegations.clone()))
    }

    /// The key ids that a role has here, and its threshold.
    pub(super) fn role(&self, role: Role) -> Option<(Vec<String>, u64)> {
        let ids = |keyids: &[Decoded<Hex>]| keyids.iter().map(|id| hex(id)).collect();
        match &self.0 {
            KeyHolder::Root(root) => {
                let keys = root.roles.get(&kind(role)?)?;
                Some((ids(&keys.keyids), keys.threshold.get()))
            }
            KeyHolder::Delegations(delegations) => {
                let named = delegations.roles.iter().find(|named| named.name == role.as_str())?;
                Some((ids(&named.keyids), named.threshold.get()))
            }
        }
    }

    pub(super) fn has(&self, role: Role, id: &str) -> bool {
        self.role(role)
            .is_some_and(|(ids, _)| ids.iter().any(|known| known == id))
    }

    /// The same, where so many signatures suffice.
    fn with_threshold(&self, threshold: NonZeroU64) -> Self {
        let mut holder = self.clone();
        match &mut holder.0 {
            KeyHolder::Root(root) => root.roles.values_mut().for_each(|keys| keys.threshold = threshold),
            KeyHolder::Delegations(all) => all.roles.iter_mut().for_each(|role| role.threshold = threshold),
        }
        holder
    }

    fn verifies_targets(&self, role: Role, document: &Signed<Targets>) -> bool {
        match &self.0 {
            KeyHolder::Root(root) => role == Role::Targets && root.verify_role(document).is_ok(),
            KeyHolder::Delegations(all) => all.verify_role(document, role.as_str()).is_ok(),
        }
    }
}

const fn kind(role: Role) -> Option<RoleType> {
    match role {
        Role::Root => Some(RoleType::Root),
        Role::Targets => Some(RoleType::Targets),
        Role::Snapshot => Some(RoleType::Snapshot),
        Role::Timestamp => Some(RoleType::Timestamp),
        Role::Revocations | Role::Exceptions => None,
    }
}

/// Signs with those of the keys that a role has. tough signs nothing below a role's threshold, and a ceremony has one holder
/// after the other: so it is told that one suffices, and [`verifies`] tells whether there are enough.
async fn signatures<T: ToughRole + Serialize>(
    document: T,
    role: Role,
    holder: &Holder,
    keys: &[PrivateKey],
) -> Result<Vec<Signature>, Stop> {
    let sources: Vec<_> = keys
        .iter()
        .filter(|key| holder.has(role, &key.public.id))
        .map(PrivateKey::source)
        .collect();
    if sources.is_empty() {
        return Ok(Vec::new());
    }
    let holder = holder.with_threshold(NonZeroU64::MIN);
    let signed = SignedRole::new(document, &holder.0, &sources, &SystemRandom::new()).await;
    let signed = signed.map_err(|error| Stop::usage(format!("{role} cannot be signed: {error}")))?;
    Ok(signed.signed().signatures.clone())
}

fn add(known: &mut Vec<Signature>, new: Vec<Signature>) -> Vec<String> {
    let mut added = Vec::new();
    for signature in new {
        if known.iter().all(|one| one.keyid != signature.keyid) {
            added.push(hex(&signature.keyid));
            known.push(signature);
        }
    }
    added
}

/// Adds the signatures that these keys can give, for whichever holder. Returns the ids of the keys that signed.
pub(super) async fn sign<T: ToughRole + Serialize + Clone>(
    document: &mut Signed<T>,
    role: Role,
    holders: &[Holder],
    keys: &[PrivateKey],
) -> Result<Vec<String>, Stop> {
    let mut added = Vec::new();
    for holder in holders {
        let new = signatures(document.signed.clone(), role, holder, keys).await?;
        added.extend(add(&mut document.signatures, new));
    }
    Ok(added)
}

/// As [`sign`]. tough names delegated roles by a type of their own, which it writes alike.
pub(super) async fn sign_targets(
    document: &mut Signed<Targets>,
    role: Role,
    holders: &[Holder],
    keys: &[PrivateKey],
) -> Result<Vec<String>, Stop> {
    let mut added = Vec::new();
    for holder in holders {
        let named = DelegatedTargets {
            name: role.as_str().to_owned(),
            targets: document.signed.clone(),
        };
        let new = signatures(named, role, holder, keys).await?;
        added.extend(add(&mut document.signatures, new));
    }
    Ok(added)
}

/// Whether enough keys of a role signed its metadata.
pub(super) fn verifies(role: Role, document: &Signed<Targets>, holder: &Holder) -> bool {
    holder.verifies_targets(role, document)
}

/// How many keys of a role signed its metadata.
pub(super) fn reached(role: Role, document: &Signed<Targets>, holder: &Holder) -> u64 {
    count(|threshold| holder.with_threshold(threshold).verifies_targets(role, document))
}

/// How many keys of `judge` signed a root.
pub(super) fn root_reached(judge: &Root, root: &Signed<Root>) -> u64 {
    count(|threshold| match Holder::root(judge).with_threshold(threshold).0 {
        KeyHolder::Root(judge) => judge.verify_role(root).is_ok(),
        KeyHolder::Delegations(_) => false,
    })
}

/// The highest threshold that is reached.
fn count(verifies: impl Fn(NonZeroU64) -> bool) -> u64 {
    let thresholds = (1..=u64::from(u8::MAX)).filter_map(NonZeroU64::new);
    thresholds
        .take_while(|threshold| verifies(*threshold))
        .last()
        .map_or(0, NonZeroU64::get)
}
