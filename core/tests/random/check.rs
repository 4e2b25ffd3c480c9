//! What must always hold, by books of its own: nothing here asks the broker.

// The books are about some packets and records, and say so by naming those.
#![allow(clippy::wildcard_enum_match_arm)]

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use signalhouse_core::input::Command;
use signalhouse_core::notice::{Cause, DropCause, Notice};
use signalhouse_core::record::{Origin, Receiver, Record};
use signalhouse_core::wire::packet::{ClientPacket, Connect, OutboundPublish, Publish};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, QoS, Version};
use signalhouse_core::{Action, Config, ConnectionId};

use super::client::{Link, Session};

/// An answer that a connection is owed.
#[derive(Clone, Debug)]
pub(crate) struct Owed {
    pub(crate) id: u16,
    /// Not before this record is durable.
    pub(crate) after: u64,
    pub(crate) ask: Ask,
}

#[derive(Clone, Debug)]
pub(crate) enum Ask {
    /// A publication, by its number, and the sessions that must get it if it is accepted.
    Publication(u64, BTreeSet<Session>),
    /// Filters with the highest QoS asked for and No Local.
    Subscription(Vec<(String, QoS, bool)>),
    Other,
}

/// The broker's end of a connection, as seen from outside.
#[derive(Debug)]
pub(crate) struct Line {
    pub(crate) key: String,
    pub(crate) version: Version,
    pub(crate) window: usize,
    pub(crate) maximum_bytes: usize,
    pub(crate) session: Option<Session>,
    /// Whether CONNACK came, and with what.
    pub(crate) present: Option<bool>,
    pub(crate) closed: bool,
    pub(crate) honest: bool,
    pub(crate) pubacks: VecDeque<Owed>,
    pub(crate) pubrecs: VecDeque<Owed>,
    pub(crate) pubcomps: VecDeque<Owed>,
    pub(crate) pubrels: VecDeque<Owed>,
    pub(crate) subacks: VecDeque<Owed>,
    pub(crate) unsubacks: VecDeque<Owed>,
    pub(crate) pings: u32,
    pub(crate) connack_after: u64,
    /// Deliveries sent here and not acknowledged here, by packet identifier.
    pub(crate) unacknowledged: BTreeSet<u16>,
    /// Identifiers of PUBRELs sent again on this connection.
    pub(crate) released_again: BTreeSet<u16>,
    /// What it asked for, and acknowledged, before it was known which session it has.
    early_filters: BTreeSet<String>,
    early_acks: BTreeSet<u16>,
    /// Whether it refused a delivery of which it is not known here whether there is one.
    pub(crate) is_obscure: bool,
}

/// A delivery in progress, as seen from outside.
#[derive(Clone, Debug)]
pub(crate) struct Exchange {
    pub(crate) message: String,
    /// What the message has in its payload, if it is not a retained one.
    pub(crate) number: Option<u64>,
    pub(crate) qos: QoS,
    pub(crate) released: bool,
    /// Whether it may have come from a share at QoS 1.
    pub(crate) is_shared: bool,
    /// After a power cut the broker may no longer know of it.
    pub(crate) is_certain: bool,
}

#[derive(Debug, Default)]
pub(crate) struct Books {
    pub(crate) key: String,
    /// Filters that are surely in force: with QoS and No Local.
    pub(crate) stable: BTreeMap<String, (QoS, bool)>,
    /// Every filter ever asked for.
    pub(crate) ever: BTreeSet<String>,
    pub(crate) exchanges: BTreeMap<u16, Exchange>,
    /// Identifiers that were acknowledged before CONNACK: perhaps there was nothing to acknowledge.
    pub(crate) doubtful: BTreeSet<u16>,
    /// The identifier of each message sent to it at QoS 2, by number, and those for which PUBREL was sent.
    pub(crate) identifiers: BTreeMap<u64, u16>,
    pub(crate) finished: BTreeSet<u64>,
    /// Messages sent to it, by number.
    pub(crate) sent: BTreeSet<u64>,
    /// The last first delivery from a publisher on a topic at a QoS.
    pub(crate) last: BTreeMap<(Session, String, QoS), u64>,
    /// How often the client's program got a message, and how often at QoS 2.
    pub(crate) taken: BTreeMap<u64, u32>,
    pub(crate) ended: bool,
    /// The record that made it.
    pub(crate) began_at: u64,
}

