//! The simulated client: what a correct but unfriendly MQTT client does, as a pure machine.
//!
//! [`Clients`] holds all clients of a plan. An engine tells it what a client experiences
//! ([`ClientInput`]), carries out what comes back ([`ClientOutput`]), and calls again at
//! [`Clients::next_deadline_ms`]. There is no clock here and no chance but the seed's streams.
//!
//! Clients with the same identifier stand for one program that runs in several places and keeps
//! one store: they share a session. Whoever connects last owns it. A connection that lost its
//! session, to another client or to a newer connection of its own, does nothing any more: it only
//! listens for the DISCONNECT that takes it over, and of all that it reads, only that goes into the
//! history. Otherwise a late packet of an old connection would confuse a session that went on.

mod acks;
mod alias;
mod crowd;
mod link;
mod misbehave;
mod receive;
mod send;
mod session;

use std::collections::VecDeque;

pub use crowd::Clients;
pub use misbehave::Way;
pub(crate) use send::user_name;

use crate::chance::{Stream, Streams};
use crate::history::{ConnectionNumber, What};
use crate::packet::Packet;
use crate::plan::{ClientIndex, ClientSpec, Do, WillSpec};
use link::{Leftover, Link, Opening};
use send::Waiting;
use session::Session;

/// How long a client waits for a connection and its CONNACK, in milliseconds.
pub const CONNECT_PATIENCE_MS: u64 = 10_000;
/// How long a connection without a session waits to be closed by the broker, in milliseconds.
pub const LEFTOVER_PATIENCE_MS: u64 = 5_000;
/// How soon a client connects again after it found that the broker has a session of which it knows
/// nothing, in milliseconds.
pub const AGREE_AFTER_MS: u64 = 100;

/// Each attempt that fails doubles the pause before the next, so often at most.
const RETRY_DOUBLINGS: u32 = 20;
/// How long a connection must have served to count as no failure, in milliseconds.
const RETRY_FORGIVES_MS: u64 = 300;
/// The longest pause that comes of that, in milliseconds.
pub const RETRY_MAXIMUM_MS: u64 = 300_000;

/// What a client experiences.
#[derive(Clone, Copy, Debug)]
pub enum ClientInput<'a> {
    /// A step of the plan that concerns it: one that names it as `client`. Steps of the network are
    /// not its matter.
    Do(&'a Do),
    /// The connection that it asked for is there.
    Opened {
        /// Number of the attempt, from [`ClientOutput::Open`].
        attempt: u64,
        /// The connection's number, never used before in this run.
        connection: ConnectionNumber,
    },
    /// The connection that it asked for was refused.
    Failed {
        /// Number of the attempt, from [`ClientOutput::Open`].
        attempt: u64,
    },
    /// Bytes arrived.
    Bytes {
        /// The connection.
        connection: ConnectionNumber,
        /// The bytes, cut anywhere.
        bytes: &'a [u8],
    },
    /// The connection was ended by the other side or by the network.
    Ended {
        /// The connection.
        connection: ConnectionNumber,
    },
    /// Time has passed.
    Time,
}

/// What a client wants done, in order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ClientOutput {
    /// Make a connection. An earlier attempt of the same client is of no use any more; should it
    /// succeed all the same, the client closes what comes of it and the history knows nothing of it.
    Open {
        /// Number of the attempt.
        attempt: u64,
    },
    /// Send bytes.
    Send {
        /// The connection.
        connection: ConnectionNumber,
        /// Whole packets, unless the client breaks the protocol.
        bytes: Vec<u8>,
    },
    /// End a connection. There is no [`ClientInput::Ended`] for it.
    Close {
        /// The connection.
        connection: ConnectionNumber,
        /// By a reset, which may overtake what was sent, or in order.
        reset: bool,
    },
    /// Add this to the history.
    Event(What),
}

/// One client.
#[derive(Debug)]
pub struct Client {
    index: ClientIndex,
    spec: ClientSpec,
    acks_chance: Stream,
    hostile_chance: Stream,
    refusal_chance: Stream,
    /// What the last step that connected it said.
    will: Option<WillSpec>,
    clean_start: bool,
    /// Whether it comes back when its connection is lost.
    comes_back: bool,
    reconnect_at_ms: Option<u64>,
    /// How often in a row it tried to come in and failed.
    failures: u32,
    attempts: u64,
    opening: Option<Opening>,
    link: Option<Link>,
    leftovers: Vec<Leftover>,
    reading: bool,
    acknowledging: bool,
    pinging: bool,
    /// Steps that came while its connection was being made, to be done behind CONNECT.
    ahead: Vec<Do>,
    /// Publications that were never sent.
    waiting: VecDeque<Waiting>,
    /// How many payloads it has made.
    made: u64,
}

