//! What the clients know of a run: connections, sessions, subscriptions, publications, deliveries
//! and faults, with the moments at which each was asked for and learned of.
//!
//! The model does not predict one run. It keeps, for everything that a client cannot see, the
//! earliest and the latest moment at which it may have happened.

mod access;
mod ahead;
mod axis;
mod beside;
mod connection;
mod crowd;
mod deliver;
mod hold;
mod lifetime;
mod publication;
mod sent_away;
mod session;

use std::collections::BTreeMap;

pub(crate) use access::Access;
pub(crate) use connection::{Answered, Connection, Network, Request};
pub(crate) use lifetime::Presence;
pub(crate) use publication::{
    Delivery, DeliveryId, Holder, Publication, PublicationId, Send, Stage,
};
pub(crate) use sent_away::SentAway;
pub(crate) use session::{Session, SessionId, Subscription};

use connection::NAMELESS;

use crate::history::{ConnectionNumber, Event, What};
use crate::packet::Packet;
use crate::plan::{BrokerFault, ClientIndex, NetworkFault};

/// A place in the history, with its time.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Moment {
    pub(crate) index: usize,
    pub(crate) at_ms: u64,
}

/// How much time things may take that no packet tells about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// From one end of a connection to the other while the network works and the client reads,
    /// waiting for the disk included. 0 if nothing ever is on its way: then the history has everything in the
    /// order in which it happened at the broker.
    pub latency_ms: u64,
    /// How many bytes are on their way to a client at a time.
    pub capacity_bytes: u64,
    /// How long so many bytes are on their way at most, and then until the broker sends more.
    pub turn_ms: u64,
    /// How late the broker may be with what time makes it do.
    pub slack_ms: u64,
    /// How long it may take at most until somebody who is connected, and whom nothing stands in the way of, has what
    /// was taken before.
    pub delivery_ms: u64,
    /// The longest session expiry that the broker grants.
    pub session_expiry_maximum_s: u32,
    /// A stop longer than this makes the broker hold back expiry until somebody confirms the time.
    pub time_jump_maximum_ms: u64,
    /// The most messages that wait for one session or share.
    pub queue_messages: u64,
    /// The most bytes of them.
    pub queue_bytes: u64,
    /// The most retained messages.
    pub retained_messages: u64,
    /// The quota that each client has of stored bytes.
    pub stored_bytes: Option<u64>,
    /// The quota that each client has of publications in a day.
    pub messages_per_day: Option<u64>,
    /// The quota that each client has of publications in a second.
    pub messages_per_second: Option<u64>,
    /// The quota that each client has of connections.
    pub connections: Option<u64>,
    /// How long a client may stay at a time before the calm, if that ends.
    pub token_lifetime_ms: Option<u64>,
    /// How many keys of requests are remembered.
    pub request_keys: usize,
    /// How long a key of a request is remembered.
    pub request_key_ms: u64,
    /// Whether other limits of the broker are within reach.
    pub has_limits: bool,
    /// The most sessions.
    pub sessions: u64,
    /// How long a connection may take to be accepted.
    pub connect_timeout_ms: u64,
    /// The most connections at once.
    pub connections_at_once: u64,
    /// The largest packet that a client may send, in bytes.
    pub packet_bytes: u64,
    /// The most levels of a topic.
    pub topic_levels: u64,
    /// The highest QoS of a publication.
    pub maximum_qos: u8,
    /// Whether retained messages are kept.
    pub retain_available: bool,
    /// Whether filters may have wildcards.
    pub wildcards_available: bool,
    /// Whether subscriptions may be shared.
    pub shares_available: bool,
    /// Whether the disk may have no room, so that what would have to be stored is refused.
    pub may_fill_disk: bool,
    /// The broker's clock at the start, in milliseconds since 1970.
    pub epoch_ms: u64,
}

