//! A simulated disk: what a program wrote is there for itself at once, and for those who come after
//! a failure only as far as a real disk would have it.
//!
//! A kill leaves the page cache. A power cut leaves of what was not synced any subset of sectors and
//! of changes to the folder. Syncs take their time, can hang, and can fail, after which nobody knows
//! what is on the device. Reads and writes can fail or be short; the disk can be full; bits rot.
//! Everything comes from one stream of chance and the run's clock: the same run, the same disk.

mod file;
mod folder;
mod rot;
mod seen;
#[cfg(test)]
mod tests;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::future::{Future, poll_fn};
use std::io;
use std::rc::Rc;
use std::task::{Poll, Waker};

use bytes::Bytes;
use signalhouse::seams::{Disk, DiskFile, Listed};

use crate::chance::{Stream, Streams};
use crate::clock::SimClock;
use file::{File, Leftover, Rot};
use folder::{FileId, Folder};
pub use seen::Seen;

/// The disk of a run. Clones are the same disk. It outlives the processes that use it.
#[derive(Clone)]
pub struct SimDisk {
    state: Rc<RefCell<State>>,
    clock: SimClock,
    /// Another process reads it than the one that is put to the test.
    is_read_aside: bool,
}

/// An open file of a [`SimDisk`].
#[derive(Clone)]
pub struct SimFile {
    disk: SimDisk,
    id: FileId,
    /// The name by which it was opened.
    name: Rc<str>,
    /// The process that opened it; what another process left open does nothing.
    process: u64,
}

/// What goes wrong with a disk, beside failures of the whole machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DiskFaults {
    /// How long a sync takes at most, in milliseconds; 0 for no time at all.
    pub sync_ms: u64,
    /// Writes may be shorter than asked for, one in so many; 0 for never.
    pub short_writes: u64,
    /// Space on the disk, in bytes; 0 for no end of it.
    pub capacity_bytes: u64,
}

/// How a process came to its end, for the disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    /// The process was killed; the page cache stays.
    Kill,
    /// The power went.
    Power,
}

/// What is done to a disk, for those who count or stop at it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Operation {
    /// [`Disk::list`].
    List,
    /// [`Disk::open`].
    Open,
    /// [`Disk::create`].
    Create,
    /// [`Disk::rename`].
    Rename,
    /// [`Disk::remove`].
    Remove,
    /// [`Disk::sync_folder`].
    SyncFolder,
    /// [`Disk::free_bytes`].
    FreeBytes,
    /// [`DiskFile::read_at`].
    Read,
    /// [`DiskFile::write_at`].
    Write,
    /// [`DiskFile::sync`].
    Sync,
}

impl Operation {
    /// Every kind.
    pub const EACH: [Operation; 10] = [
        Operation::List,
        Operation::Open,
        Operation::Create,
        Operation::Rename,
        Operation::Remove,
        Operation::SyncFolder,
        Operation::FreeBytes,
        Operation::Read,
        Operation::Write,
        Operation::Sync,
    ];
}

struct State {
    chance: Stream,
    faults: DiskFaults,
    folder: Folder,
    files: BTreeMap<FileId, File>,
    next_file: FileId,
    /// Counts the processes that used it.
    process: u64,
    next_write: u64,
    syncs: Vec<Sync>,
    next_ticket: u64,
    syncs_complete: bool,
    /// The next operations of a kind fail.
    failing: BTreeMap<Operation, u32>,
    operations: u64,
    /// That operation fails, whatever it is.
    fail_at: Option<u64>,
    has_failed: bool,
    /// How long a sync took at most, in the process that runs.
    slowest_sync_ms: u64,
    /// When the first sync was begun that failed in it.
    unsure_from_ms: Option<u64>,
    /// The last end of a process lost bytes that were written.
    has_lost: bool,
    /// What rotted and was not written since.
    rotten: Vec<(FileId, Rot)>,
    /// The process ends at that operation.
    stop_at: Option<u64>,
    is_stopped: bool,
    watcher: Option<Watcher>,
    seen: Seen,
}

