//! What a flood could repeat without end: counted, and said once a second.

use std::collections::BTreeMap;

use signalhouse_core::Time;
use tracing::warn;

/// How long counts are gathered before they are said.
const WINDOW_MS: u64 = 1_000;
/// Different lines in one window; what is beyond is counted together.
const LINES: usize = 64;

/// One line's worth.
#[derive(Debug)]
pub(crate) struct Tally {
    pub(crate) count: u64,
    /// What the first one was about.
    pub(crate) example: String,
}

/// Counts by key, one line each.
#[derive(Debug)]
pub(crate) struct Tallies<K> {
    since: Option<Time>,
    tallies: BTreeMap<K, Tally>,
    beyond: u64,
}

impl<K> Default for Tallies<K> {
    fn default() -> Self {
        Tallies { since: None, tallies: BTreeMap::new(), beyond: 0 }
    }
}

impl<K: Ord> Tallies<K> {
    /// When they are to be said.
    pub(crate) fn due(&self) -> Option<Time> {
        self.since.map(|since| since.plus_ms(WINDOW_MS))
    }

    /// Counts so many more. A key that is new is kept as `keep` has it.
    pub(crate) fn count(
        &mut self,
        now: Time,
        key: K,
        count: u64,
        example: &dyn ToString,
        keep: impl FnOnce(K) -> K,
    ) {
        self.since.get_or_insert(now);
        let full = self.tallies.len() >= LINES;
        match self.tallies.get_mut(&key) {
            Some(tally) => tally.count += count,
            None if full => self.beyond += count,
            None => {
                let tally = Tally { count, example: example.to_string() };
                self.tallies.insert(keep(key), tally);
            }
        }
    }

    /// Says them now, and begins anew.
    pub(crate) fn write_out(&mut self, write: impl Fn(K, Tally)) {
        self.since = None;
        for (key, tally) in std::mem::take(&mut self.tallies) {
            write(key, tally);
        }
        let beyond = std::mem::take(&mut self.beyond);
        if beyond > 0 {
            warn!(count = beyond, "more of the same, of others");
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    #[test]
    fn a_window_has_a_bounded_number_of_lines() {
        let mut tallies = Tallies::default();
        assert_eq!(tallies.due(), None);
        for key in (0..LINES + 8).chain(0..2) {
            tallies.count(Time::from_ms(5), key, 1, &key, |key| key);
        }
        assert_eq!((tallies.due(), tallies.beyond), (Some(Time::from_ms(5 + WINDOW_MS)), 8));
        let lines = RefCell::new(Vec::new());
        tallies.write_out(|key, tally| lines.borrow_mut().push((key, tally.count, tally.example)));
        let lines = lines.into_inner();
        assert_eq!((lines.len(), &lines[0]), (LINES, &(0, 2, "0".to_owned())));
        assert_eq!((tallies.due(), tallies.beyond), (None, 0));
    }
}
