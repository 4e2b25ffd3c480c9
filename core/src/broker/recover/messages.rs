//! What the records say of messages: where they wait, and what became of them.

use alloc::sync::Arc;
use alloc::vec::Vec;

use super::{Index, Unknown, behind};
use crate::broker::Broker;
use crate::broker::fetch::Forms;
use crate::message::{Message, MessageId};
use crate::record::{
    Enqueued, LogPosition, Origin, QueueSeq, Receiver, Record, RetainedChange, SessionId,
};
use crate::session::flight::{Flight, Stage};
use crate::session::held::{Held, Stored};
use crate::session::queue::{Journaled, Waiting};
use crate::wire::types::{OutboundPacketId, QoS};

impl Broker {
    pub(super) fn apply_published(
        &mut self,
        message: &Arc<Message>,
        origin: &Origin,
        retained: RetainedChange,
        entries: Vec<Enqueued>,
        index: &mut Index,
    ) -> Result<(), Unknown> {
        self.next_message = self.next_message.max(behind(message.id.0)?);
        match origin {
            Origin::Untracked => {}
            Origin::Inbound { session, packet_id } => {
                self.known_session(*session, index)?.inbound.insert(*packet_id, false);
            }
            Origin::Will { session } => self.known_session(*session, index)?.will = None,
            Origin::Request(requested) => {
                index.latest = index.latest.max(requested.at);
                self.remember_request((**requested).clone(), LogPosition::START);
            }
        }
        let is_retained = match retained {
            RetainedChange::None => false,
            RetainedChange::Set { publisher } => {
                if !canary!(OldRetainedRestored) || self.retained.get(&message.topic).is_none() {
                    self.retained.set(message.clone(), publisher);
                }
                true
            }
            RetainedChange::Clear => {
                if !canary!(DeletedRetainedRestored) {
                    self.retained.clear(&message.topic);
                }
                true
            }
        };
        let mut packing = core::mem::take(&mut self.packing);
        let mut forms = Forms::new(message, is_retained, &mut packing);
        for entry in entries {
            let published_retain = is_retained || entry.retain;
            let held = self.form_at_recovery(&mut forms, &entry);
            self.apply_entry(held, entry, published_retain, index)?;
        }
        self.packing = packing;
        Ok(())
    }

    pub(super) fn apply_requeued(
        &mut self,
        id: MessageId,
        stored: Stored,
        entries: Vec<Enqueued>,
        index: &Index,
    ) -> Result<(), Unknown> {
        self.next_message = self.next_message.max(behind(id.0)?);
        entries.into_iter().try_for_each(|entry| {
            let published_retain = entry.retain;
            self.apply_entry(Held::Stored(stored), entry, published_retain, index)
        })
    }

    pub(super) fn apply_replayed(
        &mut self,
        record: Record,
        index: &mut Index,
    ) -> Result<(), Unknown> {
        let Record::Replayed { session, filter, topic, early, message, entry } = record else {
            return Ok(());
        };
        let stored = self.retained.get(&topic).filter(|stored| stored.message.id == message);
        let message = stored.ok_or(Unknown("a retained message"))?.message.clone();
        self.apply_entry(Held::Here(message), entry, true, index)?;
        let session = self.known_session(session, index)?;
        let mut replays = session.replays.iter_mut();
        if let Some(replay) = replays.find(|replay| replay.filter == filter) {
            if early {
                replay.early.insert(topic);
            } else {
                replay.after_topic = Some(topic);
            }
        }
        Ok(())
    }

    fn apply_entry(
        &mut self,
        message: Held,
        enqueued: Enqueued,
        published_retain: bool,
        index: &Index,
    ) -> Result<(), Unknown> {
        self.next_seq = self.next_seq.max(behind(enqueued.seq.0)?);
        let group = enqueued.group.map(|id| (index.group_key(id), id));
        let entry = Waiting {
            seq: enqueued.seq,
            message,
            qos: enqueued.qos,
            retain: enqueued.retain,
            published_retain,
            maybe_sent: enqueued.maybe_sent,
            after: LogPosition::START,
            journaled: Journaled::Here,
            group,
            subscription_ids: enqueued.subscription_ids,
        };
        may_wait(&entry, enqueued.receiver)?;
        match enqueued.receiver {
            Receiver::Session(id) => {
                let key = *index.sessions.get(&id).ok_or(Unknown("a session"))?;
                self.known_session(id, index)?.queue.push(entry);
                self.count_memory(key);
            }
            Receiver::Group(id) => {
                let key = index.groups.get(&id).ok_or(Unknown("a share"))?;
                let group = self.groups.get_mut(*key).ok_or(Unknown("a share"))?;
                group.queue.push(entry);
            }
        }
        Ok(())
    }

