//! Pages: packed messages that wait in one queue, side by side in one allocation.
//!
//! A long queue is given back a page at a time, where the allocator would have to look at every message once more when
//! it is in no cache any longer. A page is kept until the last of its messages is done with, so that it has few of them
//! and all of one queue.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;
use alloc::vec::Vec;

use crate::session::held::{Block, Held};
use crate::session::slot::Slot;

/// Messages of a page, at most.
pub(super) const TOGETHER: usize = 16;

/// Fewer are not worth a page.
const LEAST: usize = TOGETHER / 2;
/// The size of a message stands before it.
const SIZE_BYTES: usize = 4;

/// A packed message in a page.
#[derive(Clone, Debug)]
pub(crate) struct Paged {
    /// With a pointer of one word, so that an entry of a queue is no longer for it.
    page: Arc<Box<[u8]>>,
    start: u32,
}

impl Paged {
    pub(crate) fn block(&self) -> Block<'_> {
        let message = self.page.split_at_checked(self.start as usize).map(|(_, message)| message);
        let block = message.and_then(|message| {
            let (size_bytes, rest) = message.split_first_chunk::<SIZE_BYTES>()?;
            rest.get(..u32::from_le_bytes(*size_bytes) as usize)
        });
        Block(block.expect("the page has the message that was put there"))
    }
}

/// Puts those of the last messages of a queue that are packed, short and in no other queue into one page, if they are
/// many. Not the very last: others may be getting it yet.
pub(super) fn gather(slots: &mut VecDeque<Slot>) {
    let Some(start) = slots.len().checked_sub(TOGETHER + 1) else { return };
    let end = start + TOGETHER;
    let loose = slots.range(start..end).filter_map(|slot| slot.held.loose_block());
    let (mut count, mut page_bytes) = (0, 0);
    for block in loose {
        count += 1;
        page_bytes += SIZE_BYTES + block.0.len();
    }
    if count < LEAST {
        return;
    }
    let mut page = Vec::with_capacity(page_bytes);
    for block in slots.range(start..end).filter_map(|slot| slot.held.loose_block()) {
        // What is copied is short.
        let size_bytes = u32::try_from(block.0.len()).unwrap_or(u32::MAX);
        page.extend_from_slice(&size_bytes.to_le_bytes());
        page.extend_from_slice(block.0);
    }
    let page = Arc::new(page.into_boxed_slice());
    let mut next = 0;
    for slot in slots.range_mut(start..end) {
        let Some(block) = slot.held.loose_block() else { continue };
        let size_bytes = block.0.len();
        slot.held = Held::Paged(Paged { page: page.clone(), start: next });
        next += u32::try_from(SIZE_BYTES + size_bytes).unwrap_or(u32::MAX);
    }
}

#[cfg(test)]
mod tests {
    use alloc::format;

    use bytes::{Bytes, BytesMut};

    use super::*;
    use crate::buffers::Buffers;
    use crate::message::{Message, MessageId};
    use crate::record::{LogPosition, QueueSeq};
    use crate::routing::topic::Topic;
    use crate::session::held::Packed;
    use crate::session::queue::{Entry, Journaled, Lane, Queue, Waiting};
    use crate::time::Time;
    use crate::wire::property::SubscriptionIds;
    use crate::wire::types::{QoS, Text};

    fn message(number: u64, payload_bytes: usize) -> Message {
        let topic = Text::try_from(format!("t/{number}").as_str()).expect("a text");
        Message {
            id: MessageId(number),
            topic: Topic::new(topic).expect("a topic"),
            payload: Bytes::from(alloc::vec![b'0' + (number % 10) as u8; payload_bytes]),
            qos: QoS::AtLeastOnce,
            expires_at: number.is_multiple_of(3).then(|| Time::from_ms(number)),
            properties: None,
        }
    }

    fn packed(message: &Message) -> Held {
        Held::Packed(Packed::new(message, &mut BytesMut::new()).expect("it fits in a PUBLISH"))
    }

    fn push(queue: &mut Queue, number: u64, message: Held) {
        queue.push(Entry {
            seq: QueueSeq(number),
            message,
            qos: QoS::AtLeastOnce,
            retain: false,
            published_retain: false,
            maybe_sent: false,
            after: LogPosition::START,
            journaled: Journaled::No,
            group: None,
            subscription_ids: SubscriptionIds::None,
        });
    }

    fn is_paged(entry: &Waiting) -> bool {
        match entry.message {
            Held::Paged(_) => true,
            Held::Here(_) | Held::Packed(_) | Held::Stored(_) => false,
        }
    }

    #[test]
    fn messages_in_a_page_are_what_they_were() {
        let mut queue = Queue::default();
        let count = 2 * TOGETHER as u64 + 5;
        for number in 0..count {
            push(&mut queue, number, packed(&message(number, number as usize)));
        }
        let bytes: usize = (0..count).map(|n| message(n, n as usize).content_bytes()).sum();
        assert_eq!((queue.content_bytes(), queue.memory_bytes()), (bytes as u64, bytes as u64));
        let mut buffers = Buffers::new(16 * 1024);
        for number in 0..count {
            let entry = queue.pop(Lane::Main).expect("it was put there");
            assert_eq!(is_paged(&entry), number < 2 * TOGETHER as u64, "{number}");
            let wanted = message(number, number as usize);
            let held = entry.message;
            assert_eq!((held.id(), held.qos()), (wanted.id, wanted.qos));
            assert_eq!(held.expires_at(), wanted.expires_at);
            if let Held::Paged(paged) = &held {
                assert_eq!(paged.block().unpack_into(&mut buffers), wanted);
            }
            assert_eq!(held.message().as_deref(), Some(&wanted));
        }
        assert_eq!((queue.content_bytes(), queue.memory_bytes()), (0, 0));
    }

    #[test]
    fn what_others_have_and_what_is_long_stays_as_it_is() {
        let mut queue = Queue::default();
        let shared = packed(&message(1, 1));
        push(&mut queue, 0, packed(&message(0, 2000)));
        push(&mut queue, 1, shared.clone());
        for number in 2..=TOGETHER as u64 {
            push(&mut queue, number, packed(&message(number, 1)));
        }
        let paged: Vec<bool> = queue.iter().map(|entry| is_paged(&entry)).collect();
        assert_eq!(paged.iter().filter(|paged| **paged).count(), TOGETHER - 2);
        assert!(!paged[0] && !paged[1] && !paged[TOGETHER]);
    }

    #[test]
    fn a_few_get_no_page() {
        let mut queue = Queue::default();
        let shared: Vec<Held> =
            (0..=TOGETHER as u64).map(|number| packed(&message(number, 1))).collect();
        for (number, held) in (0..).zip(&shared) {
            let few = number < LEAST as u64 - 1;
            push(&mut queue, number, if few { packed(&message(number, 1)) } else { held.clone() });
        }
        assert!(!queue.iter().any(|entry| is_paged(&entry)));
    }
}
