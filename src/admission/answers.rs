//! Revocation answers: from memory, from disk, from the network; kept once proven, and fresh before they lapse.
//!
//! Nothing here decides about a certificate. An answer that came over plain HTTP is handed to the judgement and
//! forgotten; only what a judgement proved is kept ([`RevocationAnswers::keep`]), so what somebody in between made up
//! cannot stick. A kept answer is used until it lapses and nobody is asked. Before it lapses the next one is fetched in
//! the background and put beside it: the judgement sees both, and decides which is authentic and newest.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use assay_verify::Timestamp;
use assay_verify::code::Code;
use assay_verify::limits::{
    MAX_CLOCK_SKEW, MAX_CONCURRENT_REFRESHES, MAX_CONCURRENT_REVOCATION_QUERIES, MAX_KEPT_REVOCATION_ANSWERS,
    MAX_KEPT_REVOCATION_MEMORY, MAX_REVOCATION_RETRY, MEMORY_WAIT, MIN_REVOCATION_RETRY, REVOCATION_FAILURE_LIFETIME,
    REVOCATION_USE_WINDOW, STALE_GATHER,
};
use assay_verify::query::{Answered, Query, QueryId, Unanswered};
use assay_verify::x509::revocation::Validity;
use futures_util::FutureExt as _;
use futures_util::future::join_all;
use jiff::SignedDuration;
use tokio::sync::{Notify, watch};
use tokio::time::{Instant, timeout};
use tracing::{debug, warn};

use super::pipeline::Clock;
use crate::cache::answers::AnswerStore;
use crate::cache::single_flight::{FlightError, SingleFlight};
use crate::fetch::revocation::{AnswerMemory, RevocationEndpoints, Source, time_for, validity_of};

/// How long the refresher sleeps at most: the wall clock may be set meanwhile.
const LONGEST_SLEEP: Duration = Duration::from_secs(60);

/// A number in [0, 1), different each time, so that a fleet does not ask in one moment.
pub type Random = fn() -> f64;

/// What is done when an answer is at hand that may be newer than what verdicts rest on.
pub type Changed = Box<dyn Fn(QueryId) + Send + Sync>;

/// What the service works with.
pub struct World {
    /// The endpoints.
    pub endpoints: Arc<dyn RevocationEndpoints>,
    /// The memory that answers are paid from; that of the endpoints' client.
    pub memory: AnswerMemory,
    /// The answers on disk.
    pub store: AnswerStore,
    /// Tells the time.
    pub clock: Clock,
    /// Spreads the refreshes.
    pub random: Random,
    /// Called with the query whose answer may have changed: verdicts that rest on it are to be judged again. It must
    /// not block.
    pub changed: Changed,
}

/// The service. Clones share everything.
#[derive(Clone)]
pub struct RevocationAnswers(Arc<Inner>);

struct Inner {
    world: World,
    kept: Mutex<Kept>,
    flights: SingleFlight<QueryId, Answered>,
    /// Who writes to disk. One at a time, and each writes what is newest then.
    writer: tokio::sync::Mutex<()>,
    /// Writes that have not ended.
    unwritten: watch::Sender<usize>,
    /// Wakes the refresher: there is something new to keep fresh.
    scheduled: Notify,
}

/// A write that is under way, until it is dropped.
struct Writing(Arc<Inner>);

impl Drop for Writing {
    fn drop(&mut self) {
        self.0.unwritten.send_modify(|count| *count -= 1);
    }
}

/// What is known, and what failed. Both bounded: see [`Kept::make_room`].
#[derive(Default)]
struct Kept {
    answers: HashMap<QueryId, KeptAnswer>,
    failing: HashMap<QueryId, Failing>,
    /// Bytes in memory.
    bytes: usize,
    uses: u64,
    /// Whether an answer was ever forgotten because there were too many.
    dropped: bool,
}

/// An answer that a judgement proved.
struct KeptAnswer {
    query: Query,
    validity: Validity,
    /// When it was proved, which is moments after it was fetched.
    since: Timestamp,
    /// None where it is on disk alone.
    bytes: Option<Arc<[u8]>>,
    candidate: Option<Candidate>,
    used_at: Timestamp,
    /// Its place in the order of uses.
    used: u64,
    /// None where it says no time at which it lapses: then it is never current, and always asked for again.
    refresh_at: Option<Timestamp>,
    /// Refreshes in a row that brought nothing newer.
    fruitless: u32,
}

