//! The topic aliases that a client has set on one connection.

use crate::packet::{Packet, Property, Publish, Value};

const TOPIC_ALIAS: u8 = 0x23;

/// How many aliases a client uses at most: few, so that they come to stand for other topics.
const USED: u16 = 2;

/// What the aliases of one connection stand for, from the client to the broker.
#[derive(Debug, Default)]
pub(super) struct Aliases {
    /// By alias, from 1.
    topics: Vec<String>,
    /// How many publications went out.
    sent: usize,
}

impl Aliases {
    /// The publication as it goes out where the broker takes aliases up to `maximum`: now and then without an alias,
    /// with one that is set or set anew, and with one instead of its topic.
    pub(super) fn applied(&self, publish: &Publish, maximum: u16) -> Publish {
        let mut publish = publish.clone();
        let most = usize::from(maximum.min(USED));
        if most == 0 || self.sent % 4 == 3 {
            return publish;
        }
        let known = self.topics.iter().position(|topic| *topic == publish.topic);
        let place = match known {
            Some(place) => place,
            None if self.topics.len() < most => self.topics.len(),
            None => self.sent % most,
        };
        let alias = u32::try_from(place + 1).expect("a few at most");
        publish.properties.push(Property { id: TOPIC_ALIAS, value: Value::Number(alias) });
        if known.is_some() && !self.sent.is_multiple_of(8) {
            publish.topic.clear();
        }
        publish
    }

    /// A packet goes out.
    pub(super) fn sent(&mut self, packet: &Packet) {
        let Packet::Publish(publish) = packet else { return };
        self.sent += 1;
        let alias = publish.properties.iter().find(|property| property.id == TOPIC_ALIAS);
        let Some(Value::Number(alias)) = alias.map(|property| &property.value) else { return };
        if publish.topic.is_empty() {
            return;
        }
        let place = *alias as usize - 1;
        if place < self.topics.len() {
            self.topics[place].clone_from(&publish.topic);
        } else {
            self.topics.push(publish.topic.clone());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Aliases;
    use crate::packet::{Packet, Publish, Value};

    /// Sends to these topics in turn; what went out, as topics and aliases.
    fn send(topics: &[&str], maximum: u16) -> Vec<(String, Option<u32>)> {
        let mut aliases = Aliases::default();
        let mut sent = Vec::new();
        for topic in topics {
            let publish = Publish {
                dup: false,
                qos: 0,
                retain: false,
                topic: (*topic).to_owned(),
                id: None,
                properties: Vec::new(),
                payload: Vec::new(),
            };
            let publish = aliases.applied(&publish, maximum);
            aliases.sent(&Packet::Publish(publish.clone()));
            let alias = publish.properties.first().map(|property| match property.value {
                Value::Number(alias) => alias,
                Value::Text(_) | Value::Bytes(_) | Value::Pair(..) => panic!("{property:?}"),
            });
            sent.push((publish.topic, alias));
        }
        sent
    }

    #[test]
    fn aliases_stand_for_the_topic_that_they_were_set_to_last() {
        let said = |topic: &str, alias| (topic.to_owned(), alias);
        let expected = [
            said("a", Some(1)),
            said("", Some(1)),
            said("b", Some(2)),
            said("a", None),
            said("c", Some(1)),
            said("a", Some(2)),
            said("", Some(1)),
        ];
        assert_eq!(send(&["a", "a", "b", "a", "c", "a", "c"], 9), expected);
    }

    #[test]
    fn no_alias_is_above_what_the_broker_takes() {
        let topics = ["a", "b", "c", "b", "a", "a", "c", "c", "b"];
        assert!(send(&topics, 0).iter().all(|(_, alias)| alias.is_none()));
        assert!(send(&topics, 1).iter().all(|(_, alias)| alias.is_none_or(|alias| alias == 1)));
    }
}
