//! Reads a whole store in order: which files count, which records they have, where they end.
//!
//! The newest snapshot comes first, then the segments that it does not cover. Positions rise by one
//! from record to record, so a frame that is missing or not intact ends the sequence. What that
//! means depends on what is known to have been durable: at or below that position it is damage;
//! above, the frame was never acknowledged, and nothing from there on counts.

use std::collections::VecDeque;

use signalhouse_core::{LogPosition, Record, Time};

use super::codec::decode_first;
use super::error::{Damage, StoreError};
use super::file::{BLOCK_BYTES, FileHeader, FileKind, FileName, IMPORT};
use super::frame::{HEADER_BYTES, Header};
use super::reader::{Frame, FrameReader};
use crate::seams::{Disk, DiskFile, Listed};

/// Frames that were under way at a power cut begin within so many bytes of the beginning of the
/// segments behind the last one with records: not more than that is written at a time.
const UNDER_WAY_BYTES: u64 = 8 * 1024 * 1024;

/// Where a record is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) file: FileName,
    /// Where its frame begins.
    pub(super) offset: u64,
    /// Its position; in a snapshot, its number.
    pub(super) position: LogPosition,
}

/// What is done with each record.
pub(super) trait Visit {
    /// Takes the record at `place`.
    fn visit(&mut self, place: Place, record: Record) -> Result<(), Damage>;

    /// What is visited next does not follow what was visited last: records are left out.
    fn left_out(&mut self) {}
}

/// What damage leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OnDamage {
    /// It ends the reading.
    Refuse,
    /// What is damaged is left out, and said.
    LeaveOut,
}

/// A store as it was found.
#[derive(Debug, Default)]
pub(super) struct Layout {
    /// The snapshot's number and length.
    pub(super) snapshot: Option<(u64, u64)>,
    /// The segments that it does not cover, in order.
    pub(super) segments: Vec<Segment>,
    /// Which of them goes on.
    pub(super) tail: usize,
    /// Files that count for nothing.
    pub(super) obsolete: Vec<(FileName, u64)>,
    /// The last position.
    pub(super) through: LogPosition,
    /// How many records there are, those of the snapshot included.
    pub(super) records: u64,
    /// No moment in what the snapshot covers is later.
    pub(super) latest: Time,
    /// What was never acknowledged and no longer counts.
    pub(super) cut: Option<Cut>,
    /// What is behind the end and must not come back, frames or what is left of one: the segment, from where, to where.
    pub(super) stale: Vec<(usize, u64, u64)>,
    /// Frames that count and that nothing says are durable: the segment, from where, to where.
    pub(super) unproven: Vec<(usize, u64, u64)>,
    /// Damage that was left out.
    pub(super) losses: Vec<StoreError>,
    /// How many records were left out with it, as far as that is known.
    pub(super) lost_records: u64,
    /// Everything behind this position was left out, and nothing says how much that was.
    pub(super) lost_behind: Option<LogPosition>,
}

/// A part of the log.
#[derive(Clone, Copy, Debug)]
pub(super) struct Segment {
    pub(super) number: u64,
    pub(super) salt: u64,
    pub(super) bytes: u64,
    /// The version of the format that its first block names.
    pub(super) version: u32,
    /// Where its last frame that counts ends.
    pub(super) end: u64,
    /// The last position in it, or before it.
    pub(super) last: LogPosition,
}

/// The end of the log, where it was not whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The file.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// The position of the first record that no longer counts.
    pub position: LogPosition,
    /// How many whole frames are behind it and no longer count.
    pub frames: usize,
}

/// What is behind the end of a sequence.
struct Behind {
    /// Where the next frame should be: the file, from where.
    at: (FileName, u64),
    /// Something of that frame is there.
    is_torn: bool,
    /// The highest position that any frame calls durable.
    known_durable: u64,
    /// The frames that are intact.
    later: Vec<Found>,
    /// Where the sequence ends, something is left that is no frame: the segment, from where, to where.
    remains: Option<(usize, u64, u64)>,
}

/// A frame: in which segment, from where, to where, and its first position.
struct Found {
    index: usize,
    from: u64,
    to: u64,
    first: u64,
}

