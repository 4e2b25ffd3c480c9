//! Compaction: what many records come to, as a few that take their place.
//!
//! It works beside the broker and not in it: sealed segments are read again, record by record, into
//! a broker of their own, whose state is then written as a snapshot. So the broker never stops for it,
//! what is dead costs only its reading, and the records that come out are those that recovery takes
//! anyway. A snapshot counts from the moment it has its name; what it covers is then used again.

use std::io;

use bytes::Bytes;
use signalhouse_core::message::MessageId;
use signalhouse_core::{Config, LogPosition, Record, Recovery, Seed, Time};

use super::bodies::Bodies;
use super::codec::decode_first;
use super::error::{Damage, StoreError};
use super::file::{BLOCK_BYTES, FileHeader, FileKind, FileName};
use super::frame::FrameBuilder;
use super::index::{Mark, Marks};
use super::reader::{Frame, FrameReader};
use super::segment::{new_file, remove, write_all};
use super::walk::damaged;
use crate::seams::{Clock, Disk, DiskFile, Spawn, SyncFailed};

/// Records are read and written in pieces of about this length.
const PIECE_BYTES: usize = 256 * 1024;
/// About what a record takes beside its message.
const RECORD_BYTES: usize = 40;
/// A sync covers no more than this, so that the log's own syncs do not wait long behind it.
const SYNC_BYTES: u64 = 2 * 1024 * 1024;
/// What is not in memory is read from the files once more, so memory need not hold more than this.
const MEMORY_BYTES: u64 = 64 * 1024 * 1024;

/// What is to be compacted.
#[derive(Debug)]
pub(super) struct Compaction<D, C, P> {
    pub(super) disk: D,
    pub(super) clock: C,
    /// Whether room is short, and nobody else is to have a turn.
    pub(super) is_urgent: bool,
    pub(super) spawn: P,
    pub(super) config: Config,
    pub(super) salt: u64,
    /// The snapshot so far.
    pub(super) snapshot: Option<u64>,
    /// The segments behind it, each with the last position that is to be covered.
    pub(super) segments: Vec<(u64, LogPosition)>,
    /// The first segment of which something is not covered: the new snapshot's number.
    pub(super) number: u64,
    /// A segment that was made ahead and is written over, because the disk has no room for a new file.
    pub(super) over: Option<u64>,
}

/// A new snapshot.
#[derive(Clone, Debug)]
pub(super) struct Compacted {
    /// Its number: that of the first segment that it does not cover.
    pub(super) number: u64,
    pub(super) bytes: u64,
    /// What a broker with this state has stored.
    pub(super) live_bytes: u64,
    /// Where in it messages are.
    pub(super) marks: Marks,
}

impl<D: Disk, C: Clock, P: Spawn> Compaction<D, C, P> {
    pub(super) async fn run(self) -> io::Result<Compacted> {
        let last = self.segments.last().copied();
        let (_, through) = last.ok_or(io::ErrorKind::InvalidInput)?;
        let replay = Box::new(Replay::new(self.config.clone()));
        let replay = self.read(replay).await?;
        let latest = replay.latest.max(replay.recovery.latest());
        let live_bytes = replay.recovery.live_bytes();
        let records = self.spawn.offload(move || replay.recovery.into_snapshot()).await;
        let number = self.number;
        let name = FileName::Unfinished(number);
        let salt = self.salt;
        // What is not in memory comes from where it is now.
        let snapshot = self.snapshot.map(FileName::Snapshot);
        let segments = self.segments.iter().map(|(number, _)| FileName::Segment(*number));
        let bodies = Bodies::new(self.disk.clone(), snapshot.into_iter().chain(segments).collect());
        let state = State { through, latest, records, bodies };
        let mut pace = self.pace();
        let turn = async || pace.turn().await;
        let written = async {
            let file = self.file(name).await?;
            write(&file, &self.spawn, name, number, salt, state, turn).await
        };
        let (bytes, marks) = match written.await {
            Ok(written) => written,
            Err(error) => {
                drop(self.disk.remove(&name.to_string()).await);
                return Err(error.into());
            }
        };
        let snapshot = FileName::Snapshot(number);
        let named = async {
            self.disk.rename(&name.to_string(), &snapshot.to_string()).await?;
            if canary!(SnapshotNameNotSynced) {
                return Ok(());
            }
            self.disk.sync_folder().await.map_err(SyncFailed::within)
        };
        named.await.map_err(StoreError::disk("cannot name", snapshot))?;
        Ok(Compacted { number, bytes, live_bytes, marks })
    }

