//! One state of an explored world, and the steps out of it.

use std::collections::{BTreeSet, VecDeque};
use std::fmt;
use std::sync::Arc;

use signalhouse_core::input::Gone;
use signalhouse_core::message::MessageId;
use signalhouse_core::wire::packet::{ClientPacket, ServerPacket};
use signalhouse_core::wire::types::QoS;
use signalhouse_core::{
    Action, Broker, Config, ConnectionId, Input, Limits, LogPosition, Outbox, Record, Time,
};

use super::client::{Client, Wrong, message_of, text};
use super::deliveries::Deliveries;
use super::digest::{Present, digest};
use super::journal::Journal;
use super::worlds::Setup;

/// How long a subscriber's session outlives its connection, in seconds.
const EXPIRY_S: u32 = 100;
/// Enough for everything: room in buffers is not what is explored.
const ROOM_BYTES: u32 = 1 << 30;
const BUDGET: u32 = 1_000;
/// Connections of a client at a time: one, and one that it has given up.
const CONNECTIONS: u32 = 2;
const NAMES: [&str; 3] = ["p", "s1", "s2"];

/// The broker, its journal, its clients, and what is under way between them.
#[derive(Clone)]
pub(super) struct World {
    config: Config,
    broker: Broker,
    journal: Journal,
    /// The broker that the durable records make, as text.
    durable: Arc<str>,
    now: Time,
    /// The publisher, then the subscribers.
    pub(super) clients: Vec<Client>,
    links: Vec<Option<Link>>,
    /// What the broker sent to each client.
    deliveries: Vec<Deliveries>,
    /// Messages that the broker had before a crash.
    recovered: BTreeSet<MessageId>,
    /// Old connections that the broker has to close by itself.
    abandoned: Vec<ConnectionId>,
    /// Messages not yet published, the next one last.
    unpublished: Vec<QoS>,
    /// For each message sent: the session and whether it was subscribed, for each subscriber.
    pub(super) sent: Vec<Sent>,
    generation: u32,
    cuts: u8,
    takeovers: u8,
    crashes: u8,
    expiries: u8,
    forgets_records: bool,
    /// Whether a fault has happened.
    pub(super) is_troubled: bool,
    pub(super) receivers: Vec<Vec<usize>>,
}

/// What was true when a message was first sent.
#[derive(Clone, Debug)]
pub(super) struct Sent {
    pub(super) qos: QoS,
    /// How often its PUBLISH at QoS 1 reached the broker.
    arrivals: usize,
    /// The session of each subscriber that had its SUBACK.
    pub(super) subscribed: Vec<Option<u32>>,
}

/// A connection as its two ends see it.
#[derive(Clone, Debug)]
struct Link {
    id: ConnectionId,
    to_broker: VecDeque<ClientPacket>,
    to_client: VecDeque<ServerPacket>,
    /// Whether the broker closed it behind what is in `to_client`.
    is_closed: bool,
}

/// One thing that may happen next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// The publisher sends its next message.
    Publish,
    /// The oldest packet from a client reaches the broker.
    Arrives(usize),
    /// The oldest packet from the broker reaches a client, or the end of the connection does.
    Reads(usize),
    /// A client without a connection connects.
    Connects(usize),
    /// A client connects while the broker takes its old connection for alive.
    TakesOver(usize),
    /// A connection is lost with everything under way on it, and both ends know.
    Cut(usize),
    /// One more record is durable.
    Sync,
    /// The process crashes and starts again with so many of the records that were not durable.
    Crash(usize),
    /// So much time passes that the sessions of absent subscribers end.
    Expire,
}

