//! What each door answers to whoever is over each kind of quota: one row a quota, one column a door.

use std::io::{Read, Write};
use std::net::TcpStream;

use bytes::{Bytes, BytesMut};
use serde_json::json;
use signalhouse_core::routing::topic::Topic;
use signalhouse_core::wire::packet::{ClientPacket, ConnAck, Connect, Publish, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS, Text, Version};
use signalhouse_core::wire::{ClientReader, ReaderLimits, encode_client};
use tungstenite::client::IntoClientRequest;
use tungstenite::http::HeaderValue;
use tungstenite::{Message, WebSocket};

use crate::support::{Broker, DEADLINE};

/// How an MQTT client comes in.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Door {
    Mqtt311,
    Mqtt5,
    WebSocket,
}

const DOORS: [Door; 3] = [Door::Mqtt311, Door::Mqtt5, Door::WebSocket];

enum Stream {
    Tcp(TcpStream),
    WebSocket(Box<WebSocket<TcpStream>>),
}

struct Peer {
    stream: Stream,
    version: Version,
    reader: ClientReader,
    input: BytesMut,
}

/// What comes next.
#[derive(Debug, PartialEq)]
enum Next {
    Acknowledged(ReasonCode),
    Pong,
    Dismissed(ReasonCode),
    Closed,
}

impl Peer {
    /// Connects, and gives the code of CONNACK.
    fn connect(broker: &Broker, door: Door, client_id: &str) -> (Self, ReasonCode) {
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
        peer.send(&ClientPacket::Connect(Box::new(Connect {
            version,
            clean_start: true,
            keep_alive_s: 0,
            client_id: Text::try_from(client_id).expect("a short text"),
            will: None,
            user_name: None,
            password: None,
            session_expiry_interval_s: 0,
            receive_maximum: u16::MAX,
            maximum_packet_size_bytes: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: true,
            authentication_method: None,
            authentication_data: None,
            user_properties: Vec::new(),
        })));
        match peer.receive() {
            Some(ServerPacket::ConnAck(connack)) => {
                let ConnAck { reason, .. } = *connack;
                (peer, reason)
            }
            other => panic!("expected CONNACK, got {other:?}"),
        }
    }

    fn enter(broker: &Broker, door: Door, client_id: &str) -> Self {
        let (peer, reason) = Peer::connect(broker, door, client_id);
        assert_eq!(reason, ReasonCode::Success, "{door:?}");
        peer
    }

    fn send(&mut self, packet: &ClientPacket) {
        let mut bytes = BytesMut::new();
        let _written = encode_client(packet, self.version, &mut bytes);
        // A broker that has heard enough may have closed.
        match &mut self.stream {
            Stream::Tcp(stream) => drop(stream.write_all(&bytes)),
            Stream::WebSocket(socket) => drop(socket.send(Message::Binary(bytes.freeze()))),
        }
    }

