//! Small store programs, good and bad: a power cut must never hurt the good ones, and within a few
//! seeds must find out each bad one.

use std::collections::BTreeSet;
use std::future::Future;
use std::io;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use bytes::Bytes;
use signalhouse::seams::{Disk, DiskFile};

use super::{Cut, DiskFaults, Operation, SimDisk};
use crate::clock::SimClock;

const SEEDS: u64 = 300;
const OLD: &[u8] = &[b'o'; 1300];
const NEW: &[u8] = &[b'n'; 2600];

/// A disk, and the time that passes on it.
struct Machine {
    disk: SimDisk,
    clock: SimClock,
}

impl Machine {
    fn new(seed: u64, faults: DiskFaults) -> Self {
        let clock = SimClock::default();
        Machine { disk: SimDisk::new(seed, faults, clock.clone()), clock }
    }

    /// Runs a program to its end; `None` if it waits for something that never comes.
    fn run<T>(&self, program: impl Future<Output = T>) -> Option<T> {
        let mut program = pin!(program);
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            if let Poll::Ready(outcome) = program.as_mut().poll(&mut cx) {
                return Some(outcome);
            }
            self.clock.advance_to_ms(self.clock.next_ms()?);
        }
    }

    fn state(&self) -> Option<Vec<u8>> {
        self.disk.contents().remove("state")
    }
}

/// Which of the steps of a safe replacement a program takes.
#[derive(Clone, Copy)]
struct Steps {
    syncs_data: bool,
    syncs_folder: bool,
    minds_short_writes: bool,
}

const ALL_STEPS: Steps = Steps { syncs_data: true, syncs_folder: true, minds_short_writes: true };

/// Replaces the file "state".
async fn replace(disk: SimDisk, bytes: &'static [u8], steps: Steps) -> io::Result<()> {
    let file = disk.create("state.new").await?;
    let mut written = 0;
    while written < bytes.len() {
        let rest = Bytes::from_static(&bytes[written..]);
        written += file.write_at(written as u64, rest).await?;
        if !steps.minds_short_writes {
            break;
        }
    }
    if steps.syncs_data {
        file.sync().await?;
    }
    disk.rename("state.new", "state").await?;
    if steps.syncs_folder {
        disk.sync_folder().await?;
    }
    Ok(())
}

/// What "state" is in so many lives of a program that was told that it had replaced it.
fn after_power_cuts(faults: DiskFaults, steps: Steps) -> BTreeSet<Option<Vec<u8>>> {
    let states = (0..SEEDS).map(|seed| {
        let machine = Machine::new(seed, faults);
        machine.run(replace(machine.disk.clone(), OLD, ALL_STEPS)).expect("ends").expect("works");
        machine.run(replace(machine.disk.clone(), NEW, steps)).expect("ends").expect("works");
        machine.disk.cut(Cut::Power);
        machine.state()
    });
    states.collect()
}

const SLOW: DiskFaults = DiskFaults { sync_ms: 20, short_writes: 0, capacity_bytes: 0 };

#[test]
fn what_was_written_synced_renamed_and_synced_survives() {
    let states = after_power_cuts(SLOW, ALL_STEPS);
    assert_eq!(states, BTreeSet::from([Some(NEW.to_vec())]));
}

#[test]
fn a_rename_without_a_sync_of_the_folder_is_found_out() {
    let states = after_power_cuts(SLOW, Steps { syncs_folder: false, ..ALL_STEPS });
    assert_eq!(states, BTreeSet::from([Some(OLD.to_vec()), Some(NEW.to_vec())]));
}

#[test]
fn a_rename_without_a_sync_of_the_data_is_found_out() {
    let states = after_power_cuts(SLOW, Steps { syncs_data: false, ..ALL_STEPS });
    assert!(states.contains(&Some(Vec::new())), "empty");
    let is_zeros = |bytes: &[u8]| bytes.len() == NEW.len() && bytes.iter().all(|byte| *byte == 0);
    let is_torn = |bytes: &[u8]| bytes.contains(&0) && bytes.contains(&b'n');
    let states: Vec<Vec<u8>> = states.into_iter().flatten().collect();
    assert!(states.iter().any(|bytes| is_zeros(bytes)), "filled with zeros");
    let torn: Vec<_> = states.iter().filter(|bytes| is_torn(bytes)).collect();
    assert!(torn.len() > 5, "torn in different ways");
    for bytes in torn {
        // Whole sectors, in any order.
        for sector in bytes.chunks(512) {
            assert!(sector.iter().all(|byte| *byte == sector[0]), "a sector is never torn");
        }
    }
}

#[test]
fn a_kill_loses_nothing_that_was_told() {
    let faults = DiskFaults { short_writes: 3, ..SLOW };
    let hasty = Steps { syncs_data: false, syncs_folder: false, ..ALL_STEPS };
    for seed in 0..SEEDS {
        let machine = Machine::new(seed, faults);
        machine.run(replace(machine.disk.clone(), NEW, hasty)).expect("ends").expect("works");
        machine.disk.cut(Cut::Kill);
        assert_eq!(machine.state(), Some(NEW.to_vec()));
    }
}

