//! Memory that bytes are put into piece by piece, and that serves again when the last piece is done with.

use alloc::vec::Vec;

use bytes::BytesMut;

/// Buffers of one size. What is split off from one keeps it in use; until it is done with, the next one serves.
#[derive(Debug)]
pub struct Buffers {
    size_bytes: usize,
    current: BytesMut,
    /// Those that were filled. Who is busy takes the same few in turns and asks for no memory.
    filled: Vec<BytesMut>,
}

impl Buffers {
    /// More of them are not kept.
    const FILLED: usize = 16;

    /// None yet; each is to have `size_bytes`.
    #[must_use]
    pub fn new(size_bytes: usize) -> Self {
        Buffers { size_bytes, current: BytesMut::new(), filled: Vec::new() }
    }

    /// An empty buffer with space for `least_bytes`, which are at most the size of one.
    pub fn with_space(&mut self, least_bytes: usize) -> &mut BytesMut {
        if self.current.capacity() < least_bytes && !self.current.try_reclaim(self.size_bytes) {
            self.take_next();
        }
        &mut self.current
    }

    /// Lets go of half of the others. Called now and then, it leaves who is quiet none.
    pub fn tidy(&mut self) {
        let kept = self.filled.len() / 2;
        self.filled.truncate(kept);
        self.filled.shrink_to(kept);
    }

    fn take_next(&mut self) {
        let size_bytes = self.size_bytes;
        let is_free = |buffer: &mut BytesMut| buffer.try_reclaim(size_bytes);
        let next = match self.filled.iter_mut().position(is_free) {
            Some(place) => self.filled.swap_remove(place),
            None => BytesMut::with_capacity(size_bytes),
        };
        let filled = core::mem::replace(&mut self.current, next);
        if filled.capacity() > 0 && self.filled.len() < Self::FILLED {
            self.filled.push(filled);
        }
    }
}

/// A copy has memory of its own.
impl Clone for Buffers {
    fn clone(&self) -> Self {
        Buffers::new(self.size_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const BYTES: usize = 64 * 1024;

    /// Fills what is left of the current buffer, as packets would.
    fn fill(buffers: &mut Buffers) -> BytesMut {
        let buffer = buffers.with_space(8 * 1024);
        buffer.resize(buffer.capacity() - 1, 7);
        buffer.split()
    }

    #[test]
    fn a_buffer_serves_again_once_its_packets_are_done_with() {
        let places = |held: &[BytesMut]| {
            let mut places: Vec<*const u8> = held.iter().map(|packets| packets.as_ptr()).collect();
            places.sort_unstable();
            places
        };
        let mut buffers = Buffers::new(BYTES);
        let held: Vec<BytesMut> = (0..4).map(|_| fill(&mut buffers)).collect();
        let first = places(&held);
        assert!(
            first.windows(2).all(|two| two[0] != two[1]),
            "each has its own while all are in use"
        );
        drop(held);
        let held: Vec<BytesMut> = (0..4).map(|_| fill(&mut buffers)).collect();
        assert_eq!(places(&held), first, "the same four serve again");
        assert!(held.iter().all(|packets| packets.len() == BYTES - 1), "whole");
    }

    #[test]
    fn no_more_than_some_are_kept_and_none_by_who_is_quiet() {
        let mut buffers = Buffers::new(BYTES);
        let held: Vec<BytesMut> = (0..40).map(|_| fill(&mut buffers)).collect();
        assert_eq!(buffers.filled.len(), Buffers::FILLED);
        assert!(
            held.iter().all(|packets| packets.iter().all(|byte| *byte == 7)),
            "none was reused"
        );
        for _ in 0..5 {
            buffers.tidy();
        }
        assert_eq!(buffers.filled.capacity(), 0);
    }
}
