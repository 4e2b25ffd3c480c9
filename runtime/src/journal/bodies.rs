//! Reads messages back out of the files.

use std::collections::VecDeque;
use std::io;
use std::sync::Arc;

use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::record::Record;

use super::codec::decode_first;
use super::error::{Damage, StoreError};
use super::file::FileName;
use super::reader::FrameReader;
use super::walk::damaged;
use crate::seams::Disk;

/// How much is read at once for a few messages.
const CHUNK_BYTES: usize = 128 * 1024;

/// A message that is wanted, and from where on to look for it.
pub(super) type Wanted = (MessageId, FileName, u64);

/// Reads messages back, all of them.
pub(super) async fn read_back<D: Disk>(
    disk: D,
    mut wanted: Vec<Wanted>,
) -> io::Result<Vec<Arc<Message>>> {
    wanted.sort_unstable_by_key(|(message, ..)| *message);
    let mut found = Vec::with_capacity(wanted.len());
    let mut place: Option<(FileName, u64, Bodies<D>)> = None;
    for (id, file, offset) in wanted {
        // The next one is often just behind the last.
        let is_ahead = place.as_ref().is_some_and(|(name, from, bodies)| {
            *name == file && (*from == offset || bodies.offset() >= offset)
        });
        if !is_ahead {
            let mut bodies = Bodies::new(disk.clone(), vec![file]);
            bodies.begin_at = offset;
            bodies.chunk_bytes = Some(CHUNK_BYTES);
            place = Some((file, offset, bodies));
        }
        if let Some((_, _, bodies)) = &mut place {
            found.push(bodies.find(id).await?);
        }
    }
    Ok(found)
}

/// The messages of some files, in their order, which is that of their numbers.
pub(super) struct Bodies<D: Disk> {
    disk: D,
    files: VecDeque<FileName>,
    /// Where to begin in the first of them.
    begin_at: u64,
    chunk_bytes: Option<usize>,
    reader: Option<FrameReader<D::File>>,
    /// Messages of frames that were read and not yet asked for.
    read: VecDeque<Arc<Message>>,
    last: Option<Arc<Message>>,
}

impl<D: Disk> Bodies<D> {
    pub(super) fn new(disk: D, files: Vec<FileName>) -> Self {
        Bodies {
            disk,
            files: files.into(),
            begin_at: 0,
            chunk_bytes: None,
            reader: None,
            read: VecDeque::new(),
            last: None,
        }
    }

    fn offset(&self) -> u64 {
        self.reader.as_ref().map_or(0, FrameReader::offset)
    }

    /// The message with this number. Numbers must not fall from call to call.
    pub(super) async fn find(&mut self, id: MessageId) -> Result<Arc<Message>, StoreError> {
        if let Some(last) = self.last.as_ref().filter(|last| last.id == id) {
            return Ok(Arc::clone(last));
        }
        loop {
            while let Some(message) = self.read.pop_front() {
                if message.id == id {
                    self.last = Some(Arc::clone(&message));
                    return Ok(message);
                }
            }
            if !self.read_frame().await? {
                // The last file stays open; without any there is nothing to look for.
                let name = self.reader.as_ref().map_or(FileName::Segment(0), FrameReader::name);
                return Err(damaged(name, self.offset(), Damage::Message(id)));
            }
        }
    }

    /// Reads the next frame. False if there is none.
    async fn read_frame(&mut self) -> Result<bool, StoreError> {
        loop {
            if self.reader.is_none() {
                let Some(name) = self.files.pop_front() else { return Ok(false) };
                let mut reader = FrameReader::open(&self.disk, name).await?;
                if let Some(bytes) = self.chunk_bytes {
                    reader.set_chunk(bytes);
                }
                if self.begin_at > 0 {
                    reader.go_to(std::mem::take(&mut self.begin_at));
                }
                self.reader = Some(reader);
            }
            let Some(reader) = &mut self.reader else { continue };
            let Some(frame) = reader.next().await? else {
                if self.files.is_empty() {
                    return Ok(false);
                }
                self.reader = None;
                continue;
            };
            let mut rest = &frame.body[..];
            for _ in 0..frame.header.records {
                let (record, behind) = decode_first(rest)
                    .map_err(|error| damaged(reader.name(), frame.offset, error.into()))?;
                rest = behind;
                if let Record::Published { message, .. } = record {
                    self.read.push_back(message);
                }
            }
            return Ok(true);
        }
    }
}
