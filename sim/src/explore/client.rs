//! The clients of an explored world: each follows the standard, and knows what it was told.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use signalhouse_core::LogPosition;
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{
    Ack, ClientPacket, ConnAck, Connect, OutboundPublish, Publish, Subscribe, SubscriptionOptions,
};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{
    Delivery, InboundPacketId, OutboundPacketId, PacketId, QoS, Text, Version,
};

use super::worlds::{Subscriber, TOPIC};

/// What is wrong, behind the code of its guarantee.
pub(super) type Wrong = String;

/// A client with its session, as it remembers it.
#[derive(Clone, Debug)]
pub(super) struct Client {
    name: &'static str,
    session_expiry_interval_s: u32,
    /// Its receive maximum on the first connection, and on those after it.
    receive_maxima: [u16; 2],
    /// What its latest CONNECT said of that; 0 before the first.
    pub(super) receive_maximum: u16,
    subscriber: Option<Subscriber>,
    /// Whether its CONNECT on this connection was answered.
    pub(super) is_accepted: bool,
    /// Whether the broker has a session for it, as far as it was told.
    session: Knowledge,
    /// What was recorded when its last connection was over for the broker. A crash that takes some of it may take
    /// that, too: the session is then open at the crash, and lasts anew.
    left_at: LogPosition,
    /// Counts its sessions.
    pub(super) session_number: u32,
    /// Whether its SUBSCRIBE was answered in this session.
    pub(super) is_subscribed: bool,
    /// Publications sent and not finished, in order: message by packet identifier.
    unfinished: VecDeque<(PacketId, usize, Stage)>,
    next_id: u16,
    /// Messages that the broker accepted.
    pub(super) accepted: BTreeSet<usize>,
    /// QoS 2 deliveries whose PUBREL has not come.
    held: BTreeMap<OutboundPacketId, usize>,
    /// How often each message was taken in this session.
    pub(super) taken: BTreeMap<usize, u32>,
    /// Messages in the order in which they were first taken.
    pub(super) order: Vec<usize>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Knowledge {
    Present,
    /// It has ended, or never began.
    Absent,
    /// Absent when CONNECT was sent; the answer to that one has to say so.
    New,
    /// CONNECT was sent and its answer lost, so that it may have begun one.
    Unknown,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    Published(QoS),
    Released,
}

impl Client {
    /// The client that publishes; its session never ends.
    pub(super) fn publisher() -> Self {
        Client::new("p", u32::MAX, [u16::MAX; 2], None)
    }

    pub(super) fn subscriber(
        name: &'static str,
        expiry_s: u32,
        receive_maxima: [u16; 2],
        subscriber: Subscriber,
    ) -> Self {
        Client::new(name, expiry_s, receive_maxima, Some(subscriber))
    }

    fn new(
        name: &'static str,
        session_expiry_interval_s: u32,
        receive_maxima: [u16; 2],
        subscriber: Option<Subscriber>,
    ) -> Self {
        Client {
            name,
            session_expiry_interval_s,
            receive_maxima,
            receive_maximum: 0,
            subscriber,
            is_accepted: false,
            session: Knowledge::Absent,
            left_at: LogPosition::START,
            session_number: 0,
            is_subscribed: false,
            unfinished: VecDeque::new(),
            next_id: 1,
            accepted: BTreeSet::new(),
            held: BTreeMap::new(),
            taken: BTreeMap::new(),
            order: Vec::new(),
        }
    }

    /// The first packet on a new connection.
    pub(super) fn connect(&mut self) -> ClientPacket {
        self.is_accepted = false;
        let [first, later] = self.receive_maxima;
        self.receive_maximum = if self.receive_maximum == 0 { first } else { later };
        self.session = match self.session {
            Knowledge::Absent => Knowledge::New,
            Knowledge::New | Knowledge::Unknown => Knowledge::Unknown,
            Knowledge::Present => Knowledge::Present,
        };
        ClientPacket::Connect(Box::new(Connect {
            version: Version::V5,
            clean_start: false,
            keep_alive_s: 0,
            client_id: text(self.name),
            will: None,
            user_name: None,
            password: None,
            session_expiry_interval_s: self.session_expiry_interval_s,
            receive_maximum: self.receive_maximum,
            maximum_packet_size_bytes: None,
            topic_alias_maximum: 0,
            request_response_information: false,
            request_problem_information: false,
            authentication_method: None,
            authentication_data: None,
            user_properties: Vec::new(),
        }))
    }

    /// Its connection is over for the broker, with so much recorded.
    pub(super) fn left(&mut self, recorded: LogPosition) {
        self.left_at = recorded;
    }

    /// The process has crashed. The journal survived up to there, and so much is recorded after the recovery.
    pub(super) fn crashed(&mut self, survived: LogPosition, recorded: LogPosition) {
        if self.session == Knowledge::Absent && survived < self.left_at {
            self.session = Knowledge::Unknown;
        }
        self.left_at = recorded;
    }

