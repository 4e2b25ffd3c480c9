//! How a world ends: every client comes back, everything is read and answered, every credit is
//! there again, and the journal tells the same as the broker.

use bytes::Bytes;
use signalhouse_core::input::{Command, PublishCommand};
use signalhouse_core::record::RetainedChange;
use signalhouse_core::routing::topic::{Topic, TopicFilter};
use signalhouse_core::wire::packet::{
    ClientPacket, Connect, ServerPacket, Subscribe, SubscriptionOptions, Unsubscribe,
};
use signalhouse_core::wire::types::{QoS, Version};
use signalhouse_core::{ConnectionId, Input, JournalRoom, Record, Recovery, Seed, Time};

use super::client::{self, FILTERS, SHARES, inbound, text};
use super::world::{World, key_of};

/// More rounds than this, and the broker never comes to rest.
const ROUNDS: u32 = 100_000;

impl World {
    /// Ends the world and says what was wrong with it.
    pub(crate) fn end(&mut self) {
        self.begin_end();
        self.handle(Input::JournalSpace { room: JournalRoom::Ample });
        self.handle(Input::Command(Command::ConfirmTime));
        self.come_back();
        self.drain();
        let open = self.open();
        if let Some(check) = &mut self.check {
            check.finish(&open);
        }
        self.check_credits();
        self.check_recovery();
        self.close_all();
        self.settle();
        self.check_same_as_recovered();
    }

    fn open(&self) -> Vec<ConnectionId> {
        self.links.iter().flatten().map(|link| link.id).collect()
    }

    fn come_back(&mut self) {
        for client in 0..self.links.len() {
            let keeps = self.links[client]
                .as_ref()
                .is_some_and(|link| link.live && !link.severed && link.honest);
            if keeps && self.rng.chance(50) {
                continue;
            }
            if let Some(id) = self.links[client].as_ref().map(|link| link.id) {
                self.close(id);
            }
        }
        for client in 0..self.links.len() {
            let key = key_of(client);
            let is_taken = self.links.iter().flatten().any(|link| link.key == key);
            if is_taken || self.links[client].is_some() {
                continue;
            }
            let receive_maximum = self.rng.pick(&[1, 2, 3, 5]);
            self.connect_with(client, returning(&key, receive_maximum));
        }
    }

    /// Lets everything happen that can happen without anything new.
    fn drain(&mut self) {
        for _ in 0..ROUNDS {
            if !self.drain_once() {
                return;
            }
        }
        panic!("the broker does not come to rest");
    }

    fn drain_once(&mut self) -> bool {
        let inputs = self.inputs;
        self.settle();
        let mut has_read = false;
        for id in self.open() {
            if self.link(id).is_some_and(|link| link.narrow) {
                self.set_wide(id);
            }
            while let Some(packet) = self.take_from_inbox(id) {
                has_read = true;
                self.read(id, packet);
            }
            while self.link(id).is_some_and(|link| !link.replies.is_empty()) {
                self.reply(id);
            }
        }
        has_read || self.inputs > inputs
    }

    /// Makes everything durable and does all work, without the clients.
    pub(crate) fn settle(&mut self) {
        loop {
            self.answer_all_questions();
            self.make_durable(self.appended());
            if !self.fetches.is_empty() {
                self.bring(0);
            } else if self.broker.has_more_work() {
                self.resume(1000);
            } else if self.all_durable() {
                return;
            }
        }
    }

    fn take_from_inbox(&mut self, id: ConnectionId) -> Option<ServerPacket> {
        let link = self.links.get_mut(id.index as usize)?.as_mut()?;
        if link.id == id { link.inbox.pop_front() } else { None }
    }

    fn set_wide(&mut self, id: ConnectionId) {
        if let Some(Some(link)) = self.links.get_mut(id.index as usize) {
            link.narrow = false;
        }
        self.handle(Input::Writable { connection: id, room_bytes: u32::MAX });
    }

    fn fail(&mut self, what: String) {
        match &mut self.check {
            Some(check) => check.problems.push(what),
            None => panic!("{what}"),
        }
    }

    /// A whole window in both directions can be used again.
    fn check_credits(&mut self) {
        for id in self.open() {
            let packet_id = 41_000;
            let mut filters: Vec<TopicFilter> = FILTERS
                .iter()
                .chain(&SHARES)
                .map(|filter| TopicFilter::try_from(*filter).expect("a filter"))
                .collect();
            filters.push(probe_filter(id));
            let unsubscribe =
                Unsubscribe { packet_id: inbound(packet_id), filters, user_properties: Vec::new() };
            self.send(id, ClientPacket::Unsubscribe(Box::new(unsubscribe)));
        }
        self.drain();
        for id in self.open() {
            self.check_inbound_credit(id);
            self.check_outbound_credit(id);
        }
    }

    fn check_inbound_credit(&mut self, id: ConnectionId) {
        let maximum = self.config.limits.receive_maximum;
        for _ in 0..maximum {
            self.publish_at(id, QoS::ExactlyOnce);
        }
        self.settle();
        if self.link(id).is_none() {
            // 3.1 and 3.1.1 cannot be refused in any other way.
            return;
        }
        let unanswered = self.link(id).map_or(0, |link| {
            link.inbox.iter().filter(|packet| matches!(packet, ServerPacket::PubRec(_))).count()
        });
        if unanswered != usize::from(maximum) {
            self.fail(format!("{id} published {maximum} times and got {unanswered} PUBRECs"));
        }
        self.drain();
    }