    /// Where the snapshot is written.
    async fn file(&self, name: FileName) -> Result<D::File, StoreError> {
        let Some(number) = self.over else { return new_file(&self.disk, name).await };
        let segment = FileName::Segment(number);
        let failed = |error| StoreError::disk("cannot write over", segment)(error);
        remove(&self.disk, name).await?;
        self.disk.rename(&segment.to_string(), &name.to_string()).await.map_err(failed)?;
        // With its old name it would be damaged by the first write.
        self.disk.sync_folder().await.map_err(failed)?;
        self.disk.open(&name.to_string()).await.map_err(failed)
    }

    async fn read(&self, mut replay: Box<Replay>) -> Result<Box<Replay>, StoreError> {
        if let Some(number) = self.snapshot {
            let mut reader = FrameReader::open(&self.disk, FileName::Snapshot(number)).await?;
            let FileKind::Snapshot { through, latest, records } = reader.header().kind else {
                return Err(damaged(reader.name(), 0, Damage::Header));
            };
            replay = self.read_file(&mut reader, 1, records, replay).await?;
            replay.latest = latest;
            replay.through = through;
        }
        for (number, last) in &self.segments {
            let mut reader = FrameReader::open(&self.disk, FileName::Segment(*number)).await?;
            let from = replay.through.0 + 1;
            replay = self.read_file(&mut reader, from, last.0, replay).await?;
            replay.through = *last;
        }
        Ok(replay)
    }

    /// Reads the records numbered `from` to `last`, all of which must be there.
    async fn read_file(
        &self,
        reader: &mut FrameReader<D::File>,
        from: u64,
        last: u64,
        mut replay: Box<Replay>,
    ) -> Result<Box<Replay>, StoreError> {
        let file = reader.name();
        let mut expected = from;
        let mut pace = self.pace();
        while expected <= last {
            let mut frames = Vec::new();
            let mut bytes = 0;
            let piece_bytes = piece_bytes();
            while expected <= last && bytes < piece_bytes {
                let offset = reader.offset();
                let frame = reader.next().await?;
                if frame.as_ref().is_some_and(|frame| frame.is_before(expected)) {
                    continue;
                }
                let frame = frame.filter(|frame| frame.header.first.0 == expected);
                let frame = frame.ok_or_else(|| {
                    let what = Damage::Frame {
                        expected: LogPosition(expected),
                        known_durable: LogPosition(last),
                    };
                    damaged(file, offset, what)
                })?;
                expected = frame.next_position();
                bytes += frame.body.len();
                frames.push(frame);
            }
            replay = self.spawn.offload(move || replay.feed(file, frames)).await?;
            pace.turn().await;
        }
        Ok(replay)
    }

    fn pace(&self) -> Pace<'_, C> {
        Pace { clock: &self.clock, since: self.clock.now(), is_urgent: self.is_urgent }
    }
}

/// Lets others have the disk and the processor for as long as each piece takes, a millisecond at least.
struct Pace<'a, C> {
    clock: &'a C,
    since: Time,
    is_urgent: bool,
}

impl<C: Clock> Pace<'_, C> {
    async fn turn(&mut self) {
        if !self.is_urgent {
            let now = self.clock.now();
            self.clock.sleep_until(now.plus_ms(now.since_ms(self.since).max(1))).await;
        }
        self.since = self.clock.now();
    }
}

/// The broker that records are read into.
struct Replay {
    recovery: Recovery,
    through: LogPosition,
    latest: Time,
}

impl Replay {
    fn new(mut config: Config) -> Self {
        let memory_bytes = &mut config.limits.queue_memory_bytes;
        *memory_bytes = MEMORY_BYTES.min(*memory_bytes);
        // Nothing that chance decides is in a snapshot.
        let recovery = Recovery::new(config, Seed(0));
        Replay { recovery, through: LogPosition::START, latest: Time::ZERO }
    }

