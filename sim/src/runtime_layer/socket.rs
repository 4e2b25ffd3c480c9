//! A client's end of a connection, and the task that serves it.

use std::future::{Future as _, poll_fn};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};

use bytes::{Buf, BytesMut};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

use super::link::Link;
use super::shared::{Broker, Shared};
use super::stream::Stream;
use super::{BROKER, PORT};
use crate::client::ClientInput;
use crate::clock::Sleep;
use crate::history::ConnectionNumber;
use crate::plan::{ClientIndex, NetworkFault};

/// What trickles comes in about so many drops, with so many milliseconds between two.
const DROPS: usize = 40;
const DRIP_MS: u64 = 5;

/// How far a connection is in its life.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SocketState {
    /// It is being made.
    Opening,
    /// The client has it.
    Open,
    /// The client closed it in order: what it sent still goes out, what comes is read and forgotten
    /// until the broker closes too.
    Closing,
    /// The client tore it down.
    Resetting,
    /// Neither end has it any more.
    Over,
}

/// What a client has of a connection.
#[derive(Debug)]
pub(super) struct Socket {
    pub(super) client: ClientIndex,
    pub(super) state: SocketState,
    attempt: u64,
    link: Option<Rc<Link>>,
    /// Faults from before there was a link.
    early_faults: Vec<NetworkFault>,
    unsent: BytesMut,
    /// Nothing more is sent, and the broker is told so.
    is_shut: bool,
    /// What is sent trickles.
    drips: bool,
    /// Until the next drop.
    pause: Option<Pin<Box<Sleep>>>,
    waiting: Option<Waker>,
}

impl Socket {
    pub(super) fn new(client: ClientIndex, attempt: u64) -> Self {
        Socket {
            client,
            state: SocketState::Opening,
            attempt,
            link: None,
            early_faults: Vec::new(),
            unsent: BytesMut::new(),
            is_shut: false,
            drips: false,
            pause: None,
            waiting: None,
        }
    }

    pub(super) fn send(&mut self, bytes: &[u8]) {
        if !self.is_shut {
            self.unsent.extend_from_slice(bytes);
            self.wake();
        }
    }

    pub(super) fn turn(&mut self, state: SocketState) {
        if self.state != SocketState::Over {
            self.state = state;
            self.wake();
        }
    }

    pub(super) fn fault(&mut self, fault: NetworkFault) {
        match fault {
            NetworkFault::HalfClose => self.is_shut = true,
            NetworkFault::Drip => self.drips = true,
            NetworkFault::Release => self.drips = false,
            NetworkFault::Hold
            | NetworkFault::BlackHoleToBroker
            | NetworkFault::BlackHoleToClient
            | NetworkFault::Reset
            | NetworkFault::Unreachable => {}
        }
        match &self.link {
            Some(link) => link.fault(fault),
            None => self.early_faults.push(fault),
        }
        self.wake();
    }

    /// Whether the broker has the connection too, and data can pass both ways.
    pub(super) fn is_well(&self) -> bool {
        let passes = |link: &Rc<Link>| link.is_healthy() && link.broker_has_it();
        !self.is_shut && self.link.as_ref().is_some_and(passes)
    }

    pub(super) fn wake(&mut self) {
        if let Some(waiting) = self.waiting.take() {
            waiting.wake();
        }
    }
}

/// The clients' host: makes the connections that are asked for, and serves each by a task.
pub(super) async fn serve_all(shared: Rc<Shared>) -> turmoil::Result {
    loop {
        loop {
            let next = shared.to_open.borrow_mut().pop_front();
            let Some(number) = next else { break };
            tokio::task::spawn_local(serve(Rc::clone(&shared), number));
        }
        shared.opener.notified().await;
    }
}

