//! Import: a whole export becomes a store, and nothing else leaves anything.

use std::io;

use bytes::Bytes;
use signalhouse::journal::codec::FORMAT_VERSION;
use signalhouse::journal::tools::{self, ImportError};
use signalhouse::journal::{Found, StoreError};

use crate::bench::{SEGMENT_BYTES, expected, open, run};
use crate::disk::MemoryDisk;
use crate::store::closed_store;

/// An export, and the position it goes to.
async fn exported() -> (Vec<u8>, u64) {
    let (disk, through) = closed_store(5, 60).await;
    let mut export = tools::export(&disk, 9).await.expect("a whole store");
    let mut bytes = Vec::new();
    while let Some(piece) = export.next().await.expect("a whole store") {
        bytes.extend_from_slice(&piece);
    }
    (bytes, through)
}

async fn import(disk: &MemoryDisk, file: &[u8]) -> Result<Found, ImportError> {
    let pieces = file.chunks(1_000).map(|piece| Ok(Bytes::copy_from_slice(piece)));
    tools::import(disk, pieces, SEGMENT_BYTES, 3).await
}

/// The same where it must not work, and then nothing is left.
async fn refused(disk: &MemoryDisk, file: &[u8]) -> ImportError {
    let Err(error) = import(disk, file).await else { panic!("it is a store now") };
    assert!(disk.names().is_empty(), "{error}: {:?}", disk.names());
    error
}

#[test]
fn an_import_that_failed_is_not_in_the_way_of_the_next() {
    run(async || {
        let (file, through) = exported().await;
        let disk = MemoryDisk::new(1);
        let needed = {
            let disk = MemoryDisk::new(1);
            import(&disk, &file).await.expect("imported");
            disk.used()
        };
        // In the middle of the file, and for lack of room for the segment beside it.
        for capacity in [100, 5_000, file.len() as u64, needed - 1] {
            disk.set_capacity(capacity);
            let error = refused(&disk, &file).await;
            let ImportError::Store(StoreError::Disk { source, .. }) = &error else {
                panic!("{capacity}: {error}")
            };
            assert_eq!(source.kind(), io::ErrorKind::StorageFull, "{capacity}: {error}");
        }
        disk.set_capacity(u64::MAX);
        disk.fail_syncs();
        assert!(refused(&disk, &file).await.to_string().contains("cannot sync"));
        // What cannot be read, such as a folder.
        let disk = MemoryDisk::new(2);
        let pieces = [Ok(Bytes::from_static(b"some")), Err(io::ErrorKind::IsADirectory.into())];
        match tools::import(&disk, pieces.into_iter(), SEGMENT_BYTES, 3).await {
            Err(ImportError::Source(error)) => {
                assert_eq!(error.kind(), io::ErrorKind::IsADirectory);
            }
            other => panic!("{other:?}"),
        }
        assert!(disk.names().is_empty(), "{:?}", disk.names());
        // What one left that was killed.
        for left in ["unfinished-0000000001", "unfinished-0000000007"] {
            disk.put(left, b"half a file");
        }
        import(&disk, &file).await.expect("imported");
        let store = open(&disk, 1).await.expect("a store");
        assert_eq!((store.appended, store.retained()), (through, expected(through)));
        drop(store);
        match import(&disk, &file).await {
            Err(ImportError::Occupied { file }) => assert_eq!(file, "segment-0000000001"),
            other => panic!("{other:?}"),
        }
        assert_eq!(open(&disk, 2).await.expect("as before").appended, through);
    });
}

/// What is there after an import that was ended: nothing, what no broker starts on, or all of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Left {
    Nothing,
    Unfinished,
    Whole,
}

async fn left(disk: &MemoryDisk, through: u64) -> Left {
    if disk.names().is_empty() {
        return Left::Nothing;
    }
    match open(&disk.killed(), 1).await {
        Err(error @ StoreError::Importing) => {
            assert!(error.to_string().contains("`signalhouse store import` begins it again"));
            assert!(matches!(tools::check(disk).await, Err(StoreError::Importing)));
            Left::Unfinished
        }
        Ok(store) => {
            assert_eq!((store.appended, store.retained()), (through, expected(through)));
            Left::Whole
        }
        Err(error) => panic!("{error}: {:?}", disk.names()),
    }
}

/// As long as any import takes.
async fn turns(count: u32) {
    for _ in 0..count {
        tokio::task::yield_now().await;
    }
}