/// What a client works with while it handles one input.
struct Turn<'a> {
    now_ms: u64,
    session: &'a mut Session,
    out: &'a mut Vec<ClientOutput>,
}

impl Turn<'_> {
    fn event(&mut self, what: What) {
        self.out.push(ClientOutput::Event(what));
    }
}

impl Client {
    fn new(index: ClientIndex, spec: ClientSpec, streams: Streams) -> Self {
        Self {
            index,
            spec,
            acks_chance: streams.stream(&format!("client {index} acks")),
            hostile_chance: streams.stream(&format!("client {index} hostile")),
            refusal_chance: streams.stream(&format!("client {index} refusals")),
            will: None,
            clean_start: false,
            comes_back: false,
            reconnect_at_ms: None,
            failures: 0,
            attempts: 0,
            opening: None,
            link: None,
            leftovers: Vec::new(),
            reading: true,
            acknowledging: true,
            pinging: true,
            ahead: Vec::new(),
            waiting: VecDeque::new(),
            made: 0,
        }
    }

    fn handle(&mut self, turn: &mut Turn<'_>, input: ClientInput<'_>) {
        self.fire(turn);
        match input {
            ClientInput::Do(step) => self.act(turn, step),
            ClientInput::Opened { attempt, connection } => self.opened(turn, attempt, connection),
            ClientInput::Failed { attempt } => {
                if self.opening.take_if(|opening| opening.attempt == attempt).is_some() {
                    self.plan_return(turn.now_ms);
                }
            }
            ClientInput::Bytes { connection, bytes } => self.bytes(turn, connection, bytes),
            ClientInput::Ended { connection } => self.ended(turn, connection),
            ClientInput::Time => {}
        }
        // An acknowledgement without a delay is due already.
        self.send_due_acks(turn);
    }

    /// The connection on which it has its session or asks for it.
    #[must_use]
    pub fn connection(&self) -> Option<ConnectionNumber> {
        self.link.as_ref().map(|link| link.connection)
    }

