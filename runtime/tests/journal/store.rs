//! What a store survives: power cuts, kills, bit rot, a full disk, and its own growth.

use std::task::Poll;

use signalhouse::journal::codec::FORMAT_VERSION;
use signalhouse::journal::{Damage, Level, StoreError, tools};
use signalhouse::seams::Journal;
use signalhouse_core::Record;
use signalhouse_core::message::MessageId;

use crate::bench::{Inline, SEGMENT_BYTES, Store, expected, open, open_at, record, run};
use crate::disk::{MemoryDisk, Rng};

/// Appends batches of random length, letting the disk work in between.
async fn work(store: &mut Store, rng: &mut Rng, batches: u64) {
    for _ in 0..batches {
        store.append(1 + rng.below(12));
        for _ in 0..rng.below(8) {
            store.turn().await.expect("the disk works");
        }
    }
}

#[test]
fn what_was_told_durable_survives_every_crash() {
    run(async || {
        let (mut cuts, mut snapshots, mut lost) = (0, 0, 0);
        for seed in 1..=24 {
            let mut rng = Rng(seed * 7_919);
            let mut disk = MemoryDisk::new(seed);
            for generation in 0..6 {
                let mut store = open(&disk, seed * 100 + generation).await.expect("a store");
                assert_eq!(store.found.cut, None, "seed {seed}: what was cut is there again");
                assert_eq!(store.retained(), expected(store.appended), "seed {seed}");
                let batches = rng.below(120);
                work(&mut store, &mut rng, batches).await;
                let (told, appended) = (store.told, store.appended);
                drop(store);
                snapshots += disk.names().iter().filter(|name| name.starts_with("snap")).count();
                disk = if rng.below(3) == 0 { disk.killed() } else { disk.power_cut() };
                let store = open(&disk, seed * 100 + generation + 50).await;
                let store = store.unwrap_or_else(|error| panic!("seed {seed}: {error}"));
                cuts += u32::from(store.found.cut.is_some());
                let through = store.appended;
                assert!((told..=appended).contains(&through), "seed {seed}: {told} {through}");
                assert_eq!(store.retained(), expected(through), "seed {seed}");
                lost += appended - through;
                drop(store);
                // Recovering twice equals recovering once, after another power cut too.
                disk = disk.power_cut();
                let again = open(&disk, seed * 100 + generation + 75).await.expect("a store");
                assert_eq!(again.appended, through, "seed {seed}");
                assert_eq!(again.retained(), expected(through), "seed {seed}");
            }
        }
        // The faults did occur.
        assert!(cuts > 5 && snapshots > 30 && lost > 50, "{cuts} {snapshots} {lost}");
    });
}

#[test]
fn a_crash_in_the_middle_of_recovery_is_survived() {
    run(async || {
        for seed in 1..=20 {
            let mut rng = Rng(seed * 104_729);
            let disk = MemoryDisk::new(seed);
            let mut store = open(&disk, seed).await.expect("a store");
            work(&mut store, &mut rng, 80).await;
            let told = store.told;
            drop(store);
            let mut disk = disk.power_cut();
            for attempt in 0..20 {
                let turns = rng.below(60);
                let before = disk;
                let mut opening = std::pin::pin!(open(&before, seed * 1_000 + attempt));
                for _ in 0..turns {
                    tokio::select! {
                        biased;
                        _ = opening.as_mut() => break,
                        () = tokio::task::yield_now() => {}
                    }
                }
                disk = before.power_cut();
            }
            let store = open(&disk, seed * 1_000 + 999).await.expect("a store");
            assert!(store.appended >= told, "seed {seed}");
            assert_eq!(store.retained(), expected(store.appended), "seed {seed}");
        }
    });
}

/// A store that ended in good order, and what it has.
pub(crate) async fn closed_store(seed: u64, batches: u64) -> (MemoryDisk, u64) {
    let disk = MemoryDisk::new(seed);
    let mut store = open(&disk, seed).await.expect("a store");
    work(&mut store, &mut Rng(seed), batches).await;
    store.settle().await.expect("the disk works");
    store.journal.close().await.expect("the disk works");
    (disk, store.appended)
}

