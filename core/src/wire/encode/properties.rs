//! Single properties, and those that travel with a message.

use bytes::Bytes;

use super::Detail;
use super::sink::{Part, Sink};
use crate::routing::topic::Topic;
use crate::wire::property::{MessageProperties, UserProperties};
use crate::wire::property_id::PropertyId;
use crate::wire::types::Text;

impl Part for MessageProperties {
    fn put<S: Sink>(&self, sink: &mut S) {
        put_flag(sink, PropertyId::PayloadFormatIndicator, self.payload_format_indicator);
        put_text(sink, PropertyId::ContentType, self.content_type.as_ref());
        let response_topic = self.response_topic.as_ref().map(Topic::as_text);
        put_text(sink, PropertyId::ResponseTopic, response_topic);
        put_binary(sink, PropertyId::CorrelationData, self.correlation_data.as_ref());
        put_user_properties(sink, &self.user_properties);
    }
}

/// Reason string and user properties, as far as they go along.
pub(super) fn put_details<S: Sink>(
    sink: &mut S,
    reason_string: Option<&Text>,
    user_properties: &UserProperties,
    detail: Detail,
) {
    match detail {
        Detail::All => {
            put_text(sink, PropertyId::ReasonString, reason_string);
            put_user_properties(sink, user_properties);
        }
        Detail::UserProperties => put_user_properties(sink, user_properties),
        Detail::Nothing => {}
    }
}

pub(super) fn put_user_properties<S: Sink>(sink: &mut S, properties: &UserProperties) {
    for (name, value) in properties {
        sink.byte(PropertyId::UserProperty as u8);
        sink.binary(name.as_bytes());
        sink.binary(value.as_bytes());
    }
}

pub(super) fn put_text<S: Sink>(sink: &mut S, id: PropertyId, value: Option<&Text>) {
    if let Some(value) = value {
        sink.byte(id as u8);
        sink.binary(value.as_bytes());
    }
}

pub(super) fn put_binary<S: Sink>(sink: &mut S, id: PropertyId, value: Option<&Bytes>) {
    if let Some(value) = value {
        sink.byte(id as u8);
        sink.binary(value);
    }
}

pub(super) fn put_flag<S: Sink>(sink: &mut S, id: PropertyId, value: Option<bool>) {
    if let Some(value) = value {
        sink.byte(id as u8);
        sink.byte(u8::from(value));
    }
}

pub(super) fn put_u16<S: Sink>(sink: &mut S, id: PropertyId, value: Option<u16>) {
    if let Some(value) = value {
        sink.byte(id as u8);
        sink.u16(value);
    }
}

pub(super) fn put_u32<S: Sink>(sink: &mut S, id: PropertyId, value: Option<u32>) {
    if let Some(value) = value {
        sink.byte(id as u8);
        sink.u32(value);
    }
}

pub(super) fn put_subscription_id<S: Sink>(sink: &mut S, value: u32) {
    sink.byte(PropertyId::SubscriptionIdentifier as u8);
    sink.variable(usize::try_from(value).unwrap_or(usize::MAX));
}