/// Who is shown every operation, with the file's name.
type Watcher = Box<dyn FnMut(Operation, &str)>;

/// A sync under way.
struct Sync {
    ticket: u64,
    what: Synced,
    begun_at_ms: u64,
    /// When it is done, if the disk does not hang.
    done_at_ms: u64,
    fails: bool,
    waiting: Option<Waker>,
}

#[derive(Clone, Copy)]
enum Synced {
    /// Writes to a file, before a number.
    File { id: FileId, before: u64 },
    /// So many changes to the folder.
    Folder { changes: usize },
}

impl Synced {
    fn operation(self) -> Operation {
        match self {
            Synced::File { .. } => Operation::Sync,
            Synced::Folder { .. } => Operation::SyncFolder,
        }
    }
}

impl SimDisk {
    /// An empty disk. What it leaves to chance is drawn from `seed`'s streams.
    #[must_use]
    pub fn new(seed: u64, faults: DiskFaults, clock: SimClock) -> Self {
        let state = State {
            chance: Streams::new(seed).stream("disk"),
            faults,
            folder: Folder::default(),
            files: BTreeMap::new(),
            next_file: 1,
            process: 0,
            next_write: 1,
            syncs: Vec::new(),
            next_ticket: 0,
            syncs_complete: true,
            failing: BTreeMap::new(),
            operations: 0,
            fail_at: None,
            has_failed: false,
            has_lost: false,
            slowest_sync_ms: 0,
            unsure_from_ms: None,
            rotten: Vec::new(),
            stop_at: None,
            is_stopped: false,
            watcher: None,
            seen: Seen::default(),
        };
        SimDisk { state: Rc::new(RefCell::new(state)), clock, is_read_aside: false }
    }

    /// The same disk, as a process reads it whose operations neither count nor fail, and take a millisecond each.
    #[must_use]
    pub fn read_aside(&self) -> SimDisk {
        SimDisk { is_read_aside: true, ..self.clone() }
    }

    /// A disk of its own in the same state, with nothing under way. It takes no time and has no
    /// faults but failures of the machine.
    #[must_use]
    pub fn fork(&self) -> SimDisk {
        let mut state = self.state.borrow_mut();
        state.settle(self.clock.now_ms());
        let forked = State {
            chance: state.chance.clone(),
            faults: DiskFaults::default(),
            folder: state.folder.clone(),
            files: state.files.clone(),
            next_file: state.next_file,
            process: state.process,
            next_write: state.next_write,
            syncs: Vec::new(),
            next_ticket: 0,
            syncs_complete: true,
            failing: BTreeMap::new(),
            operations: 0,
            fail_at: None,
            has_failed: false,
            has_lost: false,
            slowest_sync_ms: 0,
            unsure_from_ms: None,
            rotten: Vec::new(),
            stop_at: None,
            is_stopped: false,
            watcher: None,
            seen: Seen::default(),
        };
        let state = Rc::new(RefCell::new(forked));
        SimDisk { state, clock: self.clock.clone(), is_read_aside: false }
    }

    /// The process is over. What it left under way is decided now; its open files are closed.
    pub fn cut(&self, cut: Cut) {
        let mut state = self.state.borrow_mut();
        state.settle(self.clock.now_ms());
        state.cut(cut, self.clock.now_ms());
    }

    /// Lets syncs complete, or hang.
    pub fn set_syncs(&self, complete: bool) {
        let mut state = self.state.borrow_mut();
        state.syncs_complete = complete;
        if complete {
            let now_ms = self.clock.now_ms();
            state.settle(now_ms);
        }
    }

    /// The next `count` operations of a kind fail with an input/output error.
    pub fn fail_next(&self, operation: Operation, count: u32) {
        self.state.borrow_mut().failing.insert(operation, count);
    }

    /// That operation fails with an input/output error, whatever it is.
    pub fn fail_at(&self, operation: Option<u64>) {
        self.state.borrow_mut().fail_at = operation;
    }