#[test]
fn damage_is_refused_by_name_or_does_no_harm() {
    run(async || {
        let (disk, through) = closed_store(3, 150).await;
        let mut rng = Rng(11);
        let mut refused = 0;
        for _ in 0..400 {
            let names = disk.names();
            let name = &names[rng.below(names.len() as u64) as usize];
            let damaged = disk.killed();
            let offset = rng.below(damaged.bytes(name).len() as u64) as usize;
            damaged.flip(name, offset, 1 << rng.below(8));
            match tools::check(&damaged).await {
                Ok(found) => assert_eq!(found.through.0, through, "{name} {offset}"),
                Err(StoreError::Damaged { file, offset: at, .. }) => {
                    refused += 1;
                    assert_eq!(&file, name);
                    assert!(at <= offset as u64, "{name}: {at}, not {offset}");
                }
                Err(error) => panic!("{name} {offset}: {error}"),
            }
            match open(&damaged, 99).await {
                Ok(store) => assert_eq!(store.retained(), expected(through), "{name} {offset}"),
                Err(error) => assert!(error.to_string().contains(name), "{error}"),
            }
        }
        assert!(refused > 50, "only {refused} of 400 met something");
    });
}

#[test]
fn a_file_that_became_shorter_is_damage() {
    run(async || {
        let (disk, through) = closed_store(3, 150).await;
        let names = disk.names();
        let snapshot = names.iter().find_map(|name| name.strip_prefix("snapshot-"));
        // Those before it count for nothing.
        let counts = |name: &&String| {
            name.strip_prefix("segment-").is_some_and(|number| Some(number) >= snapshot)
        };
        let mut tried = 0;
        for name in names.iter().filter(counts) {
            let whole = disk.bytes(name);
            for left in [whole.len() - 1, whole.len() / 2, 4096] {
                let cut = disk.killed();
                cut.put(name, &whole[..left]);
                let Err(error) = open(&cut, 1).await else { panic!("{name}: {left} bytes") };
                let StoreError::Damaged { file, offset, .. } = &error else { panic!("{error}") };
                assert_eq!((file, *offset), (name, left as u64), "{error}");
                tools::repair(&cut, &Inline, SEGMENT_BYTES, 77).await.expect("repaired");
                let found = open(&cut, 2).await.expect("it starts again").found.through.0;
                assert!(found <= through, "{name}: {found}");
                tried += 1;
            }
        }
        assert!(tried > 3);
    });
}

#[test]
fn a_disk_that_was_full_is_known_to_be_full_at_the_start() {
    run(async || {
        let (disk, _) = closed_store(3, 20).await;
        assert!(!open(&disk, 1).await.expect("a store").journal.room().is_short());
        disk.set_capacity(disk.used() + 1);
        assert!(open(&disk, 1).await.expect("a store").journal.room().is_short());
    });
}

#[test]
fn a_repair_keeps_what_is_whole_and_names_the_rest() {
    run(async || {
        let (disk, through) = closed_store(5, 30).await;
        let name = "segment-0000000001";
        let damaged = disk.killed();
        damaged.flip(name, 6_000, 0x10);
        let Err(error) = open(&damaged, 1).await else { panic!("it must not start") };
        assert!(
            matches!(&error, StoreError::Damaged { what: Damage::Frame { .. }, .. }),
            "{error}"
        );
        let repaired = tools::repair(&damaged, &Inline, SEGMENT_BYTES, 77).await.expect("repaired");
        assert_eq!(repaired.losses.len(), 1, "{:?}", repaired.losses);
        assert_eq!(repaired.set_aside, [format!("damaged-{name}")]);
        let store = open(&damaged, 2).await.expect("it starts again");
        assert_eq!(store.appended, through);
        let (found, wanted) = (store.retained(), expected(through));
        let kept = wanted.iter().filter(|(topic, payload)| found.get(*topic) == Some(*payload));
        assert!(kept.count() + 20 > wanted.len() && !found.is_empty());
        // Nothing is left to do.
        let again = tools::repair(&damaged, &Inline, SEGMENT_BYTES, 78).await.expect("repaired");
        assert!(again.losses.is_empty());
    });
}

