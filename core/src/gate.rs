//! The gate: what may not be said before what it says is durable.
//!
//! One queue for the whole broker, first in, first out. It numbers the records, knows how far the
//! journal is durable, and holds packets and wake-ups until their record is.

use alloc::collections::VecDeque;

use crate::input::ConnectionId;
use crate::notice::Cause;
use crate::outbox::{Action, Answer, Outbox};
use crate::record::{LogPosition, Record, SessionId};
use crate::session::SessionKey;
use crate::wire::packet::ServerPacket;

/// What waits for a record.
#[derive(Clone, Debug)]
pub(crate) enum Item {
    /// A packet for a connection.
    Packet {
        connection: ConnectionId,
        packet: ServerPacket,
        /// Whether sending it gives one back to the client's receive maximum.
        returns_quota: bool,
    },
    /// The answer to a request that came without a connection.
    Answer(Answer),
    /// The end of a connection that is told first what comes before it.
    Close { connection: ConnectionId, cause: Cause },
    /// Messages of a session have become deliverable.
    Wake { session: SessionKey, id: SessionId },
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Gate {
    items: VecDeque<(LogPosition, Item)>,
    appended: LogPosition,
    durable: LogPosition,
    /// Whether nobody keeps records, so that nothing waits for one.
    is_open: bool,
}

impl Gate {
    /// A gate whose next record follows `through`, all up to there being durable.
    pub(crate) fn starting_after(through: LogPosition, keeps_records: bool) -> Self {
        Gate {
            items: VecDeque::new(),
            appended: through,
            durable: through,
            is_open: !keeps_records,
        }
    }

    /// Whether nobody keeps records.
    pub(crate) fn is_open(&self) -> bool {
        self.is_open
    }

    /// Hands `record` to the journal and returns its position.
    pub(crate) fn persist(&mut self, record: Record, out: &mut Outbox) -> LogPosition {
        if self.is_open {
            return self.durable;
        }
        self.appended = LogPosition(self.appended.0 + 1);
        out.push(Action::Persist { at: self.appended, record });
        self.appended
    }

    /// Keeps `item` until `after` is durable and all before it in the gate are gone.
    pub(crate) fn hold(&mut self, after: LogPosition, item: Item) {
        self.items.push_back((after, item));
    }

    /// All records up to `through` are durable.
    pub(crate) fn advance(&mut self, through: LogPosition) {
        assert!(through <= self.appended, "the driver reports records durable that do not exist");
        self.durable = self.durable.max(through);
    }

    /// The next item that may go.
    pub(crate) fn release(&mut self) -> Option<Item> {
        let (after, _) = self.items.front()?;
        if *after > self.durable {
            return None;
        }
        self.items.pop_front().map(|(_, item)| item)
    }

    pub(crate) fn appended(&self) -> LogPosition {
        self.appended
    }

    /// The last record, if there is one behind `before`; else the beginning, for which nobody waits.
    pub(crate) fn appended_since(&self, before: LogPosition) -> LogPosition {
        if self.appended > before { self.appended } else { LogPosition::START }
    }

    pub(crate) fn is_durable(&self, at: LogPosition) -> bool {
        at <= self.durable
    }
}
