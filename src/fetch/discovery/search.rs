//! The search itself: which requests are under way, what each brought, and which come next.

use std::collections::{HashSet, VecDeque};
use std::sync::Arc;

use futures_util::future::BoxFuture;
use futures_util::stream::FuturesUnordered;
use futures_util::{FutureExt as _, StreamExt as _};

use assay_verify::descriptor::Descriptor;
use assay_verify::digest::Digest;
use assay_verify::evidence::{NotASignature, Signature, SignatureFormat, SignatureId};
use assay_verify::limits::{
    MAX_OPENED_REFERRERS, MAX_REFERRERS, MAX_REFERRERS_PAGES, MAX_REQUESTS_PER_REGISTRY, MAX_VERIFICATION_MEMORY,
};
use assay_verify::reference::Repository;

use super::candidates::{CANDIDATE_SIZE, Candidate, Candidates, LEAST_SIZE};
use super::listing::{self, NextPage, Page};
use super::opening::{self, MANIFEST_COST, Opened};
use super::{Batch, CosignTag, Judged, Place, SkipReason, Skipped, SkippedItem, Sought, Summary};
use crate::fetch::budget::{Budget, Lease, Promises};
use crate::fetch::error::FetchError;
use crate::fetch::host::Patience;
use crate::fetch::registry::Registry;

/// The share of a verification's memory that manifests may take: the rest is left free for the blobs that they describe.
const MEMORY_FOR_MANIFESTS: usize = MAX_VERIFICATION_MEMORY / 2;

/// A place with the registry that serves it.
pub(super) struct Origin {
    pub(super) registry: Arc<Registry>,
    pub(super) repository: Repository,
    sought: Sought,
}

/// How far the listing of a place was read.
#[derive(Default)]
struct Reading {
    next_page: Option<NextPage>,
    pages: usize,
    /// Requests under way to this place, beside those that every search begins with.
    in_flight: usize,
    /// What the blobs among them will take.
    blobs: usize,
}

/// A manifest whose signatures are fetched one after the other, the newest first: cosign appends.
struct Carrier {
    origin: usize,
    opened: Opened,
    left: Vec<usize>,
}

/// What came of a request.
enum Arrival {
    Listing {
        origin: usize,
        listed: Result<(Option<Page>, Option<FetchError>), FetchError>,
    },
    NextPage {
        origin: usize,
        page: Result<Option<Page>, FetchError>,
    },
    Manifest {
        origin: usize,
        what: SkippedItem,
        /// Whether it is listed as what may be an attestation.
        may_attest: bool,
        /// Whether it was listed, and not begun with.
        listed: bool,
        opened: Result<Option<Opened>, SkipReason>,
    },
    Signature {
        origin: usize,
        format: SignatureFormat,
        id: SignatureId,
        promised: usize,
        manifest: Arc<Lease>,
        fetched: Result<(Signature, Lease), SkipReason>,
    },
}

/// A search for the signatures of one image. Dropping it ends the requests that are under way.
pub struct Search {
    origins: Vec<Arc<Origin>>,
    readings: Vec<Reading>,
    budget: Budget,
    candidates: Candidates,
    /// Pays for the candidates.
    leases: Vec<Lease>,
    carriers: VecDeque<Carrier>,
    in_flight: FuturesUnordered<BoxFuture<'static, Arrival>>,
    /// What the manifests under way will take, paid for or not yet.
    manifests: Promises,
    opened_in: HashSet<(usize, Digest)>,
    begun: HashSet<(usize, SignatureId)>,
    arrived: HashSet<SignatureId>,
    listed: usize,
    opened: usize,
    fetched: usize,
    skipped: Vec<Skipped>,
    incomplete: Option<FetchError>,
    /// Whether an attestation that cannot be read makes the search incomplete.
    newest_demanded: bool,
}