/// Reads the store on `disk`.
///
/// # Errors
/// [`StoreError`] if it cannot be read, or is damaged and that is to be refused.
pub(super) async fn walk<D: Disk>(
    disk: &D,
    on_damage: OnDamage,
    visitor: &mut impl Visit,
) -> Result<Layout, StoreError> {
    let files = disk.list().await.map_err(StoreError::disk("cannot list", "the data folder"))?;
    if files.iter().any(|file| FileName::parse(&file.name) == Some(IMPORT)) {
        return Err(StoreError::Importing);
    }
    let mut walk = Walk::new(disk, on_damage, visitor, sort(&files));
    walk.check_heads().await?;
    if let Some((number, _)) = walk.layout.snapshot
        && let Err(error) = walk.snapshot(FileName::Snapshot(number), number).await
    {
        walk.leave_out(error)?;
        walk.hole = walk.hole.max(Some(0));
    }
    walk.check_numbers()?;
    walk.segments().await?;
    walk.judge_end();
    let unproven = walk.recent.into_iter().map(|(_, index, from, to)| (index, from, to));
    walk.layout.unproven = unproven.collect();
    Ok(walk.layout)
}

/// Reads a snapshot alone, the one of this number that is in the file `name`. Gives where it ends
/// beside what it has.
///
/// # Errors
/// [`StoreError`] if it cannot be read, or is damaged.
pub(super) async fn walk_snapshot<D: Disk>(
    disk: &D,
    name: FileName,
    number: u64,
    visitor: &mut impl Visit,
) -> Result<(Layout, u64), StoreError> {
    let mut walk = Walk::new(disk, OnDamage::Refuse, visitor, Layout::default());
    let end = walk.snapshot(name, number).await?;
    Ok((walk.layout, end))
}

/// Says which files count.
fn sort(files: &[Listed]) -> Layout {
    let mut layout = Layout::default();
    let mut names: Vec<(FileName, u64)> =
        files.iter().filter_map(|file| Some((FileName::parse(&file.name)?, file.bytes))).collect();
    names.sort_unstable();
    let newest = names.iter().filter_map(|(name, bytes)| match name {
        FileName::Snapshot(number) => Some((*number, *bytes)),
        FileName::Segment(_) | FileName::Unfinished(_) => None,
    });
    layout.snapshot = newest.max();
    let begins = layout.snapshot.map_or(0, |(number, _)| number);
    for (name, bytes) in names {
        match name {
            FileName::Segment(number) if number >= begins => layout.segments.push(Segment {
                number,
                salt: 0,
                bytes,
                version: 0,
                end: BLOCK_BYTES,
                last: LogPosition::START,
            }),
            FileName::Snapshot(number) if number == begins => {}
            FileName::Segment(_) | FileName::Snapshot(_) | FileName::Unfinished(_) => {
                layout.obsolete.push((name, bytes));
            }
        }
    }
    layout
}

struct Walk<'a, D, V> {
    disk: &'a D,
    on_damage: OnDamage,
    visitor: &'a mut V,
    layout: Layout,
    known_durable: u64,
    /// The last frames, as far as nothing says that they are durable: the position that would say
    /// so, the segment, from where, to where.
    recent: VecDeque<(u64, usize, u64, u64)>,
    /// Something is left out before the segment of this index, or from there on; the last such place.
    /// How much that was shows only in frames behind it.
    hole: Option<usize>,
}

impl<'a, D: Disk, V: Visit> Walk<'a, D, V> {
    fn new(disk: &'a D, on_damage: OnDamage, visitor: &'a mut V, layout: Layout) -> Self {
        let (known_durable, recent, hole) = (0, VecDeque::new(), None);
        Walk { disk, on_damage, visitor, layout, known_durable, recent, hole }
    }

    /// Refuses, or notes what is left out.
    fn leave_out(&mut self, error: StoreError) -> Result<(), StoreError> {
        let is_damage = match &error {
            StoreError::Damaged { .. } | StoreError::Missing { .. } => true,
            StoreError::Disk { .. } | StoreError::Newer { .. } | StoreError::Importing => false,
        };
        match self.on_damage {
            OnDamage::LeaveOut if is_damage => {
                self.layout.losses.push(error);
                self.visitor.left_out();
                Ok(())
            }
            OnDamage::LeaveOut | OnDamage::Refuse => Err(error),
        }
    }