#[test]
fn a_safe_replacement_cut_at_any_operation_leaves_the_old_or_the_new() {
    let mut seen = BTreeSet::new();
    for seed in 0..SEEDS {
        for cut in [Cut::Kill, Cut::Power] {
            for stop_at in 1.. {
                let machine = Machine::new(seed, DiskFaults { short_writes: 2, ..SLOW });
                let first = machine.run(replace(machine.disk.clone(), OLD, ALL_STEPS));
                first.expect("ends").expect("works");
                machine.disk.stop_at(Some(machine.disk.operations() + stop_at));
                let ended = machine.run(replace(machine.disk.clone(), NEW, ALL_STEPS));
                machine.disk.cut(cut);
                let state = machine.state().expect("there is always one");
                assert!(state == OLD || state == NEW, "{} bytes", state.len());
                if ended.is_some() {
                    assert_eq!(state, NEW, "told, and lost");
                    break;
                }
                seen.insert((stop_at, state == NEW));
            }
        }
    }
    assert!(seen.iter().any(|(_, is_new)| *is_new), "the last operation may have taken place");
    assert!(seen.iter().any(|(_, is_new)| !*is_new));
    assert!(seen.last().is_some_and(|(last, _)| *last >= 6), "{seen:?}");
}

#[test]
fn a_rename_that_took_place_at_a_kill_can_be_made_durable() {
    let survived = (0..SEEDS).filter(|seed| {
        let machine = Machine::new(*seed, SLOW);
        machine.run(replace(machine.disk.clone(), OLD, ALL_STEPS)).expect("ends").expect("works");
        machine.disk.stop_at(Some(machine.disk.operations() + 4)); // the rename
        assert!(machine.run(replace(machine.disk.clone(), NEW, ALL_STEPS)).is_none());
        machine.disk.cut(Cut::Kill);
        let found = machine.state();
        machine.run(machine.disk.sync_folder()).expect("ends").expect("works");
        machine.disk.cut(Cut::Power);
        assert_eq!(machine.state(), found, "what was found and synced stays");
        found.as_deref() == Some(NEW)
    });
    let survived = survived.count();
    assert!(survived > 50 && survived < 250, "{survived}");
}

#[test]
fn a_failed_sync_that_is_tried_again_is_found_out() {
    let lost = (0..SEEDS).filter(|seed| {
        let machine = Machine::new(*seed, SLOW);
        let disk = machine.disk.clone();
        let program = async {
            let file = disk.create("state").await?;
            disk.sync_folder().await?;
            file.write_at(0, Bytes::from_static(NEW)).await?;
            disk.fail_next(Operation::Sync, 1);
            if file.sync().await.is_err() {
                file.sync().await?; // succeeds, and says nothing about what was written before
            }
            io::Result::Ok(())
        };
        machine.run(program).expect("ends").expect("works");
        assert_eq!(machine.state().as_deref(), Some(NEW), "it looks written");
        machine.disk.cut(Cut::Power);
        machine.state().as_deref() != Some(NEW)
    });
    assert!(lost.count() > 10);
}

#[test]
fn a_short_write_that_nobody_minds_is_found_out() {
    let faults = DiskFaults { short_writes: 2, ..SLOW };
    let states = after_power_cuts(faults, ALL_STEPS);
    assert_eq!(states, BTreeSet::from([Some(NEW.to_vec())]));
    let states = after_power_cuts(faults, Steps { minds_short_writes: false, ..ALL_STEPS });
    assert!(states.len() > 10);
}

