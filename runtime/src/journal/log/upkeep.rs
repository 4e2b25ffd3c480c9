//! What the log needs beside its frames: segments made ahead, and compaction.
//!
//! The store's length stays in proportion to what is live: a snapshot is made once what is dead, in the
//! last one and in the segments since, is [`GROWTH`] times as long as what is live. What the new one
//! covers is used for later segments.

use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::{Config, LogPosition, Time};

use super::super::compact::{Compacted, Compaction};
use super::super::error::StoreError;
use super::super::file::{BLOCK_BYTES, FileName};
use super::super::index::Index;
use super::super::segment::{OpenSegment, Salts, make, usual_bytes};
use super::Task;
use super::fetch::Fetching;
use crate::seams::{Clock, Disk, Spawn};

/// How many segments are there before they are needed. They are also the reserve when the disk is full: for
/// acknowledgements, releases and expiries all but the last, which is kept for the snapshot that makes room.
const READY: usize = 2;
/// A snapshot is made when what is dead is so many times as long as what is live.
const GROWTH: u64 = 4;
/// Less than so many segments is not worth one.
const GROWTH_SEGMENTS: u64 = 2;
/// How long to wait before asking a full disk again.
const RETRY_MS: u64 = 1_000;
/// How often the room is looked at while something is written.
const LOOK_MS: u64 = 1_000;
/// How long a segment is put off where the simulator wants it late.
const LATE_MS: u64 = 50;

/// A segment in which nothing more is written.
#[derive(Clone, Copy, Debug)]
pub(in crate::journal) struct Sealed {
    pub(in crate::journal) number: u64,
    /// Where its last frame ends.
    pub(in crate::journal) end: u64,
    /// The last position in it.
    pub(in crate::journal) last: LogPosition,
    /// Its length.
    pub(in crate::journal) bytes: u64,
}

/// What upkeep begins with.
#[derive(Debug)]
pub(in crate::journal) struct Stock<F> {
    pub(in crate::journal) ready: VecDeque<OpenSegment<F>>,
    pub(in crate::journal) sealed: Vec<Sealed>,
    /// Number and length of the snapshot.
    pub(in crate::journal) snapshot: Option<(u64, u64)>,
    /// What the broker of which it tells had stored.
    pub(in crate::journal) snapshot_live_bytes: u64,
    /// Numbers and lengths of segments that a snapshot covers.
    pub(in crate::journal) obsolete: Vec<(u64, u64)>,
    /// Other files that count for nothing.
    pub(in crate::journal) rubbish: Vec<FileName>,
}

pub(in crate::journal) struct Upkeep<D: Disk, C: Clock, P> {
    disk: D,
    clock: C,
    spawn: P,
    config: Config,
    salts: Salts,
    segment_bytes: u64,
    stock: Stock<D::File>,
    index: Index,
    fetching: Fetching<D>,
    /// What the broker has stored.
    live_bytes: u64,
    /// The last segment of any kind.
    last_number: u64,
    /// A frame waits for a segment with this much room.
    wanted_bytes: u64,
    making: Option<Task<(OpenSegment<D::File>, u64)>>,
    compacting: Option<Task<Compacted>>,
    clearing: Option<Task<()>>,
    asking: Option<Task<u64>>,
    /// From when on the room is to be looked at, if something was written since the last time.
    look_from: Time,
    look: Option<Pin<Box<C::Sleep>>>,
    was_written: bool,
    retry: Option<Pin<Box<C::Sleep>>>,
    is_short: bool,
    /// Frames wait for a compaction in the last segment that there is.
    starves: bool,
    /// Bytes of frames written to segments.
    written_bytes: u64,
    /// Bytes written into snapshots.
    snapshot_bytes: u64,
}

