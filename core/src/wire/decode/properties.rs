//! Property blocks: every property is known, in its place, given once and within its range.

use alloc::boxed::Box;

use bytes::Bytes;

use super::cursor::Cursor;
use crate::routing::topic::Topic;
use crate::wire::error::DecodeError;
use crate::wire::packet::ReasonDetails;
use crate::wire::property::{MessageProperties, SubscriptionIds, UserProperties};
use crate::wire::property_id::{PropertyId, PropertyPlace};
use crate::wire::types::{QoS, Text};

/// The values of one property block; what the place does not allow is absent.
#[derive(Default)]
pub(super) struct PropertySet {
    pub(super) payload_format_indicator: Option<bool>,
    pub(super) message_expiry_interval_s: Option<u32>,
    pub(super) content_type: Option<Text>,
    pub(super) response_topic: Option<Topic>,
    pub(super) correlation_data: Option<Bytes>,
    pub(super) subscription_ids: SubscriptionIds,
    pub(super) session_expiry_interval_s: Option<u32>,
    pub(super) assigned_client_id: Option<Text>,
    pub(super) server_keep_alive_s: Option<u16>,
    pub(super) authentication_method: Option<Text>,
    pub(super) authentication_data: Option<Bytes>,
    pub(super) request_problem_information: Option<bool>,
    pub(super) will_delay_interval_s: Option<u32>,
    pub(super) request_response_information: Option<bool>,
    pub(super) response_information: Option<Text>,
    pub(super) server_reference: Option<Text>,
    pub(super) reason_string: Option<Text>,
    pub(super) receive_maximum: Option<u16>,
    pub(super) topic_alias_maximum: Option<u16>,
    pub(super) topic_alias: Option<u16>,
    pub(super) maximum_qos: Option<QoS>,
    pub(super) retain_available: Option<bool>,
    pub(super) user_properties: UserProperties,
    pub(super) maximum_packet_size_bytes: Option<u32>,
    pub(super) wildcard_subscription_available: Option<bool>,
    pub(super) subscription_identifiers_available: Option<bool>,
    pub(super) shared_subscription_available: Option<bool>,
}

impl PropertySet {
    /// Reads the property block at the front of `body`.
    pub(super) fn read(body: &mut Cursor, place: PropertyPlace) -> Result<Self, DecodeError> {
        let mut block = body.properties()?;
        let mut set = PropertySet::default();
        let mut seen = 0u64;
        while !block.is_empty() {
            let number = block.variable()?;
            let property =
                PropertyId::from_u32(number).ok_or(DecodeError::UnknownProperty { id: number })?;
            if !property.is_allowed_in(place) {
                return Err(DecodeError::MisplacedProperty { property, place });
            }
            let bit = 1u64 << property as u8;
            if seen & bit != 0 && !repeats(property, place) {
                return Err(DecodeError::RepeatedProperty { property });
            }
            seen |= bit;
            set.read_value(property, &mut block)?;
        }
        Ok(set)
    }

