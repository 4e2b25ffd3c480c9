//! What an operator does with a store that no broker has open: look at it, copy it, mend it.

mod import;

use bytes::Bytes;
use signalhouse_core::record::LogPosition;
use signalhouse_core::{Config, Doubts, Record, Recovery, Seed};

pub use self::import::{ImportError, import, is_importing};
use super::bodies::Bodies;
use super::compact::{Pieces, State, frame_of, write};
use super::error::{Damage, StoreError};
use super::file::{FileHeader, FileKind, FileName};
use super::open::Found;
use super::segment::{make, new_file, usual_bytes};
use super::walk::{Layout, OnDamage, Place, Visit, walk};
use crate::seams::{Disk, Spawn};

/// The number of a snapshot that was exported.
const EXPORT: u64 = 1;

/// Reads a whole store and changes nothing.
///
/// # Errors
/// [`StoreError`] names the first damage.
pub async fn check<D: Disk>(disk: &D) -> Result<Found, StoreError> {
    let mut replay = Replay::without_messages();
    let layout = walk(disk, OnDamage::Refuse, &mut replay).await?;
    Ok(found(&layout, &replay.recovery))
}

/// Gives each record of a store, with its file, the offset of its frame and its position, and then
/// the damage that was passed over.
///
/// # Errors
/// [`StoreError`] if the store cannot be read.
pub async fn dump<D: Disk>(
    disk: &D,
    each: impl FnMut(&str, u64, LogPosition, &Record),
) -> Result<Vec<StoreError>, StoreError> {
    let layout = walk(disk, OnDamage::LeaveOut, &mut Show(each)).await?;
    Ok(layout.losses)
}

/// What a repair came to.
#[derive(Debug)]
pub struct Repaired {
    /// What is left.
    pub found: Found,
    /// What was damaged and is left out. Nothing was done if this is empty.
    pub losses: Vec<StoreError>,
    /// How many records were lost with it, as far as that is known.
    pub lost_records: u64,
    /// Everything behind this position is lost, and nothing says how much that was.
    pub lost_behind: Option<LogPosition>,
    /// Whole records that speak only of what was lost, and are left out too.
    pub pointless_records: u64,
    /// What the lost records may have ended, and is there again.
    pub doubts: Doubts,
    /// The files that were set aside, under their new names.
    pub set_aside: Vec<String>,
}

/// Makes a store usable again without its damaged parts, which are kept under other names.
///
/// What the damaged records brought is lost. What they had ended is there again, and [`Repaired`] says
/// how much that may be: messages may come a second time, and ended sessions may go on. Packet
/// identifiers of publications at QoS 2 that may have been finished are free, so that a later
/// publication is not taken for an earlier one. A whole record that contradicts what is there again
/// shows that this had ended, and counts.
///
/// # Errors
/// [`StoreError`] if the store cannot be read or written, or is of a newer version.
pub async fn repair<D: Disk>(
    disk: &D,
    spawn: &impl Spawn,
    segment_bytes: u64,
    salt: u64,
) -> Result<Repaired, StoreError> {
    let mut mend = Mend::default();
    let layout = walk(disk, OnDamage::LeaveOut, &mut mend).await?;
    let Mend { replay, pointless_records, .. } = mend;
    let mut repaired = Repaired {
        found: found(&layout, &replay.recovery),
        losses: Vec::new(),
        lost_records: layout.lost_records,
        lost_behind: layout.lost_behind,
        pointless_records,
        doubts: replay.recovery.doubts(),
        set_aside: Vec::new(),
    };
    if layout.losses.is_empty() {
        return Ok(repaired);
    }
    let highest = layout.segments.last().map(|segment| segment.number);
    let number = highest.max(layout.snapshot.map(|(number, _)| number)).unwrap_or(0) + 1;
    let bytes = usual_bytes(number, segment_bytes);
    let failed = |source| StoreError::Disk {
        doing: "cannot make",
        file: FileName::Segment(number).to_string(),
        source,
    };
    make(disk.clone(), number, bytes, !salt, None).await.map_err(failed)?;
    let latest = replay.recovery.latest().max(layout.latest);
    let records = replay.recovery.into_snapshot();
    let unfinished = FileName::Unfinished(number);
    let (through, bodies) = (layout.through, Bodies::new(disk.clone(), Vec::new()));
    let state = State { through, latest, records, bodies };
    let file = new_file(disk, unfinished).await?;
    write(&file, spawn, unfinished, number, salt, state, async || {}).await?;
    rename(disk, &unfinished.to_string(), &FileName::Snapshot(number).to_string()).await?;
    sync_names(disk).await?;
    for loss in &layout.losses {
        if let StoreError::Damaged { file, .. } = loss {
            let aside = format!("damaged-{file}");
            if !repaired.set_aside.contains(&aside) {
                rename(disk, file, &aside).await?;
                repaired.set_aside.push(aside);
            }
        }
    }
    sync_names(disk).await?;
    repaired.losses = layout.losses;
    Ok(repaired)
}

