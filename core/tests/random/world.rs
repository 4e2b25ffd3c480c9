//! A broker with its journal, its clock and its clients, all driven from one seed. What clients do
//! depends on what the broker sends them.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Arc;

use signalhouse_core::credential::Credential;
use signalhouse_core::input::{AuthOutcome, Command, PublishCommand};
use signalhouse_core::message::{Message, MessageId};
use signalhouse_core::wire::reason::ReasonCode;
use signalhouse_core::wire::types::Version;
use signalhouse_core::{
    Action, Broker, Config, ConnectionId, Input, JournalRoom, Limits, LogPosition, Outbox, Record,
    RecoverError, Seed, Time,
};

use super::check::Check;
use super::client::{self, Link, Memory, Session, text};
use super::rng::Rng;

const START: Time = Time::from_ms(1_700_000_000_000);

/// What kind of world a seed stands for.
#[derive(Clone, Debug)]
pub(crate) struct Shape {
    pub(crate) seed: u64,
    pub(crate) clients: usize,
    /// Inputs before it comes to its end.
    pub(crate) inputs: u64,
    /// Whether everything is checked.
    pub(crate) checked: bool,
    /// Whether all that happens is written down.
    pub(crate) traced: bool,
}

/// How soon records become durable.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Disk {
    Immediate,
    Random,
    Withheld,
}

pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) config: Config,
    pub(crate) broker: Broker,
    pub(crate) now: Time,
    /// The state at `base_through`, as records.
    pub(crate) base: Vec<Record>,
    pub(crate) base_through: u64,
    /// The records after `base_through`.
    pub(crate) journal: Vec<Record>,
    pub(crate) durable: u64,
    pub(crate) disk: Disk,
    /// Each client's connection, if it has one.
    pub(crate) links: Vec<Option<Link>>,
    pub(crate) generations: Vec<u32>,
    pub(crate) memories: BTreeMap<String, Memory>,
    pub(crate) questions: Vec<ConnectionId>,
    /// Messages to be read back.
    pub(crate) fetches: Vec<MessageId>,
    /// The connection that the broker is accepting, if it is.
    pub(crate) connecting: Option<ConnectionId>,
    pub(crate) check: Option<Check>,
    pub(crate) trace: Option<String>,
    pub(crate) outbox: Outbox,
    pub(crate) inputs: u64,
    pub(crate) crashes: u64,
    pub(crate) number: u64,
    pub(crate) order: u64,
    pub(crate) is_ending: bool,
}

impl World {
    pub(crate) fn new(shape: &Shape) -> Self {
        World::chosen_by(shape, Rng::new(shape.seed))
    }

    /// A world in which `rng` chooses.
    pub(crate) fn chosen_by(shape: &Shape, mut rng: Rng) -> Self {
        let config = config(&mut rng);
        let broker = Broker::new(config.clone(), Seed(shape.seed), START);
        let disk = rng.pick(&[Disk::Immediate, Disk::Random, Disk::Withheld]);
        World {
            check: shape.checked.then(|| Check::new(&config)),
            rng,
            config,
            broker,
            now: START,
            base: Vec::new(),
            base_through: 0,
            journal: Vec::new(),
            durable: 0,
            disk,
            links: vec![None; shape.clients],
            generations: vec![0; shape.clients],
            memories: BTreeMap::new(),
            questions: Vec::new(),
            fetches: Vec::new(),
            connecting: None,
            trace: shape.traced.then(String::new),
            outbox: Outbox::new(),
            inputs: 0,
            crashes: 0,
            number: 0,
            order: 0,
            is_ending: false,
        }
    }

    /// What was written down since the last call.
    pub(crate) fn take_trace(&mut self) -> String {
        self.trace.as_mut().map(std::mem::take).unwrap_or_default()
    }

    pub(crate) fn is_sound(&self) -> bool {
        self.check.as_ref().is_none_or(|check| check.problems.is_empty())
    }

    pub(crate) fn problems(&self) -> Vec<String> {
        self.check.as_ref().map(|check| check.problems.clone()).unwrap_or_default()
    }

    pub(crate) fn appended(&self) -> u64 {
        self.base_through + self.journal.len() as u64
    }

