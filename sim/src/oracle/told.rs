//! Histories written by hand, for the tests of the rules.

use crate::history::{Beside, ConnectionNumber, Event, Once, Violation, What};
use crate::oracle::model::Bounds;
use crate::oracle::rule::Rule;
use crate::oracle::{Oracle, properties as property};
use crate::packet::{AckKind, Connect, Packet, Property, Publish, Value, Will};
use crate::plan::{BrokerFault, ClientIndex, NetworkFault};

/// A history in the making. Every event is ten milliseconds after the one before.
#[derive(Clone, Default)]
pub(crate) struct Told {
    pub(crate) events: Vec<Event>,
    now_ms: u64,
    next_id: u16,
    open: Vec<ConnectionNumber>,
}

/// Bounds of a network and a broker that are in a hurry.
fn bounds() -> Bounds {
    Bounds { latency_ms: 100, slack_ms: 500, delivery_ms: 5_000, ..Bounds::default() }
}

/// Judges the whole history by one rule.
fn judge(bounds: Bounds, rule: impl Rule + 'static, told: &Told) -> Result<(), Violation> {
    let mut oracle = Oracle::with_rules(bounds, vec![Box::new(rule)]);
    for event in &told.events {
        if let Some(violation) = oracle.event(event) {
            return Err(violation);
        }
    }
    oracle.finish().into_iter().next().map_or(Ok(()), Err)
}

/// The rule finds nothing wrong, nor does any other.
pub(crate) fn passes(rule: impl Rule + 'static, told: &Told) {
    passes_within(bounds(), rule, told);
}

/// As [`passes`], with bounds of its own.
pub(crate) fn passes_within(bounds: Bounds, rule: impl Rule + 'static, told: &Told) {
    assert_eq!(judge(bounds.clone(), rule, told), Ok(()));
    let verdict = crate::oracle::check_within(bounds, &told.events);
    assert!(verdict.is_ok(), "another rule: {verdict:?}\n{:#?}", told.events);
}

/// The rule finds a violation of `guarantee`, with places in the history.
pub(crate) fn fails(rule: impl Rule + 'static, told: &Told, guarantee: &str) {
    fails_within(bounds(), rule, told, guarantee);
}

/// As [`fails`], with bounds of its own.
pub(crate) fn fails_within(
    bounds: Bounds,
    rule: impl Rule + 'static,
    told: &Told,
    guarantee: &str,
) {
    let violation = judge(bounds, rule, told).expect_err("a wrong history must not pass");
    assert_eq!(violation.guarantee, guarantee, "{violation:?}");
    assert!(!violation.what.is_empty() && !violation.events.is_empty(), "{violation:?}");
    assert!(violation.events.iter().all(|place| *place < told.events.len()), "{violation:?}");
}

/// A number property.
pub(crate) fn number(id: u8, number: u32) -> Property {
    Property { id, value: Value::Number(number) }
}

/// A PUBLISH with the token as its payload.
pub(crate) fn publish_of(topic: &str, token: &str, qos: u8, id: u16) -> Publish {
    Publish {
        dup: false,
        qos,
        retain: false,
        topic: topic.to_owned(),
        id: (qos > 0).then_some(id),
        properties: Vec::new(),
        payload: token.as_bytes().to_vec(),
    }
}

/// A CONNECT that begins a session which ends with its connection.
pub(crate) fn connect_of(client_id: &str) -> Connect {
    Connect {
        level: 5,
        clean_start: true,
        keep_alive_s: 0,
        client_id: client_id.to_owned(),
        will: None,
        user_name: None,
        password: None,
        properties: Vec::new(),
    }
}

/// A will at QoS 1 with the token as its payload.
pub(crate) fn will_of(topic: &str, token: &str, delay_s: u32) -> Will {
    Will {
        topic: topic.to_owned(),
        payload: token.as_bytes().to_vec(),
        qos: 1,
        retain: false,
        properties: vec![number(property::WILL_DELAY, delay_s)],
    }
}

impl Told {
    pub(crate) fn new() -> Self {
        Told::default()
    }

    pub(crate) fn wait(&mut self, ms: u64) -> &mut Self {
        self.now_ms += ms;
        self
    }

