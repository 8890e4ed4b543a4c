//! Single flight: equal questions asked at once are worked on once.
//!
//! The work is a task of its own. It outlives its askers up to its own deadline, so one asker's cancellation cancels
//! nobody, and what a slow registry gave is there for the retry. Work that hangs must not hold up those who ask after its
//! cause is mended: who meets an old flight starts another beside it, and takes the answer that comes first.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::pin::pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use futures_util::future::{Either, select};
use thiserror::Error;
use tokio::sync::watch;
use tokio::time::Instant;

/// Why a flight has no value. Each is inconclusive: it says nothing about the image.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum FlightError {
    /// As many flights as the limit are under way, none of them for this key.
    #[error("{0} other questions are being worked on already")]
    TooMany(usize),
    /// The flight's own deadline passed.
    #[error("the work took longer than {} s", .0.as_secs())]
    Deadline(Duration),
    /// The work panicked, or the runtime is shutting down.
    #[error("the work was broken off")]
    BrokenOff,
}

type Answer<V> = Option<Result<V, FlightError>>;
type Flights<K, V> = Mutex<UnderWay<K, V>>;

#[derive(Debug)]
struct UnderWay<K, V> {
    /// The latest flight of each key: the one that is joined.
    latest: HashMap<K, Latest<V>>,
    /// All flights, also those that are no longer the latest.
    count: usize,
    /// Tells the flights of one key apart.
    last_number: u64,
}

#[derive(Debug)]
struct Latest<V> {
    answer: watch::Receiver<Answer<V>>,
    since: Instant,
    number: u64,
}

/// The flights under way, by key.
#[derive(Debug)]
pub struct SingleFlight<K, V> {
    flights: Arc<Flights<K, V>>,
    limit: usize,
    stale_after: Duration,
}

impl<K, V> Clone for SingleFlight<K, V> {
    fn clone(&self) -> Self {
        Self {
            flights: Arc::clone(&self.flights),
            limit: self.limit,
            stale_after: self.stale_after,
        }
    }
}

/// A flight that was joined or started. Dropping it leaves the flight alone.
#[derive(Clone, Debug)]
pub struct Flight<V> {
    answer: watch::Receiver<Answer<V>>,
    /// The old flight beside which this one was started.
    older: Option<watch::Receiver<Answer<V>>>,
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// No flights, and at most `limit` at once. One that is older than `stale_after` is no longer joined alone.
    pub fn new(limit: usize, stale_after: Duration) -> Self {
        let under_way = UnderWay {
            latest: HashMap::new(),
            count: 0,
            last_number: 0,
        };
        Self {
            flights: Arc::new(Mutex::new(under_way)),
            limit,
            stale_after,
        }
    }

    /// Joins the flight for `key`, or starts `work` as one that may last until `deadline` from now. Where a flight is
    /// joined, `work` is dropped unrun. Where the flight is stale, `work` is started beside it.
    ///
    /// # Errors
    ///
    /// [`FlightError::TooMany`] when the limit is reached; joining is never refused.
    ///
    /// # Panics
    ///
    /// Outside a tokio runtime.
    pub fn join<F, Work>(&self, key: K, deadline: Duration, work: F) -> Result<Flight<V>, FlightError>
    where
        F: FnOnce() -> Work + Send + 'static,
        Work: Future<Output = V> + Send,
    {
        let mut flights = lock(&self.flights);
        let full = flights.count >= self.limit;
        let older = match flights.latest.get(&key) {
            // At the limit an old flight is better than none.
            Some(latest) if full || latest.since.elapsed() < self.stale_after => {
                return Ok(Flight {
                    answer: latest.answer.clone(),
                    older: None,
                });
            }
            Some(stale) => Some(stale.answer.clone()),
            None if full => return Err(FlightError::TooMany(flights.count)),
            None => None,
        };
        let (sender, answer) = watch::channel(None);
        flights.last_number += 1;
        flights.count += 1;
        let number = flights.last_number;
        let latest = Latest {
            answer: answer.clone(),
            since: Instant::now(),
            number,
        };
        flights.latest.insert(key.clone(), latest);
        drop(flights);
        let landing = Landing {
            flights: Arc::clone(&self.flights),
            key,
            number,
            sender,
        };
        tokio::spawn(async move {
            // The landing is owned by the task, so the key is released and the askers are told however it ends:
            // returned, panicked, or dropped unpolled with the runtime.
            let landing = landing;
            let answer = tokio::time::timeout(deadline, async { work().await }).await;
            landing.land(answer.map_err(|_| FlightError::Deadline(deadline)));
        });
        Ok(Flight { answer, older })
    }