    /// Whether the broker has accepted its CONNECT and the connection has not ended since.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.is_serving)
    }

    /// Whether it takes bytes. While it does not, it keeps what it is given, unread; an engine may
    /// hold back bytes so that the broker feels it.
    #[must_use]
    pub fn is_reading(&self) -> bool {
        self.reading
    }

    /// When to call it again at the latest, in milliseconds since the start.
    #[must_use]
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let opening = self.opening.iter().map(|opening| opening.give_up_at_ms);
        let leftovers = self.leftovers.iter().map(|leftover| leftover.close_at_ms);
        let link = self.link.iter().filter_map(|link| {
            [
                link.give_up_at_ms(self.reading),
                link.ping_at_ms().filter(|_| self.pinging),
                link.acks.due_at_ms().filter(|_| self.acknowledging && link.may_send()),
            ]
            .into_iter()
            .flatten()
            .min()
        });
        self.reconnect_at_ms.into_iter().chain(opening).chain(leftovers).chain(link).min()
    }

    /// Whether nothing is under way: it is not connected and will not be by itself, or it is
    /// and there is nothing to be sent, acknowledged or answered on either side.
    fn is_idle(&self, session: &Session) -> bool {
        let is_still =
            self.opening.is_none() && self.reconnect_at_ms.is_none() && self.leftovers.is_empty();
        let link_is_idle =
            |link: &Link| link.is_idle() && self.waiting.is_empty() && !session.has_exchanges();
        is_still && self.link.as_ref().is_none_or(link_is_idle)
    }

    /// Does what is due.
    fn fire(&mut self, turn: &mut Turn<'_>) {
        let now_ms = turn.now_ms;
        if self.opening.take_if(|opening| opening.give_up_at_ms <= now_ms).is_some() {
            self.plan_return(now_ms);
        }
        while let Some(at) = self.leftovers.iter().position(|one| one.close_at_ms <= now_ms) {
            let connection = self.leftovers.remove(at).connection;
            turn.out.push(ClientOutput::Close { connection, reset: false });
            turn.event(What::Ended { connection, by_client: true });
        }
        let reading = self.reading;
        let is_due = |at_ms: Option<u64>| at_ms.is_some_and(|at_ms| at_ms <= now_ms);
        if self.link.as_ref().is_some_and(|link| is_due(link.give_up_at_ms(reading))) {
            self.lose(turn, Loss::Reset);
        }
        let pinging = self.pinging;
        if self.link.as_ref().is_some_and(|link| pinging && is_due(link.ping_at_ms())) {
            self.send_ping(turn);
        }
        self.send_due_acks(turn);
        if is_due(self.reconnect_at_ms) {
            self.clean_start = false;
            self.open(turn);
        }
    }

    fn opened(&mut self, turn: &mut Turn<'_>, attempt: u64, connection: ConnectionNumber) {
        let Some(opening) = self.opening.take_if(|opening| opening.attempt == attempt) else {
            turn.out.push(ClientOutput::Close { connection, reset: true });
            return;
        };
        turn.event(What::Opened { client: self.index, connection });
        if let Some(way) = opening.way {
            self.link = Some(Link::new(connection, &self.spec, false, opening.give_up_at_ms));
            self.begin_badly(turn, way);
            return;
        }
        // Before level 5, only a clean session goes without an identifier.
        let is_nameless = self.spec.level < 5 && self.spec.client_id.is_empty();
        let clean_start = turn.session.begin_connect(self.clean_start || is_nameless);
        let link = Link::new(connection, &self.spec, clean_start, opening.give_up_at_ms);
        self.link = Some(link);
        let connect = Packet::Connect(self.connect_packet(turn.session, clean_start));
        self.send(turn, connect);
        for step in std::mem::take(&mut self.ahead) {
            self.act(turn, &step);
        }
        self.pipeline_publications(turn);
    }

    fn ended(&mut self, turn: &mut Turn<'_>, connection: ConnectionNumber) {
        if self.connection() == Some(connection) {
            self.lose(turn, Loss::Seen);
        } else if let Some(at) = self.leftover(connection) {
            self.leftovers.remove(at);
            turn.event(What::Ended { connection, by_client: false });
        }
    }

    /// Asks for a connection, and for the session with it. What connection there is loses it.
    fn open(&mut self, turn: &mut Turn<'_>) {
        self.displace(turn);
        turn.session.owner = Some(self.index);
        self.comes_back = true;
        self.ask(turn, None);
    }

    /// Asks for a connection, to misbehave on it in the given way or to connect.
    fn ask(&mut self, turn: &mut Turn<'_>, way: Option<u8>) {
        self.attempts += 1;
        self.ahead.clear();
        let give_up_at_ms = turn.now_ms + CONNECT_PATIENCE_MS;
        self.opening = Some(Opening { attempt: self.attempts, give_up_at_ms, way });
        turn.out.push(ClientOutput::Open { attempt: self.attempts });
    }

    /// It owns the session no longer.
    fn displace(&mut self, turn: &mut Turn<'_>) {
        self.comes_back = false;
        self.reconnect_at_ms = None;
        self.opening = None;
        if let Some(link) = self.link.take() {
            turn.session.link_gone(&link, self.spec.level);
            let close_at_ms = turn.now_ms + LEFTOVER_PATIENCE_MS;
            let Link { connection, decoder, is_serving: was_serving, .. } = link;
            self.leftovers.push(Leftover { connection, decoder, was_serving, close_at_ms });
        }
    }

    /// The connection is over.
    fn lose(&mut self, turn: &mut Turn<'_>, loss: Loss) {
        let Some(link) = self.link.take() else { return };
        let connection = link.connection;
        turn.session.link_gone(&link, self.spec.level);
        if link.served_ms(turn.now_ms) >= RETRY_FORGIVES_MS {
            self.failures = 0;
        }
        match loss {
            Loss::Seen => {}
            Loss::Told => turn.out.push(ClientOutput::Close { connection, reset: false }),
            Loss::Reset => turn.out.push(ClientOutput::Close { connection, reset: true }),
        }
        let by_client = match loss {
            Loss::Seen | Loss::Told => false,
            Loss::Reset => true,
        };
        turn.event(What::Ended { connection, by_client });
        // Without CONNECT, the connection never was the session's.
        if self.spec.forgets && turn.session.owner == Some(self.index) {
            turn.session.forget(self.spec.level);
        }
        self.plan_return(turn.now_ms);
    }

    fn plan_return(&mut self, now_ms: u64) {
        let after_ms = self.spec.reconnect_after_ms.filter(|_| self.comes_back);
        // Without any delay, a broker that refuses would stop the simulated time.
        self.reconnect_at_ms = after_ms.map(|after_ms| {
            let patient_ms = after_ms.max(1) << self.failures.min(RETRY_DOUBLINGS);
            now_ms + patient_ms.min(RETRY_MAXIMUM_MS.max(after_ms))
        });
        self.failures += 1;
    }

    fn leftover(&self, connection: ConnectionNumber) -> Option<usize> {
        self.leftovers.iter().position(|leftover| leftover.connection == connection)
    }
}

/// How a connection was lost.
#[derive(Clone, Copy)]
enum Loss {
    /// The other side or the network ended it.
    Seen,
    /// The broker sent DISCONNECT, or refused.
    Told,
    /// The client gave it up.
    Reset,
}