    /// What was written before this moment is on the disk, if a sync of it was begun so many milliseconds later at most
    /// and whoever did that had waited for the sync before.
    #[must_use]
    pub fn synced_before_ms(&self, delay_ms: u64) -> u64 {
        let mut state = self.state.borrow_mut();
        let now_ms = self.clock.now_ms();
        state.settle(now_ms);
        let under_way = state.syncs.iter().map(|sync| sync.begun_at_ms).min();
        let unsure = under_way.into_iter().chain(state.unsure_from_ms).min();
        unsure.unwrap_or(now_ms).saturating_sub(delay_ms + state.slowest_sync_ms)
    }

    /// Whether something that was written to a file is gone since the last end of a process: with the power, or after
    /// a failed sync with the memory that alone had it.
    #[must_use]
    pub fn has_lost(&self) -> bool {
        self.state.borrow().has_lost
    }

    /// Whether the operation given to [`SimDisk::fail_at`] failed in the process that runs.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.state.borrow().has_failed
    }

    /// Whether syncs hang.
    #[must_use]
    pub fn hangs(&self) -> bool {
        !self.state.borrow().syncs_complete
    }

    /// Sets how much fits on the disk, in bytes; 0 for no end of it.
    pub fn set_capacity_bytes(&self, bytes: u64) {
        self.state.borrow_mut().faults.capacity_bytes = bytes;
    }

    /// Only so much more fits on the disk, in bytes; with `None` there is no end of space.
    pub fn set_left_bytes(&self, left_bytes: Option<u64>) {
        let mut state = self.state.borrow_mut();
        // 0 would be no end of it.
        let capacity = left_bytes.map(|left| (state.used_bytes() + left).max(1));
        state.faults.capacity_bytes = capacity.unwrap_or(0);
    }

    /// Nothing fails any more, there is space, and what rotted is as it was.
    pub fn mend(&self) {
        let mut state = self.state.borrow_mut();
        state.fail_at = None;
        state.failing.clear();
        state.faults.capacity_bytes = 0;
        drop(state);
        self.mend_rot();
    }

    /// The files there are and their contents, as a process would find them.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Vec<u8>> {
        let state = self.state.borrow();
        let read = |id| state.files.get(&id).map(|file| file.read(0, file.len()).to_vec());
        state
            .folder
            .names()
            .map(|(name, id)| (name.clone(), read(id).unwrap_or_default()))
            .collect()
    }

    /// How many operations there were.
    #[must_use]
    pub fn operations(&self) -> u64 {
        self.state.borrow().operations
    }

    /// From that operation on, nothing that is begun comes to an end: the process is about to be
    /// cut off there. It does not take place, or, for a write or a change, by chance.
    pub fn stop_at(&self, operation: Option<u64>) {
        let mut state = self.state.borrow_mut();
        state.stop_at = operation;
        state.is_stopped = false;
    }

    /// Whether the operation given to [`SimDisk::stop_at`] was reached.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.state.borrow().is_stopped
    }

    /// Shows every operation to `watcher`, with the file's name.
    pub fn watch(&self, watcher: impl FnMut(Operation, &str) + 'static) {
        self.state.borrow_mut().watcher = Some(Box::new(watcher));
    }

    /// Begins an operation: whether it fails, and when the caller is told of it.
    fn begin(&self, operation: Operation, name: &str) -> (io::Result<()>, u64) {
        let now_ms = self.clock.now_ms();
        let mut state = self.state.borrow_mut();
        state.settle(now_ms);
        if self.is_read_aside {
            return (Ok(()), now_ms + 1);
        }
        let done_at_ms = state.begin(operation, name, now_ms);
        let failure = state.failure(operation);
        (failure, done_at_ms)
    }

    /// Completes at that time with that outcome.
    fn at<T: 'static>(
        &self,
        done_at_ms: u64,
        outcome: io::Result<T>,
    ) -> impl Future<Output = io::Result<T>> + use<T> {
        let clock = self.clock.clone();
        async move {
            if done_at_ms == NEVER_MS {
                return std::future::pending().await;
            }
            clock.sleep_until_ms(done_at_ms).await;
            outcome
        }
    }

    /// Completes when the sync does.
    fn synced(&self, what: Synced, fails: bool) -> impl Future<Output = io::Result<()>> + use<> {
        let disk = self.clone();
        let ticket = disk.state.borrow_mut().begin_sync(what, fails, disk.clock.now_ms());
        async move {
            let Some((ticket, done_at_ms)) = ticket else {
                return std::future::pending().await;
            };
            disk.clock.sleep_until_ms(done_at_ms).await;
            poll_fn(|cx| {
                let mut state = disk.state.borrow_mut();
                state.settle(disk.clock.now_ms());
                match state.syncs.iter_mut().find(|sync| sync.ticket == ticket) {
                    Some(sync) => {
                        sync.waiting = Some(cx.waker().clone());
                        Poll::Pending
                    }
                    None => Poll::Ready(()),
                }
            })
            .await;
            if fails { Err(failed()) } else { Ok(()) }
        }
    }
}

