//! From a folder to a journal that goes on: what a store holds is read into a broker, its end is
//! settled, and the rest is made ready.

use std::collections::VecDeque;

use signalhouse_core::record::LogPosition;
use signalhouse_core::{Broker, Config, Record, Recovery, Seed, Time, Totals};

use super::codec::FORMAT_VERSION;
use super::error::{Damage, StoreError};
use super::file::FileName;
use super::index::Index;
use super::log::{Level, LogJournal, Sealed, Stock, Upkeep};
use super::segment::{OpenSegment, Salts, make, remove, settle, usual_bytes};
use super::tools::Replay;
use super::walk::{Cut, Layout, OnDamage, Place, Segment, Visit, walk};
use crate::seams::{Clock, Disk, Spawn};

/// How a store is opened.
#[derive(Clone, Debug)]
pub struct OpenOptions {
    /// The configuration of the broker that is recovered.
    pub config: Config,
    /// What that broker's choices come from. Goes into the names of nothing, but into the salts of
    /// new files, so it must differ from run to run.
    pub seed: Seed,
    /// When a record counts as durable.
    pub level: Level,
    /// Length of the longest segments, in bytes.
    pub segment_bytes: u64,
}

/// A store that was read, before its broker has a clock.
pub struct Opened<D> {
    disk: D,
    options: OpenOptions,
    layout: Layout,
    salts: Salts,
    recovery: Recovery,
    index: Index,
    /// What the snapshot's broker had stored.
    snapshot_live_bytes: u64,
}

/// Reads records into a broker, and notes where messages are.
struct Load {
    replay: Replay,
    index: Index,
    /// What that broker had stored at the end of the snapshot, once that is read.
    snapshot_live_bytes: Option<u64>,
}

impl Visit for Load {
    fn visit(&mut self, place: Place, record: Record) -> Result<(), Damage> {
        match place.file {
            FileName::Snapshot(_) | FileName::Unfinished(_) => {}
            FileName::Segment(_) => {
                let recovery = &self.replay.recovery;
                self.snapshot_live_bytes.get_or_insert_with(|| recovery.live_bytes());
            }
        }
        self.index.note_record(place.file, &record, place.offset);
        self.replay.visit(place, record)
    }
}

/// What was found in a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Records, those of the snapshot included.
    pub records: u64,
    /// The last position.
    pub through: LogPosition,
    /// What they come to.
    pub totals: Totals,
    /// The end that was cut, if there was one.
    pub cut: Option<Cut>,
}

/// Reads the store on `disk`; an empty folder is an empty store. Nothing is changed but what must
/// be so that what was found stays: its end is cut where it was not whole, and synced.
///
/// # Errors
/// [`StoreError`] if the store cannot be used as it is.
pub async fn open<D: Disk>(disk: D, options: OpenOptions) -> Result<Opened<D>, StoreError> {
    let recovery = Recovery::new(options.config.clone(), options.seed);
    let replay = Replay { recovery };
    let mut load = Load { replay, index: Index::default(), snapshot_live_bytes: None };
    let mut layout = walk(&disk, OnDamage::Refuse, &mut load).await?;
    let mut salts = Salts(options.seed.0);
    settle(&disk, &mut layout, &mut salts).await?;
    let Load { replay: Replay { mut recovery }, index, snapshot_live_bytes } = load;
    recovery.know(layout.latest);
    let snapshot_live_bytes = snapshot_live_bytes.unwrap_or_else(|| recovery.live_bytes());
    Ok(Opened { disk, options, layout, salts, recovery, index, snapshot_live_bytes })
}

impl<D: Disk> Opened<D> {
    /// What was found.
    #[must_use]
    pub fn found(&self) -> Found {
        Found {
            records: self.layout.records,
            through: self.layout.through,
            totals: self.recovery.totals(),
            cut: self.layout.cut.clone(),
        }
    }