impl Step {
    fn is_fault(&self) -> bool {
        match self {
            Step::Publish | Step::Arrives(_) | Step::Reads(_) | Step::Connects(_) | Step::Sync => {
                false
            }
            Step::TakesOver(_) | Step::Cut(_) | Step::Crash(_) | Step::Expire => true,
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |client: &usize| NAMES.get(*client).copied().unwrap_or("?");
        match self {
            Step::Publish => write!(f, "p sends its next message"),
            Step::Arrives(client) => write!(f, "a packet of {} arrives", name(client)),
            Step::Reads(client) => write!(f, "{} reads", name(client)),
            Step::Connects(client) => write!(f, "{} connects", name(client)),
            Step::TakesOver(client) => write!(f, "{} connects again", name(client)),
            Step::Cut(client) => write!(f, "the connection of {} is lost", name(client)),
            Step::Sync => write!(f, "one more record is durable"),
            Step::Crash(kept) => write!(f, "crash, {kept} unsynced records survive"),
            Step::Expire => write!(f, "sessions of absent subscribers end"),
        }
    }
}

impl World {
    /// The beginning: everybody is connected and subscribed, and all is durable.
    ///
    /// # Panics
    /// If not even that can be reached.
    pub(super) fn new(setup: &Setup) -> Self {
        let config = Config {
            limits: Limits { connections: 100, ..Limits::default() },
            sys_interval_ms: 0,
            ..Config::default()
        };
        let now = Time::from_ms(1_000_000);
        let subscribers = setup.subscribers.iter().zip(&NAMES[1..]);
        let subscribers = subscribers.map(|(subscriber, name)| {
            Client::subscriber(name, EXPIRY_S, setup.receive_maxima, *subscriber)
        });
        let clients: Vec<Client> = [Client::publisher()].into_iter().chain(subscribers).collect();
        let mut world = World {
            broker: Journal::empty_broker(&config, now),
            config,
            journal: Journal::default(),
            durable: Arc::from(""),
            now,
            links: vec![None; clients.len()],
            deliveries: vec![Deliveries::new(setup.is_shared()); clients.len()],
            recovered: BTreeSet::new(),
            clients,
            abandoned: Vec::new(),
            unpublished: setup.messages.iter().rev().copied().collect(),
            sent: Vec::new(),
            generation: 0,
            cuts: 0,
            takeovers: 0,
            crashes: 0,
            expiries: 0,
            forgets_records: setup.forgets_records,
            is_troubled: false,
            receivers: setup.receivers(),
        };
        let settled = world.settle(false);
        assert!(settled.is_ok(), "the world does not begin: {settled:?}");
        world.cuts = setup.cuts;
        world.takeovers = setup.takeovers;
        world.crashes = setup.crashes;
        world.expiries = setup.expiries;
        world
    }

    /// Everything that may happen next.
    pub(super) fn steps(&self) -> Vec<Step> {
        let mut steps = Vec::new();
        let clients = 0..self.clients.len();
        if self.crashes > 0 {
            steps.extend((0..=self.journal.pending()).map(Step::Crash));
        }
        let absent = |client: usize| self.links.get(client).is_some_and(Option::is_none);
        if self.expiries > 0 && clients.clone().skip(1).any(absent) {
            steps.push(Step::Expire);
        }
        for client in clients {
            let Some(Some(link)) = self.links.get(client) else {
                steps.push(Step::Connects(client));
                continue;
            };
            if self.cuts > 0 {
                steps.push(Step::Cut(client));
            }
            // A connection that never said CONNECT is closed by its timeout alone.
            let has_connected = !link.to_broker.iter().any(is_connect);
            if self.takeovers > 0 && has_connected {
                steps.push(Step::TakesOver(client));
            }
            if !link.to_broker.is_empty() && !link.is_closed {
                steps.push(Step::Arrives(client));
            }
            if !link.to_client.is_empty() || link.is_closed {
                steps.push(Step::Reads(client));
            }
        }
        if self.journal.pending() > 0 {
            steps.push(Step::Sync);
        }
        if !self.unpublished.is_empty() && self.is_accepted(0) {
            steps.push(Step::Publish);
        }
        steps
    }

