//! One connection as the broker's process has it: bytes to packets, packets to bytes, and the room
//! in between, as the runtime keeps them.

use bytes::{Bytes, BytesMut};
use signalhouse_core::wire::packet::{ClientPacket, Connect, ServerPacket};
use signalhouse_core::wire::types::{Text, Version};
use signalhouse_core::wire::{DecodeError, Reader, ReaderLimits, Writer, Written};
use signalhouse_core::{ConnectionId, input::Gone};

use crate::history::ConnectionNumber;

/// What a connection has for the broker.
#[derive(Debug)]
pub(super) enum Arrival {
    Opened,
    Packet(ClientPacket),
    Malformed(DecodeError, Option<Version>),
    Room,
    /// The client may come in, as whom it says it is.
    Admitted {
        identity: Option<Text>,
    },
    Closed(Gone),
}

/// How far a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// Packets go both ways.
    Open,
    /// Something that is no packet came, or the peer is gone: nothing more is read.
    Deaf,
    /// The broker is done with it: what is buffered goes out until this moment, then it ends.
    Closing { until_ms: u64 },
}

#[derive(Debug)]
pub(super) struct Connection {
    pub(super) id: ConnectionId,
    pub(super) number: ConnectionNumber,
    pub(super) phase: Phase,
    /// The broker has forgotten it.
    pub(super) broker_is_done: bool,
    /// How the peer went away, as far as it did.
    gone: Option<Gone>,
    gone_is_told: bool,
    reader: Reader,
    incoming: BytesMut,
    pub(super) outgoing: Outgoing,
}

impl Connection {
    pub(super) fn new(
        id: ConnectionId,
        number: ConnectionNumber,
        limits: ReaderLimits,
        outgoing_bytes: usize,
    ) -> Self {
        Connection {
            id,
            number,
            phase: Phase::Open,
            broker_is_done: false,
            gone: None,
            gone_is_told: false,
            reader: Reader::new(limits),
            incoming: BytesMut::new(),
            outgoing: Outgoing::new(outgoing_bytes),
        }
    }

    /// Takes bytes from the network.
    pub(super) fn receive(&mut self, bytes: &Bytes) {
        if self.phase == Phase::Open {
            self.incoming.extend_from_slice(bytes);
        }
    }

    /// The peer went away. In order, it is noticed behind all that it sent.
    pub(super) fn peer_is_gone(&mut self, how: Gone) {
        if how == Gone::Failed {
            self.incoming.clear();
        }
        self.gone.get_or_insert(how);
    }

    /// The next thing in what was read, unless the client's packets must wait for room to answer
    /// them in.
    pub(super) fn next_arrival(&mut self) -> Option<Arrival> {
        if self.phase == Phase::Open && self.gone != Some(Gone::Failed) {
            if self.outgoing.is_over() {
                return None;
            }
            match self.reader.read(&mut self.incoming) {
                Ok(Some(packet)) => return Some(Arrival::Packet(packet)),
                Ok(None) => {}
                Err(error) => {
                    self.phase = Phase::Deaf;
                    return Some(Arrival::Malformed(error, self.reader.answer_version()));
                }
            }
        }
        let cause = self.gone.filter(|_| !self.gone_is_told)?;
        self.gone_is_told = true;
        if self.phase == Phase::Open {
            self.phase = Phase::Deaf;
        }
        Some(Arrival::Closed(cause))
    }
}

/// What is on its way to one client.
#[derive(Debug)]
pub(super) struct Outgoing {
    writer: Writer,
    buffer: BytesMut,
    limit_bytes: usize,
    /// At most what the broker believes is free.
    believed_room: usize,
    room_is_announced: bool,
    is_negotiated: bool,
}

impl Outgoing {
    fn new(limit_bytes: usize) -> Self {
        Outgoing {
            writer: Writer::new(),
            buffer: BytesMut::new(),
            limit_bytes,
            believed_room: limit_bytes,
            room_is_announced: false,
            is_negotiated: false,
        }
    }

    /// Settles version and limits by the connection's first CONNECT.
    pub(super) fn negotiate(&mut self, connect: &Connect, topic_alias_maximum: u16) {
        if !self.is_negotiated {
            self.writer.negotiate(connect, topic_alias_maximum);
            self.is_negotiated = true;
        }
    }

    /// A version to refuse in, for a connection whose CONNECT could not be read.
    pub(super) fn answer_in(&mut self, version: Version) {
        if !self.is_negotiated {
            self.writer.answer_in(version);
        }
    }

    pub(super) fn write(&mut self, packet: &ServerPacket) -> Written {
        let written = self.writer.write(packet, &mut self.buffer);
        if let (ServerPacket::Publish(publish), Written::Whole(bytes)) = (packet, written) {
            let topic_bytes = publish.message.topic.as_text().len();
            let bytes = bytes + topic_bytes + Writer::ALIAS_BYTES;
            self.believed_room = self.believed_room.saturating_sub(bytes);
        }
        written
    }

    /// Takes out up to `room` bytes for the network.
    pub(super) fn take(&mut self, room: usize) -> Bytes {
        let bytes = room.min(self.buffer.len());
        self.buffer.split_to(bytes).freeze()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.buffer.is_empty()
    }

    /// Whether so much waits that the client's own packets, and so the answers to them, must wait.
    fn is_over(&self) -> bool {
        self.buffer.len() > 2 * self.limit_bytes
    }

    /// Whether the broker is to be told of room. Says so once until it was told.
    pub(super) fn announces_room(&mut self) -> bool {
        let half = self.limit_bytes / 2;
        let announces =
            !self.room_is_announced && self.believed_room < half && self.buffer.len() <= half;
        self.room_is_announced |= announces;
        announces
    }

    /// The room to tell the broker, now.
    pub(super) fn tell_room(&mut self) -> u32 {
        self.room_is_announced = false;
        self.believed_room = self.limit_bytes.saturating_sub(self.buffer.len());
        u32::try_from(self.believed_room).unwrap_or(u32::MAX)
    }
}