    fn feed(
        mut self: Box<Self>,
        file: FileName,
        frames: Vec<Frame>,
    ) -> Result<Box<Self>, StoreError> {
        for frame in frames {
            let mut rest = &frame.body[..];
            for _ in 0..frame.header.records {
                let (record, behind) = decode_first(rest)
                    .map_err(|error| damaged(file, frame.offset, error.into()))?;
                rest = behind;
                self.recovery
                    .apply(record)
                    .map_err(|error| damaged(file, frame.offset, error.into()))?;
            }
        }
        Ok(self)
    }
}

/// What a snapshot is made of.
pub(super) struct State<D: Disk> {
    pub(super) through: LogPosition,
    pub(super) latest: Time,
    pub(super) records: Vec<Record>,
    /// Where the messages are that the records speak of and do not bring.
    pub(super) bodies: Bodies<D>,
}

/// Writes a snapshot's file and makes it durable; gives its length, and where in it messages are. A frame
/// at a time, with `after_each` in between.
pub(super) async fn write<D: Disk, P: Spawn>(
    file: &D::File,
    spawn: &P,
    name: FileName,
    number: u64,
    salt: u64,
    state: State<D>,
    mut after_each: impl AsyncFnMut(),
) -> Result<(u64, Marks), StoreError> {
    let State { through, latest, records, bodies } = state;
    let kind = FileKind::Snapshot { through, latest, records: records.len() as u64 };
    let header = FileHeader::new(kind, number, salt);
    let failed = |error| StoreError::disk("cannot write", name)(error);
    let mut offset = BLOCK_BYTES;
    let mut synced = 0;
    let mut marks = Marks::new();
    let mut pieces = Pieces::new(records, bodies);
    while let Some((first, piece)) = pieces.next().await? {
        let (first_message, bytes) = spawn.offload(move || frame_of(&piece, first, salt)).await;
        marks.extend(first_message.map(|first| Mark { first, offset }));
        let length = bytes.len() as u64;
        write_all(file, offset, bytes).await.map_err(failed)?;
        offset += length;
        if offset - synced >= SYNC_BYTES || sim_point!(SnapshotSyncedOften) {
            file.sync().await.map_err(SyncFailed::within).map_err(failed)?;
            synced = offset;
        }
        after_each().await;
    }
    write_all(file, 0, header.to_block()).await.map_err(failed)?;
    file.sync().await.map_err(SyncFailed::within).map_err(failed)?;
    Ok((offset, marks))
}

/// Records as they go into a file, a frame's worth at a time.
pub(super) struct Pieces<D: Disk> {
    records: std::vec::IntoIter<Record>,
    bodies: Bodies<D>,
    /// The number of the next record.
    next: u64,
}

impl<D: Disk> Pieces<D> {
    pub(super) fn new(records: Vec<Record>, bodies: Bodies<D>) -> Self {
        Pieces { records: records.into_iter(), bodies, next: 1 }
    }

    /// The next records, each with its message, and the number of the first; `None` after the last.
    pub(super) async fn next(&mut self) -> Result<Option<(LogPosition, Vec<Record>)>, StoreError> {
        let first = LogPosition(self.next);
        let mut piece = Vec::new();
        let mut bytes = 0;
        let piece_bytes = piece_bytes();
        while bytes < piece_bytes
            && let Some(mut record) = self.records.next()
        {
            if let Record::Requeued { message, .. } = &record {
                let message = self.bodies.find(*message).await?;
                record = record.with_message(|_| Some(message));
            }
            bytes += RECORD_BYTES;
            if let Record::Published { message, .. } = &record {
                bytes += message.content_bytes();
            }
            piece.push(record);
        }
        self.next += piece.len() as u64;
        Ok((!piece.is_empty()).then_some((first, piece)))
    }
}

fn piece_bytes() -> usize {
    if sim_point!(PieceSmall) { 1 } else { PIECE_BYTES }
}

/// Records in a frame, and the first message among them.
pub(super) fn frame_of(
    records: &[Record],
    first: LogPosition,
    salt: u64,
) -> (Option<MessageId>, Bytes) {
    let mut frame = FrameBuilder::new(first, PIECE_BYTES);
    for record in records {
        frame.push(record);
    }
    (frame.first_message(), frame.seal(salt, LogPosition::START))
}
