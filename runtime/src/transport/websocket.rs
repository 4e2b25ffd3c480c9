//! MQTT in the frames of WebSocket (RFC 6455): the handshake, and the stream behind it. The client's
//! side of the handshake is in `request`.
//!
//! Where frames begin and end says nothing about packets `[MQTT-6.0.0-2]`. A text frame ends the
//! connection `[MQTT-6.0.0-1]`.

use std::io::{self, Read, Write};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf};
use tungstenite::error::ProtocolError;
use tungstenite::handshake::machine::TryParse;
use tungstenite::handshake::server::{Request, create_response, write_response};
use tungstenite::http::HeaderValue;
use tungstenite::http::header::{HOST, ORIGIN, SEC_WEBSOCKET_PROTOCOL};
use tungstenite::protocol::frame::CloseFrame;
use tungstenite::protocol::frame::coding::CloseCode;
use tungstenite::protocol::{Role, WebSocketConfig, WebSocketContext};
use tungstenite::{Error, Message};

mod request;

pub use super::origin::Origins;

/// Longest head of a request, in bytes. Browsers send cookies along.
pub const HEAD_MAXIMUM_BYTES: usize = 16 * 1024;
/// Most of a refused origin that is kept, in characters: more than any host has.
const ORIGIN_SHOWN: usize = 300;
/// What one frame to the client carries at most, and what may be buffered behind it.
const FRAME_BYTES: usize = 16 * 1024;
const BUFFER_BYTES: usize = 4 * 1024;
/// The paths that MQTT is found at.
const PATHS: [&str; 2] = ["/mqtt", "/"];
/// The names of MQTT among protocols; the second is that of 3.1.
const PROTOCOLS: [&str; 2] = ["mqtt", "mqttv3.1"];

/// How large messages may be.
#[derive(Clone, Copy, Debug)]
pub struct MessageLimits {
    /// Of those who are not yet clients, in bytes.
    pub strangers_bytes: usize,
    /// Of clients, in bytes.
    pub clients_bytes: usize,
}

/// Why a handshake failed.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    /// The request was refused, and told so.
    #[error("{0}")]
    Refused(RequestFault),
    /// The network failed, or the client went away.
    #[error(transparent)]
    Network(#[from] io::Error),
}

/// What is wrong with a request.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestFault {
    /// Its head does not end.
    #[error("the request's head is too large")]
    TooLarge,
    /// It is no request for a WebSocket.
    #[error("this is no WebSocket request: {0}")]
    NotWebSocket(String),
    /// There is nothing at its path.
    #[error("MQTT is not found at this path, but at /mqtt")]
    Path,
    /// It does not ask for MQTT.
    #[error("the subprotocol mqtt is not asked for")]
    Protocol,
    /// It comes from a page that may not connect.
    #[error("pages of {0} may not connect (websocket.origins)")]
    Origin(String),
}

impl RequestFault {
    fn status(&self) -> &'static str {
        match self {
            RequestFault::TooLarge => "431 Request Header Fields Too Large",
            RequestFault::NotWebSocket(_) | RequestFault::Protocol => "400 Bad Request",
            RequestFault::Path => "404 Not Found",
            RequestFault::Origin(_) => "403 Forbidden",
        }
    }

    /// The answer to such a request.
    fn answer(&self) -> Vec<u8> {
        let (status, text) = (self.status(), format!("{self}\n"));
        let length = text.len();
        format!(
            "HTTP/1.1 {status}\r\nContent-Type: text/plain; charset=utf-8\r\n\
             Content-Length: {length}\r\nConnection: close\r\n\r\n{text}"
        )
        .into_bytes()
    }
}

/// What comes of the bytes of a request so far.
#[derive(Debug, PartialEq, Eq)]
pub enum Head {
    /// More is needed.
    Partial,
    /// It is granted with this answer; so many bytes belong to it.
    Granted {
        /// The answer.
        answer: Vec<u8>,
        /// The length of the request.
        bytes: usize,
    },
}

