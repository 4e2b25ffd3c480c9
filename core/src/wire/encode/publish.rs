//! PUBLISH to either side.

use super::properties::{put_subscription_id, put_u16, put_u32};
use super::sink::{Part, Sink};
use crate::message::Message;
use crate::wire::frame::PacketType;
use crate::wire::packet::{OutboundPublish, Publish, WireId};
use crate::wire::property::MessageProperties;
use crate::wire::property_id::PropertyId;
use crate::wire::types::{Delivery, PacketId, QoS, Version};

/// A PUBLISH, taken apart for writing.
pub(super) struct PublishBody<'a> {
    dup: bool,
    retain: bool,
    qos: QoS,
    topic: &'a [u8],
    packet_id: Option<PacketId>,
    /// `None` in versions without properties.
    properties: Option<PublishProperties<'a>>,
    payload: &'a [u8],
}

impl<'a> PublishBody<'a> {
    pub(super) fn from_server(publish: &'a OutboundPublish, version: Version) -> Self {
        let message = &*publish.message;
        PublishBody {
            dup: publish.dup,
            retain: publish.retain,
            qos: publish.delivery.qos(),
            topic: message.topic.as_text().as_bytes(),
            packet_id: packet_id(&publish.delivery),
            properties: (version == Version::V5).then(|| PublishProperties {
                message_expiry_interval_s: publish.message_expiry_interval_s,
                topic_alias: None,
                message: message.properties.as_deref(),
                subscription_ids: publish.subscription_ids.as_slice(),
            }),
            payload: &message.payload,
        }
    }

    pub(super) fn from_client(publish: &'a Publish, version: Version) -> Self {
        PublishBody {
            dup: publish.dup,
            retain: publish.retain,
            qos: publish.delivery.qos(),
            topic: publish.topic.as_text().as_bytes(),
            packet_id: packet_id(&publish.delivery),
            properties: (version == Version::V5).then_some(PublishProperties {
                message_expiry_interval_s: publish.message_expiry_interval_s,
                topic_alias: None,
                message: publish.properties.as_deref(),
                subscription_ids: &[],
            }),
            payload: &publish.payload,
        }
    }

    /// What every PUBLISH of a message has.
    pub(super) fn of_message(message: &'a Message) -> Self {
        PublishBody {
            dup: false,
            retain: false,
            qos: QoS::AtMostOnce,
            topic: message.topic.as_text().as_bytes(),
            packet_id: None,
            properties: Some(PublishProperties {
                message_expiry_interval_s: None,
                topic_alias: None,
                message: message.properties.as_deref(),
                subscription_ids: &[],
            }),
            payload: &message.payload,
        }
    }

    /// Adds a topic alias; without effect in versions without properties.
    pub(super) fn set_alias(&mut self, alias: u16) {
        if let Some(properties) = &mut self.properties {
            properties.topic_alias = Some(alias);
        }
    }

    /// Leaves the topic to the alias.
    pub(super) fn omit_topic(&mut self) {
        self.topic = &[];
    }

    /// Leaves the payload to whoever writes it behind this. Returns its length in bytes.
    pub(super) fn omit_payload(&mut self) -> usize {
        core::mem::take(&mut self.payload).len()
    }

    pub(super) fn first_byte(&self) -> u8 {
        PacketType::Publish.first_byte()
            | u8::from(self.dup) << 3
            | (self.qos as u8) << 1
            | u8::from(self.retain)
    }
}

impl Part for PublishBody<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        sink.binary(self.topic);
        if let Some(id) = self.packet_id {
            sink.u16(id.value());
        }
        if let Some(properties) = &self.properties {
            sink.prefixed(properties);
        }
        sink.slice(self.payload);
    }
}

struct PublishProperties<'a> {
    message_expiry_interval_s: Option<u32>,
    topic_alias: Option<u16>,
    message: Option<&'a MessageProperties>,
    subscription_ids: &'a [u32],
}

impl Part for PublishProperties<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        put_u32(sink, PropertyId::MessageExpiryInterval, self.message_expiry_interval_s);
        put_u16(sink, PropertyId::TopicAlias, self.topic_alias);
        // [MQTT-3.3.2-4] [MQTT-3.3.2-15] [MQTT-3.3.2-16] [MQTT-3.3.2-17] [MQTT-3.3.2-18]
        // [MQTT-3.3.2-20]
        if let Some(properties) = self.message {
            properties.put(sink);
        }
        // [MQTT-3.3.4-3] [MQTT-3.3.4-4]
        for id in self.subscription_ids {
            put_subscription_id(sink, *id);
        }
    }
}

fn packet_id<Id: WireId>(delivery: &Delivery<Id>) -> Option<PacketId> {
    match delivery {
        Delivery::AtMostOnce => None, // [MQTT-2.2.1-2]
        Delivery::AtLeastOnce(id) | Delivery::ExactlyOnce(id) => Some(id.to_wire()),
    }
}
