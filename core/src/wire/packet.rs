//! The packets as typed values, one enum for each direction. Formats live in `decode` and `encode`.

use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::Bytes;

use super::property::{MessageProperties, SubscriptionIds, UserProperties};
use super::reason::ReasonCode;
use super::types::{Delivery, InboundPacketId, OutboundPacketId, PacketId, QoS, Text, Version};
use crate::message::Message;
use crate::routing::topic::{Topic, TopicFilter};

/// A packet that a client sends.
///
/// Topic aliases are resolved and framing is gone: that is the [`Reader`](super::Reader)'s work.
#[derive(Clone, Debug, PartialEq)]
pub enum ClientPacket {
    /// CONNECT.
    Connect(Box<Connect>),
    /// PUBLISH.
    Publish(Publish),
    /// PUBACK for a delivery at QoS 1.
    PubAck(Ack<OutboundPacketId>),
    /// PUBREC for a delivery at QoS 2.
    PubRec(Ack<OutboundPacketId>),
    /// PUBREL of the client's own publication at QoS 2.
    PubRel(Ack<InboundPacketId>),
    /// PUBCOMP for a delivery at QoS 2.
    PubComp(Ack<OutboundPacketId>),
    /// SUBSCRIBE.
    Subscribe(Box<Subscribe>),
    /// UNSUBSCRIBE.
    Unsubscribe(Box<Unsubscribe>),
    /// PINGREQ.
    PingReq,
    /// DISCONNECT.
    Disconnect(Box<Disconnect>),
    /// AUTH.
    Auth(Box<Auth>),
}

/// A packet that the broker sends.
///
/// Topic aliases are not in it: the [`Writer`](super::Writer) assigns them.
#[derive(Clone, Debug, PartialEq)]
pub enum ServerPacket {
    /// CONNACK.
    ConnAck(Box<ConnAck>),
    /// PUBLISH.
    Publish(OutboundPublish),
    /// PUBACK for the client's publication at QoS 1.
    PubAck(Ack<InboundPacketId>),
    /// PUBREC for the client's publication at QoS 2.
    PubRec(Ack<InboundPacketId>),
    /// PUBREL of a delivery at QoS 2.
    PubRel(Ack<OutboundPacketId>),
    /// PUBCOMP for the client's publication at QoS 2.
    PubComp(Ack<InboundPacketId>),
    /// SUBACK.
    SubAck(Box<SubAck>),
    /// UNSUBACK.
    UnsubAck(Box<UnsubAck>),
    /// PINGRESP.
    PingResp,
    /// DISCONNECT.
    Disconnect(Box<Disconnect>),
    /// AUTH.
    Auth(Box<Auth>),
}

/// CONNECT: what a client asks of its connection and session.
///
/// For 3.1 and 3.1.1 the decoder fills in what 5.0 would have said: Clean Session 0 becomes an
/// expiry interval of `u32::MAX`, Clean Session 1 one of 0, and the properties are absent.
#[derive(Clone, Debug, PartialEq)]
pub struct Connect {
    /// The protocol version.
    pub version: Version,
    /// Whether an existing session is to be thrown away.
    pub clean_start: bool,
    /// Seconds between the client's packets at most; 0 switches the check off.
    pub keep_alive_s: u16,
    /// May be empty: the broker then assigns one.
    pub client_id: Text,
    /// The will, if the Will Flag is set.
    pub will: Option<Box<Will>>,
    /// User name, if present.
    pub user_name: Option<Text>,
    /// Password, if present.
    pub password: Option<Bytes>,
    /// How many seconds the session outlives its connection; `u32::MAX` for ever. 0 if absent.
    pub session_expiry_interval_s: u32,
    /// Deliveries at QoS 1 and 2 the client takes at once, not 0. 65,535 if absent.
    pub receive_maximum: u16,
    /// Largest packet the client accepts, in bytes, not 0. No limit if absent.
    pub maximum_packet_size_bytes: Option<u32>,
    /// Highest topic alias the client accepts from the broker. 0 if absent.
    pub topic_alias_maximum: u16,
    /// Whether the client wants Response Information in CONNACK.
    pub request_response_information: bool,
    /// Whether reason strings and user properties may come with any packet. `true` if absent.
    pub request_problem_information: bool,
    /// Name of the enhanced authentication method, if one is used.
    pub authentication_method: Option<Text>,
    /// Data of that method.
    pub authentication_data: Option<Bytes>,
    /// User properties, in order.
    pub user_properties: UserProperties,
}

