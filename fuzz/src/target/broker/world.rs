//! The broker and everything around it: connections, a journal, a clock, and what must hold of all.

mod ending;

use std::collections::VecDeque;
use std::sync::Arc;

use signalhouse_core::input::{AuthOutcome, Command, Gone, PublishFor};
use signalhouse_core::message::MessageId;
use signalhouse_core::permission::Permissions;
use signalhouse_core::quota::Quotas;
use signalhouse_core::wire::packet::{ClientPacket, ServerPacket};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::{
    Action, Broker, Config, ConnectionId, Input, JournalRoom, LogPosition, Outbox, Question,
    Record, Seed, Time,
};

use super::answers::Answers;
use super::books::Books;
use super::judge::Judge;
use super::names::{client_id, refusal, text};
use super::orders;
use super::packets::client_packet;
use super::recount;
use super::requests::Requests;
use super::settings::Settings;
use super::step::{Message, Packet, Step, Stranger, Verdict};
use super::wires::Wires;

const SLOTS: u8 = 4;
const PEERS: [&str; 2] = ["10.0.0.1:40000", "[::1]:40001"];
const WORK_MAXIMUM: u32 = 10_000;
/// Calls, at most, for what is due at one moment.
const CALLS_MAXIMUM: u32 = 100;
/// How often the broker's counts are counted again.
const RECOUNT_INPUTS: u32 = 64;

pub(super) struct World {
    settings: Settings,
    config: Config,
    broker: Broker,
    now: Time,
    out: Outbox,
    /// Inputs so far.
    inputs: u32,
    /// Every record of the journal, and how many of them are durable.
    journal: Vec<Record>,
    durable: usize,
    slots: [Option<ConnectionId>; SLOTS as usize],
    generation: u32,
    books: Books,
    answers: Answers,
    judge: Judge,
    wires: Wires,
    requests: Requests,
    /// What the driver is asked, and whether that is an exchange.
    questions: Vec<(ConnectionId, bool)>,
    /// The rules in force, and before them those under which something waits for the disk.
    rules: Vec<Arc<Permissions>>,
    quotas: Arc<Quotas>,
    /// Messages that the broker wants back.
    fetches: VecDeque<MessageId>,
    /// What was sent, once somebody reads it.
    inbox: Option<VecDeque<(ConnectionId, ServerPacket)>>,
}

impl World {
    pub(super) fn new(settings: Settings) -> Self {
        let config = settings.config();
        let now = Time::from_ms(1_000_000);
        World {
            broker: Broker::new(config.clone(), Seed(1), now),
            rules: vec![Arc::clone(&config.permissions)],
            settings,
            judge: Judge::new(&config),
            config,
            now,
            out: Outbox::new(),
            inputs: 0,
            journal: Vec::new(),
            durable: 0,
            slots: [None; SLOTS as usize],
            generation: 0,
            books: Books::default(),
            answers: Answers::default(),
            wires: Wires::default(),
            requests: Requests::default(),
            questions: Vec::new(),
            quotas: Arc::default(),
            fetches: VecDeque::new(),
            inbox: None,
        }
    }

    pub(super) fn take(&mut self, step: Step) {
        match step {
            Step::Open { slot, room_bytes } => self.open(slot % SLOTS, room_bytes),
            Step::Packet { slot, packet } => self.send(slot, packet),
            Step::Gone { slot, failed } => {
                let cause = if failed { Gone::Failed } else { Gone::PeerClosed };
                self.lose(slot, cause);
            }
            Step::Writable { slot, room_bytes } => {
                if let Some(connection) = self.connection(slot) {
                    let room_bytes = u32::from(room_bytes);
                    self.tell(Input::Writable { connection, room_bytes });
                }
            }
            Step::Durable { records } => self.make_durable(usize::from(records)),
            Step::Pass { ms } => {
                self.now = self.now.plus_ms(u64::from(ms));
                self.tell(Input::Deadline);
            }
            Step::Resume { budget } => self.resume(u32::from(budget)),
            Step::Crash { kept } => self.crash(usize::from(kept)),
            Step::Disconnect { client } => self.order(Command::Disconnect {
                client_id: client_id(client),
                reason: refusal(client >> 6),
            }),
            Step::EndSession { client } => {
                self.order(Command::EndSession { client_id: client_id(client) });
            }
            Step::ConfirmTime => self.order(Command::ConfirmTime),
            Step::Space { is_short } => {
                let room = if is_short { JournalRoom::Short } else { JournalRoom::Ample };
                self.tell(Input::JournalSpace { room });
            }
            Step::Malformed { slot, error, version } => self.garble(slot, error, version),
            Step::Answer { place, verdict } => self.answer(place, verdict),
            Step::Withdraw { slot, reason } => self.withdraw(slot, refusal(reason)),
            Step::SetPermissions(rules) => {
                let rules = Arc::new(orders::permissions(&rules));
                self.rules.push(Arc::clone(&rules));
                self.order(Command::SetPermissions(rules));
            }
            Step::SetQuotas(bounds) => {
                self.quotas = Arc::new(orders::quotas(&bounds));
                self.order(Command::SetQuotas(Arc::clone(&self.quotas)));
            }
            Step::Publish(message) => {
                let message = orders::message(&message, &mut self.judge);
                self.order(Command::Publish(Box::new(message)));
            }
            Step::PublishFor { message, publisher, once } => {
                self.publish_for(&message, publisher.as_ref(), once);
            }
            Step::Stop { reason, is_durable } => self.stop(refusal(reason), is_durable),
            Step::Fetch { place } => self.fetch(usize::from(place)),
        }
    }

