//! Who is subscribed to a topic, and the answer to the question asked last.
//!
//! Publishers send many messages to one topic in a row, so that the next question is often the last one again.

use alloc::vec::Vec;

use super::Broker;
use super::route::Subscriber;
use crate::routing::topic::Topic;
use crate::session::{GroupKey, SessionKey};

/// The subscribers of a topic.
#[derive(Clone, Debug, Default)]
pub(super) struct Matches {
    /// The topic; empty before the first.
    topic: Vec<u8>,
    /// How often subscriptions had changed when they were found.
    changes: (u64, u64),
    /// Whether the same was asked before.
    pub(super) is_asked_again: bool,
    /// By session.
    pub(super) subscribers: Vec<(SessionKey, Subscriber)>,
    pub(super) groups: Vec<GroupKey>,
}

impl Broker {
    /// Brings `matches` to what there is for `topic` now.
    pub(super) fn find_matches(&self, topic: &Topic, matches: &mut Matches) {
        matches.is_asked_again = self.are_matches_of(topic, matches);
        if matches.is_asked_again {
            return;
        }
        matches.changes = self.changes_of_subscriptions();
        matches.topic.clear();
        matches.topic.extend_from_slice(topic.as_text().as_bytes());
        let subscribers = &mut matches.subscribers;
        subscribers.clear();
        self.subscriptions
            .for_each_match(topic, |key, subscriber| subscribers.push((key, *subscriber)));
        if !subscribers.is_sorted_by_key(|(key, _)| *key) {
            subscribers.sort_by_key(|(key, _)| *key);
        }
        let groups = &mut matches.groups;
        groups.clear();
        if !self.shares.is_empty() {
            self.shares.for_each_match(topic, |key, ()| groups.push(key));
            groups.sort_unstable();
        }
        if canary!(SharedTwice) {
            groups.extend_from_within(..);
        }
    }

    /// Whether `matches` is what there is for `topic` now.
    pub(super) fn are_matches_of(&self, topic: &Topic, matches: &Matches) -> bool {
        matches.topic == topic.as_text().as_bytes()
            && matches.changes == self.changes_of_subscriptions()
    }

    fn changes_of_subscriptions(&self) -> (u64, u64) {
        (self.subscriptions.changes(), self.shares.changes())
    }
}
