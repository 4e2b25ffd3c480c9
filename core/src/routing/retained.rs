//! Retained messages: one for each topic, found by topic or by filter, and taken out when they
//! expire.
//!
//! How a filter is sought among ordered topics is in `retained/seek.rs`. Whether a message may be
//! retained, and who gets it, is decided elsewhere.

use alloc::collections::BTreeSet;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ops::Bound;

use crate::message::Message;
use crate::quota::Owner;
use crate::routing::topic::{Topic, TopicFilter};
use crate::time::Time;
use crate::wire::types::Text;

mod seek;

use seek::{ByTopic, Place, Probe, Seek};

/// A topic's retained message.
#[derive(Clone, Debug, PartialEq)]
pub struct Retained {
    /// The message. Its number tells what was retained before a moment from what came later.
    pub message: Arc<Message>,
    /// Who published it, for No Local and for quotas; `None` if it was not a client.
    pub publisher: Option<Arc<Owner>>,
}

impl Retained {
    /// Whether this client published it.
    #[must_use]
    pub fn is_by(&self, client_id: &Text) -> bool {
        self.publisher.as_ref().is_some_and(|publisher| publisher.client_id == *client_id)
    }

    /// The topic.
    #[must_use]
    pub fn topic(&self) -> &Topic {
        &self.message.topic
    }
}

/// The retained messages of a broker.
///
/// Topics are in an order in which all that is below a topic follows it at once: level by level,
/// each by its bytes. The store has no bound of its own and removes nothing by itself: an expired
/// message is found until [`RetainedStore::take_expired`] takes it, so look at
/// [`Message::is_expired`].
#[derive(Clone, Debug, Default)]
pub struct RetainedStore {
    /// The message has the topic, so that it is there once.
    entries: BTreeSet<ByTopic>,
    expiries: BTreeSet<(Time, Topic)>,
    content_bytes: u64,
    system: System,
}

/// What of a store is below `$SYS`, where no client publishes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct System {
    /// How many messages.
    pub(crate) messages: usize,
    /// The sum of their [`Message::content_bytes`].
    pub(crate) content_bytes: u64,
}

/// What [`RetainedStore::next_match`] came to.
#[derive(Clone, Debug, PartialEq)]
pub enum Scan<'a> {
    /// The next match. Go on after its topic.
    Found(&'a Retained),
    /// There is no further match.
    End,
    /// The budget is spent. Go on after this topic, which may be gone by then; `None` for the
    /// beginning.
    Paused(Option<Topic>),
}

impl RetainedStore {
    /// A store without messages.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// The number of retained messages, expired ones included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether nothing is retained.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The sum of [`Message::content_bytes`] of all retained messages.
    #[must_use]
    pub fn content_bytes(&self) -> u64 {
        self.content_bytes
    }

    /// What of that no client published.
    pub(crate) fn system(&self) -> System {
        self.system
    }

    /// Makes `message` the retained one of its topic and returns the one before.
    ///
    /// The store keeps the message's memory alive for long: pass a
    /// [compact](Message::compact) one. That an empty payload clears instead of being stored
    /// `[MQTT-3.3.1-7]` is up to the caller.
    pub fn set(
        &mut self,
        message: Arc<Message>,
        publisher: Option<Arc<Owner>>,
    ) -> Option<Retained> {
        let expiry = expiry_of(&message);
        let bytes = message.content_bytes() as u64;
        self.content_bytes += bytes;
        if is_of_system(&message.topic) {
            self.system.messages += 1;
            self.system.content_bytes += bytes;
        }
        // [MQTT-3.3.1-5]
        let old = self.entries.replace(ByTopic(Retained { message, publisher }));
        if let Some(ByTopic(old)) = &old {
            self.forget(old);
        }
        self.expiries.extend(expiry);
        old.map(|ByTopic(old)| old)
    }

    /// Removes the retained message of `topic` `[MQTT-3.3.1-6]` and returns it.
    pub fn clear(&mut self, topic: &Topic) -> Option<Retained> {
        let ByTopic(old) = self.entries.take(&Probe::at(topic) as &dyn Place)?;
        self.forget(&old);
        Some(old)
    }

    /// The retained message of `topic`.
    #[must_use]
    pub fn get(&self, topic: &Topic) -> Option<&Retained> {
        self.entries.get(&Probe::at(topic) as &dyn Place).map(|ByTopic(entry)| entry)
    }

    /// All retained messages, in the store's order.
    pub fn iter(&self) -> impl Iterator<Item = &Retained> {
        self.entries.iter().map(|ByTopic(entry)| entry)
    }