    pub(crate) fn push(&mut self, what: What) -> &mut Self {
        self.now_ms += 10;
        self.events.push(Event { at_ms: self.now_ms, what });
        self
    }

    pub(crate) fn sent(&mut self, connection: ConnectionNumber, packet: Packet) -> &mut Self {
        self.push(What::Sent { connection, packet })
    }

    pub(crate) fn got(&mut self, connection: ConnectionNumber, packet: Packet) -> &mut Self {
        self.push(What::Received { connection, packet, alias_topic: None, size_bytes: 20 })
    }

    pub(crate) fn sent_ack(&mut self, on: ConnectionNumber, kind: AckKind, id: u16) -> &mut Self {
        self.sent(on, Packet::Ack { kind, id, reason: 0, properties: Vec::new() })
    }

    pub(crate) fn got_ack(
        &mut self,
        on: ConnectionNumber,
        kind: AckKind,
        id: u16,
        reason: u8,
    ) -> &mut Self {
        self.got(on, Packet::Ack { kind, id, reason, properties: Vec::new() })
    }

    /// Opens a connection and sends CONNECT. The client's index is the connection's number.
    pub(crate) fn asks_in(&mut self, on: ConnectionNumber, connect: Connect) -> &mut Self {
        self.open.push(on);
        let client = ClientIndex::try_from(on).expect("small in tests");
        self.push(What::Opened { client, connection: on });
        self.sent(on, Packet::Connect(connect))
    }

    pub(crate) fn let_in(&mut self, on: ConnectionNumber, present: bool) -> &mut Self {
        let packet =
            Packet::ConnAck { session_present: present, reason: 0, properties: Vec::new() };
        self.got(on, packet)
    }

    pub(crate) fn enters(
        &mut self,
        on: ConnectionNumber,
        connect: Connect,
        present: bool,
    ) -> &mut Self {
        self.asks_in(on, connect).let_in(on, present)
    }

    /// A session that ends with its connection.
    pub(crate) fn connect(&mut self, on: ConnectionNumber, client_id: &str) -> &mut Self {
        self.enters(on, connect_of(client_id), false)
    }

    /// A new session that outlives its connection by a thousand seconds.
    pub(crate) fn durable(&mut self, on: ConnectionNumber, client_id: &str) -> &mut Self {
        let properties = vec![number(property::SESSION_EXPIRY, 1000)];
        self.enters(on, Connect { properties, ..connect_of(client_id) }, false)
    }

    /// Such a session again.
    pub(crate) fn resume(&mut self, on: ConnectionNumber, client_id: &str) -> &mut Self {
        self.returns(on, client_id, true)
    }

    /// Asks for such a session, and is told whether it is there.
    pub(crate) fn returns(
        &mut self,
        on: ConnectionNumber,
        client_id: &str,
        present: bool,
    ) -> &mut Self {
        let properties = vec![number(property::SESSION_EXPIRY, 1000)];
        let connect = Connect { properties, clean_start: false, ..connect_of(client_id) };
        self.enters(on, connect, present)
    }

    pub(crate) fn subscribe(&mut self, on: ConnectionNumber, filter: &str, qos: u8) -> &mut Self {
        self.subscribe_with(on, filter, qos, 0)
    }

    /// Subscribes with an options byte and a subscription identifier.
    pub(crate) fn subscribe_with(
        &mut self,
        on: ConnectionNumber,
        filter: &str,
        options: u8,
        subscription_id: u32,
    ) -> &mut Self {
        let id = self.fresh_id();
        let properties = match subscription_id {
            0 => Vec::new(),
            subscription_id => vec![number(property::SUBSCRIPTION_ID, subscription_id)],
        };
        let filters = vec![(filter.to_owned(), options)];
        self.sent(on, Packet::Subscribe { id, filters, properties });
        self.got(on, Packet::SubAck { id, reasons: vec![options & 3], properties: Vec::new() })
    }

