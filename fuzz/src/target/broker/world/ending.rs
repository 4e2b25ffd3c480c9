//! How a list of inputs ends: every client comes back, everything is read and answered, every credit is there again,
//! and the journal tells the same as the broker.

use std::collections::VecDeque;
use std::sync::Arc;

use signalhouse_core::credential::Credential;
use signalhouse_core::input::{AuthOutcome, Command, Gone, PublishCommand};
use signalhouse_core::routing::topic::TopicFilter;
use signalhouse_core::wire::packet::{
    Ack, ClientPacket, Publish, ServerPacket, Subscribe, SubscriptionOptions, Unsubscribe,
};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::{Delivery, InboundPacketId, PacketId, QoS};
use signalhouse_core::{
    Broker, Config, ConnectionId, Input, JournalRoom, LogPosition, Record, Recovery, Seed,
};

use super::super::names::{client_id, filters, payload, topic_of};
use super::super::packets::client_packet;
use super::super::settings::REQUEST_KEY_MS;
use super::super::step::{Hello, Packet};
use super::{SLOTS, WORK_MAXIMUM, World};
use crate::target::world::ending::{comparable, difference};

/// Those with a name of their own.
const CLIENTS: u8 = 3;
/// What each of them takes at once; less than the broker's own limit.
const WINDOW: u8 = 3;
/// Beyond what any input has.
const PACKET_ID: u16 = 100;

impl World {
    /// Everybody is welcome and comes back, and nothing is owed at the end.
    pub(super) fn come_to_rest(&mut self) {
        self.tell(Input::JournalSpace { room: JournalRoom::Ample });
        self.order(Command::ConfirmTime);
        self.quotas = Arc::default();
        self.order(Command::SetQuotas(Arc::clone(&self.quotas)));
        self.rules.push(Config::default().permissions);
        self.order(Command::SetPermissions(Config::default().permissions));
        for slot in 0..SLOTS {
            self.lose(slot, Gone::PeerClosed);
        }
        self.settle();
        self.questions.clear();
        self.inbox = Some(VecDeque::new());
        for slot in 0..CLIENTS {
            self.greet(slot);
        }
        self.drain();
        let open: Vec<ConnectionId> = self.slots.into_iter().flatten().collect();
        let open: Vec<ConnectionId> =
            open.into_iter().filter(|connection| self.books.is_accepted(*connection)).collect();
        self.judge.finish(&open);
        for connection in &open {
            self.ask_for_nothing(*connection);
        }
        for connection in &open {
            self.check_outbound_credit(*connection);
            self.check_inbound_credit(*connection);
        }
        self.judge.finish(&open);
        self.inbox = None;
    }

    fn greet(&mut self, slot: u8) {
        let sessions = self.broker.sessions(0, usize::MAX, u32::MAX, |_| true).0;
        let session = sessions.into_iter().find(|session| session.client_id == client_id(slot));
        self.open(slot, u16::MAX);
        let Some(connection) = self.connection(slot) else { return };
        let hello = Hello {
            client: slot,
            version: 0,
            clean_start: false,
            expiry_interval_s: u8::MAX,
            receive_maximum: WINDOW,
            maximum_packet_size_bytes: None,
            keep_alive_s: 0,
            will: None,
            extras: 0,
        };
        let packet = client_packet(Packet::Connect(hello), &mut self.judge);
        self.send_packet(connection, packet);
        if self.questions.pop().is_some() {
            let outcome = AuthOutcome::Accepted {
                identity: session.and_then(|session| session.identity),
                data: None,
                credential: Credential::default(),
            };
            self.books.answered(connection, &outcome);
            self.judge.answered(connection, &outcome);
            self.tell(Input::Authenticated { connection, outcome });
        }
    }

    /// The disk catches up and all work is done, without the clients.
    fn settle(&mut self) {
        for _ in 0..WORK_MAXIMUM {
            if !self.fetches.is_empty() {
                self.fetch(0);
            } else if self.durable < self.journal.len() {
                self.make_durable(usize::MAX);
            } else if self.broker.has_more_work() {
                self.resume(100);
            } else {
                return;
            }
        }
        panic!("the work has no end");
    }

    /// What the clients were sent since the last call.
    fn take_inbox(&mut self) -> VecDeque<(ConnectionId, ServerPacket)> {
        self.settle();
        self.inbox.replace(VecDeque::new()).unwrap_or_default()
    }

    /// Every delivery is acknowledged, until there are no more.
    fn drain(&mut self) {
        for _ in 0..WORK_MAXIMUM {
            let inbox = self.take_inbox();
            if inbox.is_empty() {
                return;
            }
            for (connection, packet) in inbox {
                self.reply(connection, &packet);
            }
        }
        panic!("the broker does not come to rest");
    }

    fn reply(&mut self, connection: ConnectionId, packet: &ServerPacket) {
        let success = ReasonCode::Success;
        let reply = match packet {
            ServerPacket::Publish(publish) => match publish.delivery {
                Delivery::AtMostOnce => None,
                Delivery::AtLeastOnce(id) => Some(ClientPacket::PubAck(Ack::new(id, success))),
                Delivery::ExactlyOnce(id) => Some(ClientPacket::PubRec(Ack::new(id, success))),
            },
            ServerPacket::PubRel(ack) => {
                Some(ClientPacket::PubComp(Ack::new(ack.packet_id, success)))
            }
            ServerPacket::PubRec(ack) => (!ack.reason.is_error())
                .then(|| ClientPacket::PubRel(Ack::new(ack.packet_id, success))),
            ServerPacket::ConnAck(_)
            | ServerPacket::PubAck(_)
            | ServerPacket::PubComp(_)
            | ServerPacket::SubAck(_)
            | ServerPacket::UnsubAck(_)
            | ServerPacket::PingResp
            | ServerPacket::Disconnect(_)
            | ServerPacket::Auth(_) => None,
        };
        if self.books.is_open(connection) {
            self.tell(Input::Writable { connection, room_bytes: u32::MAX });
        }
        if let Some(reply) = reply
            && self.books.is_open(connection)
        {
            self.send_packet(connection, reply);
        }
    }

