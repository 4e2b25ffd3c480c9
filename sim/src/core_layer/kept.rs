//! What the broker keeps, counted from its snapshot: there everything durable stands once.

use std::collections::BTreeMap;

use signalhouse_core::Record;
use signalhouse_core::record::{Enqueued, GroupId, QueueSeq, Receiver, RetainedChange, SessionId};

use crate::history::{Kept, KeptSession, Waiting};

/// Counts what a snapshot holds.
pub(crate) fn kept(snapshot: &[Record]) -> Kept {
    let mut sessions: BTreeMap<SessionId, KeptSession> = BTreeMap::new();
    let mut queues = Queues::default();
    let mut retained = Vec::new();
    for record in snapshot {
        match record {
            Record::Connected { session, client_id, .. } => {
                let client_id = client_id.to_string();
                let session = sessions.entry(*session).or_default();
                session.client_id = client_id;
            }
            Record::InboundHeld { session, .. } => {
                sessions.entry(*session).or_default().inbound += 1;
            }
            Record::Bound { session, seq, .. } => {
                queues.waiting.remove(&(Receiver::Session(*session), *seq));
                sessions.entry(*session).or_default().under_way += 1;
            }
            Record::Received { session, .. } => {
                sessions.entry(*session).or_default().under_way += 1;
            }
            Record::Published { message, entries, .. } => {
                queues.add(entries, message.content_bytes() as u64);
            }
            Record::Requeued { content_bytes, entries, .. } => {
                queues.add(entries, u64::from(*content_bytes));
            }
            Record::Moved { from, seq, to, .. } => queues.moved(*from, *seq, *to),
            // A snapshot has none of these, or they are no messages.
            Record::Disconnected { .. }
            | Record::SessionEnded { .. }
            | Record::WillDropped { .. }
            | Record::Subscribed { .. }
            | Record::Unsubscribed { .. }
            | Record::Replayed { .. }
            | Record::ReplayEnded { .. }
            | Record::Completed { .. }
            | Record::Removed { .. }
            | Record::InboundReleased { .. }
            | Record::Requested(_)
            | Record::RetainedCleared { .. }
            | Record::Counted { .. }
            | Record::Counters { .. } => {}
        }
        if let Record::Published { message, retained: RetainedChange::Set { .. }, .. } = record {
            retained.push(message.topic.to_string());
        }
    }
    let mut shares: BTreeMap<GroupId, Waiting> = BTreeMap::new();
    for ((receiver, _), bytes) in queues.waiting {
        match receiver {
            Receiver::Session(session) => {
                sessions.entry(session).or_default().waiting.add(bytes);
            }
            Receiver::Group(group) => shares.entry(group).or_default().add(bytes),
        }
    }
    Kept {
        sessions: sessions.into_values().collect(),
        shares: shares.into_values().collect(),
        retained,
    }
}

/// What waits, as far as the snapshot was read.
#[derive(Default)]
struct Queues {
    /// Bytes of each message, by queue and place in it.
    waiting: BTreeMap<(Receiver, QueueSeq), u64>,
}

impl Queues {
    fn add(&mut self, entries: &[Enqueued], bytes: u64) {
        let places = entries.iter().map(|entry| (entry.receiver, entry.seq));
        self.waiting.extend(places.map(|place| (place, bytes)));
    }

    fn moved(&mut self, from: Receiver, seq: QueueSeq, to: Receiver) {
        if let Some(bytes) = self.waiting.remove(&(from, seq)) {
            self.waiting.insert((to, seq), bytes);
        }
    }
}
