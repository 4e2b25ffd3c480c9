//! PUBLISH from either side.

use alloc::boxed::Box;
use alloc::sync::Arc;

use bytes::Bytes;

use super::cursor::Cursor;
use super::properties::PropertySet;
use crate::message::{Message, MessageId};
use crate::routing::topic::Topic;
use crate::wire::alias::InboundAliases;
use crate::wire::error::DecodeError;
use crate::wire::frame::PacketType;
use crate::wire::packet::{OutboundPublish, Publish, WireId};
use crate::wire::property::{MessageProperties, SubscriptionIds};
use crate::wire::property_id::{PropertyId, PropertyPlace};
use crate::wire::types::{Delivery, QoS, Version};

/// PUBLISH from a client.
pub(super) fn client_publish(
    body: Cursor,
    flags: u8,
    version: Version,
    aliases: &mut InboundAliases,
) -> Result<Publish, DecodeError> {
    let parts = parts(body, flags, version, aliases)?;
    // [MQTT-3.3.4-6]
    if parts.subscription_ids != SubscriptionIds::None {
        let property = PropertyId::SubscriptionIdentifier;
        return Err(DecodeError::PropertyFromWrongSide { property });
    }
    Ok(Publish {
        dup: parts.dup,
        retain: parts.retain,
        delivery: parts.delivery,
        topic: parts.topic,
        payload: parts.payload,
        message_expiry_interval_s: parts.message_expiry_interval_s,
        properties: parts.properties,
    })
}

/// PUBLISH from a broker. The message's number and expiry time, which only its broker knows, are
/// left at their defaults.
pub(super) fn server_publish(
    body: Cursor,
    flags: u8,
    version: Version,
    aliases: &mut InboundAliases,
) -> Result<OutboundPublish, DecodeError> {
    let parts = parts(body, flags, version, aliases)?;
    Ok(OutboundPublish {
        message: Arc::new(Message {
            id: MessageId::default(),
            topic: parts.topic,
            payload: parts.payload,
            qos: parts.delivery.qos(),
            expires_at: None,
            properties: parts.properties,
        }),
        dup: parts.dup,
        retain: parts.retain,
        delivery: parts.delivery,
        message_expiry_interval_s: parts.message_expiry_interval_s,
        subscription_ids: parts.subscription_ids,
    })
}

/// Reads what [`put_message`](crate::wire::put_message) wrote. Topic, payload and values are slices of
/// `bytes`.
pub(crate) fn take_message(
    bytes: Bytes,
) -> Result<(Topic, Option<Box<MessageProperties>>, Bytes), DecodeError> {
    let mut body = Cursor::new(bytes, PacketType::Publish);
    let topic = Topic::of_topic(body.binary()?);
    let properties = if body.skip_no_properties() {
        None
    } else {
        HopProperties::read(&mut body)?.message_properties
    };
    Ok((topic, properties, body.into_rest()))
}

struct Parts<Id> {
    dup: bool,
    retain: bool,
    delivery: Delivery<Id>,
    topic: Topic,
    payload: Bytes,
    message_expiry_interval_s: Option<u32>,
    subscription_ids: SubscriptionIds,
    properties: Option<Box<MessageProperties>>,
}

fn parts<Id: WireId>(
    mut body: Cursor,
    flags: u8,
    version: Version,
    aliases: &mut InboundAliases,
) -> Result<Parts<Id>, DecodeError> {
    let dup = flags & 0b1000 != 0;
    // [MQTT-3.3.1-4]
    let qos = QoS::from_u8(flags >> 1 & 0b11).ok_or(DecodeError::PublishQos3)?;
    // [MQTT-3.3.1-2]
    if dup && qos == QoS::AtMostOnce {
        return Err(DecodeError::DupAtQos0);
    }
    // [MQTT-3.3.2-1]
    let topic = body.text()?;
    // [MQTT-2.2.1-2]
    let delivery = match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce(body.packet_id()?),
        QoS::ExactlyOnce => Delivery::ExactlyOnce(body.packet_id()?),
    };
    let properties = match version {
        Version::V5 if body.skip_no_properties() => HopProperties::default(),
        Version::V5 => HopProperties::read(&mut body)?,
        Version::V31 | Version::V311 => HopProperties::default(),
    };
    Ok(Parts {
        dup,
        retain: flags & 0b0001 != 0,
        delivery,
        topic: aliases.resolve(topic, properties.topic_alias)?,
        payload: body.into_rest(),
        message_expiry_interval_s: properties.message_expiry_interval_s,
        properties: properties.message_properties,
        subscription_ids: properties.subscription_ids,
    })
}

/// What a PUBLISH takes from its property block.
#[derive(Default)]
struct HopProperties {
    topic_alias: Option<u16>,
    message_expiry_interval_s: Option<u32>,
    subscription_ids: SubscriptionIds,
    message_properties: Option<Box<MessageProperties>>,
}

impl HopProperties {
    // Kept out of the way of a PUBLISH without properties: the set of all of them is large.
    #[inline(never)]
    fn read(body: &mut Cursor) -> Result<Self, DecodeError> {
        let mut set = PropertySet::read(body, PropertyPlace::Packet(PacketType::Publish))?;
        Ok(HopProperties {
            topic_alias: set.topic_alias,
            message_expiry_interval_s: set.message_expiry_interval_s,
            message_properties: set.take_message_properties(),
            subscription_ids: set.subscription_ids,
        })
    }
}
