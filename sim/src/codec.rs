//! The simulator's own reading and writing of packets.
//!
//! [`encode`] writes what a client sends (and, for tests, what a broker sends). [`Decoder`] reads
//! what a broker sends, strictly: whatever the standard does not allow is a [`Fault`].
//! [`decode_client`] reads what a client sent, for tests and traces.

mod decode;
mod encode;
mod fault;
mod properties;
mod reader;
mod reasons;

use std::collections::BTreeMap;

pub use encode::{encode, put_text, put_varint};
pub use fault::Fault;

use crate::packet::{Level, Packet};
use decode::Side;

/// The property in which a PUBLISH carries a topic alias.
pub const TOPIC_ALIAS: u8 = 0x23;

/// What a client demanded in its CONNECT, to which the broker must keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Protocol level: 3, 4 or 5.
    pub level: Level,
    /// Topic alias maximum.
    pub topic_alias_maximum: u16,
    /// Maximum packet size, in bytes; 0 for none.
    pub maximum_packet_size_bytes: u32,
}

/// A packet that was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Decoded {
    /// The packet as it came.
    pub packet: Packet,
    /// The topic that an alias stands for, where the packet carries none itself.
    pub alias_topic: Option<String>,
    /// Bytes of the packet.
    pub size_bytes: usize,
}

/// Reads what a broker sends on one connection, however it is cut to pieces.
#[derive(Clone, Debug)]
pub struct Decoder {
    terms: Terms,
    aliases: BTreeMap<u16, String>,
    bytes: Vec<u8>,
    /// How many of `bytes` have been read.
    read_bytes: usize,
    failed: Option<Fault>,
}

impl Decoder {
    /// A decoder for a new connection.
    #[must_use]
    pub fn new(terms: Terms) -> Self {
        Self { terms, aliases: BTreeMap::new(), bytes: Vec::new(), read_bytes: 0, failed: None }
    }

    /// Takes bytes that arrived.
    pub fn feed(&mut self, bytes: &[u8]) {
        self.bytes.drain(..std::mem::take(&mut self.read_bytes));
        self.bytes.extend_from_slice(bytes);
    }

    /// The next packet, or nothing while it is not there as a whole. After a fault there is nothing
    /// to be read any more: the same fault comes again.
    pub fn next_packet(&mut self) -> Result<Option<Decoded>, Fault> {
        if let Some(fault) = &self.failed {
            return Err(fault.clone());
        }
        let result = self.read();
        if let Err(fault) = &result {
            self.failed = Some(fault.clone());
        }
        result
    }

    /// Bytes that belong to a packet of which more is to come.
    #[must_use]
    pub fn unread_bytes(&self) -> usize {
        self.bytes.len() - self.read_bytes
    }

    fn read(&mut self) -> Result<Option<Decoded>, Fault> {
        let level = self.terms.level;
        let unread = &self.bytes[self.read_bytes..];
        let Some(frame) = decode::frame(Side::Broker, level, unread)? else {
            return Ok(None);
        };
        let size_bytes = frame.size_bytes();
        let maximum = self.terms.maximum_packet_size_bytes;
        if level >= 5 && maximum != 0 && size_bytes > maximum as usize {
            return Err(Fault::TooLarge { size_bytes, maximum });
        }
        let Some(body) = unread.get(frame.head_bytes..size_bytes) else {
            return Ok(None);
        };
        let packet = decode::packet(Side::Broker, level, frame.first, body)?;
        let alias_topic = self.resolve(&packet)?;
        self.read_bytes += size_bytes;
        Ok(Some(Decoded { packet, alias_topic, size_bytes }))
    }

    fn resolve(&mut self, packet: &Packet) -> Result<Option<String>, Fault> {
        let Packet::Publish(publish) = packet else { return Ok(None) };
        let Some(alias) = properties::number(&publish.properties, TOPIC_ALIAS) else {
            return Ok(None);
        };
        let maximum = self.terms.topic_alias_maximum;
        // The property has two bytes.
        let alias = alias as u16;
        if alias > maximum {
            return Err(Fault::AliasOverMaximum { alias, maximum });
        }
        if publish.topic.is_empty() {
            return match self.aliases.get(&alias) {
                Some(topic) => Ok(Some(topic.clone())),
                None => Err(Fault::AliasUnknown { alias }),
            };
        }
        self.aliases.insert(alias, publish.topic.clone());
        Ok(None)
    }
}

/// The first packet in `bytes` that a client sent, and its size in bytes; nothing while it is not
/// there as a whole. CONNECT is read at the level that it names itself.
pub fn decode_client(bytes: &[u8], level: Level) -> Result<Option<(Packet, usize)>, Fault> {
    decode_one(Side::Client, bytes, level)
}

/// The first packet in `bytes` that a broker sent, and its size in bytes; nothing while it is not
/// there as a whole. Without what only a connection knows: sizes and topic aliases go unchecked.
pub fn decode_broker(bytes: &[u8], level: Level) -> Result<Option<(Packet, usize)>, Fault> {
    decode_one(Side::Broker, bytes, level)
}

fn decode_one(side: Side, bytes: &[u8], level: Level) -> Result<Option<(Packet, usize)>, Fault> {
    let Some(frame) = decode::frame(side, level, bytes)? else { return Ok(None) };
    let size_bytes = frame.size_bytes();
    let Some(body) = bytes.get(frame.head_bytes..size_bytes) else { return Ok(None) };
    Ok(Some((decode::packet(side, level, frame.first, body)?, size_bytes)))
}

/// The number in the first property with this identifier.
#[must_use]
pub fn number(properties: &[crate::packet::Property], id: u8) -> Option<u32> {
    properties::number(properties, id)
}
