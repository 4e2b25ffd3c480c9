//! A disk that counts what is passed to it.

use std::future::Future;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    unsynced: u64,
}

impl CountingDisk {
    pub(crate) fn new(folder: FolderDisk) -> Self {
        CountingDisk { folder, tally: Arc::default() }
    }

    /// What was counted since the last call.
    pub(crate) fn take(&self) -> Tally {
        std::mem::take(&mut *self.tally())
    }

    fn tally(&self) -> MutexGuard<'_, Tally> {
        self.tally.lock().unwrap_or_else(PoisonError::into_inner)
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
        let count = bytes.len() as u64;
        let is_filling = bytes.len() >= FILLING_BYTES && bytes.iter().all(|byte| *byte == 0);
        let mut tally = self.disk.tally();
        if is_filling {
            tally.filling_bytes += count;
        } else {
            tally.bytes += count;
            tally.unsynced += count;
        }
        self.file.write_at(offset, bytes)
    }

    fn sync(&self) -> impl Future<Output = io::Result<()>> + 'static {
        let mut tally = self.disk.tally();
        let bytes = std::mem::take(&mut tally.unsynced);
        if bytes > 0 {
            tally.batches.push(bytes);
        }
        self.file.sync()
    }
}