impl Default for Bounds {
    fn default() -> Self {
        Bounds {
            latency_ms: 2_000,
            capacity_bytes: u64::MAX,
            turn_ms: 0,
            slack_ms: 5_000,
            delivery_ms: u64::MAX,
            session_expiry_maximum_s: u32::MAX,
            time_jump_maximum_ms: 24 * 60 * 60 * 1000,
            queue_messages: u64::MAX,
            queue_bytes: u64::MAX,
            retained_messages: u64::MAX,
            stored_bytes: None,
            messages_per_day: None,
            messages_per_second: None,
            connections: None,
            token_lifetime_ms: None,
            request_keys: usize::MAX,
            request_key_ms: u64::MAX,
            has_limits: false,
            sessions: u64::MAX,
            connect_timeout_ms: 10_000,
            connections_at_once: u64::MAX,
            packet_bytes: u64::MAX,
            topic_levels: u64::MAX,
            maximum_qos: 2,
            retain_available: true,
            wildcards_available: true,
            shares_available: true,
            may_fill_disk: false,
            epoch_ms: 0,
        }
    }
}

impl Bounds {
    /// Whether a publication or a subscription of a correct client may be refused for a setting's sake.
    pub(crate) fn may_refuse(&self) -> bool {
        let counts = [
            self.stored_bytes.unwrap_or(u64::MAX),
            self.messages_per_day.unwrap_or(u64::MAX),
            self.messages_per_second.unwrap_or(u64::MAX),
            self.queue_messages,
            self.queue_bytes,
            self.retained_messages,
            self.packet_bytes,
            self.topic_levels,
        ];
        let is_bounded = counts.into_iter().any(|most| most < u64::MAX);
        let lacks_one =
            !(self.retain_available && self.wildcards_available && self.shares_available);
        is_bounded || lacks_one || self.maximum_qos < 2 || self.may_fill_disk || self.has_limits
    }
}

/// A stop of the broker's process, of whatever kind.
#[derive(Clone, Debug)]
pub(crate) struct Outage {
    pub(crate) stopped: Moment,
    pub(crate) started: Option<Moment>,
    /// By when what is in the store was surely read, after a start that may hang at its disk.
    pub(crate) served: Option<Moment>,
    /// What the broker did before this time is surely on the disk.
    pub(crate) durable_before_ms: u64,
}

/// The broker's word that a message does not reach a receiver.
#[derive(Clone, Debug)]
pub(crate) struct Dropped {
    pub(crate) moment: Moment,
    pub(crate) receiver: String,
    pub(crate) topic: String,
    pub(crate) cause: String,
}

impl Dropped {
    /// Whether its receiver may be the client with this identifier, or the share with this filter.
    pub(crate) fn is_for(&self, model: &Model, receiver: &str) -> bool {
        let may_be_nameless =
            receiver.starts_with(NAMELESS) && !model.clients.contains_key(&self.receiver);
        self.receiver == receiver || may_be_nameless
    }

    /// Whether it is a will of the client, refused before it was a message for anybody.
    pub(crate) fn is_of_will(&self) -> bool {
        self.cause == What::WILL_REFUSED
    }
}

/// What the last event turned out to be.
#[derive(Clone, Debug)]
pub(crate) enum Seen {
    /// Nothing that changes what is known.
    Nothing,
    /// A client was let in.
    Admitted(Box<Presence>),
    /// A client read a PUBLISH.
    Delivered(DeliveryId),
    /// A client read the response to this.
    Answered(Answered),
    /// A client read a response to nothing.
    Unasked,
    /// A client read PUBREL; what its identifier stood for.
    Released(Option<Holder>),
}

/// What is known of one client identifier.
#[derive(Debug, Default)]
pub(crate) struct Client {
    /// Connections whose CONNECT may be the last that the broker has taken.
    pub(crate) attempts: Vec<ConnectionNumber>,
    /// Every connection on which it was given in CONNECT or assigned.
    pub(crate) connections: Vec<ConnectionNumber>,
    pub(crate) sessions: Vec<SessionId>,
}

/// What is known of one client of the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Peer {
    /// Since when it reads and acknowledges.
    pub(crate) serving_since: Option<u64>,
    pub(crate) is_held: bool,
    /// Until when its network held back, the last time.
    pub(crate) held_until_ms: Option<u64>,
}