    /// Looks at what segments say of themselves, before anything is called damaged for what a newer program made
    /// of it.
    async fn check_heads(&mut self) -> Result<(), StoreError> {
        for index in 0..self.layout.segments.len() {
            let segment = self.layout.segments[index];
            let name = FileName::Segment(segment.number);
            let kind = match FrameReader::open(self.disk, name).await {
                Ok(reader) => reader.header().kind,
                Err(
                    error @ (StoreError::Newer { .. }
                    | StoreError::Disk { .. }
                    | StoreError::Importing),
                ) => return Err(error),
                // Told where it stands in the log.
                Err(StoreError::Damaged { .. } | StoreError::Missing { .. }) => continue,
            };
            if let FileKind::Segment { bytes } = kind
                && segment.bytes < bytes
            {
                let error = damaged(name, segment.bytes, Damage::Short { bytes });
                self.leave_out_segment(index, error).await?;
            }
        }
        Ok(())
    }

    /// Reads the snapshot, and gives where its last record ends.
    async fn snapshot(&mut self, name: FileName, number: u64) -> Result<u64, StoreError> {
        let mut reader = FrameReader::open(self.disk, name).await?;
        let FileHeader { kind, number: named, .. } = *reader.header();
        let FileKind::Snapshot { through, latest, records } = kind else {
            return Err(damaged(name, 0, Damage::Header));
        };
        if named != number {
            return Err(damaged(name, 0, Damage::Header));
        }
        self.layout.through = through;
        self.layout.latest = latest;
        self.known_durable = through.0;
        let mut found = 0;
        while found < records {
            let offset = reader.offset();
            match reader.next().await? {
                Some(frame) if frame.header.first.0 == found + 1 => {
                    found += u64::from(frame.header.records);
                    self.take(name, &frame)?;
                }
                Some(_) | None => {
                    let what = Damage::Snapshot { found, expected: records };
                    self.leave_out(damaged(name, offset, what))?;
                    let Some(frame) = reader.seek(found + 1, u64::MAX).await? else {
                        self.layout.lost_records += records - found;
                        break;
                    };
                    self.layout.lost_records += frame.header.first.0 - (found + 1);
                    found = frame.next_position() - 1;
                    self.take(name, &frame)?;
                }
            }
        }
        Ok(reader.offset())
    }

    /// No segment may be missing between the first that counts and the last.
    fn check_numbers(&mut self) -> Result<(), StoreError> {
        let mut expected = match (self.layout.snapshot, self.layout.segments.is_empty()) {
            (Some((number, _)), _) => number,
            (None, false) => 1,
            (None, true) => return Ok(()),
        };
        let numbers: Vec<u64> = self.layout.segments.iter().map(|segment| segment.number).collect();
        if numbers.is_empty() {
            self.hole = self.hole.max(Some(0));
            let file = FileName::Segment(expected).to_string();
            return self.leave_out(StoreError::Missing { file });
        }
        for (index, number) in numbers.into_iter().enumerate() {
            if number != expected {
                self.hole = self.hole.max(Some(index));
                let file = FileName::Segment(expected).to_string();
                self.leave_out(StoreError::Missing { file })?;
            }
            expected = number + 1;
        }
        Ok(())
    }

    /// Reads the segments. After this the layout says where the log ends.
    async fn segments(&mut self) -> Result<(), StoreError> {
        let mut index = 0;
        let mut from = BLOCK_BYTES;
        while index < self.layout.segments.len() {
            let Some(mut reader) = self.open(index).await? else {
                index += 1;
                from = BLOCK_BYTES;
                continue;
            };
            reader.go_to(from);
            self.layout.tail = index;
            self.sequence(index, &mut reader).await?;
            if self.goes_on_in(index + 1).await? {
                index += 1;
                from = BLOCK_BYTES;
                continue;
            }
            match self.end_or_gap(index, reader).await? {
                None => return Ok(()),
                Some((next, offset)) => (index, from) = (next, offset),
            }
        }
        Ok(())
    }

    /// Opens a segment; `None` if it is damaged and to be left out.
    async fn open(&mut self, index: usize) -> Result<Option<FrameReader<D::File>>, StoreError> {
        let segment = &mut self.layout.segments[index];
        let name = FileName::Segment(segment.number);
        let reader = match FrameReader::open(self.disk, name).await {
            Ok(reader) => reader,
            Err(error) => {
                self.leave_out_segment(index, error).await?;
                return Ok(None);
            }
        };
        segment.salt = reader.header().salt;
        segment.version = reader.header().version;
        segment.last = self.layout.through;
        Ok(Some(reader))
    }

