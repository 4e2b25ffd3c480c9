//! Connections: what a client asked on each, and what it was answered.

use std::collections::{BTreeMap, VecDeque};

use super::crowd::Taken;
use super::{Model, Moment, Publication, Seen, Send, SentAway, SessionId, Subscription, token_of};
use crate::history::ConnectionNumber;
use crate::oracle::properties as property;
use crate::oracle::topic;
use crate::packet::{AckKind, Connect, Packet, Property, Publish};
use crate::plan::ClientIndex;

use super::publication::{PublicationId, Stage};

/// What the names begin with that clients have here whose identifier only the broker knows.
pub(super) const NAMELESS: &str = "nameless ";

/// One connection.
#[derive(Debug)]
pub(crate) struct Connection {
    pub(crate) number: ConnectionNumber,
    pub(crate) client: ClientIndex,
    pub(crate) opened: Moment,
    /// When its client sent something last, and the longest pause before that.
    sent: Moment,
    longest_pause_ms: u64,
    pub(super) taken: Taken,
    pub(crate) connect: Option<(Moment, Connect)>,
    pub(crate) connack: Option<ConnAck>,
    /// CONNACK refused.
    pub(crate) refused: Option<Moment>,
    /// Empty as long as it is not known.
    pub(crate) client_id: String,
    pub(crate) session: Option<SessionId>,
    /// The session that a CONNECT without an answer must have met.
    pub(crate) presumed: Option<SessionId>,
    pub(crate) misbehaved: Option<Moment>,
    /// When its client sent what the broker must end it for.
    pub(crate) broken: Option<Moment>,
    /// DISCONNECT from the client.
    pub(crate) goodbye: Option<Goodbye>,
    /// DISCONNECT from the broker.
    pub(crate) dismissed: Option<(Moment, u8)>,
    pub(crate) ended: Option<(Moment, bool)>,
    /// When the broker's process was gone under it.
    pub(crate) broker_gone: Option<Moment>,
    /// Who its client proved to be, and when, if that was told.
    pub(crate) identity: Option<(Moment, Option<String>)>,
    /// When the operator ended the session that it served.
    pub(crate) ordered_out: Option<Moment>,
    /// When the operator ended the client's session, and this may have come to serve it before.
    pub(crate) may_be_ordered_out: Option<Moment>,
    /// Who said that it is to end, one after the other.
    pub(crate) sent_away: Vec<SentAway>,
    /// Whether it stands for a request.
    pub(crate) is_request: bool,
    pub(crate) was_reset: bool,
    pub(crate) network: Network,
    /// Until when something stood in the way of what is sent on it, in milliseconds.
    pub(crate) troubled_ms: u64,
    /// When the last of the requests was sent that were answered: the broker had it open then.
    pub(crate) evidence: Moment,
    pub(crate) pings: VecDeque<Moment>,
    /// What waits for an answer, by packet identifier.
    pub(crate) outstanding: BTreeMap<u16, Answered>,
    /// Publications at QoS 0 that the broker may not have come to.
    pub(super) unsettled: Vec<PublicationId>,
    aliases: BTreeMap<u32, String>,
    /// Sent ahead of CONNACK.
    pub(crate) pipelined: Vec<(Moment, Packet)>,
}

/// The CONNACK of a client that was let in.
#[derive(Clone, Debug)]
pub(crate) struct ConnAck {
    pub(crate) moment: Moment,
    pub(crate) present: bool,
    pub(crate) properties: Vec<Property>,
}

/// DISCONNECT from the client.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Goodbye {
    pub(crate) moment: Moment,
    pub(crate) reason: u8,
    pub(crate) expiry_s: Option<u32>,
}

/// What the network does to a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Network {
    /// It works, since then.
    Calm(u64),
    /// It holds back what is sent.
    Held,
    /// It loses what is sent, for good.
    BlackHole,
}

/// A request, and when it was sent.
#[derive(Clone, Debug)]
pub(crate) struct Answered {
    pub(crate) moment: Moment,
    pub(crate) request: Request,
}

/// What a client can ask for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// CONNECT.
    Connect,
    /// PINGREQ.
    Ping,
    /// PUBLISH at QoS 1 or 2.
    Publish(PublicationId, u8),
    /// Nothing: PUBREC came and PUBREL is still to be sent.
    Recorded(PublicationId),
    /// PUBREL.
    Release(Option<PublicationId>),
    /// SUBSCRIBE: filters and the QoS asked for.
    Subscribe(Vec<(String, u8)>),
    /// UNSUBSCRIBE.
    Unsubscribe(Vec<String>),
}

