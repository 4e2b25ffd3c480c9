//! What must hold of everything the broker sends.

use std::collections::BTreeSet;

use signalhouse_core::ConnectionId;
use signalhouse_core::wire::outbound_publish_len;
use signalhouse_core::wire::packet::{OutboundPublish, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, QoS};

use super::check::{Ask, Check, Exchange, Owed, matches, number_of};
use super::client::Session;

impl Check {
    pub(crate) fn send(&mut self, id: ConnectionId, packet: &ServerPacket) {
        let Some(line) = self.lines.get_mut(&id) else {
            self.problem(format!("{id} was never open and is sent {packet:?}"));
            return;
        };
        if line.closed {
            self.problem(format!("{id} is closed and is sent {packet:?}"));
            return;
        }
        let is_first = matches!(packet, ServerPacket::ConnAck(_) | ServerPacket::Auth(_));
        if line.present.is_none() && !is_first {
            self.problem(format!("{id} has no CONNACK and is sent {packet:?}"));
            return;
        }
        match packet {
            ServerPacket::ConnAck(connack) => {
                if line.present.is_some() {
                    self.problem(format!("{id} has a second CONNACK"));
                    return;
                }
                line.present = Some(connack.session_present);
                let after = line.connack_after;
                if !connack.reason.is_error() && after > self.durable {
                    self.problem(format!("{id} has CONNACK before record {after} is durable"));
                }
            }
            ServerPacket::Publish(publish) => self.send_publish(id, publish),
            ServerPacket::PubAck(ack) => {
                let owed = line.pubacks.pop_front();
                self.send_answer(id, "PUBACK", owed, ack.packet_id.0.value(), ack.reason);
            }
            ServerPacket::PubRec(ack) => {
                let owed = line.pubrecs.pop_front();
                let packet_id = ack.packet_id.0.value();
                self.send_answer(id, "PUBREC", owed, packet_id, ack.reason);
                self.check_inbound(id, packet_id, ack.reason);
            }
            ServerPacket::PubComp(ack) => {
                let owed = line.pubcomps.pop_front();
                self.send_answer(id, "PUBCOMP", owed, ack.packet_id.0.value(), ack.reason);
            }
            ServerPacket::PubRel(ack) => self.send_pubrel(id, ack.packet_id.0.value(), ack.reason),
            ServerPacket::SubAck(suback) => {
                let owed = line.subacks.pop_front();
                let asked = owed.as_ref().map(|owed| owed.ask.clone());
                let packet_id = suback.packet_id.0.value();
                self.send_answer(id, "SUBACK", owed, packet_id, ReasonCode::Success);
                if let Some(Ask::Subscription(asked)) = asked {
                    self.subscribed(id, &asked, &suback.reasons);
                }
            }
            ServerPacket::UnsubAck(unsuback) => {
                let owed = line.unsubacks.pop_front();
                let packet_id = unsuback.packet_id.0.value();
                self.send_answer(id, "UNSUBACK", owed, packet_id, ReasonCode::Success);
            }
            ServerPacket::PingResp => {
                if line.pings == 0 {
                    self.problem(format!("{id} is sent a PINGRESP too many"));
                    return;
                }
                line.pings -= 1;
            }
            ServerPacket::Disconnect(_) | ServerPacket::Auth(_) => {}
        }
    }

    /// A repeated publication's answer waits for the record of the first.
    fn check_inbound(&mut self, id: ConnectionId, packet_id: u16, reason: ReasonCode) {
        let session = self.lines.get(&id).and_then(|line| line.session);
        if let Some(Session::Recorded(session)) = session
            && !reason.is_error()
            && let Some(at) = self.inbound.get(&(session, packet_id)).map(|held| held.at)
            && at > self.durable
        {
            self.problem(format!("{id} has PUBREC {packet_id} before record {at} is durable"));
        }
    }

    fn send_answer(
        &mut self,
        id: ConnectionId,
        name: &str,
        owed: Option<Owed>,
        packet_id: u16,
        reason: ReasonCode,
    ) {
        let Some(owed) = owed else {
            self.problem(format!("{id} asked for no {name} and is sent {packet_id}"));
            return;
        };
        if owed.id != packet_id {
            let expected = owed.id;
            self.problem(format!("{id} is sent {name} {packet_id} where {expected} is next"));
        }
        if owed.after > self.durable {
            let after = owed.after;
            self.problem(format!("{id} has {name} {packet_id} before record {after} is durable"));
        }
        if let Ask::Publication(number, candidates) = owed.ask {
            if reason == ReasonCode::NoMatchingSubscribers
                && candidates.iter().any(|session| self.is_alive(*session))
            {
                self.problem(format!("{id} is told that nobody wants message {number}"));
            }
            if !reason.is_error() {
                self.obliged += candidates.len() as u64;
                self.obligations.extend(candidates.iter().map(|session| (*session, number)));
            }
        }
    }