/// When nothing is ever told.
const NEVER_MS: u64 = u64::MAX;

fn failed() -> io::Error {
    io::Error::other("input/output error (simulated)")
}

impl State {
    fn begin(&mut self, operation: Operation, name: &str, now_ms: u64) -> u64 {
        self.operations += 1;
        self.see(operation, now_ms);
        if let Some(watcher) = &mut self.watcher {
            watcher(operation, name);
        }
        self.is_stopped |= self.stop_at.is_some_and(|at| at <= self.operations);
        if self.is_stopped {
            return NEVER_MS;
        }
        let is_slow = self.faults.sync_ms > 0 && self.chance.one_in(4);
        now_ms + u64::from(is_slow)
    }

    fn failure(&mut self, operation: Operation) -> io::Result<()> {
        if self.fail_at == Some(self.operations) {
            self.has_failed = true;
            self.seen.failed.insert(operation);
            return Err(failed());
        }
        match self.failing.get_mut(&operation) {
            Some(count) if *count > 0 => {
                *count -= 1;
                self.has_failed = true;
                self.seen.failed.insert(operation);
                Err(failed())
            }
            Some(_) | None => Ok(()),
        }
    }

    fn begin_sync(&mut self, what: Synced, fails: bool, now_ms: u64) -> Option<(u64, u64)> {
        if self.is_stopped {
            return None;
        }
        let takes_ms = match self.faults.sync_ms {
            0 => 0,
            most_ms => self.chance.between(1, most_ms),
        };
        // A device takes one after the other.
        let busy_until_ms = self.syncs.last().map_or(0, |sync| sync.done_at_ms);
        let done_at_ms = busy_until_ms.max(now_ms + takes_ms);
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.syncs.push(Sync {
            ticket,
            what,
            begun_at_ms: now_ms,
            done_at_ms,
            fails,
            waiting: None,
        });
        Some((ticket, done_at_ms))
    }

    /// Lets the syncs take effect whose time has come.
    fn settle(&mut self, now_ms: u64) {
        while self.syncs_complete
            && self.syncs.first().is_some_and(|sync| sync.done_at_ms <= now_ms)
        {
            let sync = self.syncs.remove(0);
            self.slowest_sync_ms = self.slowest_sync_ms.max(now_ms - sync.begun_at_ms);
            if sync.fails {
                self.unsure_from_ms.get_or_insert(sync.begun_at_ms);
            }
            match sync.what {
                Synced::File { id, before } => {
                    if let Some(file) = self.files.get_mut(&id) {
                        if sync.fails {
                            file.sync_failed(before, &mut self.chance);
                        } else {
                            file.synced(before);
                        }
                    }
                }
                Synced::Folder { changes } if !sync.fails => {
                    self.folder.synced(changes);
                    for later in &mut self.syncs {
                        if let Synced::Folder { changes: known } = &mut later.what {
                            *known = known.saturating_sub(changes);
                        }
                    }
                }
                Synced::Folder { .. } => {}
            }
            if let Some(waiting) = sync.waiting {
                waiting.wake();
            }
        }
    }

