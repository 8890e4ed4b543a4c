//! A node's client of the policy repository: what it has, and how it gets what is newer.
//!
//! A refresh verifies; whoever asked for it then validates what the files say, and commits or refuses. So nothing is stored
//! before all of it was accepted, and nothing counts before it is stored. The one exception are roots, which are stored as
//! soon as they are verified: they only ever lead forward, whatever becomes of the rest, and a node that forgot one could be
//! shown signatures by the keys that it took away.
//!
//! What is stored names the root that it was verified with. When a newer root takes keys away, the generation that they
//! signed stays in use until the repository has a new one: who can withhold that can make a node stale, and nothing else.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use futures_util::{StreamExt as _, stream};
use tokio::sync::Semaphore;

use assay_verify::Timestamp;
use assay_verify::digest::Digest;
use assay_verify::limits::{MAX_CONCURRENT_TARGETS, MAX_FLEET_FILE_SIZE, MAX_ROOT_CHAIN_SIZE, MAX_ROOT_ROTATIONS};
use assay_verify::untrusted::Untrusted;

use super::error::{Operation, StorageError, SyncError};
use super::floor::Floor;
use super::generation::{Generation, Metadata};
use super::layout::TARGETS_FOLDER;
use super::names::Channel;
use super::role::Role;
use super::store::{Store, Stored};
use super::time::{check_clock, trusted_time};
use super::transport::{Session, Transport};
use super::workflow::{BEFORE_EXPIRY, Roots, WantedTarget, Workflow};

/// What a node knows of its policy repository. One poller has it.
#[derive(Debug)]
pub struct Client {
    channel: Channel,
    store: Store,
    pinned: Pinned,
    /// The roots after the pinned one, in order.
    later: Vec<Arc<[u8]>>,
    /// The newest of them.
    roots: Roots,
    floor: Floor,
    current: Option<Current>,
    damage: Vec<SyncError>,
    degraded: Option<StorageError>,
    /// Whether the roots or the floor are not on the disk as they are here.
    unsaved: bool,
    /// Whether the generation on the disk may be one that could not be taken over: it is in place, and was not flushed.
    unsettled: bool,
    leftovers: Leftovers,
}

#[derive(Debug)]
struct Pinned {
    bytes: Arc<[u8]>,
    version: u64,
}

#[derive(Debug)]
struct Current {
    generation: Arc<Generation>,
    /// Whether the newest root verifies it.
    holds: bool,
}

/// What refreshes have read that came to nothing: it is verified again when it is used again, and saves asking for it.
#[derive(Debug, Default)]
struct Leftovers {
    metadata: BTreeMap<Role, Arc<[u8]>>,
    contents: BTreeMap<Digest, Arc<[u8]>>,
}

/// What a refresh brought.
#[derive(Debug)]
pub enum Refreshed {
    /// The repository has what the node has, and says so anew.
    Unchanged,
    /// Something newer. It counts for nothing before it is [committed](Client::commit).
    Candidate(Box<Candidate>),
}

/// A new generation that is verified, and whose files nobody has looked at yet.
#[derive(Debug)]
pub struct Candidate {
    generation: Generation,
    workflow: Workflow,
}

impl Candidate {
    /// What would become the generation.
    pub fn generation(&self) -> &Generation {
        &self.generation
    }
}

impl Client {
    /// Takes up what is stored, if all of it verifies from the pinned root; what has expired does, because staleness is judged
    /// elsewhere. What does not is as good as lost, and [`Client::damage`] says why. This blocks on files.
    ///
    /// # Errors
    ///
    /// When the pinned root cannot be used.
    pub fn open(root: &[u8], channel: Channel, store: Store) -> Result<Self, SyncError> {
        let roots = Roots::pinned(root)?;
        let mut client = Self {
            channel,
            store,
            pinned: Pinned {
                bytes: root.into(),
                version: roots.version(),
            },
            later: Vec::new(),
            floor: Floor::new(root, roots.version()),
            roots,
            current: None,
            damage: Vec::new(),
            degraded: None,
            unsaved: false,
            unsettled: false,
            leftovers: Leftovers::default(),
        };
        client.restore();
        Ok(client)
    }

