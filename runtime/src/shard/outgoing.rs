//! What is on its way to one client: its writer, its buffer, and the room left in it.

use std::collections::VecDeque;
use std::io::IoSlice;

use bytes::{Buf, Bytes, BytesMut};
use signalhouse_core::wire::packet::{Connect, OutboundPublish, ServerPacket};
use signalhouse_core::wire::types::Version;
use signalhouse_core::wire::{LastPublish, Writer, Written};

/// Payloads from this size on go out from where they are, shared by all their receivers.
pub(crate) const SHARED_PAYLOAD_BYTES: usize = 4 * 1024;
/// Pieces that one system call takes.
const PIECES: usize = 16;

#[derive(Debug)]
pub(crate) struct Outgoing {
    writer: Writer,
    /// What goes before `buffer`: payloads, and the packets between them.
    pieces: VecDeque<Bytes>,
    /// What is written next, unless there are pieces. Owns no memory while nothing waits.
    buffer: BytesMut,
    /// In pieces and buffer together.
    waiting_bytes: usize,
    limit_bytes: usize,
    /// At most what the broker believes is free.
    believed_room: usize,
    room_is_announced: bool,
    negotiated: bool,
    written_bytes: u64,
}

/// What the connections of a shard share to write with.
#[derive(Debug, Default)]
pub(crate) struct Desk {
    /// Buffers of connections for which nothing waits, so that a busy shard does not ask for their memory at every
    /// round.
    spare: Vec<BytesMut>,
    spare_bytes: usize,
    last: LastPublish,
}

impl Desk {
    /// Larger buffers are not kept.
    const SPARE_BYTES: usize = 2 * Outgoing::EARLY_BYTES;
    /// Nor more than so many bytes in all.
    const SPARES_BYTES: usize = 32 * 1024 * 1024;

    /// Lets go of half of the spare buffers. Called now and then, it leaves a quiet shard none.
    pub(crate) fn tidy(&mut self) {
        let kept = self.spare.len() / 2;
        self.spare.truncate(kept);
        self.spare.shrink_to(kept);
        self.spare_bytes = self.spare.iter().map(BytesMut::capacity).sum();
    }

    fn buffer(&mut self) -> BytesMut {
        let buffer = self.spare.pop().unwrap_or_default();
        self.spare_bytes -= buffer.capacity();
        buffer
    }

    fn give_back(&mut self, mut buffer: BytesMut) {
        buffer.clear();
        let bytes = buffer.capacity();
        let is_worth_it = (1..=Self::SPARE_BYTES).contains(&bytes);
        if is_worth_it && self.spare_bytes + bytes <= Self::SPARES_BYTES {
            self.spare_bytes += bytes;
            self.spare.push(buffer);
        }
    }
}

impl Outgoing {
    /// So much is written before the round's end, or half of a smaller buffer: more would not make it cheaper.
    pub(crate) const EARLY_BYTES: usize = 32 * 1024;

    pub(crate) fn new(limit_bytes: u32) -> Self {
        let limit_bytes = limit_bytes as usize;
        Outgoing {
            writer: Writer::new(),
            pieces: VecDeque::new(),
            buffer: BytesMut::new(),
            waiting_bytes: 0,
            limit_bytes,
            believed_room: limit_bytes,
            room_is_announced: false,
            negotiated: false,
            written_bytes: 0,
        }
    }

    /// Settles version and limits by the connection's first CONNECT.
    pub(crate) fn negotiate(&mut self, connect: &Connect, topic_alias_maximum: u16) {
        if !self.negotiated {
            self.writer.negotiate(connect, topic_alias_maximum);
            self.negotiated = true;
        }
    }

    /// A version to refuse in, for a connection whose CONNECT could not be read.
    pub(crate) fn answer_in(&mut self, version: Version) {
        if !self.negotiated {
            self.writer.answer_in(version);
        }
    }

    /// Takes a packet, or says that it is too large for the client.
    pub(crate) fn write(&mut self, packet: &ServerPacket, desk: &mut Desk) -> Written {
        if self.buffer.capacity() == 0 {
            self.buffer = desk.buffer();
        }
        let written = if let ServerPacket::Publish(publish) = packet {
            self.write_publish(publish, desk)
        } else {
            self.writer.write(packet, &mut self.buffer)
        };
        if let Written::Whole(bytes) = written {
            self.waiting_bytes += bytes;
        }
        written
    }