    pub(super) fn apply_bound(
        &mut self,
        session: SessionId,
        seq: QueueSeq,
        packet_id: OutboundPacketId,
        index: &Index,
    ) -> Result<(), Unknown> {
        self.free_identifier(session, packet_id, index)?;
        let key = *index.sessions.get(&session).ok_or(Unknown("a session"))?;
        let session = self.known_session(session, index)?;
        let mut entry = session.queue.remove(seq).ok_or(Unknown("a queue entry"))?;
        entry.maybe_sent = true;
        session.flight.insert(packet_id, entry);
        self.count_memory(key);
        Ok(())
    }

    pub(super) fn apply_moved(&mut self, record: Record, index: &mut Index) -> Result<(), Unknown> {
        let Record::Moved { from, seq, to, qos, subscription_ids, retain } = record else {
            return Ok(());
        };
        let mut entry = self.take_entry(from, seq, index)?;
        entry.qos = qos;
        entry.retain = retain;
        entry.subscription_ids = subscription_ids;
        entry.maybe_sent = false;
        entry.group = match (from, to) {
            (Receiver::Group(id), Receiver::Session(_)) => Some((index.group_key(id), id)),
            (Receiver::Group(_) | Receiver::Session(_), _) => None,
        };
        may_wait(&entry, to)?;
        match to {
            Receiver::Session(id) => {
                let key = *index.sessions.get(&id).ok_or(Unknown("a session"))?;
                self.known_session(id, index)?.queue.push(entry);
                self.count_memory(key);
            }
            Receiver::Group(id) => {
                let key = index.groups.get(&id).ok_or(Unknown("a share"))?;
                let group = self.groups.get_mut(*key).ok_or(Unknown("a share"))?;
                // There it is as it was published, whatever a snapshot of the past kept of that.
                entry.published_retain = retain;
                group.queue.push(entry);
            }
        }
        Ok(())
    }

    /// Takes an entry out of the queue, or out of flight, wherever it is.
    pub(super) fn take_entry(
        &mut self,
        receiver: Receiver,
        seq: QueueSeq,
        index: &Index,
    ) -> Result<Waiting, Unknown> {
        let entry = match receiver {
            Receiver::Group(id) => index
                .groups
                .get(&id)
                .and_then(|key| self.groups.get_mut(*key))
                .and_then(|group| group.queue.remove(seq)),
            Receiver::Session(id) => {
                let key = *index.sessions.get(&id).ok_or(Unknown("a session"))?;
                let session = self.known_session(id, index)?;
                let entry = session.queue.remove(seq).or_else(|| session.flight.take_publish(seq));
                self.count_memory(key);
                entry
            }
        };
        entry.ok_or(Unknown("a queue entry"))
    }
}

/// Whether an entry may be in this queue. Where only the journal has the message, that is a session's at QoS 1 or 2,
/// and none that may go on to a share: everywhere else it must be at hand.
fn may_wait(entry: &Waiting, receiver: Receiver) -> Result<(), Unknown> {
    let is_read_back = match receiver {
        Receiver::Session(_) => entry.qos > QoS::AtMostOnce && entry.group.is_none(),
        Receiver::Group(_) => false,
    };
    let is_at_hand = !entry.message.is_stored();
    (is_at_hand || is_read_back).then_some(()).ok_or(Unknown("a message that is at hand"))
}

impl Flight {
    /// PUBREC came for an exchange, or, in a snapshot, had come.
    pub(super) fn receive(&mut self, packet_id: OutboundPacketId) {
        let after = LogPosition::START;
        if self.get(packet_id).is_some() {
            self.release(packet_id, after);
        } else {
            self.insert_released(packet_id);
        }
    }

    /// Takes a PUBLISH in flight back out.
    fn take_publish(&mut self, seq: QueueSeq) -> Option<Waiting> {
        let (id, _) = self.in_order().into_iter().find(|(id, _)| {
            self.get(*id).is_some_and(|exchange| match &exchange.stage {
                Stage::Publish { entry, .. } => entry.seq == seq,
                Stage::Release { .. } => false,
            })
        })?;
        match self.remove(id)?.stage {
            Stage::Publish { entry, .. } => Some(entry),
            Stage::Release { .. } => None,
        }
    }
}
