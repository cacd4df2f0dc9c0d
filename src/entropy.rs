//! The one door through which randomness enters.
//!
//! Two kinds, by what they cost: [`fill`] draws from the thread's generator (ChaCha, seeded and re-seeded by the
//! operating system; about 24 ns for an IV) and serves IVs and identifiers; [`fill_key`] asks the operating system
//! each time (about 540 ns) and serves keys and tokens that live long.
//!
//! ```
//! use tower_ward::entropy::{array, fill, fill_key};
//!
//! let (mut iv, mut key) = ([0; 12], [0; 32]);
//! fill(&mut iv);
//! fill_key(&mut key);
//! assert!(iv != [0; 12] && key != [0; 32]);
//! assert_ne!(key, array::<32>(), "nobody gets the same twice");
//! ```
//!
//! # Security
//!
//! No function takes a seed. A generator that fails makes the process panic rather than hand out bytes: a sealed value
//! under a repeated IV is worse than a request that ends.

use rand::{Rng, TryRng, rngs::SysRng};

/// Fills `bytes` from the thread's generator. For IVs and identifiers.
///
/// # Panics
///
/// If the operating system's generator fails while this one is re-seeded.
pub fn fill(bytes: &mut [u8]) {
    #[expect(clippy::disallowed_methods, reason = "the one place that asks the thread's generator")]
    let mut generator = rand::rng();
    generator.fill_bytes(bytes);
}

/// Fills `bytes` from the operating system. For keys and long-lived tokens.
///
/// # Panics
///
/// If the operating system's generator fails.
pub fn fill_key(bytes: &mut [u8]) {
    SysRng.try_fill_bytes(bytes).expect("the operating system's random number generator answers");
}

/// An array of random bytes from the thread's generator.
#[must_use]
pub fn array<const N: usize>() -> [u8; N] {
    let mut out = [0; N];
    fill(&mut out);
    out
}
