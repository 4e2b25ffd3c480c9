//! Packets to bytes.

use super::properties;
use crate::packet::{AckKind, Connect, Level, Packet, Property, Publish};

/// The bytes of `packet` at protocol level `level` (CONNECT has its own), in their shortest form.
/// Before level 5, properties and reason codes that do not exist there are left out.
///
/// # Panics
///
/// If a field does not fit its place on the wire; the simulator makes no such packet.
#[must_use]
pub fn encode(packet: &Packet, level: Level) -> Vec<u8> {
    let is_5 = level >= 5;
    let mut body = Vec::new();
    let first = match packet {
        Packet::Connect(connect) => {
            put_connect(connect, &mut body);
            0x10
        }
        Packet::ConnAck { session_present, reason, properties } => {
            body.extend_from_slice(&[u8::from(*session_present), *reason]);
            put_properties(is_5, properties, &mut body);
            0x20
        }
        Packet::Publish(publish) => {
            put_publish(publish, is_5, &mut body);
            0x30 | u8::from(publish.dup) << 3 | publish.qos << 1 | u8::from(publish.retain)
        }
        Packet::Ack { kind, id, reason, properties } => {
            body.extend_from_slice(&id.to_be_bytes());
            put_reason(is_5, *reason, properties, &mut body);
            ack_first(*kind)
        }
        Packet::Subscribe { id, filters, properties } => {
            body.extend_from_slice(&id.to_be_bytes());
            put_properties(is_5, properties, &mut body);
            for (filter, options) in filters {
                put_text(filter, &mut body);
                body.push(*options);
            }
            0x82
        }
        Packet::SubAck { id, reasons, properties } => {
            body.extend_from_slice(&id.to_be_bytes());
            put_properties(is_5, properties, &mut body);
            body.extend_from_slice(reasons);
            0x90
        }
        Packet::Unsubscribe { id, filters, properties } => {
            body.extend_from_slice(&id.to_be_bytes());
            put_properties(is_5, properties, &mut body);
            filters.iter().for_each(|filter| put_text(filter, &mut body));
            0xA2
        }
        Packet::UnsubAck { id, reasons, properties } => {
            body.extend_from_slice(&id.to_be_bytes());
            put_properties(is_5, properties, &mut body);
            body.extend_from_slice(if is_5 { reasons } else { &[] });
            0xB0
        }
        Packet::PingReq => 0xC0,
        Packet::PingResp => 0xD0,
        Packet::Disconnect { reason, properties } => {
            put_reason(is_5, *reason, properties, &mut body);
            0xE0
        }
        Packet::Auth { reason, properties } => {
            put_reason(is_5, *reason, properties, &mut body);
            0xF0
        }
    };
    framed(first, &body)
}

fn framed(first: u8, body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a packet is far below 4 GB");
    let mut bytes = vec![first];
    put_varint(length, &mut bytes);
    bytes.extend_from_slice(body);
    bytes
}

fn ack_first(kind: AckKind) -> u8 {
    match kind {
        AckKind::PubAck => 0x40,
        AckKind::PubRec => 0x50,
        AckKind::PubRel => 0x62,
        AckKind::PubComp => 0x70,
    }
}

fn put_connect(connect: &Connect, body: &mut Vec<u8>) {
    let Connect {
        level,
        clean_start,
        keep_alive_s,
        client_id,
        will,
        user_name,
        password,
        properties,
    } = connect;
    let is_5 = *level >= 5;
    put_text(if *level == 3 { "MQIsdp" } else { "MQTT" }, body);
    body.push(*level);
    let mut flags = u8::from(*clean_start) << 1
        | u8::from(user_name.is_some()) << 7
        | u8::from(password.is_some()) << 6;
    if let Some(will) = will {
        flags |= 0x04 | will.qos << 3 | u8::from(will.retain) << 5;
    }
    body.push(flags);
    body.extend_from_slice(&keep_alive_s.to_be_bytes());
    put_properties(is_5, properties, body);
    put_text(client_id, body);
    if let Some(will) = will {
        put_properties(is_5, &will.properties, body);
        put_text(&will.topic, body);
        put_bytes(&will.payload, body);
    }
    if let Some(user_name) = user_name {
        put_text(user_name, body);
    }
    if let Some(password) = password {
        put_bytes(password, body);
    }
}

fn put_publish(publish: &Publish, is_5: bool, body: &mut Vec<u8>) {
    put_text(&publish.topic, body);
    if let Some(id) = publish.id {
        body.extend_from_slice(&id.to_be_bytes());
    }
    put_properties(is_5, &publish.properties, body);
    body.extend_from_slice(&publish.payload);
}

fn put_properties(is_5: bool, properties: &[Property], body: &mut Vec<u8>) {
    if is_5 {
        properties::write(properties, body);
    }
}

/// A reason code and properties at a packet's end, of which what says nothing is left out.
fn put_reason(is_5: bool, reason: u8, properties: &[Property], body: &mut Vec<u8>) {
    if !is_5 || (reason == 0 && properties.is_empty()) {
        return;
    }
    body.push(reason);
    if !properties.is_empty() {
        properties::write(properties, body);
    }
}

/// Appends a variable byte integer in its shortest form.
///
/// # Panics
///
/// If `value` is above 268,435,455.
pub fn put_varint(mut value: u32, out: &mut Vec<u8>) {
    assert!(value < 1 << 28, "{value} is above what a variable byte integer holds");
    loop {
        // Seven bits fit a byte.
        let low = (value & 0x7F) as u8;
        value >>= 7;
        if value == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

/// Appends a string with its length before it.
///
/// # Panics
///
/// If it has more than 65,535 bytes.
pub fn put_text(text: &str, out: &mut Vec<u8>) {
    put_bytes(text.as_bytes(), out);
}

/// Appends binary data with its length before it.
pub(super) fn put_bytes(bytes: &[u8], out: &mut Vec<u8>) {
    let length = u16::try_from(bytes.len()).expect("a field has at most 65,535 bytes");
    out.extend_from_slice(&length.to_be_bytes());
    out.extend_from_slice(bytes);
}
