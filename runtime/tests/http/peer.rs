//! An MQTT client at any of the broker's doors, packet by packet.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::{Bytes, BytesMut};
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::wire::packet::{ClientPacket, ConnAck, Connect, Publish, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS, Version};
use signalhouse_core::wire::{ClientReader, ReaderLimits, encode_client};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

use crate::connect::connect;
use crate::support::{Broker, DEADLINE};

/// How an MQTT client comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Door {
    Mqtt311,
    Mqtt5,
    WebSocket,
}

pub(crate) const DOORS: [Door; 3] = [Door::Mqtt311, Door::Mqtt5, Door::WebSocket];

enum Stream {
    Tcp(TcpStream),
    WebSocket(Box<WebSocket<TcpStream>>),
}

pub(crate) struct Peer {
    stream: Stream,
    version: Version,
    reader: ClientReader,
    input: BytesMut,
}

/// What comes next.
#[derive(Debug, PartialEq)]
pub(crate) enum Next {
    Acknowledged(ReasonCode),
    Pong,
    Dismissed(ReasonCode),
    Closed,
}

impl Peer {
    /// Connects, and gives the code of CONNACK.
    pub(crate) fn connect(broker: &Broker, door: Door, connect: Connect) -> (Self, ReasonCode) {
        let port = if door == Door::WebSocket { broker.websocket_port } else { broker.mqtt_port };
        let tcp = TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        tcp.set_read_timeout(Some(DEADLINE)).expect("a socket option");
        let stream = match door {
            Door::Mqtt311 | Door::Mqtt5 => Stream::Tcp(tcp),
            Door::WebSocket => {
                let mut request = "ws://127.0.0.1/mqtt".into_client_request().expect("a URL");
                let protocol = HeaderValue::from_static("mqtt");
                request.headers_mut().insert("sec-websocket-protocol", protocol);
                let (socket, _) = tungstenite::client(request, tcp).expect("a handshake");
                Stream::WebSocket(Box::new(socket))
            }
        };
        let version = if door == Door::Mqtt311 { Version::V311 } else { Version::V5 };
        let reader = ClientReader::new(version, ReaderLimits::default());
        let mut peer = Peer { stream, version, reader, input: BytesMut::new() };
        peer.send(&ClientPacket::Connect(Box::new(Connect { version, ..connect })));
        match peer.receive() {
            Some(ServerPacket::ConnAck(connack)) => {
                let ConnAck { reason, .. } = *connack;
                (peer, reason)
            }
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    pub(crate) fn enter(broker: &Broker, door: Door, client_id: &str) -> Self {
        let (peer, reason) = Peer::connect(broker, door, connect(client_id));
        assert_eq!(reason, ReasonCode::Success, "{door:?}");
        peer
    }

    pub(crate) fn send(&mut self, packet: &ClientPacket) {
        let mut bytes = BytesMut::new();
        let _written = encode_client(packet, self.version, &mut bytes);
        // A broker that has heard enough may have closed.
        match &mut self.stream {
            Stream::Tcp(stream) => drop(stream.write_all(&bytes)),
            Stream::WebSocket(socket) => drop(socket.send(Message::Binary(bytes.freeze()))),
        }
    }

    pub(crate) fn receive(&mut self) -> Option<ServerPacket> {
        loop {
            if let Some(packet) = self.reader.read(&mut self.input).expect("well-formed packets") {
                return Some(packet);
            }
            match &mut self.stream {
                Stream::Tcp(stream) => {
                    let mut buffer = [0; 4096];
                    let read = stream.read(&mut buffer).unwrap_or(0);
                    if read == 0 {
                        return None;
                    }
                    self.input.extend_from_slice(&buffer[..read]);
                }
                Stream::WebSocket(socket) => match socket.read() {
                    Ok(Message::Binary(bytes)) => self.input.extend_from_slice(&bytes),
                    Ok(Message::Ping(_) | Message::Pong(_)) => {}
                    Ok(_) | Err(_) => return None,
                },
            }
        }
    }

    pub(crate) fn next(&mut self) -> Next {
        match self.receive() {
            Some(ServerPacket::PubAck(ack)) => Next::Acknowledged(ack.reason),
            Some(ServerPacket::PingResp) => Next::Pong,
            Some(ServerPacket::Disconnect(disconnect)) => Next::Dismissed(disconnect.reason),
            Some(other) => panic!("unexpected {other:?}"),
            None => Next::Closed,
        }
    }

    /// Publishes, asks for a sign of life behind it, and says what comes first.
    pub(crate) fn publish(&mut self, qos: QoS, retained: &str) -> Next {
        let id = InboundPacketId(PacketId::MIN);
        self.send(&ClientPacket::Publish(Publish {
            dup: false,
            retain: !retained.is_empty(),
            delivery: match qos {
                QoS::AtMostOnce => Delivery::AtMostOnce,
                QoS::AtLeastOnce | QoS::ExactlyOnce => Delivery::AtLeastOnce(id),
            },
            topic: Topic::try_from("t").expect("a topic"),
            payload: Bytes::copy_from_slice(retained.as_bytes()),
            message_expiry_interval_s: None,
            properties: None,
        }));
        if qos == QoS::AtMostOnce {
            self.send(&ClientPacket::PingReq);
        }
        self.next()
    }
}
