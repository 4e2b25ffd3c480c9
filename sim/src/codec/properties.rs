//! Properties: their types, their places and their values, as the standard's table has them.

use super::decode::Side;
use super::encode::{put_bytes, put_text, put_varint};
use super::fault::Fault;
use super::reader::Reader;
use crate::packet::{Property, Value};

/// Where properties stand.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Connect,
    Will,
    ConnAck,
    Publish(Side),
    /// PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK and UNSUBACK.
    Answer,
    Subscribe,
    Unsubscribe,
    Disconnect(Side),
    Auth,
}

const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
const AUTHENTICATION_METHOD: u8 = 0x15;
const AUTHENTICATION_DATA: u8 = 0x16;
const USER_PROPERTY: u8 = 0x26;

impl Place {
    /// Identifiers that are allowed there.
    fn allowed(self) -> &'static [u8] {
        match self {
            Self::Connect => &[0x11, 0x15, 0x16, 0x17, 0x19, 0x21, 0x22, 0x26, 0x27],
            Self::Will => &[0x01, 0x02, 0x03, 0x08, 0x09, 0x18, 0x26],
            Self::ConnAck => &[
                0x11, 0x12, 0x13, 0x15, 0x16, 0x1A, 0x1C, 0x1F, 0x21, 0x22, 0x24, 0x25, 0x26, 0x27,
                0x28, 0x29, 0x2A,
            ],
            Self::Publish(Side::Broker) => &[0x01, 0x02, 0x03, 0x08, 0x09, 0x0B, 0x23, 0x26],
            // [MQTT-3.3.4-6]: a client names no subscription.
            Self::Publish(Side::Client) => &[0x01, 0x02, 0x03, 0x08, 0x09, 0x23, 0x26],
            Self::Answer => &[0x1F, 0x26],
            Self::Subscribe => &[0x0B, 0x26],
            Self::Unsubscribe => &[0x26],
            Self::Disconnect(Side::Broker) => &[0x1C, 0x1F, 0x26],
            Self::Disconnect(Side::Client) => &[0x11, 0x1F, 0x26],
            Self::Auth => &[0x15, 0x16, 0x1F, 0x26],
        }
    }

    fn may_repeat(self, id: u8) -> bool {
        let is_publish = matches!(self, Self::Publish(Side::Broker));
        id == USER_PROPERTY || (id == SUBSCRIPTION_IDENTIFIER && is_publish)
    }
}

/// How a property's value stands on the wire.
#[derive(Clone, Copy)]
enum Kind {
    Byte,
    Two,
    Four,
    Varint,
    Text,
    Bytes,
    Pair,
}

fn kind(id: u8) -> Option<Kind> {
    Some(match id {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Kind::Byte,
        0x13 | 0x21 | 0x22 | 0x23 => Kind::Two,
        0x02 | 0x11 | 0x18 | 0x27 => Kind::Four,
        SUBSCRIPTION_IDENTIFIER => Kind::Varint,
        0x03 | 0x08 | 0x12 | AUTHENTICATION_METHOD | 0x1A | 0x1C | 0x1F => Kind::Text,
        0x09 | AUTHENTICATION_DATA => Kind::Bytes,
        USER_PROPERTY => Kind::Pair,
        _ => return None,
    })
}

/// Reads a packet's properties with their length before them.
pub(super) fn read(reader: &mut Reader<'_>, place: Place) -> Result<Vec<Property>, Fault> {
    let bytes = reader.varint("property length")?;
    let mut reader = Reader::new(reader.take(bytes as usize, "properties")?);
    let mut properties: Vec<Property> = Vec::new();
    while !reader.is_empty() {
        let id = reader.byte("property identifier")?;
        let Some(kind) = kind(id).filter(|_| place.allowed().contains(&id)) else {
            return Err(Fault::PropertyMisplaced { id });
        };
        if !place.may_repeat(id) && properties.iter().any(|property| property.id == id) {
            return Err(Fault::PropertyRepeated { id });
        }
        let value = match kind {
            Kind::Byte => Value::Number(reader.byte("property")?.into()),
            Kind::Two => Value::Number(reader.two("property")?.into()),
            Kind::Four => Value::Number(reader.four("property")?),
            Kind::Varint => Value::Number(reader.varint("property")?),
            Kind::Text => Value::Text(reader.text("property")?),
            Kind::Bytes => Value::Bytes(reader.binary("property")?),
            Kind::Pair => Value::Pair(reader.text("property name")?, reader.text("property")?),
        };
        if !value_is_allowed(id, &value) {
            return Err(Fault::PropertyValue { id });
        }
        properties.push(Property { id, value });
    }
    let has = |id| properties.iter().any(|property: &Property| property.id == id);
    if has(AUTHENTICATION_DATA) && !has(AUTHENTICATION_METHOD) {
        return Err(Fault::AuthenticationDataAlone);
    }
    Ok(properties)
}

fn value_is_allowed(id: u8, value: &Value) -> bool {
    match value {
        Value::Number(number) => match id {
            0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => *number <= 1,
            SUBSCRIPTION_IDENTIFIER | 0x21 | super::TOPIC_ALIAS | 0x27 => *number != 0,
            _ => true,
        },
        // The response topic is a topic name.
        Value::Text(text) if id == 0x08 => !text.is_empty() && !text.contains(['+', '#']),
        Value::Text(_) | Value::Bytes(_) | Value::Pair(_, _) => true,
    }
}

/// Writes properties with their length before them.
///
/// # Panics
///
/// If a property does not exist or cannot hold its value: no packet of the simulator's own is so.
pub(super) fn write(properties: &[Property], out: &mut Vec<u8>) {
    let mut body = Vec::new();
    for Property { id, value } in properties {
        body.push(*id);
        match (kind(*id), value) {
            (Some(Kind::Byte), Value::Number(number)) => body.push(fitting(*id, *number)),
            (Some(Kind::Two), Value::Number(number)) => {
                body.extend_from_slice(&fitting::<u16>(*id, *number).to_be_bytes());
            }
            (Some(Kind::Four), Value::Number(number)) => {
                body.extend_from_slice(&number.to_be_bytes());
            }
            (Some(Kind::Varint), Value::Number(number)) => put_varint(*number, &mut body),
            (Some(Kind::Text), Value::Text(text)) => put_text(text, &mut body),
            (Some(Kind::Bytes), Value::Bytes(bytes)) => put_bytes(bytes, &mut body),
            (Some(Kind::Pair), Value::Pair(name, text)) => {
                put_text(name, &mut body);
                put_text(text, &mut body);
            }
            (kind, value) => {
                let exists = if kind.is_some() { "exists" } else { "does not exist" };
                panic!("property {id:#04x} {exists} and cannot hold {value:?}");
            }
        }
    }
    let length = u32::try_from(body.len()).expect("properties are far below 4 GB");
    put_varint(length, out);
    out.extend_from_slice(&body);
}

fn fitting<T: TryFrom<u32>>(id: u8, number: u32) -> T {
    let Ok(fits) = T::try_from(number) else { panic!("property {id:#04x} cannot hold {number}") };
    fits
}

/// The number in the first property with this identifier.
pub(super) fn number(properties: &[Property], id: u8) -> Option<u32> {
    properties.iter().filter(|property| property.id == id).find_map(|property| {
        match &property.value {
            Value::Number(number) => Some(*number),
            Value::Text(_) | Value::Bytes(_) | Value::Pair(_, _) => None,
        }
    })
}
