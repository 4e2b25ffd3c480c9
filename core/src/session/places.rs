//! Where things with packet identifiers are kept: a map for keys that come in rising order and go in about the same.

use alloc::collections::VecDeque;

use crate::wire::types::OutboundPacketId;

/// Sorted by packet identifier. At most as many as there are identifiers, so that moving them stays cheap.
#[derive(Clone, Default)]
pub(crate) struct Places(VecDeque<(OutboundPacketId, u32)>);

impl Places {
    pub(crate) fn get(&self, id: OutboundPacketId) -> Option<u32> {
        let (_, place) = self.0.get(self.find(id).ok()?)?;
        Some(*place)
    }

    pub(crate) fn contains(&self, id: OutboundPacketId) -> bool {
        self.find(id).is_ok()
    }

    /// Adds a place, and returns the one that it replaces.
    pub(crate) fn insert(&mut self, id: OutboundPacketId, place: u32) -> Option<u32> {
        match self.find(id) {
            Ok(at) => self.0.get_mut(at).map(|(_, old)| core::mem::replace(old, place)),
            Err(at) => {
                self.0.insert(at, (id, place));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, id: OutboundPacketId) -> Option<u32> {
        self.0.remove(self.find(id).ok()?).map(|(_, place)| place)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (OutboundPacketId, u32)> {
        self.0.iter().copied()
    }

    /// Gives back the memory for more than `kept`.
    pub(crate) fn shrink_to(&mut self, kept: usize) {
        self.0.shrink_to(kept);
    }

    fn find(&self, id: OutboundPacketId) -> Result<usize, usize> {
        let (Some((first, _)), Some((last, _))) = (self.0.front(), self.0.back()) else {
            return Err(0);
        };
        if *last < id {
            return Err(self.0.len());
        }
        // They are given out one after the other: without gaps before it, this is where it is.
        let close = usize::from(id.0.value().saturating_sub(first.0.value()));
        if self.0.get(close).is_some_and(|(there, _)| *there == id) {
            return Ok(close);
        }
        self.0.binary_search_by_key(&id, |(id, _)| *id)
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
            let value = (step % 700 + number % 13) as u16 + 1;
            let id = OutboundPacketId(PacketId::new(value).expect("not zero"));
            if number.is_multiple_of(3) {
                assert_eq!(places.remove(id), known.remove(&id));
            } else {
                assert_eq!(places.insert(id, step), known.insert(id, step));
            }
            assert_eq!(places.get(id), known.get(&id).copied());
            assert_eq!(places.contains(id), known.contains_key(&id));
        }
        assert!(known.len() > 100 && places.iter().eq(known.iter().map(|(id, at)| (*id, *at))));
    }
}