/// What a refresh brought and nobody has proved.
struct Candidate {
    bytes: Arc<[u8]>,
    validity: Validity,
    /// A judgement has seen it. If that judgement proves the kept answer and not this, this is not authentic.
    offered: bool,
}

struct Failing {
    query: Query,
    since: Timestamp,
    at: Instant,
    unanswered: Unanswered,
}

/// The state of the answers, for people.
#[derive(Clone, Debug, Default)]
pub struct AnswerStatistics {
    /// Queries whose answer is kept.
    pub kept: usize,
    /// Bytes of answers in memory.
    pub memory: usize,
    /// Bytes of answers on disk.
    pub disk: u64,
    /// When the first of the answers in use lapses, or lapsed.
    pub soonest_lapse: Option<Timestamp>,
    /// What could not be asked, longest first.
    pub failing: Vec<FailingQuery>,
}

/// A query that has no answer now.
#[derive(Clone, Debug)]
pub struct FailingQuery {
    /// What is asked, and where.
    pub query: Query,
    /// The first failure in a row.
    pub since: Timestamp,
    /// The last one.
    pub unanswered: Unanswered,
}

impl fmt::Debug for RevocationAnswers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RevocationAnswers").finish_non_exhaustive()
    }
}

impl RevocationAnswers {
    /// Joins the parts. Nothing is asked, and nothing is refreshed until [`RevocationAnswers::keep_fresh`] runs.
    pub fn new(world: World) -> Self {
        Self(Arc::new(Inner {
            world,
            kept: Mutex::default(),
            flights: SingleFlight::new(MAX_CONCURRENT_REVOCATION_QUERIES, STALE_GATHER),
            writer: tokio::sync::Mutex::default(),
            unwritten: watch::Sender::new(0),
            scheduled: Notify::new(),
        }))
    }

    /// Answers revocation queries, all at once. A kept answer that has not lapsed at `now` asks nobody; otherwise equal
    /// queries are asked once. What was being asked goes on when the asker gives up.
    pub async fn answer(&self, queries: &BTreeSet<Query>, now: Timestamp) -> Vec<(Query, Answered)> {
        join_all(queries.iter().map(|query| async move {
            let answered = self.answer_one(query, now).await;
            (query.clone(), answered)
        }))
        .await
    }

    /// The answer to a query as far as memory has one that has not lapsed. Nobody is asked or waited for, the disk neither.
    pub(super) fn at_hand(&self, query: &Query, now: Timestamp) -> Option<Answered> {
        self.0.in_hand(query.id(), now)
    }

    /// What is kept of the answer to a query, without asking anybody.
    pub async fn recall(&self, query: &Query, now: Timestamp) -> Answered {
        let id = query.id();
        self.0.known(id).await;
        self.0.in_hand(id, now).unwrap_or_else(|| Answered {
            now: Err(Unanswered {
                code: Code::RevocationUnknown,
                reason: "nobody was asked, and what is kept has lapsed or is nothing".into(),
            }),
            kept: self.0.bytes_of(id),
        })
    }

    /// The same beside an answer that somebody brought. It counts as what the world says now, unless it has lapsed: then it is
    /// nobody's word, and what is kept may have grace.
    pub(super) async fn recall_beside(&self, query: &Query, brought: Option<Arc<[u8]>>, now: Timestamp) -> Answered {
        let mut answered = self.recall(query, now).await;
        let Some(bytes) = brought else {
            return answered;
        };
        match validity_of(query, &bytes).await {
            Some(validity) if is_current(&validity, now) => Answered {
                kept: answered.now.ok().or(answered.kept).filter(|kept| *kept != bytes),
                now: Ok(bytes),
            },
            brought => {
                if let (Err(unanswered), Some(lapse)) =
                    (&mut answered.now, brought.and_then(|validity| validity.next_update))
                {
                    unanswered.reason = format!("what was brought has lapsed at {lapse}").into();
                }
                answered
            }
        }
    }