    /// Lets one thing happen, and checks what can be checked at once.
    pub(super) fn take(&mut self, step: &Step) -> Result<(), Wrong> {
        self.is_troubled |= step.is_fault();
        match *step {
            Step::Publish => self.publish(),
            Step::Arrives(client) => self.arrives(client)?,
            Step::Reads(client) => self.reads(client)?,
            Step::Connects(client) => self.connects(client)?,
            Step::TakesOver(client) => {
                self.takeovers -= 1;
                let old = self.links.get_mut(client).and_then(Option::take);
                self.abandoned.extend(old.filter(|link| !link.is_closed).map(|link| link.id));
                self.connects(client)?;
            }
            Step::Cut(client) => {
                self.cuts -= 1;
                let link = self.links.get_mut(client).and_then(Option::take);
                if let Some(link) = link.filter(|link| !link.is_closed) {
                    self.tell(Input::Closed { connection: link.id, cause: Gone::Failed })?;
                    self.left(client);
                }
            }
            Step::Sync => {
                let through = self.journal.sync_one();
                self.tell(Input::Durable { through })?;
                self.look_at_journal()?;
            }
            Step::Crash(kept) => self.crash(kept)?,
            Step::Expire => {
                self.expiries -= 1;
                self.now = self.now.plus_seconds(EXPIRY_S + 1);
                for (number, link) in self.links.iter().enumerate() {
                    // The broker may take a connection for alive that the client has given up.
                    let is_absent = link.is_none()
                        && !self.abandoned.iter().any(|old| client_of(*old) == number);
                    if let Some(client) = self.clients.get_mut(number).filter(|_| is_absent)
                        && client.outlive_session()
                        && let Some(deliveries) = self.deliveries.get_mut(number)
                    {
                        deliveries.session_ended();
                    }
                }
                self.tell(Input::Deadline)?;
            }
        }
        self.right_so_far()
    }

    /// Lets everything happen that is no fault, in a fixed order, until nothing is left to happen.
    /// With `publishes`, the messages not yet sent go out too.
    pub(super) fn settle(&mut self, publishes: bool) -> Result<(), Wrong> {
        const ROUNDS: usize = 200;
        for _ in 0..ROUNDS {
            let mut moved = false;
            if self.journal.pending() > 0 {
                let through = self.journal.sync_all();
                self.tell(Input::Durable { through })?;
                moved = true;
            }
            for client in 0..self.clients.len() {
                if self.links.get(client).is_some_and(Option::is_none) {
                    self.connects(client)?;
                    moved = true;
                }
                while self.has_arriving(client) {
                    self.arrives(client)?;
                    moved = true;
                }
                while self.has_reading(client) {
                    self.reads(client)?;
                    moved = true;
                }
            }
            if !moved && publishes && !self.unpublished.is_empty() {
                self.publish();
                moved = true;
            }
            if !moved {
                self.look_at_journal()?;
                return self.right_so_far();
            }
        }
        Err(format!("LV the world does not come to rest in {ROUNDS} rounds"))
    }

    /// Old connections that the broker should have closed.
    pub(super) fn abandoned(&self) -> &[ConnectionId] {
        &self.abandoned
    }

    /// The broker's durable state, as text.
    pub(super) fn broker(&self) -> &Broker {
        &self.broker
    }

    pub(super) fn digest(&self) -> u64 {
        let unsynced = self.journal.unsynced();
        let faults = (self.cuts, self.takeovers, self.crashes, self.expiries);
        let text = format!(
            "{:?} {:?} {:?} {:?} {:?} {:?} {:?} {:?} {unsynced:?} {faults:?} {}",
            self.broker,
            self.clients,
            self.links,
            self.deliveries,
            self.recovered,
            self.abandoned,
            self.unpublished,
            self.sent,
            self.durable
        );
        digest(&text, self.present())
    }

    fn present(&self) -> Present {
        let pending = self.journal.pending() as u64;
        Present { now_ms: self.now.as_ms(), durable: self.journal.appended() - pending }
    }

    /// The client's connection is over for the broker.
    fn left(&mut self, client: usize) {
        let recorded = LogPosition(self.journal.appended());
        if let Some(client) = self.clients.get_mut(client) {
            client.left(recorded);
        }
    }

    fn is_accepted(&self, client: usize) -> bool {
        let is_linked = self.links.get(client).is_some_and(Option::is_some);
        is_linked && self.clients.get(client).is_some_and(|client| client.is_accepted)
    }

    fn has_arriving(&self, client: usize) -> bool {
        let link = self.links.get(client).and_then(Option::as_ref);
        link.is_some_and(|link| !link.to_broker.is_empty() && !link.is_closed)
    }

