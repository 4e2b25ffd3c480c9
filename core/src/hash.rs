//! The keyed hasher of every hash table in the broker: reproducible from the seed, and safe
//! against clients that choose colliding names.

use core::hash::BuildHasher;

use siphasher::sip::SipHasher13;

use crate::rng::{Rng, Seed};

/// Builds SipHash-1-3 hashers under one key.
#[derive(Clone, Debug)]
pub struct KeyedState {
    key0: u64,
    key1: u64,
}

impl KeyedState {
    /// A state whose key is derived from `seed`.
    #[must_use]
    pub fn new(seed: Seed) -> Self {
        let mut rng = Rng::new(Seed(seed.0 ^ 0x6861_7368_6B65_7973));
        KeyedState { key0: rng.next_u64(), key1: rng.next_u64() }
    }
}

impl BuildHasher for KeyedState {
    type Hasher = SipHasher13;

    fn build_hasher(&self) -> SipHasher13 {
        SipHasher13::new_with_keys(self.key0, self.key1)
    }
}

/// A hash map under the broker's key. Its order must never reach an output.
pub(crate) type KeyedMap<K, V> = hashbrown::HashMap<K, V, KeyedState>;
