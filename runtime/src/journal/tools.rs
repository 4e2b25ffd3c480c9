//! What an operator does with a store that no broker has open: look at it, copy it, mend it.

use std::io;

use bytes::Bytes;
use signalhouse_core::record::LogPosition;
use signalhouse_core::{Config, Record, Recovery, Seed};

use super::bodies::Bodies;
use super::compact::{State, frame_of, write};
use super::error::{Damage, StoreError};
use super::file::{FileHeader, FileKind, FileName};
use super::open::Found;
use super::segment::{make, new_file, usual_bytes, write_all};
use super::walk::{Layout, OnDamage, Place, Visit, walk};
use crate::seams::{Disk, DiskFile, Spawn};

/// The number of a snapshot that was exported.
const EXPORT: u64 = 1;
/// Records in a frame of an export.
const EXPORT_RECORDS: usize = 256;

/// Reads a whole store and changes nothing.
///
/// # Errors
/// [`StoreError`] names the first damage.
pub async fn check<D: Disk>(disk: &D) -> Result<Found, StoreError> {
    let mut replay = Replay::default();
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
    /// The files that were set aside, under their new names.
    pub set_aside: Vec<String>,
}

/// Makes a store usable again without its damaged parts, which are kept under other names.
///
/// Whole records that follow a damaged one stay as far as they make sense without it. So messages
/// and sessions of the damaged records are lost, and what these had ended (deliveries, subscriptions)
/// may be there again.
///
/// # Errors
/// [`StoreError`] if the store cannot be read or written, or is of a newer version.
pub async fn repair<D: Disk>(
    disk: &D,
    spawn: &impl Spawn,
    segment_bytes: u64,
    salt: u64,
) -> Result<Repaired, StoreError> {
    let mut replay = Replay::default();
    let layout = walk(disk, OnDamage::LeaveOut, &mut replay).await?;
    let found = found(&layout, &replay.recovery);
    if layout.losses.is_empty() {
        return Ok(Repaired { found, losses: Vec::new(), set_aside: Vec::new() });
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
    write(disk, spawn, unfinished, number, salt, state).await?;
    rename(disk, &unfinished.to_string(), &FileName::Snapshot(number).to_string()).await?;
    sync_names(disk).await?;
    let mut set_aside = Vec::new();
    for loss in &layout.losses {
        if let StoreError::Damaged { file, .. } = loss {
            let aside = format!("damaged-{file}");
            if !set_aside.contains(&aside) {
                rename(disk, file, &aside).await?;
                set_aside.push(aside);
            }
        }
    }
    sync_names(disk).await?;
    Ok(Repaired { found, losses: layout.losses, set_aside })
}

/// A whole store as one file, in pieces, the first of them its beginning.
///
/// # Errors
/// [`StoreError`] if the store is damaged.
pub async fn export<D: Disk>(
    disk: &D,
    salt: u64,
) -> Result<(Found, impl Iterator<Item = Bytes> + use<D>), StoreError> {
    let mut replay = Replay::default();
    let layout = walk(disk, OnDamage::Refuse, &mut replay).await?;
    let found = found(&layout, &replay.recovery);
    let latest = replay.recovery.latest().max(layout.latest);
    let records = replay.recovery.into_snapshot();
    let count = records.len() as u64;
    let kind = FileKind::Snapshot { through: layout.through, latest, records: count };
    let header = FileHeader { kind, number: EXPORT, salt }.to_block();
    let mut records = records.into_iter();
    let mut next = 1;
    let rest = std::iter::from_fn(move || {
        let piece: Vec<Record> = records.by_ref().take(EXPORT_RECORDS).collect();
        let first = LogPosition(next);
        next += piece.len() as u64;
        (!piece.is_empty()).then(|| frame_of(&piece, first, salt).1)
    });
    Ok((found, std::iter::once(header).chain(rest)))
}

/// Makes a store on `disk` of an exported file, which is given in pieces.
///
/// # Errors
/// [`StoreError`] if there is a store already, or the file is not a whole export.
pub async fn import<D: Disk>(
    disk: &D,
    mut pieces: impl Iterator<Item = io::Result<Bytes>>,
    segment_bytes: u64,
    salt: u64,
) -> Result<Found, StoreError> {
    let files = disk.list().await.map_err(StoreError::disk("cannot list", "the data folder"))?;
    if let Some(file) = files.iter().find(|file| FileName::parse(&file.name).is_some()) {
        let source = io::ErrorKind::AlreadyExists.into();
        return Err(StoreError::Disk {
            doing: "there is a store already:",
            file: file.name.clone(),
            source,
        });
    }
    let (unfinished, snapshot) = (FileName::Unfinished(EXPORT), FileName::Snapshot(EXPORT));
    let file = new_file(disk, unfinished).await?;
    let mut offset = 0;
    for piece in &mut pieces {
        let piece = piece.map_err(StoreError::disk("cannot read", "what is to be imported"))?;
        let length = piece.len() as u64;
        write_all(&file, offset, piece)
            .await
            .map_err(StoreError::disk("cannot write", unfinished))?;
        offset += length;
    }
    file.sync().await.map_err(StoreError::disk("cannot sync", unfinished))?;
    rename(disk, &unfinished.to_string(), &snapshot.to_string()).await?;
    let bytes = usual_bytes(EXPORT, segment_bytes);
    make(disk.clone(), EXPORT, bytes, salt, None)
        .await
        .map_err(StoreError::disk("cannot make", FileName::Segment(EXPORT)))?;
    let checked = check(disk).await;
    if checked.is_err() {
        for name in [snapshot, FileName::Segment(EXPORT)] {
            disk.remove(&name.to_string())
                .await
                .map_err(StoreError::disk("cannot remove", name))?;
        }
        sync_names(disk).await?;
    }
    checked
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

impl Default for Replay {
    fn default() -> Self {
        // Neither limits nor chance have a part in what a store holds.
        let mut config = Config::default();
        config.limits.queue_memory_bytes = u64::MAX;
        Replay { recovery: Recovery::new(config, Seed(0)) }
    }
}

impl Visit for Replay {
    fn visit(&mut self, _: Place, record: Record) -> Result<(), Damage> {
        Ok(self.recovery.apply(record)?)
    }
}

struct Show<F>(F);

impl<F: FnMut(&str, u64, LogPosition, &Record)> Visit for Show<F> {
    fn visit(&mut self, place: Place, record: Record) -> Result<(), Damage> {
        (self.0)(&place.file.to_string(), place.offset, place.position, &record);
        Ok(())
    }
}