    /// The channel that is followed.
    pub fn channel(&self) -> &Channel {
        &self.channel
    }

    /// The generation in use: the last that was committed. None if there has been none, or it is lost.
    pub fn current(&self) -> Option<&Arc<Generation>> {
        self.current.as_ref().map(|current| &current.generation)
    }

    /// What was stored and could not be used when the client was opened, until the next generation is stored.
    pub fn damage(&self) -> &[SyncError] {
        &self.damage
    }

    /// Why the state on disk is not as it is in memory, if it is not: the disk is full, or may only be read. What is in memory
    /// counts, and each refresh tries to write it.
    pub fn degraded(&self) -> Option<&StorageError> {
        self.degraded.as_ref()
    }

    /// The version of the newest root.
    pub fn root_version(&self) -> u64 {
        self.roots.version()
    }

    /// The highest trusted time that is known here. Who knows of other signed statements takes the later.
    pub fn trusted_time(&self) -> Timestamp {
        trusted_time(self.floor.signed_at())
    }

    /// Reads the repository, and verifies what is newer. Nothing of it is stored but new roots; with one, also
    /// [`Client::current`] is another, which says until when that counts. `now` is the local clock's.
    ///
    /// # Errors
    ///
    /// When the repository cannot be read, or something in it does not verify. The generation in use stays.
    pub async fn refresh(&mut self, transport: &Transport, now: Timestamp) -> Result<Refreshed, SyncError> {
        let session = transport.session();
        let refreshed = self.refresh_in(&session, now).await;
        if refreshed.is_err() {
            transport.forget();
        }
        refreshed
    }

    /// Stores a candidate, and makes it the generation in use.
    ///
    /// # Errors
    ///
    /// When it cannot be stored: the generation in use stays, also over a restart. A candidate of a refresh before the last
    /// one may be too old by now.
    pub async fn commit(&mut self, candidate: Candidate) -> Result<Arc<Generation>, SyncError> {
        let Candidate { generation, workflow } = candidate;
        let reached = workflow.reached()?;
        self.floor.check_root(reached.root.version)?;
        self.floor.check_timestamp(reached.timestamp, reached.snapshot)?;
        self.floor.check_pins(&reached.pins)?;
        let mut floor = self.floor.clone();
        floor.raise(&reached);

        let generation = Arc::new(generation);
        let stored = self.stored(Some(&generation.metadata));
        let (store, saved, current) = (self.store.clone(), Arc::clone(&generation), self.current().cloned());
        let unsettled = self.unsettled;
        let save = blocking(self.store.clone(), move || {
            let current = current.as_deref().map(names).unwrap_or_default();
            let make_room = |keep: &BTreeSet<&str>| {
                if !unsettled {
                    // What is not removed now is removed later.
                    let _ = store.collect_garbage(keep);
                }
            };
            // What those left behind that died before it counted.
            make_room(&current.union(&names(&saved)).copied().collect());
            let outcome = store.save_contents(&saved).and_then(|()| store.save(&stored));
            if outcome.as_ref().is_err_and(|error| !may_be_in_place(error)) {
                // A disk that is full needs the room.
                make_room(&current);
            }
            outcome
        });
        if let Err(error) = save.await {
            self.unsettled |= may_be_in_place(&error);
            self.keep(&generation);
            // It may be in place and not be on the disk: the next refresh writes what is in memory.
            self.saved(Err(error.clone()));
            return Err(error.into());
        }
        // Whatever fails from here on, the next start reads the new generation.
        self.floor = floor;
        self.current = Some(Current {
            generation: Arc::clone(&generation),
            holds: true,
        });
        self.leftovers = Leftovers::default();
        self.damage.clear();
        let (store, floor, kept) = (self.store.clone(), self.floor.clone(), Arc::clone(&generation));
        let save = blocking(self.store.clone(), move || {
            store.save_floor(&floor)?;
            // What is not removed now is removed after the next.
            let _ = store.collect_garbage(&names(&kept));
            Ok(())
        });
        self.saved(save.await);
        Ok(generation)
    }

