//! What connections read into before anything of theirs is kept, one for all of a shard.

use bytes::BytesMut;

/// Read buffers. Packets are slices of the one they came in, so that it is free again when the last of its packets is
/// done with; until then the next one serves.
#[derive(Debug, Default)]
pub(crate) struct Scratch {
    current: BytesMut,
    /// Those that were filled. A busy shard takes the same few in turns and asks for no memory.
    filled: Vec<BytesMut>,
}

impl Scratch {
    /// Size of a buffer, and the least space in it that is worth a read.
    const BYTES: usize = 64 * 1024;
    const LEAST_BYTES: usize = 8 * 1024;
    /// More of them are not kept.
    const FILLED: usize = 16;

    /// An empty buffer with space to read into.
    pub(crate) fn buffer(&mut self) -> &mut BytesMut {
        if self.current.capacity() < Self::LEAST_BYTES && !self.current.try_reclaim(Self::BYTES) {
            self.take_next();
        }
        &mut self.current
    }

    /// Lets go of half of the others. Called now and then, it leaves a quiet shard none.
    pub(crate) fn tidy(&mut self) {
        let kept = self.filled.len() / 2;
        self.filled.truncate(kept);
        self.filled.shrink_to(kept);
    }

    fn take_next(&mut self) {
        let is_free = |buffer: &mut BytesMut| buffer.try_reclaim(Self::BYTES);
        let next = match self.filled.iter_mut().position(is_free) {
            Some(place) => self.filled.swap_remove(place),
            None => BytesMut::with_capacity(Self::BYTES),
        };
        let filled = std::mem::replace(&mut self.current, next);
        if filled.capacity() > 0 && self.filled.len() < Self::FILLED {
            self.filled.push(filled);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Fills what is left of the current buffer, as packets would.
    fn fill(scratch: &mut Scratch) -> BytesMut {
        let buffer = scratch.buffer();
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
        let mut scratch = Scratch::default();
        let held: Vec<BytesMut> = (0..4).map(|_| fill(&mut scratch)).collect();
        let first = places(&held);
        assert!(
            first.windows(2).all(|two| two[0] != two[1]),
            "each has its own while all are in use"
        );
        drop(held);
        let held: Vec<BytesMut> = (0..4).map(|_| fill(&mut scratch)).collect();
        assert_eq!(places(&held), first, "the same four serve again");
        assert!(held.iter().all(|packets| packets.len() == Scratch::BYTES - 1), "whole");
    }

    #[test]
    fn no_more_than_some_are_kept_and_none_in_a_quiet_shard() {
        let mut scratch = Scratch::default();
        let held: Vec<BytesMut> = (0..40).map(|_| fill(&mut scratch)).collect();
        assert_eq!(scratch.filled.len(), Scratch::FILLED);
        assert!(
            held.iter().all(|packets| packets.iter().all(|byte| *byte == 7)),
            "none was reused"
        );
        for _ in 0..5 {
            scratch.tidy();
        }
        assert_eq!(scratch.filled.capacity(), 0);
    }
}
