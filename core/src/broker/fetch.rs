//! Messages that wait in the journal alone: which ones, and how they come back.
//!
//! A message that cannot go out soon is packed into one piece, and beyond
//! [`Limits::queue_memory_bytes`](crate::Limits::queue_memory_bytes) it is not kept in memory at all. When a
//! client is there for it, it is read back, a few messages ahead of delivery, which stops at the
//! first that is not there yet.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use bytes::BytesMut;

use super::Broker;
use crate::message::{Message, MessageId};
use crate::outbox::{Action, Outbox};
use crate::record::{Enqueued, QueueSeq, Receiver, SessionId};
use crate::session::held::{Held, Packed};
use crate::session::queue::{Journaled, Lane};
use crate::session::{GroupKey, SessionKey};
use crate::wire::outbound_publish_len;
use crate::wire::packet::OutboundPublish;
use crate::wire::property::SubscriptionIds;
use crate::wire::types::{Delivery, QoS, Version};

/// A connected session's queue keeps so many messages as they are sent; those behind are packed.
const SOON: usize = 64;

/// A larger payload is not copied only to have it packed while it is under way.
const PACKED_PAYLOAD_BYTES: usize = 1024;

/// Exchanges to be sent again, looked at to see whether their messages must be read back.
const AHEAD: usize = 16;

/// About what a queued or retained message takes in the journal beside its content.
const ENTRY_BYTES: u64 = 40;

/// A larger buffer for packing is given back.
const BUFFER_BYTES: usize = 256 * 1024;

/// What is being read back, and for whom.
#[derive(Clone, Debug, Default)]
pub(super) struct Fetches {
    waiting: BTreeMap<MessageId, Vec<Waiter>>,
    /// Bytes of all sessions' queues in memory.
    memory_bytes: u64,
    /// Bytes of all sessions' queues, wherever they are, with [`ENTRY_BYTES`] for each entry.
    live_bytes: u64,
}

/// An entry that waits for its message.
#[derive(Clone, Copy, Debug)]
struct Waiter {
    session: SessionKey,
    id: SessionId,
    seq: QueueSeq,
}

/// One message in the forms in which its receivers' queues have it, each made once.
pub(super) struct Forms<'a> {
    message: &'a Arc<Message>,
    /// The store of retained messages has it as it is.
    is_retained: bool,
    packed: Option<Packed>,
    /// The size of a PUBLISH at QoS 0 without subscription identifiers, in the version asked for last.
    qos0_bytes: Option<(Version, usize)>,
    buffer: &'a mut BytesMut,
}

impl<'a> Forms<'a> {
    pub(super) fn new(
        message: &'a Arc<Message>,
        is_retained: bool,
        buffer: &'a mut BytesMut,
    ) -> Self {
        Forms { message, is_retained, packed: None, qos0_bytes: None, buffer }
    }

    pub(super) fn message(&self) -> &Arc<Message> {
        self.message
    }

    /// [`outbound_publish_len`], worked out once for receivers alike. All are to be written at the same
    /// moment.
    pub(super) fn publish_bytes(&mut self, publish: &OutboundPublish, version: Version) -> usize {
        let is_plain = publish.delivery == Delivery::AtMostOnce
            && publish.subscription_ids == SubscriptionIds::None;
        match self.qos0_bytes {
            Some((known, bytes)) if is_plain && known == version => bytes,
            Some(_) | None => {
                let bytes = outbound_publish_len(publish, version);
                if is_plain {
                    self.qos0_bytes = Some((version, bytes));
                }
                bytes
            }
        }
    }

    pub(super) fn is_retained(&self) -> bool {
        self.is_retained
    }

    fn here(&self) -> Held {
        Held::Here(self.message.clone())
    }

    fn packed(&mut self) -> Held {
        if self.packed.is_none() && !self.is_retained {
            self.packed = Packed::new(self.message, self.buffer);
            if self.buffer.capacity() > BUFFER_BYTES {
                *self.buffer = BytesMut::new();
            }
        }
        self.packed.clone().map_or_else(|| self.here(), Held::Packed)
    }
}

impl Broker {
    /// In which form a session's queue takes a message.
    pub(super) fn form_for_session(
        &self,
        key: SessionKey,
        forms: &mut Forms<'_>,
        journaled: Journaled,
        group: Option<GroupKey>,
    ) -> Held {
        if self.stays_whole(key, forms.message) {
            return forms.here();
        }
        // What came from a group may go back to it, and a group's queue is in memory.
        self.form(forms, journaled == Journaled::Here && group.is_none())
    }

