//! A client's connection: blocking, with the codec of `core`, and nothing remembered between connections.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{
    Ack, ClientPacket, Connect, Publish, ServerPacket, Subscribe, SubscriptionOptions,
};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS, Version};
use signalhouse_core::wire::{ClientReader, ReaderLimits, encode_client};

use crate::connect::connect;

/// How long reading waits for something to come.
const PATIENCE: Duration = Duration::from_millis(3);
/// How long CONNACK may take on a busy machine.
const CONNACK_WAITS: u32 = 3_000;

/// The connection is gone, as it is after each kill.
#[derive(Debug)]
pub(crate) struct Gone;

pub(crate) struct Peer {
    stream: TcpStream,
    reader: ClientReader,
    incoming: BytesMut,
    outgoing: BytesMut,
}

impl Peer {
    /// Connects, and says whether the broker had the session.
    pub(crate) fn connect(address: SocketAddr, client_id: &str) -> Result<(Self, bool), Gone> {
        let connected = Peer::try_connect(address, client_id)?;
        Ok(connected.unwrap_or_else(|reason| panic!("{client_id} is refused: {reason:?}")))
    }

    /// The same, or why it is refused.
    pub(crate) fn try_connect(
        address: SocketAddr,
        client_id: &str,
    ) -> Result<Result<(Self, bool), ReasonCode>, Gone> {
        Peer::try_with(address, lasting(client_id))
    }

    /// The same with a CONNECT of one's own.
    pub(crate) fn try_with(
        address: SocketAddr,
        connect: Connect,
    ) -> Result<Result<(Self, bool), ReasonCode>, Gone> {
        let client_id = connect.client_id.clone();
        let stream = TcpStream::connect(address).map_err(|_| Gone)?;
        stream.set_nodelay(true).map_err(|_| Gone)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(|_| Gone)?;
        let limits = ReaderLimits {
            maximum_packet_size_bytes: u32::MAX,
            topic_alias_maximum: 0,
            connect_maximum_bytes: 0,
        };
        let mut peer = Peer {
            stream,
            reader: ClientReader::new(Version::V5, limits),
            incoming: BytesMut::new(),
            outgoing: BytesMut::new(),
        };
        peer.say(&ClientPacket::Connect(Box::new(connect)));
        peer.flush()?;
        for _ in 0..CONNACK_WAITS {
            match peer.read()? {
                Some(ServerPacket::ConnAck(connack)) => {
                    if connack.reason != ReasonCode::Success {
                        return Ok(Err(connack.reason));
                    }
                    return Ok(Ok((peer, connack.session_present)));
                }
                Some(other) => panic!("{client_id} gets {other:?} before CONNACK"),
                None => {}
            }
        }
        Err(Gone)
    }

    /// Subscribes at QoS 2, and waits for the answer.
    pub(crate) fn subscribe(&mut self, filter: &str) -> Result<(), Gone> {
        let options =
            SubscriptionOptions { maximum_qos: QoS::ExactlyOnce, ..SubscriptionOptions::default() };
        let filter = TopicFilter::try_from(filter).expect("a filter");
        self.say(&ClientPacket::Subscribe(Box::new(Subscribe {
            packet_id: inbound(PacketId::MIN),
            subscription_id: None,
            subscriptions: vec![(filter, options)],
            user_properties: Vec::new(),
        })));
        self.flush()?;
        loop {
            match self.read()? {
                Some(ServerPacket::SubAck(suback)) => {
                    assert_eq!(suback.reasons, [ReasonCode::GrantedQos2], "{suback:?}");
                    return Ok(());
                }
                Some(other) => panic!("{other:?} before SUBACK"),
                None => {}
            }
        }
    }

    pub(crate) fn publish(&mut self, message: &Outgoing, dup: bool) {
        let id = inbound(message.id);
        let delivery = match message.qos {
            QoS::ExactlyOnce => Delivery::ExactlyOnce(id),
            QoS::AtMostOnce | QoS::AtLeastOnce => Delivery::AtLeastOnce(id),
        };
        self.say(&ClientPacket::Publish(Publish {
            dup,
            retain: message.retain,
            delivery,
            topic: Topic::try_from(message.topic.as_str()).expect("a topic"),
            payload: message.payload.clone(),
            message_expiry_interval_s: None,
            properties: None,
        }));
    }

    pub(crate) fn pubrel(&mut self, id: PacketId) {
        self.say(&ClientPacket::PubRel(Ack::new(inbound(id), ReasonCode::Success)));
    }

    /// Appends a packet to what `flush` writes.
    pub(crate) fn say(&mut self, packet: &ClientPacket) {
        let _written = encode_client(packet, Version::V5, &mut self.outgoing);
    }

    pub(crate) fn flush(&mut self) -> Result<(), Gone> {
        let bytes = self.outgoing.split();
        self.stream.write_all(&bytes).map_err(|_| Gone)
    }

    /// The next packet, if one comes soon.
    pub(crate) fn read(&mut self) -> Result<Option<ServerPacket>, Gone> {
        loop {
            match self.reader.read(&mut self.incoming) {
                Ok(Some(packet)) => return Ok(Some(packet)),
                Ok(None) => {}
                Err(fault) => panic!("the broker breaks the protocol: {fault}"),
            }
            let mut bytes = [0; 16 * 1024];
            match self.stream.read(&mut bytes) {
                Ok(0) => return Err(Gone),
                Ok(count) => self.incoming.extend_from_slice(&bytes[..count]),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) if error.kind() == ErrorKind::TimedOut => return Ok(None),
                Err(_) => return Err(Gone),
            }
        }
    }
}

/// A message on its way to the broker.
#[derive(Clone, Debug)]
pub(crate) struct Outgoing {
    pub(crate) id: PacketId,
    pub(crate) topic: String,
    pub(crate) payload: Bytes,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
}

fn inbound(id: PacketId) -> InboundPacketId {
    InboundPacketId(id)
}

/// A session that is kept.
pub(crate) fn lasting(client_id: &str) -> Connect {
    Connect {
        clean_start: false,
        session_expiry_interval_s: u32::MAX,
        receive_maximum: 64,
        ..connect(client_id)
    }
}