/// Judges the beginning of a connection.
///
/// # Errors
/// What is wrong with the request.
pub fn judge(bytes: &[u8], origins: &Origins) -> Result<Head, RequestFault> {
    let not_websocket = |error: Error| RequestFault::NotWebSocket(error.to_string());
    let Some((length, request)) = Request::try_parse(bytes).map_err(not_websocket)? else {
        let is_too_large = bytes.len() >= HEAD_MAXIMUM_BYTES;
        return if is_too_large { Err(RequestFault::TooLarge) } else { Ok(Head::Partial) };
    };
    if length > HEAD_MAXIMUM_BYTES {
        return Err(RequestFault::TooLarge);
    }
    let mut response = create_response(&request).map_err(not_websocket)?;
    if request.headers().get_all(HOST).iter().count() != 1 {
        // RFC 6455, 4.2.1; RFC 9112, 3.2
        return Err(RequestFault::NotWebSocket("it must have one Host header".to_owned()));
    }
    let header = |name| request.headers().get(name).and_then(|value| value.to_str().ok());
    if !PATHS.contains(&request.uri().path()) {
        return Err(RequestFault::Path);
    }
    // An origin that is no text is no origin that was allowed.
    if let Some(origin) = request.headers().get(ORIGIN) {
        let origin = origin.to_str().unwrap_or("null");
        if !origins.allow(origin, header(HOST)) {
            return Err(RequestFault::Origin(origin.chars().take(ORIGIN_SHOWN).collect()));
        }
    }
    let offered = request.headers().get_all(SEC_WEBSOCKET_PROTOCOL).iter();
    let offered = offered.filter_map(|list| list.to_str().ok()).flat_map(|list| list.split(','));
    // [MQTT-6.0.0-3]
    let protocol = offered
        .filter_map(|name| PROTOCOLS.into_iter().find(|known| *known == name.trim()))
        .next()
        .ok_or(RequestFault::Protocol)?;
    // [MQTT-6.0.0-4]
    response.headers_mut().insert(SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
    let mut answer = Vec::new();
    write_response(&mut answer, &response).map_err(not_websocket)?;
    Ok(Head::Granted { answer, bytes: length })
}

/// A stream of bytes in the frames of WebSocket.
#[derive(Debug)]
pub struct WebSocket<S> {
    stream: S,
    context: WebSocketContext,
    clients_bytes: usize,
    /// What has been received and not yet read.
    received: Bytes,
    /// What has been taken to be written and is not yet flushed.
    is_unflushed: bool,
    is_closing: bool,
}

impl<S: AsyncRead + AsyncWrite + Unpin> WebSocket<S> {
    /// Waits for the request, and answers it.
    ///
    /// # Errors
    /// [`HandshakeError`]; a request that was refused has been answered.
    pub async fn accept(
        mut stream: S,
        origins: &Origins,
        limits: MessageLimits,
    ) -> Result<Self, HandshakeError> {
        let mut head = BytesMut::with_capacity(1024);
        loop {
            match judge(&head, origins) {
                Ok(Head::Partial) => {}
                Ok(Head::Granted { answer, bytes }) => {
                    stream.write_all(&answer).await?;
                    stream.flush().await?;
                    head.advance(bytes);
                    return Ok(WebSocket::new(stream, Role::Server, head.to_vec(), limits));
                }
                Err(fault) => {
                    stream.write_all(&fault.answer()).await?;
                    stream.shutdown().await?;
                    return Err(HandshakeError::Refused(fault));
                }
            }
            head.reserve(1024);
            if stream.read_buf(&mut head).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof).into());
            }
        }
    }

    fn new(stream: S, role: Role, ahead: Vec<u8>, limits: MessageLimits) -> Self {
        let config = WebSocketConfig::default()
            .read_buffer_size(BUFFER_BYTES)
            .write_buffer_size(0)
            .max_write_buffer_size(2 * FRAME_BYTES)
            .max_message_size(Some(limits.strangers_bytes))
            .max_frame_size(Some(limits.strangers_bytes));
        WebSocket {
            stream,
            context: WebSocketContext::from_partially_read(ahead, role, Some(config)),
            clients_bytes: limits.clients_bytes,
            received: Bytes::new(),
            is_unflushed: false,
            is_closing: false,
        }
    }

    /// Says the reason to the client, as far as it goes at once, and gives the error.
    fn fail(&mut self, cx: &mut Context<'_>, code: CloseCode, reason: &'static str) -> io::Error {
        let frame = CloseFrame { code, reason: reason.into() };
        let mut stream = Blocking { stream: &mut self.stream, cx };
        // The connection ends in any case; a client that takes nothing is not waited for.
        let _ = self.context.close(&mut stream, Some(frame));
        let _ = self.context.flush(&mut stream);
        io::Error::new(io::ErrorKind::InvalidData, reason)
    }

    /// The next message's bytes; none at the end.
    fn poll_message(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<Bytes>> {
        loop {
            let mut stream = Blocking { stream: &mut self.stream, cx };
            match self.context.read(&mut stream) {
                Ok(Message::Binary(bytes)) if bytes.is_empty() => {}
                Ok(Message::Binary(bytes)) => return Poll::Ready(Ok(bytes)),
                Ok(Message::Text(_)) => {
                    let reason = "a text frame, where MQTT has binary ones";
                    let error = self.fail(cx, CloseCode::Unsupported, reason);
                    return Poll::Ready(Err(error));
                }
                // Answers to these are written by the context.
                Ok(Message::Ping(_) | Message::Pong(_) | Message::Frame(_) | Message::Close(_)) => {
                }
                Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Poll::Pending;
                }
                Err(Error::ConnectionClosed | Error::AlreadyClosed) => {
                    return Poll::Ready(Ok(Bytes::new()));
                }
                Err(Error::Protocol(ProtocolError::ResetWithoutClosingHandshake)) => {
                    return Poll::Ready(Ok(Bytes::new()));
                }
                Err(Error::Io(error)) => return Poll::Ready(Err(error)),
                Err(Error::Capacity(_)) => {
                    let reason = "a message is larger than a packet may be";
                    let error = self.fail(cx, CloseCode::Size, reason);
                    return Poll::Ready(Err(error));
                }
                Err(_) => {
                    let reason = "what came breaks the rules of WebSocket";
                    let error = self.fail(cx, CloseCode::Protocol, reason);
                    return Poll::Ready(Err(error));
                }
            }
        }
    }

    fn poll_flush_frames(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        if self.is_unflushed {
            let mut stream = Blocking { stream: &mut self.stream, cx };
            match self.context.flush(&mut stream) {
                Ok(()) | Err(Error::ConnectionClosed | Error::AlreadyClosed) => {}
                Err(error) => return to_poll(error),
            }
            self.is_unflushed = false;
        }
        Poll::Ready(Ok(()))
    }
}