    /// The memory that answers are paid from, for who brings some.
    pub fn memory(&self) -> &AnswerMemory {
        &self.0.world.memory
    }

    async fn answer_one(&self, query: &Query, now: Timestamp) -> Answered {
        let unanswered = |code, reason: &str| Unanswered {
            code,
            reason: reason.into(),
        };
        if matches!(query, Query::PluginMetadata(_) | Query::PluginVerdict { .. }) {
            return Answered {
                now: Err(unanswered(
                    Code::PluginUnavailable,
                    "a plugin is not asked over the network",
                )),
                kept: None,
            };
        }
        let id = query.id();
        if let Some(answered) = self.0.in_hand(id, now) {
            return answered;
        }
        let (inner, asked) = (Arc::clone(&self.0), query.clone());
        // The disk, the endpoints, and once more past the caches on the way.
        let longest = MEMORY_WAIT + 2 * (time_for(query) + MEMORY_WAIT) + Duration::from_secs(1);
        let flight = self
            .0
            .flights
            .join(id, longest, move || async move { inner.find(&asked, id, now).await });
        let error = match flight {
            Ok(flight) => match flight.outcome().await {
                Ok(answered) => return answered,
                Err(error) => error,
            },
            Err(error) => error,
        };
        Answered {
            now: Err(unanswered(
                match error {
                    FlightError::TooMany(_) => Code::LimitExceeded,
                    FlightError::Deadline(_) | FlightError::BrokenOff => Code::RevocationUnknown,
                },
                &error.to_string(),
            )),
            kept: self.0.bytes_of(id),
        }
    }

    /// Keeps answers that a judgement found authentic. An older one never takes the place of a newer one. A disk or
    /// memory that is full is no error: then they are asked for again. The disk is written behind the verdict, which
    /// does not wait for it.
    pub async fn keep(&self, proven: impl IntoIterator<Item = (Query, Arc<[u8]>)>) {
        for (query, bytes) in proven {
            let Some(validity) = validity_of(&query, &bytes).await else {
                continue;
            };
            let id = query.id();
            let name = id.to_string();
            let is_only_on_disk = self.0.bytes_of(id).is_none() && self.0.world.store.size(&name).is_some();
            if !is_only_on_disk && !self.0.take_in(id, &query, &bytes, validity) {
                continue;
            }
            self.0.unwritten.send_modify(|count| *count += 1);
            let writing = Writing(Arc::clone(&self.0));
            // While a disk hangs, those who queue for it hold no more than memory holds anyway.
            let unseen = is_only_on_disk.then_some(bytes);
            tokio::spawn(async move {
                let inner = &writing.0;
                let _one_at_a_time = inner.writer.lock().await;
                // What is on disk may be newer.
                if let Some(bytes) = unseen {
                    inner.known(id).await;
                    inner.take_in(id, &query, &bytes, validity);
                }
                // What is newest by now, whoever proved it.
                let newest = lock(&inner.kept)
                    .answers
                    .get(&id)
                    .and_then(|answer| Some((answer.since, answer.bytes.clone()?)));
                if let Some((since, bytes)) = newest {
                    inner.world.store.store(query, since, bytes).await;
                }
            });
        }
    }

    /// Waits until everything that was kept so far is on disk, or could not be written.
    pub async fn flush(&self) {
        // The sender lives as long as this service.
        let _ = self.0.unwritten.subscribe().wait_for(|count| *count == 0).await;
    }

    /// Forgets every answer, in memory and on disk.
    pub async fn clear(&self) {
        *lock(&self.0.kept) = Kept::default();
        let _one_at_a_time = self.0.writer.lock().await;
        self.0.world.store.clear().await;
    }

    /// The state of the answers.
    pub fn statistics(&self) -> AnswerStatistics {
        let now = (self.0.world.clock)();
        let kept = lock(&self.0.kept);
        let mut failing: Vec<_> = kept
            .failing
            .values()
            .map(|failing| FailingQuery {
                query: failing.query.clone(),
                since: failing.since,
                unanswered: failing.unanswered.clone(),
            })
            .collect();
        failing.sort_by_key(|failing| failing.since);
        let in_use = kept.answers.values().filter(|answer| answer.is_in_use(now));
        AnswerStatistics {
            kept: kept.answers.len(),
            memory: kept.bytes,
            disk: self.0.world.store.bytes(),
            soonest_lapse: in_use.filter_map(|answer| answer.validity.next_update).min(),
            failing,
        }
    }

