//! Where records go so that they outlive the process.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::{Context, Poll};

use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::{JournalRoom, LogPosition, Record};

/// The broker's log of records.
///
/// The driver appends in order, asks once a round for what was appended to become durable, and is
/// told asynchronously. A journal may use any thread it likes behind this.
pub trait Journal: 'static {
    /// Whether records are kept at all. If not, the broker makes none and the driver has none to append.
    fn keeps_records(&self) -> bool {
        true
    }

    /// Takes a record. Positions rise by one.
    fn append(&mut self, at: LogPosition, record: Record);

    /// Takes notice of [`Broker::live_bytes`](signalhouse_core::Broker::live_bytes): how much of what
    /// was appended is still good for something.
    fn note_live(&mut self, _bytes: u64) {}

    /// Begins to make durable everything appended so far, as one batch. A journal that has it
    /// durable when the call returns says so with the position; others answer in `poll_durable`.
    fn flush(&mut self) -> Option<LogPosition>;

    /// Waits for a position, higher than any told before, through which everything is durable.
    ///
    /// # Errors
    /// When a batch could not be made durable. That is final: the process has to stop.
    fn poll_durable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<LogPosition>>;

    /// Begins to read the message back that an earlier record brought. It comes with `take_fetched`.
    fn fetch(&mut self, message: MessageId);

    /// A message that was read back; `poll_durable` wakes for it, and fails if one cannot be read.
    fn take_fetched(&mut self) -> Poll<Arc<Message>>;

    /// How much room there is. Changes only while `poll_durable` is polled.
    fn room(&self) -> JournalRoom;

    /// Ends in good order: everything appended becomes durable. Nothing is called afterwards.
    ///
    /// # Errors
    /// When something could not be made durable.
    fn close(&mut self) -> impl Future<Output = io::Result<()>>;
}

/// Keeps no records: state lives as long as the process. What it is given all the same counts as durable at once.
#[derive(Debug, Default)]
pub struct MemoryJournal {
    appended: LogPosition,
    told: LogPosition,
}

impl MemoryJournal {
    /// An empty journal.
    #[must_use]
    pub fn new() -> Self {
        MemoryJournal::default()
    }
}

impl Journal for MemoryJournal {
    fn keeps_records(&self) -> bool {
        false
    }

    fn append(&mut self, at: LogPosition, record: Record) {
        drop(record);
        self.appended = at;
    }

    fn flush(&mut self) -> Option<LogPosition> {
        if self.told == self.appended {
            return None;
        }
        self.told = self.appended;
        Some(self.told)
    }

    fn poll_durable(&mut self, _cx: &mut Context<'_>) -> Poll<io::Result<LogPosition>> {
        Poll::Pending // everything is told by `flush`
    }

    fn fetch(&mut self, message: MessageId) {
        unreachable!("{message} is in memory: a shard without records has no limit for that")
    }

    fn take_fetched(&mut self) -> Poll<Arc<Message>> {
        Poll::Pending
    }

    fn room(&self) -> JournalRoom {
        JournalRoom::Ample
    }

    async fn close(&mut self) -> io::Result<()> {
        Ok(())
    }
}
