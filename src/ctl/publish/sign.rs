//! Signing: what has changed, by whoever may sign it, until there are enough.
//!
//! Each role's metadata waits in `staged/` until enough of its keys have signed. Then the largest set of what is complete
//! and fits together is published: so a policy that waits for its second signature holds up no denial, and a root that takes a
//! key away never stands beside metadata that only this key signed.

use std::collections::{BTreeMap, BTreeSet};
use std::num::NonZeroU64;
use std::path::PathBuf;

use serde_json::Value;
use tough::schema::{Root, Signed, Snapshot, Targets, Timestamp as TimestampMetadata};

use assay_verify::Timestamp;
use assay_verify::document::Diagnostic;

use super::Stop;
use super::check;
use super::files::{self, Tree};
use super::folder::Folder;
use super::keys::PrivateKey;
use super::metadata::{self, Holder};
use super::plan::{Plan, ROLES};
use super::published::{self, Kept, Published, Staged, TARGET_ROLES};
use super::repository::{Below, Repository};
use crate::sync::Role;
use crate::sync::layout::SIGNED_AT_FIELD;

/// What is asked for.
pub(super) struct Request {
    pub(super) keys: Vec<PrivateKey>,
    /// Only these roles, and anew even if nothing changed. Empty: whatever has changed.
    pub(super) only: BTreeSet<Role>,
    pub(super) now: Timestamp,
}

/// What came of it.
#[derive(Default)]
pub(super) struct Outcome {
    /// Which roles' metadata was signed, and by which keys.
    pub(super) signed: Vec<(Role, NonZeroU64, Vec<String>)>,
    /// What waits, and for what.
    pub(super) waiting: Vec<Waiting>,
    /// The roles with a new version that nodes see.
    pub(super) published: Vec<(Role, NonZeroU64, Timestamp)>,
    pub(super) written: Vec<PathBuf>,
    pub(super) warnings: Vec<Diagnostic>,
    pub(super) notes: Vec<String>,
}

/// A role's metadata that is not published.
pub(super) struct Waiting {
    pub(super) role: Role,
    pub(super) version: Option<NonZeroU64>,
    pub(super) why: String,
}

/// Signs and, where that completes something, publishes it.
pub(super) async fn sign(folder: &Folder, plan: &Plan, request: &Request) -> Result<Outcome, Stop> {
    let published = Published::read(folder)?;
    published.check_clock(request.now)?;
    let staged = Staged::read(folder, &published)?;
    if published.root().is_none() && staged.root.is_none() {
        return Err(Stop::usage(
            "there is no root yet: assayctl publish rotate makes the first".to_owned(),
        ));
    }
    if published.targets.contains_key(&Role::Exceptions) && !plan.roles.contains_key(&Role::Exceptions) {
        let message = "nodes refuse a repository that once had exceptions and has none: keep [role.exceptions], and remove \
                       files/exceptions/ instead";
        return Err(Stop::usage(message.to_owned()));
    }
    let mut signing = Signing {
        folder,
        plan,
        request,
        published,
        staged,
        contents: Tree::new(),
        outcome: Outcome::default(),
    };
    signing.check_keys()?;
    signing.sign_root().await?;
    if request.only.is_empty() || TARGET_ROLES.iter().any(|role| request.only.contains(role)) {
        signing.sign_targets().await?;
    }
    signing.publish().await?;
    signing.warn();
    Ok(signing.outcome)
}

struct Signing<'a> {
    folder: &'a Folder,
    plan: &'a Plan,
    request: &'a Request,
    published: Published,
    staged: Staged,
    /// The human files.
    contents: Tree,
    outcome: Outcome,
}