    /// One thing that happens.
    pub(crate) fn step(&mut self) {
        match self.rng.below(1000) {
            0..=719 => self.client_step(),
            720..=839 => self.disk_step(),
            840..=899 => self.resume_step(),
            900..=969 => self.time_step(),
            970..=979 => self.answer_question(),
            980..=981 => {
                let room = match (self.rng.chance(30), self.rng.chance(30)) {
                    (false, _) => JournalRoom::Ample,
                    (true, false) => JournalRoom::Short,
                    (true, true) => JournalRoom::UsedUp,
                };
                self.handle(Input::JournalSpace { room });
            }
            982..=984 => {
                self.disk = self.rng.pick(&[Disk::Immediate, Disk::Random, Disk::Withheld]);
            }
            985..=995 => self.command_step(),
            _ => {
                if self.rng.chance(60) {
                    self.crash();
                }
            }
        }
        if self.disk == Disk::Immediate {
            self.make_durable(self.appended());
        }
        while !self.fetches.is_empty() && self.rng.chance(50) {
            let place = self.rng.below(self.fetches.len() as u64) as usize;
            self.bring(place);
        }
        if !self.questions.is_empty() && self.rng.chance(50) {
            self.answer_question();
        }
    }

    fn note(&mut self, what: &dyn std::fmt::Display) {
        let now = self.now;
        if let Some(trace) = &mut self.trace {
            let _ = writeln!(trace, "> {now} {what}");
        }
    }

    /// Hands one input to the broker and takes in what comes of it.
    pub(crate) fn handle(&mut self, input: Input) {
        self.inputs += 1;
        self.note(&format_args!("{input:?}"));
        let mut outbox = std::mem::take(&mut self.outbox);
        self.broker.handle(self.now, input, &mut outbox);
        self.absorb(&mut outbox);
        self.outbox = outbox;
    }

    pub(crate) fn resume(&mut self, budget: u32) {
        self.note(&format_args!("resume {budget}"));
        let mut outbox = std::mem::take(&mut self.outbox);
        self.broker.resume(self.now, budget, &mut outbox);
        self.absorb(&mut outbox);
        self.outbox = outbox;
    }

    fn absorb(&mut self, outbox: &mut Outbox) {
        for action in outbox.drain() {
            if let Some(trace) = &mut self.trace {
                let _ = writeln!(trace, "{action:?}");
            }
            if let Some(check) = &mut self.check {
                check.action(&action);
            }
            match action {
                Action::Send { connection, packet } => {
                    if let Some(link) = self.link_mut(connection)
                        && !link.severed
                    {
                        link.inbox.push_back(packet);
                    }
                }
                Action::Close { connection } => self.lose(connection),
                Action::Persist { at, record } => {
                    assert_eq!(at.0, self.appended() + 1, "positions rise by one");
                    self.learn_session(&record);
                    self.journal.push(record);
                }
                Action::Ask { connection, .. } => self.questions.push(connection),
                Action::Fetch { message } => self.fetches.push(message),
                Action::Answer(_) | Action::Notice(_) => {}
            }
        }
    }

    /// Which session a connection has is known from the record of its CONNECT, if it has one.
    fn learn_session(&mut self, record: &Record) {
        if let Record::Connected { session, .. } = record
            && let Some(connection) = self.connecting
        {
            self.enter(connection, Session::Recorded(session.0));
        }
    }

    pub(crate) fn enter(&mut self, connection: ConnectionId, session: Session) {
        let at = self.appended() + 1;
        if let Some(link) = self.link_mut(connection) {
            link.session = Some(session);
        }
        if let Some(check) = &mut self.check {
            check.entered_session(connection, session, at);
        }
    }

    pub(crate) fn link(&self, id: ConnectionId) -> Option<&Link> {
        self.links.get(id.index as usize)?.as_ref().filter(|link| link.id == id)
    }

    pub(crate) fn link_mut(&mut self, id: ConnectionId) -> Option<&mut Link> {
        self.links.get_mut(id.index as usize)?.as_mut().filter(|link| link.id == id)
    }

    /// The connection is gone. The client may still have read what was sent before.
    pub(crate) fn lose(&mut self, id: ConnectionId) {
        let reads_on = self.rng.chance(50);
        if let Some(link) = self.link_mut(id) {
            link.severed = true;
        }
        while reads_on
            && let Some(link) = self.link_mut(id)
            && let Some(packet) = link.inbox.pop_front()
        {
            self.read(id, packet);
        }
        if let Some(slot) = self.links.get_mut(id.index as usize)
            && slot.as_ref().is_some_and(|link| link.id == id)
        {
            *slot = None;
        }
    }

