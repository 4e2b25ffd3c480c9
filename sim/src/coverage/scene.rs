//! What is under way for each client, as far as the client knows.

use std::collections::{BTreeMap, BTreeSet};

use crate::codec::number;
use crate::history::{ConnectionNumber, Event, What};
use crate::packet::{AckKind, Connect, Packet, Property, Publish};
use crate::plan::{BrokerFault, ClientIndex, NetworkFault};

const MESSAGE_EXPIRY: u8 = 0x02;
const SESSION_EXPIRY: u8 = 0x11;
const WILL_DELAY: u8 = 0x18;
const RECEIVE_MAXIMUM: u8 = 0x21;

/// How long retained messages of a subscription may follow each other.
const REPLAY_MS: u64 = 200;

/// So much is a long backlog, in messages.
const LONG: u32 = 40;

/// How far the broker's delivery to a client has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outbound {
    /// PUBLISH at this QoS was read.
    Published(u8),
    /// PUBREC was sent.
    Received,
    /// PUBREL was read.
    Released,
}

/// How far a client's publication has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Inbound {
    /// PUBLISH at this QoS was sent.
    Published(u8),
    /// PUBREC was read.
    Received,
    /// PUBREL was sent.
    Released,
}

/// A client's session, over its connections.
#[derive(Clone, Debug, Default)]
pub(super) struct Session {
    pub(super) outbound: BTreeMap<u16, Outbound>,
    pub(super) inbound: BTreeMap<u16, Inbound>,
    pub(super) shares: BTreeSet<String>,
    pub(super) has_expiring: bool,
    pub(super) expiry_s: u32,
    /// The will of the last CONNECT, and its delay.
    pub(super) will_delay_s: Option<u32>,
    /// Whether the connection ended with the will in force.
    pub(super) will_waits: bool,
    /// Whether the broker was restarted since.
    will_over_restart: bool,
    pub(super) connection: Option<ConnectionNumber>,
    /// What was published for it since it was last connected.
    pub(super) missed: u32,
}

/// A connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Link {
    pub(super) client_id: String,
    client: ClientIndex,
    pub(super) level: u8,
    pub(super) is_accepted: bool,
    pub(super) is_over: bool,
    /// Data is lost in one direction or both.
    is_dead: bool,
    said_goodbye: bool,
    pub(super) has_requests: bool,
    /// Something was sent behind CONNECT before CONNACK came.
    pub(super) is_ahead: bool,
    pub(super) uses_aliases: bool,
    receive_maximum: usize,
    quota: usize,
    /// The last packet that the client sent, if nothing was read since.
    pub(super) last_sent: Option<AckKind>,
    pub(super) retained_at_ms: Option<u64>,
    /// Messages read since it began, if it began with a long backlog.
    of_backlog: Option<u32>,
}

/// One client at one moment.
pub(super) struct Scene<'a> {
    pub(super) session: &'a Session,
    pub(super) link: Option<&'a Link>,
    pub(super) at_ms: u64,
}

impl Scene<'_> {
    pub(super) fn on(&self, is_so: impl Fn(&Link) -> bool) -> bool {
        self.link.is_some_and(is_so)
    }

    pub(super) fn replays(&self) -> bool {
        self.on(|link| link.retained_at_ms.is_some_and(|at_ms| at_ms + REPLAY_MS >= self.at_ms))
    }

    pub(super) fn is_away(&self) -> bool {
        self.link.is_none()
    }

    pub(super) fn window_is_full(&self) -> bool {
        self.on(|link| self.session.outbound.len() >= link.receive_maximum)
    }
}

/// All clients.
#[derive(Debug, Default)]
pub(super) struct Scenes {
    sessions: BTreeMap<String, Session>,
    links: BTreeMap<ConnectionNumber, Link>,
    retained: BTreeSet<String>,
    /// Whether nobody was accepted since the broker's last start.
    just_started: bool,
    restarts: u32,
}