/// A publication as its client made it.
#[derive(Clone, Debug)]
pub(crate) struct Made {
    pub(crate) topic: String,
    pub(crate) payload: Vec<u8>,
    pub(crate) qos: QoS,
    pub(crate) retain: bool,
    pub(crate) publisher: Option<(Session, String)>,
    pub(crate) order: Option<u64>,
    pub(crate) candidates: Option<BTreeSet<Session>>,
}

/// Where the journal has a publication at QoS 2, and its release.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Held {
    pub(crate) at: u64,
    released_at: Option<u64>,
}

#[derive(Default)]
pub(crate) struct Check {
    pub(crate) durable: u64,
    pub(crate) crashes: u32,
    pub(crate) lines: BTreeMap<ConnectionId, Line>,
    pub(crate) connects: BTreeMap<ConnectionId, Connect>,
    pub(crate) books: BTreeMap<Session, Books>,
    pub(crate) made: BTreeMap<u64, Made>,
    pub(crate) orders: u64,
    /// Whose request the broker is dealing with.
    pub(crate) current: Option<(ConnectionId, ClientPacket)>,
    pub(crate) queue_drops: BTreeMap<(String, String), u32>,
    /// The topic of each recorded message.
    topics: BTreeMap<u64, String>,
    /// What was accepted for a session.
    pub(crate) obligations: BTreeSet<(Session, u64)>,
    /// Where records stand: bindings, PUBRECs, publications, inbound identifiers.
    pub(crate) bound: BTreeMap<(u64, u16), u64>,
    pub(crate) received: BTreeMap<(u64, u16), u64>,
    pub(crate) entered: BTreeMap<(u64, u64), u64>,
    pub(crate) inbound: BTreeMap<(u64, u16), Held>,
    pub(crate) problems: Vec<String>,
    pub(crate) deliveries: u64,
    /// Messages that were to be read back from the journal.
    pub(crate) fetches: u64,
    pub(crate) obliged: u64,
}

