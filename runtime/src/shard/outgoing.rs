//! What is on its way to one client: its writer, its buffer, and the room left in it.

use bytes::{Buf, BytesMut};
use signalhouse_core::wire::packet::{Connect, ServerPacket};
use signalhouse_core::wire::types::Version;
use signalhouse_core::wire::{Writer, Written};

/// Buffers up to this size stay with an idle connection.
const KEPT_BYTES: usize = 1024;

#[derive(Debug)]
pub(crate) struct Outgoing {
    writer: Writer,
    buffer: BytesMut,
    limit_bytes: usize,
    /// At most what the broker believes is free.
    believed_room: usize,
    room_is_announced: bool,
    negotiated: bool,
    written_bytes: u64,
}

impl Outgoing {
    pub(crate) fn new(limit_bytes: u32) -> Self {
        let limit_bytes = limit_bytes as usize;
        Outgoing {
            writer: Writer::new(),
            buffer: BytesMut::new(),
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
    pub(crate) fn write(&mut self, packet: &ServerPacket) -> Written {
        let written = self.writer.write(packet, &mut self.buffer);
        if let (ServerPacket::Publish(publish), Written::Whole(bytes)) = (packet, written) {
            // The broker counts without aliases, so it may have taken off the topic's length more.
            // Taking off too much here only means that it is told of room a little earlier.
            let topic = publish.message.topic.as_text().len();
            let bytes = bytes + topic + Writer::ALIAS_BYTES;
            self.believed_room = self.believed_room.saturating_sub(bytes);
        }
        written
    }

    /// What is to be written next.
    pub(crate) fn bytes(&self) -> &[u8] {
        &self.buffer
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Takes off what was written.
    pub(crate) fn advance(&mut self, bytes: usize) {
        self.buffer.advance(bytes);
        self.written_bytes += bytes as u64;
        if self.buffer.is_empty() {
            if self.buffer.capacity() > KEPT_BYTES {
                self.buffer = BytesMut::new();
            } else {
                self.buffer.clear();
            }
        }
    }

    /// How much was ever written, to see progress by.
    pub(crate) fn written_bytes(&self) -> u64 {
        self.written_bytes
    }

    /// Whether so much waits that the client's own packets, and so the answers to them, must wait.
    pub(crate) fn is_over(&self) -> bool {
        self.buffer.len() > 2 * self.limit_bytes
    }

    /// Whether the broker is to be told of room. Says so once until it was told.
    pub(crate) fn announces_room(&mut self) -> bool {
        let half = self.limit_bytes / 2;
        let announces =
            !self.room_is_announced && self.believed_room < half && self.buffer.len() <= half;
        self.room_is_announced |= announces;
        announces
    }

    /// The room to tell the broker, now.
    pub(crate) fn tell_room(&mut self) -> u32 {
        self.room_is_announced = false;
        self.believed_room = self.limit_bytes.saturating_sub(self.buffer.len());
        u32::try_from(self.believed_room).unwrap_or(u32::MAX)
    }
}
