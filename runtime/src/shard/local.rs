//! Clients inside the process: what speaks HTTP comes to the broker as a client like any other,
//! with packets instead of bytes.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use signalhouse_core::ConnectionId;
use signalhouse_core::credential::Credential;
use signalhouse_core::wire::packet::ServerPacket;
use signalhouse_core::wire::types::Text;
use tokio::sync::{mpsc, oneshot};

/// What may wait for one client inside the process, in bytes.
const LIMIT_BYTES: usize = 256 * 1024;
/// More than a packet's fixed parts take.
const OVERHEAD_BYTES: usize = 64;

/// Who comes in as a client inside the process.
#[derive(Clone, Debug)]
pub struct Insider {
    /// Where its wishes come from.
    pub peer: Text,
    /// Who it is. Whoever opens it has found out.
    pub identity: Option<Text>,
    /// What else it showed.
    pub credential: Credential,
    /// Whether it takes over the session of a client that is connected, as any client does. If not,
    /// it is refused there, and [`LocalClient::is_kept_out`](super::LocalClient::is_kept_out).
    pub takes_over: bool,
}

/// The driver's end.
#[derive(Debug)]
pub(crate) struct Local {
    pub(crate) id: ConnectionId,
    pub(crate) who: Insider,
    packets: mpsc::UnboundedSender<ServerPacket>,
    backlog: Arc<Backlog>,
    /// At most what the broker believes is free.
    believed_room: Cell<usize>,
    pub(crate) broker_is_done: Cell<bool>,
}

/// What waits, as both ends see it.
#[derive(Debug, Default)]
struct Backlog {
    bytes: AtomicUsize,
    /// It would have had to take over another's connection.
    is_kept_out: AtomicBool,
    /// The broker waits to hear of room.
    wants_room: AtomicBool,
}

/// The client's end: what the broker sends it. Nothing more comes once the broker has closed it.
#[derive(Debug)]
pub(crate) struct Packets {
    packets: mpsc::UnboundedReceiver<ServerPacket>,
    backlog: Arc<Backlog>,
    /// Dropped with the client, which is how the shard hears that it has gone away.
    _alive: oneshot::Sender<()>,
}

/// Completes when the client has gone away.
pub(crate) type Departure = oneshot::Receiver<()>;

impl Local {
    pub(crate) fn new(id: ConnectionId, who: Insider) -> (Self, Packets, Departure) {
        // Bounded by the room that the broker is told of; only answers go beyond it, and the
        // client makes one request at a time.
        let (sender, receiver) = mpsc::unbounded_channel();
        let backlog = Arc::new(Backlog::default());
        let (alive, departure) = oneshot::channel();
        let local = Local {
            id,
            who,
            packets: sender,
            backlog: Arc::clone(&backlog),
            believed_room: Cell::new(LIMIT_BYTES),
            broker_is_done: Cell::new(false),
        };
        (local, Packets { packets: receiver, backlog, _alive: alive }, departure)
    }

    /// Hands over a packet. Says whether the broker is to be told of room.
    pub(crate) fn send(&self, packet: ServerPacket) -> bool {
        let bytes = room_taken(&packet);
        if bytes > 0 {
            self.backlog.bytes.fetch_add(bytes, Ordering::Relaxed);
            self.believed_room.set(self.believed_room.get().saturating_sub(bytes));
            if self.believed_room.get() < LIMIT_BYTES / 2 {
                self.backlog.wants_room.store(true, Ordering::Relaxed);
            }
        }
        // The departure of a client that has gone away is on its way.
        drop(self.packets.send(packet));
        self.backlog.takes_more()
    }

    /// Notes that it is refused for the sake of the client that is connected.
    pub(crate) fn keep_out(&self) {
        self.backlog.is_kept_out.store(true, Ordering::Relaxed);
    }

    /// The room to tell the broker, now.
    pub(crate) fn tell_room(&self) -> u32 {
        let waiting = self.backlog.bytes.load(Ordering::Relaxed);
        self.believed_room.set(LIMIT_BYTES.saturating_sub(waiting));
        u32::try_from(self.believed_room.get()).unwrap_or(u32::MAX)
    }
}

impl Packets {
    /// The next packet, and whether the broker is to be told of room. `None` at the end.
    pub(crate) async fn next(&mut self) -> Option<(ServerPacket, bool)> {
        let packet = self.packets.recv().await?;
        self.backlog.bytes.fetch_sub(room_taken(&packet), Ordering::Relaxed);
        Some((packet, self.backlog.takes_more()))
    }

    pub(crate) fn is_kept_out(&self) -> bool {
        self.backlog.is_kept_out.load(Ordering::Relaxed)
    }
}

impl Backlog {
    /// Whether it has drained and the broker waits for that. True once.
    fn takes_more(&self) -> bool {
        self.bytes.load(Ordering::Relaxed) <= LIMIT_BYTES / 2
            && self.wants_room.swap(false, Ordering::Relaxed)
    }
}

/// Bytes of room that a packet takes: not less than the broker counts. Only PUBLISH waits for room.
fn room_taken(packet: &ServerPacket) -> usize {
    if let ServerPacket::Publish(publish) = packet {
        let ids = publish.subscription_ids.as_slice().len() * 5;
        publish.message.content_bytes() * 2 + ids + OVERHEAD_BYTES
    } else {
        0
    }
}