/// The number in a message's payload, unless it is a will or has none.
pub(crate) fn number_of(payload: &[u8]) -> Option<u64> {
    let digits = payload.split(|byte| *byte == b'.').next()?;
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Whether a filter, a shared one too, matches a topic.
pub(crate) fn matches(filter: &str, topic: &str) -> bool {
    let mut filter = filter;
    if let Some(rest) = filter.strip_prefix("$share/") {
        filter = rest.split_once('/').map_or("", |(_, filter)| filter);
    }
    if topic.starts_with('$') && filter.starts_with(['#', '+']) {
        return false;
    }
    let mut topic = topic.split('/');
    for level in filter.split('/') {
        match (level, topic.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (level, Some(other)) if level == other => {}
            (_, _) => return false,
        }
    }
    topic.next().is_none()
}

impl Check {
    pub(crate) fn new(_config: &Config) -> Self {
        Check::default()
    }

    pub(crate) fn problem(&mut self, what: String) {
        self.problems.push(what);
    }

    pub(crate) fn durable(&mut self, through: u64) {
        self.durable = through;
    }

    pub(crate) fn command(&mut self, command: &Command) {
        let publish = match command {
            Command::Publish(publish) => publish,
            Command::PublishFor(request) => &request.message,
            _ => return,
        };
        if let Some(number) = number_of(&publish.payload) {
            let made = Made {
                topic: publish.topic.to_string(),
                payload: publish.payload.to_vec(),
                qos: publish.qos,
                retain: publish.retain,
                publisher: None,
                order: None,
                candidates: None,
            };
            self.made.insert(number, made);
        }
    }

    /// A power cut: every connection is gone, and what was not durable may be.
    pub(crate) fn crashed(&mut self, kept: u64) {
        self.crashes += 1;
        self.durable = kept;
        self.lines.clear();
        for places in [&mut self.bound, &mut self.received] {
            places.retain(|_, at| *at <= kept);
        }
        self.inbound.retain(|_, held| held.at <= kept);
        for held in self.inbound.values_mut() {
            held.released_at = held.released_at.filter(|at| *at <= kept);
        }
        self.entered.retain(|_, at| *at <= kept);
        self.connects.clear();
        self.books.retain(|session, books| {
            matches!(session, Session::Transient(_)) || books.began_at <= kept
        });
        for (session, books) in &mut self.books {
            if let Session::Recorded(session) = session {
                for (packet_id, exchange) in &mut books.exchanges {
                    // A PUBREC that was not yet recorded never came, for the broker.
                    exchange.released &=
                        self.received.contains_key(&(session.to_owned(), *packet_id));
                }
            }
            if let Session::Transient(_) = session {
                books.ended = true;
            }
            // QoS 1 identifiers are recorded lazily; those of QoS 2 survive.
            books.exchanges.retain(|_, exchange| exchange.qos == QoS::ExactlyOnce);
            for exchange in books.exchanges.values_mut() {
                exchange.is_certain = false;
            }
        }
    }

    pub(crate) fn opened(&mut self, id: ConnectionId, key: &str, connect: &Connect) {
        let line = Line {
            key: key.into(),
            version: connect.version,
            window: usize::from(connect.receive_maximum),
            maximum_bytes: connect.maximum_packet_size_bytes.unwrap_or(u32::MAX) as usize,
            session: None,
            present: None,
            closed: false,
            honest: true,
            pubacks: VecDeque::new(),
            pubrecs: VecDeque::new(),
            pubcomps: VecDeque::new(),
            pubrels: VecDeque::new(),
            subacks: VecDeque::new(),
            unsubacks: VecDeque::new(),
            pings: 0,
            connack_after: 0,
            unacknowledged: BTreeSet::new(),
            released_again: BTreeSet::new(),
            early_filters: BTreeSet::new(),
            early_acks: BTreeSet::new(),
            is_obscure: false,
        };
        self.lines.insert(id, line);
        self.connects.insert(id, connect.clone());
    }

    pub(crate) fn closed(&mut self, id: ConnectionId) {
        if let Some(line) = self.lines.get_mut(&id) {
            line.closed = true;
            // What came from a share at QoS 1 may go to another member now.
            if let Some(books) = line.session.and_then(|session| self.books.get_mut(&session)) {
                for exchange in books.exchanges.values_mut().filter(|exchange| exchange.is_shared) {
                    exchange.is_certain = false;
                }
            }
            if let Some(session @ Session::Transient(_)) = line.session
                && let Some(books) = self.books.get_mut(&session)
            {
                books.ended = true;
            }
        }
    }

    pub(crate) fn malformed(&mut self, id: ConnectionId) {
        if let Some(line) = self.lines.get_mut(&id) {
            line.honest = false;
        }
    }

    pub(crate) fn published(&mut self, number: u64, publish: &Publish) {
        let made = Made {
            topic: publish.topic.to_string(),
            payload: publish.payload.to_vec(),
            qos: publish.delivery.qos(),
            retain: publish.retain,
            publisher: None,
            order: None,
            candidates: None,
        };
        self.made.insert(number, made);
    }

    /// The client said: what the broker may answer, now or later.
    pub(crate) fn sending(&mut self, link: &Link, packet: &ClientPacket) {
        self.current = Some((link.id, packet.clone()));
        let owed = match packet {
            ClientPacket::Publish(publish) => self.publication_owed(link, publish),
            ClientPacket::Subscribe(subscribe) => {
                let asked: Vec<_> = subscribe
                    .subscriptions
                    .iter()
                    .map(|(filter, options)| {
                        (filter.to_string(), options.maximum_qos, options.no_local)
                    })
                    .collect();
                if let Some(books) = self.books_of(link.id) {
                    for (filter, _, _) in &asked {
                        books.stable.remove(filter);
                        books.ever.insert(filter.clone());
                    }
                } else if let Some(line) = self.lines.get_mut(&link.id) {
                    line.early_filters.extend(asked.iter().map(|(filter, _, _)| filter.clone()));
                }
                Some((subscribe.packet_id.0.value(), Ask::Subscription(asked)))
            }
            ClientPacket::Unsubscribe(unsubscribe) => {
                if let Some(books) = self.books_of(link.id) {
                    for filter in &unsubscribe.filters {
                        books.stable.remove(filter.as_str());
                    }
                } else if let Some(line) = self.lines.get_mut(&link.id) {
                    line.early_filters.extend(unsubscribe.filters.iter().map(ToString::to_string));
                }
                Some((unsubscribe.packet_id.0.value(), Ask::Other))
            }
            ClientPacket::PubRel(ack) => Some((ack.packet_id.0.value(), Ask::Other)),
            ClientPacket::PubRec(ack) => {
                let id = ack.packet_id.0.value();
                let is_answered = !ack.reason.is_error() || self.answers_refusal(link.id, id);
                is_answered.then_some((id, Ask::Other))
            }
            _ => None,
        };
        let Some(line) = self.lines.get_mut(&link.id) else { return };
        line.honest &= link.honest;
        if matches!(packet, ClientPacket::PingReq) {
            line.pings += 1;
        }
        if let Some((id, ask)) = owed {
            let owed = Owed { id, after: 0, ask };
            match packet {
                ClientPacket::Publish(publish) => match publish.delivery {
                    Delivery::AtMostOnce => {}
                    Delivery::AtLeastOnce(_) => line.pubacks.push_back(owed),
                    Delivery::ExactlyOnce(_) => line.pubrecs.push_back(owed),
                },
                ClientPacket::Subscribe(_) => line.subacks.push_back(owed),
                ClientPacket::Unsubscribe(_) => line.unsubacks.push_back(owed),
                ClientPacket::PubRel(_) => line.pubcomps.push_back(owed),
                ClientPacket::PubRec(_) => line.pubrels.push_back(owed),
                _ => {}
            }
        }
        self.acknowledged(link.id, packet);
    }

    pub(crate) fn books_of(&mut self, id: ConnectionId) -> Option<&mut Books> {
        let session = self.lines.get(&id)?.session?;
        self.books.get_mut(&session)
    }

    fn publication_owed(&mut self, link: &Link, publish: &Publish) -> Option<(u16, Ask)> {
        let number = number_of(&publish.payload);
        let mut candidates = BTreeSet::new();
        if let Some(number) = number
            && let Some(session) = link.session
        {
            let topic = publish.topic.as_str();
            for (receiver, books) in &self.books {
                let is_own = books.key == link.key;
                let wants = books.stable.iter().any(|(filter, (qos, no_local))| {
                    *qos > QoS::AtMostOnce && matches(filter, topic) && !(*no_local && is_own)
                });
                if wants && !books.ended && link.honest {
                    candidates.insert(*receiver);
                }
            }
            if let Some(made) = self.made.get_mut(&number) {
                if made.publisher.is_none() {
                    self.orders += 1;
                    made.order = Some(self.orders);
                    made.publisher = Some((session, link.key.clone()));
                } else {
                    // Its first delivery to a session may be from either time.
                    made.order = None;
                }
                if let Some(before) = &made.candidates {
                    candidates = before.intersection(&candidates).copied().collect();
                }
                made.candidates = Some(candidates.clone());
            }
        }
        let id = match publish.delivery {
            Delivery::AtMostOnce => return None,
            Delivery::AtLeastOnce(id) | Delivery::ExactlyOnce(id) => id.0.value(),
        };
        Some((id, number.map_or(Ask::Other, |number| Ask::Publication(number, candidates))))
    }

    /// Whether PUBREL answers a PUBREC with an error: only a PUBLISH that waits for it ends by that.
    fn answers_refusal(&mut self, id: ConnectionId, packet_id: u16) -> bool {
        let Some(line) = self.lines.get_mut(&id) else { return false };
        let books = line.session.and_then(|session| self.books.get(&session));
        let is_early = line.present.is_none() || line.early_acks.contains(&packet_id);
        line.is_obscure |=
            is_early || books.is_some_and(|books| books.doubtful.contains(&packet_id));
        let exchange = books.and_then(|books| books.exchanges.get(&packet_id));
        exchange.is_none_or(|exchange| exchange.released)
    }

    /// An acknowledgement of a delivery frees what it took, if it is one of its kind.
    fn acknowledged(&mut self, id: ConnectionId, packet: &ClientPacket) {
        let (ClientPacket::PubAck(ack) | ClientPacket::PubRec(ack) | ClientPacket::PubComp(ack)) =
            packet
        else {
            return;
        };
        let packet_id = ack.packet_id.0.value();
        let Some(line) = self.lines.get_mut(&id) else { return };
        let books = line.session.and_then(|session| self.books.get_mut(&session));
        if line.present.is_none() {
            match books {
                Some(books) => books.doubtful.insert(packet_id),
                None => line.early_acks.insert(packet_id),
            };
            return;
        }
        let Some(exchange) = books.and_then(|books| {
            let exchange = books.exchanges.remove(&packet_id);
            exchange.map(|exchange| (books, exchange))
        }) else {
            return;
        };
        let (books, mut exchange) = exchange;
        let is_exactly_once = exchange.qos == QoS::ExactlyOnce;
        let ends = match packet {
            ClientPacket::PubAck(_) => !is_exactly_once,
            ClientPacket::PubRec(ack) if ack.reason.is_error() => {
                is_exactly_once && !exchange.released
            }
            ClientPacket::PubRec(_) => {
                exchange.released |= is_exactly_once;
                false
            }
            _ => exchange.released,
        };
        if ends {
            line.unacknowledged.remove(&packet_id);
        } else {
            books.exchanges.insert(packet_id, exchange);
        }
    }

    /// The broker has dealt with it.
    pub(crate) fn sent(&mut self) {
        self.current = None;
    }

    pub(crate) fn action(&mut self, action: &Action) {
        match action {
            Action::Send { connection, packet } => self.send(*connection, packet),
            Action::Close { connection } => {
                let known = self.lines.get(connection).is_some_and(|line| !line.closed);
                if !known {
                    self.problem(format!("{connection} is closed twice or never was open"));
                }
                self.closed(*connection);
            }
            Action::Persist { at, record } => self.persist(at.0, record),
            Action::Fetch { .. } => self.fetches += 1,
            Action::Ask { .. } | Action::Answer(_) => {}
            Action::Notice(notice) => self.notice(notice),
        }
    }

    fn notice(&mut self, notice: &Notice) {
        match notice {
            Notice::Dropped { receiver, topic, cause } if *cause != DropCause::Offline => {
                let key = (receiver.to_string(), topic.to_string());
                *self.queue_drops.entry(key).or_default() += 1;
            }
            Notice::DroppedUnread { receiver, message, .. } => {
                let topic = self.topics.get(&message.0).cloned().unwrap_or_default();
                *self.queue_drops.entry((receiver.to_string(), topic)).or_default() += 1;
            }
            Notice::Disconnected { connection, cause, .. } => {
                let is_fault = matches!(
                    cause,
                    Cause::Protocol { .. } | Cause::Malformed { .. } | Cause::Limit { .. }
                );
                // 3.1 and 3.1.1 have no other way to say that nobody could take a message.
                let is_refusal =
                    matches!(cause, Cause::Limit { reason: ReasonCode::QuotaExceeded, .. });
                let is_fault = is_fault && !is_refusal;
                let honest = self.lines.get(connection).is_none_or(|line| line.honest);
                if is_fault && honest {
                    self.problem(format!("{connection} did nothing wrong and is closed: {cause}"));
                }
            }
            _ => {}
        }
    }

    /// Which record a request has to wait for.
    fn persist(&mut self, at: u64, record: &Record) {
        let current = self.current.clone();
        match record {
            Record::Bound { session, packet_id, .. } => {
                self.bound.insert((session.0, packet_id.0.value()), at);
            }
            Record::Received { session, packet_id } => {
                self.received.insert((session.0, packet_id.0.value()), at);
            }
            Record::Published { message, entries, origin, .. } => {
                self.topics.insert(message.id.0, message.topic.to_string());
                for entry in entries {
                    if let Receiver::Session(session) = entry.receiver {
                        self.entered.entry((session.0, message.id.0)).or_insert(at);
                    }
                }
                if let Origin::Inbound { session, packet_id } = origin {
                    let held = Held { at, released_at: None };
                    let before = self.inbound.insert((session.0, packet_id.0.value()), held);
                    if before.is_some_and(|before| before.released_at.is_none()) {
                        self.problem(format!("taken twice under one identifier: {record:?}"));
                    }
                }
                if let Some((id, ClientPacket::Publish(publish))) = &current
                    && publish.payload == message.payload
                    && publish.topic == message.topic
                    && let Some(line) = self.lines.get_mut(id)
                {
                    let owed = match publish.delivery {
                        Delivery::AtMostOnce => None,
                        Delivery::AtLeastOnce(_) => line.pubacks.back_mut(),
                        Delivery::ExactlyOnce(_) => line.pubrecs.back_mut(),
                    };
                    if let Some(owed) = owed {
                        owed.after = at;
                    }
                }
            }
            Record::InboundReleased { session, packet_id } => {
                if let Some(held) = self.inbound.get_mut(&(session.0, packet_id.0.value())) {
                    held.released_at = Some(at);
                }
            }
            Record::Replayed { session, message, .. } => {
                self.entered.entry((session.0, message.0)).or_insert(at);
            }
            Record::SessionEnded { session } => {
                if let Some(books) = self.books.get_mut(&Session::Recorded(session.0)) {
                    books.ended = true;
                }
            }
            _ => {}
        }
        self.owe_behind(at, record, current);
    }

    /// What answers the packet at hand has to wait for its record.
    fn owe_behind(
        &mut self,
        at: u64,
        record: &Record,
        current: Option<(ConnectionId, ClientPacket)>,
    ) {
        let Some((id, packet)) = current else { return };
        let Some(line) = self.lines.get_mut(&id) else { return };
        let owed = match (record, packet) {
            (Record::Connected { .. } | Record::SessionEnded { .. }, ClientPacket::Connect(_)) => {
                line.connack_after = at;
                None
            }
            (Record::Subscribed { .. }, ClientPacket::Subscribe(_)) => line.subacks.back_mut(),
            (Record::Unsubscribed { .. }, ClientPacket::Unsubscribe(_)) => {
                line.unsubacks.back_mut()
            }
            (Record::InboundReleased { .. }, ClientPacket::PubRel(_)) => line.pubcomps.back_mut(),
            (Record::Received { .. }, ClientPacket::PubRec(_)) => line.pubrels.back_mut(),
            _ => None,
        };
        if let Some(owed) = owed {
            owed.after = at;
        }
    }

    /// The client has read its CONNACK.
    pub(crate) fn connack_read(&mut self, _id: ConnectionId, _session: Session, _resumed: bool) {}

    /// A connection belongs to a session from here on.
    /// `at` is the record that says so, if there is one.
    pub(crate) fn entered_session(&mut self, id: ConnectionId, session: Session, at: u64) {
        let Some(line) = self.lines.get_mut(&id) else { return };
        line.session = Some(session);
        let key = line.key.clone();
        let books = self.books.entry(session).or_insert_with(|| Books {
            key,
            began_at: at,
            ..Books::default()
        });
        books.stable.retain(|filter, _| !line.early_filters.contains(filter));
        books.ever.extend(line.early_filters.iter().cloned());
        books.doubtful.extend(&line.early_acks);
    }

    /// The broker hears that the client is welcome.
    pub(crate) fn accepting(&mut self, id: ConnectionId) {
        let connect = Connect::clone(&self.connects[&id]);
        self.current = Some((id, ClientPacket::Connect(Box::new(connect))));
    }

    /// The client's program has got a message.
    pub(crate) fn taken(&mut self, session: Session, publish: &OutboundPublish) {
        let Some(number) = number_of(&publish.message.payload) else { return };
        let topic = publish.message.topic.to_string();
        let Some(made) = self.made.get(&number) else { return };
        let (retain, made_qos, tracked) = (made.retain, made.qos, made.publisher.is_some());
        let Some(books) = self.books.get_mut(&session) else { return };
        let count = books.taken.entry(number).or_default();
        *count += 1;
        let is_shared = books
            .ever
            .iter()
            .any(|filter| filter.starts_with("$share/") && matches(filter, &topic));
        let exactly_once = publish.delivery.qos() == QoS::ExactlyOnce
            && made_qos == QoS::ExactlyOnce
            && tracked
            && !retain
            && !is_shared;
        if exactly_once && *count > 1 {
            let (count, key) = (*count, books.key.clone());
            self.problem(format!("{key} {session:?} gets message {number} {count} times"));
        }
    }

    /// At the end, when everything has drained: what is still owed.
    pub(crate) fn finish(&mut self, open: &[ConnectionId]) {
        let mut missing: BTreeMap<(String, String), Vec<u64>> = BTreeMap::new();
        for (session, number) in &self.obligations {
            let Some(books) = self.books.get(session) else { continue };
            let is_here = open
                .iter()
                .any(|id| self.lines.get(id).is_some_and(|line| line.session == Some(*session)));
            if books.ended
                || !is_here
                || books.key.starts_with("auto:")
                || books.taken.contains_key(number)
            {
                continue;
            }
            let topic = self.made.get(number).map(|made| made.topic.clone()).unwrap_or_default();
            missing.entry((books.key.clone(), topic)).or_default().push(*number);
        }
        for ((key, topic), numbers) in missing {
            let drops = self.queue_drops.get(&(key.clone(), topic.clone())).copied().unwrap_or(0);
            if numbers.len() > drops as usize {
                self.problem(format!(
                    "{key} never got {numbers:?} on {topic}; {drops} were dropped with notice"
                ));
            }
        }
        for id in open {
            let Some(line) = self.lines.get(id) else { continue };
            let owed = [
                ("PUBACK", &line.pubacks),
                ("PUBREC", &line.pubrecs),
                ("PUBCOMP", &line.pubcomps),
                ("PUBREL", &line.pubrels),
                ("SUBACK", &line.subacks),
                ("UNSUBACK", &line.unsubacks),
            ];
            for (name, owed) in owed {
                if let Some(owed) = owed.front() {
                    self.problems.push(format!("{id} never got {name} {}", owed.id));
                }
            }
            if line.pings > 0 {
                self.problems.push(format!("{id} lacks {} PINGRESPs", line.pings));
            }
            if !line.unacknowledged.is_empty() {
                let left = &line.unacknowledged;
                self.problems.push(format!("{id} has unacknowledged deliveries {left:?}"));
            }
        }
    }
}
