//! What a server sends, read strictly: whatever a receiver could call malformed is an error that
//! names the statement.

use super::packet::{Ack, Codes, ConnAck, Packet, Publish, Reasoned, name};
use super::property::{Properties, Property, Type, Value, server_may_send, type_of};
use super::{Frame, Version, hex, variable};

/// The packet in `frame`.
///
/// # Errors
/// What is wrong with it, with the statement and the bytes.
pub fn packet(frame: &Frame, version: Version) -> Result<Packet, String> {
    let read = read(frame, version);
    read.map_err(|what| format!("{} ({}): {what}", name(frame.kind()), hex(&frame.to_bytes())))
}

fn read(frame: &Frame, version: Version) -> Result<Packet, String> {
    let (kind, flags) = (frame.kind(), frame.first & 0x0F);
    let required = if kind == 6 { 2 } else { 0 };
    if kind != 3 && flags != required {
        return Err(format!("[MQTT-2.1.3-1] flags {flags:04b}"));
    }
    let mut rest = Rest { bytes: &frame.body, kind, version };
    let packet = match kind {
        2 => Packet::ConnAck(rest.connack()?),
        3 => Packet::Publish(rest.publish(flags)?),
        4 => Packet::PubAck(rest.ack()?),
        5 => Packet::PubRec(rest.ack()?),
        6 => Packet::PubRel(rest.ack()?),
        7 => Packet::PubComp(rest.ack()?),
        9 => Packet::SubAck(rest.codes()?),
        11 => Packet::UnsubAck(rest.codes()?),
        13 => Packet::PingResp,
        14 if version == Version::V5 => Packet::Disconnect(rest.reasoned()?),
        15 if version == Version::V5 => Packet::Auth(rest.reasoned()?),
        _ => return Err("a packet that no server sends in this version".into()),
    };
    if rest.bytes.is_empty() { Ok(packet) } else { Err("bytes are left over".into()) }
}

/// What has not been read yet.
struct Rest<'a> {
    bytes: &'a [u8],
    kind: u8,
    version: Version,
}

