//! Bytes to packets, strictly.

use super::fault::Fault;
use super::properties::{self, Place};
use super::reader::{self, Reader};
use super::reasons;
use crate::packet::{AckKind, Connect, Level, Packet, Property, Publish, Will};

/// Who sent the bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Side {
    Client,
    Broker,
}

/// A packet's first byte and how long it and its head are.
pub(super) struct Frame {
    pub(super) first: u8,
    pub(super) head_bytes: usize,
    body_bytes: usize,
}

impl Frame {
    pub(super) fn size_bytes(&self) -> usize {
        self.head_bytes + self.body_bytes
    }
}

/// Reads a packet's head; nothing while it is not there as a whole. What is wrong with the first
/// byte is found as soon as it is there.
pub(super) fn frame(side: Side, level: Level, bytes: &[u8]) -> Result<Option<Frame>, Fault> {
    let Some((&first, rest)) = bytes.split_first() else { return Ok(None) };
    check_first(side, level, first)?;
    let Some((length, length_bytes)) = reader::varint(rest)? else { return Ok(None) };
    Ok(Some(Frame { first, head_bytes: 1 + length_bytes, body_bytes: length as usize }))
}

fn check_first(side: Side, level: Level, first: u8) -> Result<(), Fault> {
    let is_client = side == Side::Client;
    let flags_wanted = match first >> 4 {
        1 | 12 if is_client => 0,
        8 | 10 if is_client => 2,
        2 | 9 | 11 | 13 if !is_client => 0,
        14 if is_client || level >= 5 => 0,
        15 if level >= 5 => 0,
        4 | 5 | 7 => 0,
        6 => 2,
        3 if first & 0x06 == 0x06 => return Err(Fault::Qos3),
        3 if first & 0x0E == 0x08 => return Err(Fault::DupAtQos0),
        3 => return Ok(()),
        _ => return Err(Fault::FirstByte { first }),
    };
    if first & 0x0F == flags_wanted { Ok(()) } else { Err(Fault::FirstByte { first }) }
}

/// Reads a whole packet. Its first byte has been checked by [`frame`].
pub(super) fn packet(side: Side, level: Level, first: u8, body: &[u8]) -> Result<Packet, Fault> {
    let mut reader = Reader::new(body);
    let from = &mut reader;
    let packet = match first >> 4 {
        1 => Packet::Connect(connect(from)?),
        2 => connack(from, level)?,
        3 => Packet::Publish(publish(from, side, level, first)?),
        4 => ack(from, AckKind::PubAck, level)?,
        5 => ack(from, AckKind::PubRec, level)?,
        6 => ack(from, AckKind::PubRel, level)?,
        7 => ack(from, AckKind::PubComp, level)?,
        8 => subscribe(from, level)?,
        9 => {
            let (id, reasons, properties) = answers(from, level, reasons::Place::SubAck)?;
            Packet::SubAck { id, reasons, properties }
        }
        10 => unsubscribe(from, level)?,
        11 if level < 5 => {
            Packet::UnsubAck { id: from.id()?, reasons: Vec::new(), properties: Vec::new() }
        }
        11 => {
            let (id, reasons, properties) = answers(from, level, reasons::Place::UnsubAck)?;
            Packet::UnsubAck { id, reasons, properties }
        }
        12 => Packet::PingReq,
        13 => Packet::PingResp,
        14 => {
            let reasons = reasons::Place::Disconnect(side);
            let (reason, properties) = reason(from, level, reasons, Place::Disconnect(side))?;
            Packet::Disconnect { reason, properties }
        }
        15 => {
            let (reason, properties) =
                reason(from, level, reasons::Place::Auth(side), Place::Auth)?;
            Packet::Auth { reason, properties }
        }
        _ => return Err(Fault::FirstByte { first }),
    };
    reader.finish()?;
    Ok(packet)
}

fn properties(reader: &mut Reader<'_>, level: Level, place: Place) -> Result<Vec<Property>, Fault> {
    if level >= 5 { properties::read(reader, place) } else { Ok(Vec::new()) }
}

fn connect(reader: &mut Reader<'_>) -> Result<Connect, Fault> {
    let name = reader.text("protocol name")?;
    let level = reader.byte("protocol level")?;
    if !matches!((name.as_str(), level), ("MQIsdp", 3) | ("MQTT", 4 | 5)) {
        return Err(Fault::Protocol);
    }
    let flags = reader.byte("connect flags")?;
    let has = |bit: u8| flags & bit != 0;
    let will_qos = flags >> 3 & 3;
    let stray_will = !has(0x04) && flags & 0x38 != 0;
    // [MQTT311-3.1.2-22]: before 5.0, no password comes without a user name.
    let stray_password = level < 5 && has(0x40) && !has(0x80);
    if has(0x01) || stray_will || will_qos == 3 || stray_password {
        return Err(Fault::ReservedBits { field: "connect flags" });
    }
    let keep_alive_s = reader.two("keep alive")?;
    let connect_properties = properties(reader, level, Place::Connect)?;
    let client_id = reader.text("client identifier")?;
    let will = match has(0x04) {
        true => {
            let properties = properties(reader, level, Place::Will)?;
            let topic = topic(reader, "will topic")?;
            let payload = reader.binary("will payload")?;
            Some(Will { topic, payload, qos: will_qos, retain: has(0x20), properties })
        }
        false => None,
    };
    let user_name = if has(0x80) { Some(reader.text("user name")?) } else { None };
    let password = if has(0x40) { Some(reader.binary("password")?) } else { None };
    Ok(Connect {
        level,
        clean_start: has(0x02),
        keep_alive_s,
        client_id,
        will,
        user_name,
        password,
        properties: connect_properties,
    })
}

