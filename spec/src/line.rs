//! What bytes travel on between the suite and its target: TCP, or binary frames of WebSocket.
//!
//! The WebSocket here is as plain as a judge's tool should be, so that cases can break its rules.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use crate::capabilities::Capabilities;
use crate::case::{Checked, Failure};

/// A connection below MQTT.
#[derive(Debug)]
pub(crate) enum Line {
    Tcp(TcpStream),
    WebSocket(Socket),
}

impl Line {
    /// Connects to the target by TCP.
    pub(crate) fn tcp(target: &SocketAddr, patience: Duration) -> Checked<Line> {
        let stream = TcpStream::connect_timeout(target, patience)?;
        stream.set_nodelay(true)?;
        stream.set_write_timeout(Some(patience))?;
        Ok(Line::Tcp(stream))
    }

    /// Sends bytes; over WebSocket as one message.
    pub(crate) fn send(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Line::Tcp(stream) => stream.write_all(bytes),
            Line::WebSocket(socket) => socket.send(BINARY, true, bytes),
        }
    }

    /// Reads what comes within `time`; nothing at the end.
    pub(crate) fn read(&mut self, time: Duration) -> io::Result<Vec<u8>> {
        match self {
            Line::Tcp(stream) => {
                stream.set_read_timeout(Some(time))?;
                read_some(stream)
            }
            Line::WebSocket(socket) => {
                socket.stream.set_read_timeout(Some(time))?;
                socket.payload()
            }
        }
    }

    /// Says that nothing more will be sent, where the line has a way to say so.
    pub(crate) fn finish(&self) {
        // Whoever is gone already needs not be told.
        if let Line::Tcp(stream) = self {
            let _ = stream.shutdown(Shutdown::Write);
        }
    }

    /// Cuts it without a word.
    pub(crate) fn cut(&self) {
        let (Line::Tcp(stream) | Line::WebSocket(Socket { stream, .. })) = self;
        let _ = stream.shutdown(Shutdown::Both);
    }
}

pub(crate) const TEXT: u8 = 1;
pub(crate) const BINARY: u8 = 2;
const CONTINUATION: u8 = 0;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// The client's end of a WebSocket, as far as MQTT needs one.
#[derive(Debug)]
pub(crate) struct Socket {
    stream: TcpStream,
    incoming: Vec<u8>,
    /// The head of the server's answer, in lower case.
    pub(crate) head: String,
}

impl Socket {
    /// Asks for a WebSocket where the capabilities say. Whatever is no grant of it is a failure.
    pub(crate) fn open(capabilities: &Capabilities, subprotocols: &str) -> Checked<Socket> {
        let Some(at) = capabilities.websocket.as_deref() else {
            return Err("the capabilities name no websocket".into());
        };
        let (host, path) = at.split_once('/').unwrap_or((at, "mqtt"));
        let patience = Duration::from_millis(capabilities.patience_ms);
        let (_, mut stream) = first(host.to_socket_addrs()?, patience)?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        let request = format!(
            "GET /{path} HTTP/1.1\r\nHost: {host}\r\nUpgrade: websocket\r\n\
             Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
             Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: {subprotocols}\r\n\r\n"
        );
        stream.write_all(request.as_bytes())?;
        let mut socket = Socket { stream, incoming: Vec::new(), head: String::new() };
        let end = loop {
            let found = socket.incoming.windows(4).position(|four| four == b"\r\n\r\n");
            match found {
                Some(at) => break at + 4,
                None if socket.more()? => {}
                None => return Err("closed during the handshake".into()),
            }
        };
        let head: Vec<u8> = socket.incoming.drain(..end).collect();
        socket.head = String::from_utf8_lossy(&head).to_lowercase();
        if socket.head.starts_with("http/1.1 101") {
            Ok(socket)
        } else {
            Err(Failure(format!("refused: {}", socket.head)))
        }
    }

