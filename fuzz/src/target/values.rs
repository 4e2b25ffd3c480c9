//! Values of MQTT made of typed fields, for the targets that make packets or records of them.

use arbitrary::Arbitrary;
use bytes::Bytes;
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{Ack, ReasonDetails, RetainHandling, SubscriptionOptions};
use signalhouse_core::wire::property::{MessageProperties, UserProperties};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{
    InboundPacketId, OutboundPacketId, PacketId, QoS, Text, Version,
};

pub(super) type Pairs<'a> = Vec<(&'a str, &'a str)>;

/// What a packet says for people.
#[derive(Arbitrary, Debug)]
pub(super) struct Details<'a> {
    pub(super) reason: Option<&'a str>,
    pub(super) user: Pairs<'a>,
}

/// What a PUBLISH, a will and a message in the journal have all.
#[derive(Arbitrary, Debug)]
pub(super) struct Message<'a> {
    pub(super) topic: &'a str,
    pub(super) expiry_s: Option<u32>,
    is_text: Option<bool>,
    content_type: Option<&'a str>,
    response_topic: Option<&'a str>,
    correlation: Option<&'a [u8]>,
    user: Pairs<'a>,
    pub(super) payload: &'a [u8],
}

impl Details<'_> {
    /// None if there are none, or the version has none.
    pub(super) fn of(&self, version: Version) -> Option<Box<ReasonDetails>> {
        let details = ReasonDetails {
            reason_string: self.reason.map(text_of),
            user_properties: pairs_of(&self.user),
        };
        let has_details = version == Version::V5 && details != ReasonDetails::default();
        has_details.then(|| Box::new(details))
    }
}

impl Message<'_> {
    /// The properties that travel with it, none if there are none or the version has none.
    pub(super) fn properties(&self, version: Version) -> Option<Box<MessageProperties>> {
        let properties = MessageProperties {
            payload_format_indicator: self.is_text,
            content_type: self.content_type.map(text_of),
            response_topic: self.response_topic.map(topic_of),
            correlation_data: self.correlation.map(Bytes::copy_from_slice),
            user_properties: pairs_of(&self.user),
        };
        let has_properties = version == Version::V5 && !properties.is_empty();
        has_properties.then(|| Box::new(properties))
    }
}

pub(super) fn version_of(choice: u8) -> Version {
    [Version::V5, Version::V311, Version::V31][usize::from(choice) % 3]
}

/// What the version has of the options in `bits`.
pub(super) fn options_of(bits: u8, version: Version, is_shared: bool) -> SubscriptionOptions {
    let maximum_qos = qos_of(bits);
    if version != Version::V5 {
        return SubscriptionOptions { maximum_qos, ..SubscriptionOptions::default() };
    }
    let handling = [RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never];
    SubscriptionOptions {
        maximum_qos,
        // A share has no publications of its own.
        no_local: bits & 0x40 != 0 && !is_shared,
        retain_as_published: bits & 0x80 != 0,
        retain_handling: handling[usize::from(bits >> 2) % 3],
    }
}

/// One of `codes`.
pub(super) fn reason_of(codes: &[u8], place: u8) -> ReasonCode {
    let code = codes[usize::from(place) % codes.len()];
    ReasonCode::from_u8(code).expect("a code of the standard")
}

/// An acknowledgement with one of `codes`, where the version has them.
pub(super) fn ack_of<Id>(
    packet_id: Id,
    codes: &[u8],
    reason: u8,
    details: &Details<'_>,
    version: Version,
) -> Ack<Id> {
    let reason = match version {
        Version::V5 => reason_of(codes, reason),
        Version::V311 | Version::V31 => ReasonCode::Success,
    };
    Ack { packet_id, reason, details: details.of(version) }
}

pub(super) fn qos_of(bits: u8) -> QoS {
    [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce][usize::from(bits) % 3]
}

/// A subscription identifier, whatever the number.
pub(super) fn subscription_id_of(id: u32) -> u32 {
    id % 0x0FFF_FFFF + 1
}

pub(super) fn inbound(id: u16) -> InboundPacketId {
    InboundPacketId(packet_id(id))
}

pub(super) fn outbound(id: u16) -> OutboundPacketId {
    OutboundPacketId(packet_id(id))
}

fn packet_id(id: u16) -> PacketId {
    PacketId::new(id.max(1)).expect("not 0")
}

pub(super) fn pairs_of(pairs: &Pairs<'_>) -> UserProperties {
    pairs.iter().map(|(name, value)| (text_of(name), text_of(value))).collect()
}

/// Another one where MQTT does not allow this.
pub(super) fn text_of(text: &str) -> Text {
    Text::try_from(text).or_else(|_| Text::try_from("t")).expect("a letter is a text")
}

/// Another one where MQTT does not allow this.
pub(super) fn topic_of(topic: &str) -> Topic {
    Topic::try_from(topic).or_else(|_| Topic::try_from("t")).expect("a letter is a topic")
}

/// Another one where MQTT does not allow this.
pub(super) fn filter_of(filter: &str) -> TopicFilter {
    TopicFilter::try_from(filter)
        .or_else(|_| TopicFilter::try_from("t/+"))
        .expect("a letter is a filter")
}