    /// So much time has passed that a session without a connection has ended, if it ever ends. Says whether it has.
    pub(super) fn outlive_session(&mut self) -> bool {
        let ends = self.session_expiry_interval_s != u32::MAX;
        if ends {
            self.forget_session();
            self.session = Knowledge::Absent;
        }
        ends
    }

    pub(super) fn publish(&mut self, message: usize, qos: QoS) -> ClientPacket {
        if qos == QoS::AtMostOnce {
            // It has no answer to wait for.
            self.accepted.insert(message);
            return publish(PacketId::MIN, message, qos, false);
        }
        let id = packet_id(self.next_id);
        self.next_id += 1;
        self.unfinished.push_back((id, message, Stage::Published(qos)));
        publish(id, message, qos, false)
    }

    /// The highest QoS of its deliveries.
    pub(super) fn maximum_qos(&self) -> QoS {
        self.subscriber.map_or(QoS::AtMostOnce, |subscriber| subscriber.maximum_qos)
    }

    /// Whether every publication is finished.
    pub(super) fn is_finished(&self) -> bool {
        self.unfinished.is_empty()
    }

    /// CONNACK, and what the client sends upon it.
    pub(super) fn connack(&mut self, connack: &ConnAck) -> Result<Vec<ClientPacket>, Wrong> {
        if connack.reason != ReasonCode::Success {
            return Err(format!("PR {} was refused: {:?}", self.name, connack.reason));
        }
        match (self.session, connack.session_present) {
            (Knowledge::Present, false) => {
                return Err(format!("DU the session of {} is gone", self.name));
            }
            (Knowledge::Absent | Knowledge::New, true) => {
                return Err(format!("SX the session of {} outlived its expiry", self.name));
            }
            (Knowledge::Present | Knowledge::Unknown, true) => {}
            (Knowledge::Absent | Knowledge::New | Knowledge::Unknown, false) => {
                self.forget_session();
            }
        }
        self.session = Knowledge::Present;
        self.is_accepted = true;
        let mut packets = Vec::new();
        if let Some(subscriber) = self.subscriber.filter(|_| !self.is_subscribed) {
            packets.push(subscribe(subscriber));
        }
        for (id, message, stage) in &self.unfinished {
            packets.push(match stage {
                Stage::Published(qos) => publish(*id, *message, *qos, true),
                Stage::Released => ClientPacket::PubRel(ack(InboundPacketId(*id))),
            });
        }
        Ok(packets)
    }

    pub(super) fn suback(&mut self, reasons: &[ReasonCode]) -> Result<(), Wrong> {
        self.is_subscribed = true;
        let refused = reasons.iter().any(|reason| reason.is_error());
        if refused {
            Err(format!("AH {} may not subscribe: {reasons:?}", self.name))
        } else {
            Ok(())
        }
    }

    pub(super) fn puback(&mut self, id: InboundPacketId) -> Result<(), Wrong> {
        let place = self.unfinished(id, "PUBACK")?;
        if let Some((_, message, _)) = self.unfinished.remove(place) {
            self.accepted.insert(message);
        }
        Ok(())
    }

    pub(super) fn pubrec(&mut self, id: InboundPacketId) -> Result<ClientPacket, Wrong> {
        let place = self.unfinished(id, "PUBREC")?;
        if let Some((_, message, stage)) = self.unfinished.get_mut(place) {
            *stage = Stage::Released;
            self.accepted.insert(*message);
        }
        Ok(ClientPacket::PubRel(ack(id)))
    }

    pub(super) fn pubcomp(&mut self, id: InboundPacketId) -> Result<(), Wrong> {
        let place = self.unfinished(id, "PUBCOMP")?;
        self.unfinished.remove(place);
        Ok(())
    }

    /// A delivery, and the client's acknowledgement, if it asks for one.
    pub(super) fn delivered(
        &mut self,
        sent: &OutboundPublish,
    ) -> Result<Option<ClientPacket>, Wrong> {
        let message = message_of(&sent.message.payload);
        match sent.delivery {
            Delivery::AtMostOnce => {
                self.take(message);
                Ok(None)
            }
            Delivery::AtLeastOnce(id) => {
                if self.held.contains_key(&id) {
                    return Err(format!("PI {id:?} is in use for a QoS 2 delivery"));
                }
                self.take(message);
                Ok(Some(ClientPacket::PubAck(ack(id))))
            }
            Delivery::ExactlyOnce(id) => {
                match self.held.get(&id) {
                    None => {
                        self.held.insert(id, message);
                        self.take(message);
                    }
                    Some(held) if *held != message => {
                        return Err(format!("PI {id:?} is in use for message {held}"));
                    }
                    Some(_) if !sent.dup => {
                        return Err(format!("RX message {message} was repeated without DUP"));
                    }
                    Some(_) => {}
                }
                Ok(Some(ClientPacket::PubRec(ack(id))))
            }
        }
    }