    /// In which form a recovered queue entry takes its message.
    pub(super) fn form_at_recovery(&self, forms: &mut Forms<'_>, entry: &Enqueued) -> Held {
        let is_for_session = match entry.receiver {
            Receiver::Session(_) => entry.group.is_none(),
            Receiver::Group(_) => false,
        };
        self.form(forms, is_for_session && entry.qos > QoS::AtMostOnce)
    }

    fn form(&self, forms: &mut Forms<'_>, may_be_stored: bool) -> Held {
        let bytes = forms.message.content_bytes() as u64;
        let is_over = self.fetches.memory_bytes + bytes > self.config.limits.queue_memory_bytes;
        if may_be_stored
            && is_over
            && let Some(stored) = forms.here().to_stored()
        {
            return Held::Stored(stored);
        }
        forms.packed()
    }

    /// In which form a group's queue takes a message.
    pub(super) fn form_for_group(forms: &mut Forms<'_>) -> Held {
        forms.packed()
    }

    /// Whether a session's queue takes a message as it is sent: where it waits for nothing but its record. Without
    /// records what can be sent goes at once, and what is kept until it is acknowledged is one block packed.
    pub(super) fn stays_whole(&self, key: SessionKey, message: &Message) -> bool {
        let is_worth_it = !self.gate.is_open() || message.payload.len() > PACKED_PAYLOAD_BYTES;
        is_worth_it
            && self.sessions.get(key).is_some_and(|session| {
                let queue = &session.queue;
                session.connection.is_some()
                    && queue.lane_len(Lane::Main) + queue.lane_len(Lane::Qos0) < SOON
            })
    }

    /// Asks for what a connected session's queue has in the journal and will need next.
    pub(super) fn read_ahead(&mut self, key: SessionKey, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        let id = session.id;
        let mut wanted = Vec::new();
        if let Some(link) = session.connection.and_then(|connection| self.links.get(connection)) {
            // What is to be sent again comes first.
            let unsent = link.unsent.iter().take(AHEAD);
            wanted.extend(unsent.filter_map(|(id, _)| session.flight.want_back(*id)));
        }
        if wanted.is_empty() {
            wanted = session.queue.want_back(|at| self.gate.is_durable(at));
        }
        for (seq, message) in wanted {
            let waiters = self.fetches.waiting.entry(message).or_default();
            if waiters.is_empty() {
                out.push(Action::Fetch { message });
            }
            waiters.push(Waiter { session: key, id, seq });
        }
    }

    /// A message has been read back.
    pub(super) fn fetched(&mut self, message: &Arc<Message>, out: &mut Outbox) {
        let waiters = self.fetches.waiting.remove(&message.id);
        let waiters = waiters.expect("the driver brings what was asked for, once");
        for waiter in waiters {
            let session = self.sessions.get_mut(waiter.session);
            if let Some(session) = session.filter(|session| session.id == waiter.id)
                && session.connection.is_some()
            {
                if !session.queue.read_back(waiter.seq, message) {
                    session.flight.read_back(waiter.seq, message);
                }
                self.pump(waiter.session, out);
            }
        }
    }

    /// The client is gone: while memory is short, what was read back for it and not sent is left to
    /// the journal again.
    pub(super) fn stop_reading_ahead(&mut self, key: SessionKey) {
        let is_over = self.fetches.memory_bytes > self.config.limits.queue_memory_bytes;
        if let Some(session) = self.sessions.get_mut(key) {
            session.queue.stop_reading(is_over);
            session.flight.stop_reading(is_over);
        }
        self.count_memory(key);
    }

    /// Counts what a session's queue has, in memory and for quotas, after it may have changed.
    pub(super) fn count_memory(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get_mut(key) {
            let bytes = session.queue.memory_bytes();
            self.fetches.memory_bytes = self.fetches.memory_bytes + bytes - session.counted_bytes;
            session.counted_bytes = bytes;
            let entries = session.queue.len() as u64;
            let bytes = session.queue.content_bytes() + ENTRY_BYTES * entries;
            self.fetches.live_bytes = self.fetches.live_bytes + bytes - session.counted_live_bytes;
            session.counted_live_bytes = bytes;
        }
        self.count_stored(key);
    }

    /// About how many bytes of the journal are still good for something: messages in sessions' queues,
    /// each as often as it is queued, and retained messages.
    #[must_use]
    pub fn live_bytes(&self) -> u64 {
        let retained = self.retained.content_bytes() + ENTRY_BYTES * self.retained.len() as u64;
        self.fetches.live_bytes + retained
    }

    /// A session goes with all that is in its queue.
    pub(super) fn remove_session(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get(key) {
            self.fetches.memory_bytes -= session.counted_bytes;
            self.fetches.live_bytes -= session.counted_live_bytes;
        }
        self.sessions.remove(key);
    }
}
