//! One file: what is in it now, and what of that a failure would leave.

use std::ops::Range;

use crate::chance::Stream;

/// The unit that a device writes whole or not at all.
const SECTOR_BYTES: u64 = 512;

/// The contents of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct File {
    /// What reads see.
    cache: Vec<u8>,
    /// What is surely on the device.
    durable: Vec<u8>,
    /// What was written since, in order.
    writes: Vec<Write>,
    /// Rot on the device, under writes that are not there yet.
    covered: Vec<Covered>,
    /// Rot that came out again, as what was written over it is gone.
    uncovered: Vec<Rot>,
}

/// A bit that rotted.
#[derive(Clone, Copy, Debug)]
pub(super) struct Rot {
    pub(super) offset: usize,
    pub(super) bit: u8,
}

/// Rot where something was written since.
#[derive(Clone, Copy, Debug)]
struct Covered {
    /// The first write over it.
    by: u64,
    rot: Rot,
}

#[derive(Clone, Debug)]
struct Write {
    number: u64,
    offset: usize,
    bytes: Vec<u8>,
    /// When the caller is told.
    done_at_ms: u64,
}

/// How much of what was not synced a power cut leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Leftover {
    Nothing,
    Everything,
    /// Each sector by chance.
    Some,
}

impl File {
    pub(super) fn len(&self) -> usize {
        self.cache.len()
    }

    /// What is there, up to so many bytes.
    pub(super) fn read(&self, offset: usize, length: usize) -> &[u8] {
        let from = offset.min(self.cache.len());
        let to = offset.saturating_add(length).min(self.cache.len());
        &self.cache[from..to]
    }

    pub(super) fn write(&mut self, number: u64, offset: usize, bytes: &[u8], done_at_ms: u64) {
        put(&mut self.cache, offset, bytes);
        self.writes.push(Write { number, offset, bytes: bytes.to_vec(), done_at_ms });
    }

    /// Writes before that number are on the device.
    pub(super) fn synced(&mut self, before: u64) {
        for write in take_before(&mut self.writes, before) {
            put(&mut self.durable, write.offset, &write.bytes);
            write.heal(&mut self.covered, write.range());
        }
    }

    /// The device failed to take the writes before that number. They look written, some of their
    /// sectors are, and no later sync will write the others.
    pub(super) fn sync_failed(&mut self, before: u64, chance: &mut Stream) {
        for write in take_before(&mut self.writes, before) {
            write.put_some(&mut self.durable, Leftover::Some, chance, &mut self.covered);
        }
    }

    /// The process ended: what it was not told of may have taken place in part. True if what memory alone had since a
    /// failed sync is gone with it: the kernel is free to give that up.
    pub(super) fn process_ended(&mut self, now_ms: u64, chance: &mut Stream) -> bool {
        let writes = std::mem::take(&mut self.writes);
        let is_told = |write: &Write| write.done_at_ms <= now_ms;
        if writes.iter().all(is_told) {
            self.writes = writes;
            return false;
        }
        let mut on_its_way = self.durable.clone();
        for write in &writes {
            put(&mut on_its_way, write.offset, &write.bytes);
        }
        let has_lost = on_its_way != self.cache;
        let (told, rest): (Vec<_>, Vec<_>) = writes.into_iter().partition(is_told);
        // Nothing is lost: the kernel writes it out in its own time, at the latest before somebody
        // else syncs.
        let mut after = self.durable.clone();
        for write in &told {
            put(&mut after, write.offset, &write.bytes);
            write.heal(&mut self.covered, write.range());
        }
        for write in &rest {
            write.put_some(&mut after, Leftover::Some, chance, &mut self.covered);
        }
        let whole = Write { number: 0, offset: 0, bytes: after.clone(), done_at_ms: 0 };
        self.cache = after;
        self.writes = vec![whole];
        self.uncover_rot();
        has_lost
    }

