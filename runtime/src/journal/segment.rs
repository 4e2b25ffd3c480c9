//! Makes segments: full of zeros and durable before the first frame goes in, so that a frame's sync
//! has nothing but the frame to make durable.

use std::io;

use bytes::Bytes;

use super::codec::FORMAT_VERSION;
use super::error::StoreError;
use super::file::{BLOCK_BYTES, ERASING, FileHeader, FileKind, FileName};
use super::walk::Layout;
use crate::seams::{Disk, DiskFile, SyncFailed};

/// The first segments are shorter, so that a small store is small.
const FIRST_BYTES: u64 = 4 * 1024 * 1024;
const ZEROS: &[u8] = &[0; 1024 * 1024];

/// A segment that frames can go in.
#[derive(Debug)]
pub(super) struct OpenSegment<F> {
    pub(super) file: F,
    pub(super) number: u64,
    pub(super) salt: u64,
    /// Its length.
    pub(super) bytes: u64,
    /// Where the next frame goes.
    pub(super) end: u64,
}

/// Values that no two files have in common.
#[derive(Clone, Debug)]
pub(super) struct Salts(pub(super) u64);

impl Salts {
    /// The next one. Any sequence without repetition would do; this is SplitMix64.
    pub(super) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut salt = self.0;
        salt = (salt ^ (salt >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        salt = (salt ^ (salt >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        salt ^ (salt >> 31)
    }
}

/// How long the segment `number` is, if the longest are `maximum` long.
pub(super) fn usual_bytes(number: u64, maximum: u64) -> u64 {
    let doublings = u32::try_from(number.saturating_sub(1)).unwrap_or(u32::MAX).min(20);
    maximum.min(FIRST_BYTES << doublings)
}

/// Makes the segment `number`, out of the obsolete one `again` if there is one of that length.
pub(super) async fn make<D: Disk>(
    disk: D,
    number: u64,
    bytes: u64,
    salt: u64,
    again: Option<u64>,
) -> io::Result<OpenSegment<D::File>> {
    let name = FileName::Segment(number);
    let header = FileHeader::new(FileKind::Segment { bytes }, number, salt);
    let (from, file) = match again {
        Some(old) => {
            // Nothing in it counts any more, so it may be changed before it has its new name.
            let from = FileName::Segment(old);
            let file = disk.open(&from.to_string()).await;
            (from, file.map_err(StoreError::disk("cannot open", from))?)
        }
        None => {
            let from = FileName::Unfinished(number);
            let file = new_file(&disk, from).await?;
            if let Err(error) = erase(&file, 0, bytes).await {
                // Its space is wanted more than ever.
                drop(disk.remove(&from.to_string()).await);
                return Err(StoreError::disk("cannot write", from)(error).into());
            }
            (from, file)
        }
    };
    let written = async {
        write_all(&file, 0, header.to_block()).await?;
        file.sync().await.map_err(SyncFailed::within)?;
        disk.rename(&from.to_string(), &name.to_string()).await?;
        disk.sync_folder().await.map_err(SyncFailed::within)
    };
    written.await.map_err(StoreError::disk("cannot make", name))?;
    Ok(OpenSegment { file, number, salt, bytes, end: BLOCK_BYTES })
}

/// A new file of that name; one left over from before is removed.
pub(super) async fn new_file<D: Disk>(disk: &D, name: FileName) -> Result<D::File, StoreError> {
    remove(disk, name).await?;
    disk.create(&name.to_string()).await.map_err(StoreError::disk("cannot create", name))
}

/// Removes a file if it is there.
pub(super) async fn remove<D: Disk>(disk: &D, name: FileName) -> Result<(), StoreError> {
    match disk.remove(&name.to_string()).await {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(StoreError::disk("cannot remove", name)(error))
        }
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Writes zeros.
async fn erase<F: DiskFile>(file: &F, mut from: u64, to: u64) -> io::Result<()> {
    while from < to {
        let length = (to - from).min(ZEROS.len() as u64);
        write_all(file, from, Bytes::from_static(&ZEROS[..length as usize])).await?;
        from += length;
    }
    Ok(())
}

/// Writes all of `bytes`.
pub(super) async fn write_all<F: DiskFile>(
    file: &F,
    mut offset: u64,
    mut bytes: Bytes,
) -> io::Result<()> {
    while !bytes.is_empty() {
        let half = bytes.len().div_ceil(2);
        let part = if sim_point!(WriteShort) { bytes.slice(..half) } else { bytes.clone() };
        let written = file.write_at(offset, part).await?;
        if written == 0 {
            return Err(io::ErrorKind::WriteZero.into());
        }
        offset += written as u64;
        bytes = bytes.split_off(written);
    }
    Ok(())
}

/// Writes what is there once more. After a failed sync a system may take what it has in memory for
/// written, though the disk has it not: only a new write makes the next sync write it.
async fn write_again<F: DiskFile>(file: &F, mut from: u64, to: u64) -> io::Result<()> {
    while from < to {
        let length = usize::try_from(to - from).unwrap_or(usize::MAX).min(ZEROS.len());
        let bytes = file.read_at(from, length).await?;
        if bytes.is_empty() {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let read = bytes.len() as u64;
        write_all(file, from, bytes).await?;
        from += read;
    }
    Ok(())
}

/// Makes sure that what was found is durable, and that what was cut cannot come back: new records
/// get the positions that it had.
pub(super) async fn settle<D: Disk>(
    disk: &D,
    layout: &mut Layout,
    salts: &mut Salts,
) -> Result<(), StoreError> {
    let tail = layout.tail;
    let erased_to = what_to_erase(layout);
    note_intent(disk, layout, erased_to.is_some()).await?;
    for (index, segment) in layout.segments.iter_mut().enumerate() {
        let name = FileName::Segment(segment.number);
        if index > tail && canary!(TailNotCut) {
            continue;
        }
        let file =
            disk.open(&name.to_string()).await.map_err(StoreError::disk("cannot open", name))?;
        let settled = async {
            for (_, from, to) in layout.unproven.iter().filter(|(of, ..)| *of == index) {
                write_again(&file, *from, *to).await?;
            }
            if index == tail {
                if let Some(to) = erased_to.filter(|_| !canary!(TailNotCut)) {
                    erase(&file, segment.end, to).await?;
                }
            } else if index > tail {
                // Whatever is in it: `relaxed` may have left frames anywhere.
                segment.salt = salts.next();
                segment.end = BLOCK_BYTES;
            }
            if index > tail {
                segment.version = FORMAT_VERSION;
                let kind = FileKind::Segment { bytes: segment.bytes };
                let header = FileHeader::new(kind, segment.number, segment.salt);
                write_all(&file, 0, header.to_block()).await?;
            }
            file.sync().await.map_err(SyncFailed::within)
        };
        settled.await.map_err(StoreError::disk("cannot settle", name))?;
    }
    // A name may have outlived a killed process without being durable.
    disk.sync_folder().await.map_err(StoreError::disk("cannot sync", "the data folder"))
}

/// How far the last segment has to be erased behind its end, if at all.
fn what_to_erase(layout: &Layout) -> Option<u64> {
    let tail = layout.segments.get(layout.tail)?;
    if layout.obsolete.iter().any(|(name, _)| *name == ERASING) {
        // How far it was to be is no longer seen.
        return Some(tail.bytes);
    }
    let stale = layout.stale.iter().filter(|(of, ..)| *of == layout.tail);
    stale.map(|(_, _, to)| tail.bytes.min(*to)).max()
}

/// From here on it is known what is under way, until it is surely on the disk.
async fn note_intent<D: Disk>(
    disk: &D,
    layout: &mut Layout,
    is_erasing: bool,
) -> Result<(), StoreError> {
    let last = layout.segments.get(layout.tail).filter(|_| layout.segments.len() > layout.tail + 1);
    let renewing = last.map(|last| FileName::renewing_behind(last.number));
    let names: Vec<FileName> = is_erasing.then_some(ERASING).into_iter().chain(renewing).collect();
    if names.is_empty() {
        return Ok(());
    }
    for name in names {
        if layout.obsolete.iter().any(|(known, _)| *known == name) {
            continue;
        }
        match disk.create(&name.to_string()).await {
            Ok(_) => layout.obsolete.push((name, 0)),
            // Then what fails as well may undo it.
            Err(error) if error.kind() == io::ErrorKind::StorageFull => {}
            Err(error) => return Err(StoreError::disk("cannot create", name)(error)),
        }
    }
    disk.sync_folder().await.map_err(StoreError::disk("cannot sync", "the data folder"))
}
