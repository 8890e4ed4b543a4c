//! Memory and time of one verification, and the memory of the whole process.
//!
//! Bytes in flight are paid for with permits, and the permits are held as long as the bytes. There are three purses: the
//! verification's, the registry's and the process's. A registry has half of the process, so that one that sends endless
//! listings cannot starve the others.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, timeout_at};

use assay_verify::limits::{MAX_PROCESS_MEMORY, MAX_VERIFICATION_MEMORY, MEMORY_WAIT};

use super::error::FetchError;

/// The memory of the process. One for the life of the daemon: it outlives a change of the fetcher's configuration.
#[derive(Clone, Debug)]
pub struct ProcessMemory(Arc<Semaphore>);

impl Default for ProcessMemory {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_PROCESS_MEMORY)))
    }
}

impl ProcessMemory {
    /// A purse of its own, beside the one of evidence.
    pub(super) fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }

    /// Pays for `bytes` that belong to no verification.
    pub(super) async fn reserve(&self, bytes: usize, deadline: Instant) -> Result<OwnedSemaphorePermit, FetchError> {
        let permits = u32::try_from(bytes).map_err(|_| FetchError::ProcessMemory)?;
        let give_up = deadline.min(Instant::now() + MEMORY_WAIT);
        match timeout_at(give_up, Arc::clone(&self.0).acquire_many_owned(permits)).await {
            Ok(Ok(permit)) => Ok(permit),
            // The purse is never closed.
            Ok(Err(_)) | Err(_) => Err(FetchError::ProcessMemory),
        }
    }

    /// Bytes that nobody holds.
    pub fn available(&self) -> usize {
        self.0.available_permits()
    }

    /// The budget of one verification that must end at `deadline`.
    pub fn budget(&self, deadline: Instant) -> Budget {
        Budget {
            verification: Arc::new(Semaphore::new(MAX_VERIFICATION_MEMORY)),
            process: Arc::clone(&self.0),
            deadline,
            _paid: None,
        }
    }
}

/// The budget of one verification. Clones draw on the same purse.
#[derive(Clone, Debug)]
pub struct Budget {
    verification: Arc<Semaphore>,
    process: Arc<Semaphore>,
    deadline: Instant,
    /// What a portion was paid with, given back when nobody draws on it any more.
    _paid: Option<Arc<OwnedSemaphorePermit>>,
}

/// What the requests of a search will take, paid for or not yet.
#[derive(Clone, Debug, Default)]
pub(super) struct Promises(Arc<AtomicUsize>);

