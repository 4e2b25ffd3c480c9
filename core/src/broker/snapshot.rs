//! The durable state as a run of ordinary records.

use alloc::boxed::Box;
use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;

use super::Broker;
use crate::message::{Message, MessageId};
use crate::quota::DayCount;
use crate::record::{
    Enqueued, GroupId, Origin, QueueSeq, Receiver, Record, ReplayState, RetainedChange, SessionId,
};
use crate::routing::retained::Retained;
use crate::session::Session;
use crate::session::flight::Stage;
use crate::session::held::Held;
use crate::session::queue::{Journaled, Waiting};

/// A message with the queues that have it.
type Holders = BTreeMap<MessageId, (Held, Vec<Enqueued>)>;

impl Broker {
    /// The whole durable state as records that [`Broker::recover`] takes. It is canonical: two
    /// brokers with the same durable state give the same records.
    #[must_use]
    pub fn snapshot(&self) -> Vec<Record> {
        let mut records = alloc::vec![Record::Counters {
            next_session: SessionId(self.next_session),
            next_group: GroupId(self.next_group),
            next_message: MessageId(self.next_message),
            next_seq: QueueSeq(self.next_seq),
        }];
        records.extend(
            self.usage.counts(self.now).map(|DayCount { holder, day, count }| Record::Counted {
                holder,
                day,
                count,
            }),
        );
        let requests = self.once.iter();
        records.extend(requests.map(|requested| Record::Requested(Box::new(requested))));
        let mut sessions: Vec<&Session> = self
            .sessions
            .iter()
            .map(|(_, session)| session)
            .filter(|session| session.recorded && !session.ended)
            .collect();
        sessions.sort_unstable_by_key(|session| session.id);
        for session in &sessions {
            self.snapshot_session(session, &mut records);
        }
        self.snapshot_messages(&sessions, &mut records);
        for session in &sessions {
            snapshot_flight(session, &mut records);
        }
        for session in &sessions {
            if !session.open_in_journal {
                records.push(Record::Disconnected {
                    session: session.id,
                    session_expiry_interval_s: session.expiry_interval_s,
                    keeps_will: session.will.is_some(),
                    maybe_sent_before: QueueSeq(0),
                    at: session.left_at,
                });
            }
        }
        records
    }

    fn snapshot_session(&self, session: &Session, records: &mut Vec<Record>) {
        records.push(Record::Connected {
            session: session.id,
            client_id: session.client_id.clone(),
            identity: session.identity.clone(),
            claims: session.claims.clone(),
            address: session.address.clone(),
            key: session.key.as_deref().cloned(),
            version: session.version,
            session_expiry_interval_s: session.expiry_interval_s,
            will: session.will.as_ref().map(|armed| armed.will.clone()),
            at: session.left_at,
        });
        if !session.is_durable() || canary!(SnapshotForgetsSubscriptions) {
            return;
        }
        for (filter, subscription) in self.subscriptions_behind(session, None) {
            let replay = session.replays.iter().find(|replay| replay.filter == filter);
            let replay = replay.map(|replay| ReplayState {
                before: replay.before,
                after_topic: replay.after_topic.clone(),
                early: replay.early.iter().cloned().collect(),
            });
            records.push(Record::Subscribed {
                session: session.id,
                filter,
                options: subscription.options,
                subscription_id: subscription.subscription_id,
                group: subscription.group.map(|(_, id)| id),
                replay,
            });
        }
        if canary!(SnapshotForgetsHeldIds) {
            return;
        }
        records.extend(
            session
                .inbound
                .iter()
                .map(|(packet_id, _)| Record::InboundHeld { session: session.id, packet_id }),
        );
    }