    /// The power went: what is left is on the device. True if that is not all that was written.
    pub(super) fn power_cut(&mut self, leftover: Leftover, chance: &mut Stream) -> bool {
        let mut left = std::mem::take(&mut self.durable);
        for write in std::mem::take(&mut self.writes) {
            let end = write.offset + write.bytes.len();
            // The length can be on the device before the bytes are.
            if leftover == Leftover::Some && end > left.len() && chance.one_in(2) {
                left.resize(end, 0);
            }
            write.put_some(&mut left, leftover, chance, &mut self.covered);
        }
        let has_lost = self.cache != left;
        self.cache.clone_from(&left);
        self.durable = left;
        self.uncover_rot();
        has_lost
    }

    /// Rot that the last failure brought out again.
    pub(super) fn take_uncovered(&mut self) -> Vec<Rot> {
        std::mem::take(&mut self.uncovered)
    }

    /// How much of it is on the device, whatever it says there.
    pub(super) fn at_rest_bytes(&self) -> usize {
        self.durable.len()
    }

    /// A bit changes at rest, or changes back.
    pub(super) fn rot(&mut self, offset: usize, bit: u8) {
        self.rot_before(u64::MAX, offset, bit);
        if let Some(byte) = self.cache.get_mut(offset) {
            *byte ^= 1 << (bit % 8);
        }
    }

    /// The write of that number goes over a bit that rotted.
    pub(super) fn cover_rot(&mut self, by: u64, rot: Rot) {
        self.covered.push(Covered { by, rot });
    }

    /// What rotted under writes that are not there yet is as it was.
    pub(super) fn mend_covered(&mut self) {
        for Covered { by, rot } in std::mem::take(&mut self.covered) {
            self.rot_before(by, rot.offset, rot.bit);
        }
    }

    fn uncover_rot(&mut self) {
        self.uncovered.extend(self.covered.drain(..).map(|covered| covered.rot));
    }

    /// A bit changes on the device, and in what was written before that number and is not there yet.
    fn rot_before(&mut self, by: u64, offset: usize, bit: u8) {
        let writes = self.writes.iter_mut().filter(|write| write.number < by);
        let writes = writes.filter_map(|write| {
            let within = offset.checked_sub(write.offset)?;
            write.bytes.get_mut(within)
        });
        for byte in self.durable.get_mut(offset).into_iter().chain(writes) {
            *byte ^= 1 << (bit % 8);
        }
    }
}

impl Write {
    fn range(&self) -> Range<usize> {
        self.offset..self.offset + self.bytes.len()
    }

    /// A part of it is on the device, and with it what rotted there before is gone.
    fn heal(&self, covered: &mut Vec<Covered>, part: Range<usize>) {
        covered.retain(|under| self.number < under.by || !part.contains(&under.rot.offset));
    }

    /// Puts what is left of it, sector by sector of the file.
    fn put_some(
        &self,
        to: &mut Vec<u8>,
        leftover: Leftover,
        chance: &mut Stream,
        covered: &mut Vec<Covered>,
    ) {
        let mut offset = self.offset;
        let mut rest = &self.bytes[..];
        while !rest.is_empty() {
            let in_sector = SECTOR_BYTES - offset as u64 % SECTOR_BYTES;
            let bytes = rest.len().min(usize::try_from(in_sector).unwrap_or(rest.len()));
            let is_kept = match leftover {
                Leftover::Nothing => false,
                Leftover::Everything => true,
                Leftover::Some => chance.one_in(2),
            };
            if is_kept {
                put(to, offset, &rest[..bytes]);
                self.heal(covered, offset..offset + bytes);
            }
            offset += bytes;
            rest = &rest[bytes..];
        }
    }
}

fn take_before(writes: &mut Vec<Write>, before: u64) -> Vec<Write> {
    let at = writes.partition_point(|write| write.number < before);
    writes.drain(..at).collect()
}

fn put(to: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if to.len() < end {
        to.resize(end, 0);
    }
    to[offset..end].copy_from_slice(bytes);
}
