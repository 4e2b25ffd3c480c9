//! A simulated TCP stream that is never kind: it splits and merges, shortens what is written,
//! hesitates, is interrupted, stalls, loses, and is reset.

use std::cell::{Cell, RefCell};
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::TcpStream;

use super::link::{End, Link};
use crate::chance::Stream as Chance;
use crate::chance::Streams;
use crate::core_layer::setting;
use crate::plan::Plan;

/// The most that is read at once.
const READ_BYTES: usize = 64 * 1024;

/// How streams behave in a run.
#[derive(Debug)]
pub(super) struct Weather {
    /// 0: whole writes; 1: a few pieces; 2: every byte alone, but for long runs.
    split: u64,
    capacity_bytes: usize,
    chance: RefCell<Chance>,
    scratch: RefCell<Vec<u8>>,
    /// Something happened since the loop looked last.
    is_lively: Cell<bool>,
}

impl Weather {
    pub(super) fn new(plan: &Plan, streams: Streams) -> Self {
        let capacity = setting(plan, "network.capacity_bytes").unwrap_or(0);
        Weather {
            split: setting(plan, "network.split").unwrap_or(0),
            capacity_bytes: match usize::try_from(capacity) {
                Ok(0) | Err(_) => usize::MAX,
                Ok(bytes) => bytes,
            },
            chance: RefCell::new(streams.stream("runtime streams")),
            scratch: RefCell::new(vec![0; READ_BYTES]),
            is_lively: Cell::new(false),
        }
    }

    /// Something happens: time must not be left out.
    pub(super) fn stir(&self) {
        self.is_lively.set(true);
    }

    /// Whether something happened since the last call.
    pub(super) fn was_lively(&self) -> bool {
        self.is_lively.replace(false)
    }

    /// How many of so many bytes pass at once.
    fn piece(&self, bytes: usize) -> usize {
        let most = bytes as u64;
        let mut chance = self.chance.borrow_mut();
        let piece = match self.split {
            0 => most,
            1 if chance.one_in(3) => chance.between(1, most),
            1 => most,
            _ if most > 300 => chance.between(1, most),
            _ => chance.between(1, 2).min(most),
        };
        usize::try_from(piece).unwrap_or(bytes)
    }

    fn hesitates(&self) -> bool {
        self.split > 0 && self.chance.borrow_mut().one_in(6)
    }

    fn interrupts(&self) -> bool {
        self.split > 0 && self.chance.borrow_mut().one_in(24)
    }
}

/// One end of a connection.
#[derive(Debug)]
pub struct Stream {
    inner: TcpStream,
    link: Rc<Link>,
    end: End,
    weather: Rc<Weather>,
    is_shut: bool,
}

impl Stream {
    pub(super) fn new(inner: TcpStream, link: Rc<Link>, end: End, weather: Rc<Weather>) -> Self {
        if end == End::Broker {
            link.set_broker_has_it(true);
        }
        Stream { inner, link, end, weather, is_shut: false }
    }

    pub(crate) fn link(&self) -> &Rc<Link> {
        &self.link
    }

    fn other_end(&self) -> End {
        match self.end {
            End::Broker => End::Client,
            End::Client => End::Broker,
        }
    }

    /// Whether the operation has to be tried again, now or when the task is woken.
    fn balk(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.link.register(self.end, cx);
        if self.link.is_reset(self.end) {
            return Poll::Ready(Err(io::ErrorKind::ConnectionReset.into()));
        }
        if self.weather.hesitates() {
            cx.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.end == End::Broker && self.weather.interrupts() {
            return Poll::Ready(Err(io::ErrorKind::Interrupted.into()));
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncRead for Stream {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        ready!(this.balk(cx))?;
        if this.link.is_silent(this.end) {
            return Poll::Pending;
        }
        let weather = Rc::clone(&this.weather);
        let most = weather.piece(buffer.remaining().clamp(1, READ_BYTES));
        let mut scratch = weather.scratch.borrow_mut();
        let mut part = ReadBuf::new(&mut scratch[..most.min(buffer.remaining())]);
        ready!(Pin::new(&mut this.inner).poll_read(cx, &mut part))?;
        weather.stir();
        buffer.put_slice(part.filled());
        if this.end == End::Client {
            this.link.read_by_client(part.filled().len());
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Stream {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        ready!(this.balk(cx))?;
        let mut most = bytes.len();
        if this.end == End::Broker {
            most = most.min(this.link.room_to_client(this.weather.capacity_bytes));
            if most == 0 && !bytes.is_empty() {
                return Poll::Pending; // woken when the client reads
            }
        }
        let piece = this.weather.piece(most);
        this.weather.stir();
        if this.link.is_dead(this.other_end()) {
            return Poll::Ready(Ok(piece)); // and lost
        }
        let written = ready!(Pin::new(&mut this.inner).poll_write(cx, &bytes[..piece]));
        match written {
            Ok(written) => {
                if this.end == End::Broker {
                    this.link.sent_to_client(written);
                }
                Poll::Ready(Ok(written))
            }
            // The peer's answer would not have come through.
            Err(_) if this.link.is_silent(this.end) => Poll::Ready(Ok(piece)),
            Err(error) => Poll::Ready(Err(error)),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<io::Result<()>> {
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        this.weather.stir();
        if this.is_shut || this.link.is_dead(this.other_end()) {
            return Poll::Ready(Ok(()));
        }
        this.is_shut = true;
        Pin::new(&mut this.inner).poll_shutdown(cx)
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.weather.stir();
        if self.end == End::Broker {
            self.link.set_broker_has_it(false);
        }
    }
}
