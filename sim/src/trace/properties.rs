//! Properties of packets, for people.

use std::fmt;

use crate::packet::{Property, Value};

/// Properties by the standard's names, in few words.
pub(super) fn show_properties(properties: &[Property], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    for Property { id, value } in properties {
        let name = Name(*id);
        match value {
            Value::Number(number) => write!(f, " {name}={number}")?,
            Value::Text(text) => write!(f, " {name}={text:?}")?,
            Value::Bytes(bytes) => write!(f, " {name}={bytes:02x?}")?,
            Value::Pair(key, value) => write!(f, " {name}={key:?}:{value:?}")?,
        }
    }
    Ok(())
}

/// What a property is called.
struct Name(u8);

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match name(self.0) {
            Some(name) => f.write_str(name),
            None => write!(f, "{:#04x}", self.0),
        }
    }
}

fn name(id: u8) -> Option<&'static str> {
    Some(match id {
        0x01 => "payload_format",
        0x02 => "expiry_s",
        0x03 => "content_type",
        0x08 => "response_topic",
        0x09 => "correlation_data",
        0x0b => "subscription_id",
        0x11 => "session_expiry_s",
        0x12 => "assigned_client_id",
        0x13 => "server_keep_alive_s",
        0x15 => "authentication_method",
        0x16 => "authentication_data",
        0x17 => "request_problem_information",
        0x18 => "will_delay_s",
        0x19 => "request_response_information",
        0x1a => "response_information",
        0x1c => "server_reference",
        0x1f => "reason_string",
        0x21 => "receive_maximum",
        0x22 => "topic_alias_maximum",
        0x23 => "topic_alias",
        0x24 => "maximum_qos",
        0x25 => "retain_available",
        0x26 => "user_property",
        0x27 => "maximum_packet_size",
        0x28 => "wildcard_subscription_available",
        0x29 => "subscription_ids_available",
        0x2a => "shared_subscription_available",
        _ => return None,
    })
}