    fn write_publish(&mut self, publish: &OutboundPublish, desk: &mut Desk) -> Written {
        let payload = &publish.message.payload;
        let written = if payload.len() < SHARED_PAYLOAD_BYTES {
            self.writer.write_alike(publish, &mut desk.last, &mut self.buffer)
        } else {
            let written = self.writer.write_head(publish, &mut self.buffer);
            if let Written::Whole(_) = written {
                self.pieces.push_back(std::mem::take(&mut self.buffer).freeze());
                self.pieces.push_back(payload.clone());
            }
            written
        };
        if let Written::Whole(bytes) = written {
            self.take_room(Outgoing::room_taken(publish, bytes));
        }
        written
    }

    /// At least what the broker takes off the room for a PUBLISH of so many bytes: it counts without aliases,
    /// so it may take off the topic's length more. Too much only means that it is told of room a
    /// little earlier.
    pub(crate) fn room_taken(publish: &OutboundPublish, bytes: usize) -> usize {
        bytes + publish.message.topic.as_text().len() + Writer::ALIAS_BYTES
    }

    /// The version, if a PUBLISH to this client depends on nothing else.
    pub(crate) fn plain_version(&self) -> Option<Version> {
        self.writer.plain_version()
    }

    /// Takes packets that others are sent too, of which `written` bytes are written already.
    pub(crate) fn take_shared(
        &mut self,
        bytes: &[u8],
        written: usize,
        room_bytes: usize,
        desk: &mut Desk,
    ) {
        let rest = &bytes[written..];
        if !rest.is_empty() {
            if self.buffer.capacity() == 0 {
                self.buffer = desk.buffer();
            }
            self.buffer.extend_from_slice(rest);
            self.waiting_bytes += rest.len();
        }
        self.written_bytes += written as u64;
        self.take_room(room_bytes);
    }

    fn take_room(&mut self, bytes: usize) {
        self.believed_room = self.believed_room.saturating_sub(bytes);
    }

    /// What is to be written next.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.pieces.front().map_or(&self.buffer, |piece| piece)
    }

    /// The same in several pieces, if there are several; `None` if [`Outgoing::bytes`] is all.
    pub(crate) fn slices(&self) -> Option<([IoSlice<'_>; PIECES], usize)> {
        if self.pieces.is_empty() {
            return None;
        }
        let mut slices = [IoSlice::new(&[]); PIECES];
        let all = self.pieces.iter().map(|piece| &piece[..]).chain([&self.buffer[..]]);
        let mut used = 0;
        for (slice, bytes) in slices.iter_mut().zip(all) {
            *slice = IoSlice::new(bytes);
            used += 1;
        }
        Some((slices, used))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting_bytes == 0
    }

    /// Whether so much waits that it is worth writing at once.
    pub(crate) fn is_worth_writing(&self) -> bool {
        self.waiting_bytes >= Self::EARLY_BYTES.min(self.limit_bytes / 2).max(1)
    }

    /// Takes off what was written.
    pub(crate) fn advance(&mut self, bytes: usize, desk: &mut Desk) {
        self.waiting_bytes -= bytes;
        self.written_bytes += bytes as u64;
        let mut left = bytes;
        while let Some(piece) = self.pieces.front_mut() {
            if piece.len() > left {
                piece.advance(left);
                return;
            }
            left -= piece.len();
            self.pieces.pop_front();
        }
        if self.waiting_bytes > 0 {
            self.buffer.advance(left);
        } else {
            self.pieces = VecDeque::new();
            desk.give_back(std::mem::take(&mut self.buffer));
        }
    }

    /// How much was ever written, to see progress by.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Whether so much waits that the client's own packets, and so the answers to them, must wait.
    pub(crate) fn is_over(&self) -> bool {
        self.waiting_bytes > 2 * self.limit_bytes
    }

    /// Whether nothing waits and the broker need not be told of room.
    pub(crate) fn is_settled(&self) -> bool {
        self.is_empty() && self.believed_room >= self.limit_bytes / 2
    }

    /// Whether the broker is to be told of room. Says so once until it was told.
    pub(crate) fn announces_room(&mut self) -> bool {
        let half = self.limit_bytes / 2;
        let announces =
            !self.room_is_announced && self.believed_room < half && self.waiting_bytes <= half;
        self.room_is_announced |= announces;
        announces && !canary!(RoomNotTold)
    }

    /// The room to tell the broker, now.
    pub(crate) fn tell_room(&mut self) -> u32 {
        self.room_is_announced = false;
        self.believed_room = self.limit_bytes.saturating_sub(self.waiting_bytes);
        u32::try_from(self.believed_room).unwrap_or(u32::MAX)
    }
}
