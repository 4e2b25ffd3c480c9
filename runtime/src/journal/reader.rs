//! Reads a file of the store, frame by frame.

use bytes::{Buf, Bytes, BytesMut};

use super::error::{Damage, StoreError};
use super::file::{BLOCK_BYTES, FileHeader, FileName, HeaderFault};
use super::frame::{ALIGNMENT, HEADER_BYTES, Header};
use crate::seams::{Disk, DiskFile};

/// How much is read at once.
const CHUNK_BYTES: usize = 1024 * 1024;
/// The same where the simulator wants little.
const SMALL_CHUNK_BYTES: usize = 4096;

/// A frame with its checksum right.
#[derive(Clone, Debug)]
pub(super) struct Frame {
    /// Where it begins.
    pub(super) offset: u64,
    pub(super) header: Header,
    /// Its records.
    pub(super) body: Bytes,
}

impl Frame {
    /// Where the next one begins.
    pub(super) fn end(&self) -> u64 {
        self.offset + self.header.frame_bytes()
    }

    /// Whether all its records come before a position: a snapshot may cover the beginning of the
    /// segment with its number.
    pub(super) fn is_before(&self, position: u64) -> bool {
        self.header.first.0 < position && self.next_position() <= position
    }

    /// The position after its last record.
    pub(super) fn next_position(&self) -> u64 {
        self.header.first.0 + u64::from(self.header.records)
    }
}

/// A file that is being read.
#[derive(Debug)]
pub(super) struct FrameReader<F> {
    name: FileName,
    file: F,
    header: FileHeader,
    /// Where `buffer` begins.
    offset: u64,
    buffer: Bytes,
    /// Nothing is behind the buffer.
    is_read: bool,
    chunk_bytes: usize,
}

impl<F: DiskFile> FrameReader<F> {
    /// Opens a file and reads its first block.
    pub(super) async fn open<D: Disk<File = F>>(
        disk: &D,
        name: FileName,
    ) -> Result<Self, StoreError> {
        let file = disk.open(&name.to_string()).await.map_err(|source| {
            let file = name.to_string();
            if source.kind() == std::io::ErrorKind::NotFound {
                StoreError::Missing { file }
            } else {
                StoreError::Disk { doing: "cannot open", file, source }
            }
        })?;
        let block = file
            .read_at(0, BLOCK_BYTES as usize)
            .await
            .map_err(StoreError::disk("cannot read", name))?;
        let damaged =
            StoreError::Damaged { file: name.to_string(), offset: 0, what: Damage::Header };
        let header = match FileHeader::from_block(&block) {
            Ok(header) => header,
            Err(HeaderFault::Damaged) => return Err(damaged),
            Err(HeaderFault::Newer(version)) => {
                return Err(StoreError::Newer { file: name.to_string(), version });
            }
        };
        let named = match name {
            FileName::Segment(number) | FileName::Snapshot(number) => Some(number),
            FileName::Unfinished(_) => None,
        };
        if named.is_some_and(|number| number != header.number) {
            return Err(damaged);
        }
        let buffer = Bytes::new();
        Ok(FrameReader {
            name,
            file,
            header,
            offset: BLOCK_BYTES,
            buffer,
            is_read: false,
            chunk_bytes: if sim_point!(ReadSmall) { SMALL_CHUNK_BYTES } else { CHUNK_BYTES },
        })
    }

    pub(super) fn name(&self) -> FileName {
        self.name
    }

    pub(super) fn header(&self) -> &FileHeader {
        &self.header
    }

    /// Where the next frame is looked for.
    pub(super) fn offset(&self) -> u64 {
        self.offset
    }

    /// Reads so much at once.
    pub(super) fn set_chunk(&mut self, bytes: usize) {
        self.chunk_bytes = bytes;
    }

    /// Goes on reading at `offset`.
    pub(super) fn go_to(&mut self, offset: u64) {
        self.offset = offset;
        self.buffer = Bytes::new();
        self.is_read = false;
    }