impl Search {
    /// Begins a search. Nothing is sent before the first batch is asked for.
    pub(in crate::fetch) fn start(
        places: impl IntoIterator<Item = (Place, Result<Arc<Registry>, FetchError>)>,
        subject: &Descriptor,
        budget: Budget,
    ) -> Self {
        let mut search = Self {
            origins: Vec::new(),
            readings: Vec::new(),
            budget,
            candidates: Candidates::default(),
            leases: Vec::new(),
            carriers: VecDeque::new(),
            in_flight: FuturesUnordered::new(),
            manifests: Promises::default(),
            opened_in: HashSet::new(),
            begun: HashSet::new(),
            arrived: HashSet::new(),
            listed: 0,
            opened: 0,
            fetched: 0,
            skipped: Vec::new(),
            incomplete: None,
            newest_demanded: false,
        };
        for (Place { repository, sought }, registry) in places {
            match registry {
                Ok(_) if sought.is_nothing() => {}
                Ok(registry) => search.ask(
                    Origin {
                        registry,
                        repository,
                        sought,
                    },
                    &subject.digest,
                ),
                Err(error) => search.fail(error),
            }
        }
        search
    }

    /// Asks a place for all that is sought there at once.
    fn ask(&mut self, origin: Origin, subject: &Digest) {
        let (number, origin) = (self.origins.len(), Arc::new(origin));
        self.origins.push(Arc::clone(&origin));
        self.readings.push(Reading::default());
        for (tag, sought) in [
            (CosignTag::Signatures, origin.sought.cosign),
            (CosignTag::Attestations, origin.sought.attestations),
        ] {
            if sought {
                let tag: Arc<str> = tag.of(subject).into();
                let promise = self.manifests.promise(LEAST_SIZE, MANIFEST_COST);
                let (origin, budget) = (Arc::clone(&origin), self.budget.clone());
                let arrival = async move {
                    let opened = opening::tagged(origin, Arc::clone(&tag), budget, &promise).await;
                    Arrival::Manifest {
                        origin: number,
                        what: SkippedItem::Tag((*tag).into()),
                        may_attest: true,
                        listed: false,
                        opened,
                    }
                };
                self.in_flight.push(arrival.boxed());
            }
        }
        let (subject, budget) = (subject.clone(), self.budget.clone());
        let listing = async move {
            let listed = listing::list(&origin.registry, &origin.repository, &subject, &budget).await;
            Arrival::Listing { origin: number, listed }
        };
        self.in_flight.push(listing.boxed());
    }

    /// Demands the newest attestation: one that is too large or not there, and could be it, makes the search incomplete.
    /// Where any good one suffices, it yields nothing and harms nothing.
    pub fn demand_the_newest(&mut self) {
        self.newest_demanded = true;
    }

    /// Goes on until at least one signature arrived, and gives those that did. `None` when there is nothing left to open:
    /// [`Search::finish`] says whether that was all.
    ///
    /// What was judged before is not fetched.
    pub async fn next_batch(&mut self, judged: &Judged) -> Option<Batch> {
        loop {
            self.send_out(judged);
            let mut arrived = Some(self.in_flight.next().await?);
            let mut batch = Batch::default();
            while let Some(arrival) = arrived {
                self.take(arrival, &mut batch);
                // What else is here already comes along; what is under way goes on.
                arrived = self.in_flight.next().now_or_never().flatten();
            }
            if !batch.signatures.is_empty() {
                return Some(batch);
            }
        }
    }

    /// Ends the search and says what it came to.
    pub fn finish(mut self) -> Summary {
        let unread = self.readings.iter().any(|reading| reading.next_page.is_some());
        let left = unread || !self.candidates.is_empty() || !self.carriers.is_empty();
        if left
            && (self.opened >= MAX_OPENED_REFERRERS || self.fetched >= MAX_OPENED_REFERRERS)
            && let Some(origin) = self.origins.first()
        {
            let registry = origin.registry.name.clone();
            self.fail(FetchError::TooManyOpened { registry });
        }
        Summary {
            listed: self.listed,
            opened: self.opened,
            skipped: self.skipped,
            incomplete: self.incomplete,
        }
    }

