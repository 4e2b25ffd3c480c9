//! The one path by which messages leave the broker, live, queued and held back alike.

use alloc::sync::Arc;

use super::Broker;
use super::counters::Counters;
use super::deadlines::Remainder;
use super::fetch::Forms;
use super::leave::dropped_waiting;
use super::route::SLICE;
use super::spare::Spares;
use crate::gate::{Gate, Item};
use crate::link::Link;
use crate::message::Message;
use crate::notice::{DropCause, Notice};
use crate::outbox::{Action, Outbox};
use crate::permission::{Action as Permitted, Permissions};
use crate::record::{LogPosition, Receiver, Record};
use crate::session::flight::{Exchange, Stage};
use crate::session::queue::{Entry, Journaled, Lane, Waiting};
use crate::session::slot::Slot;
use crate::session::{Session, SessionKey};
use crate::time::Time;
use crate::wire::outbound_publish_len;
use crate::wire::packet::{Ack, OutboundPublish, ServerPacket};
use crate::wire::property::SubscriptionIds;
use crate::wire::reason::ReasonCode;
use crate::wire::types::{Delivery, OutboundPacketId, PacketId, QoS};

impl Broker {
    /// Sends a session everything it can be sent now.
    pub(super) fn pump(&mut self, key: SessionKey, out: &mut Outbox) {
        let Some(mut pump) = self.pump_for(key, out) else { return };
        if pump.has_nothing() {
            return self.count_memory(key);
        }
        pump.send_queued();
        let mut has_more = pump.drops_left == 0;
        let takes_shared = pump.is_idle() && !pump.session.groups.is_empty();
        if takes_shared
            && self.take_shared(key, out)
            && let Some(mut pump) = self.pump_for(key, out)
        {
            pump.send_queued();
            // What was dropped, or went out at QoS 0, left its place to what still waits at a group.
            has_more |= pump.drops_left < SLICE || (pump.is_idle() && self.has_shared_waiting(key));
        }
        if has_more || self.replay_may_go_on(key) {
            self.add_work(key);
        }
        self.read_ahead(key, out);
        self.count_memory(key);
    }

    /// Sends at QoS 1 or 2 what would be sent at once if it were put into the session's queue, which is empty, and
    /// gives back what has to wait.
    pub(super) fn begin_at_once(
        &mut self,
        key: SessionKey,
        entry: Waiting,
        message: Option<&Arc<Message>>,
        out: &mut Outbox,
    ) -> Result<(), Waiting> {
        let Some(mut pump) = self.pump_for(key, out) else { return Err(entry) };
        if !pump.is_next(&entry) {
            return Err(entry);
        }
        let message = message.cloned().or_else(|| pump.spares.message(&entry.message));
        let Some(message) = message else { return Err(entry) };
        let cause = pump.obstacle(&message).or_else(|| pump.excess(&entry, &message));
        match cause {
            Some(cause) => pump.drop_waiting(&entry, cause),
            None => pump.begin(entry, message)?,
        }
        self.count_stored(key);
        Ok(())
    }

    /// Sends at QoS 0 to a connection that has room and nothing waiting.
    pub(super) fn send_at_once(
        &mut self,
        key: SessionKey,
        forms: &mut Forms<'_>,
        retain: bool,
        subscription_ids: SubscriptionIds,
        out: &mut Outbox,
    ) {
        let message = forms.message().clone();
        if let Some(mut pump) = self.pump_for(key, out) {
            let publish = pump.qos0(message, retain, subscription_ids);
            let bytes = forms.publish_bytes(&publish, pump.session.version);
            pump.send_qos0(publish, bytes);
        }
    }

    /// Drops what has expired in a session's queue, to make room.
    pub(super) fn drop_expired(&mut self, key: SessionKey, out: &mut Outbox) {
        let now = self.durable_now();
        let Some(session) = self.sessions.get_mut(key) else { return };
        for entry in session.queue.take_if(|entry| entry.message.is_expired(now)) {
            if let Some(receiver) = journal_place(session, &entry) {
                self.gate.persist(Record::Removed { receiver, seq: entry.seq }, out);
            }
            self.counters.dropped += 1;
            out.notice(dropped_waiting(session.client_id.clone(), &entry, DropCause::Expired));
            if canary!(StoredBytesNotReturned) {
                self.accounts.add(&session.stored.bounds, entry.message.content_bytes());
            }
        }
        self.count_memory(key);
    }

