//! The journal while the broker runs: records into frames, frames into segments.
//!
//! Whatever is appended while earlier frames are on their way to the disk goes into the next frame:
//! one sync for all that came meanwhile, without a timer. What keeps the store small and ready is in
//! `upkeep.rs`.

mod fetch;
mod upkeep;

use std::collections::VecDeque;
use std::future::{Future, poll_fn};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use bytes::{Buf, Bytes};
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::quota::Holder;
use signalhouse_core::wire::types::Text;
use signalhouse_core::{JournalRoom, LogPosition, Record};

pub(super) use self::upkeep::{Sealed, Stock, Upkeep};
use super::error::StoreError;
use super::file::{BLOCK_BYTES, FileName};
use super::frame::FrameBuilder;
use super::segment::{OpenSegment, write_all};
use crate::seams::{Clock, Disk, DiskFile, Journal, Spawn, SyncFailed};

/// A frame gets no more records once it has this length.
const FRAME_BYTES: usize = 512 * 1024;
/// How many frames are on their way at once: while one is synced the next is written.
const FRAMES_UNDER_WAY: usize = 2;
/// After so many milliseconds without a record, the log says that its last one is durable.
const IDLE_MS: u64 = 1_000;
/// How long a frame waits for room on a full disk before there is taken to be none.
const USED_UP_MS: u64 = 1_000;

pub(super) type Task<T> = Pin<Box<dyn Future<Output = io::Result<T>>>>;

/// When a record counts as durable.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Level {
    /// When it is synced.
    Strict,
    /// When it is written; it is synced within so many milliseconds.
    Relaxed {
        /// How many.
        sync_delay_ms: u64,
    },
}

/// A [`Journal`] in files.
pub struct LogJournal<D: Disk, C: Clock, P> {
    clock: C,
    level: Level,
    active: OpenSegment<D::File>,
    /// Records that no frame under way has.
    waiting: VecDeque<FrameBuilder>,
    under_way: VecDeque<UnderWay>,
    appended: LogPosition,
    written: LogPosition,
    durable: LogPosition,
    /// What the driver was told.
    told: LogPosition,
    /// The last position that a frame in the log says is durable.
    marked: LogPosition,
    mark_at: Option<Pin<Box<C::Sleep>>>,
    /// When a frame has waited for room so long that there is none.
    used_up_at: Option<Pin<Box<C::Sleep>>>,
    is_used_up: bool,
    relaxed: Relaxed<D::File, C>,
    upkeep: Upkeep<D, C, P>,
    /// Length of the last frame, about that of the next.
    usual_bytes: usize,
}

/// A frame that is being written and, in `strict`, synced.
struct UnderWay {
    through: LogPosition,
    is_done: bool,
    task: Task<()>,
}

/// What `relaxed` has still to sync.
struct Relaxed<F, C: Clock> {
    unsynced: Vec<(u64, F)>,
    due: Option<Pin<Box<C::Sleep>>>,
    syncing: Option<(LogPosition, Task<()>)>,
}

impl<D: Disk, C: Clock, P: Spawn> LogJournal<D, C, P> {
    pub(super) fn new(
        clock: C,
        level: Level,
        active: OpenSegment<D::File>,
        through: LogPosition,
        upkeep: Upkeep<D, C, P>,
    ) -> Self {
        LogJournal {
            clock,
            level,
            active,
            waiting: VecDeque::new(),
            under_way: VecDeque::new(),
            appended: through,
            written: through,
            durable: through,
            told: through,
            marked: LogPosition::START,
            mark_at: None,
            used_up_at: None,
            is_used_up: false,
            relaxed: Relaxed { unsynced: Vec::new(), due: None, syncing: None },
            upkeep,
            usual_bytes: 0,
        }
    }

    /// Begins to write frames, as many as may be on their way. True if one began.
    fn begin_frames(&mut self) -> bool {
        let mut began = false;
        while self.under_way.len() < FRAMES_UNDER_WAY
            && let Some(frame) = self.waiting.front()
            && (self.under_way.is_empty() || !sim_point!(FrameWaits))
            && self.has_room_for(frame.frame_bytes())
            && let Some(frame) = self.waiting.pop_front()
        {
            self.begin(frame);
            began = true;
        }
        began
    }

    /// Whether a frame fits, if need be in the next segment.
    fn has_room_for(&mut self, bytes: u64) -> bool {
        while self.active.end + bytes > self.active.bytes {
            let Some(next) = self.upkeep.take_ready(bytes) else { return false };
            self.go_on_in(next);
        }
        true
    }

    /// Goes on in the next segment before this one is full, so that this one can be compacted.
    fn seal_early(&mut self) -> bool {
        if self.active.end == BLOCK_BYTES || !self.upkeep.wants_seal() {
            return false;
        }
        let next = self.upkeep.take_ready(0);
        next.map(|next| self.go_on_in(next)).is_some()
    }

