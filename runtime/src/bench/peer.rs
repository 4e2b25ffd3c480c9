//! One connection of the load: a socket that never blocks, and what waits on both its sides.

use std::io::{self, Read as _, Write as _};

use mio::net::TcpStream;

use super::BenchError;
use super::frames::{self, Frame};

/// A connection.
#[derive(Debug)]
pub(super) struct Peer {
    stream: TcpStream,
    /// The beginning of a packet whose rest has not come.
    partial: Vec<u8>,
    outbound: Vec<u8>,
    /// Bytes of `outbound` already written.
    written: usize,
    /// Whether the socket took all it was given last.
    is_writable: bool,
    /// Whether it is on the list of those to be written.
    pub(super) is_dirty: bool,
    pub(super) is_closed: bool,
}

impl Peer {
    pub(super) fn new(stream: TcpStream) -> Self {
        Peer {
            stream,
            partial: Vec::new(),
            outbound: Vec::new(),
            written: 0,
            // A connection in the making says so by an event.
            is_writable: false,
            is_dirty: false,
            is_closed: false,
        }
    }

    pub(super) fn stream_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }

    /// Where to put what is to be written.
    pub(super) fn outbound(&mut self) -> &mut Vec<u8> {
        &mut self.outbound
    }

    pub(super) fn set_writable(&mut self) {
        self.is_writable = true;
    }

    /// What the attempt to connect came to.
    pub(super) fn connect_error(&self) -> io::Result<Option<io::Error>> {
        self.stream.take_error()
    }

    /// Writes what waits, once, as far as the socket takes it.
    pub(super) fn write_out(&mut self) -> io::Result<()> {
        while self.is_writable && self.written < self.outbound.len() {
            match self.stream.write(&self.outbound[self.written..]) {
                Ok(bytes) => {
                    self.written += bytes;
                    if self.written < self.outbound.len() {
                        self.is_writable = false;
                    }
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => self.is_writable = false,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        if self.written == self.outbound.len() {
            self.outbound.clear();
            self.written = 0;
        }
        Ok(())
    }

    /// Whether something waits to be written.
    pub(super) fn has_outbound(&self) -> bool {
        !self.outbound.is_empty()
    }

    /// Reads all that is there and gives it out packet by packet. Marks the peer closed when the
    /// other end is.
    pub(super) fn read(
        &mut self,
        scratch: &mut [u8],
        mut take: impl FnMut(&mut Vec<u8>, Frame<'_>) -> Result<(), BenchError>,
    ) -> Result<(), BenchError> {
        loop {
            let bytes = match self.stream.read(scratch) {
                Ok(0) => {
                    self.is_closed = true;
                    return Ok(());
                }
                Ok(bytes) => bytes,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(_) => {
                    self.is_closed = true;
                    return Ok(());
                }
            };
            let fresh = &scratch[..bytes];
            if self.partial.is_empty() {
                let used = take_frames(fresh, &mut self.outbound, &mut take)?;
                self.partial.extend_from_slice(&fresh[used..]);
            } else {
                self.partial.extend_from_slice(fresh);
                let used = take_frames(&self.partial, &mut self.outbound, &mut take)?;
                self.partial.drain(..used);
            }
            // A short read has emptied the socket.
            if bytes < scratch.len() {
                return Ok(());
            }
        }
    }
}

/// Gives out the whole packets in `buffer`, and says how many bytes they are.
fn take_frames(
    buffer: &[u8],
    outbound: &mut Vec<u8>,
    take: &mut impl FnMut(&mut Vec<u8>, Frame<'_>) -> Result<(), BenchError>,
) -> Result<usize, BenchError> {
    let mut used = 0;
    while let Some((frame, length)) = frames::scan(&buffer[used..])? {
        take(outbound, frame)?;
        used += length;
    }
    Ok(used)
}
