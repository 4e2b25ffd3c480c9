//! Requests that must not be carried out twice, by their keys.
//!
//! The journal has them: the record of a publication says which request it carries out, so after a
//! power cut there are both or none. What is remembered follows from the records alone.

use alloc::collections::{BTreeMap, VecDeque};
use core::hash::Hasher;

use siphasher::sip::SipHasher13;

use crate::input::PublishCommand;
use crate::record::{LogPosition, Requested};
use crate::time::Time;
use crate::wire::property::MessageProperties;
use crate::wire::types::Text;

/// What came of a request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outcome {
    /// Tells the message of one request from that of another.
    pub(crate) fingerprint: u64,
    pub(crate) matched: u32,
    at: Time,
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
    /// What came of the request with this key, if that is not older than `age_ms`.
    pub(crate) fn get(&self, key: &Key, now: Time, age_ms: u64) -> Option<Outcome> {
        let outcome = self.outcomes.get(key).copied();
        outcome.filter(|outcome| outcome.at.plus_ms(age_ms) > now)
    }

    /// Remembers a request, and forgets what is older than it by `age_ms`, and the oldest beyond
    /// `keys`.
    pub(crate) fn insert(
        &mut self,
        requested: Requested,
        after: LogPosition,
        age_ms: u64,
        keys: u32,
    ) {
        let Requested { identity, key, fingerprint, matched, at } = requested;
        self.forget(|since, _| since.plus_ms(age_ms) <= at);
        let key = (identity, key);
        let outcome = Outcome { fingerprint, matched, at, after };
        if self.outcomes.insert(key.clone(), outcome).is_none() {
            self.in_order.push_back((at, key));
        }
        self.forget(|_, count| count > keys as usize);
    }

    /// Every request that is remembered, the oldest first.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Requested> {
        self.in_order.iter().filter_map(|(at, key)| {
            let Outcome { fingerprint, matched, .. } = *self.outcomes.get(key)?;
            let (identity, key) = key.clone();
            Some(Requested { identity, key, fingerprint, matched, at: *at })
        })
    }

    fn forget(&mut self, is_over: impl Fn(Time, usize) -> bool) {
        while let Some((at, _)) = self.in_order.front()
            && is_over(*at, self.in_order.len())
            && let Some((_, key)) = self.in_order.pop_front()
        {
            self.outcomes.remove(&key);
        }
    }
}

/// A number that two different messages share by chance only. It stands in the journal, so what goes
/// into it, and how, is fixed.
pub(crate) fn fingerprint(message: &PublishCommand) -> u64 {
    let mut hasher = SipHasher13::new();
    let mut part = |bytes: &[u8]| {
        hasher.write(&(bytes.len() as u64).to_le_bytes());
        hasher.write(bytes);
    };
    part(message.topic.as_text().as_bytes());
    part(&message.payload);
    part(&[message.qos as u8, u8::from(message.retain)]);
    let optional = |part: &mut dyn FnMut(&[u8]), bytes: Option<&[u8]>| {
        part(&[u8::from(bytes.is_some())]);
        part(bytes.unwrap_or_default());
    };
    let expiry_s = message.message_expiry_interval_s.map(u32::to_le_bytes);
    optional(&mut part, expiry_s.as_ref().map(|bytes| &bytes[..]));
    if let Some(properties) = message.properties.as_deref() {
        let MessageProperties {
            payload_format_indicator,
            content_type,
            response_topic,
            correlation_data,
            user_properties,
        } = properties;
        optional(
            &mut part,
            payload_format_indicator.map(|is_text| if is_text { &[1][..] } else { &[0] }),
        );
        optional(&mut part, content_type.as_ref().map(Text::as_bytes));
        optional(&mut part, response_topic.as_ref().map(|topic| topic.as_text().as_bytes()));
        optional(&mut part, correlation_data.as_deref());
        for (name, value) in user_properties {
            part(name.as_bytes());
            part(value.as_bytes());
        }
    }
    hasher.finish()
}
