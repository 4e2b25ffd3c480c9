//! How bytes come to the shard: over TCP as it is, over TLS, over WebSocket, or both.
//!
//! [`dial`] is the same from the client's side. A [`Door`] is what a listener lets its connections
//! through: handshakes, and bounds on those who are not yet clients. What comes out is a
//! [`Transport`], which is bytes again.

pub mod dial;
mod door;
mod kept_out;
mod origin;
mod strangers;
pub mod tls;
pub mod websocket;

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::task::{Context, Poll};

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsStream;

pub use self::door::{Door, DoorError, Locks, Refusal};
pub use self::kept_out::KeptOut;
pub use self::strangers::{Stranger, Strangers, TooMany};
use self::websocket::WebSocket;

/// What is spoken below MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// TCP.
    Tcp,
    /// TLS over TCP.
    Tls,
    /// WebSocket over TCP.
    WebSocket,
    /// WebSocket over TLS.
    WebSocketTls,
}

impl Kind {
    /// Whether TLS is spoken.
    #[must_use]
    pub const fn is_secure(self) -> bool {
        match self {
            Kind::Tcp | Kind::WebSocket => false,
            Kind::Tls | Kind::WebSocketTls => true,
        }
    }

    /// Whether WebSocket is spoken.
    #[must_use]
    pub const fn is_websocket(self) -> bool {
        match self {
            Kind::Tcp | Kind::Tls => false,
            Kind::WebSocket | Kind::WebSocketTls => true,
        }
    }

    /// The key of the settings that opens such listeners.
    #[must_use]
    pub const fn key(self) -> &'static str {
        match self {
            Kind::Tcp => "network.listen",
            Kind::Tls => "network.listen_tls",
            Kind::WebSocket => "network.listen_websocket",
            Kind::WebSocketTls => "network.listen_websocket_tls",
        }
    }

    /// Its name, for people.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Kind::Tcp => "MQTT over TCP",
            Kind::Tls => "MQTT over TLS",
            Kind::WebSocket => "MQTT over WebSocket",
            Kind::WebSocketTls => "MQTT over WebSocket over TLS",
        }
    }
}

/// A connection whose handshakes are done: bytes in, bytes out.
#[derive(Debug)]
pub enum Transport<S> {
    /// As it came.
    Plain(S),
    /// Through TLS.
    Tls(Box<TlsStream<S>>),
    /// In the frames of WebSocket.
    WebSocket(Box<WebSocket<S>>),
    /// In the frames of WebSocket, through TLS.
    WebSocketTls(Box<WebSocket<TlsStream<S>>>),
}

impl<S> Transport<S> {
    /// The other side is a client now: bounds on strangers no longer hold.
    pub(crate) fn welcome(&mut self) {
        match self {
            Transport::Plain(_) | Transport::Tls(_) => {}
            Transport::WebSocket(stream) => stream.welcome(),
            Transport::WebSocketTls(stream) => stream.welcome(),
        }
    }
}

/// Calls the same method of whichever stream it is.
macro_rules! each {
    ($self:expr, $stream:ident => $call:expr) => {
        match $self.get_mut() {
            Transport::Plain($stream) => {
                let $stream = Pin::new($stream);
                $call
            }
            Transport::Tls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
            Transport::WebSocket($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
            Transport::WebSocketTls($stream) => {
                let $stream = Pin::new(&mut **$stream);
                $call
            }
        }
    };
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for Transport<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_read(cx, buffer))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for Transport<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write(cx, bytes))
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        parts: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        each!(self, stream => stream.poll_write_vectored(cx, parts))
    }

    fn is_write_vectored(&self) -> bool {
        match self {
            Transport::Plain(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
            Transport::WebSocket(_) | Transport::WebSocketTls(_) => false,
        }
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_flush(cx))
    }

    fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        each!(self, stream => stream.poll_shutdown(cx))
    }
}