#[test]
fn a_missing_file_and_a_newer_version_are_refused() {
    run(async || {
        let (disk, _) = closed_store(7, 200).await;
        let names = disk.names();
        // The first segment that counts: the one with the snapshot's number.
        let snapshot = names.iter().find(|name| name.starts_with("snapshot")).expect("a snapshot");
        let needed = snapshot.replace("snapshot", "segment");
        let newer = disk.killed();
        let next = FORMAT_VERSION + 1;
        newer.flip(&needed, 8, (FORMAT_VERSION ^ next) as u8);
        match open(&newer, 1).await {
            Err(StoreError::Newer { file, version }) => {
                assert_eq!((file, version), (needed.clone(), next));
            }
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("a newer version was read"),
        }
        let missing = disk.killed();
        let bytes = missing.bytes(&needed);
        let hidden = MemoryDisk::new(1);
        for name in names.iter().filter(|name| **name != needed) {
            hidden.put(name, &missing.bytes(name));
        }
        match open(&hidden, 1).await {
            Err(StoreError::Missing { file }) => assert_eq!(file, needed),
            Err(other) => panic!("{other}"),
            Ok(_) => panic!("a store with a hole was read"),
        }
        hidden.put(&needed, &bytes);
        open(&hidden, 1).await.expect("whole again");
    });
}

/// The new first block of a segment without frames need not be written as one.
#[test]
fn a_first_block_that_a_start_left_half_written_is_no_damage() {
    run(async || {
        let (disk, through) = closed_store(7, 20).await;
        let spare = disk.names().pop().expect("a segment is last");
        assert!(spare.starts_with("segment"), "{spare}");
        let left_by_a_start = |operations| {
            let disk = disk.killed();
            disk.stop_after(operations);
            disk
        };
        let mut told = 0;
        for operations in 1..60 {
            let before = left_by_a_start(operations);
            let mut opening = std::pin::pin!(open(&before, 2));
            for _ in 0..1_000 {
                tokio::select! {
                    biased;
                    _ = opening.as_mut() => break,
                    () = tokio::task::yield_now() => {}
                }
            }
            let torn = before.power_cut();
            // In the salt.
            torn.flip(&spare, 27, 0x10);
            let is_known = torn.names().iter().any(|name| name.starts_with("unfinished-92"));
            told += u32::from(is_known);
            match open(&torn, 3).await {
                Ok(store) => assert!(is_known && store.appended == through, "{operations}"),
                Err(StoreError::Damaged { file, .. }) => {
                    assert!(!is_known && file == spare, "{operations}: {file}");
                }
                Err(other) => panic!("{operations}: {other}"),
            }
        }
        assert!(told > 3, "{told}");
    });
}

#[test]
fn a_failed_sync_is_final() {
    run(async || {
        let disk = MemoryDisk::new(9);
        let mut store = open(&disk, 9).await.expect("a store");
        store.append(5);
        store.settle().await.expect("the disk works");
        disk.fail_syncs();
        store.append(5);
        let error = loop {
            if let Err(error) = store.turn().await {
                break error;
            }
        };
        assert!(error.to_string().contains("cannot sync segment-"), "{error}");
        assert_eq!(store.told, 5);
    });
}

#[test]
fn a_full_disk_is_said_and_survived() {
    run(async || {
        let disk = MemoryDisk::new(13);
        let mut store = open(&disk, 13).await.expect("a store");
        work(&mut store, &mut Rng(13), 20).await;
        store.settle().await.expect("the disk works");
        disk.set_capacity(disk.used());
        // The reserve takes more than a segment's worth before anything has to wait.
        let mut short_at = None;
        for _ in 0..400 {
            store.append(1);
            for _ in 0..20 {
                store.turn().await.expect("a full disk is no failure");
            }
            if store.journal.room().is_short() && short_at.is_none() {
                short_at = Some(store.told);
            }
        }
        let short_at = short_at.expect("it says that room is short");
        assert!(store.told > short_at + 20, "{} {short_at}", store.told);
        let cut = open(&disk.power_cut(), 15).await.expect("a store");
        assert!(cut.appended >= store.told);
        assert_eq!(cut.retained(), expected(cut.appended));
        disk.set_capacity(u64::MAX);
        store.settle().await.expect("there is room again");
        while store.journal.room().is_short() {
            tokio::time::advance(std::time::Duration::from_millis(100)).await;
            store.turn().await.expect("there is room again");
        }
        store.journal.close().await.expect("the disk works");
        let again = open(&disk.power_cut(), 14).await.expect("a store");
        assert_eq!(again.retained(), expected(store.appended));
    });
}