    fn has_reading(&self, client: usize) -> bool {
        let link = self.links.get(client).and_then(Option::as_ref);
        link.is_some_and(|link| !link.to_client.is_empty() || link.is_closed)
    }

    fn publish(&mut self) {
        let Some(qos) = self.unpublished.pop() else { return };
        let number = self.sent.len();
        let subscribed = self.clients.iter().skip(1);
        let subscribed = subscribed
            .map(|client| client.is_subscribed.then_some(client.session_number))
            .collect();
        self.sent.push(Sent { qos, arrivals: 0, subscribed });
        if let [publisher, ..] = self.clients.as_mut_slice() {
            let packet = publisher.publish(number, qos);
            self.send(0, packet);
        }
    }

    fn connects(&mut self, client: usize) -> Result<(), Wrong> {
        self.generation += 1;
        // The broker forgets a connection before its slot is used again.
        let index = u32::try_from(client).unwrap_or_default() * CONNECTIONS;
        let is_busy = self.abandoned.iter().any(|old| old.index == index);
        let index = index + u32::from(is_busy);
        let id = ConnectionId { index, generation: self.generation };
        let link =
            Link { id, to_broker: VecDeque::new(), to_client: VecDeque::new(), is_closed: false };
        if let Some(place) = self.links.get_mut(client) {
            *place = Some(link);
        }
        self.tell(Input::Opened { connection: id, peer: text("here"), room_bytes: ROOM_BYTES })?;
        if let Some(known) = self.clients.get_mut(client) {
            let connect = known.connect();
            self.send(client, connect);
        }
        Ok(())
    }

    fn send(&mut self, client: usize, packet: ClientPacket) {
        if let Some(Some(link)) = self.links.get_mut(client) {
            link.to_broker.push_back(packet);
        }
    }

    fn arrives(&mut self, client: usize) -> Result<(), Wrong> {
        let Some(Some(link)) = self.links.get_mut(client) else { return Ok(()) };
        let connection = link.id;
        let Some(packet) = link.to_broker.pop_front() else { return Ok(()) };
        if let ClientPacket::Publish(publish) = &packet
            && publish.delivery.qos() == QoS::AtLeastOnce
            && let Some(sent) = self.sent.get_mut(message_of(&publish.payload))
        {
            sent.arrivals += 1;
        }
        let deliveries = self.deliveries.get_mut(client);
        let moved_on = deliveries.and_then(|deliveries| deliveries.hears(&packet));
        self.tell(Input::Packet { connection, packet })?;
        if let (Some(copy), Some(deliveries)) = (moved_on, self.deliveries.get_mut(client)) {
            deliveries.recorded(copy, LogPosition(self.journal.appended()));
        }
        Ok(())
    }

    fn reads(&mut self, number: usize) -> Result<(), Wrong> {
        let Some(place) = self.links.get_mut(number) else { return Ok(()) };
        let Some(link) = place else { return Ok(()) };
        let Some(packet) = link.to_client.pop_front() else {
            *place = None;
            return Ok(());
        };
        let Some(client) = self.clients.get_mut(number) else { return Ok(()) };
        // [MQTT-3.2.0-1] [MQTT-3.2.0-2]
        if client.is_accepted == matches!(packet, ServerPacket::ConnAck(_)) {
            return Err(format!("PR {packet:?} at the wrong time"));
        }
        let answer = match packet {
            ServerPacket::ConnAck(connack) => {
                for packet in client.connack(&connack)? {
                    self.send(number, packet);
                }
                return Ok(());
            }
            ServerPacket::Publish(publish) => {
                let message = message_of(&publish.message.payload);
                let sent_at = self.sent.get(message).map(|sent| sent.qos);
                let expected = sent_at.map(|qos| qos.min(client.maximum_qos()));
                let came = publish.delivery.qos();
                if expected != Some(came) {
                    return Err(format!("CI message {message} came at {came:?}"));
                }
                client.delivered(&publish)?
            }
            ServerPacket::PubAck(ack) => client.puback(ack.packet_id).map(|()| None)?,
            ServerPacket::PubRec(ack) => Some(client.pubrec(ack.packet_id)?),
            ServerPacket::PubRel(ack) => Some(client.released(ack.packet_id)),
            ServerPacket::PubComp(ack) => client.pubcomp(ack.packet_id).map(|()| None)?,
            ServerPacket::SubAck(suback) => client.suback(&suback.reasons).map(|()| None)?,
            ServerPacket::Disconnect(disconnect) => {
                return Err(format!("PR s{number} was told to go: {:?}", disconnect.reason));
            }
            ServerPacket::UnsubAck(_) | ServerPacket::PingResp | ServerPacket::Auth(_) => {
                return Err(format!("PR {packet:?} was never asked for"));
            }
        };
        if let Some(packet) = answer {
            self.send(number, packet);
        }
        Ok(())
    }

