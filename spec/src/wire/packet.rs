//! Packets that a server sends, as values.

use super::property::Properties;

/// PUBLISH, in either direction.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Publish {
    /// The DUP flag.
    pub dup: bool,
    /// 0 to 2; 3 can be written and is not read.
    pub qos: u8,
    /// The RETAIN flag.
    pub retain: bool,
    /// The topic; bytes, so that it can be ill-formed.
    pub topic: Vec<u8>,
    /// The packet identifier; written and read at QoS 1 and 2.
    pub packet_id: u16,
    /// The properties.
    pub properties: Properties,
    /// The payload.
    pub payload: Vec<u8>,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ack {
    /// The exchange.
    pub packet_id: u16,
    /// How it went.
    pub reason: u8,
    /// The properties.
    pub properties: Properties,
}

/// SUBACK or UNSUBACK.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Codes {
    /// The request.
    pub packet_id: u16,
    /// The properties.
    pub properties: Properties,
    /// A code for each filter.
    pub codes: Vec<u8>,
}

/// DISCONNECT or AUTH.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reasoned {
    /// Why, or what for.
    pub reason: u8,
    /// The properties.
    pub properties: Properties,
}

/// CONNACK.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConnAck {
    /// Whether the server has a session.
    pub session_present: bool,
    /// Zero, or why not.
    pub reason: u8,
    /// The properties.
    pub properties: Properties,
}

/// What a server may send.
#[derive(Clone, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the standard's")]
pub enum Packet {
    ConnAck(ConnAck),
    Publish(Publish),
    PubAck(Ack),
    PubRec(Ack),
    PubRel(Ack),
    PubComp(Ack),
    SubAck(Codes),
    UnsubAck(Codes),
    PingResp,
    Disconnect(Reasoned),
    Auth(Reasoned),
}

impl Packet {
    /// The packet type's number.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Packet::ConnAck(_) => 2,
            Packet::Publish(_) => 3,
            Packet::PubAck(_) => 4,
            Packet::PubRec(_) => 5,
            Packet::PubRel(_) => 6,
            Packet::PubComp(_) => 7,
            Packet::SubAck(_) => 9,
            Packet::UnsubAck(_) => 11,
            Packet::PingResp => 13,
            Packet::Disconnect(_) => 14,
            Packet::Auth(_) => 15,
        }
    }
}

/// The name of a packet type.
#[must_use]
pub fn name(kind: u8) -> &'static str {
    const NAMES: [&str; 16] = [
        "type 0",
        "CONNECT",
        "CONNACK",
        "PUBLISH",
        "PUBACK",
        "PUBREC",
        "PUBREL",
        "PUBCOMP",
        "SUBSCRIBE",
        "SUBACK",
        "UNSUBSCRIBE",
        "UNSUBACK",
        "PINGREQ",
        "PINGRESP",
        "DISCONNECT",
        "AUTH",
    ];
    NAMES.get(usize::from(kind)).copied().unwrap_or("no packet")
}

/// The numbers of the packet types.
#[expect(missing_docs, reason = "the names are the standard's")]
pub mod kind {
    pub const CONNECT: u8 = 1;
    pub const CONNACK: u8 = 2;
    pub const PUBLISH: u8 = 3;
    pub const PUBACK: u8 = 4;
    pub const PUBREC: u8 = 5;
    pub const PUBREL: u8 = 6;
    pub const PUBCOMP: u8 = 7;
    pub const SUBSCRIBE: u8 = 8;
    pub const SUBACK: u8 = 9;
    pub const UNSUBSCRIBE: u8 = 10;
    pub const UNSUBACK: u8 = 11;
    pub const PINGREQ: u8 = 12;
    pub const PINGRESP: u8 = 13;
    pub const DISCONNECT: u8 = 14;
    pub const AUTH: u8 = 15;
}
