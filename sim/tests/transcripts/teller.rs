//! Tells what was observed in a transcript, in the simulator's words.

use std::collections::{BTreeMap, BTreeSet};

use signalhouse_core::ConnectionId;
use signalhouse_core::credential::Credential;
use signalhouse_core::input::Publisher;
use signalhouse_core::wire::types::Text;
use signalhouse_sim::codec::{Decoder, Terms, decode_client, number};
use signalhouse_sim::core_layer::dropped;
use signalhouse_sim::history::{Beside, ConnectionNumber, Event, Once, What};
use signalhouse_sim::packet::{AckKind, Connect, Packet};
use signalhouse_sim::plan::BrokerFault;

use crate::observed::Observed;
use crate::permits::{Permits, Subject};

/// The property that names an authentication method.
const METHOD: u8 = 0x15;

/// The property that says how many messages may be under way.
const RECEIVE_MAXIMUM: u8 = 0x21;

/// The client identifier is not one that the client may have.
const NOT_VALID: u8 = 0x85;

/// Why a client is sent away that kept to the protocol: it may not come in, the broker stops or was moved, the
/// client was silent or came again elsewhere, or it was ordered.
const BLAMELESS: [u8; 9] = [0x86, 0x87, 0x88, 0x8b, 0x8d, 0x8e, 0x98, 0x9c, 0x9d];

/// Tells what was observed, in the simulator's words.
#[derive(Default)]
pub(crate) struct Teller {
    events: Vec<Event>,
    permits: Permits,
    /// Whether clients prove who they are before they are let in.
    is_asking: bool,
    /// Requests that are not answered, by ticket.
    requests: BTreeMap<u64, ConnectionNumber>,
    connections: BTreeMap<ConnectionId, Connection>,
    next: ConnectionNumber,
}

struct Connection {
    number: ConnectionNumber,
    client_id: String,
    level: u8,
    decoder: Decoder,
    /// Where its client's last packet is.
    last_sent: usize,
    /// Whether it read why it is sent away, and that is not its fault.
    is_blameless: bool,
    /// How many messages may be under way to the client, and which are.
    receive_maximum: usize,
    under_way: BTreeSet<u16>,
    /// QoS 2 publications of the client without PUBREC on this connection.
    unrecorded: BTreeSet<u16>,
}

impl Connection {
    /// Whether a client goes on with a QoS 2 exchange as no client may: it sends PUBLISH again on
    /// the same connection [MQTT-4.4.0-1], or PUBREL before it had PUBREC.
    fn breaks_off(&mut self, packet: &Packet) -> bool {
        if let Packet::Publish(publish) = packet
            && publish.qos == 2
        {
            return !self.unrecorded.insert(publish.id.unwrap_or_default());
        }
        let Packet::Ack { kind: AckKind::PubRel, id, .. } = packet else { return false };
        self.unrecorded.contains(id)
    }

    fn hears(&mut self, packet: &Packet, is_asking: bool) {
        if let Packet::ConnAck { reason, .. } | Packet::Disconnect { reason, .. } = packet {
            // Only who is somebody can be a stranger to a client identifier.
            let is_stranger = is_asking && *reason == NOT_VALID;
            self.is_blameless |= is_stranger || BLAMELESS.contains(reason);
        }
        if let Packet::Ack { kind: AckKind::PubRec, id, .. } = packet {
            self.unrecorded.remove(id);
        }
        if let Packet::Publish(publish) = packet {
            self.under_way.extend(publish.id);
        } else if let Packet::Ack { kind: AckKind::PubRel, id, .. } = packet {
            self.under_way.insert(*id);
        }
    }

    /// What a client sends may end the way of a message to it.
    fn says(&mut self, packet: &Packet) {
        let Packet::Ack { kind, id, reason, .. } = packet else { return };
        let is_end = match kind {
            AckKind::PubAck | AckKind::PubComp => true,
            AckKind::PubRec => *reason >= 0x80,
            AckKind::PubRel => false,
        };
        if is_end {
            self.under_way.remove(id);
        }
    }
}

impl Teller {
    pub(crate) fn new(is_asking: bool) -> Self {
        Teller { is_asking, ..Teller::default() }
    }

    /// All that was told. Who has as much under way as it takes is one that does not acknowledge.
    pub(crate) fn finish(mut self, at_ms: u64) -> Vec<Event> {
        let connections = std::mem::take(&mut self.connections);
        let is_full = |told: &&Connection| told.under_way.len() >= told.receive_maximum;
        for told in connections.values().filter(is_full) {
            let client = usize::try_from(told.number).expect("there are few");
            self.push(at_ms, What::Holding { client, serving: false });
        }
        self.events
    }