    /// The session with its live connection.
    fn pump_for<'a>(&'a mut self, key: SessionKey, out: &'a mut Outbox) -> Option<Pump<'a>> {
        if canary!(BacklogHoldsOthers) && self.has_other_backlog(key) {
            return None;
        }
        let (now, remainder) = (self.durable_now(), self.remainder());
        let session = self.sessions.get_mut(key)?;
        let may_send = |link: &&mut Link| link.is_live() || canary!(PublishBeforeConnack);
        let link = self.links.get_mut(session.connection?).filter(may_send)?;
        Some(Pump {
            now,
            remainder,
            key,
            permissions: &self.permissions,
            gate: &mut self.gate,
            counters: &mut self.counters,
            spares: &mut self.spares,
            session,
            link,
            out,
            drops_left: SLICE,
        })
    }
}

/// A session, its connection, and what sending takes.
struct Pump<'a> {
    now: Time,
    remainder: Remainder,
    key: SessionKey,
    permissions: &'a Permissions,
    gate: &'a mut Gate,
    counters: &'a mut Counters,
    spares: &'a mut Spares,
    session: &'a mut Session,
    link: &'a mut Link,
    out: &'a mut Outbox,
    /// Messages that may yet be dropped in this call; window and room bound those that are sent.
    drops_left: u32,
}