    /// Every message once, with the queues that have it and what is retained.
    fn snapshot_messages(&self, sessions: &[&Session], records: &mut Vec<Record>) {
        let mut holders = Holders::new();
        let mut taken = Vec::new();
        for session in sessions {
            let in_flight = session.flight.in_order().into_iter().filter_map(|(id, _)| {
                match &session.flight.get(id)?.stage {
                    Stage::Publish { entry, .. } => Some(entry),
                    Stage::Release { .. } => None,
                }
            });
            let receiver = Receiver::Session(session.id);
            for entry in session.queue.iter() {
                let maybe_sent = entry.maybe_sent;
                self.hold_or_take(&mut holders, &mut taken, receiver, &entry, maybe_sent);
            }
            for entry in in_flight {
                // Of these its `Bound` says so.
                self.hold_or_take(&mut holders, &mut taken, receiver, entry, false);
            }
        }
        for (_, session) in self.sessions.iter().filter(|(_, session)| !session.ended) {
            let in_flight = session.flight.in_order().into_iter().filter_map(|(id, _)| {
                match &session.flight.get(id)?.stage {
                    Stage::Publish { entry, .. } => Some(entry),
                    Stage::Release { .. } => None,
                }
            });
            for entry in session.queue.iter().chain(in_flight.cloned()) {
                self.hold_at_group(&mut holders, &entry);
            }
        }
        for (_, group) in self.groups.iter() {
            for entry in group.queue.iter() {
                self.hold(&mut holders, Receiver::Group(group.id), &entry, false);
            }
        }
        let mut retained: BTreeMap<MessageId, &Retained> = self
            .retained
            .iter()
            .filter(|entry| entry.message.topic.is_recorded())
            .map(|entry| (entry.message.id, entry))
            .collect();
        for entry in retained.values() {
            let here = || Held::Here(entry.message.clone());
            let holder = holders.entry(entry.message.id);
            holder.or_insert_with(|| (here(), Vec::new())).0 = here();
        }
        for (id, (held, mut entries)) in holders {
            entries.sort_unstable_by_key(|entry| (entry.receiver, entry.seq));
            let change = match retained.remove(&id) {
                Some(entry) => RetainedChange::Set { publisher: entry.publisher.clone() },
                None => RetainedChange::None,
            };
            records.push(match held {
                Held::Stored(stored) => stored.requeued(entries),
                Held::Here(message) => published(message, change, entries),
                Held::Packed(packed) => published(Arc::new(packed.unpack()), change, entries),
                Held::Paged(paged) => published(Arc::new(paged.block().unpack()), change, entries),
            });
        }
        taken.sort_unstable_by_key(|(receiver, seq, _)| (*receiver, *seq));
        records.extend(taken.into_iter().map(|(_, _, moved)| moved));
    }

    /// Holds an entry of a session's. One that comes to it from a share without the RETAIN that it was published with
    /// is held at the share, and taken: it would have to have that again `[MQTT-3.3.1-13]` for the next member.
    fn hold_or_take(
        &self,
        holders: &mut Holders,
        taken: &mut Vec<(Receiver, QueueSeq, Record)>,
        receiver: Receiver,
        entry: &Waiting,
        maybe_sent: bool,
    ) {
        let group = entry.group.filter(|group| self.groups.get_durable(*group).is_some());
        let is_changed = entry.published_retain && !entry.retain && !maybe_sent;
        let Some((_, id)) = group.filter(|_| is_changed && entry.journaled == Journaled::Here)
        else {
            return self.hold(holders, receiver, entry, maybe_sent);
        };
        add(holders, entry, Enqueued::at_group(id, entry.seq, entry.message.qos(), true));
        let moved = Record::Moved {
            from: Receiver::Group(id),
            seq: entry.seq,
            to: receiver,
            qos: entry.qos,
            subscription_ids: entry.subscription_ids.clone(),
            retain: entry.retain,
        };
        taken.push((receiver, entry.seq, moved));
    }

    fn hold(&self, holders: &mut Holders, receiver: Receiver, entry: &Waiting, maybe_sent: bool) {
        if entry.journaled == Journaled::Here {
            let group = entry.group.filter(|group| self.groups.get_durable(*group).is_some());
            let enqueued = Enqueued {
                receiver,
                seq: entry.seq,
                qos: entry.qos,
                retain: entry.retain,
                maybe_sent,
                group: group.map(|(_, id)| id),
                subscription_ids: entry.subscription_ids.clone(),
            };
            add(holders, entry, enqueued);
        }
    }

    /// What a session has from its group, but the journal still has at the group.
    fn hold_at_group(&self, holders: &mut Holders, entry: &Waiting) {
        if let (Journaled::AtGroup(era), Some(group)) = (entry.journaled, entry.group)
            && self.groups.get_durable(group).is_some_and(|group| group.journal_era() == era)
        {
            let (qos, retain) = (entry.message.qos(), entry.published_retain);
            add(holders, entry, Enqueued::at_group(group.1, entry.seq, qos, retain));
        }
    }
}

fn add(holders: &mut Holders, entry: &Waiting, enqueued: Enqueued) {
    let holder = holders.entry(entry.message.id());
    let (held, entries) = holder.or_insert_with(|| (entry.message.clone(), Vec::new()));
    if held.is_stored() {
        // Where one queue has the message in memory, the record has it too.
        *held = entry.message.clone();
    }
    entries.push(enqueued);
}

fn published(message: Arc<Message>, retained: RetainedChange, entries: Vec<Enqueued>) -> Record {
    Record::Published { message, origin: Origin::Untracked, retained, entries, at: None }
}

/// Identifiers in use, in the order in which the exchanges began.
fn snapshot_flight(session: &Session, records: &mut Vec<Record>) {
    for (packet_id, _) in session.flight.in_order() {
        let Some(exchange) = session.flight.get(packet_id) else { continue };
        if exchange.journaled != Journaled::Here {
            continue;
        }
        match &exchange.stage {
            Stage::Publish { entry, .. } => {
                let seq = entry.seq;
                records.push(Record::Bound { session: session.id, seq, packet_id });
            }
            Stage::Release { .. } => {
                records.push(Record::Received { session: session.id, packet_id });
            }
        }
    }
}
