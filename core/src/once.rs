//! Requests that must not be carried out twice, by their keys.

use alloc::collections::{BTreeMap, VecDeque};
use core::hash::BuildHasher;

use crate::hash::KeyedState;
use crate::input::PublishCommand;
use crate::record::LogPosition;
use crate::rng::Seed;
use crate::time::Time;
use crate::wire::reason::ReasonCode;
use crate::wire::types::Text;

/// What came of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Tells the message of one request from that of another.
    pub(crate) fingerprint: u64,
    pub(crate) reason: ReasonCode,
    pub(crate) matched: u32,
    /// What an answer has to wait for.
    pub(crate) after: LogPosition,
}

/// The keys of one identity's requests are its own.
type Key = (Option<Text>, Text);

#[derive(Clone, Debug, Default)]
pub(crate) struct Once {
    outcomes: BTreeMap<Key, Outcome>,
    /// The same keys, the oldest first.
    in_order: VecDeque<(Time, Key)>,
}

impl Once {
    /// What came of the request with this key.
    pub(crate) fn get(&self, key: &Key) -> Option<Outcome> {
        self.outcomes.get(key).copied()
    }

    /// Remembers a request under a key that is not in use.
    pub(crate) fn insert(&mut self, now: Time, key: Key, outcome: Outcome) {
        self.in_order.push_back((now, key.clone()));
        self.outcomes.insert(key, outcome);
    }

    /// Forgets what is older than `age_ms`, and the oldest beyond `keys`.
    pub(crate) fn forget(&mut self, now: Time, age_ms: u64, keys: u32) {
        while let Some((at, _)) = self.in_order.front()
            && (at.plus_ms(age_ms) <= now || self.in_order.len() > keys as usize)
            && let Some((_, key)) = self.in_order.pop_front()
        {
            self.outcomes.remove(&key);
        }
    }
}

/// A number that two different messages share by chance only.
pub(crate) fn fingerprint(message: &PublishCommand) -> u64 {
    let properties = message.properties.as_ref().map(|properties| {
        (
            properties.content_type.as_ref().map(Text::as_bytes),
            properties.response_topic.as_ref().map(|topic| topic.as_str()),
            properties.correlation_data.as_deref(),
        )
    });
    KeyedState::new(Seed(0)).hash_one((
        message.topic.as_str(),
        &message.payload[..],
        message.qos as u8,
        message.retain,
        properties,
    ))
}
