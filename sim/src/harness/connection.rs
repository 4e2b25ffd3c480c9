//! A client's end of a connection, with the faults that are this end's.

use std::cell::{Cell, RefCell};
use std::future::Future as _;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Sleep, sleep};

use crate::plan::NetworkFault;
use crate::runtime_layer::Stream;

/// What trickles goes in drops of so many bytes, with so long between two.
const DROP_BYTES: usize = 2;
const PAUSE: Duration = Duration::from_millis(5);

/// What can happen to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LinkFault {
    /// Data is held back in both directions, to arrive later in order.
    Hold,
    /// What was held arrives, and nothing trickles any more. Nothing else is undone.
    Release,
    /// Data to the broker is lost for good; the connection is dead in that direction.
    BlackHoleToBroker,
    /// Data to the client is lost for good; the connection is dead in that direction.
    BlackHoleToClient,
    /// Both ends see a reset.
    Reset,
    /// The client's sending side is closed in order: writing fails from then on, and the broker sees the end once the
    /// client reads on.
    HalfClose,
    /// What the client writes trickles, 2 bytes every 5 ms, until the release.
    Drip,
}

/// A connection to the broker.
#[derive(Debug)]
pub struct Connection {
    stream: RefCell<Stream>,
    is_half_closed: Cell<bool>,
    is_shut: Cell<bool>,
    drips: Cell<bool>,
    /// Until the next drop.
    pause: Option<Pin<Box<Sleep>>>,
}

impl Connection {
    pub(super) fn new(stream: Stream) -> Self {
        Connection {
            stream: RefCell::new(stream),
            is_half_closed: Cell::new(false),
            is_shut: Cell::new(false),
            drips: Cell::new(false),
            pause: None,
        }
    }

    /// Does something to the network under this connection.
    pub fn fault(&self, fault: LinkFault) {
        let of_the_link = match fault {
            LinkFault::Hold => NetworkFault::Hold,
            LinkFault::Release => {
                self.drips.set(false);
                NetworkFault::Release
            }
            LinkFault::BlackHoleToBroker => NetworkFault::BlackHoleToBroker,
            LinkFault::BlackHoleToClient => NetworkFault::BlackHoleToClient,
            LinkFault::Reset => NetworkFault::Reset,
            LinkFault::HalfClose => {
                self.is_half_closed.set(true);
                NetworkFault::HalfClose
            }
            LinkFault::Drip => {
                self.drips.set(true);
                NetworkFault::Drip
            }
        };
        // Wakes whoever reads or writes, too.
        self.stream.borrow().link().fault(of_the_link);
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let mut stream = Pin::new(this.stream.get_mut());
        if this.is_half_closed.get() && !this.is_shut.get() {
            ready!(stream.as_mut().poll_shutdown(cx))?;
            this.is_shut.set(true);
        }
        stream.poll_read(cx, buffer)
    }
}

impl AsyncWrite for Connection {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        if this.is_half_closed.get() {
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        if let Some(pause) = &mut this.pause {
            ready!(pause.as_mut().poll(cx));
            this.pause = None;
        }
        let most = if this.drips.get() { bytes.len().min(DROP_BYTES) } else { bytes.len() };
        let written = ready!(Pin::new(this.stream.get_mut()).poll_write(cx, &bytes[..most]))?;
        this.pause = this.drips.get().then(|| Box::pin(sleep(PAUSE)));
        Poll::Ready(Ok(written))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream.get_mut()).poll_flush(cx)
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(self.get_mut().stream.get_mut()).poll_shutdown(cx)
    }
}