    fn receive(&mut self) -> Option<ServerPacket> {
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

    fn next(&mut self) -> Next {
        match self.receive() {
            Some(ServerPacket::PubAck(ack)) => Next::Acknowledged(ack.reason),
            Some(ServerPacket::PingResp) => Next::Pong,
            Some(ServerPacket::Disconnect(disconnect)) => Next::Dismissed(disconnect.reason),
            Some(other) => panic!("unexpected {other:?}"),
            None => Next::Closed,
        }
    }

    /// Publishes, asks for a sign of life behind it, and says what comes first.
    fn publish(&mut self, qos: QoS, retained: &str) -> Next {
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

fn broker(quotas: &[(&str, &str)]) -> Broker {
    let mut environment = vec![("SIGNALHOUSE_NETWORK__LISTEN_WEBSOCKET", "127.0.0.1:0")];
    environment.extend(quotas);
    Broker::with("127.0.0.1", &environment)
}

/// What a publication at QoS 1 that is over a quota is answered.
fn refusal(door: Door) -> Next {
    match door {
        Door::Mqtt311 => Next::Closed,
        Door::Mqtt5 | Door::WebSocket => Next::Acknowledged(ReasonCode::QuotaExceeded),
    }
}

const TAKEN: Next = Next::Acknowledged(ReasonCode::NoMatchingSubscribers);
const TAKEN_311: Next = Next::Acknowledged(ReasonCode::Success);

fn taken(door: Door) -> Next {
    if door == Door::Mqtt311 { TAKEN_311 } else { TAKEN }
}

#[test]
fn messages_over_a_days_quota() {
    for door in DOORS {
        let broker = broker(&[("SIGNALHOUSE_QUOTAS__ADDRESS_MESSAGES_PER_DAY", "2")]);
        let mut peer = Peer::enter(&broker, door, "c");
        assert_eq!(peer.publish(QoS::AtLeastOnce, ""), taken(door), "{door:?}");
        let client = broker.keyless();
        let body = json!({"topic": "t"});
        let answer = client.post("/v1/publish", &body);
        assert_eq!(answer.headers["x-quota-remaining-today"], "0");
        answer.with(200);
        let over = client.post("/v1/publish", &body);
        let seconds = over.headers["retry-after"].to_str().expect("text").parse::<u64>();
        assert!((1..=86_400).contains(&seconds.expect("a number")));
        assert_eq!(over.with(429)["error"], "quota");
        // At QoS 0 it is dropped; who asks over HTTP is told.
        assert_eq!(peer.publish(QoS::AtMostOnce, ""), Next::Pong, "{door:?}");
        let qos0 = json!({"topic": "t", "qos": 0});
        assert_eq!(client.post("/v1/publish", &qos0).with(429)["error"], "quota");
        assert_eq!(peer.publish(QoS::AtLeastOnce, ""), refusal(door), "{door:?}");
    }
}

#[test]
fn messages_over_a_seconds_quota() {
    for door in DOORS {
        let broker = broker(&[
            // A second's quota is full again after a second; on a slow machine that is before the
            // last message. So it is one, and of the many that are sent at once some are over it.
            ("SIGNALHOUSE_QUOTAS__ADDRESS_MESSAGES_PER_SECOND", "1"),
            ("SIGNALHOUSE_QUOTAS__QOS0", "close"),
        ]);
        let mut peer = Peer::enter(&broker, door, "c");
        let answers = (0..50).map(|_| peer.publish(QoS::AtLeastOnce, ""));
        assert!(
            answers.take_while(|next| *next != Next::Closed).count() < 50 || door != Door::Mqtt311
        );
        let mut peer = Peer::enter(&broker, door, "c");
        let next =
            (0..50).map(|_| peer.publish(QoS::AtMostOnce, "")).find(|next| *next != Next::Pong);
        let closed = match door {
            Door::Mqtt311 => Next::Closed,
            Door::Mqtt5 | Door::WebSocket => Next::Dismissed(ReasonCode::MessageRateTooHigh),
        };
        assert_eq!(next, Some(closed), "{door:?}");
        let client = broker.keyless();
        let body = json!({"topic": "t", "qos": 0});
        let over = (0..50).map(|_| client.post("/v1/publish", &body)).find(|one| one.status != 200);
        let over = over.expect("a second's quota is used up");
        assert_eq!(over.headers["retry-after"], "1");
        assert_eq!(over.with(429)["error"], "quota");
    }
}

#[test]
fn connections_over_their_quota() {
    for door in DOORS {
        let broker = broker(&[("SIGNALHOUSE_QUOTAS__ADDRESS_CONNECTIONS", "1")]);
        let mut first = Peer::enter(&broker, door, "one");
        let (_second, reason) = Peer::connect(&broker, door, "two");
        let expected = match door {
            // 3.1.1 has no code for it: the server is unavailable.
            Door::Mqtt311 => ReasonCode::ServerUnavailable,
            Door::Mqtt5 | Door::WebSocket => ReasonCode::QuotaExceeded,
        };
        assert_eq!(reason, expected, "{door:?}");
        let refused = broker.keyless().get("/v1/messages?session=third&filter=t&wait=0");
        assert_eq!(refused.with(429)["error"], "quota");
        first.send(&ClientPacket::PingReq);
        assert_eq!(first.next(), Next::Pong, "{door:?}");
    }
}

#[test]
fn stored_bytes_over_their_quota() {
    for closes in [false, true] {
        for door in DOORS {
            let broker = broker(&[
                ("SIGNALHOUSE_QUOTAS__ADDRESS_STORED_BYTES", "6"),
                ("SIGNALHOUSE_QUOTAS__QOS0", if closes { "close" } else { "drop" }),
            ]);
            let mut peer = Peer::enter(&broker, door, "c");
            assert_eq!(peer.publish(QoS::AtLeastOnce, "12345"), taken(door), "{door:?}");
            let client = broker.keyless();
            let body = json!({"topic": "another", "payload": "1", "retain": true});
            let over = client.post("/v1/publish", &body);
            assert!(!over.headers.contains_key("retry-after"), "nobody knows when");
            assert_eq!(over.with(429)["error"], "quota");
            let qos0 = peer.publish(QoS::AtMostOnce, "123456");
            let expected = match (closes, door) {
                (false, _) => Next::Pong,
                (true, Door::Mqtt311) => Next::Closed,
                (true, Door::Mqtt5 | Door::WebSocket) => Next::Dismissed(ReasonCode::QuotaExceeded),
            };
            assert_eq!(qos0, expected, "{door:?}");
            if closes {
                peer = Peer::enter(&broker, door, "c");
            }
            assert_eq!(peer.publish(QoS::AtLeastOnce, "123456"), refusal(door), "{door:?}");
            // What is deleted makes room.
            let clear = json!({"topic": "t", "payload": "", "retain": true});
            client.post("/v1/publish", &clear).with(200);
            let small = json!({"topic": "t", "payload": "12345", "retain": true});
            client.post("/v1/publish", &small).with(200);
        }
    }
}
