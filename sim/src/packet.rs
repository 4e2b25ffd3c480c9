//! Packets as the simulator sees them: plain values, no types of the broker's.
//!
//! The codec that reads and writes them is the simulator's own, so that a mistake in the broker's
//! cannot hide in both.

/// A property: its identifier and value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The identifier on the wire.
    pub id: u8,
    /// The value.
    pub value: Value,
}

/// A property's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Byte, two byte, four byte and variable byte integers.
    Number(u32),
    /// UTF-8 string.
    Text(String),
    /// Binary data.
    Bytes(Vec<u8>),
    /// String pair.
    Pair(String, String),
}

/// The protocol level in CONNECT: 3 (3.1), 4 (3.1.1) or 5.
pub type Level = u8;

/// A control packet, of either direction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// CONNECT.
    Connect(Connect),
    /// CONNACK.
    ConnAck {
        /// Session present.
        session_present: bool,
        /// Reason code, or return code before version 5.
        reason: u8,
        /// Properties.
        properties: Vec<Property>,
    },
    /// PUBLISH.
    Publish(Publish),
    /// PUBACK, PUBREC, PUBREL or PUBCOMP.
    Ack {
        /// Which.
        kind: AckKind,
        /// Packet identifier.
        id: u16,
        /// Reason code.
        reason: u8,
        /// Properties.
        properties: Vec<Property>,
    },
    /// SUBSCRIBE.
    Subscribe {
        /// Packet identifier.
        id: u16,
        /// Filters with their options byte.
        filters: Vec<(String, u8)>,
        /// Properties.
        properties: Vec<Property>,
    },
    /// SUBACK.
    SubAck {
        /// Packet identifier.
        id: u16,
        /// Reason codes.
        reasons: Vec<u8>,
        /// Properties.
        properties: Vec<Property>,
    },
    /// UNSUBSCRIBE.
    Unsubscribe {
        /// Packet identifier.
        id: u16,
        /// Filters.
        filters: Vec<String>,
        /// Properties.
        properties: Vec<Property>,
    },
    /// UNSUBACK.
    UnsubAck {
        /// Packet identifier.
        id: u16,
        /// Reason codes; none before version 5.
        reasons: Vec<u8>,
        /// Properties.
        properties: Vec<Property>,
    },
    /// PINGREQ.
    PingReq,
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect {
        /// Reason code.
        reason: u8,
        /// Properties.
        properties: Vec<Property>,
    },
    /// AUTH.
    Auth {
        /// Reason code.
        reason: u8,
        /// Properties.
        properties: Vec<Property>,
    },
}

/// CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Protocol level.
    pub level: Level,
    /// Clean start.
    pub clean_start: bool,
    /// Keep alive, in seconds.
    pub keep_alive_s: u16,
    /// Client identifier.
    pub client_id: String,
    /// Will.
    pub will: Option<Will>,
    /// User name.
    pub user_name: Option<String>,
    /// Password.
    pub password: Option<Vec<u8>>,
    /// Properties.
    pub properties: Vec<Property>,
}

/// The will in a CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Will {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// QoS.
    pub qos: u8,
    /// Retain.
    pub retain: bool,
    /// Properties.
    pub properties: Vec<Property>,
}

/// PUBLISH.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publish {
    /// DUP.
    pub dup: bool,
    /// QoS.
    pub qos: u8,
    /// RETAIN.
    pub retain: bool,
    /// Topic name; empty with an alias.
    pub topic: String,
    /// Packet identifier, above QoS 0.
    pub id: Option<u16>,
    /// Properties.
    pub properties: Vec<Property>,
    /// Payload.
    pub payload: Vec<u8>,
}

/// Which of the four acknowledgements of a PUBLISH.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AckKind {
    /// PUBACK.
    PubAck,
    /// PUBREC.
    PubRec,
    /// PUBREL.
    PubRel,
    /// PUBCOMP.
    PubComp,
}
