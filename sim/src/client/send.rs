//! What a client sends: the steps of the plan, re-sending, and what waited for quota.

use super::acks::Ack;
use super::link::{self, Link};
use super::session::{Outbound, Session};
use super::{AGREE_AFTER_MS, Client, ClientOutput, Loss, Turn};
use crate::codec;
use crate::history::What;
use crate::packet::{AckKind, Connect, Packet, Property, Publish, Value, Will};
use crate::plan::Do;
use crate::token::Token;

const MESSAGE_EXPIRY_INTERVAL: u8 = 0x02;
const SUBSCRIPTION_IDENTIFIER: u8 = 0x0B;
const SESSION_EXPIRY_INTERVAL: u8 = 0x11;
const WILL_DELAY_INTERVAL: u8 = 0x18;
const RECEIVE_MAXIMUM: u8 = 0x21;
const TOPIC_ALIAS_MAXIMUM: u8 = 0x22;
const USER_PROPERTY: u8 = 0x26;
const MAXIMUM_PACKET_SIZE: u8 = 0x27;

/// A publication that was never sent.
#[derive(Debug)]
pub(super) struct Waiting {
    pub(super) publish: Publish,
}

impl Client {
    /// Does a step of the plan.
    pub(super) fn act(&mut self, turn: &mut Turn<'_>, step: &Do) {
        if self.comes_too_early(step) {
            self.ahead.push(step.clone());
            return;
        }
        match step {
            Do::Connect { client: _, clean_start, will } => {
                self.will.clone_from(will);
                self.clean_start = *clean_start;
                self.open(turn);
            }
            Do::Subscribe { .. } => self.subscribe(turn, step),
            Do::Unsubscribe { client: _, filter, joined } => {
                self.unsubscribe(turn, filter, *joined);
            }
            Do::Publish { .. } => {
                self.publish(turn, step);
                self.send_publications(turn);
                self.pipeline_publications(turn);
            }
            Do::Ping { client: _ } => self.send_ping(turn),
            Do::Disconnect { client: _, reason, session_expiry_interval_s } => {
                self.disconnect(turn, *reason, *session_expiry_interval_s);
            }
            Do::Vanish { client: _ } => self.vanish(turn),
            Do::Misbehave { client: _, way } => self.misbehave(turn, *way),
            Do::Reading { client: _, on } => {
                self.reading = *on;
                self.tell_holding(turn);
                if let Some(link) = self.link.as_mut().filter(|_| *on) {
                    link.reads_again(turn.now_ms);
                }
                self.read(turn);
            }
            Do::Acknowledging { client: _, on } => {
                self.acknowledging = *on;
                self.tell_holding(turn);
            }
            Do::Pinging { client: _, on } => self.pinging = *on,
            // The network, the broker and its disk are the engine's.
            Do::Network { .. }
            | Do::Broker(_)
            | Do::Deny(_)
            | Do::AllowAll
            | Do::Order(_)
            | Do::WallClock { .. }
            | Do::Frozen { .. }
            | Do::Disk(_)
            | Do::DiskSyncs { .. } => {}
        }
    }

    /// Whether a step is to be done behind the CONNECT of the connection that is being made.
    fn comes_too_early(&self, step: &Do) -> bool {
        let is_asking =
            self.spec.pipelines && self.opening.as_ref().is_some_and(|one| one.way.is_none());
        let is_request = matches!(
            step,
            Do::Subscribe { .. } | Do::Unsubscribe { .. } | Do::Ping { .. } | Do::Disconnect { .. }
        );
        is_asking && is_request && self.ahead.len() < link::AHEAD_PACKETS
    }