    /// Sends one frame, masked by zeros, which is a mask as good as any.
    pub(crate) fn send(&mut self, opcode: u8, last: bool, payload: &[u8]) -> io::Result<()> {
        let mut bytes = vec![opcode | if last { 0x80 } else { 0 }];
        match (u8::try_from(payload.len()), u16::try_from(payload.len())) {
            (Ok(length @ 0..126), _) => bytes.push(0x80 | length),
            (_, Ok(length)) => {
                bytes.push(0x80 | 126);
                bytes.extend_from_slice(&length.to_be_bytes());
            }
            (_, Err(_)) => {
                bytes.push(0x80 | 127);
                bytes.extend_from_slice(&(payload.len() as u64).to_be_bytes());
            }
        }
        bytes.extend_from_slice(&[0; 4]);
        bytes.extend_from_slice(payload);
        self.stream.write_all(&bytes)
    }

    /// The next bytes of MQTT, out of whatever frames; none at the end.
    pub(crate) fn payload(&mut self) -> io::Result<Vec<u8>> {
        loop {
            match self.frame()? {
                Some((BINARY | CONTINUATION, payload)) if payload.is_empty() => {}
                Some((BINARY | CONTINUATION, payload)) => return Ok(payload),
                Some((PING, payload)) => self.send(PONG, true, &payload)?,
                Some((PONG, _)) => {}
                Some((CLOSE, _)) | None => return Ok(Vec::new()),
                // [MQTT-6.0.0-1]
                Some((opcode, _)) => {
                    let what = format!("a frame with opcode {opcode} brings no MQTT");
                    return Err(io::Error::new(ErrorKind::InvalidData, what));
                }
            }
        }
    }

    /// The next frame's opcode and payload; `None` at the end.
    pub(crate) fn frame(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        loop {
            if let Some(frame) = self.framed()? {
                return Ok(Some(frame));
            }
            if !self.more()? {
                return Ok(None);
            }
        }
    }

    fn framed(&mut self) -> io::Result<Option<(u8, Vec<u8>)>> {
        let [first, second, rest @ ..] = self.incoming.as_slice() else { return Ok(None) };
        if second & 0x80 != 0 {
            return Err(io::Error::new(ErrorKind::InvalidData, "a server's frame is masked"));
        }
        let (length, used) = match (second & 0x7F, rest) {
            (126, [high, low, ..]) => (usize::from(*high) << 8 | usize::from(*low), 4),
            (127, [a, b, c, d, e, f, g, h, ..]) => {
                let length = u64::from_be_bytes([*a, *b, *c, *d, *e, *f, *g, *h]);
                (usize::try_from(length).unwrap_or(usize::MAX), 10)
            }
            (length @ 0..126, _) => (usize::from(length), 2),
            _ => return Ok(None),
        };
        let end = length.saturating_add(used);
        if self.incoming.len() < end {
            return Ok(None);
        }
        let opcode = first & 0x0F;
        let frame: Vec<u8> = self.incoming.drain(..end).collect();
        Ok(Some((opcode, frame.get(used..).unwrap_or_default().to_vec())))
    }

    /// Whether more came; `false` at the end.
    fn more(&mut self) -> io::Result<bool> {
        let piece = read_some(&mut self.stream)?;
        self.incoming.extend_from_slice(&piece);
        Ok(!piece.is_empty())
    }
}

/// Connects to the first of the addresses at which somebody listens.
///
/// # Errors
/// Nobody does: what the last one said.
pub fn first(
    addresses: impl Iterator<Item = SocketAddr>,
    patience: Duration,
) -> io::Result<(SocketAddr, TcpStream)> {
    let mut last = io::Error::new(ErrorKind::NotFound, "no such host");
    for address in addresses {
        match TcpStream::connect_timeout(&address, patience) {
            Ok(stream) => return Ok((address, stream)),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// What has come; nothing at the end, however it came about.
fn read_some(stream: &mut TcpStream) -> io::Result<Vec<u8>> {
    let mut piece = [0; 16 * 1024];
    match stream.read(&mut piece) {
        Ok(length) => Ok(piece.get(..length).unwrap_or_default().to_vec()),
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::ConnectionReset
                    | ErrorKind::ConnectionAborted
                    | ErrorKind::BrokenPipe
                    | ErrorKind::NotConnected
            ) =>
        {
            Ok(Vec::new())
        }
        Err(error) => Err(error),
    }
}
