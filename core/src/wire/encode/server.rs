//! What only a broker sends: CONNACK, SUBACK and UNSUBACK.

use super::Detail;
use super::acks::Details;
use super::properties::{put_binary, put_details, put_flag, put_text, put_u16, put_u32};
use super::sink::{Part, Sink};
use crate::wire::codes;
use crate::wire::packet::{ConnAck, SubAck, UnsubAck, WireId};
use crate::wire::property_id::PropertyId;
use crate::wire::reason::ReasonCode;
use crate::wire::types::{QoS, Version};

/// CONNACK in version 5.
pub(super) struct ConnAckBody<'a> {
    pub(super) packet: &'a ConnAck,
    pub(super) detail: Detail,
}

impl Part for ConnAckBody<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        sink.byte(u8::from(is_session_present(self.packet)));
        sink.byte(self.packet.reason.value());
        sink.prefixed(&ConnAckProperties(self));
    }
}

/// CONNACK in 3.1 and 3.1.1.
pub(super) struct OldConnAckBody {
    session_present: bool,
    return_code: u8,
}

impl OldConnAckBody {
    /// `None` if the reason has no return code.
    pub(super) fn new(packet: &ConnAck, version: Version) -> Option<Self> {
        let return_code = codes::return_code(packet.reason)?;
        // 3.1 leaves the byte unused.
        let session_present = version != Version::V31 && is_session_present(packet);
        Some(OldConnAckBody { session_present, return_code })
    }
}

impl Part for OldConnAckBody {
    fn put<S: Sink>(&self, sink: &mut S) {
        sink.byte(u8::from(self.session_present));
        sink.byte(self.return_code);
    }
}

/// SUBACK.
pub(super) struct SubAckBody<'a> {
    pub(super) packet: &'a SubAck,
    pub(super) version: Version,
    pub(super) detail: Detail,
}

impl Part for SubAckBody<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        // [MQTT-2.2.1-6] [MQTT-3.8.4-2]
        sink.u16(self.packet.packet_id.to_wire().value());
        if self.version == Version::V5 {
            sink.prefixed(&Details {
                details: self.packet.details.as_deref(),
                detail: self.detail,
            });
        }
        // [MQTT-3.9.3-1]
        for reason in &self.packet.reasons {
            // 0x80 is the only failure that older versions have.
            let older_failure = self.version != Version::V5 && reason.is_error();
            let reason = if older_failure { ReasonCode::UnspecifiedError } else { *reason };
            sink.byte(reason.value());
        }
    }
}

/// UNSUBACK.
pub(super) struct UnsubAckBody<'a> {
    pub(super) packet: &'a UnsubAck,
    pub(super) version: Version,
    pub(super) detail: Detail,
}

impl Part for UnsubAckBody<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        // [MQTT-2.2.1-6] [MQTT-3.10.4-5]
        sink.u16(self.packet.packet_id.to_wire().value());
        if self.version != Version::V5 {
            return;
        }
        sink.prefixed(&Details { details: self.packet.details.as_deref(), detail: self.detail });
        // [MQTT-3.11.3-1]
        for reason in &self.packet.reasons {
            sink.byte(reason.value());
        }
    }
}

/// Session Present, which never goes with a refusal `[MQTT-3.2.2-6]`.
fn is_session_present(packet: &ConnAck) -> bool {
    packet.session_present && packet.reason == ReasonCode::Success
}

struct ConnAckProperties<'a>(&'a ConnAckBody<'a>);

impl Part for ConnAckProperties<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        use PropertyId as Id;
        let ConnAckBody { packet, detail } = self.0;
        put_u32(sink, Id::SessionExpiryInterval, packet.session_expiry_interval_s);
        put_u16(sink, Id::ReceiveMaximum, packet.receive_maximum);
        // Absence means QoS 2, which has no value of its own.
        let maximum_qos = packet.maximum_qos.and_then(|qos| match qos {
            QoS::AtMostOnce => Some(false),
            QoS::AtLeastOnce => Some(true),
            QoS::ExactlyOnce => None,
        });
        put_flag(sink, Id::MaximumQos, maximum_qos);
        put_flag(sink, Id::RetainAvailable, packet.retain_available);
        put_u32(sink, Id::MaximumPacketSize, packet.maximum_packet_size_bytes);
        put_text(sink, Id::AssignedClientIdentifier, packet.assigned_client_id.as_ref());
        put_u16(sink, Id::TopicAliasMaximum, packet.topic_alias_maximum);
        put_flag(sink, Id::WildcardSubscriptionAvailable, packet.wildcard_subscription_available);
        let identifiers = packet.subscription_identifiers_available;
        put_flag(sink, Id::SubscriptionIdentifiersAvailable, identifiers);
        put_flag(sink, Id::SharedSubscriptionAvailable, packet.shared_subscription_available);
        put_u16(sink, Id::ServerKeepAlive, packet.server_keep_alive_s);
        put_text(sink, Id::ResponseInformation, packet.response_information.as_ref());
        put_text(sink, Id::ServerReference, packet.server_reference.as_ref());
        put_text(sink, Id::AuthenticationMethod, packet.authentication_method.as_ref());
        put_binary(sink, Id::AuthenticationData, packet.authentication_data.as_ref());
        put_details(sink, packet.reason_string.as_ref(), &packet.user_properties, *detail);
    }
}
