//! What the broker has sent to one client, and what it may send next: the packet identifier of each
//! delivery, its DUP, its place in the client's receive maximum.
//!
//! Judged where packets leave the broker, so that what is lost on the way counts as well. A message is
//! known by the broker's number for it: a publication at QoS 1 that is repeated is another message.
//! What a client makes of what reaches it is in `client.rs`.

use std::collections::{BTreeMap, BTreeSet};

use signalhouse_core::message::MessageId;
use signalhouse_core::wire::packet::{ClientPacket, OutboundPublish};
use signalhouse_core::wire::types::{Delivery, OutboundPacketId, QoS};
use signalhouse_core::{ConnectionId, LogPosition};

use super::client::{Wrong, message_of};

/// Not recorded so far.
const UNRECORDED: LogPosition = LogPosition(u64::MAX);

/// Deliveries of one client's session, and what counts on its connection.
#[derive(Clone, Debug, Default)]
pub(super) struct Deliveries {
    /// Whether another member of a share may get what this client does not acknowledge.
    is_shared: bool,
    /// The connection whose CONNACK went out last, until it is closed.
    connection: Option<ConnectionId>,
    /// What the client takes at once on that connection.
    receive_maximum: u16,
    /// Deliveries on that connection that count against it.
    unanswered: BTreeSet<OutboundPacketId>,
    /// Messages sent on that connection.
    sent_here: BTreeSet<MessageId>,
    /// Identifiers released on that connection.
    released_here: BTreeSet<OutboundPacketId>,
    /// Every delivery of the session at QoS 1 and 2.
    exchanges: BTreeMap<MessageId, Exchange>,
}

#[derive(Clone, Debug)]
struct Exchange {
    message: usize,
    qos: QoS,
    id: OutboundPacketId,
    /// From here on a crash does not take the packet identifier.
    bound_at: LogPosition,
    /// Whether a crash has taken it: at QoS 1 the message may then come under another.
    is_loose: bool,
    /// Whether its session has ended, as far as no crash takes that back.
    is_of_ended: bool,
    stage: Stage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// PUBLISH was sent.
    Published,
    /// PUBREC came. From there on a crash does not take that.
    Received(LogPosition),
    /// PUBREL was sent.
    Released,
    /// PUBACK or PUBCOMP came. From there on a crash does not take that.
    Answered(LogPosition),
}

impl Exchange {
    /// Whether its packet identifier must not stand for anything else `[MQTT-2.2.1-4]`.
    fn occupies(&self, id: OutboundPacketId) -> bool {
        let is_over = matches!(self.stage, Stage::Answered(_));
        self.id == id && !self.is_loose && !self.is_of_ended && !is_over
    }
}

impl Deliveries {
    pub(super) fn new(is_shared: bool) -> Self {
        Deliveries { is_shared, ..Deliveries::default() }
    }

    /// The broker accepts a connection.
    pub(super) fn connack(
        &mut self,
        connection: ConnectionId,
        is_session_present: bool,
        receive_maximum: u16,
    ) {
        self.leave_connection();
        self.connection = Some(connection);
        self.receive_maximum = receive_maximum;
        if !is_session_present {
            self.exchanges.clear();
        } else if self.is_shared {
            // What is not acknowledged at QoS 1 went back to the share.
            self.exchanges.retain(|_, exchange| {
                exchange.qos == QoS::ExactlyOnce || matches!(exchange.stage, Stage::Answered(_))
            });
        }
    }

    /// The broker closes a connection.
    pub(super) fn closed(&mut self, connection: ConnectionId) {
        if self.connection == Some(connection) {
            self.leave_connection();
        }
    }

    fn leave_connection(&mut self) {
        self.connection = None;
        self.unanswered.clear();
        self.sent_here.clear();
        self.released_here.clear();
    }