    fn connection(&self, slot: u8) -> Option<ConnectionId> {
        self.slots[usize::from(slot % SLOTS)]
    }

    fn open(&mut self, slot: u8, room_bytes: u16) {
        let place = &mut self.slots[usize::from(slot)];
        if place.is_some() {
            return;
        }
        self.generation += 1;
        let connection = ConnectionId { index: u32::from(slot), generation: self.generation };
        *place = Some(connection);
        self.books.opened(connection);
        self.answers.opened(connection);
        let peer = text(PEERS[usize::from(slot) % PEERS.len()]);
        self.tell(Input::Opened { connection, peer, room_bytes: u32::from(room_bytes) });
    }

    fn send(&mut self, slot: u8, packet: Packet) {
        let Some(connection) = self.connection(slot) else { return };
        let packet = client_packet(packet, &mut self.judge);
        self.send_packet(connection, packet);
    }

    fn send_packet(&mut self, connection: ConnectionId, mut packet: ClientPacket) {
        self.judge.sends(connection, &mut packet);
        self.books.sends(connection, &packet);
        self.answers.sends(connection, &packet);
        let alias_maximum = self.config.limits.topic_alias_outbound_maximum;
        self.wires.sends(connection, &packet, alias_maximum);
        self.tell(Input::Packet { connection, packet });
    }

    fn lose(&mut self, slot: u8, cause: Gone) {
        let Some(connection) = self.connection(slot) else { return };
        self.forget(connection);
        self.tell(Input::Closed { connection, cause });
    }

    fn forget(&mut self, connection: ConnectionId) {
        self.books.closed(connection);
        self.judge.closed(connection);
        self.answers.closed(connection);
        self.wires.closed(connection);
        for slot in &mut self.slots {
            if *slot == Some(connection) {
                *slot = None;
            }
        }
    }

    fn garble(&mut self, slot: u8, error: u8, version: u8) {
        let Some(connection) = self.connection(slot) else { return };
        let (error, version) = orders::malformed(error, version);
        self.tell(Input::Malformed { connection, error, version });
        assert!(!self.books.is_open(connection), "nothing more is read [MQTT-4.13.1-1]");
    }

    /// Answers one of the questions, perhaps of a connection that is gone.
    fn answer(&mut self, place: u8, verdict: Verdict) {
        if self.questions.is_empty() {
            return;
        }
        let place = usize::from(place) % self.questions.len();
        let (connection, is_exchange) = self.questions.remove(place);
        let outcome = orders::outcome(self.now, verdict, is_exchange);
        self.books.answered(connection, &outcome);
        self.judge.answered(connection, &outcome);
        self.tell(Input::Authenticated { connection, outcome });
    }

    fn withdraw(&mut self, slot: u8, reason: ReasonCode) {
        let Some(connection) = self.connection(slot) else { return };
        if self.books.is_accepted(connection) {
            let outcome = AuthOutcome::Refused { reason };
            self.tell(Input::Authenticated { connection, outcome });
            assert!(!self.books.is_open(connection), "{connection} may not stay");
        }
    }

    fn publish_for(&mut self, message: &Message, publisher: Option<&Stranger>, once: u8) {
        let message = orders::message(message, &mut self.judge);
        let publisher = publisher.map(|publisher| orders::publisher(self.now, publisher));
        let once = [None, Some("k"), Some("l"), Some("m")][usize::from(once % 4)].map(text);
        let rules = self.rules.last().expect("rules are in force");
        let ticket =
            self.requests.ask(self.now, &message, publisher.as_ref(), once.as_ref(), rules);
        let request = PublishFor { message, publisher, ticket, once };
        self.order(Command::PublishFor(Box::new(request)));
    }

    fn stop(&mut self, reason: ReasonCode, is_durable: bool) {
        let server_reference =
            (reason == ReasonCode::UseAnotherServer).then(|| text("elsewhere:1883"));
        self.order(Command::Stop { reason, server_reference });
        self.books.assert_all_closed();
        if is_durable {
            self.make_durable(usize::MAX);
        }
        self.crash(0);
    }

    fn order(&mut self, command: Command) {
        self.judge.command(&command);
        self.tell(Input::Command(command));
    }

    fn make_durable(&mut self, records: usize) {
        self.durable = self.journal.len().min(self.durable.saturating_add(records));
        self.judge.durable(self.durable as u64);
        self.tell(Input::Durable { through: LogPosition(self.durable as u64) });
    }