impl Promises {
    /// Bytes in all.
    pub(super) fn bytes(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// What one request will take, for each byte of its answer `per_byte`. At first it is what almost all take: one that
    /// is never answered keeps no more than that from the others.
    pub(super) fn promise(&self, length: usize, per_byte: usize) -> Promise {
        let promise = Promise {
            all: self.clone(),
            length: AtomicUsize::new(0),
            per_byte,
        };
        promise.grow_to(length);
        promise
    }
}

/// A request's part of [`Promises`], until it is dropped.
#[derive(Debug)]
pub(super) struct Promise {
    all: Promises,
    length: AtomicUsize,
    per_byte: usize,
}

impl Promise {
    /// Promises for an answer of so many bytes, if it was less before.
    pub(super) fn grow_to(&self, length: usize) {
        let before = self.length.fetch_max(length, Ordering::Relaxed);
        let more = length.saturating_sub(before) * self.per_byte;
        self.all.0.fetch_add(more, Ordering::Relaxed);
    }
}

impl Drop for Promise {
    fn drop(&mut self) {
        let bytes = self.length.load(Ordering::Relaxed) * self.per_byte;
        self.all.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

/// The share of the process's memory that one registry may hold.
#[derive(Clone, Debug)]
pub(super) struct RegistryShare(Arc<Semaphore>);

impl Default for RegistryShare {
    fn default() -> Self {
        Self(Arc::new(Semaphore::new(MAX_PROCESS_MEMORY / 2)))
    }
}

impl RegistryShare {
    pub(super) fn of(bytes: usize) -> Self {
        Self(Arc::new(Semaphore::new(bytes)))
    }
}

impl Budget {
    /// When the verification must end.
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Bytes that this verification may still take.
    pub fn available(&self) -> usize {
        self.verification.available_permits()
    }

    /// A purse of its own for one answer of at most `bytes`, taken from the verification at once: whatever else of the
    /// verification is read meanwhile, that answer never waits for it.
    pub(super) fn portion(&self, bytes: usize) -> Result<Self, FetchError> {
        let permits = u32::try_from(bytes).map_err(|_| FetchError::VerificationMemory)?;
        let paid = Arc::clone(&self.verification).try_acquire_many_owned(permits);
        let paid = paid.map_err(|_| FetchError::VerificationMemory)?;
        Ok(Self {
            verification: Arc::new(Semaphore::new(bytes)),
            process: Arc::clone(&self.process),
            deadline: self.deadline,
            _paid: Some(Arc::new(paid)),
        })
    }

    /// Pays for `bytes`. Nothing is allocated: whoever reads later reads into what is paid for.
    pub(super) async fn reserve(&self, share: &RegistryShare, bytes: usize) -> Result<Lease, FetchError> {
        let permits = u32::try_from(bytes)
            .ok()
            .filter(|_| bytes <= MAX_VERIFICATION_MEMORY)
            .ok_or(FetchError::VerificationMemory)?;
        let give_up = self.deadline.min(Instant::now() + MEMORY_WAIT);
        let acquire = |purse: &Arc<Semaphore>, full: FetchError| {
            let waiting = Arc::clone(purse).acquire_many_owned(permits);
            async move {
                match timeout_at(give_up, waiting).await {
                    Ok(Ok(permit)) => Ok(permit),
                    // The purses are never closed.
                    Ok(Err(_)) | Err(_) => Err(full),
                }
            }
        };
        // The narrowest first, so that who waits for its own bytes holds nothing that others need.
        let verification = acquire(&self.verification, FetchError::VerificationMemory).await?;
        let registry = acquire(&share.0, FetchError::ProcessMemory).await?;
        let process = acquire(&self.process, FetchError::ProcessMemory).await?;
        Ok(Lease {
            verification,
            registry,
            process,
        })
    }
}

/// Permits for bytes in flight. Dropping it gives them back.
#[derive(Debug)]
pub(super) struct Lease {
    verification: OwnedSemaphorePermit,
    registry: OwnedSemaphorePermit,
    process: OwnedSemaphorePermit,
}

impl Lease {
    /// The bytes that are paid for.
    pub(super) fn bytes(&self) -> usize {
        self.verification.num_permits()
    }

    /// Joins another lease of the same verification and registry.
    pub(super) fn merge(&mut self, other: Self) {
        self.verification.merge(other.verification);
        self.registry.merge(other.registry);
        self.process.merge(other.process);
    }

    /// Gives back the shares of the verification and the registry: the bytes outlive the request.
    pub(super) fn into_process(self) -> OwnedSemaphorePermit {
        self.process
    }

    /// Gives back what is more than `bytes`.
    pub(super) fn shrink_to(&mut self, bytes: usize) {
        let surplus = self.bytes().saturating_sub(bytes);
        drop(self.verification.split(surplus));
        drop(self.registry.split(surplus));
        drop(self.process.split(surplus));
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_promise_grows_and_ends() {
        let promises = Promises::default();
        let (one, other) = (promises.promise(10, 2), promises.promise(5, 1));
        assert_eq!(promises.bytes(), 25);
        one.grow_to(20);
        one.grow_to(3);
        assert_eq!(promises.bytes(), 45);
        drop(one);
        assert_eq!(promises.bytes(), 5);
        drop(other);
        assert_eq!(promises.bytes(), 0);
    }

    #[tokio::test]
    async fn a_lease_is_given_back_when_it_is_dropped() {
        let process = ProcessMemory::default();
        let budget = process.budget(soon());
        let mut lease = budget.reserve(&RegistryShare::default(), 1000).await.unwrap();
        assert_eq!(process.available(), MAX_PROCESS_MEMORY - 1000);
        lease.shrink_to(10);
        assert_eq!(lease.bytes(), 10);
        assert_eq!(process.available(), MAX_PROCESS_MEMORY - 10);
        assert_eq!(budget.available(), MAX_VERIFICATION_MEMORY - 10);
        drop(lease);
        assert_eq!(process.available(), MAX_PROCESS_MEMORY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_verification_holds_no_more_than_its_own() {
        let process = ProcessMemory::default();
        let (budget, share) = (process.budget(soon()), RegistryShare::default());
        let _all = budget.reserve(&share, MAX_VERIFICATION_MEMORY).await.unwrap();
        assert!(matches!(
            budget.reserve(&share, 1).await,
            Err(FetchError::VerificationMemory)
        ));
        assert!(process.budget(soon()).reserve(&share, 1).await.is_ok());
    }

    #[tokio::test(start_paused = true)]
    async fn a_portion_is_there_whatever_else_the_verification_holds_and_comes_back_with_its_last_holder() {
        let process = ProcessMemory::default();
        let (budget, share) = (process.budget(soon()), RegistryShare::default());
        let portion = budget.portion(1000).unwrap();
        let rest = budget.reserve(&share, MAX_VERIFICATION_MEMORY - 1000).await.unwrap();
        assert!(matches!(budget.portion(1), Err(FetchError::VerificationMemory)));
        let lease = portion.reserve(&share, 1000).await.unwrap();
        assert!(matches!(
            portion.reserve(&share, 1).await,
            Err(FetchError::VerificationMemory)
        ));
        assert_eq!(process.available(), MAX_PROCESS_MEMORY - MAX_VERIFICATION_MEMORY);
        drop((lease, rest));
        assert_eq!(budget.available(), MAX_VERIFICATION_MEMORY - 1000);
        drop(portion);
        assert_eq!(budget.available(), MAX_VERIFICATION_MEMORY);
        assert_eq!(process.available(), MAX_PROCESS_MEMORY);
    }

    #[tokio::test(start_paused = true)]
    async fn a_registry_holds_no_more_than_its_share() {
        let process = ProcessMemory::default();
        let greedy = RegistryShare::default();
        let mut held = Vec::new();
        while held.len() * MAX_VERIFICATION_MEMORY < MAX_PROCESS_MEMORY / 2 {
            held.push(
                process
                    .budget(soon())
                    .reserve(&greedy, MAX_VERIFICATION_MEMORY)
                    .await
                    .unwrap(),
            );
        }
        assert!(matches!(
            process.budget(soon()).reserve(&greedy, 1).await,
            Err(FetchError::ProcessMemory)
        ));
        assert!(
            process
                .budget(soon())
                .reserve(&RegistryShare::default(), 1)
                .await
                .is_ok()
        );
    }

    #[tokio::test(start_paused = true)]
    async fn who_waits_gets_what_others_give_back() {
        let process = ProcessMemory::default();
        let (budget, share) = (process.budget(soon()), RegistryShare::default());
        let all = budget.reserve(&share, MAX_VERIFICATION_MEMORY).await.unwrap();
        let waiting = tokio::spawn(async move { budget.reserve(&share, 5).await.map(|lease| lease.bytes()) });
        tokio::time::sleep(Duration::from_secs(1)).await;
        drop(all);
        assert_eq!(waiting.await.unwrap().unwrap(), 5);
    }
}