impl Pump<'_> {
    /// Whether nothing waits and the client's window has a place.
    fn is_idle(&self) -> bool {
        let queue = &self.session.queue;
        let waiting = queue.lane_len(Lane::Main) + queue.lane_len(Lane::Qos0);
        self.link.has_window() && waiting == 0
    }

    /// Whether an entry at QoS 1 or 2 is all there is to send, now.
    fn is_next(&self, entry: &Waiting) -> bool {
        entry.qos > QoS::AtMostOnce
            && self.has_nothing()
            && self.gate.is_durable(entry.after)
            && self.link.has_window()
            && self.link.has_room()
    }

    /// Whether there is nothing that could be sent, whatever the window and the room.
    fn has_nothing(&self) -> bool {
        self.session.queue.is_empty()
            && self.link.unsent.is_empty()
            && self.session.groups.is_empty()
            && self.session.replays.is_empty()
    }

    fn send_queued(&mut self) {
        self.send_unsent();
        while self.drops_left > 0 && self.may_begin() {
            let Some(waiting) = self.session.queue.pop(Lane::Main) else { break };
            // It stays packed until it is acknowledged.
            let Some(message) = self.spares.message(&waiting.message) else {
                // `may_begin` lets one pass that is not in memory only to be dropped.
                self.drop_waiting(&waiting, DropCause::Expired);
                continue;
            };
            let cause = self.obstacle(&message).or_else(|| self.excess(&waiting, &message));
            if let Some(cause) = cause {
                self.drop_waiting(&waiting, cause);
            } else if let Err(waiting) = self.begin(waiting, message) {
                self.session.queue.push(waiting);
                break;
            }
            self.send_unsent();
        }
        self.send_qos0_lane();
    }

    /// Whether the first waiting message at QoS 1 or 2 may get its packet identifier.
    fn may_begin(&self) -> bool {
        // What is to be sent again comes first and has the first claim on the window.
        let is_in_turn = self.link.unsent.back().is_none_or(|(id, _)| {
            self.session.flight.get(*id).is_none_or(|exchange| exchange.in_window)
        });
        is_in_turn
            && self.link.has_window()
            && self.link.has_room()
            && self
                .session
                .queue
                .front(Lane::Main)
                .is_some_and(|slot| self.gate.is_durable(slot.after()) && self.is_ready(slot))
    }

    /// Whether a waiting message is in memory, or need not be.
    fn is_ready(&self, slot: &Slot) -> bool {
        !slot.held().is_stored() || slot.is_expired(self.now)
    }

    /// Gives a message its packet identifier and its place in the window, and sends it if it is in
    /// turn.
    fn begin(&mut self, waiting: Waiting, message: Arc<Message>) -> Result<(), Waiting> {
        let (seq, qos, journaled) = (waiting.seq, waiting.qos, waiting.journaled);
        let at_group = journal_place(self.session, &waiting);
        let packet_id = self.session.flight.bind(waiting)?;
        let mut after = LogPosition::START;
        match (journaled, qos, at_group) {
            (Journaled::Here, _, _) => {
                let record = Record::Bound { session: self.session.id, seq, packet_id };
                let bound_at = self.gate.persist(record, self.out);
                // A QoS 2 identifier must not be used for something else after a crash; a QoS 1
                // message is only repeated.
                if qos == QoS::ExactlyOnce {
                    after = bound_at;
                }
            }
            (Journaled::AtGroup(_), QoS::ExactlyOnce, Some(receiver)) => {
                // After a crash it must not go to another member as well [MQTT-4.8.2-5].
                after = self.gate.persist(Record::Removed { receiver, seq }, self.out);
                self.session.flight.forget_journal(packet_id);
            }
            (Journaled::No | Journaled::AtGroup(_), _, _) => {}
        }
        let is_durable = self.gate.is_durable(after);
        let is_in_turn = is_durable && self.link.unsent.is_empty();
        if let Some(exchange) = self.session.flight.get_mut(packet_id) {
            exchange.in_window = true;
            if let Stage::Publish { after: wait, .. } = &mut exchange.stage {
                *wait = after;
            }
            self.link.in_window += 1;
            if !is_in_turn {
                self.link.unsent.push_back((packet_id, exchange.order));
            }
        }
        if is_in_turn {
            self.send_exchange(packet_id, message, false);
        } else if !is_durable {
            self.gate.hold(after, Item::Wake { session: self.key, id: self.session.id });
        }
        Ok(())
    }

    /// Sends what has a packet identifier, in order: new PUBLISHes, and after a reconnect those
    /// and the PUBRELs to be sent again `[MQTT-4.4.0-1]`.
    fn send_unsent(&mut self) {
        while let Some((packet_id, order)) = self.link.unsent.front().copied() {
            let exchange =
                self.session.flight.get_mut(packet_id).filter(|exchange| exchange.order == order);
            let Some(exchange) = exchange else {
                self.link.unsent.pop_front();
                continue;
            };
            let takes_window = !exchange.in_window;
            match &mut exchange.stage {
                Stage::Release { after } => {
                    if !self.gate.is_durable(*after) {
                        return;
                    }
                    if takes_window && self.link.has_window() {
                        exchange.in_window = true;
                        self.link.in_window += 1;
                    }
                    let ack = Ack::new(packet_id, ReasonCode::Success);
                    if !canary!(PubrelNotResent) {
                        self.send(ServerPacket::PubRel(ack));
                    }
                }
                Stage::Publish { entry, after } => {
                    let needs_window = takes_window && !canary!(ResentBesideWindow);
                    let is_blocked = !self.gate.is_durable(*after)
                        || (needs_window && !self.link.has_window())
                        || !self.link.has_room();
                    if is_blocked {
                        return;
                    }
                    // What is to be sent again may have to be read back first.
                    let Some(message) = self.spares.message(&entry.message) else { return };
                    self.send_exchange(packet_id, message, takes_window);
                }
            }
            self.link.unsent.pop_front();
        }
    }

    /// Sends what an exchange is about, whose message is this.
    fn send_exchange(
        &mut self,
        packet_id: OutboundPacketId,
        message: Arc<Message>,
        takes_window: bool,
    ) {
        let exchange = self.session.flight.get(packet_id);
        let Some(Stage::Publish { entry, .. }) = exchange.map(|exchange| &exchange.stage) else {
            return;
        };
        // Once the client may have seen it, the exchange is carried through [MQTT-4.3.3-7].
        let is_carried_through = entry.maybe_sent && !canary!(ExpiredInFlightDropped);
        let obstacle = if is_carried_through { None } else { self.obstacle(&message) };
        let qos = entry.qos;
        let publish = self.publish_of(entry, message, packet_id);
        let bytes = outbound_publish_len(&publish, self.session.version);
        let cause = obstacle.or_else(|| (!self.takes(bytes)).then_some(DropCause::TooLarge));
        if let Some(cause) = cause {
            if is_carried_through && qos == QoS::ExactlyOnce {
                self.release_unsent(packet_id);
            } else if let Some(exchange) = self.session.flight.remove(packet_id) {
                self.finish(packet_id, &exchange);
            }
            self.drop_unsent(&publish, cause);
            return;
        }
        if let Some(exchange) = self.session.flight.get_mut(packet_id) {
            if takes_window {
                exchange.in_window = true;
                self.link.in_window += 1;
            }
            if let Stage::Publish { entry, .. } = &mut exchange.stage {
                entry.maybe_sent = true;
            }
        }
        self.send_publish(publish, bytes);
    }

    /// Goes on to PUBREL with a message that can no longer be sent: the client may hold its packet
    /// identifier, which must not become another message's before it lets go.
    fn release_unsent(&mut self, packet_id: OutboundPacketId) {
        let session = self.session.id;
        let Some(exchange) = self.session.flight.get_mut(packet_id) else { return };
        let mut after = LogPosition::START;
        if exchange.journaled == Journaled::Here {
            after = self.gate.persist(Record::Received { session, packet_id }, self.out);
        }
        self.link.unsent.push_back((packet_id, exchange.order));
        self.session.flight.release(packet_id, after);
        if !self.gate.is_durable(after) {
            self.gate.hold(after, Item::Wake { session: self.key, id: session });
        }
    }

    fn publish_of(
        &self,
        entry: &Waiting,
        message: Arc<Message>,
        packet_id: OutboundPacketId,
    ) -> OutboundPublish {
        let delivery = match entry.qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce(packet_id),
            QoS::ExactlyOnce => Delivery::ExactlyOnce(packet_id),
        };
        OutboundPublish {
            message_expiry_interval_s: self.remainder.of(&message),
            message,
            dup: entry.maybe_sent && !canary!(DupNotSet), // [MQTT-3.3.1-1] [MQTT-3.3.1-3]
            retain: entry.retain,
            delivery,
            subscription_ids: entry.subscription_ids.clone(),
        }
    }

    fn send_qos0_lane(&mut self) {
        while self.drops_left > 0
            && self.link.has_room()
            && let Some(slot) = self.session.queue.front(Lane::Qos0)
            && self.gate.is_durable(slot.after())
            && let Some(waiting) = self.session.queue.pop(Lane::Qos0)
        {
            let message = self.spares.message(&waiting.message);
            let message = message.expect("what waits at QoS 0 is in memory");
            if let Some(cause) = self.obstacle(&message) {
                self.drop_waiting(&waiting, cause);
                continue;
            }
            self.record_removal(&waiting);
            self.session.moved_at = self.now;
            let publish = self.qos0(message, waiting.retain, waiting.subscription_ids);
            let bytes = outbound_publish_len(&publish, self.session.version);
            self.send_qos0(publish, bytes);
        }
    }

    fn qos0(
        &self,
        message: Arc<Message>,
        retain: bool,
        subscription_ids: SubscriptionIds,
    ) -> OutboundPublish {
        OutboundPublish {
            message_expiry_interval_s: self.remainder.of(&message),
            message,
            dup: false, // [MQTT-3.3.1-2]
            retain,
            delivery: Delivery::AtMostOnce,
            subscription_ids,
        }
    }

    fn send_qos0(&mut self, publish: OutboundPublish, bytes: usize) {
        if self.takes(bytes) {
            self.send_publish(publish, bytes);
        } else {
            self.drop_unsent(&publish, DropCause::TooLarge);
        }
    }

    /// Counts and notices what is not sent after all.
    fn drop_unsent(&mut self, publish: &OutboundPublish, cause: DropCause) {
        self.counters.dropped += 1;
        let receiver = self.session.client_id.clone();
        let topic = publish.message.topic.compact();
        self.out.notice(Notice::Dropped { receiver, topic, cause });
    }

    /// Sends a PUBLISH, which is so many bytes long.
    fn send_publish(&mut self, publish: OutboundPublish, bytes: usize) {
        self.link.room_bytes -= i64::try_from(bytes).unwrap_or(i64::MAX);
        self.counters.publish_sent += 1;
        self.counters.publish_bytes_sent += publish.message.payload.len() as u64;
        self.send(ServerPacket::Publish(publish));
    }

    fn send(&mut self, packet: ServerPacket) {
        self.counters.packets_sent += 1;
        self.out.push(Action::Send { connection: self.link.id, packet });
    }

    /// Whether the client takes a packet of so many bytes `[MQTT-3.1.2-24]` `[MQTT-3.1.2-25]`.
    fn takes(&self, bytes: usize) -> bool {
        canary!(PacketSizeIgnored)
            || self.link.maximum_packet_size_bytes == u32::MAX
            || bytes <= self.link.maximum_packet_size_bytes as usize
    }

    /// Why delivery of a message must not begin.
    fn obstacle(&self, message: &Message) -> Option<DropCause> {
        if message.is_expired(self.now) && !canary!(ExpiredDelivered) {
            return Some(DropCause::Expired); // [MQTT-3.3.2-5]
        }
        let subject = self.session.subject();
        let allowed = self.permissions.allows(&subject, Permitted::Receive, &message.topic).allowed;
        (!allowed && !canary!(RevokedStillDelivered)).then_some(DropCause::NotAuthorized)
    }

    /// Whether a message is too large for the client, found out before it takes an identifier;
    /// every identifier is as long as the smallest.
    fn excess(&self, entry: &Waiting, message: &Arc<Message>) -> Option<DropCause> {
        if self.link.maximum_packet_size_bytes == u32::MAX {
            return None;
        }
        let packet_id = OutboundPacketId(PacketId::MIN);
        let publish = self.publish_of(entry, message.clone(), packet_id);
        let bytes = outbound_publish_len(&publish, self.session.version);
        (!self.takes(bytes)).then_some(DropCause::TooLarge)
    }

    fn drop_waiting(&mut self, entry: &Waiting, cause: DropCause) {
        self.drops_left = self.drops_left.saturating_sub(1);
        self.record_removal(entry);
        self.counters.dropped += 1;
        self.out.notice(dropped_waiting(self.session.client_id.clone(), entry, cause));
    }

    fn record_removal<M>(&mut self, entry: &Entry<M>) {
        if let Some(receiver) = journal_place(self.session, entry) {
            self.gate.persist(Record::Removed { receiver, seq: entry.seq }, self.out);
        }
    }

    /// An exchange is over: its identifier and its place in the window are free.
    fn finish(&mut self, packet_id: OutboundPacketId, exchange: &Exchange) {
        if exchange.in_window {
            self.link.in_window -= 1;
        }
        if let Some(record) = completion(self.session, packet_id, exchange) {
            self.gate.persist(record, self.out);
        }
    }
}

/// In whose queue the journal has an entry of this session.
pub(super) fn journal_place<M>(session: &Session, entry: &Entry<M>) -> Option<Receiver> {
    match entry.journaled {
        Journaled::No => None,
        Journaled::Here => Some(Receiver::Session(session.id)),
        Journaled::AtGroup(_) => entry.group.map(|(_, id)| Receiver::Group(id)),
    }
}

/// What the journal must hear when an exchange is over.
pub(super) fn completion(
    session: &Session,
    packet_id: OutboundPacketId,
    exchange: &Exchange,
) -> Option<Record> {
    match (exchange.journaled, &exchange.stage) {
        (Journaled::No, _) | (Journaled::AtGroup(_), Stage::Release { .. }) => None,
        (Journaled::Here, _) => Some(Record::Completed { session: session.id, packet_id }),
        (Journaled::AtGroup(_), Stage::Publish { entry, .. }) => {
            let receiver = journal_place(session, entry)?;
            Some(Record::Removed { receiver, seq: entry.seq })
        }
    }
}