    /// Gives up a candidate whose files are no good, or not allowed. Nothing of it is stored, and the repository may offer
    /// the same versions again, with other files or the same: the next refresh brings them anew, without reading them again.
    pub fn refuse(&mut self, candidate: Candidate, reason: impl Into<Untrusted>) -> SyncError {
        self.keep(&candidate.generation);
        SyncError::Refused { reason: reason.into() }
    }

    fn keep(&mut self, generation: &Generation) {
        let Metadata {
            snapshot,
            targets,
            delegated,
            ..
        } = &generation.metadata;
        let mut metadata = delegated.clone();
        metadata.insert(Role::Snapshot, Arc::clone(snapshot));
        metadata.insert(Role::Targets, Arc::clone(targets));
        self.leftovers = Leftovers {
            metadata,
            contents: contents(generation),
        };
    }

    fn stored(&self, metadata: Option<&Metadata>) -> Stored {
        Stored {
            pinned: self.pinned.version,
            roots: self.later.clone(),
            metadata: metadata.cloned(),
        }
    }

    fn saved(&mut self, outcome: Result<(), StorageError>) {
        self.unsaved = outcome.is_err();
        self.unsettled &= self.unsaved;
        self.degraded = outcome.err();
    }
}

/// Taking up what is stored.
impl Client {
    fn restore(&mut self) {
        let loaded = match self.store.load_floor() {
            Ok(loaded) => loaded.filter(|floor| floor.is_of(&self.pinned.bytes)),
            Err(error) => {
                self.damage.push(error);
                None
            }
        };
        if let Some(floor) = &loaded {
            self.floor = floor.clone();
        }
        match self.restore_generation() {
            Ok(()) => {}
            Err(error) => self.damage.push(error),
        }
        self.floor.follow(self.roots.newest());
        if loaded.as_ref() == Some(&self.floor) || (loaded.is_none() && self.current.is_none()) {
            return;
        }
        // Raised: the last process died between the two files.
        let outcome = self.store.save_floor(&self.floor);
        self.saved(outcome);
    }

    fn restore_generation(&mut self) -> Result<(), SyncError> {
        const FILE: &str = "generation";
        let unusable = |cause: &str| SyncError::Malformed {
            file: FILE.into(),
            cause: cause.into(),
        };
        let Some(stored) = self.store.load()? else {
            return if self.floor.holds_versions() {
                Err(unusable("it is missing"))
            } else {
                Ok(())
            };
        };
        // The pinned root may be a newer one by now, and then those up to it are no longer needed.
        let known = self.pinned.version.checked_sub(stored.pinned);
        let known = known.and_then(|known| usize::try_from(known).ok());
        let known = known.ok_or_else(|| unusable("it begins after the pinned root"))?;
        let wanted = stored.metadata.as_ref().map(|metadata| metadata.root);
        let mut verified_with = self.roots.clone();
        for root in stored.roots.iter().skip(known) {
            self.roots.follow(root)?;
            self.later.push(Arc::clone(root));
            if wanted.is_some_and(|wanted| self.roots.version() <= wanted) {
                verified_with = self.roots.clone();
            }
        }
        self.floor.check_root(self.roots.version())?;
        let Some(metadata) = stored.metadata else {
            return Ok(());
        };
        let mut floor = self.floor.clone();
        floor.follow(verified_with.newest());
        let workflow = verify(&verified_with, &metadata, &floor)?;
        let holds = verified_with.version() == self.roots.version() || verify(&self.roots, &metadata, &floor).is_ok();
        let wanted = workflow.select(&self.channel)?;
        let mut contents = BTreeMap::new();
        for one in &wanted {
            let content = self.store.content(&one.digest, one.length)?;
            let content = content.ok_or_else(|| SyncError::Integrity {
                file: one.path.as_str().into(),
                cause: "its stored content is missing or damaged".into(),
            })?;
            contents.insert(one.digest.clone(), content);
        }
        let generation = self.generation(metadata, &workflow, wanted, &contents)?;
        self.floor.raise(&workflow.reached()?);
        // Also what a process left behind that died while it wrote. It is in nobody's way.
        let _ = self.store.collect_garbage(&names(&generation));
        self.current = Some(Current {
            generation: Arc::new(generation),
            holds,
        });
        Ok(())
    }

