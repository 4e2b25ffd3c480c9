//! Where the nodes are: numbered slots in blocks, so that growing neither copies what is there nor
//! keeps half of the memory idle.

use alloc::vec::Vec;
use core::mem;

/// Names a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NodeId(pub(super) u32);

impl NodeId {
    /// No node.
    pub(super) const NONE: NodeId = NodeId(u32::MAX);

    /// `None` for [`NodeId::NONE`].
    pub(super) fn some(self) -> Option<NodeId> {
        (self != NodeId::NONE).then_some(self)
    }
}

/// Slots for values of type `T`. Freed slots are used again, the latest first.
#[derive(Clone)]
pub(super) struct Arena<T> {
    /// Every block but the last is full.
    blocks: Vec<Vec<Slot<T>>>,
    first_free: NodeId,
    len: usize,
}

#[derive(Clone)]
enum Slot<T> {
    Used(T),
    /// The next free slot.
    Free(NodeId),
}

impl<T> Arena<T> {
    const BLOCK_SLOTS: usize = 1024;

    pub(super) fn new() -> Self {
        Arena { blocks: Vec::new(), first_free: NodeId::NONE, len: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Everything that is there, in the order of the slots.
    pub(super) fn iter(&self) -> impl Iterator<Item = (NodeId, &T)> {
        // There are as many slots as were named at most.
        let slots = self.blocks.iter().flatten().zip(0..);
        slots.filter_map(|(slot, number)| match slot {
            Slot::Used(value) => Some((NodeId(number), value)),
            Slot::Free(_) => None,
        })
    }

    /// # Panics
    /// If `id` is not in use: the tree keeps no names of removed nodes.
    pub(super) fn get(&self, id: NodeId) -> &T {
        let (block, slot) = Self::place(id);
        match self.blocks.get(block).and_then(|block| block.get(slot)) {
            Some(Slot::Used(value)) => value,
            Some(Slot::Free(_)) | None => Self::not_in_use(),
        }
    }

    /// # Panics
    /// As [`Arena::get`].
    pub(super) fn get_mut(&mut self, id: NodeId) -> &mut T {
        match self.slot_mut(id) {
            Some(Slot::Used(value)) => value,
            Some(Slot::Free(_)) | None => Self::not_in_use(),
        }
    }

    pub(super) fn insert(&mut self, value: T) -> NodeId {
        self.len += 1;
        let id = self.first_free;
        if let Some(slot) = self.slot_mut(id)
            && let Slot::Free(next) = *slot
        {
            *slot = Slot::Used(value);
            self.first_free = next;
            return id;
        }
        self.push(value)
    }

    /// # Panics
    /// As [`Arena::get`].
    pub(super) fn remove(&mut self, id: NodeId) -> T {
        let free = Slot::Free(self.first_free);
        match self.slot_mut(id).map(|slot| mem::replace(slot, free)) {
            Some(Slot::Used(value)) => {
                self.first_free = id;
                self.len -= 1;
                value
            }
            Some(Slot::Free(_)) | None => Self::not_in_use(),
        }
    }

    fn push(&mut self, value: T) -> NodeId {
        let full_blocks = self.blocks.len().saturating_sub(1);
        let last_len = match self.blocks.last() {
            Some(block) => block.len(),
            None => Self::BLOCK_SLOTS,
        };
        let (block, slot) = if last_len == Self::BLOCK_SLOTS {
            // The first block grows as it is filled: most brokers in tests hold very little.
            let capacity = if self.blocks.is_empty() { 0 } else { Self::BLOCK_SLOTS };
            self.blocks.push(Vec::with_capacity(capacity));
            (self.blocks.len() - 1, 0)
        } else {
            (full_blocks, last_len)
        };
        if let Some(last) = self.blocks.last_mut() {
            last.push(Slot::Used(value));
        }
        let id = u32::try_from(block * Self::BLOCK_SLOTS + slot).ok().map(NodeId);
        match id.and_then(NodeId::some) {
            Some(id) => id,
            None => panic!("the subscription tree has 2^32 - 1 nodes"),
        }
    }

    fn slot_mut(&mut self, id: NodeId) -> Option<&mut Slot<T>> {
        let (block, slot) = Self::place(id);
        self.blocks.get_mut(block)?.get_mut(slot)
    }

    fn place(id: NodeId) -> (usize, usize) {
        let index = id.0 as usize;
        (index / Self::BLOCK_SLOTS, index % Self::BLOCK_SLOTS)
    }

    #[cold]
    fn not_in_use() -> ! {
        panic!("a node of the subscription tree is used after its removal")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_used_again() {
        let mut arena = Arena::new();
        let ids: Vec<NodeId> = (0..3000).map(|value| arena.insert(value)).collect();
        assert_eq!(arena.remove(ids[10]), 10);
        assert_eq!(arena.remove(ids[2999]), 2999);
        assert_eq!(arena.len(), 2998);
        assert_eq!(arena.insert(5), ids[2999]);
        assert_eq!(arena.insert(6), ids[10]);
        assert_eq!(arena.insert(7), NodeId(3000));
        assert_eq!((*arena.get(ids[10]), *arena.get(ids[1500])), (6, 1500));
    }
}