fn connack(reader: &mut Reader<'_>, level: Level) -> Result<Packet, Fault> {
    let flags = reader.byte("acknowledge flags")?;
    // 3.1 does not know whether a session is present.
    if flags > u8::from(level > 3) {
        return Err(Fault::ReservedBits { field: "acknowledge flags" });
    }
    let reason = reader.byte("reason code")?;
    if !reasons::is_allowed(reasons::Place::ConnAck, level, reason) {
        return Err(Fault::Reason { reason });
    }
    // [MQTT-3.2.2-6]
    if flags == 1 && reason != 0 {
        return Err(Fault::SessionPresentOnRefusal);
    }
    let properties = properties(reader, level, Place::ConnAck)?;
    Ok(Packet::ConnAck { session_present: flags == 1, reason, properties })
}

fn publish(reader: &mut Reader<'_>, side: Side, level: Level, first: u8) -> Result<Publish, Fault> {
    let qos = first >> 1 & 3;
    let topic = reader.text("topic")?;
    let id = if qos > 0 { Some(reader.id()?) } else { None };
    let properties = properties(reader, level, Place::Publish(side))?;
    let has_alias = properties.iter().any(|property| property.id == super::TOPIC_ALIAS);
    if topic.contains(['+', '#']) || (topic.is_empty() && !has_alias) {
        return Err(Fault::Topic { field: "topic", topic });
    }
    let payload = reader.rest().to_vec();
    let (dup, retain) = (first & 8 != 0, first & 1 != 0);
    Ok(Publish { dup, qos, retain, topic, id, properties, payload })
}

fn topic(reader: &mut Reader<'_>, field: &'static str) -> Result<String, Fault> {
    let topic = reader.text(field)?;
    let is_topic = !topic.is_empty() && !topic.contains(['+', '#']);
    if is_topic { Ok(topic) } else { Err(Fault::Topic { field, topic }) }
}

fn ack(reader: &mut Reader<'_>, kind: AckKind, level: Level) -> Result<Packet, Fault> {
    let id = reader.id()?;
    let (reason, properties) = reason(reader, level, reasons::Place::Ack(kind), Place::Answer)?;
    Ok(Packet::Ack { kind, id, reason, properties })
}

/// A reason code and properties at a packet's end, either of which may be left off.
fn reason(
    reader: &mut Reader<'_>,
    level: Level,
    reasons: reasons::Place,
    place: Place,
) -> Result<(u8, Vec<Property>), Fault> {
    if level < 5 || reader.is_empty() {
        return Ok((0, Vec::new()));
    }
    let reason = reader.byte("reason code")?;
    if !reasons::is_allowed(reasons, level, reason) {
        return Err(Fault::Reason { reason });
    }
    if reader.is_empty() {
        return Ok((reason, Vec::new()));
    }
    Ok((reason, properties::read(reader, place)?))
}

type Answers = (u16, Vec<u8>, Vec<Property>);

fn answers(reader: &mut Reader<'_>, level: Level, place: reasons::Place) -> Result<Answers, Fault> {
    let id = reader.id()?;
    let properties = properties(reader, level, Place::Answer)?;
    let reasons = reader.rest().to_vec();
    if reasons.is_empty() {
        return Err(Fault::Empty { of: "reason codes" });
    }
    match reasons.iter().find(|reason| !reasons::is_allowed(place, level, **reason)) {
        Some(reason) => Err(Fault::Reason { reason: *reason }),
        None => Ok((id, reasons, properties)),
    }
}

fn subscribe(reader: &mut Reader<'_>, level: Level) -> Result<Packet, Fault> {
    let id = reader.id()?;
    let properties = properties(reader, level, Place::Subscribe)?;
    let mut filters = Vec::new();
    while !reader.is_empty() {
        let filter = filter(reader)?;
        let options = reader.byte("subscription options")?;
        let reserved = if level >= 5 { 0xC0 } else { 0xFC };
        if options & reserved != 0 || options & 0x03 == 0x03 || options & 0x30 == 0x30 {
            return Err(Fault::ReservedBits { field: "subscription options" });
        }
        filters.push((filter, options));
    }
    if filters.is_empty() {
        return Err(Fault::Empty { of: "filters" });
    }
    Ok(Packet::Subscribe { id, filters, properties })
}

fn unsubscribe(reader: &mut Reader<'_>, level: Level) -> Result<Packet, Fault> {
    let id = reader.id()?;
    let properties = properties(reader, level, Place::Unsubscribe)?;
    let mut filters = Vec::new();
    while !reader.is_empty() {
        filters.push(filter(reader)?);
    }
    if filters.is_empty() {
        return Err(Fault::Empty { of: "filters" });
    }
    Ok(Packet::Unsubscribe { id, filters, properties })
}

/// A topic filter, of which only the emptiness is judged: which one is well formed is the oracle's
/// matter, and a client may well send a bad one.
fn filter(reader: &mut Reader<'_>) -> Result<String, Fault> {
    let filter = reader.text("filter")?;
    if filter.is_empty() { Err(Fault::Text { field: "filter" }) } else { Ok(filter) }
}
