//! The broker's journal, with what goes in and what it says noted down for RC.

use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};

use signalhouse::seams::Journal;
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::{JournalRoom, LogPosition, Record};

use super::shared::Shared;
use crate::coverage::Point;

/// A journal that is watched.
pub(super) struct Watched<J> {
    pub(super) inner: J,
    pub(super) shared: Rc<Shared>,
}

impl<J: Journal> Journal for Watched<J> {
    fn append(&mut self, at: LogPosition, record: Record) {
        if let Record::Published { message, .. } = &record {
            self.shared.topics.borrow_mut().insert(message.id, message.topic.compact());
        }
        self.shared.appended.borrow_mut().append(record.clone());
        self.inner.append(at, record);
    }

    fn note_live(&mut self, bytes: u64) {
        self.inner.note_live(bytes);
    }

    fn flush(&mut self) -> Option<LogPosition> {
        let through = self.inner.flush();
        if let Some(through) = through {
            self.shared.appended.borrow_mut().durable(self.shared.now_ms(), through);
        }
        through
    }

    fn poll_durable(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<LogPosition>> {
        let told = self.inner.poll_durable(cx);
        if let Poll::Ready(Ok(through)) = &told {
            self.shared.appended.borrow_mut().durable(self.shared.now_ms(), *through);
        }
        told
    }

    fn room(&self) -> JournalRoom {
        self.inner.room()
    }

    fn fetch(&mut self, message: MessageId) {
        self.shared.record.borrow_mut().hit(Point::ReadBack);
        self.inner.fetch(message);
    }

    fn take_fetched(&mut self) -> Poll<Arc<Message>> {
        self.inner.take_fetched()
    }

    async fn close(&mut self) -> io::Result<()> {
        self.inner.close().await
    }
}
