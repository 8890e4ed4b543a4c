//! Randomness that is the same in every run with the same seed. Nothing secret is made of it.

use std::time::Duration;

/// SplitMix64 (Steele, Lea, Flood: Fast splittable pseudorandom number generators, 2014).
#[derive(Clone, Debug)]
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn new(seed: u64) -> Self {
        let mut random = Self(seed);
        // Seeds that differ by little give states that differ by much.
        random.0 = random.bits();
        random
    }

    /// 64 bits, each value as likely as any other.
    pub(crate) fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A uniform part of a time.
    pub(crate) fn part(&mut self, whole: Duration) -> Duration {
        whole.mul_f64((self.bits() >> 11) as f64 / (1_u64 << 53) as f64)
    }
}