    /// Refuses, or notes that a segment is left out, or its end.
    async fn leave_out_segment(
        &mut self,
        index: usize,
        error: StoreError,
    ) -> Result<(), StoreError> {
        if self.is_left_out(&error) || self.is_being_renewed(index, &error) {
            return Ok(());
        }
        if self.on_damage == OnDamage::LeaveOut && self.is_spare(&error).await {
            // Nothing is left out with it.
            self.layout.losses.push(error);
            return Ok(());
        }
        self.hole = self.hole.max(Some(index + 1));
        self.leave_out(error)
    }

    /// Whether this is known already: segments are looked at more than once.
    fn is_left_out(&self, error: &StoreError) -> bool {
        let file = |error: &StoreError| match error {
            StoreError::Damaged { file, .. } | StoreError::Missing { file } => Some(file.clone()),
            StoreError::Disk { .. } | StoreError::Newer { .. } | StoreError::Importing => None,
        };
        let of = file(error);
        of.is_some() && self.layout.losses.iter().any(|loss| file(loss) == of)
    }

    /// Whether a start that did not come to its end was about to give that segment another first block. It had found
    /// that no frame in it counts, and nothing was written since.
    fn is_being_renewed(&self, index: usize, error: &StoreError) -> bool {
        let is_header = matches!(error, StoreError::Damaged { what: Damage::Header, .. });
        let mut behind = self.layout.obsolete.iter().filter_map(|(name, _)| name.renewed_behind());
        is_header && behind.any(|last| self.layout.segments[index].number > last)
    }

    /// Whether the file of that damage is a segment that no frame was ever written to: behind its
    /// first block, of which something is still there, it has zeros alone.
    async fn is_spare(&self, error: &StoreError) -> bool {
        let StoreError::Damaged { file, .. } = error else { return false };
        let Ok(file) = self.disk.open(file).await else { return false };
        let is_zero = |bytes: &[u8]| bytes.iter().all(|byte| *byte == 0);
        let mut offset = 0;
        while let Ok(bytes) = file.read_at(offset, BLOCK_BYTES as usize).await {
            if bytes.is_empty() || is_zero(&bytes) == (offset == 0) {
                return bytes.is_empty() && offset > BLOCK_BYTES;
            }
            offset += bytes.len() as u64;
        }
        false
    }

    /// Where a hole is at the end, nothing says how long it was.
    fn judge_end(&mut self) {
        let Layout { tail, segments, .. } = &self.layout;
        let last = segments.get(*tail).filter(|segment| segment.end > BLOCK_BYTES);
        if self.hole.is_some_and(|hole| last.is_none() || hole > *tail) {
            self.layout.lost_behind = Some(self.layout.through);
            self.visitor.left_out();
        }
    }

    /// Takes frames for as long as one follows the other.
    async fn sequence(
        &mut self,
        index: usize,
        reader: &mut FrameReader<D::File>,
    ) -> Result<(), StoreError> {
        loop {
            let offset = reader.offset();
            let expected = self.layout.through.0 + 1;
            let Some(frame) = reader.next().await? else { return Ok(()) };
            if index == 0 && frame.is_before(expected) {
                self.layout.segments[index].end = frame.end();
                continue;
            }
            if frame.header.first.0 != expected {
                reader.go_to(offset);
                return Ok(());
            }
            self.known_durable = self.known_durable.max(frame.header.known_durable.0);
            self.layout.through = LogPosition(frame.next_position() - 1);
            // A frame without records, which only says what is durable, says nothing of itself: the
            // next record behind it was not called durable before it was synced.
            let is_mark = frame.header.records == 0 && !canary!(MarkProvesItself);
            let proven_by = self.layout.through.0 + u64::from(is_mark);
            self.recent.push_back((proven_by, index, frame.offset, frame.end()));
            while self.recent.pop_front_if(|(last, ..)| *last <= self.known_durable).is_some() {}
            let segment = &mut self.layout.segments[index];
            segment.end = frame.end();
            segment.last = self.layout.through;
            self.take(reader.name(), &frame)?;
        }
    }

    async fn goes_on_in(&mut self, index: usize) -> Result<bool, StoreError> {
        if index >= self.layout.segments.len() {
            return Ok(false);
        }
        let Some(mut reader) = self.open(index).await? else { return Ok(false) };
        let expected = self.layout.through.0 + 1;
        let first = reader.next().await?;
        Ok(first.is_some_and(|frame| frame.header.first.0 == expected))
    }

