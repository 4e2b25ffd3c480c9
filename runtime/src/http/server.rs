//! Connections: accepted, bounded in number, time and bytes, and served one task each on the
//! shard's thread.

use std::cell::{Cell, RefCell};
use std::convert::Infallible;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::task::{Context, Poll};
use std::time::Duration;

use axum::Router;
use axum::extract::Request;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use signalhouse_core::ConnectionId;
use signalhouse_core::wire::types::Text;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::watch;
use tower_service::Service;
use tracing::{debug, info, warn};

use super::door::Door;
use super::head::{HEADER_LINES, Worded};
use super::refused::Why;
use super::{Options, State, Timer, Trust, router, trust};
use crate::seams::{Clock, Listener, Net, Spawn};
use crate::shard::Gateway;
use crate::transport::{Stranger, Strangers, TooMany};

/// How long accepting pauses after a failure, so that a process without free file descriptors does
/// not spin.
const RETRY_MS: u64 = 100;

/// Why a connection ends before a request of it is whole.
const CONNECTIONS: &str = "too many connections (http.connections)";
const STRANGERS_OF_ADDRESS: &str =
    "too many connections of which no request was let in (http.strangers_per_address)";
const STRANGERS: &str =
    "too many connections of which no request was let in (half of http.connections)";
const HEAD_TIMEOUT: &str = "no whole head came in time (http.header_timeout_ms)";

/// Serves HTTP until it is told to stop.
#[derive(Clone, Debug)]
pub struct Server<C, P> {
    state: State,
    clock: C,
    spawn: P,
    open: Rc<Cell<u32>>,
    strangers: Rc<Strangers>,
    stop: watch::Sender<bool>,
}

impl<C, P> Server<C, P>
where
    C: Clock + Send + Sync,
    C::Sleep: Send,
    P: Spawn,
{
    /// A server for the shard behind `gateway`.
    #[must_use]
    pub fn new(gateway: Gateway, clock: C, spawn: P, options: Options, trust: Trust) -> Self {
        // Half of the connections stay free for those who were let in.
        let strangers =
            Strangers::new(options.strangers_per_address, options.connections.div_ceil(2));
        let inner = super::Inner {
            gateway,
            options,
            timer: Timer::new(clock.clone()),
            trust: RwLock::new(trust),
            guests: trust::Guests::default(),
            started_at: clock.now(),
            is_stopping: AtomicBool::new(false),
            requests: Mutex::default(),
            refused: super::refused::Refused::default(),
            streams: super::subscriber::Streams::default(),
        };
        let (stop, _) = watch::channel(false);
        let state = State(Arc::new(inner));
        let server = Server { state, clock, spawn, open: Rc::default(), strangers, stop };
        server.spawn.spawn(server.clone().tell());
        server
    }

    /// Begins to accept connections at `at` and says where that is, with the port found for 0.
    ///
    /// # Errors
    /// As the network says, for example when the port is in use.
    pub fn listen<N: Net>(&self, net: &N, at: SocketAddr, backlog: u32) -> io::Result<SocketAddr> {
        let listener = net.listen(at, backlog)?;
        let address = listener.local_addr()?;
        let is_loopback = crate::settings::is_loopback(address.ip());
        self.spawn.spawn(self.clone().accept(listener, is_loopback));
        Ok(address)
    }

    /// Replaces what requests are believed for. Gives the clients inside the process that rest on
    /// what is believed no longer.
    #[must_use]
    pub fn set_trust(&self, trust: Trust) -> Vec<ConnectionId> {
        self.state.trust.write().unwrap_or_else(PoisonError::into_inner).clone_from(&trust);
        self.state.guests.gone(&trust)
    }

    /// Stops accepting and lets every connection end with the request it is at. A request that
    /// comes whole only after this is refused.
    pub fn stop(&self) {
        self.state.is_stopping.store(true, Ordering::Relaxed);
        self.stop.send_replace(true);
    }

    /// Completes when no connection is left.
    pub async fn ended(&self) {
        const LOOK_MS: u64 = 5;
        while self.open.get() > 0 {
            self.clock.sleep_until(self.clock.now().plus_ms(LOOK_MS)).await;
        }
        self.state.refused.write_out();
    }

    /// Tells the log, once a second, who was refused.
    async fn tell(self) {
        let mut stop = self.stop.subscribe();
        let mut is_stopping = false;
        while !is_stopping {
            tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => is_stopping = true,
                () = self.state.refused.due(&self.state.timer) => {}
            }
            self.state.refused.write_out();
        }
    }

    async fn accept<L>(self, mut listener: L, is_loopback: bool)
    where
        L: Listener,
        L::Stream: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let router = router(self.state.clone());
        let mut stop = self.stop.subscribe();
        loop {
            let accepted = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop) => return,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((_, peer)) if self.open.get() >= self.state.options.connections => {
                    self.keep_out(peer, Why::Connections, CONNECTIONS);
                }
                Ok((stream, peer)) => match self.strangers.enter(peer.ip()) {
                    Ok(stranger) => {
                        self.open.set(self.open.get() + 1);
                        let has_entered = Arc::default();
                        let door = Door { peer, is_loopback, has_entered };
                        let served = self.clone().serve(stream, router.clone(), door, stranger);
                        self.spawn.spawn(served);
                    }
                    Err(TooMany::OfAddress) => {
                        self.keep_out(peer, Why::Strangers, STRANGERS_OF_ADDRESS);
                    }
                    Err(TooMany::OfAll) => self.keep_out(peer, Why::Strangers, STRANGERS),
                },
                Err(error) => {
                    warn!(%error, "an HTTP connection could not be accepted");
                    self.clock.sleep_until(self.clock.now().plus_ms(RETRY_MS)).await;
                }
            }
        }
    }

    /// Remembers a connection that ended before a request of it was whole.
    fn keep_out(&self, peer: SocketAddr, why: Why, reason: &'static str) {
        let peer = Text::try_from(peer.to_string()).unwrap_or_default();
        self.state.refused.add_unserved(self.clock.now(), &peer, why, reason);
    }

    /// Says why a connection ended early.
    fn ended_early(&self, peer: SocketAddr, error: &hyper::Error, is_owed: bool) {
        if is_stalled(error) {
            info!(
                %peer,
                "an HTTP connection was closed: its client reads nothing \
                 (http.write_stall_timeout_ms)"
            );
        } else if error.is_timeout() && is_owed {
            self.keep_out(peer, Why::HeadTimeout, HEAD_TIMEOUT);
        } else {
            debug!(%peer, %error, "an HTTP connection ended early");
        }
    }

    async fn serve<S>(self, stream: S, router: Router, door: Door, stranger: Stranger)
    where
        S: AsyncRead + AsyncWrite + Unpin + 'static,
    {
        let options = &self.state.options;
        let stream = Watched::new(stream, self.clock.clone(), options.write_stall_timeout_ms);
        let owes_request = Rc::clone(&stream.owes_request);
        let stream = Worded::new(stream, options.header_bytes);
        let peer = door.peer;
        let stranger = Rc::new(RefCell::new(Some(stranger)));
        let service = service_fn(move |mut request: Request<Incoming>| {
            request.extensions_mut().insert(door.clone());
            let (mut router, has_entered) = (router.clone(), Arc::clone(&door.has_entered));
            let stranger = Rc::clone(&stranger);
            async move {
                let mut answer = pin!(router.call(request.map(axum::body::Body::new)));
                // Whoever was let in is no stranger while it waits for the answer.
                let answered: Result<_, Infallible> = poll_fn(|cx| {
                    let answered = answer.as_mut().poll(cx);
                    if has_entered.load(Ordering::Relaxed) {
                        drop(stranger.take());
                    }
                    answered
                })
                .await;
                answered
            }
        });
        let mut builder = http1::Builder::new();
        builder
            .timer(TokioTimer::new())
            .header_read_timeout(Duration::from_millis(options.header_timeout_ms))
            .max_headers(HEADER_LINES)
            .max_buf_size(options.header_bytes)
            .half_close(false);
        let mut connection = pin!(builder.serve_connection(TokioIo::new(stream), service));
        let mut stop = self.stop.subscribe();
        let mut is_stopping = false;
        loop {
            let ended = tokio::select! {
                biased;
                _ = stop.wait_for(|stop| *stop), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                    continue;
                }
                ended = connection.as_mut() => ended,
            };
            if let Err(error) = ended {
                self.ended_early(peer, &error, owes_request.get());
            }
            break;
        }
        self.open.set(self.open.get() - 1);
    }
}