#[test]
fn a_full_disk_refuses_overwrites_nothing_and_has_space_again() {
    let machine = Machine::new(1, DiskFaults::default());
    let disk = machine.disk.clone();
    machine.run(replace(disk.clone(), OLD, ALL_STEPS)).expect("ends").expect("works");
    disk.set_capacity_bytes(OLD.len() as u64 + 100);
    let full = machine.run(replace(disk.clone(), NEW, ALL_STEPS)).expect("ends");
    assert_eq!(full.map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
    let overwrite = async {
        let file = disk.open("state").await?;
        file.write_at(0, Bytes::from_static(&NEW[..OLD.len()])).await
    };
    assert_eq!(machine.run(overwrite).expect("ends").expect("takes no space"), OLD.len());
    disk.set_capacity_bytes(0);
    let again = async {
        disk.remove("state.new").await?;
        replace(disk.clone(), NEW, ALL_STEPS).await
    };
    machine.run(again).expect("ends").expect("works");
    assert_eq!(machine.state().as_deref(), Some(NEW));
}

#[test]
fn syncs_hang_and_go_on() {
    let machine = Machine::new(1, SLOW);
    let disk = machine.disk.clone();
    disk.set_syncs(false);
    let mut sync = pin!(disk.sync_folder());
    assert!(machine.run(sync.as_mut()).is_none(), "it hangs");
    disk.set_syncs(true);
    machine.run(sync).expect("goes on").expect("works");
}

#[test]
fn reads_fail_and_bits_rot() {
    let machine = Machine::new(1, DiskFaults::default());
    let disk = machine.disk.clone();
    machine.run(replace(disk.clone(), OLD, ALL_STEPS)).expect("ends").expect("works");
    let read = || async {
        let file = disk.open("state").await?;
        file.read_at(1290, 100).await
    };
    disk.fail_next(Operation::Read, 1);
    machine.run(read()).expect("ends").expect_err("fails once");
    assert_eq!(&machine.run(read()).expect("ends").expect("works")[..], &OLD[1290..]);
    assert!(disk.rot("state", 1291, 3));
    let rotten = machine.run(read()).expect("ends").expect("works");
    assert_eq!(rotten[1], b'o' ^ 8);
    assert!(!disk.rot("state", 1300, 0), "there is no such place");
}

#[test]
fn rot_outlives_failures_and_is_put_right() {
    for cut in [Cut::Kill, Cut::Power] {
        let machine = Machine::new(1, DiskFaults::default());
        let disk = machine.disk.clone();
        machine.run(replace(disk.clone(), OLD, ALL_STEPS)).expect("ends").expect("works");
        let (name, offset) = disk.rot_somewhere(u64::MAX).expect("there is something");
        assert!(disk.rotten().eq([(name, offset)]));
        disk.cut(cut);
        assert_ne!(machine.state().as_deref(), Some(OLD), "{cut:?}");
        disk.mend_rot();
        assert_eq!(machine.state().as_deref(), Some(OLD), "{cut:?}");
        assert!(disk.rot("state", 0, 0));
        let over = async {
            let file = disk.open("state").await?;
            file.write_at(0, Bytes::from_static(OLD)).await
        };
        machine.run(over).expect("ends").expect("works");
        assert_eq!(disk.rotten().count(), 0, "what is written again is no longer rotten");
        assert_eq!(machine.state().as_deref(), Some(OLD), "{cut:?}");
    }
}

#[test]
fn rot_that_was_written_over_comes_back_with_the_power_unless_that_was_synced() {
    let rotten = |is_synced: bool| {
        let is_rotten = (0..SEEDS).filter(|seed| {
            let machine = Machine::new(*seed, DiskFaults::default());
            let disk = machine.disk.clone();
            machine.run(replace(disk.clone(), OLD, ALL_STEPS)).expect("ends").expect("works");
            assert!(disk.rot("state", 700, 0));
            let over = async {
                let file = disk.open("state").await?;
                file.write_at(0, Bytes::from_static(OLD)).await?;
                if is_synced { file.sync().await } else { Ok(()) }
            };
            machine.run(over).expect("ends").expect("works");
            disk.cut(Cut::Power);
            let is_as_it_was = machine.state().as_deref() == Some(OLD);
            assert_eq!(disk.rotten().count(), usize::from(!is_as_it_was));
            disk.mend_rot();
            assert_eq!(machine.state().as_deref(), Some(OLD));
            !is_as_it_was
        });
        is_rotten.count()
    };
    assert_eq!(rotten(true), 0);
    assert!((100..200).contains(&rotten(false)));
}

#[test]
fn memory_that_a_failed_sync_left_alone_can_be_gone_with_the_process() {
    let lost = (0..SEEDS).filter(|seed| {
        let machine = Machine::new(*seed, SLOW);
        let disk = machine.disk.clone();
        machine.run(replace(disk.clone(), OLD, ALL_STEPS)).expect("ends").expect("works");
        let program = async {
            let file = disk.open("state").await?;
            file.write_at(0, Bytes::from_static(&NEW[..OLD.len()])).await?;
            disk.fail_next(Operation::Sync, 1);
            file.sync().await.expect_err("fails");
            disk.stop_at(Some(disk.operations() + 1));
            file.write_at(0, Bytes::from_static(b"x")).await
        };
        assert!(machine.run(program).is_none());
        disk.cut(Cut::Kill);
        let left = machine.state().expect("it is there");
        assert_eq!(disk.has_lost(), left[1..] != NEW[1..OLD.len()]);
        disk.has_lost()
    });
    let lost = lost.count();
    assert!((1..SEEDS as usize).contains(&lost), "{lost}");
}

#[test]
fn the_same_seed_gives_the_same_disk() {
    let play = |seed| {
        let machine = Machine::new(seed, DiskFaults { short_writes: 2, ..SLOW });
        let hasty = Steps { syncs_data: false, ..ALL_STEPS };
        machine.run(replace(machine.disk.clone(), NEW, hasty)).expect("ends").expect("works");
        machine.disk.cut(Cut::Power);
        (machine.disk.contents(), machine.clock.now_ms())
    };
    assert_eq!(play(7), play(7));
    assert!((0..20).map(play).collect::<BTreeSet<_>>().len() > 5);
}
