//! A session's subscriptions by filter, in little memory: one block of bytes each, one behind the other.

use alloc::vec::Vec;
use core::fmt;

use bytes::Bytes;

use super::block::field;
use crate::record::GroupId;
use crate::routing::topic::TopicFilter;
use crate::session::{GroupKey, Subscription};
use crate::wire::packet::{RetainHandling, SubscriptionOptions};
use crate::wire::types::{QoS, Text};

/// What all blocks of a session may have together, so that a place fits into 32 bits while up to half
/// of what is there is gone.
const LIVE_BYTES_MAXIMUM: usize = (u32::MAX / 2) as usize;

/// In the order of the filters' text. To find one takes steps by the logarithm of their number; to add or
/// remove one moves the places of those behind it, four bytes each.
#[derive(Clone, Default)]
pub(crate) struct Subscriptions {
    /// Blocks in the order in which they came, some of them gone.
    blocks: Vec<u8>,
    /// Where each block begins that is not gone, in the order of the filters.
    places: Vec<u32>,
    gone_bytes: usize,
}

impl Subscriptions {
    pub(crate) fn len(&self) -> usize {
        self.places.len()
    }

    pub(crate) fn contains(&self, filter: &TopicFilter) -> bool {
        self.find(filter).is_ok()
    }

    /// Whether a subscription to that filter can be added.
    pub(crate) fn has_room_for(&self, filter: &TopicFilter) -> bool {
        let live_bytes = self.blocks.len() - self.gone_bytes;
        live_bytes + HEAD_BYTES_MAXIMUM + filter.as_text().len() <= LIVE_BYTES_MAXIMUM
    }

    /// Adds a subscription, or replaces the one to the same filter.
    ///
    /// # Panics
    /// If it is added although there is no room for it.
    pub(crate) fn insert(&mut self, filter: &TopicFilter, subscription: Subscription) {
        let found = self.find(filter);
        if let Ok(at) = found {
            self.take_at(at);
        }
        let place = u32::try_from(self.blocks.len()).expect("`has_room_for` was asked");
        let head = Head::of(subscription, filter);
        grow(&mut self.blocks, head.block_bytes());
        head.put(filter, &mut self.blocks);
        grow(&mut self.places, 1);
        let (Ok(at) | Err(at)) = found;
        self.places.insert(at, place);
    }

    pub(crate) fn remove(&mut self, filter: &TopicFilter) -> Option<Subscription> {
        let at = self.find(filter).ok()?;
        Some(self.take_at(at))
    }

    /// Takes the last one.
    pub(crate) fn pop(&mut self) -> Option<(TopicFilter, Subscription)> {
        let at = self.places.len().checked_sub(1)?;
        let filter = self.block(at).filter();
        Some((filter, self.take_at(at)))
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (TopicFilter, Subscription)> {
        self.behind(None)
    }

    /// Those behind a filter; all if there is none.
    pub(crate) fn behind(
        &self,
        filter: Option<&TopicFilter>,
    ) -> impl Iterator<Item = (TopicFilter, Subscription)> {
        let first = filter.map_or(0, |filter| match self.find(filter) {
            Ok(at) => at + 1,
            Err(at) => at,
        });
        let blocks = (first..self.places.len()).map(|at| self.block(at));
        blocks.map(|block| (block.filter(), block.subscription()))
    }

    /// Where a filter is, or would be.
    fn find(&self, filter: &TopicFilter) -> Result<usize, usize> {
        let text = filter.as_text().as_bytes();
        self.places.binary_search_by(|place| self.block_from(*place).text().cmp(text))
    }

    fn block(&self, at: usize) -> Block<'_> {
        self.block_from(self.places.get(at).copied().unwrap_or_default())
    }

    fn block_from(&self, place: u32) -> Block<'_> {
        Block(self.blocks.get(place as usize..).unwrap_or_default())
    }

    fn take_at(&mut self, at: usize) -> Subscription {
        let block = self.block(at);
        let (subscription, bytes) = (block.subscription(), block.len());
        let end = self.places.remove(at) as usize + bytes;
        if end == self.blocks.len() {
            self.blocks.truncate(end - bytes);
        } else {
            self.gone_bytes += bytes;
        }
        if self.gone_bytes > self.blocks.len() / 2 {
            self.close_gaps();
        }
        subscription
    }

    fn close_gaps(&mut self) {
        let mut blocks = Vec::new();
        blocks.reserve_exact(self.blocks.len() - self.gone_bytes);
        let mut places = Vec::new();
        places.reserve_exact(self.places.len());
        for place in &self.places {
            let block = self.block_from(*place);
            // No higher than before, and that was a place.
            places.push(u32::try_from(blocks.len()).unwrap_or_default());
            blocks.extend_from_slice(block.0.get(..block.len()).unwrap_or_default());
        }
        *self = Subscriptions { blocks, places, gone_bytes: 0 };
    }
}

/// Makes room for `more`, and for an eighth of what is there: to double would leave a third unused, on average.
fn grow<T>(vector: &mut Vec<T>, more: usize) {
    if vector.capacity() - vector.len() < more {
        vector.reserve_exact(more.max(vector.len() / 8));
    }
}

