//! One client: what it remembers of its session, what it has to say, and the packets it makes.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use bytes::Bytes;
use signalhouse_core::ConnectionId;
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{
    ClientPacket, Connect, Publish, RetainHandling, ServerPacket, Subscribe, SubscriptionOptions,
    Unsubscribe, Will,
};
use signalhouse_core::wire::property::MessageProperties;
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS, Text, Version};

use super::rng::Rng;

pub(crate) const TOPICS: [&str; 6] = ["a", "a/b", "a/b/c", "b", "b/c", "c/d"];
pub(crate) const FILTERS: [&str; 13] =
    ["a", "a/b", "a/+", "a/#", "+/b", "+/+/c", "b/#", "b", "b/c", "c/+", "c/d", "+", "#"];
pub(crate) const SHARES: [&str; 5] =
    ["$share/g/a/#", "$share/g/b", "$share/h/a/+", "$share/h/c/d", "$share/g/+/c"];

/// A session as the client may tell it from others: by the broker's number for it in the journal,
/// or by the one connection it can have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Session {
    Recorded(u64),
    Transient(ConnectionId),
}

/// What a client keeps of its session, whichever connection it has.
#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    pub(crate) session: Option<Session>,
    last_id: u16,
    /// Its own requests that are not answered, by packet identifier.
    pub(crate) requests: BTreeMap<u16, Request>,
    /// Publications at QoS 2 that it has received and not released.
    pub(crate) held: BTreeSet<u16>,
}

/// A request that is not answered.
#[derive(Clone, Debug)]
pub(crate) struct Request {
    pub(crate) what: Asked,
    /// Rises from request to request: the order of sending again.
    pub(crate) order: u64,
    /// The connection it was sent on last.
    pub(crate) sent_on: ConnectionId,
}

#[derive(Clone, Debug)]
pub(crate) enum Asked {
    Publish(Box<Publish>),
    Release,
    Other,
}

impl Memory {
    /// A packet identifier that is not in use.
    pub(crate) fn fresh_id(&mut self) -> u16 {
        loop {
            self.last_id = self.last_id % 40_000 + 1;
            if !self.requests.contains_key(&self.last_id) {
                return self.last_id;
            }
        }
    }

    /// Publications that count against the broker's receive maximum.
    pub(crate) fn unacknowledged(&self) -> usize {
        self.requests.values().filter(|request| !matches!(request.what, Asked::Other)).count()
    }

    /// The broker has another session than the one remembered.
    pub(crate) fn begin(&mut self, session: Session, connection: ConnectionId) {
        self.session = Some(session);
        self.held.clear();
        self.requests.retain(|_, request| request.sent_on == connection);
    }
}

/// The client's end of a connection.
#[derive(Clone, Debug)]
pub(crate) struct Link {
    pub(crate) id: ConnectionId,
    /// Whose memory it uses.
    pub(crate) key: String,
    pub(crate) version: Version,
    /// The receive maximum that it stated.
    pub(crate) window: u16,
    /// The session, once the broker has accepted the client.
    pub(crate) session: Option<Session>,
    /// Whether CONNACK was read.
    pub(crate) live: bool,
    /// Whether what either side sends is lost.
    pub(crate) severed: bool,
    /// Whether the client keeps to the protocol.
    pub(crate) honest: bool,
    /// How readily it acknowledges, in percent.
    pub(crate) diligence: u64,
    /// Whether its room changes.
    pub(crate) narrow: bool,
    pub(crate) inbox: VecDeque<ServerPacket>,
    pub(crate) replies: Vec<ClientPacket>,
}

/// What a client may do with its subscriptions.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) shares: bool,
}

pub(crate) fn text(text: &str) -> Text {
    Text::try_from(text).expect("a string of the protocol")
}

pub(crate) fn inbound(id: u16) -> InboundPacketId {
    InboundPacketId(PacketId::new(id).expect("not 0"))
}

fn topic(rng: &mut Rng) -> Topic {
    Topic::try_from(rng.pick(&TOPICS)).expect("a topic")
}

fn qos(rng: &mut Rng) -> QoS {
    rng.pick(&[QoS::AtMostOnce, QoS::AtLeastOnce, QoS::ExactlyOnce, QoS::ExactlyOnce])
}

