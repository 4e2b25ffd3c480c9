//! Groups of properties that travel together.

use alloc::boxed::Box;
use alloc::vec::Vec;

use bytes::Bytes;

use super::types::Text;
use crate::routing::topic::Topic;

/// User properties, in the order they were sent; names may repeat.
pub type UserProperties = Vec<(Text, Text)>;

/// The properties of a PUBLISH or will that travel with the message to its receivers unchanged.
///
/// Expiry, topic alias and subscription identifiers are not among them: those belong to one hop.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct MessageProperties {
    /// Payload Format Indicator: whether the payload is said to be UTF-8.
    pub payload_format_indicator: Option<bool>,
    /// Content Type.
    pub content_type: Option<Text>,
    /// Response Topic.
    pub response_topic: Option<Topic>,
    /// Correlation Data.
    pub correlation_data: Option<Bytes>,
    /// User properties, in order `[MQTT-3.3.2-18]`.
    pub user_properties: UserProperties,
}

impl MessageProperties {
    /// Whether no property is set.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.payload_format_indicator.is_none()
            && self.content_type.is_none()
            && self.response_topic.is_none()
            && self.correlation_data.is_none()
            && self.user_properties.is_empty()
    }

    /// The same properties in storage of their own.
    #[must_use]
    pub fn compact(&self) -> Self {
        MessageProperties {
            payload_format_indicator: self.payload_format_indicator,
            content_type: self.content_type.as_ref().map(Text::compact),
            response_topic: self.response_topic.as_ref().map(Topic::compact),
            correlation_data: self.correlation_data.as_deref().map(Bytes::copy_from_slice),
            user_properties: self
                .user_properties
                .iter()
                .map(|(name, value)| (name.compact(), value.compact()))
                .collect(),
        }
    }

    /// Bytes of the values, for accounting.
    #[must_use]
    pub fn content_bytes(&self) -> usize {
        self.content_type.as_ref().map_or(0, Text::len)
            + self.response_topic.as_ref().map_or(0, |topic| topic.as_text().len())
            + self.correlation_data.as_ref().map_or(0, Bytes::len)
            + self
                .user_properties
                .iter()
                .map(|(name, value)| name.len() + value.len())
                .sum::<usize>()
    }
}

/// The subscription identifiers of one delivery; none and one need no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum SubscriptionIds {
    /// No matching subscription has an identifier.
    #[default]
    None,
    /// One has.
    One(u32),
    /// Several have, in ascending order.
    Many(Box<[u32]>),
}

impl SubscriptionIds {
    /// The identifiers.
    #[must_use]
    pub fn as_slice(&self) -> &[u32] {
        match self {
            SubscriptionIds::None => &[],
            SubscriptionIds::One(id) => core::slice::from_ref(id),
            SubscriptionIds::Many(ids) => ids,
        }
    }

    /// Adds an identifier. A repeated one is kept: it appears once for each subscription.
    pub fn push(&mut self, id: u32) {
        let mut ids: Vec<u32> = match core::mem::take(self) {
            SubscriptionIds::None => {
                *self = SubscriptionIds::One(id);
                return;
            }
            SubscriptionIds::One(first) => alloc::vec![first],
            SubscriptionIds::Many(ids) => ids.into_vec(),
        };
        let place = ids.partition_point(|other| *other <= id);
        ids.insert(place, id);
        *self = SubscriptionIds::Many(ids.into_boxed_slice());
    }
}

impl FromIterator<u32> for SubscriptionIds {
    fn from_iter<I: IntoIterator<Item = u32>>(ids: I) -> Self {
        let mut all = SubscriptionIds::None;
        for id in ids {
            all.push(id);
        }
        all
    }
}
