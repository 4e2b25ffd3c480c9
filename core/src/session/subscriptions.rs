//! A session's subscriptions by filter, in little memory: each is one short block.

use alloc::boxed::Box;
use alloc::collections::BTreeSet;
use alloc::vec::Vec;
use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::ops::Bound;

use bytes::Bytes;

use super::block::field;
use crate::record::GroupId;
use crate::routing::topic::TopicFilter;
use crate::session::{GroupKey, Subscription};
use crate::wire::packet::{RetainHandling, SubscriptionOptions};
use crate::wire::types::{QoS, Text};

/// In the order of the filters' text.
#[derive(Clone, Default)]
pub(crate) struct Subscriptions(BTreeSet<Packed>);

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn contains(&self, filter: &TopicFilter) -> bool {
        self.0.contains(filter.as_text().as_bytes())
    }

    /// Adds a subscription, or replaces the one to the same filter.
    pub(crate) fn insert(&mut self, filter: &TopicFilter, subscription: Subscription) {
        self.0.replace(Packed::new(filter, subscription));
    }

    pub(crate) fn remove(&mut self, filter: &TopicFilter) -> Option<Subscription> {
        self.0.take(filter.as_text().as_bytes()).map(|packed| packed.subscription())
    }

    pub(crate) fn pop_first(&mut self) -> Option<(TopicFilter, Subscription)> {
        self.0.pop_first().map(|packed| packed.unpack())
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TopicFilter, Subscription)> {
        self.0.iter().map(Packed::unpack)
    }

    /// Those behind a filter; all if there is none.
    pub(crate) fn behind(
        &self,
        filter: Option<&TopicFilter>,
    ) -> impl Iterator<Item = (TopicFilter, Subscription)> {
        let text = filter.map(|filter| filter.as_text().as_bytes());
        let start = text.map_or(Bound::Unbounded, Bound::Excluded);
        self.0.range::<[u8], _>((start, Bound::Unbounded)).map(Packed::unpack)
    }
}

impl fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// A subscription in one block: a byte of flags, the identifier and the group if it has them, the
/// filter's text. Told apart by the text alone.
#[derive(Clone)]
struct Packed(Box<[u8]>);

const QOS: u8 = 0b11;
const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;
const RETAIN_HANDLING_SHIFT: u32 = 4;
const HAS_ID: u8 = 1 << 6;
const HAS_GROUP: u8 = 1 << 7;

const FLAGS_BYTES: usize = 1;
const ID_BYTES: usize = 4;
const GROUP_BYTES: usize = 4 + 8;

impl Packed {
    fn new(filter: &TopicFilter, subscription: Subscription) -> Self {
        let Subscription { options, subscription_id, group } = subscription;
        let flag = |flag: u8, is_set: bool| if is_set { flag } else { 0 };
        let flags = options.maximum_qos as u8
            | flag(NO_LOCAL, options.no_local)
            | flag(RETAIN_AS_PUBLISHED, options.retain_as_published)
            | (options.retain_handling as u8) << RETAIN_HANDLING_SHIFT
            | flag(HAS_ID, subscription_id.is_some())
            | flag(HAS_GROUP, group.is_some());
        let text = filter.as_text().as_bytes();
        let mut block = Vec::with_capacity(text_start(flags) + text.len());
        block.push(flags);
        if let Some(id) = subscription_id {
            block.extend_from_slice(&id.to_le_bytes());
        }
        if let Some((key, id)) = group {
            block.extend_from_slice(&key.to_le_bytes());
            block.extend_from_slice(&id.0.to_le_bytes());
        }
        block.extend_from_slice(text);
        Packed(block.into_boxed_slice())
    }

    fn subscription(&self) -> Subscription {
        let flags = self.flags();
        let options = SubscriptionOptions {
            maximum_qos: QoS::from_u8(flags & QOS).unwrap_or_default(),
            no_local: flags & NO_LOCAL != 0,
            retain_as_published: flags & RETAIN_AS_PUBLISHED != 0,
            retain_handling: match flags >> RETAIN_HANDLING_SHIFT & 0b11 {
                1 => RetainHandling::IfNew,
                2 => RetainHandling::Never,
                _ => RetainHandling::Always,
            },
        };
        let has = |flag: u8| flags & flag != 0;
        let group_start = FLAGS_BYTES + if has(HAS_ID) { ID_BYTES } else { 0 };
        let group = has(HAS_GROUP).then(|| {
            let key: GroupKey = u32::from_le_bytes(field(&self.0, group_start));
            (key, GroupId(u64::from_le_bytes(field(&self.0, group_start + 4))))
        });
        let subscription_id = has(HAS_ID).then(|| u32::from_le_bytes(field(&self.0, FLAGS_BYTES)));
        Subscription { options, subscription_id, group }
    }

    fn unpack(&self) -> (TopicFilter, Subscription) {
        let text = Text::new(Bytes::copy_from_slice(self.text())).ok();
        let filter = text.and_then(|text| TopicFilter::new(text).ok());
        (filter.expect("what was packed from a filter is one"), self.subscription())
    }

    fn text(&self) -> &[u8] {
        self.0.get(text_start(self.flags())..).unwrap_or_default()
    }

    fn flags(&self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }
}

fn text_start(flags: u8) -> usize {
    let id = if flags & HAS_ID != 0 { ID_BYTES } else { 0 };
    let group = if flags & HAS_GROUP != 0 { GROUP_BYTES } else { 0 };
    FLAGS_BYTES + id + group
}

impl Borrow<[u8]> for Packed {
    fn borrow(&self) -> &[u8] {
        self.text()
    }
}

impl PartialEq for Packed {
    fn eq(&self, other: &Self) -> bool {
        self.text() == other.text()
    }
}

impl Eq for Packed {}

impl PartialOrd for Packed {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Packed {
    fn cmp(&self, other: &Self) -> Ordering {
        self.text().cmp(other.text())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_put_in_comes_out_in_the_order_of_filters() {
        let handlings = [RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never];
        let qualities = [QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce];
        let mut subscriptions = Subscriptions::default();
        let mut put_in = Vec::new();
        for (number, filter) in ["z/+", "$share/g/a/#", "a", "a/b/c", "#"].into_iter().enumerate() {
            let filter = TopicFilter::try_from(filter).expect("a filter");
            let subscription = Subscription {
                options: SubscriptionOptions {
                    maximum_qos: qualities[number % 3],
                    no_local: number % 2 == 0,
                    retain_as_published: number % 3 == 0,
                    retain_handling: handlings[(number + 1) % 3],
                },
                subscription_id: (number % 2 == 1).then_some(268_435_455),
                group: filter.is_shared().then_some((u32::MAX, GroupId(u64::MAX - 1))),
            };
            let replaced = Subscription { subscription_id: Some(7), group: None, ..subscription };
            subscriptions.insert(&filter, replaced);
            subscriptions.insert(&filter, subscription);
            put_in.push((filter, subscription));
        }
        put_in.sort_by(|(one, _), (other, _)| one.cmp(other));
        assert!(subscriptions.iter().eq(put_in.iter().cloned()));
        let (second, third) = (&put_in[1], &put_in[2]);
        assert_eq!(subscriptions.behind(Some(&second.0)).next().as_ref(), Some(third));
        assert_eq!(subscriptions.remove(&second.0), Some(second.1));
        assert!(!subscriptions.contains(&second.0) && subscriptions.contains(&third.0));
        assert_eq!(subscriptions.pop_first().as_ref(), put_in.first());
        assert_eq!(subscriptions.len(), 3);
    }
}
