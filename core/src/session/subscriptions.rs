//! A session's own subscriptions, in little memory: where their filters are in the subscription tree, which also
//! has what else there is to each.
//!
//! Shared subscriptions are not here: a session has its groups, and they have what each member subscribed with.

use alloc::vec::Vec;
use core::cmp::Ordering;

use crate::routing::topic::TopicFilter;
use crate::routing::tree::{Place, SubscriptionTree};

/// In the order of the filters' text. To find one takes steps by the logarithm of their number; to add or
/// remove one moves those behind it, four bytes each.
#[derive(Clone, Debug, Default)]
pub(crate) struct Subscriptions {
    places: Vec<Place>,
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    /// Adds a filter that was not there, which is at `place` of the tree.
    pub(crate) fn insert<V>(
        &mut self,
        tree: &SubscriptionTree<V>,
        filter: &TopicFilter,
        place: Place,
    ) {
        let (Ok(at) | Err(at)) = self.find(tree, filter);
        if self.places.len() == self.places.capacity() {
            // An eighth more: to double would leave a third unused, on average.
            self.places.reserve_exact((self.places.len() / 8).max(1));
        }
        self.places.insert(at, place);
    }

    /// Takes out a filter to which there is a subscription in the tree yet.
    pub(crate) fn remove<V>(
        &mut self,
        tree: &SubscriptionTree<V>,
        filter: &TopicFilter,
    ) -> Option<Place> {
        let at = self.find(tree, filter).ok()?;
        let place = self.places.remove(at);
        if self.places.len() < self.places.capacity() / 2 {
            self.places.shrink_to_fit();
        }
        Some(place)
    }

    /// Takes out the last one.
    pub(crate) fn pop(&mut self) -> Option<Place> {
        self.places.pop()
    }

    /// Those behind a filter; all if there is none.
    pub(crate) fn behind<V>(
        &self,
        tree: &SubscriptionTree<V>,
        filter: Option<&TopicFilter>,
    ) -> &[Place] {
        let first = filter.map_or(0, |filter| match self.find(tree, filter) {
            Ok(at) => at + 1,
            Err(at) => at,
        });
        self.places.get(first..).unwrap_or_default()
    }

    /// Where a filter is, or would be.
    fn find<V>(&self, tree: &SubscriptionTree<V>, filter: &TopicFilter) -> Result<usize, usize> {
        let wanted = filter.as_text().as_bytes();
        let mut text = Vec::new();
        let mut is_before = |place: &Place| -> Ordering {
            tree.write_text(*place, &mut text);
            text.as_slice().cmp(wanted)
        };
        self.places.binary_search_by(&mut is_before)
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeSet;
    use alloc::format;

    use super::*;
    use crate::hash::KeyedState;
    use crate::rng::Seed;

    #[test]
    fn they_are_what_an_ordered_set_is() {
        let mut tree = SubscriptionTree::new(KeyedState::new(Seed(1)));
        let (mut subscriptions, mut known) = (Subscriptions::default(), BTreeSet::new());
        let mut number = 7_u32;
        for step in 0..4_000 {
            number = number.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            let level = ["", "+", "a", "$b", "0"][(number >> 8) as usize % 5];
            let text = format!("{}/{level}/{}", number >> 20 & 0x1f, number >> 28 & 3);
            let filter = TopicFilter::try_from(text.as_str()).expect("a filter");
            if step % 1_000 < 600 {
                let (place, old) = tree.put(&filter, 3, ());
                assert_eq!(old.is_none(), known.insert(filter.clone()));
                if old.is_none() {
                    subscriptions.insert(&tree, &filter, place);
                }
            } else {
                let place = subscriptions.remove(&tree, &filter);
                assert_eq!(place.is_some(), known.remove(&filter));
                assert!(place.is_none_or(|place| tree.remove_at(place, 3).is_some()));
            }
            let behind = subscriptions.behind(&tree, Some(&filter)).iter();
            let behind = behind.map(|place| tree.filter_at(*place));
            assert!(behind.eq(known.iter().filter(|it| **it > filter).cloned()));
        }
        assert!(known.len() > 50 && subscriptions.len() == known.len());
        while let Some(place) = subscriptions.pop() {
            assert_eq!(known.pop_last(), Some(tree.filter_at(place)));
        }
        assert!(known.is_empty());
    }
}
