//! A message as it lives inside the broker.

use alloc::boxed::Box;
use core::fmt;

use bytes::Bytes;

use crate::routing::topic::Topic;
use crate::time::Time;
use crate::wire::property::MessageProperties;
use crate::wire::types::QoS;

/// Numbers the messages of one broker, in the order they were accepted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct MessageId(pub u64);

impl fmt::Display for MessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "m{}", self.0)
    }
}

/// One application message. It has no alias, packet identifier, DUP or RETAIN: those belong to a
/// single hop.
#[derive(Clone, Debug, PartialEq)]
pub struct Message {
    /// Its number.
    pub id: MessageId,
    /// Where it was published.
    pub topic: Topic,
    /// What was published; may be empty.
    pub payload: Bytes,
    /// The QoS it was published at.
    pub qos: QoS,
    /// When it stops being worth anything.
    pub expires_at: Option<Time>,
    /// The properties that travel with it.
    pub properties: Option<Box<MessageProperties>>,
}

impl Message {
    /// What is in a message that is none yet.
    pub(crate) const fn blank() -> Self {
        Message {
            id: MessageId(0),
            topic: Topic::blank(),
            payload: Bytes::new(),
            qos: QoS::AtMostOnce,
            expires_at: None,
            properties: None,
        }
    }

    /// Whether its expiry has passed.
    #[must_use]
    pub fn is_expired(&self, now: Time) -> bool {
        self.expires_at.is_some_and(|at| at <= now)
    }

    /// What is left of its expiry interval, in whole seconds, rounded up so that a message still
    /// alive never shows 0 `[MQTT-3.3.2-6]`.
    #[must_use]
    pub fn remaining_expiry_s(&self, now: Time) -> Option<u32> {
        let more_ms = if canary!(ExpiryPassedOnTooLong) { 60_000 } else { 0 };
        let left_ms = self.expires_at?.since_ms(now) + more_ms;
        Some(u32::try_from(left_ms.div_ceil(1000)).unwrap_or(u32::MAX))
    }

    /// Bytes of topic, payload and properties, for accounting.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        content_bytes(&self.topic, &self.payload, self.properties.as_deref())
    }

    /// The same message in storage of its own, so that it does not keep a read buffer alive.
    #[must_use]
    pub fn compact(&self) -> Self {
        self.compact_below(self.topic.compact())
    }

    /// The same with a topic that is its own, and in storage of its own already.
    pub(crate) fn compact_below(&self, topic: Topic) -> Self {
        debug_assert_eq!(topic, self.topic);
        Message {
            id: self.id,
            topic,
            payload: Bytes::copy_from_slice(&self.payload),
            qos: self.qos,
            expires_at: self.expires_at,
            properties: self.properties.as_ref().map(|properties| Box::new(properties.compact())),
        }
    }
}

/// Bytes of topic, payload and properties.
pub(crate) fn content_bytes(
    topic: &Topic,
    payload: &[u8],
    properties: Option<&MessageProperties>,
) -> usize {
    topic.as_text().len() + payload.len() + properties.map_or(0, MessageProperties::content_bytes)
}
