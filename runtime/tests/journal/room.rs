//! Room on the disk that others take and give back, and what is said when there is none left at all.

use std::time::Duration;

use signalhouse::seams::Journal;
use signalhouse_core::JournalRoom;

use crate::bench::{Store, open, run};
use crate::disk::MemoryDisk;

/// Lets so much time pass, in milliseconds, and the disk work.
async fn pass(store: &mut Store, ms: u64) {
    for _ in 0..ms / 10 {
        tokio::time::advance(Duration::from_millis(9)).await;
        store.turn().await.expect("a full disk is no failure");
    }
}

/// A store in which nothing has to be made for a while.
async fn quiet_store(disk: &MemoryDisk) -> Store {
    let mut store = open(disk, 13).await.expect("a store");
    store.append(3);
    store.settle().await.expect("the disk works");
    pass(&mut store, 3_000).await;
    assert!(!store.journal.room().is_short());
    store
}

#[test]
fn room_that_others_take_is_missed_at_the_first_record_and_then_every_second() {
    run(async || {
        let disk = MemoryDisk::new(13);
        let mut store = quiet_store(&disk).await;
        let names = disk.names();
        disk.set_capacity(disk.used());
        store.append(1);
        store.settle().await.expect("there is a reserve");
        pass(&mut store, 100).await;
        assert!(store.journal.room().is_short(), "at the first record");
        disk.set_capacity(u64::MAX);
        pass(&mut store, 2_100).await;
        assert!(!store.journal.room().is_short(), "there is room again");
        // The room is looked at no more than once a second.
        pass(&mut store, 2_000).await;
        store.append(1);
        store.settle().await.expect("the disk works");
        pass(&mut store, 50).await;
        disk.set_capacity(disk.used());
        store.append(1);
        store.settle().await.expect("there is a reserve");
        pass(&mut store, 100).await;
        assert!(!store.journal.room().is_short(), "it was looked at just now");
        pass(&mut store, 1_100).await;
        assert!(store.journal.room().is_short(), "within a second");
        assert_eq!(disk.names(), names, "no segment was made meanwhile");
    });
}

#[test]
fn once_nothing_can_be_written_that_is_said_until_there_is_room() {
    run(async || {
        let disk = MemoryDisk::new(17);
        let mut store = open(&disk, 17).await.expect("a store");
        disk.set_capacity(disk.used());
        // A tenth of a second each since the last record was written.
        let mut tenths = 0;
        while store.journal.room() != JournalRoom::UsedUp {
            let told = store.told;
            // All of them are live, so that no snapshot makes room.
            store.append_lasting();
            pass(&mut store, 100).await;
            tenths = if store.told == told { tenths + 1 } else { 0 };
            assert!(tenths < 13, "nothing is written, and nothing is said");
        }
        assert!(store.journal.room().is_short() && tenths >= 9, "{tenths}");
        disk.set_capacity(u64::MAX);
        store.settle().await.expect("there is room again");
        pass(&mut store, 3_000).await;
        assert!(store.journal.room() != JournalRoom::UsedUp && !store.journal.room().is_short());
        store.journal.close().await.expect("the disk works");
        let again = open(&disk.power_cut(), 18).await.expect("a store");
        assert_eq!(again.retained().len() as u64, store.appended);
    });
}