    /// How many flights are under way.
    pub fn len(&self) -> usize {
        lock(&self.flights).count
    }

    /// Whether none is under way.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl<V: Clone> Flight<V> {
    /// Waits for the flight's end. May be dropped at any time.
    ///
    /// # Errors
    ///
    /// When the flight ended without a value.
    pub async fn outcome(self) -> Result<V, FlightError> {
        let answer = landed(self.answer);
        let Some(older) = self.older else { return answer.await };
        match select(pin!(answer), pin!(landed(older))).await {
            Either::Left((answer, _)) | Either::Right((answer @ Ok(_), _)) => answer,
            // That the old one failed says nothing about the new one.
            Either::Right((Err(_), answer)) => answer.await,
        }
    }
}

async fn landed<V: Clone>(mut flight: watch::Receiver<Answer<V>>) -> Result<V, FlightError> {
    match flight.wait_for(Option::is_some).await {
        Ok(answer) => answer.clone().unwrap_or(Err(FlightError::BrokenOff)),
        Err(_) => Err(FlightError::BrokenOff),
    }
}

/// Releases the key when it is dropped, and only then tells the askers: the first of its fields to be dropped after it
/// is the sender. Who asks after an answer was given starts anew.
struct Landing<K: Eq + Hash, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
    number: u64,
    sender: watch::Sender<Answer<V>>,
}

impl<K: Eq + Hash, V> Landing<K, V> {
    fn land(self, answer: Result<V, FlightError>) {
        let sender = self.sender.clone();
        drop(self);
        sender.send_replace(Some(answer));
    }
}