impl<D: Disk, C: Clock, P: Spawn> Upkeep<D, C, P> {
    pub(in crate::journal) fn new(
        (disk, clock, spawn): (D, C, P),
        config: Config,
        salts: Salts,
        segment_bytes: u64,
        last_number: u64,
        stock: Stock<D::File>,
        index: Index,
    ) -> Self {
        let fetching = Fetching::new(disk.clone());
        Upkeep {
            disk,
            clock,
            spawn,
            config,
            salts,
            segment_bytes,
            stock,
            index,
            fetching,
            live_bytes: u64::MAX,
            last_number,
            wanted_bytes: 0,
            making: None,
            compacting: None,
            clearing: None,
            asking: None,
            look_from: Time::ZERO,
            look: None,
            was_written: false,
            retry: None,
            is_short: false,
            starves: false,
            written_bytes: 0,
            snapshot_bytes: 0,
        }
    }

    /// The next segment, if it is there and has room for `bytes`.
    pub(super) fn take_ready(&mut self, bytes: u64) -> Option<OpenSegment<D::File>> {
        if self.is_short && self.stock.ready.len() == 1 && self.can_write_over() {
            self.starves = true;
            return None;
        }
        let next = self.stock.ready.pop_front_if(|next| BLOCK_BYTES + bytes <= next.bytes);
        self.wanted_bytes = if next.is_some() { 0 } else { BLOCK_BYTES + bytes };
        next
    }

    /// Nothing more will be written in the segment that was active.
    pub(super) fn seal(&mut self, segment: &OpenSegment<D::File>, last: LogPosition) {
        let OpenSegment { number, end, bytes, .. } = *segment;
        self.stock.sealed.push(Sealed { number, end, last, bytes });
    }

    /// A frame is written at `offset` of the segment `number`.
    pub(super) fn note_frame(
        &mut self,
        number: u64,
        offset: u64,
        bytes: u64,
        first_message: Option<MessageId>,
    ) {
        self.written_bytes += bytes;
        self.was_written = true;
        if let Some(first) = first_message {
            self.index.note(FileName::Segment(number), first, offset);
        }
    }

    /// Begins to read a message back.
    pub(super) fn fetch(&mut self, message: MessageId) {
        // Without a place it is looked for where nothing is, and that is said.
        let place = self.index.find(message).unwrap_or((FileName::Segment(0), 0));
        self.fetching.want(message, place);
    }

    /// The next message that was read back.
    pub(super) fn fetched(&mut self) -> Poll<Arc<Message>> {
        self.fetching.take()
    }

    pub(super) fn is_short(&self) -> bool {
        self.is_short
    }

    /// Takes notice of how much the broker has stored.
    pub(super) fn note_live(&mut self, bytes: u64) {
        self.live_bytes = bytes;
    }

    /// About how much of the snapshot is still good for something. A message in several queues is
    /// stored once and counted several times, so neither what became free nor its share is exact.
    fn live_bytes(&self) -> u64 {
        let bytes = self.stock.snapshot.map_or(0, |(_, bytes)| bytes);
        let then = self.stock.snapshot_live_bytes;
        let freed = then.saturating_sub(self.live_bytes);
        let share = u128::from(bytes) * u128::from(freed) / u128::from(then.max(1));
        bytes - u64::try_from(share).map_or(bytes, |share| share.min(freed).min(bytes))
    }

    /// Whether a compaction that covers so much of the log is worth its trouble.
    fn is_worth_it(&self, log_bytes: u64) -> bool {
        let live_bytes = self.live_bytes();
        let snapshot_bytes = self.stock.snapshot.map_or(0, |(_, bytes)| bytes);
        let dead_bytes = log_bytes + snapshot_bytes - live_bytes;
        // On a full disk, whatever becomes free counts.
        let least = GROWTH * live_bytes;
        let least = least.max(GROWTH_SEGMENTS * self.segment_bytes);
        dead_bytes >= if self.is_short { live_bytes.max(1) } else { least }
    }

