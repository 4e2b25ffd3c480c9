//! What belongs to packet identifiers: a map for keys that come in rising order, round and round, and go in about the
//! same.

use alloc::collections::VecDeque;
use core::fmt;

use crate::wire::types::{InboundPacketId, OutboundPacketId};

/// In the order of packet identifiers from the oldest one's on, round and round, so that what is new goes to the end
/// also where identifiers begin again.
#[derive(Clone)]
pub(crate) struct Places<Id, V>(VecDeque<(Id, V)>);

/// A packet identifier of one direction.
pub(crate) trait Numbered: Copy + Ord {
    fn number(self) -> u16;
}

impl Numbered for InboundPacketId {
    fn number(self) -> u16 {
        self.0.value()
    }
}

impl Numbered for OutboundPacketId {
    fn number(self) -> u16 {
        self.0.value()
    }
}

impl<Id: Numbered, V> Places<Id, V> {
    /// The memory of so many stays where there are none.
    const KEPT: usize = 16;

    pub(crate) fn get(&self, id: Id) -> Option<&V> {
        self.0.get(self.find(id).ok()?).map(|(_, value)| value)
    }

    pub(crate) fn get_mut(&mut self, id: Id) -> Option<&mut V> {
        let place = self.find(id).ok()?;
        self.0.get_mut(place).map(|(_, value)| value)
    }

    pub(crate) fn contains(&self, id: Id) -> bool {
        self.find(id).is_ok()
    }

    /// Adds a value, and returns the one that it replaces.
    pub(crate) fn insert(&mut self, id: Id, value: V) -> Option<V> {
        match self.find(id) {
            Ok(at) => self.0.get_mut(at).map(|(_, old)| core::mem::replace(old, value)),
            Err(at) => {
                self.0.insert(at, (id, value));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, id: Id) -> Option<V> {
        let (_, value) = self.0.remove(self.find(id).ok()?)?;
        if self.0.is_empty() {
            self.0.shrink_to(Self::KEPT);
        }
        Some(value)
    }

    pub(crate) fn clear(&mut self) {
        self.0 = VecDeque::new();
    }

    /// Those of this identifier and of those behind it, in their order.
    pub(crate) fn values_from(&self, id: Id) -> impl Iterator<Item = &V> {
        let from = self.find(id).unwrap_or_else(|place| place);
        self.0.range(from..).map(|(_, value)| value)
    }

    /// In the order of packet identifiers.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (Id, &V)> {
        let least = self
            .0
            .front()
            .map_or(0, |(first, _)| self.0.partition_point(|(id, _)| *id >= *first) % self.0.len());
        self.0.range(least..).chain(self.0.range(..least)).map(|(id, value)| (*id, value))
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut V> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    fn find(&self, id: Id) -> Result<usize, usize> {
        let (Some((first, _)), Some((last, _))) = (self.0.front(), self.0.back()) else {
            return Err(0);
        };
        let first = first.number();
        let behind_first = |id: Id| id.number().wrapping_sub(first);
        if behind_first(*last) < behind_first(id) {
            return Err(self.0.len());
        }
        // They are given out one after the other: without gaps before it, this is where it is.
        let close = usize::from(behind_first(id));
        if self.0.get(close).is_some_and(|(there, _)| *there == id) {
            return Ok(close);
        }
        self.0.binary_search_by_key(&behind_first(id), |(id, _)| behind_first(*id))
    }
}

impl<Id, V> Default for Places<Id, V> {
    fn default() -> Self {
        Places(VecDeque::new())
    }
}

impl<Id: fmt::Debug, V: fmt::Debug> fmt::Debug for Places<Id, V> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.iter().map(|(id, value)| (id, value))).finish()
    }
}

#[cfg(test)]
mod tests {
    use alloc::collections::BTreeMap;

    use super::*;
    use crate::wire::types::PacketId;

    #[test]
    fn it_keeps_what_a_map_keeps() {
        let mut places = Places::default();
        let mut known = BTreeMap::new();
        let mut number = 60_000_u32;
        for step in 0..20_000_u32 {
            number = number.wrapping_mul(1_103_515_245).wrapping_add(12_345);
            // Rising through all numbers, more than once.
            let value = (step * 10 + number % 130) as u16;
            let Some(id) = PacketId::new(value).map(OutboundPacketId) else { continue };
            if number.is_multiple_of(3) {
                assert_eq!(places.remove(id), known.remove(&id));
            } else {
                assert_eq!(places.insert(id, step), known.insert(id, step));
            }
            assert_eq!(places.get(id), known.get(&id));
            assert_eq!(places.get_mut(id), known.get_mut(&id));
            assert_eq!(places.contains(id), known.contains_key(&id));
        }
        assert!(known.len() > 100 && places.iter().eq(known.iter().map(|(id, at)| (*id, at))));
    }

    #[test]
    fn what_is_new_goes_to_the_end_where_identifiers_begin_again() {
        let mut places = Places::default();
        for value in (65_000..=u16::MAX).chain(1..=500) {
            let id = OutboundPacketId(PacketId::new(value).expect("not zero"));
            assert_eq!(places.find(id), Err(places.0.len()));
            places.insert(id, value);
            assert_eq!(places.find(id), Ok(places.0.len() - 1));
        }
    }
}
