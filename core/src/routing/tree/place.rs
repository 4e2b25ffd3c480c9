//! Filters by the node that they end at: whoever has a subscription need not keep its filter's text.

use alloc::vec::Vec;

use bytes::Bytes;

use super::SubscriptionTree;
use super::arena::NodeId;
use crate::routing::topic::TopicFilter;
use crate::wire::types::Text;

/// Where a filter is in a tree. It names that filter for as long as somebody is subscribed to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place(pub(super) NodeId);

impl<V> SubscriptionTree<V> {
    /// The value of the subscription of `key` to the filter at `place`.
    ///
    /// # Panics
    /// If nobody is subscribed to it any more, here and in what follows.
    pub(crate) fn get_at(&self, place: Place, key: u32) -> Option<&V> {
        self.nodes.get(place.0).subscribers.get(key)
    }

    /// Removes the subscription of `key` to the filter at `place` and returns its value, if it exists.
    pub(crate) fn remove_at(&mut self, place: Place, key: u32) -> Option<V> {
        let Place(at) = place;
        let old = self.nodes.get_mut(at).subscribers.remove(key)?;
        self.len -= 1;
        self.changes += 1;
        self.prune(at);
        Some(old)
    }

    /// The filter at `place`, in storage of its own. A share's name is not part of it.
    pub(crate) fn filter_at(&self, place: Place) -> TopicFilter {
        let mut text = Vec::new();
        self.write_text(place, &mut text);
        let filter = Text::new(Bytes::from(text)).ok().and_then(|text| TopicFilter::new(text).ok());
        filter.expect("the way to a node is a filter, or the beginning of one")
    }

    /// Makes `text` that of the filter at `place`.
    pub(crate) fn write_text(&self, place: Place, text: &mut Vec<u8>) {
        let bytes: usize = self.levels_up(place).map(|level| level.len() + 1).sum();
        text.clear();
        text.resize(bytes.saturating_sub(1), b'/');
        let mut end = text.len();
        for level in self.levels_up(place) {
            let start = end.saturating_sub(level.len());
            if let Some(room) = text.get_mut(start..end) {
                room.copy_from_slice(level);
            }
            // Before it is the `/` of the level above.
            end = start.saturating_sub(1);
        }
    }

    /// The levels of the filter at `place`, the last one first.
    fn levels_up(&self, place: Place) -> impl Iterator<Item = &[u8]> {
        let mut at = place.0;
        core::iter::from_fn(move || {
            if at == self.root {
                return None;
            }
            let node = self.nodes.get(at);
            let parent = self.nodes.get(node.parent);
            let level = match node.level.as_bytes() {
                b"" if parent.plus == at => b"+",
                b"" if parent.hash == at => b"#",
                level => level,
            };
            at = node.parent;
            Some(level)
        })
    }

    /// All subscriptions, by filter and key. For people and tests: it takes the whole tree apart.
    pub(super) fn in_order(&self) -> impl Iterator<Item = ((TopicFilter, u32), &V)> {
        let mut all = Vec::new();
        for (at, node) in self.nodes.iter() {
            node.subscribers.for_each(&mut |key, value| all.push(((Place(at), key), value)));
        }
        let mut all: Vec<_> = all
            .into_iter()
            .map(|((place, key), value)| ((self.filter_at(place), key), value))
            .collect();
        all.sort_by(|(one, _), (other, _)| one.cmp(other));
        all.into_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hash::KeyedState;
    use crate::rng::Seed;

    #[test]
    fn a_place_gives_its_filter_back() {
        let texts =
            ["a", "/", "//", "a//b", "+", "#", "+/+/#", "/+", "a/+/b", "a/+/b/#", "$SYS/x", "a/"];
        let mut tree = SubscriptionTree::new(KeyedState::new(Seed(1)));
        let filter = |text: &str| TopicFilter::try_from(text).expect("a filter");
        let places = texts.map(|text| tree.put(&filter(text), 7, text).0);
        for (place, text) in places.iter().zip(texts) {
            assert_eq!(tree.filter_at(*place), filter(text));
            assert_eq!(tree.get_at(*place, 7), Some(&text));
            assert_eq!(tree.get_at(*place, 8), None);
        }
        let (place, old) = tree.put(&filter("$share/g/a/+/b"), 7, "again");
        assert_eq!((place, old), (places[8], Some("a/+/b")));
        let mut sorted = texts.map(filter);
        sorted.sort();
        assert!(tree.in_order().map(|((filter, _), _)| filter).eq(sorted));
        for place in places {
            assert_eq!(tree.remove_at(place, 8), None);
            assert!(tree.remove_at(place, 7).is_some());
        }
        assert_eq!((tree.len(), tree.node_count()), (0, 1));
    }
}