    /// Whether the active segment had better be sealed, so that what is dead in the snapshot can go.
    pub(super) fn wants_seal(&self) -> bool {
        self.stock.sealed.is_empty()
            && self.compacting.is_none()
            && !self.is_short
            && self.stock.ready.len() >= READY
            && self.is_worth_it(0)
    }

    /// Goes on with what is under way. True if something was done or began. `active` is the segment
    /// that is written in, `written` the last position in any.
    pub(super) fn poll(
        &mut self,
        cx: &mut Context<'_>,
        written: LogPosition,
        active: u64,
    ) -> io::Result<bool> {
        let mut progress = self.poll_retry(cx);
        self.give_up_obsolete();
        progress |= self.fetching.poll(cx)?;
        progress |= self.poll_making(cx)?;
        self.poll_look(cx);
        progress |= self.poll_asking(cx)?;
        progress |= self.poll_compacting(cx)?;
        progress |= self.poll_clearing(cx)?;
        progress |= self.begin_making(active);
        progress |= self.begin_compacting(written, active);
        Ok(progress)
    }

    /// On a full disk, asks again from time to time.
    fn poll_retry(&mut self, cx: &mut Context<'_>) -> bool {
        let is_over = self.retry.as_mut().is_some_and(|retry| retry.as_mut().poll(cx).is_ready());
        if is_over {
            self.retry = None;
            if self.is_short && self.asking.is_none() {
                self.asking = Some(Box::pin(self.disk.free_bytes()));
            }
        }
        is_over
    }

    /// While something is written, looks now and then whether others have taken the room.
    fn poll_look(&mut self, cx: &mut Context<'_>) {
        // What is being made takes room that it gives back, or that was counted on.
        let is_busy = self.asking.is_some() || self.making.is_some() || self.compacting.is_some();
        if !self.was_written || self.is_short || is_busy {
            self.look = None;
            return;
        }
        let (clock, from) = (&self.clock, self.look_from);
        if clock.now() < from {
            let look = self.look.get_or_insert_with(|| Box::pin(clock.sleep_until(from)));
            if look.as_mut().poll(cx).is_pending() {
                return;
            }
        }
        self.look = None;
        self.was_written = false;
        self.look_from = clock.now().plus_ms(LOOK_MS);
        self.asking = Some(Box::pin(self.disk.free_bytes()));
    }

    fn wait(&mut self, ms: u64) {
        let at = self.clock.now().plus_ms(ms);
        self.retry = Some(Box::pin(self.clock.sleep_until(at)));
    }

    /// Room that must be left for compaction, which needs as much as it keeps.
    fn reserve_bytes(&self) -> u64 {
        self.segment_bytes + self.stock.snapshot.map_or(0, |(_, bytes)| bytes)
    }

    /// Takes notice of how much room there is.
    pub(in crate::journal) fn judge_room(&mut self, free_bytes: u64) {
        self.is_short = free_bytes < self.reserve_bytes();
        if self.is_short {
            self.wait(RETRY_MS);
        } else {
            self.starves = false;
        }
    }

    fn poll_asking(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Some(outcome) = poll_task(&mut self.asking, cx) else { return Ok(false) };
        self.judge_room(outcome?);
        Ok(true)
    }

    fn poll_making(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Some(outcome) = poll_task(&mut self.making, cx) else { return Ok(false) };
        match outcome {
            Ok((segment, free_bytes)) => {
                self.last_number = self.last_number.max(segment.number);
                // One that was too short is replaced.
                self.stock.ready.retain(|ready| ready.number != segment.number);
                let place = self.stock.ready.partition_point(|ready| ready.number < segment.number);
                self.stock.ready.insert(place, segment);
                self.judge_room(free_bytes);
            }
            Err(error) if is_full(&error) => {
                self.is_short = true;
                self.wait(RETRY_MS);
            }
            Err(error) => return Err(error),
        }
        Ok(true)
    }