    /// The CONNECT that it sends now. A will gets a new token each time, because each may be
    /// published.
    pub(super) fn connect_packet(&mut self, session: &Session, clean_start: bool) -> Connect {
        let is_5 = self.spec.level >= 5;
        let will = self.will.clone().map(|will| {
            let mut properties = Vec::new();
            if is_5 {
                push_unless_0(&mut properties, WILL_DELAY_INTERVAL, will.delay_s);
                push_unless_0(&mut properties, MESSAGE_EXPIRY_INTERVAL, will.expiry_s);
            }
            let payload = self.token(session, &will.topic, 0).make();
            Will { topic: will.topic, payload, qos: will.qos, retain: will.retain, properties }
        });
        let spec = &self.spec;
        let mut properties = Vec::new();
        if is_5 {
            let expiry_s = spec.session_expiry_interval_s;
            push_unless_0(&mut properties, SESSION_EXPIRY_INTERVAL, expiry_s);
            let receive_maximum = match (spec.later_receive_maximum, self.attempts) {
                (0, _) | (_, 0 | 1) => spec.receive_maximum,
                (later, _) => later,
            };
            push_unless_0(&mut properties, RECEIVE_MAXIMUM, receive_maximum.into());
            let maximum = spec.maximum_packet_size_bytes;
            push_unless_0(&mut properties, MAXIMUM_PACKET_SIZE, maximum);
            push_unless_0(&mut properties, TOPIC_ALIAS_MAXIMUM, spec.topic_alias_maximum.into());
        }
        let assigned_id = session.assigned_id.as_ref().filter(|_| spec.client_id.is_empty());
        Connect {
            level: spec.level,
            clean_start,
            keep_alive_s: spec.keep_alive_s,
            client_id: assigned_id.unwrap_or(&spec.client_id).clone(),
            will,
            user_name: Some(if self.spec.stranger {
                "a stranger".to_owned()
            } else {
                user_name(&self.spec.client_id)
            }),
            password: None,
            properties,
        }
    }

    /// Hands a packet to the network.
    pub(super) fn send(&mut self, turn: &mut Turn<'_>, packet: Packet) {
        let Some(link) = &mut self.link else { return };
        link.sent(turn.now_ms);
        link.count_ahead();
        link.aliases.sent(&packet);
        let connection = link.connection;
        let bytes = codec::encode(&packet, self.spec.level);
        turn.event(What::Sent { connection, packet });
        turn.out.push(ClientOutput::Send { connection, bytes });
    }

    pub(super) fn send_ping(&mut self, turn: &mut Turn<'_>) {
        let Some(link) = self.link.as_mut().filter(|link| link.may_ask()) else { return };
        link.pinged(turn.now_ms);
        self.send(turn, Packet::PingReq);
    }

    /// Owes an acknowledgement.
    pub(super) fn owe(&mut self, turn: &Turn<'_>, kind: AckKind, id: u16, reason: u8) {
        let reason = if self.spec.level >= 5 { reason } else { 0 };
        if let Some(link) = &mut self.link {
            link.acks.owe(turn.now_ms, Ack { kind, id, reason }, &mut self.acks_chance);
        }
    }

    pub(super) fn send_due_acks(&mut self, turn: &mut Turn<'_>) {
        while self.acknowledging {
            let Some(link) = self.link.as_mut().filter(|link| link.may_send()) else { return };
            let Some(Ack { kind, id, reason }) = link.acks.take_due(turn.now_ms) else { return };
            self.send(turn, Packet::Ack { kind, id, reason, properties: Vec::new() });
        }
    }

    /// Re-sends what a new connection owes, then sends what waits, as far as the quota goes.
    pub(super) fn send_publications(&mut self, turn: &mut Turn<'_>) {
        let Some(link) = self.link.as_ref().filter(|link| link.may_send()) else { return };
        let quota = usize::from(link.server.receive_maximum);
        self.send_again(turn, quota);
        loop {
            let sent_here = turn.session.sent_here();
            let has_quota = turn.session.outbound.len() == sent_here && sent_here < quota;
            match self.waiting.front() {
                Some(waiting) if waiting.publish.qos == 0 || has_quota => {}
                Some(_) | None => return,
            }
            if !self.send_waiting(turn) {
                return;
            }
        }
    }

    /// Sends what waits right behind CONNECT: one message above QoS 0 at most, as the broker's quota
    /// is not known, and none where something else must be sent again first or where an identifier
    /// may be in use that the client knows nothing of.
    pub(super) fn pipeline_publications(&mut self, turn: &mut Turn<'_>) {
        while let Some(link) = self.link.as_ref().filter(|link| link.is_ahead()) {
            let session = &turn.session;
            let may_use_id = session.outbound.is_empty() && session.knows_ids(link.clean_start);
            match self.waiting.front() {
                Some(waiting) if waiting.publish.qos == 0 || may_use_id => {}
                Some(_) | None => return,
            }
            if !self.send_waiting(turn) {
                return;
            }
        }
    }

