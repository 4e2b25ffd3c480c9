//! What waits for the driver's next round.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::task::{Context, Waker};

use signalhouse_core::ConnectionId;
use signalhouse_core::input::Command;
use signalhouse_core::input::{AuthOutcome, Gone};
use signalhouse_core::wire::DecodeError;
use signalhouse_core::wire::packet::ClientPacket;
use signalhouse_core::wire::types::Version;

use super::gateway::Look;

/// What one round deals with, about: as much as stays close to the processor from reading to writing, and so much that
/// what is written to one client at its end goes out together.
pub(crate) const INBOX_ENTRIES: usize = 1024;
const INBOX_BYTES: usize = 16 * 1024 * 1024;

/// One thing for the driver to look at. All but commands belong to a connection, and are void when
/// the broker is done with it.
#[derive(Debug)]
pub(crate) enum Arrival {
    /// A connection is there.
    Opened,
    /// It sent a packet.
    Packet(ClientPacket),
    /// It sent something else; nothing more is read from it.
    Malformed(DecodeError, Option<Version>),
    /// Its outgoing buffer has room again.
    Room,
    /// It is gone.
    Closed(Gone),
    /// It was asked about, and this is the answer: seldom, and larger than all else.
    Answer(Box<AuthOutcome>),
}

#[derive(Debug)]
pub(crate) enum Entry {
    Of(ConnectionId, Arrival),
    Command(Command),
    Look(Look),
}

/// A queue from the tasks of one thread to the driver on the same thread.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    queue: RefCell<VecDeque<Entry>>,
    driver: RefCell<Option<Waker>>,
    /// The driver is to be woken.
    driver_waits: Cell<bool>,
    /// Bytes read since the driver last emptied the queue.
    read_bytes: Cell<usize>,
}

impl Inbox {
    pub(crate) fn push(&self, connection: ConnectionId, arrival: Arrival) {
        self.enter(Entry::Of(connection, arrival));
    }

    pub(crate) fn command(&self, command: Command) {
        self.enter(Entry::Command(command));
    }

    pub(crate) fn look(&self, look: Look) {
        self.enter(Entry::Look(look));
    }

    /// Forgets what nobody will take out.
    pub(crate) fn clear(&self) {
        self.queue.borrow_mut().clear();
    }

    fn enter(&self, entry: Entry) {
        self.queue.borrow_mut().push_back(entry);
        self.wake();
    }

    /// Has the driver look around, if it waits.
    pub(crate) fn wake(&self) {
        if self.driver_waits.replace(false)
            && let Some(driver) = &*self.driver.borrow()
        {
            driver.wake_by_ref();
        }
    }

    pub(crate) fn count_read(&self, bytes: usize) {
        self.read_bytes.set(self.read_bytes.get() + bytes);
    }

    /// Whether connections should stop reading until the driver has caught up.
    pub(crate) fn is_full(&self) -> bool {
        self.read_bytes.get() >= INBOX_BYTES
            || self.queue.borrow().len() >= INBOX_ENTRIES
            || !self.is_empty() && sim_point!(InboxFull)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.queue.borrow().is_empty()
    }

    /// Whether something is there; if not, the driver is woken when there is.
    pub(crate) fn poll_ready(&self, cx: &mut Context<'_>) -> bool {
        if !self.is_empty() {
            return true;
        }
        let mut driver = self.driver.borrow_mut();
        if !driver.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *driver = Some(cx.waker().clone());
        }
        self.driver_waits.set(true);
        false
    }

    /// Moves everything into `batch`, which must be empty. Its memory goes back and forth, and shrinks only once
    /// rounds are small again: to grow anew in each of many large ones costs more than what they bring.
    pub(crate) fn take_into(&self, batch: &mut VecDeque<Entry>) {
        const KEPT_ENTRIES: usize = 4 * 1024;
        debug_assert!(batch.is_empty());
        let mut queue = self.queue.borrow_mut();
        if batch.capacity() > KEPT_ENTRIES && queue.len() < batch.capacity() / 8 {
            batch.shrink_to(batch.capacity() / 2);
        }
        self.read_bytes.set(0);
        std::mem::swap(&mut *queue, batch);
    }
}