    /// When the next message expires.
    #[must_use]
    pub fn next_expiry(&self) -> Option<Time> {
        self.expiries.first().map(|(at, _)| *at)
    }

    /// Removes messages that have expired at the moment `now`, the earliest first and `budget` of
    /// them at most.
    pub fn take_expired(&mut self, now: Time, budget: usize) -> Vec<Retained> {
        let mut expired = Vec::new();
        while expired.len() < budget
            && let Some((at, _)) = self.expiries.first()
            && *at <= now
            && let Some((_, topic)) = self.expiries.pop_first()
        {
            expired.extend(self.clear(&topic));
        }
        expired
    }

    /// Finds the first message after the topic `after` (or from the beginning) whose topic matches
    /// `filter`. To see all matches, call it again with the topic of the last one.
    ///
    /// Nothing is kept between calls, so the store may change: a scan sees every match that is
    /// there all the time, each once, in the store's order.
    ///
    /// It looks only where the filter can match. A part without wildcards is sought at once and
    /// what is below a topic that cannot match is skipped, so `a/+/b` costs about two steps for
    /// each topic that is next below `a`, whatever lies deeper. Each step is O(log n) and takes 1
    /// from `visits`; with none left the scan is [paused](Scan::Paused). Any budget makes headway
    /// and pausing costs no steps.
    pub fn next_match(
        &self,
        filter: &TopicFilter,
        after: Option<&Topic>,
        visits: &mut usize,
    ) -> Scan<'_> {
        let mut last = after;
        loop {
            let seek = match last {
                None => seek::first(filter),
                Some(topic) => seek::next(filter, topic),
            };
            let probe = match seek {
                Seek::From(probe) => probe,
                Seek::End => return Scan::End,
            };
            let Some(left) = visits.checked_sub(1) else {
                return Scan::Paused(last.cloned());
            };
            *visits = left;
            let from = (Bound::Included(&probe as &dyn Place), Bound::Unbounded);
            let Some(ByTopic(entry)) = self.entries.range::<dyn Place, _>(from).next() else {
                return Scan::End;
            };
            if filter.matches(entry.topic()) {
                return Scan::Found(entry);
            }
            last = Some(entry.topic());
        }
    }

    /// Takes what is no longer an entry out of the accounts.
    fn forget(&mut self, old: &Retained) {
        let bytes = old.message.content_bytes() as u64;
        self.content_bytes -= bytes;
        if is_of_system(old.topic()) {
            self.system.messages -= 1;
            self.system.content_bytes -= bytes;
        }
        if let Some(expiry) = expiry_of(&old.message) {
            self.expiries.remove(&expiry);
        }
    }
}

/// Whether a topic is where the broker tells of itself.
pub(crate) fn is_of_system(topic: &Topic) -> bool {
    topic.as_str().starts_with("$SYS/")
}

fn expiry_of(message: &Message) -> Option<(Time, Topic)> {
    message.expires_at.map(|at| (at, message.topic.clone()))
}

#[cfg(test)]
mod tests {
    use alloc::string::{String, ToString};

    use bytes::Bytes;

    use super::*;
    use crate::message::MessageId;
    use crate::wire::types::QoS;

    fn topic(text: &str) -> Topic {
        Topic::try_from(text).expect("a topic")
    }

    fn message(id: u64, text: &str, expires_at_ms: Option<u64>) -> Arc<Message> {
        Arc::new(Message {
            id: MessageId(id),
            topic: topic(text),
            payload: Bytes::from_static(b"12345"),
            qos: QoS::AtMostOnce,
            expires_at: expires_at_ms.map(Time::from_ms),
            properties: None,
        })
    }

    fn store(topics: &[&str]) -> RetainedStore {
        let mut store = RetainedStore::new();
        for text in topics {
            store.set(message(0, text, None), None);
        }
        store
    }

    fn matches(store: &RetainedStore, filter: &str) -> (Vec<String>, usize) {
        let filter = TopicFilter::try_from(filter).expect("a filter");
        let (mut found, mut visits) = (Vec::new(), 1_000_000);
        let mut after = None;
        while let Scan::Found(entry) = store.next_match(&filter, after.as_ref(), &mut visits) {
            found.push(entry.topic().to_string());
            after = Some(entry.topic().clone());
        }
        (found, 1_000_000 - visits)
    }