    pub(super) fn released(&mut self, id: OutboundPacketId) -> ClientPacket {
        let known = self.held.remove(&id).is_some();
        let reason = if known { ReasonCode::Success } else { ReasonCode::PacketIdentifierNotFound };
        ClientPacket::PubComp(Ack::new(id, reason))
    }

    fn take(&mut self, message: usize) {
        *self.taken.entry(message).or_default() += 1;
        if !self.order.contains(&message) {
            self.order.push(message);
        }
    }

    fn unfinished(&self, id: InboundPacketId, what: &str) -> Result<usize, Wrong> {
        let place = self.unfinished.iter().position(|(other, _, _)| *other == id.0);
        place.ok_or_else(|| format!("AH {} got {what} for nothing: {id:?}", self.name))
    }

    fn forget_session(&mut self) {
        self.session_number += 1;
        self.is_subscribed = false;
        self.held.clear();
        self.taken.clear();
        self.order.clear();
        self.unfinished.clear();
    }
}

fn subscribe(subscriber: Subscriber) -> ClientPacket {
    let options = SubscriptionOptions { maximum_qos: subscriber.maximum_qos, ..Default::default() };
    // Filters of worlds are written by us.
    let filter = TopicFilter::try_from(subscriber.filter).expect("a filter");
    ClientPacket::Subscribe(Box::new(Subscribe {
        packet_id: InboundPacketId(packet_id(60_000)),
        subscription_id: None,
        subscriptions: vec![(filter, options)],
        user_properties: Vec::new(),
    }))
}

fn publish(id: PacketId, message: usize, qos: QoS, dup: bool) -> ClientPacket {
    let id = InboundPacketId(id);
    let delivery = match qos {
        QoS::AtMostOnce => Delivery::AtMostOnce,
        QoS::AtLeastOnce => Delivery::AtLeastOnce(id),
        QoS::ExactlyOnce => Delivery::ExactlyOnce(id),
    };
    ClientPacket::Publish(Publish {
        dup,
        retain: false,
        delivery,
        topic: Topic::try_from(TOPIC).expect("a topic"),
        payload: Bytes::from(message.to_string()),
        message_expiry_interval_s: None,
        properties: None,
    })
}

pub(super) fn message_of(payload: &[u8]) -> usize {
    let text = std::str::from_utf8(payload).ok();
    text.and_then(|text| text.parse().ok()).unwrap_or(usize::MAX)
}

fn ack<Id>(id: Id) -> Ack<Id> {
    Ack::new(id, ReasonCode::Success)
}

fn packet_id(value: u16) -> PacketId {
    // Identifiers here are 1 and up.
    PacketId::new(value).unwrap_or(PacketId::MIN)
}

pub(super) fn text(value: &str) -> Text {
    // Names of worlds are written by us.
    Text::try_from(value).expect("a text")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A client whose connection was over with four records.
    fn gone() -> Client {
        let subscriber = Subscriber { filter: TOPIC, maximum_qos: QoS::ExactlyOnce };
        let mut client = Client::subscriber("s1", 100, [2, 2], subscriber);
        client.connect();
        assert_eq!(answered(&mut client, false), "");
        client.left(LogPosition(4));
        client
    }

    fn answered(client: &mut Client, session_present: bool) -> String {
        let connack = ConnAck { session_present, ..ConnAck::default() };
        client.connack(&connack).err().unwrap_or_default()
    }

    #[test]
    fn a_session_lasts_as_long_as_its_expiry_and_no_longer() {
        let outlived = "SX the session of s1 outlived its expiry";
        let mut client = gone();
        client.connect();
        assert_eq!(answered(&mut client.clone(), true), "");
        assert_eq!(answered(&mut client, false), "DU the session of s1 is gone");
        let mut client = gone();
        client.outlive_session();
        client.connect();
        assert_eq!(answered(&mut client.clone(), true), outlived);
        assert_eq!(answered(&mut client.clone(), false), "");
        // Its answer is lost: by now there may be another session.
        client.connect();
        assert_eq!(answered(&mut client, true), "");
    }

    #[test]
    fn a_crash_that_takes_the_end_of_a_connection_lets_its_session_last_anew() {
        let outlived = "SX the session of s1 outlived its expiry";
        for (survived, expected) in [(3, ""), (4, outlived)] {
            let mut client = gone();
            client.outlive_session();
            client.crashed(LogPosition(survived), LogPosition(survived + 1));
            client.connect();
            assert_eq!(answered(&mut client, true), expected, "{survived}");
        }
    }
}