/// Imports and ends that at an operation; `None` if it was done before.
async fn ended(disk: &MemoryDisk, file: &[u8], operations: u64) -> Option<()> {
    disk.stop_after(operations);
    let import = import(disk, file);
    tokio::select! {
        biased;
        imported = import => { imported.expect("imported"); None }
        () = turns(20_000) => Some(()),
    }
}

#[test]
fn an_import_that_is_ended_anywhere_is_begun_again_or_done() {
    run(async || {
        let (file, through) = exported().await;
        let mut seen = std::collections::BTreeMap::new();
        for seed in 1..=12 {
            for operations in 0.. {
                let disk = MemoryDisk::new(seed * 1_000 + operations);
                if ended(&disk, &file, operations).await.is_none() {
                    assert!(operations > 20, "{operations}");
                    assert_eq!(left(&disk.power_cut(), through).await, Left::Whole);
                    break;
                }
                for disk in [disk.killed(), disk.power_cut()] {
                    let what = left(&disk, through).await;
                    *seen.entry(what).or_insert(0) += 1;
                    match import(&disk, &file).await {
                        Ok(_) => {
                            assert_ne!(what, Left::Whole);
                            assert_eq!(left(&disk.power_cut(), through).await, Left::Whole);
                        }
                        Err(ImportError::Occupied { .. }) => assert_eq!(what, Left::Whole),
                        Err(error) => panic!("seed {seed}, {operations}: {error}"),
                    }
                }
            }
        }
        assert!(seen.len() == 3 && seen.values().all(|count| *count > 5), "{seen:?}");
    });
}

/// What an attempt left is taken away by the next one, which may be ended in the middle of that.
#[test]
fn taking_an_import_away_can_be_ended_anywhere() {
    run(async || {
        let (file, through) = exported().await;
        for operations in 0..12 {
            let whole = MemoryDisk::new(operations);
            // The last operation but two gives the segment its name.
            let mut steps = 0;
            while ended(&MemoryDisk::new(operations), &file, steps).await.is_some() {
                steps += 1;
            }
            let _ended = ended(&whole, &file, steps - 3).await;
            for disk in [whole.killed(), whole.power_cut()] {
                let _ended = ended(&disk, &file, operations).await;
                let disk = disk.power_cut();
                assert_ne!(left(&disk, through).await, Left::Whole, "{operations}");
                import(&disk, &file).await.expect("imported");
                assert_eq!(left(&disk, through).await, Left::Whole);
            }
        }
    });
}

#[test]
fn only_a_whole_export_is_imported() {
    run(async || {
        let (file, _) = exported().await;
        let disk = MemoryDisk::new(1);
        for length in [0, 1, 4_095, 4_096, file.len() - 9, file.len() - 1] {
            let error = refused(&disk, &file[..length]).await;
            let ImportError::NotAnExport { offset, .. } = error else {
                panic!("{length}: {error}")
            };
            assert!(offset <= length.max(4_096) as u64, "{length}: {error}");
        }
        let mut changed = file.clone();
        changed[5_000] ^= 4;
        let error = refused(&disk, &changed).await;
        assert!(matches!(error, ImportError::NotAnExport { offset: 4_096.., .. }), "{error}");
        let error = refused(&disk, b"[log]\nlevel = \"info\"\n").await;
        let said = error.to_string();
        assert!(said.starts_with("not a whole export: at offset 0, its first block"), "{said}");
        for behind in [&b"?"[..], &[0; 10_000], &file] {
            let error = refused(&disk, &[&file, behind].concat()).await;
            let ImportError::TooLong { offset } = error else { panic!("{error}") };
            assert_eq!(offset, file.len() as u64);
        }
        let mut newer = file.clone();
        newer[8..12].copy_from_slice(&(FORMAT_VERSION + 1).to_le_bytes());
        let error = refused(&disk, &newer).await;
        assert!(matches!(error, ImportError::Newer { version } if version == FORMAT_VERSION + 1));
        // A store's own snapshot has another number and belongs to its segments.
        let (store, _) = closed_store(7, 200).await;
        let names = store.names();
        let snapshot = names.iter().find(|name| name.starts_with("snapshot")).expect("a snapshot");
        let error = refused(&disk, &store.bytes(snapshot)).await;
        assert!(matches!(error, ImportError::NotAnExport { offset: 0, .. }), "{error}");
    });
}