impl<S> WebSocket<S> {
    /// The other side is a client now, whose messages may be larger.
    pub(crate) fn welcome(&mut self) {
        let bytes = self.clients_bytes;
        self.context.set_config(|config| {
            config.max_message_size = Some(bytes);
            config.max_frame_size = Some(bytes);
        });
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncRead for WebSocket<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if self.received.is_empty() {
            self.received = ready!(self.poll_message(cx))?;
        }
        let bytes = self.received.len().min(buffer.remaining());
        buffer.put_slice(&self.received.split_to(bytes));
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> AsyncWrite for WebSocket<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        // One frame at a time: the next waits until the last is the socket's.
        ready!(self.poll_flush_frames(cx))?;
        let this = &mut *self;
        let part = &bytes[..bytes.len().min(FRAME_BYTES)];
        let message = Message::Binary(Bytes::copy_from_slice(part));
        let mut stream = Blocking { stream: &mut this.stream, cx };
        match this.context.write(&mut stream, message) {
            Ok(()) => {}
            // The frame is in the buffer; `poll_flush` goes on with it.
            Err(Error::Io(error)) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(error) => return to_poll(error).map_ok(|()| 0),
        }
        this.is_unflushed = true;
        Poll::Ready(Ok(part.len()))
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush_frames(cx))?;
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.poll_flush_frames(cx))?;
        if !std::mem::replace(&mut self.is_closing, true) {
            let this = &mut *self;
            let mut stream = Blocking { stream: &mut this.stream, cx };
            let frame = CloseFrame { code: CloseCode::Normal, reason: "".into() };
            // If the client closed first there is nothing to say.
            let _ = this.context.close(&mut stream, Some(frame));
            this.is_unflushed = true;
        }
        ready!(self.poll_flush_frames(cx))?;
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

fn to_poll(error: Error) -> Poll<io::Result<()>> {
    let error = if let Error::Io(error) = error {
        error
    } else {
        io::Error::new(io::ErrorKind::BrokenPipe, error)
    };
    if error.kind() == io::ErrorKind::WouldBlock { Poll::Pending } else { Poll::Ready(Err(error)) }
}

/// A stream as those see it who know no waiting: what is not ready would block, and the task in `cx`
/// is woken when it is.
struct Blocking<'a, 'b, S> {
    stream: &'a mut S,
    cx: &'a mut Context<'b>,
}

impl<S: AsyncRead + Unpin> Read for Blocking<'_, '_, S> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let mut buffer = ReadBuf::new(buffer);
        match Pin::new(&mut *self.stream).poll_read(self.cx, &mut buffer) {
            Poll::Ready(read) => read.map(|()| buffer.filled().len()),
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

impl<S: AsyncWrite + Unpin> Write for Blocking<'_, '_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match Pin::new(&mut *self.stream).poll_write(self.cx, bytes) {
            Poll::Ready(written) => written,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match Pin::new(&mut *self.stream).poll_flush(self.cx) {
            Poll::Ready(flushed) => flushed,
            Poll::Pending => Err(io::ErrorKind::WouldBlock.into()),
        }
    }
}

#[cfg(test)]
mod tests;