    pub(crate) fn unsubscribe(
        &mut self,
        on: ConnectionNumber,
        filter: &str,
        reason: u8,
    ) -> &mut Self {
        let id = self.fresh_id();
        let filters = vec![filter.to_owned()];
        self.sent(on, Packet::Unsubscribe { id, filters, properties: Vec::new() });
        self.got(on, Packet::UnsubAck { id, reasons: vec![reason], properties: Vec::new() })
    }

    pub(crate) fn publish(
        &mut self,
        on: ConnectionNumber,
        topic: &str,
        token: &str,
        qos: u8,
    ) -> &mut Self {
        let id = self.fresh_id();
        self.publishes(on, publish_of(topic, token, qos, id))
    }

    pub(crate) fn retain(
        &mut self,
        on: ConnectionNumber,
        topic: &str,
        token: &str,
        qos: u8,
    ) -> &mut Self {
        let id = self.fresh_id();
        self.publishes(on, Publish { retain: true, ..publish_of(topic, token, qos, id) })
    }

    /// Publishes and is answered as the QoS asks.
    pub(crate) fn publishes(&mut self, on: ConnectionNumber, publish: Publish) -> &mut Self {
        let (qos, id) = (publish.qos, publish.id.unwrap_or(0));
        self.sent(on, Packet::Publish(publish));
        match qos {
            0 => self,
            1 => self.got_ack(on, AckKind::PubAck, id, 0),
            _ => {
                self.got_ack(on, AckKind::PubRec, id, 0).sent_ack(on, AckKind::PubRel, id);
                self.got_ack(on, AckKind::PubComp, id, 0)
            }
        }
    }

    pub(crate) fn publish_under(
        &mut self,
        on: ConnectionNumber,
        topic: &str,
        token: &str,
        qos: u8,
        id: u16,
    ) -> &mut Self {
        self.publishes(on, publish_of(topic, token, qos, id))
    }

    pub(crate) fn publish_again(
        &mut self,
        on: ConnectionNumber,
        topic: &str,
        token: &str,
        qos: u8,
        id: u16,
    ) -> &mut Self {
        self.publishes(on, Publish { dup: true, ..publish_of(topic, token, qos, id) })
    }

    pub(crate) fn publish_unanswered(
        &mut self,
        on: ConnectionNumber,
        topic: &str,
        token: &str,
        qos: u8,
        id: u16,
    ) -> &mut Self {
        self.sent(on, Packet::Publish(publish_of(topic, token, qos, id)))
    }

    /// Reads a message and acknowledges it to the end.
    pub(crate) fn read(
        &mut self,
        on: ConnectionNumber,
        topic: &str,
        token: &str,
        qos: u8,
    ) -> &mut Self {
        let id = self.fresh_id();
        self.reads(on, publish_of(topic, token, qos, id))
    }

    pub(crate) fn read_retained(
        &mut self,
        on: ConnectionNumber,
        topic: &str,
        token: &str,
        qos: u8,
    ) -> &mut Self {
        let id = self.fresh_id();
        self.reads(on, Publish { retain: true, ..publish_of(topic, token, qos, id) })
    }

    pub(crate) fn reads(&mut self, on: ConnectionNumber, publish: Publish) -> &mut Self {
        let (qos, id) = (publish.qos, publish.id.unwrap_or(0));
        self.got(on, Packet::Publish(publish));
        match qos {
            0 => self,
            1 => self.sent_ack(on, AckKind::PubAck, id),
            _ => self.pubrec(on, id).release(on, id),
        }
    }

    pub(crate) fn read_only(
        &mut self,
        on: ConnectionNumber,
        topic: &str,
        token: &str,
        qos: u8,
        id: u16,
    ) -> &mut Self {
        self.got(on, Packet::Publish(publish_of(topic, token, qos, id)))
    }

    pub(crate) fn read_again(
        &mut self,
        on: ConnectionNumber,
        topic: &str,
        token: &str,
        qos: u8,
        id: u16,
    ) -> &mut Self {
        self.got(on, Packet::Publish(Publish { dup: true, ..publish_of(topic, token, qos, id) }))
    }

    pub(crate) fn pubrec(&mut self, on: ConnectionNumber, id: u16) -> &mut Self {
        self.sent_ack(on, AckKind::PubRec, id)
    }