    /// Decides what it means that the sequence ends here. Gives where to go on, if it was a gap
    /// that is to be left out.
    async fn end_or_gap(
        &mut self,
        index: usize,
        reader: FrameReader<D::File>,
    ) -> Result<Option<(usize, u64)>, StoreError> {
        let expected = self.layout.through.0 + 1;
        let Behind { at: (file, offset), is_torn, known_durable, later, remains } =
            self.look_behind(index, reader).await?;
        if known_durable >= expected {
            let expected = LogPosition(expected);
            let what = Damage::Frame { expected, known_durable: LogPosition(known_durable) };
            self.leave_out(damaged(file, offset, what))?;
            let next = later.iter().find(|found| found.first >= expected.0);
            let Some(&Found { index, from, first, .. }) = next else {
                self.layout.lost_records += known_durable - expected.0 + 1;
                self.layout.lost_behind = Some(self.layout.through);
                return Ok(None);
            };
            self.layout.lost_records += first - expected.0;
            self.layout.through = LogPosition(first - 1);
            return Ok(Some((index, from)));
        }
        if is_torn || !later.is_empty() {
            let position = LogPosition(expected);
            self.layout.cut =
                Some(Cut { file: file.to_string(), offset, position, frames: later.len() });
        }
        let stale = later.into_iter().map(|found| (found.index, found.from, found.to));
        self.layout.stale = stale.chain(remains).collect();
        Ok(None)
    }

    /// Looks at what is behind the end of the sequence, in that segment and in later ones.
    async fn look_behind(
        &mut self,
        index: usize,
        mut reader: FrameReader<D::File>,
    ) -> Result<Behind, StoreError> {
        let expected = self.layout.through.0 + 1;
        let is_next =
            |header: Option<Header>| header.is_some_and(|header| header.first.0 == expected);
        let end = (reader.name(), reader.offset());
        let mut torn = is_next(reader.header_here().await?).then_some(end);
        // What cannot be read now may be read another time.
        let remains =
            (!reader.is_blank_here().await?).then(|| (index, end.1, end.1 + HEADER_BYTES as u64));
        let mut known_durable = self.known_durable;
        let mut later = Vec::new();
        let mut collect = |index: usize, frame: &Frame| {
            known_durable = known_durable.max(frame.header.known_durable.0);
            let (from, to, first) = (frame.offset, frame.end(), frame.header.first.0);
            later.push(Found { index, from, to, first });
        };
        while let Some(frame) = reader.seek(expected, u64::MAX).await? {
            collect(index, &frame);
        }
        for index in index + 1..self.layout.segments.len() {
            let Some(mut reader) = self.open(index).await? else { continue };
            if torn.is_none() && is_next(reader.header_here().await?) {
                torn = Some((reader.name(), reader.offset()));
            }
            let mut within = UNDER_WAY_BYTES;
            while let Some(frame) = reader.seek(expected, within).await? {
                collect(index, &frame);
                within = u64::MAX;
            }
        }
        // What is missing at the beginning of a segment shows behind it.
        let missing = later.first().filter(|found| found.index > index && found.from > BLOCK_BYTES);
        let missing = missing.map(|found| {
            (FileName::Segment(self.layout.segments[found.index].number), BLOCK_BYTES)
        });
        let at = torn.or(missing).unwrap_or(end);
        Ok(Behind { at, is_torn: torn.is_some(), known_durable, later, remains })
    }

    /// Hands a frame's records on.
    fn take(&mut self, file: FileName, frame: &Frame) -> Result<(), StoreError> {
        let mut rest = &frame.body[..];
        for number in 0..u64::from(frame.header.records) {
            let position = LogPosition(frame.header.first.0 + number);
            let place = Place { file, offset: frame.offset, position };
            self.layout.records += 1;
            let visited = match decode_first(rest) {
                // In files every message stands with the queues that have it.
                Ok((Record::Requeued { message, .. }, behind)) => {
                    rest = behind;
                    Err(Damage::Message(message))
                }
                Ok((record, behind)) => {
                    rest = behind;
                    self.visitor.visit(place, record)
                }
                Err(error) => {
                    // Where the next one begins is not known.
                    self.leave_out(damaged(file, frame.offset, error.into()))?;
                    self.layout.lost_records += u64::from(frame.header.records) - number;
                    return Ok(());
                }
            };
            if let Err(what) = visited {
                self.leave_out(damaged(file, frame.offset, what))?;
                self.layout.lost_records += 1;
            }
        }
        Ok(())
    }
}

pub(super) fn damaged(file: FileName, offset: u64, what: Damage) -> StoreError {
    StoreError::Damaged { file: file.to_string(), offset, what }
}