    fn disk_step(&mut self) {
        let chance = match self.disk {
            Disk::Immediate => return,
            Disk::Random => 60,
            Disk::Withheld => 3,
        };
        if self.rng.chance(chance) {
            let waiting = self.appended() - self.durable;
            let through = self.durable + self.rng.below(waiting + 1);
            self.make_durable(through);
        }
    }

    pub(crate) fn make_durable(&mut self, through: u64) {
        if through > self.durable {
            self.durable = through;
            if let Some(check) = &mut self.check {
                check.durable(through);
            }
            self.handle(Input::Durable { through: LogPosition(through) });
        }
    }

    fn resume_step(&mut self) {
        if self.broker.has_more_work() {
            let budget = self.rng.pick(&[1, 1, 2, 5, 1000]);
            self.resume(u32::try_from(budget).unwrap_or(1));
        }
    }

    /// Time passes in a step of its own, so that what falls due is not taken for the consequence
    /// of something else.
    fn time_step(&mut self) {
        let by_ms = match self.rng.below(1000) {
            0..=699 => self.rng.below(500),
            700..=899 => self.rng.below(5_000),
            900..=979 => self.rng.below(60_000),
            980..=996 => self.rng.below(4_000_000),
            _ => 90_000_000,
        };
        self.now = self.now.plus_ms(by_ms);
        self.handle(Input::Deadline);
    }

    pub(crate) fn answer_all_questions(&mut self) {
        while !self.questions.is_empty() {
            self.answer_question();
        }
    }

    pub(crate) fn begin_end(&mut self) {
        self.is_ending = true;
    }

    pub(crate) fn all_durable(&self) -> bool {
        self.durable == self.appended()
    }

    fn answer_question(&mut self) {
        if self.questions.is_empty() {
            return;
        }
        let place = self.rng.place(self.questions.len());
        let connection = self.questions.remove(place);
        let Some(key) = self.link(connection).map(|link| link.key.clone()) else { return };
        // A session comes by one key and then by another, or by none.
        let by_key = connection.index % 3;
        let credential = Credential {
            key: (by_key > 0).then(|| text(&format!("key {by_key}"))),
            ..Credential::default()
        };
        let outcome = match if self.is_ending { 99 } else { self.rng.below(100) } {
            0..=3 => AuthOutcome::Refused { reason: ReasonCode::NotAuthorized },
            4..=5 => {
                AuthOutcome::Accepted { identity: Some(text("stranger")), data: None, credential }
            }
            _ => AuthOutcome::Accepted {
                identity: Some(text(&format!("owner of {key}"))),
                data: None,
                credential,
            },
        };
        if let AuthOutcome::Accepted { .. } = outcome {
            self.enter(connection, Session::Transient(connection));
        }
        self.connecting = Some(connection);
        if let Some(check) = &mut self.check {
            check.accepting(connection);
        }
        self.handle(Input::Authenticated { connection, outcome });
        if let Some(check) = &mut self.check {
            check.sent();
        }
        self.connecting = None;
    }

    fn command_step(&mut self) {
        let client = self.rng.place(self.links.len());
        let client_id = text(&key_of(client));
        let command = match self.rng.below(100) {
            0..=39 => Command::Disconnect { client_id, reason: ReasonCode::AdministrativeAction },
            40..=49 => Command::EndSession { client_id },
            50..=59 => Command::ConfirmTime,
            60..=61 => {
                let reason = ReasonCode::ServerShuttingDown;
                Command::Stop { reason, server_reference: None }
            }
            _ => {
                let number = self.fresh_number();
                let qos = client::any_qos(&mut self.rng);
                let publish = client::publish(&mut self.rng, Version::V5, qos, number, 1);
                Command::Publish(Box::new(PublishCommand {
                    topic: publish.topic,
                    payload: publish.payload,
                    qos,
                    retain: publish.retain,
                    message_expiry_interval_s: publish.message_expiry_interval_s,
                    properties: publish.properties,
                }))
            }
        };
        let stops = matches!(command, Command::Stop { .. });
        if let Some(check) = &mut self.check {
            check.command(&command);
        }
        self.handle(Input::Command(command));
        if stops {
            // What follows a stop is a restart.
            self.make_durable(self.appended());
            self.crash();
        }
    }