    /// Fetches the next answer before the kept one lapses, for every query in use. Never ends.
    pub async fn keep_fresh(&self) {
        let inner = &self.0;
        for name in inner.world.store.names() {
            inner.load(&name).await;
        }
        loop {
            // Somebody has to give back what judgements let go while nobody asks.
            inner.world.memory.sweep();
            let now = (inner.world.clock)();
            let (due, next) = inner.due(now);
            if due.is_empty() {
                let wait = next.map_or(LONGEST_SLEEP, |next| {
                    let wait = Duration::try_from(now.duration_until(next)).unwrap_or_default();
                    wait.clamp(Duration::from_millis(1), LONGEST_SLEEP)
                });
                // Whichever comes first; both mean to look again.
                let _ = timeout(wait, inner.scheduled.notified()).await;
                continue;
            }
            join_all(due.into_iter().map(|(id, query)| async move {
                if AssertUnwindSafe(inner.refresh(id, query)).catch_unwind().await.is_err() {
                    // The panic hook has logged where. It counts as a refresh without an answer, so the next one waits.
                    warn!("refreshing the revocation answer {id} was broken off by an error; it is tried again");
                    inner.take_candidate(id, None);
                }
            }))
            .await;
        }
    }
}

impl Inner {
    /// The answer from memory, where it has not lapsed.
    fn in_hand(&self, id: QueryId, now: Timestamp) -> Option<Answered> {
        let mut kept = lock(&self.kept);
        kept.uses += 1;
        let uses = kept.uses;
        let answer = kept.answers.get_mut(&id)?;
        answer.used_at = answer.used_at.max(now);
        answer.used = uses;
        let bytes = answer.bytes.clone()?;
        if is_current(&answer.validity, now) {
            return Some(match answer.offer(now) {
                Some(candidate) => Answered {
                    now: Ok(candidate),
                    kept: Some(bytes),
                },
                None => Answered {
                    now: Ok(bytes),
                    kept: None,
                },
            });
        }
        Some(Answered {
            now: Ok(answer.offer_unseen(now)?),
            kept: Some(bytes),
        })
    }

    fn bytes_of(&self, id: QueryId) -> Option<Arc<[u8]>> {
        lock(&self.kept).answers.get(&id)?.bytes.clone()
    }

    /// Looks on the disk, then asks.
    async fn find(&self, query: &Query, id: QueryId, now: Timestamp) -> Answered {
        self.known(id).await;
        if let Some(answered) = self.in_hand(id, now) {
            return answered;
        }
        let kept = self.bytes_of(id);
        let mut answer = self.ask(query, id, Source::Any, now).await;
        if let Ok(bytes) = &answer
            && validity_of(query, bytes)
                .await
                .is_none_or(|validity| !is_current(&validity, now))
        {
            // A cache on the way may have kept it too long (RFC 5019 §6).
            if let Ok(bytes) = self.ask(query, id, Source::Authority, now).await {
                answer = Ok(bytes);
            }
        }
        match answer {
            Ok(bytes) => Answered {
                kept: kept.filter(|kept| *kept != bytes),
                now: Ok(bytes),
            },
            Err(unanswered) => {
                let candidate = lock(&self.kept)
                    .answers
                    .get_mut(&id)
                    .and_then(|answer| answer.offer_unseen(now));
                Answered {
                    now: candidate.ok_or(unanswered),
                    kept,
                }
            }
        }
    }

