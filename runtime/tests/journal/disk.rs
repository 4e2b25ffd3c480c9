//! A disk in memory that can lose its power: the fast double of the simulator's.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::rc::Rc;

use bytes::Bytes;
use signalhouse::seams::{Disk, DiskFile, Listed};

const SECTOR: usize = 512;

/// Small numbers from a seed.
#[derive(Clone, Debug)]
pub(crate) struct Rng(pub(crate) u64);

impl Rng {
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound.max(1)
    }
}

#[derive(Clone, Debug)]
pub(crate) struct MemoryDisk(Rc<RefCell<State>>);

#[derive(Clone, Debug)]
struct State {
    files: BTreeMap<u64, Content>,
    names: BTreeMap<String, u64>,
    durable_names: BTreeMap<String, u64>,
    next: u64,
    rng: Rng,
    /// Bytes that all files may have together.
    capacity: u64,
    sync_fails: bool,
    /// How many more operations come to an end.
    left: u64,
    written: Written,
}

/// What was passed to the disk.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Written {
    /// Bytes but for writes of zeros alone.
    pub(crate) bytes: u64,
    pub(crate) syncs: u64,
}

#[derive(Clone, Debug, Default)]
struct Content {
    cached: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<(u64, usize, Bytes)>,
    writes: u64,
}

impl MemoryDisk {
    pub(crate) fn new(seed: u64) -> Self {
        MemoryDisk(Rc::new(RefCell::new(State {
            files: BTreeMap::new(),
            names: BTreeMap::new(),
            durable_names: BTreeMap::new(),
            next: 0,
            rng: Rng(seed | 1),
            capacity: u64::MAX,
            sync_fails: false,
            left: u64::MAX,
            written: Written::default(),
        })))
    }

    /// The disk as it is after the process was killed.
    pub(crate) fn killed(&self) -> Self {
        let mut state = self.0.borrow().clone();
        state.left = u64::MAX;
        MemoryDisk(Rc::new(RefCell::new(state)))
    }

    /// The disk as it is after a power cut: of what was not synced some sectors, some names.
    pub(crate) fn power_cut(&self) -> Self {
        let mut state = self.0.borrow().clone();
        state.left = u64::MAX;
        let State { files, rng, .. } = &mut state;
        for content in files.values_mut() {
            let mut left = content.durable.clone();
            for (_, offset, bytes) in content.unsynced.drain(..) {
                for at in (0..bytes.len()).step_by(SECTOR) {
                    let piece = &bytes[at..bytes.len().min(at + SECTOR)];
                    if rng.below(2) == 0 {
                        write(&mut left, offset + at, piece);
                    }
                }
            }
            content.cached.clone_from(&left);
            content.durable = left;
        }
        let all: Vec<String> =
            state.names.keys().chain(state.durable_names.keys()).cloned().collect();
        for name in all {
            if state.rng.below(2) == 0 {
                continue;
            }
            match state.names.get(&name).copied() {
                Some(file) => drop(state.durable_names.insert(name, file)),
                None => drop(state.durable_names.remove(&name)),
            }
        }
        state.names.clone_from(&state.durable_names);
        MemoryDisk(Rc::new(RefCell::new(state)))
    }

    pub(crate) fn fail_syncs(&self) {
        self.0.borrow_mut().sync_fails = true;
    }

    /// After so many operations more, one takes place and its caller is never told.
    pub(crate) fn stop_after(&self, operations: u64) {
        self.0.borrow_mut().left = operations;
    }

    pub(crate) fn set_capacity(&self, bytes: u64) {
        self.0.borrow_mut().capacity = bytes;
    }

    pub(crate) fn used(&self) -> u64 {
        self.0.borrow().used()
    }

    pub(crate) fn written(&self) -> Written {
        self.0.borrow().written
    }

    pub(crate) fn names(&self) -> Vec<String> {
        self.0.borrow().names.keys().cloned().collect()
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        let mut state = self.0.borrow_mut();
        let number = state.add(name);
        let content = state.files.entry(number).or_default();
        content.cached = bytes.to_vec();
        content.durable = bytes.to_vec();
        state.durable_names = state.names.clone();
    }

    pub(crate) fn bytes(&self, name: &str) -> Vec<u8> {
        let state = self.0.borrow();
        state.files[&state.names[name]].cached.clone()
    }

    /// Flips bits at rest.
    pub(crate) fn flip(&self, name: &str, offset: usize, bits: u8) {
        let mut state = self.0.borrow_mut();
        let number = state.names[name];
        let content = state.files.get_mut(&number).expect("a file with a name");
        content.cached[offset] ^= bits;
        content.durable = content.cached.clone();
    }

    /// Counts an operation.
    fn is_told(&self) -> bool {
        let mut state = self.0.borrow_mut();
        let is_told = state.left > 0;
        state.left = state.left.saturating_sub(1);
        is_told
    }

    /// An outcome that takes some turns to arrive.
    fn later<T: 'static>(
        &self,
        outcome: io::Result<T>,
    ) -> impl Future<Output = io::Result<T>> + use<T> {
        let is_told = self.is_told();
        let turns = self.0.borrow_mut().rng.below(4);
        async move {
            if !is_told {
                std::future::pending::<()>().await;
            }
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            outcome
        }
    }
}