/// The will in a CONNECT.
#[derive(Clone, Debug, PartialEq)]
pub struct Will {
    /// Where it is published.
    pub topic: Topic,
    /// What is published; may be empty.
    pub payload: Bytes,
    /// At which QoS.
    pub qos: QoS,
    /// Whether it becomes the topic's retained message.
    pub retain: bool,
    /// Seconds between the end of the connection and the publication.
    pub delay_interval_s: u32,
    /// The will's message expiry, counted from its publication.
    pub message_expiry_interval_s: Option<u32>,
    /// Properties that go out with it.
    pub properties: Option<Box<MessageProperties>>,
}

impl Will {
    /// Bytes of topic, payload and properties, as [`Message`] counts them.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        crate::message::content_bytes(&self.topic, &self.payload, self.properties.as_deref())
    }

    /// The same will in storage of its own.
    #[must_use]
    pub fn compact(&self) -> Self {
        Will {
            topic: self.topic.compact(),
            payload: Bytes::copy_from_slice(&self.payload),
            properties: self.properties.as_ref().map(|properties| Box::new(properties.compact())),
            ..*self
        }
    }
}

/// CONNACK.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ConnAck {
    /// Whether the broker had a session for the client.
    pub session_present: bool,
    /// The outcome; the encoder turns it into the return codes of older versions.
    pub reason: ReasonCode,
    /// Present if it differs from what the client asked for.
    pub session_expiry_interval_s: Option<u32>,
    /// Publications at QoS 1 and 2 the broker takes at once. Absent for 65,535.
    pub receive_maximum: Option<u16>,
    /// Present (0 or 1) if the broker supports less than QoS 2.
    pub maximum_qos: Option<QoS>,
    /// Absent for `true`.
    pub retain_available: Option<bool>,
    /// Largest packet the broker accepts, in bytes.
    pub maximum_packet_size_bytes: Option<u32>,
    /// Present if the client sent an empty client identifier.
    pub assigned_client_id: Option<Text>,
    /// Highest topic alias the broker accepts. Absent for 0.
    pub topic_alias_maximum: Option<u16>,
    /// Absent for `true`.
    pub wildcard_subscription_available: Option<bool>,
    /// Absent for `true`.
    pub subscription_identifiers_available: Option<bool>,
    /// Absent for `true`.
    pub shared_subscription_available: Option<bool>,
    /// Present if the broker imposes its own keep alive.
    pub server_keep_alive_s: Option<u16>,
    /// Base for response topics, only for a client that asked.
    pub response_information: Option<Text>,
    /// Another broker to use.
    pub server_reference: Option<Text>,
    /// The method of the CONNECT, repeated `[MQTT-4.12.0-5]`.
    pub authentication_method: Option<Text>,
    /// The method's final data.
    pub authentication_data: Option<Bytes>,
    /// For people.
    pub reason_string: Option<Text>,
    /// User properties, in order.
    pub user_properties: UserProperties,
}

/// PUBLISH as a client sends it, its topic alias resolved.
#[derive(Clone, Debug, PartialEq)]
pub struct Publish {
    /// Whether this may be a repeat.
    pub dup: bool,
    /// Whether it becomes the topic's retained message.
    pub retain: bool,
    /// QoS and packet identifier.
    pub delivery: Delivery<InboundPacketId>,
    /// Where it is published.
    pub topic: Topic,
    /// What is published; may be empty.
    pub payload: Bytes,
    /// Seconds after which it is worth nothing.
    pub message_expiry_interval_s: Option<u32>,
    /// The properties that travel with the message, `None` if it has none of them.
    pub properties: Option<Box<MessageProperties>>,
}

/// PUBLISH as the broker sends it: the shared message and what is this delivery's own.
#[derive(Clone, Debug, PartialEq)]
pub struct OutboundPublish {
    /// The message, shared with every other delivery of it.
    pub message: Arc<Message>,
    /// Whether this may be a repeat.
    pub dup: bool,
    /// RETAIN as this subscriber is to see it.
    pub retain: bool,
    /// QoS and packet identifier.
    pub delivery: Delivery<OutboundPacketId>,
    /// What is left of the message's expiry interval, in whole seconds.
    pub message_expiry_interval_s: Option<u32>,
    /// Identifiers of the subscriptions that caused the delivery.
    pub subscription_ids: SubscriptionIds,
}