    fn cut(&mut self, cut: Cut, now_ms: u64) {
        self.process += 1;
        self.see_cut(now_ms);
        self.syncs.clear();
        if std::mem::take(&mut self.is_stopped) {
            self.stop_at = None;
        }
        (self.has_failed, self.has_lost) = (false, false);
        (self.slowest_sync_ms, self.unsure_from_ms) = (0, None);
        match cut {
            Cut::Kill => {
                self.folder.process_ended(now_ms, &mut self.chance);
                for file in self.files.values_mut() {
                    self.has_lost |= file.process_ended(now_ms, &mut self.chance);
                }
            }
            Cut::Power => {
                let leftovers = [Leftover::Nothing, Leftover::Everything, Leftover::Some];
                let leftover = *self.chance.pick(&leftovers);
                self.folder.power_cut(leftover, &mut self.chance);
                for file in self.files.values_mut() {
                    self.has_lost |= file.power_cut(leftover, &mut self.chance);
                }
            }
        }
        self.uncover_rot();
        self.forget_nameless();
    }

    /// Nobody has a file open any more.
    fn forget_nameless(&mut self) {
        let folder = &self.folder;
        self.files.retain(|id, _| folder.knows(*id));
    }

    fn used_bytes(&self) -> u64 {
        self.files.values().map(|file| file.len() as u64).sum()
    }

    fn free_bytes(&self) -> u64 {
        match self.faults.capacity_bytes {
            0 => u64::MAX,
            capacity => capacity.saturating_sub(self.used_bytes()),
        }
    }
}

impl Disk for SimDisk {
    type File = SimFile;

    fn list(&self) -> impl Future<Output = io::Result<Vec<Listed>>> + 'static {
        let (failure, done_at_ms) = self.begin(Operation::List, "");
        let state = self.state.borrow();
        let length = |id| state.files.get(&id).map_or(0, |file| file.len() as u64);
        let listed: Vec<Listed> = state
            .folder
            .names()
            .map(|(name, id)| Listed { name: name.clone(), bytes: length(id) })
            .collect();
        self.at(done_at_ms, failure.map(|()| listed))
    }

    fn open(&self, name: &str) -> impl Future<Output = io::Result<SimFile>> + 'static {
        let (failure, done_at_ms) = self.begin(Operation::Open, name);
        let state = self.state.borrow();
        let found = state.folder.find(name).ok_or(io::Error::from(io::ErrorKind::NotFound));
        let process = state.process;
        let disk = self.clone();
        self.at(
            done_at_ms,
            failure.and(found).map(|id| SimFile { disk, id, name: name.into(), process }),
        )
    }

    fn create(&self, name: &str) -> impl Future<Output = io::Result<SimFile>> + 'static {
        let (failure, done_at_ms) = self.begin(Operation::Create, name);
        let mut state = self.state.borrow_mut();
        let made = match failure {
            Err(error) => Err(error),
            Ok(()) if state.folder.find(name).is_some() => Err(io::ErrorKind::AlreadyExists.into()),
            Ok(()) if state.free_bytes() == 0 => {
                state.seen.was_full = true;
                Err(io::ErrorKind::StorageFull.into())
            }
            Ok(()) => {
                let id = state.next_file;
                state.next_file += 1;
                state.files.insert(id, File::default());
                state.folder.create(name, id, done_at_ms);
                Ok(SimFile { disk: self.clone(), id, name: name.into(), process: state.process })
            }
        };
        self.at(done_at_ms, made)
    }

    fn rename(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>> + 'static {
        let (failure, done_at_ms) = self.begin(Operation::Rename, from);
        let mut state = self.state.borrow_mut();
        let found = state.folder.find(from).ok_or(io::Error::from(io::ErrorKind::NotFound));
        let renamed = failure.and(found).map(|id| state.folder.rename(from, to, id, done_at_ms));
        self.at(done_at_ms, renamed)
    }

    fn remove(&self, name: &str) -> impl Future<Output = io::Result<()>> + 'static {
        let (failure, done_at_ms) = self.begin(Operation::Remove, name);
        let mut state = self.state.borrow_mut();
        let found = state.folder.find(name).ok_or(io::Error::from(io::ErrorKind::NotFound));
        let removed = failure.and(found).map(|id| state.folder.remove(name, id, done_at_ms));
        self.at(done_at_ms, removed)
    }

    fn sync_folder(&self) -> impl Future<Output = io::Result<()>> + 'static {
        let (failure, _) = self.begin(Operation::SyncFolder, "");
        let changes = self.state.borrow().folder.told_by(self.clock.now_ms());
        self.synced(Synced::Folder { changes }, failure.is_err())
    }

    fn free_bytes(&self) -> impl Future<Output = io::Result<u64>> + 'static {
        let (failure, done_at_ms) = self.begin(Operation::FreeBytes, "");
        let free = self.state.borrow().free_bytes();
        self.at(done_at_ms, failure.map(|()| free))
    }
}