impl State {
    fn add(&mut self, name: &str) -> u64 {
        self.next += 1;
        self.files.insert(self.next, Content::default());
        self.names.insert(name.to_owned(), self.next);
        self.next
    }

    fn used(&self) -> u64 {
        self.names.values().map(|file| self.files[file].cached.len() as u64).sum()
    }
}

fn write(content: &mut Vec<u8>, offset: usize, bytes: &[u8]) {
    let end = offset + bytes.len();
    if content.len() < end {
        content.resize(end, 0);
    }
    content[offset..end].copy_from_slice(bytes);
}

impl Disk for MemoryDisk {
    type File = MemoryFile;

    fn list(&self) -> impl Future<Output = io::Result<Vec<Listed>>> + 'static {
        let state = self.0.borrow();
        let listed = state.names.iter().map(|(name, file)| Listed {
            name: name.clone(),
            bytes: state.files[file].cached.len() as u64,
        });
        let listed = Ok(listed.collect());
        drop(state);
        self.later(listed)
    }

    fn open(&self, name: &str) -> impl Future<Output = io::Result<MemoryFile>> + 'static {
        let number = self.0.borrow().names.get(name).copied();
        let file = number.map(|number| MemoryFile { disk: self.clone(), number });
        self.later(file.ok_or_else(|| io::ErrorKind::NotFound.into()))
    }

    fn create(&self, name: &str) -> impl Future<Output = io::Result<MemoryFile>> + 'static {
        let is_there = self.0.borrow().names.contains_key(name);
        let file = if is_there {
            Err(io::ErrorKind::AlreadyExists.into())
        } else {
            let number = self.0.borrow_mut().add(name);
            Ok(MemoryFile { disk: self.clone(), number })
        };
        self.later(file)
    }

    fn rename(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>> + 'static {
        let file = self.0.borrow_mut().names.remove(from);
        let renamed = file.ok_or_else(|| io::ErrorKind::NotFound.into());
        self.later(renamed.map(|file| {
            self.0.borrow_mut().names.insert(to.to_owned(), file);
        }))
    }

    fn remove(&self, name: &str) -> impl Future<Output = io::Result<()>> + 'static {
        let removed = self.0.borrow_mut().names.remove(name);
        self.later(removed.map(drop).ok_or_else(|| io::ErrorKind::NotFound.into()))
    }

    fn sync_folder(&self) -> impl Future<Output = io::Result<()>> + 'static {
        let mut state = self.0.borrow_mut();
        state.durable_names = state.names.clone();
        drop(state);
        self.later(Ok(()))
    }

    fn free_bytes(&self) -> impl Future<Output = io::Result<u64>> + 'static {
        let state = self.0.borrow();
        let free = state.capacity.saturating_sub(state.used());
        drop(state);
        self.later(Ok(free))
    }
}

#[derive(Clone, Debug)]
pub(crate) struct MemoryFile {
    disk: MemoryDisk,
    number: u64,
}

impl DiskFile for MemoryFile {
    fn read_at(
        &self,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = io::Result<Bytes>> + 'static {
        let state = self.disk.0.borrow();
        let content = &state.files[&self.number].cached;
        let from = content.len().min(offset as usize);
        let to = content.len().min(from + length);
        let bytes = Bytes::copy_from_slice(&content[from..to]);
        drop(state);
        self.disk.later(Ok(bytes))
    }

    fn write_at(
        &self,
        offset: u64,
        bytes: Bytes,
    ) -> impl Future<Output = io::Result<usize>> + 'static {
        let mut state = self.disk.0.borrow_mut();
        let length = state.files[&self.number].cached.len() as u64;
        let grows = (offset + bytes.len() as u64).saturating_sub(length);
        let outcome = if state.used() + grows > state.capacity {
            Err(io::ErrorKind::StorageFull.into())
        } else {
            // Now and then not all of it.
            let short = state.rng.below(16) == 0 && bytes.len() > 1;
            let count = if short { bytes.len() / 2 } else { bytes.len() };
            let bytes = bytes.slice(..count);
            if bytes.iter().any(|byte| *byte != 0) {
                state.written.bytes += count as u64;
            }
            let content = state.files.get_mut(&self.number).expect("an open file");
            write(&mut content.cached, offset as usize, &bytes);
            content.writes += 1;
            content.unsynced.push((content.writes, offset as usize, bytes));
            Ok(count)
        };
        drop(state);
        self.disk.later(outcome)
    }

    fn sync(&self) -> impl Future<Output = io::Result<()>> + 'static {
        let mut state = self.disk.0.borrow_mut();
        state.written.syncs += 1;
        let (turns, fails) = (state.rng.below(6), state.sync_fails);
        let covered = state.files[&self.number].writes;
        drop(state);
        let is_told = self.disk.is_told();
        let (disk, number) = (self.disk.clone(), self.number);
        async move {
            for _ in 0..turns {
                tokio::task::yield_now().await;
            }
            if !is_told {
                std::future::pending::<()>().await;
            }
            if fails {
                return Err(io::Error::other("the disk does not sync"));
            }
            let mut state = disk.0.borrow_mut();
            let content = state.files.get_mut(&number).expect("an open file");
            let later = content.unsynced.partition_point(|(write, ..)| *write <= covered);
            for (_, offset, bytes) in content.unsynced.drain(..later) {
                write(&mut content.durable, offset, &bytes);
            }
            Ok(())
        }
    }
}