    /// Where the clock is to begin when the wall clock says `wall`: never before the latest moment in
    /// the store.
    #[must_use]
    pub fn beginning(&self, wall: Time) -> Time {
        self.recovery.beginning(wall)
    }

    /// The broker, at the clock's present moment, and the journal that it goes on with.
    ///
    /// # Errors
    /// [`StoreError`] if the store has no segment to go on in and none can be made.
    pub async fn start<C: Clock, P: Spawn>(
        self,
        clock: C,
        spawn: P,
    ) -> Result<(Broker, LogJournal<D, C, P>), StoreError> {
        let Opened { disk, options, layout, mut salts, recovery, index, snapshot_live_bytes } =
            self;
        let through = layout.through;
        let broker = recovery.finish(clock.now(), through);
        // What is written from here on is of the present version, and an older program must not take it for damage.
        let is_old = |tail: &Segment| tail.version < FORMAT_VERSION;
        let full = layout.tail + usize::from(layout.segments.get(layout.tail).is_some_and(is_old));
        let mut segments = open_segments(&disk, &layout.segments[full..]).await?;
        let active = match segments.pop_front() {
            Some(active) => active,
            None => {
                let begins = layout.snapshot.map_or(1, |(number, _)| number);
                let number = layout.segments.last().map_or(begins, |last| last.number + 1);
                let bytes = usual_bytes(number, options.segment_bytes);
                make(disk.clone(), number, bytes, salts.next(), None).await.map_err(|source| {
                    let file = FileName::Segment(number).to_string();
                    StoreError::Disk { doing: "cannot make", file, source }
                })?
            }
        };
        let last_number = segments.back().map_or(active.number, |segment| segment.number);
        let mut stock = Stock {
            ready: segments,
            sealed: sealed(&layout.segments[..full]),
            snapshot: layout.snapshot,
            snapshot_live_bytes,
            obsolete: Vec::new(),
            rubbish: Vec::new(),
        };
        let mut is_settled = true;
        for (name, _) in layout.obsolete {
            match name {
                // Not to be used again: if its new name was not durable, it may have both names.
                FileName::Segment(_) | FileName::Snapshot(_) => stock.rubbish.push(name),
                // Now: a new file of that name may be made at any time from here on.
                FileName::Unfinished(_) => {
                    remove(&disk, name).await?;
                    is_settled = false;
                }
            }
        }
        if !is_settled {
            // What such a file says must not be believed of what is written from here on.
            let synced = disk.sync_folder().await;
            synced.map_err(StoreError::disk("cannot sync", "the data folder"))?;
        }
        let free_bytes = disk.free_bytes().await;
        let free_bytes =
            free_bytes.map_err(StoreError::disk("cannot ask for room in", "the data folder"))?;
        let mut upkeep = Upkeep::new(
            (disk.clone(), clock.clone(), spawn),
            options.config,
            salts,
            options.segment_bytes,
            last_number,
            stock,
            index,
        );
        // A disk that was full is full still.
        upkeep.judge_room(free_bytes);
        Ok((broker, LogJournal::new(clock, options.level, active, through, upkeep)))
    }
}

/// Opens the segment that goes on, and those behind it.
async fn open_segments<D: Disk>(
    disk: &D,
    segments: &[Segment],
) -> Result<VecDeque<OpenSegment<D::File>>, StoreError> {
    let mut opened = VecDeque::new();
    for segment in segments {
        let name = FileName::Segment(segment.number);
        let file =
            disk.open(&name.to_string()).await.map_err(StoreError::disk("cannot open", name))?;
        opened.push_back(OpenSegment {
            file,
            number: segment.number,
            salt: segment.salt,
            bytes: segment.bytes,
            end: segment.end,
        });
    }
    Ok(opened)
}

fn sealed(segments: &[Segment]) -> Vec<Sealed> {
    let sealed = segments.iter().map(|segment| Sealed {
        number: segment.number,
        end: segment.end,
        last: segment.last,
        bytes: segment.bytes,
    });
    sealed.collect()
}