    pub(crate) fn tell(&mut self, at_ms: u64, observed: &Observed) {
        match observed {
            Observed::Opened { connection } => self.opened(at_ms, *connection),
            Observed::Sent { connection, bytes } => self.sent(at_ms, *connection, bytes),
            Observed::Malformed { connection } => {
                if let Some(told) = self.connections.get(connection) {
                    let connection = told.number;
                    self.push(at_ms, What::Misbehaved { connection, must_end: false });
                }
            }
            Observed::Read { connection, bytes } => self.read(at_ms, *connection, bytes),
            Observed::Closed { connection } => self.ended(at_ms, *connection, false),
            Observed::Gone { connection } => self.ended(at_ms, *connection, true),
            Observed::Ordered { bytes } => self.ordered(at_ms, bytes),
            Observed::Crashed => {
                self.push(at_ms, What::Broker(BrokerFault::PowerCut));
                self.requests.clear();
                let news = self.permits.restarted();
                self.push_news(at_ms, news);
                self.push(at_ms, What::Broker(BrokerFault::Start));
            }
            Observed::Accepted { connection, identity, credential } => {
                self.accepted(at_ms, *connection, identity.as_ref(), credential);
            }
            Observed::Ruled(rules) => {
                let news = self.permits.replace(rules.clone());
                self.push_news(at_ms, news);
            }
            Observed::SessionEnded { client_id } => {
                let client_id = client_id.as_str().to_owned();
                self.push(at_ms, What::Beside(Beside::SessionEnded { client_id }));
            }
            Observed::SentAway { client_id, reason } => {
                let client_id = client_id.as_ref().map(|name| name.as_str().to_owned());
                let sent_away = Beside::SentAway { client_id, reason: *reason as u8 };
                self.push(at_ms, What::Beside(sent_away));
            }
            Observed::Refused { connection, reason } => {
                if let Some(told) = self.connections.get(connection) {
                    let refused =
                        Beside::Refused { connection: told.number, reason: *reason as u8 };
                    self.push(at_ms, What::Beside(refused));
                }
            }
            Observed::TimeConfirmed => self.push(at_ms, What::Beside(Beside::TimeConfirmed)),
            Observed::Stepped { by_ms } => {
                self.push(at_ms, What::Beside(Beside::ClockStepped { by_ms: *by_ms }));
            }
            Observed::Requested { bytes, ticket, once, publisher } => {
                let number = self.requested(at_ms, bytes, once.as_ref(), publisher.as_deref());
                self.requests.insert(*ticket, number);
            }
            Observed::Answered(answer) => {
                let connection = self.requests.remove(&answer.ticket);
                let connection = connection.expect("only what was asked for is answered");
                let (reason, is_repeated) = (answer.reason as u8, answer.repeated);
                let answered = Beside::Answered { connection, reason, is_repeated };
                self.push(at_ms, What::Beside(answered));
                self.push(at_ms, What::Ended { connection, by_client: true });
            }
            Observed::Noticed(notice, topic) => {
                if let Some(what) = dropped(notice, |_| topic.clone()) {
                    self.push(at_ms, what);
                }
            }
        }
    }

    fn push_news(&mut self, at_ms: u64, news: Option<Beside>) {
        if let Some(news) = news {
            self.push(at_ms, What::Beside(news));
        }
    }

    fn opened(&mut self, at_ms: u64, connection: ConnectionId) {
        let number = self.fresh(at_ms);
        let told = Connection {
            number,
            client_id: String::new(),
            level: 5,
            decoder: Decoder::new(terms(5)),
            last_sent: self.events.len() - 1,
            is_blameless: false,
            receive_maximum: usize::from(u16::MAX),
            under_way: BTreeSet::new(),
            unrecorded: BTreeSet::new(),
        };
        self.connections.insert(connection, told);
    }

    /// Opens a connection that was not there before.
    fn fresh(&mut self, at_ms: u64) -> ConnectionNumber {
        let number = self.next;
        self.next += 1;
        let client = usize::try_from(number).expect("there are few");
        self.push(at_ms, What::Opened { client, connection: number });
        number
    }

    fn accepted(
        &mut self,
        at_ms: u64,
        connection: ConnectionId,
        identity: Option<&Text>,
        credential: &Credential,
    ) {
        let Some(told) = self.connections.get(&connection) else { return };
        let (connection, client_id) = (told.number, told.client_id.clone());
        let who = identity.map(|name| name.as_str().to_owned());
        let news = self.permits.meet(&client_id, Subject::new(&client_id, identity, credential));
        self.push_news(at_ms, news);
        self.push(at_ms, What::Beside(Beside::Identified { connection, identity: who }));
    }

    fn push(&mut self, at_ms: u64, what: What) {
        self.events.push(Event { at_ms, what });
    }