async fn serve(shared: Rc<Shared>, number: ConnectionNumber) {
    let (client, attempt) = shared.with_socket(number, |socket| (socket.client, socket.attempt));
    let connected = match shared.broker.get() {
        Broker::Up => TcpStream::connect((BROKER, PORT)).await,
        Broker::ProcessDown => {
            shared.clock.sleep_ms(1).await;
            Err(io::ErrorKind::ConnectionRefused.into())
        }
        Broker::PowerDown => return, // nobody answers, ever
    };
    if !shared.is_reachable(client) {
        return;
    }
    let Ok(inner) = connected else {
        shared.with_socket(number, |socket| socket.state = SocketState::Over);
        shared.tell(client, ClientInput::Failed { attempt });
        return;
    };
    let mut stream = shared.client_stream(inner);
    let link = Rc::clone(stream.link());
    shared.with_socket(number, |socket| {
        for fault in socket.early_faults.drain(..) {
            link.fault(fault);
        }
        if shared.is_frozen.get() {
            link.fault(NetworkFault::Hold);
        }
        socket.link = Some(link);
        if socket.state == SocketState::Opening {
            socket.state = SocketState::Open;
        }
    });
    shared.tell(client, ClientInput::Opened { attempt, connection: number });
    poll_fn(|cx| poll(cx, &shared, number, &mut stream)).await;
    shared.with_socket(number, |socket| socket.state = SocketState::Over);
}

/// Moves bytes both ways. Ready when the connection is over for the client.
fn poll(
    cx: &mut Context<'_>,
    shared: &Rc<Shared>,
    number: ConnectionNumber,
    stream: &mut Stream,
) -> Poll<()> {
    loop {
        let state = shared.with_socket(number, |socket| {
            socket.waiting = Some(cx.waker().clone());
            socket.state
        });
        match state {
            SocketState::Over => return Poll::Ready(()),
            SocketState::Resetting => {
                stream.link().reset_by_client();
                return Poll::Ready(());
            }
            SocketState::Opening | SocketState::Open | SocketState::Closing => {}
        }
        let is_closing = state == SocketState::Closing;
        let is_shut = shared.with_socket(number, |socket| socket.is_shut);
        if write_out(cx, shared, number, stream) && (is_closing || is_shut) {
            // Half closed: the broker may still send, and is heard to the end.
            let _ = Pin::new(&mut *stream).poll_shutdown(cx);
        }
        let client = shared.with_socket(number, |socket| socket.client);
        if !is_closing && !shared.is_reading(client) {
            return Poll::Pending;
        }
        let mut space = [0; 4096];
        let mut buffer = ReadBuf::new(&mut space);
        match Pin::new(&mut *stream).poll_read(cx, &mut buffer) {
            Poll::Pending => return Poll::Pending,
            Poll::Ready(Ok(())) if !buffer.filled().is_empty() => {
                if !is_closing {
                    let bytes = buffer.filled();
                    shared.tell(client, ClientInput::Bytes { connection: number, bytes });
                }
            }
            Poll::Ready(Ok(()) | Err(_)) => {
                if !is_closing {
                    shared.with_socket(number, |socket| socket.state = SocketState::Over);
                    shared.tell(client, ClientInput::Ended { connection: number });
                }
                return Poll::Ready(());
            }
        }
    }
}

/// Writes what the stream takes; says whether that was all. A failure shows when reading.
fn write_out(
    cx: &mut Context<'_>,
    shared: &Rc<Shared>,
    number: ConnectionNumber,
    stream: &mut Stream,
) -> bool {
    shared.with_socket(number, |socket| {
        while !socket.unsent.is_empty() {
            if socket.pause.as_mut().is_some_and(|pause| pause.as_mut().poll(cx).is_pending()) {
                return false;
            }
            socket.pause = None;
            let whole = socket.unsent.len();
            let most = if socket.drips { (whole / DROPS).max(2).min(whole) } else { whole };
            match Pin::new(&mut *stream).poll_write(cx, &socket.unsent[..most]) {
                Poll::Ready(Ok(bytes)) => {
                    socket.unsent.advance(bytes);
                    if socket.drips {
                        socket.pause = Some(Box::pin(shared.clock.sleep_ms(DRIP_MS)));
                    }
                }
                Poll::Ready(Err(_)) => socket.unsent.clear(),
                Poll::Pending => return false,
            }
        }
        true
    })
}