impl Connection {
    pub(crate) fn new(client: ClientIndex, number: ConnectionNumber, now: Moment) -> Self {
        Connection {
            number,
            client,
            opened: now,
            sent: now,
            longest_pause_ms: 0,
            taken: Taken::default(),
            connect: None,
            connack: None,
            refused: None,
            client_id: String::new(),
            session: None,
            presumed: None,
            misbehaved: None,
            broken: None,
            goodbye: None,
            dismissed: None,
            ended: None,
            broker_gone: None,
            identity: None,
            ordered_out: None,
            may_be_ordered_out: None,
            sent_away: Vec::new(),
            is_request: false,
            was_reset: false,
            network: Network::Calm(0),
            troubled_ms: 0,
            evidence: now,
            pings: VecDeque::new(),
            outstanding: BTreeMap::new(),
            unsettled: Vec::new(),
            aliases: BTreeMap::new(),
            pipelined: Vec::new(),
        }
    }

    /// Whether it is open as far as its client and its broker's process know.
    pub(crate) fn is_open(&self) -> bool {
        self.ended.is_none() && self.broker_gone.is_none() && self.dismissed.is_none()
    }

    /// The longest time until now for which its client sent nothing, in milliseconds.
    pub(crate) fn longest_silence_ms(&self, now: Moment) -> u64 {
        self.longest_pause_ms.max(now.at_ms - self.sent.at_ms)
    }

    /// Who its client proves to be: by its user name, where nothing else was told.
    pub(crate) fn user_name(&self) -> Option<&str> {
        let given = self.connect.as_ref().and_then(|(_, connect)| connect.user_name.as_deref());
        self.identity.as_ref().map_or(given, |(_, proved)| proved.as_deref())
    }

    /// Protocol level; 5 before CONNECT.
    pub(crate) fn level(&self) -> u8 {
        self.connect.as_ref().map_or(5, |(_, connect)| connect.level)
    }

    /// Whether its client was let into a session that was there before, as far as it was told.
    pub(crate) fn may_be_resumed(&self) -> bool {
        let clean_start = self.connect.as_ref().is_none_or(|(_, connect)| connect.clean_start);
        self.connack
            .as_ref()
            .is_some_and(|connack| connack.present || self.level() == 3 && !clean_start)
    }

    /// Whether the broker may have closed it because of a request that it could not refuse in words:
    /// before version 5 nothing says no to PUBLISH or UNSUBSCRIBE, in 3.1 nor to SUBSCRIBE.
    pub(crate) fn may_be_refused(&self) -> bool {
        let level = self.level();
        self.outstanding.values().any(|found| match found.request {
            Request::Publish(..) | Request::Unsubscribe(_) => level < 5,
            Request::Subscribe(_) => level < 4,
            Request::Connect | Request::Ping | Request::Recorded(_) | Request::Release(_) => false,
        })
    }

    /// Whether it has publications at QoS 0 that the broker may not have come to.
    pub(crate) fn is_unsettled(&self) -> bool {
        !self.unsettled.is_empty()
    }

    /// A number among CONNECT's properties.
    pub(crate) fn asked(&self, id: u8) -> Option<u32> {
        let (_, connect) = self.connect.as_ref()?;
        property::number(&connect.properties, id)
    }

    /// The keep alive in force, in seconds.
    pub(crate) fn keep_alive_s(&self) -> u32 {
        let asked = self.connect.as_ref().map_or(0, |(_, connect)| u32::from(connect.keep_alive_s));
        let granted = self
            .connack
            .as_ref()
            .and_then(|connack| property::number(&connack.properties, property::SERVER_KEEP_ALIVE));
        granted.unwrap_or(asked)
    }
}

