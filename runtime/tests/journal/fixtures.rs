//! Stores of every version of the format that there was. They load for ever.

use std::path::PathBuf;

use signalhouse::journal::codec::{FORMAT_VERSION, decode_first, encode};

use crate::bench::{expected, open, run};
use crate::disk::MemoryDisk;

/// How many records the fixtures' stores have.
const THROUGH: u64 = 500;

fn folder(version: u32) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(format!("tests/fixtures/v{version}"))
}

/// The store of a version.
fn stored(version: u32) -> MemoryDisk {
    let disk = MemoryDisk::new(1);
    let files = std::fs::read_dir(folder(version)).expect("the version has its fixture");
    for file in files {
        let file = file.expect("a readable folder");
        let name = file.file_name().into_string().expect("a plain name");
        if name.contains('-') {
            disk.put(&name, &std::fs::read(file.path()).expect("a readable file"));
        }
    }
    disk
}

#[test]
fn stores_of_every_version_load() {
    run(async || {
        for version in 1..=FORMAT_VERSION {
            let disk = stored(version);
            assert!(disk.names().iter().any(|name| name.starts_with("snapshot")));
            let store = open(&disk, 1).await.expect("it loads");
            assert_eq!(store.appended, THROUGH);
            assert_eq!(store.retained(), expected(THROUGH), "version {version}");
        }
    });
}

/// An older program must say of it that it is newer, and not that it is damaged.
#[test]
fn what_is_written_into_an_old_store_says_that_it_is_new() {
    run(async || {
        for version in 1..=FORMAT_VERSION {
            let disk = stored(version);
            let before = disk.clone().killed();
            let mut store = open(&disk, 1).await.expect("it loads");
            store.append(10);
            store.settle().await.expect("the disk works");
            signalhouse::seams::Journal::close(&mut store.journal).await.expect("the disk works");
            let mut changed = 0;
            for name in disk.names() {
                let bytes = disk.bytes(&name);
                let is_changed = !before.names().contains(&name) || before.bytes(&name) != bytes;
                // An unfinished file counts for nobody.
                if is_changed && !name.starts_with("unfinished") {
                    changed += 1;
                    assert_eq!(bytes[8..12], FORMAT_VERSION.to_le_bytes(), "{version}: {name}");
                }
            }
            assert!(changed > 0, "version {version}: nothing was written");
            assert_eq!(open(&disk, 2).await.expect("it loads").retained(), expected(THROUGH + 10));
        }
    });
}

#[test]
fn records_of_every_version_load() {
    for version in 1..=FORMAT_VERSION {
        let all = std::fs::read(folder(version).join("records.bin")).expect("the fixture");
        let (mut rest, mut count, mut again) = (&all[..], 0, bytes::BytesMut::new());
        while !rest.is_empty() {
            let (record, behind) = decode_first(rest).expect("a record");
            encode(&record, &mut again);
            (rest, count) = (behind, count + 1);
        }
        assert_eq!(count, 400, "version {version}");
        if version == FORMAT_VERSION {
            assert!(again[..] == all[..], "the same version writes something else");
        }
    }
}

/// Writes the fixtures of the present version, once, when there is a new one:
/// `cargo test -p signalhouse --test journal fixtures -- --ignored`.
#[test]
#[ignore = "writes files into the source tree"]
fn write_the_present_version() {
    use proptest::strategy::{Strategy, ValueTree};
    let folder = folder(FORMAT_VERSION);
    assert!(!folder.exists(), "fixtures are never written again");
    std::fs::create_dir_all(&folder).expect("a writable tree");
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut bytes = bytes::BytesMut::new();
    for _ in 0..400 {
        let record = crate::records::record().new_tree(&mut runner).expect("a record").current();
        encode(&record, &mut bytes);
    }
    std::fs::write(folder.join("records.bin"), &bytes).expect("a writable tree");
    run(async || {
        let disk = MemoryDisk::new(1);
        let mut store = open(&disk, 1).await.expect("a store");
        while store.appended < THROUGH {
            store.append(10);
            store.settle().await.expect("the disk works");
        }
        for _ in 0..500 {
            store.turn().await.expect("the disk works");
        }
        signalhouse::seams::Journal::close(&mut store.journal).await.expect("the disk works");
        for name in disk.names() {
            std::fs::write(folder.join(&name), disk.bytes(&name)).expect("a writable tree");
        }
    });
}