    /// A power cut: the broker comes back from what was durable and perhaps more.
    pub(crate) fn crash(&mut self) {
        self.crashes += 1;
        let kept = self.durable + self.rng.below(self.appended() - self.durable + 1);
        for index in 0..self.links.len() {
            if let Some(id) = self.links[index].as_ref().map(|link| link.id) {
                self.lose(id);
            }
        }
        self.questions.clear();
        let length = usize::try_from(kept - self.base_through).expect("the journal is in memory");
        self.journal.truncate(length);
        self.durable = kept;
        self.now = self.now.plus_ms(self.rng.pick(&[0, 0, 100, 5_000, 100_000]));
        self.note(&format_args!("crash, {kept} records kept"));
        if let Some(check) = &mut self.check {
            check.crashed(kept);
        }
        self.fetches.clear();
        self.broker = self.recovered(length);
        if self.rng.chance(30) {
            self.base = self.with_messages(self.broker.snapshot());
            self.base_through = kept;
            self.journal.clear();
        }
    }

    /// A broker recovered from the base and so many records.
    pub(crate) fn recovered(&self, length: usize) -> Broker {
        let records = self.base.iter().chain(&self.journal[..length]).cloned();
        let through = LogPosition(self.base_through + length as u64);
        Broker::recover(self.config.clone(), Seed(7), self.now, through, records).unwrap_or_else(
            |error| {
                let RecoverError::Dangling { index, .. } = error;
                let record = self.base.iter().chain(&self.journal).nth(index as usize);
                panic!("recovery from {length} records: {error}: {record:?}")
            },
        )
    }

    /// A broker recovered from a snapshot.
    pub(crate) fn recovered_from(&self, snapshot: Vec<Record>) -> Broker {
        let through = LogPosition(self.appended());
        Broker::recover(self.config.clone(), Seed(7), self.now, through, snapshot.clone())
            .unwrap_or_else(|error| {
                let RecoverError::Dangling { index, .. } = error;
                let record = snapshot.get(index as usize);
                panic!("recovery from a snapshot: {error}: {record:?}")
            })
    }

    /// Reads one of the messages back that were asked for.
    pub(crate) fn bring(&mut self, place: usize) {
        let id = self.fetches.swap_remove(place);
        let message = self.message(id).unwrap_or_else(|| panic!("the journal has no {id}"));
        self.handle(Input::Fetched { message });
    }

    fn message(&self, id: MessageId) -> Option<Arc<Message>> {
        self.journal.iter().chain(&self.base).find_map(|record| record.message(id)).cloned()
    }

    /// A snapshot with the messages that the broker has left to the journal.
    pub(crate) fn with_messages(&self, snapshot: Vec<Record>) -> Vec<Record> {
        snapshot.into_iter().map(|record| record.with_message(|id| self.message(id))).collect()
    }

    pub(crate) fn journal_len(&self) -> usize {
        self.journal.len()
    }

    pub(crate) fn fresh_number(&mut self) -> u64 {
        self.number += 1;
        self.number
    }

    pub(crate) fn fresh_order(&mut self) -> u64 {
        self.order += 1;
        self.order
    }
}

/// Some clients share an identifier with their neighbour.
pub(crate) fn key_of(client: usize) -> String {
    let named = if client % 5 == 4 { client - 1 } else { client };
    format!("k{named}")
}

fn config(rng: &mut Rng) -> Config {
    let limits = Limits {
        receive_maximum: rng.pick(&[2, 4, 10]),
        inflight_messages: rng.pick(&[3, 1024, 1024]),
        queue_messages: rng.pick(&[6, 40, 100_000, 100_000]),
        queue_bytes: rng.pick(&[300, 64 << 20, 64 << 20]),
        queue_memory_bytes: rng.pick(&[0, 200, 256 << 20]),
        retained_messages: rng.pick(&[3, 1_000_000]),
        session_expiry_interval_maximum_s: rng.pick(&[50_000, u32::MAX]),
        subscriptions_per_session: rng.pick(&[4, 10_000]),
        ..Limits::default()
    };
    Config {
        limits,
        ask_credentials: rng.chance(20),
        queue_qos0_offline: rng.chance(30),
        sys_interval_ms: 0,
        ..Config::default()
    }
}
