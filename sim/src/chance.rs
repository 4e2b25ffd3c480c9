//! Chance that repeats: named streams of numbers, all derived from one seed.
//!
//! Each place that leaves something to chance draws from a stream of its own, so that a draw added
//! in one place changes nothing in another.

/// The streams of a run.
#[derive(Clone, Copy, Debug)]
pub struct Streams {
    seed: u64,
}

impl Streams {
    /// The streams that belong to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self { seed }
    }

    /// The stream called `name`, from its beginning.
    #[must_use]
    pub fn stream(&self, name: &str) -> Stream {
        // One step of the generator parts streams of neighbouring seeds as well as it parts names.
        let mut seeded = Stream { state: self.seed };
        Stream { state: seeded.next_u64() ^ hash64(name.as_bytes()) }
    }
}

/// A stream of numbers: SplitMix64.
#[derive(Clone, Debug)]
pub struct Stream {
    state: u64,
}

impl Stream {
    /// The next number.
    pub fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `bound`, which must not be 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        assert!(bound > 0, "there is no number below 0");
        let wide = u128::from(self.next_u64()) * u128::from(bound);
        // The upper half of the product is below the bound, which fits.
        (wide >> 64) as u64
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        assert!(low <= high, "a range from {low} to {high} is empty");
        match (high - low).checked_add(1) {
            Some(span) => low + self.below(span),
            None => self.next_u64(),
        }
    }

    /// True once in `n` times on average.
    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    /// One of `choices`, of which there must be some.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> &'a T {
        let index = self.below(choices.len() as u64);
        // Below the length of a slice, which is a usize.
        &choices[index as usize]
    }
}

/// FNV-1a of 64 bits: the same on every machine and in every build.
#[must_use]
pub fn hash64(bytes: &[u8]) -> u64 {
    let mix = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01B3);
    bytes.iter().fold(0xCBF2_9CE4_8422_2325, mix)
}

/// [`hash64`] folded to 32 bits.
#[must_use]
pub fn hash32(bytes: &[u8]) -> u32 {
    let hash = hash64(bytes);
    // Folding: the upper half is mixed into the lower one, which is kept.
    (hash ^ (hash >> 32)) as u32
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn a_stream_repeats_and_keeps_its_values() {
        let mut stream = Streams::new(7).stream("client 0 acks");
        let drawn: Vec<u64> = (0..3).map(|_| stream.next_u64()).collect();
        let mut again = Streams::new(7).stream("client 0 acks");
        assert_eq!(drawn, (0..3).map(|_| again.next_u64()).collect::<Vec<u64>>());
        // SplitMix64 from 0, as published with the algorithm.
        let mut zero = Stream { state: 0 };
        assert_eq!(zero.next_u64(), 0xE220_A839_7B1D_CDAF);
        assert_eq!(zero.next_u64(), 0x6E78_9E6A_A1B9_65F4);
    }

    #[test]
    fn names_and_seeds_part_streams() {
        let first = Streams::new(1).stream("a").next_u64();
        assert_ne!(first, Streams::new(1).stream("b").next_u64());
        assert_ne!(first, Streams::new(2).stream("a").next_u64());
    }

    #[test]
    fn draws_stay_in_their_range() {
        let mut stream = Streams::new(3).stream("range");
        let drawn: BTreeSet<u64> = (0..200).map(|_| stream.between(10, 13)).collect();
        assert_eq!(drawn, BTreeSet::from([10, 11, 12, 13]));
        assert_eq!(stream.between(5, 5), 5);
        let _ = stream.between(0, u64::MAX);
        assert!(stream.one_in(1));
        assert_eq!(*stream.pick(&[9]), 9);
    }
}
