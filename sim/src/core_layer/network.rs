//! The simulated byte network: one link per connection, with two directions that carry bytes in
//! order and can be slow, cut into pieces, held, dead, or reset.

use std::collections::{BTreeSet, VecDeque};

use bytes::Bytes;

use super::agenda::Agenda;
use super::{Happening, setting};
use crate::chance::{Stream, Streams};
use crate::history::ConnectionNumber;
use crate::plan::{ClientIndex, NetworkFault, Plan};

/// The longest pause between two drops of what trickles.
const DRIP_MS: u64 = 20;
/// How long it takes at most until what was sent at one time has arrived.
const DRIPS_FOR_MS: u64 = 800;

/// An end of a link.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    Broker,
    Client,
}

/// What arrives at an end.
#[derive(Clone, Debug)]
pub(super) enum Signal {
    /// The connection is being made.
    Open,
    /// Bytes.
    Data(Bytes),
    /// The other side closed.
    Fin,
    /// The connection is gone.
    Reset,
}

#[derive(Debug)]
struct Direction {
    last_arrival_ms: u64,
    /// Whatever goes in is lost.
    is_dead: bool,
    /// Sent and not yet taken by the receiver.
    unread_bytes: usize,
}

#[derive(Debug)]
struct Link {
    client: ClientIndex,
    to_broker: Direction,
    to_client: Direction,
    is_held: bool,
    /// The client's sending side is closed.
    is_shut: bool,
    /// What the client sends trickles.
    drips: bool,
    /// What arrived while the link was held.
    held: VecDeque<(End, Signal)>,
    /// Neither end takes anything any more.
    is_over: bool,
}

/// All links of a run, by connection number.
#[derive(Debug)]
pub(super) struct Network {
    links: Vec<Link>,
    latency_ms: u64,
    jitter_ms: u64,
    split: u64,
    capacity_bytes: usize,
    delays: Stream,
    splits: Stream,
    drips: Stream,
    /// Clients whose connections are never made.
    unreachable: BTreeSet<ClientIndex>,
}

impl Network {
    pub(super) fn new(plan: &Plan, streams: Streams) -> Self {
        let capacity = setting(plan, "network.capacity_bytes").unwrap_or(0);
        Network {
            links: Vec::new(),
            latency_ms: setting(plan, "network.latency_ms").unwrap_or(0),
            jitter_ms: setting(plan, "network.jitter_ms").unwrap_or(0),
            split: setting(plan, "network.split").unwrap_or(0),
            capacity_bytes: match usize::try_from(capacity) {
                Ok(0) | Err(_) => usize::MAX,
                Ok(bytes) => bytes,
            },
            delays: streams.stream("network delays"),
            splits: streams.stream("network splits"),
            drips: streams.stream("network drips"),
            unreachable: BTreeSet::new(),
        }
    }

    /// A new link, from `client` to the broker.
    pub(super) fn open(&mut self, client: ClientIndex) -> ConnectionNumber {
        let direction = || Direction { last_arrival_ms: 0, is_dead: false, unread_bytes: 0 };
        self.links.push(Link {
            client,
            to_broker: direction(),
            to_client: direction(),
            is_held: false,
            is_shut: false,
            drips: false,
            held: VecDeque::new(),
            is_over: false,
        });
        self.links.len() as u64 - 1
    }

    fn link(&mut self, connection: ConnectionNumber) -> &mut Link {
        let place = usize::try_from(connection).unwrap_or(usize::MAX);
        &mut self.links[place]
    }

    /// Whose link it is.
    pub(super) fn client(&mut self, connection: ConnectionNumber) -> ClientIndex {
        self.link(connection).client
    }

    /// Sends a signal to an end, after what was sent to it before.
    pub(super) fn send(
        &mut self,
        now_ms: u64,
        connection: ConnectionNumber,
        to: End,
        signal: Signal,
        agenda: &mut Agenda<Happening>,
    ) {
        let delay_ms = self.delay_ms();
        let link = self.link(connection);
        let drips = link.drips && to == End::Broker;
        if link.is_shut && to == End::Broker || link.direction(to).is_dead {
            return;
        }
        let drop_ms = if drips { self.drips.between(1, DRIP_MS) } else { 0 };
        let direction = self.link(connection).direction(to);
        if let Signal::Data(bytes) = &signal {
            direction.unread_bytes += bytes.len();
        }
        let mut at_ms = direction.last_arrival_ms.max(now_ms + delay_ms);
        if at_ms < now_ms + DRIPS_FOR_MS {
            at_ms += drop_ms;
        }
        direction.last_arrival_ms = at_ms;
        agenda.push(at_ms, Happening::Arrives { connection, at: to, signal });
    }