impl Scenes {
    pub(super) fn scene(&self, client_id: &str, at_ms: u64) -> Option<Scene<'_>> {
        let session = self.sessions.get(client_id)?;
        let link = session.connection.and_then(|number| self.links.get(&number));
        Some(Scene { session, link: link.filter(|link| !link.is_over), at_ms })
    }

    pub(super) fn all(&self) -> Vec<String> {
        self.sessions.keys().cloned().collect()
    }

    pub(super) fn of_client(&self, client: ClientIndex) -> Vec<String> {
        let open = self.links.values().filter(|link| link.client == client && !link.is_over);
        open.map(|link| link.client_id.clone()).collect()
    }

    pub(super) fn of_connection(&self, number: ConnectionNumber) -> Vec<String> {
        let open = self.links.get(&number).filter(|link| !link.is_over);
        open.map(|link| link.client_id.clone()).into_iter().collect()
    }

    /// The client, if it ends its connection without DISCONNECT.
    pub(super) fn left_in_silence(&self, number: ConnectionNumber) -> Vec<String> {
        let is_silent = self.links.get(&number).is_some_and(|link| !link.said_goodbye);
        if is_silent { self.of_connection(number) } else { Vec::new() }
    }

    /// The client whose other connection a CONNECT takes over.
    pub(super) fn taken_over(&self, number: ConnectionNumber, client_id: &str) -> Vec<String> {
        let other = self.sessions.get(client_id).and_then(|session| session.connection);
        let other = other.filter(|other| *other != number);
        other.map(|other| self.of_connection(other)).unwrap_or_default()
    }

    /// Whether more was sent on it before CONNACK came.
    pub(super) fn is_ahead(&self, number: ConnectionNumber) -> bool {
        self.links.get(&number).is_some_and(|link| link.is_ahead)
    }

    pub(super) fn just_started(&self) -> bool {
        self.just_started && self.restarts > 0
    }

    pub(super) fn has_restarted(&self) -> bool {
        self.restarts > 0
    }

    pub(super) fn was_armed_before_start(&self, client_id: &str) -> bool {
        self.sessions.get(client_id).is_some_and(|session| session.will_over_restart)
    }

    /// Whether a CONNECT comes in the delay of a will.
    pub(super) fn has_will_waiting(&self, client_id: &str) -> bool {
        self.sessions.get(client_id).is_some_and(|session| {
            session.will_waits && session.will_delay_s.is_some_and(|delay_s| delay_s > 0)
        })
    }

    pub(super) fn has_retained(&self, topic: &str) -> bool {
        self.retained.contains(topic)
    }

    fn session_of(&self, number: ConnectionNumber) -> Option<(&Link, &Session)> {
        let link = self.links.get(&number)?;
        Some((link, self.sessions.get(&link.client_id)?))
    }

    /// Whether one more publication fills the broker's receive maximum.
    pub(super) fn quota_is_full(&self, number: ConnectionNumber) -> bool {
        self.session_of(number).is_some_and(|(link, session)| {
            link.quota < usize::from(u16::MAX) && session.inbound.len() + 1 >= link.quota
        })
    }

    /// Whether one more delivery fills the client's receive maximum.
    pub(super) fn fills_window(&self, number: ConnectionNumber) -> bool {
        self.session_of(number)
            .is_some_and(|(link, session)| session.outbound.len() + 1 >= link.receive_maximum)
    }

    pub(super) fn takes_long_backlog(&self, number: ConnectionNumber) -> bool {
        self.links.get(&number).is_some_and(|link| link.of_backlog >= Some(LONG))
    }

    pub(super) fn was_released(&self, number: ConnectionNumber, id: u16) -> bool {
        self.session_of(number)
            .is_some_and(|(_, session)| session.outbound.get(&id) == Some(&Outbound::Released))
    }

    /// Whether a client has, or had, a connection that is dead in a direction.
    pub(super) fn is_half_open(&self, client_id: &str) -> bool {
        self.links.values().any(|link| link.is_dead && link.client_id == client_id)
    }

    pub(super) fn event(&mut self, event: &Event) {
        match &event.what {
            What::Opened { client, connection } => {
                self.links.insert(*connection, Link { client: *client, ..Link::default() });
            }
            What::Sent { connection, packet } => self.sent(*connection, packet),
            What::Received { connection, packet, alias_topic, .. } => {
                if let Some(link) = self.links.get_mut(connection) {
                    link.last_sent = None;
                    link.uses_aliases |= alias_topic.is_some();
                }
                self.received(*connection, packet, event.at_ms);
            }
            What::Ended { connection, .. } => self.ended(*connection),
            What::Broker(BrokerFault::Start) => {
                self.just_started = true;
                self.restarts += 1;
            }
            What::Broker(BrokerFault::Kill | BrokerFault::PowerCut | BrokerFault::Stop) => {
                for session in self.sessions.values_mut() {
                    session.will_waits |=
                        session.will_delay_s.is_some() && session.connection.is_some();
                    session.will_over_restart |= session.will_waits;
                }
            }
            What::Network {
                client,
                fault:
                    NetworkFault::BlackHoleToBroker
                    | NetworkFault::BlackHoleToClient
                    | NetworkFault::HalfClose,
            } => {
                let open = self.links.values_mut();
                let open = open.filter(|link| link.client == *client && !link.is_over);
                open.for_each(|link| link.is_dead = true);
            }
            What::Undecodable { .. }
            | What::Misbehaved { .. }
            | What::Holding { .. }
            | What::Network { .. }
            | What::Denied(_)
            | What::Beside(_)
            | What::Kept(_)
            | What::Absent { .. }
            | What::WallClock { .. }
            | What::Dropped { .. }
            | What::Calm
            | What::End => {}
        }
    }

    fn ended(&mut self, number: ConnectionNumber) {
        let Some(link) = self.links.get_mut(&number) else { return };
        link.is_over = true;
        if let Some(session) = self.sessions.get_mut(&link.client_id)
            && session.connection == Some(number)
        {
            session.connection = None;
            session.will_waits = session.will_delay_s.is_some() && !link.said_goodbye;
        }
    }

    fn sent(&mut self, number: ConnectionNumber, packet: &Packet) {
        let Some(link) = self.links.get_mut(&number) else { return };
        link.last_sent = None;
        if let Packet::Connect(connect) = packet {
            return self.connects(number, connect);
        }
        link.is_ahead |= !link.is_accepted;
        let Some(session) = self.sessions.get_mut(&link.client_id) else { return };
        match packet {
            Packet::Publish(publish) => {
                if let Some(id) = publish.id {
                    session.inbound.insert(id, Inbound::Published(publish.qos));
                }
                if publish.retain && publish.payload.is_empty() {
                    self.retained.remove(&publish.topic);
                } else if publish.retain {
                    self.retained.insert(publish.topic.clone());
                }
                if publish.qos > 0 {
                    let away = self.sessions.values_mut().filter(|one| one.connection.is_none());
                    away.for_each(|one| one.missed += 1);
                }
            }
            Packet::Ack { kind, id, .. } => {
                link.last_sent = Some(*kind);
                match kind {
                    AckKind::PubAck | AckKind::PubComp => drop(session.outbound.remove(id)),
                    AckKind::PubRec => drop(session.outbound.insert(*id, Outbound::Received)),
                    AckKind::PubRel => drop(session.inbound.insert(*id, Inbound::Released)),
                }
            }
            Packet::Subscribe { filters, .. } => {
                link.has_requests = true;
                let shares = filters.iter().filter(|(filter, _)| filter.starts_with("$share/"));
                session.shares.extend(shares.map(|(filter, _)| filter.clone()));
            }
            Packet::Unsubscribe { filters, .. } => {
                link.has_requests = true;
                session.shares.retain(|share| !filters.contains(share));
            }
            Packet::Disconnect { reason, .. } => {
                link.said_goodbye = true;
                session.will_waits = *reason != 0 && session.will_delay_s.is_some();
            }
            Packet::Connect(_)
            | Packet::ConnAck { .. }
            | Packet::SubAck { .. }
            | Packet::UnsubAck { .. }
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Auth { .. } => {}
        }
    }

    fn connects(&mut self, number: ConnectionNumber, connect: &Connect) {
        let Some(link) = self.links.get_mut(&number) else { return };
        link.client_id.clone_from(&connect.client_id);
        link.level = connect.level;
        link.receive_maximum = limit(&connect.properties);
        link.quota = usize::from(u16::MAX);
        let session = self.sessions.entry(connect.client_id.clone()).or_default();
        session.connection = Some(number);
        session.expiry_s = match (connect.level, connect.clean_start) {
            (5, _) => crate::codec::number(&connect.properties, SESSION_EXPIRY).unwrap_or(0),
            (_, clean) => {
                if clean {
                    0
                } else {
                    u32::MAX
                }
            }
        };
        session.will_waits = false;
        session.will_over_restart = false;
        session.will_delay_s =
            connect.will.as_ref().map(|will| number_or_0(&will.properties, WILL_DELAY));
    }

    fn received(&mut self, number: ConnectionNumber, packet: &Packet, at_ms: u64) {
        let Some(link) = self.links.get_mut(&number) else { return };
        let Some(session) = self.sessions.get_mut(&link.client_id) else { return };
        match packet {
            Packet::ConnAck { session_present, reason: 0, properties } => {
                link.is_accepted = true;
                link.quota = limit(properties);
                self.just_started = false;
                link.of_backlog = (*session_present && session.missed >= LONG).then_some(0);
                session.missed = 0;
                if !session_present {
                    session.outbound.clear();
                    if !link.is_ahead {
                        session.inbound.clear();
                        session.shares.clear();
                    }
                }
            }
            Packet::Publish(publish) => published(session, link, publish, at_ms),
            Packet::Ack { kind, id, reason, .. } => match kind {
                AckKind::PubAck | AckKind::PubComp => drop(session.inbound.remove(id)),
                AckKind::PubRec if *reason >= 0x80 => drop(session.inbound.remove(id)),
                AckKind::PubRec => drop(session.inbound.insert(*id, Inbound::Received)),
                AckKind::PubRel => drop(session.outbound.insert(*id, Outbound::Released)),
            },
            Packet::SubAck { .. } | Packet::UnsubAck { .. } => link.has_requests = false,
            Packet::ConnAck { .. }
            | Packet::Connect(_)
            | Packet::Subscribe { .. }
            | Packet::Unsubscribe { .. }
            | Packet::PingReq
            | Packet::PingResp
            | Packet::Disconnect { .. }
            | Packet::Auth { .. } => {}
        }
    }
}

fn published(session: &mut Session, link: &mut Link, publish: &Publish, at_ms: u64) {
    if let Some(id) = publish.id {
        session.outbound.insert(id, Outbound::Published(publish.qos));
        link.of_backlog = link.of_backlog.map(|read| read + 1);
        session.has_expiring = number(&publish.properties, MESSAGE_EXPIRY).is_some();
    }
    if publish.retain {
        link.retained_at_ms = Some(at_ms);
    }
}

fn limit(properties: &[Property]) -> usize {
    let maximum = number(properties, RECEIVE_MAXIMUM).unwrap_or(u32::from(u16::MAX));
    usize::try_from(maximum).unwrap_or(usize::MAX)
}

fn number_or_0(properties: &[Property], id: u8) -> u32 {
    number(properties, id).unwrap_or(0)
}
