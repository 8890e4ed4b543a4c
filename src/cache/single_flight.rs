//! Single flight: equal questions asked at once are worked on once.
//!
//! The work is a task of its own. It outlives its askers up to its own deadline, so one asker's cancellation cancels
//! nobody, and what a slow registry gave is there for the retry.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use thiserror::Error;
use tokio::sync::watch;

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
type Flights<K, V> = Mutex<HashMap<K, watch::Receiver<Answer<V>>>>;

/// The flights under way, by key.
#[derive(Debug)]
pub struct SingleFlight<K, V> {
    flights: Arc<Flights<K, V>>,
    limit: usize,
}

impl<K, V> Clone for SingleFlight<K, V> {
    fn clone(&self) -> Self {
        Self {
            flights: Arc::clone(&self.flights),
            limit: self.limit,
        }
    }
}

/// A flight that was joined or started. Dropping it leaves the flight alone.
#[derive(Clone, Debug)]
pub struct Flight<V> {
    answer: watch::Receiver<Answer<V>>,
}

impl<K, V> SingleFlight<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// No flights, and at most `limit` at once.
    pub fn new(limit: usize) -> Self {
        Self {
            flights: Arc::default(),
            limit,
        }
    }

    /// Joins the flight for `key`, or starts `work` as one that may last until `deadline` from now. Where a flight is
    /// joined, `work` is dropped unrun.
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
        if let Some(answer) = flights.get(&key) {
            return Ok(Flight { answer: answer.clone() });
        }
        if flights.len() >= self.limit {
            return Err(FlightError::TooMany(flights.len()));
        }
        let (sender, answer) = watch::channel(None);
        flights.insert(key.clone(), answer.clone());
        let landing = Landing {
            flights: Arc::clone(&self.flights),
            key,
            sender,
        };
        drop(flights);
        tokio::spawn(async move {
            // The landing is owned by the task, so the key is released and the askers are told however it ends:
            // returned, panicked, or dropped unpolled with the runtime.
            let landing = landing;
            let answer = tokio::time::timeout(deadline, async { work().await }).await;
            landing.land(answer.map_err(|_| FlightError::Deadline(deadline)));
        });
        Ok(Flight { answer })
    }

    /// How many flights are under way.
    pub fn len(&self) -> usize {
        lock(&self.flights).len()
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
    pub async fn outcome(mut self) -> Result<V, FlightError> {
        match self.answer.wait_for(Option::is_some).await {
            Ok(answer) => answer.clone().unwrap_or(Err(FlightError::BrokenOff)),
            Err(_) => Err(FlightError::BrokenOff),
        }
    }
}

/// Releases the key when it is dropped, and only then tells the askers: the first of its fields to be dropped after it
/// is the sender. Who asks after an answer was given starts anew.
struct Landing<K: Eq + Hash, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
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
        lock(&self.flights).remove(&self.key);
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
        let (single, runs) = (SingleFlight::new(1), Arc::new(AtomicUsize::new(0)));
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
        let (single, runs) = (SingleFlight::new(8), Arc::new(AtomicUsize::new(0)));
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
        let single: SingleFlight<_, usize> = SingleFlight::new(8);
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
        let single: SingleFlight<_, usize> = SingleFlight::new(8);
        let panicking = || -> std::future::Ready<usize> { panic!("before the flight") };
        let flight = single.join("image", DEADLINE, panicking).unwrap();
        assert_eq!(flight.outcome().await, Err(FlightError::BrokenOff));
        assert!(single.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn different_keys_run_in_parallel() {
        let (single, runs) = (SingleFlight::new(8), Arc::new(AtomicUsize::new(0)));
        let start = tokio::time::Instant::now();
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
        let (single, runs) = (SingleFlight::new(2), Arc::new(AtomicUsize::new(0)));
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
        let single: SingleFlight<_, usize> = SingleFlight::new(8);
        let flight = single.join("image", DEADLINE, std::future::pending).unwrap();
        let start = tokio::time::Instant::now();
        assert_eq!(flight.outcome().await, Err(FlightError::Deadline(DEADLINE)));
        assert_eq!(start.elapsed(), DEADLINE);
        assert!(single.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_after_the_answer_starts_anew() {
        let (single, runs) = (SingleFlight::new(8), Arc::new(AtomicUsize::new(0)));
        for expected in 1..=3 {
            let flight = single.join("image", DEADLINE, counted(&runs)).unwrap();
            assert_eq!(flight.outcome().await, Ok(expected));
        }
    }

    #[test]
    fn a_runtime_that_shuts_down_leaves_no_key_behind() {
        let single: SingleFlight<_, usize> = SingleFlight::new(8);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .unwrap();
        runtime.block_on(async { drop(single.join("image", DEADLINE, std::future::pending).unwrap()) });
        drop(runtime);
        assert!(single.is_empty());
    }
}