    /// Sends bytes to an end, in pieces as the plan has it.
    pub(super) fn send_bytes(
        &mut self,
        now_ms: u64,
        connection: ConnectionNumber,
        to: End,
        mut bytes: Bytes,
        agenda: &mut Agenda<Happening>,
    ) {
        while !bytes.is_empty() {
            let drips = self.link(connection).drips && to == End::Broker;
            let most = if drips { 2.min(bytes.len()) } else { self.piece_bytes(bytes.len()) };
            let piece = bytes.split_to(most);
            self.send(now_ms, connection, to, Signal::Data(piece), agenda);
        }
    }

    fn piece_bytes(&mut self, bytes: usize) -> usize {
        let most = bytes as u64;
        let piece = match self.split {
            0 => most,
            1 if self.splits.one_in(3) => self.splits.between(1, most),
            1 => most,
            // Every byte alone, but for long runs.
            _ if most > 300 => self.splits.between(1, most),
            _ => self.splits.between(1, 2).min(most),
        };
        usize::try_from(piece).unwrap_or(bytes)
    }

    fn delay_ms(&mut self) -> u64 {
        let jitter_ms = if self.jitter_ms > 0 && self.delays.one_in(4) {
            self.delays.below(self.jitter_ms + 1)
        } else {
            0
        };
        self.latency_ms + jitter_ms
    }

    /// Whether what arrives is to be kept for later; if so, keeps it. `None` means that it is to
    /// be forgotten.
    pub(super) fn pass(
        &mut self,
        connection: ConnectionNumber,
        at: End,
        signal: Signal,
    ) -> Option<Signal> {
        let link = self.link(connection);
        if link.is_over {
            return None;
        }
        // What is lost is not kept: behind a gap nothing may arrive.
        if link.direction(at).is_dead {
            return None;
        }
        if link.is_held {
            link.held.push_back((at, signal));
            return None;
        }
        Some(signal)
    }

    /// The receiver at `at` took so many bytes out of its buffer.
    pub(super) fn took(&mut self, connection: ConnectionNumber, at: End, bytes: usize) {
        let direction = self.link(connection).direction(at);
        direction.unread_bytes = direction.unread_bytes.saturating_sub(bytes);
    }

    /// How many bytes can be sent to the client before it reads some.
    pub(super) fn room_to_client(&mut self, connection: ConnectionNumber) -> usize {
        let capacity = self.capacity_bytes;
        let direction = self.link(connection).direction(End::Client);
        if direction.is_dead && capacity < usize::MAX {
            // Nobody acknowledges: what fits into the sender's own buffer goes, then no more.
            return 0;
        }
        capacity.saturating_sub(direction.unread_bytes)
    }

    /// What a fault does to a link. Gives what arrives at once because of it.
    pub(super) fn fault(
        &mut self,
        connection: ConnectionNumber,
        fault: NetworkFault,
    ) -> VecDeque<(End, Signal)> {
        let link = self.link(connection);
        match fault {
            NetworkFault::Hold => link.is_held = true,
            NetworkFault::Release => {
                link.is_held = false;
                link.drips = false;
                return std::mem::take(&mut link.held);
            }
            NetworkFault::HalfClose => link.is_shut = true,
            NetworkFault::Drip => link.drips = true,
            // What there is goes on.
            NetworkFault::Unreachable => {}
            NetworkFault::BlackHoleToBroker => link.to_broker.is_dead = true,
            NetworkFault::BlackHoleToClient => link.to_client.is_dead = true,
            NetworkFault::Reset => {
                link.held.clear();
                link.is_held = false;
                return [(End::Broker, Signal::Reset), (End::Client, Signal::Reset)].into();
            }
        }
        VecDeque::new()
    }

    /// Whether data can pass in both directions.
    pub(super) fn is_healthy(&mut self, connection: ConnectionNumber) -> bool {
        let link = self.link(connection);
        !(link.is_over || link.is_shut || link.to_broker.is_dead || link.to_client.is_dead)
    }

    /// Nothing passes any more.
    pub(super) fn end(&mut self, connection: ConnectionNumber) {
        let link = self.link(connection);
        link.is_over = true;
        link.held.clear();
    }

    /// Has a client's connections never made, or made again.
    pub(super) fn set_reachable(&mut self, client: ClientIndex, reachable: bool) {
        if reachable {
            self.unreachable.remove(&client);
        } else {
            self.unreachable.insert(client);
        }
    }

    /// Whether a client's connections are made.
    pub(super) fn is_reachable(&self, client: ClientIndex) -> bool {
        !self.unreachable.contains(&client)
    }

    /// How many links there ever were.
    pub(super) fn len(&self) -> u64 {
        self.links.len() as u64
    }
}

impl Link {
    fn direction(&mut self, to: End) -> &mut Direction {
        match to {
            End::Broker => &mut self.to_broker,
            End::Client => &mut self.to_client,
        }
    }
}
