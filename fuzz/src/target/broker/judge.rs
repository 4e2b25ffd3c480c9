//! What the core's random worlds judge, of any list of inputs: that a delivery is what was published, for one who asked
//! for it, in order, once at QoS 2, marked, within the window and not before it is durable; and that answers are.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use signalhouse_core::input::{AuthOutcome, Command};
use signalhouse_core::notice::{DropCause, Notice};
use signalhouse_core::wire::packet::{ClientPacket, ServerPacket};
use signalhouse_core::wire::types::{Delivery, Text};
use signalhouse_core::{Action, Config, ConnectionId, Record};

use super::names::payload;
use crate::target::world::check::{Check, Exchange, number_of};
use crate::target::world::client::{Link, Session};

/// The judge's books, and what it has to be told.
pub(super) struct Judge {
    check: Check,
    asks_credentials: bool,
    links: BTreeMap<ConnectionId, Link>,
    /// The connection that the broker may be accepting.
    connecting: Option<ConnectionId>,
    /// Publications at QoS 2, by client and identifier: those that may not be released, and all there were.
    held: BTreeSet<(Text, u16)>,
    ever_held: BTreeSet<(Text, u16)>,
    number: u64,
}

impl Judge {
    pub(super) fn new(config: &Config) -> Self {
        Judge {
            check: Check::new(config),
            asks_credentials: config.ask_credentials,
            links: BTreeMap::new(),
            connecting: None,
            held: BTreeSet::new(),
            ever_held: BTreeSet::new(),
            number: 0,
        }
    }

    /// The content of a message: its number, and so many bytes behind it; none if it has no length.
    pub(super) fn payload(&mut self, length: u8) -> bytes::Bytes {
        self.number += 1;
        let Some(more) = length.checked_sub(1) else { return bytes::Bytes::new() };
        let mut content = format!("{}.", self.number).into_bytes();
        content.extend_from_slice(&payload(more));
        content.into()
    }

    /// The client sends `packet`, and the broker looks at it until [`Self::has_looked`]. What may repeat another
    /// publication at QoS 2 loses its number: the broker does not look at its content.
    pub(super) fn sends(&mut self, connection: ConnectionId, packet: &mut ClientPacket) {
        if let ClientPacket::Connect(connect) = &*packet
            && !self.links.contains_key(&connection)
        {
            let key = match connect.client_id.as_str() {
                "" => format!("auto:{connection}"),
                name => name.to_owned(),
            };
            self.check.opened(connection, &key, connect);
            // It may do anything.
            self.check.malformed(connection);
            self.links.insert(connection, link(connection, &key, connect));
            self.connecting = Some(connection);
            if !self.asks_credentials && connect.authentication_method.is_none() {
                self.enter(connection, Session::Transient(connection), 0);
            }
        }
        let Some(link) = self.links.get(&connection) else { return };
        let client = Text::try_from(link.key.as_str()).expect("it was one, or has plain letters");
        match packet {
            ClientPacket::Publish(publish) => {
                if let Delivery::ExactlyOnce(id) = publish.delivery {
                    let exchange = (client, id.0.value());
                    self.ever_held.insert(exchange.clone());
                    if !self.held.insert(exchange) && !publish.payload.is_empty() {
                        publish.payload =
                            payload(u8::try_from(publish.payload.len()).unwrap_or(255));
                    }
                }
                if let Some(number) = number_of(&publish.payload) {
                    self.check.published(number, publish);
                }
            }
            ClientPacket::PubRel(ack) => {
                self.held.remove(&(client, ack.packet_id.0.value()));
            }
            ClientPacket::Connect(_)
            | ClientPacket::PubAck(_)
            | ClientPacket::PubRec(_)
            | ClientPacket::PubComp(_)
            | ClientPacket::Subscribe(_)
            | ClientPacket::Unsubscribe(_)
            | ClientPacket::PingReq
            | ClientPacket::Disconnect(_)
            | ClientPacket::Auth(_) => {}
        }
        self.check.sending(link, packet);
    }