    fn generation(
        &self,
        metadata: Metadata,
        workflow: &Workflow,
        wanted: Vec<WantedTarget>,
        contents: &BTreeMap<Digest, Arc<[u8]>>,
    ) -> Result<Generation, SyncError> {
        let incomplete = || SyncError::Integrity {
            file: Role::Targets.document().into(),
            cause: "it is incomplete".into(),
        };
        let (mut files, mut digests) = (BTreeMap::new(), BTreeMap::new());
        for WantedTarget { path, digest, .. } in wanted {
            let content = contents.get(&digest).ok_or_else(incomplete)?;
            files.insert(path.to_string(), Arc::clone(content));
            digests.insert(path.to_string(), digest);
        }
        Ok(Generation {
            metadata,
            versions: workflow.versions(self.roots.signed()).ok_or_else(incomplete)?,
            signed_at: workflow.signed_at()?,
            files,
            digests,
        })
    }
}

/// Reading the repository.
impl Client {
    async fn refresh_in(&mut self, session: &Session<'_>, now: Timestamp) -> Result<Refreshed, SyncError> {
        let followed = self.follow_roots(session).await;
        if self.unsaved {
            self.save_roots().await;
        }
        followed?;
        // Not before: a new root may have taken away the keys that signed a time which is yet to come.
        check_clock(now, self.trusted_time())?;
        self.floor.check_root(self.roots.version())?;

        let mut workflow = Workflow::new(&self.roots, now);
        workflow.check_root()?;
        let seed = self.current.as_ref().filter(|_| self.floor.holds_versions());
        if let Some(Current { generation, .. }) = seed {
            workflow.seed(&generation.metadata.timestamp, &generation.metadata.snapshot);
        }
        let missing = || SyncError::NotFound {
            file: Role::Timestamp.document().into(),
        };
        let mut timestamp: Arc<[u8]> = session.timestamp().await?.ok_or_else(missing)?.into();
        if !workflow.timestamp(&timestamp, &self.floor)?
            && let Some(Current { generation, holds }) = seed
        {
            if *holds {
                check_expiries(generation, now)?;
                return Ok(Refreshed::Unchanged);
            }
            // The same version is the same timestamp, whatever else it says.
            timestamp = Arc::clone(&generation.metadata.timestamp);
        }

        let snapshot = self.obtain(&mut workflow, session, Role::Snapshot).await?;
        let targets = self.obtain(&mut workflow, session, Role::Targets).await?;
        let mut delegated = BTreeMap::new();
        for role in workflow.delegated()? {
            let bytes = self.obtain(&mut workflow, session, role).await?;
            delegated.insert(role, bytes);
        }
        let metadata = Metadata {
            root: self.roots.version(),
            timestamp,
            snapshot,
            targets,
            delegated,
        };
        let wanted = workflow.select(&self.channel)?;
        let contents = self.obtain_contents(session, &wanted).await?;
        let generation = self.generation(metadata, &workflow, wanted, &contents)?;
        Ok(Refreshed::Candidate(Box::new(Candidate { generation, workflow })))
    }