    fn is_alive(&self, session: Session) -> bool {
        self.books.get(&session).is_some_and(|books| !books.ended)
    }

    fn subscribed(
        &mut self,
        id: ConnectionId,
        asked: &[(String, QoS, bool)],
        reasons: &[ReasonCode],
    ) {
        if asked.len() != reasons.len() {
            self.problem(format!("{id} is sent a SUBACK with {} codes", reasons.len()));
        }
        let pending: BTreeSet<String> = self
            .lines
            .get(&id)
            .into_iter()
            .flat_map(|line| &line.subacks)
            .filter_map(|owed| match &owed.ask {
                Ask::Subscription(asked) => Some(asked.iter().map(|(filter, _, _)| filter.clone())),
                Ask::Publication(..) | Ask::Other => None,
            })
            .flatten()
            .collect();
        let unsubscribing = self.lines.get(&id).is_some_and(|line| !line.unsubacks.is_empty());
        let Some(books) = self.books_of(id) else { return };
        for ((filter, qos, no_local), reason) in asked.iter().zip(reasons) {
            let is_shared = filter.starts_with("$share/");
            books.stable.remove(filter);
            if !reason.is_error() && !is_shared && !pending.contains(filter) && !unsubscribing {
                books.stable.insert(filter.clone(), (*qos, *no_local));
            }
        }
    }

    fn send_pubrel(&mut self, id: ConnectionId, packet_id: u16, reason: ReasonCode) {
        let durable = self.durable;
        let Some(line) = self.lines.get_mut(&id) else { return };
        let session = line.session;
        if let Some(books) = session.and_then(|session| self.books.get_mut(&session))
            && reason == ReasonCode::Success
            && let Some(exchange) = books.exchanges.get(&packet_id)
        {
            books.finished.extend(exchange.number);
        }
        if line.is_obscure {
            // Whether one is owed cannot be known.
        } else if line.pubrels.front().is_some_and(|owed| owed.id == packet_id) {
            let owed = line.pubrels.pop_front();
            self.send_answer(id, "PUBREL", owed, packet_id, reason);
        } else if line.present == Some(true) && line.released_again.insert(packet_id) {
            // Sent again because the session was resumed.
        } else {
            let next = line.pubrels.front().map(|owed| owed.id);
            self.problem(format!("{id} is sent PUBREL {packet_id} where {next:?} is next"));
        }
        if let Some(Session::Recorded(session)) = session
            && reason == ReasonCode::Success
            && let Some(at) = self.received.get(&(session, packet_id)).copied()
            && at > durable
        {
            self.problem(format!("{id} has PUBREL {packet_id} before record {at} is durable"));
        }
    }

    fn send_publish(&mut self, id: ConnectionId, publish: &OutboundPublish) {
        self.deliveries += 1;
        let Some(line) = self.lines.get_mut(&id) else { return };
        let bytes = outbound_publish_len(publish, line.version);
        if bytes > line.maximum_bytes {
            let maximum = line.maximum_bytes;
            self.problem(format!("{id} takes {maximum} bytes and is sent {bytes}"));
        }
        let Some(line) = self.lines.get(&id) else { return };
        let Some(session) = line.session else {
            self.problem(format!("{id} has no session and is sent a PUBLISH"));
            return;
        };
        let packet_id = match publish.delivery {
            Delivery::AtMostOnce => None,
            Delivery::AtLeastOnce(id) | Delivery::ExactlyOnce(id) => Some(id.0.value()),
        };
        if packet_id.is_none() && publish.dup {
            self.problem(format!("{id} is sent DUP at QoS 0"));
        }
        self.check_made(id, session, publish);
        if let Some(packet_id) = packet_id {
            self.check_exchange(id, session, packet_id, publish);
            self.check_records(id, session, packet_id, publish);
        }
    }