impl Signing<'_> {
    /// Whether a role is to be signed at all.
    fn asks(&self, role: Role) -> bool {
        self.request.only.is_empty() || self.request.only.contains(&role)
    }

    /// Whether a role is to be signed although nothing changed.
    fn insists(&self, role: Role) -> bool {
        self.request.only.contains(&role)
    }

    /// Who may sign for a role: as the plan has it, as what is staged has it, and as nodes know it.
    fn holders(&self, role: Role) -> Result<Vec<Holder>, Stop> {
        let mut holders = Vec::new();
        if matches!(role, Role::Revocations | Role::Exceptions) {
            holders.push(Holder::delegations(&metadata::delegations(self.plan)?));
            let served = self.published.targets.get(&Role::Targets);
            let served = served.and_then(|kept| kept.document.signed.delegations.as_ref());
            holders.extend(served.map(Holder::delegations));
        } else {
            holders.extend(self.staged.root.as_ref().map(|root| Holder::root(&root.signed)));
            holders.extend(self.published.root().map(|kept| Holder::root(&kept.document.signed)));
        }
        Ok(holders)
    }

    fn has(&self, role: Role, id: &str) -> Result<bool, Stop> {
        Ok(self.holders(role)?.iter().any(|holder| holder.has(role, id)))
    }

    fn can_sign(&self, role: Role) -> Result<bool, Stop> {
        for key in &self.request.keys {
            if self.has(role, &key.public.id)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// A key that signs nothing is a mistake of whoever gives it.
    fn check_keys(&self) -> Result<(), Stop> {
        for key in &self.request.keys {
            let mut roles = Vec::new();
            for role in ROLES {
                if self.has(role, &key.public.id)? {
                    roles.push(role);
                }
            }
            let named = format!("{} ({})", key.path.display(), self.plan.name_of(&key.public.id));
            let list = |roles: &[Role]| roles.iter().map(|role| role.as_str()).collect::<Vec<_>>().join(", ");
            if roles.is_empty() {
                let id = &key.public.id;
                let planned = self.plan.roles_of(id);
                let hint = if planned.is_empty() {
                    format!("its id is {id}")
                } else {
                    format!("publish.toml gives it to {}: assayctl publish rotate", list(&planned))
                };
                return Err(Stop::usage(format!("{named} is not a key of any role: {hint}")));
            }
            if !self.request.only.is_empty() && !roles.iter().any(|role| self.request.only.contains(role)) {
                let asked: Vec<Role> = self.request.only.iter().copied().collect();
                return Err(Stop::usage(format!(
                    "{named} is not a key of {}: it is one of {}",
                    list(&asked),
                    list(&roles)
                )));
            }
        }
        for role in &self.request.only {
            if !self.can_sign(*role)? {
                return Err(Stop::usage(format!("none of the given keys is a key of {role}")));
            }
        }
        Ok(())
    }

    /// A root is staged by `rotate`; here it gets signatures, of the keys before it and of its own.
    async fn sign_root(&mut self) -> Result<(), Stop> {
        let holders = self.holders(Role::Root)?;
        if !self.asks(Role::Root) {
            return Ok(());
        }
        if self.can_sign(Role::Root)?
            && let Some(root) = &self.staged.root
        {
            self.check_root(&root.signed)?;
            let served = self.published.root().map(|kept| &kept.document.signed);
            self.outcome.notes.extend(root_changes(self.plan, served, &root.signed));
        }
        if let Some(root) = &mut self.staged.root {
            let signers = metadata::sign(root, Role::Root, &holders, &self.request.keys).await?;
            let version = root.signed.version;
            self.note(Role::Root, version, signers);
        } else if self.insists(Role::Root) {
            return Err(Stop::usage(
                "no new root is staged: assayctl publish rotate makes one".to_owned(),
            ));
        }
        Ok(())
    }

    /// What is staged may have been exchanged: only the root that publish.toml asks for is signed.
    fn check_root(&self, staged: &Root) -> Result<(), Stop> {
        let wanted = metadata::root(self.plan, staged.version, staged.expires)?;
        let next = self.published.next_version(Role::Root)?;
        let latest = metadata::expiry(self.request.now, self.plan.lifetime(Role::Root));
        let same_header = staged.spec_version == wanted.spec_version
            && staged.consistent_snapshot == wanted.consistent_snapshot
            && staged._extra == wanted._extra;
        if same_header
            && metadata::same_keys(staged, &wanted)
            && self.may_wait(next, staged.version, latest, staged.expires)
        {
            return Ok(());
        }
        Err(Stop::usage(format!(
            "{} is not the root that publish.toml asks for: assayctl publish rotate prepares that one",
            published::file(self.folder, Role::Root).display()
        )))
    }

    fn note(&mut self, role: Role, version: NonZeroU64, signers: Vec<String>) {
        if !signers.is_empty() {
            self.outcome.signed.push((role, version, signers));
        }
    }

    /// Brings what is staged up to the files, validates what nodes would see then, and signs.
    async fn sign_targets(&mut self) -> Result<(), Stop> {
        let found = files::read(self.folder, self.plan)?;
        let mut staged = self.staged.clone();
        let mut touched = BTreeSet::new();
        for role in TARGET_ROLES
            .into_iter()
            .filter(|role| self.plan.roles.contains_key(role))
        {
            let can_sign = self.can_sign(role)? && self.asks(role);
            let expires = metadata::expiry(self.request.now, self.plan.lifetime(role));
            let version = self.published.next_version(role)?;
            let wanted = metadata::targets(self.plan, &found.tree, role, version, expires)?;
            if self.is_up_to_date(role, &wanted, &staged) {
                if staged.targets.contains_key(&role) && can_sign {
                    staged.targets.remove(&role);
                    let note = format!("what was staged of {role} is dropped: the files are as published");
                    self.outcome.notes.push(note);
                }
                continue;
            }
            let is_staged = staged.targets.get(&role).is_some_and(|waiting| {
                let waiting = &waiting.signed;
                let expected = Targets {
                    version: waiting.version,
                    expires: waiting.expires,
                    ..wanted.clone()
                };
                *waiting == expected && self.may_wait(version, waiting.version, wanted.expires, waiting.expires)
            });
            if !can_sign {
                if !is_staged {
                    let why = "files or keys have changed, and none of the given keys is one of its".to_owned();
                    self.outcome.waiting.push(Waiting {
                        role,
                        version: None,
                        why,
                    });
                }
                continue;
            }
            touched.insert(role);
            if !is_staged {
                let fresh = Signed {
                    signed: wanted,
                    signatures: Vec::new(),
                };
                if let Some(old) = staged.targets.insert(role, fresh)
                    && !old.signatures.is_empty()
                {
                    let note = format!("what was staged of {role} is made anew: its signatures were for other files");
                    self.outcome.notes.push(note);
                }
            }
        }
        // What belongs nowhere holds up a policy, and no denial.
        let concerns = |role: &Option<Role>| touched.contains(&role.unwrap_or(Role::Targets));
        let strays: Vec<_> = found.problems.into_iter().filter(|(role, _)| concerns(role)).collect();
        if !touched.is_empty() {
            let strays = strays.into_iter().map(|(_, problem)| problem).collect();
            self.validate(strays, &staged, &touched, &found.tree)?;
        }
        self.contents = found.tree;
        self.staged = staged;
        for role in touched {
            let holders = self.holders(role)?;
            if let Some(document) = self.staged.targets.get_mut(&role) {
                let signers = metadata::sign_targets(document, role, &holders, &self.request.keys).await?;
                let version = document.signed.version;
                self.note(role, version, signers);
            }
        }
        Ok(())
    }

    /// Whether the version and the expiry of what is staged are those that this run could have given it: who signs gives
    /// neither a version that leaves none above it nor a life that nobody planned.
    fn may_wait(&self, next: NonZeroU64, version: NonZeroU64, latest: Timestamp, expires: Timestamp) -> bool {
        version <= next && expires > self.request.now && expires <= latest
    }

    /// Whether nodes have what the files say, signed by those who are to sign it, for long enough.
    fn is_up_to_date(&self, role: Role, wanted: &Targets, staged: &Staged) -> bool {
        if self.insists(role) {
            return false;
        }
        let Some(kept) = self.published.targets.get(&role) else {
            return false;
        };
        let lifetime = self.plan.lifetime(role);
        metadata::same_content(&kept.document.signed, wanted)
            && !metadata::is_about_to_expire(kept.document.signed.expires, lifetime, self.request.now)
            && staged
                .judge(role, &self.published)
                .is_some_and(|judge| metadata::verifies(role, &kept.document, &judge))
    }

    /// Nothing is signed that a node would refuse: neither what is signed now, nor what it will stand beside.
    fn validate(
        &mut self,
        strays: Vec<Diagnostic>,
        staged: &Staged,
        touched: &BTreeSet<Role>,
        tree: &Tree,
    ) -> Result<(), Stop> {
        let mut seen = Tree::new();
        for role in TARGET_ROLES {
            let waiting = staged.targets.get(&role).map(|document| &document.signed);
            let served = self.published.targets.get(&role).map(|kept| &kept.document.signed);
            let shown = if touched.contains(&role) {
                waiting
            } else {
                served.or(waiting)
            };
            for (path, digest) in shown.map(published::paths).unwrap_or_default() {
                let content = match tree.get(&path).filter(|content| digest.matches(content)) {
                    Some(content) => Some(content.clone()),
                    None => published::content(self.folder, &path, &digest)?,
                };
                if let Some(content) = content {
                    seen.insert(path, content);
                }
            }
        }
        let checked = check::check(&seen, self.request.now);
        let is_good = checked.is_good() && strays.is_empty();
        let diagnostics = [strays, checked.diagnostics].concat();
        if !is_good {
            return Err(Stop::Refused(diagnostics));
        }
        self.outcome.warnings.extend(diagnostics);
        Ok(())
    }

    /// Publishes the largest set of what is complete that a node would take.
    async fn publish(&mut self) -> Result<(), Stop> {
        let staged: Vec<Role> = self.staged_roles();
        let mut chosen = None;
        let mut missing_online = false;
        // Whoever signs timestamps alone publishes nothing else.
        let renews_alone = self.request.only.iter().eq([&Role::Timestamp]);
        let publishable: &[Role] = if renews_alone { &[] } else { &staged };
        for included in subsets(publishable) {
            match self.assemble(&included).await? {
                Assembled::Nothing => {}
                Assembled::LacksSignature => missing_online = true,
                Assembled::Repository(repository) => {
                    chosen = Some((included, repository));
                    break;
                }
            }
        }
        let included = match chosen {
            None => {
                self.staged.write(self.folder, &self.contents)?;
                BTreeSet::new()
            }
            Some((included, repository)) => {
                self.put(&included, &repository)?;
                included
            }
        };
        for role in staged.iter().filter(|role| !included.contains(role)) {
            let waiting = self.why_waiting(*role, missing_online);
            self.outcome.waiting.push(waiting);
        }
        Ok(())
    }

    fn staged_roles(&self) -> Vec<Role> {
        let root = self.staged.root.as_ref().map(|_| Role::Root);
        root.into_iter().chain(self.staged.targets.keys().copied()).collect()
    }

    /// Puts a set together with what is published, and signs what holds it together.
    async fn assemble(&self, included: &BTreeSet<Role>) -> Result<Assembled, Stop> {
        let root = match (&self.staged.root, self.published.root()) {
            (Some(staged), _) if included.contains(&Role::Root) => {
                if !self.is_complete_root(staged) {
                    return Ok(Assembled::Nothing);
                }
                Kept::new(staged.clone())?
            }
            (_, Some(served)) => served.clone(),
            (_, None) => return Ok(Assembled::Nothing),
        };
        let judge = Holder::root(&root.document.signed);
        let mut targets = BTreeMap::new();
        for role in TARGET_ROLES {
            match self.staged.targets.get(&role).filter(|_| included.contains(&role)) {
                Some(staged) => {
                    targets.insert(role, Kept::new(staged.clone())?);
                }
                None => {
                    if let Some(served) = self.published.targets.get(&role) {
                        targets.insert(role, served.clone());
                    }
                }
            }
        }
        if targets.is_empty() {
            let is_new = included.contains(&Role::Root);
            return Ok(if is_new {
                Assembled::Repository(Box::new(Repository { root, below: None }))
            } else {
                Assembled::Nothing
            });
        }
        let Some(top) = targets.get(&Role::Targets) else {
            return Ok(Assembled::Nothing);
        };
        let delegations = top.document.signed.delegations.clone().unwrap_or_default();
        targets
            .retain(|role, _| *role == Role::Targets || delegations.roles.iter().any(|one| one.name == role.as_str()));
        let delegated = Holder::delegations(&delegations);
        for (role, kept) in &targets {
            let judge = if *role == Role::Targets { &judge } else { &delegated };
            if !metadata::verifies(*role, &kept.document, judge) {
                return Ok(Assembled::Nothing);
            }
        }
        // A delegation without metadata is one that nodes refuse.
        if delegations.roles.len() + 1 != targets.len() {
            return Ok(Assembled::Nothing);
        }
        self.tie(included, root, targets).await
    }

    /// Signs the snapshot and the timestamp, where those that are served do not do.
    async fn tie(
        &self,
        included: &BTreeSet<Role>,
        root: Kept<Root>,
        targets: BTreeMap<Role, Kept<Targets>>,
    ) -> Result<Assembled, Stop> {
        let now = self.request.now;
        let mut holders = vec![Holder::root(&root.document.signed)];
        // With signatures for both roots, a node that has not seen the new one yet is not lost.
        holders.extend(self.published.root().map(|kept| Holder::root(&kept.document.signed)));

        let described = |(role, kept): (&Role, &Kept<Targets>)| {
            let described = metadata::describe(kept.document.signed.version, &kept.bytes);
            (format!("{role}.json"), described)
        };
        let meta = targets.iter().map(described).collect();
        let served = self.published.snapshot.as_ref().filter(|kept| {
            let lifetime = self.plan.lifetime(Role::Snapshot);
            let renew = self.can_sign(Role::Snapshot).unwrap_or(false)
                && self.asks(Role::Snapshot)
                && metadata::is_about_to_expire(kept.document.signed.expires, lifetime, now);
            kept.document.signed.meta == meta
                && !self.insists(Role::Snapshot)
                && !renew
                && root.document.signed.verify_role(&kept.document).is_ok()
        });
        let snapshot = match served {
            Some(served) => served.clone(),
            None => {
                let expires = metadata::expiry(now, self.plan.lifetime(Role::Snapshot));
                let version = self.published.next_version(Role::Snapshot)?;
                let mut snapshot = Snapshot::new(metadata::SPEC_VERSION.to_owned(), version, expires);
                snapshot.meta = meta;
                let mut document = Signed {
                    signed: snapshot,
                    signatures: Vec::new(),
                };
                metadata::sign(&mut document, Role::Snapshot, &holders, &self.request.keys).await?;
                if root.document.signed.verify_role(&document).is_err() {
                    return Ok(Assembled::LacksSignature);
                }
                Kept::new(document)?
            }
        };
        let is_served = served.is_some();
        let served = self.published.timestamp.as_ref().filter(|kept| {
            let lifetime = self.plan.lifetime(Role::Timestamp);
            let renew = self.can_sign(Role::Timestamp).unwrap_or(false)
                && self.asks(Role::Timestamp)
                && metadata::is_about_to_expire(kept.document.signed.expires, lifetime, now);
            is_served
                && !self.insists(Role::Timestamp)
                && !renew
                && root.document.signed.verify_role(&kept.document).is_ok()
        });
        let timestamp = match served {
            Some(_) if included.is_empty() => return Ok(Assembled::Nothing),
            Some(served) => served.clone(),
            None => {
                let document = self.timestamp(&snapshot, &holders).await?;
                if root.document.signed.verify_role(&document).is_err() {
                    return Ok(Assembled::LacksSignature);
                }
                Kept::new(document)?
            }
        };
        let below = Below {
            timestamp,
            snapshot,
            targets,
        };
        Ok(Assembled::Repository(Box::new(Repository {
            root,
            below: Some(below),
        })))
    }

    async fn timestamp(
        &self,
        snapshot: &Kept<Snapshot>,
        holders: &[Holder],
    ) -> Result<Signed<TimestampMetadata>, Stop> {
        let now = self.request.now;
        let expires = metadata::expiry(now, self.plan.lifetime(Role::Timestamp));
        let version = self.published.next_version(Role::Timestamp)?;
        let mut timestamp = TimestampMetadata::new(metadata::SPEC_VERSION.to_owned(), version, expires);
        let described = metadata::describe(snapshot.document.signed.version, &snapshot.bytes);
        timestamp.meta.insert("snapshot.json".to_owned(), described);
        let signed_at = Value::String(metadata::second(now).to_string());
        timestamp._extra.insert(SIGNED_AT_FIELD.to_owned(), signed_at);
        let mut document = Signed {
            signed: timestamp,
            signatures: Vec::new(),
        };
        metadata::sign(&mut document, Role::Timestamp, holders, &self.request.keys).await?;
        Ok(document)
    }

    fn is_complete_root(&self, staged: &Signed<Root>) -> bool {
        let by_itself = staged.signed.verify_role(staged).is_ok();
        let served = self.published.root();
        by_itself && served.is_none_or(|kept| kept.document.signed.verify_role(staged).is_ok())
    }

    /// Proves a repository and puts it in place. What is staged and still waits is kept.
    fn put(&mut self, included: &BTreeSet<Role>, repository: &Repository) -> Result<(), Stop> {
        repository.prove(&self.published, self.request.now)?;
        let mut rest = self.staged.clone();
        if included.contains(&Role::Root) {
            rest.root = None;
        }
        rest.targets.retain(|role, _| !included.contains(role));
        // Before anything is visible: whoever signed has not signed in vain if this process dies.
        self.staged.write(self.folder, &self.contents)?;
        self.outcome.written = repository.write(self.folder, &self.contents)?;
        rest.write(self.folder, &self.contents)?;
        let before = std::mem::replace(&mut self.published, Published::read(self.folder)?);
        for role in ROLES {
            let (now, then) = (self.published.version(role), before.version(role));
            if let (Some(version), Some(expires)) = (now, self.published.expires(role))
                && now != then
            {
                self.outcome.published.push((role, version, expires));
            }
        }
        Ok(())
    }

    fn why_waiting(&self, role: Role, missing_online: bool) -> Waiting {
        let (reached, needed, version) = match (role, &self.staged.root) {
            (Role::Root, Some(root)) => {
                let own = metadata::root_reached(&root.signed, root);
                let needed = Holder::root(&root.signed).role(role).map_or(0, |(_, needed)| needed);
                let served = self.published.root().map(|kept| &kept.document.signed);
                let before = served.map(|served| {
                    let needed = Holder::root(served).role(role).map_or(0, |(_, needed)| needed);
                    (metadata::root_reached(served, root), needed)
                });
                match before {
                    Some((reached, needed)) if reached < needed => (reached, needed, Some(root.signed.version)),
                    _ => (own, needed, Some(root.signed.version)),
                }
            }
            _ => {
                let judge = self.staged.judge(role, &self.published);
                let document = self.staged.targets.get(&role);
                let reached = match (&judge, document) {
                    (Some(judge), Some(document)) => metadata::reached(role, document, judge),
                    _ => 0,
                };
                let needed = judge.and_then(|judge| judge.role(role)).map_or(0, |(_, needed)| needed);
                (reached, needed, document.map(|document| document.signed.version))
            }
        };
        let why = if reached < needed {
            format!("{reached} of {needed} signatures")
        } else if missing_online {
            "complete; the snapshot's and the timestamp's keys publish it".to_owned()
        } else {
            "complete; it waits for what belongs to it".to_owned()
        };
        Waiting { role, version, why }
    }

    /// What will expire, and what publish.toml asks for that the root does not have.
    fn warn(&mut self) {
        let now = self.request.now;
        for role in ROLES {
            let Some(expires) = self.published.expires(role) else {
                continue;
            };
            if metadata::is_about_to_expire(expires, self.plan.lifetime(role), now) {
                let word = if expires <= now { "expired" } else { "expires" };
                let how = match role {
                    Role::Root => "assayctl publish rotate".to_owned(),
                    _ => format!("sign it anew with --role {role}"),
                };
                self.outcome.notes.push(format!("{role} {word} at {expires}: {how}"));
            }
        }
        let newest = self.staged.root.as_ref().map(|root| &root.signed);
        let newest = newest.or_else(|| self.published.root().map(|kept| &kept.document.signed));
        if let Some(newest) = newest
            && let Ok(asked) = metadata::root(self.plan, newest.version, newest.expires)
            && !metadata::same_keys(newest, &asked)
        {
            let note = format!(
                "publish.toml asks for other keys than root {} has: assayctl publish rotate",
                newest.version
            );
            self.outcome.notes.push(note);
        }
    }
}

enum Assembled {
    /// Not complete, not consistent, or what is served already.
    Nothing,
    /// Snapshot or timestamp cannot be signed with the given keys.
    LacksSignature,
    Repository(Box<Repository>),
}

/// All subsets, the largest first; of two of one size, the one with the roles that were staged for longer.
fn subsets(roles: &[Role]) -> Vec<BTreeSet<Role>> {
    let mut subsets = vec![BTreeSet::new()];
    for role in roles {
        let with: Vec<BTreeSet<Role>> = subsets
            .iter()
            .map(|subset| subset.iter().copied().chain([*role]).collect())
            .collect();
        subsets.extend(with);
    }
    subsets.sort_by_key(|subset| std::cmp::Reverse(subset.len()));
    subsets
}

/// Stages the root that publish.toml asks for.
pub(super) fn rotate(folder: &Folder, plan: &Plan, now: Timestamp) -> Result<Signed<Root>, Stop> {
    let published = Published::read(folder)?;
    published.check_clock(now)?;
    let mut staged = Staged::read(folder, &published)?;
    let expires = metadata::expiry(now, plan.lifetime(Role::Root));
    let root = metadata::root(plan, published.next_version(Role::Root)?, expires)?;
    let signed = Signed {
        signed: root,
        signatures: Vec::new(),
    };
    let is_same = |waiting: &Signed<Root>| {
        let Root { version, expires, .. } = waiting.signed;
        let planned = version == signed.signed.version && expires > now && expires <= signed.signed.expires;
        planned && metadata::same_keys(&waiting.signed, &signed.signed)
    };
    if let Some(waiting) = staged.root.take_if(|waiting| is_same(waiting)) {
        return Ok(waiting);
    }
    staged.root = Some(signed.clone());
    staged.write(folder, &Tree::new())?;
    Ok(signed)
}

/// What a new root changes, for those who sign it.
pub(super) fn root_changes(plan: &Plan, old: Option<&Root>, new: &Root) -> Vec<String> {
    let (before, after) = (old.map(Holder::root), Holder::root(new));
    let mut changes = Vec::new();
    for role in [Role::Root, Role::Targets, Role::Snapshot, Role::Timestamp] {
        let (old_ids, old_threshold) = before.as_ref().and_then(|holder| holder.role(role)).unwrap_or_default();
        let (ids, threshold) = after.role(role).unwrap_or_default();
        let names = |of: &[String], not: &[String]| {
            let only = of.iter().filter(|id| !not.contains(id));
            only.map(|id| plan.name_of(id)).collect::<Vec<_>>().join(", ")
        };
        let (added, removed) = (names(&ids, &old_ids), names(&old_ids, &ids));
        let mut change = Vec::new();
        if !added.is_empty() {
            change.push(format!("adds {added}"));
        }
        if !removed.is_empty() {
            change.push(format!("removes {removed}"));
        }
        if threshold != old_threshold {
            change.push(format!("needs {threshold} of {}", ids.len()));
        }
        if !change.is_empty() {
            changes.push(format!("root {}: {role} {}", new.version, change.join(", ")));
        }
    }
    if changes.is_empty() {
        changes.push(format!(
            "root {}: nothing changes but its expiry, {}",
            new.version, new.expires
        ));
    }
    changes
}
