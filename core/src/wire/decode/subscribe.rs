//! SUBSCRIBE and UNSUBSCRIBE.

use alloc::vec::Vec;

use super::cursor::Cursor;
use super::properties::PropertySet;
use crate::routing::topic::TopicFilter;
use crate::wire::error::DecodeError;
use crate::wire::packet::{RetainHandling, Subscribe, SubscriptionOptions, Unsubscribe};
use crate::wire::property_id::PropertyPlace;
use crate::wire::types::{QoS, Version};

/// SUBSCRIBE.
pub(super) fn subscribe(mut body: Cursor, version: Version) -> Result<Subscribe, DecodeError> {
    let packet_id = body.packet_id()?;
    let properties = request_properties(&mut body, version)?;
    let mut subscriptions = Vec::new();
    while !body.is_empty() {
        // [MQTT-3.8.3-1]
        let filter = TopicFilter::new(body.text()?)?;
        let options = options(body.byte()?, version)?;
        // [MQTT-3.8.3-4]
        if options.no_local && filter.is_shared() {
            return Err(DecodeError::NoLocalShared);
        }
        subscriptions.push((filter, options));
    }
    // [MQTT-3.8.3-2]
    if subscriptions.is_empty() {
        return Err(DecodeError::PayloadMissing { packet: body.packet() });
    }
    Ok(Subscribe {
        packet_id,
        subscription_id: properties.subscription_id(),
        subscriptions,
        user_properties: properties.user_properties,
    })
}

/// UNSUBSCRIBE.
pub(super) fn unsubscribe(mut body: Cursor, version: Version) -> Result<Unsubscribe, DecodeError> {
    let packet_id = body.packet_id()?;
    let properties = request_properties(&mut body, version)?;
    let mut filters = Vec::new();
    while !body.is_empty() {
        // [MQTT-3.10.3-1]
        filters.push(TopicFilter::new(body.text()?)?);
    }
    // [MQTT-3.10.3-2]
    if filters.is_empty() {
        return Err(DecodeError::PayloadMissing { packet: body.packet() });
    }
    Ok(Unsubscribe { packet_id, filters, user_properties: properties.user_properties })
}

fn request_properties(body: &mut Cursor, version: Version) -> Result<PropertySet, DecodeError> {
    match version {
        Version::V5 => {
            let place = PropertyPlace::Packet(body.packet());
            PropertySet::read(body, place)
        }
        Version::V31 | Version::V311 => Ok(PropertySet::default()),
    }
}

fn options(byte: u8, version: Version) -> Result<SubscriptionOptions, DecodeError> {
    let maximum_qos = QoS::from_u8(byte & 0b11).ok_or(DecodeError::SubscriptionQos3)?;
    let reserved = match version {
        Version::V31 => 0, // unused bits, to be disregarded
        Version::V311 => 0b1111_1100,
        Version::V5 => 0b1100_0000, // [MQTT-3.8.3-5]
    };
    if byte & reserved != 0 {
        return Err(DecodeError::SubscriptionOptionsReserved);
    }
    if version != Version::V5 {
        return Ok(SubscriptionOptions { maximum_qos, ..SubscriptionOptions::default() });
    }
    Ok(SubscriptionOptions {
        maximum_qos,
        no_local: byte & 0b100 != 0,
        retain_as_published: byte & 0b1000 != 0,
        retain_handling: match byte >> 4 & 0b11 {
            0 => RetainHandling::Always,
            1 => RetainHandling::IfNew,
            2 => RetainHandling::Never,
            _ => return Err(DecodeError::RetainHandling3),
        },
    })
}