    /// Asks the endpoints, unless they failed a moment ago.
    async fn ask(&self, query: &Query, id: QueryId, source: Source, now: Timestamp) -> Result<Arc<[u8]>, Unanswered> {
        if let Some(failing) = lock(&self.kept).failing.get(&id)
            && failing.at.elapsed() < REVOCATION_FAILURE_LIFETIME
        {
            return Err(failing.unanswered.clone());
        }
        let deadline = Instant::now() + time_for(query) + MEMORY_WAIT;
        let answer = self.world.endpoints.ask(query, source, deadline).await;
        let mut kept = lock(&self.kept);
        match &answer {
            Ok(_) => {
                kept.failing.remove(&id);
            }
            Err(unanswered) => {
                debug!("{query} gives no answer: {}", unanswered.reason);
                let since = kept.failing.get(&id).map_or(now, |failing| failing.since);
                let failing = Failing {
                    query: query.clone(),
                    since,
                    at: Instant::now(),
                    unanswered: unanswered.clone(),
                };
                kept.failing.insert(id, failing);
                kept.forget_failures();
            }
        }
        answer
    }

    /// Brings an answer from disk to memory, where there is one.
    async fn known(&self, id: QueryId) {
        if self.bytes_of(id).is_none() {
            self.load(&id.to_string()).await;
        }
    }

    async fn load(&self, name: &str) {
        let world = &self.world;
        let Some(size) = world.store.size(name) else { return };
        let Some(paid) = world.memory.pay(size, Instant::now() + MEMORY_WAIT).await else {
            debug!("there is no memory for the revocation answer {name}");
            return;
        };
        let Some(stored) = world.store.load(name).await else {
            return;
        };
        let id = stored.query.id();
        // The file was replaced by a larger one in between.
        let Some(bytes) = paid.hold(stored.bytes) else { return };
        let Some(validity) = validity_of(&stored.query, &bytes).await else {
            warn!("the revocation answer {name} on disk is none: it is removed");
            world.store.remove(id).await;
            return;
        };
        let now = (world.clock)();
        let (soon, refresh_at) = (self.retry_at(now, 1), self.refresh_at(stored.since, &validity, now));
        let mut kept = lock(&self.kept);
        kept.uses += 1;
        let used = kept.uses;
        let answer = kept.answers.entry(id).or_insert_with(|| KeptAnswer {
            query: stored.query,
            validity,
            since: stored.since,
            bytes: None,
            candidate: None,
            used_at: stored.since,
            used,
            refresh_at,
            fruitless: 0,
        });
        // Something newer was proved meanwhile.
        if answer.since != stored.since || answer.bytes.is_some() {
            return;
        }
        answer.bytes = Some(bytes);
        kept.make_room(soon);
    }

    /// Takes in an answer that was proved, tells who has to know, and says whether it is to be written.
    fn take_in(&self, id: QueryId, query: &Query, bytes: &Arc<[u8]>, validity: Validity) -> bool {
        let Some(news) = self.prove(id, query, bytes, validity) else {
            return false;
        };
        self.scheduled.notify_one();
        if news {
            (self.world.changed)(id);
        }
        true
    }

    /// Takes in an answer that was proved, if it is not kept already and not older than what is. True where it took
    /// the place of another and nobody was told that it might.
    fn prove(&self, id: QueryId, query: &Query, bytes: &Arc<[u8]>, validity: Validity) -> Option<bool> {
        let now = (self.world.clock)();
        let retry_at = |fruitless| self.retry_at(now, fruitless);
        let refresh_at = self.refresh_at(now, &validity, now);
        let mut kept = lock(&self.kept);
        kept.uses += 1;
        let used = kept.uses;
        if let Some(answer) = kept.answers.get_mut(&id) {
            answer.used_at = answer.used_at.max(now);
            answer.used = used;
            let same = answer.bytes.as_ref() == Some(bytes);
            if same && answer.candidate.as_ref().is_some_and(|candidate| candidate.offered) {
                // A judgement that saw both proved this one.
                answer.candidate = None;
                answer.fruitless = answer.fruitless.saturating_add(1);
                answer.refresh_at = Some(retry_at(answer.fruitless));
            }
            if same || validity.this_update < answer.validity.this_update {
                kept.count();
                return None;
            }
        }
        let replaced = kept.answers.remove(&id);
        let announced = |answer: &KeptAnswer| {
            let candidate = answer.candidate.as_ref();
            candidate.is_some_and(|candidate| candidate.bytes == *bytes)
        };
        let is_seen = |answer: &KeptAnswer| answer.candidate.as_ref().is_some_and(|candidate| candidate.offered);
        // What was announced and seen may have become a verdict since that rests on the answer before.
        // Where answers were dropped, a verdict may rest on one that nobody remembers.
        let news = match &replaced {
            Some(answer) => !announced(answer) || is_seen(answer),
            None => kept.dropped,
        };
        let candidate = replaced
            .and_then(|answer| answer.candidate)
            .filter(|candidate| candidate.validity.this_update > validity.this_update);
        let answer = KeptAnswer {
            query: query.clone(),
            validity,
            since: now,
            bytes: Some(Arc::clone(bytes)),
            candidate,
            used_at: now,
            used,
            refresh_at,
            fruitless: 0,
        };
        kept.answers.insert(id, answer);
        kept.make_room(retry_at(1));
        Some(news)
    }

