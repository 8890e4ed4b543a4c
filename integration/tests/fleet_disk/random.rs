//! Numbers that a failed run can be repeated with.

use std::env;
use std::time::{SystemTime, UNIX_EPOCH};

/// Repeats a run, when it is set to what that run printed.
const SEED: &str = "ASSAY_SEED";

/// SplitMix64: all that is asked of it is that a seed gives the same numbers again.
pub(crate) struct Random(u64);

impl Random {
    /// With the seed that the environment names or another each time, which is printed.
    pub(crate) fn seeded() -> Self {
        let named = env::var(SEED).ok().map(|seed| seed.parse().expect(SEED));
        let seed = named.unwrap_or_else(|| {
            let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            now.as_secs() ^ u64::from(now.subsec_nanos())
        });
        println!("{SEED}={seed}");
        Self(seed)
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// One of these.
    pub(crate) fn one_of<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[usize::try_from(self.next() % of.len() as u64).unwrap()]
    }
}
