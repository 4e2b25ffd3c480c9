//! One connection as both its ends share it: what the network does to it.
//!
//! `turmoil` has faults for pairs of hosts. A plan has them for the connections of one client, and
//! running a host for each client would cost more time than all else. So these faults are here,
//! between `turmoil`'s streams and those who use them.

use std::cell::{Cell, RefCell};
use std::task::{Context, Waker};

use crate::plan::NetworkFault;

/// An end of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Broker,
    Client,
}

/// The state of a connection.
#[derive(Debug, Default)]
pub(crate) struct Link {
    is_held: Cell<bool>,
    to_broker: Direction,
    to_client: Direction,
    /// Sent to the client and not yet read by it.
    unread_bytes: Cell<usize>,
    /// The broker's process has this connection.
    broker_has_it: Cell<bool>,
}

/// What goes to one end, and who waits there.
#[derive(Debug, Default)]
struct Direction {
    /// Whatever goes in is lost.
    is_dead: Cell<bool>,
    /// That end sees a reset.
    is_reset: Cell<bool>,
    waiting: RefCell<Option<Waker>>,
}

impl Link {
    /// What a fault does to it.
    pub(crate) fn fault(&self, fault: NetworkFault) {
        match fault {
            NetworkFault::Hold => self.is_held.set(true),
            NetworkFault::Release => self.is_held.set(false),
            // Those are matters of the client's end alone.
            NetworkFault::HalfClose | NetworkFault::Drip | NetworkFault::Unreachable => {}
            NetworkFault::BlackHoleToBroker => self.to_broker.is_dead.set(true),
            NetworkFault::BlackHoleToClient => self.to_client.is_dead.set(true),
            NetworkFault::Reset => {
                self.is_held.set(false);
                self.to_broker.is_reset.set(true);
                self.to_client.is_reset.set(true);
            }
        }
        self.wake(End::Broker);
        self.wake(End::Client);
    }

    /// The client resets the connection; the broker's end sees it if anything reaches it.
    pub(super) fn reset_by_client(&self) {
        self.to_broker.is_reset.set(true);
        self.wake(End::Broker);
    }

    /// Whether that end sees a reset now.
    pub(super) fn is_reset(&self, at: End) -> bool {
        let direction = self.direction(at);
        direction.is_reset.get() && !direction.is_dead.get() && !self.is_held.get()
    }

    /// Whether nothing arrives at that end for now.
    pub(super) fn is_silent(&self, at: End) -> bool {
        self.is_held.get() || self.is_dead(at)
    }

    /// Whether everything sent to that end is lost.
    pub(super) fn is_dead(&self, at: End) -> bool {
        self.direction(at).is_dead.get()
    }

    /// Whether data can pass in both directions.
    pub(super) fn is_healthy(&self) -> bool {
        [&self.to_broker, &self.to_client]
            .iter()
            .all(|direction| !direction.is_dead.get() && !direction.is_reset.get())
    }

    /// How much the network takes to the client before that reads some, if only `capacity_bytes`
    /// may be under way.
    pub(super) fn room_to_client(&self, capacity_bytes: usize) -> usize {
        if self.to_client.is_dead.get() && capacity_bytes < usize::MAX {
            return 0; // nobody acknowledges
        }
        capacity_bytes.saturating_sub(self.unread_bytes.get())
    }

    pub(super) fn sent_to_client(&self, bytes: usize) {
        self.unread_bytes.set(self.unread_bytes.get() + bytes);
    }

    pub(super) fn read_by_client(&self, bytes: usize) {
        self.unread_bytes.set(self.unread_bytes.get().saturating_sub(bytes));
        self.wake(End::Broker);
    }

    pub(super) fn set_broker_has_it(&self, has_it: bool) {
        self.broker_has_it.set(has_it);
    }

    pub(super) fn broker_has_it(&self) -> bool {
        self.broker_has_it.get()
    }

    /// Has the task polled again when something changes for that end.
    pub(super) fn register(&self, at: End, cx: &Context<'_>) {
        *self.direction(at).waiting.borrow_mut() = Some(cx.waker().clone());
    }

    pub(super) fn wake(&self, at: End) {
        let waiting = self.direction(at).waiting.borrow_mut().take();
        if let Some(waiting) = waiting {
            waiting.wake();
        }
    }

    fn direction(&self, to: End) -> &Direction {
        match to {
            End::Broker => &self.to_broker,
            End::Client => &self.to_client,
        }
    }
}