    /// The broker sends a message, when so much is recorded. `is_recovered` says whether it had the
    /// message before a crash: then it may have sent it, for all that it knows.
    pub(super) fn publish(
        &mut self,
        connection: ConnectionId,
        publish: &OutboundPublish,
        is_recovered: bool,
        recorded: LogPosition,
    ) -> Result<(), Wrong> {
        let message = message_of(&publish.message.payload);
        if self.connection != Some(connection) {
            return Err(format!("PR message {message} goes out without a CONNACK before it"));
        }
        let (Delivery::AtLeastOnce(id) | Delivery::ExactlyOnce(id)) = publish.delivery else {
            // [MQTT-3.3.1-2]
            let wrong = format!("RX message {message} has DUP at QoS 0");
            return if publish.dup { Err(wrong) } else { Ok(()) };
        };
        let copy = publish.message.id;
        // [MQTT-4.4.0-1]
        if !self.sent_here.insert(copy) {
            return Err(format!("RX message {message} is sent again on the same connection"));
        }
        let is_in_use = self.exchanges.iter().any(|(it, one)| *it != copy && one.occupies(id));
        if is_in_use || !self.unanswered.insert(id) {
            return Err(format!("PI {} of message {message} is in use", id.0));
        }
        self.released_here.remove(&id);
        // [MQTT-3.3.4-9] [MQTT-4.9.0-2]
        let (sent, maximum) = (self.unanswered.len(), self.receive_maximum);
        if sent > usize::from(maximum) {
            return Err(format!(
                "FC {sent} unanswered deliveries, the receive maximum is {maximum}"
            ));
        }
        let qos = publish.delivery.qos();
        match self.exchanges.get_mut(&copy) {
            None if publish.dup && !is_recovered => {
                Err(format!("RX message {message} has DUP the first time")) // [MQTT-3.3.1-1]
            }
            None => {
                let stage = Stage::Published;
                let (is_loose, is_of_ended) = (false, false);
                let exchange =
                    Exchange { message, qos, id, bound_at: recorded, is_loose, is_of_ended, stage };
                self.exchanges.insert(copy, exchange);
                Ok(())
            }
            Some(exchange) => exchange.is_repeated_by(publish, id, recorded),
        }
    }

    /// The broker sends PUBREL.
    pub(super) fn release(
        &mut self,
        connection: ConnectionId,
        id: OutboundPacketId,
    ) -> Result<(), Wrong> {
        if self.connection != Some(connection) {
            return Err(format!("PR PUBREL {} goes out without a CONNACK before it", id.0));
        }
        if !self.released_here.insert(id) {
            return Err(format!("RX PUBREL {} is sent again on the same connection", id.0));
        }
        let exchange = self.with_id(id, |stage| match stage {
            Stage::Received(_) | Stage::Released => true,
            Stage::Published | Stage::Answered(_) => false,
        });
        // [MQTT-4.3.3-4]
        let (_, exchange) = exchange.ok_or_else(|| format!("RX PUBREL {} without PUBREC", id.0))?;
        exchange.stage = Stage::Released;
        Ok(())
    }

    /// A packet of the client reaches the broker. Returns the message whose delivery it moves on.
    pub(super) fn hears(&mut self, packet: &ClientPacket) -> Option<MessageId> {
        let (id, from, to) = match packet {
            ClientPacket::PubAck(ack) => {
                (ack.packet_id, Stage::Published, Stage::Answered(UNRECORDED))
            }
            ClientPacket::PubRec(ack) => {
                (ack.packet_id, Stage::Published, Stage::Received(UNRECORDED))
            }
            ClientPacket::PubComp(ack) => {
                (ack.packet_id, Stage::Released, Stage::Answered(UNRECORDED))
            }
            ClientPacket::Connect(_)
            | ClientPacket::Publish(_)
            | ClientPacket::PubRel(_)
            | ClientPacket::Subscribe(_)
            | ClientPacket::Unsubscribe(_)
            | ClientPacket::PingReq
            | ClientPacket::Disconnect(_)
            | ClientPacket::Auth(_) => return None,
        };
        if matches!(to, Stage::Answered(_)) {
            self.unanswered.remove(&id);
            self.released_here.remove(&id);
        }
        let (copy, exchange) = self.with_id(id, |stage| stage == from)?;
        exchange.stage = to;
        Some(copy)
    }

