//! AL: topic aliases live within one connection and direction, and within what was agreed.

use std::collections::BTreeMap;

use crate::history::{ConnectionNumber, Event, Violation, What};
use crate::oracle::model::{Model, Seen};
use crate::oracle::properties as property;
use crate::oracle::rule::{Rule, violation};
use crate::packet::Packet;

/// Judges AL.
#[derive(Default)]
pub(crate) struct Aliases {
    topics: BTreeMap<(ConnectionNumber, u32), String>,
}

impl Rule for Aliases {
    fn waive(&mut self) -> bool {
        true
    }

    fn look(&mut self, model: &Model, _seen: &Seen, event: &Event) -> Result<(), Violation> {
        let What::Received {
            connection: number,
            packet: Packet::Publish(publish),
            alias_topic,
            ..
        } = &event.what
        else {
            return Ok(());
        };
        let Some(connection) = model.connections.get(number) else { return Ok(()) };
        let alias = property::number(&publish.properties, property::TOPIC_ALIAS);
        let Some(alias) = alias else {
            if publish.topic.is_empty() {
                let what =
                    format!("{:?} read a PUBLISH without topic or alias", connection.client_id);
                return Err(violation("AL", what, [model.now.index]));
            }
            return Ok(());
        };
        let maximum = connection.asked(property::TOPIC_ALIAS_MAXIMUM).unwrap_or(0);
        if alias == 0 || alias > maximum {
            let what = format!(
                "{:?} read topic alias {alias}, its maximum is {maximum}",
                connection.client_id,
            );
            return Err(violation("AL", what, [model.now.index]));
        }
        if !publish.topic.is_empty() {
            self.topics.insert((*number, alias), publish.topic.clone());
            return Ok(());
        }
        let known = self.topics.get(&(*number, alias));
        if known.is_none() || known != alias_topic.as_ref() {
            let what = format!(
                "{:?} read topic alias {alias}, which stands for {known:?} on this connection",
                connection.client_id,
            );
            return Err(violation("AL", what, [model.now.index]));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::Aliases;
    use crate::history::What;
    use crate::oracle::properties as property;
    use crate::oracle::told::{Told, connect_of, fails, number, passes, publish_of};
    use crate::packet::{Connect, Packet, Publish};

    fn with_maximum(maximum: u32) -> Told {
        let mut told = Told::new();
        for on in [1, 2] {
            let properties = vec![number(property::TOPIC_ALIAS_MAXIMUM, maximum)];
            told.enters(on, Connect { properties, ..connect_of(&format!("c{on}")) }, false);
            told.subscribe(on, "t", 0);
        }
        told.publish(1, "t", "one", 0).publish(1, "t", "two", 0);
        told
    }

    fn reads(told: &mut Told, connection: u64, topic: &str, token: &str) {
        let properties = vec![number(property::TOPIC_ALIAS, 1)];
        let packet = Packet::Publish(Publish { properties, ..publish_of(topic, token, 0, 0) });
        let alias_topic = Some("t".to_owned());
        told.push(What::Received { connection, packet, alias_topic, size_bytes: 9 });
    }

    #[test]
    fn an_alias_stands_for_its_topic() {
        let mut told = with_maximum(1);
        reads(&mut told, 1, "t", "one");
        reads(&mut told, 1, "", "two");
        passes(Aliases::default(), &told);
    }

    #[test]
    fn an_alias_of_another_connection_is_wrong() {
        let mut told = with_maximum(1);
        reads(&mut told, 1, "t", "one");
        reads(&mut told, 2, "", "one");
        fails(Aliases::default(), &told, "AL");
    }

    #[test]
    fn an_alias_above_the_maximum_is_wrong() {
        let mut told = with_maximum(0);
        reads(&mut told, 1, "t", "one");
        fails(Aliases::default(), &told, "AL");
    }
}