    fn check_outbound_credit(&mut self, id: ConnectionId) {
        let Some(window) = self.link(id).map(|link| link.window) else { return };
        let window = usize::from(window.min(self.config.limits.inflight_messages));
        if window > 100 {
            return;
        }
        let subscribe = Subscribe {
            packet_id: inbound(41_000),
            subscription_id: None,
            subscriptions: vec![(
                probe_filter(id),
                SubscriptionOptions {
                    maximum_qos: QoS::ExactlyOnce,
                    ..SubscriptionOptions::default()
                },
            )],
            user_properties: Vec::new(),
        };
        self.send(id, ClientPacket::Subscribe(Box::new(subscribe)));
        self.drain();
        let Some(Some(link)) = self.links.get(id.index as usize) else { return };
        let (id, before) = (link.id, link.inbox.len());
        for number in 0..window + 2 {
            let qos = if number % 2 == 0 { QoS::AtLeastOnce } else { QoS::ExactlyOnce };
            self.handle(Input::Command(Command::Publish(Box::new(PublishCommand {
                topic: Topic::try_from(format!("probe/{}", id.index).as_str()).expect("a topic"),
                payload: Bytes::from_static(b"p"),
                qos,
                retain: false,
                message_expiry_interval_s: None,
                properties: None,
            }))));
        }
        self.settle();
        let got = self.link(id).map_or(0, |link| link.inbox.len() - before);
        if got != window {
            self.fail(format!("{id} takes {window} deliveries at once and is sent {got}"));
        }
        self.drain();
    }

    fn close_all(&mut self) {
        for id in self.open() {
            self.close(id);
        }
    }

    /// Closed everywhere, the broker is what its records say.
    fn check_same_as_recovered(&mut self) {
        let live = self.comparable(self.broker.snapshot());
        let recovered = self.comparable(self.recovered(self.journal_len()).snapshot());
        if let Some(difference) = difference(&live, &recovered) {
            self.fail(format!("the broker and its records differ: {difference}"));
        }
    }

    fn comparable(&self, records: Vec<Record>) -> Vec<Record> {
        comparable(self.with_messages(records), self.now)
    }

    /// From some prefixes, the whole journal among them, recovery succeeds; from a snapshot it
    /// comes to the same, and twice to the same as once.
    pub(crate) fn check_recovery(&mut self) {
        let length = self.journal_len();
        let from_live = self.comparable(self.recovered_from(self.broker.snapshot()).snapshot());
        let from_records = self.comparable(self.recovered(length).snapshot());
        if let Some(difference) = difference(&from_live, &from_records) {
            self.fail(format!("recovery from a live snapshot and from records: {difference}"));
        }
        self.check_prefixes((length / 40).max(1));
        for prefix in (0..length).step_by((length / 8).max(1)) {
            self.check_compaction(prefix);
        }
    }

    /// Records can be replaced by what they come to, in the middle of whatever goes on, without
    /// a difference to those that follow.
    fn check_compaction(&mut self, prefix: usize) {
        let mut recovery = Recovery::new(self.config.clone(), Seed(3));
        for record in self.base.iter().chain(&self.journal[..prefix]) {
            recovery.apply(record.clone()).expect("a prefix of the journal");
        }
        let compacted = recovery.into_snapshot();
        let rest = self.journal[prefix..].iter().cloned();
        let compacted = self.recovered_from(compacted.into_iter().chain(rest).collect()).snapshot();
        let compacted = self.with_messages(compacted);
        let recovered = self.with_messages(self.recovered(self.journal_len()).snapshot());
        if let Some(difference) = difference(&compacted, &recovered) {
            self.fail(format!("{prefix} records compacted: {difference}"));
        }
    }

    /// Recovery from every so many records.
    pub(crate) fn check_prefixes(&mut self, step: usize) {
        for prefix in (0..=self.journal_len()).step_by(step) {
            let once = self.with_messages(self.recovered(prefix).snapshot());
            let twice = self.with_messages(self.recovered_from(once.clone()).snapshot());
            if let Some(difference) = difference(&once, &twice) {
                self.fail(format!("recovery of {prefix} records, once and twice: {difference}"));
            }
        }
    }
}

fn probe_filter(id: ConnectionId) -> TopicFilter {
    TopicFilter::try_from(format!("probe/{}", id.index).as_str()).expect("a filter")
}

/// An ordinary CONNECT that resumes.
fn returning(key: &str, receive_maximum: u16) -> Connect {
    Connect {
        version: Version::V5,
        clean_start: false,
        keep_alive_s: 0,
        client_id: text(key),
        will: None,
        session_expiry_interval_s: u32::MAX,
        receive_maximum,
        maximum_packet_size_bytes: None,
        ..client::connect(&mut super::rng::Rng::new(0), key, 0)
    }
}

/// A snapshot without what leaves no record: numbers given out, the expiry of retained messages, and how
/// far a replay has come with what is sent at QoS 0.
pub(crate) fn comparable(records: Vec<Record>, now: Time) -> Vec<Record> {
    let mut comparable = Vec::new();
    for mut record in records {
        if let Record::Published { message, retained, entries, .. } = &mut record
            && message.is_expired(now)
        {
            *retained = RetainedChange::None;
            if entries.is_empty() {
                continue;
            }
        }
        if let Record::Subscribed { replay: Some(replay), .. } = &mut record {
            replay.after_topic = None;
            replay.early.clear();
        }
        if !matches!(record, Record::Counters { .. }) {
            comparable.push(record);
        }
    }
    comparable
}

/// Where the one is not the other, if it is not.
pub(crate) fn difference(one: &[Record], other: &[Record]) -> Option<String> {
    if one == other {
        return None;
    }
    let place = one.iter().zip(other).take_while(|(one, other)| one == other).count();
    Some(format!(
        "record {place} of {} and {}:\n    {:?}\n    {:?}",
        one.len(),
        other.len(),
        one.get(place),
        other.get(place)
    ))
}