impl DiskFile for SimFile {
    fn read_at(
        &self,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = io::Result<Bytes>> + 'static {
        let (failure, done_at_ms) = self.disk.begin(Operation::Read, &self.name);
        let state = self.disk.state.borrow();
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let file = state.files.get(&self.id).filter(|_| self.is_of(&state));
        let read = match (failure, file) {
            (Err(error), _) => Err(error),
            (Ok(()), None) => Err(failed()),
            (Ok(()), Some(file)) => Ok(Bytes::copy_from_slice(file.read(offset, length))),
        };
        self.disk.at(done_at_ms, read)
    }

    fn write_at(
        &self,
        offset: u64,
        bytes: Bytes,
    ) -> impl Future<Output = io::Result<usize>> + 'static {
        let (failure, done_at_ms) = self.disk.begin(Operation::Write, &self.name);
        let written = failure.and_then(|()| self.write(offset, &bytes, done_at_ms));
        self.disk.at(done_at_ms, written)
    }

    fn sync(&self) -> impl Future<Output = io::Result<()>> + 'static {
        let (failure, _) = self.disk.begin(Operation::Sync, &self.name);
        let before = self.disk.state.borrow().next_write;
        self.disk.synced(Synced::File { id: self.id, before }, failure.is_err())
    }
}

impl SimFile {
    /// Whether the process that opened it still runs.
    fn is_of(&self, state: &State) -> bool {
        self.process == state.process
    }

    fn write(&self, offset: u64, bytes: &[u8], done_at_ms: u64) -> io::Result<usize> {
        let mut state = self.disk.state.borrow_mut();
        let free = state.free_bytes();
        let is_short = state.faults.short_writes > 0
            && bytes.len() > 1
            && (state.faults.short_writes == 1 || {
                let rarely = state.faults.short_writes;
                state.chance.one_in(rarely)
            });
        let mut most = bytes.len() as u64;
        if is_short {
            most = state.chance.between(1, most - 1);
        }
        let number = state.next_write;
        let is_of = self.is_of(&state);
        let Some(file) = state.files.get(&self.id).filter(|_| is_of) else {
            return Err(failed());
        };
        // What is there already takes no more space.
        let fits = (file.len() as u64).saturating_sub(offset).saturating_add(free);
        if fits == 0 && !bytes.is_empty() {
            state.seen.was_full = true;
            return Err(io::ErrorKind::StorageFull.into());
        }
        let most = usize::try_from(most.min(fits)).unwrap_or(bytes.len());
        let offset = usize::try_from(offset).map_err(|_| failed())?;
        state.cover_rot(self.id, &(offset..offset + most), number);
        if let Some(file) = state.files.get_mut(&self.id) {
            file.write(number, offset, &bytes[..most], done_at_ms);
        }
        state.next_write += 1;
        Ok(most)
    }
}
