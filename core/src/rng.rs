//! The broker's only randomness: a small generator whose values never change between versions.

/// What every random choice of a [`Broker`](crate::Broker) is derived from.
///
/// Two brokers with the same seed and the same inputs produce the same outputs. In production it
/// comes from the operating system and also keys the hash tables against flooding.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seed(pub u64);

/// SplitMix64: one word of state, full period, and the same values on every machine.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
}

impl Rng {
    pub(crate) fn new(seed: Seed) -> Self {
        Rng { state: seed.0 }
    }

    pub(crate) fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_the_published_ones() {
        let mut rng = Rng::new(Seed(1_234_567));
        let values: [u64; 3] = core::array::from_fn(|_| rng.next_u64());
        assert_eq!(
            values,
            [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
        );
    }
}
