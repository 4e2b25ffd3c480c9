//! Properties of MQTT 5: identifiers, values, and which packet of a server may carry which.

use super::{put_counted, put_variable};

/// Property identifiers.
#[expect(missing_docs, reason = "the names are the standard's")]
pub mod id {
    pub const PAYLOAD_FORMAT_INDICATOR: u8 = 0x01;
    pub const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
    pub const CONTENT_TYPE: u8 = 0x03;
    pub const RESPONSE_TOPIC: u8 = 0x08;
    pub const CORRELATION_DATA: u8 = 0x09;
    pub const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
    pub const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
    pub const ASSIGNED_CLIENT_IDENTIFIER: u8 = 0x12;
    pub const SERVER_KEEP_ALIVE: u8 = 0x13;
    pub const AUTHENTICATION_METHOD: u8 = 0x15;
    pub const AUTHENTICATION_DATA: u8 = 0x16;
    pub const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
    pub const WILL_DELAY_INTERVAL: u8 = 0x18;
    pub const REQUEST_RESPONSE_INFORMATION: u8 = 0x19;
    pub const RESPONSE_INFORMATION: u8 = 0x1A;
    pub const SERVER_REFERENCE: u8 = 0x1C;
    pub const REASON_STRING: u8 = 0x1F;
    pub const RECEIVE_MAXIMUM: u8 = 0x21;
    pub const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
    pub const TOPIC_ALIAS: u8 = 0x23;
    pub const MAXIMUM_QOS: u8 = 0x24;
    pub const RETAIN_AVAILABLE: u8 = 0x25;
    pub const USER_PROPERTY: u8 = 0x26;
    pub const MAXIMUM_PACKET_SIZE: u8 = 0x27;
    pub const WILDCARD_SUBSCRIPTION_AVAILABLE: u8 = 0x28;
    pub const SUBSCRIPTION_IDENTIFIERS_AVAILABLE: u8 = 0x29;
    pub const SHARED_SUBSCRIPTION_AVAILABLE: u8 = 0x2A;
}

/// The value of a property.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// One byte.
    Byte(u8),
    /// Two bytes.
    Two(u16),
    /// Four bytes.
    Four(u32),
    /// A variable byte integer.
    Variable(u32),
    /// A string.
    Text(String),
    /// Bytes.
    Binary(Vec<u8>),
    /// A name and a value.
    Pair(String, String),
    /// Anything, as it stands; never read.
    Raw(Vec<u8>),
}

/// How a property's value is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Type {
    /// [`Value::Byte`].
    Byte,
    /// [`Value::Two`].
    Two,
    /// [`Value::Four`].
    Four,
    /// [`Value::Variable`].
    Variable,
    /// [`Value::Text`].
    Text,
    /// [`Value::Binary`].
    Binary,
    /// [`Value::Pair`].
    Pair,
}

/// The type of the property `identifier`; `None` if there is no such property.
#[must_use]
pub fn type_of(identifier: u8) -> Option<Type> {
    match identifier {
        0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28 | 0x29 | 0x2A => Some(Type::Byte),
        0x13 | 0x21 | 0x22 | 0x23 => Some(Type::Two),
        0x02 | 0x11 | 0x18 | 0x27 => Some(Type::Four),
        0x0B => Some(Type::Variable),
        0x03 | 0x08 | 0x12 | 0x15 | 0x1A | 0x1C | 0x1F => Some(Type::Text),
        0x09 | 0x16 => Some(Type::Binary),
        0x26 => Some(Type::Pair),
        _ => None,
    }
}

/// Whether a server's packet of type `kind` may carry the property `identifier`.
#[must_use]
pub fn server_may_send(kind: u8, identifier: u8) -> bool {
    match kind {
        2 => matches!(
            identifier,
            0x11..=0x13 | 0x15 | 0x16 | 0x1A | 0x1C | 0x1F | 0x21 | 0x22 | 0x24..=0x2A
        ),
        3 => matches!(identifier, 0x01..=0x03 | 0x08 | 0x09 | 0x0B | 0x23 | 0x26),
        4..=7 | 9 | 11 => matches!(identifier, 0x1F | 0x26),
        14 => matches!(identifier, 0x1C | 0x1F | 0x26),
        15 => matches!(identifier, 0x15 | 0x16 | 0x1F | 0x26),
        _ => false,
    }
}

/// A property with its identifier.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Property {
    /// The identifier.
    pub id: u8,
    /// The value, which need not be of the identifier's type.
    pub value: Value,
}

impl Property {
    /// Appends the property as it stands.
    pub fn put(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.id);
        match &self.value {
            Value::Byte(value) => bytes.push(*value),
            Value::Two(value) => bytes.extend_from_slice(&value.to_be_bytes()),
            Value::Four(value) => bytes.extend_from_slice(&value.to_be_bytes()),
            Value::Variable(value) => put_variable(bytes, *value),
            Value::Text(value) => put_counted(bytes, value.as_bytes()),
            Value::Binary(value) => put_counted(bytes, value),
            Value::Raw(value) => bytes.extend_from_slice(value),
            Value::Pair(name, value) => {
                put_counted(bytes, name.as_bytes());
                put_counted(bytes, value.as_bytes());
            }
        }
    }
}

/// The properties of a packet, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Properties(pub Vec<Property>);

impl Properties {
    /// No properties.
    #[must_use]
    pub fn none() -> Self {
        Properties::default()
    }

    /// These and one more.
    #[must_use]
    pub fn with(mut self, id: u8, value: Value) -> Self {
        self.0.push(Property { id, value });
        self
    }

    /// The first property `id`.
    #[must_use]
    pub fn get(&self, id: u8) -> Option<&Value> {
        self.0.iter().find(|property| property.id == id).map(|property| &property.value)
    }

    /// The first property `id`, as a number; `None` if it is absent or no number.
    #[must_use]
    pub fn number(&self, id: u8) -> Option<u32> {
        match self.get(id)? {
            Value::Byte(value) => Some(u32::from(*value)),
            Value::Two(value) => Some(u32::from(*value)),
            Value::Four(value) | Value::Variable(value) => Some(*value),
            Value::Text(_) | Value::Binary(_) | Value::Pair(..) | Value::Raw(_) => None,
        }
    }

    /// The first property `id`, as a text; `None` if it is absent or no text.
    #[must_use]
    pub fn text(&self, id: u8) -> Option<&str> {
        match self.get(id)? {
            Value::Text(value) => Some(value),
            Value::Byte(_)
            | Value::Two(_)
            | Value::Four(_)
            | Value::Variable(_)
            | Value::Binary(_)
            | Value::Pair(..)
            | Value::Raw(_) => None,
        }
    }

    /// All values of a property that may be there more than once.
    #[must_use]
    pub fn all(&self, id: u8) -> Vec<&Value> {
        self.0.iter().filter(|property| property.id == id).map(|property| &property.value).collect()
    }

    /// Removes every property `id`.
    pub fn remove(&mut self, id: u8) {
        self.0.retain(|property| property.id != id);
    }

    /// Appends the properties with their length in front.
    pub fn put(&self, bytes: &mut Vec<u8>) {
        let mut inside = Vec::new();
        for property in &self.0 {
            property.put(&mut inside);
        }
        put_variable(bytes, u32::try_from(inside.len()).unwrap_or(u32::MAX));
        bytes.extend_from_slice(&inside);
    }
}
