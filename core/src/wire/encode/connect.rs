//! CONNECT in all its versions.

use super::properties::{put_binary, put_flag, put_text, put_u16, put_u32, put_user_properties};
use super::sink::{Part, Sink};
use crate::wire::packet::{Connect, Will};
use crate::wire::property_id::PropertyId;
use crate::wire::types::Version;

/// CONNECT.
pub(super) struct ConnectBody<'a>(pub(super) &'a Connect);

impl Part for ConnectBody<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        let connect = self.0;
        let (name, level): (&[u8], u8) = match connect.version {
            Version::V31 => (b"MQIsdp", 3),
            Version::V311 => (b"MQTT", 4),
            Version::V5 => (b"MQTT", 5),
        };
        sink.binary(name);
        sink.byte(level);
        sink.byte(flags(connect));
        sink.u16(connect.keep_alive_s);
        if connect.version == Version::V5 {
            sink.prefixed(&ConnectProperties(connect));
        }
        sink.binary(connect.client_id.as_bytes());
        if let Some(will) = &connect.will {
            if connect.version == Version::V5 {
                sink.prefixed(&WillProperties(will));
            }
            sink.binary(will.topic.as_text().as_bytes());
            sink.binary(&will.payload);
        }
        if let Some(user_name) = &connect.user_name {
            sink.binary(user_name.as_bytes());
        }
        if let Some(password) = &connect.password {
            sink.binary(password);
        }
    }
}

fn flags(connect: &Connect) -> u8 {
    let will = connect
        .will
        .as_ref()
        .map_or(0, |will| 0x04 | (will.qos as u8) << 3 | u8::from(will.retain) << 5);
    u8::from(connect.clean_start) << 1
        | will
        | u8::from(connect.password.is_some()) << 6
        | u8::from(connect.user_name.is_some()) << 7
}

struct ConnectProperties<'a>(&'a Connect);

impl Part for ConnectProperties<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        let connect = self.0;
        let expiry_s = connect.session_expiry_interval_s;
        put_u32(sink, PropertyId::SessionExpiryInterval, (expiry_s != 0).then_some(expiry_s));
        let receive_maximum = connect.receive_maximum;
        let receive_maximum = (receive_maximum != u16::MAX).then_some(receive_maximum);
        put_u16(sink, PropertyId::ReceiveMaximum, receive_maximum);
        put_u32(sink, PropertyId::MaximumPacketSize, connect.maximum_packet_size_bytes);
        let alias_maximum = connect.topic_alias_maximum;
        let alias_maximum = (alias_maximum != 0).then_some(alias_maximum);
        put_u16(sink, PropertyId::TopicAliasMaximum, alias_maximum);
        let response_information = connect.request_response_information.then_some(true);
        put_flag(sink, PropertyId::RequestResponseInformation, response_information);
        let problem_information = (!connect.request_problem_information).then_some(false);
        put_flag(sink, PropertyId::RequestProblemInformation, problem_information);
        let method = connect.authentication_method.as_ref();
        put_text(sink, PropertyId::AuthenticationMethod, method);
        let data = connect.authentication_data.as_ref();
        put_binary(sink, PropertyId::AuthenticationData, data);
        put_user_properties(sink, &connect.user_properties);
    }
}

struct WillProperties<'a>(&'a Will);

impl Part for WillProperties<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        let will = self.0;
        let delay_s = will.delay_interval_s;
        put_u32(sink, PropertyId::WillDelayInterval, (delay_s != 0).then_some(delay_s));
        put_u32(sink, PropertyId::MessageExpiryInterval, will.message_expiry_interval_s);
        if let Some(properties) = &will.properties {
            properties.put(sink);
        }
    }
}