impl Model {
    /// A client handed a packet to the network.
    pub(super) fn sent(&mut self, number: ConnectionNumber, packet: &Packet) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let is_pipelined = connection.session.is_none();
        connection.longest_pause_ms = connection.longest_silence_ms(now);
        connection.sent = now;
        match packet {
            Packet::Connect(connect) => self.connect_sent(number, connect),
            Packet::Publish(publish) => self.publish_sent(number, publish),
            Packet::Ack { kind, id, reason, properties: _ } => {
                self.ack_sent(number, *kind, *id, *reason);
            }
            Packet::Subscribe { id, filters, properties: _ } => {
                let request = Request::Subscribe(filters.clone());
                connection.outstanding.insert(*id, Answered { moment: now, request });
                if is_pipelined {
                    connection.pipelined.push((now, packet.clone()));
                } else {
                    self.apply(number, now, packet);
                }
            }
            Packet::Unsubscribe { id, filters, properties: _ } => {
                let request = Request::Unsubscribe(filters.clone());
                connection.outstanding.insert(*id, Answered { moment: now, request });
                if is_pipelined {
                    connection.pipelined.push((now, packet.clone()));
                } else {
                    self.apply(number, now, packet);
                }
            }
            Packet::PingReq => connection.pings.push_back(now),
            Packet::Disconnect { reason, properties } => {
                let expiry_s = property::number(properties, property::SESSION_EXPIRY);
                connection.goodbye.get_or_insert(Goodbye {
                    moment: now,
                    reason: *reason,
                    expiry_s,
                });
            }
            Packet::ConnAck { .. }
            | Packet::SubAck { .. }
            | Packet::UnsubAck { .. }
            | Packet::PingResp
            | Packet::Auth { .. } => {}
        }
    }

    /// What a request for or against subscriptions, or a publication, does to the connection's session.
    pub(super) fn apply(&mut self, number: ConnectionNumber, moment: Moment, packet: &Packet) {
        let Some(session) = self.connections.get(&number).and_then(|found| found.session) else {
            return;
        };
        self.apply_to(session, moment, packet);
    }

    /// Like [`Model::apply`], to any session.
    pub(super) fn apply_to(&mut self, session: SessionId, moment: Moment, packet: &Packet) {
        if let Packet::Publish(publish) = packet
            && let Some(id) = publish.id.filter(|_| publish.qos == 2)
            && let Some(publication) = self.by_token.get(token_of(&publish.payload)).copied()
        {
            self.hold(session, id, publication);
        }
        if let Packet::Unsubscribe { filters, .. } = packet {
            for filter in filters {
                let session = &mut self.sessions[session];
                for subscription in session.subscriptions.get_mut(filter).into_iter().flatten() {
                    subscription.end_requested.get_or_insert(moment);
                }
            }
        }
        let Packet::Subscribe { filters, properties, .. } = packet else { return };
        let id = property::number(properties, property::SUBSCRIPTION_ID).unwrap_or(0);
        for (whole, options) in filters {
            let split = topic::split_share(whole);
            let reaches_back = match split {
                Some(_) => self.share_since(whole, moment).unwrap_or(moment).min(moment),
                None => moment,
            };
            let session = &mut self.sessions[session];
            let versions = session.subscriptions.entry(whole.clone()).or_default();
            for earlier in &mut *versions {
                earlier.end_requested.get_or_insert(moment);
            }
            versions.push(Subscription {
                share: split.map(|(share, _)| share.to_owned()),
                filter: split.map_or(whole.as_str(), |(_, filter)| filter).to_owned(),
                qos: options & 3,
                no_local: options & 4 != 0,
                retain_as_published: options & 8 != 0,
                retain_handling: (options >> 4) & 3,
                id,
                requested: moment,
                reaches_back,
                granted: None,
                refused: false,
                end_requested: None,
                ended: None,
                is_certain: true,
            });
        }
    }

    /// A connection's client identifier is known.
    pub(super) fn named(&mut self, number: ConnectionNumber, client_id: &str) {
        let client = self.clients.entry(client_id.to_owned()).or_default();
        client.attempts.push(number);
        client.connections.push(number);
    }

    /// Since when a share that has members at a moment may have had some without a break.
    fn share_since(&self, whole: &str, moment: Moment) -> Option<Moment> {
        let known = self.members_since(whole, moment);
        // Who may have joined without being told so may have taken over what waited there.
        let ahead = self.joined_ahead(whole);
        let ahead = ahead.map(|at| self.members_since(whole, at).map_or(at, |since| since.min(at)));
        known.into_iter().chain(ahead).min()
    }

    /// Since when the members that a share surely has at a moment may have had something.
    fn members_since(&self, whole: &str, moment: Moment) -> Option<Moment> {
        let living = self.sessions.iter().filter(|session| !self.is_over_at(session, moment));
        let versions = living.filter_map(|session| session.subscriptions.get(whole)).flatten();
        let is_there = |found: &&Subscription| {
            !found.refused && found.ended.is_none_or(|ended| ended.index > moment.index)
        };
        let members = versions.filter(is_there);
        members.map(|found| found.reaches_back).min()
    }

    fn connect_sent(&mut self, number: ConnectionNumber, connect: &Connect) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if connection.connect.is_some() {
            return;
        }
        connection.connect = Some((now, connect.clone()));
        connection.evidence = now;
        // Before version 5 nobody is told the identifier that the broker chooses.
        let client_id = match (connect.client_id.as_str(), connect.level) {
            ("", ..5) => format!("{NAMELESS}{number}"),
            (client_id, _) => client_id.to_owned(),
        };
        if !client_id.is_empty() {
            connection.client_id.clone_from(&client_id);
            self.named(number, &client_id);
        }
        if let Some(will) = &connect.will
            && !will.payload.is_empty()
        {
            let publish = Publish {
                dup: false,
                qos: will.qos,
                retain: will.retain,
                topic: will.topic.clone(),
                id: None,
                properties: will.properties.clone(),
                payload: will.payload.clone(),
            };
            let send = Send { moment: now, connection: number, id: None };
            let publication = self.publication(&publish, &will.topic, send);
            self.publications[publication].will_of = Some(number);
        }
    }

    fn publish_sent(&mut self, number: ConnectionNumber, publish: &Publish) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let alias = property::number(&publish.properties, property::TOPIC_ALIAS);
        let topic = match alias {
            Some(alias) if publish.topic.is_empty() => {
                connection.aliases.get(&alias).cloned().unwrap_or_default()
            }
            Some(alias) => {
                connection.aliases.insert(alias, publish.topic.clone());
                publish.topic.clone()
            }
            None => publish.topic.clone(),
        };
        let send = Send { moment: now, connection: number, id: publish.id };
        let publication = self.publication(publish, &topic, send);
        self.publications[publication].muddled |= self.may_be_held_ahead(number, publish);
        let Some(connection) = self.connections.get_mut(&number) else { return };
        let Some(id) = publish.id.filter(|_| publish.qos > 0) else {
            connection.unsettled.push(publication);
            return;
        };
        let request = Request::Publish(publication, publish.qos);
        connection.outstanding.insert(id, Answered { moment: now, request });
        match connection.session {
            Some(session) if publish.qos == 2 => self.hold(session, id, publication),
            Some(_) => {}
            None => connection.pipelined.push((now, Packet::Publish(publish.clone()))),
        }
    }

    /// From now on the broker may hold this identifier of a session for a publication at QoS 2.
    fn hold(&mut self, session: SessionId, id: u16, publication: PublicationId) {
        let before = self.sessions[session].inbound.insert(id, publication);
        if before.is_some_and(|before| before != publication) {
            self.publications[publication].muddled = true;
        }
    }

    /// Finds the publication that was sent again, or makes a new one.
    fn publication(&mut self, publish: &Publish, topic: &str, send: Send) -> PublicationId {
        let is_clear = publish.payload.is_empty();
        let token = if is_clear {
            // Nothing tells one from another but where and under what it was sent.
            let client = self.connections.get(&send.connection).map_or(0, |found| found.client);
            format!("clear {topic} of client {client}").into_bytes()
        } else {
            token_of(&publish.payload).to_vec()
        };
        let publisher = self.connections.get(&send.connection).map(|found| found.client_id.clone());
        let publisher = publisher.unwrap_or_default();
        if let Some(id) = self.by_token.get(&token).copied()
            && (!is_clear || publish.dup)
        {
            let found = &self.publications[id];
            let earlier = found.sends[found.sends.len() - 1];
            let session = |connection| {
                let found = self.connections.get(&connection);
                found.and_then(|found| found.session.or(found.presumed))
            };
            let is_same = publish.qos == 2
                && earlier.id == send.id
                && session(earlier.connection).is_some()
                && session(earlier.connection) == session(send.connection);
            let found = &mut self.publications[id];
            found.sends.push(send);
            found.instances += usize::from(!is_same);
            // It may be an earlier one that is sent again.
            found.muddled |= is_clear;
            // What came without a CONNECT before it was nobody's.
            if found.client_id.is_empty() {
                found.client_id = publisher;
            }
            return id;
        }
        let id = self.publications.len();
        self.publications.push(Publication {
            token: token.clone(),
            client_id: publisher,
            topic: topic.to_owned(),
            qos: publish.qos,
            retain: publish.retain,
            payload: publish.payload.clone(),
            properties: publish.properties.clone(),
            expiry_s: property::number(&publish.properties, property::MESSAGE_EXPIRY),
            will_of: None,
            sends: vec![send],
            accepted: None,
            refused: None,
            settled: None,
            muddled: false,
            instances: 1,
            may_come_late: false,
        });
        self.by_token.insert(token, id);
        id
    }

    /// The identifier of a publication at QoS 2 is free again. Where it was sent behind a CONNECT that is still under
    /// way, it is something new when that arrives.
    fn free(&mut self, publication: PublicationId) {
        self.publications[publication].instances += self.under_way(publication);
    }

    /// How often a publication was sent behind a CONNECT that is still under way.
    fn under_way(&self, publication: PublicationId) -> usize {
        let is_under_way = |send: &&Send| {
            self.connections
                .get(&send.connection)
                .is_some_and(|found| found.connack.is_none() && found.ended.is_none())
        };
        self.publications[publication].sends.iter().filter(is_under_way).count()
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP from a client.
    fn ack_sent(&mut self, number: ConnectionNumber, kind: AckKind, id: u16, reason: u8) {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&number) else { return };
        if kind == AckKind::PubRel {
            let mut released = None;
            let publication = match connection.outstanding.get(&id).map(|found| &found.request) {
                Some(Request::Recorded(publication) | Request::Publish(publication, _)) => {
                    released = Some(*publication);
                    released
                }
                Some(Request::Release(publication)) => *publication,
                Some(
                    Request::Connect
                    | Request::Ping
                    | Request::Subscribe(_)
                    | Request::Unsubscribe(_),
                )
                | None => None,
            };
            let request = Request::Release(publication);
            connection.outstanding.insert(id, Answered { moment: now, request });
            if let Some(publication) = released {
                self.free(publication);
            }
            return;
        }
        let Some(session) = connection.session else { return };
        let Some(holder) = self.sessions[session].exchanges.get_mut(&id) else { return };
        if kind == AckKind::PubAck && holder.connection == number {
            self.acknowledged.entry(holder.moment).or_insert(now);
        }
        holder.stage = match (kind, holder.stage) {
            (AckKind::PubAck | AckKind::PubRec, _) if reason >= 0x80 => Stage::Refused(now),
            (AckKind::PubAck | AckKind::PubComp, _) => Stage::Done(now),
            (AckKind::PubRec, Stage::Read) => Stage::Recorded(now),
            (
                AckKind::PubRec | AckKind::PubRel,
                stage @ (Stage::Read
                | Stage::Recorded(_)
                | Stage::Released(_)
                | Stage::Refused(_)
                | Stage::Done(_)),
            ) => stage,
        };
    }

    /// PUBACK, PUBREC, PUBREL or PUBCOMP from the broker.
    pub(super) fn ack_received(
        &mut self,
        number: ConnectionNumber,
        kind: AckKind,
        id: u16,
        reason: u8,
    ) -> Seen {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&number) else { return Seen::Nothing };
        let session = connection.session;
        if kind == AckKind::PubRel {
            let Some(session) = session else { return Seen::Unasked };
            let holder = self.sessions[session].exchanges.get_mut(&id);
            let before = holder.as_deref().cloned();
            if let Some(holder) = holder {
                match holder.stage {
                    Stage::Read | Stage::Recorded(_) => holder.stage = Stage::Released(now),
                    Stage::Released(_) | Stage::Refused(_) | Stage::Done(_) => {}
                }
            }
            return Seen::Released(before);
        }
        let Some(found) = connection.outstanding.get(&id).cloned() else { return Seen::Unasked };
        match (kind, &found.request) {
            (AckKind::PubAck, Request::Publish(publication, 1)) => {
                connection.outstanding.remove(&id);
                self.judged(*publication, reason);
            }
            (AckKind::PubRec, Request::Publish(publication, 2)) => {
                if reason >= 0x80 {
                    connection.outstanding.remove(&id);
                } else {
                    let request = Request::Recorded(*publication);
                    connection.outstanding.insert(id, Answered { moment: found.moment, request });
                }
                if reason >= 0x80
                    && let Some(session) = session
                {
                    self.sessions[session].inbound.remove(&id);
                }
                self.judged(*publication, reason);
            }
            (AckKind::PubComp, Request::Release(_)) => {
                connection.outstanding.remove(&id);
                if let Some(session) = session {
                    self.sessions[session].inbound.remove(&id);
                }
            }
            (
                AckKind::PubAck | AckKind::PubRec | AckKind::PubComp | AckKind::PubRel,
                Request::Connect
                | Request::Ping
                | Request::Publish(..)
                | Request::Recorded(_)
                | Request::Release(_)
                | Request::Subscribe(_)
                | Request::Unsubscribe(_),
            ) => return Seen::Unasked,
        }
        self.answered(number, found.moment, found.request)
    }

    pub(super) fn judged(&mut self, publication: PublicationId, reason: u8) {
        let now = self.now;
        let may_come_late = self.under_way(publication) > 0;
        let publication = &mut self.publications[publication];
        publication.settled.get_or_insert(now);
        publication.may_come_late |= may_come_late;
        if reason < 0x80 {
            publication.accepted.get_or_insert(now);
        } else {
            publication.refused.get_or_insert((now, reason));
        }
    }

    /// A request is answered: the broker had the connection open when it came, and has dealt with
    /// all that was sent before it.
    pub(super) fn answered(
        &mut self,
        number: ConnectionNumber,
        moment: Moment,
        request: Request,
    ) -> Seen {
        let now = self.now;
        if let Some(connection) = self.connections.get_mut(&number) {
            connection.evidence = connection.evidence.max(moment);
            // Who is served behind an order came behind it.
            connection.may_be_ordered_out.take_if(|ended| ended.index < moment.index);
            let publications = &mut self.publications;
            connection.unsettled.retain(|publication| {
                let publication = &mut publications[*publication];
                let is_before = publication.last().index < moment.index;
                if is_before {
                    publication.settled.get_or_insert(now);
                }
                !is_before
            });
        }
        Seen::Answered(Answered { moment, request })
    }

    pub(super) fn suback(&mut self, number: ConnectionNumber, id: u16, reasons: &[u8]) -> Seen {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&number) else { return Seen::Nothing };
        let session = connection.session;
        let Some(Answered { moment, request: Request::Subscribe(filters) }) =
            connection.outstanding.get(&id).cloned()
        else {
            return Seen::Unasked;
        };
        connection.outstanding.remove(&id);
        let is_durable = self.expiry_s(number) > 0;
        if is_durable {
            self.durable_before_ms = self.durable_before_ms.max(moment.at_ms);
        }
        if let Some(session) = session {
            for (place, ((filter, _), reason)) in filters.iter().zip(reasons).enumerate() {
                let Some(versions) = self.sessions[session].subscriptions.get_mut(filter) else {
                    continue;
                };
                let earlier = filters[..place].iter().filter(|(other, _)| other == filter).count();
                grant(versions, moment, earlier, now, *reason);
            }
        }
        self.answered(number, moment, Request::Subscribe(filters))
    }

    pub(super) fn unsuback(&mut self, number: ConnectionNumber, id: u16, reasons: &[u8]) -> Seen {
        let now = self.now;
        let Some(connection) = self.connections.get_mut(&number) else { return Seen::Nothing };
        let session = connection.session;
        let Some(Answered { moment, request: Request::Unsubscribe(filters) }) =
            connection.outstanding.get(&id).cloned()
        else {
            return Seen::Unasked;
        };
        connection.outstanding.remove(&id);
        if let Some(session) = session {
            for (place, filter) in filters.iter().enumerate() {
                let is_done = reasons.get(place).is_none_or(|reason| *reason < 0x80);
                let versions = self.sessions[session].subscriptions.get_mut(filter);
                for subscription in versions.into_iter().flatten() {
                    if is_done && subscription.requested.index < moment.index {
                        subscription.ended.get_or_insert(now);
                    }
                }
            }
        }
        self.answered(number, moment, Request::Unsubscribe(filters))
    }
}

/// SUBACK for the version of a subscription that was requested at `requested`, behind `earlier` others in the same
/// packet.
fn grant(
    versions: &mut [Subscription],
    requested: Moment,
    earlier: usize,
    now: Moment,
    reason: u8,
) {
    let mut is_earlier = true;
    let mut passed = 0;
    for subscription in versions {
        passed += usize::from(subscription.requested == requested);
        if subscription.requested == requested && passed == earlier + 1 {
            is_earlier = false;
            if reason < 0x80 {
                subscription.granted.get_or_insert(now);
                subscription.qos = reason;
            } else {
                subscription.refused = true;
            }
        } else if is_earlier && reason < 0x80 {
            subscription.ended.get_or_insert(now);
        }
    }
}