    /// The answers that are to be refreshed now, and when the next one is.
    fn due(&self, now: Timestamp) -> (Vec<(QueryId, Query)>, Option<Timestamp>) {
        let kept = lock(&self.kept);
        let mut due = Vec::new();
        let mut next: Option<Timestamp> = None;
        for (id, answer) in kept.answers.iter().filter(|(_, answer)| answer.is_in_use(now)) {
            match answer.refresh_at {
                Some(at) if at <= now => due.push((at, *id, &answer.query)),
                Some(at) => next = Some(next.map_or(at, |next| next.min(at))),
                None => {}
            }
        }
        due.sort_by_key(|(at, id, _)| (*at, *id));
        due.truncate(MAX_CONCURRENT_REFRESHES);
        let due = due.into_iter().map(|(_, id, query)| (id, query.clone())).collect();
        (due, next)
    }

    async fn refresh(&self, id: QueryId, query: Query) {
        let now = (self.world.clock)();
        let brought = match self.ask(&query, id, Source::Authority, now).await {
            Ok(bytes) => validity_of(&query, &bytes).await.map(|validity| (bytes, validity)),
            Err(_) => None,
        };
        if self.take_candidate(id, brought) {
            (self.world.changed)(id);
        }
    }

    /// Puts what a refresh brought beside the kept answer, if it may be newer, and says whether it did.
    fn take_candidate(&self, id: QueryId, brought: Option<(Arc<[u8]>, Validity)>) -> bool {
        let now = (self.world.clock)();
        let soon = self.retry_at(now, 1);
        let brought = brought.filter(|(_, validity)| is_current(validity, now));
        let mut guard = lock(&self.kept);
        let kept = &mut *guard;
        let Some(answer) = kept.answers.get_mut(&id) else {
            return false;
        };
        // A made-up candidate with a late date must not keep out the true one: the last to come counts, as long as it
        // is newer than what was proved.
        let newer = |(bytes, validity): &(Arc<[u8]>, Validity)| {
            validity.this_update > answer.validity.this_update
                && answer
                    .candidate
                    .as_ref()
                    .is_none_or(|candidate| candidate.bytes != *bytes)
        };
        let Some((bytes, validity)) = brought.filter(newer) else {
            answer.fruitless = answer.fruitless.saturating_add(1);
            answer.refresh_at = Some(self.retry_at(now, answer.fruitless));
            return false;
        };
        // Where nobody judges, it is asked again when the kept answer lapses, whatever the candidate says of itself.
        answer.fruitless = 0;
        let again = self.refresh_at(now, &validity, now);
        let lapse = answer
            .validity
            .next_update
            .unwrap_or(now)
            .max(self.retry_at(now, u32::MAX));
        answer.refresh_at = Some(again.map_or(lapse, |again| again.min(lapse)));
        answer.candidate = Some(Candidate {
            bytes,
            validity,
            offered: false,
        });
        // Others leave memory before the pair does: nothing but memory has the candidate.
        kept.uses += 1;
        answer.used = kept.uses;
        kept.make_room(soon);
        true
    }

    /// A random point in the first half of the last quarter of an answer's life: the other half is left for retries.
    /// Where that has passed it is soon, and not in one moment with all others.
    fn refresh_at(&self, since: Timestamp, validity: &Validity, now: Timestamp) -> Option<Timestamp> {
        let lapse = validity.next_update?;
        let life = since.duration_until(lapse).max(SignedDuration::ZERO);
        let before = (life / 8).saturating_add((life / 8).mul_f64((self.world.random)()));
        let soon = plus(now, MIN_REVOCATION_RETRY.mul_f64((self.world.random)()));
        let at = lapse.saturating_sub(before).unwrap_or(lapse);
        Some(at.max(soon))
    }