/// What the clients know.
#[derive(Debug, Default)]
pub(crate) struct Model {
    pub(crate) bounds: Bounds,
    pub(crate) now: Moment,
    pub(crate) connections: BTreeMap<ConnectionNumber, Connection>,
    pub(crate) clients: BTreeMap<String, Client>,
    pub(crate) peers: BTreeMap<ClientIndex, Peer>,
    pub(crate) sessions: Vec<Session>,
    pub(crate) publications: Vec<Publication>,
    pub(crate) by_token: BTreeMap<Vec<u8>, PublicationId>,
    pub(crate) deliveries: Vec<Delivery>,
    /// When the client sent PUBACK on the connection on which it had read PUBLISH, by when that was.
    acknowledged: BTreeMap<Moment, Moment>,
    pub(crate) drops: Vec<Dropped>,
    pub(crate) outages: Vec<Outage>,
    /// Who might do what, in the order of time; the first from the start on.
    access: Vec<Access>,
    pub(crate) durable_before_ms: u64,
    /// By how much the wall clock is ahead of true time, in milliseconds.
    wall_ahead_ms: i64,
    axes: Vec<axis::Axis>,
    /// A time of the broker's axis that is surely in the journal.
    recorded_ms: Option<i64>,
    hold: hold::Hold,
    pub(crate) calm: Option<Moment>,
    pub(crate) end: Option<Moment>,
}

/// The part of a payload that makes it unlike all others.
pub(crate) fn token_of(payload: &[u8]) -> &[u8] {
    let end = payload.iter().position(|byte| matches!(byte, b'|' | b':'));
    &payload[..end.unwrap_or(payload.len())]
}

impl Model {
    pub(crate) fn new(bounds: Bounds) -> Self {
        Model {
            bounds,
            access: vec![Access::default()],
            axes: vec![axis::Axis::FIRST],
            ..Model::default()
        }
    }

    /// Takes the next event.
    pub(crate) fn event(&mut self, index: usize, event: &Event) -> Seen {
        self.now = Moment { index, at_ms: event.at_ms };
        match &event.what {
            What::Opened { client, connection } => self.opened(*client, *connection),
            What::Sent { connection, packet } => self.sent(*connection, packet),
            What::Received { connection, packet, alias_topic, size_bytes } => {
                self.taken(*connection, *size_bytes);
                return self.received(*connection, packet, alias_topic.as_deref());
            }
            What::Undecodable { .. } => {}
            What::Ended { connection, by_client } => self.ended(*connection, *by_client),
            What::Misbehaved { connection, must_end } => {
                self.misbehaved(*connection, *must_end);
            }
            What::Holding { client, serving } => {
                let now = self.now.at_ms;
                self.peer(*client).serving_since = serving.then_some(now);
                self.trouble(*client, *serving);
            }
            What::Network { client, fault } => self.network(*client, *fault),
            What::Broker(fault) => self.broker(*fault),
            What::Denied(denials) => self.denied(denials),
            What::Beside(beside) => return self.beside(beside),
            What::Dropped { receiver, topic, cause } => self.drops.push(Dropped {
                moment: self.now,
                receiver: receiver.clone(),
                topic: topic.clone(),
                cause: cause.clone(),
            }),
            What::Kept(_) => self.has_read_store(),
            What::Absent { .. } => {}
            What::WallClock { by_ms } => self.wall_clock(*by_ms),
            What::Calm => self.calm = Some(self.now),
            What::End => self.end = Some(self.now),
        }
        Seen::Nothing
    }

    pub(crate) fn peer(&mut self, client: ClientIndex) -> &mut Peer {
        let new = Peer { serving_since: Some(0), is_held: false, held_until_ms: None };
        self.peers.entry(client).or_insert(new)
    }

    /// Whether the broker runs.
    pub(crate) fn is_up(&self) -> bool {
        self.outages.last().is_none_or(|outage| outage.started.is_some())
    }

    /// Whether the process was not there for a while between two places of the history.
    pub(crate) fn has_outage(&self, from: usize, to: usize) -> bool {
        self.outages.iter().any(|outage| outage.stopped.index > from && outage.stopped.index < to)
    }

    /// Whether nothing ever is on its way between a client and the broker.
    pub(crate) fn is_exact(&self) -> bool {
        self.bounds.latency_ms == 0
    }

    /// Whether nothing delays what the broker sends on `connection`, nor did for the last while.
    pub(crate) fn is_prompt(&self, connection: &Connection, since_ms: u64) -> bool {
        let serving = self.peers.get(&connection.client).map_or(Some(0), |peer| peer.serving_since);
        let reads = serving.is_some_and(|from| from == 0 || from <= since_ms);
        let flows = match connection.network {
            Network::Calm(from) => from <= since_ms,
            Network::Held | Network::BlackHole => false,
        };
        reads && flows
    }