    fn read_value(&mut self, property: PropertyId, block: &mut Cursor) -> Result<(), DecodeError> {
        use PropertyId as Id;
        match property {
            Id::PayloadFormatIndicator => {
                self.payload_format_indicator = Some(flag(property, block)?);
            }
            Id::MessageExpiryInterval => self.message_expiry_interval_s = Some(block.u32()?),
            // [MQTT-3.3.2-19]
            Id::ContentType => self.content_type = Some(block.text()?),
            // [MQTT-3.3.2-13] [MQTT-3.3.2-14]
            Id::ResponseTopic => self.response_topic = Some(Topic::new(block.text()?)?),
            Id::CorrelationData => self.correlation_data = Some(block.binary()?),
            Id::SubscriptionIdentifier => {
                self.subscription_ids.push(not_zero(property, block.variable()?)?);
            }
            Id::SessionExpiryInterval => self.session_expiry_interval_s = Some(block.u32()?),
            Id::AssignedClientIdentifier => self.assigned_client_id = Some(block.text()?),
            Id::ServerKeepAlive => self.server_keep_alive_s = Some(block.u16()?),
            Id::AuthenticationMethod => self.authentication_method = Some(block.text()?),
            Id::AuthenticationData => self.authentication_data = Some(block.binary()?),
            Id::RequestProblemInformation => {
                self.request_problem_information = Some(flag(property, block)?);
            }
            Id::WillDelayInterval => self.will_delay_interval_s = Some(block.u32()?),
            Id::RequestResponseInformation => {
                self.request_response_information = Some(flag(property, block)?);
            }
            Id::ResponseInformation => self.response_information = Some(block.text()?),
            Id::ServerReference => self.server_reference = Some(block.text()?),
            Id::ReasonString => self.reason_string = Some(block.text()?),
            Id::ReceiveMaximum => self.receive_maximum = Some(not_zero(property, block.u16()?)?),
            Id::TopicAliasMaximum => self.topic_alias_maximum = Some(block.u16()?),
            Id::TopicAlias => self.topic_alias = Some(block.u16()?),
            Id::MaximumQos => {
                let qos = if flag(property, block)? { QoS::AtLeastOnce } else { QoS::AtMostOnce };
                self.maximum_qos = Some(qos);
            }
            Id::RetainAvailable => self.retain_available = Some(flag(property, block)?),
            // [MQTT-1.5.7-1]
            Id::UserProperty => self.user_properties.push((block.text()?, block.text()?)),
            Id::MaximumPacketSize => {
                self.maximum_packet_size_bytes = Some(not_zero(property, block.u32()?)?);
            }
            Id::WildcardSubscriptionAvailable => {
                self.wildcard_subscription_available = Some(flag(property, block)?);
            }
            Id::SubscriptionIdentifiersAvailable => {
                self.subscription_identifiers_available = Some(flag(property, block)?);
            }
            Id::SharedSubscriptionAvailable => {
                self.shared_subscription_available = Some(flag(property, block)?);
            }
        }
        Ok(())
    }

    /// Moves out what travels with a message, `None` if there is nothing of it.
    pub(super) fn take_message_properties(&mut self) -> Option<Box<MessageProperties>> {
        let properties = MessageProperties {
            payload_format_indicator: self.payload_format_indicator.take(),
            content_type: self.content_type.take(),
            response_topic: self.response_topic.take(),
            correlation_data: self.correlation_data.take(),
            user_properties: core::mem::take(&mut self.user_properties),
        };
        (!properties.is_empty()).then(|| Box::new(properties))
    }

    /// What people may read beside a reason code, `None` if there is nothing of it.
    pub(super) fn into_details(self) -> Option<Box<ReasonDetails>> {
        if self.reason_string.is_none() && self.user_properties.is_empty() {
            return None;
        }
        Some(Box::new(ReasonDetails {
            reason_string: self.reason_string,
            user_properties: self.user_properties,
        }))
    }

    /// The only subscription identifier of a SUBSCRIBE.
    pub(super) fn subscription_id(&self) -> Option<u32> {
        self.subscription_ids.as_slice().first().copied()
    }
}

/// Whether a property may be given more than once.
fn repeats(property: PropertyId, place: PropertyPlace) -> bool {
    use crate::wire::frame::PacketType;
    property == PropertyId::UserProperty
        || property == PropertyId::SubscriptionIdentifier
            && place == PropertyPlace::Packet(PacketType::Publish)
}

fn flag(property: PropertyId, block: &mut Cursor) -> Result<bool, DecodeError> {
    match block.byte()? {
        0 => Ok(false),
        1 => Ok(true),
        _ => Err(DecodeError::PropertyValue { property }),
    }
}

fn not_zero<N: Default + PartialEq>(property: PropertyId, value: N) -> Result<N, DecodeError> {
    if value == N::default() { Err(DecodeError::PropertyValue { property }) } else { Ok(value) }
}
