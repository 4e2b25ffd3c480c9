//! The broker and its one dispatch table. What an input does stands in the files of `broker/`.

use alloc::boxed::Box;
use alloc::collections::VecDeque;
use alloc::sync::Arc;

use bytes::BytesMut;

use crate::gate::{Gate, Item};
use crate::hash::KeyedState;
use crate::input::{ConnectionId, Gone, Input, JournalRoom};
use crate::limits::Config;
use crate::link::{Link, Links, Phase};
use crate::message::MessageId;
use crate::notice::{Cause, Notice};
use crate::once::Once;
use crate::outbox::{Action, Outbox};
use crate::permission::Permissions;
use crate::quota::{Quotas, Usage};
use crate::record::{GroupId, LogPosition, QueueSeq, SessionId};
use crate::rng::{Rng, Seed};
use crate::routing::retained::RetainedStore;
use crate::routing::shared::Groups;
use crate::routing::tree::SubscriptionTree;
use crate::session::{Session, SessionKey, Sessions};
use crate::stored::Accounts;
use crate::time::Time;
use crate::timers::{Timer, Timers};
use crate::wire::packet::{ClientPacket, ServerPacket};
use crate::wire::reason::ReasonCode;

mod acks;
mod auth;
mod command;
mod connect;
mod counters;
mod crowd;
mod deadlines;
mod deliver;
mod fetch;
mod inspect;
mod leave;
mod matches;
mod misdeeds;
mod publish;
mod quotas;
mod recover;
mod replay;
mod request;
mod route;
mod share;
mod snapshot;
mod spare;
mod stored;
mod subscribe;
mod subscriptions;
mod sys;
mod will;
mod wires;

pub use counters::Counters;
pub use deadlines::{Deadline, DeadlineReason};
pub use inspect::{Census, DeliveryView, SessionView, ShareView, SubscriptionView};
pub use recover::{DoubtfulSession, Doubts, RecoverError, Recovery, Totals};

/// An MQTT broker without a network, a disk or a clock. See the crate documentation.
#[derive(Clone, Debug)]
pub struct Broker {
    config: Config,
    permissions: Arc<Permissions>,
    /// Rises with every change of what somebody may do.
    permission_changes: u64,
    rng: Rng,
    now: Time,
    links: Links,
    sessions: Sessions,
    groups: Groups,
    subscriptions: SubscriptionTree<route::Subscriber>,
    shares: SubscriptionTree<()>,
    retained: RetainedStore,
    gate: Gate,
    fetches: fetch::Fetches,
    /// How much the disk can still take.
    journal_room: JournalRoom,
    /// Timers of connections, and those that do not touch durable state.
    timers: Timers,
    /// Timers at whose end durable state changes: held back after a jump of time.
    durable_timers: Timers,
    /// Set after a jump of time: the moment before it, at which durable state stands still.
    held_at: Option<Time>,
    /// Where it jumped to, if it did.
    jumped_to: Time,
    /// Whether that was while the broker was down, and is still to be said.
    jump_is_untold: bool,
    counters: Counters,
    /// Sessions with long jobs to continue.
    work: VecDeque<SessionKey>,
    /// Sessions that had a connection before recovery and whose end is not recorded yet.
    unrecorded_ends: VecDeque<SessionKey>,
    unrecorded_shares: VecDeque<share::UnrecordedShare>,
    next_session: u64,
    next_group: u64,
    next_message: u64,
    next_seq: u64,
    /// What was queued before recovery, and may have been sent, has a lower number.
    recovered_seq: QueueSeq,
    sys: sys::Sys,
    scratch: Option<Box<route::Scratch>>,
    crowd: crowd::Crowd,
    /// A place to pack messages in.
    packing: BytesMut,
    spares: spare::Spares,
    /// Requests that must not be carried out twice.
    once: Once,
    quotas: Arc<Quotas>,
    usage: Usage,
    accounts: Accounts,
}

impl Broker {
    /// An empty broker at the moment `now`.
    #[must_use]
    pub fn new(config: Config, seed: Seed, now: Time) -> Self {
        let mut broker = Self::empty(config, seed);
        broker.start_at(now, LogPosition::START);
        broker
    }