pub(crate) fn connect(rng: &mut Rng, client_id: &str, number: u64) -> Connect {
    let version = rng.pick(&[Version::V5, Version::V5, Version::V5, Version::V311, Version::V31]);
    let is_v5 = version == Version::V5;
    let clean_start = rng.chance(12) || (client_id.is_empty() && !is_v5);
    let session_expiry_interval_s = match (is_v5, clean_start) {
        (true, _) => rng.pick(&[0, 2, 30, 3600, 3600, 100_000, u32::MAX]),
        (false, true) => 0,
        (false, false) => u32::MAX,
    };
    Connect {
        version,
        clean_start,
        keep_alive_s: if rng.chance(10) { 20 } else { 0 },
        client_id: text(client_id),
        will: rng.chance(15).then(|| Box::new(will(rng, is_v5, number))),
        user_name: None,
        password: None,
        session_expiry_interval_s,
        receive_maximum: if is_v5 { rng.pick(&[1, 2, 3, 4, 5, 65_535]) } else { 65_535 },
        maximum_packet_size_bytes: (is_v5 && rng.chance(12)).then(|| rng.pick(&[24, 40, 200])),
        topic_alias_maximum: 0,
        request_response_information: false,
        request_problem_information: true,
        authentication_method: None,
        authentication_data: None,
        user_properties: Vec::new(),
    }
}

fn will(rng: &mut Rng, is_v5: bool, number: u64) -> Will {
    Will {
        topic: topic(rng),
        payload: Bytes::from(format!("w{number}")),
        qos: qos(rng),
        retain: rng.chance(15),
        delay_interval_s: if is_v5 { rng.pick(&[0, 1, 10, 7200]) } else { 0 },
        message_expiry_interval_s: (is_v5 && rng.chance(20)).then(|| rng.pick(&[1, 30])),
        properties: None,
    }
}

/// A publication whose payload says its number.
pub(crate) fn publish(rng: &mut Rng, version: Version, qos: QoS, number: u64, id: u16) -> Publish {
    let is_v5 = version == Version::V5;
    let retain = rng.chance(12);
    let padding = if rng.chance(10) { rng.place(60) } else { 0 };
    let payload = if retain && rng.chance(30) {
        Bytes::new()
    } else {
        Bytes::from(format!("{number}.{}", "x".repeat(padding)))
    };
    let properties = (is_v5 && rng.chance(10)).then(|| {
        Box::new(MessageProperties {
            user_properties: vec![(text("n"), text(&number.to_string()))],
            ..MessageProperties::default()
        })
    });
    Publish {
        dup: false,
        retain,
        delivery: match qos {
            QoS::AtMostOnce => Delivery::AtMostOnce,
            QoS::AtLeastOnce => Delivery::AtLeastOnce(inbound(id)),
            QoS::ExactlyOnce => Delivery::ExactlyOnce(inbound(id)),
        },
        topic: topic(rng),
        payload,
        message_expiry_interval_s: (is_v5 && rng.chance(8)).then(|| rng.pick(&[1, 5, 60, 4000])),
        properties,
    }
}

pub(crate) fn any_qos(rng: &mut Rng) -> QoS {
    qos(rng)
}

pub(crate) fn subscribe(rng: &mut Rng, version: Version, habits: Habits, id: u16) -> Subscribe {
    let is_v5 = version == Version::V5;
    let mut subscriptions = Vec::new();
    for _ in 0..rng.pick(&[1, 1, 1, 2, 3]) {
        let is_shared = habits.shares && rng.chance(45);
        let filter = if is_shared { rng.pick(&SHARES) } else { rng.pick(&FILTERS) };
        let options = SubscriptionOptions {
            maximum_qos: qos(rng),
            no_local: is_v5 && !is_shared && rng.chance(15),
            retain_as_published: is_v5 && rng.chance(30),
            retain_handling: if is_v5 {
                rng.pick(&[RetainHandling::Always, RetainHandling::IfNew, RetainHandling::Never])
            } else {
                RetainHandling::Always
            },
        };
        subscriptions.push((TopicFilter::try_from(filter).expect("a filter"), options));
    }
    Subscribe {
        packet_id: inbound(id),
        subscription_id: (is_v5 && rng.chance(30)).then(|| rng.pick(&[1, 2, 300])),
        subscriptions,
        user_properties: Vec::new(),
    }
}

pub(crate) fn unsubscribe(rng: &mut Rng, habits: Habits, id: u16) -> Unsubscribe {
    let is_shared = habits.shares && rng.chance(45);
    let filter = if is_shared { rng.pick(&SHARES) } else { rng.pick(&FILTERS) };
    Unsubscribe {
        packet_id: inbound(id),
        filters: vec![TopicFilter::try_from(filter).expect("a filter")],
        user_properties: Vec::new(),
    }
}
