//! The two ends of a connection's bytes: every packet of a transcript goes through the codec.

use bytes::{Bytes, BytesMut};
use signalhouse_core::Config;
use signalhouse_core::routing::topic::TopicError;
use signalhouse_core::wire::frame::PacketType;
use signalhouse_core::wire::packet::{ClientPacket, ServerPacket};
use signalhouse_core::wire::types::{TextError, Version};
use signalhouse_core::wire::{
    ClientReader, DecodeError, Reader, ReaderLimits, Writer, Written, encode_client,
};

/// Both ends of one connection.
pub(crate) struct Edge {
    reader: Reader,
    writer: Writer,
    client: ClientReader,
    version: Version,
    alias_outbound_maximum: u16,
    /// The packet that last went either way.
    pub(crate) last_bytes: Bytes,
}

/// What the broker's end makes of a packet.
pub(crate) enum Arrived {
    /// The packet as it was read.
    Packet(ClientPacket),
    /// Why it was not read, and the version of a refusal.
    Fault(DecodeError, Option<Version>),
}

impl Edge {
    /// The ends of a new connection.
    pub(crate) fn new(config: &Config) -> Self {
        Edge {
            reader: Reader::new(ReaderLimits {
                maximum_packet_size_bytes: config.limits.maximum_packet_size_bytes,
                topic_alias_maximum: config.limits.topic_alias_maximum,
                connect_maximum_bytes: config.limits.maximum_packet_size_bytes,
            }),
            writer: Writer::new(),
            client: ClientReader::new(Version::V5, ReaderLimits::default()),
            version: Version::V5,
            alias_outbound_maximum: config.limits.topic_alias_outbound_maximum,
            last_bytes: Bytes::new(),
        }
    }

    /// Sends a packet from the client to the broker.
    pub(crate) fn arrive(&mut self, packet: &ClientPacket) -> Result<Arrived, String> {
        if let ClientPacket::Connect(connect) = packet {
            self.version = connect.version;
            let limits = ReaderLimits {
                topic_alias_maximum: connect.topic_alias_maximum,
                ..ReaderLimits::default()
            };
            self.client = ClientReader::new(connect.version, limits);
        }
        let mut bytes = BytesMut::new();
        match encode_client(packet, self.version, &mut bytes) {
            Written::Whole(_) => {}
            other @ (Written::DroppedTooLarge | Written::Nothing) => {
                return Err(format!("the packet cannot be written: {other:?}"));
            }
        }
        self.last_bytes = Bytes::copy_from_slice(&bytes);
        match self.reader.read(&mut bytes) {
            Ok(Some(read)) => {
                if let ClientPacket::Connect(connect) = &read {
                    self.writer.negotiate(connect, self.alias_outbound_maximum);
                }
                Ok(Arrived::Packet(read))
            }
            Ok(None) => Err("the packet was not read whole".into()),
            Err(fault) => Ok(self.fault(fault)),
        }
    }

    /// What a fault tells the broker.
    fn fault(&mut self, fault: DecodeError) -> Arrived {
        let version = self.reader.answer_version();
        self.refuse_in(version);
        Arrived::Fault(fault, version)
    }

    /// Lets a client that was never understood be refused in `version`.
    pub(crate) fn refuse_in(&mut self, version: Option<Version>) {
        if let (Some(version), None) = (version, self.reader.version()) {
            self.writer.answer_in(version);
            self.client = ClientReader::new(version, ReaderLimits::default());
        }
    }

    /// Sends a packet from the broker to the client; the line says what became of one not sent.
    pub(crate) fn depart(&mut self, packet: &ServerPacket) -> Result<ServerPacket, String> {
        let mut bytes = BytesMut::new();
        match self.writer.write(packet, &mut bytes) {
            Written::Whole(_) => {}
            other @ (Written::DroppedTooLarge | Written::Nothing) => {
                return Err(format!("{other:?}"));
            }
        }
        self.last_bytes = Bytes::copy_from_slice(&bytes);
        match self.client.read(&mut bytes) {
            Ok(Some(read)) if bytes.is_empty() => Ok(read),
            other => Err(format!("?? the client reads {other:?}")),
        }
    }
}

/// A fault by its name, with some values where it has any.
pub(crate) fn decode_error(name: &str) -> Result<DecodeError, String> {
    let packet = PacketType::Publish;
    Ok(match name {
        "Malformed" => DecodeError::PacketTypeZero,
        "ReservedFlags" => DecodeError::ReservedFlags { packet, flags: 1 },
        "VariableTooLong" => DecodeError::VariableTooLong,
        "PacketTooLarge" => DecodeError::PacketTooLarge { size_bytes: 9, limit_bytes: 8 },
        "WrongSender" => DecodeError::WrongSender { packet: PacketType::ConnAck },
        "SecondConnect" => DecodeError::SecondConnect,
        "FirstPacketNotConnect" => DecodeError::FirstPacketNotConnect { packet },
        "Truncated" => DecodeError::Truncated { packet },
        "Text" => DecodeError::Text(TextError::IllFormed),
        "Topic" => DecodeError::Topic(TopicError::Wildcard),
        "PacketIdZero" => DecodeError::PacketIdZero { packet },
        "UnsupportedProtocol" => DecodeError::UnsupportedProtocol { level: 6, answer: Version::V5 },
        "ConnectFlagReserved" => DecodeError::ConnectFlagReserved,
        "ClientIdEmpty" => DecodeError::ClientIdEmpty,
        "PublishQos3" => DecodeError::PublishQos3,
        "TopicMissing" => DecodeError::TopicMissing,
        "TopicAliasInvalid" => DecodeError::TopicAliasInvalid { alias: 9, maximum: 8 },
        "TopicAliasUnknown" => DecodeError::TopicAliasUnknown { alias: 1 },
        "PayloadMissing" => DecodeError::PayloadMissing { packet: PacketType::Subscribe },
        "SubscriptionQos3" => DecodeError::SubscriptionQos3,
        "RetainHandling3" => DecodeError::RetainHandling3,
        "NoLocalShared" => DecodeError::NoLocalShared,
        _ => return Err(format!("no decode error {name}")),
    })
}