    fn begin_making(&mut self, active: u64) -> bool {
        let is_too_short =
            self.stock.ready.front().is_some_and(|next| next.bytes < self.wanted_bytes);
        let is_enough = self.stock.ready.len() >= READY && !is_too_short;
        if self.making.is_some() || self.retry.is_some() || is_enough {
            return false;
        }
        if sim_point!(SegmentLate) {
            self.wait(LATE_MS);
            return true;
        }
        let number = if is_too_short { active + 1 } else { self.last_number + 1 };
        let usual = usual_bytes(number, self.segment_bytes);
        let bytes = if number == active + 1 { usual.max(self.wanted_bytes) } else { usual };
        // What is still being read must stay as it is.
        let (obsolete, fetching) = (&self.stock.obsolete, &self.fetching);
        let can_be = |(old, length): &(u64, u64)| *length == bytes && !fetching.reads(*old);
        let again = obsolete.iter().position(can_be).filter(|_| !sim_point!(SegmentNotReused));
        let again = again.map(|place| self.stock.obsolete.swap_remove(place).0);
        let (disk, salt) = (self.disk.clone(), self.salts.next());
        self.making = Some(Box::pin(async move {
            let free = disk.clone();
            let segment = make(disk, number, bytes, salt, again).await?;
            Ok((segment, free.free_bytes().await?))
        }));
        true
    }

    fn begin_compacting(&mut self, written: LogPosition, active: u64) -> bool {
        let is_busy = self.compacting.is_some() || self.clearing.is_some();
        let must_wait = if self.starves { self.making.is_some() } else { self.retry.is_some() };
        if is_busy || must_wait {
            return false;
        }
        let mut segments: Vec<(u64, LogPosition)> = self
            .stock
            .sealed
            .iter()
            .take_while(|segment| segment.last <= written)
            .map(|segment| (segment.number, segment.last))
            .collect();
        let covered = self.stock.sealed.iter().take(segments.len());
        let log_bytes: u64 = covered.map(|segment| segment.end).sum();
        let Some((last, sealed_through)) = segments.last().copied() else { return false };
        if !self.is_worth_it(log_bytes) && !sim_point!(CompactEarly) {
            return false;
        }
        let mut number = last + 1;
        // On a full disk, what ended last makes the most room, and no segment can be spared to
        // have it sealed.
        let is_covered = self.stock.snapshot.is_some_and(|(covered, _)| covered == active);
        if self.is_short && number == active && sealed_through < written && !is_covered {
            segments.push((active, written));
            number = active;
        }
        let compaction = Compaction {
            disk: self.disk.clone(),
            clock: self.clock.clone(),
            is_urgent: self.is_short,
            spawn: self.spawn.clone(),
            config: self.config.clone(),
            salt: self.salts.next(),
            snapshot: self.stock.snapshot.map(|(number, _)| number),
            segments,
            number,
            over: self.take_over(),
        };
        self.compacting = Some(Box::pin(compaction.run()));
        true
    }

    /// Whether the last segment that was made ahead can take a snapshot that makes room.
    fn can_write_over(&self) -> bool {
        let log_bytes: u64 = self.stock.sealed.iter().map(|segment| segment.end).sum();
        let snapshot_bytes = self.stock.snapshot.map_or(0, |(_, bytes)| bytes);
        // Records take less beside what they store than that.
        let most_bytes = (log_bytes + snapshot_bytes).min(self.live_bytes.saturating_mul(2));
        let is_room = |last: &OpenSegment<D::File>| {
            last.number == self.last_number && last.bytes >= BLOCK_BYTES + most_bytes
        };
        self.compacting.is_none()
            && log_bytes > 0
            && self.is_worth_it(log_bytes)
            && self.stock.ready.back().is_some_and(is_room)
    }

    /// The segment that a snapshot is written over, where nothing else is left. What it covers is made into
    /// segments again.
    fn take_over(&mut self) -> Option<u64> {
        let over =
            if std::mem::take(&mut self.starves) { self.stock.ready.pop_back() } else { None };
        self.last_number -= u64::from(over.is_some());
        over.map(|segment| segment.number)
    }