impl Rest<'_> {
    fn connack(&mut self) -> Result<ConnAck, String> {
        let flags = self.byte()?;
        let reason = self.byte()?;
        if flags > 1 {
            return Err(format!("[MQTT-3.2.2-1] acknowledge flags {flags:08b}"));
        }
        let session_present = flags == 1;
        if session_present && reason != 0 {
            return Err("[MQTT-3.2.2-6] session present beside a failure".into());
        }
        let properties = self.properties()?;
        self.check_reason(reason)?;
        for id in [0x24, 0x25, 0x28, 0x29, 0x2A, 0x21, 0x27] {
            let largest = if id == 0x21 || id == 0x27 { u32::MAX } else { 1 };
            let smallest = u32::from(largest > 1);
            if let Some(value) = properties.number(id)
                && (value < smallest || value > largest)
            {
                return Err(format!("property {id:#04X} of {value}"));
            }
        }
        Ok(ConnAck { session_present, reason, properties })
    }

    fn publish(&mut self, flags: u8) -> Result<Publish, String> {
        let (dup, qos, retain) = (flags & 8 != 0, flags >> 1 & 3, flags & 1 != 0);
        if qos == 3 {
            return Err("[MQTT-3.3.1-4] QoS 3".into());
        }
        if dup && qos == 0 {
            return Err("[MQTT-3.3.1-2] DUP at QoS 0".into());
        }
        let topic = self.text()?;
        if topic.contains(['+', '#']) {
            return Err("[MQTT-3.3.2-2] a wildcard in the topic".into());
        }
        let packet_id = if qos > 0 { self.two()? } else { 0 };
        if qos > 0 && packet_id == 0 {
            return Err("[MQTT-2.2.1-4] packet identifier 0".into());
        }
        let properties = self.properties()?;
        if let Some(0) = properties.number(super::property::id::TOPIC_ALIAS) {
            return Err("[MQTT-3.3.2-8] topic alias 0".into());
        }
        let payload = std::mem::take(&mut self.bytes).to_vec();
        Ok(Publish { dup, qos, retain, topic: topic.into_bytes(), packet_id, properties, payload })
    }

    fn ack(&mut self) -> Result<Ack, String> {
        let packet_id = self.two()?;
        let mut ack = Ack { packet_id, ..Ack::default() };
        if self.version == Version::V5 && !self.bytes.is_empty() {
            ack.reason = self.byte()?;
            if !self.bytes.is_empty() {
                ack.properties = self.properties()?;
            }
            self.check_reason(ack.reason)?;
        }
        Ok(ack)
    }

    fn codes(&mut self) -> Result<Codes, String> {
        let packet_id = self.two()?;
        let properties = self.properties()?;
        let codes = std::mem::take(&mut self.bytes).to_vec();
        for code in &codes {
            self.check_reason(*code)?;
        }
        Ok(Codes { packet_id, properties, codes })
    }

    fn reasoned(&mut self) -> Result<Reasoned, String> {
        let mut reasoned = Reasoned::default();
        if !self.bytes.is_empty() {
            reasoned.reason = self.byte()?;
            if !self.bytes.is_empty() {
                reasoned.properties = self.properties()?;
            }
        }
        self.check_reason(reasoned.reason)?;
        Ok(reasoned)
    }

    /// The code must be one that the packet's table lists for a server.
    fn check_reason(&self, reason: u8) -> Result<(), String> {
        let statement = match self.kind {
            2 => "MQTT-3.2.2-8",
            4 => "MQTT-3.4.2-1",
            5 => "MQTT-3.5.2-1",
            6 => "MQTT-3.6.2-1",
            7 => "MQTT-3.7.2-1",
            9 => "MQTT-3.9.3-2",
            11 => "MQTT-3.11.3-2",
            14 => "MQTT-3.14.2-1",
            _ => "MQTT-3.15.2-1",
        };
        if listed(self.kind, reason, self.version) {
            Ok(())
        } else {
            Err(format!("[{statement}] reason code {reason:#04X} is not listed"))
        }
    }

    fn properties(&mut self) -> Result<Properties, String> {
        let mut properties = Properties::none();
        if self.version != Version::V5 {
            return Ok(properties);
        }
        let length = self.variable()? as usize;
        let rest = self.bytes.get(length..).ok_or("properties longer than the packet")?;
        let inside = self.bytes.get(..length).unwrap_or_default();
        let mut inside = Rest { bytes: inside, kind: self.kind, version: self.version };
        self.bytes = rest;
        while !inside.bytes.is_empty() {
            let property = inside.property()?;
            let repeats = property.id == 0x26 || property.id == 0x0B && self.kind == 3;
            if !repeats && properties.get(property.id).is_some() {
                return Err(format!("property {:#04X} twice", property.id));
            }
            properties.0.push(property);
        }
        Ok(properties)
    }

    fn property(&mut self) -> Result<Property, String> {
        let id = self.byte()?;
        if !server_may_send(self.kind, id) {
            let statement = if self.kind == 14 && id == 0x11 { "[MQTT-3.14.2-2] " } else { "" };
            return Err(format!("{statement}property {id:#04X} does not belong here"));
        }
        let value = match type_of(id).ok_or_else(|| format!("there is no property {id:#04X}"))? {
            Type::Byte => Value::Byte(self.byte()?),
            Type::Two => Value::Two(self.two()?),
            Type::Four => Value::Four(self.four()?),
            Type::Variable => Value::Variable(self.variable()?),
            Type::Text => Value::Text(self.text()?),
            Type::Binary => Value::Binary(self.counted()?.to_vec()),
            Type::Pair => Value::Pair(self.text()?, self.text()?),
        };
        Ok(Property { id, value })
    }

    fn byte(&mut self) -> Result<u8, String> {
        let (first, rest) = self.bytes.split_first().ok_or("it ends too early")?;
        self.bytes = rest;
        Ok(*first)
    }

    fn two(&mut self) -> Result<u16, String> {
        Ok(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn four(&mut self) -> Result<u32, String> {
        Ok(u32::from(self.two()?) << 16 | u32::from(self.two()?))
    }

    fn variable(&mut self) -> Result<u32, String> {
        let (value, used) = variable(self.bytes)?.ok_or("it ends too early")?;
        self.bytes = self.bytes.get(used..).unwrap_or_default();
        Ok(value)
    }

    fn counted(&mut self) -> Result<&[u8], String> {
        let length = usize::from(self.two()?);
        let content = self.bytes.get(..length).ok_or("it ends too early")?;
        self.bytes = self.bytes.get(length..).unwrap_or_default();
        Ok(content)
    }

    fn text(&mut self) -> Result<String, String> {
        let content = self.counted()?.to_vec();
        let text = String::from_utf8(content).map_err(|_| "[MQTT-1.5.4-1] ill-formed UTF-8")?;
        if text.contains('\0') { Err("[MQTT-1.5.4-2] U+0000".into()) } else { Ok(text) }
    }
}

/// Whether a server may put `reason` into a packet of type `kind`.
fn listed(kind: u8, reason: u8, version: Version) -> bool {
    if version != Version::V5 {
        return match kind {
            2 => reason <= 5,
            9 => matches!(reason, 0..=2 | 0x80),
            _ => true,
        };
    }
    match kind {
        2 => matches!(
            reason,
            0 | 0x80..=0x8A | 0x8C | 0x90 | 0x95 | 0x97 | 0x99 | 0x9A..=0x9D | 0x9F
        ),
        4 | 5 => matches!(reason, 0 | 0x10 | 0x80 | 0x83 | 0x87 | 0x90 | 0x91 | 0x97 | 0x99),
        6 | 7 => matches!(reason, 0 | 0x92),
        9 => matches!(reason, 0..=2 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91 | 0x97 | 0x9E | 0xA1 | 0xA2),
        11 => matches!(reason, 0 | 0x11 | 0x80 | 0x83 | 0x87 | 0x8F | 0x91),
        14 => matches!(
            reason,
            0 | 0x80..=0x83 | 0x87 | 0x89 | 0x8B | 0x8D..=0x90 | 0x93..=0xA2
        ),
        15 => matches!(reason, 0 | 0x18),
        _ => false,
    }
}