    fn fetch(&mut self, place: usize) {
        if self.fetches.is_empty() {
            return;
        }
        let id = self.fetches.remove(place % self.fetches.len()).expect("the place is there");
        let found = self.journal.iter().find_map(|record| record.message(id).cloned());
        let message = found.expect("only what the journal has is fetched");
        self.tell(Input::Fetched { message });
    }

    fn tell(&mut self, input: Input) {
        let mut out = std::mem::take(&mut self.out);
        self.broker.handle(self.now, input, &mut out);
        self.carry_out(&mut out);
        self.answers.has_looked();
        self.judge.has_looked();
        self.out = out;
        self.come_due();
        self.check();
        self.inputs += 1;
        if self.inputs.is_multiple_of(RECOUNT_INPUTS) {
            recount::check(&self.broker, self.now, &self.quotas);
        }
        while !self.settings.fetches_slowly() && !self.fetches.is_empty() {
            self.fetch(0);
        }
    }

    fn resume(&mut self, budget: u32) {
        let mut out = std::mem::take(&mut self.out);
        self.broker.resume(self.now, budget, &mut out);
        self.carry_out(&mut out);
        self.out = out;
        self.check();
    }

    /// Calls the broker for what is due at this very moment.
    fn come_due(&mut self) {
        let mut calls = 0;
        while let Some(deadline) = self.broker.next_deadline()
            && deadline.at <= self.now
        {
            assert!(calls < CALLS_MAXIMUM, "nothing is done about {deadline:?}");
            calls += 1;
            let mut out = std::mem::take(&mut self.out);
            self.broker.handle(self.now, Input::Deadline, &mut out);
            self.carry_out(&mut out);
            self.out = out;
        }
    }

    /// What holds after each input.
    fn check(&mut self) {
        self.books.assert_nobody_overstays(self.now);
        if self.durable == self.journal.len() {
            self.rules.drain(..self.rules.len() - 1);
            self.books.all_has_left();
        }
    }

    fn carry_out(&mut self, out: &mut Outbox) {
        for action in out.drain() {
            self.judge.action(&action);
            match action {
                Action::Send { connection, packet } => {
                    self.books.receives(connection, &packet, &self.rules);
                    self.answers.receives(connection, &packet, self.durable as u64);
                    self.wires.receives(connection, &packet);
                    if let Some(inbox) = &mut self.inbox {
                        inbox.push_back((connection, packet));
                    }
                }
                Action::Close { connection } => self.forget(connection),
                Action::Persist { at, record } => {
                    assert_eq!(at.0, self.journal.len() as u64 + 1, "positions rise by one");
                    self.answers.persists(at.0, &record);
                    self.journal.push(record);
                }
                Action::Fetch { message } => self.fetches.push_back(message),
                Action::Ask { connection, question } => {
                    self.books.asked(connection, &question);
                    self.questions.push((connection, self.is_exchange(&question)));
                }
                Action::Answer(answer) => {
                    self.requests.answered(&answer, self.settings.keeps_keys());
                }
                Action::Notice(_) => {}
            }
        }
    }

    fn is_exchange(&self, question: &Question) -> bool {
        match question {
            Question::Credentials { .. } => {
                assert!(self.config.ask_credentials, "nobody is to be asked for");
                false
            }
            Question::Exchange { method, .. } => {
                let methods = &self.config.authentication_methods;
                assert!(methods.contains(method), "{method} is not supported [MQTT-4.12.0-1]");
                true
            }
        }
    }

    /// Ends the process. The journal keeps `kept` records more than are durable.
    fn crash(&mut self, kept: usize) {
        recount::check(&self.broker, self.now, &self.quotas);
        self.journal.truncate(self.durable.saturating_add(kept));
        self.durable = self.journal.len();
        let rules = self.rules.last().expect("rules are in force");
        self.config.permissions = Arc::clone(rules);
        let broker = self.recovered(self.journal.clone());
        let snapshot = broker.snapshot();
        let again = self.recovered(snapshot.clone()).snapshot();
        assert_eq!(self.whole(again), self.whole(snapshot), "a snapshot makes the same");
        self.broker = broker;
        self.slots = [None; SLOTS as usize];
        self.books = Books::default();
        self.wires = Wires::default();
        self.answers.crash(&self.journal);
        self.judge.crash(self.durable as u64);
        self.requests.crash();
        self.questions.clear();
        self.fetches.clear();
        self.order(Command::SetQuotas(Arc::clone(&self.quotas)));
        self.work();
    }

    fn work(&mut self) {
        let mut left = WORK_MAXIMUM;
        while self.broker.has_more_work() && left > 0 {
            self.resume(100);
            left -= 1;
        }
        assert!(left > 0, "the work has no end");
    }

    /// The disk catches up, so that nobody waits for anything; and the process ends.
    pub(super) fn end(&mut self) {
        let mut left = WORK_MAXIMUM;
        while (self.durable < self.journal.len() || self.broker.has_more_work()) && left > 0 {
            self.work();
            self.make_durable(usize::MAX);
            left -= 1;
        }
        assert!(left > 0, "the journal has no end");
        self.requests.assert_all_answered();
        self.come_to_rest();
        self.check_records();
        self.crash(0);
    }
}