    /// Reads PUBREL and answers it.
    pub(crate) fn release(&mut self, on: ConnectionNumber, id: u16) -> &mut Self {
        self.got_ack(on, AckKind::PubRel, id, 0).sent_ack(on, AckKind::PubComp, id)
    }

    pub(crate) fn ping(&mut self, on: ConnectionNumber) -> &mut Self {
        self.sent(on, Packet::PingReq).got(on, Packet::PingResp)
    }

    /// Sends DISCONNECT and closes.
    pub(crate) fn leave(&mut self, on: ConnectionNumber, reason: u8) -> &mut Self {
        self.sent(on, Packet::Disconnect { reason, properties: Vec::new() }).lose(on)
    }

    /// The client loses its connection.
    pub(crate) fn lose(&mut self, on: ConnectionNumber) -> &mut Self {
        self.open.retain(|open| *open != on);
        self.push(What::Ended { connection: on, by_client: true })
    }

    /// The broker closes a connection after DISCONNECT.
    pub(crate) fn dismissed(&mut self, on: ConnectionNumber, reason: u8) -> &mut Self {
        self.got(on, Packet::Disconnect { reason, properties: Vec::new() }).closed(on)
    }

    /// The broker closes a connection.
    pub(crate) fn closed(&mut self, on: ConnectionNumber) -> &mut Self {
        self.open.retain(|open| *open != on);
        self.push(What::Ended { connection: on, by_client: false })
    }

    /// The broker is killed, every client notices, and it starts again.
    pub(crate) fn crash(&mut self) -> &mut Self {
        self.push(What::Broker(BrokerFault::Kill));
        for on in std::mem::take(&mut self.open) {
            self.push(What::Ended { connection: on, by_client: false });
        }
        self.push(What::Broker(BrokerFault::Start))
    }

    /// The wall clock of the broker's host is set.
    pub(crate) fn wall_clock(&mut self, by_ms: i64) -> &mut Self {
        self.push(What::WallClock { by_ms })
    }

    pub(crate) fn network(&mut self, client: ClientIndex, fault: NetworkFault) -> &mut Self {
        self.push(What::Network { client, fault })
    }

    pub(crate) fn dropped(&mut self, receiver: &str, topic: &str, cause: &str) -> &mut Self {
        self.push(What::Dropped {
            receiver: receiver.to_owned(),
            topic: topic.to_owned(),
            cause: cause.to_owned(),
        })
    }

    pub(crate) fn beside(&mut self, beside: Beside) -> &mut Self {
        self.push(What::Beside(beside))
    }

    /// Somebody without a connection asks to publish at QoS 1, under a key unless it is empty.
    pub(crate) fn request(
        &mut self,
        on: ConnectionNumber,
        key: &str,
        topic: &str,
        token: &str,
    ) -> &mut Self {
        let once = Once { identity: None, key: key.to_owned() };
        let once = Some(once).filter(|once| !once.key.is_empty());
        self.connect(on, &format!("request {on}"));
        self.beside(Beside::Requested { connection: on, once });
        self.sent(on, Packet::Publish(publish_of(topic, token, 1, 1)))
    }

    /// Somebody without a connection asks to publish, without a key.
    pub(crate) fn request_at(
        &mut self,
        on: ConnectionNumber,
        qos: u8,
        topic: &str,
        token: &str,
    ) -> &mut Self {
        self.connect(on, &format!("request {on}"));
        self.beside(Beside::Requested { connection: on, once: None });
        self.sent(on, Packet::Publish(publish_of(topic, token, qos, 1)))
    }

    /// Such a request is answered.
    pub(crate) fn answered(
        &mut self,
        on: ConnectionNumber,
        reason: u8,
        is_repeated: bool,
    ) -> &mut Self {
        self.beside(Beside::Answered { connection: on, reason, is_repeated }).lose(on)
    }

    /// The faults are over, and a minute later everything is.
    pub(crate) fn end(&mut self) -> &mut Self {
        self.push(What::Calm).wait(60_000).push(What::End)
    }

    fn fresh_id(&mut self) -> u16 {
        self.next_id += 1;
        1000 + self.next_id
    }
}