    /// So much is recorded now that the broker has dealt with what [`Deliveries::hears`] told of.
    pub(super) fn recorded(&mut self, copy: MessageId, through: LogPosition) {
        let Some(exchange) = self.exchanges.get_mut(&copy) else { return };
        if let Stage::Received(at) | Stage::Answered(at) = &mut exchange.stage
            && *at == UNRECORDED
        {
            *at = through;
        }
    }

    /// The session has ended. The CONNACK that says so may be lost, and the next one tell of a new session.
    pub(super) fn session_ended(&mut self) {
        for exchange in self.exchanges.values_mut() {
            exchange.is_of_ended = true;
        }
    }

    /// The process crashes. The journal survives up to there, and with it these messages.
    pub(super) fn crash(&mut self, survived: LogPosition, recovered: &BTreeSet<MessageId>) {
        self.leave_connection();
        let is_shared = self.is_shared;
        self.exchanges.retain(|copy, exchange| {
            match exchange.stage {
                Stage::Answered(at) if at <= survived => return true,
                Stage::Received(at) if at <= survived => return true,
                Stage::Answered(_) if exchange.qos == QoS::ExactlyOnce => {
                    exchange.stage = Stage::Released;
                }
                Stage::Received(_) | Stage::Answered(_) => exchange.stage = Stage::Published,
                Stage::Published | Stage::Released => {}
            }
            if exchange.qos == QoS::ExactlyOnce {
                // Nothing was sent before it was durable.
                return true;
            }
            exchange.is_loose = exchange.is_loose || exchange.bound_at > survived;
            recovered.contains(copy) && !is_shared
        });
    }

    /// The different messages with this content that were sent in this session.
    pub(super) fn copies(&self, message: usize) -> impl Iterator<Item = MessageId> {
        let sent = self.exchanges.iter();
        sent.filter(move |(_, exchange)| exchange.message == message).map(|(copy, _)| *copy)
    }

    fn with_id(
        &mut self,
        id: OutboundPacketId,
        is_at: impl Fn(Stage) -> bool,
    ) -> Option<(MessageId, &mut Exchange)> {
        let exchanges = self.exchanges.iter_mut();
        let found = exchanges.filter(|(_, one)| one.id == id && !one.is_loose && is_at(one.stage));
        found.min_by_key(|(_, one)| one.is_of_ended).map(|(copy, exchange)| (*copy, exchange))
    }
}