impl<K: Eq + Hash, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let mut flights = lock(&self.flights);
        flights.count -= 1;
        if flights
            .latest
            .get(&self.key)
            .is_some_and(|latest| latest.number == self.number)
        {
            flights.latest.remove(&self.key);
        }
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    const DEADLINE: Duration = Duration::from_secs(60);
    const WORK: Duration = Duration::from_secs(12);
    const STALE: Duration = Duration::from_secs(15);

    fn counted(runs: &Arc<AtomicUsize>) -> impl FnOnce() -> WorkFuture + Send + use<> {
        let runs = Arc::clone(runs);
        move || {
            Box::pin(async move {
                tokio::time::sleep(WORK).await;
                runs.fetch_add(1, Ordering::SeqCst) + 1
            })
        }
    }

    type WorkFuture = std::pin::Pin<Box<dyn Future<Output = usize> + Send>>;

    #[tokio::test(start_paused = true)]
    async fn a_thousand_equal_askers_run_the_work_once() {
        let (single, runs) = (SingleFlight::new(1, STALE), Arc::new(AtomicUsize::new(0)));
        let flights: Vec<_> = (0..1000)
            .map(|_| single.join("image", DEADLINE, counted(&runs)).unwrap())
            .collect();
        for flight in flights {
            assert_eq!(flight.outcome().await, Ok(1));
        }
        assert!(single.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_dropped_asker_cancels_nobody_and_the_work_goes_on_without_any() {
        let (single, runs) = (SingleFlight::new(8, STALE), Arc::new(AtomicUsize::new(0)));
        let first = single.join("image", DEADLINE, counted(&runs)).unwrap();
        let second = single.join("image", DEADLINE, counted(&runs)).unwrap();
        assert!(
            tokio::time::timeout(Duration::from_secs(1), first.outcome())
                .await
                .is_err()
        );
        assert_eq!(second.outcome().await, Ok(1));

        drop(single.join("image", DEADLINE, counted(&runs)).unwrap());
        tokio::time::sleep(2 * WORK).await;
        assert_eq!(runs.load(Ordering::SeqCst), 2);
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_is_an_error_for_every_asker_and_releases_the_key() {
        let single: SingleFlight<_, usize> = SingleFlight::new(8, STALE);
        let work = || async {
            tokio::task::yield_now().await;
            panic!("in the flight")
        };
        let flights = [(); 3].map(|()| single.join("image", DEADLINE, work).unwrap());
        for flight in flights {
            assert_eq!(flight.outcome().await, Err(FlightError::BrokenOff));
        }
        let again = single.join("image", DEADLINE, || async { 7 }).unwrap();
        assert_eq!(again.outcome().await, Ok(7));
    }

    #[tokio::test(start_paused = true)]
    async fn a_panic_before_the_first_await_is_an_error_too() {
        let single: SingleFlight<_, usize> = SingleFlight::new(8, STALE);
        let panicking = || -> std::future::Ready<usize> { panic!("before the flight") };
        let flight = single.join("image", DEADLINE, panicking).unwrap();
        assert_eq!(flight.outcome().await, Err(FlightError::BrokenOff));
        assert!(single.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn different_keys_run_in_parallel() {
        let (single, runs) = (SingleFlight::new(8, STALE), Arc::new(AtomicUsize::new(0)));
        let start = Instant::now();
        let flights: Vec<_> = (0..8)
            .map(|key| single.join(key, DEADLINE, counted(&runs)).unwrap())
            .collect();
        for flight in flights {
            flight.outcome().await.unwrap();
        }
        assert_eq!(start.elapsed(), WORK);
    }

    #[tokio::test(start_paused = true)]
    async fn refuses_another_key_at_the_limit_but_lets_equal_ones_join() {
        let (single, runs) = (SingleFlight::new(2, STALE), Arc::new(AtomicUsize::new(0)));
        let first = single.join(1, DEADLINE, counted(&runs)).unwrap();
        let _second = single.join(2, DEADLINE, counted(&runs)).unwrap();
        let refused = single.join(3, DEADLINE, counted(&runs)).map(drop);
        assert_eq!(refused, Err(FlightError::TooMany(2)));
        assert!(single.join(1, DEADLINE, counted(&runs)).is_ok());
        first.outcome().await.unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(single.join(3, DEADLINE, counted(&runs)).is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn ends_at_its_own_deadline() {
        let single: SingleFlight<_, usize> = SingleFlight::new(8, STALE);
        let flight = single.join("image", DEADLINE, std::future::pending).unwrap();
        let start = Instant::now();
        assert_eq!(flight.outcome().await, Err(FlightError::Deadline(DEADLINE)));
        assert_eq!(start.elapsed(), DEADLINE);
        assert!(single.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_flight_that_hangs_holds_nobody_up_who_asks_later() {
        let single = SingleFlight::new(8, STALE);
        let hanging = single.join("image", DEADLINE, std::future::pending).unwrap();
        tokio::time::sleep(STALE - Duration::from_millis(1)).await;
        let joined = single.join("image", DEADLINE, || async { 1 }).unwrap();
        tokio::time::sleep(Duration::from_millis(1)).await;
        let fresh = single.join("image", DEADLINE, || async { 2 }).unwrap();
        assert_eq!(fresh.outcome().await, Ok(2));
        assert_eq!(single.len(), 1);
        // The one that hangs is not joined again, and its end takes nothing away from another.
        let slow = || async {
            tokio::time::sleep(DEADLINE - STALE + WORK).await;
            3
        };
        let next = single.join("image", 2 * DEADLINE, slow).unwrap();
        assert_eq!(hanging.outcome().await, Err(FlightError::Deadline(DEADLINE)));
        assert_eq!(joined.outcome().await, Err(FlightError::Deadline(DEADLINE)));
        assert_eq!(single.len(), 1);
        assert_eq!(next.outcome().await, Ok(3));
        assert!(single.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn what_an_old_flight_brings_home_first_is_the_answer() {
        let single = SingleFlight::new(8, STALE);
        let work = |seconds, value| {
            move || async move {
                tokio::time::sleep(Duration::from_secs(seconds)).await;
                value
            }
        };
        let _old = single.join("image", DEADLINE, work(20, 1)).unwrap();
        tokio::time::sleep(STALE).await;
        let fresh = single.join("image", DEADLINE, work(20, 2)).unwrap();
        let start = Instant::now();
        assert_eq!(fresh.outcome().await, Ok(1));
        assert_eq!(start.elapsed(), Duration::from_secs(5));
    }

    #[tokio::test(start_paused = true)]
    async fn who_finds_only_a_stale_flight_at_the_limit_joins_it() {
        let single = SingleFlight::new(1, STALE);
        let _old = single.join("image", DEADLINE, std::future::pending::<u8>).unwrap();
        tokio::time::sleep(STALE).await;
        let joined = single.join("image", DEADLINE, std::future::pending).unwrap();
        assert_eq!(single.len(), 1);
        assert_eq!(joined.outcome().await, Err(FlightError::Deadline(DEADLINE)));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_after_the_answer_starts_anew() {
        let (single, runs) = (SingleFlight::new(8, STALE), Arc::new(AtomicUsize::new(0)));
        for expected in 1..=3 {
            let flight = single.join("image", DEADLINE, counted(&runs)).unwrap();
            assert_eq!(flight.outcome().await, Ok(expected));
        }
    }

    #[test]
    fn a_runtime_that_shuts_down_leaves_no_key_behind() {
        let single: SingleFlight<_, usize> = SingleFlight::new(8, STALE);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { drop(single.join("image", DEADLINE, std::future::pending).unwrap()) });
        drop(runtime);
        assert!(single.is_empty());
    }
}