    /// Sends the publication that waits longest, whatever the quota. Tells whether it could be sent
    /// or never can.
    pub(super) fn send_waiting(&mut self, turn: &mut Turn<'_>) -> bool {
        let Some(link) = self.link.as_ref() else { return false };
        let server = link.server;
        let free_id = turn.session.free_id(&link.requests);
        let Some(Waiting { publish }) = self.waiting.front_mut() else { return false };
        publish.qos = publish.qos.min(server.maximum_qos);
        publish.retain &= server.retain_available;
        if publish.qos > 0 {
            let Some(id) = free_id else { return false };
            publish.id = Some(id);
        }
        let Some(Waiting { publish }) = self.waiting.pop_front() else { return false };
        let packet = self.publish_packet(publish.clone());
        if codec::encode(&packet, self.spec.level).len() > server.maximum_packet_size_bytes {
            return true;
        }
        if publish.qos > 0 {
            let outbound = Outbound { publish, is_released: false, is_sent_here: true };
            turn.session.outbound.push(outbound);
        }
        self.send(turn, packet);
        true
    }

    fn send_again(&mut self, turn: &mut Turn<'_>, quota: usize) {
        let mut is_open = true;
        for at in 0..turn.session.outbound.len() {
            let sent_here = turn.session.sent_here();
            let outbound = &mut turn.session.outbound[at];
            if outbound.is_sent_here {
                continue;
            }
            if outbound.is_released {
                outbound.is_sent_here = true;
                let id = outbound.publish.id.expect("what is above QoS 0 has an identifier");
                self.owe(turn, AckKind::PubRel, id, 0);
                continue;
            }
            // A later one must not overtake one that waits for quota.
            is_open &= sent_here < quota;
            if is_open {
                outbound.is_sent_here = true;
                let publish = Publish { dup: true, ..outbound.publish.clone() };
                let packet = self.publish_packet(publish);
                self.send(turn, packet);
            }
        }
    }

    /// The PUBLISH for a message, with an alias if the client uses them. Before CONNACK nobody knows whether the broker
    /// takes any.
    fn publish_packet(&self, publish: Publish) -> Packet {
        let link = self.link.as_ref().filter(|link| link.is_serving && self.spec.aliases);
        let Some(Link { aliases, server, .. }) = link else { return Packet::Publish(publish) };
        let with_alias = Packet::Publish(aliases.applied(&publish, server.topic_alias_maximum));
        // It must not become too large by that.
        let size_bytes = codec::encode(&with_alias, self.spec.level).len();
        if size_bytes > server.maximum_packet_size_bytes {
            return Packet::Publish(publish);
        }
        with_alias
    }

    fn token(&mut self, session: &Session, topic: &str, fill_bytes: u32) -> Token {
        let token = Token::new(self.index, session.epoch, self.made, topic, fill_bytes);
        self.made += 1;
        token
    }

    /// The payload of a publication that is not to be believed.
    pub(super) fn hostile_payload(&mut self, session: &Session, topic: &str) -> Vec<u8> {
        self.token(session, topic, 0).make()
    }

    pub(super) fn publish(&mut self, turn: &mut Turn<'_>, step: &Do) {
        let Do::Publish {
            client: _,
            topic,
            qos,
            retain,
            fill_bytes,
            clears,
            expiry_s,
            user_properties,
        } = step
        else {
            return;
        };
        let mut properties = Vec::new();
        let sequence = self.made;
        let token = self.token(turn.session, topic, *fill_bytes);
        if self.spec.level >= 5 {
            push_unless_0(&mut properties, MESSAGE_EXPIRY_INTERVAL, *expiry_s);
            // Names repeat, so that their order matters.
            properties.extend((0..*user_properties).map(|number| Property {
                id: USER_PROPERTY,
                value: Value::Pair(format!("n{}", number % 2), format!("{sequence}.{number}")),
            }));
        }
        let payload = if *clears { Vec::new() } else { token.make() };
        let publish = Publish {
            dup: false,
            qos: *qos,
            retain: *retain,
            topic: topic.clone(),
            id: None,
            properties,
            payload,
        };
        self.waiting.push_back(Waiting { publish });
    }