    fn sent(&mut self, at_ms: u64, id: ConnectionId, bytes: &[u8]) {
        let place = self.events.len();
        let Some(told) = self.connections.get_mut(&id) else { return };
        let connection = told.number;
        // The protocol name of CONNECT is four or six bytes, the level follows.
        if bytes.first() == Some(&0x10)
            && let Some(level) = bytes.windows(5).find_map(|window| match window {
                [b'M', b'Q', b'T', b'T', level] => Some(*level),
                [b'I', b's', b'd', b'p', level] => Some(*level),
                _ => None,
            })
        {
            told.level = level;
            let mut terms = terms(level);
            if let Ok(Some((Packet::Connect(connect), _))) = decode_client(bytes, level) {
                terms.topic_alias_maximum = number(&connect.properties, 0x22)
                    .and_then(|maximum| u16::try_from(maximum).ok())
                    .unwrap_or(0);
                told.receive_maximum = number(&connect.properties, RECEIVE_MAXIMUM)
                    .and_then(|maximum| usize::try_from(maximum).ok())
                    .unwrap_or(told.receive_maximum);
                told.client_id.clone_from(&connect.client_id);
            }
            told.decoder = Decoder::new(terms);
        }
        told.last_sent = place;
        match decode_client(bytes, told.level) {
            Ok(Some((Packet::Connect(connect), _))) => {
                // Who is not asked is let in as nobody in particular.
                let has_method = connect.properties.iter().any(|found| found.id == METHOD);
                self.push(at_ms, What::Sent { connection, packet: Packet::Connect(connect) });
                if !self.is_asking && !has_method {
                    self.accepted(at_ms, id, None, &Credential::default());
                }
            }
            Ok(Some((packet, _))) => {
                told.says(&packet);
                if told.breaks_off(&packet) {
                    self.push(at_ms, What::Misbehaved { connection, must_end: false });
                }
                self.push(at_ms, What::Sent { connection, packet });
            }
            Ok(None) | Err(_) => self.push(at_ms, What::Misbehaved { connection, must_end: false }),
        }
    }

    /// What the operator publishes is told of a client that does so and is gone before it is answered.
    fn ordered(&mut self, at_ms: u64, bytes: &[u8]) {
        let connection = self.requested(at_ms, bytes, None, None);
        self.push(at_ms, What::Ended { connection, by_client: true });
    }

    /// A request is told of a client of its own, whose rules are those of whoever asks.
    fn requested(
        &mut self,
        at_ms: u64,
        bytes: &[u8],
        once: Option<&Text>,
        publisher: Option<&Publisher>,
    ) -> ConnectionNumber {
        let name = format!("request-{}", self.next);
        if let Some(Publisher { identity, client_id, credential, peer: _ }) = publisher {
            let subject = Subject::new(client_id.as_str(), identity.as_ref(), credential);
            let news = self.permits.meet(&name, subject);
            self.push_news(at_ms, news);
        }
        let connection = self.fresh(at_ms);
        let connect = Connect {
            level: 5,
            clean_start: true,
            keep_alive_s: 0,
            client_id: name,
            will: None,
            user_name: None,
            password: None,
            properties: Vec::new(),
        };
        self.push(at_ms, What::Sent { connection, packet: Packet::Connect(connect) });
        let packet = Packet::ConnAck { session_present: false, reason: 0, properties: Vec::new() };
        let (alias_topic, size_bytes) = (None, 5);
        self.push(at_ms, What::Received { connection, packet, alias_topic, size_bytes });
        let identity = publisher.and_then(|one| one.identity.as_ref());
        let once = once.map(|key| Once {
            identity: identity.map(|name| name.as_str().to_owned()),
            key: key.as_str().to_owned(),
        });
        self.push(at_ms, What::Beside(Beside::Requested { connection, once }));
        let decoded = decode_client(bytes, 5).ok().flatten();
        let (packet, _) = decoded.expect("what is asked for can be written as a PUBLISH");
        self.push(at_ms, What::Sent { connection, packet });
        connection
    }

    fn read(&mut self, at_ms: u64, connection: ConnectionId, bytes: &[u8]) {
        let Some(told) = self.connections.get_mut(&connection) else { return };
        let number = told.number;
        told.decoder.feed(bytes);
        let what = match told.decoder.next_packet() {
            Ok(Some(decoded)) => {
                told.hears(&decoded.packet, self.is_asking);
                What::Received {
                    connection: number,
                    packet: decoded.packet,
                    alias_topic: decoded.alias_topic,
                    size_bytes: decoded.size_bytes,
                }
            }
            Ok(None) => return,
            Err(fault) => What::Undecodable {
                connection: number,
                guarantee: fault.guarantee(),
                cause: fault.to_string(),
            },
        };
        self.push(at_ms, what);
    }

    /// A client that is sent away had broken the protocol, unless the reason says otherwise: from its last
    /// packet on, nothing is owed to it.
    fn ended(&mut self, at_ms: u64, connection: ConnectionId, by_client: bool) {
        let Some(told) = self.connections.remove(&connection) else { return };
        let number = told.number;
        self.push(at_ms, What::Ended { connection: number, by_client });
        if !by_client && !told.is_blameless && told.last_sent < self.events.len() {
            let at_ms = self.events[told.last_sent].at_ms;
            let what = What::Misbehaved { connection: number, must_end: false };
            self.events.insert(told.last_sent, Event { at_ms, what });
            for other in self.connections.values_mut() {
                other.last_sent += usize::from(other.last_sent >= told.last_sent);
            }
        }
    }
}

fn terms(level: u8) -> Terms {
    Terms { level, topic_alias_maximum: 0, maximum_packet_size_bytes: 0 }
}