    /// The client takes back every subscription, and releases what it may not have released.
    fn ask_for_nothing(&mut self, connection: ConnectionId) {
        let filters = filters().collect();
        self.unsubscribe(connection, filters);
        for id in 1..8 {
            let release = Ack::new(inbound(id), ReasonCode::Success);
            self.send_packet(connection, ClientPacket::PubRel(release));
        }
        self.drain();
    }

    fn unsubscribe(&mut self, connection: ConnectionId, filters: Vec<TopicFilter>) {
        let packet_id = inbound(PACKET_ID);
        let unsubscribe = Unsubscribe { packet_id, filters, user_properties: Vec::new() };
        self.send_packet(connection, ClientPacket::Unsubscribe(Box::new(unsubscribe)));
    }

    /// A whole window of deliveries, and no more.
    fn check_outbound_credit(&mut self, connection: ConnectionId) {
        let filter = filters().next().expect("filters are known");
        let options =
            SubscriptionOptions { maximum_qos: QoS::AtLeastOnce, ..SubscriptionOptions::default() };
        let subscribe = Subscribe {
            packet_id: inbound(PACKET_ID),
            subscription_id: None,
            subscriptions: vec![(filter.clone(), options)],
            user_properties: Vec::new(),
        };
        self.send_packet(connection, ClientPacket::Subscribe(Box::new(subscribe)));
        self.drain();
        for _ in 0..WINDOW + 2 {
            self.order(Command::Publish(Box::new(PublishCommand {
                topic: topic_of(0),
                payload: payload(0),
                qos: QoS::AtLeastOnce,
                retain: false,
                message_expiry_interval_s: None,
                properties: None,
            })));
        }
        let inbox = self.take_inbox();
        let sent = inbox
            .iter()
            .filter(|(to, packet)| *to == connection && matches!(packet, ServerPacket::Publish(_)));
        assert_eq!(sent.count(), usize::from(WINDOW), "{connection} is sent a window");
        for (connection, packet) in inbox {
            self.reply(connection, &packet);
        }
        self.drain();
        self.unsubscribe(connection, vec![filter]);
        self.drain();
    }

    /// As many publications at QoS 2 as the broker says it takes.
    fn check_inbound_credit(&mut self, connection: ConnectionId) {
        if self.config.limits.maximum_qos < QoS::ExactlyOnce {
            return;
        }
        let maximum = self.config.limits.receive_maximum;
        for id in (PACKET_ID + 1..).take(usize::from(maximum)) {
            let publish = Publish {
                dup: false,
                retain: false,
                delivery: Delivery::ExactlyOnce(inbound(id)),
                topic: topic_of(0),
                payload: payload(0),
                message_expiry_interval_s: None,
                properties: None,
            };
            self.send_packet(connection, ClientPacket::Publish(publish));
        }
        let inbox = self.take_inbox();
        let taken = inbox.iter().filter(|(_, packet)| matches!(packet, ServerPacket::PubRec(_)));
        assert_eq!(taken.count(), usize::from(maximum), "{connection} publishes a window");
        for (connection, packet) in inbox {
            self.reply(connection, &packet);
        }
        self.drain();
    }

    /// The broker is what its records say, however they are put together.
    pub(super) fn check_records(&self) {
        let whole = |broker: &Broker| {
            let mut records = comparable(self.whole(broker.snapshot()), self.now);
            records.retain(|record| self.is_of_journal(record));
            records
        };
        let all = whole(&self.recovered(self.journal.clone()));
        let live = whole(&self.recovered(self.broker.snapshot()));
        let told = difference(&live, &all);
        assert_eq!(told, None, "recovered from a live snapshot, and from records");
        for prefix in (0..self.journal.len()).step_by((self.journal.len() / 4).max(1)) {
            let mut recovery = Recovery::new(self.config.clone(), Seed(3));
            for record in &self.journal[..prefix] {
                recovery.apply(record.clone()).expect("a prefix of the journal");
            }
            let mut records = recovery.into_snapshot();
            records.extend_from_slice(&self.journal[prefix..]);
            let told = difference(&whole(&self.recovered(records)), &all);
            assert_eq!(told, None, "{prefix} records compacted");
        }
    }

    /// Whether the journal has what a snapshot says here: counts of messages leave a record now and then, and keys
    /// are forgotten without one.
    fn is_of_journal(&self, record: &Record) -> bool {
        if let Record::Requested(asked) = record {
            let is_over = asked.at.plus_ms(REQUEST_KEY_MS) <= self.now;
            return self.settings.keeps_keys()
                && !is_over
                && !self.requests.is_unrecorded(asked.identity.as_ref(), &asked.key);
        }
        !matches!(record, Record::Counted { .. })
    }

    pub(super) fn recovered(&self, records: Vec<Record>) -> Broker {
        let through = LogPosition(self.journal.len() as u64);
        Broker::recover(self.config.clone(), Seed(1), self.now, through, records)
            .expect("a journal makes a broker")
    }

    /// A snapshot with the messages that are not in memory.
    pub(super) fn whole(&self, records: Vec<Record>) -> Vec<Record> {
        let find = |id| self.journal.iter().find_map(|record| record.message(id).cloned());
        records.into_iter().map(|record| record.with_message(find)).collect()
    }
}

fn inbound(id: u16) -> InboundPacketId {
    InboundPacketId(PacketId::new(id).expect("not 0"))
}