    /// A broker whose time has not begun.
    fn empty(config: Config, seed: Seed) -> Self {
        let state = KeyedState::new(seed);
        let now = Time::ZERO;
        Broker {
            permissions: Arc::clone(&config.permissions),
            permission_changes: 0,
            rng: Rng::new(seed),
            now,
            links: Links::default(),
            sessions: Sessions::new(state.clone()),
            groups: Groups::new(state.clone()),
            subscriptions: SubscriptionTree::new(state.clone()),
            shares: SubscriptionTree::new(state),
            retained: RetainedStore::new(),
            gate: Gate::default(),
            fetches: fetch::Fetches::default(),
            journal_room: JournalRoom::default(),
            timers: Timers::default(),
            durable_timers: Timers::default(),
            held_at: None,
            jumped_to: Time::ZERO,
            jump_is_untold: false,
            counters: Counters::default(),
            work: VecDeque::new(),
            unrecorded_ends: VecDeque::new(),
            unrecorded_shares: VecDeque::new(),
            next_session: 1,
            next_group: 1,
            next_message: 1,
            next_seq: 1,
            recovered_seq: QueueSeq(0),
            sys: sys::Sys::new(now),
            scratch: None,
            crowd: crowd::Crowd::default(),
            packing: BytesMut::new(),
            spares: spare::Spares::default(),
            once: Once::default(),
            quotas: Arc::new(Quotas::default()),
            usage: Usage::default(),
            accounts: Accounts::default(),
            config,
        }
    }

    /// Begins at `now`; the next record follows `through`.
    fn start_at(&mut self, now: Time, through: LogPosition) {
        self.now = now;
        self.sys = sys::Sys::new(now);
        self.gate = Gate::starting_after(through, self.config.keeps_records);
        self.start_timers();
    }

    /// Takes one input at the moment `now` and appends its consequences to `out`.
    ///
    /// # Panics
    /// If the driver breaks the contract: time goes back, a connection is opened in a slot in use,
    /// or records are reported durable that do not exist.
    pub fn handle(&mut self, now: Time, input: Input, out: &mut Outbox) {
        if !Broker::leaves_crowd(&input) {
            self.end_crowd();
        }
        self.advance_time(now, out);
        match input {
            Input::Opened { connection, peer, room_bytes } => {
                self.opened(connection, peer, room_bytes, out);
            }
            Input::Packet { connection, packet } => self.packet(connection, packet, out),
            Input::Malformed { connection, error, version } => {
                if canary!(MalformedPassedOver) {
                    return;
                }
                let cause = Cause::Malformed { reason: error.reason(), detail: error };
                if canary!(BystanderAccused)
                    && let Some(other) =
                        self.links.ids().into_iter().find(|other| *other != connection)
                {
                    self.close(other, cause.clone(), out);
                }
                self.close_answering(connection, version, cause, out);
            }
            Input::Writable { connection, room_bytes } => {
                if let Some(link) = self.links.get_mut(connection) {
                    link.room_bytes = i64::from(room_bytes);
                    if let Some(session) = link.session() {
                        self.pump(session, out);
                    }
                }
            }
            Input::Closed { connection, cause } => {
                let cause = match cause {
                    Gone::PeerClosed => Cause::PeerClosed,
                    Gone::Failed => Cause::NetworkFailed,
                };
                self.end_connection(connection, &cause, out);
            }
            Input::Authenticated { connection, outcome } => {
                self.authenticated(connection, outcome, out);
            }
            Input::Durable { through } => {
                self.gate.advance(through);
                self.sessions.forget_ends(|at| self.gate.is_durable(at));
                self.open_gate(out);
            }
            Input::Fetched { message } => self.fetched(&message, out),
            Input::JournalSpace { room } => self.journal_space(room, out),
            Input::Command(command) => self.command(command, out),
            Input::Deadline => self.spares.tidy(),
        }
    }

    /// Continues long jobs for about `budget` messages. Call it while [`Broker::has_more_work`].
    ///
    /// # Panics
    /// If time goes back.
    pub fn resume(&mut self, now: Time, budget: u32, out: &mut Outbox) {
        self.end_crowd();
        self.advance_time(now, out);
        let mut budget = budget;
        self.record_ends(&mut budget, out);
        self.record_shares(&mut budget, out);
        while budget > 0 {
            let Some(key) = self.work.pop_front() else { break };
            self.continue_work(key, &mut budget, out);
        }
    }

    /// Whether [`Broker::resume`] has something to do.
    #[must_use]
    pub fn has_more_work(&self) -> bool {
        !self.work.is_empty()
            || !self.unrecorded_ends.is_empty()
            || self.has_unrecorded_shares()
            || self.due_durable().is_some()
    }

    /// Counts of what happened.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }

