//! Makes a store of an exported file: wholly, or nothing is left of the attempt.

use std::io;

use bytes::Bytes;

use super::{EXPORT, Replay, found, rename, store_file, sync_names};
use crate::journal::error::{Damage, StoreError};
use crate::journal::file::{FileName, IMPORT};
use crate::journal::open::Found;
use crate::journal::segment::{make, new_file, remove, usual_bytes, write_all};
use crate::journal::walk::walk_snapshot;
use crate::seams::{Disk, DiskFile};

const SNAPSHOT: FileName = FileName::Snapshot(EXPORT);
const SEGMENT: FileName = FileName::Segment(EXPORT);

/// Why nothing was imported. What is said of a file is of that which was to be imported.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// There is a store already.
    #[error("there is a store already: {file}")]
    Occupied {
        /// One of its files.
        file: String,
    },
    /// The file cannot be read.
    #[error("cannot read what is to be imported: {0}")]
    Source(#[source] io::Error),
    /// The file is something else, was cut short or was changed.
    #[error("not a whole export: at offset {offset}, {what}")]
    NotAnExport {
        /// Where in it.
        offset: u64,
        /// What is wrong.
        what: Damage,
    },
    /// More is in the file than an export.
    #[error("not an export alone: it goes on behind its end at offset {offset}")]
    TooLong {
        /// Where the export ends.
        offset: u64,
    },
    /// A newer version of the program wrote the file.
    #[error("has format version {version}, which is newer than this program; use a newer one")]
    Newer {
        /// Its version.
        version: u32,
    },
    /// The store cannot be made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Whether an import on `disk` was ended before it was done.
///
/// # Errors
/// [`StoreError`] if the folder cannot be read.
pub async fn is_importing<D: Disk>(disk: &D) -> Result<bool, StoreError> {
    let files = disk.list().await.map_err(StoreError::disk("cannot list", "the data folder"))?;
    Ok(files.iter().any(|file| FileName::parse(&file.name) == Some(IMPORT)))
}

/// Makes a store on `disk` of an exported file, which is given in pieces. After an error nothing is
/// left of it; what an earlier attempt left that was ended in the middle is taken away first. Until it is
/// done, no broker starts on what there is of it.
///
/// # Errors
/// [`ImportError`] if there is a store already, the file is not a whole export, or the disk fails.
pub async fn import<D: Disk>(
    disk: &D,
    pieces: impl Iterator<Item = io::Result<Bytes>>,
    segment_bytes: u64,
    salt: u64,
) -> Result<Found, ImportError> {
    if is_importing(disk).await? {
        take_away(disk).await?;
    }
    if let Some(file) = store_file(disk).await? {
        return Err(ImportError::Occupied { file });
    }
    let imported = make_store(disk, pieces, segment_bytes, salt).await;
    if imported.is_err() {
        // On a disk that fails there may be no way to; why it was not imported is what counts.
        drop(take_away(disk).await);
    }
    imported
}

/// Removes what an attempt left: last that which says that the rest does not count.
async fn take_away<D: Disk>(disk: &D) -> Result<(), StoreError> {
    for name in [SNAPSHOT, SEGMENT, FileName::Unfinished(EXPORT)] {
        remove(disk, name).await?;
    }
    sync_names(disk).await?;
    remove(disk, IMPORT).await?;
    sync_names(disk).await
}

async fn make_store<D: Disk>(
    disk: &D,
    pieces: impl Iterator<Item = io::Result<Bytes>>,
    segment_bytes: u64,
    salt: u64,
) -> Result<Found, ImportError> {
    let file = new_file(disk, IMPORT).await?;
    // No other file may be there without it.
    sync_names(disk).await?;
    let mut bytes = 0;
    for piece in pieces {
        let piece = piece.map_err(ImportError::Source)?;
        let length = piece.len() as u64;
        let written = write_all(&file, bytes, piece).await;
        written.map_err(StoreError::disk("cannot write", IMPORT))?;
        bytes += length;
    }
    file.sync().await.map_err(StoreError::disk("cannot sync", IMPORT))?;
    // Read before it has its name: what is not whole is never a store's.
    let mut replay = Replay::without_messages();
    let walked = walk_snapshot(disk, IMPORT, EXPORT, &mut replay).await;
    let (layout, end) = walked.map_err(|error| match error {
        StoreError::Damaged { offset, what, .. } => ImportError::NotAnExport { offset, what },
        StoreError::Newer { version, .. } => ImportError::Newer { version },
        StoreError::Disk { .. } | StoreError::Missing { .. } | StoreError::Importing => {
            ImportError::Store(error)
        }
    })?;
    if end < bytes {
        return Err(ImportError::TooLong { offset: end });
    }
    let segment = make(disk.clone(), EXPORT, usual_bytes(EXPORT, segment_bytes), salt, None).await;
    segment.map_err(StoreError::disk("cannot make", SEGMENT))?;
    rename(disk, &IMPORT.to_string(), &SNAPSHOT.to_string()).await?;
    sync_names(disk).await?;
    Ok(found(&layout, &replay.recovery))
}