    /// The message is one that was published, for someone who asked for it, and in its turn.
    fn check_made(&mut self, id: ConnectionId, session: Session, publish: &OutboundPublish) {
        let topic = publish.message.topic.to_string();
        // The broker's own numbers are nobody's.
        if topic.starts_with("$SYS/") {
            return;
        }
        let Some(number) = number_of(&publish.message.payload) else { return };
        let qos = publish.delivery.qos();
        let Some(made) = self.made.get(&number).cloned() else {
            self.problem(format!("{id} is sent message {number}, which nobody published"));
            return;
        };
        if made.topic != topic || made.payload != publish.message.payload || qos > made.qos {
            self.problem(format!("{id} is sent message {number} changed: {publish:?}"));
        }
        let Some(books) = self.books.get_mut(&session) else { return };
        if !books.ever.iter().any(|filter| matches(filter, &topic)) {
            self.problem(format!("{id} never asked for {topic} and is sent {number}"));
            return;
        }
        let is_first = books.sent.insert(number);
        let is_shared = books
            .ever
            .iter()
            .any(|filter| filter.starts_with("$share/") && matches(filter, &topic));
        if let (true, false, false, Some(order), Some((publisher, _))) =
            (is_first, is_shared, made.retain, made.order, made.publisher)
        {
            let last = books.last.entry((publisher, topic.clone(), qos)).or_insert(0);
            if order < *last {
                let last = *last;
                self.problem(format!(
                    "{id} is sent message {number} ({topic}, QoS {qos}, the {order}th) behind the \
                     {last}th of the same publisher"
                ));
            } else {
                *last = order;
            }
        }
    }

    fn check_exchange(
        &mut self,
        id: ConnectionId,
        session: Session,
        packet_id: u16,
        publish: &OutboundPublish,
    ) {
        let (Some(line), Some(books)) = (self.lines.get_mut(&id), self.books.get_mut(&session))
        else {
            return;
        };
        let message = format!("{:?}", publish.message.payload);
        let qos = publish.delivery.qos();
        let is_new = line.unacknowledged.insert(packet_id);
        let (count, window, present) = (line.unacknowledged.len(), line.window, line.present);
        let before = books.exchanges.get(&packet_id).cloned();
        let topic = publish.message.topic.as_str();
        let may_be_shared =
            books.ever.iter().any(|filter| filter.starts_with("$share/") && matches(filter, topic));
        let exchange = Exchange {
            message: message.clone(),
            number: number_of(&publish.message.payload)
                .filter(|number| self.made.get(number).is_some_and(|made| !made.retain)),
            qos,
            released: false,
            is_shared: qos == QoS::AtLeastOnce && may_be_shared,
            is_certain: true,
        };
        let is_doubtful = books.doubtful.remove(&packet_id);
        let tracked = exchange.number.filter(|_| qos == QoS::ExactlyOnce && !may_be_shared);
        let bound = tracked.map(|number| *books.identifiers.entry(number).or_insert(packet_id));
        let is_finished = tracked.is_some_and(|number| books.finished.contains(&number));
        books.exchanges.insert(packet_id, exchange);
        let mut problem = |what: &str| {
            self.problems.push(format!("{id} is sent PUBLISH {packet_id} {message} {what}"));
        };
        if !is_new {
            problem("twice on one connection, or under an identifier in use");
        }
        if count > window {
            problem(&format!("as number {count} unacknowledged; it takes {window}"));
        }
        if let Some(bound) = bound
            && bound != packet_id
        {
            problem(&format!("at QoS 2 under another identifier than {bound}"));
        }
        if is_finished {
            problem("at QoS 2 behind its PUBREL");
        }
        if publish.dup && present != Some(true) {
            problem("with DUP in a new session");
        }
        match before {
            _ if is_doubtful => {}
            Some(before) if before.released => problem("after its PUBREC"),
            Some(before)
                if before.message != message
                    && (before.is_certain || before.qos > QoS::AtLeastOnce) =>
            {
                problem(&format!("under the identifier of {} in flight", before.message));
            }
            Some(before) if before.is_certain && !publish.dup => problem("again without DUP"),
            None if publish.dup && self.crashes == 0 => problem("with DUP for the first time"),
            Some(_) | None => {}
        }
    }

    /// What the packet says is durable.
    fn check_records(
        &mut self,
        id: ConnectionId,
        session: Session,
        packet_id: u16,
        publish: &OutboundPublish,
    ) {
        let Session::Recorded(number) = session else { return };
        let mut waits: Vec<&u64> = Vec::new();
        if let Delivery::ExactlyOnce(_) = publish.delivery {
            waits.extend(self.bound.get(&(number, packet_id)));
        }
        let topic = publish.message.topic.as_str();
        let is_shared = self.books.get(&session).is_some_and(|books| {
            books.ever.iter().any(|filter| filter.starts_with("$share/") && matches(filter, topic))
        });
        if !is_shared {
            waits.extend(self.entered.get(&(number, publish.message.id.0)));
        }
        for at in waits {
            if *at > self.durable {
                let what = format!("{id} has PUBLISH {packet_id} before record {at} is durable");
                self.problems.push(what);
            }
        }
    }
}