/// Whether [`Watched`] gave the connection up.
fn is_stalled(error: &hyper::Error) -> bool {
    let mut source = std::error::Error::source(error);
    while let Some(error) = source {
        let ours = |error: &io::Error| error.raw_os_error().is_none(); // not the system's ETIMEDOUT
        let cause = error.downcast_ref::<io::Error>().filter(|error| ours(error));
        if cause.is_some_and(|error| error.kind() == io::ErrorKind::TimedOut) {
            return true;
        }
        source = error.source();
    }
    false
}

/// A stream whose peer must not leave what is written to it unread for ever.
struct Watched<S, C: Clock> {
    stream: S,
    clock: C,
    timeout_ms: u64,
    timer: Option<Pin<Box<C::Sleep>>>,
    /// Whether nothing was answered yet, or something came since: the peer is not merely idle.
    owes_request: Rc<Cell<bool>>,
}

impl<S, C: Clock> Watched<S, C> {
    fn new(stream: S, clock: C, timeout_ms: u64) -> Self {
        let owes_request = Rc::new(Cell::new(true));
        Watched { stream, clock, timeout_ms, timer: None, owes_request }
    }

    /// Passes on what came of a write, or that it took too long.
    fn watch<T>(
        &mut self,
        cx: &mut Context<'_>,
        written: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if written.is_ready() || self.timeout_ms == 0 {
            self.timer = None;
            return written;
        }
        let at = self.clock.now().plus_ms(self.timeout_ms);
        let timer = self.timer.get_or_insert_with(|| Box::pin(self.clock.sleep_until(at)));
        match timer.as_mut().poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(io::ErrorKind::TimedOut.into())),
            Poll::Pending => Poll::Pending,
        }
    }
}

impl<S: AsyncRead + Unpin, C: Clock> AsyncRead for Watched<S, C> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let read = Pin::new(&mut self.stream).poll_read(cx, buffer);
        if buffer.filled().len() > before {
            self.owes_request.set(true);
        }
        read
    }
}

impl<S: AsyncWrite + Unpin, C: Clock> AsyncWrite for Watched<S, C> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.owes_request.set(false);
        self.watch(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.stream).poll_flush(cx);
        self.watch(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.watch(cx, shut)
    }
}

// `C::Sleep` is behind a box, and the rest moves freely.
impl<S: Unpin, C: Clock> Unpin for Watched<S, C> {}