    fn go_on_in(&mut self, next: OpenSegment<D::File>) {
        let sealed = std::mem::replace(&mut self.active, next);
        self.upkeep.seal(&sealed, self.last_begun());
    }

    /// The last position in any frame that was begun.
    fn last_begun(&self) -> LogPosition {
        self.under_way.back().map_or(self.written, |frame| frame.through)
    }

    /// Begins to write a frame and, in `strict`, to sync it.
    fn begin(&mut self, frame: FrameBuilder) {
        let through = frame.last();
        let first_message = frame.first_message();
        let bytes = frame.seal(self.active.salt, self.durable);
        self.usual_bytes = bytes.len();
        self.marked = self.durable;
        let name = FileName::Segment(self.active.number);
        let file = self.active.file.clone();
        let offset = self.active.end;
        self.active.end += bytes.len() as u64;
        let number = self.active.number;
        self.upkeep.note_frame(number, offset, bytes.len() as u64, first_message);
        let named = StoreError::disk("cannot write", name);
        // Called now, so that the disk has it in order with other frames.
        let task: Task<()> = match self.level {
            Level::Strict if !canary!(DurableWhenWritten) => {
                let written = file.write_synced(offset, bytes.clone());
                Box::pin(async move {
                    let finished = finish(&file, (offset, bytes), written).await;
                    match finished {
                        Ok(false) => file.sync().await.map_err(SyncFailed::within),
                        Err(_) if canary!(SyncFailureIgnored) => Ok(()),
                        Ok(true) | Err(_) => finished.map(drop),
                    }
                    .map_err(|error| named(error).into())
                })
            }
            Level::Strict | Level::Relaxed { .. } => {
                let unsynced = &mut self.relaxed.unsynced;
                if unsynced.last().is_none_or(|(last, _)| *last != number) {
                    unsynced.push((number, file.clone()));
                }
                let written = file.write_at(offset, bytes.clone());
                Box::pin(async move {
                    let finished = finish(&file, (offset, bytes), written).await;
                    finished.map(drop).map_err(|error| named(error).into())
                })
            }
        };
        self.under_way.push_back(UnderWay { through, is_done: false, task });
        self.mark_at = None;
    }

    /// Sees what is done. True if something is.
    fn poll_frames(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        if !self.under_way.is_empty() && sim_point!(FrameNoticedLate) {
            cx.waker().wake_by_ref();
            return Ok(false);
        }
        for frame in &mut self.under_way {
            if !frame.is_done
                && let Poll::Ready(outcome) = frame.task.as_mut().poll(cx)
            {
                outcome?;
                frame.is_done = true;
            }
        }
        let mut progress = false;
        while let Some(frame) = self.under_way.pop_front_if(|frame| frame.is_done) {
            self.written = frame.through;
            progress = true;
        }
        if self.level == Level::Strict {
            self.durable = self.written;
        }
        Ok(progress)
    }

    /// In `relaxed`, syncs what was written when its time has come.
    fn poll_relaxed(&mut self, cx: &mut Context<'_>) -> io::Result<bool> {
        let Level::Relaxed { sync_delay_ms } = self.level else { return Ok(false) };
        if let Some((through, task)) = &mut self.relaxed.syncing {
            let Poll::Ready(outcome) = task.as_mut().poll(cx) else { return Ok(false) };
            outcome?;
            self.durable = *through;
            self.relaxed.syncing = None;
            return Ok(true);
        }
        if self.durable == self.written {
            return Ok(false);
        }
        let clock = &self.clock;
        let due = self
            .relaxed
            .due
            .get_or_insert_with(|| Box::pin(clock.sleep_until(clock.now().plus_ms(sync_delay_ms))));
        if due.as_mut().poll(cx).is_pending() {
            return Ok(false);
        }
        self.begin_relaxed_sync();
        Ok(true)
    }

    fn begin_relaxed_sync(&mut self) {
        self.relaxed.due = None;
        let through = self.written;
        let mut syncs = Vec::new();
        for (number, file) in self.relaxed.unsynced.drain(..) {
            syncs.push((FileName::Segment(number), file.sync()));
        }
        let task = async move {
            for (name, sync) in syncs {
                sync.await.map_err(StoreError::disk("cannot sync", name))?;
            }
            Ok(())
        };
        self.relaxed.syncing = Some((through, Box::pin(task)));
        // A frame that is on its way may be written after this sync.
        if !self.under_way.is_empty() {
            self.relaxed.unsynced.push((self.active.number, self.active.file.clone()));
        }
    }

    /// Writes, once all is quiet, that the last record is durable: if it is damaged later, that
    /// shows, and it is not taken for one that was never acknowledged.
    fn poll_mark(&mut self, cx: &mut Context<'_>) -> bool {
        let is_quiet = self.durable == self.appended && self.under_way.is_empty();
        if !is_quiet || self.marked == self.durable {
            self.mark_at = None;
            return false;
        }
        let clock = &self.clock;
        let at = self
            .mark_at
            .get_or_insert_with(|| Box::pin(clock.sleep_until(clock.now().plus_ms(IDLE_MS))));
        at.as_mut().poll(cx).is_ready() && self.mark()
    }

