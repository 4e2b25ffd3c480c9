//! The topic aliases of one connection, one table for each direction `[MQTT-3.3.2-7]`.

use alloc::collections::BTreeMap;

use super::error::DecodeError;
use super::types::Text;
use crate::routing::topic::Topic;

/// The aliases that the other side assigned. Holds at most `maximum` topics, each compacted.
#[derive(Debug)]
pub(in crate::wire) struct InboundAliases {
    maximum: u16,
    topics: BTreeMap<u16, Topic>,
}

impl InboundAliases {
    pub(in crate::wire) const fn new(maximum: u16) -> Self {
        InboundAliases { maximum, topics: BTreeMap::new() }
    }

    /// The topic of a PUBLISH; an alias beside a topic is remembered `[MQTT-3.3.2-12]`.
    pub(in crate::wire) fn resolve(
        &mut self,
        topic: Text,
        alias: Option<u16>,
    ) -> Result<Topic, DecodeError> {
        let Some(alias) = alias else {
            if topic.is_empty() {
                return Err(DecodeError::TopicMissing);
            }
            return Ok(Topic::new(topic)?);
        };
        // [MQTT-3.3.2-8] [MQTT-3.3.2-9] [MQTT-3.2.2-17] [MQTT-3.2.2-18]
        if alias == 0 || alias > self.maximum {
            return Err(DecodeError::TopicAliasInvalid { alias, maximum: self.maximum });
        }
        if topic.is_empty() {
            let known = self.topics.get(&alias).cloned();
            return known.ok_or(DecodeError::TopicAliasUnknown { alias });
        }
        let topic = Topic::new(topic)?;
        if canary!(InboundAliasKept) && self.topics.contains_key(&alias) {
            return Ok(topic);
        }
        if self.topics.get(&alias) != Some(&topic) {
            self.topics.insert(alias, topic.compact());
        }
        Ok(topic)
    }
}

/// The aliases that this side assigned, first come, first served.
#[derive(Debug, Default)]
pub(in crate::wire) struct OutboundAliases {
    maximum: u16,
    aliases: BTreeMap<Topic, u16>,
}

impl OutboundAliases {
    pub(in crate::wire) const fn new(maximum: u16) -> Self {
        OutboundAliases { maximum, aliases: BTreeMap::new() }
    }

    pub(in crate::wire) const fn is_enabled(&self) -> bool {
        self.maximum > 0
    }

    pub(in crate::wire) fn get(&self, topic: &Topic) -> Option<u16> {
        self.aliases.get(topic).copied()
    }

    /// The next alias to assign, if any is left `[MQTT-3.1.2-26]` `[MQTT-3.3.2-11]`.
    pub(in crate::wire) fn next(&self) -> Option<u16> {
        let next = u16::try_from(self.aliases.len()).ok()?.checked_add(1)?;
        (next <= self.maximum).then_some(next)
    }

    /// Assigns the alias that [`OutboundAliases::next`] gave.
    pub(in crate::wire) fn assign(&mut self, topic: &Topic, alias: u16) {
        self.aliases.insert(topic.compact(), alias);
    }
}
