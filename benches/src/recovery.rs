//! How long a full store takes until its broker can serve.

use std::fs;
use std::path::Path;
use std::time::Instant;

use signalhouse::journal::{self, Level, OpenOptions};
use signalhouse::seams::{FolderDisk, LocalSpawn, TokioClock};
use signalhouse_core::Seed;

use crate::append::local;
use crate::store::{self, Store};

const QUEUED: u64 = 1_000_000;
const RETAINED: u64 = 1_000_000;
const SESSIONS: u64 = 100;
const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Fills a store with a million queued and a million retained messages, and recovers it.
pub(crate) fn run(folder: &Path) {
    let folder = folder.join("recovery");
    let _gone = fs::remove_dir_all(&folder);
    local(async {
        let mut store = Store::open(&folder, SEGMENT_BYTES).await;
        for number in 1..=SESSIONS {
            store.append(store::session(number));
        }
        for number in 1..=QUEUED + RETAINED {
            let is_queued = number <= QUEUED;
            let record = || store::queued(number, 1 + number % SESSIONS);
            store.append(if is_queued { record() } else { store::retained(number) });
            if number % 1024 == 0 {
                store.commit().await;
            }
        }
        store.commit().await;
        store.close().await;
    });
    let before_kib = memory_kib();
    local(async {
        let began = Instant::now();
        let disk = FolderDisk::open(&folder).expect("the store");
        let options = OpenOptions {
            config: store::config(),
            seed: Seed(1),
            level: Level::Strict,
            segment_bytes: SEGMENT_BYTES,
        };
        let opened = journal::open(disk, options).await.expect("a sound store");
        let found = opened.found();
        let clock = TokioClock::from_wall_clock();
        let (broker, _journal) = opened.start(clock, LocalSpawn).await.expect("a journal");
        println!(
            "recovery: {} records, {} queued, {} retained in {:.2} s; {} MiB more in memory",
            found.records,
            found.totals.queued,
            found.totals.retained,
            began.elapsed().as_secs_f64(),
            memory_kib().saturating_sub(before_kib) / 1024
        );
        drop(broker);
    });
    let _gone = fs::remove_dir_all(folder);
}

fn memory_kib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap_or_default();
    line.split_whitespace().nth(1).and_then(|word| word.parse().ok()).unwrap_or(0)
}