/// A whole store as one file, in pieces.
pub struct Export<D: Disk> {
    /// What is in it.
    pub found: Found,
    header: Option<Bytes>,
    pieces: Pieces<D>,
    salt: u64,
}

/// Begins to copy a store. Messages are read again piece by piece, so a store of any length goes
/// through little memory.
///
/// # Errors
/// [`StoreError`] if the store is damaged.
pub async fn export<D: Disk>(disk: &D, salt: u64) -> Result<Export<D>, StoreError> {
    let mut replay = Replay::without_messages();
    let layout = walk(disk, OnDamage::Refuse, &mut replay).await?;
    let found = found(&layout, &replay.recovery);
    let latest = replay.recovery.latest().max(layout.latest);
    let mut records = replay.recovery.into_snapshot();
    if canary!(ExportLeavesOut) {
        drop(records.pop());
    }
    let count = records.len() as u64;
    let kind = FileKind::Snapshot { through: layout.through, latest, records: count };
    let header = FileHeader::new(kind, EXPORT, salt).to_block();
    let snapshot = layout.snapshot.map(|(number, _)| FileName::Snapshot(number));
    let segments = layout.segments.iter().map(|segment| FileName::Segment(segment.number));
    let bodies = Bodies::new(disk.clone(), snapshot.into_iter().chain(segments).collect());
    Ok(Export { found, header: Some(header), pieces: Pieces::new(records, bodies), salt })
}

impl<D: Disk> Export<D> {
    /// The next piece of the file; `None` after the last.
    ///
    /// # Errors
    /// [`StoreError`] if a message can no longer be read.
    pub async fn next(&mut self) -> Result<Option<Bytes>, StoreError> {
        if let Some(header) = self.header.take() {
            return Ok(Some(header));
        }
        let piece = self.pieces.next().await?;
        Ok(piece.map(|(first, records)| frame_of(&records, first, self.salt).1))
    }
}

/// The first file of a store on `disk`, if there is a store; what was not finished is none.
///
/// # Errors
/// [`StoreError`] if the folder cannot be read.
pub async fn store_file<D: Disk>(disk: &D) -> Result<Option<String>, StoreError> {
    let files = disk.list().await.map_err(StoreError::disk("cannot list", "the data folder"))?;
    let mut names: Vec<FileName> =
        files.iter().filter_map(|file| FileName::parse(&file.name)).collect();
    names.retain(|name| match name {
        FileName::Segment(_) | FileName::Snapshot(_) => true,
        FileName::Unfinished(_) => false,
    });
    Ok(names.into_iter().min().map(|name| name.to_string()))
}

async fn rename<D: Disk>(disk: &D, from: &str, to: &str) -> Result<(), StoreError> {
    disk.rename(from, to).await.map_err(StoreError::disk("cannot rename", from))
}

async fn sync_names<D: Disk>(disk: &D) -> Result<(), StoreError> {
    disk.sync_folder().await.map_err(StoreError::disk("cannot sync", "the data folder"))
}

fn found(layout: &Layout, recovery: &Recovery) -> Found {
    Found {
        records: layout.records,
        through: layout.through,
        totals: recovery.totals(),
        cut: layout.cut.clone(),
    }
}

/// Reads records into a broker, to see whether they make one.
pub(super) struct Replay {
    pub(super) recovery: Recovery,
}

impl Replay {
    /// Leaves queued messages where they are.
    fn without_messages() -> Self {
        Replay::with_memory(0)
    }

    fn with_memory(queue_memory_bytes: u64) -> Self {
        // Neither limits nor chance have a part in what a store holds.
        let mut config = Config::default();
        config.limits.queue_memory_bytes = queue_memory_bytes;
        Replay { recovery: Recovery::new(config, Seed(0)) }
    }
}

impl Default for Replay {
    fn default() -> Self {
        Replay::with_memory(u64::MAX)
    }
}

impl Visit for Replay {
    fn visit(&mut self, _: Place, record: Record) -> Result<(), Damage> {
        Ok(self.recovery.apply(record)?)
    }
}

/// The same where records are missing.
#[derive(Default)]
struct Mend {
    replay: Replay,
    has_lost: bool,
    pointless_records: u64,
}

impl Visit for Mend {
    fn visit(&mut self, place: Place, record: Record) -> Result<(), Damage> {
        match self.replay.visit(place, record) {
            Err(Damage::Recover(_)) if self.has_lost => {
                self.pointless_records += 1;
                Ok(())
            }
            visited => visited,
        }
    }

    fn left_out(&mut self) {
        self.has_lost = true;
        self.replay.recovery.lose_records();
    }
}

struct Show<F>(F);

impl<F: FnMut(&str, u64, LogPosition, &Record)> Visit for Show<F> {
    fn visit(&mut self, place: Place, record: Record) -> Result<(), Damage> {
        (self.0)(&place.file.to_string(), place.offset, place.position, &record);
        Ok(())
    }
}
