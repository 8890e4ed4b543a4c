//! Randomness to spread work by. Nothing secret is made of it.

use std::hash::{BuildHasher as _, Hasher as _, RandomState};

/// 64 random bits: the system seeds every hasher differently.
pub(super) fn random_bits() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// A number in [0, 1).
pub(super) fn random() -> f64 {
    (random_bits() >> 11) as f64 / (1_u64 << 53) as f64
}