    /// Keeps as many requests under way as each place has slots for, and no more bytes than the verification may hold.
    fn send_out(&mut self, judged: &Judged) {
        while let Some(request) = self.next_request(judged) {
            self.in_flight.push(request);
        }
    }

    /// The next request: for a signature's blob, which may end the search; for a referrer that looks like a signature; for
    /// the rest of a listing, when nothing of the same place is under way that may end the search; for any other referrer.
    fn next_request(&mut self, judged: &Judged) -> Option<BoxFuture<'static, Arrival>> {
        let mut crowded: Vec<bool> = (0..self.origins.len()).map(|origin| !self.has_slot(origin)).collect();
        for _ in 0..self.carriers.len() {
            let Some(mut carrier) = self.carriers.pop_front() else {
                break;
            };
            if self.fetched >= MAX_OPENED_REFERRERS {
                self.carriers.push_front(carrier);
                return None;
            }
            let Some((id, size)) = self.next_signature(&mut carrier, judged) else {
                continue;
            };
            if crowded.get(carrier.origin) == Some(&false) {
                if self.has_room_for_blob(carrier.origin, size) {
                    carrier.left.pop();
                    let request = self.fetch(&carrier, id, size);
                    // One of each in turn: many signatures in one manifest keep those of others waiting for one of them only.
                    self.carriers.push_back(carrier);
                    return request;
                }
                // What waits for memory goes before what would need more of it.
                if let Some(crowded) = crowded.get_mut(carrier.origin) {
                    *crowded = true;
                }
            }
            self.carriers.push_back(carrier);
        }
        loop {
            let may_ask = |origin: usize| crowded.get(origin) == Some(&false);
            let candidate = match self.candidates.likely(may_ask) {
                Some(candidate) => candidate,
                None => {
                    let unread =
                        |(origin, reading): &(usize, &Reading)| reading.next_page.is_some() && may_ask(*origin);
                    let mut unread = self.readings.iter().enumerate().filter(unread);
                    // Likely signatures that are under way may end the search before the listing goes on.
                    let idle = unread.clone().find(|(_, reading)| reading.in_flight == 0);
                    match (idle.map(|(origin, _)| origin), unread.next()) {
                        (Some(origin), _) => match self.turn_page(origin) {
                            Some(request) => return Some(request),
                            None => continue,
                        },
                        (None, Some(_)) => return None,
                        (None, None) => self.candidates.any(may_ask)?,
                    }
                }
            };
            if self.opened >= MAX_OPENED_REFERRERS || !self.has_room_for_manifest() {
                self.candidates.put_back(candidate);
                return None;
            }
            let name = (candidate.origin, candidate.digest.clone());
            if !judged.knows_all_of(&candidate.digest) && self.opened_in.insert(name) {
                return self.open(candidate);
            }
        }
    }

    /// The newest signature of a manifest that is neither known nor on its way, and its size.
    fn next_signature(&self, carrier: &mut Carrier, judged: &Judged) -> Option<(SignatureId, usize)> {
        loop {
            let position = *carrier.left.last()?;
            let id = SignatureId {
                manifest: carrier.opened.manifest.digest().clone(),
                position,
            };
            let known = judged.knows(&id) || self.arrived.contains(&id);
            if known || self.begun.contains(&(carrier.origin, id.clone())) {
                carrier.left.pop();
                continue;
            }
            let layer = carrier.opened.manifest.layers().get(position);
            let size = layer.map_or(0, |layer| usize::try_from(layer.descriptor.size).unwrap_or(usize::MAX));
            return Some((id, size));
        }
    }

    /// Whether a place may get another request. Several places share what one registry has, so that none of them, dead
    /// perhaps, keeps the others waiting.
    fn has_slot(&self, origin: usize) -> bool {
        let slots = (MAX_REQUESTS_PER_REGISTRY / self.origins.len().max(1)).max(1);
        self.readings
            .get(origin)
            .is_some_and(|reading| reading.in_flight < slots)
    }

    /// Whether so many bytes will find their memory. What is under way is counted whole, so that requests which hold a part
    /// of what they need never wait for each other. One alone may always try.
    fn has_room(&self, bytes: usize) -> bool {
        let blobs: usize = self.readings.iter().map(|reading| reading.blobs).sum();
        let promised = blobs.saturating_add(self.manifests.bytes());
        self.in_flight.is_empty() || promised.saturating_add(bytes) <= self.budget.available()
    }

    /// Of several places none takes more than its share for blobs, or one of them.
    fn has_room_for_blob(&self, origin: usize, bytes: usize) -> bool {
        let share = (MAX_VERIFICATION_MEMORY - MEMORY_FOR_MANIFESTS) / self.origins.len().max(1);
        let alone = self.origins.len() == 1;
        let taken = self.readings.get(origin).map_or(0, |reading| reading.blobs);
        self.has_room(bytes) && (alone || taken == 0 || taken.saturating_add(bytes) <= share)
    }

    fn has_room_for_manifest(&self) -> bool {
        let held: usize = self.carriers.iter().map(|carrier| carrier.opened.lease.bytes()).sum();
        let cost = MANIFEST_COST * LEAST_SIZE;
        let taken = held.saturating_add(self.manifests.bytes());
        self.has_room(cost) && (self.in_flight.is_empty() || taken.saturating_add(cost) <= MEMORY_FOR_MANIFESTS)
    }

    /// Counts a request to a place.
    fn began(&mut self, origin: usize, blob: usize) {
        if let Some(reading) = self.readings.get_mut(origin) {
            reading.in_flight += 1;
            reading.blobs += blob;
        }
    }

    /// Counts it no more.
    fn ended(&mut self, origin: usize, blob: usize) {
        if let Some(reading) = self.readings.get_mut(origin) {
            reading.in_flight -= 1;
            reading.blobs -= blob;
        }
    }

    fn open(&mut self, candidate: Candidate) -> Option<BoxFuture<'static, Arrival>> {
        let origin = Arc::clone(self.origins.get(candidate.origin)?);
        self.opened += 1;
        self.began(candidate.origin, 0);
        let promise = self.manifests.promise(LEAST_SIZE, MANIFEST_COST);
        let (candidate, budget) = (Arc::new(candidate), self.budget.clone());
        let arrival = async move {
            let opened = opening::referrer(origin, Arc::clone(&candidate), budget, &promise).await;
            Arrival::Manifest {
                origin: candidate.origin,
                what: SkippedItem::Manifest(candidate.digest.clone()),
                may_attest: candidate.may_attest,
                listed: true,
                opened: opened.map(Some),
            }
        };
        Some(arrival.boxed())
    }

    fn fetch(&mut self, carrier: &Carrier, id: SignatureId, size: usize) -> Option<BoxFuture<'static, Arrival>> {
        let (number, format) = (
            carrier.origin,
            carrier.opened.manifest.layers().get(id.position)?.format,
        );
        let origin = Arc::clone(self.origins.get(number)?);
        let manifest = Arc::clone(&carrier.opened.lease);
        self.fetched += 1;
        self.began(number, size);
        self.begun.insert((number, id.clone()));
        let (carried, budget) = (Arc::clone(&carrier.opened.manifest), self.budget.clone());
        let fetching = opening::signature(origin, carried, id.position, budget);
        let arrival = fetching.map(move |fetched| Arrival::Signature {
            origin: number,
            format,
            id,
            promised: size,
            manifest,
            fetched,
        });
        Some(arrival.boxed())
    }

    /// Asks for the next page of a listing.
    fn turn_page(&mut self, number: usize) -> Option<BoxFuture<'static, Arrival>> {
        let origin = Arc::clone(self.origins.get(number)?);
        let reading = self.readings.get_mut(number)?;
        let next = reading.next_page.take()?;
        if reading.pages >= MAX_REFERRERS_PAGES {
            self.fail(FetchError::TooManyPages {
                registry: origin.registry.name.clone(),
            });
            return None;
        }
        self.began(number, 0);
        let budget = self.budget.clone();
        let turning = async move {
            let page = listing::page(&next.host, Patience::Last, &origin.repository, next.url, &budget).await;
            Arrival::NextPage { origin: number, page }
        };
        Some(turning.boxed())
    }

    fn take(&mut self, arrival: Arrival, batch: &mut Batch) {
        match arrival {
            Arrival::Listing { origin, listed } => match listed {
                Ok((page, unanswered)) => {
                    if let Some(error) = unanswered {
                        self.fail(error);
                    }
                    if let Some(page) = page {
                        self.keep(origin, page);
                    }
                }
                Err(error) => self.fail(error),
            },
            Arrival::NextPage { origin, page } => {
                self.ended(origin, 0);
                match page {
                    Ok(Some(page)) => self.keep(origin, page),
                    // The registry itself named this page.
                    Ok(None) => {
                        if let Some(origin) = self.origins.get(origin) {
                            let registry = origin.registry.name.clone();
                            self.fail(FetchError::Missing {
                                registry,
                                what: "next page of the listing that it names".into(),
                            });
                        }
                    }
                    Err(error) => {
                        let next = self.origins.get(origin).map(|origin| origin.registry.name.clone());
                        match (&error, next) {
                            (FetchError::Deadline { .. } | FetchError::Silent { .. }, Some(registry))
                                if self.newest_demanded =>
                            {
                                let what = "next page of the listing".into();
                                self.fail(FetchError::Unread { registry, what });
                            }
                            _ => self.fail(error),
                        }
                    }
                }
            }
            Arrival::Manifest {
                origin,
                what,
                may_attest,
                listed,
                opened,
            } => {
                if listed {
                    self.ended(origin, 0);
                }
                match opened {
                    Ok(Some(opened)) => self.carry(origin, opened),
                    Ok(None) => {}
                    Err(reason) => self.skip_manifest(origin, what, may_attest, reason),
                }
            }
            Arrival::Signature {
                origin,
                format,
                id,
                promised,
                manifest,
                fetched,
            } => {
                self.ended(origin, promised);
                match fetched {
                    Ok((signature, lease)) => {
                        if self.arrived.insert(id) {
                            batch.signatures.push(signature);
                            batch.leases.push(lease);
                            batch.manifests.push(manifest);
                        }
                    }
                    Err(reason) => self.skip_signature(origin, format, skipped_signature(id, reason)),
                }
            }
        }
    }

    fn keep(&mut self, number: usize, page: Page) {
        let (Some(origin), Some(reading)) = (self.origins.get(number), self.readings.get_mut(number)) else {
            return;
        };
        let (registry, sought) = (origin.registry.name.clone(), origin.sought);
        reading.pages += 1;
        reading.next_page = page.next;
        let mut failed = page.broken;
        let mut lease = page.lease;
        let mut kept = 0;
        for entry in page.entries {
            if self.listed >= MAX_REFERRERS {
                reading.next_page = None;
                failed.get_or_insert(FetchError::TooManyReferrers { registry });
                break;
            }
            self.listed += 1;
            kept += 1;
            self.candidates.push(number, sought, entry);
        }
        lease.shrink_to(kept * CANDIDATE_SIZE);
        self.leases.push(lease);
        if let Some(error) = failed {
            self.fail(error);
        }
    }

    /// Queues the signatures of a manifest that may be of use.
    fn carry(&mut self, number: usize, opened: Opened) {
        let Some(sought) = self.origins.get(number).map(|origin| origin.sought) else {
            return;
        };
        let manifest = &opened.manifest;
        // A tag may point at what was listed, too.
        self.opened_in.insert((number, manifest.digest().clone()));
        let mut left = Vec::new();
        let mut unsought = None;
        let mut skipped = Vec::new();
        for (position, layer) in manifest.layers().iter().enumerate() {
            let limit = layer.format.max_size();
            if !sought.includes(layer.format) {
                unsought = Some(layer.format);
            } else if layer.descriptor.size > limit as u64 {
                let id = SignatureId {
                    manifest: manifest.digest().clone(),
                    position,
                };
                let size = layer.descriptor.size;
                let too_large = NotASignature::EnvelopeTooLarge { size, limit };
                skipped.push((layer.format, skipped_signature(id, too_large.into())));
            } else {
                left.push(position);
            }
        }
        if let Some(format) = unsought {
            let unsought = Skipped {
                what: SkippedItem::Manifest(manifest.digest().clone()),
                reason: SkipReason::NotSought(format),
            };
            skipped.push((format, unsought));
        }
        if !left.is_empty() {
            self.carriers.push_back(Carrier {
                origin: number,
                opened,
                left,
            });
        }
        for (format, skipped) in skipped {
            self.skip_signature(number, format, skipped);
        }
    }

    /// Makes the search incomplete where the newest attestation may be what cannot be read.
    fn unread(&mut self, number: usize, what: &SkippedItem, reason: &SkipReason) {
        let Some(origin) = self.origins.get(number) else {
            return;
        };
        if !self.newest_demanded || !origin.sought.attestations {
            return;
        }
        let is_there = !matches!(what, SkippedItem::Tag(_));
        let (registry, what) = (origin.registry.name.clone(), what.to_string().into());
        match reason {
            SkipReason::Missing(_) => self.fail(FetchError::Missing { registry, what }),
            SkipReason::NotASignature(NotASignature::ManifestTooLarge(_) | NotASignature::EnvelopeTooLarge { .. }) => {
                self.fail(FetchError::Unread { registry, what });
            }
            // It is there. Whoever puts much beside it must not win by the time that reading takes.
            SkipReason::Fetch(FetchError::Deadline { .. } | FetchError::Silent { .. }) if is_there => {
                self.fail(FetchError::Unread { registry, what });
            }
            SkipReason::NotASignature(_) | SkipReason::NotSought(_) | SkipReason::Fetch(_) => {}
        }
    }

    fn skip_manifest(&mut self, number: usize, what: SkippedItem, may_attest: bool, reason: SkipReason) {
        if may_attest {
            self.unread(number, &what, &reason);
        }
        // More signatures than are looked at, or a tag's manifest larger than is read: there may be a good one among them.
        let cut = matches!(
            (&what, &reason),
            (_, SkipReason::NotASignature(NotASignature::TooManyLayers(_)))
                | (
                    SkippedItem::Tag(_),
                    SkipReason::NotASignature(NotASignature::ManifestTooLarge(_))
                )
        );
        if cut && let Some(origin) = self.origins.get(number) {
            let registry = origin.registry.name.clone();
            self.fail(FetchError::TooManySignatures {
                registry,
                what: what.to_string().into(),
            });
        }
        self.skip(Skipped { what, reason });
    }

    fn skip_signature(&mut self, number: usize, format: SignatureFormat, skipped: Skipped) {
        if matches!(format, SignatureFormat::Bundle | SignatureFormat::Attestation) {
            self.unread(number, &skipped.what, &skipped.reason);
        }
        self.skip(skipped);
    }

    fn skip(&mut self, skipped: Skipped) {
        if let SkipReason::Fetch(error) = &skipped.reason {
            self.fail(error.clone());
        }
        if self.skipped.len() < MAX_OPENED_REFERRERS {
            self.skipped.push(skipped);
        }
    }

    /// Keeps the first error, but prefers one that is more than a registry's silence: only for silence may something else
    /// stand in.
    fn fail(&mut self, error: FetchError) {
        match &self.incomplete {
            Some(known) if !known.is_silence() || error.is_silence() => {}
            _ => self.incomplete = Some(error),
        }
    }
}

fn skipped_signature(id: SignatureId, reason: SkipReason) -> Skipped {
    Skipped {
        what: SkippedItem::Signature(id),
        reason,
    }
}
