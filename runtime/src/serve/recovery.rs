//! What was there before the process: read from the store, said in the log.

use std::hash::{BuildHasher, RandomState};
use std::path::Path;

use signalhouse_core::{Broker, LogPosition, Seed};
use tracing::{info, warn};

use super::ServeError;
use crate::journal::{self, Found, Level, LogJournal, OpenOptions};
use crate::seams::{Authenticate, Clock, FolderDisk, LocalSpawn, TokioClock};
use crate::settings::Settings;
use crate::shard::Options;

/// A broker with what it was before, and the journal that it goes on with.
pub(super) struct Recovered {
    pub(super) clock: TokioClock,
    pub(super) broker: Broker,
    pub(super) through: LogPosition,
    pub(super) journal: LogJournal<FolderDisk, TokioClock, LocalSpawn>,
}

/// Chance of the operating system, which also keys the broker's hash tables.
pub(super) fn seed() -> Seed {
    Seed(RandomState::new().hash_one(TokioClock::from_wall_clock().now().as_ms()))
}

/// Opens the store and recovers the broker in it.
pub(super) async fn recover(
    settings: &Settings,
    options: &Options,
    authenticate: &impl Authenticate,
    level: Level,
) -> Result<Recovered, ServeError> {
    let began = TokioClock::from_wall_clock();
    let began_at = began.now();
    let disk = FolderDisk::create(Path::new(&settings.store.path))?;
    let open = OpenOptions {
        config: options.config_for(authenticate),
        seed: options.seed,
        level,
        segment_bytes: settings.store.segment_bytes,
    };
    let opened = journal::open(disk.clone(), open).await?;
    let found = opened.found();
    // The wall clock may have been set back since.
    let wall = TokioClock::from_wall_clock().now();
    let clock = TokioClock::starting_at(opened.beginning(wall));
    let (broker, journal) = opened.start(clock, LocalSpawn).await?;
    announce(&disk, &found, began.now().since_ms(began_at));
    Ok(Recovered { clock, broker, through: found.through, journal })
}

fn announce(disk: &FolderDisk, found: &Found, took_ms: u64) {
    info!(
        data = %disk.path().display(),
        records = found.records,
        sessions = found.totals.sessions,
        queued = found.totals.queued,
        retained = found.totals.retained,
        took_ms,
        "the store is recovered"
    );
    if let Some(cut) = &found.cut {
        warn!(
            file = cut.file,
            offset = cut.offset,
            position = cut.position.0,
            "the end of the log is not whole and no longer counts: nothing says that it was durable"
        );
    }
}