    fn poll_compacting(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Some(outcome) = poll_task(&mut self.compacting, cx) else { return Ok(false) };
        let compacted = match outcome {
            Ok(compacted) => compacted,
            Err(error) if is_full(&error) => {
                self.is_short = true;
                self.wait(RETRY_MS);
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        if self.stock.ready.is_empty() {
            // What it covers is wanted at once.
            self.retry = None;
        }
        self.snapshot_bytes += compacted.bytes;
        self.index.replace(compacted.number, compacted.marks);
        let old = self.stock.snapshot.replace((compacted.number, compacted.bytes));
        self.stock.snapshot_live_bytes = compacted.live_bytes;
        self.stock.rubbish.extend(old.map(|(number, _)| FileName::Snapshot(number)));
        let covered = |segment: &Sealed| segment.number < compacted.number;
        let obsolete: Vec<Sealed> = self.stock.sealed.iter().copied().filter(covered).collect();
        self.stock.sealed.retain(|segment| !covered(segment));
        self.stock.obsolete.extend(obsolete.iter().map(|old| (old.number, old.bytes)));
        tracing::debug!(
            snapshot_bytes = compacted.bytes,
            segments = obsolete.len(),
            written_bytes = self.written_bytes,
            snapshots_bytes = self.snapshot_bytes,
            "compacted the store"
        );
        self.sort_obsolete(obsolete.len() as u64);
        Ok(true)
    }

    /// Decides what of that which counts for nothing is worth keeping for later segments: as many as
    /// are likely to be begun until the next compaction, which are as many as before this one.
    fn sort_obsolete(&mut self, covered: u64) {
        let usual = self.segment_bytes;
        let kept = (GROWTH * self.stock.snapshot.map_or(0, |(_, bytes)| bytes) / usual)
            .max(covered)
            .max(GROWTH_SEGMENTS);
        let mut left = usize::try_from(kept).unwrap_or(usize::MAX);
        let rubbish = &mut self.stock.rubbish;
        self.stock.obsolete.retain(|(number, bytes)| {
            let is_kept = *bytes == usual && left > 0;
            if is_kept {
                left -= 1;
            } else {
                rubbish.push(FileName::Segment(*number));
            }
            is_kept
        });
    }

    /// On a full disk, nothing more is kept for later segments than what would be made of it at once.
    fn give_up_obsolete(&mut self) {
        let kept = if self.is_short { READY } else { usize::MAX };
        let given_up = self.stock.obsolete.drain(kept.min(self.stock.obsolete.len())..);
        self.stock.rubbish.extend(given_up.map(|(number, _)| FileName::Segment(number)));
    }

    fn begin_clearing(&mut self) {
        let (disk, rubbish) = (self.disk.clone(), std::mem::take(&mut self.stock.rubbish));
        self.clearing = Some(Box::pin(async move {
            for name in rubbish {
                match disk.remove(&name.to_string()).await {
                    Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                    Ok(()) | Err(_) => {}
                }
            }
            let synced = disk.sync_folder().await;
            Ok(synced.map_err(StoreError::disk("cannot sync", "the data folder"))?)
        }));
    }

    fn poll_clearing(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let is_idle = self.clearing.is_none() && self.fetching.is_idle();
        if is_idle && !self.stock.rubbish.is_empty() {
            self.begin_clearing();
        }
        let Some(outcome) = poll_task(&mut self.clearing, cx) else { return Ok(false) };
        outcome?;
        Ok(true)
    }
}

/// Whether an error says that the disk, or the owner's share of it, is full.
fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// Polls a task if there is one, and takes it away when it is done.
pub(super) fn poll_task<T>(
    task: &mut Option<Task<T>>,
    cx: &mut Context<'_>,
) -> Option<io::Result<T>> {
    let Poll::Ready(outcome) = task.as_mut()?.as_mut().poll(cx) else { return None };
    *task = None;
    Some(outcome)
}