    fn mark(&mut self) -> bool {
        let frame = FrameBuilder::new(LogPosition(self.appended.0 + 1), 0);
        let has_room = self.has_room_for(frame.frame_bytes());
        if has_room {
            self.begin(frame);
        }
        has_room
    }

    /// Everything that can go on, until nothing does.
    fn poll_all(&mut self, cx: &mut Context<'_>) -> io::Result<()> {
        loop {
            let mut progress = self.poll_frames(cx)?;
            progress |= self.poll_relaxed(cx)?;
            progress |= self.upkeep.poll(cx, self.written, self.active.number)?;
            progress |= self.begin_frames();
            progress |= self.poll_mark(cx);
            progress |= self.seal_early();
            if !progress {
                self.poll_used_up(cx);
                return Ok(());
            }
        }
    }

    /// Sees whether frames wait for room that does not come.
    fn poll_used_up(&mut self, cx: &mut Context<'_>) {
        let waits = self.upkeep.is_short() && self.under_way.is_empty() && !self.waiting.is_empty();
        if !waits {
            (self.used_up_at, self.is_used_up) = (None, false);
        } else if !self.is_used_up {
            let clock = &self.clock;
            let at = self.used_up_at.get_or_insert_with(|| {
                Box::pin(clock.sleep_until(clock.now().plus_ms(USED_UP_MS)))
            });
            self.is_used_up = at.as_mut().poll(cx).is_ready();
        }
    }
}

impl<D: Disk, C: Clock, P: Spawn> Journal for LogJournal<D, C, P> {
    fn append(&mut self, at: LogPosition, record: Record) {
        assert_eq!(at.0, self.appended.0 + 1, "positions of records rise by one");
        self.appended = at;
        let most = if sim_point!(FrameOfOne) { 1 } else { FRAME_BYTES };
        if self.waiting.back().is_none_or(|frame| frame.body_bytes() >= most) {
            self.waiting.push_back(FrameBuilder::new(at, self.usual_bytes));
        }
        if let Some(frame) = self.waiting.back_mut() {
            if canary!(DeletionNotRecorded)
                && matches!(record, Record::Completed { .. } | Record::Removed { .. })
            {
                // Its position must not be missing.
                let holder = Holder::User(Text::default());
                return frame.push(&Record::Counted { holder, day: 0, count: 0 });
            }
            frame.push(&record);
        }
    }

    fn note_live(&mut self, bytes: u64) {
        self.upkeep.note_live(bytes);
    }

    fn flush(&mut self) -> Option<LogPosition> {
        self.begin_frames();
        None
    }

    fn poll_durable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<LogPosition>> {
        if let Err(error) = self.poll_all(cx) {
            return Poll::Ready(Err(error));
        }
        let through = match self.level {
            Level::Strict => self.durable,
            Level::Relaxed { .. } => self.written,
        };
        if through == self.told {
            return Poll::Pending;
        }
        self.told = through;
        Poll::Ready(Ok(through))
    }

    fn room(&self) -> JournalRoom {
        if self.is_used_up {
            JournalRoom::UsedUp
        } else if self.upkeep.is_short() {
            JournalRoom::Short
        } else {
            JournalRoom::Ample
        }
    }

    fn fetch(&mut self, message: MessageId) {
        self.upkeep.fetch(message);
    }

    fn take_fetched(&mut self) -> Poll<Arc<Message>> {
        self.upkeep.fetched()
    }

    async fn close(&mut self) -> io::Result<()> {
        self.relaxed.due = None;
        poll_fn(|cx| {
            self.begin_frames();
            if let Err(error) = self.poll_all(cx) {
                return Poll::Ready(Err(error));
            }
            if self.written == self.appended
                && self.durable < self.written
                && self.relaxed.syncing.is_none()
                && !self.relaxed.unsynced.is_empty()
            {
                self.begin_relaxed_sync();
                cx.waker().wake_by_ref();
            }
            if self.durable == self.appended { Poll::Ready(Ok(())) } else { Poll::Pending }
        })
        .await?;
        if self.marked < self.durable && self.mark() {
            while let Some(frame) = self.under_way.pop_front() {
                frame.task.await?;
            }
            let synced = self.active.file.sync().await;
            synced
                .map_err(StoreError::disk("cannot sync", FileName::Segment(self.active.number)))?;
        }
        Ok(())
    }
}

/// Sees a frame written as a whole. True if the first write wrote all of it.
async fn finish<F: DiskFile>(
    file: &F,
    (offset, mut bytes): (u64, Bytes),
    written: impl Future<Output = io::Result<usize>>,
) -> io::Result<bool> {
    let length = written.await?;
    if length == bytes.len() {
        return Ok(true);
    }
    bytes.advance(length);
    write_all(file, offset + length as u64, bytes).await?;
    Ok(false)
}
