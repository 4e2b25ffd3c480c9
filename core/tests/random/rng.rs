//! The only randomness of the random worlds.

/// Choices that a fuzzer makes, and behind them `SplitMix64`.
#[derive(Clone, Debug)]
pub(crate) struct Rng {
    state: u64,
    /// What is chosen first, from the back.
    chosen: Vec<u8>,
}

impl Rng {
    pub(crate) fn new(seed: u64) -> Self {
        Rng { state: seed, chosen: Vec::new() }
    }

    /// Chooses by `bytes` while there are any.
    #[allow(dead_code, reason = "for the fuzzer")]
    pub(crate) fn of_bytes(bytes: &[u8]) -> Self {
        Rng { state: 0, chosen: bytes.iter().rev().copied().collect() }
    }

    /// Whether no bytes are left that choose.
    #[allow(dead_code, reason = "for the fuzzer")]
    pub(crate) fn is_spent(&self) -> bool {
        self.chosen.is_empty()
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.chosen(end).unwrap_or_else(|| self.next()) % end
    }

    /// As many bytes as make all numbers below `end`.
    fn chosen(&mut self, end: u64) -> Option<u64> {
        let mut number = u64::from(self.chosen.pop()?);
        let mut most = 255;
        while most < end - 1 {
            number = number << 8 | u64::from(self.chosen.pop().unwrap_or(0));
            most = most << 8 | 255;
        }
        Some(number)
    }

    /// A place in something of this length, which is not 0.
    pub(crate) fn place(&mut self, len: usize) -> usize {
        usize::try_from(self.below(len as u64)).expect("it is below a usize")
    }

    /// True in so many cases of a hundred.
    pub(crate) fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.place(of.len())]
    }
}
