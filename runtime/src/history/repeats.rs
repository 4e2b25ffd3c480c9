//! Connections that were not let in and never had a name: one entry for each address and cause, which
//! counts, so that whoever connects in a loop hides nobody else.

use std::collections::VecDeque;
use std::net::SocketAddr;

use signalhouse_core::Time;
use signalhouse_core::quota::network;
use signalhouse_core::wire::types::Text;

/// Addresses and causes that are remembered; the one that was quiet longest is forgotten first.
const ENTRIES: usize = 256;

/// The same from one address, once or several times.
#[derive(Clone, Debug, PartialEq)]
pub struct Repeated<K> {
    /// When it happened first.
    pub at: Time,
    /// When it happened last.
    pub last_at: Time,
    /// How often.
    pub count: u64,
    /// Where the last one came from.
    pub peer: Text,
    /// Why.
    pub cause: K,
    origin: Text,
}

/// What is remembered of them, the latest last.
#[derive(Debug)]
pub(crate) struct Repeats<K>(VecDeque<Repeated<K>>);

impl<K> Default for Repeats<K> {
    fn default() -> Self {
        Repeats(VecDeque::new())
    }
}

impl<K: PartialEq> Repeats<K> {
    /// Remembers one more.
    pub(crate) fn add(&mut self, now: Time, peer: &Text, cause: K) {
        let origin = origin(peer);
        let is_it = |known: &Repeated<K>| known.origin == origin && known.cause == cause;
        let place = self.0.iter().rposition(is_it);
        let known = place.and_then(|place| self.0.remove(place));
        if self.0.len() >= ENTRIES {
            self.0.pop_front();
        }
        let (at, count) = known.map_or((now, 0), |known| (known.at, known.count));
        let (last_at, count, peer) = (now, count + 1, peer.clone());
        self.0.push_back(Repeated { at, last_at, count, peer, cause, origin });
    }

    /// All of them, the latest first.
    pub(crate) fn latest(&self) -> impl Iterator<Item = &Repeated<K>> {
        self.0.iter().rev()
    }
}

/// What counts as one address: see [`network`].
pub(crate) fn origin(peer: &Text) -> Text {
    let address = peer.as_str().parse().map(|peer: SocketAddr| network(peer.ip()));
    let origin = address.ok().and_then(|address| Text::try_from(address.to_string()).ok());
    origin.unwrap_or_else(|| peer.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(text: &str) -> Text {
        Text::try_from(text).expect("a short text")
    }

    #[test]
    fn each_address_and_cause_has_one_entry_that_counts() {
        let mut repeats = Repeats::default();
        for (ms, peer, cause) in [
            (1, "192.0.2.1:5", 'a'),
            (2, "192.0.2.1:6", 'b'),
            (3, "[2001:db8::1]:5", 'a'),
            (4, "[2001:db8::2]:7", 'a'),
            (5, "192.0.2.1:8", 'a'),
        ] {
            repeats.add(Time::from_ms(ms), &text(peer), cause);
        }
        let latest: Vec<_> = repeats.latest().map(|one| (one.peer.as_str(), one.count)).collect();
        assert_eq!(latest, [("192.0.2.1:8", 2), ("[2001:db8::2]:7", 2), ("192.0.2.1:6", 1)]);
        let first = repeats.latest().next().expect("there are some");
        assert_eq!((first.at, first.last_at), (Time::from_ms(1), Time::from_ms(5)));
    }

    #[test]
    fn entries_are_bounded() {
        let mut repeats = Repeats::default();
        for number in 0..ENTRIES + 8 {
            repeats.add(Time::ZERO, &text(&number.to_string()), ());
        }
        let latest: Vec<_> = repeats.latest().map(|one| one.peer.as_str().to_owned()).collect();
        assert_eq!(latest.len(), ENTRIES);
        assert_eq!(latest[0], (ENTRIES + 7).to_string());
    }
}
