//! The bytes that connections are sent, as the runtime writes them.

use std::collections::BTreeMap;

use bytes::BytesMut;
use signalhouse_core::ConnectionId;
use signalhouse_core::wire::packet::{ClientPacket, ServerPacket};
use signalhouse_core::wire::{ClientReader, LastPublish, ReaderLimits, Writer, Written};

/// What every connection is written with, and what they share.
#[derive(Debug, Default)]
pub(super) struct Wires {
    lines: BTreeMap<ConnectionId, Line>,
    last: LastPublish,
}

#[derive(Debug)]
struct Line {
    /// Writes each packet by itself.
    alone: Writer,
    /// Takes from others what was written already.
    alike: Writer,
    client: ClientReader,
}

impl Wires {
    /// The client sends `packet`; its first CONNECT says how it wants to be written to.
    pub(super) fn sends(
        &mut self,
        connection: ConnectionId,
        packet: &ClientPacket,
        alias_maximum: u16,
    ) {
        let ClientPacket::Connect(connect) = packet else { return };
        self.lines.entry(connection).or_insert_with(|| {
            let mut alone = Writer::new();
            alone.negotiate(connect, alias_maximum);
            let mut alike = Writer::new();
            alike.negotiate(connect, alias_maximum);
            let topic_alias_maximum = connect.topic_alias_maximum;
            let maximum_packet_size_bytes = connect.maximum_packet_size_bytes.unwrap_or(u32::MAX);
            let limits = ReaderLimits {
                maximum_packet_size_bytes,
                topic_alias_maximum,
                ..ReaderLimits::default()
            };
            Line { alone, alike, client: ClientReader::new(connect.version, limits) }
        });
    }

    pub(super) fn closed(&mut self, connection: ConnectionId) {
        self.lines.remove(&connection);
    }

    /// The client is sent `packet`.
    ///
    /// # Panics
    /// If its bytes depend on what others were sent, or the client cannot read them.
    pub(super) fn receives(&mut self, connection: ConnectionId, packet: &ServerPacket) {
        let Some(line) = self.lines.get_mut(&connection) else { return };
        let mut bytes = BytesMut::new();
        let written = line.alone.write(packet, &mut bytes);
        if let ServerPacket::Publish(publish) = packet {
            let mut alike = BytesMut::new();
            assert_eq!(line.alike.write_alike(publish, &mut self.last, &mut alike), written);
            assert_eq!(alike, bytes, "{packet:?}");
        }
        match written {
            Written::Whole(length) => {
                assert_eq!(length, bytes.len(), "{packet:?}");
                let read = line.client.read(&mut bytes);
                assert!(matches!(read, Ok(Some(_))), "{read:?} of {packet:?}");
            }
            Written::DroppedTooLarge | Written::Nothing => {}
        }
        assert!(bytes.is_empty(), "{packet:?}");
    }
}