#[test]
fn a_disk_without_any_room_is_compacted_in_what_is_there() {
    run(async || {
        let disk = MemoryDisk::new(23);
        let mut store = open(&disk, 23).await.expect("a store");
        for n in 0..200 {
            store.put(&format!("live/{}", n % 5), Some(vec![b'x'; 1_000].into())).await;
        }
        disk.set_capacity(disk.used());
        // Many times what was made ahead.
        for n in 0..1_000 {
            store.put(&format!("live/{}", n % 5), Some(vec![b'y'; 1_000].into())).await;
            if n % 97 == 0 {
                let cut = open(&disk.power_cut(), 24).await.expect("a store");
                assert!(cut.found.through.0 >= store.told);
            }
        }
        assert!(disk.names().len() < 12, "{:?}", disk.names());
    });
}

/// What is kept for later segments is given up when room is short, or a full disk would be called full for ever.
#[test]
fn a_full_disk_has_room_again_once_all_is_in_a_snapshot() {
    run(async || {
        let disk = MemoryDisk::new(19);
        let mut store = open(&disk, 19).await.expect("a store");
        let (mut live_bytes, mut more) = (0, 40);
        while more > 0 {
            let topic = format!("live/{live_bytes}");
            live_bytes = store.put(&topic, Some(vec![b'x'; 1_000].into())).await;
            if live_bytes > 20 * SEGMENT_BYTES {
                disk.set_capacity(disk.used().min(30 * SEGMENT_BYTES));
            }
            more -= u64::from(store.journal.room().is_short());
            assert!(live_bytes < 60 * SEGMENT_BYTES, "the disk is never full");
        }
        // Enough for one more snapshot, and to be left with less than another would take.
        disk.set_capacity(disk.used() + live_bytes * 5 / 4);
        for n in 0..1_000 {
            if n % 10 == 5 {
                store.put("live/last", Some(vec![b'x'; 1_000].into())).await;
            }
            store.turn().await.expect("there is room again");
            tokio::time::advance(std::time::Duration::from_millis(40)).await;
        }
        let snapshots = disk.names().into_iter().filter(|name| name.starts_with("snap"));
        let snapshot_bytes: usize = snapshots.map(|name| disk.bytes(&name).len()).sum();
        assert!(snapshot_bytes as u64 > live_bytes, "{snapshot_bytes}");
        assert!(!store.journal.room().is_short(), "{:?}", disk.names());
    });
}

#[test]
fn relaxed_is_told_when_written_and_synced_soon() {
    run(async || {
        let disk = MemoryDisk::new(17);
        let level = Level::Relaxed { sync_delay_ms: 100 };
        let mut store = open_at(&disk, 17, level).await.expect("a store");
        let syncs = disk.written().syncs;
        store.append(5);
        store.settle().await.expect("the disk works");
        let after_write = disk.power_cut();
        assert_eq!(disk.killed().bytes("segment-0000000001").len() as u64, SEGMENT_BYTES);
        let unsynced = disk.written().syncs;
        tokio::time::advance(std::time::Duration::from_millis(150)).await;
        for _ in 0..50 {
            store.turn().await.expect("the disk works");
        }
        assert!(disk.written().syncs > unsynced, "{syncs} {unsynced}");
        let kept = open(&disk.power_cut(), 18).await.expect("a store").appended;
        assert_eq!(kept, 5);
        // Before the sync a power cut may have taken anything, and the store is sound anyway.
        let kept = open(&after_write, 19).await.expect("a store");
        assert_eq!(kept.retained(), expected(kept.appended));
        // An orderly end waits for no delay.
        store.append(3);
        store.journal.close().await.expect("the disk works");
        assert_eq!(open(&disk.power_cut(), 20).await.expect("a store").appended, 8);
    });
}

