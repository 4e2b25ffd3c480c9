//! Where files are: one folder of flat names, whose operations take their time.

use std::future::Future;
use std::io;

use bytes::Bytes;

/// A folder of files, and what of it survives which failure.
///
/// Every method begins its operation when it is called and returns a future of the outcome, which
/// owns what it needs: the caller may call the next operation before the last is done, and a future
/// that is dropped leaves an operation that may or may not take place. No method blocks.
///
/// What survives:
/// - **The end of the process** loses nothing whose future was done. An operation under way may take
///   place wholly, in part (of a write: any subset of its sectors) or not at all.
/// - **A power cut** also loses what was not synced: of writes since the last [`DiskFile::sync`] of
///   their file, any subset of their sectors survives, in any order; of `create`, `rename` and
///   `remove` since the last [`Disk::sync_folder`], any subset. A file may be there under its new
///   name with data that was not synced missing (shorter, or zeros).
/// - **A sync that failed** says nothing about any write since the last one that succeeded, and a
///   later sync says nothing about them either. Whoever gets this error must not trust the file.
///
/// Errors are the operating system's. The two that callers tell apart: [`io::ErrorKind::StorageFull`]
/// (also for an exceeded quota), and [`io::ErrorKind::NotFound`].
pub trait Disk: Clone + 'static {
    /// An open file.
    type File: DiskFile;

    /// The files there are, in no particular order.
    fn list(&self) -> impl Future<Output = io::Result<Vec<Listed>>> + 'static;

    /// Opens a file that exists, for reading and writing.
    fn open(&self, name: &str) -> impl Future<Output = io::Result<Self::File>> + 'static;

    /// Makes a new, empty file and opens it for reading and writing; one that exists is an error
    /// ([`io::ErrorKind::AlreadyExists`]).
    fn create(&self, name: &str) -> impl Future<Output = io::Result<Self::File>> + 'static;

    /// Gives a file another name, atomically; a file of that name is replaced. Open files stay open.
    fn rename(&self, from: &str, to: &str) -> impl Future<Output = io::Result<()>> + 'static;

    /// Removes a file. Its space is free once nobody has it open.
    fn remove(&self, name: &str) -> impl Future<Output = io::Result<()>> + 'static;

    /// Makes every `create`, `rename` and `remove` whose future was done durable.
    fn sync_folder(&self) -> impl Future<Output = io::Result<()>> + 'static;

    /// How many bytes may still be written into new files, about.
    fn free_bytes(&self) -> impl Future<Output = io::Result<u64>> + 'static;
}

/// An open file.
///
/// Operations on one file take effect in the order in which they were called, whether or not
/// their futures are polled. Clones are the same file.
pub trait DiskFile: Clone + 'static {
    /// Reads `length` bytes from `offset` on. Fewer, or none, only where the file ends.
    fn read_at(
        &self,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = io::Result<Bytes>> + 'static;

    /// Writes `bytes` at `offset`, over what is there or behind it, and says how many of them it
    /// wrote: at least one, not always all. Bytes never written before the end of the file are zero.
    fn write_at(
        &self,
        offset: u64,
        bytes: Bytes,
    ) -> impl Future<Output = io::Result<usize>> + 'static;

    /// Makes durable what was written before this call, with as much of the file's length as it takes
    /// to read that again. Its name is [`Disk::sync_folder`]'s matter.
    fn sync(&self) -> impl Future<Output = io::Result<()>> + 'static;

    /// [`DiskFile::write_at`] and [`DiskFile::sync`] in one: done when what it says it wrote is durable. Who writes
    /// and syncs with one thread needs to tell of it once. An error of the sync is a [`SyncFailed`] inside.
    fn write_synced(
        &self,
        offset: u64,
        bytes: Bytes,
    ) -> impl Future<Output = io::Result<usize>> + 'static {
        let (written, synced) = (self.write_at(offset, bytes), self.sync());
        async move {
            let length = written.await?;
            synced.await.map_err(SyncFailed::within)?;
            Ok(length)
        }
    }
}

/// Within an [`io::Error`], that it was a sync that failed, where it could have been a write as well.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SyncFailed(io::Error);

impl SyncFailed {
    /// The error of a sync as one that says so; its kind stays.
    #[must_use]
    pub fn within(error: io::Error) -> io::Error {
        io::Error::new(error.kind(), SyncFailed(error))
    }
}

/// A file in the folder.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Listed {
    /// Its name.
    pub name: String,
    /// Its length.
    pub bytes: u64,
}
