//! A relay of bytes that knows no protocol: one thread, one poller, one read for each connection
//! that is ready, one write for each destination and round. What a broker costs above it is the
//! broker's own work; below it is what the system calls and copies cost anybody.

use std::io::{self, Read as _, Write as _};
use std::net::SocketAddr;

use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};

use super::BenchError;

/// Which end of a channel a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    /// What it sends goes to every receiver of its channel.
    Sender,
    /// It gets what the senders of its channel send.
    Receiver,
}

const HELLO_BYTES: usize = 5;
const LISTENER: Token = Token(usize::MAX);
const SCRATCH_BYTES: usize = 256 * 1024;

/// What a connection says first: its end and its channel.
pub(super) fn write_hello(role: Role, channel: u32, out: &mut Vec<u8>) {
    out.push(match role {
        Role::Sender => b'>',
        Role::Receiver => b'<',
    });
    out.extend_from_slice(&channel.to_be_bytes());
}

/// Relays until the process ends. `listening` is told where.
///
/// # Errors
/// [`BenchError`] if it cannot listen or poll.
pub fn relay(at: SocketAddr, listening: impl FnOnce(SocketAddr)) -> Result<(), BenchError> {
    let mut listener = TcpListener::bind(at).map_err(BenchError::io("cannot listen"))?;
    let mut poll = Poll::new().map_err(BenchError::io("no poller"))?;
    poll.registry()
        .register(&mut listener, LISTENER, Interest::READABLE)
        .map_err(BenchError::io("cannot listen"))?;
    listening(listener.local_addr().map_err(BenchError::io("cannot listen"))?);
    let mut relay = Relay {
        ends: Vec::new(),
        receivers: Vec::new(),
        dirty: Vec::new(),
        scratch: vec![0; SCRATCH_BYTES],
    };
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(BenchError::io("cannot poll")(error)),
        }
        for event in &events {
            if event.token() == LISTENER {
                while let Ok((stream, _)) = listener.accept() {
                    relay.accept(stream, &poll);
                }
                continue;
            }
            if event.is_writable() {
                relay.make_writable(event.token().0);
            }
            if event.is_readable() {
                relay.read(event.token().0);
            }
        }
        relay.write_out();
    }
}

struct Relay {
    ends: Vec<Option<End>>,
    /// By channel.
    receivers: Vec<Vec<usize>>,
    dirty: Vec<usize>,
    scratch: Vec<u8>,
}

struct End {
    stream: TcpStream,
    /// Its channel, once it has said so and if it is a sender.
    sends_to: Option<usize>,
    has_said_hello: bool,
    outbound: Vec<u8>,
    is_writable: bool,
    is_dirty: bool,
}

impl Relay {
    fn accept(&mut self, mut stream: TcpStream, poll: &Poll) {
        let _ = stream.set_nodelay(true);
        let token = Token(self.ends.len());
        let interest = Interest::READABLE | Interest::WRITABLE;
        if poll.registry().register(&mut stream, token, interest).is_ok() {
            self.ends.push(Some(End {
                stream,
                sends_to: None,
                has_said_hello: false,
                outbound: Vec::new(),
                is_writable: true,
                is_dirty: false,
            }));
        }
    }

    fn make_writable(&mut self, number: usize) {
        if let Some(Some(end)) = self.ends.get_mut(number) {
            end.is_writable = true;
            if !end.outbound.is_empty() && !end.is_dirty {
                end.is_dirty = true;
                self.dirty.push(number);
            }
        }
    }

    fn read(&mut self, number: usize) {
        let mut scratch = std::mem::take(&mut self.scratch);
        while let Some(Some(end)) = self.ends.get_mut(number) {
            match end.stream.read(&mut scratch) {
                Ok(bytes) if bytes > 0 => {
                    self.take(number, &scratch[..bytes]);
                    if bytes < scratch.len() {
                        break;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Ok(_) | Err(_) => {
                    self.ends[number] = None;
                    break;
                }
            }
        }
        self.scratch = scratch;
    }

    fn take(&mut self, number: usize, mut bytes: &[u8]) {
        let Some(Some(end)) = self.ends.get_mut(number) else { return };
        if !end.has_said_hello {
            // Five bytes in a first segment of their own: the generator writes nothing with them.
            let Some((hello, rest)) = bytes.split_first_chunk::<HELLO_BYTES>() else { return };
            end.has_said_hello = true;
            let [role, channel @ ..] = *hello;
            let channel = u32::from_be_bytes(channel) as usize;
            if self.receivers.len() <= channel {
                self.receivers.resize(channel + 1, Vec::new());
            }
            if role == b'>' {
                end.sends_to = Some(channel);
            } else {
                self.receivers[channel].push(number);
            }
            bytes = rest;
        }
        let Some(channel) = end.sends_to.filter(|_| !bytes.is_empty()) else { return };
        for receiver in &self.receivers[channel] {
            let Some(Some(end)) = self.ends.get_mut(*receiver) else { continue };
            end.outbound.extend_from_slice(bytes);
            if !end.is_dirty {
                end.is_dirty = true;
                self.dirty.push(*receiver);
            }
        }
    }

    fn write_out(&mut self) {
        for number in self.dirty.drain(..) {
            let Some(Some(end)) = self.ends.get_mut(number) else { continue };
            end.is_dirty = false;
            if !end.is_writable {
                continue;
            }
            match end.stream.write(&end.outbound) {
                Ok(bytes) if bytes == end.outbound.len() => end.outbound.clear(),
                Ok(bytes) => {
                    end.outbound.drain(..bytes);
                    end.is_writable = false;
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => end.is_writable = false,
                Err(_) => self.ends[number] = None,
            }
        }
    }
}