    fn crash(&mut self, kept: usize) -> Result<(), Wrong> {
        self.crashes -= 1;
        self.journal.crash(kept);
        let survived = LogPosition(self.journal.appended());
        if self.forgets_records {
            self.journal.forget_one();
        }
        self.links.iter_mut().for_each(|link| *link = None);
        self.abandoned.clear();
        self.broker = self.recovered()?;
        self.recovered = messages(&self.broker);
        for deliveries in &mut self.deliveries {
            deliveries.crash(survived, &self.recovered);
        }
        self.resume()?;
        let recorded = LogPosition(self.journal.appended());
        for client in &mut self.clients {
            client.crashed(survived, recorded);
        }
        self.look_at_journal()
    }

    fn recovered(&self) -> Result<Broker, Wrong> {
        let recovered = self.journal.recover(&self.config, self.now);
        recovered.map_err(|error| format!("RC the journal cannot be read: {error}"))
    }

    /// What the durable records make, which decides what a crash leads to.
    fn look_at_journal(&mut self) -> Result<(), Wrong> {
        self.durable = format!("{:?}", self.recovered()?).into();
        Ok(())
    }

    fn tell(&mut self, input: Input) -> Result<(), Wrong> {
        let mut out = Outbox::new();
        self.broker.handle(self.now, input, &mut out);
        self.carry_out(&mut out)?;
        self.resume()
    }

    fn resume(&mut self) -> Result<(), Wrong> {
        let mut out = Outbox::new();
        while self.broker.has_more_work() {
            self.broker.resume(self.now, BUDGET, &mut out);
            self.carry_out(&mut out)?;
        }
        Ok(())
    }

    fn carry_out(&mut self, out: &mut Outbox) -> Result<(), Wrong> {
        let mut closed = Vec::new();
        for action in out.drain() {
            match action {
                Action::Send { connection, packet } => {
                    self.look_at_sent(connection, &packet)?;
                    let links = self.links.iter_mut().flatten();
                    if let Some(link) = links.into_iter().find(|link| link.id == connection) {
                        link.to_client.push_back(packet);
                    } else if !self.abandoned.contains(&connection) {
                        return Err(format!("SO {packet:?} goes to a connection long gone"));
                    }
                }
                Action::Close { connection } => {
                    if let Some(deliveries) = self.deliveries.get_mut(client_of(connection)) {
                        deliveries.closed(connection);
                    }
                    self.abandoned.retain(|old| *old != connection);
                    for link in self.links.iter_mut().flatten() {
                        link.is_closed |= link.id == connection;
                    }
                    closed.push(client_of(connection));
                }
                Action::Persist { at, record } => self.journal.append(at, record),
                Action::Ask { .. } => return Err("PR nobody should be asked for".to_owned()),
                Action::Fetch { .. } => return Err("PR nothing should be read back".to_owned()),
                Action::Answer(_) => return Err("PR nobody asked for an answer".to_owned()),
                Action::Notice(_) => {}
            }
        }
        closed.into_iter().for_each(|client| self.left(client));
        Ok(())
    }