#[test]
fn writing_costs_little_more_than_the_records() {
    run(async || {
        let disk = MemoryDisk::new(21);
        let mut store = open(&disk, 21).await.expect("a store");
        let mut warm = None;
        let mut record_bytes = 0;
        for round in 0..200 {
            if round == 40 {
                warm = Some(disk.written().bytes);
                record_bytes = 0;
            }
            for position in store.appended + 1..=store.appended + 256 {
                let mut bytes = bytes::BytesMut::new();
                signalhouse::journal::codec::encode(&record(position), &mut bytes);
                record_bytes += bytes.len() as u64;
            }
            store.append(256);
            store.settle().await.expect("the disk works");
        }
        let written = disk.written().bytes - warm.expect("it was warm");
        let percent = written * 100 / record_bytes;
        println!("{percent} bytes written for 100 bytes of records");
        assert!(percent <= 130, "{percent} %");
        assert!(disk.used() < 40 * SEGMENT_BYTES, "{} bytes", disk.used());
    });
}

/// Damage that shows while the broker runs is told with the file's name too.
#[test]
fn a_message_that_rotted_is_missed_in_its_file() {
    run(async || {
        let disk = MemoryDisk::new(5);
        let mut store = open(&disk, 5).await.expect("a store");
        store.append(3);
        store.settle().await.expect("the disk works");
        // In the first frame's body.
        disk.flip("segment-0000000001", 4_096 + 40, 1);
        store.journal.fetch(MessageId(2));
        let error = loop {
            if let Err(error) = store.turn().await {
                break error.to_string();
            }
        };
        let told = "segment-0000000001 is damaged at offset 4096: message m2 is not there";
        assert!(error.contains(told), "{error}");
    });
}

#[test]
fn messages_are_read_back_wherever_they_are() {
    run(async || {
        let disk = MemoryDisk::new(23);
        let mut rng = Rng(23);
        let mut generation = 0;
        let mut store = open(&disk, 23).await.expect("a store");
        for round in 0..60 {
            work(&mut store, &mut rng, 10).await;
            store.settle().await.expect("the disk works");
            let live = store.appended.saturating_sub(39).max(1);
            let wanted: Vec<u64> =
                (0..6).map(|_| live + rng.below(store.appended + 1 - live)).collect();
            for position in &wanted {
                store.journal.fetch(MessageId(*position));
            }
            // The log goes on meanwhile.
            store.append(20);
            let mut read = Vec::new();
            while read.len() < wanted.len() {
                store.turn().await.expect("the disk works");
                while let Poll::Ready(message) = store.journal.take_fetched() {
                    let Record::Published { message: expected, .. } = record(message.id.0) else {
                        unreachable!("every record brings a message")
                    };
                    assert_eq!(message, expected);
                    read.push(message.id.0);
                }
            }
            read.sort_unstable();
            let mut wanted = wanted;
            wanted.sort_unstable();
            assert_eq!(read, wanted);
            if round % 7 == 0 {
                store.settle().await.expect("the disk works");
                generation += 1;
                drop(store);
                store = open(&disk, 23 + generation).await.expect("a store");
            }
        }
        assert!(disk.names().iter().any(|name| name.starts_with("snapshot")));
    });
}

#[test]
fn the_store_is_no_longer_than_a_multiple_of_what_is_live() {
    run(async || {
        // Under this, whatever is live.
        const LEAST: u64 = 10 * SEGMENT_BYTES;
        let large = bytes::Bytes::from(vec![b'x'; 3_000]);
        let disk = MemoryDisk::new(29);
        let mut store = open(&disk, 29).await.expect("a store");
        let mut live = 0;
        let mut highest: u64 = 0;
        for round in 0..4_u64 {
            // Ten segments' worth come, and are changed again and again; then all of it goes.
            for number in 0..600_u64 {
                let topic = format!("large/{}", number % 110);
                live = store.put(&topic, Some(large.clone())).await;
                highest = highest.max(disk.used() * 100 / (live + LEAST));
            }
            assert!(disk.used() > 5 * SEGMENT_BYTES && live > 9 * SEGMENT_BYTES, "{live}");
            for number in 0..110 {
                live = store.put(&format!("large/{number}"), None).await;
            }
            assert_eq!(live, 0);
            for _ in 0..4_000 {
                store.turn().await.expect("the disk works");
            }
            assert!(disk.used() <= LEAST, "round {round}: {} bytes for nothing", disk.used());
        }
        println!("at most {highest} % of what was live and ten segments");
        assert!(highest <= 700, "{highest} %");
        let again = open(&disk.power_cut(), 30).await.expect("a store");
        assert!(again.retained().is_empty());
    });
}
