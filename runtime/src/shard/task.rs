//! The task of one connection: it reads, writes what the driver could not, and sees the end.

use std::future::{Future, poll_fn};
use std::io::ErrorKind;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::BytesMut;
use signalhouse_core::input::Gone;
use signalhouse_core::wire::Reader;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::Shared;
use super::connection::{Connection, Phase};
use super::events;
use super::inbox::Arrival;
use super::incoming::Incoming;
use crate::seams::Clock;

/// Serves the connection until it is gone or the broker closes it, and then ends it.
pub(crate) async fn run<S, C>(
    shared: Rc<Shared<S>>,
    connection: Rc<Connection<S>>,
    clock: C,
    reader: Reader,
) where
    S: AsyncRead + AsyncWrite + Unpin + 'static,
    C: Clock,
{
    let mut incoming = Incoming::new(reader);
    let mut watch = StallWatch::new(clock.clone(), shared.write_stall_timeout_ms());
    let end = poll_fn(|cx| poll_serve(cx, &shared, &connection, &mut incoming, &mut watch)).await;
    drop(incoming);
    match end {
        End::Gone(_) if canary!(EndNotTold) => {}
        End::Gone(gone) => shared.inbox.push(connection.id, Arrival::Closed(gone)),
        End::Closing => close(&shared, &connection, &clock).await,
    }
    connection.task_is_done.set(true);
    shared.remove_if_done(&connection);
}

enum End {
    Gone(Gone),
    Closing,
}

fn poll_serve<S, C>(
    cx: &mut Context<'_>,
    shared: &Shared<S>,
    connection: &Rc<Connection<S>>,
    incoming: &mut Incoming,
    watch: &mut StallWatch<C>,
) -> Poll<End>
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Clock,
{
    connection.register(cx);
    if connection.phase.get() == Phase::Closing {
        return Poll::Ready(End::Closing);
    }
    let blocked = match connection.poll_write_out(cx, &shared.desk) {
        Poll::Ready(Ok(())) => false,
        Poll::Ready(Err(_)) => return Poll::Ready(End::Gone(Gone::Failed)),
        Poll::Pending => true,
    };
    if connection.outgoing.borrow_mut().announces_room() {
        shared.inbox.push(connection.id, Arrival::Room);
    }
    connection.is_watched.set(blocked);
    let written_bytes = connection.outgoing.borrow().written_bytes();
    if watch.poll(cx, blocked, written_bytes).is_ready() {
        events::stalled(connection.id, &connection.peer, shared.write_stall_timeout_ms());
        return Poll::Ready(End::Gone(Gone::Failed));
    }
    incoming.poll(cx, shared, connection).map(End::Gone)
}

/// Notices a peer that takes nothing of what waits for it.
struct StallWatch<C: Clock> {
    clock: C,
    timeout_ms: u64,
    timer: Option<Pin<Box<C::Sleep>>>,
    written_bytes: u64,
}

impl<C: Clock> StallWatch<C> {
    /// A `timeout_ms` of 0 notices nothing.
    fn new(clock: C, timeout_ms: u64) -> Self {
        StallWatch { clock, timeout_ms, timer: None, written_bytes: 0 }
    }

    fn poll(&mut self, cx: &mut Context<'_>, blocked: bool, written_bytes: u64) -> Poll<()> {
        if !blocked || self.timeout_ms == 0 {
            self.timer = None;
            return Poll::Pending;
        }
        let progress = written_bytes != self.written_bytes;
        self.written_bytes = written_bytes;
        if progress {
            self.timer = None;
        }
        let clock = &self.clock;
        let timeout_ms = self.timeout_ms;
        let timer = self
            .timer
            .get_or_insert_with(|| Box::pin(clock.sleep_until(clock.now().plus_ms(timeout_ms))));
        timer.as_mut().poll(cx)
    }
}

/// Writes out what is buffered, says the end, and waits for the peer's, all within a bounded time.
async fn close<S, C>(shared: &Shared<S>, connection: &Rc<Connection<S>>, clock: &C)
where
    S: AsyncRead + AsyncWrite + Unpin,
    C: Clock,
{
    /// How long a peer that was told everything may take to close its side.
    const LINGER_MS: u64 = 1_000;
    let start = clock.now();
    let mut give_up = pin!(clock.sleep_until(start.plus_ms(shared.close_timeout_ms())));
    let written = poll_fn(|cx| {
        connection.register(cx);
        if give_up.as_mut().poll(cx).is_ready() {
            return Poll::Ready(false);
        }
        match connection.poll_write_out(cx, &shared.desk) {
            Poll::Ready(Err(_)) => Poll::Ready(false),
            Poll::Ready(Ok(())) => {
                let mut stream = connection.stream.borrow_mut();
                Pin::new(&mut *stream).poll_shutdown(cx).map(|shutdown| shutdown.is_ok())
            }
            Poll::Pending => Poll::Pending,
        }
    })
    .await;
    if !written {
        if !connection.outgoing.borrow().is_empty() {
            events::unread(connection.id, &connection.peer);
        }
        return;
    }
    // Closing a socket with unread bytes in it would reset the connection, and the peer could lose
    // the packet that tells it why.
    let mut linger = pin!(clock.sleep_until(clock.now().plus_ms(LINGER_MS)));
    let mut discarded = BytesMut::new();
    poll_fn(|cx| {
        connection.register(cx);
        loop {
            if linger.as_mut().poll(cx).is_ready() {
                return Poll::Ready(());
            }
            discarded.clear();
            discarded.reserve(1024);
            let mut stream = connection.stream.borrow_mut();
            match pin!(stream.read_buf(&mut discarded)).poll(cx) {
                Poll::Ready(Ok(bytes)) if bytes > 0 => {}
                Poll::Ready(Err(error)) if error.kind() == ErrorKind::Interrupted => {}
                Poll::Ready(Ok(_) | Err(_)) => return Poll::Ready(()),
                Poll::Pending => return Poll::Pending,
            }
        }
    })
    .await;
}
