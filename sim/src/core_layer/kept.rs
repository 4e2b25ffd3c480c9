//! What the broker keeps, counted from its snapshot: there everything durable stands once.

use std::collections::BTreeMap;

use signalhouse_core::Record;
use signalhouse_core::record::{GroupId, Receiver, RetainedChange, SessionId};

use crate::history::{Kept, KeptSession};

/// Counts what a snapshot holds.
pub(crate) fn kept(snapshot: &[Record]) -> Kept {
    let mut sessions: BTreeMap<SessionId, KeptSession> = BTreeMap::new();
    let mut shares: BTreeMap<GroupId, usize> = BTreeMap::new();
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
            Record::Bound { session, .. } => {
                let session = sessions.entry(*session).or_default();
                session.under_way += 1;
                session.waiting = session.waiting.saturating_sub(1);
            }
            Record::Received { session, .. } => {
                sessions.entry(*session).or_default().under_way += 1;
            }
            Record::Published { entries, .. } | Record::Requeued { entries, .. } => {
                for entry in entries {
                    match entry.receiver {
                        Receiver::Session(session) => {
                            sessions.entry(session).or_default().waiting += 1;
                        }
                        Receiver::Group(group) => *shares.entry(group).or_default() += 1,
                    }
                }
            }
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
            | Record::Moved { .. }
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
    Kept {
        sessions: sessions.into_values().collect(),
        shares: shares.into_values().collect(),
        retained,
    }
}