impl Exchange {
    /// The same message is sent once more, on another connection.
    fn is_repeated_by(
        &mut self,
        publish: &OutboundPublish,
        id: OutboundPacketId,
        recorded: LogPosition,
    ) -> Result<(), Wrong> {
        let message = self.message;
        self.is_of_ended = false;
        match self.stage {
            Stage::Published => {}
            // [MQTT-4.3.3-6]
            Stage::Received(_) | Stage::Released | Stage::Answered(_) => {
                return Err(format!("RX message {message} is sent again though it was answered"));
            }
        }
        if !publish.dup {
            return Err(format!("RX message {message} is repeated without DUP")); // [MQTT-3.3.1-1]
        }
        if self.is_loose {
            (self.id, self.bound_at, self.is_loose) = (id, recorded, false);
        }
        if self.id != id {
            // [MQTT-4.4.0-1]
            return Err(format!("RX message {message} comes as {}, it was {}", id.0, self.id.0));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use signalhouse_core::message::Message;
    use signalhouse_core::routing::topic::Topic;
    use signalhouse_core::wire::packet::Ack;
    use signalhouse_core::wire::property::SubscriptionIds;
    use signalhouse_core::wire::reason::ReasonCode;
    use signalhouse_core::wire::types::PacketId;

    use super::*;

    const ONE: ConnectionId = ConnectionId { index: 2, generation: 1 };
    const OTHER: ConnectionId = ConnectionId { index: 2, generation: 2 };

    fn id(value: u16) -> OutboundPacketId {
        OutboundPacketId(PacketId::new(value).expect("not 0"))
    }

    fn accepted(receive_maximum: u16) -> Deliveries {
        let mut deliveries = Deliveries::new(false);
        deliveries.connack(ONE, false, receive_maximum);
        deliveries
    }

    /// Message `copy` goes out, when as much is recorded as its number says.
    fn sends(
        deliveries: &mut Deliveries,
        connection: ConnectionId,
        (copy, dup): (u64, bool),
        delivery: Delivery<OutboundPacketId>,
    ) -> String {
        let message = Message {
            id: MessageId(copy),
            topic: Topic::try_from("t").expect("a topic"),
            payload: Bytes::from(copy.to_string()),
            qos: delivery.qos(),
            expires_at: None,
            properties: None,
        };
        let publish = OutboundPublish {
            message: Arc::new(message),
            dup,
            retain: false,
            delivery,
            message_expiry_interval_s: None,
            subscription_ids: SubscriptionIds::None,
        };
        let sent = deliveries.publish(connection, &publish, false, LogPosition(copy));
        sent.err().unwrap_or_default()
    }

    fn hears(deliveries: &mut Deliveries, packet: fn(Ack<OutboundPacketId>) -> ClientPacket) {
        let copy = deliveries.hears(&packet(Ack::new(id(1), ReasonCode::Success)));
        deliveries.recorded(copy.expect("it is waited for"), LogPosition(5));
    }

    use Delivery::{AtLeastOnce, ExactlyOnce};

    #[test]
    fn no_more_than_the_receive_maximum_may_wait_for_an_answer() {
        let mut deliveries = accepted(1);
        assert_eq!(sends(&mut deliveries, ONE, (1, false), ExactlyOnce(id(1))), "");
        hears(&mut deliveries, ClientPacket::PubRec);
        let too_many = "FC 2 unanswered deliveries, the receive maximum is 1";
        let mut other = deliveries.clone();
        assert_eq!(sends(&mut other, ONE, (2, false), AtLeastOnce(id(2))), too_many);
        assert_eq!(deliveries.release(ONE, id(1)), Ok(()));
        hears(&mut deliveries, ClientPacket::PubComp);
        assert_eq!(sends(&mut deliveries, ONE, (2, false), AtLeastOnce(id(1))), "");
    }

    #[test]
    fn a_delivery_is_repeated_once_a_connection_as_it_was_and_with_dup() {
        let mut deliveries = accepted(9);
        let first_dup = "RX message 1 has DUP the first time";
        assert_eq!(sends(&mut deliveries.clone(), ONE, (1, true), AtLeastOnce(id(1))), first_dup);
        assert_eq!(sends(&mut deliveries, ONE, (1, false), AtLeastOnce(id(1))), "");
        let again = "RX message 1 is sent again on the same connection";
        assert_eq!(sends(&mut deliveries.clone(), ONE, (1, true), AtLeastOnce(id(1))), again);
        let in_use = "PI 1 of message 2 is in use";
        assert_eq!(sends(&mut deliveries.clone(), ONE, (2, false), AtLeastOnce(id(1))), in_use);
        let early = "PR message 1 goes out without a CONNACK before it";
        assert_eq!(sends(&mut deliveries.clone(), OTHER, (1, true), AtLeastOnce(id(1))), early);
        deliveries.connack(OTHER, true, 9);
        assert_eq!(sends(&mut deliveries.clone(), OTHER, (2, false), AtLeastOnce(id(1))), in_use);
        let moved = "RX message 1 comes as 2, it was 1";
        assert_eq!(sends(&mut deliveries.clone(), OTHER, (1, true), AtLeastOnce(id(2))), moved);
        let bare = "RX message 1 is repeated without DUP";
        assert_eq!(sends(&mut deliveries.clone(), OTHER, (1, false), AtLeastOnce(id(1))), bare);
        assert_eq!(sends(&mut deliveries, OTHER, (1, true), AtLeastOnce(id(1))), "");
        hears(&mut deliveries, ClientPacket::PubAck);
        deliveries.connack(ONE, true, 9);
        let answered = "RX message 1 is sent again though it was answered";
        assert_eq!(sends(&mut deliveries, ONE, (1, true), AtLeastOnce(id(1))), answered);
    }

    #[test]
    fn an_identifier_of_a_session_that_has_ended_is_free() {
        let mut deliveries = accepted(9);
        assert_eq!(sends(&mut deliveries, ONE, (1, false), AtLeastOnce(id(1))), "");
        deliveries.connack(OTHER, true, 9);
        let in_use = "PI 1 of message 2 is in use";
        assert_eq!(sends(&mut deliveries.clone(), OTHER, (2, false), AtLeastOnce(id(1))), in_use);
        deliveries.session_ended();
        assert_eq!(sends(&mut deliveries, OTHER, (2, false), AtLeastOnce(id(1))), "");
        // What comes back stands for the new one.
        hears(&mut deliveries, ClientPacket::PubAck);
        deliveries.connack(ONE, true, 9);
        let answered = "RX message 2 is sent again though it was answered";
        assert_eq!(sends(&mut deliveries, ONE, (2, true), AtLeastOnce(id(1))), answered);
    }

    #[test]
    fn a_crash_takes_back_what_was_not_durable_and_no_more() {
        let recovered = BTreeSet::from([MessageId(1)]);
        let after_crash = |mut deliveries: Deliveries, survived| {
            deliveries.crash(LogPosition(survived), &recovered);
            deliveries.connack(OTHER, true, 9);
            deliveries
        };
        let mut at_least = accepted(9);
        assert_eq!(sends(&mut at_least, ONE, (1, false), AtLeastOnce(id(1))), "");
        let mut bound = after_crash(at_least.clone(), 1);
        let moved = "RX message 1 comes as 2, it was 1";
        assert_eq!(sends(&mut bound, OTHER, (1, true), AtLeastOnce(id(2))), moved);
        let mut unbound = after_crash(at_least.clone(), 0);
        assert_eq!(sends(&mut unbound, OTHER, (1, true), AtLeastOnce(id(2))), "");
        hears(&mut at_least, ClientPacket::PubAck);
        let answered = "RX message 1 is sent again though it was answered";
        let mut over = after_crash(at_least.clone(), 5);
        assert_eq!(sends(&mut over, OTHER, (1, true), AtLeastOnce(id(1))), answered);
        let mut not_over = after_crash(at_least, 4);
        assert_eq!(sends(&mut not_over, OTHER, (1, true), AtLeastOnce(id(1))), "");

        let mut exactly = accepted(9);
        assert_eq!(sends(&mut exactly, ONE, (1, false), ExactlyOnce(id(1))), "");
        let without = Err("RX PUBREL 1 without PUBREC".to_owned());
        assert_eq!(exactly.clone().release(ONE, id(1)), without);
        hears(&mut exactly, ClientPacket::PubRec);
        let mut received = after_crash(exactly.clone(), 5);
        assert_eq!(sends(&mut received.clone(), OTHER, (1, true), ExactlyOnce(id(1))), answered);
        assert_eq!(received.release(OTHER, id(1)), Ok(()));
        let twice = Err("RX PUBREL 1 is sent again on the same connection".to_owned());
        assert_eq!(received.release(OTHER, id(1)), twice);
        let mut not_received = after_crash(exactly, 4);
        assert_eq!(sends(&mut not_received, OTHER, (1, true), ExactlyOnce(id(1))), "");
    }
}
