//! The journal alone: appending in batches against the bare disk, and what it writes in the long run.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::store::{self, Store};
use crate::{TURNS, bare, median};

const BATCHES: [u64; 3] = [1, 16, 256];
const MIB: u64 = 1024 * 1024;
/// How long one turn of one batch size takes.
const TURN: Duration = Duration::from_millis(1_000);

/// Messages a second, ours and the bare disk's with the same bytes, in turns.
pub(crate) fn run(folder: &Path) {
    let folder = folder.join("append");
    local(async {
        let _gone = fs::remove_dir_all(&folder);
        let mut store = Store::open(&folder.join("store"), 64 * MIB).await;
        store.append(store::session(1));
        store.commit().await;
        // Spares are filled in the background; that is done once, and not what is measured.
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut number = 0;
        for batch in BATCHES {
            let (mut ours, mut bares) = (Vec::new(), Vec::new());
            for _ in 0..TURNS {
                store.disk.take();
                let (began, mut messages) = (Instant::now(), 0);
                while began.elapsed() < TURN {
                    for _ in 0..batch {
                        number += 1;
                        store.append(store::queued(number, 1));
                    }
                    store.commit().await;
                    messages += batch;
                }
                ours.push(messages as f64 / began.elapsed().as_secs_f64());
                let took = bare::append(&folder, store.disk.take().batches);
                bares.push(messages as f64 / took.as_secs_f64());
            }
            let (ours, bares) = (median(&mut ours), median(&mut bares));
            println!(
                "append, batches of {batch}: {ours:.0} messages/s, bare disk {bares:.0}, {:.0} %",
                100.0 * ours / bares
            );
        }
        store.close().await;
    });
    let _gone = fs::remove_dir_all(folder);
}

/// Bytes passed to the disk for each byte of record while messages come and go.
pub(crate) fn run_steady(folder: &Path) {
    const MESSAGES: u64 = 1_200_000;
    const WAITING: u64 = 10_000;
    let folder = folder.join("steady");
    local(async {
        let _gone = fs::remove_dir_all(&folder);
        let mut store = Store::open(&folder, 8 * MIB).await;
        store.append(store::session(1));
        store.commit().await;
        store.disk.take();
        let (mut record_bytes, mut number) = (0, 0);
        let mut first = None;
        while number < MESSAGES {
            if number >= MESSAGES / 2 && first.is_none() {
                first = Some((store.disk.take(), std::mem::take(&mut record_bytes)));
            }
            for _ in 0..256 {
                number += 1;
                let record = store::queued(number, 1);
                record_bytes += store::bytes_of(&record);
                store.append(record);
                if number > WAITING {
                    let record = store::removed(number - WAITING, 1);
                    record_bytes += store::bytes_of(&record);
                    store.append(record);
                }
            }
            store.commit().await;
        }
        let (before, _) = first.unwrap_or_default();
        let written = store.disk.take();
        println!(
            "steady state, batches of 256, {WAITING} waiting: {:.3} bytes to the disk for each byte of record \
             ({} MiB of records, {} MiB written), filling of {} MiB included; {} MiB were filled before",
            (written.bytes + written.filling_bytes) as f64 / record_bytes as f64,
            record_bytes / MIB,
            written.bytes / MIB,
            written.filling_bytes / MIB,
            before.filling_bytes / MIB
        );
        store.close().await;
    });
    let _gone = fs::remove_dir_all(folder);
}

/// Runs on this thread, with tasks that stay on it.
pub(crate) fn local(work: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build_local(tokio::runtime::LocalOptions::default())
        .expect("a runtime")
        .block_on(work);
}