    /// The driver says of a connection who it is.
    pub(super) fn answered(&mut self, connection: ConnectionId, outcome: &AuthOutcome) {
        let Some(link) = self.links.get(&connection) else { return };
        if let (AuthOutcome::Accepted { .. }, None) = (outcome, link.session) {
            self.connecting = Some(connection);
            self.enter(connection, Session::Transient(connection), 0);
            self.check.accepting(connection);
        }
    }

    fn enter(&mut self, connection: ConnectionId, session: Session, at: u64) {
        if let Some(link) = self.links.get_mut(&connection) {
            link.session = Some(session);
            self.check.entered_session(connection, session, at);
        }
    }

    pub(super) fn command(&mut self, command: &Command) {
        self.check.command(command);
    }

    /// Something comes of it.
    ///
    /// # Panics
    /// If it may not.
    pub(super) fn action(&mut self, action: &Action) {
        match action {
            // Those who never said who they are have no books.
            Action::Send { connection, .. } | Action::Close { connection }
                if !self.links.contains_key(connection) => {}
            Action::Send { .. }
            | Action::Close { .. }
            | Action::Persist { .. }
            | Action::Ask { .. }
            | Action::Fetch { .. }
            | Action::Answer(_)
            | Action::Notice(_) => self.check.action(action),
        }
        if let Action::Persist { at, record: Record::Connected { session, .. } } = action
            && let Some(connection) = self.connecting
        {
            self.enter(connection, Session::Recorded(session.0), at.0);
        }
        if let Action::Close { connection } = action {
            self.links.remove(connection);
        }
        if let Action::Notice(Notice::Dropped { receiver, cause: DropCause::TooLarge, .. }) = action
        {
            // What is under way and no longer fits counts as done.
            for books in
                self.check.books.values_mut().filter(|books| books.key == receiver.as_str())
            {
                books.exchanges.values_mut().for_each(|exchange| exchange.is_certain = false);
            }
        }
        if let Action::Send { connection, packet: ServerPacket::Publish(publish) } = action
            && let Some(number) = number_of(&publish.message.payload)
            && let Some(books) = self.check.books_of(*connection)
        {
            books.taken.entry(number).or_insert(1);
        }
        self.assert_sound();
    }

    fn assert_sound(&self) {
        let problems = &self.check.problems;
        assert!(problems.is_empty(), "{}", problems.join("\n"));
    }

    /// Everything was read and answered by those who are there.
    ///
    /// # Panics
    /// If something is owed to one of them.
    pub(super) fn finish(&mut self, open: &[ConnectionId]) {
        self.check.finish(open);
        for id in open {
            let Some(books) = self.check.books_of(*id) else { continue };
            let is_left = |(packet_id, exchange): &(&u16, &Exchange)| {
                exchange.is_certain && !books.doubtful.contains(packet_id)
            };
            if let Some((packet_id, exchange)) = books.exchanges.iter().find(is_left) {
                let problem = format!("{id} never finished {packet_id}: {exchange:?}");
                self.check.problems.push(problem);
            }
        }
        self.assert_sound();
    }

    pub(super) fn has_looked(&mut self) {
        self.connecting = None;
        self.check.sent();
    }

    /// The client is gone by itself.
    pub(super) fn closed(&mut self, connection: ConnectionId) {
        if self.links.remove(&connection).is_some() {
            self.check.closed(connection);
        }
    }

    pub(super) fn durable(&mut self, records: u64) {
        self.check.durable(records);
    }

    /// The process starts again with so many records.
    pub(super) fn crash(&mut self, records: u64) {
        self.check.crashed(records);
        self.links.clear();
        self.connecting = None;
        self.held.clone_from(&self.ever_held);
    }
}

fn link(id: ConnectionId, key: &str, connect: &signalhouse_core::wire::packet::Connect) -> Link {
    Link {
        id,
        key: key.into(),
        version: connect.version,
        window: connect.receive_maximum,
        session: None,
        live: false,
        severed: false,
        honest: true,
        diligence: 0,
        narrow: true,
        inbox: VecDeque::new(),
        replies: Vec::new(),
    }
}
