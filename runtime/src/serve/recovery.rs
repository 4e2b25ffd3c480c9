//! What was there before the process: read from the store, said in the log.

use std::hash::{BuildHasher, RandomState};
use std::os::unix::fs::MetadataExt;
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
    let folder = Path::new(&settings.store.path);
    let failed = |source| ServeError::Store { folder: folder.to_owned(), source };
    let disk = FolderDisk::create(folder)?;
    tell_of_open_folder(folder);
    let open = OpenOptions {
        config: options.config_for(authenticate),
        seed: options.seed,
        level,
        segment_bytes: settings.store.segment_bytes,
    };
    let opened = journal::open(disk.clone(), open).await.map_err(failed)?;
    let found = opened.found();
    // The wall clock may have been set back since.
    let wall = TokioClock::from_wall_clock().now();
    let clock = TokioClock::starting_at(opened.beginning(wall));
    let (broker, journal) = opened.start(clock, LocalSpawn).await.map_err(failed)?;
    announce(&disk, &found, began.now().since_ms(began_at));
    Ok(Recovered { clock, broker, through: found.through, journal })
}

/// Files that only their owner can read can still be moved and removed by whoever may write the folder.
fn tell_of_open_folder(folder: &Path) {
    let Ok(data) = std::fs::metadata(folder) else { return };
    let mode = data.mode() & 0o7777;
    if mode & 0o022 != 0 {
        warn!(
            data = %folder.display(),
            mode = format!("{mode:o}"),
            "others may write the data folder, and so move and remove its files; chmod 700 keeps it for its owner"
        );
    }
}

/// Without a store, what an earlier start kept is not there, and is again when there is a store again.
pub(super) async fn tell_of_store_aside(settings: &Settings) {
    let folder = Path::new(&settings.store.path);
    // Whoever keeps nothing on disk need not be able to read it.
    let Ok(disk) = FolderDisk::look(folder) else { return };
    if let Ok(Some(file)) = journal::tools::store_file(&disk).await {
        warn!(
            data = %folder.display(),
            file,
            "there is a store, which is left aside: it is not read and not changed, and as old as it is then it \
             comes back with the next start that uses it"
        );
    }
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
