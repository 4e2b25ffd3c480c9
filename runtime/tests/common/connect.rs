//! The CONNECT from which the tests make theirs.

use signalhouse_core::wire::packet::Connect;
use signalhouse_core::wire::types::{Text, Version};

/// A clean start of MQTT 5 that asks for nothing, and whose session ends with it.
pub(crate) fn connect(client_id: &str) -> Connect {
    Connect {
        version: Version::V5,
        clean_start: true,
        keep_alive_s: 0,
        client_id: Text::try_from(client_id).expect("a short text"),
        will: None,
        user_name: None,
        password: None,
        session_expiry_interval_s: 0,
        receive_maximum: u16::MAX,
        maximum_packet_size_bytes: None,
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        user_properties: Vec::new(),
    }
}
