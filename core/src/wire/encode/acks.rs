//! The packets of a reason code and little more: PUBACK, PUBREC, PUBREL, PUBCOMP, DISCONNECT, AUTH.

use super::Detail;
use super::properties::{put_binary, put_details, put_text, put_u32};
use super::sink::{self, Part, Sink};
use crate::wire::frame::Side;
use crate::wire::packet::{Ack, Auth, Disconnect, ReasonDetails, WireId};
use crate::wire::property_id::PropertyId;
use crate::wire::reason::ReasonCode;
use crate::wire::types::{PacketId, Version};

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
pub(super) struct AckBody<'a> {
    packet_id: PacketId,
    /// `None` in versions without reason codes.
    outcome: Option<Outcome<Details<'a>>>,
}

impl<'a> AckBody<'a> {
    pub(super) fn new<Id: WireId>(ack: &'a Ack<Id>, version: Version, detail: Detail) -> Self {
        AckBody {
            packet_id: ack.packet_id.to_wire(),
            outcome: (version == Version::V5).then_some(Outcome {
                reason: ack.reason,
                properties: Details { details: ack.details.as_deref(), detail },
            }),
        }
    }
}

impl Part for AckBody<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        // [MQTT-2.2.1-5]
        sink.u16(self.packet_id.value());
        if let Some(outcome) = &self.outcome {
            outcome.put(sink);
        }
    }
}

/// DISCONNECT in version 5.
pub(super) struct DisconnectBody<'a> {
    pub(super) packet: &'a Disconnect,
    pub(super) sender: Side,
    pub(super) detail: Detail,
}

impl Part for DisconnectBody<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        let properties = DisconnectProperties(self);
        if self.packet.reason == ReasonCode::Success {
            Outcome { reason: self.packet.reason, properties }.put(sink);
        } else {
            // Clients are about that fail to read a code without the length behind it.
            sink.byte(self.packet.reason.value());
            sink.prefixed(&properties);
        }
    }
}

/// AUTH.
pub(super) struct AuthBody<'a> {
    pub(super) packet: &'a Auth,
    pub(super) detail: Detail,
}

impl Part for AuthBody<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        Outcome { reason: self.packet.reason, properties: AuthProperties(self) }.put(sink);
    }
}

/// Reason string and user properties of an acknowledgement.
pub(super) struct Details<'a> {
    pub(super) details: Option<&'a ReasonDetails>,
    pub(super) detail: Detail,
}

impl Part for Details<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        if let Some(details) = self.details {
            let reason_string = details.reason_string.as_ref();
            put_details(sink, reason_string, &details.user_properties, self.detail);
        }
    }
}

/// Reason code and properties, each left out where it says nothing.
struct Outcome<P> {
    reason: ReasonCode,
    properties: P,
}

impl<P: Part> Part for Outcome<P> {
    fn put<S: Sink>(&self, sink: &mut S) {
        let has_properties = sink::length(&self.properties) > 0;
        if has_properties || self.reason != ReasonCode::Success {
            sink.byte(self.reason.value());
        }
        if has_properties {
            sink.prefixed(&self.properties);
        }
    }
}

struct DisconnectProperties<'a>(&'a DisconnectBody<'a>);

impl Part for DisconnectProperties<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        let packet = self.0.packet;
        match self.0.sender {
            Side::Client => {
                put_u32(sink, PropertyId::SessionExpiryInterval, packet.session_expiry_interval_s);
            }
            // [MQTT-3.14.2-2]
            Side::Server => {
                put_text(sink, PropertyId::ServerReference, packet.server_reference.as_ref());
            }
        }
        let reason_string = packet.reason_string.as_ref();
        put_details(sink, reason_string, &packet.user_properties, self.0.detail);
    }
}

struct AuthProperties<'a>(&'a AuthBody<'a>);

impl Part for AuthProperties<'_> {
    fn put<S: Sink>(&self, sink: &mut S) {
        let packet = self.0.packet;
        put_text(sink, PropertyId::AuthenticationMethod, packet.method.as_ref());
        put_binary(sink, PropertyId::AuthenticationData, packet.data.as_ref());
        let reason_string = packet.reason_string.as_ref();
        put_details(sink, reason_string, &packet.user_properties, self.0.detail);
    }
}