impl fmt::Debug for Subscriptions {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

const QOS: u8 = 0b11;
const NO_LOCAL: u8 = 1 << 2;
const RETAIN_AS_PUBLISHED: u8 = 1 << 3;
const RETAIN_HANDLING_SHIFT: u32 = 4;
const HAS_ID: u8 = 1 << 6;
const HAS_GROUP: u8 = 1 << 7;

/// Behind the flags, in two bytes, the length of the text.
const TEXT_BYTES: usize = 1;
const ID: usize = TEXT_BYTES + 2;
const ID_BYTES: usize = 4;
const GROUP_BYTES: usize = 4 + 8;
const HEAD_BYTES_MAXIMUM: usize = ID + ID_BYTES + GROUP_BYTES;

/// Where the text begins.
fn text_start(flags: u8) -> usize {
    let id = if flags & HAS_ID != 0 { ID_BYTES } else { 0 };
    let group = if flags & HAS_GROUP != 0 { GROUP_BYTES } else { 0 };
    ID + id + group
}

/// What a block has before the filter's text: a byte of flags, the length of the text, the identifier and the
/// group if it has them.
struct Head {
    flags: u8,
    text_bytes: u16,
    subscription: Subscription,
}

impl Head {
    fn of(subscription: Subscription, filter: &TopicFilter) -> Self {
        let Subscription { options, subscription_id, group } = subscription;
        let flag = |flag: u8, is_set: bool| if is_set { flag } else { 0 };
        let flags = options.maximum_qos as u8
            | flag(NO_LOCAL, options.no_local)
            | flag(RETAIN_AS_PUBLISHED, options.retain_as_published)
            | (options.retain_handling as u8) << RETAIN_HANDLING_SHIFT
            | flag(HAS_ID, subscription_id.is_some())
            | flag(HAS_GROUP, group.is_some());
        // [MQTT-1.5.4-1]: a text has no more than 65,535 bytes.
        let text_bytes = u16::try_from(filter.as_text().len()).unwrap_or(u16::MAX);
        Head { flags, text_bytes, subscription }
    }

    fn block_bytes(&self) -> usize {
        text_start(self.flags) + usize::from(self.text_bytes)
    }

    fn put(&self, filter: &TopicFilter, blocks: &mut Vec<u8>) {
        blocks.push(self.flags);
        blocks.extend_from_slice(&self.text_bytes.to_le_bytes());
        if let Some(id) = self.subscription.subscription_id {
            blocks.extend_from_slice(&id.to_le_bytes());
        }
        if let Some((key, id)) = self.subscription.group {
            blocks.extend_from_slice(&key.to_le_bytes());
            blocks.extend_from_slice(&id.0.to_le_bytes());
        }
        blocks.extend_from_slice(filter.as_text().as_bytes());
    }
}

/// A block, and whatever is behind it.
struct Block<'a>(&'a [u8]);

impl Block<'_> {
    fn len(&self) -> usize {
        text_start(self.flags()) + self.text_bytes()
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
        let group_start = ID + if has(HAS_ID) { ID_BYTES } else { 0 };
        let group = has(HAS_GROUP).then(|| {
            let key: GroupKey = u32::from_le_bytes(field(self.0, group_start));
            (key, GroupId(u64::from_le_bytes(field(self.0, group_start + 4))))
        });
        let subscription_id = has(HAS_ID).then(|| u32::from_le_bytes(field(self.0, ID)));
        Subscription { options, subscription_id, group }
    }

    fn filter(&self) -> TopicFilter {
        let text = Text::new(Bytes::copy_from_slice(self.text())).ok();
        let filter = text.and_then(|text| TopicFilter::new(text).ok());
        filter.expect("what was packed from a filter is one")
    }

    fn text(&self) -> &[u8] {
        let start = text_start(self.flags());
        self.0.get(start..start + self.text_bytes()).unwrap_or_default()
    }

    fn flags(&self) -> u8 {
        self.0.first().copied().unwrap_or_default()
    }

    fn text_bytes(&self) -> usize {
        usize::from(u16::from_le_bytes(field(self.0, TEXT_BYTES)))
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

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
        assert_eq!(subscriptions.pop().as_ref(), put_in.last());
        assert_eq!(subscriptions.len(), 3);
    }

    #[test]
    fn those_that_are_gone_leave_no_gaps_for_long() {
        let filter = |number: u32| TopicFilter::try_from(format!("t/{number}").as_str());
        let filter = |number| filter(number).expect("a filter");
        let subscription = |id| Subscription {
            options: SubscriptionOptions::default(),
            subscription_id: Some(id),
            group: None,
        };
        let mut subscriptions = Subscriptions::default();
        for number in 0..1_000 {
            subscriptions.insert(&filter(number), subscription(number));
        }
        for number in 0..1_000 {
            if number % 7 != 0 {
                assert_eq!(subscriptions.remove(&filter(number)), Some(subscription(number)));
                assert_eq!(subscriptions.remove(&filter(number)), None);
            }
        }
        let mut kept: Vec<_> =
            (0..1_000).step_by(7).map(|number| (filter(number), subscription(number))).collect();
        kept.sort_by(|(one, _), (other, _)| one.cmp(other));
        assert!(subscriptions.iter().eq(kept.iter().cloned()));
        assert!(subscriptions.blocks.len() < 2 * 13 * kept.len(), "{}", subscriptions.blocks.len());
        while let Some(last) = kept.pop() {
            assert_eq!(subscriptions.pop(), Some(last));
        }
        assert_eq!((subscriptions.pop(), subscriptions.blocks.len()), (None, 0));
    }
}
