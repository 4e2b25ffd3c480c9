//! Reading what the checkers need out of property lists.

use crate::packet::{Property, Value};

/// Payload format indicator.
pub(crate) const PAYLOAD_FORMAT: u8 = 0x01;
/// Message expiry interval.
pub(crate) const MESSAGE_EXPIRY: u8 = 0x02;
/// Content type.
pub(crate) const CONTENT_TYPE: u8 = 0x03;
/// Response topic.
pub(crate) const RESPONSE_TOPIC: u8 = 0x08;
/// Correlation data.
pub(crate) const CORRELATION_DATA: u8 = 0x09;
/// Subscription identifier.
pub(crate) const SUBSCRIPTION_ID: u8 = 0x0b;
/// Session expiry interval.
pub(crate) const SESSION_EXPIRY: u8 = 0x11;
/// Assigned client identifier.
pub(crate) const ASSIGNED_CLIENT_ID: u8 = 0x12;
/// Server keep alive.
pub(crate) const SERVER_KEEP_ALIVE: u8 = 0x13;
/// Request problem information.
pub(crate) const REQUEST_PROBLEM_INFORMATION: u8 = 0x17;
/// Will delay interval.
pub(crate) const WILL_DELAY: u8 = 0x18;
/// Reason string.
pub(crate) const REASON_STRING: u8 = 0x1f;
/// Receive maximum.
pub(crate) const RECEIVE_MAXIMUM: u8 = 0x21;
/// Topic alias maximum.
pub(crate) const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
/// Topic alias.
pub(crate) const TOPIC_ALIAS: u8 = 0x23;
/// User property.
pub(crate) const USER_PROPERTY: u8 = 0x26;
/// Maximum packet size.
pub(crate) const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// The first number under `id`.
pub(crate) fn number(properties: &[Property], id: u8) -> Option<u32> {
    properties.iter().find(|property| property.id == id).and_then(|property| {
        match &property.value {
            Value::Number(number) => Some(*number),
            Value::Text(_) | Value::Bytes(_) | Value::Pair(..) => None,
        }
    })
}

/// All numbers under `id`.
pub(crate) fn numbers(properties: &[Property], id: u8) -> Vec<u32> {
    let mut found = Vec::new();
    for property in properties.iter().filter(|property| property.id == id) {
        if let Value::Number(number) = property.value {
            found.push(number);
        }
    }
    found
}

/// The first text under `id`.
pub(crate) fn text(properties: &[Property], id: u8) -> Option<&str> {
    properties.iter().find(|property| property.id == id).and_then(|property| {
        match &property.value {
            Value::Text(text) => Some(text.as_str()),
            Value::Number(_) | Value::Bytes(_) | Value::Pair(..) => None,
        }
    })
}

/// What travels with a message from its publisher to its receivers, by kind; user properties in
/// their order.
pub(crate) fn forwarded(properties: &[Property]) -> Vec<&Property> {
    let mut found = Vec::new();
    for id in [PAYLOAD_FORMAT, CONTENT_TYPE, RESPONSE_TOPIC, CORRELATION_DATA, USER_PROPERTY] {
        found.extend(properties.iter().filter(|property| property.id == id));
    }
    found
}
