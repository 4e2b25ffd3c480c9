//! WebSocket under MQTT: any request and any frames, cut anywhere, give the same bytes and the same
//! end however they come, and frames that are right give what is in them.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use arbitrary::{Arbitrary, Unstructured};
use bytes::Bytes;
use signalhouse::transport::websocket::{HandshakeError, MessageLimits, Origins, WebSocket};
use tokio::io::{AsyncRead as _, ReadBuf};

use crate::surroundings::{Script, run as run_future};

const REQUEST: &[u8] = b"GET /mqtt HTTP/1.1\r\nHost: localhost:8083\r\nUpgrade: websocket\r\n\
    Connection: Upgrade\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\
    Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n\r\n";
const LIMIT_BYTES: usize = 300;

#[derive(Arbitrary, Debug)]
struct Case<'a> {
    /// Lengths of the pieces that come first; the rest comes as one.
    pieces: Vec<u8>,
    sent: Sent<'a>,
}

#[derive(Arbitrary, Debug)]
enum Sent<'a> {
    Anything(&'a [u8]),
    BehindARequest(&'a [u8]),
    Request { from: u16, upto: u16, between: &'a [u8] },
    Frames(Vec<Framed<'a>>),
}

#[derive(Arbitrary, Debug)]
struct Framed<'a> {
    first: u8,
    is_masked: bool,
    mask: [u8; 4],
    payload: &'a [u8],
}

/// Sends the bytes in a case whole and in pieces.
///
/// # Panics
/// If the pieces make a difference, or something else comes out than is in the frames.
pub fn run(data: &[u8]) {
    let Ok(case) = Case::arbitrary_take_rest(Unstructured::new(data)) else { return };
    let stream = case.sent.bytes();
    let whole = receive(&stream, &[]);
    assert_eq!(whole, receive(&stream, &case.pieces), "it is read otherwise in pieces");
    if let Sent::Frames(frames) = &case.sent
        && let Some(expected) = plainly(frames)
    {
        assert_eq!(whole, Ok((expected, None)), "something else came than was sent");
    }
}

impl Sent<'_> {
    fn bytes(&self) -> Vec<u8> {
        match self {
            Sent::Anything(bytes) => bytes.to_vec(),
            Sent::BehindARequest(bytes) => [REQUEST, bytes].concat(),
            Sent::Request { from, upto, between } => {
                let from = usize::from(*from) % REQUEST.len();
                let upto = from + usize::from(*upto) % (REQUEST.len() - from);
                [&REQUEST[..from], between, &REQUEST[upto..]].concat()
            }
            Sent::Frames(frames) => {
                let frames = frames.iter().flat_map(Framed::bytes);
                REQUEST.iter().copied().chain(frames).collect()
            }
        }
    }
}

impl Framed<'_> {
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.first];
        let masked = if self.is_masked { 0x80 } else { 0 };
        match u8::try_from(self.payload.len()) {
            Ok(length @ 0..126) => bytes.push(masked | length),
            Ok(_) | Err(_) => {
                bytes.push(masked | 126);
                let length = u16::try_from(self.payload.len()).unwrap_or(u16::MAX);
                bytes.extend_from_slice(&length.to_be_bytes());
            }
        }
        if self.is_masked {
            bytes.extend_from_slice(&self.mask);
            let mask = self.mask.iter().cycle();
            bytes.extend(self.payload.iter().zip(mask).map(|(byte, mask)| byte ^ mask));
        } else {
            bytes.extend_from_slice(self.payload);
        }
        bytes
    }
}

/// What whole binary messages and pings come to; nothing if there is anything else.
fn plainly(frames: &[Framed<'_>]) -> Option<Vec<u8>> {
    let mut all = Vec::new();
    for frame in frames {
        if !frame.is_masked || frame.payload.len() > 125 {
            return None;
        }
        match frame.first {
            0x82 => all.extend_from_slice(frame.payload),
            0x89 | 0x8A => {}
            _ => return None,
        }
    }
    Some(all)
}

/// What was read, and how it ended; or the answer to a request that was refused.
type Received = Result<(Vec<u8>, Option<io::ErrorKind>), Vec<u8>>;

fn receive(stream: &[u8], pieces: &[u8]) -> Received {
    let script = Script::new(cut(stream, pieces), true);
    let written = script.written.clone();
    let limits = MessageLimits { strangers_bytes: LIMIT_BYTES, clients_bytes: LIMIT_BYTES };
    let accepted = run_future(WebSocket::accept(script, &Origins::default(), limits));
    let mut socket = match accepted {
        Ok(socket) => socket,
        Err(HandshakeError::Refused(_) | HandshakeError::Network(_)) => {
            return Err(written.borrow().clone());
        }
    };
    let mut read = Vec::new();
    let mut cx = Context::from_waker(Waker::noop());
    let mut place = [0; 64];
    loop {
        let mut buffer = ReadBuf::new(&mut place);
        match Pin::new(&mut socket).poll_read(&mut cx, &mut buffer) {
            Poll::Ready(Ok(())) if buffer.filled().is_empty() => return Ok((read, None)),
            Poll::Ready(Ok(())) => read.extend_from_slice(buffer.filled()),
            Poll::Ready(Err(error)) => return Ok((read, Some(error.kind()))),
            Poll::Pending => {}
        }
    }
}

fn cut(stream: &[u8], pieces: &[u8]) -> Vec<Bytes> {
    let mut rest = Bytes::copy_from_slice(stream);
    let mut cut: Vec<Bytes> = pieces
        .iter()
        .map(|length| rest.split_to(rest.len().min(usize::from(*length).max(1))))
        .collect();
    cut.push(rest);
    cut
}
