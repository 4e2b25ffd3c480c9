//! A disk that counts what is passed to it, and the syncs that are really made.

use std::future::Future;
use std::io;
use std::os::fd::BorrowedFd;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

use bytes::Bytes;
use signalhouse::seams::{Disk, DiskFile, FolderDisk, Listed};

/// Shorter writes of zeros are not the filling of a new file.
const FILLING_BYTES: usize = 16 * 1024;

/// A folder, and a tally of what was written into it.
#[derive(Clone, Debug)]
pub(crate) struct CountingDisk {
    folder: FolderDisk,
    tally: Arc<Mutex<Tally>>,
}

/// What was written.
#[derive(Clone, Debug, Default)]
pub(crate) struct Tally {
    /// Bytes, the first filling of files with zeros apart.
    pub(crate) bytes: u64,
    /// Bytes of that filling.
    pub(crate) filling_bytes: u64,
    /// Bytes written before each sync, and after the one before.
    pub(crate) batches: Vec<u64>,
}

/// Bytes written since the last sync of the process.
static UNSYNCED_BYTES: AtomicU64 = AtomicU64::new(0);
static BATCHES: Mutex<Vec<u64>> = Mutex::new(Vec::new());
/// How many microseconds each sync of the process takes longer than the disk.
static SYNC_DELAY_US: AtomicU64 = AtomicU64::new(0);

/// Makes the disk slower: every sync from now on, the bare disk's too, takes so much longer.
pub(crate) fn delay_syncs_us(delay_us: u64) {
    SYNC_DELAY_US.store(delay_us, Ordering::Relaxed);
}

/// Takes the place of the C library's, to count, for the disk's threads make one sync of several that were asked
/// for meanwhile; and to be as slow as a slower disk.
///
/// # Safety
/// `file` is an open file, as for the C library's.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fdatasync(file: i32) -> i32 {
    let delay_us = SYNC_DELAY_US.load(Ordering::Relaxed);
    if delay_us > 0 {
        thread::sleep(Duration::from_micros(delay_us));
    }
    let bytes = UNSYNCED_BYTES.swap(0, Ordering::Relaxed);
    if bytes > 0 {
        BATCHES.lock().unwrap_or_else(PoisonError::into_inner).push(bytes);
    }
    // SAFETY: the caller promises that the file is open.
    let file = unsafe { BorrowedFd::borrow_raw(file) };
    match rustix::fs::fdatasync(file) {
        Ok(()) => 0,
        // Not the C library's errno, which nobody here reads: a failed sync ends the run.
        Err(_) => -1,
    }
}

impl CountingDisk {
    pub(crate) fn new(folder: FolderDisk) -> Self {
        CountingDisk { folder, tally: Arc::default() }
    }

    /// What was counted since the last call.
    pub(crate) fn take(&self) -> Tally {
        let batches = std::mem::take(&mut *BATCHES.lock().unwrap_or_else(PoisonError::into_inner));
        UNSYNCED_BYTES.store(0, Ordering::Relaxed);
        Tally { batches, ..std::mem::take(&mut *self.tally()) }
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn count(&self, bytes: &[u8]) {
        let count = bytes.len() as u64;
        let is_filling = bytes.len() >= FILLING_BYTES && bytes.iter().all(|byte| *byte == 0);
        let mut tally = self.tally();
        if is_filling {
            tally.filling_bytes += count;
        } else {
            tally.bytes += count;
            UNSYNCED_BYTES.fetch_add(count, Ordering::Relaxed);
        }
    }

    fn file(&self, file: <FolderDisk as Disk>::File) -> CountingFile {
        CountingFile { file, disk: self.clone() }
    }
}

impl Disk for CountingDisk {
    type File = CountingFile;

    fn list(&self) -> impl Future<Output = io::Result<Vec<Listed>>> + 'static {
        self.folder.list()
    }

    fn open(&self, name: &str) -> impl Future<Output = io::Result<CountingFile>> + 'static {
        let (opened, this) = (self.folder.open(name), self.clone());
        async move { Ok(this.file(opened.await?)) }
    }

    fn create(&self, name: &str) -> impl Future<Output = io::Result<CountingFile>> + 'static {
        let (created, this) = (self.folder.create(name), self.clone());
        async move { Ok(this.file(created.await?)) }
    }

    fn rename(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>> + 'static {
        self.folder.rename(from, to)
    }

    fn remove(&self, name: &str) -> impl Future<Output = io::Result<()>> + 'static {
        self.folder.remove(name)
    }

    fn sync_folder(&self) -> impl Future<Output = io::Result<()>> + 'static {
        self.folder.sync_folder()
    }

    fn free_bytes(&self) -> impl Future<Output = io::Result<u64>> + 'static {
        self.folder.free_bytes()
    }
}

/// A file of a [`CountingDisk`].
#[derive(Clone, Debug)]
pub(crate) struct CountingFile {
    file: <FolderDisk as Disk>::File,
    disk: CountingDisk,
}

impl DiskFile for CountingFile {
    fn read_at(
        &self,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = io::Result<Bytes>> + 'static {
        self.file.read_at(offset, length)
    }

    fn write_at(
        &self,
        offset: u64,
        bytes: Bytes,
    ) -> impl Future<Output = io::Result<usize>> + 'static {
        self.disk.count(&bytes);
        self.file.write_at(offset, bytes)
    }

    fn write_synced(
        &self,
        offset: u64,
        bytes: Bytes,
    ) -> impl Future<Output = io::Result<usize>> + 'static {
        self.disk.count(&bytes);
        self.file.write_synced(offset, bytes)
    }

    fn sync(&self) -> impl Future<Output = io::Result<()>> + 'static {
        self.file.sync()
    }
}