    /// Follows the chain of roots to its end (§5.3). What was followed stays, whatever comes after it.
    async fn follow_roots(&mut self, session: &Session<'_>) -> Result<(), SyncError> {
        for _ in 0..MAX_ROOT_ROTATIONS {
            let next = self.roots.version().saturating_add(1);
            let Some(bytes) = session.root(next).await? else {
                return Ok(());
            };
            let size = self.later.iter().map(|root| root.len()).sum::<usize>();
            if size + bytes.len() > MAX_ROOT_CHAIN_SIZE {
                return Err(SyncError::Malformed {
                    file: Role::Root.file(next).into(),
                    cause: "too many roots: pin a newer one".into(),
                });
            }
            self.roots.follow(&bytes)?;
            self.later.push(bytes.into());
            self.floor.follow(self.roots.newest());
            self.unsaved = true;
            if let Some(current) = &mut self.current {
                let mut generation = Generation::clone(&current.generation);
                generation.versions.root = self.roots.signed();
                current.holds = verify(&self.roots, &generation.metadata, &self.floor).is_ok();
                if current.holds {
                    generation.metadata.root = self.roots.version();
                }
                current.generation = Arc::new(generation);
            }
        }
        Err(SyncError::Malformed {
            file: Role::Root.file(self.roots.version().saturating_add(1)).into(),
            cause: format!("{MAX_ROOT_ROTATIONS} new roots at once: the next refresh follows the others").into(),
        })
    }

    /// Stores the roots, with the generation in use. A disk that is full does not keep a node from learning what is denied.
    async fn save_roots(&mut self) {
        let stored = self.stored(self.current().map(|generation| &generation.metadata));
        let (store, floor) = (self.store.clone(), self.floor.clone());
        let save = blocking(self.store.clone(), move || {
            store.save(&stored)?;
            store.save_floor(&floor)
        });
        let outcome = save.await;
        self.saved(outcome);
    }

    /// The metadata of a role: what is there already, if it is what is wanted, or else what the repository has.
    async fn obtain(
        &mut self,
        workflow: &mut Workflow,
        session: &Session<'_>,
        role: Role,
    ) -> Result<Arc<[u8]>, SyncError> {
        let wanted = workflow.wanted(role)?;
        let current = self.current().and_then(|generation| generation.metadata.of(role));
        for bytes in current.into_iter().chain(self.leftovers.metadata.get(&role)) {
            if workflow.take(role, bytes, &self.floor).is_ok() {
                return Ok(Arc::clone(bytes));
            }
        }
        let bytes = session.file(&wanted.file, wanted.limit).await?;
        let bytes: Arc<[u8]> = bytes
            .ok_or_else(|| SyncError::NotFound {
                file: wanted.file.into(),
            })?
            .into();
        workflow.take(role, &bytes, &self.floor)?;
        self.leftovers.metadata.insert(role, Arc::clone(&bytes));
        Ok(bytes)
    }