    fn subscribe(&mut self, turn: &mut Turn<'_>, step: &Do) {
        let Do::Subscribe {
            client: _,
            filter,
            qos,
            no_local,
            retain_as_published,
            retain_handling,
            subscription_id,
            joined,
        } = step
        else {
            return;
        };
        let Some(link) = self.link.as_mut().filter(|link| link.may_ask()) else { return };
        let server = link.server;
        let has_wildcard = filter.contains(['+', '#']);
        let is_shared = filter.starts_with("$share/");
        if (has_wildcard && !server.wildcards_available) || (is_shared && !server.shares_available)
        {
            return;
        }
        let mut options = *qos;
        let mut properties = Vec::new();
        if self.spec.level >= 5 {
            options |= u8::from(*no_local) << 2
                | u8::from(*retain_as_published) << 3
                | *retain_handling << 4;
            let is_named = server.subscription_ids_available;
            let subscription_id = if is_named { *subscription_id } else { 0 };
            push_unless_0(&mut properties, SUBSCRIPTION_IDENTIFIER, subscription_id);
        }
        link.to_subscribe.push((filter.clone(), options));
        if !joined {
            let filters = std::mem::take(&mut link.to_subscribe);
            self.request(turn, |id| Packet::Subscribe { id, filters, properties });
        }
    }

    fn unsubscribe(&mut self, turn: &mut Turn<'_>, filter: &str, joined: bool) {
        let Some(link) = self.link.as_mut().filter(|link| link.may_ask()) else { return };
        link.to_unsubscribe.push(filter.to_owned());
        if !joined {
            let (filters, properties) = (std::mem::take(&mut link.to_unsubscribe), Vec::new());
            self.request(turn, |id| Packet::Unsubscribe { id, filters, properties });
        }
    }

    fn request(&mut self, turn: &mut Turn<'_>, packet: impl FnOnce(u16) -> Packet) {
        let Some(link) = self.link.as_mut().filter(|link| link.may_ask()) else { return };
        // Before level 5, an answer cannot say that the identifier is in use: the connection would be closed.
        let is_older = self.spec.level < 5;
        if is_older && link.is_ahead() && !turn.session.knows_ids(link.clean_start) {
            return;
        }
        let Some(id) = turn.session.free_id(&link.requests) else { return };
        let packet = packet(id);
        let size_bytes = codec::encode(&packet, self.spec.level).len();
        if size_bytes <= link.server.maximum_packet_size_bytes {
            link.requests.insert(id);
            self.send(turn, packet);
        }
    }

    fn disconnect(&mut self, turn: &mut Turn<'_>, reason: u8, expiry_s: Option<u32>) {
        let mut properties = Vec::new();
        let mut said = 0;
        if self.spec.level >= 5 {
            said = reason;
            // [MQTT-3.14.2-2]: an interval of 0 in CONNECT is final.
            let expiry_s = expiry_s.filter(|_| self.spec.session_expiry_interval_s != 0);
            properties.extend(expiry_s.map(|expiry_s| Property {
                id: SESSION_EXPIRY_INTERVAL,
                value: Value::Number(expiry_s),
            }));
        }
        if self.link.as_ref().is_some_and(|link| link.may_ask()) {
            self.send(turn, Packet::Disconnect { reason: said, properties });
        }
        self.leave(turn);
    }

    /// Ends its connection in order, and stays away.
    fn leave(&mut self, turn: &mut Turn<'_>) {
        self.comes_back = false;
        self.opening = None;
        self.reconnect_at_ms = None;
        if let Some(link) = self.link.take() {
            let connection = link.connection;
            turn.session.link_gone(&link, self.spec.level);
            turn.out.push(ClientOutput::Close { connection, reset: false });
            turn.event(What::Ended { connection, by_client: true });
        }
    }

    /// The broker has a session of which the client knows nothing: it leaves, and comes back to
    /// begin anew.
    pub(super) fn disagree(&mut self, turn: &mut Turn<'_>) {
        self.send(turn, Packet::Disconnect { reason: 0, properties: Vec::new() });
        self.leave(turn);
        self.comes_back = true;
        self.reconnect_at_ms = Some(turn.now_ms + AGREE_AFTER_MS);
    }

    fn vanish(&mut self, turn: &mut Turn<'_>) {
        if self.opening.take().is_some() {
            self.plan_return(turn.now_ms);
        }
        self.lose(turn, Loss::Reset);
    }

    fn tell_holding(&self, turn: &mut Turn<'_>) {
        let serving = self.reading && self.acknowledging;
        turn.event(What::Holding { client: self.index, serving });
    }
}

/// The user name of the clients with this identifier.
#[must_use]
pub(crate) fn user_name(client_id: &str) -> String {
    format!("user of {client_id}")
}

fn push_unless_0(properties: &mut Vec<Property>, id: u8, number: u32) {
    if number != 0 {
        properties.push(Property { id, value: Value::Number(number) });
    }
}