    /// The moment before which things had time enough to be over at the end.
    pub(crate) fn settled_by_ms(&self) -> u64 {
        let Some(end) = self.end else { return 0 };
        let calm =
            self.calm.map_or(end.at_ms.saturating_sub(self.bounds.latency_ms), |calm| calm.at_ms);
        calm + (end.at_ms - calm) / 2
    }

    /// The connection on which a session is served at the end, if nothing stood in its way for
    /// long enough.
    pub(crate) fn served(&self, session: &Session) -> Option<&Connection> {
        self.end?;
        let number = session.connections.last()?;
        let connection = self.connections.get(number)?;
        let connack = connection.connack.as_ref()?;
        let attempts = &self.clients.get(&session.client_id)?.attempts;
        let settled_by_ms = self.settled_by_ms();
        let is_served = connection.is_open()
            && connection.goodbye.is_none()
            && session.hostile.is_none()
            && session.replaced.is_none()
            && attempts.as_slice() == [*number]
            && self.is_up()
            && connack.moment.at_ms <= settled_by_ms
            && self.is_prompt(connection, settled_by_ms);
        is_served.then_some(connection)
    }

    /// Other connections of the same client identifier, in the order of their numbers.
    pub(crate) fn others<'a>(
        &'a self,
        connection: &'a Connection,
    ) -> impl Iterator<Item = &'a Connection> {
        let client = self.clients.get(&connection.client_id);
        let numbers = client.into_iter().flat_map(|client| &client.connections);
        let others = numbers.filter(move |number| **number != connection.number);
        others.filter_map(|number| self.connections.get(number))
    }

    /// The session of a connection.
    pub(crate) fn session_of(&self, connection: ConnectionNumber) -> Option<&Session> {
        let session = self.connections.get(&connection)?.session?;
        self.sessions.get(session)
    }

    fn opened(&mut self, client: ClientIndex, number: ConnectionNumber) {
        let Peer { serving_since, is_held, .. } = *self.peer(client);
        let mut connection = Connection::new(client, number, self.now);
        if is_held || serving_since.is_none() {
            connection.troubled_ms = u64::MAX;
        }
        if is_held {
            connection.network = Network::Held;
        }
        self.connections.insert(number, connection);
    }

    fn ended(&mut self, number: ConnectionNumber, by_client: bool) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&number) else { return };
        connection.ended = Some((now, by_client));
        let Some(session) = connection.session else { return };
        self.forget_shared(session, number);
    }

    fn misbehaved(&mut self, number: ConnectionNumber, must_end: bool) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&number) else { return };
        // Behind what may have begun a packet, nothing need be what it looks like.
        if must_end && connection.misbehaved.is_none() {
            connection.broken = Some(now);
        }
        connection.misbehaved.get_or_insert(now);
        if let Some(session) = connection.session {
            self.sessions[session].hostile.get_or_insert(now);
        }
    }

    /// Something stood in the way of what a client is sent, until now, or does from now on.
    fn trouble(&mut self, client: ClientIndex, is_over: bool) {
        let until_ms = if is_over { self.now.at_ms } else { u64::MAX };
        let open = self.connections.values_mut().filter(|one| one.ended.is_none());
        open.filter(|one| one.client == client).for_each(|one| one.troubled_ms = until_ms);
    }

    fn network(&mut self, client: ClientIndex, fault: NetworkFault) {
        let (now, latency_ms) = (self.now.at_ms, self.bounds.latency_ms);
        self.trouble(client, fault == NetworkFault::Release);
        match fault {
            NetworkFault::Hold => self.peer(client).is_held = true,
            NetworkFault::Release => {
                let now_ms = self.now.at_ms;
                let peer = self.peer(client);
                peer.is_held = false;
                peer.held_until_ms = Some(now_ms);
            }
            NetworkFault::BlackHoleToBroker
            | NetworkFault::BlackHoleToClient
            | NetworkFault::Reset
            | NetworkFault::HalfClose
            | NetworkFault::Drip
            | NetworkFault::Unreachable => {}
        }
        for connection in self.connections.values_mut() {
            if connection.client != client {
                continue;
            }
            let is_over = connection.ended.is_some();
            // What was sent last may be on its way still.
            let has_arrived = connection.ended.is_some_and(|(at, _)| at.at_ms + latency_ms < now);
            match (fault, connection.network) {
                (NetworkFault::Hold, Network::Calm(_)) if !has_arrived => {
                    connection.network = Network::Held;
                }
                (NetworkFault::Release, Network::Held) => {
                    connection.network = Network::Calm(now);
                }
                // What a client sends behind its half close reaches nobody either.
                (
                    NetworkFault::BlackHoleToBroker
                    | NetworkFault::BlackHoleToClient
                    | NetworkFault::HalfClose,
                    _,
                ) if !is_over => {
                    connection.network = Network::BlackHole;
                }
                (NetworkFault::Reset, _) if !is_over => connection.was_reset = true,
                (
                    NetworkFault::Hold
                    | NetworkFault::Release
                    | NetworkFault::BlackHoleToBroker
                    | NetworkFault::BlackHoleToClient
                    | NetworkFault::Reset
                    | NetworkFault::HalfClose
                    | NetworkFault::Drip
                    | NetworkFault::Unreachable,
                    Network::Calm(_) | Network::Held | Network::BlackHole,
                ) => {}
            }
        }
    }

    fn broker(&mut self, fault: BrokerFault) {
        let now = self.now;
        let is_orderly = match fault {
            BrokerFault::Start => {
                if let Some(outage) = self.outages.last_mut().filter(|one| one.started.is_none()) {
                    outage.started = Some(now);
                    self.axis_begins();
                }
                return;
            }
            BrokerFault::Kill | BrokerFault::PowerCut => false,
            BrokerFault::Stop => true,
        };
        let durable_before_ms = if is_orderly { now.at_ms } else { self.durable_before_ms };
        if self.is_up() {
            self.outages.push(Outage {
                stopped: now,
                started: None,
                served: None,
                durable_before_ms,
            });
            self.axis_ends(is_orderly);
        } else if let Some(outage) = self.outages.last_mut().filter(|_| !is_orderly) {
            // An orderly stop that is cut off keeps no more than another cut.
            outage.durable_before_ms = outage.durable_before_ms.min(durable_before_ms);
            self.axis_ends(is_orderly);
        }
        for connection in self.connections.values_mut() {
            if connection.ended.is_none() {
                connection.broker_gone.get_or_insert(now);
            }
        }
        if !is_orderly {
            self.revive_ended();
            self.forget_qos1_identifiers();
        }
    }

    /// Says what is kept, and so that what was in the store is known.
    fn has_read_store(&mut self) {
        self.serves();
        let now = self.now;
        if let Some(outage) = self.outages.last_mut().filter(|outage| outage.started.is_some()) {
            outage.served.get_or_insert(now);
        }
    }

    fn received(
        &mut self,
        number: ConnectionNumber,
        packet: &Packet,
        alias_topic: Option<&str>,
    ) -> Seen {
        match packet {
            Packet::ConnAck { session_present, reason, properties } => {
                self.connack(number, *session_present, *reason, properties)
            }
            Packet::Publish(publish) => self.delivered(number, publish, alias_topic),
            Packet::Ack { kind, id, reason, properties: _ } => {
                self.ack_received(number, *kind, *id, *reason)
            }
            Packet::SubAck { id, reasons, properties: _ } => self.suback(number, *id, reasons),
            Packet::UnsubAck { id, reasons, properties: _ } => self.unsuback(number, *id, reasons),
            Packet::PingResp => {
                let Some(connection) = self.connections.get_mut(&number) else {
                    return Seen::Nothing;
                };
                match connection.pings.pop_front() {
                    Some(moment) => self.answered(number, moment, Request::Ping),
                    None => Seen::Unasked,
                }
            }
            Packet::Disconnect { reason, properties: _ } => {
                self.dismissed(number, *reason);
                Seen::Nothing
            }
            Packet::Connect(_)
            | Packet::Subscribe { .. }
            | Packet::Unsubscribe { .. }
            | Packet::PingReq
            | Packet::Auth { .. } => Seen::Nothing,
        }
    }
}