    /// The bytes of the files: from memory, from the disk, and what is on neither from the repository.
    async fn obtain_contents(
        &mut self,
        session: &Session<'_>,
        wanted: &[WantedTarget],
    ) -> Result<BTreeMap<Digest, Arc<[u8]>>, SyncError> {
        let mut known = self.current().map(|current| contents(current)).unwrap_or_default();
        known.append(&mut self.leftovers.contents);
        let distinct: BTreeMap<&Digest, &WantedTarget> = wanted.iter().map(|one| (&one.digest, one)).collect();
        known.retain(|digest, _| distinct.contains_key(digest));
        let missing = |known: &BTreeMap<Digest, Arc<[u8]>>| -> Vec<WantedTarget> {
            let missing = distinct.iter().filter(|(digest, _)| !known.contains_key(*digest));
            missing.map(|(_, one)| WantedTarget::clone(one)).collect()
        };
        let (store, on_disk) = (self.store.clone(), missing(&known));
        let read = blocking(self.store.clone(), move || {
            let read = on_disk.into_iter().filter_map(|one| {
                let content = store.content(&one.digest, one.length).ok()??;
                Some((one.digest, content))
            });
            Ok(read.collect::<Vec<_>>())
        });
        // What cannot be read is fetched.
        known.extend(read.await.unwrap_or_default());

        let in_flight = Semaphore::new(MAX_FLEET_FILE_SIZE);
        let fetching = missing(&known).into_iter().map(|one| fetch(session, one, &in_flight));
        let mut fetching = stream::iter(fetching).buffer_unordered(MAX_CONCURRENT_TARGETS);
        let mut outcome = Ok(());
        while let Some(fetched) = fetching.next().await {
            match fetched {
                Ok((digest, content)) => {
                    known.insert(digest, content);
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        self.leftovers.contents = known.clone();
        outcome.map(|()| known)
    }
}

/// Fetches one file, and proves it by length and hash (§5.7.2). Together, those in flight have no more bytes than the largest
/// may have.
async fn fetch(
    session: &Session<'_>,
    wanted: WantedTarget,
    in_flight: &Semaphore,
) -> Result<(Digest, Arc<[u8]>), SyncError> {
    let WantedTarget { path, digest, length } = wanted;
    // Never closed; and who asks for more than there is would wait for ever.
    let share = u32::try_from(length.min(MAX_FLEET_FILE_SIZE)).unwrap_or(u32::MAX);
    let _bytes = in_flight.acquire_many(share).await;
    let file = format!("{TARGETS_FOLDER}/{}", path.of_content(&digest));
    let bytes = session.file(&file, length).await?;
    let bytes = bytes.ok_or_else(|| SyncError::NotFound {
        file: file.as_str().into(),
    })?;
    if bytes.len() != length || !digest.matches(&bytes) {
        return Err(SyncError::Integrity {
            file: path.as_str().into(),
            cause: format!("its bytes are not those of {digest}").into(),
        });
    }
    Ok((digest, bytes.into()))
}

/// Verifies metadata as a whole, whatever has expired.
fn verify(roots: &Roots, metadata: &Metadata, floor: &Floor) -> Result<Workflow, SyncError> {
    let mut workflow = Workflow::new(roots, BEFORE_EXPIRY);
    workflow.timestamp(&metadata.timestamp, floor)?;
    let take = |workflow: &mut Workflow, role: Role| {
        let bytes = metadata.of(role).ok_or_else(|| SyncError::Malformed {
            file: role.document().into(),
            cause: "it is missing".into(),
        })?;
        workflow.take(role, bytes, floor)
    };
    take(&mut workflow, Role::Snapshot)?;
    take(&mut workflow, Role::Targets)?;
    for role in workflow.delegated()? {
        take(&mut workflow, role)?;
    }
    Ok(workflow)
}

/// Checks that nothing that is in use has expired.
fn check_expiries(generation: &Generation, now: Timestamp) -> Result<(), SyncError> {
    for (role, signed) in generation.versions.iter() {
        if signed.expires < now {
            return Err(SyncError::Expired {
                role: role.as_str().into(),
                expires: signed.expires,
            });
        }
    }
    Ok(())
}

fn contents(generation: &Generation) -> BTreeMap<Digest, Arc<[u8]>> {
    let content = |(path, digest): (&String, &Digest)| {
        let content = generation.files.get(path)?;
        Some((digest.clone(), Arc::clone(content)))
    };
    generation.digests.iter().filter_map(content).collect()
}

/// Whether what could not be stored may be what the next start reads all the same.
fn may_be_in_place(error: &StorageError) -> bool {
    error.operation == Operation::SyncFolder
}

/// What the generation's files are called on disk.
fn names(generation: &Generation) -> BTreeSet<&str> {
    generation.digests.values().map(Digest::hex).collect()
}

/// Does what blocks on files where that is nobody's delay.
async fn blocking<T: Send + 'static>(
    store: Store,
    act: impl FnOnce() -> Result<T, StorageError> + Send + 'static,
) -> Result<T, StorageError> {
    match tokio::task::spawn_blocking(act).await {
        Ok(done) => done,
        Err(error) => Err(StorageError {
            operation: Operation::Write,
            path: store.folder().into(),
            cause: error.to_string().into(),
        }),
    }
}