    /// After the n-th refresh in a row without anything newer.
    fn retry_at(&self, now: Timestamp, fruitless: u32) -> Timestamp {
        let doublings = fruitless.saturating_sub(1).min(16);
        let wait = MIN_REVOCATION_RETRY
            .saturating_mul(1 << doublings)
            .min(MAX_REVOCATION_RETRY);
        plus(now, wait.mul_f64(0.5 + (self.world.random)() / 2.0))
    }
}

impl Kept {
    /// Bounds what is kept: the bytes in memory, then the number. What was used longest ago goes; on disk it stays. A
    /// candidate is not on disk: where one has to go it is fetched again at `soon`.
    fn make_room(&mut self, soon: Timestamp) {
        self.count();
        while self.bytes > MAX_KEPT_REVOCATION_MEMORY {
            let holding = self
                .answers
                .values_mut()
                .filter(|answer| answer.bytes.is_some() || answer.candidate.is_some());
            let Some(oldest) = holding.min_by_key(|answer| answer.used) else {
                break;
            };
            // A candidate alone is nothing to choose from.
            oldest.bytes = None;
            if oldest.candidate.take().is_some() {
                oldest.refresh_at = Some(oldest.refresh_at.map_or(soon, |at| at.min(soon)));
            }
            self.count();
        }
        while self.answers.len() > MAX_KEPT_REVOCATION_ANSWERS {
            let Some(oldest) = self.answers.iter().min_by_key(|(_, answer)| answer.used) else {
                break;
            };
            let id = *oldest.0;
            self.answers.remove(&id);
            self.dropped = true;
        }
        self.count();
    }

    fn count(&mut self) {
        self.bytes = self.answers.values().map(KeptAnswer::size).sum();
    }

    fn forget_failures(&mut self) {
        // Nobody asked for longer than any retry waits.
        self.failing
            .retain(|_, failing| failing.at.elapsed() < 2 * MAX_REVOCATION_RETRY);
        if self.failing.len() > MAX_KEPT_REVOCATION_ANSWERS {
            let oldest = self.failing.iter().min_by_key(|(_, failing)| failing.at);
            if let Some(id) = oldest.map(|(id, _)| *id) {
                self.failing.remove(&id);
            }
        }
    }
}

impl KeptAnswer {
    fn size(&self) -> usize {
        let length = |bytes: &Arc<[u8]>| bytes.len();
        self.bytes.as_ref().map_or(0, length) + self.candidate.as_ref().map_or(0, |candidate| length(&candidate.bytes))
    }

    fn is_in_use(&self, now: Timestamp) -> bool {
        plus(self.used_at, REVOCATION_USE_WINDOW) > now
    }

    /// Hands out the candidate, if there is one that has not lapsed.
    fn offer(&mut self, now: Timestamp) -> Option<Arc<[u8]>> {
        let candidate = self.candidate.as_mut()?;
        if !is_current(&candidate.validity, now) {
            return None;
        }
        candidate.offered = true;
        Some(Arc::clone(&candidate.bytes))
    }

    /// Hands out the candidate in place of what the network would say. One that a judgement has seen and not proved is no
    /// word of the endpoint: with it, somebody in between would end the grace of an endpoint that is away.
    fn offer_unseen(&mut self, now: Timestamp) -> Option<Arc<[u8]>> {
        match &self.candidate {
            Some(candidate) if !candidate.offered => self.offer(now),
            _ => None,
        }
    }
}

/// Whether an answer counts at a moment, by what it says of itself.
fn is_current(validity: &Validity, now: Timestamp) -> bool {
    validity.next_update.is_some_and(|lapse| lapse > now) && validity.this_update <= plus(now, MAX_CLOCK_SKEW)
}

fn plus(at: Timestamp, wait: Duration) -> Timestamp {
    let wait = SignedDuration::try_from(wait).unwrap_or(SignedDuration::MAX);
    at.saturating_add(wait).unwrap_or(at)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
