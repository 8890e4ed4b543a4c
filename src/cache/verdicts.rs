//! The verdict cache: in memory, bounded, each verdict with the interval in which it holds.
//!
//! Sixteen locked maps with a clock hand each, and no cache library: the whole need is one map lookup, a comparison of
//! times and a bound, and an entry that the library may not yet have evicted or already have dropped would need the
//! same checks around it. A lookup takes one short lock that only one key in sixteen shares.
//!
//! Verdicts are deliberately never written to disk: a store that went back in time would revive them.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasher, RandomState};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use assay_verify::Timestamp;
use assay_verify::descriptor::Descriptor;
use assay_verify::reference::Repository;

/// Locks are shared by one key in this many.
const SHARDS: usize = 16;

/// Who asked. The answer to one hook is none to another: what they know of the image differs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Hook {
    /// containerd's image verifier.
    ContainerdImageVerifier,
    /// A person, through assayctl.
    Control,
}

impl Hook {
    /// Every hook, for closed label sets.
    pub const ALL: [Self; 2] = [Self::ContainerdImageVerifier, Self::Control];

    /// The name in journals and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ContainerdImageVerifier => "containerd-image-verifier",
            Self::Control => "control",
        }
    }
}

/// The question that a verdict answers. One digest under two repositories, or with two media types, is two questions.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct VerdictKey {
    /// The repository under its canonical name.
    pub repository: Repository,
    /// The whole descriptor of the image.
    pub descriptor: Descriptor,
    /// Who asked.
    pub hook: Hook,
    /// The generation of policy and trust that it was judged under.
    pub generation: u64,
}

/// When a verdict holds: from `not_before` on, and before `not_after`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interval {
    /// The first moment. A clock that was set back finds nothing.
    pub not_before: Timestamp,
    /// From here on the verdict still answers, and is to be judged again meanwhile.
    pub refresh_after: Timestamp,
    /// The first moment at which it no longer holds: the earliest change of anything it rests on.
    pub not_after: Timestamp,
}

/// A verdict that holds now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit<V> {
    /// The verdict.
    pub value: V,
    /// Whether it is time to judge again in the background.
    pub refresh_due: bool,
}

/// Verdicts by their key. `V` is cloned under a lock: make it an [`Arc`].
#[derive(Debug)]
pub struct VerdictCache<V> {
    shards: Box<[Mutex<Shard<V>>]>,
    hasher: RandomState,
    shard_capacity: usize,
}

#[derive(Debug)]
struct Shard<V> {
    entries: HashMap<Arc<VerdictKey>, Entry<V>>,
    // The clock: exactly the keys of `entries`. The hand takes from the front; what was used since it last came by goes
    // to the back once more.
    clock: VecDeque<Arc<VerdictKey>>,
}

#[derive(Debug)]
struct Entry<V> {
    value: V,
    interval: Interval,
    used: bool,
}

impl<V> Shard<V> {
    fn evict_one(&mut self) {
        while let Some(key) = self.clock.pop_front() {
            match self.entries.get_mut(&key) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.clock.push_back(key);
                }
                _ => {
                    self.entries.remove(&key);
                    return;
                }
            }
        }
    }
}

impl<V: Clone> VerdictCache<V> {
    /// An empty cache of at most `capacity` verdicts, rounded up to a multiple of the number of its locks.
    pub fn new(capacity: usize) -> Self {
        let shard = || {
            Mutex::new(Shard {
                entries: HashMap::new(),
                clock: VecDeque::new(),
            })
        };
        Self {
            shards: (0..SHARDS).map(|_| shard()).collect(),
            hasher: RandomState::new(),
            shard_capacity: capacity.div_ceil(SHARDS).max(1),
        }
    }

    /// The verdict that answers `key` at `now`; nothing outside its interval.
    pub fn get(&self, key: &VerdictKey, now: Timestamp) -> Option<Hit<V>> {
        let mut shard = self.shard(key)?;
        let entry = shard.entries.get_mut(key)?;
        let Interval {
            not_before,
            refresh_after,
            not_after,
        } = entry.interval;
        if now < not_before || now >= not_after {
            return None;
        }
        entry.used = true;
        Some(Hit {
            value: entry.value.clone(),
            refresh_due: now >= refresh_after,
        })
    }

    /// Remembers a verdict, in place of an older one for the same key. The bound holds before this returns.
    ///
    /// A verdict that was reached while a revocation arrived is inserted after [`VerdictCache::invalidate_if`] ran:
    /// the caller matches what it is about to answer against the deny-list again, whether it is cached or not.
    pub fn insert(&self, key: VerdictKey, value: V, interval: Interval) {
        let Some(mut shard) = self.shard(&key) else { return };
        // Not used yet: a verdict nobody asks for again leaves first.
        let entry = Entry {
            value,
            interval,
            used: false,
        };
        if let Some(existing) = shard.entries.get_mut(&key) {
            *existing = entry;
            return;
        }
        while shard.entries.len() >= self.shard_capacity {
            shard.evict_one();
        }
        let key = Arc::new(key);
        shard.clock.push_back(Arc::clone(&key));
        shard.entries.insert(key, entry);
    }