    #[test]
    fn a_message_is_set_replaced_and_cleared() {
        let mut store = RetainedStore::new();
        assert_eq!(store.set(message(1, "a/b", Some(50)), None), None);
        assert_eq!(store.content_bytes(), 8);
        let old = store.set(message(2, "a/b", None), None);
        assert_eq!(old.map(|old| old.message.id), Some(MessageId(1)));
        assert_eq!((store.len(), store.content_bytes(), store.next_expiry()), (1, 8, None));
        assert_eq!(store.get(&topic("a/b")).map(|entry| entry.message.id), Some(MessageId(2)));
        assert_eq!(store.get(&topic("a")), None);
        assert!(store.clear(&topic("a/b")).is_some());
        assert_eq!(store.clear(&topic("a/b")), None);
        assert_eq!((store.is_empty(), store.content_bytes()), (true, 0));
    }

    #[test]
    fn the_earliest_expire_first_and_within_the_budget() {
        let mut store = RetainedStore::new();
        for (text, at) in [("a", 30), ("b", 10), ("c", 20), ("d", 40)] {
            store.set(message(0, text, Some(at)), None);
        }
        store.set(message(0, "e", None), None);
        assert_eq!(store.next_expiry(), Some(Time::from_ms(10)));
        let mut expired = |at, budget| {
            let expired = store.take_expired(Time::from_ms(at), budget);
            expired.into_iter().map(|entry| entry.message.topic.clone()).collect::<Vec<_>>()
        };
        assert_eq!(expired(9, 10), []);
        assert_eq!(expired(30, 2), [topic("b"), topic("c")]);
        assert_eq!(expired(30, 2), [topic("a")]);
        assert_eq!((store.len(), store.next_expiry()), (2, Some(Time::from_ms(40))));
    }

    #[test]
    fn what_is_below_a_topic_follows_it() {
        let store = store(&["a!", "a/b", "a", "a/", "a/b/c", "a/b!", "/", "$SYS/x", "b"]);
        let order: Vec<String> = store.iter().map(|entry| entry.topic().to_string()).collect();
        assert_eq!(order, ["/", "$SYS/x", "a", "a/", "a/b", "a/b/c", "a/b!", "a!", "b"]);
    }

    #[test]
    fn matches_are_those_of_the_standards_examples() {
        let store = store(&[
            "sport",
            "sport/",
            "sport/tennis/player1",
            "sport/tennis/player1/ranking",
            "sport/tennis/player2",
            "sports",
            "/finance",
            "$SYS/monitor/Clients",
            "a/monitor/Clients",
            "!",
        ]);
        let found = |filter| matches(&store, filter).0;
        assert_eq!(found("sport/tennis/+"), ["sport/tennis/player1", "sport/tennis/player2"]);
        assert_eq!(found("sport/+"), ["sport/"]);
        assert_eq!(found("sport/#").len(), 5);
        assert_eq!(found("sport/tennis/player1/#").len(), 2);
        assert_eq!(found("+"), ["!", "sport", "sports"]);
        assert_eq!(found("+/+"), ["/finance", "sport/"]);
        assert_eq!(found("/+"), ["/finance"]);
        assert_eq!(found("#").len(), 9);
        assert_eq!(found("+/monitor/Clients"), ["a/monitor/Clients"]);
        assert_eq!(found("$SYS/#"), ["$SYS/monitor/Clients"]);
        assert_eq!(found("$SYS/monitor/+"), ["$SYS/monitor/Clients"]);
        assert_eq!(found("sport/tennis/player2"), ["sport/tennis/player2"]);
        assert_eq!(found("sport/golf"), [""; 0]);
    }

    #[test]
    fn a_scan_skips_what_cannot_match() {
        let mut store = RetainedStore::new();
        for n in 0..20 {
            for m in 0..50 {
                store.set(message(0, &alloc::format!("a/{n}/x/{m}"), None), None);
                store.set(message(0, &alloc::format!("c/{n}/{m}"), None), None);
            }
            store.set(message(0, &alloc::format!("a/{n}/b"), None), None);
            store.set(message(0, &alloc::format!("$SYS/{n}"), None), None);
        }
        let (found, visits) = matches(&store, "a/+/b");
        assert_eq!(found.len(), 20);
        assert!(visits <= 42, "{visits}");
        let (found, visits) = matches(&store, "a/3/x/7");
        assert_eq!(found.len(), 1);
        assert!(visits <= 1, "{visits}");
        let (found, visits) = matches(&store, "c/3/#");
        assert_eq!(found.len(), 50);
        assert!(visits <= 51, "{visits}");
        let (found, visits) = matches(&store, "+");
        assert_eq!(found.len(), 0);
        assert!(visits <= 4, "{visits}");
    }
}
