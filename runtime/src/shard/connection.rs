//! One network connection, as its own task and the driver share it.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use signalhouse_core::ConnectionId;
use signalhouse_core::wire::types::Text;
use tokio::io::{AsyncRead, AsyncWrite};

use super::outgoing::{Desk, Outgoing};
use crate::seams::Caller;
use crate::transport::{Stranger, Transport};

/// How far a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Packets go both ways.
    Open,
    /// Something that is no packet came: nothing more is read, and the broker will close it.
    Deaf,
    /// The broker is done with it: what is buffered goes out, then it ends.
    Closing,
}

/// Everything lives on one thread, so cells do; no borrow is held across an await.
#[derive(Debug)]
pub(crate) struct Connection<S> {
    pub(crate) id: ConnectionId,
    pub(crate) peer: Text,
    /// What the connection shows of its client.
    pub(crate) caller: Caller,
    /// Counts until it is a client's.
    pub(crate) stranger: RefCell<Option<Stranger>>,
    pub(crate) stream: RefCell<Transport<S>>,
    pub(crate) outgoing: RefCell<Outgoing>,
    pub(crate) phase: Cell<Phase>,
    /// The connection's task, as it was last polled.
    task: RefCell<Option<Waker>>,
    /// Reading waits until the outgoing buffer has drained.
    pub(crate) is_held_back: Cell<bool>,
    /// Reading waits until the driver has taken what was read.
    pub(crate) waits_for_round: Cell<bool>,
    /// The task has a timer running against a peer that does not read.
    pub(crate) is_watched: Cell<bool>,
    /// Writing failed in the driver's hands; the task has yet to report it.
    is_broken: Cell<bool>,
    /// It is in the driver's list of connections to flush.
    pub(crate) is_dirty: Cell<bool>,
    /// The broker has forgotten it.
    pub(crate) broker_is_done: Cell<bool>,
    /// Its task has ended.
    pub(crate) task_is_done: Cell<bool>,
}

impl<S> Connection<S> {
    pub(crate) fn new(
        caller: Caller,
        peer: Text,
        stranger: Option<Stranger>,
        stream: Transport<S>,
        outgoing: Outgoing,
    ) -> Self {
        Connection {
            id: caller.connection,
            peer,
            caller,
            stranger: RefCell::new(stranger),
            stream: RefCell::new(stream),
            outgoing: RefCell::new(outgoing),
            phase: Cell::new(Phase::Open),
            task: RefCell::new(None),
            is_held_back: Cell::new(false),
            waits_for_round: Cell::new(false),
            is_watched: Cell::new(false),
            is_broken: Cell::new(false),
            is_dirty: Cell::new(false),
            broker_is_done: Cell::new(false),
            task_is_done: Cell::new(false),
        }
    }

    /// Remembers the task that is to be woken.
    pub(crate) fn register(&self, cx: &Context<'_>) {
        let mut task = self.task.borrow_mut();
        if !task.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
            *task = Some(cx.waker().clone());
        }
    }

    /// Its client was accepted.
    pub(crate) fn welcome(&self) {
        self.stranger.take();
        self.stream.borrow_mut().welcome();
    }

    pub(crate) fn wake(&self) {
        if let Some(task) = self.task.borrow().as_ref() {
            task.wake_by_ref();
        }
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Writes what the stream takes. `Pending` means that the rest waits for the stream, which
    /// will wake the task in `cx`.
    pub(crate) fn poll_write_out(
        &self,
        cx: &mut Context<'_>,
        desk: &RefCell<Desk>,
    ) -> Poll<io::Result<()>> {
        if self.is_broken.get() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        let mut outgoing = self.outgoing.borrow_mut();
        let mut stream = self.stream.borrow_mut();
        while !outgoing.is_empty() {
            let stream = Pin::new(&mut *stream);
            let written = match outgoing.slices() {
                None => {
                    let mut bytes = outgoing.bytes();
                    if sim_point!(WriteHalf) {
                        bytes = &bytes[..bytes.len().div_ceil(2)];
                    }
                    stream.poll_write(cx, bytes)
                }
                Some((slices, used)) => stream.poll_write_vectored(cx, &slices[..used]),
            };
            match written {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(Ok(0)) => return Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(bytes)) => {
                    let counts_as_whole = canary!(ShortWriteCountsAsWhole);
                    let least = if counts_as_whole { outgoing.bytes().len() } else { 0 };
                    outgoing.advance(bytes.max(least), &mut desk.borrow_mut());
                }
                Poll::Ready(Err(error)) if error.kind() == io::ErrorKind::Interrupted => {}
                Poll::Ready(Err(error)) => return Poll::Ready(Err(error)),
            }
        }
        Pin::new(&mut *stream).poll_flush(cx)
    }

    /// Takes packets that others are sent too, and writes them from where they are if it can. Says whether
    /// something is left for the end of the driver's round.
    pub(crate) fn write_shared(
        &self,
        bytes: &[u8],
        room_bytes: usize,
        desk: &RefCell<Desk>,
    ) -> bool {
        let mut outgoing = self.outgoing.borrow_mut();
        let mut written = 0;
        // What other transports take needs a flush besides.
        if outgoing.is_empty()
            && !self.is_broken.get()
            && let Transport::Plain(stream) = &mut *self.stream.borrow_mut()
            && let Some(task) = &*self.task.borrow()
        {
            let first = if sim_point!(WriteHalf) { bytes.len().div_ceil(2) } else { bytes.len() };
            let mut cx = Context::from_waker(task);
            // An error comes again with the rest.
            if let Poll::Ready(Ok(taken)) = Pin::new(stream).poll_write(&mut cx, &bytes[..first]) {
                written = taken;
            }
        }
        outgoing.take_shared(bytes, written, room_bytes, &mut desk.borrow_mut());
        !outgoing.is_settled()
    }

    /// The driver's flush at the end of its round, on behalf of the connection's task.
    pub(crate) fn write_from_driver(&self, desk: &RefCell<Desk>) {
        let task = self.task.borrow();
        let Some(task) = &*task else {
            return; // not polled yet, and its first poll writes
        };
        match self.poll_write_out(&mut Context::from_waker(task), desk) {
            Poll::Pending if !self.is_watched.get() => task.wake_by_ref(),
            Poll::Pending => {}
            Poll::Ready(Ok(())) => {
                let can_go_on = self.is_held_back.get() && !self.outgoing.borrow().is_over();
                if can_go_on || self.is_watched.get() {
                    task.wake_by_ref();
                }
            }
            Poll::Ready(Err(_)) => {
                self.is_broken.set(true);
                task.wake_by_ref();
            }
        }
    }
}