    /// Forgets every verdict that `rests_on` says is touched. What is not touched stays.
    pub fn invalidate_if(&self, mut rests_on: impl FnMut(&VerdictKey, &V) -> bool) {
        for shard in &self.shards {
            let mut guard = lock(shard);
            let Shard { entries, clock } = &mut *guard;
            entries.retain(|key, entry| !rests_on(key, &entry.value));
            clock.retain(|key| entries.contains_key(key));
        }
    }

    /// The same, and hands over what was forgotten.
    pub fn take_if(&self, mut rests_on: impl FnMut(&VerdictKey, &V) -> bool) -> Vec<(VerdictKey, V)> {
        let mut taken = Vec::new();
        self.invalidate_if(|key, value| {
            let is_touched = rests_on(key, value);
            if is_touched {
                taken.push((key.clone(), value.clone()));
            }
            is_touched
        });
        taken
    }

    /// Forgets everything.
    pub fn clear(&self) {
        self.invalidate_if(|_, _| true);
    }

    /// How many verdicts are held, those outside their interval included.
    pub fn len(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).entries.len()).sum()
    }

    /// Whether none is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn shard(&self, key: &VerdictKey) -> Option<MutexGuard<'_, Shard<V>>> {
        // The remainder as u64 is below SHARDS, so the cast keeps it.
        let index = (self.hasher.hash_one(key) % SHARDS as u64) as usize;
        self.shards.get(index).map(lock)
    }
}

// A lock is poisoned only by a panic in V's clone or in an invalidating closure. Neither leaves the maps broken in a
// way that could admit: at worst the clock names a key that is gone.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(1_800_000_000 + second).unwrap()
    }

    fn interval() -> Interval {
        Interval {
            not_before: at(0),
            refresh_after: at(50),
            not_after: at(60),
        }
    }

    fn key(name: &str) -> VerdictKey {
        let digest = assay_verify::digest::Digest::sha256(name.as_bytes());
        let json =
            format!(r#"{{"mediaType":"application/vnd.oci.image.manifest.v1+json","digest":"{digest}","size":1}}"#);
        VerdictKey {
            repository: "registry.example/app".parse().unwrap(),
            descriptor: Descriptor::from_json(json.as_bytes()).unwrap(),
            hook: Hook::ContainerdImageVerifier,
            generation: 1,
        }
    }

    fn cache_with(name: &str) -> VerdictCache<&'static str> {
        let cache = VerdictCache::new(100);
        cache.insert(key(name), "admit", interval());
        cache
    }

    #[test]
    fn answers_inside_the_interval_only() {
        let cache = cache_with("a");
        for (second, expected) in [
            (-1, None),
            (0, Some(false)),
            (49, Some(false)),
            (50, Some(true)),
            (59, Some(true)),
            (60, None),
        ] {
            let found = cache.get(&key("a"), at(second)).map(|hit| hit.refresh_due);
            assert_eq!(found, expected, "at {second} s");
        }
    }

    #[test]
    fn every_part_of_the_key_makes_another_question() {
        let cache = cache_with("a");
        let same = key("a");
        let mut media_type = same.clone();
        media_type.descriptor.media_type =
            assay_verify::descriptor::MediaType::parse(assay_verify::descriptor::MediaType::OCI_INDEX).unwrap();
        let mut size = same.clone();
        size.descriptor.size += 1;
        for other in [
            VerdictKey {
                repository: "registry.example/other".parse().unwrap(),
                ..same.clone()
            },
            VerdictKey {
                hook: Hook::Control,
                ..same.clone()
            },
            VerdictKey {
                generation: 2,
                ..same.clone()
            },
            media_type,
            size,
            key("b"),
        ] {
            assert_eq!(cache.get(&other, at(1)), None, "{other:?}");
        }
        assert!(cache.get(&same, at(1)).is_some());
    }

    #[test]
    fn a_new_verdict_replaces_the_old_one_and_its_interval() {
        let cache = cache_with("a");
        let later = Interval {
            not_before: at(10),
            refresh_after: at(90),
            not_after: at(100),
        };
        cache.insert(key("a"), "deny", later);
        assert_eq!(cache.get(&key("a"), at(5)), None);
        assert_eq!(cache.get(&key("a"), at(70)).map(|hit| hit.value), Some("deny"));
        assert_eq!(cache.len(), 1);
    }

    #[test]
    fn invalidates_what_is_touched_and_nothing_else() {
        let cache = cache_with("a");
        cache.insert(key("b"), "rests on a revoked key", interval());
        cache.invalidate_if(|_, value| value.contains("revoked"));
        assert!(cache.get(&key("a"), at(1)).is_some());
        assert!(cache.get(&key("b"), at(1)).is_none());
        cache.clear();
        assert!(cache.is_empty());
    }

    #[test]
    fn stays_within_its_bound_and_keeps_what_is_used() {
        let cache = cache_with("a");
        for number in 0..1000 {
            cache.insert(key(&number.to_string()), "admit", interval());
            assert!(cache.get(&key("a"), at(1)).is_some(), "after {number}");
        }
        assert!(cache.len() <= 100usize.div_ceil(SHARDS) * SHARDS, "{}", cache.len());
    }

    #[test]
    fn invalidated_keys_leave_no_trace_in_the_clock() {
        let cache = VerdictCache::new(SHARDS);
        for round in 0..100 {
            cache.insert(key("a"), round, interval());
            cache.clear();
        }
        let traces: usize = cache.shards.iter().map(|shard| lock(shard).clock.len()).sum();
        assert_eq!(traces, 0);
    }
}