    /// Judges what leaves the broker, on a connection that is lost as well.
    fn look_at_sent(
        &mut self,
        connection: ConnectionId,
        packet: &ServerPacket,
    ) -> Result<(), Wrong> {
        let client = client_of(connection);
        let Some(deliveries) = self.deliveries.get_mut(client) else { return Ok(()) };
        match packet {
            ServerPacket::ConnAck(connack) => {
                let maximum = self.clients.get(client).map(|client| client.receive_maximum);
                let maximum = maximum.unwrap_or_default();
                deliveries.connack(connection, connack.session_present, maximum);
                Ok(())
            }
            ServerPacket::Publish(publish) => {
                let is_recovered = self.recovered.contains(&publish.message.id);
                let recorded = LogPosition(self.journal.appended());
                deliveries.publish(connection, publish, is_recovered, recorded)
            }
            ServerPacket::PubRel(ack) => deliveries.release(connection, ack.packet_id),
            ServerPacket::PubAck(_)
            | ServerPacket::PubRec(_)
            | ServerPacket::PubComp(_)
            | ServerPacket::SubAck(_)
            | ServerPacket::UnsubAck(_)
            | ServerPacket::PingResp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => Ok(()),
        }
    }

    /// What must hold in every state.
    fn right_so_far(&self) -> Result<(), Wrong> {
        for receivers in &self.receivers {
            for (number, sent) in self.sent.iter().enumerate() {
                let taken: u32 = receivers.iter().map(|one| self.taken(*one, number)).sum();
                let once = match sent.qos {
                    QoS::AtMostOnce => true,
                    // Nothing is repeated where nothing goes wrong.
                    QoS::AtLeastOnce => !self.is_troubled,
                    QoS::ExactlyOnce => !self.is_troubled || self.takes_once(receivers),
                };
                let guarantee = match sent.qos {
                    QoS::AtMostOnce => "Q0",
                    QoS::AtLeastOnce => "Q1",
                    QoS::ExactlyOnce => "Q2",
                };
                if once && taken > 1 {
                    return Err(format!("{guarantee} message {number} came {taken} times"));
                }
                // Each PUBLISH at QoS 1 is one message, however often it is repeated to whom it goes.
                let arrivals = if sent.qos == QoS::ExactlyOnce { 1 } else { sent.arrivals };
                let copies: BTreeSet<MessageId> =
                    receivers.iter().flat_map(|one| self.copies(*one, number)).collect();
                if copies.len() > arrivals {
                    let copies = copies.len();
                    return Err(format!("{guarantee} message {number} became {copies} messages"));
                }
            }
        }
        for client in self.clients.iter().skip(1) {
            let same_qos = |one: usize, other: usize| {
                self.sent.get(one).map(|sent| sent.qos) == self.sent.get(other).map(|sent| sent.qos)
            };
            let mut pairs = client.order.windows(2);
            if pairs
                .any(|pair| matches!(pair, [one, other] if one > other && same_qos(*one, *other)))
            {
                return Err(format!("OR messages came in the order {:?}", client.order));
            }
        }
        Ok(())
    }

    /// Whether what these subscribers asked for is delivered at QoS 2.
    pub(super) fn takes_once(&self, receivers: &[usize]) -> bool {
        receivers.iter().all(|one| {
            self.clients.get(one + 1).is_some_and(|client| client.maximum_qos() == QoS::ExactlyOnce)
        })
    }

    /// The different messages of this number that a subscriber was sent in its present session.
    fn copies(&self, subscriber: usize, message: usize) -> impl Iterator<Item = MessageId> {
        let deliveries = self.deliveries.get(subscriber + 1).into_iter();
        deliveries.flat_map(move |deliveries| deliveries.copies(message))
    }

    /// How often a subscriber took a message in its present session.
    pub(super) fn taken(&self, subscriber: usize, message: usize) -> u32 {
        let client = self.clients.get(subscriber + 1);
        client.and_then(|client| client.taken.get(&message)).copied().unwrap_or(0)
    }
}

/// The client at the other end: each has two connections at most, the old one and the new one.
fn client_of(connection: ConnectionId) -> usize {
    connection.index as usize / CONNECTIONS as usize
}

/// The messages that a broker keeps.
fn messages(broker: &Broker) -> BTreeSet<MessageId> {
    let id_of = |record| {
        if let Record::Published { message, .. } = record { Some(message.id) } else { None }
    };
    broker.snapshot().into_iter().filter_map(id_of).collect()
}

fn is_connect(packet: &ClientPacket) -> bool {
    matches!(packet, ClientPacket::Connect(_))
}
