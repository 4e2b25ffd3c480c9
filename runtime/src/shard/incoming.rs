//! Bytes from one client, until they are packets in the inbox.

use std::future::Future;
use std::io;
use std::pin::pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::BytesMut;
use signalhouse_core::input::Gone;
use signalhouse_core::wire::Reader;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite};

use super::Shared;
use super::connection::{Connection, Phase};
use super::events;
use super::inbox::Arrival;

/// Size of what connections read into, and the least space in it that is worth a read.
pub(super) const BUFFER_BYTES: usize = 64 * 1024;
const LEAST_BYTES: usize = 8 * 1024;
/// What one connection may bring into one round of the driver.
const ROUND_BYTES: usize = 64 * 1024;
const ROUND_PACKETS: usize = 256;
/// A packet's beginning up to this size goes through the shard's buffer once more when more of it
/// comes; a longer one grows where it is.
const CARRIED_BYTES: usize = 4 * 1024;

/// The reading half of a connection's task.
#[derive(Debug)]
pub(crate) struct Incoming {
    reader: Reader,
    /// The beginning of a packet, or packets beyond the round's quota. An idle connection's is
    /// empty and owns no memory.
    pending: BytesMut,
    /// `pending` may hold whole packets.
    undecoded: bool,
    round: u64,
    round_bytes: usize,
    round_packets: usize,
}

impl Incoming {
    pub(crate) fn new(reader: Reader) -> Self {
        Incoming {
            reader,
            pending: BytesMut::new(),
            undecoded: false,
            round: 0,
            round_bytes: 0,
            round_packets: 0,
        }
    }

    /// Reads and frames what is there. `Ready` when the peer is gone; `Pending` when the task will
    /// be woken for more: by the stream, by the driver's next round, or by room to answer in.
    pub(crate) fn poll<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared<S>,
        connection: &Rc<Connection<S>>,
    ) -> Poll<Gone> {
        loop {
            if connection.phase.get() != Phase::Open {
                return Poll::Pending;
            }
            let over = connection.outgoing.borrow().is_over();
            connection.is_held_back.set(over);
            if over {
                return Poll::Pending;
            }
            if !self.has_quota(shared.round.get()) || shared.inbox.is_full() {
                if shared.inbox.is_empty() {
                    // A large packet's parts: no round will come of them, so only take turns.
                    self.round_bytes = 0;
                    cx.waker().wake_by_ref();
                } else {
                    shared.wake_after_round(connection);
                }
                return Poll::Pending;
            }
            if self.undecoded {
                let mut pending = std::mem::take(&mut self.pending);
                self.decode(&mut pending, shared, connection);
                self.keep(pending);
                continue;
            }
            match ready!(self.poll_read(cx, shared, connection)) {
                Ok(0) => return Poll::Ready(Gone::PeerClosed),
                Ok(bytes) => {
                    self.round_bytes += bytes;
                    shared.inbox.count_read(bytes);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => {
                    if error.kind() == io::ErrorKind::InvalidData {
                        events::broken(connection.id, &connection.peer, &error);
                    }
                    return Poll::Ready(Gone::Failed);
                }
            }
        }
    }

    fn has_quota(&mut self, round: u64) -> bool {
        if self.round != round {
            self.round = round;
            self.round_bytes = 0;
            self.round_packets = 0;
        }
        self.round_bytes < ROUND_BYTES && self.round_packets < ROUND_PACKETS
    }

    /// Reads once, and decodes what it read when that is in the shard's buffer.
    fn poll_read<S: AsyncRead + AsyncWrite + Unpin>(
        &mut self,
        cx: &mut Context<'_>,
        shared: &Shared<S>,
        connection: &Rc<Connection<S>>,
    ) -> Poll<io::Result<usize>> {
        if self.pending.len() > CARRIED_BYTES {
            // Doubling keeps memory within a constant factor of what was received.
            let wanted = self.reader.missing_bytes().min(self.pending.len());
            self.pending.reserve(wanted.clamp(1, ROUND_BYTES));
            let mut stream = connection.stream.borrow_mut();
            let bytes = ready!(pin!(stream.read_buf(&mut self.pending)).poll(cx))?;
            self.undecoded = bytes > 0;
            return Poll::Ready(Ok(bytes));
        }
        let mut shards = shared.scratch.borrow_mut();
        let scratch = shards.with_space(LEAST_BYTES);
        if sim_point!(ScratchSmall) {
            *scratch = BytesMut::with_capacity(self.pending.len() + 16);
        }
        scratch.extend_from_slice(&self.pending);
        let read = {
            let mut stream = connection.stream.borrow_mut();
            pin!(stream.read_buf(scratch)).poll(cx)
        };
        let bytes = match read {
            Poll::Ready(Ok(bytes)) if bytes > 0 => bytes,
            Poll::Ready(_) | Poll::Pending => {
                scratch.clear(); // nothing is lost: `pending` still has what was put in
                return read;
            }
        };
        let mut chunk = scratch.split();
        drop(shards);
        self.decode(&mut chunk, shared, connection);
        self.keep(chunk);
        Poll::Ready(Ok(bytes))
    }

    /// Keeps what is left, a little of it in storage of its own: it must not hold on to the shard's
    /// buffer, or to that of a large packet that went before.
    fn keep(&mut self, left: BytesMut) {
        self.pending = if left.len() <= CARRIED_BYTES { BytesMut::from(&left[..]) } else { left };
    }

    /// Puts the packets in `bytes` into the inbox, as far as the round's quota goes.
    fn decode<S>(
        &mut self,
        bytes: &mut BytesMut,
        shared: &Shared<S>,
        connection: &Rc<Connection<S>>,
    ) {
        self.undecoded = true;
        let most = if sim_point!(DecodeOne) { self.round_packets + 1 } else { ROUND_PACKETS };
        while self.round_packets < most {
            match self.reader.read(bytes) {
                Ok(Some(packet)) => {
                    self.round_packets += 1;
                    shared.inbox.push(connection.id, Arrival::Packet(packet));
                }
                Ok(None) => {
                    self.undecoded = false;
                    return;
                }
                Err(error) => {
                    self.undecoded = false;
                    bytes.clear();
                    connection.phase.set(Phase::Deaf);
                    let version = self.reader.answer_version();
                    shared.inbox.push(connection.id, Arrival::Malformed(error, version));
                    return;
                }
            }
        }
    }
}