    /// What stands at this place as a frame's header, whether or not the frame is intact.
    pub(super) async fn header_here(&mut self) -> Result<Option<Header>, StoreError> {
        self.fill(HEADER_BYTES).await?;
        Ok(Header::read(&self.buffer))
    }

    /// Whether nothing was ever written where the next frame's header would be.
    pub(super) async fn is_blank_here(&mut self) -> Result<bool, StoreError> {
        self.fill(HEADER_BYTES).await?;
        Ok(self.buffer.iter().take(HEADER_BYTES).all(|byte| *byte == 0))
    }

    /// The frame at this place; `None` if there is none that is intact.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, StoreError> {
        let frame = self.here().await?;
        if let Some(frame) = &frame {
            self.skip(frame.header.frame_bytes());
        }
        Ok(frame)
    }

    /// Looks for the next frame that begins at this place or within the next `within` bytes and
    /// whose first position is `from` or higher.
    pub(super) async fn seek(
        &mut self,
        from: u64,
        within: u64,
    ) -> Result<Option<Frame>, StoreError> {
        let end = self.offset.saturating_add(within);
        while self.offset < end {
            if self.buffer.len() < HEADER_BYTES && !self.fill(HEADER_BYTES).await? {
                break;
            }
            let (skipped, found) = find_header(&self.buffer, from);
            self.skip(skipped);
            if found {
                if let Some(frame) = self.next().await? {
                    return Ok(Some(frame));
                }
                self.skip(ALIGNMENT);
            }
        }
        Ok(None)
    }

    async fn here(&mut self) -> Result<Option<Frame>, StoreError> {
        if !self.fill(HEADER_BYTES).await? {
            return Ok(None);
        }
        let Some(header) = Header::read(&self.buffer) else { return Ok(None) };
        // A length that is wrong may be anything; what is read for it is given back at once.
        let Ok(length) = usize::try_from(header.frame_bytes()) else { return Ok(None) };
        if !self.fill(length).await? || !header.is_intact(self.header.salt, &self.buffer) {
            return Ok(None);
        }
        let body = self.buffer.slice(HEADER_BYTES..HEADER_BYTES + header.body_bytes as usize);
        Ok(Some(Frame { offset: self.offset, header, body }))
    }

    fn skip(&mut self, bytes: u64) {
        self.offset += bytes;
        self.buffer.advance(self.buffer.len().min(usize::try_from(bytes).unwrap_or(usize::MAX)));
    }

    /// Sees to it that so many bytes are in the buffer. False if the file has not as many.
    async fn fill(&mut self, wanted: usize) -> Result<bool, StoreError> {
        while self.buffer.len() < wanted && !self.is_read {
            let at = self.offset + self.buffer.len() as u64;
            // As much again at most: a length that is wrong must not cost memory at once.
            let length = self.chunk_bytes.max(self.buffer.len());
            let more = self
                .file
                .read_at(at, length)
                .await
                .map_err(StoreError::disk("cannot read", self.name))?;
            self.is_read = more.len() < length;
            if self.buffer.is_empty() {
                self.buffer = more;
            } else {
                let mut joined = BytesMut::with_capacity(self.buffer.len() + more.len());
                joined.extend_from_slice(&self.buffer);
                joined.extend_from_slice(&more);
                self.buffer = joined.freeze();
            }
        }
        Ok(self.buffer.len() >= wanted)
    }
}

/// How far it is in `bytes` to what may be the header of a frame whose first position is `from` or
/// higher, and whether there is one; if not, how many bytes need not be looked at again.
fn find_header(bytes: &[u8], from: u64) -> (u64, bool) {
    const ZEROS: &[u8] = &[0; 4_096];
    let step = ALIGNMENT as usize;
    let mut at = 0;
    while let Some(header) = bytes.get(at..at + HEADER_BYTES) {
        // Most of what is looked at was never written.
        if bytes.get(at..at + ZEROS.len()) == Some(ZEROS) {
            at += ZEROS.len() - HEADER_BYTES;
        } else if Header::read(header).is_some_and(|header| header.first.0 >= from) {
            return (at as u64, true);
        }
        at += step;
    }
    (at as u64, false)
}