    /// The configuration in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    fn journal_space(&mut self, room: JournalRoom, out: &mut Outbox) {
        let before = core::mem::replace(&mut self.journal_room, room);
        if before.is_short() != room.is_short() {
            out.notice(Notice::JournalSpace { is_short: room.is_short() });
        }
        if room == JournalRoom::UsedUp {
            self.refuse_who_waits(out);
        }
    }

    fn opened(
        &mut self,
        connection: ConnectionId,
        peer: crate::wire::types::Text,
        room_bytes: u32,
        out: &mut Outbox,
    ) {
        self.counters.connections_opened += 1;
        let full = self.links.len() >= self.config.limits.connections as usize;
        self.links.insert(Link::new(connection, peer, room_bytes, self.now));
        if full {
            let cause = Cause::Limit {
                reason: ReasonCode::ServerBusy,
                detail: "the limit of connections is reached",
            };
            self.close(connection, cause, out);
            return;
        }
        let at = self.now.plus_ms(self.config.limits.connect_timeout_ms);
        self.set_connection_timer(connection, at);
    }

    fn packet(&mut self, connection: ConnectionId, packet: ClientPacket, out: &mut Outbox) {
        let Some(link) = self.links.get_mut(connection).filter(|link| !link.is_closing) else {
            return;
        };
        link.heard_at = self.now;
        self.counters.packets_received += 1;
        match &link.phase {
            Phase::Live(session) => {
                let session = *session;
                self.dispatch(connection, session, packet, out);
            }
            Phase::AwaitingConnect => self.first_packet(connection, packet, out),
            Phase::Authenticating(_) => self.early_packet(connection, packet, out),
            Phase::Accepting(session) => {
                let session = *session;
                self.packet_ahead(connection, session, packet, out);
            }
        }
    }

    /// What comes before CONNACK has left.
    #[cold]
    fn packet_ahead(
        &mut self,
        connection: ConnectionId,
        session: SessionKey,
        packet: ClientPacket,
        out: &mut Outbox,
    ) {
        let Some(link) = self.links.get(connection) else { return };
        // What it was let in by has ended, which it is told after CONNACK; it may still go, and without its will.
        let has_ended = link.ends_at <= self.now;
        if has_ended && !matches!(packet, ClientPacket::Disconnect(_)) {
            return;
        }
        if link.method.is_some()
            && !matches!(packet, ClientPacket::Auth(_) | ClientPacket::Disconnect(_))
        {
            // [MQTT-3.1.2-30]
            let detail = "a packet other than AUTH before CONNACK";
            return self.protocol_error(connection, detail, out);
        }
        let is_served = !matches!(packet, ClientPacket::PingReq);
        self.dispatch(connection, session, packet, out);
        if is_served && let Some(link) = self.links.get_mut(connection) {
            link.served_ahead = true;
        }
    }

    /// The dispatch table: what a client may send, and who deals with it.
    #[inline]
    fn dispatch(
        &mut self,
        connection: ConnectionId,
        session: SessionKey,
        packet: ClientPacket,
        out: &mut Outbox,
    ) {
        match packet {
            ClientPacket::Connect(_) => {
                // [MQTT-3.1.0-2]
                self.protocol_error(connection, "a second CONNECT on one connection", out);
            }
            ClientPacket::Publish(publish) => self.publish(connection, session, publish, out),
            ClientPacket::PubAck(ack) => self.puback(connection, session, &ack, out),
            ClientPacket::PubRec(ack) => self.pubrec(connection, session, &ack, out),
            ClientPacket::PubRel(ack) => self.pubrel(connection, session, &ack, out),
            ClientPacket::PubComp(ack) => self.pubcomp(connection, session, &ack, out),
            ClientPacket::Subscribe(subscribe) => {
                self.subscribe(connection, session, *subscribe, out);
            }
            ClientPacket::Unsubscribe(unsubscribe) => {
                self.unsubscribe(connection, session, *unsubscribe, out);
            }
            // [MQTT-3.12.4-1]
            ClientPacket::PingReq => self.ping(connection, out),
            ClientPacket::Disconnect(disconnect) => {
                self.client_disconnect(connection, session, *disconnect, out);
            }
            ClientPacket::Auth(auth) => self.auth(connection, *auth, out),
        }
    }

    fn ping(&mut self, connection: ConnectionId, out: &mut Outbox) {
        let Some(link) = self.links.get(connection) else { return };
        if canary!(PingUnanswered) && link.in_window > 0 {
            return;
        }
        if link.is_live() {
            self.send(connection, ServerPacket::PingResp, out);
        } else {
            // Only CONNACK and AUTH may go before CONNACK [MQTT-3.2.0-1].
            self.send_after(LogPosition::START, connection, ServerPacket::PingResp, false, out);
        }
    }

    /// Lets everything out of the gate whose records are durable.
    fn open_gate(&mut self, out: &mut Outbox) {
        while let Some(item) = self.gate.release() {
            match item {
                Item::Packet { connection, packet, returns_quota } => {
                    let Some(link) = self.links.get_mut(connection) else { continue };
                    link.gated -= 1;
                    self.send_now(connection, packet, returns_quota, out);
                }
                Item::Close { connection, cause } => self.close(connection, cause, out),
                Item::Answer(answer) => out.push(Action::Answer(answer)),
                Item::Wake { session, id } => {
                    if self.sessions.get(session).is_some_and(|session| session.id == id) {
                        self.pump(session, out);
                    }
                }
            }
        }
    }

    /// Sends `packet` once the records up to `after` are durable, and not before what the
    /// connection already has in the gate.
    fn send_after(
        &mut self,
        after: LogPosition,
        connection: ConnectionId,
        packet: ServerPacket,
        returns_quota: bool,
        out: &mut Outbox,
    ) {
        let Some(link) = self.links.get_mut(connection) else { return };
        if link.gated == 0 && self.gate.is_durable(after) {
            self.send_now(connection, packet, returns_quota, out);
        } else {
            link.gated += 1;
            self.gate.hold(after, Item::Packet { connection, packet, returns_quota });
        }
    }

    fn send_now(
        &mut self,
        connection: ConnectionId,
        packet: ServerPacket,
        returns_quota: bool,
        out: &mut Outbox,
    ) {
        if let Some(link) = self.links.get_mut(connection)
            && returns_quota
        {
            link.inbound_unacked -= 1;
        }
        match packet {
            ServerPacket::ConnAck(connack) => self.connack_released(connection, connack, out),
            ServerPacket::Publish(_)
            | ServerPacket::PubAck(_)
            | ServerPacket::PubRec(_)
            | ServerPacket::PubRel(_)
            | ServerPacket::PubComp(_)
            | ServerPacket::SubAck(_)
            | ServerPacket::UnsubAck(_)
            | ServerPacket::PingResp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => self.send(connection, packet, out),
        }
    }

    fn send(&mut self, connection: ConnectionId, packet: ServerPacket, out: &mut Outbox) {
        self.counters.packets_sent += 1;
        out.push(Action::Send { connection, packet });
    }

    fn protocol_error(&mut self, connection: ConnectionId, detail: &'static str, out: &mut Outbox) {
        let cause = Cause::Protocol { reason: ReasonCode::ProtocolError, detail };
        self.close(connection, cause, out);
    }

    /// Puts a session on the list of those with long jobs.
    fn add_work(&mut self, key: SessionKey) {
        if let Some(session) = self.sessions.get_mut(key)
            && !session.has_work
        {
            session.has_work = true;
            self.work.push_back(key);
        }
    }

    fn continue_work(&mut self, key: SessionKey, budget: &mut u32, out: &mut Outbox) {
        let Some(session) = self.sessions.get_mut(key) else { return };
        session.has_work = false;
        if session.ended {
            self.take_apart(key, budget, out);
        } else if session.connection.is_none() {
            self.drop_qos0(key, out);
        } else if !session.queue.is_empty() || !session.groups.is_empty() {
            // What waits at its groups may be its to take.
            *budget = budget.saturating_sub(1);
            self.pump(key, out);
            self.continue_replay(key, budget, out);
        } else {
            self.continue_replay(key, budget, out);
        }
    }

    fn fresh_session_id(&mut self) -> SessionId {
        self.next_session += 1;
        SessionId(self.next_session - 1)
    }

    fn fresh_group_id(&mut self) -> GroupId {
        self.next_group += 1;
        GroupId(self.next_group - 1)
    }

    fn fresh_message_id(&mut self) -> MessageId {
        self.next_message += 1;
        MessageId(self.next_message - 1)
    }

    fn fresh_seq(&mut self) -> QueueSeq {
        self.next_seq += 1;
        QueueSeq(self.next_seq - 1)
    }

    /// The moment that counts for the expiry of durable state.
    fn durable_now(&self) -> Time {
        self.held_at.unwrap_or(self.now)
    }

    fn live_session(&self, key: SessionKey) -> Option<&Session> {
        self.sessions.get(key).filter(|session| !session.ended)
    }

    fn set_connection_timer(&mut self, connection: ConnectionId, at: Time) {
        if let Some(link) = self.links.get_mut(connection) {
            let timer = Timer::Connection(connection);
            self.timers.remove(link.timer_at, timer);
            link.timer_at = at;
            self.timers.insert(at, timer);
        }
    }

    fn notice_publish_refused(
        &mut self,
        client_id: crate::wire::types::Text,
        topic: crate::routing::topic::Topic,
        reason: ReasonCode,
        out: &mut Outbox,
    ) {
        self.counters.publish_refused += 1;
        out.notice(Notice::PublishRefused { client_id, topic, reason });
    }
}