/// PUBACK, PUBREC, PUBREL or PUBCOMP.
#[derive(Clone, Debug, PartialEq)]
pub struct Ack<Id> {
    /// The identifier of the PUBLISH that began the exchange.
    pub packet_id: Id,
    /// The outcome.
    pub reason: ReasonCode,
    /// Reason string and user properties, `None` if there are none.
    pub details: Option<Box<ReasonDetails>>,
}

impl<Id> Ack<Id> {
    /// An acknowledgement without reason string or user properties.
    #[must_use]
    pub const fn new(packet_id: Id, reason: ReasonCode) -> Self {
        Ack { packet_id, reason, details: None }
    }
}

/// What people may read beside a reason code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReasonDetails {
    /// Reason string.
    pub reason_string: Option<Text>,
    /// User properties, in order.
    pub user_properties: UserProperties,
}

/// SUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Subscribe {
    /// The request's identifier.
    pub packet_id: InboundPacketId,
    /// 1 to 268,435,455; goes with every filter of the packet.
    pub subscription_id: Option<u32>,
    /// At least one.
    pub subscriptions: Vec<(TopicFilter, SubscriptionOptions)>,
    /// User properties, in order.
    pub user_properties: UserProperties,
}

/// The options byte behind a filter in SUBSCRIBE.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SubscriptionOptions {
    /// Highest QoS the client wants to receive.
    pub maximum_qos: QoS,
    /// Whether the client's own publications are left out.
    pub no_local: bool,
    /// Whether RETAIN is forwarded as the publisher set it.
    pub retain_as_published: bool,
    /// When retained messages are sent.
    pub retain_handling: RetainHandling,
}

/// When a subscribe sends the matching retained messages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(u8)]
pub enum RetainHandling {
    /// 0: at every subscribe.
    #[default]
    Always = 0,
    /// 1: if the subscription did not exist.
    IfNew = 1,
    /// 2: never.
    Never = 2,
}

/// SUBACK.
#[derive(Clone, Debug, PartialEq)]
pub struct SubAck {
    /// The identifier of the SUBSCRIBE.
    pub packet_id: InboundPacketId,
    /// One for each filter, in order.
    pub reasons: Vec<ReasonCode>,
    /// Reason string and user properties.
    pub details: Option<Box<ReasonDetails>>,
}

/// UNSUBSCRIBE.
#[derive(Clone, Debug, PartialEq)]
pub struct Unsubscribe {
    /// The request's identifier.
    pub packet_id: InboundPacketId,
    /// At least one.
    pub filters: Vec<TopicFilter>,
    /// User properties, in order.
    pub user_properties: UserProperties,
}

/// UNSUBACK.
#[derive(Clone, Debug, PartialEq)]
pub struct UnsubAck {
    /// The identifier of the UNSUBSCRIBE.
    pub packet_id: InboundPacketId,
    /// One for each filter, in order; version 5 only.
    pub reasons: Vec<ReasonCode>,
    /// Reason string and user properties.
    pub details: Option<Box<ReasonDetails>>,
}

/// DISCONNECT, of either side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Disconnect {
    /// Why.
    pub reason: ReasonCode,
    /// A client's new session expiry; never from the broker `[MQTT-3.14.2-2]`.
    pub session_expiry_interval_s: Option<u32>,
    /// Another broker to use; never from a client.
    pub server_reference: Option<Text>,
    /// For people.
    pub reason_string: Option<Text>,
    /// User properties, in order.
    pub user_properties: UserProperties,
}

/// AUTH, of either side.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Auth {
    /// Success, continue authentication, or re-authenticate.
    pub reason: ReasonCode,
    /// The method of the CONNECT.
    pub method: Option<Text>,
    /// Data of the method.
    pub data: Option<Bytes>,
    /// For people.
    pub reason_string: Option<Text>,
    /// User properties, in order.
    pub user_properties: UserProperties,
}

/// A packet identifier whose direction is not yet known; for encoders and decoders alone.
pub(super) trait WireId: Copy {
    fn from_wire(id: PacketId) -> Self;
    fn to_wire(self) -> PacketId;
}

impl WireId for InboundPacketId {
    fn from_wire(id: PacketId) -> Self {
        InboundPacketId(id)
    }

    fn to_wire(self) -> PacketId {
        self.0
    }
}

impl WireId for OutboundPacketId {
    fn from_wire(id: PacketId) -> Self {
        OutboundPacketId(id)
    }

    fn to_wire(self) -> PacketId {
        self.0
    }
}
